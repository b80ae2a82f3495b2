//! What a scribe writes is read back with an officer's key; disks fail; threads get stuck.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use sfu::tap::{Entry, Gap, GapReason as TapGapReason, GapTrack, HeldBack};
use tempfile::TempDir;

use super::fixture::{
    CAMERA, Desk, MICROPHONE, PATTERN, Plan, Read, STARTED, check_chains, fixed_random, header,
    keys, open_recording, read_folder, read_segment, segments, start, surroundings,
};
use super::*;
use crate::config::Limits;
use crate::contents::OpenSummary;
use crate::journal::body::{GapReason, Happening};
use crate::journal::disk::faulty::FaultyDisk;
use crate::journal::reader::{End, SegmentReader};
use crate::journal::record::{Flags, Kind};

fn folder() -> TempDir {
    tempfile::tempdir().expect("temporary files can be made")
}

fn of_kind(records: &[Read], kind: Kind) -> Vec<&Read> {
    records
        .iter()
        .filter(|record| record.kind == kind)
        .collect()
}

fn types(records: &[Read]) -> Vec<String> {
    of_kind(records, Kind::Event)
        .iter()
        .map(|record| record.json()["type"].as_str().expect("is text").to_owned())
        .collect()
}

fn gaps(records: &[Read]) -> Vec<crate::contents::Gap> {
    of_kind(records, Kind::Gap)
        .iter()
        .map(|record| record.gap())
        .collect()
}

#[test]
fn every_kind_of_record_is_read_back_as_it_was_told() {
    let temporary = folder();
    let mut desk = Desk::begin(temporary.path(), Plan::default()).expect("can be begun");
    desk.enter(0, "PA_a");
    for tenth in 0..25 {
        desk.call(tenth * 100);
    }
    desk.report(2500, CAMERA);
    let participant = || "PA_a".to_owned();
    desk.tell(
        2600,
        Fact::Chat {
            participant: participant(),
            text: "今天怎么样？".into(),
        },
    );
    let track = "TR_camera".to_owned();
    desk.tell(
        2700,
        Fact::Muted {
            participant: participant(),
            track,
            is_muted: true,
        },
    );
    let overflow = Gap {
        from: desk.at_ms(2700),
        until: desk.at_ms(2800),
        reason: TapGapReason::RecordingMemory,
        tracks: vec![GapTrack {
            publication: CAMERA,
            packets: 4,
        }],
        notices: 0,
    };
    desk.scribe.entry(&Entry::Gap(&overflow));
    desk.end_track(2900, CAMERA);
    desk.tell(
        2950,
        Fact::Left {
            participant: participant(),
        },
    );
    desk.turn(3000);
    let ended = desk.close(3100);
    let records = desk.read();

    let kinds: BTreeSet<u8> = records.iter().map(|record| record.kind.byte()).collect();
    assert_eq!(
        kinds,
        (1..=8).collect(),
        "every kind but padding, which was skipped"
    );
    let expected = [
        "recording_started",
        "participant_joined",
        "consent",
        "chat",
        "muted",
        "participant_left",
        "recording_stopped",
    ];
    assert_eq!(types(&records), expected);
    let tracks = of_kind(&records, Kind::Track);
    let camera = tracks
        .iter()
        .find(|record| record.json()["mime"] == "video/VP8");
    let camera = camera.expect("there was a camera");
    assert_eq!(camera.json()["width"], 640);
    let packets = of_kind(&records, Kind::Rtp);
    assert_eq!(packets.len(), 25 * 8);
    let pictures: Vec<_> = packets
        .iter()
        .filter(|record| record.track == camera.track)
        .collect();
    assert_eq!(pictures.len(), 75);
    for (number, record) in (1..).zip(&pictures) {
        assert_eq!(
            record.body,
            super::fixture::packet(CAMERA, number, 1100),
            "packet {number}"
        );
        assert_eq!(record.flags.has(Flags::KEYFRAME), number % 100 == 1);
        assert_eq!(record.flags.has(Flags::RECOVERED), number % 50 == 3);
    }
    let [gap] = &gaps(&records)[..] else {
        panic!("one gap was told");
    };
    assert_eq!(
        (gap.from_us, gap.until_us, gap.reason),
        (2_700_000, 2_800_000, GapReason::Overflow)
    );
    assert_eq!(gap.packets, BTreeMap::from([(camera.track, 4)]));
    let entry = ended
        .contents
        .tracks
        .iter()
        .find(|entry| entry.track == camera.track);
    let entry = entry.expect("is listed");
    assert_eq!((entry.expected, entry.stored, entry.lost), (79, 75, 4));
    let end = of_kind(&records, Kind::SegmentEnd)[0].json();
    assert_eq!(end["stored"][camera.track.to_string()], 75);
    assert_eq!(end["keyframes"][0][0], camera.track);
}

