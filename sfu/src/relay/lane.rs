//! A lane: one direction between two workers, for frames in slabs.
//!
//! Two rings of slabs: full ones go forward, empty ones come back. A frame is written straight into
//! a slab, the slab changes hands, and the receiving pool keeps it and gives an empty one of its own
//! in return: a payload is copied once per worker and nothing is shared or counted atomically. Slabs
//! are made as they are first needed, up to the lane's bound; then none is ever made or freed.
//! Neither end waits: what finds no slab or no place is refused, and the sender counts it.

use rtrb::{Consumer, Producer, RingBuffer};

use super::Frame;
use super::frame;
use crate::slab::{SlabBuffer, new_buffers};

/// Slabs that are made at a time.
const LOT_SLABS: usize = 32;

/// A slab with a frame of so many bytes.
struct Full {
    buffer: SlabBuffer,
    len: u16,
}

/// The end of a lane that frames are written to.
pub struct LaneIn {
    full: Producer<Full>,
    empty: Consumer<SlabBuffer>,
    /// Slabs that have not been under way yet, or found no place.
    spares: Vec<SlabBuffer>,
    /// Slabs that may still be made.
    unmade: usize,
}

/// The end of a lane that frames are read from.
pub struct LaneOut {
    full: Consumer<Full>,
    empty: Producer<SlabBuffer>,
}

/// A frame found no place, or is longer than a slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// A lane for at most `frames_max` frames under way.
pub fn lane(frames_max: usize) -> (LaneIn, LaneOut) {
    let (full_in, full_out) = RingBuffer::new(frames_max);
    let (empty_in, empty_out) = RingBuffer::new(frames_max);
    let head = LaneIn {
        full: full_in,
        empty: empty_out,
        spares: Vec::with_capacity(LOT_SLABS + 1),
        unmade: frames_max,
    };
    let tail = LaneOut {
        full: full_out,
        empty: empty_in,
    };
    (head, tail)
}

impl LaneIn {
    /// Writes a frame. The other end is not woken.
    pub fn send(&mut self, frame: &Frame, payload: &[u8]) -> Result<(), Refused> {
        let mut buffer = self.buffer().ok_or(Refused)?;
        let Some(len) = frame::write(frame, payload, &mut buffer[..]) else {
            self.spares.push(buffer);
            return Err(Refused);
        };
        let full = Full {
            buffer,
            len: len as u16,
        };
        match self.full.push(full) {
            Ok(()) => Ok(()),
            Err(rtrb::PushError::Full(full)) => {
                self.spares.push(full.buffer);
                Err(Refused)
            }
        }
    }

    fn buffer(&mut self) -> Option<SlabBuffer> {
        if let Ok(buffer) = self.empty.pop() {
            return Some(buffer);
        }
        if self.spares.is_empty() && self.unmade > 0 {
            self.spares.extend(new_buffers(self.unmade.min(LOT_SLABS)));
            self.unmade -= self.spares.len();
        }
        self.spares.pop()
    }
}

impl LaneOut {
    /// Hands the next frame to `read`, which may keep the slab if it leaves another in its place.
    /// False: there was none.
    pub fn receive(&mut self, read: impl FnOnce(&mut SlabBuffer, usize)) -> bool {
        let Ok(Full { mut buffer, len }) = self.full.pop() else {
            return false;
        };
        read(&mut buffer, usize::from(len));
        // There are never more slabs than places; a slab that found none would only be freed.
        let _fits = self.empty.push(buffer);
        true
    }

    /// Whether no frame waits.
    pub fn is_empty(&self) -> bool {
        self.full.is_empty()
    }
}

impl std::fmt::Debug for LaneIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LaneIn").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for LaneOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LaneOut").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::PublicationId;
    use crate::relay::Address;
    use crate::slab::SLAB_BYTES;
    use crate::unit::SeqNo;

    fn packet(seq: u64) -> Frame {
        Frame::Packet {
            to: Address {
                place: 0,
                publication: PublicationId(1),
            },
            stream: crate::subscription::rewriter::StreamKey {
                rank: 0,
                incarnation: 0,
            },
            info: crate::publication::history::PacketInfo {
                seq: SeqNo(seq),
                timestamp: 0,
                marker: false,
                codec: 0,
                starts_keyframe: false,
                picture: Default::default(),
                audio_level: None,
                orientation: None,
                spatial: None,
                descriptor: 0,
            },
        }
    }

    fn receive(lane: &mut LaneOut) -> Option<(u64, Vec<u8>)> {
        let mut received = None;
        lane.receive(|buffer, len| {
            let (frame, range) = frame::read(&buffer[..len]).expect("well formed");
            let Frame::Packet { info, .. } = frame else {
                panic!("only packets were sent");
            };
            received = Some((info.seq.0, buffer[range].to_vec()));
        });
        received
    }

    #[test]
    fn frames_come_out_in_order_and_slabs_go_round() {
        let (mut head, mut tail) = lane(3);
        for seq in 0..1_000_u64 {
            assert_eq!(head.send(&packet(seq), &seq.to_be_bytes()), Ok(()));
            assert_eq!(receive(&mut tail), Some((seq, seq.to_be_bytes().to_vec())));
        }
        assert_eq!(head.spares.len(), 2, "one slab was enough");
        assert_eq!(receive(&mut tail), None);
    }

    #[test]
    fn a_full_lane_refuses_and_goes_on_when_there_is_room() {
        let (mut head, mut tail) = lane(2);
        assert_eq!(head.send(&packet(0), b"a"), Ok(()));
        assert_eq!(head.send(&packet(1), b"b"), Ok(()));
        assert_eq!(head.send(&packet(2), b"c"), Err(Refused));
        assert_eq!(receive(&mut tail), Some((0, b"a".to_vec())));
        assert_eq!(head.send(&packet(3), b"d"), Ok(()));
        assert_eq!(head.send(&packet(4), b"e"), Err(Refused));
    }

    #[test]
    fn what_is_longer_than_a_slab_is_refused_and_costs_no_slab() {
        let (mut head, mut tail) = lane(1);
        let longest = SLAB_BYTES - frame::HEAD_BYTES;
        let payload = vec![7; longest + 1];
        assert_eq!(head.send(&packet(0), &payload), Err(Refused));
        assert_eq!(head.send(&packet(1), &payload[..longest]), Ok(()));
        assert_eq!(receive(&mut tail).map(|(seq, _)| seq), Some(1));
    }

    #[test]
    fn an_end_that_is_gone_stops_nobody() {
        let (mut head, tail) = lane(2);
        drop(tail);
        assert_eq!(head.send(&packet(0), b""), Ok(()));
        assert_eq!(head.send(&packet(1), b""), Ok(()));
        assert_eq!(head.send(&packet(2), b""), Err(Refused));
    }

    #[test]
    fn two_threads_agree_on_every_byte() {
        const COUNT: u64 = 20_000;
        let (mut head, mut tail) = lane(64);
        #[expect(clippy::disallowed_methods, reason = "this is what a lane is for")]
        let sender = std::thread::spawn(move || {
            let mut refused = 0_u64;
            for seq in 0..COUNT {
                let payload = [seq as u8; 100];
                while head.send(&packet(seq), &payload).is_err() {
                    refused += 1;
                    std::thread::yield_now();
                }
            }
            refused
        });
        for seq in 0..COUNT {
            let received = loop {
                match receive(&mut tail) {
                    Some(received) => break received,
                    None => std::thread::yield_now(),
                }
            };
            assert_eq!(received, (seq, vec![seq as u8; 100]));
        }
        sender.join().expect("it ends");
    }
}
