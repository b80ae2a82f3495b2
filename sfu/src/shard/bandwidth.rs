//! The bandwidth towards each peer: reports about what it was sent become an estimate, the estimate
//! becomes bounds of what it is sent, and padding finds out whether more would fit.
//!
//! Estimating and sharing are decided in [`crate::congestion`], over plain values. Here those are
//! gathered, and what follows is carried out: bounds of subscriptions, keyframes that are needed for
//! them, and events where a picture ceases to be sent or is sent again.

use std::time::{Duration, Instant};

use super::event::{Event, EventKind};
use super::router::Router;
use crate::config::Limits;
use crate::congestion::allocation::{self, Allowance, Priority, Step, Steps, Wanted};
use crate::congestion::estimator::Estimator;
use crate::congestion::sent::SentRecord;
use crate::media::{LayerSize, MediaKind};
use crate::publication::{LayerViews, Publication};
use crate::quality::HeldBack;
use crate::rtp::rtcp::feedback::Remb;
use crate::rtp::rtcp::twcc::Feedback;
use crate::stats::StatsSnapshot;
use crate::subscription::Subscription;
use crate::subscription::selector::{self, Bound};

/// Without a reason pictures are chosen anew after so long: rates change.
const INTERVAL: Duration = Duration::from_millis(500);

/// Padding is sent this often while a probe lasts: as many packets in a row as a picture has.
pub(super) const PADDING_INTERVAL: Duration = Duration::from_millis(10);

/// Where more than this share of what fits is being sent, what is too large ends at once and does not
/// go on until a smaller picture can be decoded: it would take the place of sound.
const URGENT_PERCENT: u64 = 130;

/// Who has spoken within this matters more than others: long enough that a talk of two does not make
/// the pictures of both flap.
const SPOKE: Duration = Duration::from_secs(10);

/// Padding that is not sent at once is not sent: a peer that is not served for long is not owed.
const OWED_MAX: usize = 16 * 1_024;

/// The way to one peer.
pub(super) struct Downlink {
    estimator: Estimator,
    allocated_at: Option<Instant>,
    wanted: u64,
    owed: usize,
    is_listed: bool,
    pub(super) held_back: Shortage,
}

/// How many pictures are smaller than wished, or not there, for lack of bandwidth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shortage {
    pub(super) lowered: usize,
    pub(super) paused: usize,
}

impl Shortage {
    /// What the peer feels of it.
    pub(super) fn felt(self) -> HeldBack {
        match self {
            Self { paused: 1.., .. } => HeldBack::Picture,
            Self { lowered: 1.., .. } => HeldBack::Size,
            _ => HeldBack::Nothing,
        }
    }
}

impl Downlink {
    fn new(now: Instant, limits: &Limits) -> Self {
        Self {
            estimator: Estimator::new(now, limits),
            allocated_at: None,
            wanted: 0,
            owed: 0,
            is_listed: false,
            held_back: Shortage::default(),
        }
    }

    /// What fits, in bits per second, where that is known or assumed.
    pub(super) fn budget(&self, now: Instant) -> Option<u64> {
        self.estimator.budget(now)
    }

    /// Whether padding is being sent.
    pub(super) fn is_padded(&self) -> bool {
        self.is_listed
    }

    /// How many packets of padding of that length are due.
    pub(super) fn padding_due(&mut self, now: Instant, len: usize) -> usize {
        self.owed = (self.owed + self.estimator.padding_due(now)).min(OWED_MAX);
        let packets = self.owed / len.max(1);
        self.owed -= packets * len;
        packets
    }
}

/// A picture that is shared out: where its subscription is, and what it is now.
struct Candidate {
    subscription: usize,
    wanted: Wanted,
    /// Bits per second of what is being sent.
    sent: u64,
}

