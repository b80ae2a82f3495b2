//! The connection that we offer: what a client with two connections receives, and how both sides come
//! to agree on it.
//!
//! Such a client publishes over a connection that it offers ([`negotiation`](super::negotiation)) and
//! receives over another one, of which every section is ours. An offer shows what the slot table wants;
//! the answer makes it flow. There is never a second offer before the first is answered: what changes
//! meanwhile goes into the next one, and offers keep a distance, so that a room that fills does not
//! drown its clients in them. A section is never taken back; one that lost its track is idle until it
//! carries another.

use std::time::{Duration, Instant};

use rand::RngExt;
use sfu::id::{TransportId, WorkerId};
use sfu::media::{MediaKind, Mid};
use sfu::shard::command::Command;
use sfu::transport::params::{ExtensionIds, Fingerprint, IceCredentials};

use super::negotiation::session_id;
use super::participant::{Connections, Participant, ParticipantKey, Path};
use super::slots::Assignment;
use super::{Removal, Room};
use crate::sdp::answered::takes;
use crate::sdp::params::extension_ids;
use crate::sdp::{Answer, Reply, Section, SectionKind, build, catalogue, offer};
use crate::sid;
use crate::wire::proto::leave_request::Action;
use crate::wire::proto::signal_response::Message;
use crate::wire::proto::{DisconnectReason, SessionDescription};

/// Between two offers to one client.
const OFFER_INTERVAL: Duration = Duration::from_millis(150);
/// A client that has not answered for so long will not.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// A connection that we offer.
#[derive(Debug)]
pub struct Offering {
    id: TransportId,
    worker: WorkerId,
    /// Our newest credentials.
    ice: IceCredentials,
    /// The number of our session descriptions for it.
    session_id: u64,
    /// How many offers there were.
    offers: u32,
    /// Everything that was ever offered in it, in order.
    sections: Vec<Section>,
    unanswered: Option<Unanswered>,
    /// When the last offer was made.
    offered_at: Option<Instant>,
    /// There is something that no offer has said.
    is_wanted: bool,
    /// The client may have lost its path: the next offer restarts ICE.
    must_restart: bool,
    agreed: Option<Agreed>,
    /// Since when media may flow.
    connected_at: Option<Instant>,
}

/// An offer that is under way.
#[derive(Clone, Copy, Debug)]
struct Unanswered {
    id: u32,
    since: Instant,
    restarts: bool,
    /// How many sections it has.
    sections: usize,
}

/// What the client has answered.
#[derive(Debug)]
struct Agreed {
    ice: IceCredentials,
    fingerprint: Fingerprint,
    extensions: ExtensionIds,
    has_data: bool,
}

impl Offering {
    fn new(worker: WorkerId) -> Self {
        let id = TransportId::on(worker, sid::next_number());
        let mid = Mid::from("0").expect("short enough");
        Self {
            id,
            worker,
            ice: IceCredentials::generate(id, rand::rng().random()),
            session_id: session_id(),
            offers: 0,
            sections: vec![catalogue::data(mid)],
            unanswered: None,
            offered_at: None,
            is_wanted: true,
            must_restart: false,
            agreed: None,
            connected_at: None,
        }
    }

    /// The worker that has it, or will have it.
    pub fn worker(&self) -> WorkerId {
        self.worker
    }

    /// Where the media plane has it, once there was an answer.
    pub fn path(&self) -> Option<Path> {
        self.agreed.as_ref().map(|_| Path {
            worker: self.worker,
            transport: self.id,
        })
    }

    /// Media may flow.
    pub fn note_connected(&mut self, now: Instant) {
        self.connected_at.get_or_insert(now);
    }

    /// Since when media may flow, and whether there are data channels to wait for.
    pub fn readiness(&self) -> Option<(Instant, bool)> {
        let has_data = self.agreed.as_ref().is_some_and(|agreed| agreed.has_data);
        self.connected_at.map(|at| (at, has_data))
    }

