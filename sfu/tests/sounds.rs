//! Sounds wait for each other on a busy worker, and only there: shown on batches of a shard with
//! real keys, and on what people hear.
#![allow(
    clippy::disallowed_methods,
    reason = "a test chooses when virtual time begins"
)]

mod sim;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sfu::config::Limits;
use sfu::shard::Output;
use sfu::shard::command::Command;
use sim::Sim;
use sim::link::Link;

const SPEAKERS: usize = 3;

/// Three who speak and one who listens; they have heard each other for a while.
fn consult() -> Sim {
    let mut sim = Sim::new(5, 1);
    let room = sim.room(0);
    for _ in 0..=SPEAKERS {
        sim.join(0, room, Link::GOOD);
    }
    sim.connect();
    for speaker in 0..SPEAKERS {
        let track = sim.microphone(speaker);
        sim.subscribe(SPEAKERS, track);
    }
    sim.run(Duration::from_secs(1));
    sim
}

/// What a speaker says now, sealed.
fn speak(sim: &mut Sim, speaker: usize) -> (SocketAddr, Vec<u8>) {
    let (start, now) = (sim.start, sim.now);
    let client = &mut sim.clients[speaker];
    client.sources[0].next = now;
    client.handle_timeout(start, now);
    let is_media = |bytes: &[u8]| matches!(bytes, [128..=191, 0..=191 | 224.., ..]);
    let datagram = std::iter::from_fn(|| client.peer.poll_transmit())
        .map(|(_, bytes)| bytes)
        .find(|bytes| is_media(bytes));
    let from = client.peer.address();
    (from, datagram.expect("it speaks"))
}

/// The lengths of the media that leaves now, by batch, and when the shard wants to be called again.
fn poll(sim: &mut Sim, to: SocketAddr) -> (Vec<Vec<usize>>, Option<Instant>) {
    let now = sim.now;
    let mut batches = Vec::new();
    loop {
        match sim.shards[0].poll_output(now) {
            Output::Transmit(batch) => {
                let media = batch.iter().filter(|(receiver, bytes)| {
                    *receiver == to && matches!(bytes, [128..=191, 0..=191 | 224.., ..])
                });
                let lengths: Vec<_> = media.map(|(_, bytes)| bytes.len()).collect();
                batches.extend((!lengths.is_empty()).then_some(lengths));
            }
            Output::Timeout(at) => return (batches, at),
            Output::Relay(_) | Output::Event(_) => {}
        }
    }
}

#[test]
fn on_a_busy_worker_the_sounds_of_a_moment_leave_together() {
    let mut sim = consult();
    let to = sim.clients[SPEAKERS].peer.address();
    poll(&mut sim, to);
    sim.shards[0].note_busy(900);
    let began = sim.now;
    for speaker in 0..SPEAKERS {
        let (from, mut datagram) = speak(&mut sim, speaker);
        let now = sim.now;
        sim.shards[0].handle_datagram(now, from, &mut datagram);
        let (batches, at) = poll(&mut sim, to);
        assert_eq!(batches, [[0; 0]; 0], "it waits for others");
        let latest = began + Limits::default().sound_hold_max;
        assert!(at.is_some_and(|at| at <= latest), "and not for long");
        sim.now += Duration::from_millis(1);
    }
    assert_eq!(sim.stats(0).sounds_held, SPEAKERS as u64);
    sim.now = began + Limits::default().sound_hold_max;
    let now = sim.now;
    sim.shards[0].handle_timeout(now);
    let (batches, _) = poll(&mut sim, to);
    assert_eq!(batches.len(), 1, "one batch");
    assert_eq!(batches[0].len(), SPEAKERS, "of all who spoke");
    let is_falling = batches[0].is_sorted_by(|a, b| a >= b);
    assert!(is_falling, "only the last of a run may be shorter");
}

#[test]
fn on_a_worker_that_is_not_busy_nothing_waits() {
    let mut sim = consult();
    let to = sim.clients[SPEAKERS].peer.address();
    poll(&mut sim, to);
    for (permille, waits) in [(699, false), (700, true), (601, true), (599, false)] {
        sim.shards[0].note_busy(permille);
        sim.now += Duration::from_millis(20);
        let (from, mut datagram) = speak(&mut sim, 0);
        let now = sim.now;
        sim.shards[0].handle_datagram(now, from, &mut datagram);
        let (batches, _) = poll(&mut sim, to);
        assert_eq!(batches.is_empty(), waits, "at {permille}");
        sim.now += Limits::default().sound_hold_max;
        let now = sim.now;
        sim.shards[0].handle_timeout(now);
        let (batches, _) = poll(&mut sim, to);
        assert_eq!(batches.is_empty(), !waits, "at {permille}");
    }
}

#[test]
fn who_leaves_while_sounds_wait_costs_nobody_anything() {
    let mut sim = consult();
    sim.shards[0].note_busy(1_000);
    let (from, mut datagram) = speak(&mut sim, 0);
    let now = sim.now;
    sim.shards[0].handle_datagram(now, from, &mut datagram);
    let held = sim.stats(0).sounds_held;
    assert!(held > 0, "something waits");
    let transport = sim.clients[SPEAKERS].peer.id();
    sim.command(SPEAKERS, Command::RemoveTransport { transport });
    sim.run(Duration::from_secs(2));
    assert!(sim.stats(0).sounds_held == held, "nobody listens any more");
}

#[test]
fn everybody_hears_the_same_whether_sounds_wait_or_not() {
    let heard = |permille| {
        let mut sim = consult();
        sim.shards[0].note_busy(permille);
        sim.run(Duration::from_secs(5));
        let held = sim.stats(0).sounds_held;
        assert_eq!(held > 0, permille > 0);
        let sinks = &sim.clients[SPEAKERS].sinks;
        assert_eq!(sinks.len(), SPEAKERS);
        let sequences = |sink: &sim::sink::Sink| {
            let numbers = sink.log.iter().map(|&(_, number, ..)| number);
            numbers.take(290).collect::<Vec<_>>()
        };
        sinks.iter().map(sequences).collect::<Vec<_>>()
    };
    let (at_once, waiting) = (heard(0), heard(1_000));
    assert!(at_once.iter().all(|numbers| numbers.len() == 290));
    assert_eq!(at_once, waiting);
}
