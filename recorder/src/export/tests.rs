//! A made consult of two people, exported and looked at with `ffprobe` and `ffmpeg`.

use std::collections::BTreeMap;
use std::process::Command;

use opus::{Application, Channels, Encoder};
use serde_json::{Value, json};

use super::*;
use crate::depacketize::vectors;
use crate::journal::body::Source;
use crate::journal::record::{Flags, Kind, SenderReport};
use crate::keys::secret::Secret;
use crate::sample::Sample;
use crate::sign::{self, check_sig_file, sig_file};

const SECOND: u64 = 1_000_000;
const LI: u16 = 1;
const WANG: u16 = 2;
/// Li, when he has come back.
const LI_AGAIN: u16 = 3;

/// Least delay of everybody's path.
const DELAY_US: u64 = 40_000;

/// A record and when it arrived.
struct Made {
    at_us: u64,
    kind: Kind,
    track: u16,
    body: Vec<u8>,
}

/// What is said and shown, before it is put in the order of arrival.
#[derive(Default)]
struct Script(Vec<Made>);

/// One track of the script.
struct Sender {
    track: u16,
    payload_type: u8,
    rate: u64,
    ssrc: u32,
    /// Its pictures take so much longer than its sounds.
    delay_us: u64,
    sequence: u16,
}

impl Script {
    fn say(&mut self, at_us: u64, kind: Kind, track: u16, body: &Value) {
        let body = body.to_string().into_bytes();
        self.0.push(Made {
            at_us,
            kind,
            track,
            body,
        });
    }

    fn happened(&mut self, at_us: u64, mut event: Value) {
        event["at"] = "2026-11-22T02:00:00.000Z".into();
        self.say(at_us, Kind::Event, 0, &event);
    }

    fn join(&mut self, at_us: u64, participant: u16, identity: &str) {
        let sid = format!("PA_{participant}");
        self.happened(
            at_us,
            json!({"type": "participant_joined", "participant": participant, "sid": sid,
                   "identity": identity, "name": identity.to_uppercase()}),
        );
    }

    fn publish(&mut self, at_us: u64, track: u16, participant: u16, source: Source) -> Sender {
        let (mime, payload_type, rate) = match (source, participant) {
            (Source::Microphone, _) => ("audio/opus", 111, 48_000),
            (Source::Camera, WANG) => ("video/H264", 102, 90_000),
            _ => ("video/VP8", 96, 90_000),
        };
        let is_audio = source == Source::Microphone;
        let body = json!({
            "track": track, "sid": format!("TR_{track}"), "participant": participant,
            "kind": if is_audio { "audio" } else { "video" }, "source": source, "name": "",
            "mime": mime, "payload_type": payload_type, "clock_rate": rate,
            "channels": u8::from(is_audio), "ssrc": 1000 + u32::from(track),
        });
        self.say(at_us, Kind::Track, track, &body);
        Sender {
            track,
            payload_type,
            rate,
            ssrc: 1000 + u32::from(track),
            delay_us: if is_audio { 0 } else { 35_000 },
            // Numbers wrap in the middle of it.
            sequence: 65_500,
        }
    }

    /// One frame in one packet or several, taken at `taken_us`; packets that are `lost` leave a hole.
    fn send(&mut self, sender: &mut Sender, taken_us: u64, payloads: &[Vec<u8>], is_lost: bool) {
        // Every sender has a clock of his own, and RTP times begin anywhere.
        let rtp = ((taken_us + 7_777_000_000) * sender.rate / SECOND) as u32;
        let rtp = rtp.wrapping_add(sender.ssrc.wrapping_mul(99_991));
        for (index, payload) in payloads.iter().enumerate() {
            let is_last = index + 1 == payloads.len() && sender.rate == 90_000;
            let mut packet = vec![0x80, sender.payload_type | u8::from(is_last) << 7];
            packet.extend_from_slice(&sender.sequence.to_be_bytes());
            packet.extend_from_slice(&rtp.to_be_bytes());
            packet.extend_from_slice(&sender.ssrc.to_be_bytes());
            packet.extend_from_slice(payload);
            sender.sequence = sender.sequence.wrapping_add(1);
            if is_lost {
                continue;
            }
            // A jitter of up to 30 ms; some packets overtake others.
            let jitter = u64::from(sender.sequence.wrapping_mul(7919) % 30) * 1_000;
            self.0.push(Made {
                at_us: taken_us + DELAY_US + sender.delay_us + jitter,
                kind: Kind::Rtp,
                track: sender.track,
                body: packet,
            });
        }
    }

