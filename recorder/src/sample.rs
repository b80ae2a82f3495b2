//! Recordings for tests, made by the real writer of segments: closed, resumed, salvaged, torn.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::age::Identity;
use crate::config::Limits;
use crate::contents::{Contents, OpenSummary, ParticipantEntry, TrackEntry};
use crate::digest::Digest;
use crate::durable;
use crate::folder::Part;
use crate::header::{Compliance, Header, Policy, Retention, VERSION, Writer, owner_tag, to_json};
use crate::id::RecordingId;
use crate::journal::body::{MediaKind, SegmentHead, Source};
use crate::journal::disk::LocalDisk;
use crate::journal::record::{Flags, Kind};
use crate::journal::writer::{Journal, Tools};
use crate::keys::files::FileKeys;
use crate::keys::secret::Secret;
use crate::manifest::{self, Manifest};
use crate::recording::Closing;
use crate::salvage::{Outcome, Standing, salvage};
use crate::sign::{self, NodeKey, SigningKey, sig_file};
use crate::tlog::Log;
use crate::wall::Wall;

const NODE_SEED: [u8; 32] = [1; 32];

/// An archive with one recording.
pub(crate) struct Sample {
    pub(crate) root: tempfile::TempDir,
    pub(crate) folder: PathBuf,
    pub(crate) key: Arc<NodeKey>,
    pub(crate) log: Log,
    pub(crate) header: Header,
    journal: Option<Journal>,
    now_us: u64,
    random: u64,
}

impl Sample {
    /// A recording whose first segment is open and empty.
    pub(crate) fn begin() -> Self {
        let root = tempfile::tempdir().expect("a folder");
        let key = Arc::new(NodeKey::from_seed(&NODE_SEED));
        let log = Log::open(&root.path().join("log"), "test", Arc::clone(&key)).expect("a log");
        let started = Wall::from_millis(1_795_312_800_000);
        let recording = RecordingId::new(started, [9; 10]);
        let folder = root.path().join("recordings").join(recording.to_string());
        let recipient = Identity::new(Secret::filled(|bytes| bytes.fill(1))).recipient();
        let retention = Retention {
            class: "consult-3y".into(),
            until: started.years_later(3),
        };
        let header = Header {
            version: VERSION,
            recording,
            node: key.public(),
            recipient,
            room_sid: "RM_sample".into(),
            room_tag: key.room_tag("devkey", "room"),
            owner: owner_tag("devkey"),
            policy: Policy::Must,
            started,
            retention,
            compliance: Compliance {
                threshold: 1,
                recipients: vec![recipient],
            },
            release: recipient,
            break_glass: None,
        };
        let mut sample = Self {
            root,
            folder,
            key,
            log,
            header,
            journal: None,
            now_us: 0,
            random: 42,
        };
        durable::make_folders(&sample.folder).expect("a folder");
        sample.put(Part::Share, b"a sealed share");
        sample.put(Part::Index, b"a sealed index");
        let bytes = sample.header.to_bytes();
        sample.put(Part::Header, &bytes);
        let sig = sig_file(sign::Kind::Header, &bytes, sample.key.key());
        sample.put(Part::HeaderSig, &sig);
        sample.go_on(0, 0, Digest::of(&bytes));
        sample
    }

    /// Two segments, and the second is open: flushed four times, and not since the last packets.
    pub(crate) fn open() -> Self {
        let mut sample = Self::begin();
        sample.seconds(2);
        sample.roll();
        sample.seconds(4);
        sample.packets(100);
        sample
    }

    /// Closed by its writer.
    pub(crate) fn complete() -> Self {
        let mut sample = Self::open();
        sample.close();
        sample
    }

    /// Killed in its second segment, gone on with by another writer, closed.
    pub(crate) fn resumed() -> Self {
        let mut sample = Self::open();
        sample.kill();
        let standing = sample.salvage(Duration::MAX);
        let Outcome::Open(standing) = standing else {
            panic!("stays open: {standing:?}");
        };
        sample.resume(&standing);
        sample.seconds(2);
        sample.close();
        sample
    }

    pub(crate) fn put(&self, part: Part, bytes: &[u8]) {
        fs::write(self.path(part), bytes).expect("is written");
    }

    pub(crate) fn path(&self, part: Part) -> PathBuf {
        self.folder.join(part.to_string())
    }

    /// A writer with a key of his own goes on.
    fn go_on(&mut self, writer: u32, first_segment: u32, prev: Digest) {
        let key = SigningKey::from_seed(&[100 + writer as u8; 32]);
        let certificate = Writer {
            version: VERSION,
            recording: self.header.recording,
            writer,
            key: key.public(),
            first_segment,
            prev,
            started: self.header.started,
        };
        let bytes = certificate.to_bytes();
        self.put(Part::Writer(writer), &bytes);
        self.put(
            Part::WriterSig(writer),
            &sig_file(sign::Kind::Writer, &bytes, self.key.key()),
        );
        let (node, release) = (
            NodeKey::from_seed(&NODE_SEED),
            Identity::new(Secret::filled(|bytes| bytes.fill(2))),
        );
        let keys = FileKeys::new(node, release, self.header.compliance.clone(), None);
        let mut count = u64::from(writer) << 32;
        let random = move |bytes: &mut [u8]| {
            for byte in bytes {
                count = count
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                *byte = (count >> 33) as u8;
            }
        };
        let tools = Tools {
            disk: Box::new(LocalDisk),
            random: Box::new(random),
            keys: Arc::new(keys),
            key,
            counters: Arc::default(),
        };
        let (id, recipients) = (self.header.recording, vec![self.header.recipient]);
        let limits = Limits {
            segment_bytes_max: 8 << 20,
            ..Limits::default()
        };
        self.journal = Some(Journal::new(
            self.folder.clone(),
            id,
            recipients,
            limits,
            tools,
            (first_segment, prev),
        ));
        self.open_segment();
    }

