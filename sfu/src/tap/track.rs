//! What is recorded of one publication: which layer, from which packet on, and when a keyframe is
//! needed. Pure decisions over plain values.
//!
//! A recording wants the largest layer that is sent within a bound, begins with a keyframe and
//! changes layers only at one. Who plays it must never search for longer than
//! [`tap_keyframe_interval`](crate::config::Limits::tap_keyframe_interval) for a picture to begin
//! with, so one is asked for when the last is older than that, and whenever a loss was not made
//! good.

use std::time::{Duration, Instant};

use super::PictureSize;
use crate::media::LayerWish;
use crate::subscription::selector::{Decision, LayerView, Selector};
use crate::unit::SeqNo;

/// How a publication stands to the tap of its room.
#[derive(Debug, Default)]
pub(crate) enum Tapped {
    /// There is no tap, or this is a mirror: its owner records it.
    #[default]
    Not,
    /// There is one, and the gate is closed; so many packets were held back.
    HeldBack(u64),
    /// It is recorded.
    Open(Box<TapTrack>),
}

/// What to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Not what is recorded.
    Skip,
    /// Record it.
    Take,
    /// Record it: another layer begins with it.
    Switch,
}

/// The bookkeeping of one recorded publication.
#[derive(Debug)]
pub(crate) struct TapTrack {
    selector: Selector,
    /// Where the current stretch began.
    first: SeqNo,
    /// The highest number of it.
    newest: SeqNo,
    /// The layer before, and the end of what is recorded of it: its late packets are welcome.
    before: Option<(u8, SeqNo)>,
    /// When the last keyframe came or was asked for.
    keyframe_at: Instant,
    /// Losses of the current layer that had been given up when we last looked.
    given_up: u64,
    /// Packets given to the tap.
    pub(crate) packets: u64,
}

impl TapTrack {
    /// Nothing is recorded yet.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            selector: Selector::new(),
            first: SeqNo(0),
            newest: SeqNo(0),
            before: None,
            keyframe_at: now,
            given_up: 0,
            packets: 0,
        }
    }

    /// Layers or wishes have changed. Returns whether nothing is recorded any more that was.
    pub(crate) fn update(&mut self, wish: LayerWish, layers: &[LayerView]) -> bool {
        self.selector.set_wish(wish);
        self.selector.update(layers)
    }

    /// The stream has a hole that only a keyframe heals. Returns whether something was recorded.
    pub(crate) fn interrupt(&mut self) -> bool {
        let was_recorded = self.selector.current().is_some();
        self.selector.interrupt();
        self.before = None;
        was_recorded
    }

    /// What to do with a packet of the layer `rank`.
    pub(crate) fn judge(&mut self, rank: u8, seq: SeqNo, starts_keyframe: bool) -> Verdict {
        let current = self.selector.current();
        match self.selector.decide(rank, starts_keyframe) {
            Decision::Switch => {
                self.before = current.map(|rank| (rank, self.newest));
                self.first = seq;
                self.newest = seq;
                Verdict::Switch
            }
            Decision::Forward if current == Some(rank) && seq >= self.first => {
                self.newest = self.newest.max(seq);
                Verdict::Take
            }
            Decision::Forward
                if self
                    .before
                    .is_some_and(|(old, end)| old == rank && seq < end) =>
            {
                Verdict::Take
            }
            Decision::Forward | Decision::Skip => Verdict::Skip,
        }
    }

    /// Notes a recorded packet and what its layer has lost for good. Returns whether to ask for a
    /// keyframe now.
    pub(crate) fn note(
        &mut self,
        now: Instant,
        starts_keyframe: bool,
        given_up: u64,
        interval: Duration,
    ) -> bool {
        self.packets += 1;
        let has_lost = given_up > self.given_up;
        self.given_up = given_up;
        if starts_keyframe {
            self.keyframe_at = now;
            return has_lost;
        }
        let is_old = now.saturating_duration_since(self.keyframe_at) >= interval;
        if is_old || has_lost {
            self.keyframe_at = now;
        }
        is_old || has_lost
    }

    /// Losses of another layer count from here on.
    pub(crate) fn forgive(&mut self, given_up: u64) {
        self.given_up = given_up;
    }

    /// The layer that is recorded now.
    pub(crate) fn current(&self) -> Option<u8> {
        self.selector.current()
    }

    /// The layer that a keyframe is needed of.
    pub(crate) fn awaited(&self) -> Option<u8> {
        self.selector.awaited()
    }

    /// The layer that is recorded, or will be.
    pub(crate) fn wanted(&self) -> Option<u8> {
        self.selector.wanted()
    }
}