    fn report(&mut self, sender: &Sender, taken_us: u64) {
        let rtp = ((taken_us + 7_777_000_000) * sender.rate / SECOND) as u32;
        let rtp = rtp.wrapping_add(sender.ssrc.wrapping_mul(99_991));
        // His wall clock is wrong by hours, and it is the same for all that he sends.
        let ntp = (u128::from(taken_us + 9_000_000_000) << 32) / u128::from(SECOND);
        let body = SenderReport {
            ntp: ntp as u64,
            rtp,
        };
        self.0.push(Made {
            at_us: taken_us + DELAY_US,
            kind: Kind::SenderReport,
            track: sender.track,
            body: body.encode().to_vec(),
        });
    }

    /// A tone from `from` until `until`, with one packet of fifty lost.
    fn speak(&mut self, sender: &mut Sender, hz: f32, from: u64, until: u64) {
        let mut encoder = Encoder::new(48_000, Channels::Mono, Application::Voip).expect("is made");
        for (number, taken) in (from..until).step_by(20_000).enumerate() {
            let sample = |at: usize| {
                let at = (number * 960 + at) as f32;
                0.3 * (std::f32::consts::TAU * hz * at / 48_000.0).sin()
            };
            let sound: Vec<f32> = (0..960).map(sample).collect();
            let packet = encoder.encode_vec_float(&sound, 1_275).expect("is sound");
            self.send(sender, taken, &[packet], number % 50 == 25);
            if number % 50 == 10 {
                self.report(sender, taken);
            }
        }
    }

    /// Pictures from `from` on, ten a second.
    fn show(&mut self, sender: &mut Sender, pictures: &[Vec<Vec<u8>>], from: u64, lost: &[usize]) {
        for (number, payloads) in pictures.iter().enumerate() {
            let taken = from + number as u64 * 100_000;
            self.send(sender, taken, payloads, lost.contains(&number));
            if number % 10 == 2 {
                self.report(sender, taken);
            }
        }
    }

    fn end(&mut self, at_us: u64, track: u16) {
        self.say(
            at_us,
            Kind::TrackEnd,
            track,
            &json!({"reason": "unpublished"}),
        );
    }

    /// The recording, closed: flushed every second, in two segments.
    fn record(mut self) -> Sample {
        self.0.sort_by_key(|made| made.at_us);
        let mut sample = Sample::begin();
        let (mut flushed, mut has_rolled) = (0, false);
        for made in &self.0 {
            if made.at_us > 7 * SECOND && !has_rolled {
                has_rolled = true;
                sample.roll();
            }
            let flags = Flags::default();
            sample.record(made.at_us, made.kind, flags, made.track, &made.body);
            if made.at_us / SECOND > flushed {
                flushed = made.at_us / SECOND;
                sample.flush();
            }
        }
        sample.close();
        sample
    }
}

fn media(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/media");
    fs::read(folder.join(name)).expect("is in the tree")
}

/// Forty pictures of VP8, each a row of RTP payloads.
fn vp8() -> Vec<Vec<Vec<u8>>> {
    let ivf = media("camera.ivf");
    let (mut rest, mut pictures) = (&ivf[32..], Vec::new());
    while let Some((len, after)) = rest.split_first_chunk::<4>() {
        let (picture, after) = after[8..].split_at(u32::from_le_bytes(*len) as usize);
        rest = after;
        let is_delta = picture[0] & 1;
        let pieces = picture.chunks(600).enumerate();
        let payloads = pieces.map(|(number, piece)| {
            let descriptor = if number == 0 { 0x10 } else { 0x00 };
            [&[descriptor][..], piece].concat()
        });
        pictures.push(payloads.collect());
        assert!(
            pictures.len() % 10 != 1 || is_delta == 0,
            "keyframes each second"
        );
    }
    assert_eq!(pictures.len(), 40);
    pictures
}