    pub(crate) fn resume(&mut self, standing: &Standing) {
        self.now_us = self.now_us.max(standing.durable_us) + 2_000_000;
        self.go_on(standing.writer, standing.segment, standing.prev);
    }

    fn journal(&mut self) -> &mut Journal {
        self.journal.as_mut().expect("the writer lives")
    }

    fn open_segment(&mut self) {
        let segment = self.journal().next_segment();
        let wall = self
            .header
            .started
            .after(Duration::from_micros(self.now_us));
        let head = SegmentHead {
            segment,
            t0_us: self.now_us,
            wall,
            ntp_synchronised: true,
            tracks: Vec::new(),
            participants: Vec::new(),
        };
        self.journal().open(&head).expect("a segment");
    }

    /// A record of the test's own.
    pub(crate) fn record(
        &mut self,
        now_us: u64,
        kind: Kind,
        flags: Flags,
        track: u16,
        body: &[u8],
    ) {
        self.now_us = self.now_us.max(now_us);
        self.journal()
            .append(now_us, kind, flags, track, body)
            .expect("is written");
    }

    /// What was recorded so far is on the disk.
    pub(crate) fn flush(&mut self) {
        self.journal().flush().expect("is flushed");
    }

    /// The next segment.
    pub(crate) fn roll(&mut self) {
        let now = self.now_us;
        self.journal().close(now).expect("is closed");
        self.open_segment();
    }

    /// Seconds of packets, each flushed: two or three chunks.
    pub(crate) fn seconds(&mut self, seconds: u32) {
        for _ in 0..seconds {
            self.packets(130);
            self.journal().flush().expect("is flushed");
            let summary = OpenSummary {
                version: VERSION,
                recording: self.header.recording,
                duration_us: self.now_us,
                contents: contents(self.now_us),
            };
            self.put(Part::Summary, &to_json(&summary));
        }
    }

    pub(crate) fn packets(&mut self, count: u32) {
        for _ in 0..count {
            self.now_us += 7_000;
            self.random = self
                .random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let (now, fill) = (self.now_us, (self.random >> 40) as u8);
            self.journal()
                .append(now, Kind::Rtp, Flags::default(), 1, &[fill; 1_100])
                .expect("is written");
        }
    }

    pub(crate) fn close(&mut self) -> Manifest {
        let now = self.now_us;
        self.journal().close(now).expect("is closed");
        self.journal().give_up_spare().expect("is given up");
        self.journal = None;
        manifest::close(&self.closing(), true, &self.key, &mut self.log).expect("is closed")
    }

    pub(crate) fn closing(&self) -> Closing {
        Closing {
            recording: self.header.recording,
            folder: self.folder.clone(),
            reason: "the room ended".into(),
            closed: self
                .header
                .started
                .after(Duration::from_micros(self.now_us)),
            duration_us: self.now_us,
            contents: contents(self.now_us),
        }
    }

    /// The writer is gone without a word.
    pub(crate) fn kill(&mut self) {
        self.journal = None;
    }

    pub(crate) fn salvage(&mut self, grace: Duration) -> Outcome {
        salvage(
            &self.folder,
            &self.key,
            &mut self.log,
            SystemTime::now(),
            grace,
        )
        .expect("is salvaged")
    }

    /// Every file of the recording.
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        files_of(&self.folder)
    }

    /// The name of the folder.
    pub(crate) fn name(&self) -> String {
        self.header.recording.to_string()
    }
}

pub(crate) fn files_of(folder: &std::path::Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("is listed").path());
    let files = entries.filter(|path| path.is_file());
    files
        .map(|path| {
            (
                path.file_name()
                    .expect("a name")
                    .to_string_lossy()
                    .into_owned(),
                fs::read(&path).expect("is read"),
            )
        })
        .collect()
}

fn contents(until_us: u64) -> Contents {
    let track = TrackEntry {
        track: 1,
        participant: 1,
        kind: MediaKind::Video,
        source: Source::Camera,
        mime: "video/VP8".into(),
        clock_rate: 90_000,
        red_payload_type: None,
        from_us: 7_000,
        until_us,
        expected: until_us / 7_000,
        stored: until_us / 7_000,
        lost: 0,
    };
    let participant = ParticipantEntry {
        participant: 1,
        joined_us: 0,
        left_us: None,
        consent: Vec::new(),
    };
    Contents {
        participants: vec![participant],
        tracks: vec![track],
        ..Contents::default()
    }
}
