//! A room: who is in it, what they publish, and who receives what.
//!
//! [`Room`] is the state and the decisions, without tasks, sockets or clocks: an input and the time
//! go in; messages land in the participants' outlets and commands for the media plane come out.
//! [`actor`] gives it a task and an inbox. The questions live in files of their own: what was agreed
//! about a transport that a client offers ([`negotiation`]) or we do ([`offering`]), what a client
//! asks for ([`requests`]), what the media plane reports ([`events`]), how good connections are
//! ([`connection`]), what is recorded ([`recording`]), what the outside hears ([`notices`]), what
//! the server API does ([`moderation`]) and
//! whom it calls ([`calls`]), how somebody comes back whose connection broke ([`resume`]), how
//! somebody goes over to another room ([`passage`]), and how he is shown to others while he stays
//! ([`forwarding`], and [`guest`] where he is shown).

pub mod actor;
pub mod backup;
pub mod calls;
pub mod chat;
pub mod connection;
pub mod dynacast;
pub mod events;
pub mod forwarding;
pub mod guest;
pub mod moderation;
pub mod negotiation;
pub mod notices;
pub mod offering;
pub mod outlet;
pub mod participant;
pub mod passage;
pub mod permissions;
pub mod recording;
pub mod replay;
pub mod requests;
pub mod resume;
pub mod scribe;
pub mod settings;
pub mod shortage;
pub mod slots;
pub mod spread;
pub mod subscriptions;
pub mod tracks;
pub mod whereabouts;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sfu::id::{PublicationId, RoomId, WorkerId};
use sfu::media::MediaKind;
use sfu::shard::command::Command;
use sfu::transport::params::Fingerprint;

use self::calls::Calls;
use self::chat::ChatReader;
use self::participant::{Connections, Hello, Participant, ParticipantKey, Path};
use self::recording::RoomRecording;
use self::replay::Replay;
use self::resume::Departures;
use self::settings::{Settings, SettingsWish};
use self::spread::Spread;
use self::tracks::Track;
use crate::config::{Limits, RoomsConfig};
use crate::consent::{POLICY_TAG, Policy};
use crate::error::ApiError;
use crate::sid;
use crate::tcp::Port;
use crate::wire::proto::leave_request::Action;
use crate::wire::proto::participant_info::State;
use crate::wire::proto::signal_response::Message;
use crate::wire::proto::{
    self, DisconnectReason, EgressInfo, JoinResponse, LeaveRequest, ParticipantInfo,
    ParticipantUpdate, RoomUpdate, ServerInfo, SpeakersChanged, WebhookEvent,
};

/// What clients are told about us. They gate features by it, so it names the release of the
/// protocol's own server that we behave like.
const SERVER_VERSION: &str = "1.13.5";
/// The signalling protocol that we speak.
const PROTOCOL: i32 = 17;
/// A client that was asked for an offer and has made none for so long is asked again.
const OFFER_TIMEOUT: Duration = Duration::from_secs(15);
/// A participant counts as active without data channels after this.
const DATA_PATIENCE: Duration = Duration::from_secs(3);

/// What all rooms have in common.
#[derive(Clone, Debug)]
pub struct Setup {
    /// How rooms live and die.
    pub rooms: RoomsConfig,
    /// Whether rooms are recorded.
    pub recording: Policy,
    /// The bounds.
    pub limits: Limits,
    /// Media over the port of the front door.
    pub port: Arc<Port>,
    /// Where each worker listens.
    pub candidates: Vec<Vec<SocketAddr>>,
    /// The media plane's certificate.
    pub fingerprint: Fingerprint,
    /// The largest data channel message.
    pub message_size_max: usize,
}

/// A room.
pub struct Room {
    id: RoomId,
    sid: String,
    name: String,
    setup: Arc<Setup>,
    settings: Settings,
    participants: BTreeMap<ParticipantKey, Participant>,
    /// Identities of those who are about to come from other rooms, whose places are kept.
    expected: BTreeSet<String>,
    spread: Spread,
    created_at: SystemTime,
    /// Since when nobody has been here.
    empty_since: Option<Instant>,
    had_participants: bool,
    told: Counts,
    /// The API key of the one who came first: what is recorded here is its.
    owner: String,
    recording: RoomRecording,
    chat: ChatReader,
    calls: Calls,
    reliable: Replay,
    departures: Departures,
    notices: Vec<WebhookEvent>,
    /// Numbers of messages that the server API has sent.
    nonces: VecDeque<Vec<u8>>,
    /// Others have been told that it is there.
    is_announced: bool,
    /// The media plane has lost the whole room.
    is_lost: bool,
}

