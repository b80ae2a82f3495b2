//! The way from the folder to the object store, and back out of it.
//!
//! The folder is the queue: whatever is final in it and not noted as stored is put, verified, locked
//! and noted, in this order, so that it can stop anywhere and begin again. What the log says later
//! (a longer date, a hold) is carried after. The local copy of a segment goes only when the store
//! has just been asked again and has every byte under the lock that is wanted.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::catalogue::is_final;
use crate::digest::{Digest, hex};
use crate::folder::Part;
use crate::id::RecordingId;
use crate::notes::{Notes, NotesStore, Stored};
use crate::store::local::LocalStore;
use crate::store::s3::{Remote, S3Config, S3Error, S3Store, sum_of};
use crate::wall::Wall;

/// The first wait after the store did not answer.
const BACKOFF_MIN: Duration = Duration::from_secs(1);

/// The longest one: a store that was down for a day is found again within five minutes.
const BACKOFF_MAX: Duration = Duration::from_secs(300);

/// What must hold for one recording in the object store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Which recording.
    pub id: RecordingId,
    /// Whether its last segment still grows.
    pub is_open: bool,
    /// Until when it must be kept.
    pub until: Wall,
    /// Whether any case holds it.
    pub is_held: bool,
}

/// Why something is not in the store yet.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The store did not do it.
    #[error("{0}")]
    Store(#[from] S3Error),
    /// The folder or the notes cannot be read or written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The store has something else under this name, or keeps it less well than asked.
    #[error("{name} in the object store: {reason}")]
    Mismatch {
        /// Which file.
        name: String,
        /// What is wrong.
        reason: &'static str,
    },
}

impl UploadError {
    /// Whether the store as a whole does not answer, so that there is no use in going on now.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Store(S3Error::Unavailable(_)))
    }
}

/// What one turn did.
#[derive(Debug, Default)]
pub struct Turn {
    /// Files that were put and verified.
    pub stored: u32,
    /// Segments whose local copy was removed.
    pub removed: u32,
    /// What went wrong, by recording. The next turn tries again.
    pub failed: BTreeMap<RecordingId, UploadError>,
    /// Whether the store did not answer.
    pub is_outage: bool,
    /// Files that are final here and that the store is not known to have.
    pub waiting: u64,
}

/// How long to wait until the next turn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff(Option<Duration>);

impl Backoff {
    /// The store did not answer: wait for so long, each time twice as long, five minutes at most.
    pub fn failed(&mut self) -> Duration {
        let wait = self
            .0
            .map_or(BACKOFF_MIN, |last| (2 * last).min(BACKOFF_MAX));
        self.0 = Some(wait);
        wait
    }

    /// It answered.
    pub fn answered(&mut self) {
        self.0 = None;
    }
}

/// Brings recordings into the object store.
#[derive(Debug)]
pub struct Uploader {
    store: S3Store,
    config: S3Config,
    local: Arc<LocalStore>,
    notes: Arc<NotesStore>,
}

impl Uploader {
    /// Prepares; nothing is sent yet.
    pub fn new(
        config: &S3Config,
        local: Arc<LocalStore>,
        notes: Arc<NotesStore>,
    ) -> Result<Self, S3Error> {
        Ok(Self {
            store: S3Store::new(config)?,
            config: config.clone(),
            local,
            notes,
        })
    }

    /// Whether the bucket locks what is written to it, as configured. An outage is no answer.
    pub fn check_lock(&self) -> Result<(), S3Error> {
        if !self.config.worm {
            return Ok(());
        }
        let lock = self.store.bucket_lock()?;
        if lock.is_versioned && lock.locks_for_compliance {
            return Ok(());
        }
        let bucket = &self.config.bucket;
        Err(S3Error::Refused(format!(
            "recording.s3.worm: the bucket {bucket} does not lock new objects for compliance by \
             default (object lock with mode COMPLIANCE and a number of days, and versioning)"
        )))
    }

    /// Does what can be done now for all of `wanted`, the oldest first. Stops at an outage.
    pub fn turn(&self, wanted: &[Wanted], now: Wall) -> Turn {
        let mut turn = Turn::default();
        for wanted in wanted {
            if let Err(error) = self.bring(wanted, now, &mut turn) {
                turn.is_outage = error.is_outage();
                turn.failed.insert(wanted.id, error);
            }
            if turn.is_outage {
                break;
            }
        }
        let waiting = wanted
            .iter()
            .map(|wanted| self.waiting(wanted.id, wanted.is_open));
        turn.waiting = waiting.sum();
        turn
    }

