//! What a verification found, for people and for programs.

use std::fmt;

use serde::Serialize;

use crate::digest::Digest;
use crate::id::RecordingId;
use crate::sign::PublicKey;

/// The answer in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Closed, and every byte is what was signed.
    Intact,
    /// Not closed yet; every byte so far is what was signed.
    Open,
    /// Not closed, and its end is missing; every byte up to the tear is what was signed.
    Torn,
    /// Something is wrong.
    Broken,
}

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// Worth knowing, nothing is wrong.
    Note,
    /// The torn end of a recording that lost its writer.
    Tear,
    /// Follows from another finding: it cannot be proven any more.
    Consequence,
    /// Wrong.
    Fault,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// A file cannot be read.
    Unreadable,
    /// A file that must be there is not.
    Missing,
    /// A file has no business here.
    Unexpected,
    /// A file is not what its name says.
    Malformed,
    /// The bytes are not those that were signed.
    Altered,
    /// Another key than the node's signed it.
    ForeignKey,
    /// It belongs to another recording, segment or place.
    Misplaced,
    /// Chunks or segments were left out.
    Dropped,
    /// Two pieces changed places.
    Swapped,
    /// A piece stands a second time, where it does not belong.
    Replayed,
    /// Something stands behind the end.
    Surplus,
    /// The end is missing.
    Truncated,
    /// The last segment was not closed.
    Unclosed,
    /// Chunks that no signature covers.
    Unsigned,
    /// Something earlier is wrong, so this cannot be proven.
    Unproven,
    /// A value contradicts another.
    Contradiction,
    /// The transparency log does not have it, or has something else.
    NotLogged,
    /// The transparency log was changed.
    LogRewritten,
    /// An entry of the log is not what its tile says.
    LogEntry,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it weighs.
    pub weight: Weight,
    /// What it is.
    pub problem: Problem,
    /// In which file.
    pub file: String,
    /// In which segment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment: Option<u32>,
    /// In which chunk of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk: Option<u32>,
    /// The last chunk that it concerns, if it is more than one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_chunk: Option<u32>,
    /// Which entry of the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<u64>,
    /// The same for people.
    pub words: String,
}

/// One segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SegmentReport {
    /// Its number.
    pub segment: u32,
    /// Bytes of its `.age` file.
    pub bytes: u64,
    /// Chunks by its chain.
    pub chunks: u32,
    /// Chunks that are there, are what the chain says, and are covered by a good signature.
    pub proven: u32,
    /// Whether the chain ends with a good signature that closes it.
    pub is_ended: bool,
    /// Microseconds since the start of the recording.
    pub t0_us: u64,
    /// Its last chain value.
    pub chain: Digest,
}

/// What the transparency log says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogReport {
    /// Its name.
    pub origin: String,
    /// Its entries.
    pub size: u64,
    /// The root over them.
    pub root: Digest,
    /// Where the manifest stands in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// Whether the whole log was read and compared, or only the proof beside the manifest.
    pub was_read: bool,
}

/// Everything that was found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Which recording; absent if nothing says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recording: Option<RecordingId>,
    /// The answer in one word.
    pub verdict: Verdict,
    /// The node key that the signatures were held against.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_key: Option<PublicKey>,
    /// Whether that key was given; otherwise it is the recording's own word for it.
    pub is_key_given: bool,
    /// `complete` or `incomplete`, as the manifest says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The segments.
    pub segments: Vec<SegmentReport>,
    /// The log, as far as it was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<LogReport>,
    /// Bytes that were read.
    pub bytes: u64,
    /// Everything that is worth saying, in the order of the files.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Chunks that are proven.
    #[must_use]
    pub fn proven_chunks(&self) -> u64 {
        self.segments
            .iter()
            .map(|segment| u64::from(segment.proven))
            .sum()
    }

    /// The first thing that is wrong.
    #[must_use]
    pub fn first_fault(&self) -> Option<&Finding> {
        self.findings
            .iter()
            .find(|finding| finding.weight == Weight::Fault)
    }

    pub(super) fn decide(&mut self, is_closed: bool) {
        let worst = self.findings.iter().map(|finding| finding.weight).max();
        self.verdict = match worst.unwrap_or(Weight::Note) {
            Weight::Fault | Weight::Consequence => Verdict::Broken,
            Weight::Tear => Verdict::Torn,
            Weight::Note if is_closed => Verdict::Intact,
            Weight::Note => Verdict::Open,
        };
    }
}

impl fmt::Display for Report {
    /// The report in plain words, ending with the answer.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            let weight = match finding.weight {
                Weight::Note => "note",
                Weight::Tear => "torn",
                Weight::Consequence => "so",
                Weight::Fault => "WRONG",
            };
            writeln!(f, "{weight:>5}  {}", finding.words)?;
        }
        let recording = self
            .recording
            .map_or("recording".to_owned(), |id| id.to_string());
        let chunks = self
            .segments
            .iter()
            .map(|segment| u64::from(segment.chunks))
            .sum::<u64>();
        let proven = self.proven_chunks();
        let segments = self.segments.len();
        writeln!(
            f,
            "{recording}: {segments} segments, {proven} of {chunks} chunks proven, {} bytes read",
            self.bytes
        )?;
        if let Some(key) = &self.node_key {
            let whence = if self.is_key_given {
                "given"
            } else {
                "as the recording itself says; give it with --node-key"
            };
            writeln!(f, "node key {key} ({whence})")?;
        }
        match &self.log {
            Some(log) if log.was_read => writeln!(
                f,
                "log {} read and compared: {} entries",
                log.origin, log.size
            )?,
            Some(log) => writeln!(
                f,
                "log {} had {} entries when the manifest was logged",
                log.origin, log.size
            )?,
            None => {}
        }
        f.write_str(match self.verdict {
            Verdict::Intact => "INTACT: every byte is what was signed when it was recorded",
            Verdict::Open => "OPEN: not closed yet; every byte so far is what was signed",
            Verdict::Torn => "TORN: its end is missing; every byte before is what was signed",
            Verdict::Broken => "BROKEN: this is not what was recorded, or not all of it",
        })
    }
}
