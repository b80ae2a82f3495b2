//! Whole rooms in virtual time: shards, clients with a complete peer stack, and the links between.
//!
//! One seed decides everything that the network does. Time jumps from one event to the next, so a
//! minute of a call costs seconds. The simulation plays the part of signalling: it gives commands
//! and collects events. Keys are real, so two runs differ in one thing that shows: how long a shard
//! waits before it repeats a flight of a handshake that the network has lost.
#![allow(
    dead_code,
    reason = "every test binary that includes this uses another part of it"
)]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test chooses when virtual time begins"
)]

pub(crate) mod client;
pub(crate) mod link;
pub(crate) mod peer;
pub(crate) mod sink;
pub(crate) mod source;
pub(crate) mod wire;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sfu::config::Limits;
use sfu::error::Reject;
use sfu::id::{Epoch, PublicationId, RoomId, SubscriptionId, WorkerId};
use sfu::media::{
    Codec, CodecParams, LayerParams, LayerWish, MediaKind, Mid, PublicationParams, Rid,
    SubscriptionParams,
};
use sfu::relay::frame;
use sfu::shard::command::{Command, DataChannel, Directive};
use sfu::shard::event::{Event, EventKind};
use sfu::shard::{Output, Shard};
use sfu::slab::{SLAB_BYTES, SlabBuffer, new_buffer};
use sfu::stats::StatsSnapshot;
use sfu::transport::dtls::Identity;
use sfu::transport::params::ExtensionIds;
use sfu::unit::{Bitrate, NtpTime, PayloadType, SeqNo, Ssrc};

use self::client::SimClient;
use self::link::{Dice, Faults, Link};
use self::sink::Sink;
use self::source::{Encoding, OPUS, RED, Source, VP8, VP8_RTX};
use self::wire::Wire;

pub(crate) const RIDS: [&str; 3] = ["q", "h", "f"];

/// What a socket keeps for a worker that does not read: 200 KB, as many kernels are set.
const SOCKET_DATAGRAMS: usize = 256;
/// What a lane keeps: `Limits::relay_frames_max`.
const LANE_FRAMES: usize = 1_024;

enum Delivery {
    ToShard(usize, SocketAddr, Vec<u8>),
    ToClient(usize, Vec<u8>),
    Relay(usize, usize, Vec<u8>),
}

/// A simulated deployment.
pub(crate) struct Sim {
    pub(crate) start: Instant,
    pub(crate) now: Instant,
    pub(crate) shards: Vec<Shard>,
    pub(crate) clients: Vec<SimClient>,
    pub(crate) events: Vec<(Instant, Event)>,
    /// What those who join number.
    pub(crate) extensions: ExtensionIds,
    /// What the server sent to addresses that no client has.
    pub(crate) astray: Vec<(SocketAddr, Vec<u8>)>,
    /// What was sealed under each number of each source, for each receiver.
    sealed: std::collections::HashMap<(usize, SocketAddr, u32, SeqNo), u64>,
    newest: std::collections::HashMap<(usize, SocketAddr, u32), SeqNo>,
    /// How often a number was used again, for the same bytes.
    pub(crate) repeated: usize,
    seed: u64,
    dice: Dice,
    queue: BinaryHeap<Reverse<(Instant, u64)>>,
    under_way: std::collections::HashMap<u64, Delivery>,
    numbers: u64,
    publications: Vec<(PublicationId, usize, PublicationParams)>,
    /// What the links between shards do to frames, and what they have done.
    pub(crate) relay: Link,
    pub(crate) relayed: Faults,
    relay_buffer: SlabBuffer,
    relay_dice: Dice,
    deliveries: u64,
    /// A shard that does nothing for the moment.
    stalled: Option<usize>,
    /// What waits for it meanwhile, and how many datagrams and frames found no room.
    waiting: Vec<Delivery>,
    pub(crate) overrun: (usize, usize),
    /// What is sent really goes through sockets of the kernel, if there are some.
    pub(crate) wire: Option<Wire>,
}

impl Sim {
    /// `shards` empty shards and no client.
    pub(crate) fn new(seed: u64, shards: usize) -> Self {
        Self::with_limits(seed, shards, &Limits::default())
    }

