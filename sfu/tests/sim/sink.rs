//! What a client receives: puts pictures together as a browser does, and knows the truth.
//!
//! It believes only what a receiver can see: sequence numbers, timestamps, picture ids. What it
//! shows on that belief is compared with what the payloads say they are: a picture that is shown
//! without the one it was made from is garbled, and garbled pictures fail a test.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sfu::rtp::codec::vp8;
use sfu::rtp::packet::Header;
use sfu::unit::SeqNo;

use super::source::Truth;

/// A missing packet is asked for again after this.
const ASK_INTERVAL: Duration = Duration::from_millis(60);
/// For so long a size may have no sender report yet: arrival alone places its first picture then.
const UNREPORTED: Duration = Duration::from_secs(5);
/// A keyframe whose first packet was lost arrives by its repair: in 150 seeds of two rooms that lose
/// one packet of a hundred, 66 ms late often and 189 ms at most.
const ARRIVAL_OFF_MAX: i64 = 250;
/// A picture that is not complete after this is given up, and a keyframe asked for.
const PATIENCE: Duration = Duration::from_millis(600);

struct Kept {
    timestamp: u32,
    marker: bool,
    is_start: bool,
    looks_key: bool,
    picture_id: Option<u16>,
    truth: Truth,
}

/// One shown picture, or one heard packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown {
    pub(crate) at: Instant,
    pub(crate) truth: Truth,
    pub(crate) timestamp: u32,
}

/// One received stream.
pub(crate) struct Sink {
    pub(crate) ssrc: u32,
    pub(crate) rtx_ssrc: u32,
    pub(crate) is_audio: bool,
    newest: Option<SeqNo>,
    next: Option<SeqNo>,
    kept: BTreeMap<SeqNo, Kept>,
    missing: BTreeMap<SeqNo, (Instant, Option<Instant>)>,
    waiting_since: Option<Instant>,
    last_id: Option<u16>,
    pub(crate) shown: Vec<Shown>,
    /// What arrived, by number: the payload without what is renumbered on the way.
    pub(crate) payloads: BTreeMap<u64, (bool, u32, Vec<u8>)>,
    origin: Option<(u64, u32)>,
    pub(crate) received: usize,
    pub(crate) repaired: usize,
    pub(crate) doubled: usize,
    pub(crate) keyframes_asked: usize,
    pub(crate) payload_types: std::collections::BTreeSet<u8>,
    pub(crate) reports: Vec<(Instant, u64, u32)>,
    /// Every packet as it was received: source, number, time, marker and a digest of its payload.
    pub(crate) log: Vec<(u32, u16, u32, bool, u64)>,
    /// Packets with padding.
    pub(crate) padded: usize,
}

impl Sink {
    pub(crate) fn new(ssrc: u32, rtx_ssrc: u32, is_audio: bool) -> Self {
        Self {
            ssrc,
            rtx_ssrc,
            is_audio,
            newest: None,
            next: None,
            kept: BTreeMap::new(),
            missing: BTreeMap::new(),
            waiting_since: None,
            last_id: None,
            shown: Vec::new(),
            payloads: BTreeMap::new(),
            origin: None,
            received: 0,
            repaired: 0,
            doubled: 0,
            keyframes_asked: 0,
            payload_types: std::collections::BTreeSet::new(),
            reports: Vec::new(),
            log: Vec::new(),
            padded: 0,
        }
    }

    /// The highest number and how many are missing below it, as a receiver report says it.
    pub(crate) fn reception(&self) -> (u32, i32) {
        let (Some(newest), Some((first, _))) = (self.newest, self.origin) else {
            return (0, 0);
        };
        let expected = newest.0 + 1 - first;
        (
            newest.0 as u32,
            expected as i32 - self.payloads.len() as i32,
        )
    }

