//! What synthetic participants send: real Opus and well-formed VP8 with a stamp inside.
//!
//! The stamp says who sent the packet, when, and which one it was, so that a receiver can judge
//! loss and delay without trusting anything a server writes into headers. It is the tail of the
//! payload: in Opus it lies in the padding that every decoder skips, in VP8 behind the frame
//! header, where servers do not look.

use anyhow::{Context, Result, ensure};
use opus::{Application, Bitrate, Channels, Encoder};

/// Bytes of a stamp.
pub(crate) const STAMP: usize = 32;
const MAGIC: u32 = 0x4c54_5354;

/// Everything a receiver needs to know about a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Which run of the tool sent it: leftovers of another run are not counted.
    pub(crate) run: u32,
    /// Which source: one track, or one simulcast layer of it.
    pub(crate) source: u32,
    /// Packets of this source before it.
    pub(crate) sequence: u32,
    /// Frames of this source before its own.
    pub(crate) frame: u32,
    /// Its place in the frame.
    pub(crate) index: u8,
    /// Packets of the frame.
    pub(crate) count: u8,
    /// Whether the frame needs no other.
    pub(crate) is_keyframe: bool,
    /// Nanoseconds since the start of the run.
    pub(crate) sent: u64,
}

impl Stamp {
    /// Writes the stamp into the last bytes of a payload.
    pub(crate) fn write(&self, payload: &mut [u8]) {
        let at = payload.len() - STAMP;
        let words = [MAGIC, self.run, self.source, self.sequence, self.frame];
        for (place, word) in payload[at..].chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        payload[at + 20..at + 24].copy_from_slice(&[
            self.index,
            self.count,
            u8::from(self.is_keyframe),
            0,
        ]);
        payload[at + 24..].copy_from_slice(&self.sent.to_be_bytes());
    }

    /// Reads the stamp of a payload; `None` where there is none of this run.
    pub(crate) fn read(payload: &[u8], run: u32) -> Option<Self> {
        let stamp: &[u8; STAMP] = payload.last_chunk()?;
        let word = |i: usize| stamp[i * 4..].first_chunk().map(|b| u32::from_be_bytes(*b));
        if word(0)? != MAGIC || word(1)? != run {
            return None;
        }
        Some(Self {
            run,
            source: word(2)?,
            sequence: word(3)?,
            frame: word(4)?,
            index: stamp[20],
            count: stamp[21].max(1),
            is_keyframe: stamp[22] == 1,
            sent: u64::from_be_bytes(*stamp[24..].first_chunk()?),
        })
    }
}

/// A second of voice, encoded once and repeated by everyone who speaks.
#[derive(Debug)]
pub(crate) struct Voice {
    packets: Vec<Vec<u8>>,
}

/// Bytes that the padded form of Opus adds: frame count and up to four of padding length.
const OPUS_EXTRA: usize = 5;

impl Voice {
    /// Encodes a tone that wavers like speech; every payload has `len` bytes.
    pub(crate) fn encode(len: usize) -> Result<Self> {
        let room = STAMP + OPUS_EXTRA;
        ensure!(
            (room + 10..=1_000).contains(&len),
            "an audio payload has {} to 1000 bytes",
            room + 10
        );
        let mut encoder = Encoder::new(48_000, Channels::Mono, Application::Voip)?;
        encoder.set_bitrate(Bitrate::Bits(((len - room) * 8 * 50) as i32))?;
        let packets = (0..50).map(|frame| {
            let samples: Vec<i16> = (0..960).map(|i| tone(frame * 960 + i)).collect();
            let mut opus = vec![0; len - room];
            let coded = encoder
                .encode(&samples, &mut opus)
                .context("encoding Opus")?;
            opus.truncate(coded);
            pad(&opus, len)
        });
        Ok(Self {
            packets: packets.collect::<Result<_>>()?,
        })
    }

    /// The payload of a frame, its stamp still empty.
    pub(crate) fn frame(&self, frame: u32) -> &[u8] {
        &self.packets[frame as usize % self.packets.len()]
    }
}

/// 220 Hz whose loudness swings four times a second.
fn tone(sample: u32) -> i16 {
    let t = f64::from(sample) / 48_000.0 * std::f64::consts::TAU;
    ((220.0 * t).sin() * (0.5 + 0.5 * (4.0 * t).sin()) * 12_000.0) as i16
}

