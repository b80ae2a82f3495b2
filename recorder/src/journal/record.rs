//! Records: the unit of the journal (section 6 of the format).
//!
//! Twelve bytes of head, then the body. What a body means is [`super::body`]'s business. Parsing
//! takes bytes that may be cut off anywhere, because a segment may be torn.

/// Bytes of a record's head.
pub const HEAD_LEN: usize = 12;

/// A body longer than this is no record of ours: it would be read into memory for nothing.
pub const BODY_LEN_MAX: usize = 16 * 1024 * 1024;

/// Stands alone where less than a head's room is left.
pub const PAD_BYTE: u8 = 0xff;

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Nothing.
    Padding,
    /// [`super::body::SegmentHead`].
    SegmentHead,
    /// One RTP packet.
    Rtp,
    /// A sender report: [`SenderReport`].
    SenderReport,
    /// [`super::body::Track`].
    Track,
    /// [`super::body::TrackEnd`].
    TrackEnd,
    /// [`super::body::Event`].
    Event,
    /// [`crate::contents::Gap`].
    Gap,
    /// [`super::body::SegmentEnd`].
    SegmentEnd,
    /// Something that a later program wrote; skipped by its length.
    Other(u8),
}

impl Kind {
    /// The kind that `byte` stands for. [`PAD_BYTE`] is no kind.
    pub fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::Padding,
            1 => Self::SegmentHead,
            2 => Self::Rtp,
            3 => Self::SenderReport,
            4 => Self::Track,
            5 => Self::TrackEnd,
            6 => Self::Event,
            7 => Self::Gap,
            8 => Self::SegmentEnd,
            other => Self::Other(other),
        }
    }

    /// Its byte.
    pub fn byte(self) -> u8 {
        match self {
            Self::Padding => 0,
            Self::SegmentHead => 1,
            Self::Rtp => 2,
            Self::SenderReport => 3,
            Self::Track => 4,
            Self::TrackEnd => 5,
            Self::Event => 6,
            Self::Gap => 7,
            Self::SegmentEnd => 8,
            Self::Other(byte) => byte,
        }
    }
}

/// Marks of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// The packet came by resend.
    pub const RECOVERED: Self = Self(1);
    /// The payload is encrypted end to end.
    pub const ENCRYPTED: Self = Self(2);
    /// The first packet of a keyframe.
    pub const KEYFRAME: Self = Self(4);

    /// Both marks.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all marks of `other` are set.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// The head of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// What the body holds.
    pub kind: Kind,
    /// Marks.
    pub flags: Flags,
    /// Which track, 0 for none.
    pub track: u16,
    /// Microseconds since the segment's `t0`.
    pub time_us: u32,
    /// Bytes of the body.
    pub len: u32,
}

impl Head {
    /// Its bytes.
    pub fn encode(&self) -> [u8; HEAD_LEN] {
        let mut bytes = [0; HEAD_LEN];
        bytes[0] = self.kind.byte();
        bytes[1] = self.flags.0;
        bytes[2..4].copy_from_slice(&self.track.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.time_us.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.len.to_le_bytes());
        bytes
    }

    fn parse(bytes: &[u8; HEAD_LEN]) -> Self {
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        Self {
            kind: Kind::from_byte(bytes[0]),
            flags: Flags(bytes[1]),
            track: u16::from_le_bytes([bytes[2], bytes[3]]),
            time_us: word(4),
            len: word(8),
        }
    }
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// What the body holds.
    pub kind: Kind,
    /// Marks.
    pub flags: Flags,
    /// Which track, 0 for none.
    pub track: u16,
    /// Microseconds since the segment's `t0`.
    pub time_us: u32,
    /// The body.
    pub body: &'a [u8],
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// More bytes are needed; at the end of what is there, the record is torn.
    #[error("the record is cut off")]
    Short,
    /// The length is beyond [`BODY_LEN_MAX`].
    #[error("a record of {0} bytes is none of ours")]
    Length(u32),
}

