//! Fewer layers of a stream that carries several: what is left out, and numbers without holes for
//! the rest.
//!
//! A codec like VP9 or AV1 sends all sizes of a picture in one stream, the larger made from the
//! smaller, and at several rates. Leaving some out leaves holes that a receiver would take for
//! losses, so the thinner numbers what goes through anew; the [rewriter](super::rewriter) takes these
//! numbers for the publisher's. Every number stands for one packet: one that is late has had its
//! number reserved, and if it then turns out not to be wanted it leaves without its payload.
//!
//! What goes through is always a size and a rate and all that is below, whether or not the larger
//! need it just then: so less can begin with any picture, because all of it has gone through before.
//! Larger sizes are taken up with a keyframe, whose layers need nothing but each other; faster rates
//! with a picture that has gone through and says that they may be.

use crate::media::{LayerSize, LayerWish};
use crate::publication::history::{PacketInfo, SpatialMark};
use crate::subscription::selector::{self, LayerView};
use crate::unit::SeqNo;

/// Packets that are remembered: more than a second of one stream, like the history.
const RING: usize = 1_024;

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// It goes through under this number; `ends_picture` if nothing of its picture comes after it.
    Whole {
        /// Its number.
        seq: SeqNo,
        /// The marker bit is to be set.
        ends_picture: bool,
    },
    /// Only its number goes through.
    Empty(SeqNo),
    /// It is left out.
    Not,
}

/// What is known of a packet of the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fate {
    #[default]
    Unknown,
    /// It has not come yet; its number is kept for it.
    Reserved,
    Whole,
    Empty,
    Left,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    seq: u64,
    /// Packets that were left out before it.
    left: u64,
    fate: Fate,
    /// It went through with a marker.
    ends_picture: bool,
}

impl Entry {
    fn passage(&self) -> Passage {
        let seq = SeqNo(self.seq - self.left);
        let ends_picture = self.ends_picture;
        match self.fate {
            Fate::Whole => Passage::Whole { seq, ends_picture },
            Fate::Empty => Passage::Empty(seq),
            Fate::Unknown | Fate::Reserved | Fate::Left => Passage::Not,
        }
    }
}

/// Up to where layers go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reach {
    size: u8,
    rate: u8,
}

impl Reach {
    /// More than any stream has.
    const ALL: u8 = 7;

    fn includes(self, mark: Option<SpatialMark>) -> bool {
        // What says nothing of layers, as padding does, has a number all the same.
        mark.is_none_or(|mark| mark.layer() <= self.size && mark.temporal() <= self.rate)
    }

    /// Whether nothing of its picture goes through after a packet.
    fn ends_picture(self, info: &PacketInfo) -> bool {
        let is_last =
            |mark: SpatialMark| mark.ends_frame() && mark.layer() == self.size.min(mark.largest());
        info.marker || info.spatial.is_some_and(is_last)
    }
}

/// The thinning of one subscription.
#[derive(Debug)]
pub struct Thinner {
    sizes: Box<[LayerView]>,
    wished: Reach,
    /// The largest size that fits through the path.
    bound: u8,
    target: Reach,
    current: Option<Reach>,
    /// Before this something else went through, for packets that are late.
    since: u64,
    before: Reach,
    /// The largest layer that is sent now.
    largest: u8,
    /// The picture that the newest packet belongs to.
    picture: Option<u32>,
    /// One above the highest number that has come.
    next: Option<u64>,
    left: u64,
    ring: Box<[Entry]>,
}

impl Thinner {
    /// For a stream with these sizes, smallest first; one at most where there is but one. All of
    /// them are wanted, at every rate.
    pub fn new(sizes: &[LayerSize]) -> Self {
        let view = |size: &LayerSize| LayerView {
            is_live: true,
            width: size.width,
            height: size.height,
        };
        let sizes: Box<[LayerView]> = sizes.iter().map(view).collect();
        Self {
            wished: whole(&sizes),
            bound: u8::MAX,
            target: whole(&sizes),
            before: whole(&sizes),
            sizes,
            current: None,
            since: 0,
            largest: Reach::ALL,
            picture: None,
            next: None,
            left: 0,
            ring: vec![Entry::default(); RING].into(),
        }
    }

