//! Whole connections against one transport, in virtual time: a peer connects, talks, moves, falls
//! silent, lies.
//!
//! The link between both ends is perfect unless a test says otherwise; lossy links belong to the
//! simulations. What a peer may do to us is in the second half.
#![expect(clippy::unwrap_used, reason = "a test that fails here has failed")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test chooses when virtual time begins"
)]

#[path = "sim/peer.rs"]
mod peer;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use peer::{PeerEvent, Sctp, SimPeer};
use sfu::config::Limits;
use sfu::error::Reject;
use sfu::id::TransportId;
use sfu::rtp::packet::Header;
use sfu::shard::command::DataChannel;
use sfu::shard::event::DisconnectReason;
use sfu::transport::dtls::Identity;
use sfu::transport::params::{ExtensionIds, Fingerprint, SctpParams, TransportParams};
use sfu::transport::srtp::Profile;
use sfu::transport::{Transport, TransportOutput};
use sfu::unit::SeqNo;

const HOME: &str = "192.0.2.1:4000";
const AWAY: &str = "198.51.100.7:5000";

struct Link {
    now: Instant,
    transport: Transport,
    peer: SimPeer,
    /// What either side has said, in order.
    server: Vec<TransportOutput>,
    client: Vec<PeerEvent>,
    rejects: Vec<Reject>,
    /// Where the server has sent to.
    destinations: Vec<SocketAddr>,
    /// What the client sends and the link takes.
    from_client_taken: fn(&[u8]) -> bool,
    /// Datagrams to the client that are lost from now on, by their place.
    to_client_lost: fn(usize) -> bool,
    to_client: usize,
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

impl Link {
    fn new(sctp: Sctp) -> Self {
        Self::with(sctp, &Limits::default(), |_| {})
    }

    fn with(sctp: Sctp, limits: &Limits, change: fn(&mut TransportParams)) -> Self {
        let now = Instant::now();
        let identity = Identity::generate();
        let peer = SimPeer::new(now, TransportId(7), address(HOME), sctp);
        let mut params = peer.params(ExtensionIds::default());
        change(&mut params);
        Self {
            now,
            transport: Transport::new(now, TransportId(7), params, &identity, limits),
            peer,
            server: Vec::new(),
            client: Vec::new(),
            rejects: Vec::new(),
            destinations: Vec::new(),
            from_client_taken: |_| true,
            to_client_lost: |_| false,
            to_client: 0,
        }
    }

    fn connected(sctp: Sctp) -> Self {
        let mut link = Self::new(sctp);
        link.peer.open_channel(link.now, "_reliable");
        link.peer.open_channel(link.now, "_lossy");
        link.run(Duration::from_secs(2));
        assert!(link.transport.is_connected());
        link
    }

    /// Lets `span` of virtual time pass.
    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            self.exchange();
            let next = [self.transport.next_timeout(), self.peer.next_timeout()];
            let next = next
                .into_iter()
                .flatten()
                .min()
                .unwrap_or(end)
                .max(self.now);
            if next > end {
                self.now = end;
                return;
            }
            // A timer that is due and does nothing must not stop the time.
            self.now = next.max(self.now + Duration::from_micros(100));
            self.transport.handle_timeout(self.now);
            self.peer.handle_timeout(self.now);
        }
    }

    fn exchange(&mut self) {
        loop {
            let mut is_quiet = true;
            while let Some((from, datagram)) = self.peer.poll_transmit() {
                is_quiet = false;
                if (self.from_client_taken)(&datagram) {
                    self.deliver(from, &datagram);
                }
            }
            let mut out = Vec::new();
            while let Some(output) = self.transport.poll(&mut out) {
                is_quiet = false;
                if let TransportOutput::Transmit { to, len } = output {
                    assert_eq!(out.len(), len);
                    self.carry(to, &out);
                    out.clear();
                } else {
                    self.server.push(output);
                }
            }
            while let Some(event) = self.peer.poll_event() {
                is_quiet = false;
                self.client.push(event);
            }
            if is_quiet {
                return;
            }
        }
    }

    /// What the shard's demultiplexer does with a datagram.
    fn deliver(&mut self, from: SocketAddr, datagram: &[u8]) {
        let result = match datagram[0] {
            0..=3 => self.transport.handle_stun(self.now, from, datagram),
            _ if !self.transport.is_validated(from) => Err(Reject::SourceUnvalidated),
            20..=63 => self.transport.handle_dtls(self.now, datagram),
            _ => {
                let mut payload = [0; 2_048];
                Header::parse(datagram)
                    .and_then(|header| {
                        self.transport
                            .unprotect_rtp_into(&header, datagram, &mut payload)
                    })
                    .map(|_| ())
            }
        };
        self.rejects.extend(result.err());
    }

    fn carry(&mut self, to: SocketAddr, datagram: &[u8]) {
        self.destinations.push(to);
        self.to_client += 1;
        if to == self.peer.address() && !(self.to_client_lost)(self.to_client) {
            self.peer.handle_datagram(self.now, datagram);
        }
    }

    fn closed(&self) -> Option<DisconnectReason> {
        self.server.iter().find_map(|output| match output {
            TransportOutput::Closed(reason) => Some(*reason),
            _ => None,
        })
    }

    fn heard(&self, channel: DataChannel) -> Vec<Vec<u8>> {
        let data = |output: &TransportOutput| match output {
            TransportOutput::Data(from, message) if *from == channel => Some(message.to_vec()),
            _ => None,
        };
        self.server.iter().filter_map(data).collect()
    }
}

