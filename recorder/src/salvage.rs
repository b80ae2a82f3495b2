//! Puts recordings in order that lost their writer: a killed server, a power loss, a full disk.
//!
//! What lies in a folder is taken as it was found. A torn end is cut off, chunks that were written
//! but not signed are chained and signed by the node key, so that everything that survived is
//! proven; then the recording stays open for a while, so that a restarted room can go on in it, or is
//! closed as incomplete. Only the ends are read, never the whole. Every step can be interrupted and
//! done again. A recording whose writer lives is left alone: the writer holds a lock on the folder.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::age::stream::SEALED_LEN;
use crate::contents::Contents;
use crate::contents::OpenSummary;
use crate::digest::Digest;
use crate::durable;
use crate::folder::Part;
use crate::header::{FILE_BYTES_MAX, Header, Writer};
use crate::journal::chain::{Chain, HEAD_LEN, Seal};
use crate::manifest::{self, Found, Manifest, ManifestError};
use crate::recording::Closing;
use crate::sign::{Kind, NodeKey, PublicKey, check_sig_file};
use crate::tlog::Log;
use crate::verify::links::{CHAIN_BYTES_MAX, Links, Sealed};
use crate::wall::Wall;

/// A larger summary is not read; it holds what a manifest holds.
const SUMMARY_BYTES_MAX: u64 = manifest::MANIFEST_BYTES_MAX as u64;

/// Unsigned chunks at most: a writer flushes every second, so this is an hour of a stuck one.
const UNSIGNED_CHUNKS_MAX: usize = 65_536;

/// What was found, and done about it.
#[derive(Debug)]
pub enum Outcome {
    /// Its writer lives.
    Alive,
    /// It never counted as started; its folder is gone.
    Removed,
    /// It is closed, and was before.
    Closed,
    /// It is in order up to its end and can be gone on with or closed.
    Open(Box<Standing>),
    /// It was closed now, as incomplete.
    Finished(Box<Manifest>),
}

/// Where a recording stands that lost its writer.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Its folder.
    pub folder: PathBuf,
    /// Its header.
    pub header: Header,
    /// The number of the next writer.
    pub writer: u32,
    /// The number of the next segment.
    pub segment: u32,
    /// The last chain value.
    pub prev: Digest,
    /// The end of what is safe, microseconds since the start.
    pub durable_us: u64,
    /// What the last durable summary says.
    pub contents: Contents,
    /// When its journal was last written to.
    pub last_written: SystemTime,
    /// What is missing although it had been signed, in plain words: the disk lost it.
    pub damage: Option<String>,
}

/// Why a recording cannot be put in order.
#[derive(Debug, thiserror::Error)]
pub enum SalvageError {
    /// A file cannot be read or written.
    #[error("{0}: {1}")]
    Io(String, io::Error),
    /// Something is there that no crash leaves.
    #[error("{0}")]
    Damaged(String),
    /// It cannot be closed.
    #[error("{0}")]
    Manifest(#[from] ManifestError),
}

/// How many recordings came out how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Left alone: their writers live.
    pub alive: u64,
    /// Removed: they never started.
    pub removed: u64,
    /// Closed before.
    pub closed: u64,
    /// In order, and open for their rooms.
    pub open: u64,
    /// Closed now, as incomplete.
    pub finished: u64,
    /// Not understood; left as they are.
    pub failed: u64,
}

impl Tally {
    /// Counts one more.
    pub fn count(&mut self, outcome: &Result<Outcome, SalvageError>) {
        *match outcome {
            Ok(Outcome::Alive) => &mut self.alive,
            Ok(Outcome::Removed) => &mut self.removed,
            Ok(Outcome::Closed) => &mut self.closed,
            Ok(Outcome::Open(_)) => &mut self.open,
            Ok(Outcome::Finished(_)) => &mut self.finished,
            Err(_) => &mut self.failed,
        } += 1;
    }
}

