//! Which worker has a room, and since when, and which other worker takes over a part of it.
//!
//! One pure function decides on a room and one on each transport in it. Each placement gets an epoch of its own, and every command to the media
//! plane carries it: whoever steers by an older placement is refused there.

use std::sync::atomic::{AtomicU64, Ordering};

use sfu::id::{Epoch, WorkerId};

/// Where a room is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The worker that has it.
    pub worker: WorkerId,
    /// How often rooms had been placed before, which orders placements.
    pub epoch: Epoch,
}

static EPOCHS: AtomicU64 = AtomicU64::new(1);

/// Places a room on the least busy worker; `busy` is each worker's share of time spent working and
/// has at least one element. Of equals the one with fewer `rooms` is taken, so that rooms that open
/// together do not all land on one worker.
pub fn place(busy: &[f32], rooms: &[usize]) -> Placement {
    let rooms = |worker: usize| rooms.get(worker).copied().unwrap_or(0);
    // Differences below a tenth are noise of the last second.
    let cost = |worker: usize| ((busy[worker] * 10.0) as i32, rooms(worker));
    let worker = (0..busy.len())
        .min_by_key(|worker| cost(*worker))
        .expect("the media plane has at least one worker");
    Placement {
        worker: WorkerId(worker as u16),
        epoch: Epoch(EPOCHS.fetch_add(1, Ordering::Relaxed)),
    }
}

/// The worker for one more transport of a room that began on `home`. It goes there, until that is
/// busy for `spill_busy_share` of its time; then to another that is less busy than that, rather to
/// one that has a part of the room already, because each publication crosses once per worker. If
/// all are too busy, the least busy takes it. `busy` is each worker's share of time spent working,
/// `here` how many transports of the room each has. A share of 0 spreads every room evenly,
/// whatever the load.
pub fn seat(busy: &[f32], here: &[usize], home: WorkerId, spill_busy_share: f32) -> WorkerId {
    let here = |worker: usize| here.get(worker).copied().unwrap_or(0);
    let is_other = |worker: usize| worker != usize::from(home.0);
    let tenths = |worker: usize| (busy[worker] * 10.0) as i32;
    let workers = 0..busy.len();
    let is_free = |worker: &usize| busy[*worker] < spill_busy_share;
    let best = if workers.clone().any(|worker| is_free(&worker)) {
        let by_cost = |&worker: &usize| (is_other(worker), here(worker) == 0, tenths(worker));
        workers.filter(is_free).min_by_key(by_cost)
    } else {
        let is_even = spill_busy_share <= 0.0;
        let by_cost = |&worker: &usize| {
            let load = if is_even { 0 } else { tenths(worker) };
            (load, here(worker), is_other(worker))
        };
        workers.min_by_key(by_cost)
    };
    best.map_or(home, |worker| WorkerId(worker as u16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_busy_worker_gets_the_room() {
        assert_eq!(place(&[0.9, 0.2, 0.5], &[0, 7, 0]).worker, WorkerId(1));
    }

    #[test]
    fn idle_workers_take_turns() {
        assert_eq!(place(&[0.01, 0.02], &[1, 0]).worker, WorkerId(1));
        assert_eq!(place(&[0.02, 0.01], &[1, 1]).worker, WorkerId(0));
    }

    #[test]
    fn a_room_stays_together_while_its_worker_has_time() {
        let seat = |busy: &[f32]| seat(busy, &[7, 0, 0], WorkerId(0), 0.6);
        assert_eq!(seat(&[0.59, 0.0, 0.0]), WorkerId(0));
        assert_eq!(seat(&[0.6, 0.5, 0.3]), WorkerId(2));
        assert_eq!(seat(&[0.8, 0.95, 0.9]), WorkerId(0), "all are too busy");
        assert_eq!(seat(&[0.9, 0.95, 0.8]), WorkerId(2), "all are too busy");
        assert_eq!(seat(&[0.9]), WorkerId(0), "there is no other");
    }

    #[test]
    fn a_room_that_spills_keeps_to_the_workers_it_has() {
        let seat = |busy: &[f32]| seat(busy, &[7, 1, 0], WorkerId(0), 0.6);
        assert_eq!(seat(&[0.7, 0.5, 0.1]), WorkerId(1));
        assert_eq!(seat(&[0.7, 0.6, 0.1]), WorkerId(2));
        assert_eq!(seat(&[0.2, 0.1, 0.1]), WorkerId(0), "and comes home again");
    }

    #[test]
    fn a_share_of_nothing_spreads_every_room_evenly() {
        let mut here = [0; 3];
        for round in 0..9 {
            let busy = [0.9, 0.0, 0.1 * round as f32];
            here[usize::from(seat(&busy, &here, WorkerId(1), 0.0).0)] += 1;
            assert!(here.iter().max() <= here.iter().min().map(|min| min + 1).as_ref());
        }
        assert_eq!(here, [3, 3, 3]);
    }

    #[test]
    fn every_placement_is_newer_than_those_before() {
        assert!(place(&[0.0], &[]).epoch < place(&[0.0], &[]).epoch);
    }
}
