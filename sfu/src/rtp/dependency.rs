//! The dependency descriptor (AV1 RTP specification, appendix A): which frame and which layer a
//! packet belongs to, in a header extension that no encryption of the payload hides.
//!
//! A [`Structure`] comes with every keyframe: the layers there are, and templates that the packets
//! after it name. [`Descriptor::parse`] reads one packet against the structure known so far. What
//! only a decoder needs is checked and passed over: distances to other frames of the frame itself,
//! chains. Every length is bounded by the format's own fields, and every read by the bytes there
//! are.

use arrayvec::ArrayVec;

use crate::error::Reject;

#[cfg(test)]
pub(crate) mod pen;

/// Templates are numbered by six bits.
pub const TEMPLATES_MAX: usize = 64;
/// Decode targets are a bit each in 32 bits.
pub const TARGETS_MAX: usize = 32;
/// Spatial layers are numbered by two bits.
pub const SPATIAL_MAX: usize = 4;
/// Temporal layers are numbered by three bits.
pub const TEMPORAL_MAX: u8 = 8;

/// What a frame means to those who decode a target (A.8.1 `dtis`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Indication {
    /// It does not belong to the target.
    NotPresent,
    /// It may be left out.
    Discardable,
    /// Whoever receives it may begin to receive the target.
    Switch,
    /// It is needed.
    Required,
}

impl Indication {
    fn from_bits(bits: u32) -> Self {
        match bits {
            0 => Self::NotPresent,
            1 => Self::Discardable,
            2 => Self::Switch,
            _ => Self::Required,
        }
    }
}

/// The layer of a template, and what its frames mean to each decode target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// 0 the smallest.
    pub spatial: u8,
    /// 0 the slowest.
    pub temporal: u8,
    /// By decode target.
    pub indications: ArrayVec<Indication, TARGETS_MAX>,
}

/// The picture size of a spatial layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

/// What the packets after it refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Structure {
    /// What is subtracted from a packet's template number, modulo 64.
    pub offset: u8,
    /// How many decode targets there are.
    pub targets: u8,
    /// In the order of their numbers.
    pub templates: ArrayVec<Template, TEMPLATES_MAX>,
    /// Of each spatial layer, if it says so.
    pub resolutions: ArrayVec<Resolution, SPATIAL_MAX>,
}

impl Structure {
    /// How many spatial layers there are.
    pub fn spatial_layers(&self) -> u8 {
        let highest = self.templates.iter().map(|template| template.spatial);
        highest.max().map_or(0, |highest| highest + 1)
    }

    /// How many temporal layers there are.
    pub fn temporal_layers(&self) -> u8 {
        let highest = self.templates.iter().map(|template| template.temporal);
        highest.max().map_or(0, |highest| highest + 1)
    }

    fn template(&self, number: u8) -> Option<&Template> {
        let place = number.wrapping_sub(self.offset) % TEMPLATES_MAX as u8;
        self.templates.get(usize::from(place))
    }
}

/// What one packet says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// It is the first packet of its frame.
    pub starts_frame: bool,
    /// It is the last packet of its frame.
    pub ends_frame: bool,
    /// Counts frames, those of all layers, modulo 2^16.
    pub frame: u16,
    /// Its layer: 0 the smallest.
    pub spatial: u8,
    /// Its layer: 0 the slowest.
    pub temporal: u8,
    /// What its frame means to each decode target.
    pub indications: ArrayVec<Indication, TARGETS_MAX>,
    /// The structure that holds from here on, where the packet brings one: it begins a keyframe.
    pub structure: Option<Box<Structure>>,
    /// The decode targets that are sent, by bit, where the packet says so.
    pub active_targets: Option<u32>,
}

/// Bytes that every descriptor has.
const MANDATORY: usize = 3;

