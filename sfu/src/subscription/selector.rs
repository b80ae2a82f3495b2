//! Which layer of a publication goes to a subscriber now: pure decisions over plain values.
//!
//! A wish and the layers that are alive give a *target*; the layer that is sent becomes the target
//! only at the start of a keyframe of the target, because nothing else can be decoded. Until then
//! the old layer goes on if it is still wanted at all. The selector neither sees packets nor asks
//! for keyframes itself: it says which layer one is needed of.

use crate::media::LayerWish;

/// What the selector must know about a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerView {
    /// Packets of it have arrived lately.
    pub is_live: bool,
    /// Pixels across as announced, 0 if unknown.
    pub width: u32,
    /// Pixels down as announced, 0 if unknown.
    pub height: u32,
}

/// How much of what is wished fits through the path to the subscriber.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bound {
    /// Everything, as far as is known.
    #[default]
    None,
    /// Up to the layer of this rank.
    Rank(u8),
    /// Nothing for now.
    Paused,
}

/// What to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Send it: it belongs to what is sent now, or to what was sent before.
    Forward,
    /// Begin to send this layer, with this packet.
    Switch,
    /// Not for this subscriber.
    Skip,
}

/// One subscription's choice.
#[derive(Debug)]
pub struct Selector {
    wish: LayerWish,
    bound: Bound,
    current: Option<u8>,
    target: Option<u8>,
}

impl Selector {
    /// Sends nothing yet and wants the best.
    pub fn new() -> Self {
        Self {
            wish: LayerWish::Best,
            bound: Bound::None,
            current: None,
            target: None,
        }
    }

    /// Takes a new wish; [`Selector::update`] must follow.
    pub fn set_wish(&mut self, wish: LayerWish) {
        self.wish = wish;
    }

    /// Takes a new bound; [`Selector::update`] must follow.
    pub fn set_bound(&mut self, bound: Bound) {
        self.bound = bound;
    }

    /// What is wished for.
    pub fn wish(&self) -> LayerWish {
        self.wish
    }

    /// Chooses the target anew. Returns whether what is sent now has changed (it can only end
    /// here; it begins with a keyframe).
    pub fn update(&mut self, layers: &[LayerView]) -> bool {
        self.target = bounded(target(self.wish, layers), self.bound, layers);
        if self.target.is_none() && self.current.is_some() {
            self.current = None;
            return true;
        }
        false
    }

    /// The stream has a hole that only a keyframe can heal: a mute, a restart of the layer.
    pub fn interrupt(&mut self) {
        self.current = None;
    }

    /// What to do with a packet of the layer `rank`.
    pub fn decide(&mut self, rank: u8, starts_keyframe: bool) -> Decision {
        if self.current == self.target {
            // Packets of other layers may be late ones of an earlier stretch: the rewriter knows.
            return match self.current {
                Some(_) => Decision::Forward,
                None => Decision::Skip,
            };
        }
        if starts_keyframe && self.target == Some(rank) {
            self.current = Some(rank);
            return Decision::Switch;
        }
        match self.current {
            Some(_) => Decision::Forward,
            None => Decision::Skip,
        }
    }

    /// The layer that is sent now.
    pub fn current(&self) -> Option<u8> {
        self.current
    }

    /// The layer that a keyframe is needed of.
    pub fn awaited(&self) -> Option<u8> {
        self.target.filter(|_| self.target != self.current)
    }

    /// The layer that this subscriber decodes, or will.
    pub fn wanted(&self) -> Option<u8> {
        self.target
    }
}

impl Default for Selector {
    fn default() -> Self {
        Self::new()
    }
}

/// The layer that best fulfils a wish. `layers` are ordered from the smallest to the largest.
pub fn target(wish: LayerWish, layers: &[LayerView]) -> Option<u8> {
    let top = (layers.len() as u8).checked_sub(1)?;
    let wanted = match wish {
        LayerWish::Paused => return None,
        LayerWish::Best => top,
        LayerWish::Rank(rank) => rank.min(top),
        LayerWish::Size { width, height } => rank_for_size(layers, width, height).unwrap_or(top),
    };
    nearest_live(layers, wanted)
}

/// The target within a bound; of those that live the nearest, as for a wish.
fn bounded(target: Option<u8>, bound: Bound, layers: &[LayerView]) -> Option<u8> {
    match (target, bound) {
        (_, Bound::Paused) => None,
        (Some(target), Bound::Rank(rank)) if rank < target => nearest_live(layers, rank),
        _ => target,
    }
}

/// The smallest layer that fills the size, if sizes are known.
fn rank_for_size(layers: &[LayerView], width: u32, height: u32) -> Option<u8> {
    // A turned phone announces its sizes upright or not; an area has no direction.
    let area = |width: u32, height: u32| u64::from(width) * u64::from(height);
    layers
        .iter()
        .position(|layer| {
            let layer_area = area(layer.width, layer.height);
            layer_area > 0 && layer_area >= area(width, height)
        })
        .map(|rank| rank as u8)
}

