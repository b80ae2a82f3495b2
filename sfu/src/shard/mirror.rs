//! Relays as a shard plays them: for publications that it owns, and for those that it mirrors.
//!
//! An owner sends to each mirror the packets of the layers that it wants. A mirror is a publication
//! like any other to those who are subscribed here; instead of RTCP to a peer, what it misses and
//! wants goes to the owner. Everything a mirror has to say is gathered when it is *served*: once a
//! turn if something has changed, and when its deadline comes.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::Shard;
use super::peer::Source;
use super::reports::Moment;
use super::router::Router;
use super::timers::TimerKey;
use crate::error::{CommandError, Reject};
use crate::id::{Epoch, PublicationId, RoomId, TransportId, WorkerId};
use crate::media::PublicationParams;
use crate::publication::history::PacketInfo;
use crate::publication::layer::{Arrival, Layer};
use crate::publication::{LAYERS_MAX, Publication};
use crate::relay::{Address, Frame, Mirror, REFRESH_INTERVAL, Relayed, frame};
use crate::room::{Origin, Published};
use crate::slab::{Carried, PacketRef, SlabBuffer};
use crate::subscription::rewriter::StreamKey;
use crate::unit::{NtpTime, SeqNo};

/// A mirror asks its owner so much more often for a keyframe than the owner may ask the publisher:
/// several mirrors and the owner's own subscribers share the publisher, and the owner throttles.
const KEYFRAME_EAGERNESS: u32 = 5;

/// What an answer of the owner takes; the publisher's own repairs are on their way meanwhile.
const ROUND_TRIP: Duration = Duration::from_millis(40);

/// Numbers that one frame asks for: the first and those in its mask.
const RESEND_SPAN: u64 = 64;

impl Shard {
    /// Takes a frame of another shard from a slab, which it may exchange for another.
    pub fn handle_relay(
        &mut self,
        now: Instant,
        from: WorkerId,
        buffer: &mut SlabBuffer,
        len: usize,
    ) {
        self.reclaim();
        self.router.stats.relay_frames_in += 1;
        let Ok((frame, payload)) = frame::read(&buffer[..len.min(buffer.len())]) else {
            self.router.stats.relay_frames_useless += 1;
            return;
        };
        let moment = self.moment(now);
        if let Err(Useless) = self.take_frame(moment, from, frame, buffer, payload) {
            self.router.stats.relay_frames_useless += 1;
        }
    }

    fn take_frame(
        &mut self,
        moment: Moment,
        from: WorkerId,
        frame: Frame,
        buffer: &mut SlabBuffer,
        payload: Range<usize>,
    ) -> Result<(), Useless> {
        let (now, router) = (moment.now, &mut self.router);
        match frame {
            Frame::Packet { to, stream, info } => {
                let place = router.mirrored(from, to)?;
                let carried = Carried {
                    buffer,
                    range: payload,
                };
                router.receive_relayed(now, place, stream, info, carried)?;
            }
            Frame::State { to, live, is_muted } => {
                let place = router.mirrored(from, to)?;
                router.note_state(place, live, is_muted);
            }
            Frame::Clock {
                to,
                stream,
                ntp,
                rtp,
                offset,
            } => {
                let place = router.mirrored(from, to)?;
                router.note_clock(now, place, stream, (ntp, rtp), offset)?;
            }
            Frame::End { to } => {
                let place = router.mirrored(from, to)?;
                if router.note_end(now, place) {
                    self.unpublish(now, place);
                }
            }
            Frame::Open {
                reply,
                room,
                epoch,
                demand,
            } => match router.owned_in(room, epoch, reply.publication) {
                Some(place) => router.open(now, place, from, reply, demand),
                None => router.relay(from, Frame::End { to: reply }, None),
            },
            Frame::Close { publication } => {
                let (place, index) = router.relayed(from, publication)?;
                router.rooms.publications[place].relays.swap_remove(index);
            }
            Frame::Keyframe { publication, rank } => {
                let (place, _) = router.relayed(from, publication)?;
                router.has_layer(place, rank)?;
                router.want_keyframe(place, rank);
            }
            Frame::Resend {
                publication,
                stream,
                first,
                mask,
            } => {
                let (place, index) = router.relayed(from, publication)?;
                router.has_layer(place, stream.rank)?;
                router.relay_again(place, index, stream, first, mask);
            }
        }
        Ok(())
    }

