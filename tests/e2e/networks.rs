//! Networks that let little through: media over the one TCP port that HTTPS uses, and what nobody can
//! misuse that for.
//!
//! In a namespace, where the server is reached at an address that is not loopback and nft says what
//! passes. The browsers trust an authority of the test's own.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use livekit_protocol::JoinResponse;
use livekit_protocol::signal_response::Message as Response;
use rustls::pki_types::ServerName;
use tests::authority::Authority;
use tests::call::Call;
use tests::namespace::{self, ADDRESS};
use tests::patience::in_real_time;
use tests::process::wait_until;
use tests::server::{Build, Server};
use tests::signal::{self, Answered, Credentials, Session};
use tests::{dtls, http, stun, suite, token, tree, turn};

/// A key that may be used in public: nobody knows it.
const KEY: &str = "clinic";
const SECRET: &str = "a-secret-of-thirty-two-bytes-or-more";

/// What `clients/networks.test.mjs` proves, by name.
const PROOFS: [&str; 3] = [
    "Chromium joins over the one TCP port where UDP is barred, and sees and hears",
    "Chromium joins by TURN over TLS on the same port, and sees and hears",
    "Chromium falls over to TCP when UDP is barred in mid-call",
];

/// Whom nobody may reach through us: this host by other names, and what is behind it. Public TURN
/// servers have granted each of them.
const FORBIDDEN: [(u8, &str); 13] = [
    (4, "127.0.0.1"),
    (4, "0.0.0.0"),
    (6, "::1"),
    (6, "::"),
    (6, "::ffff:127.0.0.1"),
    (6, "::ffff:0.0.0.0"),
    (6, "::ffff:10.0.0.1"),
    (4, "169.254.169.254"),
    (4, "10.0.0.1"),
    (6, "fe80::1"),
    (6, "64:ff9b::7f00:1"),
    (6, "::ffff:198.18.0.1"),
    (4, "198.18.0.2"),
];

/// A server at the address of the namespace, with a certificate for it.
struct Clinic {
    server: Server,
    authority: Authority,
}

impl Clinic {
    fn open(workers: u16, more: &str) -> Self {
        Self::open_at(IpAddr::V4(ADDRESS), workers, more)
    }

    fn open_at(ip: IpAddr, workers: u16, more: &str) -> Self {
        let authority = Authority::new(&tree::scratch("networks"), ip);
        let server = serve(&authority, ip, workers, more);
        Self { server, authority }
    }

    fn address(&self) -> SocketAddr {
        self.server.address()
    }

    fn connect(&self) -> Tls {
        let name = ServerName::IpAddress(IpAddr::V4(ADDRESS).into());
        let connection = rustls::ClientConnection::new(self.authority.client(), name);
        let connection = connection.expect("valid settings");
        rustls::StreamOwned::new(connection, http::connect(self.address()))
    }

    /// Joins and gives the session and what was said.
    fn join(&self, identity: &str, room: &str) -> (Session<Tls>, JoinResponse, Answered) {
        let offer = signal::offer(&local(), &dtls::Client::default().fingerprint(), "cid");
        let mut claims = token::claims(identity, room);
        claims["iss"] = KEY.into();
        let token = token::sign(&claims, SECRET);
        let target = signal::target(&token, &signal::join_request(Some(offer)));
        let url = format!("wss://{}{target}", self.address());
        let mut session = Session::open_over(self.connect(), &url);
        let join = session.expect("the join", |message| match message {
            Response::Join(join) => Some(join.clone()),
            _ => None,
        });
        let answer = session.expect("the answer", |message| match message {
            Response::Answer(answer) => Some(Answered::parse(&answer.sdp)),
            _ => None,
        });
        (session, join, answer)
    }

    /// A TURN client with the pass of a join.
    fn turn(&self, join: &JoinResponse) -> turn::Client<Tls> {
        let server = join.ice_servers.first().expect("a pass came along");
        turn::Client::new(self.connect(), &server.username, &server.credential)
    }
}

fn serve(authority: &Authority, ip: IpAddr, workers: u16, more: &str) -> Server {
    let config = format!(
        "data_dir = {:?}\n[http]\nlisten_ip = \"{ip}\"\nport = 0\n{}\
         [media]\nworkers = {workers}\nport_first = 0\nlisten_ip = \"{ip}\"\n\
         [keys]\n{KEY} = {SECRET:?}\n{more}",
        tree::scratch("networks").join("data"),
        authority.section(),
    );
    Server::start(Build::Release, &config)
}

type Tls = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

