//! What a recorded packet costs the writer: from the tap's entry to the kernel, in CPU time.
//!
//! Eight participants with 1.5 Mbit/s of picture and their sound, ten seconds of call at once, into
//! real files: framing, ChaCha20-Poly1305, SHA-256, the chain, a signature each second, `write(2)`.
//! `fdatasync` is waiting, not work, and is not what is measured. CPU time of this thread is taken,
//! so that a busy machine does not change the figures much; each is the median of nine runs.
#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use recorder::age::Identity;
use recorder::config::Limits;
use recorder::contents::Contents;
use recorder::digest::Digest;
use recorder::header::{Compliance, Header, Policy, Retention, VERSION};
use recorder::id::RecordingId;
use recorder::journal::disk::{Disk, DiskFile, LocalDisk};
use recorder::journal::writer::{Journal, Tools};
use recorder::keys::files::FileKeys;
use recorder::keys::system_random;
use recorder::recording::scribe::{Origin, Scribe};
use recorder::sign::{NodeKey, SigningKey};
use recorder::wall::Wall;
use sfu::id::{PublicationId, TransportId};
use sfu::media::{Codec, CodecParams, MediaKind, Mid, PublicationParams};
use sfu::tap::{Entry, RtpEntry, TrackStart};
use sfu::transport::params::ExtensionIds;
use sfu::unit::{PayloadType, SeqNo};

const PARTICIPANTS: u64 = 8;
const SECONDS: u64 = 10;
/// 1.5 Mbit/s in packets of 1,030 bytes, and Opus at 20 ms.
const PICTURES_A_SECOND: u64 = 182;
const SOUNDS_A_SECOND: u64 = 50;
const RUNS: usize = 9;
/// What a packet and a call of eight may cost.
const US_MAX: f64 = 2.0;
const SHARE_MAX: f64 = 1.0;

fn main() {
    let folder = std::env::temp_dir().join(format!("consilium-seal-{}", std::process::id()));
    let mut sealing =
        [false, true].map(|syncs| (0..RUNS).map(|_| run(&folder, syncs)).collect::<Vec<_>>());
    let packets = (PARTICIPANTS * SECONDS * (PICTURES_A_SECOND + SOUNDS_A_SECOND)) as f64;
    for (runs, what) in sealing
        .iter_mut()
        .zip(["without fdatasync", "with fdatasync"])
    {
        runs.sort_unstable();
        let median = runs[RUNS / 2].as_secs_f64();
        let (us, share) = (median * 1e6 / packets, median * 100.0 / SECONDS as f64);
        row(
            &format!("seal and write a packet, {what}"),
            us,
            "us",
            US_MAX,
        );
        let call = format!("a call of {PARTICIPANTS} at 1.5 Mbit/s, {what}");
        row(&call, share, "% of a core", SHARE_MAX);
    }
}

/// A row of the table in docs/benchmarks.md: figure, value, bound, whether it is kept.
fn row(figure: &str, value: f64, unit: &str, at_most: f64) {
    let verdict = if value <= at_most { "yes" } else { "no" };
    println!("| {figure} | {value:.2} {unit} | at most {at_most} | {verdict} |");
}

/// The CPU time of ten seconds of call.
fn run(folder: &Path, syncs: bool) -> Duration {
    fs::create_dir_all(folder).expect("temporary files can be made");
    let at = Instant::now();
    let mut scribe = scribe(folder, at, syncs);
    for participant in 0..PARTICIPANTS {
        start(
            &mut scribe,
            PublicationId(2 * participant),
            at,
            MediaKind::Video,
        );
        start(
            &mut scribe,
            PublicationId(2 * participant + 1),
            at,
            MediaKind::Audio,
        );
    }
    let (picture, sound) = (packet(96, 1030), packet(111, 120));
    let before = cpu();
    let mut numbers = (0, 0);
    // A turn takes in what came in 20 ms.
    for turn in 0..SECONDS * 50 {
        let now = at + Duration::from_millis(20 * turn);
        let until = (turn + 1) * PICTURES_A_SECOND / 50;
        while numbers.0 < until {
            numbers.0 += 1;
            push(&mut scribe, 0, numbers.0, now, &picture);
        }
        numbers.1 += 1;
        push(&mut scribe, 1, numbers.1, now, &sound);
        let wall = Wall(20_000 * turn);
        scribe.turn(now, wall);
    }
    let spent = cpu() - before;
    assert!(scribe.take_reports().is_empty(), "nothing failed");
    drop(scribe);
    fs::remove_dir_all(folder).expect("was made above");
    spent
}

