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

mod calls;
mod connection;
mod dynacast;
mod moderation;
mod offering;
mod recording;
mod resume;

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
fn a_track_is_published_and_received_in_a_free_slot() {
    let mut scene = Scene::new();
    let mut doctor = scene.join("wang");
    let mut nurse = scene.join("li");
    nurse.said();
    let track = scene.publish(&mut doctor, TrackType::Video, TrackSource::Camera);
    let said = nurse.said();
    let seen = updates(&said).pop().expect("the others are told");
    assert_eq!(seen.tracks[0].sid, track);
    assert_eq!(seen.tracks[0].mime_type, "video/VP8");
    assert!(seen.is_publisher);
    assert_eq!(requirement(&said), Some((0, 0)), "a free slot will do");
    scene.commands.clear();
    scene.offer(&mut nurse);
    let answer = nurse.answer();
    assert_eq!(answer.mid_to_track_id["1"], track);
    let doctor_sid = scene.room.participants[&doctor.key].sid.clone();
    assert!(
        answer
            .sdp
            .contains(&format!("a=msid:{doctor_sid}|camera {track}"))
    );
    assert_eq!(scene.commanded(subscribed).len(), 1);
    let told = doctor.said();
    assert!(
        told.iter()
            .any(|m| matches!(m, Message::TrackSubscribed(one) if one.track_sid == track))
    );
    // Every later answer carries the whole list, and the media plane is not told twice.
    scene.offer(&mut nurse);
    assert_eq!(nurse.answer().mid_to_track_id["1"], track);
    assert_eq!(scene.commanded(subscribed), []);
}

#[test]
fn a_late_joiner_gets_what_is_there_with_its_first_answer() {
    let mut scene = Scene::new();
    let mut doctor = scene.join("wang");
    let track = scene.publish(&mut doctor, TrackType::Audio, TrackSource::Microphone);
    scene.commands.clear();
    let nurse = scene.join("li");
    let answer = nurse.answer();
    assert_eq!(answer.mid_to_track_id["0"], track);
    assert_eq!(scene.commanded(subscribed).len(), 1);
}

#[test]
fn without_a_free_slot_the_client_is_asked_for_one() {
    let mut scene = Scene::new();
    let mut doctor = scene.join("wang");
    let mut nurse = scene.join("li");
    scene.publish(&mut doctor, TrackType::Video, TrackSource::Camera);
    scene.offer(&mut nurse);
    nurse.said();
    let screen = scene.publish(&mut doctor, TrackType::Video, TrackSource::ScreenShare);
    assert_eq!(requirement(&nurse.said()), Some((0, 1)));
    nurse.sections.push((TrackType::Video, "a=recvonly".into()));
    scene.offer(&mut nurse);
    assert_eq!(nurse.answer().mid_to_track_id["2"], screen);
}

#[test]
fn a_mute_stops_forwarding_and_is_told() {
    let mut scene = Scene::new();
    let mut doctor = scene.join("wang");
    let nurse = scene.join("li");
    let sid = scene.publish(&mut doctor, TrackType::Audio, TrackSource::Microphone);
    nurse.said();
    scene.commands.clear();
    let mute = |muted| MuteTrackRequest {
        sid: sid.clone(),
        muted,
    };
    scene.ask(&doctor, Asked::Mute(mute(true)));
    let commands = scene.commanded(|command| match command {
        Command::SetMuted { muted, .. } => Some(*muted),
        _ => None,
    });
    assert_eq!(commands, [true]);
    assert!(updates(&nurse.said())[0].tracks[0].muted);
    let unknown = MuteTrackRequest {
        sid: "TR_x".into(),
        muted: true,
    };
    scene.ask(&doctor, Asked::Mute(unknown));
    assert_eq!(doctor.refusal(), Some(Reason::NotFound));
}

#[test]
fn an_unpublished_track_disappears_everywhere() {
    let mut scene = Scene::new();
    let mut doctor = scene.join("wang");
    let mut nurse = scene.join("li");
    scene.publish(&mut doctor, TrackType::Video, TrackSource::Camera);
    scene.offer(&mut nurse);
    nurse.said();
    scene.commands.clear();
    doctor.sections[2].1 = "a=inactive".into();
    scene.offer(&mut doctor);
    let said = nurse.said();
    assert!(updates(&said)[0].tracks.is_empty());
    assert_eq!(requirement(&said), Some((0, 0)));
    let ended = scene.commanded(|command| match command {
        Command::Unpublish { .. } => Some("unpublish"),
        Command::Unsubscribe { .. } => Some("unsubscribe"),
        _ => None,
    });
    assert_eq!(ended, ["unpublish"], "subscriptions end with it");
    scene.offer(&mut nurse);
    assert!(nurse.answer().mid_to_track_id.is_empty());
}

