//! Plans of publications that people in another room see and hear too.

mod sim;

use std::time::Duration;

use sfu::config::Limits;
use sfu::id::{PublicationId, RoomId};
use sfu::media::LayerWish;
use sfu::shard::command::Command;
use sfu::shard::event::EventKind;
use sim::Sim;
use sim::link::Link;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A surgeon on the first shard with a camera in three sizes, whom a nurse watches on the shard
/// `beside`; in another room students watch him, on the shards `there`.
struct Theatre {
    sim: Sim,
    operation: RoomId,
    lecture: RoomId,
    surgeon: usize,
    nurse: usize,
    students: Vec<usize>,
    camera: PublicationId,
    shown: PublicationId,
}

fn theatre(seed: u64, beside: usize, there: &[usize]) -> Theatre {
    let mut sim = Sim::new(seed, 3);
    let [operation, lecture] = [sim.room(0), sim.room(0)];
    for shard in [1, 2] {
        sim.extend(shard, operation);
        sim.extend(shard, lecture);
    }
    let surgeon = sim.join(0, operation, Link::GOOD);
    let nurse = sim.join(beside, operation, Link::GOOD);
    let join = |shard: &usize| sim.join(*shard, lecture, Link::GOOD);
    let students: Vec<usize> = there.iter().map(join).collect();
    let camera = sim.camera(surgeon, 3);
    sim.connect();
    let shown = sim.share(camera, lecture);
    sim.subscribe(nurse, camera);
    for &student in &students {
        sim.subscribe(student, shown);
    }
    sim.run(seconds(2));
    Theatre {
        sim,
        operation,
        lecture,
        surgeon,
        nurse,
        students,
        camera,
        shown,
    }
}

/// Whether a client is shown a picture within the next second.
fn sees(sim: &mut Sim, client: usize) -> bool {
    let from = sim.now;
    sim.run(seconds(1));
    sim.clients[client].sinks[0].shown_since(from).count() > 20
}

/// How many packets a client is sent within the next second.
fn sent(sim: &mut Sim, client: usize) -> usize {
    let before = sim.clients[client].sinks[0].received;
    sim.run(seconds(1));
    sim.clients[client].sinks[0].received - before
}

fn is_refused(sim: &mut Sim) -> bool {
    sim.run(Duration::from_millis(100));
    let refused = sim.happened(|event| matches!(event, EventKind::Refused { .. }));
    sim.events.clear();
    refused
}

fn watched_from(seed: u64, beside: usize, there: &[usize]) {
    let Theatre {
        mut sim,
        operation,
        lecture,
        nurse,
        students,
        camera,
        shown,
        ..
    } = theatre(seed, beside, there);
    assert!(!sim.happened(|event| matches!(event, EventKind::Refused { .. })));
    for watcher in students.iter().copied().chain([nurse]) {
        let sink = &sim.clients[watcher].sinks[0];
        assert!(sink.shown.len() > 40, "{watcher} of {beside} and {there:?}");
        assert!(sink.shown[0].truth.is_keyframe);
        assert_eq!(sink.doubled, 0);
    }
    // A name of the other room takes nothing away.
    sim.direct(0, operation, Command::Unshare { name: shown });
    sim.direct(0, lecture, Command::Unshare { name: camera });
    for &watcher in students.iter().chain([&nurse]) {
        assert!(sees(&mut sim, watcher));
    }

    // Muted at home it is muted everywhere, and comes back with a keyframe.
    let mute = |muted| Command::SetMuted {
        publication: camera,
        muted,
    };
    sim.direct(0, operation, mute(true));
    sim.run(Duration::from_millis(200));
    for &watcher in students.iter().chain([&nurse]) {
        assert_eq!(sent(&mut sim, watcher), 0);
    }
    sim.direct(0, operation, mute(false));
    sim.run(seconds(1));
    for &watcher in students.iter().chain([&nurse]) {
        assert!(sees(&mut sim, watcher));
    }
    let by_another_name = Command::SetMuted {
        publication: shown,
        muted: true,
    };
    sim.direct(0, lecture, by_another_name);
    assert!(is_refused(&mut sim), "who watches does not mute");

    // Nothing of it is left where it is shared no more.
    sim.direct(0, lecture, Command::Unshare { name: shown });
    sim.run(seconds(2));
    for &student in &students {
        assert_eq!(sent(&mut sim, student), 0);
    }
    assert!(sees(&mut sim, nurse), "at home it goes on");
    let mirrors = [1, 2].map(|shard| sim.stats(shard).relays);
    assert_eq!(mirrors, [1, 2].map(|shard| u64::from(shard == beside)));
}

