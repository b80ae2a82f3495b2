//! Which section of a participant's transport carries which track: the slot table.
//!
//! In single-connection mode the client offers sections to receive in, and only the client can add
//! more. A slot is one such section. A new subscription takes a free slot, or waits until the
//! client has added one; either way the client must offer again before media flows, because only
//! an answer can tell it what a slot carries. A slot that lost its track is free for another only
//! after an answer has shown it empty, so that no two tracks ever meet in one section.
//!
//! Pure bookkeeping: who may have which track is decided elsewhere.

use sfu::id::{PublicationId, SubscriptionId};
use sfu::media::{MediaKind, Mid};
use sfu::unit::Ssrc;

/// The slots of one participant.
#[derive(Debug, Default)]
pub struct SlotTable {
    slots: Vec<Slot>,
    /// Sections that the client was asked to add and has not yet offered.
    awaited: PerKind,
    /// The client was asked to offer again and has not yet done so.
    is_offer_awaited: bool,
    /// Something has changed that the last answer did not say.
    is_stale: bool,
}

#[derive(Debug)]
struct Slot {
    mid: Mid,
    kind: MediaKind,
    state: State,
}

#[derive(Debug)]
enum State {
    Free,
    Taken(Assignment),
    /// Empty, but the last answer showed a track in it.
    Releasing,
}

/// A track in a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// What is received.
    pub publication: PublicationId,
    /// Its name in the media plane.
    pub subscription: SubscriptionId,
    /// Our source for it.
    pub ssrc: Ssrc,
    /// Our source of its retransmissions.
    pub rtx_ssrc: Ssrc,
    /// An answer has told the client.
    pub is_answered: bool,
}

/// A number for sound and one for pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerKind {
    /// Sound.
    pub audio: u32,
    /// Pictures.
    pub video: u32,
}

impl PerKind {
    fn of(&mut self, kind: MediaKind) -> &mut u32 {
        match kind {
            MediaKind::Audio => &mut self.audio,
            MediaKind::Video => &mut self.video,
        }
    }

    fn less(self, other: Self) -> Self {
        Self {
            audio: self.audio.saturating_sub(other.audio),
            video: self.video.saturating_sub(other.video),
        }
    }
}

impl SlotTable {
    /// Takes note of the sections that an offer has for receiving. Sections that vanished, or are
    /// used otherwise now, lose their track; what they carried is returned.
    pub fn learn(&mut self, offered: &[(Mid, MediaKind)]) -> Vec<Assignment> {
        self.is_offer_awaited = false;
        let mut lost = Vec::new();
        self.slots.retain_mut(|slot| {
            let is_offered = offered.contains(&(slot.mid, slot.kind));
            if !is_offered && let State::Taken(assignment) = &slot.state {
                lost.push(assignment.clone());
            }
            is_offered
        });
        for &(mid, kind) in offered {
            if !self.slots.iter().any(|slot| slot.mid == mid) {
                self.slots.push(Slot {
                    mid,
                    kind,
                    state: State::Free,
                });
                let awaited = self.awaited.of(kind);
                *awaited = awaited.saturating_sub(1);
            }
        }
        lost
    }

    /// Makes the table carry exactly what is wanted, as far as there are slots: frees the slots of
    /// tracks that are not wanted any more and returns what they carried, and gives free slots to
    /// wanted tracks that have none. `assign` makes an assignment for a track.
    pub fn reconcile(
        &mut self,
        wanted: &[(PublicationId, MediaKind)],
        mut assign: impl FnMut(PublicationId) -> Assignment,
    ) -> Vec<Assignment> {
        let mut dropped = Vec::new();
        for slot in &mut self.slots {
            let State::Taken(assignment) = &slot.state else {
                continue;
            };
            if !wanted.iter().any(|(one, _)| *one == assignment.publication) {
                let next = if assignment.is_answered {
                    self.is_stale = true;
                    State::Releasing
                } else {
                    State::Free
                };
                if let State::Taken(assignment) = std::mem::replace(&mut slot.state, next) {
                    dropped.push(assignment);
                }
            }
        }
        for &(publication, kind) in wanted {
            if self.find(publication).is_some() {
                continue;
            }
            let is_free = |slot: &&mut Slot| slot.kind == kind && matches!(slot.state, State::Free);
            if let Some(slot) = self.slots.iter_mut().find(is_free) {
                slot.state = State::Taken(assign(publication));
                self.is_stale = true;
            }
        }
        dropped
    }

