//! Backup codecs: the same picture once more, for those who cannot decode the first codec.
//!
//! A publisher of VP9 or AV1 announces a second codec and sends it only when told that somebody needs
//! it. It is a publication of its own in the media plane, in a section of its own, under the name of
//! the one track that everybody knows. Whoever cannot decode the first codec gets the backup under the
//! same subscription; until it is sent, the subscription waits. All policies are served like this: the
//! first codec goes on for all who decode it.

use sfu::id::{PublicationId, SubscriptionId, TransportId};
use sfu::media::{Codec, LayerWish, MediaKind, Mid, PublicationParams, SubscriptionParams};
use sfu::shard::command::Command;

use super::Room;
use super::dynacast::Demand;
use super::negotiation::{agreed_codecs, sends, still_sends};
use super::participant::{Participant, ParticipantKey, Path};
use super::slots::Assignment;
use super::tracks::{Track, codec_named, mime_type};
use crate::sdp::params::{self, AnnouncedLayer};
use crate::sdp::{Offer, Section};
use crate::sid;
use crate::wire::proto::{AddTrackRequest, VideoLayer};

/// The client's own names for a backup; one, as far as clients are known.
const CIDS_MAX: usize = 4;

/// A track in its second codec.
#[derive(Clone, Debug, PartialEq)]
pub struct Backup {
    /// Its name in the media plane.
    pub publication: PublicationId,
    /// The codec.
    pub codec: Codec,
    /// The client's own ids for it.
    pub cids: Vec<String>,
    /// The section that carries it, once there is one.
    pub mid: Option<Mid>,
    /// What was agreed about it, for the other workers that will send it.
    pub agreed: Option<Box<PublicationParams>>,
    /// What its publisher was told about who looks at it.
    pub demand: Demand,
    layers: Vec<AnnouncedLayer>,
}

/// A subscription that gets the backup.
#[derive(Clone, Debug)]
pub struct Backed {
    /// The track, by its first codec.
    pub publication: PublicationId,
    path: Path,
    params: Box<SubscriptionParams>,
    /// The media plane knows it.
    is_begun: bool,
}

impl Backup {
    /// The second codec of an announcement, if there is one that differs from the first.
    pub fn announced(request: &AddTrackRequest) -> Option<Box<Self>> {
        let mut codecs = request.simulcast_codecs.iter();
        let first = codec_named(&codecs.next()?.codec)?;
        let codec = codec_named(&codecs.next()?.codec).filter(|codec| *codec != first)?;
        Some(Box::new(Self {
            publication: PublicationId(sid::next_number()),
            codec,
            cids: Vec::new(),
            mid: None,
            agreed: None,
            demand: Demand::silent(),
            layers: Vec::new(),
        }))
    }
}

impl Track {
    /// The client is about to send the backup.
    pub fn announce_backup(&mut self, request: &AddTrackRequest) {
        let Some(backup) = &mut self.backup else {
            return;
        };
        let listed = request.simulcast_codecs.iter().map(|codec| &codec.cid);
        for cid in std::iter::once(&request.cid).chain(listed) {
            if !cid.is_empty() && !backup.cids.contains(cid) && backup.cids.len() < CIDS_MAX {
                backup.cids.push(cid.clone());
            }
        }
        let listed = request.simulcast_codecs.first().map(|codec| &codec.layers);
        let layers = listed.filter(|layers| !layers.is_empty());
        let mut layers = layers.unwrap_or(&request.layers).clone();
        layers.sort_by_key(|layer| layer.quality);
        backup.layers = layers.iter().map(announced_layer).collect();
        let mime = mime_type(backup.codec);
        if let Some(info) = self
            .info
            .codecs
            .iter_mut()
            .find(|one| one.mime_type == mime)
        {
            request.cid.clone_into(&mut info.cid);
            info.layers = layers;
        }
    }

