//! A client of the media plane without sockets and clocks: ICE controlling, DTLS client, SRTP and
//! data channels, for tests that run whole calls in virtual time.
//!
//! Make one with [`SimPeer::new`], give its [`SimPeer::params`] to the transport under test, then
//! carry datagrams: what [`SimPeer::poll_transmit`] gives goes to the server *from the address
//! that is named*, what the server sends to [`SimPeer::address`] goes into
//! [`SimPeer::handle_datagram`]. [`SimPeer::poll_event`] tells what happened, media in the clear.
//! [`SimPeer::next_timeout`] and [`SimPeer::handle_timeout`] are its clock. It can also misbehave:
//! move, fall silent, say goodbye, show another certificate, never start SCTP.
#![allow(
    dead_code,
    reason = "every test binary that includes this file uses another part of it"
)]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dimpl::{Dtls, DtlsCertificate, Output, SrtpProfile};
use is::stun::{StunMessage, TransId};
use is::{DefaultSha1HmacProvider, Sha1HmacProvider};
use sctp_proto::{
    Association, AssociationHandle, ClientConfig, DatagramEvent, Endpoint, EndpointConfig, Event,
    Payload, PayloadProtocolIdentifier as Ppi, ServerConfig, StreamEvent,
};
use sfu::id::TransportId;
use sfu::rtp::packet::Header;
use sfu::stream;
use sfu::transport::params::{
    ExtensionIds, Fingerprint, IceCredentials, SctpParams, TransportParams,
};
use sfu::transport::srtp::{Inbound, KeyingMaterial, Outbound, Profile};
use sfu::unit::SeqNo;

/// Between checks before the first answer, and after it.
const CHECK_INTERVAL_FAST: Duration = Duration::from_millis(100);
const CHECK_INTERVAL: Duration = Duration::from_secs(2);
const NOWHERE: &str = "127.0.0.1:5000";

/// What a peer has noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PeerEvent {
    /// The handshake is done.
    Connected(Profile),
    /// A decrypted RTP packet, header included.
    Rtp(Vec<u8>),
    /// A decrypted compound RTCP packet.
    Rtcp(Vec<u8>),
    /// A data channel that we asked for is open, or one that the server asked for.
    ChannelOpen(String),
    /// A data channel has been closed by the server.
    ChannelClosed(String),
    /// A message over the channel of this label.
    Data(String, Vec<u8>),
    /// The server has said goodbye.
    Closed,
}

/// How a peer deviates from the ordinary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sctp {
    /// No data channels.
    None,
    /// Starts the association as browsers do.
    Active,
    /// Waits for the server to start it.
    Passive,
}

/// One client.
pub(crate) struct SimPeer {
    address: SocketAddr,
    id: TransportId,
    local: IceCredentials,
    remote: IceCredentials,
    certificate: DtlsCertificate,
    dtls: Dtls,
    dtls_timeout: Option<Instant>,
    is_checking: bool,
    is_answered: bool,
    next_check: Instant,
    checks_answered: usize,
    srtp: Option<(Inbound, Outbound)>,
    rtp_seq: std::collections::HashMap<u32, SeqNo>,
    sctp: Sctp,
    endpoint: Endpoint,
    association: Option<(AssociationHandle, Association)>,
    channels: Vec<(u16, String, bool)>,
    wanted: Vec<String>,
    refused: usize,
    transmits: VecDeque<(SocketAddr, Vec<u8>)>,
    events: VecDeque<PeerEvent>,
}

