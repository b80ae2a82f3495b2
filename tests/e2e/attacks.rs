//! Attacks on the front door beside a live call of four, one after the other, and a key that is
//! taken away in the middle of it. The table of all attacks is in `docs/attacks.md`.
//!
//! `CONSILIUM_ATTACK_SCALE` makes everything so many times as much; `tests/soak.sh` sets it.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use flate2::Compression as Level;
use flate2::write::GzEncoder;
use livekit_protocol::request_response::Reason;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::wrapped_join_request::Compression;
use livekit_protocol::{DisconnectReason, Ping, UpdateParticipantMetadata};
use prost::Message as _;
use serde_json::json;
use tests::call::Call;
use tests::flood::{FROM_ANYWHERE, Kind, Random, Source};
use tests::http;
use tests::insider::Insider;
use tests::patience::in_real_time;
use tests::process::wait_until;
use tests::server::{Build, Server, config};
use tests::signal::{self, Session};
use tests::{token, tree};

use crate::insiders;

const MEMORY_GROWTH_MAX: u64 = 50 << 20;
/// What a connection may take that says little or nothing; the allocator keeps it for the next.
const CONNECTION_BYTES_MAX: u64 = 16 << 10;
/// Whoever came with a key that is gone must be out by then.
const REMOVAL_TIME_MAX: Duration = Duration::from_secs(2);
/// The default of `limits.connections_per_address_max`.
const CONNECTIONS_PER_ADDRESS: usize = 500;
/// A second API key, which can be taken away.
const WARD: (&str, &str) = ("ward", "another-secret-of-thirty-two-bytes-or-more");
/// The attacker is busy and answers no pings; a head that does not end is waited for shortly; few
/// packets are many, so that a slow machine can send more.
const SETTINGS: &str = "[rooms]\nping_timeout = 60\n[limits]\nrequest_head_timeout = 4\n\
     [media.limits]\npackets_per_second_max = 3000\n";

/// The attacks by their names in the table.
const ATTACKS: [(&str, fn(&Server)); 13] = [
    ("hellos_race_with_joins", hellos_race_with_joins),
    ("heads_that_never_end", heads_that_never_end),
    ("a_storm_of_connections", a_storm_of_connections),
    ("a_flood_of_messages", a_flood_of_messages),
    ("bombs_of_all_kinds", bombs_of_all_kinds),
    ("guesses_at_rooms", guesses_at_rooms),
    ("tokens_of_all_wrong_kinds", tokens_of_all_wrong_kinds),
    ("somebody_who_never_reads", somebody_who_never_reads),
    (
        "more_packets_than_anybody_may_send",
        insiders::more_packets_than_anybody_may_send,
    ),
    (
        "media_that_was_sent_before",
        insiders::media_that_was_sent_before,
    ),
    ("sctp_that_lies", insiders::sctp_that_lies),
    ("an_observer_who_speaks", insiders::an_observer_who_speaks),
    (
        "a_listener_who_may_not_listen",
        insiders::a_listener_who_may_not_listen,
    ),
];

pub(crate) fn scale() -> usize {
    let scale = std::env::var("CONSILIUM_ATTACK_SCALE");
    scale.map_or(1, |scale| scale.parse().expect("a number"))
}

#[test]
fn attacks_on_the_front_door_leave_a_call_unharmed() {
    in_real_time(attack_a_call);
}

fn attack_a_call() {
    let folder = tree::scratch("attacked");
    let (id, secret) = WARD;
    let with_ward = config(&folder, 1, &format!("{id} = {secret:?}\n{SETTINGS}"));
    let server = Server::start(Build::Release, &with_ward);
    let mut call = Call::begin(&server, &["chen", "zhou"]);
    let calm = call.calm();
    let memory = server.resident_bytes();
    for (name, attack) in ATTACKS {
        call.assert_unharmed_by(&calm, name, || attack(&server));
    }
    let without_ward = config(&folder, 1, SETTINGS);
    call.assert_unharmed_by(&calm, "a_key_is_taken_away", || {
        take_a_key_away(&server, &without_ward);
    });
    let grown = server.resident_bytes().saturating_sub(memory);
    eprintln!("memory +{grown} bytes");
    let connections = addresses() * CONNECTIONS_PER_ADDRESS;
    let most = MEMORY_GROWTH_MAX + connections as u64 * CONNECTION_BYTES_MAX;
    assert!(grown < most, "memory grew by {grown} bytes");
}

