//! STUN connectivity checks (RFC 8489, RFC 8445), right or wrong in exactly one way.
//!
//! Written by hand so that the server's STUN library does not check itself.

use aws_lc_rs::hmac;

use crate::signal::Credentials;

const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];
const BINDING_REQUEST: u16 = 0x0001;
/// The type of a response that grants a check.
pub const BINDING_SUCCESS: u16 = 0x0101;
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
const ICE_CONTROLLING: u16 = 0x802A;
const FINGERPRINT_XOR: u32 = 0x5354_554E;

/// A binding request from `local` to `remote` that nominates, signed with `password`.
pub fn binding_request(
    local: &Credentials,
    remote: &Credentials,
    password: &str,
    transaction: [u8; 12],
) -> Vec<u8> {
    let mut message = Vec::with_capacity(128);
    message.extend(BINDING_REQUEST.to_be_bytes());
    message.extend([0, 0]);
    message.extend(MAGIC_COOKIE);
    message.extend(transaction);
    let user = format!("{}:{}", remote.ufrag, local.ufrag);
    attribute(&mut message, USERNAME, user.as_bytes());
    attribute(&mut message, PRIORITY, &0x6E7F_1EFFu32.to_be_bytes());
    attribute(
        &mut message,
        ICE_CONTROLLING,
        &0x0102_0304_0506_0708u64.to_be_bytes(),
    );
    attribute(&mut message, USE_CANDIDATE, &[]);
    // Both sums cover the header with the length up to and including themselves.
    set_length(&mut message, 24);
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
    let tag = hmac::sign(&key, &message);
    attribute(&mut message, MESSAGE_INTEGRITY, tag.as_ref());
    set_length(&mut message, 8);
    let sum = crc32(&message) ^ FINGERPRINT_XOR;
    attribute(&mut message, FINGERPRINT, &sum.to_be_bytes());
    set_length(&mut message, 0);
    message
}

/// The type of a STUN message, if `datagram` is one.
pub fn kind(datagram: &[u8]) -> Option<u16> {
    let is_stun = datagram.len() >= 20 && datagram[4..8] == MAGIC_COOKIE;
    is_stun.then(|| u16::from_be_bytes([datagram[0], datagram[1]]))
}

fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend(kind.to_be_bytes());
    message.extend((value.len() as u16).to_be_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

fn set_length(message: &mut [u8], to_come: usize) {
    let length = (message.len() - 20 + to_come) as u16;
    message[2..4].copy_from_slice(&length.to_be_bytes());
}

/// CRC-32 of ISO 3309, as the fingerprint wants it.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ if sum & 1 == 1 { 0xEDB8_8320 } else { 0 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::{binding_request, crc32};
    use crate::signal::Credentials;

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn a_request_says_its_own_length() {
        let side = |name: &str| Credentials {
            ufrag: name.into(),
            password: "p".repeat(22),
        };
        let message = binding_request(&side("abcd"), &side("efghi"), "secret", [7; 12]);
        let length = usize::from(u16::from_be_bytes([message[2], message[3]]));
        assert_eq!(length, message.len() - 20);
        assert_eq!(length % 4, 0);
    }
}