fn packet(sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 111, 0, 0, 0, 0, 0, 9, 0, 0, 0, 5];
    packet[2..4].copy_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(b"sound");
    packet
}

#[test]
fn a_peer_connects_with_the_profile_that_we_prefer() {
    let link = Link::connected(Sctp::Active);
    let profile = Profile::AeadAes256Gcm;
    assert_eq!(link.server[0], TransportOutput::Connected { profile });
    assert!(link.client.contains(&PeerEvent::Connected(profile)));
    for channel in [DataChannel::Reliable, DataChannel::Lossy] {
        assert!(
            link.server
                .contains(&TransportOutput::DataChannelOpen(channel))
        );
    }
    assert!(
        link.client
            .contains(&PeerEvent::ChannelOpen("_lossy".into()))
    );
    assert_eq!(link.rejects, []);
    assert_eq!(link.transport.destination(), Some(address(HOME)));
}

#[test]
fn media_flows_both_ways() {
    let mut link = Link::connected(Sctp::Active);
    link.peer.send_rtp(&packet(65_535));
    let (_, datagram) = link.peer.poll_transmit().unwrap();
    let header = Header::parse(&datagram).unwrap();
    let mut payload = [0; 2_048];
    let (seq, len) = link
        .transport
        .unprotect_rtp_into(&header, &datagram, &mut payload)
        .unwrap();
    assert_eq!(seq, SeqNo::first(65_535));
    assert_eq!(payload[..len], packet(65_535)[header.len..]);

    let mut out = Vec::new();
    let (head, payload) = (&packet(3)[..12], &packet(3)[12..]);
    let mut outbound = link.transport.take_outbound().unwrap();
    assert!(outbound.protect_rtp(SeqNo::first(3), head, payload, &mut out));
    assert!(
        link.transport.take_outbound().is_none(),
        "keys have one owner"
    );
    link.peer.handle_datagram(link.now, &out);
    link.exchange();
    assert!(link.client.contains(&PeerEvent::Rtp(packet(3))));
}

#[test]
fn messages_flow_both_ways_over_both_channels() {
    let mut link = Link::connected(Sctp::Active);
    let long = vec![7; 60_000];
    assert!(link.peer.send_data(link.now, "_reliable", &long));
    assert!(link.peer.send_data(link.now, "_lossy", b"cursor"));
    let now = link.now;
    link.transport
        .send_data(now, DataChannel::Reliable, &long)
        .unwrap();
    link.transport
        .send_data(now, DataChannel::Lossy, b"")
        .unwrap();
    link.run(Duration::from_secs(3));
    assert_eq!(
        link.heard(DataChannel::Reliable),
        std::slice::from_ref(&long)
    );
    assert_eq!(link.heard(DataChannel::Lossy), [b"cursor"]);
    assert!(
        link.client
            .contains(&PeerEvent::Data("_reliable".into(), long))
    );
    assert!(
        link.client
            .contains(&PeerEvent::Data("_lossy".into(), Vec::new()))
    );
}

