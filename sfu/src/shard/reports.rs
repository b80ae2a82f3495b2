//! RTCP both ways: what peers report and ask for, and what we report to them and ask of them.
//!
//! Incoming packets lead to the subscription or layer that they are about; whatever is about
//! nothing we know is passed over. Outgoing ones are gathered per peer into compounds that fit a
//! datagram. When they are due is answered by [`Router::feedback_due`].

use std::time::{Duration, Instant};

use super::peer::{Peer, REPORT_INTERVAL};
use super::pending::Pending;
use super::rating::span;
use super::router::Router;
use crate::publication::layer::Layer;
use crate::publication::losses::LOSSES_MAX;
use crate::publication::reception::ReceptionNumbers;
use crate::room::Origin;
use crate::rtp::rtcp::feedback::{append_nack, append_pli};
use crate::rtp::rtcp::report::{
    ReportBlock, SenderInfo, SenderReport, append_bye, append_name, append_receiver_report,
    append_sender_report,
};
use crate::rtp::rtcp::{Rtcp, parse_compound};
use crate::unit::{NtpTime, SeqNo, Ssrc};

/// A compound is closed when it has so many bytes: the largest packet after that still fits a
/// datagram of 1,200 bytes.
const COMPOUND_BYTES: usize = 400;

/// Reports wait so long for media that leaves for the same peer: behind it they cross the kernel in
/// the same message and wake nobody. More than a packet of sound, less than any estimator notices.
const LENIENCE: Duration = Duration::from_millis(25);

/// A longer round trip is not believed.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(5);

/// Our wall clock now, and the shard's time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) now: Instant,
    pub(super) ntp: NtpTime,
}

/// When RTCP is to be written to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FeedbackDue {
    /// From then on with whatever else leaves for the peer.
    pub(super) at: Instant,
    /// By itself at the latest.
    pub(super) latest: Instant,
}

/// Takes closed compounds.
pub(super) trait Seal: FnMut(&mut Router, &[u8]) {}
impl<F: FnMut(&mut Router, &[u8])> Seal for F {}

impl Router {
    /// Takes an authenticated compound of a peer, as plain text.
    pub(super) fn handle_rtcp(&mut self, moment: Moment, place: usize, compound: &[u8]) {
        for packet in parse_compound(compound) {
            match packet {
                Err(reason) => self.stats.reject(reason),
                Ok(Rtcp::SenderReport(report)) => {
                    self.handle_sender_report(moment, place, &report);
                    for block in report.blocks() {
                        self.handle_block(moment, place, &block);
                    }
                }
                Ok(Rtcp::ReceiverReport(report)) => {
                    for block in report.blocks() {
                        self.handle_block(moment, place, &block);
                    }
                }
                Ok(Rtcp::Nack(nack)) => {
                    self.handle_nack(moment.now, place, nack.media, nack.numbers());
                }
                Ok(Rtcp::Pli(pli)) => self.handle_keyframe_request(place, pli.media),
                Ok(Rtcp::Fir(fir)) => {
                    for (media, _) in fir.commands() {
                        self.handle_keyframe_request(place, media);
                    }
                }
                Ok(Rtcp::Remb(remb)) => {
                    self.stats.bandwidth_reports += 1;
                    self.handle_remb(moment.now, place, &remb);
                }
                Ok(Rtcp::Twcc(report)) => {
                    self.stats.bandwidth_reports += 1;
                    self.handle_arrivals(moment.now, place, &report);
                }
                // Names and goodbyes change nothing: signalling says what ends.
                Ok(Rtcp::Sdes(_) | Rtcp::Bye(_)) => {}
            }
        }
    }

    fn handle_sender_report(&mut self, moment: Moment, place: usize, report: &SenderReport<'_>) {
        let media = &mut self.peers[place].media;
        let source = match media.sources.get(&report.ssrc) {
            Some(source) if !source.is_repair => *source,
            _ => return,
        };
        media.note_clock(moment.ntp, report.ntp);
        self.rooms.publications[source.publication]
            .publication
            .layer_mut(source.rank)
            .handle_sender_report(moment.now, report.ntp, report.rtp);
        self.tell_clock(source.publication, source.rank, None);
        self.record_report(moment.now, source, report.ntp, report.rtp);
    }

    /// How a subscriber fares; tells the round trip.
    fn handle_block(&mut self, moment: Moment, place: usize, block: &ReportBlock) {
        let media = &mut self.peers[place].media;
        let Some(&subscription) = media.sent.get(&block.ssrc) else {
            return;
        };
        let subscribed = &mut self.rooms.subscriptions[subscription];
        let publication = &self.rooms.publications[subscribed.publication].publication;
        if let Some((expected, lost)) = subscribed.subscription.take_report(block) {
            // How unevenly it came to us the subscriber cannot help.
            let rank = subscribed.subscription.current().unwrap_or(0);
            let before = publication.layer(rank).jitter();
            let jitter = span(
                block.jitter.saturating_sub(before),
                publication.clock_rate(),
            );
            let quality = &mut media.quality;
            quality.note_reported(publication.kind(), expected, lost, jitter);
        }
        if block.last_report == 0 {
            return;
        }
        let passed = moment
            .ntp
            .middle()
            .wrapping_sub(block.last_report)
            .wrapping_sub(block.delay);
        let round_trip = Duration::from_micros((u64::from(passed) * 1_000_000) >> 16);
        if round_trip <= ROUND_TRIP_MAX {
            media.note_round_trip(round_trip);
        }
    }

