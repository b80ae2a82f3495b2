//! How good connections are, and who is told.
//!
//! The media plane rates; here it is remembered and passed on: what changes, to the one it is about
//! and to those who may receive from him, and everything to whoever has just come or come back.

use sfu::id::TransportId;
use sfu::quality::Rating;

use super::Room;
use super::participant::{Participant, ParticipantKey};
use crate::wire::proto::signal_response::Message;
use crate::wire::proto::{ConnectionQualityInfo, ConnectionQualityUpdate};

impl Room {
    /// A connection is another than it was.
    pub(super) fn rated(&mut self, transport: TransportId, rating: Rating) {
        let Some(key) = self.owner_of(transport) else {
            return;
        };
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        participant.rate(transport, rating);
        let Some(info) = participant.connection() else {
            return;
        };
        participant.outlet.send(update(vec![info]));
        self.show_connection(key);
    }

    /// Tells the others how good a participant's connection is. Of one who sends nothing they can
    /// notice nothing.
    pub(super) fn show_connection(&self, key: ParticipantKey) {
        if let Some(participant) = self.participants.get(&key)
            && let Some(info) = participant.connection()
            && !participant.permissions.is_hidden
            && participant.is_publisher()
        {
            self.tell_all(key, &update(vec![info]));
        }
    }

    /// Tells a participant how good all the connections are.
    pub(super) fn tell_connections(&self, key: ParticipantKey) {
        let is_seen = |one: &&Participant| {
            let is_itself = one.key == key;
            is_itself || (!one.permissions.is_hidden && one.is_publisher())
        };
        let seen = self.participants.values().filter(is_seen);
        let infos: Vec<_> = seen.filter_map(Participant::connection).collect();
        if !infos.is_empty() {
            self.tell(key, update(infos));
        }
    }
}

fn update(updates: Vec<ConnectionQualityInfo>) -> Message {
    Message::ConnectionQuality(ConnectionQualityUpdate { updates })
}
