//! What the media plane reports about a room, and what follows from it: connections, speakers, and
//! messages that arrive over data channels.

use std::time::Instant;

use bytes::Bytes;
use sfu::error::CommandError;
use sfu::id::{PublicationId, SubscriptionId, TransportId, WorkerId};
use sfu::quality::Rating;
use sfu::shard::command::{Command, DataChannel};
use sfu::shard::event::{DisconnectReason as TransportEnd, EventKind, Speaker};

use super::guest::Guest;
use super::participant::{Participant, ParticipantKey, Path};
use super::subscriptions::Chooser;
use super::{Removal, Room, calls, resume};
use crate::wire::data_packet::{Content, Patched, Sender, patch};
use crate::wire::proto::data_packet::Kind;
use crate::wire::proto::leave_request::Action;
use crate::wire::proto::request_response::Reason;
use crate::wire::proto::signal_response::Message;
use crate::wire::proto::{
    DisconnectReason, RequestResponse, SpeakerInfo, SpeakersChanged, SubscriptionError,
    SubscriptionResponse,
};

impl Room {
    /// Takes note of what happened on a worker.
    pub fn event(&mut self, now: Instant, worker: WorkerId, event: EventKind) {
        match event {
            EventKind::Connected { transport, .. } => self.connected(now, transport),
            EventKind::DataChannelOpen { transport, channel } => {
                self.channel_opened(now, transport, channel);
            }
            EventKind::Disconnected { transport, reason } => {
                self.disconnected(now, transport, reason);
            }
            EventKind::Silent { transport } => self.silent(transport),
            EventKind::Speakers { speakers } => self.speakers(&speakers),
            EventKind::PictureHeld {
                subscription,
                is_held,
            } => self.picture_held(subscription, is_held),
            EventKind::Quality { transport, rating } => self.rated(transport, rating),
            EventKind::Data {
                transport,
                channel,
                payload,
            } => self.relay(now, transport, channel, &payload),
            EventKind::Refused { error } => self.refused(now, &error),
            EventKind::RoomLost => self.worker_lost(now, worker),
            EventKind::TapLost => self.tap_lost(worker),
            EventKind::TapOverflowed => self.tap_overflowed(worker, true),
            EventKind::TapResumed => self.tap_overflowed(worker, false),
            // Tracks are announced by their section; layers are the media plane's own affair; the
            // counters are taken before they get here.
            _ => {}
        }
    }

    /// A worker has lost its part of the room. Whoever was there must connect anew; the others go
    /// on, unless there are none.
    fn worker_lost(&mut self, now: Instant, worker: WorkerId) {
        self.tap_lost(worker);
        if !self.spread.lose(worker) {
            self.is_lost = true;
            return;
        }
        let was_there = |one: &&mut Participant| {
            let guest = one.guest.as_ref();
            one.worker() == Some(worker) || guest.is_some_and(|guest| guest.is_on(worker))
        };
        let lost = self.participants.values_mut().filter(was_there);
        // The media plane has forgotten their transports already.
        let lost: Vec<ParticipantKey> = lost
            .map(|one| {
                one.transport = None;
                one.offering = None;
                one.guest.iter_mut().for_each(Guest::forget_path);
                one.key
            })
            .collect();
        for key in lost {
            let reason = DisconnectReason::MediaFailure;
            self.remove(now, key, Removal::told(reason, Action::Reconnect));
        }
    }

    /// A participant sent more than the room can take.
    pub fn flooded(&mut self, now: Instant, transport: TransportId) {
        if let Some(key) = self.owner_of(transport) {
            let reason = DisconnectReason::UnknownReason;
            self.remove(now, key, Removal::told(reason, Action::Disconnect));
        }
    }

    pub(super) fn owner_of(&self, transport: TransportId) -> Option<ParticipantKey> {
        let mut everybody = self.participants.values();
        let owner = everybody.find(|one| one.owns(transport));
        owner.map(|one| one.key)
    }

    fn connected(&mut self, now: Instant, id: TransportId) {
        let Some(key) = self.owner_of(id) else {
            return;
        };
        if let Some(participant) = self.participants.get_mut(&key) {
            participant.note_connected(now, id);
            participant.rate(id, Rating::BEST);
        }
        self.activate_if_ready(now, key);
    }

    fn channel_opened(&mut self, now: Instant, transport: TransportId, channel: DataChannel) {
        let Some(key) = self.owner_of(transport) else {
            return;
        };
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        // Who has two connections hears over one of them only.
        let path = participant.message_path();
        let Some(Path { worker, .. }) = path.filter(|path| path.transport == transport) else {
            return;
        };
        for payload in participant.data.open(channel) {
            let command = Command::SendData {
                transport,
                channel,
                payload,
            };
            self.spread.send(worker, command);
        }
        self.activate_if_ready(now, key);
    }

