//! Messages of TURN on a stream (RFC 8489, RFC 8656): reading without trust, writing, and the
//! integrity of long-term credentials.
//!
//! Reading checks lengths only and gives attributes as slices of what came; a message is trusted after
//! [`Message::is_signed_with`]. The STUN library of the media plane is not used because it knows
//! connectivity checks alone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use aws_lc_rs::hmac;
use md5::{Digest, Md5};

/// The bytes of a STUN header.
pub const HEADER_BYTES: usize = 20;
/// The bytes in front of what is sent over a channel.
pub const CHANNEL_HEADER_BYTES: usize = 4;
/// Bytes that a message of a client may have; a packet with its attributes has 1,600.
pub const MESSAGE_BYTES_MAX: usize = 4 << 10;

const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const INTEGRITY_BYTES: usize = 20;

/// Numbers of attributes.
pub mod attribute {
    #![expect(missing_docs, reason = "names of RFC 8489 and RFC 8656")]
    pub const USERNAME: u16 = 0x0006;
    pub const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub const ERROR_CODE: u16 = 0x0009;
    pub const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
    pub const CHANNEL_NUMBER: u16 = 0x000c;
    pub const LIFETIME: u16 = 0x000d;
    pub const XOR_PEER_ADDRESS: u16 = 0x0012;
    pub const DATA: u16 = 0x0013;
    pub const REALM: u16 = 0x0014;
    pub const NONCE: u16 = 0x0015;
    pub const XOR_RELAYED_ADDRESS: u16 = 0x0016;
    pub const REQUESTED_ADDRESS_FAMILY: u16 = 0x0017;
    pub const REQUESTED_TRANSPORT: u16 = 0x0019;
    pub const XOR_MAPPED_ADDRESS: u16 = 0x0020;
}

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "names of RFC 8489 and RFC 8656")]
pub enum Method {
    Binding,
    Allocate,
    Refresh,
    Send,
    Data,
    CreatePermission,
    ChannelBind,
    Other(u16),
}

/// What kind of message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "names of RFC 8489")]
pub enum Class {
    Request,
    Indication,
    Success,
    Error,
}

/// It is not what it says, and nothing behind it can be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// What comes over the connection of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit<'a> {
    /// A STUN message.
    Message(Message<'a>),
    /// A packet on a channel.
    Channel(u16, &'a [u8]),
}

/// A STUN message whose attributes have the lengths that they say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    bytes: &'a [u8],
}

/// The first unit of `bytes` and how many bytes it takes; `None` until the whole of it has arrived.
pub fn first(bytes: &[u8]) -> Result<Option<(Unit<'_>, usize)>, Malformed> {
    let Some(header) = bytes.get(..CHANNEL_HEADER_BYTES) else {
        return Ok(None);
    };
    let number = u16::from_be_bytes([header[0], header[1]]);
    let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if len > MESSAGE_BYTES_MAX {
        return Err(Malformed);
    }
    if is_channel(number) {
        // On a stream packets are padded (RFC 8656 section 12.5).
        let end = CHANNEL_HEADER_BYTES + len.next_multiple_of(4);
        let packet = bytes.get(..end);
        return Ok(packet.map(|packet| {
            let packet = &packet[CHANNEL_HEADER_BYTES..CHANNEL_HEADER_BYTES + len];
            (Unit::Channel(number, packet), end)
        }));
    }
    if number >> 14 != 0 || len % 4 != 0 {
        return Err(Malformed);
    }
    let Some(whole) = bytes.get(..HEADER_BYTES + len) else {
        return Ok(None);
    };
    let message = Message::parse(whole)?;
    Ok(Some((Unit::Message(message), whole.len())))
}

/// Whether a number is one of a channel (RFC 8656 section 12).
pub fn is_channel(number: u16) -> bool {
    (0x4000..=0x4fff).contains(&number)
}

