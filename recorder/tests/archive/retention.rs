//! How long recordings stay, whoever asks and whatever the clock says, and what is left of them.

use std::fs;
use std::time::Duration;

use recorder::access::{Actor, Refused};
use recorder::archive::BeginError;
use recorder::catalogue::State;
use recorder::id::RecordingId;
use recorder::wall::Wall;

use crate::double::{Double, Fault};
use crate::house::{House, copy, joined, officer, reunited};

const YEARS_20: u64 = 20 * 365 * 86_400 * 1_000_000;

/// Everybody who could ask.
fn everyone() -> [Actor; 3] {
    [officer("wang"), officer("operator"), officer("root")]
}

#[track_caller]
fn is_kept_from_everyone(house: &House, id: RecordingId, until: Wall) {
    for actor in everyone() {
        let refused = house.archive.delete(id, &actor).expect_err("must be kept");
        assert_eq!(refused.code(), "retained");
        assert_eq!(refused.until(), Some(until));
        assert!(
            refused.to_string().contains(&until.to_string()),
            "{refused}"
        );
        let (action, outcome, _) = house.last_line(id);
        assert_eq!((action.as_str(), outcome.as_str()), ("delete", "refused"));
    }
    assert!(house.archive.expire_due().expired.is_empty());
    assert!(house.folder(id).join("manifest.json").exists());
}

#[test]
fn before_its_date_nobody_deletes_a_recording() {
    let house = House::new(1, 1);
    let id = house.recorded("case-conference");
    let until = house.now().years_later(3);
    is_kept_from_everyone(&house, id, until);
    let stranger = Actor {
        identity: "wang".into(),
        owner: "other-clinic".into(),
    };
    assert_eq!(
        house.archive.delete(id, &stranger),
        Err(Refused::OtherOwner)
    );
    let house = house.restarted(|config| {
        // Whoever writes the configuration cannot shorten what was promised at the start.
        let short = "1d".parse().expect("a period");
        config.retention.classes.insert("consult-3y".into(), short);
    });
    is_kept_from_everyone(&house, id, until);
}

#[test]
fn moving_the_clock_does_not_help() {
    let house = House::new(1, 1);
    let id = house.recorded("case-conference");
    let start = house.now();
    let until = start.years_later(3);
    for wrong in [Wall(start.0 + YEARS_20), Wall(start.0 - YEARS_20)] {
        house.set_clock(wrong);
        is_kept_from_everyone(&house, id, until);
        assert!(house.archive.expire_due().is_clock_doubted);
        house.archive.tick();
        is_kept_from_everyone(&house, id, until);
    }
    house.set_clock(start);
    assert!(!house.archive.expire_due().is_clock_doubted);
}

#[test]
fn neither_does_a_restart_with_a_wrong_clock() {
    let mut house = House::new(1, 1);
    let id = house.recorded("case-conference");
    let until = house.now().years_later(3);
    house.set_clock(Wall(house.now().0 + YEARS_20));
    for _ in 0..3 {
        house = house.restarted(|_| {});
        house.archive.tick();
        // Lines that are written in doubt vouch for nothing.
        is_kept_from_everyone(&house, id, until);
    }
}

#[test]
fn a_recording_begun_with_a_wrong_clock_is_kept() {
    for (offset, name) in [(0, "early"), (YEARS_20, "right"), (YEARS_20 * 2, "late")] {
        // The house stands since 2026; then its clock says 2006, 2026 or 2046, and later 20 years more.
        let house = House::new(1, 1);
        let now = Wall(house.now().0 - YEARS_20 + offset);
        house.set_clock(now);
        let house = house.restarted(|_| {});
        let id = house.recorded(name);
        let summary = house.archive.get(id).expect("is listed");
        house.set_clock(Wall(now.0 + YEARS_20));
        let house = house.restarted(|_| {});
        is_kept_from_everyone(&house, id, summary.retention.until);
    }
}

#[test]
fn what_is_begun_with_a_clock_that_is_late_is_kept_for_its_whole_time() {
    let house = House::new(1, 1);
    let right = house.now();
    house.set_clock(Wall(right.0 - YEARS_20));
    let id = house.recorded("case-conference");
    house.set_clock(right);
    is_kept_from_everyone(&house, id, right.years_later(3));
    house.confirm_clock();
    is_kept_from_everyone(&house, id, right.years_later(3));
}

