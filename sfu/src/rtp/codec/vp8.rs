//! The VP8 payload descriptor (RFC 7741 section 4.2): reading it, and renumbering it in place.
//!
//! A decoder expects picture ids and layer indices without gaps, but a subscriber sees pictures of
//! several layers, each with its own numbers. [`Descriptor::renumber`] writes other numbers over
//! those of a copied payload and never changes its length: a picture id of two bytes stays one of
//! two bytes whatever its value.

use crate::error::Reject;

/// The longest descriptor: the first byte, the extension byte, two bytes of picture id, the layer
/// index, and the byte of temporal layer and key index.
pub const DESCRIPTOR_MAX: usize = 6;

/// What the descriptor of one packet says, and where its numbers lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Bytes before the first byte of VP8 data.
    pub len: usize,
    /// The packet begins a picture.
    pub is_picture_start: bool,
    /// The packet begins a picture that needs no other.
    pub is_keyframe: bool,
    /// No other picture needs this one.
    pub is_discardable: bool,
    /// The picture's number, if it has one.
    pub picture_id: Option<PictureId>,
    /// Counts pictures of temporal layer 0, if the sender counts them (TL0PICIDX).
    pub tl0_index: Option<u8>,
    /// The temporal layer, 0 to 3, if the sender has any.
    pub temporal_layer: Option<u8>,
    /// The picture depends on layer 0 only (Y).
    pub is_layer_sync: bool,
    /// Counts keyframes modulo 32, if the sender counts them (KEYIDX).
    pub key_index: Option<u8>,
}

/// The number of a picture, in the width that its sender chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureId {
    /// 7 bits in one byte.
    Short(u8),
    /// 15 bits in two bytes.
    Long(u16),
}

impl PictureId {
    /// The number itself.
    pub fn value(self) -> u16 {
        match self {
            Self::Short(id) => u16::from(id),
            Self::Long(id) => id,
        }
    }

    /// The bits that count: numbers wrap after this one.
    pub fn mask(self) -> u16 {
        match self {
            Self::Short(_) => 0x7f,
            Self::Long(_) => 0x7fff,
        }
    }

    fn len(self) -> usize {
        match self {
            Self::Short(_) => 1,
            Self::Long(_) => 2,
        }
    }
}

/// The numbers that a descriptor is given; those that it has no room for are not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// The low 7 or 15 bits are written.
    pub picture_id: u16,
    /// TL0PICIDX.
    pub tl0_index: u8,
    /// KEYIDX; the low 5 bits are written.
    pub key_index: u8,
}

impl Descriptor {
    /// Reads the descriptor at the start of a payload, and the first byte of VP8 data behind it.
    pub fn parse(payload: &[u8]) -> Result<Self, Reject> {
        let mut bytes = payload.iter().copied();
        let mut next = || bytes.next().ok_or(Reject::RtpMalformed);
        let first = next()?;
        let flags = if first & 0x80 != 0 { next()? } else { 0 };
        let mut len = 1 + usize::from(first >> 7);

        let mut picture_id = None;
        if flags & 0x80 != 0 {
            let high = next()?;
            let id = if high & 0x80 != 0 {
                PictureId::Long(u16::from_be_bytes([high & 0x7f, next()?]))
            } else {
                PictureId::Short(high)
            };
            len += id.len();
            picture_id = Some(id);
        }
        let mut tl0_index = None;
        if flags & 0x40 != 0 {
            tl0_index = Some(next()?);
            len += 1;
        }
        let mut layer = 0;
        if flags & 0x30 != 0 {
            layer = next()?;
            len += 1;
        }
        let data = next()?;

        let is_picture_start = first & 0x17 == 0x10; // S, and partition 0
        Ok(Self {
            len,
            is_picture_start,
            is_keyframe: is_picture_start && data & 1 == 0,
            is_discardable: first & 0x20 != 0,
            picture_id,
            tl0_index,
            temporal_layer: (flags & 0x20 != 0).then_some(layer >> 6),
            is_layer_sync: flags & 0x20 != 0 && layer & 0x20 != 0,
            key_index: (flags & 0x10 != 0).then_some(layer & 0x1f),
        })
    }

