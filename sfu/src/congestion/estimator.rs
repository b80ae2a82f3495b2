//! How much fits through the path to a subscriber, from what it reports about what it was sent.
//!
//! Three voices, of which the most careful counts: a [queue](super::delay) that grows, packets that
//! are lost, and the receiver's own estimate (REMB) where it makes one. When more is sent than goes
//! through, the estimate becomes a little less than what arrives; it rises with what arrives, with
//! [probes](super::probe), and slowly while it is used up (draft-ietf-rmcat-gcc-02 sections 5.5 and
//! 6). It is about pictures: sound carries no numbers, goes first, and is what the rest is for.
//! Whatever a receiver claims stays within the bounds of the configuration, and decides only about
//! what that receiver is sent.

use std::time::{Duration, Instant};

use super::delay::{Queue, Usage};
use super::meter::ArrivalMeter;
use super::probe::Prober;
use super::sent::SentRecord;
use crate::config::Limits;
use crate::rtp::rtcp::twcc::Feedback;

/// What is left of what arrives when there is too much: the queue empties with the rest.
const BACK_OFF_PERCENT: u64 = 85;
/// After a step down its effect is awaited for so long and a round trip.
const SETTLE: Duration = Duration::from_millis(300);
/// A step down so soon after another follows because that was not enough.
const AGAIN: Duration = Duration::from_secs(2);
/// Rise in a second while the estimate is used up, in percent.
const RISE_PERCENT: f64 = 8.0;
/// From this share on the estimate is used up.
const USED_PERCENT: u64 = 80;
/// Nothing rises for so long after too much was sent.
const CALM: Duration = Duration::from_secs(1);
/// What a probe has shown is at most so much of what arrived of it: it is shorter than the measure.
const PEAK_PERCENT: u64 = 130;
/// Losses are looked at over this, and so many packets.
const LOSS_SPAN: Duration = Duration::from_secs(1);
const LOSS_PACKETS_MIN: u32 = 50;
/// Lost packets up to this share are repaired and no reason to send less.
const LOSS_MAX: f32 = 0.10;
/// A receiver's own estimate is good for so long: browsers repeat it every second.
const REMB_LIFE: Duration = Duration::from_secs(5);
/// Who has agreed to report and has not for so long does not report.
const PATIENCE: Duration = Duration::from_secs(1);
/// Without a report for so long nothing is tried.
const REPORT_AGE_MAX: Duration = Duration::from_secs(1);
/// What is sent is measured over this.
const USED_SPAN: Duration = Duration::from_millis(500);

/// Bounds of an estimate in bits per second.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    min: u64,
    max: u64,
}

/// Packets of late.
#[derive(Clone, Copy, Debug, Default)]
struct Losses {
    reported: u32,
    lost: u32,
}

impl Losses {
    fn share(self) -> f32 {
        self.lost as f32 / self.reported.max(1) as f32
    }
}

/// When a step down has had its effect. A round trip through a full queue is not waited for.
fn settled(now: Instant, round_trip: Duration) -> Instant {
    now + SETTLE + round_trip.min(SETTLE)
}

/// What is known of one path.
#[derive(Debug)]
pub struct Estimator {
    bounds: Bounds,
    rate: u64,
    queue: Queue,
    arrived: ArrivalMeter,
    prober: Prober,
    /// The number that the next report begins with.
    next: Option<u16>,
    losses: Losses,
    losses_at: Instant,
    /// What was lost when less was sent because of it.
    cut_at_loss: Option<f32>,
    /// What this path loses whatever is sent.
    wire_loss: f32,
    remb: Option<(u64, Instant)>,
    reported_at: Option<Instant>,
    over_at: Option<Instant>,
    backed_off_at: Option<Instant>,
    settles_at: Instant,
    updated_at: Instant,
    /// When numbered packets first left.
    begun_at: Option<Instant>,
    used: u64,
    used_mark: (Instant, u64),
    /// The most that arrived while a probe was under way.
    peak: u64,
}