#[test]
fn a_hold_keeps_a_recording_beyond_its_date() {
    let house = House::new(1, 1);
    let id = house.recorded("case-conference");
    let wang = officer("wang");
    let archive = &house.archive;
    assert_eq!(
        archive.hold(id, &wang, "court-9", ""),
        Err(Refused::NoReason { max: 2_000 })
    );
    assert_eq!(
        archive.hold(id, &wang, "court 9", "order"),
        Err(Refused::NotACase { max: 64 })
    );
    assert_eq!(archive.hold(id, &wang, "court-9", "order"), Ok(()));
    assert_eq!(
        archive.hold(id, &wang, "court-9", "order"),
        Err(Refused::AlreadyHeld)
    );
    house.pass_years(4);
    let house = house.restarted(|_| {});
    let expiry = house.archive.expire_due();
    assert_eq!((expiry.expired.len(), expiry.kept), (0, vec![id]));
    let cases = vec!["court-9".to_owned()];
    assert_eq!(
        house.archive.delete(id, &wang),
        Err(Refused::Held { cases })
    );
    assert_eq!(house.archive.lift_hold(id, &wang, "court-9"), Ok(()));
    assert_eq!(house.archive.expire_due().expired, [id]);
}

#[test]
fn a_date_is_only_ever_moved_to_later() {
    let house = House::new(1, 1);
    let id = house.recorded("case-conference");
    let (wang, start) = (officer("wang"), house.now());
    let extend = |years| {
        house
            .archive
            .extend(id, &wang, start.years_later(years), "law")
    };
    let until = start.years_later(3);
    assert_eq!(extend(2), Err(Refused::OnlyExtended { until }));
    assert_eq!(extend(15), Ok(()));
    let house = house.restarted(|_| {});
    house.pass_years(4);
    is_kept_from_everyone(&house, id, start.years_later(15));
    assert_eq!(house.last_line(id).0, "delete");
}

#[test]
fn after_expiry_a_backup_taken_before_cannot_be_opened() {
    let house = House::new(1, 1);
    let id = house.recorded("case-conference");
    let request = house.ask(0, "complaint 17");
    let release = house.archive.release(id, &request).expect("is given");
    let (backup, officer_key) = (tempfile::tempdir().expect("a folder"), &house.officers[0]);
    copy(&house.dir.path().join("recordings"), backup.path());
    let copied = backup.path().join(id.to_string());
    // The backup is good: with the other half it opens.
    assert_eq!(reunited(&copied, officer_key, &release), Ok(true));

    house.pass_years(3);
    assert_eq!(house.archive.expire_due().expired, [id]);

    // What is left of the server holds no share, in no file.
    let shares = fs::read_dir(house.dir.path().join("release")).expect("is there");
    assert_eq!(shares.count(), 0);
    assert!(!house.folder(id).exists());
    // Also for a server that is given the backup back.
    copy(backup.path(), &house.dir.path().join("recordings"));
    let refused = house.archive.release(id, &request);
    assert_eq!(refused.err(), Some(Refused::Expired));
    let house = house.restarted(|_| {});
    let refused = house.archive.release(id, &request);
    assert_eq!(
        refused.err(),
        Some(Refused::Expired),
        "the tombstone is in the log"
    );
    assert_eq!(house.last_line(id).2, "expired");
}

#[test]
fn a_tombstone_is_what_stays() {
    let house = House::new(1, 1);
    let id = house.recorded("case-conference");
    let before = house.archive.get(id).expect("is listed");
    house.pass_years(3);
    assert_eq!(house.archive.delete(id, &officer("wang")), Ok(()));
    assert_eq!(
        house.archive.delete(id, &officer("wang")),
        Err(Refused::Expired)
    );
    let house = house.restarted(|_| {});
    let after = house.archive.get(id).expect("is still listed");
    assert_eq!(after.state, State::Expired);
    assert_eq!(
        (after.room_sid, after.started),
        (before.room_sid, before.started)
    );
    let actions: Vec<_> = house
        .audit(id)
        .into_iter()
        .map(|line| line["action"].clone())
        .collect();
    assert_eq!(actions, ["begin", "close", "expire", "delete"]);
    let log = house.dir.path().join("log/tile/entries/000.p");
    let entries = fs::read_dir(log)
        .expect("is there")
        .next()
        .expect("a tile")
        .expect("reads");
    let entries = fs::read(entries.path()).expect("is there");
    let entries = String::from_utf8_lossy(&entries).into_owned();
    assert!(
        entries.contains("tombstone") && entries.contains(&id.to_string()),
        "{entries}"
    );
}

#[test]
fn an_end_that_was_cut_off_is_begun_again() {
    let double = Double::start();
    let mut s3 = double.config();
    s3.keep_local = 1;
    let house = House::with(1, 1, |config| config.s3 = Some(s3));
    let id = house.recorded("case-conference");
    assert!(
        house
            .archive
            .upload()
            .expect("is configured")
            .failed
            .is_empty()
    );
    house.pass_years(3);
    double.bucket().now = house.now();
    let files = house.archive.files(id).expect("is there").len();
    // The store fails after all were asked for their lock, at the third deletion.
    let mut faults = vec![Fault::None; files + 2];
    faults.push(Fault::Busy);
    double.fail(&faults);
    let expiry = house.archive.expire_due();
    assert_eq!((expiry.expired.len(), expiry.kept), (0, vec![id]));
    assert!(
        !house.dir.path().join(format!("release/{id}.age")).exists(),
        "unreadable already"
    );
    let house = house.restarted(|_| {});
    assert_eq!(house.archive.expire_due().expired, [id]);
    assert!(double.bucket().objects.is_empty());
    assert!(!house.folder(id).exists());
}

