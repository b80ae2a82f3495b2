//! The network between a client and the server: what is lost, late, doubled or overtaken is decided
//! by one seed, and counted, so that a test can show that its fault was really injected.

use std::time::{Duration, Instant};

/// Random numbers that repeat with their seed (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// The next 64 bits.
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// True in so many of a hundred cases.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.roll() % 100 < percent
    }
}

/// What a path does to datagrams. Applied to each direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    /// One way.
    pub(crate) delay: Duration,
    /// Lost, in percent.
    pub(crate) loss: u64,
    /// Delivered twice, in percent.
    pub(crate) duplicate: u64,
    /// Held back by up to `reorder_by`, in percent.
    pub(crate) reorder: u64,
    pub(crate) reorder_by: Duration,
}

impl Link {
    /// Twenty milliseconds and nothing else.
    pub(crate) const GOOD: Self = Self {
        delay: Duration::from_millis(20),
        loss: 0,
        duplicate: 0,
        reorder: 0,
        reorder_by: Duration::from_millis(30),
    };

    pub(crate) fn lossy(percent: u64) -> Self {
        Self {
            loss: percent,
            ..Self::GOOD
        }
    }
}

/// The narrowest place of a path: datagrams leave it one after the other, and wait in a queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Narrow {
    pub(crate) bits_per_second: u64,
    /// What would wait for longer is dropped.
    pub(crate) queue_max: Duration,
    pub(crate) dropped: usize,
    /// The longest that anything has waited.
    pub(crate) longest: Duration,
    free_at: Option<Instant>,
}

impl Narrow {
    pub(crate) fn new(kbps: u64, queue_max: Duration) -> Self {
        Self {
            bits_per_second: kbps * 1_000,
            queue_max,
            dropped: 0,
            longest: Duration::ZERO,
            free_at: None,
        }
    }

    /// After which time a datagram is through, if it gets through.
    pub(crate) fn pass(&mut self, now: Instant, bytes: usize) -> Option<Duration> {
        // With the headers of UDP and IP.
        let bits = 8 * (bytes as u64 + 28);
        let free_at = self.free_at.map_or(now, |at| at.max(now));
        if free_at - now > self.queue_max {
            self.dropped += 1;
            return None;
        }
        let through = free_at + Duration::from_micros(bits * 1_000_000 / self.bits_per_second);
        self.free_at = Some(through);
        self.longest = self.longest.max(through - now);
        Some(through - now)
    }
}

/// What has been done to datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    pub(crate) carried: usize,
    pub(crate) lost: usize,
    pub(crate) doubled: usize,
    pub(crate) held_back: usize,
}

impl Link {
    /// After which times a datagram arrives: none, one or two.
    pub(crate) fn carry(&self, dice: &mut Dice, faults: &mut Faults) -> Vec<Duration> {
        faults.carried += 1;
        if dice.percent(self.loss) {
            faults.lost += 1;
            return Vec::new();
        }
        let mut delay = self.delay;
        if dice.percent(self.reorder) {
            faults.held_back += 1;
            delay += self.reorder_by * (dice.roll() % 100) as u32 / 100;
        }
        if dice.percent(self.duplicate) {
            faults.doubled += 1;
            return vec![delay, delay + Duration::from_millis(dice.roll() % 40)];
        }
        vec![delay]
    }
}
