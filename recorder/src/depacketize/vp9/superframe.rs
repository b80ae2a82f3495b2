//! Superframes of VP9 (Annex B of its bitstream specification): the frames of all layers of a picture
//! as one, with an index at the end by which decoders find them.
//!
//! Calls show the frame of every layer, and whoever receives them takes the last. Players of files
//! show what is shown: a picture would be seen in each of its sizes, one after the other. So all but
//! the last are marked as not shown, which changes nothing else of what is decoded.

use super::header::{Header, Slots};

/// `show_frame`, in the first byte of a frame of profiles 0 to 2.
const SHOWN: u8 = 0x02;

/// The frames of a picture, smallest first, as one; `None` if there are more than eight.
pub(super) fn of(frames: &[&[u8]], slots: &mut Slots) -> Option<Vec<u8>> {
    const FRAMES_MAX: usize = 8;
    if frames.len() > FRAMES_MAX {
        return None;
    }
    let headers: Vec<Option<Header>> = frames.iter().map(|frame| slots.next(frame)).collect();
    let (&last, before) = frames.split_last()?;
    let mut all: Vec<Vec<u8>> = (before.iter().zip(&headers))
        .map(|(frame, header)| hidden(frame, header.as_ref()))
        .collect();
    all.push(last.to_vec());
    if all.len() > 1 {
        let index = index(&all)?;
        all.push(index);
    }
    Some(all.concat())
}

fn index(frames: &[Vec<u8>]) -> Option<Vec<u8>> {
    let longest = frames.iter().map(Vec::len).max()?;
    let unused = u32::try_from(longest).ok()?.leading_zeros() as usize / 8;
    let width = 4 - unused.min(3);
    let marker = 0xc0 | (width as u8 - 1) << 3 | (frames.len() as u8 - 1);
    let mut index = vec![marker];
    for frame in frames {
        index.extend_from_slice(&(frame.len() as u32).to_le_bytes()[..width]);
    }
    index.push(marker);
    Some(index)
}

/// The frame, not to be shown. One that later frames look back on stays as it is: calls have none.
fn hidden(frame: &[u8], header: Option<&Header>) -> Vec<u8> {
    let mut out = frame.to_vec();
    let Some(header) = header.filter(|header| header.is_shown && header.is_resilient) else {
        return out;
    };
    let Some(first) = out.first_mut().filter(|first| **first & 0x30 != 0x30) else {
        return out; // profile 3
    };
    *first &= !SHOWN;
    if !header.is_key {
        insert_bit(&mut out, header.len);
    }
    out
}

/// What is not shown says behind the first byte whether it is `intra_only`: it is not. The rest of the
/// header, so many bits with the first byte, moves on by that bit.
fn insert_bit(frame: &mut Vec<u8>, len: usize) {
    let end = len.div_ceil(8);
    if len.is_multiple_of(8) {
        frame.insert(end, 0);
    }
    let end = (len + 1).div_ceil(8);
    let mut carry = 0;
    for byte in &mut frame[1..end] {
        (*byte, carry) = (carry << 7 | *byte >> 1, *byte & 1);
    }
}
