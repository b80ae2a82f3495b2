//! Who may receive whose track, and who wants to.
//!
//! Three have a say: the token (may this participant subscribe at all), the publisher (to whom may
//! my tracks go) and the subscriber (everything by default, or track by track). Pure decisions;
//! the slot table carries them out.

use std::collections::{HashMap, HashSet};

use sfu::congestion::allocation::Priority;
use sfu::id::{PublicationId, SubscriptionId};
use sfu::media::LayerWish;

use super::backup::Backed;
use super::slots::SlotTable;
use crate::wire::proto::{SubscriptionPermission, UpdateTrackSettings, VideoQuality};

/// What one participant wants of the others' tracks.
#[derive(Debug, Default)]
pub struct Subscriptions {
    /// Everything is wanted that was not declined.
    pub is_automatic: bool,
    /// What was asked for or declined by name.
    pub chosen: HashMap<PublicationId, bool>,
    /// Of those, what somebody else decided: the server API, or the lack of a codec.
    pub imposed: HashSet<PublicationId>,
    /// How much of a track is wanted, where it was said.
    pub wishes: HashMap<PublicationId, LayerWish>,
    /// Those that get the backup codec.
    pub backed: HashMap<SubscriptionId, Backed>,
    /// Pictures may be left out where not even the smallest fits.
    pub may_pause: bool,
    /// How much a track matters, where the client has said so.
    pub priorities: HashMap<PublicationId, Priority>,
    /// Pictures that do not come because they do not fit.
    pub held: HashSet<PublicationId>,
    /// What carries them.
    pub slots: SlotTable,
}

impl Subscriptions {
    /// Whether a track is wanted.
    pub fn want(&self, publication: PublicationId) -> bool {
        let chosen = self.chosen.get(&publication);
        chosen.copied().unwrap_or(self.is_automatic)
    }

    /// A track was asked for or declined, by the client itself or for it.
    pub fn choose(&mut self, publication: PublicationId, wanted: bool, by: Chooser) {
        self.chosen.insert(publication, wanted);
        match by {
            Chooser::Client => self.imposed.remove(&publication),
            Chooser::Server => self.imposed.insert(publication),
        };
    }

    /// The client says by a whole list for which tracks it wants something else than the default.
    /// What others decided stays.
    pub fn sync(&mut self, listed: &HashSet<PublicationId>, wanted: bool) {
        let imposed = &self.imposed;
        self.chosen.retain(|publication, chosen| {
            *chosen != wanted || listed.contains(publication) || imposed.contains(publication)
        });
        for publication in listed.difference(&self.imposed) {
            self.chosen.insert(*publication, wanted);
        }
    }

    /// A track is gone for good.
    pub fn forget(&mut self, publication: PublicationId) {
        self.imposed.remove(&publication);
        self.chosen.remove(&publication);
        self.wishes.remove(&publication);
        self.backed.retain(|_, one| one.publication != publication);
        self.priorities.remove(&publication);
        self.held.remove(&publication);
    }
}

/// Who has decided about a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chooser {
    /// The subscriber's client.
    Client,
    /// The server API, or the server for want of a codec.
    Server,
}

/// To whom a publisher's tracks may go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Audience {
    /// To everybody.
    #[default]
    Everybody,
    /// To these only.
    Only(Vec<Listener>),
}

/// One of those who may receive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The participant, by sid or identity; one of both is empty.
    pub sid: String,
    /// Likewise.
    pub identity: String,
    /// The only tracks; all if `None`.
    pub tracks: Option<Vec<String>>,
}

impl Audience {
    /// What a client asked for.
    pub fn from_proto(request: SubscriptionPermission) -> Self {
        if request.all_participants {
            return Self::Everybody;
        }
        let listeners = request.track_permissions.into_iter();
        Self::Only(
            listeners
                .map(|one| Listener {
                    sid: one.participant_sid,
                    identity: one.participant_identity,
                    tracks: (!one.all_tracks).then_some(one.track_sids),
                })
                .collect(),
        )
    }

