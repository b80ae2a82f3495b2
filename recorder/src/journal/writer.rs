//! The journal as a row of segments: which one is written now, which is prepared, which is broken.
//!
//! It opens, rolls, closes and, after an error, cuts back; it does not decide when. Room for the next
//! segment is taken while the present one is written, so that a full disk is known a segment ahead.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::age::Recipient;
use crate::age::stream::SEALED_LEN;
use crate::config::Limits;
use crate::counters::{Counter, Counters};
use crate::digest::Digest;
use crate::folder::Part;
use crate::id::RecordingId;
use crate::journal::body::{SegmentEnd, SegmentHead};
use crate::journal::disk::{Disk, unfinished};
use crate::journal::record::{Flags, Kind, Record};
use crate::journal::segment::{Files, Finished, Opening, SegmentWriter, chain_bytes};
use crate::keys::secret::scrub_stack;
use crate::keys::{KeyProvider, Random};
use crate::sign::SigningKey;

/// Keyframes that are listed at a segment's end; a player finds later ones by reading.
const KEYFRAMES_MAX: usize = 4096;

/// Room that is left in a full segment for its end.
const RESERVE: u64 = 4 * SEALED_LEN as u64;

/// What a journal is written with.
pub struct Tools {
    /// The disk.
    pub disk: Box<dyn Disk>,
    /// Randomness.
    pub random: Box<Random<'static>>,
    /// Long-lived keys; the node's vouches for what is cut back.
    pub keys: Arc<dyn KeyProvider>,
    /// The writer's own key.
    pub key: SigningKey,
    /// What is counted.
    pub counters: Arc<Counters>,
}

impl fmt::Debug for Tools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tools")
            .field("disk", &self.disk)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Open {
    writer: SegmentWriter,
    end: SegmentEnd,
}

/// The journal of a recording.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    recording: RecordingId,
    recipients: Vec<Recipient>,
    limits: Limits,
    tools: Tools,
    open: Option<Open>,
    /// A segment that failed and has not been cut back yet.
    broken: Option<SegmentWriter>,
    spare: Option<Files>,
    next: u32,
    prev: Digest,
    /// Packets and bytes of the open segment that are not durable yet.
    fresh: (u64, u64),
}

impl Journal {
    /// A journal whose next segment is `next` and goes on from `prev`.
    pub fn new(
        folder: PathBuf,
        recording: RecordingId,
        recipients: Vec<Recipient>,
        limits: Limits,
        tools: Tools,
        (next, prev): (u32, Digest),
    ) -> Self {
        Self {
            folder,
            recording,
            recipients,
            limits,
            tools,
            open: None,
            broken: None,
            spare: None,
            next,
            prev,
            fresh: (0, 0),
        }
    }

    /// Where a part of the recording lies.
    pub fn path(&self, part: Part) -> PathBuf {
        self.folder.join(part.to_string())
    }

    /// The number that the next segment will have.
    pub fn next_segment(&self) -> u32 {
        self.next
    }

    /// Whether a segment is open.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Whether the next segment has its room already.
    pub fn has_spare(&self) -> bool {
        self.spare.is_some()
    }

    fn paths(&self) -> [PathBuf; 2] {
        [Part::Segment(self.next), Part::Chain(self.next)].map(|part| self.path(part))
    }

    fn reserve(&mut self) -> io::Result<Files> {
        let [data, chain] = self.paths().map(|path| unfinished(&path));
        let bytes = self.limits.segment_bytes_max;
        let flushes = u64::from(self.limits.segment_seconds_max) * 1000
            / u64::from(self.limits.flush_millis.max(1));
        Files::reserve(
            &mut *self.tools.disk,
            &data,
            &chain,
            bytes,
            chain_bytes(bytes, flushes),
        )
    }

    /// Takes room for the next segment, unless it has been taken.
    pub fn prepare(&mut self) -> io::Result<()> {
        if self.spare.is_none() {
            self.spare = Some(self.reserve()?);
        }
        Ok(())
    }

    /// Opens the next segment and makes its head durable. It counts as there when this returns well,
    /// and can be tried again when not.
    pub fn open(&mut self, head: &SegmentHead) -> io::Result<()> {
        debug_assert!(
            self.open.is_none() && self.broken.is_none(),
            "one at a time"
        );
        debug_assert_eq!(
            head.segment, self.next,
            "segments are numbered without a hole"
        );
        let files = match self.spare.take() {
            Some(files) => files,
            None => self.reserve()?,
        };
        let opening = Opening {
            recording: self.recording,
            number: self.next,
            t0_us: head.t0_us,
            prev: self.prev,
            recipients: &self.recipients,
        };
        let mut writer = SegmentWriter::begin(files, &opening, &mut *self.tools.random)?;
        scrub_stack();
        let body = serde_json::to_vec(head).expect("plain values can be written as JSON");
        writer.append(&Record {
            kind: Kind::SegmentHead,
            flags: Flags::default(),
            track: 0,
            time_us: 0,
            body: &body,
        })?;
        writer.flush(&self.tools.key)?;
        // A segment is there as soon as its chain is: the chain takes its name last.
        for path in self.paths() {
            self.tools.disk.rename(&unfinished(&path), &path)?;
        }
        self.tools.disk.sync_folder(&self.folder)?;
        self.next += 1;
        self.open = Some(Open {
            writer,
            end: SegmentEnd::default(),
        });
        Ok(())
    }