    fn handle_nack(
        &mut self,
        now: Instant,
        place: usize,
        media: Ssrc,
        numbers: impl Iterator<Item = u16>,
    ) {
        let Some(&subscription) = self.peers[place].media.sent.get(&media) else {
            return;
        };
        let round_trip = self.peers[place].media.round_trip;
        for number in numbers {
            self.resend(now, place, subscription, number, round_trip);
        }
    }

    fn resend(
        &mut self,
        now: Instant,
        place: usize,
        subscription: usize,
        number: u16,
        round_trip: Duration,
    ) {
        let subscribed = &mut self.rooms.subscriptions[subscription];
        let publication = &self.rooms.publications[subscribed.publication].publication;
        let pool = &self.pool;
        let len = |packet: &_| pool.bytes(packet).len();
        let Some((outgoing, packet)) =
            subscribed
                .subscription
                .answer(now, number, publication, round_trip, len)
        else {
            self.stats.resends_refused += 1;
            return;
        };
        let packet = self.pool.share(packet);
        self.stats.packets_resent += 1;
        let pending = Pending {
            subscription,
            outgoing,
            packet,
        };
        let chain = &mut self.hots[place].pending;
        self.pending.push(chain, pending);
        self.mark_dirty(place);
    }

    fn handle_keyframe_request(&mut self, place: usize, media: Ssrc) {
        if let Some(&subscription) = self.peers[place].media.sent.get(&media) {
            let subscribed = &self.rooms.subscriptions[subscription];
            if let Some(rank) = subscribed.subscription.keyframe_rank() {
                self.want_keyframe(subscribed.publication, rank);
            }
        }
    }

    /// When RTCP must next be written to a peer. Requests are urgent, reports are not.
    pub(super) fn feedback_due(&self, now: Instant, place: usize) -> Option<FeedbackDue> {
        let Peer { media, .. } = &self.peers[place];
        let hot = &self.hots[place];
        if !hot.is_connected {
            return None;
        }
        let layers = media
            .publications
            .iter()
            .flat_map(|&place| self.rooms.publications[place].publication.layers());
        let urgent = layers
            .flat_map(|layer| {
                let keyframe = layer
                    .keyframes
                    .due(now)
                    .filter(|_| layer.source().is_some());
                [layer.losses.due(), keyframe]
            })
            .flatten()
            .min();
        let report = [media.arrivals.due(), Some(media.report_at)]
            .into_iter()
            .flatten()
            .min();
        let earlier = |other: Option<Instant>, at: Instant| other.map_or(at, |one| one.min(at));
        report.map(|at| FeedbackDue {
            at: earlier(urgent, at),
            latest: earlier(urgent, at + LENIENCE),
        })
    }

    /// Writes all RTCP that is due to a peer, in compounds.
    pub(super) fn write_feedback(
        &mut self,
        moment: Moment,
        place: usize,
        compound: &mut Vec<u8>,
        seal: &mut impl Seal,
    ) {
        compound.clear();
        if self.peers[place].media.report_at <= moment.now {
            self.peers[place].media.report_at = moment.now + REPORT_INTERVAL;
            self.write_receiver_reports(moment, place, compound, seal);
            self.write_sender_reports(moment, place, compound, seal);
        }
        self.write_requests(moment.now, place, compound, seal);
        let media = &mut self.peers[place].media;
        media.arrivals.append(moment.now, compound, media.local);
        if !compound.is_empty() {
            seal(self, compound);
            compound.clear();
        }
    }

    fn write_receiver_reports(
        &mut self,
        moment: Moment,
        place: usize,
        compound: &mut Vec<u8>,
        seal: &mut impl Seal,
    ) {
        let local = self.peers[place].media.local;
        for index in 0..self.peers[place].media.publications.len() {
            let publication = self.peers[place].media.publications[index];
            let publication = &mut self.rooms.publications[publication].publication;
            let (kind, clock_rate) = (publication.kind(), publication.clock_rate());
            for layer in publication.layers_mut() {
                let Some((block, numbers)) = block(layer, moment.now) else {
                    continue;
                };
                append_receiver_report(compound, local, &[block]);
                // What did not come at all has stopped.
                if numbers.expected > 0 {
                    let jitter = span(numbers.jitter, clock_rate);
                    let quality = &mut self.peers[place].media.quality;
                    quality.note_received(kind, numbers.expected, numbers.lost, jitter);
                }
            }
            close_if_full(self, compound, seal);
        }
    }

