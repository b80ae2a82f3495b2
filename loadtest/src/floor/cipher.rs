//! The cost of SRTP without an SRTP stack: AES-GCM keyed once, sealing and opening in place.
//!
//! The nonce is built as RFC 7714 does, so the work per packet is the same. Keys are test keys
//! made from a number that both ends know: this protects nothing and must never meet real media.
//! A packet here carries its 32-bit counter in the RTP timestamp field, so that no rollover
//! state is needed to open it.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// RTP header with one extension block of eight bytes, as a forwarded packet has.
pub(crate) const HEADER: usize = 24;
/// Authentication tag of the GCM profiles.
pub(crate) const TAG: usize = 16;

/// What a packet is protected with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[value(rename_all = "kebab-case")]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Profile {
    /// AEAD_AES_256_GCM, what browsers and this project's server agree on.
    #[value(name = "aes-256-gcm")]
    Aes256Gcm,
    /// AEAD_AES_128_GCM.
    #[value(name = "aes-128-gcm")]
    Aes128Gcm,
    /// No protection: the kernel's share alone.
    None,
}

impl Profile {
    /// What protection adds to a packet.
    pub(crate) fn overhead(self) -> usize {
        if self == Self::None { 0 } else { TAG }
    }
}

/// One direction's key.
pub(crate) struct Cipher {
    key: Option<LessSafeKey>,
    salt: [u8; 12],
}

impl Cipher {
    /// The test key of that number.
    pub(crate) fn new(profile: Profile, number: u32) -> Self {
        let mut bytes = [0x5a; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        let key = match profile {
            Profile::Aes256Gcm => UnboundKey::new(&AES_256_GCM, &bytes),
            Profile::Aes128Gcm => UnboundKey::new(&AES_128_GCM, &bytes[..16]),
            Profile::None => {
                return Self {
                    key: None,
                    salt: [0; 12],
                };
            }
        };
        let key = LessSafeKey::new(key.expect("the key has the length of its algorithm"));
        Self {
            key: Some(key),
            salt: [0xa5; 12],
        }
    }

    /// Seals a packet laid out as header, payload and room for the tag.
    pub(crate) fn seal(&self, packet: &mut [u8]) {
        let Some(key) = &self.key else { return };
        let nonce = self.nonce(packet);
        let (header, rest) = packet.split_at_mut(HEADER);
        let (payload, room) = rest.split_at_mut(rest.len() - TAG);
        let tag = key
            .seal_in_place_separate_tag(nonce, Aad::from(&*header), payload)
            .expect("far below the longest message of GCM");
        room.copy_from_slice(tag.as_ref());
    }

    /// Opens a packet in place and gives its length without the tag.
    pub(crate) fn open(&self, packet: &mut [u8]) -> Option<usize> {
        let Some(key) = &self.key else {
            return Some(packet.len());
        };
        if packet.len() < HEADER + TAG {
            return None;
        }
        let nonce = self.nonce(packet);
        let (header, rest) = packet.split_at_mut(HEADER);
        let opened = key.open_in_place(nonce, Aad::from(&*header), rest).ok()?;
        Some(HEADER + opened.len())
    }

    /// RFC 7714, section 8.1: two zero bytes, SSRC, rollover counter, sequence number, xor salt.
    fn nonce(&self, packet: &[u8]) -> Nonce {
        let mut nonce = self.salt;
        nonce[2..6]
            .iter_mut()
            .zip(&packet[8..12])
            .for_each(|(n, b)| *n ^= b);
        nonce[8..12]
            .iter_mut()
            .zip(&packet[4..8])
            .for_each(|(n, b)| *n ^= b);
        Nonce::assume_unique_for_key(nonce)
    }
}

/// Writes the header of packet number `counter` of stream `ssrc`.
pub(crate) fn write_header(packet: &mut [u8], payload_type: u8, ssrc: u32, counter: u32) {
    packet[0] = 0x90;
    packet[1] = payload_type;
    packet[2..4].copy_from_slice(&(counter as u16).to_be_bytes());
    packet[4..8].copy_from_slice(&counter.to_be_bytes());
    packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
    packet[12..HEADER].copy_from_slice(&[0xbe, 0xde, 0, 2, 0x22, 0, 0, 0, 0x31, 0, 0, 0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(profile: Profile) -> Vec<u8> {
        let mut packet = vec![7; HEADER + 100 + profile.overhead()];
        write_header(&mut packet, 96, 0x1234, 70_000);
        packet
    }

    #[test]
    fn what_is_sealed_opens_with_the_same_key_only() {
        for profile in [Profile::Aes128Gcm, Profile::Aes256Gcm] {
            let mut sealed = packet(profile);
            Cipher::new(profile, 1).seal(&mut sealed);
            assert_ne!(sealed[HEADER..HEADER + 100], [7; 100]);
            assert_eq!(Cipher::new(profile, 2).open(&mut sealed.clone()), None);
            let mut broken = sealed.clone();
            broken[3] ^= 1;
            assert_eq!(
                Cipher::new(profile, 1).open(&mut broken),
                None,
                "header is covered"
            );
            assert_eq!(
                Cipher::new(profile, 1).open(&mut sealed),
                Some(HEADER + 100)
            );
            assert_eq!(sealed[HEADER..HEADER + 100], [7; 100]);
        }
    }

    #[test]
    fn no_profile_leaves_the_packet_alone() {
        let mut plain = packet(Profile::None);
        Cipher::new(Profile::None, 1).seal(&mut plain);
        assert_eq!(plain, packet(Profile::None));
        assert_eq!(
            Cipher::new(Profile::None, 1).open(&mut plain),
            Some(HEADER + 100)
        );
    }

    #[test]
    fn a_short_packet_does_not_open() {
        for len in 0..HEADER + TAG {
            assert_eq!(
                Cipher::new(Profile::Aes256Gcm, 1).open(&mut vec![0; len]),
                None
            );
        }
    }
}
