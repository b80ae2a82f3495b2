//! The book of a recording: who is there, which tracks there are, and what is missing of them.
//!
//! It gives numbers to participants and tracks, counts packets by their sequence numbers, and writes
//! the completeness statement. Pure state: time comes as microseconds since the recording's start,
//! and nothing here knows files.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::contents::{ConsentEntry, Contents, EventEntry, Gap, ParticipantEntry, TrackEntry};
use crate::id::RecordingId;
use crate::journal::body::{ConsentState, GapReason, Participant, Track};

/// Events in the clear list; what comes later is in the sealed journal only. A consult of hours has
/// some hundred.
const EVENTS_MAX: usize = 10_000;
/// Gaps in the list; later ones are joined to the last.
const GAPS_MAX: usize = 10_000;

/// How many late packets of a run are told from repeated ones.
const WINDOW: u64 = 1024;

/// Packets of one layer from one keyframe switch to the next, counted by their numbers.
#[derive(Clone, Debug)]
struct Run {
    first: u64,
    last: u64,
    stored: u64,
    /// One bit for each of the last [`WINDOW`] numbers.
    seen: [u64; (WINDOW / 64) as usize],
}

impl Run {
    fn new(number: u64) -> Self {
        let mut run = Self {
            first: number,
            last: number,
            stored: 1,
            seen: [0; (WINDOW / 64) as usize],
        };
        run.mark(number);
        run
    }

    fn slot(number: u64) -> (usize, u64) {
        let place = number % WINDOW;
        ((place / 64) as usize, 1 << (place % 64))
    }

    fn mark(&mut self, number: u64) -> bool {
        let (word, bit) = Self::slot(number);
        let is_new = self.seen[word] & bit == 0;
        self.seen[word] |= bit;
        is_new
    }

    /// Counts a packet, unless it was counted before.
    fn packet(&mut self, number: u64) -> bool {
        if number > self.last {
            for skipped in self.last + 1..=number.min(self.last + WINDOW) {
                let (word, bit) = Self::slot(skipped);
                self.seen[word] &= !bit;
            }
            self.last = number;
        } else if self.last - number >= WINDOW {
            return false;
        }
        let is_new = self.mark(number);
        if is_new {
            self.first = self.first.min(number);
            self.stored += 1;
        }
        is_new
    }

    fn expected(&self) -> u64 {
        self.last - self.first + 1
    }
}

#[derive(Debug)]
struct LiveTrack {
    body: Track,
    is_live: bool,
    /// What ended runs expected and stored.
    expected: u64,
    stored: u64,
    runs: Vec<(u8, Run)>,
    from_us: Option<u64>,
    until_us: u64,
    /// Packets since the last flush: what a failing disk takes back.
    unsafe_packets: u64,
    /// Of those that were stored, what a failing disk took back.
    taken_back: u64,
}

impl LiveTrack {
    fn end_runs(&mut self) {
        for (_, run) in self.runs.drain(..) {
            self.expected += run.expected();
            self.stored += run.stored;
        }
    }

    fn entry(&self) -> TrackEntry {
        let runs = self.runs.iter().map(|(_, run)| run);
        let expected = self.expected + runs.clone().map(Run::expected).sum::<u64>();
        let stored = self.stored + runs.map(|run| run.stored).sum::<u64>() - self.taken_back;
        TrackEntry {
            track: self.body.track,
            participant: self.body.participant,
            kind: self.body.kind,
            source: self.body.source,
            mime: self.body.mime.clone(),
            clock_rate: self.body.clock_rate,
            red_payload_type: self.body.red_payload_type,
            from_us: self.from_us.unwrap_or(self.until_us),
            until_us: self.until_us,
            expected,
            stored,
            lost: expected - stored,
        }
    }
}

/// The book.
#[derive(Debug, Default)]
pub struct Ledger {
    /// What was there before a restart: only added to.
    before: Contents,
    participants: Vec<(Participant, ParticipantEntry)>,
    by_sid: HashMap<String, usize>,
    tracks: Vec<LiveTrack>,
    by_number: HashMap<u16, usize>,
    gaps: Vec<Gap>,
    events: Vec<EventEntry>,
    last_participant: u16,
    last_track: u16,
    names_changed: bool,
    shape_changed: bool,
}

impl Ledger {
    /// The book of a recording that goes on after `before`.
    pub fn resume(before: Contents) -> Self {
        let last_participant = before
            .participants
            .iter()
            .map(|entry| entry.participant)
            .max();
        let last_track = before.tracks.iter().map(|entry| entry.track).max();
        Self {
            last_participant: last_participant.unwrap_or(0),
            last_track: last_track.unwrap_or(0),
            before,
            // Also a list without names names the room.
            names_changed: true,
            ..Self::default()
        }
    }

