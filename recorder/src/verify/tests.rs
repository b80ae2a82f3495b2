//! Verification of recordings that the real writer made, whole and broken in every way.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::ops::Range;

use super::*;
use crate::age::stream::SEALED_LEN;
use crate::journal::chain::HEAD_LEN;
use crate::sample::{Sample, files_of};
use crate::sign::sig_file;
use crate::source::Folder;

/// Files in memory.
#[derive(Clone)]
struct Memory(BTreeMap<String, Vec<u8>>);

impl Source for Memory {
    fn list(&self) -> io::Result<Vec<Listed>> {
        let listed = |(name, bytes): (&String, &Vec<u8>)| Listed {
            name: name.clone(),
            size: bytes.len() as u64,
        };
        Ok(self.0.iter().map(listed).collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        let bytes = self.0.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Cursor::new(bytes.clone())))
    }
}

fn check(files: &BTreeMap<String, Vec<u8>>, name: &str, key: Option<PublicKey>) -> Report {
    let against = Against {
        name: Some(name),
        node_key: key,
        ..Against::default()
    };
    verify(&Memory(files.clone()), &against).expect("is listed")
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

#[test]
fn whole_recordings_are_intact() {
    for sample in [Sample::complete(), Sample::resumed()] {
        let log = Folder(sample.root.path().join("log"));
        let name = sample.name();
        for key in [None, Some(sample.key.public())] {
            let against = Against {
                name: Some(&name),
                node_key: key,
                log: Some(&log),
                ..Against::default()
            };
            let report = verify(&Folder(sample.folder.clone()), &against).expect("is listed");
            assert_eq!(report.verdict, Verdict::Intact, "{report}");
            assert_eq!(report.findings, []);
            assert_eq!(report.node_key, Some(sample.key.public()));
            assert!(
                report
                    .segments
                    .iter()
                    .all(|segment| segment.proven == segment.chunks && segment.is_ended)
            );
            assert!(report.log.expect("was read").was_read);
        }
    }
}

#[test]
fn an_open_recording_is_intact_so_far() {
    let sample = Sample::open();
    let report = check(&sample.files(), &sample.name(), None);
    assert_eq!(report.verdict, Verdict::Open, "{report}");
    let last = report.segments.last().expect("has two");
    assert!(
        last.proven > 4 && last.proven < last.chunks,
        "the last chunks are not signed: {report}"
    );
}

/// Power was lost while a chunk was being written: its entry is there and the chunk is not all there.
#[test]
fn an_unsigned_chunk_that_is_not_what_its_entry_says_was_never_promised() {
    let sample = Sample::open();
    let mut files = sample.files();
    let signed = Links::parse(&files[CHAIN])
        .expect("is a chain")
        .seals
        .last()
        .expect("is signed")
        .chunks;
    let (promised, not) = (
        chunk(&files, AGE, signed - 1).start,
        chunk(&files, AGE, signed).start,
    );
    files.get_mut(AGE).expect("is there")[not + 9..].fill(0);
    assert_eq!(check(&files, &sample.name(), None).verdict, Verdict::Open);
    files.get_mut(AGE).expect("is there")[promised + 9] ^= 1;
    assert_eq!(check(&files, &sample.name(), None).verdict, Verdict::Broken);
}

/// The file that a finding may name instead: a signature and its file belong together.
fn names(finding: &Finding, file: &str) -> bool {
    finding.file == file || finding.file.split('.').next() == file.split('.').next()
}

fn mutate_and_check(
    sample: &Sample,
    files: &BTreeMap<String, Vec<u8>>,
    file: &str,
    at: usize,
    flip: u8,
    key: Option<PublicKey>,
) {
    let mut changed = files.clone();
    let bytes = changed.get_mut(file).expect("is there");
    bytes[at] ^= flip;
    let report = check(&changed, &sample.name(), key);
    let told = || format!("{file} byte {at} ^ {flip:#x}:\n{report}");
    assert_eq!(report.verdict, Verdict::Broken, "{}", told());
    let part: Part = file.parse().expect("a part");
    let mut wrong = report
        .findings
        .iter()
        .filter(|found| found.weight == Weight::Fault);
    let named = match part {
        Part::Segment(number) => {
            let offset = chunks::data_offset(&files[file]).expect("has a header") as usize;
            let chunk = at.checked_sub(offset).map(|at| (at / SEALED_LEN) as u32);
            wrong.any(|found| match chunk {
                Some(chunk) => {
                    found.file == file
                        && found.segment == Some(number)
                        && found.chunk == Some(chunk)
                        && found.last_chunk.is_none()
                }
                None => found.segment == Some(number),
            })
        }
        Part::Chain(number) => {
            let chunk = chunk_of_entry(&files[file], at);
            wrong.any(|found| {
                let from = found.chunk.map_or(0, i64::from);
                let until = found.last_chunk.map_or(from, i64::from);
                found.segment == Some(number)
                    && chunk.is_none_or(|chunk| (from..=until + 1).contains(&chunk))
            })
        }
        _ => wrong.any(|found| names(found, file)),
    };
    assert!(named, "not named: {}", told());
}

/// Half of the bytes are drawn by file, half by size, so that small files get their share.
#[test]
fn a_thousand_flipped_bytes_are_found_and_named() {
    let samples = [Sample::complete(), Sample::resumed()];
    let mut dice = Dice(0x5eed);
    for sample in &samples {
        let files = sample.files();
        let names: Vec<&String> = files.keys().collect();
        let total: usize = files.values().map(Vec::len).sum();
        for turn in 0..500 {
            let (file, at) = if turn % 2 == 0 {
                let file = names[dice.below(names.len())];
                (file, dice.below(files[file].len()))
            } else {
                let mut at = dice.below(total);
                let mut found = None;
                for (name, bytes) in &files {
                    if at < bytes.len() {
                        found = Some((name, at));
                        break;
                    }
                    at -= bytes.len();
                }
                found.expect("is within")
            };
            let flip = 1 + dice.below(255) as u8;
            let key = (turn % 3 == 0).then(|| sample.key.public());
            mutate_and_check(sample, &files, file, at, flip, key);
        }
    }
}

/// Every byte of a chain's beginning and end, where its fields are.
#[test]
fn every_byte_of_a_chain_counts() {
    let sample = Sample::complete();
    let files = sample.files();
    let length = files["seg-000001.chain"].len();
    for at in (0..300).chain(length - 120..length) {
        mutate_and_check(&sample, &files, "seg-000001.chain", at, 0x10, None);
    }
}

/// The chunk that the entry at byte `at` is about, if that is not in the head.
fn chunk_of_entry(chain: &[u8], at: usize) -> Option<i64> {
    let (_, mut rest) = crate::journal::chain::Head::parse(chain).expect("is a chain");
    let mut chunks = -1;
    while let Some((entry, after)) = crate::journal::chain::Entry::parse(rest).expect("is whole") {
        let start = chain.len() - rest.len();
        chunks += i64::from(matches!(entry, crate::journal::chain::Entry::Chunk { .. }));
        rest = after;
        if (start..chain.len() - rest.len()).contains(&at) {
            return Some(chunks);
        }
    }
    None
}

type Edit = fn(&mut BTreeMap<String, Vec<u8>>);

fn chunk(files: &BTreeMap<String, Vec<u8>>, file: &str, number: usize) -> Range<usize> {
    let offset = chunks::data_offset(&files[file]).expect("has a header") as usize;
    offset + number * SEALED_LEN..offset + (number + 1) * SEALED_LEN
}

fn expect(
    sample: &Sample,
    what: &str,
    edit: Edit,
    file: &str,
    segment: Option<u32>,
    chunk: Option<u32>,
    problem: Problem,
) {
    let mut files = sample.files();
    edit(&mut files);
    let report = check(&files, &sample.name(), Some(sample.key.public()));
    assert_eq!(report.verdict, Verdict::Broken, "{what}: {report}");
    let named = report.findings.iter().any(|found| {
        found.file == file
            && found.segment == segment
            && found.chunk == chunk
            && found.problem == problem
    });
    assert!(named, "{what}: {:#?}", report.findings);
}

const AGE: &str = "seg-000001.age";
const CHAIN: &str = "seg-000001.chain";

#[test]
fn edits_of_chunks_are_named() {
    use Problem::*;
    let sample = Sample::complete();
    let age = |chunk, problem, what, edit: Edit| {
        expect(&sample, what, edit, AGE, Some(1), Some(chunk), problem);
    };
    age(3, Dropped, "drop", |files| {
        let range = chunk(files, AGE, 3);
        files.get_mut(AGE).expect("is there").drain(range);
    });
    age(2, Swapped, "swap", |files| {
        let (low, high) = (chunk(files, AGE, 2), chunk(files, AGE, 5));
        let bytes = files.get_mut(AGE).expect("is there");
        let (one, other) = (bytes[low.clone()].to_vec(), bytes[high.clone()].to_vec());
        bytes[low].copy_from_slice(&other);
        bytes[high].copy_from_slice(&one);
    });
    age(4, Replayed, "replay in place", |files| {
        let (from, to) = (chunk(files, AGE, 1), chunk(files, AGE, 4));
        files
            .get_mut(AGE)
            .expect("is there")
            .copy_within(from, to.start);
    });
    age(4, Replayed, "replay inserted", |files| {
        let (from, to) = (chunk(files, AGE, 1), chunk(files, AGE, 4));
        let bytes = files.get_mut(AGE).expect("is there");
        let copy = bytes[from].to_vec();
        bytes.splice(to.start..to.start, copy);
    });
    age(4, Replayed, "replay of another segment", |files| {
        let (from, to) = (chunk(files, "seg-000000.age", 2), chunk(files, AGE, 4));
        let copy = files["seg-000000.age"][from].to_vec();
        files.get_mut(AGE).expect("is there")[to].copy_from_slice(&copy);
    });
    age(5, Truncated, "cut at a chunk", |files| {
        let end = chunk(files, AGE, 5).start;
        files.get_mut(AGE).expect("is there").truncate(end);
    });
    age(5, Truncated, "cut in a chunk", |files| {
        let end = chunk(files, AGE, 5).start + 1_000;
        files.get_mut(AGE).expect("is there").truncate(end);
    });
    let last = {
        let files = sample.files();
        Links::parse(&files[CHAIN]).expect("is a chain").links.len() as u32
    };
    age(last, Surplus, "append", |files| {
        files
            .get_mut(AGE)
            .expect("is there")
            .extend(std::iter::repeat_n(7, 3 * SEALED_LEN));
    });
    age(0, Truncated, "empty", |files| {
        files.get_mut(AGE).expect("is there").clear();
    });
}

#[test]
fn edits_of_chains_are_named() {
    use Problem::*;
    let sample = Sample::complete();
    let chain = |chunk, problem, what, edit: Edit| {
        expect(&sample, what, edit, CHAIN, Some(1), chunk, problem);
    };
    chain(Some(0), Altered, "drop the first entry", |files| {
        files
            .get_mut(CHAIN)
            .expect("is there")
            .drain(HEAD_LEN..HEAD_LEN + LINK);
    });
    chain(Some(0), Altered, "double the first entry", |files| {
        let bytes = files.get_mut(CHAIN).expect("is there");
        let entry = bytes[HEAD_LEN..HEAD_LEN + LINK].to_vec();
        bytes.splice(HEAD_LEN..HEAD_LEN, entry);
    });
    let last = chunks_of(&sample, CHAIN);
    chain(Some(last), Surplus, "append an entry", |files| {
        let bytes = files.get_mut(CHAIN).expect("is there");
        let entry = bytes[HEAD_LEN..HEAD_LEN + LINK].to_vec();
        bytes.extend(entry);
    });
    chain(Some(last), Truncated, "cut within the end", |files| {
        let bytes = files.get_mut(CHAIN).expect("is there");
        bytes.truncate(bytes.len() - 10);
    });
    chain(Some(last - 1), Truncated, "cut off the end", |files| {
        let bytes = files.get_mut(CHAIN).expect("is there");
        bytes.truncate(bytes.len() - 65);
    });
    chain(None, Malformed, "another file", |files| {
        let bytes = files["header.json"].clone();
        files.insert(CHAIN.into(), bytes);
    });
    chain(None, Missing, "no file", |files| drop(files.remove(CHAIN)));
}

/// Bytes of a `C` entry.
const LINK: usize = 41;

fn chunks_of(sample: &Sample, chain: &str) -> u32 {
    Links::parse(&sample.files()[chain])
        .expect("is a chain")
        .links
        .len() as u32
}

#[test]
fn edits_of_segments_are_named() {
    use Problem::*;
    let sample = Sample::resumed();
    expect(
        &sample,
        "drop",
        |files| {
            files.remove(AGE);
            files.remove(CHAIN);
        },
        AGE,
        Some(1),
        None,
        Dropped,
    );
    expect(
        &sample,
        "drop the last",
        |files| {
            files.remove("seg-000002.age");
            files.remove("seg-000002.chain");
        },
        "seg-000002.age",
        Some(2),
        None,
        Dropped,
    );
    expect(
        &sample,
        "swap",
        |files| {
            for ending in ["age", "chain"] {
                let one = files
                    .remove(&format!("seg-000000.{ending}"))
                    .expect("is there");
                let other = files
                    .insert(format!("seg-000001.{ending}"), one)
                    .expect("is there");
                files.insert(format!("seg-000000.{ending}"), other);
            }
        },
        "seg-000000.chain",
        Some(0),
        None,
        Misplaced,
    );
    expect(
        &sample,
        "swap the data alone",
        |files| {
            let one = files.remove("seg-000000.age").expect("is there");
            let other = files.insert(AGE.into(), one).expect("is there");
            files.insert("seg-000000.age".into(), other);
        },
        AGE,
        Some(1),
        Some(0),
        Replayed,
    );
    expect(
        &sample,
        "replay at the end",
        |files| {
            for ending in ["age", "chain"] {
                let copy = files[&format!("seg-000001.{ending}")].clone();
                files.insert(format!("seg-000003.{ending}"), copy);
            }
        },
        "seg-000003.age",
        Some(3),
        None,
        Surplus,
    );
    expect(
        &sample,
        "only the data is lost",
        |files| drop(files.remove(AGE)),
        AGE,
        Some(1),
        None,
        Missing,
    );
}

#[test]
fn edits_of_certificates_are_named() {
    use Problem::*;
    let sample = Sample::resumed();
    let writer = |file: &str, problem, what, edit: Edit| {
        expect(&sample, what, edit, file, None, None, problem);
    };
    writer("writer-000000.json", Dropped, "drop the first", |files| {
        files.remove("writer-000000.json");
        files.remove("writer-000000.sig");
    });
    writer("writer-000001.sig", Missing, "drop a signature", |files| {
        drop(files.remove("writer-000001.sig"));
    });
    writer("manifest.json", Contradiction, "drop the last", |files| {
        files.remove("writer-000001.json");
        files.remove("writer-000001.sig");
    });
    writer("writer-000000.json", Misplaced, "swap", |files| {
        for ending in ["json", "sig"] {
            let one = files
                .remove(&format!("writer-000000.{ending}"))
                .expect("is there");
            let other = files
                .insert(format!("writer-000001.{ending}"), one)
                .expect("is there");
            files.insert(format!("writer-000000.{ending}"), other);
        }
    });
    writer("writer-000002.json", Misplaced, "replay", |files| {
        for ending in ["json", "sig"] {
            let copy = files[&format!("writer-000001.{ending}")].clone();
            files.insert(format!("writer-000002.{ending}"), copy);
        }
    });
}

/// Every member of the manifest, changed and signed anew with a stolen node key: the log remembers
/// another manifest, and what can be seen in the folder is named by its member.
#[test]
fn every_altered_member_of_the_manifest_is_found() {
    let sample = Sample::resumed();
    let files = sample.files();
    let text = String::from_utf8(files["manifest.json"].clone()).expect("is text");
    let value: serde_json::Value = serde_json::from_str(&text).expect("is JSON");
    let members = value.as_object().expect("an object");
    assert!(members.len() > 15);
    for (member, is) in members {
        let mut altered = members.clone();
        let other = match is {
            serde_json::Value::String(text) => serde_json::Value::String(change(text)),
            serde_json::Value::Number(number) => (number.as_u64().expect("counts") + 1).into(),
            serde_json::Value::Bool(is) => (!is).into(),
            serde_json::Value::Array(items) if items.is_empty() => continue,
            serde_json::Value::Array(items) => items[1..].to_vec().into(),
            serde_json::Value::Object(is) => {
                let mut other = is.clone();
                for value in other.values_mut().take(1) {
                    *value = change(value.as_str().expect("a text")).into();
                }
                other.into()
            }
            serde_json::Value::Null => {
                serde_json::to_value(sample.header.recipient).expect("is JSON")
            }
        };
        altered.insert(member.clone(), other);
        let bytes = serde_json::to_vec_pretty(&altered).expect("is JSON");
        let mut files = files.clone();
        files.insert("manifest.json".into(), bytes.clone());
        let report = check(&files, &sample.name(), None);
        assert_eq!(report.verdict, Verdict::Broken, "{member}");
        assert!(
            report
                .findings
                .iter()
                .any(|found| found.file == "manifest.json"),
            "{member}: {report}"
        );
        files.insert(
            "manifest.sig".into(),
            sig_file(Kind::Manifest, &bytes, sample.key.key()).to_vec(),
        );
        let report = check(&files, &sample.name(), None);
        assert_eq!(report.verdict, Verdict::Broken, "{member}");
        assert!(
            report
                .findings
                .iter()
                .any(|found| found.file == "manifest.json"),
            "{member}: {report}"
        );
        if [
            "header",
            "segments",
            "writers",
            "retention",
            "recording",
            "shreddable",
            "break_glass",
        ]
        .contains(&member.as_str())
        {
            let is_named = report
                .findings
                .iter()
                .any(|found| found.words.contains(member.as_str()));
            assert!(is_named, "{member}: {report}");
        }
    }
}

fn change(text: &str) -> String {
    let last = text
        .chars()
        .last()
        .map_or('x', |last| if last == '1' { '2' } else { '1' });
    let rest: String = text
        .chars()
        .take(text.chars().count().saturating_sub(1))
        .collect();
    if text.ends_with('Z') {
        text.replacen("2026", "2027", 1)
    } else if text == "complete" {
        "incomplete".into()
    } else if text == "incomplete" {
        "complete".into()
    } else {
        rest + &last.to_string()
    }
}

#[test]
fn files_more_or_less_are_named() {
    use Problem::*;
    let sample = Sample::complete();
    for (name, problem) in [
        ("header.json", Missing),
        ("header.sig", Missing),
        ("share-c.age", Missing),
        ("index.age", Missing),
        ("manifest.json", Missing),
        ("manifest.sig", Missing),
        ("manifest.proof", Missing),
    ] {
        let mut files = sample.files();
        files.remove(name).expect("was there");
        let report = check(&files, &sample.name(), None);
        assert_eq!(report.verdict, Verdict::Broken, "{name}");
        assert!(
            report
                .findings
                .iter()
                .any(|found| found.file == name && found.problem == problem),
            "{name}: {report}"
        );
    }
    let mut files = sample.files();
    files.insert("notes.txt".into(), Vec::new());
    files.insert("break-glass.age".into(), Vec::new());
    let report = check(&files, &sample.name(), None);
    for name in ["notes.txt", "break-glass.age"] {
        assert!(
            report
                .findings
                .iter()
                .any(|found| found.file == name && found.problem == Unexpected),
            "{report}"
        );
    }
}

#[test]
fn another_recording_or_key_is_not_taken_for_this_one() {
    let sample = Sample::complete();
    let report = check(&sample.files(), "01ARZ3NDEKTSV4RRFFQ69G5FAV", None);
    assert!(
        report
            .findings
            .iter()
            .any(|found| found.problem == Problem::Misplaced && found.file == "header.json"),
        "{report}"
    );
    let other = crate::sign::SigningKey::from_seed(&[77; 32]).public();
    let report = check(&sample.files(), &sample.name(), Some(other));
    assert_eq!(report.verdict, Verdict::Broken);
    assert!(
        report
            .findings
            .iter()
            .any(|found| found.problem == Problem::ForeignKey),
        "{report}"
    );
}

/// Truncation at any byte is what a power loss leaves of an open recording.
#[test]
fn a_thousand_tears_pass_up_to_the_tear() {
    let sample = Sample::open();
    let files = sample.files();
    let links = Links::parse(&files[CHAIN]).expect("is a chain");
    let signed = links.seals.last().expect("is signed").chunks as u32;
    let offset = chunks::data_offset(&files[AGE]).expect("has a header") as usize;
    let mut dice = Dice(0x7ea7);
    for turn in 0..1_000 {
        let file = if turn % 3 == 0 { CHAIN } else { AGE };
        let at = dice.below(files[file].len());
        let mut torn = files.clone();
        torn.get_mut(file).expect("is there").truncate(at);
        let report = check(&torn, &sample.name(), None);
        assert!(
            matches!(report.verdict, Verdict::Open | Verdict::Torn),
            "{file} at {at}: {report}"
        );
        let proven = report
            .segments
            .iter()
            .find(|segment| segment.segment == 1)
            .map_or(0, |segment| segment.proven);
        let expected = if file == AGE {
            (at.saturating_sub(offset) / SEALED_LEN).min(signed as usize) as u32
        } else {
            links
                .seals
                .iter()
                .rfind(|seal| seal.end <= at)
                .map_or(0, |seal| seal.chunks as u32)
        };
        assert_eq!(proven, expected, "{file} at {at}: {report}");
        let first = &report.segments[0];
        assert_eq!(
            first.proven, first.chunks,
            "what lies before is whole: {report}"
        );
        let cut_something = report
            .findings
            .iter()
            .any(|found| found.segment == Some(1) || found.file.starts_with("seg-000001"));
        assert!(cut_something || file == CHAIN, "{file} at {at}: {report}");
    }
}

/// The same tears, salvaged: what survived is proven, the room goes on, and the whole is intact.
#[test]
fn what_a_tear_leaves_is_salvaged_and_gone_on_with() {
    let mut dice = Dice(0x5a17);
    for turn in 0..16 {
        let mut sample = Sample::open();
        sample.kill();
        let files = sample.files();
        let links = Links::parse(&files[CHAIN]).expect("is a chain");
        let signed = links.seals.last().expect("is signed");
        // Behind what was synced anything may be missing.
        let (part, from) = match turn % 2 {
            0 => (Part::Chain(1), signed.end),
            _ => {
                let offset = chunks::data_offset(&files[AGE]).expect("has a header") as usize;
                (Part::Segment(1), offset + signed.chunks * SEALED_LEN)
            }
        };
        let bytes = &files[&part.to_string()];
        let at = from + dice.below(bytes.len() - from);
        sample.put(part, &bytes[..at]);
        let outcome = sample.salvage(std::time::Duration::MAX);
        let crate::salvage::Outcome::Open(standing) = outcome else {
            panic!("stays open: {outcome:?}");
        };
        assert_eq!(
            (standing.segment, standing.writer, &standing.damage),
            (2, 1, &None)
        );
        let report = check(&sample.files(), &sample.name(), None);
        assert_eq!(report.verdict, Verdict::Open, "{part} at {at}: {report}");
        let last = report.segments.last().expect("has two");
        assert!(
            last.is_ended && last.proven == last.chunks && last.chunks >= signed.chunks as u32,
            "{report}"
        );
        sample.resume(&standing);
        sample.seconds(1);
        sample.close();
        let report = check(&sample.files(), &sample.name(), None);
        assert_eq!(report.verdict, Verdict::Intact, "{part} at {at}: {report}");
    }
}

#[test]
fn a_log_that_was_rewritten_with_the_node_key_is_found() {
    let sample = Sample::complete();
    let name = sample.name();
    let mut sample_log = sample;
    let other = |index: u64| format!("{{\"type\":\"other\",\"index\":{index}}}").into_bytes();
    sample_log
        .log
        .append(&[other(1), other(2)])
        .expect("is appended");
    let kept = sample_log.log.head().clone();
    let manifest_entry = sample_log.log.reader().entry(0).expect("is there");
    let against_log = |log: &std::path::Path, checkpoints: &[Checkpoint]| {
        let source = Folder(log.to_owned());
        let against = Against {
            name: Some(&name),
            log: Some(&source),
            checkpoints,
            ..Against::default()
        };
        verify(&Memory(files_of(&sample_log.folder)), &against).expect("is listed")
    };
    let problems = |report: &Report| {
        report
            .findings
            .iter()
            .map(|found| found.problem)
            .collect::<Vec<_>>()
    };
    let log = sample_log.root.path().join("log");
    assert_eq!(
        problems(&against_log(&log, std::slice::from_ref(&kept))),
        []
    );
    // One entry changed in its bundle.
    let bundle = log.join("tile/entries/000.p/3");
    let whole = std::fs::read(&bundle).expect("is there");
    let mut changed = whole.clone();
    let last = changed.len() - 2;
    changed[last] ^= 1;
    std::fs::write(&bundle, changed).expect("is written");
    let report = against_log(&log, &[]);
    let entry = report
        .findings
        .iter()
        .find(|found| found.problem == Problem::LogEntry)
        .expect("is found");
    assert_eq!(entry.entry, Some(2));
    std::fs::write(&bundle, whole).expect("is put back");
    // The whole written anew with the key: without the manifest, and with other entries behind it.
    let forge = |entries: &[Vec<u8>]| {
        let folder = tempfile::tempdir().expect("a folder");
        let mut log = crate::tlog::Log::open(
            folder.path(),
            "test",
            std::sync::Arc::clone(&sample_log.key),
        )
        .expect("a log");
        log.append(entries).expect("is appended");
        folder
    };
    let dropped = forge(&[other(0), other(1), other(2)]);
    let found = problems(&against_log(dropped.path(), &[]));
    assert!(
        found.contains(&Problem::LogRewritten) && found.contains(&Problem::NotLogged),
        "{found:?}"
    );
    let edited = forge(&[manifest_entry.clone(), other(7), other(2)]);
    assert_eq!(
        problems(&against_log(edited.path(), &[])),
        [],
        "nothing that this recording's proof knows of"
    );
    let found = problems(&against_log(edited.path(), std::slice::from_ref(&kept)));
    assert_eq!(
        found,
        [Problem::LogRewritten],
        "but a checkpoint that was kept does"
    );
    let cut = forge(&[manifest_entry]);
    assert_eq!(
        problems(&against_log(cut.path(), std::slice::from_ref(&kept))),
        [Problem::LogRewritten]
    );
}

#[test]
fn the_report_is_readable_by_programs_and_people() {
    let sample = Sample::complete();
    let mut files = sample.files();
    let at = chunk(&files, AGE, 2).start + 77;
    files.get_mut(AGE).expect("is there")[at] ^= 4;
    let report = check(&files, &sample.name(), None);
    let json = serde_json::to_value(&report).expect("is JSON");
    assert_eq!(json["verdict"], "broken");
    assert_eq!(json["findings"][0]["problem"], "altered");
    assert_eq!(
        (
            &json["findings"][0]["segment"],
            &json["findings"][0]["chunk"]
        ),
        (&1.into(), &2.into())
    );
    let words = report.to_string();
    assert!(
        words.contains("WRONG  seg-000001.age: chunk 2 was altered"),
        "{words}"
    );
    assert!(
        words.ends_with("BROKEN: this is not what was recorded, or not all of it"),
        "{words}"
    );
}

/// The second verifier knows the format's page and nothing of us. It must come to the same answer
/// about whole, torn and broken recordings.
#[test]
fn a_verifier_written_from_the_page_alone_agrees() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/verify.py");
    let folder = tempfile::tempdir().expect("a folder");
    let mut dice = Dice(0xa9ee);
    for (number, sample) in [Sample::complete(), Sample::resumed(), Sample::open()]
        .iter()
        .enumerate()
    {
        let files = sample.files();
        let names: Vec<&String> = files
            .keys()
            .filter(|name| *name != "summary.json")
            .collect();
        let is_open = number == 2;
        for turn in 0..17 {
            let mut changed = files.clone();
            let name = names[dice.below(names.len())];
            let bytes = changed.get_mut(name).expect("is there");
            let at = dice.below(bytes.len());
            match turn {
                0 => {}
                _ if is_open && turn < 9 => {
                    let last = if turn % 2 == 0 { AGE } else { CHAIN };
                    let bytes = changed.get_mut(last).expect("is there");
                    bytes.truncate(HEAD_LEN + dice.below(bytes.len() - HEAD_LEN));
                }
                // The shares of an open recording are not named by anything yet.
                _ if is_open && (name == "share-c.age" || name == "index.age") => {}
                1 | 2 => drop(changed.remove(name)),
                3 => drop(changed.insert("notes.txt".into(), Vec::new())),
                _ => bytes[at] ^= 1 + dice.below(255) as u8,
            }
            let place = folder
                .path()
                .join(format!("{number}-{turn}"))
                .join(sample.name());
            std::fs::create_dir_all(&place).expect("a folder");
            for (name, bytes) in &changed {
                std::fs::write(place.join(name), bytes).expect("is written");
            }
            let key = sample.key.public();
            let ours = check(&changed, &sample.name(), Some(key));
            let theirs = std::process::Command::new("python3")
                .arg(script)
                .arg(&place)
                .arg(key.to_string())
                .output();
            let theirs = theirs.expect("python3 is there");
            let words = String::from_utf8_lossy(&theirs.stdout);
            assert!(
                theirs.stderr.is_empty(),
                "{}",
                String::from_utf8_lossy(&theirs.stderr)
            );
            let agrees = theirs.status.success() == (ours.verdict != Verdict::Broken);
            assert!(
                agrees,
                "{number}, turn {turn}, {name} at {at}: theirs: {words}ours: {ours}"
            );
        }
    }
}