impl Estimator {
    /// Nothing is known: what fits nearly everywhere is assumed.
    pub fn new(now: Instant, limits: &Limits) -> Self {
        let bounds = Bounds {
            min: u64::from(limits.bandwidth_min_kbps.max(1)) * 1_000,
            max: u64::from(
                limits
                    .bandwidth_max_kbps
                    .max(limits.bandwidth_min_kbps)
                    .max(1),
            ) * 1_000,
        };
        let start = u64::from(limits.bandwidth_start_kbps) * 1_000;
        Self {
            bounds,
            rate: start.clamp(bounds.min, bounds.max),
            queue: Queue::default(),
            arrived: ArrivalMeter::default(),
            prober: Prober::new(now),
            next: None,
            losses: Losses::default(),
            losses_at: now,
            cut_at_loss: None,
            wire_loss: 0.0,
            remb: None,
            reported_at: None,
            over_at: None,
            backed_off_at: None,
            settles_at: now,
            updated_at: now,
            begun_at: None,
            used: 0,
            used_mark: (now, 0),
            peak: 0,
        }
    }

    /// Bits per second that pictures may use; `None` where the receiver tells nothing.
    pub fn budget(&self, now: Instant) -> Option<u64> {
        let remb = self.remb.filter(|(_, until)| now < *until);
        let remb = remb.map(|(rate, _)| rate);
        if self.reported_at.is_some() {
            return Some(remb.map_or(self.rate, |remb| remb.min(self.rate)));
        }
        let is_awaited = |begun: Instant| now.saturating_duration_since(begun) < PATIENCE;
        let start = self.begun_at.is_none_or(is_awaited).then_some(self.rate);
        remb.or(start)
    }

    /// Takes a report about numbered packets. Returns whether less fits than was thought.
    pub fn report(
        &mut self,
        now: Instant,
        report: &Feedback<'_>,
        sent: &mut SentRecord,
        round_trip: Duration,
    ) -> bool {
        let mut expected = match self.next {
            Some(next) if (report.base.wrapping_sub(next) as i16) < 0 => next,
            _ => report.base,
        };
        let mut is_known = false;
        for arrival in report.arrivals() {
            let Some(packet) = sent.take(now, arrival.number) else {
                continue;
            };
            is_known = true;
            self.arrived.add(arrival.at_us, packet.bytes);
            self.queue.note(packet.at_us, arrival.at_us);
            let ahead = arrival.number.wrapping_sub(expected);
            if (ahead as i16) >= 0 {
                for number in 0..ahead {
                    let was_sent = sent.take(now, expected.wrapping_add(number)).is_some();
                    self.losses.lost += u32::from(was_sent);
                    self.losses.reported += u32::from(was_sent);
                }
                expected = arrival.number.wrapping_add(1);
            }
            self.losses.reported += 1;
        }
        if !is_known {
            return false;
        }
        self.next = Some(expected);
        self.reported_at = Some(now);
        self.judge(now, round_trip)
    }

    /// Takes a receiver's own estimate; `beside` is what it is sent that carries no numbers.
    pub fn remb(&mut self, now: Instant, rate: u64, beside: u64) {
        let rate = rate.saturating_sub(beside);
        let rate = rate.clamp(self.bounds.min, self.bounds.max);
        self.remb = Some((rate, now + REMB_LIFE));
    }

    fn judge(&mut self, now: Instant, round_trip: Duration) -> bool {
        let before = self.rate;
        let usage = self.queue.usage();
        if usage == Usage::Over {
            self.back_off(now, round_trip);
        } else {
            self.rise(now, usage);
        }
        self.judge_losses(now, round_trip);
        if self.prober.is_running() {
            self.peak = self.peak.max(self.arrived.rate().unwrap_or(0));
        }
        if let Some(shown) = self.prober.succeed(now) {
            // A path that drops what is too much makes no queue.
            let shown = shown.min(self.peak * PEAK_PERCENT / 100);
            self.rate = self.rate.max(shown);
        }
        self.updated_at = now;
        self.rate = self.rate.clamp(self.bounds.min, self.bounds.max);
        self.rate < before
    }

    fn back_off(&mut self, now: Instant, round_trip: Duration) {
        self.over_at = Some(now);
        if now < self.settles_at {
            return;
        }
        self.settles_at = settled(now, round_trip);
        let arrived = self.arrived.rate().unwrap_or(self.rate);
        if self.prober.fail(now) {
            // It was the padding that was too much; what arrived is known to fit all the same.
            self.rate = self.rate.min(arrived);
            return;
        }
        // Where the last step down was not enough, what arrives is what the queue lets through.
        let is_again = self
            .backed_off_at
            .is_some_and(|at| now.saturating_duration_since(at) < AGAIN);
        let before = if is_again { self.rate } else { u64::MAX };
        let fits = arrived.min(before) * BACK_OFF_PERCENT / 100;
        self.rate = self.rate.min(fits);
        self.backed_off_at = Some(now);
    }