/// Forty pictures of H.264: small units alone, large ones in fragments.
fn h264() -> Vec<Vec<Vec<u8>>> {
    let bytes = media("screen.h264");
    let starts: Vec<usize> = (0..bytes.len() - 3)
        .filter(|&at| bytes[at..at + 3] == [0, 0, 1])
        .map(|at| at + 3)
        .collect();
    let mut pictures: Vec<Vec<Vec<u8>>> = Vec::new();
    for (index, &start) in starts.iter().enumerate() {
        let end = starts.get(index + 1).map_or(bytes.len(), |next| next - 3);
        let unit = &bytes[start..end];
        // A start code may have a fourth byte before it, which no unit ends with.
        let zeros = unit.iter().rev().take_while(|&&byte| byte == 0).count();
        let unit = &unit[..unit.len() - zeros];
        if unit[0] & 0x1f == 9 {
            pictures.push(Vec::new());
            continue;
        }
        let picture = pictures.last_mut().expect("a delimiter stands first");
        if unit.len() <= 600 {
            picture.push(unit.to_vec());
            continue;
        }
        let pieces: Vec<&[u8]> = unit[1..].chunks(600).collect();
        for (number, piece) in pieces.iter().enumerate() {
            let begin = if number == 0 { 0x80 } else { 0 };
            let end = if number + 1 == pieces.len() { 0x40 } else { 0 };
            let head = [unit[0] & 0x60 | 28, begin | end | unit[0] & 0x1f];
            picture.push([&head[..], piece].concat());
        }
    }
    assert_eq!(pictures.len(), 40);
    pictures
}

/// Li speaks and shows himself, leaves and comes back; Wang shows two things and is silent in between.
fn consult() -> Sample {
    let mut script = Script::default();
    script.happened(0, json!({"type": "recording_started"}));
    script.join(100_000, LI, "li");
    script.join(200_000, WANG, "wang");
    let mut voice = script.publish(300_000, 1, LI, Source::Microphone);
    script.speak(&mut voice, 440.0, SECOND / 2, 6 * SECOND);
    let mut face = script.publish(300_000, 2, LI, Source::Camera);
    // One packet of a picture is lost: nothing is shown until the next keyframe.
    script.show(&mut face, &vp8(), SECOND, &[15]);
    for track in [1, 2] {
        script.end(6_200_000, track);
    }
    script.happened(
        6_300_000,
        json!({"type": "participant_left", "participant": LI}),
    );
    script.join(8_000_000, LI_AGAIN, "li");
    let mut voice = script.publish(8_100_000, 6, LI_AGAIN, Source::Microphone);
    script.speak(&mut voice, 440.0, 8_200_000, 12 * SECOND);
    let mut face = script.publish(8_100_000, 7, LI_AGAIN, Source::Camera);
    script.show(&mut face, &vp8(), 8_200_000, &[]);

    let mut voice = script.publish(400_000, 3, WANG, Source::Microphone);
    script.speak(&mut voice, 700.0, 2 * SECOND, 5 * SECOND);
    script.happened(
        5 * SECOND,
        json!({"type": "muted", "participant": WANG, "track": 3}),
    );
    script.happened(
        9 * SECOND,
        json!({"type": "unmuted", "participant": WANG, "track": 3}),
    );
    script.speak(&mut voice, 700.0, 9 * SECOND, 12 * SECOND);
    let mut face = script.publish(400_000, 4, WANG, Source::Camera);
    script.show(&mut face, &h264(), 2 * SECOND, &[]);
    let mut screen = script.publish(400_000, 5, WANG, Source::ScreenShare);
    script.show(&mut screen, &vp8(), 3 * SECOND, &[]);
    let text = "see the second picture";
    script.happened(
        3 * SECOND,
        json!({"type": "chat", "participant": LI, "text": text}),
    );
    let gap =
        json!({"from_us": 6_000_000, "until_us": 6_100_000, "reason": "overflow", "packets": {}});
    script.say(6_100_000, Kind::Gap, 0, &gap);
    script.happened(
        12_100_000,
        json!({"type": "recording_stopped", "reason": "room finished"}),
    );
    script.record()
}

