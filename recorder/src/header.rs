//! `header.json` and `writer-NNNNNN.json`: what is recorded, under which keys, and who may sign.
//!
//! Both are written once and never changed; what is signed is the bytes of the file. Unknown members
//! are ignored, an unknown version is refused. Names of people and rooms are not in the clear.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::age::Recipient;
use crate::digest::{Digest, hex};
use crate::id::RecordingId;
use crate::sign::PublicKey;
use crate::wall::Wall;

/// The version of the format that this crate writes and reads.
pub const VERSION: u32 = 1;

/// A header or certificate larger than this is not read: ours have a few kilobytes even with a
/// hundred officers.
pub const FILE_BYTES_MAX: usize = 64 * 1024;

/// Officers of one recording at most: a Shamir share's place is one byte and two digits of a name.
pub const OFFICERS_MAX: usize = 99;

/// Whose wish starts and ends a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// From the first publisher to the end of the room.
    Must,
    /// When asked for.
    WithConsent,
}

/// How long a recording is kept at least.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// The class by its name, `consult-3y`.
    pub class: String,
    /// The least date; entries of the log may extend it.
    pub until: Wall,
}

/// Who together open the officers' half of the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compliance {
    /// How many officers are needed.
    pub threshold: u8,
    /// All officers; the first one's share has index 1.
    pub recipients: Vec<Recipient>,
}

/// The contents of `header.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Always [`VERSION`].
    pub version: u32,
    /// Which recording; also the folder's name.
    pub recording: RecordingId,
    /// The node key.
    pub node: PublicKey,
    /// To whom segments are sealed: the recording's own identity.
    pub recipient: Recipient,
    /// The room's session.
    pub room_sid: String,
    /// By which a restarted room finds its recording ([`crate::sign::NodeKey::room_tag`]).
    pub room_tag: String,
    /// Whose recording it is ([`owner_tag`]).
    pub owner: String,
    /// Why it is recorded.
    pub policy: Policy,
    /// When it was started.
    pub started: Wall,
    /// How long it is kept at least.
    pub retention: Retention,
    /// The officers.
    pub compliance: Compliance,
    /// The release service's key.
    pub release: Recipient,
    /// Who can open it alone, if anybody: such a recording is not shreddable.
    pub break_glass: Option<Recipient>,
}

/// What stands for an API key in the clear: the first 16 hexadecimal digits of SHA-256 of its name.
pub fn owner_tag(api_key: &str) -> String {
    hex(&Digest::of(api_key.as_bytes()).0[..8])
}

/// The contents of `writer-NNNNNN.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writer {
    /// Always [`VERSION`].
    pub version: u32,
    /// Which recording.
    pub recording: RecordingId,
    /// Counted from 0; also in the file's name.
    pub writer: u32,
    /// What verifies the signatures in the chain.
    pub key: PublicKey,
    /// The segment from which on this key signs.
    pub first_segment: u32,
    /// The last chain value before that segment; for segment 0 the digest of `header.json`.
    pub prev: Digest,
    /// When this writer began.
    pub started: Wall,
}

/// Why a header or certificate is not understood.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// Larger than [`FILE_BYTES_MAX`].
    #[error("it has more than {FILE_BYTES_MAX} bytes")]
    Size,
    /// Not JSON, or a member is missing or wrong.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// Written by a later program.
    #[error("version {0} of the format is not known here")]
    Version(u32),
    /// More officers are needed than there are, or none.
    #[error("{threshold} of {officers} officers cannot be asked for")]
    Threshold {
        /// How many are needed.
        threshold: u8,
        /// How many there are.
        officers: usize,
    },
}

fn read<T: DeserializeOwned>(bytes: &[u8], version: impl Fn(&T) -> u32) -> Result<T, HeaderError> {
    if bytes.len() > FILE_BYTES_MAX {
        return Err(HeaderError::Size);
    }
    let value: T = serde_json::from_slice(bytes)?;
    match version(&value) {
        VERSION => Ok(value),
        other => Err(HeaderError::Version(other)),
    }
}

impl Header {
    /// Reads `header.json`.
    pub fn parse(bytes: &[u8]) -> Result<Self, HeaderError> {
        let header = read(bytes, |header: &Self| header.version)?;
        let Compliance {
            threshold,
            recipients,
        } = &header.compliance;
        let officers = recipients.len();
        if *threshold == 0 || usize::from(*threshold) > officers || officers > OFFICERS_MAX {
            return Err(HeaderError::Threshold {
                threshold: *threshold,
                officers,
            });
        }
        Ok(header)
    }

    /// The bytes of `header.json`.
    pub fn to_bytes(&self) -> Vec<u8> {
        to_json(self)
    }

    /// Whether destroying the release share makes every copy unreadable.
    pub fn is_shreddable(&self) -> bool {
        self.break_glass.is_none()
    }
}

impl Writer {
    /// Reads `writer-NNNNNN.json`.
    pub fn parse(bytes: &[u8]) -> Result<Self, HeaderError> {
        read(bytes, |writer: &Self| writer.version)
    }

    /// The bytes of `writer-NNNNNN.json`.
    pub fn to_bytes(&self) -> Vec<u8> {
        to_json(self)
    }
}

/// One object on lines of its own, readable in a pager.
pub(crate) fn to_json(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("plain values can be written as JSON");
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::age::Identity;
    use crate::keys::secret::Secret;
    use crate::sign::SigningKey;

    fn header() -> Header {
        let started = Wall::from_millis(1_795_312_800_000);
        let recipient = Identity::new(Secret::filled(|bytes| bytes.fill(1))).recipient();
        Header {
            version: VERSION,
            recording: RecordingId::new(started, [9; 10]),
            node: SigningKey::from_seed(&[2; 32]).public(),
            recipient,
            room_sid: "RM_abc".into(),
            room_tag: "00".repeat(16),
            owner: owner_tag("devkey"),
            policy: Policy::WithConsent,
            started,
            retention: Retention {
                class: "consult-3y".into(),
                until: started.years_later(3),
            },
            compliance: Compliance {
                threshold: 1,
                recipients: vec![recipient],
            },
            release: recipient,
            break_glass: None,
        }
    }

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let header = header();
        assert_eq!(Header::parse(&header.to_bytes()).expect("is ours"), header);
    }

    #[test]
    fn unknown_members_are_ignored_and_unknown_versions_refused() {
        let text = String::from_utf8(header().to_bytes()).expect("JSON is UTF-8");
        let more = text.replacen('{', "{\"later\": [1],", 1);
        assert!(Header::parse(more.as_bytes()).is_ok());
        let newer = text.replacen("\"version\": 1", "\"version\": 2", 1);
        assert!(matches!(
            Header::parse(newer.as_bytes()),
            Err(HeaderError::Version(2))
        ));
    }

    #[test]
    fn a_threshold_is_between_one_and_all_officers() {
        for threshold in [0, 2] {
            let mut header = header();
            header.compliance.threshold = threshold;
            let error = Header::parse(&header.to_bytes()).expect_err("cannot be met");
            assert!(matches!(error, HeaderError::Threshold { officers: 1, .. }));
        }
    }

    #[test]
    fn no_header_is_larger_than_its_bound() {
        let bytes = vec![b' '; FILE_BYTES_MAX + 1];
        assert!(matches!(Header::parse(&bytes), Err(HeaderError::Size)));
    }
}
