//! Small complete recordings with fixed keys, for every reader of the format.
//!
//! They are made anew in each test run and compared byte by byte with `recorder/vectors/`;
//! `CONSILIUM_UPDATE=1` writes them there instead. Nothing in them is secret: the keys are fixed.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::fixture::{
    CAMERA, Desk, MICROPHONE, Plan, Read, fixed_random, header, identity, keys, read_folder,
    segments,
};
use super::scribe::Ended;
use super::*;
use crate::digest::Digest;
use crate::journal::chain::{Chain, Entry, Head, Seal};
use crate::keys::officer;
use crate::manifest;
use crate::sign::NodeKey;
use crate::source::Folder;
use crate::tlog::Log;
use crate::verify::{Against, Verdict, verify};

const PASSPHRASE: &str = "correct horse battery staple";

fn committed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

/// What salvage does to the last segment of a lost writer, in short: whole chunks that have no entry
/// get one, the rest is cut off, and the node signs. Returns the last chain value.
pub(super) fn salvage(folder: &Path, segment: u32) -> Digest {
    let node = keys(1, 1);
    let node = crate::keys::KeyProvider::node(&*node);
    let path = |part: Part| folder.join(part.to_string());
    let data = fs::read(path(Part::Segment(segment))).expect("is there");
    let chain_file = fs::read(path(Part::Chain(segment))).expect("is there");
    let (head, mut rest) = Head::parse(&chain_file).expect("is a chain");
    let offset = head.data_offset as usize;
    let mut chain = Chain::start(header(folder).recording, &head, &data[..offset]);
    let mut time = 0;
    while let Ok(Some((entry, after))) = Entry::parse(rest) {
        rest = after;
        if let Entry::Chunk {
            time_us, digest, ..
        } = entry
        {
            chain.push_digest(time_us, digest);
            time = time_us;
        }
    }
    let mut kept = chain_file[..chain_file.len() - rest.len()].to_vec();
    let written = chain.chunks() as usize;
    let chunks = data[offset..].chunks_exact(crate::age::stream::SEALED_LEN);
    for chunk in chunks.skip(written) {
        chain.push(time, chunk).encode(&mut kept);
    }
    chain.seal(Seal::Salvaged, node.key()).encode(&mut kept);
    fs::write(path(Part::Chain(segment)), kept).expect("can be written");
    let len = offset + chain.chunks() as usize * crate::age::stream::SEALED_LEN;
    let file = OpenOptions::new()
        .write(true)
        .open(path(Part::Segment(segment)));
    file.and_then(|file| file.set_len(len as u64))
        .expect("can be cut");
    chain.value()
}

/// A consult of some seconds: a camera, a microphone, losses, a report, a chat, a mute.
fn consult(desk: &mut Desk) {
    desk.enter(0, "PA_wang");
    for tenth in 0..12 {
        if tenth == 5 {
            desk.lose(CAMERA, 2);
        }
        // Small packets: the vectors are committed.
        desk.packet(tenth * 100 + 3, CAMERA, 300);
        desk.packet(tenth * 100 + 5, MICROPHONE, 60);
        desk.turn(tenth * 100 + 50);
    }
    desk.report(1210, CAMERA);
    let participant = || "PA_wang".to_owned();
    desk.tell(
        1220,
        Fact::Chat {
            participant: participant(),
            text: "血压正常".into(),
        },
    );
    let track = "TR_camera".to_owned();
    desk.tell(
        1230,
        Fact::Muted {
            participant: participant(),
            track,
            is_muted: true,
        },
    );
}

struct Made {
    name: &'static str,
    desk: Desk,
    /// What it was when it was closed; the torn one never was.
    ended: Option<Ended>,
}