/// The addresses that attacks come from, in turn, so that the call's own is not used up.
fn attacker(n: usize) -> u8 {
    10 + (n % 200) as u8
}

/// How many of them open as many connections as one may: in the longest run there are more than ten
/// thousand at a time, half of which say nothing at all.
fn addresses() -> usize {
    match scale() {
        1 => 1,
        scale => 3 * scale,
    }
}

/// Those who really come are let in while strangers shake hands with everybody.
fn hellos_race_with_joins(server: &Server) {
    let first = Insider::join(server, 0);
    let mut random = Random::new(2);
    let mut strangers: Vec<_> = (0..8)
        .map(|_| Source::towards(first.answered.address))
        .collect();
    for _ in 0..6 * scale() {
        for n in 0..125 {
            let stranger = &mut strangers[n % 8];
            let hello = Kind::DtlsHello.datagram(&mut random, &first.answered.remote);
            stranger.send(&hello);
            let other = FROM_ANYWHERE[n % FROM_ANYWHERE.len()];
            stranger.send(&other.datagram(&mut random, &first.answered.remote));
        }
        Insider::join(server, 1).shake_hands();
    }
    for stranger in &mut strangers {
        stranger.drain();
        assert_eq!(stranger.received.bytes, 0, "a stranger is answered");
    }
}

/// Requests that never end and connections over which nothing comes, from few addresses.
fn heads_that_never_end(server: &Server) {
    let refused = || server.metrics().sum("consilium_connections_refused_total");
    let mut open = Vec::new();
    for address in 0..addresses() {
        let before = refused();
        // Where the machine is slow the first have been cut off when the last come.
        let told = wait_until(Duration::from_secs(60), || {
            for n in 0..200 {
                let mut stream = http::connect_from(attacker(address), server.address());
                if n % 2 == 0 {
                    // Or it has been refused already.
                    let _ = stream.write_all(b"GET /rtc/v1?access_token=");
                }
                open.push(stream);
            }
            (refused() - before >= 100.0).then_some(())
        });
        assert!(told.is_some(), "the bound of an address is not kept");
    }
    eprintln!("{} connections", open.len());
    assert!(open.len() >= CONNECTIONS_PER_ADDRESS, "fewer are refused");
    let answer = http::get(server.address(), "/healthz", &[]);
    assert_eq!(answer.status, 200, "others are served");
    for mut stream in open {
        // An answer 408, a close and a reset are all an end; to wait in vain is none.
        if let Err(error) = stream.read_to_end(&mut Vec::new()) {
            let waited = std::io::ErrorKind::WouldBlock;
            assert_ne!(error.kind(), waited, "a connection stays open");
        }
    }
}

/// Connections that are opened and dropped as fast as they can be.
fn a_storm_of_connections(server: &Server) {
    let began = Instant::now();
    let connections = 500 * scale();
    for n in 0..connections {
        drop(http::connect_from(attacker(n), server.address()));
    }
    eprintln!("{connections} connections in {:.1?}", began.elapsed());
}

pub(crate) fn ping(timestamp: i64) -> Request {
    Request::PingReq(Ping { timestamp, rtt: 0 })
}

/// One who says more than anybody has to say.
fn a_flood_of_messages(server: &Server) {
    let limited = || server.metrics().sum("consilium_sessions_limited_total");
    for n in 0..scale() {
        let before = limited();
        let token = token::join("flooder", "ward-3");
        let target = signal::target(&token, &signal::join_request(None));
        let stream = http::connect_from(attacker(n), server.address());
        let url = format!("ws://{}{target}", server.address());
        let mut session = Session::open_over(stream, &url);
        let mut sent = 0;
        let cut = wait_until(Duration::from_secs(60), || {
            let mut burst = (0..1_000).inspect(|_| sent += 1);
            burst
                .any(|_| session.try_send(ping(1)).is_err())
                .then_some(())
        });
        eprintln!("cut after {sent} messages");
        assert!(cut.is_some(), "{sent} messages were taken");
        assert_eq!(limited() - before, 1.0, "it is counted");
    }
}