    /// Takes a new wish. One for nothing is none of its business. Where there is but one size the
    /// ranks are rates.
    pub fn set_wish(&mut self, wish: LayerWish) {
        self.wished = match (wish, self.sizes.len()) {
            (LayerWish::Paused, _) => return,
            (LayerWish::Rank(rate), 0 | 1) => Reach {
                rate: rate.min(Reach::ALL),
                ..whole(&self.sizes)
            },
            (_, 0 | 1) => whole(&self.sizes),
            _ => match selector::target(wish, &self.sizes) {
                Some(size) => Reach {
                    size,
                    rate: Reach::ALL,
                },
                None => return,
            },
        };
        self.set_bound(self.bound);
    }

    /// No larger layer than this fits through the path to the subscriber.
    pub fn set_bound(&mut self, bound: u8) {
        self.bound = bound;
        self.target = Reach {
            size: self.wished.size.min(bound),
            ..self.wished
        };
    }

    /// The largest layer that is wished, where there are several.
    pub fn wished(&self) -> Option<u8> {
        (self.sizes.len() > 1).then_some(self.wished.size)
    }

    /// Whether a keyframe is needed to take up what is wanted.
    pub fn awaits_keyframe(&self) -> bool {
        let wanted = self.target.size.min(self.largest);
        self.current.is_some_and(|current| current.size < wanted)
    }

    /// The largest layer that goes through.
    pub fn current(&self) -> Option<u8> {
        self.current.map(|current| current.size.min(self.largest))
    }

    /// Another stream begins, with numbers of its own.
    pub fn restart(&mut self) {
        self.current = None;
        self.largest = Reach::ALL;
        self.picture = None;
        self.next = None;
        self.left = 0;
        self.ring.fill(Entry::default());
    }

    /// Decides on a packet that has just come.
    pub fn pass(&mut self, info: &PacketInfo) -> Passage {
        let seq = info.seq.0;
        let next = self.next.unwrap_or(seq);
        if seq < next {
            return self.pass_late(info);
        }
        // Only as much as is remembered needs to be written down.
        for missing in next.max(seq.saturating_sub(RING as u64))..seq {
            self.put(missing, Fate::Reserved, false);
        }
        self.next = Some(seq + 1);
        let reach = self.choose(info);
        if reach.includes(info.spatial) {
            let ends_picture = reach.ends_picture(info);
            self.put(seq, Fate::Whole, ends_picture);
            let seq = SeqNo(seq - self.left);
            return Passage::Whole { seq, ends_picture };
        }
        self.put(seq, Fate::Left, false);
        self.left += 1;
        Passage::Not
    }

    fn pass_late(&mut self, info: &PacketInfo) -> Passage {
        let reach = match self.current {
            Some(current) if info.seq.0 >= self.since => current,
            _ => self.before,
        };
        let Some(entry) = self.entry(info.seq) else {
            return Passage::Not;
        };
        if entry.fate != Fate::Reserved {
            return Passage::Not;
        }
        if reach.includes(info.spatial) {
            entry.fate = Fate::Whole;
            entry.ends_picture = reach.ends_picture(info);
        } else {
            entry.fate = Fate::Empty;
        }
        entry.passage()
    }