fn complete(recordings: &Path) -> Made {
    let limits = Limits {
        segment_seconds_max: 2,
        ..Limits::default()
    };
    let plan = Plan {
        seed: 1,
        limits,
        ..Plan::default()
    };
    let mut desk = Desk::begin(recordings, plan).expect("can be begun");
    consult(&mut desk);
    // Longer than a chunk, so that it spans two.
    let text = "很长的消息 ".repeat(4_500);
    desk.tell(
        1900,
        Fact::Chat {
            participant: "PA_wang".into(),
            text,
        },
    );
    desk.turn(2100);
    desk.packet(2200, CAMERA, 300);
    desk.end_track(2300, CAMERA);
    desk.tell(
        2400,
        Fact::Left {
            participant: "PA_wang".into(),
        },
    );
    let ended = Some(desk.close(2500));
    Made {
        name: "complete",
        desk,
        ended,
    }
}

fn threshold(recordings: &Path) -> Made {
    let plan = Plan {
        seed: 2,
        keys: keys(2, 3),
        ..Plan::default()
    };
    let mut desk = Desk::begin(recordings, plan).expect("can be begun");
    consult(&mut desk);
    let ended = Some(desk.close(1300));
    Made {
        name: "threshold",
        desk,
        ended,
    }
}

fn salvaged(recordings: &Path) -> Made {
    let mut desk = Desk::begin(
        recordings,
        Plan {
            seed: 3,
            ..Plan::default()
        },
    )
    .expect("can be begun");
    consult(&mut desk);
    desk.turn(2300);
    let (header, release) = (header(&desk.folder), desk.release.clone());
    let summary = fs::read(desk.folder.join("summary.json")).expect("is kept while it is open");
    let summary = crate::contents::OpenSummary::parse(&summary, header.recording).expect("is ours");
    let folder = desk.folder.clone();
    drop(desk);
    // The server died when it had written half a chunk, and an entry of the chain in part.
    append(&folder.join("seg-000000.age"), &[0x55; 30_000]);
    append(&folder.join("seg-000000.chain"), b"C\x09\x00");
    let prev = salvage(&folder, 0);
    let resume = Resume {
        folder,
        header,
        room_name: "ward 7".into(),
        writer: 1,
        segment: 1,
        prev,
        durable_us: 2_300_000,
        contents: summary.contents,
        reason: "restart".into(),
    };
    let plan = Plan {
        seed: 13,
        ..Plan::default()
    };
    let mut desk = Desk::resume(resume.into(), plan, release, 4_000_000).expect("can be resumed");
    desk.enter(0, "PA_li");
    desk.packet(100, MICROPHONE, 60);
    let ended = Some(desk.close(500));
    Made {
        name: "salvaged",
        desk,
        ended,
    }
}

fn torn(recordings: &Path) -> Made {
    let mut desk = Desk::begin(
        recordings,
        Plan {
            seed: 4,
            ..Plan::default()
        },
    )
    .expect("can be begun");
    consult(&mut desk);
    desk.turn(2300);
    append(&desk.folder.join("seg-000000.age"), &[0x55; 30_000]);
    append(&desk.folder.join("seg-000000.chain"), b"C\x09\x00");
    Made {
        name: "torn",
        desk,
        ended: None,
    }
}

fn append(path: &Path, bytes: &[u8]) {
    let file = OpenOptions::new().append(true).open(path);
    file.and_then(|mut file| file.write_all(bytes))
        .expect("can be written");
}

fn record(read: &Read) -> serde_json::Value {
    json!([
        read.segment,
        read.kind.byte(),
        read.flags.0,
        read.track,
        read.at_us,
        read.body.len(),
        Digest::of(&read.body),
    ])
}

fn describe(made: &Made) -> serde_json::Value {
    let header = header(&made.desk.folder);
    let identity = made.desk.identity();
    let records = read_folder(&made.desk.folder, &identity);
    json!({
        "name": made.name,
        "recording": header.recording,
        "state": if made.ended.is_some() { "closed" } else { "open" },
        "threshold": header.compliance.threshold,
        "identity": identity.to_text().as_str(),
        "segments": segments(&made.desk.folder),
        "fields": ["segment", "kind", "flags", "track", "at_us", "length", "sha256"],
        "records": records.iter().map(record).collect::<Vec<_>>(),
    })
}

