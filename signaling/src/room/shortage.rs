//! What happens where not everything fits through the path to a participant: what matters more, and
//! who is told what does not come.
//!
//! The media plane estimates and chooses. From here it hears how much each picture matters, and here
//! it is remembered which ones it leaves out, so that a client that comes back is told again.

use sfu::congestion::allocation::Priority;
use sfu::id::{PublicationId, SubscriptionId};
use sfu::shard::command::Command;

use super::Room;
use super::participant::{Participant, ParticipantKey};
use crate::wire::proto::signal_response::Message;
use crate::wire::proto::{StreamState, StreamStateInfo, StreamStateUpdate, TrackSource};

/// The most that a picture can matter; what a client numbers 1 is one below.
const PRIORITY_MAX: u32 = 120;
/// What clients rank lower is ranked equal.
const RANKS: u32 = 100;

/// How much a picture matters to somebody who has not said so: what instruments and screens show must
/// be read, faces need not.
fn priority_of(source: TrackSource) -> Priority {
    match source {
        TrackSource::Camera => Priority(1),
        _ => Priority(2),
    }
}

/// How much it matters to a client that ranks it, 1 the highest; 0 is no rank.
fn ranked(rank: u32) -> Option<Priority> {
    let priority = PRIORITY_MAX - rank.min(RANKS);
    (rank > 0).then_some(Priority(priority as u8))
}

impl Room {
    /// Tells the media plane how much a picture matters that is sent to a participant.
    pub(super) fn set_importance(
        &mut self,
        key: ParticipantKey,
        publication: PublicationId,
        subscription: SubscriptionId,
    ) {
        let track = self.publisher_of(publication);
        let source = track.and_then(|one| one.published(publication));
        let source = source.map_or(TrackSource::Unknown, |track| track.info.source());
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        let path = participant.receiving_path();
        let subscriptions = &mut participant.subscriptions;
        let chosen = subscriptions.priorities.get(&publication);
        let command = Command::SetImportance {
            subscription,
            priority: chosen.copied().unwrap_or(priority_of(source)),
            may_pause: subscriptions.may_pause,
        };
        if let Some(path) = path {
            self.spread.send(path.worker, command);
        }
    }

    /// A client ranks a track.
    pub(super) fn set_priority(
        &mut self,
        key: ParticipantKey,
        publication: PublicationId,
        rank: u32,
    ) {
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        let subscriptions = &mut participant.subscriptions;
        let before = match ranked(rank) {
            Some(priority) => subscriptions.priorities.insert(publication, priority),
            None => subscriptions.priorities.remove(&publication),
        };
        let assignment = subscriptions.slots.find(publication);
        let agreed = assignment.filter(|one| one.is_agreed);
        if before != ranked(rank)
            && let Some(subscription) = agreed.map(|one| one.subscription)
        {
            self.set_importance(key, publication, subscription);
        }
    }

    /// A picture is left out for lack of bandwidth, or comes again.
    pub(super) fn picture_held(&mut self, subscription: SubscriptionId, is_held: bool) {
        let found = self.participants.values_mut().find_map(|participant| {
            let slots = &participant.subscriptions.slots;
            let mut assignments = slots.assignments().map(|(_, assignment)| assignment);
            let found = assignments.find(|one| one.subscription == subscription)?;
            let publication = found.publication;
            let held = &mut participant.subscriptions.held;
            match is_held {
                true => held.insert(publication),
                false => held.remove(&publication),
            };
            Some((participant.key, publication))
        });
        if let Some((key, publication)) = found
            && let Some(info) = self.stream_state(publication, is_held)
        {
            self.tell(key, update(vec![info]));
        }
    }

    /// A subscription begins: nothing is left out of it yet.
    pub(super) fn forget_held(&mut self, key: ParticipantKey, publication: PublicationId) {
        if let Some(participant) = self.participants.get_mut(&key) {
            participant.subscriptions.held.remove(&publication);
        }
    }

    /// Tells a participant what is left out.
    pub(super) fn tell_held(&self, key: ParticipantKey) {
        let participant = self.participants.get(&key);
        let held = participant.map(|one| &one.subscriptions.held);
        let held = held.into_iter().flatten();
        let infos: Vec<_> = held
            .filter_map(|publication| self.stream_state(*publication, true))
            .collect();
        if !infos.is_empty() {
            self.tell(key, update(infos));
        }
    }

    fn stream_state(&self, publication: PublicationId, is_held: bool) -> Option<StreamStateInfo> {
        let publisher: &Participant = self.publisher_of(publication)?;
        let track = publisher.published(publication)?;
        let state = match is_held {
            true => StreamState::Paused,
            false => StreamState::Active,
        };
        Some(StreamStateInfo {
            participant_sid: publisher.sid.clone(),
            track_sid: track.info.sid.clone(),
            state: state as i32,
        })
    }
}

fn update(stream_states: Vec<StreamStateInfo>) -> Message {
    Message::StreamStateUpdate(StreamStateUpdate { stream_states })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rank_is_the_highest_and_any_is_above_none() {
        let ranks = [ranked(1), ranked(2), ranked(99), ranked(u32::MAX)];
        assert!(ranks.is_sorted_by(|a, b| a > b), "{ranks:?}");
        assert_eq!(ranked(0), None);
        let unranked = [
            TrackSource::ScreenShare,
            TrackSource::Unknown,
            TrackSource::Camera,
        ];
        assert!(
            unranked
                .iter()
                .all(|one| Some(priority_of(*one)) < ranked(u32::MAX))
        );
        assert!(priority_of(TrackSource::ScreenShare) > priority_of(TrackSource::Camera));
    }
}