    pub(crate) fn with_limits(seed: u64, shards: usize, limits: &Limits) -> Self {
        let now = Instant::now();
        let identity = Identity::generate();
        let shards = (0..shards)
            .map(|n| {
                let seed = [(seed as u8).wrapping_add(n as u8); 32];
                Shard::new(
                    now,
                    NtpTime(9 << 32),
                    seed,
                    identity.clone(),
                    limits.clone(),
                )
            })
            .collect();
        Self {
            start: now,
            now,
            shards,
            clients: Vec::new(),
            events: Vec::new(),
            extensions: extensions(),
            astray: Vec::new(),
            sealed: std::collections::HashMap::new(),
            newest: std::collections::HashMap::new(),
            repeated: 0,
            seed,
            dice: Dice(seed),
            queue: BinaryHeap::new(),
            under_way: std::collections::HashMap::new(),
            numbers: 0,
            publications: Vec::new(),
            relay: Link {
                delay: Duration::ZERO,
                ..Link::GOOD
            },
            relayed: Faults::default(),
            relay_buffer: new_buffer(),
            relay_dice: Dice(!seed),
            deliveries: 0,
            stalled: None,
            waiting: Vec::new(),
            overrun: (0, 0),
            wire: None,
        }
    }

    /// Opens a room on a shard.
    pub(crate) fn room(&mut self, shard: usize) -> RoomId {
        let room = RoomId(self.number());
        self.direct(shard, room, Command::OpenRoom);
        room
    }

    /// Opens a room on another shard too, for participants who are to be there.
    pub(crate) fn extend(&mut self, shard: usize, room: RoomId) {
        self.direct(shard, room, Command::OpenRoom);
    }

    /// A shard loses everything it knows, as after a bug of ours.
    pub(crate) fn forget(&mut self, shard: usize) {
        self.shards[shard] = Shard::new(
            self.now,
            NtpTime(9 << 32).after(self.now - self.start),
            [99; 32],
            Identity::generate(),
            Limits::default(),
        );
        for client in self.clients.iter_mut().filter(|one| one.shard == shard) {
            client.is_closed = true;
            client.sources.clear();
        }
    }

    /// What was agreed about a publication.
    pub(crate) fn params_of(&self, publication: PublicationId) -> PublicationParams {
        let found = self.publications.iter().find(|(id, ..)| *id == publication);
        found.expect("published before").2.clone()
    }

    /// A participant joins; connecting takes a while.
    pub(crate) fn join(&mut self, shard: usize, room: RoomId, link: Link) -> usize {
        let number = self.numbers + 1;
        let ip = [192, 0, 2, 1 + (number % 250) as u8];
        self.join_from((ip, 4000 + number as u16).into(), shard, room, link)
    }

    /// A participant joins from this address.
    pub(crate) fn join_from(
        &mut self,
        address: SocketAddr,
        shard: usize,
        room: RoomId,
        link: Link,
    ) -> usize {
        let number = self.number();
        let client = SimClient::new(self.now, room, shard, number, address, link);
        let command = Command::AddTransport {
            transport: client.peer.id(),
            params: Box::new(client.peer.params(self.extensions)),
        };
        self.clients.push(client);
        self.direct(shard, room, command);
        self.clients.len() - 1
    }

    /// Publishes a camera with so many encodings, found by their header extensions alone.
    pub(crate) fn camera(&mut self, client: usize, encodings: usize) -> PublicationId {
        let number = self.number();
        let packets = [1, 2, 4];
        let encodings: Vec<_> = (0..encodings)
            .map(|rank| {
                let rid = (encodings > 1).then_some(RIDS[rank]);
                let ssrc = 10_000 + number as u32 * 10 + rank as u32;
                let start = (self.dice.roll() % 500) as u16 + 1;
                Encoding::new(ssrc, rid, packets[rank], start)
            })
            .collect();
        let layers = (encodings.iter().zip([(320, 180), (640, 360), (1280, 720)]))
            .map(|(encoding, (width, height))| layer(encoding, width, height))
            .collect();
        let interval = Duration::from_micros(33_333);
        self.publish(client, number, false, encodings, layers, interval)
    }

