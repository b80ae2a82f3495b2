//! The recording of a room, as far as the room decides about it: who wants it, what the recorder
//! acknowledges, and of whom packets may enter.
//!
//! Like the room itself this is state and decisions: what is to be done leaves as [`Order`]s, what
//! has become of it comes back as [`Report`]s, and nothing is told to anybody as recorded before the
//! recorder has said so. A participant's gate in the media plane opens only after his consent is on
//! the disk, and closes at once. What others are told stands in [`notices`](super::notices).

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use recorder::journal::body::{ConsentState, Source};
use recorder::recording::{Fact, Published, Ticket};
use sfu::id::{PublicationId, WorkerId};
use sfu::shard::command::Command;

use super::Room;
use super::participant::{Participant, ParticipantKey};
use super::tracks::Track;
use crate::consent::{ATTRIBUTE, Consent, Policy, RECORDING_ATTRIBUTE};
use crate::egress::{self, Ask, EgressRefusal, Target};
use crate::sid;
use crate::wire::proto::{EgressInfo, EgressStatus, TrackSource, encryption};

/// A room that must be recorded and is not tries again after so long.
const RETRY: Duration = Duration::from_secs(10);

/// The number of a question whose answer is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskId(pub u64);

/// What the recorder is to do, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// Begin, or go on with what this room has left open.
    Begin(Policy),
    /// Record what is published on this worker too.
    Attach(WorkerId),
    /// Write this down. With a ticket, say when it is on the disk.
    Tell(Fact, Option<Ticket>),
    /// Close the recording.
    Stop(&'static str),
}

/// What the recorder says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// It records: the folder, the shares and the header are on the disk.
    Begun {
        /// The name of the recording.
        recording: String,
    },
    /// It does not record.
    Refused {
        /// For want of room on the disk, or because of another bound.
        is_full: bool,
        /// Why, in plain words.
        text: String,
    },
    /// A fact is on the disk.
    Durable(Ticket),
    /// Nothing has reached the disk for too long; why, in plain words.
    Interrupted(String),
    /// It does again.
    Resumed,
    /// The recording is closed.
    Closed,
}

/// How far recording has come, as acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Off,
    Beginning,
    On,
    Interrupted,
    Ending,
}

/// Whether a participant's packets may enter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gate {
    /// They may not.
    #[default]
    Closed,
    /// His consent is on its way to the disk.
    Waiting(Ticket),
    /// They may.
    Open,
}

/// The recording of a room.
#[derive(Debug, Default)]
pub struct RoomRecording {
    policy: Policy,
    phase: Phase,
    recording: Option<String>,
    /// Those that are not over.
    egresses: Vec<EgressInfo>,
    /// Who waits for the recording to begin.
    asked: BTreeMap<String, AskId>,
    /// What was asked for while the last recording was being closed.
    is_wanted_again: bool,
    /// It was to be begun and was not.
    has_failed: bool,
    retry_at: Option<Instant>,
    /// The recorder says that nothing reaches the disk.
    is_stuck: bool,
    /// Workers whose packets the recorder is too slow for.
    overflowed: BTreeSet<WorkerId>,
    attached: BTreeSet<WorkerId>,
    tickets: u64,
    orders: Vec<Order>,
    answers: Vec<(AskId, Result<EgressInfo, EgressRefusal>)>,
}

impl RoomRecording {
    /// Nothing is recorded yet; `left` goes on as soon as there is something to record.
    pub fn new(policy: Policy, left: Vec<EgressInfo>) -> Self {
        Self {
            policy,
            egresses: left,
            ..Self::default()
        }
    }

    /// The policy of this room, once it is known.
    pub fn choose(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// Everybody here must be recorded.
    pub fn is_for_all(&self) -> bool {
        self.policy == Policy::Must
    }

    /// The recorder has acknowledged that it records.
    pub fn is_acknowledged(&self) -> bool {
        self.phase == Phase::On
    }

    /// There is a recording, or something of one to be closed.
    pub fn is_going_on(&self) -> bool {
        self.phase != Phase::Off
    }

    fn has_begun(&self) -> bool {
        matches!(self.phase, Phase::On | Phase::Interrupted)
    }

    /// What a participant is told about itself.
    fn word(&self, gate: Gate) -> Option<&'static str> {
        match (&self.phase, gate) {
            (Phase::On, Gate::Open) => Some("on"),
            (Phase::On, _) => Some("held"),
            (Phase::Interrupted, _) => Some("interrupted"),
            (Phase::Off, _) if self.has_failed => Some("failed"),
            (Phase::Beginning, _) if self.has_failed => Some("failed"),
            _ => None,
        }
    }