/// Puts every recording below `recordings` in order. One that was written to less than `grace` ago
/// stays open; others are closed as incomplete.
pub fn salvage_all(
    recordings: &Path,
    key: &NodeKey,
    log: &mut Log,
    now: SystemTime,
    grace: Duration,
) -> io::Result<Vec<(PathBuf, Result<Outcome, SalvageError>)>> {
    let mut outcomes = Vec::new();
    let folders = match fs::read_dir(recordings) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(outcomes),
        folders => folders?,
    };
    for entry in folders {
        let folder = entry?.path();
        let name = folder.file_name().and_then(|name| name.to_str());
        if name.is_some_and(|name| name.parse::<crate::id::RecordingId>().is_ok())
            && folder.is_dir()
        {
            let outcome = salvage(&folder, key, log, now, grace);
            outcomes.push((folder, outcome));
        }
    }
    outcomes.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(outcomes)
}

/// Puts one recording in order.
pub fn salvage(
    folder: &Path,
    key: &NodeKey,
    log: &mut Log,
    now: SystemTime,
    grace: Duration,
) -> Result<Outcome, SalvageError> {
    if manifest::is_closed(folder) {
        return Ok(Outcome::Closed);
    }
    let Some(_lock) = durable::hold(folder)
        .map_err(|error| SalvageError::Io(folder.display().to_string(), error))?
    else {
        return Ok(Outcome::Alive);
    };
    let Some(standing) = mend(folder, key)? else {
        return Ok(Outcome::Removed);
    };
    // A closing that was interrupted is finished, whatever the grace.
    let was_closing = folder.join(Part::Manifest.to_string()).exists();
    let idle = now
        .duration_since(standing.last_written)
        .unwrap_or_default();
    if idle < grace && !was_closing {
        return Ok(Outcome::Open(Box::new(standing)));
    }
    finish(
        &standing,
        "the server stopped while it was recorded",
        key,
        log,
        now,
    )
}

/// Closes a recording that nobody goes on with.
pub fn finish(
    standing: &Standing,
    reason: &str,
    key: &NodeKey,
    log: &mut Log,
    now: SystemTime,
) -> Result<Outcome, SalvageError> {
    let reason = match &standing.damage {
        Some(damage) => format!("{reason}; {damage}"),
        None => reason.to_owned(),
    };
    let closing = Closing {
        recording: standing.header.recording,
        folder: standing.folder.clone(),
        reason,
        closed: Wall::from(now),
        duration_us: standing.durable_us,
        contents: standing.contents.clone(),
    };
    let manifest = manifest::close(&closing, false, key, log)?;
    Ok(Outcome::Finished(Box::new(manifest)))
}

