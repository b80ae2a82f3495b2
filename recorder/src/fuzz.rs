//! Every parser of the archive that reads bytes which somebody may have changed: bytes in, no panic.
//!
//! Ordinary test runs feed them seeds and mutations of real files; `make fuzz` feeds more. Where a
//! parser can also write, what it read is written and read again.

use crate::audit::Line;
use crate::manifest::Manifest;
use crate::sign::PublicKey;
use crate::tlog::tile::{self, Tile};
use crate::tlog::{Checkpoint, Entry, Proof};
use crate::verify::links::Links;

/// `manifest.json`.
pub fn manifest(bytes: &[u8]) {
    if let Ok(manifest) = Manifest::parse(bytes) {
        let _ = manifest.contradictions();
        let again = Manifest::parse(&manifest.to_bytes()).expect("what was written is read");
        assert_eq!(again, manifest, "and is the same");
    }
}

/// A signed checkpoint.
pub fn note(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let opened = Checkpoint::open(&text, &PublicKey([7; 32]));
    assert!(opened.is_err(), "nobody signs with this key");
    if let Some(checkpoint) = Checkpoint::read(&text) {
        assert!(text.starts_with(&checkpoint.to_string()) || text.matches('\n').count() > 4);
    }
}

/// `manifest.proof`.
pub fn proof(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(proof) = Proof::parse(&text) {
        assert_eq!(
            Proof::parse(&proof.to_string()).as_ref(),
            Ok(&proof),
            "is read as it was written"
        );
        assert!(
            proof.check(&PublicKey([7; 32])).is_err(),
            "nobody signs with this key"
        );
    }
}

/// A line of the audit.
pub fn audit_line(bytes: &[u8]) {
    let _ = Line::parse(bytes);
}

/// `seg-NNNNNN.chain`.
pub fn chain(bytes: &[u8]) {
    if let Ok(links) = Links::parse(bytes) {
        assert!(links.whole <= bytes.len());
        assert!(
            links
                .seals
                .iter()
                .all(|sealed| sealed.chunks <= links.links.len() && sealed.end <= links.whole)
        );
    }
}

/// An entry of the log, a bundle of them, a tile, a tile's path.
pub fn log(bytes: &[u8]) {
    let _ = Entry::parse(bytes);
    let _ = tile::hashes(bytes);
    if let Some(entries) = tile::entries(bytes) {
        let mut bundle = Vec::new();
        entries
            .iter()
            .for_each(|entry| tile::push_entry(&mut bundle, entry));
        assert_eq!(bundle, bytes, "is written as it was read");
    }
    if let Ok(path) = std::str::from_utf8(bytes)
        && let Ok(tile) = path.parse::<Tile>()
    {
        assert_eq!(tile.to_string(), path, "one tile, one name");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;

    /// Real files, with bytes changed, cut out, doubled and cut off.
    fn feed(target: fn(&[u8]), seeds: &[Vec<u8>]) {
        let mut state = 0x0dd5_eed5_u64;
        let mut below = |bound: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % bound.max(1) as u64) as usize
        };
        for seed in seeds {
            target(seed);
            for _ in 0..1_500 {
                let mut bytes = seed.clone();
                for _ in 0..=below(4) {
                    let at = below(bytes.len());
                    match below(4) {
                        0 if !bytes.is_empty() => bytes[at] ^= 1 << below(8),
                        1 => bytes.truncate(at),
                        2 => {
                            let end = at + below(bytes.len() - at + 1);
                            drop(bytes.drain(at..end));
                        }
                        _ => {
                            let piece = bytes[at..at + below(64).min(bytes.len() - at)].to_vec();
                            bytes.splice(at..at, piece);
                        }
                    }
                }
                target(&bytes);
            }
        }
    }

    #[test]
    fn no_bytes_make_a_parser_panic() {
        let sample = Sample::complete();
        let files = sample.files();
        let file = |name: &str| vec![files[name].clone(), Vec::new()];
        feed(manifest, &file("manifest.json"));
        feed(note, &[sample.log.note().as_bytes().to_vec(), Vec::new()]);
        feed(proof, &file("manifest.proof"));
        feed(chain, &file("seg-000001.chain"));
        let tiles = ["tile/entries/000.p/1", "tile/0/000.p/1"];
        let mut seeds: Vec<Vec<u8>> = tiles
            .map(|path| sample.log.file(path).expect("is there"))
            .into();
        seeds.push(b"tile/0/x001/000.p/12".to_vec());
        seeds.push(sample.log.reader().entry(0).expect("is there"));
        feed(log, &seeds);
        let line = br#"{"seq":0,"at":"2026-11-22T00:30:00.000Z","actor":"a","action":"b","recording":null,"outcome":"done","reason":null,"detail":{"x":[1]},"prev":"0000000000000000000000000000000000000000000000000000000000000000"}"#;
        feed(audit_line, &[line.to_vec()]);
    }
}
