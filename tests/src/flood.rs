//! Ten thousand hostile datagrams a second: what they are, and how they are sent.
//!
//! Every kind is wrong in one way that a server must recognise. Each source counts the bytes that
//! it sent and got back, because a server that answers more than it is asked is a weapon against
//! others.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::signal::Credentials;
use crate::stun;

/// What can be wrong with a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bytes of no order, of any length.
    Noise,
    /// A first byte that no protocol of RFC 7983 has.
    NoProtocol,
    /// A connectivity check for a user that does not exist.
    StunUnknownUser,
    /// A connectivity check for a real user, signed with a wrong password.
    StunBadIntegrity,
    /// A connectivity check that is longer, by its own account, than the datagram.
    StunLyingLength,
    /// The beginning of a handshake.
    DtlsHello,
    /// A DTLS record with an impossible body.
    DtlsGarbage,
    /// RTP that a receiver without keys cannot tell from real.
    RtpBadTag,
    /// RTP whose contributors, extension or padding reach beyond its end.
    RtpLyingHeader,
    /// RTCP that a receiver without keys cannot tell from real.
    RtcpBadTag,
}

/// What anybody can send.
pub const FROM_ANYWHERE: &[Kind] = &[
    Kind::Noise,
    Kind::NoProtocol,
    Kind::StunUnknownUser,
    Kind::StunBadIntegrity,
    Kind::StunLyingLength,
    Kind::DtlsHello,
    Kind::RtpBadTag,
    Kind::RtpLyingHeader,
    Kind::RtcpBadTag,
];

/// What hurts most from somebody whose address a connectivity check has validated.
pub const FROM_VALIDATED: &[Kind] = &[
    Kind::RtpBadTag,
    Kind::RtpLyingHeader,
    Kind::RtcpBadTag,
    Kind::DtlsGarbage,
    Kind::Noise,
];

/// What the peer of the attacked transport calls itself: the first
/// [`Insider`](crate::insider::Insider). A check that names another pair is for nobody.
const OF_THE_PEER: &str = "evil0";

/// A small generator with a seed (xorshift64), so that a run can be repeated.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator that gives the same numbers for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.number() % bound as u64) as usize
    }

    /// So many bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.number() as u8).collect()
    }
}

impl Kind {
    /// One datagram of this kind against the transport with the credentials `target`.
    pub fn datagram(self, random: &mut Random, target: &Credentials) -> Vec<u8> {
        match self {
            Self::Noise => {
                let length = random.below(1_400);
                random.bytes(length)
            }
            Self::NoProtocol => with_first_byte(random, 4 + (random.clone().number() % 12) as u8),
            Self::StunUnknownUser => {
                let nobody = Credentials {
                    ufrag: "nobody00".into(),
                    ..target.clone()
                };
                check(random, &nobody, "a password that nobody has")
            }
            Self::StunBadIntegrity => check(random, target, "a password that nobody has"),
            Self::StunLyingLength => {
                let mut message = check(random, target, &target.password);
                message[2] = 0x7F;
                message
            }
            Self::DtlsHello => dtls_record(22, &client_hello(random)),
            Self::DtlsGarbage => {
                let (kind, length) = (20 + random.below(4) as u8, 1 + random.below(200));
                let body = random.bytes(length);
                dtls_record(kind, &body)
            }
            Self::RtpBadTag => {
                let mut packet = random.bytes(60 + random.clone().below(900));
                packet[..2].copy_from_slice(&[0x80, 111]);
                packet
            }
            Self::RtpLyingHeader => lying_rtp(random),
            Self::RtcpBadTag => {
                let mut packet = random.bytes(60);
                packet[..4].copy_from_slice(&[0x80, 200, 0, 6]);
                packet
            }
        }
    }
}

fn with_first_byte(random: &mut Random, first: u8) -> Vec<u8> {
    let length = 1 + random.below(400);
    let mut bytes = random.bytes(length);
    bytes[0] = first;
    bytes
}

