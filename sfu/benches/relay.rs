//! What it costs to take a packet to another worker, and what a second worker brings: a room of one
//! publisher and 400 receivers with real keys, all on one worker and then half on each of two that
//! are joined by lanes, on two threads. Nothing is sent, traffic is fed in the process.
//!
//! `cargo bench -p sfu --bench relay` prints a table and writes `target/bench/relay.json`. The rate
//! counts the processor time of the busier thread, so that it says the same on a machine that is
//! not quiet; each thread has a processor of its own. The time on the wall is printed beside it, and so is what a second thread brings to
//! two rooms of half the size that share nothing, and to sealing alone: where both processors are
//! threads of one core, or the host gives less than it says, that is less than 2, and no way of
//! dividing a room can do better.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![allow(clippy::disallowed_types, reason = "a benchmark has threads")]
#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]
#![allow(unsafe_code, reason = "the thread's processor time is C")]

#[path = "../tests/sim/mod.rs"]
mod sim;

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sfu::id::{PublicationId, WorkerId};
use sfu::publication::history::PacketInfo;
use sfu::relay::lane::{LaneIn, LaneOut, lane};
use sfu::relay::{Address, FRAMES_PER_TURN_MAX, Frame, frame};
use sfu::shard::{Output, Shard};
use sfu::slab::{Carried, Payload, SlabPool};
use sfu::subscription::rewriter::{PictureIds, StreamKey};
use sfu::transport::srtp::{MasterKey, Outbound, Profile};
use sfu::unit::SeqNo;
use sim::Sim;
use sim::link::Link;

/// The simulation makes both workers' peers in turn on one thread, so that their memory would lie
/// mixed within cache lines; workers of a server have a heap each. Whole lines give the same.
struct WholeLines;

#[global_allocator]
static HEAP: WholeLines = WholeLines;

// SAFETY: all that changes is a stricter alignment, in all three calls alike.
unsafe impl GlobalAlloc for WholeLines {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller says.
        unsafe { System.alloc(whole_lines(layout)) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: it came from `alloc` with the same layout.
        unsafe { System.dealloc(at, whole_lines(layout)) }
    }
}

/// Two lines of 64 bytes: processors fetch them in pairs.
fn whole_lines(layout: Layout) -> Layout {
    let lines = layout.align_to(128).expect("a small power of two");
    lines.pad_to_align()
}

const RECEIVERS: usize = 400;
/// Packets of a picture.
const PACKETS: u8 = 4;
/// Payload that makes packets of 1,200 bytes.
const FILLER: usize = 1_133;
/// Pictures of one round.
const PICTURES: usize = 150;
/// Odd, the median counts.
const ROUNDS: usize = 7;
/// What a second worker must bring.
const GAIN_MIN: f64 = 1.8;

fn main() {
    let crossing = crossing();
    println!("crossing, 1,200 B: {crossing:.0} ns of both threads together, 1 copy");
    let mut together = Room::new(RECEIVERS, 0);
    let mut apart = Room::new(RECEIVERS / 2, RECEIVERS / 2);
    let mut strangers = [0, 1].map(|_| Room::new(RECEIVERS / 2, 0));
    let (mut one, mut two, mut wall_one, mut wall_two) = (vec![], vec![], vec![], vec![]);
    let (mut machine, mut unshared) = (vec![], vec![]);
    // Alternating, so that both see the same machine.
    for _ in 0..ROUNDS {
        let (rate, wall) = together.alone();
        one.push(rate);
        wall_one.push(wall);
        let (rate, wall) = apart.on_two_threads();
        two.push(rate);
        wall_two.push(wall);
        unshared.push(unshared_gain(&mut strangers));
        machine.push(machine_gain());
    }
    let [machine, unshared] = [&mut machine, &mut unshared].map(|values| median(values));
    let [one, two] = [&mut one, &mut two].map(|values| median(values));
    let [wall_one, wall_two] = [&mut wall_one, &mut wall_two].map(|values| median(values));
    let (gain, wall_gain) = (two / one, wall_two / wall_one);
    println!("1 to {RECEIVERS}, packets a second    one worker  two workers  gain");
    println!("by processor time of a thread  {one:>10.0}  {two:>11.0}  {gain:.2}");
    println!("by the clock on the wall       {wall_one:>10.0}  {wall_two:>11.0}  {wall_gain:.2}");
    println!("two rooms that share nothing, on two threads beside one  {unshared:.2}");
    println!("sealing alone, on two threads beside one  {machine:.2}");
    let verdict = if gain >= GAIN_MIN { "" } else { "  MISSED" };
    println!("at least {GAIN_MIN} by processor time{verdict}");
    let text = format!(
        "[\n  {{\"scenario\": \"1 to {RECEIVERS} on two workers beside one\", \"packets_per_second\": \
         {two:.0}, \"one_worker\": {one:.0}, \"ratio\": {gain:.3}, \"wall_ratio\": {wall_gain:.3}, \
         \"limit\": {GAIN_MIN}, \"unshared_ratio\": {unshared:.3}, \
         \"machine_ratio\": {machine:.3}, \"crossing_ns\": {crossing:.1}}}\n]\n"
    );
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
    std::fs::create_dir_all(&folder).expect("the tree is writable");
    std::fs::write(folder.join("relay.json"), text).expect("the tree is writable");
}

