//! What the dependency descriptors of one layer have said: the structure that its packets refer to.
//!
//! A packet names a template of a structure that came with an earlier keyframe, so the newest
//! structure is kept for each stream of packets. What a packet says is boiled down to a
//! [`SpatialMark`]; a packet that cannot be understood, because its structure was lost or is older,
//! belongs to no known layer. Decides nothing about forwarding.

use arrayvec::ArrayVec;

use super::history::SpatialMark;
use crate::rtp::dependency::{Descriptor, Indication, Structure, TARGETS_MAX};

/// What one packet amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Described {
    /// Decoding may begin with it.
    pub starts_keyframe: bool,
    /// Its place among the layers.
    pub mark: SpatialMark,
}

/// The newest structure of a stream.
#[derive(Debug, Default)]
pub struct Descriptors {
    known: Option<Box<Known>>,
}

#[derive(Debug)]
struct Known {
    structure: Structure,
    /// The spatial and temporal layer up to which each decode target goes.
    targets: ArrayVec<(u8, u8), TARGETS_MAX>,
    /// The largest spatial layer that is sent now.
    largest: u8,
    /// The frame that said so last.
    frame: u16,
    /// The frame that brought the structure.
    since: u16,
}

impl Known {
    fn new(structure: Structure, active: u32, frame: u16) -> Self {
        let mut known = Self {
            targets: (0..structure.targets)
                .map(|target| reach(&structure, target.into()))
                .collect(),
            structure,
            largest: 0,
            frame,
            since: frame,
        };
        known.largest = known.largest_of(active);
        known
    }

    fn largest_of(&self, active: u32) -> u8 {
        let targets = self.targets.iter().zip(0..);
        let sent = targets.filter(|(_, place)| active >> place & 1 == 1);
        let largest = sent.map(|(target, _)| target.0).max();
        // Nothing at all is sent: then nothing ends early.
        largest.unwrap_or(self.structure.spatial_layers().saturating_sub(1))
    }

    /// Whether all decode targets of the frame's own size that are faster than it may begin with it
    /// (A.8.1, "switch").
    fn lifts(&self, read: &Descriptor) -> bool {
        let targets = self.targets.iter().zip(&read.indications);
        let mut faster = targets
            .filter(|((spatial, rate), _)| *spatial == read.spatial && *rate > read.temporal);
        faster.all(|(_, indication)| *indication == Indication::Switch)
    }
}

/// The highest layers among the templates that belong to a target.
fn reach(structure: &Structure, target: usize) -> (u8, u8) {
    let belongs = |indications: &[Indication]| {
        let one = indications.get(target);
        one.is_some_and(|one| *one != Indication::NotPresent)
    };
    let templates = structure.templates.iter();
    templates
        .filter(|template| belongs(&template.indications))
        .fold((0, 0), |(spatial, rate), template| {
            (spatial.max(template.spatial), rate.max(template.temporal))
        })
}

/// Whether a frame is younger than another; their numbers wrap.
fn is_after(frame: u16, other: u16) -> bool {
    frame.wrapping_sub(other) as i16 > 0
}

impl Descriptors {
    /// Reads the value of the extension of one packet. `None` if it cannot be understood.
    pub fn read(&mut self, value: &[u8]) -> Option<Described> {
        let known = self.known.as_deref().map(|known| &known.structure);
        let read = Descriptor::parse(value, known).ok()?;
        let starts_keyframe = read.starts_keyframe();
        let (layer, rate) = (read.spatial, read.temporal);
        let mark = SpatialMark::new(layer, read.starts_frame, read.ends_frame);
        if let Some(structure) = &read.structure {
            let active = read.active_targets.unwrap_or(u32::MAX);
            // An old keyframe that was sent again does not bring back its structure.
            let is_news = self
                .known
                .as_ref()
                .is_none_or(|known| is_after(read.frame, known.since) || read.frame == known.since);
            let fresh = Known::new(Structure::clone(structure), active, read.frame);
            let mark = mark.at_rate(rate, fresh.lifts(&read)).up_to(fresh.largest);
            if is_news {
                self.known = Some(Box::new(fresh));
            }
            return Some(Described {
                starts_keyframe,
                mark,
            });
        }
        let known = self.known.as_deref_mut()?;
        if is_after(known.since, read.frame) {
            // A latecomer of the structure before, whose templates had other numbers.
            return None;
        }
        if let Some(active) = read.active_targets
            && !is_after(known.frame, read.frame)
        {
            known.largest = known.largest_of(active);
            known.frame = read.frame;
        }
        let mark = mark.at_rate(rate, known.lifts(&read)).up_to(known.largest);
        Some(Described {
            starts_keyframe,
            mark,
        })
    }

