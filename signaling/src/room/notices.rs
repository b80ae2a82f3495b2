//! What the outside hears of a room: the events of LiveKit's webhooks, in the order in which they
//! happened.
//!
//! A room writes its notices down here; its task carries them to the [`outbox`](crate::outbox).
//! Whoever became active and leaves has left; whoever never did is an aborted connection. Tracks are
//! told of after their participant: what it has agreed to send before it can is told when it has
//! joined, and never if it never does.

use super::Room;
use super::participant::{Participant, ParticipantKey};
use crate::wire::proto::participant_info::State;
use crate::wire::proto::{
    DisconnectReason, EgressInfo, ParticipantInfo, RoomEndReason, TrackInfo, WebhookEvent,
};

impl Room {
    /// Events that have come up since the last time.
    pub fn take_notices(&mut self) -> Vec<WebhookEvent> {
        std::mem::take(&mut self.notices)
    }

    fn notify(&mut self, event: &str, fill: impl FnOnce(&mut WebhookEvent)) {
        self.notify_room_started();
        self.note(event, fill);
    }

    fn note(&mut self, event: &str, fill: impl FnOnce(&mut WebhookEvent)) {
        let mut notice = WebhookEvent {
            event: event.to_owned(),
            room: Some(self.info()),
            ..WebhookEvent::default()
        };
        fill(&mut notice);
        self.notices.push(notice);
    }

    /// The room is there. Told once, after what the application or the first comer wants of it has
    /// been taken: receivers read in its metadata whose room it is.
    pub(super) fn notify_room_started(&mut self) {
        if !std::mem::replace(&mut self.is_announced, true) {
            self.note("room_started", |_| {});
        }
    }

    /// The room is over.
    pub fn notify_room_finished(&mut self, reason: RoomEndReason) {
        self.notify("room_finished", |notice| {
            notice.set_room_end_reason(reason);
        });
    }

    pub(super) fn notify_joined(&mut self, key: ParticipantKey) {
        if let Some(info) = self.participants.get_mut(&key).map(Participant::info) {
            self.notify("participant_joined", |notice| {
                notice.participant = Some(info);
            });
        }
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        let info = participant.info();
        let tracks = participant.tracks.iter().filter(|one| one.is_published());
        let tracks: Vec<TrackInfo> = tracks.map(|one| one.info.clone()).collect();
        for track in tracks {
            self.notify_track("track_published", info.clone(), track);
        }
    }

    pub(super) fn notify_left(&mut self, was: State, info: ParticipantInfo) {
        let event = match was {
            State::Active => "participant_left",
            _ => "participant_connection_aborted",
        };
        self.notify(event, |notice| notice.participant = Some(info));
    }

    pub(super) fn notify_track(&mut self, event: &str, of: ParticipantInfo, track: TrackInfo) {
        if of.state() != State::Active {
            return;
        }
        self.notify(event, |notice| {
            notice.participant = Some(of);
            notice.track = Some(track);
        });
    }

    pub(super) fn notify_egress(&mut self, event: &str, info: &EgressInfo) {
        self.notify(event, |notice| notice.egress_info = Some(info.clone()));
    }
}

/// Why a room is over, as its webhook says.
pub fn end_reason(reason: DisconnectReason) -> RoomEndReason {
    match reason {
        DisconnectReason::ServerShutdown => RoomEndReason::RoomEndServerShutdown,
        DisconnectReason::RoomDeleted => RoomEndReason::RoomEndApiDelete,
        _ => RoomEndReason::RoomEndIdleTimeout,
    }
}
