//! A whole recording on one clock: who and what is in it, and every frame at the time it was taken.
//!
//! A recording is read twice. The first time ([`Survey`]) takes in clocks, tracks, people, events and
//! gaps; the second time ([`play`]) gives the frames of all tracks in the order of their times.
//! Segments are streamed and frames wait for [`HORIZON_US`] at most, so an hour takes no more memory
//! than a minute. What is damaged is an error, or, if asked for, noted and passed over.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use sfu::rtp::packet::Header;

use crate::age::Identity;
use crate::contents::Gap;
use crate::depacketize::{Depacketizer, Format, Frame, Losses, REORDER_US, av1, h264};
use crate::durable;
use crate::folder::Part;
use crate::journal::body::{Event, Happening, MediaKind, Participant, SegmentHead, Track};
use crate::journal::chain::{Entry, Head};
use crate::journal::reader::{End, ReadError, SegmentReader};
use crate::journal::record::{Kind, Record, SenderReport};
use crate::presentation::Presentation;
use crate::verify::links::CHAIN_BYTES_MAX;

/// A frame is given when so much more has been read: what a resend may take, and how far at most a
/// sender's clock is believed against arrival (five seconds).
pub const HORIZON_US: u64 = REORDER_US + 5_500_000;

/// Frames that wait have so many bytes at most; then the first is given early. Eight screens at
/// 20 Mbit/s stay below.
const HELD_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Events that are kept; a day with somebody speaking every second has fewer.
const EVENTS_MAX: usize = 200_000;

/// Holes of silent sources are looked at this often.
const LOOK_US: u64 = 100_000;

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TimelineError {
    /// A segment cannot be read.
    #[error("{part}: {error}")]
    Segment {
        /// Which file.
        part: Part,
        /// What is wrong.
        error: ReadError,
    },
    /// A chain is none.
    #[error("{0}: it is no chain of this recording")]
    Chain(Part),
    /// A file cannot be read, or what was found cannot be written.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Something that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// In which segment.
    pub segment: u32,
    /// What is wrong.
    pub words: String,
}

/// The sealed journal of a recording and the key to it.
#[derive(Debug)]
pub struct Journal<'a> {
    folder: PathBuf,
    identity: &'a Identity,
    /// Whether what is damaged is passed over.
    is_lenient: bool,
}

impl<'a> Journal<'a> {
    /// The journal in `folder`. With `is_lenient` damaged segments are read as far as they can be.
    pub fn new(folder: &Path, identity: &'a Identity, is_lenient: bool) -> Self {
        Self {
            folder: folder.to_owned(),
            identity,
            is_lenient,
        }
    }

    fn path(&self, part: Part) -> PathBuf {
        self.folder.join(part.to_string())
    }

