//! The one face of the archive: recordings are begun, listed, released, held and expired here.
//!
//! Every call blocks; whoever has a runtime calls from a thread of its own. What must be audited is
//! in the audit, durably, before a call returns, also when it is refused. This file decides and puts
//! the parts together; what they do is theirs.

mod books;
mod examining;
mod keeping;
mod known;
mod recording;
mod replaying;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::access::{Actor, Refused};
use crate::catalogue::{FileEntry, Summary};
use crate::config::ArchiveConfig;
use crate::counters::{Counter, Counters, Figures, Gauge};
use crate::folder::Part;
use crate::header::{Policy, owner_tag};
use crate::id::RecordingId;
use crate::keys::files::FileKeys;
use crate::keys::{KeyProvider, system_random};
use crate::notes::{Notes, NotesStore};
use crate::recording::{Clock, Recording, Status};
use crate::release::ReleaseStore;
use crate::replay::Replays;
use crate::retention::Standing;
use crate::salvage;
use crate::sign::{NodeKey, PublicKey};
use crate::store::local::LocalStore;
use crate::store::s3::S3Error;
use crate::tlog::CHECKPOINT;
use crate::upload::{Turn, Uploader, Wanted};
use crate::wall::Wall;
use sfu::tap::RecordingMemory;

use books::{Books, Told};
use known::Known;
use recording::ROOM_RETURNS_MAX;

/// Why the archive cannot be opened; for the operator, with the name of what he must change.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ArchiveError(pub String);

/// A wish to record a room.
#[derive(Clone, Debug)]
pub struct Begin {
    /// The room; only ever written where officers alone read it.
    pub room_name: String,
    /// The room's session.
    pub room_sid: String,
    /// The name of the API key whose room it is.
    pub owner: String,
    /// Whose wish it is.
    pub policy: Policy,
    /// The retention class; the default one if none.
    pub class: Option<String>,
    /// What its taps may take of the process's memory.
    pub memory: RecordingMemory,
}

/// Why a room is not recorded, in words for the people in it.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// There is nobody who could ever open the recording.
    #[error(
        "nothing is recorded, because no compliance officer is configured: make a key with \
         `consilium keygen compliance` and name it in recording.keys.compliance"
    )]
    NoOfficer,
    /// No such retention class.
    #[error("there is no retention class {0:?}")]
    NoClass(String),
    /// The disk is too full to begin another recording.
    #[error("the disk for recordings is full; nothing new is recorded until there is room")]
    NoSpace,
    /// The start cannot be audited.
    #[error("the audit log cannot be written; nothing is recorded until it can")]
    AuditUnwritable,
    /// The folder or its keys cannot be written.
    #[error("the recording cannot be begun: {0}")]
    Unwritable(String),
}

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No such recording, or no such file in it.
    #[error("there is no such file")]
    NotFound,
    /// The range does not lie in the file.
    #[error("the file has {bytes} bytes")]
    Range {
        /// How many it has.
        bytes: u64,
    },
    /// The disk or the object store fails.
    #[error("the file cannot be read now: {0}")]
    Io(#[from] io::Error),
}

/// What an expiry did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expiry {
    /// Recordings that were destroyed now.
    pub expired: Vec<RecordingId>,
    /// Recordings whose date has passed and that are kept, for whatever reason.
    pub kept: Vec<RecordingId>,
    /// Whether the clock has jumped and an operator must confirm it.
    pub is_clock_doubted: bool,
}

/// Bytes of a reason at most: a few sentences.
pub const REASON_BYTES_MAX: usize = 2_000;

/// The log's origin is `consilium/` and this. One installation has one log.
const NODE_NAME: &str = "archive";

/// The archive of one installation.
pub struct Archive {
    config: ArchiveConfig,
    keys: Arc<dyn KeyProvider>,
    node: Arc<NodeKey>,
    clock: Clock,
    counters: Arc<Counters>,
    /// A clock that nobody can set.
    began: Instant,
    local: Arc<LocalStore>,
    notes: Arc<NotesStore>,
    shares: ReleaseStore,
    uploader: Option<Uploader>,
    books: Mutex<Books>,
    catalogue: Mutex<BTreeMap<RecordingId, Known>>,
    replays: Mutex<Replays>,
    /// Recordings that are being made, by their room's tag.
    live: Mutex<BTreeMap<String, Recording>>,
    /// Recordings that lost their writers and wait for their rooms, by the room's tag.
    left: Mutex<BTreeMap<String, salvage::Standing>>,
    /// Why a recording stays beyond its date, as it was audited last.
    told: Mutex<BTreeMap<RecordingId, &'static str>>,
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Archive")
    }
}

