//! The few STUN messages that a lite agent sees (RFC 8489, RFC 8445): connectivity checks.
//!
//! The crate `is` reads and writes the messages. In front of it stands a walk over the attributes
//! that allocates nothing, so that a flood of nonsense costs a few nanoseconds per datagram and
//! can make nobody write a log line. What has passed [`Check::parse`] is well formed, but proven
//! only after [`Check::is_authentic`].

use std::net::SocketAddr;

use aws_lc_rs::hmac;
use is::stun::{StunMessage, TransId};

use crate::error::Reject;
use crate::id::TransportId;

use super::params::IceCredentials;

const HEADER_LEN: usize = 20;
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const FINGERPRINT: u16 = 0x8028;
/// What a reply of ours or a request of ours may grow to: header, user name of two fragments of
/// 256 characters, address, role, priority, integrity and fingerprint.
const MESSAGE_MAX: usize = 700;

/// A binding request or response as it came in.
pub(super) struct Check<'a> {
    message: StunMessage<'a>,
    /// What stands before the colon of the user name.
    local_ufrag: &'a str,
    /// What stands behind it.
    remote_ufrag: &'a str,
}

impl<'a> Check<'a> {
    /// Reads a binding request or a binding success response.
    pub(super) fn parse(datagram: &'a [u8]) -> Result<Self, Reject> {
        let walked = walk(datagram)?;
        if !walked.is_fingerprint_right {
            return Err(Reject::StunIntegrity);
        }
        let message = StunMessage::parse(datagram).map_err(|_| Reject::StunMalformed)?;
        let name = walked
            .username
            .and_then(|name| std::str::from_utf8(name).ok())
            .unwrap_or_default();
        let mut fragments = name.split(':');
        Ok(Self {
            message,
            local_ufrag: fragments.next().unwrap_or_default(),
            remote_ufrag: fragments.next().unwrap_or_default(),
        })
    }

    /// The fragment that the sender believes to be ours; empty in a response.
    pub(super) fn local_ufrag(&self) -> &str {
        self.local_ufrag
    }

    /// The fragment that the sender calls its own; empty in a response.
    pub(super) fn remote_ufrag(&self) -> &str {
        self.remote_ufrag
    }

    /// Whether the message was made by somebody who knows `password`.
    pub(super) fn is_authentic(&self, password: &str) -> bool {
        self.message.verify(password.as_bytes(), hmac_sha1)
    }

    pub(super) fn is_request(&self) -> bool {
        self.message.is_binding_request()
    }

    /// Whether the sender wants this path to be used (RFC 8445 section 7.3.1.5).
    pub(super) fn is_nominating(&self) -> bool {
        self.message.use_candidate()
    }

    /// Whether the sender believes to be controlled, which only we can be (RFC 8445 section 6.1.1).
    pub(super) fn is_role_conflict(&self) -> bool {
        self.message.ice_controlled().is_some()
    }

    pub(super) fn transaction(&self) -> TransId {
        self.message.trans_id()
    }

    /// Tells the sender the address that it is seen at.
    pub(super) fn success(&self, to: SocketAddr, password: &str) -> Vec<u8> {
        let reply = StunMessage::binding_reply(self.transaction(), to);
        write(&reply, password)
    }

    /// Tells the sender that it must be the controlling side.
    pub(super) fn role_conflict(&self, password: &str) -> Vec<u8> {
        let reply = StunMessage::binding_role_conflict_reply(self.transaction());
        write(&reply, password)
    }
}

/// Which transport a first check of an unknown source is for, without trusting anything in it.
pub(super) fn addressee(datagram: &[u8]) -> Result<TransportId, Reject> {
    let name = walk(datagram)?.username.ok_or(Reject::StunUnexpected)?;
    let ufrag = name.split(|&c| c == b':').next().unwrap_or_default();
    IceCredentials::transport_of(ufrag).ok_or(Reject::StunUnknownUser)
}