    /// Whether a track may go to a participant.
    pub fn includes(&self, sid: &str, identity: &str, track: &str) -> bool {
        let Self::Only(listeners) = self else {
            return true;
        };
        listeners.iter().any(|one| {
            let is_meant = (!one.sid.is_empty() && one.sid == sid)
                || (!one.identity.is_empty() && one.identity == identity);
            let has_track = |tracks: &Vec<String>| tracks.iter().any(|one| one == track);
            is_meant && one.tracks.as_ref().is_none_or(has_track)
        })
    }
}

/// How much of a track is wanted, from a client's settings.
pub fn wish(settings: &UpdateTrackSettings) -> LayerWish {
    if settings.disabled {
        return LayerWish::Paused;
    }
    if settings.width > 0 && settings.height > 0 {
        return LayerWish::Size {
            width: settings.width,
            height: settings.height,
        };
    }
    match settings.quality() {
        VideoQuality::Low => LayerWish::Rank(0),
        VideoQuality::Medium => LayerWish::Rank(1),
        VideoQuality::High => LayerWish::Best,
        VideoQuality::Off => LayerWish::Paused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::proto::TrackPermission;

    const CAMERA: PublicationId = PublicationId(1);

    #[test]
    fn what_was_said_by_name_counts_more_than_the_default() {
        let mut subscriptions = Subscriptions::default();
        assert!(!subscriptions.want(CAMERA));
        subscriptions.is_automatic = true;
        assert!(subscriptions.want(CAMERA));
        subscriptions.chosen.insert(CAMERA, false);
        assert!(!subscriptions.want(CAMERA));
        subscriptions.forget(CAMERA);
        assert!(subscriptions.want(CAMERA));
    }

    #[test]
    fn a_whole_list_replaces_what_the_client_said_before_and_nothing_else() {
        let [screen, voice, scope] = [2, 3, 4].map(PublicationId);
        let mut subscriptions = Subscriptions {
            is_automatic: true,
            ..Subscriptions::default()
        };
        subscriptions.choose(CAMERA, false, Chooser::Client);
        subscriptions.choose(screen, false, Chooser::Server);
        subscriptions.choose(scope, true, Chooser::Server);
        subscriptions.sync(&HashSet::from([voice, scope]), false);
        assert!(subscriptions.want(CAMERA), "it has changed its mind");
        assert!(!subscriptions.want(screen), "that was not its decision");
        assert!(!subscriptions.want(voice));
        assert!(subscriptions.want(scope));
        subscriptions.choose(screen, true, Chooser::Client);
        assert!(subscriptions.want(screen) && !subscriptions.imposed.contains(&screen));
    }

    #[test]
    fn an_audience_is_named_by_sid_or_identity_and_track() {
        let audience = Audience::from_proto(SubscriptionPermission {
            all_participants: false,
            track_permissions: vec![
                TrackPermission {
                    participant_sid: "PA_1".into(),
                    all_tracks: true,
                    ..Default::default()
                },
                TrackPermission {
                    participant_identity: "nurse".into(),
                    track_sids: vec!["TR_1".into()],
                    ..Default::default()
                },
            ],
        });
        assert!(audience.includes("PA_1", "", "TR_9"));
        assert!(audience.includes("PA_2", "nurse", "TR_1"));
        assert!(!audience.includes("PA_2", "nurse", "TR_2"));
        assert!(!audience.includes("PA_3", "", "TR_1"), "no name is no name");
        assert!(Audience::Everybody.includes("PA_3", "", "TR_1"));
        let nobody = Audience::from_proto(SubscriptionPermission::default());
        assert!(!nobody.includes("PA_1", "nurse", "TR_1"));
    }

    #[test]
    fn settings_become_a_wish() {
        let mut settings = UpdateTrackSettings {
            quality: VideoQuality::High as i32,
            ..Default::default()
        };
        assert_eq!(wish(&settings), LayerWish::Best);
        settings.quality = VideoQuality::Medium as i32;
        assert_eq!(wish(&settings), LayerWish::Rank(1));
        (settings.width, settings.height) = (320, 180);
        let size = LayerWish::Size {
            width: 320,
            height: 180,
        };
        assert_eq!(wish(&settings), size);
        settings.disabled = true;
        assert_eq!(wish(&settings), LayerWish::Paused);
    }
}
