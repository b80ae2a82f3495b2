//! Plans of a room that is spread over two workers, joined by a link of relay frames.
//!
//! Whoever is on the second worker must notice nothing: the same media, byte by byte, keyframes in
//! time, repairs from nearby. The link is simulated like any other and may lose frames too.

mod sim;

use std::time::Duration;

use sfu::config::Limits;
use sfu::error::CommandError;
use sfu::id::{Epoch, PublicationId, RoomId, TransportId, WorkerId};
use sfu::media::LayerWish;
use sfu::relay::{Address, Frame, frame};
use sfu::rtp::rtcp::feedback::append_pli;
use sfu::shard::command::{Command, Directive};
use sfu::shard::event::EventKind;
use sfu::slab::new_buffer;
use sfu::unit::Ssrc;
use sim::Sim;
use sim::link::Link;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A room on two shards with a doctor on the first and a specialist on the second.
fn consult(seed: u64) -> (Sim, RoomId, usize, usize) {
    let mut sim = Sim::new(seed, 2);
    let room = sim.room(0);
    sim.extend(1, room);
    let doctor = sim.join(0, room, Link::GOOD);
    let specialist = sim.join(1, room, Link::GOOD);
    (sim, room, doctor, specialist)
}

fn refused(sim: &Sim) -> Vec<CommandError> {
    let error = |(_, event): &(_, sfu::shard::event::Event)| match &event.kind {
        EventKind::Refused { error } => Some(error.clone()),
        _ => None,
    };
    sim.events.iter().filter_map(error).collect()
}

#[test]
fn one_worker_and_two_give_the_same_media_byte_by_byte() {
    let play = |far: usize| {
        // Nobody reports here, and how soon that is noticed differs from worker to worker.
        let limits = Limits {
            bandwidth_is_estimated: false,
            ..Limits::default()
        };
        let mut sim = Sim::with_limits(2_001, 2, &limits);
        let room = sim.room(0);
        sim.extend(1, room);
        let people = [0, 0, far, far].map(|shard| sim.join(shard, room, Link::GOOD));
        sim.connect();
        let tracks = [0, 2].map(|n| (sim.camera(people[n], 3), sim.microphone(people[n])));
        // A first picture may be caught small or large, depending on which word came first.
        sim.run(seconds(1));
        let mut pictures = Vec::new();
        for watcher in people {
            for (n, (camera, microphone)) in tracks.into_iter().enumerate() {
                if people[2 * n] != watcher {
                    pictures.push((watcher, sim.subscribe(watcher, camera)));
                    sim.subscribe(watcher, microphone);
                }
            }
        }
        sim.run(seconds(4));
        for (n, (watcher, subscription)) in pictures.into_iter().enumerate() {
            sim.wish(watcher, subscription, LayerWish::Rank(n as u8 % 3));
        }
        sim.run(seconds(4));
        assert_eq!(refused(&sim), []);
        let relays = [0, 1].map(|shard| sim.stats(shard).relays);
        assert_eq!(relays, if far == 0 { [0, 0] } else { [2, 2] });
        sim
    };
    let (one, two) = (play(0), play(1));
    let mut compared = 0;
    for (one, two) in one.clients.iter().zip(&two.clients) {
        assert_eq!(one.sinks.len(), two.sinks.len());
        assert_eq!((one.strangers, two.strangers), (0, 0));
        for (one, two) in one.sinks.iter().zip(&two.sinks) {
            assert!(one.payloads.len() > 250);
            let mut pairs = one.payloads.iter().zip(&two.payloads);
            let differs = pairs.find(|(one, two)| one != two).map(|(one, _)| one.0);
            assert_eq!(differs, None);
            assert_eq!(one.payloads.len(), two.payloads.len());
            compared += one.payloads.len();
        }
    }
    assert!(compared > 4_000, "{compared}");
    let crossed = two.relayed.carried;
    assert!(crossed > 1_500, "it really went across: {crossed}");
}