    /// The numbers of the segments that are there. A segment counts from the moment its chain has its
    /// name.
    fn segments(&self) -> io::Result<Vec<u32>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            if let Some(Ok(Part::Chain(number))) = name.to_str().map(str::parse) {
                numbers.push(number);
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Gives every record with its time since the start of the recording, and returns what could not
    /// be read.
    fn records(
        &self,
        mut take: impl FnMut(u64, &Record<'_>) -> io::Result<()>,
    ) -> Result<Vec<Damage>, TimelineError> {
        let mut damages = Vec::new();
        for segment in self.segments()? {
            match self.segment(segment, &mut take, &mut damages) {
                Err(TimelineError::Io(error)) => return Err(error.into()),
                Err(error) if self.is_lenient => damages.push(Damage {
                    segment,
                    words: error.to_string(),
                }),
                other => other?,
            }
        }
        Ok(damages)
    }

    fn segment(
        &self,
        number: u32,
        take: &mut impl FnMut(u64, &Record<'_>) -> io::Result<()>,
        damages: &mut Vec<Damage>,
    ) -> Result<(), TimelineError> {
        let part = Part::Segment(number);
        let wrong = |error| TimelineError::Segment { part, error };
        let chain = Part::Chain(number);
        let bytes = durable::read_at_most(&self.path(chain), CHAIN_BYTES_MAX as u64)
            .map_err(|error| wrong(error.into()))?;
        let (head, entries) = Head::parse(&bytes).map_err(|_| TimelineError::Chain(chain))?;
        let file = File::open(self.path(part)).map_err(|error| wrong(error.into()))?;
        let mut reader = SegmentReader::open(file, self.identity).map_err(wrong)?;
        loop {
            match reader.next_record() {
                Ok(Some(record)) => take(head.t0_us + u64::from(record.time_us), &record)?,
                Ok(None) => break,
                Err(error) if self.is_lenient => {
                    let words = TimelineError::Segment { part, error }.to_string();
                    damages.push(Damage {
                        segment: number,
                        words,
                    });
                    let broken = match reader.end() {
                        Some(End::Torn { chunks }) => chunks,
                        _ => reader.chunk(),
                    };
                    let Some(next) = restart_after(entries, broken) else {
                        break;
                    };
                    reader.seek(next).map_err(|error| wrong(error.into()))?;
                }
                Err(error) => return Err(wrong(error)),
            }
        }
        Ok(())
    }
}

/// The first chunk behind `broken` that begins with a record: one that follows a flush.
fn restart_after(mut entries: &[u8], broken: u32) -> Option<u32> {
    let (mut last, mut was_flushed) = (None, false);
    while let Ok(Some((entry, rest))) = Entry::parse(entries) {
        entries = rest;
        match entry {
            Entry::Chunk { number, .. } => {
                if was_flushed && last.is_some() && number > broken {
                    return Some(number);
                }
                (last, was_flushed) = (Some(number), false);
            }
            Entry::Flushed(_) => was_flushed = true,
            Entry::Closed(_) | Entry::Salvaged { .. } => {}
        }
    }
    None
}

/// Pictures as a container must announce them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PictureHead {
    /// Pixels across at first.
    pub width: u32,
    /// Pixels down at first.
    pub height: u32,
    /// H.264: the first sequence parameter set.
    pub sps: Vec<u8>,
    /// H.264: the first picture parameter set.
    pub pps: Vec<u8>,
    /// AV1: `av1C` with the first sequence header.
    pub configuration: Vec<u8>,
}

impl PictureHead {
    fn of(frame: &Frame, format: Format) -> Option<Self> {
        let (width, height) = frame.size?;
        let head = Self {
            width,
            height,
            sps: Vec::new(),
            pps: Vec::new(),
            configuration: Vec::new(),
        };
        let unit = |kind: u8| {
            let mut units = h264::units(&frame.bytes);
            units.find(|unit| unit.first().is_some_and(|head| head & 0x1f == kind))
        };
        Some(match format {
            Format::H264 => Self {
                sps: unit(7)?.to_vec(),
                pps: unit(8)?.to_vec(),
                ..head
            },
            Format::Av1 => Self {
                configuration: av1::configuration(&frame.bytes)?,
                ..head
            },
            Format::Opus { .. } | Format::Vp8 | Format::Vp9 => head,
        })
    }
}

/// A track as the first reading found it.
#[derive(Debug)]
pub struct Tape {
    /// What the journal says about it.
    pub body: Track,
    /// How it is taken apart; `None` if nobody here can play it.
    pub format: Option<Format>,
    /// Arrival of its first and its last packet; `None` if there is none.
    pub span: Option<(u64, u64)>,
    /// Of its first picture.
    pub picture: Option<PictureHead>,
    /// The source of the packet that came last.
    ssrc: u32,
    /// Looks for the first picture.
    looking: Option<(u32, Depacketizer)>,
}

impl Tape {
    fn new(body: Track) -> Self {
        let format = match body.encrypted {
            true => None,
            false => Format::of(&body.mime, body.red_payload_type),
        };
        Self {
            ssrc: body.ssrc,
            body,
            format,
            span: None,
            picture: None,
            looking: None,
        }
    }

    /// Why it is in no file; `None` if it can be.
    pub fn unplayable(&self) -> Option<&'static str> {
        if self.body.encrypted {
            return Some("encrypted end to end");
        }
        if self.format.is_none() {
            return Some("a format that cannot be exported");
        }
        if self.span.is_none() {
            return Some("nothing was sent");
        }
        if self.body.kind == MediaKind::Video && self.picture.is_none() {
            return Some("no picture is whole");
        }
        None
    }

    fn packet(&mut self, at_us: u64, ssrc: u32, packet: &[u8]) {
        let from = self.span.map_or(at_us, |(from, _)| from.min(at_us));
        let until = self.span.map_or(at_us, |(_, until)| until.max(at_us));
        self.span = Some((from, until));
        self.ssrc = ssrc;
        let Some(format) = self.format else {
            return;
        };
        if self.body.kind == MediaKind::Audio || self.picture.is_some() {
            return;
        }
        let (source, looking) = self
            .looking
            .get_or_insert_with(|| (ssrc, Depacketizer::new(format)));
        if *source != ssrc {
            // Another layer before the first one had a picture.
            (*source, *looking) = (ssrc, Depacketizer::new(format));
        }
        looking.push(packet, at_us);
        while let Some(frame) = looking.pop() {
            self.picture = self.picture.take().or(PictureHead::of(&frame, format));
        }
        if self.picture.is_some() {
            self.looking = None;
        }
    }
}

/// An event and when it was, on the recording's clock.
#[derive(Clone, Debug)]
pub struct Happened {
    /// Microseconds since the start.
    pub at_us: u64,
    /// What.
    pub event: Event,
}

/// What the first reading found.
#[derive(Debug, Default)]
pub struct Survey {
    /// Everybody, by number.
    pub participants: BTreeMap<u16, Participant>,
    /// All tracks, by number.
    pub tracks: BTreeMap<u16, Tape>,
    /// What happened, in the order of the journal.
    pub events: Vec<Happened>,
    /// Events beyond what is kept.
    pub events_dropped: u64,
    /// What is missing and why, as it was recorded.
    pub gaps: Vec<Gap>,
    /// The time of the last record.
    pub duration_us: u64,
    /// What could not be read.
    pub damages: Vec<Damage>,
    clocks: Presentation,
}

impl Survey {
    /// Reads the whole recording once.
    pub fn of(journal: &Journal<'_>) -> Result<Self, TimelineError> {
        let mut survey = Self::default();
        survey.damages = journal.records(|at_us, record| {
            survey.take(at_us, record);
            Ok(())
        })?;
        Ok(survey)
    }

