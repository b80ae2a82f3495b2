//! What the archive counts, for whoever shows it to the operator.
//!
//! Plain atomics, so that reading them never waits for a disk and writing them costs the writer
//! thread nothing worth a name. They begin at zero with every process; what must outlive it is in
//! the journals, the manifests and the audit. No recording, room or person can be told from them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::journal::body::GapReason;
use crate::recording::Interruption;

/// Upper edges of the buckets of flushes in microseconds. The budget of a flush is the second that a
/// kill may cost; a healthy disk needs some milliseconds.
pub const FLUSH_EDGES_US: [u32; 12] = [
    1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000,
    5_000_000,
];

/// Every reason of a gap, with its word.
pub const GAP_REASONS: [(GapReason, &str); 7] = [
    (GapReason::Overflow, "overflow"),
    (GapReason::Stalled, "stalled"),
    (GapReason::Disk, "disk"),
    (GapReason::Consent, "consent"),
    (GapReason::Restart, "restart"),
    (GapReason::Worker, "worker"),
    (GapReason::Other, "other"),
];

/// Every reason of an interruption, with its word.
pub const INTERRUPTIONS: [(Interruption, &str); 3] = [
    (Interruption::DiskFull, "disk_full"),
    (Interruption::DiskError, "disk_error"),
    (Interruption::Stalled, "stalled"),
];

/// The counters that need no label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Recordings that were begun.
    Begun,
    /// Recordings that went on after they had lost their writer.
    Resumed,
    /// Recordings that were closed by their writer.
    Closed,
    /// Recordings that were closed by salvage, because their writer was lost.
    Salvaged,
    /// Recordings that expired.
    Expired,
    /// Packets that are durably in a journal.
    Packets,
    /// Bytes of their bodies, before sealing.
    Bytes,
    /// Files that the object store has and has shown to have.
    Uploaded,
    /// Recordings of which something could not be brought into the object store, by turn.
    UploadsFailed,
    /// Shares that were released for a replay.
    Released,
    /// Releases that were refused, whatever the reason.
    Refused,
    /// Lines of the audit or entries of the log that could not be written.
    AuditFailed,
}

/// What is more or less from moment to moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gauge {
    /// Recordings that have a writer.
    Open,
    /// Recordings of which nothing reaches the disk now.
    Interrupted,
    /// Files that wait for the object store.
    UploadsWaiting,
    /// 1 while the object store does not answer.
    UploadOutage,
}

/// How many there are of each.
const COUNTERS: usize = Counter::AuditFailed as usize + 1;
const GAUGES: usize = Gauge::UploadOutage as usize + 1;

/// The counters of one archive.
#[derive(Debug, Default)]
pub struct Counters {
    counters: [AtomicU64; COUNTERS],
    gauges: [AtomicU64; GAUGES],
    gaps: [AtomicU64; GAP_REASONS.len()],
    interruptions: [AtomicU64; INTERRUPTIONS.len()],
    flushes: [AtomicU64; FLUSH_EDGES_US.len() + 1],
    flush_us: AtomicU64,
}

/// All of it at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    counters: [u64; COUNTERS],
    gauges: [u64; GAUGES],
    gaps: [u64; GAP_REASONS.len()],
    interruptions: [u64; INTERRUPTIONS.len()],
    flushes: [u64; FLUSH_EDGES_US.len() + 1],
    flush_us: u64,
}

impl Counters {
    /// Counts one more.
    pub fn count(&self, what: Counter) {
        self.add(what, 1);
    }

    /// Counts so many more.
    pub fn add(&self, what: Counter, many: u64) {
        self.counters[what as usize].fetch_add(many, Ordering::Relaxed);
    }

