//! Every client against every other: browsers with one connection and with two, rtc-node, Python with
//! one and with two, in one room for each codec. Each publishes pictures of its own colour and a tone
//! of its own, and perceives those of all others.
//!
//! What a client cannot encode is named here, so that nothing is left out unseen. The short form has
//! everybody in the first codec and one of each SDK in the others; `CONSILIUM_WHOLE` asks for all.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tests::patience::in_real_time;
use tests::process::Process;
use tests::server::{Build, Server};
use tests::tree;

const CLIENTS: [&str; 5] = [
    "browser-v1",
    "browser-v0",
    "rtc-node",
    "python-v1",
    "python-v0",
];

/// The codecs, and who stands for all in the short form.
const ROWS: [(&str, &[&str]); 4] = [
    ("vp8", &CLIENTS),
    ("h264", &["browser-v0", "rtc-node", "python-v1"]),
    ("vp9", &["browser-v1", "rtc-node", "python-v0"]),
    ("av1", &["browser-v0", "rtc-node", "python-v1"]),
];
/// Codecs that are published in layers.
const LAYERED: [&str; 2] = ["vp9", "av1"];
/// Its SDK has no word for the quality that is wanted.
const TAKES_ALL: &str = "rtc-node";

/// Who encodes another codec than asked for, and which was asked for.
const CANNOT_ENCODE: [(&str, &str); 0] = [];

/// Five clients of which the slowest is waited for, and a codec may take all of the machine.
const ROW_TIMEOUT: Duration = Duration::from_secs(240);

#[test]
fn every_client_meets_every_other_in_every_codec() {
    in_real_time(meet);
}

fn meet() {
    let is_whole = std::env::var_os("CONSILIUM_WHOLE").is_some();
    let rows = ROWS.map(|(codec, few)| (codec, if is_whole { &CLIENTS[..] } else { few }));
    // Nothing is recorded: five encoders have all of the machine. A client that gets no time is not gone.
    let more = "[recording]\npolicy = \"never\"\n[rooms]\nping_timeout = 20\n";
    let server = Server::with_config(Build::Release, more);
    let wanted = rows.map(|(codec, clients)| format!("{codec}={}", clients.join(",")));
    let mut command = Command::new("node");
    command
        .arg("matrix.mjs")
        .current_dir(tree::clients())
        .env("LIVEKIT_URL", server.websocket_url())
        .env("ROWS", wanted.join(" "));
    let conductor = Process::spawn("matrix", &mut command);
    for (codec, clients) in rows {
        let row: Value = conductor.expect_line(ROW_TIMEOUT, |line| {
            assert!(!line.starts_with("failed"), "{line}\n{}", server.said());
            let row: Value = serde_json::from_str(line.strip_prefix("row ")?).ok()?;
            (row["codec"] == codec).then_some(row)
        });
        judge(codec, clients, &row);
    }
}

fn judge(codec: &str, clients: &[&str], row: &Value) {
    eprintln!("{codec}, {} s", row["seconds"]);
    let mut cannot = BTreeSet::new();
    for who in clients {
        let sent = &row["sent"][who];
        eprintln!("  {who} encodes {} by {}", sent["codec"], sent["encoder"]);
        if let Some(why) = sent["cannot"].as_str() {
            eprintln!("  {who} cannot encode {codec}: {why}");
            cannot.insert(*who);
        } else {
            let name = format!("video/{}", codec.to_uppercase());
            assert_eq!(sent["codec"], *name, "{who}");
        }
    }
    let known = CANNOT_ENCODE.iter().filter(|(_, what)| *what == codec);
    let known: BTreeSet<&str> = known.map(|(who, _)| *who).collect();
    let expected = clients.iter().copied().filter(|who| known.contains(who));
    let expected: BTreeSet<&str> = expected.collect();
    assert_eq!(cannot, expected, "who cannot encode {codec}");

    let cells = row["cells"].as_array().expect("a list of cells");
    let text = |cell: &Value, key: &str| cell[key].as_str().expect("a name").to_owned();
    for cell in cells {
        let (who, other) = (text(cell, "who"), text(cell, "other"));
        eprintln!(
            "  {who} of {other}: {} pictures of {} in {}, {} Hz, wanting little {}",
            cell["frames"], cell["size"], cell["codec"], cell["hz"], cell["small"]
        );
        // A layer can be had for itself, or it is none.
        let has_layers = LAYERED.contains(&codec) && !cannot.contains(&*other);
        let is_asked = who != TAKES_ALL;
        assert_eq!(cell["small"].is_array(), has_layers && is_asked, "{cell}");
    }
    let met: BTreeSet<(String, String)> = cells
        .iter()
        .map(|cell| (text(cell, "who"), text(cell, "other")))
        .collect();
    let pairs = clients.iter().flat_map(|who| {
        let others = clients.iter().filter(move |other| *other != who);
        others.map(move |other| ((*who).to_owned(), (*other).to_owned()))
    });
    let pairs: BTreeSet<(String, String)> = pairs.collect();
    assert_eq!(met, pairs, "who perceives whom in {codec}");
}
