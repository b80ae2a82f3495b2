//! How fast a recording is verified, and how long one of an hour takes to be salvaged and closed.
//!
//! Both recordings are made by the real writer, on a disk that does not wait for its syncs: what is
//! measured here reads. Prints a row for each figure and fails when one misses its mark.
#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use recorder::age::Identity;
use recorder::config::Limits;
use recorder::digest::Digest;
use recorder::durable;
use recorder::folder::Part;
use recorder::header::{Compliance, Header, Policy, Retention, VERSION, Writer, owner_tag};
use recorder::id::RecordingId;
use recorder::journal::body::SegmentHead;
use recorder::journal::disk::{Disk, DiskFile, LocalDisk};
use recorder::journal::record::{Flags, Kind};
use recorder::journal::writer::{Journal, Tools};
use recorder::keys::files::FileKeys;
use recorder::keys::secret::Secret;
use recorder::keys::system_random;
use recorder::salvage::{Outcome, salvage};
use recorder::sign::{self, NodeKey, SigningKey, sig_file};
use recorder::source::Folder;
use recorder::tlog::Log;
use recorder::verify::{Against, Verdict, verify};
use recorder::wall::Wall;

/// Megabytes a second that verification must reach.
const VERIFY_RATE_MIN: f64 = 500.0;

/// What salvage of an hour may take.
const SALVAGE_MAX: Duration = Duration::from_secs(5);

/// The local disk, without waiting for it.
#[derive(Debug)]
struct Hasty(LocalDisk);

#[derive(Debug)]
struct HastyFile(Box<dyn DiskFile>);

impl Disk for Hasty {
    fn create(&mut self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(HastyFile(self.0.create(path)?)))
    }
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }
    fn sync_folder(&mut self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn replace(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.0.replace(path, bytes)
    }
}

impl DiskFile for HastyFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.append(bytes)
    }
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn reserve(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.0.truncate(bytes)
    }
}

struct Made {
    folder: PathBuf,
    log: Log,
    node: Arc<NodeKey>,
    journal: Journal,
}

fn begin(root: &Path) -> io::Result<Made> {
    let node = Arc::new(NodeKey::from_seed(&[1; 32]));
    let log = Log::open(&root.join("log"), "bench", Arc::clone(&node)).map_err(io::Error::other)?;
    let started = Wall::from(SystemTime::now());
    let recording = RecordingId::new(started, [9; 10]);
    let folder = root.join("recordings").join(recording.to_string());
    durable::make_folders(&folder)?;
    let recipient = Identity::generate(&mut system_random).recipient();
    let compliance = Compliance {
        threshold: 1,
        recipients: vec![recipient],
    };
    let header = Header {
        version: VERSION,
        recording,
        node: node.public(),
        recipient,
        room_sid: "RM_bench".into(),
        room_tag: node.room_tag("devkey", "bench"),
        owner: owner_tag("devkey"),
        policy: Policy::Must,
        started,
        retention: Retention {
            class: "consult-3y".into(),
            until: started.years_later(3),
        },
        compliance: compliance.clone(),
        release: recipient,
        break_glass: None,
    };
    let put = |part: Part, bytes: &[u8]| fs::write(folder.join(part.to_string()), bytes);
    put(Part::Share, b"share")?;
    put(Part::Index, b"index")?;
    let bytes = header.to_bytes();
    put(Part::Header, &bytes)?;
    put(
        Part::HeaderSig,
        &sig_file(sign::Kind::Header, &bytes, node.key()),
    )?;
    let prev = Digest::of(&bytes);
    let key = SigningKey::from_seed(&[2; 32]);
    let writer = Writer {
        version: VERSION,
        recording,
        writer: 0,
        key: key.public(),
        first_segment: 0,
        prev,
        started,
    };
    let bytes = writer.to_bytes();
    put(Part::Writer(0), &bytes)?;
    put(
        Part::WriterSig(0),
        &sig_file(sign::Kind::Writer, &bytes, node.key()),
    )?;
    let release = Identity::new(Secret::filled(|bytes| bytes.fill(3)));
    let keys = FileKeys::new(NodeKey::from_seed(&[1; 32]), release, compliance, None);
    let tools = Tools {
        disk: Box::new(Hasty(LocalDisk)),
        random: Box::new(system_random),
        keys: Arc::new(keys),
        key,
        counters: Arc::default(),
    };
    let journal = Journal::new(
        folder.clone(),
        recording,
        vec![recipient],
        Limits::default(),
        tools,
        (0, prev),
    );
    Ok(Made {
        folder,
        log,
        node,
        journal,
    })
}