#[test]
fn chromium_comes_by_every_way_there_is_in_a_namespace() {
    let name = "networks::chromium_comes_by_every_way_there_is_in_a_namespace";
    namespace::inside(name, || in_real_time(|| browse(IpAddr::V4(ADDRESS))));
}

#[test]
fn chromium_comes_by_every_way_there_is_over_ipv6_in_a_namespace() {
    let name = "networks::chromium_comes_by_every_way_there_is_over_ipv6_in_a_namespace";
    namespace::inside(name, || {
        leave_ipv6_alone();
        in_real_time(|| browse(IpAddr::V6(ADDRESS_V6)));
    });
}

fn browse(ip: IpAddr) {
    let clinic = Clinic::open_at(ip, 2, "");
    // Where both ways are open a browser takes whichever answers first.
    let without_turn = serve(&clinic.authority, ip, 2, "[tcp]\nturn = false\n");
    let text = |path: std::path::PathBuf| path.to_str().expect("the path is text").to_owned();
    let outcome = suite::run(
        "networks.config.mjs",
        &[
            ("PAGE_URL", &format!("https://{}", clinic.address())),
            (
                "PAGE_WITHOUT_TURN_URL",
                &format!("https://{}", without_turn.address()),
            ),
            ("MEDIA_FOLDER", &text(tree::root().join("target/e2e/media"))),
            ("HOME", &text(clinic.authority.home())),
            ("LIVEKIT_API_KEY", KEY),
            ("LIVEKIT_API_SECRET", SECRET),
        ],
        Duration::from_secs(900),
    );
    eprintln!("{}", outcome.said);
    assert!(
        outcome.failed.is_empty(),
        "{:#?}\nserver:\n{}",
        outcome.failed,
        clinic.server.said()
    );
    let expected: BTreeSet<String> = PROOFS.iter().map(ToString::to_string).collect();
    assert_eq!(outcome.passed, expected);
}

#[test]
fn a_call_goes_over_ipv6_alone_in_a_namespace() {
    let name = "networks::a_call_goes_over_ipv6_alone_in_a_namespace";
    namespace::inside(name, || in_real_time(call_over_ipv6));
}

/// RFC 3849: nobody's.
const ADDRESS_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// Makes the namespace one of IPv6 alone; in a second run it is already.
fn leave_ipv6_alone() {
    let address = format!("address replace {ADDRESS_V6}/64 dev clinic nodad");
    for words in [
        address.as_str(),
        "-4 address flush dev clinic",
        "-4 address flush dev lo",
    ] {
        let done = Command::new("ip").args(words.split(' ')).status();
        assert!(done.expect("ip is there").success(), "{words}");
    }
}

fn call_over_ipv6() {
    leave_ipv6_alone();
    let server = Server::start(
        Build::Release,
        &format!(
            "data_dir = {:?}\n[http]\nlisten_ip = \"::1\"\nport = 0\n\
             [media]\nworkers = 2\nport_first = 0\nlisten_ip = \"{ADDRESS_V6}\"\n\
             [keys]\n{} = {:?}\n",
            tree::scratch("networks").join("data"),
            token::KEY,
            token::SECRET,
        ),
    );
    let said = server.said();
    assert!(said.contains(" media=[2001:db8::1]:"), "{said}");
    assert!(server.address().is_ipv6());
    // All four hear each other, two see each other, and nothing gets lost.
    Call::begin(&server, &["chen", "zhou"]).calm();
    let metrics = server.metrics();
    assert_eq!(metrics.sum("consilium_ice_tcp_connections_total"), 0.0);
    assert_eq!(metrics.sum("consilium_turn_allocations_total"), 0.0);
}

#[test]
fn turn_reaches_nothing_but_this_server_in_a_namespace() {
    let name = "networks::turn_reaches_nothing_but_this_server_in_a_namespace";
    namespace::inside(name, || in_real_time(misuse));
}

