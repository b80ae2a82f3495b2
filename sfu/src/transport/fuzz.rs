//! The fuzz functions of the parsers below a transport: bytes in, no panic, no belief.
//!
//! They are reached through [`crate::fuzz`], which says how they are run.
#![expect(
    clippy::disallowed_methods,
    reason = "an arbitrary start of virtual time; only differences of it count"
)]

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sctp_proto::{
    Association, AssociationHandle, ClientConfig, DatagramEvent, Endpoint, EndpointConfig, Payload,
};

use super::dcep::{self, Dcep};
use super::dtls::{Dtls, DtlsOutput, Identity};
use super::ice::IceLite;
use super::params::{Fingerprint, IceCredentials, SctpParams};
use super::sctp::{Sctp, SctpOutput};
use crate::config::Limits;
use crate::id::TransportId;
use crate::shard::command::DataChannel;

const SOMEBODY: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 5000);

/// A STUN message to an agent that knows a password which the bytes do not.
pub fn stun(bytes: &[u8]) {
    let id = TransportId(1);
    let local = IceCredentials::generate(id, [1; 28]);
    let remote = IceCredentials::generate(TransportId(2), [2; 28]);
    let mut agent = IceLite::new(id, local, remote, &[3; 32], &Limits::default());
    // Who is asked for is read before anything is proven.
    let _anybody = super::ice::addressee(bytes);
    let result = agent.handle(Instant::now(), SOMEBODY, bytes);
    assert!(result.is_err(), "a password was guessed");
    assert!(!agent.is_validated(SOMEBODY) && agent.selected().is_none());
}

/// A message that opens a data channel or agrees to one.
pub fn dcep(bytes: &[u8]) {
    if let Ok(Dcep::Open { label, .. }) = Dcep::parse(bytes) {
        assert!(label.len() + 12 <= bytes.len());
        if let Some(channel) = dcep::channel_of(label) {
            let ours = dcep::open(Some(channel));
            assert!(ours.ends_with(label));
        }
    }
}

/// A datagram to a server that waits for its client, then the same again.
pub fn dtls(bytes: &[u8]) {
    static IDENTITY: OnceLock<Identity> = OnceLock::new();
    let identity = IDENTITY.get_or_init(Identity::generate);
    let now = Instant::now();
    let mut dtls = Dtls::new(now, identity, Fingerprint([0; 32]));
    for _ in 0..2 {
        // Refused or not, there is no connection.
        let _refused = dtls.handle_packet(now, bytes);
        while let Some(output) = dtls.poll() {
            assert!(!matches!(output, DtlsOutput::Connected(_)));
        }
    }
    dtls.handle_timeout(now + Duration::from_secs(1));
}

/// Chunks from a peer with whom an association is established: the bytes follow a right header.
pub fn sctp(bytes: &[u8]) {
    let now = Instant::now();
    let mut pair = Pair::established(now);
    let packet = pair.packet(bytes);
    // Refused or not, what is held stays bounded and nothing panics, now or later.
    let _refused = pair.server.handle_packet(now, &packet);
    pair.exchange(now);
    let _refused = pair.server.handle_packet(now, &packet);
    pair.server
        .send(now, DataChannel::Reliable, b"are you there?");
    for second in 1..4 {
        let later = now + Duration::from_secs(second);
        pair.server.handle_timeout(later);
        pair.exchange(later);
    }
}

/// Our end of an association and an ordinary client at the other.
pub(super) struct Pair {
    pub(super) server: Sctp,
    endpoint: Endpoint,
    client: (AssociationHandle, Association),
    /// Ports and verification tag of what the client sends.
    header: [u8; 8],
    /// The number of the client's first DATA.
    first_tsn: u32,
}

impl Pair {
    pub(super) fn established(now: Instant) -> Self {
        let params = SctpParams {
            port: 5000,
            message_size_max: 65_536,
        };
        let mut server = Sctp::new(params, &Limits::default());
        server.start(now);
        let mut endpoint = Endpoint::new(EndpointConfig::new().into(), None);
        let client = endpoint
            .connect(ClientConfig::new(), SOMEBODY)
            .expect("an endpoint that is not full");
        let mut pair = Self {
            server,
            endpoint,
            client,
            header: [0; 8],
            first_tsn: 0,
        };
        pair.exchange(now);
        pair
    }

