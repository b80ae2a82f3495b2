//! What the server API does in a room: show who is there, mute, remove, change, send, end.
//!
//! Whoever calls has been found to be allowed to by the front door. A moderator's word is carried
//! out whatever the client does: who is muted is not forwarded, who may no longer publish has his
//! tracks taken away, who is removed is out. Like all of a room this is a decision without waiting.

use std::collections::{BTreeSet, HashMap};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use prost::Message as _;
use sfu::shard::command::DataChannel;

use super::participant::{Participant, ParticipantKey};
use super::permissions::Permissions;
use super::requests::{ATTRIBUTES_MAX, merged};
use super::settings::SettingsWish;
use super::subscriptions::Chooser;
use super::{Removal, Room, events};
use crate::consent::{self, RECORDING_ATTRIBUTE};
use crate::error::{ApiError, Code};
use crate::wire::data_packet::Destinations;
use crate::wire::proto::data_packet::{self, Kind};
use crate::wire::proto::leave_request::Action;
use crate::wire::proto::signal_response::Message;
use crate::wire::proto::{
    self, DataPacket, DisconnectReason, MuteTrackRequest, ParticipantInfo, ParticipantPermission,
    ParticipantTracks, SendDataRequest, TrackInfo, TrackUnpublishedResponse, UpdateSubscription,
    UserPacket,
};

/// Numbers of messages that are remembered, so that one that is sent twice arrives once.
const NONCES_MAX: usize = 256;
/// Bytes of such a number; the SDKs send sixteen.
const NONCE_BYTES_MAX: usize = 64;

/// Something that the server API wants of a room.
#[derive(Clone, Debug)]
pub enum Moderation {
    /// How is the room?
    Describe,
    /// The room is made; if it is there already, this is what shall be different.
    Arrange(SettingsWish),
    /// Who is there?
    List,
    /// How is this participant?
    Get(String),
    /// This participant must go.
    Remove(String),
    /// This track is muted, or no longer.
    Mute {
        /// Whose it is.
        identity: String,
        /// Which.
        track_sid: String,
        /// Whether it is muted.
        muted: bool,
    },
    /// A participant is changed.
    Update(Box<ParticipantChange>),
    /// A participant receives these tracks, or no longer.
    Subscribe {
        /// Who.
        identity: String,
        /// Which.
        track_sids: Vec<String>,
        /// Which, by publisher; an older way.
        participant_tracks: Vec<ParticipantTracks>,
        /// Whether it receives them.
        subscribe: bool,
    },
    /// What is written on the room.
    SetMetadata(String),
    /// A message to participants.
    Send(Box<SendDataRequest>),
    /// Can this participant be moved to another room?
    Survey(String),
    /// A place is kept for somebody who is about to come from another room.
    Expect(String),
    /// He does not come.
    ExpectNoMore(String),
}

impl Moderation {
    /// Whom it changes, if it changes somebody who stays.
    fn changes(&self) -> Option<&str> {
        match self {
            Self::Mute { identity, .. } | Self::Subscribe { identity, .. } => Some(identity),
            Self::Update(change) => Some(&change.identity),
            _ => None,
        }
    }
}

/// What is different about a participant; what is empty stays.
#[derive(Clone, Debug, Default)]
pub struct ParticipantChange {
    /// Who.
    pub identity: String,
    /// The name that people see.
    pub name: String,
    /// Free text of the application.
    pub metadata: String,
    /// Free names and values; an empty value takes the name away.
    pub attributes: HashMap<String, String>,
    /// What it may do.
    pub permission: Option<ParticipantPermission>,
}

/// What the server API is told.
#[derive(Clone, Debug)]
pub enum Ruling {
    /// The room as it is now.
    Room(Box<proto::Room>),
    /// Those who are there.
    Participants(Vec<ParticipantInfo>),
    /// One of them.
    Participant(Box<ParticipantInfo>),
    /// A track.
    Track(Box<TrackInfo>),
    /// Somebody is out.
    Removed {
        /// When the last token expires that he has shown.
        tokens_until: SystemTime,
    },
    /// It has been done.
    Done,
}