/// Writes all vectors below `root`.
fn make(root: &Path) {
    let recordings = root.join("recordings");
    let release = root.join("release");
    let key_files = root.join("keys");
    for folder in [&recordings, &release, &key_files] {
        fs::create_dir_all(folder).expect("can be made");
    }
    let node = Arc::new(NodeKey::from_seed(&[42; 32]));
    let mut log = Log::open(&root.join("log"), "vectors", Arc::clone(&node)).expect("can be begun");
    let mut list = Vec::new();
    for make in [complete, threshold, salvaged, torn] {
        let made = make(&recordings);
        let id = header(&made.desk.folder).recording;
        fs::write(release.join(format!("{id}.age")), &made.desk.release).expect("can be written");
        let _none_with_a_closed_one =
            fs::remove_file(made.desk.folder.join("seg-000001.age.unfinished"));
        let _likewise = fs::remove_file(made.desk.folder.join("seg-000001.chain.unfinished"));
        if let Some(ended) = &made.ended {
            let closing = Closing {
                recording: id,
                folder: made.desk.folder.clone(),
                reason: "room finished".into(),
                closed: ended.at,
                duration_us: ended.duration_us,
                contents: ended.contents.clone(),
            };
            manifest::close(&closing, true, &node, &mut log).expect("can be closed");
        }
        list.push(describe(&made));
    }
    for number in 1..=3 {
        let who = identity(100 + number);
        let mut random = fixed_random(150 + number);
        let created = super::fixture::STARTED;
        let file = officer::key_file(&who, created, PASSPHRASE, 10, &mut *random);
        let path = key_files.join(format!("officer-{number}.age"));
        fs::write(path, file.expect("is cheap")).expect("can be written");
    }
    let service = officer::plain_file(&identity(200), super::fixture::STARTED);
    fs::write(key_files.join("release.txt"), service.as_bytes()).expect("can be written");
    drop(log);
    fs::remove_file(root.join("log/lock")).expect("was held until now");
    let node = node.public();
    let vectors = json!({ "passphrase": PASSPHRASE, "node": node, "recordings": list });
    fs::write(root.join("vectors.json"), crate::header::to_json(&vectors)).expect("can be written");
}

fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("is there") {
            let path = entry.expect("can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = fs::read(&path).expect("can be read");
                found.insert(path.strip_prefix(root).expect("is below").to_owned(), bytes);
            }
        }
    }
    found
}

#[test]
fn the_vectors_are_what_this_program_writes() {
    let temporary = tempfile::tempdir().expect("temporary files can be made");
    make(temporary.path());
    let made = files(temporary.path());
    if std::env::var_os("CONSILIUM_UPDATE").is_some() {
        for (name, bytes) in &made {
            let path = committed().join(name);
            fs::create_dir_all(path.parent().expect("is below")).expect("can be made");
            fs::write(path, bytes).expect("can be written");
        }
    }
    let committed = files(&committed());
    for (name, bytes) in &made {
        let known = committed.get(name);
        assert!(
            known == Some(bytes),
            "{} differs: see CONSILIUM_UPDATE",
            name.display()
        );
    }
}

#[test]
fn both_verifiers_find_the_vectors_as_they_were_made() {
    let text = fs::read(committed().join("vectors.json")).expect("is there");
    let vectors: serde_json::Value = serde_json::from_slice(&text).expect("is JSON");
    let node = vectors["node"].as_str().expect("is text");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/verify.py");
    for vector in vectors["recordings"].as_array().expect("is a list") {
        let name = vector["recording"].as_str().expect("is text");
        let folder = committed().join("recordings").join(name);
        let against = Against {
            name: Some(name),
            node_key: Some(node.parse().expect("is a key")),
            ..Against::default()
        };
        let ours = verify(&Folder(folder.clone()), &against).expect("is listed");
        let expected = match vector["state"].as_str() {
            Some("closed") => Verdict::Intact,
            _ => Verdict::Torn,
        };
        assert_eq!(ours.verdict, expected, "{}: {ours}", vector["name"]);
        let theirs = std::process::Command::new("python3")
            .args([script, folder.to_str().expect("is UTF-8"), node])
            .output()
            .expect("python3 is there");
        assert!(theirs.status.success(), "{}: {theirs:?}", vector["name"]);
    }
}
