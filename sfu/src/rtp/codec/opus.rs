//! The table of contents of an Opus packet (RFC 6716 section 3.1): how long it lasts.
//!
//! Forwarding needs nothing more; how loud a packet is, its sender says in a header extension.

use crate::error::Reject;

/// Units per second of an Opus RTP timestamp, whatever the sound's bandwidth (RFC 7587).
pub const CLOCK_RATE: u32 = 48_000;

/// How much sound a packet holds, in units of [`CLOCK_RATE`]: 120 at least and 5,760 at most.
pub fn duration(payload: &[u8]) -> Result<u32, Reject> {
    let &toc = payload.first().ok_or(Reject::RtpMalformed)?;
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(payload.get(1).ok_or(Reject::RtpMalformed)? & 0x3f),
    };
    let duration = frames * frame_duration(toc >> 3);
    if !(1..=5_760).contains(&duration) {
        return Err(Reject::RtpMalformed);
    }
    Ok(duration)
}

fn frame_duration(config: u8) -> u32 {
    match config {
        // SILK: 10, 20, 40 and 60 ms.
        0..=11 => [480, 960, 1_920, 2_880][usize::from(config % 4)],
        // Hybrid: 10 and 20 ms.
        12..=15 => [480, 960][usize::from(config % 2)],
        // CELT: 2.5, 5, 10 and 20 ms.
        _ => [120, 240, 480, 960][usize::from(config % 4)],
    }
}

/// Whether the packet only says that there is nothing to hear: senders in discontinuous
/// transmission repeat such packets of one or two bytes every 400 ms (RFC 6716 section 2.1.9).
pub fn is_silence(payload: &[u8]) -> bool {
    payload.len() <= 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_lasts_as_long_as_its_frames() {
        assert_eq!(duration(&[0x78]), Ok(960)); // what browsers send: one hybrid frame of 20 ms
        assert_eq!(duration(&[0xfc]), Ok(960)); // full band, one frame of 20 ms
        assert_eq!(duration(&[0xfd]), Ok(1_920)); // two of them
        assert_eq!(duration(&[0xff, 6]), Ok(5_760)); // six of them: 120 ms
        assert_eq!(duration(&[0x80]), Ok(120)); // 2.5 ms
        assert_eq!(duration(&[0x18]), Ok(2_880)); // 60 ms
    }

    #[test]
    fn a_packet_without_sound_or_longer_than_120_ms_is_refused() {
        for payload in [&[][..], &[0xff], &[0xff, 0], &[0xff, 7], &[0x1b, 3]] {
            assert_eq!(duration(payload), Err(Reject::RtpMalformed));
        }
    }

    #[test]
    fn silence_is_told_from_sound() {
        assert!(is_silence(&[0x78]));
        assert!(!is_silence(&[0x78, 1, 2]));
    }
}