/// Why something is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModerationRefusal {
    /// There is no such room.
    #[error("requested room does not exist")]
    NoRoom,
    /// There is nobody of that identity.
    #[error("participant does not exist")]
    NoParticipant,
    /// There is no such track.
    #[error("track does not exist")]
    NoTrack,
    /// Nobody's microphone is opened from afar.
    #[error("remote unmute is not enabled")]
    RemoteUnmute,
    /// Only the recorder says what is recorded.
    #[error("this attribute is written by the server alone")]
    OwnAttribute,
    /// Whether somebody may be recorded he says himself.
    #[error("consent is given by the participant alone, or in the token")]
    Consent,
    /// Somebody whose connection is broken cannot be told where to go.
    #[error("the participant is reconnecting")]
    Away,
    /// Somebody who has not arrived cannot go on.
    #[error("the participant has not connected yet")]
    NotConnected,
    /// Somebody of that identity is in the destination.
    #[error("the identity is in the destination room already")]
    Taken,
    /// The destination holds no more.
    #[error("the destination room is full")]
    Full,
    /// Somebody who is only shown here is changed where he is.
    #[error("the participant is forwarded from another room: ask for it there")]
    Guest,
    /// Nobody would see or hear anything of him.
    #[error("the participant may not publish, or is hidden")]
    NothingToShow,
    /// Somebody is shown to as many rooms as he may be.
    #[error("limits.forwardings_per_participant_max is reached")]
    EverywhereAlready,
    /// Nothing of a guest is recorded, and everybody in the destination must be.
    #[error("everybody in the destination room must be recorded, and who is forwarded is not")]
    MustBeRecorded,
    /// Larger than a bound; its name.
    #[error("{0} is exceeded")]
    TooLarge(&'static str),
    /// The room has ended meanwhile.
    #[error("the room is closing")]
    Closing,
}

impl From<ModerationRefusal> for ApiError {
    fn from(refusal: ModerationRefusal) -> Self {
        use ModerationRefusal as Why;
        let code = match refusal {
            Why::NoRoom | Why::NoParticipant | Why::NoTrack => Code::NotFound,
            Why::RemoteUnmute
            | Why::Away
            | Why::NotConnected
            | Why::Guest
            | Why::NothingToShow
            | Why::MustBeRecorded => Code::FailedPrecondition,
            Why::Taken => Code::AlreadyExists,
            Why::Full | Why::EverywhereAlready => Code::ResourceExhausted,
            Why::OwnAttribute | Why::Consent | Why::TooLarge(_) => Code::InvalidArgument,
            Why::Closing => Code::Unavailable,
        };
        Self::Api(code, refusal.to_string())
    }
}

impl Room {
    /// Does what the server API wants, or says why not.
    pub fn moderate(
        &mut self,
        now: Instant,
        asked: Moderation,
    ) -> Result<Ruling, ModerationRefusal> {
        if asked.changes().is_some_and(|who| self.has_guest(who)) {
            return Err(ModerationRefusal::Guest);
        }
        match asked {
            Moderation::Describe => {}
            Moderation::Arrange(wish) => self.arrange(&wish),
            Moderation::List => return Ok(Ruling::Participants(self.infos())),
            Moderation::Get(identity) => return self.ruled_participant(&identity),
            Moderation::Remove(identity) => return self.expel(now, &identity),
            Moderation::Mute {
                identity,
                track_sid,
                muted,
            } => return self.mute_for(&identity, &track_sid, muted),
            Moderation::Update(change) => return self.change(now, *change),
            Moderation::Subscribe {
                identity,
                track_sids,
                participant_tracks,
                subscribe,
            } => {
                let key = self.key_of(&identity)?;
                let request = UpdateSubscription {
                    track_sids,
                    subscribe,
                    participant_tracks,
                };
                self.choose(now, key, &request, Chooser::Server);
                return Ok(Ruling::Done);
            }
            Moderation::SetMetadata(metadata) => self.set_metadata(metadata)?,
            Moderation::Send(message) => return self.send_data(*message),
            Moderation::Survey(identity) => return self.survey(&identity),
            Moderation::Expect(identity) => return self.expect(identity),
            Moderation::ExpectNoMore(identity) => return Ok(self.expect_no_more(&identity)),
        }
        Ok(Ruling::Room(Box::new(self.info())))
    }

    /// Takes what is wanted of the room, and tells those who are there.
    pub fn arrange(&mut self, wish: &SettingsWish) {
        let before = self.settings.metadata.clone();
        self.settings.apply(wish, &self.setup.limits);
        if self.settings.metadata != before {
            self.tell_room();
        }
        self.notify_room_started();
    }

