//! Reliable messages that are kept for a while, for those who come back after a broken connection
//! and say how far they have heard.
//!
//! Senders number their reliable messages. Whoever comes back names the last number that it has of
//! each sender, and gets what came after it once more; a client drops what it has already. Bounded
//! in bytes and in time: nobody comes back after the seat is given up.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::participant::{Participant, ParticipantKey};
use crate::wire::data_packet::{Content, Patched};
use crate::wire::proto::DataChannelReceiveState;

/// What a kept message takes beside its bytes and the names of its recipients, roughly.
const OVERHEAD_BYTES: usize = 200;

/// The reliable messages of a room.
#[derive(Debug)]
pub struct Replay {
    kept: VecDeque<Kept>,
    bytes: usize,
    bytes_max: usize,
    /// How many messages there have been.
    position: u64,
}

#[derive(Debug)]
struct Kept {
    position: u64,
    at: Instant,
    sender: ParticipantKey,
    sender_sid: String,
    message: Patched,
}

impl Kept {
    fn bytes(&self) -> usize {
        let named = &self.message.destinations;
        let names = named.identities.iter().chain(&named.sids);
        let names: usize = names.map(|name| name.len() + size_of::<String>()).sum();
        OVERHEAD_BYTES + self.sender_sid.len() + names + self.message.payload.len()
    }
}

impl Replay {
    /// Keeps so many bytes at most.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            kept: VecDeque::new(),
            bytes: 0,
            bytes_max,
            position: 0,
        }
    }

    /// Where the room is now; whoever comes later may not hear what was said before.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Keeps a message, and forgets those that are older than `age_max` or too many. A message
    /// without a number, or of somebody who is hidden, nobody can ask for.
    pub fn keep(
        &mut self,
        now: Instant,
        (sender, sender_sid): (ParticipantKey, &str),
        message: &Patched,
        age_max: Duration,
    ) {
        self.position += 1;
        if message.sequence == 0 || sender_sid.is_empty() {
            return;
        }
        let kept = Kept {
            position: self.position,
            at: now,
            sender,
            sender_sid: sender_sid.to_owned(),
            message: message.clone(),
        };
        self.bytes += kept.bytes();
        self.kept.push_back(kept);
        while let Some(oldest) = self.kept.front()
            && (self.bytes > self.bytes_max || now.saturating_duration_since(oldest.at) > age_max)
        {
            self.bytes -= oldest.bytes();
            self.kept.pop_front();
        }
    }

    /// What a participant has missed of one sender, in the order in which it was said.
    pub fn missed<'a>(
        &'a self,
        recipient: &Participant,
        known: &'a DataChannelReceiveState,
    ) -> Vec<&'a Bytes> {
        let is_missed = |kept: &&Kept| {
            let Kept {
                sender, message, ..
            } = kept;
            kept.sender_sid == known.publisher_sid
                && message.sequence > known.last_seq
                && kept.position > recipient.heard_from
                && *sender != recipient.key
                && (message.destinations).include(&recipient.identity, &recipient.sid)
                && (message.content != Content::Metrics
                    || recipient.permissions.can_subscribe_metrics)
        };
        let missed = self.kept.iter().filter(is_missed);
        missed.map(|kept| &kept.message.payload).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::data_packet::Destinations;

    const LI: (ParticipantKey, &str) = (ParticipantKey(1), "PA_li");
    const AGE: Duration = Duration::from_secs(60);

    fn message(sequence: u32, bytes: usize) -> Patched {
        Patched {
            payload: vec![7; bytes].into(),
            destinations: Destinations::default(),
            sequence,
            content: Content::Ordinary,
        }
    }

    #[test]
    fn what_is_kept_is_bounded_in_bytes_and_in_time() {
        let start = Instant::now();
        let mut replay = Replay::new(10_000);
        for sequence in 1..=100 {
            replay.keep(start, LI, &message(sequence, 800), AGE);
        }
        assert_eq!(replay.kept.len(), 9);
        assert_eq!(replay.kept[0].message.sequence, 92);
        assert!(replay.bytes <= 10_000);
        replay.keep(start, LI, &message(101, 20_000), AGE);
        assert_eq!((replay.kept.len(), replay.bytes), (0, 0), "too large alone");
        replay.keep(start, LI, &message(102, 800), AGE);
        replay.keep(start + AGE * 2, LI, &message(103, 800), AGE);
        assert_eq!(replay.kept.len(), 1);
        assert_eq!(replay.position(), 103);
    }

    #[test]
    fn what_nobody_can_ask_for_is_not_kept() {
        let mut replay = Replay::new(10_000);
        let hidden = (ParticipantKey(2), "");
        replay.keep(Instant::now(), LI, &message(0, 1), AGE);
        replay.keep(Instant::now(), hidden, &message(1, 1), AGE);
        assert_eq!((replay.kept.len(), replay.position()), (0, 2));
    }
}
