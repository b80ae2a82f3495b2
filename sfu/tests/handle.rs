//! The running media plane over loopback sockets: two workers, each with a peer.
//!
//! What flows inside is tested without sockets elsewhere; here it is seen that threads, clocks,
//! sockets and queues carry it, and that everything ends when it is told to.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "here the clock and the sockets are real"
)]

#[path = "sim/peer.rs"]
mod peer;
#[path = "sim/source.rs"]
#[allow(dead_code, reason = "only the form of a packet is needed here")]
mod source;

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use bytes::Bytes;
use peer::{PeerEvent, Sctp, SimPeer};
use sfu::config::{Limits, SfuConfig};
use sfu::handle::{Events, Sfu};
use sfu::id::{Epoch, PublicationId, RoomId, SubscriptionId, TransportId, WorkerId};
use sfu::media::{
    Codec, CodecParams, LayerParams, MediaKind, Mid, PublicationParams, SubscriptionParams,
};
use sfu::rtp::packet::Header;
use sfu::shard::command::{Command, DataChannel, Directive};
use sfu::shard::event::{Event, EventKind};
use sfu::transport::params::ExtensionIds;
use sfu::unit::{Bitrate, PayloadType, Ssrc};

const PATIENCE: Duration = Duration::from_secs(20);

fn config() -> SfuConfig {
    SfuConfig {
        workers: 2,
        port_first: 0,
        limits: Limits::default(),
        ..SfuConfig::default()
    }
}

fn directive(room: u64, command: Command) -> Directive {
    Directive {
        room: RoomId(room),
        epoch: Epoch(1),
        command,
    }
}

/// A peer behind a real socket.
struct Client {
    socket: UdpSocket,
    server: SocketAddr,
    peer: SimPeer,
    events: Vec<PeerEvent>,
}

impl Client {
    fn new(id: u64, server: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket
            .set_read_timeout(Some(Duration::from_millis(5)))
            .expect("a timeout");
        let address = socket.local_addr().expect("it is bound");
        let mut peer = SimPeer::new(Instant::now(), TransportId(id), address, Sctp::Active);
        peer.open_channel(Instant::now(), "_reliable");
        Self {
            socket,
            server,
            peer,
            events: Vec::new(),
        }
    }

    /// Lives for a moment: takes all that has arrived, so that nothing is lost in a full socket.
    fn live(&mut self) {
        let mut buffer = [0; 2048];
        self.peer.handle_timeout(Instant::now());
        self.flush();
        let mut received = self.socket.recv(&mut buffer);
        self.socket.set_nonblocking(true).expect("a socket");
        while let Ok(len) = received {
            self.peer.handle_datagram(Instant::now(), &buffer[..len]);
            received = self.socket.recv(&mut buffer);
        }
        self.socket.set_nonblocking(false).expect("a socket");
        self.flush();
        self.events
            .extend(std::iter::from_fn(|| self.peer.poll_event()));
    }

    fn flush(&mut self) {
        while let Some((_, datagram)) = self.peer.poll_transmit() {
            self.socket
                .send_to(&datagram, self.server)
                .expect("loopback");
        }
    }

    fn live_until(&mut self, what: &str, mut is_so: impl FnMut(&[PeerEvent]) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_so(&self.events) {
            let count = self.events.len();
            assert!(Instant::now() < end, "{what}: not among {count} events");
            self.live();
        }
    }
}

fn wait_for(events: &Events, what: &str, is_it: impl Fn(WorkerId, &Event) -> bool) {
    let end = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < end, "{what} never happened");
        let event = events
            .recv_timeout(Duration::from_secs(1))
            .expect("it runs");
        if event.is_some_and(|(worker, event)| is_it(worker, &event)) {
            return;
        }
    }
}

