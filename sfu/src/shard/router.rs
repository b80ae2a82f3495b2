//! The way of a media packet through the shard: from an authenticated packet of a publisher to a
//! place in the queue of each subscriber.
//!
//! The router learns which source belongs to which layer, lets the layer judge the packet, and
//! offers it to every subscription of the publication. It decides nothing itself: layers, selectors
//! and rewriters do. Queues are flushed receiver by receiver at the end of the turn.

use std::collections::VecDeque;
use std::time::Instant;

use slab::Slab;

use super::event::{Event, EventKind, Speaker};
use super::output::Output;
use super::peer::{Hot, Peer, Source};
use super::pending::{Pending, PendingList};
use crate::config::Limits;
use crate::error::Reject;
use crate::id::PublicationId;
use crate::media::{Codec, MediaKind};
use crate::publication::history::{PacketInfo, SpatialMark};
use crate::publication::layer::Arrival;
use crate::publication::{PayloadKind, Publication};
use crate::relay::Outbox;
use crate::room::{Origin, Published, Rooms};
use crate::rtp::codec::{av1, h264, vp8, vp9};
use crate::rtp::extension::{AudioLevel, Extensions};
use crate::rtp::packet::Header;
use crate::rtp::rtx;
use crate::slab::{Carried, SlabPool};
use crate::speaker::Voice;
use crate::stats::StatsSnapshot;
use crate::subscription::rewriter::PictureIds;
use crate::unit::{SeqNo, Ssrc};

/// Everything that media packets touch.
pub(super) struct Router {
    pub(super) limits: Limits,
    pub(super) rooms: Rooms,
    pub(super) peers: Slab<Peer>,
    /// What packets touch of the peers, at the same places.
    pub(super) hots: Vec<Hot>,
    /// What waits to leave.
    pub(super) pending: PendingList,
    pub(super) pool: SlabPool,
    pub(super) stats: StatsSnapshot,
    pub(super) events: VecDeque<Event>,
    /// Places of peers that have something to send.
    pub(super) dirty: VecDeque<usize>,
    /// Sounds wait for each other, because the worker is busy.
    pub(super) holds_sounds: bool,
    /// Places of peers whose sounds wait.
    pub(super) held: Vec<usize>,
    /// Places of peers whose deadline must be found anew.
    pub(super) touched: Vec<usize>,
    /// Frames for other shards.
    pub(super) outbox: Outbox,
    /// How many mirrors there are.
    pub(super) mirrors: usize,
    /// Places of mirrors that have something to say.
    pub(super) touched_mirrors: Vec<usize>,
    /// Places of peers that are sent padding.
    pub(super) padded: Vec<usize>,
    /// Places of rooms that have a tap.
    pub(super) tapped_rooms: Vec<usize>,
}