/// Gives a packet of one frame the padded form of RFC 6716 section 3.2.5, `len` bytes long.
fn pad(opus: &[u8], len: usize) -> Result<Vec<u8>> {
    let (&toc, frame) = opus.split_first().context("Opus gave an empty packet")?;
    ensure!(toc & 3 == 0, "Opus gave more than one frame");
    // What is left is padding and its length, in bytes that say 254 more each, and a last one.
    let left = len - 2 - frame.len();
    let lengths = left.div_ceil(255);
    let mut packet = vec![toc | 3, 0x41];
    packet.resize(2 + lengths - 1, 255);
    packet.push((left - lengths - 254 * (lengths - 1)) as u8);
    packet.extend_from_slice(frame);
    packet.resize(len, 0);
    Ok(packet)
}

/// Bytes of the VP8 payload descriptor with a two-byte picture id, TL0PICIDX, and TID/KEYIDX.
const DESCRIPTOR: usize = 6;
/// Frame tag, start code and dimensions of a keyframe (RFC 6386 section 9.1).
const KEYFRAME_HEADER: usize = 10;
/// The smallest VP8 payload with a stamp behind everything.
pub(crate) const VIDEO_PAYLOAD_MIN: usize = DESCRIPTOR + KEYFRAME_HEADER + STAMP;

/// Writes a VP8 payload, but for its stamp: what a server reads is true, the picture is filler.
pub(crate) fn write_vp8(payload: &mut [u8], stamp: &Stamp, width: u16, height: u16) {
    let picture = (stamp.frame & 0x7fff) as u16 | 0x8000;
    let starts_frame = stamp.index == 0;
    payload[0] = 0x80 | if starts_frame { 0x10 } else { 0 };
    payload[1] = 0xf0;
    payload[2..4].copy_from_slice(&picture.to_be_bytes());
    payload[4] = stamp.frame as u8;
    payload[5] = 0x20 | (stamp.frame & 0x1f) as u8;
    let body = &mut payload[DESCRIPTOR..];
    body.fill(0x11);
    if !starts_frame {
        return;
    }
    // A shown frame of version 0 whose first partition has 100 bytes; bit 0 is set if it is not
    // a keyframe.
    let tag: u32 = (100 << 5) | (1 << 4) | u32::from(!stamp.is_keyframe);
    body[..3].copy_from_slice(&tag.to_le_bytes()[..3]);
    if stamp.is_keyframe {
        body[3..6].copy_from_slice(&[0x9d, 0x01, 0x2a]);
        body[6..8].copy_from_slice(&width.to_le_bytes());
        body[8..10].copy_from_slice(&height.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMPED: Stamp = Stamp {
        run: 9,
        source: 3,
        sequence: 70_000,
        frame: 300,
        index: 0,
        count: 6,
        is_keyframe: true,
        sent: 1 << 40,
    };

    #[test]
    fn a_stamp_reads_back_only_in_its_own_run() {
        let mut payload = [7; 50];
        STAMPED.write(&mut payload);
        assert_eq!(Stamp::read(&payload, 9), Some(STAMPED));
        assert_eq!(Stamp::read(&payload, 8), None);
        assert_eq!(
            Stamp::read(&payload[1..], 9),
            Some(STAMPED),
            "it is the tail"
        );
        assert_eq!(Stamp::read(&payload[..49], 9), None);
        assert_eq!(Stamp::read(&[], 9), None);
    }

    #[test]
    fn voice_decodes_with_a_stamp_in_it_and_sounds() {
        for len in [116, 136, 600] {
            let voice = Voice::encode(len).expect("encoded");
            let mut decoder = opus::Decoder::new(48_000, Channels::Mono).expect("decoder");
            let mut energy = 0.0;
            for frame in 0..50 {
                let mut payload = voice.frame(frame).to_vec();
                assert_eq!(payload.len(), len);
                STAMPED.write(&mut payload);
                let mut samples = [0; 960];
                assert_eq!(
                    decoder
                        .decode(&payload, &mut samples, false)
                        .expect("decoded"),
                    960
                );
                energy += samples.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>();
            }
            assert!((energy / 48_000.0).sqrt() > 1_000.0, "audible");
        }
    }

    #[test]
    fn a_keyframe_says_so_and_a_later_packet_does_not_start_a_frame() {
        let mut payload = vec![0; VIDEO_PAYLOAD_MIN];
        write_vp8(&mut payload, &STAMPED, 1280, 720);
        assert_eq!(payload[..6], [0x90, 0xf0, 0x81, 0x2c, 0x2c, 0x2c]);
        assert_eq!(payload[6] & 1, 0);
        assert_eq!(payload[9..16], [0x9d, 0x01, 0x2a, 0x00, 0x05, 0xd0, 0x02]);
        let delta = Stamp {
            is_keyframe: false,
            ..STAMPED
        };
        write_vp8(&mut payload, &delta, 1280, 720);
        assert_eq!(payload[6] & 1, 1);
        write_vp8(&mut payload, &Stamp { index: 1, ..delta }, 1280, 720);
        assert_eq!(payload[0], 0x80);
    }
}
