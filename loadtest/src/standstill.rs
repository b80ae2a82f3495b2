//! How long a processor stands still: the floor under every delay that is measured on it.
//!
//! A thread that only reads the clock, where the measured process may run, sees each stretch in
//! which the host of a virtual machine or the kernel gave the processor to somebody else. What
//! arrives in such a stretch waits for its end, whatever the program is. Nothing of the server
//! takes part.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::sys;

/// Reading the clock takes less than a tenth of it; shorter stretches are not told apart.
const SHORTEST: Duration = Duration::from_micros(1);

/// The stretches of one look.
#[derive(Debug, Clone, Default)]
pub(crate) struct Standstills {
    stretches: Vec<Duration>,
    watched: Duration,
}

/// Watches for so long on the processors of that process.
pub(crate) fn watch(pid: u32, length: Duration) -> Result<Standstills> {
    let watcher = std::thread::spawn(move || {
        sys::run_where(pid)?;
        Ok::<_, std::io::Error>(Standstills::seen(length))
    });
    let seen = watcher.join().expect("it only reads the clock");
    seen.context("cannot run where the server runs")
}

impl Standstills {
    fn seen(length: Duration) -> Self {
        let mut stretches = Vec::with_capacity(1 << 16);
        let start = Instant::now();
        let mut before = start;
        while before - start < length {
            let now = Instant::now();
            if now - before > SHORTEST {
                stretches.push(now - before);
            }
            before = now;
        }
        Self {
            stretches,
            watched: before - start,
        }
    }

    /// What `share` (0 to 1) of packets that arrive at any time would not wait longer than, in
    /// milliseconds.
    pub(crate) fn quantile_ms(&self, share: f64) -> f64 {
        let (mut low, mut high) = (0.0, self.watched.as_secs_f64());
        for _ in 0..50 {
            let middle = (low + high) / 2.0;
            if self.longer_than(middle) > 1.0 - share {
                low = middle;
            } else {
                high = middle;
            }
        }
        high * 1e3
    }

    /// The share of arrivals that would wait for more than so many seconds.
    fn longer_than(&self, wait: f64) -> f64 {
        let waits = self.stretches.iter().map(Duration::as_secs_f64);
        let too_long: f64 = waits.map(|stretch| (stretch - wait).max(0.0)).sum();
        too_long / self.watched.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrival_waits_for_the_rest_of_its_stretch() {
        let seen = Standstills {
            stretches: vec![Duration::from_millis(20); 5],
            watched: Duration::from_secs(1),
        };
        // A tenth of the time stands still, so one in a hundred waits for the last tenth of it.
        assert!((seen.quantile_ms(0.99) - 18.0).abs() < 0.01);
        assert!((seen.quantile_ms(0.95) - 10.0).abs() < 0.01);
        assert!(seen.quantile_ms(0.5) < 0.01);
    }

    #[test]
    fn a_look_lasts_as_long_as_was_asked_for() {
        let seen = watch(std::process::id(), Duration::from_millis(20)).expect("it is ourselves");
        assert!(seen.watched >= Duration::from_millis(20));
        assert!(seen.quantile_ms(1.0) <= seen.watched.as_secs_f64() * 1e3 + 1.0);
    }
}