#[test]
fn a_publication_crosses_once_however_many_want_it() {
    let (mut sim, room, doctor, specialist) = consult(2_011);
    let camera = sim.camera(doctor, 3);
    sim.subscribe(specialist, camera);
    for _ in 0..9 {
        let other = sim.join(1, room, Link::GOOD);
        sim.subscribe(other, camera);
    }
    sim.connect();
    sim.run(seconds(3));
    let (before, sent) = (sim.relayed.carried, sim.stats(1).packets_out);
    sim.run(seconds(10));
    let (frames, sent) = (
        sim.relayed.carried - before,
        sim.stats(1).packets_out - sent,
    );
    // 120 packets a second of the largest layer, and a few words a second both ways.
    assert!((1_200..1_350).contains(&frames), "{frames} frames");
    assert!(sent >= 11_900, "{sent} packets to ten receivers");
    assert_eq!(sim.stats(0).packets_out, 0);
}

#[test]
fn a_late_joiner_on_the_second_worker_sees_within_a_second() {
    let (mut sim, room, doctor, _) = consult(2_022);
    let camera = sim.camera(doctor, 3);
    sim.connect();
    sim.run(seconds(10));
    for round in 0..5 {
        let before = sim.now;
        let late = sim.join(1, room, Link::lossy(round));
        sim.subscribe(late, camera);
        sim.run(seconds(3));
        sim.clients[late].assert_soon_sees(before, round);
    }
}

#[test]
fn sizes_switch_across_the_link_and_only_wanted_ones_cross() {
    let (mut sim, _, doctor, specialist) = consult(2_031);
    let camera = sim.camera(doctor, 3);
    let subscription = sim.subscribe(specialist, camera);
    sim.connect();
    sim.run(seconds(3));
    for rank in [0, 2, 1, 0, 1, 2, 0] {
        let from = sim.now;
        sim.wish(specialist, subscription, LayerWish::Rank(rank));
        sim.run(seconds(3));
        let sink = &sim.clients[specialist].sinks[0];
        assert_eq!(sink.shown.last().expect("pictures flow").truth.rank, rank);
        let freeze = sink.longest_freeze(from, sim.now);
        assert!(freeze < Duration::from_millis(400), "{freeze:?}");
        let before = sim.relayed.carried;
        sim.run(seconds(2));
        let frames = (sim.relayed.carried - before) as u64;
        let packets = 60 << rank;
        assert!(
            (packets - 4..packets + 30).contains(&frames),
            "{frames} for rank {rank}"
        );
    }
    // Nobody asked for anything that was not lost.
    assert_eq!(sim.stats(1).packets_requested, 0);
    sim.clients[doctor].sources[0].encodings[0].is_stopped = true;
    sim.run(seconds(3));
    let sink = &sim.clients[specialist].sinks[0];
    let rank = sink.shown.last().expect("pictures flow").truth.rank;
    assert_eq!(rank, 1, "that a layer has died is known on the other side");
}

#[test]
fn a_pause_stops_the_crossing_and_goes_on_with_a_keyframe() {
    let (mut sim, _, doctor, specialist) = consult(2_041);
    let camera = sim.camera(doctor, 2);
    let subscription = sim.subscribe(specialist, camera);
    sim.connect();
    sim.run(seconds(3));
    sim.wish(specialist, subscription, LayerWish::Paused);
    sim.run(Duration::from_millis(100));
    let (received, frames) = (
        sim.clients[specialist].sinks[0].received,
        sim.relayed.carried,
    );
    sim.run(seconds(5));
    assert_eq!(sim.clients[specialist].sinks[0].received, received);
    assert!(sim.relayed.carried - frames < 40, "only words cross");
    sim.wish(specialist, subscription, LayerWish::Best);
    let from = sim.now;
    sim.run(seconds(3));
    let sink = &sim.clients[specialist].sinks[0];
    let first = sink.shown_since(from).next().expect("it goes on");
    assert!(first.truth.is_keyframe && first.at - from < seconds(1));
    assert!(sink.shown_since(from).count() > 60);
    assert_eq!(sim.stats(1).packets_requested, 0, "the pause is no loss");
}

