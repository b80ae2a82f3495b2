//! A publication from the publisher's side: frames into RTP packets, requests answered.
//!
//! Pure but for the numbers it is given: when to send is decided by the schedule, how by the
//! agreed payload types and extension ids. Packets come out unencrypted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::payload::{self, STAMP, Stamp, Voice};
use super::rtcp;
use super::sdp::{ExtensionIds, RIDS};
use super::tracker::Window;
use crate::scenario::Video;

/// Packets kept for resending: two seconds of a camera.
const HISTORY: usize = 400;
/// A silent speaker's encoder sends one frame in so many.
const SILENT_FRAMES: u32 = 20;

/// What is known about a source by all who judge its receivers.
#[derive(Debug)]
pub(crate) struct SourceRecord {
    first: AtomicU32,
    last: AtomicU32,
    /// Packets sent within the window.
    pub(crate) sent: AtomicU64,
}

impl Default for SourceRecord {
    fn default() -> Self {
        let (first, last) = (AtomicU32::new(u32::MAX), AtomicU32::new(0));
        Self {
            first,
            last,
            sent: AtomicU64::new(0),
        }
    }
}

impl SourceRecord {
    fn note(&self, sequence: u32) {
        self.first.fetch_min(sequence, Ordering::Relaxed);
        self.last.fetch_max(sequence, Ordering::Relaxed);
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    /// First and last packet sent within the window; `None` if there was none.
    pub(crate) fn span(&self) -> Option<(u32, u32)> {
        let first = self.first.load(Ordering::Relaxed);
        (first != u32::MAX).then(|| (first, self.last.load(Ordering::Relaxed)))
    }
}

/// What a publication sends.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// Voice.
    Audio(Arc<Voice>),
    /// A camera or a screen.
    Video(Video),
}

/// Everything a publication needs to start.
#[derive(Debug, Clone)]
pub(crate) struct TrackPlan {
    /// Number of the run in stamps.
    pub(crate) run: u32,
    /// The number of its lowest layer's source; the others follow.
    pub(crate) source: u32,
    /// One per layer, lowest first.
    pub(crate) records: Vec<Arc<SourceRecord>>,
    /// One per layer, lowest first.
    pub(crate) ssrcs: Vec<u32>,
    /// Name of its section.
    pub(crate) mid: String,
    /// Agreed extension ids.
    pub(crate) ids: ExtensionIds,
    /// Codec and resending.
    pub(crate) payload_types: (u8, u8),
    /// What it sends.
    pub(crate) content: Content,
    /// Its turn among the speakers of the room: index, how many, and nanoseconds of a turn.
    pub(crate) turn: Option<(u32, u32, u64)>,
}

impl TrackPlan {
    /// Nanoseconds between frames.
    pub(crate) fn period(&self) -> u64 {
        match &self.content {
            Content::Audio(_) => crate::scenario::AUDIO_PERIOD_MS * 1_000_000,
            Content::Video(video) => 1_000_000_000 / u64::from(video.fps),
        }
    }
}

/// A publication that sends.
pub(crate) struct SendingTrack {
    plan: TrackPlan,
    layers: Vec<LayerState>,
    frame: u32,
    timestamp: u32,
    keyframe_wanted: bool,
}

struct LayerState {
    sequence: u32,
    packets: u32,
    octets: u32,
    history: VecDeque<(u16, Vec<u8>)>,
}

impl SendingTrack {
    /// Starts at a keyframe.
    pub(crate) fn new(plan: TrackPlan) -> Self {
        let layer = |_: &u32| LayerState {
            sequence: 0,
            packets: 0,
            octets: 0,
            history: VecDeque::new(),
        };
        let layers = plan.ssrcs.iter().map(layer).collect();
        let timestamp = plan.ssrcs.first().copied().unwrap_or(0);
        Self {
            plan,
            layers,
            frame: 0,
            timestamp,
            keyframe_wanted: true,
        }
    }

    /// Makes the packets of one frame at `now` (nanoseconds since the start of the run).
    pub(crate) fn frame(
        &mut self,
        now: u64,
        window: Window,
        transport_sequence: &mut u16,
        mut emit: impl FnMut(&[u8]),
    ) {
        let is_speaking = self.is_speaking(now);
        self.frame = self.frame.wrapping_add(1);
        let clock = if matches!(self.plan.content, Content::Audio(_)) {
            48_000
        } else {
            90_000
        };
        self.timestamp = self
            .timestamp
            .wrapping_add((self.plan.period() * clock / 1_000_000_000) as u32);
        let is_audio = clock == 48_000;
        if is_audio && !is_speaking && !self.frame.is_multiple_of(SILENT_FRAMES) {
            return;
        }
        let is_keyframe = !is_audio && std::mem::take(&mut self.keyframe_wanted);
        for layer in 0..self.layers.len() {
            let count = self.packets_of(layer, is_keyframe);
            for index in 0..count {
                let stamp = Stamp {
                    run: self.plan.run,
                    source: self.plan.source + layer as u32,
                    sequence: self.layers[layer].sequence,
                    frame: self.frame,
                    index,
                    count,
                    is_keyframe,
                    sent: now,
                };
                let packet = self.packet(layer, stamp, is_speaking, transport_sequence);
                emit(&packet);
                self.sent(layer, packet, window, now);
            }
        }
    }

