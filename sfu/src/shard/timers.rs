//! When the shard must be called again: one deadline per key, and which is the next.
//!
//! A heap with lazy removal. Moving a deadline to a later time only notes it, because that is what
//! nearly every packet does; moving it to an earlier one adds an entry. Entries that no longer say
//! the truth are dropped when they come up.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Instant;

use super::StableHash;

/// What has a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum TimerKey {
    /// A peer, by its place.
    Peer(usize),
    /// The speakers of a room, by its place.
    Room(usize),
    /// The mirror of a publication, by its place.
    Mirror(usize),
    /// All taps.
    Taps,
    /// The sounds that wait for each other.
    Sounds,
    /// The padding of those whose path is being probed.
    Padding,
    /// The counters.
    Stats,
}

#[derive(Clone, Copy, Debug)]
struct Deadline {
    at: Option<Instant>,
    /// The earliest entry of the heap that stands for this key.
    queued: Option<Instant>,
}

/// All deadlines of a shard.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, TimerKey)>>,
    deadlines: HashMap<TimerKey, Deadline, StableHash>,
}

impl Timers {
    /// Replaces the deadline of a key.
    pub(super) fn set(&mut self, key: TimerKey, at: Option<Instant>) {
        let deadline = self.deadlines.entry(key).or_insert(Deadline {
            at: None,
            queued: None,
        });
        deadline.at = at;
        if let Some(at) = at
            && deadline.queued.is_none_or(|queued| at < queued)
        {
            deadline.queued = Some(at);
            self.heap.push(Reverse((at, key)));
        }
    }

    /// Gives a key a deadline if it has none.
    pub(super) fn ensure(&mut self, key: TimerKey, at: Instant) {
        if self.deadlines.get(&key).is_none_or(|d| d.at.is_none()) {
            self.set(key, Some(at));
        }
    }

    /// Forgets a key.
    pub(super) fn remove(&mut self, key: TimerKey) {
        self.deadlines.remove(&key);
    }

    /// A key whose deadline has come; it has none afterwards.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<TimerKey> {
        while let Some(&Reverse((at, key))) = self.heap.peek() {
            if at > now {
                return None;
            }
            self.heap.pop();
            let Some(deadline) = self.deadlines.get_mut(&key) else {
                continue;
            };
            if deadline.queued != Some(at) {
                continue;
            }
            deadline.queued = None;
            match deadline.at {
                Some(due) if due <= now => {
                    deadline.at = None;
                    return Some(key);
                }
                later => self.set(key, later),
            }
        }
        None
    }

    /// When to be called again. May be earlier than any deadline, never later.
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|&Reverse((at, _))| at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn due(timers: &mut Timers, now: Instant) -> Vec<TimerKey> {
        std::iter::from_fn(|| timers.pop_due(now)).collect()
    }

    #[test]
    fn deadlines_come_in_order_and_once() {
        let start = crate::testing::instant();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timers = Timers::default();
        timers.set(TimerKey::Peer(1), Some(at(30)));
        timers.set(TimerKey::Room(1), Some(at(10)));
        timers.set(TimerKey::Stats, Some(at(20)));
        assert_eq!(timers.next(), Some(at(10)));
        assert_eq!(
            due(&mut timers, at(25)),
            [TimerKey::Room(1), TimerKey::Stats]
        );
        assert_eq!(due(&mut timers, at(25)), []);
        assert_eq!(due(&mut timers, at(30)), [TimerKey::Peer(1)]);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_deadline_moves_both_ways() {
        let start = crate::testing::instant();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timers = Timers::default();
        timers.set(TimerKey::Peer(1), Some(at(50)));
        timers.set(TimerKey::Peer(1), Some(at(10)));
        timers.set(TimerKey::Peer(1), Some(at(40)));
        assert_eq!(due(&mut timers, at(39)), []);
        assert_eq!(timers.next(), Some(at(40)));
        assert_eq!(due(&mut timers, at(60)), [TimerKey::Peer(1)]);
        assert_eq!(due(&mut timers, at(60)), [], "the entry for 50 is void");
    }

    #[test]
    fn a_removed_key_never_comes() {
        let start = crate::testing::instant();
        let mut timers = Timers::default();
        timers.set(TimerKey::Peer(1), Some(start));
        timers.remove(TimerKey::Peer(1));
        assert_eq!(due(&mut timers, start), []);
    }

    #[test]
    fn moving_a_deadline_ahead_all_the_time_does_not_fill_the_heap() {
        let start = crate::testing::instant();
        let mut timers = Timers::default();
        for ms in 0..10_000 {
            let now = start + Duration::from_millis(ms);
            due(&mut timers, now);
            timers.set(TimerKey::Peer(1), Some(now + Duration::from_secs(1)));
        }
        assert!(timers.heap.len() <= 2);
    }
}