/// A check of our own. We are lite and controlled: it asks for nothing but an answer.
pub(super) fn request(
    transaction: TransId,
    local: &IceCredentials,
    remote: &IceCredentials,
) -> Vec<u8> {
    let username = format!("{}:{}", remote.ufrag, local.ufrag);
    // The longest names that `is` can write are 128 characters; a peer with longer fragments is
    // not checked and keeps the path it has.
    if username.len() > 128 {
        return Vec::new();
    }
    // The priority of a peer-reflexive candidate with the highest local preference
    // (RFC 8445 section 5.1.2.1).
    let priority = 110 << 24 | 65_535 << 8 | 255;
    let message = StunMessage::binding_request(&username, transaction, false, 0, priority, false);
    write(&message, &remote.password)
}

/// A transaction id of these bytes.
pub(super) fn transaction(id: [u8; 12]) -> TransId {
    let mut indication = [0; HEADER_LEN];
    indication[1] = 0x11;
    indication[4..8].copy_from_slice(&MAGIC_COOKIE);
    indication[8..].copy_from_slice(&id);
    StunMessage::parse(&indication)
        .expect("an indication without attributes is a message")
        .trans_id()
}

fn write(message: &StunMessage<'_>, password: &str) -> Vec<u8> {
    let mut buffer = [0; MESSAGE_MAX];
    let len = message
        .to_bytes(Some(password.as_bytes()), &mut buffer, hmac_sha1)
        .expect("all attributes of our own messages are short");
    buffer[..len].to_vec()
}

fn hmac_sha1(key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
    let mut context = hmac::Context::with_key(&key);
    parts.iter().for_each(|part| context.update(part));
    let mut tag = [0; 20];
    tag.copy_from_slice(context.sign().as_ref());
    tag
}

struct Walked<'a> {
    username: Option<&'a [u8]>,
    is_fingerprint_right: bool,
}

/// Checks header and attribute lengths and picks out what is needed before the message is trusted.
fn walk(datagram: &[u8]) -> Result<Walked<'_>, Reject> {
    if datagram.len() < HEADER_LEN || datagram[4..8] != MAGIC_COOKIE {
        return Err(Reject::StunMalformed);
    }
    let kind = u16::from_be_bytes([datagram[0], datagram[1]]);
    let len = usize::from(u16::from_be_bytes([datagram[2], datagram[3]]));
    if len % 4 != 0 || HEADER_LEN + len != datagram.len() {
        return Err(Reject::StunMalformed);
    }
    if kind != BINDING_REQUEST && kind != BINDING_SUCCESS {
        return Err(Reject::StunUnexpected);
    }
    walk_attributes(datagram, kind)
}

fn walk_attributes(datagram: &[u8], kind: u16) -> Result<Walked<'_>, Reject> {
    let mut username = None;
    let mut is_protected = false;
    // A connectivity check always has one (RFC 8445 section 7.1).
    let mut is_fingerprint_right = false;
    let mut at = HEADER_LEN;
    while at < datagram.len() {
        let attribute = &datagram[at..];
        let number = u16::from_be_bytes([attribute[0], attribute[1]]);
        let len = usize::from(u16::from_be_bytes([attribute[2], attribute[3]]));
        let value = attribute.get(4..4 + len).ok_or(Reject::StunMalformed)?;
        match number {
            // Only what the integrity covers may be believed (RFC 8489 section 14.5).
            USERNAME if !is_protected => username = Some(value),
            MESSAGE_INTEGRITY => is_protected = true,
            FINGERPRINT => {
                let expected = crc32(&datagram[..at]) ^ 0x5354_554e;
                is_fingerprint_right = value == expected.to_be_bytes();
            }
            _ if !is_expected(number) => return Err(Reject::StunMalformed),
            _ => {}
        }
        at += 4 + len.next_multiple_of(4);
    }
    if !is_protected {
        return Err(Reject::StunIntegrity);
    }
    if kind == BINDING_REQUEST && username.is_none() {
        return Err(Reject::StunUnknownUser);
    }
    Ok(Walked {
        username,
        is_fingerprint_right,
    })
}

