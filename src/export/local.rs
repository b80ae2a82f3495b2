//! The archive itself, on the server's machine while no server runs.
//!
//! It is opened as the server opens it, audit, log and all; the lock of the log keeps the two apart.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, anyhow, bail};
use recorder::access::{Actor, Refused, ReleaseRequest, ReplayId};
use recorder::age::Recipient;
use recorder::archive::Archive;
use recorder::folder::Part;
use recorder::header::owner_tag;
use recorder::id::RecordingId;
use recorder::source::Folder;
use recorder::verify::{Against, Report, verify};

use super::Gathered;
use super::door::{Door, Refusing, Released};
use crate::cli::{Export, complain};
use crate::config::Config;
use crate::remote::Refusal;

/// What is read of a segment in the object store at a time.
const PIECE: u64 = 4 << 20;

/// An archive that this process has opened.
pub(super) struct Local {
    archive: Archive,
    id: RecordingId,
    actor: Actor,
    log: PathBuf,
    into: PathBuf,
}

fn refusal(refused: &Refused) -> Refusal {
    Refusal {
        code: refused.code().to_owned(),
        message: refused.to_string(),
    }
}

impl Local {
    pub(super) fn open(place: &str, task: &Export, into: &Path) -> anyhow::Result<Self> {
        let id: RecordingId = place
            .parse()
            .map_err(|_| anyhow!("{place} is neither a recording nor an address"))?;
        let identity = task.actor.clone().filter(|it| !it.trim().is_empty());
        let identity = identity.context("who exports must be said: --actor NAME")?;
        let config = Config::load(&task.config)?;
        let told = config.archive();
        let log = told.data.join("log");
        // Opening makes what is not there; an export is not what an archive begins with.
        for there in [
            &told.data.join("recordings"),
            &log,
            &told.keys.node,
            &told.keys.release,
        ] {
            if !there.exists() {
                bail!("there is no archive: {} is missing", there.display());
            }
        }
        let archive = Archive::open(&told, SystemTime::now).context(
            "the archive cannot be opened; while the server runs, export over its address \
             (https://.../compliance/api/v1/recordings/<recording>)",
        )?;
        let owner = match &task.key {
            Some(key) => key.clone(),
            None => owner_of(&archive, id, &config)?,
        };
        Ok(Self {
            archive,
            id,
            actor: Actor { identity, owner },
            log,
            into: into.to_owned(),
        })
    }

    fn replay(released: &Released) -> ReplayId {
        released.replay.parse().expect("it is what we were given")
    }

    /// Copies a file to where the others go.
    fn fetch(&self, name: &str, bytes: u64, into: &Path) -> anyhow::Result<()> {
        let mut file = fs::File::create_new(into.join(name))?;
        let mut from = 0;
        while from < bytes {
            let until = bytes.min(from + PIECE);
            file.write_all(&self.archive.read(self.id, name, from..until)?)?;
            from = until;
        }
        Ok(())
    }
}

/// The configured API key whose recording it is.
fn owner_of(archive: &Archive, id: RecordingId, config: &Config) -> anyhow::Result<String> {
    let tag = archive.get(id).context("there is no such recording")?.owner;
    let owner = config.keys.keys().find(|key| owner_tag(key) == tag);
    let owner =
        owner.context("no configured API key has made this recording: name it with --key")?;
    Ok(owner.clone())
}

impl Door for Local {
    fn actor(&self) -> String {
        self.actor.identity.clone()
    }

    fn release(&self, officer: &Recipient, reason: &str) -> Result<Released, Refusal> {
        let request = ReleaseRequest {
            actor: self.actor.clone(),
            officer: officer.to_string(),
            reason: reason.to_owned(),
        };
        let released = self.archive.release(self.id, &request);
        let released = released.map_err(|refused| refusal(&refused))?;
        Ok(Released {
            replay: released.replay.to_string(),
            share: released.sealed_share,
        })
    }

    fn gather(&self, released: &Released) -> anyhow::Result<Gathered> {
        let replay = Self::replay(released);
        let files = self.archive.files(self.id)?;
        for file in &files {
            if matches!(file.name.parse(), Ok(Part::Segment(_))) {
                let (archive, whole) = (&self.archive, 0..file.bytes);
                archive.served(replay, &self.actor, self.id, &file.name, whole)?;
            }
        }
        let folder = self.archive.folder(self.id);
        if files.iter().all(|file| folder.join(&file.name).exists()) {
            return Ok(Gathered::there(folder));
        }
        let gathered = Gathered::beside(&self.into, &self.id.to_string())?;
        for file in &files {
            self.fetch(&file.name, file.bytes, gathered.path())
                .with_context(|| file.name.clone())?;
        }
        Ok(gathered)
    }

    fn verify(&self, folder: &Path) -> anyhow::Result<Report> {
        let log = Folder(self.log.clone());
        let name = self.id.to_string();
        let against = Against {
            name: Some(&name),
            node_key: Some(self.archive.node_key()),
            log: Some(&log),
            ..Against::default()
        };
        Ok(verify(&Folder(folder.to_owned()), &against)?)
    }

    fn refused(&self, _: &Released, why: Refusing) {
        let refused = Refused::from(why);
        let noted = (self.archive).note_refusal(self.id, &self.actor, "export", &refused);
        if let Err(error) = noted {
            complain(&error.into());
        }
    }

    fn sealed(&self, released: &Released, what: &str, list: &[u8]) -> Result<Vec<u8>, Refusal> {
        let replay = Self::replay(released);
        let signed = self.archive.sign_export(replay, &self.actor, what, list);
        let signed = signed.map_err(|refused| refusal(&refused))?;
        Ok(signed.to_vec())
    }

    fn end(&self, released: &Released) {
        // The archive is closed right after, and no replay outlives it.
        let _ = (self.archive).end_replay(Self::replay(released), &self.actor);
    }
}