    /// All speak when there are no turns, else one after the other.
    fn is_speaking(&self, now: u64) -> bool {
        self.plan
            .turn
            .is_none_or(|(index, count, turn)| now / turn % u64::from(count) == u64::from(index))
    }

    fn packets_of(&self, layer: usize, is_keyframe: bool) -> u8 {
        let Content::Video(video) = &self.plan.content else {
            return 1;
        };
        let below = self.layers.len() - 1 - layer;
        let packets = (video.packets >> below).max(1);
        // A keyframe is larger than its neighbours, though not by what a real encoder makes it.
        let packets = if is_keyframe { packets * 2 } else { packets };
        packets.min(200) as u8
    }

    fn packet(
        &self,
        layer: usize,
        stamp: Stamp,
        is_speaking: bool,
        transport_sequence: &mut u16,
    ) -> Vec<u8> {
        let mut packet = Vec::with_capacity(1_300);
        self.write_header(&mut packet, layer, &stamp, is_speaking, transport_sequence);
        let at = packet.len();
        match &self.plan.content {
            Content::Audio(voice) => packet.extend_from_slice(voice.frame(stamp.frame)),
            Content::Video(video) => {
                let len = video
                    .packet_size
                    .saturating_sub(at)
                    .max(payload::VIDEO_PAYLOAD_MIN);
                packet.resize(at + len, 0);
                let below = (self.layers.len() - 1 - layer) as u32;
                let (width, height) = (1_280 >> below, 720 >> below);
                payload::write_vp8(&mut packet[at..], &stamp, width as u16, height as u16);
            }
        }
        stamp.write(&mut packet[at..]);
        packet
    }

    fn write_header(
        &self,
        packet: &mut Vec<u8>,
        layer: usize,
        stamp: &Stamp,
        is_speaking: bool,
        transport_sequence: &mut u16,
    ) {
        let is_last = stamp.index + 1 == stamp.count;
        let is_audio = matches!(self.plan.content, Content::Audio(_));
        let marker = if is_last && !is_audio { 0x80 } else { 0 };
        packet.extend_from_slice(&[0x90, marker | self.plan.payload_types.0]);
        packet.extend_from_slice(&(stamp.sequence as u16).to_be_bytes());
        packet.extend_from_slice(&self.timestamp.to_be_bytes());
        packet.extend_from_slice(&self.plan.ssrcs[layer].to_be_bytes());
        packet.extend_from_slice(&[0xbe, 0xde, 0, 0]);
        let start = packet.len();
        let ids = self.plan.ids;
        let mut element = |id: u8, value: &[u8]| {
            if id > 0 && !value.is_empty() {
                packet.push(id << 4 | (value.len() - 1) as u8);
                packet.extend_from_slice(value);
            }
        };
        if is_audio {
            // Voice activity with 30 dB below full, or silence.
            element(ids.level, &[if is_speaking { 0x80 | 30 } else { 127 }]);
        }
        if ids.transport_cc > 0 {
            element(ids.transport_cc, &transport_sequence.to_be_bytes());
            *transport_sequence = transport_sequence.wrapping_add(1);
        }
        element(ids.mid, self.plan.mid.as_bytes());
        if self.layers.len() > 1 {
            element(ids.rid, RIDS[layer].as_bytes());
        }
        packet.resize(packet.len().next_multiple_of(4), 0);
        let words = ((packet.len() - start) / 4) as u16;
        packet[start - 2..start].copy_from_slice(&words.to_be_bytes());
    }

    fn sent(&mut self, layer: usize, packet: Vec<u8>, window: Window, now: u64) {
        let state = &mut self.layers[layer];
        if (window.start..window.end).contains(&now) {
            self.plan.records[layer].note(state.sequence);
        }
        state.packets += 1;
        state.octets = state.octets.wrapping_add(packet.len() as u32);
        if matches!(self.plan.content, Content::Video(_)) {
            if state.history.len() == HISTORY {
                state.history.pop_front();
            }
            state.history.push_back((state.sequence as u16, packet));
        }
        state.sequence = state.sequence.wrapping_add(1);
    }

    /// A receiver asks for a keyframe of `media`.
    pub(crate) fn on_keyframe_request(&mut self, media: u32) {
        self.keyframe_wanted |= self.plan.ssrcs.contains(&media);
    }

