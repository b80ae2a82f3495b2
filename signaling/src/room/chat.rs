//! What people write to each other, read on its way through for those who are recorded.
//!
//! The SDKs write chat as a text stream of the topic `lk.chat` (header, chunks, trailer, sometimes
//! all in the header, sometimes packed), older ones as one message. Nothing is read here of a room
//! that is not recorded; what does not parse or is too long is passed over, because the messages
//! themselves are forwarded whatever becomes of it here.

use std::collections::HashMap;
use std::io::Read;

use flate2::read::DeflateDecoder;
use prost::Message as _;

use super::participant::ParticipantKey;
use crate::wire::proto::data_packet::Value;
use crate::wire::proto::data_stream::header::ContentHeader;
use crate::wire::proto::data_stream::{Chunk, CompressionType, Header};
use crate::wire::proto::{DataPacket, data_stream};

/// The topic of chat streams.
const TOPIC: &str = "lk.chat";
/// Bytes of a message that is recorded; people write far less.
const TEXT_BYTES_MAX: usize = 16 << 10;
/// Streams that are under way at once in a room; each lasts a moment.
const STREAMS_MAX: usize = 64;

/// The chat streams under way in a room.
#[derive(Debug, Default)]
pub struct ChatReader {
    streams: HashMap<(ParticipantKey, String), Stream>,
}

#[derive(Debug)]
struct Stream {
    bytes: Vec<u8>,
    is_packed: bool,
}

impl ChatReader {
    /// Reads a message of the reliable channel. The text, once it is whole.
    pub fn read(&mut self, sender: ParticipantKey, payload: &[u8]) -> Option<String> {
        match DataPacket::decode(payload).ok()?.value? {
            Value::ChatMessage(message) => plain(message.message.into_bytes()),
            Value::StreamHeader(header) => self.begin(sender, header),
            Value::StreamChunk(chunk) => self.go_on(sender, &chunk),
            Value::StreamTrailer(trailer) => self.end(sender, trailer),
            _ => None,
        }
    }

    /// Somebody has gone: what he has begun to write stays unwritten.
    pub fn forget(&mut self, sender: ParticipantKey) {
        self.streams.retain(|(of, _), _| *of != sender);
    }

    fn begin(&mut self, sender: ParticipantKey, header: Header) -> Option<String> {
        let is_text = matches!(header.content_header, Some(ContentHeader::TextHeader(_)));
        if header.topic != TOPIC || !is_text || header.stream_id.len() > 256 {
            return None;
        }
        let is_packed = header.compression() != CompressionType::None;
        if let Some(bytes) = header.inline_content {
            return Stream { bytes, is_packed }.text();
        }
        if self.streams.len() < STREAMS_MAX {
            let bytes = Vec::new();
            let stream = Stream { bytes, is_packed };
            self.streams.insert((sender, header.stream_id), stream);
        }
        None
    }

    fn go_on(&mut self, sender: ParticipantKey, chunk: &Chunk) -> Option<String> {
        let key = (sender, chunk.stream_id.clone());
        let stream = self.streams.get_mut(&key)?;
        if stream.bytes.len() + chunk.content.len() > TEXT_BYTES_MAX {
            self.streams.remove(&key);
            return None;
        }
        stream.bytes.extend_from_slice(&chunk.content);
        None
    }

    fn end(&mut self, sender: ParticipantKey, trailer: data_stream::Trailer) -> Option<String> {
        let stream = self.streams.remove(&(sender, trailer.stream_id))?;
        stream.text()
    }
}

impl Stream {
    fn text(self) -> Option<String> {
        if !self.is_packed {
            return plain(self.bytes);
        }
        let mut unpacked = Vec::new();
        let mut reader = DeflateDecoder::new(&self.bytes[..]).take(TEXT_BYTES_MAX as u64 + 1);
        reader.read_to_end(&mut unpacked).ok()?;
        plain(unpacked)
    }
}

