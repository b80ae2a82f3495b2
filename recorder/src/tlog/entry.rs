//! What an entry of the log says: one JSON object (section 11 of the format).

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::id::RecordingId;
use crate::wall::Wall;

/// One entry. What is logged are always the bytes; kinds that a reader does not know stay unread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Entry {
    /// A recording was closed with this manifest.
    Manifest {
        /// Which recording.
        recording: RecordingId,
        /// Of `manifest.json`.
        sha256: Digest,
        /// When.
        at: Wall,
    },
    /// A recording is kept longer.
    Extend {
        /// Which recording.
        recording: RecordingId,
        /// At least until then.
        until: Wall,
        /// When this was decided.
        at: Wall,
    },
    /// A recording must not be deleted while this case lasts.
    Hold {
        /// Which recording.
        recording: RecordingId,
        /// Names the case.
        case: String,
        /// When.
        at: Wall,
    },
    /// The case needs the recording no more.
    ReleaseHold {
        /// Which recording.
        recording: RecordingId,
        /// Names the case.
        case: String,
        /// When.
        at: Wall,
    },
    /// The recording expired: its secret is destroyed and its files are deleted.
    Tombstone {
        /// Which recording.
        recording: RecordingId,
        /// Of the `manifest.json` that it had.
        sha256: Digest,
        /// The date until which it had to be kept.
        expired: Wall,
        /// When.
        at: Wall,
    },
    /// A day of the audit was finished.
    Audit {
        /// `2026-11-22`.
        day: String,
        /// Of the day's file.
        sha256: Digest,
        /// When.
        at: Wall,
    },
}

impl Entry {
    /// The bytes that are logged.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an entry has only texts and is JSON")
    }

    /// What `bytes` say, if they are an entry of a kind that we know.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// The recording that it is about.
    #[must_use]
    pub fn recording(&self) -> Option<RecordingId> {
        match self {
            Self::Manifest { recording, .. }
            | Self::Extend { recording, .. }
            | Self::Hold { recording, .. }
            | Self::ReleaseHold { recording, .. }
            | Self::Tombstone { recording, .. } => Some(*recording),
            Self::Audit { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_written_as_the_format_draws_them() {
        let recording = "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().expect("is an id");
        let entry = Entry::Hold {
            recording,
            case: "K-7".into(),
            at: Wall(0),
        };
        let text = r#"{"type":"hold","recording":"01ARZ3NDEKTSV4RRFFQ69G5FAV","case":"K-7","at":"1970-01-01T00:00:00.000Z"}"#;
        assert_eq!(entry.to_bytes(), text.as_bytes());
        assert_eq!(Entry::parse(text.as_bytes()), Some(entry));
        let newer = text.replace("case", "and_more\":1,\"case");
        assert!(
            Entry::parse(newer.as_bytes()).is_some(),
            "unknown members are ignored"
        );
        assert_eq!(Entry::parse(b"{\"type\":\"later\"}"), None);
    }
}
