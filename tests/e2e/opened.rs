//! A recording as its officer sees it: opened with his key and the server's share, taken apart and
//! decoded by a program that is not ours.
//!
//! The one place of the end-to-end tests that knows the recorder: what a recording holds can be told
//! from nowhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use recorder::age::{self, Identity};
use recorder::container::webm::WebmWriter;
use recorder::container::{Media, TrackInfo};
use recorder::depacketize::{Depacketizer, Format, Frame};
use recorder::header::Header;
use recorder::journal::body::Track;
use recorder::journal::reader::{ReadError, SegmentReader};
use recorder::journal::record::Kind;
use recorder::keys::share::{Half, Share};
use recorder::keys::split::{open_officers_share, reunite};
use recorder::keys::{officer, system_random};

use tests::tree;

/// An officer for one test.
pub(crate) fn new_officer() -> Identity {
    Identity::generate(&mut system_random)
}

/// A packet as it was recorded.
pub(crate) struct Packet {
    pub(crate) track: u16,
    pub(crate) at_us: u64,
    pub(crate) bytes: Vec<u8>,
}

/// An opened recording.
pub(crate) struct Opened {
    folder: PathBuf,
    started: SystemTime,
    pub(crate) officers: Share,
    pub(crate) released: Share,
    pub(crate) identity: Identity,
}

