//! Signed notes and the checkpoints in them (C2SP signed-note and tlog-checkpoint).
//!
//! A checkpoint says how many entries a log has and which root they have; the note around it says
//! who says so. Signature lines of other keys (witnesses) are kept and ignored. Whether a key is to
//! be trusted is the caller's question.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::digest::Digest;
use crate::sign::{PublicKey, Signature, SigningKey};

/// Bytes of the longest note that is read: a checkpoint with some hundred witnesses.
pub const NOTE_BYTES_MAX: usize = 65_536;

/// The algorithm byte of Ed25519 in key ids.
const ED25519: u8 = 1;

/// What a log says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log: `consilium/<node name>`.
    pub origin: String,
    /// Entries.
    pub size: u64,
    /// The root over them.
    pub root: Digest,
}

/// Why a text is no checkpoint that this key signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// It is not a signed note with a checkpoint in it.
    #[error("it is no signed checkpoint")]
    Malformed,
    /// No line is this key's.
    #[error("no signature on it is by the log's key")]
    Unsigned,
    /// The line of this key is wrong.
    #[error("the signature on it is wrong")]
    Forged,
}

/// Whether a log may have this name: no blank, no plus, not empty.
#[must_use]
pub fn is_origin(name: &str) -> bool {
    let wrong = |c: char| c.is_whitespace() || c.is_control() || c == '+';
    !name.is_empty() && name.len() <= 255 && !name.contains(wrong)
}

/// The four bytes that tell signature lines of one name apart.
fn key_id(name: &str, key: &PublicKey) -> [u8; 4] {
    let digest = Digest::of_parts(&[name.as_bytes(), b"\n", &[ED25519], &key.0]);
    [digest.0[0], digest.0[1], digest.0[2], digest.0[3]]
}

/// The verifier key of a log as other tools take it: `name+id+key`.
#[must_use]
pub fn verifier_key(origin: &str, key: &PublicKey) -> String {
    let id = crate::digest::hex(&key_id(origin, key));
    let mut bytes = vec![ED25519];
    bytes.extend_from_slice(&key.0);
    format!("{origin}+{id}+{}", STANDARD.encode(bytes))
}

impl fmt::Display for Checkpoint {
    /// The text that is signed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = STANDARD.encode(self.root.0);
        writeln!(f, "{}\n{}\n{root}", self.origin, self.size)
    }
}

impl Checkpoint {
    /// The signed note.
    #[must_use]
    pub fn sign(&self, key: &SigningKey) -> String {
        let text = self.to_string();
        let mut line = key_id(&self.origin, &key.public()).to_vec();
        line.extend_from_slice(&key.sign(text.as_bytes()).0);
        format!(
            "{text}\n\u{2014} {} {}\n",
            self.origin,
            STANDARD.encode(line)
        )
    }

    /// The checkpoint in a note, and whether `key` signed it.
    pub fn open(note: &str, key: &PublicKey) -> Result<Self, NoteError> {
        let (checkpoint, text, lines) = split(note).ok_or(NoteError::Malformed)?;
        let id = key_id(&checkpoint.origin, key);
        let mut answer = Err(NoteError::Unsigned);
        for (name, blob) in lines {
            let Some((_, signature)) = blob
                .split_first_chunk::<4>()
                .filter(|(line, _)| **line == id)
            else {
                continue;
            };
            if name != checkpoint.origin {
                continue;
            }
            let signature = signature.try_into().map(Signature);
            let signed = signature.is_ok_and(|sig| key.verifies(text.as_bytes(), &sig));
            // One good line does not excuse a bad one by the same key.
            answer = if signed {
                Ok(())
            } else {
                Err(NoteError::Forged)
            };
            if answer == Err(NoteError::Forged) {
                break;
            }
        }
        answer.map(|()| checkpoint)
    }

    /// The checkpoint in a note, whoever signed it.
    #[must_use]
    pub fn read(note: &str) -> Option<Self> {
        split(note).map(|(checkpoint, ..)| checkpoint)
    }
}

type Line<'a> = (&'a str, Vec<u8>);