#[test]
fn it_is_seen_in_both_rooms_on_one_worker() {
    watched_from(3_101, 0, &[0]);
}

#[test]
fn it_is_seen_in_both_rooms_from_other_workers() {
    watched_from(3_111, 1, &[2]);
    watched_from(3_112, 0, &[1, 2]);
    watched_from(3_113, 1, &[0]);
}

#[test]
fn a_worker_may_mirror_it_for_both_rooms() {
    watched_from(3_121, 1, &[1]);
    watched_from(3_122, 1, &[0, 1, 2, 1]);
}

#[test]
fn everybody_gets_the_size_that_he_wishes() {
    for (seed, there) in [(3_131, 0), (3_132, 1)] {
        let Theatre {
            mut sim,
            nurse,
            students,
            shown,
            ..
        } = theatre(seed, 1, &[there]);
        let late = sim.join(there, sim.clients[students[0]].room, Link::GOOD);
        sim.connect();
        let small = sim.subscribe(late, shown);
        sim.wish(late, small, LayerWish::Rank(0));
        sim.run(seconds(2));
        let [few, many, home] = [late, students[0], nurse].map(|one| sent(&mut sim, one));
        assert!(few > 20 && few < 60, "one packet a picture: {few}");
        assert!(many > 100 && home > 100, "four: {many}, {home}");
    }
}

#[test]
fn it_ends_there_with_whatever_it_hangs_on() {
    type Ending = fn(&Theatre) -> (RoomId, Command);
    let endings: [Ending; 4] = [
        |at| {
            let publication = at.camera;
            (at.operation, Command::Unpublish { publication })
        },
        |at| {
            let transport = at.sim.clients[at.surgeon].peer.id();
            (at.operation, Command::RemoveTransport { transport })
        },
        |at| (at.operation, Command::CloseRoom),
        |at| {
            let command = Command::MoveTransport {
                transport: at.sim.clients[at.surgeon].peer.id(),
                from: at.operation,
                publications: vec![(at.camera, PublicationId(9_999))],
            };
            (at.lecture, command)
        },
    ];
    for (seed, ending) in (3_141..).zip(endings) {
        let mut theatre = theatre(seed, 1, &[0, 2]);
        let (room, command) = ending(&theatre);
        theatre.sim.direct(0, room, command);
        theatre.sim.run(seconds(2));
        for &student in &theatre.students {
            assert_eq!(sent(&mut theatre.sim, student), 0, "{seed}");
        }
        let relays = [0, 1, 2].map(|shard| theatre.sim.stats(shard).relays);
        assert_eq!(relays, [0, 0, 0], "{seed}");
        theatre.sim.direct(0, theatre.lecture, Command::CloseRoom);
    }
}

#[test]
fn the_room_where_it_is_shown_may_end() {
    let Theatre {
        mut sim,
        lecture,
        nurse,
        students,
        camera,
        ..
    } = theatre(3_151, 0, &[0, 1]);
    for shard in [0, 1, 2] {
        sim.direct(shard, lecture, Command::CloseRoom);
    }
    assert!(sim.clients[students[0]].is_closed || sent(&mut sim, students[0]) == 0);
    assert!(sees(&mut sim, nurse));
    assert_eq!(sim.stats(0).publications, 1);
    // It may be opened, and shown it, again.
    let again = sim.room(0);
    let student = sim.join(0, again, Link::GOOD);
    let name = sim.share(camera, again);
    sim.connect();
    sim.subscribe(student, name);
    sim.run(seconds(1));
    assert!(sees(&mut sim, student));
}

