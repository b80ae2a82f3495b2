//! Relay frames as bytes: a kind, fixed fields in network order, and the payload of a packet.
//!
//! The form is the same for every link. Between threads it is written into a slab that changes
//! hands, so a packet's payload is copied once; between nodes it would be what is encrypted. What
//! cannot be read is refused whole. It says nothing about who sent it: that the link knows.

use std::ops::Range;

use super::{Address, Frame};
use crate::id::{Epoch, PublicationId, RoomId};
use crate::publication::history::{PacketInfo, SpatialMark};
use crate::subscription::rewriter::{PictureIds, StreamKey};
use crate::unit::{NtpTime, SeqNo};

const PACKET: u8 = 1;
const STATE: u8 = 2;
const CLOCK: u8 = 3;
const END: u8 = 4;
const OPEN: u8 = 5;
const CLOSE: u8 = 6;
const KEYFRAME: u8 = 7;
const RESEND: u8 = 8;

/// The bytes of a packet frame before its payload; no frame has more.
pub const HEAD_BYTES: usize = 1 + ADDRESS_BYTES + STREAM_BYTES + INFO_BYTES;
const ADDRESS_BYTES: usize = 12;
const STREAM_BYTES: usize = 5;
const INFO_BYTES: usize = 8 + 4 + 1 + 1 + 4 + 2 + 2 + 1;

const HAS_MARKER: u8 = 1;
const STARTS_KEYFRAME: u8 = 1 << 1;
const HAS_PICTURE: u8 = 1 << 2;
const HAS_TL0: u8 = 1 << 3;
const HAS_KEY: u8 = 1 << 4;
const HAS_LEVEL: u8 = 1 << 5;
const HAS_ORIENTATION: u8 = 1 << 6;
const HAS_LAYER: u8 = 1 << 7;

/// Bytes that are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Writes a frame; returns how long it is, or `None` if it does not fit.
pub fn write(frame: &Frame, payload: &[u8], out: &mut [u8]) -> Option<usize> {
    let mut writer = Writer { out, len: 0 };
    match frame {
        Frame::Packet { to, stream, info } => {
            writer.put([PACKET])?;
            writer.address(*to)?;
            writer.stream(*stream)?;
            writer.info(info)?;
            writer.put_slice(payload)?;
        }
        Frame::State { to, live, is_muted } => {
            writer.put([STATE])?;
            writer.address(*to)?;
            writer.put([*live, u8::from(*is_muted)])?;
        }
        Frame::Clock {
            to,
            stream,
            ntp,
            rtp,
            offset,
        } => {
            writer.put([CLOCK])?;
            writer.address(*to)?;
            writer.stream(*stream)?;
            writer.put(ntp.0.to_be_bytes())?;
            writer.put(rtp.to_be_bytes())?;
            writer.put(offset.to_be_bytes())?;
        }
        Frame::End { to } => {
            writer.put([END])?;
            writer.address(*to)?;
        }
        Frame::Open {
            reply,
            room,
            epoch,
            demand,
        } => {
            writer.put([OPEN])?;
            writer.address(*reply)?;
            writer.put(room.0.to_be_bytes())?;
            writer.put(epoch.0.to_be_bytes())?;
            writer.put([*demand])?;
        }
        Frame::Close { publication } => {
            writer.put([CLOSE])?;
            writer.put(publication.0.to_be_bytes())?;
        }
        Frame::Keyframe { publication, rank } => {
            writer.put([KEYFRAME])?;
            writer.put(publication.0.to_be_bytes())?;
            writer.put([*rank])?;
        }
        Frame::Resend {
            publication,
            stream,
            first,
            mask,
        } => {
            writer.put([RESEND])?;
            writer.put(publication.0.to_be_bytes())?;
            writer.stream(*stream)?;
            writer.put(first.0.to_be_bytes())?;
            writer.put(mask.to_be_bytes())?;
        }
    }
    Some(writer.len)
}

