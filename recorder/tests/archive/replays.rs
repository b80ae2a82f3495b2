//! Who may replay a recording, and what the audit has of it.

use std::fs;
use std::ops::Range;
use std::time::Duration;

use recorder::access::{Refused, ReleaseRequest};
use recorder::age::Identity;
use recorder::catalogue::State;
use recorder::keys::system_random;

use crate::house::{House, code, officer, reunited};

const SECOND: u64 = 1_000_000;

#[test]
fn an_officer_with_a_reason_gets_the_other_half() {
    let house = House::new(2, 1);
    let id = house.recorded("case-conference");
    let summary = house.archive.get(id).expect("is listed");
    assert_eq!(summary.state, State::Closed);
    assert_eq!(summary.participants, 1);
    assert!(summary.shreddable && !summary.live);
    for number in 0..2 {
        let request = house.ask(number, "complaint 17");
        let release = house.archive.release(id, &request).expect("is given");
        let (mine, other) = (&house.officers[number], &house.officers[1 - number]);
        assert_eq!(reunited(&house.folder(id), mine, &release), Ok(true));
        assert!(reunited(&house.folder(id), other, &release).is_err());
        let line = ("release".into(), "done".into(), "complaint 17".into());
        assert_eq!(house.last_line(id), line);
    }
}

#[test]
fn whoever_may_not_replay_is_refused_in_the_audit() {
    let house = House::new(2, 1);
    let id = house.recorded("case-conference");
    let revoked = house.officers[1].recipient();
    let house = house.restarted(|config| {
        config.keys.compliance.pop();
        config.keys.revoked.push(revoked);
    });
    let good = house.ask(0, "complaint 17");
    let stranger = Identity::generate(&mut system_random).recipient();
    let change = |change: &dyn Fn(&mut ReleaseRequest)| {
        let mut request = good.clone();
        change(&mut request);
        request
    };
    for (request, word) in [
        (change(&|it| it.reason = " \n".into()), "no_reason"),
        (change(&|it| it.reason = "x".repeat(2_001)), "no_reason"),
        (
            change(&|it| it.officer = stranger.to_string()),
            "unknown_officer",
        ),
        (
            change(&|it| it.officer = "age1nonsense".into()),
            "unknown_officer",
        ),
        (
            change(&|it| it.officer = revoked.to_string()),
            "revoked_officer",
        ),
        (
            change(&|it| it.actor.owner = "other-clinic".into()),
            "other_owner",
        ),
    ] {
        let refused = house.archive.release(id, &request);
        assert!(refused.is_err(), "{word}");
        let line = ("release".into(), "refused".into(), word.into());
        assert_eq!(house.last_line(id), line);
    }
    assert!(house.archive.release(id, &good).is_ok());
}

#[test]
fn nothing_is_released_while_the_audit_cannot_be_written() {
    let house = House::new(1, 1);
    let id = house.recorded("case-conference");
    // The next day needs a new page, and where the pages lie is no folder any more.
    let audit = house.dir.path().join("audit");
    fs::rename(&audit, house.dir.path().join("away")).expect("can be renamed");
    fs::write(&audit, "").expect("is written");
    house.set_clock(house.now().after(Duration::from_secs(86_400)));
    let release = || house.archive.release(id, &house.ask(0, "complaint 17"));
    assert_eq!(release().err(), Some(Refused::AuditUnwritable));
    let begun = house.archive.begin(house.begin("another"));
    let words = begun.expect_err("is refused").to_string();
    assert!(words.contains("audit log cannot be written"), "{words}");
    fs::remove_file(&audit).expect("was written above");
    fs::rename(house.dir.path().join("away"), &audit).expect("can be renamed");
    assert!(release().is_ok(), "and again as soon as it can");
}

#[test]
fn two_of_three_officers_must_ask() {
    let house = House::new(3, 2);
    let id = house.recorded("case-conference");
    let ask = |number| {
        house
            .archive
            .release(id, &house.ask(number, "complaint 17"))
    };
    let missing = Refused::OfficersMissing { have: 1, need: 2 };
    assert_eq!(ask(0).err(), Some(missing.clone()));
    assert_eq!(ask(0).err(), Some(missing), "the same one twice is one");
    assert_eq!(house.last_line(id).2, "officers_missing");
    assert!(ask(2).is_ok());
}