impl Archive {
    /// Opens the archive: keys, log and audit are there or made, interrupted journals are put in order.
    pub fn open(
        config: &ArchiveConfig,
        clock: impl Fn() -> SystemTime + Send + Sync + 'static,
    ) -> Result<Self, ArchiveError> {
        config.check().map_err(ArchiveError)?;
        let now = Wall::from(clock());
        let data = &config.data;
        let at = |name: &str| data.join(name);
        let cannot = |what: &str| {
            let what = what.to_owned();
            move |error: io::Error| ArchiveError(format!("{what}: {error}"))
        };
        let keys = FileKeys::open(&config.keys, now, &mut system_random)
            .map_err(|error| ArchiveError(error.to_string()))?;
        let node = NodeKey::load(&config.keys.node)
            .map_err(|error| ArchiveError(format!("{}: {error}", config.keys.node.display())))?;
        let node = Arc::new(node);
        let local = LocalStore::open(&at("recordings")).map_err(cannot("recordings"))?;
        let shares = ReleaseStore::open(&at("release")).map_err(cannot("release"))?;
        let notes = NotesStore::open(&at("catalogue")).map_err(cannot("catalogue"))?;
        let counters = Arc::<Counters>::default();
        let books = Books::open(data, NODE_NAME, &node, now, Arc::clone(&counters));
        let (local, notes) = (Arc::new(local), Arc::new(notes));
        let uploader = (config.s3.as_ref())
            .map(|s3| uploader(s3, &local, &notes))
            .transpose()?;
        let archive = Self {
            config: config.clone(),
            keys: Arc::new(keys),
            node,
            clock: Arc::new(clock),
            counters,
            began: Instant::now(),
            local,
            notes,
            shares,
            uploader,
            books: Mutex::new(books.map_err(ArchiveError)?),
            catalogue: Mutex::default(),
            replays: Mutex::default(),
            live: Mutex::default(),
            left: Mutex::default(),
            told: Mutex::default(),
        };
        archive.take_stock()?;
        Ok(archive)
    }

    /// Reads every folder, and what the log and the notes say about recordings.
    fn take_stock(&self) -> Result<(), ArchiveError> {
        let unreadable = |error: io::Error| ArchiveError(format!("recordings: {error}"));
        let changes = self.books().changes().map_err(ArchiveError)?;
        let none = Vec::new();
        for id in self.local.ids().map_err(unreadable)? {
            self.put_in_order(id, ROOM_RETURNS_MAX);
            let notes = self.notes.read(id);
            if let Some(mut known) = Known::read(&self.local, &self.node.public(), id, &notes) {
                books::apply(&mut known.standing, changes.get(&id).unwrap_or(&none));
                known.show_standing();
                self.catalogue().insert(id, known);
            } else {
                tracing::warn!(recording = %id, "a folder without a header is not a recording");
            }
        }
        for id in self.notes.ids().map_err(unreadable)? {
            let (is_here, ended) = (
                self.catalogue().contains_key(&id),
                self.notes.read(id).ended,
            );
            let Some(ended) = ended.filter(|_| !is_here) else {
                continue;
            };
            let mut standing = Standing::new(ended.summary.retention.until);
            books::apply(&mut standing, changes.get(&id).unwrap_or(&none));
            match standing.expired {
                Some(at) => {
                    let known = Known::expired(ended.summary, at);
                    self.catalogue().insert(id, known);
                }
                // It was cut off after the last file and before the tombstone.
                None => self.bury(id, &ended).map_err(unreadable)?,
            }
        }
        Ok(())
    }

    /// Every recording, the oldest first. The caller shows an actor only those of his owner tag.
    pub fn list(&self) -> Vec<Summary> {
        let ids: Vec<_> = self.catalogue().keys().copied().collect();
        ids.into_iter().filter_map(|id| self.get(id)).collect()
    }

    /// One recording.
    pub fn get(&self, id: RecordingId) -> Option<Summary> {
        let known = self.known(id).ok()?;
        let notes = self.notes.read(id);
        let is_stored = notes.stored_whole.is_some();
        Some(Summary {
            live: self.is_live(id),
            stored_remotely: self.uploader.as_ref().map(|_| is_stored),
            verification: notes.verification.or(known.summary.verification),
            ..known.summary
        })
    }

    fn is_live(&self, id: RecordingId) -> bool {
        let live = self.live();
        live.values()
            .any(|it| it.id() == id && it.status() != Status::Closed)
    }

