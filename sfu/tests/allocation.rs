//! Nothing on a packet's way allocates: counted over a whole shard with real keys, from the
//! datagram that comes in to the batch that goes out.
#![allow(
    unsafe_code,
    reason = "a global allocator that counts has no safe form; it only forwards"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "a test chooses when virtual time begins"
)]

mod sim;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sfu::config::Limits;
use sfu::id::WorkerId;
use sfu::relay::lane::{LaneIn, LaneOut, lane};
use sfu::shard::command::Command;
use sfu::shard::{Output, Shard};
use sfu::tap::{Entry, PICTURE_MAX, TapMemory, TapReader, tap};
use sim::Sim;
use sim::link::Link;

struct Counting;

thread_local! {
    static COUNTED: Cell<Option<usize>> = const { Cell::new(None) };
}

fn count() {
    COUNTED.with(|counted| counted.set(counted.get().map(|n| n + 1)));
}

// SAFETY: every call is forwarded unchanged to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the pointer came from `System` by the calls above, with this layout.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `System` by the calls above, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How many allocations this thread makes meanwhile.
fn allocations(run: impl FnOnce()) -> usize {
    COUNTED.with(|counted| counted.set(Some(0)));
    run();
    COUNTED.with(Cell::take).expect("it was being counted")
}

const RECEIVERS: usize = 20;

/// A call of one camera in three sizes and one microphone with twenty receivers who want all of
/// it, and the datagrams that its publisher will send from now on.
struct Call {
    sim: Sim,
    from: SocketAddr,
}

impl Call {
    fn new() -> Self {
        Self::on([0; RECEIVERS])
    }

    /// With each receiver on one of two shards.
    fn on(shards: [usize; RECEIVERS]) -> Self {
        let limits = Limits {
            // Only what the doctor sends is played: that the others are asked whether they are still
            // there, which is one message a second for each who says nothing, is not what is counted.
            silence_timeout: Duration::from_secs(3_600),
            ..Limits::default()
        };
        let mut sim = Sim::with_limits(7, 2, &limits);
        let room = sim.room(0);
        sim.extend(1, room);
        let doctor = sim.join(0, room, Link::GOOD);
        let (camera, microphone) = (sim.camera(doctor, 3), sim.microphone(doctor));
        for (n, shard) in shards.into_iter().enumerate() {
            let receiver = sim.join(shard, room, Link::GOOD);
            let subscription = sim.subscribe(receiver, camera);
            sim.subscribe(receiver, microphone);
            let wish = sfu::media::LayerWish::Rank((n % 3) as u8);
            sim.wish(receiver, subscription, wish);
        }
        sim.connect();
        // Until histories are full and every buffer has its size.
        sim.run(Duration::from_secs(8));
        let from = sim.clients[doctor].peer.address();
        Self { sim, from }
    }

    /// What the publisher sends within a span, by the time at which it does. The receivers' clients
    /// do not take part: their feedback is counted in a test of its own.
    fn record(&mut self, span: Duration) -> Vec<(Instant, Vec<u8>)> {
        let (start, end) = (self.sim.start, self.sim.now + span);
        let doctor = &mut self.sim.clients[0];
        let mut recorded = Vec::new();
        while let Some(at) = doctor.next_timeout().filter(|at| *at <= end) {
            let now = at.max(self.sim.now);
            doctor.handle_timeout(start, now);
            while let Some((_, datagram)) = doctor.peer.poll_transmit() {
                // Connectivity checks are no packets of media.
                if datagram[0] >= 128 {
                    recorded.push((now, datagram));
                }
            }
        }
        recorded
    }
}

/// Hands recorded datagrams to the shard and takes all batches; returns how many left. Between
/// them the shard does what is due, if `has_timers`.
fn play(
    shard: &mut Shard,
    from: SocketAddr,
    recorded: &mut [(Instant, Vec<u8>)],
    has_timers: bool,
) -> usize {
    let mut sent = 0;
    for (now, datagram) in recorded {
        if has_timers {
            shard.handle_timeout(*now);
        }
        shard.handle_datagram(*now, from, datagram);
        loop {
            match shard.poll_output(*now) {
                Output::Transmit(batch) => sent += batch.datagrams.len(),
                Output::Relay(_) | Output::Event(_) => {}
                Output::Timeout(_) => break,
            }
        }
    }
    sent
}

/// Two seconds of 50 sounds and, by size, 30, 60 or 120 packets of picture for each receiver.
/// Returns how many packets left and what was allocated for them.
fn two_seconds(has_timers: bool) -> (usize, usize) {
    let mut call = Call::new();
    let mut recorded = call.record(Duration::from_secs(3));
    // The first second brings whatever buffers are still growing to their size.
    let first = call.sim.now + Duration::from_secs(1);
    let split = recorded.partition_point(|(at, _)| *at < first);
    let (before, during) = recorded.split_at_mut(split);
    let shard = &mut call.sim.shards[0];
    play(shard, call.from, before, has_timers);
    let mut sent = 0;
    let counted = allocations(|| sent = play(shard, call.from, during, has_timers));
    let stats = shard.stats();
    assert!(sent > RECEIVERS * 200, "{sent} packets were forwarded");
    assert_eq!(stats.rejects.iter().sum::<u64>(), 0);
    (sent, counted)
}

#[test]
fn a_forwarded_packet_allocates_nothing() {
    let (sent, counted) = two_seconds(false);
    assert_eq!(counted, 0, "allocations for {sent} forwarded packets");
}

#[test]
fn reports_and_feedback_allocate_nothing_either() {
    let (_, counted) = two_seconds(true);
    // What is left is the report of the counters, once a second, in a box.
    assert!(counted <= 3, "{counted} allocations in two seconds");
}

