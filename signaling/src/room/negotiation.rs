//! Clients' offers and our answers: what was agreed about the transport that a client offers.
//!
//! Where it has one connection, that carries everything; where it has two
//! ([`offering`](super::offering)), what it publishes. Each offer is compared with what was agreed before. The first makes a transport; fresh ICE
//! credentials restart it; sections that send are matched with announced tracks, sections that
//! receive become slots. The answer says everything anew, and the media plane hears what changed.

use std::collections::HashMap;
use std::time::Instant;

use rand::RngExt;
use sfu::id::{PublicationId, SubscriptionId, TransportId, WorkerId};
use sfu::media::{Codec, LayerWish, MediaKind, Mid};
use sfu::shard::command::Command;
use sfu::transport::params::IceCredentials;
use sfu::unit::Ssrc;

use super::backup;
use super::participant::{Connections, Participant, ParticipantKey, Path, Transport};
use super::slots::Assignment;
use super::tracks;
use super::{Removal, Room};
use crate::sdp::build::{self, Sending};
use crate::sdp::{Direction, Offer, Reply, Section, SectionKind, answer, params};
use crate::sid;
use crate::wire::proto::leave_request::Action;
use crate::wire::proto::signal_response::Message;
use crate::wire::proto::{DisconnectReason, SessionDescription, TrackSource, TrackSubscribed};

/// A fresh assignment of a track to a slot.
pub(super) fn assignment(publication: PublicationId) -> Assignment {
    let mut random = rand::rng();
    Assignment {
        publication,
        subscription: SubscriptionId(sid::next_number()),
        ssrc: Ssrc(random.random_range(1..=u32::MAX)),
        rtx_ssrc: Ssrc(random.random_range(1..=u32::MAX)),
        is_shown: false,
        is_agreed: false,
    }
}

impl Room {
    /// Takes an offer and answers it.
    pub fn negotiate(&mut self, now: Instant, key: ParticipantKey, offer: &Offer, id: u32) {
        let Some(worker) = self.worker_for(key) else {
            return;
        };
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        let Some(commands) = agree_on_transport(participant, offer, worker) else {
            // Another certificate is another connection, which only a new session can have.
            let reason = DisconnectReason::StateMismatch;
            self.remove(now, key, Removal::told(reason, Action::Reconnect));
            return;
        };
        for command in commands {
            if let Command::AddTransport { transport, .. } = &command {
                self.setup.port.allow(&participant.sid, *transport);
            }
            self.spread.send(worker, command);
        }
        self.set_gate(key);
        let have_tracks_changed = self.match_tracks(key, offer);
        if have_tracks_changed {
            self.announce(key);
            self.show_connection(key);
        }
        self.take_slots(key, offer);
        self.fill_slots(key);
        self.answer(key, offer, id);
        if have_tracks_changed {
            self.record_if_due(now);
            self.reconcile_all(now);
        } else {
            self.reconcile(now, key);
        }
        self.settle_demands(now);
    }

    /// The worker that has a participant's transports, or shall have them.
    pub(super) fn worker_for(&mut self, key: ParticipantKey) -> Option<WorkerId> {
        let known = self.participants.get(&key)?.worker();
        Some(known.unwrap_or_else(|| {
            let here = self.participants.values().filter_map(Participant::worker);
            self.spread.choose(here)
        }))
    }

    /// Publishes the tracks that have found a section and unpublishes those that lost theirs. Says
    /// whether there were any.
    fn match_tracks(&mut self, key: ParticipantKey, offer: &Offer) -> bool {
        let Some(participant) = self.participants.get_mut(&key) else {
            return false;
        };
        let Some(transport) = participant.transport.as_ref() else {
            return false;
        };
        let (worker, transport) = (transport.worker, transport.id);
        let is_kept = |track: &mut tracks::Track| {
            let mid = track.mid;
            mid.is_none_or(|mid| still_sends(offer, mid, &track.cids))
        };
        let ended = participant.tracks.extract_if(.., |track| !is_kept(track));
        let ended: Vec<tracks::Track> = ended.collect();
        for track in &ended {
            participant.levels.remove(&track.publication);
            for command in track.ending() {
                self.spread.send(worker, command);
            }
        }
        let mut have_changed = self.end_backups(key, offer);
        let Some(participant) = self.participants.get_mut(&key) else {
            return false;
        };
        let mut begun = Vec::new();
        let mut backed = Vec::new();
        for section in &offer.sections {
            let published = backup::publish(participant, transport, section);
            if let Some((track, commands)) = published {
                for command in commands {
                    self.spread.send(worker, command);
                }
                backed.push(track);
                continue;
            }
            let published = publish(participant, transport, section);
            if let Some((publication, commands)) = published {
                for command in commands {
                    self.spread.send(worker, command);
                }
                begun.push(publication);
            }
        }
        have_changed |= !begun.is_empty() || !ended.is_empty() || !backed.is_empty();
        for track in ended {
            self.forget_track(track.publication);
            if let Some(info) = self.participants.get_mut(&key).map(Participant::info) {
                self.notify_track("track_unpublished", info, track.info);
            }
        }
        for publication in begun {
            self.published(key, publication);
        }
        for track in backed {
            self.begin_backed(track);
        }
        have_changed
    }

