//! The front door from outside: what comes back over a socket for good and bad callers.
//!
//! Real sockets on loopback, bytes written by hand, so that a test sees exactly what a hostile or
//! slow caller would. Sessions and media have their own tests.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::{CertificateDer, ServerName};
use signaling::config::{DEV_KEY, Limits, SignalingConfig, TlsConfig};
use signaling::http::listener::Listener;
use signaling::http::tls::Certificate;
use signaling::http::{Front, router};
use signaling::token::{Grants, Keyring, VideoGrant};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// A running front door without a media plane.
struct Door {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    _runtime: Runtime,
}

impl Door {
    fn open(config: SignalingConfig) -> Self {
        let runtime = Runtime::new().expect("threads");
        let certificate = config
            .tls
            .as_ref()
            .map(|config| Certificate::read(config).expect("a good certificate"));
        let acceptor = certificate.as_ref().map(Certificate::acceptor);
        let (stop, stopped) = watch::channel(false);
        let address = runtime.block_on(async {
            let tcp = tokio::net::TcpListener::bind("127.0.0.1:0")
                .await
                .expect("a free port");
            let address = tcp.local_addr().expect("bound");
            let front = Arc::new(Front::new(config, None));
            front.set_ready(true);
            if let Some(certificate) = certificate {
                let metrics = Arc::clone(&front.metrics);
                tokio::spawn(async move { certificate.follow(&metrics).await });
            }
            let router = router(Arc::clone(&front));
            tokio::spawn(Listener::new(front, router, tcp, acceptor).run(stopped));
            address
        });
        Self {
            address,
            stop,
            _runtime: runtime,
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("the door is open");
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("not zero");
        stream
    }

    /// The whole answer to one request line.
    fn get(&self, target: &str) -> String {
        let mut stream = self.connect();
        stream
            .write_all(request(target).as_bytes())
            .expect("written");
        read(stream)
    }

    fn status(&self, target: &str) -> u16 {
        status(&self.get(target))
    }
}

fn request(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
}

fn read(mut from: impl Read) -> String {
    let mut bytes = Vec::new();
    // A connection that is cut counts with what it said before.
    let _ = from.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn status(answer: &str) -> u16 {
    let code = answer.split(' ').nth(1).unwrap_or_default();
    code.parse()
        .unwrap_or_else(|_| panic!("no answer: {answer:?}"))
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

fn token(change: impl FnOnce(&mut Grants)) -> String {
    let config = SignalingConfig::dev();
    let mut grants = Grants {
        identity: "doctor".into(),
        video: VideoGrant {
            room: "consult".into(),
            room_join: Some(true),
            ..VideoGrant::default()
        },
        ..Grants::default()
    };
    change(&mut grants);
    Keyring::new(&config.keys, &config.limits)
        .mint(DEV_KEY, &grants, Duration::from_secs(60))
        .expect("the development key is known")
}

fn with_limits(limits: Limits) -> SignalingConfig {
    SignalingConfig {
        limits,
        ..SignalingConfig::dev()
    }
}

#[test]
fn validate_says_in_a_sentence_why_a_token_is_refused() {
    let door = Door::open(SignalingConfig::dev());
    let good = token(|_| {});
    let no_join = token(|grants| grants.video.room_join = None);
    let nobody = token(|grants| grants.identity.clear());
    let forged = format!("{}A", &good[..good.len() - 2]);
    for route in ["/rtc/validate", "/rtc/v1/validate"] {
        let table = [
            (format!("access_token={good}"), 200, "success"),
            (String::new(), 401, "no token was given"),
            ("access_token=".into(), 401, "no token was given"),
            (
                "access_token=nonsense".into(),
                401,
                "the token is not a valid HS256 token",
            ),
            (
                format!("access_token={forged}"),
                401,
                "the token's signature is wrong",
            ),
            (
                format!("access_token={no_join}"),
                403,
                "the token does not grant roomJoin",
            ),
            (
                format!("access_token={good}&room=other"),
                403,
                "the token is for another room",
            ),
            (
                format!("access_token={nobody}"),
                400,
                "bad request: the token names no identity",
            ),
        ];
        for (query, code, sentence) in table {
            let answer = door.get(&format!("{route}?{query}"));
            assert_eq!(status(&answer), code, "{query}: {answer}");
            assert_eq!(body(&answer), sentence);
            assert!(
                answer.contains("access-control-allow-origin: *"),
                "{answer}"
            );
        }
    }
}

/// Nothing can be told of a room by the answer or by its time, when it comes from a door that has
/// no rooms to look into.
#[test]
fn who_may_not_enter_a_room_is_refused_before_any_room_is_looked_for() {
    let door = Door::open(SignalingConfig::dev());
    let ask = |request: String| {
        let mut stream = door.connect();
        stream.write_all(request.as_bytes()).expect("written");
        read(stream)
    };
    let upgrade = "Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    let token = token(|grants| grants.video.room_admin = Some(true));
    // Gzip is 0 and the request empty: a join of one who wants nothing in particular.
    for (room, code) in [("other", 403), ("consult", 503)] {
        for way in ["/rtc/v1?join_request=EgA&", "/rtc?"] {
            let target = format!("{way}access_token={token}&room={room}");
            let answer = ask(format!(
                "GET {target} HTTP/1.1\r\nHost: here\r\n{upgrade}\r\n\r\n"
            ));
            assert_eq!(status(&answer), code, "{way} {room}: {answer}");
        }
        for (method, more) in [
            ("ListParticipants", ""),
            ("GetParticipant", r#","identity":"li""#),
            ("RemoveParticipant", r#","identity":"li""#),
            ("UpdateRoomMetadata", r#","metadata":"x""#),
        ] {
            let body = format!(r#"{{"room":"{room}"{more}}}"#);
            let answer = ask(format!(
                "POST /twirp/livekit.RoomService/{method} HTTP/1.1\r\nHost: here\r\n\
                 Connection: close\r\nAuthorization: Bearer {token}\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ));
            assert_eq!(status(&answer), code, "{method} {room}: {answer}");
        }
    }
}

#[test]
fn the_page_is_served_under_a_strict_policy() {
    let door = Door::open(SignalingConfig::dev());
    let page = door.get("/");
    assert_eq!(status(&page), 200);
    for line in [
        "content-security-policy: default-src 'none'; script-src 'self';",
        "frame-ancestors 'none'",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "cache-control: no-cache",
    ] {
        assert!(page.contains(line), "{line} is missing in {page}");
    }
    assert_eq!(door.status("/../Cargo.toml"), 404);
    assert_eq!(door.status("/nothing"), 404);
}

#[test]
fn supervisors_are_answered() {
    let door = Door::open(SignalingConfig::dev());
    assert_eq!(door.status("/healthz"), 200);
    assert_eq!(door.status("/readyz"), 200);
    let metrics = door.get("/metrics");
    assert!(
        metrics.contains("consilium_connections_total 3\n"),
        "{metrics}"
    );
}

#[test]
fn long_request_lines_of_the_sdks_fit_and_longer_ones_do_not() {
    let door = Door::open(SignalingConfig::dev());
    let long = "a".repeat(20_000);
    assert_eq!(door.status(&format!("/healthz?join_request={long}")), 200);
    let endless = "a".repeat(Limits::default().request_head_bytes_max);
    let answer = door.get(&format!("/healthz?join_request={endless}"));
    assert!(answer.is_empty() || status(&answer) >= 400, "{answer}");
}

#[test]
fn a_head_that_never_ends_is_cut_off() {
    let door = Door::open(with_limits(Limits {
        request_head_timeout: Duration::from_secs(1),
        ..Limits::default()
    }));
    let mut slow = door.connect();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: h")
        .expect("written");
    let began = Instant::now();
    let said = read(&mut slow);
    let took = began.elapsed();
    assert!(!said.contains("200 OK"), "{said}");
    assert!(took > Duration::from_millis(500), "{took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn one_address_does_not_take_all_connections() {
    let door = Door::open(with_limits(Limits {
        connections_per_address_max: 2,
        ..Limits::default()
    }));
    let mut held: Vec<_> = (0..2).map(|_| door.connect()).collect();
    for stream in &mut held {
        // An answer shows that the connection is on the books.
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n")
            .expect("written");
        let mut first = [0; 12];
        stream.read_exact(&mut first).expect("answered");
        assert_eq!(&first, b"HTTP/1.1 200");
    }
    assert_eq!(door.get("/healthz"), "");
    held.clear();
    let deadline = Instant::now() + Duration::from_secs(5);
    while door.get("/healthz").is_empty() {
        assert!(Instant::now() < deadline, "the books still hold them");
    }
}

#[test]
fn joins_from_one_address_are_limited() {
    let door = Door::open(with_limits(Limits {
        joins_per_address_per_second_max: 1,
        joins_per_address_burst_max: 3,
        ..Limits::default()
    }));
    let target = format!("/rtc/v1/validate?access_token={}", token(|_| {}));
    let answers: Vec<_> = (0..4).map(|_| door.status(&target)).collect();
    assert_eq!(answers, [200, 200, 200, 429]);
}

#[test]
fn https_is_spoken_with_the_configured_certificate() {
    let folder = std::env::temp_dir().join(format!("consilium-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the temporary folder is writable");
    let files = TlsConfig {
        cert: folder.join("cert.pem"),
        key: folder.join("key.pem"),
    };
    let root = write_pair(&files);
    let door = Door::open(SignalingConfig {
        tls: Some(files.clone()),
        ..SignalingConfig::dev()
    });
    let mut stream = trusting(&door, root);
    stream
        .write_all(request("/healthz").as_bytes())
        .expect("written");
    assert_eq!(status(&read(stream)), 200);
    // Plain HTTP gets no page on this port.
    assert!(!door.get("/").contains("200 OK"));

    std::fs::write(&files.key, "no key").expect("writable");
    let error = Certificate::read(&files).expect_err("must be refused");
    assert!(error.to_string().starts_with("tls.key: "), "{error}");
    std::fs::remove_dir_all(&folder).expect("ours");
}

type Tls = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

/// Makes a certificate for `localhost` and puts it where the door looks; the key first, because
/// half of a pair is refused anyway.
fn write_pair(files: &TlsConfig) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a key pair");
    let write = |path: &Path, text: String| {
        let part = path.with_extension("part");
        std::fs::write(&part, text).expect("writable");
        std::fs::rename(&part, path).expect("writable");
    };
    write(&files.key, made.signing_key.serialize_pem());
    write(&files.cert, made.cert.pem());
    made.cert.der().clone()
}

/// A connection of somebody who trusts this certificate and no other.
fn trusting(door: &Door, root: CertificateDer<'static>) -> Tls {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("aws-lc-rs speaks TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let session = rustls::ClientConnection::new(Arc::new(client), name).expect("a session");
    rustls::StreamOwned::new(session, door.connect())
}

/// Asks without closing the connection; whether it is answered.
fn is_answered(stream: &mut Tls) -> bool {
    let asked = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n");
    let mut first = [0; 12];
    let is_answered = asked.is_ok() && stream.read_exact(&mut first).is_ok();
    // The rest of the answer, which is short.
    let _ = is_answered.then(|| stream.read(&mut [0; 1_024]));
    is_answered && &first == b"HTTP/1.1 200"
}

#[test]
fn a_renewed_certificate_is_shown_and_ends_no_connection() {
    let folder = std::env::temp_dir().join(format!("consilium-renewed-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the temporary folder is writable");
    let files = TlsConfig {
        cert: folder.join("cert.pem"),
        key: folder.join("key.pem"),
    };
    let old = write_pair(&files);
    let door = Door::open(SignalingConfig {
        tls: Some(files.clone()),
        ..SignalingConfig::dev()
    });
    let mut open = trusting(&door, old.clone());
    assert!(is_answered(&mut open));
    // Half of a pair, and then the rest of it.
    std::fs::write(&files.key, "no key").expect("writable");
    let new = write_pair(&files);
    // It is looked every ten seconds.
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_answered(&mut trusting(&door, new.clone())) {
        assert!(Instant::now() < deadline, "it is not shown");
        // Who says nothing for ten seconds is sent away, with whatever certificate.
        assert!(is_answered(&mut open));
        std::thread::sleep(Duration::from_millis(250));
    }
    assert!(
        !is_answered(&mut trusting(&door, old)),
        "the old one is gone"
    );
    assert!(is_answered(&mut open), "who was there has noticed nothing");
    std::fs::remove_dir_all(&folder).expect("ours");
}

#[test]
fn a_closed_door_takes_nobody() {
    let door = Door::open(SignalingConfig::dev());
    assert_eq!(door.status("/healthz"), 200);
    door.stop.send(true).expect("the listener runs");
    let deadline = Instant::now() + Duration::from_secs(5);
    while TcpStream::connect(door.address).is_ok_and(|s| !read(with_timeout(s)).is_empty()) {
        assert!(Instant::now() < deadline, "the door is still open");
    }
}

fn with_timeout(mut stream: TcpStream) -> TcpStream {
    stream
        .set_read_timeout(Some(Duration::from_secs(1)))
        .expect("not zero");
    // The connection may be reset already.
    let _ = stream.write_all(request("/healthz").as_bytes());
    stream
}
