//! How much memory taps may take: one bound for each recording, one for the process.
//!
//! Counted where an arena is made or freed, which in steady state is never; that is why two
//! threads may share these two numbers.
#![expect(
    clippy::disallowed_types,
    reason = "the bound of the process is one number for all threads, touched once per arena"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::GapReason;
use crate::config::Limits;
use crate::slab::SLAB_BYTES;

/// The least that an arena holds: any packet, and what is said about it.
const ARENA_BYTES_MIN: usize = 2 * SLAB_BYTES;

/// What all taps of the process take together.
#[derive(Clone, Debug)]
pub struct TapMemory {
    process: Arc<Bound>,
    recording_bytes_max: usize,
    arena_bytes: usize,
}

/// What the taps of one recording take, on all workers together.
#[derive(Clone, Debug)]
pub struct RecordingMemory {
    process: Arc<Bound>,
    recording: Arc<Bound>,
    arena_bytes: usize,
}

/// The memory of one arena, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Claim(RecordingMemory);

#[derive(Debug)]
struct Bound {
    used: AtomicUsize,
    max: usize,
}

impl TapMemory {
    /// The bounds that `limits` names, with nothing taken.
    pub fn new(limits: &Limits) -> Self {
        Self {
            process: Arc::new(Bound::new(limits.tap_bytes_max)),
            recording_bytes_max: limits.tap_recording_bytes_max,
            arena_bytes: limits.tap_arena_bytes.max(ARENA_BYTES_MIN),
        }
    }

    /// The share of one more recording.
    pub fn recording(&self) -> RecordingMemory {
        RecordingMemory {
            process: Arc::clone(&self.process),
            recording: Arc::new(Bound::new(self.recording_bytes_max)),
            arena_bytes: self.arena_bytes,
        }
    }

    /// Bytes that are taken now.
    pub fn used(&self) -> usize {
        self.process.used.load(Ordering::Relaxed)
    }
}

impl RecordingMemory {
    /// Bytes that are taken now.
    pub fn used(&self) -> usize {
        self.recording.used.load(Ordering::Relaxed)
    }

    pub(super) fn arena_bytes(&self) -> usize {
        self.arena_bytes
    }

    /// More arenas than this there will never be.
    pub(super) fn arenas_max(&self) -> usize {
        (self.recording.max / self.arena_bytes).max(1)
    }

    pub(super) fn claim(&self) -> Result<Claim, GapReason> {
        if !self.recording.take(self.arena_bytes) {
            return Err(GapReason::RecordingMemory);
        }
        if !self.process.take(self.arena_bytes) {
            self.recording.give(self.arena_bytes);
            return Err(GapReason::ProcessMemory);
        }
        Ok(Claim(self.clone()))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.recording.give(self.0.arena_bytes);
        self.0.process.give(self.0.arena_bytes);
    }
}

impl Bound {
    fn new(max: usize) -> Self {
        Self {
            used: AtomicUsize::new(0),
            max,
        }
    }

    fn take(&self, bytes: usize) -> bool {
        let fits = |used: usize| Some(used + bytes).filter(|&used| used <= self.max);
        let taken = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        taken.is_ok()
    }

    fn give(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_bounds_hold_and_what_is_given_back_can_be_taken_again() {
        let limits = Limits {
            tap_arena_bytes: 4096,
            tap_recording_bytes_max: 8192,
            tap_bytes_max: 12_288,
            ..Limits::default()
        };
        let memory = TapMemory::new(&limits);
        let (one, two) = (memory.recording(), memory.recording());
        let first = one.claim().expect("within both");
        let _second = one.claim().expect("within both");
        assert_eq!(one.claim().err(), Some(GapReason::RecordingMemory));
        let _third = two.claim().expect("within both");
        assert_eq!(two.claim().err(), Some(GapReason::ProcessMemory));
        assert_eq!(
            (one.used(), two.used(), memory.used()),
            (8192, 4096, 12_288)
        );
        drop(first);
        assert!(two.claim().is_ok());
        assert_eq!(memory.used(), 8192);
    }
}