    fn tell(&mut self, fact: Fact) {
        if self.has_begun() {
            self.orders.push(Order::Tell(fact, None));
        }
    }
}

impl Room {
    /// Orders for the recorder that have come up since the last time: those to be carried out before
    /// the commands for the media plane, so that no packet comes of what the recorder has not heard
    /// of, and those after them.
    pub fn take_orders(&mut self) -> (Vec<Order>, Vec<Order>) {
        if self.recording.has_begun() {
            let open: Vec<WorkerId> = self.spread.workers().collect();
            for worker in open {
                if self.recording.attached.insert(worker) {
                    self.recording.orders.push(Order::Attach(worker));
                }
            }
        }
        let orders = std::mem::take(&mut self.recording.orders);
        let is_told = |order: &Order| matches!(order, Order::Tell(..) | Order::Begin(_));
        orders.into_iter().partition(is_told)
    }

    /// Answers that have come up since the last time.
    pub fn take_answers(&mut self) -> Vec<(AskId, Result<EgressInfo, EgressRefusal>)> {
        std::mem::take(&mut self.recording.answers)
    }

    /// Whether something of a recording is still to be closed.
    pub fn is_recording(&self) -> bool {
        self.recording.is_going_on()
    }

    /// Somebody asks for the room to be recorded.
    pub fn start_egress(&mut self, ask_id: AskId, ask: Ask) {
        match self.admit(&ask) {
            Ok(()) => {
                let id = sid::egress_id();
                let mut info = egress::begun(id.clone(), &self.sid, &self.name, ask.request);
                if self.recording.has_begun() {
                    self.activate(&mut info);
                    self.notify_begun(&info);
                    self.recording.answers.push((ask_id, Ok(info.clone())));
                } else {
                    self.recording.asked.insert(id, ask_id);
                }
                self.recording.egresses.push(info);
                self.begin_recording();
            }
            Err(refusal) => self.recording.answers.push((ask_id, Err(refusal))),
        }
    }

    fn admit(&self, ask: &Ask) -> Result<(), EgressRefusal> {
        if self.recording.policy == Policy::Never {
            return Err(EgressRefusal::Never);
        }
        // A guest is recorded in his own room, if at all.
        let participants = self.participants.values();
        let mut seen = participants.filter(|one| !one.is_guest());
        match &ask.target {
            Target::Room => Ok(()),
            Target::Participant(identity) => seen
                .any(|one| one.identity == *identity)
                .then_some(())
                .ok_or(EgressRefusal::NoParticipant),
            Target::Tracks(tracks) => {
                let published = seen.flat_map(|one| &one.tracks);
                let published: Vec<&String> = published
                    .filter(|track| track.is_published())
                    .map(|track| &track.info.sid)
                    .collect();
                let is_there = |track: &String| published.contains(&track);
                tracks
                    .iter()
                    .all(is_there)
                    .then_some(())
                    .ok_or(EgressRefusal::NoTrack)
            }
        }
    }

    /// Somebody does not want the room to be recorded any more.
    pub fn stop_egress(&mut self, ask_id: AskId, id: &str) {
        let answer = self.end_egress(id);
        self.recording.answers.push((ask_id, answer));
    }