    /// Publishes a camera with one encoding of four packets of 1,000 bytes a picture.
    pub(crate) fn large_camera(&mut self, client: usize) -> PublicationId {
        self.stream(client, 4, 950)
    }

    /// Publishes a stream of pictures of so many packets, each with so many bytes of filler.
    pub(crate) fn stream(&mut self, client: usize, packets: u8, filler: usize) -> PublicationId {
        let number = self.number();
        let mut encoding = Encoding::new(10_000 + number as u32 * 10, None, packets, 1);
        encoding.filler = filler;
        let layers = vec![layer(&encoding, 1280, 720)];
        let interval = Duration::from_micros(33_333);
        self.publish(client, number, false, vec![encoding], layers, interval)
    }

    /// Publishes a microphone.
    pub(crate) fn microphone(&mut self, client: usize) -> PublicationId {
        self.sound(client, 0)
    }

    /// Publishes a microphone whose packets have so many bytes of filler.
    pub(crate) fn sound(&mut self, client: usize, filler: usize) -> PublicationId {
        let number = self.number();
        let ssrc = 10_000 + number as u32 * 10;
        let start = (self.dice.roll() % 500) as u16 + 1;
        let mut encoding = Encoding::new(ssrc, None, 1, start);
        encoding.filler = filler;
        let layers = vec![layer(&encoding, 0, 0)];
        let interval = Duration::from_millis(20);
        self.publish(client, number, true, vec![encoding], layers, interval)
    }

    fn publish(
        &mut self,
        client: usize,
        number: u64,
        is_audio: bool,
        encodings: Vec<Encoding>,
        layers: Vec<LayerParams>,
        interval: Duration,
    ) -> PublicationId {
        let id = PublicationId(number);
        let mid = format!("{number}");
        let params = PublicationParams {
            kind: kind(is_audio),
            mid: Mid::from(&mid).expect("short"),
            codecs: codecs(is_audio, true),
            layers,
            spatial_layers: Vec::new(),
        };
        let command = Command::Publish {
            transport: self.clients[client].peer.id(),
            publication: id,
            params: Box::new(params.clone()),
        };
        self.clients[client].sources.push(Source {
            publisher: number as u32,
            mid,
            is_audio,
            encodings,
            interval,
            next: self.now,
            level: 20,
            is_redundant: false,
            captured: 0,
            pads: false,
        });
        self.publications.push((id, client, params));
        self.command(client, command);
        id
    }

    /// Subscribes a client to a publication of the same room.
    pub(crate) fn subscribe(
        &mut self,
        client: usize,
        publication: PublicationId,
    ) -> SubscriptionId {
        self.subscribe_with(client, publication, true)
    }

    pub(crate) fn subscribe_with(
        &mut self,
        client: usize,
        publication: PublicationId,
        takes_red: bool,
    ) -> SubscriptionId {
        self.subscribe_as(client, publication, takes_red, true)
    }

    /// For a client that did not agree to a stream of retransmissions.
    pub(crate) fn subscribe_without_repairs(
        &mut self,
        client: usize,
        publication: PublicationId,
    ) -> SubscriptionId {
        self.subscribe_as(client, publication, true, false)
    }

    fn subscribe_as(
        &mut self,
        client: usize,
        publication: PublicationId,
        takes_red: bool,
        takes_repairs: bool,
    ) -> SubscriptionId {
        let found = self.publications.iter().find(|(id, ..)| *id == publication);
        let (_, publisher, published) = found.cloned().expect("published before");
        let is_audio = published.kind == MediaKind::Audio;
        if self.clients[publisher].shard != self.clients[client].shard {
            let relay = Command::OpenRelay {
                publication,
                owner: WorkerId(self.clients[publisher].shard as u16),
                publisher: self.clients[publisher].peer.id(),
                params: Box::new(published),
            };
            self.command(client, relay);
        }
        let number = self.number();
        let (ssrc, rtx_ssrc) = (2_000_000 + number as u32, 3_000_000 + number as u32);
        let command = Command::Subscribe {
            transport: self.clients[client].peer.id(),
            subscription: SubscriptionId(number),
            publication,
            params: Box::new(SubscriptionParams {
                mid: Mid::from(&format!("{number}")).expect("short"),
                ssrc: Ssrc(ssrc),
                rtx_ssrc: (!is_audio && takes_repairs).then_some(Ssrc(rtx_ssrc)),
                codecs: codecs(is_audio, takes_red),
            }),
        };
        self.clients[client]
            .sinks
            .push(Sink::new(ssrc, rtx_ssrc, is_audio));
        self.command(client, command);
        SubscriptionId(number)
    }

