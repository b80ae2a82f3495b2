//! The transforms themselves: AES-GCM (RFC 7714) and AES counter mode with HMAC-SHA1 (RFC 3711).
//!
//! Stateless beyond its keys: which index a packet has, and whether it is new, is decided by the
//! caller. GCM comes from aws-lc-rs. Counter mode and HMAC come from `aes`, `ctr` and `sha1`, which
//! were measured faster than aws-lc-rs here because both are keyed once.

use aes::Aes128;
use aes::cipher::{InnerIvInit, KeyInit, StreamCipher, StreamCipherCoreWrapper};
use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ctr::CtrCore;
use ctr::flavors::Ctr128BE;
use hmac::{Hmac, Mac};
use sha1::Sha1;

use super::key::{KeySet, SessionKeys};
use super::{INDEX_LEN, Profile, RTCP_CLEAR_LEN, rtcp_ssrc};
use crate::error::Reject;
use crate::unit::Ssrc;

const GCM_TAG_LEN: usize = 16;
const HMAC_TAG_LEN: usize = 10;

/// One direction's transforms, for RTP and for RTCP.
pub(super) enum Cipher {
    Gcm { rtp: Gcm, rtcp: Gcm },
    // Boxed: the expanded keys and hash states are ten times as large as the GCM handles.
    CmSha1(Box<CmSha1Pair>),
}

pub(super) struct CmSha1Pair {
    rtp: CmSha1,
    rtcp: CmSha1,
}

impl Cipher {
    pub(super) fn new(profile: Profile, keys: &SessionKeys) -> Self {
        match profile {
            Profile::Aes128CmSha1_80 => Self::CmSha1(Box::new(CmSha1Pair {
                rtp: CmSha1::new(&keys.rtp),
                rtcp: CmSha1::new(&keys.rtcp),
            })),
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => Self::Gcm {
                rtp: Gcm::new(profile, &keys.rtp),
                rtcp: Gcm::new(profile, &keys.rtcp),
            },
        }
    }

    /// Opens an RTP packet in place and says how long it is without its tag.
    pub(super) fn open_rtp(
        &self,
        ssrc: Ssrc,
        index: u64,
        header_len: usize,
        datagram: &mut [u8],
    ) -> Result<usize, Reject> {
        match self {
            Self::Gcm { rtp, .. } => {
                if datagram.len() < header_len + GCM_TAG_LEN {
                    return Err(Reject::Length);
                }
                let (header, sealed) = datagram.split_at_mut(header_len);
                rtp.open(rtp.rtp_nonce(ssrc, index), header, sealed)?;
                Ok(datagram.len() - GCM_TAG_LEN)
            }
            Self::CmSha1(pair) => {
                let len = datagram
                    .len()
                    .checked_sub(HMAC_TAG_LEN)
                    .filter(|&len| len >= header_len)
                    .ok_or(Reject::Length)?;
                let (packet, tag) = datagram.split_at_mut(len);
                let rollover = (index >> 16) as u32;
                pair.rtp.verify(packet, &rollover.to_be_bytes(), tag)?;
                pair.rtp.apply(ssrc, index, &mut packet[header_len..]);
                Ok(len)
            }
        }
    }

    /// Opens an RTP packet, lays its payload down at the start of `plain`, and says how long that
    /// is. What `plain` holds after an error is unspecified.
    pub(super) fn open_rtp_into(
        &self,
        ssrc: Ssrc,
        index: u64,
        header_len: usize,
        datagram: &[u8],
        plain: &mut [u8],
    ) -> Result<usize, Reject> {
        let tag_len = match self {
            Self::Gcm { .. } => GCM_TAG_LEN,
            Self::CmSha1(_) => HMAC_TAG_LEN,
        };
        let (packet, tag) = datagram
            .len()
            .checked_sub(tag_len)
            .filter(|&len| len >= header_len)
            .map(|len| datagram.split_at(len))
            .ok_or(Reject::Length)?;
        let (header, sealed) = packet.split_at(header_len);
        let plain = plain.get_mut(..sealed.len()).ok_or(Reject::Length)?;
        match self {
            Self::Gcm { rtp, .. } => {
                rtp.open_into(rtp.rtp_nonce(ssrc, index), header, sealed, tag, plain)?;
            }
            Self::CmSha1(pair) => {
                let rollover = (index >> 16) as u32;
                pair.rtp.verify(packet, &rollover.to_be_bytes(), tag)?;
                plain.copy_from_slice(sealed);
                pair.rtp.apply(ssrc, index, plain);
            }
        }
        Ok(sealed.len())
    }