#[test]
fn a_peer_that_never_starts_sctp_is_started() {
    let link = Link::connected(Sctp::Passive);
    for channel in [DataChannel::Reliable, DataChannel::Lossy] {
        assert!(
            link.server
                .contains(&TransportOutput::DataChannelOpen(channel))
        );
    }
}

#[test]
fn channels_open_when_both_sides_start_at_once() {
    let mut link = Link::new(Sctp::Passive);
    link.peer.open_channel(link.now, "_reliable");
    link.run(Duration::from_millis(150));
    assert!(link.peer.is_connected());
    // Ours is under way, and so is theirs.
    link.now += Duration::from_millis(100);
    link.transport.handle_timeout(link.now);
    link.peer.start_sctp(link.now);
    link.run(Duration::from_millis(100));
    let channel = DataChannel::Reliable;
    assert!(
        link.server
            .contains(&TransportOutput::DataChannelOpen(channel))
    );
}

#[test]
fn we_can_open_channels_ourselves() {
    let mut link = Link::new(Sctp::Active);
    link.transport.open_data_channels(link.now);
    link.run(Duration::from_secs(2));
    let now = link.now;
    let ignored = PeerEvent::ChannelOpen("_data_track".into());
    assert!(link.client.contains(&ignored));
    for (channel, label) in [
        (DataChannel::Reliable, "_reliable"),
        (DataChannel::Lossy, "_lossy"),
    ] {
        assert!(
            link.server
                .contains(&TransportOutput::DataChannelOpen(channel))
        );
        assert!(link.client.contains(&PeerEvent::ChannelOpen(label.into())));
        link.transport.send_data(now, channel, b"hello").unwrap();
        assert!(link.peer.send_data(now, label, b"hello to you"));
        link.run(Duration::from_secs(1));
        assert!(
            link.client
                .contains(&PeerEvent::Data(label.into(), b"hello".to_vec()))
        );
        assert_eq!(link.heard(channel), [b"hello to you"]);
    }
}

#[test]
fn data_channels_can_come_later() {
    let mut link = Link::with(Sctp::Active, &Limits::default(), |params| {
        params.sctp = None;
    });
    link.peer.open_channel(link.now, "_reliable");
    link.run(Duration::from_secs(1));
    assert!(link.transport.is_connected());
    let params = SctpParams {
        port: 5000,
        message_size_max: 0,
    };
    link.transport.add_sctp(link.now, params);
    link.run(Duration::from_secs(5));
    let channel = DataChannel::Reliable;
    assert!(
        link.server
            .contains(&TransportOutput::DataChannelOpen(channel))
    );
}

#[test]
fn a_path_that_moves_keeps_everything() {
    let mut link = Link::connected(Sctp::Active);
    link.peer.move_to(link.now, address(AWAY));
    link.run(Duration::from_secs(1));
    assert_eq!(link.transport.destination(), Some(address(AWAY)));
    let now = link.now;
    link.transport
        .send_data(now, DataChannel::Reliable, b"still there?")
        .unwrap();
    link.run(Duration::from_secs(60));
    let still = PeerEvent::Data("_reliable".into(), b"still there?".to_vec());
    assert!(link.client.contains(&still));
    assert_eq!(link.closed(), None);
}

#[test]
fn nothing_but_a_check_goes_to_an_address_that_has_not_answered() {
    let mut link = Link::connected(Sctp::Active);
    // The peer itself, with good credentials, claims to be somewhere else.
    let victim = address("203.0.113.9:53");
    link.destinations.clear();
    for _ in 0..20 {
        let check = link.peer.check(true);
        link.deliver(victim, &check);
        link.run(Duration::from_millis(50));
        link.transport
            .send_data(link.now, DataChannel::Lossy, &[0; 1000])
            .unwrap();
    }
    assert_eq!(link.transport.destination(), Some(address(HOME)));
    // An answer to each check, and a question every half second.
    let to_victim = link.destinations.iter().filter(|to| **to == victim).count();
    assert!((21..=25).contains(&to_victim), "{to_victim}");
}

#[test]
fn ice_restarts_without_a_new_handshake() {
    let mut link = Link::connected(Sctp::Active);
    let answered = link.peer.checks_answered();
    let (local, remote) = link.peer.restart_ice(link.now, 3);
    link.transport.restart_ice(link.now, local, remote);
    link.peer.move_to(link.now, address(AWAY));
    link.run(Duration::from_secs(30));
    assert!(link.peer.checks_answered() > answered);
    assert_eq!(link.transport.destination(), Some(address(AWAY)));
    assert_eq!(link.closed(), None);
    let is_connected =
        |output: &&TransportOutput| matches!(output, TransportOutput::Connected { .. });
    assert_eq!(link.server.iter().filter(is_connected).count(), 1);
}

