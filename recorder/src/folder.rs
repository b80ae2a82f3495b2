//! The names of the files in a recording's folder.
//!
//! A name that comes from outside is parsed into a [`Part`] before anything is opened: whatever does
//! not parse is no file of a recording, and no path can leave the folder.

use std::fmt;
use std::str::FromStr;

/// One file of a recording (section 1 of the format).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// `header.json`.
    Header,
    /// `header.sig`.
    HeaderSig,
    /// `share-c.age`: the officers' half of the secret, all officers alike.
    Share,
    /// `share-c-01.age` and so on: one officer's part of that half.
    ShareOf(u8),
    /// `break-glass.age`.
    BreakGlass,
    /// `index.age`: the first writer's names.
    Index,
    /// `index-000001.age` and so on: the names of a later writer, by its number.
    IndexOf(u32),
    /// `summary.json`: only while the recording is open.
    Summary,
    /// `writer-000000.json` and so on.
    Writer(u32),
    /// `writer-000000.sig` and so on.
    WriterSig(u32),
    /// `seg-000000.age` and so on.
    Segment(u32),
    /// `seg-000000.chain` and so on.
    Chain(u32),
    /// `manifest.json`.
    Manifest,
    /// `manifest.sig`.
    ManifestSig,
    /// `manifest.proof`.
    ManifestProof,
}

/// A name that no file of a recording has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no file of a recording has this name")]
pub struct NotAPart;

impl Part {
    /// The list of names that the writer of this number keeps.
    pub fn index_of(writer: u32) -> Self {
        match writer {
            0 => Self::Index,
            number => Self::IndexOf(number),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("header.json"),
            Self::HeaderSig => f.write_str("header.sig"),
            Self::Share => f.write_str("share-c.age"),
            Self::ShareOf(index) => write!(f, "share-c-{index:02}.age"),
            Self::BreakGlass => f.write_str("break-glass.age"),
            Self::Index => f.write_str("index.age"),
            Self::IndexOf(number) => write!(f, "index-{number:06}.age"),
            Self::Summary => f.write_str("summary.json"),
            Self::Writer(number) => write!(f, "writer-{number:06}.json"),
            Self::WriterSig(number) => write!(f, "writer-{number:06}.sig"),
            Self::Segment(number) => write!(f, "seg-{number:06}.age"),
            Self::Chain(number) => write!(f, "seg-{number:06}.chain"),
            Self::Manifest => f.write_str("manifest.json"),
            Self::ManifestSig => f.write_str("manifest.sig"),
            Self::ManifestProof => f.write_str("manifest.proof"),
        }
    }
}

impl FromStr for Part {
    type Err = NotAPart;

    fn from_str(name: &str) -> Result<Self, NotAPart> {
        let part = match name {
            "header.json" => Self::Header,
            "header.sig" => Self::HeaderSig,
            "share-c.age" => Self::Share,
            "break-glass.age" => Self::BreakGlass,
            "index.age" => Self::Index,
            "summary.json" => Self::Summary,
            "manifest.json" => Self::Manifest,
            "manifest.sig" => Self::ManifestSig,
            "manifest.proof" => Self::ManifestProof,
            _ => numbered(name).ok_or(NotAPart)?,
        };
        // One file, one name: `seg-0000001.age` and `share-c-1.age` are none.
        if part.to_string() == name {
            Ok(part)
        } else {
            Err(NotAPart)
        }
    }
}

fn numbered(name: &str) -> Option<Part> {
    let (stem, ending) = name.rsplit_once('.')?;
    let (kind, number) = stem.rsplit_once('-')?;
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(match (kind, ending) {
        ("share-c", "age") => Part::ShareOf(number.parse().ok()?),
        ("index", "age") => Part::IndexOf(number.parse().ok().filter(|&number| number > 0)?),
        ("writer", "json") => Part::Writer(number.parse().ok()?),
        ("writer", "sig") => Part::WriterSig(number.parse().ok()?),
        ("seg", "age") => Part::Segment(number.parse().ok()?),
        ("seg", "chain") => Part::Chain(number.parse().ok()?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_found_by_its_name() {
        for part in [
            Part::Header,
            Part::HeaderSig,
            Part::Share,
            Part::ShareOf(7),
            Part::BreakGlass,
            Part::Index,
            Part::IndexOf(1),
            Part::Summary,
            Part::Writer(0),
            Part::WriterSig(1),
            Part::Segment(999_999),
            Part::Segment(1_000_000),
            Part::Chain(3),
            Part::Manifest,
            Part::ManifestSig,
            Part::ManifestProof,
        ] {
            assert_eq!(part.to_string().parse(), Ok(part));
        }
    }

    #[test]
    fn no_other_name_is_a_part() {
        for name in [
            "",
            "..",
            "index-000000.age",
            "seg-.age",
            "seg-1.age",
            "seg-0000001.age",
            "seg-+00001.age",
            "seg-000001.age.next",
            "share-s.age",
            "../header.json",
            "header.json\0",
            "writer-99999999999.sig",
        ] {
            assert_eq!(name.parse::<Part>(), Err(NotAPart), "{name}");
        }
    }
}
