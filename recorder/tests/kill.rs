//! A server that is killed at any moment, and what its memory holds: a second process records, this
//! one kills it or looks into it.
//!
//! The second process is this test binary again, told by an environment variable what to do.
#![expect(clippy::print_stdout, reason = "the first process waits for a line")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use recorder::age::{self, Identity, Recipient};
use recorder::config::{KeysConfig, Limits};
use recorder::header::{Header, Policy, Retention};
use recorder::id::RecordingId;
use recorder::journal::body::{Event, Happening};
use recorder::journal::chain;
use recorder::journal::reader::SegmentReader;
use recorder::journal::record::Kind;
use recorder::keys::files::FileKeys;
use recorder::keys::share::{Half, Share};
use recorder::keys::split::{open_officers_share, reunite};
use recorder::keys::{officer, system_random};
use recorder::recording::{Fact, Recording, Start, Surroundings};
use recorder::wall::Wall;
use sfu::tap::TapMemory;

/// Tells the second process where to record.
const FOLDER: &str = "CONSILIUM_TEST_RECORDS_IN";
/// And to whom.
const OFFICER: &str = "CONSILIUM_TEST_OFFICER";

/// What a kill may cost at most.
const LOSS_MAX: Duration = Duration::from_secs(1);

/// Rounds in an ordinary run; `CONSILIUM_KILLS` asks for more.
const KILLS: u32 = 5;

fn now() -> Wall {
    Wall::from(SystemTime::now())
}

