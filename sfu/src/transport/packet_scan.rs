//! A look at the chunks of an SCTP packet (RFC 9260 section 3) before or after `sctp-proto` has it.
//!
//! It finds what that crate does not bound by itself: DATA without data, which would be held
//! without costing window, and the number of pieces. It believes nothing and changes nothing.

use crate::error::Reject;

const COMMON_HEADER_LEN: usize = 12;
const CHUNK_HEADER_LEN: usize = 4;
const DATA: u8 = 0;
const INIT: u8 = 1;
const SACK: u8 = 3;
/// Chunk header, sequence numbers and protocol in front of the data.
const DATA_HEADER_LEN: usize = 16;

/// What a packet contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scan {
    /// It asks for a new association, and names it so.
    pub(super) init_tag: Option<u32>,
    /// Pieces of messages.
    pub(super) data_chunks: usize,
}

/// Checks the lengths of all chunks.
pub(super) fn scan(packet: &[u8]) -> Result<Scan, Reject> {
    let mut found = Scan {
        init_tag: init_tag(packet),
        data_chunks: 0,
    };
    let mut at = COMMON_HEADER_LEN;
    loop {
        let header = packet.get(at..at + CHUNK_HEADER_LEN).ok_or(Reject::Sctp)?;
        let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let is_data = header[0] == DATA;
        let len_min = if is_data {
            DATA_HEADER_LEN + 1
        } else {
            CHUNK_HEADER_LEN
        };
        if len < len_min {
            return Err(Reject::Sctp);
        }
        found.data_chunks += usize::from(is_data);
        at += len.next_multiple_of(4);
        if at == packet.len() {
            return Ok(found);
        }
    }
}

fn init_tag(packet: &[u8]) -> Option<u32> {
    let chunk = packet.get(COMMON_HEADER_LEN..)?;
    let (header, value) = chunk.split_first_chunk::<CHUNK_HEADER_LEN>()?;
    (header[0] == INIT).then_some(())?;
    Some(u32::from_be_bytes(*value.first_chunk()?))
}

/// The receive window that one of our packets announces, if it acknowledges anything.
pub(super) fn announced_window(packet: &[u8]) -> Option<u32> {
    let mut at = COMMON_HEADER_LEN;
    loop {
        let header = packet.get(at..at + CHUNK_HEADER_LEN)?;
        if header[0] == SACK {
            let window = packet.get(at + 8..at + 12)?;
            return Some(u32::from_be_bytes([
                window[0], window[1], window[2], window[3],
            ]));
        }
        let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
        at += len.next_multiple_of(4).max(CHUNK_HEADER_LEN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(chunks: &[&[u8]]) -> Vec<u8> {
        let mut packet = vec![0; COMMON_HEADER_LEN];
        chunks
            .iter()
            .for_each(|chunk| packet.extend_from_slice(chunk));
        packet
    }

    const DATA_OF_ONE_BYTE: &[u8] = &[0, 3, 0, 17, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 53, 7, 0, 0, 0];
    const DATA_OF_NOTHING: &[u8] = &[0, 3, 0, 16, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 53];
    const ACKNOWLEDGEMENT: &[u8] = &[3, 0, 0, 16, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0];

    #[test]
    fn pieces_are_counted() {
        let packet = packet(&[DATA_OF_ONE_BYTE, ACKNOWLEDGEMENT, DATA_OF_ONE_BYTE]);
        let found = scan(&packet).expect("a good packet");
        assert_eq!(found.data_chunks, 2);
        assert_eq!(found.init_tag, None);
        assert_eq!(announced_window(&packet), Some(65_536));
        assert_eq!(announced_window(&packet[..32]), None);
    }

    #[test]
    fn a_beginning_is_recognised() {
        let init = [1, 0, 0, 12, 0, 0, 0, 9, 0, 0, 0, 0];
        let found = scan(&packet(&[&init])).expect("a good packet");
        assert_eq!(found.init_tag, Some(9));
    }

    #[test]
    fn data_without_data_and_lying_lengths_are_refused() {
        assert!(scan(&packet(&[DATA_OF_NOTHING])).is_err());
        assert!(scan(&packet(&[])).is_err());
        assert!(scan(&packet(&[&[6, 0, 0, 0]])).is_err());
        assert!(scan(&packet(&[&[6, 0, 0, 8]])).is_err());
        assert!(scan(&[]).is_err());
        for len in 0..packet(&[DATA_OF_ONE_BYTE]).len() {
            assert!(scan(&packet(&[DATA_OF_ONE_BYTE])[..len]).is_err());
        }
    }
}
