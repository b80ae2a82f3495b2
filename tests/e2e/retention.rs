//! How long recordings stay, asked through the front door of a server whose clock is wrong by
//! decades when it records, or later.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use livekit_protocol::signal_response::Message as Response;
use recorder::age::Identity;
use serde_json::{Value, json};
use tests::http;
use tests::process::wait_until;
use tests::server::{self, Build, Server};
use tests::signal::{self, Session};
use tests::{token, tree};

use crate::opened::{Opened, new_officer};

/// No clock of these tests is past it.
const EXPIRES: u64 = 4_102_444_800; // 2100-01-01

const ROOM: &str = "case-conference";

const RECORDINGS: &str = "/compliance/api/v1/recordings";

fn config(folder: &Path, officer: &Identity) -> String {
    format!(
        "data_dir = {:?}\n[http]\nport = 0\n[media]\nworkers = 1\nport_first = 0\n[keys]\n{} = {:?}\n\
         [recording.keys]\ncompliance = [\"{}\"]\n\
         [recording.limits]\nfree_percent_min = 0\n",
        folder.join("data"),
        token::KEY,
        token::SECRET,
        officer.recipient()
    )
}

/// A token that is good under every clock of these tests.
fn timeless(identity: &str, more: &Value) -> String {
    let mut claims = json!({ "iss": token::KEY, "sub": identity, "exp": EXPIRES });
    for (name, value) in more.as_object().expect("claims are an object") {
        claims[name] = value.clone();
    }
    token::sign(&claims, token::SECRET)
}

fn compliance() -> String {
    timeless("wang", &json!({ "consilium": { "role": "compliance" } }))
}

fn send(server: &Server, method: &str, target: &str, token: &str, body: &str) -> http::Response {
    let bearer = format!("Bearer {token}");
    let headers = [
        ("Authorization", bearer.as_str()),
        ("Content-Type", "application/json"),
    ];
    http::send(server.address(), method, target, &headers, body)
}

fn json_of(answer: &http::Response) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

/// Records a consult of one person who shows nothing; returns what the archive says of it.
fn recorded(server: &Server) -> Value {
    let join = timeless(
        "li",
        &json!({ "video": { "roomJoin": true, "room": ROOM } }),
    );
    let target = signal::target(&join, &signal::join_request(None));
    let mut person = Session::open(server.address(), &target);
    person.expect("the join", |it| {
        matches!(it, Response::Join(_)).then_some(())
    });
    let record = timeless("desk", &json!({ "video": { "roomRecord": true } }));
    let egress = |method: &str, body: Value| {
        let target = format!("/twirp/livekit.Egress/{method}");
        let answer = send(server, "POST", &target, &record, &body.to_string());
        assert_eq!(answer.status, 200, "{answer:?}\n{}", server.said());
        json_of(&answer)
    };
    let begun = egress("StartRoomCompositeEgress", json!({ "roomName": ROOM }));
    egress("StopEgress", json!({ "egressId": begun["egressId"] }));
    let closed = wait_until(Duration::from_secs(30), || {
        let list = json_of(&send(server, "GET", RECORDINGS, &compliance(), ""));
        let one = list["recordings"].get(0).cloned()?;
        (one["state"] == "closed").then_some(one)
    });
    closed.unwrap_or_else(|| panic!("not closed:\n{}", server.said()))
}

/// Whatever the token, the recording stays.
fn nobody_can_delete(server: &Server, folder: &Path, recording: &Value) {
    let id = recording["id"].as_str().expect("it has one");
    let target = format!("{RECORDINGS}/{id}");
    let answer = send(server, "DELETE", &target, &compliance(), "");
    assert_eq!(answer.status, 409, "{answer:?}");
    let refused = json_of(&answer);
    assert_eq!(refused["code"], "retained", "{refused}");
    assert_eq!(
        refused["until"], recording["retention"]["until"],
        "{refused}"
    );
    let all =
        json!({ "roomCreate": true, "roomAdmin": true, "roomRecord": true, "roomList": true });
    for other in [
        timeless("root", &json!({ "video": all })),
        timeless("admin", &json!({ "consilium": { "role": "admin" } })),
        timeless(
            "operator",
            &json!({ "consilium": { "role": "operator" }, "video": all }),
        ),
    ] {
        let answer = send(server, "DELETE", &target, &other, "");
        assert_eq!(answer.status, 403, "{answer:?}");
    }
    for file in [
        format!("data/recordings/{id}/manifest.json"),
        format!("data/release/{id}.age"),
    ] {
        assert!(folder.join(&file).exists(), "{file}");
    }
}

