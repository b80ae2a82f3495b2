//! The product as people meet it: two browsers and one SDK client in a room, through the real page.

use std::collections::BTreeSet;
use std::time::Duration;

use tests::patience::in_real_time;
use tests::server::{Build, Server};
use tests::{suite, tree};

/// What `clients/page.test.mjs` proves, by name, so that none can vanish unnoticed.
const PROOFS: [&str; 12] = [
    "the page shows everybody the colour and the moving picture of everybody else",
    "the page decodes at least eight pictures a second of everybody",
    "the page plays everybody the tone of everybody else",
    "the page protects its media with an AEAD profile",
    "the page carries chat both ways between browsers and the SDK",
    "the page shows a shared screen and takes it away again",
    "the page shows and keeps a mute, and ends it",
    "the page switches layers with the size of the picture, without a frozen or garbled frame",
    "the page shows a late joiner everybody at once",
    "the page loses no packet",
    "the page tells the others when somebody leaves",
    "the page logs no error",
];

#[test]
fn two_browsers_and_an_sdk_client_meet_through_the_page() {
    in_real_time(|| meet(&Server::dev(Build::Release)));
}

#[test]
fn they_meet_just_the_same_with_each_on_another_worker() {
    in_real_time(|| {
        let server = Server::spread(Build::Release);
        meet(&server);
        server.metrics().assert_spread();
    });
}

fn meet(server: &Server) {
    let media = tree::root().join("target/e2e/media");
    let outcome = suite::run(
        "page.config.mjs",
        &[
            ("PAGE_URL", &server.page_url()),
            ("LIVEKIT_URL", &server.websocket_url()),
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