/// The checkpoint, its text, and the signature lines as name and bytes.
fn split(note: &str) -> Option<(Checkpoint, &str, Vec<Line<'_>>)> {
    if note.len() > NOTE_BYTES_MAX || note.chars().any(|c| c.is_control() && c != '\n') {
        return None;
    }
    // The text ends with a newline; an empty line stands between it and the signatures.
    let at = note.rfind("\n\n")?;
    let (text, lines) = (&note[..=at], &note[at + 2..]);
    let lines = lines.strip_suffix('\n')?;
    let lines: Option<Vec<Line<'_>>> = lines.split('\n').map(signature_line).collect();
    Some((checkpoint(text)?, text, lines?))
}

fn signature_line(line: &str) -> Option<Line<'_>> {
    let (name, blob) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
    let blob = STANDARD.decode(blob).ok()?;
    (is_origin(name) && blob.len() > 4).then_some((name, blob))
}

fn checkpoint(text: &str) -> Option<Checkpoint> {
    let mut lines = text.strip_suffix('\n')?.split('\n');
    let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
    let root = STANDARD.decode(root).ok()?.try_into().ok().map(Digest)?;
    // Extension lines may follow; they are signed and mean nothing to us, but none is empty.
    let rest_is_fine = lines.all(|line| !line.is_empty());
    let size = decimal(size)?;
    (is_origin(origin) && rest_is_fine).then(|| Checkpoint {
        origin: origin.to_owned(),
        size,
        root,
    })
}

/// A number without leading zeros or sign.
pub(super) fn decimal(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = text == "0" || !text.starts_with('0');
    (plain && canonical).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (SigningKey, Checkpoint) {
        let key = SigningKey::from_seed(&[5; 32]);
        let origin = "consilium/test".to_owned();
        (
            key,
            Checkpoint {
                origin,
                size: 42,
                root: Digest::of(b"root"),
            },
        )
    }

    #[test]
    fn a_signed_checkpoint_is_opened_by_its_key_alone() {
        let (key, checkpoint) = sample();
        let note = checkpoint.sign(&key);
        assert_eq!(
            Checkpoint::open(&note, &key.public()),
            Ok(checkpoint.clone())
        );
        assert_eq!(Checkpoint::read(&note), Some(checkpoint));
        let other = SigningKey::from_seed(&[6; 32]).public();
        assert_eq!(Checkpoint::open(&note, &other), Err(NoteError::Unsigned));
    }

    #[test]
    fn any_changed_byte_is_refused() {
        let (key, checkpoint) = sample();
        let note = checkpoint.sign(&key).into_bytes();
        for at in 0..note.len() {
            for flip in [1, 0x20] {
                let mut changed = note.clone();
                changed[at] ^= flip;
                let Ok(text) = String::from_utf8(changed) else {
                    continue;
                };
                assert!(
                    Checkpoint::open(&text, &key.public()).is_err(),
                    "{at}: {text}"
                );
            }
        }
    }

    #[test]
    fn lines_of_witnesses_are_ignored() {
        let (key, checkpoint) = sample();
        let witness = STANDARD.encode([9; 76]);
        let note = format!(
            "{}\u{2014} witness.example {witness}\n",
            checkpoint.sign(&key)
        );
        assert_eq!(Checkpoint::open(&note, &key.public()), Ok(checkpoint));
    }

    /// The independent implementation: the crates of a certificate transparency log.
    #[test]
    fn another_implementation_opens_our_note() {
        let (key, checkpoint) = sample();
        let note = signed_note::Note::from_bytes(checkpoint.sign(&key).as_bytes());
        let note = note.expect("is a note");
        let verifier = verifier_key(&checkpoint.origin, &key.public());
        let verifier = signed_note::StandardVerifier::new(&verifier).expect("is a verifier key");
        let known = signed_note::VerifierList::new(vec![Box::new(verifier)]);
        let (verified, unverified) = note.verify(&known).expect("is signed");
        assert_eq!((verified.len(), unverified.len()), (1, 0));
        let read = tlog_tiles::Checkpoint::from_bytes(note.text()).expect("is a checkpoint");
        assert_eq!((read.origin(), read.size()), ("consilium/test", 42));
        assert_eq!(read.hash().0, checkpoint.root.0);
    }
}
