//! How good a picture anybody wants of a track, and when its publisher is told.
//!
//! A publisher need not encode, nor send, what nobody looks at. The best quality that any subscriber
//! wants is told at once when it rises, and only after a while when it falls: whoever looks through
//! the pictures of a meeting must not stop and start encoders with every click. What is recorded is
//! wanted in full, and what other rooms want of somebody who is forwarded to them counts as if they
//! were here. Where a client does not heed it nothing is lost but bandwidth.

use std::time::{Duration, Instant};

use sfu::id::PublicationId;
use sfu::media::{LayerWish, MediaKind};
use sfu::subscription::selector::{LayerView, target};

use super::Room;
use super::participant::Participant;
use super::recording::Gate;
use super::tracks::{Track, mime_type};
use crate::wire::proto::signal_response::Message;
use crate::wire::proto::{
    SubscribedCodec, SubscribedQuality, SubscribedQualityUpdate, VideoLayer, VideoQuality,
};

/// So long less must have been wanted before a publisher is told: what the protocol's own server
/// waits.
const PATIENCE: Duration = Duration::from_secs(5);

/// The best that is wanted of a track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// Nobody looks.
    Nothing,
    /// The smallest picture will do.
    Low,
    /// One in the middle.
    Medium,
    /// All there is. What clients send until they are told.
    #[default]
    High,
}

impl Wanted {
    /// What a wish amounts to, for a track with these encodings, smallest first.
    pub fn of(wish: LayerWish, layers: &[VideoLayer]) -> Self {
        let views: Vec<LayerView> = layers
            .iter()
            .map(|layer| LayerView {
                is_live: true,
                width: layer.width,
                height: layer.height,
            })
            .collect();
        let Some(rank) = target(wish, &views).map(usize::from) else {
            return match wish {
                LayerWish::Paused => Self::Nothing,
                _ => Self::High,
            };
        };
        match layers[rank].quality() {
            // However it is called: there is nothing better.
            _ if rank + 1 == layers.len() => Self::High,
            VideoQuality::Low => Self::Low,
            VideoQuality::Medium => Self::Medium,
            VideoQuality::High | VideoQuality::Off => Self::High,
        }
    }

    /// Every quality, and whether it is to be sent. Those below are, so that a subscriber whose
    /// network worsens has something to fall back on.
    fn qualities(self) -> Vec<SubscribedQuality> {
        let all = [
            (VideoQuality::Low, Self::Low),
            (VideoQuality::Medium, Self::Medium),
            (VideoQuality::High, Self::High),
        ];
        all.map(|(quality, needs)| SubscribedQuality {
            quality: quality as i32,
            enabled: self >= needs,
        })
        .into()
    }
}

/// What the publisher of a track was told last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    told: Wanted,
    less_since: Option<Instant>,
}

impl Demand {
    /// Of what is not sent before it is asked for.
    pub fn silent() -> Self {
        Self {
            told: Wanted::Nothing,
            less_since: None,
        }
    }

    /// What is wanted now. Returns what the publisher is to be told, if anything.
    pub fn note(&mut self, now: Instant, wanted: Wanted) -> Option<Wanted> {
        if wanted >= self.told {
            self.less_since = None;
        } else if now.saturating_duration_since(*self.less_since.get_or_insert(now)) < PATIENCE {
            return None;
        }
        if wanted == self.told {
            return None;
        }
        *self = Self {
            told: wanted,
            less_since: None,
        };
        Some(wanted)
    }
}

impl Room {
    /// Tells publishers what is wanted of their pictures, where that has changed.
    pub(super) fn settle_demands(&mut self, now: Instant) {
        let published = self.participants.values().flat_map(|one| &one.tracks);
        let pictures = published.filter(|track| track.kind == MediaKind::Video);
        let pictures: Vec<PublicationId> = pictures.map(|track| track.publication).collect();
        for publication in pictures {
            self.settle_demand(now, publication);
        }
    }

    /// The same for one track.
    pub(super) fn settle_demand(&mut self, now: Instant, publication: PublicationId) {
        let Some(publisher) = self.publisher_of(publication) else {
            return;
        };
        let Some(track) = publisher.published(publication) else {
            return;
        };
        // One who is not there is told when he comes back.
        if track.kind != MediaKind::Video || publisher.detached.is_some() {
            return;
        }
        let wanted = self.wanted_of(publisher, track, false);
        let backup_wanted = self.wanted_of(publisher, track, true);
        if let Some(guest) = &publisher.guest {
            return guest.want(publication, wanted, backup_wanted);
        }
        let key = publisher.key;
        let Some(publisher) = self.participants.get_mut(&key) else {
            return;
        };
        let mut tracks = publisher.tracks.iter_mut();
        let Some(track) = tracks.find(|one| one.publication == publication) else {
            return;
        };
        let mut is_news = track.demand.note(now, wanted).is_some();
        if let Some(backup) = &mut track.backup {
            is_news |= backup.demand.note(now, backup_wanted).is_some();
        }
        if is_news {
            let message = Message::SubscribedQualityUpdate(update(track));
            publisher.outlet.send(message);
        }
    }

