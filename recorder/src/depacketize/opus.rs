//! Opus out of RTP (RFC 7587), bare or in a redundant packet (RFC 2198).
//!
//! Copies of earlier sounds are not used: what was lost on the way to the server and came by copy
//! alone is a matter of a few packets, and a copy is not the packet that was sent.

use sfu::rtp::codec::{opus, red};

/// The sound of one packet; `None` if it is malformed.
pub(super) fn sound(payload: Vec<u8>, is_redundant: bool) -> Option<Vec<u8>> {
    let sound = if is_redundant {
        red::primary(&payload).ok()?.payload.to_vec()
    } else {
        payload
    };
    opus::duration(&sound).ok()?;
    Some(sound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_primary_sound_is_taken_out_of_a_redundant_packet() {
        // One copy of one byte, 960 ticks earlier, then the primary.
        let packet = vec![0x80 | 111, 0x0f, 0x00, 1, 111, 0xf8, 0xf8, 0xff, 0xfe];
        assert_eq!(sound(packet, true), Some(vec![0xf8, 0xff, 0xfe]));
        assert_eq!(sound(vec![], false), None);
        assert_eq!(sound(vec![0x80 | 111, 0, 0, 9], true), None);
    }
}
