//! A connection breaks and its client comes back, or somebody else who would like its seat.

use super::*;
use crate::room::moderation::{Moderation, ParticipantChange};
use crate::room::resume::{Loss, Return};
use crate::wire::proto::{
    DataChannelReceiveState, SubscriptionPermission, SyncState, TrackInfo, TrackPublishedResponse,
    UpdateSubscription, UpdateTrackSettings,
};

const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

impl Scene {
    pub(super) fn cut(&mut self, client: &Client, loss: Loss) {
        self.room.lose(self.now, client.key, &client.outlet, loss);
        client.said();
    }

    fn back(&self, client: &Client) -> Return {
        let participant = &self.room.participants[&client.key];
        Return {
            participant_sid: participant.sid.clone(),
            identity: participant.identity.clone(),
            api_key: participant.api_key.clone(),
            token_expires_at: SystemTime::now(),
            sync_state: None,
            outlet: Outlet::new(1 << 20),
            host: None,
        }
    }

    /// The client comes back over a socket of its own. Returns the old one's outlet.
    pub(super) fn resume(&mut self, client: &mut Client) -> Outlet {
        let back = self.back(client);
        let before = std::mem::replace(&mut client.outlet, back.outlet.clone());
        let key = self.room.resume(self.now, back);
        assert_eq!(key, Some(client.key));
        self.collect();
        before
    }

    pub(super) fn sid(&self, client: &Client) -> String {
        self.room.participants[&client.key].sid.clone()
    }
}

fn ended(command: &Command) -> Option<()> {
    match command {
        Command::RemoveTransport { .. }
        | Command::Unpublish { .. }
        | Command::Unsubscribe { .. } => Some(()),
        _ => None,
    }
}

fn sync(state: SyncState) -> Asked {
    Asked::SyncState(state)
}

pub(super) fn leave_of(said: &[Message]) -> Option<(DisconnectReason, Action)> {
    said.iter().find_map(|message| match message {
        Message::Leave(leave) => Some((leave.reason(), leave.action())),
        _ => None,
    })
}

#[test]
fn a_seat_and_its_media_are_kept_for_a_minute_and_nobody_notices() {
    let mut scene = Scene::new();
    let nurse = scene.join("li");
    let mut doctor = scene.join("wang");
    scene.publish(&mut doctor, TrackType::Audio, TrackSource::Microphone);
    nurse.said();
    scene.commands.clear();
    scene.cut(&doctor, Loss::Broken);
    assert!(scene.wait(MINUTE - SECOND));
    assert_eq!((scene.room.len(), scene.room.detached()), (2, 1));
    assert_eq!(updates(&nurse.said()), []);
    assert_eq!(scene.commanded(ended), []);
    scene.wait(SECOND);
    assert_eq!((scene.room.len(), scene.room.detached()), (1, 0));
    let gone = updates(&nurse.said()).pop().expect("the others are told");
    assert_eq!(gone.state(), State::Disconnected);
    assert_eq!(gone.disconnect_reason(), DisconnectReason::SignalClose);
    assert_eq!(scene.commanded(ended).len(), 1);
}

#[test]
fn a_page_that_is_gone_is_not_waited_for_so_long() {
    let mut scene = Scene::new();
    let doctor = scene.join("wang");
    scene.cut(&doctor, Loss::PageGone);
    scene.wait(SECOND * 4);
    assert_eq!(scene.room.len(), 1);
    scene.wait(SECOND);
    assert_eq!(scene.room.len(), 0);
}

