//! The open chunk of a segment: up to 64 KiB of plaintext, sealed where it lies.
//!
//! What was said in the last second lies here in the clear, so the bytes have pages of their own that
//! no core dump has, for as long as the segment is written. The room for the tag is behind them.

use sfu::pages::Pages;

use crate::age::stream::{CHUNK_LEN, SEALED_LEN, Stream, TAG_LEN};

/// Plaintext that is gathered.
#[derive(Debug)]
pub(super) struct Chunk {
    pages: Pages,
    len: usize,
}

impl Chunk {
    /// An empty one. `None`: the system has no memory left.
    pub(super) fn new() -> Option<Self> {
        let pages = Pages::new(SEALED_LEN)?;
        Some(Self { pages, len: 0 })
    }

    /// Bytes of plaintext in it.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that still go into it.
    pub(super) fn room(&self) -> usize {
        CHUNK_LEN - self.len
    }

    /// Appends bytes for which there is room.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.room(), "the caller knows the room");
        self.pages[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Fills what room there is with one byte.
    pub(super) fn fill(&mut self, byte: u8) {
        self.pages[self.len..CHUNK_LEN].fill(byte);
        self.len = CHUNK_LEN;
    }

    /// Seals it as chunk `number` of its file and gives its ciphertext. It is empty then.
    pub(super) fn seal(&mut self, stream: &Stream, number: u32, is_last: bool) -> &[u8] {
        let len = std::mem::take(&mut self.len);
        let (plaintext, rest) = self.pages.split_at_mut(len);
        let tag = stream.seal_in_place(number, is_last, plaintext);
        rest[..TAG_LEN].copy_from_slice(&tag);
        &self.pages[..len + TAG_LEN]
    }

    /// Forgets what is in it.
    pub(super) fn clear(&mut self) {
        self.pages[..self.len].fill(0);
        self.len = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::age::{self, Identity};
    use crate::keys::system_random;

    #[test]
    fn what_is_sealed_in_its_pages_is_what_a_small_file_is_sealed_to() {
        let identity = Identity::generate(&mut system_random);
        let (mut file, stream) =
            age::begin(&[identity.recipient()], &mut system_random).expect("a point");
        let mut chunk = Chunk::new().expect("memory");
        chunk.push(b"a packet");
        chunk.push(b" and another");
        assert_eq!((chunk.len(), chunk.room()), (20, CHUNK_LEN - 20));
        chunk.fill(0xff);
        assert_eq!(chunk.room(), 0);
        file.extend_from_slice(chunk.seal(&stream, 0, false));
        assert!(chunk.is_empty());
        chunk.push(b"the end");
        file.extend_from_slice(chunk.seal(&stream, 1, true));
        let opened = age::open(&file, &identity).expect("opens");
        assert!(opened.starts_with(b"a packet and another\xff"));
        assert!(opened.ends_with(b"\xffthe end") && opened.len() == CHUNK_LEN + 7);
    }

    #[test]
    fn what_is_forgotten_is_gone() {
        let mut chunk = Chunk::new().expect("memory");
        chunk.push(b"said in confidence");
        chunk.clear();
        assert!(chunk.is_empty() && chunk.pages.iter().all(|&byte| byte == 0));
    }
}
