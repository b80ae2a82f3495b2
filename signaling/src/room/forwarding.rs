//! Somebody of this room whom people in other rooms see and hear too, while he stays here.
//!
//! What they may know of him is a [`Portrait`], drawn anew whenever something has happened here and
//! handed over when it differs. What they want of his pictures comes back, so that his client goes on
//! sending what anybody looks at. The other room holds the other ends of both, where he is a
//! [`guest`](super::guest). Neither waits for the other, and each notices when the other end is gone:
//! that is how a forwarding ends from either side. Who may forward whom is decided by the front door.

use std::collections::BTreeMap;
use std::time::SystemTime;

use sfu::id::{PublicationId, RoomId};
use tokio::sync::watch;

use super::Room;
use super::dynacast::{Demand, Wanted};
use super::moderation::ModerationRefusal;
use super::participant::{Participant, Path};
use super::subscriptions::Audience;
use super::tracks::Track;
use crate::token::Grants;

/// What LiveKit's clients read in the details of such a participant's kind.
const KIND_DETAIL: &str = "forwarded";

/// What another room may know of somebody, and what the media plane must.
#[derive(Clone, PartialEq)]
pub struct Portrait {
    /// Who he is, and what he may do where he is.
    pub grants: Grants,
    /// The API key that signed his token.
    pub api_key: String,
    /// When that expires.
    pub token_expires_at: SystemTime,
    /// To whom his tracks may go.
    pub audience: Audience,
    /// Over what he publishes.
    pub path: Option<Path>,
    /// What he publishes, under the names of his room.
    pub tracks: Vec<Track>,
}

/// The best that is wanted of pictures, by the names of their publisher's room.
pub type Demands = BTreeMap<PublicationId, Demanded>;

/// The best that is wanted of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demanded {
    /// In its first codec.
    pub first: Wanted,
    /// In its second one.
    pub backup: Wanted,
}

/// What a room gets to whom somebody is forwarded. He is gone when its other ends are.
pub struct Visit {
    /// His room.
    pub from: RoomId,
    /// How he is.
    pub portrait: watch::Receiver<Portrait>,
    /// What is wanted of him.
    pub demands: watch::Sender<Demands>,
}

/// Our ends.
pub struct Forwarding {
    portrait: watch::Sender<Portrait>,
    demands: watch::Receiver<Demands>,
}

impl Forwarding {
    /// The best that is wanted there of a track, or of its backup.
    pub fn wanted(&self, publication: PublicationId, of_backup: bool) -> Wanted {
        let demands = self.demands.borrow();
        let demanded = demands.get(&publication);
        demanded.map_or(Wanted::Nothing, |one| match of_backup {
            true => one.backup,
            false => one.first,
        })
    }

    fn is_over(&self) -> bool {
        self.portrait.is_closed()
    }

    fn show(&self, portrait: &Portrait) {
        self.portrait.send_if_modified(|known| {
            let is_news = known != portrait;
            if is_news {
                known.clone_from(portrait);
            }
            is_news
        });
    }
}

impl Participant {
    /// Whether others may know him, and he may show them something.
    fn may_be_forwarded(&self) -> bool {
        self.permissions.can_publish && !self.permissions.is_hidden
    }

    fn portrait(&self) -> Portrait {
        let mut grants = self.grants_for("");
        grants.kind_details.push(KIND_DETAIL.to_owned());
        let published = self.tracks.iter().filter(|one| one.is_published());
        Portrait {
            grants,
            api_key: self.api_key.clone(),
            token_expires_at: self.token_expires_at,
            audience: self.audience.clone(),
            path: self.publishing_path(),
            tracks: published.map(drawn).collect(),
        }
    }
}

/// A track without what only its publisher is told.
fn drawn(track: &Track) -> Track {
    let mut track = Track {
        is_subscribed: false,
        is_silenced: false,
        demand: Demand::default(),
        ..track.clone()
    };
    if let Some(backup) = &mut track.backup {
        backup.demand = Demand::silent();
    }
    track
}

impl Room {
    /// Begins to show somebody to another room, or says why not.
    pub fn forward(&mut self, identity: &str) -> Result<Visit, ModerationRefusal> {
        let key = self.mover(identity)?.key;
        let max = self.setup.limits.forwardings_per_participant_max;
        let participant = self.participant(key);
        if !participant.may_be_forwarded() {
            return Err(ModerationRefusal::NothingToShow);
        }
        participant.forwardings.retain(|one| !one.is_over());
        if participant.forwardings.len() >= max {
            return Err(ModerationRefusal::EverywhereAlready);
        }
        let (portrait, shown) = watch::channel(participant.portrait());
        let (wanted, demands) = watch::channel(Demands::new());
        participant
            .forwardings
            .push(Forwarding { portrait, demands });
        Ok(Visit {
            from: self.id,
            portrait: shown,
            demands: wanted,
        })
    }

    /// Shows other rooms how those are now whom they see. To be called when the media plane has been
    /// told, because they tell it themselves what follows for them.
    pub fn show_elsewhere(&mut self) {
        let participants = self.participants.values_mut();
        for participant in participants.filter(|one| !one.forwardings.is_empty()) {
            let may_be_forwarded = participant.may_be_forwarded();
            let forwardings = &mut participant.forwardings;
            forwardings.retain(|one| may_be_forwarded && !one.is_over());
            let portrait = participant.portrait();
            for forwarding in &participant.forwardings {
                forwarding.show(&portrait);
            }
        }
    }
}
