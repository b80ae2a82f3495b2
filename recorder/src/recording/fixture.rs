//! A recording in the hands of a test: fixed keys, fixed time, packets out of numbers.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use sfu::config::Limits as SfuLimits;
use sfu::id::{PublicationId, TransportId};
use sfu::media::{Codec, CodecParams, MediaKind, Mid, PublicationParams};
use sfu::tap::{
    EndReason, Entry, LayerChange, PictureSize, ReportEntry, RtpEntry, TapMemory, TrackEnd,
    TrackStart,
};
use sfu::transport::params::ExtensionIds;
use sfu::unit::{NtpTime, PayloadType, SeqNo};

use super::fact::{Fact, Published};
use super::scribe::{Ended, Origin, Scribe};
use super::{LaidDown, Start, Surroundings, lay_down, writer_key};
use crate::age::{self, Identity};
use crate::config::Limits;
use crate::contents::Gap;
use crate::digest::Digest;
use crate::folder::Part;
use crate::header::{Compliance, Header, Policy, Retention};
use crate::id::RecordingId;
use crate::journal::body::{ConsentState, Source};
use crate::journal::chain::{self, Chain, Entry as Link, Seal};
use crate::journal::disk::{Disk, LocalDisk};
use crate::journal::reader::{End, SegmentReader};
use crate::journal::record::{Flags, Kind};
use crate::journal::writer::Tools;
use crate::keys::files::FileKeys;
use crate::keys::secret::Secret;
use crate::keys::share::{Half, Share};
use crate::keys::split::{open_officers_share, reunite};
use crate::keys::{KeyProvider, Random};
use crate::sign::NodeKey;
use crate::wall::Wall;

pub(super) const CAMERA: PublicationId = PublicationId(7);
pub(super) const MICROPHONE: PublicationId = PublicationId(8);
/// Stands in every payload: found in a file, it betrays a recording in the clear.
pub(super) const PATTERN: &[u8] = b"PLAINTEXT OF A CONSULT";

/// Bytes that look random and are the same every time.
pub(super) fn fixed_random(seed: u8) -> Box<Random<'static>> {
    let mut counter = 0_u64;
    Box::new(move |bytes: &mut [u8]| {
        for chunk in bytes.chunks_mut(32) {
            counter += 1;
            let block = Digest::of_parts(&[b"not random", &[seed], &counter.to_le_bytes()]);
            chunk.copy_from_slice(&block.0[..chunk.len()]);
        }
    })
}

/// Somebody whose key is the same every time.
pub(super) fn identity(number: u8) -> Identity {
    Identity::new(Secret::filled(|bytes| fixed_random(number)(bytes)))
}

/// Keys of so many officers, of whom `threshold` are needed.
pub(super) fn keys(threshold: u8, officers: u8) -> Arc<FileKeys> {
    let recipients = (1..=officers).map(|number| identity(100 + number).recipient());
    Arc::new(FileKeys::new(
        NodeKey::from_seed(&[42; 32]),
        identity(200),
        Compliance {
            threshold,
            recipients: recipients.collect(),
        },
        None,
    ))
}

/// A scribe at work and all that belongs to it.
pub(super) struct Desk {
    pub(super) scribe: Scribe,
    pub(super) folder: PathBuf,
    pub(super) release: Vec<u8>,
    pub(super) keys: Arc<FileKeys>,
    pub(super) origin: Origin,
    sequence: BTreeMap<PublicationId, u64>,
}

/// What a desk is set up with.
pub(super) struct Plan {
    pub(super) seed: u8,
    pub(super) keys: Arc<FileKeys>,
    pub(super) limits: Limits,
    pub(super) disk: Box<dyn Disk>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            seed: 1,
            keys: keys(1, 1),
            limits: Limits::default(),
            disk: Box::new(LocalDisk),
        }
    }
}

pub(super) const STARTED: Wall = Wall::from_millis(1_795_312_800_000);

pub(super) fn start(recordings: &Path, seed: u8) -> Start {
    Start {
        recording: RecordingId::new(STARTED, [seed; 10]),
        recordings: recordings.to_owned(),
        room_name: "ward 7".into(),
        room_sid: "RM_vector".into(),
        owner: "devkey".into(),
        policy: Policy::Must,
        retention: Retention {
            class: "consult-3y".into(),
            until: STARTED.years_later(3),
        },
        started: STARTED,
    }
}