/// One for whom a room has much to say, and who never reads it.
fn somebody_who_never_reads(server: &Server) {
    let limited = || server.metrics().sum("consilium_sessions_limited_total");
    let before = limited();
    let grants = json!({ "canUpdateOwnMetadata": true });
    let token = token::join_with("speaker", "ward-5", &grants);
    let target = signal::target(&token, &signal::join_request(None));
    let mut speaker = Session::open(server.address(), &target);
    let token = token::join("deaf", "ward-5");
    let target = signal::target(&token, &signal::join_request(None));
    let mut deaf = Session::open(server.address(), &target);
    let buffer = socket2::SockRef::from(&*deaf.stream()).set_recv_buffer_size(4 << 10);
    buffer.expect("the socket is open");
    let mut updates = 0;
    let cut = wait_until(Duration::from_secs(60), || {
        updates += 1;
        speaker.send(Request::UpdateMetadata(UpdateParticipantMetadata {
            metadata: format!("{updates:060000}"),
            request_id: updates,
            ..Default::default()
        }));
        speaker.expect("an answer", |message| {
            matches!(message, Response::RequestResponse(_)).then_some(())
        });
        (updates % 16 == 0 && limited() > before).then_some(())
    });
    eprintln!("let go after {updates} messages of 60 KB");
    assert!(cut.is_some(), "it stays:\n{}", server.said());
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Level::best());
    encoder.write_all(bytes).expect("writing to memory");
    encoder.finish().expect("writing to memory")
}

/// A message in a message, `depth` deep: field 3, a length, and so on.
fn nested(depth: usize) -> Vec<u8> {
    (0..depth).fold(Vec::new(), |inner: Vec<u8>, _| {
        let mut outer = vec![0x1a];
        prost::encode_length_delimiter(inner.len(), &mut outer).expect("memory has room");
        outer.extend(inner);
        outer
    })
}

/// Zeros that unpack to 16 MB, descriptions of ten thousand sections, messages that nest, and
/// metadata beyond its bound.
fn bombs_of_all_kinds(server: &Server) {
    let token = token::join("bomber", "ward-3");
    let head = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n";
    let sections = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n".repeat(10_000);
    let offer = signal::join_request(Some(format!("{head}{sections}"))).encode_to_vec();
    for bomb in [gzip(&vec![0; 16 << 20]), gzip(&offer), gzip(&nested(1_000))] {
        let target = signal::target_of(&token, Compression::Gzip, bomb);
        for n in 0..10 * scale() {
            let stream = http::connect_from(attacker(n), server.address());
            let answer = http::refused_upgrade_over(stream, &target);
            assert_eq!(answer.status, 400, "{answer:?}");
        }
    }
    let grants = json!({ "canUpdateOwnMetadata": true });
    let token = token::join_with("writer", "ward-3", &grants);
    let target = signal::target(&token, &signal::join_request(None));
    let mut session = Session::open(server.address(), &target);
    session.send(Request::UpdateMetadata(UpdateParticipantMetadata {
        metadata: "x".repeat(70_000),
        request_id: 7,
        ..Default::default()
    }));
    let reason = session.expect("a refusal", |message| match message {
        Response::RequestResponse(response) => Some(response.reason()),
        _ => None,
    });
    assert_eq!(reason, Reason::LimitExceeded);
}

