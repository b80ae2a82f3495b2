//! What the archive knows of one recording, read from its folder: the header that we signed, and the
//! manifest or the summary of an open one.
//!
//! A folder that cannot be understood is kept and shown as broken; it is never a reason not to start,
//! and it never expires by itself.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::age::Recipient;
use crate::catalogue::{Kept, State, Summary, Verification};
use crate::contents::OpenSummary;
use crate::folder::Part;
use crate::header::Header;
use crate::id::RecordingId;
use crate::notes::Notes;
use crate::retention::Standing;
use crate::sign::{Kind, PublicKey, check_sig_file};
use crate::store::local::LocalStore;
use crate::wall::Wall;

/// What keeps a recording whose header is not signed by us: it may say anything.
const FOR_EVER: &str = "9999-12-31T00:00:00Z";

/// One recording.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) summary: Summary,
    pub(super) standing: Standing,
    /// To whom it is sealed.
    pub(super) officers: Vec<Recipient>,
    /// How many of them must open it together.
    pub(super) threshold: u8,
}

/// As much of `manifest.json` as lists need.
#[derive(Deserialize)]
struct Manifest {
    state: String,
    duration_us: u64,
    participants: Vec<IgnoredAny>,
    tracks: Vec<IgnoredAny>,
}

impl Known {
    /// Reads a folder. None if it has no header, and so never was a recording.
    pub(super) fn read(
        local: &LocalStore,
        node: &PublicKey,
        id: RecordingId,
        notes: &Notes,
    ) -> Option<Self> {
        let bytes = local.read(id, Part::Header).ok()?;
        let sig = local.read(id, Part::HeaderSig).unwrap_or_default();
        let is_ours = check_sig_file(Kind::Header, &bytes, &sig).is_ok_and(|key| key == *node);
        let header = Header::parse(&bytes).ok().filter(|it| it.recording == id)?;
        let until = match is_ours {
            true => header.retention.until,
            false => FOR_EVER.parse().expect("a constant that is a time"),
        };
        let mut known = Self {
            standing: Standing::new(until),
            officers: header.compliance.recipients.clone(),
            threshold: header.compliance.threshold,
            summary: summary(&header, until, notes),
        };
        known.refresh(local, notes);
        if !is_ours {
            known.summary.verification = Some(Verification {
                at: header.started,
                intact: false,
                findings: vec!["header.json is not signed by this installation".into()],
            });
        }
        Some(known)
    }

    /// What is left of a recording that has expired.
    pub(super) fn expired(summary: Summary, at: Wall) -> Self {
        let mut standing = Standing::new(summary.retention.until);
        standing.expired = Some(at);
        let mut known = Self {
            standing,
            officers: Vec::new(),
            threshold: 1,
            summary,
        };
        known.show_standing();
        known
    }

    /// Reads again what changes while a recording is made, and when it is closed.
    pub(super) fn refresh(&mut self, local: &LocalStore, notes: &Notes) {
        let id = self.summary.id;
        let files = local.files(id).unwrap_or_default();
        let mut bytes: BTreeMap<String, u64> = notes
            .stored
            .iter()
            .map(|(name, stored)| (name.clone(), stored.bytes))
            .collect();
        bytes.extend(files.iter().map(|(part, len)| (part.to_string(), *len)));
        self.summary.bytes = bytes.values().sum();
        let manifest = local.read(id, Part::Manifest).ok();
        let manifest: Option<Manifest> =
            manifest.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        if let Some(manifest) = manifest {
            self.summary.state = match manifest.state.as_str() {
                "complete" => State::Closed,
                _ => State::Incomplete,
            };
            self.summary.duration_us = manifest.duration_us;
            self.summary.participants = manifest.participants.len() as u32;
            self.summary.tracks = manifest.tracks.len() as u32;
        } else if let Ok(bytes) = local.read(id, Part::Summary)
            && let Some(open) = OpenSummary::parse(&bytes, id)
        {
            self.summary.duration_us = open.duration_us;
            self.summary.participants = open.contents.participants.len() as u32;
            self.summary.tracks = open.contents.tracks.len() as u32;
        }
        self.show_standing();
    }

    /// Makes the summary say what the standing says.
    pub(super) fn show_standing(&mut self) {
        self.summary.retention.until = self.standing.until;
        self.summary.holds = self.standing.holds.iter().cloned().collect();
        if self.standing.expired.is_some() {
            self.summary.state = State::Expired;
            self.summary.live = false;
        }
    }

    /// Whether it is still being made, or waits for its room.
    pub(super) fn is_open(&self) -> bool {
        self.summary.state == State::Open
    }
}

fn summary(header: &Header, until: Wall, notes: &Notes) -> Summary {
    Summary {
        id: header.recording,
        room_sid: header.room_sid.clone(),
        owner: header.owner.clone(),
        state: State::Open,
        started: header.started,
        duration_us: 0,
        participants: 0,
        tracks: 0,
        bytes: 0,
        retention: Kept {
            class: header.retention.class.clone(),
            until,
        },
        holds: Vec::new(),
        verification: notes.verification.clone(),
        shreddable: header.is_shreddable(),
        live: false,
        stored_remotely: None,
    }
}
