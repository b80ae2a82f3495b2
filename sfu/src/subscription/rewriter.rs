//! Makes one continuous stream out of whatever a subscription is sent.
//!
//! A subscriber must not notice that a publication has several layers, was paused, or was muted:
//! sequence numbers, timestamps and VP8 picture ids go on without a hole. The rewriter keeps a
//! short list of *segments*, each a stretch of one layer with the distances to add to its numbers.
//! A packet of a segment maps to the same outgoing numbers whenever it is asked for, so packets
//! that arrive late, even after a switch, and retransmissions need no memory per packet; and an
//! outgoing number can never stand for two different packets, which SRTP nonces rely on.
//!
//! It decides nothing: the [selector](super::selector) says when a switch happens.

use std::time::{Duration, Instant};

use arrayvec::ArrayVec;

use crate::publication::history::PacketInfo;
use crate::unit::SeqNo;

/// Stretches that are remembered besides the present one. A subscriber asks again for about a
/// second; eight switches in that time do not happen to anybody whose switches wait for keyframes.
const CLOSED_MAX: usize = 7;

/// The time at which a new layer may be placed by sender reports at most this far away from where
/// its arrival places it. Beyond, the publisher's clock has jumped and arrival is believed.
const SENDER_REPORT_TRUST: Duration = Duration::from_secs(3);

/// Which stream of packets: a layer, and which incarnation of it, for a publisher may restart a
/// layer with a new source and new numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamKey {
    /// The layer's rank.
    pub rank: u8,
    /// How often the layer was restarted.
    pub incarnation: u32,
}

/// The running numbers of a VP8 payload descriptor (RFC 7741 section 4.2); each may be absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PictureIds {
    /// `PictureID`, 7 or 15 bits.
    pub picture_id: Option<u16>,
    /// `TL0PICIDX`, 8 bits.
    pub tl0_index: Option<u8>,
    /// `KEYIDX`, 5 bits.
    pub key_index: Option<u8>,
}

/// The numbers that a packet leaves with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// The outgoing sequence number, extended.
    pub seq: SeqNo,
    /// The outgoing timestamp.
    pub timestamp: u32,
    /// The outgoing picture ids, present where the incoming ones were.
    pub picture: PictureIds,
}

#[derive(Clone, Copy, Debug)]
struct Segment {
    stream: StreamKey,
    first_in: SeqNo,
    /// Packets above belong to no segment; open for the current one.
    last_in: Option<SeqNo>,
    first_out: SeqNo,
    timestamp_offset: u32,
    picture_offset: u16,
    tl0_offset: u8,
    key_offset: u8,
}

impl Segment {
    fn holds(&self, stream: StreamKey, seq: SeqNo) -> bool {
        self.stream == stream && seq >= self.first_in && self.last_in.is_none_or(|last| seq <= last)
    }

    fn seq_out(&self, seq: SeqNo) -> SeqNo {
        SeqNo(self.first_out.0 + (seq.0 - self.first_in.0))
    }

    fn apply(&self, info: &PacketInfo) -> Rewritten {
        Rewritten {
            seq: self.seq_out(info.seq),
            timestamp: info.timestamp.wrapping_add(self.timestamp_offset),
            picture: PictureIds {
                picture_id: info
                    .picture
                    .picture_id
                    .map(|id| id.wrapping_add(self.picture_offset) & PICTURE_ID_MASK),
                tl0_index: info
                    .picture
                    .tl0_index
                    .map(|index| index.wrapping_add(self.tl0_offset)),
                key_index: info
                    .picture
                    .key_index
                    .map(|index| index.wrapping_add(self.key_offset) & KEY_INDEX_MASK),
            },
        }
    }
}

const PICTURE_ID_MASK: u16 = 0x7fff;
const KEY_INDEX_MASK: u8 = 0x1f;

/// What was sent last in the order of the stream.
#[derive(Clone, Copy, Debug)]
struct Newest {
    seq_in: SeqNo,
    out: Rewritten,
    at: Instant,
}

