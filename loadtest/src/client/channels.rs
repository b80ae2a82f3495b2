//! The two data channels that every client opens: servers take a participant without for broken.
//!
//! An SCTP association by `sctp-proto` and just enough of RFC 8832 to open `_reliable` and
//! `_lossy`. Messages are sent over the first; what comes is acknowledged and dropped.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use sctp_proto::{
    Association, AssociationHandle, ClientConfig, DatagramEvent, Endpoint, EndpointConfig, Event,
    Payload, PayloadProtocolIdentifier as Ppi, StreamEvent, TransportConfig,
};

/// The address is a formality: packets go through DTLS.
const NOWHERE: &str = "127.0.0.1:5000";

/// Where the type of the first chunk is, and that of one that starts an association.
const FIRST_CHUNK: usize = 12;
const INIT: u8 = 1;

/// One client's association.
pub(crate) struct Channels {
    endpoint: Endpoint,
    association: Option<(AssociationHandle, Association)>,
    first_stream: u16,
    acknowledged: u8,
    packets: VecDeque<Bytes>,
}

impl Channels {
    /// Starts an association; the DTLS client opens even streams, the server odd ones.
    pub(crate) fn start(now: Instant, is_dtls_client: bool) -> Self {
        let config = TransportConfig::default().with_max_receive_buffer_size(128 * 1024);
        let mut client = ClientConfig::new();
        client.transport = Arc::new(config);
        let mut endpoint = Endpoint::new(EndpointConfig::new().into(), None);
        let nowhere: SocketAddr = NOWHERE.parse().expect("a constant address");
        let association = endpoint.connect(client, nowhere).ok();
        let first_stream = u16::from(!is_dtls_client);
        let mut channels = Self {
            endpoint,
            association,
            first_stream,
            acknowledged: 0,
            packets: VecDeque::new(),
        };
        channels.drain(now);
        channels
    }

    /// Whether both channels are open.
    pub(crate) fn are_open(&self) -> bool {
        self.acknowledged >= 2
    }

    /// Sends a reliable message; one that does not fit is dropped.
    pub(crate) fn say(&mut self, now: Instant, message: &[u8]) {
        if !self.are_open() {
            return;
        }
        if let Some((_, association)) = &mut self.association
            && let Ok(mut stream) = association.stream(self.first_stream)
        {
            // The server counts what it gets; nobody waits for this one.
            let _ = stream.write_with_ppi(message, Ppi::Binary);
        }
        self.drain(now);
    }

    /// Takes a packet out of DTLS.
    pub(crate) fn handle(&mut self, now: Instant, packet: &[u8]) {
        if packet.get(FIRST_CHUNK) == Some(&INIT) {
            // Both sides start at once. Ours goes on: an endpoint that is no server cannot take
            // theirs, and the other side answers ours (RFC 9260 section 5.2).
            return;
        }
        let nowhere: SocketAddr = NOWHERE.parse().expect("a constant address");
        let packet = Bytes::copy_from_slice(packet);
        let event = self.endpoint.handle(now, nowhere, None, None, packet);
        if let (Some((to, DatagramEvent::AssociationEvent(event))), Some((handle, association))) =
            (event, &mut self.association)
            && to == *handle
        {
            association.handle_event(event);
        }
        while let Some(transmit) = self.endpoint.poll_transmit() {
            if let Payload::RawEncode(packets) = transmit.payload {
                self.packets.extend(packets);
            }
        }
        self.drain(now);
    }

    /// Lets timers fire.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if let Some((_, association)) = &mut self.association
            && association.poll_timeout().is_some_and(|at| at <= now)
        {
            association.handle_timeout(now);
            self.drain(now);
        }
    }

    /// A packet for DTLS to send.
    pub(crate) fn poll(&mut self) -> Option<Bytes> {
        self.packets.pop_front()
    }

    fn drain(&mut self, now: Instant) {
        while let Some(event) = self.association.as_mut().and_then(|(_, a)| a.poll()) {
            match event {
                Event::Connected => self.open(),
                Event::Stream(StreamEvent::Readable { id }) => self.read(id),
                _ => {}
            }
        }
        let Some((_, association)) = &mut self.association else {
            return;
        };
        while let Some(transmit) = association.poll_transmit(now) {
            if let Payload::RawEncode(packets) = transmit.payload {
                self.packets.extend(packets);
            }
        }
    }

    fn open(&mut self) {
        let Some((_, association)) = &mut self.association else {
            return;
        };
        // Reliable and ordered, and unordered without resending.
        for (i, (label, kind)) in [("_reliable", 0x00), ("_lossy", 0x81)]
            .into_iter()
            .enumerate()
        {
            let mut message = vec![3, kind, 0, 0, 0, 0, 0, 0, 0, label.len() as u8, 0, 0];
            message.extend_from_slice(label.as_bytes());
            if let Ok(mut stream) =
                association.open_stream(self.first_stream + 2 * i as u16, Ppi::Binary)
            {
                // A refused open leaves the channel closed, which the report shows.
                let _ = stream.write_with_ppi(&message, Ppi::Dcep);
            }
        }
    }

    fn read(&mut self, id: u16) {
        let Some((_, association)) = &mut self.association else {
            return;
        };
        while let Some(mut chunks) = association
            .stream(id)
            .ok()
            .and_then(|mut s| s.read_sctp().ok().flatten())
        {
            let (ppi, len) = (chunks.ppi, chunks.len());
            let message = chunks
                .next(len)
                .map(|chunk| chunk.bytes)
                .unwrap_or_default();
            if ppi == Ppi::Dcep && message.first() == Some(&2) {
                self.acknowledged += 1;
            }
        }
    }
}
