//! The digests of a segment's chunks, read in big blocks.

use std::io::{self, Read};

use crate::age::stream::SEALED_LEN;
use crate::digest::Digest;

/// Chunks read at once: a megabyte keeps the disk busy and the digest in the cache.
const BLOCK_CHUNKS: usize = 16;

/// Bytes of the longest age header with its nonce: a hundred stanzas.
const AGE_HEAD_BYTES_MAX: usize = 64 * 1024;

/// What stands in a segment's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chunks {
    /// The first bytes, as many as the chain says that header and nonce have; fewer if they are not
    /// there.
    pub head: Vec<u8>,
    /// Of every chunk, the last of which may be short.
    pub digests: Vec<Digest>,
    /// Bytes of the last chunk.
    pub last_len: usize,
    /// Bytes of the file.
    pub bytes: u64,
}

impl Chunks {
    /// Reads a segment whose first chunk begins at `data_offset`. At most `chunks_max` chunks are
    /// looked at, and one more, so that a file without an end cannot hold the verifier up.
    pub(super) fn read(
        mut from: impl Read,
        data_offset: u32,
        chunks_max: usize,
    ) -> io::Result<Self> {
        let offset = (data_offset as usize).min(AGE_HEAD_BYTES_MAX);
        let mut head = Vec::with_capacity(offset);
        (&mut from).take(offset as u64).read_to_end(&mut head)?;
        let mut read = Self {
            bytes: head.len() as u64,
            head,
            digests: Vec::new(),
            last_len: 0,
        };
        let mut block = vec![0; BLOCK_CHUNKS * SEALED_LEN];
        loop {
            let filled = fill(&mut from, &mut block)?;
            for chunk in block[..filled].chunks(SEALED_LEN) {
                read.digests.push(Digest::of(chunk));
                read.last_len = chunk.len();
            }
            read.bytes += filled as u64;
            if filled < block.len() || read.digests.len() > chunks_max {
                return Ok(read);
            }
        }
    }

    /// Whether the last chunk is shorter than a full one.
    pub(super) fn ends_short(&self) -> bool {
        !self.digests.is_empty() && self.last_len < SEALED_LEN
    }
}

/// Where the first chunk begins by the file itself: after the header's last line and 16 bytes of
/// nonce (age v1). `None` if the bytes are no such header.
pub(super) fn data_offset(head: &[u8]) -> Option<u32> {
    let line = head.windows(5).position(|window| window == b"\n--- ")?;
    let end = head[line + 5..].iter().position(|byte| *byte == b'\n')?;
    u32::try_from(line + 5 + end + 1 + 16).ok()
}

fn fill(from: &mut impl Read, block: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match from.read(&mut block[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
