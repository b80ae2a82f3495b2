//! VP9 out of RTP (RFC 9628): the frames of all spatial layers of a picture make one frame of a file.
//!
//! The descriptor goes, the data stays. Where a picture has several layers they become a
//! `superframe`.

mod header;
mod superframe;

use sfu::rtp::codec::vp9::Descriptor;

pub(super) use self::header::Slots;
use self::header::keyframe_size;
use super::{Parts, Slice};

/// Appends what stands behind the descriptor to the frame of its layer. A frame begins where the
/// descriptor says so, and only there.
pub(super) fn append(payload: &[u8], _: bool, picture: &mut Parts) -> Option<Slice> {
    let descriptor = Descriptor::parse(payload).ok()?;
    if descriptor.starts_frame == picture.is_open {
        return None;
    }
    let data = payload.get(descriptor.len..)?;
    picture.bytes.extend_from_slice(data);
    picture.is_open = true;
    if descriptor.ends_frame {
        picture.end_unit()?;
    }
    let begins = descriptor.starts_keyframe() && picture.ends.len() <= 1;
    let size = begins.then(|| keyframe_size(data)).flatten();
    let largest = descriptor
        .largest
        .map(|(width, height)| (width.into(), height.into()));
    Some(Slice {
        is_keyframe: size.is_some(),
        size: size.map(|size| largest.unwrap_or(size)),
    })
}

/// The picture as a file holds it; `None` if its last frame has no end.
pub(super) fn whole(picture: &Parts, slots: &mut Slots) -> Option<Vec<u8>> {
    if picture.is_open || picture.ends.is_empty() {
        return None;
    }
    superframe::of(&picture.units().collect::<Vec<_>>(), slots)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A layer's frame in one packet, the larger ones made from the ones below; both ends are told.
    const KEY: [u8; 24] = [
        0xbe, 0x80, 0x01, 0x10, 0x30, 0x00, 0xf0, 0x00, 0x87, 0x01, 0xe0, 0x01, 0x0e, // sizes
        0x83, 0x49, 0x83, 0x42, 0x00, 0x0e, 0xf0, 0x08, 0x78, 0x0e, 0xf8,
    ];
    const LARGER: [u8; 6] = [0xbc, 0x80, 0x01, 0x13, 0x87, 0x02];

    #[test]
    fn layers_become_one_picture_with_an_index() {
        let mut picture = Parts::default();
        let slice = append(&KEY, true, &mut picture).expect("begins a keyframe");
        assert!(slice.is_keyframe);
        assert_eq!(slice.size, Some((480, 270)), "of the largest layer");
        let slice = append(&LARGER, false, &mut picture).expect("goes on");
        assert_eq!(slice, Slice::default());
        let bytes = whole(&picture, &mut Slots::default()).expect("is whole");
        assert_eq!(bytes[..11], KEY[13..]);
        assert_eq!(bytes[11..], [0x87, 0x02, 0xc1, 11, 2, 0xc1]);
    }

    #[test]
    fn one_layer_stays_as_it_was_sent() {
        let mut picture = Parts::default();
        append(&[0x08, 0x82, 1], true, &mut picture).expect("begins");
        append(&[0x00, 2], false, &mut picture).expect("goes on");
        assert_eq!(whole(&picture, &mut Slots::default()), None, "has no end");
        append(&[0x04, 3], false, &mut picture).expect("ends");
        let bytes = whole(&picture, &mut Slots::default());
        assert_eq!(bytes, Some(vec![0x82, 1, 2, 3]));
    }

    #[test]
    fn a_frame_goes_on_only_if_it_has_begun_and_not_ended() {
        let mut picture = Parts::default();
        assert_eq!(append(&[0x04, 1], true, &mut picture), None);
        append(&[0x08, 1], true, &mut picture).expect("begins");
        assert_eq!(append(&[0x08, 1], false, &mut picture), None);
        append(&[0x04, 1], false, &mut picture).expect("ends");
        assert_eq!(append(&[0x04, 1], false, &mut picture), None);
        assert_eq!(append(&[], false, &mut picture), None);
    }

    #[test]
    fn nine_layers_are_none() {
        let mut picture = Parts::default();
        for _ in 0..9 {
            append(&[0x0c, 0x86], false, &mut picture).expect("a frame");
        }
        assert_eq!(whole(&picture, &mut Slots::default()), None);
    }

    #[test]
    fn the_descriptor_alone_makes_no_keyframe() {
        let mut picture = Parts::default();
        let slice = append(&[0x0c, 0x86, 0, 0, 0, 0, 0], true, &mut picture);
        assert_eq!(slice, Some(Slice::default()), "its header says otherwise");
    }
}
