//! Packets on a stream of bytes: each behind its length, two bytes (RFC 4571 section 2).
//!
//! Reading is a function over what has arrived so far; it keeps nothing. A packet that is longer than
//! any we take is the end of the stream, because nothing behind it can be found any more.

use super::PACKET_BYTES_MAX;

/// The bytes of a length.
pub const HEADER_BYTES: usize = 2;

/// A packet is longer than [`PACKET_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// The first packet of `bytes`; `None` until the whole of it has arrived. It takes its own length
/// and [`HEADER_BYTES`]. An empty one is allowed and means nothing.
pub fn first(bytes: &[u8]) -> Result<Option<&[u8]>, TooLong> {
    let [high, low, rest @ ..] = bytes else {
        return Ok(None);
    };
    let len = usize::from(u16::from_be_bytes([*high, *low]));
    if len > PACKET_BYTES_MAX {
        return Err(TooLong);
    }
    Ok(rest.get(..len))
}

/// What stands in front of a packet of `len` bytes.
pub fn header(len: usize) -> [u8; HEADER_BYTES] {
    debug_assert!(len <= PACKET_BYTES_MAX, "no packet is that long");
    (len as u16).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_out_as_they_went_in_however_the_bytes_arrive() {
        let packets: [&[u8]; 4] = [b"one", b"", b"three and more", &[7; PACKET_BYTES_MAX]];
        let mut bytes = Vec::new();
        for packet in packets {
            bytes.extend(header(packet.len()));
            bytes.extend(packet);
        }
        for step in [1, 2, 3, 1_000, bytes.len()] {
            let (mut arrived, mut found) = (Vec::new(), Vec::new());
            for piece in bytes.chunks(step) {
                arrived.extend(piece);
                while let Some(packet) = first(&arrived).expect("none is too long") {
                    let packet = packet.to_vec();
                    arrived.drain(..HEADER_BYTES + packet.len());
                    found.push(packet);
                }
            }
            assert_eq!(found, packets);
            assert!(arrived.is_empty());
        }
    }

    #[test]
    fn a_packet_that_is_too_long_is_refused_by_its_length_alone() {
        let len = PACKET_BYTES_MAX as u16 + 1;
        assert_eq!(first(&len.to_be_bytes()), Err(TooLong));
        assert_eq!(first(&[0xff]), Ok(None), "half a length says nothing");
        assert_eq!(first(&[0xff, 0xff]), Err(TooLong));
    }
}
