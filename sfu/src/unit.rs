//! Quantities of the media plane as types, with only the operations that make sense for them.

use std::fmt;
use std::time::Duration;

/// Bits per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bitrate(pub u64);

impl Bitrate {
    /// So many thousand bits per second.
    pub const fn from_kbps(kbps: u64) -> Self {
        Self(kbps * 1000)
    }

    /// The rate at which `bytes` within `span` flow; zero for an empty span.
    pub fn from_bytes_over(bytes: u64, span: Duration) -> Self {
        let micros = span.as_micros() as u64;
        if micros == 0 {
            return Self(0);
        }
        Self(bytes.saturating_mul(8_000_000) / micros)
    }
}

/// A synchronisation source (RFC 3550 section 3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ssrc(pub u32);

impl fmt::Debug for Ssrc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ssrc-{:08x}", self.0)
    }
}

/// An RTP payload type, 0 to 127.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PayloadType(pub u8);

/// A sequence number extended beyond its 16 bits on the wire, so that order survives a wrap.
///
/// The first packet of a stream is placed at `1 << 16` plus its wire number: packets that are
/// older than the first one still have a positive number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeqNo(pub u64);

impl SeqNo {
    /// The first number of a stream that starts with `wire`.
    pub fn first(wire: u16) -> Self {
        Self((1 << 16) + u64::from(wire))
    }

    /// The number nearest to `self` whose low 16 bits are `wire` (RFC 3711 appendix A).
    pub fn extend(self, wire: u16) -> Self {
        let delta = wire.wrapping_sub(self.0 as u16) as i16;
        Self(self.0.saturating_add_signed(i64::from(delta)))
    }

    /// What stands in the RTP header.
    pub fn wire(self) -> u16 {
        self.0 as u16
    }
}

/// A point of a publisher's or of our own wall clock in NTP format: 32 bits of seconds since 1900
/// and 32 bits of fraction (RFC 5905 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NtpTime(pub u64);

impl NtpTime {
    /// The middle 32 bits, as reception reports quote them (RFC 3550 section 6.4.1).
    pub fn middle(self) -> u32 {
        (self.0 >> 16) as u32
    }

    /// This time `span` later.
    pub fn after(self, span: Duration) -> Self {
        let fraction = (u64::from(span.subsec_nanos()) << 32) / 1_000_000_000;
        Self(self.0.wrapping_add((span.as_secs() << 32) + fraction))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_number_stays_in_order_across_a_wrap() {
        let last = SeqNo::first(65_535);
        let next = last.extend(0);
        assert_eq!(next.0, last.0 + 1);
        assert_eq!(next.extend(65_534).0, last.0 - 1);
    }

    #[test]
    fn ntp_time_adds_fractions() {
        let start = NtpTime(1 << 32);
        assert_eq!(
            start.after(Duration::from_millis(500)).0,
            (1 << 32) + (1 << 31)
        );
    }
}