    /// Somebody came; `None` if he is there already or there are no numbers left.
    pub fn joined(
        &mut self,
        sid: &str,
        identity: &str,
        name: &str,
        at_us: u64,
    ) -> Option<Participant> {
        if self.by_sid.contains_key(sid) {
            return None;
        }
        self.last_participant = self.last_participant.checked_add(1)?;
        let participant = Participant {
            participant: self.last_participant,
            sid: sid.into(),
            identity: identity.into(),
            name: name.into(),
        };
        let entry = ParticipantEntry {
            participant: self.last_participant,
            joined_us: at_us,
            left_us: None,
            consent: Vec::new(),
        };
        self.by_sid.insert(sid.into(), self.participants.len());
        self.participants.push((participant.clone(), entry));
        self.names_changed = true;
        self.event(
            "participant_joined",
            Some(participant.participant),
            None,
            at_us,
        );
        Some(participant)
    }

    /// Somebody left. His number, if he was there.
    pub fn left(&mut self, sid: &str, at_us: u64) -> Option<u16> {
        let index = self.by_sid.remove(sid)?;
        let entry = &mut self.participants[index].1;
        entry.left_us = Some(at_us);
        let number = entry.participant;
        self.event("participant_left", Some(number), None, at_us);
        Some(number)
    }

    /// Somebody said what he thinks of being recorded. His number, if he is there.
    pub fn consent(&mut self, sid: &str, state: ConsentState, at_us: u64) -> Option<u16> {
        let entry = &mut self.participants[*self.by_sid.get(sid)?].1;
        entry.consent.push(ConsentEntry { state, at_us });
        let number = entry.participant;
        self.event("consent", Some(number), None, at_us);
        Some(number)
    }

    /// The number of a participant who is there.
    pub fn participant(&self, sid: &str) -> Option<u16> {
        let index = *self.by_sid.get(sid)?;
        Some(self.participants[index].0.participant)
    }

    /// A track begins; `track.track` is given its number here. `None` if there are none left.
    pub fn track_started(&mut self, mut track: Track, at_us: u64) -> Option<Track> {
        self.last_track = self.last_track.checked_add(1)?;
        track.track = self.last_track;
        self.by_number.insert(track.track, self.tracks.len());
        self.tracks.push(LiveTrack {
            body: track.clone(),
            is_live: true,
            expected: 0,
            stored: 0,
            runs: Vec::new(),
            from_us: None,
            until_us: at_us,
            unsafe_packets: 0,
            taken_back: 0,
        });
        self.names_changed = true;
        self.shape_changed = true;
        Some(track)
    }

    fn track_mut(&mut self, number: u16) -> Option<&mut LiveTrack> {
        self.by_number
            .get(&number)
            .map(|&index| &mut self.tracks[index])
    }

    /// A track ends.
    pub fn track_ended(&mut self, number: u16, at_us: u64) {
        self.shape_changed = true;
        if let Some(track) = self.track_mut(number) {
            track.end_runs();
            track.is_live = false;
            track.until_us = track.until_us.max(at_us);
        }
    }

    /// From here on packets of `number` are of another layer, with numbers of its own.
    pub fn layer_changed(&mut self, number: u16, rank: u8, width: u32, height: u32, ssrc: u32) {
        let Some(track) = self.track_mut(number) else {
            return;
        };
        if let Some(place) = track.runs.iter().position(|(known, _)| *known == rank) {
            let (_, run) = track.runs.swap_remove(place);
            track.expected += run.expected();
            track.stored += run.stored;
        }
        track.body.width = width;
        track.body.height = height;
        track.body.ssrc = ssrc;
    }

    /// A packet is in the journal.
    pub fn packet(&mut self, number: u16, rank: u8, sequence: u64, at_us: u64) {
        let Some(track) = self.track_mut(number) else {
            return;
        };
        track.from_us.get_or_insert(at_us);
        track.until_us = track.until_us.max(at_us);
        let run = track.runs.iter_mut().find(|(known, _)| *known == rank);
        let is_new = match run {
            Some((_, run)) => run.packet(sequence),
            None => {
                track.runs.push((rank, Run::new(sequence)));
                true
            }
        };
        track.unsafe_packets += u64::from(is_new);
    }

    /// Everything so far is durable.
    pub fn mark_durable(&mut self) {
        for track in &mut self.tracks {
            track.unsafe_packets = 0;
        }
    }

    /// What came since the last flush is lost after all: how much of each track.
    pub fn take_back(&mut self) -> BTreeMap<u16, u64> {
        let mut lost = BTreeMap::new();
        for track in &mut self.tracks {
            if track.unsafe_packets > 0 {
                track.taken_back += track.unsafe_packets;
                lost.insert(track.body.track, track.unsafe_packets);
                track.unsafe_packets = 0;
            }
        }
        lost
    }