/// The outgoing numbering of one subscription.
pub struct Rewriter {
    /// The stretch that is sent now.
    open: Option<Segment>,
    /// Those before it, apart, because only latecomers and requests need them.
    closed: Box<ArrayVec<Segment, CLOSED_MAX>>,
    start: SeqNo,
    start_timestamp: u32,
    newest: Option<Newest>,
}

impl Rewriter {
    /// A numbering that will begin with these two; the first number should be random and in the
    /// lower half, so that a lost first packet does not look like a wrap (RFC 3711 section 3.3.1).
    pub fn new(first_wire: u16, first_timestamp: u32) -> Self {
        Self {
            open: None,
            closed: Box::default(),
            start: SeqNo::first(first_wire & 0x7fff),
            start_timestamp: first_timestamp,
            newest: None,
        }
    }

    /// Begins a new segment with this packet. `aligned` is the timestamp that the old layer would
    /// have given to this packet's moment, on the old layer's own scale, if sender reports of both
    /// layers say so. A stream that goes on after a pause keeps its scale.
    pub fn switch(
        &mut self,
        now: Instant,
        stream: StreamKey,
        info: &PacketInfo,
        clock_rate: u32,
        aligned: Option<u32>,
    ) {
        let timestamp = self.timestamp_for(now, stream, info, clock_rate, aligned);
        let newest = self.newest;
        if let Some(mut open) = self.open.take() {
            open.last_in = newest.map(|newest| newest.seq_in);
            if self.closed.is_full() {
                self.closed.remove(0);
            }
            self.closed.push(open);
        }
        self.open = Some(Segment {
            stream,
            first_in: info.seq,
            last_in: None,
            first_out: newest.map_or(self.start, |newest| SeqNo(newest.out.seq.0 + 1)),
            timestamp_offset: timestamp.wrapping_sub(info.timestamp),
            picture_offset: follow(
                newest.and_then(|n| n.out.picture.picture_id),
                info.picture.picture_id,
            ),
            tl0_offset: follow_byte(
                newest.and_then(|n| n.out.picture.tl0_index),
                info.picture.tl0_index,
            ),
            key_offset: follow_byte(
                newest.and_then(|n| n.out.picture.key_index),
                info.picture.key_index,
            ),
        });
    }

    /// The outgoing numbers of a packet, or `None` if it belongs to no stretch that was or is sent.
    pub fn rewrite(
        &mut self,
        now: Instant,
        stream: StreamKey,
        info: &PacketInfo,
    ) -> Option<Rewritten> {
        let (segment, is_current) = self.segment_of(stream, info.seq)?;
        let out = segment.apply(info);
        let is_newest = self.newest.is_none_or(|newest| out.seq > newest.out.seq);
        if is_current && is_newest {
            self.newest = Some(Newest {
                seq_in: info.seq,
                out: self.keep_ids(out),
                at: now,
            });
        }
        Some(out)
    }

    /// Which incoming packet stands behind an outgoing number on the wire.
    pub fn origin(&self, wire: u16) -> Option<(StreamKey, SeqNo)> {
        let newest = self.newest?;
        let seq = newest.out.seq.extend(wire);
        if seq > newest.out.seq {
            return None;
        }
        let segment = self.newest_first().find(|s| s.first_out <= seq)?;
        let seq_in = SeqNo(segment.first_in.0 + (seq.0 - segment.first_out.0));
        Some((segment.stream, seq_in))
    }

    /// The numbers that a packet left with, or would leave with: for sending it once more.
    pub fn rewrite_again(&self, stream: StreamKey, info: &PacketInfo) -> Option<Rewritten> {
        self.segment_of(stream, info.seq)
            .map(|(segment, _)| segment.apply(info))
    }

    /// A timestamp of the stream that is sent now on the outgoing scale, for sender reports.
    pub fn timestamp_out(&self, stream: StreamKey, timestamp: u32) -> Option<u32> {
        self.open
            .filter(|segment| segment.stream == stream)
            .map(|segment| timestamp.wrapping_add(segment.timestamp_offset))
    }