/// Cleans up and ends the last segment; `None` if it never was a recording and is gone.
fn mend(folder: &Path, key: &NodeKey) -> Result<Option<Standing>, SalvageError> {
    let place = Place { folder };
    let found = Found::list(folder)?;
    let has_manifest = [Part::Manifest, Part::ManifestSig, Part::ManifestProof]
        .into_iter()
        .any(|part| place.has(part));
    let never_started = !place.has(Part::HeaderSig) || found.chains.is_empty();
    if never_started
        && !has_manifest
        && found.chains.is_empty()
        && found.segments.iter().all(|number| *number == 0)
    {
        fs::remove_dir_all(folder)
            .map_err(|error| SalvageError::Io(folder.display().to_string(), error))?;
        return Ok(None);
    }
    let header = Header::parse(&place.read(Part::Header, FILE_BYTES_MAX as u64)?)
        .map_err(|error| SalvageError::Damaged(format!("{}: {error}", Part::Header)))?;
    place.remove_unfinished()?;
    let last = place.last_segment(&found)?;
    let certificates = place.certificates(&found, last, key)?;
    let writer = certificates.len() as u32;
    let signer = certificates
        .iter()
        .rfind(|writer| writer.first_segment <= last)
        .map(|writer| writer.key);
    let signer =
        signer.ok_or_else(|| SalvageError::Damaged("no certificate names who signed".into()))?;
    let path = place.path(Part::Segment(last));
    let last_written = fs::metadata(&path).and_then(|meta| meta.modified());
    let last_written =
        last_written.map_err(|error| SalvageError::Io(Part::Segment(last).to_string(), error))?;
    let tail = Tail {
        place: &place,
        header: &header,
        number: last,
        signer,
        key,
    };
    let end = tail.mend(last_written)?;
    let summary = place.read(Part::Summary, SUMMARY_BYTES_MAX).ok();
    let summary = summary.and_then(|bytes| OpenSummary::parse(&bytes, header.recording));
    let counted_us = summary.as_ref().map_or(0, |summary| summary.duration_us);
    Ok(Some(Standing {
        folder: folder.to_owned(),
        writer,
        segment: last + 1,
        prev: end.value,
        durable_us: counted_us.max(end.until_us),
        contents: summary.map(|summary| summary.contents).unwrap_or_default(),
        last_written,
        damage: end.damage,
        header,
    }))
}

struct Place<'a> {
    folder: &'a Path,
}

