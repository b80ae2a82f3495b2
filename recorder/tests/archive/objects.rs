//! The way of recordings into an object store and out of it, against a strict store with faults in
//! this process and against a package that others wrote (moto).
//!
//! Whoever made the recordings does not matter here: the files of a folder are brought away.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use recorder::id::RecordingId;
use recorder::notes::{Notes, NotesStore};
use recorder::store::local::LocalStore;
use recorder::store::s3::{S3Config, S3Error, S3Store};
use recorder::upload::{Turn, UploadError, Uploader, Wanted};
use recorder::wall::Wall;
use tempfile::TempDir;

use crate::double::{Double, Fault};

const DAY: Duration = Duration::from_secs(86_400);

/// The files of a closed recording with two segments.
const FILES: [&str; 8] = [
    "header.json",
    "header.sig",
    "share-c.age",
    "seg-000000.age",
    "seg-000000.chain",
    "seg-000001.age",
    "seg-000001.chain",
    "manifest.json",
];

fn now() -> Wall {
    "2026-11-22T02:00:00Z".parse().expect("a time")
}

/// A folder with one recording, and what brings it away.
pub(crate) struct Scene {
    _dir: TempDir,
    local: Arc<LocalStore>,
    notes: Arc<NotesStore>,
    pub(crate) uploader: Uploader,
    pub(crate) store: S3Store,
    pub(crate) wanted: Wanted,
}

impl Scene {
    pub(crate) fn new(config: &S3Config) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let local = LocalStore::open(&dir.path().join("recordings")).expect("opens");
        let notes = NotesStore::open(&dir.path().join("catalogue")).expect("opens");
        let (local, notes) = (Arc::new(local), Arc::new(notes));
        let id = RecordingId::new(now(), [7; 10]);
        fs::create_dir(local.folder(id)).expect("a new folder");
        for name in FILES {
            let bytes = name.repeat(20_000 / name.len());
            fs::write(local.folder(id).join(name), bytes).expect("is written");
        }
        let uploader = Uploader::new(config, Arc::clone(&local), Arc::clone(&notes));
        Self {
            _dir: dir,
            uploader: uploader.expect("is configured"),
            store: S3Store::new(config).expect("is configured"),
            local,
            notes,
            wanted: Wanted {
                id,
                is_open: false,
                until: now().years_later(3),
                is_held: false,
            },
        }
    }

    pub(crate) fn turn(&self) -> Turn {
        self.uploader.turn(&[self.wanted], now())
    }

    pub(crate) fn name(&self, file: &str) -> String {
        format!("recordings/{}/{file}", self.wanted.id)
    }

    pub(crate) fn notes(&self) -> Notes {
        self.notes.read(self.wanted.id)
    }

    fn local_segments(&self) -> usize {
        let folder = self.local.folder(self.wanted.id);
        let entries = fs::read_dir(folder).expect("is there");
        let names = entries.map(|entry| entry.expect("reads").file_name());
        names
            .filter(|name| name.to_string_lossy().starts_with("seg-"))
            .filter(|name| name.to_string_lossy().ends_with(".age"))
            .count()
    }

    fn read(&self, file: &str, range: std::ops::Range<u64>) -> Result<Vec<u8>, S3Error> {
        let notes = self.notes();
        let stored = &notes.stored[file];
        self.uploader.read(self.wanted.id, file, stored, range)
    }

    /// What must hold of any store at the end: all is there under the lock, segments are here no
    /// more and are read from there.
    pub(crate) fn is_brought_away(&self) {
        let notes = self.notes();
        assert_eq!(notes.stored.len(), FILES.len());
        assert!(notes.stored_whole.is_some());
        for (file, stored) in &notes.stored {
            let remote = self.store.stat(&self.name(file)).expect("is there");
            assert_eq!(remote.retained_until, Some(self.wanted.until), "{file}");
            assert_eq!(remote.version, stored.version);
            assert!(remote.version.is_some(), "{file}");
        }
        assert_eq!(self.local_segments(), 0);
        let bytes = self.read("seg-000001.age", 3..17).expect("reads");
        assert_eq!(bytes, &"seg-000001.age".repeat(3).as_bytes()[3..17]);
    }
}

