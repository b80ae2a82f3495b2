//! Clients with two connections, as phones have, beside those with one.

use std::time::Duration;

use tests::patience::in_real_time;
use tests::server::{Build, Server};
use tests::{suite, tree};

const TESTS: usize = 5;

#[test]
fn two_connections_and_one_meet_in_a_room_on_two_workers() {
    in_real_time(meet);
}

fn meet() {
    let server = Server::spread(Build::Release);
    let media = tree::root().join("target/e2e/media");
    let outcome = suite::run(
        "connections.config.mjs",
        &[
            ("LIVEKIT_URL", &server.websocket_url()),
            ("MEDIA_FOLDER", media.to_str().expect("the path is text")),
        ],
        Duration::from_secs(500),
    );
    eprintln!("{}", outcome.said);
    outcome.assert_all_passed(TESTS, &server);
    server.metrics().assert_spread();
}
