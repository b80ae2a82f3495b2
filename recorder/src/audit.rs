//! Who did what to which recording: lines of JSON, each holding the digest of the one before.
//!
//! A line is durable when [`Audit::append`] returns, and not before may anything happen that it
//! speaks of; when it cannot be written, the caller refuses. A finished day is signed with the node
//! key and becomes a leaf of the transparency log. The clock is an argument, and its steps are what
//! [`Audit::last_at`] lets others notice. Lines hold what officers typed as a reason, and no names
//! of rooms or participants.

mod check;

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::digest::Digest;
use crate::durable;
use crate::id::RecordingId;
use crate::sign::{Kind, NodeKey, sig_digest};
use crate::tlog::{Entry, Log, LogError};
use crate::wall::Wall;

pub use check::{AuditFinding, AuditProblem, AuditReport, verify};

/// Bytes of one line at most, its newline included: a reason is a sentence, not a book.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was refused.
    Refused,
}

/// What somebody did or tried to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Act {
    /// Who: an officer's identity, or `system`.
    pub actor: String,
    /// What: one word, `release`, `serve`, `watch`, `hold`.
    pub action: String,
    /// To which recording.
    pub recording: Option<RecordingId>,
    /// Whether it was done.
    pub outcome: Outcome,
    /// Why: what the officer said, or why it was refused.
    pub reason: Option<String>,
    /// Further facts.
    #[serde(default)]
    pub detail: Map<String, Value>,
}

/// One line of the audit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Counted from 0 over all days.
    pub seq: u64,
    /// When, by the server's clock.
    pub at: Wall,
    /// What was done.
    #[serde(flatten)]
    pub act: Act,
    /// Of the line before, without its newline.
    pub prev: Digest,
}

impl Line {
    /// Reads one line without its newline.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a line has only texts and is JSON")
    }
}

