//! Plans of what goes to the archive: whole, once, in the clear and with consent; and what a
//! recorder that does not keep up costs, which is never the call.
#![allow(
    clippy::disallowed_methods,
    reason = "a test chooses when virtual time begins"
)]

mod sim;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use sfu::config::Limits;
use sfu::id::{PublicationId, RoomId};
use sfu::media::{LayerWish, MediaKind};
use sfu::rtp::packet::Header;
use sfu::shard::command::Command;
use sfu::shard::event::EventKind;
use sfu::tap::{
    EndReason, Entry, Gap, GapReason, HeldBack, LayerChange, PICTURE_MAX, PictureSize,
    RecordingMemory, ReportEntry, TapMemory, TapReader, TapState, TrackEnd, TrackStart, tap,
};
use sim::Sim;
use sim::link::Link;
use sim::source::{OPUS, VP8};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A packet as it was read from the tap.
#[derive(Clone, Debug)]
struct Packet {
    publication: PublicationId,
    rank: u8,
    at: Instant,
    seq: u64,
    is_recovered: bool,
    starts_keyframe: bool,
    bytes: Vec<u8>,
}

/// What the recorder has read, in order.
#[derive(Clone, Debug)]
enum Read {
    Started(TrackStart),
    Layer(LayerChange),
    Packet(Packet),
    Report(ReportEntry),
    Ended(TrackEnd),
    HeldBack(HeldBack),
    Gap(Gap),
}

struct Recorder {
    memory: RecordingMemory,
    readers: Vec<TapReader>,
    read: Vec<Read>,
}

impl Recorder {
    fn new() -> Self {
        Self::within(&Limits::default())
    }

    fn within(limits: &Limits) -> Self {
        Self {
            memory: TapMemory::new(limits).recording(),
            readers: Vec::new(),
            read: Vec::new(),
        }
    }

    fn attach(&mut self, sim: &mut Sim, shard: usize, room: RoomId) {
        self.attach_up_to(PICTURE_MAX, sim, shard, room);
    }

    fn attach_up_to(
        &mut self,
        picture_max: PictureSize,
        sim: &mut Sim,
        shard: usize,
        room: RoomId,
    ) {
        let (tap, reader) = tap(sim.now, &self.memory).expect("memory for an arena");
        self.readers.push(reader);
        let tap = Box::new(tap);
        sim.direct(shard, room, Command::AttachTap { tap, picture_max });
    }

    fn drain(&mut self) {
        for reader in &mut self.readers {
            while let Some(entry) = reader.read() {
                self.read.push(match entry {
                    Entry::TrackStarted(start) => Read::Started(start.clone()),
                    Entry::LayerChanged(change) => Read::Layer(*change),
                    Entry::SenderReport(report) => Read::Report(report),
                    Entry::TrackEnded(end) => Read::Ended(*end),
                    Entry::HeldBack(held) => Read::HeldBack(*held),
                    Entry::Gap(gap) => Read::Gap(gap.clone()),
                    Entry::Rtp(packet) => Read::Packet(Packet {
                        publication: packet.publication,
                        rank: packet.rank,
                        at: packet.at,
                        seq: packet.seq.0,
                        is_recovered: packet.is_recovered,
                        starts_keyframe: packet.starts_keyframe,
                        bytes: packet.bytes.to_vec(),
                    }),
                });
            }
        }
    }

    /// Lets time pass while the recorder reads as it should.
    fn run(&mut self, sim: &mut Sim, span: Duration) {
        let end = sim.now + span;
        while sim.now < end {
            sim.run(Duration::from_millis(20).min(end - sim.now));
            self.drain();
        }
    }

    fn packets(&self) -> impl Iterator<Item = &Packet> {
        self.read.iter().filter_map(|read| match read {
            Read::Packet(packet) => Some(packet),
            _ => None,
        })
    }

    fn packets_of(&self, publication: PublicationId) -> impl Iterator<Item = &Packet> {
        let is_of = move |packet: &&Packet| packet.publication == publication;
        self.packets().filter(is_of)
    }

    fn gaps(&self) -> Vec<&Gap> {
        let mut gaps = Vec::new();
        for read in &self.read {
            if let Read::Gap(gap) = read {
                gaps.push(gap);
            }
        }
        gaps
    }

    fn ends(&self) -> Vec<TrackEnd> {
        let end = |read: &Read| match read {
            Read::Ended(end) => Some(*end),
            _ => None,
        };
        self.read.iter().filter_map(end).collect()
    }

    fn states(&self) -> Vec<TapState> {
        self.readers.iter().map(TapReader::state).collect()
    }

