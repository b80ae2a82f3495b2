//! What forwarding costs in a shard with real keys, per packet that leaves: in user space alone
//! (nothing is sent), and over loopback sockets that are drained, beside the floor of the same run,
//! which seals and sends the same bytes through the same socket without any logic.
//!
//! `cargo bench -p sfu --bench forward` prints a table and writes `target/bench/forward.json`.
//! Processor time of this thread counts, user and system; rounds of shard and floor alternate, and
//! the medians are compared. With the argument `count` and the number of a shape it only
//! forwards, for callgrind.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![allow(clippy::disallowed_types, reason = "a benchmark has receivers")]
#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

#[path = "forward/call.rs"]
mod call;
#[path = "forward/floor.rs"]
mod floor;
#[path = "forward/report.rs"]
mod report;
#[path = "../tests/sim/mod.rs"]
mod sim;

use std::hint::black_box;

use self::call::{Call, Shape};
use self::floor::{Drain, Floor, thread_time};
use self::report::{Limit, Line, Report};
use sfu::config::Segmentation;
use sfu::net::udp::Socket;

/// Rounds of each measurement; odd, the median counts.
const ROUNDS: usize = 9;
/// Packets that leave in a round.
const PACKETS: usize = 40_000;

const SHAPES: [Shape; 4] = [
    Shape::video(1),
    Shape::video(4),
    Shape::video(8),
    Shape::SOUND,
];

fn main() {
    let mut arguments = std::env::args().skip_while(|argument| argument != "count");
    if arguments.next().is_some() {
        let shape = arguments.next().and_then(|number| number.parse().ok());
        let shape: usize = shape.expect("the number of a shape");
        return count(SHAPES[shape]);
    }
    // One part alone, for a profiler, by its name.
    let only = std::env::args().skip(1).find(|a| !a.starts_with('-'));
    let is_wanted = |part: &str| only.as_ref().is_none_or(|only| only == part);
    let mut report = Report::default();
    if is_wanted("user") {
        let small = user_space(&mut report, 50, 0.0);
        user_space(&mut report, 200, 0.0);
        user_space(&mut report, 2_000, small);
    }
    if is_wanted("loopback") {
        sockets(&mut report, 200);
    }
    if is_wanted("receive") {
        for pictures in [1, 16] {
            receive(&mut report, pictures);
        }
    }
    if is_wanted("tap") {
        tap(&mut report);
    }
    if only.is_none() {
        report.write();
    }
}

/// The shard without a socket. Returns the cost of a picture of four packets.
fn user_space(report: &mut Report, receivers: usize, small: f64) -> f64 {
    let mut call = Call::new(&no_addresses(receivers), &SHAPES);
    let mut floor = Floor::new(&no_addresses(receivers));
    let mut cost = 0.0;
    for (track, shape) in SHAPES.into_iter().enumerate() {
        let frames = frames(receivers, shape);
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let mut turns = call.record(track, frames);
            ours.push(timed(|| {
                call.play(&mut turns, |batch| {
                    black_box(batch.arena);
                })
            }));
            bare.push(timed(|| {
                floor.play(shape, frames, |batch| {
                    black_box(batch.arena);
                })
            }));
        }
        let line = Line::new(
            format!("user space, 1 to {receivers}, {shape}"),
            &mut ours,
            &mut bare,
            Limit::Micros(0.40),
        );
        if shape == Shape::video(4) {
            cost = line.us;
        }
        report.add(line);
    }
    if small > 0.0 {
        report.add(Line::compared(
            format!(
                "user space, 1 to {receivers} beside 1 to 50, {}",
                Shape::video(4)
            ),
            cost,
            small,
            Limit::Ratio(1.10),
        ));
    }
    cost
}

/// The shard and a socket whose receivers are drained, beside the floor with the same.
fn sockets(report: &mut Report, receivers: usize) {
    let drain = Drain::new(receivers);
    let mut call = Call::new(drain.addresses(), &SHAPES);
    let mut floor = Floor::new(drain.addresses());
    let mut socket = socket();
    for (track, shape) in SHAPES.into_iter().enumerate() {
        let frames = frames(receivers, shape) / 2;
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let mut turns = call.record(track, frames);
            ours.push(timed(|| {
                call.play(&mut turns, |batch| {
                    socket.send_batch(batch);
                })
            }));
            bare.push(timed(|| {
                floor.play(shape, frames, |batch| {
                    socket.send_batch(batch);
                })
            }));
        }
        report.add(Line::new(
            format!("loopback, 1 to {receivers}, {shape}"),
            &mut ours,
            &mut bare,
            Limit::Ratio(shape.limit()),
        ));
    }
}