    fn take(&mut self, at_us: u64, record: &Record<'_>) {
        match record.kind {
            Kind::Rtp => self.packet(at_us, record),
            Kind::SenderReport => self.report(at_us, record),
            Kind::SegmentHead => {
                if let Ok(head) = serde_json::from_slice::<SegmentHead>(record.body) {
                    for participant in head.participants {
                        self.join(participant);
                    }
                    for track in head.tracks {
                        self.begin(track);
                    }
                }
            }
            Kind::Track => {
                if let Ok(track) = serde_json::from_slice(record.body) {
                    self.begin(track);
                }
            }
            Kind::Event => {
                if let Ok(event) = serde_json::from_slice(record.body) {
                    self.event(at_us, event);
                }
            }
            Kind::Gap => {
                if let Ok(gap) = serde_json::from_slice(record.body) {
                    self.gaps.push(gap);
                }
            }
            Kind::Padding | Kind::TrackEnd | Kind::SegmentEnd | Kind::Other(_) => return,
        }
        self.duration_us = self.duration_us.max(at_us);
    }

    fn join(&mut self, participant: Participant) {
        let number = participant.participant;
        self.participants.entry(number).or_insert(participant);
    }

    fn begin(&mut self, track: Track) {
        let number = track.track;
        self.tracks
            .entry(number)
            .or_insert_with(|| Tape::new(track));
    }

    fn event(&mut self, at_us: u64, event: Event) {
        if let Happening::ParticipantJoined { participant } = &event.what {
            self.join(participant.clone());
        }
        match self.events.len() < EVENTS_MAX {
            true => self.events.push(Happened { at_us, event }),
            false => self.events_dropped += 1,
        }
    }

    fn packet(&mut self, at_us: u64, record: &Record<'_>) {
        let Ok(header) = Header::parse(record.body) else {
            return;
        };
        let Some(tape) = self.tracks.get_mut(&record.track) else {
            return;
        };
        let ssrc = header.ssrc.0;
        tape.packet(at_us, ssrc, record.body);
        let (participant, rate) = (tape.body.participant, tape.body.clock_rate);
        let source = (record.track, ssrc);
        self.clocks
            .packet(source, participant, rate, header.timestamp, at_us);
    }

    fn report(&mut self, at_us: u64, record: &Record<'_>) {
        let known = self.tracks.get(&record.track);
        if let (Some(tape), Some(report)) = (known, SenderReport::parse(record.body)) {
            let source = (record.track, tape.ssrc);
            self.clocks.report(source, report.ntp, report.rtp, at_us);
        }
    }
}

/// A frame at its time.
#[derive(Clone, Debug)]
pub struct Placed {
    /// Of which track.
    pub track: u16,
    /// When it was taken, microseconds since the start.
    pub time_us: u64,
    /// What a decoder takes.
    pub frame: Frame,
}

/// What the second reading gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Frames.
    pub frames: u64,
    /// What was lost on the way to them.
    pub losses: Losses,
}

/// Reads the recording once more and gives every playable frame to `sink`, in the order of their times.
/// Returns what each track gave.
pub fn play(
    journal: &Journal<'_>,
    survey: &Survey,
    sink: impl FnMut(Placed) -> io::Result<()>,
) -> Result<BTreeMap<u16, Given>, TimelineError> {
    let mut player = Player {
        survey,
        sources: BTreeMap::new(),
        layers: BTreeMap::new(),
        given: BTreeMap::new(),
        waiting: BTreeMap::new(),
        held_bytes: 0,
        serial: 0,
        now_us: 0,
        looked_us: 0,
        sink,
    };
    journal.records(|at_us, record| player.take(at_us, record))?;
    player.finish()?;
    Ok(player.given)
}

/// Which layer of a picture is shown.
#[derive(Debug)]
struct Layer {
    ssrc: u32,
    /// When its last picture arrived; of those that came at once, which was the first.
    came: (u64, u64),
}

