//! What the server API does in a room, whatever the clients think of it.

use super::*;
use crate::consent;
use crate::room::moderation::{Moderation, ModerationRefusal, ParticipantChange, Ruling};
use crate::room::resume::Loss;
use crate::room::settings::SettingsWish;
use crate::wire::proto::{CreateRoomRequest, ParticipantPermission, SendDataRequest};

impl Scene {
    fn moderate(&mut self, asked: Moderation) -> Result<Ruling, ModerationRefusal> {
        let ruling = self.room.moderate(self.now, asked);
        self.collect();
        ruling
    }

    /// Two who are connected; the first publishes a microphone and a camera.
    fn pair(&mut self) -> (Client, Client, [String; 2]) {
        let mut wang = self.join("wang");
        let li = self.join("li");
        self.connect(&wang);
        self.connect(&li);
        let tracks = [
            self.publish(&mut wang, TrackType::Audio, TrackSource::Microphone),
            self.publish(&mut wang, TrackType::Video, TrackSource::Camera),
        ];
        wang.said();
        li.said();
        self.commands.clear();
        (wang, li, tracks)
    }

    fn change(&mut self, change: ParticipantChange) -> Result<Ruling, ModerationRefusal> {
        let identity = "wang".to_owned();
        let change = ParticipantChange { identity, ..change };
        self.moderate(Moderation::Update(Box::new(change)))
    }
}

fn mute(track_sid: &str, muted: bool) -> Moderation {
    Moderation::Mute {
        identity: "wang".to_owned(),
        track_sid: track_sid.to_owned(),
        muted,
    }
}

fn muted(command: &Command) -> Option<bool> {
    match command {
        Command::SetMuted { muted, .. } => Some(*muted),
        _ => None,
    }
}

fn unpublished(command: &Command) -> Option<()> {
    matches!(command, Command::Unpublish { .. }).then_some(())
}

fn participant(ruling: Result<Ruling, ModerationRefusal>) -> proto::ParticipantInfo {
    match ruling {
        Ok(Ruling::Participant(info)) => *info,
        other => panic!("{other:?}"),
    }
}

fn room(ruling: Result<Ruling, ModerationRefusal>) -> proto::Room {
    match ruling {
        Ok(Ruling::Room(room)) => *room,
        other => panic!("{other:?}"),
    }
}

fn message(data: &str, to: &[&str], nonce: &[u8]) -> Moderation {
    Moderation::Send(Box::new(SendDataRequest {
        data: data.into(),
        destination_identities: to.iter().map(|one| (*one).to_owned()).collect(),
        topic: Some("ward".to_owned()),
        nonce: nonce.to_vec(),
        ..SendDataRequest::default()
    }))
}

#[test]
fn a_moderators_mute_stops_forwarding_whatever_the_client_does() {
    let mut scene = Scene::new();
    let (wang, li, [microphone, _]) = scene.pair();
    let ruling = scene.moderate(mute(&microphone, true));
    assert!(matches!(ruling, Ok(Ruling::Track(track)) if track.muted));
    assert_eq!(scene.commanded(muted), [true]);
    let said = wang.said();
    let asks = said.iter().find_map(|message| match message {
        Message::Mute(request) => Some((request.sid.clone(), request.muted)),
        _ => None,
    });
    assert_eq!(asks, Some((microphone.clone(), true)));
    assert!(
        updates(&li.said())[0]
            .tracks
            .iter()
            .any(|track| track.muted)
    );
    // Nobody opens a microphone from afar.
    let refusal = scene.moderate(mute(&microphone, false));
    assert_eq!(refusal.err(), Some(ModerationRefusal::RemoteUnmute));
    assert!(scene.commanded(muted).is_empty());
}

#[test]
fn where_it_is_configured_a_mute_is_taken_back() {
    let rooms = RoomsConfig {
        remote_unmute: true,
        ..RoomsConfig::default()
    };
    let mut scene = Scene::with(rooms, Limits::default());
    let (_wang, _li, [microphone, _]) = scene.pair();
    assert!(scene.moderate(mute(&microphone, true)).is_ok());
    assert!(scene.moderate(mute(&microphone, false)).is_ok());
    assert_eq!(scene.commanded(muted), [true, false]);
}

