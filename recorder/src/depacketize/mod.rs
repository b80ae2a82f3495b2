//! Packets back into frames: what a decoder takes and a container stores.
//!
//! One [`Depacketizer`] reads one source (SSRC) of one track in the order of arrival and gives frames
//! in the order of their sequence numbers. A hole is waited for as long as a resend may take; after
//! that the frame is lost, and with it every picture up to the next keyframe. It knows nothing of
//! clocks ([`crate::presentation`]) and containers.

pub mod av1;
mod bits;
pub mod h264;
pub mod opus;
#[cfg(test)]
pub(crate) mod vectors;
pub mod vp8;
pub mod vp9;

use std::collections::{BTreeMap, VecDeque};

use sfu::rtp::packet::Header;

/// How long a missing packet is waited for, microseconds of arrival: a publisher's resend on a bad
/// link comes within three round trips of 500 ms.
pub const REORDER_US: u64 = 2_000_000;

/// The first packet to arrive need not be the first that was sent: a source is begun with what has come
/// within so long.
pub const START_US: u64 = 100_000;

/// Packets that wait behind a hole at most: two seconds of a 20 Mbit/s picture.
const WAITING_MAX: usize = 4096;

/// Bytes of one frame at most: a 4K keyframe has less than 4 MiB.
const FRAME_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Units of one frame at most: so many tiles may a picture of AV1 have (its section 3), and nobody
/// sends each alone.
const UNITS_MAX: usize = 4096;

/// The formats that can be taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// RFC 7587, bare or redundant (RFC 2198) under the other payload type.
    Opus {
        /// The payload type of redundant packets.
        red: Option<u8>,
    },
    /// RFC 7741.
    Vp8,
    /// RFC 6184, packetization modes 0 and 1.
    H264,
    /// RFC 9628, all spatial layers of a picture together.
    Vp9,
    /// AV1's RTP specification 1.0, the same.
    Av1,
}

impl Format {
    /// The format of a track by its MIME type; `None` if it cannot be played here.
    pub fn of(mime: &str, red: Option<u8>) -> Option<Self> {
        match mime.to_ascii_lowercase().as_str() {
            "audio/opus" => Some(Self::Opus { red }),
            "video/vp8" => Some(Self::Vp8),
            "video/h264" => Some(Self::H264),
            "video/vp9" => Some(Self::Vp9),
            "video/av1" => Some(Self::Av1),
            _ => None,
        }
    }
}

/// One frame: a picture, or the sound of one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// RTP time, unwrapped; the first packet of the source lies in the first wrap but one.
    pub rtp: u64,
    /// When its last packet arrived, microseconds since the start of the recording.
    pub arrival_us: u64,
    /// It needs no other. Sound always does not.
    pub is_keyframe: bool,
    /// Pixels across and down, where the frame says so.
    pub size: Option<(u32, u32)>,
    /// What a decoder takes. H.264: units with four bytes of length before each. AV1: a temporal
    /// unit.
    pub bytes: Vec<u8>,
}

/// What was lost on the way to frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Packets that are not in the journal.
    pub packets: u64,
    /// Packets that are there and can be used for nothing.
    pub unusable: u64,
}

#[derive(Debug)]
struct Packet {
    rtp: u64,
    marker: bool,
    payload_type: u8,
    arrival_us: u64,
    payload: Vec<u8>,
}

/// Takes a count of 16 or 32 bits that wraps to one that does not.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwrap {
    last: Option<u64>,
}

impl Unwrap {
    /// The unwrapped value nearest to the one before. Values begin at 2^`bits`, so that what comes
    /// out of order at the beginning is not below zero.
    pub fn next(&mut self, value: u64, bits: u32) -> u64 {
        let span = 1_u64 << bits;
        let Some(last) = self.last else {
            self.last = Some(span + value);
            return span + value;
        };
        let ahead = value.wrapping_sub(last) & (span - 1);
        let next = if ahead < span / 2 {
            last + ahead
        } else {
            (last + ahead).saturating_sub(span)
        };
        self.last = Some(self.last.map_or(next, |last| last.max(next)));
        next
    }
}

/// Takes one source of a track apart.
#[derive(Debug)]
pub struct Depacketizer {
    format: Format,
    sequence: Unwrap,
    timestamp: Unwrap,
    /// The sequence number that is to come next; `None` before the first.
    expected: Option<u64>,
    waiting: BTreeMap<u64, Packet>,
    /// The picture that is being put together.
    picture: Option<Picture>,
    /// Pictures are of no use before a keyframe.
    needs_keyframe: bool,
    /// What VP9 pictures are made from.
    slots: vp9::Slots,
    frames: VecDeque<Frame>,
    losses: Losses,
    last_arrival_us: u64,
}