#[test]
fn a_clock_that_is_wrong_by_twenty_years_lets_nothing_be_deleted() {
    for wrong in ["+20y", "-20y"] {
        let folder = tree::scratch("clock");
        let config = config(&folder, &new_officer());
        let server = Server::start_at(Build::Release, &config, wrong);
        let recording = recorded(&server);
        nobody_can_delete(&server, &folder, &recording);
        server.stop();
        for clock in ["+0", "+20y", "-20y", "+40y"] {
            let server = Server::start_at(Build::Release, &config, clock);
            nobody_can_delete(&server, &folder, &recording);
            let said = server.stop();
            let is_doubted = said.contains("confirm-clock");
            assert_eq!(is_doubted, clock != wrong, "{wrong} then {clock}:\n{said}");
        }
    }
}

/// An operator says that the clock is right as it is now.
fn confirm_clock(folder: &Path, config: &str, clock: &str) {
    let file = folder.join("consilium.toml");
    fs::write(&file, config).expect("the scratch folder is writable");
    let mut word = Build::Release.command();
    word.args(["retention", "confirm-clock", "--operator", "ops"])
        .args(["--reason", "four years have passed", "--config"])
        .arg(&file);
    server::set_clock(&mut word, clock);
    let said = word.output().expect("the binary starts");
    assert!(said.status.success(), "{said:?}");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the scratch folder is writable");
    for file in fs::read_dir(from).expect("is there") {
        let file = file.expect("readable").path();
        let name = file.file_name().expect("it has one");
        fs::copy(&file, to.join(name)).expect("the scratch folder is writable");
    }
}

/// Whether the other implementation of age opens the first segment with this key alone.
fn opens_with(recording: &Path, key: &Identity) -> bool {
    let file = tree::scratch("key").join("key.txt");
    fs::write(&file, key.to_text().as_bytes()).expect("the scratch folder is writable");
    let opened = Command::new("age")
        .args(["-d", "-o", "/dev/null", "-i"])
        .arg(file)
        .arg(recording.join("seg-000000.age"))
        .output();
    opened.expect("age is installed").status.success()
}

#[test]
fn what_is_held_stays_and_what_has_expired_cannot_be_opened_from_a_backup() {
    let (folder, officer) = (tree::scratch("expired"), new_officer());
    let (config, data) = (config(&folder, &officer), folder.join("data"));
    let server = Server::start_at(Build::Release, &config, "+0");
    let recording = recorded(&server);
    let id = recording["id"].as_str().expect("it has one");
    let (target, here) = (
        format!("{RECORDINGS}/{id}"),
        data.join(format!("recordings/{id}")),
    );
    server.stop();
    let backup = folder.join("backup");
    copy(&here, &backup);
    let opened = Opened::of(&data, &backup, &officer);
    opened.contents();
    assert!(opens_with(&backup, &opened.identity), "now it opens");

    // Four years later by a clock that nobody has vouched for, and then by one that somebody has.
    let server = Server::start_at(Build::Release, &config, "+4y");
    nobody_can_delete(&server, &folder, &recording);
    let hold = json!({ "case": "k-17", "reason": "a complaint" }).to_string();
    let held = send(
        &server,
        "POST",
        &format!("{target}/holds"),
        &compliance(),
        &hold,
    );
    assert_eq!(held.status, 204, "{held:?}");
    server.stop();
    confirm_clock(&folder, &config, "+4y");
    let server = Server::start_at(Build::Release, &config, "+4y");
    let answer = send(&server, "DELETE", &target, &compliance(), "");
    let refused = json_of(&answer);
    assert_eq!(
        (answer.status, &refused["code"]),
        (409, &json!("held")),
        "{refused}"
    );
    assert!(here.join("manifest.json").exists());
    let case = format!("{target}/holds/k-17");
    let lifted = send(&server, "DELETE", &case, &compliance(), "");
    assert_eq!(lifted.status, 204, "{lifted:?}");
    server.stop();

    // It expires by itself as soon as dates are looked at.
    let server = Server::start_at(Build::Release, &config, "+4y");
    let is_over = || {
        let shown = json_of(&send(&server, "GET", &target, &compliance(), ""));
        shown.to_string().contains("\"expired\"").then_some(())
    };
    let expired = wait_until(Duration::from_secs(20), is_over);
    assert!(expired.is_some(), "{}", server.said());
    assert!(!here.exists());
    let share = data.join(format!("release/{id}.age"));
    assert!(!share.exists());
    server.stop();

    // Whoever puts the copy back gets nothing out of it, with every key that there is.
    copy(&backup, &here);
    let server = Server::start_at(Build::Release, &config, "+4y");
    let asked = json!({ "reason": "complaint 17", "officer": officer.recipient().to_string() });
    let release = format!("{target}/release");
    let answer = send(&server, "POST", &release, &compliance(), &asked.to_string());
    assert_eq!(json_of(&answer)["code"], "expired", "{answer:?}");
    server.stop();
    let service = fs::read(data.join("keys/release.txt")).expect("is there");
    let service = recorder::keys::officer::read_plain_file(&service).expect("is a key");
    for key in [&officer, &service] {
        assert!(!opens_with(&backup, key));
    }
    assert!(!share.exists(), "and nothing brings it back");
}
