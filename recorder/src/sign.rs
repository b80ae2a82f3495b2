//! Ed25519: the node key, the keys of writers, and the 96 bytes of a `.sig` file.
//!
//! What is signed always says what it is (`consilium/<kind>/1`), so that no signature can be carried
//! from one place to another. Which key is to be trusted is the caller's question: this module says
//! which key signed.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use aws_lc_rs::encoding::AsBigEndian;
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::digest::{Digest, hex};

/// Bytes of a `.sig` file.
pub const SIG_FILE_LEN: usize = 96;

/// An Ed25519 public key; base64 as text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct PublicKey(pub [u8; 32]);

/// A text that is no public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an Ed25519 public key: base64 of 32 bytes")]
pub struct NotAKey;

/// An Ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

impl PublicKey {
    /// Whether this key signed `message`.
    pub fn verifies(&self, message: &[u8], signature: &Signature) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0)
            .verify(message, &signature.0)
            .is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl std::str::FromStr for PublicKey {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        let bytes = STANDARD.decode(text).map_err(|_| NotAKey)?;
        bytes.try_into().map(Self).map_err(|_| NotAKey)
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

impl TryFrom<String> for PublicKey {
    type Error = NotAKey;

    fn try_from(text: String) -> Result<Self, NotAKey> {
        text.parse()
    }
}

/// A key that signs. Its memory is erased when it is dropped.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl SigningKey {
    /// The key that grows from `seed`.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("any 32 bytes are a seed");
        Self::from_pair(pair)
    }

    fn from_pair(pair: Ed25519KeyPair) -> Self {
        let public = pair.public_key().as_ref().try_into();
        let public = PublicKey(public.expect("an Ed25519 public key has 32 bytes"));
        Self { pair, public }
    }

    /// What verifies its signatures.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// Signs `message` as it is.
    pub fn sign(&self, message: &[u8]) -> Signature {
        let signature = self.pair.sign(message);
        let bytes = signature.as_ref().try_into();
        Signature(bytes.expect("an Ed25519 signature has 64 bytes"))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public)
    }
}

/// What a `.sig` file stands beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `header.json`.
    Header,
    /// `writer-000000.json` and so on.
    Writer,
    /// `manifest.json`.
    Manifest,
    /// A finished day of the audit.
    Audit,
    /// The list of files of an export.
    Export,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Writer => "writer",
            Self::Manifest => "manifest",
            Self::Audit => "audit",
            Self::Export => "export",
        }
    }

    fn message(self, digest: Digest) -> Vec<u8> {
        let mut message = format!("consilium/{}/1\n", self.word()).into_bytes();
        message.extend_from_slice(&digest.0);
        message
    }
}

/// Why a `.sig` file proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigError {
    /// It has not 96 bytes.
    #[error("the signature file has not {SIG_FILE_LEN} bytes")]
    Length,
    /// The file is not what was signed.
    #[error("the file is not what was signed")]
    Mismatch,
}

/// The bytes of the `.sig` file beside `file`.
pub fn sig_file(kind: Kind, file: &[u8], key: &SigningKey) -> [u8; SIG_FILE_LEN] {
    sig_digest(kind, Digest::of(file), key)
}

/// The bytes of the `.sig` file beside a file with this digest.
pub fn sig_digest(kind: Kind, digest: Digest, key: &SigningKey) -> [u8; SIG_FILE_LEN] {
    let mut bytes = [0; SIG_FILE_LEN];
    bytes[..32].copy_from_slice(&key.public().0);
    bytes[32..].copy_from_slice(&key.sign(&kind.message(digest)).0);
    bytes
}

/// Which key signed `file`, if one did.
pub fn check_sig_file(kind: Kind, file: &[u8], sig: &[u8]) -> Result<PublicKey, SigError> {
    check_sig_digest(kind, Digest::of(file), sig)
}

/// Which key signed the file with this digest, if one did.
pub fn check_sig_digest(kind: Kind, digest: Digest, sig: &[u8]) -> Result<PublicKey, SigError> {
    let sig: &[u8; SIG_FILE_LEN] = sig.try_into().map_err(|_| SigError::Length)?;
    let (key, signature) = sig.split_at(32);
    let key = PublicKey(key.try_into().expect("was split at 32"));
    let signature = Signature(signature.try_into().expect("96 less 32 is 64"));
    if key.verifies(&kind.message(digest), &signature) {
        Ok(key)
    } else {
        Err(SigError::Mismatch)
    }
}

const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";

/// The long-lived key of an installation. It signs headers, writers, manifests and audit days, and
/// finds a room's open recording again without the room's name being written anywhere.
#[derive(Debug)]
pub struct NodeKey {
    key: SigningKey,
    tags: hmac::Key,
}

/// Why there is no node key.
#[derive(Debug, thiserror::Error)]
pub enum NodeKeyError {
    /// The file cannot be read or made.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The file holds something else.
    #[error("it does not hold an Ed25519 key in PEM (PKCS #8)")]
    Invalid,
}

