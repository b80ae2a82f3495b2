//! Bits of a header, the highest of each byte first, as all codecs write them.

/// Reads on from one bit to the next; `None` behind the end.
#[derive(Debug)]
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    /// From the first bit of the byte at `from`.
    pub(super) fn new(bytes: &'a [u8], from: usize) -> Self {
        Self {
            bytes,
            at: from * 8,
        }
    }

    /// How many bits have been read, counted from the first byte.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// A number of so many bits, at most 32.
    pub(super) fn read(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.bytes.get(self.at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }

    /// One bit.
    pub(super) fn flag(&mut self) -> Option<bool> {
        Some(self.read(1)? == 1)
    }

    /// Exp-Golomb (H.264 section 9.1; AV1 calls it uvlc). Nothing that is read here has more than so
    /// many bits.
    pub(super) fn exp_golomb(&mut self, bits_max: u32) -> Option<u32> {
        let mut zeros = 0;
        while self.read(1)? == 0 {
            zeros += 1;
            if zeros > bits_max {
                return None;
            }
        }
        let low = self.read(zeros)?;
        ((1_u32 << zeros) - 1).checked_add(low)
    }
}