/// What Chromium sends in layers: Li in VP9, with a screen in VP9 as well, and Wang in AV1.
fn layered() -> Sample {
    let mut script = Script::default();
    script.happened(0, json!({"type": "recording_started"}));
    script.join(100_000, LI, "li");
    script.join(200_000, WANG, "wang");
    for (track, participant, source, mime, name) in [
        (1, LI, "camera", "video/VP9", "camera.vp9.rtp"),
        (2, LI, "screen_share", "video/VP9", "camera-chained.vp9.rtp"),
        (3, WANG, "camera", "video/AV1", "camera.av1.rtp"),
    ] {
        let body = json!({
            "track": track, "sid": format!("TR_{track}"), "participant": participant, "kind": "video",
            "source": source, "name": "", "mime": mime, "payload_type": 98, "clock_rate": 90_000,
            "channels": 0, "ssrc": 1000 + track,
        });
        script.say(300_000, Kind::Track, track, &body);
        for (at, body) in vectors::packets(name) {
            script.0.push(Made {
                at_us: SECOND + at,
                kind: Kind::Rtp,
                track,
                body,
            });
        }
    }
    script.record()
}

#[test]
fn pictures_in_layers_are_exported_in_the_largest_of_them() {
    let sample = layered();
    let (folder, done) = exported(&sample, false).expect("is exported");
    assert_eq!(done.frames, 20 + 10 + 20);
    for (file, stream, codec, count) in [
        ("participant-01.webm", "v:0", "vp9", 20),
        ("participant-01.webm", "v:1", "vp9", 10),
        ("participant-02.webm", "v:0", "av1", 20),
    ] {
        let entries = "stream=codec_name:frame=width,height";
        let show = ["-v", "error", "-select_streams", stream, "-show_entries"];
        let said = run(
            "ffprobe",
            &[&show[..], &[entries, "-of", "csv=p=0", file]].concat(),
            &folder,
        );
        let said = String::from_utf8(said).expect("is text");
        let lines: Vec<&str> = said.lines().collect();
        let (last, frames) = lines.split_last().expect("says something");
        assert_eq!(*last, codec, "{file} {stream}");
        // Smaller ones are decoded with them and not shown.
        assert_eq!(frames, vec!["480,270"; count], "{file} {stream}");
        assert_eq!(times(&folder, file, stream).len(), count);
    }
    for file in ["participant-01.webm", "participant-02.webm"] {
        let decode = ["-v", "error", "-i", file, "-map", "0", "-f", "null", "-"];
        run("ffmpeg", &decode, &folder);
    }
}

fn identity() -> Identity {
    Identity::new(Secret::filled(|bytes| bytes.fill(1)))
}

fn origin(sample: &Sample) -> Origin {
    let bytes = fs::read(sample.path(crate::folder::Part::Manifest)).expect("is closed");
    let manifest = crate::manifest::Manifest::parse(&bytes).expect("is ours");
    let origin = Origin {
        recording: sample.header.recording,
        room: Some("ward 7".into()),
        started: sample.header.started,
        duration_us: None,
        state: None,
        header_sha256: Digest::of(b""),
        manifest_sha256: None,
        exported: document::By {
            at: sample.header.started,
            actor: "chen".into(),
            reason: "complaint 17".into(),
            replay: "0".into(),
            program: "test".into(),
        },
        verification: document::Verified {
            verdict: "INTACT".into(),
            exported_although_broken: false,
            node_key: None,
            findings: Vec::new(),
        },
        contents: None,
    };
    origin.with_manifest(&manifest, Digest::of(&bytes))
}

fn exported(sample: &Sample, is_lenient: bool) -> Result<(PathBuf, Exported), ExportError> {
    let into = sample.root.path().join("exported");
    let identity = identity();
    let task = Task {
        folder: &sample.folder,
        identity: &identity,
        into: &into,
        origin: origin(sample),
        is_lenient,
    };
    let done = export(task, |list| {
        Ok(sig_file(sign::Kind::Export, list, sample.key.key()))
    })?;
    Ok((into, done))
}

fn run(program: &str, arguments: &[&str], folder: &Path) -> Vec<u8> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; deploy/setup.sh installs it"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.is_empty(),
        "{program} {arguments:?}: {said}"
    );
    output.stdout
}

/// Streams as `ffprobe` sees them.
fn streams(folder: &Path, file: &str) -> Vec<String> {
    let show = [
        "-v",
        "error",
        "-show_entries",
        "stream=codec_name,width,height",
        "-of",
        "csv=p=0",
    ];
    let said = run("ffprobe", &[&show[..], &[file]].concat(), folder);
    let said = String::from_utf8(said).expect("is text");
    said.lines().map(str::to_owned).collect()
}

