//! One encoding of a published track, as it is received.
//!
//! A layer owns everything that belongs to one stream of packets from a publisher: what arrived and
//! what is missing, the packets themselves for a second, when a keyframe was asked for, and how its
//! clock relates to the publisher's wall clock. Retransmissions have been unwrapped before they
//! come here: to a layer a packet is a packet. It knows no subscriber.

use std::time::{Duration, Instant};

use super::described::Descriptors;
use super::history::{History, NotStored, PacketInfo};
use super::keyframe::KeyframeRequests;
use super::losses::Losses;
use super::reception::{RateMeter, Reception};
use crate::config::Limits;
use crate::error::Reject;
use crate::media::{LayerParams, MediaKind};
use crate::slab::{PacketRef, Payload, SlabPool};
use crate::subscription::rewriter::StreamKey;
use crate::subscription::selector::LayerView;
use crate::unit::{NtpTime, Ssrc};

/// A layer is given up after so many pictures of its siblings without one of its own, and not
/// before [`SILENT_MIN`]: a camera sends all layers of a picture at once, and a still screen sends
/// one picture a second on each.
const PICTURES_ELSEWHERE_MAX: u32 = 16;
/// Siblings catch up with each other within this when the network stalls.
const SILENT_MIN: Duration = Duration::from_millis(500);

/// A rate that has been measured for so long without a pause is one: what the meter looks back.
const STEADY: Duration = Duration::from_secs(1);

/// Packets of sound that are kept: more than a second of 20 ms packets.
const SOUND_HISTORY: usize = 64;

/// How a packet came to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// On its own stream.
    Original,
    /// On the stream of retransmissions.
    Repair,
}

/// What a packet meant to its layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The layer had been silent and lives now.
    pub has_come_alive: bool,
    /// A picture (or a sound packet) that had not been seen before begins.
    pub is_new_picture: bool,
    /// It answers a request of ours, after so long.
    pub round_trip: Option<Duration>,
}

/// A point that a publisher's clock and a layer's timestamps have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderClock {
    /// The publisher's wall clock.
    pub ntp: NtpTime,
    /// The layer's timestamp at that time.
    pub rtp: u32,
    /// When the report arrived.
    pub at: Instant,
}

impl SenderClock {
    /// The timestamp on this layer's scale at the moment that is `timestamp` on the other's.
    pub fn translate(&self, other: &SenderClock, timestamp: u32, clock_rate: u32) -> u32 {
        let apart = other.ntp.0.wrapping_sub(self.ntp.0) as i64;
        let apart = (i128::from(apart) * i128::from(clock_rate)) >> 32;
        self.rtp
            .wrapping_add(apart as u32)
            .wrapping_add(timestamp.wrapping_sub(other.rtp))
    }
}

/// One encoding of a publication.
pub struct Layer {
    rank: u8,
    params: LayerParams,
    kind: MediaKind,
    incarnation: u32,
    source: Option<Ssrc>,
    repair_source: Option<Ssrc>,
    reception: Reception,
    rate: RateMeter,
    history: History,
    clock: Option<SenderClock>,
    newest_timestamp: Option<u32>,
    heard_at: Option<Instant>,
    /// Since when packets have come without a pause.
    steady_since: Option<Instant>,
    pictures_elsewhere: u32,
    is_live: bool,
    since: Instant,
    /// What its dependency descriptors have said.
    pub descriptors: Descriptors,
    /// What is missing.
    pub losses: Losses,
    /// Whether a keyframe is wanted.
    pub keyframes: KeyframeRequests,
}

impl Layer {
    /// A layer that nothing has arrived of.
    pub fn new(
        now: Instant,
        rank: u8,
        kind: MediaKind,
        params: LayerParams,
        limits: &Limits,
    ) -> Self {
        let capacity = match kind {
            MediaKind::Audio => SOUND_HISTORY.min(limits.history_packets),
            MediaKind::Video => limits.history_packets,
        };
        Self {
            rank,
            source: params.ssrc,
            repair_source: params.rtx_ssrc,
            params,
            kind,
            incarnation: 0,
            reception: Reception::default(),
            rate: RateMeter::new(now),
            history: History::new(capacity.next_power_of_two(), limits.history_age_max),
            clock: None,
            newest_timestamp: None,
            heard_at: None,
            steady_since: None,
            pictures_elsewhere: 0,
            is_live: false,
            since: now,
            descriptors: Descriptors::default(),
            losses: Losses::new(),
            keyframes: KeyframeRequests::new(limits.keyframe_interval_min),
        }
    }

