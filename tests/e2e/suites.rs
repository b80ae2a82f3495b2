//! The suites that ship inside LiveKit's own packages, unmodified, with the count that must pass.

use std::collections::BTreeSet;
use std::time::Duration;

use tests::patience::in_real_time;
use tests::server::{Build, Server};
use tests::suite::{self, Outcome};
use tests::token;

const SIGNAL_SUITE_TESTS: usize = 35;
const RTC_NODE_SUITE_TESTS: usize = 29;

/// What the signalling suite asks of each of the two paths: for one connection and for two.
const ON_EITHER_PATH: [&str; 16] = [
    "connects and reports CONNECTED with a join response",
    "stays connected past the ping timeout while the server pongs",
    "closes with a ping timeout when the server stops ponging",
    "surfaces an unexpected transport close while connected",
    "surfaces an abnormal socket drop (1006) while connected",
    "rejects the join when the socket closes before the first message",
    "delivers a server-initiated leave while connected",
    "forwards a non-DISCONNECT leave action verbatim",
    "rejects the join when a leave arrives as the first message",
    "closes gracefully via close() without firing onClose",
    "reconnects (resume) back to CONNECTED",
    "rejects a reconnect when a leave arrives as the first message",
    "classifies an invalid token as NotAllowed",
    "classifies room-not-found as NotAllowed",
    "classifies a wrong-path 404 as ServiceNotFound",
    "surfaces a 5xx validate as a WebSocket error (ws error shadows 5xx→internal)",
];

/// What it asks of the connection below.
const ON_TRANSPORT: [&str; 3] = [
    "classifies an unreachable server as ServerUnreachable",
    "cancels the connect when the AbortSignal fires mid-connection",
    "times out when the socket opens but no first message arrives",
];

#[test]
fn the_35_signalling_tests_of_livekit_client_pass_in_chromium() {
    in_real_time(pass_signalling);
}

fn pass_signalling() {
    // The pings of the suite's own test server are our default.
    let server = Server::dev(Build::TestModes);
    let url = server.websocket_url();
    let outcome = suite::run(
        "signal-suite.config.mjs",
        &[("LK_TEST_SERVER_URL", &url)],
        Duration::from_secs(180),
    );
    let expected: BTreeSet<String> = ON_EITHER_PATH
        .iter()
        .flat_map(|test| ["v0", "v1"].map(|path| format!("SignalClient e2e '{path}' path {test}")))
        .chain(
            ON_TRANSPORT
                .iter()
                .map(|test| format!("SignalClient e2e transport failures {test}")),
        )
        .collect();
    assert_eq!(expected.len(), SIGNAL_SUITE_TESTS);
    assert_eq!(
        outcome.total(),
        SIGNAL_SUITE_TESTS,
        "the suite is another one:\n{}",
        outcome.said
    );
    assert_exactly(&outcome, &expected);
}

/// What rtc-node's suite asks: everything.
const ON_RTC_NODE: [&str; RTC_NODE_SUITE_TESTS] = [
    "livekit-rtc e2e connects to a room",
    "livekit-rtc e2e connects multiple participants to the same room",
    "livekit-rtc e2e sends and receives a data message between participants sharing a key",
    "livekit-rtc e2e emits participantDisconnected when a participant leaves",
    "livekit-rtc e2e transfers audio between two participants (sine detection)",
    "livekit-rtc e2e publishes and receives reliable data packets",
    "livekit-rtc e2e sends and receives text and byte streams",
    "livekit-rtc e2e invokes RPC methods and returns structured errors",
    "livekit-rtc e2e cleans up stream controllers when disconnecting during an active stream",
    "livekit-rtc e2e cleans up track publications when a remote participant disconnects",
    "livekit-rtc e2e cleans up resources when multiple participants disconnect simultaneously",
    "livekit-rtc e2e concurrent getSid() calls share a single listener and resolve consistently",
    "livekit-rtc e2e resume keeps audio flowing on the subscriber side",
    "livekit-rtc e2e full reconnect keeps audio flowing and ends with one publication on the subscriber",
    "livekit-rtc data streams e2e sends and receives a small text stream",
    "livekit-rtc data streams e2e sends and receives a small byte stream",
    "livekit-rtc data streams e2e round-trips a large compressible text (chunked + compressed wire path)",
    "livekit-rtc data streams e2e round-trips large incompressible random bytes",
    "livekit-rtc data streams e2e round-trips large patterned bytes",
    "livekit-rtc data streams e2e round-trips an incremental text stream with multi-byte characters",
    "livekit-rtc data streams e2e cleans up stream controllers when disconnecting during an active stream",
    "livekit-rtc data streams e2e releases the FFI subscription when a reader is abandoned mid-iteration",
    "livekit-rtc data streams e2e releases the FFI subscription when a reader is never read",
    "livekit-rtc data streams e2e ends an in-flight read when the reader is closed mid-stream",
    "livekit-rtc data streams e2e drops the subscription of an unread reader when the room disconnects",
    "livekit-rtc data streams e2e needs no close once a reader has been read to completion",
    "livekit-rtc data streams e2e reads a closed reader as an empty stream",
    "livekit-rtc data streams e2e fails the read when an incoming stream exceeds maxPayloadByteLength",
    "livekit-rtc data streams e2e releases the FFI subscription when a progress callback throws",
];

#[test]
fn the_29_tests_of_rtc_node_pass() {
    in_real_time(|| pass_rtc_node(&Server::dev(Build::Release)));
}

#[test]
fn the_29_tests_of_rtc_node_pass_with_each_on_another_worker() {
    in_real_time(|| {
        let server = Server::spread(Build::Release);
        pass_rtc_node(&server);
        server.metrics().assert_spread();
    });
}

fn pass_rtc_node(server: &Server) {
    let url = server.websocket_url();
    let outcome = suite::run(
        "rtc-node-suite.config.mjs",
        &[
            ("LIVEKIT_URL", &url),
            ("LIVEKIT_API_KEY", token::KEY),
            ("LIVEKIT_API_SECRET", token::SECRET),
        ],
        Duration::from_secs(300),
    );
    let expected: BTreeSet<String> = ON_RTC_NODE.iter().map(ToString::to_string).collect();
    assert_eq!(
        outcome.total(),
        RTC_NODE_SUITE_TESTS,
        "the suite is another one:\n{}",
        outcome.said
    );
    assert_exactly(&outcome, &expected);
}

/// Passing more than expected is an error too: then the list above is out of date.
fn assert_exactly(outcome: &Outcome, expected: &BTreeSet<String>) {
    let missing: Vec<_> = expected.difference(&outcome.passed).collect();
    let surplus: Vec<_> = outcome.passed.difference(expected).collect();
    assert!(
        missing.is_empty() && surplus.is_empty(),
        "should pass: {missing:#?}\npass unexpectedly: {surplus:#?}\nfailed: {:#?}\n{}",
        outcome.failed,
        outcome.said
    );
}