/// The times of all packets of a stream, in seconds.
fn times(folder: &Path, file: &str, stream: &str) -> Vec<f64> {
    let show = [
        "-v",
        "error",
        "-select_streams",
        stream,
        "-show_entries",
        "packet=pts_time",
        "-of",
        "csv=p=0",
    ];
    let said = run("ffprobe", &[&show[..], &[file]].concat(), folder);
    let said = String::from_utf8(said).expect("is text");
    let number = |line: &str| line.trim_matches(',').parse().expect("is a time");
    said.lines()
        .filter(|line| !line.is_empty())
        .map(number)
        .collect()
}

/// The sound of a file on the recording's clock, 48 kHz mono.
fn sound(folder: &Path, file: &str) -> Vec<f32> {
    let arguments = [
        "-v",
        "error",
        "-copyts",
        "-i",
        file,
        "-map",
        "0:a:0",
        "-af",
        "aresample=async=1:min_hard_comp=0.01:first_pts=0",
        "-ac",
        "1",
        "-ar",
        "48000",
        "-f",
        "f32le",
        "-",
    ];
    let bytes = run("ffmpeg", &arguments, folder);
    let sample = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("four bytes"));
    bytes.chunks_exact(4).map(sample).collect()
}

fn level(sound: &[f32], hz: f64) -> f64 {
    let (mut sine, mut cosine) = (0.0, 0.0);
    for (at, sample) in sound.iter().enumerate() {
        let way = std::f64::consts::TAU * hz * at as f64 / 48_000.0;
        sine += f64::from(*sample) * way.sin();
        cosine += f64::from(*sample) * way.cos();
    }
    2.0 * sine.hypot(cosine) / sound.len() as f64
}

/// The strongest frequency from one second to another.
fn loudest(sound: &[f32], from: f64, until: f64) -> f64 {
    let piece = &sound[(from * 48_000.0) as usize..(until * 48_000.0) as usize];
    // Half a second tells two Hertz apart.
    let piece = &piece[piece.len() - piece.len().min(24_000)..];
    let all = (20..400).map(|step| f64::from(step) * 5.0);
    all.max_by(|a, b| level(piece, *a).total_cmp(&level(piece, *b)))
        .expect("there are some")
}

fn loudness(sound: &[f32], from: f64, until: f64) -> f32 {
    let piece = &sound[(from * 48_000.0) as usize..(until * 48_000.0) as usize];
    (piece.iter().map(|sample| sample * sample).sum::<f32>() / piece.len() as f32).sqrt()
}

#[test]
fn a_consult_is_exported_as_files_that_others_open() {
    let sample = consult();
    let (folder, done) = exported(&sample, false).expect("is exported");
    assert_eq!(
        done.files,
        [
            "SHA256SUMS",
            "SHA256SUMS.sig",
            "events.json",
            "mixed.opus",
            "participant-01.webm",
            "participant-02.mp4",
            "participant-02.webm"
        ]
    );
    assert_eq!(done.damages, 0);
    let list = fs::read_to_string(folder.join(LIST)).expect("is there");
    let signature = fs::read(folder.join(LIST_SIG)).expect("is there");
    let signer = check_sig_file(sign::Kind::Export, list.as_bytes(), &signature);
    assert_eq!(signer, Ok(sample.key.public()));
    assert_eq!(
        check_list(&folder, &list).expect("readable"),
        Vec::<String>::new()
    );

    assert_eq!(
        streams(&folder, "participant-01.webm"),
        ["vp8,160,120", "opus"]
    );
    assert_eq!(
        streams(&folder, "participant-02.webm"),
        ["vp8,160,120", "opus"]
    );
    assert_eq!(
        streams(&folder, "participant-02.mp4"),
        ["h264,176,144", "opus"]
    );
    assert_eq!(streams(&folder, MIX), ["opus"]);
    for file in [
        "participant-01.webm",
        "participant-02.mp4",
        "participant-02.webm",
        MIX,
    ] {
        run(
            "ffmpeg",
            &["-v", "error", "-i", file, "-map", "0", "-f", "null", "-"],
            &folder,
        );
    }
}