/// Comprehension is optional from 0x8000 on (RFC 8489 section 14); below it a connectivity check
/// has only these attributes. XOR-MAPPED-ADDRESS, PRIORITY and USE-CANDIDATE.
fn is_expected(number: u16) -> bool {
    number >= 0x8000 && number != ALTERNATE_SERVER || matches!(number, 0x0020 | 0x0024 | 0x0025)
}

/// `is` writes a warning for this one.
const ALTERNATE_SERVER: u16 = 0x8023;

/// CRC-32 as in ITU V.42 (RFC 8489 section 14.7), four bits at a time.
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 16] = {
        let mut table = [0; 16];
        let mut i = 0;
        while i < 16 {
            let mut value = i as u32;
            let mut bit = 0;
            while bit < 4 {
                value = value >> 1 ^ (0xedb8_8320 * (value & 1));
                bit += 1;
            }
            table[i] = value;
            i += 1;
        }
        table
    };
    let step = |crc: u32, nibble: u32| crc >> 4 ^ TABLE[((crc ^ nibble) & 15) as usize];
    !bytes.iter().fold(!0, |crc, &byte| {
        step(step(crc, u32::from(byte)), u32::from(byte >> 4))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(number: u64) -> IceCredentials {
        IceCredentials::generate(TransportId(number), [number as u8; 28])
    }

    fn check() -> Vec<u8> {
        request(transaction([9; 12]), &credentials(1), &credentials(2))
    }

    #[test]
    fn a_crc_has_the_value_of_the_standard() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn a_check_finds_its_transport_and_proves_its_password() {
        let datagram = check();
        assert_eq!(addressee(&datagram), Ok(TransportId(2)));
        let check = Check::parse(&datagram).expect("our own message");
        assert!(check.is_request());
        assert_eq!(check.local_ufrag(), credentials(2).ufrag);
        assert_eq!(check.remote_ufrag(), credentials(1).ufrag);
        assert!(check.is_authentic(&credentials(2).password));
        assert!(!check.is_authentic(&credentials(1).password));
        assert!(!check.is_authentic(""));
    }

    #[test]
    fn a_reply_is_never_longer_than_its_request() {
        let datagram = check();
        let check = Check::parse(&datagram).expect("our own message");
        let to = "[2001:db8::1]:65535".parse().expect("an address");
        assert!(check.success(to, "password").len() <= datagram.len());
        assert!(check.role_conflict("password").len() <= datagram.len());
    }

    #[test]
    fn every_bit_is_protected() {
        let datagram = check();
        let password = credentials(2).password;
        for bit in 0..datagram.len() * 8 {
            let mut changed = datagram.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let is_believed =
                Check::parse(&changed).is_ok_and(|check| check.is_authentic(&password));
            assert!(!is_believed, "bit {bit}");
        }
    }

    #[test]
    fn lies_about_lengths_are_malformed() {
        let datagram = check();
        for len in 0..datagram.len() {
            assert!(Check::parse(&datagram[..len]).is_err(), "length {len}");
        }
        let mut long_attribute = datagram.clone();
        long_attribute[22] = 0xff;
        assert_eq!(
            Check::parse(&long_attribute).err(),
            Some(Reject::StunMalformed)
        );
        let mut padded = datagram;
        padded.extend_from_slice(&[0; 4]);
        assert_eq!(Check::parse(&padded).err(), Some(Reject::StunMalformed));
    }

    #[test]
    fn other_kinds_are_unexpected() {
        let mut indication = check();
        indication[1] = 0x11;
        assert_eq!(addressee(&indication), Err(Reject::StunUnexpected));
        let mut allocate = check();
        allocate[1] = 0x03;
        assert_eq!(addressee(&allocate), Err(Reject::StunUnexpected));
    }
}
