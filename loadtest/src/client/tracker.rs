//! What one subscriber experiences of one publication: loss, delay, jitter, freezes, gaps.
//!
//! Pure: fed with stamps and arrival times, asked for figures at the end. A publication may
//! come as several sources one after the other (simulcast layers); loss is counted within each
//! stay at a source, because a switch is no loss.

use std::collections::VecDeque;

use super::payload::Stamp;
use crate::stat::Histogram;

/// How much later than the fastest packet an audio packet may come before a player with a
/// shallow buffer has concealed it.
const AUDIO_BUFFER_US: u64 = 60_000;
/// Incomplete frames that are remembered; at 30 a second more than two seconds.
const FRAMES_MAX: usize = 64;
/// A gap this long in the picture counts as a freeze even at a very high frame rate.
const FREEZE_EXTRA_US: u64 = 150_000;

/// Sums over streams.
#[derive(Debug, Clone, Default)]
pub(crate) struct Experience {
    /// Packets that came for the first time.
    pub(crate) delivered: u64,
    /// Packets that should have come and did not.
    pub(crate) lost: u64,
    /// Packets that came again.
    pub(crate) duplicates: u64,
    /// One-way delay in microseconds.
    pub(crate) delay: Histogram,
    /// Interarrival jitter of each stream at its end, in microseconds.
    pub(crate) jitter: Histogram,
    /// Audio packets that were missing or late when they had to be played.
    pub(crate) concealed: u64,
    /// Audio packets that should have been played.
    pub(crate) audio_expected: u64,
    /// Audio packets among the lost ones.
    pub(crate) audio_lost: u64,
    /// Times the picture stood still.
    pub(crate) freezes: u64,
    /// For how long, in microseconds.
    pub(crate) frozen: u64,
    /// How long video streams were watched, in microseconds.
    pub(crate) watched: u64,
    /// Frames that could be shown.
    pub(crate) frames: u64,
}

impl Experience {
    /// Adds another sum.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.delivered += other.delivered;
        self.lost += other.lost;
        self.duplicates += other.duplicates;
        self.delay.merge(&other.delay);
        self.jitter.merge(&other.jitter);
        self.concealed += other.concealed;
        self.audio_expected += other.audio_expected;
        self.audio_lost += other.audio_lost;
        self.freezes += other.freezes;
        self.frozen += other.frozen;
        self.watched += other.watched;
        self.frames += other.frames;
    }
}

/// The measured part of a run, in nanoseconds since its start: packets sent outside of it are
/// followed but not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    /// First nanosecond.
    pub(crate) start: u64,
    /// First nanosecond after it.
    pub(crate) end: u64,
}

impl Window {
    fn holds(&self, sent: u64) -> bool {
        (self.start..self.end).contains(&sent)
    }
}

/// One stay at one source.
#[derive(Debug, Clone, Copy)]
struct Stay {
    source: u32,
    first: u32,
    highest: u32,
    delivered: u64,
    /// Bit `n`: the packet `n` before the highest came.
    seen: u128,
}

/// One publication as one subscriber receives it.
#[derive(Debug)]
pub(crate) struct Tracker {
    is_video: bool,
    /// Packets so far, whatever counts.
    pub(crate) packets: u64,
    stay: Option<Stay>,
    transit: Option<(i64, f64)>,
    fastest: u64,
    pictures: Pictures,
}

/// What a packet was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Came for the first time.
    New,
    /// Came before.
    Duplicate,
}

impl Tracker {
    /// Nothing has come yet.
    pub(crate) fn new(is_video: bool) -> Self {
        Self {
            is_video,
            packets: 0,
            stay: None,
            transit: None,
            fastest: u64::MAX,
            pictures: Pictures::default(),
        }
    }

    /// Takes a packet that came at `now` (nanoseconds since the start of the run).
    pub(crate) fn handle(
        &mut self,
        now: u64,
        stamp: &Stamp,
        window: Window,
        sum: &mut Experience,
    ) -> Arrival {
        self.packets += 1;
        let counts = window.holds(stamp.sent);
        let arrival = self.count(stamp, counts, sum);
        if arrival == Arrival::Duplicate {
            sum.duplicates += u64::from(counts);
            return arrival;
        }
        let delay = now.saturating_sub(stamp.sent) / 1_000;
        self.fastest = self.fastest.min(delay);
        self.follow_jitter(delay);
        if counts {
            sum.delay.record(delay);
            let late = delay > self.fastest + AUDIO_BUFFER_US;
            sum.concealed += u64::from(!self.is_video && late);
        }
        if self.is_video {
            self.pictures.handle(now / 1_000, stamp, counts, sum);
        }
        arrival
    }

    /// Ends the current stay. `sent` names a source with its first and last packet that this
    /// subscriber should have got within the window: what it missed before its first and after
    /// its last packet is lost too.
    pub(crate) fn finish(&mut self, sent: Option<(u32, u32, u32)>, sum: &mut Experience) {
        if let Some((source, first, last)) = sent {
            match &mut self.stay {
                Some(stay) if stay.source == source => {
                    stay.first = stay.first.min(first);
                    stay.highest = stay.highest.max(last);
                }
                Some(_) => {}
                None => {
                    let (highest, delivered, seen) = (last, 0, 0);
                    self.stay = Some(Stay {
                        source,
                        first,
                        highest,
                        delivered,
                        seen,
                    });
                }
            }
        }
        self.close_stay(sum);
        if let Some((_, jitter)) = self.transit {
            sum.jitter.record(jitter as u64);
        }
    }

