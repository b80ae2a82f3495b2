//! Carrying a publication to another worker, once, for all of its subscribers there.
//!
//! The shard that a publisher is connected to *owns* a publication. A shard that has subscribers of
//! it but not the publisher holds a *mirror*: the same publication, with layers and histories of its
//! own, fed by the owner. The mirror says which layers somebody there wants; the owner sends packets
//! of those, which layers live, how their clocks run, and when it is over. Keyframes and packets
//! that got lost on the way are asked for the other way round; what a subscriber lost is answered
//! from the mirror's own history.
//!
//! Whatever is said can be said again without harm and is said again every
//! [`REFRESH_INTERVAL`], so a link may lose frames, and a side that has forgotten everything is
//! told anew or is forgotten. Frames name the publication, which is unique in the process, and the
//! receiver checks who sent them: no frame can reach another room.
//!
//! This file holds the messages and the books; [`frame`] is their form as bytes, [`lane`] a way
//! between threads. Neither knows a socket or a clock, so a link between nodes can use the same.

pub mod frame;
pub mod lane;

use std::time::{Duration, Instant};

use crate::id::{Epoch, PublicationId, RoomId, TransportId, WorkerId};
use crate::publication::history::PacketInfo;
use crate::slab::{PacketRef, SlabPool};
use crate::subscription::rewriter::StreamKey;
use crate::unit::{NtpTime, SeqNo};

/// How often a mirror says what it wants, if nothing changes.
pub const REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// The first refresh comes sooner: the owner may not have heard of the publication yet.
pub const REFRESH_FIRST: Duration = Duration::from_millis(20);

/// How long an owner may not have heard of a publication yet when a mirror of it speaks: commands to
/// it were queued before those to the mirror's worker, and are handled within a few turns. Much longer,
/// because who ends a mirror too early ends subscriptions, and who ends it late only wastes a place.
const DOUBT_MAX: Duration = Duration::from_secs(10);

/// Frames that a worker takes from one lane before it sends what they became: two large pictures.
/// One that has fallen behind then sends what came first soon, and what waits to be sealed for
/// hundreds of receivers still fits a cache: where both workers had to share a processor, a second
/// one brought 1.86 instead of 1.77 with 256 frames (medians of four runs, `benches/relay.rs`).
pub const FRAMES_PER_TURN_MAX: usize = 16;

/// What one shard tells another about a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// To the mirror: a packet. Its payload goes along.
    Packet {
        /// Whom it is for.
        to: Address,
        /// Which layer.
        stream: StreamKey,
        /// What is known about it.
        info: PacketInfo,
    },
    /// To the mirror: which layers live, by bit, and whether the publication is muted.
    State {
        /// Whom it is for.
        to: Address,
        /// Bit `n` stands for the layer of rank `n`.
        live: u8,
        /// Nothing of it is forwarded.
        is_muted: bool,
    },
    /// To the mirror: what a layer's timestamps have in common with the publisher's clock.
    Clock {
        /// Whom it is for.
        to: Address,
        /// Which layer.
        stream: StreamKey,
        /// The publisher's clock.
        ntp: NtpTime,
        /// The layer's timestamp at that time.
        rtp: u32,
        /// Our clock minus the publisher's, in units of [`NtpTime`]; workers share a clock.
        offset: i64,
    },
    /// To the mirror: the publication is no more, or not for this room and epoch.
    End {
        /// Whom it is for.
        to: Address,
    },
    /// To the owner: I have a mirror and want these layers. Also what keeps a relay alive.
    Open {
        /// Where answers go.
        reply: Address,
        /// The room.
        room: RoomId,
        /// The placement that the mirror belongs to.
        epoch: Epoch,
        /// Bit `n` stands for the layer of rank `n`.
        demand: u8,
    },
    /// To the owner: nobody here is subscribed any more.
    Close {
        /// Which one.
        publication: PublicationId,
    },
    /// To the owner: somebody here cannot go on without a keyframe.
    Keyframe {
        /// Which one.
        publication: PublicationId,
        /// Of which layer.
        rank: u8,
    },
    /// To the owner: these packets have not come.
    Resend {
        /// Which one.
        publication: PublicationId,
        /// Of which layer.
        stream: StreamKey,
        /// The first of them.
        first: SeqNo,
        /// Bit `n` stands for the packet `n + 1` above the first.
        mask: u64,
    },
}

/// A mirror as its owner addresses it: the place that it has said it has, and the publication that
/// must be found there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The mirror's place.
    pub place: u32,
    /// The publication, which is unique in the process.
    pub publication: PublicationId,
}

/// What an owner knows about a mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relayed {
    /// The worker that has it.
    pub worker: WorkerId,
    /// How it is addressed.
    pub address: Address,
    /// The layers that are wanted, by bit.
    pub demand: u8,
    /// When it was heard of last.
    pub heard_at: Instant,
}

/// What a mirror knows about its owner.
#[derive(Clone, Copy, Debug)]
pub struct Mirror {
    /// The worker that owns the publication.
    pub owner: WorkerId,
    /// Who publishes it, so that all that one participant sends has one name.
    pub publisher: TransportId,
    /// The layers that were asked for last, by bit.
    pub demand: u8,
    /// Our clock minus the publisher's.
    pub clock_offset: Option<i64>,
    /// The owner has answered: from now on it is believed when it says that there is nothing.
    pub is_confirmed: bool,
    /// Until then one that has never answered otherwise is not.
    pub doubted_until: Instant,
    /// When the owner must next be told.
    pub refresh_at: Instant,
    /// The distance of refreshes, while it still grows.
    pub refresh_after: Duration,
    /// Without subscriptions it stays until then, because one is on its way.
    pub keep_until: Instant,
    /// The owner has said that it is over, and needs no telling.
    pub has_ended: bool,
    /// It is in the list of those to be served.
    pub is_touched: bool,
}