    /// A track has found its section: the recorder and the outside hear of it.
    fn published(&mut self, key: ParticipantKey, publication: PublicationId) {
        self.note_published(key, publication);
        self.notify_published(key, publication);
    }

    /// The outside hears of a track.
    pub(super) fn notify_published(&mut self, key: ParticipantKey, publication: PublicationId) {
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        let info = participant.info();
        if let Some(track) = participant.published(publication) {
            let track = track.info.clone();
            self.notify_track("track_published", info, track);
        }
    }

    /// Learns which sections there are to send in.
    fn take_slots(&mut self, key: ParticipantKey, offer: &Offer) {
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        // Some SDKs offer sections to receive in over either connection.
        if participant.connections == Connections::Two {
            participant.asked_at = None;
            return;
        }
        let lost = participant.subscriptions.slots.learn(&receiving(offer));
        if !participant.subscriptions.slots.is_offer_awaited() {
            participant.asked_at = None;
        }
        self.unsubscribe(key, &lost);
    }

    /// Writes the answer and tells the media plane about subscriptions that it is the first to show.
    fn answer(&mut self, key: ParticipantKey, offer: &Offer, id: u32) {
        let Some(participant) = self.participants.get(&key) else {
            return;
        };
        let replies = offer.sections.iter();
        let replies: Vec<Reply> = replies.map(|one| self.reply(participant, one)).collect();
        let mid_to_track_id = self.track_names(participant);
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        let Some(transport) = &mut participant.transport else {
            return;
        };
        transport.answers += 1;
        let description = build::Transport {
            session_id: transport.session_id,
            version: transport.answers,
            ice: &transport.local_ice,
            fingerprint: self.setup.fingerprint,
            candidates: &self.setup.candidates[usize::from(transport.worker.0)],
            tcp_candidates: self.setup.port.candidates(),
            message_size_max: self.setup.message_size_max,
        };
        let sdp = answer(offer, &description, &replies);
        let path = transport.path();
        participant.outlet.send(Message::Answer(SessionDescription {
            r#type: "answer".to_owned(),
            sdp,
            id,
            mid_to_track_id,
        }));
        if participant.connections == Connections::Two {
            return;
        }
        // What we answer is settled by it.
        participant.subscriptions.slots.note_shown();
        let fresh = participant.subscriptions.slots.note_agreed();
        for (mid, assignment) in fresh {
            let section = offer.sections.iter().find(|section| section.mid == mid);
            let section = section.expect("slots are sections of the offer that was just learnt");
            self.subscribe(key, path, section, &assignment);
        }
    }

    /// Brings a track of another worker to this one. Where it is already, this changes nothing.
    pub(super) fn open_relay(&mut self, worker: WorkerId, publication: PublicationId) {
        let found = self.participants.values().find_map(|publisher| {
            let mut tracks = publisher.tracks.iter();
            let agreed = tracks.find_map(|track| track.agreed_as(publication))?;
            Some((publisher.publishing_path()?, Box::new(agreed.clone())))
        });
        if let Some((path, params)) = found
            && path.worker != worker
        {
            let command = Command::OpenRelay {
                publication,
                owner: path.worker,
                publisher: path.transport,
                params,
            };
            self.spread.send(worker, command);
        }
    }