    /// Takes a packet whose payload lies in `payload`.
    pub fn receive(
        &mut self,
        now: Instant,
        arrival: Arrival,
        info: PacketInfo,
        mut payload: impl Payload,
        clock_rate: u32,
        pool: &mut SlabPool,
    ) -> Result<Receipt, Reject> {
        if arrival == Arrival::Repair && self.reception.highest().is_none() {
            return Err(Reject::RtxUseless);
        }
        let bytes = payload.len();
        self.history
            .insert(now, info, &mut payload, pool)
            .map_err(|reason| match (reason, arrival) {
                (NotStored::NoSlab, _) => Reject::NoSlab,
                (NotStored::Duplicate, Arrival::Original) => Reject::SrtpReplay,
                (NotStored::Duplicate, Arrival::Repair) => Reject::RtxUseless,
            })?;
        let round_trip = self
            .note_sequence(now, &info)
            .filter(|_| arrival == Arrival::Repair);
        if arrival == Arrival::Original {
            self.reception
                .time(now, self.since, info.timestamp, clock_rate);
        }
        if info.starts_keyframe {
            self.keyframes.arrived();
        }
        self.rate.add(now, bytes);
        if !self.is_steady(now) {
            self.steady_since = Some(now);
        }
        self.heard_at = Some(now);
        self.pictures_elsewhere = 0;
        Ok(Receipt {
            has_come_alive: !std::mem::replace(&mut self.is_live, true),
            is_new_picture: self.note_timestamp(info.timestamp),
            round_trip,
        })
    }

    /// Takes note of a packet that is not kept, so that it is not missed later.
    pub fn receive_muted(&mut self, seq: crate::unit::SeqNo) {
        self.reception.receive(seq);
    }

    /// Returns how long the answer took, if the packet answers a request.
    fn note_sequence(&mut self, now: Instant, info: &PacketInfo) -> Option<Duration> {
        let highest = self.reception.receive(info.seq)?;
        if info.seq < highest {
            return self.losses.arrived(now, info.seq);
        }
        if info.seq.0 > highest.0 + 1 && self.kind == MediaKind::Video {
            // Sound is not asked for again: browsers do not agree to it, they have redundancy.
            let can_recover = self.losses.skipped(now, highest, info.seq);
            if !can_recover {
                self.keyframes.want();
            }
        }
        None
    }

    fn note_timestamp(&mut self, timestamp: u32) -> bool {
        let is_new = self
            .newest_timestamp
            .is_none_or(|newest| timestamp.wrapping_sub(newest) as i32 > 0);
        if is_new {
            self.newest_timestamp = Some(timestamp);
        }
        is_new
    }

    /// Another layer of the publication has begun a picture. Returns whether this one has thereby
    /// been silent for too long to count as alive.
    pub fn note_picture_elsewhere(&mut self, now: Instant) -> bool {
        self.pictures_elsewhere = self.pictures_elsewhere.saturating_add(1);
        let is_silent = self.is_live
            && self.pictures_elsewhere >= PICTURES_ELSEWHERE_MAX
            && self
                .heard_at
                .is_none_or(|at| now.saturating_duration_since(at) >= SILENT_MIN);
        if is_silent {
            self.is_live = false;
        }
        is_silent
    }

    fn is_steady(&self, now: Instant) -> bool {
        self.heard_at
            .is_some_and(|at| now.saturating_duration_since(at) < STEADY)
    }

    /// What it will take to send this layer: what arrives, where that has been measured for long
    /// enough, else no less than was announced.
    pub fn expected_bitrate(&mut self, now: Instant) -> crate::unit::Bitrate {
        let measured = self.rate.rate(now);
        let since = self.steady_since.filter(|_| self.is_steady(now));
        match since.is_some_and(|since| now.saturating_duration_since(since) >= STEADY) {
            true => measured,
            false => measured.max(self.announced_bitrate()),
        }
    }

    /// What was announced, or what encoders usually need for the size: two bits for each pixel and
    /// second.
    fn announced_bitrate(&self) -> crate::unit::Bitrate {
        let params = &self.params;
        match params.bitrate_max.0 {
            0 => crate::unit::Bitrate(2 * u64::from(params.width) * u64::from(params.height)),
            _ => params.bitrate_max,
        }
    }

    /// Whether a packet has arrived so lately that another source cannot take its place.
    pub fn is_fresh(&self, now: Instant) -> bool {
        self.heard_at
            .is_some_and(|at| now.saturating_duration_since(at) < SILENT_MIN)
    }