impl Router {
    /// A peer is sent numbered packets from now on.
    pub(super) fn open_downlink(&mut self, now: Instant, place: usize) {
        let hot = &mut self.hots[place];
        hot.sent
            .get_or_insert_with(|| Box::new(SentRecord::new(now)));
        let limits = &self.limits;
        let downlink = &mut self.peers[place].media.downlink;
        downlink.get_or_insert_with(|| Box::new(Downlink::new(now, limits)));
    }

    /// A peer reports when its packets arrived.
    pub(super) fn handle_arrivals(&mut self, now: Instant, place: usize, report: &Feedback<'_>) {
        let media = &mut self.peers[place].media;
        let sent = self.hots[place].sent.as_deref_mut();
        let (Some(downlink), Some(sent)) = (&mut media.downlink, sent) else {
            return;
        };
        let estimator = &mut downlink.estimator;
        let has_fallen = estimator.report(now, report, sent, media.round_trip);
        self.follow_downlink(now, place, has_fallen);
    }

    /// A peer estimates itself.
    pub(super) fn handle_remb(&mut self, now: Instant, place: usize, remb: &Remb<'_>) {
        if !self.limits.bandwidth_is_estimated {
            return;
        }
        let beside = self.sound_rate(now, place);
        let limits = &self.limits;
        let media = &mut self.peers[place].media;
        let downlink = media
            .downlink
            .get_or_insert_with(|| Box::new(Downlink::new(now, limits)));
        downlink.estimator.remb(now, remb.bitrate.0, beside);
        self.follow_downlink(now, place, false);
    }

    /// Bits per second of the sound that a peer is sent.
    fn sound_rate(&mut self, now: Instant, place: usize) -> u64 {
        let Router { rooms, peers, .. } = self;
        let subscriptions = peers[place].media.subscriptions.iter();
        let rates = subscriptions.map(|&subscription| {
            let publication = rooms.subscriptions[subscription].publication;
            let publication = &mut rooms.publications[publication].publication;
            match publication.kind() {
                MediaKind::Audio => publication.layer_mut(0).bitrate(now).0,
                MediaKind::Video => 0,
            }
        });
        rates.sum()
    }

    /// Once a second, for every peer: what it is sent follows the rates of what there is.
    pub(super) fn tick_downlinks(&mut self, now: Instant) {
        for place in 0..self.hots.len() {
            if self.hots[place].is_connected && self.peers.contains(place) {
                self.note_speech(now, place);
                self.follow_downlink(now, place, false);
            }
        }
    }

    fn note_speech(&mut self, now: Instant, place: usize) {
        let publications = self.peers[place].media.publications.iter();
        let speaks = publications
            .map(|&publication| &self.rooms.publications[publication].publication)
            .any(|publication| publication.voice.reported().is_active);
        if speaks {
            self.peers[place].media.spoke_at = Some(now);
        }
    }

    /// Draws the conclusions of a new estimate, or of time that has passed.
    fn follow_downlink(&mut self, now: Instant, place: usize, has_fallen: bool) {
        let Some(downlink) = &self.peers[place].media.downlink else {
            return;
        };
        let is_due = |at: Instant| now.saturating_duration_since(at) >= INTERVAL;
        if has_fallen || downlink.allocated_at.is_none_or(is_due) {
            self.allocate(now, place);
        }
        let media = &mut self.peers[place].media;
        let (Some(downlink), Some(sent)) = (&mut media.downlink, &self.hots[place].sent) else {
            return;
        };
        let wanted = downlink.wanted;
        let estimator = &mut downlink.estimator;
        if estimator.tick(now, sent, wanted, media.round_trip) {
            self.stats.probes += 1;
        }
        if estimator.is_padding(now) && !std::mem::replace(&mut downlink.is_listed, true) {
            self.padded.push(place);
        }
    }

    /// Padding is due to those whose path is being probed.
    pub(super) fn touch_padded(&mut self, now: Instant) {
        let mut padded = std::mem::take(&mut self.padded);
        padded.retain(|&place| {
            self.mark_dirty(place);
            let downlink = self.peers[place].media.downlink.as_deref_mut();
            downlink.is_some_and(|downlink| {
                downlink.is_listed = downlink.estimator.is_padding(now);
                downlink.is_listed
            })
        });
        padded.append(&mut self.padded);
        self.padded = padded;
    }

