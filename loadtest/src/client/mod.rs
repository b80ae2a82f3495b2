//! The light client: a whole participant in a few kilobytes, thousands of them in one process.
//!
//! `sdp` reads and writes descriptions, `peer` is the transport, `sender` and `tracker` are the
//! two ends of a publication, `member` joins them and `worker` serves many members with one
//! thread. How a participant gets into a room is none of its business: see `signal`.

pub(crate) mod audience;
mod channels;
mod member;
pub(crate) mod payload;
pub(crate) mod peer;
mod rtcp;
pub(crate) mod sdp;
pub(crate) mod sender;
pub(crate) mod tracker;
pub(crate) mod worker;