#[test]
fn every_frame_is_where_it_was_taken() {
    let sample = consult();
    let (folder, _) = exported(&sample, false).expect("is exported");
    // Of Li's first forty pictures one is lost, and those up to the next keyframe are not shown.
    let pictures = times(&folder, "participant-01.webm", "v:0");
    assert_eq!(pictures.len(), 15 + 20 + 40);
    let taken = (0..40)
        .filter(|number| !(15..20).contains(number))
        .map(|number| 1.0 + f64::from(number) / 10.0);
    let taken = taken.chain((0..40).map(|number| 8.2 + f64::from(number) / 10.0));
    let late: Vec<f64> = pictures
        .iter()
        .zip(taken)
        .map(|(shown, taken)| shown - taken)
        .collect();
    let sounds = times(&folder, "participant-01.webm", "a:0");
    let taken = (0..275)
        .filter(|number| number % 50 != 25)
        .map(|number| 0.5 + f64::from(number) / 50.0);
    let taken = taken.chain(
        (0..190)
            .filter(|number| number % 50 != 25)
            .map(|number| 8.2 + f64::from(number) / 50.0),
    );
    let heard: Vec<f64> = sounds
        .iter()
        .zip(taken)
        .map(|(heard, taken)| heard - taken)
        .collect();
    assert_eq!(sounds.len(), heard.len());
    // Pictures come 35 ms later than sounds, and are shown with them all the same: the path's least
    // delay is in both.
    for late in late.iter().chain(&heard) {
        assert!((0.035..0.060).contains(late), "{late}");
    }
    let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
    assert!(
        (mean(&late) - mean(&heard)).abs() < 0.010,
        "{} {}",
        mean(&late),
        mean(&heard)
    );
    let h264 = times(&folder, "participant-02.mp4", "v:0");
    assert_eq!(h264.len(), 40);
    for (number, shown) in h264.iter().enumerate() {
        let late = shown - 2.0 - number as f64 / 10.0;
        assert!((0.035..0.060).contains(&late), "{late}");
    }
}

#[test]
fn tones_and_silences_come_out_as_they_went_in() {
    let sample = consult();
    let (folder, _) = exported(&sample, false).expect("is exported");
    let li = sound(&folder, "participant-01.webm");
    for (from, until) in [(1.0, 5.0), (9.0, 11.5)] {
        assert!((loudest(&li, from, until) - 440.0).abs() <= 10.0);
    }
    assert!(loudness(&li, 6.3, 8.0) < 0.01, "he was not there");
    for file in ["participant-02.webm", "participant-02.mp4"] {
        let wang = sound(&folder, file);
        assert!((loudest(&wang, 2.5, 4.5) - 700.0).abs() <= 10.0, "{file}");
        assert!((loudest(&wang, 9.5, 11.5) - 700.0).abs() <= 10.0, "{file}");
    }
    let mixed = sound(&folder, MIX);
    assert!(
        (loudest(&mixed, 0.8, 1.8) - 440.0).abs() <= 10.0,
        "Li alone"
    );
    assert!(loudness(&mixed, 6.3, 8.0) < 0.001, "nobody");
    assert!(
        (loudest(&mixed, 8.4, 8.9) - 440.0).abs() <= 10.0,
        "Li again"
    );
    let both = &mixed[3 * 48_000..4 * 48_000];
    for hz in [440.0, 700.0] {
        assert!(level(both, hz) > 0.2, "{hz}: {}", level(both, hz));
    }
    assert!(loudness(&mixed, 0.0, 0.5) < 0.001 && loudness(&mixed, 0.58, 0.7) > 0.1);
}

#[test]
fn the_document_says_who_was_there_what_happened_and_what_is_missing() {
    let sample = consult();
    let (folder, _) = exported(&sample, false).expect("is exported");
    let document: Value =
        serde_json::from_slice(&fs::read(folder.join(EVENTS)).expect("is there")).expect("is JSON");
    let people = document["people"].as_array().expect("a list");
    assert_eq!(people.len(), 2);
    assert_eq!(
        people[0]["stays"].as_array().expect("a list").len(),
        2,
        "Li came back"
    );
    assert_eq!(
        people[1]["files"],
        json!(["participant-02.webm", "participant-02.mp4"])
    );
    let texts: Vec<&str> = (document["events"].as_array().expect("a list").iter())
        .filter_map(|event| event["type"].as_str())
        .collect();
    for kind in [
        "recording_started",
        "participant_left",
        "muted",
        "unmuted",
        "chat",
        "recording_stopped",
    ] {
        assert!(texts.contains(&kind), "{kind} of {texts:?}");
    }
    let frames: BTreeMap<u64, u64> = (document["tracks"].as_array().expect("a list").iter())
        .map(|track| {
            (
                track["track"].as_u64().expect("has one"),
                track["frames"].as_u64().expect("has one"),
            )
        })
        .collect();
    assert_eq!(
        (frames[&2], frames[&4], frames[&5], frames[&7]),
        (35, 40, 40, 40)
    );
    assert_eq!(document["mixed"]["undecodable"], 0);
    assert!(document["mixed"]["concealed"].as_u64().expect("a number") >= 10);
    assert_eq!(document["verification"]["verdict"], "INTACT");
    assert_eq!(document["exported"]["reason"], "complaint 17");
    assert_eq!(document["state"], "complete");
}