#[test]
fn who_comes_back_is_told_how_things_are_and_goes_on() {
    let mut scene = Scene::new();
    let nurse = scene.join("li");
    let mut doctor = scene.join("wang");
    scene.publish(&mut doctor, TrackType::Audio, TrackSource::Microphone);
    let transport = scene.transport(&doctor);
    scene.event(data(transport, &packet(7, &[])));
    nurse.said();
    scene.commands.clear();
    // Its own socket is not yet known to be dead.
    let before = scene.resume(&mut doctor);
    while let Some(Item::Message(_)) = before.try_next() {}
    assert_eq!(before.try_next(), Some(Item::End(End::Replaced)));
    let said = doctor.said();
    let Message::Reconnect(reconnect) = &said[0] else {
        panic!("{:?}", said[0]);
    };
    assert_eq!(reconnect.last_message_seq, 7);
    let server = reconnect.server_info.as_ref().expect("JS keeps it");
    assert_eq!(server.version, "1.13.5");
    let Message::Update(update) = &said[1] else {
        panic!("{:?}", said[1]);
    };
    let names: Vec<&str> = update
        .participants
        .iter()
        .map(|one| one.identity.as_str())
        .collect();
    assert_eq!(names, ["wang", "li"]);
    assert_eq!(update.participants[0].tracks.len(), 1);
    assert!(said.iter().any(|one| matches!(one, Message::RoomUpdate(_))));
    assert_eq!(scene.commanded(ended), []);
    assert_eq!(updates(&nurse.said()), []);
    // The old session's end, when it is noticed at last, is not this one's.
    scene
        .room
        .lose(scene.now, doctor.key, &before, Loss::Broken);
    assert!(!scene.room.is_in_session(doctor.key, &before));
    assert!(scene.room.is_in_session(doctor.key, &doctor.outlet));
    scene.wait(MINUTE * 2);
    assert_eq!((scene.room.len(), scene.room.detached()), (2, 0));
}

#[test]
fn a_seat_is_given_to_nobody_else() {
    let mut scene = Scene::new();
    let nurse = scene.join("li");
    let doctor = scene.join("wang");
    scene.cut(&doctor, Loss::Broken);
    nurse.said();
    let mut refused = |change: &dyn Fn(&mut Return)| {
        let mut back = scene.back(&doctor);
        change(&mut back);
        let outlet = back.outlet.clone();
        assert_eq!(scene.room.resume(scene.now, back), None);
        assert_eq!(outlet.try_next(), None, "and nothing is said");
    };
    refused(&|back| back.participant_sid = "PA_nobody".into());
    refused(&|back| back.participant_sid.clear());
    refused(&|back| back.identity = "li".into());
    refused(&|back| back.api_key = "another clinic".into());
    let nurse_sid = scene.sid(&nurse);
    let mut back = scene.back(&doctor);
    back.participant_sid = nurse_sid;
    assert_eq!(scene.room.resume(scene.now, back), None);
    assert!(scene.room.is_in_session(nurse.key, &nurse.outlet));
    assert_eq!(nurse.said(), []);
    let late = scene.back(&doctor);
    scene.wait(MINUTE);
    assert_eq!(scene.room.resume(scene.now, late), None);
}