    /// There is one more.
    pub fn rise(&self, what: Gauge) {
        self.gauges[what as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// There is one less.
    pub fn fall(&self, what: Gauge) {
        let before = self.gauges[what as usize].fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "{what:?} fell below zero");
    }

    /// There are so many.
    pub fn set(&self, what: Gauge, many: u64) {
        self.gauges[what as usize].store(many, Ordering::Relaxed);
    }

    /// Something is missing in a recording.
    pub fn gap(&self, why: GapReason) {
        let at = GAP_REASONS.iter().position(|(reason, _)| *reason == why);
        self.gaps[at.expect("every reason is listed")].fetch_add(1, Ordering::Relaxed);
    }

    /// Nothing of a recording reaches the disk any more.
    pub fn interrupted(&self, why: Interruption) {
        let at = INTERRUPTIONS.iter().position(|(reason, _)| *reason == why);
        self.interruptions[at.expect("every reason is listed")].fetch_add(1, Ordering::Relaxed);
    }

    /// The disk has acknowledged a flush after so long.
    pub fn flushed(&self, after: Duration) {
        let edge = |&edge: &u32| Duration::from_micros(edge.into()) < after;
        let bucket = FLUSH_EDGES_US.partition_point(edge);
        self.flushes[bucket].fetch_add(1, Ordering::Relaxed);
        let us = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        self.flush_us.fetch_add(us, Ordering::Relaxed);
    }

    /// All of it, as it stands now.
    pub fn figures(&self) -> Figures {
        fn read<const N: usize>(all: &[AtomicU64; N]) -> [u64; N] {
            std::array::from_fn(|at| all[at].load(Ordering::Relaxed))
        }
        Figures {
            counters: read(&self.counters),
            gauges: read(&self.gauges),
            gaps: read(&self.gaps),
            interruptions: read(&self.interruptions),
            flushes: read(&self.flushes),
            flush_us: self.flush_us.load(Ordering::Relaxed),
        }
    }
}

impl Figures {
    /// A counter.
    pub fn count(&self, what: Counter) -> u64 {
        self.counters[what as usize]
    }

    /// A gauge.
    pub fn gauge(&self, what: Gauge) -> u64 {
        self.gauges[what as usize]
    }

    /// Gaps by the word for their reason.
    pub fn gaps(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.gaps.iter().copied();
        GAP_REASONS.iter().map(|(_, word)| *word).zip(counts)
    }

    /// Interruptions by the word for their reason.
    pub fn interruptions(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.interruptions.iter().copied();
        INTERRUPTIONS.iter().map(|(_, word)| *word).zip(counts)
    }

    /// For each edge how many flushes took at most so long; the last number is all of them.
    pub fn flushes(&self) -> impl Iterator<Item = (Option<u32>, u64)> {
        let edges = FLUSH_EDGES_US.into_iter().map(Some).chain([None]);
        let sums = self.flushes.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        edges.zip(sums)
    }

    /// What all flushes took together.
    pub fn flush_total(&self) -> Duration {
        Duration::from_micros(self.flush_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_shown_at_its_place_and_nowhere_else() {
        let counters = Counters::default();
        counters.count(Counter::Begun);
        counters.add(Counter::AuditFailed, 3);
        counters.rise(Gauge::Open);
        counters.rise(Gauge::Open);
        counters.fall(Gauge::Open);
        counters.set(Gauge::UploadOutage, 1);
        counters.gap(GapReason::Disk);
        counters.interrupted(Interruption::Stalled);
        let shown = counters.figures();
        let counts = [Counter::Begun, Counter::Refused, Counter::AuditFailed];
        assert_eq!(counts.map(|what| shown.count(what)), [1, 0, 3]);
        let gauges = [Gauge::Open, Gauge::Interrupted, Gauge::UploadOutage];
        assert_eq!(gauges.map(|what| shown.gauge(what)), [1, 0, 1]);
        let gaps: Vec<_> = shown.gaps().filter(|(_, many)| *many > 0).collect();
        assert_eq!(gaps, [("disk", 1)]);
        let stops: Vec<_> = shown
            .interruptions()
            .filter(|(_, many)| *many > 0)
            .collect();
        assert_eq!(stops, [("stalled", 1)]);
    }

    #[test]
    fn a_flush_is_counted_at_every_edge_that_it_does_not_exceed() {
        let counters = Counters::default();
        counters.flushed(Duration::from_millis(5));
        counters.flushed(Duration::from_millis(6));
        counters.flushed(Duration::from_secs(60));
        let shown = counters.figures();
        let at = |edge| {
            let mut all = shown.flushes();
            all.find(|(at, _)| *at == edge).expect("an edge").1
        };
        assert_eq!(
            [at(Some(2_000)), at(Some(5_000)), at(Some(10_000))],
            [0, 1, 2]
        );
        assert_eq!([at(Some(5_000_000)), at(None)], [2, 3]);
        assert_eq!(shown.flush_total(), Duration::from_millis(60_011));
    }

    #[test]
    fn words_of_gaps_are_those_of_the_manifest() {
        for (reason, word) in GAP_REASONS {
            let written = serde_json::to_string(&reason).expect("a word");
            assert_eq!(written, format!("\"{word}\""));
        }
    }
}
