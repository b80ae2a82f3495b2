//! One direction of a bad network: what happens to each datagram, decided in virtual time.
//!
//! A pure function of configuration, seed, arrival times and lengths, so that a run can be
//! repeated and tested without sockets. In the order of a real path: a bottleneck with a queue,
//! then loss, delay with jitter, reordering and duplication. It holds no datagrams.

use std::time::Duration;

use serde::Serialize;

use crate::traffic::Dice;

/// Properties of one direction; the default is a perfect link.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct LinkConfig {
    /// Share of datagrams lost one by one.
    pub(crate) loss: f64,
    /// Share of datagrams lost in bursts (Gilbert-Elliott).
    pub(crate) burst_loss: f64,
    /// Mean datagrams of such a burst, at least 1.
    pub(crate) burst_length: f64,
    /// Time every datagram takes.
    pub(crate) delay: Duration,
    /// Up to this much more, evenly; the order is kept.
    pub(crate) jitter: Duration,
    /// Share of datagrams held back so that later ones overtake them.
    pub(crate) reorder: f64,
    /// How long those are held back.
    pub(crate) reorder_by: Duration,
    /// Share of datagrams that arrive twice.
    pub(crate) duplicate: f64,
    /// Bytes a second that fit through, 0 for no bound.
    pub(crate) bytes_per_second: f64,
    /// The longest wait before the bottleneck; what would wait longer is dropped.
    pub(crate) queue: Duration,
}

/// What the link did so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct LinkCounts {
    /// Datagrams that came.
    pub(crate) offered: u64,
    /// Lost one by one.
    pub(crate) lost: u64,
    /// Lost in bursts.
    pub(crate) lost_in_bursts: u64,
    /// Dropped before a full bottleneck.
    pub(crate) dropped_by_queue: u64,
    /// Overtaken.
    pub(crate) reordered: u64,
    /// Delivered twice.
    pub(crate) duplicated: u64,
}

/// When copies of one datagram leave: none, one or two.
pub(crate) type Departures = [Option<Duration>; 2];

/// One direction with its memory.
#[derive(Debug)]
pub(crate) struct Link {
    config: LinkConfig,
    dice: Dice,
    in_burst: bool,
    free_at: Duration,
    last_departure: Duration,
    counts: LinkCounts,
}

impl Link {
    /// A link whose fate is decided by `seed`.
    pub(crate) fn new(config: LinkConfig, seed: u64) -> Self {
        Self {
            config,
            dice: Dice::new(seed),
            in_burst: false,
            free_at: Duration::ZERO,
            last_departure: Duration::ZERO,
            counts: LinkCounts::default(),
        }
    }

    /// What the link did so far.
    pub(crate) fn counts(&self) -> LinkCounts {
        self.counts
    }

    /// Decides about a datagram of `len` bytes that arrives at `now`.
    pub(crate) fn decide(&mut self, now: Duration, len: usize) -> Departures {
        self.counts.offered += 1;
        let Some(through) = self.pass_bottleneck(now, len) else {
            self.counts.dropped_by_queue += 1;
            return [None, None];
        };
        // Both dice are thrown for every datagram: one impairment does not shift the other's.
        let (burst, single) = (self.burst_takes(), self.dice.happens(self.config.loss));
        if burst {
            self.counts.lost_in_bursts += 1;
            return [None, None];
        }
        if single {
            self.counts.lost += 1;
            return [None, None];
        }
        let departure = self.travel(through);
        let duplicate = self.dice.happens(self.config.duplicate);
        self.counts.duplicated += u64::from(duplicate);
        [Some(departure), duplicate.then_some(departure)]
    }

    fn pass_bottleneck(&mut self, now: Duration, len: usize) -> Option<Duration> {
        if self.config.bytes_per_second <= 0.0 {
            return Some(now);
        }
        let start = self.free_at.max(now);
        if start - now > self.config.queue {
            return None;
        }
        self.free_at = start + Duration::from_secs_f64(len as f64 / self.config.bytes_per_second);
        Some(self.free_at)
    }

    /// The two-state model: in a burst everything is lost; states last geometrically long, so
    /// that bursts have the mean length and the whole has the mean loss.
    fn burst_takes(&mut self) -> bool {
        let (loss, length) = (self.config.burst_loss, self.config.burst_length.max(1.0));
        let change = if self.in_burst {
            1.0 / length
        } else {
            (loss / (length * (1.0 - loss).max(f64::EPSILON))).min(1.0)
        };
        if self.dice.happens(change) {
            self.in_burst = !self.in_burst;
        }
        self.in_burst
    }

