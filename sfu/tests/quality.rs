//! How good connections are said to be, in calls in virtual time.
#![allow(
    clippy::disallowed_methods,
    reason = "a test chooses when virtual time begins"
)]

mod sim;

use std::time::{Duration, Instant};

use sfu::id::SubscriptionId;
use sfu::media::LayerWish;
use sfu::quality::Quality;
use sfu::shard::event::EventKind;
use sim::Sim;
use sim::link::Link;

const DOCTOR: usize = 0;
const SPECIALIST: usize = 1;

/// The doctor shows himself in three sizes and speaks, the specialist watches and listens.
fn call(seed: u64) -> Sim {
    watched(seed).0
}

/// The same, and what the specialist watches.
fn watched(seed: u64) -> (Sim, SubscriptionId) {
    let mut sim = Sim::new(seed, 1);
    let room = sim.room(0);
    for _ in [DOCTOR, SPECIALIST] {
        sim.join(0, room, Link::GOOD);
    }
    sim.connect();
    let camera = sim.camera(DOCTOR, 3);
    let microphone = sim.microphone(DOCTOR);
    let camera = sim.subscribe(SPECIALIST, camera);
    sim.subscribe(SPECIALIST, microphone);
    (sim, camera)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What was said about somebody from then on, and after how long.
fn said(sim: &Sim, who: usize, from: Instant) -> Vec<(u64, Quality)> {
    let id = sim.clients[who].peer.id();
    let events = sim.events.iter().filter(|(at, _)| *at >= from);
    let rated = events.filter_map(|(at, event)| match event.kind {
        EventKind::Quality { transport, rating } if transport == id => {
            Some(((*at - from).as_secs(), rating.quality))
        }
        _ => None,
    });
    rated.collect()
}

fn words(said: &[(u64, Quality)]) -> Vec<Quality> {
    said.iter().map(|(_, quality)| *quality).collect()
}

#[test]
fn who_is_well_connected_is_left_alone() {
    let mut sim = call(1);
    let from = sim.now;
    sim.run(seconds(120));
    for who in [DOCTOR, SPECIALIST] {
        assert_eq!(said(&sim, who, from), [], "participant {who}");
    }
}

#[test]
fn the_one_whose_link_is_bad_is_named_and_no_other() {
    for (percent, who, other) in [(20, DOCTOR, SPECIALIST), (20, SPECIALIST, DOCTOR)] {
        let mut sim = call(2);
        sim.run(seconds(5));
        let from = sim.now;
        sim.clients[who].link = Link::lossy(percent);
        sim.run(seconds(30));
        let told = said(&sim, who, from);
        assert_eq!(
            told.last().map(|one| one.1),
            Some(Quality::Poor),
            "{told:?}"
        );
        assert!(told[0].0 <= 10, "within ten seconds: {told:?}");
        assert_eq!(said(&sim, other, from), [], "the other is well");

        let from = sim.now;
        sim.clients[who].link = Link::GOOD;
        sim.run(seconds(30));
        let told = said(&sim, who, from);
        assert_eq!(words(&told).last(), Some(&Quality::Excellent), "{told:?}");
        assert!(told.iter().all(|one| one.0 >= 5), "not at once: {told:?}");
    }
}

#[test]
fn a_little_loss_is_repaired_and_nothing_is_said() {
    let mut sim = call(3);
    let from = sim.now;
    for client in &mut sim.clients {
        client.link = Link::lossy(1);
    }
    sim.run(seconds(60));
    assert!(sim.clients[SPECIALIST].sinks[0].repaired > 0);
    for who in [DOCTOR, SPECIALIST] {
        assert_eq!(said(&sim, who, from), [], "participant {who}");
    }
}

#[test]
fn only_who_cannot_be_heard_of_is_lost_and_only_as_long() {
    let mut sim = call(4);
    sim.run(seconds(5));
    let from = sim.now;
    sim.clients[DOCTOR].link = Link::lossy(100);
    sim.run(seconds(12));
    let told = said(&sim, DOCTOR, from);
    assert_eq!(told.last().map(|one| one.1), Some(Quality::Lost));
    let lost_after = told.last().expect("just seen").0;
    assert!((5..=8).contains(&lost_after), "after {lost_after} s");
    assert_eq!(said(&sim, SPECIALIST, from), [], "the other is well");

    let from = sim.now;
    sim.clients[DOCTOR].link = Link::GOOD;
    sim.run(seconds(30));
    let told = said(&sim, DOCTOR, from);
    assert_eq!(words(&told), [Quality::Poor, Quality::Excellent]);
    assert!(told[0].0 <= 4, "with the first sign of life: {told:?}");
}

#[test]
fn who_sends_nothing_but_is_there_is_not_lost() {
    let mut sim = call(5);
    sim.run(seconds(5));
    let from = sim.now;
    let stop = |sim: &mut Sim, is_stopped| {
        let sources = sim.clients[DOCTOR].sources.iter_mut();
        for encoding in sources.flat_map(|source| &mut source.encodings) {
            encoding.is_stopped = is_stopped;
        }
    };
    stop(&mut sim, true);
    sim.run(seconds(60));
    assert_eq!(said(&sim, DOCTOR, from), []);
    stop(&mut sim, false);
    sim.run(seconds(60));
    assert_eq!(said(&sim, DOCTOR, from), []);
}

#[test]
fn a_size_that_somebody_wants_and_that_does_not_come_is_felt() {
    let (mut sim, camera) = watched(6);
    sim.run(seconds(5));
    let from = sim.now;
    sim.clients[DOCTOR].sources[0].encodings[2].is_stopped = true;
    sim.run(seconds(40));
    let told = said(&sim, DOCTOR, from);
    assert_eq!(words(&told), [Quality::Good]);
    assert!(told[0].0 >= 15, "senders raise their rate slowly: {told:?}");

    let from = sim.now;
    sim.wish(SPECIALIST, camera, LayerWish::Rank(1));
    sim.run(seconds(30));
    let told = said(&sim, DOCTOR, from);
    assert_eq!(words(&told), [Quality::Excellent], "nobody wants it now");
}

#[test]
fn a_long_way_is_felt_by_the_one_who_has_it() {
    let mut sim = call(7);
    sim.run(seconds(5));
    let from = sim.now;
    sim.clients[SPECIALIST].link = Link {
        delay: Duration::from_millis(600),
        ..Link::GOOD
    };
    sim.run(seconds(60));
    let told = said(&sim, SPECIALIST, from);
    assert_eq!(words(&told).last(), Some(&Quality::Poor), "{told:?}");
    assert_eq!(said(&sim, DOCTOR, from), []);
}
