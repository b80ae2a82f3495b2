//! Somebody goes over from one room to another, and takes his connection along.

use tokio::sync::mpsc;

use super::resume::leave_of;
use super::*;
use crate::consent::{ATTRIBUTE, Consent};
use crate::room::actor::Input;
use crate::room::moderation::{Moderation, ModerationRefusal, ParticipantChange};
use crate::room::passage::Ticket;
use crate::room::recording::{Gate, Order, Report};
use crate::room::resume::Loss;
use crate::wire::proto::{ParticipantPermission, RoomMovedResponse};

impl Scene {
    /// Another room on the same workers.
    pub(super) fn beside(&self) -> Self {
        let mut setup = (*self.room.setup).clone();
        setup.recording = self.room.setup.recording;
        let name = "second".to_owned();
        let room = Room::new(self.now, RoomId(2), name, WorkerId(1), Arc::new(setup));
        Self {
            room,
            now: self.now,
            commands: Vec::new(),
            told: Vec::new(),
        }
    }

    pub(super) fn let_in(&mut self, identity: &str) -> Client {
        let client = self.join(identity);
        self.connect(&client);
        client.said();
        client
    }

    pub(super) fn ask_about(&mut self, asked: Moderation) -> Option<ModerationRefusal> {
        let ruling = self.room.moderate(self.now, asked);
        self.collect();
        ruling.err()
    }

    pub(super) fn survey(&mut self, identity: &str) -> Option<ModerationRefusal> {
        self.ask_about(Moderation::Survey(identity.to_owned()))
    }

    pub(super) fn expect(&mut self, identity: &str) -> Option<ModerationRefusal> {
        self.ask_about(Moderation::Expect(identity.to_owned()))
    }

    pub(super) fn webhooks(&mut self) -> Vec<String> {
        let notices = self.room.take_notices().into_iter();
        notices.map(|notice| notice.event).collect()
    }

    pub(super) fn names(&self, client: &Client) -> Vec<PublicationId> {
        let tracks = self.room.participants[&client.key].tracks.iter();
        tracks.map(|track| track.publication).collect()
    }
}

/// Wang goes from one room to another, as the server API has it.
fn go(from: &mut Scene, to: &mut Scene) -> Vec<Input> {
    assert_eq!(to.expect("wang"), None);
    let departed = from.room.depart(from.now, "wang");
    let traveller = departed.unwrap_or_else(|refusal| panic!("{refusal}"));
    from.collect();
    let (inbox, _) = mpsc::channel(1);
    let ticket = Ticket {
        inbox,
        grants: traveller.grants_for("second"),
        token: "a token".to_owned(),
        expires_at: SystemTime::now() + Duration::from_secs(600),
    };
    let backlog = to.room.arrive(to.now, *traveller, ticket);
    to.collect();
    backlog
}

fn moved(said: &[Message]) -> RoomMovedResponse {
    let told = said.iter().filter_map(|message| match message {
        Message::RoomMoved(moved) => Some(moved.clone()),
        _ => None,
    });
    let told: Vec<RoomMovedResponse> = told.collect();
    assert_eq!(told.len(), 1, "once");
    told.into_iter().next().expect("just counted")
}

type Moved = (TransportId, RoomId, Vec<(PublicationId, PublicationId)>);

fn taken_over(command: &Command) -> Option<Moved> {
    match command {
        Command::MoveTransport {
            transport,
            from,
            publications,
        } => Some((*transport, *from, publications.clone())),
        _ => None,
    }
}

fn gate(command: &Command) -> Option<bool> {
    match command {
        Command::SetTapGate { is_open, .. } => Some(*is_open),
        _ => None,
    }
}

