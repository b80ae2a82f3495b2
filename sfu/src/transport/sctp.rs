//! Data channels over SCTP: associations by `sctp-proto`, channels by RFC 8832.
//!
//! `Sctp` knows two channels, `_reliable` and `_lossy`, whoever opens them. It owns the queues in
//! both directions and keeps them bounded: what a peer may make us hold is checked before
//! `sctp-proto` sees a packet, what we may queue for a peer before it sees a message.
//!
//! Either side may start. A client that has not started by itself shortly after the handshake
//! (there are stacks that never do) is sent an INIT by us. If both then start at once, the one
//! rule of [`Sctp::handle_packet`] decides, because `sctp-proto` has none.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sctp_proto::{
    Association, AssociationError, AssociationHandle, ClientConfig, DatagramEvent, Endpoint,
    EndpointConfig, Event, Payload, PayloadProtocolIdentifier as Ppi, ReliabilityType,
    ServerConfig, StreamEvent, TransportConfig,
};

use super::dcep::{self, Dcep};
use super::packet_scan::{self, Scan};
use super::params::SctpParams;
use crate::config::Limits;
use crate::error::Reject;
use crate::shard::command::DataChannel;
use crate::shard::event::DisconnectReason;

/// How long the peer has time to start the association before we do: a round trip to anywhere.
const START_DELAY: Duration = Duration::from_millis(200);
/// Bytes that a peer may make us hold: one message of the largest size, and a window beside it.
const RECEIVE_WINDOW: u32 = 256 * 1024;
/// Pieces that those bytes may be cut into. Each costs 400 bytes of book-keeping, and `sctp-proto`
/// looks through all of them for each that comes: 2,048 are 0.8 MB and a second of work in all.
const CHUNKS_HELD_MAX: usize = 2_048;
/// The address is a formality: where packets go is decided below DTLS.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5000);

/// What comes out.
pub(super) enum SctpOutput {
    /// To be encrypted and sent.
    Packet(Bytes),
    /// A channel is open in both directions.
    Open(DataChannel),
    /// A message.
    Data(DataChannel, Bytes),
    /// It is over.
    Closed(DisconnectReason),
}

/// One association, from its start to its end.
pub(super) struct Sctp {
    config: Config,
    /// `a=max-message-size` of the peer, 0 for none.
    peer_message_bytes_max: usize,
    message_bytes_max: usize,
    queue_bytes_max: usize,
    streams_max: usize,
    endpoint: Endpoint,
    association: Option<(AssociationHandle, Association)>,
    /// We sent an INIT and nothing has answered it.
    is_unanswered: bool,
    is_established: bool,
    is_closed: bool,
    start_at: Option<Instant>,
    /// By which the peer's INIT is known again.
    peer_tag: Option<u32>,
    channels: Vec<Channel>,
    wanted: Vec<Option<DataChannel>>,
    chunks_held: usize,
    outputs: VecDeque<SctpOutput>,
}

/// A stream that carries one of our channels.
struct Channel {
    stream: u16,
    /// `None` for one that is kept open and ignored.
    kind: Option<DataChannel>,
    is_open: bool,
}

impl Sctp {
    /// Prepares an association; nothing is sent before [`Sctp::start`].
    pub(super) fn new(params: SctpParams, limits: &Limits) -> Self {
        let config = config(params, limits);
        Self {
            endpoint: endpoint(&config),
            config,
            peer_message_bytes_max: params.message_size_max as usize,
            message_bytes_max: limits.data_message_bytes_max,
            queue_bytes_max: limits.data_queue_bytes_max,
            streams_max: limits.data_streams_max,
            association: None,
            is_unanswered: false,
            is_established: false,
            is_closed: false,
            start_at: None,
            peer_tag: None,
            channels: Vec::new(),
            wanted: Vec::new(),
            chunks_held: 0,
            outputs: VecDeque::new(),
        }
    }

    /// DTLS is connected: the peer may start now, and we will if it does not.
    pub(super) fn start(&mut self, now: Instant) {
        self.start_at = Some(now + START_DELAY);
    }

    /// Opens our channels from our side as soon as there is an association, and with them the one
    /// that clients look for and that we ignore.
    pub(super) fn open_all(&mut self, now: Instant) {
        let ours = [DataChannel::Reliable, DataChannel::Lossy].map(Some);
        self.wanted.extend(ours.into_iter().chain([None]));
        if self.is_established {
            self.open_wanted();
            self.drain(now);
        }
    }

