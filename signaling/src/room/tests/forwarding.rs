//! Somebody stays where he is and is seen and heard in another room too.

use std::collections::BTreeMap;

use super::resume::leave_of;
use super::*;
use crate::consent::RECORDING_ATTRIBUTE;
use crate::room::actor::HostAnswer;
use crate::room::calls::{CallId, CallRefusal};
use crate::room::forwarding::Visit;
use crate::room::moderation::{Moderation, ModerationRefusal, ParticipantChange};
use crate::room::recording::Order;
use crate::wire::proto::participant_info::KindDetail;
use crate::wire::proto::{
    ParticipantPermission, PerformRpcRequest, SendDataRequest, UpdateTrackSettings, VideoQuality,
};

/// An operation with a surgeon who has a camera and a microphone, and a lecture with a student.
struct Theatre {
    operation: Scene,
    lecture: Scene,
    surgeon: Client,
    student: Client,
    camera: String,
}

fn theatre() -> Theatre {
    theatre_in(Scene::new())
}

fn theatre_in(mut operation: Scene) -> Theatre {
    let mut lecture = operation.beside();
    let mut surgeon = operation.let_in("wang");
    let student = lecture.let_in("li");
    let camera = operation.show(&mut surgeon);
    operation.publish(&mut surgeon, TrackType::Audio, TrackSource::Microphone);
    for client in [&surgeon, &student] {
        client.said();
    }
    Theatre {
        operation,
        lecture,
        surgeon,
        student,
        camera,
    }
}

impl Scene {
    fn send_out(&mut self, identity: &str) -> Result<Visit, ModerationRefusal> {
        let visit = self.room.forward(identity);
        self.collect();
        visit
    }

    fn visitor(&mut self, identity: &str) -> Visit {
        self.send_out(identity)
            .unwrap_or_else(|refusal| panic!("{refusal}"))
    }

    fn host(&mut self, visit: Visit) -> Option<ModerationRefusal> {
        let answer: HostAnswer = self.room.host(self.now, Box::new(visit));
        self.collect();
        answer.err().map(|(refusal, _)| refusal)
    }

    /// A quarter of a second, after which everybody who is shown elsewhere is up to date.
    fn settle_down(&mut self) {
        self.wait(Duration::from_millis(250));
        self.room.show_elsewhere();
    }

    fn guest(&mut self, identity: &str) -> Option<proto::ParticipantInfo> {
        let key = self.room.key_of(identity).ok()?;
        Some(self.room.participants.get_mut(&key)?.info())
    }
}

impl Theatre {
    fn forward(&mut self) {
        let visit = self.operation.visitor("wang");
        assert_eq!(self.lecture.host(visit), None);
    }

    /// What happens in one room has reached the other.
    fn meet(&mut self) {
        for _ in 0..2 {
            self.operation.settle_down();
            self.lecture.settle_down();
        }
    }

    /// What the surgeon's tracks are called in the operation, and in the lecture.
    fn names(&self) -> BTreeMap<PublicationId, PublicationId> {
        let key = self.lecture.room.key_of("wang").expect("he is shown");
        let there = &self.lecture.room.participants[&key].tracks;
        let here = self.operation.names(&self.surgeon).into_iter();
        here.zip(there.iter().map(|one| one.publication)).collect()
    }
}

fn shared(command: &Command) -> Option<(PublicationId, RoomId, PublicationId)> {
    match command {
        Command::Share {
            publication,
            from,
            name,
        } => Some((*publication, *from, *name)),
        _ => None,
    }
}

fn unshared(command: &Command) -> Option<PublicationId> {
    match command {
        Command::Unshare { name } => Some(*name),
        _ => None,
    }
}