/// Rooms that are there and rooms that are not are the same to whoever may not join them. Where there
/// is time, also by the time that the answer takes.
fn guesses_at_rooms(server: &Server) {
    let token = token::join("guesser", "ward-3");
    let one = signal::target(&token, &signal::join_request(None));
    let two = signal::target_with_two(&token, "");
    let mut answers = BTreeSet::new();
    let mut differences = Vec::new();
    let pairs = if scale() > 1 { 4_000 } else { 40 };
    for n in 0..pairs {
        let target = if n % 4 < 2 { &one } else { &two };
        let mut took = |room: &str| {
            let stream = http::connect_from(attacker(n), server.address());
            let asked = Instant::now();
            let answer = http::refused_upgrade_over(stream, &format!("{target}&room={room}"));
            answers.insert((answer.status, answer.body));
            asked.elapsed().as_secs_f64()
        };
        // The room of the call, and none; each is the first as often as the other.
        let (there, not_there) = if n % 2 == 0 {
            let there = took("call");
            (there, took("none"))
        } else {
            let not_there = took("none");
            (took("call"), not_there)
        };
        differences.push(there - not_there);
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(answers.first().map(|(status, _)| *status), Some(403));
    let (middle, error) = median(&mut differences);
    eprintln!(
        "{:.2} us later if there, give or take {:.2}",
        middle * 1e6,
        error * 1e6
    );
    // A statement about speed, which only a long run can make.
    if scale() > 1 {
        assert!(middle.abs() <= (8.0 * error).max(5e-6), "the time tells");
    }
}

/// The middle one, and its standard error if all but few are distributed normally.
fn median(of: &mut [f64]) -> (f64, f64) {
    let middle = |of: &mut [f64]| {
        of.sort_by(f64::total_cmp);
        of[of.len() / 2]
    };
    let median = middle(of);
    let mut deviations: Vec<_> = of.iter().map(|one| (one - median).abs()).collect();
    let deviation = 1.4826 * middle(&mut deviations);
    (median, 1.2533 * deviation / (of.len() as f64).sqrt())
}

fn tokens_of_all_wrong_kinds(server: &Server) {
    let good = token::claims("li", "call");
    let with = |name: &str, value: serde_json::Value| {
        let mut claims = good.clone();
        claims[name] = value;
        token::sign(&claims, token::SECRET)
    };
    let wrong = [
        token::unsigned(&good),
        token::sign(&good, "another secret"),
        with("exp", json!(token::now() - 3_600)),
        with("nbf", json!(token::now() + 3_600)),
        with("iss", json!(WARD.0)),
        with("iss", json!("../../etc/passwd")),
        "x.y.z".to_owned(),
        "a".repeat(30_000),
    ];
    for (n, token) in wrong.iter().cycle().take(80 * scale()).enumerate() {
        let target = signal::target(token, &signal::join_request(None));
        let stream = http::connect_from(attacker(n), server.address());
        let answer = http::refused_upgrade_over(stream, &target);
        assert_eq!(answer.status, 401, "{answer:?}");
    }
}

/// Whoever came with the key is out within two seconds, and his tokens are refused.
fn take_a_key_away(server: &Server, without: &str) {
    let mut claims = token::claims("nurse", "ward-4");
    claims["iss"] = json!(WARD.0);
    let token = token::sign(&claims, WARD.1);
    let target = signal::target(&token, &signal::join_request(None));
    let mut session = Session::open(server.address(), &target);
    session.expect("the join", |message| {
        matches!(message, Response::Join(_)).then_some(())
    });
    // A configuration that would not be started with changes nothing.
    server.reload("[keys]\nward = 'too short'\n");
    let refused = wait_until(Duration::from_secs(30), || {
        let said = server.said();
        said.contains("everything stays as it is").then_some(())
    });
    assert!(refused.is_some(), "{}", server.said());
    session.send(ping(7));
    session.expect("a pong", |message| {
        matches!(message, Response::PongResp(_)).then_some(())
    });

    server.reload(without);
    let told = Instant::now();
    let reason = session.expect("a goodbye", |message| match message {
        Response::Leave(leave) => Some(leave.reason()),
        _ => None,
    });
    let took = told.elapsed();
    eprintln!("out after {took:.1?}");
    assert_eq!(reason, DisconnectReason::ParticipantRemoved);
    assert!(took < REMOVAL_TIME_MAX, "{took:?}");
    let ended = session.ending(Duration::from_secs(10));
    assert!(ended.is_some(), "the WebSocket stays open");
    let answer = http::refused_upgrade(server.address(), &target);
    assert_eq!(answer.status, 401, "{answer:?}");
    let metrics = server.metrics();
    assert_eq!(metrics.sum("consilium_participants_without_key_total"), 1.0);
}
