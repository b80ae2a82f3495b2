//! Carrying out commands: everything that changes who is there and who is sent what.
//!
//! A command is checked whole before it changes anything; one that fails has changed nothing. What
//! ends takes along what hangs on it: a room its transports, a transport its publications and
//! subscriptions, a publication its subscriptions.

use std::time::Instant;

use super::Shard;
use super::command::{Command, DataChannel, Directive};
use super::event::{DisconnectReason, Event, EventKind};
use super::peer::{Peer, PeerMedia, Source};
use super::timers::TimerKey;
use crate::error::CommandError;
use crate::id::{PublicationId, RoomId, SubscriptionId, TransportId};
use crate::media::{LayerWish, MediaKind, PublicationParams, SubscriptionParams};
use crate::publication::Publication;
use crate::relay::Frame;
use crate::room::Origin;
use crate::speaker;
use crate::subscription::Subscription;
use crate::tap::EndReason;
use crate::transport::Transport;
use crate::transport::params::{ExtensionIds, TransportParams};
use crate::unit::Ssrc;

impl Shard {
    /// Carries out a command or says why not.
    pub(super) fn carry_out(
        &mut self,
        now: Instant,
        directive: Directive,
    ) -> Result<(), CommandError> {
        let Directive {
            room: id,
            epoch,
            command,
        } = directive;
        if matches!(command, Command::OpenRoom) {
            let limits = &self.router.limits;
            return self.router.rooms.open(id, epoch, limits).map(|_| ());
        }
        let room = self.router.rooms.enter(id, epoch)?;
        match command {
            Command::OpenRoom => {}
            Command::CloseRoom => self.close_room(now, room),
            Command::AddTransport { transport, params } => {
                self.add_transport(now, room, transport, *params)?;
            }
            Command::RestartIce {
                transport,
                local,
                remote,
            } => {
                let peer = self.peer_in(room, transport)?;
                self.router.peers[peer]
                    .transport
                    .restart_ice(now, local, remote);
                self.stir(peer);
            }
            Command::AddSctp { transport, params } => {
                let peer = self.peer_in(room, transport)?;
                self.router.peers[peer].transport.add_sctp(now, params);
                self.stir(peer);
            }
            Command::OpenDataChannels { transport } => {
                let peer = self.peer_in(room, transport)?;
                self.router.peers[peer].transport.open_data_channels(now);
                self.stir(peer);
            }
            Command::LearnExtensions {
                transport,
                extensions,
            } => {
                let peer = self.peer_in(room, transport)?;
                let known = &mut self.router.peers[peer].media.extensions;
                *known = known.or(extensions);
            }
            Command::RemoveTransport { transport } => {
                let peer = self.peer_in(room, transport)?;
                self.remove_peer(now, peer);
            }
            Command::MoveTransport {
                transport,
                from,
                publications,
            } => self.move_transport(now, room, transport, from, &publications)?,
            Command::Publish {
                transport,
                publication,
                params,
            } => self.publish(now, room, transport, publication, *params)?,
            Command::SetMuted { publication, muted } => {
                self.set_muted(now, room, publication, muted)?;
            }
            Command::Unpublish { publication } => {
                let place = self.router.rooms.own_publication(room, publication)?;
                self.unpublish(now, place);
            }
            Command::Share {
                publication,
                from,
                name,
            } => self.share(room, publication, from, name)?,
            Command::Unshare { name } => self.unshare(room, name)?,
            Command::OpenRelay {
                publication,
                owner,
                publisher,
                params,
            } => self.open_relay(now, room, owner, publisher, publication, *params)?,
            Command::Subscribe {
                transport,
                subscription,
                publication,
                params,
            } => self.subscribe(now, room, transport, subscription, publication, &params)?,
            Command::SetWish { subscription, wish } => {
                self.set_wish(now, room, subscription, wish)?;
            }
            Command::SetImportance {
                subscription,
                priority,
                may_pause,
            } => {
                let place = self.router.rooms.subscription(room, subscription)?;
                let subscribed = &mut self.router.rooms.subscriptions[place];
                subscribed.subscription.priority = priority;
                subscribed.subscription.may_pause = may_pause;
                let receiver = subscribed.receiver;
                self.router.allocate(now, receiver);
            }
            Command::Unsubscribe { subscription } => {
                let place = self.router.rooms.subscription(room, subscription)?;
                self.unsubscribe(place);
            }
            Command::AttachTap { tap, picture_max } => {
                self.attach_tap(now, room, tap, picture_max);
            }
            Command::DetachTap => self.router.detach_tap(now, room),
            Command::RefreshTap => self.router.refresh_recorded(room),
            Command::SetTapGate { transport, is_open } => {
                let peer = self.peer_in(room, transport)?;
                self.set_tap_gate(now, peer, is_open);
            }
            Command::SetTapWish { publication, wish } => {
                self.set_tap_wish(now, room, publication, wish)?;
            }
            Command::SendData {
                transport,
                channel,
                payload,
            } => self.send_data(now, room, transport, channel, &payload)?,
        }
        Ok(())
    }

