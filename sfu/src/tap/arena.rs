//! An arena of a tap: packets one behind the other, and what happened to tracks between them.
//!
//! Packets and reports are bytes with a head of fixed length; what happens seldom and has a shape
//! is a [`Notice`] beside them that knows its place. Whole arenas are handed over, taken back and,
//! where it must be, given up.

use std::time::{Duration, Instant};

use super::memory::{Claim, RecordingMemory};
use super::{
    Entry, Gap, GapReason, GapTrack, HeldBack, LayerChange, ReportEntry, RtpEntry, TrackEnd,
    TrackStart,
};
use crate::id::PublicationId;
use crate::pages::Pages;
use crate::unit::{NtpTime, SeqNo};

/// Bytes in front of each record: length, kind, flags, layer, publication, time and number.
const HEAD_LEN: usize = 32;

/// Notices in one arena. A room of a hundred tracks that all start, change and end needs three
/// hundred; more only gather while arenas are given up.
const NOTICES_MAX: usize = 2_048;

const KIND_RTP: u8 = 0;
const KIND_REPORT: u8 = 1;
const FLAG_RECOVERED: u8 = 1;
const FLAG_KEYFRAME: u8 = 2;

/// What happened to a track, or to the whole tap.
#[derive(Debug)]
pub(crate) enum Notice {
    TrackStarted(Box<TrackStart>),
    LayerChanged(LayerChange),
    TrackEnded(TrackEnd),
    HeldBack(HeldBack),
    Gap(Gap),
}

impl Notice {
    fn entry(&self) -> Entry<'_> {
        match self {
            Self::TrackStarted(start) => Entry::TrackStarted(start),
            Self::LayerChanged(change) => Entry::LayerChanged(change),
            Self::TrackEnded(end) => Entry::TrackEnded(end),
            Self::HeldBack(held) => Entry::HeldBack(held),
            Self::Gap(gap) => Entry::Gap(gap),
        }
    }
}

/// The head of a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    kind: u8,
    flags: u8,
    rank: u8,
    publication: PublicationId,
    /// Nanoseconds since the tap was made.
    at: u64,
    /// The number of a packet, the wall clock of a report.
    number: u64,
}

impl Record {
    pub(super) fn rtp(at: u64, entry: &RtpEntry<'_>) -> Self {
        let recovered = u8::from(entry.is_recovered) * FLAG_RECOVERED;
        let keyframe = u8::from(entry.starts_keyframe) * FLAG_KEYFRAME;
        Self {
            kind: KIND_RTP,
            flags: recovered | keyframe,
            rank: entry.rank,
            publication: entry.publication,
            at,
            number: entry.seq.0,
        }
    }

    pub(super) fn report(at: u64, entry: &ReportEntry) -> Self {
        Self {
            kind: KIND_REPORT,
            flags: 0,
            rank: entry.rank,
            publication: entry.publication,
            at,
            number: entry.ntp.0,
        }
    }

    fn head(&self, len: usize) -> [u8; HEAD_LEN] {
        let mut head = [0; HEAD_LEN];
        head[0..4].copy_from_slice(&(len as u32).to_le_bytes());
        head[4..7].copy_from_slice(&[self.kind, self.flags, self.rank]);
        head[8..16].copy_from_slice(&self.publication.0.to_le_bytes());
        head[16..24].copy_from_slice(&self.at.to_le_bytes());
        head[24..32].copy_from_slice(&self.number.to_le_bytes());
        head
    }

    /// The record that begins `bytes`, and its body.
    fn read(bytes: &[u8]) -> (Self, &[u8]) {
        let word = |at: usize| -> u64 {
            let word = bytes[at..at + 8].try_into().expect("eight bytes");
            u64::from_le_bytes(word)
        };
        let len = (word(0) & 0xffff_ffff) as usize;
        let record = Self {
            kind: bytes[4],
            flags: bytes[5],
            rank: bytes[6],
            publication: PublicationId(word(8)),
            at: word(16),
            number: word(24),
        };
        (record, &bytes[HEAD_LEN..HEAD_LEN + len])
    }

    fn entry<'a>(&self, origin: Instant, body: &'a [u8]) -> Entry<'a> {
        let at = origin + Duration::from_nanos(self.at);
        match self.kind {
            KIND_REPORT => Entry::SenderReport(ReportEntry {
                publication: self.publication,
                rank: self.rank,
                at,
                ntp: NtpTime(self.number),
                rtp: u32::from_le_bytes(body.try_into().expect("a timestamp has four bytes")),
            }),
            _ => Entry::Rtp(RtpEntry {
                publication: self.publication,
                rank: self.rank,
                at,
                seq: SeqNo(self.number),
                is_recovered: self.flags & FLAG_RECOVERED != 0,
                starts_keyframe: self.flags & FLAG_KEYFRAME != 0,
                bytes: body,
            }),
        }
    }
}

