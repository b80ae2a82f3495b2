//! What a recording contains, without names: participants, tracks, gaps and events.
//!
//! It is the completeness statement of the manifest. While a recording is open the same lies beside
//! the journal as `summary.json`, so that a recording which lost its writer can still be closed.

use std::collections::BTreeMap;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use crate::id::RecordingId;
use crate::journal::body::{ConsentState, GapReason, MediaKind, Source};

/// What a recording contains.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// Everybody who took part, in the order of arrival.
    pub participants: Vec<ParticipantEntry>,
    /// Every track, in the order of its number.
    pub tracks: Vec<TrackEntry>,
    /// What is missing, and why.
    pub gaps: Vec<Gap>,
    /// What happened, without texts and names.
    pub events: Vec<EventEntry>,
}

/// One participant. Who that was is in `index.age`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParticipantEntry {
    /// The number, from 1.
    pub participant: u16,
    /// When he came, microseconds since the start.
    pub joined_us: u64,
    /// When he left; absent while he is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_us: Option<u64>,
    /// What he said about being recorded, and when.
    #[serde(default)]
    pub consent: Vec<ConsentEntry>,
}

/// One answer about consent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsentEntry {
    /// The answer.
    pub state: ConsentState,
    /// When, microseconds since the start.
    pub at_us: u64,
}

/// One track and how complete it is: `expected = stored + lost`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackEntry {
    /// The number, from 1.
    pub track: u16,
    /// Whose.
    pub participant: u16,
    /// Sound or picture.
    pub kind: MediaKind,
    /// Of what.
    pub source: Source,
    /// The format.
    pub mime: String,
    /// RTP timestamp units per second.
    pub clock_rate: u32,
    /// The payload type of packets in RFC 2198: whoever begins in the middle of a segment has seen no
    /// record of the track.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub red_payload_type: Option<u8>,
    /// Its first packet, microseconds since the start.
    pub from_us: u64,
    /// Its last packet.
    pub until_us: u64,
    /// Packets that the sequence numbers say were sent.
    pub expected: u64,
    /// Packets that are in the journal.
    pub stored: u64,
    /// Packets that never came, even by resend, or were dropped.
    pub lost: u64,
}

/// A span in which something is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// From when, microseconds since the start.
    pub from_us: u64,
    /// Until when.
    pub until_us: u64,
    /// Why.
    pub reason: GapReason,
    /// Packets that were dropped, by track number.
    #[serde(default, deserialize_with = "by_number")]
    pub packets: BTreeMap<u16, u64>,
}

/// Numbers are texts where they are the names of members. Within a flattened struct serde does not
/// turn them back by itself.
fn by_number<'de, D: Deserializer<'de>>(source: D) -> Result<BTreeMap<u16, u64>, D::Error> {
    let named = BTreeMap::<String, u64>::deserialize(source)?;
    let numbered = named.into_iter().map(|(name, many)| {
        let number = name.parse().map_err(D::Error::custom)?;
        Ok((number, many))
    });
    numbered.collect()
}

/// Something that happened, without text or name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventEntry {
    /// The type, as in the sealed record.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whom it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub participant: Option<u16>,
    /// Which track it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub track: Option<u16>,
    /// When, microseconds since the start.
    pub at_us: u64,
}

/// The contents of `summary.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenSummary {
    /// Always [`crate::header::VERSION`].
    pub version: u32,
    /// Which recording.
    pub recording: RecordingId,
    /// How long it is, microseconds.
    pub duration_us: u64,
    /// What it contains so far.
    #[serde(flatten)]
    pub contents: Contents,
}

impl OpenSummary {
    /// Reads `summary.json`; `None` if it is torn or of another version or recording.
    pub fn parse(bytes: &[u8], recording: RecordingId) -> Option<Self> {
        let summary: Self = serde_json::from_slice(bytes).ok()?;
        let fits = summary.version == crate::header::VERSION && summary.recording == recording;
        fits.then_some(summary)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wall::Wall;

    #[test]
    fn a_gap_that_counts_what_is_missing_is_read_as_it_was_written() {
        let summary = OpenSummary {
            version: crate::header::VERSION,
            recording: RecordingId::new(Wall::from_millis(1), [1; 10]),
            duration_us: 5,
            contents: Contents {
                gaps: vec![Gap {
                    from_us: 1,
                    until_us: 2,
                    reason: GapReason::Disk,
                    packets: BTreeMap::from([(0, 3), (17, 4)]),
                }],
                ..Contents::default()
            },
        };
        let written = crate::header::to_json(&summary);
        assert_eq!(
            OpenSummary::parse(&written, summary.recording),
            Some(summary)
        );
        let wrong = r#"{"from_us":1,"until_us":2,"reason":"disk","packets":{"x":3}}"#;
        assert!(serde_json::from_str::<Gap>(wrong).is_err());
    }
}
