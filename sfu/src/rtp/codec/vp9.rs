//! The VP9 payload descriptor (RFC 9628 section 4.2), as far as forwarding needs it: which spatial
//! layer a packet belongs to, where frames of layers begin and end, and where decoding may begin.
//!
//! It stands before the payload and is not encrypted end to end. Nothing of it is renumbered: a
//! publication in VP9 is one stream, of which subscribers get more or fewer layers.

use crate::error::Reject;

/// What the descriptor of one packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Bytes before the first byte of VP9 data.
    pub len: usize,
    /// The picture's number, if it has one: 7 or 15 bits.
    pub picture_id: Option<u16>,
    /// The frame was made from earlier pictures (P).
    pub is_inter_picture: bool,
    /// The packet begins a frame of its layer (B).
    pub starts_frame: bool,
    /// The packet ends a frame of its layer (E).
    pub ends_frame: bool,
    /// The spatial layer, 0 the smallest.
    pub spatial: u8,
    /// The temporal layer, 0 the slowest.
    pub temporal: u8,
    /// Whoever has the frame may have faster temporal layers from here on (U).
    pub lifts: bool,
    /// The frame was made from the layer below in the same picture (D).
    pub is_inter_layer: bool,
    /// Pixels across and down of the largest layer, where the sizes of the layers are told.
    pub largest: Option<(u16, u16)>,
}

impl Descriptor {
    /// Reads the descriptor at the start of a payload, which must have VP9 data behind it.
    pub fn parse(payload: &[u8]) -> Result<Self, Reject> {
        let mut reader = Reader { payload, at: 0 };
        let flags = reader.byte()?;
        let has = |bit: u8| flags & bit != 0;
        let (is_inter_picture, is_flexible) = (has(0x40), has(0x10));
        let picture_id = match has(0x80) {
            true => Some(reader.picture_id()?),
            false => None,
        };
        let mut layers = 0;
        if has(0x20) {
            layers = reader.byte()?;
            if !is_flexible {
                let _tl0_index = reader.byte()?;
            }
        }
        if is_flexible && is_inter_picture {
            reader.pass_references()?;
        }
        let largest = match has(0x02) {
            true => reader.structure()?,
            false => None,
        };
        let len = reader.at;
        let _data = reader.byte()?;
        Ok(Self {
            len,
            picture_id,
            is_inter_picture,
            starts_frame: has(0x08),
            ends_frame: has(0x04),
            spatial: layers >> 1 & 7,
            temporal: layers >> 5,
            lifts: layers & 0x10 != 0,
            is_inter_layer: layers & 1 != 0,
            largest,
        })
    }

    /// Whether decoding may begin with this packet: the first of a picture that needs no other.
    pub fn starts_keyframe(&self) -> bool {
        self.starts_frame && !self.is_inter_picture && !self.is_inter_layer && self.spatial == 0
    }
}

struct Reader<'a> {
    payload: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn byte(&mut self) -> Result<u8, Reject> {
        let byte = self.payload.get(self.at).ok_or(Reject::RtpMalformed)?;
        self.at += 1;
        Ok(*byte)
    }

    fn picture_id(&mut self) -> Result<u16, Reject> {
        let first = self.byte()?;
        Ok(match first & 0x80 {
            0 => first.into(),
            _ => u16::from_be_bytes([first & 0x7f, self.byte()?]),
        })
    }

    /// Distances to the pictures that it was made from, three at most.
    fn pass_references(&mut self) -> Result<(), Reject> {
        for _ in 0..3 {
            if self.byte()? & 1 == 0 {
                return Ok(());
            }
        }
        Err(Reject::RtpMalformed)
    }

    /// The scalability structure: sizes of the layers, and how pictures are made from each other.
    /// Returns the largest of the sizes.
    fn structure(&mut self) -> Result<Option<(u16, u16)>, Reject> {
        let head = self.byte()?;
        let mut largest = None;
        if head & 0x10 != 0 {
            for _ in 0..=head >> 5 {
                let size = (self.pair()?, self.pair()?);
                largest = largest.max(Some(size));
            }
        }
        if head & 0x08 != 0 {
            for _ in 0..self.byte()? {
                self.at += usize::from(self.byte()? >> 2 & 3);
            }
        }
        Ok(largest)
    }

    fn pair(&mut self) -> Result<u16, Reject> {
        Ok(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first packet of a keyframe as Chromium sends it with three layers: long picture id,
    /// layer indices, sizes, and a group of four pictures.
    const KEY: [u8; 32] = [
        0xaa, 0x92, 0x34, 0x00, 0x07, // I L B V, id, layers, TL0PICIDX
        0x58, 0x01, 0x40, 0x00, 0xb4, 0x02, 0x80, 0x01, 0x68, 0x05, 0x00, 0x02, 0xd0, // sizes
        0x04, 0x04, 0x04, 0x54, 0x01, 0x34, 0x02, 0x54, 0x01, 0x83, 0x49, 0x83, 0x42, 0x00,
    ];

    #[test]
    fn the_start_of_a_keyframe_is_read() {
        let read = Descriptor::parse(&KEY).expect("valid");
        assert_eq!(read.picture_id, Some(0x1234));
        assert!(read.starts_keyframe() && !read.ends_frame);
        assert_eq!((read.spatial, read.temporal), (0, 0));
        assert_eq!(read.largest, Some((1280, 720)));
        assert_eq!(
            KEY[read.len..][..3],
            [0x83, 0x49, 0x83],
            "the sync code of VP9"
        );
    }

    #[test]
    fn every_shorter_beginning_is_refused() {
        let len = Descriptor::parse(&KEY).expect("valid").len;
        for len in 0..=len {
            assert_eq!(Descriptor::parse(&KEY[..len]), Err(Reject::RtpMalformed));
        }
        assert!(Descriptor::parse(&KEY[..=len]).is_ok());
    }

    #[test]
    fn layers_are_told_apart() {
        // A predicted picture, the last packet of layer 2, temporal layer 1, made from layer 1.
        let read = Descriptor::parse(&[0xe4, 0x05, 0x35, 0x08, 0xff]).expect("valid");
        assert_eq!((read.spatial, read.temporal), (2, 1));
        assert!(read.is_inter_picture && read.is_inter_layer && read.ends_frame);
        assert!(!read.starts_frame && !read.starts_keyframe());
        assert_eq!((read.picture_id, read.len), (Some(5), 4));
    }

    #[test]
    fn the_larger_layers_of_a_keyframe_do_not_begin_it() {
        // Layer 1 of a picture that needs no other: decoding begins with layer 0.
        let read = Descriptor::parse(&[0xa8, 0x05, 0x03, 0x08, 0xff]).expect("valid");
        assert!(!read.is_inter_picture && read.starts_frame);
        assert!(!read.starts_keyframe());
    }

    #[test]
    fn flexible_references_are_at_most_three() {
        let three = [0xd8, 0x05, 0x03, 0x05, 0x06, 0xff];
        assert_eq!(Descriptor::parse(&three).map(|read| read.len), Ok(5));
        let four = [0xd8, 0x05, 0x03, 0x05, 0x07, 0x02, 0xff];
        assert_eq!(Descriptor::parse(&four), Err(Reject::RtpMalformed));
    }

    #[test]
    fn without_layer_indices_there_is_one_layer() {
        let read = Descriptor::parse(&[0x08, 0xff]).expect("valid");
        assert!(read.starts_keyframe());
        assert_eq!((read.spatial, read.len), (0, 1));
    }
}
