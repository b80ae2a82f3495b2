//! The recorder's tap: where packets leave the media plane for the archive.
//!
//! [`tap`] makes both ends of one lane: the [`Tap`] goes to a worker with
//! [`Command::AttachTap`](crate::shard::command::Command::AttachTap), the [`TapReader`] to the
//! recorder's writer thread. A room that is spread over workers has one tap on each, and a
//! publication enters exactly one of them, at the worker of its publisher. A push copies into an
//! arena of 256 KB and never waits, locks or allocates; full arenas go forward over a ring, empty
//! ones come back. When the reader does not keep up and the memory is used up, whole arenas are
//! dropped, and what was in them is told as a [`Gap`] by the next one that is delivered.
//!
//! Nothing here knows files, keys or consent: a closed gate is answered before a packet comes here
//! (`shard/recording.rs`), and what is done with the entries is the reader's affair.

mod arena;
mod memory;
mod reader;
mod track;

use std::time::{Duration, Instant};

use rtrb::{Consumer, Producer, RingBuffer};

pub use self::memory::{RecordingMemory, TapMemory};
pub use self::reader::{TapReader, TapState};
pub(crate) use self::track::{TapTrack, Tapped, Verdict, wish_within};

pub(crate) use self::arena::Notice;
use self::arena::{Arena, Record};
use crate::id::{PublicationId, TransportId};
use crate::media::PublicationParams;
use crate::transport::params::ExtensionIds;
use crate::unit::{NtpTime, SeqNo};

/// A reader that keeps up is handed what there is after so long, full or not: with the second
/// between two flushes of a journal it is what a crash may cost.
pub const HANDOVER_INTERVAL: Duration = Duration::from_millis(100);

/// The largest picture that is recorded of a camera unless somebody says otherwise: what a face
/// needs, at a third of the storage of the next larger one.
pub const PICTURE_MAX: PictureSize = PictureSize {
    width: 1280,
    height: 720,
};

/// Width and height; which is which does not count, because phones are turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureSize {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

impl PictureSize {
    /// How many pixels that is.
    pub fn area(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }
}

/// One thing that the recorder is told, in the order in which it happened on its worker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Entry<'a> {
    /// From here on packets of this publication may follow.
    TrackStarted(&'a TrackStart),
    /// The layer that follows is another one, beginning with a keyframe; or none for the moment.
    LayerChanged(&'a LayerChange),
    /// A packet.
    Rtp(RtpEntry<'a>),
    /// What the publisher says about its clock.
    SenderReport(ReportEntry),
    /// No packet of this publication follows, unless it starts anew.
    TrackEnded(&'a TrackEnd),
    /// Packets that the gate did not let in.
    HeldBack(&'a HeldBack),
    /// Packets that should be here and are not.
    Gap(&'a Gap),
}

/// A publication begins to be recorded: it has been published, its gate has been opened, or the tap
/// has been attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackStart {
    /// Which one.
    pub publication: PublicationId,
    /// Who publishes it.
    pub transport: TransportId,
    /// When.
    pub at: Instant,
    /// What was agreed about it: payload types and codecs among it.
    pub params: PublicationParams,
    /// How its publisher numbers the header extensions.
    pub extensions: ExtensionIds,
}

/// What is recorded of a publication from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerChange {
    /// Which one.
    pub publication: PublicationId,
    /// When.
    pub at: Instant,
    /// The layer (0 the smallest) whose keyframe is the next packet; `None` after a mute or a
    /// restart, until then.
    pub rank: Option<u8>,
    /// Its size as announced, zeros if unknown.
    pub size: PictureSize,
}

/// One packet as it was before SRTP, from the publisher's point of view: its own source, payload
/// type, number and extensions. Unwrapped from RTX, without padding; one that was padding only is a
/// header without payload, so that its number is not missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpEntry<'a> {
    /// What it belongs to.
    pub publication: PublicationId,
    /// The layer it is of, 0 the smallest.
    pub rank: u8,
    /// When the turn began in which it arrived.
    pub at: Instant,
    /// Its number without wraps: what is missing between two packets of a layer never came.
    pub seq: SeqNo,
    /// It did not come on its own stream but was sent again.
    pub is_recovered: bool,
    /// Decoding may begin here.
    pub starts_keyframe: bool,
    /// Header, extensions, payload.
    pub bytes: &'a [u8],
}

/// A sender report of the layer that is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportEntry {
    /// What it belongs to.
    pub publication: PublicationId,
    /// The layer it is of.
    pub rank: u8,
    /// When it arrived.
    pub at: Instant,
    /// The publisher's wall clock.
    pub ntp: NtpTime,
    /// The layer's timestamp at that time.
    pub rtp: u32,
}

/// A publication is recorded no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackEnd {
    /// Which one.
    pub publication: PublicationId,
    /// When.
    pub at: Instant,
    /// Why.
    pub reason: EndReason,
    /// Packets of it that were given to the tap since it started: those that were read, and those
    /// that gaps tell of.
    pub packets: u64,
}