/// A picture as far as it has come.
#[derive(Debug)]
struct Picture {
    rtp: u64,
    arrival_us: u64,
    is_keyframe: bool,
    size: Option<(u32, u32)>,
    parts: Parts,
}

/// What of a picture has come.
#[derive(Debug, Default)]
struct Parts {
    bytes: Vec<u8>,
    /// Where its units end: frames of layers of VP9, OBUs of AV1. Other formats need none.
    ends: Vec<usize>,
    /// The last unit goes on in the next packet.
    is_open: bool,
}

impl Parts {
    /// The last unit is whole; `None` if there are too many.
    fn end_unit(&mut self) -> Option<()> {
        self.is_open = false;
        self.ends.push(self.bytes.len());
        (self.ends.len() <= UNITS_MAX).then_some(())
    }

    fn units(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let spans = starts.zip(self.ends.iter().copied());
        spans.map(|(start, end)| &self.bytes[start..end])
    }
}

impl Depacketizer {
    /// One for a source of this format.
    pub fn new(format: Format) -> Self {
        Self {
            format,
            sequence: Unwrap::default(),
            timestamp: Unwrap::default(),
            expected: None,
            waiting: BTreeMap::new(),
            picture: None,
            needs_keyframe: true,
            slots: vp9::Slots::default(),
            frames: VecDeque::new(),
            losses: Losses::default(),
            last_arrival_us: 0,
        }
    }

    /// Takes in a packet. What is no RTP counts as unusable.
    pub fn push(&mut self, packet: &[u8], arrival_us: u64) {
        self.last_arrival_us = self.last_arrival_us.max(arrival_us);
        let Some((sequence, packet)) = self.read(packet, arrival_us) else {
            self.losses.unusable += 1;
            return;
        };
        let is_late = self.expected.is_some_and(|expected| sequence < expected);
        if !is_late {
            // A packet that came twice is the same packet.
            self.waiting.entry(sequence).or_insert(packet);
        }
        self.advance(false);
    }

    /// It is this late: what waits behind a hole that is too old is given also when the source has
    /// fallen silent.
    pub fn pass(&mut self, now_us: u64) {
        self.last_arrival_us = self.last_arrival_us.max(now_us);
        self.advance(false);
    }

    /// The next frame.
    pub fn pop(&mut self) -> Option<Frame> {
        self.frames.pop_front()
    }

    /// Nothing more comes: what waits behind holes is given now.
    pub fn finish(&mut self) {
        self.advance(true);
        self.picture = None;
    }

    /// What was lost so far.
    pub fn losses(&self) -> Losses {
        self.losses
    }

    fn read(&mut self, packet: &[u8], arrival_us: u64) -> Option<(u64, Packet)> {
        let header = Header::parse(packet).ok()?;
        let sequence = self.sequence.next(u64::from(header.sequence), 16);
        let rtp = self.timestamp.next(u64::from(header.timestamp), 32);
        let payload = header
            .payload(packet)
            .ok()
            .map_or(&[][..], |range| &packet[range]);
        let packet = Packet {
            rtp,
            marker: header.marker,
            payload_type: header.payload_type.0,
            arrival_us,
            payload: payload.to_vec(),
        };
        Some((sequence, packet))
    }

    /// Takes every packet whose turn it is, and gives up holes that are too old.
    fn advance(&mut self, is_end: bool) {
        if self.expected.is_none() && !is_end && !self.has_started() {
            return;
        }
        while let Some((&sequence, first)) = self.waiting.first_key_value() {
            let expected = *self.expected.get_or_insert(sequence);
            if sequence > expected {
                let waited = self.last_arrival_us.saturating_sub(first.arrival_us);
                if !is_end && waited < REORDER_US && self.waiting.len() < WAITING_MAX {
                    return;
                }
                self.losses.packets += sequence - expected;
                self.hole();
            }
            self.expected = Some(sequence + 1);
            let packet = self.waiting.remove(&sequence).expect("it is the first");
            self.take(packet);
        }
    }

    fn has_started(&self) -> bool {
        let first = self.waiting.values().map(|packet| packet.arrival_us).min();
        first.is_some_and(|first| self.last_arrival_us.saturating_sub(first) >= START_US)
            || self.waiting.len() >= WAITING_MAX
    }

    fn hole(&mut self) {
        self.picture = None;
        self.needs_keyframe = true;
    }