/// Writes `seconds` of so many packets each; a new segment every minute. The last stays open.
fn write(journal: &mut Journal, seconds: u64, packets: u64) -> io::Result<()> {
    for second in 0..seconds {
        let now_us = second * 1_000_000;
        if journal.is_open() && journal.is_full(now_us) {
            journal.close(now_us)?;
        }
        if !journal.is_open() {
            let (tracks, participants) = (Vec::new(), Vec::new());
            let segment = journal.next_segment();
            let wall = Wall::from(SystemTime::now());
            journal.open(&SegmentHead {
                segment,
                t0_us: now_us,
                wall,
                ntp_synchronised: true,
                tracks,
                participants,
            })?;
        }
        for packet in 0..packets {
            let at_us = now_us + packet * 1_000_000 / packets;
            journal.append(
                at_us,
                Kind::Rtp,
                Flags::default(),
                1,
                &[packet as u8; 1_100],
            )?;
        }
        journal.flush()?;
    }
    Ok(())
}

/// 500 MB of eight participants at 1.5 Mbit/s.
fn verification(root: &Path) -> io::Result<bool> {
    let mut made = begin(root)?;
    write(&mut made.journal, 320, 1_450)?;
    drop(made.journal);
    let mut rates = Vec::new();
    for _ in 0..5 {
        let begun = Instant::now();
        let report = verify(&Folder(made.folder.clone()), &Against::default())?;
        assert_eq!(report.verdict, Verdict::Open, "{report}");
        rates.push(report.bytes as f64 / 1e6 / begun.elapsed().as_secs_f64());
    }
    rates.sort_by(f64::total_cmp);
    let is_kept = rates[2] >= VERIFY_RATE_MIN;
    row(
        "verify 500 MB, median of 5",
        &format!("{:.0} MB/s", rates[2]),
        &format!("at least {VERIFY_RATE_MIN:.0}"),
        is_kept,
    );
    Ok(is_kept)
}

/// An hour, a flush each second; how much there is in each does not matter to salvage.
fn salvaging(root: &Path) -> io::Result<bool> {
    let mut made = begin(root)?;
    write(&mut made.journal, 3_600, 120)?;
    drop(made.journal);
    let begun = Instant::now();
    let outcome = salvage(
        &made.folder,
        &made.node,
        &mut made.log,
        SystemTime::now(),
        Duration::ZERO,
    );
    let took = begun.elapsed();
    assert!(matches!(outcome, Ok(Outcome::Finished(_))), "{outcome:?}");
    let is_kept = took <= SALVAGE_MAX;
    row(
        "salvage an hour and close it",
        &format!("{:.2} s", took.as_secs_f64()),
        &format!("at most {} s", SALVAGE_MAX.as_secs()),
        is_kept,
    );
    Ok(is_kept)
}

/// A row of the table in docs/benchmarks.md.
fn row(figure: &str, value: &str, bound: &str, is_kept: bool) {
    let verdict = if is_kept { "yes" } else { "no" };
    println!("| {figure} | {value} | {bound} | {verdict} |");
}

fn main() -> io::Result<()> {
    let root = tempfile::tempdir()?;
    let holds = [
        verification(&root.path().join("verify"))?,
        salvaging(&root.path().join("salvage"))?,
    ];
    if holds.contains(&false) {
        return Err(io::Error::other("a figure misses its mark"));
    }
    Ok(())
}
