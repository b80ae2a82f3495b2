//! VP8 out of RTP (RFC 7741): the descriptor goes, the data stays.

use sfu::rtp::codec::vp8::Descriptor;

use super::Slice;

/// Appends what stands behind the descriptor. The first packet of a picture must say that it is.
pub(super) fn append(payload: &[u8], is_first: bool, picture: &mut Vec<u8>) -> Option<Slice> {
    let descriptor = Descriptor::parse(payload).ok()?;
    if is_first != descriptor.is_picture_start {
        return None;
    }
    let data = payload.get(descriptor.len..)?;
    picture.extend_from_slice(data);
    Some(Slice {
        is_keyframe: descriptor.is_keyframe,
        size: descriptor.is_keyframe.then(|| size(data)).flatten(),
    })
}

/// Pixels across and down of a keyframe (RFC 6386 section 9.1).
fn size(data: &[u8]) -> Option<(u32, u32)> {
    let start = data.get(3..10)?;
    if start[..3] != [0x9d, 0x01, 0x2a] {
        return None;
    }
    let side = |low: u8, high: u8| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
    Some((side(start[3], start[4]), side(start[5], start[6])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_begins_with_its_first_packet() {
        let mut picture = Vec::new();
        assert_eq!(append(&[0x00, 5], true, &mut picture), None);
        assert_eq!(append(&[0x10, 5], false, &mut picture), None);
        assert!(append(&[0x10, 5], true, &mut picture).is_some());
        assert_eq!(append(&[], true, &mut picture), None);
        assert_eq!(picture, [5]);
    }
}
