//! The transparency log: what was said about recordings, in an order that nobody can change later.
//!
//! An append-only Merkle tree in the layout of C2SP tlog-tiles, with a checkpoint signed by the node
//! key. It holds digests and dates, never names or media. [`Log`] is the one writer; anybody can
//! read and check the same files with [`LogReader`] or with another program. An append is durable
//! when it returns: entries and tiles first, then the checkpoint that makes them count, so a torn
//! append leaves the log as it was.

pub mod entry;
pub mod note;
pub mod proof;
pub mod reader;
pub mod tile;
pub mod tree;

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::digest::Digest;
use crate::durable;
use crate::sign::NodeKey;
use crate::source::Folder;

pub use entry::Entry;
pub use note::Checkpoint;
pub use proof::Proof;
pub use reader::LogReader;

use note::{NOTE_BYTES_MAX, NoteError};
use reader::TileError;
use tile::{ENTRY_BYTES_MAX, Level, Tile, WIDTH};

/// The file with the signed checkpoint.
pub const CHECKPOINT: &str = "checkpoint";

/// Why the log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A file cannot be read or written.
    #[error("the log cannot be read or written: {0}")]
    Io(#[from] io::Error),
    /// Another process has it.
    #[error("the log is in use by another process")]
    Busy,
    /// The checkpoint is not ours.
    #[error("the log's checkpoint cannot be trusted: {0}")]
    Checkpoint(#[from] NoteError),
    /// Tiles are missing or wrong.
    #[error("the log is damaged: {0}")]
    Tiles(#[from] TileError),
    /// The tiles do not give the root that was signed.
    #[error("the log was rewritten: its tiles do not give the root that was signed")]
    Rewritten,
    /// The checkpoint speaks of another log.
    #[error("the log is {found:?}, not {expected:?}")]
    Origin {
        /// By the configuration.
        expected: String,
        /// In the checkpoint.
        found: String,
    },
    /// An entry is too long.
    #[error("an entry of {0} bytes is too long for the log")]
    TooLong(usize),
}

/// The log's one writer.
#[derive(Debug)]
pub struct Log {
    source: Folder,
    key: Arc<NodeKey>,
    head: Checkpoint,
    note: String,
    /// Held as long as this lives, so that no second process appends.
    _lock: File,
}

impl Log {
    /// Opens the log in `folder`, or begins one, under the name `consilium/<node>`. What is there
    /// must be signed by `key` and give the signed root.
    pub fn open(folder: &Path, node: &str, key: Arc<NodeKey>) -> Result<Self, LogError> {
        durable::make_folders(folder)?;
        let lock = lock(folder)?;
        let source = Folder(folder.to_owned());
        let origin = format!("consilium/{node}");
        let (note, head) =
            match durable::read_at_most(&folder.join(CHECKPOINT), NOTE_BYTES_MAX as u64) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    begin(folder, origin, &key)?
                }
                bytes => resume(&source, bytes?, origin, &key)?,
            };
        Ok(Self {
            source,
            key,
            head,
            note,
            _lock: lock,
        })
    }

    /// Adds entries and returns the index of the first. They are durable and proven by
    /// [`Log::note`] when this returns.
    pub fn append(&mut self, entries: &[Vec<u8>]) -> Result<u64, LogError> {
        if let Some(long) = entries.iter().find(|entry| entry.len() > ENTRY_BYTES_MAX) {
            return Err(LogError::TooLong(long.len()));
        }
        let first = self.head.size;
        let size = first + entries.len() as u64;
        if size == first {
            return Ok(first);
        }
        self.write_bundles(entries, size)?;
        let root = self.write_hashes(entries, size)?;
        let head = Checkpoint {
            origin: self.head.origin.clone(),
            size,
            root,
        };
        let note = head.sign(self.key.key());
        durable::replace(&self.source.0.join(CHECKPOINT), note.as_bytes())?;
        self.head = head;
        self.note = note;
        self.drop_partials(first);
        Ok(first)
    }

    /// The checkpoint.
    #[must_use]
    pub fn head(&self) -> &Checkpoint {
        &self.head
    }

    /// The signed checkpoint, as it is served.
    #[must_use]
    pub fn note(&self) -> &str {
        &self.note
    }

    /// Entries.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.head.size
    }

    /// Reads what is in it.
    #[must_use]
    pub fn reader(&self) -> LogReader<'_> {
        LogReader::new(&self.source, self.head.size)
    }

    /// The proof that the entry `index` is in the log.
    pub fn prove(&self, index: u64) -> Result<Proof, LogError> {
        let mut reader = self.reader();
        let path = reader.inclusion(index)?;
        let entry = reader.entry(index)?;
        Ok(Proof {
            entry,
            index,
            path,
            checkpoint: self.note.clone(),
        })
    }

    /// The last entry that `wanted` accepts, and its index.
    pub fn find_last(
        &self,
        wanted: impl Fn(&Entry) -> bool,
    ) -> Result<Option<(u64, Entry)>, LogError> {
        let reader = self.reader();
        for bundle in (0..self.head.size.div_ceil(WIDTH)).rev() {
            let entries = reader.bundle(bundle)?;
            let known = entries.iter().map(|bytes| Entry::parse(bytes)).enumerate();
            let found = known
                .filter_map(|(at, entry)| Some((at, entry?)))
                .filter(|(_, entry)| wanted(entry));
            if let Some((at, entry)) = found.last() {
                return Ok(Some((bundle * WIDTH + at as u64, entry)));
            }
        }
        Ok(None)
    }

    /// Every entry that `wanted` accepts, the first one first.
    pub fn find_all(&self, wanted: impl Fn(&Entry) -> bool) -> Result<Vec<(u64, Entry)>, LogError> {
        let reader = self.reader();
        let mut found = Vec::new();
        for bundle in 0..self.head.size.div_ceil(WIDTH) {
            for (at, bytes) in reader.bundle(bundle)?.iter().enumerate() {
                let entry = Entry::parse(bytes).filter(|entry| wanted(entry));
                found.extend(entry.map(|entry| (bundle * WIDTH + at as u64, entry)));
            }
        }
        Ok(found)
    }

    /// The bytes of `checkpoint` or of a tile, as they are served; nothing else has a name.
    pub fn file(&self, path: &str) -> io::Result<Vec<u8>> {
        if path == CHECKPOINT {
            return Ok(self.note.clone().into_bytes());
        }
        let tile: Tile = path
            .parse()
            .map_err(|error| io::Error::new(io::ErrorKind::NotFound, error))?;
        fs::read(self.source.0.join(tile.to_string()))
    }

    fn write_bundles(&self, entries: &[Vec<u8>], size: u64) -> Result<(), LogError> {
        let first = self.head.size;
        for index in first / WIDTH..=(size - 1) / WIDTH {
            let mut bundle = Vec::new();
            if index * WIDTH < first {
                for entry in self.reader().bundle(index)? {
                    tile::push_entry(&mut bundle, &entry);
                }
            }
            for entry in within(entries, first, index) {
                tile::push_entry(&mut bundle, entry);
            }
            self.write(Tile::within(Level::Entries, index, size), &bundle)?;
        }
        Ok(())
    }

    /// Writes the tiles of every level that `entries` reach and returns the new root.
    fn write_hashes(&self, entries: &[Vec<u8>], size: u64) -> Result<Digest, LogError> {
        let mut before = self.reader();
        let mut after = LogReader::new(&self.source, size);
        let mut new: Vec<Digest> = entries.iter().map(|entry| tree::leaf(entry)).collect();
        let mut level = 0;
        while !new.is_empty() {
            let first = self.head.size >> (8 * u32::from(level));
            let last = first + new.len() as u64 - 1;
            let mut above = Vec::new();
            for index in first / WIDTH..=last / WIDTH {
                let mut hashes = Vec::new();
                if index * WIDTH < first {
                    hashes.extend_from_slice(before.hashes(level, index)?);
                }
                hashes.extend_from_slice(within(&new, first, index));
                let tile = Tile::within(Level::Hashes(level), index, size);
                assert_eq!(
                    hashes.len(),
                    usize::from(tile.width),
                    "a tile is as wide as its name says"
                );
                self.write(
                    tile,
                    &hashes.iter().flat_map(|hash| hash.0).collect::<Vec<u8>>(),
                )?;
                after.provide(tile, hashes);
                if tile.is_full() {
                    above.push(after.root_of_tile(level, index)?);
                }
            }
            new = above;
            level += 1;
        }
        Ok(after.root(0, size)?)
    }

    fn write(&self, tile: Tile, bytes: &[u8]) -> io::Result<()> {
        let path = self.source.0.join(tile.to_string());
        durable::make_folders(path.parent().expect("a tile lies in a folder"))?;
        durable::replace(&path, bytes)
    }

    /// Removes the partial tiles that full ones have replaced. One that stays does no harm.
    fn drop_partials(&self, before: u64) {
        let after = self.head.size;
        for level in 0..8 {
            let (first, until) = (before >> (8 * level), after >> (8 * level));
            for index in first / WIDTH..until / WIDTH {
                let levels = [Level::Hashes(level), Level::Entries];
                let levels = if level == 0 {
                    &levels[..]
                } else {
                    &levels[..1]
                };
                for &level in levels {
                    let tile = Tile {
                        level,
                        index,
                        width: 256,
                    };
                    // One that stays is asked for by nobody: the full tile is.
                    let _one_too_many = fs::remove_dir_all(self.source.0.join(tile.partials()));
                }
            }
        }
    }
}