    /// The packet behind a number, and how it went through.
    pub fn origin(&self, seq: SeqNo) -> Option<SeqNo> {
        // What was left out moves numbers down: the packet lies at the number or above it.
        let (mut low, mut high) = (seq.0, seq.0.checked_add(self.left)?);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            match self.look(middle) {
                // Numbers rise, and those that are forgotten are below.
                Some(entry) if middle - entry.left > seq.0 => high = middle - 1,
                Some(_) => low = middle,
                None if middle >= self.next? => high = middle - 1,
                None => low = middle,
            }
        }
        // Of several with the same number the last is above those that were left out before it.
        let entry = self.look(low)?;
        let found = low - entry.left == seq.0;
        (found && matches!(entry.fate, Fate::Whole | Fate::Empty)).then_some(SeqNo(low))
    }

    /// How a packet that went through before is to go through again: exactly as it did.
    pub fn pass_again(&self, seq: SeqNo) -> Passage {
        self.look(seq.0)
            .map_or(Passage::Not, |entry| entry.passage())
    }

    /// What goes through from this packet on.
    fn choose(&mut self, info: &PacketInfo) -> Reach {
        let Some(current) = self.current else {
            self.note_picture(info);
            return self.begin(info, self.target);
        };
        let Some(mark) = info.spatial else {
            return current;
        };
        let begins_picture = self.note_picture(info) && mark.starts_frame();
        let (target, mut next) = (self.target, current);
        if (info.starts_keyframe && target.size > current.size)
            || (begins_picture && target.size < current.size)
        {
            next.size = target.size;
        }
        let lifts = mark.lifts() && mark.temporal() <= current.rate;
        if begins_picture && (info.starts_keyframe || lifts || target.rate < current.rate) {
            next.rate = target.rate;
        }
        match next == current {
            true => current,
            false => self.begin(info, next),
        }
    }

    fn begin(&mut self, info: &PacketInfo, next: Reach) -> Reach {
        self.before = self.current.unwrap_or(next);
        self.since = info.seq.0;
        self.current = Some(next);
        next
    }

    /// Returns whether the packet belongs to another picture than the one before.
    fn note_picture(&mut self, info: &PacketInfo) -> bool {
        let Some(mark) = info.spatial else {
            return false;
        };
        self.largest = mark.largest();
        self.picture.replace(info.timestamp) != Some(info.timestamp)
    }

    fn put(&mut self, seq: u64, fate: Fate, ends_picture: bool) {
        self.ring[seq as usize % RING] = Entry {
            seq,
            left: self.left,
            fate,
            ends_picture,
        };
    }

    fn look(&self, seq: u64) -> Option<&Entry> {
        let entry = &self.ring[seq as usize % RING];
        (entry.seq == seq && entry.fate != Fate::Unknown).then_some(entry)
    }

    fn entry(&mut self, seq: SeqNo) -> Option<&mut Entry> {
        let entry = &mut self.ring[seq.0 as usize % RING];
        (entry.seq == seq.0).then_some(entry)
    }
}

