//! How much fits through the path of a transport.
//!
//! Towards publishers this is feedback: when their packets arrived. What subscribers report about
//! their side is parsed and counted; nothing follows from it here yet.

pub mod feedback;