#[track_caller]
pub(crate) fn is_fine(turn: &Turn) {
    assert!(turn.failed.is_empty(), "{:?}", turn.failed);
}

#[test]
fn a_closed_recording_is_stored_and_locked_and_only_then_removed_here() {
    let double = Double::start();
    let scene = Scene::new(&double.config());
    let turn = scene.turn();
    is_fine(&turn);
    assert_eq!((turn.stored, turn.removed), (8, 2));
    scene.is_brought_away();
    let requests = double.bucket().requests.len();
    let turn = scene.turn();
    is_fine(&turn);
    assert_eq!((turn.stored, turn.removed), (0, 0));
    assert_eq!(
        double.bucket().requests.len(),
        requests,
        "nothing is left to ask"
    );
}

#[test]
fn what_still_grows_waits() {
    let double = Double::start();
    let mut scene = Scene::new(&double.config());
    scene.wanted.is_open = true;
    is_fine(&scene.turn());
    let names: Vec<_> = scene.notes().stored.into_keys().collect();
    let done = [
        "header.json",
        "header.sig",
        "seg-000000.age",
        "seg-000000.chain",
        "share-c.age",
    ];
    assert_eq!(names, done);
    assert_eq!(
        scene.local_segments(),
        2,
        "an open recording stays here whole"
    );
    scene.wanted.is_open = false;
    is_fine(&scene.turn());
    scene.is_brought_away();
}

#[test]
fn a_store_that_is_down_slow_or_cut_off_loses_nothing() {
    let double = Double::start();
    let scene = Scene::new(&double.config());
    let late = Fault::Slow(Duration::from_secs(4));
    for fault in [Fault::Busy, late, Fault::LostAnswer, Fault::CutBody] {
        // At the first request of a turn, and at one in its middle.
        for before in [0, 2] {
            let mut faults = vec![Fault::None; before];
            faults.push(fault);
            double.fail(&faults);
            let turn = scene.turn();
            assert!(turn.is_outage, "{fault:?} after {before}: {turn:?}");
            assert_eq!(scene.local_segments(), 2, "{fault:?}");
        }
    }
    is_fine(&scene.turn());
    scene.is_brought_away();
    assert!(double.bucket().faults.is_empty(), "every fault happened");
}

#[test]
fn nothing_is_removed_here_while_the_store_cannot_be_asked() {
    let double = Double::start();
    let mut scene = Scene::new(&double.config());
    scene.wanted.is_open = true;
    is_fine(&scene.turn());
    scene.wanted.is_open = false;
    // Three more files are put: put, stat, lock, stat each. Then comes the first removal's question.
    let mut faults = vec![Fault::None; 12];
    faults.push(Fault::Busy);
    double.fail(&faults);
    let turn = scene.turn();
    assert!(turn.is_outage, "{turn:?}");
    assert_eq!((turn.stored, turn.removed), (3, 0));
    assert_eq!(scene.local_segments(), 2);
    is_fine(&scene.turn());
    scene.is_brought_away();
}

#[test]
fn a_rotten_copy_is_never_taken_for_the_original() {
    let double = Double::start();
    let scene = Scene::new(&double.config());
    double.fail(&[Fault::Rot]);
    for _ in 0..3 {
        let turn = scene.turn();
        let error = turn.failed.get(&scene.wanted.id);
        let is_named = matches!(error, Some(UploadError::Mismatch { .. }));
        assert!(is_named && !turn.is_outage, "{error:?}");
        assert_eq!(scene.local_segments(), 2);
    }
}

