//! One participant: who it is, what others are told about it, and what it has agreed with us.
//!
//! The parts answer different questions and live in files of their own: its tracks, its wishes for
//! others' tracks, what it may do. This file holds them together and makes the message that
//! describes a participant, whose version grows with each change.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use sfu::id::{PublicationId, TransportId, WorkerId};
use sfu::quality::{Quality, Rating};
use sfu::shard::command::DataChannel;
use sfu::transport::params::{ExtensionIds, Fingerprint, IceCredentials};

use super::forwarding::Forwarding;
use super::guest::Guest;
use super::offering::Offering;
use super::outlet::Outlet;
use super::permissions::Permissions;
use super::recording::Gate;
use super::resume::Detached;
use super::subscriptions::{Audience, Subscriptions};
use super::tracks::Track;
use crate::consent::{self, Consent};
use crate::sdp::Offer;
use crate::sid;
use crate::token::{Grants, VideoGrant};
use crate::wire::proto::participant_info::{Kind, KindDetail, State};
use crate::wire::proto::{
    AddTrackRequest, ClientInfo, ConnectionQuality, ConnectionQualityInfo, DisconnectReason,
    ParticipantInfo, SpeakerInfo,
};

/// Messages that wait for a data channel to open. It opens within a round trip of the transport.
const WAITING_MESSAGES_MAX: usize = 256;
/// Their bytes.
const WAITING_BYTES_MAX: usize = 512 << 10;

/// A participant's number in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParticipantKey(pub u64);

impl fmt::Display for ParticipantKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "participant-{}", self.0)
    }
}

/// Somebody who asks to be let in; the token has been found good.
pub struct Hello {
    /// What the token says.
    pub grants: Grants,
    /// The API key that signed it.
    pub api_key: String,
    /// When it expires.
    pub token_expires_at: SystemTime,
    /// What the client says about itself.
    pub client: ClientInfo,
    /// How it wants to be connected.
    pub connections: Connections,
    /// Everything is to be subscribed to.
    pub is_automatic: bool,
    /// Pictures may be left out where not even the smallest fits: the client can show that.
    pub may_pause: bool,
    /// Tracks that are announced along with the join.
    pub tracks: Vec<AddTrackRequest>,
    /// The first offer with its number, if it came along.
    pub offer: Option<(Offer, u32)>,
    /// Where its messages go.
    pub outlet: Outlet,
    /// The host that it reaches us as.
    pub host: Option<String>,
}

/// How a client is connected to the media plane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Connections {
    /// By one connection, which it offers.
    #[default]
    One,
    /// By two: it offers the one over which it publishes, we the one over which it receives.
    Two,
}

/// A connection in the media plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// The worker that has it.
    pub worker: WorkerId,
    /// Its name there.
    pub transport: TransportId,
}

/// One participant.
pub struct Participant {
    /// Its number.
    pub key: ParticipantKey,
    /// Its session id.
    pub sid: String,
    /// Who it is.
    pub identity: String,
    /// The API key that signed its token.
    pub api_key: String,
    /// The name that people see.
    pub name: String,
    /// Free text of the application.
    pub metadata: String,
    /// Free names and values of the application.
    pub attributes: BTreeMap<String, String>,
    /// What it may do.
    pub permissions: Permissions,
    /// What it has said about being recorded.
    pub consent: Consent,
    /// Whether its packets may enter a recording.
    pub gate: Gate,
    /// How far it has come.
    pub state: State,
    /// What it publishes.
    pub tracks: Vec<Track>,
    /// To whom its tracks may go.
    pub audience: Audience,
    /// It has once said to whom they may go and to whom not.
    pub is_audience_chosen: bool,
    /// What it wants of others.
    pub subscriptions: Subscriptions,
    /// How it is connected.
    pub connections: Connections,
    /// It does not count as here before it receives, and hears messages over that connection: settled
    /// when it comes, because its client settles it then.
    pub receives_first: bool,
    /// Its browser makes up the names of tracks.
    pub is_firefox: bool,
    /// The connection that it offers, once it has.
    pub transport: Option<Transport>,
    /// The connection that we offer it, where it has two.
    pub offering: Option<Offering>,
    /// Its data channels.
    pub data: DataState,
    /// Where the room's messages were when it came; earlier ones are not for it.
    pub heard_from: u64,
    /// How good its connections are, as far as known.
    pub ratings: Vec<(TransportId, Rating)>,
    /// How loud its tracks are, and whether that counts as speaking.
    pub levels: BTreeMap<PublicationId, (f32, bool)>,
    /// Where its messages go.
    pub outlet: Outlet,
    /// The other rooms that see and hear it too.
    pub forwardings: Vec<Forwarding>,
    /// It is in another room itself, and only seen and heard here.
    pub guest: Option<Guest>,
    /// Its socket is gone, without a goodbye.
    pub detached: Option<Detached>,
    /// It has just come back and has not yet said what it knows.
    pub is_sync_awaited: bool,
    /// Since when an offer has been awaited.
    pub asked_at: Option<Instant>,
    /// When the token expires that it came with.
    pub token_expires_at: SystemTime,
    joined_at_wall: SystemTime,
    kind: Kind,
    kind_details: Vec<KindDetail>,
    client_protocol: i32,
    capabilities: Vec<i32>,
    version: u32,
}

