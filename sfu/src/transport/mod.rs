//! One peer's ICE, DTLS, SRTP and SCTP as one state machine.

pub mod params;
pub mod srtp;