    /// What holds of every recording, whatever has happened to it.
    fn check(&self) {
        let mut open = BTreeMap::<PublicationId, (Option<u8>, BTreeSet<(u8, u64)>)>::new();
        for read in &self.read {
            match read {
                Read::Started(start) => {
                    let before = open.insert(start.publication, (None, BTreeSet::new()));
                    assert!(before.is_none(), "a track starts once");
                }
                Read::Ended(end) => {
                    assert!(open.remove(&end.publication).is_some(), "it had started");
                }
                Read::Layer(change) => {
                    open.get_mut(&change.publication).expect("started").0 = change.rank;
                }
                Read::Packet(packet) => {
                    let (rank, seen) = open.get_mut(&packet.publication).expect("started");
                    assert!(rank.is_some(), "a layer is named before its packets");
                    let header = Header::parse(&packet.bytes).expect("a packet");
                    assert_eq!(packet.bytes[0] & 0x20, 0, "no padding");
                    assert_eq!(header.sequence, packet.seq as u16);
                    assert!(
                        seen.insert((packet.rank, packet.seq)),
                        "a packet comes once"
                    );
                }
                Read::Report(report) => assert!(open.contains_key(&report.publication)),
                Read::HeldBack(held) => assert!(held.packets > 0),
                Read::Gap(gap) => assert!(gap.from <= gap.until && !gap.tracks.is_empty()),
            }
        }
    }

    /// Nothing is missing that no gap tells of.
    fn check_sums(&self) {
        let mut given = BTreeMap::<PublicationId, u64>::new();
        for end in self.ends() {
            *given.entry(end.publication).or_default() += end.packets;
        }
        let mut found = BTreeMap::<PublicationId, u64>::new();
        for packet in self.packets() {
            *found.entry(packet.publication).or_default() += 1;
        }
        for track in self.gaps().iter().flat_map(|gap| &gap.tracks) {
            *found.entry(track.publication).or_default() += track.packets;
        }
        assert_eq!(given, found);
    }
}

fn gate(sim: &mut Sim, client: usize, is_open: bool) {
    let transport = sim.clients[client].peer.id();
    sim.command(client, Command::SetTapGate { transport, is_open });
}

/// A doctor with a camera in three sizes and a microphone, watched by a specialist.
struct Consult {
    sim: Sim,
    room: RoomId,
    camera: PublicationId,
    microphone: PublicationId,
}

const DOCTOR: usize = 0;

fn consult(seed: u64) -> Consult {
    let mut sim = Sim::new(seed, 1);
    let room = sim.room(0);
    let doctor = sim.join(0, room, Link::GOOD);
    let specialist = sim.join(0, room, Link::GOOD);
    sim.connect();
    let (camera, microphone) = (sim.camera(doctor, 3), sim.microphone(doctor));
    sim.subscribe(specialist, camera);
    sim.subscribe(specialist, microphone);
    sim.clients[DOCTOR].sent = Some(Vec::new());
    Consult {
        sim,
        room,
        camera,
        microphone,
    }
}

/// What was sent of each source under each number, without padding.
fn sent(sim: &Sim, client: usize) -> BTreeMap<(u32, u16), Vec<u8>> {
    let sent = sim.clients[client].sent.as_ref().expect("it is kept");
    let strip = |packet: &Vec<u8>| {
        let header = Header::parse(packet).expect("a packet");
        let end = header.payload(packet).expect("a payload").end;
        let mut packet = packet[..end].to_vec();
        packet[0] &= !0x20;
        ((header.ssrc.0, header.sequence), packet)
    };
    sent.iter().map(strip).collect()
}

#[test]
fn what_is_shared_is_recorded_in_its_own_room_and_in_no_other() {
    let Consult {
        mut sim,
        room,
        camera,
        microphone,
    } = consult(41);
    let theatre = sim.room(0);
    let [mut at_home, mut there] = [Recorder::new(), Recorder::new()];
    // One tap was there before it is shared, one comes when it is.
    there.attach(&mut sim, 0, theatre);
    let student = sim.join(0, theatre, Link::GOOD);
    sim.connect();
    gate(&mut sim, student, true);
    gate(&mut sim, DOCTOR, true);
    for publication in [camera, microphone] {
        let name = sim.share(publication, theatre);
        sim.subscribe(student, name);
    }
    at_home.attach(&mut sim, 0, room);
    for _ in 0..3 {
        at_home.run(&mut sim, seconds(1));
        there.drain();
    }
    there.attach(&mut sim, 0, theatre);
    for _ in 0..3 {
        at_home.run(&mut sim, seconds(1));
        there.drain();
    }
    assert!(
        sim.clients[student].sinks[0].shown.len() > 100,
        "seen there"
    );
    assert!(sim.clients[student].sinks[1].received > 200, "and heard");
    assert_eq!(there.read.len(), 0, "nothing at all");
    for publication in [camera, microphone] {
        assert!(at_home.packets_of(publication).count() > 100);
    }
    // The room where it is seen has no say about it.
    let transport = sim.clients[DOCTOR].peer.id();
    let is_open = false;
    sim.direct(0, theatre, Command::SetTapGate { transport, is_open });
    assert!(sim.happened(|event| matches!(event, EventKind::Refused { .. })));
    let before = at_home.packets().count();
    at_home.run(&mut sim, seconds(1));
    assert!(at_home.packets().count() > before);
    at_home.check();
}