/// Why the audit cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The disk says no.
    #[error("the audit cannot be written: {0}")]
    Io(#[from] io::Error),
    /// An earlier write failed in a way that leaves its end unknown; the audit must be opened again.
    #[error("the audit cannot be written since an earlier write failed")]
    Broken,
    /// Another process has it.
    #[error("the audit is in use by another process")]
    Busy,
    /// The newest day is not an unbroken chain.
    #[error("the audit is damaged: {0}")]
    Damaged(String),
    /// The line would be too long.
    #[error("a line of {0} bytes is too long for the audit")]
    TooLong(usize),
    /// A finished day cannot be put into the log.
    #[error("a finished day of the audit cannot be logged: {0}")]
    Log(#[from] LogError),
}

/// The audit's one writer.
#[derive(Debug)]
pub struct Audit {
    folder: PathBuf,
    key: Arc<NodeKey>,
    next_seq: u64,
    prev: Digest,
    last_at: Option<Wall>,
    open: Option<Day>,
    is_broken: bool,
    /// Held as long as this lives, so that no second process appends.
    _lock: File,
}

#[derive(Debug)]
struct Day {
    name: String,
    file: File,
    length: u64,
}

impl Audit {
    /// Opens the audit in `folder`, or begins one. Days that were finished without being signed are
    /// signed and logged. A last line that was torn by a crash never took effect: it is cut off,
    /// and the audit says so.
    pub fn open(
        folder: &Path,
        key: Arc<NodeKey>,
        log: &mut Log,
        now: Wall,
    ) -> Result<Self, AuditError> {
        durable::make_folders(folder)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => AuditError::Busy,
            fs::TryLockError::Error(error) => error.into(),
        })?;
        let mut audit = Self {
            folder: folder.to_owned(),
            key,
            next_seq: 0,
            prev: Digest::ZERO,
            last_at: None,
            open: None,
            is_broken: false,
            _lock: lock,
        };
        let torn = audit.resume()?;
        for day in audit.unsigned_days()? {
            audit.sign(&day, log, now)?;
        }
        if torn > 0 {
            let detail = Map::from_iter([("bytes".to_owned(), torn.into())]);
            let act = Act {
                actor: "system".into(),
                action: "torn_line_removed".into(),
                recording: None,
                outcome: Outcome::Done,
                reason: Some("the server stopped while the line was written".into()),
                detail,
            };
            audit.append(now, log, act)?;
        }
        Ok(audit)
    }

    /// Writes what was done or refused. It is durable when this returns `Ok`, and has not happened
    /// otherwise.
    pub fn append(&mut self, now: Wall, log: &mut Log, act: Act) -> Result<Line, AuditError> {
        let mut lines = self.append_all(now, log, vec![act])?;
        Ok(lines.pop().expect("one act makes one line"))
    }

    /// Writes several acts with one wait for the disk; all of them, or none.
    pub fn append_all(
        &mut self,
        now: Wall,
        log: &mut Log,
        acts: Vec<Act>,
    ) -> Result<Vec<Line>, AuditError> {
        if self.is_broken {
            return Err(AuditError::Broken);
        }
        self.turn_the_page(now, log)?;
        let (mut lines, mut bytes) = (Vec::new(), Vec::new());
        let (mut seq, mut prev) = (self.next_seq, self.prev);
        for act in acts {
            let line = Line {
                seq,
                at: now,
                act,
                prev,
            };
            let text = line.to_bytes();
            if text.len() >= LINE_BYTES_MAX {
                return Err(AuditError::TooLong(text.len()));
            }
            prev = Digest::of(&text);
            seq += 1;
            bytes.extend_from_slice(&text);
            bytes.push(b'\n');
            lines.push(line);
        }
        self.write(&bytes)?;
        (self.next_seq, self.prev, self.last_at) = (seq, prev, Some(now));
        Ok(lines)
    }

    /// Signs and logs the newest day if it is over. A later line would do it too; this is for
    /// quiet days.
    pub fn finish_day(&mut self, now: Wall, log: &mut Log) -> Result<(), AuditError> {
        let is_over = self.open.as_ref().is_some_and(|day| day.name < now.day());
        if is_over {
            self.turn_the_page(now, log)?;
        }
        Ok(())
    }

    /// The time of the last line: what the clock is held against before anything expires.
    #[must_use]
    pub fn last_at(&self) -> Option<Wall> {
        self.last_at
    }

    /// Lines so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.next_seq
    }

    /// Whether nothing was ever written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.next_seq == 0
    }

    /// The lines about one recording, the first one first.
    pub fn about(&self, recording: RecordingId) -> Result<Vec<Line>, AuditError> {
        let mut found = Vec::new();
        for day in days(&self.folder)? {
            check::each_line(
                File::open(self.folder.join(format!("{day}.jsonl")))?,
                |_, bytes| {
                    let line = Line::parse(bytes).ok();
                    found.extend(line.filter(|line| line.act.recording == Some(recording)));
                },
            )?;
        }
        Ok(found)
    }

    /// Reads the newest day, checks that it is a chain, and opens it for appending. Returns how
    /// many bytes of a torn line were cut off.
    fn resume(&mut self) -> Result<u64, AuditError> {
        let mut torn = 0;
        for name in days(&self.folder)?.into_iter().rev() {
            let file = File::options()
                .read(true)
                .append(true)
                .open(self.folder.join(format!("{name}.jsonl")))?;
            let total = file.metadata()?.len();
            let mut length = 0;
            let mut last: Option<(Line, Digest)> = None;
            let mut damage = None;
            check::each_line(&file, |number, bytes| {
                length += bytes.len() as u64 + 1;
                match Line::parse(bytes) {
                    Ok(line) => {
                        let follows = last.as_ref().is_none_or(|(before, digest)| {
                            line.seq == before.seq + 1 && line.prev == *digest
                        });
                        if !follows {
                            damage
                                .get_or_insert(format!("line {number} of {name} does not follow"));
                        }
                        last = Some((line, Digest::of(bytes)));
                    }
                    Err(_) => {
                        damage.get_or_insert(format!("line {number} of {name} cannot be read"));
                    }
                }
            })?;
            if let Some(damage) = damage {
                return Err(AuditError::Damaged(damage));
            }
            torn += total - length;
            if length < total {
                file.set_len(length)?;
                file.sync_all()?;
            }
            let is_newest = self.open.is_none();
            if is_newest && !self.folder.join(format!("{name}.sig")).exists() {
                self.open = Some(Day { name, file, length });
            }
            if let Some((line, digest)) = last {
                (self.next_seq, self.prev, self.last_at) = (line.seq + 1, digest, Some(line.at));
                break;
            }
        }
        Ok(torn)
    }

    /// Days before the open one that have no signature yet.
    fn unsigned_days(&self) -> Result<Vec<String>, AuditError> {
        let open = self.open.as_ref().map(|day| day.name.as_str());
        let unsigned = |day: &String| {
            Some(day.as_str()) != open && !self.folder.join(format!("{day}.sig")).exists()
        };
        Ok(days(&self.folder)?.into_iter().filter(unsigned).collect())
    }

    /// Makes the day of `now` the open one. A clock that went back stays on the page: days follow
    /// each other as lines do.
    fn turn_the_page(&mut self, now: Wall, log: &mut Log) -> Result<(), AuditError> {
        let today = now.day();
        if let Some(day) = &self.open {
            if day.name >= today {
                return Ok(());
            }
            let name = day.name.clone();
            self.sign(&name, log, now)?;
            self.open = None;
        }
        // A signed page is not written on, not even by a clock that went back to it.
        let last = days(&self.folder)?.pop();
        let name = match last {
            Some(last) if last >= today => day_after(&last),
            _ => today,
        };
        let path = self.folder.join(format!("{name}.jsonl"));
        let file = File::options().create_new(true).append(true).open(path)?;
        durable::sync_folder(&self.folder)?;
        self.open = Some(Day {
            name,
            file,
            length: 0,
        });
        Ok(())
    }

    /// Logs a finished day and signs it, in this order: a day with a signature has its leaf.
    fn sign(&self, day: &str, log: &mut Log, now: Wall) -> Result<(), AuditError> {
        let sha256 = Digest::of_reader(File::open(self.folder.join(format!("{day}.jsonl")))?)?;
        let is_logged = |entry: &Entry| matches!(entry, Entry::Audit { day: of, sha256: is, .. } if of == day && *is == sha256);
        if log.find_last(is_logged)?.is_none() {
            let entry = Entry::Audit {
                day: day.to_owned(),
                sha256,
                at: now,
            };
            log.append(&[entry.to_bytes()])?;
        }
        let sig = sig_digest(Kind::Audit, sha256, self.key.key());
        Ok(durable::replace(
            &self.folder.join(format!("{day}.sig")),
            &sig,
        )?)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), AuditError> {
        let day = self.open.as_mut().expect("the page was turned to a day");
        let written = day
            .file
            .write_all(bytes)
            .and_then(|()| day.file.sync_data());
        let error = match written {
            Ok(()) => {
                day.length += bytes.len() as u64;
                return Ok(());
            }
            Err(error) => error,
        };
        // Nothing of it may stay: the next line would follow half a line. After a failed sync
        // nobody knows what the disk has, so only a taken-back and synced end counts as mended.
        let mended = day
            .file
            .set_len(day.length)
            .and_then(|()| day.file.sync_all());
        let mended = mended.and_then(|()| day.file.seek(SeekFrom::Start(day.length)));
        self.is_broken = mended.is_err();
        Err(error.into())
    }
}

/// The days that have a file, the first one first.
fn days(folder: &Path) -> io::Result<Vec<String>> {
    let mut days = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        days.extend(
            name.to_str()
                .and_then(check::day_of_file)
                .map(str::to_owned),
        );
    }
    days.sort_unstable();
    Ok(days)
}

fn day_after(day: &str) -> String {
    let noon: Wall = format!("{day}T12:00:00Z")
        .parse()
        .expect("a day's file has a day's name");
    noon.after(std::time::Duration::from_secs(86_400)).day()
}

#[cfg(test)]
mod tests;