    /// Our channels that are open in both directions.
    pub(super) fn open_channels(&self) -> impl Iterator<Item = DataChannel> {
        let open = self.channels.iter().filter(|channel| channel.is_open);
        open.filter_map(|channel| channel.kind)
    }

    /// Takes one packet out of DTLS.
    pub(super) fn handle_packet(&mut self, now: Instant, packet: &Bytes) -> Result<(), Reject> {
        if self.is_closed || self.start_at.is_none() {
            return Err(Reject::Sctp);
        }
        let scan = packet_scan::scan(packet)?;
        if let Some(tag) = scan.init_tag
            && !self.takes_init(tag)
        {
            return Err(Reject::Sctp);
        }
        self.hold(scan);
        self.feed(now, packet);
        let result = self.handle_events();
        self.drain(now);
        result
    }

    /// Both sides may start at once. Theirs wins as long as nobody has answered ours: then their
    /// answer to ours finds nobody. Ours wins afterwards: then they take our COOKIE-ECHO in place
    /// of an answer (RFC 9260 section 5.2.4). A later INIT would restart the association, which
    /// inside DTLS only a delayed one does.
    fn takes_init(&mut self, tag: u32) -> bool {
        match &self.association {
            None => {}
            Some(_) if self.is_unanswered => {
                self.endpoint = endpoint(&self.config);
                self.association = None;
                self.is_unanswered = false;
            }
            // Sent again, because our answer to it is late. `sctp-proto` would begin another
            // association for every new tag, and never forget one.
            Some(_) => return self.peer_tag == Some(tag) && !self.is_established,
        }
        self.peer_tag = Some(tag);
        true
    }

    fn feed(&mut self, now: Instant, packet: &Bytes) {
        match self
            .endpoint
            .handle(now, NOWHERE, None, None, packet.clone())
        {
            Some((handle, DatagramEvent::NewAssociation(association))) => {
                self.association = Some((handle, association));
            }
            Some((_, DatagramEvent::AssociationEvent(event))) => {
                self.is_unanswered = false;
                if let Some((_, association)) = &mut self.association {
                    association.handle_event(event);
                }
            }
            None => {}
        }
    }

    /// Counts what the packet may make us hold, and ends an association that holds too much.
    fn hold(&mut self, scan: Scan) {
        self.chunks_held += scan.data_chunks;
        let streams = self
            .association
            .as_ref()
            .map_or(0, |(_, association)| association.stream_ids().len());
        if self.chunks_held > CHUNKS_HELD_MAX || streams > self.streams_max {
            self.end(DisconnectReason::LimitExceeded);
        }
    }

    fn handle_events(&mut self) -> Result<(), Reject> {
        let mut result = Ok(());
        while let Some(event) = self.poll_event() {
            result = result.and(self.handle_event(event));
        }
        result
    }

    fn poll_event(&mut self) -> Option<Event> {
        if self.is_closed {
            return None;
        }
        self.association.as_mut()?.1.poll()
    }

    fn handle_event(&mut self, event: Event) -> Result<(), Reject> {
        match event {
            Event::Connected => {
                self.is_established = true;
                self.open_wanted();
            }
            Event::Stream(StreamEvent::Readable { id }) => return self.read(id),
            Event::Stream(StreamEvent::Finished { id }) => {
                self.channels.retain(|channel| channel.stream != id);
            }
            Event::HandshakeFailed { reason } | Event::AssociationLost { reason } => {
                self.end(match reason {
                    AssociationError::ReceiveBufferExhausted => DisconnectReason::LimitExceeded,
                    _ => DisconnectReason::ClosedByPeer,
                });
            }
            _ => {}
        }
        Ok(())
    }

    fn read(&mut self, stream: u16) -> Result<(), Reject> {
        let mut result = Ok(());
        while let Some((ppi, message)) = self.read_message(stream) {
            result = result.and(self.handle_message(stream, ppi, message));
        }
        result
    }

    fn read_message(&mut self, id: u16) -> Option<(Ppi, Bytes)> {
        let (_, association) = self.association.as_mut()?;
        let mut chunks = association.stream(id).ok()?.read_sctp().ok()??;
        self.chunks_held = self.chunks_held.saturating_sub(chunks.chunks.len());
        let ppi = chunks.ppi;
        let len = chunks.len();
        let message = chunks
            .next(len)
            .map(|chunk| chunk.bytes)
            .unwrap_or_default();
        Some((ppi, message))
    }

