//! The RTP header (RFC 3550 section 5.1): reading it where it lies, and writing it anew for a
//! subscriber.
//!
//! [`Header`] holds positions, not bytes, and works on SRTP as well, because SRTP leaves the header
//! in the clear. [`OutgoingHeader`] is made once per outgoing stream and altered in place for each
//! packet; its length never changes, so that packets of equal payload stay of equal size and may
//! leave the host as one segmented send.

use std::ops::Range;

use super::extension::{AudioLevel, Elements, ExtensionBlock, Extensions};
use crate::error::Reject;
use crate::media::Mid;
use crate::transport::params::ExtensionIds;
use crate::unit::{PayloadType, SeqNo, Ssrc};

/// Bytes of a header without contributors and extensions.
pub const FIXED_LEN: usize = 12;

/// What an RTP header says, and where its extensions lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The format of the payload.
    pub payload_type: PayloadType,
    /// For video: the last packet of a picture. For audio: the first after a silence.
    pub marker: bool,
    /// The number on the wire.
    pub sequence: u16,
    /// When the media was sampled, in units of the codec's clock.
    pub timestamp: u32,
    /// Who sends.
    pub ssrc: Ssrc,
    /// Bytes of the whole header with contributors and extensions.
    pub len: usize,
    extensions: ExtensionBlock,
    has_padding: bool,
}

impl Header {
    /// Reads the header of an RTP or SRTP datagram. Every length in it is checked against the
    /// datagram.
    pub fn parse(datagram: &[u8]) -> Result<Header, Reject> {
        let (fixed, _) = datagram
            .split_first_chunk::<FIXED_LEN>()
            .ok_or(Reject::Length)?;
        if fixed[0] >> 6 != 2 {
            return Err(Reject::RtpMalformed);
        }
        let contributors = usize::from(fixed[0] & 0x0f);
        let mut len = FIXED_LEN + 4 * contributors;
        let mut extensions = ExtensionBlock::NONE;
        if fixed[0] & 0x10 != 0 {
            let (block, end) = ExtensionBlock::parse(datagram, len)?;
            extensions = block;
            len = end;
        }
        if len > datagram.len() {
            return Err(Reject::RtpMalformed);
        }
        Ok(Header {
            payload_type: PayloadType(fixed[1] & 0x7f),
            marker: fixed[1] & 0x80 != 0,
            sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
            timestamp: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            ssrc: Ssrc(u32::from_be_bytes([
                fixed[8], fixed[9], fixed[10], fixed[11],
            ])),
            len,
            extensions,
            has_padding: fixed[0] & 0x20 != 0,
        })
    }

    /// What the peer says in the extensions that were agreed with it. `datagram` is the one that
    /// was parsed. An element that lies about its length ends the block; what came before counts.
    pub fn extensions(&self, datagram: &[u8], ids: &ExtensionIds) -> Extensions {
        Extensions::read(self.elements(datagram), ids)
    }

    /// The same without the names of section and encoding, which are long and only tell what is
    /// known of a source that has been heard before.
    pub fn extension_values(&self, datagram: &[u8], ids: &ExtensionIds) -> Extensions {
        Extensions::read_values(self.elements(datagram), ids)
    }

    /// The value of the extension `id`: cheaper than [`Self::extensions`] where one is wanted.
    pub fn extension<'a>(&self, datagram: &'a [u8], id: u8) -> Option<&'a [u8]> {
        self.elements(datagram)
            .find(|element| element.id == id)
            .map(|element| element.value)
    }

    /// Every element of the extension block, in the order on the wire.
    pub fn elements<'a>(&self, datagram: &'a [u8]) -> Elements<'a> {
        self.extensions.elements(datagram)
    }

    /// Where the payload lies in a decrypted packet, without its padding (RFC 3550 section 5.1).
    ///
    /// A packet without any payload is [`Reject::PaddingOnly`], whether or not it is padded: there
    /// is nothing to forward. It still consumed a sequence number.
    pub fn payload(&self, decrypted: &[u8]) -> Result<Range<usize>, Reject> {
        let behind = decrypted.get(self.len..).ok_or(Reject::Length)?;
        let len = self.payload_len(behind)?;
        Ok(self.len..self.len + len)
    }

    /// The same where the header has been cut off: how long the payload is without the padding
    /// behind it.
    pub fn payload_len(&self, padded: &[u8]) -> Result<usize, Reject> {
        let padding = match padded.last() {
            Some(&count) if self.has_padding => usize::from(count),
            None if self.has_padding => return Err(Reject::RtpMalformed),
            _ => 0,
        };
        if self.has_padding && (padding == 0 || padding > padded.len()) {
            return Err(Reject::RtpMalformed);
        }
        match padded.len() - padding {
            0 => Err(Reject::PaddingOnly),
            len => Ok(len),
        }
    }
}