pub(super) fn surroundings(
    keys: Arc<FileKeys>,
    limits: Limits,
    disk: Box<dyn Disk>,
) -> Surroundings {
    let memory = TapMemory::new(&SfuLimits::default()).recording();
    let mut around = Surroundings::new(keys, Arc::new(SystemTime::now), limits, memory);
    around.disk = disk;
    around
}

fn origin(us: u64) -> Origin {
    Origin {
        at: Instant::now(),
        us,
        wall: STARTED.after(Duration::from_micros(us)),
        is_synchronised: || true,
    }
}

impl Desk {
    /// Begins a recording in `recordings`.
    pub(super) fn begin(recordings: &Path, plan: Plan) -> io::Result<Self> {
        let mut release = Vec::new();
        let mut around = surroundings(Arc::clone(&plan.keys), plan.limits, plan.disk);
        around.random = fixed_random(plan.seed);
        let mut keep = |sealed: &[u8]| {
            release = sealed.to_vec();
            Ok(())
        };
        let laid = lay_down(start(recordings, plan.seed), &mut around, &mut keep)
            .expect("the folder can be laid down");
        Self::at(laid, around, plan.keys, release, origin(0))
    }

    /// Goes on with a salvaged recording.
    pub(super) fn resume(
        laid: LaidDown,
        plan: Plan,
        release: Vec<u8>,
        at_us: u64,
    ) -> io::Result<Self> {
        let mut around = surroundings(Arc::clone(&plan.keys), plan.limits, plan.disk);
        around.random = fixed_random(plan.seed);
        Self::at(laid, around, plan.keys, release, origin(at_us))
    }

    fn at(
        laid: LaidDown,
        mut around: Surroundings,
        keys: Arc<FileKeys>,
        release: Vec<u8>,
        origin: Origin,
    ) -> io::Result<Self> {
        let folder = laid.folder.clone();
        let key = writer_key(&laid, origin.wall, &mut around).expect("can be laid down");
        let tools = Tools {
            disk: around.disk,
            random: around.random,
            keys: Arc::clone(&keys) as Arc<dyn KeyProvider>,
            key,
            counters: Arc::default(),
        };
        let scribe = laid.into_scribe(around.limits, tools, origin)?;
        Ok(Self {
            scribe,
            folder,
            release,
            keys,
            origin,
            sequence: BTreeMap::new(),
        })
    }

    /// So many milliseconds after the origin.
    pub(super) fn at_ms(&self, millis: u64) -> Instant {
        self.origin.at + Duration::from_millis(millis)
    }

    pub(super) fn tell(&mut self, millis: u64, fact: Fact) {
        let at = self.at_ms(millis);
        self.scribe.fact(at, fact, None);
    }

    /// A doctor with a camera and a microphone comes.
    pub(super) fn enter(&mut self, millis: u64, sid: &str) {
        let participant = sid.to_owned();
        self.tell(
            millis,
            Fact::Joined {
                participant: participant.clone(),
                identity: "doctor-wang".into(),
                name: "王医生".into(),
            },
        );
        let state = ConsentState::Granted;
        self.tell(millis, Fact::Consent { participant, state });
        for (publication, source, track) in [
            (CAMERA, Source::Camera, "TR_camera"),
            (MICROPHONE, Source::Microphone, "TR_microphone"),
        ] {
            let published = Published {
                publication,
                participant: sid.into(),
                track: track.into(),
                source,
                name: track[3..].into(),
                is_encrypted: false,
            };
            self.tell(millis, Fact::Published(Box::new(published)));
            self.start_track(millis, publication);
        }
    }

    pub(super) fn start_track(&mut self, millis: u64, publication: PublicationId) {
        let at = self.at_ms(millis);
        let codec = |codec, payload_type, clock_rate| CodecParams {
            codec,
            payload_type: PayloadType(payload_type),
            rtx_payload_type: None,
            clock_rate,
            h264: None,
        };
        let (kind, codecs) = match publication {
            CAMERA => (MediaKind::Video, vec![codec(Codec::Vp8, 96, 90_000)]),
            _ => {
                let codecs = vec![
                    codec(Codec::Red, 63, 48_000),
                    codec(Codec::Opus, 111, 48_000),
                ];
                (MediaKind::Audio, codecs)
            }
        };
        let start = TrackStart {
            publication,
            transport: TransportId(1),
            at,
            params: PublicationParams {
                kind,
                mid: Mid::from("0").expect("is short"),
                codecs,
                layers: Vec::new(),
                spatial_layers: Vec::new(),
            },
            extensions: ExtensionIds {
                audio_level: Some(1),
                ..ExtensionIds::default()
            },
        };
        self.scribe.entry(&Entry::TrackStarted(&start));
        let change = LayerChange {
            publication,
            at,
            rank: Some(0),
            size: PictureSize {
                width: 640,
                height: 360,
            },
        };
        self.scribe.entry(&Entry::LayerChanged(&change));
    }