/// One arena and the right to have it.
pub(super) struct Arena {
    bytes: Pages,
    capacity: usize,
    len: usize,
    /// Each stands before the record at its place.
    notices: Vec<(usize, Notice)>,
    /// Nothing follows this arena.
    pub(super) is_last: bool,
    _claim: Claim,
}

/// How far an arena has been read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    at: usize,
    notice: usize,
}

impl Arena {
    /// A new one, if both bounds allow it.
    pub(super) fn claim(memory: &RecordingMemory) -> Result<Self, GapReason> {
        let claim = memory.claim()?;
        // The system has no memory left, which is the bound of the process below ours.
        let bytes = Pages::new(memory.arena_bytes()).ok_or(GapReason::ProcessMemory)?;
        Ok(Self {
            bytes,
            capacity: memory.arena_bytes(),
            len: 0,
            notices: Vec::new(),
            is_last: false,
            _claim: claim,
        })
    }

    /// Appends a record. False: it does not fit.
    pub(super) fn push(&mut self, record: &Record, parts: [&[u8]; 3]) -> bool {
        let body: usize = parts.iter().map(|part| part.len()).sum();
        let end = self.len + HEAD_LEN + body;
        if end > self.capacity {
            return false;
        }
        let mut rest = &mut self.bytes[self.len..end];
        for part in [&record.head(body)[..], parts[0], parts[1], parts[2]] {
            let (here, after) = rest.split_at_mut(part.len());
            here.copy_from_slice(part);
            rest = after;
        }
        self.len = end;
        true
    }

    /// Appends a notice. False: there are too many.
    pub(super) fn push_notice(&mut self, notice: Notice) -> bool {
        let fits = self.notices.len() < NOTICES_MAX;
        if fits {
            self.notices.push((self.len, notice));
        }
        fits
    }

    /// Says before everything else what is missing before this arena; only what happened to its
    /// tracks while it was missing comes first.
    pub(super) fn tell_gap(&mut self, gap: Gap) {
        let place = self.notices.partition_point(|(at, _)| *at == 0);
        self.notices.insert(place, (0, Notice::Gap(gap)));
    }

    /// Whether nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        !self.has_more(Place::default())
    }

    /// Whether there is an entry from `place` on.
    pub(super) fn has_more(&self, place: Place) -> bool {
        place.at < self.len || place.notice < self.notices.len()
    }

    /// The next entry from `place` on.
    pub(super) fn read(&self, origin: Instant, place: &mut Place) -> Option<Entry<'_>> {
        if let Some((at, notice)) = self.notices.get(place.notice)
            && *at <= place.at
        {
            place.notice += 1;
            return Some(notice.entry());
        }
        if place.at >= self.len {
            return None;
        }
        let (record, body) = Record::read(&self.bytes[place.at..self.len]);
        place.at += HEAD_LEN + body.len();
        Some(record.entry(origin, body))
    }

    /// As if nothing had ever been in it.
    pub(super) fn clear(&mut self) {
        self.len = 0;
        self.notices.clear();
    }

    /// Gives up the packets in it and adds them to `gap`; what happened to tracks stays. Returns how
    /// many packets that were.
    pub(super) fn give_up(
        &mut self,
        origin: Instant,
        reason: GapReason,
        gap: &mut Option<Gap>,
    ) -> u64 {
        let mut dropped = 0;
        let mut at = 0;
        while at < self.len {
            let (record, body) = Record::read(&self.bytes[at..self.len]);
            at += HEAD_LEN + body.len();
            if record.kind == KIND_RTP {
                let arrived = origin + Duration::from_nanos(record.at);
                let gap = gap.get_or_insert_with(|| Gap::empty(arrived, reason));
                gap.add(arrived, record.publication);
                dropped += 1;
            }
        }
        self.len = 0;
        self.notices.iter_mut().for_each(|(at, _)| *at = 0);
        dropped
    }
}

impl Gap {
    pub(super) fn empty(at: Instant, reason: GapReason) -> Self {
        Self {
            from: at,
            until: at,
            reason,
            tracks: Vec::new(),
            notices: 0,
        }
    }

    fn add(&mut self, at: Instant, publication: PublicationId) {
        self.until = self.until.max(at);
        let known = self
            .tracks
            .iter_mut()
            .find(|track| track.publication == publication);
        match known {
            Some(track) => track.packets += 1,
            None => self.tracks.push(GapTrack {
                publication,
                packets: 1,
            }),
        }
    }
}
