//! When more is tried than is sent, and how much.
//!
//! What carries a small picture says nothing of whether a larger one would fit, so before one is sent
//! padding takes its place for half a second: a queue that begins to grow ends that at once, and
//! costs nobody a picture. Steps are bold until the path has shown its limit, small after it has,
//! bolder with each that succeeds; what fails is tried again later and later.

use std::time::{Duration, Instant};

/// Long enough for five reports of a browser, and for a tenth too much to make a queue that is seen.
const LENGTH: Duration = Duration::from_millis(500);
/// Reports come up to so much after what they are about has arrived.
const REPORT: Duration = Duration::from_millis(250);
/// Steps as hundredths of the estimate.
const STEPS: [u64; 3] = [130, 160, 200];
/// At least so many bits a second more: a third of a small picture.
const STEP_MIN: u64 = 60_000;
/// Waiting after the first failure, and at most: with four steps from the smallest picture to the
/// largest a path that has recovered is used in 20 s.
const WAIT_MIN: Duration = Duration::from_secs(2);
const WAIT_MAX: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug)]
struct Running {
    until: Instant,
    judged_at: Instant,
    target: u64,
    padding: u64,
    paid_until: Instant,
}

/// The probing of one path.
#[derive(Clone, Debug)]
pub struct Prober {
    running: Option<Running>,
    next_at: Instant,
    wait: Duration,
    step: usize,
}

impl Prober {
    /// May begin at once, with the boldest step.
    pub fn new(now: Instant) -> Self {
        Self {
            running: None,
            next_at: now,
            wait: WAIT_MIN,
            step: STEPS.len() - 1,
        }
    }

    /// Whether a probe is under way, or its outcome.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Begins a probe where it is time. `used` is what is sent anyway, `wanted` what would be, all in
    /// bits per second. Returns whether one has begun.
    pub fn begin(
        &mut self,
        now: Instant,
        round_trip: Duration,
        estimate: u64,
        used: u64,
        wanted: u64,
    ) -> bool {
        if self.running.is_some() || now < self.next_at || estimate >= wanted {
            return false;
        }
        let step = (estimate * STEPS[self.step] / 100).max(estimate + STEP_MIN);
        let target = step.min(wanted);
        let until = now + LENGTH;
        self.running = Some(Running {
            until,
            judged_at: until + round_trip + REPORT,
            target,
            padding: target.saturating_sub(used),
            paid_until: now,
        });
        true
    }

    /// Bytes of padding that are due now.
    pub fn due(&mut self, now: Instant) -> usize {
        let Some(running) = &mut self.running else {
            return 0;
        };
        let now = now.min(running.until);
        let span = now.saturating_duration_since(running.paid_until);
        running.paid_until = now.max(running.paid_until);
        (running.padding * span.as_micros() as u64 / 8_000_000) as usize
    }

    /// Whether padding is still to be sent.
    pub fn is_sending(&self, now: Instant) -> bool {
        self.running.is_some_and(|running| now < running.until)
    }

    /// Ends a probe that no queue has grown under; returns what it has shown to fit.
    pub fn succeed(&mut self, now: Instant) -> Option<u64> {
        let done = self.running.take_if(|running| now >= running.judged_at)?;
        self.next_at = now;
        self.wait = WAIT_MIN;
        self.step = (self.step + 1).min(STEPS.len() - 1);
        Some(done.target)
    }

    /// More is sent than goes through. Returns whether it was a probe that has shown it.
    pub fn fail(&mut self, now: Instant) -> bool {
        self.step = 0;
        self.next_at = now + self.wait;
        let was_probe = self.running.take().is_some();
        if was_probe {
            self.wait = (self.wait * 2).min(WAIT_MAX);
        }
        was_probe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(50);

    #[test]
    fn padding_fills_what_is_missing_and_no_more() {
        let start = crate::testing::instant();
        let mut prober = Prober::new(start);
        assert!(
            !prober.begin(start, ROUND_TRIP, 1_000_000, 0, 1_000_000),
            "all fits"
        );
        assert!(prober.begin(start, ROUND_TRIP, 500_000, 400_000, 5_000_000));
        let mut bytes = 0;
        for ms in (0..=1_000).step_by(10) {
            bytes += prober.due(start + Duration::from_millis(ms));
        }
        assert_eq!(bytes, 600_000 / 8 / 2, "half a second of what is missing");
        assert_eq!(prober.succeed(start + Duration::from_millis(600)), None);
        let done = start + Duration::from_millis(800);
        assert_eq!(prober.succeed(done), Some(1_000_000));
    }

    #[test]
    fn what_fails_is_tried_later_and_later_and_in_small_steps() {
        let mut now = crate::testing::instant();
        let mut prober = Prober::new(now);
        let mut waits = Vec::new();
        for _ in 0..5 {
            let from = now;
            while !prober.begin(now, ROUND_TRIP, 300_000, 300_000, 900_000) {
                now += Duration::from_millis(100);
            }
            waits.push((now - from).as_secs());
            assert!(prober.fail(now));
        }
        assert_eq!(waits, [0, 2, 4, 8, 10]);
        now += WAIT_MAX;
        assert!(prober.begin(now, ROUND_TRIP, 300_000, 300_000, 900_000));
        now += Duration::from_secs(1);
        assert_eq!(prober.succeed(now), Some(390_000));
        assert!(
            prober.begin(now, ROUND_TRIP, 390_000, 300_000, 900_000),
            "at once"
        );
        now += Duration::from_secs(1);
        assert_eq!(prober.succeed(now), Some(624_000));
    }
}
