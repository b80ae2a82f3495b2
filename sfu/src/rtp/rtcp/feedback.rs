//! Feedback that asks for something: packets again (NACK), a keyframe (PLI, FIR), less (REMB).

use super::{
    FORMAT_FIR, FORMAT_NACK, FORMAT_PLI, Sources, TYPE_PAYLOAD_FEEDBACK, TYPE_TRANSPORT_FEEDBACK,
    append, append_word, take_ssrc,
};
use crate::unit::{Bitrate, Ssrc};

/// Packets that a receiver misses (RFC 4585 section 6.2.1).
#[derive(Clone, Debug)]
pub struct Nack<'a> {
    /// Who asks.
    pub sender: Ssrc,
    /// Of which source.
    pub media: Ssrc,
    entries: &'a [u8],
}

impl<'a> Nack<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let (sender, rest) = take_ssrc(body)?;
        let (media, entries) = take_ssrc(rest)?;
        is_words(entries).then_some(Self {
            sender,
            media,
            entries,
        })
    }

    /// The numbers that are missing: at most 17 for each of at most 370 entries of a datagram.
    pub fn numbers(&self) -> impl Iterator<Item = u16> + use<'a> {
        self.entries.chunks_exact(4).flat_map(|entry| {
            let first = u16::from_be_bytes([entry[0], entry[1]]);
            let following = u16::from_be_bytes([entry[2], entry[3]]);
            // The first number itself, then a bit for each of the 16 that follow it.
            let mut bits = u32::from(following) << 1 | 1;
            std::iter::from_fn(move || {
                if bits == 0 {
                    return None;
                }
                let offset = bits.trailing_zeros() as u16;
                bits &= bits - 1;
                Some(first.wrapping_add(offset))
            })
        })
    }
}

/// Appends a request for packets of `media`, given in ascending order, across a wrap if need be.
/// Nothing is appended for no numbers.
pub fn append_nack(
    out: &mut Vec<u8>,
    sender: Ssrc,
    media: Ssrc,
    numbers: impl IntoIterator<Item = u16>,
) {
    let mut numbers = numbers.into_iter();
    let Some(mut first) = numbers.next() else {
        return;
    };
    append(out, TYPE_TRANSPORT_FEEDBACK, FORMAT_NACK, |out| {
        append_word(out, sender.0);
        append_word(out, media.0);
        let mut following = 0_u16;
        for number in numbers {
            match number.wrapping_sub(first) {
                0 => {}
                offset @ 1..=16 => following |= 1 << (offset - 1),
                _ => {
                    append_word(out, u32::from(first) << 16 | u32::from(following));
                    (first, following) = (number, 0);
                }
            }
        }
        append_word(out, u32::from(first) << 16 | u32::from(following));
    });
}

/// A receiver needs a keyframe (RFC 4585 section 6.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pli {
    /// Who asks.
    pub sender: Ssrc,
    /// Of which source.
    pub media: Ssrc,
}

impl Pli {
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let (sender, rest) = take_ssrc(body)?;
        let (media, _) = take_ssrc(rest)?;
        Some(Self { sender, media })
    }
}

/// Appends a request for a keyframe of `media`.
pub fn append_pli(out: &mut Vec<u8>, sender: Ssrc, media: Ssrc) {
    append(out, TYPE_PAYLOAD_FEEDBACK, FORMAT_PLI, |out| {
        append_word(out, sender.0);
        append_word(out, media.0);
    });
}

/// Receivers need keyframes (RFC 5104 section 4.3.1).
#[derive(Clone, Debug)]
pub struct Fir<'a> {
    /// Who asks.
    pub sender: Ssrc,
    entries: &'a [u8],
}

impl<'a> Fir<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let (sender, rest) = take_ssrc(body)?;
        let (_, entries) = take_ssrc(rest)?;
        let is_whole = !entries.is_empty() && entries.len().is_multiple_of(8);
        is_whole.then_some(Self { sender, entries })
    }

    /// The sources that must send one, each with the number of the command: a repeated number is
    /// the same command again.
    pub fn commands(&self) -> impl Iterator<Item = (Ssrc, u8)> + use<'a> {
        self.entries.chunks_exact(8).map(|entry| {
            let ssrc = u32::from_be_bytes([entry[0], entry[1], entry[2], entry[3]]);
            (Ssrc(ssrc), entry[4])
        })
    }
}

/// Appends the command, numbered `number`, that `media` must send a keyframe.
pub fn append_fir(out: &mut Vec<u8>, sender: Ssrc, media: Ssrc, number: u8) {
    append(out, TYPE_PAYLOAD_FEEDBACK, FORMAT_FIR, |out| {
        append_word(out, sender.0);
        append_word(out, 0);
        append_word(out, media.0);
        append_word(out, u32::from(number) << 24);
    });
}

const REMB_TAG: &[u8; 4] = b"REMB";