    /// Binds the layer to a source. If it had another one its numbers start anew, which every
    /// subscription must be told. Returns whether that is so.
    pub fn bind(&mut self, source: Ssrc, pool: &mut SlabPool) -> bool {
        let is_restart = self.reception.highest().is_some() && self.source != Some(source);
        self.source = Some(source);
        if is_restart {
            self.incarnation += 1;
            self.start_anew(pool);
        }
        is_restart
    }

    fn start_anew(&mut self, pool: &mut SlabPool) {
        self.reception = Reception::default();
        self.clock = None;
        self.newest_timestamp = None;
        self.descriptors.forget();
        self.losses.clear();
        self.history.clear(pool);
        self.history.restart();
    }

    /// The owner of a mirrored layer has restarted it. Returns whether that is news; what belongs
    /// to an older incarnation must not be taken.
    pub fn restart_as(&mut self, incarnation: u32, pool: &mut SlabPool) -> bool {
        if incarnation <= self.incarnation {
            return false;
        }
        self.incarnation = incarnation;
        self.start_anew(pool);
        true
    }

    /// Packets were not sent to us for a while: those in between are not missed.
    pub fn resume(&mut self) {
        self.reception = Reception::default();
        self.losses.clear();
    }

    /// No packets are wanted for now, and nothing is to be asked for.
    pub fn suspend(&mut self) {
        self.losses.clear();
        self.keyframes.arrived();
    }

    /// What the owner of a mirrored layer says. Returns whether that is a change.
    pub fn set_live(&mut self, is_live: bool) -> bool {
        std::mem::replace(&mut self.is_live, is_live) != is_live
    }

    /// Binds the stream of retransmissions to a source.
    pub fn bind_repair(&mut self, source: Ssrc) {
        self.repair_source = Some(source);
    }

    /// Notes a sender report.
    pub fn handle_sender_report(&mut self, at: Instant, ntp: NtpTime, rtp: u32) {
        self.clock = Some(SenderClock { ntp, rtp, at });
    }

    /// Gives all memory back. The layer goes on refusing what it has seen.
    pub fn clear(&mut self, pool: &mut SlabPool) {
        self.losses.clear();
        self.history.clear(pool);
    }

    /// The packet of that number, if it is still here.
    pub fn packet(&self, seq: crate::unit::SeqNo) -> Option<(&PacketInfo, &PacketRef)> {
        self.history.packet(seq)
    }

    /// Its place among the layers, 0 the smallest.
    pub fn rank(&self) -> u8 {
        self.rank
    }

    /// What the rewriter calls this stream of numbers.
    pub fn stream(&self) -> StreamKey {
        StreamKey {
            rank: self.rank,
            incarnation: self.incarnation,
        }
    }

    /// What the selector must know.
    pub fn view(&self) -> LayerView {
        LayerView {
            is_live: self.is_live,
            width: self.params.width,
            height: self.params.height,
        }
    }

    /// What was announced.
    pub fn params(&self) -> &LayerParams {
        &self.params
    }

    /// The source that packets come from, once known.
    pub fn source(&self) -> Option<Ssrc> {
        self.source
    }

    /// The source that retransmissions come from, once known.
    pub fn repair_source(&self) -> Option<Ssrc> {
        self.repair_source
    }

    /// The newest point that clock and timestamps have in common.
    pub fn clock(&self) -> Option<&SenderClock> {
        self.clock.as_ref()
    }

    /// What arrived, for reports.
    pub fn reception(&mut self) -> &mut Reception {
        &mut self.reception
    }

    /// How unevenly packets arrive, in units of the timestamp.
    pub fn jitter(&self) -> u32 {
        self.reception.jitter()
    }

    /// The highest number so far.
    pub fn highest(&self) -> Option<crate::unit::SeqNo> {
        self.reception.highest()
    }