    /// What is known of a recording; read again while it changes.
    fn known(&self, id: RecordingId) -> Result<Known, Refused> {
        let mut catalogue = self.catalogue();
        let known = catalogue.get_mut(&id).ok_or(Refused::NotFound)?;
        if known.is_open() {
            known.refresh(&self.local, &self.notes.read(id));
        }
        Ok(known.clone())
    }

    /// The same for an actor, who only sees what is his owner's.
    fn seen_by(&self, id: RecordingId, actor: &Actor) -> Result<Known, Refused> {
        let known = self.known(id)?;
        match known.summary.owner == owner_tag(&actor.owner) {
            true => Ok(known),
            false => Err(Refused::OtherOwner),
        }
    }

    /// The files of a recording, wherever they lie.
    pub fn files(&self, id: RecordingId) -> Result<Vec<FileEntry>, ReadError> {
        if !self.catalogue().contains_key(&id) {
            return Err(ReadError::NotFound);
        }
        let stored = self.notes.read(id).stored;
        let mut files: BTreeMap<_, _> = (stored.iter())
            .map(|(name, stored)| (name.clone(), stored.bytes))
            .collect();
        for (part, bytes) in self.local.files(id)? {
            files.insert(part.to_string(), bytes);
        }
        let entry = |(name, bytes)| FileEntry { name, bytes };
        Ok(files.into_iter().map(entry).collect())
    }