#[test]
fn every_range_and_every_second_is_in_the_audit() {
    let house = House::new(1, 1);
    let id = house.recorded("case-conference");
    let wang = officer("wang");
    let release = house.archive.release(id, &house.ask(0, "complaint 17"));
    let replay = release.expect("is given").replay;
    let archive = &house.archive;
    assert_eq!(
        archive.served(replay, &wang, id, "seg-000000.age", 5..9),
        Ok(())
    );
    let line = house.audit(id).pop().expect("there is one");
    assert_eq!(line["action"], "serve");
    assert_eq!(line["actor"], "wang");
    assert_eq!(line["detail"]["bytes"], serde_json::json!([5, 9]));
    let half = SECOND / 2..SECOND;
    let reports: [&[Range<u64>]; 2] = [
        &[0..SECOND, 3 * SECOND..4 * SECOND],
        std::slice::from_ref(&half),
    ];
    for report in reports {
        assert_eq!(archive.watched(replay, &wang, report), Ok(()));
    }
    let beyond = archive.watched(replay, &wang, &[0..3_600 * SECOND]);
    assert_eq!(beyond, Err(Refused::NotWatchable));
    assert_eq!(
        archive.exported(replay, &wang, "webm of participant 1"),
        Ok(())
    );
    assert_eq!(archive.end_replay(replay, &wang), Ok(()));
    let line = house.audit(id).pop().expect("there is one");
    assert_eq!(line["action"], "end");
    assert_eq!(line["detail"]["watched_total_us"], 2 * SECOND);
    let spans = serde_json::json!([[0, SECOND], [3 * SECOND, 4 * SECOND]]);
    assert_eq!(line["detail"]["watched_us"], spans);
    let late = archive.served(replay, &wang, id, "seg-000000.age", 0..1);
    assert_eq!(code(late), "no_replay");
    assert_eq!(house.last_line(id).1, "refused");
}

#[test]
fn a_replay_is_good_for_its_officer_and_its_recording_alone() {
    let house = House::new(1, 1);
    let (id, other) = (house.recorded("one"), house.recorded("other"));
    let release = house.archive.release(id, &house.ask(0, "complaint 17"));
    let replay = release.expect("is given").replay;
    for (actor, recording) in [(officer("zhao"), id), (officer("wang"), other)] {
        let served = house
            .archive
            .served(replay, &actor, recording, "seg-000000.age", 0..1);
        assert_eq!(served, Err(Refused::NoReplay));
        let line = ("serve".into(), "refused".into(), "no_replay".into());
        assert_eq!(house.last_line(recording), line);
    }
    let house = house.restarted(|_| {});
    let served = house
        .archive
        .served(replay, &officer("wang"), id, "seg-000000.age", 0..1);
    assert_eq!(
        served,
        Err(Refused::NoReplay),
        "a restart asks for the reason again"
    );
}

#[test]
fn only_files_of_a_recording_can_be_read() {
    let house = House::new(1, 1);
    let id = house.recorded("case-conference");
    let header = fs::read(house.folder(id).join("header.json")).expect("is there");
    let end = header.len() as u64;
    let read = |name: &str, range: Range<u64>| house.archive.read(id, name, range).ok();
    assert_eq!(read("header.json", 0..end), Some(header));
    assert_eq!(read("header.json", 0..end + 1), None);
    for name in ["../../keys/release.txt", "summary.json", "share-s.age", ""] {
        assert_eq!(read(name, 0..0), None, "{name}");
    }
    let files = house.archive.files(id).expect("is there");
    assert!(files.iter().any(|file| file.name == "manifest.proof"));
    assert!(
        files
            .iter()
            .any(|file| file.name == "header.json" && file.bytes == end)
    );
}

#[test]
fn a_flipped_bit_is_found_and_remembered() {
    let house = House::new(1, 1);
    let id = house.recorded("case-conference");
    let found = house
        .archive
        .verify(id, &officer("wang"))
        .expect("is verified");
    assert!(found.intact, "{found:?}");
    let segment = house.folder(id).join("seg-000000.age");
    let mut bytes = fs::read(&segment).expect("is there");
    *bytes.last_mut().expect("is not empty") ^= 1;
    fs::write(&segment, bytes).expect("root may");
    let found = house
        .archive
        .verify(id, &officer("wang"))
        .expect("is verified");
    assert!(!found.intact);
    assert!(found.findings[0].contains("seg-000000"), "{found:?}");
    let house = house.restarted(|_| {});
    let summary = house.archive.get(id).expect("is listed");
    assert_eq!(summary.verification, Some(found));
}
