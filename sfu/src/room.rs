//! The rooms of a worker: who is in them, what is published in them, who is subscribed to what.
//!
//! This is the wiring and nothing else. Publications and subscriptions do not know each other; here
//! they are joined by their places in two dense tables, so that forwarding is a walk along a list
//! of numbers. An id of the control plane is only ever looked up within the room that it was made
//! in: that is what keeps rooms apart. A publication may be shared with other rooms; in each it has a
//! name of its own.

use std::collections::HashMap;

use slab::Slab;

use crate::config::Limits;
use crate::error::CommandError;
use crate::id::{Epoch, PublicationId, RoomId, SubscriptionId};
use crate::media::LayerWish;
use crate::publication::Publication;
use crate::relay::{Mirror, Relayed};
use crate::shard::{RoomTap, StableHash};
use crate::subscription::Subscription;
use crate::tap::Tapped;

/// A set of transports that may subscribe to each other.
pub struct Room {
    /// Its id.
    pub id: RoomId,
    /// The newest placement that has been heard of.
    pub epoch: Epoch,
    /// Its peers, by their places.
    pub members: Vec<usize>,
    /// What is published in it, by place.
    pub publications: Vec<usize>,
    /// What other rooms share with it, by place.
    pub guests: Vec<usize>,
    /// Where what is published goes for the archive.
    pub(crate) tap: Option<Box<RoomTap>>,
}

/// A publication and how it is wired.
pub struct Published {
    /// The track itself.
    pub publication: Publication,
    /// The room, by its place.
    pub room: usize,
    /// Where its packets come from.
    pub origin: Origin,
    /// Who is subscribed, by place.
    pub subscriptions: Vec<usize>,
    /// The workers that mirror it.
    pub relays: Vec<Relayed>,
    /// The other rooms whose transports may have it.
    pub shares: Vec<Share>,
    /// What of it is recorded.
    pub(crate) tapped: Tapped,
    /// The layer that is to be recorded; `None` for what the tap says.
    pub(crate) tap_wish: Option<LayerWish>,
}

/// A publication as another room of this worker knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The room, by its place.
    pub room: usize,
    /// Its name there.
    pub name: PublicationId,
}

/// Where the packets of a publication come from.
pub enum Origin {
    /// From a peer, by its place.
    Peer(usize),
    /// From the worker that owns it.
    Mirror(Mirror),
}

impl Published {
    /// The peer that sends it, by its place, unless that is another worker's.
    pub fn owner(&self) -> Option<usize> {
        match self.origin {
            Origin::Peer(owner) => Some(owner),
            Origin::Mirror(_) => None,
        }
    }

    /// Whether it is called so in a room.
    fn is_known_as(&self, room: usize, name: PublicationId) -> bool {
        let is_at_home = self.room == room && self.publication.id() == name;
        is_at_home || self.shares.contains(&Share { room, name })
    }
}

/// A subscription and how it is wired.
pub struct Subscribed {
    /// The bookkeeping itself.
    pub subscription: Subscription,
    /// The room of the receiver, by its place.
    pub room: usize,
    /// What is received, by place.
    pub publication: usize,
    /// The peer that receives it, by its place.
    pub receiver: usize,
}

/// All rooms of a worker.
#[derive(Default)]
pub struct Rooms {
    /// All rooms, by place.
    pub rooms: Slab<Room>,
    by_id: HashMap<RoomId, usize, StableHash>,
    /// All publications, by place.
    pub publications: Slab<Published>,
    /// By every name that they have in some room.
    publication_by_id: HashMap<PublicationId, usize, StableHash>,
    /// All subscriptions, by place.
    pub subscriptions: Slab<Subscribed>,
    subscription_by_id: HashMap<SubscriptionId, usize, StableHash>,
}

impl Rooms {
    /// Makes an empty room and returns its place.
    pub fn open(
        &mut self,
        id: RoomId,
        epoch: Epoch,
        limits: &Limits,
    ) -> Result<usize, CommandError> {
        if self.by_id.contains_key(&id) {
            return Err(CommandError::AlreadyExists);
        }
        if self.rooms.len() >= limits.rooms_max {
            return Err(CommandError::Limit("rooms_max"));
        }
        let place = self.rooms.insert(Room {
            id,
            epoch,
            members: Vec::new(),
            publications: Vec::new(),
            guests: Vec::new(),
            tap: None,
        });
        self.by_id.insert(id, place);
        Ok(place)
    }