/// The largest layer within `max`, as a wish: one without a known size is taken to be within.
pub(crate) fn wish_within(max: PictureSize, layers: &[LayerView]) -> LayerWish {
    let is_within = |layer: &LayerView| {
        let size = PictureSize {
            width: layer.width,
            height: layer.height,
        };
        size.area() <= max.area()
    };
    let rank = layers.iter().rposition(is_within).unwrap_or(0);
    LayerWish::Rank(rank as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    fn layers(live: [bool; 3]) -> Vec<LayerView> {
        let sizes = [(640, 360), (1280, 720), (1920, 1080)];
        let layer = |(&(width, height), is_live)| LayerView {
            is_live,
            width,
            height,
        };
        sizes.iter().zip(live).map(layer).collect()
    }

    fn track(live: [bool; 3]) -> TapTrack {
        let layers = layers(live);
        let mut track = TapTrack::new(crate::testing::instant());
        track.update(wish_within(super::super::PICTURE_MAX, &layers), &layers);
        track
    }

    #[test]
    fn the_largest_layer_within_the_bound_is_wanted() {
        assert_eq!(track([true; 3]).wanted(), Some(1));
        assert_eq!(track([true, false, true]).wanted(), Some(0));
        let only_large = track([false, false, true]);
        assert_eq!(
            only_large.wanted(),
            Some(2),
            "rather too large than nothing"
        );
        let turned = LayerView {
            is_live: true,
            width: 720,
            height: 1280,
        };
        let unknown = LayerView {
            width: 0,
            height: 0,
            ..turned
        };
        let max = super::super::PICTURE_MAX;
        assert_eq!(wish_within(max, &[unknown, turned]), LayerWish::Rank(1));
        assert_eq!(wish_within(max, &[turned, unknown]), LayerWish::Rank(1));
    }

    #[test]
    fn a_layer_begins_with_its_keyframe_and_the_one_before_may_be_late() {
        let mut track = track([true; 3]);
        assert_eq!(track.judge(1, SeqNo(99), false), Verdict::Skip);
        assert_eq!(track.judge(0, SeqNo(10), true), Verdict::Skip);
        assert_eq!(track.judge(1, SeqNo(100), true), Verdict::Switch);
        assert_eq!(track.judge(1, SeqNo(99), false), Verdict::Skip, "of before");
        assert_eq!(track.judge(1, SeqNo(103), false), Verdict::Take);
        let layers = layers([true, false, true]);
        track.update(LayerWish::Rank(1), &layers);
        assert_eq!(track.judge(0, SeqNo(50), true), Verdict::Switch);
        assert_eq!(track.judge(1, SeqNo(102), false), Verdict::Take, "late");
        assert_eq!(track.judge(1, SeqNo(104), false), Verdict::Skip, "no use");
        assert_eq!(track.judge(0, SeqNo(51), false), Verdict::Take);
    }

    #[test]
    fn a_keyframe_is_asked_for_when_the_last_is_old_and_after_a_loss() {
        let start = crate::testing::instant();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut track = TapTrack::new(start);
        assert!(!track.note(at(0), true, 0, INTERVAL));
        assert!(!track.note(at(9), false, 0, INTERVAL));
        assert!(track.note(at(10), false, 0, INTERVAL));
        assert!(!track.note(at(11), false, 0, INTERVAL), "asked for once");
        assert!(track.note(at(12), false, 2, INTERVAL), "two were lost");
        assert!(!track.note(at(13), false, 2, INTERVAL));
        assert!(!track.note(at(14), true, 2, INTERVAL));
        assert!(!track.note(at(23), false, 2, INTERVAL));
        assert!(track.note(at(24), false, 2, INTERVAL));
        assert_eq!(track.packets, 9);
    }
}