fn push(scribe: &mut Scribe, kind: u64, number: u64, at: Instant, bytes: &[u8]) {
    for participant in 0..PARTICIPANTS {
        scribe.entry(&Entry::Rtp(RtpEntry {
            publication: PublicationId(2 * participant + kind),
            rank: 0,
            at,
            seq: SeqNo(65_536 + number),
            is_recovered: false,
            starts_keyframe: false,
            bytes,
        }));
    }
}

fn packet(payload_type: u8, len: usize) -> Vec<u8> {
    let mut bytes = vec![0x55; len];
    bytes[..2].copy_from_slice(&[0x80, payload_type]);
    bytes
}

fn start(scribe: &mut Scribe, publication: PublicationId, at: Instant, kind: MediaKind) {
    let (codec, payload_type, clock_rate) = match kind {
        MediaKind::Video => (Codec::Vp8, 96, 90_000),
        MediaKind::Audio => (Codec::Opus, 111, 48_000),
    };
    scribe.entry(&Entry::TrackStarted(&TrackStart {
        publication,
        transport: TransportId(1),
        at,
        params: PublicationParams {
            kind,
            mid: Mid::from("0").expect("is short"),
            codecs: vec![CodecParams {
                codec,
                payload_type: PayloadType(payload_type),
                rtx_payload_type: None,
                clock_rate,
                h264: None,
            }],
            layers: Vec::new(),
            spatial_layers: Vec::new(),
        },
        extensions: ExtensionIds::default(),
    }));
}

fn scribe(folder: &Path, at: Instant, syncs: bool) -> Scribe {
    let recording = RecordingId::new(Wall(0), [1; 10]);
    let recipient = Identity::generate(&mut system_random).recipient();
    let compliance = Compliance {
        threshold: 1,
        recipients: vec![recipient],
    };
    let node = NodeKey::from_seed(&[1; 32]);
    let header = Header {
        version: VERSION,
        recording,
        node: node.public(),
        recipient,
        room_sid: "RM_bench".into(),
        room_tag: String::new(),
        owner: String::new(),
        policy: Policy::Must,
        started: Wall(0),
        retention: Retention {
            class: "consult-3y".into(),
            until: Wall(0),
        },
        compliance: compliance.clone(),
        release: recipient,
        break_glass: None,
    };
    let release = Identity::generate(&mut system_random);
    let disk: Box<dyn Disk> = match syncs {
        true => Box::new(LocalDisk),
        false => Box::new(Unsynced),
    };
    let tools = Tools {
        disk,
        random: Box::new(system_random),
        keys: Arc::new(FileKeys::new(node, release, compliance, None)),
        key: SigningKey::from_seed(&[2; 32]),
        counters: Arc::default(),
    };
    let limits = Limits::default();
    let first = (0, Digest::ZERO);
    let journal = Journal::new(
        folder.to_owned(),
        recording,
        vec![recipient],
        limits,
        tools,
        first,
    );
    let origin = Origin {
        at,
        us: 0,
        wall: Wall(0),
        is_synchronised: || true,
    };
    let who = (header, "room".into(), 0);
    Scribe::begin(who, limits, journal, Contents::default(), origin).expect("can be begun")
}

/// A disk that writes and does not wait.
#[derive(Debug)]
struct Unsynced;

#[derive(Debug)]
struct UnsyncedFile(Box<dyn DiskFile>);

impl Disk for Unsynced {
    fn create(&mut self, path: &Path) -> std::io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(UnsyncedFile(LocalDisk.create(path)?)))
    }

    fn rename(&mut self, from: &Path, to: &Path) -> std::io::Result<()> {
        LocalDisk.rename(from, to)
    }

    fn remove(&mut self, path: &Path) -> std::io::Result<()> {
        LocalDisk.remove(path)
    }

    fn sync_folder(&mut self, _: &Path) -> std::io::Result<()> {
        Ok(())
    }

    fn replace(&mut self, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
        let beside: PathBuf = path.with_extension("new");
        fs::write(&beside, bytes)?;
        fs::rename(beside, path)
    }
}

impl DiskFile for UnsyncedFile {
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.append(bytes)
    }

    fn sync(&mut self) -> std::io::Result<()> {
        Ok(())
    }

    fn reserve(&mut self, bytes: u64) -> std::io::Result<()> {
        self.0.reserve(bytes)
    }

    fn truncate(&mut self, bytes: u64) -> std::io::Result<()> {
        self.0.truncate(bytes)
    }
}

/// What this thread has worked so far: nanoseconds on a processor, as the kernel counts them.
fn cpu() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux has it");
    let nanos = text.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.expect("begins with a number"))
}