    fn rise(&mut self, now: Instant, usage: Usage) {
        let is_calm = self
            .over_at
            .is_none_or(|at| now.saturating_duration_since(at) >= CALM);
        if usage != Usage::Free || !is_calm {
            return;
        }
        let Some(arrived) = self.arrived.rate() else {
            return;
        };
        if arrived * 100 >= self.rate * USED_PERCENT {
            let passed = now.saturating_duration_since(self.updated_at);
            let passed = passed.min(CALM).as_secs_f64();
            self.rate += (self.rate as f64 * passed * RISE_PERCENT / 100.0) as u64;
        }
        self.rate = self.rate.max(arrived);
    }

    /// Losses without a queue are those of a path that drops what is too much, or of one that loses
    /// whatever is sent. Which it is shows when less is sent.
    fn judge_losses(&mut self, now: Instant, round_trip: Duration) {
        let is_due = now.saturating_duration_since(self.losses_at) >= LOSS_SPAN;
        if !is_due || self.losses.reported < LOSS_PACKETS_MIN {
            return;
        }
        let share = std::mem::take(&mut self.losses).share();
        self.losses_at = now;
        if share < self.wire_loss {
            // Slowly: a share of few packets swings.
            self.wire_loss = (self.wire_loss * 3.0 + share) / 4.0;
        }
        let arrived = self.arrived.rate().unwrap_or(self.rate);
        if share - self.wire_loss <= LOSS_MAX {
            self.cut_at_loss = None;
            return;
        }
        let is_less_sent = self.used * 10 <= self.rate * 11;
        match self.cut_at_loss {
            Some(before) if is_less_sent && share > before / 2.0 => {
                self.wire_loss = share;
                self.cut_at_loss = None;
            }
            Some(_) if !is_less_sent => {}
            _ => {
                self.cut_at_loss = Some(share);
                self.over_at = Some(now);
                self.settles_at = settled(now, round_trip);
                if !self.prober.fail(now) {
                    self.rate = self.rate.min(arrived);
                }
            }
        }
    }

    /// Time passes: what is sent is measured, and where `wanted` bits per second are more than are
    /// known to fit, more is tried. Returns whether a probe has begun.
    pub fn tick(
        &mut self,
        now: Instant,
        sent: &SentRecord,
        wanted: u64,
        round_trip: Duration,
    ) -> bool {
        let (since, bytes) = self.used_mark;
        if sent.bytes() > bytes && self.begun_at.is_none() {
            self.begun_at = Some(now);
        }
        let span = now.saturating_duration_since(since);
        if span >= USED_SPAN {
            let passed = span.as_micros() as u64;
            self.used = (sent.bytes() - bytes).saturating_mul(8_000_000) / passed;
            self.used_mark = (now, sent.bytes());
        }
        let Some(reported_at) = self.reported_at else {
            return false;
        };
        let is_heard = now.saturating_duration_since(reported_at) < REPORT_AGE_MAX;
        if self.prober.is_running() && !is_heard {
            self.prober.fail(now);
        }
        // Where nothing is sent nothing is reported.
        let is_idle = self.used == 0;
        let is_calm = now >= self.settles_at
            && (is_idle || self.queue.is_known() && self.queue.usage() == Usage::Free);
        let wanted = wanted.min(self.bounds.max);
        let below_remb = self
            .remb
            .is_none_or(|(remb, until)| now >= until || remb > self.rate);
        if is_calm && below_remb && (is_heard || is_idle) {
            let used = self.used.min(self.rate);
            self.peak = 0;
            return self.prober.begin(now, round_trip, self.rate, used, wanted);
        }
        false
    }

    /// Bytes of padding that are due now.
    pub fn padding_due(&mut self, now: Instant) -> usize {
        self.prober.due(now)
    }

