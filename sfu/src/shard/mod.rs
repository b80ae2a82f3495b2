//! The state of one worker: every room, transport, publication and subscription on it.
//!
//! [`Shard`] is sans-IO. A turn hands it what arrived (datagrams, commands, the time); then it is
//! polled until it says [`Output::Timeout`]. During the turn packets are only decided on and
//! queued; polling flushes the queues receiver by receiver, so that a receiver's packets lie side
//! by side in the batch and its keys are loaded once. The shard itself only conducts: whose
//! datagram it is says `demux`, where media goes `router`, RTCP `reports`, commands
//! `control`.

mod bandwidth;
pub mod command;
mod control;
mod demux;
pub mod event;
pub(crate) mod fuzz;
mod hash;
mod mirror;
mod moving;
pub mod output;
pub(crate) mod padding;
mod peer;
mod pending;
mod rating;
mod recording;
mod reports;
mod router;
mod sharing;
mod silence;
mod timers;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use self::command::Directive;
use self::demux::{Demux, Protocol};
use self::event::{Event, EventKind};
pub(crate) use self::hash::StableHash;
pub use self::output::{Batch, Datagram, Output};
use self::padding::Leaving;
use self::peer::Hot;
use self::pending::{Chain, PendingList};
pub(crate) use self::recording::RoomTap;
use self::reports::Moment;
use self::router::Router;
use self::timers::{TimerKey, Timers};
use crate::config::Limits;
use crate::error::Reject;
use crate::id::TransportId;
use crate::rtp::packet::Header;
use crate::slab::{Carried, SlabBuffer, new_buffer};
use crate::speaker;
use crate::stats::StatsSnapshot;
use crate::transport::dtls::Identity;
use crate::transport::{TransportOutput, ice};
use crate::unit::{NtpTime, Ssrc};

/// How often the counters are reported.
const STATS_INTERVAL: Duration = Duration::from_secs(1);

/// No deadline of a transport is nearer than this: one that has just been served must not be asked
/// again in the same instant.
const TIMER_MIN: Duration = Duration::from_millis(1);

/// A shard that has not been called for so long has stood still itself: the machine was asleep, or
/// somebody else had the core. It is called every [`STATS_INTERVAL`] at least.
const STANDSTILL_MIN: Duration = Duration::from_secs(3);

/// How far the busy share must sink below `Limits::sound_hold_busy_permille` before sounds cease to
/// wait.
const HOLD_SLACK_PERMILLE: u32 = 100;

/// The state of one worker.
pub struct Shard {
    router: Router,
    demux: Demux,
    timers: Timers,
    transports: HashMap<TransportId, usize, StableHash>,
    identity: Identity,
    random: StdRng,
    started: Instant,
    ntp_at_start: NtpTime,
    /// When it was last asked to do what is due; at least every [`STATS_INTERVAL`].
    looked_at: Instant,
    outgoing: OutgoingBatch,
    /// Where a packet is opened. If it is kept this slab is, and another takes its place.
    opened: SlabBuffer,
    /// Where RTCP is put together.
    compound: Vec<u8>,
    /// Where it is planned how media leaves for one receiver.
    leaving: Vec<Leaving>,
}

/// The batch that is being filled.
#[derive(Default)]
struct OutgoingBatch {
    arena: Vec<u8>,
    datagrams: Vec<Datagram>,
    is_taken: bool,
}

impl OutgoingBatch {
    /// What was given out with the last batch may be written over now.
    fn reclaim(&mut self) {
        if std::mem::take(&mut self.is_taken) {
            self.arena.clear();
            self.datagrams.clear();
        }
    }

    /// Closes a datagram that was appended to the arena from `start` on.
    fn close(&mut self, to: SocketAddr, start: usize) {
        self.datagrams.push(Datagram {
            to,
            range: start as u32..self.arena.len() as u32,
        });
    }
}