/// Room for the header of an outgoing packet: 12 bytes, 4 bytes of block header, and a block of
/// mid (17 at most), transport-cc (3), abs-send-time (4), audio level (2) and video orientation
/// (2), rounded up to 32-bit words.
const OUTGOING_MAX: usize = 48;

/// Room for the same with a dependency descriptor: everything in the two-byte form, which needs a
/// byte more for each element, and 255 bytes of value, rounded up.
const DESCRIBED_MAX: usize = 320;

/// The header of a packet with a dependency descriptor, whose length differs from packet to packet.
#[derive(Clone, Debug)]
pub struct DescribedHeader {
    bytes: [u8; DESCRIBED_MAX],
    len: u16,
}

impl DescribedHeader {
    /// The header as it goes out.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    fn put(&mut self, bytes: &[u8]) {
        let at = usize::from(self.len);
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len() as u16;
    }
}

/// The header of one outgoing stream: made once, altered in place for each packet.
///
/// Its length never changes: an extension that a packet has no value for is replaced by padding
/// bytes within the block (RFC 8285 section 4.2).
#[derive(Clone, Debug)]
pub struct OutgoingHeader {
    bytes: [u8; OUTGOING_MAX],
    len: u8,
    transport_cc: Option<Slot>,
    abs_send_time: Option<Slot>,
    audio_level: Option<Slot>,
    video_orientation: Option<Slot>,
}

/// Where an extension element lies in the header, and the byte that names it.
#[derive(Clone, Copy, Debug)]
struct Slot {
    at: u8,
    tag: u8,
}

/// Which extensions an outgoing stream carries, with the receiver's numbers. An id that the
/// one-byte form cannot express (above 14) is left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct OutgoingExtensions {
    /// The section of the receiver's description that the stream belongs to.
    pub mid: Option<(u8, Mid)>,
    /// For the receiver's bandwidth feedback.
    pub transport_cc: Option<u8>,
    /// When the packet left, for receivers that estimate themselves.
    pub abs_send_time: Option<u8>,
    /// How loud the packet is; audio only.
    pub audio_level: Option<u8>,
    /// How the picture is turned; video only.
    pub video_orientation: Option<u8>,
}

impl OutgoingExtensions {
    /// What a sound needs, of what the receiver understands.
    pub fn audio(ids: &ExtensionIds, mid: Mid) -> Self {
        Self {
            mid: ids.mid.map(|id| (id, mid)),
            transport_cc: ids.transport_cc,
            abs_send_time: ids.abs_send_time,
            audio_level: ids.audio_level,
            video_orientation: None,
        }
    }

    /// What a picture needs, of what the receiver understands.
    pub fn video(ids: &ExtensionIds, mid: Mid) -> Self {
        Self {
            audio_level: None,
            video_orientation: ids.video_orientation,
            ..Self::audio(ids, mid)
        }
    }
}

impl OutgoingHeader {
    /// The header of a stream from `ssrc`; all that changes is still zero.
    pub fn new(ssrc: Ssrc, extensions: &OutgoingExtensions) -> Self {
        let mut header = Self {
            bytes: [0; OUTGOING_MAX],
            len: FIXED_LEN as u8,
            transport_cc: None,
            abs_send_time: None,
            audio_level: None,
            video_orientation: None,
        };
        header.bytes[0] = 0x80;
        header.bytes[8..12].copy_from_slice(&ssrc.0.to_be_bytes());

        header.len += 4;
        if let Some((id, mid)) = extensions.mid.filter(|(_, mid)| !mid.is_empty())
            && let Some(slot) = header.reserve(id, mid.len())
        {
            header.put(slot, mid.as_bytes());
        }
        header.transport_cc = extensions.transport_cc.and_then(|id| header.reserve(id, 2));
        header.abs_send_time = extensions
            .abs_send_time
            .and_then(|id| header.reserve(id, 3));
        header.audio_level = extensions.audio_level.and_then(|id| header.reserve(id, 1));
        header.video_orientation = extensions
            .video_orientation
            .and_then(|id| header.reserve(id, 1));
        header.close_block();
        header
    }

    fn reserve(&mut self, id: u8, value_len: usize) -> Option<Slot> {
        if !(1..=14).contains(&id) {
            return None;
        }
        let slot = Slot {
            at: self.len,
            tag: id << 4 | (value_len - 1) as u8,
        };
        self.len += 1 + value_len as u8;
        Some(slot)
    }

