//! A TURN client (RFC 8656) that does only what it is told, for what no browser would ask.
//!
//! Written by hand so that the server's own reader and writer do not check themselves. It speaks over
//! whatever stream it is given.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};

use aws_lc_rs::hmac;
use md5::{Digest, Md5};

const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];
const ALLOCATE: u16 = 0x003;
const REFRESH: u16 = 0x004;
const CREATE_PERMISSION: u16 = 0x008;
const CHANNEL_BIND: u16 = 0x009;
const SEND: u16 = 0x016;
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const CHANNEL_NUMBER: u16 = 0x000C;
const LIFETIME: u16 = 0x000D;
const XOR_PEER_ADDRESS: u16 = 0x0012;
const DATA: u16 = 0x0013;
const REALM: u16 = 0x0014;
const NONCE: u16 = 0x0015;
const REQUESTED_ADDRESS_FAMILY: u16 = 0x0017;
const REQUESTED_TRANSPORT: u16 = 0x0019;

/// One connection to a TURN server.
pub struct Client<S> {
    stream: S,
    username: String,
    password: String,
    challenge: Option<(Vec<u8>, Vec<u8>)>,
    transactions: u8,
}

/// What a server answers: 0 for yes, else the code of its refusal.
pub type Code = u16;

impl<S: Read + Write> Client<S> {
    /// A client with these credentials.
    pub fn new(stream: S, username: &str, password: &str) -> Self {
        Self {
            stream,
            username: username.to_owned(),
            password: password.to_owned(),
            challenge: None,
            transactions: 0,
        }
    }

    /// Asks for an allocation without saying who asks.
    pub fn allocate_as_nobody(&mut self) -> Code {
        let transaction = self.transaction();
        let mut message = head(ALLOCATE, transaction);
        attribute(&mut message, REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
        self.exchange(&message)
    }

    /// Asks for an allocation with an address of this family, 4 or 6.
    pub fn allocate(&mut self, family: u8) -> Code {
        let mut attributes = vec![(REQUESTED_TRANSPORT, vec![17, 0, 0, 0])];
        if family == 6 {
            attributes.push((REQUESTED_ADDRESS_FAMILY, vec![2, 0, 0, 0]));
        }
        self.ask(ALLOCATE, &attributes, &[])
    }

    /// Asks to go on.
    pub fn refresh(&mut self) -> Code {
        self.ask(REFRESH, &[(LIFETIME, vec![0, 0, 2, 0x58])], &[])
    }

    /// Asks to be allowed to send to a peer.
    pub fn permit(&mut self, peer: SocketAddr) -> Code {
        self.ask(CREATE_PERMISSION, &[], &[peer])
    }

    /// Asks for a channel to a peer.
    pub fn bind(&mut self, number: u16, peer: SocketAddr) -> Code {
        let [high, low] = number.to_be_bytes();
        self.ask(
            CHANNEL_BIND,
            &[(CHANNEL_NUMBER, vec![high, low, 0, 0])],
            &[peer],
        )
    }

    /// Sends a packet to a peer; whether it gets there nobody says.
    pub fn send(&mut self, peer: SocketAddr, packet: &[u8]) {
        let transaction = self.transaction();
        let mut message = head(SEND, transaction);
        attribute(&mut message, XOR_PEER_ADDRESS, &masked(peer, &transaction));
        attribute(&mut message, DATA, packet);
        self.stream.write_all(&message).expect("the server reads");
    }

    /// Sends a packet over a channel, bound or not.
    pub fn send_over(&mut self, number: u16, packet: &[u8]) {
        let mut bytes = number.to_be_bytes().to_vec();
        bytes.extend((packet.len() as u16).to_be_bytes());
        bytes.extend(packet);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        self.stream.write_all(&bytes).expect("the server reads");
    }

    /// The bytes of a good request for an allocation on this connection, for who replays it.
    pub fn allocation_request(&mut self) -> Vec<u8> {
        self.request(ALLOCATE, &[(REQUESTED_TRANSPORT, vec![17, 0, 0, 0])], &[])
    }

    /// Sends bytes as they are and reads the answer.
    pub fn exchange(&mut self, message: &[u8]) -> Code {
        self.stream.write_all(message).expect("the server reads");
        let answer = self.read();
        let code = value(&answer, ERROR_CODE);
        code.map_or(0, |code| u16::from(code[2]) * 100 + u16::from(code[3]))
    }

    /// The next message of the server.
    pub fn read(&mut self) -> Vec<u8> {
        let mut message = vec![0; 20];
        self.stream.read_exact(&mut message).expect("an answer");
        let len = usize::from(u16::from_be_bytes([message[2], message[3]]));
        message.resize(20 + len, 0);
        let rest = &mut message[20..];
        self.stream.read_exact(rest).expect("the whole answer");
        message
    }

    /// The next packet that comes over a channel, and over which.
    pub fn read_channel(&mut self) -> (u16, Vec<u8>) {
        let mut head = [0; 4];
        self.stream.read_exact(&mut head).expect("a packet");
        let number = u16::from_be_bytes([head[0], head[1]]);
        let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let mut packet = vec![0; len.next_multiple_of(4)];
        self.stream.read_exact(&mut packet).expect("all of it");
        packet.truncate(len);
        (number, packet)
    }

    /// The stream underneath.
    pub fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    fn ask(&mut self, method: u16, attributes: &[(u16, Vec<u8>)], peers: &[SocketAddr]) -> Code {
        let request = self.request(method, attributes, peers);
        self.exchange(&request)
    }

    fn request(
        &mut self,
        method: u16,
        attributes: &[(u16, Vec<u8>)],
        peers: &[SocketAddr],
    ) -> Vec<u8> {
        let (realm, nonce) = self.challenge();
        let transaction = self.transaction();
        let mut message = head(method, transaction);
        for (number, value) in attributes {
            attribute(&mut message, *number, value);
        }
        for peer in peers {
            attribute(&mut message, XOR_PEER_ADDRESS, &masked(*peer, &transaction));
        }
        attribute(&mut message, USERNAME, self.username.as_bytes());
        attribute(&mut message, REALM, &realm);
        attribute(&mut message, NONCE, &nonce);
        let mut digest = Md5::new();
        digest.update(&self.username);
        digest.update(b":");
        digest.update(&realm);
        digest.update(b":");
        digest.update(&self.password);
        set_length(&mut message, 24);
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &digest.finalize());
        let tag = hmac::sign(&key, &message);
        attribute(&mut message, MESSAGE_INTEGRITY, tag.as_ref());
        message
    }

