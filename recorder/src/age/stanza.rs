//! How a file key is wrapped: for an X25519 recipient, or by a passphrase (scrypt).

use std::fmt;

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::agreement::{UnparsedPublicKey, X25519, agree};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use zeroize::Zeroizing;

use super::header::{Stanza, decode};
use super::{AgeError, Identity, Recipient};
use crate::keys::Random;
use crate::keys::secret::Secret;

const FILE_KEY_LEN: usize = 16;
const TAG_LEN: usize = 16;
const X25519_LABEL: &[u8] = b"age-encryption.org/v1/X25519";
const SCRYPT_LABEL: &[u8] = b"age-encryption.org/v1/scrypt";

/// Work of a passphrase, as a power of two, that we still do for a file from elsewhere: 2 GiB of
/// memory and some seconds.
const WORK_FACTOR_MAX: u8 = 21;

/// The key of one file. Erased when dropped.
pub struct FileKey(Zeroizing<[u8; FILE_KEY_LEN]>);

impl FileKey {
    pub(super) fn filled(fill: impl FnOnce(&mut [u8])) -> Self {
        let mut key = Zeroizing::new([0; FILE_KEY_LEN]);
        fill(&mut *key);
        Self(key)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &*self.0
    }
}

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileKey")
    }
}

/// HKDF-SHA-256 to 32 bytes.
pub(super) fn derive(key: &[u8], salt: &[u8], label: &[u8]) -> Secret {
    let prk = Salt::new(HKDF_SHA256, salt).extract(key);
    let label = [label];
    let okm = prk
        .expand(&label, HKDF_SHA256)
        .expect("32 bytes are one block");
    Secret::filled(|bytes| okm.fill(bytes).expect("that many were asked for"))
}

fn wrapping_key(key: &Secret) -> LessSafeKey {
    let key = UnboundKey::new(&CHACHA20_POLY1305, key.bytes());
    LessSafeKey::new(key.expect("the key has 32 bytes"))
}

fn wrap(wrapping: &Secret, key: &FileKey) -> Vec<u8> {
    let mut body = Vec::with_capacity(FILE_KEY_LEN + TAG_LEN);
    body.extend_from_slice(key.bytes());
    // A wrapping key is used once, so its nonce may be zero.
    let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
    wrapping_key(wrapping)
        .seal_in_place_append_tag(nonce, Aad::empty(), &mut body)
        .expect("16 bytes can be sealed");
    body
}

fn unwrap(wrapping: &Secret, body: &[u8]) -> Option<FileKey> {
    let mut body: Zeroizing<[u8; FILE_KEY_LEN + TAG_LEN]> = Zeroizing::new(body.try_into().ok()?);
    let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
    let key = wrapping_key(wrapping)
        .open_in_place(nonce, Aad::empty(), &mut *body)
        .ok()?;
    Some(FileKey::filled(|bytes| bytes.copy_from_slice(key)))
}

fn x25519(mine: &Identity, theirs: &Recipient, salt: &[u8]) -> Option<Secret> {
    let theirs = UnparsedPublicKey::new(&X25519, theirs.0);
    // Refused if the result is zero: a point of small order (RFC 7748 section 6.1).
    agree(&mine.private_key(), theirs, (), |shared| {
        Ok(derive(shared, salt, X25519_LABEL))
    })
    .ok()
}

/// Wraps `key` for `recipient`. Refused if that is no point to seal to.
pub(super) fn for_recipient(
    key: &FileKey,
    recipient: &Recipient,
    random: &mut Random<'_>,
) -> Result<Stanza, AgeError> {
    let ephemeral = Identity::generate(random);
    let share = ephemeral.recipient();
    let salt = [share.0, recipient.0].concat();
    let wrapping = x25519(&ephemeral, recipient, &salt).ok_or(AgeError::Recipient)?;
    Ok(Stanza {
        args: vec!["X25519".into(), STANDARD_NO_PAD.encode(share.0)],
        body: wrap(&wrapping, key),
    })
}

/// The file key, if `stanza` is for `identity`; an error if it looks so and is malformed.
pub(super) fn by_identity(
    stanza: &Stanza,
    identity: &Identity,
) -> Result<Option<FileKey>, AgeError> {
    let [kind, share] = &stanza.args[..] else {
        return Ok(None);
    };
    if kind != "X25519" {
        return Ok(None);
    }
    let share = decode(share.as_bytes())?;
    let share = Recipient(share.try_into().map_err(|_| AgeError::Header)?);
    let salt = [share.0, identity.recipient().0].concat();
    let wrapping = x25519(identity, &share, &salt).ok_or(AgeError::Header)?;
    Ok(unwrap(&wrapping, &stanza.body))
}

fn stretch(passphrase: &str, salt: &[u8], work_factor: u8) -> Result<Secret, AgeError> {
    let salt = [SCRYPT_LABEL, salt].concat();
    let params = scrypt::Params::new(work_factor, 8, 1, 32).map_err(|_| AgeError::Header)?;
    let mut wrapping = Secret::zeroed();
    scrypt::scrypt(passphrase.as_bytes(), &salt, &params, wrapping.bytes_mut())
        .expect("32 bytes can be derived");
    Ok(wrapping)
}

/// Wraps `key` by `passphrase`, at a cost of 2^`work_factor`.
pub(super) fn for_passphrase(
    key: &FileKey,
    passphrase: &str,
    work_factor: u8,
    random: &mut Random<'_>,
) -> Result<Stanza, AgeError> {
    let mut salt = [0; 16];
    random(&mut salt);
    let wrapping = stretch(passphrase, &salt, work_factor)?;
    let salt = STANDARD_NO_PAD.encode(salt);
    Ok(Stanza {
        args: vec!["scrypt".into(), salt, work_factor.to_string()],
        body: wrap(&wrapping, key),
    })
}

/// The file key, if the only stanza is opened by `passphrase`.
pub(super) fn by_passphrase(stanzas: &[Stanza], passphrase: &str) -> Result<FileKey, AgeError> {
    let [stanza] = stanzas else {
        return Err(AgeError::NoPassphrase);
    };
    let [kind, salt, work_factor] = &stanza.args[..] else {
        return Err(AgeError::NoPassphrase);
    };
    if kind != "scrypt" {
        return Err(AgeError::NoPassphrase);
    }
    let salt = decode(salt.as_bytes())?;
    let exact: u8 = work_factor.parse().map_err(|_| AgeError::Header)?;
    if salt.len() != 16 || exact.to_string() != *work_factor {
        return Err(AgeError::Header);
    }
    if exact > WORK_FACTOR_MAX {
        return Err(AgeError::WorkFactor(exact));
    }
    let wrapping = stretch(passphrase, &salt, exact)?;
    unwrap(&wrapping, &stanza.body).ok_or(AgeError::WrongPassphrase)
}
