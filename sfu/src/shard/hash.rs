//! How a shard's tables hash: fast, and the same in every run.
//!
//! Each word is folded into the state by one multiplication of 64 to 128 bits. That is no
//! protection against keys that are chosen to collide, and need not be: whoever chooses a source
//! fills at most [`ssrcs_per_transport_max`](crate::config::Limits::ssrcs_per_transport_max) places
//! of a table of his own, and an address gets into a table by a connectivity check only.

use std::hash::{BuildHasherDefault, Hasher};

/// Hashes the same way in every run, so that a simulation repeats to the digit. Nothing iterates
/// over a table, and the sizes of all are bounded.
pub(crate) type StableHash = BuildHasherDefault<Fold>;

/// Odd, with as many ones as zeros in no pattern: the fractions of pi.
const ROUND: u64 = 0x243f_6a88_85a3_08d3;
const START: u64 = 0x1319_8a2e_0370_7344;
const LAST: u64 = 0xa409_3822_299f_31d1;

/// The state of a hash.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fold(u64);

impl Fold {
    fn add(&mut self, word: u64) {
        self.0 = fold(self.0 ^ word ^ START, ROUND);
    }
}

impl Hasher for Fold {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.add(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, word: u8) {
        self.add(u64::from(word));
    }

    fn write_u16(&mut self, word: u16) {
        self.add(u64::from(word));
    }

    fn write_u32(&mut self, word: u32) {
        self.add(u64::from(word));
    }

    fn write_u64(&mut self, word: u64) {
        self.add(word);
    }

    fn write_usize(&mut self, word: usize) {
        self.add(word as u64);
    }

    fn finish(&self) -> u64 {
        // Once more, so that a single small number reaches the highest bits too.
        fold(self.0, LAST)
    }
}

fn fold(a: u64, b: u64) -> u64 {
    let wide = u128::from(a) * u128::from(b);
    wide as u64 ^ (wide >> 64) as u64
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::{BuildHasher, Hash};
    use std::net::SocketAddr;

    use super::*;
    use crate::unit::Ssrc;

    fn hash(value: impl Hash) -> u64 {
        StableHash::default().hash_one(value)
    }

    /// The share of different values among the low and the high bits, which are what a table uses.
    fn spread(hashes: &[u64]) -> (usize, usize) {
        let low: HashSet<_> = hashes.iter().map(|hash| hash & 0xfff).collect();
        let high: HashSet<_> = hashes.iter().map(|hash| hash >> 52).collect();
        (low.len(), high.len())
    }

    #[test]
    fn neighbours_are_spread() {
        let sources: Vec<_> = (0..4096).map(|n| hash(Ssrc(10_000 + n * 10))).collect();
        let ports: Vec<_> = (0..4096)
            .map(|n| hash(SocketAddr::from(([192, 0, 2, 7], 20_000 + n))))
            .collect();
        let hosts: Vec<_> = (0..4096_u16)
            .map(|n| hash(SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 5_000))))
            .collect();
        for hashes in [sources, ports, hosts] {
            // Of 4,096 balls in 4,096 bins 63 % of the bins are hit.
            let (low, high) = spread(&hashes);
            assert!(low > 2_300 && high > 2_300, "{low} {high}");
        }
    }

    #[test]
    fn every_part_of_an_address_counts() {
        let all: Vec<SocketAddr> = [
            "192.0.2.1:5",
            "192.0.2.1:6",
            "192.0.2.2:5",
            "[2001:db8::1]:5",
        ]
        .iter()
        .map(|text| text.parse().expect("an address"))
        .collect();
        let hashes: HashSet<_> = all.iter().map(hash).collect();
        assert_eq!(hashes.len(), all.len());
    }
}