    /// The counters with the levels of bandwidth.
    pub(super) fn stats_with_bandwidth(&self, now: Instant) -> StatsSnapshot {
        let mut stats = self.stats.clone();
        let downlinks = self
            .peers
            .iter()
            .filter_map(|(_, peer)| peer.media.downlink.as_ref());
        for downlink in downlinks {
            if let Some(budget) = downlink.budget(now) {
                stats.bandwidth_estimates += 1;
                stats.bandwidth_estimated_kbps += budget / 1_000;
            }
            stats.pictures_lowered += downlink.held_back.lowered as u64;
            stats.pictures_held += downlink.held_back.paused as u64;
        }
        stats
    }

    /// A subscription of this peer that can carry padding.
    pub(super) fn padding_carrier(&self, place: usize) -> Option<usize> {
        let mut subscriptions = self.peers[place].media.subscriptions.iter();
        let can_carry = |place: &&usize| self.rooms.subscriptions[**place].subscription.can_pad();
        subscriptions.find(can_carry).copied()
    }

    /// What is sent to everybody who is subscribed to a publication is chosen anew.
    pub(super) fn allocate_receivers(&mut self, now: Instant, publication: usize) {
        if self.rooms.publications[publication].publication.kind() == MediaKind::Audio {
            return;
        }
        for index in 0..self.rooms.publications[publication].subscriptions.len() {
            let subscription = self.rooms.publications[publication].subscriptions[index];
            let receiver = self.rooms.subscriptions[subscription].receiver;
            self.allocate(now, receiver);
        }
    }

    /// Chooses what a peer is sent.
    pub(super) fn allocate(&mut self, now: Instant, place: usize) {
        let Some(downlink) = &mut self.peers[place].media.downlink else {
            return;
        };
        downlink.allocated_at = Some(now);
        let Some(budget) = downlink.estimator.budget(now) else {
            downlink.wanted = 0;
            downlink.held_back = Shortage::default();
            self.lift_bounds(place);
            return;
        };
        let candidates = self.candidates(now, place);
        let wanted: Vec<Wanted> = candidates.iter().map(|one| one.wanted.clone()).collect();
        let sent: u64 = candidates.iter().map(|one| one.sent).sum();
        let is_urgent = sent > budget * URGENT_PERCENT / 100;
        let shared = allocation::allocate(budget, &wanted);
        let mut held_back = Shortage::default();
        for (candidate, allowance) in candidates.iter().zip(&shared.allowances) {
            let wished = candidate.wanted.steps.last().map(|step| step.rank);
            let bound = match *allowance {
                Allowance::UpTo(rank) => {
                    held_back.lowered += usize::from(wished.is_some_and(|wished| rank < wished));
                    Bound::Rank(rank)
                }
                Allowance::Nothing => {
                    held_back.paused += 1;
                    Bound::Paused
                }
            };
            self.set_bound(candidate.subscription, bound, is_urgent);
        }
        if let Some(downlink) = &mut self.peers[place].media.downlink {
            downlink.wanted = shared.wanted;
            downlink.held_back = held_back;
        }
    }

    fn lift_bounds(&mut self, place: usize) {
        for index in 0..self.peers[place].media.subscriptions.len() {
            let subscription = self.peers[place].media.subscriptions[index];
            self.set_bound(subscription, Bound::None, false);
        }
    }