#[test]
fn he_is_seen_in_the_other_room_and_his_own_notices_nothing() {
    let mut theatre = theatre();
    theatre.operation.webhooks();
    theatre.lecture.webhooks();
    theatre.operation.commands.clear();
    theatre.lecture.told.clear();
    theatre.forward();

    let seen = updates(&theatre.student.said());
    let seen = seen.last().expect("somebody has come");
    let own = theatre.operation.sid(&theatre.surgeon);
    assert_eq!((&*seen.identity, seen.state()), ("wang", State::Active));
    assert_ne!(seen.sid, own, "it is a seat of its own");
    assert_eq!(seen.tracks.len(), 2);
    assert_eq!(seen.tracks[0].sid, theatre.camera);
    assert_eq!(seen.kind_details, [KindDetail::Forwarded as i32]);
    let permission = seen.permission.as_ref().expect("told");
    assert!(!permission.can_subscribe && !permission.can_publish_data);
    let told = ["participant_joined", "track_published", "track_published"];
    assert_eq!(theatre.lecture.webhooks(), told);

    // The worker that has his connection is told to share what it has.
    let told: Vec<_> = theatre.lecture.told.iter().collect();
    assert!(matches!((told[0].0.0, &*told[0].1), (0, Command::OpenRoom)));
    assert!(told[1..3].iter().all(|(to, _)| to.0 == 0));
    let names = theatre.names().into_iter();
    let pairs: Vec<_> = names
        .map(|(here, there)| (here, RoomId(1), there))
        .collect();
    assert_eq!(theatre.lecture.commanded(shared), pairs);
    assert!(pairs.iter().all(|(here, _, there)| here != there));

    theatre.meet();
    assert!(theatre.operation.commands.is_empty(), "all is as it was");
    assert!(theatre.operation.webhooks().is_empty());
    assert_eq!(theatre.operation.room.len(), 1);
    assert_eq!(leave_of(&theatre.surgeon.said()), None);
}

#[test]
fn people_there_subscribe_to_him_wherever_they_are_connected() {
    let mut theatre = theatre();
    theatre.forward();
    let names: Vec<PublicationId> = theatre.names().into_values().collect();
    theatre.student.said();
    theatre.lecture.commands.clear();
    for _ in 0..2 {
        theatre.lecture.offer(&mut theatre.student);
    }
    let mut received = theatre.lecture.commands.clone();
    received.retain(|one| matches!(**one, Command::OpenRelay { .. }));
    let publisher_is = theatre.operation.transport(&theatre.surgeon);
    assert_eq!(received.len(), 2, "he is on another worker");
    for relay in received {
        let Command::OpenRelay {
            publication,
            owner,
            publisher,
            ..
        } = *relay
        else {
            unreachable!("kept");
        };
        assert!(names.contains(&publication));
        assert_eq!((owner, publisher), (WorkerId(0), publisher_is));
    }
    let mut received = theatre.lecture.commanded(subscribed);
    received.sort_unstable();
    assert_eq!(received, names);
}

#[test]
fn what_he_changes_is_followed() {
    let mut theatre = theatre();
    theatre.forward();
    theatre.lecture.webhooks();
    theatre.student.said();
    let mute = MuteTrackRequest {
        sid: theatre.camera.clone(),
        muted: true,
    };
    theatre.operation.ask(&theatre.surgeon, Asked::Mute(mute));
    let change = ParticipantChange {
        identity: "wang".into(),
        name: "Dr. Wang".into(),
        metadata: "surgeon".into(),
        attributes: [("hand".to_owned(), "left".to_owned())].into(),
        ..ParticipantChange::default()
    };
    let change = Moderation::Update(Box::new(change));
    assert_eq!(theatre.operation.ask_about(change), None);
    theatre.meet();
    let seen = updates(&theatre.student.said());
    let seen = seen.last().expect("told");
    assert!(seen.tracks[0].muted && !seen.tracks[1].muted);
    assert_eq!((&*seen.name, &*seen.metadata), ("Dr. Wang", "surgeon"));
    assert_eq!(seen.attributes["hand"], "left");

    theatre.lecture.commands.clear();
    let kind = TrackType::Video;
    let screen = TrackSource::ScreenShare;
    let screen = theatre
        .operation
        .publish(&mut theatre.surgeon, kind, screen);
    theatre.meet();
    let seen = updates(&theatre.student.said());
    let sids: Vec<&String> = seen
        .last()
        .expect("told")
        .tracks
        .iter()
        .map(|one| &one.sid)
        .collect();
    assert!(sids.len() == 3 && sids.contains(&&screen));
    assert_eq!(theatre.lecture.commanded(shared).len(), 1);

    // The camera's section ends.
    let section = &mut theatre.surgeon.sections[2];
    section.1 = "a=inactive".into();
    theatre.operation.offer(&mut theatre.surgeon);
    theatre.meet();
    let seen = updates(&theatre.student.said());
    let seen = &seen.last().expect("told").tracks;
    assert!(seen.len() == 2 && seen.iter().all(|one| one.sid != theatre.camera));
    assert_eq!(
        theatre.lecture.webhooks(),
        ["track_published", "track_unpublished"]
    );
    assert!(theatre.student.said().is_empty(), "nothing more is said");
    theatre.meet();
    assert!(updates(&theatre.student.said()).is_empty(), "or repeated");
}