#[test]
fn the_old_room_sees_him_leave_and_the_new_one_sees_him_join() {
    let mut waiting = Scene::new();
    let mut consult = waiting.beside();
    let mut wang = waiting.let_in("wang");
    let nurse = waiting.let_in("li");
    let doctor = consult.let_in("zhao");
    let tracks = [
        waiting.publish(&mut wang, TrackType::Audio, TrackSource::Microphone),
        waiting.publish(&mut wang, TrackType::Video, TrackSource::Camera),
    ];
    let (sid, before) = (waiting.sid(&wang), waiting.names(&wang));
    let transport = waiting.transport(&wang);
    for client in [&wang, &nurse, &doctor] {
        client.said();
    }
    waiting.webhooks();
    consult.webhooks();
    consult.told.clear();
    go(&mut waiting, &mut consult);

    let gone = updates(&nurse.said());
    assert_eq!(gone.len(), 1);
    assert_eq!((&gone[0].sid, gone[0].state()), (&sid, State::Disconnected));
    let left = ["track_unpublished", "track_unpublished", "participant_left"];
    assert_eq!(waiting.webhooks(), left);
    assert_eq!(waiting.room.len(), 1);

    let here = updates(&doctor.said());
    let here = here.last().expect("somebody has come");
    assert_eq!((&here.sid, here.state()), (&sid, State::Active));
    let published: Vec<&String> = here.tracks.iter().map(|track| &track.sid).collect();
    assert_eq!(published, [&tracks[0], &tracks[1]]);
    let joined = ["participant_joined", "track_published", "track_published"];
    assert_eq!(consult.webhooks(), joined);

    let said = wang.said();
    let told = moved(&said);
    assert_eq!(told.room.expect("told").name, "second");
    assert_eq!(told.token, "a token");
    assert_eq!(told.participant.expect("told").sid, sid);
    let others: Vec<String> = told
        .other_participants
        .into_iter()
        .map(|p| p.identity)
        .collect();
    assert_eq!(others, ["zhao"]);
    assert!(said.contains(&Message::RefreshToken("a token".into())));
    assert_eq!(leave_of(&said), None);

    // Its transport is where it was: the new room has no part there yet.
    let names = consult.names(&wang);
    assert!(names.iter().all(|name| !before.contains(name)));
    let pairs: Vec<_> = before.into_iter().zip(names).collect();
    let told: Vec<_> = consult.told.iter().map(|(to, one)| (to.0, one)).collect();
    assert!(matches!((told[0].0, &**told[0].1), (0, Command::OpenRoom)));
    assert_eq!(told[1].0, 0);
    assert_eq!(taken_over(told[1].1), Some((transport, RoomId(1), pairs)));
}

#[test]
fn he_gets_what_is_in_the_new_room_over_the_sections_that_he_has() {
    let mut waiting = Scene::new();
    let mut consult = waiting.beside();
    let mut wang = waiting.let_in("wang");
    let mut nurse = waiting.let_in("li");
    let mut doctor = consult.let_in("zhao");
    waiting.publish(&mut wang, TrackType::Video, TrackSource::Camera);
    waiting.publish(&mut nurse, TrackType::Video, TrackSource::Camera);
    let shown = consult.publish(&mut doctor, TrackType::Video, TrackSource::Camera);
    waiting.commands.clear();
    waiting.offer(&mut wang);
    assert_eq!(waiting.commanded(subscribed).len(), 1, "the nurse");
    wang.said();
    let theirs = consult.names(&doctor);
    go(&mut waiting, &mut consult);
    consult.commands.clear();
    assert_eq!(requirement(&wang.said()), Some((0, 0)), "the one will do");
    for _ in 0..2 {
        // First the section is shown empty, then with the doctor in it.
        consult.offer(&mut wang);
    }
    assert_eq!(consult.commanded(subscribed), theirs);
    let answer = wang.answer();
    let names: Vec<&String> = answer.mid_to_track_id.values().collect();
    assert_eq!(names, [&shown]);
    let his = consult.names(&wang);
    consult.offer(&mut doctor);
    assert_eq!(consult.commanded(subscribed), his);
    assert!(waiting.commanded(taken_over).is_empty());
    // In the room that he has left nobody is asked for anything on his account.
    assert!(waiting.room.participants[&nurse.key].tracks.len() == 1);
}

#[test]
fn a_phone_takes_both_its_connections_along() {
    let mut waiting = Scene::new();
    let mut consult = waiting.beside();
    let mut phone = waiting.join_two("wang");
    waiting.settle(&phone);
    waiting.offer(&mut phone);
    let receiving = waiting.receiving(&phone);
    waiting.event(EventKind::Connected {
        transport: receiving,
        profile: Profile::AeadAes256Gcm,
    });
    waiting.event(EventKind::DataChannelOpen {
        transport: receiving,
        channel: DataChannel::Reliable,
    });
    waiting.publish(&mut phone, TrackType::Audio, TrackSource::Microphone);
    let own = waiting.transport(&phone);
    let mut doctor = consult.let_in("zhao");
    consult.publish(&mut doctor, TrackType::Audio, TrackSource::Microphone);
    consult.commands.clear();
    let theirs = consult.names(&doctor);
    go(&mut waiting, &mut consult);
    let taken = consult.commanded(taken_over);
    let counts: Vec<_> = taken
        .iter()
        .map(|(id, _, names)| (*id, names.len()))
        .collect();
    assert_eq!(counts, [(own, 1), (receiving, 0)]);
    consult.settle(&phone);
    assert_eq!(consult.commanded(subscribed), theirs);
}

