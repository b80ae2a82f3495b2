//! What of a room goes to its tap: gates, layers, keyframes.
//!
//! The recorder is a silent listener at the place where packets come in, before anything is done to
//! them for anybody: it neither delays nor changes what is forwarded, and nobody's link decides
//! what it gets. Only publications that this shard owns are recorded here; a mirror is recorded by
//! its owner.

use std::time::Instant;

use super::Shard;
use super::event::{Event, EventKind};
use super::peer::Source;
use super::router::{Incoming, Router};
use super::timers::TimerKey;
use crate::error::CommandError;
use crate::id::PublicationId;
use crate::media::{LayerWish, MediaKind};
use crate::publication::Publication;
use crate::publication::history::PacketInfo;
use crate::publication::layer::{Arrival, Layer};
use crate::room::{Origin, Published};
use crate::rtp::packet::FIXED_LEN;
use crate::subscription::selector::LayerView;
use crate::tap::{
    EndReason, HANDOVER_INTERVAL, HeldBack, LayerChange, Notice, PictureSize, Pushed, ReportEntry,
    RtpEntry, Tap, TapTrack, Tapped, TrackEnd, TrackStart, Verdict, wish_within,
};
use crate::unit::{NtpTime, SeqNo, Ssrc};

/// The bit of the first byte that announces padding (RFC 3550 section 5.1).
const HAS_PADDING: u8 = 0x20;

/// The tap of a room on this shard.
#[derive(Debug)]
pub(crate) struct RoomTap {
    tap: Tap,
    picture_max: PictureSize,
}

impl Shard {
    pub(super) fn attach_tap(
        &mut self,
        now: Instant,
        room: usize,
        tap: Box<Tap>,
        picture_max: PictureSize,
    ) {
        self.router.detach_tap(now, room);
        self.router.rooms.room_mut(room).tap = Some(Box::new(RoomTap {
            tap: *tap,
            picture_max,
        }));
        self.router.stats.taps += 1;
        self.router.tapped_rooms.push(room);
        for index in 0..self.router.rooms.room(room).publications.len() {
            let place = self.router.rooms.room(room).publications[index];
            self.router.start_track(now, place);
        }
        self.timers.ensure(TimerKey::Taps, now + HANDOVER_INTERVAL);
    }

    /// Hands over what waits in all taps. Returns when to do so again.
    pub(super) fn serve_taps(&mut self, now: Instant) -> Option<Instant> {
        for index in (0..self.router.tapped_rooms.len()).rev() {
            let room = self.router.tapped_rooms[index];
            self.router.serve_tap(now, room);
        }
        (!self.router.tapped_rooms.is_empty()).then(|| now + HANDOVER_INTERVAL)
    }

    pub(super) fn set_tap_gate(&mut self, now: Instant, peer: usize, is_open: bool) {
        let media = &mut self.router.peers[peer].media;
        if std::mem::replace(&mut media.may_be_recorded, is_open) == is_open {
            return;
        }
        for index in 0..self.router.peers[peer].media.publications.len() {
            let place = self.router.peers[peer].media.publications[index];
            self.router.end_track(now, place, EndReason::GateClosed);
            self.router.start_track(now, place);
        }
    }

    pub(super) fn set_tap_wish(
        &mut self,
        now: Instant,
        room: usize,
        id: PublicationId,
        wish: Option<LayerWish>,
    ) -> Result<(), CommandError> {
        let place = self.router.rooms.own_publication(room, id)?;
        self.router.rooms.publications[place].tap_wish = wish;
        self.router.choose_recorded(now, place);
        Ok(())
    }
}

impl Router {
    /// Ends the tap of a room, if it has one.
    pub(super) fn detach_tap(&mut self, now: Instant, room: usize) {
        for index in 0..self.rooms.room(room).publications.len() {
            let place = self.rooms.room(room).publications[index];
            self.end_track(now, place, EndReason::Detached);
        }
        if let Some(attached) = self.rooms.room_mut(room).tap.take() {
            attached.tap.end();
            self.stats.taps -= 1;
            self.tapped_rooms.retain(|&other| other != room);
        }
    }

    /// A publication may be recorded from now on, or waits for its gate.
    pub(super) fn start_track(&mut self, now: Instant, place: usize) {
        let (published, Some(attached)) = self.rooms.with_tap(place) else {
            return;
        };
        let Origin::Peer(owner) = published.origin else {
            return;
        };
        let peer = &self.peers[owner];
        if !peer.media.may_be_recorded {
            published.tapped = Tapped::HeldBack(0);
            return;
        }
        let start = TrackStart {
            publication: published.publication.id(),
            transport: peer.id,
            at: now,
            params: published.publication.params(),
            extensions: peer.media.extensions,
        };
        let start = Notice::TrackStarted(Box::new(start));
        attached.tap.notify(now, start);
        published.tapped = Tapped::Open(Box::new(TapTrack::new(now)));
        self.choose_recorded(now, place);
    }

