//! How long forwarded datagrams were inside: from when they could first be read to when the system
//! call that sent them came back.
//!
//! A histogram with fixed edges, counted once per batch with the number of its datagrams, so that
//! it costs one more look at the clock per batch and nothing per packet. Everything in a batch is
//! given the time at which its last datagram left: the figures err to the worse.

use std::time::Duration;

/// Upper edges of the buckets in microseconds; longer delays are in one more. Close together
/// around 0.3 ms and 1 ms, which half and 99 of 100 packets shall not exceed.
pub const EDGES_US: [u32; 20] = [
    25, 50, 75, 100, 150, 200, 250, 300, 400, 500, 750, 1_000, 1_500, 2_000, 3_000, 5_000, 10_000,
    20_000, 50_000, 200_000,
];

/// Counts of datagrams by delay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DelayHistogram {
    counts: [u64; EDGES_US.len() + 1],
    total_ns: u64,
}

impl DelayHistogram {
    /// Counts `datagrams` that took so long.
    pub fn note(&mut self, delay: Duration, datagrams: u64) {
        let bucket = EDGES_US.partition_point(|&edge| Duration::from_micros(edge.into()) < delay);
        self.counts[bucket] += datagrams;
        let ns = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        self.total_ns = self.total_ns.saturating_add(ns.saturating_mul(datagrams));
    }

    /// For each edge how many datagrams took at most so long; the last number is all of them.
    pub fn cumulative(&self) -> impl Iterator<Item = (Option<u32>, u64)> {
        let edges = EDGES_US.into_iter().map(Some).chain([None]);
        let sums = self.counts.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        edges.zip(sums)
    }

    /// All delays added up, in nanoseconds.
    pub fn total_ns(&self) -> u64 {
        self.total_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_counted_at_every_edge_that_it_does_not_exceed() {
        let mut delays = DelayHistogram::default();
        delays.note(Duration::from_micros(25), 2);
        delays.note(Duration::from_micros(301), 3);
        delays.note(Duration::from_secs(9), 1);
        let at = |edge| {
            let mut all = delays.cumulative();
            all.find(|(at, _)| *at == edge).expect("an edge").1
        };
        assert_eq!([at(Some(25)), at(Some(300)), at(Some(400))], [2, 2, 5]);
        assert_eq!([at(Some(200_000)), at(None)], [5, 6]);
        assert_eq!(delays.total_ns(), 50_000 + 903_000 + 9_000_000_000);
    }
}
