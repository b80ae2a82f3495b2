//! Which lost packets a subscriber is sent again: not twice within a round trip, and not for more
//! than a share of what it is sent anyway.
//!
//! Packets themselves lie in the publication's history and their numbers follow from the rewriter,
//! so all that is kept here is a budget and a short memory of what was answered last.

use std::time::{Duration, Instant};

use crate::unit::SeqNo;

/// Answers that are remembered, a power of two. A round trip of 200 ms at 300 packets a second
/// and a loss of 30 % has 18 under way.
const ANSWERS: usize = 64;

/// Bytes that may be sent again before anything was sent: one keyframe.
const ALLOWANCE_MIN: u64 = 64 * 1024;

/// Bytes that may be saved up, so that a quiet minute does not pay for a burst of seconds.
const ALLOWANCE_MAX: u64 = 512 * 1024;

/// A packet asked for again before this has passed was asked for in the same breath.
const ROUND_TRIP_MIN: Duration = Duration::from_millis(20);

/// The budget and the memory of one subscription.
#[derive(Debug)]
pub struct Resend {
    percent_max: u64,
    allowance: u64,
    /// Apart, because it is only needed when something is asked for.
    answers: Box<[Option<(SeqNo, Instant)>; ANSWERS]>,
}

impl Resend {
    /// At most `percent_max` of what is sent may be spent on sending again.
    pub fn new(percent_max: u32) -> Self {
        Self {
            percent_max: u64::from(percent_max),
            allowance: ALLOWANCE_MIN,
            answers: Box::new([None; ANSWERS]),
        }
    }

    /// Notes bytes that were sent for the first time.
    pub fn earn(&mut self, bytes: usize) {
        // In hundredths, so that small packets earn something too.
        let earned = bytes as u64 * self.percent_max / 100;
        self.allowance = (self.allowance + earned).min(ALLOWANCE_MAX);
    }

    /// Whether a packet of `bytes` may be sent again now; if so it is paid for and remembered.
    pub fn try_spend(
        &mut self,
        now: Instant,
        seq: SeqNo,
        bytes: usize,
        round_trip: Duration,
    ) -> bool {
        let answer = &mut self.answers[seq.0 as usize % ANSWERS];
        let is_under_way = answer.is_some_and(|(answered, at)| {
            answered == seq && now.saturating_duration_since(at) < round_trip.max(ROUND_TRIP_MIN)
        });
        if is_under_way || self.allowance < bytes as u64 {
            return false;
        }
        self.allowance -= bytes as u64;
        *answer = Some((seq, now));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(100);

    #[test]
    fn a_packet_is_not_sent_twice_within_a_round_trip() {
        let now = crate::testing::instant();
        let mut resend = Resend::new(20);
        assert!(resend.try_spend(now, SeqNo(70_000), 1200, ROUND_TRIP));
        let soon = now + Duration::from_millis(99);
        assert!(!resend.try_spend(soon, SeqNo(70_000), 1200, ROUND_TRIP));
        assert!(resend.try_spend(soon, SeqNo(70_001), 1200, ROUND_TRIP));
        let later = now + ROUND_TRIP;
        assert!(resend.try_spend(later, SeqNo(70_000), 1200, ROUND_TRIP));
    }

    #[test]
    fn a_flood_of_requests_is_answered_up_to_the_share() {
        let now = crate::testing::instant();
        let mut resend = Resend::new(20);
        let flood = |resend: &mut Resend, from: u64| {
            (from..from + 10_000)
                .filter(|&seq| resend.try_spend(now, SeqNo(seq), 1000, ROUND_TRIP))
                .count()
        };
        assert_eq!(flood(&mut resend, 70_000), 65, "the first allowance");
        for _ in 0..1000 {
            resend.earn(1000);
        }
        assert_eq!(flood(&mut resend, 90_000), 200, "a fifth of what was sent");
    }
}