#[test]
fn a_peer_that_falls_silent_is_sent_nothing_more() {
    let mut link = Link::connected(Sctp::Active);
    let limits = Limits::default();
    link.peer.set_checking(link.now, false);
    let silent_since = link.now;
    link.run(limits.consent_timeout / 2);
    assert_eq!(link.closed(), None);
    link.run(limits.consent_timeout);
    assert!(link.now - silent_since < Duration::from_secs(30));
    assert_eq!(link.transport.destination(), None);
    assert_eq!(link.closed(), None, "it may come back");
    let sent = link.destinations.len();
    for _ in 0..100 {
        link.transport
            .send_data(link.now, DataChannel::Reliable, &[0; 1_000])
            .expect("it waits");
        link.run(Duration::from_millis(100));
    }
    assert_eq!(link.destinations.len(), sent);
    link.run(limits.absence_timeout);
    assert_eq!(link.closed(), Some(DisconnectReason::ConsentLost));
    assert!(!link.transport.is_connected());
    assert_eq!(link.transport.next_timeout(), None);
}

#[test]
fn a_peer_that_was_away_goes_on_with_the_same_keys() {
    let mut link = Link::connected(Sctp::Active);
    link.peer.set_checking(link.now, false);
    link.run(Duration::from_secs(40));
    assert_eq!(link.transport.destination(), None);
    for n in 0..10 {
        let message = [n; 1_000];
        link.transport
            .send_data(link.now, DataChannel::Reliable, &message)
            .expect("it waits");
    }
    let (local, remote) = link.peer.restart_ice(link.now, 3);
    link.transport.restart_ice(link.now, local, remote);
    link.peer.move_to(link.now, address(AWAY));
    link.peer.set_checking(link.now, true);
    link.run(Duration::from_secs(10));
    assert_eq!(link.transport.destination(), Some(address(AWAY)));
    assert_eq!(link.closed(), None);
    let handshakes = link
        .server
        .iter()
        .filter(|output| matches!(output, TransportOutput::Connected { .. }));
    assert_eq!(handshakes.count(), 1);
    let received = link
        .client
        .iter()
        .filter(|event| matches!(event, PeerEvent::Data(..)));
    assert_eq!(received.count(), 10, "what was said meanwhile arrives");
}

#[test]
fn a_peer_that_never_comes_is_forgotten() {
    let mut link = Link::new(Sctp::Active);
    link.peer.set_checking(link.now, false);
    link.run(Limits::default().connect_timeout + Duration::from_secs(1));
    assert_eq!(link.closed(), Some(DisconnectReason::NeverConnected));
}

#[test]
fn a_goodbye_is_heard_on_either_side() {
    let mut link = Link::connected(Sctp::Active);
    link.peer.close(link.now);
    link.exchange();
    assert_eq!(link.closed(), Some(DisconnectReason::ClosedByPeer));

    let mut link = Link::connected(Sctp::None);
    link.transport.close(link.now);
    link.exchange();
    assert!(link.client.contains(&PeerEvent::Closed));
    assert_eq!(link.closed(), None, "we know ourselves that we closed it");
    assert!(!link.transport.is_connected());
}

#[test]
fn a_wrong_certificate_is_refused_within_a_second() {
    let mut link = Link::with(Sctp::Active, &Limits::default(), |params| {
        params.remote_fingerprint = Fingerprint([1; 32]);
    });
    link.run(Duration::from_secs(1));
    assert_eq!(link.closed(), Some(DisconnectReason::HandshakeFailed));
    assert!(!link.transport.is_connected());
    assert!(
        !link
            .server
            .iter()
            .any(|o| matches!(o, TransportOutput::Connected { .. }))
    );
}

