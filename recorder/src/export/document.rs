//! `events.json`: what happened, who was there, what is missing, and what the export is worth.
//!
//! It is the part of an export that a person reads. It says which file holds what, repeats the
//! manifest's completeness statement beside what came out of it, and tells in its first lines if
//! the recording was not what it should be.

use std::collections::BTreeMap;

use serde::Serialize;

use super::plan::{Plan, kind_word};
use crate::contents::{Gap, ParticipantEntry, TrackEntry};
use crate::digest::Digest;
use crate::id::RecordingId;
use crate::journal::body::{Event, Source};
use crate::manifest::{Manifest, State};
use crate::mixdown::Heard;
use crate::sign::PublicKey;
use crate::timeline::{Given, Survey};
use crate::wall::Wall;

/// The version of the document.
const VERSION: u32 = 1;

/// Where an export comes from and who has it.
#[derive(Clone, Debug, Serialize)]
pub struct Origin {
    /// Which recording.
    pub recording: RecordingId,
    /// The room's name, if the list of names could be opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<String>,
    /// When the recording was started.
    pub started: Wall,
    /// How long it is, as its manifest says.
    #[serde(skip)]
    pub duration_us: Option<u64>,
    /// Whether it was closed, and by whom.
    pub state: Option<State>,
    /// Of `header.json`.
    pub header_sha256: Digest,
    /// Of `manifest.json`; absent if the recording has none.
    pub manifest_sha256: Option<Digest>,
    /// Who exported it, when and why.
    pub exported: By,
    /// What a verification found right before.
    pub verification: Verified,
    /// The completeness statement of the manifest.
    #[serde(skip)]
    pub contents: Option<(Vec<ParticipantEntry>, Vec<TrackEntry>, Vec<Gap>)>,
}

impl Origin {
    /// Takes over what a manifest says.
    #[must_use]
    pub fn with_manifest(mut self, manifest: &Manifest, sha256: Digest) -> Self {
        self.duration_us = Some(manifest.duration_us);
        self.state = Some(manifest.state);
        self.manifest_sha256 = Some(sha256);
        let contents = manifest.contents.clone();
        self.contents = Some((contents.participants, contents.tracks, contents.gaps));
        self
    }
}

/// Who exported a recording.
#[derive(Clone, Debug, Serialize)]
pub struct By {
    /// When.
    pub at: Wall,
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// The replay under which the audit has it.
    pub replay: String,
    /// By which program.
    pub program: String,
}

/// What a verification found.
#[derive(Clone, Debug, Serialize)]
pub struct Verified {
    /// INTACT, or what it was instead.
    pub verdict: String,
    /// Whether it was exported although it is not what was recorded.
    pub exported_although_broken: bool,
    /// The key of the installation that the signatures were held against.
    pub node_key: Option<PublicKey>,
    /// What was found.
    pub findings: Vec<String>,
}

/// What the second reading gave.
#[derive(Debug)]
pub(super) struct Playing<'a> {
    pub(super) duration_us: u64,
    pub(super) given: &'a BTreeMap<u16, Given>,
    pub(super) heard: Option<Heard>,
}

/// The contents of `events.json`.
#[derive(Debug, Serialize)]
pub(super) struct Document<'a> {
    version: u32,
    #[serde(flatten)]
    origin: Origin,
    duration_us: u64,
    people: Vec<PersonEntry<'a>>,
    tracks: Vec<TrackLine<'a>>,
    mixed: Option<MixEntry>,
    gaps: Vec<Gap>,
    unreadable: Vec<Unreadable<'a>>,
    events: Vec<EventLine<'a>>,
    events_dropped: u64,
}

#[derive(Debug, Serialize)]
struct PersonEntry<'a> {
    identity: &'a str,
    name: &'a str,
    stays: Vec<Stay>,
    files: Vec<&'a str>,
}

#[derive(Debug, Serialize)]
struct Stay {
    participant: u16,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    entry: Option<StayTimes>,
}

#[derive(Debug, Serialize)]
struct StayTimes {
    joined_us: u64,
    left_us: Option<u64>,
    consent: Vec<crate::contents::ConsentEntry>,
}

#[derive(Debug, Serialize)]
struct TrackLine<'a> {
    track: u16,
    participant: u16,
    kind: &'static str,
    source: Source,
    name: &'a str,
    mime: &'a str,
    from_us: Option<u64>,
    until_us: Option<u64>,
    /// Packets, as the manifest counts them.
    #[serde(skip_serializing_if = "Option::is_none")]
    packets: Option<Packets>,
    /// Frames in the files.
    frames: u64,
    /// Packets that are in the journal and gave no frame.
    unusable: u64,
    files: Vec<InFile<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_exported: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Packets {
    expected: u64,
    stored: u64,
    lost: u64,
}

