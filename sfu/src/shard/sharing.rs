//! A publication that another room of this worker sees too, under a name of its own there.
//!
//! It belongs to the room of its publisher and to no other: whether it is muted, when it ends and
//! whether it is recorded is settled there, and no packet of it reaches the tap of a room that it is
//! shared with. Those who are there subscribe to it like to any other, and other workers mirror it for
//! them under that name, so nobody who knows a name of one room gets anything by it in another. Who may
//! be shown where is decided elsewhere.

use super::Shard;
use super::event::{Event, EventKind};
use super::router::{Router, speaker};
use crate::error::CommandError;
use crate::id::{PublicationId, RoomId};
use crate::relay::Relayed;
use crate::room::Share;
use crate::speaker::Voice;

impl Shard {
    /// Makes a publication of the room `from` known in this one as `name`.
    pub(super) fn share(
        &mut self,
        room: usize,
        publication: PublicationId,
        from: RoomId,
        name: PublicationId,
    ) -> Result<(), CommandError> {
        let rooms = &mut self.router.rooms;
        let home = rooms.find(from).ok_or(CommandError::UnknownRoom(from))?;
        let place = rooms.own_publication(home, publication)?;
        let shares = &rooms.publications[place].shares;
        let is_here = home == room || shares.iter().any(|share| share.room == room);
        if is_here || !rooms.is_publication_free(name) {
            return Err(CommandError::AlreadyExists);
        }
        if shares.len() >= self.router.limits.shares_per_publication_max {
            return Err(CommandError::Limit("shares_per_publication_max"));
        }
        rooms.share(place, Share { room, name });
        let voice = rooms.publications[place].publication.voice.reported();
        if voice.is_active {
            self.router.tell_speakers(room, vec![speaker(name, voice)]);
        }
        Ok(())
    }

    /// Takes what is called so from the room that it is shared with. It may have ended meanwhile.
    pub(super) fn unshare(&mut self, room: usize, name: PublicationId) -> Result<(), CommandError> {
        let Ok(place) = self.router.rooms.publication(room, name) else {
            return Ok(());
        };
        let shares = &self.router.rooms.publications[place].shares;
        if !shares.contains(&Share { room, name }) {
            return Err(CommandError::UnknownPublication(name));
        }
        self.end_share(place, Share { room, name });
        Ok(())
    }

    /// A publication ends, or goes over to another room: it is shared with none any more.
    pub(super) fn end_shares(&mut self, place: usize) {
        while let Some(&share) = self.router.rooms.publications[place].shares.last() {
            self.end_share(place, share);
        }
    }

    /// A room ends: nothing is shared with it any more.
    pub(super) fn end_guests(&mut self, room: usize) {
        while let Some(&place) = self.router.rooms.room(room).guests.last() {
            let shares = self.router.rooms.publications[place].shares.iter();
            let here = shares.copied().find(|share| share.room == room);
            self.end_share(place, here.expect("a guest of a room is shared with it"));
        }
    }

    fn end_share(&mut self, place: usize, share: Share) {
        let rooms = &self.router.rooms;
        let subscriptions = rooms.publications[place].subscriptions.iter().copied();
        let here = subscriptions.filter(|&one| rooms.subscriptions[one].room == share.room);
        for subscription in here.collect::<Vec<_>>() {
            self.unsubscribe(subscription);
        }
        let relays = &mut self.router.rooms.publications[place].relays;
        let is_here = |relay: &mut Relayed| relay.address.publication == share.name;
        let relays: Vec<Relayed> = relays.extract_if(.., is_here).collect();
        self.router.tell_end(&relays);
        self.router.rooms.unshare(place, share);
    }
}

impl Router {
    /// Tells the rooms that a sound is shared with how loud it is now.
    pub(super) fn tell_voice_elsewhere(&mut self, place: usize, voice: Voice) {
        for share in &self.rooms.publications[place].shares {
            self.events.push_back(Event {
                room: Some(self.rooms.id_of(share.room)),
                kind: EventKind::Speakers {
                    speakers: vec![speaker(share.name, voice)],
                },
            });
        }
    }
}
