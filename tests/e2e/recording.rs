//! Recorded consults through the front door: asked for, agreed to, taken back, killed, verified.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use tests::process::{Process, wait_until};
use tests::server::{Build, Server};
use tests::{suite, token, tree};

/// A made-up officer; nobody opens anything in these tests.
const OFFICER: &str = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";

/// A killed server may lose so much.
const LOSS_MAX: Duration = Duration::from_secs(1);

fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("bound").port()
}

fn config(folder: &Path, http: u16, more: &str) -> String {
    format!(
        "data_dir = {:?}\n[http]\nport = {http}\n[media]\nworkers = 2\nport_first = 0\n\
         [keys]\n{} = {:?}\n[recording.keys]\ncompliance = [\"{OFFICER}\"]\n{more}",
        folder.join("data"),
        token::KEY,
        token::SECRET
    )
}

fn recordings(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder.join("data/recordings")) else {
        return Vec::new();
    };
    entries
        .map(|entry| entry.expect("readable").path())
        .collect()
}

fn verify(recording: &Path) -> Output {
    Build::Release
        .command()
        .arg("verify")
        .arg(recording)
        .output()
        .expect("the binary starts")
}

#[test]
fn who_agreed_is_recorded_and_the_official_sdk_steers_and_hears_it() {
    let folder = tree::scratch("recording");
    let hook = free_port();
    let more = format!(
        "[webhook]\nurls = [\"http://127.0.0.1:{hook}/hook\"]\napi_key = {:?}\n",
        token::KEY
    );
    let server = Server::start(Build::Release, &config(&folder, 0, &more));
    let (url, hook) = (server.websocket_url(), hook.to_string());
    let data = folder.join("data/recordings").display().to_string();
    let outcome = suite::run(
        "recording.config.mjs",
        &[
            ("LIVEKIT_URL", &url),
            ("WEBHOOK_PORT", &hook),
            ("RECORDINGS", &data),
        ],
        Duration::from_secs(150),
    );
    assert!(
        outcome.failed.is_empty() && outcome.passed.len() == 1,
        "{:#?}\n{}\n{}",
        outcome.failed,
        outcome.said,
        server.said()
    );
    server.stop();
    let recorded = recordings(&folder);
    assert_eq!(recorded.len(), 1, "{recorded:?}");
    let verified = verify(&recorded[0]);
    assert!(verified.status.success(), "{verified:?}");
}

/// When the journal was last written to.
fn last_written(recording: &Path) -> Option<SystemTime> {
    let files = std::fs::read_dir(recording).ok()?;
    let written = files.filter_map(|file| {
        let file = file.ok()?;
        let is_chain = file.file_name().to_string_lossy().ends_with(".chain");
        is_chain.then(|| file.metadata().ok()?.modified().ok())?
    });
    written.max()
}

#[test]
fn five_kills_cost_a_second_each_and_the_room_goes_on_in_the_same_recording() {
    let folder = tree::scratch("killed");
    let port = free_port();
    let config = config(&folder, port, "[recording]\npolicy = \"must\"\n");
    let mut server = Server::start(Build::Release, &config);
    let mut call = Process::spawn(
        "recorded-call",
        Command::new("node")
            .arg("recorded-call.mjs")
            .env("LIVEKIT_URL", server.websocket_url())
            .current_dir(tree::clients()),
    );
    let both_are_in = |call: &Process, times: usize| {
        let is_in = wait_until(Duration::from_secs(60), || {
            let said = call.said();
            let count = |who: &str| said.lines().filter(|line| *line == who).count();
            (count("in li") >= times && count("in wang") >= times).then_some(())
        });
        assert!(is_in.is_some(), "{} of {times}:\n{}", call.said(), times);
    };
    let mut losses = Vec::new();
    for kill in 1..=5 {
        both_are_in(&call, kill);
        // Somewhere in a second, another place each time.
        std::thread::sleep(Duration::from_millis(1_500 + 230 * kill as u64));
        let recorded = recordings(&folder);
        assert_eq!(recorded.len(), 1, "one room, one recording: {recorded:?}");
        server.kill();
        let killed = SystemTime::now();
        let written = last_written(&recorded[0]).expect("it has a journal");
        let loss = killed.duration_since(written).unwrap_or_default();
        assert!(loss <= LOSS_MAX, "kill {kill} cost {loss:?}");
        losses.push(loss.as_millis());
        server = Server::start(Build::Release, &config);
    }
    both_are_in(&call, 6);
    call.tell("leave");
    call.expect_end(Duration::from_secs(20));
    server.stop();
    let recorded = recordings(&folder);
    assert_eq!(recorded.len(), 1, "{recorded:?}");
    let writers = std::fs::read_dir(&recorded[0])
        .expect("readable")
        .filter(|file| {
            let file = file.as_ref().expect("readable").file_name();
            let name = file.to_string_lossy().into_owned();
            name.starts_with("writer-") && name.ends_with(".json")
        });
    assert_eq!(
        writers.count(),
        6,
        "every process signs with a key of its own"
    );
    let verified = verify(&recorded[0]);
    assert!(verified.status.success(), "{verified:?}");
    println!("kill -9 cost {losses:?} ms");
}