fn plain(bytes: Vec<u8>) -> Option<String> {
    let is_some = !bytes.is_empty() && bytes.len() <= TEXT_BYTES_MAX;
    String::from_utf8(bytes).ok().filter(|_| is_some)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::DeflateEncoder;

    use super::*;
    use crate::wire::proto::ChatMessage;
    use crate::wire::proto::data_stream::{TextHeader, Trailer};

    const LI: ParticipantKey = ParticipantKey(1);

    fn packet(value: Value) -> Vec<u8> {
        let packet = DataPacket {
            value: Some(value),
            ..DataPacket::default()
        };
        packet.encode_to_vec()
    }

    fn header(topic: &str, inline: Option<Vec<u8>>, compression: CompressionType) -> Vec<u8> {
        packet(Value::StreamHeader(Header {
            stream_id: "s".into(),
            topic: topic.into(),
            inline_content: inline,
            compression: compression as i32,
            content_header: Some(ContentHeader::TextHeader(TextHeader::default())),
            ..Header::default()
        }))
    }

    fn chunk(content: &[u8]) -> Vec<u8> {
        packet(Value::StreamChunk(Chunk {
            stream_id: "s".into(),
            content: content.to_vec(),
            ..Chunk::default()
        }))
    }

    fn trailer() -> Vec<u8> {
        packet(Value::StreamTrailer(Trailer {
            stream_id: "s".into(),
            ..Trailer::default()
        }))
    }

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).expect("in memory");
        encoder.finish().expect("in memory")
    }

    #[test]
    fn chat_is_read_in_every_form_that_clients_write() {
        let mut reader = ChatReader::default();
        let whole = packet(Value::ChatMessage(ChatMessage {
            message: "您好".into(),
            ..ChatMessage::default()
        }));
        assert_eq!(reader.read(LI, &whole).as_deref(), Some("您好"));
        // In pieces, cut within a letter.
        let none = CompressionType::None;
        assert_eq!(reader.read(LI, &header(TOPIC, None, none)), None);
        let (one, other) = "您好".as_bytes().split_at(2);
        assert_eq!(reader.read(LI, &chunk(one)), None);
        assert_eq!(reader.read(LI, &chunk(other)), None);
        assert_eq!(reader.read(LI, &trailer()).as_deref(), Some("您好"));
        // All in the header, packed.
        let inline = Some(packed(b"hello"));
        let message = header(TOPIC, inline, CompressionType::DeflateRaw);
        assert_eq!(reader.read(LI, &message).as_deref(), Some("hello"));
    }

    #[test]
    fn other_topics_and_strangers_chunks_are_not_read() {
        let mut reader = ChatReader::default();
        let none = CompressionType::None;
        reader.read(LI, &header("files", None, none));
        reader.read(LI, &chunk(b"x"));
        assert_eq!(reader.read(LI, &trailer()), None);
        reader.read(LI, &header(TOPIC, None, none));
        reader.read(ParticipantKey(2), &chunk(b"not mine"));
        assert_eq!(reader.read(LI, &trailer()), None);
    }

    #[test]
    fn nothing_grows_beyond_its_bound() {
        let mut reader = ChatReader::default();
        let none = CompressionType::None;
        reader.read(LI, &header(TOPIC, None, none));
        for _ in 0..3 {
            reader.read(LI, &chunk(&vec![b'x'; TEXT_BYTES_MAX / 2]));
        }
        assert_eq!(reader.read(LI, &trailer()), None);
        let bomb = packed(&vec![b'x'; 10 << 20]);
        let message = header(TOPIC, Some(bomb), CompressionType::DeflateRaw);
        assert_eq!(reader.read(LI, &message), None);
        for n in 0..2 * STREAMS_MAX as u64 {
            reader.read(ParticipantKey(n), &header(TOPIC, None, none));
        }
        assert_eq!(reader.streams.len(), STREAMS_MAX);
        reader.forget(ParticipantKey(3));
        assert_eq!(reader.streams.len(), STREAMS_MAX - 1);
    }
}
