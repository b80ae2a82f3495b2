//! The folder of recordings on this machine's disk.
//!
//! A recording that is closed is made read-only, folder and files: a slip of the hand changes
//! nothing. Root can, and then the log shows it; only an object store with a lock prevents it.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::folder::Part;
use crate::id::RecordingId;

const FOLDER_OPEN: u32 = 0o700;
const FOLDER_SEALED: u32 = 0o500;
const FILE_SEALED: u32 = 0o400;

/// The folder of recordings.
#[derive(Debug)]
pub struct LocalStore {
    dir: PathBuf,
}

impl LocalStore {
    /// Opens the folder, and makes it if it is not there.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(FOLDER_OPEN).create(dir)?;
        Ok(Self {
            dir: dir.to_owned(),
        })
    }

    /// The folder of one recording.
    pub fn folder(&self, id: RecordingId) -> PathBuf {
        self.dir.join(id.to_string())
    }

    /// Every recording that has a folder, the oldest first. Other names are not ours and stay.
    pub fn ids(&self) -> io::Result<Vec<RecordingId>> {
        let mut ids = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let name = entry?.file_name();
            ids.extend(
                name.to_str()
                    .and_then(|name| name.parse::<RecordingId>().ok()),
            );
        }
        ids.sort_unstable();
        Ok(ids)
    }

    /// The files of a recording with their lengths; none if it has no folder.
    pub fn files(&self, id: RecordingId) -> io::Result<Vec<(Part, u64)>> {
        let entries = match fs::read_dir(self.folder(id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            if let Some(part) = name.to_str().and_then(|name| name.parse::<Part>().ok()) {
                files.push((part, entry.metadata()?.len()));
            }
        }
        files.sort_unstable();
        Ok(files)
    }

    /// The length of a file.
    pub fn len(&self, id: RecordingId, part: Part) -> io::Result<u64> {
        Ok(fs::metadata(self.path(id, part))?.len())
    }

    /// A whole file.
    pub fn read(&self, id: RecordingId, part: Part) -> io::Result<Vec<u8>> {
        fs::read(self.path(id, part))
    }

    /// A range of a file that lies in it.
    pub fn read_range(
        &self,
        id: RecordingId,
        part: Part,
        range: &Range<u64>,
    ) -> io::Result<Vec<u8>> {
        let mut file = File::open(self.path(id, part))?;
        file.seek(SeekFrom::Start(range.start))?;
        let len = range.end.saturating_sub(range.start);
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut bytes = vec![0; len];
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Makes a closed recording read-only. May be repeated.
    pub fn seal(&self, id: RecordingId) -> io::Result<()> {
        let folder = self.folder(id);
        for entry in fs::read_dir(&folder)? {
            fs::set_permissions(entry?.path(), Permissions::from_mode(FILE_SEALED))?;
        }
        fs::set_permissions(&folder, Permissions::from_mode(FOLDER_SEALED))?;
        sync(&folder)
    }

    /// Removes one file of a sealed recording; its folder stays sealed.
    pub fn remove(&self, id: RecordingId, part: Part) -> io::Result<()> {
        let folder = self.folder(id);
        fs::set_permissions(&folder, Permissions::from_mode(FOLDER_OPEN))?;
        let removed = gone(fs::remove_file(self.path(id, part)));
        fs::set_permissions(&folder, Permissions::from_mode(FOLDER_SEALED))?;
        removed.and_then(|()| sync(&folder))
    }

    /// Deletes a recording with everything in its folder. One that is gone already is fine.
    pub fn delete(&self, id: RecordingId) -> io::Result<()> {
        let folder = self.folder(id);
        if folder.exists() {
            fs::set_permissions(&folder, Permissions::from_mode(FOLDER_OPEN))?;
            gone(fs::remove_dir_all(&folder))?;
        }
        sync(&self.dir)
    }

    fn path(&self, id: RecordingId, part: Part) -> PathBuf {
        self.folder(id).join(part.to_string())
    }
}

/// What shall not be there and is not, is done.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wall::Wall;

    fn store() -> (tempfile::TempDir, LocalStore, RecordingId) {
        let dir = tempfile::tempdir().expect("a folder");
        let store = LocalStore::open(&dir.path().join("recordings")).expect("opens");
        let id = RecordingId::new(Wall::from_millis(1), [1; 10]);
        fs::create_dir(store.folder(id)).expect("a new folder");
        for (name, bytes) in [
            ("header.json", "{}"),
            ("seg-000000.age", "ciphertext"),
            ("seg-000001.age.next", "not a part"),
        ] {
            fs::write(store.folder(id).join(name), bytes).expect("is written");
        }
        (dir, store, id)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("is there").permissions().mode() & 0o777
    }

    #[test]
    fn files_are_found_by_their_names_and_others_ignored() {
        let (dir, store, id) = store();
        fs::create_dir(dir.path().join("recordings/lost+found")).expect("a folder");
        assert_eq!(store.ids().expect("reads"), [id]);
        let files = store.files(id).expect("reads");
        assert_eq!(files, [(Part::Header, 2), (Part::Segment(0), 10)]);
        let range = store.read_range(id, Part::Segment(0), &(2..6));
        assert_eq!(range.expect("reads"), b"pher");
        assert!(store.read_range(id, Part::Segment(0), &(8..11)).is_err());
    }

    #[test]
    fn a_closed_recording_is_read_only_until_it_expires() {
        let (_dir, store, id) = store();
        store.seal(id).expect("seals");
        store.seal(id).expect("again is fine");
        assert_eq!(mode(&store.folder(id)), 0o500);
        assert_eq!(mode(&store.folder(id).join("header.json")), 0o400);
        store.remove(id, Part::Segment(0)).expect("removes");
        store.remove(id, Part::Segment(0)).expect("again is fine");
        assert_eq!(mode(&store.folder(id)), 0o500);
        assert_eq!(store.files(id).expect("reads"), [(Part::Header, 2)]);
        store.delete(id).expect("deletes");
        store.delete(id).expect("again is fine");
        assert!(store.ids().expect("reads").is_empty());
    }
}
