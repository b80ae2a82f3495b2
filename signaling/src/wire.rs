//! The client protocol's messages and how they stand on the wire.
//!
//! `livekit-protocol` is named here and nowhere else: the rest of the crate says [`proto`]. Owned
//! here are the two framings of the signalling WebSocket (a binary frame is one protobuf message, a
//! text frame its JSON form), the wrapped join request of a connection's URL, and, in
//! [`data_packet`], what must be changed in a data channel message on its way through. What the
//! messages mean is decided elsewhere.

pub mod data_packet;

use std::collections::HashMap;
use std::io::Read;

use axum::extract::ws::Message as Frame;
use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
pub use livekit_protocol as proto;
use prost::Message;

/// A text longer than this in the `join_request` parameter is refused undecoded. Clients send 2 to
/// 3 kB; a full rejoin of a busy participant carries all its tracks.
const JOIN_REQUEST_TEXT_MAX: usize = 128 << 10;
/// A JSON frame nests by our own schema; this is far above what the schema can express.
const JSON_DEPTH_MAX: usize = 64;

/// How a client writes its frames, and therefore wants to read ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// Binary frames with protobuf.
    #[default]
    Binary,
    /// Text frames with proto3 JSON; for people with a terminal.
    Json,
}

/// Why bytes of a client were not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Not base64url.
    #[error("the join request is not base64url")]
    Base64,
    /// Not what its compression says, or cut short.
    #[error("the join request does not unpack")]
    Compression,
    /// More than a bound allows.
    #[error("the message is too large")]
    TooLarge,
    /// Not the protobuf or JSON message that belongs here.
    #[error("the message does not parse")]
    Malformed,
}

/// The request in a binary or text frame and the encoding it came in; `None` for frames that carry
/// no request.
pub fn decode_request(
    frame: &Frame,
) -> Result<Option<(proto::SignalRequest, Encoding)>, WireError> {
    match frame {
        Frame::Binary(bytes) => proto::SignalRequest::decode(&bytes[..])
            .map(|request| Some((request, Encoding::Binary)))
            .map_err(|_| WireError::Malformed),
        Frame::Text(text) => {
            if !is_shallow_json(text.as_bytes()) {
                return Err(WireError::Malformed);
            }
            serde_json::from_str(text)
                .map(|request| Some((request, Encoding::Json)))
                .map_err(|_| WireError::Malformed)
        }
        Frame::Ping(_) | Frame::Pong(_) | Frame::Close(_) => Ok(None),
    }
}

/// A response as a frame of the given encoding.
pub fn encode_response(response: &proto::SignalResponse, encoding: Encoding) -> Frame {
    match encoding {
        Encoding::Binary => Frame::Binary(response.encode_to_vec().into()),
        Encoding::Json => Frame::Text(
            serde_json::to_string(response)
                .expect("every protobuf message has a JSON form")
                .into(),
        ),
    }
}

/// Unpacks the `join_request` parameter: base64url with or without padding, around a
/// `WrappedJoinRequest`, around a `JoinRequest` that may be compressed and has at most `bytes_max`
/// bytes then.
pub fn decode_join_request(text: &str, bytes_max: usize) -> Result<proto::JoinRequest, WireError> {
    if text.len() > JOIN_REQUEST_TEXT_MAX {
        return Err(WireError::TooLarge);
    }
    let wrapped = BASE64_URL.decode(text).map_err(|_| WireError::Base64)?;
    decode_wrapped_join_request(&wrapped, bytes_max)
}

/// Unpacks the `attributes` parameter: base64url with or without padding, around a JSON object of
/// texts. Nothing is no attributes.
pub fn decode_attributes(text: &str) -> Result<HashMap<String, String>, WireError> {
    if text.is_empty() {
        return Ok(HashMap::new());
    }
    if text.len() > JOIN_REQUEST_TEXT_MAX {
        return Err(WireError::TooLarge);
    }
    let json = BASE64_URL.decode(text).map_err(|_| WireError::Base64)?;
    if !is_shallow_json(&json) {
        return Err(WireError::Malformed);
    }
    serde_json::from_slice(&json).map_err(|_| WireError::Malformed)
}

/// Unpacks a `WrappedJoinRequest`. What unpacks beyond the bound is refused without being held.
pub fn decode_wrapped_join_request(
    bytes: &[u8],
    bytes_max: usize,
) -> Result<proto::JoinRequest, WireError> {
    let wrapped = proto::WrappedJoinRequest::decode(bytes).map_err(|_| WireError::Malformed)?;
    let compression = proto::wrapped_join_request::Compression::try_from(wrapped.compression)
        .map_err(|_| WireError::Compression)?;
    let bytes = match compression {
        proto::wrapped_join_request::Compression::None => wrapped.join_request,
        proto::wrapped_join_request::Compression::Gzip => gunzip(&wrapped.join_request, bytes_max)?,
    };
    proto::JoinRequest::decode(&bytes[..]).map_err(|_| WireError::Malformed)
}