#[test]
fn who_and_what_is_not_there_is_said() {
    let mut scene = Scene::new();
    let (_wang, _li, _) = scene.pair();
    let nobody = Moderation::Get("zhao".to_owned());
    assert_eq!(
        scene.moderate(nobody).err(),
        Some(ModerationRefusal::NoParticipant)
    );
    let refusal = scene.moderate(mute("TR_none", true));
    assert_eq!(refusal.err(), Some(ModerationRefusal::NoTrack));
    match scene.moderate(Moderation::List) {
        Ok(Ruling::Participants(all)) => {
            let identities: Vec<_> = all.iter().map(|one| one.identity.as_str()).collect();
            assert_eq!(identities, ["wang", "li"]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_is_removed_is_told_why_and_his_token_is_known() {
    let mut scene = Scene::new();
    let (wang, li, _) = scene.pair();
    let ruling = scene.moderate(Moderation::Remove("wang".to_owned()));
    assert!(matches!(ruling, Ok(Ruling::Removed { .. })));
    let told = wang.said().into_iter().find_map(|message| match message {
        Message::Leave(leave) => Some((leave.reason(), leave.action())),
        _ => None,
    });
    let reason = proto::DisconnectReason::ParticipantRemoved;
    assert_eq!(told, Some((reason, Action::Disconnect)));
    assert_eq!(updates(&li.said())[0].state(), State::Disconnected);
    assert_eq!(scene.room.len(), 1);
}

#[test]
fn whoever_came_with_a_key_that_is_gone_must_go_whether_or_not_his_socket_is_there() {
    let mut scene = Scene::new();
    let (wang, li, _) = scene.pair();
    let zhao = scene.join("zhao");
    for one in [&wang, &zhao] {
        let participant = scene.room.participants.get_mut(&one.key);
        "ward".clone_into(&mut participant.expect("just joined").api_key);
    }
    scene
        .room
        .lose(scene.now, zhao.key, &zhao.outlet, Loss::Broken);
    li.said();
    assert_eq!(
        scene.room.dismiss(scene.now, &["gone".to_owned()].into()),
        0
    );
    assert_eq!(
        scene.room.dismiss(scene.now, &["ward".to_owned()].into()),
        2
    );
    let told = wang.said().into_iter().find_map(|message| match message {
        Message::Leave(leave) => Some((leave.reason(), leave.action())),
        _ => None,
    });
    let reason = proto::DisconnectReason::ParticipantRemoved;
    assert_eq!(told, Some((reason, Action::Disconnect)));
    assert!(
        updates(&li.said())
            .iter()
            .all(|one| one.state() == State::Disconnected)
    );
    assert_eq!(scene.room.len(), 1, "the other key's participant stays");
}

#[test]
fn who_may_publish_no_longer_loses_his_tracks() {
    let mut scene = Scene::new();
    let (mut wang, li, [microphone, camera]) = scene.pair();
    let permission = ParticipantPermission {
        can_publish: true,
        can_subscribe: true,
        can_publish_data: true,
        can_publish_sources: vec![TrackSource::Microphone as i32],
        ..Default::default()
    };
    let info = participant(scene.change(ParticipantChange {
        permission: Some(permission),
        ..Default::default()
    }));
    let left: Vec<_> = info.tracks.iter().map(|track| track.sid.clone()).collect();
    assert_eq!(left, [microphone]);
    assert_eq!(scene.commanded(unpublished).len(), 1);
    let gone = wang.said().into_iter().find_map(|message| match message {
        Message::TrackUnpublished(gone) => Some(gone.track_sid),
        _ => None,
    });
    assert_eq!(gone, Some(camera));
    assert_eq!(
        updates(&li.said()).last().map(|one| one.tracks.len()),
        Some(1)
    );
    // Its client offers the section still; nothing comes of it.
    scene.offer(&mut wang);
    let is_published = |command: &Command| matches!(command, Command::Publish { .. }).then_some(());
    assert_eq!(scene.commanded(is_published).len(), 0);
}

#[test]
fn who_is_let_in_from_the_waiting_room_receives_and_who_is_hidden_goes() {
    let mut scene = Scene::new();
    let (_wang, _li, _) = scene.pair();
    let waiting = VideoGrant {
        can_publish: Some(false),
        can_subscribe: Some(false),
        ..VideoGrant::default()
    };
    let patient = scene.join_with("patient", waiting).expect("a place");
    scene.connect(&patient);
    scene.commands.clear();
    let admitted = ParticipantPermission {
        can_publish: true,
        can_subscribe: true,
        can_publish_data: true,
        ..Default::default()
    };
    let change = |permission| {
        Moderation::Update(Box::new(ParticipantChange {
            identity: "patient".to_owned(),
            permission: Some(permission),
            ..Default::default()
        }))
    };
    patient.said();
    assert!(scene.moderate(change(admitted.clone())).is_ok());
    let said = patient.said();
    assert!(requirement(&said).is_some() || !scene.commanded(subscribed).is_empty());
    let hidden = ParticipantPermission {
        hidden: true,
        ..admitted
    };
    let li = scene.join("zhou");
    li.said();
    assert!(scene.moderate(change(hidden)).is_ok());
    let states: Vec<_> = updates(&li.said()).iter().map(|one| one.state()).collect();
    assert_eq!(states, [State::Disconnected]);
}

#[test]
fn a_participant_is_changed_within_bounds_but_for_what_it_alone_may_say() {
    let mut scene = Scene::new();
    let (wang, _li, _) = scene.pair();
    let attribute = |name: &str, value: &str| ParticipantChange {
        attributes: [(name.to_owned(), value.to_owned())].into(),
        ..Default::default()
    };
    let info = participant(scene.change(ParticipantChange {
        name: "Dr. Wang".to_owned(),
        metadata: "chair".to_owned(),
        ..attribute("role", "chair")
    }));
    assert_eq!(
        (info.name.as_str(), info.metadata.as_str()),
        ("Dr. Wang", "chair")
    );
    assert_eq!(info.attributes["role"], "chair");
    assert_eq!(updates(&wang.said())[0].name, "Dr. Wang");
    let info = participant(scene.change(attribute("role", "")));
    assert!(info.attributes.is_empty() && info.name == "Dr. Wang");
    for (change, refusal) in [
        (
            attribute(consent::ATTRIBUTE, "granted"),
            ModerationRefusal::Consent,
        ),
        (
            attribute(consent::RECORDING_ATTRIBUTE, "on"),
            ModerationRefusal::OwnAttribute,
        ),
        (
            attribute("role", &"x".repeat(Limits::default().attributes_bytes_max)),
            ModerationRefusal::TooLarge("limits.attributes_bytes_max"),
        ),
    ] {
        assert_eq!(scene.change(change).err(), Some(refusal));
    }
}

#[test]
fn a_message_of_the_server_reaches_whom_it_is_for_once() {
    let mut scene = Scene::new();
    let (wang, li, _) = scene.pair();
    let to = [scene.transport(&wang), scene.transport(&li)];
    assert!(scene.moderate(message("all", &[], b"1")).is_ok());
    assert!(scene.moderate(message("all", &[], b"1")).is_ok());
    assert!(scene.moderate(message("li", &["li"], b"")).is_ok());
    let messages = scene.commanded(sent);
    let reached: Vec<_> = messages.iter().map(|(transport, _)| *transport).collect();
    assert_eq!(reached, [to[0], to[1], to[1]]);
    match &messages[2].1.value {
        Some(proto::data_packet::Value::User(user)) => {
            assert_eq!(user.payload, b"li");
            assert_eq!(user.topic.as_deref(), Some("ward"));
            assert!(messages[2].1.participant_identity.is_empty());
        }
        other => panic!("{other:?}"),
    }
    let long = "x".repeat(64_001);
    assert!(scene.moderate(message(&long, &[], b"")).is_err());
    assert!(scene.moderate(message("x", &[], &[7; 65])).is_err());
}

#[test]
fn what_is_written_on_a_room_is_told_to_those_inside() {
    let mut scene = Scene::new();
    let (wang, _li, _) = scene.pair();
    let asked = Moderation::SetMetadata("tumour board".to_owned());
    assert_eq!(room(scene.moderate(asked)).metadata, "tumour board");
    let told = wang.said().into_iter().find_map(|message| match message {
        Message::RoomUpdate(update) => update.room,
        _ => None,
    });
    assert_eq!(told.expect("it was told").metadata, "tumour board");
    let long = "x".repeat(Limits::default().metadata_bytes_max + 1);
    assert!(scene.moderate(Moderation::SetMetadata(long)).is_err());
}

#[test]
fn a_room_that_was_made_holds_and_waits_as_it_was_asked_to() {
    let mut scene = Scene::new();
    let wish: SettingsWish = CreateRoomRequest {
        max_participants: 1,
        empty_timeout: 1,
        departure_timeout: 2,
        ..Default::default()
    }
    .into();
    let made = room(scene.moderate(Moderation::Arrange(wish)));
    assert_eq!((made.max_participants, made.empty_timeout), (1, 1));
    let wang = scene.join("wang");
    assert!(scene.join_with("li", VideoGrant::default()).is_err());
    scene.ask(&wang, Asked::Leave(proto::LeaveRequest::default()));
    assert!(scene.wait(Duration::from_millis(1_500)));
    assert!(!scene.wait(Duration::from_millis(600)));
}

#[test]
fn the_first_token_may_say_how_the_room_is() {
    let mut scene = Scene::new();
    let first = Grants {
        identity: "wang".into(),
        room_config: Some(serde_json::json!({"maxParticipants": 1, "metadata": "mdt"})),
        ..Grants::default()
    };
    assert!(scene.join_as(first).is_ok());
    assert!(scene.join_with("li", VideoGrant::default()).is_err());
    assert_eq!(room(scene.moderate(Moderation::Describe)).metadata, "mdt");
}
