//! The audit over days, crashes, clocks and forgeries.

use std::time::Duration;

use super::*;
use crate::source::Folder;
use crate::tlog::LogReader;

struct Place {
    folder: tempfile::TempDir,
    key: Arc<NodeKey>,
    log: Log,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let key = Arc::new(NodeKey::from_seed(&[1; 32]));
        let log = Log::open(&folder.path().join("log"), "test", key.clone()).expect("a log");
        Self { folder, key, log }
    }

    fn audit(&self) -> PathBuf {
        self.folder.path().join("audit")
    }

    fn open(&mut self, now: Wall) -> Result<Audit, AuditError> {
        Audit::open(&self.audit(), self.key.clone(), &mut self.log, now)
    }

    fn verify(&self) -> AuditReport {
        let reader: LogReader<'_> = self.log.reader();
        let bundles = self.log.size().div_ceil(256);
        let entries: Vec<Entry> = (0..bundles)
            .flat_map(|bundle| reader.bundle(bundle).expect("is read"))
            .filter_map(|bytes| Entry::parse(&bytes))
            .collect();
        let key = self.key.public();
        verify(&Folder(self.audit()), Some(&key), Some(&entries)).expect("is read")
    }

    /// Three days of some lines each; the last is open.
    fn filled() -> Self {
        let mut place = Self::new();
        let mut audit = place.open(hour(0)).expect("opens");
        for at in 0..12 {
            audit
                .append(hour(at * 5), &mut place.log, act("release"))
                .expect("is written");
        }
        place
    }

    fn edit(&self, day: &str, edit: impl FnOnce(&mut Vec<String>)) {
        let path = self.audit().join(day);
        let text = fs::read_to_string(&path).expect("is there");
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        edit(&mut lines);
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        fs::write(path, text).expect("is written");
    }
}

fn hour(hours: u64) -> Wall {
    let start: Wall = "2026-11-22T00:30:00Z".parse().expect("a time");
    start.after(Duration::from_secs(hours * 3_600))
}