    fn handle_message(&mut self, stream: u16, ppi: Ppi, message: Bytes) -> Result<(), Reject> {
        match ppi {
            Ppi::Dcep => self.handle_dcep(stream, &message),
            // An empty message is sent as one byte with a protocol of its own (RFC 8831 6.6).
            Ppi::StringEmpty | Ppi::BinaryEmpty => self.deliver(stream, Bytes::new()),
            Ppi::String | Ppi::Binary => self.deliver(stream, message),
            Ppi::Unknown => Err(Reject::Sctp),
        }
    }

    fn deliver(&mut self, stream: u16, message: Bytes) -> Result<(), Reject> {
        let channel = self
            .channels
            .iter()
            .find(|channel| channel.stream == stream);
        let kind = channel.and_then(|channel| channel.kind);
        let kind = kind.ok_or(Reject::UnknownChannel)?;
        if message.len() > self.message_bytes_max {
            return Err(Reject::Sctp);
        }
        self.outputs.push_back(SctpOutput::Data(kind, message));
        Ok(())
    }

    fn handle_dcep(&mut self, stream: u16, message: &[u8]) -> Result<(), Reject> {
        match Dcep::parse(message)? {
            Dcep::Open { label, .. } => self.accept(stream, label),
            Dcep::Ack => {
                self.acknowledged(stream);
                Ok(())
            }
        }
    }

    /// Agrees to a channel that we know or ignore, and closes any other.
    fn accept(&mut self, stream: u16, label: &[u8]) -> Result<(), Reject> {
        let kind = dcep::channel_of(label);
        if kind.is_none() && label != dcep::IGNORED_LABEL {
            self.reset(stream);
            return Err(Reject::UnknownChannel);
        }
        // A client that opens a channel anew has lost the old one.
        let replaced = self
            .channels
            .iter()
            .position(|channel| channel.kind == kind && channel.stream != stream);
        if let Some(index) = replaced {
            let old = self.channels.swap_remove(index).stream;
            self.reset(old);
        }
        self.channels.retain(|channel| channel.stream != stream);
        self.channels.push(Channel {
            stream,
            kind,
            is_open: true,
        });
        self.write(stream, dcep::ACKNOWLEDGEMENT, Ppi::Dcep);
        if let Some(kind) = kind {
            self.set_reliability(stream, kind);
            self.outputs.push_back(SctpOutput::Open(kind));
        }
        Ok(())
    }

    fn acknowledged(&mut self, stream: u16) {
        let channel = self
            .channels
            .iter_mut()
            .find(|channel| channel.stream == stream && !channel.is_open);
        if let Some(channel) = channel {
            channel.is_open = true;
            if let Some(kind) = channel.kind {
                self.set_reliability(stream, kind);
                self.outputs.push_back(SctpOutput::Open(kind));
            }
        }
    }

    /// Opens what we want on odd streams, which belong to the DTLS server (RFC 8832 section 6).
    fn open_wanted(&mut self) {
        for kind in std::mem::take(&mut self.wanted) {
            let stream = (1..)
                .step_by(2)
                .find(|&id| self.channels.iter().all(|channel| channel.stream != id))
                .expect("there are more odd numbers than channels");
            let is_new = self
                .association
                .as_mut()
                .is_some_and(|(_, a)| a.open_stream(stream, Ppi::Binary).is_ok());
            if is_new {
                self.channels.push(Channel {
                    stream,
                    kind,
                    is_open: false,
                });
                self.write(stream, &dcep::open(kind), Ppi::Dcep);
            }
        }
    }

    /// Queues one message. False: the channel is not open, the queue is full or the message is
    /// larger than the peer takes.
    pub(super) fn send(&mut self, now: Instant, kind: DataChannel, message: &[u8]) -> bool {
        let len_max = self.peer_message_bytes_max;
        // Zero means any size (RFC 8841 section 6.1).
        let is_too_large = len_max != 0 && message.len() > len_max;
        let stream = self
            .channels
            .iter()
            .find(|channel| channel.kind == Some(kind) && channel.is_open)
            .map(|channel| channel.stream);
        let (Some(stream), false) = (stream, is_too_large) else {
            return false;
        };
        if self.queued_bytes() + message.len() > self.queue_bytes_max {
            return false;
        }
        let is_written = match message {
            [] => self.write(stream, &[0], Ppi::BinaryEmpty),
            message => self.write(stream, message, Ppi::Binary),
        };
        self.drain(now);
        is_written
    }

