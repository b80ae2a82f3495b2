//! What a recording is told and what it reports back.
//!
//! Participants and tracks are named by their sids here; numbers are the journal's own affair.

use std::fmt;

use sfu::id::PublicationId;

use crate::journal::body::{ConsentState, Source};

/// Something that is written into the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// Somebody is there.
    Joined {
        /// His sid, as in all that follows.
        participant: String,
        /// Who it is.
        identity: String,
        /// What people call him.
        name: String,
    },
    /// He is not there any more.
    Left {
        /// Who.
        participant: String,
    },
    /// What he has said about being recorded.
    Consent {
        /// Who.
        participant: String,
        /// What.
        state: ConsentState,
    },
    /// He publishes a track. To be told before the media plane is: packets that come first are
    /// of nobody.
    Published(Box<Published>),
    /// He has silenced a track, or not any more.
    Muted {
        /// Who.
        participant: String,
        /// Its sid.
        track: String,
        /// Silenced.
        is_muted: bool,
    },
    /// He speaks, or not any more.
    Speaking {
        /// Who.
        participant: String,
        /// He does.
        is_active: bool,
    },
    /// He has written something to all.
    Chat {
        /// Who.
        participant: String,
        /// What.
        text: String,
    },
    /// He has sent other data.
    Data {
        /// Who.
        participant: String,
        /// About what.
        topic: String,
        /// How many bytes.
        size: u64,
    },
    /// His key for end-to-end encryption, sealed to the recording.
    RecipientKey {
        /// Who.
        participant: String,
        /// Which of his keys.
        key_index: u8,
        /// An age file, base64.
        sealed: String,
    },
}

/// What is known of a publication when it is agreed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// In the media plane.
    pub publication: PublicationId,
    /// Whose.
    pub participant: String,
    /// Its sid.
    pub track: String,
    /// Of what.
    pub source: Source,
    /// What the publisher calls it.
    pub name: String,
    /// Whether payloads are encrypted end to end.
    pub is_encrypted: bool,
}

/// A number of the caller's own, by which he hears that a fact is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Why nothing reaches the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interruption {
    /// There is no room left.
    DiskFull,
    /// The disk fails.
    DiskError,
    /// The disk does not answer.
    Stalled,
}

impl fmt::Display for Interruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DiskFull => "the disk for recordings is full",
            Self::DiskError => "the disk for recordings fails",
            Self::Stalled => "the disk for recordings does not answer",
        })
    }
}

/// How a recording is, as far as the disk has acknowledged it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// What happens is on the disk within a second.
    Recording,
    /// What happens now is missing.
    Interrupted(Interruption),
    /// It is closed, with its manifest.
    Closed,
}

/// What a recording reports, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// A fact is on the disk.
    Durable(Ticket),
    /// Nothing reaches the disk any more.
    Interrupted(Interruption),
    /// It does again. Whoever steers the media plane asks for keyframes.
    Resumed,
    /// The recording is closed, with its manifest. The last report.
    Closed,
}
