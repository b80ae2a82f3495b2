//! Packet memory of a shard: fixed slabs of 2 KB, handed out by index and counted.
//!
//! The pool owns every slab; a [`PacketRef`] is one counted claim on one of them. Claims are given
//! back explicitly ([`SlabPool::release`]), because an index cannot reach its pool when it is
//! dropped. Slabs are made in lots as they are first needed, up to a bound, and never returned to
//! the allocator: in steady state nothing here allocates. A slab that has been filled is only read
//! from then on. Between threads slabs are exchanged, not shared ([`SlabPool::adopt`]): counting
//! stays a plain addition, and a packet that comes from another worker is not copied again.

use std::ops::Range;

use crate::pages::Part;

/// Bytes of one slab: more than any datagram that a path MTU of 1,500 lets through.
pub const SLAB_BYTES: usize = 2048;

/// The memory of one slab, which may change its owner; no core dump has it.
pub type SlabBuffer = Part<SLAB_BYTES>;

/// A slab that belongs to no pool yet.
///
/// # Panics
///
/// If the system has no memory left, as with any other box.
pub fn new_buffer() -> SlabBuffer {
    let mut one = new_buffers(1);
    one.next().expect("the system has memory")
}

/// So many slabs that belong to no pool yet; none if the system has no memory left.
pub(crate) fn new_buffers(count: usize) -> impl DoubleEndedIterator<Item = SlabBuffer> {
    Part::many(count).into_iter().flatten()
}

/// Slabs that are made at a time: half a megabyte.
const LOT_SLABS: usize = 256;

/// One counted claim on a filled slab. Not `Clone`: see [`SlabPool::share`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a claim that is not released holds its slab for ever"]
pub struct PacketRef {
    index: u32,
}

struct Slot {
    buffer: SlabBuffer,
    claims: u32,
    start: u16,
    len: u16,
}

/// Bytes that a pool can be given to keep.
pub trait Payload {
    /// How many there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts them into a free slab; `None` if there is no free one or they do not fit.
    fn put(&mut self, pool: &mut SlabPool) -> Option<PacketRef>;
}

impl Payload for &[u8] {
    fn len(&self) -> usize {
        <[u8]>::len(self)
    }

    fn put(&mut self, pool: &mut SlabPool) -> Option<PacketRef> {
        pool.store(self)
    }
}

/// Bytes that lie in a slab already, which is exchanged for an empty one.
#[derive(Debug)]
pub struct Carried<'a> {
    /// The slab; afterwards another, with nothing of use in it.
    pub buffer: &'a mut SlabBuffer,
    /// Where in it they lie.
    pub range: Range<usize>,
}

impl<'a> Carried<'a> {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.range.clone()]
    }

    /// Only some of them.
    #[must_use]
    pub fn part(self, part: Range<usize>) -> Carried<'a> {
        let start = self.range.start;
        let range = start + part.start..start + part.end;
        assert!(range.end <= self.range.end, "a part lies within the whole");
        Carried { range, ..self }
    }
}

impl Carried<'_> {
    /// Adds bytes behind them, over whatever lies there. Returns whether there was room.
    pub fn append(&mut self, bytes: &[u8]) -> bool {
        let end = self.range.end + bytes.len();
        let Some(room) = self.buffer.get_mut(self.range.end..end) else {
            return false;
        };
        room.copy_from_slice(bytes);
        self.range.end = end;
        true
    }
}

impl Payload for Carried<'_> {
    fn len(&self) -> usize {
        self.range.len()
    }

    fn put(&mut self, pool: &mut SlabPool) -> Option<PacketRef> {
        pool.adopt(self.buffer, self.range.clone())
    }
}

/// All packet memory of one shard.
pub struct SlabPool {
    slots: Vec<Slot>,
    free: Vec<u32>,
    slabs_max: usize,
}

