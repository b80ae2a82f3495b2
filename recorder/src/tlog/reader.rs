//! Reads hashes and entries of a log from its tiles, wherever they lie.
//!
//! What is read is believed by nobody: whoever asks compares a root that was computed from it with
//! one that was signed. A partial tile that is gone because the full one came is taken from that.

use std::collections::HashMap;
use std::io;

use super::tile::{self, ENTRY_BYTES_MAX, Level, Tile, WIDTH};
use super::tree;
use crate::digest::Digest;
use crate::source::Source;

/// Bytes of the longest bundle.
const BUNDLE_BYTES_MAX: usize = 256 * (ENTRY_BYTES_MAX + 2);

/// Why the tiles do not give what they should.
#[derive(Debug, thiserror::Error)]
pub enum TileError {
    /// It cannot be read.
    #[error("{tile}: {error}")]
    Io {
        /// Which.
        tile: Tile,
        /// Why.
        error: io::Error,
    },
    /// It has not the bytes that its name promises.
    #[error("{0}: is not as long as its name says")]
    Malformed(Tile),
    /// The log has no such entry.
    #[error("the log has no entry {0}")]
    Beyond(u64),
}

/// A log of a known size.
pub struct LogReader<'a> {
    source: &'a dyn Source,
    size: u64,
    tiles: HashMap<Tile, Vec<Digest>>,
}

impl<'a> LogReader<'a> {
    /// Reads the first `size` entries of the log at `source`.
    pub fn new(source: &'a dyn Source, size: u64) -> Self {
        Self {
            source,
            size,
            tiles: HashMap::new(),
        }
    }

    /// Puts a tile in place that is not written yet.
    pub(super) fn provide(&mut self, tile: Tile, hashes: Vec<Digest>) {
        self.tiles.insert(tile, hashes);
    }

    /// The root over the entries from `from` up to `until`.
    pub fn root(&mut self, from: u64, until: u64) -> Result<Digest, TileError> {
        tree::root(from, until, &mut |height, index| self.node(height, index))
    }

    /// The hashes that lead from an entry to the root.
    pub fn inclusion(&mut self, index: u64) -> Result<Vec<Digest>, TileError> {
        if index >= self.size {
            return Err(TileError::Beyond(index));
        }
        let size = self.size;
        tree::inclusion(index, size, &mut |height, index| self.node(height, index))
    }

    /// The hashes that show that the log of `old` entries is a beginning of this one.
    pub fn consistency(&mut self, old: u64) -> Result<Vec<Digest>, TileError> {
        if old > self.size {
            return Err(TileError::Beyond(old));
        }
        let size = self.size;
        tree::consistency(old, size, &mut |height, index| self.node(height, index))
    }

    /// One entry's bytes.
    pub fn entry(&self, index: u64) -> Result<Vec<u8>, TileError> {
        let mut bundle = if index < self.size {
            self.bundle(index / WIDTH)?
        } else {
            return Err(TileError::Beyond(index));
        };
        let at = usize::try_from(index % WIDTH).expect("is below 256");
        Ok(bundle.swap_remove(at))
    }

    /// The entries of one bundle.
    pub fn bundle(&self, index: u64) -> Result<Vec<Vec<u8>>, TileError> {
        let tile = Tile::within(Level::Entries, index, self.size);
        let bytes = self.read(tile, BUNDLE_BYTES_MAX)?;
        let entries = tile::entries(&bytes).filter(|entries| entries.len() >= tile.width.into());
        let entries = entries.ok_or(TileError::Malformed(tile))?;
        let entries = entries.into_iter().take(tile.width.into());
        Ok(entries.map(<[u8]>::to_vec).collect())
    }

    /// The hashes of one tile.
    pub fn hashes(&mut self, level: u8, index: u64) -> Result<&[Digest], TileError> {
        let tile = Tile::within(Level::Hashes(level), index, self.size);
        if !self.tiles.contains_key(&tile) {
            let bytes = self.read(tile, 256 * 32)?;
            let hashes = tile::hashes(&bytes).filter(|hashes| hashes.len() >= tile.width.into());
            let mut hashes = hashes.ok_or(TileError::Malformed(tile))?;
            hashes.truncate(tile.width.into());
            self.tiles.insert(tile, hashes);
        }
        Ok(&self.tiles[&tile])
    }

    /// The root over a full tile: what stands for it one level above.
    pub(crate) fn root_of_tile(&mut self, level: u8, index: u64) -> Result<Digest, TileError> {
        Ok(fold(self.hashes(level, index)?.to_vec()))
    }

    fn node(&mut self, height: u32, index: u64) -> Result<Digest, TileError> {
        let level = u8::try_from(height / 8).expect("a tree is at most 64 high");
        let within = height % 8;
        let (first, count) = (index << within, 1_usize << within);
        let at = usize::try_from(first % WIDTH).expect("is below 256");
        let hashes = self.hashes(level, first / WIDTH)?;
        Ok(fold(hashes[at..at + count].to_vec()))
    }

    fn read(&self, tile: Tile, max: usize) -> Result<Vec<u8>, TileError> {
        let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound && !tile.is_full();
        let answer = match self.source.read(&tile.to_string(), max) {
            Err(error) if gone(&error) => self.source.read(&tile.full().to_string(), max),
            answer => answer,
        };
        answer.map_err(|error| TileError::Io { tile, error })
    }
}

/// The root over a power of two of hashes.
fn fold(mut row: Vec<Digest>) -> Digest {
    while row.len() > 1 {
        let pairs = row.as_chunks::<2>().0.iter();
        row = pairs.map(|[left, right]| tree::node(left, right)).collect();
    }
    row[0]
}