#[test]
fn he_is_gone_there_when_he_is_gone_here() {
    type Ending = fn(&mut Theatre);
    let endings: [Ending; 5] = [
        |at| {
            at.operation
                .ask(&at.surgeon, Asked::Leave(proto::LeaveRequest::default()));
        },
        |at| {
            let removed = Moderation::Remove("wang".into());
            assert_eq!(at.operation.ask_about(removed), None);
        },
        |at| {
            let departed = at.operation.room.depart(at.operation.now, "wang");
            assert!(departed.is_ok());
        },
        |at| {
            let change = ParticipantChange {
                identity: "wang".into(),
                permission: Some(ParticipantPermission {
                    can_subscribe: true,
                    ..Default::default()
                }),
                ..ParticipantChange::default()
            };
            let change = Moderation::Update(Box::new(change));
            assert_eq!(at.operation.ask_about(change), None);
        },
        |at| {
            let other = Scene::new();
            at.operation = other;
        },
    ];
    for (number, ending) in endings.into_iter().enumerate() {
        let mut theatre = theatre();
        theatre.forward();
        theatre.meet();
        theatre.student.said();
        theatre.lecture.webhooks();
        ending(&mut theatre);
        theatre.meet();
        let seen = updates(&theatre.student.said());
        let gone = seen.last().expect("told");
        assert_eq!(
            (&*gone.identity, gone.state()),
            ("wang", State::Disconnected),
            "{number}"
        );
        assert_eq!(theatre.lecture.room.len(), 1);
        let told = theatre.lecture.webhooks();
        assert_eq!(told.last().map(String::as_str), Some("participant_left"));
    }
}

#[test]
fn he_is_removed_there_and_stays_here() {
    let mut theatre = theatre();
    theatre.forward();
    let names: Vec<PublicationId> = theatre.names().into_values().collect();
    theatre.lecture.commands.clear();
    let removed = Moderation::Remove("wang".into());
    assert_eq!(theatre.lecture.ask_about(removed), None);
    assert_eq!(theatre.lecture.commanded(unshared), names);
    theatre.meet();
    assert_eq!(leave_of(&theatre.surgeon.said()), None);
    assert_eq!(theatre.operation.room.len(), 1);
    let participant = &theatre.operation.room.participants[&theatre.surgeon.key];
    assert!(participant.forwardings.is_empty());
    // And may be shown again.
    theatre.forward();
    assert_eq!(theatre.lecture.room.guests(), 1);
    theatre.lecture.room.shut_down(
        theatre.lecture.now,
        Removal::told(DisconnectReason::RoomDeleted, Action::Disconnect),
    );
    theatre.meet();
    let participant = &theatre.operation.room.participants[&theatre.surgeon.key];
    assert!(participant.forwardings.is_empty());
}

