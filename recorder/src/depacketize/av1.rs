//! AV1 out of RTP (its RTP specification 1.0, section 4): OBUs put together and given back their sizes.
//!
//! A temporal unit is what has one timestamp, all spatial layers of it, behind a temporal delimiter.
//! Files may do without (AV1 in Matroska, section 3), but where the largest layer is not sent for a
//! while dav1d gives out the smaller one only when it sees the next delimiter: without them ffmpeg
//! showed 76 of 140 pictures. [`sequence`] reads what files announce.

pub mod sequence;

use sfu::rtp::codec::av1::Aggregation;

use self::sequence::Sequence;
use super::{Parts, Slice};

const SEQUENCE_HEADER: u8 = 1;
const TEMPORAL_DELIMITER: u8 = 2;
/// One as it stands in a file.
const DELIMITER: [u8; 2] = [TEMPORAL_DELIMITER << 3 | HAS_SIZE, 0];
const FRAME_HEADER: u8 = 3;
const FRAME: u8 = 6;
const TILE_LIST: u8 = 8;
const PADDING: u8 = 15;

const HAS_EXTENSION: u8 = 0x04;
const HAS_SIZE: u8 = 0x02;

/// Appends the elements of a payload: OBUs, of which the first may go on from the packet before and
/// the last may go on in the next one.
pub(super) fn append(payload: &[u8], _: bool, picture: &mut Parts) -> Option<Slice> {
    let head = Aggregation::parse(payload).ok()?;
    if head.continues != picture.is_open {
        return None;
    }
    let mut rest = payload.get(1..)?;
    let mut left = head.units;
    while !rest.is_empty() {
        let element;
        (element, rest) = match left {
            // The last of a known number has no size.
            Some(1) => (rest, &[][..]),
            _ => split_sized(rest)?,
        };
        left = left.map(|left| left - 1);
        picture.bytes.extend_from_slice(element);
        picture.is_open = rest.is_empty() && head.is_continued;
        if !picture.is_open {
            picture.end_unit()?;
        }
    }
    // There are as many as it says.
    matches!(left, None | Some(0)).then_some(Slice::default())
}

/// An element behind its size, and what follows it.
fn split_sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (size, bytes) = leb128(bytes)?;
    bytes.split_at_checked(size)
}

/// A temporal unit as a file holds it, and what it is; `None` if an OBU is none, or has no end.
pub(super) fn whole(picture: &Parts) -> Option<(Vec<u8>, Slice)> {
    if picture.is_open {
        return None;
    }
    let mut bytes = Vec::with_capacity(picture.bytes.len() + 8 * (picture.ends.len() + 1));
    bytes.extend_from_slice(&DELIMITER);
    let (mut size, mut is_key) = (None, None);
    for unit in picture.units().filter(|unit| !unit.is_empty()) {
        let obu = Obu::parse(unit)?;
        match obu.kind {
            TEMPORAL_DELIMITER | TILE_LIST | PADDING => continue,
            SEQUENCE_HEADER => size = Some(Sequence::parse(obu.body)?.size),
            // The first frame decides: larger layers of a keyframe are made from the smallest.
            FRAME_HEADER | FRAME if is_key.is_none() => is_key = Some(is_keyframe(obu.body)),
            _ => {}
        }
        obu.put(&mut bytes);
    }
    if bytes.len() == DELIMITER.len() {
        return None;
    }
    let slice = Slice {
        // Without a sequence header nobody can begin.
        is_keyframe: size.is_some() && is_key?,
        size,
    };
    Some((bytes, slice))
}

/// `show_existing_frame` and `frame_type` of a frame header (AV1 section 5.9.2).
fn is_keyframe(body: &[u8]) -> bool {
    body.first().is_some_and(|first| first & 0xe0 == 0)
}

/// What a container must announce of a stream that begins with this temporal unit: `av1C` (AV1 in
/// ISOBMFF, section 2.3) with its sequence header.
pub fn configuration(unit: &[u8]) -> Option<Vec<u8>> {
    let mut rest = unit;
    while !rest.is_empty() {
        let (obu, after) = Obu::split(rest)?;
        if obu.kind == SEQUENCE_HEADER {
            let mut bytes = Sequence::parse(obu.body)?.configuration().to_vec();
            obu.put(&mut bytes);
            return Some(bytes);
        }
        rest = after;
    }
    None
}

/// One OBU (AV1 section 5.3).
struct Obu<'a> {
    kind: u8,
    head: u8,
    extension: Option<u8>,
    body: &'a [u8],
}