impl SimPeer {
    /// A peer at `address` for the server's transport `id`. Peers of different ids differ.
    pub(crate) fn new(now: Instant, id: TransportId, address: SocketAddr, sctp: Sctp) -> Self {
        let certificate = dimpl::certificate::generate_self_signed_certificate().expect("a key");
        let mut dtls = Dtls::new_12(Arc::new(config(id.0)), certificate.clone(), now);
        dtls.set_active(true);
        Self {
            address,
            id,
            local: IceCredentials::generate(TransportId(!id.0), [0x5a; 28]),
            remote: IceCredentials::generate(id, [0xa5; 28]),
            certificate,
            dtls,
            dtls_timeout: None,
            is_checking: true,
            is_answered: false,
            next_check: now,
            checks_answered: 0,
            srtp: None,
            rtp_seq: std::collections::HashMap::new(),
            sctp,
            endpoint: endpoint(),
            association: None,
            channels: Vec::new(),
            wanted: Vec::new(),
            refused: 0,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// What the server's transport must be made with.
    pub(crate) fn params(&self, extensions: ExtensionIds) -> TransportParams {
        let fingerprint = self.certificate.fingerprint();
        TransportParams {
            local_ice: self.remote.clone(),
            remote_ice: self.local.clone(),
            remote_fingerprint: Fingerprint(fingerprint.try_into().expect("32 bytes")),
            extensions,
            sctp: (self.sctp != Sctp::None).then_some(SctpParams {
                port: 5000,
                message_size_max: 65_536,
            }),
        }
    }

    /// Where datagrams for this peer go.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The server's transport.
    pub(crate) fn id(&self) -> TransportId {
        self.id
    }

    /// Whether media may flow.
    pub(crate) fn is_connected(&self) -> bool {
        self.srtp.is_some()
    }

    /// How many connectivity checks were answered.
    pub(crate) fn checks_answered(&self) -> usize {
        self.checks_answered
    }

    /// How many protected packets could not be opened.
    pub(crate) fn refused(&self) -> usize {
        self.refused
    }

    /// Moves to another address and asks the server to follow.
    pub(crate) fn move_to(&mut self, now: Instant, address: SocketAddr) {
        self.address = address;
        self.is_answered = false;
        self.next_check = now;
    }

    /// Stops or resumes connectivity checks.
    pub(crate) fn set_checking(&mut self, now: Instant, is_checking: bool) {
        self.is_checking = is_checking;
        self.next_check = now;
    }

    /// Fresh credentials, ours and the server's, as an offer and its answer would exchange them.
    /// Returns them from the server's view: local, remote.
    pub(crate) fn restart_ice(
        &mut self,
        now: Instant,
        round: u8,
    ) -> (IceCredentials, IceCredentials) {
        self.local = IceCredentials::generate(TransportId(!self.id.0), [round; 28]);
        self.remote = IceCredentials::generate(self.id, [!round; 28]);
        self.is_answered = false;
        self.next_check = now;
        (self.remote.clone(), self.local.clone())
    }

    /// One connectivity check as this peer would send it now.
    pub(crate) fn check(&self, is_nominating: bool) -> Vec<u8> {
        self.check_with(is_nominating, &self.remote.password)
    }

    /// A connectivity check in this peer's name by somebody who has another password.
    pub(crate) fn check_signed_with(&self, password: &str) -> Vec<u8> {
        self.check_with(true, password)
    }

    fn check_with(&self, is_nominating: bool, password: &str) -> Vec<u8> {
        let username = format!("{}:{}", self.remote.ufrag, self.local.ufrag);
        let id = TransId::new();
        let check = StunMessage::binding_request(&username, id, true, 7, 77, is_nominating);
        stun_bytes(&check, password)
    }

    /// The handshake's first flight, to be sent from wherever a test likes.
    pub(crate) fn client_hello(now: Instant) -> Vec<u8> {
        let certificate = dimpl::certificate::generate_self_signed_certificate().expect("a key");
        let mut dtls = Dtls::new_12(Arc::new(config(0)), certificate, now);
        dtls.set_active(true);
        dtls.handle_timeout(now).expect("a fresh client");
        let mut buffer = vec![0; 2048];
        match dtls.poll_output(&mut buffer) {
            Output::Packet(packet) => packet.to_vec(),
            other => panic!("a client begins with its hello, not {other:?}"),
        }
    }

    /// Asks for a data channel, now or as soon as there is an association.
    pub(crate) fn open_channel(&mut self, now: Instant, label: &str) {
        self.wanted.push(label.to_owned());
        self.open_wanted(now);
    }

    /// Sends a byte on each of these streams without asking for a channel.
    pub(crate) fn touch_streams(&mut self, now: Instant, streams: std::ops::Range<u16>) {
        for stream in streams {
            let (_, association) = self.association.as_mut().expect("connected");
            association
                .open_stream(stream, Ppi::Binary)
                .expect("a free stream");
            self.write(stream, b"x", Ppi::Binary);
        }
        self.drain_sctp(now);
    }

    /// Sends a message over an open channel. False: it is not open.
    pub(crate) fn send_data(&mut self, now: Instant, label: &str, message: &[u8]) -> bool {
        let found = self
            .channels
            .iter()
            .find(|(_, l, is_open)| l == label && *is_open);
        let Some((stream, ..)) = found else {
            return false;
        };
        let stream = *stream;
        // RFC 8831 section 6.6: SCTP has no empty messages.
        let is_sent = match message {
            [] => self.write(stream, &[0], Ppi::BinaryEmpty),
            message => self.write(stream, message, Ppi::Binary),
        };
        self.drain_sctp(now);
        is_sent
    }

    /// Protects and queues an RTP packet; its sequence number must not jump by more than 2^15.
    pub(crate) fn send_rtp(&mut self, packet: &[u8]) {
        let header = Header::parse(packet).expect("a packet of a test is well formed");
        let seq = match self.rtp_seq.get(&header.ssrc.0) {
            Some(last) => last.extend(header.sequence),
            None => SeqNo::first(header.sequence),
        };
        self.rtp_seq.insert(header.ssrc.0, seq);
        let (_, outbound) = self.srtp.as_mut().expect("connected before it sends");
        let (head, payload) = packet.split_at(header.len);
        let mut out = Vec::new();
        assert!(outbound.protect_rtp(seq, head, payload, &mut out));
        self.transmit(out);
    }

    /// Protects and queues a compound RTCP packet.
    pub(crate) fn send_rtcp(&mut self, packet: &[u8]) {
        let (_, outbound) = self.srtp.as_mut().expect("connected before it sends");
        let mut out = Vec::new();
        assert!(outbound.protect_rtcp(packet, &mut out));
        self.transmit(out);
    }

    /// Sends raw bytes inside DTLS, past SCTP.
    pub(crate) fn send_inside_dtls(&mut self, now: Instant, bytes: &[u8]) {
        self.dtls.send_application_data(bytes).expect("connected");
        self.drain_dtls(now);
    }

    /// Says goodbye by DTLS.
    pub(crate) fn close(&mut self, now: Instant) {
        self.dtls.close().expect("it was open");
        self.drain_dtls(now);
    }

    /// The next datagram and the address that it leaves from.
    pub(crate) fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.transmits.pop_front()
    }

    /// The next thing that happened.
    pub(crate) fn poll_event(&mut self) -> Option<PeerEvent> {
        self.events.pop_front()
    }

    /// Takes a datagram from the server.
    pub(crate) fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) {
        match datagram.first() {
            Some(0..=3) => self.handle_stun(now, datagram),
            Some(20..=63) => {
                self.dtls.handle_timeout(now).expect("the connection lives");
                // A server that misbehaves fails the handshake; tests see that nothing connects.
                if self.dtls.handle_packet(datagram).is_err() {
                    self.events.push_back(PeerEvent::Closed);
                }
                self.drain_dtls(now);
            }
            Some(128..=191) => self.handle_media(datagram),
            _ => panic!("the server sends no such thing"),
        }
    }