    /// Seals the RTP packet that lies from `start` to the end of `out` and appends its tag.
    pub(super) fn seal_rtp(
        &self,
        ssrc: Ssrc,
        index: u64,
        header_len: usize,
        start: usize,
        out: &mut Vec<u8>,
    ) {
        match self {
            Self::Gcm { rtp, .. } => {
                let (header, payload) = out[start..].split_at_mut(header_len);
                let tag = rtp.seal(rtp.rtp_nonce(ssrc, index), header, payload);
                out.extend_from_slice(&tag);
            }
            Self::CmSha1(pair) => {
                pair.rtp.apply(ssrc, index, &mut out[start + header_len..]);
                let rollover = (index >> 16) as u32;
                let tag = pair.rtp.tag(&out[start..], &rollover.to_be_bytes());
                out.extend_from_slice(&tag);
            }
        }
    }

    /// The sender's source and the word with encryption flag and index of an SRTCP packet, if it is
    /// long enough to have them.
    pub(super) fn rtcp_words(&self, datagram: &[u8]) -> Result<(Ssrc, u32), Reject> {
        let word_end = match self {
            Self::Gcm { .. } => datagram.len(),
            Self::CmSha1(_) => datagram.len().saturating_sub(HMAC_TAG_LEN),
        };
        let tag_before = match self {
            Self::Gcm { .. } => GCM_TAG_LEN,
            Self::CmSha1(_) => 0,
        };
        if word_end < RTCP_CLEAR_LEN + tag_before + INDEX_LEN {
            return Err(Reject::Length);
        }
        let word = datagram[..word_end]
            .last_chunk::<INDEX_LEN>()
            .ok_or(Reject::Length)?;
        Ok((rtcp_ssrc(datagram), u32::from_be_bytes(*word)))
    }

    /// Opens an RTCP packet in place, whose length [`Self::rtcp_words`] has checked, and says how
    /// long it is without tag and index.
    pub(super) fn open_rtcp(
        &self,
        ssrc: Ssrc,
        word: u32,
        datagram: &mut [u8],
    ) -> Result<usize, Reject> {
        match self {
            Self::Gcm { rtcp, .. } => {
                let end = datagram.len() - INDEX_LEN;
                let (clear, sealed) = datagram[..end].split_at_mut(RTCP_CLEAR_LEN);
                let aad = rtcp_aad(clear, word);
                rtcp.open(rtcp.rtcp_nonce(ssrc, word), &aad, sealed)?;
                Ok(end - GCM_TAG_LEN)
            }
            Self::CmSha1(pair) => {
                let (packet, tag) = datagram.split_at_mut(datagram.len() - HMAC_TAG_LEN);
                pair.rtcp.verify(packet, &[], tag)?;
                let len = packet.len() - INDEX_LEN;
                pair.rtcp
                    .apply(ssrc, rtcp_index(word), &mut packet[RTCP_CLEAR_LEN..len]);
                Ok(len)
            }
        }
    }

    /// Seals the RTCP packet that lies from `start` to the end of `out` and appends tag and index.
    pub(super) fn seal_rtcp(&self, ssrc: Ssrc, word: u32, start: usize, out: &mut Vec<u8>) {
        match self {
            Self::Gcm { rtcp, .. } => {
                let (clear, payload) = out[start..].split_at_mut(RTCP_CLEAR_LEN);
                let aad = rtcp_aad(clear, word);
                let tag = rtcp.seal(rtcp.rtcp_nonce(ssrc, word), &aad, payload);
                out.extend_from_slice(&tag);
                out.extend_from_slice(&word.to_be_bytes());
            }
            Self::CmSha1(pair) => {
                let payload = &mut out[start + RTCP_CLEAR_LEN..];
                pair.rtcp.apply(ssrc, rtcp_index(word), payload);
                out.extend_from_slice(&word.to_be_bytes());
                let tag = pair.rtcp.tag(&out[start..], &[]);
                out.extend_from_slice(&tag);
            }
        }
    }
}

fn rtcp_index(word: u32) -> u64 {
    u64::from(word & !super::ENCRYPTED)
}

/// RFC 7714 section 9.2: the clear part of the packet, then flag and index.
fn rtcp_aad(clear: &[u8], word: u32) -> [u8; RTCP_CLEAR_LEN + INDEX_LEN] {
    let mut aad = [0; RTCP_CLEAR_LEN + INDEX_LEN];
    aad[..RTCP_CLEAR_LEN].copy_from_slice(clear);
    aad[RTCP_CLEAR_LEN..].copy_from_slice(&word.to_be_bytes());
    aad
}

/// AES in Galois counter mode under one key.
pub(super) struct Gcm {
    key: LessSafeKey,
    salt: [u8; 12],
}