#[test]
fn two_workers_serve_their_peers_and_say_goodbye() {
    let (sfu, events) = Sfu::start(&config()).expect("loopback is there");
    assert_eq!(sfu.workers(), 2);
    let mut clients = Vec::new();
    for number in 0..2_u16 {
        let worker = WorkerId(number);
        let [server] = sfu.addresses(worker)[..] else {
            panic!("one address is bound and none is advertised");
        };
        assert!(server.ip().is_loopback() && server.port() != 0);
        let (room, id) = (u64::from(number) + 10, u64::from(number) + 20);
        let client = Client::new(id, server);
        let add = Command::AddTransport {
            transport: TransportId(id),
            params: Box::new(client.peer.params(ExtensionIds::default())),
        };
        sfu.send(worker, directive(room, Command::OpenRoom))
            .expect("an empty queue");
        sfu.send(worker, directive(room, add))
            .expect("an empty queue");
        clients.push(client);
    }
    assert_ne!(clients[0].server.port(), clients[1].server.port());

    for (number, client) in clients.iter_mut().enumerate() {
        let open = PeerEvent::ChannelOpen("_reliable".into());
        client.live_until("a data channel", |events| events.contains(&open));
        let worker = WorkerId(number as u16);
        let channel = DataChannel::Reliable;
        wait_for(&events, "the channel of the worker", |from, event| {
            from == worker && matches!(event.kind, EventKind::DataChannelOpen { .. })
        });
        let send = Command::SendData {
            transport: client.peer.id(),
            channel,
            payload: Bytes::from_static(b"hello"),
        };
        sfu.send(worker, directive(number as u64 + 10, send))
            .expect("an empty queue");
        let hello = PeerEvent::Data("_reliable".into(), b"hello".to_vec());
        client.live_until("a message", |events| events.contains(&hello));
        assert!(
            client
                .peer
                .send_data(Instant::now(), "_reliable", b"hello to you")
        );
        client.flush();
        wait_for(&events, "the answer", |from, event| {
            from == worker
                && matches!(&event.kind, EventKind::Data { payload, .. } if payload == "hello to you")
        });
    }

    for number in 0..2 {
        wait_for(&events, "numbers", |worker, event| match &event.kind {
            EventKind::Stats { snapshot } => {
                worker == WorkerId(number)
                    && snapshot.datagrams_out > 0
                    && snapshot.busy_ns > 0
                    && snapshot.transports == 1
            }
            _ => false,
        });
        assert!((0.0..=1.0).contains(&sfu.busy(WorkerId(number))));
    }

    sfu.stop();
    for client in &mut clients {
        client.live_until("a goodbye", |events| events.contains(&PeerEvent::Closed));
    }
    let end = Instant::now() + PATIENCE;
    while events.recv().is_some() {
        assert!(Instant::now() < end, "events never end");
    }
    let late = directive(10, Command::OpenRoom);
    assert!(sfu.send(WorkerId(0), late).is_err());
}

fn sound() -> (Vec<CodecParams>, PublicationParams) {
    let codecs = vec![CodecParams {
        codec: Codec::Opus,
        payload_type: PayloadType(source::OPUS),
        rtx_payload_type: None,
        clock_rate: 48_000,
        h264: None,
    }];
    let params = PublicationParams {
        kind: MediaKind::Audio,
        mid: Mid::from("0").expect("short"),
        codecs: codecs.clone(),
        layers: vec![LayerParams {
            rid: None,
            ssrc: None,
            rtx_ssrc: None,
            width: 0,
            height: 0,
            bitrate_max: Bitrate(0),
        }],
        spatial_layers: Vec::new(),
    };
    (codecs, params)
}