/// Reading from a socket and opening, in a shard whose publication nobody subscribes to, so many
/// pictures in a turn: one, as where little happens, or as many as a loaded worker reads at once.
fn receive(report: &mut Report, pictures: usize) {
    const FRAMES: usize = 4_000;
    let shape = Shape::video(4);
    let (sender, to) = (socket(), socket());
    let mut call = Call::new(&[], &[shape]);
    let mut floor = Floor::new(&[to.local_address()]);
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    let mut sender = floor::Feeder::new(sender, to.local_address());
    for _ in 0..ROUNDS {
        let turns = call.record(0, FRAMES);
        let room = to.recv_room(64);
        ours.push(sender.feed(&to, room, &turns, pictures, |now, datagram| {
            call.take(now, datagram);
        }));
        let turns = floor.record(shape, FRAMES);
        let room = to.recv_room(64);
        let open = |_, datagram: &mut [u8]| floor.open(datagram);
        bare.push(sender.feed(&to, room, &turns, pictures, open));
    }
    report.add(Line::new(
        format!("receive and decrypt, {shape}, {pictures} in a turn"),
        &mut ours,
        &mut bare,
        Limit::Ratio(1.3),
    ));
}

/// What a tap adds to a packet that comes in: pictures taken by a shard with one and by a shard without.
/// The recorder reads every arena's worth, as it would on a thread of its own.
fn tap(report: &mut Report) {
    const FRAMES: usize = 50;
    let shape = Shape::video(4);
    let packets = FRAMES * shape.packets;
    let [mut with, mut without] = [(), ()].map(|()| Call::new(&[], &[shape]));
    let mut recording = with.attach_tap();
    let mut entries = 0;
    let mut round = |call: &mut Call| {
        let mut us = 0.0;
        for _ in 0..PACKETS / packets {
            let mut turns = call.record(0, FRAMES);
            us += timed(|| {
                call.play(&mut turns, |_| {});
                PACKETS
            });
            entries += std::iter::from_fn(|| recording.read().map(|_| ())).count();
        }
        us
    };
    let (mut on, mut off) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        on.push(round(&mut with));
        off.push(round(&mut without));
    }
    // All but what is still in the arena that is being filled.
    assert!(entries + packets * 2 > ROUNDS * PACKETS, "{entries}");
    let (on, off) = (report::median(&mut on), report::median(&mut off));
    report.add(Line::compared(
        format!("a tap, beside a received packet without, {shape}"),
        on - off,
        off,
        Limit::Micros(0.20),
    ));
}

/// The forwarding loop of one shape and nothing else, for an instruction count: see `count.sh`.
fn count(shape: Shape) {
    let mut call = Call::new(&no_addresses(12), &[shape]);
    let mut warm = call.record(0, 30);
    call.play(&mut warm, |_| {});
    let mut turns = call.record(0, 30);
    counted_loop(&mut call, &mut turns);
}

/// Callgrind begins and ends to count by this name.
#[inline(never)]
#[unsafe(no_mangle)]
#[allow(unsafe_code, reason = "its name is its own, so nothing can clash")]
fn counted_loop(call: &mut Call, turns: &mut call::Turns) {
    call.play(turns, |batch| {
        black_box(batch.arena);
    });
}

fn frames(receivers: usize, shape: Shape) -> usize {
    (PACKETS / (receivers * shape.packets)).max(8)
}

fn no_addresses(count: usize) -> Vec<std::net::SocketAddr> {
    let address = |n: usize| ([198, 51, 100, (n >> 8) as u8], 2_000 + n as u16).into();
    (0..count).map(address).collect()
}

fn socket() -> Socket {
    Socket::bind(([127, 0, 0, 1], 0).into(), Segmentation::Auto, 16).expect("a free port")
}

/// Microseconds of this thread per packet that `run` says it has handled.
fn timed(run: impl FnOnce() -> usize) -> f64 {
    let started = thread_time();
    let packets = run();
    (thread_time() - started).as_secs_f64() * 1e6 / packets as f64
}