impl Gcm {
    fn new(profile: Profile, keys: &KeySet) -> Self {
        let algorithm = match profile {
            Profile::AeadAes256Gcm => &AES_256_GCM,
            _ => &AES_128_GCM,
        };
        let key = UnboundKey::new(algorithm, &keys.encryption)
            .expect("the session key has the length that the profile asks for");
        let (salt, _) = keys
            .salt
            .split_first_chunk::<12>()
            .expect("a session salt has 14 bytes");
        Self {
            key: LessSafeKey::new(key),
            salt: *salt,
        }
    }

    /// RFC 7714 section 8.1: two zero bytes, source, rollover and sequence, under the salt.
    fn rtp_nonce(&self, ssrc: Ssrc, index: u64) -> Nonce {
        self.nonce(ssrc, index)
    }

    /// RFC 7714 section 9.1: two zero bytes, source, two zero bytes and the index, under the salt.
    fn rtcp_nonce(&self, ssrc: Ssrc, word: u32) -> Nonce {
        self.nonce(ssrc, rtcp_index(word))
    }

    fn nonce(&self, ssrc: Ssrc, index: u64) -> Nonce {
        let number = u128::from(ssrc.0) << 48 | u128::from(index);
        let mut nonce = self.salt;
        for (byte, plain) in nonce.iter_mut().zip(&number.to_be_bytes()[4..]) {
            *byte ^= plain;
        }
        Nonce::assume_unique_for_key(nonce)
    }

    fn open(&self, nonce: Nonce, aad: &[u8], sealed: &mut [u8]) -> Result<(), Reject> {
        self.key
            .open_in_place(nonce, Aad::from(aad), sealed)
            .map(|_| ())
            .map_err(|_| Reject::SrtpAuthentication)
    }

    fn open_into(
        &self,
        nonce: Nonce,
        aad: &[u8],
        sealed: &[u8],
        tag: &[u8],
        plain: &mut [u8],
    ) -> Result<(), Reject> {
        self.key
            .open_separate_gather(nonce, Aad::from(aad), sealed, tag, plain)
            .map_err(|_| Reject::SrtpAuthentication)
    }

    fn seal(&self, nonce: Nonce, aad: &[u8], payload: &mut [u8]) -> [u8; GCM_TAG_LEN] {
        let mut tag = [0; GCM_TAG_LEN];
        self.key
            .seal_in_place_scatter(nonce, Aad::from(aad), payload, &[], &mut tag)
            .expect("a datagram is far below GCM's length limit");
        tag
    }
}

/// AES in counter mode and a truncated HMAC-SHA1.
struct CmSha1 {
    aes: Aes128,
    hmac: Hmac<Sha1>,
    salt: u128,
}

impl CmSha1 {
    fn new(keys: &KeySet) -> Self {
        let mut salt = [0; 16];
        salt[..14].copy_from_slice(&*keys.salt);
        Self {
            aes: Aes128::new_from_slice(&keys.encryption).expect("16 bytes"),
            hmac: <Hmac<Sha1> as Mac>::new_from_slice(&*keys.authentication)
                .expect("HMAC takes keys of any length"),
            salt: u128::from_be_bytes(salt),
        }
    }

    /// Encrypts or decrypts (RFC 3711 section 4.1.1).
    fn apply(&self, ssrc: Ssrc, index: u64, payload: &mut [u8]) {
        let iv = self.salt ^ u128::from(ssrc.0) << 64 ^ u128::from(index) << 16;
        let core = CtrCore::<&Aes128, Ctr128BE>::inner_iv_init(&self.aes, &iv.to_be_bytes().into());
        StreamCipherCoreWrapper::from_core(core).apply_keystream(payload);
    }

    fn mac(&self, packet: &[u8], suffix: &[u8]) -> Hmac<Sha1> {
        let mut mac = self.hmac.clone();
        mac.update(packet);
        mac.update(suffix);
        mac
    }

    fn tag(&self, packet: &[u8], suffix: &[u8]) -> [u8; HMAC_TAG_LEN] {
        let full = self.mac(packet, suffix).finalize().into_bytes();
        let mut tag = [0; HMAC_TAG_LEN];
        tag.copy_from_slice(&full[..HMAC_TAG_LEN]);
        tag
    }

    /// Compares in constant time.
    fn verify(&self, packet: &[u8], suffix: &[u8], tag: &[u8]) -> Result<(), Reject> {
        self.mac(packet, suffix)
            .verify_truncated_left(tag)
            .map_err(|_| Reject::SrtpAuthentication)
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal"))
            .collect()
    }

    /// Both RFCs give session keys, not master keys.
    fn keyed(profile: Profile, key: &str, salt: &str) -> Cipher {
        let set = || {
            let mut keys = KeySet {
                encryption: Zeroizing::new(hex(key)),
                authentication: Zeroizing::default(),
                salt: Zeroizing::default(),
            };
            let salt = hex(salt);
            keys.salt[..salt.len()].copy_from_slice(&salt);
            keys
        };
        let keys = SessionKeys {
            rtp: set(),
            rtcp: set(),
        };
        Cipher::new(profile, &keys)
    }

