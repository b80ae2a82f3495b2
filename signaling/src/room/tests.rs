//! A room told what happens to it, and what it says: no sockets, no clock, no media.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use sfu::id::{PublicationId, RoomId, TransportId, WorkerId};
use sfu::media::{Codec, LayerWish};
use sfu::shard::command::{Command, DataChannel};
use sfu::shard::event::{DisconnectReason as TransportEnd, EventKind, Speaker};
use sfu::transport::params::Fingerprint;
use sfu::transport::srtp::Profile;

use prost::Message as _;

use super::outlet::{End, Item, Outlet};
use super::participant::{Connections, Hello, ParticipantKey};
use super::requests::Request;
use super::{Removal, Room, Setup};
use crate::config::{Limits, RoomsConfig, SignalingConfig};
use crate::consent::Policy;
use crate::error::ApiError;
use crate::sdp::Offer;
use crate::tcp::Port;
use crate::token::{Grants, VideoGrant};
use crate::wire::proto::leave_request::Action;
use crate::wire::proto::participant_info::State;
use crate::wire::proto::request_response::Reason;
use crate::wire::proto::signal_request::Message as Asked;
use crate::wire::proto::signal_response::Message;
use crate::wire::proto::{
    self, AddTrackRequest, DisconnectReason, MuteTrackRequest, TrackSource, TrackType,
};

mod backup;
mod calls;
mod connection;
mod data;
mod dynacast;
mod forwarding;
mod moderation;
mod offering;
mod passage;
mod publishing;
mod recording;
mod resume;
mod seats;
mod shortage;
mod spread;

/// A room, a clock and everything that was said and commanded.
struct Scene {
    room: Room,
    now: Instant,
    commands: Vec<Rc<Command>>,
    /// The same and all before, with the worker that each is for.
    told: Vec<(WorkerId, Rc<Command>)>,
}

/// A client as the room sees it.
struct Client {
    key: ParticipantKey,
    outlet: Outlet,
    /// What it offers: kind and direction, in order.
    sections: Vec<(TrackType, String)>,
    ufrag: &'static str,
    offers: u32,
}

impl Scene {
    fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    fn with_limits(limits: Limits) -> Self {
        Self::with(RoomsConfig::default(), limits)
    }

    /// On two workers, each of which gets every second participant.
    fn spread() -> Self {
        let rooms = RoomsConfig {
            spill_busy_share: 0.0,
            ..RoomsConfig::default()
        };
        Self::with(rooms, Limits::default())
    }

    fn with(rooms: RoomsConfig, limits: Limits) -> Self {
        let setup = Setup {
            rooms,
            recording: Policy::default(),
            limits,
            port: Arc::new(Port::new(&SignalingConfig::default(), Vec::new())),
            candidates: ["127.0.0.1:7882", "127.0.0.1:7883"]
                .map(|at| vec![at.parse().expect("an address")])
                .into(),
            fingerprint: Fingerprint([7; 32]),
            message_size_max: 64_000,
        };
        let now = Instant::now();
        Self {
            room: Room::new(
                now,
                RoomId(1),
                "consult".into(),
                WorkerId(0),
                Arc::new(setup),
            ),
            now,
            commands: Vec::new(),
            told: Vec::new(),
        }
    }

    fn join_with(&mut self, identity: &str, video: VideoGrant) -> Result<Client, ApiError> {
        self.join_as(Grants {
            identity: identity.into(),
            video,
            ..Grants::default()
        })
    }

    fn join_as(&mut self, grants: Grants) -> Result<Client, ApiError> {
        self.enter_by(grants, Connections::One, "Chrome")
    }

    fn enter_by(
        &mut self,
        grants: Grants,
        connections: Connections,
        browser: &str,
    ) -> Result<Client, ApiError> {
        let outlet = Outlet::new(1 << 20);
        let mut client = Client {
            key: ParticipantKey(0),
            outlet: outlet.clone(),
            sections: Vec::new(),
            ufrag: "abcd",
            offers: 0,
        };
        for kind in [TrackType::Audio, TrackType::Video] {
            client.sections.push((kind, "a=recvonly".into()));
        }
        let hello = Hello {
            grants,
            api_key: "clinic".into(),
            token_expires_at: SystemTime::now(),
            client: proto::ClientInfo {
                browser: browser.into(),
                ..proto::ClientInfo::default()
            },
            connections,
            is_automatic: true,
            may_pause: true,
            tracks: Vec::new(),
            offer: (connections == Connections::One).then(|| client.offer()),
            outlet,
            host: None,
        };
        client.key = self.room.join(self.now, hello)?;
        self.collect();
        Ok(client)
    }

    fn join(&mut self, identity: &str) -> Client {
        self.join_with(identity, VideoGrant::default())
            .expect("there is a place")
    }

    fn ask(&mut self, client: &Client, asked: Asked) {
        let request = Request::Signal(Box::new(asked));
        self.room.request(self.now, client.key, request);
        self.collect();
    }

