//! What a client asks of its room, and what it is told.
//!
//! Every request is checked against what the participant may do; a refusal is told with its reason
//! and changes nothing. Offers are in [`negotiation`](super::negotiation), answers in
//! [`offering`](super::offering).

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use sfu::id::PublicationId;
use sfu::media::LayerWish;
use sfu::shard::command::Command;

use super::participant::{Participant, ParticipantKey};
use super::subscriptions::{Audience, Chooser, wish};
use super::tracks::{Track, TrackRefusal};
use super::{Removal, Room};
use crate::consent::{ATTRIBUTE, RECORDING_ATTRIBUTE};
use crate::sdp::{Answer, Offer};
use crate::wire::proto::leave_request::Action;
use crate::wire::proto::request_response::{self, Reason};
use crate::wire::proto::signal_request::Message as Asked;
use crate::wire::proto::signal_response::Message;
use crate::wire::proto::{
    AddTrackRequest, AudioTrackFeature, DisconnectReason, MuteTrackRequest, RequestResponse,
    SubscriptionError, SubscriptionPermissionUpdate, SubscriptionResponse, TrackPublishedResponse,
    TrackSource, UpdateLocalAudioTrack, UpdateLocalVideoTrack, UpdateParticipantMetadata,
    UpdateSubscription, UpdateTrackSettings,
};

/// Track ids and permissions that one request may list; far more than a room has tracks to show.
pub(super) const LIST_MAX: usize = 2_048;
/// Attributes of one participant.
pub(super) const ATTRIBUTES_MAX: usize = 256;

/// A request of a client. Pings are answered by its session.
pub enum Request {
    /// An offer that was read, with its number.
    Offer(Box<Offer>, u32),
    /// An answer to an offer of ours that was read, with the number that it is said to have.
    Answer(Box<Answer>, u32),
    /// A session description that could not be read.
    BadDescription,
    /// Anything else.
    Signal(Box<Asked>),
    /// Its session ended it.
    End,
}

impl Room {
    /// Does what a client asks.
    pub fn request(&mut self, now: Instant, key: ParticipantKey, request: Request) {
        match request {
            Request::Offer(offer, id) => self.negotiate(now, key, &offer, id),
            Request::Answer(answer, id) => self.answered(now, key, *answer, id),
            Request::BadDescription => {
                let reason = DisconnectReason::JoinFailure;
                self.remove(now, key, Removal::told(reason, Action::Disconnect));
            }
            Request::Signal(asked) => self.signal(now, key, *asked),
            Request::End => {
                let reason = DisconnectReason::SignalClose;
                self.remove(now, key, Removal::gone(reason));
            }
        }
    }

    fn signal(&mut self, now: Instant, key: ParticipantKey, asked: Asked) {
        match asked {
            Asked::AddTrack(request) => self.add_track(key, request),
            Asked::Mute(request) => self.mute(key, request),
            Asked::Subscription(request) => self.choose(now, key, &request, Chooser::Client),
            Asked::TrackSetting(settings) => self.set_wishes(now, key, &settings),
            Asked::SubscriptionPermission(request) => {
                let is_small = request.track_permissions.len() <= LIST_MAX;
                if is_small {
                    self.set_audience(now, key, &Audience::from_proto(request));
                }
            }
            Asked::UpdateMetadata(request) => self.update_metadata(key, request),
            Asked::UpdateAudioTrack(request) => self.update_audio(key, &request),
            Asked::UpdateVideoTrack(request) => self.update_video(key, &request),
            Asked::SyncState(state) => self.heed(now, key, state),
            Asked::Leave(_) => {
                let reason = DisconnectReason::ClientInitiated;
                self.remove(now, key, Removal::gone(reason));
            }
            Asked::PublishDataTrackRequest(request) => {
                let request = request_response::Request::PublishDataTrack(request);
                self.refuse(key, 0, Reason::UnsupportedType, Some(request));
            }
            Asked::UnpublishDataTrackRequest(request) => {
                let request = request_response::Request::UnpublishDataTrack(request);
                self.refuse(key, 0, Reason::UnsupportedType, Some(request));
            }
            Asked::StoreDataBlobRequest(request) => {
                self.refuse(key, request.request_id, Reason::UnsupportedType, None);
            }
            Asked::GetDataBlobRequest(request) => {
                self.refuse(key, request.request_id, Reason::UnsupportedType, None);
            }
            // A lite agent learns a client's addresses from its checks, not from candidates,
            // whichever connection they are for; the rest is for tests of the protocol's own server.
            _ => {}
        }
    }

