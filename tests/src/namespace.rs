//! Tests with a network and mounts of their own: loopback, one further address and a default route, and nobody
//! else.
//!
//! A process with threads cannot change its user namespace, so the test runs its own binary once
//! more, inside. `tests/run-e2e.sh` looks whether that is allowed here and skips by name what needs
//! it, hence [`NAME_PART`].

use std::net::Ipv4Addr;
use std::process::Command;

use crate::tree;

/// What the name of every such test contains.
pub const NAME_PART: &str = "in_a_namespace";
/// The address beside loopback; `tests/in-a-namespace.sh` makes it.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

/// Runs `body` inside, in a program that is no test: the program itself is started once more.
pub fn around(body: impl FnOnce()) {
    if std::env::var_os(MARK).is_some() {
        return body();
    }
    let status = Command::new(tree::root().join("tests/in-a-namespace.sh"))
        .arg(std::env::current_exe().expect("the binary knows its path"))
        .env(MARK, "1")
        .status()
        .expect("the script starts");
    assert!(status.success(), "failed inside: {status}");
}

const MARK: &str = "CONSILIUM_TEST_INSIDE";

/// Runs `body` inside; `test` is the full name of the test that calls.
pub fn inside(test: &str, body: impl FnOnce()) {
    if std::env::var_os(MARK).is_some() {
        return body();
    }
    assert!(test.contains(NAME_PART), "{test} could not be skipped");
    let output = Command::new(tree::root().join("tests/in-a-namespace.sh"))
        .arg(std::env::current_exe().expect("the binary knows its path"))
        .args([test, "--exact", "--show-output", "--test-threads=1"])
        .env(MARK, "1")
        .output()
        .expect("the script starts");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    eprintln!("{said}");
    assert!(output.status.success(), "failed inside: {said}");
    // A misspelt name would run no test and succeed.
    assert!(said.contains("1 passed"), "{test} is not its name: {said}");
}