#[test]
fn what_a_token_does_not_grant_is_refused_and_told() {
    let mut scene = Scene::new();
    let observer = VideoGrant {
        can_publish: Some(false),
        can_publish_data: Some(false),
        can_subscribe: Some(false),
        ..VideoGrant::default()
    };
    let mut doctor = scene.join("wang");
    let mut observer = scene.join_with("zhao", observer).expect("a place");
    let track = scene.publish(&mut doctor, TrackType::Video, TrackSource::Camera);
    scene.connect(&doctor);
    scene.connect(&observer);
    observer.said();
    scene.commands.clear();
    scene.ask(&observer, Asked::AddTrack(AddTrackRequest::default()));
    assert_eq!(observer.refusal(), Some(Reason::NotAllowed));
    let subscribe = proto::UpdateSubscription {
        track_sids: vec![track],
        subscribe: true,
        ..Default::default()
    };
    scene.ask(&observer, Asked::Subscription(subscribe));
    let said = observer.said();
    assert!(
        said.iter()
            .any(|m| matches!(m, Message::SubscriptionResponse(_)))
    );
    scene.offer(&mut observer);
    assert!(observer.answer().mid_to_track_id.is_empty());
    assert_eq!(scene.commanded(subscribed), []);
    let transport = scene.transport(&observer);
    scene.event(data(transport, &packet(1, &[])));
    assert_eq!(observer.refusal(), Some(Reason::NotAllowed));
    assert_eq!(scene.commanded(sent).len(), 0);
    scene.ask(&observer, Asked::UpdateMetadata(Default::default()));
    assert_eq!(observer.refusal(), Some(Reason::NotAllowed));
}

#[test]
fn only_granted_sources_are_taken_and_only_so_many_tracks() {
    let mut scene = Scene::with_limits(Limits {
        tracks_per_participant_max: 1,
        ..Limits::default()
    });
    let grant = VideoGrant {
        can_publish_sources: vec!["microphone".into()],
        ..VideoGrant::default()
    };
    let doctor = scene.join_with("wang", grant).expect("a place");
    let request = |cid: &str, kind: TrackType, source: TrackSource| {
        Asked::AddTrack(AddTrackRequest {
            cid: cid.into(),
            r#type: kind as i32,
            source: source as i32,
            ..Default::default()
        })
    };
    doctor.said();
    scene.ask(&doctor, request("a", TrackType::Video, TrackSource::Camera));
    assert_eq!(doctor.refusal(), Some(Reason::NotAllowed));
    scene.ask(&doctor, request("b", TrackType::Data, TrackSource::Unknown));
    assert_eq!(doctor.refusal(), Some(Reason::UnsupportedType));
    scene.ask(
        &doctor,
        request("c", TrackType::Audio, TrackSource::Microphone),
    );
    assert_eq!(doctor.refusal(), None);
    scene.ask(
        &doctor,
        request("d", TrackType::Audio, TrackSource::Microphone),
    );
    assert_eq!(doctor.refusal(), Some(Reason::LimitExceeded));
}

#[test]
fn a_hidden_participant_leaves_no_trace() {
    let mut scene = Scene::new();
    let doctor = scene.join("wang");
    let hidden = VideoGrant {
        hidden: Some(true),
        ..VideoGrant::default()
    };
    doctor.said();
    let mut auditor = scene.join_with("auditor", hidden).expect("a place");
    let track = scene.publish(&mut auditor, TrackType::Audio, TrackSource::Microphone);
    scene.connect(&auditor);
    scene.connect(&doctor);
    let said = doctor.said();
    assert!(updates(&said).is_empty(), "{said:?}");
    assert_eq!(requirement(&said), None);
    let subscribe = proto::UpdateSubscription {
        track_sids: vec![track],
        subscribe: true,
        ..Default::default()
    };
    scene.ask(&doctor, Asked::Subscription(subscribe));
    let refused = doctor.said().into_iter().any(|message| {
        let not_found = proto::SubscriptionError::SeTrackNotfound;
        matches!(message, Message::SubscriptionResponse(one) if one.err() == not_found)
    });
    assert!(refused);
    scene.commands.clear();
    let transport = scene.transport(&auditor);
    scene.event(data(transport, &packet(1, &[])));
    let sent = scene.commanded(sent);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].1.participant_identity, "");
    assert_eq!(sent[0].1.participant_sid, "");
    let publication = scene.room.participants[&auditor.key].tracks[0].publication;
    scene.event(EventKind::Speakers {
        speakers: vec![Speaker {
            publication,
            level: 0.5,
            is_active: true,
        }],
    });
    assert!(doctor.said().is_empty());
    scene.room.remove(
        scene.now,
        auditor.key,
        Removal::gone(DisconnectReason::ClientInitiated),
    );
    assert!(updates(&doctor.said()).is_empty());
}

