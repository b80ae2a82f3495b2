//! The journal of a recording: records, sealed segment by segment, and the chain that proves them.

pub mod body;
pub mod chain;
pub mod record;