    /// Takes a decrypted packet of this stream or of its retransmissions.
    pub(crate) fn receive(&mut self, now: Instant, header: &Header, packet: &[u8]) {
        let payload = &packet[header.payload(packet).expect("a payload")];
        self.padded += usize::from(packet[0] & 0x20 != 0);
        self.log.push((
            header.ssrc.0,
            header.sequence,
            header.timestamp,
            header.marker,
            super::digest(payload),
        ));
        let is_repair = header.ssrc.0 == self.rtx_ssrc;
        let (wire, payload) = if is_repair {
            self.repaired += 1;
            sfu::rtp::rtx::unwrap(payload).expect("a retransmission names its original")
        } else {
            self.received += 1;
            self.payload_types.insert(header.payload_type.0);
            (header.sequence, payload)
        };
        let Some(newest) = self.newest else {
            assert!(!is_repair, "a stream does not begin with a retransmission");
            let seq = SeqNo::first(wire);
            self.newest = Some(seq);
            self.keep(now, seq, header, payload);
            return;
        };
        let seq = newest.extend(wire);
        for number in newest.0 + 1..seq.0 {
            self.missing.insert(SeqNo(number), (now, None));
        }
        self.newest = Some(newest.max(seq));
        let is_known = seq <= newest && self.missing.remove(&seq).is_none();
        if is_known {
            self.doubled += 1;
            return;
        }
        self.keep(now, seq, header, payload);
    }

    fn keep(&mut self, now: Instant, seq: SeqNo, header: &Header, payload: &[u8]) {
        let (seq_first, timestamp_first) = *self.origin.get_or_insert((seq.0, header.timestamp));
        let skipped = match self.is_audio {
            true => 0,
            false => vp8::Descriptor::parse(payload).expect("a descriptor").len,
        };
        self.payloads.insert(
            (1 << 32) + seq.0 - seq_first,
            (
                header.marker,
                header.timestamp.wrapping_sub(timestamp_first),
                payload[skipped..].to_vec(),
            ),
        );
        if self.is_audio {
            self.shown.push(Shown {
                at: now,
                truth: Truth::read(payload),
                timestamp: header.timestamp,
            });
            return;
        }
        let descriptor = vp8::Descriptor::parse(payload).expect("a descriptor");
        let kept = Kept {
            timestamp: header.timestamp,
            marker: header.marker,
            is_start: descriptor.is_picture_start,
            looks_key: descriptor.is_keyframe,
            picture_id: descriptor.picture_id.map(vp8::PictureId::value),
            truth: Truth::read(&payload[descriptor.len + 1..]),
        };
        self.kept.insert(seq, kept);
        while self.show_next(now) {}
    }

    /// Shows the next picture if it is complete.
    fn show_next(&mut self, now: Instant) -> bool {
        let first = match self.next {
            Some(next) => next,
            // Nothing was shown yet, or a hole was given up: begin at a keyframe.
            None => match self.complete_keyframe(SeqNo(0)) {
                Some(seq) => seq,
                None => return false,
            },
        };
        let Some(last) = self.complete_from(first) else {
            return false;
        };
        let kept = &self.kept[&first];
        let shown = Shown {
            at: now,
            truth: kept.truth,
            timestamp: kept.timestamp,
        };
        self.check_truth(kept, shown);
        self.last_id = kept.picture_id;
        self.shown.push(shown);
        self.waiting_since = None;
        self.next = Some(SeqNo(last.0 + 1));
        self.kept = self.kept.split_off(&SeqNo(last.0 + 1));
        true
    }

    /// The first keyframe from there on that has come whole.
    fn complete_keyframe(&self, from: SeqNo) -> Option<SeqNo> {
        let mut keyframes = self.kept.range(from..).filter(|(_, kept)| kept.looks_key);
        let whole = keyframes.find(|(seq, _)| self.complete_from(**seq).is_some());
        whole.map(|(seq, _)| *seq)
    }

    fn complete_from(&self, first: SeqNo) -> Option<SeqNo> {
        let start = self.kept.get(&first)?;
        if !start.is_start {
            // The rest of a picture that was cut short by a switch: it is passed over there.
            return None;
        }
        let mut seq = first;
        loop {
            let kept = self.kept.get(&seq)?;
            if kept.timestamp != start.timestamp {
                return None;
            }
            if kept.marker {
                return Some(seq);
            }
            seq = SeqNo(seq.0 + 1);
        }
    }