impl<'a> Message<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        if bytes[4..8] != MAGIC_COOKIE {
            return Err(Malformed);
        }
        let message = Self { bytes };
        let mut at = HEADER_BYTES;
        while at < bytes.len() {
            let len = message.attribute_len(at);
            at += 4 + len.next_multiple_of(4);
        }
        match at == bytes.len() {
            true => Ok(message),
            false => Err(Malformed),
        }
    }

    /// Attributes begin at multiples of four of a length that is one too, so four bytes are there.
    fn attribute_len(&self, at: usize) -> usize {
        usize::from(u16::from_be_bytes([self.bytes[at + 2], self.bytes[at + 3]]))
    }

    /// What it is about.
    pub fn method(&self) -> Method {
        let kind = u16::from_be_bytes([self.bytes[0], self.bytes[1]]);
        // The bits of the class stand between those of the method (RFC 8489 section 5).
        let method = kind & 0xf | kind >> 1 & 0x70 | kind >> 2 & 0xf80;
        match method {
            1 => Method::Binding,
            3 => Method::Allocate,
            4 => Method::Refresh,
            6 => Method::Send,
            7 => Method::Data,
            8 => Method::CreatePermission,
            9 => Method::ChannelBind,
            other => Method::Other(other),
        }
    }

    /// What kind it is.
    pub fn class(&self) -> Class {
        let kind = u16::from_be_bytes([self.bytes[0], self.bytes[1]]);
        match (kind & 0x100 != 0, kind & 0x10 != 0) {
            (false, false) => Class::Request,
            (false, true) => Class::Indication,
            (true, false) => Class::Success,
            (true, true) => Class::Error,
        }
    }

    /// Its transaction.
    pub fn transaction(&self) -> [u8; 12] {
        let mut id = [0; 12];
        id.copy_from_slice(&self.bytes[8..HEADER_BYTES]);
        id
    }

    /// Every attribute that counts: those behind the integrity do not (RFC 8489 section 14.5).
    pub fn attributes(&self) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        let whole = *self;
        let mut at = HEADER_BYTES;
        std::iter::from_fn(move || {
            if at >= whole.bytes.len() {
                return None;
            }
            let number = u16::from_be_bytes([whole.bytes[at], whole.bytes[at + 1]]);
            let len = whole.attribute_len(at);
            let value = &whole.bytes[at + 4..at + 4 + len];
            at += 4 + len.next_multiple_of(4);
            if number == attribute::MESSAGE_INTEGRITY {
                at = whole.bytes.len();
            }
            Some((number, value))
        })
    }

    /// The first attribute of a number.
    pub fn attribute(&self, number: u16) -> Option<&'a [u8]> {
        let mut attributes = self.attributes();
        attributes.find_map(|(found, value)| (found == number).then_some(value))
    }

    /// An attribute that is text.
    pub fn text(&self, number: u16) -> Option<&'a str> {
        std::str::from_utf8(self.attribute(number)?).ok()
    }

    /// An attribute that is a number of four bytes, or begins with one of fewer.
    pub fn number(&self, number: u16) -> Option<u32> {
        let bytes: [u8; 4] = self.attribute(number)?.try_into().ok()?;
        Some(u32::from_be_bytes(bytes))
    }

    /// All addresses of peers.
    pub fn peers(&self) -> impl Iterator<Item = Option<SocketAddr>> + use<'a> {
        let transaction = self.transaction();
        let is_peer = |(number, _): &(u16, _)| *number == attribute::XOR_PEER_ADDRESS;
        let peers = self.attributes().filter(is_peer);
        peers.map(move |(_, value)| address(value, &transaction))
    }

    /// Whether it was made by somebody who has `key`.
    pub fn is_signed_with(&self, key: &[u8; 16]) -> bool {
        let mut at = HEADER_BYTES;
        while at < self.bytes.len() {
            let len = self.attribute_len(at);
            let number = u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]]);
            if number == attribute::MESSAGE_INTEGRITY {
                let value = &self.bytes[at + 4..at + 4 + len];
                let covered = (at - HEADER_BYTES + 4 + INTEGRITY_BYTES) as u16;
                let [high, low] = covered.to_be_bytes();
                let head = [self.bytes[0], self.bytes[1], high, low];
                let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
                let mut context = hmac::Context::with_key(&key);
                context.update(&head);
                context.update(&self.bytes[4..at]);
                let tag = context.sign();
                return aws_lc_rs::constant_time::verify_slices_are_equal(tag.as_ref(), value)
                    .is_ok();
            }
            at += 4 + len.next_multiple_of(4);
        }
        false
    }
}

/// What messages under a long-term credential are signed with (RFC 8489 section 9.2.2).
pub fn key(username: &str, realm: &str, password: &str) -> [u8; 16] {
    let mut digest = Md5::new();
    digest.update(format!("{username}:{realm}:{password}"));
    digest.finalize().into()
}

/// A message of ours, appended to what is written.
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    transaction: [u8; 12],
}

impl<'a> Writer<'a> {
    /// Begins a message.
    pub fn new(out: &'a mut Vec<u8>, class: Class, method: Method, transaction: [u8; 12]) -> Self {
        let method = match method {
            Method::Binding => 1,
            Method::Allocate => 3,
            Method::Refresh => 4,
            Method::Send => 6,
            Method::Data => 7,
            Method::CreatePermission => 8,
            Method::ChannelBind => 9,
            Method::Other(number) => number & 0xfff,
        };
        let class = match class {
            Class::Request => 0,
            Class::Indication => 0x10,
            Class::Success => 0x100,
            Class::Error => 0x110,
        };
        let kind: u16 = method & 0xf | (method & 0x70) << 1 | (method & 0xf80) << 2 | class;
        let start = out.len();
        out.extend(kind.to_be_bytes());
        out.extend([0, 0]);
        out.extend(MAGIC_COOKIE);
        out.extend(transaction);
        Self {
            out,
            start,
            transaction,
        }
    }