#[test]
fn only_who_is_here_and_has_a_place_there_is_moved() {
    let mut waiting = Scene::new();
    let mut consult = waiting.beside();
    assert_eq!(
        waiting.survey("wang"),
        Some(ModerationRefusal::NoParticipant)
    );
    let wang = waiting.join("wang");
    assert_eq!(
        waiting.survey("wang"),
        Some(ModerationRefusal::NotConnected)
    );
    waiting.connect(&wang);
    assert_eq!(waiting.survey("wang"), None);
    waiting.cut(&wang, Loss::Broken);
    assert_eq!(waiting.survey("wang"), Some(ModerationRefusal::Away));
    let departed = waiting.room.depart(waiting.now, "wang");
    assert_eq!(departed.err(), Some(ModerationRefusal::Away));
    assert_eq!(waiting.room.len(), 1);

    consult.room.settings.participants_max = 2;
    consult.let_in("zhao");
    assert_eq!(consult.expect("zhao"), Some(ModerationRefusal::Taken));
    assert_eq!(consult.expect("wang"), None);
    assert_eq!(consult.expect("wang"), Some(ModerationRefusal::Taken));
    assert_eq!(consult.expect("li"), Some(ModerationRefusal::Full));
    let full = ApiError::Full("participants_per_room_max");
    let came = consult.join_with("li", VideoGrant::default());
    assert_eq!(came.err(), Some(full), "the place is kept");
    assert_eq!(
        consult.ask_about(Moderation::ExpectNoMore("wang".into())),
        None
    );
    consult.join("li");
}

#[test]
fn a_room_that_expects_somebody_waits_for_him() {
    let mut consult = Scene::new();
    assert_eq!(consult.expect("wang"), None);
    let day = Duration::from_secs(86_400);
    assert!(consult.wait(day));
    consult.ask_about(Moderation::ExpectNoMore("wang".into()));
    assert!(!consult.wait(day));
}

#[test]
fn he_is_recorded_in_the_new_room_only_once_he_has_said_so_there() {
    let mut waiting = Scene::recorded_by(Policy::Must);
    let mut consult = waiting.beside();
    let grants = Grants {
        identity: "wang".into(),
        attributes: [(ATTRIBUTE.to_owned(), "granted".to_owned())].into(),
        ..Grants::default()
    };
    let mut wang = waiting.join_as(grants).expect("there is a place");
    waiting.connect(&wang);
    waiting.publish(&mut wang, TrackType::Audio, TrackSource::Microphone);
    consult.let_in("zhao");
    for scene in [&mut waiting, &mut consult] {
        scene.room.record_if_due(scene.now);
        let recording = "01JD0000000000000000000000".to_owned();
        scene.room.report(scene.now, Report::Begun { recording });
    }
    let (orders, _) = waiting.room.take_orders();
    let ticket = orders.into_iter().find_map(|order| match order {
        Order::Tell(_, ticket) => ticket,
        _ => None,
    });
    let durable = Report::Durable(ticket.expect("his consent is written down"));
    waiting.room.report(waiting.now, durable);
    waiting.collect();
    assert_eq!(waiting.commanded(gate), [true]);
    wang.said();
    go(&mut waiting, &mut consult);
    assert_eq!(waiting.commanded(gate), [false], "before he has gone");
    let participant = &consult.room.participants[&wang.key];
    assert_eq!(
        (participant.gate, participant.consent),
        (Gate::Closed, Consent::Unknown)
    );
    let told = moved(&wang.said()).participant.expect("told");
    assert!(!told.attributes.contains_key(ATTRIBUTE), "he is asked anew");
    assert_eq!(consult.commanded(gate), [false; 0]);
}