impl Place<'_> {
    fn path(&self, part: Part) -> PathBuf {
        self.folder.join(part.to_string())
    }

    fn has(&self, part: Part) -> bool {
        self.path(part).exists()
    }

    fn read(&self, part: Part, max: u64) -> Result<Vec<u8>, SalvageError> {
        durable::read_at_most(&self.path(part), max)
            .map_err(|error| SalvageError::Io(part.to_string(), error))
    }

    fn remove(&self, part: Part) -> Result<(), SalvageError> {
        durable::remove(&self.path(part)).map_err(|error| SalvageError::Io(part.to_string(), error))
    }

    /// Files that never got their names.
    fn remove_unfinished(&self) -> Result<(), SalvageError> {
        let failed = |error| SalvageError::Io(self.folder.display().to_string(), error);
        for entry in fs::read_dir(self.folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path
                .extension()
                .is_some_and(|ending| ending == durable::UNFINISHED)
            {
                durable::remove(&path).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// The last segment that is there. One without a chain, or with less than a chain's head, had
    /// not begun: its name came before the chain's, and nothing of it was acknowledged.
    fn last_segment(&self, found: &Found) -> Result<u32, SalvageError> {
        let mut numbers = found.segments.clone();
        while let Some(number) = numbers.pop() {
            let chain = fs::metadata(self.path(Part::Chain(number))).map_or(0, |meta| meta.len());
            if chain >= HEAD_LEN as u64 {
                return Ok(number);
            }
            if number == 0 {
                break;
            }
            self.remove(Part::Chain(number))?;
            self.remove(Part::Segment(number))?;
        }
        Err(SalvageError::Damaged(
            "its first segment has no chain".into(),
        ))
    }

    /// Certificates in order. One whose segment never began signed nothing and is removed, so that
    /// the next writer takes its number.
    fn certificates(
        &self,
        found: &Found,
        last: u32,
        key: &NodeKey,
    ) -> Result<Vec<Writer>, SalvageError> {
        let mut certificates: Vec<Writer> = Vec::new();
        for &number in &found.writers {
            let (part, sig) = (Part::Writer(number), Part::WriterSig(number));
            let bytes = self.read(part, FILE_BYTES_MAX as u64)?;
            let signed = self.has(sig)
                && check_sig_file(Kind::Writer, &bytes, &self.read(sig, 96)?) == Ok(key.public());
            let writer = Writer::parse(&bytes).ok().filter(|_| signed);
            match writer {
                Some(writer) if writer.first_segment <= last => certificates.push(writer),
                None if self.has(sig) => {
                    return Err(SalvageError::Damaged(format!(
                        "{part}: this node did not sign it"
                    )));
                }
                _ => {
                    self.remove(sig)?;
                    self.remove(part)?;
                }
            }
        }
        Ok(certificates)
    }
}

/// The end of the last segment.
struct Tail<'a> {
    place: &'a Place<'a>,
    header: &'a Header,
    number: u32,
    signer: PublicKey,
    key: &'a NodeKey,
}

struct End {
    value: Digest,
    until_us: u64,
    damage: Option<String>,
}

impl Tail<'_> {
    fn damaged(&self, words: &str) -> SalvageError {
        SalvageError::Damaged(format!("segment {}: {words}", self.number))
    }

    fn mend(&self, last_written: SystemTime) -> Result<End, SalvageError> {
        let part = Part::Chain(self.number);
        let bytes = self.place.read(part, CHAIN_BYTES_MAX as u64)?;
        let links = Links::parse(&bytes).map_err(|error| self.damaged(&error.to_string()))?;
        let mut age = AgeFile::open(self.place, self.number, u64::from(links.head.data_offset))?;
        let start = Chain::start(self.header.recording, &links.head, &age.head);
        let (mut chain, kept) = self.signed(&start, &links)?;
        let is_ended = links.end().is_some_and(|end| end.end == kept);
        let lost = age.missing(chain.chunks(), is_ended);
        let damage = lost.map(|from| {
            format!(
                "the disk lost the chunks of segment {} from {from} on, which had been signed",
                self.number
            )
        });
        let mut times = links.links.iter().map(|link| link.time_us);
        let time = times
            .nth((chain.chunks() as usize).saturating_sub(1))
            .unwrap_or(0);
        let mut until_us = links.head.t0_us + u64::from(time);
        if is_ended {
            return Ok(End {
                value: chain.value(),
                until_us,
                damage,
            });
        }
        let mut more = Vec::new();
        if damage.is_none() {
            let last_time = self.unsigned(&mut chain, &links, &mut age, time, &mut more)?;
            until_us = links.head.t0_us + u64::from(last_time);
            age.cut(last_written)?;
        }
        chain.seal(Seal::Salvaged, self.key.key()).encode(&mut more);
        self.write(part, kept, &more)
            .map_err(|error| SalvageError::Io(part.to_string(), error))?;
        Ok(End {
            value: chain.value(),
            until_us,
            damage,
        })
    }

    /// The chain up to the last signature that holds, and where that ends in the file.
    fn signed(&self, start: &Chain, links: &Links) -> Result<(Chain, usize), SalvageError> {
        let holds = |sealed: &&Sealed| {
            let mut chain = *start;
            for link in &links.links[..sealed.chunks] {
                chain.push_digest(link.time_us, link.digest);
            }
            let key = if sealed.seal == Seal::Salvaged {
                self.key.public()
            } else {
                self.signer
            };
            chain.verifies(sealed.seal, &key, &sealed.signature)
        };
        let last = links.seals.iter().rev().find(holds);
        if last.is_none() && !links.seals.is_empty() {
            return Err(self.damaged("none of its signatures is by its writer"));
        }
        let (chunks, end) = last.map_or((0, HEAD_LEN), |sealed| (sealed.chunks, sealed.end));
        let mut chain = *start;
        for link in &links.links[..chunks] {
            chain.push_digest(link.time_us, link.digest);
        }
        Ok((chain, end))
    }

    /// Chains what was written behind the last signature: first the chunks that have entries, as
    /// long as they are what the entries say, then whole chunks without one. Returns the last time.
    fn unsigned(
        &self,
        chain: &mut Chain,
        links: &Links,
        age: &mut AgeFile,
        mut time: u32,
        more: &mut Vec<u8>,
    ) -> Result<u32, SalvageError> {
        for _ in 0..UNSIGNED_CHUNKS_MAX {
            let number = chain.chunks();
            let failed = |error| SalvageError::Io(Part::Segment(self.number).to_string(), error);
            let Some(chunk) = age.next(number).map_err(failed)? else {
                break;
            };
            match links.links.get(number as usize) {
                Some(link) if link.number == number && link.digest == Digest::of(chunk) => {
                    time = link.time_us;
                }
                // The entry and its chunk contradict each other: one of them was being written.
                Some(_) => break,
                // Room that was taken and never written to reads as zeros; half a chunk is torn.
                None if chunk.len() < SEALED_LEN || chunk.iter().all(|byte| *byte == 0) => break,
                None => {}
            }
            let entry = chain.push(time, chunk);
            entry.encode(more);
            age.keep();
        }
        Ok(time)
    }

    /// Replaces what follows the last signature, durably. Killed in between, the next run finds
    /// entries without a signature and does the same again.
    fn write(&self, part: Part, kept: usize, more: &[u8]) -> io::Result<()> {
        let mut file = File::options().write(true).open(self.place.path(part))?;
        file.set_len(kept as u64)?;
        file.seek(SeekFrom::End(0))?;
        file.write_all(more)?;
        file.sync_all()
    }
}

