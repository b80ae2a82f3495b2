//! H.264 out of RTP (RFC 6184): single units, aggregates (STAP-A) and fragments (FU-A).
//!
//! Units get four bytes of length, as MP4 stores them; delimiters (AUD) are dropped.

use super::Slice;
use super::bits::Bits;

const TYPE_IDR: u8 = 5;
const TYPE_SPS: u8 = 7;
const TYPE_AUD: u8 = 9;
const TYPE_STAP_A: u8 = 24;
const TYPE_FU_A: u8 = 28;

/// Numbers of a parameter set are shorter, those of any picture that is sent in calls.
const GOLOMB_BITS_MAX: u32 = 16;

/// Appends the units of a payload, or a piece of one.
pub(super) fn append(payload: &[u8], _: bool, picture: &mut Vec<u8>) -> Option<Slice> {
    let (&head, rest) = payload.split_first()?;
    match head & 0x1f {
        1..=23 => Some(unit(payload, picture)),
        TYPE_STAP_A => aggregate(rest, picture),
        TYPE_FU_A => fragment(head, rest, picture),
        _ => None,
    }
}

fn unit(unit: &[u8], picture: &mut Vec<u8>) -> Slice {
    let kind = unit[0] & 0x1f;
    if kind != TYPE_AUD {
        picture.extend_from_slice(&(unit.len() as u32).to_be_bytes());
        picture.extend_from_slice(unit);
    }
    Slice {
        is_keyframe: kind == TYPE_IDR,
        size: (kind == TYPE_SPS).then(|| sps_size(unit)).flatten(),
    }
}