/// The numbers of a room that everybody is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    participants: u32,
    publishers: u32,
    is_recorded: bool,
}

/// Why a participant is taken out, and what its client shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removal {
    /// What it and the others are told.
    pub reason: DisconnectReason,
    /// What its client shall do; `None` if there is nobody left to tell.
    pub action: Option<Action>,
}

impl Removal {
    /// The client has said goodbye, or is gone.
    pub const fn gone(reason: DisconnectReason) -> Self {
        Self {
            reason,
            action: None,
        }
    }

    /// The client is told to go.
    pub const fn told(reason: DisconnectReason, action: Action) -> Self {
        Self {
            reason,
            action: Some(action),
        }
    }
}

impl Room {
    /// An empty room that begins on the worker `home`.
    pub fn new(now: Instant, id: RoomId, name: String, home: WorkerId, setup: Arc<Setup>) -> Self {
        let spread = Spread::new(home, setup.candidates.len(), setup.rooms.spill_busy_share);
        let recording = RoomRecording::new(setup.recording, Vec::new());
        Self {
            id,
            sid: sid::room_sid(),
            name,
            settings: Settings::new(&setup.rooms, &setup.limits),
            reliable: Replay::new(setup.limits.replay_bytes_per_room_max),
            departures: Departures::default(),
            setup,
            participants: BTreeMap::new(),
            expected: BTreeSet::new(),
            spread,
            created_at: SystemTime::now(),
            empty_since: Some(now),
            had_participants: false,
            told: Counts::default(),
            owner: String::new(),
            recording,
            chat: ChatReader::default(),
            calls: Calls::default(),
            notices: Vec::new(),
            nonces: VecDeque::new(),
            is_announced: false,
            is_lost: false,
        }
    }

    /// What a killed process was asked to record goes on once somebody is here.
    pub fn resume_egresses(&mut self, left: Vec<EgressInfo>) {
        self.recording = RoomRecording::new(self.setup.recording, left);
    }