/// Why a publication is recorded no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// It has ended.
    Unpublished,
    /// Its participant's gate has been closed.
    GateClosed,
    /// The recording has ended.
    Detached,
}

/// Packets that arrived while the gate of their participant was closed, and left no other trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldBack {
    /// What they belonged to.
    pub publication: PublicationId,
    /// Who published it.
    pub transport: TransportId,
    /// When that was over.
    pub at: Instant,
    /// How many there were.
    pub packets: u64,
}

/// Packets that were dropped because the reader did not keep up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// When the first of them had arrived.
    pub from: Instant,
    /// When the last of them had arrived.
    pub until: Instant,
    /// Which bound was reached.
    pub reason: GapReason,
    /// How many of each track.
    pub tracks: Vec<GapTrack>,
    /// Starts, ends and changes of layers that found no room either: none in all likelihood.
    pub notices: u64,
}

/// What a gap costs one track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GapTrack {
    /// Which one.
    pub publication: PublicationId,
    /// Packets that are missing.
    pub packets: u64,
}

/// Which bound made a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapReason {
    /// [`tap_recording_bytes_max`](crate::config::Limits::tap_recording_bytes_max): this recording's
    /// writer is too slow.
    RecordingMemory,
    /// [`tap_bytes_max`](crate::config::Limits::tap_bytes_max): all writers together are.
    ProcessMemory,
}

/// What pushing has led to, as far as others must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It is on its way.
    Kept,
    /// So many packets have been dropped, for the first time since all was well.
    Overflowed(u64),
    /// So many more have been dropped.
    Dropped(u64),
    /// What was dropped has been told: all is well again.
    Resumed,
}

impl Pushed {
    /// What two pushes have led to.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Overflowed(one), Self::Dropped(two)) => Self::Overflowed(one + two),
            (Self::Dropped(one), Self::Dropped(two)) => Self::Dropped(one + two),
            (one, Self::Kept) => one,
            (_, other) => other,
        }
    }
}

/// The end that packets are written to: one owner, no waiting.
pub struct Tap {
    full: Producer<Arena>,
    empty: Consumer<Arena>,
    memory: RecordingMemory,
    origin: Instant,
    current: Arena,
    gap: Option<Gap>,
}

/// Both ends of a lane; an error is the name of the limit that is reached.
///
/// `now` is any instant not after the first entry.
pub fn tap(now: Instant, memory: &RecordingMemory) -> Result<(Tap, TapReader), &'static str> {
    let current = Arena::claim(memory).map_err(|reason| match reason {
        GapReason::RecordingMemory => "tap_recording_bytes_max",
        GapReason::ProcessMemory => "tap_bytes_max",
    })?;
    let (full, filled) = RingBuffer::new(memory.arenas_max());
    let (emptied, empty) = RingBuffer::new(memory.arenas_max());
    let tap = Tap {
        full,
        empty,
        memory: memory.clone(),
        origin: now,
        current,
        gap: None,
    };
    Ok((tap, TapReader::new(now, filled, emptied)))
}

