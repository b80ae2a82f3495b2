//! `manifest.json`: what a closed recording is, signed, and what of it is missing.
//!
//! It is built from what lies on the disk (header, certificates, chains) and from the contents that
//! the writer counted, so a recording that lost its writer gets the same manifest from its last
//! durable summary. Closing can be interrupted at any point and done again: the manifest is signed,
//! becomes a leaf of the transparency log, and its proof is put beside it, each step once.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::age::Recipient;
use crate::contents::Contents;
use crate::digest::Digest;
use crate::durable;
use crate::folder::Part;
use crate::header::{FILE_BYTES_MAX, Header, HeaderError, Retention, VERSION, to_json};
use crate::id::RecordingId;
use crate::journal::chain::{Chain, ChainError, Seal};
use crate::recording::Closing;
use crate::sign::{Kind, NodeKey, SigError, check_sig_file, sig_file};
use crate::tlog::{Entry, Log, LogError};
use crate::verify::links::{CHAIN_BYTES_MAX, Links};
use crate::wall::Wall;

/// A larger manifest is not read: ten thousand events a participant fit.
pub const MANIFEST_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Whether something is missing at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It was closed by its writer.
    Complete,
    /// It lost its writer, or a segment of it ended badly.
    Incomplete,
}

/// How a segment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sealed {
    /// By its writer.
    Closed,
    /// Up to where it was found, by the node key.
    Salvaged,
}

/// One certificate of a writer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriterEntry {
    /// Its number.
    pub writer: u32,
    /// Of `writer-NNNNNN.json`.
    pub sha256: Digest,
}

/// One segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentEntry {
    /// Its number.
    pub segment: u32,
    /// Bytes of the `.age` file.
    pub bytes: u64,
    /// Its chunks.
    pub chunks: u32,
    /// Where it begins, microseconds since the start.
    pub t0_us: u64,
    /// How long it is.
    pub duration_us: u64,
    /// Its last chain value.
    pub chain: Digest,
    /// How it ended.
    pub sealed: Sealed,
}

/// The contents of `manifest.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always [`VERSION`].
    pub version: u32,
    /// Which recording.
    pub recording: RecordingId,
    /// Whether it was closed by its writer.
    pub state: State,
    /// Why it ended.
    pub reason: String,
    /// When it was closed.
    pub closed: Wall,
    /// How long it is.
    pub duration_us: u64,
    /// Of `header.json`.
    pub header: Digest,
    /// Of `index.age`.
    pub index: Digest,
    /// Of the officers' shares, the break-glass file and the lists of names of later writers, by
    /// name.
    pub shares: BTreeMap<String, Digest>,
    /// Everybody who was certified to sign.
    pub writers: Vec<WriterEntry>,
    /// All segments.
    pub segments: Vec<SegmentEntry>,
    /// Participants, tracks, gaps, events: the completeness statement.
    #[serde(flatten)]
    pub contents: Contents,
    /// How long it is kept at least, as it was decided at the start.
    pub retention: Retention,
    /// Who can open it alone, if anybody.
    pub break_glass: Option<Recipient>,
    /// Whether destroying the release share makes every copy unreadable.
    pub shreddable: bool,
}

/// Why a recording cannot be closed, or a manifest not be read.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// A file cannot be read or written.
    #[error("{0}: {1}")]
    Io(Part, io::Error),
    /// The folder cannot be read.
    #[error("{0}")]
    Folder(io::Error),
    /// The header or a certificate is not understood.
    #[error("{0}: {1}")]
    Header(Part, HeaderError),
    /// A chain is none.
    #[error("{0}: {1}")]
    Chain(Part, ChainError),
    /// A chain does not end with a seal; salvage comes first.
    #[error("{0} is not ended")]
    Unended(Part),
    /// The manifest is no manifest.
    #[error("it is no manifest: {0}")]
    Malformed(String),
    /// The manifest that is there is not what this node signed.
    #[error("the manifest that is there was not signed by this node: {0}")]
    Foreign(SigError),
    /// The log does not take the leaf.
    #[error("{0}")]
    Log(#[from] LogError),
}