    /// RFC 3711 appendix B.2.
    #[test]
    fn the_key_stream_is_that_of_rfc_3711() {
        let cipher = keyed(
            Profile::Aes128CmSha1_80,
            "2B7E151628AED2A6ABF7158809CF4F3C",
            "F0F1F2F3F4F5F6F7F8F9FAFBFCFD",
        );
        let Cipher::CmSha1(pair) = &cipher else {
            panic!("the profile is counter mode");
        };
        let mut stream = vec![0; 1_044_512];
        pair.rtp.apply(Ssrc(0), 0, &mut stream);
        assert_eq!(
            stream[..48],
            hex(concat!(
                "E03EAD0935C95E80E166B16DD92B4EB4",
                "D23513162B02D0F72A43A2FE4A5F97AB",
                "41E95B3BB0A2E8DD477901E4FCA894C0",
            ))
        );
        assert_eq!(
            stream[stream.len() - 48..],
            hex(concat!(
                "EC8CDF7398607CB0F2D21675EA9EA1E4",
                "362B7C3C6773516318A077D7FC5073AE",
                "6A2CC3787889374FBEB4C81B17BA6C44",
            ))
        );
    }

    const KEY_128: &str = "000102030405060708090a0b0c0d0e0f";
    const KEY_256: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const SALT: &str = "517569642070726f2071756f";
    const RTP: &str = concat!(
        "8040f17b8041f8d35501a0b2",
        "47616c6c696120657374206f6d6e69732064697669736120696e207061727465732074726573",
    );
    const RTCP: &str = concat!(
        "81c8000d4d617273",
        "4e5450314e545032525450200000042a0000e9304c756e61",
        "deadbeefdeadbeefdeadbeefdeadbeefdeadbeef",
    );

    /// RFC 7714 sections 16.1.1, 16.1.2, 16.2.1 and 16.2.2.
    #[test]
    fn rtp_is_sealed_and_opened_as_in_rfc_7714() {
        for (profile, key, expected) in [
            (
                Profile::AeadAes128Gcm,
                KEY_128,
                concat!(
                    "8040f17b8041f8d35501a0b2",
                    "f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833",
                    "899d7f27beb16a9152cf765ee4390cce",
                ),
            ),
            (
                Profile::AeadAes256Gcm,
                KEY_256,
                concat!(
                    "8040f17b8041f8d35501a0b2",
                    "32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b",
                    "7aa3db36dfffd6b0f9bb7878d7a76c13",
                ),
            ),
        ] {
            let cipher = keyed(profile, key, SALT);
            let (ssrc, index) = (Ssrc(0x5501_a0b2), 0xf17b);
            let mut packet = hex(RTP);
            cipher.seal_rtp(ssrc, index, 12, 0, &mut packet);
            assert_eq!(packet, hex(expected), "{profile:?}");
            let len = cipher.open_rtp(ssrc, index, 12, &mut packet);
            assert_eq!(len, Ok(50));
            assert_eq!(packet[..50], hex(RTP));
        }
    }

    /// RFC 7714 sections 17.1 and 17.2, each in both directions.
    #[test]
    fn rtcp_is_sealed_and_opened_as_in_rfc_7714() {
        for (profile, key, expected) in [
            (
                Profile::AeadAes128Gcm,
                KEY_128,
                concat!(
                    "81c8000d4d617273",
                    "63e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32d",
                    "c676a5f1730d6fda4ce09b4686303ded0bb9275b",
                    "c84aa45896cf4d2fc5abf87245d9eade800005d4",
                ),
            ),
            (
                Profile::AeadAes256Gcm,
                KEY_256,
                concat!(
                    "81c8000d4d617273",
                    "d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50",
                    "a2eaa5c1110555be8415f658c61de0476f1b6fad",
                    "1d1eb30c4446839f57ff6f6cb26ac3be800005d4",
                ),
            ),
        ] {
            let cipher = keyed(profile, key, SALT);
            let (ssrc, word) = (Ssrc(0x4d61_7273), 0x8000_05d4);
            let mut packet = hex(RTCP);
            cipher.seal_rtcp(ssrc, word, 0, &mut packet);
            assert_eq!(packet, hex(expected), "{profile:?}");
            assert_eq!(cipher.rtcp_words(&packet), Ok((ssrc, word)));
            let len = cipher.open_rtcp(ssrc, word, &mut packet);
            assert_eq!(len, Ok(52));
            assert_eq!(packet[..52], hex(RTCP));
        }
    }
}