    pub(super) fn end_track(&mut self, millis: u64, publication: PublicationId) {
        let end = TrackEnd {
            publication,
            at: self.at_ms(millis),
            reason: EndReason::Unpublished,
            packets: 0,
        };
        self.scribe.entry(&Entry::TrackEnded(&end));
    }

    /// The next packet of a publication, of `len` bytes.
    pub(super) fn packet(&mut self, millis: u64, publication: PublicationId, len: usize) {
        let number = self.sequence.entry(publication).or_insert(0);
        *number += 1;
        let number = *number;
        let bytes = packet(publication, number, len);
        let at = self.at_ms(millis);
        self.scribe.entry(&Entry::Rtp(RtpEntry {
            publication,
            rank: 0,
            at,
            seq: SeqNo(65_536 + number),
            is_recovered: number % 50 == 3,
            starts_keyframe: publication == CAMERA && number % 100 == 1,
            bytes: &bytes,
        }));
    }

    /// Numbers that never came.
    pub(super) fn lose(&mut self, publication: PublicationId, packets: u64) {
        *self.sequence.entry(publication).or_insert(0) += packets;
    }

    pub(super) fn report(&mut self, millis: u64, publication: PublicationId) {
        let report = ReportEntry {
            publication,
            rank: 0,
            at: self.at_ms(millis),
            ntp: NtpTime(millis << 32),
            rtp: millis as u32 * 90,
        };
        self.scribe.entry(&Entry::SenderReport(report));
    }

    pub(super) fn turn(&mut self, millis: u64) {
        let wall = self.origin.wall.after(Duration::from_millis(millis));
        self.scribe.turn(self.at_ms(millis), wall);
    }

    /// 100 ms of a call: three packets of picture and five of sound, then a turn.
    pub(super) fn call(&mut self, millis: u64) {
        for packet in 0..3 {
            self.packet(millis + packet * 30, CAMERA, 1100);
        }
        for packet in 0..5 {
            self.packet(millis + packet * 20, MICROPHONE, 120);
        }
        self.turn(millis + 100);
    }

    pub(super) fn close(&mut self, millis: u64) -> Ended {
        let at = self.at_ms(millis);
        self.scribe
            .close(at, "room finished")
            .expect("the disk is there")
    }

    /// The recording's identity, as an officer and the release service put it together.
    pub(super) fn identity(&self) -> Identity {
        open_recording(&self.folder, &self.release, &self.keys)
    }

    /// Everything that can be read, after the chain has been checked.
    pub(super) fn read(&self) -> Vec<Read> {
        check_chains(&self.folder);
        read_folder(&self.folder, &self.identity())
    }
}

pub(super) fn packet(publication: PublicationId, number: u64, len: usize) -> Vec<u8> {
    let (payload_type, ssrc) = match publication {
        CAMERA => (96, 1111_u32),
        _ => (111, 2222),
    };
    let mut bytes = vec![0x80, payload_type];
    bytes.extend_from_slice(&(number as u16).to_be_bytes());
    bytes.extend_from_slice(&(number as u32 * 3000).to_be_bytes());
    bytes.extend_from_slice(&ssrc.to_be_bytes());
    bytes.extend(PATTERN.iter().cycle().take(len.saturating_sub(12)));
    bytes
}

pub(super) fn open_recording(folder: &Path, release: &[u8], keys: &FileKeys) -> Identity {
    let header = header(folder);
    let compliance = keys.compliance().expect("there are officers");
    let shares: Vec<Share> = (1..=compliance.threshold)
        .map(|number| {
            let part = match compliance.threshold {
                1 => Part::Share,
                _ => Part::ShareOf(number),
            };
            let file = fs::read(folder.join(part.to_string())).expect("is there");
            open_officers_share(header.recording, &file, &identity(100 + number)).expect("is his")
        })
        .collect();
    let json = age::open(release, &identity(200)).expect("is the service's");
    let released = Share::from_json(&json, header.recording, Half::Release).expect("is ours");
    let identity = reunite(&shares, &released).expect("are enough");
    assert_eq!(identity.recipient(), header.recipient);
    identity
}