/// Not a test of its own: the second process's part.
#[test]
fn second_process() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let folder = PathBuf::from(folder);
    let officer: Recipient = std::env::var(OFFICER)
        .expect("is told")
        .parse()
        .expect("is one");
    let config = KeysConfig {
        node: folder.join("node.pem"),
        release: folder.join("release.txt"),
        compliance: vec![officer],
        ..KeysConfig::default()
    };
    let keys = FileKeys::open(&config, now(), &mut system_random).expect("can be made");
    let memory = TapMemory::new(&sfu::config::Limits::default()).recording();
    let around = Surroundings::new(
        Arc::new(keys),
        Arc::new(SystemTime::now),
        Limits::default(),
        memory,
    );
    let mut random = [0; 10];
    system_random(&mut random);
    let start = Start {
        recording: RecordingId::new(now(), random),
        recordings: folder.join("recordings"),
        room_name: "room".into(),
        room_sid: "RM_kill".into(),
        owner: "devkey".into(),
        policy: Policy::Must,
        retention: Retention {
            class: "consult-3y".into(),
            until: now(),
        },
        started: now(),
    };
    let release = folder.join("share-s.age");
    let mut keep = |sealed: &[u8]| fs::write(&release, sealed);
    let recording = Recording::begin(start, around, &mut keep, Box::new(|_| Ok(())));
    let recording = recording.expect("can be begun");
    let participant = || "PA_a".to_owned();
    recording.tell(
        Fact::Joined {
            participant: participant(),
            identity: "a".into(),
            name: "A".into(),
        },
        None,
    );
    println!("recording");
    // A minute, should nobody be left to kill it.
    for _ in 0..12_000 {
        // Each says when it was said; enough of it that chunks fill between flushes.
        let text = format!("{} {}", now().0, "x".repeat(2000));
        recording.tell(
            Fact::Chat {
                participant: participant(),
                text,
            },
            None,
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

struct Second(Child);

impl Second {
    /// Starts a recording in another process and waits until it counts as started.
    fn start(folder: &Path, officer: &Identity) -> Self {
        let this = std::env::current_exe().expect("has a path");
        let mut child = Command::new(this)
            .args([
                "second_process",
                "--exact",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(FOLDER, folder)
            .env(OFFICER, officer.recipient().to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("can be started");
        let output = BufReader::new(child.stdout.take().expect("is piped"));
        let mut lines = output.lines().map_while(Result::ok);
        assert!(
            lines.any(|line| line.ends_with("recording")),
            "the second process records"
        );
        Self(child)
    }

    fn kill(mut self) -> Wall {
        let at = now();
        self.0.kill().expect("is ours");
        self.0.wait().expect("has ended");
        at
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        // It is dead already unless the test failed.
        let _was_dead = self.0.kill();
        let _was_waited_for = self.0.wait();
    }
}

fn only_recording(folder: &Path) -> PathBuf {
    let mut entries = fs::read_dir(folder.join("recordings")).expect("is there");
    let entry = entries.next().expect("there is one").expect("can be read");
    entry.path()
}

struct Opened {
    recording: PathBuf,
    officers: Share,
    released: Share,
    identity: Identity,
}

fn open(folder: &Path, officer: &Identity) -> Opened {
    let recording = only_recording(folder);
    let header = fs::read(recording.join("header.json")).expect("is there");
    let header = Header::parse(&header).expect("is ours");
    let sealed = fs::read(recording.join("share-c.age")).expect("is there");
    let officers = || open_officers_share(header.recording, &sealed, officer).expect("is his");
    let service = fs::read(folder.join("release.txt")).expect("was made");
    let service = officer::read_plain_file(&service).expect("is a key");
    let sealed = fs::read(folder.join("share-s.age")).expect("was kept");
    let json = age::open(&sealed, &service).expect("is the service's");
    let released = Share::from_json(&json, header.recording, Half::Release).expect("is ours");
    let identity = reunite(&[officers()], &released).expect("are enough");
    assert_eq!(identity.recipient(), header.recipient);
    Opened {
        recording,
        officers: officers(),
        released,
        identity,
    }
}

/// When the last chat message that is in the journal was said, and how many there are.
fn last_said(opened: &Opened) -> (Wall, usize) {
    let (mut last, mut count) = (Wall(0), 0);
    for segment in 0.. {
        let path = opened.recording.join(format!("seg-{segment:06}.age"));
        let Ok(data) = fs::read(&path) else {
            break;
        };
        let chain_path = path.with_extension("chain");
        let chain = fs::read(chain_path).expect("is there as soon as the segment is");
        chain::Head::parse(&chain).expect("is a chain");
        let mut reader = SegmentReader::open(Cursor::new(data), &opened.identity).expect("opens");
        while let Some(record) = reader.next_record().expect("is intact up to its tear") {
            if record.kind != Kind::Event {
                continue;
            }
            let event: Event = serde_json::from_slice(record.body).expect("is an event");
            if let Happening::Chat { text, .. } = event.what {
                let said = text
                    .split(' ')
                    .next()
                    .and_then(|micros| micros.parse().ok());
                last = last.max(Wall(said.expect("says when")));
                count += 1;
            }
        }
    }
    (last, count)
}

#[test]
fn a_killed_server_loses_a_second_at_most() {
    let kills =
        std::env::var("CONSILIUM_KILLS").map_or(KILLS, |kills| kills.parse().expect("a number"));
    let officer = Identity::generate(&mut system_random);
    let mut losses = BTreeMap::new();
    for round in 0..kills {
        let folder = tempfile::tempdir().expect("temporary files can be made");
        let second = Second::start(folder.path(), &officer);
        // Any moment between two flushes, some seconds in.
        let mut random = [0; 2];
        system_random(&mut random);
        let wait = 1000 + u64::from(u16::from_le_bytes(random)) % 2000;
        std::thread::sleep(Duration::from_millis(wait));
        let killed = second.kill();
        let (last, count) = last_said(&open(folder.path(), &officer));
        assert!(count > 0, "something was recorded in {wait} ms");
        let loss = Duration::from_micros(killed.0.saturating_sub(last.0));
        losses.insert((loss, round), wait);
    }
    let ((worst, _), _) = losses.last_key_value().expect("there were some");
    assert!(*worst <= LOSS_MAX, "{losses:?}");
}

/// What a forced core dump of `process` would hold of memory that was ever written to: pages that
/// are writable, not empty, and not marked as left out.
fn dumpable_memory(process: u32) -> Vec<u8> {
    let maps = fs::read_to_string(format!("/proc/{process}/smaps")).expect("is ours");
    let mut memory = fs::File::open(format!("/proc/{process}/mem")).expect("is ours");
    let (mut range, mut bytes) = (None, Vec::new());
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or_default();
        if let Some((from, until)) = first.split_once('-') {
            let number = |text| u64::from_str_radix(text, 16).ok();
            let is_writable = words.next().is_some_and(|mode| mode.starts_with("rw"));
            range = number(from).zip(number(until)).filter(|_| is_writable);
        } else if first == "VmFlags:" {
            let is_left_out = words.any(|flag| flag == "dd" || flag == "io");
            if let Some((from, until)) = range.take().filter(|_| !is_left_out) {
                let mut part = vec![0; (until - from) as usize];
                // What the kernel does not give (vsyscall) is in no dump either.
                if memory.seek(SeekFrom::Start(from)).is_ok()
                    && memory.read_exact(&mut part).is_ok()
                {
                    let pages = part
                        .chunks(4096)
                        .filter(|page| **page != [0; 4096][..page.len()]);
                    pages.for_each(|page| bytes.extend_from_slice(page));
                }
            }
        }
    }
    bytes
}

#[test]
fn the_memory_of_a_server_that_records_does_not_open_the_recording() {
    let officer = Identity::generate(&mut system_random);
    let folder = tempfile::tempdir().expect("temporary files can be made");
    let second = Second::start(folder.path(), &officer);
    std::thread::sleep(Duration::from_millis(1500));
    let memory = dumpable_memory(second.0.id());
    second.kill();
    let opened = open(folder.path(), &officer);
    let (_, count) = last_said(&opened);
    assert!(count > 0, "it was recording");
    let holds = |pattern: &[u8]| {
        let first = pattern[0];
        memory
            .iter()
            .enumerate()
            .any(|(at, &byte)| byte == first && memory[at..].starts_with(pattern))
    };
    assert!(
        holds(b"RM_kill") || holds(b"devkey"),
        "the dump was looked into"
    );
    for (secret, what) in [
        (opened.identity.secret(), "the recording's secret"),
        (&opened.officers.value, "the officers' half"),
        (&opened.released.value, "the release half"),
    ] {
        let bytes = secret.bytes();
        assert!(!holds(bytes), "{what} is in the dump");
        // Also not as text, and not in part.
        assert!(
            !holds(&bytes[..16]) && !holds(&bytes[16..]),
            "a part of {what} is in the dump"
        );
    }
    assert!(
        !holds(&opened.identity.to_text().as_bytes()[20..50]),
        "the secret's text is in the dump"
    );
}
