//! What a client sends: a camera in VP8 with up to three encodings, a microphone in Opus.
//!
//! Every payload says who made it, of which encoding and picture it is and when it was captured, so
//! that a receiver can tell truth from what the numbers of the stream make it believe. Sources keep
//! what they sent for a second and answer requests as browsers do.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sfu::rtp::rtx;

/// Header extensions as every simulated client numbers them.
pub(crate) const EXT_AUDIO_LEVEL: u8 = 1;
pub(crate) const EXT_TRANSPORT_CC: u8 = 3;
pub(crate) const EXT_MID: u8 = 4;
pub(crate) const EXT_RID: u8 = 10;
pub(crate) const EXT_REPAIRED_RID: u8 = 11;

pub(crate) const OPUS: u8 = 111;
pub(crate) const RED: u8 = 63;
pub(crate) const VP8: u8 = 96;
pub(crate) const VP8_RTX: u8 = 97;

/// Bytes of a payload that tell its truth.
pub(crate) const TRUTH_LEN: usize = 20;

/// What a payload really is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Truth {
    pub(crate) publisher: u32,
    pub(crate) rank: u8,
    pub(crate) is_keyframe: bool,
    pub(crate) packet: u8,
    pub(crate) packets: u8,
    pub(crate) picture: u32,
    pub(crate) captured_ms: u32,
}

impl Truth {
    fn bytes(self) -> [u8; TRUTH_LEN] {
        let mut bytes = [0; TRUTH_LEN];
        bytes[0..4].copy_from_slice(&self.publisher.to_be_bytes());
        bytes[4..8].copy_from_slice(&[
            self.rank,
            u8::from(self.is_keyframe),
            self.packet,
            self.packets,
        ]);
        bytes[8..12].copy_from_slice(&self.picture.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.captured_ms.to_be_bytes());
        let sum = bytes[..16]
            .iter()
            .fold(7_u32, |sum, &b| sum.wrapping_mul(31).wrapping_add(b.into()));
        bytes[16..20].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    /// Reads a payload; panics if a byte of it was changed on the way.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("a word"));
        let truth = Self {
            publisher: word(0),
            rank: bytes[4],
            is_keyframe: bytes[5] != 0,
            packet: bytes[6],
            packets: bytes[7],
            picture: word(8),
            captured_ms: word(12),
        };
        assert_eq!(truth.bytes(), bytes[..TRUTH_LEN], "a payload was changed");
        truth
    }
}

/// Builds an RTP packet with one-byte extensions.
pub(crate) fn packet(
    (payload_type, marker): (u8, bool),
    seq: u16,
    timestamp: u32,
    ssrc: u32,
    extensions: &[(u8, &[u8])],
    payload: &[u8],
) -> Vec<u8> {
    let mut out = vec![0x90, u8::from(marker) << 7 | payload_type];
    out.extend(seq.to_be_bytes());
    out.extend(timestamp.to_be_bytes());
    out.extend(ssrc.to_be_bytes());
    let mut block = Vec::new();
    for (id, value) in extensions {
        block.push(id << 4 | (value.len() - 1) as u8);
        block.extend_from_slice(value);
    }
    block.resize(block.len().next_multiple_of(4), 0);
    out.extend([0xbe, 0xde]);
    out.extend(((block.len() / 4) as u16).to_be_bytes());
    out.extend(block);
    out.extend_from_slice(payload);
    out
}

/// One encoding, or the one stream of a microphone.
pub(crate) struct Encoding {
    pub(crate) ssrc: u32,
    pub(crate) rtx_ssrc: u32,
    pub(crate) rid: Option<&'static str>,
    pub(crate) is_stopped: bool,
    pub(crate) keyframes_asked: usize,
    /// Bytes of picture in a packet besides its truth; by rank if 0.
    pub(crate) filler: usize,
    packets_per_picture: u8,
    seq: u16,
    rtx_seq: u16,
    timestamp_start: u32,
    picture_id: u16,
    tl0: u8,
    picture: u32,
    wants_keyframe: bool,
    sent: HashMap<u16, (u8, bool, u32, Vec<u8>)>,
    pub(crate) packets_sent: u32,
}

