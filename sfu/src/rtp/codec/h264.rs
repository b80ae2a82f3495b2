//! The H.264 payload format (RFC 6184): which network abstraction layer units a packet holds or
//! begins.
//!
//! Only unit types are read; they stay in the clear under end-to-end encryption. Single units,
//! aggregates (STAP-A) and fragments (FU-A) are all that packetization modes 0 and 1 allow; what
//! belongs to mode 2 is refused.

use crate::error::Reject;

const TYPE_IDR: u8 = 5;
const TYPE_SPS: u8 = 7;
const TYPE_PPS: u8 = 8;
const TYPE_STAP_A: u8 = 24;
const TYPE_FU_A: u8 = 28;

/// What a packet holds or begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Units {
    /// A sequence parameter set: every sender that we know repeats it before each keyframe, and a
    /// decoder that has none cannot start, so this is where a keyframe begins.
    pub has_sps: bool,
    /// A picture parameter set.
    pub has_pps: bool,
    /// The start of a slice of a picture that needs no other (IDR), or all of it.
    pub has_idr: bool,
}

impl Units {
    /// Reads the unit types of a payload and checks every length in it.
    pub fn parse(payload: &[u8]) -> Result<Self, Reject> {
        let mut units = Self::default();
        let (&header, rest) = payload.split_first().ok_or(Reject::RtpMalformed)?;
        match header & 0x1f {
            unit @ 1..=23 => units.note(unit),
            TYPE_STAP_A => units.note_aggregate(rest)?,
            TYPE_FU_A => {
                let &fragment = rest.first().ok_or(Reject::RtpMalformed)?;
                let is_start = fragment & 0x80 != 0;
                if is_start {
                    units.note(fragment & 0x1f);
                }
            }
            _ => return Err(Reject::RtpMalformed),
        }
        Ok(units)
    }

    fn note(&mut self, unit: u8) {
        self.has_sps |= unit == TYPE_SPS;
        self.has_pps |= unit == TYPE_PPS;
        self.has_idr |= unit == TYPE_IDR;
    }

    fn note_aggregate(&mut self, mut rest: &[u8]) -> Result<(), Reject> {
        if rest.is_empty() {
            return Err(Reject::RtpMalformed);
        }
        while !rest.is_empty() {
            let (len, after) = rest.split_first_chunk::<2>().ok_or(Reject::RtpMalformed)?;
            let len = usize::from(u16::from_be_bytes(*len));
            let (unit, after) = after.split_at_checked(len).ok_or(Reject::RtpMalformed)?;
            self.note(unit.first().ok_or(Reject::RtpMalformed)? & 0x1f);
            rest = after;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(payload: &[u8]) -> Units {
        Units::parse(payload).expect("valid")
    }

    #[test]
    fn a_single_unit_is_what_its_header_says() {
        assert!(parse(&[0x67, 0x42]).has_sps);
        assert!(parse(&[0x68, 0xce]).has_pps);
        assert!(parse(&[0x65, 0x88]).has_idr);
        assert_eq!(parse(&[0x41, 0x9a]), Units::default());
    }

    #[test]
    fn an_aggregate_is_looked_through() {
        let units = parse(&[0x78, 0, 2, 0x67, 0x42, 0, 1, 0x68, 0, 2, 0x65, 0x88]);
        assert!(units.has_sps && units.has_pps && units.has_idr);
    }

    #[test]
    fn only_the_first_fragment_begins_a_unit() {
        assert!(parse(&[0x7c, 0x85, 0x88]).has_idr);
        assert!(!parse(&[0x7c, 0x05, 0x88]).has_idr);
        assert!(!parse(&[0x7c, 0x45, 0x88]).has_idr);
        assert!(parse(&[0x7c, 0x87, 0x42]).has_sps);
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        for payload in [
            &[][..],
            &[0x78],                   // an aggregate of nothing
            &[0x78, 0],                // half a length
            &[0x78, 0, 0],             // an empty unit
            &[0x78, 0, 3, 0x67, 0x42], // a unit that reaches beyond
            &[0x78, 0, 1, 0x67, 0],    // a sound unit, then half a length
            &[0x7c],                   // a fragment without its header
        ] {
            assert_eq!(Units::parse(payload), Err(Reject::RtpMalformed));
        }
    }

    #[test]
    fn the_interleaved_mode_is_refused() {
        for kind in [0, 25, 26, 27, 29, 30, 31] {
            assert_eq!(
                Units::parse(&[kind, 0x80, 0, 0, 0]),
                Err(Reject::RtpMalformed)
            );
        }
    }
}