    fn travel(&mut self, from: Duration) -> Duration {
        let arrival = from + self.config.delay + self.dice.within(self.config.jitter);
        if self.dice.happens(self.config.reorder) {
            self.counts.reordered += 1;
            return arrival.max(self.last_departure) + self.config.reorder_by;
        }
        self.last_departure = self.last_departure.max(arrival);
        self.last_departure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Departures of `count` datagrams of 1,000 bytes, one every `gap`.
    fn run(config: LinkConfig, seed: u64, count: u32, gap: Duration) -> (Link, Vec<Departures>) {
        let mut link = Link::new(config, seed);
        let fates = (0..count).map(|i| link.decide(gap * i, 1_000)).collect();
        (link, fates)
    }

    fn lost(fates: &[Departures]) -> Vec<bool> {
        fates.iter().map(|f| f[0].is_none()).collect()
    }

    fn share(lost: &[bool]) -> f64 {
        lost.iter().filter(|&&l| l).count() as f64 / lost.len() as f64
    }

    #[test]
    fn a_perfect_link_changes_nothing() {
        let (_, fates) = run(LinkConfig::default(), 1, 100, MS);
        for (i, fate) in fates.iter().enumerate() {
            assert_eq!(*fate, [Some(MS * i as u32), None]);
        }
    }

    #[test]
    fn a_seed_decides_everything() {
        let config = LinkConfig {
            loss: 0.1,
            jitter: 9 * MS,
            duplicate: 0.1,
            ..Default::default()
        };
        assert_eq!(run(config, 5, 500, MS).1, run(config, 5, 500, MS).1);
        assert_ne!(run(config, 5, 500, MS).1, run(config, 6, 500, MS).1);
    }

    #[test]
    fn single_loss_has_its_share_and_short_gaps() {
        let (link, fates) = run(
            LinkConfig {
                loss: 0.05,
                ..Default::default()
            },
            1,
            20_000,
            MS,
        );
        let lost = lost(&fates);
        assert!((share(&lost) - 0.05).abs() < 0.005);
        assert_eq!(
            link.counts().lost,
            lost.iter().filter(|&&l| l).count() as u64
        );
        assert!(mean_burst(&lost) < 1.2);
    }

    #[test]
    fn burst_loss_has_its_share_and_its_mean_length() {
        let config = LinkConfig {
            burst_loss: 0.05,
            burst_length: 8.0,
            ..Default::default()
        };
        let (link, fates) = run(config, 1, 200_000, MS);
        let lost = lost(&fates);
        assert!((share(&lost) - 0.05).abs() < 0.006, "{}", share(&lost));
        assert!(
            (mean_burst(&lost) - 8.0).abs() < 0.8,
            "{}",
            mean_burst(&lost)
        );
        assert_eq!(link.counts().lost, 0);
    }

    fn mean_burst(lost: &[bool]) -> f64 {
        let starts = lost.windows(2).filter(|w| !w[0] && w[1]).count();
        lost.iter().filter(|&&l| l).count() as f64 / starts as f64
    }

    #[test]
    fn jitter_delays_within_bounds_and_keeps_the_order() {
        let config = LinkConfig {
            delay: 40 * MS,
            jitter: 20 * MS,
            ..Default::default()
        };
        let (_, fates) = run(config, 1, 5_000, MS);
        let times: Vec<Duration> = fates.iter().filter_map(|f| f[0]).collect();
        assert!(times.is_sorted());
        for (i, &time) in times.iter().enumerate() {
            let delay = time - MS * i as u32;
            assert!(delay >= 40 * MS && delay <= 60 * MS, "{delay:?}");
        }
    }

    #[test]
    fn reordered_datagrams_are_overtaken_and_nothing_else_is() {
        let config = LinkConfig {
            reorder: 0.02,
            reorder_by: 5 * MS,
            delay: MS,
            ..Default::default()
        };
        let (link, fates) = run(config, 1, 5_000, MS);
        let times: Vec<Duration> = fates.iter().filter_map(|f| f[0]).collect();
        let overtaken = (0..times.len() - 1)
            .filter(|&i| times[i + 1..].iter().any(|t| *t < times[i]))
            .count();
        assert!(link.counts().reordered > 50);
        assert_eq!(overtaken as u64, link.counts().reordered);
    }

    #[test]
    fn a_bottleneck_passes_its_rate_and_drops_what_would_wait_too_long() {
        // 1,000 bytes every millisecond are offered, half of it fits.
        let config = LinkConfig {
            bytes_per_second: 500_000.0,
            queue: 100 * MS,
            ..Default::default()
        };
        let (link, fates) = run(config, 1, 10_000, MS);
        let times: Vec<Duration> = fates.iter().filter_map(|f| f[0]).collect();
        assert!((4_950..=5_100).contains(&times.len()), "{}", times.len());
        assert_eq!(
            link.counts().dropped_by_queue as usize,
            10_000 - times.len()
        );
        assert!(times.windows(2).all(|w| w[1] - w[0] >= 2 * MS));
        let longest = fates
            .iter()
            .enumerate()
            .filter_map(|(i, f)| Some(f[0]? - MS * i as u32));
        assert!(longest.max() <= Some(102 * MS));
    }

    #[test]
    fn duplicates_leave_together_with_their_originals() {
        let (link, fates) = run(
            LinkConfig {
                duplicate: 0.1,
                ..Default::default()
            },
            1,
            2_000,
            MS,
        );
        let twice: Vec<_> = fates.iter().filter(|f| f[1].is_some()).collect();
        assert!((150..250).contains(&twice.len()));
        assert!(twice.iter().all(|f| f[0] == f[1]));
        assert_eq!(link.counts().duplicated as usize, twice.len());
    }
}
