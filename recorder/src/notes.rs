//! What is remembered about a recording beside its folder: where its files lie in the object store,
//! what the last verification found, and what is left to tell once it has expired.
//!
//! A cache: without it a recording is verified and compared with the store again. What counts as
//! evidence is in the folder, the log and the audit.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::catalogue::{Summary, Verification};
use crate::digest::Digest;
use crate::durable;
use crate::id::RecordingId;
use crate::wall::Wall;

/// One file as it lies in the object store, verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, hexadecimal.
    pub sha256: String,
    /// Which version of the object it is.
    pub version: Option<String>,
    /// Until when the store itself refuses to delete it.
    pub retained_until: Option<Wall>,
    /// Whether the store itself holds it.
    pub is_held: bool,
}

/// What is remembered about a recording beside its folder. A cache: without it the recording is
/// verified and compared with the store again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Notes {
    /// The last verification.
    pub verification: Option<Verification>,
    /// Files in the object store.
    pub stored: BTreeMap<String, Stored>,
    /// When every file was there and verified.
    pub stored_whole: Option<Wall>,
    /// What is left of a recording whose time is over.
    pub ended: Option<Ended>,
}

/// What is left of a recording whose time is over; written before anything of it is destroyed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// As it was.
    pub summary: Summary,
    /// Of the `manifest.json` that it had.
    pub manifest: Digest,
}

/// The folder of [`Notes`], one file for each recording.
#[derive(Debug)]
pub struct NotesStore {
    dir: PathBuf,
}

/// Notes larger than this are not read: a day of segments with three lines each has half of it.
const NOTES_BYTES_MAX: u64 = 4 * 1024 * 1024;

impl NotesStore {
    /// Opens the folder, and makes it if it is not there.
    pub fn open(dir: &Path) -> io::Result<Self> {
        durable::make_folders(dir)?;
        Ok(Self {
            dir: dir.to_owned(),
        })
    }

    /// What is remembered of a recording; nothing, if the file is missing or torn.
    pub fn read(&self, id: RecordingId) -> Notes {
        durable::read_at_most(&self.path(id), NOTES_BYTES_MAX)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    /// Remembers.
    pub fn write(&self, id: RecordingId, notes: &Notes) -> io::Result<()> {
        let bytes = serde_json::to_vec(notes).expect("notes are plain values");
        durable::replace(&self.path(id), &bytes)
    }

    /// Every recording that is remembered.
    pub fn ids(&self) -> io::Result<Vec<RecordingId>> {
        let mut ids = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let name = entry?.file_name();
            let stem = name.to_str().and_then(|name| name.strip_suffix(".json"));
            ids.extend(stem.and_then(|stem| stem.parse::<RecordingId>().ok()));
        }
        Ok(ids)
    }

    fn path(&self, id: RecordingId) -> PathBuf {
        self.dir.join(format!("{id}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_a_cache_and_may_be_lost() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = NotesStore::open(&dir.path().join("catalogue")).expect("opens");
        let id = RecordingId::new(Wall::from_millis(1), [1; 10]);
        assert_eq!(store.read(id), Notes::default());
        let notes = Notes {
            stored_whole: Some(Wall::from_millis(5)),
            ..Notes::default()
        };
        store.write(id, &notes).expect("is written");
        assert_eq!(store.read(id), notes);
        assert_eq!(store.ids().expect("reads"), [id]);
        fs::write(store.path(id), "{\"stored_wh").expect("is torn");
        assert_eq!(store.read(id), Notes::default());
    }
}
