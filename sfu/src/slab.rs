//! Packet memory of a shard: fixed slabs of 2 KB, handed out by index and counted.
//!
//! The pool owns every slab; a [`PacketRef`] is one counted claim on one of them. Claims are given
//! back explicitly ([`SlabPool::release`]), because an index cannot reach its pool when it is
//! dropped. Slabs are made in chunks as they are first needed, up to a bound, and never returned
//! to the allocator: in steady state nothing here allocates. A slab that has been filled is only
//! read from then on, so that workers may share them later.

/// Bytes of one slab: more than any datagram that a path MTU of 1,500 lets through.
pub const SLAB_BYTES: usize = 2048;

/// Slabs that are made at a time: half a megabyte.
const CHUNK_SLABS: usize = 256;

/// One counted claim on a filled slab. Not `Clone`: see [`SlabPool::share`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a claim that is not released holds its slab for ever"]
pub struct PacketRef {
    index: u32,
}

struct Slot {
    claims: u32,
    len: u16,
}

/// All packet memory of one shard.
pub struct SlabPool {
    chunks: Vec<Box<[u8]>>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    slabs_max: usize,
}

impl SlabPool {
    /// An empty pool that will never hold more than `slabs_max` packets.
    pub fn new(slabs_max: usize) -> Self {
        Self {
            chunks: Vec::new(),
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
        if self.free.is_empty() {
            self.grow();
        }
        let index = self.free.pop()?;
        let slot = &mut self.slots[index as usize];
        debug_assert_eq!(slot.claims, 0, "a free slab has no claims");
        slot.claims = 1;
        slot.len = bytes.len() as u16;
        let (chunk, start) = place(index);
        self.chunks[chunk][start..start + bytes.len()].copy_from_slice(bytes);
        Some(PacketRef { index })
    }

    /// The bytes of a packet.
    pub fn bytes(&self, packet: &PacketRef) -> &[u8] {
        let (chunk, start) = place(packet.index);
        let len = usize::from(self.slots[packet.index as usize].len);
        &self.chunks[chunk][start..start + len]
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
        let count = CHUNK_SLABS.min(self.slabs_max.saturating_sub(first));
        if count == 0 {
            return;
        }
        self.chunks
            .push(vec![0; count * SLAB_BYTES].into_boxed_slice());
        self.slots
            .extend((0..count).map(|_| Slot { claims: 0, len: 0 }));
        // Room for all of them at once, so that giving back never allocates.
        self.free.reserve(self.slots.len());
        self.free
            .extend((first..first + count).rev().map(|i| i as u32));
    }
}

fn place(index: u32) -> (usize, usize) {
    let index = index as usize;
    (index / CHUNK_SLABS, index % CHUNK_SLABS * SLAB_BYTES)
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
    fn the_bound_holds_across_chunks() {
        let mut pool = SlabPool::new(CHUNK_SLABS + 3);
        let packets: Vec<_> = (0..=u32::MAX)
            .map_while(|n| pool.store(&n.to_be_bytes()))
            .collect();
        assert_eq!(packets.len(), CHUNK_SLABS + 3);
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
}
