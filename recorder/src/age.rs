//! age v1 files (`age-encryption.org/v1`): the container of every sealed byte.
//!
//! Recipients and identities are X25519; their text is the standard's, so that any age tool opens
//! what is written here. Only what the archive needs is here: no plugins, no armor, no SSH keys.
//! Small files are sealed and opened whole; segments chunk by chunk through [`stream::Stream`].

pub mod header;
pub mod stanza;
pub mod stream;

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::agreement::{PrivateKey, X25519};
use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32, Hrp};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use self::header::Header;
use self::stanza::FileKey;
use self::stream::{CHUNK_LEN, NONCE_BYTES, SEALED_LEN, Stream, TAG_LEN};
use crate::keys::Random;
use crate::keys::secret::Secret;

/// Cost of a passphrase as a power of two, as the age tools choose it: about a second.
pub const WORK_FACTOR: u8 = 18;

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

/// Why an age file cannot be opened or made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgeError {
    /// It does not begin as one.
    #[error("this is no age file")]
    NotAge,
    /// It ends within its header.
    #[error("the file is cut off")]
    Short,
    /// Its header is malformed.
    #[error("the header is malformed")]
    Header,
    /// None of its stanzas is for this identity.
    #[error("the file is not sealed to this key")]
    WrongKey,
    /// It is not sealed by a passphrase.
    #[error("the file is not sealed by a passphrase")]
    NoPassphrase,
    /// The passphrase is another.
    #[error("the passphrase is wrong")]
    WrongPassphrase,
    /// Trying the passphrase would cost too much.
    #[error("the passphrase was stretched by 2^{0}, more than is done here")]
    WorkFactor(u8),
    /// The header is not the one that was written.
    #[error("the header has been changed")]
    HeaderMac,
    /// A chunk is damaged, or is not where it was.
    #[error("chunk {0} is damaged")]
    Chunk(u32),
    /// Nothing can be sealed to this recipient.
    #[error("nothing can be sealed to this recipient")]
    Recipient,
}

/// Begins a file for `recipients`: its header and nonce, and what seals its chunks.
pub fn begin(
    recipients: &[Recipient],
    random: &mut Random<'_>,
) -> Result<(Vec<u8>, Stream), AgeError> {
    let key = FileKey::filled(|bytes| random(bytes));
    let stanzas = recipients
        .iter()
        .map(|recipient| stanza::for_recipient(&key, recipient, random))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(begin_with(&stanzas, &key, random))
}

fn begin_with(
    stanzas: &[header::Stanza],
    key: &FileKey,
    random: &mut Random<'_>,
) -> (Vec<u8>, Stream) {
    let mut head = header::write(stanzas, key);
    let mut nonce = [0; NONCE_BYTES];
    random(&mut nonce);
    head.extend_from_slice(&nonce);
    (head, Stream::new(key, &nonce))
}

/// Opens the head of a file: what opens its chunks, and where the first of them begins.
/// [`AgeError::Short`] if `bytes` end before that.
pub fn open_head(bytes: &[u8], identity: &Identity) -> Result<(Stream, usize), AgeError> {
    open_head_with(bytes, |stanzas| {
        for stanza in stanzas {
            if let Some(key) = stanza::by_identity(stanza, identity)? {
                return Ok(key);
            }
        }
        Err(AgeError::WrongKey)
    })
}

fn open_head_with(
    bytes: &[u8],
    key: impl FnOnce(&[header::Stanza]) -> Result<FileKey, AgeError>,
) -> Result<(Stream, usize), AgeError> {
    let header = Header::parse(bytes)?;
    let nonce = bytes[header.len..].first_chunk().ok_or(AgeError::Short)?;
    let key = key(&header.stanzas)?;
    if !header.verifies(bytes, &key) {
        return Err(AgeError::HeaderMac);
    }
    Ok((Stream::new(&key, nonce), header.len + NONCE_BYTES))
}

/// Seals a small file to `recipients`.
pub fn seal(
    plaintext: &[u8],
    recipients: &[Recipient],
    random: &mut Random<'_>,
) -> Result<Vec<u8>, AgeError> {
    let (head, stream) = begin(recipients, random)?;
    Ok(seal_rest(head, &stream, plaintext))
}

/// Seals a small file by a passphrase, at a cost of 2^`work_factor` ([`WORK_FACTOR`]).
pub fn seal_by_passphrase(
    plaintext: &[u8],
    passphrase: &str,
    work_factor: u8,
    random: &mut Random<'_>,
) -> Result<Vec<u8>, AgeError> {
    let key = FileKey::filled(|bytes| random(bytes));
    let stanza = stanza::for_passphrase(&key, passphrase, work_factor, random)?;
    let (head, stream) = begin_with(&[stanza], &key, random);
    Ok(seal_rest(head, &stream, plaintext))
}

fn seal_rest(mut file: Vec<u8>, stream: &Stream, plaintext: &[u8]) -> Vec<u8> {
    let chunks = plaintext.len().div_ceil(CHUNK_LEN).max(1);
    // Plaintext is overwritten by ciphertext where it stands, and no copy is left by growing.
    let mut chunk = Vec::with_capacity(SEALED_LEN);
    for number in 0..chunks {
        let from = number * CHUNK_LEN;
        let until = plaintext.len().min(from + CHUNK_LEN);
        chunk.clear();
        chunk.extend_from_slice(&plaintext[from..until]);
        stream.seal(number as u32, number + 1 == chunks, &mut chunk);
        file.extend_from_slice(&chunk);
    }
    file
}

