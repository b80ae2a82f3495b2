//! How much fits through the path of a transport.
//!
//! Towards publishers this is feedback: when their packets arrived. Towards subscribers it is what
//! follows from theirs: an estimate ([`estimator`]), made from what left ([`sent`]), when it arrived
//! ([`delay`], [`meter`]) and what was lost, raised by [probes](probe); and how much of which picture
//! fits into it ([`allocation`]). Nothing here knows packets, rooms or a clock.

pub mod allocation;
pub mod delay;
pub mod estimator;
pub mod feedback;
pub mod meter;
pub mod probe;
pub mod sent;