pub(super) fn header(folder: &Path) -> Header {
    let bytes = fs::read(folder.join("header.json")).expect("is there");
    Header::parse(&bytes).expect("is ours")
}

/// A record as it was read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) segment: u32,
    pub(super) kind: Kind,
    pub(super) flags: Flags,
    pub(super) track: u16,
    /// Microseconds since the recording's start.
    pub(super) at_us: u64,
    pub(super) body: Vec<u8>,
}

impl Read {
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("is JSON")
    }

    pub(super) fn gap(&self) -> Gap {
        serde_json::from_slice(&self.body).expect("is a gap")
    }
}

pub(super) fn segments(folder: &Path) -> u32 {
    (0..)
        .find(|&n| !folder.join(Part::Chain(n).to_string()).exists())
        .expect("ends somewhere")
}

pub(super) fn read_folder(folder: &Path, identity: &Identity) -> Vec<Read> {
    let mut records = Vec::new();
    for segment in 0..segments(folder) {
        let chain = fs::read(folder.join(Part::Chain(segment).to_string())).expect("is there");
        let (head, _) = chain::Head::parse(&chain).expect("is a chain");
        let data = fs::read(folder.join(Part::Segment(segment).to_string())).expect("is there");
        records.extend(read_segment(&data, identity, segment, head.t0_us).0);
    }
    records
}

/// All records but padding, and how it ended.
pub(super) fn read_segment(
    data: &[u8],
    identity: &Identity,
    segment: u32,
    t0_us: u64,
) -> (Vec<Read>, Option<End>) {
    let mut reader = SegmentReader::open(io::Cursor::new(data), identity).expect("can be opened");
    let mut records = Vec::new();
    while let Some(record) = reader.next_record().expect("is intact up to its tear") {
        if record.kind != Kind::Padding {
            records.push(Read {
                segment,
                kind: record.kind,
                flags: record.flags,
                track: record.track,
                at_us: t0_us + u64::from(record.time_us),
                body: record.body.to_vec(),
            });
        }
    }
    (records, reader.end())
}

/// A small verifier of the journal alone: every chain, every chunk, every signature.
pub(super) fn check_chains(folder: &Path) {
    let header = header(folder);
    let bytes = fs::read(folder.join("header.json")).expect("is there");
    let mut prev = Digest::of(&bytes);
    let writers: Vec<crate::header::Writer> = (0..)
        .map_while(|number| fs::read(folder.join(Part::Writer(number).to_string())).ok())
        .map(|bytes| crate::header::Writer::parse(&bytes).expect("is ours"))
        .collect();
    for segment in 0..segments(folder) {
        let chain = fs::read(folder.join(Part::Chain(segment).to_string())).expect("is there");
        let data = fs::read(folder.join(Part::Segment(segment).to_string())).expect("is there");
        let (head, mut rest) = chain::Head::parse(&chain).expect("is a chain");
        assert_eq!((head.segment, head.prev), (segment, prev));
        let writer = writers
            .iter()
            .rfind(|writer| writer.first_segment <= segment);
        let key = writer.expect("somebody wrote it").key;
        let offset = head.data_offset as usize;
        let mut value = Chain::start(header.recording, &head, &data[..offset]);
        let mut chunks = data[offset..].chunks(crate::age::stream::SEALED_LEN);
        while let Ok(Some((link, after))) = Link::parse(rest) {
            rest = after;
            match link {
                Link::Chunk {
                    number,
                    time_us,
                    digest,
                } => {
                    assert_eq!(number, value.chunks());
                    let chunk = chunks.next().expect("the chunk is there");
                    assert_eq!(
                        digest,
                        Digest::of(chunk),
                        "segment {segment} chunk {number}"
                    );
                    value.push_digest(time_us, digest);
                }
                Link::Flushed(signature) => {
                    assert!(value.verifies(Seal::Flushed, &key, &signature));
                }
                Link::Closed(signature) => assert!(value.verifies(Seal::Closed, &key, &signature)),
                Link::Salvaged { node, signature } => {
                    assert_eq!(node, header.node);
                    assert!(value.verifies(Seal::Salvaged, &node, &signature));
                }
            }
        }
        assert!(rest.is_empty(), "the chain of segment {segment} is whole");
        assert!(
            chunks.next().is_none(),
            "every chunk of segment {segment} is in the chain"
        );
        prev = value.value();
    }
}