    /// Something is missing. Packets that were dropped before they were counted are counted now.
    pub fn gap(&mut self, gap: &Gap, counted: &BTreeMap<u16, u64>) {
        self.shape_changed = true;
        for (number, packets) in &gap.packets {
            let uncounted = packets.saturating_sub(counted.get(number).copied().unwrap_or(0));
            if let Some(track) = self.track_mut(*number) {
                // A packet after the gap may have any number: what lies between would be counted
                // twice.
                track.end_runs();
                track.expected += uncounted;
            }
        }
        let is_full = self.gaps.len() >= GAPS_MAX;
        match self.gaps.last_mut() {
            Some(last) if is_full => {
                last.until_us = gap.until_us;
                for (number, packets) in &gap.packets {
                    *last.packets.entry(*number).or_default() += packets;
                }
            }
            _ => self.gaps.push(gap.clone()),
        }
    }

    /// Something happened that may be listed in the clear. Who speaks when is not: it would tell
    /// more of a consult than that it took place.
    pub fn event(&mut self, kind: &str, participant: Option<u16>, track: Option<u16>, at_us: u64) {
        self.shape_changed = true;
        if self.events.len() < EVENTS_MAX {
            self.events.push(EventEntry {
                kind: kind.into(),
                participant,
                track,
                at_us,
            });
        }
    }

    /// Participants who are there.
    pub fn present(&self) -> Vec<Participant> {
        let present = self
            .participants
            .iter()
            .filter(|(_, entry)| entry.left_us.is_none());
        present
            .map(|(participant, _)| participant.clone())
            .collect()
    }

    /// Tracks that live.
    pub fn live_tracks(&self) -> Vec<Track> {
        let live = self.tracks.iter().filter(|track| track.is_live);
        live.map(|track| track.body.clone()).collect()
    }

    /// What the recording contains so far.
    pub fn contents(&self) -> Contents {
        let mut contents = self.before.clone();
        let participants = self.participants.iter().map(|(_, entry)| entry.clone());
        contents.participants.extend(participants);
        contents
            .tracks
            .extend(self.tracks.iter().map(LiveTrack::entry));
        contents.gaps.extend(self.gaps.iter().cloned());
        contents.events.extend(self.events.iter().cloned());
        contents
    }

    /// Whether participants, tracks, gaps or events have changed since this was last asked.
    pub fn take_shape_changed(&mut self) -> bool {
        std::mem::take(&mut self.shape_changed)
    }

    /// The plaintext of the index, if a name has come since this was last asked.
    pub fn take_index(&mut self, recording: RecordingId, room: &str) -> Option<Vec<u8>> {
        std::mem::take(&mut self.names_changed).then(|| self.index(recording, room))
    }

    fn index(&self, recording: RecordingId, room: &str) -> Vec<u8> {
        let participants = self
            .participants
            .iter()
            .map(|(participant, _)| IndexParticipant {
                participant: participant.participant,
                identity: &participant.identity,
                name: &participant.name,
            });
        let tracks = self.tracks.iter().map(|track| IndexTrack {
            track: track.body.track,
            participant: track.body.participant,
            name: &track.body.name,
            source: track.body.source,
        });
        let index = Index {
            version: crate::header::VERSION,
            recording,
            room,
            participants: participants.collect(),
            tracks: tracks.collect(),
        };
        crate::header::to_json(&index)
    }

    /// The list must be written again: the last attempt failed.
    pub fn names_unwritten(&mut self) {
        self.names_changed = true;
    }

    /// The summary must be written again: the last attempt failed.
    pub fn shape_unwritten(&mut self) {
        self.shape_changed = true;
    }
}

#[derive(Serialize)]
struct Index<'a> {
    version: u32,
    recording: RecordingId,
    room: &'a str,
    participants: Vec<IndexParticipant<'a>>,
    tracks: Vec<IndexTrack<'a>>,
}

#[derive(Serialize)]
struct IndexParticipant<'a> {
    participant: u16,
    identity: &'a str,
    name: &'a str,
}

#[derive(Serialize)]
struct IndexTrack<'a> {
    track: u16,
    participant: u16,
    name: &'a str,
    source: crate::journal::body::Source,
}

