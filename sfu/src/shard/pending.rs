//! What waits to leave in this turn, for all peers of a shard.
//!
//! The packets of one peer are a chain through one list that all share. So the list is as long as
//! what waits at once, is written and read nearly in order, and stays in the caches, where two
//! thousand queues of their own would be two thousand cold places. It is emptied when nothing waits
//! any more, which is at the end of nearly every turn.

use crate::slab::{PacketRef, SlabPool};
use crate::subscription::Outgoing;

/// A packet that leaves in this turn.
pub(super) struct Pending {
    /// The place of the subscription.
    pub(super) subscription: usize,
    pub(super) outgoing: Outgoing,
    pub(super) packet: PacketRef,
}

struct Link {
    /// `None` once it has left.
    pending: Option<Pending>,
    next: u32,
}

/// No link.
const END: u32 = u32::MAX;

/// The chain of one peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chain {
    first: u32,
    last: u32,
}

impl Default for Chain {
    fn default() -> Self {
        Self {
            first: END,
            last: END,
        }
    }
}

impl Chain {
    pub(super) fn is_empty(self) -> bool {
        self.first == END
    }

    /// Whether there is one packet in it and no other.
    pub(super) fn is_single(self) -> bool {
        self.first == self.last && !self.is_empty()
    }

    /// The place of its first packet.
    pub(super) fn first(self) -> usize {
        self.first as usize
    }
}

/// The chains of all peers.
#[derive(Default)]
pub(super) struct PendingList {
    links: Vec<Link>,
    /// Packets that have not left.
    waiting: usize,
}

impl PendingList {
    /// Appends to a chain.
    pub(super) fn push(&mut self, chain: &mut Chain, pending: Pending) {
        let place = self.links.len() as u32;
        self.links.push(Link {
            pending: Some(pending),
            next: END,
        });
        self.waiting += 1;
        match self.links.get_mut(chain.last as usize) {
            Some(last) => last.next = place,
            None => chain.first = place,
        }
        chain.last = place;
    }

    /// The packet at a place of a chain.
    pub(super) fn at(&self, place: usize) -> Option<&Pending> {
        self.links[place].pending.as_ref()
    }

    /// The packets of a chain with their places, in order.
    pub(super) fn iter(&self, chain: Chain) -> impl Iterator<Item = (usize, &Pending)> {
        let mut next = chain.first;
        std::iter::from_fn(move || {
            let (place, link) = (next as usize, self.links.get(next as usize)?);
            next = link.next;
            Some((place, link.pending.as_ref()?))
        })
    }

    /// The packet at this place has left, or never will; its chain must be given up with it.
    pub(super) fn release(&mut self, place: usize, pool: &mut SlabPool) {
        if let Some(pending) = self.links[place].pending.take() {
            pool.release(pending.packet);
            self.waiting -= 1;
            if self.waiting == 0 {
                self.links.clear();
            }
        }
    }

    /// Takes back what waits in a chain for a subscription that ends.
    pub(super) fn forget(&mut self, chain: &mut Chain, subscription: usize, pool: &mut SlabPool) {
        let mut next = std::mem::take(chain).first;
        while let Some(link) = self.links.get_mut(next as usize) {
            let pending = link.pending.take();
            next = std::mem::replace(&mut link.next, END);
            let Some(pending) = pending else { continue };
            self.waiting -= 1;
            if pending.subscription == subscription {
                pool.release(pending.packet);
            } else {
                self.push(chain, pending);
            }
        }
        if self.waiting == 0 {
            self.links.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bench() -> (SlabPool, PendingList, [Chain; 2]) {
        let mut pool = SlabPool::new(8);
        let mut list = PendingList::default();
        let mut chains = [Chain::default(); 2];
        for subscription in 0..6 {
            let packet = pool.store(b"heart").expect("there are eight");
            let pending = Pending {
                subscription,
                outgoing: Outgoing::sample(),
                packet,
            };
            list.push(&mut chains[subscription % 2], pending);
        }
        (pool, list, chains)
    }

    fn waiting(chain: Chain, list: &PendingList) -> Vec<usize> {
        let all = list.iter(chain).map(|(_, pending)| pending.subscription);
        all.collect()
    }

    #[test]
    fn chains_keep_their_order_and_the_list_empties_itself() {
        let (mut pool, mut list, mut chains) = bench();
        assert_eq!(waiting(chains[0], &list), [0, 2, 4]);
        assert_eq!(waiting(chains[1], &list), [1, 3, 5]);
        assert!(!chains[0].is_single());
        for chain in &mut chains {
            let places: Vec<_> = list.iter(*chain).map(|(place, _)| place).collect();
            *chain = Chain::default();
            for place in places {
                list.release(place, &mut pool);
            }
        }
        assert!(list.links.is_empty());
        assert_eq!(pool.used(), 0);
    }

    #[test]
    fn what_waits_for_a_subscription_that_ends_is_taken_back() {
        let (mut pool, mut list, mut chains) = bench();
        list.forget(&mut chains[0], 2, &mut pool);
        assert_eq!(waiting(chains[0], &list), [0, 4]);
        assert_eq!(waiting(chains[1], &list), [1, 3, 5]);
        list.forget(&mut chains[0], 0, &mut pool);
        assert!(chains[0].is_single());
        list.forget(&mut chains[0], 4, &mut pool);
        assert!(chains[0].is_empty());
        assert_eq!(pool.used(), 3);
        for subscription in [1, 3, 5] {
            list.forget(&mut chains[1], subscription, &mut pool);
        }
        assert!(list.links.is_empty());
        assert_eq!(pool.used(), 0);
    }
}
