//! Whether a queue grows on the way to a receiver.
//!
//! The time that a packet takes is known but for a constant, because the two clocks are not in step;
//! what it takes more than the quickest of late is the queue. Of packets that left together only the
//! quickest counts, so that a large picture does not look like a queue to itself. A path is over-used
//! when a queue stands and grows (the slope of a line through the last half second, as in
//! draft-ietf-rmcat-gcc-02 section 5.4), or stands so high that people talk into each other. A way
//! that has merely become longer has a queue that does not grow, and is left alone.

use std::collections::VecDeque;

/// Packets that left within this are one group.
const GROUP_US: i64 = 8_000;
/// Points of the line: at 30 pictures a second half a second has 15, of several cameras more.
const POINTS: usize = 64;
/// The line is drawn through this much.
const LINE_US: i64 = 500_000;
/// A shorter line says nothing.
const LINE_MIN_US: i64 = 200_000;
const LINE_POINTS_MIN: usize = 6;
/// The standing queue is the least of this much.
const STANDING_US: i64 = 200_000;
/// The quickest way is the quickest of so much and of as much before it.
const BASE_US: i64 = 15_000_000;
/// A way that is longer or shorter by this at once is another clock.
const JUMP_US: i64 = 10_000_000;

/// Milliseconds of standing queue from which on growth counts: wireless links make 20 of themselves.
const STANDING: f64 = 30.0;
/// Growth that counts, in milliseconds a millisecond: five percent more is sent than goes through.
const SLOPE: f64 = 0.05;
/// Milliseconds of a standing queue that is too long whether it grows or not (ITU-T G.114: 150 ms are
/// noticed, 400 are not acceptable); not while it falls.
const STANDING_MAX: f64 = 250.0;

/// What the packets of late say of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// More is sent than goes through.
    Over,
    /// A queue is there, and does not grow.
    Queued,
    /// Everything goes through as it comes.
    Free,
}

#[derive(Clone, Copy, Debug)]
struct Group {
    sent_us: i64,
    arrived_us: i64,
    transit_us: i64,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    arrived_us: i64,
    transit_us: i64,
}

/// The queue on the way to one receiver.
#[derive(Debug, Default)]
pub struct Queue {
    group: Option<Group>,
    points: VecDeque<Point>,
    /// Quickest of the window that is open, and of the one before.
    base: Option<[i64; 2]>,
    window_until_us: i64,
}

impl Queue {
    /// Notes a packet; times are microseconds of the clock of each side.
    pub fn note(&mut self, sent_us: i64, arrived_us: i64) {
        let transit_us = arrived_us.saturating_sub(sent_us);
        let jumps = |base: [i64; 2]| (transit_us.saturating_sub(base[1])).abs() > JUMP_US;
        if self.base.is_some_and(jumps) {
            *self = Self::default();
        }
        self.note_base(sent_us, transit_us);
        match &mut self.group {
            Some(group) if (sent_us - group.sent_us).abs() < GROUP_US => {
                if transit_us < group.transit_us {
                    group.transit_us = transit_us;
                    group.arrived_us = arrived_us;
                }
            }
            // One of an earlier group that was late says nothing of now.
            Some(group) if sent_us < group.sent_us => {}
            _ => {
                let next = Group {
                    sent_us,
                    arrived_us,
                    transit_us,
                };
                if let Some(done) = self.group.replace(next) {
                    self.push(done);
                }
            }
        }
    }

    fn note_base(&mut self, sent_us: i64, transit_us: i64) {
        match &mut self.base {
            None => {
                self.base = Some([transit_us; 2]);
                self.window_until_us = sent_us + BASE_US;
            }
            Some([before, open]) => {
                if sent_us >= self.window_until_us {
                    *before = *open;
                    *open = transit_us;
                    self.window_until_us = sent_us + BASE_US;
                }
                *open = transit_us.min(*open);
            }
        }
    }

    fn push(&mut self, group: Group) {
        if self.points.len() == POINTS {
            self.points.pop_front();
        }
        self.points.push_back(Point {
            arrived_us: group.arrived_us,
            transit_us: group.transit_us,
        });
    }

    /// What stood in the queue all the time of late, in milliseconds.
    pub fn standing_ms(&self) -> f64 {
        let (Some(last), Some([before, open])) = (self.points.back(), self.base) else {
            return 0.0;
        };
        let base = before.min(open);
        let recent = self.recent(last.arrived_us, STANDING_US);
        let least = recent.map(|point| point.transit_us).min();
        least.map_or(0.0, |least| least.saturating_sub(base) as f64 / 1e3)
    }

