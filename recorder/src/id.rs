//! The name of a recording: a ULID, 48 bits of time and 80 random bits.
//!
//! As text it is 26 characters of Crockford's base 32 in capitals, and only that form is accepted,
//! because the text is also the name of a folder and one recording must not have two.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::wall::Wall;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Characters of the text form.
const TEXT_LEN: usize = 26;

/// Names one recording. Sorts by the time of its start.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct RecordingId([u8; 16]);

/// A text that names no recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a recording: 26 capitals and digits of Crockford's base 32")]
pub struct NotARecording;

impl RecordingId {
    /// The id of a recording that starts at `wall`.
    pub fn new(wall: Wall, random: [u8; 10]) -> Self {
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&wall.millis().to_be_bytes()[2..]);
        bytes[6..].copy_from_slice(&random);
        Self(bytes)
    }

    /// The 16 bytes, as they are signed.
    pub fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// When the recording was started, to the millisecond.
    pub fn started(&self) -> Wall {
        let mut millis = [0; 8];
        millis[2..].copy_from_slice(&self.0[..6]);
        Wall::from_millis(u64::from_be_bytes(millis))
    }
}

impl fmt::Display for RecordingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = u128::from_be_bytes(self.0);
        let text: String = (0..TEXT_LEN)
            .rev()
            .map(|place| char::from(ALPHABET[(value >> (5 * place)) as usize & 31]))
            .collect();
        f.write_str(&text)
    }
}

impl fmt::Debug for RecordingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RecordingId {
    type Err = NotARecording;

    fn from_str(text: &str) -> Result<Self, NotARecording> {
        // 26 places hold 130 bits: the first may only use three of its five.
        if text.len() != TEXT_LEN || text.as_bytes()[0] > b'7' {
            return Err(NotARecording);
        }
        text.bytes()
            .try_fold(0, |value: u128, byte| {
                let digit = ALPHABET.iter().position(|&known| known == byte)?;
                Some((value << 5) | digit as u128)
            })
            .map(|value| Self(value.to_be_bytes()))
            .ok_or(NotARecording)
    }
}

impl From<RecordingId> for String {
    fn from(id: RecordingId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for RecordingId {
    type Error = NotARecording;

    fn try_from(text: String) -> Result<Self, NotARecording> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_is_that_of_the_ulid_specification() {
        // 01ARZ3NDEKTSV4RRFFQ69G5FAV is the specification's own example.
        let id: RecordingId = "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().expect("is valid");
        assert_eq!(id.started(), Wall::from_millis(1_469_922_850_259));
        assert_eq!(id.to_string(), "01ARZ3NDEKTSV4RRFFQ69G5FAV");
    }

    #[test]
    fn a_recording_has_one_name_only() {
        for text in [
            "",
            "01arz3ndektsv4rrffq69g5fav",
            "81ARZ3NDEKTSV4RRFFQ69G5FAV",
            "01ARZ3NDEKTSV4RRFFQ69G5FA",
            "01ARZ3NDEKTSV4RRFFQ69G5FAVV",
            "O1ARZ3NDEKTSV4RRFFQ69G5FAV",
            "../../../etc/passwd-000000",
            "01ARZ3NDEKTSV4RRFFQ69G5F€",
        ] {
            assert_eq!(text.parse::<RecordingId>(), Err(NotARecording), "{text}");
        }
    }

    #[test]
    fn later_recordings_sort_later() {
        let early = RecordingId::new(Wall::from_millis(1), [255; 10]);
        let late = RecordingId::new(Wall::from_millis(2), [0; 10]);
        assert!(early < late);
        assert!(early.to_string() < late.to_string());
    }
}
