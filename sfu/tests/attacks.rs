//! Attacks beside a live call, in virtual time, where every packet can be counted.
//!
//! Each test sends one kind of malice at a rate that no honest client has, and then asks two things:
//! that it met its bound, and that those who are in a call of their own have noticed nothing. The
//! table of all attacks with their tests is in `docs/attacks.md`.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests choose when virtual time begins"
)]

mod sim;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sfu::config::Limits;
use sfu::error::Reject;
use sfu::id::TransportId;
use sfu::rtp::rtcp::feedback::append_nack;
use sfu::rtp::rtcp::report::{ReportBlock, append_bye, append_receiver_report};
use sfu::shard::command::Command;
use sfu::unit::Ssrc;
use sim::Sim;
use sim::link::Link;
use sim::peer::{Sctp, SimPeer};
use sim::source::{EXT_MID, EXT_RID, OPUS, VP8, packet};

const ATTACKER: &str = "203.0.113.66:666";

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn attacker() -> SocketAddr {
    ATTACKER.parse().expect("an address")
}

/// Four who see and hear each other in a room of their own: whom an attack must not harm.
struct Call {
    people: Vec<usize>,
    from: Instant,
    lost: Vec<i32>,
}

impl Call {
    fn begin(sim: &mut Sim) -> Self {
        let room = sim.room(0);
        let people: Vec<_> = (0..4).map(|_| sim.join(0, room, Link::GOOD)).collect();
        let tracks: Vec<_> = people
            .iter()
            .map(|&person| [sim.camera(person, 1), sim.microphone(person)])
            .collect();
        for (n, &person) in people.iter().enumerate() {
            for (other, tracks) in tracks.iter().enumerate() {
                if n != other {
                    for &track in tracks {
                        sim.subscribe(person, track);
                    }
                }
            }
        }
        sim.connect();
        sim.run(seconds(2));
        let (from, lost) = (sim.now, Self::lost(sim, &people));
        Self { people, from, lost }
    }

    /// Packets that each sink misses.
    fn lost(sim: &Sim, people: &[usize]) -> Vec<i32> {
        let sinks = people.iter().flat_map(|&one| &sim.clients[one].sinks);
        sinks.map(|sink| sink.reception().1).collect()
    }

    /// Nothing was lost, nothing stood still, nobody had to come again.
    fn assert_unharmed(&self, sim: &Sim) {
        assert_eq!(Self::lost(sim, &self.people), self.lost);
        let due = (sim.now - self.from).as_millis() as usize;
        for &person in &self.people {
            let client = &sim.clients[person];
            assert!(!client.is_closed, "{person} is out");
            assert_eq!(client.sinks.len(), 6);
            for sink in &client.sinks {
                let freeze = sink.longest_freeze(self.from, sim.now);
                assert!(freeze < Duration::from_millis(150), "{freeze:?}");
                let shown = sink.shown_since(self.from).count();
                let expected = due / if sink.is_audio { 20 } else { 34 };
                assert!(shown + 5 > expected, "{shown} of {expected}");
            }
        }
    }
}

/// Two in another room; returns the one who attacks and the one who watches him.
fn insiders(sim: &mut Sim) -> (usize, usize) {
    let room = sim.room(0);
    (sim.join(0, room, Link::GOOD), sim.join(0, room, Link::GOOD))
}

/// A STUN attribute, padded.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::from(kind.to_be_bytes());
    out.extend((value.len() as u16).to_be_bytes());
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

fn binding_request(attributes: &[Vec<u8>]) -> Vec<u8> {
    let body = attributes.concat();
    let mut out = vec![0, 1];
    out.extend((body.len() as u16).to_be_bytes());
    out.extend([0x21, 0x12, 0xa4, 0x42]);
    out.extend([7; 12]);
    out.extend(body);
    out
}

