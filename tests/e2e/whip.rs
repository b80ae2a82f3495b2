//! Encoders that are not ours publish over WHIP, and are seen and heard in a browser.

use std::time::Duration;

use tests::patience::in_real_time;
use tests::server::{Build, Server};
use tests::{suite, tree};

const TESTS: usize = 8;

#[test]
fn encoders_of_others_are_seen_and_heard() {
    in_real_time(|| {
        // What is not recorded needs no consent; who is gone is given up soon.
        let more = "[recording]\npolicy = \"never\"\n\
                    [rooms]\nresume_timeout = 5\n\
                    [media.limits]\nabsence_timeout = 5000\n";
        let server = Server::with_config(Build::Release, more);
        let media = tree::root().join("target/e2e/media");
        let outcome = suite::run(
            "whip.config.mjs",
            &[
                ("PAGE_URL", &server.page_url()),
                ("LIVEKIT_URL", &server.websocket_url()),
                ("MEDIA_FOLDER", media.to_str().expect("the path is text")),
            ],
            Duration::from_secs(600),
        );
        outcome.assert_all_passed(TESTS, &server);
        assert_eq!(server.metrics().sum("consilium_whip_restarts_total"), 1.0);
    });
}