fn act(action: &str) -> Act {
    Act {
        actor: "officer".into(),
        action: action.into(),
        recording: Some("01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().expect("an id")),
        outcome: Outcome::Done,
        reason: Some("complaint 7".into()),
        detail: Map::new(),
    }
}

fn problems(report: &AuditReport) -> Vec<(String, Option<u64>, AuditProblem)> {
    report
        .findings
        .iter()
        .map(|found| (found.file.clone(), found.line, found.problem))
        .collect()
}

#[test]
fn a_line_is_written_as_the_format_draws_it() {
    let mut place = Place::new();
    let mut audit = place.open(hour(0)).expect("opens");
    audit
        .append(hour(0), &mut place.log, act("release"))
        .expect("is written");
    let text = fs::read_to_string(place.audit().join("2026-11-22.jsonl")).expect("is there");
    let expected = format!(
        r#"{{"seq":0,"at":"2026-11-22T00:30:00.000Z","actor":"officer","action":"release","recording":"01ARZ3NDEKTSV4RRFFQ69G5FAV","outcome":"done","reason":"complaint 7","detail":{{}},"prev":"{}"}}"#,
        Digest::ZERO
    );
    assert_eq!(text, expected + "\n");
}

#[test]
fn days_are_signed_and_logged_and_the_whole_verifies() {
    let place = Place::filled();
    let report = place.verify();
    assert_eq!(report.findings, []);
    assert_eq!((report.days, report.lines), (3, 12));
    assert_eq!(report.open_day.as_deref(), Some("2026-11-24"));
    assert_eq!(report.node_key, Some(place.key.public()));
    assert_eq!(place.log.size(), 2);
}

#[test]
fn an_audit_goes_on_after_a_restart() {
    let mut place = Place::filled();
    let mut audit = place.open(hour(56)).expect("opens");
    assert_eq!((audit.len(), audit.last_at()), (12, Some(hour(55))));
    let line = audit
        .append(hour(56), &mut place.log, act("watch"))
        .expect("is written");
    assert_eq!(line.seq, 12);
    drop(audit);
    let audit = place.open(hour(57)).expect("opens");
    assert_eq!(
        audit
            .about(line.act.recording.expect("has one"))
            .expect("is read")
            .len(),
        13
    );
    assert_eq!(place.verify().findings, []);
}

#[test]
fn a_quiet_day_is_finished_without_a_line() {
    let mut place = Place::filled();
    let mut audit = place.open(hour(56)).expect("opens");
    audit
        .finish_day(hour(57), &mut place.log)
        .expect("nothing to do");
    assert_eq!(place.log.size(), 2);
    audit
        .finish_day(hour(80), &mut place.log)
        .expect("is finished");
    assert_eq!(place.log.size(), 3);
    assert_eq!(place.verify().findings, []);
}

/// Killed between the end of a day and its signature, with and without the leaf.
#[test]
fn a_day_that_lost_its_signature_in_a_crash_gets_it_at_the_next_start() {
    let mut place = Place::filled();
    fs::remove_file(place.audit().join("2026-11-23.sig")).expect("was there");
    drop(place.open(hour(56)).expect("opens"));
    assert_eq!(place.verify().findings, []);
    assert_eq!(place.log.size(), 2, "the leaf was there already");
}

#[test]
fn a_torn_line_never_happened_and_its_removal_is_told() {
    let whole = fs::read(Place::filled().audit().join("2026-11-24.jsonl")).expect("is there");
    let last = whole
        .iter()
        .rposition(|byte| *byte == b'{')
        .expect("a detail");
    for cut in [whole.len() - 1, last, whole.len() - 200] {
        let mut place = Place::filled();
        fs::write(place.audit().join("2026-11-24.jsonl"), &whole[..cut]).expect("is written");
        assert_eq!(problems(&place.verify())[0].2, AuditProblem::Torn);
        let audit = place.open(hour(56)).expect("opens");
        assert_eq!(
            audit.len(),
            12,
            "eleven whole lines, and the one that tells"
        );
        drop(audit);
        assert_eq!(place.verify().findings, []);
    }
}

#[test]
fn a_clock_that_goes_back_or_far_ahead_breaks_nothing() {
    let mut place = Place::new();
    let mut audit = place.open(hour(0)).expect("opens");
    let years = 24 * 365 * 20;
    for at in [24, 0, years, 25, years + 48, 0] {
        audit
            .append(hour(at), &mut place.log, act("hold"))
            .expect("is written");
    }
    drop(audit);
    assert_eq!(place.verify().findings, []);
    // Signed pages are not written on again, whatever the clock says.
    let mut audit = place.open(hour(0)).expect("opens");
    audit
        .finish_day(hour(2 * years), &mut place.log)
        .expect("is finished");
    drop(audit);
    let mut audit = place.open(hour(1)).expect("opens");
    audit
        .append(hour(1), &mut place.log, act("hold"))
        .expect("is written");
    assert_eq!(place.verify().findings, []);
}

#[test]
fn every_changed_byte_of_a_finished_day_is_found() {
    let place = Place::filled();
    let path = place.audit().join("2026-11-23.jsonl");
    let whole = fs::read(&path).expect("is there");
    for at in (0..whole.len()).step_by(7) {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(&path, changed).expect("is written");
        let report = place.verify();
        let named = report
            .findings
            .iter()
            .any(|found| found.file.starts_with("2026-11-23"));
        assert!(named, "byte {at}: {:?}", report.findings);
    }
}

#[test]
fn structural_edits_are_named() {
    use AuditProblem::*;
    let day = "2026-11-23.jsonl";
    type Edit = fn(&mut Vec<String>);
    let edits: [(Edit, Option<u64>, AuditProblem); 5] = [
        (|lines| drop(lines.remove(1)), Some(2), Unlinked),
        (|lines| lines.swap(1, 2), Some(2), Unlinked),
        (|lines| lines.insert(2, lines[1].clone()), Some(3), Unlinked),
        (
            |lines| lines[1] = lines[1].replace("officer", "nobody"),
            Some(3),
            Unlinked,
        ),
        (|lines| drop(lines.pop()), None, Signature),
    ];
    for (edit, line, problem) in edits {
        let place = Place::filled();
        place.edit(day, edit);
        let found = problems(&place.verify());
        let named = found
            .iter()
            .any(|(file, at, is)| file.starts_with("2026-11-23") && *at == line && *is == problem);
        assert!(named, "{line:?} {problem:?}: {found:?}");
    }
    let place = Place::filled();
    fs::remove_file(place.audit().join(day)).expect("was there");
    let found = problems(&place.verify());
    assert!(found.contains(&(day.into(), None, DayMissing)), "{found:?}");
    assert!(
        found.contains(&("2026-11-24.jsonl".into(), Some(1), Unlinked)),
        "{found:?}"
    );
    let place = Place::filled();
    fs::remove_file(place.audit().join("2026-11-22.sig")).expect("was there");
    assert_eq!(
        problems(&place.verify()),
        [("2026-11-22.sig".into(), None, Unsigned)]
    );
    fs::write(place.audit().join("notes.txt"), "").expect("is written");
    assert!(problems(&place.verify()).contains(&("notes.txt".into(), None, Unexpected)));
}

/// Somebody with the node key writes a whole day anew; the log remembers.
#[test]
fn a_day_rewritten_with_the_node_key_is_not_what_was_logged() {
    let place = Place::filled();
    let path = place.audit().join("2026-11-22.jsonl");
    let text = fs::read_to_string(&path)
        .expect("is there")
        .replace("officer", "nobody!");
    let mut prev = Digest::ZERO;
    let mut forged = String::new();
    for line in text.lines() {
        let mut line = Line::parse(line.as_bytes()).expect("a line");
        line.prev = prev;
        let text = String::from_utf8(line.to_bytes()).expect("JSON");
        prev = Digest::of(text.as_bytes());
        forged += &(text + "\n");
    }
    fs::write(&path, &forged).expect("is written");
    let sig = crate::sign::sig_file(Kind::Audit, forged.as_bytes(), place.key.key());
    fs::write(place.audit().join("2026-11-22.sig"), sig).expect("is written");
    assert!(problems(&place.verify()).contains(&(
        "2026-11-22.jsonl".into(),
        None,
        AuditProblem::NotLogged
    )));
}

#[test]
fn what_cannot_be_written_is_refused() {
    let mut place = Place::new();
    let mut audit = place.open(hour(0)).expect("opens");
    audit
        .append(hour(0), &mut place.log, act("hold"))
        .expect("is written");
    let busy = place.open(hour(0));
    assert!(matches!(busy, Err(AuditError::Busy)));
    let mut long = act("release");
    long.reason = Some("x".repeat(LINE_BYTES_MAX));
    let refused = audit.append(hour(0), &mut place.log, long);
    assert!(matches!(refused, Err(AuditError::TooLong(_))));
    // A file that takes no more bytes: the same as a full disk.
    let day = audit.open.as_mut().expect("a day");
    day.file = File::open("/dev/full").expect("is there");
    let refused = audit.append(hour(1), &mut place.log, act("release"));
    assert!(matches!(refused, Err(AuditError::Io(_))));
    let refused = audit.append(hour(1), &mut place.log, act("release"));
    assert!(
        matches!(refused, Err(AuditError::Broken)),
        "its end is unknown"
    );
    assert_eq!(audit.len(), 1);
    drop(audit);
    let mut audit = place.open(hour(2)).expect("opens again");
    audit
        .append(hour(2), &mut place.log, act("release"))
        .expect("is written");
    assert_eq!(place.verify().findings, []);
}

#[test]
fn a_damaged_day_is_not_written_on() {
    let mut place = Place::filled();
    place.edit("2026-11-24.jsonl", |lines| lines.swap(0, 1));
    assert!(matches!(place.open(hour(56)), Err(AuditError::Damaged(_))));
}