#[test]
fn what_a_subscriber_loses_is_repaired_from_its_own_worker() {
    let (mut sim, _, doctor, specialist) = consult(2_051);
    let camera = sim.camera(doctor, 1);
    sim.subscribe(specialist, camera);
    sim.connect();
    sim.clients[specialist].link = Link::lossy(5);
    let from = sim.now;
    sim.run(seconds(20));
    let client = &sim.clients[specialist];
    assert!(client.down.lost > 20, "{}", client.down.lost);
    let sink = &client.sinks[0];
    assert!(sink.repaired > 15 && sink.shown.len() > 590);
    assert!(sink.longest_freeze(from + seconds(1), sim.now) < Duration::from_millis(400));
    assert!(sim.stats(1).packets_resent > 15);
    assert_eq!(sim.stats(1).packets_requested, 0, "nothing crosses for it");
    assert_eq!(sim.clients[doctor].asked.packets, 0);
}

#[test]
fn a_link_that_loses_and_reorders_is_not_noticed() {
    let (mut sim, _, doctor, specialist) = consult(2_061);
    sim.relay = Link {
        delay: Duration::from_millis(2),
        loss: 5,
        duplicate: 5,
        reorder: 5,
        reorder_by: Duration::from_millis(8),
    };
    let (camera, microphone) = (sim.camera(doctor, 3), sim.microphone(doctor));
    let subscription = sim.subscribe(specialist, camera);
    sim.subscribe(specialist, microphone);
    sim.connect();
    let from = sim.now;
    for rank in [2, 1, 0, 2] {
        sim.wish(specialist, subscription, LayerWish::Rank(rank));
        sim.run(seconds(5));
        let shown = sim.clients[specialist].sinks[0].shown.last();
        assert_eq!(shown.expect("pictures flow").truth.rank, rank);
    }
    let sinks = &sim.clients[specialist].sinks;
    let freeze = sinks[0].longest_freeze(from + seconds(2), sim.now);
    assert!(freeze < Duration::from_millis(700), "{freeze:?}");
    assert!(sinks[0].shown.len() > 570, "{}", sinks[0].shown.len());
    // Sound is not asked for again by anybody.
    assert!(sinks[1].shown.len() > 920, "{}", sinks[1].shown.len());
    assert!(sim.relayed.lost > 50 && sim.relayed.doubled > 50 && sim.relayed.held_back > 50);
    assert!(sim.stats(1).packets_requested > 20);
    assert!(
        sim.clients[doctor].asked.packets == 0,
        "the publisher is not asked"
    );
}

#[test]
fn what_the_publisher_loses_is_repaired_for_both_sides() {
    let (mut sim, room, doctor, specialist) = consult(2_071);
    let near = sim.join(0, room, Link::GOOD);
    let camera = sim.camera(doctor, 1);
    sim.subscribe(near, camera);
    sim.subscribe(specialist, camera);
    sim.connect();
    sim.clients[doctor].link = Link::lossy(5);
    let from = sim.now;
    sim.run(seconds(20));
    assert!(sim.clients[doctor].up.lost > 20 && sim.clients[doctor].asked.packets > 20);
    for watcher in [near, specialist] {
        let sink = &sim.clients[watcher].sinks[0];
        assert!(sink.shown.len() > 590, "{}", sink.shown.len());
        let freeze = sink.longest_freeze(from + seconds(1), sim.now);
        assert!(freeze < Duration::from_millis(500), "{freeze:?}");
    }
}