    /// Makes a mirror of another worker's publication, or keeps the one that is there.
    pub(super) fn open_relay(
        &mut self,
        now: Instant,
        room: usize,
        owner: WorkerId,
        publisher: TransportId,
        id: PublicationId,
        params: PublicationParams,
    ) -> Result<(), CommandError> {
        if let Ok(place) = self.router.rooms.publication(room, id) {
            let mirror = match &mut self.router.rooms.publications[place].origin {
                Origin::Mirror(mirror) if mirror.owner == owner => mirror,
                _ => return Err(CommandError::AlreadyExists),
            };
            mirror.keep_until = now + REFRESH_INTERVAL;
            return Ok(());
        }
        if !self.router.rooms.is_publication_free(id) {
            return Err(CommandError::AlreadyExists);
        }
        if self.router.mirrors >= self.router.limits.relays_max {
            return Err(CommandError::Limit("relays_max"));
        }
        let mut limits = self.router.limits.clone();
        limits.keyframe_interval_min /= KEYFRAME_EAGERNESS;
        let publication =
            Publication::new(now, id, params, &limits).map_err(CommandError::Limit)?;
        let mirror = Origin::Mirror(Mirror::new(now, owner, publisher));
        let place = self.router.rooms.publish(room, mirror, publication);
        self.router.mirrors += 1;
        self.router.touch_mirror(place);
        Ok(())
    }

    /// Says everything that a mirror has to say, closes it if nobody needs it, and finds out when
    /// it must be served next.
    pub(super) fn serve_mirror(&mut self, now: Instant, place: usize) {
        let Published {
            origin,
            subscriptions,
            ..
        } = &mut self.router.rooms.publications[place];
        let Origin::Mirror(mirror) = origin else {
            return;
        };
        mirror.is_touched = false;
        if subscriptions.is_empty() && now >= mirror.keep_until {
            self.unpublish(now, place);
            return;
        }
        self.router.tell_owner(now, place);
        let next = self.router.mirror_due(now, place);
        self.timers.set(TimerKey::Mirror(place), next);
    }
}

/// A frame that nobody waits for: late, or not for this room.
#[derive(Debug)]
pub(super) struct Useless;

impl Router {
    /// Queues a frame for another shard. What finds no room is counted.
    pub(super) fn relay(&mut self, to: WorkerId, frame: Frame, payload: Option<PacketRef>) {
        let frames_max = self.limits.relay_frames_max;
        match self.outbox.push(to, frame, payload, frames_max) {
            Ok(()) => self.stats.relay_frames_out += 1,
            Err(payload) => {
                self.stats.relay_frames_dropped += 1;
                if let Some(payload) = payload {
                    self.pool.release(payload);
                }
            }
        }
    }

    /// The mirror will be served before the turn is over.
    pub(super) fn touch_mirror(&mut self, place: usize) {
        if let Origin::Mirror(mirror) = &mut self.rooms.publications[place].origin
            && !std::mem::replace(&mut mirror.is_touched, true)
        {
            self.touched_mirrors.push(place);
        }
    }

    fn mirror(&self, place: usize) -> Option<&Mirror> {
        match &self.rooms.publications[place].origin {
            Origin::Mirror(mirror) => Some(mirror),
            Origin::Peer(_) => None,
        }
    }

    /// The mirror at an address, if its owner is who speaks.
    fn mirrored(&self, from: WorkerId, to: Address) -> Result<usize, Useless> {
        let place = to.place as usize;
        let published = self.rooms.publications.get(place).ok_or(Useless)?;
        let is_owner = matches!(&published.origin, Origin::Mirror(one) if one.owner == from);
        match is_owner && published.publication.id() == to.publication {
            true => Ok(place),
            false => Err(Useless),
        }
    }

    /// A publication that we own, for somebody who names its room, or one that it is shared with, and
    /// the placement of that rightly.
    fn owned_in(&self, room: RoomId, epoch: Epoch, id: PublicationId) -> Option<usize> {
        let room = self.rooms.placed(room, epoch)?;
        let place = self.rooms.publication(room, id).ok()?;
        self.rooms.publications[place].owner().map(|_| place)
    }