    /// The place of a room, for a command of this epoch; a newer epoch than known is noted.
    pub fn enter(&mut self, id: RoomId, epoch: Epoch) -> Result<usize, CommandError> {
        let place = *self.by_id.get(&id).ok_or(CommandError::UnknownRoom(id))?;
        let room = &mut self.rooms[place];
        if epoch < room.epoch {
            return Err(CommandError::StaleEpoch(id));
        }
        room.epoch = epoch;
        Ok(place)
    }

    /// The place of a room, for a command of another one.
    pub fn find(&self, id: RoomId) -> Option<usize> {
        self.by_id.get(&id).copied()
    }

    /// The place of a room, for another worker that must know of the same placement.
    pub fn placed(&self, id: RoomId, epoch: Epoch) -> Option<usize> {
        let place = *self.by_id.get(&id)?;
        (self.rooms[place].epoch == epoch).then_some(place)
    }

    /// Forgets a room, whose members must have left.
    pub fn close(&mut self, place: usize) {
        let room = self.rooms.remove(place);
        debug_assert!(room.members.is_empty() && room.publications.is_empty());
        debug_assert!(room.guests.is_empty());
        debug_assert!(room.tap.is_none());
        self.by_id.remove(&room.id);
    }

    /// The room at a place.
    pub fn room(&self, place: usize) -> &Room {
        &self.rooms[place]
    }

    /// The room at a place.
    pub fn room_mut(&mut self, place: usize) -> &mut Room {
        &mut self.rooms[place]
    }

    /// The id of the room at a place.
    pub fn id_of(&self, place: usize) -> RoomId {
        self.rooms[place].id
    }

    /// How many rooms there are.
    pub fn len(&self) -> usize {
        self.rooms.len()
    }

    /// Whether there is no room.
    pub fn is_empty(&self) -> bool {
        self.rooms.is_empty()
    }

    /// The place of a publication of this room, or of one that is shared with it.
    pub fn publication(&self, room: usize, id: PublicationId) -> Result<usize, CommandError> {
        self.publication_by_id
            .get(&id)
            .copied()
            .filter(|&place| self.publications[place].is_known_as(room, id))
            .ok_or(CommandError::UnknownPublication(id))
    }

    /// The place of a publication that a peer of this room sends to us.
    pub fn own_publication(&self, room: usize, id: PublicationId) -> Result<usize, CommandError> {
        self.publication(room, id)
            .ok()
            .filter(|&place| {
                let published = &self.publications[place];
                published.room == room && published.owner().is_some()
            })
            .ok_or(CommandError::UnknownPublication(id))
    }

    /// A publication and the tap of its room.
    pub(crate) fn with_tap(&mut self, place: usize) -> (&mut Published, Option<&mut RoomTap>) {
        let published = &mut self.publications[place];
        let tap = self.rooms[published.room].tap.as_deref_mut();
        (published, tap)
    }

    /// The place of a publication whose room has been checked otherwise.
    pub fn publication_anywhere(&self, id: PublicationId) -> Option<usize> {
        self.publication_by_id.get(&id).copied()
    }

    /// The place of a subscription of this room.
    pub fn subscription(&self, room: usize, id: SubscriptionId) -> Result<usize, CommandError> {
        self.subscription_by_id
            .get(&id)
            .copied()
            .filter(|&place| self.subscriptions[place].room == room)
            .ok_or(CommandError::UnknownSubscription(id))
    }

    /// Whether an id of a publication is free.
    pub fn is_publication_free(&self, id: PublicationId) -> bool {
        !self.publication_by_id.contains_key(&id)
    }

    /// Whether an id of a subscription is free.
    pub fn is_subscription_free(&self, id: SubscriptionId) -> bool {
        !self.subscription_by_id.contains_key(&id)
    }