impl Opened {
    /// Opens `folder`, a recording of the server whose data lie in `data`.
    pub(crate) fn of(data: &Path, folder: &Path, officer: &Identity) -> Self {
        let read = |path: PathBuf| {
            fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let header = Header::parse(&read(folder.join("header.json"))).expect("is ours");
        let id = header.recording;
        let sealed = read(folder.join("share-c.age"));
        let officers = open_officers_share(id, &sealed, officer).expect("is his");
        let service = read(data.join("keys/release.txt"));
        let service = officer::read_plain_file(&service).expect("is a key");
        let sealed = read(data.join(format!("release/{id}.age")));
        let json = age::open(&sealed, &service).expect("is the service's");
        let released = Share::from_json(&json, id, Half::Release).expect("is ours");
        let both = open_officers_share(id, &read(folder.join("share-c.age")), officer);
        let identity = reunite(&[both.expect("is his")], &released).expect("are enough");
        assert_eq!(identity.recipient(), header.recipient);
        Self {
            folder: folder.to_owned(),
            started: SystemTime::UNIX_EPOCH + Duration::from_micros(header.started.0),
            officers,
            released,
            identity,
        }
    }

    /// Every track and every packet. Each segment opens up to its end or its tear.
    pub(crate) fn contents(&self) -> (BTreeMap<u16, Track>, Vec<Packet>) {
        let (mut tracks, mut packets) = (BTreeMap::new(), Vec::new());
        for segment in 0..self.segments() {
            let read = self.read(segment, &mut tracks, &mut packets);
            read.unwrap_or_else(|error| panic!("segment {segment}: {error}"));
        }
        (tracks, packets)
    }

    /// Who has packets in the segments from `first` on. They may be written at this moment.
    pub(crate) fn heard_since(&self, first: u32) -> BTreeSet<u16> {
        let (mut tracks, mut packets) = (BTreeMap::new(), Vec::new());
        for segment in first..self.segments() {
            // A chunk that is half there is read again next time.
            let _half_there = self.read(segment, &mut tracks, &mut packets);
        }
        let tracks = packets.iter().filter_map(|it| tracks.get(&it.track));
        tracks.map(|track| track.participant).collect()
    }

    /// When the last packet that is there came.
    pub(crate) fn last_packet(&self) -> SystemTime {
        let (mut tracks, mut packets) = (BTreeMap::new(), Vec::new());
        // A segment may have been opened a moment ago.
        let segments = self.segments();
        for segment in segments.saturating_sub(2)..segments {
            let read = self.read(segment, &mut tracks, &mut packets);
            read.unwrap_or_else(|error| panic!("segment {segment}: {error}"));
        }
        let last_us = packets.iter().map(|packet| packet.at_us).max();
        self.started + Duration::from_micros(last_us.expect("something was recorded"))
    }

    fn path(&self, segment: u32) -> PathBuf {
        self.folder.join(format!("seg-{segment:06}.age"))
    }

    /// How many segments there are.
    pub(crate) fn segments(&self) -> u32 {
        let is_missing = |segment: &u32| !self.path(*segment).exists();
        let count = (0..).find(is_missing).expect("segments have an end");
        assert!(count > 0, "there is a first segment");
        count
    }

    fn read(
        &self,
        segment: u32,
        tracks: &mut BTreeMap<u16, Track>,
        packets: &mut Vec<Packet>,
    ) -> Result<(), ReadError> {
        let file = File::open(self.path(segment)).expect("was seen a moment ago");
        let mut reader = SegmentReader::open(file, &self.identity)?;
        let mut t0_us = 0;
        while let Some(record) = reader.next_record()? {
            match record.kind {
                Kind::SegmentHead => {
                    let head: serde_json::Value = json(record.body);
                    t0_us = head["t0_us"].as_u64().expect("a time");
                }
                Kind::Track => {
                    let track: Track = json(record.body);
                    tracks.insert(track.track, track);
                }
                Kind::Rtp => packets.push(Packet {
                    track: record.track,
                    at_us: t0_us + u64::from(record.time_us),
                    bytes: record.body.to_vec(),
                }),
                _ => {}
            }
        }
        Ok(())
    }

    /// That every track can be played: taken apart, put into a file, decoded without a complaint.
    /// Returns how many frames there were.
    pub(crate) fn assert_decodes(&self) -> usize {
        let (tracks, packets) = self.contents();
        let mut sources: BTreeMap<(u16, u32), Vec<&Packet>> = BTreeMap::new();
        for packet in &packets {
            let ssrc = packet.bytes[8..12].try_into().expect("four bytes");
            let source = (packet.track, u32::from_be_bytes(ssrc));
            sources.entry(source).or_default().push(packet);
        }
        assert!(!sources.is_empty(), "something was recorded");
        let folder = tree::scratch("decoded");
        let mut all = 0;
        for ((number, ssrc), packets) in sources {
            let track = &tracks[&number];
            let frames = frames(track, &packets);
            // The last packets of a source may be the beginning of a picture that the kill cut off.
            if frames.is_empty() {
                assert!(packets.len() < 30, "track {number} has no frame: {track:?}");
                continue;
            }
            all += frames.len();
            decode(
                &folder.join(format!("{number}-{ssrc}.webm")),
                track,
                &frames,
            );
        }
        all
    }
}

fn json<T: serde::de::DeserializeOwned>(body: &[u8]) -> T {
    serde_json::from_slice(body).expect("records have JSON bodies")
}

fn frames(track: &Track, packets: &[&Packet]) -> Vec<Frame> {
    let format = Format::of(&track.mime, track.red_payload_type).expect("can be played");
    let mut depacketizer = Depacketizer::new(format);
    for packet in packets {
        depacketizer.push(&packet.bytes, packet.at_us);
    }
    depacketizer.finish();
    std::iter::from_fn(|| depacketizer.pop()).collect()
}

fn decode(path: &Path, track: &Track, frames: &[Frame]) {
    let media = match track.mime.as_str() {
        "audio/opus" => Media::Opus { channels: 2 },
        "video/VP8" => {
            let size = frames.iter().find_map(|frame| frame.size);
            let (width, height) = size.expect("a keyframe says its size");
            Media::Vp8 { width, height }
        }
        other => panic!("nobody sends {other} here"),
    };
    let info = TrackInfo {
        media,
        name: "x".to_owned(),
    };
    let file = BufWriter::new(File::create(path).expect("the scratch folder is writable"));
    let mut file = WebmWriter::begin(file, &[info]).expect("it is writable");
    let first = frames[0].rtp;
    for frame in frames {
        let at_us = frame.rtp.saturating_sub(first) * 1_000_000 / u64::from(track.clock_rate);
        file.frame(0, at_us, frame.is_keyframe, &frame.bytes)
            .expect("it is writable");
    }
    drop(file.finish().expect("it is writable"));
    let decoded = Command::new("ffmpeg")
        .args(["-v", "error", "-xerror", "-i"])
        .arg(path)
        // Frames come when they come; the null muxer guesses a rate otherwise, and complains.
        .args(["-fps_mode", "vfr", "-f", "null", "-"])
        .output()
        .expect("ffmpeg starts");
    let said = String::from_utf8_lossy(&decoded.stderr);
    assert!(
        decoded.status.success() && said.trim().is_empty(),
        "{}: {said}",
        path.display()
    );
}