#[test]
fn a_flood_of_bad_checks_is_answered_with_nothing() {
    let mut sim = Sim::new(301, 1);
    let call = Call::begin(&mut sim);
    let victim = &sim.clients[call.people[0]].peer;
    let good = victim.check(true);
    let username = &good[24..24 + usize::from(good[23])];
    let wrong_password = victim.check_signed_with("a password that nobody has");
    let mut wrong_fingerprint = good.clone();
    *wrong_fingerprint.last_mut().expect("long") ^= 1;
    let mut lying = good.clone();
    lying[2..4].copy_from_slice(&[0x7f, 0xfc]);
    let stranger = SimPeer::new(sim.now, TransportId(77_777), attacker(), Sctp::None);
    let bad = [
        wrong_password,
        wrong_fingerprint,
        lying,
        stranger.check(true),
        binding_request(&[]),
        binding_request(&[attribute(6, username)]),
        binding_request(&[attribute(6, username), attribute(8, &[0; 20])]),
        binding_request(&[attribute(6, &[b'u'; 513])]),
        binding_request(&[attribute(0x7fff, &[0; 1_300])]),
        binding_request(&vec![attribute(0x7ffe, &[]); 300]),
        binding_request(&[attribute(6, username), attribute(8, &[])]),
        Vec::new(),
    ];
    let before = sim.stats(0);
    let (mut sent, mut bytes) = (0_u64, 0);
    // Ten thousand a second, for ten seconds.
    for _ in 0..10_000 {
        for _ in 0..10 {
            let datagram = &bad[sent as usize % bad.len()];
            sim.inject(0, attacker(), datagram);
            sent += 1;
            bytes += datagram.len();
        }
        sim.run(Duration::from_millis(1));
    }
    let answered: usize = sim.astray.iter().map(|(_, reply)| reply.len()).sum();
    let replies = sim.astray.len();
    eprintln!("{sent} bad checks of {bytes} bytes, {replies} replies of {answered} bytes");
    assert_eq!(replies, 0, "whoever has no password is not even told so");
    let after = sim.stats(0);
    let all: u64 = after.rejects.iter().sum::<u64>() - before.rejects.iter().sum::<u64>();
    assert_eq!(all, sent, "every one is explained");
    assert_eq!(
        after.slabs_used / 64,
        before.slabs_used / 64,
        "nothing is kept"
    );
    call.assert_unharmed(&sim);
}

#[test]
fn a_thousand_of_a_thousand_join_while_strangers_shake_hands() {
    let mut sim = Sim::new(302, 1);
    let call = Call::begin(&mut sim);
    let hello = SimPeer::client_hello(sim.now);
    let strangers: Vec<SocketAddr> = (0..10).map(|n| ([203, 0, 113, n], 40_000).into()).collect();
    let (mut spoofed, mut refused) = (0, 0);
    for round in 0..20 {
        let room = sim.room(0);
        let joining: Vec<_> = (0..50)
            .map(|n| {
                let address = ([198, 51, 100, n], 10_000 + round).into();
                sim.join_from(address, 0, room, Link::GOOD)
            })
            .collect();
        let before = sim.rejected(0, Reject::SourceUnvalidated);
        // A thousand a second, before, between and after the flights of those who really come.
        for _ in 0..100 {
            for stranger in &strangers {
                sim.inject(0, *stranger, &hello);
                spoofed += 1;
            }
            sim.run(Duration::from_millis(10));
        }
        for one in joining {
            assert!(sim.clients[one].connected_at.is_some(), "round {round}");
        }
        refused += sim.rejected(0, Reject::SourceUnvalidated) - before;
        sim.direct(0, room, Command::CloseRoom);
        sim.run(Duration::from_millis(50));
        sim.clients.truncate(4);
    }
    assert_eq!(refused, spoofed);
    let answered = sim.astray.iter().any(|(to, _)| strangers.contains(to));
    assert!(!answered, "strangers are not answered");
    call.assert_unharmed(&sim);
}

#[test]
fn a_check_without_the_password_moves_no_media() {
    let mut sim = Sim::new(303, 1);
    let call = Call::begin(&mut sim);
    let victim = &sim.clients[call.people[0]].peer;
    let forged = victim.check_signed_with("a password that nobody has");
    let recent: Vec<_> = sim.clients[call.people[0]].recent.iter().cloned().collect();
    for _ in 0..500 {
        sim.inject(0, attacker(), &forged);
        // What was really sent, from elsewhere.
        for datagram in recent.iter().filter(|one| one[0] > 3) {
            sim.inject(0, attacker(), datagram);
        }
        sim.run(Duration::from_millis(10));
    }
    assert!(sim.astray.is_empty(), "nothing goes to him");
    call.assert_unharmed(&sim);
}

