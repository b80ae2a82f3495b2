//! Somebody with two connections: what it is offered, what it answers, and what follows from that.

use super::resume::leave_of;
use super::*;
use crate::room::moderation::{Moderation, ParticipantChange};
use crate::room::resume::Loss;
use crate::sdp::Answer;
use crate::wire::proto::{LeaveRequest, SubscriptionError};

const SHORTLY: Duration = Duration::from_millis(150);

impl Scene {
    pub(super) fn join_two(&mut self, identity: &str) -> Client {
        self.join_two_with(identity, VideoGrant::default(), "Chrome")
    }

    fn join_two_with(&mut self, identity: &str, video: VideoGrant, browser: &str) -> Client {
        let grants = Grants {
            identity: identity.into(),
            video,
            ..Grants::default()
        };
        let client = self.enter_by(grants, Connections::Two, browser);
        let mut client = client.expect("there is a place");
        client.sections.clear();
        client
    }

    fn take(&mut self, client: &Client, offer: &proto::SessionDescription) {
        self.take_as(client, answer(&offer.sdp, &Answering::default()), offer.id);
    }

    fn take_as(&mut self, client: &Client, answer: Answer, id: u32) {
        let request = Request::Answer(Box::new(answer), id);
        self.room.request(self.now, client.key, request);
        self.collect();
    }

    /// Time passes until the next offer is due, and it is made.
    fn pass(&mut self) {
        if let Some(due) = self.room.due() {
            self.now = due.max(self.now);
            self.room.make_due_offers(self.now);
            self.collect();
        }
    }

    /// Answers whatever is offered until nothing more is.
    pub(super) fn settle(&mut self, client: &Client) {
        for _ in 0..10 {
            if let Some(offer) = offered(&client.said()) {
                self.take(client, &offer);
            }
            self.pass();
        }
    }

    /// The transport that a client receives over.
    pub(super) fn receiving(&self, client: &Client) -> TransportId {
        let participant = &self.room.participants[&client.key];
        let path = participant.receiving_path();
        path.expect("it has answered").transport
    }
}

/// How a client answers.
struct Answering {
    ufrag: &'static str,
    certificate: &'static str,
    /// Pictures get no port.
    refuses_pictures: bool,
}

impl Default for Answering {
    fn default() -> Self {
        Self {
            ufrag: "wxyz",
            certificate: "CD",
            refuses_pictures: false,
        }
    }
}

fn offered(said: &[Message]) -> Option<proto::SessionDescription> {
    let offers: Vec<_> = said
        .iter()
        .filter_map(|message| match message {
            Message::Offer(offer) => Some(offer.clone()),
            _ => None,
        })
        .collect();
    assert!(offers.len() <= 1, "never two at once");
    for offer in &offers {
        webrtc_sdp::parse_sdp(&offer.sdp, true).expect("an independent parser reads it");
        assert!(offer.sdp.contains("a=setup:actpass") && offer.sdp.contains("a=ice-lite"));
    }
    offers.into_iter().next()
}

fn sections(sdp: &str) -> Vec<&str> {
    sdp.split("\r\nm=").skip(1).collect()
}

fn attribute<'a>(section: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = section.split("\r\n");
    lines.find_map(|line| {
        line.strip_prefix("a=")?
            .strip_prefix(name)?
            .strip_prefix(':')
    })
}

/// What a browser answers: it takes VP8 and Opus of everything.
fn answer(offer: &str, how: &Answering) -> Answer {
    let mut text = String::from("v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n");
    for section in sections(offer) {
        let mid = attribute(section, "mid").expect("sections have names");
        let direction = match section.contains("a=sendonly") {
            true => "recvonly",
            false => "inactive",
        };
        let port = match section.starts_with("video") && how.refuses_pictures {
            true => 0,
            false => 9,
        };
        text += &match section.split(' ').next() {
            Some("audio") => format!(
                "m=audio {port} UDP/TLS/RTP/SAVPF 111\r\na=rtpmap:111 opus/48000/2\r\na=rtcp-mux\r\n\
                 a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\na={direction}\r\n"
            ),
            Some("video") => format!(
                "m=video {port} UDP/TLS/RTP/SAVPF 96 97\r\na=rtpmap:96 VP8/90000\r\na=rtcp-mux\r\n\
                 a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na={direction}\r\n\
                 a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n"
            ),
            _ => "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=sctp-port:5000\r\n".into(),
        };
        text += &format!(
            "a=mid:{mid}\r\na=ice-ufrag:{}\r\na=ice-pwd:abcdefghijklmnopqrstuv\r\n\
             a=fingerprint:sha-256 {}\r\na=setup:active\r\n",
            how.ufrag,
            [how.certificate; 32].join(":")
        );
    }
    Answer::parse(&text, &Limits::default()).expect("a good answer")
}