    /// Files of a recording that wait for the store. A folder that cannot be read is told by the
    /// turn itself.
    fn waiting(&self, id: RecordingId, is_open: bool) -> u64 {
        let files = self.local.files(id).unwrap_or_default();
        let segments = chains(&files);
        let stored = self.notes.read(id).stored;
        let waits = |part: &Part| {
            is_final(*part, is_open, segments) && !stored.contains_key(&part.to_string())
        };
        files.iter().filter(|(part, _)| waits(part)).count() as u64
    }

    fn bring(&self, wanted: &Wanted, now: Wall, turn: &mut Turn) -> Result<(), UploadError> {
        let id = wanted.id;
        let mut notes = self.notes.read(id);
        let files = self.local.files(id)?;
        let segments = chains(&files);
        let mut is_whole = !wanted.is_open;
        for &(part, _) in &files {
            if !is_final(part, wanted.is_open, segments) {
                is_whole &= part == Part::Summary;
            } else if let Entry::Vacant(place) = notes.stored.entry(part.to_string()) {
                place.insert(self.put(wanted, part)?);
                self.notes.write(id, &notes)?;
                turn.stored += 1;
            }
        }
        self.carry(wanted, &mut notes)?;
        if is_whole && notes.stored_whole.is_none() {
            notes.stored_whole = Some(now);
            self.notes.write(id, &notes)?;
        }
        let keep = Duration::from_secs(u64::from(self.config.keep_local) * 3600);
        if notes.stored_whole.is_some_and(|at| at.after(keep) <= now) {
            self.make_room(wanted, &notes, &files, turn)?;
        }
        Ok(())
    }

    /// Puts one file. One that is there already must be the same: a turn that was cut off left it.
    fn put(&self, wanted: &Wanted, part: Part) -> Result<Stored, UploadError> {
        let (id, name) = (wanted.id, key(wanted.id, part));
        let bytes = self.local.read(id, part)?;
        let (len, sum) = (bytes.len() as u64, Digest::of(&bytes));
        match self.store.put(&name, bytes) {
            Ok(()) | Err(S3Error::Exists) => {}
            Err(error) => return Err(error.into()),
        }
        let remote = self.described(&name)?;
        is_the_same(&name, &remote, len, &sum)?;
        let mut stored = Stored {
            bytes: len,
            sha256: sum.to_string(),
            version: remote.version,
            retained_until: remote.retained_until,
            is_held: remote.is_held,
        };
        self.keep(wanted, &name, &mut stored)?;
        Ok(stored)
    }

    /// What the store says of an object, with its checksum also from stores that keep none.
    fn described(&self, name: &str) -> Result<Remote, UploadError> {
        let mut remote = self.store.stat(name)?;
        if remote.sha256.is_none() {
            let all = 0..remote.bytes;
            let bytes = self.store.read(name, remote.version.as_deref(), all)?;
            remote.sha256 = Some(sum_of(&Bytes::from(bytes)));
        }
        Ok(remote)
    }

    /// Locks and holds an object as wanted, and asks whether the store does.
    fn keep(&self, wanted: &Wanted, name: &str, stored: &mut Stored) -> Result<(), UploadError> {
        if !self.config.worm {
            return Ok(());
        }
        let version = stored.version.clone();
        let version = version.as_deref();
        let is_short = stored
            .retained_until
            .is_none_or(|until| until < whole_second(wanted.until));
        if is_short {
            let until = whole_second(wanted.until);
            self.store.retain(name, version, until)?;
        }
        if stored.is_held != wanted.is_held {
            self.store.hold(name, version, wanted.is_held)?;
        }
        if is_short || stored.is_held != wanted.is_held {
            let remote = self.store.stat(name)?;
            stored.retained_until = remote.retained_until;
            stored.is_held = remote.is_held;
        }
        is_kept(name, wanted, stored)
    }

    /// Carries what the log said since: longer dates, holds.
    fn carry(&self, wanted: &Wanted, notes: &mut Notes) -> Result<(), UploadError> {
        if !self.config.worm {
            return Ok(());
        }
        let names: Vec<_> = notes.stored.keys().cloned().collect();
        for name in names {
            let mut stored = notes.stored[&name].clone();
            self.keep(wanted, &key_of(wanted.id, &name), &mut stored)?;
            if stored != notes.stored[&name] {
                notes.stored.insert(name, stored);
                self.notes.write(wanted.id, notes)?;
            }
        }
        Ok(())
    }

