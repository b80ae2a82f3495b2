//! What the writer thread does, without the thread: facts and packets in, records out.
//!
//! Time comes as an argument; the disk and randomness are the journal's tools. A scribe that cannot
//! write goes on taking packets: it counts them, keeps what was said, and tells the gap when the disk
//! is there again. Nothing is dropped without a record of it.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::time::{Duration, Instant};

use serde::Serialize;
use sfu::id::PublicationId;
use sfu::media::{Codec, MediaKind as SfuKind};
use sfu::tap::{self, EndReason, Entry, LayerChange, ReportEntry, RtpEntry, TrackStart};

use super::fact::{Fact, Interruption, Published, Report, Ticket};
use crate::config::Limits;
use crate::contents::{Contents, Gap, OpenSummary};
use crate::folder::Part;
use crate::header::{Header, VERSION, to_json};
use crate::journal::body::{
    Event, GapReason, Happening, MediaKind, SegmentHead, Source, Track, TrackEnd,
};
use crate::journal::ledger::{self, Ledger};
use crate::journal::record::{Flags, Kind, SenderReport};
use crate::journal::writer::Journal;
use crate::wall::Wall;

/// A disk that failed is tried again after so long.
const RETRY: Duration = Duration::from_secs(1);
/// Counts alone are written to the summary this often: they grow with every packet.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(10);
/// A segment's times begin so long before it is opened, because packets from another worker may be
/// on their way for a moment longer.
const T0_SLACK_US: u64 = 1_000_000;
/// A turn that comes this late was held up by the disk; what the tap has dropped meanwhile was
/// dropped for that.
const HELD_UP: Duration = Duration::from_secs(1);
/// The wall clock has jumped when it differs so much from what the monotonic one says.
const CLOCK_STEP_MS: i64 = 500;

/// A publication as the tap and signalling tell of it.
#[derive(Debug, Default)]
struct Publication {
    published: Option<Box<Published>>,
    start: Option<Box<TrackStart>>,
    /// The track that is being recorded and its payload type.
    track: Option<(u16, u8)>,
    change: Option<LayerChange>,
    ssrc: u32,
    ended_us: Option<u64>,
}

/// A record that is not on the disk yet.
#[derive(Debug)]
struct Pending {
    at_us: u64,
    kind: Kind,
    track: u16,
    body: Vec<u8>,
}

/// What is missing while nothing can be written.
#[derive(Debug)]
struct Outage {
    why: Interruption,
    from_us: u64,
    packets: BTreeMap<u16, u64>,
    /// Packets that the ledger counted before the disk took them back.
    counted: BTreeMap<u16, u64>,
    retry_at: Instant,
}

/// Where the recording's time stands on the machine's clocks.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// An instant of this process.
    pub at: Instant,
    /// The recording's time then, microseconds.
    pub us: u64,
    /// The wall clock then.
    pub wall: Wall,
    /// Whether something keeps the wall clock right.
    pub is_synchronised: fn() -> bool,
}

impl Origin {
    /// The recording's time at `at`.
    pub fn us(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.at).as_micros() as u64;
        // What arrived just before the recording began is its beginning.
        self.us + since
    }

    fn wall(&self, at_us: u64) -> Wall {
        Wall(self.wall.0 + at_us.saturating_sub(self.us))
    }
}

/// The writer of one recording.
#[derive(Debug)]
pub struct Scribe {
    header: Header,
    room: String,
    writer: u32,
    limits: Limits,
    journal: Journal,
    ledger: Ledger,
    origin: Origin,
    publications: HashMap<PublicationId, Publication>,
    /// What was said since the last flush, in case the disk takes it back.
    pending: Vec<Pending>,
    /// Facts that found no room, since when.
    overflow: Option<(u64, u64)>,
    tickets: Vec<Ticket>,
    outage: Option<Outage>,
    reports: Vec<Report>,
    last_us: u64,
    durable_us: u64,
    flushed_at: Instant,
    summary_at: Instant,
    spare_at: Instant,
    turned_at: Instant,
    was_held_up: bool,
    is_short_of_room: bool,
    is_stopping: bool,
    clock_error_ms: i64,
}

