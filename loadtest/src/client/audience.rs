//! What one participant gets of all others: a tracker for each publication, and the sum of them.

use std::collections::HashMap;
use std::time::Instant;

use super::payload::Stamp;
use super::tracker::{Experience, Tracker, Window};

/// What every receiver needs to know about the run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    /// Number of the run in stamps.
    pub(crate) number: u32,
    /// The start.
    pub(crate) epoch: Instant,
    /// What counts.
    pub(crate) window: Window,
}

/// What a participant should have got from beginning to end: for each publication its source,
/// first and last packet.
pub(crate) type Spans = HashMap<u32, (u32, u32, u32)>;

/// What a participant's stay amounted to.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Its experience within the window.
    pub(crate) experience: Experience,
    /// Publications that it got within the window.
    pub(crate) live: usize,
    /// When its first media came.
    pub(crate) first_media: Option<Instant>,
}

/// One participant's ears and eyes.
#[derive(Debug, Default)]
pub(crate) struct Audience {
    trackers: HashMap<u32, Tracker>,
    sum: Experience,
    first_media: Option<Instant>,
}

impl Audience {
    /// Takes a packet that came at `now`; gives its publication.
    pub(crate) fn handle(&mut self, now: Instant, run: &Run, stamp: &Stamp) -> u32 {
        self.first_media.get_or_insert(now);
        let publication = stamp.source >> 2;
        let nanos = now.duration_since(run.epoch).as_nanos() as u64;
        let tracker = self.trackers.entry(publication);
        let tracker = tracker.or_insert_with(|| Tracker::new(is_video(publication)));
        tracker.handle(nanos, stamp, run.window, &mut self.sum);
        publication
    }

    /// Packets of each publication so far.
    pub(crate) fn packets(&self) -> HashMap<u32, u64> {
        let trackers = self.trackers.iter();
        trackers
            .map(|(&publication, tracker)| (publication, tracker.packets))
            .collect()
    }

    /// Whether the picture of a publication has stood still for so long that a keyframe is due.
    pub(crate) fn wants_keyframe(&self, publication: u32, now: Instant, run: &Run) -> bool {
        let micros = now.duration_since(run.epoch).as_micros() as u64;
        self.trackers
            .get(&publication)
            .is_some_and(|tracker| tracker.wants_keyframe(micros))
    }

    /// Ends all streams.
    pub(crate) fn finish(mut self, spans: &Spans) -> Outcome {
        let live = self
            .trackers
            .values()
            .filter(|tracker| tracker.is_live())
            .count();
        for (&publication, &span) in spans {
            let tracker = self.trackers.entry(publication);
            let tracker = tracker.or_insert_with(|| Tracker::new(is_video(publication)));
            tracker.finish(Some(span), &mut self.sum);
        }
        for (publication, tracker) in &mut self.trackers {
            if !spans.contains_key(publication) {
                tracker.finish(None, &mut self.sum);
            }
        }
        Outcome {
            experience: self.sum,
            live,
            first_media: self.first_media,
        }
    }
}

/// Publications with odd numbers are video.
pub(crate) fn is_video(publication: u32) -> bool {
    publication & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_that_never_came_are_lost_and_others_counted() {
        let epoch = Instant::now();
        let window = Window {
            start: 0,
            end: u64::MAX,
        };
        let run = Run {
            number: 1,
            epoch,
            window,
        };
        let mut audience = Audience::default();
        let stamp = Stamp {
            run: 1,
            source: 4 << 2,
            sequence: 5,
            frame: 5,
            index: 0,
            count: 1,
            is_keyframe: false,
            sent: 0,
        };
        assert_eq!(audience.handle(epoch, &run, &stamp), 4);
        let spans = Spans::from([(4, (16, 5, 6)), (6, (24, 0, 9))]);
        let outcome = audience.finish(&spans);
        assert_eq!((outcome.live, outcome.first_media), (1, Some(epoch)));
        assert_eq!(
            (outcome.experience.delivered, outcome.experience.lost),
            (1, 11)
        );
    }
}
