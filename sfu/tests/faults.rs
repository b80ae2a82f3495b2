//! Plans of things that go wrong: each fault meets a bound with a name, is counted, and costs
//! nobody else anything. The table of all of them is in `docs/operations.md`.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests choose when virtual time begins, and some of them have sockets"
)]

mod sim;

use std::process::Command as Process;
use std::time::Duration;

use sfu::config::{Limits, Segmentation};
use sfu::error::{CommandError, Reject};
use sfu::net::udp::Socket;
use sfu::shard::command::{Command, DataChannel};
use sfu::shard::event::{DisconnectReason, EventKind};
use sfu::shard::{Batch, Datagram};
use sim::Sim;
use sim::link::Link;
use sim::sink::Sink;
use sim::source::{EXT_MID, OPUS, packet};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Two who see and hear each other in a room of their own on this shard. Returns both.
fn pair(sim: &mut Sim, shard: usize) -> [usize; 2] {
    let room = sim.room(shard);
    let people = [0, 1].map(|_| sim.join(shard, room, Link::GOOD));
    let tracks = people.map(|person| (sim.camera(person, 1), sim.microphone(person)));
    for (n, &person) in people.iter().enumerate() {
        sim.subscribe(person, tracks[1 - n].0);
        sim.subscribe(person, tracks[1 - n].1);
    }
    people
}

/// Nobody of these has noticed anything since.
fn assert_unharmed(sim: &Sim, people: &[usize], from: std::time::Instant) {
    for &person in people {
        for sink in &sim.clients[person].sinks {
            let freeze = sink.longest_freeze(from, sim.now);
            assert!(freeze < Duration::from_millis(150), "{freeze:?}");
        }
    }
}

#[test]
fn ten_thousand_sources_of_one_participant_are_bounded_and_harm_nobody() {
    let mut sim = Sim::new(1, 1);
    let others = pair(&mut sim, 0);
    let room = sim.room(0);
    let (liar, listener) = (sim.join(0, room, Link::GOOD), sim.join(0, room, Link::GOOD));
    let voice = sim.microphone(liar);
    sim.microphone(liar);
    sim.clients[liar].sources[1].encodings[0].is_stopped = true;
    sim.subscribe(listener, voice);
    sim.connect();
    sim.run(seconds(1));
    let (from, before) = (sim.now, sim.stats(0));
    // With good keys, each for the section that is silent, and slowly enough to be let in.
    let mid = sim.clients[liar].sources[1].mid.clone();
    for number in 0..10_000_u32 {
        let extensions: [(u8, &[u8]); 1] = [(EXT_MID, mid.as_bytes())];
        let sound = packet((OPUS, false), 7, 0, 50_000 + number, &extensions, b"sound");
        sim.clients[liar].peer.send_rtp(&sound);
        if number % 50 == 49 {
            sim.run(Duration::from_millis(10));
        }
    }
    sim.run(Duration::from_millis(100));
    let stats = sim.stats(0);
    let more = |reason| stats.rejected(reason) - before.rejected(reason);
    let (too_many, unknown) = (more(Reject::TooManySources), more(Reject::UnknownSource));
    let taken = 10_000 - too_many - unknown;
    assert!(taken <= 64, "{taken} were taken");
    assert!(too_many > 9_000, "{too_many} were one too many");
    let all: u64 = stats.rejects.iter().sum::<u64>() - before.rejects.iter().sum::<u64>();
    assert_eq!(all, too_many + unknown, "every one is explained");
    assert!(stats.slabs_used < before.slabs_used + 600);
    assert_unharmed(&sim, &others, from);
    let heard = sim.clients[listener].sinks[0].shown_since(from).count();
    assert!(heard > 95, "his own voice goes on: {heard}");
}