    /// Takes a client over into another room of its shard, with this one of its publications. Returns
    /// what that is called there.
    pub(crate) fn move_over(
        &mut self,
        client: usize,
        room: RoomId,
        publication: PublicationId,
    ) -> PublicationId {
        let name = PublicationId(self.number());
        let found = self
            .publications
            .iter_mut()
            .find(|(id, ..)| *id == publication);
        found.expect("published before").0 = name;
        let from = std::mem::replace(&mut self.clients[client].room, room);
        let command = Command::MoveTransport {
            transport: self.clients[client].peer.id(),
            from,
            publications: vec![(publication, name)],
        };
        self.command(client, command);
        name
    }

    /// Shares a publication with another room, which must be open on its shard. Returns what it is called
    /// there.
    pub(crate) fn share(&mut self, publication: PublicationId, room: RoomId) -> PublicationId {
        let name = PublicationId(self.number());
        let mut known = self.publications.iter();
        let found = known.find(|(id, ..)| *id == publication);
        let (_, client, params) = found.cloned().expect("published before");
        self.publications.push((name, client, params));
        let command = Command::Share {
            publication,
            from: self.clients[client].room,
            name,
        };
        self.direct(self.clients[client].shard, room, command);
        name
    }

    pub(crate) fn wish(&mut self, client: usize, subscription: SubscriptionId, wish: LayerWish) {
        self.command(client, Command::SetWish { subscription, wish });
    }

    pub(crate) fn send_data(&mut self, client: usize, channel: DataChannel, payload: &[u8]) {
        let command = Command::SendData {
            transport: self.clients[client].peer.id(),
            channel,
            payload: Bytes::copy_from_slice(payload),
        };
        self.command(client, command);
    }

    /// Gives a command about the room of a client.
    pub(crate) fn command(&mut self, client: usize, command: Command) {
        let (shard, room) = (self.clients[client].shard, self.clients[client].room);
        self.direct(shard, room, command);
    }

    pub(crate) fn direct(&mut self, shard: usize, room: RoomId, command: Command) {
        let directive = Directive {
            room,
            epoch: Epoch(1),
            command,
        };
        self.shards[shard].handle_command(self.now, directive);
        self.poll_shard(shard);
    }

    /// Throws a datagram at a shard, from wherever a test likes.
    pub(crate) fn inject(&mut self, shard: usize, from: SocketAddr, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        self.shards[shard].handle_datagram(self.now, from, &mut bytes);
        self.poll_shard(shard);
    }