fn gunzip(bytes: &[u8], bytes_max: usize) -> Result<Vec<u8>, WireError> {
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(bytes)
        .take(bytes_max as u64 + 1)
        .read_to_end(&mut unpacked)
        .map_err(|_| WireError::Compression)?;
    if unpacked.len() > bytes_max {
        return Err(WireError::TooLarge);
    }
    Ok(unpacked)
}

/// Whether a JSON text nests no deeper than messages of ours can: parsing recurses.
pub fn is_shallow_json(text: &[u8]) -> bool {
    let mut depth = 0_usize;
    text.iter().all(|byte| {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth <= JSON_DEPTH_MAX
    })
}

const BASE64_URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

#[cfg(test)]
mod tests {
    use std::io::Write;

    use base64::engine::general_purpose::{URL_SAFE as PADDED, URL_SAFE_NO_PAD as UNPADDED};

    use super::*;

    const BYTES_MAX: usize = 512 << 10;

    fn wrapped(compression: i32, join_request: Vec<u8>) -> Vec<u8> {
        proto::WrappedJoinRequest {
            compression,
            join_request,
        }
        .encode_to_vec()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).expect("a vector takes everything");
        encoder.finish().expect("a vector takes everything")
    }

    fn request() -> proto::JoinRequest {
        proto::JoinRequest {
            metadata: "abcd".into(),
            ..Default::default()
        }
    }

    #[test]
    fn a_join_request_unpacks_with_and_without_padding_and_compression() {
        let plain = wrapped(0, request().encode_to_vec());
        let packed = wrapped(1, gzip(&request().encode_to_vec()));
        for bytes in [plain, packed] {
            assert_eq!(
                decode_join_request(&PADDED.encode(&bytes), BYTES_MAX),
                Ok(request())
            );
            assert_eq!(
                decode_join_request(&UNPADDED.encode(&bytes), BYTES_MAX),
                Ok(request())
            );
        }
    }

    #[test]
    fn a_compressed_bomb_is_refused() {
        let bomb = gzip(&vec![0; 64 << 20]);
        let text = UNPADDED.encode(wrapped(1, bomb));
        assert!(text.len() < JOIN_REQUEST_TEXT_MAX);
        assert_eq!(
            decode_join_request(&text, BYTES_MAX),
            Err(WireError::TooLarge)
        );
    }

    #[test]
    fn nonsense_gets_a_reason() {
        let long = "A".repeat(JOIN_REQUEST_TEXT_MAX + 1);
        assert_eq!(
            decode_join_request(&long, BYTES_MAX),
            Err(WireError::TooLarge)
        );
        assert_eq!(
            decode_join_request("a+b/", BYTES_MAX),
            Err(WireError::Base64)
        );
        assert_eq!(
            decode_join_request("____", BYTES_MAX),
            Err(WireError::Malformed)
        );
        let cut = wrapped(1, gzip(&request().encode_to_vec())[..9].to_vec());
        assert_eq!(
            decode_wrapped_join_request(&cut, BYTES_MAX),
            Err(WireError::Compression)
        );
        assert_eq!(
            decode_wrapped_join_request(&wrapped(9, Vec::new()), BYTES_MAX),
            Err(WireError::Compression)
        );
    }

    #[test]
    fn a_text_frame_is_json_and_its_answer_too() {
        let frame = Frame::Text(r#"{"mute":{"sid":"TR_x","muted":true}}"#.into());
        let (request, encoding) = decode_request(&frame)
            .expect("it parses")
            .expect("it is a request");
        assert_eq!(encoding, Encoding::Json);
        let Some(proto::signal_request::Message::Mute(mute)) = request.message else {
            panic!("not a mute request");
        };
        assert!(mute.muted && mute.sid == "TR_x");
        let response = proto::SignalResponse {
            message: Some(proto::signal_response::Message::RefreshToken("t".into())),
        };
        assert_eq!(
            encode_response(&response, encoding),
            Frame::Text(r#"{"refreshToken":"t"}"#.into())
        );
    }

    #[test]
    fn deep_json_is_refused() {
        let frame = Frame::Text("[".repeat(100_000).into());
        assert_eq!(decode_request(&frame), Err(WireError::Malformed));
    }
}