#[test]
fn without_an_open_gate_nothing_is_recorded() {
    let Consult { mut sim, room, .. } = consult(1);
    let nurse = sim.join(0, room, Link::GOOD);
    let patient = sim.camera(nurse, 1);
    sim.connect();
    gate(&mut sim, nurse, true);
    let mut recorder = Recorder::new();
    recorder.attach(&mut sim, 0, room);
    recorder.run(&mut sim, seconds(3));
    recorder.check();
    let recorded: BTreeSet<_> = recorder.packets().map(|p| p.publication).collect();
    assert_eq!(recorded, BTreeSet::from([patient]), "the nurse alone");
    assert!(recorder.packets_of(patient).count() > 80);
    assert!(sim.clients[1].sinks[0].shown.len() > 60, "the call goes on");

    sim.direct(0, room, Command::DetachTap);
    recorder.drain();
    let held: u64 = recorder
        .read
        .iter()
        .map(|read| match read {
            Read::HeldBack(held) => held.packets,
            _ => 0,
        })
        .sum();
    assert_eq!(held, sim.stats(0).tap_packets_held_back);
    assert!(held > 700, "{held} were there to be recorded");
    assert_eq!(recorder.states(), [TapState::Ended]);
    recorder.check_sums();
}

#[test]
fn a_withdrawal_counts_from_the_next_packet_and_a_return_begins_with_a_keyframe() {
    let Consult {
        mut sim,
        room,
        camera,
        ..
    } = consult(2);
    gate(&mut sim, DOCTOR, true);
    let mut recorder = Recorder::new();
    recorder.attach(&mut sim, 0, room);
    recorder.run(&mut sim, seconds(2));
    let withdrawn = sim.now;
    gate(&mut sim, DOCTOR, false);
    recorder.run(&mut sim, seconds(2));
    assert!(recorder.packets().count() > 200);
    assert!(recorder.packets().all(|packet| packet.at <= withdrawn));
    let ends = recorder.ends();
    assert_eq!(ends.len(), 2);
    assert!(ends.iter().all(|end| end.at == withdrawn));
    assert!(ends.iter().all(|end| end.reason == EndReason::GateClosed));
    recorder.check_sums();
    assert!(sim.stats(0).tap_packets_held_back > 300, "they came");

    let before = recorder.packets().count();
    gate(&mut sim, DOCTOR, true);
    let opened = sim.now;
    recorder.run(&mut sim, seconds(2));
    recorder.check();
    let mut after = recorder.packets().skip(before);
    let first = after.find(|packet| packet.publication == camera);
    let first = first.expect("it is recorded again");
    assert!(first.starts_keyframe && first.at - opened < seconds(1));
}