#[test]
fn mute_and_its_end_cross() {
    let (mut sim, _, doctor, specialist) = consult(2_081);
    let (camera, microphone) = (sim.camera(doctor, 1), sim.microphone(doctor));
    sim.subscribe(specialist, camera);
    sim.subscribe(specialist, microphone);
    sim.connect();
    sim.run(seconds(3));
    let mute = |sim: &mut Sim, muted| {
        for publication in [camera, microphone] {
            sim.command(doctor, Command::SetMuted { publication, muted });
        }
    };
    mute(&mut sim, true);
    sim.run(Duration::from_millis(100));
    let received = |sim: &Sim| {
        let sinks = &sim.clients[specialist].sinks;
        (sinks[0].received, sinks[1].received)
    };
    let before = received(&sim);
    sim.run(seconds(5));
    assert_eq!(received(&sim), before);
    mute(&mut sim, false);
    let from = sim.now;
    sim.run(seconds(3));
    let sinks = &sim.clients[specialist].sinks;
    let first = sinks[0].shown_since(from).next().expect("seen again");
    assert!(first.truth.is_keyframe && first.at - from < seconds(1));
    assert!(sinks[1].shown_since(from).count() > 140, "heard again");
    assert_eq!(sim.stats(1).packets_requested, 0);
    // Who has a mirror cannot steer what it mirrors.
    let muted = true;
    sim.command(
        specialist,
        Command::SetMuted {
            publication: camera,
            muted,
        },
    );
    sim.command(
        specialist,
        Command::Unpublish {
            publication: camera,
        },
    );
    let unknown = CommandError::UnknownPublication(camera);
    assert_eq!(refused(&sim), [unknown.clone(), unknown]);
}

#[test]
fn what_ends_on_one_side_ends_on_the_other() {
    let (mut sim, room, doctor, specialist) = consult(2_091);
    let (camera, microphone) = (sim.camera(doctor, 2), sim.microphone(doctor));
    let subscription = sim.subscribe(specialist, camera);
    sim.subscribe(specialist, microphone);
    sim.connect();
    sim.run(seconds(2));
    assert_eq!(sim.stats(1).relays, 2);

    // The last subscription there takes the relay along, and a new one brings it back.
    sim.command(specialist, Command::Unsubscribe { subscription });
    sim.run(Duration::from_millis(10));
    assert_eq!(sim.stats(1).relays, 1);
    sim.run(seconds(1));
    let shown = sim.clients[specialist].sinks[0].shown.len();
    sim.subscribe(specialist, camera);
    sim.run(seconds(2));
    assert_eq!(sim.clients[specialist].sinks[0].shown.len(), shown);
    assert!(sim.clients[specialist].sinks[2].shown.len() > 40);

    // So does the publication, with a goodbye.
    let goodbyes = sim.clients[specialist].asked.goodbyes;
    sim.command(
        doctor,
        Command::Unpublish {
            publication: camera,
        },
    );
    sim.run(seconds(1));
    assert_eq!((sim.stats(1).relays, sim.stats(1).subscriptions), (1, 1));
    assert!(sim.clients[specialist].asked.goodbyes > goodbyes);

    // And whoever publishes.
    let transport = sim.clients[doctor].peer.id();
    sim.command(doctor, Command::RemoveTransport { transport });
    sim.run(seconds(1));
    let stats = sim.stats(1);
    assert_eq!(
        (stats.relays, stats.publications, stats.subscriptions),
        (0, 0, 0)
    );
    assert_eq!(stats.slabs_used, 0);

    // A room that closes with relays in both directions leaves nothing behind.
    let camera = sim.camera(specialist, 2);
    let near = sim.join(0, room, Link::GOOD);
    sim.subscribe(near, camera);
    sim.run(seconds(3));
    assert!(sim.clients[near].sinks[0].shown.len() > 30);
    for shard in [0, 1] {
        sim.direct(shard, room, Command::CloseRoom);
    }
    sim.run(seconds(1));
    for shard in [0, 1] {
        let stats = sim.stats(shard);
        let left = stats.rooms + stats.publications + stats.relays + stats.subscriptions;
        assert_eq!((left, stats.slabs_used), (0, 0), "shard {shard}");
    }
}