    /// Removes local segments whose remote copy was verified just now. The small files stay: they
    /// are what lists and searches read.
    fn make_room(
        &self,
        wanted: &Wanted,
        notes: &Notes,
        files: &[(Part, u64)],
        turn: &mut Turn,
    ) -> Result<(), UploadError> {
        let segments = files.iter().map(|&(part, _)| part);
        for part in segments.filter(|part| matches!(part, Part::Segment(_))) {
            let name = part.to_string();
            let Some(stored) = notes.stored.get(&name) else {
                continue;
            };
            let remote = self.described(&key_of(wanted.id, &name))?;
            let sum = Digest::of(&self.local.read(wanted.id, part)?);
            is_the_same(&name, &remote, stored.bytes, &sum)?;
            let asked = Stored {
                version: remote.version,
                retained_until: remote.retained_until,
                is_held: remote.is_held,
                ..stored.clone()
            };
            if self.config.worm {
                is_kept(&name, wanted, &asked)?;
                if asked.version.is_none() || asked.version != stored.version {
                    return Err(mismatch(&name, "it is not the version that was stored"));
                }
            }
            self.local.remove(wanted.id, part)?;
            turn.removed += 1;
        }
        Ok(())
    }

    /// A range of a stored file.
    pub fn read(
        &self,
        id: RecordingId,
        name: &str,
        stored: &Stored,
        range: std::ops::Range<u64>,
    ) -> Result<Vec<u8>, S3Error> {
        let version = stored.version.as_deref();
        self.store.read(&key_of(id, name), version, range)
    }

    /// Until when the store itself refuses to delete any file of a recording.
    pub fn locked_until(&self, id: RecordingId, notes: &Notes) -> Result<Option<Wall>, S3Error> {
        let mut until = None;
        for name in notes.stored.keys() {
            match self.store.stat(&key_of(id, name)) {
                Ok(remote) => until = until.max(remote.retained_until),
                Err(S3Error::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(until)
    }

    /// Deletes every version of every file that was stored.
    pub fn delete(&self, id: RecordingId, notes: &Notes) -> Result<(), S3Error> {
        for (name, stored) in &notes.stored {
            self.store
                .delete(&key_of(id, name), stored.version.as_deref())?;
        }
        Ok(())
    }
}

/// How many segments there are: a segment is there as soon as its chain is.
fn chains(files: &[(Part, u64)]) -> u32 {
    let is_chain = |(part, _): &&(Part, u64)| matches!(part, Part::Chain(_));
    files.iter().filter(is_chain).count() as u32
}

fn key(id: RecordingId, part: Part) -> String {
    key_of(id, &part.to_string())
}

/// The name of an object is the path of its file, so that a copy of the bucket is a folder of
/// recordings.
fn key_of(id: RecordingId, name: &str) -> String {
    format!("recordings/{id}/{name}")
}

/// Stores keep lock dates to the second; ours are rounded up, never down.
fn whole_second(at: Wall) -> Wall {
    Wall(at.0.div_ceil(1_000_000) * 1_000_000)
}

fn mismatch(name: &str, reason: &'static str) -> UploadError {
    UploadError::Mismatch {
        name: name.to_owned(),
        reason,
    }
}

fn is_the_same(name: &str, remote: &Remote, bytes: u64, sum: &Digest) -> Result<(), UploadError> {
    let sums = remote.sha256.map(|there| hex(&there));
    if remote.bytes == bytes && sums == Some(sum.to_string()) {
        Ok(())
    } else {
        Err(mismatch(name, "it is not what lies here"))
    }
}

fn is_kept(name: &str, wanted: &Wanted, stored: &Stored) -> Result<(), UploadError> {
    let until = whole_second(wanted.until);
    if stored.retained_until.is_none_or(|locked| locked < until) {
        Err(mismatch(name, "it is not locked until the date"))
    } else if stored.is_held != wanted.is_held {
        Err(mismatch(name, "its legal hold is not as wanted"))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_five_minutes_and_begin_again() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..11).map(|_| backoff.failed().as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        backoff.answered();
        assert_eq!(backoff.failed(), BACKOFF_MIN);
    }

    #[test]
    fn a_lock_never_ends_before_the_date() {
        assert_eq!(whole_second(Wall(1_000_001)), Wall(2_000_000));
        assert_eq!(whole_second(Wall(1_000_000)), Wall(1_000_000));
    }

    #[test]
    fn what_is_kept_less_well_than_asked_is_not_kept() {
        let id = RecordingId::new(Wall(1), [1; 10]);
        let (until, is_held) = (Wall(5_000_000), true);
        let wanted = Wanted {
            id,
            is_open: false,
            until,
            is_held,
        };
        let stored = Stored {
            bytes: 1,
            sha256: String::new(),
            version: None,
            retained_until: Some(until),
            is_held,
        };
        assert!(is_kept("a", &wanted, &stored).is_ok());
        for worse in [
            Stored {
                retained_until: Some(Wall(4_999_999)),
                ..stored.clone()
            },
            Stored {
                retained_until: None,
                ..stored.clone()
            },
            Stored {
                is_held: false,
                ..stored
            },
        ] {
            assert!(is_kept("a", &wanted, &worse).is_err(), "{worse:?}");
        }
    }
}