#[test]
fn what_happened_meanwhile_is_told() {
    let mut scene = Scene::new();
    let mut doctor = scene.join("wang");
    let nurse = scene.join("li");
    let guest = scene.join("zhao");
    let voice = scene.publish(&mut doctor, TrackType::Audio, TrackSource::Microphone);
    scene.cut(&doctor, Loss::Broken);
    let mute = Moderation::Mute {
        identity: "wang".into(),
        track_sid: voice.clone(),
        muted: true,
    };
    scene.room.moderate(scene.now, mute).expect("it is there");
    let guest_sid = scene.sid(&guest);
    scene.ask(&guest, Asked::Leave(proto::LeaveRequest::default()));
    let mut chief = scene.join("zhou");
    let camera = scene.publish(&mut chief, TrackType::Video, TrackSource::Camera);
    let nobody = SubscriptionPermission::default();
    scene.ask(&chief, Asked::SubscriptionPermission(nobody));
    let mut late = scene.join("chen");
    let (old_sid, again) = (scene.sid(&nurse), scene.join("li"));
    scene.offer(&mut late);
    scene.resume(&mut doctor);
    let said = doctor.said();
    let muted = said
        .iter()
        .position(|one| matches!(one, Message::Mute(mute) if mute.sid == voice && mute.muted));
    let told = said
        .iter()
        .position(|one| matches!(one, Message::Update(_)))
        .expect("who is here");
    assert!(
        muted.expect("it is asked to mute") < told,
        "before it answers"
    );
    let seen = updates(&said);
    let gone = seen.iter().find(|one| one.sid == guest_sid);
    assert_eq!(gone.expect("who left").state(), State::Disconnected);
    assert!(
        seen.iter().all(|one| one.sid != old_sid),
        "under this name somebody is here"
    );
    assert!(seen.iter().any(|one| one.sid == scene.sid(&again)));
    let chief = seen.iter().find(|one| one.identity == "zhou");
    assert_eq!(chief.expect("who came").tracks[0].sid, camera);
    assert!(said.iter().any(|one| matches!(
        one,
        Message::SubscriptionPermissionUpdate(update) if update.track_sid == camera && !update.allowed
    )));
    assert!(
        said.iter()
            .any(|one| matches!(one, Message::TrackSubscribed(track) if track.track_sid == voice)),
        "it has its first listener"
    );
    // What it says itself about its mute counts from then on.
    let unmute = MuteTrackRequest {
        sid: voice,
        muted: false,
    };
    scene.ask(&doctor, Asked::Mute(unmute));
    scene.resume(&mut doctor);
    let said = doctor.said();
    assert!(!said.iter().any(|one| matches!(one, Message::Mute(_))));
}

#[test]
fn an_offer_after_the_return_restarts_ice_and_shows_what_is_new() {
    let mut scene = Scene::new();
    let mut doctor = scene.join("wang");
    let mut nurse = scene.join("li");
    let old = scene.publish(&mut doctor, TrackType::Audio, TrackSource::Microphone);
    scene.offer(&mut nurse);
    let transport = scene.transport(&nurse);
    scene.cut(&nurse, Loss::Broken);
    let new = scene.publish(&mut doctor, TrackType::Video, TrackSource::Camera);
    scene.resume(&mut nurse);
    assert_eq!(requirement(&nurse.said()), None, "it will offer by itself");
    scene.commands.clear();
    nurse.ufrag = "efgh";
    scene.offer(&mut nurse);
    let answer = nurse.answer();
    assert_eq!(answer.mid_to_track_id["0"], old);
    assert_eq!(answer.mid_to_track_id["1"], new);
    let mut restarts = Vec::new();
    let mut subscriptions = 0;
    for command in &scene.commands {
        match &**command {
            Command::RestartIce { transport, .. } => restarts.push(*transport),
            Command::Subscribe { .. } => subscriptions += 1,
            Command::AddTransport { .. } => panic!("the connection goes on"),
            _ => {}
        }
    }
    assert_eq!(restarts, [transport]);
    assert_eq!(subscriptions, 1, "the old one goes on");
}

#[test]
fn who_comes_back_and_makes_no_offer_is_asked_for_one() {
    let mut scene = Scene::new();
    let mut doctor = scene.join("wang");
    let mut nurse = scene.join("li");
    scene.cut(&nurse, Loss::Broken);
    scene.publish(&mut doctor, TrackType::Audio, TrackSource::Microphone);
    scene.resume(&mut nurse);
    assert_eq!(requirement(&nurse.said()), None);
    scene.wait(SECOND * 15);
    assert_eq!(requirement(&nurse.said()), Some((0, 0)));
}