/// A receiver's own estimate of what it can receive (draft-alvestrand-rmcat-remb).
#[derive(Clone, Debug)]
pub struct Remb<'a> {
    /// Who estimates.
    pub sender: Ssrc,
    /// Of all named sources together.
    pub bitrate: Bitrate,
    sources: &'a [u8],
}

impl<'a> Remb<'a> {
    pub(super) fn is_remb(body: &[u8]) -> bool {
        body.get(8..12) == Some(REMB_TAG)
    }

    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let (sender, _) = take_ssrc(body)?;
        let (&[count, high, middle, low], sources) = body.get(12..)?.split_first_chunk::<4>()?;
        let mantissa = u64::from(high & 3) << 16 | u64::from(middle) << 8 | u64::from(low);
        let exponent = u32::from(high >> 2);
        // An exponent of 63 would overflow; whoever sends it means "as much as you like".
        let bitrate = if mantissa.leading_zeros() < exponent {
            u64::MAX
        } else {
            mantissa << exponent
        };
        Some(Self {
            sender,
            bitrate: Bitrate(bitrate),
            sources: sources.get(..4 * usize::from(count))?,
        })
    }

    /// The sources that the estimate is about.
    pub fn sources(&self) -> Sources<'a> {
        Sources { rest: self.sources }
    }
}

fn is_words(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.len().is_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::{Rtcp, parse_compound};
    use super::*;

    fn nack_round_trip(numbers: &[u16]) -> Vec<u16> {
        let mut out = Vec::new();
        append_nack(&mut out, Ssrc(1), Ssrc(2), numbers.iter().copied());
        match parse_compound(&out).next() {
            Some(Ok(Rtcp::Nack(nack))) => {
                assert_eq!((nack.sender, nack.media), (Ssrc(1), Ssrc(2)));
                nack.numbers().collect()
            }
            None => Vec::new(),
            other => panic!("{other:?} is no NACK"),
        }
    }

    #[test]
    fn missing_numbers_are_packed_across_a_wrap() {
        let numbers = [65_534, 65_535, 0, 14, 15, 31, 32];
        assert_eq!(nack_round_trip(&numbers), numbers);
        let mut out = Vec::new();
        append_nack(&mut out, Ssrc(1), Ssrc(2), numbers);
        assert_eq!(out.len(), 4 + 8 + 3 * 4); // 65534 to 14, 15 to 31, 32
    }

    #[test]
    fn nothing_missing_asks_for_nothing() {
        assert_eq!(nack_round_trip(&[]), []);
    }

    #[test]
    fn keyframe_requests_survive_the_wire() {
        let mut out = Vec::new();
        append_pli(&mut out, Ssrc(1), Ssrc(2));
        append_fir(&mut out, Ssrc(1), Ssrc(3), 9);
        let mut packets = parse_compound(&out);
        let Some(Ok(Rtcp::Pli(pli))) = packets.next() else {
            panic!("a PLI comes first");
        };
        assert_eq!((pli.sender, pli.media), (Ssrc(1), Ssrc(2)));
        let Some(Ok(Rtcp::Fir(fir))) = packets.next() else {
            panic!("then a FIR");
        };
        assert_eq!(fir.commands().collect::<Vec<_>>(), [(Ssrc(3), 9)]);
    }

    fn remb(exponent_and_mantissa: [u8; 3], count: u8) -> Vec<u8> {
        let mut out = vec![0x8f, 206, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0];
        out.extend(REMB_TAG);
        out.push(count);
        out.extend(exponent_and_mantissa);
        out.extend([0, 0, 0, 9]);
        out
    }

    #[test]
    fn an_estimate_is_read_even_where_it_overflows() {
        for (bytes, expected) in [
            ([0x00, 0x00, 0x64], 100),
            ([0x0b, 0xff, 0xff], 0x3_ffff << 2),
            ([0xff, 0xff, 0xff], u64::MAX),
            ([0xfc, 0x00, 0x00], 0),
        ] {
            let out = remb(bytes, 1);
            let Some(Ok(Rtcp::Remb(remb))) = parse_compound(&out).next() else {
                panic!("an estimate");
            };
            assert_eq!(remb.bitrate, Bitrate(expected));
            assert_eq!(remb.sources().collect::<Vec<_>>(), [Ssrc(9)]);
        }
        assert!(matches!(
            parse_compound(&remb([0, 0, 1], 2)).next(),
            Some(Err(_))
        ));
    }

    proptest! {
        #[test]
        fn any_set_of_missing_numbers_survives(
            start: u16,
            offsets in prop::collection::btree_set(0_u16..600, 0..80),
        ) {
            let numbers: Vec<_> = offsets.iter().map(|&at| start.wrapping_add(at)).collect();
            let found = nack_round_trip(&numbers);
            prop_assert_eq!(
                found.iter().collect::<BTreeSet<_>>().len(), found.len(), "each once"
            );
            prop_assert_eq!(found, numbers);
        }
    }
}
