//! Somebody of another room who is seen and heard here, and sees and hears nothing of this one.
//!
//! To the others a guest is a participant like any: he is in the list, they receive his tracks in the
//! sizes that they wish, they see him mute. But he has no session, no connection of his own here and
//! nobody to be told anything; what he is like is known from his [`Portrait`], and who would change him
//! must do so in his room. His tracks belong to that room. So nothing of him enters a recording of this
//! one, neither packets nor facts, and a room of which everybody must be recorded takes no guests.

use std::collections::BTreeMap;
use std::time::Instant;

use sfu::id::{PublicationId, RoomId, WorkerId};
use sfu::shard::command::Command;
use tokio::sync::watch;

use super::dynacast::Wanted;
use super::forwarding::{Demanded, Demands, Portrait, Visit};
use super::moderation::ModerationRefusal;
use super::outlet::Outlet;
use super::participant::{Connections, Hello, Participant, ParticipantKey, Path};
use super::permissions::Permissions;
use super::tracks::Track;
use super::{Removal, Room};
use crate::consent::RECORDING_ATTRIBUTE;
use crate::sid;
use crate::wire::proto::participant_info::State;
use crate::wire::proto::{ClientInfo, DisconnectReason};

/// What a room keeps of somebody who is in another one.
pub struct Guest {
    from: RoomId,
    path: Option<Path>,
    portrait: watch::Receiver<Portrait>,
    demands: watch::Sender<Demands>,
    /// What his tracks and their backups are called there, and here.
    names: BTreeMap<PublicationId, PublicationId>,
}

impl Guest {
    fn new(visit: Visit) -> Self {
        Self {
            from: visit.from,
            path: None,
            portrait: visit.portrait,
            demands: visit.demands,
            names: BTreeMap::new(),
        }
    }

    /// Over what he publishes in his room.
    pub fn path(&self) -> Option<Path> {
        self.path
    }

    /// Whether a worker has what he publishes.
    pub fn is_on(&self, worker: WorkerId) -> bool {
        self.path.is_some_and(|path| path.worker == worker)
    }

    /// The media plane has forgotten what it had of him here.
    pub fn forget_path(&mut self) {
        self.path = None;
    }

    /// His room hears what is wanted here of a picture.
    pub fn want(&self, here: PublicationId, first: Wanted, backup: Wanted) {
        let Some(there) = self.name_there(here) else {
            return;
        };
        let demanded = Demanded { first, backup };
        self.demands
            .send_if_modified(|demands| demands.insert(there, demanded) != Some(demanded));
    }

    fn name_there(&self, here: PublicationId) -> Option<PublicationId> {
        let mut names = self.names.iter();
        names
            .find(|(_, name)| **name == here)
            .map(|(there, _)| *there)
    }

    /// A track of his as it is known here.
    fn take(&mut self, track: &Track) -> Track {
        let mut here = track.clone();
        here.publication = self.name_of(track.publication);
        if let Some(backup) = &mut here.backup {
            backup.publication = self.name_of(backup.publication);
        }
        here
    }

    fn name_of(&mut self, there: PublicationId) -> PublicationId {
        let fresh = || PublicationId(sid::next_number());
        *self.names.entry(there).or_insert_with(fresh)
    }

    /// A track of his is over.
    fn forget(&mut self, track: &Track) {
        let there = self.name_there(track.publication);
        self.demands.send_if_modified(|demands| {
            there.is_some_and(|there| demands.remove(&there).is_some())
        });
        let backup = track.backup.as_ref().map(|one| one.publication);
        let names = [Some(track.publication), backup];
        self.names.retain(|_, here| !names.contains(&Some(*here)));
    }

    /// What shares a publication of his with this room.
    fn sharing(&self, here: PublicationId) -> Option<(WorkerId, Command)> {
        let command = Command::Share {
            publication: self.name_there(here)?,
            from: self.from,
            name: here,
        };
        Some((self.path?.worker, command))
    }

    /// What takes these tracks from this room.
    pub fn unsharing(&self, tracks: &[Track]) -> Vec<(WorkerId, Command)> {
        let Some(path) = self.path else {
            return Vec::new();
        };
        let names = tracks.iter().flat_map(names_in_media);
        let command = |name| (path.worker, Command::Unshare { name });
        names.map(command).collect()
    }
}