    fn end_egress(&mut self, id: &str) -> Result<EgressInfo, EgressRefusal> {
        let recording = &mut self.recording;
        let is_meant = |one: &EgressInfo| one.egress_id == id;
        let place = recording.egresses.iter().position(is_meant);
        let place = place.ok_or(EgressRefusal::NoEgress)?;
        let is_last = recording.egresses.len() == 1;
        if is_last && recording.policy == Policy::Must {
            return Err(EgressRefusal::Must);
        }
        if !is_last || recording.phase == Phase::Off {
            let mut info = recording.egresses.remove(place);
            egress::advance(&mut info, EgressStatus::EgressComplete, "");
            self.notify_egress("egress_ended", &info);
            return Ok(info);
        }
        let info = &mut recording.egresses[place];
        if info.status() != EgressStatus::EgressEnding {
            egress::advance(info, EgressStatus::EgressEnding, "");
            let info = info.clone();
            self.notify_egress("egress_updated", &info);
            self.end_recording("stopped");
        }
        Ok(self.recording.egresses[place].clone())
    }

    /// The room may have become one that must be recorded, or its recording is to be tried again.
    pub(super) fn record_if_due(&mut self, now: Instant) {
        let recording = &self.recording;
        let is_due = recording.retry_at.is_none_or(|at| at <= now);
        let has_publisher = || self.participants.values().any(Participant::is_publisher);
        let is_wanted = match recording.policy {
            Policy::Must => has_publisher(),
            // Only those are left here that a killed process had begun.
            Policy::WithConsent => {
                let has_people = self.participants.values().any(|one| !one.is_guest());
                recording.asked.is_empty() && !recording.egresses.is_empty() && has_people
            }
            Policy::Never => false,
        };
        if recording.phase == Phase::Off && is_due && is_wanted {
            self.begin_recording();
        }
    }

    fn begin_recording(&mut self) {
        match self.recording.phase {
            Phase::Off => {
                self.recording.phase = Phase::Beginning;
                let policy = self.recording.policy;
                self.recording.orders.push(Order::Begin(policy));
            }
            Phase::Ending => self.recording.is_wanted_again = true,
            Phase::Beginning | Phase::On | Phase::Interrupted => {}
        }
    }

    /// Closes the recording: whoever is there is not recorded from now on.
    pub(super) fn end_recording(&mut self, reason: &'static str) {
        if matches!(self.recording.phase, Phase::Off | Phase::Ending) {
            return;
        }
        self.recording.phase = Phase::Ending;
        for worker in std::mem::take(&mut self.recording.attached) {
            self.spread.send(worker, Command::DetachTap);
        }
        self.recording.orders.push(Order::Stop(reason));
        self.close_gates();
        self.show_recording();
    }

    /// The room ends, and the recording with it.
    pub fn finish_recording(&mut self) {
        if self.recording.has_begun() || self.recording.phase == Phase::Beginning {
            self.end_recording("the room ended");
        }
        self.recording.is_wanted_again = false;
    }

    /// Nothing has been heard of the recorder for too long: what was asked for is over.
    pub fn abandon_recording(&mut self) {
        self.closed(Some("the recorder did not answer"));
    }

    /// Takes note of what the recorder says.
    pub fn report(&mut self, now: Instant, report: Report) {
        match report {
            Report::Begun { recording } => self.begun(recording),
            Report::Refused { is_full, text } => self.refused_recording(now, is_full, &text),
            Report::Durable(ticket) => self.durable(ticket),
            Report::Interrupted(reason) => self.stuck(Some(&reason)),
            Report::Resumed => {
                self.stuck(None);
                // What was to be written meanwhile is lost, and pictures build on each other.
                for &worker in &self.recording.attached {
                    self.spread.send(worker, Command::RefreshTap);
                }
            }
            Report::Closed => {
                let was_asked = self.recording.phase == Phase::Ending;
                self.closed((!was_asked).then_some("the recording was closed by the recorder"));
                if !was_asked {
                    self.recording.has_failed = true;
                    self.recording.retry_at = Some(now + RETRY);
                    self.show_recording();
                }
            }
        }
    }

