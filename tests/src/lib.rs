//! What the end-to-end tests stand on: the server as a process of its own, unmodified clients as
//! processes of their own, and a small signalling client for what no proper client would ever send.
//!
//! Nothing here links the server's code: everything goes through the front door, over loopback.
//! Waits are for a fact with a deadline, never for time to pass. The tests themselves are in
//! `e2e/`, the clients in `clients/`.

pub mod authority;
pub mod call;
pub mod dtls;
pub mod flood;
pub mod http;
pub mod insider;
pub mod metrics;
pub mod namespace;
pub mod officer;
pub mod patience;
pub mod process;
pub mod report;
pub mod sctp;
pub mod server;
pub mod signal;
pub mod stun;
pub mod suite;
pub mod token;
pub mod tree;
pub mod turn;