/// Everything that arrives of what is to be recorded is recorded as it was sent, by whatever way
/// it came.
fn records_what_was_sent(seed: u64, link: Link, pads: bool) -> Recorder {
    let Consult {
        mut sim,
        room,
        camera,
        microphone,
    } = consult(seed);
    for source in &mut sim.clients[DOCTOR].sources {
        source.pads = pads;
    }
    gate(&mut sim, DOCTOR, true);
    let mut recorder = Recorder::new();
    recorder.attach(&mut sim, 0, room);
    recorder.run(&mut sim, seconds(1));
    sim.clients[DOCTOR].link = link;
    recorder.run(&mut sim, seconds(10));
    sim.clients[DOCTOR].link = Link::GOOD;
    recorder.run(&mut sim, seconds(2));
    sim.direct(0, room, Command::DetachTap);
    recorder.drain();
    recorder.check();
    recorder.check_sums();
    assert_eq!(recorder.gaps(), Vec::<&Gap>::new());

    let sent = sent(&sim, DOCTOR);
    for packet in recorder.packets() {
        let header = Header::parse(&packet.bytes).expect("a packet");
        let original = &sent[&(header.ssrc.0, header.sequence)];
        let whole = Header::parse(original).expect("a packet");
        let payload = |header: &Header, bytes: &[u8]| bytes[header.len..].to_vec();
        assert_eq!(payload(&header, &packet.bytes), payload(&whole, original));
        assert_eq!(
            (header.payload_type, header.marker, header.timestamp),
            (whole.payload_type, whole.marker, whole.timestamp)
        );
        // What was sent again has the extensions of its second way, what overtook its keyframe none.
        if !packet.is_recovered && header.len > 12 {
            assert_eq!(&packet.bytes, original);
        }
    }
    for (publication, kind) in [(camera, MediaKind::Video), (microphone, MediaKind::Audio)] {
        let start = recorder.read.iter().find_map(|read| match read {
            Read::Started(start) if start.publication == publication => Some(start),
            _ => None,
        });
        let start = start.expect("it was announced");
        assert_eq!(start.params.kind, kind);
        let codec = start.params.codecs[0].payload_type.0;
        assert_eq!(codec, if kind == MediaKind::Audio { OPUS } else { VP8 });
        let reports = recorder.read.iter().filter(
            |read| matches!(read, Read::Report(report) if report.publication == publication),
        );
        assert!(reports.count() >= 8, "one a second");
    }
    recorder
}

/// How many numbers are missing between the packets of the largest picture.
fn holes(recorder: &Recorder) -> u64 {
    let numbers: BTreeSet<u64> = recorder
        .packets()
        .filter(|packet| packet.rank == 2)
        .map(|packet| packet.seq)
        .collect();
    let (first, last) = (numbers.first(), numbers.last());
    let (first, last) = (first.expect("pictures"), last.expect("pictures"));
    last - first + 1 - numbers.len() as u64
}

#[test]
fn what_was_sent_is_recorded() {
    let recorder = records_what_was_sent(3, Link::GOOD, false);
    assert_eq!(holes(&recorder), 0);
    assert!(recorder.packets().count() > 120 * 11 + 50 * 11);
    assert!(recorder.packets().all(|packet| !packet.is_recovered));
}

#[test]
fn what_was_lost_and_sent_again_is_recorded_once() {
    let recorder = records_what_was_sent(4, Link::lossy(10), false);
    let recovered = recorder.packets().filter(|packet| packet.is_recovered);
    assert!(recovered.count() > 60);
    let (holes, packets) = (holes(&recorder), recorder.packets().count() as u64);
    assert!(holes * 100 <= packets, "{holes} of {packets} never came");
}

#[test]
fn padding_of_clients_is_not_recorded() {
    let recorder = records_what_was_sent(5, Link::GOOD, true);
    assert_eq!(holes(&recorder), 0);
}

#[test]
fn doubled_and_overtaken_packets_are_recorded_once() {
    let link = Link {
        duplicate: 20,
        reorder: 30,
        ..Link::GOOD
    };
    let recorder = records_what_was_sent(6, link, true);
    assert_eq!(holes(&recorder), 0);
}

#[test]
fn padding_of_ours_is_not_recorded() {
    let mut sim = Sim::new(7, 1);
    let room = sim.room(0);
    let doctor = sim.join(0, room, Link::GOOD);
    let specialist = sim.join(0, room, Link::GOOD);
    sim.connect();
    for track in [sim.camera(doctor, 3), sim.large_camera(doctor)] {
        sim.subscribe(specialist, track);
    }
    sim.clients[doctor].sent = Some(Vec::new());
    gate(&mut sim, doctor, true);
    let mut recorder = Recorder::new();
    recorder.attach(&mut sim, 0, room);
    recorder.run(&mut sim, seconds(5));
    assert!(sim.stats(0).padding_out > 0, "there was some");
    let padded: usize = (sim.clients[specialist].sinks.iter())
        .map(|sink| sink.padded)
        .sum();
    assert!(padded > 50, "{padded} packets had it");
    recorder.check();
    let sent = sent(&sim, doctor);
    let mut recorded = 0;
    for packet in recorder.packets() {
        let header = Header::parse(&packet.bytes).expect("a packet");
        assert_eq!(packet.bytes, sent[&(header.ssrc.0, header.sequence)]);
        recorded += 1;
    }
    assert!(recorded > 500, "{recorded}");
}