fn lock(folder: &Path) -> Result<File, LogError> {
    let path: PathBuf = folder.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LogError::Busy),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

fn begin(folder: &Path, origin: String, key: &NodeKey) -> Result<(String, Checkpoint), LogError> {
    assert!(
        note::is_origin(&origin),
        "the configuration checks the node's name"
    );
    // The first checkpoint is written before any tile: tiles without one mean that it was removed,
    // and a log must not be begun anew over them.
    if folder.join("tile").exists() {
        return Err(LogError::Rewritten);
    }
    let head = Checkpoint {
        origin,
        size: 0,
        root: Digest::of(&[]),
    };
    let note = head.sign(key.key());
    durable::replace(&folder.join(CHECKPOINT), note.as_bytes())?;
    Ok((note, head))
}

fn resume(
    source: &Folder,
    note: Vec<u8>,
    origin: String,
    key: &NodeKey,
) -> Result<(String, Checkpoint), LogError> {
    let note = String::from_utf8(note).map_err(|_| NoteError::Malformed)?;
    let head = Checkpoint::open(&note, &key.public())?;
    if head.origin != origin {
        return Err(LogError::Origin {
            expected: origin,
            found: head.origin,
        });
    }
    if LogReader::new(source, head.size).root(0, head.size)? != head.root {
        return Err(LogError::Rewritten);
    }
    Ok((note, head))
}