    /// When the next offer may be made, if there is something to say.
    fn due(&self) -> Option<Instant> {
        let is_due = self.is_wanted && self.unanswered.is_none();
        let at = self.offered_at.map(|at| at + OFFER_INTERVAL);
        is_due.then_some(at).flatten()
    }

    fn may_offer(&self, now: Instant) -> bool {
        self.is_wanted && self.unanswered.is_none() && self.due().is_none_or(|at| at <= now)
    }

    /// Adds a section for tracks of this kind.
    fn add_section(&mut self, kind: MediaKind) {
        let number = self.sections.len().to_string();
        let mid = Mid::from(&number).expect("there are fewer sections than sixteen digits count");
        self.sections.push(catalogue::media(mid, kind));
    }

    /// The sections that may carry tracks.
    fn slots(&self) -> Vec<(Mid, MediaKind)> {
        let alive = self.sections.iter().filter(|section| !section.is_rejected);
        alive
            .filter_map(|section| match section.kind {
                SectionKind::Media(kind) => Some((section.mid, kind)),
                SectionKind::Data | SectionKind::Other => None,
            })
            .collect()
    }

    /// Begins an offer. Returns its number.
    fn begin(&mut self, now: Instant) -> u32 {
        // What nobody has answered has no path yet.
        let restarts = std::mem::take(&mut self.must_restart) && self.agreed.is_some();
        if restarts {
            self.ice = IceCredentials::generate(self.id, rand::rng().random());
        }
        self.offers += 1;
        self.offered_at = Some(now);
        self.is_wanted = false;
        self.unanswered = Some(Unanswered {
            id: self.offers,
            since: now,
            restarts,
            sections: self.sections.len(),
        });
        self.offers
    }

    /// Whether an answer of this number may be one to the offer that is under way.
    fn awaits(&self, answer: &Answer, id: u32) -> bool {
        let Some(offer) = &self.unanswered else {
            return false;
        };
        // Some SDKs do not number their answers. What such a client answered before its socket broke
        // has the credentials of before, too.
        let is_numbered = id != 0;
        let is_old = offer.restarts
            && self
                .agreed
                .as_ref()
                .is_some_and(|one| one.ice == answer.ice);
        if is_numbered { id == offer.id } else { !is_old }
    }

    /// Compares an answer with what was offered and agreed before. Returns it without what was not
    /// offered; `None` if it is no answer to that, or of another transport.
    fn agree(&mut self, answer: Answer) -> Option<(Answer, Vec<Command>)> {
        let offer = self.unanswered.take()?;
        let answer = answer.to(&self.sections[..offer.sections])?;
        for (ours, section) in self.sections.iter_mut().zip(&answer.sections) {
            ours.is_rejected = section.is_rejected;
        }
        let extensions = extension_ids(&answer.sections);
        let transport = self.id;
        let Some(agreed) = &mut self.agreed else {
            let params = answer.transport(self.ice.clone());
            self.agreed = Some(Agreed {
                ice: answer.ice.clone(),
                fingerprint: answer.fingerprint,
                extensions,
                has_data: params.sctp.is_some(),
            });
            let params = Box::new(params);
            let commands = vec![
                Command::AddTransport { transport, params },
                Command::OpenDataChannels { transport },
            ];
            return Some((answer, commands));
        };
        // Without a restart neither may change; the certificate never.
        let is_same_path = agreed.ice == answer.ice || offer.restarts;
        if agreed.fingerprint != answer.fingerprint || !is_same_path {
            return None;
        }
        let mut commands = Vec::new();
        if offer.restarts {
            agreed.ice = answer.ice.clone();
            commands.push(Command::RestartIce {
                transport,
                local: self.ice.clone(),
                remote: answer.ice.clone(),
            });
        }
        let extensions = agreed.extensions.or(extensions);
        if std::mem::replace(&mut agreed.extensions, extensions) != extensions {
            commands.push(Command::LearnExtensions {
                transport,
                extensions,
            });
        }
        Some((answer, commands))
    }
}

