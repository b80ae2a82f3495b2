//! When which track sends next: a schedule of periodic sources.
//!
//! Pure: time is an argument, counted from the start of the run. A source that is late is not
//! dropped but catches up, as a sender with a queue does.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::time::Duration;

/// Identifies a source to its owner.
pub(crate) type SourceId = u32;

/// Periodic sources by the time of their next sending.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    due: BinaryHeap<Reverse<(Duration, SourceId, Duration)>>,
    removed: HashSet<SourceId>,
}

impl Schedule {
    /// Lets `source` send at `first` and every `period` from then on.
    pub(crate) fn add(&mut self, source: SourceId, first: Duration, period: Duration) {
        self.removed.remove(&source);
        self.due.push(Reverse((first, source, period)));
    }

    /// Stops a source; its id must not be added again before it would have been due.
    pub(crate) fn remove(&mut self, source: SourceId) {
        self.removed.insert(source);
    }

    /// When the next source is due.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.due.peek().map(|Reverse((at, ..))| *at)
    }

    /// Takes one source that is due at `now`, with the time it was due.
    pub(crate) fn pop(&mut self, now: Duration) -> Option<(SourceId, Duration)> {
        loop {
            let &Reverse((at, source, period)) = self.due.peek().filter(|d| d.0.0 <= now)?;
            self.due.pop();
            if self.removed.remove(&source) {
                continue;
            }
            self.due.push(Reverse((at + period, source, period)));
            return Some((source, at));
        }
    }
}

/// A well-mixed number from a seed (SplitMix64): phases and jitter that repeat from run to run.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    /// The same seed throws the same numbers.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Evenly in `0.0..1.0`.
    pub(crate) fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True in `share` of the throws.
    pub(crate) fn happens(&mut self, share: f64) -> bool {
        self.share() < share
    }

    /// Evenly in `0..limit`.
    pub(crate) fn within(&mut self, limit: Duration) -> Duration {
        limit.mul_f64(self.share())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn sources_take_turns_by_their_periods() {
        let mut schedule = Schedule::default();
        schedule.add(1, Duration::ZERO, 20 * MS);
        schedule.add(2, 5 * MS, 33 * MS);
        let mut seen = Vec::new();
        for ms in 0..60 {
            while let Some((source, at)) = schedule.pop(ms * MS) {
                assert_eq!(at, ms * MS);
                seen.push((source, ms));
            }
        }
        assert_eq!(seen, [(1, 0), (2, 5), (1, 20), (2, 38), (1, 40)]);
        assert_eq!(schedule.next(), Some(60 * MS));
    }

    #[test]
    fn a_late_caller_gets_every_turn() {
        let mut schedule = Schedule::default();
        schedule.add(1, Duration::ZERO, 10 * MS);
        let turns = std::iter::from_fn(|| schedule.pop(95 * MS)).count();
        assert_eq!(turns, 10);
    }

    #[test]
    fn a_removed_source_is_silent() {
        let mut schedule = Schedule::default();
        schedule.add(1, Duration::ZERO, 10 * MS);
        schedule.add(2, Duration::ZERO, 10 * MS);
        schedule.remove(1);
        assert_eq!(schedule.pop(Duration::ZERO).map(|d| d.0), Some(2));
        assert_eq!(schedule.pop(9 * MS), None);
    }

    #[test]
    fn dice_repeat_by_seed_and_spread_evenly() {
        let throw = |seed| {
            let mut dice = Dice::new(seed);
            (0..1000).map(|_| dice.share()).collect::<Vec<_>>()
        };
        assert_eq!(throw(1), throw(1));
        assert_ne!(throw(1), throw(2));
        let mean = throw(3).iter().sum::<f64>() / 1000.0;
        assert!((0.45..0.55).contains(&mean), "{mean}");
    }
}
