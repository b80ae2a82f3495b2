//! One peer's ICE, DTLS, SRTP and SCTP as one state machine.

pub mod dtls;
pub mod ice;
pub mod params;
pub mod srtp;
mod stun;
