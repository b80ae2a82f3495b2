//! When a publisher is asked for a keyframe of a layer.
//!
//! Subscribers, resets and losses only say that one is wanted; the request goes out at most once
//! per interval (`Limits::keyframe_interval_min`), is repeated until a keyframe arrives, and what
//! many want at once is one request.

use std::time::{Duration, Instant};

/// A request that is not answered after so many repetitions is given up until somebody wants one
/// anew: the publisher does not send this layer.
const REPEATS_MAX: u32 = 20;

/// The requests of one layer.
#[derive(Debug)]
pub struct KeyframeRequests {
    interval_min: Duration,
    is_wanted: bool,
    repeats: u32,
    asked_at: Option<Instant>,
}

impl KeyframeRequests {
    /// Nothing is wanted yet.
    pub fn new(interval_min: Duration) -> Self {
        Self {
            interval_min,
            is_wanted: false,
            repeats: 0,
            asked_at: None,
        }
    }

    /// Somebody cannot go on without a keyframe.
    pub fn want(&mut self) {
        self.is_wanted = true;
        self.repeats = 0;
    }

    /// A keyframe has begun: whoever waited has been served.
    pub fn arrived(&mut self) {
        self.is_wanted = false;
        self.repeats = 0;
    }

    /// When [`KeyframeRequests::try_ask`] will next say yes; `None` if nothing is wanted.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        self.is_wanted
            .then(|| self.asked_at.map_or(now, |at| at + self.interval_min))
    }

    /// Whether to send a request now; if so it is noted as sent.
    pub fn try_ask(&mut self, now: Instant) -> bool {
        if self.due(now).is_none_or(|due| due > now) {
            return false;
        }
        self.asked_at = Some(now);
        self.repeats += 1;
        if self.repeats >= REPEATS_MAX {
            self.is_wanted = false;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(500);

    #[test]
    fn many_wants_are_one_request_and_it_is_repeated_until_answered() {
        let start = crate::testing::instant();
        let mut requests = KeyframeRequests::new(INTERVAL);
        assert!(!requests.try_ask(start));
        requests.want();
        requests.want();
        assert!(requests.try_ask(start));
        assert!(!requests.try_ask(start + INTERVAL / 2));
        assert_eq!(requests.due(start), Some(start + INTERVAL));
        assert!(requests.try_ask(start + INTERVAL));
        requests.arrived();
        assert_eq!(requests.due(start), None);
        assert!(!requests.try_ask(start + 2 * INTERVAL));
    }

    #[test]
    fn a_want_after_an_answer_still_waits_for_the_interval() {
        let start = crate::testing::instant();
        let mut requests = KeyframeRequests::new(INTERVAL);
        requests.want();
        assert!(requests.try_ask(start));
        requests.arrived();
        requests.want();
        assert!(!requests.try_ask(start + INTERVAL / 2));
        assert!(requests.try_ask(start + INTERVAL));
    }

    #[test]
    fn a_layer_that_never_answers_is_left_alone() {
        let start = crate::testing::instant();
        let mut requests = KeyframeRequests::new(INTERVAL);
        requests.want();
        let asked = (0..1000).filter(|n| requests.try_ask(start + INTERVAL * *n));
        assert_eq!(asked.count(), REPEATS_MAX as usize);
    }
}