#[test]
fn a_subscriber_that_never_reads_is_bounded_and_let_go_when_it_falls_silent() {
    let play = |is_deaf: bool| {
        let limits = Limits {
            absence_timeout: seconds(2),
            ..Limits::default()
        };
        let mut sim = Sim::with_limits(2, 1, &limits);
        let room = sim.room(0);
        let doctor = sim.join(0, room, Link::GOOD);
        let (deaf, nurse) = (sim.join(0, room, Link::GOOD), sim.join(0, room, Link::GOOD));
        let tracks = [sim.camera(doctor, 3), sim.microphone(doctor)];
        for track in tracks {
            sim.subscribe(deaf, track);
            sim.subscribe(nurse, track);
        }
        sim.connect();
        sim.run(seconds(1));
        if is_deaf {
            // It goes on sending checks, and takes nothing.
            sim.clients[deaf].link = Link::lossy(100);
            sim.clients[deaf].is_closed = true;
        }
        let message = vec![7; 50_000];
        for _ in 0..100 {
            let transport = sim.clients[deaf].peer.id();
            for channel in [DataChannel::Reliable, DataChannel::Lossy] {
                sim.command(
                    deaf,
                    Command::SendData {
                        transport,
                        channel,
                        payload: message.clone().into(),
                    },
                );
            }
        }
        sim.run(seconds(20));
        sim
    };
    let digests = |sink: &Sink| -> Vec<u64> { sink.log.iter().map(|entry| entry.4).collect() };
    let (well, deaf) = (play(false), play(true));
    let refused = deaf.events.iter().filter(|(_, event)| {
        let error = CommandError::NotSent(deaf.clients[1].peer.id());
        matches!(&event.kind, EventKind::Refused { error: said } if *said == error)
    });
    assert!(refused.count() >= 79, "the queue takes a megabyte");
    let stats = deaf.stats(0);
    assert!(stats.data_dropped >= 79, "and what may be lost is");
    assert!(stats.slabs_used <= well.stats(0).slabs_used + 16);
    // Without a sign of life its consent lapses.
    let lost = |event: &EventKind| {
        matches!(event, EventKind::Disconnected { transport, reason }
            if *transport == deaf.clients[1].peer.id()
                && *reason == DisconnectReason::ConsentLost)
    };
    assert!(deaf.happened(lost));
    assert_eq!((stats.transports, stats.transports_lost), (2, 1));
    assert_eq!(well.stats(0).transports_lost, 0);
    for (well, deaf) in well.clients[2].sinks.iter().zip(&deaf.clients[2].sinks) {
        assert!(well.log.len() > 900);
        assert_eq!(digests(well), digests(deaf), "the nurse receives the same");
    }
}

#[test]
fn a_worker_that_stalls_for_two_seconds_harms_no_other() {
    let mut sim = Sim::new(3, 2);
    let others = pair(&mut sim, 0);
    let room = sim.room(0);
    sim.extend(1, room);
    // One room on both workers, with somebody on each who sends and who watches everybody.
    let people = [0, 0, 1, 1].map(|shard| sim.join(shard, room, Link::GOOD));
    let tracks = [0, 2].map(|n| (sim.large_camera(people[n]), sim.microphone(people[n])));
    for watcher in people {
        for (n, (camera, microphone)) in tracks.into_iter().enumerate() {
            if people[2 * n] != watcher {
                sim.subscribe(watcher, camera);
                sim.subscribe(watcher, microphone);
            }
        }
    }
    sim.connect();
    sim.run(seconds(3));
    let from = sim.now;
    let before = sim.stats(1).datagrams_out;
    sim.stall(1, seconds(2));
    let awake = sim.now;
    sim.run(Duration::from_millis(1));
    let burst = sim.stats(1).datagrams_out - before;
    assert!(burst > 0 && burst < 1_500, "{burst} datagrams at once");
    assert!(sim.overrun.0 > 0, "its socket ran over");
    sim.run(seconds(4));
    assert_unharmed(&sim, &others, from);
    // Who sees somebody of the healthy worker from there has noticed nothing.
    let near = &sim.clients[people[1]];
    for sink in &near.sinks[..2] {
        let freeze = sink.longest_freeze(from, sim.now);
        assert!(freeze < Duration::from_millis(150), "{freeze:?}");
    }
    // All others go on within a second.
    for person in people {
        for sink in &sim.clients[person].sinks {
            let next = sink.shown_since(awake).next().expect("it goes on");
            assert!(next.at - awake < seconds(1), "{:?}", next.at - awake);
            let freeze = sink.longest_freeze(awake + seconds(2), sim.now);
            assert!(freeze < Duration::from_millis(150), "{freeze:?}");
        }
    }
    assert_eq!(sim.stats(1).transports, 2, "nobody was let go");
}

#[test]
fn a_standstill_longer_than_consent_costs_nobody_his_seat() {
    let mut sim = Sim::new(5, 1);
    let people = pair(&mut sim, 0);
    sim.connect();
    sim.run(seconds(3));
    let consent = Limits::default().consent_timeout;
    sim.stall(0, consent + seconds(20));
    let awake = sim.now;
    sim.run(consent + seconds(5));
    let stats = sim.stats(0);
    assert_eq!((stats.transports, stats.transports_lost), (2, 0));
    for person in people {
        for sink in &sim.clients[person].sinks {
            let freeze = sink.longest_freeze(awake + seconds(2), sim.now);
            assert!(freeze < Duration::from_millis(150), "{freeze:?}");
        }
    }
}

