//! The archive of the running server: opened before the front door, and kept in order by threads of
//! its own while the server runs.
//!
//! One thread ticks once a minute (the clock, replays that fell silent, recordings whose date has
//! passed); one brings recordings into the object store, if there is one, and waits longer and
//! longer while that does not answer.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use recorder::archive::Archive;
use recorder::upload::Backoff;
use sfu::tap::TapMemory;
use signaling::room::scribe::Desk;

use crate::config::Config;
use crate::keygen;

/// So often dates and the clock are looked at.
const TICK: Duration = Duration::from_secs(60);

/// So often the folder is looked through for what the object store does not have.
const UPLOAD_TICK: Duration = Duration::from_secs(10);

/// Recordings that are still being made when the server stops get so long to be closed; what is not
/// is closed at the next start.
const CLOSING_MAX: Duration = Duration::from_secs(10);

/// The archive with its threads.
pub(crate) struct Keeping {
    archive: Arc<Archive>,
    desk: Desk,
    stop: Arc<Stop>,
    ticking: JoinHandle<()>,
    /// Where the key of the officer lies that `--dev` made.
    pub(crate) dev_officer: Option<PathBuf>,
    /// Where the release service's key lies.
    pub(crate) release_key: PathBuf,
}

impl Keeping {
    /// Opens the archive and starts its threads. Blocks.
    pub(crate) fn start(config: &Config, is_dev: bool) -> anyhow::Result<Self> {
        let mut told = config.archive();
        fs::create_dir_all(&told.data)
            .with_context(|| format!("cannot make {} (data_dir)", told.data.display()))?;
        keygen::make_key_folders(&told.keys)?;
        let dev_officer = match is_dev {
            true => keygen::dev_officer(&mut told)?,
            false => None,
        };
        if told.keys.compliance.is_empty() {
            tracing::warn!(
                "nothing can be recorded: recording.keys.compliance names no officer \
                 (`consilium keygen compliance` makes a key)"
            );
        }
        let archive = Archive::open(&told, SystemTime::now).context("cannot open the archive")?;
        let archive = Arc::new(archive);
        let stop = Arc::new(Stop::default());
        let ticking = spawn("archive-clock", &archive, &stop, tick)?;
        if told.s3.is_some() {
            // Not waited for at the end: a turn may take minutes, and the next start goes on.
            spawn("archive-upload", &archive, &stop, upload)?;
        }
        Ok(Self {
            desk: Desk {
                archive: Arc::clone(&archive),
                memory: TapMemory::new(&config.media.limits),
            },
            archive,
            stop,
            ticking,
            dev_officer,
            release_key: told.keys.release,
        })
    }

    /// What rooms need to be recorded.
    pub(crate) fn desk(&self) -> Desk {
        self.desk.clone()
    }

    /// Closes what is still being recorded, and ends. Blocks.
    pub(crate) fn end(self) {
        self.archive.finish(CLOSING_MAX);
        self.stop.now();
        if self.ticking.join().is_err() {
            tracing::error!("the archive's thread has panicked");
        }
    }
}

/// Wakes threads that wait.
#[derive(Default)]
struct Stop {
    is_wanted: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    fn now(&self) {
        *self
            .is_wanted
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Waits for so long; says whether to go on.
    fn wait(&self, span: Duration) -> bool {
        let is_wanted = self
            .is_wanted
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(is_wanted, span, |is| !*is);
        !*waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

fn spawn(
    name: &str,
    archive: &Arc<Archive>,
    stop: &Arc<Stop>,
    work: fn(&Archive, &Stop),
) -> anyhow::Result<JoinHandle<()>> {
    let (archive, stop) = (Arc::clone(archive), Arc::clone(stop));
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || work(&archive, &stop))
        .with_context(|| format!("cannot start the thread {name}"))
}

fn tick(archive: &Archive, stop: &Stop) {
    let mut was_doubted = false;
    loop {
        let expiry = archive.tick();
        if expiry.is_clock_doubted && !was_doubted {
            tracing::warn!(
                "the clock is more than a day from where the audit says it should be: nothing \
                 expires until an operator confirms it (`consilium retention confirm-clock`)"
            );
        }
        was_doubted = expiry.is_clock_doubted;
        if !expiry.expired.is_empty() {
            tracing::info!(count = expiry.expired.len(), "recordings have expired");
        }
        if !stop.wait(TICK) {
            return;
        }
    }
}

fn upload(archive: &Archive, stop: &Stop) {
    let mut backoff = Backoff::default();
    loop {
        let is_outage = archive.upload().is_some_and(|turn| turn.is_outage);
        let wait = match is_outage {
            true => backoff.failed(),
            false => {
                backoff.answered();
                UPLOAD_TICK
            }
        };
        if !stop.wait(wait) {
            return;
        }
    }
}