    /// The holder of a stream says that it has ended.
    pub(crate) fn end_stream(&mut self, shard: usize, address: SocketAddr) {
        self.shards[shard].handle_stream_end(self.now, address);
        self.poll_shard(shard);
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        self.poll_all();
        while let Some(at) = self.next_event().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.deliver();
            for index in 0..self.clients.len() {
                let is_due = self.clients[index]
                    .next_timeout()
                    .is_some_and(|t| t <= self.now);
                if is_due {
                    self.clients[index].handle_timeout(self.start, self.now);
                }
            }
            for (index, shard) in self.shards.iter_mut().enumerate() {
                if self.stalled != Some(index) {
                    shard.handle_timeout(self.now);
                }
            }
            self.poll_all();
        }
        self.now = end;
    }

    /// A shard does nothing for a while; what comes meanwhile waits as far as there is room.
    pub(crate) fn stall(&mut self, shard: usize, span: Duration) {
        self.stalled = Some(shard);
        self.run(span);
        self.stalled = None;
        // It may wake in the middle of a turn: what is due comes before what waits.
        self.shards[shard].handle_timeout(self.now);
        for delivery in std::mem::take(&mut self.waiting) {
            self.send(Duration::ZERO, delivery);
        }
        self.deliver();
        self.poll_all();
    }

    fn waits_for_stalled(&self, delivery: &Delivery) -> bool {
        match delivery {
            Delivery::ToShard(shard, ..) => self.stalled == Some(*shard),
            Delivery::Relay(_, to, _) => self.stalled == Some(*to),
            Delivery::ToClient(..) => false,
        }
    }

    fn queue_up(&mut self, delivery: Delivery) {
        let is_frame = |one: &Delivery| matches!(one, Delivery::Relay(..));
        let kind = is_frame(&delivery);
        let waiting = self.waiting.iter().filter(|one| is_frame(one) == kind);
        let (max, overrun) = match kind {
            true => (LANE_FRAMES, &mut self.overrun.1),
            false => (SOCKET_DATAGRAMS, &mut self.overrun.0),
        };
        if waiting.count() < max {
            self.waiting.push(delivery);
        } else {
            *overrun += 1;
        }
    }

    /// Runs until every client is connected.
    pub(crate) fn connect(&mut self) {
        for _ in 0..100 {
            if self
                .clients
                .iter()
                .all(|client| client.connected_at.is_some())
            {
                return;
            }
            self.run(Duration::from_millis(100));
        }
        panic!("ten seconds are enough to connect");
    }

    pub(crate) fn stats(&self, shard: usize) -> StatsSnapshot {
        self.shards[shard].stats()
    }

    pub(crate) fn rejected(&self, shard: usize, reason: Reject) -> u64 {
        self.stats(shard).rejected(reason)
    }

    pub(crate) fn happened(&self, mut is_it: impl FnMut(&EventKind) -> bool) -> bool {
        self.events.iter().any(|(_, event)| is_it(&event.kind))
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn next_event(&self) -> Option<Instant> {
        let clients = self.clients.iter().filter_map(SimClient::next_timeout);
        let queued = self.queue.peek().map(|Reverse((at, _))| *at);
        let awake = |(index, _): &(usize, &Shard)| self.stalled != Some(*index);
        let shards = self.shards.iter().enumerate().filter(awake);
        let shards = shards.filter_map(|(_, shard)| shard.next_timeout());
        clients.chain(queued).chain(shards).min()
    }

    fn deliver(&mut self) {
        while let Some(&Reverse((at, number))) = self.queue.peek() {
            if at > self.now {
                return;
            }
            self.queue.pop();
            let delivery = self.under_way.remove(&number).expect("queued once");
            if self.waits_for_stalled(&delivery) {
                self.queue_up(delivery);
                continue;
            }
            match delivery {
                Delivery::ToShard(shard, from, mut bytes) => {
                    self.shards[shard].handle_datagram(self.now, from, &mut bytes);
                }
                Delivery::Relay(from, to, bytes) => {
                    let buffer = &mut self.relay_buffer;
                    buffer[..bytes.len()].copy_from_slice(&bytes);
                    let from = WorkerId(from as u16);
                    self.shards[to].handle_relay(self.now, from, buffer, bytes.len());
                }
                Delivery::ToClient(client, bytes) => {
                    let client = &mut self.clients[client];
                    if !client.is_closed {
                        client.peer.handle_datagram(self.now, &bytes);
                        client.drain(self.now);
                    }
                }
            }
        }
    }

    fn poll_all(&mut self) {
        for shard in 0..self.shards.len() {
            if self.stalled != Some(shard) {
                self.poll_shard(shard);
            }
        }
        for index in 0..self.clients.len() {
            while let Some((from, bytes)) = self.clients[index].peer.poll_transmit() {
                let client = &mut self.clients[index];
                let times = client.link.carry(&mut self.dice, &mut client.up);
                let shard = client.shard;
                client.remember(&bytes);
                for after in times {
                    self.send(after, Delivery::ToShard(shard, from, bytes.clone()));
                }
            }
        }
    }

    fn poll_shard(&mut self, shard: usize) {
        let mut sent = Vec::new();
        let mut relayed = Vec::new();
        loop {
            match self.shards[shard].poll_output(self.now) {
                Output::Transmit(batch) => match &mut self.wire {
                    Some(wire) => sent.extend(wire.carry(&batch)),
                    None => sent.extend(batch.iter().map(|(to, b)| (to, b.to_vec()))),
                },
                Output::Relay(batch) => {
                    for (frame, payload) in batch.iter() {
                        let mut bytes = vec![0; SLAB_BYTES];
                        let len = frame::write(frame, payload, &mut bytes).expect("it fits");
                        bytes.truncate(len);
                        relayed.push((usize::from(batch.to.0), bytes));
                    }
                }
                Output::Event(event) => self.events.push((self.now, event)),
                Output::Timeout(_) => break,
            }
        }
        for (to, bytes) in relayed {
            for after in self.relay.carry(&mut self.relay_dice, &mut self.relayed) {
                self.send(after, Delivery::Relay(shard, to, bytes.clone()));
            }
        }
        for (to, bytes) in sent {
            self.check_number(shard, to, &bytes);
            let found = self.clients.iter().position(|c| c.peer.address() == to);
            let Some(index) = found else {
                self.astray.push((to, bytes));
                continue;
            };
            let client = &mut self.clients[index];
            let times = client.link.carry(&mut self.dice, &mut client.down);
            for mut after in times {
                if let Some(narrow) = &mut self.clients[index].narrow {
                    let Some(passed) = narrow.pass(self.now, bytes.len()) else {
                        continue;
                    };
                    after += passed;
                }
                self.send(after, Delivery::ToClient(index, bytes.clone()));
            }
        }
    }

    /// Two different packets under one number and key would give away what GCM authenticates with:
    /// whatever a test is about, this is looked at.
    fn check_number(&mut self, shard: usize, to: SocketAddr, bytes: &[u8]) {
        if !matches!(bytes, [128..=191, 0..=191 | 224.., ..]) {
            return;
        }
        let header = sfu::rtp::packet::Header::parse(bytes).expect("ours");
        let source = (shard, to, header.ssrc.0);
        let newest = self.newest.entry(source);
        let newest = newest.or_insert_with(|| SeqNo::first(header.sequence));
        let seq = newest.extend(header.sequence);
        *newest = seq.max(*newest);
        let key = (shard, to, header.ssrc.0, seq);
        let digest = digest(bytes);
        if let Some(before) = self.sealed.insert(key, digest) {
            assert_eq!(before, digest, "two packets under one number");
            self.repeated += 1;
        }
    }

    fn send(&mut self, after: Duration, delivery: Delivery) {
        self.deliveries += 1;
        let number = self.deliveries;
        self.queue.push(Reverse((self.now + after, number)));
        self.under_way.insert(number, delivery);
    }
}

