//! A seat whose socket is gone, and how its participant takes it back.
//!
//! A broken WebSocket says nothing about the media beside it, which go on: the seat is kept for a
//! while, and the others notice nothing. Whoever comes back with a token of the same key and identity
//! and names the seat gets it, over a socket of its own; the old one is closed. What was said
//! meanwhile is lost and is not repeated: the client is told how things are now, and says itself what
//! it has. Nobody else learns whether there is such a seat.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant, SystemTime};

use sfu::id::PublicationId;
use sfu::media::LayerWish;

use super::outlet::{End, Outlet};
use super::participant::{Connections, Participant, ParticipantKey};
use super::requests::LIST_MAX;
use super::{Removal, Room};
use crate::wire::proto::leave_request::Action;
use crate::wire::proto::participant_info::State;
use crate::wire::proto::signal_response::Message;
use crate::wire::proto::{
    DataChannelReceiveState, DisconnectReason, MuteTrackRequest, ParticipantInfo,
    ReconnectResponse, RoomUpdate, SpeakersChanged, SubscriptionPermissionUpdate, SyncState,
    TrackInfo, TrackPublishedResponse, TrackUnpublishedResponse, UpdateSubscription,
};

/// A page that was left does not come back, but a proxy that was restarted says the same of its
/// clients; those are back within a second or two.
const PAGE_GONE_TIMEOUT: Duration = Duration::from_secs(5);
/// Between the end of a connection and when that is noticed here pass some seconds: what is told
/// anew reaches so far further back than the seat is kept.
pub(super) const NOTICE_MARGIN: Duration = Duration::from_secs(30);
/// People who left in that time: ten times as many as the largest room has places by default.
const DEPARTURES_MAX: usize = 1_000;

/// A seat that is kept for somebody whose socket is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detached {
    until: Instant,
}

/// How a socket broke.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loss {
    /// Nobody knows why, or whether the client does.
    #[default]
    Broken,
    /// The browser said that the page is gone.
    PageGone,
}

/// Somebody who asks for his seat back; the token has been found good.
pub struct Return {
    /// The seat that he says is his.
    pub participant_sid: String,
    /// Who he is, by the token.
    pub identity: String,
    /// The API key that signed it.
    pub api_key: String,
    /// When it expires.
    pub token_expires_at: SystemTime,
    /// What his client says that it has, if that came along.
    pub sync_state: Option<SyncState>,
    /// Where his messages go now.
    pub outlet: Outlet,
    /// The host that he reaches us as.
    pub host: Option<String>,
}

/// Who has left of late, for those who were not there to be told.
#[derive(Debug, Default)]
pub struct Departures(VecDeque<(Instant, ParticipantInfo)>);

impl Departures {
    /// Somebody has gone, who was told of as in `farewell`.
    pub fn note(&mut self, now: Instant, farewell: &ParticipantInfo, keep: Duration) {
        while let Some((at, _)) = self.0.front()
            && (now.saturating_duration_since(*at) > keep || self.0.len() >= DEPARTURES_MAX)
        {
            self.0.pop_front();
        }
        let farewell = ParticipantInfo {
            sid: farewell.sid.clone(),
            identity: farewell.identity.clone(),
            state: State::Disconnected as i32,
            disconnect_reason: farewell.disconnect_reason,
            version: farewell.version,
            ..Default::default()
        };
        self.0.push_back((now, farewell));
    }
}

impl Room {
    /// The socket of a session broke without a goodbye. The participant keeps its seat for a while,
    /// unless it is in another session already.
    pub fn lose(&mut self, now: Instant, key: ParticipantKey, outlet: &Outlet, loss: Loss) {
        let timeout = self.setup.rooms.resume_timeout;
        let timeout = match loss {
            Loss::Broken => timeout,
            Loss::PageGone => timeout.min(PAGE_GONE_TIMEOUT),
        };
        if let Some(participant) = self.participants.get_mut(&key)
            && participant.outlet.is(outlet)
        {
            participant.outlet = Outlet::closed();
            let until = now + timeout;
            participant.detached = Some(Detached { until });
        }
    }