    fn set_bound(&mut self, place: usize, bound: Bound, is_urgent: bool) {
        let subscribed = &mut self.rooms.subscriptions[place];
        let before = subscribed.subscription.bound();
        let is_cut = is_urgent && subscribed.subscription.sends_too_much();
        if before == bound && !is_cut {
            return;
        }
        let publication = subscribed.publication;
        let views = self.rooms.publications[publication].publication.views();
        let subscription = &mut subscribed.subscription;
        let mut has_ended = subscription.set_bound(bound, &views);
        if is_urgent && subscription.sends_too_much() {
            has_ended |= subscription.interrupt();
        }
        let (id, room) = (subscription.id(), subscribed.room);
        if has_ended {
            self.tell_nothing_sent(place);
        }
        if (before == Bound::Paused) != (bound == Bound::Paused) {
            self.events.push_back(Event {
                room: Some(self.rooms.id_of(room)),
                kind: EventKind::PictureHeld {
                    subscription: id,
                    is_held: bound == Bound::Paused,
                },
            });
        }
        self.want_awaited(place);
        self.touch_mirror(publication);
    }

    fn candidates(&mut self, now: Instant, place: usize) -> Vec<Candidate> {
        let Router { rooms, peers, .. } = self;
        let media = &peers[place].media;
        let mut candidates = Vec::with_capacity(media.subscriptions.len());
        for &subscription in &media.subscriptions {
            let subscribed = &rooms.subscriptions[subscription];
            let published = &mut rooms.publications[subscribed.publication];
            let spoke_at = published
                .owner()
                .and_then(|owner| peers[owner].media.spoke_at);
            let speaks = spoke_at.is_some_and(|at| now.saturating_duration_since(at) < SPOKE);
            let publication = &mut published.publication;
            if publication.kind() == MediaKind::Audio {
                continue;
            }
            let one = &subscribed.subscription;
            let steps = steps(now, one, publication);
            let sent = match one.current() {
                _ if steps.is_empty() => 0,
                Some(_) if one.spatial_wished().is_some() => rate_up_to(&steps, one.spatial()),
                Some(rank) => publication.layer_mut(rank).expected_bitrate(now).0,
                None => 0,
            };
            candidates.push(Candidate {
                subscription,
                sent,
                wanted: Wanted {
                    priority: Priority(one.priority.0.saturating_mul(2) | u8::from(speaks)),
                    held: match one.bound() {
                        Bound::Rank(rank) => Some(rank),
                        Bound::None | Bound::Paused => None,
                    },
                    may_pause: one.may_pause,
                    steps,
                },
            });
        }
        candidates
    }
}

fn rate_up_to(steps: &Steps, rank: Option<u8>) -> u64 {
    let found = steps.iter().rfind(|step| Some(step.rank) <= rank);
    found.map_or(0, |step| step.rate)
}

/// What may be sent to a subscriber, smallest first, up to what it wishes.
fn steps(now: Instant, subscription: &Subscription, publication: &mut Publication) -> Steps {
    let views = publication.views();
    let Some(target) = selector::target(subscription.wish(), &views) else {
        return Steps::new();
    };
    if let Some(wished) = subscription.spatial_wished() {
        let rate = publication.layer_mut(target).expected_bitrate(now).0;
        return spatial_steps(publication.spatial_layers(), wished, rate);
    }
    let is_sendable = |rank: &u8| is_live(&views, *rank) || *rank == target;
    (0..=target)
        .filter(is_sendable)
        .map(|rank| Step {
            rank,
            rate: publication.layer_mut(rank).expected_bitrate(now).0,
        })
        .collect()
}

fn is_live(views: &LayerViews, rank: u8) -> bool {
    views[usize::from(rank)].is_live
}

/// Encoders give the sizes of one stream shares that rise a little slower than their areas: an
/// eighth, a third and all for sizes that double.
fn spatial_steps(sizes: &[LayerSize], wished: u8, rate: u64) -> Steps {
    let area = |size: &LayerSize| f64::from(size.width) * f64::from(size.height);
    let whole = sizes.last().map_or(0.0, area);
    let steps = (0..=wished).zip(sizes);
    steps
        .map(|(rank, size)| {
            let share = if whole > 0.0 { area(size) / whole } else { 1.0 };
            Step {
                rank,
                rate: (rate as f64 * share.powf(0.75)) as u64,
            }
        })
        .collect()
}