/// What a participant receives, byte by byte, with a recorder that reads, one that never does, and
/// none.
fn received(recorder: Option<(&mut Recorder, bool)>) -> (Sim, Vec<Vec<u64>>) {
    let Consult { mut sim, room, .. } = consult(8);
    gate(&mut sim, DOCTOR, true);
    match recorder {
        Some((recorder, reads)) => {
            recorder.attach(&mut sim, 0, room);
            for _ in 0..400 {
                sim.run(Duration::from_millis(10));
                if reads {
                    recorder.drain();
                }
            }
        }
        None => sim.run(seconds(4)),
    }
    let digests = |sink: &sim::sink::Sink| sink.log.iter().map(|entry| entry.4).collect();
    let received = sim.clients[1].sinks.iter().map(digests).collect();
    (sim, received)
}

#[test]
fn a_recorder_that_does_not_keep_up_costs_the_recording_and_not_the_call() {
    let limits = Limits {
        tap_arena_bytes: 16 * 1024,
        tap_recording_bytes_max: 64 * 1024,
        ..Limits::default()
    };
    let (_, alone) = received(None);
    assert!(alone.iter().all(|packets| packets.len() > 190));
    let mut reading = Recorder::within(&limits);
    let (_, with_reader) = received(Some((&mut reading, true)));
    reading.check();
    assert_eq!(reading.gaps(), Vec::<&Gap>::new());
    assert_eq!(alone, with_reader, "a recorder is not noticed");

    let mut stuck = Recorder::within(&limits);
    let (mut sim, without_reader) = received(Some((&mut stuck, false)));
    assert_eq!(alone, without_reader, "nor is one that is stuck");
    assert_eq!(
        stuck.memory.used(),
        64 * 1024,
        "and it takes no more than it may"
    );
    let count = |sim: &Sim, is_it: fn(&EventKind) -> bool| {
        let events = sim.events.iter();
        events.filter(|(_, event)| is_it(&event.kind)).count()
    };
    let overflowed = |event: &EventKind| matches!(event, EventKind::TapOverflowed);
    let resumed = |event: &EventKind| matches!(event, EventKind::TapResumed);
    assert_eq!(count(&sim, overflowed), 1, "once, not per packet");
    assert_eq!(count(&sim, resumed), 0);
    let dropped = sim.stats(0).tap_packets_dropped;
    assert!(dropped > 300, "{dropped}");

    // It wakes up: what had waited is there, then the gap, then keyframes.
    let awake = sim.now;
    stuck.run(&mut sim, seconds(3));
    assert_eq!(count(&sim, resumed), 1);
    stuck.check();
    let gaps = stuck.gaps();
    assert_eq!(gaps.len(), 1);
    assert_eq!(gaps[0].reason, GapReason::RecordingMemory);
    let missing: u64 = gaps[0].tracks.iter().map(|track| track.packets).sum();
    assert_eq!(missing, dropped, "the gap tells of every one");
    assert_eq!(gaps[0].tracks.len(), 2);
    let place = stuck
        .read
        .iter()
        .position(|read| matches!(read, Read::Gap(_)));
    let (before, after) = stuck.read.split_at(place.expect("there is one"));
    let at = |read: &Read| match read {
        Read::Packet(packet) => Some(packet.at),
        _ => None,
    };
    let last_before = before.iter().filter_map(at).next_back();
    let first_after = after.iter().find_map(at);
    assert!(last_before.expect("packets") <= gaps[0].from);
    assert!(first_after.expect("packets") >= gaps[0].until);
    let heals = |read: &&Read| matches!(read, Read::Packet(p) if p.starts_keyframe);
    let keyframe = after.iter().find(heals).and_then(at);
    assert!(keyframe.expect("a keyframe") - awake < seconds(1));
    sim.direct(0, sim.clients[0].room, Command::DetachTap);
    stuck.drain();
    stuck.check_sums();
    assert_eq!(stuck.states(), [TapState::Ended]);
    drop(stuck.readers);
    assert_eq!(stuck.memory.used(), 0, "all is given back");
}

#[test]
fn all_recordings_together_have_a_bound_too() {
    let limits = Limits {
        tap_arena_bytes: 16 * 1024,
        tap_bytes_max: 32 * 1024,
        ..Limits::default()
    };
    let Consult { mut sim, room, .. } = consult(9);
    gate(&mut sim, DOCTOR, true);
    let mut recorder = Recorder::within(&limits);
    recorder.attach(&mut sim, 0, room);
    sim.run(seconds(3));
    sim.direct(0, room, Command::DetachTap);
    recorder.drain();
    recorder.check_sums();
    let gaps = recorder.gaps();
    assert_eq!(gaps.len(), 1, "told by the last arena");
    assert_eq!(gaps[0].reason, GapReason::ProcessMemory);

    let memory = TapMemory::new(&Limits {
        tap_bytes_max: 0,
        ..limits
    });
    let refused = tap(sim.now, &memory.recording()).err();
    assert_eq!(refused, Some("tap_bytes_max"));
}

