//! RTP header extensions (RFC 8285): walking both forms, and the few elements that we use.
//!
//! Reading never fails: a block that is no block, an element that reaches beyond it, a value of the
//! wrong size or a name that is too long count as absent. Which number means what is agreed per
//! transport and given by [`ExtensionIds`].

use crate::error::Reject;
use crate::media::{Mid, Rid};
use crate::transport::params::ExtensionIds;
use crate::unit::NtpTime;

/// Where the extension block of a header lies and how its elements are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ExtensionBlock {
    start: u32,
    end: u32,
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    OneByte,
    TwoByte,
    /// No block, or a profile's own (RFC 3550 section 5.3.1), which we do not read.
    Opaque,
}

impl ExtensionBlock {
    pub(super) const NONE: Self = Self {
        start: 0,
        end: 0,
        form: Form::Opaque,
    };

    /// Reads the four bytes at `at` and finds where the block ends.
    pub(super) fn parse(datagram: &[u8], at: usize) -> Result<(Self, usize), Reject> {
        let head = datagram
            .get(at..)
            .and_then(|rest| rest.first_chunk::<4>())
            .ok_or(Reject::RtpMalformed)?;
        let start = at + 4;
        let end = start + 4 * usize::from(u16::from_be_bytes([head[2], head[3]]));
        if end > datagram.len() {
            return Err(Reject::RtpMalformed);
        }
        let form = match (head[0], head[1]) {
            (0xbe, 0xde) => Form::OneByte,
            (0x10, appbits) if appbits < 16 => Form::TwoByte,
            _ => Form::Opaque,
        };
        let block = Self {
            start: start as u32,
            end: end as u32,
            form,
        };
        Ok((block, end))
    }

    pub(super) fn elements<'a>(&self, datagram: &'a [u8]) -> Elements<'a> {
        let rest = match self.form {
            Form::Opaque => None,
            _ => datagram.get(self.start as usize..self.end as usize),
        };
        Elements {
            rest: rest.unwrap_or_default(),
            form: self.form,
        }
    }
}

/// One element of an extension block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element<'a> {
    /// 1 to 14 in the one-byte form, 1 to 255 in the two-byte form.
    pub id: u8,
    /// 1 to 16 bytes in the one-byte form, 0 to 255 in the two-byte form.
    pub value: &'a [u8],
}

/// Walks the elements of an extension block; ends at the first that is not sound.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    rest: &'a [u8],
    form: Form,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        let padding = self.rest.iter().take_while(|&&byte| byte == 0).count();
        let rest = std::mem::take(&mut self.rest).get(padding..)?;
        let (&tag, after) = rest.split_first()?;
        let (id, len, after) = match self.form {
            Form::OneByte => (tag >> 4, usize::from(tag & 0x0f) + 1, after),
            _ => {
                let (&len, after) = after.split_first()?;
                (tag, usize::from(len), after)
            }
        };
        // RFC 8285 section 4.2: 15 is reserved, and 0 with a length is none; both end the block.
        if self.form == Form::OneByte && (id == 0 || id == 15) {
            return None;
        }
        let (value, rest) = after.split_at_checked(len)?;
        self.rest = rest;
        Some(Element { id, value })
    }
}

/// What a packet says in the extensions that were agreed with its sender.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// Which section of the description the packet belongs to (RFC 9143 section 15.2).
    pub mid: Option<Mid>,
    /// Which encoding the packet belongs to (RFC 8852).
    pub rid: Option<Rid>,
    /// Which encoding the packet repairs (RFC 8852).
    pub repaired_rid: Option<Rid>,
    /// How loud the packet is (RFC 6464).
    pub audio_level: Option<AudioLevel>,
    /// The packet's number across all streams of the transport.
    pub transport_cc: Option<u16>,
    /// When the packet left its sender: 24 bits, 6 of them whole seconds.
    pub abs_send_time: Option<u32>,
    /// How the picture is turned (3GPP TS 26.114 section 7.4.5).
    pub video_orientation: Option<u8>,
}

impl Extensions {
    pub(super) fn read(elements: Elements<'_>, ids: &ExtensionIds) -> Self {
        let mut found = Self::default();
        for element in elements {
            if !found.take_value(element, ids) {
                found.take_name(element, ids);
            }
        }
        found
    }

    pub(super) fn read_values(elements: Elements<'_>, ids: &ExtensionIds) -> Self {
        let mut found = Self::default();
        for element in elements {
            found.take_value(element, ids);
        }
        found
    }

    /// Returns whether it was one.
    fn take_value(&mut self, Element { id, value }: Element<'_>, ids: &ExtensionIds) -> bool {
        let id = Some(id);
        if id == ids.transport_cc {
            self.transport_cc = value.try_into().ok().map(u16::from_be_bytes);
        } else if id == ids.audio_level {
            self.audio_level = value.first().copied().map(AudioLevel::from_byte);
        } else if id == ids.abs_send_time {
            self.abs_send_time = <[u8; 3]>::try_from(value)
                .ok()
                .map(|[a, b, c]| u32::from_be_bytes([0, a, b, c]));
        } else if id == ids.video_orientation {
            self.video_orientation = value.first().copied();
        } else {
            return false;
        }
        true
    }

