//! A hospital's archive in a folder of its own: its officers, its clock, recordings of a second.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant, UNIX_EPOCH};

use recorder::access::{Actor, Refused, Release, ReleaseRequest};
use recorder::age::{self, Identity};
use recorder::archive::{Archive, Begin};
use recorder::config::ArchiveConfig;
use recorder::header::{Header, Policy};
use recorder::id::RecordingId;
use recorder::keys::share::{Half, Share, ShareError};
use recorder::keys::split::{open_officers_share, reunite};
use recorder::keys::system_random;
use recorder::recording::{Fact, Status};
use recorder::wall::Wall;
use serde_json::Value;
use sfu::tap::TapMemory;
use tempfile::TempDir;

pub(crate) const OWNER: &str = "clinic";

/// An archive, and what the people around it hold.
pub(crate) struct House {
    pub(crate) dir: TempDir,
    pub(crate) config: ArchiveConfig,
    pub(crate) officers: Vec<Identity>,
    pub(crate) clock: Arc<AtomicU64>,
    pub(crate) archive: Arc<Archive>,
}

pub(crate) fn officer(identity: &str) -> Actor {
    Actor {
        identity: identity.into(),
        owner: OWNER.into(),
    }
}

impl House {
    /// With so many officers, of whom `threshold` open a recording together.
    pub(crate) fn new(officers: usize, threshold: u8) -> Self {
        Self::with(officers, threshold, |_| {})
    }

    pub(crate) fn with(
        officers: usize,
        threshold: u8,
        change: impl FnOnce(&mut ArchiveConfig),
    ) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let officers: Vec<_> = (0..officers)
            .map(|_| Identity::generate(&mut system_random))
            .collect();
        fs::create_dir(dir.path().join("keys")).expect("a new folder");
        let mut config = ArchiveConfig::default().below(dir.path());
        // How full the disk of the machine is that tests is no part of any test.
        config.limits.free_percent_min = 0;
        config.keys.threshold = threshold;
        config.keys.compliance = officers.iter().map(Identity::recipient).collect();
        change(&mut config);
        let start: Wall = "2026-11-22T02:00:00Z".parse().expect("a time");
        let clock = Arc::new(AtomicU64::new(start.0));
        let archive = Arc::new(open(&config, &clock));
        Self {
            dir,
            config,
            officers,
            clock,
            archive,
        }
    }

    /// The server is stopped and started again, with `change` to its configuration.
    pub(crate) fn restarted(self, change: impl FnOnce(&mut ArchiveConfig)) -> Self {
        let Self {
            dir,
            mut config,
            officers,
            clock,
            archive,
        } = self;
        drop(Arc::into_inner(archive).expect("nobody else has it"));
        change(&mut config);
        let archive = Arc::new(open(&config, &clock));
        Self {
            dir,
            config,
            officers,
            clock,
            archive,
        }
    }

    pub(crate) fn now(&self) -> Wall {
        Wall(self.clock.load(Ordering::Relaxed))
    }

    pub(crate) fn set_clock(&self, now: Wall) {
        self.clock.store(now.0, Ordering::Relaxed);
    }

    /// Years pass, and an operator says that they have.
    pub(crate) fn pass_years(&self, years: u32) {
        self.set_clock(self.now().years_later(years));
        self.confirm_clock();
    }

    pub(crate) fn confirm_clock(&self) {
        let word = recorder::confirmation::Confirmation {
            at: self.now(),
            operator: "operator".into(),
            reason: "the clock is right".into(),
        };
        word.leave(self.dir.path()).expect("is written");
        assert_eq!(self.archive.take_confirmation(), Ok(true));
    }

    pub(crate) fn begin(&self, room: &str) -> Begin {
        Begin {
            room_name: room.into(),
            room_sid: "RM_1".into(),
            owner: OWNER.into(),
            policy: Policy::Must,
            class: None,
            memory: TapMemory::new(&sfu::config::Limits::default()).recording(),
        }
    }

    /// A recording that was made and closed.
    pub(crate) fn recorded(&self, room: &str) -> RecordingId {
        let recording = self.archive.begin(self.begin(room)).expect("begins");
        recording.tell(joined(), None);
        recording.stop("the room ended");
        let deadline = Instant::now() + Duration::from_secs(60);
        while recording.status() != Status::Closed {
            assert!(Instant::now() < deadline, "{:?}", recording.status());
            sleep(Duration::from_millis(5));
        }
        let id = recording.id();
        drop(recording);
        self.wait_until_let_go();
        id
    }

    /// The writer's thread holds the archive until it ends.
    fn wait_until_let_go(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while Arc::strong_count(&self.archive) > 1 {
            assert!(Instant::now() < deadline, "the writer does not end");
            sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn folder(&self, id: RecordingId) -> PathBuf {
        self.dir.path().join("recordings").join(id.to_string())
    }

    pub(crate) fn ask(&self, officer_number: usize, reason: &str) -> ReleaseRequest {
        ReleaseRequest {
            actor: officer("wang"),
            officer: self.officers[officer_number].recipient().to_string(),
            reason: reason.into(),
        }
    }

    /// The lines of the audit about a recording, without the one that asks for them.
    pub(crate) fn audit(&self, id: RecordingId) -> Vec<Value> {
        let lines = self.archive.audit_of(id, &officer("auditor"));
        let mut lines = lines.expect("can be read");
        lines.retain(|line| line["action"] != "read_audit");
        lines
    }

    /// The last line about a recording: action, outcome, reason.
    pub(crate) fn last_line(&self, id: RecordingId) -> (String, String, String) {
        let line = self.audit(id).pop().expect("there is one");
        let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        (text("action"), text("outcome"), text("reason"))
    }
}

/// Somebody is there.
pub(crate) fn joined() -> Fact {
    Fact::Joined {
        participant: "PA_1".into(),
        identity: "li".into(),
        name: "Dr. Li".into(),
    }
}

fn open(config: &ArchiveConfig, clock: &Arc<AtomicU64>) -> Archive {
    let clock = Arc::clone(clock);
    let now = move || UNIX_EPOCH + Duration::from_micros(clock.load(Ordering::Relaxed));
    Archive::open(config, now).expect("opens")
}

/// What an officer makes of a folder and a released share: whether both give the recording's
/// identity.
pub(crate) fn reunited(
    folder: &Path,
    officer: &Identity,
    released: &Release,
) -> Result<bool, ShareError> {
    let header = fs::read(folder.join("header.json")).expect("is there");
    let header = Header::parse(&header).expect("is ours");
    let ours = fs::read(folder.join("share-c.age")).expect("is there");
    let ours = open_officers_share(header.recording, &ours, officer)?;
    let theirs = age::open(&released.sealed_share, officer).map_err(|_| ShareError::Sealed)?;
    let theirs = Share::from_json(&theirs, header.recording, Half::Release)?;
    Ok(reunite(&[ours], &theirs)?.recipient() == header.recipient)
}

/// Copies a folder with everything in it, as a backup does.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("is there") {
        let entry = entry.expect("reads");
        let to = to.join(entry.file_name());
        match entry.file_type().expect("has one").is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).expect("can be copied")),
        }
    }
}

pub(crate) fn code<T>(result: Result<T, Refused>) -> &'static str {
    result.err().map_or("done", |refused| refused.code())
}
