//! A signalling connection that breaks in mid-call: the call goes on, and its seat is for nobody else.

use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use livekit_protocol::leave_request::Action;
use livekit_protocol::participant_info::State;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::{DisconnectReason, JoinRequest, Ping, SyncState};
use serde_json::json;
use tests::dtls;
use tests::http;
use tests::patience::in_real_time;
use tests::process::wait_until;
use tests::server::{Build, Server};
use tests::signal::{self, Answered, Credentials, Session};
use tests::suite;
use tests::token::{self, SECRET};

type Socket = Session<TcpStream>;

const ROOM: &str = "mdt";
const TESTS: usize = 2;

#[test]
fn a_call_goes_on_while_a_participants_websocket_is_away() {
    in_real_time(pass_resume);
}

fn pass_resume() {
    let server = Server::with_config(Build::Release, "");
    let outcome = suite::run(
        "resume.config.mjs",
        &[("LIVEKIT_URL", &server.websocket_url())],
        Duration::from_secs(240),
    );
    outcome.assert_all_passed(TESTS, &server);
}

/// Somebody with a seat that others would like to have.
struct Seated {
    session: Socket,
    token: String,
    sid: String,
}

impl Seated {
    fn join(server: &Server, identity: &str) -> Self {
        let local = Credentials {
            ufrag: "seat".to_owned(),
            password: "p".repeat(24),
        };
        let offer = signal::offer(&local, &dtls::Client::default().fingerprint(), "cid");
        let token = token::join(identity, ROOM);
        let target = signal::target(&token, &signal::join_request(Some(offer)));
        let mut session = Session::open(server.address(), &target);
        let sid = session.expect("the join", |message| match message {
            Response::Join(join) => Some(join.participant.as_ref()?.sid.clone()),
            _ => None,
        });
        Self {
            session,
            token,
            sid,
        }
    }

    /// Breaks the connection without a goodbye.
    fn cut(&mut self) {
        let socket = self.session.stream();
        socket.shutdown(Shutdown::Both).expect("it was open");
    }
}

fn returning(sid: &str) -> JoinRequest {
    JoinRequest {
        reconnect: true,
        participant_sid: sid.to_owned(),
        ..signal::join_request(None)
    }
}

/// Asks for the seat `sid` and gives the first message back.
fn ask(server: &Server, token: &str, sid: &str) -> (Socket, Response) {
    let mut session = Session::open(server.address(), &signal::target(token, &returning(sid)));
    let first = session.receive().expect("the first message");
    (session, first)
}

fn is_sent_away(first: &Response) -> bool {
    matches!(first, Response::Leave(leave)
        if leave.reason() == DisconnectReason::StateMismatch && leave.action() == Action::Reconnect)
}

fn detached(server: &Server) -> f64 {
    server.metrics().sum("consilium_seats_detached")
}

fn becomes_detached(server: &Server) {
    let seen = wait_until(Duration::from_secs(30), || {
        (detached(server) >= 1.0).then_some(())
    });
    assert!(seen.is_some(), "the broken connection is not noticed");
}

/// Whether `identity` is among those that the room's list has.
fn is_listed(server: &Server, identity: &str) -> bool {
    let token = token::join_with("app", ROOM, &json!({ "roomAdmin": true }));
    let answer = http::post(
        server.address(),
        "/twirp/livekit.RoomService/ListParticipants",
        &[("Authorization", &format!("Bearer {token}"))],
        &json!({ "room": ROOM }).to_string(),
    );
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body.contains(&format!("\"{identity}\""))
}