    /// A publication is recorded no more, if it was.
    pub(super) fn end_track(&mut self, now: Instant, place: usize, reason: EndReason) {
        let (published, attached) = self.rooms.with_tap(place);
        let Origin::Peer(owner) = published.origin else {
            return;
        };
        let publication = published.publication.id();
        let notice = match std::mem::take(&mut published.tapped) {
            Tapped::Not | Tapped::HeldBack(0) => return,
            Tapped::HeldBack(packets) => Notice::HeldBack(HeldBack {
                publication,
                transport: self.peers[owner].id,
                at: now,
                packets,
            }),
            Tapped::Open(track) => Notice::TrackEnded(TrackEnd {
                publication,
                at: now,
                reason,
                packets: track.packets,
            }),
        };
        if let Some(attached) = attached {
            attached.tap.notify(now, notice);
        }
    }

    /// Layers have begun or ceased to live, or the wish has changed.
    pub(super) fn choose_recorded(&mut self, now: Instant, place: usize) {
        let (published, attached) = self.rooms.with_tap(place);
        let (Tapped::Open(track), Some(attached)) = (&mut published.tapped, attached) else {
            return;
        };
        let layers = published.publication.views();
        let wish = published
            .tap_wish
            .unwrap_or_else(|| wish_within(attached.picture_max, &layers));
        if track.update(wish, &layers) {
            let nothing = LayerChange::to_none(published.publication.id(), now);
            attached.tap.notify(now, Notice::LayerChanged(nothing));
        }
        self.want_recorded(place);
    }

    /// What is recorded of a publication, or would be of one of its layers, has a hole that only a
    /// keyframe heals.
    pub(super) fn interrupt_recorded(&mut self, now: Instant, place: usize, rank: Option<u8>) {
        let (published, attached) = self.rooms.with_tap(place);
        let (Tapped::Open(track), Some(attached)) = (&mut published.tapped, attached) else {
            return;
        };
        let concerns_it = rank.is_none() || track.current() == rank;
        if concerns_it && track.interrupt() {
            let nothing = LayerChange::to_none(published.publication.id(), now);
            attached.tap.notify(now, Notice::LayerChanged(nothing));
        }
        self.want_recorded(place);
    }

    fn want_recorded(&mut self, place: usize) {
        if let Tapped::Open(track) = &self.rooms.publications[place].tapped
            && let Some(rank) = track.awaited()
        {
            self.want_keyframe(place, rank);
        }
    }

    /// Offers a packet that its layer has just taken to the tap of its room.
    pub(super) fn record(&mut self, now: Instant, source: Source, packet: &Incoming<'_>) {
        let (published, attached) = self.rooms.with_tap(source.publication);
        let Published {
            publication,
            tapped,
            room,
            ..
        } = published;
        let (track, attached) = match (tapped, attached) {
            (Tapped::Open(track), Some(attached)) => (track, attached),
            (Tapped::HeldBack(packets), _) => {
                *packets += 1;
                self.stats.tap_packets_held_back += 1;
                return;
            }
            _ => return,
        };
        let (room, info) = (*room, &packet.info);
        let layer = publication.layer(source.rank);
        let given_up = layer.losses.given_up();
        let verdict = track.judge(source.rank, info.seq, info.starts_keyframe);
        if verdict == Verdict::Skip {
            return;
        }
        if verdict == Verdict::Switch {
            track.forgive(given_up);
            let change = LayerChange::to(publication.id(), now, layer);
            attached.tap.notify(now, Notice::LayerChanged(change));
        }
        let entry = RtpEntry {
            publication: publication.id(),
            rank: source.rank,
            at: now,
            seq: info.seq,
            is_recovered: packet.arrival == Arrival::Repair,
            starts_keyframe: info.starts_keyframe && publication.kind() == MediaKind::Video,
            bytes: &packet.fixed_header(publication, layer),
        };
        let Some((_, payload)) = layer.packet(info.seq) else {
            return;
        };
        let payload = info.payload_of(self.pool.bytes(payload));
        let rest = [&packet.header[FIXED_LEN..], payload];
        let pushed = attached.tap.push_rtp(&entry, rest);
        let interval = self.limits.tap_keyframe_interval;
        let wants_keyframe = track.note(now, info.starts_keyframe, given_up, interval);
        self.stats.tap_packets += 1;
        self.note_pushed(room, pushed);
        if verdict == Verdict::Switch {
            self.record_what_overtook(now, source, info.seq);
        }
        if wants_keyframe {
            self.want_keyframe(source.publication, source.rank);
        }
    }

