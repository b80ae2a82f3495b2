//! Over which workers a room is spread, and what each of them is told.
//!
//! A room is opened on a worker when its first transport goes there, under the one epoch of its
//! placement, and stays open there until it ends. Where a transport goes is decided once, by
//! [`placement`]; here it is remembered, and the commands are kept in order.

use sfu::id::WorkerId;
use sfu::shard::command::Command;

use crate::placement;

/// The workers of a room.
#[derive(Debug)]
pub struct Spread {
    home: WorkerId,
    spill_busy_share: f32,
    /// The share of time that each worker works, as far as known.
    busy: Vec<f32>,
    /// Where the room is open.
    opened: Vec<bool>,
    commands: Vec<(WorkerId, Command)>,
}

impl Spread {
    /// A room that is open at home, which is one of so many workers.
    pub fn new(home: WorkerId, workers: usize, spill_busy_share: f32) -> Self {
        let workers = workers.max(usize::from(home.0) + 1);
        let mut spread = Self {
            home,
            spill_busy_share,
            busy: vec![0.0; workers],
            opened: vec![false; workers],
            commands: Vec::new(),
        };
        spread.open(home);
        spread
    }

    /// How busy the workers are now.
    pub fn note_busy(&mut self, busy: impl Iterator<Item = f32>) {
        for (known, now) in self.busy.iter_mut().zip(busy) {
            *known = now;
        }
    }

    /// The worker for one more transport, beside those that are on `here` already.
    pub fn choose(&mut self, here: impl Iterator<Item = WorkerId>) -> WorkerId {
        let mut count = vec![0; self.busy.len()];
        here.for_each(|worker| count[usize::from(worker.0)] += 1);
        let worker = placement::seat(&self.busy, &count, self.home, self.spill_busy_share);
        self.open(worker);
        worker
    }

    /// Tells a worker something.
    pub fn send(&mut self, worker: WorkerId, command: Command) {
        self.commands.push((worker, command));
    }

    /// What has not been handed on yet.
    pub fn take_commands(&mut self) -> Vec<(WorkerId, Command)> {
        std::mem::take(&mut self.commands)
    }

    /// Where the room is open.
    pub fn workers(&self) -> impl Iterator<Item = WorkerId> {
        let opened = (0..).zip(&self.opened);
        opened.filter_map(|(number, is_open)| is_open.then_some(WorkerId(number)))
    }

    /// A worker has lost the room. Says whether it is open on another.
    pub fn lose(&mut self, worker: WorkerId) -> bool {
        if let Some(is_open) = self.opened.get_mut(usize::from(worker.0)) {
            *is_open = false;
        }
        self.commands.retain(|(to, _)| *to != worker);
        self.workers().next().is_some()
    }

    /// Somebody comes whose transport is on this worker already.
    pub fn extend(&mut self, worker: WorkerId) {
        self.open(worker);
    }

    fn open(&mut self, worker: WorkerId) {
        if !std::mem::replace(&mut self.opened[usize::from(worker.0)], true) {
            self.send(worker, Command::OpenRoom);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(spread: &mut Spread) -> Vec<u16> {
        let commands = spread.take_commands().into_iter();
        commands
            .map(|(worker, command)| match command {
                Command::OpenRoom => worker.0,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn a_room_is_opened_once_where_it_is_needed() {
        let mut spread = Spread::new(WorkerId(1), 3, 0.6);
        assert_eq!(opened(&mut spread), [1]);
        assert_eq!(spread.choose([WorkerId(1)].into_iter()), WorkerId(1));
        assert_eq!(opened(&mut spread), [0_u16; 0]);
        spread.note_busy([0.5, 0.7, 0.2].into_iter());
        for _ in 0..2 {
            assert_eq!(spread.choose([WorkerId(1)].into_iter()), WorkerId(2));
        }
        assert_eq!(opened(&mut spread), [2]);
        assert_eq!(
            spread.workers().collect::<Vec<_>>(),
            [WorkerId(1), WorkerId(2)]
        );
    }

    #[test]
    fn a_lost_room_is_opened_anew_and_is_not_told_what_was_for_the_old() {
        let mut spread = Spread::new(WorkerId(0), 2, 0.0);
        spread.choose([WorkerId(0)].into_iter());
        assert!(spread.lose(WorkerId(0)));
        assert_eq!(opened(&mut spread), [1]);
        assert_eq!(spread.choose([WorkerId(1)].into_iter()), WorkerId(0));
        assert_eq!(opened(&mut spread), [0]);
        assert!(spread.lose(WorkerId(1)));
        assert!(!spread.lose(WorkerId(0)));
    }
}