#[test]
fn a_name_of_one_room_opens_nothing_in_another() {
    let Theatre {
        mut sim,
        nurse,
        students,
        camera,
        shown,
        ..
    } = theatre(3_161, 0, &[0]);
    let elsewhere = sim.room(0);
    let stranger = sim.join(0, elsewhere, Link::GOOD);
    sim.connect();
    sim.events.clear();
    let attempts = [
        (stranger, camera),
        (stranger, shown),
        (nurse, shown),
        (students[0], camera),
    ];
    for (client, publication) in attempts {
        let sink = sim.clients[client].sinks.len();
        sim.subscribe(client, publication);
        assert!(is_refused(&mut sim), "{client} knows {publication}");
        sim.run(seconds(1));
        assert_eq!(sim.clients[client].sinks[sink].received, 0);
    }
    // Whoever is shown something cannot show it on.
    let on = Command::Share {
        publication: shown,
        from: sim.clients[students[0]].room,
        name: PublicationId(9_999),
    };
    sim.direct(0, elsewhere, on);
    assert!(is_refused(&mut sim));
}

#[test]
fn how_far_something_is_shared_is_bounded_and_a_taken_name_refused() {
    let Theatre {
        mut sim,
        lecture,
        camera,
        ..
    } = theatre(3_171, 0, &[0]);
    sim.events.clear();
    sim.share(camera, lecture);
    assert!(is_refused(&mut sim), "it is there already");
    let home = sim.clients[0].room;
    sim.share(camera, home);
    assert!(is_refused(&mut sim), "it is at home there");
    for _ in 1..Limits::default().shares_per_publication_max {
        let room = sim.room(0);
        sim.share(camera, room);
    }
    assert!(!is_refused(&mut sim));
    let [beyond, from] = [sim.room(0), home];
    sim.share(camera, beyond);
    assert!(is_refused(&mut sim));
    let taken = Command::Share {
        publication: camera,
        from,
        name: camera,
    };
    sim.direct(0, beyond, taken);
    assert!(is_refused(&mut sim));
}

#[test]
fn who_speaks_is_told_in_both_rooms() {
    let Theatre {
        mut sim,
        operation,
        lecture,
        surgeon,
        ..
    } = theatre(3_181, 0, &[0]);
    let voice_of = |sim: &Sim, room, name| {
        let told = sim.events.iter().filter(|(_, one)| one.room == Some(room));
        let told = told.filter_map(|(_, event)| match &event.kind {
            EventKind::Speakers { speakers } => Some(speakers.clone()),
            _ => None,
        });
        let mut told = told.flatten().filter(|one| one.publication == name);
        told.next_back().map(|one| one.is_active)
    };
    let microphone = sim.microphone(surgeon);
    let early = sim.share(microphone, lecture);
    sim.run(seconds(2));
    assert_eq!(voice_of(&sim, operation, microphone), Some(true));
    assert_eq!(voice_of(&sim, lecture, early), Some(true));
    // Who is shown somebody in the middle of a sentence knows at once.
    let late = sim.room(0);
    let name = sim.share(microphone, late);
    sim.run(Duration::from_millis(10));
    assert_eq!(voice_of(&sim, late, name), Some(true));
    let mute = Command::SetMuted {
        publication: microphone,
        muted: true,
    };
    sim.direct(0, operation, mute);
    sim.run(Duration::from_millis(10));
    for (room, name) in [(operation, microphone), (lecture, early), (late, name)] {
        assert_eq!(voice_of(&sim, room, name), Some(false));
    }
}