#[test]
fn one_worker_and_three_give_the_same_recording_and_each_packet_once() {
    let play = |shards: usize| {
        // Nobody reports here, and how soon that is noticed differs from worker to worker.
        let limits = Limits {
            bandwidth_is_estimated: false,
            ..Limits::default()
        };
        let mut sim = Sim::with_limits(10, shards, &limits);
        let room = sim.room(0);
        (1..shards).for_each(|shard| sim.extend(shard, room));
        let people: Vec<_> = (0..6)
            .map(|n| sim.join(n % shards, room, Link::GOOD))
            .collect();
        sim.connect();
        let tracks: Vec<_> = (people.iter())
            .map(|&person| (sim.camera(person, 2), sim.microphone(person)))
            .collect();
        // A first picture may be caught small or large, depending on which word came first.
        sim.run(seconds(1));
        for &watcher in &people {
            for (n, (camera, microphone)) in tracks.iter().enumerate() {
                if people[n] != watcher {
                    sim.subscribe(watcher, *camera);
                    sim.subscribe(watcher, *microphone);
                }
            }
            gate(&mut sim, watcher, watcher != people[5]);
        }
        sim.run(seconds(1));
        let mut recorder = Recorder::new();
        (0..shards).for_each(|shard| recorder.attach(&mut sim, shard, room));
        recorder.run(&mut sim, seconds(5));
        for shard in 0..shards {
            sim.direct(shard, room, Command::DetachTap);
        }
        recorder.drain();
        recorder.check();
        recorder.check_sums();
        assert!(
            recorder
                .states()
                .iter()
                .all(|state| *state == TapState::Ended)
        );
        let mut by_track = BTreeMap::<_, Vec<_>>::new();
        for packet in recorder.packets() {
            let track = by_track.entry(packet.publication).or_default();
            track.push((packet.rank, packet.seq, sim::digest(&packet.bytes)));
        }
        let mirrors: u64 = (0..shards).map(|shard| sim.stats(shard).relays).sum();
        assert_eq!(
            mirrors,
            12 * (shards as u64 - 1),
            "who watches is elsewhere"
        );
        by_track
    };
    let (one, three) = (play(1), play(3));
    assert_eq!(one.len(), 10, "five of six agreed");
    assert!(one.values().all(|packets| packets.len() > 240));
    for (publication, packets) in &one {
        let differs = packets
            .iter()
            .zip(&three[publication])
            .find(|(a, b)| a != b);
        assert_eq!(differs, None, "of {publication}");
        assert_eq!(packets.len(), three[publication].len());
    }
    assert_eq!(three.len(), 10);
}

#[test]
fn the_largest_size_within_the_bound_is_recorded_and_changes_only_at_keyframes() {
    let Consult {
        mut sim,
        room,
        camera,
        ..
    } = consult(11);
    gate(&mut sim, DOCTOR, true);
    let mut recorder = Recorder::new();
    let size = |width, height| PictureSize { width, height };
    // Until all sizes are there.
    sim.run(seconds(1));
    recorder.attach_up_to(size(640, 360), &mut sim, 0, room);
    let stretch = |recorder: &mut Recorder, sim: &mut Sim| {
        recorder.run(sim, seconds(3));
        recorder.packets_of(camera).last().map(|packet| packet.rank)
    };
    assert_eq!(stretch(&mut recorder, &mut sim), Some(1));
    let whole = Command::SetTapWish {
        publication: camera,
        wish: Some(LayerWish::Best),
    };
    sim.command(DOCTOR, whole);
    assert_eq!(stretch(&mut recorder, &mut sim), Some(2));
    sim.clients[DOCTOR].sources[0].encodings[2].is_stopped = true;
    assert_eq!(stretch(&mut recorder, &mut sim), Some(1), "what is left");
    sim.clients[DOCTOR].sources[0].encodings[2].is_stopped = false;
    assert_eq!(stretch(&mut recorder, &mut sim), Some(2), "and back");
    let none = Command::SetTapWish {
        publication: camera,
        wish: Some(LayerWish::Paused),
    };
    let paused = sim.now;
    sim.command(DOCTOR, none);
    stretch(&mut recorder, &mut sim);
    assert!(
        recorder
            .packets_of(camera)
            .all(|packet| packet.at <= paused)
    );
    let usual = Command::SetTapWish {
        publication: camera,
        wish: None,
    };
    sim.command(DOCTOR, usual);
    assert_eq!(stretch(&mut recorder, &mut sim), Some(1));
    recorder.check();
    // Each change is told, with its size, and followed by a keyframe.
    let mut changes = Vec::new();
    let mut announced = None;
    for read in &recorder.read {
        match read {
            Read::Layer(change) if change.publication == camera => {
                changes.push(change.rank);
                announced = change.rank;
                let expected = change
                    .rank
                    .map_or(size(0, 0), |rank| size(320 << rank, 180 << rank));
                assert_eq!(change.size, expected);
            }
            Read::Packet(packet) if packet.publication == camera => {
                if let Some(rank) = announced.take() {
                    assert!(packet.starts_keyframe && packet.rank == rank);
                }
            }
            _ => {}
        }
    }
    let expected = [Some(1), Some(2), Some(1), Some(2), None, Some(1)];
    assert_eq!(changes, expected);
}