/// What the media plane knows of a track.
fn names_in_media(track: &Track) -> impl Iterator<Item = PublicationId> + use<> {
    let backup = track.backup.as_ref().filter(|one| one.mid.is_some());
    let backup = backup.map(|one| one.publication);
    [Some(track.publication), backup].into_iter().flatten()
}

/// Somebody without a client.
fn hello(portrait: &Portrait) -> Hello {
    Hello {
        grants: portrait.grants.clone(),
        api_key: portrait.api_key.clone(),
        token_expires_at: portrait.token_expires_at,
        client: ClientInfo::default(),
        connections: Connections::One,
        is_automatic: false,
        may_pause: false,
        tracks: Vec::new(),
        offer: None,
        outlet: Outlet::closed(),
        host: None,
    }
}

/// What is otherwise in a guest's tracks than before, by their names here.
#[derive(Default)]
struct News {
    begun: Vec<PublicationId>,
    muted: Vec<PublicationId>,
    backup_begun: Vec<PublicationId>,
    backup_ended: Vec<PublicationId>,
    /// What makes the media plane show what has begun.
    shares: Vec<(WorkerId, Command)>,
}

impl News {
    /// Notes how `track` differs from what `tracks` has of it, and puts it there.
    fn compare(&mut self, guest: &Guest, tracks: &mut Vec<Track>, track: Track) {
        let publication = track.publication;
        let known = tracks.iter_mut().find(|one| one.publication == publication);
        self.compare_backups(guest, known.as_deref(), &track);
        match known {
            Some(known) => {
                if track.info.muted && !known.info.muted {
                    self.muted.push(publication);
                }
                *known = track;
            }
            None => {
                self.shares.extend(guest.sharing(publication));
                self.begun.push(publication);
                tracks.push(track);
            }
        }
    }

    /// A backup that is sent in another section is another one.
    fn compare_backups(&mut self, guest: &Guest, known: Option<&Track>, track: &Track) {
        let section = |track: &Track| track.backup.as_ref().and_then(|one| one.mid);
        let (before, now) = (known.and_then(section), section(track));
        if before == now {
            return;
        }
        if before.is_some() {
            self.backup_ended.push(track.publication);
        }
        if let Some(backup) = track.backup.as_ref().filter(|_| now.is_some()) {
            self.shares.extend(guest.sharing(backup.publication));
            self.backup_begun.push(track.publication);
        }
    }
}

impl Participant {
    /// Whether he is in another room and only shown here.
    pub fn is_guest(&self) -> bool {
        self.guest.is_some()
    }

    /// Who a guest is, from his portrait.
    fn resemble(&mut self, portrait: &Portrait) {
        let grants = &portrait.grants;
        self.name.clone_from(&grants.name);
        self.metadata.clone_from(&grants.metadata);
        let recording = self.attributes.remove_entry(RECORDING_ATTRIBUTE);
        self.attributes.clone_from(&grants.attributes);
        self.attributes.extend(recording);
        self.token_expires_at = portrait.token_expires_at;
        self.permissions = Permissions {
            can_subscribe: false,
            can_publish_data: false,
            can_update_metadata: false,
            can_subscribe_metrics: false,
            is_recorder: false,
            ..Permissions::from_grant(&grants.video, &grants.kind)
        };
    }
}

impl Room {
    /// Takes in somebody who stays in another room, or says why not and gives him back.
    pub fn host(
        &mut self,
        now: Instant,
        visit: Box<Visit>,
    ) -> Result<(), (ModerationRefusal, Box<Visit>)> {
        let portrait = visit.portrait.borrow().clone();
        if let Err(refusal) = self.admits(&portrait.grants.identity) {
            return Err((refusal, visit));
        }
        let key = ParticipantKey(sid::next_number());
        let mut guest = Participant::new(key, &hello(&portrait));
        guest.state = State::Active;
        guest.guest = Some(Guest::new(*visit));
        guest.resemble(&portrait);
        self.participants.insert(key, guest);
        // He keeps the room, but what it is like decides who comes to it first.
        self.empty_since = None;
        self.take_tracks(key, &portrait);
        self.set_audience(now, key, &portrait.audience);
        self.show_recording();
        self.introduce(key);
        self.reconcile_all(now);
        self.settle_demands(now);
        Ok(())
    }