/// What two threads forward in a room each beside what one does, by their processor times: the
/// gain of two workers if nothing had to cross.
fn unshared_gain(rooms: &mut [Room; 2]) -> f64 {
    let alone: f64 = rooms.iter_mut().map(|room| room.alone().0).sum();
    let [mut first, mut second] = rooms.each_mut().map(|room| (room.record(), room));
    let start = Barrier::new(2);
    let both: f64 = std::thread::scope(|scope| {
        let start = &start;
        let threads = [(0, &mut first), (1, &mut second)].map(|(core, (turns, room))| {
            let (shard, from) = (&mut room.sim.shards[0], room.from);
            scope.spawn(move || {
                pin(core);
                start.wait();
                feed(shard, from, turns)
            })
        });
        let fed = threads.map(|thread| thread.join().expect("it ends"));
        fed.map(|(sent, spent)| per_second(sent, spent))
            .iter()
            .sum()
    });
    2.0 * both / alone
}

/// What two threads seal beside what one does, each by its processor time: 2 on two cores that
/// share nothing.
fn machine_gain() -> f64 {
    let alone = sealing_rate();
    let start = Barrier::new(2);
    let both = std::thread::scope(|scope| {
        let start = &start;
        let threads = [0, 1].map(|core| {
            scope.spawn(move || {
                pin(core);
                start.wait();
                sealing_rate()
            })
        });
        threads.map(|thread| thread.join().expect("it ends"))
    });
    both.iter().sum::<f64>() / alone
}

/// Packets a second that this thread seals.
fn sealing_rate() -> f64 {
    const SEALED: usize = 200_000;
    let profile = Profile::AeadAes256Gcm;
    let key = [7; 32];
    let (key, salt) = (&key[..profile.key_len()], &key[..profile.salt_len()]);
    let master = MasterKey::new(profile, key, salt).expect("the profile's lengths");
    let mut outbound = Outbound::new(profile, &master);
    let (mut header, payload) = ([0; 12], [7; 1_150]);
    header[..2].copy_from_slice(&[0x80, 96]);
    let mut out = Vec::with_capacity(64 * 1_200);
    let started = thread_time();
    for seq in 0..SEALED as u64 {
        if seq % 64 == 0 {
            black_box(&out);
            out.clear();
        }
        header[2..4].copy_from_slice(&(seq as u16).to_be_bytes());
        outbound.protect_rtp(SeqNo(seq), &header, &payload, &mut out);
    }
    per_second(SEALED, thread_time() - started)
}