impl Scribe {
    /// Opens the first segment of this writer. Well returned, the recording counts as started.
    pub fn begin(
        (header, room, writer): (Header, String, u32),
        limits: Limits,
        journal: Journal,
        before: Contents,
        origin: Origin,
    ) -> io::Result<Self> {
        let mut scribe = Self {
            header,
            room,
            writer,
            limits,
            journal,
            ledger: Ledger::resume(before),
            origin,
            publications: HashMap::new(),
            pending: Vec::new(),
            overflow: None,
            tickets: Vec::new(),
            outage: None,
            reports: Vec::new(),
            last_us: origin.us,
            durable_us: origin.us,
            flushed_at: origin.at,
            summary_at: origin.at,
            spare_at: origin.at,
            turned_at: origin.at,
            was_held_up: false,
            is_short_of_room: false,
            is_stopping: false,
            clock_error_ms: 0,
        };
        scribe.open_segment(origin.us)?;
        Ok(scribe)
    }

    /// Notes how the recording came to be: the first event. The list of names and the summary are
    /// there from now on.
    pub fn begun(&mut self, resumed: Option<(&str, u64)>) {
        let at_us = self.origin.us;
        match resumed {
            None => self.happened(at_us, Happening::RecordingStarted),
            Some((reason, from_us)) => {
                let gap = ledger::gap(from_us, at_us, GapReason::Restart, BTreeMap::new());
                self.write_gap(at_us, &gap, &BTreeMap::new());
                let reason = reason.to_owned();
                self.happened(at_us, Happening::RecordingResumed { reason });
            }
        }
        if self.outage.is_none() {
            self.flush(self.origin.at);
        }
    }

    fn open_segment(&mut self, now_us: u64) -> io::Result<()> {
        let t0_us = now_us.saturating_sub(T0_SLACK_US).max(self.origin.us);
        let head = SegmentHead {
            segment: self.journal.next_segment(),
            t0_us,
            wall: self.origin.wall(t0_us),
            ntp_synchronised: (self.origin.is_synchronised)(),
            tracks: self.ledger.live_tracks(),
            participants: self.ledger.present(),
        };
        self.journal.open(&head)
    }

    /// What has happened since this was last asked.
    pub fn take_reports(&mut self) -> Vec<Report> {
        std::mem::take(&mut self.reports)
    }

    // ---- facts -----------------------------------------------------------------------------

    /// Writes down a fact.
    pub fn fact(&mut self, at: Instant, fact: Fact, ticket: Option<Ticket>) {
        let at_us = self.origin.us(at);
        self.tickets.extend(ticket);
        match fact {
            Fact::Joined {
                participant,
                identity,
                name,
            } => {
                if let Some(participant) = self.ledger.joined(&participant, &identity, &name, at_us)
                {
                    self.happened(at_us, Happening::ParticipantJoined { participant });
                }
            }
            Fact::Left { participant } => {
                if let Some(participant) = self.ledger.left(&participant, at_us) {
                    self.happened(at_us, Happening::ParticipantLeft { participant });
                }
            }
            Fact::Consent { participant, state } => {
                if let Some(participant) = self.ledger.consent(&participant, state, at_us) {
                    self.happened(at_us, Happening::Consent { participant, state });
                }
            }
            Fact::Published(published) => {
                let publication = self.publications.entry(published.publication).or_default();
                publication.published = Some(published);
            }
            Fact::Muted {
                participant,
                track,
                is_muted,
            } => {
                self.muted(at_us, &participant, &track, is_muted);
            }
            Fact::Speaking {
                participant,
                is_active: active,
            } => {
                self.said(at_us, &participant, |participant| Happening::Speaking {
                    participant,
                    active,
                });
            }
            Fact::Chat { participant, text } => {
                self.said(at_us, &participant, |participant| Happening::Chat {
                    participant,
                    text,
                });
                self.ledger.event("chat", None, None, at_us);
            }
            Fact::Data {
                participant,
                topic,
                size,
            } => {
                self.said(at_us, &participant, |participant| Happening::Data {
                    participant,
                    topic,
                    size,
                });
            }
            Fact::RecipientKey {
                participant,
                key_index,
                sealed,
            } => {
                self.said(at_us, &participant, |participant| Happening::RecipientKey {
                    participant,
                    key_index,
                    sealed,
                });
            }
        }
    }

    fn said(&mut self, at_us: u64, sid: &str, what: impl FnOnce(u16) -> Happening) {
        if let Some(number) = self.ledger.participant(sid) {
            self.happened(at_us, what(number));
        }
    }