    fn offer(&mut self, client: &mut Client) {
        let (offer, id) = client.offer();
        let request = Request::Offer(Box::new(offer), id);
        self.room.request(self.now, client.key, request);
        self.collect();
    }

    /// Announces and offers a track, as clients do. Returns its id.
    fn publish(&mut self, client: &mut Client, kind: TrackType, source: TrackSource) -> String {
        let cid = format!("cid-{}", client.sections.len());
        let request = AddTrackRequest {
            cid: cid.clone(),
            r#type: kind as i32,
            source: source as i32,
            ..Default::default()
        };
        self.ask(client, Asked::AddTrack(request));
        let published = client.said().into_iter().find_map(|message| match message {
            Message::TrackPublished(published) => published.track,
            _ => None,
        });
        let sid = published.expect("the track was accepted").sid;
        client
            .sections
            .push((kind, format!("a=sendonly\r\na=msid:- {cid}")));
        self.offer(client);
        sid
    }

    fn event(&mut self, event: EventKind) {
        self.room.event(self.now, WorkerId(0), event);
        self.collect();
    }

    fn connect(&mut self, client: &Client) {
        let transport = self.transport(client);
        self.event(EventKind::Connected {
            transport,
            profile: Profile::AeadAes256Gcm,
        });
        for channel in [DataChannel::Reliable, DataChannel::Lossy] {
            self.event(EventKind::DataChannelOpen { transport, channel });
        }
    }

    fn transport(&self, client: &Client) -> TransportId {
        let participant = &self.room.participants[&client.key];
        participant.transport.as_ref().expect("it has offered").id
    }

    fn wait(&mut self, span: Duration) -> bool {
        self.now += span;
        let goes_on = self.room.tick(self.now);
        self.collect();
        goes_on
    }

    fn collect(&mut self) {
        for (worker, command) in self.room.take_commands() {
            let command = Rc::new(command);
            self.told.push((worker, Rc::clone(&command)));
            self.commands.push(command);
        }
    }

    /// Commands since the last time that were picked.
    fn commanded<T>(&mut self, pick: impl Fn(&Command) -> Option<T>) -> Vec<T> {
        let picked = self
            .commands
            .iter()
            .filter_map(|command| pick(command))
            .collect();
        self.commands.clear();
        picked
    }
}

impl Client {
    fn offer(&mut self) -> (Offer, u32) {
        self.offers += 1;
        let mut text = String::from("v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n");
        let transport = format!(
            "a=ice-ufrag:{}\r\na=ice-pwd:abcdefghijklmnopqrstuv\r\na=fingerprint:sha-256 {}\r\n\
             a=setup:actpass\r\n",
            self.ufrag,
            ["AB"; 32].join(":")
        );
        for (mid, (kind, rest)) in self.sections.iter().enumerate() {
            let media = match kind {
                TrackType::Audio => {
                    "m=audio 9 UDP/TLS/RTP/SAVPF 111 63\r\na=rtpmap:111 opus/48000/2\r\n\
                     a=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\na=rtcp-mux\r\n"
                }
                TrackType::Video => {
                    "m=video 9 UDP/TLS/RTP/SAVPF 96 97 98\r\na=rtpmap:96 VP8/90000\r\n\
                     a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=rtcp-mux\r\n"
                }
                TrackType::Data => "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n",
            };
            text += &format!("{media}{transport}a=mid:{mid}\r\n{rest}\r\n");
        }
        text += &format!(
            "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n{transport}a=mid:data\r\n\
             a=sctp-port:5000\r\n"
        );
        let offer = Offer::parse(&text, &Limits::default()).expect("a good offer");
        (offer, self.offers)
    }

    fn said(&self) -> Vec<Message> {
        let mut said = Vec::new();
        while let Some(Item::Message(response)) = self.outlet.try_next() {
            said.extend(response.message);
        }
        said
    }

    fn answer(&self) -> proto::SessionDescription {
        let answer = self
            .said()
            .into_iter()
            .rev()
            .find_map(|message| match message {
                Message::Answer(answer) => Some(answer),
                _ => None,
            });
        answer.expect("the offer was answered")
    }

    fn refusal(&self) -> Option<Reason> {
        self.said().into_iter().find_map(|message| match message {
            Message::RequestResponse(response) => Some(response.reason()),
            _ => None,
        })
    }
}

fn updates(said: &[Message]) -> Vec<proto::ParticipantInfo> {
    let updates = said.iter().filter_map(|message| match message {
        Message::Update(update) => Some(update.participants.clone()),
        _ => None,
    });
    updates.flatten().collect()
}

fn requirement(said: &[Message]) -> Option<(u32, u32)> {
    said.iter().find_map(|message| match message {
        Message::MediaSectionsRequirement(need) => Some((need.num_audios, need.num_videos)),
        _ => None,
    })
}

fn subscribed(command: &Command) -> Option<PublicationId> {
    match command {
        Command::Subscribe { publication, .. } => Some(*publication),
        _ => None,
    }
}

fn data(sender: TransportId, payload: &[u8]) -> EventKind {
    EventKind::Data {
        transport: sender,
        channel: DataChannel::Reliable,
        payload: payload.to_vec().into(),
    }
}

