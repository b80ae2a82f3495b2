//! People come and go every second, lose their connections and come back, and nothing is left of them.
//!
//! The short form of what `make soak` does for half an hour: the clients are `loadtest churn`, whose
//! transports and whose judgement are none of the server's code.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tests::patience::in_real_time;
use tests::process::Process;
use tests::server::{Build, Server};
use tests::{token, tree};

/// Half a minute of it, and everything that is waited for afterwards, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(600);

/// The load generator; `CONSILIUM_LOADTEST` names another.
fn loadtest() -> PathBuf {
    let built = || tree::root().join("target/debug/loadtest");
    let path = std::env::var_os("CONSILIUM_LOADTEST").map_or_else(built, Into::into);
    assert!(
        path.exists(),
        "{} is not built: see tests/build-test-modes.sh",
        path.display()
    );
    path
}

/// A port that nobody listens on yet.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

#[test]
fn nothing_is_left_of_those_who_come_and_go_every_second() {
    in_real_time(come_and_go);
}

fn come_and_go() {
    let port = free_port();
    // Every room on both workers, and nothing that has to be waited for long.
    let config = format!(
        "[rooms]\nresume_timeout = 5\ndeparture_timeout = 3\nspill_busy_share = 0.0\n\
         [recording]\npolicy = \"never\"\n\
         [webhook]\nurls = [\"http://127.0.0.1:{port}/\"]\napi_key = \"{}\"\ntimeout = 2\n",
        token::KEY
    );
    let server = Server::with_config(Build::Release, &config);
    let mut command = Command::new(loadtest());
    command
        .arg("churn")
        .args(["--url", &server.websocket_url()])
        .args(["--api-key", token::KEY, "--api-secret", token::SECRET])
        .args(["--server-pid", &server.id().to_string()])
        .args(["--webhook-port", &port.to_string()])
        .args(["--minutes", "0.4", "--participants", "30"]);
    let mut churn = Process::spawn("loadtest churn", &mut command);
    let status = churn.expect_end(PATIENCE);
    eprintln!("{}", churn.said());
    assert!(status.success(), "{status}:\n{}", server.said());
}