#[test]
fn data_goes_to_those_it_is_for_once_and_never_back() {
    let mut scene = Scene::new();
    let clients = ["wang", "li", "zhao"].map(|identity| scene.join(identity));
    clients.iter().for_each(|client| scene.connect(client));
    scene.commands.clear();
    let [wang, li, zhao] = [0, 1, 2].map(|i| scene.transport(&clients[i]));
    scene.event(data(wang, &packet(1, &[])));
    let to: Vec<TransportId> = scene.commanded(sent).into_iter().map(|one| one.0).collect();
    assert_eq!(to, [li, zhao]);
    scene.event(data(wang, &packet(1, &[])));
    assert!(scene.commanded(sent).is_empty(), "a number counts once");
    scene.event(data(wang, &packet(2, &["zhao", "wang"])));
    let received = scene.commanded(sent);
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].0, zhao);
    assert_eq!(received[0].1.participant_identity, "wang");
}

#[test]
fn a_message_waits_for_a_channel_that_is_about_to_open() {
    let mut scene = Scene::new();
    let doctor = scene.join("wang");
    let nurse = scene.join("li");
    scene.connect(&doctor);
    let sender = scene.transport(&doctor);
    scene.event(data(sender, &packet(1, &[])));
    assert!(scene.commanded(sent).is_empty());
    scene.connect(&nurse);
    assert_eq!(scene.commanded(sent).len(), 1);
}

#[test]
fn a_namesake_takes_the_place() {
    let mut scene = Scene::new();
    let nurse = scene.join("li");
    let first = scene.join("wang");
    first.said();
    nurse.said();
    let second = scene.join("wang");
    let said = first.said();
    let Some(Message::Leave(leave)) = said.last() else {
        panic!("{said:?}");
    };
    assert_eq!(leave.reason(), DisconnectReason::DuplicateIdentity);
    assert_eq!(leave.action(), Action::Disconnect);
    assert_eq!(first.outlet.try_next(), Some(Item::End(End::Left)));
    let seen = updates(&nurse.said());
    assert_eq!(seen[0].state(), State::Disconnected);
    assert_eq!(seen[1].state(), State::Joined);
    assert_ne!(first.key, second.key);
    let removed = scene.commanded(|command| match command {
        Command::RemoveTransport { .. } => Some(()),
        _ => None,
    });
    assert_eq!(removed.len(), 1);
}

#[test]
fn a_full_room_takes_nobody_but_a_namesake() {
    let mut scene = Scene::with_limits(Limits {
        participants_per_room_max: 2,
        ..Limits::default()
    });
    scene.join("wang");
    scene.join("li");
    let third = scene.join_with("zhao", VideoGrant::default()).err();
    assert_eq!(third, Some(ApiError::Full("participants_per_room_max")));
    scene.join("li");
}

#[test]
fn somebody_who_is_connected_becomes_active_and_is_told_so() {
    let mut scene = Scene::new();
    let nurse = scene.join("li");
    let doctor = scene.join("wang");
    nurse.said();
    scene.connect(&doctor);
    let said = nurse.said();
    let versions: Vec<u32> = updates(&said).iter().map(|info| info.version).collect();
    assert_eq!(updates(&said)[0].state(), State::Active);
    assert!(versions.is_sorted());
    let told = doctor.said();
    assert!(
        told.iter()
            .any(|message| matches!(message, Message::ConnectionQuality(_)))
    );
}

#[test]
fn without_data_channels_patience_ends() {
    let mut scene = Scene::new();
    let doctor = scene.join("wang");
    let transport = scene.transport(&doctor);
    scene.event(EventKind::Connected {
        transport,
        profile: Profile::AeadAes256Gcm,
    });
    assert_eq!(scene.room.participants[&doctor.key].state, State::Joined);
    scene.wait(Duration::from_secs(4));
    assert_eq!(scene.room.participants[&doctor.key].state, State::Active);
}

