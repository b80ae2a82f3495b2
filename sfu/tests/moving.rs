//! Plans of people who go over from one room to another with their connection as it is.

mod sim;

use std::time::Duration;

use sfu::id::{PublicationId, RoomId, TransportId};
use sfu::shard::command::{Command, DataChannel};
use sfu::shard::event::{DisconnectReason, EventKind};
use sim::Sim;
use sim::link::Link;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A patient with a camera in three sizes in a waiting room on the first shard, whom a nurse watches
/// who is on `far`; a doctor with a camera waits in another room there.
struct Clinic {
    sim: Sim,
    waiting: RoomId,
    consult: RoomId,
    patient: usize,
    nurse: usize,
    doctor: usize,
    camera: PublicationId,
    doctors: PublicationId,
}

fn clinic(seed: u64, far: usize) -> Clinic {
    let mut sim = Sim::new(seed, 2);
    let [waiting, consult] = [sim.room(0), sim.room(0)];
    for room in [waiting, consult].into_iter().filter(|_| far != 0) {
        sim.extend(far, room);
    }
    let patient = sim.join(0, waiting, Link::GOOD);
    let nurse = sim.join(far, waiting, Link::GOOD);
    let doctor = sim.join(far, consult, Link::GOOD);
    let (camera, doctors) = (sim.camera(patient, 3), sim.camera(doctor, 1));
    sim.connect();
    sim.subscribe(nurse, camera);
    sim.run(seconds(2));
    assert!(sim.clients[nurse].sinks[0].shown.len() > 40);
    Clinic {
        sim,
        waiting,
        consult,
        patient,
        nurse,
        doctor,
        camera,
        doctors,
    }
}

fn goes_over(seed: u64, far: usize) {
    let Clinic {
        mut sim,
        consult,
        patient,
        nurse,
        doctor,
        camera,
        doctors,
        ..
    } = clinic(seed, far);
    let camera = sim.move_over(patient, consult, camera);
    sim.run(Duration::from_millis(100));
    let before = sim.clients[nurse].sinks[0].received;
    sim.subscribe(doctor, camera);
    sim.subscribe(patient, doctors);
    let from = sim.now;
    sim.run(seconds(3));
    assert_eq!(sim.clients[nurse].sinks[0].received, before, "not any more");
    for watcher in [doctor, patient] {
        let sink = &sim.clients[watcher].sinks[0];
        let first = sink.shown_since(from).next().expect("seen");
        assert!(first.truth.is_keyframe && first.at - from < seconds(1));
        assert!(sink.shown_since(from).count() > 60);
    }
    let relays = if far == 0 { [0, 0] } else { [1, 1] };
    assert_eq!([0, 1].map(|shard| sim.stats(shard).relays), relays);
    assert!(!sim.happened(|event| matches!(event, EventKind::Refused { .. })));
    assert!(!sim.happened(|event| matches!(event, EventKind::Disconnected { .. })));
    assert!(!sim.clients[patient].is_closed, "it has noticed nothing");
}

#[test]
fn who_goes_over_is_seen_in_the_new_room_and_no_longer_in_the_old() {
    goes_over(2_901, 0);
}

#[test]
fn the_rooms_may_have_other_workers() {
    goes_over(2_911, 1);
}

#[test]
fn data_channels_go_along_and_are_told_of_again() {
    let Clinic {
        mut sim,
        waiting,
        consult,
        patient,
        camera,
        ..
    } = clinic(2_921, 0);
    sim.move_over(patient, consult, camera);
    sim.run(Duration::from_millis(100));
    let transport = sim.clients[patient].peer.id();
    let opened = sim.events.iter().filter_map(|(_, event)| match event.kind {
        EventKind::DataChannelOpen {
            transport: of,
            channel,
        } if of == transport => Some((event.room, channel)),
        _ => None,
    });
    let opened: Vec<_> = opened.collect();
    for channel in [DataChannel::Reliable, DataChannel::Lossy] {
        for room in [waiting, consult] {
            assert!(opened.contains(&(Some(room), channel)), "{opened:?}");
        }
    }
    sim.send_data(patient, DataChannel::Reliable, b"welcome");
    sim.run(seconds(1));
    let messages = &sim.clients[patient].messages;
    assert_eq!(messages.last().expect("heard").1, b"welcome");
}

#[test]
fn who_speaks_is_told_in_the_room_where_he_is() {
    let Clinic {
        mut sim,
        waiting,
        consult,
        patient,
        ..
    } = clinic(2_931, 0);
    let microphone = sim.microphone(patient);
    sim.run(seconds(2));
    let speaks = |sim: &Sim, room, name| {
        let mut told = sim.events.iter().filter(|(_, one)| one.room == Some(room));
        told.any(|(_, event)| match &event.kind {
            EventKind::Speakers { speakers } => speakers
                .iter()
                .any(|one| one.publication == name && one.is_active),
            _ => false,
        })
    };
    assert!(speaks(&sim, waiting, microphone));
    let name = sim.move_over(patient, consult, microphone);
    sim.run(seconds(2));
    assert!(speaks(&sim, consult, name));
}

#[test]
fn a_transport_that_has_ended_on_the_way_is_missed() {
    let Clinic {
        mut sim,
        waiting,
        consult,
        doctor,
        ..
    } = clinic(2_941, 0);
    let there = sim.clients[doctor].peer.id();
    // One that there never was, and one that is not where it is said to be.
    for transport in [TransportId(99), there] {
        let command = Command::MoveTransport {
            transport,
            from: waiting,
            publications: Vec::new(),
        };
        sim.direct(0, consult, command);
        sim.run(Duration::from_millis(100));
        let missed = sim.events.iter().any(|(_, event)| {
            let EventKind::Disconnected {
                transport: of,
                reason,
            } = event.kind
            else {
                return false;
            };
            (event.room, of, reason) == (Some(consult), transport, DisconnectReason::ConsentLost)
        });
        assert!(missed, "{transport}");
    }
    assert!(!sim.clients[doctor].is_closed, "it is left where it is");
}

#[test]
fn what_is_not_mentioned_ends_and_a_name_that_is_taken_is_refused() {
    let Clinic {
        mut sim,
        waiting,
        consult,
        patient,
        nurse,
        camera,
        doctors,
        ..
    } = clinic(2_951, 0);
    let transport = sim.clients[patient].peer.id();
    let to = |publications| Command::MoveTransport {
        transport,
        from: waiting,
        publications,
    };
    sim.direct(0, consult, to(vec![(camera, doctors)]));
    sim.run(seconds(1));
    assert!(sim.happened(|event| matches!(event, EventKind::Refused { .. })));
    let received = sim.clients[nurse].sinks[0].received;
    sim.run(seconds(1));
    assert!(
        sim.clients[nurse].sinks[0].received > received,
        "all is as it was"
    );
    sim.direct(0, consult, to(Vec::new()));
    sim.run(Duration::from_millis(100));
    let received = sim.clients[nurse].sinks[0].received;
    sim.run(seconds(1));
    assert_eq!(sim.clients[nurse].sinks[0].received, received);
    assert_eq!(sim.stats(0).publications, 1, "the doctor's");
}
