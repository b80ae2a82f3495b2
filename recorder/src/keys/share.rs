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
use crate::keys::Random;
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

/// Splits `secret` into halves of which neither says anything about it.
pub fn halve(secret: &Secret, random: &mut Random<'_>) -> (Secret, Secret) {
    let release = Secret::filled(|bytes| random(bytes));
    (join(secret, &release), release)
}

/// Puts two halves together.
pub fn join(one: &Secret, other: &Secret) -> Secret {
    let mut joined = Secret::zeroed();
    let both = one.bytes().iter().zip(other.bytes());
    for (byte, (one, other)) in joined.bytes_mut().iter_mut().zip(both) {
        *byte = one ^ other;
    }
    joined
}

/// Splits `secret` into as many parts as there are officers, of which any `threshold` suffice and
/// fewer say nothing about it. Part `i` (from 1) is the polynomial's value at `i`.
pub fn divide(
    secret: &Secret,
    threshold: u8,
    officers: u8,
    random: &mut Random<'_>,
) -> Vec<Secret> {
    assert!(
        (1..=officers).contains(&threshold),
        "the provider has checked the threshold"
    );
    let higher: Vec<Secret> = (1..threshold)
        .map(|_| Secret::filled(|bytes| random(bytes)))
        .collect();
    (1..=officers)
        .map(|x| {
            let mut part = Secret::zeroed();
            for (at, byte) in part.bytes_mut().iter_mut().enumerate() {
                let higher = higher.iter().rev().map(|secret| secret.bytes()[at]);
                // Horner's scheme, the highest power first.
                let tail = higher.fold(0, |value, coefficient| times(value, x) ^ coefficient);
                *byte = times(tail, x) ^ secret.bytes()[at];
            }
            part
        })
        .collect()
}

/// The officers' half out of at least as many of its parts as are needed.
pub fn combine(shares: &[Share]) -> Result<Secret, ShareError> {
    let Some(first) = shares.first() else {
        return Err(ShareError::TooFew {
            needed: 1,
            there: 0,
        });
    };
    let alike = |share: &Share| {
        (share.recording, share.half, share.threshold)
            == (first.recording, first.half, first.threshold)
    };
    if !shares.iter().all(alike) {
        return Err(ShareError::Mixed);
    }
    let mut used: Vec<&Share> = Vec::new();
    for share in shares {
        match used.iter().find(|known| known.index == share.index) {
            Some(known) if known.value.bytes() != share.value.bytes() => {
                return Err(ShareError::Mixed);
            }
            Some(_) => {}
            None => used.push(share),
        }
    }
    let needed = first.threshold;
    if used.len() < usize::from(needed) {
        return Err(ShareError::TooFew {
            needed,
            there: used.len() as u8,
        });
    }
    used.truncate(usize::from(needed));
    Ok(interpolate(&used))
}

/// The polynomial's value at 0 (Lagrange).
fn interpolate(shares: &[&Share]) -> Secret {
    let mut secret = Secret::zeroed();
    for share in shares {
        let others = shares.iter().filter(|other| other.index != share.index);
        let weight = others.fold(1, |weight, other| {
            let quotient = inverse(other.index ^ share.index);
            times(weight, times(other.index, quotient))
        });
        for (byte, value) in secret.bytes_mut().iter_mut().zip(share.value.bytes()) {
            *byte ^= times(*value, weight);
        }
    }
    secret
}

/// Multiplication in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1, in the same time for all values.
fn times(one: u8, other: u8) -> u8 {
    let (mut one, mut product) = (one, 0);
    for bit in 0..8 {
        product ^= one & 0_u8.wrapping_sub(other >> bit & 1);
        let carry = 0_u8.wrapping_sub(one >> 7);
        one = one << 1 ^ carry & 0x1b;
    }
    product
}

/// The inverse in the same field: the 254th power. There is none of 0, which does not occur:
/// indices differ.
fn inverse(value: u8) -> u8 {
    (0..253).fold(value, |power, _| times(power, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::system_random;
    use crate::wall::Wall;

    fn recording() -> RecordingId {
        RecordingId::new(Wall::from_millis(1), [1; 10])
    }

    fn share(index: u8, threshold: u8, value: &Secret) -> Share {
        Share {
            recording: recording(),
            half: Half::Compliance,
            index,
            threshold,
            value: Secret::filled(|bytes| bytes.copy_from_slice(value.bytes())),
        }
    }

    #[test]
    fn the_field_is_that_of_aes() {
        // FIPS 197 section 4.2.
        assert_eq!(times(0x57, 0x83), 0xc1);
        assert_eq!(times(0x57, 0x13), 0xfe);
        assert!((1..=255).all(|value| times(value, inverse(value)) == 1));
    }

    #[test]
    fn both_halves_are_needed_and_suffice() {
        let secret = Secret::filled(|bytes| system_random(bytes));
        let (officers, release) = halve(&secret, &mut system_random);
        assert_ne!(officers.bytes(), secret.bytes());
        assert_eq!(join(&officers, &release).bytes(), secret.bytes());
    }

    #[test]
    fn any_officers_of_the_threshold_open_and_fewer_do_not() {
        let secret = Secret::filled(|bytes| system_random(bytes));
        for (threshold, officers) in [(1, 1), (1, 3), (2, 2), (2, 3), (3, 5), (5, 5)] {
            let parts = divide(&secret, threshold, officers, &mut system_random);
            for chosen in 0_u32..1 << officers {
                let shares: Vec<Share> = (1..=officers)
                    .filter(|index| chosen >> (index - 1) & 1 == 1)
                    .map(|index| share(index, threshold, &parts[usize::from(index) - 1]))
                    .collect();
                match combine(&shares) {
                    Ok(opened) => assert_eq!(opened.bytes(), secret.bytes()),
                    Err(error) => {
                        assert!(chosen.count_ones() < u32::from(threshold), "{error}");
                    }
                }
            }
        }
    }

    #[test]
    fn one_officer_twice_is_one_officer() {
        let secret = Secret::filled(|bytes| system_random(bytes));
        let parts = divide(&secret, 2, 3, &mut system_random);
        let twice = [share(1, 2, &parts[0]), share(1, 2, &parts[0])];
        let few = ShareError::TooFew {
            needed: 2,
            there: 1,
        };
        assert_eq!(combine(&twice).err(), Some(few));
        let forged = [share(1, 2, &parts[0]), share(1, 2, &parts[1])];
        assert_eq!(combine(&forged).err(), Some(ShareError::Mixed));
        let other = [share(1, 2, &parts[0]), share(2, 1, &parts[1])];
        assert_eq!(combine(&other).err(), Some(ShareError::Mixed));
    }

    #[test]
    fn a_share_is_read_as_it_was_written_and_for_its_recording_only() {
        let value = Secret::filled(|bytes| system_random(bytes));
        let json = share(2, 3, &value).to_json();
        let read = |half| Share::from_json(&json, recording(), half);
        let again = read(Half::Compliance).expect("is ours");
        assert_eq!((again.index, again.threshold), (2, 3));
        assert_eq!(again.value.bytes(), value.bytes());
        assert_eq!(read(Half::Release).err(), Some(ShareError::OtherHalf));
        let other = RecordingId::new(Wall::from_millis(2), [1; 10]);
        let other = Share::from_json(&json, other, Half::Compliance).err();
        assert_eq!(other, Some(ShareError::OtherRecording));
        let garbage = Share::from_json(b"{}", recording(), Half::Release).err();
        assert_eq!(garbage, Some(ShareError::NotAShare));
    }
}
