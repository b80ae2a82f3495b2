//! What a receiver report says about a layer: the numbers of RFC 3550 appendix A.
//!
//! Only arithmetic over what arrived. Packets that came by retransmission count as received, as
//! they do in every report that a browser sends.

use std::time::{Duration, Instant};

use crate::unit::SeqNo;

/// Reception of one source.
#[derive(Debug, Default)]
pub struct Reception {
    first: Option<SeqNo>,
    highest: Option<SeqNo>,
    received: u64,
    expected_before: u64,
    received_before: u64,
    transit: Option<i64>,
    /// Scaled by 16 (RFC 3550 appendix A.8).
    jitter: u64,
}

/// The block of one source in a receiver report, without the sender report times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceptionNumbers {
    /// Lost since the last report, in 256ths.
    pub fraction_lost: u8,
    /// Lost since the beginning, at most 24 bits signed.
    pub cumulative_lost: i32,
    /// The highest number, with the count of wraps in the upper half.
    pub highest_extended: u32,
    /// Jitter in timestamp units.
    pub jitter: u32,
    /// What should have come since the last report.
    pub expected: u32,
    /// Of that, what has not.
    pub lost: u32,
}

impl Reception {
    /// Notes a packet. Returns the highest number before it.
    pub fn receive(&mut self, seq: SeqNo) -> Option<SeqNo> {
        let before = self.highest;
        self.received += 1;
        self.first = Some(self.first.map_or(seq, |first| first.min(seq)));
        self.highest = Some(before.map_or(seq, |highest| highest.max(seq)));
        before
    }

    /// Notes how regularly original packets arrive; `since` is any fixed instant.
    pub fn time(&mut self, now: Instant, since: Instant, timestamp: u32, clock_rate: u32) {
        let arrival = now.saturating_duration_since(since).as_micros() as u64
            * u64::from(clock_rate)
            / 1_000_000;
        // In 32 bits like the timestamp, so that its wrap does not show.
        let transit = i64::from((arrival as u32).wrapping_sub(timestamp) as i32);
        if let Some(last) = self.transit.replace(transit) {
            let distance = i64::from((transit as i32).wrapping_sub(last as i32)).unsigned_abs();
            self.jitter = self.jitter + distance - ((self.jitter + 8) >> 4);
        }
    }

    /// The highest number so far.
    pub fn highest(&self) -> Option<SeqNo> {
        self.highest
    }

    /// How unevenly packets arrive, in units of the timestamp.
    pub fn jitter(&self) -> u32 {
        (self.jitter >> 4) as u32
    }

    /// Packets received.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// The numbers for a report that is sent now; the next one counts from here.
    pub fn report(&mut self) -> Option<ReceptionNumbers> {
        let (first, highest) = (self.first?, self.highest?);
        let expected = highest.0 - first.0 + 1;
        let expected_since = expected.saturating_sub(self.expected_before);
        let received_since = self.received - self.received_before;
        let lost_since = expected_since.saturating_sub(received_since);
        self.expected_before = expected;
        self.received_before = self.received;
        let lost = expected as i64 - self.received as i64;
        Some(ReceptionNumbers {
            fraction_lost: (lost_since * 256)
                .checked_div(expected_since)
                .map_or(0, |fraction| fraction.min(255) as u8),
            cumulative_lost: lost.clamp(-0x80_0000, 0x7f_ffff) as i32,
            // Our numbers begin at 1 << 16; on the wire the count of wraps begins at 0.
            highest_extended: (highest.0 - (1 << 16)) as u32,
            jitter: self.jitter(),
            expected: expected_since as u32,
            lost: lost_since as u32,
        })
    }
}

/// Bits per second over a sliding window of a second, in quarters.
#[derive(Debug)]
pub struct RateMeter {
    quarters: [u64; QUARTERS],
    at: u64,
    since: Instant,
    /// When the quarter ends that is counted now.
    until: Instant,
}

