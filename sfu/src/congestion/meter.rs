//! Bytes per second over half a second, by the clock of whoever received them.
//!
//! That clock is the peer's word: it starts anywhere, may jump, and is only compared with itself.

/// One bucket.
const BUCKET_US: i64 = 50_000;
/// Full buckets that count: half a second.
const COUNTED: i64 = 10;
const BUCKETS: usize = 16;

/// The rate of what arrived.
#[derive(Clone, Debug, Default)]
pub struct ArrivalMeter {
    buckets: [u32; BUCKETS],
    first: i64,
    newest: Option<i64>,
}

impl ArrivalMeter {
    /// Notes what arrived at a time.
    pub fn add(&mut self, at_us: i64, bytes: u16) {
        let bucket = at_us.div_euclid(BUCKET_US);
        let newest = match self.newest {
            Some(newest) if bucket - newest < BUCKETS as i64 && newest - bucket < COUNTED => newest,
            // Nothing for long, or a clock that was set: what was before says nothing.
            _ => {
                *self = Self {
                    first: bucket,
                    newest: Some(bucket),
                    ..Self::default()
                };
                bucket
            }
        };
        for empty in newest + 1..=bucket {
            self.buckets[place(empty)] = 0;
        }
        self.newest = Some(newest.max(bucket));
        self.first = self.first.min(bucket);
        let count = &mut self.buckets[place(bucket)];
        *count = count.saturating_add(u32::from(bytes));
    }

    /// Bits per second; `None` until there is enough to tell.
    pub fn rate(&self) -> Option<u64> {
        let newest = self.newest?;
        let first = self.first.max(newest - COUNTED);
        let spanned = newest - first;
        if spanned < COUNTED / 2 {
            return None;
        }
        let bytes: u64 = (first..newest)
            .map(|bucket| u64::from(self.buckets[place(bucket)]))
            .sum();
        Some(bytes * 8_000_000 / (spanned * BUCKET_US) as u64)
    }
}

fn place(bucket: i64) -> usize {
    bucket.rem_euclid(BUCKETS as i64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_stream_has_its_rate_and_a_pause_is_forgotten() {
        let mut meter = ArrivalMeter::default();
        for n in 0..200_i64 {
            meter.add(-1_000_000 + n * 10_000, 1_000);
            if n < 25 {
                assert_eq!(meter.rate(), None, "too early at {n}");
            }
        }
        assert_eq!(meter.rate(), Some(800_000));
        meter.add(60_000_000, 1_000);
        assert_eq!(meter.rate(), None, "it begins anew");
    }

    #[test]
    fn any_clock_is_survived() {
        let mut meter = ArrivalMeter::default();
        for at in [i64::MAX / 4, i64::MIN / 4, 0, 1, -1, 700_000, 0] {
            meter.add(at, u16::MAX);
            assert!(meter.rate().is_none_or(|rate| rate < 1 << 40));
        }
    }
}
