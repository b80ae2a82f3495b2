//! The payload of an age file: STREAM over ChaCha20-Poly1305 in chunks of 64 KiB.
//!
//! Chunks are sealed and opened by their number, so that a reader may begin anywhere; that none is
//! missing in front is what the chain proves.

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::AgeError;
use super::stanza::{FileKey, derive};
use crate::keys::secret::Secret;

/// Plaintext bytes of a chunk; only the last one of a file may have fewer.
pub const CHUNK_LEN: usize = 64 * 1024;
/// Bytes of a chunk's tag.
pub const TAG_LEN: usize = 16;
/// Bytes of a whole chunk in the file.
pub const SEALED_LEN: usize = CHUNK_LEN + TAG_LEN;
/// Bytes of the nonce between header and first chunk.
pub const NONCE_BYTES: usize = 16;

/// Seals and opens the chunks of one file.
///
/// The key stays in its page; the cipher's own copy lives as long as one chunk takes, because it is
/// not erased when it is dropped.
pub struct Stream(Secret);

impl Stream {
    pub(super) fn new(key: &FileKey, nonce: &[u8; NONCE_BYTES]) -> Self {
        Self(derive(key.bytes(), nonce, b"payload"))
    }

    fn cipher(&self) -> LessSafeKey {
        let key = UnboundKey::new(&CHACHA20_POLY1305, self.0.bytes());
        LessSafeKey::new(key.expect("the key has 32 bytes"))
    }

    /// Seals what is in `chunk` and appends the tag.
    pub fn seal(&self, number: u32, is_last: bool, chunk: &mut Vec<u8>) {
        let tag = self.seal_in_place(number, is_last, chunk);
        chunk.extend_from_slice(&tag);
    }

    /// Seals what is in `chunk` where it lies; the tag belongs behind it.
    pub fn seal_in_place(&self, number: u32, is_last: bool, chunk: &mut [u8]) -> [u8; TAG_LEN] {
        debug_assert!(
            chunk.len() == CHUNK_LEN || is_last,
            "only the last chunk is shorter"
        );
        let tag = self
            .cipher()
            .seal_in_place_separate_tag(nonce(number, is_last), Aad::empty(), chunk)
            .expect("64 KiB can be sealed");
        *tag.as_ref()
            .first_chunk()
            .expect("a tag of Poly1305 has 16 bytes")
    }

    /// Opens `chunk` in place and gives back its plaintext.
    pub fn open<'a>(
        &self,
        number: u32,
        is_last: bool,
        chunk: &'a mut [u8],
    ) -> Result<&'a mut [u8], AgeError> {
        self.cipher()
            .open_in_place(nonce(number, is_last), Aad::empty(), chunk)
            .map_err(|_| AgeError::Chunk(number))
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stream")
    }
}

/// Eleven bytes of counter, most significant first, and the mark of the last chunk.
fn nonce(number: u32, is_last: bool) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[7..11].copy_from_slice(&number.to_be_bytes());
    bytes[11] = u8::from(is_last);
    Nonce::assume_unique_for_key(bytes)
}