    fn begun(&mut self, recording: String) {
        if self.recording.phase != Phase::Beginning {
            // It was stopped before it had begun.
            self.recording.recording = Some(recording);
            return;
        }
        self.recording.phase = Phase::On;
        self.recording.has_failed = false;
        self.recording.retry_at = None;
        self.recording.recording = Some(recording);
        self.describe();
        if self.recording.policy == Policy::Must && self.recording.egresses.is_empty() {
            let request = egress::whole_room(&self.name);
            let info = egress::begun(sid::egress_id(), &self.sid, &self.name, request);
            self.recording.egresses.push(info);
        }
        let mut egresses = std::mem::take(&mut self.recording.egresses);
        for info in &mut egresses {
            // What a killed process has begun has been told already.
            let is_new = info.file_results.is_empty();
            self.activate(info);
            match is_new {
                true => self.notify_begun(info),
                false => self.notify_egress("egress_updated", info),
            }
            if let Some(ask) = self.recording.asked.remove(&info.egress_id) {
                self.recording.answers.push((ask, Ok(info.clone())));
            }
        }
        self.recording.egresses = egresses;
        self.show_recording();
    }

    /// Told twice: applications note on the first that there is an egress, and only on the second,
    /// which LiveKit sends when it is active, that it records.
    fn notify_begun(&mut self, info: &EgressInfo) {
        self.notify_egress("egress_started", info);
        self.notify_egress("egress_updated", info);
    }

    fn activate(&self, info: &mut EgressInfo) {
        egress::advance(info, EgressStatus::EgressActive, "");
        if let Some(recording) = &self.recording.recording {
            egress::carried_by(info, recording);
        }
    }

    /// Writes down who is there and what there is to record.
    fn describe(&mut self) {
        let keys: Vec<ParticipantKey> = self.participants.keys().copied().collect();
        for key in keys {
            self.describe_participant(key);
        }
    }

    /// Writes down who somebody is and what there is of him to record.
    pub(super) fn describe_participant(&mut self, key: ParticipantKey) {
        self.note_joined(key);
        let participant = &self.participants[&key];
        if participant.is_guest() {
            return;
        }
        let published = participant.tracks.iter().filter(|one| one.is_published());
        let facts: Vec<Fact> = published
            .flat_map(|track| {
                let muted = track.info.muted.then(|| muted(&participant.sid, track));
                [published_fact(participant, track)]
                    .into_iter()
                    .chain(muted)
            })
            .collect();
        facts.into_iter().for_each(|fact| self.recording.tell(fact));
    }

    fn refused_recording(&mut self, now: Instant, is_full: bool, text: &str) {
        let was_first = !std::mem::replace(&mut self.recording.has_failed, true);
        self.recording.phase = Phase::Off;
        self.recording.retry_at = Some(now + RETRY);
        if was_first {
            // The words are ours and name nobody.
            tracing::error!(room = %self.id, reason = text, "a room is not recorded");
        }
        let asked = std::mem::take(&mut self.recording.asked);
        for (id, ask) in asked {
            self.recording.egresses.retain(|one| one.egress_id != id);
            let text = text.to_owned();
            let refusal = EgressRefusal::Recorder { is_full, text };
            self.recording.answers.push((ask, Err(refusal)));
        }
        if self.recording.policy != Policy::Must && self.recording.egresses.is_empty() {
            // Whoever asked has been answered; the room never counted on it.
            self.recording.has_failed = false;
            self.recording.retry_at = None;
        }
        self.show_recording();
    }

    fn durable(&mut self, ticket: Ticket) {
        let waits = |one: &&mut Participant| one.gate == Gate::Waiting(ticket);
        let Some(participant) = self.participants.values_mut().find(waits) else {
            return;
        };
        participant.gate = Gate::Open;
        let key = participant.key;
        self.set_gate(key);
        self.show_recording();
    }

    /// The tap of a worker has dropped packets, or does not any more.
    pub(super) fn tap_overflowed(&mut self, worker: WorkerId, is_so: bool) {
        match is_so {
            true => self.recording.overflowed.insert(worker),
            false => self.recording.overflowed.remove(&worker),
        };
        self.interrupted("packets come faster than they can be written");
    }

    fn stuck(&mut self, reason: Option<&str>) {
        self.recording.is_stuck = reason.is_some();
        self.interrupted(reason.unwrap_or_default());
    }

