//! Data channel messages on their way through: who sent it is stamped in, who receives it is read.
//!
//! A `DataPacket` is patched on the wire, field by field, and never decoded and encoded again: a
//! newer client's fields must reach newer clients although we do not know them. What a sender
//! writes about itself is thrown away, at the top and in the older nested form, so nobody can speak
//! in another's name.

use bytes::{BufMut, Bytes, BytesMut};

use super::proto::data_packet::Kind;

/// More recipients than a room holds need no list.
const DESTINATIONS_MAX: usize = 1_024;

/// Why a message was not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DataPacketError {
    /// Not protobuf.
    #[error("the data packet does not parse")]
    Malformed,
    /// More recipients than are read.
    #[error("the data packet names too many recipients")]
    TooManyDestinations,
    /// A kind of message that only servers send.
    #[error("the data packet is of a kind that clients do not send")]
    NotForClients,
}

/// The sender as it is shown to the recipients; both empty for a hidden participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender<'a> {
    /// Its identity.
    pub identity: &'a str,
    /// Its session id.
    pub sid: &'a str,
}

/// A message that has been read as far as a relay must.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patched {
    /// The message with the sender stamped in; unknown fields kept.
    pub payload: Bytes,
    /// Who receives it; everybody where both lists are empty.
    pub destinations: Destinations,
    /// The sender's number for a reliable message, 0 if it does not count.
    pub sequence: u32,
    /// What the message carries.
    pub content: Content,
}

/// Whom a message is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Destinations {
    /// By identity.
    pub identities: Vec<String>,
    /// By session id; an older way.
    pub sids: Vec<String>,
}

impl Destinations {
    /// Whether a participant is meant.
    pub fn include(&self, identity: &str, sid: &str) -> bool {
        (self.identities.is_empty() && self.sids.is_empty())
            || self.identities.iter().any(|one| one == identity)
            || self.sids.iter().any(|one| one == sid)
    }
}

/// What a relay must know about a message's content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Content {
    /// Anything that is passed on.
    #[default]
    Ordinary,
    /// The transcript of somebody's words; only agents may send it.
    Transcription,
    /// Measurements of a client; only for those who may see metrics.
    Metrics,
}

/// Reads a client's message and stamps its sender into it.
pub fn patch(payload: &[u8], kind: Kind, sender: Sender<'_>) -> Result<Patched, DataPacketError> {
    let mut out =
        BytesMut::with_capacity(payload.len() + sender.identity.len() + sender.sid.len() + 16);
    let mut patched = Patched {
        payload: Bytes::new(),
        destinations: Destinations::default(),
        sequence: 0,
        content: Content::Ordinary,
    };
    for field in Fields(payload) {
        let field = field?;
        match (field.number, field.value) {
            (KIND, _) | (PARTICIPANT_IDENTITY | PARTICIPANT_SID, _) => continue,
            (DESTINATION_IDENTITIES, Value::Bytes(bytes)) => {
                push(&mut patched.destinations.identities, bytes)?;
            }
            (SEQUENCE, Value::Varint(number)) => patched.sequence = number as u32,
            (USER, Value::Bytes(user)) => {
                let user = patch_user(user, sender, &mut patched.destinations)?;
                put_bytes(&mut out, USER, &user);
                continue;
            }
            (SPEAKER, _) => return Err(DataPacketError::NotForClients),
            (TRANSCRIPTION, _) => patched.content = Content::Transcription,
            (METRICS, _) => patched.content = Content::Metrics,
            _ => {}
        }
        out.put_slice(field.raw);
    }
    if kind != Kind::Reliable {
        put_varint(&mut out, u64::from(KIND) << 3);
        put_varint(&mut out, kind as u64);
    }
    put_text(&mut out, PARTICIPANT_IDENTITY, sender.identity);
    put_text(&mut out, PARTICIPANT_SID, sender.sid);
    patched.payload = out.freeze();
    Ok(patched)
}