/// Three who show and say everything to each other, on so many shards, and how many bytes of padding
/// were sent.
fn received(shards: usize, padding_bytes_max: usize, wire: Option<Segmentation>) -> (Sim, u64) {
    let limits = Limits {
        padding_bytes_max,
        // Nobody reports here, and how soon that is noticed differs from worker to worker.
        bandwidth_is_estimated: false,
        ..Limits::default()
    };
    let mut sim = Sim::with_limits(4, shards, &limits);
    let room = sim.room(0);
    (1..shards).for_each(|shard| sim.extend(shard, room));
    let people: Vec<_> = (0..3)
        .map(|n| sim.join(n % shards, room, Link::GOOD))
        .collect();
    sim.connect();
    let tracks: Vec<_> = people
        .iter()
        .map(|&person| {
            let small = sim.camera(person, 3);
            [small, sim.large_camera(person), sim.microphone(person)]
        })
        .collect();
    // A first picture may be caught small or large, depending on which word came first.
    sim.run(seconds(1));
    sim.wire = wire.map(sim::wire::Wire::new);
    for (n, &watcher) in people.iter().enumerate() {
        for (_, tracks) in tracks.iter().enumerate().filter(|(other, _)| *other != n) {
            for &track in tracks {
                sim.subscribe(watcher, track);
            }
        }
    }
    sim.run(seconds(3));
    let padding = (0..shards).map(|shard| sim.stats(shard).padding_out).sum();
    (sim, padding)
}

#[test]
fn however_it_travels_everybody_receives_the_same_byte_by_byte() {
    let (plain, padding) = received(1, 0, None);
    assert_eq!(padding, 0);
    let mut compared = 0;
    for shards in [1, 3] {
        for padding_bytes_max in [0, Limits::default().padding_bytes_max] {
            for segmentation in [Segmentation::Auto, Segmentation::Off] {
                let case = format!("{shards} workers, {padding_bytes_max}, {segmentation:?}");
                let (sim, padding) = received(shards, padding_bytes_max, Some(segmentation));
                assert_eq!(padding > 0, padding_bytes_max > 0, "{case}");
                let sent = sim.wire.as_ref().expect("it was given").sent;
                let is_joined = segmentation == Segmentation::Auto;
                assert_eq!(sent.runs > 1_000, is_joined, "{case}: {sent:?}");
                for (plain, client) in plain.clients.iter().zip(&sim.clients) {
                    assert_eq!(client.strangers, 0);
                    assert_eq!(client.sinks.len(), 6);
                    for (plain, sink) in plain.sinks.iter().zip(&client.sinks) {
                        assert!(plain.payloads.len() > 140);
                        let mut pairs = plain.payloads.iter().zip(&sink.payloads);
                        let differs = pairs.find(|(one, two)| one != two);
                        assert_eq!(differs.map(|(one, _)| one.0), None, "{case}");
                        assert_eq!(plain.payloads.len(), sink.payloads.len(), "{case}");
                        compared += 1;
                    }
                }
            }
        }
    }
    assert_eq!(compared, 8 * 3 * 6);
}

const INSIDE: &str = "CONSILIUM_TEST_INSIDE";

/// Runs `body` in a network of its own, in this binary started once more; where that is forbidden
/// it says so. `test` is the name of the test that calls.
fn in_a_network_of_its_own(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/in-a-namespace.sh");
    let allowed = Process::new(script).arg("true").output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        assert!(std::env::var_os("CI").is_none(), "a build machine can");
        eprintln!("SKIPPED: {test} (no network namespace can be made)");
        return;
    }
    let output = Process::new(script)
        .arg(std::env::current_exe().expect("the binary knows its path"))
        .args([test, "--exact", "--show-output", "--test-threads=1"])
        .env(INSIDE, "1")
        .output()
        .expect("the script starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "failed inside: {said}{errors}");
    assert!(said.contains("1 passed"), "no such test: {said}");
}

fn run(command: &str) {
    let mut words = command.split(' ');
    let status = Process::new(words.next().expect("a program"))
        .args(words)
        .status();
    assert!(status.is_ok_and(|status| status.success()), "{command}");
}

/// Sends ten datagrams of 1,200 bytes to each.
fn send(from: &mut Socket, to: &[std::net::SocketAddr]) -> sfu::net::udp::Sent {
    let arena = vec![7; 1_200 * 10 * to.len()];
    let place = |n: usize| Datagram {
        to: to[n / 10],
        range: n as u32 * 1_200..(n as u32 + 1) * 1_200,
    };
    let datagrams: Vec<_> = (0..10 * to.len()).map(place).collect();
    from.send_batch(&Batch {
        arena: &arena,
        datagrams: &datagrams,
    })
}

fn arrived(at: &std::net::UdpSocket) -> usize {
    let mut bytes = [0; 2_000];
    std::iter::from_fn(|| at.recv(&mut bytes).ok()).count()
}