#[test]
fn a_relay_that_is_opened_too_early_waits_and_one_that_nobody_uses_ends() {
    let (mut sim, room, doctor, specialist) = consult(2_101);
    sim.connect();
    let camera = sim.camera(doctor, 1);
    // The words of the second worker are faster than the command to the first.
    sim.relay.loss = 100;
    sim.subscribe(specialist, camera);
    sim.run(Duration::from_millis(500));
    sim.relay.loss = 0;
    sim.run(seconds(2));
    assert!(sim.clients[specialist].sinks[0].shown.len() > 25);

    let microphone = sim.microphone(doctor);
    let params = sfu::media::PublicationParams {
        kind: sfu::media::MediaKind::Audio,
        mid: "9".try_into().expect("short"),
        codecs: sim::codecs(true, true),
        layers: vec![sfu::media::LayerParams {
            rid: None,
            ssrc: None,
            rtx_ssrc: None,
            width: 0,
            height: 0,
            bitrate_max: sfu::unit::Bitrate(0),
        }],
        spatial_layers: Vec::new(),
    };
    let publisher = sim.clients[doctor].peer.id();
    let open = || Command::OpenRelay {
        publication: microphone,
        owner: WorkerId(0),
        publisher,
        params: Box::new(params.clone()),
    };
    sim.direct(1, room, open());
    assert_eq!(sim.stats(1).relays, 2);
    // Where the publisher is there is nothing to relay to.
    sim.direct(0, room, open());
    assert_eq!(refused(&sim), [CommandError::AlreadyExists]);
    sim.run(seconds(2));
    assert_eq!(sim.stats(1).relays, 1);
}

#[test]
fn a_publication_that_ends_before_its_owner_hears_of_a_mirror_leaves_none() {
    let (mut sim, room, doctor, specialist) = consult(2_181);
    sim.connect();
    let camera = sim.camera(doctor, 1);
    sim.relay.loss = 100;
    sim.subscribe(specialist, camera);
    sim.run(Duration::from_millis(100));
    sim.direct(
        0,
        room,
        Command::Unpublish {
            publication: camera,
        },
    );
    sim.relay.loss = 0;
    sim.run(seconds(3));
    let left = |sim: &Sim| [sim.stats(1).relays, sim.stats(1).subscriptions];
    assert_eq!(left(&sim), [1, 1], "the command may be on its way");
    sim.run(seconds(10));
    assert_eq!(left(&sim), [0, 0]);
}

#[test]
fn a_worker_that_has_forgotten_everything_is_told_or_forgotten() {
    let (mut sim, room, doctor, specialist) = consult(2_111);
    let camera = sim.camera(doctor, 1);
    sim.subscribe(specialist, camera);
    let foreign = sim.camera(specialist, 1);
    let near = sim.join(0, room, Link::GOOD);
    sim.subscribe(near, foreign);
    let microphone = sim.microphone(doctor);
    sim.subscribe(near, microphone);
    sim.connect();
    sim.run(seconds(2));
    assert_eq!([0, 1].map(|shard| sim.stats(shard).relays), [1, 1]);
    // A bug ends everything on the second worker at once.
    sim.forget(1);
    let from = sim.now;
    sim.run(seconds(10));
    assert_eq!(sim.stats(0).relays, 0, "it is told that there is nothing");
    let sounds = &sim.clients[near].sinks[1];
    let freeze = sounds.longest_freeze(from, sim.now);
    assert!(
        freeze < Duration::from_millis(100),
        "the others go on: {freeze:?}"
    );
    let frames = sim.relayed.carried;
    sim.run(seconds(5));
    assert_eq!(sim.relayed.carried, frames, "nothing is sent to nobody");
}