impl Encoding {
    /// `start` makes the numbers begin shortly before their wrap, differently for each.
    pub(crate) fn new(ssrc: u32, rid: Option<&'static str>, packets: u8, start: u16) -> Self {
        Self {
            ssrc,
            rtx_ssrc: ssrc + 1_000_000,
            rid,
            is_stopped: false,
            keyframes_asked: 0,
            filler: 0,
            packets_per_picture: packets,
            seq: 0_u16.wrapping_sub(start),
            rtx_seq: start,
            timestamp_start: 0_u32.wrapping_sub(u32::from(start) * 4000),
            picture_id: 0x7fff - (start & 0xff),
            tl0: 250,
            picture: 0,
            wants_keyframe: true,
            sent: HashMap::new(),
            packets_sent: 0,
        }
    }

    /// Somebody asks for a keyframe.
    pub(crate) fn ask_keyframe(&mut self) {
        self.keyframes_asked += 1;
        self.wants_keyframe = true;
    }

    /// What was sent can no longer be sent again.
    pub(crate) fn forget_sent(&mut self) {
        self.sent.clear();
    }

    /// The media clock at a time of the simulation.
    pub(crate) fn timestamp(&self, since: Duration, rate: u32) -> u32 {
        let ticks = since.as_micros() * u128::from(rate) / 1_000_000;
        self.timestamp_start.wrapping_add(ticks as u32)
    }

    fn note(&mut self, seq: u16, kept: (u8, bool, u32, Vec<u8>)) {
        self.packets_sent += 1;
        self.sent.remove(&seq.wrapping_sub(600));
        self.sent.insert(seq, kept);
    }
}

/// A camera or a microphone.
pub(crate) struct Source {
    pub(crate) publisher: u32,
    pub(crate) mid: String,
    pub(crate) is_audio: bool,
    pub(crate) encodings: Vec<Encoding>,
    pub(crate) interval: Duration,
    pub(crate) next: Instant,
    pub(crate) level: u8,
    /// Sound is sent as RFC 2198 packets without copies.
    pub(crate) is_redundant: bool,
    pub(crate) captured: u32,
    /// Every packet has four bytes of padding.
    pub(crate) pads: bool,
}

