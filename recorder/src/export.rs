//! A recording in files that anybody can play: what leaves the archive, signed as it leaves.
//!
//! One WebM for each person (fragmented MP4 where the picture is H.264), the sound of all in one
//! Ogg, everything that happened in `events.json`, and over all of it `SHA256SUMS` with a signature.
//! All files are on the recording's clock. Whether somebody may export is decided elsewhere: whoever
//! calls this holds the recording's identity already. The new folder appears whole or not at all.

pub mod document;
pub mod keys;
mod media;
mod plan;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::age::Identity;
use crate::digest::Digest;
use crate::durable;
use crate::journal::body::MediaKind;
use crate::mixdown::{Heard, Mixdown};
use crate::sign::SIG_FILE_LEN;
use crate::timeline::{Given, Journal, Survey, TimelineError, play};

use document::{Document, Origin, Playing};
use media::MediaFile;
use plan::Plan;

/// The list of files and their digests, as `sha256sum --check` reads it.
pub const LIST: &str = "SHA256SUMS";

/// The signature over it (section 2 of the format, kind `export`).
pub const LIST_SIG: &str = "SHA256SUMS.sig";

/// What happened, who was there, what is missing.
pub const EVENTS: &str = "events.json";

/// The sound of all.
pub const MIX: &str = "mixed.opus";

/// Bytes of a list at most: some five hundred people.
pub const LIST_BYTES_MAX: usize = 48 * 1024;

/// Why there is no export.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// It would be written over something.
    #[error("{} is there already; an export is never written over anything", .0.display())]
    Exists(PathBuf),
    /// The recording cannot be read.
    #[error("the recording cannot be read: {0}")]
    Unreadable(#[from] TimelineError),
    /// The export cannot be written.
    #[error("the export cannot be written: {0}")]
    Unwritable(#[from] io::Error),
    /// Nobody signs it.
    #[error("the export is not signed: {0}")]
    Unsigned(String),
}

/// What is to be exported.
#[derive(Debug)]
pub struct Task<'a> {
    /// The recording's folder.
    pub folder: &'a Path,
    /// Its identity.
    pub identity: &'a Identity,
    /// The new folder.
    pub into: &'a Path,
    /// Where it comes from and who has it; stands in `events.json`.
    pub origin: Origin,
    /// Whether what is damaged is passed over. To be asked for, and told in `origin`.
    pub is_lenient: bool,
}

/// What was exported.
#[derive(Debug)]
pub struct Exported {
    /// The names of the files.
    pub files: Vec<String>,
    /// Frames of pictures and sound.
    pub frames: u64,
    /// How long the recording is, microseconds.
    pub duration_us: u64,
    /// What could not be read.
    pub damages: usize,
}

/// Exports a recording. `sign` is given the list of files and returns the bytes of its `.sig`; what
/// it refuses is not exported.
pub fn export(
    task: Task<'_>,
    sign: impl FnOnce(&[u8]) -> Result<[u8; SIG_FILE_LEN], String>,
) -> Result<Exported, ExportError> {
    let draft = Draft::begin(task.into)?;
    let journal = Journal::new(task.folder, task.identity, task.is_lenient);
    let survey = Survey::of(&journal)?;
    let duration_us = task.origin.duration_us.unwrap_or(survey.duration_us);
    let plan = Plan::of(&survey);
    let mut studio = Studio::begin(&draft, &survey, &plan)?;
    let given = play(&journal, &survey, |placed| {
        studio.frame(placed.track, placed.time_us, &placed.frame)
    })?;
    let heard = studio.finish(duration_us)?;
    let playing = Playing {
        duration_us,
        given: &given,
        heard,
    };
    let document = Document::new(task.origin, &survey, &plan, &playing);
    draft.write(EVENTS, &document.to_bytes())?;
    let list = draft.list()?;
    let signature = sign(list.as_bytes()).map_err(ExportError::Unsigned)?;
    draft.write(LIST, list.as_bytes())?;
    draft.write(LIST_SIG, &signature)?;
    let files = draft.names()?;
    draft.finish()?;
    Ok(Exported {
        files,
        frames: given.values().map(|given: &Given| given.frames).sum(),
        duration_us,
        damages: survey.damages.len(),
    })
}

/// All files of sound and pictures while they are written.
struct Studio<'a> {
    plan: &'a Plan,
    survey: &'a Survey,
    files: Vec<MediaFile>,
    mix: Option<Mixdown<BufWriter<File>>>,
}

impl<'a> Studio<'a> {
    fn begin(draft: &Draft, survey: &'a Survey, plan: &'a Plan) -> io::Result<Self> {
        let mut files = Vec::new();
        for file in &plan.files {
            let out = BufWriter::new(draft.create(&file.name)?);
            files.push(MediaFile::begin(out, file, plan)?);
        }
        let mix = match plan.mixed_channels() {
            0 => None,
            channels => {
                let out = BufWriter::new(draft.create(MIX)?);
                Some(Mixdown::begin(out, channels)?)
            }
        };
        Ok(Self {
            plan,
            survey,
            files,
            mix,
        })
    }