    fn muted(&mut self, at_us: u64, sid: &str, track_sid: &str, is_muted: bool) {
        let Some(participant) = self.ledger.participant(sid) else {
            return;
        };
        let is_it = |known: &&Publication| {
            known
                .published
                .as_ref()
                .is_some_and(|published| published.track == track_sid)
        };
        // A track that was muted from its first moment on has no number yet.
        let known = self.publications.values().find(is_it);
        let track = known
            .and_then(|known| known.track)
            .map_or(0, |(number, _)| number);
        let (kind, what) = match is_muted {
            true => ("muted", Happening::Muted { participant, track }),
            false => ("unmuted", Happening::Unmuted { participant, track }),
        };
        self.ledger
            .event(kind, Some(participant), (track > 0).then_some(track), at_us);
        self.happened(at_us, what);
    }

    fn happened(&mut self, at_us: u64, what: Happening) {
        let clear = match &what {
            Happening::RecordingStarted => Some("recording_started"),
            Happening::RecordingResumed { .. } => Some("recording_resumed"),
            Happening::RecordingStopped { .. } => Some("recording_stopped"),
            Happening::ClockStep { .. } => Some("clock_step"),
            _ => None,
        };
        if let Some(kind) = clear {
            self.ledger.event(kind, None, None, at_us);
        }
        let at = self.origin.wall(at_us);
        self.write_json(at_us, Kind::Event, 0, &Event { at, what });
    }

    /// Facts found no room from `from` to `until`.
    pub fn overflowed(&mut self, from: Instant, until: Instant) {
        let (from, until) = (self.origin.us(from), self.origin.us(until));
        let known = self.overflow.unwrap_or((from, until));
        self.overflow = Some((known.0.min(from), known.1.max(until)));
    }

    // ---- the tap ---------------------------------------------------------------------------

    /// Writes down what a tap tells.
    pub fn entry(&mut self, entry: &Entry<'_>) {
        match entry {
            Entry::Rtp(packet) => self.packet(packet),
            Entry::SenderReport(report) => self.sender_report(report),
            Entry::TrackStarted(start) => {
                let publication = self.publications.entry(start.publication).or_default();
                publication.start = Some(Box::new((*start).clone()));
                publication.track = None;
                publication.change = None;
            }
            Entry::LayerChanged(change) => {
                let publication = self.publications.entry(change.publication).or_default();
                publication.change = Some(**change);
            }
            Entry::TrackEnded(end) => {
                let reason = match end.reason {
                    EndReason::Unpublished => "unpublished",
                    EndReason::GateClosed => "consent",
                    EndReason::Detached => "stopped",
                };
                let at_us = self.origin.us(end.at);
                self.end_track(end.publication, at_us, reason);
                if end.reason == EndReason::Unpublished {
                    self.publications.remove(&end.publication);
                }
            }
            Entry::HeldBack(held) => {
                let until_us = self.origin.us(held.at);
                let known = self.publications.get(&held.publication);
                let from_us = known
                    .and_then(|known| known.ended_us)
                    .unwrap_or(self.origin.us);
                // They belong to no track: a track is what may be recorded.
                let packets = BTreeMap::from([(0, held.packets)]);
                let gap = ledger::gap(from_us, until_us, GapReason::Consent, packets);
                self.write_gap(until_us, &gap, &BTreeMap::new());
            }
            Entry::Gap(gap) => self.tap_gap(gap),
        }
    }

    /// A worker has lost a tap, with what was under way.
    pub fn tap_lost(&mut self, now: Instant) {
        let until_us = self.origin.us(now);
        let from_us = until_us.saturating_sub(2 * tap::HANDOVER_INTERVAL.as_micros() as u64);
        let gap = ledger::gap(from_us, until_us, GapReason::Worker, BTreeMap::new());
        self.write_gap(until_us, &gap, &BTreeMap::new());
    }

    fn tap_gap(&mut self, gap: &tap::Gap) {
        let mut packets = BTreeMap::new();
        for track in &gap.tracks {
            let known = self.publications.get(&track.publication);
            let number = known
                .and_then(|known| known.track)
                .map_or(0, |(number, _)| number);
            *packets.entry(number).or_default() += track.packets;
        }
        let reason = match self.was_held_up {
            true => GapReason::Stalled,
            false => GapReason::Overflow,
        };
        let (from_us, until_us) = (self.origin.us(gap.from), self.origin.us(gap.until));
        let gap = ledger::gap(from_us, until_us, reason, packets);
        self.write_gap(until_us, &gap, &BTreeMap::new());
    }

