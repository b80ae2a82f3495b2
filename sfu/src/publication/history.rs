//! The last packets of a layer in plaintext, once, for all subscribers who may ask again.
//!
//! A ring indexed by sequence number. It remembers which numbers have arrived, so it is also what
//! tells a duplicate (an original after its retransmission, or the other way round) from news:
//! a number is stored at most once, and one that has left the ring is refused for good. That is
//! what keeps a subscriber's SRTP nonces from being used for two different packets.

use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use crate::slab::{PacketRef, Payload, SlabPool};
use crate::subscription::rewriter::PictureIds;
use crate::unit::SeqNo;

/// What is known about a packet besides its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketInfo {
    /// The publisher's sequence number.
    pub seq: SeqNo,
    /// The publisher's timestamp.
    pub timestamp: u32,
    /// The marker bit.
    pub marker: bool,
    /// Which of the publication's codecs, by its place in the list.
    pub codec: u8,
    /// Decoding may begin here.
    pub starts_keyframe: bool,
    /// The numbers of a VP8 payload descriptor.
    pub picture: PictureIds,
    /// The header extension `ssrc-audio-level`, as on the wire.
    pub audio_level: Option<u8>,
    /// The header extension `video-orientation`, as on the wire.
    pub orientation: Option<u8>,
    /// Its place among the spatial and temporal layers, where a stream carries several.
    pub spatial: Option<SpatialMark>,
    /// So many bytes behind the payload are its dependency descriptor.
    pub descriptor: u8,
}

impl PacketInfo {
    /// The payload, of the bytes that are kept of the packet.
    pub fn payload_of<'a>(&self, kept: &'a [u8]) -> &'a [u8] {
        split_descriptor(kept, self.descriptor).0
    }
}

/// The payload and the dependency descriptor behind it.
pub fn split_descriptor(kept: &[u8], descriptor: u8) -> (&[u8], &[u8]) {
    kept.split_at(kept.len().saturating_sub(descriptor.into()))
}

/// Which spatial and temporal layer a packet belongs to, where that layer's frame begins and ends,
/// and what may begin with it.
///
/// Bits from the lowest: layer (3), begins, ends, temporal layer (3), lifts, largest layer (3); the
/// highest is always set, so that none needs no byte more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpatialMark(NonZeroU16);

impl SpatialMark {
    /// Of a layer, of which there are eight at most; the slowest temporal layer, and nothing known
    /// of the others.
    pub fn new(layer: u8, starts_frame: bool, ends_frame: bool) -> Self {
        let word = layer & 7 | u8::from(starts_frame) << 3 | u8::from(ends_frame) << 4;
        Self::from_word(u16::from(word) | 7 << 9)
    }

    /// The same of a temporal layer, 0 the slowest; `lifts` if whoever has its frame may have faster
    /// layers from here on.
    #[must_use]
    pub fn at_rate(self, temporal: u8, lifts: bool) -> Self {
        let rest = self.word() & !(0xf << 5);
        Self::from_word(rest | u16::from(temporal & 7) << 5 | u16::from(lifts) << 8)
    }

    /// The same where no layer above `largest` is sent now.
    #[must_use]
    pub fn up_to(self, largest: u8) -> Self {
        Self::from_word(self.word() & !(7 << 9) | u16::from(largest & 7) << 9)
    }

    /// As it is written for another worker.
    pub fn word(self) -> u16 {
        self.0.get() & 0x0fff
    }

    /// As it was written by another worker.
    pub fn from_word(word: u16) -> Self {
        const HIGHEST: NonZeroU16 = NonZeroU16::new(1 << 15).expect("a bit is set");
        Self(HIGHEST | word & 0x0fff)
    }

    /// The layer, 0 the smallest.
    pub fn layer(self) -> u8 {
        self.word() as u8 & 7
    }

    /// The temporal layer, 0 the slowest.
    pub fn temporal(self) -> u8 {
        (self.word() >> 5) as u8 & 7
    }

    /// Whoever has its frame may have faster layers from here on.
    pub fn lifts(self) -> bool {
        self.word() & 1 << 8 != 0
    }

    /// The largest layer that is sent now, 7 if that is not known.
    pub fn largest(self) -> u8 {
        (self.word() >> 9) as u8 & 7
    }

    /// The packet is the first of its layer's frame.
    pub fn starts_frame(self) -> bool {
        self.word() & 8 != 0
    }