    /// Whether padding is being sent.
    pub fn is_padding(&self, now: Instant) -> bool {
        self.prober.is_sending(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::rtcp::twcc::Recorder;
    use crate::rtp::rtcp::{Rtcp, parse_compound};
    use crate::unit::Ssrc;

    const ROUND_TRIP: Duration = Duration::from_millis(50);

    /// A path of a fixed capacity without losses, and a receiver that reports every 100 ms.
    struct Bench {
        start: Instant,
        now: Instant,
        sent: SentRecord,
        estimator: Estimator,
        recorder: Recorder,
        capacity: u64,
        free_at: Instant,
    }

    impl Bench {
        fn new(capacity: u64) -> Self {
            let start = crate::testing::instant();
            Self {
                start,
                now: start,
                sent: SentRecord::new(start),
                estimator: Estimator::new(start, &Limits::default()),
                recorder: Recorder::new(),
                capacity,
                free_at: start,
            }
        }

        fn send(&mut self, bytes: usize) {
            let bits = bytes as u64 * 8;
            let wait = Duration::from_micros(bits * 1_000_000 / self.capacity);
            self.free_at = self.free_at.max(self.now) + wait;
            self.sent.set_time(self.now);
            let number = self.sent.next();
            self.sent.note(bytes);
            self.recorder.note(number, self.free_at - self.start);
        }

        /// So many seconds of so many bits per second, while as much as `wanted` would be sent.
        fn run(&mut self, seconds: u64, rate: u64, wanted: u64) {
            for tick in 1..=seconds * 100 {
                self.now += Duration::from_millis(10);
                if tick % 3 == 0 {
                    self.send((rate * 3 / 800) as usize);
                }
                for _ in 0..self.estimator.padding_due(self.now) / 240 {
                    self.send(240);
                }
                if tick % 10 == 0 {
                    self.report();
                    self.estimator
                        .tick(self.now, &self.sent, wanted, ROUND_TRIP);
                }
            }
        }

        fn report(&mut self) {
            let mut out = Vec::new();
            while self.recorder.append_report(&mut out, Ssrc(1), Ssrc(2)) {}
            for packet in parse_compound(&out) {
                if let Ok(Rtcp::Twcc(report)) = packet {
                    let (now, sent) = (self.now, &mut self.sent);
                    self.estimator.report(now, &report, sent, ROUND_TRIP);
                }
            }
        }

        fn kbps(&self) -> Option<u64> {
            self.estimator.budget(self.now).map(|rate| rate / 1_000)
        }
    }

    #[test]
    fn what_fits_is_found_and_no_more() {
        for capacity in [300_000, 1_000_000, 3_000_000, 8_000_000] {
            let mut bench = Bench::new(capacity);
            bench.run(40, capacity / 2, 20_000_000);
            let found = bench.kbps().expect("it reports");
            let kbps = capacity / 1_000;
            assert!(
                found > kbps * 6 / 10 && found <= kbps * 12 / 10,
                "{found} of {kbps}"
            );
        }
    }

    #[test]
    fn without_a_wish_nothing_is_tried() {
        let mut bench = Bench::new(5_000_000);
        bench.run(20, 200_000, 400_000);
        assert_eq!(bench.kbps(), Some(500));
        assert_eq!(bench.sent.packets(), 20 * 100 / 3);
    }

    #[test]
    fn too_much_is_followed_down_within_a_second() {
        let mut bench = Bench::new(5_000_000);
        bench.run(10, 2_000_000, 2_000_000);
        assert!(bench.kbps() >= Some(1_900), "{:?}", bench.kbps());
        bench.capacity = 600_000;
        bench.run(1, 2_000_000, 2_000_000);
        assert!(bench.kbps() < Some(700), "{:?}", bench.kbps());
    }

    #[test]
    fn who_does_not_report_is_not_limited_for_long() {
        let mut bench = Bench::new(5_000_000);
        assert_eq!(bench.kbps(), Some(500), "what is assumed");
        bench.send(1_000);
        let (start, limits) = (bench.start, Limits::default());
        let budget = |ms| start + Duration::from_millis(ms);
        bench.estimator.tick(budget(10), &bench.sent, 0, ROUND_TRIP);
        assert!(bench.estimator.budget(budget(900)).is_some());
        assert_eq!(bench.estimator.budget(budget(1_100)), None);
        bench.estimator.remb(budget(2_000), 700_000, 100_000);
        assert_eq!(bench.estimator.budget(budget(2_000)), Some(600_000));
        bench.estimator.remb(budget(2_000), u64::MAX, 100_000);
        let max = u64::from(limits.bandwidth_max_kbps) * 1_000;
        assert_eq!(bench.estimator.budget(budget(2_000)), Some(max));
        assert_eq!(
            bench.estimator.budget(budget(7_100)),
            None,
            "it has not repeated it"
        );
    }
}
