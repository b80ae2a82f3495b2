//! Which indices of one source have been received (RFC 3711 section 3.3.2, laid out as in
//! RFC 6479).

use crate::unit::SeqNo;

/// Blocks of 64 packets.
const BLOCKS: u64 = 16;
/// How far behind the newest packet one may arrive and still be told from a replay. Senders without
/// retransmission streams repeat packets on the original one, up to a second late: at 300 packets a
/// second 960 are enough, and it is what libwebrtc keeps, rounded to blocks. The RFC asks for 64.
pub(super) const WINDOW: u64 = (BLOCKS - 1) * 64;

/// A bit for each of the newest indices, in a ring of blocks that are cleared as they are entered.
pub(super) struct ReplayWindow {
    newest: u64,
    blocks: [u64; BLOCKS as usize],
}

impl ReplayWindow {
    /// The window after the first packet.
    pub(super) fn starting_with(index: u64) -> Self {
        let mut window = Self {
            newest: index,
            blocks: [0; BLOCKS as usize],
        };
        window.insert(index);
        window
    }

    /// The number nearest to the newest that ends in `wire`.
    pub(super) fn extend(&self, wire: u16) -> SeqNo {
        SeqNo(self.newest).extend(wire)
    }

    /// Whether `index` was not received, as far as one can tell.
    pub(super) fn is_new(&self, index: u64) -> bool {
        if index > self.newest {
            return true;
        }
        self.newest - index < WINDOW && self.blocks[block(index)] & bit(index) == 0
    }

    /// Notes an index for which [`Self::is_new`] was said.
    pub(super) fn insert(&mut self, index: u64) {
        if index > self.newest {
            let entered = (index / 64 - self.newest / 64).min(BLOCKS);
            for step in 0..entered {
                self.blocks[block(index - 64 * step)] = 0;
            }
            self.newest = index;
        }
        self.blocks[block(index)] |= bit(index);
    }
}

fn block(index: u64) -> usize {
    (index / 64 % BLOCKS) as usize
}

fn bit(index: u64) -> u64 {
    1 << (index % 64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_window_is_at_least_what_the_rfc_asks_for() {
        let mut window = ReplayWindow::starting_with(10_000);
        assert!(!window.is_new(10_000));
        assert!(window.is_new(10_000 - WINDOW + 1));
        assert!(!window.is_new(10_000 - WINDOW));
        window.insert(10_000 - WINDOW + 1);
        assert!(!window.is_new(10_000 - WINDOW + 1));
    }

    #[test]
    fn a_leap_clears_what_it_passes() {
        let mut window = ReplayWindow::starting_with(5);
        window.insert(5 + 64 * BLOCKS);
        assert!(!window.is_new(5));
        window.insert(1 << 40);
        assert!(window.is_new((1 << 40) - 1));
        assert!(!window.is_new(5 + 64 * BLOCKS));
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_set_of_everything_received(
            start in 0_u64..5_000,
            steps in prop::collection::vec(-1_500_i64..1_600, 1..300),
        ) {
            let mut window = ReplayWindow::starting_with(start);
            let mut received = BTreeSet::from([start]);
            let mut newest = start;
            for step in steps {
                let index = newest.saturating_add_signed(step);
                let is_new = !received.contains(&index) && index + WINDOW > newest;
                prop_assert_eq!(window.is_new(index), is_new);
                if is_new {
                    window.insert(index);
                    received.insert(index);
                    newest = newest.max(index);
                }
            }
        }
    }
}