    /// Another source: its packets refer to nothing that was said before.
    pub fn forget(&mut self) {
        self.known = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::dependency::pen::{L1T3, L3T3_KEY, Mode, Pen};

    fn first(layers: &Mode, frame: u16) -> Vec<u8> {
        Pen::keyframe(layers, frame).bytes()
    }

    #[test]
    fn layers_and_rates_are_read_against_the_structure() {
        let mut descriptors = Descriptors::default();
        assert_eq!(descriptors.read(&L3T3_KEY.packet(0, 9)), None);
        let key = descriptors.read(&first(&L3T3_KEY, 10)).expect("valid");
        assert!(key.starts_keyframe);
        assert_eq!((key.mark.layer(), key.mark.temporal()), (0, 0));
        assert!(key.mark.lifts() && key.mark.largest() == 2);
        for (spatial, rate, template) in L3T3_KEY.templates() {
            let read = descriptors.read(&L3T3_KEY.packet(template, 11));
            let read = read.expect("valid");
            assert_eq!(read.mark.layer(), spatial);
            assert_eq!(read.mark.temporal(), rate);
            assert!(!read.starts_keyframe);
            assert!(
                read.mark.lifts(),
                "slower frames lift, the fastest have none above"
            );
        }
    }

    #[test]
    fn an_older_structure_does_not_come_back() {
        let mut descriptors = Descriptors::default();
        let (old, new) = (first(&L1T3, 65_530), first(&L3T3_KEY, 4));
        assert!(descriptors.read(&old).is_some());
        assert!(descriptors.read(&new).is_some());
        let again = descriptors.read(&old).expect("it explains itself");
        assert_eq!(again.mark.largest(), 0);
        let (_, _, largest) = L3T3_KEY.templates().last().expect("some");
        let next = descriptors
            .read(&L3T3_KEY.packet(largest, 5))
            .expect("valid");
        assert_eq!(next.mark.layer(), 2);
        assert_eq!(descriptors.read(&L1T3.packet(0, 65_531)), None, "late");
        descriptors.forget();
        assert_eq!(descriptors.read(&L3T3_KEY.packet(largest, 6)), None);
    }

    #[test]
    fn what_is_sent_no_more_is_known_from_then_on() {
        let mut descriptors = Descriptors::default();
        descriptors.read(&first(&L3T3_KEY, 4));
        // Only the targets of the two smaller sizes: numbers 0 to 5.
        let fewer = L3T3_KEY.packet_with_active(0, 20, 0b00_0011_1111);
        assert_eq!(
            descriptors.read(&fewer).map(|one| one.mark.largest()),
            Some(1)
        );
        let next = descriptors.read(&L3T3_KEY.packet(0, 21)).expect("valid");
        assert_eq!(next.mark.largest(), 1);
        let late = L3T3_KEY.packet_with_active(0, 19, u32::MAX);
        assert_eq!(
            descriptors.read(&late).map(|one| one.mark.largest()),
            Some(1)
        );
        let none = descriptors.read(&L3T3_KEY.packet_with_active(0, 22, 0));
        assert_eq!(none.map(|one| one.mark.largest()), Some(2));
    }
}
