//! A participant who goes over from one room to another with his connection as it is.
//!
//! The old room's people see him leave and the new one's see him join; his client is told where it is
//! and whom it sees there, and keeps its socket, its transports and its tracks. Between the two rooms
//! he is a [`Traveller`]. What belongs to a room stays behind: what he was sent, what he wanted of
//! others, to whom else he was shown, whether he may be recorded. Power over a room does not travel either: it is in the token
//! that he has shown for the old one. Who may move whom is decided by the front door.

use std::time::{Instant, SystemTime};

use sfu::id::{Epoch, PublicationId, RoomId};
use sfu::shard::command::Command;
use tokio::sync::mpsc::Sender;

use super::actor::Input;
use super::moderation::{ModerationRefusal, Ruling};
use super::participant::{Participant, ParticipantKey, Path};
use super::recording::Gate;
use super::{Removal, Room, leave, outlet};
use crate::token::Grants;
use crate::wire::proto::leave_request::Action;
use crate::wire::proto::participant_info::State;
use crate::wire::proto::signal_response::Message;
use crate::wire::proto::{DisconnectReason, RoomMovedResponse};

/// A participant who has left one room and is not yet in another.
pub struct Traveller {
    participant: Participant,
    /// Where the media plane still has him, and under which epoch.
    from: RoomId,
    epoch: Epoch,
    /// What he asked for and his old room has not heard.
    backlog: Vec<Input>,
}

/// What he gets on the way.
pub struct Ticket {
    /// The inbox of the new room.
    pub inbox: Sender<Input>,
    /// What he may do there.
    pub grants: Grants,
    /// The same as a token, with which his client can come back.
    pub token: String,
    /// When that expires.
    pub expires_at: SystemTime,
}

impl Traveller {
    /// The API key that signed his token.
    pub fn api_key(&self) -> &str {
        &self.participant.api_key
    }

    /// His session id.
    pub fn sid(&self) -> &str {
        &self.participant.sid
    }

    /// What he may do in a room that he is moved to.
    pub fn grants_for(&self, room: &str) -> Grants {
        self.participant.grants_for(room)
    }

    /// Where the media plane has him: room, epoch and transports.
    pub fn paths(&self) -> (RoomId, Epoch, impl Iterator<Item = Path>) {
        (self.from, self.epoch, self.participant.paths())
    }

    /// His old room is placed under this epoch.
    pub fn note_epoch(&mut self, epoch: Epoch) {
        self.epoch = epoch;
    }

    /// Whose he is: what is still in the old room's inbox of his goes along.
    pub fn key(&self) -> ParticipantKey {
        self.participant.key
    }

    /// What he asked for and his old room has not heard.
    pub fn pack(&mut self, backlog: Vec<Input>) {
        self.backlog = backlog;
    }

    /// He arrives nowhere: his client is told.
    pub fn strand(&self, reason: DisconnectReason, action: Action) {
        let outlet = &self.participant.outlet;
        outlet.whereabouts().abandon();
        outlet.send(Message::Leave(leave(reason, action)));
        outlet.end(outlet::End::Left);
    }
}

impl Room {
    /// Whether somebody can be moved away.
    pub(super) fn survey(&self, identity: &str) -> Result<Ruling, ModerationRefusal> {
        self.mover(identity).map(|_| Ruling::Done)
    }

    /// Somebody who is here with a connection that works.
    pub(super) fn mover(&self, identity: &str) -> Result<&Participant, ModerationRefusal> {
        let participant = &self.participants[&self.key_of(identity)?];
        match participant.state {
            _ if participant.is_guest() => Err(ModerationRefusal::Guest),
            _ if participant.detached.is_some() => Err(ModerationRefusal::Away),
            State::Active => Ok(participant),
            _ => Err(ModerationRefusal::NotConnected),
        }
    }