#[test]
fn who_sends_ten_times_his_rate_with_good_keys_harms_nobody() {
    let mut sim = Sim::new(304, 1);
    let call = Call::begin(&mut sim);
    let (flooder, watcher) = insiders(&mut sim);
    let voice = sim.microphone(flooder);
    sim.subscribe(watcher, voice);
    sim.connect();
    sim.run(seconds(1));
    let before = sim.stats(0);
    // Fifty thousand sounds of 900 bytes a second, each of them good.
    let source = &mut sim.clients[flooder].sources[0];
    source.interval = Duration::from_micros(20);
    source.encodings[0].filler = 900;
    sim.run(seconds(1));
    sim.clients[flooder].sources[0].interval = Duration::from_millis(20);
    let after = sim.stats(0);
    let policed = after.rejected(Reject::TooManyPackets) - before.rejected(Reject::TooManyPackets);
    eprintln!("{policed} of 50,000 packets were one too many");
    assert!(policed >= 38_000, "{policed}");
    assert!(after.slabs_used < before.slabs_used + 1_100);
    call.assert_unharmed(&sim);
}

#[test]
fn who_borrows_the_sources_of_others_changes_nothing_of_theirs() {
    let mut sim = Sim::new(305, 1);
    let room = sim.room(0);
    let people: Vec<_> = (0..3).map(|_| sim.join(0, room, Link::GOOD)).collect();
    let [liar, doctor, nurse] = people[..] else {
        unreachable!("three have joined")
    };
    let tracks = [sim.camera(doctor, 3), sim.microphone(doctor)];
    for track in tracks {
        sim.subscribe(nurse, track);
    }
    // He has a section of his own, over which nothing comes.
    sim.microphone(liar);
    sim.clients[liar].sources[0].encodings[0].is_stopped = true;
    sim.connect();
    sim.run(seconds(2));
    let (from, before) = (sim.now, sim.stats(0));
    let theirs: Vec<_> = sim.clients[doctor]
        .sources
        .iter()
        .flat_map(|source| {
            let of = |encoding: &sim::source::Encoding| {
                (
                    encoding.ssrc,
                    source.mid.clone(),
                    encoding.rid,
                    source.is_audio,
                )
            };
            source.encodings.iter().map(of).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(theirs.len(), 4);
    let mut sent = 0;
    for round in 0..500_u16 {
        for (ssrc, mid, rid, is_audio) in &theirs {
            let mut extensions: Vec<(u8, &[u8])> = vec![(EXT_MID, mid.as_bytes())];
            extensions.extend(rid.map(|rid| (EXT_RID, rid.as_bytes())));
            let payload_type = if *is_audio { OPUS } else { VP8 };
            let lie = packet((payload_type, true), round, 0, *ssrc, &extensions, b"a lie");
            sim.clients[liar].peer.send_rtp(&lie);
            sent += 1;
        }
        let mut goodbye = Vec::new();
        theirs
            .iter()
            .for_each(|(ssrc, ..)| append_bye(&mut goodbye, Ssrc(*ssrc)));
        sim.clients[liar].peer.send_rtcp(&goodbye);
        sim.run(Duration::from_millis(10));
    }
    sim.run(Duration::from_millis(100));
    let after = sim.stats(0);
    let unknown = after.rejected(Reject::UnknownSource) - before.rejected(Reject::UnknownSource);
    assert_eq!(unknown, sent, "his packets are of no track of his");
    let client = &sim.clients[nurse];
    assert_eq!(client.strangers, 0);
    assert_eq!(client.asked.goodbyes, 0, "goodbyes are not passed on");
    for sink in &client.sinks {
        let freeze = sink.longest_freeze(from, sim.now);
        assert!(freeze < Duration::from_millis(150), "{freeze:?}");
        // A changed payload would have failed where it is read.
        assert!(sink.shown_since(from).count() > 150);
    }
}

#[test]
fn absurd_feedback_costs_at_most_a_fifth_of_what_is_sent_and_nobody_else_anything() {
    let mut sim = Sim::new(306, 1);
    let call = Call::begin(&mut sim);
    let (doctor, liar) = insiders(&mut sim);
    let camera = sim.large_camera(doctor);
    sim.subscribe(liar, camera);
    sim.connect();
    sim.run(seconds(2));
    let before = sim.stats(0);
    let (received, repaired) = counted(&sim, liar);
    let ssrc = sim.clients[liar].sinks[0].ssrc;
    let keyframes = sim.clients[doctor].asked.keyframes;
    for round in 0..500_u32 {
        let mut compound = Vec::new();
        // Ten thousand numbers, five hundred times.
        let first = (round * 7_919) as u16;
        let numbers = (0..10_000_u16).map(|n| first.wrapping_add(n));
        append_nack(&mut compound, Ssrc(1), Ssrc(ssrc), numbers);
        for piece in compound.chunks(1_100 / 4 * 4) {
            sim.clients[liar].peer.send_rtcp(&whole(piece));
        }
        // No bandwidth, all of it, and more than there are numbers for; packets that were never
        // sent, arriving at times that never were; reports of everything lost.
        for (exponent, mantissa) in [(0, 0), (63, (1 << 18) - 1), (round as u8 % 64, 1)] {
            sim.clients[liar]
                .peer
                .send_rtcp(&remb(ssrc, exponent, mantissa));
        }
        sim.clients[liar]
            .peer
            .send_rtcp(&arrivals(ssrc, round as u16));
        let mut report = Vec::new();
        let block = ReportBlock {
            ssrc: Ssrc(ssrc),
            fraction_lost: 255,
            lost: i32::MAX >> 8,
            highest: u32::MAX,
            jitter: u32::MAX,
            last_report: u32::MAX,
            delay: u32::MAX,
        };
        append_receiver_report(&mut report, Ssrc(1), &[block]);
        sim.clients[liar].peer.send_rtcp(&report);
        sim.run(Duration::from_millis(10));
    }
    let after = sim.stats(0);
    let (received_now, repaired_now) = counted(&sim, liar);
    let (sent, resent) = (received_now - received, repaired_now - repaired);
    eprintln!("{sent} packets, {resent} retransmissions");
    // A fifth of all that he was ever sent, and 64 KB that everybody has at the start.
    let percent = Limits::default().resend_percent_max as usize;
    let bound = received_now * percent / 100 + 75;
    assert!((1..=bound).contains(&resent), "{resent}, {bound} at most");
    let asked = sim.clients[doctor].asked.keyframes - keyframes;
    assert!(asked <= 11, "{asked} keyframes in five seconds");
    assert!(after.slabs_used < before.slabs_used + 600);
    call.assert_unharmed(&sim);
    // Once he is honest again he is served again.
    let from = sim.now;
    sim.run(seconds(10));
    let seen = sim.clients[liar].sinks[0].shown_since(from).count();
    assert!(seen > 20, "{seen} pictures");
}

fn counted(sim: &Sim, client: usize) -> (usize, usize) {
    let sink = &sim.clients[client].sinks[0];
    (sink.received, sink.repaired)
}

/// A piece of a long NACK as a packet of its own.
fn whole(piece: &[u8]) -> Vec<u8> {
    if piece[1] == 205 && piece[0] & 0x1f == 1 {
        let mut first = piece.to_vec();
        let words = (first.len() / 4 - 1) as u16;
        first[2..4].copy_from_slice(&words.to_be_bytes());
        return first;
    }
    let mut out = vec![0x81, 205];
    out.extend((2 + piece.len() as u16 / 4).to_be_bytes());
    out.extend([0, 0, 0, 1, 0, 0, 0, 9]);
    out.extend(piece);
    out
}

/// draft-alvestrand-rmcat-remb section 2.2.
fn remb(ssrc: u32, exponent: u8, mantissa: u32) -> Vec<u8> {
    let mut out = vec![0x8f, 206, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0];
    out.extend(b"REMB");
    let word = 1 << 24 | u32::from(exponent) << 18 | mantissa;
    out.extend(word.to_be_bytes());
    out.extend(ssrc.to_be_bytes());
    out
}

/// A report of arrivals that cannot be (draft-holmer-rmcat-transport-wide-cc-extensions-01 section
/// 3.1): numbers far ahead, large negative steps.
fn arrivals(ssrc: u32, base: u16) -> Vec<u8> {
    let mut out = vec![0x8f, 205, 0, 7, 0, 0, 0, 1];
    out.extend(ssrc.to_be_bytes());
    out.extend(base.wrapping_mul(9_973).to_be_bytes());
    out.extend(4_u16.to_be_bytes());
    out.extend([0x7f, 0xff, 0xff, base as u8]);
    // Four with large steps.
    out.extend([0x40 | 4, 0]);
    out.extend([0x80, 0, 0x80, 0, 0x7f, 0xff, 0x80, 0]);
    out.extend([0, 0]);
    out
}