    fn write_sender_reports(
        &mut self,
        moment: Moment,
        place: usize,
        compound: &mut Vec<u8>,
        seal: &mut impl Seal,
    ) {
        for index in 0..self.peers[place].media.subscriptions.len() {
            let subscription = self.peers[place].media.subscriptions[index];
            if let Some(report) = self.sender_report(moment, subscription) {
                append_sender_report(compound, &report, &[]);
                let owner = self.owner_of(subscription);
                append_name(compound, report.ssrc, &canonical_name(owner));
                close_if_full(self, compound, seal);
            }
        }
    }

    /// The publisher's clock translated into ours, so that everything one participant sends is
    /// played in step.
    fn sender_report(&mut self, moment: Moment, subscription: usize) -> Option<SenderInfo> {
        let subscribed = &mut self.rooms.subscriptions[subscription];
        let published = &self.rooms.publications[subscribed.publication];
        let layer = published
            .publication
            .layer(subscribed.subscription.current()?);
        let clock = layer.clock()?;
        let offset = match &published.origin {
            Origin::Peer(owner) => self.peers[*owner].media.clock_offset?,
            Origin::Mirror(mirror) => mirror.clock_offset?,
        };
        let theirs = moment.ntp.0.wrapping_sub(offset as u64);
        let passed = theirs.wrapping_sub(clock.ntp.0) as i64;
        let ticks = (i128::from(passed) * i128::from(published.publication.clock_rate())) >> 32;
        let timestamp = clock.rtp.wrapping_add(ticks as u32);
        let rtp = subscribed
            .subscription
            .timestamp_out(layer.stream(), timestamp)?;
        let sent = subscribed.subscription.report()?;
        Some(SenderInfo {
            ssrc: subscribed.subscription.ssrc(),
            ntp: moment.ntp,
            rtp,
            packets: sent.packets,
            octets: sent.bytes,
        })
    }

    fn owner_of(&self, subscription: usize) -> u64 {
        let publication = self.rooms.subscriptions[subscription].publication;
        match &self.rooms.publications[publication].origin {
            Origin::Peer(owner) => self.peers[*owner].id.0,
            Origin::Mirror(mirror) => mirror.publisher.0,
        }
    }

    /// Asks a publisher for lost packets and for keyframes.
    fn write_requests(
        &mut self,
        now: Instant,
        place: usize,
        compound: &mut Vec<u8>,
        seal: &mut impl Seal,
    ) {
        let media = &self.peers[place].media;
        let (local, round_trip) = (media.local, media.round_trip);
        for index in 0..self.peers[place].media.publications.len() {
            let publication = self.peers[place].media.publications[index];
            let layers = self.rooms.publications[publication]
                .publication
                .layers()
                .len();
            for rank in 0..layers {
                let layer = &mut self.rooms.publications[publication]
                    .publication
                    .layers_mut()[rank];
                let Some(source) = layer.source() else {
                    continue;
                };
                let mut lost = arrayvec::ArrayVec::<u16, LOSSES_MAX>::new();
                layer
                    .losses
                    .take_due(now, round_trip, |seq: SeqNo| lost.push(seq.wire()));
                self.stats.packets_requested += lost.len() as u64;
                append_nack(compound, local, source, lost);
                if layer.keyframes.try_ask(now) {
                    self.stats.keyframes_requested += 1;
                    append_pli(compound, local, source);
                }
                close_if_full(self, compound, seal);
            }
        }
    }

    /// Says goodbye for the streams of a subscription that has ended.
    pub(super) fn write_goodbye(compound: &mut Vec<u8>, media: Ssrc, repair: Option<Ssrc>) {
        compound.clear();
        for ssrc in [Some(media), repair].into_iter().flatten() {
            append_receiver_report(compound, ssrc, &[]);
            append_bye(compound, ssrc);
        }
    }
}

fn close_if_full(router: &mut Router, compound: &mut Vec<u8>, seal: &mut impl Seal) {
    if compound.len() >= COMPOUND_BYTES {
        seal(router, compound);
        compound.clear();
    }
}

/// How a layer is received, for its publisher.
fn block(layer: &mut Layer, now: Instant) -> Option<(ReportBlock, ReceptionNumbers)> {
    let ssrc = layer.source()?;
    let clock = layer.clock().copied();
    let numbers = layer.reception().report()?;
    let since = clock.map(|clock| now.saturating_duration_since(clock.at));
    let block = ReportBlock {
        ssrc,
        fraction_lost: numbers.fraction_lost,
        lost: numbers.cumulative_lost,
        highest: numbers.highest_extended,
        jitter: numbers.jitter,
        last_report: clock.map_or(0, |clock| clock.ntp.middle()),
        delay: since.map_or(0, |since| (since.as_micros() * 65_536 / 1_000_000) as u32),
    };
    Some((block, numbers))
}

/// The same for everything that one transport publishes: that is how a receiver knows what to
/// play in step (RFC 3550 section 6.5.1). A number, never a name.
fn canonical_name(transport: u64) -> [u8; 16] {
    let mut name = [0; 16];
    for (index, byte) in name.iter_mut().enumerate() {
        let digit = (transport >> (60 - 4 * index)) as u32 & 15;
        *byte = char::from_digit(digit, 16).expect("four bits are a digit") as u8;
    }
    name
}