fn packet(sequence: u32, to: &[&str]) -> Vec<u8> {
    proto::DataPacket {
        sequence,
        destination_identities: to.iter().map(|one| (*one).to_owned()).collect(),
        value: Some(proto::data_packet::Value::User(proto::UserPacket {
            payload: b"hello".to_vec(),
            ..Default::default()
        })),
        ..Default::default()
    }
    .encode_to_vec()
}

fn sent(command: &Command) -> Option<(TransportId, proto::DataPacket)> {
    match command {
        Command::SendData {
            transport, payload, ..
        } => {
            let packet = proto::DataPacket::decode(payload.clone()).expect("it parses");
            Some((*transport, packet))
        }
        _ => None,
    }
}

#[test]
fn the_first_message_is_the_join_and_the_second_answers_its_offer() {
    let mut scene = Scene::new();
    let doctor = scene.join("wang");
    let said = doctor.said();
    let Message::Join(join) = &said[0] else {
        panic!("{:?}", said[0]);
    };
    let participant = join.participant.as_ref().expect("clients insist on it");
    assert!(participant.sid.starts_with("PA_"));
    let room = join.room.as_ref().expect("clients insist on it");
    assert!(room.creation_time > 0 && room.sid.starts_with("RM_"));
    assert!(join.ping_interval > 0, "clients panic on zero");
    assert_eq!(join.server_version, "1.13.5");
    let Message::Answer(answer) = &said[1] else {
        panic!("{:?}", said[1]);
    };
    assert_eq!(answer.id, 1);
    assert!(answer.sdp.contains("a=inactive"), "nothing to receive yet");
    assert!(answer.sdp.contains("7882 typ host"));
}

#[test]
fn fresh_credentials_restart_ice_and_another_certificate_is_sent_away() {
    let mut scene = Scene::new();
    let mut doctor = scene.join("wang");
    let before = doctor.answer();
    doctor.ufrag = "wxyz";
    scene.commands.clear();
    scene.offer(&mut doctor);
    let restarts = scene.commanded(|command| match command {
        Command::RestartIce { remote, .. } => Some(remote.ufrag.clone()),
        _ => None,
    });
    assert_eq!(restarts, ["wxyz"]);
    let ufrag = |sdp: &str| {
        let line = sdp.lines().find(|line| line.starts_with("a=ice-ufrag:"));
        line.expect("an answer has one").to_owned()
    };
    assert_ne!(ufrag(&before.sdp), ufrag(&doctor.answer().sdp));
    let (mut offer, id) = doctor.offer();
    offer.fingerprint = Fingerprint([1; 32]);
    scene.room.negotiate(scene.now, doctor.key, &offer, id);
    let said = doctor.said();
    assert!(said.iter().any(|message| {
        matches!(message, Message::Leave(leave) if leave.action() == Action::Reconnect)
    }));
    assert!(scene.room.is_empty());
}

#[test]
fn speakers_are_told_by_participant_and_only_when_that_changes() {
    let mut scene = Scene::new();
    let mut doctor = scene.join("wang");
    let nurse = scene.join("li");
    let sid = scene.publish(&mut doctor, TrackType::Audio, TrackSource::Microphone);
    let publication = scene.room.participants[&doctor.key].tracks[0].publication;
    nurse.said();
    let speaks = EventKind::Speakers {
        speakers: vec![Speaker {
            publication,
            level: 0.5,
            is_active: true,
        }],
    };
    let told = |client: &Client| {
        let said = client.said().into_iter();
        let changes = said.filter_map(|message| match message {
            Message::SpeakersChanged(changed) => Some(changed.speakers),
            _ => None,
        });
        changes.flatten().collect::<Vec<_>>()
    };
    scene.event(speaks.clone());
    let speakers = told(&nurse);
    assert_eq!(speakers.len(), 1);
    assert_eq!(speakers[0].sid, scene.room.participants[&doctor.key].sid);
    scene.event(speaks);
    assert!(told(&nurse).is_empty(), "nothing has changed");
    scene.ask(&doctor, Asked::Mute(MuteTrackRequest { sid, muted: true }));
    let speakers = told(&nurse);
    assert!(!speakers[0].active, "who is muted does not speak");
}

#[test]
fn a_dead_transport_is_not_forgiven() {
    let mut scene = Scene::new();
    scene.join("li");
    let other = scene.join("zhao");
    let transport = scene.transport(&other);
    scene.event(EventKind::Disconnected {
        transport,
        reason: TransportEnd::ConsentLost,
    });
    assert_eq!(scene.room.len(), 1);
}

#[test]
fn an_offer_that_cannot_be_read_ends_the_session() {
    let mut scene = Scene::new();
    let doctor = scene.join("wang");
    scene
        .room
        .request(scene.now, doctor.key, Request::BadDescription);
    let said = doctor.said();
    assert!(matches!(said.last(), Some(Message::Leave(_))), "{said:?}");
    assert!(scene.room.is_empty());
}
