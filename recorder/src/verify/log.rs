//! Verifies a transparency log as a whole, and a recording's proof against it.
//!
//! Every entry is hashed and compared with its tile, every tile with the root that was signed, and
//! every checkpoint that somebody kept (the one in a proof, a witness's copy) with the same tiles: a
//! log that was rewritten by somebody with the node key gives another root at that size.

use std::io;

use super::report::{Finding, LogReport, Problem, Weight};
use crate::digest::Digest;
use crate::sign::PublicKey;
use crate::source::Source;
use crate::tlog::note::{Checkpoint, NOTE_BYTES_MAX};
use crate::tlog::reader::TileError;
use crate::tlog::tile::{Level, Tile, WIDTH};
use crate::tlog::{CHECKPOINT, Entry, LogReader, tree};

/// What a log was found to be.
#[derive(Clone, Debug)]
pub struct LogChecked {
    /// For the report.
    pub report: LogReport,
    /// Its entries, those of kinds that we know.
    pub entries: Vec<(u64, Entry)>,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// Reads and checks the whole log at `source`. `kept` are checkpoints from elsewhere.
pub fn verify_log(
    source: &dyn Source,
    key: &PublicKey,
    kept: &[Checkpoint],
) -> io::Result<LogChecked> {
    let note = source.read(CHECKPOINT, NOTE_BYTES_MAX)?;
    let note = String::from_utf8_lossy(&note);
    let mut check = Check {
        findings: Vec::new(),
        entries: Vec::new(),
    };
    let head = match Checkpoint::open(&note, key) {
        Ok(head) => head,
        Err(error) => {
            check.find(
                CHECKPOINT,
                None,
                Problem::Altered,
                format!("log/checkpoint: {error}"),
            );
            // What it says is still worth holding against the tiles.
            let unread = || io::Error::new(io::ErrorKind::InvalidData, error);
            Checkpoint::read(&note).ok_or_else(unread)?
        }
    };
    let mut reader = LogReader::new(source, head.size);
    check.entries_and_tiles(&mut reader, head.size);
    check.levels(&mut reader, head.size);
    check.root(&mut reader, &head, "log/checkpoint");
    for kept in kept {
        check.past(&mut reader, &head, kept);
    }
    let report = LogReport {
        origin: head.origin,
        size: head.size,
        root: head.root,
        index: None,
        was_read: true,
    };
    Ok(LogChecked {
        report,
        entries: check.entries,
        findings: check.findings,
    })
}

struct Check {
    findings: Vec<Finding>,
    entries: Vec<(u64, Entry)>,
}

impl Check {
    fn find(&mut self, file: &str, entry: Option<u64>, problem: Problem, words: String) {
        self.findings.push(Finding {
            weight: Weight::Fault,
            problem,
            file: format!("log/{file}"),
            segment: None,
            chunk: None,
            last_chunk: None,
            entry,
            words,
        });
    }

    fn unreadable(&mut self, error: &TileError) {
        let words = format!("log: {error}");
        self.find("tile", None, Problem::Unreadable, words);
    }

    /// Every entry against the tile of leaves.
    fn entries_and_tiles(&mut self, reader: &mut LogReader<'_>, size: u64) {
        for index in 0..size.div_ceil(WIDTH) {
            let bundle = Tile::within(Level::Entries, index, size);
            let (entries, leaves) = match (reader.bundle(index), reader.hashes(0, index)) {
                (Ok(entries), Ok(leaves)) => (entries, leaves.to_vec()),
                (entries, leaves) => {
                    let errors = [entries.err(), leaves.err()];
                    errors
                        .iter()
                        .flatten()
                        .for_each(|error| self.unreadable(error));
                    continue;
                }
            };
            for (at, (bytes, hash)) in (index * WIDTH..).zip(entries.iter().zip(&leaves)) {
                if tree::leaf(bytes) != *hash {
                    let words = format!("log: entry {at} is not what was logged there");
                    self.find(&bundle.to_string(), Some(at), Problem::LogEntry, words);
                }
                self.entries
                    .extend(Entry::parse(bytes).map(|entry| (at, entry)));
            }
        }
    }

    /// Every hash above the leaves against the tile that it stands for.
    fn levels(&mut self, reader: &mut LogReader<'_>, size: u64) {
        for level in 1..8_u8 {
            let count = size >> (8 * u32::from(level));
            for at in 0..count {
                let hash = reader
                    .hashes(level, at / WIDTH)
                    .map(|hashes| hashes[(at % WIDTH) as usize]);
                let below = reader.root_of_tile(level - 1, at);
                match (hash, below) {
                    (Ok(hash), Ok(below)) if hash == below => {}
                    (Ok(_), Ok(_)) => {
                        let tile = Tile::within(Level::Hashes(level), at / WIDTH, size);
                        let words = format!("log: {tile} is not what the tiles below it give");
                        self.find(&tile.to_string(), None, Problem::LogRewritten, words);
                    }
                    (Err(error), _) | (_, Err(error)) => self.unreadable(&error),
                }
            }
        }
    }

    fn root(&mut self, reader: &mut LogReader<'_>, head: &Checkpoint, whose: &str) {
        match reader.root(0, head.size) {
            Ok(root) if root == head.root => {}
            Ok(_) => {
                let words = format!(
                    "log: its {} entries do not give the root that {whose} has",
                    head.size
                );
                self.find(CHECKPOINT, None, Problem::LogRewritten, words);
            }
            Err(error) => self.unreadable(&error),
        }
    }

    /// A checkpoint that somebody kept must be of a beginning of this log.
    fn past(&mut self, reader: &mut LogReader<'_>, head: &Checkpoint, kept: &Checkpoint) {
        let (size, origin) = (kept.size, &kept.origin);
        if *origin != head.origin {
            let words = format!(
                "log: a checkpoint that was kept is of {origin:?}, and this is {:?}",
                head.origin
            );
            self.find(CHECKPOINT, None, Problem::Misplaced, words);
        } else if size > head.size {
            let words = format!(
                "log: it had {size} entries once and has {} now: it was cut off",
                head.size
            );
            self.find(CHECKPOINT, None, Problem::LogRewritten, words);
        } else {
            let root: Option<Digest> = reader.root(0, size).ok();
            if root.is_some_and(|root| root != kept.root) {
                let words = format!(
                    "log: its first {size} entries are not those that it had when it signed them: it was rewritten"
                );
                self.find(CHECKPOINT, None, Problem::LogRewritten, words);
            }
        }
    }
}
