//! Every parser of the archive that reads bytes which somebody may have changed: bytes in, no panic.
//!
//! `recorder/tests/fuzz.rs` feeds them mutations of real files, and many more under `make fuzz`. Where
//! a parser can also write, what it read is written and read again. What a recording is made of is in
//! [`crate::journal::fuzz`].

use crate::audit::Line;
use crate::depacketize::{Depacketizer, Format};
use crate::journal::fuzz::Target as AnyBytes;
use crate::manifest::Manifest;
use crate::notes::Notes;
use crate::sign::PublicKey;
use crate::store::s3;
use crate::tlog::tile::{self, Tile};
use crate::tlog::{Checkpoint, Entry, Proof};
use crate::verify::links::Links;

/// A function that takes any bytes.
pub type Target = AnyBytes;

/// Every function of this module, by its name.
pub const TARGETS: &[(&str, Target)] = &[
    ("manifest", manifest),
    ("note", note),
    ("proof", proof),
    ("audit_line", audit_line),
    ("chain", chain),
    ("log", log),
    ("stored", stored),
    ("depacketizer", depacketizer),
];

/// `manifest.json`.
pub fn manifest(bytes: &[u8]) {
    if let Ok(manifest) = Manifest::parse(bytes) {
        let _whatever_it_says = manifest.contradictions();
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
    let _refused_or_not = Line::parse(bytes);
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
    let _none_of_ours = Entry::parse(bytes);
    let _none_if_odd = tile::hashes(bytes);
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

/// What an object store answers, and what is remembered of it.
pub fn stored(bytes: &[u8]) {
    s3::fuzz(&String::from_utf8_lossy(bytes));
    if let Ok(notes) = serde_json::from_slice::<Notes>(bytes) {
        let again = serde_json::to_vec(&notes).expect("plain values can be written");
        let again: Notes = serde_json::from_slice(&again).expect("what was written is read");
        assert_eq!(again.stored.len(), notes.stored.len());
    }
}

/// Packets of a participant, each behind a byte of length, in the format that the first byte says.
pub fn depacketizer(bytes: &[u8]) {
    let Some((&format, mut rest)) = bytes.split_first() else {
        return;
    };
    let format = match format % 6 {
        0 => Format::Opus { red: None },
        1 => Format::Opus { red: Some(63) },
        2 => Format::Vp8,
        3 => Format::H264,
        4 => Format::Vp9,
        _ => Format::Av1,
    };
    let mut depacketizer = Depacketizer::new(format);
    let mut frames = 0;
    let mut arrival_us = 0;
    while let Some((&len, more)) = rest.split_first() {
        let (packet, more) = more.split_at(more.len().min(len.into()));
        depacketizer.push(packet, arrival_us);
        frames += frames_of(&mut depacketizer);
        arrival_us += 20_000;
        rest = more;
    }
    depacketizer.finish();
    frames += frames_of(&mut depacketizer);
    // Aggregated and redundant packets hold several, of two bytes each at least.
    assert!(frames <= bytes.len(), "no frame out of nothing");
}

fn frames_of(depacketizer: &mut Depacketizer) -> usize {
    std::iter::from_fn(|| depacketizer.pop()).count()
}
