//! The uncompressed header of a VP9 frame (bitstream specification, sections 6.2 and 7.2), read to its
//! end, because what stands behind it begins at the next whole byte.
//!
//! Sizes may be those of a frame before: [`Slots`] remembers them as a decoder does.

use crate::depacketize::bits::Bits;

/// What stands in every frame that needs no other.
const SYNC_CODE: u32 = 0x49_83_42;

type Size = (u32, u32);

/// Sizes of the eight frames that a decoder keeps.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::depacketize) struct Slots([Option<Size>; 8]);

/// What is read of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// It needs no other frame.
    pub(super) is_key: bool,
    /// A decoder gives it out.
    pub(super) is_shown: bool,
    /// It makes no use of how frames before it were coded, so that it is nothing to the next one
    /// whether this one is shown.
    pub(super) is_resilient: bool,
    /// Its bits.
    pub(super) len: usize,
}

impl Slots {
    /// Reads the header of the next frame; `None` if it cannot be read, and for what only shows a frame
    /// again.
    pub(super) fn next(&mut self, frame: &[u8]) -> Option<Header> {
        let mut bits = Bits::new(frame, 0);
        let (profile, is_inter) = start(&mut bits)?;
        let (is_shown, is_resilient) = (bits.flag()?, bits.flag()?);
        let is_intra_only = is_inter && !is_shown && bits.flag()?;
        if is_inter && !is_resilient {
            bits.read(2)?; // reset_frame_context
        }
        let size = match (is_inter, is_intra_only) {
            (false, _) => {
                let size = key_size(&mut bits, profile)?;
                self.0 = [Some(size); 8];
                size
            }
            (true, true) => {
                if bits.read(24)? != SYNC_CODE {
                    return None;
                }
                if profile > 0 {
                    pass_colours(&mut bits, profile)?;
                }
                let refreshed = bits.read(8)?;
                let size = frame_size(&mut bits)?;
                self.refresh(refreshed, size);
                size
            }
            (true, false) => {
                let refreshed = bits.read(8)?;
                let size = self.size_of_inter(&mut bits)?;
                self.refresh(refreshed, size);
                size
            }
        };
        pass_render_size(&mut bits)?;
        if is_inter && !is_intra_only {
            bits.read(1)?; // allow_high_precision_mv
            if !bits.flag()? {
                bits.read(2)?; // raw_interpolation_filter
            }
        }
        if !is_resilient {
            bits.read(2)?; // refresh_frame_context, frame_parallel_decoding_mode
        }
        bits.read(2)?; // frame_context_idx
        pass_loop_filter(&mut bits)?;
        pass_quantisers(&mut bits)?;
        pass_segmentation(&mut bits)?;
        pass_tiles(&mut bits, size.0)?;
        bits.read(16)?; // header_size_in_bytes
        Some(Header {
            is_key: !is_inter,
            is_shown,
            is_resilient,
            len: bits.at(),
        })
    }

    fn size_of_inter(&self, bits: &mut Bits<'_>) -> Option<Size> {
        let mut references = [0; 3];
        for reference in &mut references {
            *reference = bits.read(3)? as usize;
            bits.read(1)?; // ref_frame_sign_bias
        }
        for reference in references {
            if bits.flag()? {
                return self.0[reference];
            }
        }
        frame_size(bits)
    }

    fn refresh(&mut self, refreshed: u32, size: Size) {
        for (place, slot) in self.0.iter_mut().enumerate() {
            if refreshed >> place & 1 == 1 {
                *slot = Some(size);
            }
        }
    }
}

/// Pixels across and down of a keyframe; `None` if it is none.
pub(super) fn keyframe_size(frame: &[u8]) -> Option<Size> {
    let mut bits = Bits::new(frame, 0);
    let (profile, is_inter) = start(&mut bits)?;
    bits.read(2)?; // show_frame, error_resilient_mode
    match is_inter {
        true => None,
        false => key_size(&mut bits, profile),
    }
}