    fn exchange(&mut self, now: Instant) {
        // A broken client may answer for ever; nobody has to listen.
        for _ in 0..20 {
            let mut is_quiet = true;
            while let Some(transmit) = self.client.1.poll_transmit(now) {
                is_quiet = false;
                if let Payload::RawEncode(packets) = transmit.payload {
                    for packet in packets {
                        self.note(&packet);
                        let _refused = self.server.handle_packet(now, &packet);
                    }
                }
            }
            while let Some(output) = self.server.poll() {
                if let SctpOutput::Packet(packet) = output {
                    is_quiet = false;
                    self.answer(now, packet);
                }
            }
            if is_quiet {
                return;
            }
        }
    }

    fn note(&mut self, packet: &[u8]) {
        self.header.copy_from_slice(&packet[..8]);
        if packet[12] == INIT
            && let Some(tsn) = packet[12 + 16..].first_chunk()
        {
            self.first_tsn = u32::from_be_bytes(*tsn);
        }
    }

    fn answer(&mut self, now: Instant, packet: Bytes) {
        // An INIT of ours would need a client that listens.
        if packet.get(12) == Some(&INIT) {
            return;
        }
        let event = self.endpoint.handle(now, SOMEBODY, None, None, packet);
        if let Some((_, DatagramEvent::AssociationEvent(event))) = event {
            self.client.1.handle_event(event);
        }
    }

    /// Counts numbers from the client's first one, so that a corpus can name them.
    fn renumber(&self, mut chunks: &mut [u8]) {
        while let Some(&[kind, _, high, low]) = chunks.first_chunk() {
            let len = usize::from(u16::from_be_bytes([high, low])).next_multiple_of(4);
            if matches!(kind, DATA | FORWARD_TSN)
                && let Some(field) = chunks[4..].first_chunk_mut::<4>()
            {
                let tsn = u32::from_be_bytes(*field).wrapping_add(self.first_tsn);
                *field = tsn.to_be_bytes();
            }
            chunks = chunks.get_mut(len.max(4)..).unwrap_or_default();
        }
    }

    pub(super) fn packet(&self, chunks: &[u8]) -> Bytes {
        let mut packet = self.header.to_vec();
        packet.extend_from_slice(&[0; 4]);
        packet.extend_from_slice(chunks);
        self.renumber(&mut packet[12..]);
        let checksum = crc32c(&packet);
        packet[8..12].copy_from_slice(&checksum.to_le_bytes());
        packet.into()
    }
}

const INIT: u8 = 1;
const DATA: u8 = 0;
const FORWARD_TSN: u8 = 192;

/// The checksum of SCTP (RFC 9260 appendix A), slow and short.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            crc >> 1 ^ (0x82f6_3b78 * (crc & 1))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_association_that_is_fuzzed_is_a_living_one() {
        let now = Instant::now();
        let mut pair = Pair::established(now);
        assert!(!pair.client.1.is_handshaking());
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        let heartbeat = [4, 0, 0, 12, 0, 1, 0, 8, 1, 2, 3, 4];
        let packet = pair.packet(&heartbeat);
        assert!(pair.server.handle_packet(now, &packet).is_ok());
        let Some(SctpOutput::Packet(answer)) = pair.server.poll() else {
            panic!("a heartbeat is answered");
        };
        assert_eq!(answer[12], 5);

        // The client's first message opens a channel.
        let open = dcep::open(Some(DataChannel::Reliable));
        let mut data = vec![0, 3, 0, 16 + open.len() as u8];
        data.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 50]);
        data.extend_from_slice(&open);
        data.resize(data.len().next_multiple_of(4), 0);
        let packet = pair.packet(&data);
        assert!(pair.server.handle_packet(now, &packet).is_ok());
        let mut outputs = std::iter::from_fn(|| pair.server.poll());
        let is_open = |output: SctpOutput| matches!(output, SctpOutput::Open(_));
        assert!(outputs.any(is_open));
    }
}