    fn take_name(&mut self, Element { id, value }: Element<'_>, ids: &ExtensionIds) {
        let id = Some(id);
        if id == ids.mid {
            self.mid = name(value);
        } else if id == ids.rid {
            self.rid = name(value);
        } else if id == ids.repaired_rid {
            self.repaired_rid = name(value);
        }
    }
}

/// A name of 1 to 16 bytes of text. Some senders fill it up with zeros.
fn name(value: &[u8]) -> Option<Mid> {
    let text = std::str::from_utf8(value).ok()?.trim_end_matches('\0');
    Mid::from(text).ok().filter(|name| !name.is_empty())
}

/// How loud one packet of sound is (RFC 6464).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioLevel {
    /// Decibels below the loudest possible: 0 is loudest, 127 silent.
    pub level: u8,
    /// The sender believes that it is speech.
    pub voice: bool,
}

impl AudioLevel {
    fn from_byte(byte: u8) -> Self {
        Self {
            level: byte & 0x7f,
            voice: byte & 0x80 != 0,
        }
    }

    pub(super) fn to_byte(self) -> u8 {
        u8::from(self.voice) << 7 | (self.level & 0x7f)
    }
}

/// A time as the abs-send-time extension says it: seconds modulo 64 in 24 bits, 18 of them
/// fraction.
pub fn abs_send_time(now: NtpTime) -> u32 {
    (now.0 >> 14) as u32 & 0x00ff_ffff
}

#[cfg(test)]
mod tests {
    use super::super::packet::Header;
    use super::*;

    fn ids() -> ExtensionIds {
        ExtensionIds {
            mid: Some(4),
            rid: Some(10),
            repaired_rid: Some(11),
            audio_level: Some(1),
            abs_send_time: Some(2),
            transport_cc: Some(3),
            video_orientation: Some(13),
            dependency_descriptor: None,
        }
    }

    fn packet(profile: u16, block: &[u8]) -> Vec<u8> {
        assert_eq!(block.len() % 4, 0, "a block is whole words");
        let mut packet = vec![0x90, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        packet.extend(profile.to_be_bytes());
        packet.extend((block.len() as u16 / 4).to_be_bytes());
        packet.extend(block);
        packet.push(0xff);
        packet
    }

    fn read(profile: u16, block: &[u8]) -> Extensions {
        let packet = packet(profile, block);
        let header = Header::parse(&packet).expect("valid");
        header.extensions(&packet, &ids())
    }

    #[test]
    fn both_forms_say_the_same() {
        let one = read(
            0xbede,
            &[
                0x10, 0x9e, 0x31, 0xab, 0xcd, 0, 0x40, b'0', 0xa1, b'h', b'i', 0,
            ],
        );
        let two = read(
            0x1003,
            &[
                1, 1, 0x9e, 3, 2, 0xab, 0xcd, 0, 4, 1, b'0', 0, 10, 2, b'h', b'i',
            ],
        );
        assert_eq!(one, two);
        assert_eq!(one.transport_cc, Some(0xabcd));
        assert_eq!(one.mid.as_deref(), Some("0"));
        assert_eq!(one.rid.as_deref(), Some("hi"));
        let level = AudioLevel {
            level: 30,
            voice: true,
        };
        assert_eq!(one.audio_level, Some(level));
    }

    #[test]
    fn an_element_that_reaches_beyond_the_block_ends_it() {
        let found = read(0xbede, &[0x31, 0, 7, 0x4f, b'a', b'b', b'c', b'd']);
        assert_eq!(found.transport_cc, Some(7));
        assert_eq!(found.mid, None);
        let found = read(0x1000, &[3, 2, 0, 7, 4, 200, b'a', b'b']);
        assert_eq!(found.transport_cc, Some(7));
        assert_eq!(found.mid, None);
        let found = read(0x1000, &[3, 2, 0, 7, 0, 0, 0, 4]);
        assert_eq!(found.mid, None);
    }

    #[test]
    fn the_reserved_ids_end_the_block() {
        for tag in [0xf0, 0x01] {
            let found = read(0xbede, &[tag, 0x99, 0x31, 0, 7, 0, 0, 0]);
            assert_eq!(found, Extensions::default());
        }
    }

    #[test]
    fn a_value_of_the_wrong_size_counts_as_absent() {
        let found = read(0xbede, &[0x30, 7, 0x21, 1, 2, 0, 0, 0]);
        assert_eq!(found, Extensions::default());
        // Not text, and longer than a name may be.
        assert_eq!(read(0xbede, &[0x40, 0xff, 0, 0]).mid, None);
        let mut long = vec![4, 17];
        long.extend([b'x'; 17]);
        long.push(0);
        assert_eq!(read(0x1000, &long).mid, None);
    }

    #[test]
    fn a_profile_of_its_own_is_passed_over() {
        assert_eq!(
            read(0x1234, &[0x31, 0, 7, 0, 0, 0, 0, 0]),
            Extensions::default()
        );
    }

    #[test]
    fn abs_send_time_wraps_after_64_seconds() {
        assert_eq!(abs_send_time(NtpTime(1 << 32)), 1 << 18);
        assert_eq!(
            abs_send_time(NtpTime(65 << 32 | 1 << 31)),
            1 << 18 | 1 << 17
        );
    }
}