    /// The packet is the last of its layer's frame.
    pub fn ends_frame(self) -> bool {
        self.word() & 16 != 0
    }
}

struct Entry {
    info: PacketInfo,
    packet: PacketRef,
    /// It is too old after this.
    until: Instant,
}

/// Why a packet was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotStored {
    /// It is in the ring already, or it is older than the ring.
    Duplicate,
    /// No slab was free, not even after giving up the oldest packet.
    NoSlab,
}

/// The ring of one layer.
pub struct History {
    entries: Box<[Option<Entry>]>,
    /// Everything below has left the ring.
    floor: SeqNo,
    /// Nothing below is here, though some of it may still come: where to look for the oldest. It
    /// saves walking over the empty ring of a new stream with every packet.
    first: SeqNo,
    /// One above the newest.
    end: SeqNo,
    age_max: Duration,
}

impl History {
    /// An empty ring of `capacity` packets, a power of two, of which none is kept for longer than
    /// `age_max` while others arrive.
    pub fn new(capacity: usize, age_max: Duration) -> Self {
        assert!(capacity.is_power_of_two(), "the ring is indexed by mask");
        Self {
            entries: (0..capacity).map(|_| None).collect(),
            floor: SeqNo(0),
            first: SeqNo(0),
            end: SeqNo(0),
            age_max,
        }
    }

    /// Stores a payload unless its number was stored before.
    pub fn insert(
        &mut self,
        now: Instant,
        info: PacketInfo,
        payload: &mut impl Payload,
        pool: &mut SlabPool,
    ) -> Result<(), NotStored> {
        if self.contains(info.seq) || info.seq < self.floor {
            return Err(NotStored::Duplicate);
        }
        self.make_room(now, info.seq, pool);
        let packet = match payload.put(pool) {
            Some(packet) => packet,
            None => {
                self.give_up_oldest(pool);
                payload.put(pool).ok_or(NotStored::NoSlab)?
            }
        };
        if info.seq < self.floor {
            // The only packets given up were younger in number than this one.
            pool.release(packet);
            return Err(NotStored::Duplicate);
        }
        self.end = self.end.max(SeqNo(info.seq.0 + 1));
        self.first = self.first.min(info.seq);
        let slot = self.slot(info.seq);
        self.entries[slot] = Some(Entry {
            info,
            packet,
            until: now + self.age_max,
        });
        Ok(())
    }

    /// The packet of that number, if it is still here.
    pub fn packet(&self, seq: SeqNo) -> Option<(&PacketInfo, &PacketRef)> {
        self.entry(seq).map(|entry| (&entry.info, &entry.packet))
    }

    /// Whether the number has been stored and not yet given up.
    pub fn contains(&self, seq: SeqNo) -> bool {
        self.packet(seq).is_some()
    }

    /// Gives everything back to the pool. Numbers below what was stored stay refused.
    pub fn clear(&mut self, pool: &mut SlabPool) {
        for entry in self.entries.iter_mut().filter_map(Option::take) {
            pool.release(entry.packet);
        }
        self.floor = self.end;
    }

    /// The numbering starts anew, with another source: nothing of the old one is refused any more.
    pub fn restart(&mut self) {
        debug_assert!(self.entries.iter().all(Option::is_none), "cleared before");
        self.floor = SeqNo(0);
        self.end = SeqNo(0);
    }

    fn slot(&self, seq: SeqNo) -> usize {
        seq.0 as usize & (self.entries.len() - 1)
    }

    /// Raises the floor to what still fits beside `seq`, and over what is too old.
    fn make_room(&mut self, now: Instant, seq: SeqNo, pool: &mut SlabPool) {
        let capacity = self.entries.len() as u64;
        let fits = SeqNo((seq.0 + 1).saturating_sub(capacity));
        if self.end == SeqNo(0) {
            self.floor = fits;
            self.first = seq;
            return;
        }
        if fits.0 >= self.end.0 {
            // A jump over the whole ring: nothing of it can stay.
            self.clear(pool);
            self.floor = fits;
            self.first = seq;
            return;
        }
        while self.floor < fits || self.is_floor_stale(now) {
            self.give_up(self.floor, pool);
            self.floor = SeqNo(self.floor.0 + 1);
        }
    }

    /// Whether the oldest packet has been here for too long. A number at the floor that never came
    /// may still be on the way: it goes when the packet after it does.
    fn is_floor_stale(&mut self, now: Instant) -> bool {
        self.first = self.first.max(self.floor);
        while self.first < self.end && self.entry(self.first).is_none() {
            self.first = SeqNo(self.first.0 + 1);
        }
        self.entry(self.first)
            .is_some_and(|entry| now > entry.until)
    }

