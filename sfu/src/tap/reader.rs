//! The end of a tap that the recorder reads, on a thread of its own.
//!
//! It may be as slow as it likes: the worker never waits for it. What it has read it gives back at
//! once, so that the worker finds the same arenas again.

use std::time::Instant;

use rtrb::{Consumer, Producer};

use super::Entry;
use super::arena::{Arena, Place};

/// Whether more may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TapState {
    /// The tap is attached, or will be.
    Live,
    /// It has been detached, and everything has been read.
    Ended,
    /// Its worker has lost it to a bug of ours, with what was under way: at most what arrives in
    /// [`HANDOVER_INTERVAL`](super::HANDOVER_INTERVAL) if this reader kept up.
    Lost,
}

/// The end that the recorder reads. To be asked every 20 ms or so; asking for nothing costs
/// nothing.
pub struct TapReader {
    full: Consumer<Arena>,
    empty: Producer<Arena>,
    origin: Instant,
    current: Option<Arena>,
    place: Place,
    has_ended: bool,
}

impl TapReader {
    pub(super) fn new(origin: Instant, full: Consumer<Arena>, empty: Producer<Arena>) -> Self {
        Self {
            full,
            empty,
            origin,
            current: None,
            place: Place::default(),
            has_ended: false,
        }
    }

    /// The next entry, if there is one. Never waits.
    pub fn read(&mut self) -> Option<Entry<'_>> {
        loop {
            let arena = self.current.as_ref();
            if arena.is_some_and(|arena| arena.has_more(self.place)) {
                let arena = self.current.as_ref()?;
                return arena.read(self.origin, &mut self.place);
            }
            self.give_back();
            self.current = Some(self.full.pop().ok()?);
        }
    }

    /// Whether more may come; to be asked when [`TapReader::read`] has nothing.
    pub fn state(&self) -> TapState {
        if self.has_ended {
            TapState::Ended
        } else if self.full.is_abandoned() && self.full.is_empty() && self.current.is_none() {
            TapState::Lost
        } else {
            TapState::Live
        }
    }

    fn give_back(&mut self) {
        self.place = Place::default();
        let Some(mut arena) = self.current.take() else {
            return;
        };
        self.has_ended |= arena.is_last;
        arena.clear();
        // There are never more arenas than places.
        let _fits = self.empty.push(arena);
    }
}

impl std::fmt::Debug for TapReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TapReader").finish_non_exhaustive()
    }
}
