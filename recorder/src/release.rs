//! The release store: the server's half of every recording's secret, in a folder of its own.
//!
//! Each share is an age file sealed to the release key. The folder is kept out of backups of
//! recordings: destroying a share here is what makes every copy of its recording unreadable. Who may
//! have a share is decided elsewhere.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::id::RecordingId;

/// A sealed share has about 400 bytes; what is larger than this is none.
const SHARE_BYTES_MAX: u64 = 16 * 1024;

/// The folder of sealed shares.
#[derive(Debug)]
pub struct ReleaseStore {
    dir: PathBuf,
}

impl ReleaseStore {
    /// Opens the folder, and makes it if it is not there: for its owner alone.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
        Ok(Self {
            dir: dir.to_owned(),
        })
    }

    /// Keeps a share; on the disk when this returns. A recording has one share, and it is never
    /// replaced.
    pub fn put(&self, recording: RecordingId, sealed: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.path(recording))?;
        file.write_all(sealed)?;
        file.sync_all()?;
        self.sync()
    }

    /// The sealed share.
    pub fn read(&self, recording: RecordingId) -> io::Result<Vec<u8>> {
        let path = self.path(recording);
        if fs::metadata(&path)?.len() > SHARE_BYTES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "too large for a share",
            ));
        }
        fs::read(path)
    }

    /// Whether there is a share.
    pub fn has(&self, recording: RecordingId) -> bool {
        self.path(recording).exists()
    }

    /// Destroys a share: overwritten, on the disk, and gone. One that is gone already is fine, so
    /// that an expiry that was cut off can be done again.
    ///
    /// A disk that moves blocks may keep the old ones for a while; they are sealed to the release
    /// key, and `docs/operations.md` says what to do about such disks.
    pub fn shred(&self, recording: RecordingId) -> io::Result<()> {
        let path = self.path(recording);
        let mut file = match OpenOptions::new().write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.sync(),
            Err(error) => return Err(error),
        };
        let len = file.metadata()?.len().min(SHARE_BYTES_MAX) as usize;
        file.write_all(&vec![0; len])?;
        file.sync_all()?;
        fs::remove_file(&path)?;
        self.sync()
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    fn path(&self, recording: RecordingId) -> PathBuf {
        self.dir.join(format!("{recording}.age"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wall::Wall;

    fn id(random: u8) -> RecordingId {
        RecordingId::new(Wall::from_millis(1), [random; 10])
    }

    #[test]
    fn a_share_is_kept_once_and_for_its_owner_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = ReleaseStore::open(&dir.path().join("release")).expect("opens");
        store.put(id(1), b"sealed").expect("is kept");
        assert_eq!(store.read(id(1)).expect("is there"), b"sealed");
        let again = store.put(id(1), b"other").expect_err("never replaced");
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        let mode = |path: &Path| fs::metadata(path).expect("is there").permissions().mode();
        assert_eq!(mode(&store.dir) & 0o777, 0o700);
        assert_eq!(mode(&store.path(id(1))) & 0o777, 0o600);
    }

    #[test]
    fn a_shredded_share_is_overwritten_before_it_is_gone() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = ReleaseStore::open(dir.path()).expect("opens");
        store.put(id(1), b"sealed").expect("is kept");
        store.put(id(2), b"another").expect("is kept");
        // A second name shows what became of the blocks.
        let witness = dir.path().join("witness");
        fs::hard_link(store.path(id(1)), &witness).expect("same disk");
        store.shred(id(1)).expect("is destroyed");
        assert!(!store.has(id(1)));
        assert_eq!(fs::read(witness).expect("is there"), [0; 6]);
        assert!(store.has(id(2)), "others stay");
        store.shred(id(1)).expect("may be done again");
    }
}