    fn peer_in(&self, room: usize, id: TransportId) -> Result<usize, CommandError> {
        self.transports
            .get(&id)
            .copied()
            .filter(|&place| self.router.peers[place].room == room)
            .ok_or(CommandError::UnknownTransport(id))
    }

    /// The peer's transport has been given something: what it says must be sent, and its deadline
    /// may have moved.
    pub(super) fn stir(&mut self, peer: usize) {
        self.router.hots[peer].is_stirred = true;
        self.router.mark_dirty(peer);
        self.router.touch(peer);
    }

    fn close_room(&mut self, now: Instant, room: usize) {
        while let Some(&peer) = self.router.rooms.room(room).members.last() {
            self.remove_peer(now, peer);
        }
        self.end_guests(room);
        while let Some(&mirror) = self.router.rooms.room(room).publications.last() {
            self.unpublish(now, mirror);
        }
        self.router.detach_tap(now, room);
        self.timers.remove(TimerKey::Room(room));
        self.router.rooms.close(room);
    }

    fn add_transport(
        &mut self,
        now: Instant,
        room: usize,
        id: TransportId,
        params: TransportParams,
    ) -> Result<(), CommandError> {
        if self.transports.contains_key(&id) {
            return Err(CommandError::AlreadyExists);
        }
        if self.router.peers.len() >= self.router.limits.transports_max {
            return Err(CommandError::Limit("transports_max"));
        }
        let local = Ssrc(u32::from_be_bytes(self.random()));
        let media = PeerMedia::new(now, params.extensions, local);
        let limits = &self.router.limits;
        let transport = Transport::new(now, id, params, &self.identity, limits);
        let place = self.router.add_peer(Peer {
            id,
            room,
            transport,
            media,
            addresses: arrayvec::ArrayVec::new(),
            is_silent: false,
        });
        self.transports.insert(id, place);
        self.router.rooms.room_mut(room).members.push(place);
        self.stir(place);
        Ok(())
    }

    /// Says goodbye and forgets a peer with all that it publishes and is sent.
    pub(super) fn remove_peer(&mut self, now: Instant, place: usize) {
        while let Some(&publication) = self.router.peers[place].media.publications.last() {
            self.unpublish(now, publication);
        }
        self.router.peers[place].media.is_leaving = true;
        self.router.peers[place].transport.close(now);
        self.drain_transport(now, place);
        while let Some(&subscription) = self.router.peers[place].media.subscriptions.last() {
            self.end_subscription(subscription);
        }
        let peer = self.router.remove_peer(place);
        self.transports.remove(&peer.id);
        for address in peer.addresses {
            self.demux.unbind(address, place);
        }
        self.timers.remove(TimerKey::Peer(place));
        self.router
            .rooms
            .room_mut(peer.room)
            .members
            .retain(|&other| other != place);
    }

    /// Forgets a peer whose transport has ended by itself, and reports it.
    pub(super) fn lose_peer(&mut self, now: Instant, place: usize, reason: DisconnectReason) {
        let peer = &self.router.peers[place];
        let event = Event {
            room: Some(self.router.rooms.id_of(peer.room)),
            kind: EventKind::Disconnected {
                transport: peer.id,
                reason,
            },
        };
        self.remove_peer(now, place);
        self.router.stats.transports_lost += 1;
        self.router.events.push_back(event);
    }

