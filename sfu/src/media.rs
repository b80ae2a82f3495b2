//! What was agreed about a track: kinds, codecs, layers and how they are numbered on the wire.
//!
//! These are the plain values that signalling boils a session description down to. Nothing here
//! knows SDP; nothing here changes after a command has been given.

use arrayvec::ArrayString;

use crate::unit::{Bitrate, PayloadType, Ssrc};

/// The value of the `mid` header extension: which section of the description a packet belongs to.
pub type Mid = ArrayString<16>;
/// The value of the `rid` header extension: which encoding of a section a packet belongs to.
pub type Rid = ArrayString<16>;

/// Sound or picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// Sound.
    Audio,
    /// Picture.
    Video,
}

/// A format that the media plane can recognise and rewrite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Opus audio (RFC 7587).
    Opus,
    /// Redundant audio around Opus (RFC 2198).
    Red,
    /// VP8 video (RFC 7741).
    Vp8,
    /// H.264 video (RFC 6184).
    H264,
    /// VP9 video (RFC 9628), which carries all sizes of a picture in one stream.
    Vp9,
    /// AV1 video (its RTP specification 1.0), which does the same.
    Av1,
}

/// How one codec of a section is numbered on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodecParams {
    /// The format.
    pub codec: Codec,
    /// Its payload type.
    pub payload_type: PayloadType,
    /// The payload type of its retransmissions (RFC 4588), if both sides do them.
    pub rtx_payload_type: Option<PayloadType>,
    /// RTP timestamp units per second.
    pub clock_rate: u32,
    /// For H.264: `profile-level-id` and `packetization-mode`, so that a subscriber is only sent
    /// what it said it can decode.
    pub h264: Option<H264Params>,
}

/// The two parameters of H.264 that decide whether a decoder accepts a stream (RFC 6184 8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct H264Params {
    /// `profile-level-id`, three bytes.
    pub profile_level_id: u32,
    /// `packetization-mode`, 0 or 1.
    pub packetization_mode: u8,
}

/// One encoding that a publisher announced. Listed from the smallest to the largest picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerParams {
    /// The restriction identifier, absent where only one encoding is sent.
    pub rid: Option<Rid>,
    /// The source, where the description named it.
    pub ssrc: Option<Ssrc>,
    /// The source of its retransmissions, where the description named it.
    pub rtx_ssrc: Option<Ssrc>,
    /// Width in pixels as announced, 0 if unknown.
    pub width: u32,
    /// Height in pixels as announced, 0 if unknown.
    pub height: u32,
    /// Highest bit rate as announced, zero if unknown.
    pub bitrate_max: Bitrate,
}

/// The size of a picture in pixels, 0 if unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerSize {
    /// Across.
    pub width: u32,
    /// Down.
    pub height: u32,
}

/// A track that a transport will send us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicationParams {
    /// Sound or picture.
    pub kind: MediaKind,
    /// The section it is sent in.
    pub mid: Mid,
    /// What the publisher may send, in the order of preference of the answer.
    pub codecs: Vec<CodecParams>,
    /// The encodings, smallest first; exactly one for audio.
    pub layers: Vec<LayerParams>,
    /// The sizes that the one encoding carries at once, smallest first; empty where each size is an
    /// encoding of its own.
    pub spatial_layers: Vec<LayerSize>,
}

/// How a publication is to be sent to one transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionParams {
    /// The section it is sent in.
    pub mid: Mid,
    /// Our source for it; unique within the transport for the life of the transport.
    pub ssrc: Ssrc,
    /// Our source for its retransmissions; used where the codec has an `rtx_payload_type`.
    pub rtx_ssrc: Option<Ssrc>,
    /// What the subscriber said it can receive in this section.
    pub codecs: Vec<CodecParams>,
}

/// What a subscriber wants of a publication now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerWish {
    /// Nothing for the moment; the subscription stays.
    Paused,
    /// The layer of this rank, 0 the smallest; a missing one is replaced by the nearest below.
    Rank(u8),
    /// The smallest layer that is at least this large, else the largest there is.
    Size {
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
    },
    /// The best layer there is. What a new subscription starts with.
    Best,
}