#[test]
fn a_copy_that_lost_its_lock_does_not_replace_ours() {
    let double = Double::start();
    let mut config = double.config();
    config.keep_local = 1;
    let scene = Scene::new(&config);
    is_fine(&scene.turn());
    assert_eq!(scene.local_segments(), 2, "the hour is not over");
    let name = format!("/{}", scene.name("seg-000000.age"));
    let name = name.trim_start_matches('/').to_owned();
    let keep = |until| {
        let mut bucket = double.bucket();
        bucket.objects.get_mut(&name).expect("is there")[0].until = until;
    };
    let later = now().after(DAY);
    keep(None);
    let turn = scene.uploader.turn(&[scene.wanted], later);
    let error = turn.failed.get(&scene.wanted.id).expect("is noticed");
    assert!(error.to_string().contains("not locked"), "{error}");
    assert_eq!((turn.removed, scene.local_segments()), (0, 2));
    keep(Some(scene.wanted.until));
    is_fine(&scene.uploader.turn(&[scene.wanted], later));
    scene.is_brought_away();
}

#[test]
fn a_bucket_that_does_not_lock_is_refused() {
    let double = Double::start();
    let scene = Scene::new(&double.config());
    assert_eq!(scene.uploader.check_lock(), Ok(()));
    let is_refused = || {
        let refused = scene.uploader.check_lock();
        matches!(refused, Err(S3Error::Refused(words)) if words.contains("recording.s3.worm"))
    };
    double.bucket().mode = "GOVERNANCE";
    assert!(is_refused(), "an administrator can lift that");
    double.bucket().lock_days = None;
    assert!(is_refused());
    double.fail(&[Fault::Busy]);
    let down = scene.uploader.check_lock();
    assert!(
        matches!(down, Err(S3Error::Unavailable(_))),
        "no answer is no refusal"
    );
}

#[test]
fn longer_dates_and_holds_are_carried_after() {
    let double = Double::start();
    let mut scene = Scene::new(&double.config());
    is_fine(&scene.turn());
    scene.wanted.until = now().years_later(15);
    scene.wanted.is_held = true;
    double.fail(&[Fault::None, Fault::None, Fault::None, Fault::Busy]);
    assert!(scene.turn().is_outage);
    is_fine(&scene.turn());
    scene.is_brought_away();
    let name = scene.name("manifest.json");
    assert!(scene.store.stat(&name).expect("is there").is_held);
    scene.wanted.is_held = false;
    is_fine(&scene.turn());
    assert!(!scene.store.stat(&name).expect("is there").is_held);
}

#[test]
fn nobody_deletes_or_shortens_before_the_date() {
    let double = Double::start();
    let scene = Scene::new(&double.config());
    is_fine(&scene.turn());
    let (id, notes) = (scene.wanted.id, scene.notes());
    let until = scene.uploader.locked_until(id, &notes);
    assert_eq!(until, Ok(Some(scene.wanted.until)));
    assert!(scene.uploader.delete(id, &notes).is_err());
    let name = scene.name("manifest.json");
    let version = notes.stored["manifest.json"].version.as_deref();
    assert!(
        scene
            .store
            .retain(&name, version, now().after(DAY))
            .is_err()
    );
    scene.is_brought_away();
    double.bucket().now = scene.wanted.until;
    scene
        .uploader
        .delete(id, &notes)
        .expect("the date has come");
    scene.uploader.delete(id, &notes).expect("again is fine");
    assert!(double.bucket().objects.is_empty());
}

#[test]
fn an_object_is_put_only_if_it_is_absent() {
    let double = Double::start();
    let scene = Scene::new(&double.config());
    assert_eq!(scene.store.put("a", b"one".to_vec()), Ok(()));
    assert_eq!(scene.store.put("a", b"two".to_vec()), Err(S3Error::Exists));
    assert_eq!(scene.store.read("a", None, 0..3), Ok(b"one".to_vec()));
    assert_eq!(scene.store.read("b", None, 0..3), Err(S3Error::NotFound));
    double.fail(&[Fault::CutBody]);
    let cut = scene.store.read("a", None, 0..3);
    assert!(matches!(cut, Err(S3Error::Unavailable(_))), "{cut:?}");
}

#[test]
fn a_wrong_secret_is_refused_and_not_an_outage() {
    let double = Double::start();
    let mut config = double.config();
    config.access_key_id = Some("somebody-else".into());
    let scene = Scene::new(&config);
    let turn = scene.turn();
    assert!(!turn.is_outage && !turn.failed.is_empty(), "{turn:?}");
    assert_eq!(scene.local_segments(), 2);
}