const QUARTERS: usize = 4;
const QUARTER: Duration = Duration::from_millis(250);

impl RateMeter {
    /// Counts from now on.
    pub fn new(now: Instant) -> Self {
        Self {
            quarters: [0; QUARTERS],
            at: 0,
            since: now,
            until: now + QUARTER,
        }
    }

    /// Notes bytes.
    pub fn add(&mut self, now: Instant, bytes: usize) {
        self.advance(now);
        self.quarters[self.at as usize % QUARTERS] += bytes as u64;
    }

    /// The rate of the last second.
    pub fn rate(&mut self, now: Instant) -> crate::unit::Bitrate {
        self.advance(now);
        crate::unit::Bitrate::from_bytes_over(self.quarters.iter().sum(), QUARTER * QUARTERS as u32)
    }

    fn advance(&mut self, now: Instant) {
        // A comparison is all that most packets pay.
        if now < self.until {
            return;
        }
        let passed = now.saturating_duration_since(self.since);
        let at = passed.as_millis() as u64 / QUARTER.as_millis() as u64;
        self.until = self.since + QUARTER * (at as u32 + 1);
        for step in (self.at + 1..=at).take(QUARTERS) {
            self.quarters[step as usize % QUARTERS] = 0;
        }
        if at >= self.at + QUARTERS as u64 {
            self.quarters = [0; QUARTERS];
        }
        self.at = self.at.max(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::Bitrate;

    #[test]
    fn a_report_counts_what_is_missing_across_a_wrap() {
        let mut reception = Reception::default();
        for seq in (131_000..131_256).filter(|seq| seq % 4 != 0) {
            reception.receive(SeqNo(seq));
        }
        let numbers = reception.report().expect("packets arrived");
        assert_eq!(numbers.highest_extended, 131_255 - 65_536);
        assert_eq!(numbers.cumulative_lost, 63, "the first one is not missed");
        assert_eq!(numbers.fraction_lost, (63 * 256 / 255) as u8);
        reception.receive(SeqNo(131_256));
        let next = reception.report().expect("packets arrived");
        assert_eq!(next.fraction_lost, 0);
    }

    #[test]
    fn duplicates_never_make_a_loss_negative_without_bound() {
        let mut reception = Reception::default();
        for _ in 0..10 {
            reception.receive(SeqNo(70_000));
        }
        let numbers = reception.report().expect("packets arrived");
        assert_eq!(numbers.fraction_lost, 0);
        assert_eq!(numbers.cumulative_lost, -9);
    }

    #[test]
    fn steady_packets_have_no_jitter_and_late_ones_do() {
        // The timestamp wraps on the way.
        const FIRST: u32 = u32::MAX - 48_000;
        let start = crate::testing::instant();
        let mut reception = Reception::default();
        for n in 0..100_u32 {
            reception.receive(SeqNo(70_000 + u64::from(n)));
            let now = start + Duration::from_millis(u64::from(n) * 20);
            reception.time(now, start, FIRST.wrapping_add(n * 960), 48_000);
        }
        assert_eq!(reception.report().expect("packets arrived").jitter, 0);
        let late = start + Duration::from_millis(100 * 20 + 100);
        reception.receive(SeqNo(70_100));
        reception.time(late, start, FIRST.wrapping_add(96_000), 48_000);
        let jitter = reception.report().expect("packets arrived").jitter;
        assert_eq!(jitter, 4800 / 16);
    }

    #[test]
    fn a_rate_is_forgotten_after_a_second() {
        let start = crate::testing::instant();
        let mut meter = RateMeter::new(start);
        for n in 0..50 {
            meter.add(start + Duration::from_millis(n * 20), 125);
        }
        let second = start + Duration::from_millis(999);
        assert_eq!(meter.rate(second), Bitrate(50_000));
        assert_eq!(
            meter.rate(second + Duration::from_millis(500)),
            Bitrate(25_000)
        );
        assert_eq!(meter.rate(second + Duration::from_secs(5)), Bitrate(0));
    }
}