#[test]
fn a_muted_track_is_not_recorded_and_returns_with_a_keyframe() {
    let Consult {
        mut sim,
        room,
        camera,
        microphone,
    } = consult(12);
    gate(&mut sim, DOCTOR, true);
    let mut recorder = Recorder::new();
    recorder.attach(&mut sim, 0, room);
    recorder.run(&mut sim, seconds(2));
    let mute = |sim: &mut Sim, muted| {
        for publication in [camera, microphone] {
            sim.command(DOCTOR, Command::SetMuted { publication, muted });
        }
    };
    let muted = sim.now;
    mute(&mut sim, true);
    recorder.run(&mut sim, seconds(2));
    assert!(recorder.packets().all(|packet| packet.at <= muted));
    let before = recorder.packets().count();
    mute(&mut sim, false);
    recorder.run(&mut sim, seconds(2));
    recorder.check();
    for publication in [camera, microphone] {
        let mut after = recorder.packets().skip(before);
        let first = after.find(|packet| packet.publication == publication);
        let first = first.expect("it is recorded again");
        assert_eq!(first.starts_keyframe, publication == camera);
        assert!(first.at - muted < seconds(3));
    }
}

#[test]
fn a_recorded_picture_begins_anew_every_five_seconds() {
    let Consult {
        mut sim,
        room,
        camera,
        ..
    } = consult(13);
    gate(&mut sim, DOCTOR, true);
    // Until it is known that nobody reports, and the whole size is sent.
    sim.run(seconds(5));
    let asked = |sim: &Sim| -> usize {
        let encodings = sim.clients[DOCTOR].sources[0].encodings.iter();
        encodings.map(|encoding| encoding.keyframes_asked).sum()
    };
    let before = asked(&sim);
    sim.run(seconds(30));
    assert_eq!(asked(&sim), before, "nobody else asks");
    let mut recorder = Recorder::new();
    recorder.attach(&mut sim, 0, room);
    recorder.run(&mut sim, seconds(45));
    let for_it = asked(&sim) - before;
    assert!((8..=10).contains(&for_it), "{for_it} in 45 s");
    let keyframes: Vec<_> = recorder
        .packets_of(camera)
        .filter(|packet| packet.starts_keyframe)
        .map(|packet| packet.at)
        .collect();
    assert!(keyframes.len() >= 9);
    let longest = keyframes.windows(2).map(|pair| pair[1] - pair[0]).max();
    let longest = longest.expect("more than one");
    assert!(longest < Duration::from_millis(5_500), "{longest:?}");
}

#[test]
fn a_recorder_that_lost_something_gets_a_keyframe_of_every_picture() {
    let Consult {
        mut sim,
        room,
        camera,
        ..
    } = consult(18);
    gate(&mut sim, DOCTOR, true);
    sim.direct(0, room, Command::RefreshTap);
    let mut recorder = Recorder::new();
    recorder.attach(&mut sim, 0, room);
    recorder.run(&mut sim, seconds(4));
    let asked = sim.now;
    sim.direct(0, room, Command::RefreshTap);
    recorder.run(&mut sim, seconds(1));
    recorder.check();
    let mut packets = recorder.packets_of(camera);
    let keyframe = packets.find(|packet| packet.starts_keyframe && packet.at > asked);
    assert!(keyframe.is_some(), "long before the ten seconds are over");
}