impl Room {
    /// When somebody is to be made an offer, if there is anything to say.
    pub fn due(&self) -> Option<Instant> {
        let seats = self.participants.values();
        let present = seats.filter(|one| one.detached.is_none());
        present.filter_map(|one| one.offering.as_ref()?.due()).min()
    }

    /// Makes the offers that are due, and gives up on clients that do not answer theirs.
    pub fn make_due_offers(&mut self, now: Instant) {
        let keys: Vec<ParticipantKey> = self.participants.keys().copied().collect();
        for key in keys {
            let is_late = |one: &Participant| {
                let offer = one.offering.as_ref()?.unanswered.as_ref()?;
                let waited = now.saturating_duration_since(offer.since);
                Some(one.detached.is_none() && waited >= ANSWER_TIMEOUT)
            };
            if self.participants.get(&key).and_then(is_late) == Some(true) {
                let reason = DisconnectReason::ConnectionTimeout;
                self.remove(now, key, Removal::told(reason, Action::Reconnect));
            } else {
                self.offer_if_due(now, key);
            }
        }
    }

    /// Brings what is offered to a participant in line with its slots.
    pub(super) fn reconcile_offering(&mut self, now: Instant, key: ParticipantKey) {
        self.begin_offering(key);
        let Some(participant) = self.participants.get(&key) else {
            return;
        };
        let more = self.sections_to_add(participant);
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        let Some(offering) = &mut participant.offering else {
            return;
        };
        offering.is_wanted |= !more.is_empty() || participant.subscriptions.slots.is_stale();
        self.offer_if_due(now, key);
    }

    /// A client that has come back is offered its connection anew.
    pub(super) fn offer_again(&mut self, now: Instant, key: ParticipantKey) {
        let participant = self.participants.get_mut(&key);
        if let Some(offering) = participant.and_then(|one| one.offering.as_mut()) {
            // Whether it has seen the offer that was under way nobody knows; the next one says it all.
            offering.unanswered = None;
            offering.offered_at = None;
            offering.is_wanted = true;
            offering.must_restart = true;
        }
        self.reconcile_offering(now, key);
    }

    /// Who may receive has a connection for it.
    fn begin_offering(&mut self, key: ParticipantKey) {
        let needs_one = |one: &Participant| {
            let may = one.permissions.can_subscribe && one.connections == Connections::Two;
            may && one.offering.is_none()
        };
        if !self.participants.get(&key).is_some_and(needs_one) {
            return;
        }
        let worker = self.worker_for(key);
        if let (Some(participant), Some(worker)) = (self.participants.get_mut(&key), worker) {
            participant.offering = Some(Offering::new(worker));
        }
    }

    /// The kinds of the sections that are missing, as far as there may be more.
    fn sections_to_add(&self, participant: &Participant) -> Vec<MediaKind> {
        let sections = participant.offering.as_ref().map(|one| one.sections.len());
        let Some(sections) = sections else {
            return Vec::new();
        };
        let wanted = self.wanted(participant);
        let missing = participant.subscriptions.slots.missing(&wanted);
        let kinds = [
            (MediaKind::Audio, missing.audio),
            (MediaKind::Video, missing.video),
        ];
        let kinds = kinds
            .into_iter()
            .flat_map(|(kind, count)| (0..count).map(move |_| kind));
        let left = self.setup.limits.sdp_sections_max.saturating_sub(sections);
        kinds.take(left).collect()
    }

    fn offer_if_due(&mut self, now: Instant, key: ParticipantKey) {
        let is_due = |one: &Participant| {
            let offering = one.offering.as_ref();
            one.detached.is_none() && offering.is_some_and(|offering| offering.may_offer(now))
        };
        if self.participants.get(&key).is_some_and(is_due) {
            self.add_sections(key);
            self.make_offer(now, key);
        }
    }