    fn packet(&mut self, packet: &RtpEntry<'_>) {
        let at_us = self.origin.us(packet.at);
        let Some(head) = packet.bytes.first_chunk::<12>() else {
            return;
        };
        let payload_type = head[1] & 0x7f;
        let ssrc = u32::from_be_bytes([head[8], head[9], head[10], head[11]]);
        let Some(number) = self.track_of(packet, at_us, payload_type, ssrc) else {
            return;
        };
        let mut flags = Flags::default();
        for (is_set, flag) in [
            (packet.is_recovered, Flags::RECOVERED),
            (packet.starts_keyframe, Flags::KEYFRAME),
            (self.is_encrypted(packet.publication), Flags::ENCRYPTED),
        ] {
            if is_set {
                flags = flags.with(flag);
            }
        }
        self.make_room(at_us);
        if let Some(outage) = &mut self.outage {
            *outage.packets.entry(number).or_default() += 1;
            return;
        }
        match self
            .journal
            .append(at_us, Kind::Rtp, flags, number, packet.bytes)
        {
            Ok(()) => {
                self.last_us = self.last_us.max(at_us);
                self.ledger.packet(number, packet.rank, packet.seq.0, at_us);
            }
            Err(error) => {
                self.fail(&error, packet.at);
                let outage = self.outage.as_mut().expect("it has just begun");
                *outage.packets.entry(number).or_default() += 1;
            }
        }
    }

    fn is_encrypted(&self, publication: PublicationId) -> bool {
        let known = self.publications.get(&publication);
        let published = known.and_then(|known| known.published.as_ref());
        published.is_some_and(|published| published.is_encrypted)
    }

    /// The track that a packet belongs to. A track begins with its first packet, because only that
    /// says which of the agreed formats it is in.
    fn track_of(
        &mut self,
        packet: &RtpEntry<'_>,
        at_us: u64,
        payload_type: u8,
        ssrc: u32,
    ) -> Option<u16> {
        let publication = self.publications.entry(packet.publication).or_default();
        if let Some((number, known_type)) = publication.track {
            let is_same = known_type == payload_type
                || publication
                    .start
                    .as_deref()
                    .is_some_and(|start| is_redundancy(start, payload_type));
            if is_same {
                if publication.ssrc != ssrc {
                    publication.ssrc = ssrc;
                    let change = publication.change;
                    self.layer_changed(at_us, number, packet.rank, change, ssrc);
                }
                return Some(number);
            }
            self.end_track(packet.publication, at_us, "codec");
        }
        let publication = self.publications.get(&packet.publication)?;
        let track = describe(publication, packet, payload_type, ssrc, |sid| {
            self.ledger.participant(sid)
        });
        let track = self.ledger.track_started(track, at_us)?;
        let publication = self.publications.get_mut(&packet.publication)?;
        publication.track = Some((track.track, track.payload_type));
        publication.ssrc = ssrc;
        self.write_json(at_us, Kind::Track, track.track, &track);
        Some(track.track)
    }

    fn layer_changed(
        &mut self,
        at_us: u64,
        track: u16,
        rank: u8,
        change: Option<LayerChange>,
        ssrc: u32,
    ) {
        let size = change
            .filter(|change| change.rank == Some(rank))
            .map(|change| change.size);
        let (width, height) = size.map_or((0, 0), |size| (size.width, size.height));
        self.ledger.layer_changed(track, rank, width, height, ssrc);
        self.happened(
            at_us,
            Happening::Layer {
                track,
                width,
                height,
                ssrc,
            },
        );
    }

    fn sender_report(&mut self, report: &ReportEntry) {
        let at_us = self.origin.us(report.at);
        let known = self.publications.get(&report.publication);
        // The next one says the same of a later moment: this one is not worth the room that facts
        // need until the disk is back.
        if self.outage.is_some() {
            return;
        }
        // Before the first packet of a track there is nothing whose clock it could tell.
        let Some((number, _)) = known.and_then(|known| known.track) else {
            return;
        };
        let body = SenderReport {
            ntp: report.ntp.0,
            rtp: report.rtp,
        };
        self.write(at_us, Kind::SenderReport, number, body.encode().to_vec());
    }