    fn admits(&self, identity: &str) -> Result<(), ModerationRefusal> {
        if self.key_of(identity).is_ok() || self.expected.contains(identity) {
            return Err(ModerationRefusal::Taken);
        }
        if self.participants.len() + self.expected.len() >= self.settings.participants_max {
            return Err(ModerationRefusal::Full);
        }
        match self.recording.is_for_all() {
            true => Err(ModerationRefusal::MustBeRecorded),
            false => Ok(()),
        }
    }

    /// The room has turned out to be one of which everybody must be recorded.
    pub(super) fn dismiss_guests(&mut self, now: Instant) {
        let guests = self.participants.values().filter(|one| one.is_guest());
        let guests: Vec<ParticipantKey> = guests.map(|one| one.key).collect();
        for key in guests {
            self.remove(
                now,
                key,
                Removal::gone(DisconnectReason::ParticipantRemoved),
            );
        }
    }

    /// Whether somebody of this identity is a guest.
    pub(super) fn has_guest(&self, identity: &str) -> bool {
        let mut participants = self.participants.values();
        participants.any(|one| one.identity == identity && one.is_guest())
    }

    /// How many are shown here who are in other rooms.
    pub fn guests(&self) -> usize {
        let participants = self.participants.values();
        participants.filter(|one| one.is_guest()).count()
    }

    /// Looks how the guests are now, and says goodbye to those who are no longer shown.
    pub(super) fn follow_guests(&mut self, now: Instant) {
        let guests = self.participants.values().filter(|one| one.is_guest());
        let guests: Vec<ParticipantKey> = guests.map(|one| one.key).collect();
        for key in guests {
            let participant = self.participants.get_mut(&key);
            let Some(guest) = participant.and_then(|one| one.guest.as_mut()) else {
                continue;
            };
            match guest.portrait.has_changed() {
                Ok(false) => {}
                Ok(true) => {
                    let portrait = guest.portrait.borrow_and_update().clone();
                    self.follow(now, key, &portrait);
                }
                Err(_) => self.remove(now, key, Removal::gone(DisconnectReason::UnknownReason)),
            }
        }
    }

    fn follow(&mut self, now: Instant, key: ParticipantKey, portrait: &Portrait) {
        if let Some(participant) = self.participants.get_mut(&key) {
            participant.resemble(portrait);
        }
        self.drop_tracks(key, portrait);
        let begun = self.take_tracks(key, portrait);
        self.set_audience(now, key, &portrait.audience);
        self.announce(key);
        for publication in begun {
            self.notify_published(key, publication);
        }
        self.reconcile_all(now);
        self.settle_demands(now);
    }

    /// Forgets the tracks that a guest has no more. With their publications everything has ended that
    /// hung on them.
    fn drop_tracks(&mut self, key: ParticipantKey, portrait: &Portrait) {
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        let Some(guest) = participant.guest.as_mut() else {
            return;
        };
        let is_kept = |guest: &Guest, track: &Track| {
            let there = guest.name_there(track.publication);
            let mut tracks = portrait.tracks.iter();
            tracks.any(|one| Some(one.publication) == there)
        };
        let ended = participant
            .tracks
            .extract_if(.., |track| !is_kept(guest, track));
        let ended: Vec<Track> = ended.collect();
        for track in &ended {
            guest.forget(track);
            participant.levels.remove(&track.publication);
        }
        for track in ended {
            self.forget_track(track.publication);
            if let Some(info) = self.participants.get_mut(&key).map(Participant::info) {
                self.notify_track("track_unpublished", info, track.info);
            }
        }
    }

    /// Takes over what a guest publishes now. Returns the names of what is new.
    fn take_tracks(&mut self, key: ParticipantKey, portrait: &Portrait) -> Vec<PublicationId> {
        let Some(participant) = self.participants.get_mut(&key) else {
            return Vec::new();
        };
        let Some(guest) = participant.guest.as_mut() else {
            return Vec::new();
        };
        guest.path = portrait.path;
        let mut news = News::default();
        for track in &portrait.tracks {
            let track = guest.take(track);
            news.compare(guest, &mut participant.tracks, track);
        }
        for (worker, command) in news.shares {
            self.spread.extend(worker);
            self.spread.send(worker, command);
        }
        for publication in news.muted {
            self.silence(publication);
        }
        for publication in news.backup_ended {
            self.suspend_backed(publication);
        }
        for publication in news.backup_begun {
            self.begin_backed(publication);
        }
        news.begun
    }
}
