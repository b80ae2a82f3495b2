//! The chain beside a segment: what proves every chunk without any key (section 8 of the format).
//!
//! Each chunk's ciphertext is hashed into a running value that begins with the segment before and
//! the recording's id; signatures are over that value. Parsing takes bytes that may be cut off
//! anywhere. Whether the chunks are really there is the verifier's question.

use crate::digest::Digest;
use crate::id::RecordingId;
use crate::sign::{PublicKey, Signature, SigningKey};

/// Bytes of the head.
pub const HEAD_LEN: usize = 52;

const MAGIC: &[u8; 4] = b"CCH1";

/// The head of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The segment's number.
    pub segment: u32,
    /// The segment's `t0`, microseconds since the start of the recording.
    pub t0_us: u64,
    /// Segment 0: the digest of `header.json`; else the last chain value of the segment before.
    pub prev: Digest,
    /// Where the first chunk begins in the segment: bytes of age header and nonce.
    pub data_offset: u32,
}

/// Why bytes are no chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// More bytes are needed; at the end of what is there, the entry is torn.
    #[error("the chain is cut off")]
    Short,
    /// It does not begin as a chain.
    #[error("the file is no chain")]
    Magic,
    /// No entry begins with this byte.
    #[error("no entry of a chain begins with the byte {0}")]
    Unknown(u8),
}

impl Head {
    /// Its bytes.
    pub fn encode(&self) -> [u8; HEAD_LEN] {
        let mut bytes = [0; HEAD_LEN];
        bytes[..4].copy_from_slice(MAGIC);
        bytes[4..8].copy_from_slice(&self.segment.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.t0_us.to_le_bytes());
        bytes[16..48].copy_from_slice(&self.prev.0);
        bytes[48..52].copy_from_slice(&self.data_offset.to_le_bytes());
        bytes
    }

    /// Reads the head and gives back what follows it.
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), ChainError> {
        let (magic, rest) = take(bytes)?;
        if &magic != MAGIC {
            return Err(ChainError::Magic);
        }
        let (segment, rest) = take(rest)?;
        let (t0_us, rest) = take(rest)?;
        let (prev, rest) = take(rest)?;
        let (data_offset, rest) = take(rest)?;
        let head = Self {
            segment: u32::from_le_bytes(segment),
            t0_us: u64::from_le_bytes(t0_us),
            prev: Digest(prev),
            data_offset: u32::from_le_bytes(data_offset),
        };
        Ok((head, rest))
    }
}

fn take<const N: usize>(bytes: &[u8]) -> Result<([u8; N], &[u8]), ChainError> {
    let (taken, rest) = bytes.split_first_chunk().ok_or(ChainError::Short)?;
    Ok((*taken, rest))
}

/// What a signature says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seal {
    /// `S`: durable up to here.
    Flushed,
    /// `E`: the segment is closed.
    Closed,
    /// `R`: salvaged up to here.
    Salvaged,
}

impl Seal {
    fn byte(self) -> u8 {
        match self {
            Self::Flushed => b'S',
            Self::Closed => b'E',
            Self::Salvaged => b'R',
        }
    }
}

/// One entry of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// `C`: a chunk was written.
    Chunk {
        /// Which one.
        number: u32,
        /// The time of the first record that begins in it, microseconds since `t0`; if none does,
        /// of the record that goes on in it.
        time_us: u32,
        /// SHA-256 of its ciphertext, tag included.
        digest: Digest,
    },
    /// `S`: everything so far is durable. By the writer's key.
    Flushed(Signature),
    /// `E`: the segment is closed. By the writer's key.
    Closed(Signature),
    /// `R`: salvaged up to here. By the node key.
    Salvaged {
        /// The node key.
        node: PublicKey,
        /// Its signature.
        signature: Signature,
    },
}