fn misuse() {
    let clinic = Clinic::open(1, "[rooms]\nresume_timeout = 1\n");
    let (_session, join, answer) = clinic.join("li", "mdt");
    let server = &join.ice_servers[0];
    let url = format!("turns:{ADDRESS}:{}?transport=tcp", clinic.address().port());
    assert_eq!(server.urls, [url]);

    for (family, ip) in FORBIDDEN {
        let mut client = clinic.turn(&join);
        assert_eq!(client.allocate_as_nobody(), 401, "{ip}");
        assert_eq!(client.allocate(family), 0, "{ip}");
        let peer = SocketAddr::new(ip.parse().expect("an address"), 9);
        assert_eq!(client.permit(peer), 403, "{ip}");
        assert_eq!(client.bind(0x4000, peer), 403, "{ip}");
        // Nothing goes there without either, and the connection goes on.
        client.send(peer, b"hello");
        client.send_over(0x4000, b"hello");
        assert_eq!(client.refresh(), 0, "{ip}");
        eprintln!("{ip}: 403");
    }

    let mut client = clinic.turn(&join);
    assert_eq!(client.allocate(4), 0);
    // Whatever else listens at the address that media is received at.
    assert_eq!(client.bind(0x4000, clinic.address()), 403);
    assert_eq!(client.permit(answer.address), 0, "media itself");
    assert_eq!(client.bind(0x4000, answer.address), 0);
    // A check of her own transport is answered, through the channel.
    let check = check_of(&answer, [9; 12]);
    client.send_over(0x4000, &check);
    let (number, reply) = client.read_channel();
    assert_eq!(number, 0x4000);
    assert_eq!(stun::kind(&reply), Some(stun::BINDING_SUCCESS));

    strangers(&clinic, &join, &answer, &check);
    many(&clinic, &join);
    expired();
}

/// Credentials that are wrong, of somebody else, replayed, or of somebody who has gone.
fn strangers(clinic: &Clinic, join: &JoinResponse, answer: &Answered, check: &[u8]) {
    let server = &join.ice_servers[0];
    let (_, sid) = server.username.split_once(':').expect("a time and a name");
    for (username, password) in [
        ("", ""),
        ("u", "p"),
        (&*server.username, "p"),
        (&*format!("99999999999:{sid}"), &*server.credential),
        ("99999999999:PA_nobody", &*server.credential),
    ] {
        let mut client = turn::Client::new(clinic.connect(), username, password);
        assert_eq!(client.allocate(4), 401, "{username}");
    }

    let mut client = clinic.turn(join);
    let request = client.allocation_request();
    let mut replayed = clinic.turn(join);
    assert_eq!(replayed.exchange(&request), 438, "of another connection");
    assert_eq!(client.exchange(&request), 0);
    assert_eq!(client.exchange(&request), 437, "a second time");

    // Somebody in another room has a pass of her own, and it leads to nobody here.
    let (session, other, of_other) = clinic.join("wang", "another room");
    assert_eq!(of_other.address, answer.address, "there is one worker");
    let mut client = clinic.turn(&other);
    assert_eq!(client.allocate(4), 0);
    assert_eq!(client.bind(0x4000, answer.address), 0);
    client.send_over(0x4000, check);
    client.send_over(0x4000, &check_of(&of_other, [8; 12]));
    let (_, reply) = client.read_channel();
    assert_eq!(stun::kind(&reply), Some(stun::BINDING_SUCCESS));
    assert_eq!(
        reply[8..20],
        [8; 12],
        "only the check of her own is answered"
    );

    // When she has gone, her pass has gone with her.
    drop(session);
    let is_refused = || (clinic.turn(&other).allocate(4) == 401).then_some(());
    let refused = wait_until(Duration::from_secs(60), is_refused);
    assert!(refused.is_some(), "the pass of who has left is good");
}

/// A check of one's own transport, as [`Clinic::join`] describes it.
fn check_of(answer: &Answered, transaction: [u8; 12]) -> Vec<u8> {
    let remote = &answer.remote;
    stun::binding_request(&local(), remote, &remote.password, transaction)
}

fn local() -> Credentials {
    Credentials {
        ufrag: "turn".to_owned(),
        password: "p".repeat(24),
    }
}

/// A pass opens nothing any more when its time is over.
fn expired() {
    let clinic = Clinic::open(1, "[limits]\nturn_pass_ttl = 2\n");
    let (_session, join, _) = clinic.join("li", "mdt");
    let is_refused = || (clinic.turn(&join).allocate(4) == 401).then_some(());
    let refused = wait_until(Duration::from_secs(60), is_refused);
    assert!(refused.is_some(), "it does not expire");
}

/// A thousand allocations of one participant.
fn many(clinic: &Clinic, join: &JoinResponse) {
    let mut open = Vec::new();
    let mut refused = 0;
    for _ in 0..1_000 {
        let mut client = clinic.turn(join);
        match client.allocate(4) {
            0 => open.push(client),
            486 => refused += 1,
            other => panic!("{other}"),
        }
    }
    eprintln!("{} allocations, {refused} times 486", open.len());
    assert!(open.len() <= 12 && open.len() + refused == 1_000);
}