impl Tap {
    /// Copies one packet: the fixed part of its header, what follows in it, and the payload.
    pub(crate) fn push_rtp(&mut self, entry: &RtpEntry<'_>, parts: [&[u8]; 2]) -> Pushed {
        let record = Record::rtp(self.since_origin(entry.at), entry);
        self.push(&record, [entry.bytes, parts[0], parts[1]])
    }

    /// Copies a sender report.
    pub(crate) fn push_report(&mut self, entry: &ReportEntry) -> Pushed {
        let record = Record::report(self.since_origin(entry.at), entry);
        self.push(&record, [&entry.rtp.to_le_bytes(), &[], &[]])
    }

    /// Says something that happened to a track.
    pub(crate) fn notify(&mut self, at: Instant, notice: Notice) {
        if !self.current.push_notice(notice) {
            let empty = || Gap::empty(at, GapReason::RecordingMemory);
            let gap = self.gap.get_or_insert_with(empty);
            gap.notices += 1;
            gap.until = at;
        }
    }

    fn push(&mut self, record: &Record, parts: [&[u8]; 3]) -> Pushed {
        if self.current.push(record, parts) {
            return Pushed::Kept;
        }
        let pushed = self.turn_over();
        let fits = self.current.push(record, parts);
        debug_assert!(fits, "an empty arena takes any packet");
        pushed
    }

    /// Hands over what there is: to a reader who has read all else, so that one who is late finds
    /// full arenas, and what was dropped as soon as it can be told. To be called every
    /// [`HANDOVER_INTERVAL`].
    pub(crate) fn hand_over(&mut self) -> Pushed {
        let reader_waits = self.full.slots() == self.memory.arenas_max();
        let has_news = reader_waits && !self.current.is_empty();
        if (has_news || self.gap.is_some())
            && let Ok(next) = self.next_arena()
        {
            return self.send(next);
        }
        Pushed::Kept
    }

    /// Hands over the rest and says that it was the last.
    pub(crate) fn end(mut self) {
        if let Some(gap) = self.gap.take() {
            self.current.tell_gap(gap);
        }
        self.current.is_last = true;
        // There are never more arenas than places; a reader that is gone needs no last word.
        let _fits = self.full.push(self.current);
    }

    /// Nobody reads any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.full.is_abandoned()
    }

    fn since_origin(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.origin).as_nanos() as u64
    }

    /// Makes room in the current arena, whatever that costs.
    fn turn_over(&mut self) -> Pushed {
        match self.next_arena() {
            Ok(next) => self.send(next),
            Err(reason) => self.drop_current(reason),
        }
    }

    fn next_arena(&mut self) -> Result<Arena, GapReason> {
        match self.empty.pop() {
            Ok(arena) => Ok(arena),
            Err(_) => Arena::claim(&self.memory),
        }
    }

    fn send(&mut self, next: Arena) -> Pushed {
        let mut pushed = Pushed::Kept;
        if let Some(gap) = self.gap.take() {
            self.current.tell_gap(gap);
            pushed = Pushed::Resumed;
        }
        let full = std::mem::replace(&mut self.current, next);
        // There are never more arenas than places; a reader that is gone misses nothing.
        let _fits = self.full.push(full);
        pushed
    }

    /// Gives up what the current arena holds, but for what happened to tracks.
    fn drop_current(&mut self, reason: GapReason) -> Pushed {
        let is_first = self.gap.is_none();
        let dropped = self.current.give_up(self.origin, reason, &mut self.gap);
        match is_first {
            true => Pushed::Overflowed(dropped),
            false => Pushed::Dropped(dropped),
        }
    }
}

impl std::fmt::Debug for Tap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tap").finish_non_exhaustive()
    }
}
