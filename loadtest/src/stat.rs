//! Numbers out of many samples: medians of rounds, and a histogram for delays.
//!
//! The histogram has a relative error under 2 % over its whole range, a fixed size, and can be
//! merged, so that every thread keeps its own and a soak of hours needs no more memory.

use serde::Serialize;

/// The middle value (of an even number, the lower of the two in the middle); 0 of none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
        .get(sorted.len().saturating_sub(1) / 2)
        .copied()
        .unwrap_or(0.0)
}

/// Sub-buckets per power of two.
const STEPS: u64 = 64;
/// Powers of two above `STEPS`: up to 2^36 microseconds, 19 hours.
const OCTAVES: u64 = 30;

/// Counts of microseconds by size.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; (STEPS * (OCTAVES + 1)) as usize],
            total: 0,
            max: 0,
        }
    }
}

impl Histogram {
    /// Counts one sample.
    pub(crate) fn record(&mut self, micros: u64) {
        self.counts[bucket(micros)] += 1;
        self.total += 1;
        self.max = self.max.max(micros);
    }

    /// Takes over the samples of `other`.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// The value that `share` (0 to 1) of the samples do not exceed; 0 without samples.
    pub(crate) fn quantile(&self, share: f64) -> u64 {
        let rank = ((self.total as f64 * share).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper_edge(index).min(self.max);
            }
        }
        self.max
    }

    /// The usual figures, in milliseconds.
    pub(crate) fn summary(&self) -> Percentiles {
        let ms = |share| self.quantile(share) as f64 / 1000.0;
        Percentiles {
            p50: ms(0.5),
            p95: ms(0.95),
            p99: ms(0.99),
            max: self.max as f64 / 1000.0,
        }
    }
}

/// Milliseconds that a share of the samples do not exceed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Percentiles {
    /// Half of them.
    pub(crate) p50: f64,
    /// 95 of 100.
    pub(crate) p95: f64,
    /// 99 of 100.
    pub(crate) p99: f64,
    /// All.
    pub(crate) max: f64,
}

fn bucket(micros: u64) -> usize {
    if micros < STEPS {
        return micros as usize;
    }
    let octave = (u64::from(micros.ilog2()) - u64::from(STEPS.ilog2())).min(OCTAVES - 1);
    let step = (micros >> octave).min(2 * STEPS - 1) - STEPS;
    (STEPS + octave * STEPS + step) as usize
}

fn upper_edge(index: usize) -> u64 {
    let index = index as u64;
    if index < STEPS {
        return index;
    }
    let (octave, step) = ((index - STEPS) / STEPS, (index - STEPS) % STEPS);
    ((STEPS + step + 1) << octave) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_odd_and_an_even_number() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.0);
        assert_eq!(median(&[]), 0.0);
    }

    #[test]
    fn quantiles_are_within_two_percent_over_the_whole_range() {
        for scale in [1u64, 1_000, 1_000_000] {
            let mut histogram = Histogram::default();
            (1..=10_000).for_each(|i| histogram.record(i * scale));
            for (share, exact) in [(0.5, 5_000 * scale), (0.99, 9_900 * scale)] {
                let got = histogram.quantile(share) as f64;
                assert!((got / exact as f64 - 1.0).abs() < 0.02, "{got} for {exact}");
            }
            assert_eq!(histogram.quantile(1.0), 10_000 * scale);
        }
    }

    #[test]
    fn merging_is_like_recording_into_one() {
        let (mut all, mut a, mut b) = <(Histogram, Histogram, Histogram)>::default();
        for i in 0..1000 {
            all.record(i * i);
            let part = if i % 3 == 0 { &mut a } else { &mut b };
            part.record(i * i);
        }
        a.merge(&b);
        assert_eq!(a.counts, all.counts);
        assert_eq!((a.total, a.max), (all.total, all.max));
    }

    #[test]
    fn every_value_lies_in_a_bucket_that_holds_it() {
        for micros in (0..5_000).chain((1..36).map(|p| (1 << p) - 1)) {
            let index = bucket(micros);
            assert!(micros <= upper_edge(index));
            assert!(index == 0 || micros > upper_edge(index - 1));
        }
        let mut histogram = Histogram::default();
        histogram.record(u64::MAX);
        assert_eq!(
            histogram.quantile(0.5),
            upper_edge(histogram.counts.len() - 1)
        );
    }
}
