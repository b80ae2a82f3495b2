//! What bad input gets over HTTP and WebSocket: its documented answer, cheaply, while everybody
//! else is served as before.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use flate2::Compression as Level;
use flate2::write::GzEncoder;
use livekit_protocol::request_response::Reason;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::wrapped_join_request::Compression;
use livekit_protocol::{
    AddTrackRequest, ParticipantInfo, Ping, SessionDescription, TrackType,
    UpdateParticipantMetadata, UpdateSubscription,
};
use prost::Message as _;
use serde_json::json;
use tests::http::{self, Response as Answer};
use tests::process::wait_until;
use tests::server::{Build, Server};
use tests::signal::{self, Credentials, Ending, Session};
use tests::suite;
use tests::token::{self, SECRET};

type Socket = Session<std::net::TcpStream>;

/// A bystander's ping may take this long while somebody misbehaves.
const BYSTANDER_DELAY_MAX: Duration = Duration::from_secs(1);
/// What unpacking a bomb may cost.
const CPU_PER_BOMB_MAX: Duration = Duration::from_millis(50);
/// Bombs are measured together, because the kernel tells CPU time in hundredths of a second.
const BOMBS: u32 = 20;
/// Memory that all bombs together may leave behind: one unpacked to its bound, and the allocator.
const BOMB_GROWTH_MAX: u64 = 16 << 20;

/// A server that does not mind when a test is busy elsewhere and sends no ping.
fn patient_server(more: &str) -> Server {
    Server::with_config(
        Build::Release,
        &format!("[rooms]\nping_timeout = 60\n{more}"),
    )
}

/// Somebody who is in a call of their own and must notice nothing.
struct Bystander(Socket);

impl Bystander {
    fn join(server: &Server) -> Self {
        let mut session = enter(server, &token::join("bystander", "quiet-room"));
        session.expect("the join", joined);
        Self(session)
    }

    fn is_served(&mut self) {
        let asked = Instant::now();
        self.0.send(Request::PingReq(Ping {
            timestamp: 7,
            rtt: 0,
        }));
        self.0.expect("a pong", |message| {
            matches!(message, Response::PongResp(pong) if pong.last_ping_timestamp == 7)
                .then_some(())
        });
        let took = asked.elapsed();
        assert!(
            took < BYSTANDER_DELAY_MAX,
            "a bystander's ping took {took:?}"
        );
    }
}

fn enter(server: &Server, token: &str) -> Socket {
    Session::open(
        server.address(),
        &signal::target(token, &signal::join_request(None)),
    )
}

fn joined(message: &Response) -> Option<livekit_protocol::JoinResponse> {
    match message {
        Response::Join(join) => Some(join.clone()),
        _ => None,
    }
}

fn is_one_plain_sentence(answer: &Answer) {
    let body = answer.body.trim();
    assert!(
        !body.is_empty() && body.len() < 200 && !body.contains('\n'),
        "{answer:?}"
    );
    assert!(
        !body.contains(['<', '{']),
        "no page and no JSON: {answer:?}"
    );
}

#[test]
fn a_token_that_grants_nothing_here_is_refused_before_the_upgrade() {
    let server = patient_server("");
    let mut bystander = Bystander::join(&server);
    let good = token::claims("li", "ward-3");
    let with = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut claims = good.clone();
        change(&mut claims);
        token::sign(&claims, SECRET)
    };
    let table: [(&str, String, u16); 9] = [
        ("no token", String::new(), 401),
        ("no token at all", "x.y.z".to_owned(), 401),
        (
            "expired",
            with(&|claims| claims["exp"] = json!(token::now() - 3_600)),
            401,
        ),
        (
            "not yet good",
            with(&|claims| claims["nbf"] = json!(token::now() + 3_600)),
            401,
        ),
        (
            "of a foreign key",
            with(&|claims| claims["iss"] = json!("someone")),
            401,
        ),
        (
            "signed by another",
            token::sign(&good, "another secret"),
            401,
        ),
        ("alg=none", token::unsigned(&good), 401),
        (
            "no grant to join",
            with(&|claims| claims["video"]["roomJoin"] = json!(false)),
            403,
        ),
        (
            "no grants",
            with(&|claims| claims["video"] = json!({})),
            403,
        ),
    ];
    for (what, token, status) in table {
        for joining in [
            signal::target(&token, &signal::join_request(None)),
            signal::target_with_two(&token, ""),
        ] {
            let answer = http::refused_upgrade(server.address(), &joining);
            assert_eq!(answer.status, status, "{what}: {answer:?}");
            is_one_plain_sentence(&answer);
        }
        let asking = format!("/rtc/v1/validate?access_token={token}");
        let answer = http::get(
            server.address(),
            &asking,
            &[("Origin", "https://clinic.example")],
        );
        assert_eq!(answer.status, status, "{what}, asked: {answer:?}");
        assert_eq!(
            answer.header("access-control-allow-origin"),
            Some("*"),
            "{what}"
        );
        bystander.is_served();
    }
}