#[test]
fn a_client_says_once_what_it_wants() {
    let mut scene = Scene::new();
    let mut doctor = scene.join("wang");
    let mut nurse = scene.join("li");
    let voice = scene.publish(&mut doctor, TrackType::Audio, TrackSource::Microphone);
    let camera = scene.publish(&mut doctor, TrackType::Video, TrackSource::Camera);
    scene.offer(&mut nurse);
    let hidden = UpdateTrackSettings {
        track_sids: vec![voice.clone()],
        disabled: true,
        ..Default::default()
    };
    scene.ask(&nurse, Asked::TrackSetting(hidden));
    scene.resume(&mut nurse);
    scene.commands.clear();
    let state = SyncState {
        subscription: Some(UpdateSubscription {
            track_sids: vec![camera.clone()],
            subscribe: false,
            ..Default::default()
        }),
        ..Default::default()
    };
    scene.ask(&nurse, sync(state));
    let shown = |command: &Command| match command {
        Command::SetWish { wish, .. } => Some(*wish),
        Command::Unsubscribe { .. } => Some(LayerWish::Paused),
        _ => None,
    };
    assert_eq!(scene.commanded(shown), [LayerWish::Best, LayerWish::Paused]);
    let key = nurse.key;
    let wanted = |scene: &Scene| scene.room.wanted(&scene.room.participants[&key]).len();
    assert_eq!(wanted(&scene), 1);
    // A second list is not asked for.
    scene.ask(&nurse, sync(SyncState::default()));
    assert_eq!(wanted(&scene), 1);
    assert_eq!(scene.commanded(shown), []);
    scene.resume(&mut nurse);
    let state = SyncState {
        track_sids_disabled: vec![voice],
        ..Default::default()
    };
    scene.ask(&nurse, sync(state));
    assert_eq!(wanted(&scene), 2, "an empty list is a list, too");
    assert_eq!(scene.commanded(shown), [LayerWish::Paused]);
}

fn publishes(sid: &str, source: TrackSource) -> SyncState {
    let track = TrackInfo {
        sid: sid.into(),
        source: source as i32,
        ..Default::default()
    };
    SyncState {
        publish_tracks: vec![TrackPublishedResponse {
            cid: "cid".into(),
            track: Some(track),
        }],
        ..Default::default()
    }
}

#[test]
fn a_client_that_publishes_what_nobody_knows_must_begin_anew() {
    let mut scene = Scene::new();
    let mut doctor = scene.join("wang");
    let voice = scene.publish(&mut doctor, TrackType::Audio, TrackSource::Microphone);
    scene.resume(&mut doctor);
    scene.ask(&doctor, sync(publishes(&voice, TrackSource::Microphone)));
    assert_eq!(leave_of(&doctor.said()), None);
    // What was taken away from it meanwhile it is told of instead.
    scene.cut(&doctor, Loss::Broken);
    let change = ParticipantChange {
        identity: "wang".into(),
        permission: Some(proto::ParticipantPermission {
            can_subscribe: true,
            ..Default::default()
        }),
        ..Default::default()
    };
    let change = Moderation::Update(Box::new(change));
    scene.room.moderate(scene.now, change).expect("it is there");
    scene.resume(&mut doctor);
    scene.ask(&doctor, sync(publishes(&voice, TrackSource::Microphone)));
    let said = doctor.said();
    assert_eq!(leave_of(&said), None);
    assert!(
        said.iter()
            .any(|one| matches!(one, Message::TrackUnpublished(track) if track.track_sid == voice))
    );
    let mut nurse = scene.join("li");
    scene.resume(&mut nurse);
    scene.ask(&nurse, sync(publishes("TR_AMx", TrackSource::Microphone)));
    assert_eq!(
        leave_of(&nurse.said()),
        Some((DisconnectReason::StateMismatch, Action::Reconnect))
    );
    assert_eq!(scene.room.len(), 1);
}

#[test]
fn a_track_that_was_announced_into_a_dead_socket_is_confirmed_again() {
    let mut scene = Scene::new();
    let mut doctor = scene.join("wang");
    let request = AddTrackRequest {
        cid: "mine".into(),
        r#type: TrackType::Audio as i32,
        source: TrackSource::Microphone as i32,
        ..Default::default()
    };
    scene.ask(&doctor, Asked::AddTrack(request));
    doctor.said();
    scene.resume(&mut doctor);
    assert!(
        doctor
            .said()
            .iter()
            .any(|one| matches!(one, Message::TrackPublished(track) if track.cid == "mine"))
    );
}

