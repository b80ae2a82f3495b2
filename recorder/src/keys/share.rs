//! Halves and parts of a recording's secret, and the JSON in which each is sealed.
//!
//! The secret is split by XOR between the officers and the release service: either half alone is
//! 32 random bytes. Where several officers are needed, the officers' half is split once more by
//! Shamir's scheme, byte by byte.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::id::RecordingId;
use crate::keys::secret::{SECRET_LEN, Secret};

/// Whose half a share belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Half {
    /// The officers'.
    Compliance,
    /// The release service's.
    Release,
}

/// A share as it lies in its sealed file.
#[derive(Debug)]
pub struct Share {
    /// Which recording it opens.
    pub recording: RecordingId,
    /// Whose half.
    pub half: Half,
    /// Which of several, from 1; 1 where there is one only.
    pub index: u8,
    /// How many of them are needed.
    pub threshold: u8,
    /// The bytes.
    pub value: Secret,
}

/// Why a share cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// The key does not open the file, or the file is damaged.
    #[error("this key does not open the share, or the share is damaged")]
    Sealed,
    /// The plaintext is no share.
    #[error("the sealed file holds no share of a recording")]
    NotAShare,
    /// It belongs to another recording.
    #[error("the share belongs to another recording")]
    OtherRecording,
    /// It is of the other half.
    #[error("the share is of the other half")]
    OtherHalf,
    /// Fewer officers than needed.
    #[error("{there} of the {needed} officers' shares that are needed are there")]
    TooFew {
        /// How many are needed.
        needed: u8,
        /// How many there are.
        there: u8,
    },
    /// The shares were not made together.
    #[error("the shares do not belong together")]
    Mixed,
}

#[derive(Serialize, Deserialize)]
struct Json {
    version: u32,
    recording: RecordingId,
    part: Half,
    index: u8,
    threshold: u8,
    value: String,
}

impl Drop for Json {
    fn drop(&mut self) {
        self.value.zeroize();
    }
}

impl Share {
    /// The plaintext of its sealed file.
    pub fn to_json(&self) -> Zeroizing<Vec<u8>> {
        let json = Json {
            version: 1,
            recording: self.recording,
            part: self.half,
            index: self.index,
            threshold: self.threshold,
            value: STANDARD.encode(self.value.bytes()),
        };
        // Room enough that the vector never grows and leaves a copy behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(512));
        serde_json::to_writer(&mut *bytes, &json).expect("plain values can be written as JSON");
        bytes
    }

    /// Reads the plaintext of the file of `recording`'s `half`.
    pub fn from_json(bytes: &[u8], recording: RecordingId, half: Half) -> Result<Self, ShareError> {
        let json: Json = serde_json::from_slice(bytes).map_err(|_| ShareError::NotAShare)?;
        if json.version != 1 || json.index == 0 || json.threshold == 0 {
            return Err(ShareError::NotAShare);
        }
        if json.recording != recording {
            return Err(ShareError::OtherRecording);
        }
        if json.part != half {
            return Err(ShareError::OtherHalf);
        }
        let bytes = STANDARD
            .decode(&json.value)
            .map_err(|_| ShareError::NotAShare)?;
        let bytes = Zeroizing::new(bytes);
        if bytes.len() != SECRET_LEN {
            return Err(ShareError::NotAShare);
        }
        let value = Secret::filled(|value| value.copy_from_slice(&bytes));
        Ok(Self {
            recording,
            half,
            index: json.index,
            threshold: json.threshold,
            value,
        })
    }
}