    /// Whether anything has come within the window.
    pub(crate) fn is_live(&self) -> bool {
        self.stay.is_some()
    }

    /// Whether the picture has stood still long enough, at `now` microseconds, to ask for a
    /// keyframe.
    pub(crate) fn wants_keyframe(&self, now: u64) -> bool {
        self.is_video && self.pictures.is_stuck(now)
    }

    fn count(&mut self, stamp: &Stamp, counts: bool, sum: &mut Experience) -> Arrival {
        if self.stay.is_none_or(|stay| stay.source != stamp.source) {
            self.close_stay(sum);
            self.stay = counts.then_some(Stay {
                source: stamp.source,
                first: stamp.sequence,
                highest: stamp.sequence,
                delivered: 1,
                seen: 1,
            });
            sum.delivered += u64::from(counts);
            return Arrival::New;
        }
        let Some(stay) = &mut self.stay else {
            return Arrival::New;
        };
        if !counts {
            return Arrival::New;
        }
        let ahead = i64::from(stamp.sequence) - i64::from(stay.highest);
        if ahead > 0 {
            stay.seen = stay.seen.checked_shl(ahead as u32).unwrap_or(0) | 1;
            stay.highest = stamp.sequence;
        } else {
            let bit = 1u128.checked_shl(-ahead as u32).unwrap_or(0);
            // Older than the memory: taken as a repetition, which can only overstate loss.
            if bit == 0 || stay.seen & bit != 0 {
                return Arrival::Duplicate;
            }
            stay.seen |= bit;
            stay.first = stay.first.min(stamp.sequence);
        }
        stay.delivered += 1;
        sum.delivered += 1;
        Arrival::New
    }

    fn close_stay(&mut self, sum: &mut Experience) {
        let Some(stay) = self.stay.take() else { return };
        let expected = u64::from(stay.highest - stay.first) + 1;
        let lost = expected.saturating_sub(stay.delivered);
        sum.lost += lost;
        if !self.is_video {
            sum.concealed += lost;
            sum.audio_lost += lost;
            sum.audio_expected += expected;
        }
    }

    /// RFC 3550 section 6.4.1, on stamps instead of RTP timestamps.
    fn follow_jitter(&mut self, delay: u64) {
        let delay = delay as i64;
        self.transit = Some(match self.transit {
            None => (delay, 0.0),
            Some((last, jitter)) => (
                delay,
                jitter + ((delay - last).unsigned_abs() as f64 - jitter) / 16.0,
            ),
        });
    }
}

/// Frames in the making and the times the last ones could be shown.
#[derive(Debug, Default)]
struct Pictures {
    source: Option<u32>,
    pending: VecDeque<(u32, u8, bool)>,
    next: Option<u32>,
    last_shown: Option<u64>,
    first_seen: Option<u64>,
    mean_interval: Option<f64>,
}

impl Pictures {
    fn handle(&mut self, now: u64, stamp: &Stamp, counts: bool, sum: &mut Experience) {
        self.first_seen.get_or_insert(now);
        if self.source != Some(stamp.source) {
            // Another layer: it can be shown from its first keyframe on.
            self.source = Some(stamp.source);
            self.pending.clear();
            self.next = None;
        }
        if self.next.is_some_and(|next| stamp.frame < next) {
            return;
        }
        match self
            .pending
            .iter_mut()
            .find(|(frame, ..)| *frame == stamp.frame)
        {
            Some((_, missing, _)) => *missing = missing.saturating_sub(1),
            None => {
                if self.pending.len() == FRAMES_MAX {
                    self.pending.pop_front();
                }
                self.pending
                    .push_back((stamp.frame, stamp.count - 1, stamp.is_keyframe));
            }
        }
        while let Some(frame) = self.showable() {
            self.pending.retain(|&(pending, ..)| pending > frame);
            self.next = Some(frame.wrapping_add(1));
            self.show(now, counts, sum);
        }
    }

    /// A complete frame that follows the last one shown, or any complete keyframe.
    fn showable(&self) -> Option<u32> {
        let complete = self.pending.iter().filter(|(_, missing, _)| *missing == 0);
        complete
            .filter(|(frame, _, key)| *key || self.next == Some(*frame))
            .map(|f| f.0)
            .min()
    }

    fn show(&mut self, now: u64, counts: bool, sum: &mut Experience) {
        if let Some(last) = self.last_shown.replace(now) {
            let interval = now.saturating_sub(last);
            let mean = self.mean_interval.unwrap_or(interval as f64);
            // The definition of freezeCount in the statistics of browsers.
            let limit = (3.0 * mean).max(mean + FREEZE_EXTRA_US as f64);
            if counts {
                sum.watched += interval;
                if interval as f64 > limit {
                    sum.freezes += 1;
                    sum.frozen += interval;
                }
            }
            self.mean_interval = Some(mean + (interval as f64 - mean) / 30.0);
        }
        sum.frames += u64::from(counts);
    }