/// Reads a frame and says where its payload lies.
pub fn read(bytes: &[u8]) -> Result<(Frame, Range<usize>), Malformed> {
    let mut reader = Reader { bytes, at: 0 };
    let frame = match reader.byte()? {
        PACKET => {
            let frame = Frame::Packet {
                to: reader.address()?,
                stream: reader.stream()?,
                info: reader.info()?,
            };
            return Ok((frame, reader.at..bytes.len()));
        }
        STATE => Frame::State {
            to: reader.address()?,
            live: reader.byte()?,
            is_muted: match reader.byte()? {
                0 => false,
                1 => true,
                _ => return Err(Malformed),
            },
        },
        CLOCK => Frame::Clock {
            to: reader.address()?,
            stream: reader.stream()?,
            ntp: NtpTime(reader.long()?),
            rtp: u32::from_be_bytes(reader.take()?),
            offset: i64::from_be_bytes(reader.take()?),
        },
        END => Frame::End {
            to: reader.address()?,
        },
        OPEN => Frame::Open {
            reply: reader.address()?,
            room: RoomId(reader.long()?),
            epoch: Epoch(reader.long()?),
            demand: reader.byte()?,
        },
        CLOSE => Frame::Close {
            publication: PublicationId(reader.long()?),
        },
        KEYFRAME => Frame::Keyframe {
            publication: PublicationId(reader.long()?),
            rank: reader.byte()?,
        },
        RESEND => Frame::Resend {
            publication: PublicationId(reader.long()?),
            stream: reader.stream()?,
            first: SeqNo(reader.long()?),
            mask: reader.long()?,
        },
        _ => return Err(Malformed),
    };
    match reader.at == bytes.len() {
        true => Ok((frame, reader.at..reader.at)),
        false => Err(Malformed),
    }
}