    /// When this peer wants to act.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let check = self.is_checking.then_some(self.next_check);
        let sctp = self
            .association
            .as_ref()
            .and_then(|(_, a)| a.poll_timeout());
        [check, self.dtls_timeout, sctp].into_iter().flatten().min()
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.is_checking && now >= self.next_check {
            let check = self.check(true);
            self.transmit(check);
            let interval = if self.is_answered {
                CHECK_INTERVAL
            } else {
                CHECK_INTERVAL_FAST
            };
            self.next_check = now + interval;
        }
        if self.checks_answered > 0 && self.dtls.handle_timeout(now).is_ok() {
            self.drain_dtls(now);
        }
        if let Some((_, association)) = &mut self.association {
            association.handle_timeout(now);
        }
        self.handle_sctp_events(now);
    }

    fn transmit(&mut self, datagram: Vec<u8>) {
        self.transmits.push_back((self.address, datagram));
    }

    fn handle_stun(&mut self, now: Instant, datagram: &[u8]) {
        let message = StunMessage::parse(datagram).expect("the server sends good STUN");
        if message.is_binding_request() {
            assert!(message.verify(self.local.password.as_bytes(), hmac));
            let seen = stream::seen_at(self.address);
            let reply = StunMessage::binding_reply(message.trans_id(), seen);
            let reply = stun_bytes(&reply, &self.local.password);
            self.transmit(reply);
        } else if message.is_successful_binding_response()
            && message.verify(self.remote.password.as_bytes(), hmac)
        {
            let seen = stream::seen_at(self.address);
            assert_eq!(message.mapped_address(), Some(seen));
            self.checks_answered += 1;
            self.is_answered = true;
            self.next_check = now + CHECK_INTERVAL;
            // The handshake begins as soon as there is a path.
            if self.dtls.handle_timeout(now).is_ok() {
                self.drain_dtls(now);
            }
        }
    }

    fn handle_media(&mut self, datagram: &[u8]) {
        let Some((inbound, _)) = &mut self.srtp else {
            self.refused += 1;
            return;
        };
        let mut packet = datagram.to_vec();
        // RFC 5761 section 4: what would be payload types 64 to 95 is RTCP.
        let event = if (192..=223).contains(&datagram[1]) {
            inbound.unprotect_rtcp(&mut packet).map(|len| {
                packet.truncate(len);
                PeerEvent::Rtcp(packet)
            })
        } else {
            let header = Header::parse(datagram).expect("the server sends good RTP");
            inbound.unprotect_rtp(&header, &mut packet).map(|(_, len)| {
                packet.truncate(len);
                PeerEvent::Rtp(packet)
            })
        };
        match event {
            Ok(event) => self.events.push_back(event),
            Err(_) => self.refused += 1,
        }
    }

    fn drain_dtls(&mut self, now: Instant) {
        let mut buffer = vec![0; 20_000];
        loop {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(packet) => {
                    let packet = packet.to_vec();
                    self.transmit(packet);
                }
                Output::KeyingMaterial(material, profile) => self.connect(now, &material, profile),
                Output::ApplicationData(data) => {
                    let data = Bytes::copy_from_slice(data);
                    self.handle_sctp(now, data);
                }
                Output::CloseNotify => self.events.push_back(PeerEvent::Closed),
                Output::Timeout(at) => {
                    self.dtls_timeout = (at > now).then_some(at);
                    return;
                }
                Output::BufferTooSmall { .. } => panic!("records are smaller"),
                _ => {}
            }
        }
    }

    fn connect(&mut self, now: Instant, material: &[u8], profile: SrtpProfile) {
        let profile = match profile {
            SrtpProfile::AEAD_AES_256_GCM => Profile::AeadAes256Gcm,
            SrtpProfile::AEAD_AES_128_GCM => Profile::AeadAes128Gcm,
            _ => Profile::Aes128CmSha1_80,
        };
        let keys = KeyingMaterial::split(profile, material).expect("the right length");
        let inbound = Inbound::new(profile, &keys.server, 4096);
        self.srtp = Some((inbound, Outbound::new(profile, &keys.client)));
        self.events.push_back(PeerEvent::Connected(profile));
        if self.sctp == Sctp::Active {
            self.start_sctp(now);
        }
    }

    /// Starts the association now, whatever the server does.
    pub(crate) fn start_sctp(&mut self, now: Instant) {
        let remote = NOWHERE.parse().expect("an address");
        let started = self.endpoint.connect(ClientConfig::new(), remote);
        self.association = Some(started.expect("an endpoint that is not full"));
        self.drain_sctp(now);
    }

    fn handle_sctp(&mut self, now: Instant, packet: Bytes) {
        let from = NOWHERE.parse().expect("an address");
        match self.endpoint.handle(now, from, None, None, packet) {
            // Where we have started too, the server must come to terms with that.
            Some((handle, DatagramEvent::NewAssociation(association))) => {
                self.association.get_or_insert((handle, association));
            }
            Some((_, DatagramEvent::AssociationEvent(event))) => {
                if let Some((_, association)) = &mut self.association {
                    association.handle_event(event);
                }
            }
            None => {}
        }
        self.handle_sctp_events(now);
    }

    fn handle_sctp_events(&mut self, now: Instant) {
        while let Some(event) = self.association.as_mut().and_then(|(_, a)| a.poll()) {
            match event {
                Event::Connected => self.open_wanted(now),
                Event::Stream(StreamEvent::Readable { id }) => self.read(id),
                Event::Stream(StreamEvent::Finished { id }) => {
                    if let Some(at) = self.channels.iter().position(|(s, ..)| *s == id) {
                        let (_, label, _) = self.channels.remove(at);
                        self.events.push_back(PeerEvent::ChannelClosed(label));
                    }
                }
                _ => {}
            }
        }
        self.drain_sctp(now);
    }

    fn read(&mut self, id: u16) {
        loop {
            let Some((_, association)) = &mut self.association else {
                return;
            };
            let Ok(mut stream) = association.stream(id) else {
                return;
            };
            let Ok(Some(chunks)) = stream.read_sctp() else {
                return;
            };
            let mut message = vec![0; chunks.len()];
            chunks.read(&mut message).expect("it has this length");
            if chunks.ppi == Ppi::Dcep {
                self.handle_dcep(id, &message);
            } else if let Some((_, label, _)) = self.channels.iter().find(|(s, ..)| *s == id) {
                let message = if chunks.ppi == Ppi::BinaryEmpty {
                    Vec::new()
                } else {
                    message
                };
                self.events
                    .push_back(PeerEvent::Data(label.clone(), message));
            }
        }
    }

    fn handle_dcep(&mut self, id: u16, message: &[u8]) {
        if message[0] == 3 {
            let len = usize::from(u16::from_be_bytes([message[8], message[9]]));
            let label = String::from_utf8_lossy(&message[12..12 + len]).into_owned();
            self.write(id, &[2], Ppi::Dcep);
            self.channels.push((id, label.clone(), true));
            self.events.push_back(PeerEvent::ChannelOpen(label));
        } else if let Some(channel) = self.channels.iter_mut().find(|(s, ..)| *s == id) {
            channel.2 = true;
            self.events
                .push_back(PeerEvent::ChannelOpen(channel.1.clone()));
        }
    }

    fn open_wanted(&mut self, now: Instant) {
        let Some((_, association)) = &mut self.association else {
            return;
        };
        if association.is_handshaking() {
            return;
        }
        for label in std::mem::take(&mut self.wanted) {
            let taken = |id: u16| self.channels.iter().any(|(s, ..)| *s == id);
            let stream = (0..)
                .step_by(2)
                .find(|&id| !taken(id))
                .expect("a free stream");
            let (_, association) = self.association.as_mut().expect("as above");
            association
                .open_stream(stream, Ppi::Binary)
                .expect("a free stream");
            let channel_type = if label == "_lossy" { 0x81 } else { 0 };
            let mut open = vec![
                3,
                channel_type,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                label.len() as u8,
                0,
                0,
            ];
            open.extend_from_slice(label.as_bytes());
            self.write(stream, &open, Ppi::Dcep);
            self.channels.push((stream, label, false));
        }
        self.drain_sctp(now);
    }

    fn write(&mut self, stream: u16, message: &[u8], ppi: Ppi) -> bool {
        let (_, association) = self.association.as_mut().expect("there is an association");
        let stream = association.stream(stream);
        stream
            .and_then(|mut s| s.write_with_ppi(message, ppi))
            .is_ok()
    }

    fn drain_sctp(&mut self, now: Instant) {
        while let Some(transmit) = self
            .association
            .as_mut()
            .and_then(|(_, a)| a.poll_transmit(now))
        {
            if let Payload::RawEncode(packets) = transmit.payload {
                for packet in packets {
                    // After a goodbye nothing can be sent, which is what a goodbye is for.
                    let _is_open = self.dtls.send_application_data(&packet).is_ok();
                }
            }
        }
        self.drain_dtls(now);
    }
}

/// The same seed, the same pauses before a flight is sent again.
fn config(seed: u64) -> dimpl::Config {
    let builder = dimpl::Config::builder()
        .flight_start_rto(Duration::from_millis(250))
        .dangerously_set_rng_seed(seed);
    builder.build().expect("a configuration of constants")
}

fn endpoint() -> Endpoint {
    Endpoint::new(
        Arc::new(EndpointConfig::new()),
        Some(Arc::new(ServerConfig::new())),
    )
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
    DefaultSha1HmacProvider.sha1_hmac(key, parts)
}

fn stun_bytes(message: &StunMessage<'_>, password: &str) -> Vec<u8> {
    let mut buffer = [0; 512];
    let len = message
        .to_bytes(Some(password.as_bytes()), &mut buffer, hmac)
        .expect("short attributes");
    buffer[..len].to_vec()
}