#[test]
fn redundant_sound_and_plain_sound_are_one_track() {
    let temporary = folder();
    let mut desk = Desk::begin(temporary.path(), Plan::default()).expect("can be begun");
    desk.enter(0, "PA_a");
    desk.packet(10, MICROPHONE, 100);
    let mut red = super::fixture::packet(MICROPHONE, 2, 100);
    red[1] = 63;
    desk.scribe.entry(&Entry::Rtp(sfu::tap::RtpEntry {
        publication: MICROPHONE,
        rank: 0,
        at: desk.at_ms(20),
        seq: sfu::unit::SeqNo(65_538),
        is_recovered: false,
        starts_keyframe: false,
        bytes: &red,
    }));
    desk.close(1000);
    let records = desk.read();
    let [track] = of_kind(&records, Kind::Track)[..] else {
        panic!("one track");
    };
    assert_eq!(
        (&track.json()["mime"], &track.json()["payload_type"]),
        (&"audio/opus".into(), &111.into())
    );
    assert_eq!(track.json()["red_payload_type"], 63);
    assert_eq!(of_kind(&records, Kind::Rtp).len(), 2);
}

#[test]
fn what_nobody_agreed_on_is_recorded_as_it_came_and_marked_as_unplayable() {
    let temporary = folder();
    let mut desk = Desk::begin(temporary.path(), Plan::default()).expect("can be begun");
    desk.enter(0, "PA_a");
    let mut foreign = super::fixture::packet(CAMERA, 1, 300);
    foreign[1] = 77;
    desk.scribe.entry(&Entry::Rtp(sfu::tap::RtpEntry {
        publication: CAMERA,
        rank: 0,
        at: desk.at_ms(20),
        seq: sfu::unit::SeqNo(65_537),
        is_recovered: false,
        starts_keyframe: false,
        bytes: &foreign,
    }));
    desk.close(1000);
    let records = desk.read();
    let [track] = of_kind(&records, Kind::Track)[..] else {
        panic!("one track");
    };
    assert_eq!(track.json()["mime"], "application/octet-stream");
    assert_eq!(track.json()["payload_type"], 77);
    assert_eq!(
        crate::depacketize::Format::of("application/octet-stream", None),
        None
    );
    let [packet] = of_kind(&records, Kind::Rtp)[..] else {
        panic!("one packet");
    };
    assert_eq!(packet.body, foreign);
}

#[test]
fn what_was_held_back_for_want_of_consent_is_told_as_such() {
    let temporary = folder();
    let mut desk = Desk::begin(temporary.path(), Plan::default()).expect("can be begun");
    desk.enter(0, "PA_a");
    let held = HeldBack {
        publication: CAMERA,
        transport: sfu::id::TransportId(1),
        at: desk.at_ms(500),
        packets: 17,
    };
    desk.scribe.entry(&Entry::HeldBack(&held));
    let ended = desk.close(1000);
    let told = gaps(&desk.read());
    assert_eq!(told, ended.contents.gaps);
    assert_eq!(
        (told[0].reason, told[0].packets.get(&0)),
        (GapReason::Consent, Some(&17))
    );
}