/// The ciphertext of the last segment.
struct AgeFile {
    file: File,
    name: String,
    head: Vec<u8>,
    length: u64,
    /// The end of the last chunk that counts.
    kept: u64,
    chunk: Vec<u8>,
}

impl AgeFile {
    fn open(place: &Place<'_>, number: u32, data_offset: u64) -> Result<Self, SalvageError> {
        let name = Part::Segment(number).to_string();
        let failed = |error| SalvageError::Io(name.clone(), error);
        let mut file = File::options()
            .read(true)
            .write(true)
            .open(place.path(Part::Segment(number)))
            .map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let mut head = Vec::new();
        (&mut file)
            .take(data_offset)
            .read_to_end(&mut head)
            .map_err(failed)?;
        if (head.len() as u64) < data_offset {
            return Err(SalvageError::Damaged(format!(
                "{name}: it is cut off within its header"
            )));
        }
        Ok(Self {
            file,
            name,
            head,
            length,
            kept: data_offset,
            chunk: Vec::new(),
        })
    }

    /// The first of `chunks` signed chunks that is not wholly there. The last chunk of an ended
    /// segment may be short.
    fn missing(&mut self, chunks: u32, is_ended: bool) -> Option<u32> {
        let (head, full) = (self.head.len() as u64, SEALED_LEN as u64);
        let chunks = u64::from(chunks);
        let needed = if is_ended {
            chunks.saturating_sub(1) * full + u64::from(chunks > 0)
        } else {
            chunks * full
        };
        self.kept = (head + chunks * full).min(self.length);
        let there = self.length - head;
        (there < needed)
            .then(|| u32::try_from(there / full).expect("is less than the number of chunks"))
    }

    /// Chunk `number`, or as much of it as there is.
    fn next(&mut self, number: u32) -> io::Result<Option<&[u8]>> {
        let at = self.head.len() as u64 + u64::from(number) * SEALED_LEN as u64;
        self.file.seek(SeekFrom::Start(at))?;
        self.chunk.clear();
        (&mut self.file)
            .take(SEALED_LEN as u64)
            .read_to_end(&mut self.chunk)?;
        Ok((!self.chunk.is_empty()).then_some(&self.chunk))
    }

    /// The chunk that was read last counts.
    fn keep(&mut self) {
        self.kept += self.chunk.len() as u64;
    }