    /// What was agreed about it, or its backup, under this name in the media plane.
    pub fn agreed_as(&self, publication: PublicationId) -> Option<&PublicationParams> {
        if self.publication == publication {
            return self.agreed.as_deref();
        }
        let backup = self.backup.as_ref();
        backup
            .filter(|one| one.publication == publication)?
            .agreed
            .as_deref()
    }

    /// The codec that is preferred in a section that carries the track, or its backup.
    pub fn preferred_in(&self, mid: Mid) -> Option<Option<Codec>> {
        let backup = self.backup.as_ref().filter(|one| one.mid == Some(mid));
        match backup {
            Some(backup) => Some(Some(backup.codec)),
            None if self.mid == Some(mid) => Some(self.preferred),
            None => None,
        }
    }

    /// Whether a client that takes these sections' codecs can decode the first codec.
    fn is_decoded_in(&self, section: &Section) -> bool {
        let agreed = self.agreed.as_ref();
        let first = agreed.and_then(|agreed| agreed.codecs.first());
        let takes = |codec| section.codecs.iter().any(|one| one.params.codec == codec);
        first.is_none_or(|first| takes(first.codec))
    }

    /// It goes on in another room, under other names in the media plane. Returned are those that the media
    /// plane knows, old and new.
    pub fn rename(&mut self) -> Vec<(PublicationId, PublicationId)> {
        let fresh = |name: &mut PublicationId| {
            let new = PublicationId(sid::next_number());
            (std::mem::replace(name, new), new)
        };
        self.is_subscribed = false;
        let is_published = self.is_published();
        let own = Some(fresh(&mut self.publication)).filter(|_| is_published);
        let backup = self.backup.as_deref_mut().and_then(|backup| {
            let is_published = backup.mid.is_some();
            Some(fresh(&mut backup.publication)).filter(|_| is_published)
        });
        own.into_iter().chain(backup).collect()
    }

    /// What ends it in the media plane.
    pub fn ending(&self) -> impl Iterator<Item = Command> + use<> {
        let backup = self.backup.as_ref().filter(|one| one.mid.is_some());
        let publications = [Some(self.publication), backup.map(|one| one.publication)];
        let publications = publications.into_iter().flatten();
        publications.map(|publication| Command::Unpublish { publication })
    }
}

fn announced_layer(layer: &VideoLayer) -> AnnouncedLayer {
    AnnouncedLayer {
        width: layer.width,
        height: layer.height,
        bitrate: layer.bitrate,
    }
}

/// Publishes the backup that a section is for, if there is one. Returns the track's name.
pub(super) fn publish(
    participant: &mut Participant,
    transport: TransportId,
    section: &Section,
) -> Option<(PublicationId, Vec<Command>)> {
    let cid = section.msid.as_ref().map(|msid| &msid.track)?;
    let is_meant = |track: &&mut Track| {
        let backup = track.backup.as_ref();
        backup.is_some_and(|one| one.mid.is_none() && one.cids.contains(cid))
    };
    let is_taken = participant
        .tracks
        .iter()
        .any(|track| track.preferred_in(section.mid).is_some());
    if !sends(section) || is_taken {
        return None;
    }
    let track = participant.tracks.iter_mut().find(is_meant)?;
    let is_muted = track.info.muted;
    let backup = track.backup.as_deref()?;
    let mut codecs = agreed_codecs(track, Some(backup.codec), section);
    codecs.retain(|params| params.codec == backup.codec);
    codecs.first()?;
    let params = params::publication(section, MediaKind::Video, codecs, &backup.layers);
    let params = Box::new(params);
    let (name, publication) = (track.publication, backup.publication);
    let mime = mime_type(backup.codec);
    if let Some(info) = track
        .info
        .codecs
        .iter_mut()
        .find(|one| one.mime_type == mime)
    {
        info.mid = section.mid.to_string();
    }
    let backup = track.backup.as_deref_mut()?;
    backup.mid = Some(section.mid);
    backup.agreed = Some(params.clone());
    // A recording has the first, which is sent as long as it is recorded.
    let unrecorded = Command::SetTapWish {
        publication,
        wish: Some(LayerWish::Paused),
    };
    let publish = Command::Publish {
        transport,
        publication,
        params,
    };
    let mut commands = vec![publish, unrecorded];
    commands.extend(is_muted.then_some(Command::SetMuted {
        publication,
        muted: true,
    }));
    Some((name, commands))
}