impl Descriptor {
    /// Reads the value of the extension. `known` is the newest structure of the stream; without one
    /// a packet that brings none cannot be understood.
    pub fn parse(value: &[u8], known: Option<&Structure>) -> Result<Self, Reject> {
        let mut bits = Bits::new(value);
        let starts_frame = bits.flag()?;
        let ends_frame = bits.flag()?;
        let number = bits.take(6)? as u8;
        let frame = bits.take(16)? as u16;
        let mut flags = Flags::default();
        let mut structure = None;
        let mut active_targets = None;
        if value.len() > MANDATORY {
            flags = Flags::read(&mut bits)?;
            if flags.has_structure {
                let read = read_structure(&mut bits)?;
                // Until it says otherwise all of a new structure is sent.
                active_targets = Some(all(read.targets));
                structure = Some(Box::new(read));
            }
            if flags.has_active_targets {
                let targets = structure.as_deref().or(known).ok_or(Reject::RtpMalformed)?;
                active_targets = Some(bits.take(targets.targets.into())?);
            }
        }
        let holds = structure.as_deref().or(known).ok_or(Reject::RtpMalformed)?;
        let template = holds.template(number).ok_or(Reject::RtpMalformed)?;
        let indications = match flags.has_own_indications {
            true => read_indications(&mut bits, holds.targets)?,
            false => template.indications.clone(),
        };
        let (spatial, temporal) = (template.spatial, template.temporal);
        if flags.has_own_differences {
            pass_differences(&mut bits)?;
        }
        Ok(Self {
            starts_frame,
            ends_frame,
            frame,
            spatial,
            temporal,
            indications,
            structure,
            active_targets,
        })
    }

    /// Whether decoding may begin with this packet.
    pub fn starts_keyframe(&self) -> bool {
        self.starts_frame && self.structure.is_some()
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Flags {
    has_structure: bool,
    has_active_targets: bool,
    has_own_indications: bool,
    has_own_differences: bool,
}

impl Flags {
    /// `extended_descriptor_fields` as far as the flags; that of chains is passed over, for nothing
    /// follows them that we read.
    fn read(bits: &mut Bits<'_>) -> Result<Self, Reject> {
        let flags = Self {
            has_structure: bits.flag()?,
            has_active_targets: bits.flag()?,
            has_own_indications: bits.flag()?,
            has_own_differences: bits.flag()?,
        };
        let _has_own_chains = bits.flag()?;
        Ok(flags)
    }
}

fn all(targets: u8) -> u32 {
    u32::MAX >> (TARGETS_MAX as u32 - u32::from(targets))
}

/// `template_dependency_structure`
fn read_structure(bits: &mut Bits<'_>) -> Result<Structure, Reject> {
    let offset = bits.take(6)? as u8;
    let targets = bits.take(5)? as u8 + 1;
    let mut templates = read_layers(bits)?;
    for template in &mut templates {
        template.indications = read_indications(bits, targets)?;
    }
    for _ in &templates {
        pass_template_differences(bits)?;
    }
    pass_chains(bits, targets, templates.len())?;
    let mut resolutions = ArrayVec::new();
    if bits.flag()? {
        let highest = templates.iter().map(|template| template.spatial).max();
        for _ in 0..=highest.unwrap_or(0) {
            let width = bits.take(16)? + 1;
            let height = bits.take(16)? + 1;
            resolutions.push(Resolution { width, height });
        }
    }
    Ok(Structure {
        offset,
        targets,
        templates,
        resolutions,
    })
}

/// `template_layers`: each template says how its layer differs from the one before.
fn read_layers(bits: &mut Bits<'_>) -> Result<ArrayVec<Template, TEMPLATES_MAX>, Reject> {
    let mut templates = ArrayVec::new();
    let (mut spatial, mut temporal) = (0, 0);
    loop {
        let template = Template {
            spatial,
            temporal,
            indications: ArrayVec::new(),
        };
        templates
            .try_push(template)
            .map_err(|_| Reject::RtpMalformed)?;
        match bits.take(2)? {
            0 => {}
            1 => temporal += 1,
            2 => (spatial, temporal) = (spatial + 1, 0),
            _ => return Ok(templates),
        }
        if temporal >= TEMPORAL_MAX || usize::from(spatial) >= SPATIAL_MAX {
            return Err(Reject::RtpMalformed);
        }
    }
}

fn read_indications(
    bits: &mut Bits<'_>,
    targets: u8,
) -> Result<ArrayVec<Indication, TARGETS_MAX>, Reject> {
    (0..targets)
        .map(|_| bits.take(2).map(Indication::from_bits))
        .collect()
}

/// `template_fdiffs` of one template: four bits each, while a bit says that one follows.
fn pass_template_differences(bits: &mut Bits<'_>) -> Result<(), Reject> {
    while bits.flag()? {
        bits.take(4)?;
    }
    Ok(())
}

/// `frame_fdiffs`: as many times four bits as two bits say, until those are none.
fn pass_differences(bits: &mut Bits<'_>) -> Result<(), Reject> {
    loop {
        match bits.take(2)? {
            0 => return Ok(()),
            nibbles => bits.take(4 * nibbles)?,
        };
    }
}

/// `template_chains`
fn pass_chains(bits: &mut Bits<'_>, targets: u8, templates: usize) -> Result<(), Reject> {
    let chains = bits.non_symmetric(u32::from(targets) + 1)?;
    if chains == 0 {
        return Ok(());
    }
    for _ in 0..targets {
        bits.non_symmetric(chains)?;
    }
    for _ in 0..templates as u32 * chains {
        bits.take(4)?;
    }
    Ok(())
}

/// Bits from the highest of each byte on.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn flag(&mut self) -> Result<bool, Reject> {
        let byte = self.bytes.get(self.at / 8).ok_or(Reject::RtpMalformed)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Ok(bit == 1)
    }