/// What was agreed about a peer connection.
#[derive(Debug)]
pub struct Transport {
    /// Its name in the media plane.
    pub id: TransportId,
    /// The worker that has it.
    pub worker: WorkerId,
    /// Our credentials.
    pub local_ice: IceCredentials,
    /// The client's.
    pub remote_ice: IceCredentials,
    /// The client's certificate.
    pub fingerprint: Fingerprint,
    /// The numbers of header extensions, of all offers so far.
    pub extensions: ExtensionIds,
    /// The media plane was told that its packets may enter a recording.
    pub is_gate_open: bool,
    /// Data channels were offered.
    pub has_data: bool,
    /// The number of our session descriptions for it.
    pub session_id: u64,
    /// How many of them there were.
    pub answers: u64,
    /// Since when media may flow.
    pub connected_at: Option<Instant>,
}

impl Transport {
    /// Where the media plane has it.
    pub fn path(&self) -> Path {
        Path {
            worker: self.worker,
            transport: self.id,
        }
    }
}

/// The state of a participant's data channels.
#[derive(Debug, Default)]
pub struct DataState {
    is_reliable_open: bool,
    is_lossy_open: bool,
    waiting: VecDeque<Bytes>,
    waiting_bytes: usize,
    /// The highest number of a reliable message that was passed on.
    pub last_sequence: u32,
    /// It was told that it may not send.
    pub is_refusal_told: bool,
}

impl DataState {
    /// Whether a channel is open.
    pub fn is_open(&self, channel: DataChannel) -> bool {
        match channel {
            DataChannel::Reliable => self.is_reliable_open,
            DataChannel::Lossy => self.is_lossy_open,
        }
    }

    /// A channel has opened: what has waited for it may go now.
    pub fn open(&mut self, channel: DataChannel) -> VecDeque<Bytes> {
        match channel {
            DataChannel::Reliable => {
                self.is_reliable_open = true;
                self.waiting_bytes = 0;
                std::mem::take(&mut self.waiting)
            }
            DataChannel::Lossy => {
                self.is_lossy_open = true;
                VecDeque::new()
            }
        }
    }

    /// Keeps a reliable message until its channel opens. Says no when too much is waiting.
    pub fn wait(&mut self, payload: Bytes) -> bool {
        let fits = self.waiting.len() < WAITING_MESSAGES_MAX
            && self.waiting_bytes + payload.len() <= WAITING_BYTES_MAX;
        if fits {
            self.waiting_bytes += payload.len();
            self.waiting.push_back(payload);
        }
        fits
    }
}

