//! A disk that becomes full while a consult is recorded: the people of the call are told, the call
//! goes on, and when there is room again so does the recording, with its gap.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::namespace::{self, ADDRESS};
use tests::process::{Process, wait_until};
use tests::server::{self, Build, Server};
use tests::tree;

use crate::opened::{Opened, new_officer};
use crate::recording::verify;

/// Of the disk. Two segments of [`SEGMENT`], the small files, and enough above the least share that
/// must be free.
const DISK: u64 = 96 << 20;
const SEGMENT: u64 = 4 << 20;

/// Until the people are told: the longest part is to fill what was prepared.
const TOLD_MAX: Duration = Duration::from_secs(180);
/// Within which three seconds of the call must be good.
const JUDGED_MAX: Duration = Duration::from_secs(60);

#[test]
fn a_full_disk_interrupts_the_recording_and_not_the_call_in_a_namespace() {
    let test = "disk::a_full_disk_interrupts_the_recording_and_not_the_call_in_a_namespace";
    namespace::inside(test, full_disk);
}

/// A disk of its own at `folder`; it goes with the namespace.
fn mount(folder: &Path) {
    fs::create_dir_all(folder).expect("the scratch folder is writable");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", &format!("size={DISK}"), "tmpfs"])
        .arg(folder)
        .output()
        .expect("mount is installed");
    assert!(mounted.status.success(), "{mounted:?}");
}

/// Takes all the room that is left, and what others let go of, until it is dropped: a recording that
/// is interrupted gives back the rest of its segment, and would go on with that.
struct Filler {
    path: PathBuf,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Filler {
    fn new(path: PathBuf) -> Self {
        let mut file = fs::File::create(&path).expect("the disk is writable");
        let is_over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            let lot = [7; 1 << 12];
            while !until.load(Ordering::Relaxed) {
                if file.write_all(&lot).is_err() {
                    thread::sleep(Duration::from_millis(20));
                }
            }
        });
        Self {
            path,
            is_over,
            thread: Some(thread),
        }
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it is dropped once");
        assert!(thread.join().is_ok(), "it writes or waits");
        fs::remove_file(&self.path).expect("it was made above");
    }
}

fn expect(call: &Process, line: &str, within: Duration) {
    call.expect_line(within, |said| (said == line).then_some(()));
}

/// That the last lines say of both people what is to be said.
fn are_told(call: &Process, state: &str, within: Duration) {
    let is = |who: &str| {
        let said = call.said();
        let last = said.lines().rfind(|line| line.starts_with(who));
        last.is_some_and(|line| line == format!("{who} {state}"))
    };
    let told = wait_until(within, || (is("li") && is("wang")).then_some(()));
    assert!(told.is_some(), "not told {state}:\n{}", call.said());
}

/// That three seconds of the call are as they should be, at the latest after a minute: what a busy
/// machine gives is not steady.
fn is_unharmed(call: &mut Process) {
    let mut judged = String::new();
    let deadline = Instant::now() + JUDGED_MAX;
    while Instant::now() < deadline {
        let before = judgements(call).count();
        call.tell("judge");
        let answer = wait_until(Duration::from_secs(60), || judgements(call).nth(before));
        judged = answer.expect("it answers");
        if is_good(&judged) {
            return;
        }
    }
    panic!("the call is harmed: {judged}");
}

fn judgements(call: &Process) -> impl Iterator<Item = String> {
    let said = call.said();
    let judged = said.lines().filter_map(|line| line.strip_prefix("judged "));
    judged.map(str::to_owned).collect::<Vec<_>>().into_iter()
}

fn is_good(judged: &str) -> bool {
    let judged: Value = serde_json::from_str(judged).expect("JSON");
    let number = |key: &str| judged[key].as_f64().unwrap_or(f64::NAN);
    (number("hz") - number("wanted")).abs() < 25.0
        && number("frames") > 30.0
        && number("lost") <= 0.005 * number("packets")
        && number("freezes") == 0.0
}

fn full_disk() {
    let (folder, officer) = (tree::scratch("full-disk"), new_officer());
    let data = folder.join("data");
    mount(&data);
    let more = format!(
        "[recording]\npolicy = \"must\"\n[recording.keys]\ncompliance = [\"{}\"]\n\
         [recording.limits]\nsegment_bytes_max = {SEGMENT}\nsegment_seconds_max = 8\n",
        officer.recipient()
    );
    let server = Server::start(
        Build::Release,
        &server::config_at(ADDRESS, &folder, 2, &more),
    );
    let mut call = Process::spawn(
        "disk-call",
        Command::new("node")
            .arg("disk-call.mjs")
            .env("LIVEKIT_URL", server.websocket_url())
            .current_dir(tree::clients()),
    );
    are_told(&call, "on", Duration::from_secs(60));
    std::thread::sleep(Duration::from_secs(4));
    is_unharmed(&mut call);

    let full = Instant::now();
    let filler = Filler::new(data.join("filler"));
    are_told(&call, "interrupted", TOLD_MAX);
    println!("told after {:?} of a full disk", full.elapsed());
    is_unharmed(&mut call);
    // Nobody begins another one meanwhile, and hears so.
    call.tell("another");
    expect(&call, "chen failed", Duration::from_secs(60));
    let interrupted = || {
        let metrics = server.metrics();
        (metrics.sum("consilium_recordings_interrupted") == 1.0).then_some(metrics)
    };
    let metrics = wait_until(JUDGED_MAX, interrupted).expect("nothing reaches the disk");
    let by_reason = metrics.by_label("consilium_recordings_interrupted_total", "reason");
    assert!(by_reason["disk_full"] >= 1.0, "{by_reason:?}");
    let recordings = fs::read_dir(data.join("recordings")).expect("is there");
    let recordings: Vec<_> = recordings.map(|it| it.expect("readable").path()).collect();
    assert_eq!(recordings.len(), 1, "nothing was begun: {recordings:?}");

    drop(filler);
    are_told(&call, "on", Duration::from_secs(60));
    std::thread::sleep(Duration::from_secs(4));
    is_unharmed(&mut call);
    call.tell("leave");
    call.expect_end(Duration::from_secs(60));
    server.stop();

    let verified = verify(&recordings[0]);
    assert!(verified.status.success(), "{verified:?}");
    let manifest = fs::read(recordings[0].join("manifest.json")).expect("it is closed");
    let manifest: Value = serde_json::from_slice(&manifest).expect("it is JSON");
    let gaps = manifest["gaps"].as_array().expect("a list");
    let gap = gaps.iter().find(|gap| gap["reason"] == "disk");
    let gap = gap.unwrap_or_else(|| panic!("the gap is told: {gaps:?}"));
    let dropped = gap["packets"].as_object().expect("counted by track");
    let dropped: u64 = dropped.values().filter_map(Value::as_u64).sum();
    assert!(dropped > 100, "{gap}");
    Opened::of(&data, &recordings[0], &officer).assert_decodes();
}