impl<'a> Record<'a> {
    /// Reads the record at the start of `bytes` and says how many of them it takes. Single bytes of
    /// padding are skipped and counted in; `Ok(None)` if nothing else is there.
    pub fn parse(bytes: &'a [u8]) -> Result<Option<(Self, usize)>, RecordError> {
        let skipped = bytes.iter().take_while(|&&byte| byte == PAD_BYTE).count();
        let bytes = &bytes[skipped..];
        if bytes.is_empty() {
            return Ok(None);
        }
        let (head, rest) = bytes.split_first_chunk().ok_or(RecordError::Short)?;
        let head = Head::parse(head);
        if head.len as usize > BODY_LEN_MAX {
            return Err(RecordError::Length(head.len));
        }
        let body = rest.get(..head.len as usize).ok_or(RecordError::Short)?;
        let record = Self {
            kind: head.kind,
            flags: head.flags,
            track: head.track,
            time_us: head.time_us,
            body,
        };
        Ok(Some((record, skipped + HEAD_LEN + body.len())))
    }

    /// Its head.
    pub fn head(&self) -> Head {
        Head {
            kind: self.kind,
            flags: self.flags,
            track: self.track,
            time_us: self.time_us,
            len: u32::try_from(self.body.len()).expect("bodies are bounded by BODY_LEN_MAX"),
        }
    }

    /// Appends its bytes to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head().encode());
        out.extend_from_slice(self.body);
    }
}

/// The body of a sender report: where a source's clock stood on its sender's wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderReport {
    /// NTP time, 32 bits of seconds since 1900 and 32 bits of fraction.
    pub ntp: u64,
    /// RTP time.
    pub rtp: u32,
}

impl SenderReport {
    /// Bytes of the body.
    pub const LEN: usize = 12;

    /// The body.
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&self.ntp.to_le_bytes());
        bytes[8..].copy_from_slice(&self.rtp.to_le_bytes());
        bytes
    }

    /// Reads a body; `None` if it is too short. Later programs may append to it.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let ntp = u64::from_le_bytes(*body.first_chunk()?);
        let rtp = u32::from_le_bytes(*body.get(8..)?.first_chunk()?);
        Some(Self { ntp, rtp })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: Record<'_> = Record {
        kind: Kind::Rtp,
        flags: Flags(5),
        track: 0x0102,
        time_us: 0x0304_0506,
        body: b"packet",
    };

    #[test]
    fn a_record_stands_as_the_format_draws_it() {
        let mut bytes = Vec::new();
        RECORD.encode(&mut bytes);
        assert_eq!(
            bytes,
            b"\x02\x05\x02\x01\x06\x05\x04\x03\x06\x00\x00\x00packet"
        );
        assert_eq!(Record::parse(&bytes), Ok(Some((RECORD, 18))));
    }

    #[test]
    fn a_record_that_is_cut_off_anywhere_is_short() {
        let mut bytes = Vec::new();
        RECORD.encode(&mut bytes);
        for len in 1..bytes.len() {
            assert_eq!(
                Record::parse(&bytes[..len]),
                Err(RecordError::Short),
                "{len}"
            );
        }
        assert_eq!(Record::parse(&[]), Ok(None));
    }

    #[test]
    fn single_bytes_of_padding_are_skipped() {
        let mut bytes = vec![PAD_BYTE; 11];
        assert_eq!(Record::parse(&bytes), Ok(None));
        RECORD.encode(&mut bytes);
        assert_eq!(Record::parse(&bytes), Ok(Some((RECORD, 29))));
    }

    #[test]
    fn a_length_beyond_the_bound_is_no_record() {
        let mut bytes = RECORD.head().encode();
        bytes[8..].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Record::parse(&bytes), Err(RecordError::Length(u32::MAX)));
    }

    #[test]
    fn every_kind_has_its_byte() {
        for byte in 0..PAD_BYTE {
            assert_eq!(Kind::from_byte(byte).byte(), byte);
        }
    }

    #[test]
    fn a_sender_report_may_grow() {
        let report = SenderReport {
            ntp: 1 << 40,
            rtp: 7,
        };
        let mut body = report.encode().to_vec();
        assert_eq!(SenderReport::parse(&body[1..]), None);
        body.push(0);
        assert_eq!(SenderReport::parse(&body), Some(report));
    }
}
