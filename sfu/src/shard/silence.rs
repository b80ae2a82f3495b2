//! Peers that have fallen silent: whose path is dead although nobody has said goodbye.
//!
//! Consent takes 15 seconds to lapse, and a browser that is sent nothing takes as long to notice. A
//! peer from whom nothing has come for half of `silence_timeout` is asked by a connectivity check of
//! ours, which every full agent answers; if still nothing comes, it is reported, so that whoever has
//! another way to it can tell it to find another path. Its transport is left as it is.

use std::time::Instant;

use super::Shard;
use super::event::{Event, EventKind};

impl Shard {
    /// Looks at every peer, once a second.
    pub(super) fn note_silences(&mut self, now: Instant) {
        let silence_max = self.router.limits.silence_timeout;
        let mut asked = Vec::new();
        for &place in self.transports.values() {
            let peer = &mut self.router.peers[place];
            if !peer.transport.is_connected() {
                continue;
            }
            let path = peer.transport.destination();
            let heard = path.and_then(|path| self.demux.heard_at(path));
            let silence = heard.map(|at| now.saturating_duration_since(at));
            if silence.is_some_and(|silence| silence < silence_max / 2) {
                peer.is_silent = false;
                continue;
            }
            if path.is_some() {
                peer.transport.ask(now);
                asked.push(place);
            }
            let is_over = silence.is_none_or(|silence| silence >= silence_max);
            if is_over && !std::mem::replace(&mut peer.is_silent, true) {
                self.router.stats.silences += 1;
                self.router.events.push_back(Event {
                    room: Some(self.router.rooms.id_of(peer.room)),
                    kind: EventKind::Silent { transport: peer.id },
                });
            }
        }
        for place in asked {
            self.stir(place);
        }
    }
}