    fn refuse(
        &self,
        key: ParticipantKey,
        request_id: u32,
        reason: Reason,
        request: Option<request_response::Request>,
    ) {
        let response = RequestResponse {
            request_id,
            reason: reason as i32,
            message: reason.as_str_name().to_owned(),
            request,
        };
        self.tell(key, Message::RequestResponse(response));
    }

    /// Announces a track, or says why it cannot be.
    pub(super) fn add_track(&mut self, key: ParticipantKey, request: AddTrackRequest) {
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        let limits = &self.setup.limits;
        let announced = match announce(participant, &request, limits) {
            Ok(announced) => announced,
            Err(reason) => {
                let request = request_response::Request::AddTrack(request);
                return self.refuse(key, 0, reason, Some(request));
            }
        };
        let response = TrackPublishedResponse {
            cid: request.cid,
            track: Some(announced.info.clone()),
        };
        self.tell(key, Message::TrackPublished(response));
    }

    fn mute(&mut self, key: ParticipantKey, request: MuteTrackRequest) {
        let participant = self.participants.get_mut(&key);
        if let Some(track) = participant.and_then(|one| one.track_mut(&request.sid)) {
            track.is_silenced = false;
        }
        if !self.set_muted(key, &request.sid, request.muted) {
            let request = request_response::Request::Mute(request);
            self.refuse(key, 0, Reason::NotFound, Some(request));
        }
    }

    /// Stops or resumes forwarding a track and tells the others. Says no if there is no such track.
    pub(super) fn set_muted(&mut self, key: ParticipantKey, sid: &str, muted: bool) -> bool {
        let participant = self.participants.get_mut(&key);
        let Some((participant, place)) = participant.and_then(|participant| {
            let mut tracks = participant.tracks.iter();
            let place = tracks.position(|track| track.info.sid == sid)?;
            Some((participant, place))
        }) else {
            return false;
        };
        let track = &mut participant.tracks[place];
        let was_muted = std::mem::replace(&mut track.info.muted, muted);
        if was_muted == muted || !track.is_published() {
            return true;
        }
        let publication = track.publication;
        if let Some(transport) = &participant.transport {
            let backup = track.backup.as_ref().filter(|one| one.mid.is_some());
            let backup = backup.map(|one| one.publication);
            for publication in [Some(publication), backup].into_iter().flatten() {
                let command = Command::SetMuted { publication, muted };
                self.spread.send(transport.worker, command);
            }
        }
        self.announce(key);
        self.note_muted(key, publication);
        if muted {
            self.silence(publication);
        }
        true
    }

    /// Subscribes to tracks, or ends subscriptions, by name.
    pub(super) fn choose(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        request: &UpdateSubscription,
        by: Chooser,
    ) {
        let nested = request
            .participant_tracks
            .iter()
            .flat_map(|one| &one.track_sids);
        let names: Vec<&String> = request.track_sids.iter().chain(nested).collect();
        for name in names.into_iter().take(LIST_MAX) {
            match self.find_for(key, name) {
                Ok(publication) => {
                    if let Some(participant) = self.participants.get_mut(&key) {
                        let subscriptions = &mut participant.subscriptions;
                        subscriptions.choose(publication, request.subscribe, by);
                    }
                }
                Err(error) if request.subscribe => {
                    let response = SubscriptionResponse {
                        track_sid: name.clone(),
                        err: error as i32,
                    };
                    self.tell(key, Message::SubscriptionResponse(response));
                }
                // It is not received, as was wanted.
                Err(_) => {}
            }
        }
        self.reconcile(now, key);
    }

