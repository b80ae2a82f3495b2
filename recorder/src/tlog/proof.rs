//! A proof that an entry is in the log, as one text file (C2SP tlog-proof).
//!
//! The entry's own bytes travel in the `extra` line, so that the file proves what it proves to
//! somebody who has nothing but the log's key. Nothing in the line is trusted: its hash must lead
//! to the signed root.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::note::{Checkpoint, NOTE_BYTES_MAX, NoteError, decimal};
use super::tile::ENTRY_BYTES_MAX;
use super::tree;
use crate::digest::Digest;
use crate::sign::PublicKey;

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";

/// A tree of 2^64 entries has paths of 64 hashes.
const PATH_MAX: usize = 64;

/// Bytes of the longest proof: the longest entry in base64, a path, a note.
pub const PROOF_BYTES_MAX: usize = ENTRY_BYTES_MAX * 4 / 3 + PATH_MAX * 46 + NOTE_BYTES_MAX + 256;

/// That an entry is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The entry's bytes.
    pub entry: Vec<u8>,
    /// Its place in the log.
    pub index: u64,
    /// The hashes from it to the root.
    pub path: Vec<Digest>,
    /// The signed checkpoint, verbatim.
    pub checkpoint: String,
}

/// Why a proof proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// It is not a tlog-proof file with our entry in it.
    #[error("it is no proof of an entry of a log")]
    Malformed,
    /// Its checkpoint is not the log's.
    #[error("its checkpoint cannot be trusted: {0}")]
    Checkpoint(#[from] NoteError),
    /// The hashes do not lead to the root.
    #[error("its hashes do not lead from the entry to the root of the log")]
    Mismatch,
}

impl Proof {
    /// Reads a file. Nothing is checked but its form.
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        parse(text).ok_or(ProofError::Malformed)
    }

    /// Checks everything and returns the checkpoint that it leads to.
    pub fn check(&self, key: &PublicKey) -> Result<Checkpoint, ProofError> {
        let checkpoint = Checkpoint::open(&self.checkpoint, key)?;
        let leaf = tree::leaf(&self.entry);
        let root = tree::root_of_inclusion(&leaf, self.index, checkpoint.size, &self.path);
        if root == Some(checkpoint.root) {
            Ok(checkpoint)
        } else {
            Err(ProofError::Mismatch)
        }
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry = STANDARD.encode(&self.entry);
        writeln!(f, "{FIRST_LINE}\nextra {entry}\nindex {}", self.index)?;
        for hash in &self.path {
            writeln!(f, "{}", STANDARD.encode(hash.0))?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}

fn parse(text: &str) -> Option<Proof> {
    if text.len() > PROOF_BYTES_MAX {
        return None;
    }
    let (head, checkpoint) = text.split_once("\n\n")?;
    let mut lines = head.split('\n');
    if lines.next()? != FIRST_LINE {
        return None;
    }
    let entry = STANDARD
        .decode(lines.next()?.strip_prefix("extra ")?)
        .ok()?;
    let index = decimal(lines.next()?.strip_prefix("index ")?)?;
    let path: Option<Vec<Digest>> = lines
        .map(|line| STANDARD.decode(line).ok()?.try_into().ok().map(Digest))
        .collect();
    let path = path.filter(|path| path.len() <= PATH_MAX)?;
    Checkpoint::read(checkpoint)?;
    Some(Proof {
        entry,
        index,
        path,
        checkpoint: checkpoint.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign::SigningKey;

    fn sample() -> (SigningKey, Proof) {
        let key = SigningKey::from_seed(&[5; 32]);
        let leaves = [
            tree::leaf(b"first"),
            tree::leaf(b"second"),
            tree::leaf(b"third"),
        ];
        let left = tree::node(&leaves[0], &leaves[1]);
        let root = tree::node(&left, &leaves[2]);
        let checkpoint = Checkpoint {
            origin: "consilium/test".into(),
            size: 3,
            root,
        }
        .sign(&key);
        let path = vec![leaves[0], leaves[2]];
        (
            key,
            Proof {
                entry: b"second".to_vec(),
                index: 1,
                path,
                checkpoint,
            },
        )
    }

    #[test]
    fn a_proof_survives_its_file_and_leads_to_the_root() {
        let (key, proof) = sample();
        assert_eq!(Proof::parse(&proof.to_string()), Ok(proof.clone()));
        assert_eq!(proof.check(&key.public()).map(|head| head.size), Ok(3));
    }

    #[test]
    fn any_changed_byte_is_refused() {
        let (key, proof) = sample();
        let text = proof.to_string().into_bytes();
        for at in 0..text.len() {
            let mut changed = text.clone();
            changed[at] ^= 1;
            let Ok(changed) = String::from_utf8(changed) else {
                continue;
            };
            let checked = Proof::parse(&changed).and_then(|proof| proof.check(&key.public()));
            assert!(checked.is_err(), "{at}: {changed}");
        }
    }

    #[test]
    fn another_place_or_entry_is_not_proven() {
        let (key, proof) = sample();
        let elsewhere = Proof {
            index: 0,
            ..proof.clone()
        };
        assert_eq!(elsewhere.check(&key.public()), Err(ProofError::Mismatch));
        let other = Proof {
            entry: b"Second".to_vec(),
            ..proof
        };
        assert_eq!(other.check(&key.public()), Err(ProofError::Mismatch));
    }
}