#[test]
fn two_rooms_never_leak_across_links() {
    let mut sim = Sim::new(2_121, 2);
    let rooms = [sim.room(0), sim.room(1)];
    sim.extend(1, rooms[0]);
    sim.extend(0, rooms[1]);
    sim.relay.loss = 2;
    let people: Vec<_> = (0..8)
        .map(|n| sim.join(n / 4, rooms[n % 2], Link::lossy(1)))
        .collect();
    let tracks: Vec<_> = (people.iter())
        .map(|&person| (sim.camera(person, 2), sim.microphone(person)))
        .collect();
    for &watcher in &people {
        for &other in people
            .iter()
            .filter(|&&o| o != watcher && o % 2 == watcher % 2)
        {
            sim.subscribe(watcher, tracks[other].0);
            sim.subscribe(watcher, tracks[other].1);
        }
    }
    // A mirror of another room's camera is never answered, whoever claims to have its room.
    let publisher = sim.clients[0].peer.id();
    let params = Box::new(sim.params_of(tracks[0].0));
    let steal = || Command::OpenRelay {
        publication: tracks[0].0,
        owner: WorkerId(0),
        publisher,
        params: params.clone(),
    };
    sim.direct(1, RoomId(999), Command::OpenRoom);
    sim.direct(1, RoomId(999), steal());
    assert_eq!(refused(&sim), [CommandError::AlreadyExists]);
    sim.direct(1, rooms[1], steal());
    assert_eq!(refused(&sim).len(), 2);
    sim.connect();
    sim.run(seconds(10));
    for &watcher in &people {
        let own: Vec<u32> = (people.iter())
            .filter(|&&o| o != watcher && o % 2 == watcher % 2)
            .flat_map(|&o| sim.clients[o].sources.iter().map(|s| s.publisher))
            .collect();
        let client = &sim.clients[watcher];
        assert_eq!(client.strangers, 0);
        for sink in &client.sinks {
            assert!(sink.shown.len() > 230, "{}", sink.shown.len());
            let publisher = sink.shown[0].truth.publisher;
            assert!(own.contains(&publisher));
            assert!(sink.shown.iter().all(|s| s.truth.publisher == publisher));
        }
    }
}

#[test]
fn frames_of_strangers_change_nothing() {
    let (mut sim, room, doctor, specialist) = consult(2_131);
    let camera = sim.camera(doctor, 1);
    sim.subscribe(specialist, camera);
    sim.connect();
    sim.run(seconds(2));
    let useless = [0, 1].map(|shard| sim.stats(shard).relay_frames_useless);
    let to = Address {
        place: 0,
        publication: camera,
    };
    let open = |room, epoch| Frame::Open {
        reply: to,
        room,
        epoch,
        demand: 255,
    };
    let throw = |sim: &mut Sim, shard: usize, from: u16, frame: Frame| {
        let mut buffer = new_buffer();
        let len = frame::write(&frame, b"", &mut buffer[..]).expect("it fits");
        let now = sim.now;
        sim.shards[shard].handle_relay(now, WorkerId(from), &mut buffer, len);
    };
    // The mirror believes its owner only, and the owner only those who have a mirror.
    throw(&mut sim, 1, 7, Frame::End { to });
    throw(
        &mut sim,
        1,
        7,
        Frame::State {
            to,
            live: 0,
            is_muted: true,
        },
    );
    let publication = PublicationId(4_711);
    throw(
        &mut sim,
        1,
        0,
        Frame::End {
            to: Address {
                place: 0,
                publication,
            },
        },
    );
    throw(
        &mut sim,
        1,
        0,
        Frame::End {
            to: Address { place: 9_999, ..to },
        },
    );
    throw(
        &mut sim,
        0,
        7,
        Frame::Close {
            publication: camera,
        },
    );
    throw(
        &mut sim,
        0,
        7,
        Frame::Keyframe {
            publication: camera,
            rank: 0,
        },
    );
    throw(
        &mut sim,
        0,
        1,
        Frame::Keyframe {
            publication: camera,
            rank: 200,
        },
    );
    let now_useless = [0, 1].map(|shard| sim.stats(shard).relay_frames_useless);
    assert_eq!(now_useless, [useless[0] + 3, useless[1] + 4]);
    // Another placement, another room, no such room: all are told that there is nothing.
    let before = sim.relayed.carried;
    throw(&mut sim, 0, 1, open(room, Epoch(0)));
    throw(&mut sim, 0, 1, open(room, Epoch(2)));
    throw(&mut sim, 0, 1, open(RoomId(77), Epoch(1)));
    let transport = TransportId(0);
    sim.direct(0, room, Command::RemoveTransport { transport }); // polls
    assert_eq!(sim.relayed.carried - before, 3);
    assert_eq!(sim.shards[0].stats().relay_frames_useless, now_useless[0]);
}