    fn end_track(&mut self, publication: PublicationId, at_us: u64, reason: &str) {
        let Some(known) = self.publications.get_mut(&publication) else {
            return;
        };
        known.ended_us = Some(at_us);
        if let Some((number, _)) = known.track.take() {
            self.ledger.track_ended(number, at_us);
            let end = TrackEnd {
                reason: reason.into(),
            };
            self.write_json(at_us, Kind::TrackEnd, number, &end);
        }
    }

    // ---- writing ---------------------------------------------------------------------------

    fn write_gap(&mut self, at_us: u64, gap: &Gap, counted: &BTreeMap<u16, u64>) {
        self.ledger.gap(gap, counted);
        self.journal.counters().gap(gap.reason);
        self.write_json(at_us, Kind::Gap, 0, gap);
    }

    fn write_json(&mut self, at_us: u64, kind: Kind, track: u16, body: &impl Serialize) {
        let body = serde_json::to_vec(body).expect("plain values can be written as JSON");
        self.write(at_us, kind, track, body);
    }

    /// Writes what was said. It is kept until it is durable, so that a failing disk cannot lose it.
    fn write(&mut self, at_us: u64, kind: Kind, track: u16, body: Vec<u8>) {
        // What is missing is told in any case.
        if self.pending.len() >= self.limits.events_max && kind != Kind::Gap {
            let known = self.overflow.unwrap_or((at_us, at_us));
            self.overflow = Some((known.0, at_us));
            return;
        }
        // Rolling forgets what is pending, because it is durable then: this is not yet.
        self.make_room(at_us);
        self.pending.push(Pending {
            at_us,
            kind,
            track,
            body,
        });
        if self.outage.is_none() {
            let pending = self.pending.last().expect("was pushed a moment ago");
            let written = self
                .journal
                .append(at_us, kind, Flags::default(), track, &pending.body);
            self.last_us = self.last_us.max(at_us);
            if let Err(error) = written {
                self.fail(&error, self.turned_at);
            }
        }
    }

    /// Rolls to the next segment if the open one is full.
    fn make_room(&mut self, at_us: u64) {
        if self.outage.is_none() && self.journal.is_full(at_us) {
            let rolled = self.journal.close(at_us).and_then(|()| {
                self.ledger.mark_durable();
                self.durable_us = at_us;
                self.pending.clear();
                self.open_segment(at_us)
            });
            if let Err(error) = rolled {
                self.fail(&error, self.turned_at);
            }
        }
    }

