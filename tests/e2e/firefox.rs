//! Chromium and Firefox in one room, through the real page.
//!
//! In a namespace, because Firefox gathers no candidate on a machine whose only server is on
//! loopback: it wants an address and a default route. Firefox has no H.264 here and no sound
//! device, so it is shown VP8 and heard by its statistics.

use std::collections::BTreeSet;
use std::time::Duration;

use tests::namespace::{self, ADDRESS};
use tests::patience::in_real_time;
use tests::server::{Build, Server};
use tests::{suite, token, tree};

/// What `clients/firefox.test.mjs` proves, by name.
const PROOFS: [&str; 6] = [
    "Firefox sees the colour and the moving picture of Chromium",
    "Firefox is seen moving by Chromium",
    "Firefox and Chromium hear each other",
    "Firefox and Chromium decode at least eight pictures a second and lose and freeze none",
    "Firefox alone is sent padded packets that leave as one, and decodes them all",
    "Firefox logs no error",
];

#[test]
fn chromium_and_firefox_meet_in_a_namespace() {
    namespace::inside("firefox::chromium_and_firefox_meet_in_a_namespace", || {
        in_real_time(meet);
    });
}

fn meet() {
    // The page stays on loopback, where a browser trusts plain HTTP with a camera.
    let config = format!(
        "data_dir = {:?}\n[http]\nport = 0\n[media]\nworkers = 2\nport_first = 0\n\
         listen_ip = \"{ADDRESS}\"\n[keys]\n{} = {:?}\n",
        tree::scratch("server").join("data"),
        token::KEY,
        token::SECRET
    );
    let server = Server::start(Build::Release, &config);
    let media = tree::root().join("target/e2e/media");
    let outcome = suite::run(
        "firefox.config.mjs",
        &[
            ("PAGE_URL", &server.page_url()),
            ("MEDIA_FOLDER", media.to_str().expect("the path is text")),
        ],
        Duration::from_secs(600),
    );
    eprintln!("{}", outcome.said);
    assert!(
        outcome.failed.is_empty(),
        "{:#?}\nserver:\n{}",
        outcome.failed,
        server.said()
    );
    let expected: BTreeSet<String> = PROOFS.iter().map(ToString::to_string).collect();
    assert_eq!(outcome.passed, expected);
    server.metrics().assert_padded_and_unhindered();
}