fn check(random: &mut Random, target: &Credentials, password: &str) -> Vec<u8> {
    let local = Credentials {
        ufrag: OF_THE_PEER.into(),
        password: String::new(),
    };
    let transaction = random.bytes(12).try_into().expect("twelve bytes were made");
    stun::binding_request(&local, target, password, transaction)
}

fn dtls_record(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut record = vec![kind, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0];
    record.extend((body.len() as u16).to_be_bytes());
    record.extend(body);
    record
}

/// A hello of DTLS 1.2 with one cipher suite and no extension, whole and well formed.
fn client_hello(random: &mut Random) -> Vec<u8> {
    let mut body = vec![0xFE, 0xFD];
    body.extend(random.bytes(32));
    body.extend([0, 0, 0, 2, 0xC0, 0x2B, 1, 0]);
    let length = (body.len() as u32).to_be_bytes();
    let mut message = vec![1, length[1], length[2], length[3], 0, 0, 0, 0, 0];
    message.extend(&length[1..]);
    message.extend(body);
    message
}

fn lying_rtp(random: &mut Random) -> Vec<u8> {
    let mut packet = random.bytes(12 + random.clone().below(20));
    packet[1] = 111;
    packet[0] = match random.below(3) {
        // Fifteen contributors in a packet that is too short for them.
        0 => 0x8F,
        // An extension that would be 256 KB long.
        1 => {
            packet.extend([0xBE, 0xDE, 0xFF, 0xFF]);
            0x90 | 0x01
        }
        // Not even a whole header.
        _ => {
            packet.truncate(8);
            0x80
        }
    };
    packet
}

/// One address that datagrams are sent from.
pub struct Source {
    socket: UdpSocket,
    /// Bytes and datagrams sent.
    pub sent: Traffic,
    /// Bytes and datagrams that came back.
    pub received: Traffic,
}

/// An amount of traffic.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    /// Datagrams.
    pub datagrams: u64,
    /// Bytes of payload.
    pub bytes: u64,
}

impl Traffic {
    fn add(&mut self, length: usize) {
        self.datagrams += 1;
        self.bytes += length as u64;
    }
}

impl Source {
    /// A source on loopback that sends to `server`.
    pub fn towards(server: SocketAddr) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
        socket.connect(server).expect("the address is on loopback");
        Self {
            socket,
            sent: Traffic::default(),
            received: Traffic::default(),
        }
    }

    /// Sends one datagram.
    pub fn send(&mut self, datagram: &[u8]) {
        let sent = self
            .socket
            .send(datagram)
            .expect("loopback takes every datagram");
        self.sent.add(sent);
    }

    /// Waits for one datagram.
    pub fn receive(&mut self, timeout: Duration) -> Option<Vec<u8>> {
        self.socket
            .set_nonblocking(false)
            .expect("the socket is open");
        self.socket
            .set_read_timeout(Some(timeout))
            .expect("the timeout is not zero");
        let mut buffer = [0; 2_048];
        let length = self.socket.recv(&mut buffer).ok()?;
        self.received.add(length);
        Some(buffer[..length].to_vec())
    }

    /// Counts whatever has come back.
    pub fn drain(&mut self) {
        self.socket
            .set_nonblocking(true)
            .expect("the socket is open");
        let mut buffer = [0; 2_048];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            self.received.add(length);
        }
    }
}

/// Calls `send` so often a second for `duration`, evenly in steps of a millisecond.
pub fn paced(per_second: u64, duration: Duration, mut send: impl FnMut()) -> u64 {
    let began = Instant::now();
    let mut sent = 0;
    while began.elapsed() < duration {
        let due = began.elapsed().as_micros() as u64 * per_second / 1_000_000;
        for _ in sent..due {
            send();
        }
        sent = sent.max(due);
        std::thread::sleep(Duration::from_millis(1));
    }
    sent
}