impl Shard {
    /// An empty shard. `seed` is all the randomness that it will ever have, apart from what
    /// `identity` and DTLS draw themselves; `ntp_at_now` is the wall clock at `now`.
    pub fn new(
        now: Instant,
        ntp_at_now: NtpTime,
        seed: [u8; 32],
        identity: Identity,
        limits: Limits,
    ) -> Self {
        let mut timers = Timers::default();
        timers.set(TimerKey::Stats, Some(now + STATS_INTERVAL));
        Self {
            router: Router::new(limits),
            demux: Demux::default(),
            timers,
            transports: HashMap::default(),
            identity,
            random: StdRng::from_seed(seed),
            started: now,
            ntp_at_start: ntp_at_now,
            looked_at: now,
            outgoing: OutgoingBatch::default(),
            opened: new_buffer(),
            compound: Vec::new(),
            leaving: Vec::new(),
        }
    }

    /// Takes a datagram that was read from the worker's socket. What cannot be used is counted.
    pub fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &mut [u8]) {
        self.reclaim();
        self.router.stats.datagrams_in += 1;
        self.router.stats.bytes_in += datagram.len() as u64;
        if let Err(reason) = self.sort(now, from, datagram) {
            self.router.stats.reject(reason);
        }
    }

    /// A stream has ended: nothing comes from it or goes to it any more.
    pub fn handle_stream_end(&mut self, now: Instant, address: SocketAddr) {
        self.reclaim();
        if let Some(place) = self.demux.peek(address) {
            self.demux.unbind(address, place);
            let peer = &mut self.router.peers[place];
            peer.addresses.retain(|known| *known != address);
            peer.transport.handle_path_end(now, address);
            self.stir(place);
        }
    }

    /// Carries out a command, or reports that it was refused.
    pub fn handle_command(&mut self, now: Instant, directive: Directive) {
        self.reclaim();
        let room = directive.room;
        if let Err(error) = self.carry_out(now, directive) {
            self.refuse(room, error);
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.reclaim();
        let since = std::mem::replace(&mut self.looked_at, now);
        if now.saturating_duration_since(since) > STANDSTILL_MIN {
            self.excuse_silence(now);
        }
        while let Some(key) = self.timers.pop_due(now) {
            match key {
                TimerKey::Peer(place) => {
                    self.router.peers[place].transport.handle_timeout(now);
                    self.stir(place);
                }
                TimerKey::Room(place) => {
                    self.router.close_speaker_window(place);
                    let next = now + speaker::INTERVAL;
                    self.timers.set(key, Some(next));
                }
                TimerKey::Taps => {
                    let next = self.serve_taps(now);
                    self.timers.set(key, next);
                }
                TimerKey::Mirror(place) => self.router.touch_mirror(place),
                TimerKey::Sounds => self.router.release_sounds(),
                TimerKey::Padding => self.router.touch_padded(now),
                TimerKey::Stats => {
                    self.router.lapse_relays(now);
                    self.router.tick_downlinks(now);
                    self.router.rate_peers(now);
                    self.note_silences(now);
                    let snapshot = Box::new(self.stats());
                    self.router.events.push_back(Event {
                        room: None,
                        kind: EventKind::Stats { snapshot },
                    });
                    self.timers.set(key, Some(now + STATS_INTERVAL));
                }
            }
        }
    }

    /// After a standstill: whoever seems silent may have been talking to nobody.
    fn excuse_silence(&mut self, now: Instant) {
        for &place in self.transports.values() {
            let peer = &mut self.router.peers[place];
            peer.transport.excuse_silence(now);
            peer.media.quality.excuse_silence(now);
        }
        self.demux.excuse_silence(now);
    }

    /// The next thing to do. To be called until it says [`Output::Timeout`].
    pub fn poll_output(&mut self, now: Instant) -> Output<'_> {
        self.reclaim();
        self.serve_mirrors(now);
        // Before anything is sealed, so that another worker can begin at the same time.
        if !self.router.outbox.is_empty() {
            return self.router.take_relays();
        }
        if !self.router.held.is_empty() {
            let until = now + self.router.limits.sound_hold_max;
            self.timers.ensure(TimerKey::Sounds, until);
        }
        if !self.router.padded.is_empty() {
            let next = now + bandwidth::PADDING_INTERVAL;
            self.timers.ensure(TimerKey::Padding, next);
        }
        self.fill(now);
        if !self.outgoing.datagrams.is_empty() {
            self.outgoing.is_taken = true;
            self.router.stats.datagrams_out += self.outgoing.datagrams.len() as u64;
            self.router.stats.bytes_out += self.outgoing.arena.len() as u64;
            return Output::Transmit(Batch {
                arena: &self.outgoing.arena,
                datagrams: &self.outgoing.datagrams,
            });
        }
        if !self.router.outbox.is_empty() {
            return self.router.take_relays();
        }
        match self.router.events.pop_front() {
            Some(event) => Output::Event(event),
            None => Output::Timeout(self.timers.next()),
        }
    }

    /// What share of its time the worker works, in thousandths. Above a limit sounds wait a moment
    /// for each other; a little below it they cease to, so that it is not one way now and the other
    /// a second later.
    pub fn note_busy(&mut self, permille: u32) {
        let limit = self.router.limits.sound_hold_busy_permille;
        self.router.holds_sounds = if self.router.holds_sounds {
            permille + HOLD_SLACK_PERMILLE >= limit
        } else {
            permille >= limit
        };
    }

    /// Pads no more: nothing leaves together, so nothing is won by it.
    pub fn stop_padding(&mut self) {
        self.router.limits.padding_bytes_max = 0;
    }

    /// What was given out last is done with.
    fn reclaim(&mut self) {
        self.outgoing.reclaim();
        self.router.outbox.reclaim(&mut self.router.pool);
    }

    fn serve_mirrors(&mut self, now: Instant) {
        while let Some(place) = self.router.touched_mirrors.pop() {
            self.serve_mirror(now, place);
        }
    }

    /// When to be called again: what [`Output::Timeout`] said last.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// The counters, with the levels of this moment.
    pub fn stats(&self) -> StatsSnapshot {
        let rooms = &self.router.rooms;
        StatsSnapshot {
            rooms: rooms.len() as u64,
            transports: self.router.peers.len() as u64,
            publications: rooms.publications.len() as u64,
            relays: self.router.mirrors as u64,
            subscriptions: rooms.subscriptions.len() as u64,
            slabs_used: self.router.pool.used() as u64,
            ..self.router.stats_with_bandwidth(self.looked_at)
        }
    }

    fn sort(&mut self, now: Instant, from: SocketAddr, datagram: &mut [u8]) -> Result<(), Reject> {
        let protocol = demux::protocol(datagram).ok_or(Reject::UnknownProtocol)?;
        if protocol == Protocol::Stun {
            return self.handle_stun(now, from, datagram);
        }
        let place = self
            .demux
            .peer(now, from)
            .filter(|&place| self.router.peers[place].transport.is_validated(from))
            .ok_or(Reject::SourceUnvalidated)?;
        if matches!(protocol, Protocol::Rtp | Protocol::Rtcp) {
            let per_second = self.router.limits.packets_per_second_max;
            let allowance = &mut self.router.peers[place].media.allowance;
            if !allowance.take(now, per_second) {
                return Err(Reject::TooManyPackets);
            }
        }
        match protocol {
            Protocol::Stun | Protocol::Dtls => {
                let result = self.router.peers[place]
                    .transport
                    .handle_dtls(now, datagram);
                self.stir(place);
                result
            }
            Protocol::Rtp => {
                let header = Header::parse(datagram)?;
                let transport = &mut self.router.peers[place].transport;
                let buffer = &mut self.opened;
                let (seq, len) =
                    transport.unprotect_rtp_into(&header, datagram, &mut buffer[..])?;
                let range = 0..len;
                let opened = Carried { buffer, range };
                self.router
                    .receive(now, place, &header, seq, datagram, opened)
            }
            Protocol::Rtcp => {
                let transport = &mut self.router.peers[place].transport;
                let len = transport.unprotect_rtcp(datagram)?;
                let moment = self.moment(now);
                self.router.handle_rtcp(moment, place, &datagram[..len]);
                Ok(())
            }
        }
    }

    /// Connectivity checks name their transport; answers to our own checks come from an address
    /// that is bound already.
    fn handle_stun(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Result<(), Reject> {
        let place = match ice::addressee(datagram) {
            Ok(id) => *self.transports.get(&id).ok_or(Reject::StunUnknownUser)?,
            Err(Reject::StunUnexpected) => self.demux.peek(from).ok_or(Reject::StunUnexpected)?,
            Err(reason) => return Err(reason),
        };
        if !self.demux.is_free_for(now, from, place) {
            return Err(Reject::StunUnexpected);
        }
        let peer = &mut self.router.peers[place];
        let result = peer.transport.handle_stun(now, from, datagram);
        if result.is_ok() && peer.transport.is_validated(from) {
            self.bind(now, from, place);
        }
        self.stir(place);
        result
    }

    fn bind(&mut self, now: Instant, from: SocketAddr, place: usize) {
        if let Some(before) = self.demux.bind(now, from, place) {
            let addresses = &mut self.router.peers[before].addresses;
            addresses.retain(|address| *address != from);
        }
        let peer = &mut self.router.peers[place];
        if peer.addresses.contains(&from) {
            return;
        }
        if peer.addresses.is_full() {
            // The transport keeps fewer addresses than fit here, so some have lapsed.
            let transport = &peer.transport;
            let lapsed = peer
                .addresses
                .iter()
                .position(|address| !transport.is_validated(*address));
            let oldest = peer.addresses.remove(lapsed.unwrap_or(0));
            self.demux.unbind(oldest, place);
        }
        peer.addresses.push(from);
    }

    /// Flushes queues until the batch is full or nothing is left.
    fn fill(&mut self, now: Instant) {
        loop {
            while let Some(place) = self.router.touched.pop() {
                self.schedule(now, place);
            }
            self.serve_mirrors(now);
            if self.outgoing.arena.len() >= self.router.limits.batch_bytes_max {
                return;
            }
            let Some(place) = self.router.dirty.pop_front() else {
                return;
            };
            let hot = &mut self.router.hots[place];
            hot.is_dirty = false;
            if !std::mem::take(&mut hot.is_stirred) || self.drain_transport(now, place) {
                self.flush_media(now, place);
                self.flush_padding(now, place);
                // Behind the media, where a shorter packet still belongs to their run.
                self.write_feedback(now, place);
            }
        }
    }

    /// Finds out when a peer must be served next.
    fn schedule(&mut self, now: Instant, place: usize) {
        let due = self.router.feedback_due(now, place);
        let hot = &mut self.router.hots[place];
        hot.is_touched = false;
        hot.feedback_at = due.map(|due| due.at);
        let latest = due.map(|due| due.latest);
        let transport = self.router.peers[place]
            .transport
            .next_timeout()
            .map(|at| at.max(now + TIMER_MIN));
        if latest.is_some_and(|latest| latest <= now) {
            self.router.mark_dirty(place);
        }
        let next = [transport, latest].into_iter().flatten().min();
        self.timers.set(TimerKey::Peer(place), next);
    }

    /// Takes everything that a peer's transport has to say. False: the peer is gone.
    fn drain_transport(&mut self, now: Instant, place: usize) -> bool {
        loop {
            let peer = &mut self.router.peers[place];
            let hot = &mut self.router.hots[place];
            let room = Some(self.router.rooms.id_of(peer.room));
            let transport = peer.id;
            let start = self.outgoing.arena.len();
            let kind = match peer.transport.poll(&mut self.outgoing.arena) {
                None => {
                    hot.destination = peer.transport.destination();
                    return true;
                }
                Some(TransportOutput::Transmit { to, .. }) => {
                    self.outgoing.close(to, start);
                    continue;
                }
                Some(TransportOutput::Connected { profile }) => {
                    hot.is_connected = true;
                    hot.outbound = peer.transport.take_outbound();
                    peer.media.report_at = now + peer::REPORT_INTERVAL;
                    self.want_all_awaited(place);
                    EventKind::Connected { transport, profile }
                }
                Some(TransportOutput::DataChannelOpen(channel)) => {
                    EventKind::DataChannelOpen { transport, channel }
                }
                Some(TransportOutput::Data(channel, payload)) => {
                    self.router.stats.data_in += 1;
                    EventKind::Data {
                        transport,
                        channel,
                        payload,
                    }
                }
                Some(TransportOutput::Closed(_)) if peer.media.is_leaving => continue,
                Some(TransportOutput::Closed(reason)) => {
                    self.lose_peer(now, place, reason);
                    return false;
                }
            };
            self.router.events.push_back(Event { room, kind });
        }
    }

    /// A peer that has just been connected waits for a keyframe of everything it is sent, and so
    /// do those who are sent what it publishes.
    fn want_all_awaited(&mut self, place: usize) {
        for index in 0..self.router.peers[place].media.subscriptions.len() {
            let subscription = self.router.peers[place].media.subscriptions[index];
            self.router.want_awaited(subscription);
        }
        self.router.touch(place);
    }

    fn write_feedback(&mut self, now: Instant, place: usize) {
        let hot = &self.router.hots[place];
        if hot.feedback_at.is_none_or(|at| at > now) {
            return;
        }
        let moment = self.moment(now);
        let (outgoing, compound) = (&mut self.outgoing, &mut self.compound);
        let mut seal = |router: &mut Router, compound: &[u8]| {
            seal_compound(router, outgoing, place, compound);
        };
        self.router
            .write_feedback(moment, place, compound, &mut seal);
        self.router.touch(place);
    }

    fn say_goodbye(&mut self, place: usize, media: Ssrc, repair: Option<Ssrc>) {
        Router::write_goodbye(&mut self.compound, media, repair);
        let outgoing = &mut self.outgoing;
        seal_compound(&mut self.router, outgoing, place, &self.compound);
    }

    /// Seals what waits to leave for a peer.
    fn flush_media(&mut self, now: Instant, place: usize) {
        let chain = std::mem::take(&mut self.router.hots[place].pending);
        self.plan_media(chain);
        let Router {
            hots,
            rooms,
            pool,
            stats,
            pending: list,
            ..
        } = &mut self.router;
        let Hot {
            destination,
            outbound,
            sent,
            ..
        } = &mut hots[place];
        let mut way = destination.zip(outbound.as_mut());
        let mut sent = sent.as_deref_mut();
        if let Some(sent) = &mut sent {
            sent.set_time(now);
        }
        let arena = &mut self.outgoing.arena;
        for leaving in self.leaving.drain(..) {
            let Some(pending) = list.at(leaving.index) else {
                continue;
            };
            let start = arena.len();
            let subscription = &mut rooms.subscriptions[pending.subscription].subscription;
            let payload = pool.bytes(&pending.packet);
            let padding = usize::from(leaving.padding);
            let outgoing = &pending.outgoing;
            let number = sent.as_ref().map_or(0, |sent| sent.next());
            if let Some((to, outbound)) = &mut way
                && subscription.seal(outgoing, payload, padding, number, |seq, header, parts| {
                    outbound.protect_rtp_parts(seq, header, parts, arena)
                })
            {
                if let Some(sent) = &mut sent
                    && subscription.is_numbered()
                {
                    sent.note(arena.len() - start);
                }
                stats.packets_out += u64::from(!pending.outgoing.is_repair());
                stats.padding_out += padding as u64;
                self.outgoing.datagrams.push(Datagram {
                    to: *to,
                    range: start as u32..arena.len() as u32,
                });
            }
            list.release(leaving.index, pool);
        }
    }

    /// Sends the padding that is due to a peer whose path is being probed.
    fn flush_padding(&mut self, now: Instant, place: usize) {
        let downlink = self.router.peers[place].media.downlink.as_deref();
        if downlink.is_none_or(|downlink| !downlink.is_padded()) {
            return;
        }
        let Some(carrier) = self.router.padding_carrier(place) else {
            return;
        };
        let Router {
            hots,
            peers,
            rooms,
            stats,
            ..
        } = &mut self.router;
        let Hot {
            destination: Some(to),
            outbound: Some(outbound),
            sent: Some(sent),
            ..
        } = &mut hots[place]
        else {
            return;
        };
        let subscription = &mut rooms.subscriptions[carrier].subscription;
        let downlink = peers[place].media.downlink.as_deref_mut();
        let due = downlink.map_or(0, |one| one.padding_due(now, subscription.padding_len()));
        let arena = &mut self.outgoing.arena;
        sent.set_time(now);
        for _ in 0..due {
            let start = arena.len();
            if subscription.seal_padding(sent.next(), |seq, header, parts| {
                outbound.protect_rtp_parts(seq, header, parts, arena)
            }) {
                sent.note(arena.len() - start);
                stats.probe_packets_out += 1;
                self.outgoing.datagrams.push(Datagram {
                    to: *to,
                    range: start as u32..arena.len() as u32,
                });
            }
        }
    }

    /// Puts what waits to leave for a peer into an order and chooses its padding. Pictures first:
    /// a short sound between two of their packets would end their run.
    fn plan_media(&mut self, chain: Chain) {
        let Router {
            rooms,
            pool,
            limits,
            pending: list,
            ..
        } = &self.router;
        self.leaving.clear();
        if chain.is_single() {
            // Nothing to join it with.
            self.leaving.push(Leaving {
                index: chain.first(),
                ..Leaving::default()
            });
            return;
        }
        for wants_sound in [false, true] {
            for (index, pending) in list.iter(chain) {
                if pending.outgoing.is_sound() == wants_sound {
                    let subscription = &rooms.subscriptions[pending.subscription].subscription;
                    let len = pool.len(&pending.packet);
                    self.leaving.push(Leaving {
                        index,
                        len: subscription.sealed_len(&pending.outgoing, len) as u16,
                        is_fixed: !pending.outgoing.is_sent_once(),
                        padding: 0,
                    });
                }
            }
        }
        sort_sounds(&mut self.leaving, list, limits.segments_per_send_max);
        if self.leaving.len() > 1 && limits.padding_bytes_max > 0 {
            let bounds = padding::Bounds {
                bytes_max: limits.padding_bytes_max,
                percent_max: limits.padding_percent_max,
                segments_max: limits.segments_per_send_max,
            };
            padding::pad(&mut self.leaving, bounds);
        }
    }

    fn moment(&self, now: Instant) -> Moment {
        let passed = now.saturating_duration_since(self.started);
        Moment {
            now,
            ntp: self.ntp_at_start.after(passed),
        }
    }

    fn random<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.random.fill_bytes(&mut bytes);
        bytes
    }
}