/// The wanted layer if it lives, else the nearest below, else the nearest above; the wanted one
/// where none lives, so that its first keyframe is taken.
fn nearest_live(layers: &[LayerView], wanted: u8) -> Option<u8> {
    let is_live = |rank: &u8| layers[usize::from(*rank)].is_live;
    (0..=wanted)
        .rev()
        .find(is_live)
        .or_else(|| (wanted..layers.len() as u8).find(is_live))
        .or(Some(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(live: [bool; 3]) -> Vec<LayerView> {
        let sizes = [(320, 180), (640, 360), (1280, 720)];
        sizes
            .iter()
            .zip(live)
            .map(|(&(width, height), is_live)| LayerView {
                is_live,
                width,
                height,
            })
            .collect()
    }

    #[test]
    fn a_wish_is_fulfilled_as_well_as_the_live_layers_allow() {
        let cases = [
            (LayerWish::Best, [true, true, true], Some(2)),
            (LayerWish::Best, [true, true, false], Some(1)),
            (LayerWish::Rank(1), [true, true, true], Some(1)),
            (LayerWish::Rank(1), [true, false, true], Some(0)),
            (LayerWish::Rank(0), [false, false, true], Some(2)),
            (LayerWish::Rank(9), [true, true, true], Some(2)),
            (LayerWish::Best, [false, false, false], Some(2)),
            (LayerWish::Paused, [true, true, true], None),
            (size(300, 170), [true, true, true], Some(0)),
            (size(321, 180), [true, true, true], Some(1)),
            (size(360, 640), [true, true, true], Some(1)),
            (size(4000, 4000), [true, true, true], Some(2)),
        ];
        for (wish, live, expected) in cases {
            assert_eq!(target(wish, &layers(live)), expected, "{wish:?} {live:?}");
        }
        assert_eq!(target(LayerWish::Best, &[]), None);
    }

    fn size(width: u32, height: u32) -> LayerWish {
        LayerWish::Size { width, height }
    }

    #[test]
    fn nothing_is_sent_before_a_keyframe_of_the_target() {
        let mut selector = Selector::new();
        selector.update(&layers([true; 3]));
        assert_eq!(selector.decide(2, false), Decision::Skip);
        assert_eq!(selector.decide(0, true), Decision::Skip);
        assert_eq!(selector.awaited(), Some(2));
        assert_eq!(selector.decide(2, true), Decision::Switch);
        assert_eq!(selector.awaited(), None);
        assert_eq!(selector.decide(2, true), Decision::Forward);
    }

    #[test]
    fn the_old_layer_goes_on_until_the_new_one_can_be_decoded() {
        let mut selector = Selector::new();
        selector.update(&layers([true; 3]));
        selector.decide(2, true);
        selector.set_wish(LayerWish::Rank(0));
        assert!(!selector.update(&layers([true; 3])));
        assert_eq!(selector.decide(2, false), Decision::Forward);
        assert_eq!(selector.decide(0, true), Decision::Switch);
        assert_eq!(selector.current(), Some(0));
    }

    #[test]
    fn a_pause_stops_at_once_and_ends_with_a_keyframe() {
        let mut selector = Selector::new();
        selector.update(&layers([true; 3]));
        selector.decide(2, true);
        selector.set_wish(LayerWish::Paused);
        assert!(selector.update(&layers([true; 3])));
        assert_eq!(selector.decide(2, true), Decision::Skip);
        selector.set_wish(LayerWish::Best);
        selector.update(&layers([true; 3]));
        assert_eq!(selector.decide(2, false), Decision::Skip);
        assert_eq!(selector.decide(2, true), Decision::Switch);
    }

    #[test]
    fn what_fits_bounds_what_is_wished() {
        let all = layers([true; 3]);
        let cases = [
            (LayerWish::Best, Bound::None, Some(2)),
            (LayerWish::Best, Bound::Rank(1), Some(1)),
            (LayerWish::Rank(0), Bound::Rank(1), Some(0)),
            (LayerWish::Best, Bound::Paused, None),
            (LayerWish::Paused, Bound::Rank(2), None),
        ];
        for (wish, bound, expected) in cases {
            let mut selector = Selector::new();
            selector.set_wish(wish);
            selector.set_bound(bound);
            selector.update(&all);
            assert_eq!(selector.wanted(), expected, "{wish:?} {bound:?}");
            assert_eq!(selector.wish(), wish, "the wish is what it was");
        }
    }

    #[test]
    fn a_layer_that_dies_is_replaced_by_the_one_below() {
        let mut selector = Selector::new();
        selector.update(&layers([true; 3]));
        selector.decide(2, true);
        selector.update(&layers([true, true, false]));
        assert_eq!(selector.awaited(), Some(1));
        assert_eq!(selector.decide(1, true), Decision::Switch);
        selector.update(&layers([true; 3]));
        assert_eq!(selector.awaited(), Some(2), "and taken up when it is back");
    }
}
