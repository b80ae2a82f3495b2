//! What one forwarded packet costs in a shard without a socket: from the datagram of the publisher
//! to the sealed batch, real keys, nothing sent. Prints nanoseconds per packet that leaves.
//!
//! `cargo bench -p sfu --bench forward`; the median of nine rounds counts.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

#[path = "../tests/sim/mod.rs"]
mod sim;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sfu::shard::{Output, Shard};
use sim::Sim;
use sim::link::Link;

const ROUNDS: usize = 9;

fn main() {
    for (what, is_audio) in [("video, 1,000 B, 4 a frame", false), ("audio, 60 B", true)] {
        for receivers in [50, 200] {
            let mut costs = measure(receivers, is_audio);
            costs.sort_unstable();
            println!(
                "1 -> {receivers:3}, {what}: {} ns a forwarded packet (of {ROUNDS} rounds {} to {})",
                costs[ROUNDS / 2],
                costs[0],
                costs[ROUNDS - 1],
            );
        }
    }
}

fn measure(receivers: usize, is_audio: bool) -> Vec<u128> {
    let mut sim = Sim::new(3, 1);
    let room = sim.room(0);
    let doctor = sim.join(0, room, Link::GOOD);
    for _ in 0..receivers {
        sim.join(0, room, Link::GOOD);
    }
    sim.connect();
    let track = if is_audio {
        sim.microphone(doctor)
    } else {
        sim.large_camera(doctor)
    };
    for receiver in 1..=receivers {
        sim.subscribe(receiver, track);
    }
    // Clients are slow; two seconds let every layer, buffer and budget settle.
    sim.run(Duration::from_secs(2));
    let from = sim.clients[doctor].peer.address();
    (0..ROUNDS).map(|_| round(&mut sim, from)).collect()
}

/// A second of media: frame by frame into the shard, batches out.
fn round(sim: &mut Sim, from: SocketAddr) -> u128 {
    let end = sim.now + Duration::from_secs(1);
    let mut turns: Vec<(Instant, Vec<Vec<u8>>)> = Vec::new();
    let doctor = &mut sim.clients[0];
    while let Some(at) = doctor.next_timeout().filter(|at| *at <= end) {
        let now = at.max(sim.now);
        doctor.handle_timeout(sim.start, now);
        let mut turn = Vec::new();
        while let Some((_, datagram)) = doctor.peer.poll_transmit() {
            if datagram[0] >= 128 {
                turn.push(datagram);
            }
        }
        turns.push((now, turn));
    }
    sim.now = end;
    let shard = &mut sim.shards[0];
    let before = shard.stats().packets_out;
    let started = Instant::now();
    for (now, turn) in &mut turns {
        play(shard, *now, from, turn);
    }
    let spent = started.elapsed();
    spent.as_nanos() / u128::from(shard.stats().packets_out - before)
}

fn play(shard: &mut Shard, now: Instant, from: SocketAddr, turn: &mut [Vec<u8>]) {
    for datagram in turn {
        shard.handle_datagram(now, from, datagram);
    }
    loop {
        match shard.poll_output(now) {
            Output::Transmit(batch) => {
                std::hint::black_box(batch.arena);
            }
            Output::Event(_) => {}
            Output::Timeout(_) => return,
        }
    }
}