    /// Packets come but nothing could be shown for half a second.
    fn is_stuck(&self, now: u64) -> bool {
        let since = self.last_shown.or(self.first_seen);
        !self.pending.is_empty() && since.is_some_and(|since| now > since + 500_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Window = Window {
        start: 0,
        end: u64::MAX,
    };

    fn stamp(source: u32, sequence: u32, sent_ms: u64) -> Stamp {
        Stamp {
            run: 1,
            source,
            sequence,
            frame: sequence,
            index: 0,
            count: 1,
            is_keyframe: sequence == 0,
            sent: sent_ms * 1_000_000,
        }
    }

    /// Feeds (sequence, arrival in ms) of packets sent every 20 ms.
    fn feed(is_video: bool, packets: &[(u32, u64)]) -> Experience {
        let (mut tracker, mut sum) = (Tracker::new(is_video), Experience::default());
        for &(sequence, at) in packets {
            let stamp = stamp(1, sequence, u64::from(sequence) * 20);
            tracker.handle(at * 1_000_000, &stamp, ALL, &mut sum);
        }
        tracker.finish(None, &mut sum);
        sum
    }

    #[test]
    fn reordered_packets_are_not_lost_and_repeated_ones_count_once() {
        let sum = feed(
            false,
            &[(0, 1), (2, 41), (1, 42), (2, 43), (3, 61), (5, 101)],
        );
        assert_eq!((sum.delivered, sum.lost, sum.duplicates), (5, 1, 1));
        assert_eq!((sum.audio_expected, sum.concealed), (6, 1));
    }

    #[test]
    fn late_audio_is_concealed_though_it_comes() {
        let sum = feed(false, &[(0, 1), (1, 21), (2, 41 + 70), (3, 61 + 30)]);
        assert_eq!((sum.lost, sum.concealed), (0, 1));
        assert_eq!(sum.delay.quantile(1.0), 71_000);
    }

    #[test]
    fn a_layer_switch_is_no_loss() {
        let (mut tracker, mut sum) = (Tracker::new(true), Experience::default());
        for (source, sequence) in [(1, 10), (1, 11), (2, 500), (2, 502), (1, 90)] {
            tracker.handle(0, &stamp(source, sequence, 0), ALL, &mut sum);
        }
        tracker.finish(None, &mut sum);
        assert_eq!((sum.delivered, sum.lost), (5, 1));
    }

    #[test]
    fn missing_heads_tails_and_whole_streams_are_lost() {
        let (mut tracker, mut sum) = (Tracker::new(false), Experience::default());
        tracker.handle(0, &stamp(1, 12, 0), ALL, &mut sum);
        tracker.finish(Some((1, 10, 14)), &mut sum);
        assert_eq!((sum.delivered, sum.lost), (1, 4));
        Tracker::new(false).finish(Some((1, 10, 14)), &mut sum);
        assert_eq!((sum.delivered, sum.lost, sum.concealed), (1, 9, 9));
    }

    #[test]
    fn what_was_sent_outside_the_window_is_not_counted() {
        let window = Window {
            start: 40_000_000,
            end: 80_000_000,
        };
        let (mut tracker, mut sum) = (Tracker::new(false), Experience::default());
        for sequence in [0, 1, 2, 3, 4, 5] {
            let stamp = stamp(1, sequence, u64::from(sequence) * 20);
            tracker.handle(stamp.sent, &stamp, window, &mut sum);
        }
        tracker.finish(None, &mut sum);
        assert_eq!((sum.delivered, sum.lost), (2, 0));
    }

    #[test]
    fn a_lost_frame_freezes_the_picture_until_a_keyframe() {
        let (mut tracker, mut sum) = (Tracker::new(true), Experience::default());
        for sequence in (0..100).filter(|&s| s != 50) {
            let mut stamp = stamp(1, sequence, u64::from(sequence) * 33);
            stamp.is_keyframe = sequence == 0 || sequence == 70;
            tracker.handle(stamp.sent, &stamp, ALL, &mut sum);
            assert_eq!(
                tracker.wants_keyframe(stamp.sent / 1_000),
                (65..70).contains(&sequence)
            );
        }
        assert_eq!((sum.freezes, sum.frames), (1, 80));
        assert_eq!(sum.frozen, 21 * 33_000);
    }

    #[test]
    fn a_frame_needs_all_its_packets() {
        let (mut tracker, mut sum) = (Tracker::new(true), Experience::default());
        for index in [2, 0, 1] {
            assert_eq!(sum.frames, 0);
            let frame = Stamp {
                frame: 0,
                index,
                count: 3,
                ..stamp(1, u32::from(index), 0)
            };
            tracker.handle(
                0,
                &Stamp {
                    is_keyframe: true,
                    ..frame
                },
                ALL,
                &mut sum,
            );
        }
        assert_eq!(sum.frames, 1);
    }
}