    fn take(&mut self, packet: Packet) {
        if packet.payload.is_empty() {
            return; // padding alone, or a probe: it only consumed a number
        }
        match self.format {
            Format::Opus { red } => self.take_sound(packet, red),
            Format::Vp8 => self.take_slice(&packet, |payload, is_first, parts| {
                vp8::append(payload, is_first, &mut parts.bytes)
            }),
            Format::H264 => self.take_slice(&packet, |payload, is_first, parts| {
                h264::append(payload, is_first, &mut parts.bytes)
            }),
            Format::Vp9 => self.take_slice(&packet, vp9::append),
            Format::Av1 => self.take_slice(&packet, av1::append),
        }
    }

    fn take_sound(&mut self, packet: Packet, red: Option<u8>) {
        let is_redundant = red == Some(packet.payload_type);
        let Some(bytes) = opus::sound(packet.payload, is_redundant) else {
            self.losses.unusable += 1;
            return;
        };
        self.frames.push_back(Frame {
            rtp: packet.rtp,
            arrival_us: packet.arrival_us,
            is_keyframe: true,
            size: None,
            bytes,
        });
    }

    fn take_slice(&mut self, packet: &Packet, append: Append) {
        if self
            .picture
            .as_ref()
            .is_some_and(|picture| picture.rtp != packet.rtp)
        {
            // The marker of the picture before was not set; all its packets are there.
            self.finish_picture();
        }
        let picture = self.picture.get_or_insert_with(|| Picture {
            rtp: packet.rtp,
            arrival_us: 0,
            is_keyframe: false,
            size: None,
            parts: Parts::default(),
        });
        picture.arrival_us = picture.arrival_us.max(packet.arrival_us);
        let is_first = picture.parts.bytes.is_empty();
        let fits = picture.parts.bytes.len() + packet.payload.len() <= FRAME_BYTES_MAX;
        let appended = if fits {
            append(&packet.payload, is_first, &mut picture.parts)
        } else {
            None
        };
        let Some(slice) = appended else {
            self.losses.unusable += 1;
            self.hole();
            return;
        };
        picture.is_keyframe |= slice.is_keyframe;
        picture.size = picture.size.or(slice.size);
        if packet.marker {
            self.finish_picture();
        }
    }

    fn finish_picture(&mut self) {
        let Some(picture) = self.picture.take() else {
            return;
        };
        let Some(frame) = picture.whole(self.format, &mut self.slots) else {
            self.losses.unusable += 1;
            self.needs_keyframe = true;
            return;
        };
        if self.needs_keyframe && !frame.is_keyframe {
            return;
        }
        self.needs_keyframe = false;
        self.frames.push_back(frame);
    }
}

impl Picture {
    /// The frame, now that all of it is there; `None` if it is none.
    fn whole(self, format: Format, slots: &mut vp9::Slots) -> Option<Frame> {
        let (bytes, told) = match format {
            Format::Vp9 => (vp9::whole(&self.parts, slots)?, Slice::default()),
            Format::Av1 => av1::whole(&self.parts)?,
            Format::Opus { .. } | Format::Vp8 | Format::H264 => {
                (self.parts.bytes, Slice::default())
            }
        };
        Some(Frame {
            rtp: self.rtp,
            arrival_us: self.arrival_us,
            is_keyframe: self.is_keyframe || told.is_keyframe,
            size: self.size.or(told.size),
            bytes,
        })
    }
}

/// What one packet of a picture says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// The picture needs no other.
    pub is_keyframe: bool,
    /// Its size.
    pub size: Option<(u32, u32)>,
}