impl NodeKey {
    /// The key that grows from `seed`.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self::from_signing_key(SigningKey::from_seed(seed))
    }

    fn from_signing_key(key: SigningKey) -> Self {
        let seed = key.pair.seed().expect("a private key has its seed");
        let seed = seed.as_be_bytes().expect("a seed has its bytes");
        let root = hmac::Key::new(hmac::HMAC_SHA256, seed.as_ref());
        let tags = hmac::sign(&root, b"consilium/room-tag/1\n");
        let tags = hmac::Key::new(hmac::HMAC_SHA256, tags.as_ref());
        Self { key, tags }
    }

    /// Reads the key from a PEM file, as `openssl genpkey -algorithm ed25519` makes them.
    pub fn load(path: &Path) -> Result<Self, NodeKeyError> {
        let text = Zeroizing::new(fs::read_to_string(path)?);
        Self::from_pem(&text).ok_or(NodeKeyError::Invalid)
    }

    /// Reads the key from `path`; if there is no such file, makes one that only its owner can read.
    pub fn load_or_create(path: &Path, seed: &[u8; 32]) -> Result<Self, NodeKeyError> {
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        match made {
            Ok(mut file) => {
                let key = Self::from_seed(seed);
                file.write_all(key.to_pem().as_bytes())?;
                file.sync_all()?;
                Ok(key)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Self::load(path),
            Err(error) => Err(error.into()),
        }
    }

    fn from_pem(text: &str) -> Option<Self> {
        let body = text.split_once(PEM_BEGIN)?.1.split_once(PEM_END)?.0;
        let body: Zeroizing<String> =
            Zeroizing::new(body.chars().filter(|c| !c.is_whitespace()).collect());
        let der = Zeroizing::new(STANDARD.decode(body.as_bytes()).ok()?);
        let pair = Ed25519KeyPair::from_pkcs8(&der).ok()?;
        Some(Self::from_signing_key(SigningKey::from_pair(pair)))
    }

    fn to_pem(&self) -> Zeroizing<String> {
        let der = self.key.pair.to_pkcs8v1().expect("a key can be written");
        let mut body = STANDARD.encode(der.as_ref());
        // 48 bytes of DER: one line of 64 characters.
        let text = Zeroizing::new(format!("{PEM_BEGIN}\n{body}\n{PEM_END}\n"));
        body.zeroize();
        text
    }

    /// The key that signs.
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// What verifies its signatures.
    pub fn public(&self) -> PublicKey {
        self.key.public
    }

    /// The tag by which a restarted room finds its open recording: nobody without this key can tell
    /// from it which room it was.
    pub fn room_tag(&self, owner: &str, room: &str) -> String {
        let mut context = hmac::Context::with_key(&self.tags);
        for part in ["room", owner, room] {
            context.update(&(part.len() as u32).to_le_bytes());
            context.update(part.as_bytes());
        }
        hex(&context.sign().as_ref()[..16])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sig_file_proves_one_file_of_one_kind() {
        let key = SigningKey::from_seed(&[7; 32]);
        let sig = sig_file(Kind::Header, b"{}", &key);
        assert_eq!(check_sig_file(Kind::Header, b"{}", &sig), Ok(key.public()));
        let wrong = Err(SigError::Mismatch);
        assert_eq!(check_sig_file(Kind::Writer, b"{}", &sig), wrong);
        assert_eq!(check_sig_file(Kind::Header, b"{ }", &sig), wrong);
        for at in 0..SIG_FILE_LEN {
            let mut sig = sig;
            sig[at] ^= 1;
            assert_eq!(check_sig_file(Kind::Header, b"{}", &sig), wrong, "{at}");
        }
        let short = check_sig_file(Kind::Header, b"{}", &sig[1..]);
        assert_eq!(short, Err(SigError::Length));
    }

    #[test]
    fn the_first_vector_of_rfc_8032_holds() {
        let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
        let seed: Digest = seed.parse().expect("is hexadecimal");
        let key = SigningKey::from_seed(&seed.0);
        let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        assert_eq!(hex(&key.public().0), public);
        assert!(hex(&key.sign(b"").0).starts_with("e5564300c360ac729086e2cc806e828a"));
    }

    #[test]
    fn a_node_key_survives_its_file() {
        let key = NodeKey::from_seed(&[3; 32]);
        let pem = key.to_pem();
        assert!(pem.lines().all(|line| line.len() <= 64));
        let again = NodeKey::from_pem(&pem).expect("is what was written");
        assert_eq!(again.public(), key.public());
        assert_eq!(again.room_tag("a", "b"), key.room_tag("a", "b"));
        assert!(NodeKey::from_pem(&pem.replace('M', "N")).is_none());
        assert!(NodeKey::from_pem("").is_none());
    }

    #[test]
    fn a_room_tag_depends_on_the_node_the_owner_and_the_room() {
        let tag = |seed, owner, room| NodeKey::from_seed(&[seed; 32]).room_tag(owner, room);
        let this = tag(1, "key", "room");
        assert_eq!(this.len(), 32);
        for other in [
            tag(2, "key", "room"),
            tag(1, "keyr", "oom"),
            tag(1, "key", "room2"),
        ] {
            assert_ne!(this, other);
        }
    }
}