/// Everything that a stream of these sizes has.
fn whole(sizes: &[LayerView]) -> Reach {
    let top = match sizes.len() {
        0 | 1 => Reach::ALL,
        count => count as u8 - 1,
    };
    Reach {
        size: top,
        rate: Reach::ALL,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::subscription::rewriter::PictureIds;

    fn sizes() -> Vec<LayerSize> {
        let sizes = [(320, 180), (640, 360), (1280, 720)];
        sizes
            .map(|(width, height)| LayerSize { width, height })
            .into()
    }

    /// Pictures of three layers, each of two packets.
    fn packet(seq: u64, is_key: bool) -> PacketInfo {
        let place = seq % 6;
        let (layer, is_second) = ((place / 2) as u8, place % 2 == 1);
        PacketInfo {
            seq: SeqNo(70_000 + seq),
            timestamp: (seq / 6) as u32 * 3_000,
            marker: place == 5,
            codec: 0,
            starts_keyframe: is_key && place == 0,
            picture: PictureIds::default(),
            audio_level: None,
            orientation: None,
            spatial: Some(SpatialMark::new(layer, !is_second, is_second)),
            descriptor: 0,
        }
    }

    /// What goes through of some packets: number, marker, layer.
    fn run(
        thinner: &mut Thinner,
        packets: impl IntoIterator<Item = PacketInfo>,
    ) -> Vec<(u64, bool, u8)> {
        let through = packets
            .into_iter()
            .filter_map(|info| match thinner.pass(&info) {
                Passage::Whole { seq, ends_picture } => {
                    let layer = info.spatial.expect("it has one").layer();
                    Some((seq.0, ends_picture, layer))
                }
                Passage::Empty(seq) => Some((seq.0, false, 9)),
                Passage::Not => None,
            });
        through.collect()
    }

    fn pictures(which: std::ops::Range<u64>, key: u64) -> Vec<PacketInfo> {
        let packets = which.start * 6..which.end * 6;
        packets.map(|seq| packet(seq, seq / 6 == key)).collect()
    }

    #[test]
    fn with_all_layers_nothing_changes() {
        let mut thinner = Thinner::new(&sizes());
        let through = run(&mut thinner, pictures(0..3, 0));
        let numbers: Vec<u64> = through.iter().map(|one| one.0).collect();
        assert_eq!(numbers, (70_000..70_018).collect::<Vec<_>>());
        assert_eq!(through.iter().filter(|one| one.1).count(), 3);
    }

    #[test]
    fn fewer_layers_have_numbers_without_holes_and_end_with_a_marker() {
        let mut thinner = Thinner::new(&sizes());
        thinner.set_wish(LayerWish::Rank(1));
        let through = run(&mut thinner, pictures(0..50, 0));
        for (at, (seq, ends, layer)) in through.iter().enumerate() {
            assert_eq!(*seq, 70_000 + at as u64);
            assert_eq!(*ends, at % 4 == 3, "the second packet of layer 1");
            assert!(*layer <= 1);
        }
        assert_eq!(through.len(), 200);
    }

    #[test]
    fn less_begins_with_any_picture_and_more_with_a_keyframe() {
        let mut thinner = Thinner::new(&sizes());
        let all = pictures(0..2, 0);
        run(&mut thinner, all[..9].to_vec());
        thinner.set_wish(LayerWish::Rank(0));
        assert!(!thinner.awaits_keyframe());
        let rest = run(&mut thinner, all[9..].to_vec());
        assert_eq!(rest.len(), 3, "the picture is finished as it began");
        assert_eq!(run(&mut thinner, pictures(2..3, 0)).len(), 2);
        thinner.set_wish(LayerWish::Size {
            width: 1280,
            height: 720,
        });
        assert!(thinner.awaits_keyframe());
        assert_eq!(run(&mut thinner, pictures(3..4, 0)).len(), 2);
        assert_eq!(run(&mut thinner, pictures(4..5, 4)).len(), 6);
        assert!(!thinner.awaits_keyframe());
        assert_eq!(thinner.current(), Some(2));
    }

    #[test]
    fn a_late_packet_has_its_number_and_if_unwanted_leaves_empty() {
        let mut thinner = Thinner::new(&sizes());
        thinner.set_wish(LayerWish::Rank(0));
        let all = pictures(0..2, 0);
        // The second packet of layer 0 and the first of layer 1 are late.
        let on_time = all
            .iter()
            .copied()
            .filter(|info| ![70_001, 70_002].contains(&info.seq.0));
        let through = run(&mut thinner, on_time);
        let numbers: Vec<u64> = through.iter().map(|one| one.0).collect();
        assert_eq!(numbers, [70_000, 70_003, 70_004]);
        assert_eq!(run(&mut thinner, [all[1]]), [(70_001, true, 0)]);
        assert_eq!(run(&mut thinner, [all[2]]), [(70_002, false, 9)]);
        assert_eq!(run(&mut thinner, [all[1], all[2]]), [], "once");
        assert_eq!(thinner.origin(SeqNo(70_002)), Some(SeqNo(70_002)));
        assert_eq!(
            thinner.pass_again(all[2].seq),
            Passage::Empty(SeqNo(70_002))
        );
        assert_eq!(thinner.origin(SeqNo(70_004)), Some(SeqNo(70_007)));
    }

    #[test]
    fn padding_keeps_its_place() {
        let mut thinner = Thinner::new(&sizes());
        thinner.set_wish(LayerWish::Rank(0));
        let mut all = pictures(0..2, 0);
        all[3].spatial = None;
        let padding = thinner.pass(&all[0]);
        assert!(matches!(padding, Passage::Whole { .. }));
        for info in &all[1..3] {
            thinner.pass(info);
        }
        let seq = SeqNo(70_002);
        let ends_picture = false;
        assert_eq!(thinner.pass(&all[3]), Passage::Whole { seq, ends_picture });
    }

    #[test]
    fn after_a_long_silence_it_goes_on() {
        let mut thinner = Thinner::new(&sizes());
        run(&mut thinner, pictures(0..2, 0));
        let through = run(&mut thinner, pictures(100_000..100_001, 100_000));
        assert_eq!(through.len(), 6);
        assert_eq!(thinner.origin(SeqNo(70_000)), None, "forgotten");
    }

    /// Pictures of one size and one packet at three rates: slow, fast, middle, fast.
    fn rated(seq: u64) -> PacketInfo {
        let rate = [0, 2, 1, 2][seq as usize % 4];
        PacketInfo {
            timestamp: seq as u32 * 3_000,
            marker: true,
            starts_keyframe: seq == 0,
            spatial: Some(SpatialMark::new(0, true, true).at_rate(rate, true)),
            ..packet(seq, false)
        }
    }

    #[test]
    fn of_one_size_the_ranks_are_rates() {
        let mut thinner = Thinner::new(&[]);
        let run = |thinner: &mut Thinner, which: std::ops::Range<u64>| {
            let passed = which.map(|seq| thinner.pass(&rated(seq)));
            let through = passed.map(|passage| matches!(passage, Passage::Whole { .. }));
            through.collect::<Vec<_>>()
        };
        assert_eq!(run(&mut thinner, 0..4), [true; 4]);
        thinner.set_wish(LayerWish::Rank(0));
        assert_eq!(run(&mut thinner, 4..8), [true, false, false, false]);
        thinner.set_wish(LayerWish::Rank(1));
        assert_eq!(run(&mut thinner, 8..12), [true, false, true, false]);
        thinner.set_wish(LayerWish::Best);
        assert!(!thinner.awaits_keyframe(), "a rate needs none");
        // The fast picture before the next slow one was made from what has not gone through.
        assert_eq!(run(&mut thinner, 15..16), [false]);
        assert_eq!(run(&mut thinner, 16..20), [true; 4]);
        let numbers = thinner.pass(&rated(20));
        let seq = SeqNo(70_020 - 3 - 2 - 1);
        let ends_picture = true;
        assert_eq!(numbers, Passage::Whole { seq, ends_picture });
    }

    #[test]
    fn a_rate_rises_only_with_a_picture_that_says_so() {
        let mut thinner = Thinner::new(&[]);
        thinner.set_wish(LayerWish::Rank(0));
        thinner.pass(&rated(0));
        thinner.set_wish(LayerWish::Best);
        let silent = |seq| PacketInfo {
            spatial: Some(SpatialMark::new(0, true, true).at_rate((seq % 2) as u8, false)),
            ..rated(seq)
        };
        assert!(matches!(thinner.pass(&silent(4)), Passage::Whole { .. }));
        assert_eq!(thinner.pass(&silent(5)), Passage::Not);
        thinner.pass(&rated(8));
        assert!(matches!(thinner.pass(&silent(9)), Passage::Whole { .. }));
    }

    #[test]
    fn what_is_not_sent_is_not_waited_for_and_ends_no_picture() {
        let mut thinner = Thinner::new(&sizes());
        thinner.set_wish(LayerWish::Rank(0));
        let fewer = |seq, is_key| {
            let info = packet(seq, is_key);
            let mark = info.spatial.expect("it has one");
            PacketInfo {
                marker: false,
                spatial: Some(mark.up_to(1)),
                ..info
            }
        };
        run(&mut thinner, [fewer(0, true)]);
        thinner.set_wish(LayerWish::Best);
        assert!(thinner.awaits_keyframe(), "the middle size is there");
        let through = run(&mut thinner, (6..10).map(|seq| fewer(seq, true)));
        let ends: Vec<bool> = through.iter().map(|one| one.1).collect();
        assert_eq!(
            ends,
            [false, false, false, true],
            "the last of the middle size"
        );
        assert!(!thinner.awaits_keyframe());
        assert_eq!(thinner.current(), Some(1));
    }

    #[test]
    fn another_stream_may_begin_with_smaller_numbers() {
        let mut thinner = Thinner::new(&sizes());
        run(&mut thinner, pictures(100..102, 100));
        thinner.restart();
        let through = run(&mut thinner, pictures(0..1, 0));
        assert_eq!(through.len(), 6);
        assert_eq!(thinner.origin(SeqNo(70_600)), None);
    }

    proptest! {
        #[test]
        fn a_number_stands_for_one_packet_and_leads_back_to_it(
            steps in prop::collection::vec((-30_i64..30, 0_u8..3, 0_u8..12), 1..400),
        ) {
            let mut thinner = Thinner::new(&sizes());
            let mut head = 600_u64;
            let mut seen: HashMap<u64, u64> = HashMap::new();
            for (jump, rank, luck) in steps {
                if luck == 0 {
                    thinner.set_wish(LayerWish::Rank(rank));
                }
                // Mostly in order, at times earlier or later.
                let seq = if luck < 3 { head.saturating_add_signed(jump) } else { head };
                head = head.max(seq + 1);
                let info = packet(seq, luck % 4 == 0);
                let number = match thinner.pass(&info) {
                    Passage::Whole { seq, .. } | Passage::Empty(seq) => seq,
                    Passage::Not => continue,
                };
                let before = seen.insert(number.0, info.seq.0);
                prop_assert!(before.is_none(), "{number:?} stands for two");
                prop_assert_eq!(thinner.origin(number), Some(info.seq));
                let again = match thinner.pass_again(info.seq) {
                    Passage::Whole { seq, .. } | Passage::Empty(seq) => Some(seq),
                    Passage::Not => None,
                };
                prop_assert_eq!(again, Some(number));
            }
        }
    }
}