#[test]
fn power_over_a_room_does_not_travel_and_what_he_may_do_does() {
    let mut waiting = Scene::new();
    let grant = VideoGrant {
        room_admin: Some(true),
        room_record: Some(true),
        can_publish: Some(false),
        ..VideoGrant::default()
    };
    let wang = waiting.join_with("wang", grant).expect("there is a place");
    waiting.connect(&wang);
    waiting.ask_about(Moderation::Update(Box::new(ParticipantChange {
        identity: "wang".to_owned(),
        name: "Dr. Wang".to_owned(),
        permission: Some(ParticipantPermission {
            can_publish: true,
            can_publish_data: true,
            ..Default::default()
        }),
        ..ParticipantChange::default()
    })));
    let grants = waiting.room.participants[&wang.key].grants_for("second");
    assert_eq!((&*grants.identity, &*grants.name), ("wang", "Dr. Wang"));
    let video = grants.video;
    assert_eq!((&*video.room, video.room_join), ("second", Some(true)));
    assert_eq!(
        (video.can_publish, video.can_subscribe),
        (Some(true), Some(false))
    );
    assert_eq!(
        (video.room_admin, video.room_record, video.room_create),
        (None, None, None)
    );
}

#[test]
fn his_messages_go_on_where_they_were_and_old_ones_stay_behind() {
    let mut waiting = Scene::new();
    let mut consult = waiting.beside();
    let mut wang = waiting.let_in("wang");
    let doctor = consult.let_in("zhao");
    let [his, theirs] = [waiting.transport(&wang), consult.transport(&doctor)];
    waiting.event(data(his, &packet(7, &[])));
    consult.event(data(theirs, &packet(3, &[])));
    go(&mut waiting, &mut consult);
    consult.commands.clear();
    consult.event(data(his, &packet(7, &[])));
    assert!(consult.commanded(sent).is_empty(), "said before");
    consult.event(data(his, &packet(8, &[])));
    let heard: Vec<_> = consult
        .commanded(sent)
        .into_iter()
        .map(|one| one.0)
        .collect();
    assert_eq!(heard, [theirs]);
    // Comes back to his seat in the room where he is now, and gets what was said there since.
    consult.event(data(theirs, &packet(4, &[])));
    consult.cut(&wang, Loss::Broken);
    consult.resume(&mut wang);
    consult.commands.clear();
    let known = proto::DataChannelReceiveState {
        publisher_sid: consult.sid(&doctor),
        last_seq: 0,
    };
    let state = proto::SyncState {
        datachannel_receive_states: vec![known],
        ..Default::default()
    };
    consult.ask(&wang, Asked::SyncState(state));
    let again = consult.commanded(sent).into_iter();
    let again: Vec<u32> = again.map(|(_, packet)| packet.sequence).collect();
    assert_eq!(again, [4]);
}

#[test]
fn what_he_asks_for_on_the_way_is_heard_in_the_new_room() {
    let mut waiting = Scene::new();
    let mut consult = waiting.beside();
    let wang = waiting.let_in("wang");
    let (old, _heard) = mpsc::channel(1);
    assert_eq!(consult.expect("wang"), None);
    let departed = waiting.room.depart(waiting.now, "wang");
    let traveller = departed.unwrap_or_else(|refusal| panic!("{refusal}"));
    let asked = Input::Request(wang.key, wang.outlet.clone(), Request::BadDescription);
    let put = wang.outlet.whereabouts().put(&old, None, asked);
    assert!(put.is_ok_and(|is_heard| is_heard));
    let (inbox, _) = mpsc::channel(1);
    let ticket = Ticket {
        inbox,
        grants: Grants::default(),
        token: String::new(),
        expires_at: SystemTime::now(),
    };
    let backlog = consult.room.arrive(consult.now, *traveller, ticket);
    assert!(matches!(&backlog[..], [Input::Request(key, ..)] if *key == wang.key));
}

#[test]
fn whoever_arrives_nowhere_is_told_to_come_back() {
    let mut waiting = Scene::new();
    let wang = waiting.let_in("wang");
    let departed = waiting.room.depart(waiting.now, "wang");
    let traveller = departed.unwrap_or_else(|refusal| panic!("{refusal}"));
    traveller.strand(DisconnectReason::RoomClosed, Action::Reconnect);
    let (_, _, paths) = traveller.paths();
    assert_eq!(paths.count(), 1);
    let told = (DisconnectReason::RoomClosed, Action::Reconnect);
    assert_eq!(leave_of(&wang.said()), Some(told));
    assert_eq!(wang.outlet.try_next(), Some(Item::End(End::Left)));
}
