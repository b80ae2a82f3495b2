//! A recorded consult as an officer sees it years later: in the console of the real server, in a
//! real browser, with every refusal that stands before it.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tests::http::Response;
use tests::officer::{self, Archive, Officer};
use tests::patience::in_real_time;
use tests::server::{Build, Server};
use tests::{suite, token, tree};

/// What `clients/replay.test.mjs` proves, by name, so that none can vanish unnoticed.
const PROOFS: [&str; 10] = [
    "a recorded consult is exported by the program over the network",
    "a recorded consult is opened by an officer with his key and a reason",
    "a recorded consult is exported as files that ffmpeg takes without an error",
    "a recorded consult shows everybody as they were and lets them be heard, at ten random places",
    "a recorded consult plays everybody on one clock",
    "a recorded consult has everything that happened on the timeline",
    "a recorded consult leaves an account of every second watched and every byte served",
    "a recorded consult is refused without a reason, without a replay, and to whom it does not belong",
    "a recorded consult shows from where on a changed byte makes it not intact",
    "a recorded consult logs no error",
];

/// A second API key, of somebody to whom the recording does not belong.
const STRANGER: (&str, &str) = ("other-clinic", "a secret of another clinic altogether");

/// Seconds of consult; the acceptance's two minutes are 120.
const SECONDS: &str = "CONSILIUM_REPLAY_SECONDS";
/// Seconds in an ordinary run.
const SECONDS_DEFAULT: &str = "36";

/// The whole story takes three minutes on an idle machine.
const DEADLINE: Duration = Duration::from_secs(2_400);

/// Bytes that the audit has room for on its full disk.
const ROOM_LEFT: u64 = 256 << 10;
/// Lines of the audit about a served range that have room where a long line has none.
const LINES_THAT_FIT_MAX: usize = 32;

fn config(folder: &Path, officers: &[&Officer], revoked: &[&Officer]) -> String {
    let names = |officers: &[&Officer]| -> Vec<String> {
        officers.iter().map(|one| one.recipient.clone()).collect()
    };
    format!(
        "data_dir = {:?}\n[http]\nport = 0\n[media]\nworkers = 2\nport_first = 0\n\
         [keys]\n{} = {:?}\n{} = {:?}\n[rooms]\ndeparture_timeout = 2\n\
         [recording]\npolicy = \"must\"\n[recording.limits]\nsegment_seconds_max = 15\n\
         free_percent_min = 0\n\
         [recording.keys]\ncompliance = {:?}\nrevoked = {:?}\n",
        folder.join("data"),
        token::KEY,
        token::SECRET,
        STRANGER.0,
        STRANGER.1,
        names(officers),
        names(revoked),
    )
}

#[test]
fn what_was_said_and_shown_is_replayed_and_nothing_is_seen_unaudited() {
    in_real_time(record_and_replay);
}

fn record_and_replay() {
    let folder = tree::scratch("replay");
    let data = folder.join("data");
    let (zhao, qian) = (Officer::new(), Officer::new());
    let server = Server::start(Build::Release, &config(&folder, &[&zhao], &[]));
    let page = server.page_url();
    replay(&server, &folder, &zhao);
    server.stop();
    let id = recording(&data);

    // The officer has left since.
    let server = Server::start(Build::Release, &config(&folder, &[&qian], &[&zhao]));
    let archive = Archive {
        server: server.address(),
        token: officer::token("zhao", token::KEY, token::SECRET, None),
    };
    let refused = release(&archive, &id, &zhao);
    assert_eq!(
        (refused.status, &*officer::code(&refused)),
        (403, "revoked_officer")
    );
    let line = officer::audit(&data).pop().expect("it was noted");
    let told = [&line["action"], &line["outcome"], &line["actor"]].map(|one| one.as_str());
    assert_eq!(told, [Some("release"), Some("refused"), Some("zhao")]);
    // Nor is it sealed to his successor.
    let refused = release(&archive, &id, &qian);
    assert_eq!(officer::code(&refused), "unknown_officer");
    server.stop();

    without_an_audit(&folder, &id, &zhao);
    let verified = Build::Release
        .command()
        .args(["audit", "verify"])
        .arg(data.join("audit"))
        .output()
        .expect("the binary starts");
    assert!(verified.status.success(), "{verified:?}");
    assert!(!page.is_empty());
}