    /// Whether a participant is in the session that has this outlet.
    pub fn is_in_session(&self, key: ParticipantKey, outlet: &Outlet) -> bool {
        let participant = self.participants.get(&key);
        participant.is_some_and(|one| one.outlet.is(outlet))
    }

    /// How many seats are kept for somebody who may come back.
    pub fn detached(&self) -> usize {
        let seats = self.participants.values();
        seats.filter(|one| one.detached.is_some()).count()
    }

    /// Gives up the seats of those who have not come back.
    pub(super) fn give_up_seats(&mut self, now: Instant) {
        let is_over = |one: &&Participant| one.detached.is_some_and(|seat| seat.until <= now);
        let over = self.participants.values().filter(is_over);
        let over: Vec<ParticipantKey> = over.map(|one| one.key).collect();
        for key in over {
            self.remove(now, key, Removal::gone(DisconnectReason::SignalClose));
        }
    }

    /// Somebody left, as the others were told.
    pub(super) fn note_departure(&mut self, now: Instant, farewell: &ParticipantInfo) {
        let keep = self.setup.rooms.resume_timeout + NOTICE_MARGIN;
        self.departures.note(now, farewell, keep);
    }

    /// Gives somebody his seat back, and tells him how things are. `None` if it is not there or not
    /// his.
    pub fn resume(&mut self, now: Instant, back: Return) -> Option<ParticipantKey> {
        let seats = self.participants.values_mut();
        // A guest's seat is where he is.
        let mut seats = seats.filter(|one| !one.is_guest());
        let participant = seats.find(|one| one.sid == back.participant_sid)?;
        if participant.identity != back.identity || participant.api_key != back.api_key {
            return None;
        }
        let key = participant.key;
        let before = std::mem::replace(&mut participant.outlet, back.outlet);
        before.end(End::Replaced);
        participant.detached = None;
        participant.is_sync_awaited = true;
        let expires_at = participant.token_expires_at.max(back.token_expires_at);
        participant.token_expires_at = expires_at;
        let connections = participant.connections;
        if connections == Connections::One {
            // It will make an offer to restart ICE, and need not be asked for one.
            participant.asked_at = Some(now);
            participant.subscriptions.slots.expect_offer();
        }
        self.welcome_back(key, back.host.as_deref());
        if connections == Connections::Two {
            self.offer_again(now, key);
        }
        if let Some(state) = back.sync_state {
            self.heed(now, key, state);
        }
        Some(key)
    }

    /// Tells a client how things are, in the order in which the SDKs want to hear it: first that it
    /// is back, then who is here, so that tracks are known before they are spoken of.
    fn welcome_back(&mut self, key: ParticipantKey, host: Option<&str>) {
        let Some(participant) = self.participants.get(&key) else {
            return;
        };
        let outlet = participant.outlet.clone();
        outlet.send(Message::Reconnect(ReconnectResponse {
            server_info: Some(super::server_info()),
            last_message_seq: participant.data.last_sequence,
            ice_servers: self.ice_servers(&participant.sid, host),
            ..Default::default()
        }));
        // A client answers what it is told about itself by what it takes for right, so it must have
        // been muted before.
        let silenced = participant.tracks.iter().filter(|one| one.is_silenced);
        for track in silenced {
            let sid = track.info.sid.clone();
            outlet.send(Message::Mute(MuteTrackRequest { sid, muted: true }));
        }
        let everybody = self.everybody_for(key);
        outlet.send(super::update(everybody));
        let room = Some(self.info());
        outlet.send(Message::RoomUpdate(RoomUpdate { room }));
        self.repeat_own_tracks(key);
        self.repeat_audiences(key);
        let seen = self.participants.values().filter(|one| {
            let is_itself = one.key == key;
            is_itself || !one.permissions.is_hidden
        });
        let speakers = seen.map(Participant::speaker).collect();
        outlet.send(Message::SpeakersChanged(SpeakersChanged { speakers }));
        self.tell_connections(key);
        self.tell_held(key);
    }