    /// Bytes of a file of a recording. Segments are ciphertext, but who reads them is audited: call
    /// [`Archive::served`] first.
    pub fn read(
        &self,
        id: RecordingId,
        name: &str,
        range: Range<u64>,
    ) -> Result<Vec<u8>, ReadError> {
        let part: Part = name.parse().map_err(|_| ReadError::NotFound)?;
        if !self.catalogue().contains_key(&id) || part == Part::Summary {
            return Err(ReadError::NotFound);
        }
        let lies_in = |bytes: u64| match range.start <= range.end && range.end <= bytes {
            true => Ok(()),
            false => Err(ReadError::Range { bytes }),
        };
        match self.local.len(id, part) {
            Ok(bytes) => {
                lies_in(bytes)?;
                Ok(self.local.read_range(id, part, &range)?)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let notes = self.notes.read(id);
                let stored = notes.stored.get(name).ok_or(ReadError::NotFound)?;
                let uploader = self.uploader.as_ref().ok_or(ReadError::NotFound)?;
                lies_in(stored.bytes)?;
                if range.is_empty() {
                    return Ok(Vec::new());
                }
                (uploader.read(id, name, stored, range))
                    .map_err(|error| ReadError::Io(io::Error::other(error.to_string())))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The installation's public key.
    pub fn node_key(&self) -> PublicKey {
        self.node.public()
    }

    /// The folder of a recording on this machine; with an object store its segments may not be in it.
    pub fn folder(&self, id: RecordingId) -> PathBuf {
        self.local.folder(id)
    }

    /// The front door refused something itself, for instance a segment without a replay.
    pub fn note_refusal(
        &self,
        id: RecordingId,
        actor: &Actor,
        action: &str,
        refused: &Refused,
    ) -> Result<(), Refused> {
        let outcome: Result<(), Refused> = Err(refused.clone());
        match self.note(Some(id), &actor.identity, action, outcome, Told::default()) {
            Err(Refused::AuditUnwritable) => Err(Refused::AuditUnwritable),
            _ => Ok(()),
        }
    }

    /// Every entry of the audit about a recording, the oldest first.
    pub fn audit_of(
        &self,
        id: RecordingId,
        actor: &Actor,
    ) -> Result<Vec<serde_json::Value>, Refused> {
        let seen = self.seen_by(id, actor).map(drop);
        self.note(
            Some(id),
            &actor.identity,
            "read_audit",
            seen,
            Told::default(),
        )?;
        let lines = self.books().about(id)?;
        let value = |line| serde_json::to_value(line).expect("a line is JSON");
        Ok(lines.iter().map(value).collect())
    }

    /// The signed head of the transparency log.
    pub fn checkpoint(&self) -> Result<Vec<u8>, ReadError> {
        self.log_file(CHECKPOINT)
    }

    /// A tile of the log by its path below `tile/`.
    pub fn tile(&self, path: &str) -> Result<Vec<u8>, ReadError> {
        self.log_file(&format!("tile/{path}"))
    }

    fn log_file(&self, path: &str) -> Result<Vec<u8>, ReadError> {
        match self.books().log.file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(ReadError::NotFound),
            read => Ok(read?),
        }
    }

    /// What is due once a minute: the clock, an operator's word about it, replays that fell silent,
    /// recordings whose date has passed.
    pub fn tick(&self) -> Expiry {
        if let Err(error) = self.take_confirmation() {
            tracing::error!(%error, "the operator's confirmation was not taken up");
        }
        let (now, uptime) = self.times();
        self.books().tick(now, uptime);
        let over = self.replays().take_over(uptime, None);
        self.note_ended(over, "silent");
        self.give_up_rooms();
        self.expire_due()
    }

    /// Brings what is final into the object store, if there is one. Returns what was done.
    pub fn upload(&self) -> Option<Turn> {
        let uploader = self.uploader.as_ref()?;
        let all: Vec<Known> = self.catalogue().values().cloned().collect();
        let wanted: Vec<_> = (all.iter())
            .filter(|known| known.standing.expired.is_none())
            .map(|known| Wanted {
                id: known.summary.id,
                is_open: known.is_open(),
                until: known.standing.until,
                is_held: !known.standing.holds.is_empty(),
            })
            .collect();
        let turn = uploader.turn(&wanted, self.now());
        self.counters.add(Counter::Uploaded, turn.stored.into());
        let failed = turn.failed.len() as u64;
        self.counters.add(Counter::UploadsFailed, failed);
        self.counters.set(Gauge::UploadsWaiting, turn.waiting);
        let is_outage = u64::from(turn.is_outage);
        self.counters.set(Gauge::UploadOutage, is_outage);
        for (id, error) in &turn.failed {
            tracing::warn!(recording = %id, %error, "not in the object store yet");
        }
        Some(turn)
    }

    /// What was counted since this archive was opened. Never waits.
    pub fn figures(&self) -> Figures {
        self.counters.figures()
    }

    fn note<T>(
        &self,
        id: Option<RecordingId>,
        actor: &str,
        action: &str,
        outcome: Result<T, Refused>,
        told: Told,
    ) -> Result<T, Refused> {
        let now = self.now();
        (self.books()).note(now, id, actor, action, outcome, told)
    }

    /// Notes what has happened already and cannot be refused any more. A line that cannot be written
    /// is logged and counted by the books; what it tells is also where the caller says.
    fn note_afterwards(&self, id: RecordingId, actor: &str, action: &str, told: Told) {
        if self.note(Some(id), actor, action, Ok(()), told).is_err() {
            tracing::error!(recording = %id, action, "happened and is not in the audit");
        }
    }

    fn given(&self, reason: &str) -> Result<(), Refused> {
        let max = REASON_BYTES_MAX;
        match reason.trim().is_empty() || reason.len() > max {
            true => Err(Refused::NoReason { max }),
            false => Ok(()),
        }
    }

    fn remember(&self, id: RecordingId, notes: &Notes) {
        if let Err(error) = self.notes.write(id, notes) {
            // A cache: what is lost is found again.
            tracing::warn!(recording = %id, %error, "notes cannot be written");
        }
    }

    fn now(&self) -> Wall {
        Wall::from((self.clock)())
    }

    fn uptime(&self) -> Duration {
        self.began.elapsed()
    }

    fn times(&self) -> (Wall, Duration) {
        (self.now(), self.uptime())
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        locked(&self.books)
    }

    fn catalogue(&self) -> MutexGuard<'_, BTreeMap<RecordingId, Known>> {
        locked(&self.catalogue)
    }

    fn replays(&self) -> MutexGuard<'_, Replays> {
        locked(&self.replays)
    }

    fn live(&self) -> MutexGuard<'_, BTreeMap<String, Recording>> {
        locked(&self.live)
    }

    fn left(&self) -> MutexGuard<'_, BTreeMap<String, salvage::Standing>> {
        locked(&self.left)
    }

    fn told(&self) -> MutexGuard<'_, BTreeMap<RecordingId, &'static str>> {
        locked(&self.told)
    }
}

/// A thread that panicked while it held one of these has left whole values behind: each is changed
/// in one step.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A bucket that does not lock ends the start; one that does not answer now is asked again before
/// anything is removed here.
fn uploader(
    config: &crate::store::s3::S3Config,
    local: &Arc<LocalStore>,
    notes: &Arc<NotesStore>,
) -> Result<Uploader, ArchiveError> {
    let uploader = Uploader::new(config, Arc::clone(local), Arc::clone(notes))
        .map_err(|error| ArchiveError(error.to_string()))?;
    match uploader.check_lock() {
        Err(S3Error::Unavailable(why)) => {
            tracing::warn!(
                why,
                "the object store does not answer; recordings wait in the folder"
            );
            Ok(uploader)
        }
        Err(error) => Err(ArchiveError(error.to_string())),
        Ok(()) => Ok(uploader),
    }
}