#[test]
fn a_token_for_another_room_says_nothing_about_that_room() {
    let server = patient_server("");
    let mut bystander = Bystander::join(&server);
    let token = token::join("li", "ward-3");
    let joining = signal::target(&token, &signal::join_request(None));
    let [there, not_there] = ["quiet-room", "no-such-room"]
        .map(|room| http::refused_upgrade(server.address(), &format!("{joining}&room={room}")));
    assert_eq!(there.status, 403, "{there:?}");
    assert_eq!(
        (there.status, &there.body),
        (not_there.status, &not_there.body)
    );
    is_one_plain_sentence(&there);
    bystander.is_served();
}

#[test]
fn only_the_tokens_own_room_is_said_not_to_exist() {
    let server = patient_server("auto_create = false\n");
    let token = token::join("li", "ward-3");
    let joining = signal::target(&token, &signal::join_request(None));
    let answer = http::refused_upgrade(server.address(), &joining);
    assert_eq!(
        (answer.status, answer.body.trim()),
        (404, "requested room does not exist")
    );
    let other = http::refused_upgrade(server.address(), &format!("{joining}&room=ward-4"));
    assert_eq!(other.status, 403, "{other:?}");
}

#[test]
fn without_an_upgrade_there_is_nothing() {
    let server = patient_server("");
    let token = token::join("li", "ward-3");
    let targets = [
        signal::target(&token, &signal::join_request(None)),
        signal::target_with_two(&token, ""),
    ];
    for target in targets {
        assert_eq!(http::get(server.address(), &target, &[]).status, 404);
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Level::best());
    encoder.write_all(bytes).expect("writing to memory");
    encoder.finish().expect("writing to memory")
}

fn offer_bomb(sdp: String) -> Vec<u8> {
    gzip(&signal::join_request(Some(sdp)).encode_to_vec())
}

#[test]
fn a_join_request_that_is_none_is_refused_cheaply() {
    let server = patient_server("");
    let mut bystander = Bystander::join(&server);
    let token = token::join("li", "ward-3");
    let zeros = gzip(&vec![0; 16 << 20]);
    let lines = "a=candidate:1 1 udp 1 192.0.2.1 1 typ host\r\n".repeat(10_000);
    let long_line = format!("v=0\r\na={}\r\n", "x".repeat(1 << 20));
    let sections = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n".repeat(10_000);
    let head = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n";
    let table = [
        (
            "no base64",
            format!("/rtc/v1?access_token={token}&join_request=%25%25%25"),
        ),
        (
            "no protobuf",
            signal::target_of(&token, Compression::None, vec![0xFF; 100]),
        ),
        (
            "cut short",
            signal::target_of(&token, Compression::Gzip, zeros[..100].to_vec()),
        ),
        (
            "a bomb",
            signal::target_of(&token, Compression::Gzip, zeros),
        ),
        (
            "10,000 lines",
            signal::target_of(
                &token,
                Compression::Gzip,
                offer_bomb(format!("{head}{lines}")),
            ),
        ),
        (
            "1 MB in a line",
            signal::target_of(&token, Compression::Gzip, offer_bomb(long_line)),
        ),
        (
            "10,000 sections",
            signal::target_of(
                &token,
                Compression::Gzip,
                offer_bomb(format!("{head}{sections}")),
            ),
        ),
        (
            "attributes that are none",
            signal::target_with_two(&token, "&attributes=%25%25%25"),
        ),
        (
            "attributes that nest",
            signal::target_with_two(&token, &format!("&attributes={}", "W1tb".repeat(10_000))),
        ),
    ];
    for (what, target) in table {
        let (memory, time) = (server.resident_bytes(), server.cpu_time());
        for _ in 0..BOMBS {
            let answer = http::refused_upgrade(server.address(), &target);
            assert_eq!(answer.status, 400, "{what}: {answer:?}");
            is_one_plain_sentence(&answer);
        }
        let spent = (server.cpu_time() - time) / BOMBS;
        assert!(spent < CPU_PER_BOMB_MAX, "{what} cost {spent:?}");
        let grown = server.resident_bytes().saturating_sub(memory);
        assert!(grown < BOMB_GROWTH_MAX, "{what} left {grown} bytes behind");
        bystander.is_served();
    }
    let oversized = http::oversized_request(server.address(), 1 << 20);
    assert!(
        oversized.is_none_or(|answer| [400, 414, 431].contains(&answer.status)),
        "a request line of 1 MB was taken"
    );
    bystander.is_served();
}

