//! How long a person waits from the wish to join to the first sound and picture, over 50 joins with
//! rtc-node on loopback. Writes its section of `docs/benchmarks.md`; asserts nothing.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tests::process::Process;
use tests::report;
use tests::server::{Build, Server};
use tests::tree;

const JOINS: usize = 50;
const TIMEOUT: Duration = Duration::from_secs(300);

fn main() {
    let server = Server::dev(Build::Release);
    let mut command = Command::new("node");
    command
        .arg("join-times.mjs")
        .current_dir(tree::clients())
        .env("LIVEKIT_URL", server.websocket_url())
        .env("JOINS", JOINS.to_string());
    let client = Process::spawn("join-times", &mut command);
    let times: Value = client.expect_line(TIMEOUT, |line| {
        serde_json::from_str(line.strip_prefix("times ")?).ok()
    });
    let row = |name: &str, key: &str| {
        let values = times[key].as_array().expect("a list of times");
        let mut values: Vec<f64> = values.iter().filter_map(Value::as_f64).collect();
        assert_eq!(values.len(), JOINS);
        values.sort_by(f64::total_cmp);
        let (p50, p95) = (
            report::quantile(&values, 0.5),
            report::quantile(&values, 0.95),
        );
        format!("| {name} | {p50:.0} ms | {p95:.0} ms |\n")
    };
    let table = [
        "| from the wish to join to | p50 | p95 |\n|---|--:|--:|\n".to_owned(),
        row("connected", "connected"),
        row("first sound", "audio"),
        row("first picture", "video"),
    ]
    .concat();
    report::write(
        "join",
        &format!("Join to first sound and picture, {JOINS} joins with rtc-node on loopback"),
        "cargo bench -p tests --bench join",
        &table,
    );
}
