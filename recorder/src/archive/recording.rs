//! Recordings that are being made: begun, found again after a crash, closed with their manifest.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::statvfs;

use crate::archive::books::{SYSTEM, Told};
use crate::archive::known::Known;
use crate::archive::{Archive, Begin, BeginError};
use crate::counters::Counter;
use crate::header::Retention;
use crate::id::RecordingId;
use crate::keys::{KeyError, system_random};
use crate::manifest;
use crate::recording::{
    Closer, Closing, Recording, Resume, Start, StartError, Status, Surroundings,
};
use crate::salvage::{Outcome, Standing, salvage};

/// A room that comes back within so long after a crash goes on in the same recording: browsers try
/// for minutes.
pub(super) const ROOM_RETURNS_MAX: Duration = Duration::from_secs(600);

/// So often the end of recordings is looked for when the server stops.
const CLOSING_TURN: Duration = Duration::from_millis(20);

impl Archive {
    /// Begins a recording, or goes on with the open one of the same room. When this returns, the
    /// start is audited, and keys, header and first segment are on the disk.
    pub fn begin(self: &Arc<Self>, begin: Begin) -> Result<Recording, BeginError> {
        let room_tag = self.node.room_tag(&begin.owner, &begin.room_name);
        // One start at a time, so that a room has one recording.
        let mut live = self.live();
        let going_on = live
            .get(&room_tag)
            .filter(|it| it.status() != Status::Closed);
        if let Some(recording) = going_on {
            return Ok(recording.clone());
        }
        self.keys.compliance().map_err(begin_error)?;
        self.has_space()?;
        let left = self.left().remove(&room_tag);
        let recording = match left {
            Some(standing) => self.go_on(standing, begin)?,
            None => self.begin_new(begin)?,
        };
        live.insert(room_tag, recording.clone());
        drop(live);
        self.stock(recording.id());
        Ok(recording)
    }

    fn begin_new(self: &Arc<Self>, begin: Begin) -> Result<Recording, BeginError> {
        let class = self.config.retention.class(begin.class.as_deref());
        let (class, period) =
            class.ok_or_else(|| BeginError::NoClass(begin.class.clone().unwrap_or_default()))?;
        let (started, uptime) = self.times();
        let mut random = [0; 10];
        system_random(&mut random);
        let id = RecordingId::new(started, random);
        // A clock that stands before a time that was vouched for does not shorten anything.
        let counted_from = self.books().no_earlier(started);
        let until = period.after(counted_from);
        let told = Told::default()
            .with("class", class)
            .with("until", until.to_string())
            .with("is_clock_trusted", self.books().trusts(started, uptime));
        self.note(Some(id), SYSTEM, "begin", Ok(()), told)
            .map_err(|_| BeginError::AuditUnwritable)?;
        let start = Start {
            recording: id,
            recordings: self.config.data.join("recordings"),
            room_name: begin.room_name,
            room_sid: begin.room_sid,
            owner: begin.owner,
            policy: begin.policy,
            retention: Retention {
                class: class.to_owned(),
                until,
            },
            started,
        };
        let mut keep_share = |sealed: &[u8]| self.shares.put(id, sealed);
        let around = self.surroundings(begin.memory);
        Recording::begin(start, around, &mut keep_share, self.closer()).map_err(|error| {
            // A share without a recording opens nothing, but it has no business to stay.
            if let Err(error) = self.shares.shred(id) {
                tracing::warn!(%error, "the share of a recording that did not begin stays");
            }
            start_error(error)
        })
    }

    /// Goes on with a recording whose writer was lost.
    fn go_on(self: &Arc<Self>, left: Standing, begin: Begin) -> Result<Recording, BeginError> {
        let id = left.header.recording;
        self.note(Some(id), SYSTEM, "resume", Ok(()), Told::default())
            .map_err(|_| BeginError::AuditUnwritable)?;
        let resume = Resume {
            folder: left.folder,
            header: left.header,
            room_name: begin.room_name,
            writer: left.writer,
            segment: left.segment,
            prev: left.prev,
            durable_us: left.durable_us,
            contents: left.contents,
            reason: left.damage.unwrap_or_else(|| "the server stopped".into()),
        };
        let around = self.surroundings(begin.memory);
        Recording::resume(resume, around, self.closer()).map_err(start_error)
    }