impl Router {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            rooms: Rooms::default(),
            peers: Slab::new(),
            hots: Vec::new(),
            pending: PendingList::default(),
            pool: SlabPool::new(limits.slabs_max),
            stats: StatsSnapshot::default(),
            events: VecDeque::new(),
            dirty: VecDeque::new(),
            holds_sounds: false,
            held: Vec::new(),
            touched: Vec::new(),
            outbox: Outbox::default(),
            mirrors: 0,
            touched_mirrors: Vec::new(),
            padded: Vec::new(),
            tapped_rooms: Vec::new(),
            limits,
        }
    }

    /// The peer has something to send.
    pub(super) fn mark_dirty(&mut self, place: usize) {
        if !std::mem::replace(&mut self.hots[place].is_dirty, true) {
            self.dirty.push_back(place);
        }
    }

    /// A new peer; returns its place.
    pub(super) fn add_peer(&mut self, peer: Peer) -> usize {
        let place = self.peers.insert(peer);
        if place == self.hots.len() {
            self.hots.push(Hot::default());
        }
        place
    }

    /// Forgets a peer that nothing waits for any more, and its keys.
    pub(super) fn remove_peer(&mut self, place: usize) -> Peer {
        let hot = std::mem::take(&mut self.hots[place]);
        debug_assert!(hot.pending.is_empty(), "its subscriptions have ended");
        self.dirty.retain(|&other| other != place);
        self.held.retain(|&other| other != place);
        self.touched.retain(|&other| other != place);
        self.padded.retain(|&other| other != place);
        self.peers.remove(place)
    }

    /// Sounds have waited long enough. Some have left meanwhile, behind a picture.
    pub(super) fn release_sounds(&mut self) {
        for place in self.held.drain(..) {
            let hot = &mut self.hots[place];
            hot.is_held = false;
            if !hot.pending.is_empty() && !std::mem::replace(&mut hot.is_dirty, true) {
                self.dirty.push_back(place);
            }
        }
    }

    /// Takes back what waits to leave for a subscription that ends.
    pub(super) fn drop_pending(&mut self, place: usize, subscription: usize) {
        let chain = &mut self.hots[place].pending;
        self.pending.forget(chain, subscription, &mut self.pool);
    }

    /// The peer's deadline may have moved.
    pub(super) fn touch(&mut self, place: usize) {
        let hot = &mut self.hots[place];
        if !std::mem::replace(&mut hot.is_touched, true) {
            self.touched.push(place);
        }
    }

    /// The frames that wait for one other shard, of which there must be one.
    pub(super) fn take_relays(&mut self) -> Output<'_> {
        let batch = self.outbox.take(&self.pool);
        Output::Relay(batch.expect("the caller has seen that something waits"))
    }

    /// Takes an authenticated packet of a peer: the datagram, whose header was never encrypted, and
    /// what was opened of it.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        place: usize,
        header: &Header,
        seq: SeqNo,
        datagram: &[u8],
        opened: Carried<'_>,
    ) -> Result<(), Reject> {
        let media = &mut self.peers[place].media;
        let known = media.sources.get(&header.ssrc).copied();
        let extensions = match known {
            Some(_) => header.extension_values(datagram, &media.extensions),
            None => header.extensions(datagram, &media.extensions),
        };
        if let Some(number) = extensions.transport_cc
            && media.arrivals.note(now, number, header.ssrc)
        {
            self.touch(place);
        }
        let source = match known {
            Some(source) => source,
            None => self.learn(now, place, header, &extensions)?,
        };
        let head = &datagram[..header.len];
        let (mut packet, mut payload) =
            self.read(source, header, head, &extensions, seq, opened)?;
        let publication = &self.rooms.publications[source.publication].publication;
        if publication.codec(packet.info.codec) == Codec::Av1 {
            self.describe(source, header, &mut packet, &mut payload);
        }
        self.deliver(now, source, &packet, payload)
    }

    /// Finds out where an unknown source belongs from what its packet says.
    ///
    /// The replay window of a source that is replaced is kept: an old packet of it that somebody
    /// replays must not pass for a new source.
    fn learn(
        &mut self,
        now: Instant,
        place: usize,
        header: &Header,
        extensions: &Extensions,
    ) -> Result<Source, Reject> {
        let peer = &mut self.peers[place];
        let mid = extensions.mid.as_ref().ok_or(Reject::UnknownSource)?;
        let publication = peer
            .media
            .publications
            .iter()
            .copied()
            .find(|&place| self.rooms.publications[place].publication.mid() == mid)
            .ok_or(Reject::UnknownSource)?;
        let published = &mut self.rooms.publications[publication];
        let is_repair = match published.publication.payload_kind(header.payload_type) {
            Some(PayloadKind::Media(_)) => false,
            Some(PayloadKind::Repair(_)) => true,
            None => return Err(Reject::UnknownPayloadType),
        };
        let rid = if is_repair {
            extensions.repaired_rid.as_ref()
        } else {
            extensions.rid.as_ref()
        };
        let rank = published
            .publication
            .rank_of(rid)
            .ok_or(Reject::UnknownSource)?;
        let layer = published.publication.layer(rank);
        let before = match is_repair {
            true => layer.repair_source(),
            // One section, one source: whoever was heard just now is not replaced.
            false if layer.is_fresh(now) => return Err(Reject::UnknownSource),
            false => layer.source(),
        };
        if let Some(before) = before {
            peer.media.sources.remove(&before);
        }
        if peer.media.sources.len() >= self.limits.ssrcs_per_transport_max {
            return Err(Reject::TooManySources);
        }
        let source = Source {
            publication,
            rank,
            is_repair,
        };
        peer.media.sources.insert(header.ssrc, source);
        self.bind(now, source, header.ssrc);
        Ok(source)
    }

    fn bind(&mut self, now: Instant, source: Source, ssrc: Ssrc) {
        let published = &mut self.rooms.publications[source.publication];
        let layer = published.publication.layer_mut(source.rank);
        if source.is_repair {
            layer.bind_repair(ssrc);
        } else if layer.bind(ssrc, &mut self.pool) {
            self.interrupt(source.publication, Some(source.rank));
            self.interrupt_recorded(now, source.publication, Some(source.rank));
        }
    }

    /// What the packet is, apart from whom it belongs to, and its payload.
    fn read<'a, 'b>(
        &self,
        source: Source,
        header: &Header,
        head: &'a [u8],
        extensions: &Extensions,
        seq: SeqNo,
        opened: Carried<'b>,
    ) -> Result<(Incoming<'a>, Carried<'b>), Reject> {
        let publication = &self.rooms.publications[source.publication].publication;
        let kind = publication
            .payload_kind(header.payload_type)
            .ok_or(Reject::UnknownPayloadType)?;
        let len = header.payload_len(opened.bytes());
        let (arrival, codec, seq, payload) = match (kind, source.is_repair) {
            (PayloadKind::Media(codec), false) => {
                // What has no payload still has a number: it goes through as it is, so that no
                // subscriber waits for it. libwebrtc takes it for padding.
                let len = match len {
                    Err(Reject::PaddingOnly) => 0,
                    len => len?,
                };
                (Arrival::Original, codec, seq, opened.part(0..len))
            }
            (PayloadKind::Repair(codec), true) => {
                let len = len?;
                let (original, _) = rtx::unwrap(&opened.bytes()[..len])?;
                let highest = publication
                    .layer(source.rank)
                    .highest()
                    .ok_or(Reject::RtxUseless)?;
                let payload = opened.part(rtx::PREFIX_LEN..len);
                (Arrival::Repair, codec, highest.extend(original), payload)
            }
            _ => return Err(Reject::UnknownPayloadType),
        };
        let (starts_keyframe, picture, spatial) =
            inspect(publication.codec(codec), payload.bytes())?;
        let packet = Incoming {
            arrival,
            header: head,
            info: PacketInfo {
                seq,
                timestamp: header.timestamp,
                marker: header.marker,
                codec,
                starts_keyframe,
                picture,
                audio_level: extensions.audio_level.map(wire_level),
                orientation: extensions.video_orientation,
                spatial,
                descriptor: 0,
            },
        };
        Ok((packet, payload))
    }

    /// Lets the dependency descriptor say what the packet is, and keeps it behind the payload.
    #[inline(never)]
    fn describe(
        &mut self,
        source: Source,
        header: &Header,
        packet: &mut Incoming<'_>,
        payload: &mut Carried<'_>,
    ) {
        let published = &mut self.rooms.publications[source.publication];
        let Origin::Peer(owner) = published.origin else {
            return;
        };
        let publication = &mut published.publication;
        let id = self.peers[owner].media.extensions.dependency_descriptor;
        let Some(value) = id.and_then(|id| header.extension(packet.header, id)) else {
            return;
        };
        let read = publication.layer_mut(source.rank).descriptors.read(value);
        // It lies outside of what end-to-end encryption hides: the payload is not believed.
        packet.info.starts_keyframe = read.is_some_and(|read| read.starts_keyframe);
        packet.info.spatial = read.map(|read| read.mark);
        if payload.append(value) {
            packet.info.descriptor = value.len() as u8;
        }
    }

    fn deliver(
        &mut self,
        now: Instant,
        source: Source,
        packet: &Incoming<'_>,
        payload: Carried<'_>,
    ) -> Result<(), Reject> {
        let published = &mut self.rooms.publications[source.publication];
        let owner = published.owner().ok_or(Reject::UnknownSource)?;
        let publication = &mut published.publication;
        let clock_rate = publication.clock_rate();
        let is_muted = publication.is_muted();
        let layer = publication.layer_mut(source.rank);
        if is_muted {
            layer.receive_muted(packet.info.seq);
            return Err(Reject::Muted);
        }
        let had_losses = !layer.losses.is_empty();
        let receipt = layer.receive(
            now,
            packet.arrival,
            packet.info,
            payload,
            clock_rate,
            &mut self.pool,
        )?;
        let has_loss = !had_losses && !layer.losses.is_empty();
        let wants_keyframe = layer.keyframes.due(now).is_some_and(|due| due <= now);
        if let Some(sample) = receipt.round_trip {
            self.peers[owner].media.note_round_trip(sample);
        }
        let has_changed = publication.note(now, source.rank, receipt);
        let is_first = publication.go_live();
        if let Some(level) = packet.info.audio_level.filter(|_| {
            publication.kind() == MediaKind::Audio && packet.arrival == Arrival::Original
        }) {
            publication
                .voice
                .note(level & 0x7f, packet.info.timestamp, clock_rate);
        }
        self.stats.packets_in += 1;
        if is_first {
            let publication = publication.id();
            self.tell(source.publication, |_| EventKind::PublicationLive {
                publication,
            });
        }
        if has_loss || wants_keyframe {
            self.touch(owner);
        }
        if has_changed {
            self.allocate_receivers(now, source.publication);
            self.refresh(source.publication);
            self.choose_recorded(now, source.publication);
        }
        self.record(now, source, packet);
        self.forward_to_mirrors(source, packet.info.seq);
        self.forward(now, source, packet.info.seq);
        Ok(())
    }

    /// Offers a packet that lies in the history to every subscription.
    pub(super) fn forward(&mut self, now: Instant, source: Source, seq: SeqNo) {
        let mut has_switched = false;
        let Published {
            publication,
            subscriptions,
            ..
        } = &self.rooms.publications[source.publication];
        let is_held = self.holds_sounds && publication.kind() == MediaKind::Audio;
        let layer = publication.layer(source.rank);
        let stream = layer.stream();
        let Some((info, packet)) = layer.packet(seq) else {
            return;
        };
        for &place in subscriptions {
            let subscribed = &mut self.rooms.subscriptions[place];
            let hot = &mut self.hots[subscribed.receiver];
            if !hot.is_connected {
                continue;
            }
            let offer = subscribed
                .subscription
                .offer(now, stream, info, publication);
            if offer.has_switched {
                has_switched = true;
                self.events.push_back(Event {
                    room: Some(self.rooms.rooms[subscribed.room].id),
                    kind: EventKind::LayerChanged {
                        subscription: subscribed.subscription.id(),
                        rank: Some(source.rank),
                    },
                });
            }
            let Some(outgoing) = offer.outgoing else {
                continue;
            };
            let pending = Pending {
                subscription: place,
                outgoing,
                packet: self.pool.share(packet),
            };
            self.pending.push(&mut hot.pending, pending);
            if hot.is_dirty {
                continue;
            }
            if is_held {
                self.stats.sounds_held += 1;
                if !std::mem::replace(&mut hot.is_held, true) {
                    self.held.push(subscribed.receiver);
                }
            } else {
                hot.is_dirty = true;
                self.dirty.push_back(subscribed.receiver);
            }
        }
        if has_switched {
            self.touch_mirror(source.publication);
        }
    }

    /// Layers, wishes or subscriptions have changed: everybody chooses anew, and keyframes are
    /// asked for where somebody waits for one.
    pub(super) fn refresh(&mut self, place: usize) {
        let views = self.rooms.publications[place].publication.views();
        for index in 0..self.rooms.publications[place].subscriptions.len() {
            let subscription = self.rooms.publications[place].subscriptions[index];
            let subscribed = &mut self.rooms.subscriptions[subscription];
            if subscribed.subscription.update(&views) {
                self.tell_nothing_sent(subscription);
            }
            self.want_awaited(subscription);
        }
        self.tell_state(place, None);
        self.touch_mirror(place);
    }

    /// Asks for the keyframe that a subscription waits for, if it does.
    pub(super) fn want_awaited(&mut self, subscription: usize) {
        let subscribed = &self.rooms.subscriptions[subscription];
        if self.hots[subscribed.receiver].is_connected
            && let Some(rank) = subscribed.subscription.awaited()
        {
            self.want_keyframe(subscribed.publication, rank);
        }
    }

    /// Somebody cannot go on without a keyframe of this layer.
    pub(super) fn want_keyframe(&mut self, publication: usize, rank: u8) {
        let published = &mut self.rooms.publications[publication];
        if published.publication.kind() != MediaKind::Video || published.publication.is_muted() {
            return;
        }
        published.publication.layer_mut(rank).keyframes.want();
        match published.origin {
            Origin::Peer(owner) => self.touch(owner),
            Origin::Mirror(_) => self.touch_mirror(publication),
        }
    }

    /// The stream of a publication, or of one layer of it, has a hole that only a keyframe heals.
    pub(super) fn interrupt(&mut self, place: usize, rank: Option<u8>) {
        for index in 0..self.rooms.publications[place].subscriptions.len() {
            let subscription = self.rooms.publications[place].subscriptions[index];
            let subscribed = &mut self.rooms.subscriptions[subscription];
            let current = subscribed.subscription.current();
            if (rank.is_none() || current == rank) && subscribed.subscription.interrupt() {
                self.tell_nothing_sent(subscription);
            }
        }
        self.touch_mirror(place);
    }

    /// Reports that a subscription is sent nothing now.
    pub(super) fn tell_nothing_sent(&mut self, subscription: usize) {
        let subscribed = &self.rooms.subscriptions[subscription];
        self.events.push_back(Event {
            room: Some(self.rooms.id_of(subscribed.room)),
            kind: EventKind::LayerChanged {
                subscription: subscribed.subscription.id(),
                rank: None,
            },
        });
    }

    /// Ends a window of loudness in a room and reports what changed.
    pub(super) fn close_speaker_window(&mut self, room: usize) {
        let mut speakers = Vec::new();
        for index in 0..self.rooms.room(room).publications.len() {
            let place = self.rooms.room(room).publications[index];
            let publication = &mut self.rooms.publications[place].publication;
            if publication.kind() == MediaKind::Audio
                && let Some(voice) = publication.voice.close_window()
            {
                speakers.push(speaker(publication.id(), voice));
                self.tell_voice_elsewhere(place, voice);
            }
        }
        self.tell_speakers(room, speakers);
    }

    /// A sound is muted or ends: whoever was told that it speaks hears that it does not.
    pub(super) fn fall_silent(&mut self, place: usize) {
        let published = &mut self.rooms.publications[place];
        if let Some(voice) = published.publication.voice.silence() {
            let silent = speaker(published.publication.id(), voice);
            let room = published.room;
            self.tell_speakers(room, vec![silent]);
            self.tell_voice_elsewhere(place, voice);
        }
    }

    /// Reports speakers, if there are any.
    pub(super) fn tell_speakers(&mut self, room: usize, speakers: Vec<Speaker>) {
        if !speakers.is_empty() {
            self.events.push_back(Event {
                room: Some(self.rooms.id_of(room)),
                kind: EventKind::Speakers { speakers },
            });
        }
    }

    /// Reports something about a publication.
    fn tell(&mut self, publication: usize, kind: impl FnOnce(&Publication) -> EventKind) {
        let published = &self.rooms.publications[publication];
        self.events.push_back(Event {
            room: Some(self.rooms.id_of(published.room)),
            kind: kind(&published.publication),
        });
    }
}