/// A hello of this version that offers these suites, with the record and the message saying so.
fn hello(version: [u8; 2], suites: &[[u8; 2]]) -> Vec<u8> {
    let mut body = Vec::from(version);
    body.extend([7; 32]);
    body.extend([0, 0]);
    body.extend((2 * suites.len() as u16).to_be_bytes());
    body.extend(suites.concat());
    body.extend([1, 0]);
    let extensions: [&[u8]; 4] = [
        // use_srtp, groups, signature algorithms, extended master secret
        &[0, 14, 0, 5, 0, 2, 0, 1, 0],
        &[0, 10, 0, 4, 0, 2, 0, 23],
        &[0, 13, 0, 4, 0, 2, 4, 3],
        &[0, 23, 0, 0],
    ];
    let extensions = extensions.concat();
    body.extend((extensions.len() as u16).to_be_bytes());
    body.extend(extensions);
    let length = (body.len() as u32).to_be_bytes();
    let mut message = vec![1, length[1], length[2], length[3], 0, 0, 0, 0, 0];
    message.extend(&length[1..]);
    message.extend(body);
    let mut record = vec![22, version[0], version[1], 0, 0, 0, 0, 0, 0, 0, 0];
    record.extend((message.len() as u16).to_be_bytes());
    record.extend(message);
    record
}

/// Else it would not help that a bad hello ends nothing.
#[test]
fn a_weak_hello_with_the_peers_address_does_not_keep_the_peer_from_its_handshake() {
    for (version, suite) in [
        ([0xfe, 0xfd], [0, 0x2f]),
        ([0xfe, 0xff], [0, 0x2f]),
        ([0xfe, 0xff], [0xc0, 0x2b]),
    ] {
        let mut link = Link::new(Sctp::Active);
        link.from_client_taken = |datagram| datagram[0] <= 3;
        link.run(Duration::from_millis(500));
        assert!(link.transport.is_validated(address(HOME)));
        for _ in 0..100 {
            link.deliver(address(HOME), &hello(version, &[suite]));
        }
        assert!(!link.transport.is_connected());
        link.from_client_taken = |_| true;
        link.run(Duration::from_secs(10));
        assert!(link.transport.is_connected(), "{version:?} {suite:?}");
        assert_eq!(link.closed(), None);
    }
}

#[test]
fn a_weak_or_old_handshake_from_the_peer_itself_leads_nowhere() {
    const DTLS_1_0: [u8; 2] = [0xfe, 0xff];
    const DTLS_1_2: [u8; 2] = [0xfe, 0xfd];
    // Nothing encrypted, RC4, 3DES, CBC with SHA-1, RSA key exchange, anonymous.
    let weak = [
        [0, 0],
        [0, 1],
        [0, 2],
        [0, 0x3b],
        [0, 5],
        [0, 0x0a],
        [0, 0x2f],
        [0xc0, 0x09],
        [0xc0, 0x06],
        [0xc0, 0x10],
        [0, 0x9c],
        [0, 0x34],
        [0xc0, 0x15],
    ];
    let good = [[0xc0, 0x2b]];
    let cases = [
        (hello(DTLS_1_2, &good), true),
        (hello(DTLS_1_2, &weak), false),
        (hello(DTLS_1_0, &weak), false),
        (hello(DTLS_1_0, &good), false),
    ];
    for (hello, is_good) in cases {
        let mut link = Link::new(Sctp::Active);
        link.from_client_taken = |datagram| datagram[0] <= 3;
        link.run(Duration::from_millis(500));
        assert!(link.transport.is_validated(address(HOME)));
        // The client of the test knows nothing of this handshake.
        link.to_client_lost = |_| true;
        link.destinations.clear();
        link.deliver(address(HOME), &hello);
        link.exchange();
        let is_answered = !link.destinations.is_empty();
        link.run(Duration::from_secs(1));
        assert!(!link.transport.is_connected());
        assert!(
            link.transport.take_outbound().is_none(),
            "there are no keys"
        );
        assert_eq!(
            is_answered, is_good,
            "only with a good one a handshake begins"
        );
        // Whoever can forge a source address could end a join, if a bad hello did; it ends when it
        // is overdue.
        link.run(Limits::default().connect_timeout);
        assert!(link.closed().is_some());
        assert!(!link.transport.is_connected());
    }
}

#[test]
fn handshakes_from_elsewhere_change_nothing() {
    let mut link = Link::new(Sctp::Active);
    let stranger = address("203.0.113.66:6");
    let hello = SimPeer::client_hello(link.now);
    for _ in 0..1000 {
        link.deliver(stranger, &hello);
    }
    link.peer.open_channel(link.now, "_reliable");
    link.run(Duration::from_secs(1));
    for _ in 0..1000 {
        link.deliver(stranger, &hello);
    }
    link.run(Duration::from_secs(1));
    assert!(link.transport.is_connected());
    assert_eq!(link.rejects, vec![Reject::SourceUnvalidated; 2000]);
    assert!(!link.destinations.contains(&stranger));
}

