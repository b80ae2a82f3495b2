//! Ogg (RFC 3533) with one stream of Opus (RFC 7845), for sound that was encoded here.
//!
//! Unlike the sound of a call it has a beginning and an end to the sample: what the encoder puts in
//! front is skipped, and what it puts behind is cut off by the last page's position. A page holds a
//! second. Nothing is patched: any output will do.

use std::io::{self, Write};

use super::opus_head;

/// Pieces of 255 bytes in a page at most.
const LACES_MAX: usize = 255;

/// Samples in a page, so that players find their place in a file.
const PAGE_SAMPLES: u64 = 48_000;

const BEGIN: u8 = 2;
const END: u8 = 4;

/// Writes one file.
#[derive(Debug)]
pub struct OggOpus<W> {
    out: W,
    page: u32,
    /// Samples up to the end of what was taken, those to be skipped included.
    position: u64,
    page_since: u64,
    laces: Vec<u8>,
    body: Vec<u8>,
}

impl<W: Write> OggOpus<W> {
    /// Begins a file whose first `skip` samples are not to be played.
    pub fn begin(out: W, channels: u8, skip: u16) -> io::Result<Self> {
        let mut writer = Self {
            out,
            page: 0,
            position: 0,
            page_since: 0,
            laces: Vec::new(),
            body: Vec::new(),
        };
        writer.lay(&opus_head(channels, skip));
        writer.flush(BEGIN, 0)?;
        let mut tags = b"OpusTags".to_vec();
        tags.extend_from_slice(&9_u32.to_le_bytes());
        tags.extend_from_slice(b"Consilium\0\0\0\0");
        writer.lay(&tags);
        writer.flush(0, 0)?;
        Ok(writer)
    }

    /// Adds a packet that lasts for so many samples.
    pub fn packet(&mut self, bytes: &[u8], samples: u64) -> io::Result<()> {
        let is_full = self.laces.len() + bytes.len() / 255 + 1 > LACES_MAX;
        if is_full || self.position - self.page_since >= PAGE_SAMPLES {
            self.flush(0, self.position)?;
        }
        self.position += samples;
        self.lay(bytes);
        Ok(())
    }

    /// Writes what is left; the sound ends at sample `end`, those to be skipped included. Gives the
    /// output back.
    pub fn finish(mut self, end: u64) -> io::Result<W> {
        self.flush(END, end)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn lay(&mut self, packet: &[u8]) {
        let whole = packet.len() / 255;
        self.laces.extend(std::iter::repeat_n(255, whole));
        self.laces.push((packet.len() % 255) as u8);
        self.body.extend_from_slice(packet);
    }

    fn flush(&mut self, kind: u8, position: u64) -> io::Result<()> {
        let mut head = b"OggS\0".to_vec();
        head.push(kind);
        head.extend_from_slice(&position.to_le_bytes());
        // The stream's number: there is only one.
        head.extend_from_slice(&1_u32.to_le_bytes());
        head.extend_from_slice(&self.page.to_le_bytes());
        head.extend_from_slice(&[0; 4]);
        head.push(u8::try_from(self.laces.len()).expect("a page is flushed before it has more"));
        head.extend_from_slice(&self.laces);
        let sum = checksum(checksum(0, &head), &self.body);
        head[22..26].copy_from_slice(&sum.to_le_bytes());
        self.out.write_all(&head)?;
        self.out.write_all(&self.body)?;
        self.page += 1;
        self.page_since = self.position;
        self.laces.clear();
        self.body.clear();
        Ok(())
    }
}

/// The checksum of a page (RFC 3533 section 6): neither reflected nor inverted.
fn checksum(sum: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(sum, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte) << 24, |sum, _| {
            let carry = if sum >> 31 == 1 { 0x04c1_1db7 } else { 0 };
            sum << 1 ^ carry
        })
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The packets of a file behind its two heads, and where its sound ends. Every page must be sound.
    pub(crate) fn packets(mut bytes: &[u8]) -> (Vec<Vec<u8>>, u64) {
        let (mut packets, mut packet, mut end, mut page) = (Vec::new(), Vec::new(), 0, 0_u32);
        while !bytes.is_empty() {
            assert_eq!(&bytes[..5], b"OggS\0");
            let laces = usize::from(bytes[26]);
            let len = bytes[27..27 + laces]
                .iter()
                .map(|&n| usize::from(n))
                .sum::<usize>();
            let (this, rest) = bytes.split_at(27 + laces + len);
            let mut copy = this.to_vec();
            copy[22..26].fill(0);
            assert_eq!(
                this[22..26],
                checksum(0, &copy).to_le_bytes(),
                "page {page}"
            );
            assert_eq!(this[18..22], page.to_le_bytes());
            assert_eq!(this[5] == END, rest.is_empty());
            end = u64::from_le_bytes(this[6..14].try_into().expect("eight bytes"));
            let mut at = 27 + laces;
            for &lace in &this[27..27 + laces] {
                packet.extend_from_slice(&this[at..at + usize::from(lace)]);
                at += usize::from(lace);
                if lace < 255 {
                    packets.push(std::mem::take(&mut packet));
                }
            }
            (bytes, page) = (rest, page + 1);
        }
        assert!(packets[0].starts_with(b"OpusHead") && packets[1].starts_with(b"OpusTags"));
        (packets.split_off(2), end)
    }

    #[test]
    fn packets_come_out_as_they_went_in() {
        let mut writer = OggOpus::begin(Vec::new(), 1, 312).expect("in memory");
        let given: Vec<Vec<u8>> = (0..400_usize).map(|n| vec![n as u8; n * 3]).collect();
        for packet in &given {
            writer.packet(packet, 960).expect("in memory");
        }
        let bytes = writer.finish(312 + 1000).expect("in memory");
        let (found, end) = packets(&bytes);
        assert_eq!(found, given);
        assert_eq!(end, 1312);
    }

    #[test]
    fn a_file_without_sound_is_a_file() {
        let writer = OggOpus::begin(Vec::new(), 2, 0).expect("in memory");
        let bytes = writer.finish(0).expect("in memory");
        assert_eq!(packets(&bytes), (Vec::new(), 0));
    }
}