/// Puts the longest sounds first, because only the last packet of a run may be shorter; not where
/// two are of one subscription, whose order must stay, nor for more than one run has.
fn sort_sounds(leaving: &mut [Leaving], list: &PendingList, segments_max: usize) {
    let is_sound = |leaving: &Leaving| {
        let pending = list.at(leaving.index);
        pending.is_some_and(|pending| pending.outgoing.is_sound())
    };
    let first = leaving.iter().position(is_sound).unwrap_or(leaving.len());
    let sounds = &mut leaving[first..];
    if sounds.len() > segments_max || sounds.is_sorted_by(|a, b| a.len >= b.len) {
        return;
    }
    let of = |leaving: &Leaving| list.at(leaving.index).map(|pending| pending.subscription);
    let is_repeated = |(n, one): (usize, &Leaving)| {
        let mut before = sounds[..n].iter();
        before.any(|other| of(other) == of(one))
    };
    if !sounds.iter().enumerate().any(is_repeated) {
        sounds.sort_unstable_by_key(|leaving| (Reverse(leaving.len), leaving.index));
    }
}

/// Seals a compound for a peer into the batch; nothing happens if it is not connected.
fn seal_compound(router: &mut Router, outgoing: &mut OutgoingBatch, place: usize, compound: &[u8]) {
    let start = outgoing.arena.len();
    if let Some(to) = router.peers[place].transport.destination()
        && let Some(outbound) = &mut router.hots[place].outbound
        && outbound.protect_rtcp(compound, &mut outgoing.arena)
    {
        outgoing.close(to, start);
    }
}