    /// All who are here as a participant may know them, itself first, and before them those who have
    /// gone. Some SDKs take those for gone who are not in the list; others want to be told.
    fn everybody_for(&mut self, key: ParticipantKey) -> Vec<ParticipantInfo> {
        let mut here: Vec<ParticipantInfo> = Vec::new();
        here.extend(self.participants.get_mut(&key).map(Participant::info));
        let others = self.participants.values_mut();
        let others = others.filter(|one| one.key != key && !one.permissions.is_hidden);
        here.extend(others.map(Participant::info));
        // Who has come back under the same identity takes the place of the one who left.
        let identities: HashSet<&str> = here.iter().map(|one| one.identity.as_str()).collect();
        let gone = self.departures.0.iter().map(|(_, info)| info);
        let gone = gone.filter(|info| !identities.contains(info.identity.as_str()));
        let mut everybody: Vec<ParticipantInfo> = gone.cloned().collect();
        everybody.extend(here);
        everybody
    }

    /// What a publisher is told about tracks of its own.
    fn repeat_own_tracks(&mut self, key: ParticipantKey) {
        let Some(participant) = self.participants.get(&key) else {
            return;
        };
        for track in participant.tracks.iter().filter(|one| !one.is_published()) {
            for cid in &track.cids {
                participant
                    .outlet
                    .send(Message::TrackPublished(TrackPublishedResponse {
                        cid: cid.clone(),
                        track: Some(track.info.clone()),
                    }));
            }
        }
        let untold = participant.tracks.iter().filter(|one| !one.is_subscribed);
        let untold: Vec<PublicationId> = untold.map(|one| one.publication).collect();
        for publication in untold {
            let is_received = |one: &Participant| {
                let assignment = one.subscriptions.slots.find(publication);
                assignment.is_some_and(|assignment| assignment.is_agreed)
            };
            if self.participants.values().any(is_received) {
                self.tell_publisher(publication);
            }
        }
    }

    /// Which tracks a subscriber may have, of those who have ever said that not everybody may.
    fn repeat_audiences(&self, key: ParticipantKey) {
        let Some(subscriber) = self.participants.get(&key) else {
            return;
        };
        let choosy = self
            .participants
            .values()
            .filter(|one| one.key != key && one.is_audience_chosen && !one.permissions.is_hidden);
        for publisher in choosy {
            for track in publisher.tracks.iter().filter(|one| one.is_published()) {
                let (sid, identity) = (&subscriber.sid, &subscriber.identity);
                let track_sid = track.info.sid.clone();
                let update = SubscriptionPermissionUpdate {
                    participant_sid: publisher.sid.clone(),
                    allowed: publisher.audience.includes(sid, identity, &track_sid),
                    track_sid,
                };
                let message = Message::SubscriptionPermissionUpdate(update);
                subscriber.outlet.send(message);
            }
        }
    }

    /// A client that has come back says what it has; once.
    pub(super) fn heed(&mut self, now: Instant, key: ParticipantKey, state: SyncState) {
        let participant = self.participants.get_mut(&key);
        let is_awaited = participant.is_some_and(|one| std::mem::take(&mut one.is_sync_awaited));
        if !is_awaited {
            return;
        }
        let published = state.publish_tracks.into_iter().take(LIST_MAX);
        let published: Vec<TrackInfo> = published.filter_map(|one| one.track).collect();
        if !self.knows(key, &published) {
            let reason = DisconnectReason::StateMismatch;
            return self.remove(now, key, Removal::told(reason, Action::Reconnect));
        }
        self.replay(key, &state.datachannel_receive_states);
        self.pause_only(key, &state.track_sids_disabled);
        self.choose_only(now, key, &state.subscription.unwrap_or_default());
    }