#[test]
fn plaintext_in_the_peers_name_does_not_end_a_connection() {
    let mut link = Link::connected(Sctp::Active);
    let record = |kind: u8, payload: &[u8]| {
        let mut record = vec![
            kind,
            0xfe,
            0xfd,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            99,
            0,
            payload.len() as u8,
        ];
        record.extend_from_slice(payload);
        record
    };
    // Fatal alerts, a goodbye, a new handshake, a cipher change, data, and nonsense.
    let forged = [
        record(21, &[2, 40]),
        record(21, &[1, 0]),
        SimPeer::client_hello(link.now),
        record(20, &[1]),
        record(23, b"data"),
        record(22, &[0xff; 40]),
        vec![22; 100],
        vec![20],
    ];
    for datagram in &forged {
        link.deliver(address(HOME), datagram);
        link.run(Duration::from_millis(10));
    }
    assert!(link.peer.send_data(link.now, "_reliable", b"still here"));
    link.run(Duration::from_secs(10));
    assert_eq!(link.closed(), None);
    assert_eq!(link.heard(DataChannel::Reliable), [b"still here"]);
    assert_eq!(link.rejects, [Reject::Dtls; 8], "each of them is counted");
}

#[test]
fn media_before_the_handshake_has_no_keys() {
    let mut link = Link::new(Sctp::None);
    let mut datagram = packet(1);
    let header = Header::parse(&datagram).unwrap();
    let result = link
        .transport
        .unprotect_rtp_into(&header, &datagram, &mut [0; 64]);
    assert_eq!(result, Err(Reject::NoKeys));
    assert_eq!(
        link.transport.unprotect_rtcp(&mut datagram),
        Err(Reject::NoKeys)
    );
    assert!(link.transport.take_outbound().is_none());
}

#[test]
fn whichever_datagram_is_lost_a_join_takes_a_second() {
    const LOST: [fn(usize) -> bool; 6] = [
        |place| place == 1,
        |place| place == 2,
        |place| place == 3,
        |place| place == 4,
        |place| place == 5,
        |place| (2..4).contains(&place),
    ];
    for lost in LOST {
        let mut link = Link::new(Sctp::Active);
        link.to_client_lost = lost;
        link.peer.open_channel(link.now, "_reliable");
        link.run(Duration::from_millis(1500));
        assert!(link.transport.is_connected());
        assert!(link.peer.is_connected());
        link.run(Duration::from_secs(5));
        assert!(
            link.client
                .contains(&PeerEvent::ChannelOpen("_reliable".into()))
        );
    }
}

#[test]
fn a_channel_with_another_name_is_closed_and_the_data_track_ignored() {
    let mut link = Link::connected(Sctp::Active);
    link.peer.open_channel(link.now, "secrets");
    link.peer.open_channel(link.now, "_data_track");
    link.run(Duration::from_secs(2));
    assert!(
        link.client
            .contains(&PeerEvent::ChannelClosed("secrets".into()))
    );
    assert!(
        link.client
            .contains(&PeerEvent::ChannelOpen("_data_track".into()))
    );
    link.peer.send_data(link.now, "_data_track", b"frame");
    link.run(Duration::from_secs(1));
    assert_eq!(link.rejects, [Reject::UnknownChannel; 2]);
    assert_eq!(link.closed(), None);
}

#[test]
fn a_peer_that_does_not_read_is_queued_for_within_bounds() {
    let mut link = Link::connected(Sctp::Active);
    link.to_client_lost = |_| true;
    let now = link.now;
    let limits = Limits::default();
    let message = vec![1; 50_000];
    let taken = (0..100)
        .filter(|_| {
            link.transport
                .send_data(now, DataChannel::Reliable, &message)
                .is_ok()
        })
        .count();
    assert_eq!(taken, limits.data_queue_bytes_max / message.len());
    for _ in 0..10 {
        link.transport
            .send_data(now, DataChannel::Lossy, &message)
            .unwrap();
    }
    assert_eq!(link.transport.take_lossy_dropped(), 10);
    assert_eq!(link.transport.take_lossy_dropped(), 0);
}

