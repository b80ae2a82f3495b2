//! Where a verifier reads from: a folder here, or the same files somewhere else.
//!
//! A source gives files by name and changes nothing. Names always come from our own types (a part of
//! a recording, a tile of the log), never from a stranger's text.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;

use crate::durable;

/// One file that a source has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub size: u64,
}

/// Files to verify.
pub trait Source: Send + Sync {
    /// The files of this place, in any order; folders in it are not looked into.
    fn list(&self) -> io::Result<Vec<Listed>>;
    /// A file from its beginning.
    fn open(&self, name: &str) -> io::Result<Box<dyn Read + Send>>;
    /// A whole file of at most `max` bytes.
    fn read(&self, name: &str, max: usize) -> io::Result<Vec<u8>> {
        durable::bounded(self.open(name)?, 0, max as u64)
    }
}

/// A folder on this machine.
#[derive(Clone, Debug)]
pub struct Folder(pub PathBuf);

impl Source for Folder {
    fn list(&self) -> io::Result<Vec<Listed>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            // A link or a folder is listed with its own size: it is not a file of the archive, and
            // whoever compares the names will say so.
            let size = entry.metadata()?.len();
            let name = entry.file_name().to_string_lossy().into_owned();
            files.push(Listed { name, size });
        }
        Ok(files)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(File::open(self.0.join(name))?))
    }
}
