//! Which section of a participant's transport carries which track: the slot table.
//!
//! A slot is a section for receiving. Where the client offers (one connection), only it can add
//! more: a new subscription takes a free slot or waits until there is one, and either way the client
//! must offer again before media flows, because only an answer of ours can tell it what a slot
//! carries. Where we offer (two connections), we add slots ourselves, and media flows once the client
//! has answered. In both cases a description of ours first *shows* what a slot carries, and then both
//! sides have *agreed* to it; a slot that lost its track is free for another only after both have
//! agreed that it is empty, so that no two tracks ever meet in one section.
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
    /// Something has changed that our last description did not show.
    is_stale: bool,
}

#[derive(Debug)]
struct Slot {
    mid: Mid,
    kind: MediaKind,
    state: State,
    /// A description of ours has shown it.
    is_known: bool,
    /// What it carried then, for the first time: clients name what they receive in it for good.
    named_for: Option<PublicationId>,
}

impl Slot {
    fn is_free(&self, kind: MediaKind) -> bool {
        self.kind == kind && matches!(self.state, State::Free)
    }

    /// How ill its name fits to a track: best is its own, then none.
    fn strangeness(&self, publication: PublicationId) -> u8 {
        match (self.is_known, self.named_for) {
            (true, Some(named)) if named == publication => 0,
            (false, _) => 1,
            (true, _) => 2,
        }
    }
}