    /// The track of that name, if this participant may receive it. One that it may not know of is
    /// said not to be there.
    pub(super) fn find_for(
        &self,
        key: ParticipantKey,
        track: &str,
    ) -> Result<PublicationId, SubscriptionError> {
        let not_found = SubscriptionError::SeTrackNotfound;
        let subscriber = self.participants.get(&key).ok_or(not_found)?;
        if !subscriber.permissions.can_subscribe {
            return Err(SubscriptionError::SeUnknown);
        }
        let seen = |one: &&Participant| one.key != key && !one.permissions.is_hidden;
        for publisher in self.participants.values().filter(seen) {
            let mut tracks = publisher.tracks.iter().filter(|one| one.is_published());
            if let Some(found) = tracks.find(|one| one.info.sid == track) {
                let (sid, identity) = (&subscriber.sid, &subscriber.identity);
                let is_admitted = publisher.audience.includes(sid, identity, track);
                let refusal = SubscriptionError::SeUnknown;
                return is_admitted.then_some(found.publication).ok_or(refusal);
            }
        }
        Err(not_found)
    }

    fn set_wishes(&mut self, now: Instant, key: ParticipantKey, settings: &UpdateTrackSettings) {
        let wish = wish(settings);
        for name in settings.track_sids.iter().take(LIST_MAX) {
            let Ok(publication) = self.find_for(key, name) else {
                continue;
            };
            self.set_wish(key, publication, wish);
            self.set_priority(key, publication, settings.priority);
            self.settle_demand(now, publication);
        }
    }

    /// How much of a track is wanted.
    pub(super) fn set_wish(
        &mut self,
        key: ParticipantKey,
        publication: PublicationId,
        wish: LayerWish,
    ) {
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        let path = participant.receiving_path();
        let subscriptions = &mut participant.subscriptions;
        if subscriptions.wishes.insert(publication, wish) == Some(wish) {
            return;
        }
        // The media plane hears of a wish when it hears of the subscription.
        if let Some(assignment) = subscriptions.slots.find(publication)
            && assignment.is_agreed
            && let Some(path) = path
        {
            let subscription = assignment.subscription;
            let command = Command::SetWish { subscription, wish };
            self.spread.send(path.worker, command);
        }
    }

    /// Changes to whom a participant's tracks may go, and tells those for whom that changes
    /// something.
    pub(super) fn set_audience(&mut self, now: Instant, key: ParticipantKey, audience: &Audience) {
        let Some(publisher) = self.participants.get_mut(&key) else {
            return;
        };
        let before = std::mem::replace(&mut publisher.audience, audience.clone());
        if before == *audience {
            return;
        }
        publisher.is_audience_chosen = true;
        let publisher = &self.participants[&key];
        if publisher.permissions.is_hidden {
            return;
        }
        for other in self.participants.values().filter(|one| one.key != key) {
            for track in publisher.tracks.iter().filter(|one| one.is_published()) {
                let track = &track.info.sid;
                let allowed = audience.includes(&other.sid, &other.identity, track);
                if allowed != before.includes(&other.sid, &other.identity, track) {
                    let update = SubscriptionPermissionUpdate {
                        participant_sid: publisher.sid.clone(),
                        track_sid: track.clone(),
                        allowed,
                    };
                    let message = Message::SubscriptionPermissionUpdate(update);
                    other.outlet.send(message);
                }
            }
        }
        self.reconcile_all(now);
    }

    fn update_metadata(&mut self, key: ParticipantKey, request: UpdateParticipantMetadata) {
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        let limits = &self.setup.limits;
        let request_id = request.request_id;
        let claims_ours = !is_unchanged(participant, &request, RECORDING_ATTRIBUTE);
        let may = participant.permissions.can_update_metadata || is_answer(participant, &request);
        if claims_ours || !may {
            let request = request_response::Request::UpdateMetadata(request);
            return self.refuse(key, request_id, Reason::NotAllowed, Some(request));
        }
        let attributes = merged(&participant.attributes, &request.attributes);
        let bytes: usize = attributes
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        let is_small = attributes.len() <= ATTRIBUTES_MAX
            && bytes <= limits.attributes_bytes_max
            && request.metadata.len() <= limits.metadata_bytes_max
            && request.name.len() <= limits.name_bytes_max;
        if !is_small {
            return self.refuse(key, request_id, Reason::LimitExceeded, None);
        }
        participant.attributes = attributes;
        // An empty text says "as before": proto3 knows no difference.
        if !request.metadata.is_empty() {
            participant.metadata = request.metadata;
        }
        if !request.name.is_empty() {
            participant.name = request.name;
        }
        self.answer_consent(key);
        self.announce_to_all(key);
        let response = RequestResponse {
            request_id,
            reason: Reason::Ok as i32,
            ..Default::default()
        };
        self.tell(key, Message::RequestResponse(response));
    }