    /// Whether the open segment covers enough.
    pub fn is_full(&self, now_us: u64) -> bool {
        self.open.as_ref().is_some_and(|open| {
            let span = u64::from(self.limits.segment_seconds_max) * 1_000_000;
            now_us.saturating_sub(open.writer.t0_us()) >= span
                || open.writer.bytes() + RESERVE > self.limits.segment_bytes_max
        })
    }

    /// Appends a record of the time `at_us`, microseconds since the recording's start. There must be
    /// an open segment.
    pub fn append(
        &mut self,
        at_us: u64,
        kind: Kind,
        flags: Flags,
        track: u16,
        body: &[u8],
    ) -> io::Result<()> {
        let open = self
            .open
            .as_mut()
            .expect("the caller knows that a segment is open");
        let time_us = at_us.saturating_sub(open.writer.t0_us());
        let time_us = u32::try_from(time_us).unwrap_or(u32::MAX);
        if kind == Kind::Rtp {
            *open.end.stored.entry(track).or_default() += 1;
            self.fresh = (self.fresh.0 + 1, self.fresh.1 + body.len() as u64);
            if flags.has(Flags::KEYFRAME) && open.end.keyframes.len() < KEYFRAMES_MAX {
                let chunk = open.writer.next_chunk();
                open.end.keyframes.push((track, time_us, chunk));
            }
        }
        open.writer.append(&Record {
            kind,
            flags,
            track,
            time_us,
            body,
        })
    }

    /// Makes everything so far durable. False: nothing was new.
    pub fn flush(&mut self) -> io::Result<bool> {
        let Some(open) = &mut self.open else {
            return Ok(false);
        };
        let began = Instant::now();
        let was_new = open.writer.flush(&self.tools.key)?;
        if was_new {
            self.tools.counters.flushed(began.elapsed());
        }
        self.count_fresh();
        Ok(was_new)
    }

    fn count_fresh(&mut self) {
        let (packets, bytes) = std::mem::take(&mut self.fresh);
        self.tools.counters.add(Counter::Packets, packets);
        self.tools.counters.add(Counter::Bytes, bytes);
    }

    /// What is counted.
    pub fn counters(&self) -> &Counters {
        &self.tools.counters
    }

    /// Closes the open segment, durably.
    pub fn close(&mut self, at_us: u64) -> io::Result<()> {
        let Some(open) = &self.open else {
            return Ok(());
        };
        let end = serde_json::to_vec(&open.end).expect("plain values can be written as JSON");
        self.append(at_us, Kind::SegmentEnd, Flags::default(), 0, &end)?;
        let open = self.open.as_mut().expect("it was there a moment ago");
        let finished = open.writer.close(&self.tools.key)?;
        self.count_fresh();
        self.finish(&finished);
        Ok(())
    }

    fn finish(&mut self, finished: &Finished) {
        self.prev = finished.chain;
        self.open = None;
        self.broken = None;
        // The segment's key was in frames below this one.
        scrub_stack();
    }

    /// After an error: the open segment is not written to any more.
    pub fn fail(&mut self) {
        self.fresh = (0, 0);
        if let Some(open) = self.open.take() {
            self.broken = Some(open.writer);
        }
    }

    /// Cuts the failed segment back to what is safe. May be tried again while it fails.
    pub fn recover(&mut self) -> io::Result<()> {
        if let Some(broken) = &mut self.broken {
            let finished = broken.retreat(self.tools.keys.node().key())?;
            self.finish(&finished);
        }
        Ok(())
    }

    /// Gives the room for the next segment back.
    pub fn give_up_spare(&mut self) -> io::Result<()> {
        self.spare = None;
        for path in self.paths() {
            self.tools.disk.remove(&unfinished(&path))?;
        }
        Ok(())
    }

    /// Gives a small file of the recording these bytes, at once and durably.
    pub fn replace(&mut self, part: Part, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(part);
        self.tools.disk.replace(&path, bytes)
    }

    /// Removes a file of the recording.
    pub fn remove(&mut self, part: Part) -> io::Result<()> {
        let path = self.path(part);
        self.tools.disk.remove(&path)
    }

    /// Seals a small file to `recipients`.
    pub fn seal(&mut self, plaintext: &[u8], recipients: &[Recipient]) -> io::Result<Vec<u8>> {
        crate::age::seal(plaintext, recipients, &mut *self.tools.random)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Packets in the open segment so far, by track.
    pub fn stored(&self) -> Option<&BTreeMap<u16, u64>> {
        self.open.as_ref().map(|open| &open.end.stored)
    }
}