    /// Writes other numbers into `payload`, which is or begins like the one that was parsed:
    /// [`DESCRIPTOR_MAX`] bytes of it are enough. Nothing moves.
    pub fn renumber(&self, numbers: Numbers, payload: &mut [u8]) {
        let mut at = 2;
        match self.picture_id {
            Some(PictureId::Long(_)) => {
                let id = 0x8000 | numbers.picture_id;
                payload[at..at + 2].copy_from_slice(&id.to_be_bytes());
                at += 2;
            }
            Some(PictureId::Short(_)) => {
                payload[at] = numbers.picture_id as u8 & 0x7f;
                at += 1;
            }
            None => {}
        }
        if self.tl0_index.is_some() {
            payload[at] = numbers.tl0_index;
            at += 1;
        }
        if self.key_index.is_some() {
            payload[at] = payload[at] & 0xe0 | numbers.key_index & 0x1f;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What Chromium sends: two bytes of picture id, layer index, temporal layer and key index.
    const CHROMIUM: [u8; 8] = [0x90, 0xf0, 0x92, 0x34, 0x07, 0x63, 0x10, 0x02];

    #[test]
    fn a_full_descriptor_is_read() {
        let descriptor = Descriptor::parse(&CHROMIUM).expect("valid");
        assert_eq!(
            descriptor,
            Descriptor {
                len: 6,
                is_picture_start: true,
                is_keyframe: true,
                is_discardable: false,
                picture_id: Some(PictureId::Long(0x1234)),
                tl0_index: Some(7),
                temporal_layer: Some(1),
                is_layer_sync: true,
                key_index: Some(3),
            }
        );
    }

    #[test]
    fn every_shorter_beginning_is_refused() {
        for len in 0..=6 {
            assert_eq!(
                Descriptor::parse(&CHROMIUM[..len]),
                Err(Reject::RtpMalformed)
            );
        }
        assert!(Descriptor::parse(&CHROMIUM[..7]).is_ok());
    }

    #[test]
    fn only_the_start_of_an_intra_picture_is_a_keyframe() {
        for (first, data, expected) in [
            (0x10, 0x10, true),
            (0x10, 0x11, false), // predicted
            (0x00, 0x10, false), // in the middle of a picture
            (0x11, 0x10, false), // another partition
        ] {
            let descriptor = Descriptor::parse(&[first, data]).expect("valid");
            assert_eq!(descriptor.is_keyframe, expected, "{first:02x} {data:02x}");
            assert_eq!(descriptor.len, 1);
        }
    }

    #[test]
    fn a_small_number_keeps_the_two_bytes_of_its_source() {
        let descriptor = Descriptor::parse(&CHROMIUM).expect("valid");
        let mut payload = CHROMIUM;
        let numbers = Numbers {
            picture_id: 5,
            tl0_index: 255,
            key_index: 31,
        };
        descriptor.renumber(numbers, &mut payload);
        assert_eq!(payload, [0x90, 0xf0, 0x80, 0x05, 0xff, 0x7f, 0x10, 0x02]);
    }

    fn with_flags(flags: u8, is_long: bool) -> Vec<u8> {
        let mut payload = vec![0x90, flags];
        if flags & 0x80 != 0 {
            payload.extend(if is_long { &[0xff, 0xff][..] } else { &[0x7f] });
        }
        payload.extend((flags & 0x40 != 0).then_some(0xee));
        payload.extend((flags & 0x30 != 0).then_some(0xbf));
        payload.extend([0x01, 0xaa, 0xbb]);
        payload
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_is_read(
            flags in 0_u8..16,
            is_long: bool,
            picture_id: u16,
            tl0_index: u8,
            key_index: u8,
        ) {
            let mut payload = with_flags(flags << 4, is_long);
            let before = payload.clone();
            let old = Descriptor::parse(&payload).expect("valid");
            old.renumber(Numbers { picture_id, tl0_index, key_index }, &mut payload);
            let new = Descriptor::parse(&payload).expect("still valid");

            prop_assert_eq!(new.len, old.len);
            prop_assert_eq!(&payload[new.len..], &before[old.len..]);
            prop_assert_eq!(new.temporal_layer, old.temporal_layer);
            prop_assert_eq!(new.is_layer_sync, old.is_layer_sync);
            prop_assert_eq!(
                new.picture_id.map(PictureId::value),
                old.picture_id.map(|old| picture_id & old.mask())
            );
            prop_assert_eq!(new.tl0_index, old.tl0_index.map(|_| tl0_index));
            prop_assert_eq!(new.key_index, old.key_index.map(|_| key_index & 0x1f));
        }
    }
}
