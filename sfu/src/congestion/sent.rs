//! When each numbered packet left for a receiver, and how long it was: what the receiver's feedback
//! is held against.
//!
//! Pictures, their retransmissions and padding that probes a path carry a number that counts all of
//! one transport. Written for every such packet, so it is a row of eight bytes each in a ring that is
//! made once; read when feedback comes. What is older than the ring is forgotten, and feedback about
//! it says nothing.

use std::time::Instant;

/// Packets that are remembered: at 1,500 a second, which is 15 Mbit/s, they last for the longest round
/// trip and the slowest feedback together.
const REMEMBERED: usize = 2_048;

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// Microseconds after the beginning, which wrap after 71 minutes.
    at: u32,
    number: u16,
    /// 0 for nothing that is still to be reported about.
    bytes: u16,
}

/// A packet that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentPacket {
    /// When it left, in microseconds of our clock.
    pub at_us: i64,
    /// How long it was.
    pub bytes: u16,
}

/// What was sent on one transport.
#[derive(Debug)]
pub struct SentRecord {
    ring: [Entry; REMEMBERED],
    since: Instant,
    /// Now, as entries know it.
    now: u32,
    next: u16,
    bytes: u64,
    packets: u64,
}

impl SentRecord {
    /// Nothing has been sent.
    pub fn new(now: Instant) -> Self {
        Self {
            ring: [Entry::default(); REMEMBERED],
            since: now,
            now: 0,
            next: 0,
            bytes: 0,
            packets: 0,
        }
    }

    /// What is noted from here on leaves at this time.
    pub fn set_time(&mut self, now: Instant) {
        self.now = self.micros(now) as u32;
    }

    /// The number of the packet that leaves next.
    pub fn next(&self) -> u16 {
        self.next
    }

    /// The packet with that number has left.
    pub fn note(&mut self, bytes: usize) {
        self.ring[usize::from(self.next) % REMEMBERED] = Entry {
            at: self.now,
            number: self.next,
            bytes: bytes as u16,
        };
        self.next = self.next.wrapping_add(1);
        self.bytes += bytes as u64;
        self.packets += 1;
    }

    /// What is known of a packet that nothing was reported about yet.
    pub fn take(&mut self, now: Instant, number: u16) -> Option<SentPacket> {
        let now = self.micros(now);
        let entry = &mut self.ring[usize::from(number) % REMEMBERED];
        if entry.number != number || entry.bytes == 0 {
            return None;
        }
        let bytes = std::mem::take(&mut entry.bytes);
        let age = (now as u32).wrapping_sub(entry.at);
        Some(SentPacket {
            at_us: now - i64::from(age),
            bytes,
        })
    }

    /// Bytes that have left since the beginning.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Packets that have left since the beginning.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    fn micros(&self, now: Instant) -> i64 {
        now.saturating_duration_since(self.since).as_micros() as i64
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_packet_is_found_once_and_only_while_it_is_remembered() {
        let start = crate::testing::instant();
        let at = |ms| start + Duration::from_millis(ms);
        let mut sent = SentRecord::new(start);
        assert_eq!(sent.take(start, 0), None, "nothing was sent");
        for number in 0..70_000_u64 {
            sent.set_time(at(number));
            assert_eq!(sent.next(), number as u16);
            sent.note(100 + (number % 7) as usize);
        }
        let last = (69_999_u64 % 65_536) as u16;
        let found = sent.take(at(70_050), last).expect("just sent");
        assert_eq!(found.at_us, 69_999_000);
        assert_eq!(u64::from(found.bytes), 100 + 69_999 % 7);
        assert_eq!(sent.take(at(70_050), last), None, "reported once");
        let oldest = last.wrapping_sub(REMEMBERED as u16 - 1);
        assert!(sent.take(at(70_050), oldest).is_some());
        assert_eq!(sent.take(at(70_050), oldest.wrapping_sub(1)), None);
        assert_eq!(sent.take(at(70_050), last.wrapping_add(1)), None, "not yet");
    }

    #[test]
    fn times_are_right_across_the_wrap_of_the_short_clock() {
        let start = crate::testing::instant();
        let late = start + Duration::from_micros(u64::from(u32::MAX) - 10);
        let mut sent = SentRecord::new(start);
        sent.set_time(late);
        sent.note(1);
        let found = sent.take(late + Duration::from_millis(50), 0);
        assert_eq!(found.expect("known").at_us, i64::from(u32::MAX) - 10);
    }
}