#[test]
fn who_is_only_shown_is_not_changed_there_and_not_sent_on() {
    let mut theatre = theatre();
    theatre.forward();
    let change = ParticipantChange {
        identity: "wang".into(),
        name: "x".into(),
        ..ParticipantChange::default()
    };
    let asked = [
        Moderation::Update(Box::new(change)),
        Moderation::Mute {
            identity: "wang".into(),
            track_sid: theatre.camera.clone(),
            muted: true,
        },
        Moderation::Subscribe {
            identity: "wang".into(),
            track_sids: Vec::new(),
            participant_tracks: Vec::new(),
            subscribe: true,
        },
        Moderation::Survey("wang".into()),
    ];
    for asked in asked {
        let refusal = theatre.lecture.ask_about(asked);
        assert_eq!(refusal, Some(ModerationRefusal::Guest));
    }
    let on = theatre.lecture.send_out("wang");
    assert_eq!(on.err(), Some(ModerationRefusal::Guest));
    let departed = theatre.lecture.room.depart(theatre.lecture.now, "wang");
    assert_eq!(departed.err(), Some(ModerationRefusal::Guest));

    // Nothing that is said there reaches him, and no call.
    theatre.lecture.commands.clear();
    let message = SendDataRequest {
        data: b"hello".to_vec(),
        ..Default::default()
    };
    assert_eq!(
        theatre
            .lecture
            .ask_about(Moderation::Send(Box::new(message))),
        None
    );
    assert_eq!(theatre.lecture.commands.len(), 1, "to the student");
    let call = PerformRpcRequest {
        destination_identity: "wang".into(),
        method: "look".into(),
        ..Default::default()
    };
    theatre
        .lecture
        .room
        .call(theatre.lecture.now, CallId(1), call);
    let answers = theatre.lecture.room.take_call_answers();
    assert_eq!(answers, [(CallId(1), Err(CallRefusal::NotHeard))]);

    // His seat is not to be had there, whoever he is.
    let sid = theatre.lecture.guest("wang").expect("shown").sid;
    let back = crate::room::resume::Return {
        participant_sid: sid,
        identity: "wang".into(),
        api_key: "clinic".into(),
        token_expires_at: SystemTime::now(),
        sync_state: None,
        outlet: Outlet::new(1 << 20),
        host: None,
    };
    assert_eq!(theatre.lecture.room.resume(theatre.lecture.now, back), None);
}

#[test]
fn he_is_forwarded_only_where_he_may_be() {
    let mut theatre = theatre();
    let nobody = theatre.operation.send_out("nobody");
    assert_eq!(nobody.err(), Some(ModerationRefusal::NoParticipant));
    theatre.operation.join("zhao");
    let early = theatre.operation.send_out("zhao");
    assert_eq!(early.err(), Some(ModerationRefusal::NotConnected));
    let mute = VideoGrant {
        can_publish: Some(false),
        ..VideoGrant::default()
    };
    let silent = theatre.operation.join_with("chen", mute).expect("a place");
    theatre.operation.connect(&silent);
    let nothing = theatre.operation.send_out("chen");
    assert_eq!(nothing.err(), Some(ModerationRefusal::NothingToShow));

    let twice = theatre.operation.visitor("wang");
    theatre.forward();
    let refusal = theatre.lecture.host(twice);
    assert_eq!(refusal, Some(ModerationRefusal::Taken));
    theatre.lecture.room.settings.participants_max = 2;
    let other = theatre.operation.let_in("sun");
    let full = theatre.operation.visitor("sun");
    assert_eq!(theatre.lecture.host(full), Some(ModerationRefusal::Full));
    drop(other);

    let visits: Vec<_> = (0..4).map(|_| theatre.operation.send_out("wang")).collect();
    let refused: Vec<_> = visits.iter().filter_map(|one| one.as_ref().err()).collect();
    assert_eq!(
        refused,
        [&ModerationRefusal::EverywhereAlready],
        "four in all"
    );
    drop(visits);
    assert!(
        theatre.operation.send_out("wang").is_ok(),
        "they came to nothing"
    );
}

#[test]
fn who_comes_himself_takes_the_place_of_his_picture() {
    let mut theatre = theatre();
    theatre.forward();
    let himself = theatre.lecture.join("wang");
    theatre.lecture.connect(&himself);
    assert_eq!(
        (theatre.lecture.room.len(), theatre.lecture.room.guests()),
        (2, 0)
    );
}