impl Entry {
    /// Appends its bytes to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Chunk {
                number,
                time_us,
                digest,
            } => {
                out.push(b'C');
                out.extend_from_slice(&number.to_le_bytes());
                out.extend_from_slice(&time_us.to_le_bytes());
                out.extend_from_slice(&digest.0);
            }
            Self::Flushed(signature) => {
                out.push(b'S');
                out.extend_from_slice(&signature.0);
            }
            Self::Closed(signature) => {
                out.push(b'E');
                out.extend_from_slice(&signature.0);
            }
            Self::Salvaged { node, signature } => {
                out.push(b'R');
                out.extend_from_slice(&node.0);
                out.extend_from_slice(&signature.0);
            }
        }
    }

    /// Reads the entry at the start of `bytes` and gives back what follows it; `Ok(None)` at the
    /// end.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, &[u8])>, ChainError> {
        let Some((&first, rest)) = bytes.split_first() else {
            return Ok(None);
        };
        let (entry, rest) = match first {
            b'C' => {
                let (number, rest) = take(rest)?;
                let (time_us, rest) = take(rest)?;
                let (digest, rest) = take(rest)?;
                let chunk = Self::Chunk {
                    number: u32::from_le_bytes(number),
                    time_us: u32::from_le_bytes(time_us),
                    digest: Digest(digest),
                };
                (chunk, rest)
            }
            b'S' => {
                let (signature, rest) = take(rest)?;
                (Self::Flushed(Signature(signature)), rest)
            }
            b'E' => {
                let (signature, rest) = take(rest)?;
                (Self::Closed(Signature(signature)), rest)
            }
            b'R' => {
                let (node, rest) = take(rest)?;
                let (signature, rest) = take(rest)?;
                let salvaged = Self::Salvaged {
                    node: PublicKey(node),
                    signature: Signature(signature),
                };
                (salvaged, rest)
            }
            other => return Err(ChainError::Unknown(other)),
        };
        Ok(Some((entry, rest)))
    }
}

/// The running value of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    recording: RecordingId,
    segment: u32,
    chunks: u32,
    value: Digest,
}

impl Chain {
    /// The value before the first chunk. `age_head` is the segment's first `data_offset` bytes.
    pub fn start(recording: RecordingId, head: &Head, age_head: &[u8]) -> Self {
        let value = Digest::of_parts(&[
            b"consilium/segment/1\n",
            recording.bytes(),
            &head.segment.to_le_bytes(),
            &head.t0_us.to_le_bytes(),
            &head.prev.0,
            age_head,
        ]);
        Self {
            recording,
            segment: head.segment,
            chunks: 0,
            value,
        }
    }

    /// Takes in the next chunk, whose entry is to be written.
    pub fn push(&mut self, time_us: u32, ciphertext: &[u8]) -> Entry {
        let (number, digest) = (self.chunks, Digest::of(ciphertext));
        self.push_digest(time_us, digest);
        Entry::Chunk {
            number,
            time_us,
            digest,
        }
    }

    /// Takes in the next chunk by its digest.
    pub fn push_digest(&mut self, time_us: u32, digest: Digest) {
        self.value = Digest::of_parts(&[
            &self.value.0,
            &self.chunks.to_le_bytes(),
            &time_us.to_le_bytes(),
            &digest.0,
        ]);
        self.chunks += 1;
    }

    /// How many chunks have been taken in.
    pub fn chunks(&self) -> u32 {
        self.chunks
    }

    /// The value now.
    pub fn value(&self) -> Digest {
        self.value
    }

    fn message(&self, seal: Seal) -> Vec<u8> {
        let mut message = b"consilium/chain/1\n".to_vec();
        message.push(seal.byte());
        message.extend_from_slice(self.recording.bytes());
        message.extend_from_slice(&self.segment.to_le_bytes());
        message.extend_from_slice(&self.chunks.to_le_bytes());
        message.extend_from_slice(&self.value.0);
        message
    }

    /// The entry by which `key` vouches for everything so far: the writer's for `Flushed` and
    /// `Closed`, the node's for `Salvaged`.
    pub fn seal(&self, seal: Seal, key: &SigningKey) -> Entry {
        let signature = key.sign(&self.message(seal));
        match seal {
            Seal::Flushed => Entry::Flushed(signature),
            Seal::Closed => Entry::Closed(signature),
            Seal::Salvaged => Entry::Salvaged {
                node: key.public(),
                signature,
            },
        }
    }