/// Sound from a publisher on the first worker to subscribers on the second, and back.
#[test]
fn media_crosses_from_worker_to_worker_both_ways() {
    const PACKETS: u16 = 200;
    let (sfu, events) = Sfu::start(&config()).expect("loopback is there");
    let room = 5;
    let order = |worker: u16, command| {
        let directive = directive(room, command);
        sfu.send(WorkerId(worker), directive)
            .expect("room in the queue");
    };
    let ids = ExtensionIds {
        mid: Some(source::EXT_MID),
        ..ExtensionIds::default()
    };
    let mut clients: Vec<Client> = (0..3_u64)
        .map(|number| {
            let worker = u16::from(number > 0);
            if number < 2 {
                order(worker, Command::OpenRoom);
            }
            let client = Client::new(50 + number, sfu.addresses(WorkerId(worker))[0]);
            let add = Command::AddTransport {
                transport: client.peer.id(),
                params: Box::new(client.peer.params(ids)),
            };
            order(worker, add);
            client
        })
        .collect();
    let (codecs, params) = sound();
    // The first and the second publish; everybody is sent what others do.
    for (number, worker) in [(0, 0), (1, 1)] {
        order(
            worker,
            Command::Publish {
                transport: clients[number].peer.id(),
                publication: PublicationId(60 + number as u64),
                params: Box::new(params.clone()),
            },
        );
    }
    for (number, worker, from) in [(0, 0, 1), (1, 1, 0), (2, 1, 0), (2, 1, 1)] {
        let publication = PublicationId(60 + from as u64);
        let owner = from as u16;
        if owner != worker {
            order(
                worker,
                Command::OpenRelay {
                    publication,
                    owner: WorkerId(owner),
                    publisher: clients[from].peer.id(),
                    params: Box::new(params.clone()),
                },
            );
        }
        order(
            worker,
            Command::Subscribe {
                transport: clients[number].peer.id(),
                subscription: SubscriptionId(70 + 10 * from as u64 + number as u64),
                publication,
                params: Box::new(SubscriptionParams {
                    mid: Mid::from("1").expect("short"),
                    ssrc: Ssrc(7_000 + from as u32),
                    rtx_ssrc: None,
                    codecs: codecs.clone(),
                }),
            },
        );
    }
    for client in &mut clients {
        client.live_until("a connection", |events| {
            events
                .iter()
                .any(|event| matches!(event, PeerEvent::Connected(_)))
        });
    }
    for number in 0..PACKETS {
        for (from, client) in clients.iter_mut().take(2).enumerate() {
            let packet = source::packet(
                (source::OPUS, false),
                number,
                u32::from(number) * 960,
                4_000 + from as u32,
                &[(source::EXT_MID, b"0")],
                &[from as u8, number as u8],
            );
            client.peer.send_rtp(&packet);
        }
        clients.iter_mut().for_each(Client::live);
    }
    let heard = |events: &[PeerEvent], from: u8| {
        let is_it = |event: &&PeerEvent| match event {
            PeerEvent::Rtp(packet) => {
                let header = Header::parse(packet).expect("the server sends good RTP");
                header.ssrc.0 == 7_000 + u32::from(from) && packet[header.len] == from
            }
            _ => false,
        };
        events.iter().filter(is_it).count()
    };
    // What was sent before a relay was open is not sent again.
    for (number, from) in [(0, 1), (1, 0), (2, 0), (2, 1)] {
        clients[number].live_until("the other's sound", |events| {
            heard(events, from) > usize::from(PACKETS) / 2
        });
    }
    assert_eq!(heard(&clients[1].events, 1), 0, "nobody hears himself");
    let mut counted = [(0, 0), (0, 0)];
    let end = Instant::now() + PATIENCE;
    while counted
        .iter()
        .any(|(out, taken)| *out < 100 || *taken < 100)
    {
        assert!(Instant::now() < end, "{counted:?}");
        for client in &mut clients {
            client.live();
        }
        let event = events
            .recv_timeout(Duration::from_millis(1))
            .expect("it runs");
        if let Some((worker, event)) = event
            && let EventKind::Stats { snapshot } = event.kind
        {
            assert_eq!(snapshot.relay_frames_dropped, 0);
            let frames = (snapshot.relay_frames_out, snapshot.relay_frames_in);
            counted[usize::from(worker.0)] = frames;
        }
    }
    for worker in 0..2 {
        order(worker, Command::CloseRoom);
    }
    for client in &mut clients {
        client.live_until("a goodbye", |events| events.contains(&PeerEvent::Closed));
    }
}

#[test]
fn advertised_addresses_replace_the_bound_one() {
    let ips = ["192.0.2.1", "2001:db8::1"].map(|ip| ip.parse().expect("an address"));
    let config = SfuConfig {
        workers: 1,
        advertised_ips: ips.to_vec(),
        ..config()
    };
    let (sfu, _events) = Sfu::start(&config).expect("loopback is there");
    let addresses = sfu.addresses(WorkerId(0));
    let advertised: Vec<_> = addresses.iter().map(SocketAddr::ip).collect();
    assert_eq!(advertised, ips);
    assert!(addresses.iter().all(|address| address.port() != 0));
}

#[test]
fn a_port_that_is_taken_stops_the_start() {
    let taken = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("it is bound").port();
    let config = SfuConfig {
        workers: 1,
        port_first: port,
        ..config()
    };
    let error = Sfu::start(&config).expect_err("the port is taken");
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
}

#[test]
fn one_worker_takes_one_port_and_several_never_share_one() {
    let found = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let port = found.local_addr().expect("it is bound").port();
    drop(found);
    let at = |workers, port_first| SfuConfig {
        workers,
        port_first,
        ..config()
    };
    let (sfu, _events) = Sfu::start(&at(1, port)).expect("it is free again");
    assert_eq!(sfu.workers(), 1);
    let addresses = sfu.addresses(WorkerId(0));
    assert!(addresses.iter().all(|address| address.port() == port));
    // The last port there is: the second worker has none, and the start says so.
    let error = Sfu::start(&at(2, u16::MAX)).expect_err("there is one port");
    assert!(error.to_string().contains("no port for every worker"));
}

#[test]
fn a_stopped_media_plane_hangs_nobody_up() {
    let (sfu, events) = Sfu::start(&config()).expect("loopback is there");
    drop(sfu);
    // Whatever was said before comes first.
    while events.recv().is_some() {}
}
