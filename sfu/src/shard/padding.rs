//! How long each packet to one receiver should become, so that neighbours are equally long.
//!
//! Encoders cut a picture into packets that differ by a byte, the larger ones last, while the kernel
//! takes runs of equal length whose last datagram may be shorter. A few bytes of RTP padding make
//! one run of what would be several. [`pad`] only decides, over plain numbers; where it wins
//! nothing it adds nothing.

/// No packet is made longer than this: with a tag of 16 bytes it still fits the smallest path that
/// IPv6 allows.
const PADDED_BYTES_MAX: u16 = 1_216;

/// More than a packet is ever padded by; the count of padding bytes has eight bits anyway.
pub(crate) const PADDING_MAX: usize = 64;

/// A packet that waits to leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Leaving {
    /// Its place in the queue.
    pub(super) index: usize,
    /// Its length in plain.
    pub(super) len: u16,
    /// It may be sent once more under the same number, so it must stay as it is.
    pub(super) is_fixed: bool,
    /// Bytes of padding that it gets.
    pub(super) padding: u8,
}

/// What padding may cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Per packet; 0 for none at all.
    pub(super) bytes_max: usize,
    /// Of all bytes of a run, in percent.
    pub(super) percent_max: u32,
    /// Packets of a run.
    pub(super) segments_max: usize,
}

/// Chooses the padding of packets that leave for one receiver in this order.
pub(super) fn pad(mut leaving: &mut [Leaving], bounds: Bounds) {
    while !leaving.is_empty() {
        let (count, len) = run(leaving, bounds);
        let (run, rest) = leaving.split_at_mut(count);
        if let Some((_, middle)) = run.split_last_mut() {
            for packet in middle {
                packet.padding = (len - packet.len) as u8;
            }
        }
        leaving = rest;
    }
}

/// The run that begins with the first packet: how many it takes in, and how long they become. Only
/// the last may be shorter.
fn run(leaving: &[Leaving], bounds: Bounds) -> (usize, u16) {
    let mut count = 1;
    let mut longest = leaving[0].len;
    let mut middle = Middle::default();
    for pair in leaving.windows(2).take(bounds.segments_max.max(1) - 1) {
        let (last, next) = (&pair[0], &pair[1]);
        // What was the end of the run until now must not be shorter any more.
        let with_last = middle.with(last);
        let len = longest.max(next.len);
        if !with_last.can_become(len, bounds) {
            break;
        }
        middle = with_last;
        longest = len;
        count += 1;
    }
    (count, longest)
}

/// All packets of a run but the last.
#[derive(Clone, Copy, Debug)]
struct Middle {
    count: u32,
    bytes: u32,
    shortest: u16,
    shortest_fixed: u16,
}

impl Default for Middle {
    fn default() -> Self {
        Self {
            count: 0,
            bytes: 0,
            shortest: u16::MAX,
            shortest_fixed: u16::MAX,
        }
    }
}

impl Middle {
    fn with(mut self, packet: &Leaving) -> Self {
        self.count += 1;
        self.bytes += u32::from(packet.len);
        self.shortest = self.shortest.min(packet.len);
        if packet.is_fixed {
            self.shortest_fixed = self.shortest_fixed.min(packet.len);
        }
        self
    }

