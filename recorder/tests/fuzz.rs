//! Every fuzz function of the recorder over the committed vectors, over mutations of them and over
//! noise, with a committed seed. `make fuzz` gives another seed and runs more inputs.

use std::fs;
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use recorder::age;
use recorder::fuzz::{TARGETS, Target};
use recorder::id::RecordingId;
use recorder::journal::fuzz as journal;
use recorder::journal::record::{Flags, Kind, Record};
use recorder::keys::secret::Secret;
use recorder::keys::share::{Half, Share};
use recorder::keys::system_random;
use recorder::wall::Wall;

/// Inputs for each parser in an ordinary test run, and under `make fuzz`.
const INPUTS: usize = 10_000;
const INPUTS_LONG: usize = 100_000;

/// Bytes of an input at most: what matters of a longer file is at its beginning, and inputs are many.
const INPUT_BYTES_MAX: usize = 4_096;

/// The committed seed and number of inputs, or those of `make fuzz`.
fn seed() -> (u64, usize) {
    match std::env::var("FUZZ_SEED") {
        Ok(seed) => (seed.parse().expect("a number"), INPUTS_LONG),
        Err(_) => (0x5eed_0003, INPUTS),
    }
}

/// Every file of the vectors whose name `is` of the right kind.
fn vectors(is: fn(&str) -> bool) -> Vec<Vec<u8>> {
    fn gather(folder: &Path, all: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("the vectors are part of the tree") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                gather(&path, all);
            } else {
                all.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let mut paths = Vec::new();
    gather(&root, &mut paths);
    paths.sort();
    let name = |path: &PathBuf| {
        let path = path.strip_prefix(&root).expect("lies there");
        path.to_string_lossy().into_owned()
    };
    let fits = paths.into_iter().filter(|path| is(&name(path)));
    fits.map(|path| fs::read(path).expect("readable")).collect()
}

fn written(all: &[&str]) -> Vec<Vec<u8>> {
    all.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn recording() -> RecordingId {
    RecordingId::new(Wall::from_millis(1), [1; 10])
}

fn records() -> Vec<u8> {
    let mut records = Vec::new();
    for (kind, body) in [
        (Kind::SegmentHead, &br#"{"segment":0,"t0_us":0,"wall":"2026-11-22T02:00:00Z","ntp_synchronised":true,"tracks":[],"participants":[]}"#[..]),
        (Kind::Rtp, b"\x80\x60\x00\x01packet"),
        (Kind::SenderReport, &[7; 12]),
        (Kind::Padding, &[0; 40]),
    ] {
        Record { kind, flags: Flags(1), track: 1, time_us: 5, body }.encode(&mut records);
    }
    records
}

fn sealed() -> Vec<u8> {
    age::seal(
        &records(),
        &[journal::identity().recipient()],
        &mut system_random,
    )
    .expect("sealed to a point")
}

fn shares() -> Vec<Vec<u8>> {
    let share = |half, index, threshold| Share {
        recording: recording(),
        half,
        index,
        threshold,
        value: Secret::filled(|bytes| bytes.fill(3)),
    };
    let all = [share(Half::Compliance, 1, 2), share(Half::Release, 1, 1)];
    all.iter().map(|share| share.to_json().to_vec()).collect()
}

/// A format's number and then packets, each behind its length.
fn packets(format: u8, payload_type: u8, payloads: &[&[u8]]) -> Vec<u8> {
    let mut input = vec![format];
    for (at, payload) in payloads.iter().enumerate() {
        let last = at + 1 == payloads.len();
        let marker = if last { 0x80 } else { 0 };
        let head = [
            0x80,
            payload_type | marker,
            0,
            at as u8,
            0,
            0,
            0,
            9,
            1,
            2,
            3,
            4,
        ];
        input.push((head.len() + payload.len()) as u8);
        input.extend_from_slice(&head);
        input.extend_from_slice(payload);
    }
    input
}

/// What a parser begins with.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    match name {
        "manifest" => vectors(|name| name.ends_with("manifest.json")),
        "note" => vectors(|name| name.ends_with("checkpoint") || name.ends_with(".proof")),
        "proof" => vectors(|name| name.ends_with(".proof")),
        "audit_line" => written(&[
            r#"{"seq":0,"at":"2026-11-22T00:30:00.000Z","actor":"a","action":"b","recording":null,"outcome":"done","reason":null,"detail":{"x":[1]},"prev":"0000000000000000000000000000000000000000000000000000000000000000"}"#,
        ]),
        "chain" => vectors(|name| name.ends_with(".chain")),
        "log" => {
            let mut all = vectors(|name| name.contains("tile/"));
            all.extend(written(&["tile/0/x001/000.p/12", "tile/entries/000"]));
            all
        }
        "stored" => written(&[
            "<?xml version=\"1.0\"?><A xmlns=\"x\"><Mode>COMPLIANCE</Mode><Days> 3 </Days></A>",
            "<Retention><Mode>COMPLIANCE</Mode><RetainUntilDate>2029-11-22T00:00:00Z</RetainUntilDate></Retention>",
            "<LegalHold><Status>ON</Status></LegalHold>",
            r#"{"stored":{"seg-000000.age":{"bytes":1,"sha256":"00","version":"v","retained_until":null,"is_held":false}}}"#,
        ]),
        "depacketizer" => vec![
            packets(0, 111, &[&[0xf8, 0xff, 0xfe]]),
            packets(
                1,
                63,
                &[&[0x80 | 111, 0, 0, 3, 111, 0xf8, 0xff, 0xfe, 0xf8, 0xff, 0xfe]],
            ),
            packets(
                2,
                96,
                &[
                    &[
                        0x90, 0x80, 1, 0x50, 0x44, 0, 0x9d, 1, 0x2a, 0x80, 2, 0xe0, 1,
                    ],
                    &[0x80, 0x80, 1, 7, 7],
                ],
            ),
            packets(
                3,
                97,
                &[
                    &[0x67, 0x42, 0xc0, 0x1f, 0xda, 2, 0x80, 0x2d],
                    &[0x78, 0, 2, 0x68, 0xce, 0, 2, 0x06, 5],
                    &[0x7c, 0x85, 1, 2],
                    &[0x7c, 0x45, 3, 4],
                ],
            ),
            packets(
                4,
                98,
                &[
                    &[
                        0xbe, 0x80, 1, 0x10, 0x30, 0, 0xf0, 0, 0x87, 1, 0xe0, 1,
                        0x0e, // sizes
                        0x83, 0x49, 0x83, 0x42, 0, 0x0e, 0xf0, 8, 0x78, 0x0e, 0xf8, 8, 0x68, 0xa8,
                        0xe0, 0x90, 0x70, 0x64, 0xc0, 0, 3, 0x40, 0x5f,
                    ],
                    &[0xb8, 0x80, 1, 0x13, 0x87, 2, 2, 0, 3, 0xbe, 1, 0x0e, 0],
                    &[0xb4, 0x80, 1, 0x13, 7],
                ],
            ),
            packets(
                5,
                45,
                &[
                    &[
                        0x68, 0x0b, 8, 0, 0, 0, 0x42, 0xa7, 0xbf, 0xe6, 0x2e, 0xdf, 0xc8, 0x30, 1,
                    ],
                    &[0xd0, 2, 3],
                    &[0x80, 1, 3, 2, 0x28, 7],
                ],
            ),
        ],
        "record" => vec![records()],
        "age_header" => {
            let mut all = vectors(|name| name.ends_with(".age"));
            all.push(sealed());
            all
        }
        "segment" => vec![sealed()],
        "header_json" => vectors(|name| {
            name.ends_with("header.json")
                || name.ends_with("summary.json")
                || name.contains("writer-") && name.ends_with(".json")
        }),
        "bodies" => written(&[
            r#"{"segment":0,"t0_us":0,"wall":"2026-11-22T02:00:00Z","ntp_synchronised":true,"tracks":[],"participants":[]}"#,
            r#"{"type":"participant_joined","at":"2026-11-22T02:00:00Z","participant":1}"#,
            r#"{"type":"layer","at":"2026-11-22T02:00:00Z","track":1,"width":640,"height":480,"ssrc":7}"#,
            r#"{"from_us":1,"until_us":2,"reason":"disk","packets":{"1":3}}"#,
            r#"{"stored":{"1":4},"keyframes":[[1,2,3]]}"#,
        ]),
        "share" => shares(),
        "texts" => {
            let mut all = written(&[
                "seg-000001.age",
                "writer-000000.sig",
                "2026-11-22T02:00:00.123Z",
            ]);
            all.push(recording().to_string().into_bytes());
            all.push(journal::identity().recipient().to_string().into_bytes());
            all.push(journal::identity().to_text().as_bytes().to_vec());
            all
        }
        other => panic!("{other} has no corpus"),
    }
}

fn mutate(random: &mut StdRng, input: &mut Vec<u8>) {
    for _ in 0..random.random_range(1..6) {
        let at = random.random_range(0..=input.len());
        match random.random_range(0..6) {
            0 => input.truncate(at),
            1 => input.insert(at, random.random()),
            2 if at < input.len() => drop(input.remove(at)),
            3 if at < input.len() => {
                input[at] = [0, 1, 0x7f, 0x80, 0xff][random.random_range(0..5)];
            }
            4 if at < input.len() => {
                let end = (at + random.random_range(1..64)).min(input.len());
                let piece = input[at..end].to_vec();
                input.splice(at..at, piece);
            }
            _ if at < input.len() => input[at] ^= 1 << random.random_range(0..8),
            _ => {}
        }
    }
}

fn run(name: &str, target: Target) {
    let corpus = corpus(name);
    assert!(!corpus.is_empty(), "{name} has nothing to begin with");
    corpus.iter().for_each(|input| target(input));
    let (seed, inputs) = seed();
    let mut random = StdRng::seed_from_u64(seed);
    for at in 0..inputs {
        let input: Vec<u8> = if at % 8 == 0 {
            let len = random.random_range(0..200);
            (0..len).map(|_| random.random()).collect()
        } else {
            let chosen = &corpus[random.random_range(0..corpus.len())];
            let mut input = chosen[..chosen.len().min(INPUT_BYTES_MAX)].to_vec();
            mutate(&mut random, &mut input);
            input
        };
        // Say which input it was, so that it can be kept.
        let outcome = std::panic::catch_unwind(|| target(&input));
        assert!(outcome.is_ok(), "{name}, input {at}: {input:02x?}");
    }
}

macro_rules! targets {
    ($($name:ident,)*) => {
        const NAMED: &[&str] = &[$(stringify!($name),)*];
        $(
            #[test]
            fn $name() {
                let name = stringify!($name);
                let (_, target) = TARGETS
                    .iter()
                    .chain(journal::TARGETS)
                    .find(|(target, _)| *target == name)
                    .expect("a function of this name");
                run(name, *target);
            }
        )*
    };
}

// One test each, so that they share the cores and a failure says where it is.
targets! {
    manifest,
    note,
    proof,
    audit_line,
    chain,
    log,
    stored,
    depacketizer,
    record,
    age_header,
    segment,
    header_json,
    bodies,
    share,
    texts,
}

#[test]
fn no_function_is_left_out() {
    for (name, _) in TARGETS.iter().chain(journal::TARGETS) {
        assert!(NAMED.contains(name), "{name} is not run");
    }
}