#[test]
fn what_is_not_signed_leaves_nothing_behind() {
    let sample = consult();
    let into = sample.root.path().join("exported");
    let identity = identity();
    let task = || Task {
        folder: &sample.folder,
        identity: &identity,
        into: &into,
        origin: origin(&sample),
        is_lenient: false,
    };
    let refused = export(task(), |_| Err("the audit cannot be written".into()));
    assert!(matches!(refused, Err(ExportError::Unsigned(_))));
    let left = fs::read_dir(sample.root.path()).expect("a folder");
    let left: Vec<_> = left.map(|it| it.expect("is listed").file_name()).collect();
    assert!(
        left.iter()
            .all(|name| !name.to_string_lossy().starts_with("exported")),
        "{left:?}"
    );

    fs::create_dir(&into).expect("a folder");
    fs::write(into.join("mine"), b"mine").expect("is written");
    let refused = export(task(), |_| panic!("is refused before"));
    assert!(matches!(refused, Err(ExportError::Exists(_))));
    assert_eq!(fs::read(into.join("mine")).expect("is there"), b"mine");
}

#[test]
fn what_is_damaged_is_an_error_or_told() {
    let sample = consult();
    let path = sample.path(crate::folder::Part::Segment(0));
    let mut bytes = fs::read(&path).expect("is there");
    let head = bytes
        .windows(4)
        .position(|four| four == b"---\x20")
        .expect("an age file");
    bytes[head + 70 + 3 * 65_552] ^= 1;
    fs::write(&path, &bytes).expect("is written");
    assert!(matches!(
        exported(&sample, false),
        Err(ExportError::Unreadable(_))
    ));
    let (folder, done) = exported(&sample, true).expect("is exported as far as it goes");
    assert_eq!(done.damages, 1);
    let text = fs::read_to_string(folder.join(EVENTS)).expect("is there");
    let document: Value = serde_json::from_str(&text).expect("is JSON");
    assert_eq!(document["unreadable"][0]["segment"], 0);
    let mixed = sound(&folder, MIX);
    assert!(
        (loudest(&mixed, 8.4, 8.9) - 440.0).abs() <= 10.0,
        "what follows is there"
    );
    for file in [
        "participant-01.webm",
        "participant-02.mp4",
        "participant-02.webm",
        MIX,
    ] {
        run(
            "ffmpeg",
            &["-v", "error", "-i", file, "-map", "0", "-f", "null", "-"],
            &folder,
        );
    }
}

#[test]
fn another_identity_opens_nothing() {
    let sample = consult();
    let other = Identity::new(Secret::filled(|bytes| bytes.fill(7)));
    let into = sample.root.path().join("exported");
    let task = Task {
        folder: &sample.folder,
        identity: &other,
        into: &into,
        origin: origin(&sample),
        is_lenient: false,
    };
    let refused = export(task, |_| panic!("nothing is signed"));
    assert!(matches!(refused, Err(ExportError::Unreadable(_))));
    assert!(!into.exists());
}

#[test]
fn an_altered_export_is_found_out() {
    let sample = consult();
    let (folder, _) = exported(&sample, false).expect("is exported");
    let list = fs::read_to_string(folder.join(LIST)).expect("is there");
    fs::write(folder.join("added"), b"").expect("is written");
    fs::remove_file(folder.join("participant-02.mp4")).expect("was there");
    let mut mix = fs::read(folder.join(MIX)).expect("is there");
    *mix.last_mut().expect("has bytes") ^= 1;
    fs::write(folder.join(MIX), mix).expect("is written");
    let mut wrong = check_list(&folder, &list).expect("readable");
    wrong.sort_unstable();
    assert_eq!(
        wrong,
        [
            "added: was added",
            "mixed.opus: was altered",
            "participant-02.mp4: is missing"
        ]
    );
}
