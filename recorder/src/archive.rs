//! The one face of the archive: recordings are begun, listed, released, held and expired here.
//!
//! Every call blocks; whoever has a runtime calls from a thread of its own. What must be audited is
//! in the audit, durably, before a call returns, also when it is refused. This file decides and puts
//! the parts together; what they do is theirs.

use std::io;
use std::ops::Range;
use std::time::SystemTime;

use crate::access::{Actor, Refused, Release, ReleaseRequest, ReplayId};
use crate::catalogue::{FileEntry, Summary, Verification};
use crate::config::ArchiveConfig;
use crate::header::Policy;
use crate::id::RecordingId;
use crate::wall::Wall;

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
}

/// Why a room is not recorded, in words for the people in it.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// There is nobody who could ever open the recording.
    #[error(
        "nothing is recorded, because no compliance officer is configured: make a key with \
         `consilium keygen compliance` and name it in recording.officers"
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

/// The archive of one installation.
#[derive(Debug)]
pub struct Archive {}

impl Archive {
    /// Opens the archive: keys, log and audit are there or made, interrupted journals are salvaged.
    pub fn open(
        config: &ArchiveConfig,
        clock: impl Fn() -> SystemTime + Send + Sync + 'static,
    ) -> Result<Self, ArchiveError> {
        let _ = (config, clock);
        Err(ArchiveError("the archive is not available".into()))
    }

    /// Every recording, the oldest first. The caller shows an actor only those of his owner tag.
    pub fn list(&self) -> Vec<Summary> {
        Vec::new()
    }

    /// One recording.
    pub fn get(&self, id: RecordingId) -> Option<Summary> {
        let _ = id;
        None
    }

    /// The files of a recording, wherever they lie.
    pub fn files(&self, id: RecordingId) -> Result<Vec<FileEntry>, ReadError> {
        let _ = id;
        Err(ReadError::NotFound)
    }

    /// Bytes of a file of a recording. Segments are ciphertext, but who reads them is audited: call
    /// [`Archive::served`] first.
    pub fn read(
        &self,
        id: RecordingId,
        name: &str,
        range: Range<u64>,
    ) -> Result<Vec<u8>, ReadError> {
        let _ = (id, name, range);
        Err(ReadError::NotFound)
    }

    /// Gives the release share for one replay, sealed to the officer who asks.
    pub fn release(&self, id: RecordingId, request: &ReleaseRequest) -> Result<Release, Refused> {
        let _ = (id, request);
        Err(Refused::NotFound)
    }

    /// A range of a segment is about to be served in a replay.
    pub fn served(
        &self,
        replay: ReplayId,
        actor: &Actor,
        id: RecordingId,
        name: &str,
        range: Range<u64>,
    ) -> Result<(), Refused> {
        let _ = (replay, actor, id, name, range);
        Err(Refused::NoReplay)
    }

    /// What was played since the last report, in microseconds of the recording.
    pub fn watched(
        &self,
        replay: ReplayId,
        actor: &Actor,
        ranges: &[Range<u64>],
    ) -> Result<(), Refused> {
        let _ = (replay, actor, ranges);
        Err(Refused::NoReplay)
    }

    /// Something was exported in a replay.
    pub fn exported(&self, replay: ReplayId, actor: &Actor, what: &str) -> Result<(), Refused> {
        let _ = (replay, actor, what);
        Err(Refused::NoReplay)
    }

    /// A replay is over.
    pub fn end_replay(&self, replay: ReplayId, actor: &Actor) -> Result<(), Refused> {
        let _ = (replay, actor);
        Err(Refused::NoReplay)
    }

    /// The front door refused something itself, for instance a segment without a replay.
    pub fn note_refusal(
        &self,
        id: RecordingId,
        actor: &Actor,
        action: &str,
        reason: &str,
    ) -> Result<(), Refused> {
        let _ = (id, actor, action, reason);
        Err(Refused::AuditUnwritable)
    }

    /// Keeps a recording for a case, whatever its date.
    pub fn hold(
        &self,
        id: RecordingId,
        actor: &Actor,
        case: &str,
        reason: &str,
    ) -> Result<(), Refused> {
        let _ = (id, actor, case, reason);
        Err(Refused::NotFound)
    }

    /// Ends a hold.
    pub fn lift_hold(&self, id: RecordingId, actor: &Actor, case: &str) -> Result<(), Refused> {
        let _ = (id, actor, case);
        Err(Refused::NotFound)
    }

    /// Keeps a recording longer.
    pub fn extend(
        &self,
        id: RecordingId,
        actor: &Actor,
        until: Wall,
        reason: &str,
    ) -> Result<(), Refused> {
        let _ = (id, actor, until, reason);
        Err(Refused::NotFound)
    }

    /// Destroys a recording whose date has passed. Before it, it is refused for everyone.
    pub fn delete(&self, id: RecordingId, actor: &Actor) -> Result<(), Refused> {
        let _ = (id, actor);
        Err(Refused::NotFound)
    }

    /// Destroys every recording whose date has passed and that nothing holds.
    pub fn expire_due(&self) -> Expiry {
        Expiry::default()
    }

    /// Verifies a recording, wherever it lies, and remembers the result.
    pub fn verify(&self, id: RecordingId, actor: &Actor) -> Result<Verification, Refused> {
        let _ = (id, actor);
        Err(Refused::NotFound)
    }

    /// Every entry of the audit about a recording, the oldest first.
    pub fn audit_of(
        &self,
        id: RecordingId,
        actor: &Actor,
    ) -> Result<Vec<serde_json::Value>, Refused> {
        let _ = (id, actor);
        Err(Refused::NotFound)
    }

    /// The signed head of the transparency log.
    pub fn checkpoint(&self) -> Result<Vec<u8>, ReadError> {
        Err(ReadError::NotFound)
    }

    /// A tile of the log by its path below `tile/`.
    pub fn tile(&self, path: &str) -> Result<Vec<u8>, ReadError> {
        let _ = path;
        Err(ReadError::NotFound)
    }
}