impl Source {
    /// Everything that is captured at this instant, as RTP packets.
    pub(crate) fn capture(
        &mut self,
        start: Instant,
        now: Instant,
        transport_cc: &mut u16,
    ) -> Vec<Vec<u8>> {
        self.next = now + self.interval;
        self.captured += 1;
        let since = now - start;
        let mut packets = Vec::new();
        for (rank, encoding) in self.encodings.iter_mut().enumerate() {
            if encoding.is_stopped {
                continue;
            }
            let mid = self.mid.as_bytes();
            if self.is_audio {
                let timestamp = encoding.timestamp(since, 48_000);
                let truth = truth(self.publisher, encoding, rank, (0, 1), true, since);
                let mut payload = Vec::new();
                if self.is_redundant {
                    payload.push(OPUS); // the header of the primary block, F = 0
                }
                payload.extend(truth.bytes());
                payload.resize(payload.len() + encoding.filler, 0xcc);
                let level = [0x80 | self.level];
                let extensions: [(u8, &[u8]); 2] = [(EXT_MID, mid), (EXT_AUDIO_LEVEL, &level)];
                let payload_type = if self.is_redundant { RED } else { OPUS };
                let kind = (payload_type, false);
                let seq = encoding.seq;
                packets.push(packet(
                    kind,
                    seq,
                    timestamp,
                    encoding.ssrc,
                    &extensions,
                    &payload,
                ));
                encoding.note(seq, (payload_type, false, timestamp, payload));
                encoding.seq = seq.wrapping_add(1);
            } else {
                let timestamp = encoding.timestamp(since, 90_000);
                let is_keyframe = std::mem::take(&mut encoding.wants_keyframe);
                let count = encoding.packets_per_picture * if is_keyframe { 3 } else { 1 };
                for index in 0..count {
                    let truth = truth(
                        self.publisher,
                        encoding,
                        rank,
                        (index, count),
                        is_keyframe,
                        since,
                    );
                    let payload = vp8_payload(encoding, index == 0, truth);
                    let number = transport_cc.to_be_bytes();
                    *transport_cc = transport_cc.wrapping_add(1);
                    let mut extensions: Vec<(u8, &[u8])> =
                        vec![(EXT_MID, mid), (EXT_TRANSPORT_CC, &number)];
                    if let Some(rid) = encoding.rid {
                        extensions.push((EXT_RID, rid.as_bytes()));
                    }
                    let marker = index + 1 == count;
                    let seq = encoding.seq;
                    packets.push(packet(
                        (VP8, marker),
                        seq,
                        timestamp,
                        encoding.ssrc,
                        &extensions,
                        &payload,
                    ));
                    encoding.note(seq, (VP8, marker, timestamp, payload));
                    encoding.seq = seq.wrapping_add(1);
                }
                encoding.picture_id = (encoding.picture_id + 1) & 0x7fff;
                encoding.tl0 = encoding.tl0.wrapping_add(1);
            }
            encoding.picture += 1;
        }
        if self.pads {
            for packet in &mut packets {
                packet[0] |= 0x20;
                packet.extend([0, 0, 0, 4]);
            }
        }
        packets
    }

    /// Answers a request for a lost packet on the stream of retransmissions.
    pub(crate) fn repair(&mut self, ssrc: u32, number: u16) -> Option<Vec<u8>> {
        let mid = self.mid.clone();
        let encoding = self.encodings.iter_mut().find(|e| e.ssrc == ssrc)?;
        let (_, marker, timestamp, kept) = encoding.sent.get(&number)?;
        let mut payload = rtx::prefix(number).to_vec();
        payload.extend_from_slice(kept);
        let mut extensions: Vec<(u8, &[u8])> = vec![(EXT_MID, mid.as_bytes())];
        if let Some(rid) = encoding.rid {
            extensions.push((EXT_REPAIRED_RID, rid.as_bytes()));
        }
        let kind = (VP8_RTX, *marker);
        let (seq, ssrc) = (encoding.rtx_seq, encoding.rtx_ssrc);
        encoding.rtx_seq = seq.wrapping_add(1);
        Some(packet(kind, seq, *timestamp, ssrc, &extensions, &payload))
    }
}

fn truth(
    publisher: u32,
    encoding: &Encoding,
    rank: usize,
    (packet, packets): (u8, u8),
    is_keyframe: bool,
    since: Duration,
) -> Truth {
    Truth {
        publisher,
        rank: rank as u8,
        is_keyframe,
        packet,
        packets,
        picture: encoding.picture,
        captured_ms: since.as_millis() as u32,
    }
}

/// A descriptor with long picture id and layer index, the first byte of VP8 data, and the truth.
fn vp8_payload(encoding: &Encoding, is_start: bool, truth: Truth) -> Vec<u8> {
    let id = 0x8000 | encoding.picture_id;
    let first = if is_start { 0x90 } else { 0x80 };
    let mut payload = vec![first, 0xc0, (id >> 8) as u8, id as u8, encoding.tl0];
    payload.push(u8::from(!truth.is_keyframe));
    payload.extend(truth.bytes());
    let filler = match encoding.filler {
        0 => 200 * usize::from(truth.rank + 1),
        filler => filler,
    };
    // Encoders cut a picture into nearly equal parts, the larger ones last.
    let is_larger = truth.packet >= truth.packets / 2;
    payload.resize(payload.len() + filler + usize::from(is_larger), 0xcc);
    payload
}