#[test]
fn the_stores_own_lock_is_a_second_opinion() {
    let double = Double::start();
    let house = House::with(1, 1, |config| config.s3 = Some(double.config()));
    let id = house.recorded("case-conference");
    assert!(
        house
            .archive
            .upload()
            .expect("is configured")
            .failed
            .is_empty()
    );
    let until = house.now().years_later(4);
    for versions in double.bucket().objects.values_mut() {
        versions[0].until = Some(until);
    }
    house.pass_years(3);
    let refused = house.archive.delete(id, &officer("wang"));
    assert_eq!(refused, Err(Refused::Retained { until }));
    assert!(house.dir.path().join(format!("release/{id}.age")).exists());
}

#[test]
fn a_recording_in_the_object_store_is_read_and_verified_there() {
    let double = Double::start();
    let house = House::with(1, 1, |config| config.s3 = Some(double.config()));
    let id = house.recorded("case-conference");
    let archive = &house.archive;
    assert_eq!(
        archive.get(id).expect("is listed").stored_remotely,
        Some(false)
    );
    let before = archive.files(id).expect("is there");
    let segment = house.folder(id).join("seg-000000.age");
    let bytes = fs::read(&segment).expect("is there");
    assert!(archive.upload().expect("is configured").failed.is_empty());
    assert!(!segment.exists(), "it is not here any more");
    assert_eq!(
        archive.get(id).expect("is listed").stored_remotely,
        Some(true)
    );
    assert_eq!(archive.files(id).expect("is there"), before);
    let range = 10..bytes.len() as u64;
    let read = archive.read(id, "seg-000000.age", range).expect("is read");
    assert_eq!(read, bytes[10..]);
    let found = archive.verify(id, &officer("wang")).expect("is verified");
    assert!(found.intact, "{found:?}");
    let name = double
        .bucket()
        .objects
        .keys()
        .find(|name| name.ends_with("seg-000000.age"))
        .cloned();
    let name = name.expect("is there");
    double.bucket().objects.get_mut(&name).expect("is there")[0].bytes[bytes.len() / 2] ^= 1;
    let found = archive.verify(id, &officer("wang")).expect("is verified");
    assert!(!found.intact);
}

#[test]
fn a_header_that_was_rewritten_lets_nothing_expire() {
    let house = House::new(1, 1);
    let id = house.recorded("case-conference");
    let path = house.folder(id).join("header.json");
    let text = fs::read_to_string(&path).expect("is there");
    fs::write(&path, text.replace("2029-", "2026-")).expect("root may");
    let house = house.restarted(|_| {});
    house.pass_years(20);
    assert!(house.archive.expire_due().expired.is_empty());
    let summary = house.archive.get(id).expect("is listed");
    assert!(summary.verification.is_some_and(|found| !found.intact));
}

#[test]
fn without_an_officer_nothing_is_recorded() {
    let house = House::new(0, 1);
    let refused = house.archive.begin(house.begin("case-conference"));
    let words = refused.expect_err("nobody could open it").to_string();
    assert!(words.contains("consilium keygen compliance"), "{words}");
    assert!(house.archive.list().is_empty());
}

#[test]
fn a_disk_with_too_little_free_takes_no_new_recording() {
    // No disk is wholly free: this file's own folder is on it.
    let house = House::with(1, 1, |config| config.limits.free_percent_min = 100);
    let refused = house.archive.begin(house.begin("case-conference"));
    assert!(matches!(refused, Err(BeginError::NoSpace)));
    assert!(house.archive.list().is_empty());
}

#[test]
fn a_room_has_one_recording_at_a_time() {
    let house = House::new(1, 1);
    let one = house
        .archive
        .begin(house.begin("case-conference"))
        .expect("begins");
    let same = house
        .archive
        .begin(house.begin("case-conference"))
        .expect("goes on");
    let other = house.archive.begin(house.begin("other")).expect("begins");
    one.tell(joined(), None);
    other.tell(joined(), None);
    assert_eq!(one.id(), same.id());
    assert_ne!(one.id(), other.id());
    assert!(house.archive.get(one.id()).expect("is listed").live);
    assert_eq!(
        house
            .archive
            .delete(one.id(), &officer("wang"))
            .expect_err("open")
            .code(),
        "retained"
    );
    house.archive.finish(Duration::from_secs(60));
    let list = house.archive.list();
    assert!(
        list.iter().all(|it| it.state == State::Closed && !it.live),
        "{list:?}"
    );
}