    /// Adds an attribute.
    #[must_use]
    pub fn with(mut self, number: u16, value: &[u8]) -> Self {
        self.out.extend(number.to_be_bytes());
        self.out.extend((value.len() as u16).to_be_bytes());
        self.out.extend(value);
        let len = self.out.len() - self.start;
        let padded = self.start + len.next_multiple_of(4);
        self.out.resize(padded, 0);
        self.set_length(0);
        self
    }

    /// Adds an address.
    #[must_use]
    pub fn with_address(self, number: u16, address: SocketAddr) -> Self {
        let mask = mask(&self.transaction);
        let port = address.port() ^ u16::from_be_bytes([mask[0], mask[1]]);
        let mut value = vec![0, if address.is_ipv4() { 1 } else { 2 }];
        value.extend(port.to_be_bytes());
        let masked = |octets: &[u8]| -> Vec<u8> {
            octets
                .iter()
                .zip(mask)
                .map(|(byte, mask)| byte ^ mask)
                .collect()
        };
        value.extend(match address.ip() {
            IpAddr::V4(ip) => masked(&ip.octets()),
            IpAddr::V6(ip) => masked(&ip.octets()),
        });
        self.with(number, &value)
    }

    /// Adds a reason why something is refused.
    #[must_use]
    pub fn with_error(self, code: u16, reason: &str) -> Self {
        let mut value = vec![0, 0, (code / 100) as u8, (code % 100) as u8];
        value.extend(reason.as_bytes());
        self.with(attribute::ERROR_CODE, &value)
    }

    /// Signs it.
    pub fn sign(mut self, key: &[u8; 16]) {
        self.set_length(4 + INTEGRITY_BYTES);
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
        let tag = hmac::sign(&key, &self.out[self.start..]);
        // Its own length is set by it again, to the same.
        let _signed = self.with(attribute::MESSAGE_INTEGRITY, tag.as_ref());
    }

    /// The length covers what follows the header, and what is still to come where a code is made
    /// over it.
    fn set_length(&mut self, to_come: usize) {
        let len = (self.out.len() - self.start - HEADER_BYTES + to_come) as u16;
        self.out[self.start + 2..self.start + 4].copy_from_slice(&len.to_be_bytes());
    }
}

fn mask(transaction: &[u8; 12]) -> [u8; 16] {
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&MAGIC_COOKIE);
    mask[4..].copy_from_slice(transaction);
    mask
}

