//! What is sent of a picture follows what anybody looks at: layers that nobody watches stop and come
//! back, and of one stream of VP9 or AV1 each gets the size that he wants. Sound for the stethoscope
//! comes in stereo.

use std::time::Duration;

use tests::patience::in_real_time;
use tests::server::{Build, Server};
use tests::suite;

const TESTS: usize = 7;

#[test]
fn pictures_are_sent_in_the_size_that_is_looked_at() {
    in_real_time(pass_quality);
}

fn pass_quality() {
    let server = Server::with_config(Build::Release, "[recording]\npolicy = \"never\"\n");
    let outcome = suite::run(
        "quality.config.mjs",
        &[("LIVEKIT_URL", &server.websocket_url())],
        Duration::from_secs(600),
    );
    outcome.assert_all_passed(TESTS, &server);
}