#[test]
fn segments_roll_by_time_and_by_size_and_each_begins_with_what_lives() {
    for (limits, least) in [
        (
            Limits {
                segment_seconds_max: 3,
                ..Limits::default()
            },
            4,
        ),
        (
            Limits {
                segment_bytes_max: 8 * 65_536,
                ..Limits::default()
            },
            3,
        ),
    ] {
        let temporary = folder();
        let plan = Plan {
            limits,
            ..Plan::default()
        };
        let mut desk = Desk::begin(temporary.path(), plan).expect("can be begun");
        desk.enter(0, "PA_a");
        for tenth in 0..100 {
            desk.call(tenth * 100);
        }
        desk.close(10_000);
        let records = desk.read();
        let heads = of_kind(&records, Kind::SegmentHead);
        assert!(heads.len() >= least, "{} segments", heads.len());
        for (number, head) in heads.iter().enumerate() {
            let head = head.json();
            assert_eq!(head["segment"], number);
            let lives = if number == 0 { 0 } else { 2 };
            assert_eq!(head["tracks"].as_array().expect("is a list").len(), lives);
        }
        for number in 0..segments(&desk.folder) {
            let path = desk.folder.join(Part::Segment(number).to_string());
            let bytes = fs::metadata(path).expect("is there").len();
            assert!(
                bytes <= limits.segment_bytes_max,
                "{bytes} bytes in segment {number}"
            );
        }
        assert_eq!(of_kind(&records, Kind::Rtp).len(), 800);
        let times: Vec<u64> = of_kind(&records, Kind::Rtp)
            .iter()
            .map(|record| record.at_us)
            .collect();
        assert_eq!(times.iter().max(), Some(&9_980_000));
        let unfinished = names(&desk.folder)
            .into_iter()
            .find(|name| name.contains("unfinished"));
        assert_eq!(unfinished, None, "the room ahead was given back");
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("is there");
    entries
        .map(|entry| {
            entry
                .expect("can be read")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect()
}

#[test]
fn a_segment_ends_sixty_four_kilobytes_after_a_flush_at_most_and_opens_with_age() {
    let temporary = folder();
    let mut desk = Desk::begin(temporary.path(), Plan::default()).expect("can be begun");
    desk.enter(0, "PA_a");
    for tenth in 0..30 {
        desk.call(tenth * 100);
    }
    desk.close(3000);
    let key = temporary.path().join("key.txt");
    fs::write(&key, desk.identity().to_text().as_bytes()).expect("can be written");
    let output = std::process::Command::new("age")
        .args(["-d", "-i", key.to_str().expect("is UTF-8")])
        .arg(desk.folder.join("seg-000000.age"))
        .output()
        .expect("the Debian package age is installed");
    assert!(output.status.success());
    assert!(
        output
            .stdout
            .windows(PATTERN.len())
            .any(|window| window == PATTERN)
    );
    assert_eq!(output.stdout[0], Kind::SegmentHead.byte());
}

#[test]
fn nothing_that_was_said_or_shown_or_named_lies_on_the_disk_in_the_clear() {
    let temporary = folder();
    let mut desk = Desk::begin(temporary.path(), Plan::default()).expect("can be begun");
    desk.enter(0, "PA_secretsid");
    let text = "the secret diagnosis".to_owned();
    desk.tell(
        50,
        Fact::Chat {
            participant: "PA_secretsid".into(),
            text,
        },
    );
    let identity = desk.identity();
    let mut patterns = vec![
        PATTERN.to_vec(),
        b"doctor-wang".to_vec(),
        "王医生".as_bytes().to_vec(),
        b"ward 7".to_vec(),
        b"secret diagnosis".to_vec(),
        b"PA_secretsid".to_vec(),
        b"TR_camera".to_vec(),
        identity.secret().bytes().to_vec(),
        identity.to_text().as_bytes().to_vec(),
    ];
    let mut draws = fixed_random(1);
    // The recording's secret is drawn first, the release half second.
    let (mut secret, mut half) = ([0; 32], [0; 32]);
    draws(&mut secret);
    draws(&mut half);
    assert_eq!(
        &secret,
        identity.secret().bytes(),
        "this test knows what was drawn"
    );
    patterns.push(half.to_vec());
    patterns.push(
        secret
            .iter()
            .zip(half)
            .map(|(one, other)| one ^ other)
            .collect(),
    );
    for tenth in 0..30 {
        desk.call(tenth * 100);
        for name in names(&desk.folder) {
            let bytes = fs::read(desk.folder.join(&name)).expect("can be read");
            for pattern in &patterns {
                let is_there = bytes.windows(pattern.len()).any(|window| window == pattern);
                assert!(
                    !is_there,
                    "{name} betrays {:?}",
                    String::from_utf8_lossy(pattern)
                );
            }
            assert!(
                !name.contains("share-s"),
                "the server's share lies elsewhere"
            );
        }
    }
}

#[test]
fn a_ticket_is_answered_when_its_fact_is_on_the_disk() {
    let temporary = folder();
    let mut desk = Desk::begin(temporary.path(), Plan::default()).expect("can be begun");
    desk.turn(100);
    let at = desk.at_ms(110);
    let joined = Fact::Joined {
        participant: "PA_a".into(),
        identity: "a".into(),
        name: "A".into(),
    };
    desk.scribe.fact(at, joined, None);
    let state = crate::journal::body::ConsentState::Granted;
    let consent = Fact::Consent {
        participant: "PA_a".into(),
        state,
    };
    desk.scribe.fact(at, consent, Some(Ticket(7)));
    assert_eq!(desk.scribe.take_reports(), []);
    desk.turn(120);
    assert_eq!(desk.scribe.take_reports(), [Report::Durable(Ticket(7))]);
    let records = desk.read();
    assert_eq!(
        types(&records),
        ["recording_started", "participant_joined", "consent"]
    );
}

/// A recording of some seconds on a disk that the test steers.
fn on_faulty_disk(temporary: &TempDir, limits: Limits) -> (Desk, FaultyDisk) {
    let disk = FaultyDisk::default();
    let plan = Plan {
        limits,
        disk: Box::new(disk.clone()),
        ..Plan::default()
    };
    let mut desk = Desk::begin(temporary.path(), plan).expect("can be begun");
    desk.enter(0, "PA_a");
    for tenth in 0..20 {
        desk.call(tenth * 100);
    }
    assert_eq!(desk.scribe.take_reports(), []);
    (desk, disk)
}

/// Every packet that was sent is in the journal or in a gap, and the statement says the same.
fn check_completeness(desk: &Desk, ended: &super::scribe::Ended, sent: u64) {
    let records = desk.read();
    let stored = of_kind(&records, Kind::Rtp).len() as u64;
    let missing: u64 = gaps(&records)
        .iter()
        .flat_map(|gap| gap.packets.values())
        .sum();
    assert_eq!(stored + missing, sent, "{stored} stored, {missing} in gaps");
    let sum = |part: fn(&crate::contents::TrackEntry) -> u64| -> u64 {
        ended.contents.tracks.iter().map(part).sum()
    };
    assert_eq!(sum(|track| track.stored), stored);
    assert_eq!(sum(|track| track.lost), missing);
    assert_eq!(gaps(&records), ended.contents.gaps);
}

#[test]
fn a_failing_disk_makes_one_gap_and_the_call_goes_on() {
    for fail in [
        (|disk: &FaultyDisk| disk.set(|mood| mood.error = Some(std::io::ErrorKind::Other)))
            as fn(&FaultyDisk),
        |disk| disk.set(|mood| mood.sync_error = true),
        |disk| disk.set(|mood| mood.room = Some(70_000)),
    ] {
        let temporary = folder();
        let (mut desk, disk) = on_faulty_disk(&temporary, Limits::default());
        fail(&disk);
        for tenth in 20..60 {
            desk.call(tenth * 100);
            if tenth == 40 {
                desk.tell(
                    4000,
                    Fact::Chat {
                        participant: "PA_a".into(),
                        text: "still here".into(),
                    },
                );
            }
        }
        let reports = desk.scribe.take_reports();
        assert!(
            matches!(reports[..], [Report::Interrupted(_)]),
            "{reports:?}"
        );
        disk.set(|mood| *mood = Default::default());
        for tenth in 60..80 {
            desk.call(tenth * 100);
        }
        assert_eq!(desk.scribe.take_reports(), [Report::Resumed]);
        let ended = desk.close(8000);
        let records = desk.read();
        let [gap] = &gaps(&records)[..] else {
            panic!("one gap: {:?}", gaps(&records));
        };
        assert_eq!(gap.reason, GapReason::Disk);
        assert!(
            gap.from_us >= 900_000 && gap.from_us <= 2_100_000,
            "from the last flush on"
        );
        assert!(
            gap.until_us >= 6_000_000 && gap.until_us <= 7_200_000,
            "until the disk was back"
        );
        assert!(
            types(&records).contains(&"chat".to_owned()),
            "what was said meanwhile is kept"
        );
        check_completeness(&desk, &ended, 80 * 8);
    }
}

#[test]
fn a_disk_that_fails_again_while_it_resumes_loses_no_count() {
    let temporary = folder();
    let (mut desk, disk) = on_faulty_disk(&temporary, Limits::default());
    disk.set(|mood| mood.sync_error = true);
    for tenth in 20..40 {
        desk.call(tenth * 100);
    }
    // Now heads can be written and made durable, but not much more.
    disk.set(|mood| {
        mood.sync_error = false;
        mood.room = Some(66_500);
    });
    for tenth in 40..60 {
        desk.call(tenth * 100);
    }
    disk.set(|mood| *mood = Default::default());
    for tenth in 60..80 {
        desk.call(tenth * 100);
    }
    let ended = desk.close(8000);
    check_completeness(&desk, &ended, 80 * 8);
}

#[test]
fn a_full_disk_is_known_a_segment_ahead() {
    let temporary = folder();
    let limits = Limits {
        segment_seconds_max: 4,
        ..Limits::default()
    };
    let disk = FaultyDisk::default();
    let plan = Plan {
        limits,
        disk: Box::new(disk.clone()),
        ..Plan::default()
    };
    let mut desk = Desk::begin(temporary.path(), plan).expect("can be begun");
    desk.enter(0, "PA_a");
    disk.set(|mood| mood.reservable = Some(0));
    for tenth in 0..30 {
        desk.call(tenth * 100);
    }
    assert!(desk.scribe.is_short_of_room());
    assert_eq!(
        desk.scribe.take_reports(),
        [],
        "the segment that has its room goes on"
    );
    for tenth in 30..70 {
        desk.call(tenth * 100);
    }
    assert_eq!(
        desk.scribe.take_reports(),
        [Report::Interrupted(Interruption::DiskFull)]
    );
    disk.set(|mood| mood.reservable = None);
    for tenth in 70..90 {
        desk.call(tenth * 100);
    }
    assert_eq!(desk.scribe.take_reports(), [Report::Resumed]);
    assert!(!desk.scribe.is_short_of_room());
    let ended = desk.close(9000);
    check_completeness(&desk, &ended, 90 * 8);
}

#[test]
fn a_disk_without_room_begins_no_recording() {
    let temporary = folder();
    let disk = FaultyDisk::default();
    disk.set(|mood| mood.reservable = Some(1 << 20));
    let plan = Plan {
        disk: Box::new(disk),
        ..Plan::default()
    };
    let error = Desk::begin(temporary.path(), plan)
        .err()
        .expect("there is no room");
    assert!(matches!(StartError::from(error), StartError::NoSpace));
}

/// A recording that lost its writer after `tenths` of a second times ten.
fn lost(temporary: &TempDir, tenths: u64) -> Desk {
    let mut desk = Desk::begin(temporary.path(), Plan::default()).expect("can be begun");
    desk.enter(0, "PA_a");
    for tenth in 0..tenths {
        desk.call(tenth * 100);
    }
    desk
}

#[test]
fn a_segment_cut_off_anywhere_gives_a_beginning_of_itself() {
    let temporary = folder();
    let desk = lost(&temporary, 30);
    let identity = desk.identity();
    let data = fs::read(desk.folder.join("seg-000000.age")).expect("is there");
    let (all, end) = read_segment(&data, &identity, 0, 0);
    assert!(
        matches!(end, Some(End::Torn { .. })),
        "its writer is still at it"
    );
    assert!(all.len() > 200);
    let head = data.len() % 65_552;
    proptest!(|(len in head..data.len())| {
        let (records, end) = read_segment(&data[..len], &identity, 0, 0);
        prop_assert_eq!(&records[..], &all[..records.len()]);
        let chunks = ((len - head) / 65_552) as u32;
        prop_assert_eq!(end, Some(End::Torn { chunks }));
    });
}

#[test]
fn no_changed_byte_of_a_segment_is_read_as_something_else() {
    let temporary = folder();
    let mut desk = lost(&temporary, 30);
    desk.close(3000);
    let identity = desk.identity();
    let data = fs::read(desk.folder.join("seg-000000.age")).expect("is there");
    let (all, _) = read_segment(&data, &identity, 0, 0);
    proptest!(|(at in 0..data.len(), bit in 0..8)| {
        let mut data = data.clone();
        data[at] ^= 1_u8 << bit;
        let Ok(mut reader) = SegmentReader::open(std::io::Cursor::new(&data), &identity) else {
            return Ok(());
        };
        let mut number = 0;
        let error = loop {
            match reader.next_record() {
                Ok(Some(record)) if record.kind == Kind::Padding => {}
                Ok(Some(record)) => {
                    prop_assert_eq!(record.body, &all[number].body[..]);
                    number += 1;
                }
                Ok(None) => break false,
                Err(_) => break true,
            }
        };
        let is_torn = matches!(reader.end(), Some(End::Torn { .. }));
        prop_assert!(error || is_torn);
    });
}

#[test]
fn reading_begins_at_any_chunk_after_a_flush() {
    let temporary = folder();
    let mut desk = lost(&temporary, 30);
    desk.close(3000);
    let identity = desk.identity();
    let data = fs::read(desk.folder.join("seg-000000.age")).expect("is there");
    let (all, _) = read_segment(&data, &identity, 0, 0);
    let mut reader = SegmentReader::open(std::io::Cursor::new(&data), &identity).expect("is ours");
    let chain = fs::read(desk.folder.join("seg-000000.chain")).expect("is there");
    let (_, mut rest) = crate::journal::chain::Head::parse(&chain).expect("is a chain");
    let (mut follows, mut seeks) = (false, 0);
    while let Ok(Some((link, after))) = crate::journal::chain::Entry::parse(rest) {
        rest = after;
        if let crate::journal::chain::Entry::Chunk {
            number, time_us, ..
        } = link
            && std::mem::take(&mut follows)
        {
            reader.seek(number).expect("can be sought");
            let record = reader.next_record().expect("is intact").expect("is there");
            assert_eq!(record.time_us, time_us, "chunk {number}");
            assert!(all.iter().any(|known| known.body == record.body));
            seeks += 1;
        }
        follows |= matches!(link, crate::journal::chain::Entry::Flushed(_));
    }
    assert!(seeks >= 3, "{seeks}");
}

#[test]
fn a_record_may_span_chunks() {
    let temporary = folder();
    let mut desk = Desk::begin(temporary.path(), Plan::default()).expect("can be begun");
    desk.enter(0, "PA_a");
    let text = "很长".repeat(40_000);
    desk.tell(
        10,
        Fact::Chat {
            participant: "PA_a".into(),
            text: text.clone(),
        },
    );
    desk.packet(20, CAMERA, 1100);
    desk.close(900);
    let records = desk.read();
    let chat = of_kind(&records, Kind::Event)
        .into_iter()
        .find(|record| record.json()["type"] == "chat");
    assert_eq!(chat.expect("is there").json()["text"], text.as_str());
    assert_eq!(of_kind(&records, Kind::Rtp).len(), 1);
}

#[test]
fn a_jump_of_the_wall_clock_is_told_and_moves_nothing() {
    let temporary = folder();
    let mut desk = lost(&temporary, 5);
    let wall = STARTED.after(Duration::from_secs(3600));
    desk.scribe.turn(desk.at_ms(600), wall);
    desk.packet(700, CAMERA, 100);
    desk.scribe
        .turn(desk.at_ms(800), wall.after(Duration::from_millis(200)));
    desk.close(1000);
    let records = desk.read();
    let steps = types(&records)
        .iter()
        .filter(|kind| *kind == "clock_step")
        .count();
    assert_eq!(steps, 1);
    assert!(records.iter().all(|record| record.at_us <= 1_000_000));
}

#[test]
fn a_salvaged_recording_goes_on_with_new_numbers() {
    let temporary = folder();
    let first = lost(&temporary, 20);
    let (header, release) = (header(&first.folder), first.release.clone());
    let summary = fs::read(first.folder.join("summary.json")).expect("is kept while it is open");
    let summary = OpenSummary::parse(&summary, header.recording).expect("is ours");
    drop(first);
    let folder = temporary.path().join(header.recording.to_string());
    let prev = super::vectors::salvage(&folder, 0);
    let resume = Resume {
        folder,
        header,
        room_name: "ward 7".into(),
        writer: 1,
        segment: 1,
        prev,
        durable_us: 2_000_000,
        contents: summary.contents,
        reason: "restart".into(),
    };
    let plan = Plan {
        seed: 9,
        ..Plan::default()
    };
    let mut second = Desk::resume(resume.into(), plan, release, 5_000_000).expect("can be resumed");
    second.enter(0, "PA_b");
    for tenth in 0..10 {
        second.call(tenth * 100);
    }
    let ended = second.close(1000);
    let records = second.read();
    assert_eq!(
        types(&records)
            .iter()
            .filter(|kind| *kind == "participant_joined")
            .count(),
        2
    );
    let participants: Vec<u16> = ended
        .contents
        .participants
        .iter()
        .map(|entry| entry.participant)
        .collect();
    assert_eq!(participants, [1, 2]);
    let tracks: Vec<u16> = ended
        .contents
        .tracks
        .iter()
        .map(|entry| entry.track)
        .collect();
    assert_eq!(tracks, [1, 2, 3, 4]);
    let [gap] = &gaps(&records)[..] else {
        panic!("one gap");
    };
    assert_eq!(
        (gap.from_us, gap.until_us, gap.reason),
        (2_000_000, 5_000_000, GapReason::Restart)
    );
    assert!(names(&second.folder).contains(&"index-000001.age".to_owned()));
}

// ---- threads -------------------------------------------------------------------------------

struct Threaded {
    recording: Recording,
    reports: mpsc::Receiver<Report>,
    closed: Arc<Mutex<Option<Closing>>>,
    release: Arc<Mutex<Vec<u8>>>,
    folder: PathBuf,
}

fn threaded(temporary: &TempDir, disk: FaultyDisk, limits: Limits) -> Threaded {
    let around = surroundings(keys(1, 1), limits, Box::new(disk));
    let start = start(temporary.path(), 3);
    let folder = start.folder();
    let closed = Arc::new(Mutex::new(None));
    let release = Arc::new(Mutex::new(Vec::new()));
    let (told, kept) = (Arc::clone(&closed), Arc::clone(&release));
    let closer: Closer = Box::new(move |closing| {
        *told.lock().expect("nobody panics") = Some(closing.clone());
        Ok(())
    });
    let mut keep = |sealed: &[u8]| {
        *kept.lock().expect("nobody panics") = sealed.to_vec();
        Ok(())
    };
    let recording = Recording::begin(start, around, &mut keep, closer).expect("can be begun");
    let (sender, reports) = mpsc::channel();
    recording.subscribe(Box::new(move |report| {
        // The test may have ended.
        let _heard = sender.send(report);
    }));
    Threaded {
        recording,
        reports,
        closed,
        release,
        folder,
    }
}

impl Threaded {
    fn expect(&self, report: Report) {
        let heard = self.reports.recv_timeout(Duration::from_secs(20));
        assert_eq!(heard, Ok(report));
    }
}

fn chat(text: &str) -> Fact {
    Fact::Chat {
        participant: "PA_a".into(),
        text: text.into(),
    }
}

fn joined() -> Fact {
    Fact::Joined {
        participant: "PA_a".into(),
        identity: "a".into(),
        name: "A".into(),
    }
}

#[test]
fn a_recording_acknowledges_and_closes() {
    let temporary = folder();
    let threaded = threaded(&temporary, FaultyDisk::default(), Limits::default());
    assert_eq!(threaded.recording.status(), Status::Recording);
    threaded.recording.tell(joined(), Some(Ticket(1)));
    threaded.expect(Report::Durable(Ticket(1)));
    threaded.recording.tell(chat("hello"), None);
    threaded.recording.stop("room finished");
    threaded.expect(Report::Closed);
    assert_eq!(threaded.recording.status(), Status::Closed);
    let closing = threaded
        .closed
        .lock()
        .expect("nobody panics")
        .take()
        .expect("was closed");
    assert_eq!(closing.reason, "room finished");
    assert_eq!(closing.contents.participants.len(), 1);
    assert!(!names(&threaded.folder).contains(&"summary.json".to_owned()));
    let release = threaded.release.lock().expect("nobody panics");
    let identity = open_recording(&threaded.folder, &release, &keys(1, 1));
    check_chains(&threaded.folder);
    let records = read_folder(&threaded.folder, &identity);
    let told = [
        "recording_started",
        "participant_joined",
        "chat",
        "recording_stopped",
    ];
    assert_eq!(types(&records), told);
}

#[test]
fn a_stuck_disk_is_told_and_nobody_waits_for_it() {
    let temporary = folder();
    let disk = FaultyDisk::default();
    let limits = Limits {
        stall_millis: 500,
        events_max: 100,
        ..Limits::default()
    };
    let threaded = threaded(&temporary, disk.clone(), limits);
    threaded.recording.tell(joined(), Some(Ticket(1)));
    threaded.expect(Report::Durable(Ticket(1)));
    disk.set(|mood| mood.delay = Duration::from_millis(1500));
    threaded.recording.tell(chat("one"), Some(Ticket(2)));
    threaded.expect(Report::Interrupted(Interruption::Stalled));
    let before = Instant::now();
    for number in 0..1000 {
        threaded.recording.tell(chat(&number.to_string()), None);
    }
    let _tap = threaded.recording.tap().expect("there is memory");
    assert!(
        before.elapsed() < Duration::from_millis(500),
        "nobody waits: {:?}",
        before.elapsed()
    );
    disk.set(|mood| mood.delay = Duration::ZERO);
    let mut heard = BTreeSet::new();
    while heard.len() < 2 {
        match threaded
            .reports
            .recv_timeout(Duration::from_secs(20))
            .expect("goes on")
        {
            Report::Durable(Ticket(2)) => heard.insert("durable"),
            Report::Resumed => heard.insert("resumed"),
            other => panic!("{other:?}"),
        };
    }
    threaded.recording.stop("room finished");
    threaded.expect(Report::Closed);
    let closing = threaded
        .closed
        .lock()
        .expect("nobody panics")
        .take()
        .expect("was closed");
    let overflow = closing
        .contents
        .gaps
        .iter()
        .find(|gap| gap.reason == GapReason::Overflow);
    assert!(overflow.is_some(), "of a thousand facts a hundred fit");
}

#[test]
fn without_an_officer_nothing_is_recorded_and_nothing_is_left() {
    let temporary = folder();
    let around = surroundings(
        keys(1, 0),
        Limits::default(),
        Box::new(FaultyDisk::default()),
    );
    let begun = Recording::begin(
        start(temporary.path(), 3),
        around,
        &mut |_| Ok(()),
        Box::new(|_| Ok(())),
    );
    let error = begun.expect_err("nobody could ever open it");
    assert!(matches!(error, StartError::Key(KeyError::NoOfficer)));
    assert!(names(temporary.path()).is_empty());
}

#[test]
fn a_release_share_that_cannot_be_kept_begins_no_recording() {
    let temporary = folder();
    let around = surroundings(
        keys(1, 1),
        Limits::default(),
        Box::new(FaultyDisk::default()),
    );
    let mut keep = |_: &[u8]| Err(io::ErrorKind::PermissionDenied.into());
    let begun = Recording::begin(
        start(temporary.path(), 3),
        around,
        &mut keep,
        Box::new(|_| Ok(())),
    );
    assert!(matches!(begun.err(), Some(StartError::Io(_))));
    assert!(names(temporary.path()).is_empty());
}

#[test]
fn what_a_later_program_wrote_is_read_as_unknown() {
    let text = r#"{"type":"hologram","at":"2026-11-22T02:00:00Z","participant":1,"depth":3}"#;
    let event: crate::journal::body::Event = serde_json::from_str(text).expect("is an event");
    assert_eq!(event.what, Happening::Unknown);
}
