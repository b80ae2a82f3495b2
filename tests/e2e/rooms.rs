//! The RoomService as the official server SDK speaks it, with clients who feel what it does.

use std::time::Duration;

use tests::server::{Build, Server};
use tests::suite;

const TESTS: usize = 7;

#[test]
fn rooms_are_made_moderated_and_ended_with_the_official_server_sdk() {
    let server = Server::with_config(Build::Release, "");
    let outcome = suite::run(
        "rooms.config.mjs",
        &[("LIVEKIT_URL", &server.websocket_url())],
        Duration::from_secs(150),
    );
    outcome.assert_all_passed(TESTS, &server);
}