    fn publish(
        &mut self,
        now: Instant,
        room: usize,
        transport: TransportId,
        id: PublicationId,
        params: PublicationParams,
    ) -> Result<(), CommandError> {
        let peer = self.peer_in(room, transport)?;
        if !self.router.rooms.is_publication_free(id) {
            return Err(CommandError::AlreadyExists);
        }
        let limits = &self.router.limits;
        let media = &mut self.router.peers[peer].media;
        if media.publications.len() >= limits.publications_per_transport_max {
            return Err(CommandError::Limit("publications_per_transport_max"));
        }
        if media.sources.len() + 2 * params.layers.len() > limits.ssrcs_per_transport_max {
            return Err(CommandError::Limit("ssrcs_per_transport_max"));
        }
        let publication = Publication::new(now, id, params, limits).map_err(CommandError::Limit)?;
        if publication.kind() == MediaKind::Audio {
            self.timers
                .ensure(TimerKey::Room(room), now + speaker::INTERVAL);
        }
        let place = self
            .router
            .rooms
            .publish(room, Origin::Peer(peer), publication);
        media.publications.push(place);
        for layer in self.router.rooms.publications[place].publication.layers() {
            let sources = [(layer.source(), false), (layer.repair_source(), true)];
            for (ssrc, is_repair) in sources {
                if let Some(ssrc) = ssrc {
                    let source = Source {
                        publication: place,
                        rank: layer.rank(),
                        is_repair,
                    };
                    media.sources.insert(ssrc, source);
                }
            }
        }
        self.router.start_track(now, place);
        Ok(())
    }

    fn set_muted(
        &mut self,
        now: Instant,
        room: usize,
        id: PublicationId,
        muted: bool,
    ) -> Result<(), CommandError> {
        let place = self.router.rooms.own_publication(room, id)?;
        let publication = &mut self.router.rooms.publications[place].publication;
        if !publication.set_muted(muted) {
            return Ok(());
        }
        if muted {
            self.router.fall_silent(place);
            self.router.interrupt(place, None);
            self.router.interrupt_recorded(now, place, None);
            self.router.tell_state(place, None);
        } else {
            self.router.refresh(place);
            self.router.choose_recorded(now, place);
        }
        Ok(())
    }

    /// Forgets a publication, or the mirror of one, with its subscriptions, and tells those workers
    /// that it concerns.
    pub(super) fn unpublish(&mut self, now: Instant, place: usize) {
        self.router.end_track(now, place, EndReason::Unpublished);
        self.router.fall_silent(place);
        self.end_shares(place);
        while let Some(&subscription) = self.router.rooms.publications[place].subscriptions.last() {
            self.unsubscribe(subscription);
        }
        let mut published = self.router.rooms.unpublish(place);
        published.publication.clear(&mut self.router.pool);
        self.router.tell_end(&published.relays);
        let owner = match published.origin {
            Origin::Peer(owner) => owner,
            Origin::Mirror(mirror) => {
                self.router.mirrors -= 1;
                self.router.touched_mirrors.retain(|&other| other != place);
                self.timers.remove(TimerKey::Mirror(place));
                let publication = published.publication.id();
                if !mirror.has_ended {
                    self.router
                        .relay(mirror.owner, Frame::Close { publication }, None);
                }
                return;
            }
        };
        let peer = &mut self.router.peers[owner];
        peer.media.publications.retain(|&other| other != place);
        peer.media
            .sources
            .retain(|_, source| source.publication != place);
        for layer in published.publication.layers() {
            for ssrc in [layer.source(), layer.repair_source()]
                .into_iter()
                .flatten()
            {
                peer.transport.forget_source(ssrc);
            }
        }
    }

