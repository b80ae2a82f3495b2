//! Plans of peers whose packets come over connections, and of paths that die.
//!
//! To the core a stream is a source address like any other; what is proven here is that media comes and
//! goes over it, moves to it when datagrams cease, and that whoever falls silent is reported soon.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests choose when virtual time begins"
)]

mod sim;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use sfu::id::TransportId;
use sfu::shard::event::EventKind;
use sfu::stream;
use sim::Sim;
use sim::link::Link;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Stream `id` of somebody in a clinic.
fn on_stream(id: u32) -> SocketAddr {
    let seen_at = "198.51.100.7:40000".parse().expect("an address");
    stream::address(NonZeroU32::new(id).expect("not zero"), seen_at)
}

/// Two in a room who see and hear each other, the first from `address`.
fn call(sim: &mut Sim, address: Option<SocketAddr>) -> [usize; 2] {
    let room = sim.room(0);
    let doctor = match address {
        Some(address) => sim.join_from(address, 0, room, Link::GOOD),
        None => sim.join(0, room, Link::GOOD),
    };
    let people = [doctor, sim.join(0, room, Link::GOOD)];
    let tracks = people.map(|person| (sim.camera(person, 1), sim.microphone(person)));
    for (n, &person) in people.iter().enumerate() {
        sim.subscribe(person, tracks[1 - n].0);
        sim.subscribe(person, tracks[1 - n].1);
    }
    sim.connect();
    people
}

/// When peers were reported as silent.
fn silences(sim: &Sim) -> Vec<(TransportId, Instant)> {
    let silent = |(at, event): &(Instant, sfu::shard::event::Event)| match event.kind {
        EventKind::Silent { transport } => Some((transport, *at)),
        _ => None,
    };
    sim.events.iter().filter_map(silent).collect()
}

/// How many sounds somebody has heard since.
fn heard(sim: &Sim, person: usize, since: Instant) -> usize {
    sim.clients[person].sinks[1].shown_since(since).count()
}

#[test]
fn a_participant_on_a_stream_sees_and_hears_and_is_seen_and_heard() {
    let mut sim = Sim::new(1, 1);
    let people = call(&mut sim, Some(on_stream(1)));
    sim.run(seconds(10));
    for person in people {
        let sinks = &sim.clients[person].sinks;
        assert!(sinks[0].shown.len() > 280, "{}", sinks[0].shown.len());
        assert!(sinks[1].shown.len() > 480, "{}", sinks[1].shown.len());
    }
    assert!(silences(&sim).is_empty());
    assert!(sim.astray.is_empty());
}

#[test]
fn a_call_falls_over_from_datagrams_to_a_stream_and_the_other_side_waits_only_for_that() {
    let mut sim = Sim::new(2, 1);
    let [doctor, nurse] = call(&mut sim, None);
    sim.run(seconds(5));
    let datagrams = sim.clients[doctor].peer.address();
    let cut = sim.now;
    sim.clients[doctor].link = Link::lossy(100);
    sim.run(seconds(6));
    let id = sim.clients[doctor].peer.id();
    let [(silent, at)] = silences(&sim)[..] else {
        panic!("{:?}", silences(&sim));
    };
    assert_eq!(silent, id);
    let noticed = at - cut;
    assert!(noticed >= Duration::from_millis(2_900), "{noticed:?}");
    assert!(noticed <= Duration::from_millis(4_100), "{noticed:?}");

    // Told of it, the client comes another way.
    sim.clients[doctor].link = Link::GOOD;
    sim.clients[doctor].peer.move_to(sim.now, on_stream(1));
    let moved = sim.now;
    sim.run(seconds(5));
    for person in [doctor, nurse] {
        let sounds = heard(&sim, person, moved);
        assert!(sounds > 230, "{person} hears {sounds} of 250");
    }
    assert_eq!(silences(&sim).len(), 1, "it is heard again");
    let astray = sim.astray.iter().filter(|(to, _)| *to == datagrams);
    let late = astray.count();
    assert!(late < 150, "{late} datagrams went where nobody is any more");
}

#[test]
fn a_stream_that_ends_is_reported_at_once_and_another_takes_its_place() {
    let mut sim = Sim::new(3, 1);
    let [doctor, nurse] = call(&mut sim, Some(on_stream(1)));
    sim.run(seconds(5));
    sim.end_stream(0, on_stream(1));
    let ended = sim.now;
    sim.clients[doctor].link = Link::lossy(100);
    sim.run(Duration::from_millis(1_100));
    assert_eq!(silences(&sim).len(), 1, "within a second");
    let rejected: u64 = sim.stats(0).rejects.iter().sum();
    sim.inject(0, on_stream(1), &[0x80; 50]);
    assert_eq!(
        sim.stats(0).rejects.iter().sum::<u64>(),
        rejected + 1,
        "nothing of it counts"
    );

    sim.clients[doctor].link = Link::GOOD;
    sim.clients[doctor].peer.move_to(sim.now, on_stream(2));
    let moved = sim.now;
    sim.run(seconds(3));
    for person in [doctor, nurse] {
        let sounds = heard(&sim, person, moved);
        assert!(sounds > 130, "{person} hears {sounds} of 150");
    }
    assert!(moved - ended < seconds(2));
}

#[test]
fn nothing_of_a_stream_counts_before_a_check_of_its_own() {
    let mut sim = Sim::new(4, 1);
    let [doctor, _] = call(&mut sim, None);
    sim.run(seconds(2));
    let recent: Vec<Vec<u8>> = sim.clients[doctor].recent.iter().cloned().collect();
    let before = sim.stats(0);
    // Somebody has heard what the doctor sends, and sends it again over a connection of his own.
    let media = recent.iter().filter(|datagram| datagram[0] >= 128);
    let mut replayed = 0;
    for datagram in media {
        sim.inject(0, on_stream(9), datagram);
        replayed += 1;
    }
    let unvalidated = sfu::error::Reject::SourceUnvalidated;
    let more = sim.stats(0).rejected(unvalidated) - before.rejected(unvalidated);
    assert!(replayed > 10);
    assert_eq!(more, replayed);
    assert!(sim.astray.iter().all(|(to, _)| *to != on_stream(9)));
}

#[test]
fn who_has_nothing_to_say_is_not_silent() {
    let mut sim = Sim::new(5, 1);
    let room = sim.room(0);
    let observer = sim.join(0, room, Link::GOOD);
    sim.connect();
    sim.run(seconds(30));
    assert!(
        silences(&sim).is_empty(),
        "it checks its path every two seconds"
    );
    // A client that checks more rarely than we look answers when it is asked.
    let now = sim.now;
    sim.clients[observer].peer.set_checking(now, false);
    sim.run(seconds(10));
    assert!(silences(&sim).is_empty(), "it answers");
}

#[test]
fn a_worker_that_stood_still_takes_nobody_for_silent() {
    let mut sim = Sim::new(6, 1);
    call(&mut sim, None);
    sim.run(seconds(2));
    sim.stall(0, seconds(8));
    sim.run(seconds(5));
    assert!(silences(&sim).is_empty());
}