    /// Our publication and, in its list, the relay to the worker that speaks.
    fn relayed(&self, from: WorkerId, id: PublicationId) -> Result<(usize, usize), Useless> {
        let place = self.rooms.publication_anywhere(id).ok_or(Useless)?;
        let relays = &self.rooms.publications[place].relays;
        let is_it = |relay: &Relayed| relay.worker == from && relay.address.publication == id;
        let index = relays.iter().position(is_it);
        Ok((place, index.ok_or(Useless)?))
    }

    fn has_layer(&self, place: usize, rank: u8) -> Result<(), Useless> {
        let layers = self.rooms.publications[place].publication.layers();
        (usize::from(rank) < layers.len())
            .then_some(())
            .ok_or(Useless)
    }

    // What an owner does.

    fn open(&mut self, now: Instant, place: usize, from: WorkerId, at: Address, demand: u8) {
        let relays = &mut self.rooms.publications[place].relays;
        let relay = Relayed {
            worker: from,
            address: at,
            demand,
            heard_at: now,
        };
        // A room that it is shared with has a mirror of its own, under the name that it has there.
        let is_same =
            |one: &Relayed| one.worker == from && one.address.publication == at.publication;
        let known = relays.iter_mut().find(|one| is_same(one));
        let is_news = known.as_ref().is_none_or(|known| known.address != at);
        match known {
            Some(known) => *known = relay,
            None => relays.push(relay),
        }
        self.tell_state(place, Some(from));
        if is_news {
            for rank in 0..self.rooms.publications[place].publication.layers().len() {
                self.tell_clock(place, rank as u8, Some(from));
            }
        }
    }

    /// Tells one mirror or all of them which layers live and whether the publication is muted.
    pub(super) fn tell_state(&mut self, place: usize, only: Option<WorkerId>) {
        let publication = &self.rooms.publications[place].publication;
        let is_muted = publication.is_muted();
        let live = publication
            .views()
            .iter()
            .zip(0..)
            .fold(0, |bits, (view, rank)| {
                bits | u8::from(view.is_live) << rank
            });
        self.tell_mirrors(place, only, |to| Frame::State { to, live, is_muted });
    }

    /// Tells one mirror or all of them what a layer's clock and timestamps have in common.
    pub(super) fn tell_clock(&mut self, place: usize, rank: u8, only: Option<WorkerId>) {
        let published = &self.rooms.publications[place];
        let layer = published.publication.layer(rank);
        let owner = published.owner().map(|owner| &self.peers[owner].media);
        let offset = owner.and_then(|media| media.clock_offset);
        let (Some(clock), Some(offset)) = (layer.clock().copied(), offset) else {
            return;
        };
        let stream = layer.stream();
        self.tell_mirrors(place, only, |to| Frame::Clock {
            to,
            stream,
            ntp: clock.ntp,
            rtp: clock.rtp,
            offset,
        });
    }

    /// Tells all mirrors that it is over.
    pub(super) fn tell_end(&mut self, relays: &[Relayed]) {
        for relay in relays {
            let end = Frame::End { to: relay.address };
            self.relay(relay.worker, end, None);
        }
    }

    fn tell_mirrors(
        &mut self,
        place: usize,
        only: Option<WorkerId>,
        frame: impl Fn(Address) -> Frame,
    ) {
        for index in 0..self.rooms.publications[place].relays.len() {
            let relay = self.rooms.publications[place].relays[index];
            if only.is_none_or(|only| only == relay.worker) {
                self.relay(relay.worker, frame(relay.address), None);
            }
        }
    }

    /// Hands a packet that lies in the history to every mirror that wants its layer.
    pub(super) fn forward_to_mirrors(&mut self, source: Source, seq: SeqNo) {
        for index in 0..self.rooms.publications[source.publication].relays.len() {
            let relay = self.rooms.publications[source.publication].relays[index];
            if relay.demand & 1 << source.rank != 0 {
                self.relay_packet(source.publication, relay, source.rank, seq);
            }
        }
    }