    fn interrupted(&mut self, reason: &str) {
        let is_well = !self.recording.is_stuck && self.recording.overflowed.is_empty();
        let phase = match is_well {
            true => Phase::On,
            false => Phase::Interrupted,
        };
        if !self.recording.has_begun() || self.recording.phase == phase {
            return;
        }
        let reason = if is_well { "" } else { reason };
        self.recording.phase = phase;
        let mut egresses = std::mem::take(&mut self.recording.egresses);
        for info in &mut egresses {
            let status = info.status();
            egress::advance(info, status, reason);
            self.notify_egress("egress_updated", info);
        }
        self.recording.egresses = egresses;
        self.show_recording();
    }

    fn closed(&mut self, error: Option<&str>) {
        if self.recording.phase == Phase::Off {
            return;
        }
        let is_wanted_again = std::mem::take(&mut self.recording.is_wanted_again);
        self.recording.phase = Phase::Off;
        self.recording.recording = None;
        self.recording.is_stuck = false;
        self.recording.overflowed.clear();
        for worker in std::mem::take(&mut self.recording.attached) {
            self.spread.send(worker, Command::DetachTap);
        }
        self.close_gates();
        let asked = std::mem::take(&mut self.recording.asked);
        let (kept, over): (Vec<_>, Vec<_>) = std::mem::take(&mut self.recording.egresses)
            .into_iter()
            .partition(|one| is_wanted_again && asked.contains_key(&one.egress_id));
        self.recording.egresses = kept;
        for mut info in over {
            let status = match error {
                Some(_) => EgressStatus::EgressFailed,
                None => EgressStatus::EgressComplete,
            };
            egress::advance(&mut info, status, error.unwrap_or_default());
            self.notify_egress("egress_ended", &info);
            if let Some(ask) = asked.get(&info.egress_id) {
                self.recording
                    .answers
                    .push((*ask, Err(EgressRefusal::Closing)));
            }
        }
        if is_wanted_again {
            self.recording.asked = asked;
            self.begin_recording();
        }
        self.show_recording();
    }

    /// The worker has lost its part of the room, or its tap: it gets another one when it has a part
    /// again.
    pub(super) fn tap_lost(&mut self, worker: WorkerId) {
        self.recording.attached.remove(&worker);
        self.recording.overflowed.remove(&worker);
    }

    /// Somebody has come: he is written down, with what he has said.
    pub(super) fn note_joined(&mut self, key: ParticipantKey) {
        let Some(participant) = self.participants.get(&key) else {
            return;
        };
        if !self.recording.has_begun() || participant.is_guest() {
            return;
        }
        let fact = Fact::Joined {
            participant: participant.sid.clone(),
            identity: participant.identity.clone(),
            name: participant.name.clone(),
        };
        self.recording.tell(fact);
        self.note_consent(key);
    }

    /// Writes down what somebody has said, and lets his packets in once that is on the disk.
    fn note_consent(&mut self, key: ParticipantKey) {
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        let fact = Fact::Consent {
            participant: participant.sid.clone(),
            state: state(participant.consent),
        };
        if participant.consent != Consent::Granted || !self.recording.has_begun() {
            participant.gate = Gate::Closed;
            self.recording.tell(fact);
        } else if participant.gate == Gate::Closed {
            self.recording.tickets += 1;
            let ticket = Ticket(self.recording.tickets);
            participant.gate = Gate::Waiting(ticket);
            let order = Order::Tell(fact, Some(ticket));
            self.recording.orders.push(order);
        }
        self.set_gate(key);
    }

    /// Somebody has answered, in whatever way. A gate closes before anybody is told.
    pub(super) fn answer_consent(&mut self, key: ParticipantKey) {
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        let answer = participant.attributes.get(ATTRIBUTE).map(String::as_str);
        let consent = participant.consent.after(answer);
        if std::mem::replace(&mut participant.consent, consent) != consent {
            self.note_consent(key);
            self.show_recording();
        }
    }

    /// Tells the media plane whether a participant's packets may enter, if it does not know.
    pub(super) fn set_gate(&mut self, key: ParticipantKey) {
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        let is_open = participant.gate == Gate::Open;
        if let Some(transport) = &mut participant.transport
            && std::mem::replace(&mut transport.is_gate_open, is_open) != is_open
        {
            let command = Command::SetTapGate {
                transport: transport.id,
                is_open,
            };
            self.spread.send(transport.worker, command);
        }
    }