/// The consult, the console and the refusals of the API, as `clients/replay.test.mjs` tells them.
fn replay(server: &Server, folder: &Path, officer: &Officer) {
    let page = server.page_url();
    let link = officer::token("zhao", token::KEY, token::SECRET, Some(&page));
    let stranger = officer::token("stranger", STRANGER.0, STRANGER.1, None);
    let text = |path: &Path| path.to_str().expect("the path is text").to_owned();
    let seconds = std::env::var(SECONDS).unwrap_or_else(|_| SECONDS_DEFAULT.to_owned());
    let seed = std::env::var("CONSILIUM_SEED").unwrap_or_else(|_| token::now().to_string());
    let environment = [
        ("PAGE_URL", page.clone()),
        ("LIVEKIT_URL", server.websocket_url()),
        ("MEDIA_FOLDER", text(&tree::root().join("target/e2e/media"))),
        ("DATA", text(&folder.join("data"))),
        ("SCRATCH", text(&folder.join("exported"))),
        ("OFFICER_KEY", text(&officer.key)),
        ("PASSPHRASE_FILE", text(&officer.passphrase)),
        ("CONSILIUM", text(&Build::Release.path())),
        ("OFFICER_LINK", link),
        ("STRANGER_TOKEN", stranger),
        ("SECONDS", seconds),
        ("SEED", seed),
    ];
    let environment: Vec<(&str, &str)> = environment
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let outcome = suite::run("replay.config.mjs", &environment, DEADLINE);
    eprintln!("{}", outcome.said);
    assert!(
        outcome.failed.is_empty(),
        "{:#?}\nserver:\n{}",
        outcome.failed,
        server.said()
    );
    let expected: BTreeSet<String> = PROOFS.iter().map(ToString::to_string).collect();
    assert_eq!(outcome.passed, expected);
}

fn recording(data: &Path) -> String {
    let mut entries = std::fs::read_dir(data.join("recordings")).expect("it is there");
    let one = entries.next().expect("there is one").expect("readable");
    one.file_name().into_string().expect("a name of letters")
}

fn release(archive: &Archive, id: &str, officer: &Officer) -> Response {
    let body = json!({"reason": "curiosity", "officer": officer.recipient});
    archive.post(&format!("/recordings/{id}/release"), &body)
}

/// A replay that has begun stops, and none begins, when the audit's disk takes nothing any more.
fn without_an_audit(folder: &Path, id: &str, officer: &Officer) {
    let config = config(folder, &[officer], &[]);
    let audited = std::fs::read_dir(folder.join("data/audit"))
        .expect("it is there")
        .map(|day| day.and_then(|day| day.metadata()).expect("readable").len());
    let bytes_max = audited.max().expect("something was audited") + ROOM_LEFT;
    let server = Server::start_with_small_files(Build::Release, &config, bytes_max);
    let archive = Archive {
        server: server.address(),
        token: officer::token("zhao", token::KEY, token::SECRET, None),
    };
    let released = release(&archive, id, officer);
    assert_eq!(released.status, 200, "{released:?}");
    let released: Value = serde_json::from_str(&released.body).expect("JSON");
    let replay = released["replay"].as_str().expect("a replay").to_owned();
    let segment = format!("/recordings/{id}/files/seg-000000.age");
    let range = [("Range", "bytes=0-99"), ("Consilium-Replay", &*replay)];
    assert_eq!(archive.get(&segment, &range).status, 206);

    // Reports of what was watched fill the audit.
    let spans: Vec<[u64; 2]> = (0..64).map(|n| [n * 10_000, n * 10_000 + 5_000]).collect();
    let report = json!({ "ranges": spans });
    let full = (0..ROOM_LEFT / 500).find_map(|_| {
        let answer = archive.post(&format!("/replays/{replay}/watched"), &report);
        (answer.status != 204).then_some(answer)
    });
    let full = full.expect("the audit is full before long");
    assert_eq!(
        (full.status, &*officer::code(&full)),
        (503, "audit_unwritable")
    );
    // Shorter lines find room for a while, and what they tell is served.
    let refused = (0..LINES_THAT_FIT_MAX).find_map(|_| {
        let served = archive.get(&segment, &range);
        (served.status != 206).then_some(served)
    });
    let refused = refused.expect("no line fits any more");
    assert_eq!(
        (refused.status, &*officer::code(&refused)),
        (503, "audit_unwritable")
    );
    let refused = release(&archive, id, officer);
    assert_eq!(
        (refused.status, &*officer::code(&refused)),
        (503, "audit_unwritable")
    );
    assert!(!refused.body.contains("share"), "no key leaves");
    server.stop();
}