#[derive(Debug)]
enum State {
    Free,
    Taken(Assignment),
    /// Empty, but both sides have agreed on a track in it, or may have.
    Releasing {
        /// Our last description shows it empty.
        is_shown: bool,
    },
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
    /// A description of ours has told the client.
    pub is_shown: bool,
    /// Both sides have agreed to it: media flows.
    pub is_agreed: bool,
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
                    is_known: false,
                    named_for: None,
                });
                let awaited = self.awaited.of(kind);
                *awaited = awaited.saturating_sub(1);
            }
        }
        // An offer that was under way when sections were asked for has none of them: another must
        // come, and clients have been seen to forget it.
        self.is_offer_awaited = self.awaited != PerKind::default();
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
                let next = if assignment.is_shown {
                    self.is_stale = true;
                    State::Releasing { is_shown: false }
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
            let free = self.slots.iter_mut().filter(|slot| slot.is_free(kind));
            if let Some(slot) = free.min_by_key(|slot| slot.strangeness(publication)) {
                slot.state = State::Taken(assign(publication));
                self.is_stale = true;
            }
        }
        dropped
    }

    /// How many slots are missing, if those that are being released are waited for.
    pub fn missing(&self, wanted: &[(PublicationId, MediaKind)]) -> PerKind {
        let mut missing = PerKind::default();
        for (publication, kind) in wanted {
            if self.find(*publication).is_none() {
                *missing.of(*kind) += 1;
            }
        }
        for slot in &self.slots {
            if matches!(slot.state, State::Releasing { .. }) {
                let missing = missing.of(slot.kind);
                *missing = missing.saturating_sub(1);
            }
        }
        missing
    }

    /// What the client must be asked for now, if anything: so many sections more, or, with zeros,
    /// just to offer again.
    pub fn requirement(&mut self, wanted: &[(PublicationId, MediaKind)]) -> Option<PerKind> {
        let more = self.missing(wanted).less(self.awaited);
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

    /// Whether something has changed that our last description did not show.
    pub fn is_stale(&self) -> bool {
        self.is_stale
    }

    /// A description of ours that shows the table as it is goes out.
    pub fn note_shown(&mut self) {
        self.is_stale = false;
        for slot in &mut self.slots {
            let carried = match &mut slot.state {
                State::Taken(assignment) => {
                    assignment.is_shown = true;
                    Some(assignment.publication)
                }
                State::Releasing { is_shown } => {
                    *is_shown = true;
                    None
                }
                State::Free => None,
            };
            if !std::mem::replace(&mut slot.is_known, true) {
                slot.named_for = carried;
            }
        }
    }

    /// Both sides have agreed to what our last description shows: returns what flows for the first
    /// time, with its section.
    pub fn note_agreed(&mut self) -> Vec<(Mid, Assignment)> {
        let mut fresh = Vec::new();
        for slot in &mut self.slots {
            match &mut slot.state {
                State::Taken(assignment) if assignment.is_shown && !assignment.is_agreed => {
                    assignment.is_agreed = true;
                    fresh.push((slot.mid, assignment.clone()));
                }
                State::Releasing { is_shown: true } => slot.state = State::Free,
                State::Taken(_) | State::Releasing { .. } | State::Free => {}
            }
        }
        fresh
    }

    /// Whether clients know a section by the name of another track than the one that it carries.
    pub fn is_misnamed(&self, mid: Mid) -> bool {
        let slot = self.slots.iter().find(|slot| slot.mid == mid);
        slot.is_some_and(|slot| match &slot.state {
            State::Taken(assignment) => {
                slot.is_known && slot.named_for != Some(assignment.publication)
            }
            State::Free | State::Releasing { .. } => false,
        })
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
            State::Free | State::Releasing { .. } => None,
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
            is_shown: false,
            is_agreed: false,
        }
    }

    /// As in an answer of ours, which shows and agrees at once.
    fn answer(table: &mut SlotTable) -> Vec<(Mid, Assignment)> {
        table.note_shown();
        table.note_agreed()
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
        let fresh = answer(&mut table);
        assert_eq!(fresh.len(), 2);
        assert_eq!(answer(&mut table), [], "told already");
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
        assert_eq!(answer(&mut table).len(), 2);
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
        answer(&mut table);
        assert_eq!(table.requirement(&wanted), None);
        assert!(table.is_offer_awaited(), "that is to be asked for again");
        table.forget_requirement();
        assert_eq!(table.requirement(&wanted), need(0, 1));
        let offered = [&offered[..], &[(mid("2"), MediaKind::Video)]].concat();
        table.learn(&offered);
        assert!(!table.is_offer_awaited());
    }

    #[test]
    fn a_slot_is_free_again_only_after_an_answer_showed_it_empty() {
        let mut table = one_of_each();
        table.reconcile(&[CAMERA], assign);
        answer(&mut table);
        let dropped = table.reconcile(&[SCREEN], assign);
        assert_eq!(dropped.len(), 1);
        assert!(table.find(SCREEN.0).is_none());
        assert_eq!(table.requirement(&[SCREEN]), need(0, 0), "one will do");
        table.learn(&[(mid("0"), MediaKind::Audio), (mid("1"), MediaKind::Video)]);
        table.reconcile(&[SCREEN], assign);
        assert!(table.find(SCREEN.0).is_none(), "not before the answer");
        answer(&mut table);
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
        answer(&mut table);
        let lost = table.learn(&[(mid("0"), MediaKind::Audio)]);
        assert_eq!(lost.len(), 1);
        assert_eq!(table.requirement(&[CAMERA]), need(0, 1));
    }

    #[test]
    fn what_is_offered_flows_once_it_is_answered() {
        let mut table = one_of_each();
        table.reconcile(&[CAMERA], assign);
        table.note_shown();
        assert!(!table.is_stale());
        // The microphone came after the offer, so the answer to that says nothing about it.
        table.reconcile(&[CAMERA, VOICE], assign);
        let fresh = table.note_agreed();
        assert_eq!(fresh.len(), 1);
        assert_eq!(fresh[0].1.publication, CAMERA.0);
        assert!(table.is_stale());
        table.note_shown();
        assert_eq!(table.note_agreed().len(), 1);
    }

    #[test]
    fn a_track_that_ends_while_it_is_offered_leaves_its_slot_only_after_another_offer() {
        let mut table = one_of_each();
        table.reconcile(&[CAMERA], assign);
        table.note_shown();
        assert_eq!(table.reconcile(&[SCREEN], assign).len(), 1);
        assert_eq!(table.note_agreed(), [], "it has ended");
        table.reconcile(&[SCREEN], assign);
        assert!(table.find(SCREEN.0).is_none(), "the camera was agreed to");
        assert_eq!(table.missing(&[SCREEN]), PerKind::default(), "it will do");
        assert!(table.is_stale());
        table.note_shown();
        assert_eq!(table.note_agreed(), []);
        table.reconcile(&[SCREEN], assign);
        assert!(table.find(SCREEN.0).is_some());
    }

    #[test]
    fn a_track_that_comes_back_gets_the_slot_with_its_name() {
        let mut table = SlotTable::default();
        let [one, other] = [mid("1"), mid("2")].map(|mid| (mid, MediaKind::Video));
        table.learn(&[one]);
        table.reconcile(&[CAMERA], assign);
        answer(&mut table);
        table.learn(&[one, other]);
        table.reconcile(&[CAMERA, SCREEN], assign);
        answer(&mut table);
        assert!(!table.is_misnamed(one.0) && !table.is_misnamed(other.0));
        table.reconcile(&[], assign);
        answer(&mut table);
        table.reconcile(&[SCREEN], assign);
        assert!(table.carried_by(other.0).is_some() && !table.is_misnamed(other.0));
        answer(&mut table);
        let scope = (PublicationId(4), MediaKind::Video);
        table.reconcile(&[SCREEN, scope], assign);
        assert!(table.is_misnamed(one.0), "its client calls it a camera");
    }
}