    fn relay_packet(&mut self, place: usize, relay: Relayed, rank: u8, seq: SeqNo) {
        let layer = self.rooms.publications[place].publication.layer(rank);
        let Some((info, packet)) = layer.packet(seq) else {
            return;
        };
        let frame = Frame::Packet {
            to: relay.address,
            stream: layer.stream(),
            info: *info,
        };
        let payload = self.pool.share(packet);
        self.relay(relay.worker, frame, Some(payload));
    }

    fn relay_again(
        &mut self,
        place: usize,
        index: usize,
        stream: StreamKey,
        first: SeqNo,
        mask: u64,
    ) {
        let published = &self.rooms.publications[place];
        let relay = published.relays[index];
        if published.publication.layer(stream.rank).stream() != stream {
            return;
        }
        for step in (0..RESEND_SPAN).filter(|step| *step == 0 || mask & 1 << (step - 1) != 0) {
            // What has not come to us either is on its way here, and then there.
            self.relay_packet(
                place,
                relay,
                stream.rank,
                SeqNo(first.0.saturating_add(step)),
            );
        }
    }

    /// Forgets mirrors that have not been heard of for long: their worker has lost them.
    pub(super) fn lapse_relays(&mut self, now: Instant) {
        let silence_max = self.limits.relay_silence_max;
        for (_, published) in &mut self.rooms.publications {
            published
                .relays
                .retain(|relay| now.saturating_duration_since(relay.heard_at) <= silence_max);
        }
    }

    // What a mirror does.

    fn receive_relayed(
        &mut self,
        now: Instant,
        place: usize,
        stream: StreamKey,
        info: PacketInfo,
        payload: Carried<'_>,
    ) -> Result<(), Useless> {
        self.has_layer(place, stream.rank)?;
        let publication = &mut self.rooms.publications[place].publication;
        if usize::from(info.codec) >= publication.codecs().len() || publication.is_muted() {
            return Err(Useless);
        }
        let clock_rate = publication.clock_rate();
        let layer = publication.layer_mut(stream.rank);
        if layer.restart_as(stream.incarnation, &mut self.pool) {
            self.interrupt(place, Some(stream.rank));
        }
        let publication = &mut self.rooms.publications[place].publication;
        let layer = publication.layer_mut(stream.rank);
        if layer.stream() != stream {
            return Err(Useless);
        }
        let receipt = layer
            .receive(
                now,
                Arrival::Original,
                info,
                payload,
                clock_rate,
                &mut self.pool,
            )
            .map_err(|reason| {
                if reason == Reject::NoSlab {
                    self.stats.reject(reason);
                }
                Useless
            })?;
        let is_due = [layer.losses.due(), layer.keyframes.due(now)]
            .into_iter()
            .any(|due| due.is_some());
        if is_due {
            self.touch_mirror(place);
        }
        if receipt.has_come_alive {
            self.refresh(place);
        }
        let source = Source {
            publication: place,
            rank: stream.rank,
            is_repair: false,
        };
        self.forward(now, source, info.seq);
        Ok(())
    }

    fn note_state(&mut self, place: usize, live: u8, is_muted: bool) {
        let published = &mut self.rooms.publications[place];
        if let Origin::Mirror(mirror) = &mut published.origin {
            mirror.is_confirmed = true;
        }
        let publication = &mut published.publication;
        let mut has_changed = false;
        for layer in publication.layers_mut() {
            has_changed |= layer.set_live(live & 1 << layer.rank() != 0);
        }
        if publication.set_muted(is_muted) {
            has_changed = true;
            if is_muted {
                self.interrupt(place, None);
            } else {
                // What was sent meanwhile has not been relayed.
                self.rooms.publications[place]
                    .publication
                    .layers_mut()
                    .iter_mut()
                    .for_each(Layer::resume);
            }
        }
        if has_changed && !is_muted {
            self.refresh(place);
        }
    }

    /// Returns whether the owner is to be believed: before its first answer it may just not have
    /// heard of the publication yet, or the publication ended before it heard of the mirror.
    fn note_end(&mut self, now: Instant, place: usize) -> bool {
        let Origin::Mirror(mirror) = &mut self.rooms.publications[place].origin else {
            return false;
        };
        mirror.has_ended = mirror.is_confirmed || now >= mirror.doubted_until;
        mirror.has_ended
    }

