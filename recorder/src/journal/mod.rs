//! The journal of a recording: records, sealed segment by segment, and the chain that proves them.

pub mod body;
pub mod chain;
mod chunk;
pub mod clock;
pub mod disk;
pub mod fuzz;
pub mod ledger;
pub mod reader;
pub mod record;
pub mod segment;
pub mod writer;