#[test]
fn an_older_placement_opens_no_relay() {
    let (mut sim, room, doctor, specialist) = consult(2_141);
    let camera = sim.camera(doctor, 1);
    sim.connect();
    // The first worker has heard of a newer placement of the room.
    let newer = |command| Directive {
        room,
        epoch: Epoch(2),
        command,
    };
    let unmute = newer(Command::SetMuted {
        publication: camera,
        muted: false,
    });
    let now = sim.now;
    sim.shards[0].handle_command(now, unmute);
    sim.subscribe(specialist, camera);
    sim.run(seconds(3));
    assert_eq!(sim.clients[specialist].sinks[0].received, 0);
    let relay = newer(Command::OpenRelay {
        publication: camera,
        owner: WorkerId(0),
        publisher: sim.clients[doctor].peer.id(),
        params: Box::new(sim.params_of(camera)),
    });
    let now = sim.now;
    sim.shards[1].handle_command(now, relay);
    sim.run(seconds(3));
    assert!(sim.clients[specialist].sinks[0].received > 0);
}

#[test]
fn keyframes_are_asked_for_once_for_both_sides() {
    let (mut sim, room, doctor, specialist) = consult(2_151);
    let camera = sim.camera(doctor, 1);
    let near = sim.join(0, room, Link::GOOD);
    for watcher in [near, specialist] {
        sim.subscribe(watcher, camera);
    }
    sim.connect();
    sim.run(seconds(2));
    let before = sim.clients[doctor].asked.keyframes;
    for _ in 0..500 {
        for watcher in [near, specialist] {
            let mut request = Vec::new();
            let ssrc = sim.clients[watcher].sinks[0].ssrc;
            append_pli(&mut request, Ssrc(1), Ssrc(ssrc));
            sim.clients[watcher].peer.send_rtcp(&request);
        }
        sim.run(Duration::from_millis(10));
    }
    let asked = sim.clients[doctor].asked.keyframes - before;
    assert!((9..=11).contains(&asked), "{asked} in five seconds");
}

#[test]
fn lips_and_voice_keep_their_distance_across_the_link() {
    let (mut sim, _, doctor, specialist) = consult(2_161);
    let (camera, microphone) = (sim.camera(doctor, 3), sim.microphone(doctor));
    let subscription = sim.subscribe(specialist, camera);
    sim.subscribe(specialist, microphone);
    sim.connect();
    for rank in [2, 0, 1, 2] {
        sim.wish(specialist, subscription, LayerWish::Rank(rank));
        sim.run(seconds(5));
        let captured_at = |sink: &sim::sink::Sink, rate: f64| {
            let shown = sink.shown.last().expect("media flows");
            let (_, ntp, rtp) = *sink.reports.last().expect("reports flow");
            let seconds = f64::from(shown.timestamp.wrapping_sub(rtp) as i32) / rate;
            let told = ntp as f64 / f64::from(1 << 16) / f64::from(1 << 16) + seconds;
            told - f64::from(shown.truth.captured_ms) / 1000.0
        };
        let sinks = &sim.clients[specialist].sinks;
        let apart = captured_at(&sinks[0], 90_000.0) - captured_at(&sinks[1], 48_000.0);
        assert!(apart.abs() < 0.005, "{apart} s apart at rank {rank}");
    }
}

#[test]
fn speakers_are_reported_by_the_worker_that_hears_them_and_once() {
    let (mut sim, _, doctor, specialist) = consult(2_171);
    let (near, far) = (sim.microphone(doctor), sim.microphone(specialist));
    sim.subscribe(specialist, near);
    sim.subscribe(doctor, far);
    sim.connect();
    sim.run(seconds(3));
    let mut began = Vec::new();
    for (_, event) in &sim.events {
        if let EventKind::Speakers { speakers } = &event.kind {
            assert_eq!(event.room, Some(sim.clients[0].room));
            began.extend(
                speakers
                    .iter()
                    .filter(|s| s.is_active)
                    .map(|s| s.publication),
            );
        }
    }
    assert!(began.contains(&near) && began.contains(&far));
    let live = |publication| {
        let is_it = |(_, event): &&(_, sfu::shard::event::Event)| matches!(event.kind, EventKind::PublicationLive { publication: p } if p == publication);
        sim.events.iter().filter(is_it).count()
    };
    assert_eq!((live(near), live(far)), (1, 1));
}
