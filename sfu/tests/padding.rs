//! Padding of ours is invisible: with and without it everybody receives the same media, what is sent
//! again is what was sent, and nobody else's padding goes through.
#![allow(
    clippy::disallowed_methods,
    reason = "a test chooses when virtual time begins"
)]

mod sim;

use std::time::Duration;

use sfu::config::Limits;
use sfu::rtp::rtcp::feedback::append_nack;
use sfu::unit::Ssrc;
use sim::Sim;
use sim::link::Link;

/// A consult of one who shows a camera in three sizes, a large one and a voice, one who is sent
/// retransmissions on a stream of their own, and one who is not; over links that lose packets.
fn consult(padding_bytes_max: usize) -> Sim {
    consult_with(padding_bytes_max, false)
}

fn consult_with(padding_bytes_max: usize, has_padding_publisher: bool) -> Sim {
    let limits = Limits {
        padding_bytes_max,
        ..Limits::default()
    };
    let mut sim = Sim::with_limits(11, 1, &limits);
    let room = sim.room(0);
    let people: Vec<_> = (0..3).map(|_| sim.join(0, room, Link::GOOD)).collect();
    sim.connect();
    let tracks = [
        sim.camera(people[0], 3),
        sim.large_camera(people[0]),
        sim.microphone(people[0]),
    ];
    for source in &mut sim.clients[people[0]].sources {
        source.pads = has_padding_publisher;
    }
    for track in tracks {
        sim.subscribe(people[1], track);
        sim.subscribe_without_repairs(people[2], track);
    }
    sim.run(Duration::from_millis(500));
    for &person in &people[1..] {
        sim.clients[person].link = Link::lossy(5);
    }
    for _ in 0..200 {
        sim.run(Duration::from_millis(50));
        // Nobody asks for lost sounds by himself; here somebody does.
        let sink = &sim.clients[people[2]].sinks[2];
        if let Some(&(ssrc, newest, ..)) = sink.log.last() {
            let numbers = [1, 2].map(|back| newest.wrapping_sub(back));
            let mut request = Vec::new();
            append_nack(&mut request, Ssrc(1), Ssrc(ssrc), numbers);
            sim.clients[people[2]].peer.send_rtcp(&request);
        }
    }
    sim
}

#[test]
fn with_and_without_padding_everybody_receives_the_same() {
    let (with, without) = (consult(64), consult(0));
    assert!(with.stats(0).padding_out > 0);
    assert_eq!(without.stats(0).padding_out, 0);
    for (with, without) in with.clients.iter().zip(&without.clients).skip(1) {
        assert!(with.down.lost > 100, "{:?}", with.down);
        assert_eq!(with.down, without.down);
        let is_padded = with.sinks.iter().any(|sink| sink.padded > 100);
        assert_eq!(
            is_padded,
            with.sinks[1].repaired > 0,
            "where repairs are agreed"
        );
        for (with, without) in with.sinks.iter().zip(&without.sinks) {
            assert!(with.received > 400, "{}", with.received);
            assert!(with.log == without.log);
            assert_eq!(without.padded, 0);
        }
    }
}

#[test]
fn a_number_that_is_used_again_stands_for_the_same_bytes() {
    // That the bytes are the same is looked at in every simulation; here it is shown that pictures
    // and sounds were really sent again under their old numbers, beside packets that are padded.
    let sim = consult(64);
    let [_, repaired, plain] = &sim.clients[..] else {
        panic!("three participants");
    };
    assert!(repaired.sinks[1].padded > 100 && repaired.sinks[1].repaired > 10);
    assert_eq!(plain.sinks[1].repaired, 0);
    assert!(sim.repeated > 200, "{}", sim.repeated);
    for sink in &plain.sinks {
        assert_eq!(sink.padded, 0, "what may be sent again is never padded");
    }
    // A sound that had been lost comes behind younger ones.
    let is_late = |pair: &&[(u32, u16, u32, bool, u64)]| pair[1].1 < pair[0].1;
    let late = plain.sinks[2].log.windows(2).filter(is_late).count();
    assert!(late > 5, "{late}");
}

#[test]
fn the_padding_of_a_publisher_goes_no_further() {
    let (with, without) = (consult_with(0, true), consult_with(0, false));
    for (with, without) in with.clients.iter().zip(&without.clients).skip(1) {
        for (with, without) in with.sinks.iter().zip(&without.sinks) {
            assert!(with.log == without.log);
            assert_eq!(with.padded, 0);
        }
    }
}
