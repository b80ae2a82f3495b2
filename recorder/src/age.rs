//! age v1 files (`age-encryption.org/v1`): the container of every sealed byte.
//!
//! Recipients and identities are X25519; their text is the standard's, so that any age tool opens
//! what is written here. Only what the archive needs is here: no plugins, no armor, no SSH keys.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::agreement::{PrivateKey, X25519};
use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32, Hrp};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::keys::Random;
use crate::keys::secret::Secret;

const RECIPIENT_PREFIX: Hrp = Hrp::parse_unchecked("age");
const IDENTITY_PREFIX: Hrp = Hrp::parse_unchecked("age-secret-key-");

/// Somebody to whom files are sealed: an X25519 public key, `age1…` as text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Recipient(pub [u8; 32]);

/// A text that is no recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an age recipient (age1…)")]
pub struct NotARecipient;

/// A text that is no identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an age identity (AGE-SECRET-KEY-1…)")]
pub struct NotAnIdentity;

/// Who opens what was sealed to the recipient: an X25519 secret, `AGE-SECRET-KEY-1…` as text.
#[derive(Debug)]
pub struct Identity(Secret);

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = bech32::encode::<Bech32>(RECIPIENT_PREFIX, &self.0);
        f.write_str(&text.expect("32 bytes are within the limits of bech32"))
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Recipient {
    type Err = NotARecipient;

    fn from_str(text: &str) -> Result<Self, NotARecipient> {
        let checked = CheckedHrpstring::new::<Bech32>(text).map_err(|_| NotARecipient)?;
        let mut bytes = [0; 32];
        // The standard's text is in small letters; capitals would be a second name of the same.
        if checked.hrp() != RECIPIENT_PREFIX
            || text.bytes().any(|byte| byte.is_ascii_uppercase())
            || !fill_exactly(&mut bytes, checked.byte_iter())
        {
            return Err(NotARecipient);
        }
        Ok(Self(bytes))
    }
}

fn fill_exactly(bytes: &mut [u8; 32], mut from: impl Iterator<Item = u8>) -> bool {
    bytes.iter_mut().all(|byte| match from.next() {
        Some(next) => {
            *byte = next;
            true
        }
        None => false,
    }) && from.next().is_none()
}

impl From<Recipient> for String {
    fn from(recipient: Recipient) -> Self {
        recipient.to_string()
    }
}

impl TryFrom<String> for Recipient {
    type Error = NotARecipient;

    fn try_from(text: String) -> Result<Self, NotARecipient> {
        text.parse()
    }
}

impl Identity {
    /// The identity whose X25519 secret is `secret`.
    pub fn new(secret: Secret) -> Self {
        Self(secret)
    }

    /// A fresh identity.
    pub fn generate(random: &mut Random<'_>) -> Self {
        Self(Secret::filled(|bytes| random(bytes)))
    }

    /// Its X25519 secret.
    pub fn secret(&self) -> &Secret {
        &self.0
    }

    /// To whom one seals so that this identity opens it.
    pub fn recipient(&self) -> Recipient {
        let key = self.private_key().compute_public_key();
        let key = key.expect("an X25519 secret has a public key");
        Recipient(key.as_ref().try_into().expect("it has 32 bytes"))
    }

    fn private_key(&self) -> PrivateKey {
        PrivateKey::from_private_key(&X25519, self.0.bytes())
            .expect("any 32 bytes are an X25519 secret")
    }

    /// The identity's text, `AGE-SECRET-KEY-1…`.
    pub fn to_text(&self) -> Zeroizing<String> {
        // 16 of prefix, 52 of data, 6 of checksum: it never grows and leaves a copy behind.
        let mut text = Zeroizing::new(String::with_capacity(80));
        bech32::encode_upper_to_fmt::<Bech32, String>(&mut text, IDENTITY_PREFIX, self.0.bytes())
            .expect("32 bytes are within the limits of bech32");
        text
    }

    /// Reads an identity's text.
    pub fn from_text(text: &str) -> Result<Self, NotAnIdentity> {
        let checked = CheckedHrpstring::new::<Bech32>(text).map_err(|_| NotAnIdentity)?;
        let mut secret = Secret::zeroed();
        if checked.hrp() != IDENTITY_PREFIX
            || text.bytes().any(|byte| byte.is_ascii_lowercase())
            || !fill_exactly(secret.bytes_mut(), checked.byte_iter())
        {
            return Err(NotAnIdentity);
        }
        Ok(Self(secret))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_keys_is_that_of_age_keygen() {
        // Made by Debian's age-keygen 1.1.1.
        let secret = "AGE-SECRET-KEY-1D7K2NGSLW65NKKEHKU6NGD2MRMHZFH3XT5Y6802HH20DKTQ7X7SSDXA6KN";
        let public = "age1prm7yll0wgxc3n7rp0j9vq4emv59kf4ulee9kelk3rsukqtc6y3s78hkfc";
        let identity = Identity::from_text(secret).expect("is valid");
        assert_eq!(identity.recipient().to_string(), public);
        assert_eq!(identity.to_text().as_str(), secret);
        assert_eq!(public.parse(), Ok(identity.recipient()));
    }

    #[test]
    fn a_key_has_one_text_only() {
        let identity = Identity::new(Secret::filled(|bytes| bytes.fill(7)));
        let public = identity.recipient().to_string();
        let secret = identity.to_text();
        for text in ["", "age1", &public[1..], &public.to_uppercase(), &secret] {
            assert_eq!(text.parse::<Recipient>(), Err(NotARecipient), "{text}");
        }
        for text in ["", &secret[1..], &secret.to_lowercase(), &public] {
            assert!(Identity::from_text(text).is_err());
        }
        for at in 0..public.len() {
            let mut damaged = public.clone().into_bytes();
            damaged[at] = if damaged[at] == b'q' { b'p' } else { b'q' };
            let damaged = String::from_utf8(damaged).expect("is ASCII");
            assert!(damaged.parse::<Recipient>().is_err(), "{damaged}");
        }
    }
}
