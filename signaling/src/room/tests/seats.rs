//! Who is there, as what, and until when.

use super::*;

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