#[test]
fn reliable_messages_are_sent_again_after_the_last_that_arrived() {
    let mut scene = Scene::new();
    let doctor = scene.join("wang");
    scene.connect(&doctor);
    let transport = scene.transport(&doctor);
    scene.event(data(transport, &packet(1, &[])));
    let mut nurse = scene.join("li");
    scene.connect(&nurse);
    for sequence in 2..=4 {
        scene.event(data(transport, &packet(sequence, &[])));
    }
    scene.event(data(transport, &packet(5, &["somebody else"])));
    scene.event(data(transport, &packet(6, &["li"])));
    let state = |last_seq| SyncState {
        datachannel_receive_states: vec![DataChannelReceiveState {
            publisher_sid: scene.sid(&doctor),
            last_seq,
        }],
        ..Default::default()
    };
    let (from_3, from_0) = (state(3), state(0));
    scene.commands.clear();
    scene.resume(&mut nurse);
    scene.ask(&nurse, sync(from_3));
    let sequences = |scene: &mut Scene| -> Vec<u32> {
        let sent = scene.commanded(sent);
        sent.into_iter()
            .map(|(_, packet)| packet.sequence)
            .collect()
    };
    assert_eq!(sequences(&mut scene), [4, 6]);
    scene.resume(&mut nurse);
    scene.ask(&nurse, sync(from_0));
    assert_eq!(
        sequences(&mut scene),
        [2, 3, 4, 6],
        "not what was said before it came"
    );
    // Nor is it kept for ever.
    scene.now += MINUTE * 2;
    scene.event(data(transport, &packet(7, &[])));
    scene.commands.clear();
    scene.resume(&mut nurse);
    let all = SyncState {
        datachannel_receive_states: vec![DataChannelReceiveState {
            publisher_sid: scene.sid(&doctor),
            last_seq: 0,
        }],
        ..Default::default()
    };
    scene.ask(&nurse, sync(all));
    assert_eq!(sequences(&mut scene), [7]);
}

#[test]
fn a_client_that_repeats_its_messages_is_heard_once() {
    let mut scene = Scene::new();
    let mut doctor = scene.join("wang");
    let nurse = scene.join("li");
    scene.connect(&nurse);
    let transport = scene.transport(&doctor);
    scene.event(data(transport, &packet(1, &[])));
    scene.event(data(transport, &packet(2, &[])));
    scene.resume(&mut doctor);
    scene.commands.clear();
    for sequence in 1..=3 {
        scene.event(data(transport, &packet(sequence, &[])));
    }
    assert_eq!(scene.commanded(sent).len(), 1);
}

#[test]
fn a_full_reconnect_ends_the_old_tracks_once() {
    let mut scene = Scene::new();
    let nurse = scene.join("li");
    let mut before = scene.join("wang");
    scene.connect(&before);
    let old = scene.publish(&mut before, TrackType::Audio, TrackSource::Microphone);
    scene.cut(&before, Loss::Broken);
    nurse.said();
    let mut after = scene.join("wang");
    let new = scene.publish(&mut after, TrackType::Audio, TrackSource::Microphone);
    let seen = updates(&nurse.said());
    let states: Vec<State> = seen.iter().map(|one| one.state()).collect();
    assert_eq!(states, [State::Disconnected, State::Joined, State::Joined]);
    assert_eq!(
        seen[0].disconnect_reason(),
        DisconnectReason::DuplicateIdentity
    );
    assert_eq!(seen[2].tracks.len(), 1);
    assert_eq!(seen[2].tracks[0].sid, new);
    assert_ne!(old, new);
    let notices = scene.room.take_notices();
    let ended = notices
        .iter()
        .filter(|one| one.event == "track_unpublished")
        .count();
    assert_eq!(ended, 1);
    assert_eq!(scene.room.detached(), 0);
}