    /// A keyframe has begun whose other packets may have come before its first: they lie in the
    /// history, without their header extensions.
    fn record_what_overtook(&mut self, now: Instant, source: Source, first: SeqNo) {
        let (published, Some(attached)) = self.rooms.with_tap(source.publication) else {
            return;
        };
        let Tapped::Open(track) = &mut published.tapped else {
            return;
        };
        let publication = &published.publication;
        let layer = publication.layer(source.rank);
        if let Some(clock) = layer.clock() {
            attached.tap.push_report(&ReportEntry {
                publication: publication.id(),
                rank: source.rank,
                at: now,
                ntp: clock.ntp,
                rtp: clock.rtp,
            });
        }
        let highest = layer.highest().unwrap_or(first);
        let (room, mut told) = (published.room, Pushed::Kept);
        for seq in (first.0 + 1..=highest.0).map(SeqNo) {
            let Some((info, packet)) = layer.packet(seq) else {
                continue;
            };
            if track.judge(source.rank, seq, info.starts_keyframe) != Verdict::Take {
                continue;
            }
            let entry = RtpEntry {
                publication: publication.id(),
                rank: source.rank,
                at: now,
                seq,
                is_recovered: false,
                starts_keyframe: false,
                bytes: &bare_header(publication, layer, info),
            };
            let payload = info.payload_of(self.pool.bytes(packet));
            let pushed = attached.tap.push_rtp(&entry, [&[], payload]);
            told = told.and(pushed);
            track.packets += 1;
            self.stats.tap_packets += 1;
        }
        self.note_pushed(room, told);
    }

    /// Hands a sender report to the tap if it is of the layer that is recorded.
    pub(super) fn record_report(&mut self, now: Instant, source: Source, ntp: NtpTime, rtp: u32) {
        let (published, attached) = self.rooms.with_tap(source.publication);
        let (Tapped::Open(track), Some(attached)) = (&published.tapped, attached) else {
            return;
        };
        if track.current() != Some(source.rank) {
            return;
        }
        let pushed = attached.tap.push_report(&ReportEntry {
            publication: published.publication.id(),
            rank: source.rank,
            at: now,
            ntp,
            rtp,
        });
        let room = published.room;
        self.note_pushed(room, pushed);
    }

    fn serve_tap(&mut self, now: Instant, room: usize) {
        let Some(attached) = &mut self.rooms.room_mut(room).tap else {
            return;
        };
        if attached.tap.is_abandoned() {
            self.detach_tap(now, room);
            self.tell_room(room, EventKind::TapLost);
            return;
        }
        let pushed = attached.tap.hand_over();
        self.note_pushed(room, pushed);
    }

    /// Says what others must know of a push, and heals what it has cost.
    fn note_pushed(&mut self, room: usize, pushed: Pushed) {
        match pushed {
            Pushed::Kept => {}
            Pushed::Overflowed(packets) => {
                self.stats.tap_packets_dropped += packets;
                self.tell_room(room, EventKind::TapOverflowed);
            }
            Pushed::Dropped(packets) => self.stats.tap_packets_dropped += packets,
            Pushed::Resumed => {
                self.tell_room(room, EventKind::TapResumed);
                self.refresh_recorded(room);
            }
        }
    }

    /// What is recorded of a room has a hole somewhere on its way, which keyframes heal.
    pub(super) fn refresh_recorded(&mut self, room: usize) {
        for index in 0..self.rooms.room(room).publications.len() {
            let place = self.rooms.room(room).publications[index];
            if let Tapped::Open(track) = &self.rooms.publications[place].tapped
                && let Some(rank) = track.wanted()
            {
                self.want_keyframe(place, rank);
            }
        }
    }

    fn tell_room(&mut self, room: usize, kind: EventKind) {
        let room = Some(self.rooms.id_of(room));
        self.events.push_back(Event { room, kind });
    }
}

impl LayerChange {
    fn to(publication: PublicationId, at: Instant, layer: &Layer) -> Self {
        let LayerView { width, height, .. } = layer.view();
        Self {
            publication,
            at,
            rank: Some(layer.rank()),
            size: PictureSize { width, height },
        }
    }

    fn to_none(publication: PublicationId, at: Instant) -> Self {
        let (width, height) = (0, 0);
        Self {
            publication,
            at,
            rank: None,
            size: PictureSize { width, height },
        }
    }
}

impl Incoming<'_> {
    /// The fixed part of the header as it was when the packet was first sent, but without padding.
    fn fixed_header(&self, publication: &Publication, layer: &Layer) -> [u8; FIXED_LEN] {
        let mut fixed = [0; FIXED_LEN];
        fixed.copy_from_slice(&self.header[..FIXED_LEN]);
        fixed[0] &= !HAS_PADDING;
        if self.arrival == Arrival::Repair {
            let original = bare_header(publication, layer, &self.info);
            fixed[1..].copy_from_slice(&original[1..]);
        }
        fixed
    }
}

/// A header without contributors and extensions.
fn bare_header(publication: &Publication, layer: &Layer, info: &PacketInfo) -> [u8; FIXED_LEN] {
    let codec = &publication.codecs()[usize::from(info.codec)];
    let source = layer.source().unwrap_or(Ssrc(0));
    let mut header = [0; FIXED_LEN];
    header[0] = 2 << 6;
    header[1] = u8::from(info.marker) << 7 | codec.payload_type.0;
    header[2..4].copy_from_slice(&info.seq.wire().to_be_bytes());
    header[4..8].copy_from_slice(&info.timestamp.to_be_bytes());
    header[8..12].copy_from_slice(&source.0.to_be_bytes());
    header
}
