//! An operator's word that the clock is right, left in a file for the archive to take up.
//!
//! Whoever can write into the data folder can operate the server anyway; the word is still worth
//! little by itself: it holds only near the time that it names, is used once, and is audited.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::durable;
use crate::retention::is_near;
use crate::wall::Wall;

const NAME: &str = "clock-confirmed.json";

/// Two short texts and a date.
const BYTES_MAX: u64 = 16 * 1024;

/// An operator's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// What the clock said then.
    pub at: Wall,
    /// Who vouches for it.
    pub operator: String,
    /// Why it had jumped, or seemed to.
    pub reason: String,
}

impl Confirmation {
    /// Leaves the word in the data folder.
    pub fn leave(&self, data: &Path) -> io::Result<()> {
        let bytes = serde_json::to_vec(self).expect("texts are JSON");
        durable::replace(&path(data), &bytes)
    }

    /// The word that lies there, if it holds at `now`. One that does not, or cannot be read, is
    /// none.
    pub fn find(data: &Path, now: Wall) -> Option<Self> {
        let bytes = durable::read_at_most(&path(data), BYTES_MAX).ok()?;
        let found: Self = serde_json::from_slice(&bytes).ok()?;
        is_near(found.at, now).then_some(found)
    }

    /// Takes the word away: it is used once.
    pub fn take_away(data: &Path) -> io::Result<()> {
        match fs::remove_file(path(data)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

fn path(data: &Path) -> PathBuf {
    data.join(NAME)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_word_holds_near_its_time_and_once() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = Wall::from_millis(1_795_312_800_000);
        let word = Confirmation {
            at,
            operator: "ops".into(),
            reason: "the battery was empty".into(),
        };
        word.leave(dir.path()).expect("is written");
        let later = |hours: u64| at.after(Duration::from_secs(hours * 3600));
        assert_eq!(Confirmation::find(dir.path(), later(1)), Some(word));
        assert_eq!(Confirmation::find(dir.path(), later(25)), None);
        Confirmation::take_away(dir.path()).expect("is there");
        Confirmation::take_away(dir.path()).expect("again is fine");
        assert_eq!(Confirmation::find(dir.path(), at), None);
        fs::write(path(dir.path()), "{").expect("is written");
        assert_eq!(Confirmation::find(dir.path(), at), None);
    }
}