#[test]
fn a_hostile_datagram_allocates_nothing() {
    let mut call = Call::new();
    let peer = &call.sim.clients[0].peer;
    let mut cut = peer.check(true);
    cut.truncate(60);
    let mut media = vec![0x80, 111];
    media.resize(100, 7);
    let mut control = vec![0x80, 200];
    control.resize(60, 7);
    let stranger: SocketAddr = "203.0.113.66:666".parse().expect("an address");
    let bad = [
        (
            stranger,
            peer.check_signed_with("a password that nobody has"),
        ),
        (stranger, cut),
        (stranger, vec![0; 1_200]),
        (stranger, vec![70; 100]),
        (stranger, vec![22; 100]),
        (stranger, media.clone()),
        (call.from, media),
        (call.from, control),
    ];
    let now = call.sim.now;
    let rounds = 1_000;
    let mut recorded: Vec<_> = (0..rounds)
        .flat_map(|_| bad.clone())
        .map(|(from, datagram)| (from, [(now, datagram)]))
        .collect();
    let shard = &mut call.sim.shards[0];
    let before: u64 = shard.stats().rejects.iter().sum();
    let mut sent = 0;
    let counted = allocations(|| {
        for (from, datagram) in &mut recorded {
            sent += play(shard, *from, datagram, false);
        }
    });
    let rejected = shard.stats().rejects.iter().sum::<u64>() - before;
    assert_eq!(rejected, rounds * bad.len() as u64, "each is refused");
    assert_eq!((sent, counted), (0, 0), "answers, allocations");
}

/// The call is recorded from now on.
fn record(call: &mut Call) -> TapReader {
    let memory = TapMemory::new(&sfu::config::Limits::default());
    let (tap, reader) = tap(call.sim.now, &memory.recording()).expect("memory");
    let transport = call.sim.clients[0].peer.id();
    let is_open = true;
    let gate = Command::SetTapGate { transport, is_open };
    call.sim.command(0, gate);
    let attach = Command::AttachTap {
        tap: Box::new(tap),
        picture_max: PICTURE_MAX,
    };
    call.sim.command(0, attach);
    call.sim.run(Duration::from_secs(1));
    reader
}

#[test]
fn a_recorded_packet_allocates_nothing() {
    let mut call = Call::new();
    let mut reader = record(&mut call);
    let mut recorded = call.record(Duration::from_secs(3));
    let first = call.sim.now + Duration::from_secs(1);
    let split = recorded.partition_point(|(at, _)| *at < first);
    let (before, during) = recorded.split_at_mut(split);
    let (shard, mut packets) = (&mut call.sim.shards[0], 0);
    let mut play_and_read = |datagrams: &mut [(Instant, Vec<u8>)]| {
        for datagram in datagrams {
            play(shard, call.from, std::slice::from_mut(datagram), true);
            while let Some(entry) = reader.read() {
                packets += usize::from(matches!(entry, Entry::Rtp(_)));
            }
        }
    };
    play_and_read(before);
    let counted = allocations(|| play_and_read(during));
    assert!(packets > 400, "{packets} packets were recorded");
    // What is left is the report of the counters, once a second, in a box.
    assert!(counted <= 3, "{counted} allocations in two seconds");
}

/// A shard's output with the lane that its frames take; returns how many packets left.
fn drain(shard: &mut Shard, now: Instant, there: &mut LaneIn) -> usize {
    let mut sent = 0;
    loop {
        match shard.poll_output(now) {
            Output::Transmit(batch) => sent += batch.datagrams.len(),
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

fn take(shard: &mut Shard, now: Instant, from: u16, lane: &mut LaneOut) {
    while lane.receive(|buffer, len| shard.handle_relay(now, WorkerId(from), buffer, len)) {}
}

#[test]
fn a_packet_that_crosses_to_another_worker_allocates_nothing_on_either_side() {
    let shards = std::array::from_fn(|n| usize::from(n % 4 != 0));
    let mut call = Call::on(shards);
    let mut recorded = call.record(Duration::from_secs(4));
    let first = call.sim.now + Duration::from_secs(2);
    let split = recorded.partition_point(|(at, _)| *at < first);
    let (before, during) = recorded.split_at_mut(split);
    let (mut to_far, mut from_near) = lane(1_024);
    let (mut to_near, mut from_far) = lane(1_024);
    let from = call.from;
    let [near, far] = &mut call.sim.shards[..] else {
        panic!("two shards were made");
    };
    let mut play = |recorded: &mut [(Instant, Vec<u8>)]| {
        let mut sent = (0, 0);
        for (now, datagram) in recorded {
            near.handle_timeout(*now);
            near.handle_datagram(*now, from, datagram);
            sent.0 += drain(near, *now, &mut to_far);
            far.handle_timeout(*now);
            take(far, *now, 0, &mut from_near);
            sent.1 += drain(far, *now, &mut to_near);
            take(near, *now, 1, &mut from_far);
        }
        sent
    };
    play(before);
    let mut sent = (0, 0);
    let counted = allocations(|| sent = play(during));
    assert!(
        sent.0 > 5 * 200 && sent.1 > 15 * 200,
        "{sent:?} were forwarded"
    );
    // What is left is the report of the counters, once a second and shard, in a box.
    assert!(counted <= 6, "{counted} allocations for {sent:?} packets");
    assert!(far.stats().relay_frames_in > 400 && far.stats().relays == 2);
}

#[test]
fn the_counter_counts() {
    let counted = allocations(|| drop(std::hint::black_box(vec![1, 2, 3])));
    assert_eq!(counted, 1);
}