#[test]
fn a_loss_that_is_not_made_good_is_followed_by_a_keyframe() {
    let Consult {
        mut sim,
        room,
        camera,
        ..
    } = consult(14);
    // Nobody watches, so nobody else asks.
    sim.clients[1].sinks.clear();
    gate(&mut sim, DOCTOR, true);
    let mut recorder = Recorder::new();
    recorder.attach(&mut sim, 0, room);
    recorder.run(&mut sim, seconds(3));
    sim.clients[DOCTOR].link = Link::lossy(100);
    recorder.run(&mut sim, Duration::from_millis(150));
    sim.clients[DOCTOR].link = Link::GOOD;
    for encoding in &mut sim.clients[DOCTOR].sources[0].encodings {
        encoding.forget_sent();
    }
    let lost = sim.now;
    recorder.run(&mut sim, seconds(4));
    let mut after = recorder
        .packets_of(camera)
        .filter(|packet| packet.at > lost);
    let keyframe = after.find(|packet| packet.starts_keyframe);
    let wait = keyframe.expect("a keyframe").at - lost;
    assert!(wait < seconds(2), "{wait:?}");
    assert!(holes(&recorder) > 5, "packets were really lost");
}

#[test]
fn a_recorder_that_is_gone_is_noticed_and_the_next_one_gets_all() {
    let Consult { mut sim, room, .. } = consult(15);
    gate(&mut sim, DOCTOR, true);
    let mut recorder = Recorder::new();
    recorder.attach(&mut sim, 0, room);
    recorder.run(&mut sim, seconds(1));
    assert_eq!(sim.stats(0).taps, 1);
    drop(recorder);
    sim.run(seconds(1));
    assert!(sim.happened(|event| matches!(event, EventKind::TapLost)));
    assert_eq!(sim.stats(0).taps, 0);
    let mut next = Recorder::new();
    next.attach(&mut sim, 0, room);
    next.run(&mut sim, seconds(2));
    next.check();
    assert!(next.packets().count() > 200);

    // One that replaces another ends it, and a worker that forgets everything is told apart.
    next.attach(&mut sim, 0, room);
    next.run(&mut sim, seconds(1));
    assert_eq!(next.states(), [TapState::Ended, TapState::Live]);
    sim.forget(0);
    next.drain();
    assert_eq!(next.states(), [TapState::Ended, TapState::Lost]);
}

#[test]
fn who_goes_over_to_another_room_is_recorded_there_only_once_its_gate_is_open() {
    let Consult {
        mut sim,
        room,
        camera,
        microphone,
    } = consult(17);
    let other = sim.room(0);
    let mut recorders = [room, other].map(|room| {
        let mut recorder = Recorder::new();
        recorder.attach(&mut sim, 0, room);
        recorder
    });
    gate(&mut sim, DOCTOR, true);
    recorders[0].run(&mut sim, seconds(1));
    assert!(recorders[0].packets_of(camera).count() > 20);
    // The microphone is not mentioned and ends.
    let name = sim.move_over(DOCTOR, other, camera);
    sim.run(Duration::from_millis(20));
    recorders[0].drain();
    let before = recorders[0].packets().count();
    sim.run(seconds(1));
    recorders.iter_mut().for_each(Recorder::drain);
    assert_eq!(recorders[0].packets().count(), before);
    let ends = recorders[0].ends();
    let ends: BTreeMap<_, _> = ends.iter().map(|e| (e.publication, e.reason)).collect();
    let ended = EndReason::Unpublished;
    assert_eq!(ends, BTreeMap::from([(camera, ended), (microphone, ended)]));
    assert_eq!(recorders[1].packets().count(), 0, "nobody has agreed there");
    gate(&mut sim, DOCTOR, true);
    recorders[1].run(&mut sim, seconds(1));
    let first = recorders[1].packets_of(name).next().expect("recorded");
    assert!(first.starts_keyframe);
    recorders.iter().for_each(Recorder::check);
}

#[test]
fn what_ends_with_its_room_or_participant_is_told() {
    let Consult { mut sim, room, .. } = consult(16);
    let nurse = sim.join(0, room, Link::GOOD);
    let patient = sim.camera(nurse, 1);
    sim.connect();
    let mut recorder = Recorder::new();
    recorder.attach(&mut sim, 0, room);
    for client in [DOCTOR, nurse] {
        gate(&mut sim, client, true);
    }
    recorder.run(&mut sim, seconds(1));
    let transport = sim.clients[nurse].peer.id();
    sim.command(nurse, Command::RemoveTransport { transport });
    recorder.run(&mut sim, seconds(1));
    let ends = recorder.ends();
    assert_eq!(ends.len(), 1);
    assert_eq!(
        (ends[0].publication, ends[0].reason),
        (patient, EndReason::Unpublished)
    );
    sim.direct(0, room, Command::CloseRoom);
    recorder.drain();
    recorder.check();
    recorder.check_sums();
    assert_eq!(recorder.ends().len(), 3);
    assert_eq!(recorder.states(), [TapState::Ended]);
    assert_eq!((sim.stats(0).taps, sim.stats(0).rooms), (0, 0));
}