/// Reads an address that is masked (RFC 8489 section 14.2).
fn address(value: &[u8], transaction: &[u8; 12]) -> Option<SocketAddr> {
    let mask = mask(transaction);
    let [_, family, high, low, ip @ ..] = value else {
        return None;
    };
    let port = u16::from_be_bytes([high ^ mask[0], low ^ mask[1]]);
    let mut octets = [0; 16];
    for (octet, (byte, mask)) in octets.iter_mut().zip(ip.iter().zip(mask)) {
        *octet = byte ^ mask;
    }
    let ip: IpAddr = match (family, ip.len()) {
        (1, 4) => Ipv4Addr::from([octets[0], octets[1], octets[2], octets[3]]).into(),
        (2, 16) => Ipv6Addr::from(octets).into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Appends a packet on a channel, padded as a stream wants it.
pub fn write_channel(out: &mut Vec<u8>, number: u16, packet: &[u8]) {
    out.extend(number.to_be_bytes());
    out.extend((packet.len() as u16).to_be_bytes());
    out.extend(packet);
    out.resize(
        out.len() + packet.len().next_multiple_of(4) - packet.len(),
        0,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRANSACTION: [u8; 12] = *b"transaction!";

    fn message(bytes: &[u8]) -> Message<'_> {
        match first(bytes) {
            Ok(Some((Unit::Message(message), len))) if len == bytes.len() => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let methods = [
            Method::Binding,
            Method::Allocate,
            Method::Refresh,
            Method::Send,
            Method::Data,
            Method::CreatePermission,
            Method::ChannelBind,
            Method::Other(0xabc),
        ];
        let classes = [
            Class::Request,
            Class::Indication,
            Class::Success,
            Class::Error,
        ];
        for method in methods {
            for class in classes {
                let mut bytes = Vec::new();
                let peer: SocketAddr = "192.0.2.1:7882".parse().expect("an address");
                let other: SocketAddr = "[2001:db8::1]:1".parse().expect("an address");
                let _unsigned = Writer::new(&mut bytes, class, method, TRANSACTION)
                    .with(attribute::USERNAME, b"odd")
                    .with_address(attribute::XOR_PEER_ADDRESS, peer)
                    .with_address(attribute::XOR_PEER_ADDRESS, other)
                    .with(attribute::LIFETIME, &600_u32.to_be_bytes());
                let read = message(&bytes);
                assert_eq!((read.class(), read.method()), (class, method));
                assert_eq!(read.transaction(), TRANSACTION);
                assert_eq!(read.text(attribute::USERNAME), Some("odd"));
                assert_eq!(read.number(attribute::LIFETIME), Some(600));
                let peers: Vec<_> = read.peers().collect();
                assert_eq!(peers, [Some(peer), Some(other)]);
            }
        }
    }

    /// RFC 5769 section 2.4: a request with long-term authentication.
    #[test]
    fn a_sample_of_the_standard_is_signed_as_it_says() {
        let sample = "000100602112a44278ad3433c6ad72c029da412e00060012e3839ee38388e383aae38383\
                      e382afe382b900000015001c662f2f3439396b39353464364f4c33346f4c394653547679\
                      363473410014000b6578616d706c652e6f72670000080014f67024656dd64a3e02b8e071\
                      2e85c9a28ca89666";
        let bytes: Vec<u8> = (0..sample.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&sample[at..at + 2], 16).expect("hex"))
            .collect();
        let sample = message(&bytes);
        let username = sample.text(attribute::USERNAME).expect("it has one");
        let realm = sample.text(attribute::REALM).expect("it has one");
        assert_eq!(realm, "example.org");
        assert!(sample.is_signed_with(&key(username, realm, "TheMatrIX")));
        assert!(!sample.is_signed_with(&key(username, realm, "thematrix")));
    }

    #[test]
    fn a_signature_covers_every_bit_before_it() {
        let secret = key("user", "realm", "password");
        let mut bytes = Vec::new();
        Writer::new(&mut bytes, Class::Request, Method::Refresh, TRANSACTION)
            .with(attribute::LIFETIME, &[0, 0, 2, 88])
            .sign(&secret);
        assert!(message(&bytes).is_signed_with(&secret));
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            if let Ok(Some((Unit::Message(changed), _))) = first(&changed) {
                assert!(!changed.is_signed_with(&secret), "bit {bit}");
            }
        }
    }

    #[test]
    fn what_stands_behind_a_signature_is_not_there() {
        let secret = key("user", "realm", "password");
        let mut bytes = Vec::new();
        Writer::new(&mut bytes, Class::Request, Method::Refresh, TRANSACTION).sign(&secret);
        bytes.extend([0, 0x0d, 0, 4, 0, 0, 0, 0]);
        bytes[3] += 8;
        let read = message(&bytes);
        assert!(read.is_signed_with(&secret));
        assert_eq!(read.number(attribute::LIFETIME), None);
    }

    #[test]
    fn packets_on_channels_are_padded_and_cut_out_again() {
        for len in 0..10 {
            let packet = vec![7; len];
            let mut bytes = Vec::new();
            write_channel(&mut bytes, 0x4001, &packet);
            assert_eq!(bytes.len() % 4, 0);
            let unit = Unit::Channel(0x4001, &packet);
            assert_eq!(first(&bytes), Ok(Some((unit, bytes.len()))));
            for short in 0..bytes.len() {
                assert_eq!(first(&bytes[..short]), Ok(None));
            }
        }
    }

    #[test]
    fn lies_about_lengths_are_malformed() {
        let mut bytes = Vec::new();
        let _unsigned = Writer::new(&mut bytes, Class::Request, Method::Allocate, TRANSACTION)
            .with(attribute::USERNAME, b"user");
        let mut long_attribute = bytes.clone();
        long_attribute[23] = 5;
        assert_eq!(first(&long_attribute), Err(Malformed));
        let mut no_cookie = bytes.clone();
        no_cookie[4] = 0;
        assert_eq!(first(&no_cookie), Err(Malformed));
        let mut odd = bytes.clone();
        odd[3] += 1;
        assert_eq!(first(&odd), Err(Malformed));
        assert_eq!(
            first(&[0, 1, 0xff, 0xfc]),
            Err(Malformed),
            "longer than any"
        );
        assert_eq!(first(&[0x50, 0, 0, 0]), Err(Malformed), "no channel");
        assert_eq!(first(&[0x80, 0, 0, 0]), Err(Malformed));
    }
}
