//! The JSON bodies of records (section 7 of the format): tracks, participants, events, heads, gaps.
//!
//! These are sealed, so names and texts may stand here. What a reader does not know it ignores.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::wall::Wall;

/// Sound or picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MediaKind {
    /// Sound.
    Audio,
    /// Picture.
    Video,
}

/// Of what a track is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A voice.
    Microphone,
    /// A face.
    Camera,
    /// What a participant shows.
    ScreenShare,
    /// What is heard with it.
    ScreenShareAudio,
    /// Something else.
    #[serde(other)]
    Unknown,
}

/// What a participant said about being recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConsentState {
    /// Yes.
    Granted,
    /// No.
    Refused,
    /// No longer.
    Withdrawn,
    /// Nothing yet.
    #[serde(other)]
    Unknown,
}

/// Why something is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GapReason {
    /// More came than the memory between media plane and writer holds.
    Overflow,
    /// The writer was held up.
    Stalled,
    /// The disk was full or failed.
    Disk,
    /// Nobody had consented.
    Consent,
    /// The server was away.
    Restart,
    /// A media worker failed, with what it had under way.
    Worker,
    /// Something that a later program knows.
    #[serde(other)]
    Other,
}

/// A track: a publication as it is recorded. A change of codec makes a new one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Track {
    /// The number, from 1; never used twice in a recording.
    pub track: u16,
    /// LiveKit's name of it.
    pub sid: String,
    /// Whose.
    pub participant: u16,
    /// Sound or picture.
    pub kind: MediaKind,
    /// Of what.
    pub source: Source,
    /// What the publisher calls it.
    pub name: String,
    /// The format, `video/VP8`.
    pub mime: String,
    /// The RTP payload type of its packets.
    pub payload_type: u8,
    /// Packets of this payload type are redundant ones (RFC 2198) around the same format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub red_payload_type: Option<u8>,
    /// RTP timestamp units per second.
    pub clock_rate: u32,
    /// Sound: 1 or 2. Picture: 0.
    #[serde(default)]
    pub channels: u8,
    /// The source at first; `layer` events name later ones. 0 if not known yet.
    #[serde(default)]
    pub ssrc: u32,
    /// Pixels across, 0 if unknown.
    #[serde(default)]
    pub width: u32,
    /// Pixels down, 0 if unknown.
    #[serde(default)]
    pub height: u32,
    /// Whether payloads are encrypted end to end.
    #[serde(default)]
    pub encrypted: bool,
    /// The ids of the RTP header extensions that help a player, by name: `audio_level`,
    /// `video_orientation`, `dependency_descriptor`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extensions: BTreeMap<String, u8>,
}

/// A participant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Participant {
    /// The number, from 1; never used twice in a recording.
    pub participant: u16,
    /// LiveKit's name of him in this session.
    pub sid: String,
    /// Who he is.
    pub identity: String,
    /// What he is called.
    pub name: String,
}

/// Something that happened, and when by the wall clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: Wall,
    /// What.
    #[serde(flatten)]
    pub what: Happening,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Happening {
    /// The recording began.
    RecordingStarted,
    /// It goes on after a restart of the server or an interruption.
    RecordingResumed {
        /// Why it had stopped.
        reason: String,
    },
    /// It ends.
    RecordingStopped {
        /// Why.
        reason: String,
    },
    /// Somebody came.
    ParticipantJoined {
        /// Who.
        #[serde(flatten)]
        participant: Participant,
    },
    /// Somebody left.
    ParticipantLeft {
        /// Who.
        participant: u16,
    },
    /// A track went silent or dark.
    Muted {
        /// Whose.
        participant: u16,
        /// Which.
        track: u16,
    },
    /// A track came back.
    Unmuted {
        /// Whose.
        participant: u16,
        /// Which.
        track: u16,
    },
    /// From here on another encoding of the track is recorded.
    Layer {
        /// Which track.
        track: u16,
        /// Pixels across, 0 if unknown.
        width: u32,
        /// Pixels down, 0 if unknown.
        height: u32,
        /// The source of the packets from here on.
        ssrc: u32,
    },
    /// Somebody began or ceased to speak.
    Speaking {
        /// Who.
        participant: u16,
        /// Began.
        active: bool,
    },
    /// Somebody said what he thinks of being recorded.
    Consent {
        /// Who.
        participant: u16,
        /// What.
        state: ConsentState,
    },
    /// A message to all.
    Chat {
        /// From whom.
        participant: u16,
        /// What was said.
        text: String,
    },
    /// Other data over the data channel.
    Data {
        /// From whom.
        participant: u16,
        /// About what.
        topic: String,
        /// How many bytes.
        size: u64,
    },
    /// The wall clock of the server jumped.
    ClockStep {
        /// By so many milliseconds.
        millis: i64,
    },
    /// A participant's key for end-to-end encryption, sealed to the recording.
    RecipientKey {
        /// Whose.
        participant: u16,
        /// Which of his keys.
        key_index: u8,
        /// An age file, base64.
        sealed: String,
    },
    /// Something that a later program wrote.
    #[serde(other)]
    Unknown,
}

/// The first record of a segment: what lives now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentHead {
    /// The segment's number.
    pub segment: u32,
    /// Its `t0`, microseconds since the start of the recording.
    pub t0_us: u64,
    /// The wall clock at `t0`.
    pub wall: Wall,
    /// Whether the server's clock was synchronised.
    pub ntp_synchronised: bool,
    /// The tracks that live.
    pub tracks: Vec<Track>,
    /// The participants that are there.
    pub participants: Vec<Participant>,
}

/// Why a track ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackEnd {
    /// `unpublished` and so on.
    pub reason: String,
}

/// The last record of a closed segment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentEnd {
    /// Keyframes: track, microseconds since `t0`, chunk.
    pub keyframes: Vec<(u16, u32, u32)>,
    /// Packets stored in this segment, by track.
    pub stored: BTreeMap<u16, u64>,
}