/// Appends a payload's data to a picture, of which it is the first packet or not; `None` if it
/// cannot be.
type Append = fn(&[u8], bool, &mut Parts) -> Option<Slice>;

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(sequence: u16, timestamp: u32, marker: bool, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x80, 96 | u8::from(marker) << 7];
        bytes.extend_from_slice(&sequence.to_be_bytes());
        bytes.extend_from_slice(&timestamp.to_be_bytes());
        bytes.extend_from_slice(&7_u32.to_be_bytes());
        bytes.extend_from_slice(payload);
        bytes
    }

    /// The first packet of a keyframe of 320 x 240, or of another picture.
    fn first(is_keyframe: bool) -> Vec<u8> {
        let mut payload = vec![0x10, u8::from(!is_keyframe), 0, 0];
        if is_keyframe {
            payload.extend_from_slice(&[0x9d, 0x01, 0x2a, 0x40, 0x01, 0xf0, 0x00]);
        }
        payload
    }

    fn all(depacketizer: &mut Depacketizer) -> Vec<Frame> {
        depacketizer.pass(START_US);
        std::iter::from_fn(|| depacketizer.pop()).collect()
    }

    #[test]
    fn a_picture_is_put_together_whatever_the_order_of_arrival() {
        let packets = [
            packet(65_534, 90, false, &first(true)),
            packet(65_535, 90, false, &[0, 1, 2]),
            packet(0, 90, true, &[0, 3]),
            packet(1, 3090, true, &first(false)),
        ];
        for order in [
            [0, 1, 2, 3],
            [0, 2, 1, 3],
            [0, 3, 2, 1],
            [2, 1, 0, 3],
            [3, 2, 1, 0],
        ] {
            let mut depacketizer = Depacketizer::new(Format::Vp8);
            for index in order {
                depacketizer.push(&packets[index], index as u64);
            }
            let frames = all(&mut depacketizer);
            assert_eq!(frames.len(), 2, "{order:?}");
            assert_eq!(frames[0].size, Some((320, 240)));
            assert!(frames[0].is_keyframe && !frames[1].is_keyframe);
            assert_eq!(frames[0].bytes[10..], [1, 2, 3]);
            assert_eq!(frames[1].rtp - frames[0].rtp, 3000);
        }
    }

    #[test]
    fn a_hole_hides_pictures_up_to_the_next_keyframe() {
        let mut depacketizer = Depacketizer::new(Format::Vp8);
        depacketizer.push(&packet(1, 0, true, &first(true)), 0);
        depacketizer.push(&packet(3, 6000, true, &first(false)), 10);
        depacketizer.push(&packet(4, 9000, true, &first(true)), 20);
        assert_eq!(all(&mut depacketizer).len(), 1, "it is still waited for");
        depacketizer.push(&packet(5, 12_000, true, &first(false)), 10 + REORDER_US);
        let times: Vec<u64> = all(&mut depacketizer)
            .iter()
            .map(|frame| frame.rtp & 0xffff)
            .collect();
        assert_eq!(times, [9000, 12_000]);
        assert_eq!(depacketizer.losses().packets, 1);
        depacketizer.push(&packet(2, 3000, true, &first(false)), 11 + REORDER_US);
        assert!(all(&mut depacketizer).is_empty(), "too late");
    }

    #[test]
    fn what_came_twice_is_given_once() {
        let mut depacketizer = Depacketizer::new(Format::Opus { red: None });
        for sequence in [1, 1, 2, 1, 2] {
            depacketizer.push(&packet(sequence, 0, false, &[0xf8, 0xff, 0xfe]), 0);
        }
        assert_eq!(all(&mut depacketizer).len(), 2);
    }

    #[test]
    fn the_end_gives_what_waits_behind_a_hole() {
        let mut depacketizer = Depacketizer::new(Format::Opus { red: None });
        depacketizer.push(&packet(1, 0, false, &[0xf8]), 0);
        depacketizer.push(&packet(9, 960, false, &[0xf8]), 1);
        depacketizer.finish();
        assert_eq!(all(&mut depacketizer).len(), 2);
        assert_eq!(depacketizer.losses().packets, 7);
    }

    #[test]
    fn a_source_that_falls_silent_behind_a_hole_is_not_waited_for() {
        let mut depacketizer = Depacketizer::new(Format::Opus { red: None });
        depacketizer.push(&packet(1, 0, false, &[0xf8]), 0);
        depacketizer.push(&packet(3, 1920, false, &[0xf8]), 40_000);
        depacketizer.pass(REORDER_US);
        assert_eq!(all(&mut depacketizer).len(), 1, "it may still come");
        depacketizer.pass(40_000 + REORDER_US);
        assert_eq!(all(&mut depacketizer).len(), 1);
    }

    #[test]
    fn counts_are_unwrapped_in_both_directions() {
        let mut unwrap = Unwrap::default();
        let base = 65_536;
        assert_eq!(unwrap.next(1, 16), base + 1);
        assert_eq!(unwrap.next(65_535, 16), base - 1);
        assert_eq!(unwrap.next(40_000, 16), 40_000);
        let mut unwrap = Unwrap::default();
        assert_eq!(unwrap.next(65_535, 16), base + 65_535);
        assert_eq!(unwrap.next(2, 16), 2 * base + 2);
        assert_eq!(unwrap.next(65_530, 16), base + 65_530);
        assert_eq!(unwrap.next(3, 16), 2 * base + 3);
    }
}