impl Manifest {
    /// Reads `manifest.json`.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let malformed = |error: &dyn ToString| ManifestError::Malformed(error.to_string());
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(malformed(&"it is too long"));
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(|error| malformed(&error))?;
        if manifest.version != VERSION {
            return Err(malformed(&format!(
                "version {} is not known here",
                manifest.version
            )));
        }
        Ok(manifest)
    }

    /// The bytes of `manifest.json`.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        to_json(self)
    }

    /// What in it contradicts itself, in plain words; empty if nothing does.
    #[must_use]
    pub fn contradictions(&self) -> Vec<String> {
        let mut found = Vec::new();
        for track in &self.contents.tracks {
            if track.stored.checked_add(track.lost) != Some(track.expected) {
                found.push(format!(
                    "tracks: {} says {} packets were expected, {} stored and {} lost",
                    track.track, track.expected, track.stored, track.lost
                ));
            }
        }
        if self.shreddable == self.break_glass.is_some() {
            found.push(
                "shreddable: a recording is shreddable exactly if nobody can open it alone".into(),
            );
        }
        let salvaged = self
            .segments
            .iter()
            .any(|segment| segment.sealed == Sealed::Salvaged);
        if salvaged && self.state == State::Complete {
            found.push("state: it is called complete, and a segment was salvaged".into());
        }
        found
    }
}

/// Closes a recording whose segments are all ended: manifest, signature, leaf, proof. If that was
/// begun before and interrupted, goes on from there and leaves what is signed as it is.
///
/// `by_its_writer`: the writer lived to close it, which a complete recording needs.
pub fn close(
    closing: &Closing,
    by_its_writer: bool,
    key: &NodeKey,
    log: &mut Log,
) -> Result<Manifest, ManifestError> {
    let folder = closing.folder.as_path();
    let manifest = match signed(folder, key)? {
        Some(manifest) => manifest,
        None => {
            let manifest = build(closing, by_its_writer)?;
            let bytes = manifest.to_bytes();
            let sig = sig_file(Kind::Manifest, &bytes, key.key());
            write(folder, Part::Manifest, &bytes)?;
            write(folder, Part::ManifestSig, &sig)?;
            manifest
        }
    };
    prove(folder, &manifest, log)?;
    durable::remove(&folder.join(Part::Summary.to_string()))
        .map_err(|error| ManifestError::Io(Part::Summary, error))?;
    Ok(manifest)
}

/// Whether everything that closing does has been done.
#[must_use]
pub fn is_closed(folder: &Path) -> bool {
    let there = |part: Part| folder.join(part.to_string()).exists();
    let parts = [Part::Manifest, Part::ManifestSig, Part::ManifestProof];
    parts.into_iter().all(there) && !there(Part::Summary)
}

/// The manifest that was signed before, if one was.
fn signed(folder: &Path, key: &NodeKey) -> Result<Option<Manifest>, ManifestError> {
    let (Some(bytes), Some(sig)) = (
        optional(folder, Part::Manifest, MANIFEST_BYTES_MAX)?,
        optional(folder, Part::ManifestSig, 96)?,
    ) else {
        return Ok(None);
    };
    match check_sig_file(Kind::Manifest, &bytes, &sig) {
        Ok(signer) if signer == key.public() => Manifest::parse(&bytes).map(Some),
        Ok(_) => Err(ManifestError::Foreign(SigError::Mismatch)),
        // The signature is written after the manifest, so a crash leaves none; a wrong one is
        // somebody's doing and is not written over.
        Err(error) => Err(ManifestError::Foreign(error)),
    }
}

/// Puts the manifest into the log, unless it is there, and the proof beside it.
fn prove(folder: &Path, manifest: &Manifest, log: &mut Log) -> Result<(), ManifestError> {
    if folder.join(Part::ManifestProof.to_string()).exists() {
        return Ok(());
    }
    let bytes = read(folder, Part::Manifest, MANIFEST_BYTES_MAX)?;
    let digest = Digest::of(&bytes);
    let is_ours = |entry: &Entry| matches!(entry, Entry::Manifest { recording, sha256, .. } if *recording == manifest.recording && *sha256 == digest);
    let index = match log.find_last(is_ours)? {
        Some((index, _)) => index,
        None => {
            let entry = Entry::Manifest {
                recording: manifest.recording,
                sha256: digest,
                at: manifest.closed,
            };
            log.append(&[entry.to_bytes()])?
        }
    };
    let proof = log.prove(index)?;
    write(folder, Part::ManifestProof, proof.to_string().as_bytes())
}