    /// What the client must be asked for now, if anything: so many sections more, or, with zeros,
    /// just to offer again.
    pub fn requirement(&mut self, wanted: &[(PublicationId, MediaKind)]) -> Option<PerKind> {
        let mut missing = PerKind::default();
        for (publication, kind) in wanted {
            if self.find(*publication).is_none() {
                *missing.of(*kind) += 1;
            }
        }
        // A slot that is being released will do after the next answer.
        for slot in &self.slots {
            if matches!(slot.state, State::Releasing) {
                let missing = missing.of(slot.kind);
                *missing = missing.saturating_sub(1);
            }
        }
        let more = missing.less(self.awaited);
        let must_ask = more != PerKind::default() || (self.is_stale && !self.is_offer_awaited);
        if !must_ask {
            return None;
        }
        self.awaited.audio += more.audio;
        self.awaited.video += more.video;
        self.is_offer_awaited = true;
        Some(more)
    }

    /// The client has not offered for long: what was asked of it is forgotten, to be asked again.
    pub fn forget_requirement(&mut self) {
        self.awaited = PerKind::default();
        self.is_offer_awaited = false;
    }

    /// The client will offer by itself, and say anew which sections it has.
    pub fn expect_offer(&mut self) {
        self.forget_requirement();
        self.is_offer_awaited = true;
    }

    /// Whether an offer is awaited.
    pub fn is_offer_awaited(&self) -> bool {
        self.is_offer_awaited
    }

    /// An answer that shows the table as it is goes out: returns what is told for the first time,
    /// with the section and kind of each.
    pub fn note_answered(&mut self) -> Vec<(Mid, Assignment)> {
        self.is_stale = false;
        let mut fresh = Vec::new();
        for slot in &mut self.slots {
            match &mut slot.state {
                State::Taken(assignment) if !assignment.is_answered => {
                    assignment.is_answered = true;
                    fresh.push((slot.mid, assignment.clone()));
                }
                State::Releasing => slot.state = State::Free,
                State::Taken(_) | State::Free => {}
            }
        }
        fresh
    }

    /// What a section carries.
    pub fn carried_by(&self, mid: Mid) -> Option<&Assignment> {
        self.assignments()
            .find(|(one, _)| *one == mid)
            .map(|(_, assignment)| assignment)
    }

    /// The assignment of a track.
    pub fn find(&self, publication: PublicationId) -> Option<&Assignment> {
        self.assignments()
            .find(|(_, assignment)| assignment.publication == publication)
            .map(|(_, assignment)| assignment)
    }