    /// So many bits, 32 at most.
    fn take(&mut self, count: u32) -> Result<u32, Reject> {
        debug_assert!(count <= 32, "more than fit");
        let mut value = 0;
        for _ in 0..count {
            value = value << 1 | u32::from(self.flag()?);
        }
        Ok(value)
    }

    /// `ns(n)`: a value below `n` in as few bits as may be (A.8.2).
    fn non_symmetric(&mut self, n: u32) -> Result<u32, Reject> {
        let width = n.checked_ilog2().map_or(0, |log| log + 1);
        let short = (1 << width) - n;
        let Some(width) = width.checked_sub(1) else {
            return Ok(0);
        };
        let value = self.take(width)?;
        if value < short {
            return Ok(value);
        }
        Ok((value << 1 | u32::from(self.flag()?)) - short)
    }
}

#[cfg(test)]
mod tests {
    use super::pen::Pen;
    use super::*;

    impl Pen {
        /// Two spatial layers and two targets, as `L2T1_KEY` is described in A.9: the keyframe of
        /// each layer and what follows it.
        fn structure(self, offset: u32) -> Self {
            self.put(offset, 6)
                .put(2 - 1, 5)
                // Layers: two templates of S0, two of S1.
                .put(0, 2)
                .put(2, 2)
                .put(0, 2)
                .put(3, 2)
                // Indications: S0 key, S0, S1 key, S1; target 0 is S0, target 1 is both.
                .put(0b10_10, 4)
                .put(0b10_00, 4)
                .put(0b00_10, 4)
                .put(0b00_10, 4)
                // Differences: none; 2; 1; 2.
                .put(0, 1)
                .put(0b10_0010, 6)
                .put(0b10_0000, 6)
                .put(0b10_0010, 6)
                // Two chains of three values that ns(3) can have: 2 is `11`.
                .put(0b11, 2)
                .put(0, 1)
                .put(1, 1)
                .put(0x0011_2233, 32)
                // Sizes.
                .put(1, 1)
                .put(319, 16)
                .put(179, 16)
                .put(639, 16)
                .put(359, 16)
        }
    }

    fn structure() -> Structure {
        let bytes = Pen::head(true, true, 60, 7)
            .flags(0b10000)
            .structure(60)
            .bytes();
        let read = Descriptor::parse(&bytes, None).expect("valid");
        *read.structure.expect("it brings one")
    }

    #[test]
    fn a_keyframe_brings_the_structure() {
        let bytes = Pen::head(true, false, 60, 0xabcd)
            .flags(0b10000)
            .structure(60)
            .bytes();
        let read = Descriptor::parse(&bytes, None).expect("valid");
        assert!(read.starts_keyframe() && !read.ends_frame);
        assert_eq!((read.frame, read.spatial, read.temporal), (0xabcd, 0, 0));
        assert_eq!(read.active_targets, Some(0b11));
        let structure = read.structure.expect("it brings one");
        assert_eq!((structure.targets, structure.templates.len()), (2, 4));
        assert_eq!(structure.spatial_layers(), 2);
        assert_eq!(structure.temporal_layers(), 1);
        let sizes: Vec<_> = structure
            .resolutions
            .iter()
            .map(|size| (size.width, size.height))
            .collect();
        assert_eq!(sizes, [(320, 180), (640, 360)]);
    }

