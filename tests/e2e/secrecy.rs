//! What a thief finds who takes the disk, or the memory, while a consult is recorded: neither what was
//! said nor a key to it.
//!
//! What was said is known afterwards, from the opened recording itself: the payloads of real packets
//! are the patterns that are looked for in what was copied before.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use recorder::age::Identity;
use tests::process::{Process, wait_until};
use tests::server::{self, Build, Server};
use tests::tree;

use crate::opened::{Opened, Packet, new_officer};

/// Said and worn by the people of the call; nowhere else in the world.
const NAMES: [&str; 2] = ["Wei-Xiaolong-7f3a", "Ouyang-Meilin-c21d"];
const CHAT: &str = "the-biopsy-of-bed-14-9e5b";
const ROOM: &str = "oncology-board-58aa";

/// So often the disk is looked at while the call goes on.
const LOOKS: usize = 4;

/// A payload is known by so many of its bytes.
const PATTERN_LEN: usize = 20;

/// Payloads that are looked for at least; a call of ten seconds has some thousands.
const PATTERNS_MIN: usize = 500;

/// Bytes sequences of one length, found at any place of a large file.
struct Patterns {
    all: HashSet<[u8; PATTERN_LEN]>,
    /// Which three bytes any of them begins with.
    begins: Vec<bool>,
}

impl Patterns {
    fn new(all: HashSet<[u8; PATTERN_LEN]>) -> Self {
        let mut begins = vec![false; 1 << 24];
        all.iter().for_each(|it| begins[beginning(it)] = true);
        Self { all, begins }
    }

    /// How many places of `bytes` hold one of them.
    fn count_in(&self, bytes: &[u8]) -> usize {
        let mut count = 0;
        for at in 0..bytes.len().saturating_sub(PATTERN_LEN - 1) {
            if self.begins[beginning(&bytes[at..])] {
                let window: &[u8; PATTERN_LEN] =
                    bytes[at..].first_chunk().expect("it was measured");
                count += usize::from(self.all.contains(window));
            }
        }
        count
    }
}

fn beginning(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) << 16 | usize::from(bytes[1]) << 8 | usize::from(bytes[2])
}

/// Bytes from the middle of a payload, if they could be nothing else.
fn pattern(packet: &Packet) -> Option<[u8; PATTERN_LEN]> {
    let from = packet.bytes.len() / 2;
    let pattern: &[u8; PATTERN_LEN] = packet.bytes.get(from..)?.first_chunk()?;
    let different: HashSet<u8> = pattern.iter().copied().collect();
    (different.len() > PATTERN_LEN / 2).then_some(*pattern)
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    let mut at = 0;
    while let Some(next) = bytes[at..].iter().position(|byte| *byte == wanted[0]) {
        at += next;
        if bytes[at..].starts_with(wanted) {
            return true;
        }
        at += 1;
    }
    false
}

/// Every file below `folder`, with what is in it now.
fn contents(folder: &Path, all: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(folder).expect("the data folder is readable") {
        let path = entry.expect("the data folder is readable").path();
        if path.is_dir() {
            contents(&path, all);
        } else if let Ok(bytes) = fs::read(&path) {
            // One that has got its last name since is seen under that, next time.
            all.push((path, bytes));
        }
    }
}

/// A dump of everything that the kernel and a debugger agree to dump.
fn forced_dump(server: &Server) -> Vec<u8> {
    let folder = tree::scratch("dump");
    let dumped = Command::new("gcore")
        .arg("-o")
        .arg(folder.join("core"))
        .arg(server.id().to_string())
        .output()
        .expect("gdb is installed: run deploy/setup.sh");
    let path = folder.join(format!("core.{}", server.id()));
    let dump = fs::read(&path).unwrap_or_else(|error| panic!("{error}: {dumped:?}"));
    // It is large.
    fs::remove_file(&path).expect("it was written a moment ago");
    dump
}