    /// Its session id.
    pub fn sid(&self) -> &str {
        &self.sid
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The API key whose room it is.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Its number in the media plane.
    pub fn id(&self) -> RoomId {
        self.id
    }

    /// Commands for the media plane that have come up since the last time.
    pub fn take_commands(&mut self) -> Vec<(WorkerId, Command)> {
        self.spread.take_commands()
    }

    /// How busy the workers are now.
    pub fn note_busy(&mut self, busy: impl Iterator<Item = f32>) {
        self.spread.note_busy(busy);
    }

    /// The workers that have a part of the room.
    pub fn workers(&self) -> impl Iterator<Item = WorkerId> {
        self.spread.workers()
    }

    /// How many participants there are, guests among them.
    pub fn len(&self) -> usize {
        self.participants.len()
    }

    /// Whether nobody is here.
    pub fn is_empty(&self) -> bool {
        self.participants.is_empty()
    }

    /// Lets somebody in, or says why not. Whoever has the same identity must go.
    pub fn join(&mut self, now: Instant, hello: Hello) -> Result<ParticipantKey, ApiError> {
        if hello.grants.identity == calls::CALLER {
            return Err(ApiError::BadRequest("this identity is the server's own"));
        }
        // A token's room configuration counts for whoever comes first, so it must be known before.
        if !self.had_participants {
            self.settle(&hello.api_key, hello.grants.room_config.as_ref());
            self.notify_room_started();
            if self.recording.is_for_all() {
                self.dismiss_guests(now);
            }
        }
        let namesake = self
            .participants
            .values()
            .find(|one| one.identity == hello.grants.identity)
            .map(|one| one.key);
        let others = self.participants.len() - usize::from(namesake.is_some());
        if others + self.expected.len() >= self.settings.participants_max {
            return Err(ApiError::Full("participants_per_room_max"));
        }
        if let Some(namesake) = namesake {
            let reason = DisconnectReason::DuplicateIdentity;
            self.remove(now, namesake, Removal::told(reason, Action::Disconnect));
        }
        let key = ParticipantKey(sid::next_number());
        let mut participant = Participant::new(key, &hello);
        participant.heard_from = self.reliable.position();
        let response = self.join_response(&mut participant, hello.host.as_deref());
        participant.outlet.send(Message::Join(response));
        self.participants.insert(key, participant);
        self.empty_since = None;
        self.had_participants = true;
        self.note_joined(key);
        self.show_recording();
        self.announce(key);
        self.reconcile(now, key);
        for request in hello.tracks {
            self.add_track(key, request);
        }
        if let Some((offer, id)) = hello.offer {
            self.negotiate(now, key, &offer, id);
        }
        Ok(key)
    }

    /// Whoever comes first decides what the server leaves open.
    fn settle(&mut self, api_key: &str, config: Option<&serde_json::Value>) {
        api_key.clone_into(&mut self.owner);
        let wish = config.and_then(|config| config.get("tags")?.get(POLICY_TAG)?.as_str());
        self.recording.choose(self.setup.recording.for_room(wish));
        if let Some(config) = config {
            self.settings
                .apply(&SettingsWish::read(config), &self.setup.limits);
        }
    }

    fn join_response(&mut self, participant: &mut Participant, host: Option<&str>) -> JoinResponse {
        let seconds = |span: Duration| span.as_secs() as i32;
        JoinResponse {
            other_participants: self.others(),
            participant: Some(participant.info()),
            room: Some(self.info()),
            server_version: SERVER_VERSION.to_owned(),
            server_info: Some(server_info()),
            ping_interval: seconds(self.setup.rooms.ping_interval),
            ping_timeout: seconds(self.setup.rooms.ping_timeout),
            enabled_publish_codecs: Self::enabled_codecs(),
            subscriber_primary: participant.receives_first,
            ice_servers: self.ice_servers(&participant.sid, host),
            ..Default::default()
        }
    }

    /// Those who are here, as somebody is told who comes.
    fn others(&mut self) -> Vec<ParticipantInfo> {
        let others = self.participants.values_mut();
        let others = others.filter(|other| !other.permissions.is_hidden);
        others.map(Participant::info).collect()
    }

    /// A pass of its own for a participant who reaches us as `host`.
    fn ice_servers(&self, sid: &str, host: Option<&str>) -> Vec<proto::IceServer> {
        self.setup.port.ice_servers(SystemTime::now(), sid, host)
    }

    /// What clients are told about the room.
    fn info(&self) -> proto::Room {
        let created_at = self
            .created_at
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let counts = self.counts();
        proto::Room {
            sid: self.sid.clone(),
            name: self.name.clone(),
            empty_timeout: self.settings.empty_timeout.as_secs() as u32,
            departure_timeout: self.settings.departure_timeout.as_secs() as u32,
            max_participants: self.settings.participants_max as u32,
            creation_time: created_at.as_secs() as i64,
            creation_time_ms: created_at.as_millis() as i64,
            enabled_codecs: Self::enabled_codecs(),
            num_participants: counts.participants,
            num_publishers: counts.publishers,
            active_recording: counts.is_recorded,
            metadata: self.settings.metadata.clone(),
            ..Default::default()
        }
    }

    /// What may be published here, as clients are told.
    fn enabled_codecs() -> Vec<proto::Codec> {
        let enabled = tracks::ALL_CODECS.map(|codec| proto::Codec {
            mime: tracks::mime_type(codec).to_owned(),
            fmtp_line: String::new(),
        });
        enabled.into()
    }

    fn counts(&self) -> Counts {
        let seen = || {
            self.participants
                .values()
                .filter(|p| !p.permissions.is_hidden)
        };
        Counts {
            participants: seen().count() as u32,
            publishers: seen().filter(|one| one.is_publisher()).count() as u32,
            is_recorded: self.recording.is_acknowledged()
                || self
                    .participants
                    .values()
                    .any(|p| p.permissions.is_recorder),
        }
    }

    /// Takes a participant out: its client is told if there is one, the others see it go, and the
    /// media plane forgets it.
    pub fn remove(&mut self, now: Instant, key: ParticipantKey, removal: Removal) {
        let Some(mut participant) = self.participants.remove(&key) else {
            return;
        };
        if let Some(action) = removal.action {
            participant
                .outlet
                .send(Message::Leave(leave(removal.reason, action)));
        }
        participant.outlet.end(outlet::End::Left);
        self.setup.port.withdraw(&participant.sid);
        for Path { worker, transport } in participant.paths() {
            let command = Command::RemoveTransport { transport };
            self.spread.send(worker, command);
        }
        if let Some(guest) = &participant.guest {
            for (worker, command) in guest.unsharing(&participant.tracks) {
                self.spread.send(worker, command);
            }
        }
        self.see_off(now, &mut participant, removal.reason);
    }

    /// Somebody who is not in the list any more has left: the others and the outside hear of it.
    fn see_off(&mut self, now: Instant, participant: &mut Participant, reason: DisconnectReason) {
        let key = participant.key;
        for track in &participant.tracks {
            self.forget_track(track.publication);
        }
        self.chat.forget(key);
        self.end_calls_to(key);
        self.note_left(participant);
        let info = participant.info();
        for track in participant.tracks.iter().filter(|one| one.is_published()) {
            self.notify_track("track_unpublished", info.clone(), track.info.clone());
        }
        let was = participant.state;
        let farewell = participant.farewell(reason);
        self.notify_left(was, farewell.clone());
        if !participant.permissions.is_hidden {
            self.note_departure(now, &farewell);
            self.tell_all(key, &update(vec![farewell]));
        }
        self.reconcile_all(now);
        if self.participants.is_empty() {
            self.empty_since = Some(now);
        }
    }

    /// Ends the room: everybody is told to come back, elsewhere or later.
    pub fn shut_down(&mut self, now: Instant, removal: Removal) {
        while let Some(key) = self.participants.keys().next().copied() {
            self.remove(now, key, removal);
        }
    }

    /// Does what is due. Says whether the room goes on.
    pub fn tick(&mut self, now: Instant) -> bool {
        self.give_up_seats(now);
        self.give_up_calls(now);
        let keys: Vec<ParticipantKey> = self.participants.keys().copied().collect();
        for key in keys {
            self.ask_again(now, key);
            self.activate_if_ready(now, key);
        }
        self.make_due_offers(now);
        self.follow_guests(now);
        self.record_if_due(now);
        self.settle_demands(now);
        self.tell_counts();
        if self.is_lost {
            return false;
        }
        let is_awaited = !self.expected.is_empty();
        is_awaited
            || self.empty_since.is_none_or(|since| {
                let timeout = match self.had_participants {
                    true => self.settings.departure_timeout,
                    false => self.settings.empty_timeout,
                };
                now.saturating_duration_since(since) < timeout
            })
    }

    fn tell_counts(&mut self) {
        let counts = self.counts();
        if counts != self.told {
            self.told = counts;
            self.tell_room();
        }
    }

    /// Tells everybody how the room is now.
    fn tell_room(&self) {
        let room = Some(self.info());
        let message = Message::RoomUpdate(RoomUpdate { room });
        for participant in self.participants.values() {
            participant.outlet.send(message.clone());
        }
    }

    /// Tells the others how a participant is now, unless it is hidden.
    fn announce(&mut self, key: ParticipantKey) {
        if let Some(info) = self.visible_info(key) {
            self.tell_all(key, &update(vec![info]));
        }
    }

    /// Tells everybody, itself included.
    fn announce_to_all(&mut self, key: ParticipantKey) {
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        let message = update(vec![participant.info()]);
        participant.outlet.send(message.clone());
        if !participant.permissions.is_hidden {
            self.tell_all(key, &message);
        }
    }

    fn visible_info(&mut self, key: ParticipantKey) -> Option<ParticipantInfo> {
        let participant = self.participants.get_mut(&key)?;
        (!participant.permissions.is_hidden).then(|| participant.info())
    }

    /// Sends to everybody but one.
    fn tell_all(&self, but: ParticipantKey, message: &Message) {
        for participant in self.participants.values() {
            if participant.key != but {
                participant.outlet.send(message.clone());
            }
        }
    }

    fn tell(&self, key: ParticipantKey, message: Message) {
        if let Some(participant) = self.participants.get(&key) {
            participant.outlet.send(message);
        }
    }

    /// The published tracks that a participant wants and may have, in the order of joining.
    fn wanted(&self, subscriber: &Participant) -> Vec<(PublicationId, MediaKind)> {
        if !subscriber.permissions.can_subscribe {
            return Vec::new();
        }
        let mut wanted = Vec::new();
        for publisher in self.participants.values() {
            if publisher.key == subscriber.key || publisher.permissions.is_hidden {
                continue;
            }
            for track in publisher.tracks.iter().filter(|one| one.is_published()) {
                if self.is_wanted(publisher, track, subscriber) {
                    wanted.push((track.publication, track.kind));
                }
            }
        }
        wanted
    }

    /// Whether a participant wants a track and may have it.
    fn is_wanted(&self, publisher: &Participant, track: &Track, subscriber: &Participant) -> bool {
        let (sid, identity) = (&subscriber.sid, &subscriber.identity);
        publisher.key != subscriber.key
            && subscriber.permissions.can_subscribe
            && !publisher.permissions.is_hidden
            && subscriber.subscriptions.want(track.publication)
            && publisher.audience.includes(sid, identity, &track.info.sid)
    }

    /// Who publishes a track.
    fn publisher_of(&self, publication: PublicationId) -> Option<&Participant> {
        self.participants
            .values()
            .find(|participant| participant.published(publication).is_some())
    }

    fn reconcile_all(&mut self, now: Instant) {
        let keys: Vec<ParticipantKey> = self.participants.keys().copied().collect();
        for key in keys {
            self.reconcile(now, key);
        }
    }

    /// Brings the slots of a participant in line with what it wants, and asks its client for an
    /// offer, or makes it one, where that is needed.
    fn reconcile(&mut self, now: Instant, key: ParticipantKey) {
        self.fill_slots(key);
        let Some(participant) = self.participants.get(&key) else {
            return;
        };
        if participant.connections == Connections::Two {
            return self.reconcile_offering(now, key);
        }
        let wanted = self.wanted(participant);
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        // Before its first offer a client cannot be asked for a second one.
        if participant.transport.is_none() {
            return;
        }
        let slots = &mut participant.subscriptions.slots;
        if let Some(more) = slots.requirement(&wanted) {
            participant.asked_at = Some(now);
            let requirement = proto::MediaSectionsRequirement {
                num_audios: more.audio,
                num_videos: more.video,
            };
            participant
                .outlet
                .send(Message::MediaSectionsRequirement(requirement));
        }
    }

    /// Gives slots to what is wanted and takes them from what is not.
    fn fill_slots(&mut self, key: ParticipantKey) {
        let Some(participant) = self.participants.get(&key) else {
            return;
        };
        let wanted = self.wanted(participant);
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        let slots = &mut participant.subscriptions.slots;
        let dropped = slots.reconcile(&wanted, negotiation::assignment);
        self.unsubscribe(key, &dropped);
    }

    /// Takes subscriptions back from the media plane, as far as it has heard of them.
    fn unsubscribe(&mut self, key: ParticipantKey, dropped: &[slots::Assignment]) {
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        for assignment in dropped {
            let backed = &mut participant.subscriptions.backed;
            backed.remove(&assignment.subscription);
        }
        let Some(Path { worker, .. }) = participant.receiving_path() else {
            return;
        };
        for assignment in dropped.iter().filter(|one| one.is_agreed) {
            // With its publication the subscription has ended by itself.
            if self.publisher_of(assignment.publication).is_some() {
                let subscription = assignment.subscription;
                let command = Command::Unsubscribe { subscription };
                self.spread.send(worker, command);
            }
        }
    }

    /// Nobody will receive this track again.
    fn forget_track(&mut self, publication: PublicationId) {
        for participant in self.participants.values_mut() {
            participant.subscriptions.forget(publication);
        }
    }

    /// A client that was asked for an offer and made none is asked again.
    fn ask_again(&mut self, now: Instant, key: ParticipantKey) {
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        let is_overdue = participant
            .asked_at
            .is_some_and(|at| now.saturating_duration_since(at) >= OFFER_TIMEOUT);
        if participant.subscriptions.slots.is_offer_awaited() && is_overdue {
            participant.subscriptions.slots.forget_requirement();
            self.reconcile(now, key);
        }
    }

    /// Once media and data can flow the participant counts as active.
    fn activate_if_ready(&mut self, now: Instant, key: ParticipantKey) {
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        let Some((connected_at, awaits_data)) = participant.readiness() else {
            return;
        };
        let has_data = !awaits_data
            || participant
                .data
                .is_open(sfu::shard::command::DataChannel::Reliable);
        let is_patient = now.saturating_duration_since(connected_at) < DATA_PATIENCE;
        if participant.state != State::Joined || (!has_data && is_patient) {
            return;
        }
        participant.state = State::Active;
        self.introduce(key);
    }

    /// Somebody is here for good: everybody hears of it, and he of what he can only know now.
    fn introduce(&mut self, key: ParticipantKey) {
        self.announce(key);
        self.notify_joined(key);
        self.tell_connections(key);
        self.show_connection(key);
        let speakers: Vec<_> = self
            .participants
            .values()
            .filter(|one| !one.permissions.is_hidden)
            .map(Participant::speaker)
            .filter(|speaker| speaker.active)
            .collect();
        if !speakers.is_empty() {
            self.tell(key, Message::SpeakersChanged(SpeakersChanged { speakers }));
        }
    }
}

/// The message that ends a session.
pub fn leave(reason: DisconnectReason, action: Action) -> LeaveRequest {
    LeaveRequest {
        reason: reason as i32,
        action: action as i32,
        // What clients before protocol 13 look at.
        can_reconnect: action != Action::Disconnect,
        ..Default::default()
    }
}

/// What clients are told about us.
fn server_info() -> ServerInfo {
    ServerInfo {
        version: SERVER_VERSION.to_owned(),
        protocol: PROTOCOL,
        ..Default::default()
    }
}

fn update(participants: Vec<ParticipantInfo>) -> Message {
    Message::Update(ParticipantUpdate { participants })
}

#[cfg(test)]
mod tests;