    /// Has a track sent to a participant, as was agreed.
    pub(super) fn subscribe(
        &mut self,
        key: ParticipantKey,
        Path { worker, transport }: Path,
        section: &Section,
        assignment: &Assignment,
    ) {
        let is_video = section.kind == SectionKind::Media(MediaKind::Video);
        let rtx_ssrc = is_video.then_some(assignment.rtx_ssrc);
        let subscription = assignment.subscription;
        let params = params::subscription(section, assignment.ssrc, rtx_ssrc);
        let path = Path { worker, transport };
        if self.back(key, path, section, assignment, &params) {
            return self.tell_publisher(assignment.publication);
        }
        self.open_relay(worker, assignment.publication);
        let subscribe = Command::Subscribe {
            transport,
            subscription,
            publication: assignment.publication,
            params: Box::new(params),
        };
        self.spread.send(worker, subscribe);
        if is_video {
            self.forget_held(key, assignment.publication);
            self.set_importance(key, assignment.publication, subscription);
        }
        let participant = self.participants.get(&key);
        let wishes = participant.map(|one| &one.subscriptions.wishes);
        let wish = wishes.and_then(|wishes| wishes.get(&assignment.publication));
        if let Some(wish) = wish.copied().filter(|wish| *wish != LayerWish::Best) {
            let command = Command::SetWish { subscription, wish };
            self.spread.send(worker, command);
        }
        self.tell_publisher(assignment.publication);
    }

    /// A publisher hears of its first subscriber.
    pub(super) fn tell_publisher(&mut self, publication: PublicationId) {
        for publisher in self.participants.values_mut() {
            let tracks = &mut publisher.tracks;
            // One who is not there is told when he comes back.
            if let Some(track) = tracks.iter_mut().find(|one| one.publication == publication)
                && !track.is_subscribed
                && publisher.detached.is_none()
            {
                track.is_subscribed = true;
                let track_sid = track.info.sid.clone();
                let message = Message::TrackSubscribed(TrackSubscribed { track_sid });
                publisher.outlet.send(message);
            }
        }
    }

    fn reply(&self, participant: &Participant, section: &Section) -> Reply {
        if section.is_rejected {
            return Reply::Reject;
        }
        if section.kind == SectionKind::Data {
            return Reply::Data;
        }
        let mut tracks = participant.tracks.iter();
        let carried = tracks.find_map(|track| Some((track, track.preferred_in(section.mid)?)));
        if let Some((track, preferred)) = carried {
            let mut codecs = agreed_codecs(track, preferred, section);
            // A backup is the one codec that it was announced as.
            let is_backup = track.mid != Some(section.mid);
            codecs.retain(|params| !is_backup || preferred == Some(params.codec));
            return Reply::Receive {
                codecs,
                audio: track.audio_hints(),
            };
        }
        if participant.connections == Connections::Two {
            return Reply::Idle;
        }
        let assignment = participant.subscriptions.slots.carried_by(section.mid);
        assignment
            .and_then(|assignment| self.sending(assignment))
            .map_or(Reply::Idle, Reply::Send)
    }

    /// What is said of a track that is sent.
    pub(super) fn sending(&self, assignment: &Assignment) -> Option<Sending> {
        let publisher = self.publisher_of(assignment.publication)?;
        let track = publisher.published(assignment.publication)?;
        Some(Sending {
            stream: format!("{}|{}", publisher.sid, track.info.stream),
            track: track.info.sid.clone(),
            cname: publisher.sid.clone(),
            ssrc: assignment.ssrc,
            rtx_ssrc: (track.kind == MediaKind::Video).then_some(assignment.rtx_ssrc),
            stereo: track.audio_hints().stereo,
        })
    }

    /// The track of every section that carries one; clients replace their list by each answer's.
    pub(super) fn track_names(&self, participant: &Participant) -> HashMap<String, String> {
        participant
            .subscriptions
            .slots
            .assignments()
            .filter_map(|(mid, assignment)| {
                let publisher = self.publisher_of(assignment.publication)?;
                let track = publisher.published(assignment.publication)?;
                Some((mid.to_string(), track.info.sid.clone()))
            })
            .collect()
    }
}

/// Compares an offer's transport with what was agreed. `None` if the two cannot be one transport.
fn agree_on_transport(
    participant: &mut Participant,
    offer: &Offer,
    worker: WorkerId,
) -> Option<Vec<Command>> {
    let Some(transport) = &mut participant.transport else {
        return Some(vec![make_transport(participant, offer, worker)]);
    };
    if transport.fingerprint != offer.fingerprint {
        return None;
    }
    let mut commands = Vec::new();
    if transport.remote_ice != offer.ice {
        transport.local_ice = IceCredentials::generate(transport.id, rand::rng().random());
        transport.remote_ice = offer.ice.clone();
        commands.push(Command::RestartIce {
            transport: transport.id,
            local: transport.local_ice.clone(),
            remote: transport.remote_ice.clone(),
        });
    }
    let extensions = transport.extensions;
    let extensions = extensions.or(params::extension_ids(&offer.sections));
    if transport.extensions != extensions {
        transport.extensions = extensions;
        let transport = transport.id;
        commands.push(Command::LearnExtensions {
            transport,
            extensions,
        });
    }
    if let Some(params) = offer.sctp().filter(|_| !transport.has_data) {
        transport.has_data = true;
        let transport = transport.id;
        commands.push(Command::AddSctp { transport, params });
    }
    Some(commands)
}