impl Mirror {
    /// A mirror whose owner has not been told yet.
    pub fn new(now: Instant, owner: WorkerId, publisher: TransportId) -> Self {
        Self {
            owner,
            publisher,
            demand: 0,
            clock_offset: None,
            is_confirmed: false,
            doubted_until: now + DOUBT_MAX,
            refresh_at: now,
            refresh_after: REFRESH_FIRST,
            keep_until: now + REFRESH_INTERVAL,
            has_ended: false,
            is_touched: false,
        }
    }

    /// Notes that the owner is told now.
    pub fn note_told(&mut self, now: Instant) {
        self.refresh_at = now + self.refresh_after;
        self.refresh_after = match self.is_confirmed {
            true => REFRESH_INTERVAL,
            false => (self.refresh_after * 2).min(REFRESH_INTERVAL),
        };
    }
}

/// A frame that waits to leave, with its payload if it has one.
#[derive(Debug)]
pub struct Queued {
    frame: Frame,
    payload: Option<PacketRef>,
}

/// What waits to leave, link by link.
#[derive(Debug, Default)]
pub struct Outbox {
    links: Vec<Vec<Queued>>,
    taken: Option<usize>,
}

impl Outbox {
    /// Puts a frame into the queue of a link. Gives the payload back if `frames_max` wait already.
    pub fn push(
        &mut self,
        to: WorkerId,
        frame: Frame,
        payload: Option<PacketRef>,
        frames_max: usize,
    ) -> Result<(), Option<PacketRef>> {
        let link = usize::from(to.0);
        if link >= self.links.len() {
            self.links.resize_with(link + 1, Vec::new);
        }
        let queue = &mut self.links[link];
        if queue.len() >= frames_max {
            return Err(payload);
        }
        queue.push(Queued { frame, payload });
        Ok(())
    }

    /// What was given out with the last batch is done with.
    pub fn reclaim(&mut self, pool: &mut SlabPool) {
        if let Some(link) = self.taken.take() {
            for queued in self.links[link].drain(..) {
                if let Some(payload) = queued.payload {
                    pool.release(payload);
                }
            }
        }
    }

    /// Everything that waits on one link, if something waits on any.
    pub fn take<'a>(&'a mut self, pool: &'a SlabPool) -> Option<RelayBatch<'a>> {
        let link = self.links.iter().position(|queue| !queue.is_empty())?;
        self.taken = Some(link);
        Some(RelayBatch {
            to: WorkerId(link as u16),
            frames: &self.links[link],
            pool,
        })
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.links.iter().all(Vec::is_empty)
    }
}

/// Frames for one other shard, in order. Payloads are not copied before they are written where
/// they go.
#[derive(Clone, Copy)]
pub struct RelayBatch<'a> {
    /// The worker that has the shard.
    pub to: WorkerId,
    frames: &'a [Queued],
    pool: &'a SlabPool,
}

impl<'a> RelayBatch<'a> {
    /// How many frames there are.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Every frame with its payload, which most have not.
    pub fn iter(&self) -> impl Iterator<Item = (&'a Frame, &'a [u8])> + use<'a> {
        let pool = self.pool;
        self.frames.iter().map(move |queued| {
            let payload = queued.payload.as_ref().map(|packet| pool.bytes(packet));
            (&queued.frame, payload.unwrap_or_default())
        })
    }
}

impl std::fmt::Debug for RelayBatch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RelayBatch")
            .field("to", &self.to)
            .field("frames", &self.frames)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(place: u32) -> Frame {
        let publication = PublicationId(9);
        Frame::End {
            to: Address { place, publication },
        }
    }

    #[test]
    fn frames_leave_link_by_link_and_payloads_are_given_back() {
        let mut pool = SlabPool::new(4);
        let mut outbox = Outbox::default();
        let packet = pool.store(b"x").expect("a free slab");
        assert!(outbox.push(WorkerId(2), end(1), Some(packet), 9).is_ok());
        assert!(outbox.push(WorkerId(0), end(2), None, 9).is_ok());
        let batch = outbox.take(&pool).expect("something waits");
        assert_eq!((batch.to, batch.len()), (WorkerId(0), 1));
        outbox.reclaim(&mut pool);
        let batch = outbox.take(&pool).expect("more waits");
        let (frame, payload) = batch.iter().next().expect("one frame");
        assert_eq!(
            (batch.to, *frame, payload),
            (WorkerId(2), end(1), &b"x"[..])
        );
        assert_eq!(pool.used(), 1);
        outbox.reclaim(&mut pool);
        assert_eq!((pool.used(), outbox.is_empty()), (0, true));
    }

    #[test]
    fn a_queue_is_bounded() {
        let mut outbox = Outbox::default();
        assert!(outbox.push(WorkerId(0), end(1), None, 1).is_ok());
        assert_eq!(outbox.push(WorkerId(0), end(1), None, 1), Err(None));
    }

    #[test]
    fn refreshes_grow_rarer_until_somebody_answers_and_then_are_regular() {
        let start = crate::testing::instant();
        let mut mirror = Mirror::new(start, WorkerId(0), TransportId(1));
        assert_eq!(mirror.refresh_at, start);
        mirror.note_told(start);
        assert_eq!(mirror.refresh_at, start + REFRESH_FIRST);
        for _ in 0..20 {
            mirror.note_told(start);
        }
        assert_eq!(mirror.refresh_at, start + REFRESH_INTERVAL);
    }
}