impl Room {
    /// Ends the backups whose sections are gone. Says whether there were any.
    pub(super) fn end_backups(&mut self, key: ParticipantKey, offer: &Offer) -> bool {
        let Some(participant) = self.participants.get_mut(&key) else {
            return false;
        };
        let Some(worker) = participant.worker() else {
            return false;
        };
        let mut ended = Vec::new();
        for track in &mut participant.tracks {
            if let Some(backup) = &mut track.backup
                && let Some(mid) = backup.mid
                && !still_sends(offer, mid, &backup.cids)
            {
                backup.mid = None;
                backup.agreed = None;
                ended.push((track.publication, backup.publication));
            }
        }
        for &(track, publication) in &ended {
            self.spread.send(worker, Command::Unpublish { publication });
            self.suspend_backed(track);
        }
        !ended.is_empty()
    }

    /// The backup of a track is gone: those who got it wait for it again.
    pub(super) fn suspend_backed(&mut self, track: PublicationId) {
        for subscriber in self.participants.values_mut() {
            let backed = subscriber.subscriptions.backed.values_mut();
            backed
                .filter(|one| one.publication == track)
                .for_each(|one| one.is_begun = false);
        }
    }

    /// Gives a subscriber who cannot decode a track its backup, or lets it wait for that. Says whether
    /// it is so.
    pub(super) fn back(
        &mut self,
        key: ParticipantKey,
        path: Path,
        section: &Section,
        assignment: &Assignment,
        params: &SubscriptionParams,
    ) -> bool {
        let publisher = self.publisher_of(assignment.publication);
        let track = publisher.and_then(|one| one.published(assignment.publication));
        let Some(track) = track.filter(|one| one.backup.is_some() && !one.is_decoded_in(section))
        else {
            return false;
        };
        let publication = track.publication;
        if let Some(participant) = self.participants.get_mut(&key) {
            let backed = Backed {
                publication,
                path,
                params: Box::new(params.clone()),
                is_begun: false,
            };
            let all = &mut participant.subscriptions.backed;
            all.insert(assignment.subscription, backed);
        }
        self.begin_backed(publication);
        true
    }

    /// Begins the subscriptions that have waited for the backup of a track, if it is there.
    pub(super) fn begin_backed(&mut self, track: PublicationId) {
        let publisher = self.publisher_of(track);
        let found = publisher.and_then(|publisher| {
            let backup = publisher.published(track)?.backup.as_deref()?;
            backup.mid.map(|_| backup.publication)
        });
        let Some(publication) = found else {
            return;
        };
        let mut begun: Vec<(SubscriptionId, Backed, LayerWish)> = Vec::new();
        for subscriber in self.participants.values_mut() {
            let subscriptions = &mut subscriber.subscriptions;
            let wish = subscriptions.wishes.get(&track).copied();
            for (subscription, backed) in &mut subscriptions.backed {
                if backed.publication == track && !backed.is_begun {
                    backed.is_begun = true;
                    let wish = wish.unwrap_or(LayerWish::Best);
                    begun.push((*subscription, backed.clone(), wish));
                }
            }
        }
        for (subscription, backed, wish) in begun {
            let Path { worker, transport } = backed.path;
            self.open_relay(worker, publication);
            let subscribe = Command::Subscribe {
                transport,
                subscription,
                publication,
                params: backed.params,
            };
            self.spread.send(worker, subscribe);
            if wish != LayerWish::Best {
                let command = Command::SetWish { subscription, wish };
                self.spread.send(worker, command);
            }
        }
    }
}
