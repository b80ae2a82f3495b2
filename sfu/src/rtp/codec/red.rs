//! Redundant audio (RFC 2198): a packet of sound with copies of the sounds before it.
//!
//! A subscriber that knows the format gets the packet as it is; for one that does not, the primary
//! block is taken out.

use crate::error::Reject;
use crate::unit::PayloadType;

/// One block of a redundant packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block<'a> {
    /// The format of the block.
    pub payload_type: PayloadType,
    /// How much earlier than the packet the block was sampled, in timestamp units; 0 for the
    /// primary block.
    pub earlier: u16,
    /// The sound.
    pub payload: &'a [u8],
}

/// Copies that a packet may carry: senders carry one or two, and each costs a header of 4 bytes.
const COPIES_MAX: usize = 16;

/// The blocks of a packet, the oldest copy first and the primary last.
///
/// Every length is checked before the first block is given out.
pub fn blocks(payload: &[u8]) -> Result<impl Iterator<Item = Block<'_>>, Reject> {
    let (headers, mut media) = split(payload)?;
    Ok(headers.map(move |header| {
        let (block, rest) = media.split_at(header.len.unwrap_or(media.len()));
        media = rest;
        Block {
            payload_type: header.payload_type,
            earlier: header.earlier,
            payload: block,
        }
    }))
}

/// The sound of the packet itself, without the copies of those before.
pub fn primary(payload: &[u8]) -> Result<Block<'_>, Reject> {
    let last = blocks(payload)?.last();
    Ok(last.expect("a packet that was split has a primary block"))
}

#[derive(Clone, Copy)]
struct BlockHeader {
    payload_type: PayloadType,
    earlier: u16,
    /// `None` for the primary block, which takes what is left.
    len: Option<usize>,
}

/// The headers, and the media behind them, which holds at least what the headers promise.
fn split(payload: &[u8]) -> Result<(impl Iterator<Item = BlockHeader>, &[u8]), Reject> {
    let mut promised = 0;
    let mut rest = payload;
    for _ in 0..=COPIES_MAX {
        let (header, after) = header(rest).ok_or(Reject::RtpMalformed)?;
        rest = after;
        let Some(len) = header.len else {
            if promised > rest.len() {
                return Err(Reject::RtpMalformed);
            }
            let mut headers = &payload[..payload.len() - rest.len()];
            let walk = std::iter::from_fn(move || {
                let (header, after) = self::header(headers)?;
                headers = after;
                Some(header)
            });
            return Ok((walk, rest));
        };
        promised += len;
    }
    Err(Reject::RtpMalformed)
}

fn header(bytes: &[u8]) -> Option<(BlockHeader, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let payload_type = PayloadType(first & 0x7f);
    if first & 0x80 == 0 {
        let primary = BlockHeader {
            payload_type,
            earlier: 0,
            len: None,
        };
        return Some((primary, rest));
    }
    let (&[a, b, c], rest) = rest.split_first_chunk::<3>()?;
    let word = u32::from_be_bytes([0, a, b, c]);
    let copy = BlockHeader {
        payload_type,
        earlier: (word >> 10) as u16,
        len: Some((word & 0x3ff) as usize),
    };
    Some((copy, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A copy of 3 bytes from 960 units before, then the primary of 2 bytes.
    const PACKET: [u8; 10] = [0xef, 0x0f, 0x00, 0x03, 0x6f, 1, 2, 3, 8, 9];

    #[test]
    fn blocks_come_oldest_first() {
        let found: Vec<_> = blocks(&PACKET).expect("valid").collect();
        assert_eq!(
            found,
            [
                Block {
                    payload_type: PayloadType(111),
                    earlier: 960,
                    payload: &[1, 2, 3],
                },
                Block {
                    payload_type: PayloadType(111),
                    earlier: 0,
                    payload: &[8, 9],
                },
            ]
        );
        assert_eq!(primary(&PACKET).expect("valid"), found[1]);
    }

    #[test]
    fn a_packet_without_copies_is_its_primary() {
        let block = primary(&[0x6f, 8, 9]).expect("valid");
        assert_eq!(block.payload, [8, 9]);
        // The first packet after a silence may carry no sound at all.
        assert_eq!(primary(&[0x6f]).expect("valid").payload, []);
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        for len in [0, 1, 2, 3, 4, 5, 6, 7] {
            assert!(primary(&PACKET[..len]).is_err(), "{len} bytes");
        }
        assert!(primary(&[0xff; 64]).is_err());
        assert!(primary(&[0xff; 200]).is_err());
    }
}
