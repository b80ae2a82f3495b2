//! Names that the protocol gives to rooms, participants and tracks, and numbers for the media plane.
//!
//! Clients parse the prefixes. The random part is long enough that nobody guesses another's. Numbers
//! come from one counter and are never used twice in the life of the process.

use std::sync::atomic::{AtomicU64, Ordering};

use rand::RngExt;

use crate::wire::proto::{TrackSource, TrackType};

/// Digits and letters without those that people confuse.
const ALPHABET: &[u8] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
/// 57 signs to the power of 12 are 70 bits.
const RANDOM_LEN: usize = 12;

static NUMBERS: AtomicU64 = AtomicU64::new(1);

/// A number that has not been used before.
pub fn next_number() -> u64 {
    NUMBERS.fetch_add(1, Ordering::Relaxed)
}

/// A new name for a room.
pub fn room_sid() -> String {
    sid("RM_")
}

/// A new name for a participant.
pub fn participant_sid() -> String {
    sid("PA_")
}

/// A new name for an event that others are told of.
pub fn event_id() -> String {
    sid("EV_")
}

/// A new name for a request to record.
pub fn egress_id() -> String {
    sid("EG_")
}

/// A new name for a call to a participant.
pub fn call_id() -> String {
    sid("RC_")
}

/// A new name for something that whoever knows it may touch: 140 bits, which nobody guesses.
pub fn session_name() -> String {
    signs(2 * RANDOM_LEN)
}

/// A new name for a track, which tells its kind and source.
pub fn track_sid(kind: TrackType, source: TrackSource) -> String {
    let kind = match kind {
        TrackType::Audio => 'A',
        TrackType::Video => 'V',
        TrackType::Data => 'D',
    };
    let source = match source {
        TrackSource::Camera => "C",
        TrackSource::Microphone => "M",
        TrackSource::ScreenShare => "S",
        TrackSource::ScreenShareAudio => "s",
        TrackSource::Unknown => "",
    };
    sid(&format!("TR_{kind}{source}"))
}

fn sid(prefix: &str) -> String {
    format!("{prefix}{}", signs(RANDOM_LEN))
}

fn signs(len: usize) -> String {
    let mut random = rand::rng();
    let signs = (0..len).map(|_| ALPHABET[random.random_range(0..ALPHABET.len())]);
    signs.map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_the_prefixes_that_clients_parse() {
        assert!(room_sid().starts_with("RM_"));
        assert!(participant_sid().starts_with("PA_"));
        let screen = track_sid(TrackType::Audio, TrackSource::ScreenShareAudio);
        assert!(screen.starts_with("TR_As"));
        assert_eq!(screen.len(), "TR_As".len() + RANDOM_LEN);
        assert_ne!(room_sid(), room_sid());
        assert_eq!(session_name().len(), 24);
    }
}