fn receiver(ip: [u8; 4]) -> (std::net::UdpSocket, std::net::SocketAddr) {
    let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::from(ip), 0)).expect("free");
    socket.set_nonblocking(true).expect("it can");
    let address = socket.local_addr().expect("bound");
    (socket, address)
}

#[test]
fn a_path_that_becomes_narrower_loses_nothing_in_a_namespace() {
    in_a_network_of_its_own(
        "a_path_that_becomes_narrower_loses_nothing_in_a_namespace",
        || {
            let mut socket = Socket::bind(([0, 0, 0, 0], 0).into(), Segmentation::Auto, 16)
                .expect("a free port");
            let (narrow, to_narrow) = receiver([127, 0, 0, 2]);
            let (wide, to_wide) = receiver([198, 18, 0, 1]);
            let both = [to_narrow, to_wide];
            let sent = send(&mut socket, &both);
            assert_eq!((sent.datagrams, sent.runs, sent.runs_refused), (20, 2, 0));
            assert_eq!((arrived(&narrow), arrived(&wide)), (10, 10));
            // The way to one of them lets only 1,000 bytes through from now on.
            run("ip route add local 127.0.0.2 dev lo table local mtu lock 1000");
            let mut refused = 0;
            for _ in 0..20 {
                let sent = send(&mut socket, &both);
                refused += sent.runs_refused;
                assert_eq!(sent.datagrams + sent.refused, 20, "nothing is uncounted");
                let (narrow, wide) = (arrived(&narrow), arrived(&wide));
                assert_eq!(narrow + sent.refused as usize, 10);
                assert_eq!(wide, 10, "the other is not harmed");
            }
            assert_eq!(refused, 20, "each run of the narrow one was cut by hand");
            assert!(socket.is_segmenting(), "the wide path is used as before");
        },
    );
}

#[test]
fn a_receiver_behind_a_wall_costs_its_own_datagrams_in_a_namespace() {
    in_a_network_of_its_own(
        "a_receiver_behind_a_wall_costs_its_own_datagrams_in_a_namespace",
        || {
            let mut socket = Socket::bind(([0, 0, 0, 0], 0).into(), Segmentation::Auto, 16)
                .expect("a free port");
            let (good, to_good) = receiver([127, 0, 0, 1]);
            for (kind, wall) in [
                ("prohibit", [203, 0, 113, 1]),
                ("unreachable", [203, 0, 113, 2]),
                ("blackhole", [203, 0, 113, 3]),
            ] {
                let ip = std::net::Ipv4Addr::from(wall);
                run(&format!("ip route add {kind} {ip}"));
                let walled = (ip, 9).into();
                for _ in 0..20 {
                    let sent = send(&mut socket, &[walled, to_good, walled]);
                    assert_eq!((sent.datagrams, sent.blocked), (10, 0), "{kind}");
                    assert_eq!(sent.refused, 20, "{kind}");
                    assert_eq!(arrived(&good), 10, "{kind}: the other is not harmed");
                }
                assert!(socket.is_segmenting(), "{kind}");
            }
        },
    );
}

#[test]
fn a_full_send_buffer_is_given_a_millisecond_in_a_namespace() {
    in_a_network_of_its_own(
        "a_full_send_buffer_is_given_a_millisecond_in_a_namespace",
        || {
            let mut socket =
                Socket::bind(([0, 0, 0, 0], 0).into(), Segmentation::Off, 16).expect("a free port");
            // A device that lets one packet through in ten milliseconds and keeps all others.
            run("tc qdisc add dev clinic root tbf rate 1mbit burst 2000 limit 100000000");
            run("ip neigh add 198.18.0.9 lladdr 02:00:00:00:00:09 dev clinic");
            let (good, to_good) = receiver([127, 0, 0, 1]);
            let slow = ([198, 18, 0, 9], 9).into();
            let mut blocked = 0;
            let mut longest = Duration::ZERO;
            for _ in 0..100_000 {
                if blocked > 0 {
                    break;
                }
                let before = std::time::Instant::now();
                let sent = send(&mut socket, &[slow]);
                longest = longest.max(before.elapsed());
                blocked += sent.blocked;
                assert_eq!(sent.datagrams + sent.blocked, 10, "nothing is uncounted");
            }
            assert!(blocked > 0, "the buffer is full");
            assert!(longest < Duration::from_millis(200), "{longest:?}");
            // When it has drained it goes on.
            run("tc qdisc replace dev clinic root pfifo limit 1000");
            let sent = send(&mut socket, &[to_good, slow]);
            assert_eq!((sent.datagrams, sent.blocked), (20, 0));
            assert_eq!(arrived(&good), 10);
        },
    );
}