    /// Nothing can be written from here on.
    fn fail(&mut self, error: &io::Error, now: Instant) {
        let why = match error.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Interruption::DiskFull,
            _ => Interruption::DiskError,
        };
        self.journal.fail();
        let counted = self.ledger.take_back();
        self.outage = Some(Outage {
            why,
            from_us: self.durable_us,
            packets: counted.clone(),
            counted,
            retry_at: now + RETRY,
        });
        self.reports.push(Report::Interrupted(why));
    }

    // ---- turns -----------------------------------------------------------------------------

    /// Whatever is due: a flush, the next segment's room, the summary, another try.
    pub fn turn(&mut self, now: Instant, wall: Wall) {
        let now_us = self.origin.us(now);
        self.was_held_up = now.saturating_duration_since(self.turned_at) >= HELD_UP;
        self.turned_at = now;
        self.watch_clock(now_us, wall);
        if self.pending.len() < self.limits.events_max
            && let Some((from_us, until_us)) = self.overflow.take()
        {
            let gap = ledger::gap(from_us, until_us, GapReason::Overflow, BTreeMap::new());
            self.write_gap(now_us, &gap, &BTreeMap::new());
        }
        if self
            .outage
            .as_ref()
            .is_some_and(|outage| now >= outage.retry_at)
        {
            self.try_again(now);
        }
        self.make_room(now_us);
        let is_due = now.saturating_duration_since(self.flushed_at) >= self.limits.flush_interval();
        if self.outage.is_none() && (is_due || !self.tickets.is_empty()) {
            self.flush(now);
        }
        if self.outage.is_none() && !self.journal.has_spare() && now >= self.spare_at {
            self.spare_at = now + RETRY;
            // A disk without room for the next segment still takes this one; when that is full, the
            // recording is interrupted.
            self.is_short_of_room = self.journal.prepare().is_err();
        }
    }

    /// Whether the next segment has found no room: known while the present one goes on.
    pub fn is_short_of_room(&self) -> bool {
        self.is_short_of_room
    }

    fn watch_clock(&mut self, now_us: u64, wall: Wall) {
        let expected = self.origin.wall(now_us);
        let error_ms = (wall.0 as i64 - expected.0 as i64) / 1000;
        let millis = error_ms - self.clock_error_ms;
        if millis.abs() >= CLOCK_STEP_MS {
            self.clock_error_ms = error_ms;
            self.happened(now_us, Happening::ClockStep { millis });
        }
    }

    fn flush(&mut self, now: Instant) {
        self.flushed_at = now;
        let now_us = self.origin.us(now);
        let flushed = self.journal.flush().and_then(|_| {
            self.ledger.mark_durable();
            self.durable_us = now_us;
            self.pending.clear();
            self.reports
                .extend(self.tickets.drain(..).map(Report::Durable));
            self.write_index()?;
            self.write_summary(now)
        });
        if let Err(error) = flushed {
            self.fail(&error, now);
        }
    }

    fn write_index(&mut self) -> io::Result<()> {
        let Some(index) = self.ledger.take_index(self.header.recording, &self.room) else {
            return Ok(());
        };
        let officers = &self.header.compliance.recipients;
        let written = self
            .journal
            .seal(&index, officers)
            .and_then(|sealed| self.journal.replace(Part::index_of(self.writer), &sealed));
        if written.is_err() {
            self.ledger.names_unwritten();
        }
        written
    }

    fn write_summary(&mut self, now: Instant) -> io::Result<()> {
        let is_due = now.saturating_duration_since(self.summary_at) >= SUMMARY_INTERVAL;
        if !self.ledger.take_shape_changed() && !is_due {
            return Ok(());
        }
        self.summary_at = now;
        let summary = OpenSummary {
            version: VERSION,
            recording: self.header.recording,
            duration_us: self.last_us,
            contents: self.ledger.contents(),
        };
        let written = self.journal.replace(Part::Summary, &to_json(&summary));
        if written.is_err() {
            self.ledger.shape_unwritten();
        }
        written
    }

    /// Cuts back what failed, opens the next segment and tells there what is missing.
    fn try_again(&mut self, now: Instant) {
        let now_us = self.origin.us(now);
        let recovered = self
            .journal
            .recover()
            .and_then(|()| self.open_segment(now_us));
        let Some(outage) = self.outage.take() else {
            return;
        };
        if recovered.is_err() {
            self.outage = Some(Outage {
                retry_at: now + RETRY,
                ..outage
            });
            return;
        }
        let gap = ledger::gap(
            outage.from_us,
            now_us,
            GapReason::Disk,
            outage.packets.clone(),
        );
        let reports = self.reports.len();
        // What was said meanwhile, or was said and taken back, comes first: it is older.
        for pending in std::mem::take(&mut self.pending) {
            if self.outage.is_none() {
                self.write(pending.at_us, pending.kind, pending.track, pending.body);
            } else {
                self.pending.push(pending);
            }
        }
        let is_told = self.outage.is_none();
        if is_told {
            self.write_gap(now_us, &gap, &outage.counted);
        }
        if self.outage.is_none() {
            self.flush(now);
        }
        let Some(again) = &mut self.outage else {
            self.reports.push(Report::Resumed);
            return;
        };
        // It failed again at once. That it fails has been reported.
        self.reports.truncate(reports);
        if is_told {
            // The gap is in the book and among what is pending; what follows is another.
            again.from_us = now_us;
        } else {
            again.from_us = outage.from_us;
            again.packets = outage.packets;
            again.counted = outage.counted;
        }
    }

    /// Ends the recording: everything is in a closed segment when this returns well. May be called
    /// again while it fails.
    pub fn close(&mut self, now: Instant, reason: &str) -> Result<Ended, Interruption> {
        if let Some(outage) = &self.outage {
            let why = outage.why;
            self.try_again(now);
            if self.outage.is_some() {
                return Err(why);
            }
        }
        let now_us = self.origin.us(now);
        if !self.is_stopping {
            self.is_stopping = true;
            let reason = reason.to_owned();
            self.happened(now_us, Happening::RecordingStopped { reason });
        }
        if self.outage.is_none() {
            self.flush(now);
        }
        if self.outage.is_none()
            && let Err(error) = self.journal.close(now_us)
        {
            self.fail(&error, now);
        }
        if let Some(outage) = &self.outage {
            return Err(outage.why);
        }
        // Of the room ahead nothing is needed any more; salvage would remove it too.
        let _left_for_salvage = self.journal.give_up_spare();
        Ok(Ended {
            at: self.origin.wall(now_us),
            duration_us: now_us,
            contents: self.ledger.contents(),
        })
    }

    /// Removes the summary: the manifest says all of it.
    pub fn remove_summary(&mut self) -> io::Result<()> {
        self.journal.remove(Part::Summary)
    }

    /// The folder.
    pub fn folder(&self) -> &std::path::Path {
        self.journal.folder()
    }
}

