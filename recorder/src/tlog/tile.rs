//! Where a hash or an entry lies: the tiles and bundles of C2SP tlog-tiles.
//!
//! A tile holds up to 256 hashes of one level; level `L` holds nodes of height `8 L`. A bundle holds
//! up to 256 entries. Tiles at the right edge are partial and carry their width in their name, so
//! that a file once written under a name need never change. This file knows names and bytes only.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;

/// Hashes in a full tile, entries in a full bundle.
pub const WIDTH: u64 = 256;

/// Bytes of the longest entry: its length is two bytes in a bundle.
pub const ENTRY_BYTES_MAX: usize = 65_535;

/// What a tile holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// Entries.
    Entries,
    /// Nodes of height 8 times this.
    Hashes(u8),
}

/// The name of one tile or bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tile {
    /// What it holds.
    pub level: Level,
    /// Which of its level.
    pub index: u64,
    /// Hashes or entries in it: 1 to 256.
    pub width: u16,
}

impl Tile {
    /// The tile `index` of a level in a log of `size` entries, as wide as it is there.
    #[must_use]
    pub fn within(level: Level, index: u64, size: u64) -> Self {
        let count = match level {
            Level::Entries => size,
            Level::Hashes(level) => size.checked_shr(8 * u32::from(level)).unwrap_or(0),
        };
        let width = count.saturating_sub(index.saturating_mul(WIDTH)).min(WIDTH);
        let width = u16::try_from(width).expect("is at most 256");
        Self {
            level,
            index,
            width,
        }
    }

    /// The same place, with all its hashes: what may have replaced a partial tile.
    #[must_use]
    pub fn full(self) -> Self {
        Self { width: 256, ..self }
    }

    /// Whether nothing will be added to it.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.width == 256
    }

    /// The folder of the partial tiles of this place.
    #[must_use]
    pub fn partials(&self) -> String {
        format!("{}.p", self.full())
    }
}

impl fmt::Display for Tile {
    /// `tile/0/x001/x234/067.p/112`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.level {
            Level::Entries => f.write_str("tile/entries/")?,
            Level::Hashes(level) => write!(f, "tile/{level}/")?,
        }
        let mut above = Vec::new();
        let mut rest = self.index / 1_000;
        while rest > 0 {
            above.push(rest % 1_000);
            rest /= 1_000;
        }
        for part in above.iter().rev() {
            write!(f, "x{part:03}/")?;
        }
        write!(f, "{:03}", self.index % 1_000)?;
        if self.width < 256 {
            write!(f, ".p/{}", self.width)?;
        }
        Ok(())
    }
}

/// A path that names no tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the path of a tile of the log")]
pub struct NotATile;

impl FromStr for Tile {
    type Err = NotATile;

    fn from_str(path: &str) -> Result<Self, NotATile> {
        // Twenty digits of an index with their separators are far below this.
        if path.len() > 64 {
            return Err(NotATile);
        }
        let tile = parse(path).ok_or(NotATile)?;
        // One tile, one name: no leading zeros, no other spelling, nothing that leaves the folder.
        if tile.to_string() == path {
            Ok(tile)
        } else {
            Err(NotATile)
        }
    }
}

fn parse(path: &str) -> Option<Tile> {
    let (level, place) = path.strip_prefix("tile/")?.split_once('/')?;
    let level = match level {
        "entries" => Level::Entries,
        digits => Level::Hashes(
            number(digits)
                .filter(|&level| level < 64)?
                .try_into()
                .ok()?,
        ),
    };
    let (place, width) = match place.split_once(".p/") {
        Some((place, width)) => (
            place,
            number(width).filter(|width| (1..256).contains(width))?,
        ),
        None => (place, WIDTH),
    };
    let mut index: u64 = 0;
    for part in place.split('/') {
        let digits = part.strip_prefix('x').unwrap_or(part);
        index = index
            .checked_mul(1_000)?
            .checked_add(number(digits).filter(|&part| part < 1_000)?)?;
    }
    Some(Tile {
        level,
        index,
        width: width.try_into().ok()?,
    })
}

fn number(digits: &str) -> Option<u64> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok())?
}

/// The hashes of a tile's bytes.
#[must_use]
pub fn hashes(bytes: &[u8]) -> Option<Vec<Digest>> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    (rest.is_empty() && hashes.len() <= 256).then(|| hashes.iter().copied().map(Digest).collect())
}

/// The entries of a bundle's bytes.
#[must_use]
pub fn entries(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut entries = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
        let (entry, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        entries.push(entry);
        bytes = rest;
    }
    (bytes.is_empty() && entries.len() <= 256).then_some(entries)
}

/// Adds an entry of at most [`ENTRY_BYTES_MAX`] to a bundle.
pub fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) {
    let length = u16::try_from(entry.len()).expect("the caller kept to ENTRY_BYTES_MAX");
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tile(level: Level, index: u64, width: u16) -> Tile {
        Tile {
            level,
            index,
            width,
        }
    }

    /// The first is the specification's example of an index.
    #[test]
    fn names_are_those_of_the_specification() {
        for (tile, path) in [
            (
                tile(Level::Hashes(0), 1_234_067, 256),
                "tile/0/x001/x234/067",
            ),
            (tile(Level::Hashes(1), 0, 17), "tile/1/000.p/17"),
            (tile(Level::Entries, 273, 112), "tile/entries/273.p/112"),
            (tile(Level::Entries, 1_000, 256), "tile/entries/x001/000"),
        ] {
            assert_eq!(tile.to_string(), path);
            assert_eq!(path.parse(), Ok(tile));
        }
    }

    /// The specification's example: a tree of 70,000 entries.
    #[test]
    fn the_right_edge_is_partial() {
        assert_eq!(Tile::within(Level::Hashes(0), 272, 70_000).width, 256);
        assert_eq!(Tile::within(Level::Hashes(0), 273, 70_000).width, 112);
        assert_eq!(Tile::within(Level::Hashes(1), 0, 70_000).width, 256);
        assert_eq!(Tile::within(Level::Hashes(1), 1, 70_000).width, 17);
        assert_eq!(Tile::within(Level::Hashes(2), 0, 70_000).width, 1);
        assert_eq!(Tile::within(Level::Hashes(3), 0, 70_000).width, 0);
        assert_eq!(Tile::within(Level::Hashes(63), 0, u64::MAX).width, 0);
    }

    #[test]
    fn no_other_path_is_a_tile() {
        for path in [
            "",
            "tile",
            "tile/0",
            "tile/0/",
            "tile/0/0",
            "tile/0/0000",
            "tile/00/000",
            "tile/64/000",
            "tile/0/001/000",
            "tile/0/x000/000",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/000.p",
            "tile/0/../000",
            "tile/-1/000",
            "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
            "checkpoint",
            "tile/entries/xx01/000",
        ] {
            assert_eq!(path.parse::<Tile>(), Err(NotATile), "{path}");
        }
    }

    #[test]
    fn bundles_give_back_their_entries() {
        let mut bundle = Vec::new();
        for entry in [&b"one"[..], b"", &[7; ENTRY_BYTES_MAX]] {
            push_entry(&mut bundle, entry);
        }
        assert_eq!(
            entries(&bundle).expect("is whole"),
            [&b"one"[..], b"", &[7; ENTRY_BYTES_MAX]]
        );
        for cut in [1, 2, 4, 6, bundle.len() - 1] {
            assert_eq!(entries(&bundle[..cut]), None);
        }
    }
}