/// Of `new`, whose first stands at `first`, those that fall into the tile `index`.
fn within<T>(new: &[T], first: u64, index: u64) -> &[T] {
    let place = |at: u64| usize::try_from(at.saturating_sub(first)).expect("is within memory");
    let from = place(index * WIDTH).min(new.len());
    let until = place((index + 1) * WIDTH).min(new.len());
    &new[from..until]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign::SigningKey;

    fn key() -> Arc<NodeKey> {
        Arc::new(NodeKey::from_seed(&[1; 32]))
    }

    fn open(folder: &Path) -> Result<Log, LogError> {
        Log::open(folder, "test", key())
    }

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a folder")
    }

    fn entry(index: u64) -> Vec<u8> {
        format!("{{\"type\":\"test\",\"index\":{index}}}").into_bytes()
    }

    fn grow(log: &mut Log, until: u64) {
        let entries: Vec<_> = (log.size()..until).map(entry).collect();
        log.append(&entries).expect("is appended");
    }

    fn root_by_definition(size: u64) -> Digest {
        let leaves: Vec<_> = (0..size).map(|index| tree::leaf(&entry(index))).collect();
        fn of(leaves: &[Digest]) -> Digest {
            match leaves {
                [only] => *only,
                _ => {
                    let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                    tree::node(&of(left), &of(right))
                }
            }
        }
        of(&leaves)
    }

    #[test]
    fn whatever_the_steps_the_root_is_that_of_the_definition() {
        let folder = folder();
        let mut log = open(folder.path()).expect("a log");
        for size in [1, 2, 3, 255, 256, 257, 511, 512, 513, 1_300] {
            grow(&mut log, size);
            assert_eq!(log.head().root, root_by_definition(size), "{size}");
            let index = size / 2;
            let proof = log.prove(index).expect("is proven");
            assert_eq!(proof.entry, entry(index));
            assert_eq!(proof.check(&key().public()).as_ref(), Ok(log.head()));
        }
        let head = log.head().clone();
        drop(log);
        assert_eq!(open(folder.path()).expect("opens again").head(), &head);
    }

    /// A tree high enough for a second level of full tiles is checked at its edges only.
    #[test]
    fn seventy_thousand_entries_make_the_tiles_of_the_specification() {
        let folder = folder();
        let mut log = open(folder.path()).expect("a log");
        grow(&mut log, 70_000);
        for there in [
            "tile/0/272",
            "tile/0/273.p/112",
            "tile/1/000",
            "tile/1/001.p/17",
            "tile/2/000.p/1",
        ] {
            assert!(folder.path().join(there).is_file(), "{there}");
        }
        let proof = log.prove(65_535).expect("is proven");
        assert_eq!(proof.check(&key().public()).as_ref(), Ok(log.head()));
    }

    #[test]
    fn every_past_is_consistent_with_the_present() {
        let folder = folder();
        let mut log = open(folder.path()).expect("a log");
        let mut past = Vec::new();
        for size in [1, 7, 256, 300, 700] {
            grow(&mut log, size);
            past.push(log.head().clone());
        }
        let now = log.head();
        for then in &past {
            let path = log.reader().consistency(then.size).expect("has its tiles");
            assert!(tree::is_consistent(
                (then.size, &then.root),
                (now.size, &now.root),
                &path
            ));
        }
    }

    /// Cloudflare's implementation reads our tiles by its own names and proves with its own code.
    #[test]
    fn another_implementation_walks_our_tiles() {
        struct Files<'a>(&'a Path);
        impl tlog_tiles::TileReader for Files<'_> {
            fn height(&self) -> u8 {
                8
            }
            fn read_tiles(
                &self,
                tiles: &[tlog_tiles::Tile],
            ) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
                let read = |tile: &tlog_tiles::Tile| {
                    // The same tile by the name that its own crate gives it: tile/8/L/N there.
                    let path = tile.path().replacen("tile/8/", "tile/", 1);
                    fs::read(self.0.join(path)).expect("the tile is there")
                };
                Ok(tiles.iter().map(read).collect())
            }
            fn save_tiles(&self, _: &[tlog_tiles::Tile], _: &[Vec<u8>]) {}
        }
        let folder = folder();
        let mut log = open(folder.path()).expect("a log");
        grow(&mut log, 300);
        let old = log.head().clone();
        grow(&mut log, 777);
        let head = log.head();
        let root = tlog_tiles::Hash(head.root.0);
        let files = Files(folder.path());
        let reader = tlog_tiles::TileHashReader::new(head.size, root, &files);
        let theirs = tlog_tiles::prove_record(head.size, 500, &reader).expect("is proven");
        let ours = log.prove(500).expect("is proven");
        assert_eq!(
            theirs.iter().map(|hash| Digest(hash.0)).collect::<Vec<_>>(),
            ours.path
        );
        let leaf = tlog_tiles::record_hash(&ours.entry);
        tlog_tiles::check_record(&theirs, head.size, root, 500, leaf).expect("is in the tree");
        let theirs = tlog_tiles::prove_tree(head.size, old.size, &reader).expect("is proven");
        let ours = log.reader().consistency(old.size).expect("is proven");
        assert_eq!(
            theirs.iter().map(|hash| Digest(hash.0)).collect::<Vec<_>>(),
            ours
        );
    }

    /// Power is lost before the checkpoint takes its name: what was written above it does not count
    /// and does not stand in the way.
    #[test]
    fn a_torn_append_leaves_the_log_as_it_was() {
        for (before, torn) in [(3, 200), (250, 300), (0, 1), (255, 256)] {
            let folder = folder();
            let mut log = open(folder.path()).expect("a log");
            grow(&mut log, before);
            let checkpoint = fs::read(folder.path().join(CHECKPOINT)).expect("is there");
            let other: Vec<_> = (before..torn)
                .map(|index| entry(index + 1_000_000))
                .collect();
            let partials: Vec<_> = ["tile/0/000.p", "tile/entries/000.p"]
                .map(|name| folder.path().join(name))
                .into_iter()
                .flat_map(|place| fs::read_dir(place).into_iter().flatten())
                .map(|file| file.expect("is listed").path())
                .map(|path| (fs::read(&path).expect("is read"), path))
                .collect();
            log.append(&other).expect("is appended");
            drop(log);
            // The checkpoint is written before superseded partial tiles go.
            fs::write(folder.path().join(CHECKPOINT), checkpoint).expect("is put back");
            for (bytes, path) in partials {
                durable::make_folders(path.parent().expect("lies in a folder")).expect("a folder");
                fs::write(path, bytes).expect("is put back");
            }
            let mut log = open(folder.path()).expect("opens");
            assert_eq!(log.size(), before);
            grow(&mut log, 600);
            assert_eq!(log.head().root, root_by_definition(600));
            assert_eq!(log.prove(before).expect("is proven").entry, entry(before));
        }
    }

    #[test]
    fn a_rewritten_or_foreign_log_is_not_opened() {
        let folder = folder();
        let mut log = open(folder.path()).expect("a log");
        grow(&mut log, 10);
        assert!(matches!(open(folder.path()), Err(LogError::Busy)));
        drop(log);
        let other = Log::open(folder.path(), "other", key());
        assert!(matches!(other, Err(LogError::Origin { .. })));
        let stolen = Arc::new(NodeKey::from_seed(&[2; 32]));
        let stolen = Log::open(folder.path(), "test", stolen);
        assert!(matches!(
            stolen,
            Err(LogError::Checkpoint(NoteError::Unsigned))
        ));
        let tile = folder.path().join("tile/0/000.p/10");
        let mut bytes = fs::read(&tile).expect("is there");
        bytes[100] ^= 1;
        fs::write(&tile, bytes).expect("is written");
        assert!(matches!(open(folder.path()), Err(LogError::Rewritten)));
        fs::remove_file(folder.path().join(CHECKPOINT)).expect("is removed");
        assert!(matches!(open(folder.path()), Err(LogError::Rewritten)));
    }

    #[test]
    fn only_the_checkpoint_and_tiles_are_served() {
        let folder = folder();
        let mut log = open(folder.path()).expect("a log");
        grow(&mut log, 10);
        let served = log.file(CHECKPOINT).expect("is served");
        let served = String::from_utf8(served).expect("is text");
        assert_eq!(
            Checkpoint::open(&served, &key().public()).as_ref(),
            Ok(log.head())
        );
        assert_eq!(log.file("tile/0/000.p/10").expect("is served").len(), 320);
        for other in [
            "lock",
            "../secret",
            "tile/0/000.p/../../../lock",
            "tile/0/001",
        ] {
            assert!(log.file(other).is_err(), "{other}");
        }
    }

    #[test]
    fn an_entry_that_is_too_long_is_refused_before_anything_is_written() {
        let folder = folder();
        let mut log = open(folder.path()).expect("a log");
        let long = log.append(&[vec![], vec![0; ENTRY_BYTES_MAX + 1]]);
        assert!(matches!(long, Err(LogError::TooLong(_))));
        assert_eq!(log.size(), 0);
        log.append(&[vec![0; ENTRY_BYTES_MAX]])
            .expect("the longest fits");
    }

    #[test]
    fn entries_are_found_by_what_they_say() {
        let folder = folder();
        let mut log = open(folder.path()).expect("a log");
        let recording = "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().expect("is an id");
        let hold = |case: &str| Entry::Hold {
            recording,
            case: case.into(),
            at: crate::wall::Wall(0),
        };
        grow(&mut log, 300);
        log.append(&[hold("first").to_bytes(), hold("second").to_bytes()])
            .expect("is appended");
        grow(&mut log, 700);
        let about = |entry: &Entry| entry.recording() == Some(recording);
        assert_eq!(
            log.find_last(about).expect("is read"),
            Some((301, hold("second")))
        );
        assert_eq!(log.find_all(about).expect("is read").len(), 2);
        assert_eq!(log.find_last(|_| false).expect("is read"), None);
    }

    #[test]
    fn signing_keys_are_not_mixed_up() {
        let writer = SigningKey::from_seed(&[9; 32]);
        let folder = folder();
        let log = open(folder.path()).expect("a log");
        assert!(Checkpoint::open(log.note(), &writer.public()).is_err());
    }
}