/// Builds a manifest from the folder.
fn build(closing: &Closing, by_its_writer: bool) -> Result<Manifest, ManifestError> {
    let folder = closing.folder.as_path();
    let header_bytes = read(folder, Part::Header, FILE_BYTES_MAX)?;
    let header =
        Header::parse(&header_bytes).map_err(|error| ManifestError::Header(Part::Header, error))?;
    let found = Found::list(folder)?;
    let mut segments = Vec::new();
    for &number in &found.segments {
        segments.push(segment(folder, header.recording, number)?);
    }
    let ends: Vec<u64> = segments
        .iter()
        .skip(1)
        .map(|next| next.t0_us)
        .chain([closing.duration_us])
        .collect();
    for (segment, end) in segments.iter_mut().zip(ends) {
        segment.duration_us = end.saturating_sub(segment.t0_us);
    }
    let whole = segments
        .iter()
        .all(|segment| segment.sealed == Sealed::Closed);
    let state = if by_its_writer && whole {
        State::Complete
    } else {
        State::Incomplete
    };
    let digest =
        |part: Part| Ok::<_, ManifestError>(Digest::of(&read(folder, part, INDEX_BYTES_MAX)?));
    let mut shares = BTreeMap::new();
    for &part in &found.shares {
        shares.insert(part.to_string(), digest(part)?);
    }
    let mut writers = Vec::new();
    for &writer in &found.writers {
        writers.push(WriterEntry {
            writer,
            sha256: digest(Part::Writer(writer))?,
        });
    }
    Ok(Manifest {
        version: VERSION,
        recording: header.recording,
        state,
        reason: closing.reason.clone(),
        closed: closing.closed,
        duration_us: closing.duration_us,
        header: Digest::of(&header_bytes),
        index: digest(Part::Index)?,
        shares,
        writers,
        segments,
        contents: closing.contents.clone(),
        shreddable: header.is_shreddable(),
        retention: header.retention,
        break_glass: header.break_glass,
    })
}

/// An index of names larger than this is not ours.
pub(crate) const INDEX_BYTES_MAX: usize = 4 * 1024 * 1024;

fn segment(
    folder: &Path,
    recording: RecordingId,
    number: u32,
) -> Result<SegmentEntry, ManifestError> {
    let part = Part::Chain(number);
    let bytes = read(folder, part, CHAIN_BYTES_MAX)?;
    let links = Links::parse(&bytes).map_err(|error| ManifestError::Chain(part, error))?;
    let end = links.end().ok_or(ManifestError::Unended(part))?;
    let age = Part::Segment(number);
    let path = folder.join(age.to_string());
    let file = fs::File::open(&path).map_err(|error| ManifestError::Io(age, error))?;
    let length = file
        .metadata()
        .map_err(|error| ManifestError::Io(age, error))?
        .len();
    let mut head = Vec::new();
    io::Read::read_to_end(
        &mut io::Read::take(file, u64::from(links.head.data_offset)),
        &mut head,
    )
    .map_err(|error| ManifestError::Io(age, error))?;
    let mut chain = Chain::start(recording, &links.head, &head);
    for link in &links.links {
        chain.push_digest(link.time_us, link.digest);
    }
    Ok(SegmentEntry {
        segment: number,
        bytes: length,
        chunks: chain.chunks(),
        t0_us: links.head.t0_us,
        duration_us: 0,
        chain: chain.value(),
        sealed: if end.seal == Seal::Closed {
            Sealed::Closed
        } else {
            Sealed::Salvaged
        },
    })
}

/// The numbered parts of a folder, in order.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) segments: Vec<u32>,
    pub(crate) chains: Vec<u32>,
    pub(crate) writers: Vec<u32>,
    pub(crate) shares: Vec<Part>,
}

impl Found {
    pub(crate) fn list(folder: &Path) -> Result<Self, ManifestError> {
        let mut found = Self::default();
        for entry in fs::read_dir(folder).map_err(ManifestError::Folder)? {
            let name = entry.map_err(ManifestError::Folder)?.file_name();
            match name.to_str().and_then(|name| name.parse().ok()) {
                Some(Part::Segment(number)) => found.segments.push(number),
                Some(Part::Chain(number)) => found.chains.push(number),
                Some(Part::Writer(number)) => found.writers.push(number),
                Some(
                    part @ (Part::Share | Part::ShareOf(_) | Part::BreakGlass | Part::IndexOf(_)),
                ) => {
                    found.shares.push(part);
                }
                _ => {}
            }
        }
        found.segments.sort_unstable();
        found.chains.sort_unstable();
        found.writers.sort_unstable();
        found.shares.sort_unstable();
        Ok(found)
    }
}

fn read(folder: &Path, part: Part, max: usize) -> Result<Vec<u8>, ManifestError> {
    durable::read_at_most(&folder.join(part.to_string()), max as u64)
        .map_err(|error| ManifestError::Io(part, error))
}

fn optional(folder: &Path, part: Part, max: usize) -> Result<Option<Vec<u8>>, ManifestError> {
    match read(folder, part, max) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(ManifestError::Io(_, error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write(folder: &Path, part: Part, bytes: &[u8]) -> Result<(), ManifestError> {
    durable::replace(&folder.join(part.to_string()), bytes)
        .map_err(|error| ManifestError::Io(part, error))
}