/// What a recording was when its last segment was closed.
#[derive(Clone, Debug)]
pub struct Ended {
    /// When, by the wall clock.
    pub at: Wall,
    /// How long it is.
    pub duration_us: u64,
    /// What it contains.
    pub contents: Contents,
}

fn is_redundancy(start: &TrackStart, payload_type: u8) -> bool {
    let mut codecs = start.params.codecs.iter();
    codecs.any(|codec| codec.codec == Codec::Red && codec.payload_type.0 == payload_type)
}

/// A publication as a track.
fn describe(
    publication: &Publication,
    packet: &RtpEntry<'_>,
    payload_type: u8,
    ssrc: u32,
    number_of: impl Fn(&str) -> Option<u16>,
) -> Track {
    let start = publication.start.as_deref();
    let codecs = start.map_or(&[][..], |start| &start.params.codecs);
    let red = codecs
        .iter()
        .find(|codec| codec.codec == Codec::Red)
        .map(|codec| codec.payload_type.0);
    // Redundancy is around Opus: the track is in what it is around.
    let codec = match Some(payload_type) == red {
        true => codecs.iter().find(|codec| codec.codec == Codec::Opus),
        false => codecs
            .iter()
            .find(|codec| codec.payload_type.0 == payload_type),
    };
    let kind = match start.map(|start| start.params.kind) {
        Some(SfuKind::Video) => MediaKind::Video,
        _ => MediaKind::Audio,
    };
    let mime = match codec.map(|codec| codec.codec) {
        Some(Codec::Opus) => "audio/opus",
        Some(Codec::Red) => "audio/red",
        Some(Codec::Vp8) => "video/VP8",
        Some(Codec::H264) => "video/H264",
        Some(Codec::Vp9) => "video/VP9",
        Some(Codec::Av1) => "video/AV1",
        None => "application/octet-stream",
    };
    let published = publication.published.as_deref();
    let change = publication
        .change
        .filter(|change| change.rank == Some(packet.rank));
    let size = change.map_or((0, 0), |change| (change.size.width, change.size.height));
    Track {
        track: 0,
        sid: published.map_or_else(String::new, |published| published.track.clone()),
        participant: published
            .and_then(|published| number_of(&published.participant))
            .unwrap_or(0),
        kind,
        source: published.map_or(Source::Unknown, |published| published.source),
        name: published.map_or_else(String::new, |published| published.name.clone()),
        mime: mime.into(),
        payload_type: codec.map_or(payload_type, |codec| codec.payload_type.0),
        red_payload_type: red,
        clock_rate: codec.map_or(90_000, |codec| codec.clock_rate),
        channels: if kind == MediaKind::Audio { 2 } else { 0 },
        ssrc,
        width: size.0,
        height: size.1,
        encrypted: published.is_some_and(|published| published.is_encrypted),
        extensions: start.map_or_else(BTreeMap::new, extensions),
    }
}

fn extensions(start: &TrackStart) -> BTreeMap<String, u8> {
    let ids = &start.extensions;
    let known = [
        ("audio_level", ids.audio_level),
        ("video_orientation", ids.video_orientation),
        ("dependency_descriptor", ids.dependency_descriptor),
    ];
    let known = known
        .into_iter()
        .filter_map(|(name, id)| Some((name.to_owned(), id?)));
    known.collect()
}
