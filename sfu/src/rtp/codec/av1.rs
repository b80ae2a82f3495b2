//! The aggregation header of AV1 (its RTP specification 1.0, section 4.4): one byte before the OBUs
//! of each packet.
//!
//! It says whether a coded video sequence begins, which is all that forwarding needs of a stream
//! whose packets have no dependency descriptor; layers are told by that alone. The OBUs behind it
//! are not looked at.

use crate::error::Reject;

/// What the aggregation header of one packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aggregation {
    /// The first OBU goes on from the packet before (Z).
    pub continues: bool,
    /// The last OBU goes on in the next packet (Y).
    pub is_continued: bool,
    /// How many OBUs there are, if it says so (W).
    pub units: Option<u8>,
    /// The packet is the first of a coded video sequence (N).
    pub is_new_sequence: bool,
}

impl Aggregation {
    /// Reads the header at the start of a payload, which must have something behind it.
    pub fn parse(payload: &[u8]) -> Result<Self, Reject> {
        let &[head, _, ..] = payload else {
            return Err(Reject::RtpMalformed);
        };
        let units = head >> 4 & 3;
        let read = Self {
            continues: head & 0x80 != 0,
            is_continued: head & 0x40 != 0,
            units: (units > 0).then_some(units),
            is_new_sequence: head & 0x08 != 0,
        };
        // A sequence begins with an OBU of its own.
        match read.is_new_sequence && read.continues {
            true => Err(Reject::RtpMalformed),
            false => Ok(read),
        }
    }

    /// Whether decoding may begin with this packet.
    pub fn starts_sequence(&self) -> bool {
        self.is_new_sequence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_of_a_sequence_is_read() {
        // One sequence header of eleven bytes and the beginning of a frame.
        let read = Aggregation::parse(&[0x68, 0x0b, 0x0a]).expect("valid");
        assert!(read.starts_sequence() && read.is_continued && !read.continues);
        assert_eq!(read.units, Some(2));
    }

    #[test]
    fn what_follows_begins_nothing() {
        for head in [0x10, 0x90, 0xd0, 0x50] {
            let read = Aggregation::parse(&[head, 0x32]).expect("valid");
            assert!(!read.starts_sequence(), "{head:02x}");
        }
        assert_eq!(
            Aggregation::parse(&[0x00, 0x32]).map(|one| one.units),
            Ok(None)
        );
    }

    #[test]
    fn a_header_alone_and_a_beginning_that_continues_are_refused() {
        for bad in [&[][..], &[0x18], &[0x98, 0x0a]] {
            assert_eq!(Aggregation::parse(bad), Err(Reject::RtpMalformed));
        }
    }
}