    fn close_gates(&mut self) {
        let keys: Vec<ParticipantKey> = self.participants.keys().copied().collect();
        for key in keys {
            if let Some(participant) = self.participants.get_mut(&key) {
                participant.gate = Gate::Closed;
            }
            self.set_gate(key);
        }
    }

    /// Tells everybody what is recorded of him, where that has changed.
    pub(super) fn show_recording(&mut self) {
        let recording = &self.recording;
        let mut changed = Vec::new();
        for participant in self.participants.values_mut() {
            let word = recording.word(participant.gate);
            let attributes = &mut participant.attributes;
            if attributes.get(RECORDING_ATTRIBUTE).map(String::as_str) == word {
                continue;
            }
            match word {
                Some(word) => {
                    attributes.insert(RECORDING_ATTRIBUTE.to_owned(), word.to_owned());
                }
                None => drop(attributes.remove(RECORDING_ATTRIBUTE)),
            }
            changed.push(participant.key);
        }
        for key in changed {
            self.announce_to_all(key);
        }
        if self.counts().is_recorded != self.told.is_recorded {
            self.tell_counts();
        }
    }

    /// A track has been published.
    pub(super) fn note_published(&mut self, key: ParticipantKey, publication: PublicationId) {
        let Some(participant) = self.participants.get(&key) else {
            return;
        };
        let fact = participant
            .published(publication)
            .map(|track| published_fact(participant, track));
        if let Some(fact) = fact {
            self.recording.tell(fact);
        }
    }

    /// A track has been muted or is not any more.
    pub(super) fn note_muted(&mut self, key: ParticipantKey, publication: PublicationId) {
        if let Some(participant) = self.participants.get(&key)
            && !participant.is_guest()
            && let Some(track) = participant.published(publication)
        {
            let fact = muted(&participant.sid, track);
            self.recording.tell(fact);
        }
    }

    /// Somebody has gone.
    pub(super) fn note_left(&mut self, participant: &Participant) {
        if participant.is_guest() {
            return;
        }
        self.recording.tell(Fact::Left {
            participant: participant.sid.clone(),
        });
    }

    /// Somebody speaks, or not any more.
    pub(super) fn note_speaking(&mut self, participant: String, is_active: bool) {
        self.recording.tell(Fact::Speaking {
            participant,
            is_active,
        });
    }

    /// Somebody has written something to somebody. What is not of one whose packets may enter is
    /// nobody's business.
    pub(super) fn note_chat(&mut self, key: ParticipantKey, payload: &[u8]) {
        let Some(participant) = self.participants.get(&key) else {
            return;
        };
        if participant.gate == Gate::Open
            && let Some(text) = self.chat.read(key, payload)
        {
            let participant = participant.sid.clone();
            self.recording.tell(Fact::Chat { participant, text });
        }
    }
}

fn published_fact(participant: &Participant, track: &Track) -> Fact {
    Fact::Published(Box::new(Published {
        publication: track.publication,
        participant: participant.sid.clone(),
        track: track.info.sid.clone(),
        source: match track.info.source() {
            TrackSource::Microphone => Source::Microphone,
            TrackSource::Camera => Source::Camera,
            TrackSource::ScreenShare => Source::ScreenShare,
            TrackSource::ScreenShareAudio => Source::ScreenShareAudio,
            TrackSource::Unknown => Source::Unknown,
        },
        name: track.info.name.clone(),
        is_encrypted: track.info.encryption() != encryption::Type::None,
    }))
}

fn state(consent: Consent) -> ConsentState {
    match consent {
        Consent::Unknown => ConsentState::Unknown,
        Consent::Granted => ConsentState::Granted,
        Consent::Refused => ConsentState::Refused,
        Consent::Withdrawn => ConsentState::Withdrawn,
    }
}

fn muted(participant: &str, track: &Track) -> Fact {
    Fact::Muted {
        participant: participant.to_owned(),
        track: track.info.sid.clone(),
        is_muted: track.info.muted,
    }
}
