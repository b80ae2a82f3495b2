//! The sequence header of AV1 (sections 5.5.1 to 5.5.4): the size of pictures, and what decoders are
//! chosen by.
//!
//! It is read up to the colours; what stands behind them nobody here needs.

use crate::depacketize::bits::Bits;

/// Twelve bits in a number that only says how many ticks there are: more is nonsense.
const TICKS_BITS_MAX: u32 = 31;

/// What a sequence header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// Pixels across and down of the largest layer.
    pub size: (u32, u32),
    profile: u8,
    level: u8,
    tier: u8,
    colours: Colours,
}

/// Bits of each sample, and which samples there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Colours {
    is_high: bool,
    is_twelve: bool,
    is_mono: bool,
    subsampling: (bool, bool),
    position: u8,
}

impl Sequence {
    /// Reads the body of the OBU.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let mut bits = Bits::new(body, 0);
        let profile = bits.read(3)? as u8;
        let _still_picture = bits.flag()?;
        let is_reduced = bits.flag()?;
        let (level, tier) = match is_reduced {
            true => (bits.read(5)? as u8, 0),
            false => operating_points(&mut bits)?,
        };
        let (across, down) = (bits.read(4)? + 1, bits.read(4)? + 1);
        let size = (bits.read(across)? + 1, bits.read(down)? + 1);
        pass_tools(&mut bits, is_reduced)?;
        Some(Self {
            size,
            profile,
            level,
            tier,
            colours: colours(&mut bits, profile)?,
        })
    }

    /// The head of `av1C` (AV1 in ISOBMFF, section 2.3.3).
    pub fn configuration(&self) -> [u8; 4] {
        let colours = &self.colours;
        let bit = |is_set: bool, place: u8| u8::from(is_set) << place;
        [
            0x81,
            self.profile << 5 | self.level,
            self.tier << 7
                | bit(colours.is_high, 6)
                | bit(colours.is_twelve, 5)
                | bit(colours.is_mono, 4)
                | bit(colours.subsampling.0, 3)
                | bit(colours.subsampling.1, 2)
                | colours.position,
            0,
        ]
    }
}

/// Level and tier of the first operating point, which is all layers; the others are passed over.
fn operating_points(bits: &mut Bits<'_>) -> Option<(u8, u8)> {
    let mut delay_bits = None;
    if bits.flag()? {
        bits.read(32)?; // num_units_in_display_tick
        bits.read(32)?; // time_scale
        if bits.flag()? {
            bits.exp_golomb(TICKS_BITS_MAX)?; // num_ticks_per_picture_minus_1
        }
        if bits.flag()? {
            delay_bits = Some(bits.read(5)? + 1);
            bits.read(32)?; // num_units_in_decoding_tick
            bits.read(10)?; // lengths of two other times
        }
    }
    let has_display_delay = bits.flag()?;
    let mut first = None;
    for _ in 0..=bits.read(5)? {
        bits.read(12)?; // which layers
        let level = bits.read(5)? as u8;
        let tier = match level > 7 {
            true => bits.read(1)? as u8,
            false => 0,
        };
        if let Some(delay_bits) = delay_bits
            && bits.flag()?
        {
            bits.read(delay_bits)?;
            bits.read(delay_bits)?;
            bits.read(1)?; // low_delay_mode_flag
        }
        if has_display_delay && bits.flag()? {
            bits.read(4)?;
        }
        first = first.or(Some((level, tier)));
    }
    first
}

/// Tools of the coder, between the size and the colours.
fn pass_tools(bits: &mut Bits<'_>, is_reduced: bool) -> Option<()> {
    if !is_reduced && bits.flag()? {
        bits.read(7)?; // lengths of frame numbers
    }
    bits.read(3)?; // superblocks, filter_intra, intra_edge_filter
    if !is_reduced {
        bits.read(4)?; // interintra, masked, warped, dual filter
        let has_order = bits.flag()?;
        if has_order {
            bits.read(2)?; // joint compound, reference motion vectors
        }
        let has_screen_tools = bits.flag()? || bits.flag()?;
        if has_screen_tools && !bits.flag()? {
            bits.read(1)?; // seq_force_integer_mv
        }
        if has_order {
            bits.read(3)?;
        }
    }
    bits.read(3)?; // superres, cdef, restoration
    Some(())
}

fn colours(bits: &mut Bits<'_>, profile: u8) -> Option<Colours> {
    /// BT.709 primaries, the transfer of sRGB, no matrix: RGB itself.
    const RGB: (u32, u32, u32) = (1, 13, 0);
    let is_high = bits.flag()?;
    let is_twelve = profile == 2 && is_high && bits.flag()?;
    let is_mono = profile != 1 && bits.flag()?;
    let described = match bits.flag()? {
        true => Some((bits.read(8)?, bits.read(8)?, bits.read(8)?)),
        false => None,
    };
    let is_rgb = !is_mono && described == Some(RGB);
    if !is_rgb {
        bits.read(1)?; // color_range
    }
    let subsampling = match profile {
        _ if is_mono => (true, true),
        _ if is_rgb => (false, false),
        0 => (true, true),
        1 => (false, false),
        _ if is_twelve => {
            let across = bits.flag()?;
            (across, across && bits.flag()?)
        }
        _ => (true, false),
    };
    let position = match subsampling == (true, true) && !is_mono {
        true => bits.read(2)? as u8,
        false => 0,
    };
    Some(Colours {
        is_high,
        is_twelve,
        is_mono,
        subsampling,
        position,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Chromium sends of 960 x 540 in three spatial and three temporal layers.
    const LAYERED: [u8; 27] = [
        0x00, 0x87, 0x07, 0x23, 0x81, 0x91, 0xc0, 0x48, 0x60, 0xe4, 0x30, 0x32, 0x18, 0x09, 0x04,
        0x1c, 0x82, 0x06, 0x41, 0x01, 0x24, 0xcf, 0x7f, 0x0d, 0x80, 0x34, 0x01,
    ];

    #[test]
    fn the_size_is_that_of_the_largest_layer() {
        let read = Sequence::parse(&LAYERED).expect("valid");
        assert_eq!(read.size, (960, 540));
        assert_eq!(read.configuration(), [0x81, 0x04, 0x0c, 0x00]);
    }

    #[test]
    fn every_shorter_beginning_is_refused() {
        // Two bytes behind the colours are padding.
        for len in 0..LAYERED.len() - 3 {
            assert_eq!(Sequence::parse(&LAYERED[..len]), None, "{len}");
        }
    }

    #[test]
    fn other_bytes_are_read_or_refused() {
        for place in 0..LAYERED.len() {
            for bit in 0..8 {
                let mut bytes = LAYERED;
                bytes[place] ^= 1 << bit;
                if let Some(read) = Sequence::parse(&bytes) {
                    assert!(read.size.0 > 0 && read.size.1 > 0);
                }
            }
        }
    }
}