    fn update_audio(&mut self, key: ParticipantKey, request: &UpdateLocalAudioTrack) {
        let is_known = |feature: &i32| AudioTrackFeature::try_from(*feature).is_ok();
        let mut features: Vec<i32> = request.features.iter().copied().filter(is_known).collect();
        features.sort_unstable();
        features.dedup();
        let found = self.change_track(key, &request.track_sid, |track| {
            track.info.audio_features = features;
        });
        if !found {
            let request = request_response::Request::UpdateAudioTrack(request.clone());
            self.refuse(key, 0, Reason::NotFound, Some(request));
        }
    }

    fn update_video(&mut self, key: ParticipantKey, request: &UpdateLocalVideoTrack) {
        let found = self.change_track(key, &request.track_sid, |track| {
            track.info.width = request.width;
            track.info.height = request.height;
        });
        if !found {
            let request = request_response::Request::UpdateVideoTrack(request.clone());
            self.refuse(key, 0, Reason::NotFound, Some(request));
        }
    }

    fn change_track(
        &mut self,
        key: ParticipantKey,
        sid: &str,
        change: impl FnOnce(&mut Track),
    ) -> bool {
        let participant = self.participants.get_mut(&key);
        let Some(track) = participant.and_then(|one| one.track_mut(sid)) else {
            return false;
        };
        change(track);
        if track.is_published() {
            self.announce(key);
        }
        true
    }
}

/// Attributes with some changed; an empty value takes the name away.
pub(super) fn merged(
    attributes: &BTreeMap<String, String>,
    changes: &HashMap<String, String>,
) -> BTreeMap<String, String> {
    let mut merged = attributes.clone();
    for (name, value) in changes {
        match value.is_empty() {
            true => drop(merged.remove(name)),
            false => drop(merged.insert(name.clone(), value.clone())),
        }
    }
    merged
}

/// Whether somebody may be recorded, he alone says, and nobody can forbid him to: a request that
/// changes nothing but that. The SDKs send along what they know of the rest.
fn is_answer(participant: &Participant, request: &UpdateParticipantMetadata) -> bool {
    let is_same = |new: &str, old: &str| new.is_empty() || new == old;
    let mut others = request.attributes.keys().filter(|name| *name != ATTRIBUTE);
    request.attributes.contains_key(ATTRIBUTE)
        && is_same(&request.metadata, &participant.metadata)
        && is_same(&request.name, &participant.name)
        && others.all(|name| is_unchanged(participant, request, name))
}

/// Whether a request leaves an attribute as it is.
fn is_unchanged(
    participant: &Participant,
    request: &UpdateParticipantMetadata,
    attribute: &str,
) -> bool {
    let new = request.attributes.get(attribute);
    new.is_none() || new == participant.attributes.get(attribute)
}

/// Adds a track to a participant, or another codec to one of its tracks; asking twice is asking
/// once.
fn announce<'a>(
    participant: &'a mut Participant,
    request: &AddTrackRequest,
    limits: &crate::config::Limits,
) -> Result<&'a Track, Reason> {
    let source = TrackSource::try_from(request.source).unwrap_or(TrackSource::Unknown);
    let track = Track::new(request, limits).map_err(|refusal| match refusal {
        TrackRefusal::UnsupportedType => Reason::UnsupportedType,
        TrackRefusal::TooLarge => Reason::LimitExceeded,
    })?;
    if !participant.permissions.may_publish(source) {
        return Err(Reason::NotAllowed);
    }
    if !request.sid.is_empty() {
        let existing = participant
            .track_mut(&request.sid)
            .ok_or(Reason::NotFound)?;
        if existing.backup.is_some() {
            existing.announce_backup(request);
            return Ok(existing);
        }
        existing.cids.extend(track.cids);
        existing.cids.sort_unstable();
        existing.cids.dedup();
        existing.cids.truncate(LIST_MAX);
        return Ok(existing);
    }
    let is_same = |one: &Track| !one.is_published() && one.cids.contains(&request.cid);
    let place = match participant.tracks.iter().position(is_same) {
        Some(place) => place,
        None if participant.tracks.len() >= limits.tracks_per_participant_max => {
            return Err(Reason::LimitExceeded);
        }
        None => {
            participant.tracks.push(track);
            participant.tracks.len() - 1
        }
    };
    Ok(&participant.tracks[place])
}