struct Player<'a, F> {
    survey: &'a Survey,
    sources: BTreeMap<(u16, u32), Depacketizer>,
    layers: BTreeMap<u16, Layer>,
    given: BTreeMap<u16, Given>,
    /// Frames by time; the second number keeps the order of those of the same time.
    waiting: BTreeMap<(u64, u64), (u32, Placed)>,
    held_bytes: usize,
    serial: u64,
    now_us: u64,
    looked_us: u64,
    sink: F,
}

impl<F: FnMut(Placed) -> io::Result<()>> Player<'_, F> {
    fn take(&mut self, at_us: u64, record: &Record<'_>) -> io::Result<()> {
        self.now_us = self.now_us.max(at_us);
        match record.kind {
            Kind::Rtp => self.packet(at_us, record),
            Kind::TrackEnd => self.end(record.track),
            _ => {}
        }
        if self.now_us - self.looked_us >= LOOK_US {
            self.looked_us = self.now_us;
            self.look();
        }
        self.give(self.now_us.saturating_sub(HORIZON_US))
    }

    fn packet(&mut self, at_us: u64, record: &Record<'_>) {
        let tape = self.survey.tracks.get(&record.track);
        let playable = tape.filter(|tape| tape.unplayable().is_none());
        let (Some(format), Ok(header)) = (
            playable.and_then(|tape| tape.format),
            Header::parse(record.body),
        ) else {
            return;
        };
        let source = (record.track, header.ssrc.0);
        let known = self.sources.entry(source);
        let depacketizer = known.or_insert_with(|| Depacketizer::new(format));
        depacketizer.push(record.body, at_us);
        let frames = taken(depacketizer);
        self.place(source, frames);
    }

    /// Gives up holes of sources that have fallen silent.
    fn look(&mut self) {
        let mut found = Vec::new();
        for (&source, depacketizer) in &mut self.sources {
            depacketizer.pass(self.now_us);
            found.push((source, taken(depacketizer)));
        }
        for (source, frames) in found {
            self.place(source, frames);
        }
    }

    fn end(&mut self, track: u16) {
        let ended: Vec<_> = self
            .sources
            .extract_if((track, 0)..=(track, u32::MAX), |_, _| true)
            .collect();
        for (source, mut depacketizer) in ended {
            depacketizer.finish();
            let frames = taken(&mut depacketizer);
            self.place(source, frames);
            let losses = &mut self.given.entry(track).or_default().losses;
            losses.packets += depacketizer.losses().packets;
            losses.unusable += depacketizer.losses().unusable;
        }
    }

    fn place(&mut self, source: (u16, u32), frames: VecDeque<Frame>) {
        for frame in frames {
            let time_us = self.survey.clocks.time(source, frame.rtp, frame.arrival_us);
            self.held_bytes += frame.bytes.len();
            let placed = Placed {
                track: source.0,
                time_us,
                frame,
            };
            self.waiting
                .insert((time_us, self.serial), (source.1, placed));
            self.serial += 1;
        }
    }

    fn give(&mut self, until_us: u64) -> io::Result<()> {
        while let Some(entry) = self.waiting.first_entry() {
            if entry.key().0 > until_us && self.held_bytes <= HELD_BYTES_MAX {
                return Ok(());
            }
            let serial = entry.key().1;
            let (ssrc, placed) = entry.remove();
            self.held_bytes -= placed.frame.bytes.len();
            if self.is_shown(ssrc, &placed, serial) {
                self.given.entry(placed.track).or_default().frames += 1;
                (self.sink)(placed)?;
            }
        }
        Ok(())
    }

    /// A picture of another layer than the one before is of use from its next keyframe on, and the old
    /// layer never again: what of it comes late would spoil the new one.
    fn is_shown(&mut self, ssrc: u32, placed: &Placed, serial: u64) -> bool {
        let is_video = self.survey.tracks[&placed.track].body.kind == MediaKind::Video;
        // Both layers may give a keyframe at once, and the old one's may be a little later by its clock.
        let came = (placed.frame.arrival_us, serial);
        let layer = self
            .layers
            .entry(placed.track)
            .or_insert(Layer { ssrc, came });
        let is_next = placed.frame.is_keyframe && came >= layer.came;
        if is_video && layer.ssrc != ssrc && !is_next {
            return false;
        }
        *layer = Layer { ssrc, came };
        true
    }

    fn finish(&mut self) -> io::Result<()> {
        let tracks: Vec<u16> = self.sources.keys().map(|source| source.0).collect();
        for track in tracks {
            self.end(track);
        }
        self.give(u64::MAX)
    }
}

fn taken(depacketizer: &mut Depacketizer) -> VecDeque<Frame> {
    std::iter::from_fn(|| depacketizer.pop()).collect()
}