    /// Adds a publication and returns its place.
    pub fn publish(&mut self, room: usize, origin: Origin, publication: Publication) -> usize {
        let id = publication.id();
        let place = self.publications.insert(Published {
            publication,
            room,
            origin,
            subscriptions: Vec::new(),
            relays: Vec::new(),
            shares: Vec::new(),
            tapped: Tapped::Not,
            tap_wish: None,
        });
        self.publication_by_id.insert(id, place);
        self.rooms[room].publications.push(place);
        place
    }

    /// Makes a publication known in another room under another name, which must be free.
    pub fn share(&mut self, place: usize, share: Share) {
        self.publications[place].shares.push(share);
        self.publication_by_id.insert(share.name, place);
        self.rooms[share.room].guests.push(place);
    }

    /// A publication is known in another room no more; its subscriptions there must have ended.
    pub fn unshare(&mut self, place: usize, share: Share) {
        let shares = &mut self.publications[place].shares;
        shares.retain(|other| *other != share);
        self.publication_by_id.remove(&share.name);
        let guests = &mut self.rooms[share.room].guests;
        guests.retain(|&other| other != place);
    }

    /// Takes a publication, whose subscriptions, relays and shares must have ended, over into another room
    /// under another name, which must be free.
    pub fn move_publication(&mut self, place: usize, room: usize, name: PublicationId) {
        let published = &mut self.publications[place];
        debug_assert!(published.subscriptions.is_empty() && published.relays.is_empty());
        debug_assert!(published.shares.is_empty());
        let before = std::mem::replace(&mut published.room, room);
        self.publication_by_id.remove(&published.publication.id());
        published.publication.rename(name);
        self.publication_by_id.insert(name, place);
        self.rooms[before]
            .publications
            .retain(|&other| other != place);
        self.rooms[room].publications.push(place);
    }

    /// Takes a publication out, whose subscriptions and shares must have ended.
    pub fn unpublish(&mut self, place: usize) -> Published {
        let published = self.publications.remove(place);
        debug_assert!(published.subscriptions.is_empty() && published.shares.is_empty());
        self.publication_by_id.remove(&published.publication.id());
        self.rooms[published.room]
            .publications
            .retain(|&other| other != place);
        published
    }

    /// Adds a subscription of somebody in a room and returns its place.
    pub fn subscribe(
        &mut self,
        room: usize,
        publication: usize,
        receiver: usize,
        subscription: Subscription,
    ) -> usize {
        let id = subscription.id();
        let published = &mut self.publications[publication];
        let place = self.subscriptions.insert(Subscribed {
            subscription,
            room,
            publication,
            receiver,
        });
        published.subscriptions.push(place);
        self.subscription_by_id.insert(id, place);
        place
    }

    /// Takes a subscription out.
    pub fn unsubscribe(&mut self, place: usize) -> Subscribed {
        let subscribed = self.subscriptions.remove(place);
        self.subscription_by_id
            .remove(&subscribed.subscription.id());
        self.publications[subscribed.publication]
            .subscriptions
            .retain(|&other| other != place);
        subscribed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_epoch_is_refused_and_a_new_one_noted() {
        let mut rooms = Rooms::default();
        let limits = Limits::default();
        let id = RoomId(1);
        assert_eq!(
            rooms.enter(id, Epoch(1)),
            Err(CommandError::UnknownRoom(id))
        );
        let place = rooms.open(id, Epoch(2), &limits).expect("a free id");
        assert_eq!(rooms.enter(id, Epoch(1)), Err(CommandError::StaleEpoch(id)));
        assert_eq!(rooms.enter(id, Epoch(3)), Ok(place));
        assert_eq!(rooms.enter(id, Epoch(2)), Err(CommandError::StaleEpoch(id)));
        let again = rooms.open(id, Epoch(9), &limits);
        assert_eq!(again, Err(CommandError::AlreadyExists));
    }

    #[test]
    fn rooms_are_bounded() {
        let mut rooms = Rooms::default();
        let limits = Limits {
            rooms_max: 1,
            ..Limits::default()
        };
        rooms
            .open(RoomId(1), Epoch(0), &limits)
            .expect("room for it");
        let error = rooms.open(RoomId(2), Epoch(0), &limits);
        assert_eq!(error, Err(CommandError::Limit("rooms_max")));
    }
}