    /// Sends packets again as they were: SRTP gives the same bytes for the same packet, so no
    /// nonce meets two texts. (A light publisher announces no resending stream.)
    pub(crate) fn on_nack(&self, media: u32, sequences: &[u16], mut emit: impl FnMut(&[u8])) {
        let Some(layer) = self.plan.ssrcs.iter().position(|&ssrc| ssrc == media) else {
            return;
        };
        let state = &self.layers[layer];
        for &sequence in sequences {
            let Some((_, packet)) = state.history.iter().find(|(s, _)| *s == sequence) else {
                continue;
            };
            emit(packet);
        }
    }

    /// Appends one sender report per layer.
    pub(crate) fn report(&self, ntp: u64, out: &mut Vec<u8>) {
        for (layer, &ssrc) in self.layers.iter().zip(&self.plan.ssrcs) {
            if layer.packets > 0 {
                let (packets, octets) = (layer.packets, layer.octets);
                rtcp::sender_report(out, ssrc, ntp, self.timestamp, packets, octets);
            }
        }
    }
}

/// Header bytes of an audio packet, to make the whole packet as long as the scenario says.
pub(crate) const AUDIO_HEADER: usize = 12 + 4 + 8;
/// The shortest audio packet that holds a stamp.
pub(crate) const AUDIO_PACKET_MIN: usize = AUDIO_HEADER + STAMP + 12;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::sdp::{VP8, VP8_RTX};

    const ALL: Window = Window {
        start: 0,
        end: u64::MAX,
    };

    fn track(layers: u32, content: Content) -> (SendingTrack, Vec<Arc<SourceRecord>>) {
        let records: Vec<Arc<SourceRecord>> = (0..layers).map(|_| Arc::default()).collect();
        let plan = TrackPlan {
            run: 0,
            source: 8,
            records: records.clone(),
            ssrcs: (100..100 + layers).collect(),
            mid: "5".into(),
            ids: ExtensionIds::OFFERED,
            payload_types: (VP8, VP8_RTX),
            content,
            turn: None,
        };
        (SendingTrack::new(plan), records)
    }

    fn frame(track: &mut SendingTrack, now: u64) -> Vec<Vec<u8>> {
        let (mut packets, mut transport) = (Vec::new(), 0);
        track.frame(now, ALL, &mut transport, |p| packets.push(p.to_vec()));
        packets
    }

    #[test]
    fn a_frame_has_its_packets_its_sizes_and_one_marker() {
        let (mut track, records) = track(1, Content::Video(Video::CAMERA));
        assert_eq!(frame(&mut track, 0).len(), 12, "keyframe");
        let packets = frame(&mut track, 1);
        assert_eq!(packets.len(), 6);
        assert!(packets.iter().all(|p| p.len() == Video::CAMERA.packet_size));
        let markers: Vec<bool> = packets.iter().map(|p| p[1] & 0x80 != 0).collect();
        assert_eq!(markers, [false, false, false, false, false, true]);
        let stamps: Vec<Stamp> = packets.iter().filter_map(|p| Stamp::read(p, 0)).collect();
        assert_eq!(
            stamps.iter().map(|s| s.sequence).collect::<Vec<_>>(),
            [12, 13, 14, 15, 16, 17]
        );
        assert_eq!(records[0].span(), Some((0, 17)));
    }

    #[test]
    fn layers_are_sources_of_their_own_and_halve_downwards() {
        let (mut track, _) = track(
            3,
            Content::Video(Video {
                layers: 3,
                ..Video::CAMERA
            }),
        );
        frame(&mut track, 0);
        let stamps: Vec<Stamp> = frame(&mut track, 1)
            .iter()
            .filter_map(|p| Stamp::read(p, 0))
            .collect();
        let of = |source| stamps.iter().filter(|s| s.source == source).count();
        assert_eq!([of(8), of(9), of(10)], [1, 3, 6]);
    }

    #[test]
    fn a_keyframe_is_sent_when_asked_for_and_lost_packets_again() {
        let (mut track, _) = track(1, Content::Video(Video::CAMERA));
        let first = frame(&mut track, 0);
        track.on_keyframe_request(7);
        assert_eq!(frame(&mut track, 1).len(), 6);
        track.on_keyframe_request(100);
        assert_eq!(frame(&mut track, 2).len(), 12);
        let mut again = Vec::new();
        track.on_nack(100, &[3, 9_999], |p| again.push(p.to_vec()));
        assert_eq!(again, first[3..4]);
    }

    #[test]
    fn voices_take_turns() {
        let voice = Arc::new(Voice::encode(116).expect("opus"));
        let (mut track, _) = track(1, Content::Audio(voice));
        track.plan.turn = Some((1, 2, 1_000));
        let sent = |track: &mut SendingTrack, now| (0..40).map(|_| frame(track, now).len()).sum();
        let (silent, speaking): (usize, usize) = (sent(&mut track, 500), sent(&mut track, 1_500));
        assert_eq!((silent, speaking), (2, 40));
        let packet = frame(&mut track, 1_500).remove(0);
        assert_eq!(packet.len(), 116 + AUDIO_HEADER);
        assert_eq!(packet[16..18], [0x10, 0x80 | 30]);
    }
}