    fn entry(&self, seq: SeqNo) -> Option<&Entry> {
        self.entries[self.slot(seq)]
            .as_ref()
            .filter(|entry| entry.info.seq == seq)
    }

    fn give_up(&mut self, seq: SeqNo, pool: &mut SlabPool) {
        let slot = self.slot(seq);
        if let Some(entry) = self.entries[slot].take_if(|entry| entry.info.seq == seq) {
            pool.release(entry.packet);
        }
    }

    fn give_up_oldest(&mut self, pool: &mut SlabPool) {
        while self.floor < self.end {
            let is_filled = self.contains(self.floor);
            self.give_up(self.floor, pool);
            self.floor = SeqNo(self.floor.0 + 1);
            if is_filled {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(seq: u64) -> PacketInfo {
        PacketInfo {
            seq: SeqNo(seq),
            timestamp: 0,
            marker: false,
            codec: 0,
            starts_keyframe: false,
            picture: PictureIds::default(),
            audio_level: None,
            orientation: None,
            spatial: None,
            descriptor: 0,
        }
    }

    struct Bench {
        pool: SlabPool,
        history: History,
        now: Instant,
    }

    impl Bench {
        fn new(capacity: usize, slabs: usize) -> Self {
            Self {
                pool: SlabPool::new(slabs),
                history: History::new(capacity, Duration::from_secs(1)),
                now: crate::testing::instant(),
            }
        }

        fn insert(&mut self, seq: u64) -> Result<(), NotStored> {
            let payload = seq.to_be_bytes();
            self.history
                .insert(self.now, info(seq), &mut &payload[..], &mut self.pool)
        }
    }

    #[test]
    fn a_number_is_stored_once_even_after_it_has_left_the_ring() {
        let mut bench = Bench::new(8, 64);
        for seq in 70_000..70_020 {
            assert_eq!(bench.insert(seq), Ok(()));
            assert_eq!(bench.insert(seq), Err(NotStored::Duplicate));
        }
        assert_eq!(bench.insert(70_001), Err(NotStored::Duplicate));
        assert_eq!(bench.pool.used(), 8);
        let (_, packet) = bench.history.packet(SeqNo(70_015)).expect("still there");
        assert_eq!(bench.pool.bytes(packet), 70_015_u64.to_be_bytes());
    }

    #[test]
    fn a_gap_may_be_filled_later() {
        let mut bench = Bench::new(8, 64);
        assert_eq!(bench.insert(70_000), Ok(()));
        assert_eq!(bench.insert(70_004), Ok(()));
        assert_eq!(bench.insert(70_002), Ok(()));
        assert!(!bench.history.contains(SeqNo(70_001)));
        assert!(bench.history.contains(SeqNo(70_002)));
        assert_eq!(bench.insert(69_998), Ok(()), "reordered before the first");
    }

    #[test]
    fn a_jump_over_the_whole_ring_gives_everything_back() {
        let mut bench = Bench::new(8, 64);
        for seq in 70_000..70_008 {
            assert_eq!(bench.insert(seq), Ok(()));
        }
        assert_eq!(bench.insert(90_000), Ok(()));
        assert_eq!(bench.pool.used(), 1);
        assert_eq!(bench.insert(70_009), Err(NotStored::Duplicate));
    }

    #[test]
    fn old_packets_are_given_back_when_new_ones_arrive() {
        let mut bench = Bench::new(512, 1024);
        for seq in (70_000..70_100).filter(|seq| seq % 7 != 0) {
            assert_eq!(bench.insert(seq), Ok(()));
        }
        bench.now += Duration::from_millis(1500);
        assert_eq!(bench.insert(70_100), Ok(()));
        assert_eq!(bench.pool.used(), 1);
    }

    #[test]
    fn an_empty_pool_costs_the_oldest_packet_not_the_newest() {
        let mut bench = Bench::new(8, 2);
        for seq in 70_000..70_005 {
            assert_eq!(bench.insert(seq), Ok(()));
        }
        assert!(bench.history.contains(SeqNo(70_004)));
        assert!(!bench.history.contains(SeqNo(70_000)));
        bench.history.clear(&mut bench.pool);
        assert_eq!(bench.pool.used(), 0);
    }
}