    /// How many numbers have been used, or passed over for what may still come.
    pub fn span(&self) -> u64 {
        self.newest
            .map_or(0, |newest| newest.out.seq.0 + 1 - self.start.0)
    }

    /// The stream that was sent last.
    pub fn stream(&self) -> Option<StreamKey> {
        self.open.map(|segment| segment.stream)
    }

    fn segment_of(&self, stream: StreamKey, seq: SeqNo) -> Option<(&Segment, bool)> {
        if let Some(open) = self.open.as_ref().filter(|open| open.holds(stream, seq)) {
            return Some((open, true));
        }
        let mut closed = self.closed.iter().rev();
        closed
            .find(|segment| segment.holds(stream, seq))
            .map(|segment| (segment, false))
    }

    fn newest_first(&self) -> impl Iterator<Item = &Segment> {
        self.open.iter().chain(self.closed.iter().rev())
    }

    /// A codec without picture ids in between must not forget where they were.
    fn keep_ids(&self, mut out: Rewritten) -> Rewritten {
        if let Some(newest) = self.newest {
            let (picture, last) = (&mut out.picture, newest.out.picture);
            picture.picture_id = picture.picture_id.or(last.picture_id);
            picture.tl0_index = picture.tl0_index.or(last.tl0_index);
            picture.key_index = picture.key_index.or(last.key_index);
        }
        out
    }

    fn timestamp_for(
        &self,
        now: Instant,
        stream: StreamKey,
        info: &PacketInfo,
        clock_rate: u32,
        aligned: Option<u32>,
    ) -> u32 {
        let (Some(newest), Some(open)) = (self.newest, self.open) else {
            return self.start_timestamp;
        };
        let passed = now.saturating_duration_since(newest.at);
        let by_arrival = newest.out.timestamp.wrapping_add(ticks(passed, clock_rate));
        let on_old_scale = if open.stream == stream {
            Some(info.timestamp)
        } else {
            aligned
        };
        let chosen = on_old_scale
            .map(|timestamp| timestamp.wrapping_add(open.timestamp_offset))
            .filter(|by_report| {
                let distance = by_report.wrapping_sub(by_arrival) as i32;
                distance.unsigned_abs() <= ticks(SENDER_REPORT_TRUST, clock_rate)
            })
            .unwrap_or(by_arrival);
        // The same captured frame in another size is a new frame to the receiver.
        if chosen.wrapping_sub(newest.out.timestamp) as i32 <= 0 {
            newest.out.timestamp.wrapping_add(1)
        } else {
            chosen
        }
    }
}

/// A span in units of the RTP timestamp.
pub fn ticks(span: Duration, clock_rate: u32) -> u32 {
    (span.as_nanos() * u128::from(clock_rate) / 1_000_000_000) as u32
}

/// The distance that makes `incoming` the successor of `last`; none where there is no last.
fn follow(last: Option<u16>, incoming: Option<u16>) -> u16 {
    match (last, incoming) {
        (Some(last), Some(incoming)) => last.wrapping_add(1).wrapping_sub(incoming),
        _ => 0,
    }
}