/// A frame into a lane, out of it and into the pool of the other side: nanoseconds.
fn crossing() -> f64 {
    const FRAMES: usize = 200_000;
    let (mut head, mut tail) = lane(1_024);
    // As many packets are kept as a history keeps: the slabs go round through the caches.
    let mut pool = SlabPool::new(1_024);
    let mut kept = std::collections::VecDeque::with_capacity(513);
    let payload = [7; 1_150];
    let mut cross = |count: usize| {
        let started = thread_time();
        for seq in 0..count as u64 {
            let sent = head.send(&packet(seq), &payload);
            sent.expect("it is emptied");
            tail.receive(|buffer, len| {
                let (frame, range) = frame::read(&buffer[..len]).expect("as it was written");
                black_box(&frame);
                kept.extend(Carried { buffer, range }.put(&mut pool));
            });
            if kept.len() > 512 {
                pool.release(kept.pop_front().expect("there are some"));
            }
        }
        (thread_time() - started).as_secs_f64() * 1e9 / count as f64
    };
    cross(10_000);
    let mut rounds: Vec<f64> = (0..ROUNDS).map(|_| cross(FRAMES)).collect();
    median(&mut rounds)
}

fn packet(seq: u64) -> Frame {
    Frame::Packet {
        to: Address {
            place: 1,
            publication: PublicationId(2),
        },
        stream: StreamKey {
            rank: 0,
            incarnation: 0,
        },
        info: PacketInfo {
            seq: SeqNo(seq),
            timestamp: 3,
            marker: true,
            codec: 0,
            starts_keyframe: false,
            picture: PictureIds::default(),
            audio_level: None,
            orientation: None,
            spatial: None,
            descriptor: 0,
        },
    }
}

/// A room on two shards, of which the second may be empty.
struct Room {
    sim: Sim,
    from: SocketAddr,
}

type Turns = Vec<(Instant, Vec<Vec<u8>>)>;

impl Room {
    fn new(near: usize, far: usize) -> Self {
        let mut sim = Sim::new(3, 2);
        let room = sim.room(0);
        sim.extend(1, room);
        let publisher = sim.join(0, room, Link::GOOD);
        for n in 0..near + far {
            let address = ([198, 51, 100, (n >> 8) as u8], 2_000 + n as u16).into();
            sim.join_from(address, usize::from(n >= near), room, Link::GOOD);
        }
        sim.connect();
        let track = sim.stream(publisher, PACKETS, FILLER);
        for receiver in 1..=near + far {
            sim.subscribe(receiver, track);
        }
        // Until everybody has had a keyframe.
        sim.run(Duration::from_millis(500));
        let from = sim.clients[publisher].peer.address();
        Self { sim, from }
    }

    fn record(&mut self) -> Turns {
        let publisher = &mut self.sim.clients[0];
        publisher.sources[0].next = self.sim.now;
        let mut turns = Turns::new();
        while turns.len() < PICTURES {
            self.sim.now = publisher.sources[0].next;
            publisher.handle_timeout(self.sim.start, self.sim.now);
            let sent = std::iter::from_fn(|| publisher.peer.poll_transmit());
            let is_media = |bytes: &Vec<u8>| matches!(bytes[..], [128..=191, 0..=191 | 224.., ..]);
            let media = sent.map(|(_, bytes)| bytes).filter(is_media).collect();
            turns.push((self.sim.now, media));
        }
        turns
    }

    /// Packets a second, by processor time and on the wall, of one worker.
    fn alone(&mut self) -> (f64, f64) {
        let mut turns = self.record();
        let began = Instant::now();
        let (sent, spent) = feed(&mut self.sim.shards[0], self.from, &mut turns);
        self.check(sent);
        (per_second(sent, spent), per_second(sent, began.elapsed()))
    }