/// The same for the oldest form of message, which names its sender and recipients once more.
fn patch_user(
    user: &[u8],
    sender: Sender<'_>,
    destinations: &mut Destinations,
) -> Result<BytesMut, DataPacketError> {
    let mut out =
        BytesMut::with_capacity(user.len() + sender.identity.len() + sender.sid.len() + 8);
    for field in Fields(user) {
        let field = field?;
        match (field.number, field.value) {
            (USER_PARTICIPANT_SID | USER_PARTICIPANT_IDENTITY, _) => continue,
            (USER_DESTINATION_SIDS, Value::Bytes(bytes)) => push(&mut destinations.sids, bytes)?,
            (USER_DESTINATION_IDENTITIES, Value::Bytes(bytes)) => {
                push(&mut destinations.identities, bytes)?;
            }
            _ => {}
        }
        out.put_slice(field.raw);
    }
    put_text(&mut out, USER_PARTICIPANT_SID, sender.sid);
    put_text(&mut out, USER_PARTICIPANT_IDENTITY, sender.identity);
    Ok(out)
}

fn push(list: &mut Vec<String>, bytes: &[u8]) -> Result<(), DataPacketError> {
    if list.len() >= DESTINATIONS_MAX {
        return Err(DataPacketError::TooManyDestinations);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| DataPacketError::Malformed)?;
    list.push(text.to_owned());
    Ok(())
}

// Field numbers of `DataPacket` and `UserPacket` in livekit_models.proto.
const KIND: u32 = 1;
const USER: u32 = 2;
const SPEAKER: u32 = 3;
const PARTICIPANT_IDENTITY: u32 = 4;
const DESTINATION_IDENTITIES: u32 = 5;
const TRANSCRIPTION: u32 = 7;
const METRICS: u32 = 8;
const SEQUENCE: u32 = 16;
const PARTICIPANT_SID: u32 = 17;
const USER_PARTICIPANT_SID: u32 = 1;
const USER_DESTINATION_SIDS: u32 = 3;
const USER_PARTICIPANT_IDENTITY: u32 = 5;
const USER_DESTINATION_IDENTITIES: u32 = 6;

struct Field<'a> {
    number: u32,
    value: Value<'a>,
    /// Tag and value as they stand.
    raw: &'a [u8],
}

enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Fixed,
}

/// The fields of a protobuf message in the order they stand.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, DataPacketError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = read_field(self.0).ok_or(DataPacketError::Malformed);
        // Nothing after a field that does not parse can be trusted.
        self.0 = match &field {
            Ok(field) => &self.0[field.raw.len()..],
            Err(_) => &[],
        };
        Some(field)
    }
}

fn read_field(bytes: &[u8]) -> Option<Field<'_>> {
    let (tag, mut len) = read_varint(bytes)?;
    let number = u32::try_from(tag >> 3).ok().filter(|number| *number > 0)?;
    let value = match tag & 7 {
        0 => {
            let (value, value_len) = read_varint(&bytes[len..])?;
            len += value_len;
            Value::Varint(value)
        }
        1 => {
            len += 8;
            Value::Fixed
        }
        2 => {
            let (size, size_len) = read_varint(&bytes[len..])?;
            let start = len + size_len;
            len = start.checked_add(usize::try_from(size).ok()?)?;
            Value::Bytes(bytes.get(start..len)?)
        }
        5 => {
            len += 4;
            Value::Fixed
        }
        // Groups have been dead since before this protocol was born.
        _ => return None,
    };
    Some(Field {
        number,
        value,
        raw: bytes.get(..len)?,
    })
}

fn read_varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for (i, &byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i).min(63);
        if byte & 0x80 == 0 {
            return Some((value, i + 1));
        }
    }
    None
}

fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

fn put_text(out: &mut BytesMut, number: u32, text: &str) {
    if !text.is_empty() {
        put_bytes(out, number, text.as_bytes());
    }
}

