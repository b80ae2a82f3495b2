//! A chain file as a whole: its head, its links and its seals, and how its reading ended.
//!
//! Reading never fails halfway: what is whole before a tear or a byte that begins no entry is given,
//! with the place where it ended. Nothing is checked here but the form.

use crate::digest::Digest;
use crate::journal::chain::{ChainError, Entry, HEAD_LEN, Head, Seal};
use crate::sign::{PublicKey, Signature};

/// Bytes of a chain file at most: a hundred thousand chunks, which would be a segment of 6 GB.
pub const CHAIN_BYTES_MAX: usize = 8 * 1024 * 1024;

/// One `C` entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The number that it claims.
    pub number: u32,
    /// The time of the chunk's first record, microseconds since `t0`.
    pub time_us: u32,
    /// Of the chunk's ciphertext.
    pub digest: Digest,
}

/// One signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// How many chunks stand before it.
    pub chunks: usize,
    /// What it says.
    pub seal: Seal,
    /// The node key that a salvaged end names.
    pub node: Option<PublicKey>,
    /// By whom it should be is known elsewhere.
    pub signature: Signature,
    /// Where the entry ends in the file.
    pub end: usize,
}

/// How the reading of the entries ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With the file.
    Clean,
    /// Within an entry.
    Torn,
    /// At a byte that begins no entry.
    Unknown(u8),
    /// More follows a closed or salvaged end.
    AfterEnd,
}

/// A chain file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Links {
    /// The head.
    pub head: Head,
    /// The chunks.
    pub links: Vec<Link>,
    /// The signatures.
    pub seals: Vec<Sealed>,
    /// How it ended.
    pub ending: Ending,
    /// Bytes that were read as whole entries, the head included.
    pub whole: usize,
}

impl Links {
    /// Reads a file; an error if not even its head is there.
    pub fn parse(bytes: &[u8]) -> Result<Self, ChainError> {
        let (head, mut rest) = Head::parse(bytes)?;
        let mut read = Self {
            head,
            links: Vec::new(),
            seals: Vec::new(),
            ending: Ending::Clean,
            whole: HEAD_LEN,
        };
        loop {
            if !rest.is_empty() && read.end().is_some() {
                read.ending = Ending::AfterEnd;
                break;
            }
            match Entry::parse(rest) {
                Ok(Some((entry, after))) => {
                    rest = after;
                    read.whole = bytes.len() - rest.len();
                    read.push(entry);
                }
                Ok(None) => break,
                Err(ChainError::Unknown(byte)) => {
                    read.ending = Ending::Unknown(byte);
                    break;
                }
                Err(_) => {
                    read.ending = Ending::Torn;
                    break;
                }
            }
        }
        Ok(read)
    }

    /// The seal that ended the segment, if one did.
    #[must_use]
    pub fn end(&self) -> Option<&Sealed> {
        self.seals
            .last()
            .filter(|sealed| sealed.seal != Seal::Flushed)
    }

    fn push(&mut self, entry: Entry) {
        let (seal, node, signature) = match entry {
            Entry::Chunk {
                number,
                time_us,
                digest,
            } => {
                self.links.push(Link {
                    number,
                    time_us,
                    digest,
                });
                return;
            }
            Entry::Flushed(signature) => (Seal::Flushed, None, signature),
            Entry::Closed(signature) => (Seal::Closed, None, signature),
            Entry::Salvaged { node, signature } => (Seal::Salvaged, Some(node), signature),
        };
        let chunks = self.links.len();
        self.seals.push(Sealed {
            chunks,
            seal,
            node,
            signature,
            end: self.whole,
        });
    }
}