    fn queued_bytes(&mut self) -> usize {
        let Some((_, association)) = &mut self.association else {
            return 0;
        };
        let buffered = |channel: &Channel| {
            let stream = association.stream(channel.stream).ok()?;
            stream.buffered_amount().ok()
        };
        self.channels.iter().filter_map(buffered).sum()
    }

    fn write(&mut self, stream: u16, message: &[u8], ppi: Ppi) -> bool {
        let Some((_, association)) = &mut self.association else {
            return false;
        };
        association
            .stream(stream)
            .and_then(|mut stream| stream.write_with_ppi(message, ppi))
            .is_ok()
    }

    fn set_reliability(&mut self, stream: u16, kind: DataChannel) {
        let (is_unordered, reliability) = match kind {
            DataChannel::Reliable => (false, ReliabilityType::Reliable),
            DataChannel::Lossy => (true, ReliabilityType::Rexmit),
        };
        if let Some((_, association)) = &mut self.association
            && let Ok(mut stream) = association.stream(stream)
        {
            stream
                .set_reliability_params(is_unordered, reliability, 0)
                .expect("the stream exists");
        }
    }

    fn reset(&mut self, stream: u16) {
        if let Some((_, association)) = &mut self.association
            && let Ok(mut stream) = association.stream(stream)
        {
            // Without an association there is no channel left to close.
            let _already_gone = stream.close();
        }
    }

    fn end(&mut self, reason: DisconnectReason) {
        if !self.is_closed {
            self.is_closed = true;
            self.outputs.push_back(SctpOutput::Closed(reason));
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.is_closed {
            return;
        }
        if self.association.is_none() && self.start_at.is_some_and(|at| now >= at) {
            self.connect();
        }
        if let Some((_, association)) = &mut self.association {
            association.handle_timeout(now);
        }
        // Data that was waiting in a stream has been read when it came.
        let _nothing_new = self.handle_events();
        self.drain(now);
    }

    fn connect(&mut self) {
        let mut client = ClientConfig::new();
        client.transport = self.config.clone();
        if let Ok((handle, association)) = self.endpoint.connect(client, NOWHERE) {
            self.association = Some((handle, association));
            self.is_unanswered = true;
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        if self.is_closed {
            return None;
        }
        match &self.association {
            Some((_, association)) => association.poll_timeout(),
            None => self.start_at,
        }
    }

    pub(super) fn poll(&mut self) -> Option<SctpOutput> {
        self.outputs.pop_front()
    }

    fn drain(&mut self, now: Instant) {
        let Some((_, association)) = &mut self.association else {
            return;
        };
        while let Some(transmit) = association.poll_transmit(now) {
            let Payload::RawEncode(packets) = transmit.payload else {
                continue;
            };
            for packet in packets {
                if let Some(window) = packet_scan::announced_window(&packet) {
                    // Every piece that is held holds at least a byte of the window.
                    let bytes_held = RECEIVE_WINDOW.saturating_sub(window) as usize;
                    self.chunks_held = self.chunks_held.min(bytes_held);
                }
                self.outputs.push_back(SctpOutput::Packet(packet));
            }
        }
    }
}

#[expect(
    clippy::disallowed_types,
    reason = "sctp-proto takes its configuration so"
)]
type Config = std::sync::Arc<TransportConfig>;

fn config(params: SctpParams, limits: &Limits) -> Config {
    let send_max = match params.message_size_max {
        0 => u32::MAX,
        size => size,
    };
    let receive_max = u32::try_from(limits.data_message_bytes_max).unwrap_or(u32::MAX);
    let streams_max = u16::try_from(limits.data_streams_max).unwrap_or(u16::MAX);
    let config = TransportConfig::default()
        .with_remote_port(params.port)
        .with_max_receive_buffer_size(RECEIVE_WINDOW)
        .with_max_send_message_size(send_max)
        .with_max_receive_message_size(receive_max)
        .with_max_num_inbound_streams(streams_max)
        .with_max_num_outbound_streams(streams_max)
        // ICE and DTLS say when the peer is gone; SCTP waits for as long as they do.
        .with_max_init_retransmits(None)
        .with_max_data_retransmits(None)
        .with_rto_initial_ms(RTO_INITIAL_MS)
        .with_rto_min_ms(RTO_MIN_MS)
        .with_rto_max_ms(RTO_MAX_MS);
    config.into()
}

/// What browsers use instead of the three seconds, one second and one minute of RFC 9260, which
/// were chosen for telephone networks.
const RTO_INITIAL_MS: u64 = 500;
const RTO_MIN_MS: u64 = 200;
const RTO_MAX_MS: u64 = 5_000;