#[test]
fn a_message_is_never_larger_than_the_peer_takes() {
    let mut link = Link::with(Sctp::Active, &Limits::default(), |params| {
        params.sctp = Some(SctpParams {
            port: 5000,
            message_size_max: 1000,
        });
    });
    link.peer.open_channel(link.now, "_reliable");
    link.run(Duration::from_secs(1));
    let now = link.now;
    assert!(
        link.transport
            .send_data(now, DataChannel::Reliable, &[0; 1001])
            .is_err()
    );
    assert!(
        link.transport
            .send_data(now, DataChannel::Reliable, &[0; 1000])
            .is_ok()
    );
}

#[test]
fn more_streams_than_a_client_needs_end_the_association() {
    let mut link = Link::connected(Sctp::Active);
    link.peer.touch_streams(link.now, 100..200);
    link.run(Duration::from_secs(1));
    assert_eq!(link.closed(), Some(DisconnectReason::LimitExceeded));
}

#[test]
fn garbage_inside_dtls_is_refused_and_the_association_survives() {
    let mut link = Link::connected(Sctp::Active);
    for len in 0..200_usize {
        let garbage: Vec<u8> = (0..len).map(|i| (i * 7 + len) as u8).collect();
        link.peer.send_inside_dtls(link.now, &garbage);
        link.exchange();
    }
    assert!(link.peer.send_data(link.now, "_reliable", b"still here"));
    link.run(Duration::from_secs(2));
    assert_eq!(link.heard(DataChannel::Reliable), [b"still here"]);
}

/// An SCTP packet (RFC 9260 section 3) of these chunks.
fn sctp_packet(tag: u32, chunks: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x13, 0x88, 0x13, 0x88];
    packet.extend(tag.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend(chunks);
    let sum = !packet.iter().fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ if sum & 1 == 1 { 0x82f6_3b78 } else { 0 }
        })
    });
    packet[8..12].copy_from_slice(&sum.to_le_bytes());
    packet
}

fn init(tag: u32, streams: u16) -> Vec<u8> {
    let mut chunk = vec![1, 0, 0, 20];
    chunk.extend(tag.to_be_bytes());
    chunk.extend((1_u32 << 20).to_be_bytes());
    chunk.extend(streams.to_be_bytes());
    chunk.extend(streams.to_be_bytes());
    chunk.extend(1_u32.to_be_bytes());
    chunk
}

#[test]
fn a_storm_of_new_associations_does_not_end_the_one_that_is_there() {
    let mut link = Link::connected(Sctp::Active);
    let before = link.destinations.len();
    for tag in 1..=10_000_u32 {
        let storm = sctp_packet(0, &init(tag, u16::MAX));
        link.peer.send_inside_dtls(link.now, &storm);
        link.exchange();
    }
    let answers = link.destinations.len() - before;
    assert!(answers <= 10_000, "{answers}");
    link.run(Duration::from_secs(5));
    assert!(link.peer.send_data(link.now, "_reliable", b"still here"));
    link.run(Duration::from_secs(2));
    assert_eq!(link.heard(DataChannel::Reliable), [b"still here"]);
    assert_eq!(link.closed(), None);
}

#[test]
fn chunks_that_lie_about_their_length_are_dropped() {
    let mut link = Link::connected(Sctp::Active);
    let lies: [&[u8]; 8] = [
        &[0, 3, 0, 0],
        &[0, 3, 0, 3],
        &[0, 3, 0xff, 0xff, 0, 0, 0, 1],
        &[1, 0, 0, 4],
        &[3, 0, 0, 16, 0, 0, 0, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
        &[64, 0, 0, 4],
        &[130, 0, 0, 4],
        &[192, 0, 0, 12, 0xff, 0xff, 0xff, 0xff, 0, 9, 0xff, 0xff],
    ];
    for round in 0..1_000_u32 {
        for lie in lies {
            let packet = sctp_packet(round, lie);
            link.peer.send_inside_dtls(link.now, &packet);
        }
        link.exchange();
    }
    assert!(link.peer.send_data(link.now, "_reliable", b"still here"));
    link.run(Duration::from_secs(2));
    assert_eq!(link.heard(DataChannel::Reliable), [b"still here"]);
    assert_eq!(link.closed(), None);
}