fn added(command: &Command) -> Option<TransportId> {
    match command {
        Command::AddTransport { transport, .. } => Some(*transport),
        _ => None,
    }
}

fn unsubscribed(command: &Command) -> Option<()> {
    matches!(command, Command::Unsubscribe { .. }).then_some(())
}

#[test]
fn it_is_offered_data_channels_at_once_and_counts_as_here_when_they_are_open() {
    let mut scene = Scene::new();
    let phone = scene.join_two("li");
    let said = phone.said();
    let Message::Join(join) = &said[0] else {
        panic!("{:?}", said[0]);
    };
    assert!(join.subscriber_primary);
    let offer = offered(&said[1..2]).expect("the offer follows");
    assert_eq!((offer.id, &*offer.r#type), (1, "offer"));
    let sections = sections(&offer.sdp);
    assert_eq!(sections.len(), 1);
    assert!(sections[0].starts_with("application 9"));
    assert!(offer.sdp.contains("7882 typ host"));
    assert_eq!(
        scene.commanded(added),
        [],
        "who is to come is not yet known"
    );
    scene.take(&phone, &offer);
    let transport = scene.receiving(&phone);
    let opens = |command: &Command| match command {
        Command::OpenDataChannels { transport } => Some(*transport),
        _ => None,
    };
    assert_eq!(scene.commanded(opens), [transport]);
    scene.event(EventKind::Connected {
        transport,
        profile: Profile::AeadAes256Gcm,
    });
    assert_eq!(scene.room.participants[&phone.key].state, State::Joined);
    let channel = DataChannel::Reliable;
    scene.event(EventKind::DataChannelOpen { transport, channel });
    assert_eq!(scene.room.participants[&phone.key].state, State::Active);
    assert_eq!(scene.room.due(), None, "there is nothing more to say");
}

#[test]
fn what_is_there_comes_with_the_first_offer_and_flows_with_its_answer() {
    let mut scene = Scene::new();
    let mut doctor = scene.join("wang");
    let camera = scene.publish(&mut doctor, TrackType::Video, TrackSource::Camera);
    let phone = scene.join_two("li");
    let offer = offered(&phone.said()).expect("it is offered");
    let doctor_sid = scene.sid(&doctor);
    let msid = format!("a=msid:{doctor_sid}|camera {camera}\r\n");
    assert!(offer.sdp.contains(&msid) && offer.sdp.contains("a=ssrc-group:FID"));
    assert_eq!(offer.mid_to_track_id["1"], camera);
    scene.commands.clear();
    scene.take(&phone, &offer);
    let agreed = scene.commanded(|command| match command {
        Command::Subscribe {
            transport, params, ..
        } => Some((*transport, params.clone())),
        _ => None,
    });
    let [(transport, params)] = &agreed[..] else {
        panic!("{agreed:?}");
    };
    assert_eq!(*transport, scene.receiving(&phone));
    assert_eq!((&*params.mid, params.codecs.len()), ("1", 1));
    assert_eq!(params.codecs[0].codec, Codec::Vp8);
    assert!(doctor.said().iter().any(
        |m| matches!(m, Message::TrackSubscribed(subscribed) if subscribed.track_sid == camera)
    ));
    // The media plane must know the extensions before it writes them.
    let learns =
        |command: &Command| matches!(command, Command::LearnExtensions { .. }).then_some(());
    assert_eq!(scene.commanded(learns), [], "they came with the transport");
}

#[test]
fn there_is_one_offer_at_a_time_and_not_too_many() {
    let mut scene = Scene::new();
    let phone = scene.join_two("li");
    let first = offered(&phone.said()).expect("it is offered");
    let mut doctor = scene.join("wang");
    scene.publish(&mut doctor, TrackType::Audio, TrackSource::Microphone);
    scene.publish(&mut doctor, TrackType::Video, TrackSource::Camera);
    assert_eq!(scene.room.due(), None, "the first is not answered");
    scene.wait(SHORTLY * 2);
    assert_eq!(offered(&phone.said()), None);
    scene.take(&phone, &first);
    let second = offered(&phone.said()).expect("both in one");
    assert_eq!((second.id, sections(&second.sdp).len()), (2, 3));
    // Extensions are known only now.
    scene.commands.clear();
    scene.take(&phone, &second);
    let learnt = scene
        .commands
        .iter()
        .position(|one| matches!(**one, Command::LearnExtensions { .. }));
    let sent = scene
        .commands
        .iter()
        .position(|one| matches!(**one, Command::Subscribe { .. }));
    assert!(learnt.is_some() && learnt < sent);
    assert_eq!(scene.commanded(subscribed).len(), 2);
    // The next one keeps its distance, and need not wait for the clock.
    scene.publish(&mut doctor, TrackType::Video, TrackSource::ScreenShare);
    assert_eq!(offered(&phone.said()), None);
    assert_eq!(scene.room.due(), Some(scene.now + SHORTLY));
    scene.pass();
    let third = offered(&phone.said()).expect("it is due");
    assert_eq!((third.id, sections(&third.sdp).len()), (3, 4));
    // An answer to another one than that is none.
    scene.commands.clear();
    let late = answer(&second.sdp, &Answering::default());
    scene.take_as(&phone, late, 2);
    assert_eq!(scene.commanded(subscribed), []);
    // Some SDKs do not number theirs.
    let unnumbered = answer(&third.sdp, &Answering::default());
    scene.take_as(&phone, unnumbered, 0);
    assert_eq!(scene.commanded(subscribed).len(), 1);
}

#[test]
fn a_section_is_idle_after_its_track_and_carries_the_next_under_its_own_name() {
    let mut scene = Scene::new();
    let phone = scene.join_two("li");
    let mut doctor = scene.join("wang");
    scene.publish(&mut doctor, TrackType::Video, TrackSource::Camera);
    scene.settle(&phone);
    scene.commands.clear();
    doctor.sections[2].1 = "a=inactive".into();
    scene.offer(&mut doctor);
    scene.pass();
    let idle = offered(&phone.said()).expect("it is told");
    let video = sections(&idle.sdp)[1];
    assert!(video.starts_with("video 9") && video.contains("a=inactive"));
    assert_eq!(attribute(video, "msid"), None);
    // It is another's only when both know that it is empty.
    let scope = scene.publish(&mut doctor, TrackType::Video, TrackSource::ScreenShare);
    scene.take(&phone, &idle);
    scene.pass();
    let reused = offered(&phone.said()).expect("it is offered");
    assert_eq!(sections(&reused.sdp).len(), 2);
    let doctor_sid = scene.sid(&doctor);
    let video = sections(&reused.sdp)[1];
    let msid = format!("{doctor_sid}|{scope} {scope}");
    assert_eq!(attribute(video, "msid"), Some(&*msid));
    scene.commands.clear();
    scene.take(&phone, &reused);
    assert_eq!(scene.commanded(subscribed).len(), 1);
    // What is declined is taken back from the media plane.
    let declined = proto::UpdateSubscription {
        track_sids: vec![scope],
        subscribe: false,
        ..Default::default()
    };
    scene.ask(&phone, Asked::Subscription(declined));
    assert_eq!(scene.commanded(unsubscribed), [()]);
}

#[test]
fn a_track_that_ends_before_the_answer_is_not_sent() {
    let mut scene = Scene::new();
    let mut doctor = scene.join("wang");
    scene.publish(&mut doctor, TrackType::Video, TrackSource::Camera);
    let phone = scene.join_two("li");
    let offer = offered(&phone.said()).expect("it is offered");
    scene.ask(&doctor, Asked::Leave(LeaveRequest::default()));
    scene.commands.clear();
    scene.take(&phone, &offer);
    assert_eq!(scene.commanded(subscribed), []);
    scene.pass();
    let next = offered(&phone.said()).expect("the client must know");
    assert!(sections(&next.sdp)[1].contains("a=inactive"));
}

#[test]
fn firefox_finds_the_tracks_name_in_the_streams() {
    let mut scene = Scene::new();
    let mut doctor = scene.join("wang");
    let camera = scene.publish(&mut doctor, TrackType::Video, TrackSource::Camera);
    let fox = scene.join_two_with("li", VideoGrant::default(), "Firefox");
    let offer = offered(&fox.said()).expect("it is offered");
    let doctor_sid = scene.sid(&doctor);
    let msid = format!("{doctor_sid}|{camera} {camera}");
    assert_eq!(attribute(sections(&offer.sdp)[1], "msid"), Some(&*msid));
}

#[test]
fn what_it_publishes_goes_over_the_connection_that_it_offers() {
    let mut scene = Scene::new();
    let mut nurse = scene.join("li");
    let mut phone = scene.join_two("wang");
    scene.settle(&phone);
    // The Rust engine offers sections to receive in even so.
    let idle = [TrackType::Audio, TrackType::Video].map(|kind| (kind, "a=recvonly".to_owned()));
    phone.sections.extend(idle);
    scene.commands.clear();
    let track = scene.publish(&mut phone, TrackType::Video, TrackSource::Camera);
    let answer = phone.answer();
    assert_eq!(answer.sdp.matches("a=inactive").count(), 2);
    assert!(answer.sdp.contains("a=setup:passive"));
    let publisher = scene.transport(&phone);
    assert_ne!(publisher, scene.receiving(&phone));
    assert_eq!(scene.commanded(added), [publisher]);
    scene.offer(&mut nurse);
    assert_eq!(nurse.answer().mid_to_track_id["1"], track);
    // And it is never asked for sections.
    scene.publish(&mut nurse, TrackType::Video, TrackSource::Camera);
    scene.pass();
    let said = phone.said();
    assert_eq!(requirement(&said), None);
    let offer = offered(&said).expect("it is offered");
    scene.take(&phone, &offer);
    scene.ask(&phone, Asked::Leave(LeaveRequest::default()));
    let removed = scene.commanded(|command| match command {
        Command::RemoveTransport { transport } => Some(*transport),
        _ => None,
    });
    assert_eq!(removed.len(), 2);
}

#[test]
fn messages_for_it_take_the_connection_that_it_receives_over() {
    let mut scene = Scene::new();
    let mut doctor = scene.join("wang");
    scene.connect(&doctor);
    let mut phone = scene.join_two("li");
    scene.offer(&mut phone);
    let offer = offered(&phone.said()).expect("it is offered");
    scene.take(&phone, &offer);
    let (up, down) = (scene.transport(&phone), scene.receiving(&phone));
    let from = scene.transport(&doctor);
    let channel = DataChannel::Reliable;
    // The channel that it opens itself is for what it sends.
    let transport = up;
    scene.event(EventKind::DataChannelOpen { transport, channel });
    scene.commands.clear();
    scene.event(data(from, &packet(1, &[])));
    assert_eq!(scene.commanded(sent).len(), 0, "its channel is not open");
    let transport = down;
    scene.event(EventKind::DataChannelOpen { transport, channel });
    let late = scene.commanded(sent);
    assert_eq!((late.len(), late[0].0), (1, down));
    scene.event(data(up, &packet(1, &[])));
    let heard = scene.commanded(sent);
    assert_eq!((heard.len(), heard[0].0), (1, from));
    scene.offer(&mut doctor);
}

#[test]
fn who_may_not_receive_is_offered_nothing_until_he_may() {
    let mut scene = Scene::new();
    let mut doctor = scene.join("wang");
    scene.publish(&mut doctor, TrackType::Audio, TrackSource::Microphone);
    let deaf = VideoGrant {
        can_subscribe: Some(false),
        ..VideoGrant::default()
    };
    let mut patient = scene.join_two_with("li", deaf, "Chrome");
    let said = patient.said();
    assert!(matches!(&said[0], Message::Join(join) if !join.subscriber_primary));
    assert_eq!(offered(&said), None);
    scene.offer(&mut patient);
    scene.connect(&patient);
    assert_eq!(scene.room.participants[&patient.key].state, State::Active);
    // Its client hears over the connection of its own then, for good.
    let change = ParticipantChange {
        identity: "li".into(),
        permission: Some(proto::ParticipantPermission {
            can_subscribe: true,
            can_publish: true,
            can_publish_data: true,
            ..Default::default()
        }),
        ..ParticipantChange::default()
    };
    let moderated = scene
        .room
        .moderate(scene.now, Moderation::Update(Box::new(change)));
    assert!(moderated.is_ok());
    scene.collect();
    let offer = offered(&patient.said()).expect("now it is");
    assert_eq!(sections(&offer.sdp).len(), 2);
    scene.commands.clear();
    scene.take(&patient, &offer);
    assert_eq!(scene.commanded(subscribed).len(), 1);
    let from = scene.transport(&doctor);
    scene.event(data(from, &packet(1, &[])));
    assert_eq!(scene.commanded(sent)[0].0, scene.transport(&patient));
}

#[test]
fn who_does_not_answer_must_come_anew() {
    let mut scene = Scene::new();
    let phone = scene.join_two("li");
    let offer = offered(&phone.said()).expect("it is offered");
    scene.wait(Duration::from_millis(14_900));
    assert_eq!(leave_of(&phone.said()), None);
    scene.wait(Duration::from_millis(100));
    let told = leave_of(&phone.said());
    assert_eq!(
        told,
        Some((DisconnectReason::ConnectionTimeout, Action::Reconnect))
    );
    scene.take(&phone, &offer);
    assert_eq!(scene.room.len(), 0);
}

#[test]
fn a_client_that_is_back_is_offered_another_path_under_the_same_certificate() {
    let mut scene = Scene::new();
    let mut doctor = scene.join("wang");
    scene.publish(&mut doctor, TrackType::Audio, TrackSource::Microphone);
    let mut phone = scene.join_two("li");
    let before = offered(&phone.said()).expect("it is offered");
    scene.take(&phone, &before);
    // While it is away nothing is offered and nothing is too late.
    scene.cut(&phone, Loss::Broken);
    scene.publish(&mut doctor, TrackType::Video, TrackSource::Camera);
    assert_eq!(scene.room.due(), None);
    scene.wait(Duration::from_secs(20));
    scene.resume(&mut phone);
    let said = phone.said();
    assert!(matches!(said[0], Message::Reconnect(_)));
    let offer = offered(&said).expect("it is offered anew");
    let ufrag = |sdp: &str| attribute(sdp, "ice-ufrag").map(str::to_owned);
    assert!(ufrag(&offer.sdp).is_some() && ufrag(&offer.sdp) != ufrag(&before.sdp));
    assert_eq!(
        sections(&offer.sdp).len(),
        3,
        "with what has come meanwhile"
    );
    // What it had answered before is no answer to this.
    scene.commands.clear();
    let old = answer(&before.sdp, &Answering::default());
    scene.take_as(&phone, old, 0);
    let fresh = Answering {
        ufrag: "fresh",
        ..Answering::default()
    };
    scene.take_as(&phone, answer(&offer.sdp, &fresh), 0);
    let restarted = scene.commanded(|command| match command {
        Command::RestartIce {
            transport,
            local,
            remote,
        } => Some((*transport, local.ufrag.clone(), remote.ufrag.clone())),
        _ => None,
    });
    let local = ufrag(&offer.sdp).expect("it has one");
    let expected = (scene.receiving(&phone), local, "fresh".to_owned());
    assert_eq!(restarted, [expected]);
    assert_eq!(leave_of(&phone.said()), None);
}

#[test]
fn another_path_or_certificate_in_an_answer_is_another_client() {
    for how in [
        Answering {
            ufrag: "other",
            ..Answering::default()
        },
        Answering {
            certificate: "EF",
            ..Answering::default()
        },
    ] {
        let mut scene = Scene::new();
        let phone = scene.join_two("li");
        scene.settle(&phone);
        let mut doctor = scene.join("wang");
        scene.publish(&mut doctor, TrackType::Audio, TrackSource::Microphone);
        scene.pass();
        let offer = offered(&phone.said()).expect("it is offered");
        scene.take_as(&phone, answer(&offer.sdp, &how), offer.id);
        let told = leave_of(&phone.said());
        assert_eq!(
            told,
            Some((DisconnectReason::StateMismatch, Action::Reconnect))
        );
    }
}

#[test]
fn an_answer_to_something_else_ends_it_and_one_to_nothing_is_ignored() {
    let mut scene = Scene::new();
    let nurse = scene.join("wang");
    let phone = scene.join_two("li");
    let offer = offered(&phone.said()).expect("it is offered");
    let good = || answer(&offer.sdp, &Answering::default());
    scene.take_as(&nurse, good(), 1);
    assert_eq!(leave_of(&nurse.said()), None, "nobody has asked it");
    let longer = format!(
        "{}m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:1\r\n",
        offer.sdp
    );
    scene.take_as(&phone, answer(&longer, &Answering::default()), 1);
    let told = leave_of(&phone.said());
    assert_eq!(
        told,
        Some((DisconnectReason::StateMismatch, Action::Reconnect))
    );
}

#[test]
fn a_section_that_is_refused_is_never_offered_again() {
    let mut scene = Scene::new();
    let mut doctor = scene.join("wang");
    let camera = scene.publish(&mut doctor, TrackType::Video, TrackSource::Camera);
    scene.publish(&mut doctor, TrackType::Audio, TrackSource::Microphone);
    let phone = scene.join_two("li");
    let offer = offered(&phone.said()).expect("it is offered");
    scene.commands.clear();
    let how = Answering {
        refuses_pictures: true,
        ..Answering::default()
    };
    scene.take_as(&phone, answer(&offer.sdp, &how), 1);
    assert_eq!(scene.commanded(subscribed).len(), 1, "the sound");
    let refusal = phone.said().into_iter().find_map(|message| match message {
        Message::SubscriptionResponse(response) => {
            Some((response.track_sid.clone(), response.err()))
        }
        _ => None,
    });
    assert_eq!(
        refusal,
        Some((camera, SubscriptionError::SeCodecUnsupported))
    );
    scene.settle(&phone);
    let screen = scene.publish(&mut doctor, TrackType::Video, TrackSource::ScreenShare);
    scene.pass();
    let offer = offered(&phone.said()).expect("another picture, another section");
    let refused = sections(&offer.sdp)
        .into_iter()
        .find(|one| one.starts_with("video 0"));
    let refused = refused.expect("it has no port any more");
    let mid = attribute(refused, "mid").expect("sections have names");
    assert!(!offer.mid_to_track_id.contains_key(mid));
    assert!(offer.mid_to_track_id.values().any(|one| *one == screen));
}

#[test]
fn on_another_worker_it_has_both_its_connections_there() {
    let mut scene = Scene::spread();
    let mut doctor = scene.join("wang");
    let mut phone = scene.join_two("li");
    scene.settle(&phone);
    scene.publish(&mut phone, TrackType::Audio, TrackSource::Microphone);
    scene.publish(&mut doctor, TrackType::Audio, TrackSource::Microphone);
    scene.settle(&phone);
    scene.offer(&mut doctor);
    let of = |worker: u16, is_it: fn(&Command) -> bool| {
        let told = scene.told.iter().filter(|(to, _)| to.0 == worker);
        told.filter(|(_, command)| is_it(command)).count()
    };
    assert_eq!(of(1, |one| matches!(one, Command::AddTransport { .. })), 2);
    assert_eq!(of(1, |one| matches!(one, Command::OpenRelay { .. })), 1);
    assert_eq!(of(0, |one| matches!(one, Command::OpenRelay { .. })), 1);
    let zhao = scene.join_two("zhao");
    let offer = offered(&zhao.said()).expect("it is offered");
    assert!(
        offer.sdp.contains(" 7882 "),
        "two connections are one participant"
    );
    scene
        .room
        .event(scene.now, WorkerId(1), EventKind::RoomLost);
    assert_eq!(scene.room.len(), 2);
}

#[test]
fn when_one_connection_is_lost_so_is_the_other() {
    let mut scene = Scene::new();
    let mut phone = scene.join_two("li");
    scene.settle(&phone);
    scene.offer(&mut phone);
    let (lost, other) = (scene.receiving(&phone), scene.transport(&phone));
    scene.commands.clear();
    scene.event(EventKind::Disconnected {
        transport: lost,
        reason: TransportEnd::ConsentLost,
    });
    let removed = scene.commanded(|command| match command {
        Command::RemoveTransport { transport } => Some(*transport),
        _ => None,
    });
    assert_eq!(removed, [other]);
    let told = leave_of(&phone.said());
    assert_eq!(
        told,
        Some((DisconnectReason::ConnectionTimeout, Action::Reconnect))
    );
}