    /// Whether `key` vouched for everything so far.
    pub fn verifies(&self, seal: Seal, key: &PublicKey, signature: &Signature) -> bool {
        key.verifies(&self.message(seal), signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wall::Wall;

    fn head() -> Head {
        Head {
            segment: 3,
            t0_us: 180_000_000,
            prev: Digest([9; 32]),
            data_offset: 200,
        }
    }

    fn chain() -> Chain {
        let recording = RecordingId::new(Wall::from_millis(1), [1; 10]);
        Chain::start(recording, &head(), b"age header and nonce")
    }

    #[test]
    fn the_head_is_read_as_it_was_written() {
        let bytes = head().encode();
        assert_eq!(&bytes[..8], b"CCH1\x03\x00\x00\x00");
        assert_eq!(Head::parse(&bytes), Ok((head(), &[][..])));
        for len in 0..HEAD_LEN {
            assert_eq!(Head::parse(&bytes[..len]), Err(ChainError::Short));
        }
        assert_eq!(Head::parse(&[b'x'; HEAD_LEN]), Err(ChainError::Magic));
    }

    #[test]
    fn entries_are_read_as_they_were_written_and_torn_ones_are_short() {
        let key = SigningKey::from_seed(&[5; 32]);
        let mut chain = chain();
        let chunk = chain.push(7, b"ciphertext");
        let seals = [Seal::Flushed, Seal::Closed, Seal::Salvaged];
        let entries = [chunk]
            .into_iter()
            .chain(seals.map(|seal| chain.seal(seal, &key)));
        for (entry, len) in entries.zip([41, 65, 65, 97]) {
            let mut bytes = Vec::new();
            entry.encode(&mut bytes);
            assert_eq!(bytes.len(), len);
            assert_eq!(Entry::parse(&bytes), Ok(Some((entry, &[][..]))));
            for len in 1..len {
                assert_eq!(Entry::parse(&bytes[..len]), Err(ChainError::Short));
            }
        }
        assert_eq!(Entry::parse(&[]), Ok(None));
        assert_eq!(Entry::parse(b"X"), Err(ChainError::Unknown(b'X')));
    }

    #[test]
    fn a_seal_holds_for_one_state_and_one_meaning_only() {
        let key = SigningKey::from_seed(&[5; 32]);
        let mut chain = chain();
        chain.push(7, b"ciphertext");
        let Entry::Flushed(signature) = chain.seal(Seal::Flushed, &key) else {
            panic!("that was asked for");
        };
        assert!(chain.verifies(Seal::Flushed, &key.public(), &signature));
        assert!(!chain.verifies(Seal::Closed, &key.public(), &signature));
        let other = SigningKey::from_seed(&[6; 32]).public();
        assert!(!chain.verifies(Seal::Flushed, &other, &signature));
        chain.push(8, b"more");
        assert!(!chain.verifies(Seal::Flushed, &key.public(), &signature));
    }

    #[test]
    fn the_value_depends_on_every_part() {
        let value = |change: fn(&mut Head), time_us, chunk: &[u8]| {
            let mut head = head();
            change(&mut head);
            let recording = RecordingId::new(Wall::from_millis(1), [1; 10]);
            let mut chain = Chain::start(recording, &head, b"head");
            chain.push(time_us, chunk);
            chain.value()
        };
        let this = value(|_| (), 1, b"chunk");
        let others = [
            value(|head| head.segment += 1, 1, b"chunk"),
            value(|head| head.t0_us += 1, 1, b"chunk"),
            value(|head| head.prev = Digest::ZERO, 1, b"chunk"),
            value(|_| (), 2, b"chunk"),
            value(|_| (), 1, b"chunks"),
        ];
        assert!(others.iter().all(|other| *other != this));
    }
}
