//! Writes dependency descriptors for tests: bit by bit, or those of the scalability modes that
//! browsers use (AV1 RTP specification, A.9 and the modes of WebRTC-SVC).
//!
//! Distances to other frames and chains are left out, because nothing here reads them.

/// Writes what the parser reads.
#[derive(Default)]
pub(crate) struct Pen {
    bits: Vec<bool>,
}

impl Pen {
    pub(crate) fn put(mut self, value: u32, count: u32) -> Self {
        let bits = (0..count).rev().map(|bit| value >> bit & 1 == 1);
        self.bits.extend(bits);
        self
    }

    pub(crate) fn bytes(mut self) -> Vec<u8> {
        self.bits.resize(self.bits.len().next_multiple_of(8), false);
        let byte = |bits: &[bool]| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
        self.bits.chunks(8).map(byte).collect()
    }

    pub(crate) fn head(starts: bool, ends: bool, template: u32, frame: u32) -> Self {
        Self::default()
            .put(starts.into(), 1)
            .put(ends.into(), 1)
            .put(template, 6)
            .put(frame, 16)
    }

    /// Structure, active targets, own indications, own differences, own chains.
    pub(crate) fn flags(self, flags: u32) -> Self {
        self.put(flags, 5)
    }

    /// The first packet of a keyframe of a mode.
    pub(crate) fn keyframe(mode: &Mode, frame: u16) -> Self {
        Self::head(true, true, mode.offset, frame.into())
            .flags(0b10000)
            .structure_of(mode)
    }

    fn structure_of(self, mode: &Mode) -> Self {
        let targets = mode.templates[0].2.len() as u32;
        let mut pen = self.put(mode.offset, 6).put(targets - 1, 5);
        for pair in mode.templates.windows(2) {
            let step = match (pair[1].0 - pair[0].0, pair[1].1 == pair[0].1) {
                (0, true) => 0,
                (0, false) => 1,
                _ => 2,
            };
            pen = pen.put(step, 2);
        }
        pen = pen.put(3, 2);
        for (_, _, indications) in mode.templates {
            for sign in indications.chars() {
                let value = "-DSR".find(sign).expect("one of the four");
                pen = pen.put(value as u32, 2);
            }
        }
        for _ in mode.templates {
            pen = pen.put(0, 1);
        }
        // No chains, in as many bits as `ns(targets + 1)` has for its smallest value; no sizes.
        pen.put(0, (targets + 1).ilog2()).put(0, 1)
    }
}

/// A scalability mode: its templates in the order of their numbers.
pub(crate) struct Mode {
    offset: u32,
    templates: &'static [(u8, u8, &'static str)],
}

impl Mode {
    /// A packet that is a frame of its own.
    pub(crate) fn packet(&self, template: u32, frame: u16) -> Vec<u8> {
        Pen::head(true, true, (self.offset + template) % 64, frame.into()).bytes()
    }

    /// The same that says which targets are sent.
    pub(crate) fn packet_with_active(&self, template: u32, frame: u16, active: u32) -> Vec<u8> {
        let targets = self.templates[0].2.len() as u32;
        Pen::head(true, true, (self.offset + template) % 64, frame.into())
            .flags(0b01000)
            .put(active & (u32::MAX >> (32 - targets)), targets)
            .bytes()
    }

    /// Spatial layer, temporal layer and number of every template.
    pub(crate) fn templates(&self) -> impl DoubleEndedIterator<Item = (u8, u8, u32)> {
        let numbered = self.templates.iter().zip(0..self.templates.len() as u32);
        numbered.map(|((spatial, rate, _), number)| (*spatial, *rate, number))
    }
}

/// Three sizes made from each other in keyframes only, three rates each.
pub(crate) const L3T3_KEY: Mode = Mode {
    offset: 60,
    templates: &[
        (0, 0, "SSSSSSSSS"),
        (0, 0, "SSS------"),
        (0, 1, "-DS------"),
        (0, 2, "--D------"),
        (0, 2, "--D------"),
        (1, 0, "---SSSSSS"),
        (1, 0, "---SSS---"),
        (1, 1, "----DS---"),
        (1, 2, "-----D---"),
        (1, 2, "-----D---"),
        (2, 0, "------SSS"),
        (2, 0, "------SSS"),
        (2, 1, "-------DS"),
        (2, 2, "--------D"),
        (2, 2, "--------D"),
    ],
};

/// One size, three rates.
pub(crate) const L1T3: Mode = Mode {
    offset: 20,
    templates: &[
        (0, 0, "SSS"),
        (0, 0, "SSS"),
        (0, 1, "-DS"),
        (0, 2, "--D"),
        (0, 2, "--D"),
    ],
};
