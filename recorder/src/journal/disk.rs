//! What the journal needs of a disk: files that grow, room ahead, and the word that bytes are safe.
//!
//! A trait, because the second disk is the one of the disaster tests: full, slow, failing at a
//! chosen write. Everything here blocks; only writer threads call it.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;

use crate::durable;

/// A disk that journals are written to.
pub trait Disk: Send + Debug {
    /// Makes an empty file; an old one of this name is emptied.
    fn create(&mut self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Gives a file another name; one that had it is gone.
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file, if it is there.
    fn remove(&mut self, path: &Path) -> io::Result<()>;
    /// Makes names in a folder durable.
    fn sync_folder(&mut self, path: &Path) -> io::Result<()>;
    /// Gives `path` these bytes, at once and durably.
    fn replace(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()>;
}

/// A file that grows at its end.
pub trait DiskFile: Send + Debug {
    /// Appends all of `bytes`.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes everything that was appended durable.
    fn sync(&mut self) -> io::Result<()>;
    /// Takes room for a file of `bytes` from the volume, without growing the file.
    fn reserve(&mut self, bytes: u64) -> io::Result<()>;
    /// Cuts the file to `bytes` and gives room beyond back.
    fn truncate(&mut self, bytes: u64) -> io::Result<()>;
}

/// A folder of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalDisk;

impl Disk for LocalDisk {
    fn create(&mut self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        let file = options.create(true).append(true).open(path)?;
        file.set_len(0)?;
        Ok(Box::new(LocalFile(file)))
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn sync_folder(&mut self, path: &Path) -> io::Result<()> {
        durable::sync_folder(path)
    }

    fn replace(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        durable::replace(path, bytes)
    }
}

#[derive(Debug)]
struct LocalFile(File);

impl DiskFile for LocalFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn reserve(&mut self, bytes: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.0, FallocateFlags::KEEP_SIZE, 0, bytes) {
            // A file system that cannot reserve finds out at the write.
            Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
            other => other.map_err(io::Error::from),
        }
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }
}

/// Whether less than `percent` of the volume is free for us.
pub fn is_nearly_full(path: &Path, percent: u8) -> io::Result<bool> {
    let volume = rustix::fs::statvfs(path)?;
    Ok(volume.f_bavail.saturating_mul(100) < volume.f_blocks.saturating_mul(u64::from(percent)))
}

/// The name under which a file is prepared before it counts.
pub fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(durable::UNFINISHED);
    PathBuf::from(name)
}

#[cfg(test)]
pub(crate) mod faulty {
    //! A disk that does what disks do on their worst days.

    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use super::*;

    /// What the disk does from now on; shared with the test that steers it.
    #[derive(Debug, Default)]
    pub(crate) struct Mood {
        /// Bytes that can still be appended; `None`: as many as wished.
        pub(crate) room: Option<u64>,
        /// Bytes that can still be reserved; `None`: as many as wished.
        pub(crate) reservable: Option<u64>,
        /// Every write and sync fails with this.
        pub(crate) error: Option<io::ErrorKind>,
        /// Only syncs fail.
        pub(crate) sync_error: bool,
        /// Every sync takes so long.
        pub(crate) delay: Duration,
    }

    #[derive(Clone, Debug, Default)]
    pub(crate) struct FaultyDisk(pub(crate) Arc<Mutex<Mood>>);

    impl FaultyDisk {
        pub(crate) fn set(&self, change: impl FnOnce(&mut Mood)) {
            change(&mut self.0.lock().expect("nobody panics with it"));
        }

        fn check(&self) -> io::Result<()> {
            let mood = self.0.lock().expect("nobody panics with it");
            mood.error.map_or(Ok(()), |kind| Err(kind.into()))
        }
    }

    #[derive(Debug)]
    struct FaultyFile(Box<dyn DiskFile>, FaultyDisk);

    impl Disk for FaultyDisk {
        fn create(&mut self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
            self.check()?;
            Ok(Box::new(FaultyFile(LocalDisk.create(path)?, self.clone())))
        }

        fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
            self.check()?;
            LocalDisk.rename(from, to)
        }

        fn remove(&mut self, path: &Path) -> io::Result<()> {
            self.check()?;
            LocalDisk.remove(path)
        }

        fn sync_folder(&mut self, path: &Path) -> io::Result<()> {
            self.check()?;
            LocalDisk.sync_folder(path)
        }

        fn replace(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
            self.check()?;
            LocalDisk.replace(path, bytes)
        }
    }

    impl DiskFile for FaultyFile {
        fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.1.check()?;
            let mut mood = self.1.0.lock().expect("nobody panics with it");
            let fits = mood
                .room
                .map_or(bytes.len(), |room| bytes.len().min(room as usize));
            if let Some(room) = &mut mood.room {
                *room -= fits as u64;
            }
            // A full disk takes the beginning of a write.
            self.0.append(&bytes[..fits])?;
            if fits < bytes.len() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            Ok(())
        }

        fn sync(&mut self) -> io::Result<()> {
            self.1.check()?;
            let (fails, delay) = {
                let mood = self.1.0.lock().expect("nobody panics with it");
                (mood.sync_error, mood.delay)
            };
            std::thread::sleep(delay);
            if fails {
                return Err(io::Error::from_raw_os_error(
                    rustix::io::Errno::IO.raw_os_error(),
                ));
            }
            self.0.sync()
        }

        fn reserve(&mut self, bytes: u64) -> io::Result<()> {
            self.1.check()?;
            let mut mood = self.1.0.lock().expect("nobody panics with it");
            if let Some(left) = &mut mood.reservable {
                if *left < bytes {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                *left -= bytes;
            }
            Ok(())
        }

        fn truncate(&mut self, bytes: u64) -> io::Result<()> {
            self.1.check()?;
            self.0.truncate(bytes)
        }
    }
}