impl Participant {
    /// A participant who has just been let in.
    pub fn new(key: ParticipantKey, hello: &Hello) -> Self {
        let grants = &hello.grants;
        let mut attributes = grants.attributes.clone();
        // Only we say what is recorded.
        attributes.remove(consent::RECORDING_ATTRIBUTE);
        let answer = attributes.get(consent::ATTRIBUTE).map(String::as_str);
        Self {
            key,
            sid: sid::participant_sid(),
            identity: grants.identity.clone(),
            api_key: hello.api_key.clone(),
            name: grants.name.clone(),
            metadata: grants.metadata.clone(),
            consent: Consent::default().after(answer),
            gate: Gate::default(),
            attributes,
            permissions: Permissions::from_grant(&grants.video, &grants.kind),
            state: State::Joined,
            tracks: Vec::new(),
            audience: Audience::default(),
            is_audience_chosen: false,
            subscriptions: Subscriptions {
                is_automatic: hello.is_automatic,
                may_pause: hello.may_pause,
                ..Subscriptions::default()
            },
            connections: hello.connections,
            receives_first: hello.connections == Connections::Two && grants.video.may_subscribe(),
            is_firefox: hello.client.browser.eq_ignore_ascii_case("firefox"),
            transport: None,
            offering: None,
            data: DataState::default(),
            heard_from: 0,
            ratings: Vec::new(),
            levels: BTreeMap::new(),
            outlet: hello.outlet.clone(),
            forwardings: Vec::new(),
            guest: None,
            detached: None,
            is_sync_awaited: false,
            asked_at: None,
            token_expires_at: hello.token_expires_at,
            joined_at_wall: SystemTime::now(),
            kind: kind(&grants.kind),
            kind_details: grants
                .kind_details
                .iter()
                .filter_map(|d| detail(d))
                .collect(),
            client_protocol: hello.client.client_protocol,
            capabilities: hello.client.capabilities.clone(),
            version: 0,
        }
    }

    /// What clients are told about it, newer than what they were told before.
    pub fn info(&mut self) -> ParticipantInfo {
        self.version += 1;
        let joined_at = self
            .joined_at_wall
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let published = self.tracks.iter().filter(|track| track.is_published());
        let tracks: Vec<_> = published.map(|track| track.info.clone()).collect();
        ParticipantInfo {
            sid: self.sid.clone(),
            identity: self.identity.clone(),
            state: self.state as i32,
            is_publisher: !tracks.is_empty(),
            tracks,
            metadata: self.metadata.clone(),
            joined_at: joined_at.as_secs() as i64,
            joined_at_ms: joined_at.as_millis() as i64,
            name: self.name.clone(),
            version: self.version,
            permission: Some(self.permissions.to_proto()),
            kind: self.kind as i32,
            kind_details: self.kind_details.iter().map(|one| *one as i32).collect(),
            attributes: self.attributes.clone().into_iter().collect(),
            client_protocol: self.client_protocol,
            capabilities: self.capabilities.clone(),
            ..Default::default()
        }
    }

    /// It has come from another room, where everything was about others. Its tracks get new names in the
    /// media plane, which are of one room; returned are those that it knows there, old and new.
    /// Whether it may be recorded it must be asked anew. Messages before `heard_from` are not for it.
    pub fn begin_anew(&mut self, heard_from: u64) -> Vec<(PublicationId, PublicationId)> {
        let before = std::mem::take(&mut self.subscriptions);
        self.subscriptions = Subscriptions {
            is_automatic: before.is_automatic,
            may_pause: before.may_pause,
            // What its sections carry ends, and then they are free for others' tracks.
            slots: before.slots,
            ..Subscriptions::default()
        };
        for name in [consent::ATTRIBUTE, consent::RECORDING_ATTRIBUTE] {
            self.attributes.remove(name);
        }
        self.consent = Consent::default();
        self.gate = Gate::default();
        self.levels.clear();
        self.heard_from = heard_from;
        self.joined_at_wall = SystemTime::now();
        self.tracks.iter_mut().flat_map(Track::rename).collect()
    }