    /// Nothing comes from a participant's client any more, although its session lives: its path is dead
    /// and it does not know that yet. It is told to come back in its seat, which makes it look for all
    /// paths again.
    fn silent(&mut self, transport: TransportId) {
        let key = self.owner_of(transport);
        let participant = key.and_then(|key| self.participants.get(&key));
        if let Some(participant) = participant
            && participant.detached.is_none()
        {
            let reason = DisconnectReason::ConnectionTimeout;
            let told = super::leave(reason, Action::Resume);
            participant.outlet.send(Message::Leave(told));
        }
    }

    fn disconnected(&mut self, now: Instant, transport: TransportId, end: TransportEnd) {
        let Some(key) = self.owner_of(transport) else {
            return;
        };
        let (reason, action) = match end {
            TransportEnd::NeverConnected | TransportEnd::HandshakeFailed => {
                (DisconnectReason::JoinFailure, Action::Reconnect)
            }
            TransportEnd::ConsentLost | TransportEnd::ClosedByPeer => {
                (DisconnectReason::ConnectionTimeout, Action::Reconnect)
            }
            TransportEnd::LimitExceeded => (DisconnectReason::MediaFailure, Action::Disconnect),
        };
        // The media plane has forgotten it already.
        if let Some(participant) = self.participants.get_mut(&key) {
            participant.forget_path(transport);
        }
        self.remove(now, key, Removal::told(reason, action));
    }

    fn speakers(&mut self, speakers: &[Speaker]) {
        let mut changed: Vec<(ParticipantKey, SpeakerInfo)> = Vec::new();
        for speaker in speakers {
            let publisher = self.publisher_of(speaker.publication).map(|one| one.key);
            let Some(publisher) = publisher.and_then(|key| self.participants.get_mut(&key)) else {
                continue;
            };
            let before = publisher.speaker();
            let level = (speaker.level, speaker.is_active);
            publisher.levels.insert(speaker.publication, level);
            note_change(&mut changed, publisher, &before);
        }
        self.tell_speakers(&changed);
        for (key, speaker) in changed {
            if self.participants[&key].is_guest() {
                continue;
            }
            self.note_speaking(speaker.sid, speaker.active);
        }
    }

    /// A track fell silent because it was muted.
    pub(super) fn silence(&mut self, publication: PublicationId) {
        let mut changed = Vec::new();
        for publisher in self.participants.values_mut() {
            let before = publisher.speaker();
            if publisher.levels.remove(&publication).is_some() {
                note_change(&mut changed, publisher, &before);
            }
        }
        self.tell_speakers(&changed);
    }

    fn tell_speakers(&self, changed: &[(ParticipantKey, SpeakerInfo)]) {
        if changed.is_empty() {
            return;
        }
        for participant in self.participants.values() {
            let speakers: Vec<SpeakerInfo> = changed
                .iter()
                .filter(|(key, _)| {
                    let is_hidden = self.participants[key].permissions.is_hidden;
                    !is_hidden || *key == participant.key
                })
                .map(|(_, speaker)| speaker.clone())
                .collect();
            if !speakers.is_empty() {
                let message = Message::SpeakersChanged(SpeakersChanged { speakers });
                participant.outlet.send(message);
            }
        }
    }

    /// Passes a message on to those it is for, never to its sender.
    fn relay(
        &mut self,
        now: Instant,
        transport: TransportId,
        channel: DataChannel,
        payload: &[u8],
    ) {
        let Some(key) = self.owner_of(transport) else {
            return;
        };
        let Some(sender) = self.participants.get_mut(&key) else {
            return;
        };
        if !sender.permissions.can_publish_data {
            return refuse_data(sender);
        }
        let Some(patched) = read_message(sender, channel, payload) else {
            return;
        };
        let to = &patched.destinations.identities;
        if to.iter().any(|one| one == calls::CALLER) {
            return self.hear_call(key, &patched.payload);
        }
        if channel == DataChannel::Reliable {
            let sid = match sender.permissions.is_hidden {
                true => "",
                false => &sender.sid,
            };
            let age_max = self.setup.rooms.resume_timeout + resume::NOTICE_MARGIN;
            self.reliable.keep(now, (key, sid), &patched, age_max);
            self.note_chat(key, &patched.payload);
        }
        let recipients = self.participants.values_mut().filter(|one| {
            one.key != key
                && patched.destinations.include(&one.identity, &one.sid)
                && (patched.content != Content::Metrics || one.permissions.can_subscribe_metrics)
        });
        for recipient in recipients {
            if let Some((worker, command)) = deliver(recipient, channel, &patched.payload) {
                self.spread.send(worker, command);
            }
        }
    }