    fn frame(
        &mut self,
        track: u16,
        time_us: u64,
        frame: &crate::depacketize::Frame,
    ) -> io::Result<()> {
        let Some(lane) = self.plan.lane_of(track) else {
            return Ok(());
        };
        for (file, planned) in self.files.iter_mut().zip(&self.plan.files) {
            if let Some(stream) = planned.stream_of(lane) {
                file.frame(stream, time_us, frame)?;
            }
        }
        let Some(mix) = &mut self.mix else {
            return Ok(());
        };
        match self.survey.tracks[&track].body.kind {
            MediaKind::Audio => mix.frame(track, time_us, &frame.bytes),
            MediaKind::Video => mix.pass(time_us),
        }
    }

    fn finish(self, end_us: u64) -> io::Result<Option<Heard>> {
        for file in self.files {
            settled(file.finish()?)?;
        }
        let Some(mix) = self.mix else {
            return Ok(None);
        };
        let (out, heard) = mix.finish(end_us)?;
        settled(out)?;
        Ok(Some(heard))
    }
}

/// Written, and on the disk.
fn settled(out: BufWriter<File>) -> io::Result<()> {
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()
}

/// The new folder before it has its name. What is not finished is removed: it is in the clear.
struct Draft {
    folder: PathBuf,
    into: PathBuf,
    is_finished: bool,
}

impl Draft {
    fn begin(into: &Path) -> Result<Self, ExportError> {
        let is_there = |path: &Path| path.symlink_metadata().is_ok();
        if is_there(into) {
            return Err(ExportError::Exists(into.to_owned()));
        }
        let mut name = into.as_os_str().to_owned();
        name.push(".");
        name.push(durable::UNFINISHED);
        let folder = PathBuf::from(name);
        if is_there(&folder) {
            return Err(ExportError::Exists(folder));
        }
        fs::DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Self {
            folder,
            into: into.to_owned(),
            is_finished: false,
        })
    }

    /// A new file for its owner alone.
    fn create(&self, name: &str) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.folder.join(name))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = self.create(name)?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    /// The list of what is there.
    fn list(&self) -> io::Result<String> {
        let mut list = String::new();
        for name in self.names()? {
            let file = BufReader::new(File::open(self.folder.join(&name))?);
            list.push_str(&format!("{}  {name}\n", Digest::of_reader(file)?));
        }
        Ok(list)
    }

    /// Gives the folder its name, unless something has taken it.
    fn finish(mut self) -> Result<(), ExportError> {
        durable::sync_folder(&self.folder)?;
        let renamed = renameat_with(CWD, &self.folder, CWD, &self.into, RenameFlags::NOREPLACE);
        match renamed {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) => return Err(ExportError::Exists(self.into.clone())),
            // Some network file systems do not know the flag. A folder never replaces a file, and
            // only an empty folder gives way to another.
            Err(rustix::io::Errno::INVAL) => fs::rename(&self.folder, &self.into)?,
            Err(error) => return Err(io::Error::from(error).into()),
        }
        self.is_finished = true;
        let parent = self.into.parent().filter(|it| !it.as_os_str().is_empty());
        durable::sync_folder(parent.unwrap_or(Path::new(".")))?;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_finished
            && let Err(error) = fs::remove_dir_all(&self.folder)
        {
            tracing::error!(%error, "an export that was cut off lies in the clear and cannot be removed");
        }
    }
}

/// What is wrong with an export folder: nothing, if every file is as the list says, no file is
/// missing and none was added.
pub fn check_list(folder: &Path, list: &str) -> io::Result<Vec<String>> {
    let mut listed = BTreeMap::new();
    let mut wrong = Vec::new();
    for line in list.lines() {
        match line
            .split_once("  ")
            .map(|(sum, name)| (sum.parse::<Digest>(), name))
        {
            Some((Ok(digest), name)) => drop(listed.insert(name.to_owned(), digest)),
            _ => wrong.push(format!("{LIST}: a line that is none")),
        }
    }
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name == LIST || name == LIST_SIG {
            continue;
        }
        let Some(digest) = listed.remove(&name) else {
            wrong.push(format!("{name}: was added"));
            continue;
        };
        let file = BufReader::new(File::open(folder.join(&name))?);
        if Digest::of_reader(file)? != digest {
            wrong.push(format!("{name}: was altered"));
        }
    }
    wrong.extend(listed.keys().map(|name| format!("{name}: is missing")));
    Ok(wrong)
}

#[cfg(test)]
mod tests;