    /// What it may do, as a token for a room. Power over rooms is not among it.
    pub fn grants_for(&self, room: &str) -> Grants {
        let mut attributes = self.attributes.clone();
        for name in [consent::ATTRIBUTE, consent::RECORDING_ATTRIBUTE] {
            attributes.remove(name);
        }
        let word = |name: &str| name.to_ascii_lowercase();
        let details = self.kind_details.iter();
        Grants {
            identity: self.identity.clone(),
            name: self.name.clone(),
            metadata: self.metadata.clone(),
            attributes,
            kind: word(self.kind.as_str_name()),
            kind_details: details.map(|one| word(one.as_str_name())).collect(),
            video: VideoGrant {
                room: room.to_owned(),
                room_join: Some(true),
                ..self.permissions.to_grant()
            },
            ..Grants::default()
        }
    }

    /// What others are told when it has gone.
    pub fn farewell(&mut self, reason: DisconnectReason) -> ParticipantInfo {
        self.state = State::Disconnected;
        ParticipantInfo {
            tracks: Vec::new(),
            is_publisher: false,
            disconnect_reason: reason as i32,
            ..self.info()
        }
    }

    /// The connection over which it is sent tracks.
    pub fn receiving_path(&self) -> Option<Path> {
        match self.connections {
            Connections::One => self.transport.as_ref().map(Transport::path),
            Connections::Two => self.offering.as_ref()?.path(),
        }
    }

    /// The connection over which its tracks come, in whatever room it has it.
    pub fn publishing_path(&self) -> Option<Path> {
        match &self.guest {
            Some(guest) => guest.path(),
            None => self.transport.as_ref().map(Transport::path),
        }
    }

    /// The connection over which it is sent messages. It may send its own over either.
    pub fn message_path(&self) -> Option<Path> {
        match self.receives_first {
            true => self.offering.as_ref()?.path(),
            false => self.transport.as_ref().map(Transport::path),
        }
    }

    /// All its connections.
    pub fn paths(&self) -> impl Iterator<Item = Path> {
        let offered = self.offering.as_ref().and_then(Offering::path);
        let own = self.transport.as_ref().map(Transport::path);
        own.into_iter().chain(offered)
    }

    /// The worker that has its connections.
    pub fn worker(&self) -> Option<WorkerId> {
        let own = self.transport.as_ref().map(|transport| transport.worker);
        own.or_else(|| self.offering.as_ref().map(Offering::worker))
    }

    /// Whether a connection is its own.
    pub fn owns(&self, transport: TransportId) -> bool {
        self.paths().any(|path| path.transport == transport)
    }

    /// Media may flow over one of its connections.
    pub fn note_connected(&mut self, now: Instant, transport: TransportId) {
        if let Some(own) = self.transport.as_mut().filter(|one| one.id == transport) {
            own.connected_at.get_or_insert(now);
        } else if let Some(offering) = &mut self.offering {
            offering.note_connected(now);
        }
    }

    /// Since when it has what makes it count as here, and whether there are data channels to wait for.
    pub fn readiness(&self) -> Option<(Instant, bool)> {
        if self.receives_first {
            return self.offering.as_ref()?.readiness();
        }
        let transport = self.transport.as_ref()?;
        transport.connected_at.map(|at| (at, transport.has_data))
    }

    /// The media plane has lost a connection.
    pub fn forget_path(&mut self, transport: TransportId) {
        let is_it = |path: Path| path.transport == transport;
        self.transport.take_if(|one| is_it(one.path()));
        self.offering.take_if(|one| one.path().is_some_and(is_it));
    }

    /// Its track of this name.
    pub fn track_mut(&mut self, sid: &str) -> Option<&mut Track> {
        self.tracks.iter_mut().find(|track| track.info.sid == sid)
    }

    /// Its published track of this number.
    pub fn published(&self, publication: PublicationId) -> Option<&Track> {
        self.tracks
            .iter()
            .find(|track| track.is_published() && track.publication == publication)
    }

    /// Whether it publishes anything.
    pub fn is_publisher(&self) -> bool {
        self.tracks.iter().any(Track::is_published)
    }

    /// Takes note of how good one of its connections is.
    pub fn rate(&mut self, transport: TransportId, rating: Rating) {
        let mut ratings = std::mem::take(&mut self.ratings);
        ratings.retain(|(one, _)| *one != transport && self.owns(*one));
        ratings.push((transport, rating));
        self.ratings = ratings;
    }