    /// Keeps a place for somebody who is about to come from another room, or says why not.
    pub(super) fn expect(&mut self, identity: String) -> Result<Ruling, ModerationRefusal> {
        if self.key_of(&identity).is_ok() || self.expected.contains(&identity) {
            return Err(ModerationRefusal::Taken);
        }
        if self.participants.len() + self.expected.len() >= self.settings.participants_max {
            return Err(ModerationRefusal::Full);
        }
        self.expected.insert(identity);
        Ok(Ruling::Done)
    }

    /// He does not come.
    pub(super) fn expect_no_more(&mut self, identity: &str) -> Ruling {
        self.expected.remove(identity);
        Ruling::Done
    }

    /// Lets somebody go over to another room: the others see him leave. His client does not know yet,
    /// and what it asks for is held back.
    pub fn depart(
        &mut self,
        now: Instant,
        identity: &str,
    ) -> Result<Box<Traveller>, ModerationRefusal> {
        let key = self.mover(identity)?.key;
        if let Some(participant) = self.participants.get_mut(&key) {
            participant.gate = Gate::Closed;
        }
        // Not a packet of his is recorded here any more, however long the way is.
        self.set_gate(key);
        let removed = self.participants.remove(&key);
        let mut participant =
            removed.expect("a key that was just found is of somebody who is here");
        participant.outlet.whereabouts().depart();
        participant.forwardings.clear();
        self.see_off(now, &mut participant, DisconnectReason::Migration);
        Ok(Box::new(Traveller {
            participant,
            from: self.id,
            epoch: Epoch(0),
            backlog: Vec::new(),
        }))
    }

    /// Takes somebody in who comes from another room: the others see him join, and his client is told
    /// where it is. Returns what it has asked for meanwhile.
    pub fn arrive(&mut self, now: Instant, traveller: Traveller, ticket: Ticket) -> Vec<Input> {
        let Traveller {
            mut participant,
            from,
            mut backlog,
            ..
        } = traveller;
        self.expected.remove(&participant.identity);
        if !self.had_participants {
            self.settle(&participant.api_key, None);
            self.notify_room_started();
        }
        // Who has come by himself meanwhile goes, as with every join.
        if let Ok(namesake) = self.key_of(&participant.identity) {
            let reason = DisconnectReason::DuplicateIdentity;
            self.remove(now, namesake, Removal::told(reason, Action::Disconnect));
        }
        let key = participant.key;
        let names = participant.begin_anew(self.reliable.position());
        participant.state = State::Active;
        participant.token_expires_at = participant.token_expires_at.max(ticket.expires_at);
        self.move_transports(&participant, from, &names);
        let outlet = participant.outlet.clone();
        backlog.extend(outlet.whereabouts().arrive(ticket.inbox, ticket.grants));
        let others = self.others();
        let moved = RoomMovedResponse {
            room: Some(self.info()),
            token: ticket.token.clone(),
            participant: Some(participant.info()),
            other_participants: others,
        };
        outlet.send(Message::RoomMoved(moved));
        // Some SDKs come back only with a token that they were given like this.
        outlet.send(Message::RefreshToken(ticket.token));
        self.participants.insert(key, participant);
        self.empty_since = None;
        self.had_participants = true;
        self.describe_participant(key);
        self.show_recording();
        self.introduce(key);
        self.record_if_due(now);
        self.reconcile_all(now);
        self.settle_demands(now);
        backlog
    }

    /// The media plane takes his transports over, each on the worker that has it.
    fn move_transports(
        &mut self,
        participant: &Participant,
        from: RoomId,
        names: &[(PublicationId, PublicationId)],
    ) {
        let publishing = participant.transport.as_ref().map(|one| one.id);
        for Path { worker, transport } in participant.paths() {
            self.spread.extend(worker);
            let publications = match publishing == Some(transport) {
                true => names.to_vec(),
                false => Vec::new(),
            };
            let command = Command::MoveTransport {
                transport,
                from,
                publications,
            };
            self.spread.send(worker, command);
        }
    }
}
