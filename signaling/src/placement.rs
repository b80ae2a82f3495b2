//! Which worker has a room, and since when.
//!
//! One function decides. Each placement gets an epoch of its own, and every command to the media
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
    fn every_placement_is_newer_than_those_before() {
        assert!(place(&[0.0], &[]).epoch < place(&[0.0], &[]).epoch);
    }
}
