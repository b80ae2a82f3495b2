//! The lanes of a worker to and from the others, and who must be woken.
//!
//! Frames go into a lane whatever the other worker does; its bell is rung once per batch, and only
//! if it sleeps. A worker that is about to sleep says so first and looks into its lanes once more
//! after that, so that a frame is either seen by it or rings. Nothing here waits.
#![expect(
    clippy::disallowed_types,
    reason = "workers share whether they sleep, and nothing else"
)]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use crate::id::WorkerId;
use crate::net::Wake;
use crate::relay::lane::{LaneIn, LaneOut, lane};
use crate::relay::{FRAMES_PER_TURN_MAX, RelayBatch};
use crate::slab::SlabBuffer;

/// What one worker holds of the others.
pub(crate) struct Neighbours {
    is_asleep: Arc<AtomicBool>,
    /// By worker; none at its own place.
    others: Vec<Option<Neighbour>>,
}

struct Neighbour {
    there: LaneIn,
    here: LaneOut,
    is_asleep: Arc<AtomicBool>,
    bell: Wake,
}

impl Neighbours {
    /// The neighbours of each of the workers that hear these bells.
    pub(crate) fn of_all(bells: &[Wake], frames_max: usize) -> io::Result<Vec<Self>> {
        let mut all: Vec<Self> = bells
            .iter()
            .map(|_| Self {
                is_asleep: Arc::default(),
                others: bells.iter().map(|_| None).collect(),
            })
            .collect();
        for one in 0..bells.len() {
            for other in 0..one {
                let (to_other, from_one) = lane(frames_max);
                let (to_one, from_other) = lane(frames_max);
                let neighbour = |there, here, of: usize, all: &[Self]| {
                    io::Result::Ok(Neighbour {
                        there,
                        here,
                        is_asleep: Arc::clone(&all[of].is_asleep),
                        bell: bells[of].try_clone()?,
                    })
                };
                all[one].others[other] = Some(neighbour(to_other, from_other, other, &all)?);
                all[other].others[one] = Some(neighbour(to_one, from_one, one, &all)?);
            }
        }
        Ok(all)
    }

    /// Hands a batch over and wakes its receiver if it sleeps. Returns how many frames found no
    /// place.
    pub(crate) fn send(&mut self, batch: &RelayBatch<'_>) -> u64 {
        let Some(Some(other)) = self.others.get_mut(usize::from(batch.to.0)) else {
            return batch.len() as u64;
        };
        let mut dropped = 0;
        for (frame, payload) in batch.iter() {
            dropped += u64::from(other.there.send(frame, payload).is_err());
        }
        // Between the frames and the look at the sleeper: the other side has the same between
        // saying that it sleeps and looking for frames.
        fence(Ordering::SeqCst);
        if other.is_asleep.swap(false, Ordering::SeqCst) {
            other.bell.ring();
        }
        dropped
    }

    /// Hands over what has come, with the worker that it came from. Returns whether there is more.
    pub(crate) fn receive(
        &mut self,
        mut take: impl FnMut(WorkerId, &mut SlabBuffer, usize),
    ) -> bool {
        let mut has_more = false;
        for (number, other) in (0..).zip(&mut self.others) {
            let Some(other) = other else {
                continue;
            };
            let from = WorkerId(number);
            for _ in 0..FRAMES_PER_TURN_MAX {
                if !other.here.receive(|buffer, len| take(from, buffer, len)) {
                    break;
                }
            }
            has_more |= !other.here.is_empty();
        }
        has_more
    }

    /// Says that this worker will sleep. False: something has come, it must not.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.is_asleep.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let is_quiet = self.others.iter().flatten().all(|one| one.here.is_empty());
        if !is_quiet {
            self.wake_up();
        }
        is_quiet
    }

    /// Says that this worker does not sleep any more.
    pub(crate) fn wake_up(&self) {
        self.is_asleep.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::PublicationId;
    use crate::relay::{Address, Frame, Outbox};
    use crate::slab::SlabPool;

    fn send(from: &mut Neighbours, to: u16, frames: usize) -> u64 {
        let mut pool = SlabPool::new(1);
        let mut outbox = Outbox::default();
        for place in 0..frames as u32 {
            let publication = PublicationId(1);
            let to_mirror = Address { place, publication };
            let frame = Frame::End { to: to_mirror };
            let queued = outbox.push(WorkerId(to), frame, None, 1_000);
            queued.expect("room for it");
        }
        let dropped = from.send(&outbox.take(&pool).expect("something waits"));
        outbox.reclaim(&mut pool);
        dropped
    }

    fn receive(at: &mut Neighbours) -> (Vec<u16>, bool) {
        let mut from = Vec::new();
        let has_more = at.receive(|worker, _, _| from.push(worker.0));
        (from, has_more)
    }

    fn neighbours(count: usize, frames_max: usize) -> Vec<Neighbours> {
        let bells: io::Result<Vec<_>> = (0..count).map(|_| Wake::new()).collect();
        Neighbours::of_all(&bells.expect("bells"), frames_max).expect("ropes")
    }

    #[test]
    fn frames_reach_the_worker_they_are_for_and_say_where_from() {
        let mut all = neighbours(3, 300);
        assert_eq!(send(&mut all[0], 2, 1), 0);
        assert_eq!(send(&mut all[1], 2, 2), 0);
        assert_eq!(receive(&mut all[0]), (vec![], false));
        assert_eq!(receive(&mut all[2]), (vec![0, 1, 1], false));
        assert_eq!(send(&mut all[2], 2, 1), 1, "not to itself");
        assert_eq!(send(&mut all[2], 7, 1), 1, "not to nobody");
    }

    #[test]
    fn a_full_lane_is_counted_and_a_turn_bounded() {
        let places = FRAMES_PER_TURN_MAX + 4;
        let mut all = neighbours(2, places);
        assert_eq!(send(&mut all[0], 1, places + 10), 10);
        let (first, has_more) = receive(&mut all[1]);
        assert_eq!((first.len(), has_more), (FRAMES_PER_TURN_MAX, true));
        let (rest, has_more) = receive(&mut all[1]);
        assert_eq!((rest.len(), has_more), (4, false));
    }

    #[test]
    fn only_a_sleeper_is_woken_and_nobody_sleeps_with_frames_waiting() {
        let mut all = neighbours(2, 10);
        assert!(all[1].fall_asleep());
        assert_eq!(send(&mut all[0], 1, 3), 0);
        assert!(!all[1].is_asleep.load(Ordering::SeqCst), "it was rung for");
        assert!(!all[1].fall_asleep(), "frames wait");
        assert!(!all[1].is_asleep.load(Ordering::SeqCst));
        assert_eq!(receive(&mut all[1]).0.len(), 3);
        assert!(all[1].fall_asleep());
    }
}