/// Opens a small file.
pub fn open(file: &[u8], identity: &Identity) -> Result<Zeroizing<Vec<u8>>, AgeError> {
    let (stream, at) = open_head(file, identity)?;
    open_rest(&stream, &file[at..])
}

/// Opens a small file that was sealed by a passphrase.
pub fn open_by_passphrase(file: &[u8], passphrase: &str) -> Result<Zeroizing<Vec<u8>>, AgeError> {
    let (stream, at) = open_head_with(file, |stanzas| stanza::by_passphrase(stanzas, passphrase))?;
    open_rest(&stream, &file[at..])
}

fn open_rest(stream: &Stream, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, AgeError> {
    let chunks = sealed.len().div_ceil(SEALED_LEN).max(1);
    let mut plaintext = Zeroizing::new(Vec::with_capacity(sealed.len()));
    for number in 0..chunks {
        let from = number * SEALED_LEN;
        let until = sealed.len().min(from + SEALED_LEN);
        let mut chunk = Zeroizing::new(sealed[from..until].to_vec());
        // Only an empty file may end with an empty chunk.
        if chunk.len() <= TAG_LEN && number > 0 {
            return Err(AgeError::Chunk(number as u32));
        }
        let opened = stream.open(number as u32, number + 1 == chunks, &mut chunk)?;
        plaintext.extend_from_slice(opened);
    }
    Ok(plaintext)
}

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
    use crate::keys::system_random;

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
    fn sealed_files_are_opened_by_their_recipients_alone() {
        let [one, two, other] =
            [1, 2, 3].map(|fill| Identity::new(Secret::filled(|b| b.fill(fill))));
        let to = [one.recipient(), two.recipient()];
        for len in [0, 1, CHUNK_LEN - 1, CHUNK_LEN, CHUNK_LEN + 1, 3 * CHUNK_LEN] {
            let plaintext: Vec<u8> = (0..len).map(|at| (at / 7) as u8).collect();
            let file = seal(&plaintext, &to, &mut system_random).expect("to points");
            assert_eq!(*open(&file, &one).expect("is for one"), plaintext);
            assert_eq!(*open(&file, &two).expect("is for two"), plaintext);
            assert_eq!(open(&file, &other).err(), Some(AgeError::WrongKey));
            assert_eq!(
                open_by_passphrase(&file, "x").err(),
                Some(AgeError::NoPassphrase)
            );
            assert!(open(&file[..file.len() - 1], &one).is_err());
            assert!(open(&[&file[..], b"x"].concat(), &one).is_err());
        }
    }

    #[test]
    fn no_single_changed_bit_is_accepted() {
        let one = Identity::new(Secret::filled(|bytes| bytes.fill(1)));
        let file = seal(b"plaintext", &[one.recipient()], &mut system_random).expect("a point");
        for at in 0..file.len() {
            let mut file = file.clone();
            file[at] ^= 1;
            assert!(open(&file, &one).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_passphrase_opens_what_it_sealed() {
        let file = seal_by_passphrase(b"key", "right", 10, &mut system_random).expect("is cheap");
        assert_eq!(
            *open_by_passphrase(&file, "right").expect("is right"),
            b"key"
        );
        let wrong = open_by_passphrase(&file, "wrong").err();
        assert_eq!(wrong, Some(AgeError::WrongPassphrase));
        let text = String::from_utf8_lossy(&file).replacen(" 10\n", " 40\n", 1);
        let costly = open_by_passphrase(text.as_bytes(), "right").err();
        assert_eq!(costly, Some(AgeError::WorkFactor(40)));
    }

    #[test]
    fn nothing_is_sealed_to_a_point_of_small_order() {
        let sealed = seal(b"", &[Recipient([0; 32])], &mut system_random);
        assert_eq!(sealed.err(), Some(AgeError::Recipient));
    }

    #[test]
    fn debians_age_opens_ours_and_we_open_its() {
        let identity = Identity::new(Secret::filled(|bytes| bytes.fill(9)));
        let folder = std::env::temp_dir().join(format!("consilium-age-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("temporary files can be made");
        let key = folder.join("key.txt");
        std::fs::write(&key, identity.to_text().as_bytes()).expect("can be written");
        for len in [0, 100, CHUNK_LEN, 2 * CHUNK_LEN + 5] {
            let plaintext: Vec<u8> = (0..len).map(|at| (at / 5) as u8).collect();
            let other = Identity::generate(&mut system_random).recipient();
            let to = [other, identity.recipient()];
            let ours = seal(&plaintext, &to, &mut system_random).expect("to points");
            let opened = age(&["-d", "-i", key.to_str().expect("is UTF-8")], &ours);
            assert!(opened == plaintext, "{len} bytes of ours");
            let theirs = age(&["-r", &identity.recipient().to_string()], &plaintext);
            assert!(
                *open(&theirs, &identity).expect("is for us") == plaintext,
                "{len} of its"
            );
        }
        std::fs::remove_dir_all(&folder).expect("was made above");
    }

    /// Runs `age`, which is in `deploy/apt-packages.txt`.
    fn age(args: &[&str], input: &[u8]) -> Vec<u8> {
        use std::io::{Read, Write};
        use std::process::{Command, Stdio};
        let child = Command::new("age")
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.expect("the Debian package age is installed");
        let mut stdin = child.stdin.take().expect("is piped");
        let input = input.to_vec();
        let feed = std::thread::spawn(move || stdin.write_all(&input));
        let mut output = Vec::new();
        let mut stdout = child.stdout.take().expect("is piped");
        stdout.read_to_end(&mut output).expect("can be read");
        feed.join()
            .expect("does not panic")
            .expect("age reads all of its input");
        assert!(child.wait().expect("has ended").success(), "age {args:?}");
        output
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
