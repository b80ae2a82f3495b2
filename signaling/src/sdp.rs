//! Session descriptions: read a client's offer, write our answer, and boil both down to the plain
//! values that the media plane knows.
//!
//! Nothing outside this module knows the text form, and nothing of an offer is echoed verbatim:
//! what stands in an answer is either ours or was parsed into a checked value first. We only ever
//! answer; offers of our own, which the older two-connection form of the protocol needs, are not
//! made here.

pub mod build;
pub mod fragment;
pub mod params;
pub mod parse;

pub use build::{Reply, answer};
pub use fragment::Fragment;
pub use parse::{Direction, Offer, SdpError, Section, SectionKind};
