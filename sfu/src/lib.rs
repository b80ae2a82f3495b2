//! The media plane: relays encrypted audio and video between the transports of a room.
//!
//! The core is sans-IO. A [`shard::Shard`] is given what a turn brought (datagrams, commands, the
//! time) and is then polled until it says `Timeout`; bytes, time and randomness are arguments.
//! Only `net/`, `worker` and `handle` touch a socket, a thread or a clock, and the crate's
//! `clippy.toml` says so. One worker thread owns one shard and one UDP port; nothing is shared,
//! and nothing on a packet's way allocates, locks, logs or waits.
//!
//! The crate deliberately knows neither LiveKit nor SDP, neither HTTP nor files: what was agreed
//! reaches it as plain values in a [`shard::command::Command`], what happened leaves it as a
//! [`shard::event::Event`].

pub mod config;
pub mod congestion;
pub mod delay;
pub mod error;
pub mod fuzz;
pub mod handle;
pub mod id;
pub mod media;
pub mod net;
pub mod pages;
pub mod publication;
pub mod quality;
pub mod relay;
pub mod room;
pub mod rtp;
pub mod shard;
pub mod slab;
pub mod speaker;
pub mod stats;
pub mod stream;
pub mod subscription;
pub mod tap;
pub mod transport;
pub mod unit;
mod worker;

#[cfg(test)]
mod testing;
