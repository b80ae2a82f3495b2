//! An officer's key file: an age identity behind a passphrase.
//!
//! The plaintext is what `age-keygen` writes, so `age -d` opens the file and `age -i` takes what comes
//! out. The server never needs one of these: it knows officers by their public keys alone.

use zeroize::Zeroizing;

use crate::age::{self, AgeError, Identity};
use crate::keys::Random;
use crate::wall::Wall;

/// A key file longer than this is none: ours have 400 bytes.
pub const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Why a key file cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfficerError {
    /// The file cannot be opened.
    #[error("{0}")]
    Age(#[from] AgeError),
    /// What it holds is not one identity.
    #[error("the file holds no age identity (AGE-SECRET-KEY-1…)")]
    NoIdentity,
}

/// The key file of `identity`, sealed by `passphrase` at a cost of 2^`work_factor`
/// ([`age::WORK_FACTOR`]).
pub fn key_file(
    identity: &Identity,
    created: Wall,
    passphrase: &str,
    work_factor: u8,
    random: &mut Random<'_>,
) -> Result<Vec<u8>, AgeError> {
    age::seal_by_passphrase(
        plain_file(identity, created).as_bytes(),
        passphrase,
        work_factor,
        random,
    )
}

/// The key file of `identity` without a passphrase: for the release service, which starts unattended.
pub fn plain_file(identity: &Identity, created: Wall) -> Zeroizing<String> {
    let secret = identity.to_text();
    // 24 of date, 62 of public key, 74 of secret and 35 around them: it does not grow.
    let mut text = Zeroizing::new(String::with_capacity(256));
    text.push_str("# created: ");
    text.push_str(&created.to_string());
    text.push_str("\n# public key: ");
    text.push_str(&identity.recipient().to_string());
    text.push('\n');
    text.push_str(&secret);
    text.push('\n');
    text
}

/// Opens a key file by its passphrase.
pub fn open_key_file(file: &[u8], passphrase: &str) -> Result<Identity, OfficerError> {
    read_plain_file(&age::open_by_passphrase(file, passphrase)?)
}

/// Reads a key file without a passphrase, as `age-keygen` writes them: comments, then one identity.
pub fn read_plain_file(text: &[u8]) -> Result<Identity, OfficerError> {
    let text = std::str::from_utf8(text).map_err(|_| OfficerError::NoIdentity)?;
    let mut lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let identity = lines.next().ok_or(OfficerError::NoIdentity)?;
    if lines.next().is_some() {
        return Err(OfficerError::NoIdentity);
    }
    Identity::from_text(identity).map_err(|_| OfficerError::NoIdentity)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::system_random;

    #[test]
    fn a_key_file_is_opened_by_its_passphrase() {
        let identity = Identity::generate(&mut system_random);
        let file = key_file(&identity, Wall(0), "correct horse", 10, &mut system_random);
        let file = file.expect("is cheap");
        let again = open_key_file(&file, "correct horse").expect("is right");
        assert_eq!(again.recipient(), identity.recipient());
        let wrong = open_key_file(&file, "wrong").err();
        assert_eq!(wrong, Some(OfficerError::Age(AgeError::WrongPassphrase)));
    }

    #[test]
    fn one_identity_is_expected_and_no_more() {
        let one = plain_file(&Identity::generate(&mut system_random), Wall(0));
        assert!(read_plain_file(one.as_bytes()).is_ok());
        let two = [one.as_bytes(), one.as_bytes()].concat();
        for text in [&b""[..], b"# only a comment\n", b"hello", b"\xff", &two] {
            assert_eq!(read_plain_file(text).err(), Some(OfficerError::NoIdentity));
        }
    }
}