    fn refused(&mut self, now: Instant, error: &CommandError) {
        match error {
            CommandError::NoCommonCodec(subscription) => self.give_up(now, *subscription),
            // A full queue of a slow receiver. The counters tell the operator.
            CommandError::NotSent(_) => {}
            // A client that hung up and our command crossed on the way.
            CommandError::UnknownTransport(_)
            | CommandError::UnknownPublication(_)
            | CommandError::UnknownSubscription(_) => {
                tracing::debug!(room = %self.id, %error, "a command came too late");
            }
            error => tracing::warn!(room = %self.id, %error, "the media plane refused a command"),
        }
    }

    /// A track cannot be sent to a subscriber: it is told, and its slot becomes free.
    pub(super) fn give_up(&mut self, now: Instant, subscription: SubscriptionId) {
        let found = self.participants.values().find_map(|participant| {
            let mut assignments = participant.subscriptions.slots.assignments();
            let (_, one) = assignments.find(|(_, one)| one.subscription == subscription)?;
            Some((participant.key, one.publication))
        });
        let Some((key, publication)) = found else {
            return;
        };
        let track_sid = self
            .publisher_of(publication)
            .and_then(|publisher| publisher.published(publication))
            .map(|track| track.info.sid.clone());
        if let Some(participant) = self.participants.get_mut(&key) {
            let subscriptions = &mut participant.subscriptions;
            subscriptions.choose(publication, false, Chooser::Server);
        }
        if let Some(track_sid) = track_sid {
            let response = SubscriptionResponse {
                track_sid,
                err: SubscriptionError::SeCodecUnsupported as i32,
            };
            self.tell(key, Message::SubscriptionResponse(response));
        }
        self.reconcile(now, key);
    }
}

fn note_change(
    changed: &mut Vec<(ParticipantKey, SpeakerInfo)>,
    publisher: &Participant,
    before: &SpeakerInfo,
) {
    let after = publisher.speaker();
    if after != *before {
        changed.retain(|(key, _)| *key != publisher.key);
        changed.push((publisher.key, after));
    }
}

/// Tells a participant once that it may not send data: it gets no other sign.
fn refuse_data(sender: &mut Participant) {
    if !std::mem::replace(&mut sender.data.is_refusal_told, true) {
        sender
            .outlet
            .send(Message::RequestResponse(RequestResponse {
                reason: Reason::NotAllowed as i32,
                message: "data may not be published".to_owned(),
                ..Default::default()
            }));
    }
}

/// Reads a message as far as needed and stamps its sender in. `None` for what is not passed on.
fn read_message(sender: &mut Participant, channel: DataChannel, payload: &[u8]) -> Option<Patched> {
    let stamp = match sender.permissions.is_hidden {
        true => Sender {
            identity: "",
            sid: "",
        },
        false => Sender {
            identity: &sender.identity,
            sid: &sender.sid,
        },
    };
    let kind = match channel {
        DataChannel::Reliable => Kind::Reliable,
        DataChannel::Lossy => Kind::Lossy,
    };
    let patched = patch(payload, kind, stamp).ok()?;
    if patched.content == Content::Transcription && !sender.permissions.is_agent {
        return None;
    }
    // A client that resends after a reconnect counts on duplicates being dropped.
    if channel == DataChannel::Reliable && patched.sequence > 0 {
        if patched.sequence <= sender.data.last_sequence {
            return None;
        }
        sender.data.last_sequence = patched.sequence;
    }
    Some(patched)
}

pub(super) fn deliver(
    recipient: &mut Participant,
    channel: DataChannel,
    payload: &Bytes,
) -> Option<(WorkerId, Command)> {
    if recipient.is_guest() {
        return None;
    }
    if recipient.data.is_open(channel) {
        let Path { worker, transport } = recipient.message_path()?;
        let command = Command::SendData {
            transport,
            channel,
            payload: payload.clone(),
        };
        return Some((worker, command));
    }
    // Who has just come would miss what is said before its channel opens. Beyond the bound the
    // message is lost to it, as it would be to somebody who comes a moment later.
    if channel == DataChannel::Reliable {
        recipient.data.wait(payload.clone());
    }
    None
}