fn follow_byte(last: Option<u8>, incoming: Option<u8>) -> u8 {
    match (last, incoming) {
        (Some(last), Some(incoming)) => last.wrapping_add(1).wrapping_sub(incoming),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOW: StreamKey = StreamKey {
        rank: 0,
        incarnation: 0,
    };
    const HIGH: StreamKey = StreamKey {
        rank: 1,
        incarnation: 0,
    };
    const RATE: u32 = 90_000;

    fn packet(seq: u64, timestamp: u32, id: u16) -> PacketInfo {
        PacketInfo {
            seq: SeqNo(seq),
            timestamp,
            marker: false,
            codec: 0,
            starts_keyframe: false,
            picture: PictureIds {
                picture_id: Some(id),
                tl0_index: Some(id as u8),
                key_index: None,
            },
            audio_level: None,
            orientation: None,
            spatial: None,
            descriptor: 0,
        }
    }

    struct Bench {
        rewriter: Rewriter,
        now: Instant,
    }

    impl Bench {
        fn new() -> Self {
            Self {
                rewriter: Rewriter::new(0x7fff, 1000),
                now: crate::testing::instant(),
            }
        }

        fn switch(&mut self, stream: StreamKey, info: &PacketInfo, aligned: Option<u32>) {
            self.rewriter.switch(self.now, stream, info, RATE, aligned);
        }

        fn send(&mut self, stream: StreamKey, info: &PacketInfo) -> Rewritten {
            self.rewriter
                .rewrite(self.now, stream, info)
                .expect("the packet is in a segment")
        }
    }

    #[test]
    fn numbers_go_on_across_a_switch() {
        let mut bench = Bench::new();
        bench.switch(LOW, &packet(70_000, 5_000, 100), None);
        let first = bench.send(LOW, &packet(70_000, 5_000, 100));
        assert_eq!(first.timestamp, 1000);
        let last = bench.send(LOW, &packet(70_005, 8_000, 101));
        assert_eq!(last.seq.0, first.seq.0 + 5, "a gap stays a gap");
        bench.now += Duration::from_millis(33);
        bench.switch(HIGH, &packet(99_000, 77, 0x7fff), None);
        let switched = bench.send(HIGH, &packet(99_000, 77, 0x7fff));
        assert_eq!(switched.seq.0, last.seq.0 + 1);
        assert_eq!(switched.timestamp, last.timestamp + 2970);
        assert_eq!(switched.picture.picture_id, Some(102));
        let next = bench.send(HIGH, &packet(99_001, 77 + 3000, 0));
        assert_eq!(next.picture.picture_id, Some(103), "across the id's wrap");
    }

    #[test]
    fn sender_reports_place_a_switch_exactly() {
        let mut bench = Bench::new();
        bench.switch(LOW, &packet(70_000, 5_000, 1), None);
        bench.send(LOW, &packet(70_000, 5_000, 1));
        bench.now += Duration::from_millis(70);
        bench.switch(HIGH, &packet(99_000, 77, 1), Some(8_000));
        let switched = bench.send(HIGH, &packet(99_000, 77, 1));
        assert_eq!(switched.timestamp, 1000 + 3000);
    }

    #[test]
    fn a_report_that_is_far_off_is_not_believed() {
        let mut bench = Bench::new();
        bench.switch(LOW, &packet(70_000, 5_000, 1), None);
        bench.send(LOW, &packet(70_000, 5_000, 1));
        bench.now += Duration::from_millis(100);
        bench.switch(HIGH, &packet(99_000, 77, 1), Some(5_000 + 10 * RATE));
        let switched = bench.send(HIGH, &packet(99_000, 77, 1));
        assert_eq!(switched.timestamp, 1000 + 9000);
    }

    #[test]
    fn the_same_captured_frame_in_another_size_is_later() {
        let mut bench = Bench::new();
        bench.switch(LOW, &packet(70_000, 5_000, 1), None);
        let old = bench.send(LOW, &packet(70_000, 5_000, 1));
        bench.switch(HIGH, &packet(99_000, 77, 1), Some(5_000));
        let new = bench.send(HIGH, &packet(99_000, 77, 1));
        assert_eq!(new.timestamp, old.timestamp + 1);
    }

    #[test]
    fn a_pause_keeps_the_scale_of_the_stream() {
        let mut bench = Bench::new();
        bench.switch(LOW, &packet(70_000, 5_000, 10), None);
        bench.send(LOW, &packet(70_000, 5_000, 10));
        bench.now += Duration::from_millis(2010);
        bench.switch(LOW, &packet(70_060, 5_000 + 2 * RATE, 70), None);
        let resumed = bench.send(LOW, &packet(70_060, 5_000 + 2 * RATE, 70));
        assert_eq!(resumed.timestamp, 1000 + 2 * RATE);
        assert_eq!(resumed.picture.picture_id, Some(11));
        let unsent = packet(70_030, 5_000 + RATE, 40);
        assert_eq!(bench.rewriter.rewrite(bench.now, LOW, &unsent), None);
    }

    #[test]
    fn late_packets_around_a_switch_keep_their_old_numbers() {
        let mut bench = Bench::new();
        bench.switch(LOW, &packet(70_000, 5_000, 1), None);
        bench.send(LOW, &packet(70_000, 5_000, 1));
        let last = bench.send(LOW, &packet(70_002, 5_000, 1));
        bench.switch(HIGH, &packet(99_000, 77, 1), Some(8_000));
        bench.send(HIGH, &packet(99_000, 77, 1));
        let late = bench.send(LOW, &packet(70_001, 5_000, 1));
        assert_eq!(late.seq.0, last.seq.0 - 1);
        for (stream, stray) in [
            (LOW, packet(70_003, 5_000, 2)),
            (HIGH, packet(98_999, 76, 0)),
        ] {
            assert_eq!(bench.rewriter.rewrite(bench.now, stream, &stray), None);
        }
        let next = bench.send(HIGH, &packet(99_001, 77, 1));
        assert_eq!(next.seq.0, last.seq.0 + 2);
    }

    #[test]
    fn an_outgoing_number_leads_back_to_its_packet() {
        let mut bench = Bench::new();
        bench.switch(LOW, &packet(70_000, 5_000, 1), None);
        let old = bench.send(LOW, &packet(70_002, 5_000, 1));
        bench.switch(HIGH, &packet(99_000, 77, 1), None);
        let new = bench.send(HIGH, &packet(99_001, 77, 1));
        let origin = |out: Rewritten| bench.rewriter.origin(out.seq.wire());
        assert_eq!(origin(old), Some((LOW, SeqNo(70_002))));
        assert_eq!(origin(new), Some((HIGH, SeqNo(99_001))));
        assert_eq!(
            bench.rewriter.origin(old.seq.wire() - 1),
            Some((LOW, SeqNo(70_001))),
            "a packet that was lost before us may have come meanwhile"
        );
        assert_eq!(bench.rewriter.origin(new.seq.wire().wrapping_add(1)), None);
        let again = bench.rewriter.rewrite_again(LOW, &packet(70_002, 5_000, 1));
        assert_eq!(again, Some(old));
    }

    mod properties {
        use std::collections::HashMap;

        use proptest::prelude::*;

        use super::*;

        proptest! {
            /// Whatever is switched, lost, delayed: one outgoing number is one packet.
            #[test]
            fn an_outgoing_number_never_stands_for_two_packets(
                steps in prop::collection::vec((0_u8..3, -6_i64..6, any::<bool>()), 1..400)
            ) {
                let mut bench = Bench::new();
                let mut heads = [70_000_u64, 65_530, 131_070];
                let mut seen: HashMap<u64, (u8, u64)> = HashMap::new();
                let mut last_timestamp = None;
                for (rank, jump, switch) in steps {
                    let stream = StreamKey { rank, incarnation: 0 };
                    let head = &mut heads[usize::from(rank)];
                    let seq = head.saturating_add_signed(jump);
                    *head = (*head).max(seq) + 1;
                    let info = packet(seq, seq as u32 * 30, seq as u16);
                    bench.now += Duration::from_millis(1);
                    let is_new = bench.rewriter.rewrite_again(stream, &info).is_none();
                    if switch && is_new {
                        bench.switch(stream, &info, None);
                    }
                    let Some(out) = bench.rewriter.rewrite(bench.now, stream, &info) else {
                        continue;
                    };
                    let owner = seen.entry(out.seq.0).or_insert((rank, seq));
                    prop_assert_eq!(*owner, (rank, seq));
                    if switch && is_new && let Some(last) = last_timestamp {
                        prop_assert!(out.timestamp.wrapping_sub(last) as i32 > 0);
                    }
                    let newest = bench.rewriter.newest.expect("something was sent");
                    last_timestamp = Some(newest.out.timestamp);
                }
            }
        }
    }
}