    /// What the server wants to see in requests; asked for once.
    fn challenge(&mut self) -> (Vec<u8>, Vec<u8>) {
        if let Some(known) = &self.challenge {
            return known.clone();
        }
        let transaction = self.transaction();
        let mut message = head(ALLOCATE, transaction);
        attribute(&mut message, REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
        self.stream.write_all(&message).expect("the server reads");
        let answer = self.read();
        let of = |number| value(&answer, number).expect("it says so").to_vec();
        let challenge = (of(REALM), of(NONCE));
        self.challenge = Some(challenge.clone());
        challenge
    }

    fn transaction(&mut self) -> [u8; 12] {
        self.transactions = self.transactions.wrapping_add(1);
        [self.transactions; 12]
    }
}

fn head(method: u16, transaction: [u8; 12]) -> Vec<u8> {
    let mut message = method.to_be_bytes().to_vec();
    message.extend([0, 0]);
    message.extend(MAGIC_COOKIE);
    message.extend(transaction);
    message
}

fn attribute(message: &mut Vec<u8>, number: u16, value: &[u8]) {
    message.extend(number.to_be_bytes());
    message.extend((value.len() as u16).to_be_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
    set_length(message, 0);
}

fn set_length(message: &mut [u8], to_come: usize) {
    let length = (message.len() - 20 + to_come) as u16;
    message[2..4].copy_from_slice(&length.to_be_bytes());
}

/// The value of an attribute of a message.
fn value(message: &[u8], number: u16) -> Option<&[u8]> {
    let mut at = 20;
    while at < message.len() {
        let found = u16::from_be_bytes([message[at], message[at + 1]]);
        let len = usize::from(u16::from_be_bytes([message[at + 2], message[at + 3]]));
        if found == number {
            return Some(&message[at + 4..at + 4 + len]);
        }
        at += 4 + len.next_multiple_of(4);
    }
    None
}

fn masked(peer: SocketAddr, transaction: &[u8; 12]) -> Vec<u8> {
    let mask: Vec<u8> = MAGIC_COOKIE.iter().chain(transaction).copied().collect();
    let port = peer.port() ^ u16::from_be_bytes([mask[0], mask[1]]);
    let mut value = vec![0, if peer.is_ipv4() { 1 } else { 2 }];
    value.extend(port.to_be_bytes());
    let octets = match peer.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    value.extend(octets.iter().zip(&mask).map(|(octet, mask)| octet ^ mask));
    value
}
