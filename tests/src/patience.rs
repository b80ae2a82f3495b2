//! Scenarios in real time, which a machine that does too much at once can starve.
//!
//! Two browsers that encode, decode and draw need most of two cores. Where the host gives less for
//! a while, pictures stand still and clients give up, which says nothing about the server. Such a
//! scenario is played again from its start, with a server of its own. A fault of the server that
//! shows only now and then could hide behind that, so every failure is told.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Instant;

/// How often a scenario is played at most.
const RUNS: usize = 3;

/// Plays `scenario` until it passes. Panics with the failure of the last run.
pub fn in_real_time(scenario: impl Fn()) {
    for run in 1.. {
        let started = Instant::now();
        let Err(failure) = catch_unwind(AssertUnwindSafe(&scenario)) else {
            return;
        };
        eprintln!("run {run} of {RUNS} failed after {:?}", started.elapsed());
        if run == RUNS {
            resume_unwind(failure);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn what_passes_is_played_once() {
        let played = Cell::new(0);
        in_real_time(|| played.set(played.get() + 1));
        assert_eq!(played.get(), 1);
    }

    #[test]
    fn what_fails_once_is_played_again() {
        let played = Cell::new(0);
        in_real_time(|| {
            played.set(played.get() + 1);
            assert!(played.get() > 1, "starved");
        });
        assert_eq!(played.get(), 2);
    }

    #[test]
    fn what_always_fails_fails() {
        let played = Cell::new(0);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            in_real_time(|| {
                played.set(played.get() + 1);
                panic!("broken");
            });
        }));
        assert!(outcome.is_err());
        assert_eq!(played.get(), RUNS);
    }
}
