//! What five products really ask of LiveKit, replayed with the client libraries that they use. Those
//! whose server is written in Python are in `python.rs`.

use std::net::TcpListener;
use std::time::Duration;

use tests::server::{Build, Server};
use tests::{suite, token};

/// Three of OpenVidu Meet, one of Element Call, four of BigBlueButton.
const TESTS: usize = 8;

/// Nothing is opened here.
const OFFICER: &str = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";

#[test]
fn what_products_ask_for_is_answered_as_they_need_it() {
    let hook = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let port = hook.local_addr().expect("it is bound").port();
    drop(hook);
    let config = |rooms: &str| {
        format!(
            "[webhook]\nurls = [\"http://127.0.0.1:{port}/hook\"]\napi_key = {:?}\n\
             [recording.keys]\ncompliance = [\"{OFFICER}\"]\n\
             [recording.limits]\nfree_percent_min = 0\n[rooms]\n{rooms}\n",
            token::KEY
        )
    };
    let open = Server::with_config(Build::Release, &config("remote_unmute = true"));
    let closed = Server::with_config(Build::Release, &config("auto_create = false"));
    let outcome = suite::run(
        "products.config.mjs",
        &[
            ("LIVEKIT_URL", &open.websocket_url()),
            ("CLOSED_URL", &closed.websocket_url()),
            ("WEBHOOK_PORT", &port.to_string()),
        ],
        Duration::from_secs(300),
    );
    outcome.assert_all_passed(TESTS, &open);
}