#[test]
fn an_offer_that_is_a_bomb_ends_its_own_session_only() {
    let server = patient_server("");
    let mut bystander = Bystander::join(&server);
    for (n, sdp) in ["a=x\r\n".repeat(10_000), "x".repeat(1 << 20), String::new()]
        .into_iter()
        .enumerate()
    {
        let mut session = enter(&server, &token::join(&format!("li-{n}"), "ward-3"));
        session.expect("the join", joined);
        let time = server.cpu_time();
        let offer = SessionDescription {
            r#type: "offer".into(),
            sdp,
            id: 1,
            ..Default::default()
        };
        // The server may close before it has read a message that is beyond its bound.
        let _ = session.try_send(Request::Offer(offer));
        let ending = session.ending(Duration::from_secs(5));
        assert!(ending.is_some(), "bomb {n} was taken");
        let spent = server.cpu_time() - time;
        assert!(spent <= CPU_PER_BOMB_MAX, "bomb {n} cost {spent:?}");
        bystander.is_served();
    }
}

#[test]
fn an_answer_that_is_a_bomb_or_to_something_else_ends_its_own_session_only() {
    let server = patient_server("");
    let mut bystander = Bystander::join(&server);
    let other = Credentials {
        ufrag: "abcd".to_owned(),
        password: "p".repeat(24),
    };
    let other = signal::offer(&other, &["07"; 32].join(":"), "cid").replace("actpass", "active");
    let bombs = [
        "a=x\r\n".repeat(10_000),
        "x".repeat(1 << 20),
        String::new(),
        other,
    ];
    for (n, sdp) in bombs.into_iter().enumerate() {
        let token = token::join(&format!("li-{n}"), "ward-3");
        let target = signal::target_with_two(&token, "");
        let mut session = Session::open(server.address(), &target);
        let offer = session.expect("the offer", |message| match message {
            Response::Offer(offer) => Some(offer.clone()),
            _ => None,
        });
        assert_eq!(offer.id, 1);
        let time = server.cpu_time();
        let answer = SessionDescription {
            r#type: "answer".into(),
            sdp,
            id: 1,
            ..Default::default()
        };
        // The server may close before it has read a message that is beyond its bound.
        let _ = session.try_send(Request::Answer(answer));
        let ending = session.ending(Duration::from_secs(5));
        assert!(ending.is_some(), "bomb {n} was taken");
        let spent = server.cpu_time() - time;
        assert!(spent <= CPU_PER_BOMB_MAX, "bomb {n} cost {spent:?}");
        bystander.is_served();
    }
}

#[test]
fn bytes_that_are_no_message_end_their_own_session_only() {
    let server = patient_server("");
    let mut bystander = Bystander::join(&server);
    for (n, bytes) in [vec![0xFF; 64], vec![0; 8 << 20]].into_iter().enumerate() {
        let mut session = enter(&server, &token::join(&format!("li-{n}"), "ward-3"));
        session.expect("the join", joined);
        // The server may close before it has read a frame that is beyond its bound.
        let _ = session.try_send_bytes(bytes);
        let ending = session.ending(Duration::from_secs(5));
        assert!(ending.is_some(), "message {n} was taken");
        bystander.is_served();
    }
    let malformed = server
        .metrics()
        .sum("consilium_signal_messages_malformed_total");
    assert_eq!(
        malformed, 1.0,
        "the one that was small enough to look at is counted"
    );
}