/// The memory in a dump: everything but the notes, in which the registers of every thread are. What
/// a thread has copied last stands in its vector registers until it copies something else: a packet
/// at most, for each.
fn memory(dump: &[u8]) -> impl Iterator<Item = &[u8]> {
    const LOAD: u64 = 1;
    let number = |at: usize, len: usize| {
        let bytes = dump[at..at + len].iter().rev();
        bytes.fold(0, |sum, &byte| sum << 8 | u64::from(byte))
    };
    // ELF, 64 bits: where the program headers are, how long each is, how many there are.
    assert!(dump.starts_with(b"\x7fELF\x02\x01"), "this is no dump");
    let (first, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    let headers = (0..count).map(move |header| (first + header * size) as usize);
    headers
        .filter(move |at| number(*at, 4) == LOAD)
        .map(move |at| {
            let (from, len) = (number(at + 8, 8) as usize, number(at + 32, 8) as usize);
            &dump[from..from + len]
        })
}

/// Two people who call and write to each other, all in a process of their own.
fn call(server: &Server) -> Process {
    Process::spawn(
        "secret-call",
        Command::new("node")
            .arg("secret-call.mjs")
            .env("LIVEKIT_URL", server.websocket_url())
            .env("ROOM", ROOM)
            .env("NAMES", NAMES.join(" "))
            .env("CHAT", CHAT)
            .current_dir(tree::clients()),
    )
}

fn recordings(data: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(data.join("recordings")).expect("the data folder is readable");
    entries.map(|it| it.expect("readable").path()).collect()
}

/// How many people the recording has heard so far.
fn speakers(data: &Path, officer: &Identity) -> usize {
    let recordings = recordings(data);
    let begun = recordings
        .first()
        .filter(|it| it.join("seg-000000.chain").exists());
    begun.map_or(0, |it| Opened::of(data, it, officer).heard_since(0).len())
}

#[test]
fn neither_disk_nor_forced_core_dump_holds_what_was_said() {
    let (folder, officer) = (tree::scratch("secrecy"), new_officer());
    let data = folder.join("data");
    let more = format!(
        "[recording]\npolicy = \"must\"\n[recording.keys]\ncompliance = [\"{}\"]\n\
         [recording.limits]\nfree_percent_min = 0\n",
        officer.recipient()
    );
    let server = Server::start(Build::Release, &server::config(&folder, 2, &more));
    let mut call = call(&server);
    call.expect_line(Duration::from_secs(60), |line| (line == "in").then_some(()));
    let both = wait_until(Duration::from_secs(30), || {
        (speakers(&data, &officer) == 2).then_some(())
    });
    assert!(both.is_some(), "both are recorded:\n{}", server.said());
    let mut seen = Vec::new();
    for _ in 0..LOOKS {
        std::thread::sleep(Duration::from_millis(2_300));
        contents(&data, &mut seen);
    }
    let dump = forced_dump(&server);
    contents(&data, &mut seen);
    call.tell("leave");
    call.expect_end(Duration::from_secs(30));
    let is_closed = wait_until(Duration::from_secs(30), || {
        let metrics = server.metrics();
        (metrics.sum("consilium_recordings_closed_total") == 1.0).then_some(())
    });
    assert!(is_closed.is_some(), "{}", server.said());
    contents(&data, &mut seen);
    let said = server.stop();
    contents(&data, &mut seen);

    let recordings = recordings(&data);
    assert_eq!(recordings.len(), 1, "{recordings:?}");
    let opened = Opened::of(&data, &recordings[0], &officer);
    assert!(opened.assert_decodes() > 500, "it was a call");
    let (_, packets) = opened.contents();
    let patterns: HashSet<_> = packets.iter().filter_map(pattern).collect();
    assert!(patterns.len() > PATTERNS_MIN, "{} patterns", patterns.len());
    let patterns = Patterns::new(patterns);
    let plain: Vec<u8> = packets.iter().flat_map(|it| it.bytes.clone()).collect();
    assert!(
        patterns.count_in(&plain) > PATTERNS_MIN,
        "what is looked for would be found"
    );

    let secrets = [
        ("the recording's secret", opened.identity.secret().bytes()),
        ("the officers' share", opened.officers.value.bytes()),
        ("the release share", opened.released.value.bytes()),
    ];
    let text = opened.identity.to_text();
    for (path, bytes) in &seen {
        let path = path.display();
        assert_eq!(patterns.count_in(bytes), 0, "payload in {path}");
        // Requests to record are listed by their rooms, also after a restart: that list alone knows
        // a room by its name.
        let is_list = path.to_string().contains("/consilium.db");
        let room = (!is_list).then_some(&ROOM);
        for word in NAMES.iter().chain([&CHAT]).chain(room) {
            assert!(!holds(bytes, word.as_bytes()), "{word} in {path}");
        }
        for (what, secret) in &secrets {
            assert!(!holds(bytes, &secret[..]), "{what} in {path}");
        }
        assert!(
            !holds(bytes, text.as_bytes()),
            "the secret's text in {path}"
        );
    }
    for word in NAMES.iter().chain([&CHAT, &ROOM]) {
        assert!(!said.contains(word), "{word} was logged");
    }

    // Names are in the memory of a server on which their owners are; that it is its memory is seen
    // by them.
    assert!(holds(&dump, NAMES[0].as_bytes()), "this is no dump of it");
    let found: usize = memory(&dump).map(|part| patterns.count_in(part)).sum();
    assert_eq!(found, 0, "payload in the dump");
    for (what, secret) in &secrets {
        // Neither whole nor in part.
        for part in [&secret[..], &secret[..16], &secret[16..]] {
            assert!(!holds(&dump, part), "{what} in the dump");
        }
    }
    assert!(
        !holds(&dump, &text.as_bytes()[20..50]),
        "the secret's text in the dump"
    );
    println!(
        "{} payloads in none of {} files, nor in a dump of {} MB",
        patterns.all.len(),
        seen.len(),
        dump.len() >> 20
    );
}