    /// Whether the tracks that a client believes to publish are known. One that was taken away from
    /// it meanwhile it is told of.
    fn knows(&mut self, key: ParticipantKey, published: &[TrackInfo]) -> bool {
        let Some(participant) = self.participants.get(&key) else {
            return false;
        };
        let is_known = |sid: &str| participant.tracks.iter().any(|one| one.info.sid == sid);
        let unknown = published.iter().filter(|track| !is_known(&track.sid));
        let (mine, forbidden): (Vec<&TrackInfo>, Vec<&TrackInfo>) =
            unknown.partition(|track| participant.permissions.may_publish(track.source()));
        for track in forbidden {
            let track_sid = track.sid.clone();
            let message = Message::TrackUnpublished(TrackUnpublishedResponse { track_sid });
            participant.outlet.send(message);
        }
        mine.is_empty()
    }

    /// Sends again what others said after the last message that a client has of each.
    fn replay(&mut self, key: ParticipantKey, received: &[DataChannelReceiveState]) {
        let Some(recipient) = self.participants.get_mut(&key) else {
            return;
        };
        for known in received.iter().take(LIST_MAX) {
            let missed = self.reliable.missed(recipient, known);
            for payload in missed {
                if let Some((worker, command)) = super::events::deliver(
                    recipient,
                    sfu::shard::command::DataChannel::Reliable,
                    payload,
                ) {
                    self.spread.send(worker, command);
                }
            }
        }
    }

    /// Exactly these tracks are switched off at the client.
    fn pause_only(&mut self, key: ParticipantKey, disabled: &[String]) {
        let named = disabled.iter().take(LIST_MAX);
        let paused: HashSet<PublicationId> = named
            .filter_map(|name| self.find_for(key, name).ok())
            .collect();
        let Some(participant) = self.participants.get(&key) else {
            return;
        };
        let wishes = &participant.subscriptions.wishes;
        let shown = wishes
            .iter()
            .filter(|(one, wish)| **wish == LayerWish::Paused && !paused.contains(*one));
        let shown: Vec<PublicationId> = shown.map(|(one, _)| *one).collect();
        for publication in paused {
            self.set_wish(key, publication, LayerWish::Paused);
        }
        for publication in shown {
            self.set_wish(key, publication, LayerWish::Best);
        }
    }

    /// A client lists the tracks for which it wants something else than the default.
    fn choose_only(&mut self, now: Instant, key: ParticipantKey, listed: &UpdateSubscription) {
        let named = listed.track_sids.iter().take(LIST_MAX);
        let named: HashSet<PublicationId> = named
            .filter_map(|name| self.find_for(key, name).ok())
            .collect();
        if let Some(participant) = self.participants.get_mut(&key) {
            participant.subscriptions.sync(&named, listed.subscribe);
        }
        self.reconcile(now, key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn farewell(sid: &str) -> ParticipantInfo {
        ParticipantInfo {
            sid: sid.into(),
            identity: sid.into(),
            metadata: "x".repeat(1_000),
            ..Default::default()
        }
    }

    #[test]
    fn departures_are_remembered_for_a_while_and_within_a_bound() {
        let start = Instant::now();
        let keep = Duration::from_secs(60);
        let mut departures = Departures::default();
        for n in 0..=DEPARTURES_MAX {
            departures.note(start, &farewell(&n.to_string()), keep);
        }
        assert_eq!(departures.0.len(), DEPARTURES_MAX);
        assert_eq!(departures.0[0].1.sid, "1", "the oldest went");
        assert_eq!(departures.0[0].1.metadata, "", "who is enough");
        departures.note(start + keep * 2, &farewell("last"), keep);
        assert_eq!(departures.0.len(), 1);
    }
}