    fn set_metadata(&mut self, metadata: String) -> Result<(), ModerationRefusal> {
        if metadata.len() > self.setup.limits.metadata_bytes_max {
            return Err(ModerationRefusal::TooLarge("limits.metadata_bytes_max"));
        }
        self.settings.metadata = metadata;
        self.tell_room();
        Ok(())
    }

    fn infos(&mut self) -> Vec<ParticipantInfo> {
        let participants = self.participants.values_mut();
        participants.map(Participant::info).collect()
    }

    pub(super) fn key_of(&self, identity: &str) -> Result<ParticipantKey, ModerationRefusal> {
        let mut participants = self.participants.values();
        let found = participants.find(|one| one.identity == identity);
        Ok(found.ok_or(ModerationRefusal::NoParticipant)?.key)
    }

    pub(super) fn participant(&mut self, key: ParticipantKey) -> &mut Participant {
        let found = self.participants.get_mut(&key);
        found.expect("a key that was just found is of somebody who is here")
    }

    fn ruled_participant(&mut self, identity: &str) -> Result<Ruling, ModerationRefusal> {
        let key = self.key_of(identity)?;
        Ok(Ruling::Participant(Box::new(self.participant(key).info())))
    }

    fn expel(&mut self, now: Instant, identity: &str) -> Result<Ruling, ModerationRefusal> {
        let key = self.key_of(identity)?;
        let tokens_until = self.participant(key).token_expires_at;
        let reason = DisconnectReason::ParticipantRemoved;
        self.remove(now, key, Removal::told(reason, Action::Disconnect));
        Ok(Ruling::Removed { tokens_until })
    }

    /// Takes everybody out who came with a token of one of these API keys. Says how many that were.
    pub fn dismiss(&mut self, now: Instant, keys: &BTreeSet<String>) -> usize {
        let participants = self.participants.values();
        let theirs = participants.filter(|one| keys.contains(&one.api_key));
        let theirs: Vec<ParticipantKey> = theirs.map(|one| one.key).collect();
        let removal = Removal::told(DisconnectReason::ParticipantRemoved, Action::Disconnect);
        for key in &theirs {
            self.remove(now, *key, removal);
        }
        theirs.len()
    }

    /// Stops forwarding at once and asks the client to stop sending, which may take it a moment, or
    /// for ever.
    fn mute_for(
        &mut self,
        identity: &str,
        track_sid: &str,
        muted: bool,
    ) -> Result<Ruling, ModerationRefusal> {
        let key = self.key_of(identity)?;
        let enables_unmute = self.setup.rooms.remote_unmute;
        let participant = self.participant(key);
        let outlet = participant.outlet.clone();
        let track = participant.track_mut(track_sid);
        let track = track.ok_or(ModerationRefusal::NoTrack)?;
        if !muted && track.info.muted && !enables_unmute {
            return Err(ModerationRefusal::RemoteUnmute);
        }
        track.is_silenced = muted;
        let sid = track_sid.to_owned();
        outlet.send(Message::Mute(MuteTrackRequest { sid, muted }));
        self.set_muted(key, track_sid, muted);
        let track = self.participant(key).track_mut(track_sid);
        let info = track.ok_or(ModerationRefusal::NoTrack)?.info.clone();
        Ok(Ruling::Track(Box::new(info)))
    }

    fn change(
        &mut self,
        now: Instant,
        change: ParticipantChange,
    ) -> Result<Ruling, ModerationRefusal> {
        let key = self.key_of(&change.identity)?;
        if change.attributes.contains_key(RECORDING_ATTRIBUTE) {
            return Err(ModerationRefusal::OwnAttribute);
        }
        if change.attributes.contains_key(consent::ATTRIBUTE) {
            return Err(ModerationRefusal::Consent);
        }
        let limits = self.setup.limits.clone();
        let participant = self.participant(key);
        let attributes = merged(&participant.attributes, &change.attributes);
        let bytes: usize = attributes.iter().map(|(k, v)| k.len() + v.len()).sum();
        let bounds = [
            (
                change.name.len(),
                limits.name_bytes_max,
                "limits.name_bytes_max",
            ),
            (
                change.metadata.len(),
                limits.metadata_bytes_max,
                "limits.metadata_bytes_max",
            ),
            (
                bytes,
                limits.attributes_bytes_max,
                "limits.attributes_bytes_max",
            ),
            (attributes.len(), ATTRIBUTES_MAX, "the number of attributes"),
        ];
        if let Some((_, _, name)) = bounds.into_iter().find(|(size, max, _)| size > max) {
            return Err(ModerationRefusal::TooLarge(name));
        }
        participant.attributes = attributes;
        if !change.name.is_empty() {
            participant.name = change.name;
        }
        if !change.metadata.is_empty() {
            participant.metadata = change.metadata;
        }
        if let Some(permission) = &change.permission {
            self.permit(now, key, permission);
        }
        self.announce_to_all(key);
        self.ruled_participant(&change.identity)
    }

