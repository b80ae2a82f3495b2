//! Which packets a publisher is asked to send again, and when.
//!
//! A number that is skipped becomes a loss after a moment of grace for reordering; it is asked for
//! at growing distances until it arrives, until it is too old to be of use, or until it has been
//! asked for often enough. The list is short: whoever loses more than it holds needs a keyframe,
//! not packets.

use std::time::{Duration, Instant};

use crate::unit::SeqNo;

/// Losses that are pursued at once.
pub const LOSSES_MAX: usize = 128;

/// A packet may be overtaken by others for so long before it counts as lost.
const REORDER_GRACE: Duration = Duration::from_millis(10);

/// After this a packet is no use to a live picture any more.
const AGE_MAX: Duration = Duration::from_millis(1000);

/// Requests for one packet.
const TRIES_MAX: u32 = 8;

/// The first repetition comes no sooner, whatever the round trip.
const REPEAT_MIN: Duration = Duration::from_millis(30);

#[derive(Clone, Copy, Debug)]
struct Loss {
    seq: SeqNo,
    noticed: Instant,
    tries: u32,
    asked: Instant,
    due: Instant,
}

/// The losses of one layer, in the order of their numbers.
#[derive(Debug)]
pub struct Losses {
    pending: Vec<Loss>,
    given_up: u64,
}

impl Losses {
    /// None yet.
    pub fn new() -> Self {
        Self {
            pending: Vec::with_capacity(LOSSES_MAX),
            given_up: 0,
        }
    }

    /// The numbers between `highest` and `seq` were skipped. Returns `false` if these are too many
    /// to pursue; then all are given up.
    pub fn skipped(&mut self, now: Instant, highest: SeqNo, seq: SeqNo) -> bool {
        let count = (seq.0 - highest.0).saturating_sub(1) as usize;
        if self.pending.len() + count > LOSSES_MAX {
            self.given_up += (self.pending.len() + count) as u64;
            self.pending.clear();
            return false;
        }
        self.pending
            .extend((highest.0 + 1..seq.0).map(|number| Loss {
                seq: SeqNo(number),
                noticed: now,
                tries: 0,
                asked: now,
                due: now + REORDER_GRACE,
            }));
        true
    }

    /// A packet has arrived. If it had been asked for once, returns how long the answer took: the
    /// round trip to the publisher (a second request would leave open which one was answered).
    pub fn arrived(&mut self, now: Instant, seq: SeqNo) -> Option<Duration> {
        let index = self
            .pending
            .binary_search_by_key(&seq, |loss| loss.seq)
            .ok()?;
        let loss = self.pending.remove(index);
        (loss.tries == 1).then(|| now.saturating_duration_since(loss.asked))
    }

    /// Whether nothing is missing.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// When something is next to be asked for.
    pub fn due(&self) -> Option<Instant> {
        self.pending.iter().map(|loss| loss.due).min()
    }

    /// Calls `ask` with every number that is to be asked for now, ascending.
    pub fn take_due(&mut self, now: Instant, round_trip: Duration, mut ask: impl FnMut(SeqNo)) {
        let given_up = &mut self.given_up;
        self.pending.retain_mut(|loss| {
            if now.saturating_duration_since(loss.noticed) > AGE_MAX {
                *given_up += 1;
                return false;
            }
            if loss.due > now {
                return true;
            }
            ask(loss.seq);
            loss.tries += 1;
            loss.asked = now;
            // Growing by half a round trip: the answer may itself wait in a queue.
            let patience = (round_trip + round_trip * loss.tries / 2).max(REPEAT_MIN);
            loss.due = now + patience;
            let is_last = loss.tries >= TRIES_MAX;
            *given_up += u64::from(is_last);
            !is_last
        });
    }

    /// How many packets were not pursued any further: all but a few of them never came.
    pub fn given_up(&self) -> u64 {
        self.given_up
    }

    /// Forgets all: the numbering starts anew.
    pub fn clear(&mut self) {
        self.pending.clear();
    }
}

impl Default for Losses {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(50);

    fn asked(losses: &mut Losses, now: Instant) -> Vec<u64> {
        let mut numbers = Vec::new();
        losses.take_due(now, ROUND_TRIP, |seq| numbers.push(seq.0));
        numbers
    }

    #[test]
    fn a_packet_that_is_only_late_is_not_asked_for() {
        let start = crate::testing::instant();
        let mut losses = Losses::new();
        assert!(losses.skipped(start, SeqNo(70_000), SeqNo(70_003)));
        assert_eq!(asked(&mut losses, start), []);
        assert_eq!(losses.arrived(start, SeqNo(70_001)), None);
        assert_eq!(losses.due(), Some(start + REORDER_GRACE));
        let asked_at = start + REORDER_GRACE;
        assert_eq!(asked(&mut losses, asked_at), [70_002]);
        let answered = losses.arrived(asked_at + ROUND_TRIP, SeqNo(70_002));
        assert_eq!(answered, Some(ROUND_TRIP));
    }

    #[test]
    fn requests_are_repeated_at_growing_distances_and_end() {
        let start = crate::testing::instant();
        let mut losses = Losses::new();
        losses.skipped(start, SeqNo(70_000), SeqNo(70_002));
        let mut times = Vec::new();
        for ms in 0..3000 {
            let now = start + Duration::from_millis(ms);
            if !asked(&mut losses, now).is_empty() {
                times.push(ms);
            }
        }
        let distances: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(times[0], 10);
        assert!(distances.is_sorted(), "{distances:?}");
        assert!(times.len() <= TRIES_MAX as usize && times.len() >= 4);
        assert!(*times.last().expect("asked at least once") <= 1000);
        assert_eq!(losses.due(), None);
    }

    #[test]
    fn too_many_losses_are_given_up_together() {
        let start = crate::testing::instant();
        let mut losses = Losses::new();
        losses.skipped(start, SeqNo(70_000), SeqNo(70_010));
        assert!(!losses.skipped(start, SeqNo(70_010), SeqNo(75_000)));
        assert_eq!(losses.due(), None);
    }
}