pub(super) fn speaker(publication: PublicationId, voice: Voice) -> Speaker {
    Speaker {
        publication,
        level: voice.level,
        is_active: voice.is_active,
    }
}

/// A packet that has been read but not yet judged.
pub(super) struct Incoming<'a> {
    pub(super) arrival: Arrival,
    pub(super) info: PacketInfo,
    /// With its contributors and extensions, as it came.
    pub(super) header: &'a [u8],
}

/// Whether decoding may begin with a payload, how its picture is numbered, and to which of its
/// layers it belongs.
fn inspect(
    codec: Codec,
    payload: &[u8],
) -> Result<(bool, PictureIds, Option<SpatialMark>), Reject> {
    let none = PictureIds::default();
    match codec {
        // Every packet of sound can be decoded.
        Codec::Opus | Codec::Red => Ok((true, none, None)),
        _ if payload.is_empty() => Ok((false, none, None)),
        Codec::Vp8 => {
            let descriptor = vp8::Descriptor::parse(payload)?;
            let picture = PictureIds {
                picture_id: descriptor.picture_id.map(vp8::PictureId::value),
                tl0_index: descriptor.tl0_index,
                key_index: descriptor.key_index,
            };
            Ok((descriptor.is_keyframe, picture, None))
        }
        Codec::H264 => Ok((h264::Units::parse(payload)?.has_sps, none, None)),
        Codec::Av1 => {
            // Encrypted end to end it may look like anything.
            let is_new = av1::Aggregation::parse(payload).is_ok_and(|read| read.starts_sequence());
            Ok((is_new, none, None))
        }
        Codec::Vp9 => {
            let read = vp9::Descriptor::parse(payload)?;
            let mark = SpatialMark::new(read.spatial, read.starts_frame, read.ends_frame)
                .at_rate(read.temporal, read.lifts);
            Ok((read.starts_keyframe(), none, Some(mark)))
        }
    }
}

fn wire_level(level: AudioLevel) -> u8 {
    u8::from(level.voice) << 7 | (level.level & 0x7f)
}