#[test]
fn a_request_head_that_never_ends_is_cut_off() {
    let server = patient_server("[limits]\nrequest_head_timeout = 1\n");
    let mut bystander = Bystander::join(&server);
    let mut stalled: Vec<_> = (0..50).map(|_| http::connect(server.address())).collect();
    for stream in &mut stalled {
        stream
            .write_all(b"GET /rtc/v1?access_token=")
            .expect("the server listens");
    }
    bystander.is_served();
    for stream in &mut stalled {
        let mut rest = Vec::new();
        // An answer 408, a close and a reset are all an end.
        let ended = stream.read_to_end(&mut rest).is_ok_and(|_| true)
            || stream.take_error().is_ok_and(|error| error.is_some());
        assert!(ended, "still open after the time for a head: {rest:?}");
    }
    bystander.is_served();
}

#[test]
fn a_session_that_falls_silent_is_ended() {
    let server = Server::with_config(
        Build::Release,
        "[rooms]\nping_timeout = 2\nping_interval = 1\nresume_timeout = 1\n",
    );
    let mut bystander = Bystander::join(&server);
    let mut silent = enter(&server, &token::join("silent", "quiet-room"));
    silent.expect("the join", joined);
    // Nobody reads for it, so it does not even answer the pings of the WebSocket.
    let gone = wait_until(Duration::from_secs(30), || {
        is_gone(&mut bystander.0, "silent").then_some(())
    });
    assert!(gone.is_some(), "a silent session stays");
    assert!(
        silent.ending(Duration::from_secs(5)).is_some(),
        "its WebSocket stays open"
    );
    bystander.is_served();
}

/// Whether `session` has been told, or is told at once, that `identity` has left.
fn is_gone(session: &mut Socket, identity: &str) -> bool {
    session.send(Request::PingReq(Ping {
        timestamp: 8,
        rtt: 0,
    }));
    session.expect("an update or a pong", |message| match message {
        Response::Update(update) => has_left(&update.participants, identity).then_some(true),
        Response::PongResp(pong) if pong.last_ping_timestamp == 8 => Some(false),
        _ => None,
    })
}

fn has_left(participants: &[ParticipantInfo], identity: &str) -> bool {
    let left = livekit_protocol::participant_info::State::Disconnected as i32;
    participants
        .iter()
        .any(|p| p.identity == identity && p.state == left)
}

#[test]
fn a_session_that_floods_is_ended_with_a_reason() {
    let server = patient_server("");
    let mut bystander = Bystander::join(&server);
    let mut flooder = enter(&server, &token::join("flooder", "ward-3"));
    flooder.expect("the join", joined);
    let mut sent = 0;
    let cut = wait_until(Duration::from_secs(30), || {
        sent += 100;
        let mut burst = (0..100).map(|_| {
            Request::PingReq(Ping {
                timestamp: 1,
                rtt: 0,
            })
        });
        burst
            .any(|ping| flooder.try_send(ping).is_err())
            .then_some(())
    });
    assert!(cut.is_some(), "{sent} messages were taken");
    bystander.is_served();
    match flooder.ending(Duration::from_secs(10)) {
        Some(Ending::Closed(Some(frame))) => assert!(!frame.reason.is_empty(), "{frame:?}"),
        // The reason may be lost in a reset, because we were still writing; the counter is not.
        ending => assert!(
            server.metrics().sum("consilium_sessions_limited_total") >= 1.0,
            "{ending:?}"
        ),
    }
}