    /// The same of two workers on two threads.
    fn on_two_threads(&mut self) -> (f64, f64) {
        let mut turns = self.record();
        let (from, now) = (self.from, self.sim.now);
        let (mut to_far, mut from_near) = lane(4_096);
        let (mut to_near, mut from_far) = lane(4_096);
        let [near, far] = &mut self.sim.shards[..] else {
            panic!("two shards were made");
        };
        let (is_over, start) = (AtomicBool::new(false), Barrier::new(2));
        let ((near, began), (far, ended)) = std::thread::scope(|scope| {
            let owner = scope.spawn(|| {
                pin(0);
                start.wait();
                let began = Instant::now();
                let started = thread_time();
                let mut sent = 0;
                for (now, datagrams) in &mut turns {
                    take(near, *now, 1, &mut from_far);
                    sent += turn(near, from, *now, datagrams, &mut to_far);
                }
                let spent = thread_time() - started;
                is_over.store(true, Ordering::Release);
                ((sent, spent), began)
            });
            let mirror = scope.spawn(|| {
                pin(1);
                start.wait();
                let (mut sent, mut spent) = (0, Duration::ZERO);
                loop {
                    let was_over = is_over.load(Ordering::Acquire);
                    if from_near.is_empty() {
                        if was_over {
                            break ((sent, spent), Instant::now());
                        }
                        std::thread::yield_now(); // a worker would sleep
                        continue;
                    }
                    let started = thread_time();
                    take(far, now, 0, &mut from_near);
                    sent += drain(far, now, &mut to_near);
                    spent += thread_time() - started;
                }
            });
            let owner = owner.join().expect("it ends");
            (owner, mirror.join().expect("it ends"))
        });
        let sent = near.0 + far.0;
        self.check(sent);
        let busier = near.1.max(far.1);
        (per_second(sent, busier), per_second(sent, ended - began))
    }

    fn check(&self, sent: usize) {
        let receivers = self.sim.clients.len() - 1;
        let expected = receivers * usize::from(PACKETS) * PICTURES;
        assert_eq!(sent, expected, "everybody got everything");
    }
}

/// What a shard sends for a recorded stretch, and the thread's time for it.
fn feed(shard: &mut Shard, from: SocketAddr, turns: &mut Turns) -> (usize, Duration) {
    let (mut there, _) = lane(1);
    let started = thread_time();
    let sent = turns
        .iter_mut()
        .map(|(now, datagrams)| turn(shard, from, *now, datagrams, &mut there))
        .sum();
    (sent, thread_time() - started)
}

fn per_second(packets: usize, spent: Duration) -> f64 {
    packets as f64 / spent.as_secs_f64()
}

fn turn(
    shard: &mut Shard,
    from: SocketAddr,
    now: Instant,
    datagrams: &mut [Vec<u8>],
    there: &mut LaneIn,
) -> usize {
    for datagram in datagrams {
        shard.handle_datagram(now, from, datagram);
    }
    drain(shard, now, there)
}

fn drain(shard: &mut Shard, now: Instant, there: &mut LaneIn) -> usize {
    let mut sent = 0;
    loop {
        match shard.poll_output(now) {
            Output::Transmit(batch) => {
                black_box(batch.arena);
                sent += batch.datagrams.len();
            }
            Output::Relay(batch) => {
                for (frame, payload) in batch.iter() {
                    there.send(frame, payload).expect("the lane is long enough");
                }
            }
            Output::Event(_) => {}
            Output::Timeout(_) => return sent,
        }
    }
}

/// As much as a worker takes in one turn.
fn take(shard: &mut Shard, now: Instant, from: u16, lane: &mut LaneOut) {
    for _ in 0..FRAMES_PER_TURN_MAX {
        if !lane.receive(|buffer, len| shard.handle_relay(now, WorkerId(from), buffer, len)) {
            break;
        }
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Keeps this thread on the `n`th processor that it may use, as a worker is kept: two threads that
/// take turns on one processor would seem not to hinder each other.
fn pin(n: usize) {
    // SAFETY: all-zero is an empty set, of which the kernel writes and reads as much as we say.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        let size = size_of::<libc::cpu_set_t>();
        assert_eq!(
            libc::sched_getaffinity(0, size, &raw mut set),
            0,
            "the set is large enough"
        );
        let cores = (0..libc::CPU_SETSIZE as usize).filter(|core| libc::CPU_ISSET(*core, &set));
        let cores: Vec<usize> = cores.collect();
        let mut one: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cores[n % cores.len()], &mut one);
        assert_eq!(
            libc::sched_setaffinity(0, size, &raw const one),
            0,
            "it may run there"
        );
    }
}

/// Processor time of this thread, user and system.
fn thread_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes one timespec to where we say.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(result, 0, "Linux has this clock");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
