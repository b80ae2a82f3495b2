//! The Python SDK and the Python server SDK, unmodified: our suite of what they do in a room.

use std::net::TcpListener;
use std::time::Duration;

use tests::patience::in_real_time;
use tests::server::{Build, Server};
use tests::{suite, token};

/// Those of a room: with one peer connection, with two, and where `CONSILIUM_WHOLE` asks for it with
/// both kinds of people.
const OF_A_ROOM: usize = 19;
/// The four of the server API, and those of the products: two of HCW@Home, five of La Suite Meet, one
/// of Element Call.
const OTHERS: usize = 4 + 8;

/// Nothing is opened here.
const OFFICER: &str = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";

#[test]
fn the_python_suite_passes() {
    in_real_time(|| {
        let hook = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        let port = hook.local_addr().expect("it is bound").port();
        drop(hook);
        let config = format!(
            "[webhook]\nurls = [\"http://127.0.0.1:{port}/hook\"]\napi_key = {:?}\n\
             [recording.keys]\ncompliance = [\"{OFFICER}\"]\n\
             [recording.limits]\nfree_percent_min = 0\n",
            token::KEY
        );
        let server = Server::with_config(Build::Release, &config);
        let port = port.to_string();
        let environment = [("WEBHOOK_PORT", &*port)];
        let outcome = suite::run_python(&server, &environment, Duration::from_secs(600));
        let modes = 2 + usize::from(std::env::var_os("CONSILIUM_WHOLE").is_some());
        outcome.assert_all_passed(modes * OF_A_ROOM + OTHERS, &server);
    });
}