struct Writer<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl Writer<'_> {
    fn put<const N: usize>(&mut self, bytes: [u8; N]) -> Option<()> {
        self.put_slice(&bytes)
    }

    fn put_slice(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.len + bytes.len();
        self.out.get_mut(self.len..end)?.copy_from_slice(bytes);
        self.len = end;
        Some(())
    }

    fn address(&mut self, address: Address) -> Option<()> {
        self.put(address.place.to_be_bytes())?;
        self.put(address.publication.0.to_be_bytes())
    }

    fn stream(&mut self, stream: StreamKey) -> Option<()> {
        self.put([stream.rank])?;
        self.put(stream.incarnation.to_be_bytes())
    }

    fn info(&mut self, info: &PacketInfo) -> Option<()> {
        let bit = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
        let picture = &info.picture;
        let flags = bit(info.marker, HAS_MARKER)
            | bit(info.starts_keyframe, STARTS_KEYFRAME)
            | bit(picture.picture_id.is_some(), HAS_PICTURE)
            | bit(picture.tl0_index.is_some(), HAS_TL0)
            | bit(picture.key_index.is_some(), HAS_KEY)
            | bit(info.audio_level.is_some(), HAS_LEVEL)
            | bit(info.orientation.is_some(), HAS_ORIENTATION)
            | bit(info.spatial.is_some(), HAS_LAYER);
        let layer = info.spatial.map_or(0, SpatialMark::word);
        self.put(info.seq.0.to_be_bytes())?;
        self.put(info.timestamp.to_be_bytes())?;
        self.put([flags, info.codec])?;
        self.put(picture.picture_id.unwrap_or(0).to_be_bytes())?;
        self.put([
            picture.tl0_index.unwrap_or(0),
            picture.key_index.unwrap_or(0),
            info.audio_level.unwrap_or(0),
            info.orientation.unwrap_or(0),
        ])?;
        self.put(layer.to_be_bytes())?;
        self.put([info.descriptor])
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let taken = self.bytes.get(self.at..self.at + N).ok_or(Malformed)?;
        self.at += N;
        taken.try_into().map_err(|_| Malformed)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        self.take().map(|[byte]| byte)
    }

    fn long(&mut self) -> Result<u64, Malformed> {
        self.take().map(u64::from_be_bytes)
    }

    fn address(&mut self) -> Result<Address, Malformed> {
        Ok(Address {
            place: u32::from_be_bytes(self.take()?),
            publication: PublicationId(self.long()?),
        })
    }

    fn stream(&mut self) -> Result<StreamKey, Malformed> {
        Ok(StreamKey {
            rank: self.byte()?,
            incarnation: u32::from_be_bytes(self.take()?),
        })
    }

    fn info(&mut self) -> Result<PacketInfo, Malformed> {
        let seq = SeqNo(self.long()?);
        // Numbers grow by one a packet from 1 << 16: the upper half is never reached, and
        // arithmetic on what is left cannot overflow.
        if seq.0 > u64::MAX / 2 {
            return Err(Malformed);
        }
        let timestamp = u32::from_be_bytes(self.take()?);
        let [flags, codec] = self.take()?;
        let picture_id = u16::from_be_bytes(self.take()?);
        let [tl0, key, level, orientation] = self.take()?;
        let layer = u16::from_be_bytes(self.take()?);
        let descriptor = self.byte()?;
        // It lies at the end of the payload.
        if usize::from(descriptor) > self.bytes.len() - self.at {
            return Err(Malformed);
        }
        let has = |bit: u8| flags & bit != 0;
        Ok(PacketInfo {
            seq,
            timestamp,
            marker: has(HAS_MARKER),
            codec,
            starts_keyframe: has(STARTS_KEYFRAME),
            picture: PictureIds {
                picture_id: has(HAS_PICTURE).then_some(picture_id),
                tl0_index: has(HAS_TL0).then_some(tl0),
                key_index: has(HAS_KEY).then_some(key),
            },
            audio_level: has(HAS_LEVEL).then_some(level),
            orientation: has(HAS_ORIENTATION).then_some(orientation),
            spatial: has(HAS_LAYER).then(|| SpatialMark::from_word(layer)),
            descriptor,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames() -> Vec<(Frame, &'static [u8])> {
        let publication = PublicationId(0x0102_0304_0506_0708);
        let to = Address {
            place: 77,
            publication,
        };
        let stream = StreamKey {
            rank: 2,
            incarnation: 5,
        };
        let bare = PacketInfo {
            seq: SeqNo(70_000),
            timestamp: 0xdead_beef,
            marker: false,
            codec: 0,
            starts_keyframe: false,
            picture: PictureIds::default(),
            audio_level: None,
            orientation: None,
            spatial: None,
            descriptor: 0,
        };
        let full = PacketInfo {
            marker: true,
            codec: 3,
            starts_keyframe: true,
            picture: PictureIds {
                picture_id: Some(0x7fff),
                tl0_index: Some(255),
                key_index: Some(31),
            },
            audio_level: Some(0x8f),
            orientation: Some(3),
            spatial: None,
            descriptor: 0,
            ..bare
        };
        let layered = PacketInfo {
            spatial: Some(SpatialMark::new(2, false, true).at_rate(1, true).up_to(2)),
            descriptor: 3,
            ..bare
        };
        let packet = |info| Frame::Packet { to, stream, info };
        vec![
            (packet(layered), b"picture"),
            (packet(bare), b""),
            (packet(full), b"payload"),
            (
                Frame::State {
                    to,
                    live: 5,
                    is_muted: true,
                },
                b"",
            ),
            (
                Frame::Clock {
                    to,
                    stream,
                    ntp: NtpTime(3 << 32),
                    rtp: 9,
                    offset: -7,
                },
                b"",
            ),
            (Frame::End { to }, b""),
            (
                Frame::Open {
                    reply: to,
                    room: RoomId(4),
                    epoch: Epoch(6),
                    demand: 7,
                },
                b"",
            ),
            (Frame::Close { publication }, b""),
            (
                Frame::Keyframe {
                    publication,
                    rank: 1,
                },
                b"",
            ),
            (
                Frame::Resend {
                    publication,
                    stream,
                    first: SeqNo(70_001),
                    mask: 5,
                },
                b"",
            ),
        ]
    }

    #[test]
    fn every_frame_is_read_as_it_was_written() {
        for (frame, payload) in frames() {
            let mut bytes = [0; 200];
            let len = write(&frame, payload, &mut bytes).expect("room for it");
            assert!(len <= HEAD_BYTES + payload.len());
            let (read, range) = read(&bytes[..len]).expect("well formed");
            assert_eq!((read, &bytes[range]), (frame, payload));
        }
    }

    #[test]
    fn what_is_cut_short_or_too_long_is_refused() {
        for (frame, payload) in frames() {
            let mut bytes = [0; 200];
            let len = write(&frame, payload, &mut bytes).expect("room for it");
            let head = len - payload.len();
            for cut in 0..head {
                assert_eq!(read(&bytes[..cut]), Err(Malformed));
                assert_eq!(write(&frame, payload, &mut [0; 200][..cut]), None);
            }
            if !matches!(frame, Frame::Packet { .. }) {
                assert_eq!(read(&bytes[..len + 1]), Err(Malformed));
            }
        }
        assert_eq!(read(&[9]), Err(Malformed));
        // A descriptor that is longer than all there is.
        let (frame, _) = frames()[0];
        let mut bytes = [0; 200];
        let len = write(&frame, b"ab", &mut bytes).expect("room for it");
        assert_eq!(read(&bytes[..len]), Err(Malformed));
    }
}
