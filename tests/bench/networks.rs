//! How long a browser takes to be in a room and to hear somebody where a network lets only TCP through,
//! and how long it hears nothing when UDP ends in mid-call. In a network of its own; writes its section
//! of `docs/benchmarks.md` and asserts nothing.
//!
//! `JOINS` (20) and `FALLS` (5) say how often.

use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tests::authority::Authority;
use tests::namespace::{self, ADDRESS};
use tests::process::Process;
use tests::server::{Build, Server};
use tests::{report, tree};

const KEY: &str = "clinic";
const SECRET: &str = "a-secret-of-thirty-two-bytes-or-more";
const TIMEOUT: Duration = Duration::from_secs(900);

fn main() {
    namespace::around(measure);
}

fn measure() {
    let authority = Authority::new(&tree::scratch("networks"), IpAddr::V4(ADDRESS));
    let server = serve(&authority, "");
    // Where both ways are open a browser takes whichever answers first.
    let without_turn = serve(&authority, "[tcp]\nturn = false\n");
    let mut command = Command::new("node");
    command
        .arg("join-ways.mjs")
        .current_dir(tree::clients())
        .env("WSS_URL", format!("wss://{}", server.address()))
        .env(
            "WSS_WITHOUT_TURN_URL",
            format!("wss://{}", without_turn.address()),
        )
        .env("HOME", authority.home())
        .env("LIVEKIT_API_KEY", KEY)
        .env("LIVEKIT_API_SECRET", SECRET);
    let before = load();
    let browser = Process::spawn("join-ways", &mut command);
    let times: Value = browser.expect_line(TIMEOUT, |line| {
        serde_json::from_str(line.strip_prefix("times ")?).ok()
    });
    let row = |name: &str, key: &str, bound: &str| {
        let all = times[key].as_array().expect("a list of times");
        let mut values: Vec<f64> = all.iter().filter_map(Value::as_f64).collect();
        values.sort_by(f64::total_cmp);
        let shown = |share: f64| match values.len() {
            0 => "–".to_owned(),
            _ => format!("{:.2} s", report::quantile(&values, share) / 1_000.0),
        };
        format!(
            "| {name} | {} | {} | {} | {} | {bound} |\n",
            all.len(),
            values.len(),
            shown(0.5),
            shown(0.95)
        )
    };
    let table = [
        "| UDP dropped by nft | runs | heard | median | p95 | bound |\n|---|--:|--:|--:|--:|--:|\n"
            .to_owned(),
        row(
            "joins by ICE over TCP, until a voice is heard",
            "tcp",
            "2.5 s",
        ),
        row(
            "joins by TURN over TLS alone, until a voice is heard",
            "relay",
            "2.5 s",
        ),
        row(
            "UDP ends in mid-call, until a voice is heard by TCP",
            "fall",
            "8 s",
        ),
        format!(
            "\nLoad of the machine before and after: {before}; {}.\n",
            load()
        ),
    ]
    .concat();
    report::write(
        "networks",
        "Through the one TCP port, in Chromium",
        "cargo bench -p tests --bench networks",
        &table,
    );
}

fn serve(authority: &Authority, more: &str) -> Server {
    let config = format!(
        "data_dir = {:?}\n[http]\nlisten_ip = \"{ADDRESS}\"\nport = 0\n{}\
         [media]\nworkers = 2\nport_first = 0\nlisten_ip = \"{ADDRESS}\"\n\
         [keys]\n{KEY} = {SECRET:?}\n{more}",
        tree::scratch("networks").join("data"),
        authority.section(),
    );
    Server::start(Build::Release, &config)
}

/// What else the machine did.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").expect("Linux tells its load");
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}