    fn subscribe(
        &mut self,
        now: Instant,
        room: usize,
        transport: TransportId,
        id: SubscriptionId,
        publication: PublicationId,
        params: &SubscriptionParams,
    ) -> Result<(), CommandError> {
        let receiver = self.peer_in(room, transport)?;
        let publication = self.router.rooms.publication(room, publication)?;
        let random = self.random();
        let media = &mut self.router.peers[receiver].media;
        let limits = &self.router.limits;
        let is_ssrc_taken = media.sent.contains_key(&params.ssrc);
        if is_ssrc_taken || !self.router.rooms.is_subscription_free(id) {
            return Err(CommandError::AlreadyExists);
        }
        if media.subscriptions.len() >= limits.subscriptions_per_transport_max {
            return Err(CommandError::Limit("subscriptions_per_transport_max"));
        }
        if params.codecs.len() > limits.codecs_per_track_max {
            return Err(CommandError::Limit("codecs_per_track_max"));
        }
        let published = &self.router.rooms.publications[publication].publication;
        let percent_max = limits.resend_percent_max;
        let extensions = ExtensionIds {
            transport_cc: media
                .extensions
                .transport_cc
                .filter(|_| limits.bandwidth_is_estimated),
            ..media.extensions
        };
        let mut subscription =
            Subscription::new(id, published, params, &extensions, percent_max, random)
                .ok_or(CommandError::NoCommonCodec(id))?;
        // Nothing is sent yet, so nothing can end here.
        let _nothing_ended = subscription.update(&published.views());
        let is_numbered = subscription.is_numbered();
        let place = self
            .router
            .rooms
            .subscribe(room, publication, receiver, subscription);
        media.subscriptions.push(place);
        media.sent.insert(params.ssrc, place);
        if is_numbered {
            self.router.open_downlink(now, receiver);
            self.router.allocate(now, receiver);
        }
        self.router.want_awaited(place);
        self.router.touch_mirror(publication);
        Ok(())
    }

    fn set_wish(
        &mut self,
        now: Instant,
        room: usize,
        id: SubscriptionId,
        wish: LayerWish,
    ) -> Result<(), CommandError> {
        let place = self.router.rooms.subscription(room, id)?;
        let subscribed = &mut self.router.rooms.subscriptions[place];
        let views = self.router.rooms.publications[subscribed.publication]
            .publication
            .views();
        let publication = subscribed.publication;
        let receiver = subscribed.receiver;
        if subscribed.subscription.set_wish(wish, &views) {
            self.router.tell_nothing_sent(place);
        }
        self.router.allocate(now, receiver);
        self.router.touch_mirror(publication);
        self.router.want_awaited(place);
        Ok(())
    }

    /// Ends a subscription and tells the receiver that its streams end.
    pub(super) fn unsubscribe(&mut self, place: usize) {
        let subscribed = &self.router.rooms.subscriptions[place];
        let receiver = subscribed.receiver;
        let (media, repair) = (
            subscribed.subscription.ssrc(),
            subscribed.subscription.rtx_ssrc(),
        );
        self.end_subscription(place);
        self.say_goodbye(receiver, media, repair);
    }

    fn end_subscription(&mut self, place: usize) {
        let subscribed = self.router.rooms.unsubscribe(place);
        self.router.touch_mirror(subscribed.publication);
        self.router.drop_pending(subscribed.receiver, place);
        let media = &mut self.router.peers[subscribed.receiver].media;
        media.subscriptions.retain(|&other| other != place);
        media.sent.remove(&subscribed.subscription.ssrc());
    }

    fn send_data(
        &mut self,
        now: Instant,
        room: usize,
        transport: TransportId,
        channel: DataChannel,
        payload: &[u8],
    ) -> Result<(), CommandError> {
        let place = self.peer_in(room, transport)?;
        let transport = &mut self.router.peers[place].transport;
        let result = transport.send_data(now, channel, payload);
        let dropped = transport.take_lossy_dropped();
        self.router.stats.data_dropped += dropped;
        if result.is_ok() && dropped == 0 {
            self.router.stats.data_out += 1;
        }
        self.stir(place);
        result
    }

    /// Reports that a command was not carried out.
    pub(super) fn refuse(&mut self, room: RoomId, error: CommandError) {
        self.router.events.push_back(Event {
            room: Some(room),
            kind: EventKind::Refused { error },
        });
    }
}
