//! What the archive tells of its recordings: one [`Summary`] each, and the files of a folder.
//!
//! Everything here can be read in the clear and names nobody: numbers, dates, states. Who was there
//! is in `index.age`, for the officers alone.

use serde::{Deserialize, Serialize};

use crate::folder::Part;
use crate::id::RecordingId;
use crate::wall::Wall;

/// Where a recording is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Being made, or waiting for its room to come back after a crash.
    Open,
    /// Closed by its writer, complete.
    Closed,
    /// Closed without its writer, or with something missing that the manifest names.
    Incomplete,
    /// Expired: the key share is destroyed, the files are gone or going.
    Expired,
}

/// What a verification found, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// When it was made.
    pub at: Wall,
    /// Whether everything is as it was signed.
    pub intact: bool,
    /// What is wrong, first things first; empty if intact.
    pub findings: Vec<String>,
}

/// How long a recording is kept at least.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The class, as in the header.
    pub class: String,
    /// The least date in force, extensions included.
    pub until: Wall,
}

/// One recording, in the clear.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Which.
    pub id: RecordingId,
    /// The room's session.
    pub room_sid: String,
    /// Whose it is ([`crate::header::owner_tag`]).
    pub owner: String,
    /// Where it is in its life.
    pub state: State,
    /// When it was started.
    pub started: Wall,
    /// How long it is so far.
    pub duration_us: u64,
    /// Participants who were recorded.
    pub participants: u32,
    /// Tracks.
    pub tracks: u32,
    /// Bytes of all files.
    pub bytes: u64,
    /// How long it is kept.
    pub retention: Kept,
    /// The cases that hold it.
    pub holds: Vec<String>,
    /// The last verification, if there was one.
    pub verification: Option<Verification>,
    /// Whether destroying the release share makes every copy unreadable.
    pub shreddable: bool,
    /// Whether a writer of this process is at it now.
    pub live: bool,
    /// Whether every file is in the object store, verified; none if recordings stay local.
    pub stored_remotely: Option<bool>,
}

/// One file of a recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileEntry {
    /// Its name in the folder.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// Whether a file will never change again, so that it can be copied. `segments` is how many chains
/// there are; the last of an open recording still grows.
pub fn is_final(part: Part, is_open: bool, segments: u32) -> bool {
    match part {
        Part::Summary => false,
        Part::Index
        | Part::IndexOf(_)
        | Part::Manifest
        | Part::ManifestSig
        | Part::ManifestProof => !is_open,
        Part::Segment(number) | Part::Chain(number) => !is_open || number + 1 < segments,
        Part::Header
        | Part::HeaderSig
        | Part::Share
        | Part::ShareOf(_)
        | Part::BreakGlass
        | Part::Writer(_)
        | Part::WriterSig(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_still_grows_is_not_copied() {
        for growing in [
            Part::Index,
            Part::Summary,
            Part::Segment(1),
            Part::Chain(1),
            Part::Manifest,
        ] {
            assert!(!is_final(growing, true, 2), "{growing}");
        }
        for done in [
            Part::Header,
            Part::Share,
            Part::Segment(0),
            Part::Chain(0),
            Part::Writer(1),
        ] {
            assert!(is_final(done, true, 2), "{done}");
        }
        assert!(is_final(Part::Segment(1), false, 2));
        assert!(!is_final(Part::Summary, false, 2));
    }
}