/// The same bytes, the same number.
pub(crate) fn digest(bytes: &[u8]) -> u64 {
    use std::hash::Hasher;
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// How every simulated client numbers header extensions.
pub(crate) fn extensions() -> ExtensionIds {
    ExtensionIds {
        mid: Some(source::EXT_MID),
        rid: Some(source::EXT_RID),
        repaired_rid: Some(source::EXT_REPAIRED_RID),
        audio_level: Some(source::EXT_AUDIO_LEVEL),
        transport_cc: Some(source::EXT_TRANSPORT_CC),
        ..ExtensionIds::default()
    }
}

fn kind(is_audio: bool) -> MediaKind {
    if is_audio {
        MediaKind::Audio
    } else {
        MediaKind::Video
    }
}

pub(crate) fn codecs(is_audio: bool, has_red: bool) -> Vec<CodecParams> {
    let codec = |codec, payload_type, rtx: Option<u8>, clock_rate| CodecParams {
        codec,
        payload_type: PayloadType(payload_type),
        rtx_payload_type: rtx.map(PayloadType),
        clock_rate,
        h264: None,
    };
    if !is_audio {
        return vec![codec(Codec::Vp8, VP8, Some(VP8_RTX), 90_000)];
    }
    let mut codecs = vec![codec(Codec::Opus, OPUS, None, 48_000)];
    if has_red {
        codecs.push(codec(Codec::Red, RED, None, 48_000));
    }
    codecs
}

fn layer(encoding: &Encoding, width: u32, height: u32) -> LayerParams {
    LayerParams {
        rid: encoding.rid.map(|rid| Rid::from(rid).expect("short")),
        ssrc: None,
        rtx_ssrc: None,
        width,
        height,
        bitrate_max: Bitrate(0),
    }
}
