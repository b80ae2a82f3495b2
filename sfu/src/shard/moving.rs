//! A transport that goes over from one room of this worker to another, as it is.
//!
//! Its peer notices nothing: connection, keys, numbers and data channels go on. What it was sent in the
//! old room ends, and so does for the others there, and wherever it was shared, what it publishes; the publications themselves,
//! with the sources that were learnt of them, go along under names of the new room's. Nothing of them
//! is recorded there before the new room has opened the gate. Who may go where is decided elsewhere.

use std::time::Instant;

use super::Shard;
use super::event::{DisconnectReason, Event, EventKind};
use super::timers::TimerKey;
use crate::error::CommandError;
use crate::id::{PublicationId, RoomId, TransportId};
use crate::media::MediaKind;
use crate::speaker;
use crate::tap::EndReason;

impl Shard {
    /// Takes a transport of the room `from` into this one. Its publications are called what is said
    /// in pairs of old and new; those of which nothing is said end.
    pub(super) fn move_transport(
        &mut self,
        now: Instant,
        room: usize,
        id: TransportId,
        from: RoomId,
        names: &[(PublicationId, PublicationId)],
    ) -> Result<(), CommandError> {
        let known = self.transports.get(&id).copied();
        let Some(place) = known.filter(|&place| self.room_of(place) == from) else {
            self.miss_transport(room, id);
            return Ok(());
        };
        let rooms = &self.router.rooms;
        if names
            .iter()
            .any(|(_, name)| !rooms.is_publication_free(*name))
        {
            return Err(CommandError::AlreadyExists);
        }
        while let Some(&subscription) = self.router.peers[place].media.subscriptions.last() {
            self.unsubscribe(subscription);
        }
        self.router.peers[place].media.may_be_recorded = false;
        for publication in self.router.peers[place].media.publications.clone() {
            let old = self.router.rooms.publications[publication].publication.id();
            match names.iter().find(|(name, _)| *name == old) {
                Some((_, name)) if self.router.rooms.is_publication_free(*name) => {
                    self.move_publication(now, publication, room, *name);
                }
                _ => self.unpublish(now, publication),
            }
        }
        let before = std::mem::replace(&mut self.router.peers[place].room, room);
        let members = &mut self.router.rooms.room_mut(before).members;
        members.retain(|&other| other != place);
        self.router.rooms.room_mut(room).members.push(place);
        self.repeat_channels(place);
        Ok(())
    }

    fn room_of(&self, peer: usize) -> RoomId {
        self.router.rooms.id_of(self.router.peers[peer].room)
    }

    fn move_publication(&mut self, now: Instant, place: usize, room: usize, name: PublicationId) {
        self.router.end_track(now, place, EndReason::Unpublished);
        self.router.fall_silent(place);
        self.end_shares(place);
        while let Some(&subscription) = self.router.rooms.publications[place].subscriptions.last() {
            self.unsubscribe(subscription);
        }
        let published = &mut self.router.rooms.publications[place];
        let relays = std::mem::take(&mut published.relays);
        let is_sound = published.publication.kind() == MediaKind::Audio;
        self.router.tell_end(&relays);
        self.router.rooms.move_publication(place, room, name);
        if is_sound {
            self.timers
                .ensure(TimerKey::Room(room), now + speaker::INTERVAL);
        }
        self.router.start_track(now, place);
    }

    /// That a channel has opened may have been told to the old room when nobody there knew the peer
    /// any more.
    fn repeat_channels(&mut self, place: usize) {
        let peer = &self.router.peers[place];
        let room = Some(self.router.rooms.id_of(peer.room));
        let transport = peer.id;
        for channel in peer.transport.open_channels() {
            let kind = EventKind::DataChannelOpen { transport, channel };
            self.router.events.push_back(Event { room, kind });
        }
    }

    /// It has ended on the way, which was told to the old room: the new one must know.
    fn miss_transport(&mut self, room: usize, transport: TransportId) {
        self.router.events.push_back(Event {
            room: Some(self.router.rooms.id_of(room)),
            kind: EventKind::Disconnected {
                transport,
                reason: DisconnectReason::ConsentLost,
            },
        });
    }
}