fn put_bytes(out: &mut BytesMut, number: u32, bytes: &[u8]) {
    put_varint(out, u64::from(number) << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.put_slice(bytes);
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::super::proto::{self, DataPacket, data_packet, encryption};
    use super::*;

    const SENDER: Sender<'_> = Sender {
        identity: "doctor",
        sid: "PA_1",
    };

    fn user_packet(user: proto::UserPacket) -> DataPacket {
        DataPacket {
            participant_identity: "somebody else".into(),
            participant_sid: "PA_else".into(),
            sequence: 7,
            value: Some(data_packet::Value::User(user)),
            ..Default::default()
        }
    }

    #[test]
    fn the_sender_is_stamped_in_at_both_places() {
        let packet = user_packet(proto::UserPacket {
            payload: b"hello".to_vec(),
            topic: Some("t".into()),
            ..Default::default()
        });
        let patched = patch(&packet.encode_to_vec(), Kind::Lossy, SENDER).expect("it parses");
        assert_eq!(patched.sequence, 7);
        let packet = DataPacket::decode(patched.payload).expect("it still parses");
        assert_eq!(packet.participant_identity, "doctor");
        assert_eq!(packet.participant_sid, "PA_1");
        let Some(data_packet::Value::User(user)) = packet.value else {
            panic!("not a user packet");
        };
        assert_eq!(user.payload, b"hello");
        assert_eq!(user.topic.as_deref(), Some("t"));
    }

    #[test]
    #[expect(deprecated, reason = "clients of the older form still exist")]
    fn the_older_nested_sender_cannot_be_forged_and_its_recipients_count() {
        let packet = user_packet(proto::UserPacket {
            participant_identity: "somebody else".into(),
            participant_sid: "PA_else".into(),
            destination_sids: vec!["PA_2".into()],
            destination_identities: vec!["nurse".into()],
            ..Default::default()
        });
        let patched = patch(&packet.encode_to_vec(), Kind::Reliable, SENDER).expect("it parses");
        assert!(patched.destinations.include("x", "PA_2"));
        assert!(patched.destinations.include("nurse", "PA_9"));
        assert!(!patched.destinations.include("x", "PA_9"));
        let packet = DataPacket::decode(patched.payload).expect("it still parses");
        assert_eq!(packet.kind, Kind::Reliable as i32);
        let Some(data_packet::Value::User(user)) = packet.value else {
            panic!("not a user packet");
        };
        assert_eq!(user.participant_identity, "doctor");
        assert_eq!(user.participant_sid, "PA_1");
    }

    #[test]
    fn a_hidden_sender_leaves_no_name() {
        let nobody = Sender {
            identity: "",
            sid: "",
        };
        let packet = user_packet(proto::UserPacket::default());
        let patched = patch(&packet.encode_to_vec(), Kind::Reliable, nobody).expect("it parses");
        let packet = DataPacket::decode(patched.payload).expect("it still parses");
        assert_eq!(packet.participant_identity, "");
        assert_eq!(packet.participant_sid, "");
    }

    #[test]
    fn unknown_fields_survive() {
        let mut bytes = user_packet(proto::UserPacket::default()).encode_to_vec();
        let unknown = [0xba, 0x3e, 3, 1, 2, 3]; // field 999, three bytes
        bytes.extend(unknown);
        let patched = patch(&bytes, Kind::Reliable, SENDER).expect("it parses");
        assert!(
            patched
                .payload
                .windows(unknown.len())
                .any(|window| window == unknown)
        );
    }

    #[test]
    fn encrypted_content_passes_byte_for_byte() {
        let inner = proto::EncryptedPacket {
            encryption_type: encryption::Type::Gcm as i32,
            iv: vec![9; 12],
            key_index: 3,
            encrypted_value: vec![7; 100],
        };
        let packet = DataPacket {
            value: Some(data_packet::Value::EncryptedPacket(inner.clone())),
            ..Default::default()
        };
        let patched = patch(&packet.encode_to_vec(), Kind::Reliable, SENDER).expect("it parses");
        let packet = DataPacket::decode(patched.payload).expect("it still parses");
        assert_eq!(
            packet.value,
            Some(data_packet::Value::EncryptedPacket(inner))
        );
    }

    #[test]
    fn nonsense_gets_a_reason() {
        for bytes in [
            &[0x0a, 5, 1][..], // longer than there is
            &[0x80; 12],       // a tag without an end
            &[0x03],           // a group
            &[0x00],           // field 0
            &[0x09, 1, 2],     // a cut fixed value
            &[0x2a, 1, 0xff],  // an identity that is no text
            &[
                0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1,
            ],
        ] {
            assert_eq!(
                patch(bytes, Kind::Reliable, SENDER),
                Err(DataPacketError::Malformed)
            );
        }
        let many = [0x2a, 0].repeat(DESTINATIONS_MAX + 1);
        assert_eq!(
            patch(&many, Kind::Reliable, SENDER),
            Err(DataPacketError::TooManyDestinations)
        );
        assert_eq!(
            patch(&[0x1a, 0], Kind::Reliable, SENDER),
            Err(DataPacketError::NotForClients)
        );
    }
}