    /// How fast the queue grows, in milliseconds a millisecond; `None` where too little is known.
    fn slope(&self) -> Option<f64> {
        let last = self.points.back()?;
        let (mut n, mut x_sum, mut y_sum, mut xx, mut xy) = (0.0, 0.0, 0.0, 0.0, 0.0);
        let mut earliest = 0.0_f64;
        for point in self.recent(last.arrived_us, LINE_US) {
            let x = (point.arrived_us - last.arrived_us) as f64;
            let y = point.transit_us.saturating_sub(last.transit_us) as f64;
            earliest = earliest.min(x);
            n += 1.0;
            x_sum += x;
            y_sum += y;
            xx += x * x;
            xy += x * y;
        }
        if (n as usize) < LINE_POINTS_MIN || -earliest < LINE_MIN_US as f64 {
            return None;
        }
        let spread = n * xx - x_sum * x_sum;
        (spread > 0.0).then(|| (n * xy - x_sum * y_sum) / spread)
    }

    fn recent(&self, last_us: i64, span_us: i64) -> impl Iterator<Item = &Point> {
        let is_recent = move |point: &&Point| (last_us - point.arrived_us).abs() <= span_us;
        self.points.iter().filter(is_recent)
    }

    /// Whether enough is known to say anything.
    pub fn is_known(&self) -> bool {
        self.slope().is_some()
    }

    /// What the packets of late say.
    pub fn usage(&self) -> Usage {
        let standing = self.standing_ms();
        if standing < STANDING {
            return Usage::Free;
        }
        match self.slope() {
            Some(slope) if slope > SLOPE => Usage::Over,
            Some(slope) if standing > STANDING_MAX && slope > -SLOPE => Usage::Over,
            _ => Usage::Queued,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pictures of two packets every 33 ms; the queue behind is so many milliseconds at each.
    fn run(
        queue: &mut Queue,
        from: i64,
        pictures: i64,
        delay_ms: impl Fn(i64) -> i64,
    ) -> Vec<Usage> {
        let usages = (from..from + pictures).map(|n| {
            let sent = n * 33_000;
            let arrived = sent + 7_000_000 + delay_ms(n - from) * 1_000;
            queue.note(sent, arrived);
            queue.note(sent, arrived + 4_000);
            queue.usage()
        });
        usages.collect()
    }

    #[test]
    fn a_steady_way_is_free_however_long_it_is() {
        let mut queue = Queue::default();
        assert!(
            run(&mut queue, 0, 300, |_| 400)
                .iter()
                .all(|one| *one == Usage::Free)
        );
    }

    #[test]
    fn a_queue_that_grows_is_noticed_soon() {
        let mut queue = Queue::default();
        run(&mut queue, 0, 60, |_| 20);
        // A fifth more than goes through: 6 ms more with each picture.
        let usages = run(&mut queue, 60, 40, |n| 20 + n * 6);
        let noticed = usages
            .iter()
            .position(|one| *one == Usage::Over)
            .expect("noticed");
        assert!(noticed < 20, "after {noticed} pictures");
    }

    #[test]
    fn jitter_large_pictures_and_a_longer_way_are_no_over_use() {
        let mut queue = Queue::default();
        run(&mut queue, 0, 60, |_| 20);
        let jittery = run(&mut queue, 60, 300, |n| 20 + (n * 17) % 40);
        assert!(jittery.iter().all(|one| *one != Usage::Over), "jitter");
        let large = run(&mut queue, 360, 90, |n| {
            if n % 30 < 4 { 120 - n % 30 * 30 } else { 20 }
        });
        assert!(large.iter().all(|one| *one != Usage::Over), "pictures");
        let longer = run(&mut queue, 450, 1_000, |n| if n < 30 { 20 } else { 120 });
        let over = longer.iter().filter(|one| **one == Usage::Over).count();
        assert!(over <= 15, "only while it looks like growth: {over}");
        assert_eq!(longer.last(), Some(&Usage::Free), "the new way is the way");
    }

    #[test]
    fn any_clock_is_survived() {
        let mut queue = Queue::default();
        for n in 0..500_i64 {
            let wild = n.wrapping_mul(0x5851_f42d_4c95_7f2d);
            queue.note(n * 9_000, wild >> (n % 40 + 2));
            assert!(queue.points.len() <= POINTS && queue.standing_ms() >= 0.0);
            queue.usage();
        }
    }
}
