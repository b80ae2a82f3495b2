//! What a closed recording is held against: its manifest, the proof, the list of its files, the log.
//!
//! The segments have been checked by now; this finds what the manifest says otherwise, what is there
//! without being known, and whether the log agrees. The manifest's own signature was checked when it
//! was read.

use std::collections::{BTreeMap, BTreeSet};

use super::Verifier;
use super::log::verify_log;
use super::report::{LogReport, Problem, Weight};
use crate::digest::Digest;
use crate::durable;
use crate::folder::Part;
use crate::header::FILE_BYTES_MAX;
use crate::journal::chain::Seal;
use crate::manifest::{INDEX_BYTES_MAX, MANIFEST_BYTES_MAX, Manifest, Sealed};
use crate::tlog::note::Checkpoint;
use crate::tlog::proof::PROOF_BYTES_MAX;
use crate::tlog::{Entry, Proof};

impl Verifier<'_> {
    /// The manifest against what is there.
    pub(super) fn compare_manifest(&mut self) {
        let Some((manifest, _, is_signed)) = self.manifest.take() else {
            return;
        };
        let part = Part::Manifest;
        // What was altered in it is named by what it contradicts, if it contradicts anything.
        for words in manifest.contradictions() {
            self.fault(Problem::Contradiction, part, words);
        }
        let header = self.header.take();
        if let Some((header, digest)) = &header {
            let differs = [
                ("recording", manifest.recording != header.recording),
                ("header", manifest.header != *digest),
                ("retention", manifest.retention != header.retention),
                ("break_glass", manifest.break_glass != header.break_glass),
            ];
            for (field, _) in differs.into_iter().filter(|(_, differs)| *differs) {
                self.fault(
                    Problem::Contradiction,
                    part,
                    format!("{field}: it is not that of header.json"),
                );
            }
        }
        let said: BTreeMap<u32, Digest> = manifest
            .writers
            .iter()
            .map(|entry| (entry.writer, entry.sha256))
            .collect();
        let is: BTreeMap<u32, Digest> = self
            .certificates
            .iter()
            .map(|(number, found)| (*number, found.digest))
            .collect();
        for number in said
            .keys()
            .chain(is.keys())
            .copied()
            .collect::<BTreeSet<u32>>()
        {
            if said.get(&number) != is.get(&number) {
                let words = format!(
                    "writers: what it says of writer {number} is not {}",
                    Part::Writer(number)
                );
                self.fault(Problem::Contradiction, part, words);
            }
        }
        self.compare_segments(&manifest);
        self.digest_is(Part::Index, Some(manifest.index), INDEX_BYTES_MAX);
        let shares: BTreeSet<Part> = self
            .sizes
            .keys()
            .copied()
            .filter(|part| is_share(*part) || matches!(part, Part::IndexOf(_)))
            .collect();
        let named = manifest.shares.keys().filter_map(|name| name.parse().ok());
        for share in shares.into_iter().chain(named).collect::<BTreeSet<Part>>() {
            self.digest_is(
                share,
                manifest.shares.get(&share.to_string()).copied(),
                match share {
                    Part::IndexOf(_) => INDEX_BYTES_MAX,
                    _ => FILE_BYTES_MAX,
                },
            );
        }
        self.header = header;
        let digest = self.proof(&manifest);
        self.manifest = digest.map(|digest| (manifest, digest, is_signed));
    }

    fn compare_segments(&mut self, manifest: &Manifest) {
        let part = Part::Manifest;
        for (number, said) in (0_u32..).zip(&manifest.segments) {
            if said.segment != number {
                self.segment_fault(
                    Problem::Contradiction,
                    part,
                    number,
                    format!("segments: number {number} calls itself {}", said.segment),
                );
            }
            let Some(is) = self.checked.get(&number) else {
                continue;
            };
            let sealed = match is.seal {
                Some(Seal::Closed) => Some(Sealed::Closed),
                Some(Seal::Salvaged) => Some(Sealed::Salvaged),
                _ => None,
            };
            // What a damaged segment is instead is told where it was found.
            let comparable = is.end.is_some();
            let differs = [
                ("bytes", said.bytes != is.report.bytes),
                ("chunks", said.chunks != is.report.chunks),
                ("t0_us", comparable && said.t0_us != is.report.t0_us),
                ("chain", comparable && said.chain != is.report.chain),
                ("sealed", comparable && Some(said.sealed) != sealed),
            ];
            for (field, _) in differs.into_iter().filter(|(_, differs)| *differs) {
                let words =
                    format!("segments: the {field} of segment {number} is not what is there");
                self.segment_fault(Problem::Contradiction, part, number, words);
            }
        }
        let count = manifest.segments.len() as u32;
        let more: Vec<u32> = self
            .checked
            .keys()
            .copied()
            .filter(|number| *number >= count)
            .collect();
        for number in more {
            let words = "the manifest does not know this segment".to_owned();
            self.segment_fault(Problem::Surplus, Part::Segment(number), number, words);
        }
        let ends: Vec<u64> = manifest
            .segments
            .iter()
            .skip(1)
            .map(|next| next.t0_us)
            .chain([manifest.duration_us])
            .collect();
        for (said, end) in manifest.segments.iter().zip(ends) {
            if said.duration_us != end.saturating_sub(said.t0_us) {
                let words = format!(
                    "segments: the duration of segment {} does not lead to the next one",
                    said.segment
                );
                self.segment_fault(Problem::Contradiction, part, said.segment, words);
            }
        }
    }

    fn digest_is(&mut self, part: Part, said: Option<Digest>, max: usize) {
        let Some(said) = said else {
            self.fault(Problem::Unexpected, part, "the manifest does not know it");
            return;
        };
        if let Some(bytes) = self.read(part, max)
            && Digest::of(&bytes) != said
        {
            self.fault(Problem::Altered, part, "it is not what the manifest says");
        }
    }

    /// The proof that the manifest is in the log. Returns the manifest's digest.
    fn proof(&mut self, manifest: &Manifest) -> Option<Digest> {
        let part = Part::ManifestProof;
        let bytes = self
            .source
            .read(&Part::Manifest.to_string(), MANIFEST_BYTES_MAX)
            .ok()?;
        let digest = Digest::of(&bytes);
        let text = self
            .read(part, PROOF_BYTES_MAX)
            .and_then(|bytes| String::from_utf8(bytes).ok());
        let proof = match text.as_deref().map(Proof::parse) {
            Some(Ok(proof)) => proof,
            _ if !self.has(part) => return Some(digest),
            _ => {
                self.fault(
                    Problem::Malformed,
                    part,
                    "it is no proof of an entry of a log",
                );
                return Some(digest);
            }
        };
        let Some(key) = self.node else {
            return Some(digest);
        };
        match proof.check(&key) {
            Ok(head) => {
                let (origin, size, root) = (head.origin.clone(), head.size, head.root);
                self.report.log = Some(LogReport {
                    origin,
                    size,
                    root,
                    index: Some(proof.index),
                    was_read: false,
                });
                self.proof = Some(head);
            }
            Err(error) => self.fault(Problem::Altered, part, error.to_string()),
        }
        match Entry::parse(&proof.entry) {
            Some(Entry::Manifest {
                recording, sha256, ..
            }) if recording == manifest.recording && sha256 == digest => {}
            Some(Entry::Manifest { recording, .. }) if recording == manifest.recording => {
                self.fault(
                    Problem::NotLogged,
                    Part::Manifest,
                    "another manifest of this recording was logged than this one",
                );
            }
            _ => self.fault(
                Problem::Misplaced,
                part,
                "it proves something else than this manifest",
            ),
        }
        Some(digest)
    }

    /// No file more, none less.
    pub(super) fn other_files(&mut self) {
        let is_closed = self.is_closed();
        for name in std::mem::take(&mut self.strangers) {
            let is_being_written = name.ends_with(&format!(".{}", durable::UNFINISHED));
            if is_being_written && !is_closed {
                continue;
            }
            let weight = if is_being_written {
                Weight::Note
            } else {
                Weight::Fault
            };
            self.find(
                weight,
                Problem::Unexpected,
                name.as_str(),
                "it has no business here".into(),
            );
        }
        if is_closed && self.has(Part::Summary) {
            let words = "it was left by a recording that was not closed to the end".to_owned();
            self.find(Weight::Note, Problem::Unexpected, Part::Summary, words);
        }
        let Some((header, _)) = &self.header else {
            return;
        };
        let mut expected = BTreeSet::new();
        match header.compliance.threshold {
            1 => drop(expected.insert(Part::Share)),
            _ => expected.extend(
                (1..)
                    .map(Part::ShareOf)
                    .take(header.compliance.recipients.len()),
            ),
        }
        expected.extend(header.break_glass.map(|_| Part::BreakGlass));
        // With a manifest, what is missing of it was named there.
        let known: BTreeSet<Part> = match &self.manifest {
            Some((manifest, ..)) => manifest
                .shares
                .keys()
                .filter_map(|name| name.parse().ok())
                .collect(),
            None => BTreeSet::new(),
        };
        let are: BTreeSet<Part> = self
            .sizes
            .keys()
            .copied()
            .filter(|part| is_share(*part))
            .collect();
        for missing in expected
            .difference(&are)
            .filter(|part| !known.contains(part))
            .copied()
            .collect::<Vec<_>>()
        {
            self.fault(Problem::Missing, missing, "it is missing");
        }
        if self.manifest.is_none() {
            for more in are.difference(&expected).copied().collect::<Vec<_>>() {
                self.fault(Problem::Unexpected, more, "the header does not ask for it");
            }
        }
    }

    /// The log itself, if it is at hand.
    pub(super) fn log(&mut self) {
        let (Some(source), Some(key)) = (self.against.log, self.node) else {
            self.kept_checkpoints();
            return;
        };
        let mut kept = self.against.checkpoints.to_vec();
        kept.extend(self.proof.clone());
        let mut checked = match verify_log(source, &key, &kept) {
            Ok(checked) => checked,
            Err(error) => {
                self.fault(
                    Problem::Unreadable,
                    "log/checkpoint",
                    format!("the log cannot be read: {error}"),
                );
                return;
            }
        };
        self.report.findings.append(&mut checked.findings);
        let manifest = self
            .manifest
            .as_ref()
            .map(|(manifest, digest, _)| (manifest.recording, *digest));
        if let Some((of, digest)) = manifest {
            let logged: Vec<(u64, Digest)> = checked
                .entries
                .iter()
                .filter_map(|(index, entry)| match entry {
                    Entry::Manifest {
                        recording, sha256, ..
                    } if *recording == of => Some((*index, *sha256)),
                    _ => None,
                })
                .collect();
            let ours = logged.iter().find(|(_, logged)| *logged == digest);
            checked.report.index = ours.map(|(index, _)| *index);
            match (ours, logged.first()) {
                (Some(_), Some((_, first))) if *first == digest => {}
                (_, Some((index, _))) => {
                    let words = format!(
                        "the log has another manifest of this recording since entry {index}"
                    );
                    self.fault(Problem::NotLogged, Part::Manifest, words);
                }
                (_, None) => self.fault(
                    Problem::NotLogged,
                    Part::Manifest,
                    "the log does not have it",
                ),
            }
            for (_, entry) in checked
                .entries
                .iter()
                .filter(|(_, entry)| entry.recording() == Some(of))
            {
                if let Entry::Tombstone { at, .. } = entry {
                    let words = format!("the log says that this recording was destroyed on {at}");
                    self.find(Weight::Note, Problem::Unexpected, Part::Manifest, words);
                }
            }
        }
        self.report.log = Some(checked.report);
    }

    /// Without the log, a checkpoint that was kept can still contradict the proof.
    fn kept_checkpoints(&mut self) {
        let Some(proof) = &self.proof else { return };
        let same = |kept: &&Checkpoint| kept.origin == proof.origin && kept.size == proof.size;
        if self
            .against
            .checkpoints
            .iter()
            .filter(same)
            .any(|kept| kept.root != proof.root)
        {
            let words = "the log had another root at this size: it was rewritten".to_owned();
            self.fault(Problem::LogRewritten, Part::ManifestProof, words);
        }
    }
}

fn is_share(part: Part) -> bool {
    matches!(part, Part::Share | Part::ShareOf(_) | Part::BreakGlass)
}