#[derive(Debug, Serialize)]
struct InFile<'a> {
    file: &'a str,
    stream: usize,
}

#[derive(Debug, Serialize)]
struct MixEntry {
    file: &'static str,
    frames: u64,
    concealed: u64,
    undecodable: u64,
    late: u64,
}

#[derive(Debug, Serialize)]
struct Unreadable<'a> {
    segment: u32,
    why: &'a str,
}

#[derive(Debug, Serialize)]
struct EventLine<'a> {
    at_us: u64,
    #[serde(flatten)]
    event: &'a Event,
}

impl<'a> Document<'a> {
    pub(super) fn new(
        mut origin: Origin,
        survey: &'a Survey,
        plan: &'a Plan,
        playing: &Playing<'_>,
    ) -> Self {
        let contents = origin.contents.take();
        let (stays, counts, gaps) = contents.unwrap_or_default();
        // A recording that lost its writer has a manifest from a summary that is older than its end.
        let gaps = match origin.state {
            Some(State::Complete) => gaps,
            _ => survey.gaps.clone(),
        };
        let unreadable = survey.damages.iter().map(|damage| Unreadable {
            segment: damage.segment,
            why: &damage.words,
        });
        let events = survey.events.iter().map(|happened| EventLine {
            at_us: happened.at_us,
            event: &happened.event,
        });
        Self {
            version: VERSION,
            origin,
            duration_us: playing.duration_us,
            people: people(plan, &stays),
            tracks: tracks(survey, plan, &counts, playing.given),
            mixed: playing.heard.map(|heard| MixEntry {
                file: super::MIX,
                frames: heard.frames,
                concealed: heard.concealed,
                undecodable: heard.undecodable,
                late: heard.late,
            }),
            gaps,
            unreadable: unreadable.collect(),
            events: events.collect(),
            events_dropped: survey.events_dropped,
        }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("plain values can be written");
        bytes.push(b'\n');
        bytes
    }
}

fn people<'a>(plan: &'a Plan, stays: &[ParticipantEntry]) -> Vec<PersonEntry<'a>> {
    let stay = |&participant: &u16| {
        let entry = stays.iter().find(|it| it.participant == participant);
        Stay {
            participant,
            entry: entry.map(|entry| StayTimes {
                joined_us: entry.joined_us,
                left_us: entry.left_us,
                consent: entry.consent.clone(),
            }),
        }
    };
    let person = |(index, person): (usize, &'a super::plan::Person)| {
        let is_his = |file: &&super::plan::FilePlan| {
            (file.lanes.iter()).any(|&lane| plan.lanes[lane].person == index)
        };
        PersonEntry {
            identity: &person.identity,
            name: &person.name,
            stays: person.participants.iter().map(stay).collect(),
            files: (plan.files.iter().filter(is_his))
                .map(|file| file.name.as_str())
                .collect(),
        }
    };
    plan.people.iter().enumerate().map(person).collect()
}

fn tracks<'a>(
    survey: &'a Survey,
    plan: &'a Plan,
    counts: &[TrackEntry],
    given: &BTreeMap<u16, Given>,
) -> Vec<TrackLine<'a>> {
    let line = |(&number, tape): (&u16, &'a crate::timeline::Tape)| {
        let counted = counts.iter().find(|it| it.track == number);
        let given = given.get(&number).copied().unwrap_or_default();
        let lane = plan.lane_of(number);
        let files = plan.files.iter().filter_map(|file| {
            let stream = file.stream_of(lane?)?;
            let file = file.name.as_str();
            Some(InFile { file, stream })
        });
        TrackLine {
            track: number,
            participant: tape.body.participant,
            kind: kind_word(tape.body.kind),
            source: tape.body.source,
            name: &tape.body.name,
            mime: &tape.body.mime,
            from_us: tape.span.map(|span| span.0),
            until_us: tape.span.map(|span| span.1),
            packets: counted.map(|it| Packets {
                expected: it.expected,
                stored: it.stored,
                lost: it.lost,
            }),
            frames: given.frames,
            unusable: given.losses.unusable,
            files: files.collect(),
            not_exported: match lane {
                Some(_) => None,
                None => tape.unplayable().or(Some("nobody knows whose it is")),
            },
        }
    };
    survey.tracks.iter().map(line).collect()
}