    fn can_become(&self, len: u16, bounds: Bounds) -> bool {
        let total = self.count * u32::from(len);
        let waste = total - self.bytes;
        waste == 0
            || (len <= PADDED_BYTES_MAX
                && self.shortest_fixed >= len
                && usize::from(len - self.shortest) <= bounds.bytes_max.min(PADDING_MAX)
                && waste * 100 <= total * bounds.percent_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        bytes_max: 64,
        percent_max: 5,
        segments_max: 16,
    };

    fn leaving(lengths: &[u16], is_fixed: bool) -> Vec<Leaving> {
        let packet = |(index, &len)| Leaving {
            index,
            len,
            is_fixed,
            padding: 0,
        };
        lengths.iter().enumerate().map(packet).collect()
    }

    fn padded(lengths: &[u16], bounds: Bounds) -> Vec<u8> {
        let mut packets = leaving(lengths, false);
        pad(&mut packets, bounds);
        packets.iter().map(|packet| packet.padding).collect()
    }

    #[test]
    fn a_picture_becomes_one_run() {
        assert_eq!(padded(&[1099, 1099, 1100, 1100], BOUNDS), [1, 1, 0, 0]);
        assert_eq!(padded(&[1100, 1100, 1100, 640], BOUNDS), [0, 0, 0, 0]);
        assert_eq!(padded(&[1100, 1080, 1100, 640], BOUNDS), [0, 20, 0, 0]);
    }

    #[test]
    fn nothing_is_padded_where_it_wins_nothing() {
        for lengths in [
            &[1100][..],
            &[1100, 900],
            &[500, 1100],
            &[1100, 900, 1100],
            &[900, 1100, 900, 1100],
        ] {
            assert_eq!(
                padded(lengths, BOUNDS),
                vec![0; lengths.len()],
                "{lengths:?}"
            );
        }
    }

    #[test]
    fn waste_is_bounded_by_packet_and_by_run() {
        assert_eq!(padded(&[1000, 1064], BOUNDS), [0, 0], "six percent");
        assert_eq!(padded(&[1000, 1050], BOUNDS), [50, 0]);
        assert_eq!(padded(&[1200, 1135, 1200], BOUNDS), [0, 0, 0], "65 bytes");
        assert_eq!(padded(&[1200, 1136, 1200], BOUNDS), [0, 64, 0]);
        assert_eq!(padded(&[1217, 1216, 1217], BOUNDS), [0, 0, 0], "too long");
        let off = Bounds {
            bytes_max: 0,
            ..BOUNDS
        };
        assert_eq!(padded(&[1099, 1100], off), [0, 0]);
    }

    #[test]
    fn what_may_be_sent_again_stays_as_it_is() {
        let mut packets = leaving(&[1099, 1100, 1099, 1100], false);
        packets[0].is_fixed = true;
        pad(&mut packets, BOUNDS);
        let paddings: Vec<_> = packets.iter().map(|packet| packet.padding).collect();
        assert_eq!(paddings, [0, 0, 1, 0], "the others are a run of their own");
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            #[test]
            fn padding_keeps_its_bounds_and_saves_messages(
                lengths in prop::collection::vec(40_u16..1300, 1..40),
                fixed in prop::collection::vec(any::<bool>(), 40),
                segments_max in 1_usize..20,
            ) {
                let bounds = Bounds { segments_max, ..BOUNDS };
                let mut packets = leaving(&lengths, false);
                for (packet, is_fixed) in packets.iter_mut().zip(fixed) {
                    packet.is_fixed = is_fixed;
                }
                pad(&mut packets, bounds);
                for packet in &packets {
                    let becomes = packet.len + u16::from(packet.padding);
                    prop_assert!(packet.padding == 0 || !packet.is_fixed);
                    prop_assert!(packet.padding == 0 || becomes <= PADDED_BYTES_MAX);
                    prop_assert!(packet.padding <= 64);
                }
                let plain: u32 = packets.iter().map(|p| u32::from(p.len)).sum();
                let waste: u32 = packets.iter().map(|p| u32::from(p.padding)).sum();
                prop_assert!(waste * 20 <= plain + waste);
                let runs = |with: u8| {
                    let lengths: Vec<_> = packets
                        .iter()
                        .map(|p| p.len + u16::from(p.padding * with))
                        .collect();
                    messages(&lengths, segments_max)
                };
                prop_assert!(waste == 0 || runs(1) < runs(0) + 1);
            }
        }

        /// How many messages such datagrams make.
        fn messages(lengths: &[u16], segments_max: usize) -> usize {
            let (mut messages, mut at) = (0, 0);
            while at < lengths.len() {
                let mut count = 1;
                while count < segments_max
                    && at + count < lengths.len()
                    && lengths[at + count - 1] == lengths[at]
                    && lengths[at + count] <= lengths[at]
                {
                    count += 1;
                }
                messages += 1;
                at += count;
            }
            messages
        }
    }
}