fn make_transport(participant: &mut Participant, offer: &Offer, worker: WorkerId) -> Command {
    let id = TransportId::on(worker, sid::next_number());
    let local_ice = IceCredentials::generate(id, rand::rng().random());
    participant.transport = Some(Transport {
        id,
        worker,
        local_ice: local_ice.clone(),
        remote_ice: offer.ice.clone(),
        fingerprint: offer.fingerprint,
        extensions: params::extension_ids(&offer.sections),
        has_data: offer.sctp().is_some(),
        session_id: session_id(),
        answers: 0,
        is_gate_open: false,
        connected_at: None,
    });
    Command::AddTransport {
        transport: id,
        params: Box::new(params::transport(offer, local_ice)),
    }
}

/// 62 bits, so that no reader's signed number overflows (RFC 8829 section 5.2.1).
pub(super) fn session_id() -> u64 {
    rand::rng().random::<u64>() >> 2
}

pub(super) fn sends(section: &Section) -> bool {
    let directions = [Direction::SendOnly, Direction::SendReceive];
    !section.is_rejected && directions.contains(&section.direction)
}

/// Whether a section still carries the track that it was matched with.
pub(super) fn still_sends(offer: &Offer, mid: Mid, cids: &[String]) -> bool {
    let section = offer.sections.iter().find(|section| section.mid == mid);
    section
        .filter(|section| sends(section))
        .is_some_and(|section| {
            // A section without a name keeps what it has; Firefox leaves the name out at times.
            let named = section.msid.as_ref();
            named.is_none_or(|msid| cids.contains(&msid.track))
        })
}

/// Publishes the waiting track that a section is for, if there is one.
fn publish(
    participant: &mut Participant,
    transport: TransportId,
    section: &Section,
) -> Option<(PublicationId, Vec<Command>)> {
    let SectionKind::Media(kind) = section.kind else {
        return None;
    };
    let is_taken = participant
        .tracks
        .iter()
        .any(|one| one.preferred_in(section.mid).is_some());
    if !sends(section) || is_taken {
        return None;
    }
    let cid = section.msid.as_ref().map(|msid| msid.track.as_str());
    let track = tracks::matching(&mut participant.tracks, kind, cid)?;
    let codecs = agreed_codecs(track, track.preferred, section);
    // Without a codec in common the section stays idle and the track waits for a better one.
    let first = codecs.first()?.codec;
    track.publish(section.mid, cid, first);
    let publication = track.publication;
    let params = params::publication(section, kind, codecs, &track.announced_layers());
    let params = Box::new(params);
    track.agreed = Some(params.clone());
    let mut commands = vec![Command::Publish {
        transport,
        publication,
        params,
    }];
    if track.info.muted {
        commands.push(Command::SetMuted {
            publication,
            muted: true,
        });
    }
    if kind == MediaKind::Video && track.info.source() == TrackSource::ScreenShare {
        // A smaller layer of a screen shows that there was text, not which.
        commands.push(Command::SetTapWish {
            publication,
            wish: Some(LayerWish::Best),
        });
    }
    Some((publication, commands))
}

/// What a publisher may use, in the order in which it is wanted.
pub(super) fn agreed_codecs(
    track: &tracks::Track,
    preferred: Option<Codec>,
    section: &Section,
) -> Vec<sfu::media::CodecParams> {
    params::publication_codecs(section, preferred, !track.info.disable_red)
}

/// The sections that a client offers to receive in.
fn receiving(offer: &Offer) -> Vec<(Mid, MediaKind)> {
    offer
        .sections
        .iter()
        .filter(|section| !section.is_rejected && section.direction == Direction::ReceiveOnly)
        .filter(|section| !section.codecs.is_empty())
        .filter_map(|section| match section.kind {
            SectionKind::Media(kind) => Some((section.mid, kind)),
            SectionKind::Data | SectionKind::Other => None,
        })
        .collect()
}
