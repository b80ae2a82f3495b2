//! Verification of a recording wherever its files lie, and what is remembered of it.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;

use crate::access::{Actor, Refused};
use crate::archive::books::Told;
use crate::archive::{Archive, ReadError};
use crate::catalogue::Verification;
use crate::folder::Part;
use crate::id::RecordingId;
use crate::source::{Folder, Listed, Source};
use crate::verify::{Against, Verdict, Weight, verify};

/// Findings that are remembered; a recording of which more is wrong is wrong enough.
const FINDINGS_MAX: usize = 20;

/// Bytes of one request to the object store while a segment is read from there.
const READ_AHEAD: u64 = 4 * 1024 * 1024;

impl Archive {
    /// Verifies a recording against our node key and log, and remembers the result. A recording that
    /// is still being made is verified up to where it is.
    pub fn verify(&self, id: RecordingId, actor: &Actor) -> Result<Verification, Refused> {
        let checked = self
            .seen_by(id, actor)
            .and_then(|known| match known.standing.expired {
                Some(_) => Err(Refused::Expired),
                None => self.examine(id),
            });
        let told = match &checked {
            Ok(found) => Told::default().with("intact", found.intact),
            Err(_) => Told::default(),
        };
        let found = self.note(Some(id), &actor.identity, "verify", checked, told)?;
        let mut notes = self.notes.read(id);
        notes.verification = Some(found.clone());
        self.remember(id, &notes);
        Ok(found)
    }

    fn examine(&self, id: RecordingId) -> Result<Verification, Refused> {
        let name = id.to_string();
        let log = Folder(self.config.data.join("log"));
        let against = Against {
            name: Some(&name),
            node_key: Some(self.node.public()),
            log: Some(&log),
            ..Against::default()
        };
        let report = verify(&Everywhere { archive: self, id }, &against).map_err(|error| {
            tracing::warn!(recording = %id, %error, "a recording cannot be verified now");
            Refused::Storage
        })?;
        let is_wrong = matches!(report.verdict, Verdict::Torn | Verdict::Broken);
        let worth_telling = report
            .findings
            .into_iter()
            .filter(|finding| finding.weight != Weight::Note);
        Ok(Verification {
            at: self.now(),
            intact: !is_wrong,
            findings: worth_telling
                .map(|finding| finding.words)
                .take(FINDINGS_MAX)
                .collect(),
        })
    }
}

/// The files of one recording, here and in the object store.
struct Everywhere<'a> {
    archive: &'a Archive,
    id: RecordingId,
}

impl Source for Everywhere<'_> {
    fn list(&self) -> io::Result<Vec<Listed>> {
        let files = self.archive.files(self.id).map_err(io::Error::other)?;
        let listed = files.into_iter().map(|file| Listed {
            name: file.name,
            size: file.bytes,
        });
        Ok(listed.collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        let part: Part = name.parse().map_err(io::Error::other)?;
        let path = self.archive.local.folder(self.id).join(part.to_string());
        match File::open(path) {
            Ok(file) => Ok(Box::new(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.open_remote(name),
            Err(error) => Err(error),
        }
    }
}

impl Everywhere<'_> {
    /// A segment that is in the object store alone, into memory: a segment has 64 MB at most.
    fn open_remote(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        let stored = self.archive.notes.read(self.id).stored;
        let stored = stored.get(name).ok_or(io::ErrorKind::NotFound)?;
        let mut bytes = Vec::with_capacity(stored.bytes as usize);
        let mut from = 0;
        while from < stored.bytes {
            let until = stored.bytes.min(from + READ_AHEAD);
            bytes.extend(self.range(name, from..until)?);
            from = until;
        }
        Ok(Box::new(io::Cursor::new(bytes)))
    }

    fn range(&self, name: &str, range: Range<u64>) -> io::Result<Vec<u8>> {
        self.archive
            .read(self.id, name, range)
            .map_err(|error| match error {
                ReadError::Io(error) => error,
                other => io::Error::other(other),
            })
    }
}
