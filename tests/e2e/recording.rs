//! Recorded consults through the front door: asked for, agreed to, taken back, killed, verified.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use tests::process::{Process, wait_until};
use tests::server::{Build, Server};
use tests::{suite, token, tree};

use crate::opened::{Opened, new_officer};

/// A made-up officer, where nobody opens anything.
const OFFICER: &str = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";

/// A killed server may lose so much.
const LOSS_MAX: Duration = Duration::from_secs(1);

/// So often it is killed in an ordinary run; `CONSILIUM_KILLS` asks for more.
const KILLS: usize = 5;

fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("bound").port()
}

fn config(folder: &Path, http: u16, more: &str) -> String {
    config_for(OFFICER, folder, http, more)
}

fn config_for(officer: &str, folder: &Path, http: u16, more: &str) -> String {
    format!(
        "data_dir = {:?}\n[http]\nport = {http}\n[media]\nworkers = 2\nport_first = 0\n\
         [keys]\n{} = {:?}\n[recording.keys]\ncompliance = [\"{officer}\"]\n\
         [recording.limits]\nfree_percent_min = 0\n{more}",
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

pub(crate) fn verify(recording: &Path) -> Output {
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

/// Kills that are asked for, if more than in an ordinary run.
fn kills() -> usize {
    std::env::var("CONSILIUM_KILLS").map_or(KILLS, |kills| kills.parse().expect("a number"))
}

#[test]
fn a_kill_costs_a_second_at_most_and_the_room_goes_on_in_the_same_recording() {
    let (folder, officer, kills) = (tree::scratch("killed"), new_officer(), kills());
    let (port, data) = (free_port(), folder.join("data"));
    let more = "[recording]\npolicy = \"must\"\n";
    let config = config_for(&officer.recipient().to_string(), &folder, port, more);
    let mut server = Server::start(Build::Release, &config);
    let mut call = Process::spawn(
        "recorded-call",
        Command::new("node")
            .arg("recorded-call.mjs")
            .env("LIVEKIT_URL", server.websocket_url())
            .current_dir(tree::clients()),
    );
    // That both are recorded by the server that runs now, says the journal itself.
    let both_are_in = |call: &Process, segments: u32| {
        let is_in = wait_until(Duration::from_secs(60), || {
            let recorded = recordings(&folder);
            let [recording] = &recorded[..] else {
                return None;
            };
            // Before it has a segment it cannot be opened.
            let is_begun = recording.join("seg-000000.chain").exists();
            let opened = is_begun.then(|| Opened::of(&data, recording, &officer))?;
            (opened.heard_since(segments).len() >= 2).then_some(())
        });
        assert!(is_in.is_some(), "from {segments} on:\n{}", call.said());
    };
    let mut segments = 0;
    let mut losses = Vec::new();
    for kill in 1..=kills {
        both_are_in(&call, segments);
        // Any moment within two flushes, another one each time.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let random = now.expect("after 1970").subsec_micros() % 1_400;
        std::thread::sleep(Duration::from_millis(1_500 + u64::from(random)));
        let recorded = recordings(&folder);
        assert_eq!(recorded.len(), 1, "one room, one recording: {recorded:?}");
        server.kill();
        let killed = SystemTime::now();
        let opened = Opened::of(&data, &recorded[0], &officer);
        segments = opened.segments();
        let loss = killed
            .duration_since(opened.last_packet())
            .unwrap_or_default();
        assert!(loss <= LOSS_MAX, "kill {kill} cost {loss:?}");
        losses.push(loss.as_millis());
        server = Server::start(Build::Release, &config);
        let verified = verify(&recorded[0]);
        assert!(verified.status.success(), "after kill {kill}: {verified:?}");
    }
    both_are_in(&call, segments);
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
        kills + 1,
        "every process signs with a key of its own"
    );
    let verified = verify(&recorded[0]);
    assert!(verified.status.success(), "{verified:?}");
    let frames = Opened::of(&data, &recorded[0], &officer).assert_decodes();
    losses.sort_unstable();
    println!("kill -9 cost {losses:?} ms; {frames} frames decoded");
}