#[test]
fn where_everybody_must_be_recorded_nobody_is_forwarded_to() {
    let mut theatre = theatre_in(Scene::recorded_by(Policy::Must));
    let visit = theatre.operation.visitor("wang");
    let refusal = theatre.lecture.host(visit);
    assert_eq!(refusal, Some(ModerationRefusal::MustBeRecorded));
    assert_eq!(theatre.lecture.room.len(), 1);

    // Where that is only known when somebody comes he goes.
    let mut empty = Scene::new().beside();
    let mut operation = Scene::new();
    let mut surgeon = operation.let_in("wang");
    operation.publish(&mut surgeon, TrackType::Audio, TrackSource::Microphone);
    let visit = operation.visitor("wang");
    assert_eq!(empty.host(visit), None);
    let day = Duration::from_secs(86_400);
    assert!(empty.wait(day), "the room waits for its people");
    empty
        .join_answering("li", Some("granted"), Some("must"))
        .expect("a place");
    assert_eq!((empty.room.len(), empty.room.guests()), (1, 0));
}

#[test]
fn no_recording_knows_of_him_where_he_is_shown() {
    let mut theatre = theatre();
    let ask = crate::egress::Ask {
        room: "second".into(),
        request: crate::egress::whole_room("second"),
        target: crate::egress::Target::Room,
    };
    theatre
        .lecture
        .room
        .start_egress(crate::room::recording::AskId(1), ask);
    theatre.lecture.orders();
    theatre.lecture.begun();
    theatre.lecture.orders();
    theatre.forward();
    theatre.meet();
    let [first, ..] = theatre.names().into_values().collect::<Vec<_>>()[..] else {
        panic!("he has two tracks");
    };
    theatre.lecture.event(EventKind::Speakers {
        speakers: vec![Speaker {
            publication: first,
            level: 0.5,
            is_active: true,
        }],
    });
    let mute = MuteTrackRequest {
        sid: theatre.camera.clone(),
        muted: true,
    };
    theatre.operation.ask(&theatre.surgeon, Asked::Mute(mute));
    theatre.meet();
    let told = |order: &Order| matches!(order, Order::Tell(..));
    let orders = theatre.lecture.orders();
    assert!(!orders.iter().any(told), "{orders:?}");
    let shown = theatre.lecture.guest("wang").expect("shown");
    assert_eq!(
        shown.attributes[RECORDING_ATTRIBUTE], "held",
        "people see it"
    );
    let removed = Moderation::Remove("wang".into());
    assert_eq!(theatre.lecture.ask_about(removed), None);
    assert!(!theatre.lecture.orders().iter().any(told));
}

#[test]
fn who_speaks_is_told_where_he_is_shown() {
    let mut theatre = theatre();
    theatre.forward();
    let names = theatre.names();
    theatre.student.said();
    let microphone = theatre.operation.names(&theatre.surgeon)[1];
    theatre.lecture.event(EventKind::Speakers {
        speakers: vec![Speaker {
            publication: names[&microphone],
            level: 0.5,
            is_active: true,
        }],
    });
    let sid = theatre.lecture.guest("wang").expect("shown").sid;
    let said = theatre.student.said();
    let told = said.iter().find_map(|message| match message {
        Message::SpeakersChanged(changed) => changed.speakers.first(),
        _ => None,
    });
    let told = told.expect("somebody speaks");
    assert!(told.sid == sid && told.active);
}

#[test]
fn his_client_sends_what_is_looked_at_there() {
    let mut theatre = theatre();
    let nobody = theatre.operation.told_in_time(&theatre.surgeon);
    assert_eq!(nobody.last(), Some(&[false, false, false]));
    theatre.forward();
    theatre.meet();
    let told = theatre.operation.told_in_time(&theatre.surgeon);
    assert_eq!(told, [[true, true, true]], "the student looks");
    let small = UpdateTrackSettings {
        quality: VideoQuality::Low as i32,
        ..Default::default()
    };
    let camera = theatre.camera.clone();
    theatre.lecture.look(&theatre.student, &camera, &small);
    let told = theatre.operation.told_in_time(&theatre.surgeon);
    assert_eq!(told, [[true, false, false]]);
    let removed = Moderation::Remove("wang".into());
    assert_eq!(theatre.lecture.ask_about(removed), None);
    theatre.meet();
    let told = theatre.operation.told_in_time(&theatre.surgeon);
    assert_eq!(told, [[false, false, false]]);
}
