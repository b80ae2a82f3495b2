//! Session keys out of a master key (RFC 3711 section 4.3, RFC 7714 section 11).
//!
//! The pseudo-random function is AES in counter mode under the master key. We never re-key, so the
//! derivation rate is zero and each key is derived once.

use aes::cipher::{KeyIvInit, StreamCipher};
use aes::{Aes128, Aes256};
use ctr::Ctr128BE;
use zeroize::{Zeroize, Zeroizing};

use super::MasterKey;

/// What one direction is protected with: the RTP half and the RTCP half.
pub(super) struct SessionKeys {
    pub(super) rtp: KeySet,
    pub(super) rtcp: KeySet,
}

/// Encryption key, authentication key and salt. Which lengths are used is up to the profile.
pub(super) struct KeySet {
    pub(super) encryption: Zeroizing<Vec<u8>>,
    pub(super) authentication: Zeroizing<[u8; 20]>,
    pub(super) salt: Zeroizing<[u8; 14]>,
}

impl SessionKeys {
    pub(super) fn derive(master: &MasterKey) -> Self {
        Self {
            rtp: KeySet::derive(master, 0),
            rtcp: KeySet::derive(master, 3),
        }
    }
}

impl KeySet {
    /// The labels of RTP are 0, 1 and 2, those of RTCP 3, 4 and 5.
    fn derive(master: &MasterKey, first_label: u8) -> Self {
        let mut keys = Self {
            encryption: Zeroizing::new(vec![0; master.key.len()]),
            authentication: Zeroizing::default(),
            salt: Zeroizing::default(),
        };
        fill(master, first_label, &mut keys.encryption);
        fill(master, first_label + 1, &mut *keys.authentication);
        fill(master, first_label + 2, &mut *keys.salt);
        keys
    }
}

/// Fills `out`, which is all zero, with the key stream that belongs to `label`.
fn fill(master: &MasterKey, label: u8, out: &mut [u8]) {
    // The salt has 14 bytes; the 12 of the AEAD profiles are continued with zeros. The label stands
    // in the seventh byte from the right, the last two count blocks.
    let mut iv = [0; 16];
    iv[..master.salt.len()].copy_from_slice(&master.salt);
    iv[7] ^= label;
    match master.key.len() {
        16 => Ctr128BE::<Aes128>::new_from_slices(&master.key, &iv)
            .expect("16 bytes each")
            .apply_keystream(out),
        _ => Ctr128BE::<Aes256>::new_from_slices(&master.key, &iv)
            .expect("32 and 16 bytes: a master key has 16 or 32")
            .apply_keystream(out),
    }
    iv.zeroize();
}

#[cfg(test)]
mod tests {
    use super::super::Profile;
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal"))
            .collect()
    }

    /// RFC 3711 appendix B.3.
    #[test]
    fn the_session_keys_are_those_of_the_rfc() {
        let master = MasterKey::new(
            Profile::Aes128CmSha1_80,
            &hex("E1F97A0D3E018BE0D64FA32C06DE4139"),
            &hex("0EC675AD498AFEEBB6960B3AABE6"),
        )
        .expect("the right lengths");
        let keys = SessionKeys::derive(&master);
        assert_eq!(
            *keys.rtp.encryption,
            hex("C61E7A93744F39EE10734AFE3FF7A087")
        );
        assert_eq!(keys.rtp.salt.to_vec(), hex("30CBBC08863D8C85D49DB34A9AE1"));
        let mut authentication = [0; 94];
        fill(&master, 1, &mut authentication);
        assert_eq!(
            authentication.to_vec(),
            hex(concat!(
                "CEBE321F6FF7716B6FD4AB49AF256A15",
                "6D38BAA48F0A0ACF3C34E2359E6CDBCE",
                "E049646C43D9327AD175578EF7227098",
                "6371C10C9A369AC2F94A8C5FBCDDDC25",
                "6D6E919A48B610EF17C2041E47403576",
                "6B68642C59BBFC2F34DB60DBDFB2",
            ))
        );
        assert_eq!(keys.rtp.authentication.to_vec(), authentication[..20]);
    }
}