    /// How good its connection is, as clients are told.
    pub fn connection(&self) -> Option<ConnectionQualityInfo> {
        let ratings = self.ratings.iter().map(|(_, rating)| *rating);
        // With two connections it is the worse one that he feels.
        let rating = ratings.min_by(|a, b| a.score.total_cmp(&b.score))?;
        let quality = match rating.quality {
            Quality::Lost => ConnectionQuality::Lost,
            Quality::Poor => ConnectionQuality::Poor,
            Quality::Good => ConnectionQuality::Good,
            Quality::Excellent => ConnectionQuality::Excellent,
        };
        Some(ConnectionQualityInfo {
            participant_sid: self.sid.clone(),
            quality: quality as i32,
            // Theirs ends at five.
            score: rating.score / 20.0,
        })
    }

    /// How loud it is, all its tracks together.
    pub fn speaker(&self) -> SpeakerInfo {
        let loudest = self.levels.values().map(|(level, _)| *level);
        SpeakerInfo {
            sid: self.sid.clone(),
            level: loudest.fold(0.0, f32::max),
            active: self.levels.values().any(|(_, is_active)| *is_active),
        }
    }
}

fn kind(name: &str) -> Kind {
    Kind::from_str_name(&name.to_ascii_uppercase()).unwrap_or_default()
}

fn detail(name: &str) -> Option<KindDetail> {
    KindDetail::from_str_name(&name.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::proto::{TrackSource, TrackType};

    fn hello() -> Hello {
        Hello {
            grants: Grants {
                identity: "wang".into(),
                kind: "agent".into(),
                ..Grants::default()
            },
            api_key: "clinic".into(),
            token_expires_at: SystemTime::now(),
            client: ClientInfo::default(),
            connections: Connections::One,
            is_automatic: true,
            may_pause: false,
            tracks: Vec::new(),
            offer: None,
            outlet: Outlet::new(1_000),
            host: None,
        }
    }

    #[test]
    fn every_description_is_newer_than_the_last() {
        let mut participant = Participant::new(ParticipantKey(1), &hello());
        let first = participant.info();
        let second = participant.info();
        assert!(first.version >= 1 && second.version > first.version);
        assert_eq!(first.kind, Kind::Agent as i32);
        let last = participant.farewell(DisconnectReason::ClientInitiated);
        assert!(last.version > second.version);
        assert_eq!(last.state, State::Disconnected as i32);
    }

    #[test]
    fn a_track_is_told_only_once_a_section_carries_it() {
        let mut participant = Participant::new(ParticipantKey(1), &hello());
        let request = AddTrackRequest {
            cid: "c".into(),
            r#type: TrackType::Audio as i32,
            source: TrackSource::Microphone as i32,
            ..Default::default()
        };
        let limits = crate::config::Limits::default();
        let track = Track::new(&request, &limits).expect("small enough");
        participant.tracks.push(track);
        assert!(participant.info().tracks.is_empty());
        let mid = sfu::media::Mid::from("7").expect("short enough");
        participant.tracks[0].publish(mid, None, sfu::media::Codec::Opus);
        let info = participant.info();
        assert!(info.is_publisher && info.tracks.len() == 1);
    }

    #[test]
    fn a_participant_is_as_loud_as_its_loudest_track() {
        let mut participant = Participant::new(ParticipantKey(1), &hello());
        participant.levels.insert(PublicationId(1), (0.25, false));
        participant.levels.insert(PublicationId(2), (0.5, true));
        let speaker = participant.speaker();
        assert!(speaker.active && (speaker.level - 0.5).abs() < f32::EPSILON);
    }

    #[test]
    fn messages_wait_for_their_channel_within_a_bound() {
        let mut data = DataState::default();
        for _ in 0..WAITING_MESSAGES_MAX {
            assert!(data.wait(Bytes::from_static(b"x")));
        }
        assert!(!data.wait(Bytes::from_static(b"x")));
        assert!(data.open(DataChannel::Lossy).is_empty());
        assert_eq!(data.open(DataChannel::Reliable).len(), WAITING_MESSAGES_MAX);
        assert!(data.is_open(DataChannel::Reliable));
    }
}
