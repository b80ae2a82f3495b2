//! The state of one worker: every room, transport, publication and subscription on it.

pub mod command;
pub mod event;
pub mod output;

pub use output::{Batch, Datagram, Output};