    fn close_block(&mut self) {
        let block = usize::from(self.len) - FIXED_LEN - 4;
        if block == 0 {
            self.len = FIXED_LEN as u8;
            return;
        }
        let words = block.div_ceil(4);
        self.bytes[0] |= 0x10;
        self.bytes[12..14].copy_from_slice(&[0xbe, 0xde]);
        self.bytes[14..16].copy_from_slice(&(words as u16).to_be_bytes());
        self.len = (FIXED_LEN + 4 + 4 * words) as u8;
    }

    /// What differs from packet to packet in the fixed part.
    pub fn set(&mut self, payload_type: PayloadType, marker: bool, seq: SeqNo, timestamp: u32) {
        self.bytes[1] = u8::from(marker) << 7 | (payload_type.0 & 0x7f);
        self.bytes[2..4].copy_from_slice(&seq.wire().to_be_bytes());
        self.bytes[4..8].copy_from_slice(&timestamp.to_be_bytes());
    }

    /// Says whether the payload ends with padding, whose last byte counts it.
    pub fn set_padded(&mut self, is_padded: bool) {
        self.bytes[0] = self.bytes[0] & !0x20 | u8::from(is_padded) << 5;
    }

    /// The transport-wide number of the packet; nothing happens where it was not agreed.
    pub fn set_transport_cc(&mut self, number: u16) {
        if let Some(slot) = self.transport_cc {
            self.put(slot, &number.to_be_bytes());
        }
    }

    /// Whether it carries transport-wide numbers.
    pub fn is_numbered(&self) -> bool {
        self.transport_cc.is_some()
    }

    /// When the packet leaves, see [`super::extension::abs_send_time`]; nothing happens where it
    /// was not agreed.
    pub fn set_abs_send_time(&mut self, time: u32) {
        if let Some(slot) = self.abs_send_time {
            self.put(slot, &time.to_be_bytes()[1..]);
        }
    }

    /// How loud the packet is, if the publisher said so; nothing happens where it was not agreed.
    pub fn set_audio_level(&mut self, level: Option<AudioLevel>) {
        if let Some(slot) = self.audio_level {
            self.put_or_pad(slot, level.map(AudioLevel::to_byte));
        }
    }

    /// How the picture is turned, if the publisher said so; nothing happens where it was not
    /// agreed.
    pub fn set_video_orientation(&mut self, orientation: Option<u8>) {
        if let Some(slot) = self.video_orientation {
            self.put_or_pad(slot, orientation);
        }
    }

    fn put(&mut self, slot: Slot, value: &[u8]) {
        let at = usize::from(slot.at);
        self.bytes[at] = slot.tag;
        self.bytes[at + 1..at + 1 + value.len()].copy_from_slice(value);
    }

    fn put_or_pad(&mut self, slot: Slot, value: Option<u8>) {
        let at = usize::from(slot.at);
        let tag = if value.is_some() { slot.tag } else { 0 };
        self.bytes[at] = tag;
        self.bytes[at + 1] = value.unwrap_or(0);
    }

    /// The header as it goes out; of the same length for every packet of the stream.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The header with one more element, whose number may be any but 0: in the one-byte form where
    /// it fits that, else in the two-byte form (RFC 8285 section 4.3), which the receiver has agreed
    /// to by `extmap-allow-mixed`. `value` has 255 bytes at most.
    pub fn described(&self, id: u8, value: &[u8]) -> DescribedHeader {
        debug_assert!(value.len() <= 255, "lengths are counted in a byte");
        let is_short = fits_one_byte(id, value.len());
        let mut header = DescribedHeader {
            bytes: [0; DESCRIBED_MAX],
            len: 0,
        };
        header.put(&self.bytes[..FIXED_LEN]);
        header.bytes[0] |= 0x10;
        header.put(&if is_short { [0xbe, 0xde] } else { [0x10, 0x00] });
        header.put(&[0, 0]);
        for element in self.elements() {
            let len = element.value.len();
            match is_short {
                true => header.put(&[element.id << 4 | (len - 1) as u8]),
                false => header.put(&[element.id, len as u8]),
            }
            header.put(element.value);
        }
        match is_short {
            true => header.put(&[id << 4 | (value.len() - 1) as u8]),
            false => header.put(&[id, value.len() as u8]),
        }
        header.put(value);
        header.len = header.len.next_multiple_of(4);
        let words = (header.len - FIXED_LEN as u16 - 4) / 4;
        header.bytes[14..16].copy_from_slice(&words.to_be_bytes());
        header
    }

