//! Session descriptions: read a client's offer or answer, write ours, and boil both down to the plain
//! values that the media plane knows.
//!
//! Nothing outside this module knows the text form, and nothing of a client's is echoed verbatim:
//! what stands in a description of ours is either ours or was parsed into a checked value first.
//! Clients with one connection offer and we answer; to those with two we also make offers of our own,
//! for all that they receive, from a [`catalogue`] of what we can send.

pub mod answered;
pub mod build;
pub mod catalogue;
pub mod fragment;
pub mod params;
pub mod parse;

pub use answered::Answer;
pub use build::{Reply, answer, offer};
pub use fragment::Fragment;
pub use parse::{Direction, Offer, SdpError, Section, SectionKind};