#[test]
fn a_broken_websocket_gives_its_seat_to_nobody_else() {
    let server = Server::with_config(Build::Release, "");
    let mut nurse = Seated::join(&server, "li");
    let mut doctor = Seated::join(&server, "wang");
    doctor.cut();
    becomes_detached(&server);

    let stranger = token::join("zhao", ROOM);
    let elsewhere = token::join("wang", "another room");
    let with_key = |key: &str, secret: &str| {
        let mut claims = token::claims("wang", ROOM);
        claims["iss"] = json!(key);
        token::sign(&claims, secret)
    };
    let asked = Instant::now();
    let sent_away = [
        ("another's seat", &stranger, &doctor.sid),
        ("the neighbour's seat", &doctor.token, &nurse.sid),
        ("a seat in another room", &elsewhere, &doctor.sid),
        ("no seat at all", &doctor.token, &String::new()),
        (
            "a seat that never was",
            &doctor.token,
            &"PA_nobody".to_owned(),
        ),
    ];
    let count = sent_away.len() as u32;
    for (what, token, sid) in sent_away {
        let (mut session, first) = ask(&server, token, sid);
        assert!(is_sent_away(&first), "{what}: {first:?}");
        assert!(session.ending(Duration::from_secs(10)).is_some(), "{what}");
    }
    println!("sent away in {:?} each", asked.elapsed() / count);
    for (what, token) in [
        ("a foreign key", with_key("someone", SECRET)),
        ("a wrong secret", with_key(token::KEY, "another secret")),
    ] {
        let target = signal::target(&token, &returning(&doctor.sid));
        let answer = http::refused_upgrade(server.address(), &target);
        assert_eq!(answer.status, 401, "{what}: {answer:?}");
    }

    // Nobody got it, and nobody noticed anything.
    assert!(is_listed(&server, "wang"));
    nurse.session.send(Request::PingReq(Ping {
        timestamp: 7,
        rtt: 0,
    }));
    nurse
        .session
        .expect("a pong, and nobody leaving", |message| {
            if let Response::Update(update) = message {
                let mut told = update.participants.iter();
                assert!(
                    told.all(|one| one.state() != State::Disconnected),
                    "{update:?}"
                );
            }
            matches!(message, Response::PongResp(_)).then_some(())
        });

    // It is still there for whom it belongs to, over a second socket and a third one.
    let (mut second, first) = ask(&server, &doctor.token, &doctor.sid);
    assert!(matches!(first, Response::Reconnect(_)), "{first:?}");
    second.expect("who is here", |message| match message {
        Response::Update(update) => (update.participants[0].sid == doctor.sid
            && update.participants.iter().any(|one| one.sid == nurse.sid))
        .then_some(()),
        _ => None,
    });
    let (mut third, first) = ask(&server, &doctor.token, &doctor.sid);
    assert!(matches!(first, Response::Reconnect(_)), "{first:?}");
    assert!(
        second.ending(Duration::from_secs(10)).is_some(),
        "the socket that was replaced stays open"
    );
    // A list of what one has is taken once, whatever is in it.
    for _ in 0..100 {
        let state = SyncState {
            track_sids_disabled: vec!["TR_x".repeat(100); 10],
            ..SyncState::default()
        };
        third.send(Request::SyncState(state));
    }
    // An offer with fresh credentials goes on with the connection that there is.
    let local = Credentials {
        ufrag: "anew".to_owned(),
        password: "q".repeat(24),
    };
    let fingerprint = dtls::Client::default().fingerprint();
    let sdp = signal::offer(&local, &fingerprint, "cid");
    third.send(Request::Offer(livekit_protocol::SessionDescription {
        r#type: "offer".to_owned(),
        sdp,
        id: 2,
        ..Default::default()
    }));
    // This one has another certificate, so it is another connection, which a resume cannot have.
    let leave = third.expect("the verdict", |message| match message {
        Response::Leave(leave) => Some(leave.clone()),
        Response::Answer(answer) => {
            Answered::parse(&answer.sdp);
            panic!("another certificate was taken for the same connection");
        }
        _ => None,
    });
    assert_eq!(leave.action(), Action::Reconnect);
}

#[test]
fn a_seat_is_gone_after_its_time_and_with_its_owner() {
    let server = Server::with_config(Build::Release, "[rooms]\nresume_timeout = 3\n");
    let mut doctor = Seated::join(&server, "wang");
    let mut nurse = Seated::join(&server, "li");
    doctor.cut();
    becomes_detached(&server);
    let gone = wait_until(Duration::from_secs(60), || {
        (detached(&server) == 0.0).then_some(())
    });
    assert!(gone.is_some(), "the seat is kept for ever");
    assert!(!is_listed(&server, "wang"));
    let (_, first) = ask(&server, &doctor.token, &doctor.sid);
    assert!(is_sent_away(&first), "{first:?}");

    // Who was removed does not come back with the token that he has.
    nurse.cut();
    becomes_detached(&server);
    let admin = token::join_with("app", ROOM, &json!({ "roomAdmin": true }));
    let answer = http::post(
        server.address(),
        "/twirp/livekit.RoomService/RemoveParticipant",
        &[("Authorization", &format!("Bearer {admin}"))],
        &json!({ "room": ROOM, "identity": "li" }).to_string(),
    );
    assert_eq!(answer.status, 200, "{answer:?}");
    let target = signal::target(&nurse.token, &returning(&nurse.sid));
    let answer = http::refused_upgrade(server.address(), &target);
    assert_eq!(answer.status, 401, "{answer:?}");
}

#[test]
fn a_server_that_stops_tells_its_clients_to_connect_anew() {
    let server = Server::with_config(Build::Release, "");
    let mut first = Seated::join(&server, "wang");
    let mut second = Seated::join(&server, "wang");
    let leave = |session: &mut Socket| {
        session.expect("a goodbye", |message| match message {
            Response::Leave(leave) => Some((leave.reason(), leave.action())),
            _ => None,
        })
    };
    assert_eq!(
        leave(&mut first.session),
        (DisconnectReason::DuplicateIdentity, Action::Disconnect)
    );
    server.stop();
    assert_eq!(
        leave(&mut second.session),
        (DisconnectReason::ServerShutdown, Action::Reconnect)
    );
}
