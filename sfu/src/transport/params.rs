//! What two ends must agree on before a transport can live: the plain values that a session
//! description boils down to.

use std::fmt;

use crate::id::TransportId;

/// A user name fragment and a password for connectivity checks (RFC 8445 section 5.3).
///
/// Our own fragments begin with the transport's number, so that the first check of an unknown
/// source finds its transport without a table of strings.
#[derive(Clone, PartialEq, Eq)]
pub struct IceCredentials {
    /// 4 to 256 ice-chars.
    pub ufrag: String,
    /// 22 to 256 ice-chars; a secret.
    pub password: String,
}

impl fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceCredentials")
            .field("ufrag", &self.ufrag)
            .finish_non_exhaustive()
    }
}

impl IceCredentials {
    /// Fresh credentials for our side of `transport`, from 28 random bytes.
    ///
    /// Fragment: the number in base 32 (13 characters) and 24 random bits (5 characters), so that
    /// an ICE restart changes it. Password: 24 random bytes in base 64 without padding.
    pub fn generate(transport: TransportId, random: [u8; 28]) -> Self {
        let tag = u32::from_be_bytes([0, random[0], random[1], random[2]]);
        let ufrag = format!("{}{}", base32(transport.0, 13), base32(u64::from(tag), 5));
        let password = random[4..].chunks(3).map(base64_group).collect();
        Self { ufrag, password }
    }

    /// The transport that a fragment of ours names, if it has our form.
    pub fn transport_of(ufrag: &[u8]) -> Option<TransportId> {
        if ufrag.len() != 18 {
            return None;
        }
        let mut number = 0_u64;
        for &character in &ufrag[..13] {
            let digit = BASE32.iter().position(|&c| c == character)? as u64;
            number = number.checked_mul(32)?.checked_add(digit)?;
        }
        Some(TransportId(number))
    }
}

const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base32(mut number: u64, width: usize) -> String {
    let mut digits = vec![b'a'; width];
    for digit in digits.iter_mut().rev() {
        *digit = BASE32[(number % 32) as usize];
        number /= 32;
    }
    digits.into_iter().map(char::from).collect()
}

fn base64_group(group: &[u8]) -> String {
    let bits = group
        .iter()
        .fold(0_u32, |bits, &byte| bits << 8 | u32::from(byte));
    (0..4)
        .rev()
        .map(|i| char::from(BASE64[(bits >> (6 * i) & 63) as usize]))
        .collect()
}

/// SHA-256 over a DTLS certificate (RFC 8122).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

/// The numbers of the RTP header extensions on one transport (RFC 8285): the same in every section
/// of a bundle. `None` where the peer did not offer it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtensionIds {
    /// `urn:ietf:params:rtp-hdrext:sdes:mid`
    pub mid: Option<u8>,
    /// `urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id`
    pub rid: Option<u8>,
    /// `urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id`
    pub repaired_rid: Option<u8>,
    /// `urn:ietf:params:rtp-hdrext:ssrc-audio-level`
    pub audio_level: Option<u8>,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time`
    pub abs_send_time: Option<u8>,
    /// `http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01`
    pub transport_cc: Option<u8>,
    /// `urn:3gpp:video-orientation`
    pub video_orientation: Option<u8>,
    /// `https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension`
    pub dependency_descriptor: Option<u8>,
}

impl ExtensionIds {
    /// These and those that only `later` has: what a number once meant, it means to the end.
    #[must_use]
    pub fn or(self, later: Self) -> Self {
        Self {
            mid: self.mid.or(later.mid),
            rid: self.rid.or(later.rid),
            repaired_rid: self.repaired_rid.or(later.repaired_rid),
            audio_level: self.audio_level.or(later.audio_level),
            abs_send_time: self.abs_send_time.or(later.abs_send_time),
            transport_cc: self.transport_cc.or(later.transport_cc),
            video_orientation: self.video_orientation.or(later.video_orientation),
            dependency_descriptor: self.dependency_descriptor.or(later.dependency_descriptor),
        }
    }
}

/// How the peer numbers its SCTP (RFC 8841).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SctpParams {
    /// `a=sctp-port`
    pub port: u16,
    /// `a=max-message-size` of the peer, in bytes; what we send stays below.
    pub message_size_max: u32,
}

/// Everything a transport needs to know to come alive. We are ICE-lite and the DTLS server.
#[derive(Clone, Debug)]
pub struct TransportParams {
    /// Ours, made by [`IceCredentials::generate`].
    pub local_ice: IceCredentials,
    /// The peer's.
    pub remote_ice: IceCredentials,
    /// The certificate that the peer must show.
    pub remote_fingerprint: Fingerprint,
    /// How the peer numbers header extensions, in both directions.
    pub extensions: ExtensionIds,
    /// Present where the peer wants data channels.
    pub sctp: Option<SctpParams>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fragment_of_ours_leads_back_to_its_transport() {
        for number in [0, 1, 77, u64::MAX] {
            let credentials = IceCredentials::generate(TransportId(number), [7; 28]);
            assert_eq!(credentials.ufrag.len(), 18);
            assert_eq!(credentials.password.len(), 32);
            assert_eq!(
                IceCredentials::transport_of(credentials.ufrag.as_bytes()),
                Some(TransportId(number))
            );
        }
    }

    #[test]
    fn a_number_keeps_its_meaning() {
        let first = ExtensionIds {
            mid: Some(3),
            ..ExtensionIds::default()
        };
        let later = ExtensionIds {
            mid: Some(4),
            rid: Some(9),
            ..ExtensionIds::default()
        };
        let known = first.or(later);
        assert_eq!((known.mid, known.rid), (Some(3), Some(9)));
    }

    #[test]
    fn a_foreign_fragment_leads_nowhere() {
        for ufrag in [
            &b""[..],
            b"abcd",
            b"0000000000000aaaaa",
            b"7777777777777aaaaa",
        ] {
            assert_eq!(IceCredentials::transport_of(ufrag), None);
        }
    }
}