    /// How long [`Self::described`] becomes with a value of so many bytes.
    pub fn described_len(&self, id: u8, value_len: usize) -> usize {
        let tag = if fits_one_byte(id, value_len) { 1 } else { 2 };
        let ours = self.elements().map(|element| tag + element.value.len());
        FIXED_LEN + 4 + (ours.sum::<usize>() + tag + value_len).next_multiple_of(4)
    }

    fn elements(&self) -> Elements<'_> {
        match ExtensionBlock::parse(self.bytes(), FIXED_LEN) {
            Ok((block, _)) if self.bytes[0] & 0x10 != 0 => block.elements(self.bytes()),
            _ => ExtensionBlock::NONE.elements(self.bytes()),
        }
    }

    /// Copies the header to the start of `out`, which must have room for it, and says how long it
    /// is: the same for every packet of the stream.
    pub fn write(&self, out: &mut [u8]) -> usize {
        let bytes = self.bytes();
        out[..bytes.len()].copy_from_slice(bytes);
        bytes.len()
    }
}

/// Whether an element can be written in the one-byte form (RFC 8285 section 4.2).
fn fits_one_byte(id: u8, value_len: usize) -> bool {
    (1..=14).contains(&id) && (1..=16).contains(&value_len)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: [u8; 16] = [
        0x80, 0xe0, 0x12, 0x34, 0, 0, 0, 9, 0xca, 0xfe, 0xba, 0xbe, 1, 2, 3, 4,
    ];

    fn ids() -> ExtensionIds {
        ExtensionIds {
            mid: Some(4),
            rid: Some(10),
            repaired_rid: Some(11),
            audio_level: Some(1),
            abs_send_time: Some(2),
            transport_cc: Some(3),
            video_orientation: Some(13),
            dependency_descriptor: Some(12),
        }
    }

    fn mid(text: &str) -> Mid {
        Mid::from(text).expect("a short name")
    }

    #[test]
    fn a_plain_header_is_read_where_it_lies() {
        let header = Header::parse(&PLAIN).expect("valid");
        assert_eq!(header.payload_type, PayloadType(96));
        assert!(header.marker);
        assert_eq!(header.sequence, 0x1234);
        assert_eq!(header.timestamp, 9);
        assert_eq!(header.ssrc, Ssrc(0xcafe_babe));
        assert_eq!(header.len, 12);
        assert_eq!(header.payload(&PLAIN), Ok(12..16));
    }

    #[test]
    fn a_datagram_shorter_than_its_header_is_refused_at_every_length() {
        let mut packet = PLAIN.to_vec();
        packet[0] |= 0x10 | 2;
        packet.extend([0; 4]); // the second contributor
        packet.extend([0xbe, 0xde, 0, 1, 0x10, 0x85, 0, 0]);
        assert_eq!(Header::parse(&packet).expect("valid").len, 28);
        for len in 0..28 {
            assert!(Header::parse(&packet[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn another_version_is_refused() {
        for first in [0x00, 0x40, 0xc0] {
            let mut packet = PLAIN;
            packet[0] = first;
            assert_eq!(Header::parse(&packet), Err(Reject::RtpMalformed));
        }
    }

    #[test]
    fn a_contributor_count_that_lies_is_refused() {
        let mut packet = PLAIN;
        packet[0] |= 15;
        assert_eq!(Header::parse(&packet), Err(Reject::RtpMalformed));
    }

    #[test]
    fn padding_is_taken_off_and_its_lies_are_refused() {
        let mut packet = PLAIN;
        packet[0] |= 0x20;
        let header = Header::parse(&packet).expect("valid");
        for (last, expected) in [
            (0, Err(Reject::RtpMalformed)),
            (1, Ok(12..15)),
            (3, Ok(12..13)),
            (4, Err(Reject::PaddingOnly)),
            (5, Err(Reject::RtpMalformed)),
            (255, Err(Reject::RtpMalformed)),
        ] {
            packet[15] = last;
            assert_eq!(header.payload(&packet), expected, "padding of {last}");
        }
        assert_eq!(header.payload(&packet[..12]), Err(Reject::RtpMalformed));
        assert_eq!(header.payload(&packet[..11]), Err(Reject::Length));
    }

    #[test]
    fn a_packet_without_payload_has_nothing_to_forward() {
        let header = Header::parse(&PLAIN[..12]).expect("valid");
        assert_eq!(header.payload(&PLAIN[..12]), Err(Reject::PaddingOnly));
    }

    #[test]
    fn what_goes_out_is_what_a_reader_finds() {
        let mut header = OutgoingHeader::new(
            Ssrc(7),
            &OutgoingExtensions {
                audio_level: Some(1),
                ..OutgoingExtensions::video(&ids(), mid("17"))
            },
        );
        let empty = header.bytes().len();
        header.set(PayloadType(96), true, SeqNo(3 << 16 | 65_535), 0x0102_0304);
        header.set_transport_cc(0xfffe);
        header.set_abs_send_time(0x00ab_cdef);
        let level = AudioLevel {
            level: 30,
            voice: true,
        };
        header.set_audio_level(Some(level));
        header.set_video_orientation(Some(2));
        assert_eq!(header.bytes().len(), empty);

        let mut packet = [0xaa; 80];
        let len = header.write(&mut packet);
        let read = Header::parse(&packet).expect("valid");
        assert_eq!(read.len, len);
        assert_eq!(
            (read.payload_type, read.marker, read.sequence),
            (PayloadType(96), true, 65_535)
        );
        assert_eq!((read.timestamp, read.ssrc), (0x0102_0304, Ssrc(7)));
        let extensions = read.extensions(&packet, &ids());
        assert_eq!(extensions.mid.as_deref(), Some("17"));
        assert_eq!(extensions.transport_cc, Some(0xfffe));
        assert_eq!(extensions.abs_send_time, Some(0x00ab_cdef));
        assert_eq!(extensions.audio_level, Some(level));
        assert_eq!(extensions.video_orientation, Some(2));
    }

    #[test]
    fn a_missing_value_leaves_the_length_as_it_was() {
        let mut header = OutgoingHeader::new(Ssrc(7), &OutgoingExtensions::audio(&ids(), mid("0")));
        let level = AudioLevel {
            level: 1,
            voice: false,
        };
        header.set_audio_level(Some(level));
        let with = header.bytes().len();
        header.set_audio_level(None);
        assert_eq!(header.bytes().len(), with);
        let read = Header::parse(header.bytes()).expect("valid");
        let extensions = read.extensions(header.bytes(), &ids());
        assert_eq!(extensions.audio_level, None);
        assert_eq!(extensions.mid.as_deref(), Some("0"));
    }

    #[test]
    fn without_extensions_there_is_no_block() {
        let mut header = OutgoingHeader::new(Ssrc(7), &OutgoingExtensions::default());
        header.set_transport_cc(1);
        assert_eq!(header.bytes(), [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    }

    #[test]
    fn the_longest_header_fits_its_room() {
        let ids = ExtensionIds {
            audio_level: Some(1),
            ..ids()
        };
        let mut extensions = OutgoingExtensions::video(&ids, mid("0123456789abcdef"));
        extensions.audio_level = ids.audio_level;
        assert_eq!(
            OutgoingHeader::new(Ssrc(7), &extensions).bytes().len(),
            12 + 4 + 28
        );
    }

    #[test]
    fn a_descriptor_is_added_in_the_form_that_holds_it() {
        let mut plain = OutgoingHeader::new(Ssrc(7), &OutgoingExtensions::video(&ids(), mid("3")));
        plain.set(PayloadType(45), true, SeqNo(0x1_0203), 77);
        plain.set_transport_cc(9);
        let none = OutgoingHeader::new(Ssrc(7), &OutgoingExtensions::default());
        let value: Vec<u8> = (1..=255).collect();
        for header in [&plain, &none] {
            for id in [12, 16, 255] {
                for len in [1, 3, 16, 17, 90, 255] {
                    let described = header.described(id, &value[..len]);
                    let bytes = described.bytes();
                    assert_eq!(bytes.len(), header.described_len(id, len));
                    let read = Header::parse(bytes).expect("valid");
                    assert_eq!(read.len, bytes.len());
                    assert_eq!(read.extension(bytes, id), Some(&value[..len]), "{id} {len}");
                    let before = Header::parse(header.bytes()).expect("valid");
                    let said = before.extensions(header.bytes(), &ids());
                    assert_eq!(read.extensions(bytes, &ids()), said);
                    assert_eq!(bytes[1..12], header.bytes()[1..12]);
                }
            }
        }
    }

    #[test]
    fn an_id_that_one_byte_cannot_hold_is_left_out() {
        let extensions = OutgoingExtensions {
            transport_cc: Some(15),
            abs_send_time: Some(0),
            ..OutgoingExtensions::default()
        };
        assert_eq!(OutgoingHeader::new(Ssrc(7), &extensions).bytes().len(), 12);
    }
}