    /// What arrives per second.
    pub fn bitrate(&mut self, now: Instant) -> crate::unit::Bitrate {
        self.rate.rate(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscription::rewriter::PictureIds;
    use crate::unit::{Bitrate, SeqNo};

    struct Bench {
        now: Instant,
        pool: SlabPool,
        layer: Layer,
    }

    impl Bench {
        fn new() -> Self {
            let now = crate::testing::instant();
            let params = LayerParams {
                rid: None,
                ssrc: Some(Ssrc(1)),
                rtx_ssrc: None,
                width: 0,
                height: 0,
                bitrate_max: Bitrate(0),
            };
            Self {
                now,
                pool: SlabPool::new(1024),
                layer: Layer::new(now, 0, MediaKind::Video, params, &Limits::default()),
            }
        }

        fn receive(&mut self, arrival: Arrival, seq: u64) -> Result<Receipt, Reject> {
            let info = PacketInfo {
                seq: SeqNo(seq),
                timestamp: seq as u32 / 4 * 3000,
                marker: false,
                codec: 0,
                starts_keyframe: false,
                picture: PictureIds::default(),
                audio_level: None,
                orientation: None,
                spatial: None,
                descriptor: 0,
            };
            self.layer.receive(
                self.now,
                arrival,
                info,
                &b"payload"[..],
                90_000,
                &mut self.pool,
            )
        }
    }

    #[test]
    fn a_repair_fills_its_gap_once() {
        let mut bench = Bench::new();
        assert_eq!(
            bench.receive(Arrival::Repair, 70_001),
            Err(Reject::RtxUseless),
            "there is no original stream yet"
        );
        assert!(bench.receive(Arrival::Original, 70_000).is_ok());
        assert!(bench.receive(Arrival::Original, 70_002).is_ok());
        assert!(bench.layer.losses.due().is_some());
        assert!(bench.receive(Arrival::Repair, 70_001).is_ok());
        assert_eq!(bench.layer.losses.due(), None);
        assert_eq!(
            bench.receive(Arrival::Original, 70_001),
            Err(Reject::SrtpReplay),
            "the original after its repair"
        );
        assert_eq!(
            bench.receive(Arrival::Repair, 70_001),
            Err(Reject::RtxUseless)
        );
    }

    #[test]
    fn a_hole_that_cannot_be_filled_wants_a_keyframe() {
        let mut bench = Bench::new();
        assert!(bench.receive(Arrival::Original, 70_000).is_ok());
        assert!(bench.receive(Arrival::Original, 75_000).is_ok());
        assert_eq!(bench.layer.losses.due(), None);
        assert!(bench.layer.keyframes.try_ask(bench.now));
    }

    #[test]
    fn a_layer_dies_when_its_siblings_go_on_without_it_and_lives_again() {
        let mut bench = Bench::new();
        let first = bench.receive(Arrival::Original, 70_000).expect("news");
        assert!(first.has_come_alive && first.is_new_picture);
        let mut died_after = 0;
        for picture in 1..100 {
            bench.now += Duration::from_millis(40);
            if bench.layer.note_picture_elsewhere(bench.now) {
                died_after = picture;
                break;
            }
        }
        assert_eq!(died_after, 16);
        assert!(!bench.layer.view().is_live);
        let again = bench.receive(Arrival::Original, 70_001).expect("news");
        assert!(again.has_come_alive);
    }

    #[test]
    fn a_still_screen_does_not_kill_its_layers() {
        let mut bench = Bench::new();
        for second in 0..30 {
            bench.now += Duration::from_millis(900);
            assert!(!bench.layer.note_picture_elsewhere(bench.now));
            bench.now += Duration::from_millis(100);
            let receipt = bench.receive(Arrival::Original, 70_000 + second * 4);
            assert!(receipt.expect("news").is_new_picture);
        }
    }

    #[test]
    fn a_new_source_starts_a_new_incarnation() {
        let mut bench = Bench::new();
        assert!(!bench.layer.bind(Ssrc(1), &mut bench.pool));
        assert!(bench.receive(Arrival::Original, 90_000).is_ok());
        assert!(!bench.layer.bind(Ssrc(1), &mut bench.pool));
        let before = bench.layer.stream();
        assert!(bench.layer.bind(Ssrc(2), &mut bench.pool));
        assert_ne!(bench.layer.stream(), before);
        assert_eq!(bench.pool.used(), 0);
        assert!(bench.receive(Arrival::Original, 70_000).is_ok());
    }

    #[test]
    fn clocks_translate_between_layers() {
        let at = crate::testing::instant();
        let low = SenderClock {
            ntp: NtpTime(100 << 32),
            rtp: u32::MAX - 10,
            at,
        };
        let high = SenderClock {
            ntp: NtpTime((100 << 32) + (1 << 31)),
            rtp: 77,
            at,
        };
        // Half a second later on the high layer's clock, plus 3,000 ticks.
        let there = low.translate(&high, 77 + 3000, 90_000);
        assert_eq!(there, (u32::MAX - 10).wrapping_add(48_000));
        assert_eq!(high.translate(&low, there, 90_000), 77 + 3000);
    }
}