    /// What looks right must be right.
    fn check_truth(&self, kept: &Kept, shown: Shown) {
        assert_eq!(kept.looks_key, kept.truth.is_keyframe);
        let Some(last) = self.shown.last() else {
            assert!(kept.looks_key, "a stream begins with a keyframe");
            return;
        };
        let step = shown.timestamp.wrapping_sub(last.timestamp) as i32;
        assert!(step > 0, "time goes on: {step}");
        let captured = i64::from(shown.truth.captured_ms) - i64::from(last.truth.captured_ms);
        let told = i64::from(step) / 90;
        assert!(
            (told - captured).abs() <= self.off_max(shown),
            "timestamps tell when pictures were taken: {told} ms for {captured} ms"
        );
        let (id, last_id) = (kept.picture_id.expect("ids"), self.last_id.expect("ids"));
        let is_next = id == (last_id + 1) & 0x7fff;
        if self.next.is_some() {
            assert!(is_next, "picture ids go on: {last_id} then {id}");
        }
        if !kept.looks_key {
            assert_eq!(shown.truth.rank, last.truth.rank, "garbled: another size");
            assert_eq!(
                shown.truth.picture,
                last.truth.picture + 1,
                "garbled: a picture without the one before"
            );
        }
    }

    /// How far from its moment a picture may be placed, in milliseconds.
    fn off_max(&self, shown: Shown) -> i64 {
        let (first, last) = (self.shown[0], self.shown[self.shown.len() - 1]);
        let is_other_size = shown.truth.rank != last.truth.rank;
        if is_other_size && shown.at - first.at < UNREPORTED {
            ARRIVAL_OFF_MAX
        } else {
            1
        }
    }

    /// What to ask the server for now: lost packets, and whether a keyframe.
    pub(crate) fn requests(&mut self, now: Instant) -> (Vec<u16>, bool) {
        if self.is_audio {
            return (Vec::new(), false);
        }
        let mut lost = Vec::new();
        for (seq, (noticed, asked)) in &mut self.missing {
            let is_due = asked.is_none_or(|at| now - at >= ASK_INTERVAL);
            if now - *noticed >= Duration::from_millis(10) && is_due && lost.len() < 100 {
                *asked = Some(now);
                lost.push(seq.wire());
            }
        }
        let too_old = |noticed: &Instant| now - *noticed < Duration::from_secs(1);
        self.missing.retain(|_, (noticed, _)| too_old(noticed));
        (lost, self.gives_up(now))
    }

    /// A hole that does not fill ends in a request for a keyframe. A cut picture (its layer was
    /// left) is followed by a keyframe already.
    fn gives_up(&mut self, now: Instant) -> bool {
        if let Some(next) = self.next
            && let Some(seq) = self.complete_keyframe(SeqNo(next.0 + 1))
        {
            // Everything before a complete keyframe may be left out.
            self.next = None;
            self.kept = self.kept.split_off(&seq);
            self.missing = self.missing.split_off(&seq);
            while self.show_next(now) {}
            return false;
        }
        if self.kept.is_empty() {
            self.waiting_since = None;
            return false;
        }
        let since = *self.waiting_since.get_or_insert(now);
        if now - since < PATIENCE {
            return false;
        }
        self.waiting_since = Some(now);
        self.keyframes_asked += 1;
        true
    }

    /// The longest time without a new picture after the first one, until `end`.
    pub(crate) fn longest_freeze(&self, from: Instant, end: Instant) -> Duration {
        let times = self.shown.iter().map(|s| s.at).filter(|at| *at >= from);
        let mut last = from;
        let mut longest = Duration::ZERO;
        for at in times.chain([end]) {
            longest = longest.max(at.saturating_duration_since(last));
            last = at;
        }
        longest
    }

    /// Pictures or packets since.
    pub(crate) fn shown_since(&self, from: Instant) -> impl Iterator<Item = &Shown> {
        self.shown.iter().filter(move |shown| shown.at >= from)
    }
}
