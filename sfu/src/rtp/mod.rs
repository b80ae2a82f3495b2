//! RTP and RTCP as bytes: headers, header extensions, payload formats and feedback.
//!
//! Everything here is a function of the bytes it is given: nothing allocates on the way of a
//! packet, nothing keeps state beyond one stream's header template or one report's gathering, and
//! bytes from the network may be anything. What a packet means for a room is decided elsewhere.

pub mod codec;
pub mod dependency;
pub mod extension;
pub mod packet;
pub mod rtcp;
pub mod rtx;