#[test]
fn a_wish_reaches_the_media_plane_now_or_with_the_subscription() {
    let mut scene = Scene::new();
    let mut doctor = scene.join("wang");
    let mut nurse = scene.join("li");
    let track = scene.publish(&mut doctor, TrackType::Video, TrackSource::Camera);
    let settings = |disabled| {
        Asked::TrackSetting(proto::UpdateTrackSettings {
            track_sids: vec![track.clone()],
            disabled,
            width: 320,
            height: 180,
            ..Default::default()
        })
    };
    scene.commands.clear();
    scene.ask(&nurse, settings(true));
    let wishes = |command: &Command| match command {
        Command::SetWish { wish, .. } => Some(*wish),
        _ => None,
    };
    assert_eq!(scene.commanded(wishes), []);
    scene.offer(&mut nurse);
    assert_eq!(scene.commanded(wishes), [LayerWish::Paused]);
    scene.ask(&nurse, settings(false));
    let size = LayerWish::Size {
        width: 320,
        height: 180,
    };
    assert_eq!(scene.commanded(wishes), [size]);
}

#[test]
fn a_publisher_decides_who_may_receive() {
    let mut scene = Scene::new();
    let mut doctor = scene.join("wang");
    let mut nurse = scene.join("li");
    scene.publish(&mut doctor, TrackType::Video, TrackSource::Camera);
    scene.offer(&mut nurse);
    nurse.said();
    scene.commands.clear();
    let nobody = proto::SubscriptionPermission::default();
    scene.ask(&doctor, Asked::SubscriptionPermission(nobody));
    let said = nurse.said();
    assert!(said.iter().any(|message| {
        matches!(message, Message::SubscriptionPermissionUpdate(update) if !update.allowed)
    }));
    assert_eq!(requirement(&said), Some((0, 0)));
    let ended = scene.commanded(|command| match command {
        Command::Unsubscribe { .. } => Some(()),
        _ => None,
    });
    assert_eq!(ended.len(), 1, "at once, not with the next answer");
    scene.offer(&mut nurse);
    assert!(nurse.answer().mid_to_track_id.is_empty());
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
fn an_extension_that_a_later_offer_numbers_reaches_the_media_plane() {
    let mut scene = Scene::new();
    let mut doctor = scene.join("wang");
    let rid = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
    let sending = format!("a=sendonly\r\na=extmap:9/sendonly {rid}");
    doctor.sections.push((TrackType::Video, sending));
    scene.commands.clear();
    let learnt = |command: &Command| match command {
        Command::LearnExtensions { extensions, .. } => Some(extensions.rid),
        _ => None,
    };
    scene.offer(&mut doctor);
    assert_eq!(scene.commanded(learnt), [Some(9)]);
    scene.offer(&mut doctor);
    assert_eq!(scene.commanded(learnt), [], "it is known by now");
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
fn an_empty_room_ends_after_its_time() {
    let mut scene = Scene::new();
    assert!(scene.wait(Duration::from_secs(299)), "nobody came yet");
    let doctor = scene.join("wang");
    assert!(scene.wait(Duration::from_secs(1)));
    let left = Asked::Leave(proto::LeaveRequest::default());
    scene.ask(&doctor, left);
    assert!(scene.wait(Duration::from_secs(19)));
    assert!(!scene.wait(Duration::from_secs(1)));
}

#[test]
fn counts_are_told_when_they_change() {
    let mut scene = Scene::new();
    let doctor = scene.join("wang");
    scene.wait(Duration::from_secs(1));
    doctor.said();
    scene.join("li");
    scene.wait(Duration::from_secs(1));
    let said = doctor.said();
    let room = said.iter().find_map(|message| match message {
        Message::RoomUpdate(update) => update.room.clone(),
        _ => None,
    });
    assert_eq!(room.expect("the room is told").num_participants, 2);
    scene.wait(Duration::from_secs(1));
    let again = doctor.said();
    assert!(
        !again
            .iter()
            .any(|message| matches!(message, Message::RoomUpdate(_)))
    );
}

#[test]
fn one_may_describe_oneself_with_the_right_to() {
    let mut scene = Scene::new();
    let grant = VideoGrant {
        can_update_own_metadata: Some(true),
        ..VideoGrant::default()
    };
    let doctor = scene.join_with("wang", grant).expect("a place");
    let nurse = scene.join("li");
    nurse.said();
    doctor.said();
    let update = proto::UpdateParticipantMetadata {
        name: "Dr Wang".into(),
        attributes: [("role".to_owned(), "specialist".to_owned())].into(),
        request_id: 7,
        ..Default::default()
    };
    scene.ask(&doctor, Asked::UpdateMetadata(update));
    let said = doctor.said();
    assert!(said.iter().any(|message| {
        matches!(message, Message::RequestResponse(one) if one.request_id == 7 && one.reason() == Reason::Ok)
    }));
    assert_eq!(updates(&said)[0].name, "Dr Wang");
    assert_eq!(updates(&nurse.said())[0].attributes["role"], "specialist");
    let clear = proto::UpdateParticipantMetadata {
        attributes: [("role".to_owned(), String::new())].into(),
        ..Default::default()
    };
    scene.ask(&doctor, Asked::UpdateMetadata(clear));
    let seen = updates(&nurse.said()).pop().expect("the others are told");
    assert!(seen.attributes.is_empty());
    assert_eq!(seen.name, "Dr Wang", "what is not said stays");
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

#[test]
fn red_is_preferred_for_sound() {
    let mut scene = Scene::new();
    let mut doctor = scene.join("wang");
    scene.publish(&mut doctor, TrackType::Audio, TrackSource::Microphone);
    let first = scene.commanded(|command| match command {
        Command::Publish { params, .. } => params.codecs.first().map(|one| one.codec),
        _ => None,
    });
    assert_eq!(first, [Codec::Red]);
    let answer = doctor.answer();
    assert!(
        answer
            .sdp
            .contains("m=audio 9 UDP/TLS/RTP/SAVPF 63 111\r\n")
    );
    assert!(answer.sdp.contains("usedtx=1"));
}

/// What a worker was told, in short.
fn told(scene: &Scene, worker: u16) -> Vec<&'static str> {
    let commands = scene.told.iter().filter(|(to, _)| to.0 == worker);
    commands
        .map(|(_, command)| match &**command {
            Command::OpenRoom => "open",
            Command::AddTransport { .. } => "transport",
            Command::RemoveTransport { .. } => "remove",
            Command::Publish { .. } => "publish",
            Command::SetMuted { .. } => "mute",
            Command::OpenRelay { .. } => "relay",
            Command::Subscribe { .. } => "subscribe",
            Command::Unsubscribe { .. } => "unsubscribe",
            Command::SetWish { .. } => "wish",
            Command::SendData { .. } => "data",
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn a_room_on_two_workers_tells_each_its_part() {
    let mut scene = Scene::spread();
    let mut wang = scene.join("wang");
    let mut li = scene.join("li");
    let ports = [&wang, &li].map(|client| {
        let said = client.said();
        let mut answers = said.iter().filter_map(|message| match message {
            Message::Answer(answer) => Some(answer.sdp.clone()),
            _ => None,
        });
        let sdp = answers.next_back().expect("the offer was answered");
        [" 7882 ", " 7883 "].map(|port| sdp.contains(port))
    });
    assert_eq!(ports, [[true, false], [false, true]], "each its own worker");
    let publisher = scene.transport(&wang);
    let sid = scene.publish(&mut wang, TrackType::Audio, TrackSource::Microphone);
    scene.offer(&mut li);
    assert_eq!(told(&scene, 0), ["open", "transport", "publish"]);
    assert_eq!(told(&scene, 1), ["open", "transport", "relay", "subscribe"]);
    let agreed = scene.told.iter().find_map(|(_, command)| match &**command {
        Command::Publish { params, .. } => Some(params.clone()),
        _ => None,
    });
    let relay = scene.told.iter().find_map(|(_, command)| match &**command {
        Command::OpenRelay {
            owner,
            publisher,
            params,
            ..
        } => Some((*owner, *publisher, Some(params.clone()))),
        _ => None,
    });
    assert_eq!(relay, Some((WorkerId(0), publisher, agreed)));

    scene.told.clear();
    let mute = MuteTrackRequest { sid, muted: true };
    scene.ask(&wang, Asked::Mute(mute));
    scene.connect(&wang);
    scene.connect(&li);
    let sender = scene.transport(&wang);
    scene.event(EventKind::Data {
        transport: sender,
        channel: DataChannel::Reliable,
        payload: packet(1, &[]).into(),
    });
    // Somebody else on the publisher's worker needs no relay.
    let mut zhao = scene.join("zhao");
    scene.offer(&mut zhao);
    assert_eq!(told(&scene, 0), ["mute", "transport", "subscribe"]);
    assert_eq!(told(&scene, 1), ["data"]);

    // Whoever publishes goes: only its own worker must be told.
    scene.told.clear();
    scene.ask(&wang, Asked::Leave(proto::LeaveRequest::default()));
    assert_eq!(told(&scene, 0), ["remove"]);
    assert_eq!(told(&scene, 1), [""; 0]);
}

#[test]
fn a_worker_that_loses_its_part_costs_only_that() {
    let mut scene = Scene::spread();
    let (wang, li, zhao) = (scene.join("wang"), scene.join("li"), scene.join("zhao"));
    for client in [&wang, &li, &zhao] {
        client.said();
    }
    scene.told.clear();
    scene
        .room
        .event(scene.now, WorkerId(1), EventKind::RoomLost);
    assert!(scene.wait(Duration::from_secs(1)), "the room goes on");
    let left = li.said().into_iter().find_map(|message| match message {
        Message::Leave(leave) => Some(leave.action()),
        _ => None,
    });
    assert_eq!(left, Some(Action::Reconnect));
    assert_eq!(scene.room.len(), 2);
    assert!(scene.told.is_empty(), "there is nobody to tell");

    // Whoever comes back finds the room opened there anew.
    let li = scene.join("li");
    assert_eq!(told(&scene, 1), ["open", "transport"]);
    scene
        .room
        .event(scene.now, WorkerId(0), EventKind::RoomLost);
    assert!(scene.wait(Duration::from_secs(1)));
    assert_eq!(scene.room.len(), 1);
    drop(li);
    scene
        .room
        .event(scene.now, WorkerId(1), EventKind::RoomLost);
    assert!(!scene.wait(Duration::from_secs(1)), "nothing is left of it");
}

#[test]
fn vp9_and_av1_are_taken_only_where_nothing_is_recorded() {
    for (policy, codec, expected) in [
        (Policy::Never, "VP9", "video/VP9"),
        (Policy::Never, "AV1", "video/AV1"),
        (Policy::WithConsent, "VP9", "video/VP8"),
        (Policy::Must, "VP9", "video/VP8"),
        (Policy::Must, "AV1", "video/VP8"),
    ] {
        let wanted = format!("video/{codec}");
        let mut scene = Scene::new();
        let mut setup = (*scene.room.setup).clone();
        setup.recording = policy;
        let name = "consult".to_owned();
        scene.room = Room::new(scene.now, RoomId(1), name, WorkerId(0), Arc::new(setup));
        let mut doctor = scene.join("wang");
        let said = doctor.said();
        let Message::Join(join) = &said[0] else {
            panic!("{:?}", said[0]);
        };
        let has_it = |codecs: &[proto::Codec]| codecs.iter().any(|one| one.mime == wanted);
        assert_eq!(has_it(&join.enabled_publish_codecs), expected == wanted);
        let layer = |quality, width, height| proto::VideoLayer {
            quality,
            width,
            height,
            ..Default::default()
        };
        let request = AddTrackRequest {
            cid: "camera".into(),
            r#type: TrackType::Video as i32,
            source: TrackSource::Camera as i32,
            layers: vec![layer(2, 1280, 720), layer(0, 320, 180), layer(1, 640, 360)],
            simulcast_codecs: [codec, "vp8"]
                .map(|codec| proto::SimulcastCodec {
                    codec: codec.into(),
                    ..Default::default()
                })
                .into(),
            ..Default::default()
        };
        scene.ask(&doctor, Asked::AddTrack(request));
        let section = format!(
            "a=sendonly\r\na=msid:- camera\r\na=rtpmap:98 {codec}/90000\r\n\
             a=fmtp:98 profile-id=0;profile=0"
        );
        doctor.sections.push((TrackType::Video, section));
        scene.offer(&mut doctor);
        let track = &scene.room.participants[&doctor.key].tracks[0];
        assert_eq!(track.info.mime_type, expected, "{policy:?}");
        let sizes = scene.commanded(|command| match command {
            Command::Publish { params, .. } => Some(params.spatial_layers.clone()),
            _ => None,
        });
        let widths: Vec<u32> = sizes[0].iter().map(|size| size.width).collect();
        let all = [320, 640, 1280];
        let expected: &[u32] = if expected == wanted { &all } else { &[] };
        assert_eq!(widths, expected, "{policy:?}");
    }
}
