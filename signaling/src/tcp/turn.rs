//! TURN (RFC 8656) for clients of this server only: a way in where only TLS to one port gets out.
//!
//! The only peer that a client can reach is this server's own media plane, and packets go there
//! through memory: an allocation has no socket, so there is nothing that it could be misused for.
//! `message` reads and writes, `passes` says who may, `server` decides without input or output,
//! `allocation` is what it has given, and `connection` carries packets.

pub mod allocation;
pub mod connection;
pub(crate) mod fuzz;
pub mod message;
pub mod passes;
pub mod refusal;
pub mod server;