#[test]
fn a_session_that_never_reads_is_ended_and_delays_nobody() {
    // Its seat would be kept for a while: it may come back and read.
    let server = patient_server("resume_timeout = 2\n");
    let mut bystander = Bystander::join(&server);
    let room = "busy-room";
    let grants = json!({ "canUpdateOwnMetadata": true });
    let mut speaker = enter(&server, &token::join_with("speaker", room, &grants));
    speaker.expect("the join", joined);
    let mut deaf = enter(&server, &token::join("deaf", room));
    let socket = socket2::SockRef::from(&*deaf.stream());
    socket
        .set_recv_buffer_size(4 << 10)
        .expect("the socket is open");
    let mut updates = 0;
    let gone = wait_until(Duration::from_secs(60), || {
        bystander.is_served();
        updates += 1;
        let update = UpdateParticipantMetadata {
            metadata: format!("{updates:060000}"),
            request_id: 1,
            ..Default::default()
        };
        speaker.send(Request::UpdateMetadata(update));
        // It is alive, as far as its pings tell.
        let _ = deaf.try_send(Request::PingReq(Ping {
            timestamp: 9,
            rtt: 0,
        }));
        is_gone(&mut speaker, "deaf").then_some(())
    });
    assert!(
        gone.is_some(),
        "a session that never reads stays:\n{}",
        server.said()
    );
    bystander.is_served();
}

fn microphone(cid: &str) -> Request {
    Request::AddTrack(AddTrackRequest {
        cid: cid.to_owned(),
        name: "microphone".to_owned(),
        r#type: TrackType::Audio as i32,
        source: livekit_protocol::TrackSource::Microphone as i32,
        ..Default::default()
    })
}

fn refused(message: &Response) -> Option<Reason> {
    match message {
        Response::RequestResponse(response) => Some(response.reason()),
        Response::TrackPublished(published) => panic!("published: {published:?}"),
        _ => None,
    }
}

#[test]
fn publishing_without_the_grant_is_refused_and_said() {
    let server = patient_server("");
    for (n, grants) in [
        json!({ "canPublish": false }),
        json!({ "canPublishSources": ["camera"] }),
    ]
    .into_iter()
    .enumerate()
    {
        let token = token::join_with(&format!("observer-{n}"), "ward-3", &grants);
        let mut session = enter(&server, &token);
        session.expect("the join", joined);
        session.send(microphone("cid-1"));
        let reason = session.expect("a refusal", refused);
        assert_eq!(reason, Reason::NotAllowed, "{grants}");
    }
}

#[test]
fn data_without_the_grant_reaches_nobody() {
    let server = Server::dev(Build::Release);
    let outcome = suite::run(
        "grants.config.mjs",
        &[("LIVEKIT_URL", &server.websocket_url())],
        Duration::from_secs(90),
    );
    assert!(outcome.failed.is_empty(), "{}", outcome.said);
    assert_eq!(outcome.passed.len(), 1, "{}", outcome.said);
}

#[test]
fn a_hidden_participant_is_not_announced_and_not_subscribed_to() {
    let server = patient_server("");
    let room = "ward-3";
    let local = Credentials {
        ufrag: "hidn".into(),
        password: "p".repeat(22),
    };
    // Nobody will ever shake hands, so the fingerprint is nobody's.
    let offer = signal::offer(&local, &["AB"; 32].join(":"), "cid-1");
    let request = signal::join_request(Some(offer));
    let token = token::join_with("compliance", room, &json!({ "hidden": true }));
    let mut hidden = Session::open(server.address(), &signal::target(&token, &request));
    hidden.expect("the join", joined);
    hidden.send(microphone("cid-1"));
    let sid = hidden.expect("the track's sid", |message| match message {
        Response::TrackPublished(published) => published.track.as_ref().map(|t| t.sid.clone()),
        _ => None,
    });

    let mut session = enter(&server, &token::join("li", room));
    let join = session.expect("the join", joined);
    assert!(
        join.other_participants.is_empty(),
        "announced: {:?}",
        join.other_participants
    );
    session.send(Request::Subscription(UpdateSubscription {
        track_sids: vec![sid.clone()],
        subscribe: true,
        ..Default::default()
    }));
    session.expect("a refusal", |message| match message {
        Response::SubscriptionResponse(response) => {
            assert_eq!(response.track_sid, sid);
            assert_ne!(response.err, 0, "an error is named");
            Some(())
        }
        Response::RequestResponse(response) => {
            assert_ne!(response.reason(), Reason::Ok);
            Some(())
        }
        Response::Update(update) => {
            let named = update
                .participants
                .iter()
                .any(|p| p.identity == "compliance");
            assert!(!named, "announced: {update:?}");
            None
        }
        _ => None,
    });
}
