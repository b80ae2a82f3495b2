//! The keys of the archive: who holds them, how a recording's secret is split.
//!
//! Where long-lived keys come from is behind one small trait: files now, hardware later. A
//! recording's own secret exists in memory only while it is being split.

pub mod files;
pub mod officer;
pub mod secret;
pub mod share;
pub mod split;

use crate::age::Recipient;
use crate::header::Compliance;
use crate::id::RecordingId;
use crate::keys::secret::Secret;
use crate::keys::share::ShareError;
use crate::sign::NodeKey;

/// Fills bytes with randomness: the system's in earnest, a fixed stream where test vectors are made.
pub type Random<'a> = dyn FnMut(&mut [u8]) + Send + 'a;

/// The system's randomness.
pub fn system_random(bytes: &mut [u8]) {
    aws_lc_rs::rand::fill(bytes).expect("the system has randomness");
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// There is no compliance recipient, so nobody could ever open a recording.
    #[error("no compliance officer is configured: make one with `consilium keygen compliance`")]
    NoOfficer,
    /// More officers are needed than there are.
    #[error("{threshold} of {officers} officers cannot be asked for")]
    Threshold {
        /// How many are needed.
        threshold: u8,
        /// How many there are.
        officers: usize,
    },
    /// A key's file is not there or cannot be read.
    #[error("{path}: {reason}")]
    File {
        /// Which file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A sealed share is not for this key, or is damaged.
    #[error("{0}")]
    Share(#[from] ShareError),
}

/// Where the long-lived keys come from.
pub trait KeyProvider: Send + Sync {
    /// The installation's signing key.
    fn node(&self) -> &NodeKey;

    /// The officers to whom new recordings are sealed; refused when there are none.
    fn compliance(&self) -> Result<Compliance, KeyError>;

    /// The release service's public key.
    fn release(&self) -> Recipient;

    /// Who can open new recordings alone, if anybody.
    fn break_glass(&self) -> Option<Recipient>;

    /// Opens the release share of `recording` out of its sealed file.
    fn open_release_share(&self, recording: RecordingId, sealed: &[u8])
    -> Result<Secret, KeyError>;
}
