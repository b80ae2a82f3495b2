//! How good the connections of peers are: what the meters are told beside the reports, and what
//! becomes known of their ratings.

use std::time::{Duration, Instant};

use super::event::{Event, EventKind};
use super::router::Router;
use crate::media::MediaKind;
use crate::quality::{Circumstances, HeldBack};
use crate::subscription::selector;

impl Router {
    /// Rates every connection. To be called every second.
    pub(super) fn rate_peers(&mut self, now: Instant) {
        for place in 0..self.hots.len() {
            if self.hots[place].is_connected && self.peers.contains(place) {
                self.rate_peer(now, place);
            }
        }
    }

    fn rate_peer(&mut self, now: Instant, place: usize) {
        let lacks_size = self.lacks_size(place);
        let peer = &mut self.peers[place];
        let held_back = peer.media.downlink.as_ref().map(|one| one.held_back);
        let packet_at = peer.media.allowance.used_at();
        let given = Circumstances {
            heard_at: peer
                .transport
                .checked_at()
                .map_or(packet_at, |at| at.max(packet_at)),
            round_trip: peer.media.round_trip,
            lacks_size,
            held_back: held_back.map_or(HeldBack::Nothing, |one| one.felt()),
        };
        if let Some(rating) = peer.media.quality.rate(now, given) {
            let transport = peer.id;
            self.events.push_back(Event {
                room: Some(self.rooms.id_of(peer.room)),
                kind: EventKind::Quality { transport, rating },
            });
        }
    }

    /// Whether somebody here would be sent a larger picture of a peer if it came. A picture that
    /// does not come in any size has been stopped, not hindered.
    fn lacks_size(&self, place: usize) -> bool {
        let publications = self.peers[place].media.publications.iter();
        publications
            .map(|&place| &self.rooms.publications[place])
            .filter(|published| {
                let publication = &published.publication;
                publication.kind() == MediaKind::Video
                    && publication.layers().len() > 1
                    && !publication.is_muted()
            })
            .any(|published| {
                let mut views = published.publication.views();
                let Some(best) = views.iter().rposition(|view| view.is_live) else {
                    return false;
                };
                views.iter_mut().for_each(|view| view.is_live = true);
                let subscriptions = published.subscriptions.iter();
                subscriptions
                    .filter_map(|&place| {
                        let wish = self.rooms.subscriptions[place].subscription.wish();
                        selector::target(wish, &views)
                    })
                    .any(|wanted| usize::from(wanted) > best)
            })
    }
}

/// A span in units of a clock, as time.
pub(super) fn span(ticks: u32, clock_rate: u32) -> Duration {
    let micros = u64::from(ticks) * 1_000_000;
    Duration::from_micros(micros.checked_div(clock_rate.into()).unwrap_or(0))
}