impl SlabPool {
    /// An empty pool that will never hold more than `slabs_max` packets.
    pub fn new(slabs_max: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            slabs_max,
        }
    }

    /// Copies `bytes` into a free slab; `None` if there is no free one or they do not fit.
    pub fn store(&mut self, bytes: &[u8]) -> Option<PacketRef> {
        if bytes.len() > SLAB_BYTES {
            return None;
        }
        let index = self.claim(0..bytes.len())?;
        self.slots[index as usize].buffer[..bytes.len()].copy_from_slice(bytes);
        Some(PacketRef { index })
    }

    /// Takes a filled slab, whose bytes in `range` are a packet, for an empty one of its own;
    /// `None`, and nothing is taken, if there is no free one.
    pub fn adopt(&mut self, buffer: &mut SlabBuffer, range: Range<usize>) -> Option<PacketRef> {
        assert!(range.end <= SLAB_BYTES, "a packet lies within its slab");
        let index = self.claim(range)?;
        std::mem::swap(&mut self.slots[index as usize].buffer, buffer);
        Some(PacketRef { index })
    }

    /// A free slab with one claim on it.
    fn claim(&mut self, range: Range<usize>) -> Option<u32> {
        if self.free.is_empty() {
            self.grow();
        }
        let index = self.free.pop()?;
        let slot = &mut self.slots[index as usize];
        debug_assert_eq!(slot.claims, 0, "a free slab has no claims");
        slot.claims = 1;
        slot.start = range.start as u16;
        slot.len = range.len() as u16;
        Some(index)
    }

    /// The bytes of a packet.
    pub fn bytes(&self, packet: &PacketRef) -> &[u8] {
        let slot = &self.slots[packet.index as usize];
        let start = usize::from(slot.start);
        &slot.buffer[start..start + usize::from(slot.len)]
    }

    /// How many bytes a packet has.
    pub fn len(&self, packet: &PacketRef) -> usize {
        usize::from(self.slots[packet.index as usize].len)
    }

    /// One claim more on the same packet.
    pub fn share(&mut self, packet: &PacketRef) -> PacketRef {
        self.slots[packet.index as usize].claims += 1;
        PacketRef {
            index: packet.index,
        }
    }

    /// Gives a claim back; the last one frees the slab.
    // The claim must be consumed: by value is the point.
    #[expect(clippy::needless_pass_by_value, reason = "consumes the claim")]
    pub fn release(&mut self, packet: PacketRef) {
        let slot = &mut self.slots[packet.index as usize];
        slot.claims = slot
            .claims
            .checked_sub(1)
            .expect("a claim is released at most once, it is consumed");
        if slot.claims == 0 {
            self.free.push(packet.index);
        }
    }

    /// Slabs that hold a packet now.
    pub fn used(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn grow(&mut self) {
        let first = self.slots.len();
        let count = LOT_SLABS.min(self.slabs_max.saturating_sub(first));
        if count == 0 {
            return;
        }
        self.slots.extend(new_buffers(count).map(|buffer| Slot {
            buffer,
            claims: 0,
            start: 0,
            len: 0,
        }));
        // Room for all of them at once, so that giving back never allocates.
        self.free.reserve(self.slots.len());
        let made = first..self.slots.len();
        self.free.extend(made.rev().map(|i| i as u32));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_lives_until_its_last_claim_is_released() {
        let mut pool = SlabPool::new(1);
        let first = pool.store(b"heart").expect("one slab is free");
        let second = pool.share(&first);
        pool.release(first);
        assert_eq!(pool.bytes(&second), b"heart");
        assert!(pool.store(b"lung").is_none());
        pool.release(second);
        assert_eq!(pool.used(), 0);
        assert!(pool.store(b"lung").is_some());
    }

    #[test]
    fn the_bound_holds_across_lots() {
        let mut pool = SlabPool::new(LOT_SLABS + 3);
        let packets: Vec<_> = (0..=u32::MAX)
            .map_while(|n| pool.store(&n.to_be_bytes()))
            .collect();
        assert_eq!(packets.len(), LOT_SLABS + 3);
        for (n, packet) in packets.iter().enumerate() {
            assert_eq!(pool.bytes(packet), (n as u32).to_be_bytes());
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut pool = SlabPool::new(1);
        assert!(pool.store(&[0; SLAB_BYTES + 1]).is_none());
        assert!(pool.store(&[0; SLAB_BYTES]).is_some());
    }

    #[test]
    fn a_slab_is_adopted_without_a_copy_and_another_given_for_it() {
        let mut pool = SlabPool::new(1);
        let mut buffer = new_buffer();
        buffer[10..15].copy_from_slice(b"heart");
        let place = buffer.as_ptr();
        let packet = pool.adopt(&mut buffer, 10..15).expect("one slab is free");
        assert_eq!(pool.bytes(&packet), b"heart");
        assert_eq!(pool.bytes(&packet).as_ptr(), place.wrapping_add(10));
        assert_ne!(buffer.as_ptr(), place);
        let kept = buffer.as_ptr();
        assert!(pool.adopt(&mut buffer, 0..5).is_none());
        assert_eq!(buffer.as_ptr(), kept, "what is refused stays where it is");
        pool.release(packet);
        assert_eq!(pool.used(), 0);
    }
}