fn endpoint(config: &Config) -> Endpoint {
    let mut server = ServerConfig::new();
    server.transport = config.clone();
    Endpoint::new(EndpointConfig::new().into(), Some(server.into()))
}

#[cfg(test)]
mod tests {
    use super::super::fuzz::Pair;
    use super::*;

    #[expect(
        clippy::disallowed_methods,
        reason = "an arbitrary start of virtual time"
    )]
    fn start() -> Instant {
        Instant::now()
    }

    fn init(tag: u32) -> Vec<u8> {
        let mut chunk = vec![1, 0, 0, 20];
        chunk.extend_from_slice(&tag.to_be_bytes());
        chunk.extend_from_slice(&[0, 1, 0, 0, 0, 10, 0, 10, 0, 0, 0, 1]);
        chunk
    }

    /// The first byte of a message of which no more will come.
    fn piece(number: u32) -> Vec<u8> {
        let mut chunk = vec![0, 6, 0, 17];
        chunk.extend_from_slice(&number.to_be_bytes());
        chunk.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 53, 7, 0, 0, 0]);
        chunk
    }

    fn closed(pair: &mut Pair) -> Option<DisconnectReason> {
        std::iter::from_fn(|| pair.server.poll()).find_map(|output| match output {
            SctpOutput::Closed(reason) => Some(reason),
            _ => None,
        })
    }

    #[test]
    fn pieces_that_are_never_finished_end_the_association() {
        let now = start();
        let mut pair = Pair::established(now);
        // Every second one is missing, so that nothing can be forgotten.
        for number in 0..CHUNKS_HELD_MAX as u32 {
            let packet = pair.packet(&piece(2 * number + 1));
            pair.server.handle_packet(now, &packet).expect("it is held");
        }
        assert_eq!(closed(&mut pair), None);
        let packet = pair.packet(&piece(1_000_000));
        assert_eq!(pair.server.handle_packet(now, &packet), Ok(()));
        assert_eq!(closed(&mut pair), Some(DisconnectReason::LimitExceeded));
    }

    #[test]
    fn messages_that_are_read_cost_no_bound() {
        let now = start();
        let mut pair = Pair::established(now);
        let open = dcep::open(Some(DataChannel::Lossy));
        let mut chunk = vec![0, 3, 0, 16 + open.len() as u8];
        chunk.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 50]);
        chunk.extend_from_slice(&open);
        chunk.resize(chunk.len().next_multiple_of(4), 0);
        let packet = pair.packet(&chunk);
        pair.server.handle_packet(now, &packet).expect("a request");
        for number in 1..3 * CHUNKS_HELD_MAX as u32 {
            let mut whole = piece(number);
            whole[1] = 7;
            let packet = pair.packet(&whole);
            pair.server.handle_packet(now, &packet).expect("a message");
        }
        let outputs: Vec<_> = std::iter::from_fn(|| pair.server.poll()).collect();
        let is_data = |output: &&SctpOutput| matches!(output, SctpOutput::Data(..));
        assert_eq!(
            outputs.iter().filter(is_data).count(),
            3 * CHUNKS_HELD_MAX - 1
        );
        assert!(pair.server.chunks_held < 10);
    }

    #[test]
    fn a_storm_of_beginnings_begins_nothing() {
        let now = start();
        let params = SctpParams {
            port: 5000,
            message_size_max: 0,
        };
        let mut server = Sctp::new(params, &Limits::default());
        server.start(now);
        let packet = |tag: u32| {
            let mut header = [0x13, 0x88, 0x13, 0x88, 0, 0, 0, 0, 0, 0, 0, 0].to_vec();
            header.extend_from_slice(&init(tag));
            let checksum = super::super::fuzz::crc32c(&header);
            header[8..12].copy_from_slice(&checksum.to_le_bytes());
            Bytes::from(header)
        };
        let taken = (1..1000).filter(|&tag| server.handle_packet(now, &packet(tag)).is_ok());
        assert_eq!(taken.count(), 1);
        assert!(server.handle_packet(now, &packet(1)).is_ok(), "sent again");
        let answers = std::iter::from_fn(|| server.poll()).count();
        assert_eq!(answers, 2);

        let mut pair = Pair::established(now);
        for tag in 1..1000 {
            assert!(pair.server.handle_packet(now, &packet(tag)).is_err());
        }
        assert_eq!(closed(&mut pair), None);
    }
}