    fn add_sections(&mut self, key: ParticipantKey) {
        let Some(participant) = self.participants.get(&key) else {
            return;
        };
        let more = self.sections_to_add(participant);
        let participant = self.participants.get_mut(&key);
        if let Some(offering) = participant.and_then(|one| one.offering.as_mut()) {
            for kind in more {
                offering.add_section(kind);
            }
        }
        self.learn_sections(key);
        self.fill_slots(key);
    }

    /// Tells the slot table which sections there are.
    fn learn_sections(&mut self, key: ParticipantKey) {
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        if let Some(offering) = &participant.offering {
            let slots = offering.slots();
            let lost = participant.subscriptions.slots.learn(&slots);
            self.unsubscribe(key, &lost);
        }
    }

    fn make_offer(&mut self, now: Instant, key: ParticipantKey) {
        let Some(participant) = self.participants.get(&key) else {
            return;
        };
        let sections = participant.offering.iter().flat_map(|one| &one.sections);
        let carried: Vec<Reply> = sections
            .map(|section| self.carried(participant, section))
            .collect();
        let mid_to_track_id = self.track_names(participant);
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        let Some(offering) = &mut participant.offering else {
            return;
        };
        let id = offering.begin(now);
        self.setup.port.allow(&participant.sid, offering.id);
        let description = build::Transport {
            session_id: offering.session_id,
            version: id.into(),
            ice: &offering.ice,
            fingerprint: self.setup.fingerprint,
            candidates: &self.setup.candidates[usize::from(offering.worker.0)],
            tcp_candidates: self.setup.port.candidates(),
            message_size_max: self.setup.message_size_max,
        };
        let sdp = offer(&offering.sections, &description, &carried);
        participant.outlet.send(Message::Offer(SessionDescription {
            r#type: "offer".to_owned(),
            sdp,
            id,
            mid_to_track_id,
        }));
        participant.subscriptions.slots.note_shown();
    }

    /// What a section of ours carries.
    fn carried(&self, participant: &Participant, section: &Section) -> Reply {
        if section.is_rejected {
            return Reply::Reject;
        }
        if section.kind == SectionKind::Data {
            return Reply::Data;
        }
        let slots = &participant.subscriptions.slots;
        let sending = slots.carried_by(section.mid).and_then(|assignment| {
            let sending = self.sending(assignment)?;
            // Clients find out which track it is by its name in the description. A section keeps the
            // name under which it was first shown, and Firefox makes up names of its own; all of them
            // take a track's name for that of the stream.
            let is_named_by_stream = participant.is_firefox || slots.is_misnamed(section.mid);
            Some(match is_named_by_stream {
                true => sending.named_by_stream(),
                false => sending,
            })
        });
        sending.map_or(Reply::Idle, Reply::Send)
    }

    /// Takes an answer: what was offered flows.
    pub fn answered(&mut self, now: Instant, key: ParticipantKey, answer: Answer, id: u32) {
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        let Some(offering) = &mut participant.offering else {
            return;
        };
        if !offering.awaits(&answer, id) {
            return;
        }
        let Some((answer, commands)) = offering.agree(answer) else {
            let reason = DisconnectReason::StateMismatch;
            return self.remove(now, key, Removal::told(reason, Action::Reconnect));
        };
        let path = Path {
            worker: offering.worker,
            transport: offering.id,
        };
        let fresh = participant.subscriptions.slots.note_agreed();
        for command in commands {
            self.spread.send(path.worker, command);
        }
        let mut refused: Vec<Assignment> = Vec::new();
        for (mid, assignment) in fresh {
            let section = answer.sections.iter().find(|section| section.mid == mid);
            match section.filter(|section| takes(section)) {
                Some(section) => self.subscribe(key, path, section, &assignment),
                None => refused.push(assignment),
            }
        }
        for assignment in refused {
            self.give_up(now, assignment.subscription);
        }
        self.learn_sections(key);
        self.reconcile(now, key);
        self.settle_demands(now);
    }
}
