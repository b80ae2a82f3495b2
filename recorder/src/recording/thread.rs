//! The two threads of a recording: one writes, one sees whether the first is stuck.
//!
//! The writer drains facts before taps, so that what was told before a packet could arrive is known
//! when it is read. It may be held up by the disk for as long as that takes; nobody waits for it.

use std::io;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use sfu::tap::{TapReader, TapState};

use super::scribe::Scribe;
use super::{Clock, Closer, Closing, Inbox, Recording, Report, Shared};
use crate::counters::{Counters, Gauge};
use crate::wall::Wall;

/// How often taps are looked at: with the tap's own 100 ms and the flush of a second, what a kill
/// may cost.
const TURN: Duration = Duration::from_millis(20);

/// Entries that are taken in before the next look at what is due: some milliseconds of sealing.
const ENTRIES_MAX: usize = 20_000;

/// How long a recording that ends waits for taps that have not been detached.
const TAPS_WAIT: Duration = Duration::from_secs(2);

/// How often the writer's pulse is felt.
const WATCH: Duration = Duration::from_millis(250);

/// A closing that fails is tried again after so long, and not for ever: salvage closes the rest at
/// the next start.
const CLOSE_RETRY: Duration = Duration::from_secs(1);
const CLOSE_TRIES: u32 = 60;

/// Starts both threads. They end with the recording.
pub(super) fn spawn(
    recording: &Recording,
    scribe: Scribe,
    clock: Clock,
    closer: Closer,
    counters: &Arc<Counters>,
) -> io::Result<()> {
    let writer = Writer {
        shared: Arc::clone(&recording.0),
        scribe,
        clock,
        closer,
        taps: Vec::new(),
        _open: Open::new(counters),
    };
    thread::Builder::new()
        .name("recording".into())
        .spawn(move || writer.run())?;
    let watched = Arc::downgrade(&recording.0);
    thread::Builder::new()
        .name("recording-watch".into())
        .stack_size(64 * 1024)
        .spawn(move || watch(&watched))?;
    Ok(())
}

/// Says that a writer is stuck, and that it is not any more.
fn watch(shared: &Weak<Shared>) {
    loop {
        thread::sleep(WATCH);
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let bound = Duration::from_millis(u64::from(shared.limits.stall_millis));
        let is_stalled = shared.silence() >= bound;
        let mut standing = shared.standing();
        if standing.is_closed {
            return;
        }
        if standing.is_stalled != is_stalled {
            standing.stalled(is_stalled);
        }
    }
}

struct Writer {
    shared: Arc<Shared>,
    scribe: Scribe,
    clock: Clock,
    closer: Closer,
    taps: Vec<TapReader>,
    _open: Open,
}

/// A recording is counted as open for as long as it has a writer, however that ends.
struct Open(Arc<Counters>);

impl Open {
    fn new(counters: &Arc<Counters>) -> Self {
        counters.rise(Gauge::Open);
        Self(Arc::clone(counters))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fall(Gauge::Open);
    }
}

impl Writer {
    fn run(mut self) {
        let reason = loop {
            let stop = self.turn();
            if let Some(reason) = stop {
                break reason;
            }
        };
        self.drain_taps_to_their_end();
        self.close(&reason);
    }

    /// One look at everything. The reason, if the recording is to end.
    fn turn(&mut self) -> Option<String> {
        let stop = self.take_inbox();
        let is_busy = self.drain_taps();
        self.scribe.turn(Instant::now(), self.wall());
        self.report();
        if stop.is_none() && !is_busy {
            self.wait();
        }
        stop
    }

    fn take_inbox(&mut self) -> Option<String> {
        let Inbox {
            facts,
            taps,
            overflow,
            stop,
        } = std::mem::take(&mut *self.shared.inbox());
        for (at, fact, ticket) in facts {
            self.scribe.fact(at, fact, ticket);
        }
        self.taps.extend(taps);
        if let Some((from, until)) = overflow {
            self.scribe.overflowed(from, until);
        }
        stop
    }

    /// Takes in what taps hold. True: there is more.
    fn drain_taps(&mut self) -> bool {
        let mut left = ENTRIES_MAX;
        for tap in &mut self.taps {
            while left > 0
                && let Some(entry) = tap.read()
            {
                self.scribe.entry(&entry);
                left -= 1;
            }
        }
        if left > 0 {
            let lost = self
                .taps
                .iter()
                .filter(|tap| tap.state() == TapState::Lost)
                .count();
            (0..lost).for_each(|_| self.scribe.tap_lost(Instant::now()));
            self.taps.retain(|tap| tap.state() == TapState::Live);
        }
        left == 0
    }

    fn report(&mut self) {
        let reports = self.scribe.take_reports();
        self.shared.beat();
        let is_short = self.scribe.is_short_of_room();
        self.shared
            .is_short_of_room
            .store(is_short, std::sync::atomic::Ordering::Relaxed);
        if !reports.is_empty() {
            let mut standing = self.shared.standing();
            reports
                .into_iter()
                .for_each(|report| standing.report(report));
        }
    }

    fn wait(&self) {
        let inbox = self.shared.inbox();
        let has_news =
            inbox.stop.is_some() || inbox.facts.iter().any(|(_, _, ticket)| ticket.is_some());
        if !has_news {
            // Woken, late or for nothing: the next turn looks at everything in any case.
            let _woken = self.shared.woken.wait_timeout(inbox, TURN);
        }
    }

    fn wall(&self) -> Wall {
        Wall::from((self.clock)())
    }

    fn drain_taps_to_their_end(&mut self) {
        let until = Instant::now() + TAPS_WAIT;
        while !self.taps.is_empty() && Instant::now() < until {
            if !self.drain_taps() {
                thread::sleep(TURN);
            }
            self.scribe.turn(Instant::now(), self.wall());
            self.report();
        }
        self.taps.clear();
    }

    fn close(&mut self, reason: &str) {
        let Some(closing) = self.close_journal(reason) else {
            return;
        };
        let is_closed = try_again(|| {
            let closed = (self.closer)(&closing).is_ok();
            self.shared.beat();
            closed
        });
        if is_closed {
            // The manifest says all of it; whoever finds both takes the manifest's word.
            let _says_no_more = self.scribe.remove_summary();
            self.shared.standing().report(Report::Closed);
        }
    }

    fn close_journal(&mut self, reason: &str) -> Option<Closing> {
        let mut closing = None;
        try_again(|| {
            let ended = self.scribe.close(Instant::now(), reason);
            self.report();
            if let Ok(ended) = ended {
                closing = Some(Closing {
                    recording: self.shared.recording,
                    folder: self.scribe.folder().to_owned(),
                    reason: reason.to_owned(),
                    closed: ended.at,
                    duration_us: ended.duration_us,
                    contents: ended.contents,
                });
            }
            closing.is_some()
        });
        closing
    }
}

fn try_again(mut attempt: impl FnMut() -> bool) -> bool {
    for _ in 0..CLOSE_TRIES {
        if attempt() {
            return true;
        }
        thread::sleep(CLOSE_RETRY);
    }
    false
}