    /// Puts the journal of a recording in order that lost its writer. One whose room may come back
    /// stays open for it; what cannot be put in order stays as it is and says so.
    pub(super) fn put_in_order(&self, id: RecordingId, grace: Duration) {
        let folder = self.local.folder(id);
        let now = (self.clock)();
        let outcome = {
            let mut books = self.books();
            salvage(&folder, &self.node, &mut books.log, now, grace)
        };
        match outcome {
            Ok(Outcome::Open(left)) => {
                let room_tag = left.header.room_tag.clone();
                self.left().insert(room_tag, *left);
            }
            Ok(Outcome::Finished(manifest)) => self.was_salvaged(id, &manifest.reason),
            Ok(Outcome::Removed) => {
                // Nothing was ever sealed with it.
                if let Err(error) = self.shares.shred(id) {
                    tracing::warn!(recording = %id, %error, "the share of no recording stays");
                }
            }
            Ok(Outcome::Alive | Outcome::Closed) => {}
            Err(error) => tracing::error!(recording = %id, %error, "cannot be put in order"),
        }
    }

    fn was_salvaged(&self, id: RecordingId, reason: &str) {
        let told = Told::because(reason).with("by_its_writer", false);
        // The manifest in the log says the same.
        self.note_afterwards(id, SYSTEM, "close", told);
        self.counters.count(Counter::Salvaged);
        if let Err(error) = self.local.seal(id) {
            tracing::warn!(recording = %id, %error, "the folder stays writable");
        }
        self.stock(id);
    }

    /// Closes recordings whose rooms have not come back.
    pub(super) fn give_up_rooms(&self) {
        if self.uptime() < ROOM_RETURNS_MAX {
            return;
        }
        let left = std::mem::take(&mut *self.left());
        for standing in left.into_values() {
            self.put_in_order(standing.header.recording, Duration::ZERO);
        }
    }

    fn surroundings(&self, memory: sfu::tap::RecordingMemory) -> Surroundings {
        let keys = Arc::clone(&self.keys);
        let clock = Arc::clone(&self.clock);
        Surroundings {
            counters: Arc::clone(&self.counters),
            ..Surroundings::new(keys, clock, self.config.limits, memory)
        }
    }

    fn closer(self: &Arc<Self>) -> Closer {
        let archive = Arc::clone(self);
        Box::new(move |closing| archive.close(closing, true))
    }

    /// The manifest, its leaf in the log, and the folder read-only. May be repeated.
    pub(super) fn close(&self, closing: &Closing, by_its_writer: bool) -> io::Result<()> {
        let id = closing.recording;
        let closed = {
            let mut books = self.books();
            manifest::close(closing, by_its_writer, &self.node, &mut books.log)
        };
        closed.map_err(|error| io::Error::other(error.to_string()))?;
        let told = Told::because(&closing.reason).with("by_its_writer", by_its_writer);
        // The manifest is in the log already; this line only says when it came there.
        self.note_afterwards(id, SYSTEM, "close", told);
        self.local.seal(id)?;
        self.stock(id);
        Ok(())
    }

    /// Takes a recording into the catalogue as its folder says it is.
    pub(super) fn stock(&self, id: RecordingId) {
        let notes = self.notes.read(id);
        let read = Known::read(&self.local, &self.node.public(), id, &notes);
        if let Some(mut known) = read {
            let mut catalogue = self.catalogue();
            if let Some(before) = catalogue.get(&id) {
                known.standing = before.standing.clone();
                known.show_standing();
            }
            catalogue.insert(id, known);
        }
    }

    fn has_space(&self) -> Result<(), BeginError> {
        let folder = self.config.data.join("recordings");
        match free_percent(&folder) {
            Ok(free) if free < u64::from(self.config.limits.free_percent_min) => {
                Err(BeginError::NoSpace)
            }
            Ok(_) => Ok(()),
            Err(error) => Err(BeginError::Unwritable(error.to_string())),
        }
    }

    /// Ends every recording because the server stops, and waits until they are closed, for so long
    /// at most. What is not closed then is salvaged at the next start.
    pub fn finish(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let all: Vec<_> = self.live().values().cloned().collect();
        for recording in &all {
            recording.stop("the server was stopped");
        }
        let is_open = |recording: &Recording| recording.status() != Status::Closed;
        while all.iter().any(is_open) && Instant::now() < until {
            std::thread::sleep(CLOSING_TURN);
        }
    }
}

fn free_percent(folder: &Path) -> io::Result<u64> {
    let disk = statvfs(folder)?;
    Ok((disk.f_bavail * 100)
        .checked_div(disk.f_blocks)
        .unwrap_or(0))
}

fn begin_error(error: KeyError) -> BeginError {
    match error {
        KeyError::NoOfficer => BeginError::NoOfficer,
        other => BeginError::Unwritable(other.to_string()),
    }
}

fn start_error(error: StartError) -> BeginError {
    match error {
        StartError::Key(error) => begin_error(error),
        StartError::NoSpace => BeginError::NoSpace,
        other => BeginError::Unwritable(other.to_string()),
    }
}