impl<'a> Obu<'a> {
    /// A whole one, with its size or without.
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        if bytes.first()? & HAS_SIZE == 0 {
            return Self::head(bytes);
        }
        let (obu, rest) = Self::split(bytes)?;
        rest.is_empty().then_some(obu)
    }

    /// One with a size, and what follows it.
    fn split(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let obu = Self::head(bytes)?;
        if obu.head & HAS_SIZE == 0 {
            return None;
        }
        let (body, rest) = split_sized(obu.body)?;
        Some((Self { body, ..obu }, rest))
    }

    fn head(bytes: &'a [u8]) -> Option<Self> {
        const FORBIDDEN: u8 = 0x80;
        let (&head, mut body) = bytes.split_first()?;
        let mut extension = None;
        if head & HAS_EXTENSION != 0 {
            let (&byte, after) = body.split_first()?;
            (extension, body) = (Some(byte), after);
        }
        (head & FORBIDDEN == 0).then_some(Self {
            kind: head >> 3 & 15,
            head,
            extension,
            body,
        })
    }

    /// Appends it with its size.
    fn put(&self, out: &mut Vec<u8>) {
        out.push(self.head | HAS_SIZE);
        out.extend(self.extension);
        put_leb128(self.body.len(), out);
        out.extend_from_slice(self.body);
    }
}

/// A number in seven bits a byte (AV1 section 4.10.5) and what follows it. No size has more than four.
fn leb128(bytes: &[u8]) -> Option<(usize, &[u8])> {
    const BYTES_MAX: usize = 8;
    let mut value = 0_u64;
    for (at, &byte) in bytes.iter().take(BYTES_MAX).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(value).ok()?, &bytes[at + 1..]));
        }
    }
    None
}

fn put_leb128(mut value: usize, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn obus_are_put_together_and_given_their_sizes() {
        let mut picture = Parts::default();
        // Two OBUs, of which the second goes on; an extension byte, a delimiter, sizes everywhere.
        append(&[0x60, 2, 0x28, 7, 0x34, 8, 1], true, &mut picture).expect("begins");
        append(&[0xd0, 2], false, &mut picture).expect("goes on");
        assert_eq!(whole(&picture), None, "has no end");
        append(&[0x80, 1, 3, 1, 0x10, 2, 0x2a, 0], false, &mut picture).expect("ends");
        let (bytes, slice) = whole(&picture).expect("is whole");
        assert_eq!(bytes, [0x12, 0, 0x2a, 1, 7, 0x36, 8, 3, 1, 2, 3, 0x2a, 0]);
        assert!(!slice.is_keyframe && slice.size.is_none());
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let refused = |payload: &[u8], is_open: bool| {
            let mut picture = Parts {
                is_open,
                ..Parts::default()
            };
            append(payload, true, &mut picture).is_none()
        };
        assert!(refused(&[], false) && refused(&[0x10], false));
        assert!(refused(&[0x90, 0x32], false), "nothing was open");
        assert!(refused(&[0x10, 0x32], true), "something was");
        assert!(refused(&[0x00, 9, 0x32], false), "longer than the packet");
        assert!(refused(&[0x00, 0xff, 0xff], false), "a size without an end");
        assert!(refused(&[0x30, 1, 0x32], false), "three, and there is one");
        assert!(refused(&[0x98, 0x0a], false), "a beginning that continues");
    }

    #[test]
    fn what_is_no_obu_makes_no_frame() {
        for unit in [
            &[0x12, 0][..],      // nothing but a delimiter
            &[0xb0, 1],          // the forbidden bit
            &[0x34],             // no extension
            &[0x32, 5, 1],       // longer than it is
            &[0x32, 0, 1],       // shorter
            &[0x08, 0xff, 0xff], // a sequence header that is none
        ] {
            let mut picture = Parts::default();
            append(&[&[0x10], unit].concat(), true, &mut picture).expect("an element");
            assert_eq!(whole(&picture), None, "{unit:02x?}");
        }
    }

    #[test]
    fn thousands_of_obus_are_too_many() {
        let mut picture = Parts::default();
        let payload = [&[0x00][..], &[1, 0x32].repeat(600)].concat();
        let fits = |picture: &mut Parts| append(&payload, false, picture).is_some();
        let taken = (0..10).take_while(|_| fits(&mut picture)).count();
        assert_eq!(taken, super::super::UNITS_MAX / 600);
    }

    #[test]
    fn sizes_are_written_as_they_are_read() {
        for size in [0, 1, 127, 128, 300, 16_384, 8 << 20] {
            let mut bytes = Vec::new();
            put_leb128(size, &mut bytes);
            bytes.push(9);
            assert_eq!(leb128(&bytes), Some((size, &[9][..])));
        }
        assert_eq!(leb128(&[0x80; 9]), None);
    }
}