    /// Every track that has a slot, with its section.
    pub fn assignments(&self) -> impl Iterator<Item = (Mid, &Assignment)> {
        self.slots.iter().filter_map(|slot| match &slot.state {
            State::Taken(assignment) => Some((slot.mid, assignment)),
            State::Free | State::Releasing => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAMERA: (PublicationId, MediaKind) = (PublicationId(1), MediaKind::Video);
    const SCREEN: (PublicationId, MediaKind) = (PublicationId(2), MediaKind::Video);
    const VOICE: (PublicationId, MediaKind) = (PublicationId(3), MediaKind::Audio);

    fn assign(publication: PublicationId) -> Assignment {
        Assignment {
            publication,
            subscription: SubscriptionId(publication.0 + 100),
            ssrc: Ssrc(publication.0 as u32),
            rtx_ssrc: Ssrc(publication.0 as u32 + 1_000),
            is_answered: false,
        }
    }

    fn mid(text: &str) -> Mid {
        Mid::from(text).expect("short enough")
    }

    fn one_of_each() -> SlotTable {
        let mut table = SlotTable::default();
        let offered = [(mid("0"), MediaKind::Audio), (mid("1"), MediaKind::Video)];
        assert!(table.learn(&offered).is_empty());
        table
    }

    fn need(audio: u32, video: u32) -> Option<PerKind> {
        Some(PerKind { audio, video })
    }

    #[test]
    fn a_wanted_track_takes_a_free_slot_and_asks_for_an_offer_once() {
        let mut table = one_of_each();
        let wanted = [CAMERA, VOICE];
        assert!(table.reconcile(&wanted, assign).is_empty());
        assert_eq!(table.requirement(&wanted), need(0, 0));
        assert_eq!(table.requirement(&wanted), None, "asked already");
        let fresh = table.note_answered();
        assert_eq!(fresh.len(), 2);
        assert_eq!(table.note_answered(), [], "told already");
        let camera = table.carried_by(mid("1")).expect("assigned");
        assert_eq!(camera.publication, CAMERA.0);
    }

    #[test]
    fn without_a_free_slot_one_more_is_asked_for_and_then_used() {
        let mut table = one_of_each();
        let wanted = [CAMERA, SCREEN];
        table.reconcile(&wanted, assign);
        assert_eq!(table.requirement(&wanted), need(0, 1));
        assert_eq!(table.requirement(&wanted), None, "asked already");
        let offered = [
            (mid("0"), MediaKind::Audio),
            (mid("1"), MediaKind::Video),
            (mid("2"), MediaKind::Video),
        ];
        table.learn(&offered);
        table.reconcile(&wanted, assign);
        assert_eq!(table.note_answered().len(), 2);
        assert_eq!(table.requirement(&wanted), None, "all is said");
    }

    #[test]
    fn an_offer_without_the_awaited_section_does_not_make_us_ask_twice() {
        let mut table = one_of_each();
        let wanted = [CAMERA, SCREEN];
        table.reconcile(&wanted, assign);
        assert_eq!(table.requirement(&wanted), need(0, 1));
        // This offer was under way when the request arrived.
        let offered = [(mid("0"), MediaKind::Audio), (mid("1"), MediaKind::Video)];
        table.learn(&offered);
        table.note_answered();
        assert_eq!(table.requirement(&wanted), None);
        table.forget_requirement();
        assert_eq!(table.requirement(&wanted), need(0, 1));
    }

    #[test]
    fn a_slot_is_free_again_only_after_an_answer_showed_it_empty() {
        let mut table = one_of_each();
        table.reconcile(&[CAMERA], assign);
        table.note_answered();
        let dropped = table.reconcile(&[SCREEN], assign);
        assert_eq!(dropped.len(), 1);
        assert!(table.find(SCREEN.0).is_none());
        assert_eq!(table.requirement(&[SCREEN]), need(0, 0), "one will do");
        table.learn(&[(mid("0"), MediaKind::Audio), (mid("1"), MediaKind::Video)]);
        table.reconcile(&[SCREEN], assign);
        assert!(table.find(SCREEN.0).is_none(), "not before the answer");
        table.note_answered();
        table.reconcile(&[SCREEN], assign);
        assert!(table.find(SCREEN.0).is_some());
        assert_eq!(table.requirement(&[SCREEN]), need(0, 0));
    }

    #[test]
    fn a_track_that_was_never_shown_leaves_its_slot_at_once() {
        let mut table = one_of_each();
        table.reconcile(&[CAMERA], assign);
        assert_eq!(table.reconcile(&[SCREEN], assign).len(), 1);
        assert!(table.find(SCREEN.0).is_some());
    }

    #[test]
    fn a_section_that_vanishes_gives_up_its_track() {
        let mut table = one_of_each();
        table.reconcile(&[CAMERA], assign);
        table.note_answered();
        let lost = table.learn(&[(mid("0"), MediaKind::Audio)]);
        assert_eq!(lost.len(), 1);
        assert_eq!(table.requirement(&[CAMERA]), need(0, 1));
    }
}