    /// Changes what a participant may do, and takes away what it may do no longer.
    fn permit(&mut self, now: Instant, key: ParticipantKey, permission: &ParticipantPermission) {
        let participant = self.participant(key);
        let was_hidden = participant.permissions.is_hidden;
        participant.permissions = Permissions::from_proto(permission);
        let permissions = &participant.permissions;
        let is_hidden = permissions.is_hidden;
        if permissions.can_publish_data {
            participant.data.is_refusal_told = false;
        }
        let forbidden = participant
            .tracks
            .iter()
            .filter(|track| !permissions.may_publish(track.info.source()));
        let forbidden: Vec<String> = forbidden.map(|track| track.info.sid.clone()).collect();
        for sid in forbidden {
            self.withdraw(key, &sid);
        }
        if is_hidden && !was_hidden {
            // The others see it go.
            let mut info = self.participant(key).info();
            info.set_state(proto::participant_info::State::Disconnected);
            info.tracks.clear();
            self.note_departure(now, &info);
            self.tell_all(key, &super::update(vec![info]));
        }
        self.reconcile_all(now);
    }

    /// Takes a track away from its publisher.
    fn withdraw(&mut self, key: ParticipantKey, track_sid: &str) {
        let participant = self.participant(key);
        let Some(place) = participant
            .tracks
            .iter()
            .position(|one| one.info.sid == track_sid)
        else {
            return;
        };
        let track = participant.tracks.remove(place);
        participant.levels.remove(&track.publication);
        participant
            .outlet
            .send(Message::TrackUnpublished(TrackUnpublishedResponse {
                track_sid: track_sid.to_owned(),
            }));
        if !track.is_published() {
            return;
        }
        let worker = participant.transport.as_ref().map(|one| one.worker);
        let info = participant.info();
        if let Some(worker) = worker {
            for command in track.ending() {
                self.spread.send(worker, command);
            }
        }
        self.forget_track(track.publication);
        self.notify_track("track_unpublished", info, track.info);
    }

    /// Sends a message in nobody's name.
    #[expect(
        deprecated,
        reason = "older clients and SDKs still write and read these fields"
    )]
    fn send_data(&mut self, asked: SendDataRequest) -> Result<Ruling, ModerationRefusal> {
        if asked.data.len() > self.setup.message_size_max {
            return Err(ModerationRefusal::TooLarge(
                "media.limits.data_message_bytes_max",
            ));
        }
        if asked.nonce.len() > NONCE_BYTES_MAX {
            return Err(ModerationRefusal::TooLarge("the length of a nonce"));
        }
        if !self.is_first(&asked.nonce) {
            return Ok(Ruling::Done);
        }
        let kind = asked.kind();
        let channel = match kind {
            Kind::Reliable => DataChannel::Reliable,
            Kind::Lossy => DataChannel::Lossy,
        };
        let destinations = Destinations {
            identities: asked.destination_identities,
            sids: asked.destination_sids,
        };
        let packet = DataPacket {
            kind: kind as i32,
            destination_identities: destinations.identities.clone(),
            value: Some(data_packet::Value::User(UserPacket {
                payload: asked.data,
                topic: asked.topic,
                nonce: asked.nonce,
                ..UserPacket::default()
            })),
            ..DataPacket::default()
        };
        let payload = Bytes::from(packet.encode_to_vec());
        for recipient in self.participants.values_mut() {
            if destinations.include(&recipient.identity, &recipient.sid)
                && let Some((worker, command)) = events::deliver(recipient, channel, &payload)
            {
                self.spread.send(worker, command);
            }
        }
        Ok(Ruling::Done)
    }

    /// Whether a message of this number has not been sent before.
    fn is_first(&mut self, nonce: &[u8]) -> bool {
        if nonce.is_empty() {
            return true;
        }
        if self.nonces.iter().any(|known| known == nonce) {
            return false;
        }
        if self.nonces.len() >= NONCES_MAX {
            self.nonces.pop_front();
        }
        self.nonces.push_back(nonce.to_vec());
        true
    }
}