fn aggregate(mut rest: &[u8], picture: &mut Vec<u8>) -> Option<Slice> {
    let mut all = Slice::default();
    while let Some((len, after)) = rest.split_first_chunk::<2>() {
        let (bytes, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        if bytes.is_empty() {
            return None;
        }
        let slice = unit(bytes, picture);
        all.is_keyframe |= slice.is_keyframe;
        all.size = all.size.or(slice.size);
        rest = after;
    }
    rest.is_empty().then_some(all)
}

/// A fragment's unit is begun with its length unknown: the length grows with every piece.
fn fragment(head: u8, rest: &[u8], picture: &mut Vec<u8>) -> Option<Slice> {
    let (&fragment, data) = rest.split_first()?;
    let kind = fragment & 0x1f;
    if fragment & 0x80 != 0 {
        picture.extend_from_slice(&(1 + data.len() as u32).to_be_bytes());
        picture.push(head & 0xe0 | kind);
    } else {
        let at = last_unit(picture)?;
        let len = u32::from_be_bytes(*picture[at..].first_chunk()?);
        let len = len.checked_add(data.len() as u32)?;
        picture[at..at + 4].copy_from_slice(&len.to_be_bytes());
    }
    picture.extend_from_slice(data);
    Some(Slice {
        is_keyframe: kind == TYPE_IDR,
        size: None,
    })
}

/// Where the length of the last unit stands.
fn last_unit(picture: &[u8]) -> Option<usize> {
    let (mut at, mut last) = (0, None);
    while let Some(len) = picture.get(at..).and_then(|rest| rest.first_chunk()) {
        last = Some(at);
        at = at.checked_add(4 + u32::from_be_bytes(*len) as usize)?;
    }
    last
}

/// The units of a picture as they were laid down.
pub fn units(picture: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = picture;
    std::iter::from_fn(move || {
        let (len, after) = rest.split_first_chunk::<4>()?;
        let (unit, after) = after.split_at_checked(u32::from_be_bytes(*len) as usize)?;
        rest = after;
        Some(unit)
    })
}

/// Pixels across and down by a sequence parameter set (H.264 section 7.3.2.1.1).
pub fn sps_size(unit: &[u8]) -> Option<(u32, u32)> {
    let bytes = without_emulation(unit.get(1..)?);
    let profile = *bytes.first()?;
    let mut bits = Bits::new(&bytes, 3);
    bits.exp_golomb(GOLOMB_BITS_MAX)?; // seq_parameter_set_id
    let mut chroma = 1;
    if [100, 110, 122, 244, 44, 83, 86, 118, 128].contains(&profile) {
        chroma = bits.exp_golomb(GOLOMB_BITS_MAX)?;
        if chroma == 3 {
            bits.read(1)?;
        }
        bits.exp_golomb(GOLOMB_BITS_MAX)?;
        bits.exp_golomb(GOLOMB_BITS_MAX)?;
        bits.read(1)?;
        if bits.read(1)? == 1 {
            return None; // scaling matrices: no sender of calls has them
        }
    }
    bits.exp_golomb(GOLOMB_BITS_MAX)?; // log2_max_frame_num_minus4
    match bits.exp_golomb(GOLOMB_BITS_MAX)? {
        0 => {
            bits.exp_golomb(GOLOMB_BITS_MAX)?;
        }
        1 => return None, // a cycle of offsets: no sender of calls has one
        _ => {}
    }
    bits.exp_golomb(GOLOMB_BITS_MAX)?; // max_num_ref_frames
    bits.read(1)?;
    let across = bits.exp_golomb(GOLOMB_BITS_MAX)? + 1;
    let down = bits.exp_golomb(GOLOMB_BITS_MAX)? + 1;
    let is_whole_frames = bits.read(1)?;
    if is_whole_frames == 0 {
        bits.read(1)?;
    }
    bits.read(1)?;
    let mut crop = [0; 4];
    if bits.read(1)? == 1 {
        for side in &mut crop {
            *side = bits.exp_golomb(GOLOMB_BITS_MAX)?;
        }
    }
    let (unit_x, unit_y) = match chroma {
        1 => (2, 2 * (2 - is_whole_frames)),
        2 => (2, 2 - is_whole_frames),
        _ => (1, 2 - is_whole_frames),
    };
    let width = across
        .checked_mul(16)?
        .checked_sub((crop[0].checked_add(crop[1])?).checked_mul(unit_x)?)?;
    let height = down
        .checked_mul(16 * (2 - is_whole_frames))?
        .checked_sub((crop[2].checked_add(crop[3])?).checked_mul(unit_y)?)?;
    Some((width, height))
}

fn without_emulation(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut zeros = 0;
    for &byte in bytes {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        out.push(byte);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What libx264 wrote for 320 x 240, baseline.
    const SPS: [u8; 23] = [
        0x67, 0x42, 0xc0, 0x0d, 0xda, 0x05, 0x07, 0xe8, 0x40, 0x00, 0x00, 0x03, 0x00, 0x40, 0x00,
        0x00, 0x0f, 0x03, 0xc5, 0x0a, 0xa8, 0x00, 0x00,
    ];

    #[test]
    fn the_size_is_read_from_the_parameter_set() {
        assert_eq!(sps_size(&SPS), Some((320, 240)));
        for len in 0..8 {
            assert_eq!(sps_size(&SPS[..len]), None, "{len}");
        }
    }

    #[test]
    fn units_get_their_lengths_whatever_they_came_in() {
        let mut picture = Vec::new();
        let stap = [0x78, 0, 2, 0x67, 1, 0, 1, 0x68];
        append(&stap, true, &mut picture).expect("is an aggregate");
        let slice = append(&[0x7c, 0x85, 1, 2], false, &mut picture).expect("begins a unit");
        assert!(slice.is_keyframe);
        append(&[0x7c, 0x45, 3], false, &mut picture).expect("ends it");
        append(&[0x09, 0x10], false, &mut picture).expect("is a delimiter");
        let units: Vec<&[u8]> = units(&picture).collect();
        assert_eq!(units, [&[0x67, 1][..], &[0x68], &[0x65, 1, 2, 3]]);
    }

    #[test]
    fn hostile_payloads_are_refused() {
        for payload in [
            &[][..],
            &[0x78, 0],
            &[0x78, 0, 9, 1],
            &[0x78, 0, 0],
            &[0x7c],
            &[0x7c, 5],
            &[30],
        ] {
            assert_eq!(append(payload, true, &mut Vec::new()), None, "{payload:?}");
        }
    }
}