    /// Cuts off what does not count, durably, and keeps the time at which it was last written to:
    /// the grace of a room counts from there.
    fn cut(&mut self, last_written: SystemTime) -> Result<(), SalvageError> {
        let cut = || {
            if self.kept < self.length {
                self.file.set_len(self.kept)?;
                self.file.set_modified(last_written)?;
            }
            self.file.sync_all()
        };
        cut().map_err(|error| SalvageError::Io(self.name.clone(), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{Sample, files_of};
    use crate::source::Folder;
    use crate::verify::{Against, Verdict, verify};

    fn verdict(sample: &Sample) -> Verdict {
        verify(&Folder(sample.folder.clone()), &Against::default())
            .expect("is listed")
            .verdict
    }

    fn killed() -> Sample {
        let mut sample = Sample::open();
        sample.kill();
        sample
    }

    #[test]
    fn a_recording_that_nobody_goes_on_with_is_closed_as_incomplete() {
        let mut sample = killed();
        let Outcome::Finished(manifest) = sample.salvage(Duration::ZERO) else {
            panic!("is closed");
        };
        assert_eq!(manifest.state, manifest::State::Incomplete);
        assert_eq!(manifest.reason, "the server stopped while it was recorded");
        assert_eq!(manifest.contents.tracks.len(), 1, "from the last summary");
        assert_eq!(verdict(&sample), Verdict::Intact);
        assert!(matches!(sample.salvage(Duration::ZERO), Outcome::Closed));
        assert_eq!(sample.log.size(), 1);
    }

    #[test]
    fn within_the_grace_it_stays_open_however_often_one_looks() {
        let mut sample = killed();
        let mut before = None;
        for _ in 0..3 {
            assert!(matches!(
                sample.salvage(Duration::from_secs(3_600)),
                Outcome::Open(_)
            ));
            let files = files_of(&sample.folder);
            assert_eq!(
                *before.get_or_insert(files.clone()),
                files,
                "a second look changes nothing"
            );
        }
        assert_eq!(verdict(&sample), Verdict::Open);
        let written = fs::metadata(sample.path(Part::Segment(1)))
            .and_then(|meta| meta.modified())
            .expect("a time");
        let later = written + Duration::from_secs(7_200);
        let outcome = salvage(
            &sample.folder,
            &sample.key,
            &mut sample.log,
            later,
            Duration::from_secs(3_600),
        );
        assert!(
            matches!(outcome, Ok(Outcome::Finished(_))),
            "the grace counts from the last write: {outcome:?}"
        );
    }

    #[test]
    fn a_writer_that_lives_is_left_alone() {
        let mut sample = Sample::open();
        let before = files_of(&sample.folder);
        let lock = durable::hold(&sample.folder)
            .expect("a folder")
            .expect("is free");
        assert!(matches!(sample.salvage(Duration::ZERO), Outcome::Alive));
        assert_eq!(files_of(&sample.folder), before);
        drop(lock);
        assert!(matches!(
            sample.salvage(Duration::ZERO),
            Outcome::Finished(_)
        ));
    }

    #[test]
    fn what_never_started_is_removed() {
        for missing in [Part::HeaderSig, Part::Header, Part::Chain(0)] {
            let mut sample = Sample::begin();
            sample.kill();
            fs::remove_file(sample.path(Part::Chain(0))).expect("was there");
            if missing != Part::Chain(0) {
                fs::remove_file(sample.path(missing)).expect("was there");
            }
            assert!(
                matches!(sample.salvage(Duration::ZERO), Outcome::Removed),
                "{missing}"
            );
            assert!(!sample.folder.exists());
        }
    }

    /// Salvage is itself killed: whatever it had written by then, the next run comes to the same.
    #[test]
    fn salvage_can_be_killed_at_any_byte() {
        let mut sample = killed();
        let before = files_of(&sample.folder);
        assert!(matches!(sample.salvage(Duration::MAX), Outcome::Open(_)));
        let after = files_of(&sample.folder);
        let (chain, age) = ("seg-000001.chain", "seg-000001.age");
        for at in (0..=after[chain].len()).rev().step_by(13) {
            if !before[chain].starts_with(&after[chain][..at]) || at == before[chain].len() {
                for (name, bytes) in &before {
                    fs::write(sample.folder.join(name), bytes).expect("is put back");
                }
                fs::write(sample.folder.join(age), &after[age]).expect("is put back");
                fs::write(sample.folder.join(chain), &after[chain][..at]).expect("is torn");
                assert!(matches!(sample.salvage(Duration::MAX), Outcome::Open(_)));
                assert_eq!(files_of(&sample.folder), after, "torn at {at}");
            }
        }
    }

    /// Closing is killed between its steps: each is done once.
    #[test]
    fn a_closing_that_was_interrupted_is_finished() {
        let whole = Sample::complete();
        let parts = [Part::Manifest, Part::ManifestSig, Part::ManifestProof];
        for done in 0..3 {
            let mut sample = Sample::complete();
            for part in &parts[done..] {
                fs::remove_file(sample.path(*part)).expect("was there");
            }
            assert!(
                matches!(sample.salvage(Duration::ZERO), Outcome::Finished(_)),
                "{done}"
            );
            assert_eq!(verdict(&sample), Verdict::Intact, "{done}");
            // The proof alone is missing: the leaf is there already and is not written twice.
            assert_eq!(sample.log.size(), if done == 2 { 1 } else { 2 }, "{done}");
        }
        assert_eq!(verdict(&whole), Verdict::Intact);
    }

    /// The next writer was certified and killed before his first segment, or while he made it.
    #[test]
    fn a_certificate_that_signed_nothing_makes_room_for_the_next() {
        for has_segment in [false, true] {
            let mut sample = killed();
            let Outcome::Open(standing) = sample.salvage(Duration::MAX) else {
                panic!("stays open")
            };
            sample.resume(&standing);
            sample.kill();
            fs::remove_file(sample.path(Part::Chain(2))).expect("was there");
            if !has_segment {
                fs::remove_file(sample.path(Part::Segment(2))).expect("was there");
            }
            sample.put(Part::Writer(2), b"torn");
            let Outcome::Open(standing) = sample.salvage(Duration::MAX) else {
                panic!("stays open")
            };
            assert_eq!((standing.writer, standing.segment), (1, 2));
            sample.resume(&standing);
            sample.seconds(1);
            sample.close();
            assert_eq!(verdict(&sample), Verdict::Intact);
        }
    }

    /// The disk lost what it had confirmed: nothing is made to look whole.
    #[test]
    fn signed_chunks_that_the_disk_lost_stay_missing_and_are_told() {
        let mut sample = killed();
        let path = sample.path(Part::Segment(1));
        let length = fs::metadata(&path).expect("is there").len();
        let file = File::options().write(true).open(&path).expect("opens");
        file.set_len(length - 6 * SEALED_LEN as u64)
            .expect("is cut");
        let Outcome::Finished(manifest) = sample.salvage(Duration::ZERO) else {
            panic!("is closed")
        };
        assert!(
            manifest
                .reason
                .contains("the disk lost the chunks of segment 1"),
            "{}",
            manifest.reason
        );
        assert_eq!(verdict(&sample), Verdict::Broken);
    }

    #[test]
    fn all_recordings_of_an_archive_are_put_in_order() {
        let mut sample = killed();
        let recordings = sample.folder.parent().expect("lies in a folder").to_owned();
        fs::create_dir(recordings.join("01ARZ3NDEKTSV4RRFFQ69G5FAV")).expect("a folder");
        fs::create_dir(recordings.join("lost+found")).expect("a folder");
        let outcomes = salvage_all(
            &recordings,
            &sample.key,
            &mut sample.log,
            SystemTime::now(),
            Duration::MAX,
        );
        let mut tally = Tally::default();
        outcomes
            .expect("are listed")
            .iter()
            .for_each(|(_, outcome)| tally.count(outcome));
        assert_eq!(
            tally,
            Tally {
                removed: 1,
                open: 1,
                ..Tally::default()
            }
        );
    }
}