/// Up to `frame_type`: the profile, and whether it is made from other frames.
fn start(bits: &mut Bits<'_>) -> Option<(u32, bool)> {
    let marker = bits.read(2)?;
    let profile = bits.read(1)? | bits.read(1)? << 1;
    let has_reserved = profile == 3 && bits.flag()?;
    let shows_existing = bits.flag()?;
    let is_right = marker == 2 && !has_reserved && !shows_existing;
    is_right.then_some((profile, bits.flag()?))
}

fn key_size(bits: &mut Bits<'_>, profile: u32) -> Option<Size> {
    if bits.read(24)? != SYNC_CODE {
        return None;
    }
    pass_colours(bits, profile)?;
    frame_size(bits)
}

fn frame_size(bits: &mut Bits<'_>) -> Option<Size> {
    Some((bits.read(16)? + 1, bits.read(16)? + 1))
}

fn pass_colours(bits: &mut Bits<'_>, profile: u32) -> Option<()> {
    const RGB: u32 = 7;
    if profile >= 2 {
        bits.read(1)?; // ten bits or twelve
    }
    let has_subsampling = profile & 1 == 1;
    let is_rgb = bits.read(3)? == RGB;
    match (is_rgb, has_subsampling) {
        (false, true) => bits.read(4)?,
        (false, false) | (true, true) => bits.read(1)?,
        (true, false) => return None,
    };
    Some(())
}

fn pass_render_size(bits: &mut Bits<'_>) -> Option<()> {
    if bits.flag()? {
        bits.read(32)?;
    }
    Some(())
}

fn pass_loop_filter(bits: &mut Bits<'_>) -> Option<()> {
    bits.read(9)?; // level, sharpness
    if bits.flag()? && bits.flag()? {
        for _ in 0..6 {
            if bits.flag()? {
                bits.read(7)?;
            }
        }
    }
    Some(())
}

fn pass_quantisers(bits: &mut Bits<'_>) -> Option<()> {
    bits.read(8)?; // base_q_idx
    for _ in 0..3 {
        if bits.flag()? {
            bits.read(5)?;
        }
    }
    Some(())
}

fn pass_segmentation(bits: &mut Bits<'_>) -> Option<()> {
    /// Bits of each feature, with its sign.
    const FEATURES: [u32; 4] = [9, 7, 2, 0];
    if !bits.flag()? {
        return Some(());
    }
    if bits.flag()? {
        for _ in 0..7 {
            pass_probability(bits)?;
        }
        if bits.flag()? {
            for _ in 0..3 {
                pass_probability(bits)?;
            }
        }
    }
    if bits.flag()? {
        bits.read(1)?; // segmentation_abs_or_delta_update
        for feature in [FEATURES; 8].concat() {
            if bits.flag()? {
                bits.read(feature)?;
            }
        }
    }
    Some(())
}

fn pass_probability(bits: &mut Bits<'_>) -> Option<()> {
    if bits.flag()? {
        bits.read(8)?;
    }
    Some(())
}

fn pass_tiles(bits: &mut Bits<'_>, width: u32) -> Option<()> {
    /// Tiles are between 4 and 64 superblocks of 64 pixels wide.
    const NARROWEST: u32 = 4;
    const WIDEST: u32 = 64;
    let across = width.div_ceil(64);
    let least = (0..).find(|log2| WIDEST << log2 >= across)?;
    let most = (1..).find(|log2| across >> log2 < NARROWEST)? - 1;
    for _ in least..most {
        if !bits.flag()? {
            break;
        }
    }
    if bits.flag()? {
        bits.read(1)?; // tile_rows_log2
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_header_is_refused() {
        let mut slots = Slots::default();
        for frame in [
            &[][..],
            &[0x42; 20],               // another marker
            &[0x88; 20],               // shows a frame again
            &[0x82; 20],               // a keyframe without its code
            &[0x87, 0, 0, 0x80, 0, 0], // of the size of a frame that never was
        ] {
            assert_eq!(slots.next(frame), None, "{frame:02x?}");
        }
    }
}