    fn note_clock(
        &mut self,
        now: Instant,
        place: usize,
        stream: StreamKey,
        (ntp, rtp): (NtpTime, u32),
        offset: i64,
    ) -> Result<(), Useless> {
        self.has_layer(place, stream.rank)?;
        let published = &mut self.rooms.publications[place];
        let layer = published.publication.layer_mut(stream.rank);
        if layer.stream() != stream {
            return Err(Useless);
        }
        layer.handle_sender_report(now, ntp, rtp);
        if let Origin::Mirror(mirror) = &mut published.origin {
            mirror.clock_offset = Some(offset);
        }
        Ok(())
    }

    /// The layers that somebody here is sent or waits for, by bit.
    fn demand(&self, place: usize) -> u8 {
        let subscriptions = &self.rooms.publications[place].subscriptions;
        subscriptions.iter().fold(0, |bits, &place| {
            let subscription = &self.rooms.subscriptions[place].subscription;
            [subscription.current(), subscription.keyframe_rank()]
                .into_iter()
                .flatten()
                .fold(bits, |bits, rank| bits | 1 << rank)
        })
    }

    fn tell_owner(&mut self, now: Instant, place: usize) {
        let demand = self.demand(place);
        let published = &mut self.rooms.publications[place];
        let Origin::Mirror(mirror) = &mut published.origin else {
            return;
        };
        let owner = mirror.owner;
        let publication = published.publication.id();
        if demand != mirror.demand || mirror.refresh_at <= now {
            let (before, room) = (mirror.demand, published.room);
            mirror.demand = demand;
            mirror.note_told(now);
            for layer in published.publication.layers_mut() {
                let bit = 1 << layer.rank();
                match (before & bit != 0, demand & bit != 0) {
                    (false, true) => layer.resume(),
                    (true, false) => layer.suspend(),
                    _ => {}
                }
            }
            let room = self.rooms.room(room);
            let open = Frame::Open {
                reply: Address {
                    place: place as u32,
                    publication,
                },
                room: room.id,
                epoch: room.epoch,
                demand,
            };
            self.relay(owner, open, None);
        }
        for rank in 0..self.rooms.publications[place].publication.layers().len() {
            self.ask_owner(now, place, rank as u8, owner);
        }
    }

    /// Asks for what a layer misses.
    fn ask_owner(&mut self, now: Instant, place: usize, rank: u8, owner: WorkerId) {
        let published = &mut self.rooms.publications[place];
        let publication = published.publication.id();
        let layer = published.publication.layer_mut(rank);
        let stream = layer.stream();
        let wants_keyframe = layer.keyframes.try_ask(now);
        let mut asked = arrayvec::ArrayVec::<(SeqNo, u64), 8>::new();
        layer
            .losses
            .take_due(now, ROUND_TRIP, |seq| match asked.last_mut() {
                Some((first, mask)) if seq.0 - first.0 < RESEND_SPAN => {
                    *mask |= 1 << (seq.0 - first.0 - 1);
                }
                // What does not fit is asked for the next time.
                _ => asked.try_push((seq, 0)).unwrap_or_default(),
            });
        for (first, mask) in asked {
            self.stats.packets_requested += 1 + u64::from(mask.count_ones());
            let resend = Frame::Resend {
                publication,
                stream,
                first,
                mask,
            };
            self.relay(owner, resend, None);
        }
        if wants_keyframe {
            let keyframe = Frame::Keyframe { publication, rank };
            self.relay(owner, keyframe, None);
        }
    }

    /// When a mirror must next be served.
    fn mirror_due(&self, now: Instant, place: usize) -> Option<Instant> {
        let published = &self.rooms.publications[place];
        let mirror = self.mirror(place)?;
        let close = published
            .subscriptions
            .is_empty()
            .then_some(mirror.keep_until);
        let layers = published.publication.layers().iter();
        layers
            .flat_map(|layer| [layer.losses.due(), layer.keyframes.due(now)])
            .chain([Some(mirror.refresh_at), close])
            .flatten()
            .min()
    }
}

const _: () = assert!(LAYERS_MAX <= 8, "a bit of a byte stands for each layer");