    #[test]
    fn later_packets_name_a_template_whose_numbers_wrap() {
        let structure = structure();
        for (number, spatial) in [(60, 0), (61, 0), (62, 1), (63, 1)] {
            let bytes = Pen::head(true, true, number, 8).bytes();
            assert_eq!(bytes.len(), MANDATORY);
            let read = Descriptor::parse(&bytes, Some(&structure)).expect("valid");
            assert_eq!(read.spatial, spatial, "template {number}");
            assert!(!read.starts_keyframe());
        }
        let mut wrapped = structure;
        wrapped.offset = 62;
        let bytes = Pen::head(true, true, 1, 8).bytes();
        let read = Descriptor::parse(&bytes, Some(&wrapped)).expect("valid");
        assert_eq!(read.spatial, 1, "62, 63, 0, 1");
    }

    #[test]
    fn a_packet_may_differ_from_its_template() {
        let structure = structure();
        let bytes = Pen::head(true, true, 61, 9)
            .flags(0b01110)
            .put(0b01, 2)
            .put(0b11_01, 4)
            .put(0b01_0010, 6)
            .put(0b00, 2)
            .bytes();
        let read = Descriptor::parse(&bytes, Some(&structure)).expect("valid");
        assert_eq!(read.active_targets, Some(0b01));
        let indications = [Indication::Required, Indication::Discardable];
        assert_eq!(read.indications.as_slice(), indications);
    }

    #[test]
    fn without_its_structure_a_packet_says_nothing() {
        let bytes = Pen::head(true, true, 61, 9).bytes();
        assert_eq!(Descriptor::parse(&bytes, None), Err(Reject::RtpMalformed));
        let stranger = Pen::head(true, true, 10, 9).bytes();
        let structure = structure();
        let read = Descriptor::parse(&stranger, Some(&structure));
        assert_eq!(read, Err(Reject::RtpMalformed), "no such template");
    }

    #[test]
    fn every_shorter_beginning_of_a_keyframe_is_refused() {
        let bytes = Pen::head(true, true, 60, 7)
            .flags(0b10000)
            .structure(60)
            .bytes();
        for len in 0..bytes.len() {
            let read = Descriptor::parse(&bytes[..len], None);
            assert_eq!(read, Err(Reject::RtpMalformed), "{len} bytes");
        }
    }

    #[test]
    fn layers_and_templates_without_end_are_refused() {
        for idc in [0, 1, 2] {
            let endless = (0..600).fold(
                Pen::head(true, true, 0, 0)
                    .flags(0b10000)
                    .put(0, 6)
                    .put(0, 5),
                |pen, _| pen.put(idc, 2),
            );
            let read = Descriptor::parse(&endless.bytes(), None);
            assert_eq!(read, Err(Reject::RtpMalformed), "idc {idc}");
        }
    }

    #[test]
    fn differences_without_end_are_refused() {
        let structure = structure();
        let pen = Pen::head(true, true, 61, 9).flags(0b00010);
        let mut endless = (0..200).fold(pen, |pen, _| pen.put(u32::MAX, 14)).bytes();
        // The last byte is filled up with zeros, which would end them.
        endless.pop();
        let read = Descriptor::parse(&endless, Some(&structure));
        assert_eq!(read, Err(Reject::RtpMalformed));
    }

    #[test]
    fn numbers_of_few_bits_are_read_as_the_specification_counts_them() {
        // ns(5): 0 to 2 in two bits, 3 and 4 in three (A.8.2).
        let written: [(u32, u32, u32); 5] = [
            (0b00, 2, 0),
            (0b01, 2, 1),
            (0b10, 2, 2),
            (0b110, 3, 3),
            (0b111, 3, 4),
        ];
        for (bits, count, value) in written {
            let bytes = Pen::default().put(bits, count).bytes();
            let mut bits = Bits::new(&bytes);
            assert_eq!(bits.non_symmetric(5), Ok(value));
            assert_eq!(bits.at, count as usize);
        }
        let mut bits = Bits::new(&[0xff]);
        assert_eq!(bits.non_symmetric(1), Ok(0), "one value needs no bit");
        assert_eq!(bits.at, 0);
    }
}