    /// The best that anybody wants of a track, here and elsewhere, among those who get its first codec
    /// or its backup.
    fn wanted_of(&self, publisher: &Participant, track: &Track, of_backup: bool) -> Wanted {
        // What is recorded is the first.
        if publisher.gate == Gate::Open && !of_backup {
            return Wanted::High;
        }
        let wanted = self.participants.values().map(|subscriber| {
            let mut backed = subscriber.subscriptions.backed.values();
            let is_backed = backed.any(|one| one.publication == track.publication);
            if is_backed != of_backup || !self.is_wanted(publisher, track, subscriber) {
                return Wanted::Nothing;
            }
            let wish = subscriber.subscriptions.wishes.get(&track.publication);
            track.wanted(wish.copied().unwrap_or(LayerWish::Best))
        });
        let forwardings = publisher.forwardings.iter();
        let elsewhere = forwardings.map(|one| one.wanted(track.publication, of_backup));
        wanted.chain(elsewhere).max().unwrap_or(Wanted::Nothing)
    }
}

#[expect(
    deprecated,
    reason = "the form without codecs is what older clients read"
)]
fn update(track: &Track) -> SubscribedQualityUpdate {
    let codec = |mime: &str, demand: &Demand| SubscribedCodec {
        codec: mime
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase(),
        qualities: demand.told.qualities(),
    };
    let backup = track.backup.as_ref();
    let backup = backup.map(|one| codec(mime_type(one.codec), &one.demand));
    let first = codec(&track.info.mime_type, &track.demand);
    SubscribedQualityUpdate {
        track_sid: track.info.sid.clone(),
        subscribed_qualities: track.demand.told.qualities(),
        subscribed_codecs: std::iter::once(first).chain(backup).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_told_at_once_and_less_after_a_while() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut demand = Demand::default();
        assert_eq!(demand.note(at(0), Wanted::High), None, "as it began");
        assert_eq!(demand.note(at(1_000), Wanted::Low), None);
        assert_eq!(demand.note(at(5_900), Wanted::Nothing), None);
        assert_eq!(demand.note(at(6_000), Wanted::Low), Some(Wanted::Low));
        assert_eq!(demand.note(at(20_000), Wanted::Low), None, "once");
        assert_eq!(
            demand.note(at(20_001), Wanted::Medium),
            Some(Wanted::Medium)
        );
    }

    #[test]
    fn who_changes_his_mind_in_time_stops_nothing() {
        let start = Instant::now();
        let mut demand = Demand::default();
        for second in 0..30 {
            let wanted = match second % 4 {
                0 => Wanted::High,
                _ => Wanted::Nothing,
            };
            let now = start + Duration::from_secs(second);
            assert_eq!(demand.note(now, wanted), None, "second {second}");
        }
    }

    fn layers(count: usize) -> Vec<VideoLayer> {
        let all = [
            (VideoQuality::Low, 320, 180),
            (VideoQuality::Medium, 640, 360),
            (VideoQuality::High, 1280, 720),
        ];
        let layer = |(quality, width, height): (VideoQuality, u32, u32)| VideoLayer {
            quality: quality as i32,
            width,
            height,
            ..Default::default()
        };
        all.into_iter().take(count).map(layer).collect()
    }

    #[test]
    fn a_wish_is_a_quality_of_the_track() {
        let size = |width, height| LayerWish::Size { width, height };
        let cases = [
            (LayerWish::Best, 3, Wanted::High),
            (LayerWish::Rank(0), 3, Wanted::Low),
            (LayerWish::Rank(1), 3, Wanted::Medium),
            (LayerWish::Rank(1), 2, Wanted::High),
            (LayerWish::Paused, 3, Wanted::Nothing),
            (LayerWish::Paused, 0, Wanted::Nothing),
            (LayerWish::Rank(0), 0, Wanted::High),
            (size(300, 150), 3, Wanted::Low),
            (size(321, 180), 3, Wanted::Medium),
            (size(9_000, 9_000), 3, Wanted::High),
            (size(10, 10), 1, Wanted::High),
        ];
        for (wish, count, expected) in cases {
            let wanted = Wanted::of(wish, &layers(count));
            assert_eq!(wanted, expected, "{wish:?} of {count}");
        }
    }

    #[test]
    fn all_that_is_smaller_than_wanted_is_sent_too() {
        let enabled = |wanted: Wanted| {
            let qualities = wanted.qualities();
            qualities.iter().map(|one| one.enabled).collect::<Vec<_>>()
        };
        assert_eq!(enabled(Wanted::Nothing), [false, false, false]);
        assert_eq!(enabled(Wanted::Medium), [true, true, false]);
        assert_eq!(enabled(Wanted::High), [true, true, true]);
    }
}