/// A gap of `packets` by track.
pub fn gap(from_us: u64, until_us: u64, reason: GapReason, packets: BTreeMap<u16, u64>) -> Gap {
    Gap {
        from_us,
        until_us: until_us.max(from_us),
        reason,
        packets,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::body::{MediaKind, Source};

    fn track() -> Track {
        Track {
            track: 0,
            sid: "TR_a".into(),
            participant: 1,
            kind: MediaKind::Video,
            source: Source::Camera,
            name: "camera".into(),
            mime: "video/VP8".into(),
            payload_type: 96,
            red_payload_type: None,
            clock_rate: 90_000,
            channels: 0,
            ssrc: 1,
            width: 640,
            height: 360,
            encrypted: false,
            extensions: BTreeMap::new(),
        }
    }

    fn counts(ledger: &Ledger) -> (u64, u64, u64) {
        let entry = &ledger.contents().tracks[0];
        (entry.expected, entry.stored, entry.lost)
    }

    #[test]
    fn what_never_came_is_counted_by_the_numbers() {
        let mut ledger = Ledger::default();
        let number = ledger
            .track_started(track(), 0)
            .expect("is the first")
            .track;
        for sequence in [100, 101, 103, 106, 105, 103] {
            ledger.packet(number, 0, sequence, sequence);
        }
        assert_eq!(
            counts(&ledger),
            (7, 5, 2),
            "102 and 104 never came, 103 came twice"
        );
        assert_eq!(ledger.contents().tracks[0].until_us, 106);
    }

    #[test]
    fn another_layer_has_numbers_of_its_own() {
        let mut ledger = Ledger::default();
        let number = ledger
            .track_started(track(), 0)
            .expect("is the first")
            .track;
        ledger.packet(number, 0, 10, 0);
        ledger.layer_changed(number, 1, 1280, 720, 2);
        ledger.packet(number, 1, 70_000, 1);
        ledger.packet(number, 0, 11, 2);
        ledger.layer_changed(number, 0, 640, 360, 1);
        ledger.packet(number, 0, 500, 3);
        assert_eq!(counts(&ledger), (4, 4, 0));
    }

    #[test]
    fn a_jump_across_the_window_forgets_nothing_that_is_in_it() {
        let mut run = Run::new(0);
        assert!(run.packet(5000) && run.packet(4999) && !run.packet(4999));
        assert!(
            !run.packet(5000 - WINDOW),
            "too old to be told from a repeated one"
        );
        assert_eq!((run.expected(), run.stored), (5001, 3));
    }

    #[test]
    fn what_was_dropped_before_it_was_counted_is_expected_and_lost() {
        let mut ledger = Ledger::default();
        let number = ledger
            .track_started(track(), 0)
            .expect("is the first")
            .track;
        ledger.packet(number, 0, 10, 0);
        let dropped = gap(1, 2, GapReason::Overflow, BTreeMap::from([(number, 7)]));
        ledger.gap(&dropped, &BTreeMap::new());
        ledger.packet(number, 0, 18, 3);
        assert_eq!(counts(&ledger), (9, 2, 7));
    }

    #[test]
    fn what_a_failing_disk_takes_back_is_lost_and_counted_once() {
        let mut ledger = Ledger::default();
        let number = ledger
            .track_started(track(), 0)
            .expect("is the first")
            .track;
        ledger.packet(number, 0, 10, 0);
        ledger.mark_durable();
        ledger.packet(number, 0, 11, 1);
        ledger.packet(number, 0, 12, 1);
        let lost = ledger.take_back();
        assert_eq!(lost, BTreeMap::from([(number, 2)]));
        let mut packets = lost.clone();
        *packets.entry(number).or_default() += 3;
        ledger.gap(&gap(1, 2, GapReason::Disk, packets), &lost);
        ledger.packet(number, 0, 16, 3);
        assert_eq!(
            counts(&ledger),
            (7, 2, 5),
            "10 and 16 are there, 11 to 15 are not"
        );
        assert_eq!(ledger.take_back(), BTreeMap::from([(number, 1)]));
    }

    #[test]
    fn numbers_go_on_after_a_restart() {
        let mut first = Ledger::default();
        first.joined("PA_a", "a", "A", 0);
        first.track_started(track(), 0);
        let mut second = Ledger::resume(first.contents());
        let again = second.joined("PA_a", "a", "A", 9).expect("a new session");
        assert_eq!(again.participant, 2);
        assert_eq!(second.track_started(track(), 9).expect("has room").track, 2);
        assert_eq!(second.contents().participants.len(), 2);
        assert_eq!(second.present().len(), 1);
    }

    #[test]
    fn names_are_in_the_index_only() {
        let mut ledger = Ledger::resume(Contents::default());
        ledger.joined("PA_a", "doctor-wang", "王医生", 0);
        ledger.track_started(track(), 0);
        let recording = RecordingId::new(crate::wall::Wall(0), [0; 10]);
        let index = ledger.take_index(recording, "ward 7").expect("is new");
        let index = String::from_utf8(index).expect("JSON is UTF-8");
        assert!(index.contains("doctor-wang") && index.contains("ward 7"));
        assert_eq!(ledger.take_index(recording, "ward 7"), None);
        let contents = serde_json::to_string(&ledger.contents()).expect("can be written");
        for name in ["doctor-wang", "王医生", "PA_a", "TR_a"] {
            assert!(!contents.contains(name), "{name}");
        }
    }
}
