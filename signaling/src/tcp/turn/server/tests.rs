//! A client's whole way through TURN, and every way that must be barred.

use super::super::message::first;
use super::super::passes::Pass;
use super::*;
use crate::config::SignalingConfig;
use sfu::id::TransportId;

const MEDIA: &str = "198.18.0.1:7882";
const CLIENT: &str = "198.51.100.7:50000";

/// Whom an address of ours must never lead to: this host by other names, and what is behind it.
/// Public TURN servers have granted each of them.
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

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn port() -> Arc<Port> {
    let media = vec![vec![at(MEDIA)], vec![at("198.18.0.1:7883")]];
    Arc::new(Port::new(&SignalingConfig::dev(), media))
}

/// A client with a connection of its own.
struct Client {
    server: Server,
    pass: Pass,
    nonce: Option<String>,
    now: (Instant, SystemTime),
}

/// What a reply says: 0 if it is a success.
fn code(reply: &[u8]) -> u16 {
    let Ok(Some((Unit::Message(message), _))) = first(reply) else {
        panic!("no reply: {reply:?}");
    };
    match message.attribute(attribute::ERROR_CODE) {
        Some([_, _, hundreds, rest, ..]) => u16::from(*hundreds) * 100 + u16::from(*rest),
        _ => 0,
    }
}

fn text(reply: &[u8], number: u16) -> String {
    let Ok(Some((Unit::Message(message), _))) = first(reply) else {
        panic!("no reply: {reply:?}");
    };
    message.text(number).expect("it says so").to_owned()
}

/// `add` ends the message, so that it need not name the writer's life.
fn plain<'w>(writer: Writer<'w>) -> Writer<'w> {
    writer
}

impl Client {
    fn new(port: &Arc<Port>, sid: &str) -> Self {
        let wall = SystemTime::now();
        Self {
            server: Server::new(Arc::clone(port), at(CLIENT)),
            pass: port.passes.issue(wall, sid),
            nonce: None,
            now: (Instant::now(), wall),
        }
    }

    /// Sends bytes and returns the reply.
    fn say(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut reply = Vec::new();
        let (unit, len) = first(bytes).expect("good").expect("whole");
        assert_eq!(len, bytes.len());
        self.server.handle(self.now, unit, &mut reply);
        reply
    }

    /// A request with the nonce of this connection, signed.
    fn request(
        &mut self,
        method: Method,
        add: impl for<'w> FnOnce(Writer<'w>) -> Writer<'w>,
    ) -> Vec<u8> {
        if self.nonce.is_none() {
            let mut bytes = Vec::new();
            let _ = Writer::new(&mut bytes, Class::Request, Method::Allocate, [1; 12])
                .with(attribute::REQUESTED_TRANSPORT, &[TRANSPORT_UDP, 0, 0, 0]);
            let reply = self.say(&bytes);
            assert_eq!(code(&reply), 401);
            assert_eq!(text(&reply, attribute::REALM), REALM);
            self.nonce = Some(text(&reply, attribute::NONCE));
        }
        let mut bytes = Vec::new();
        let nonce = self.nonce.clone().expect("just asked for");
        let writer = Writer::new(&mut bytes, Class::Request, method, [2; 12])
            .with(attribute::USERNAME, self.pass.username.as_bytes())
            .with(attribute::REALM, REALM.as_bytes())
            .with(attribute::NONCE, nonce.as_bytes());
        let secret = key(&self.pass.username, REALM, &self.pass.password);
        add(writer).sign(&secret);
        bytes
    }

    fn ask(&mut self, method: Method, add: impl for<'w> FnOnce(Writer<'w>) -> Writer<'w>) -> u16 {
        let request = self.request(method, add);
        code(&self.say(&request))
    }

    fn allocate(&mut self, family: u8) -> u16 {
        self.ask(Method::Allocate, |writer| {
            let writer = writer.with(attribute::REQUESTED_TRANSPORT, &[TRANSPORT_UDP, 0, 0, 0]);
            match family {
                6 => writer.with(attribute::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]),
                _ => writer,
            }
        })
    }

    fn permit(&mut self, peer: SocketAddr) -> u16 {
        self.ask(Method::CreatePermission, |writer| {
            writer.with_address(attribute::XOR_PEER_ADDRESS, peer)
        })
    }

    fn bind(&mut self, number: u16, peer: SocketAddr) -> u16 {
        self.ask(Method::ChannelBind, |writer| {
            let [high, low] = number.to_be_bytes();
            writer
                .with(attribute::CHANNEL_NUMBER, &[high, low, 0, 0])
                .with_address(attribute::XOR_PEER_ADDRESS, peer)
        })
    }

    /// Whom a packet reaches that is sent without a channel.
    fn send(&mut self, peer: SocketAddr) -> Option<SocketAddr> {
        let mut bytes = Vec::new();
        let _ = Writer::new(&mut bytes, Class::Indication, Method::Send, [3; 12])
            .with_address(attribute::XOR_PEER_ADDRESS, peer)
            .with(attribute::DATA, b"packet");
        let (unit, _) = first(&bytes).expect("good").expect("whole");
        match self.server.handle(self.now, unit, &mut Vec::new()) {
            Outcome::Packet(peer, b"packet") => Some(peer),
            Outcome::Nothing => None,
            other => panic!("{other:?}"),
        }
    }

    fn over_channel(&mut self, number: u16) -> Option<SocketAddr> {
        let unit = Unit::Channel(number, b"packet");
        match self.server.handle(self.now, unit, &mut Vec::new()) {
            Outcome::Packet(peer, _) => Some(peer),
            _ => None,
        }
    }

    fn wait(&mut self, seconds: u64) {
        let span = Duration::from_secs(seconds);
        self.now = (self.now.0 + span, self.now.1 + span);
    }
}

#[test]
fn a_participant_reaches_the_media_plane() {
    let port = port();
    let mut client = Client::new(&port, "PA_1");
    assert_eq!(client.allocate(4), 0);
    let relayed = client.server.relayed().expect("it has one");
    assert_eq!(relayed.ip(), at(MEDIA).ip());
    assert_eq!(client.send(at(MEDIA)), None, "not before it is permitted");
    assert_eq!(client.permit(at(MEDIA)), 0);
    assert_eq!(client.send(at(MEDIA)), Some(at(MEDIA)));
    assert_eq!(client.bind(0x4000, at(MEDIA)), 0);
    assert_eq!(client.over_channel(0x4000), Some(at(MEDIA)));
    assert_eq!(client.over_channel(0x4001), None);
    assert_eq!(
        client.bind(0x4000, at("198.18.0.1:7883")),
        400,
        "another peer"
    );
    assert_eq!(client.bind(0x4001, at(MEDIA)), 400, "another channel");
    assert_eq!(client.bind(0x3fff, at(MEDIA)), 400);
    assert!(client.server.is_alive(client.now.0));
}

#[test]
fn nothing_but_the_media_plane_can_be_reached() {
    let port = port();
    for (family, peer) in FORBIDDEN {
        let mut client = Client::new(&port, "PA_1");
        assert_eq!(client.allocate(family), 0, "{peer}");
        let peer = SocketAddr::new(peer.parse().expect("an address"), 9);
        assert_eq!(client.permit(peer), 403, "{peer}");
        assert_eq!(client.bind(0x4000, peer), 403, "{peer}");
        assert_eq!(client.send(peer), None, "{peer}");
        assert_eq!(client.over_channel(0x4000), None, "{peer}");
    }
    let mut client = Client::new(&port, "PA_1");
    assert_eq!(client.allocate(4), 0);
    // Our own address on a port that is not the media plane's.
    assert_eq!(client.bind(0x4000, at("198.18.0.1:22")), 403);
    // One good peer makes no bad one good.
    let both = client.ask(Method::CreatePermission, |writer| {
        writer
            .with_address(attribute::XOR_PEER_ADDRESS, at(MEDIA))
            .with_address(attribute::XOR_PEER_ADDRESS, at("10.0.0.1:9"))
    });
    assert_eq!(both, 403);
    assert_eq!(client.send(at(MEDIA)), None, "nothing of it was granted");
}

#[test]
fn who_shows_no_pass_is_refused() {
    let port = port();
    for method in [
        Method::Allocate,
        Method::Refresh,
        Method::CreatePermission,
        Method::ChannelBind,
        Method::Other(0x00a),
    ] {
        let mut client = Client::new(&port, "PA_1");
        let mut bytes = Vec::new();
        let _ = plain(Writer::new(&mut bytes, Class::Request, method, [1; 12]));
        let reply = client.say(&bytes);
        assert_eq!(code(&reply), 401, "{method:?}");
    }
    let mut stranger = Client::new(&port, "PA_1");
    stranger.pass.password.push('x');
    assert_eq!(stranger.allocate(4), 401);
    let mut nobody = Client::new(&port, "PA_1");
    nobody.pass.username = nobody.pass.username.replace("PA_1", "PA_2");
    assert_eq!(nobody.allocate(4), 401);
}

#[test]
fn a_pass_that_has_expired_opens_nothing_and_keeps_what_it_has_opened() {
    let port = port();
    let mut late = Client::new(&port, "PA_1");
    late.wait(301);
    assert_eq!(late.allocate(4), 401);

    let mut early = Client::new(&port, "PA_1");
    assert_eq!(early.allocate(4), 0);
    early.wait(400);
    assert_eq!(early.ask(Method::Refresh, plain), 0);
    assert_eq!(early.permit(at(MEDIA)), 0);
    port.withdraw("PA_1");
    assert_eq!(early.permit(at(MEDIA)), 401, "its participant has gone");
    assert!(!early.server.is_alive(early.now.0));
}

#[test]
fn what_was_said_on_one_connection_opens_nothing_on_another() {
    let port = port();
    let mut client = Client::new(&port, "PA_1");
    let request = client.request(Method::Allocate, |writer| {
        writer.with(attribute::REQUESTED_TRANSPORT, &[TRANSPORT_UDP, 0, 0, 0])
    });
    let mut thief = Client::new(&port, "PA_2");
    assert_eq!(code(&thief.say(&request)), 438);
    assert_eq!(code(&client.say(&request)), 0);
    assert_eq!(code(&client.say(&request)), 437, "and only one there");
}

#[test]
fn a_pass_of_another_room_leads_to_no_transport_of_this_one() {
    let port = port();
    let mut client = Client::new(&port, "PA_1");
    let mut other = Client::new(&port, "PA_2");
    port.allow("PA_1", TransportId(7));
    assert_eq!((client.allocate(4), other.allocate(4)), (0, 0));
    let ice =
        |number| sfu::transport::params::IceCredentials::generate(TransportId(number), [5; 28]);
    let name = format!("{}:remote", ice(7).ufrag);
    let mut check = Vec::new();
    Writer::new(&mut check, Class::Request, Method::Binding, [4; 12])
        .with(attribute::USERNAME, name.as_bytes())
        .sign(&[0; 16]);
    assert!(client.server.may_send(&check));
    assert!(!other.server.may_send(&check), "it is not hers");
    // Media counts only after a check.
    assert!(other.server.may_send(&[0x80; 50]));
}

#[test]
fn a_participant_has_a_few_allocations_and_not_a_thousand() {
    let port = port();
    let mut open = Vec::new();
    let mut refused = 0;
    for _ in 0..1_000 {
        let mut client = Client::new(&port, "PA_1");
        match client.allocate(4) {
            0 => open.push(client),
            486 => refused += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!((open.len(), refused), (12, 988));
    let mut other = Client::new(&port, "PA_2");
    assert_eq!(other.allocate(4), 0, "nobody else is kept out");
    open.pop();
    assert_eq!(Client::new(&port, "PA_1").allocate(4), 0);
}

#[test]
fn everything_ends_unless_it_is_refreshed() {
    let port = port();
    let mut client = Client::new(&port, "PA_1");
    assert_eq!(client.allocate(4), 0);
    assert_eq!(client.bind(0x4000, at(MEDIA)), 0);
    client.wait(299);
    assert_eq!(client.send(at(MEDIA)), Some(at(MEDIA)));
    client.wait(2);
    assert_eq!(client.send(at(MEDIA)), None, "the permission");
    assert_eq!(client.over_channel(0x4000), Some(at(MEDIA)));
    assert_eq!(client.ask(Method::Refresh, plain), 0);
    client.wait(300);
    assert_eq!(client.over_channel(0x4000), None, "the channel");
    assert!(client.server.is_alive(client.now.0));
    client.wait(301);
    assert!(!client.server.is_alive(client.now.0), "the allocation");
    assert_eq!(client.ask(Method::Refresh, plain), 437);
}

#[test]
fn who_names_no_family_is_given_one_in_which_media_is_received() {
    let v6 = "[2001:db8::1]:7882";
    for (media, is_v6) in [
        (vec![at(MEDIA)], false),
        (vec![at(v6), at(MEDIA)], false),
        (vec![at(v6)], true),
    ] {
        let port = Arc::new(Port::new(&SignalingConfig::dev(), vec![media]));
        let mut client = Client::new(&port, "PA_1");
        assert_eq!(client.allocate(4), 0);
        let relayed = client.server.relayed().expect("it was granted");
        assert_eq!(relayed.is_ipv6(), is_v6, "{relayed}");
    }
}

#[test]
fn what_is_not_understood_is_named() {
    let port = port();
    let mut client = Client::new(&port, "PA_1");
    let tcp = client.ask(Method::Allocate, |writer| {
        writer.with(attribute::REQUESTED_TRANSPORT, &[6, 0, 0, 0])
    });
    assert_eq!(tcp, 442);
    let nothing = client.ask(Method::Allocate, plain);
    assert_eq!(nothing, 400);
    let family = client.ask(Method::Allocate, |writer| {
        writer
            .with(attribute::REQUESTED_TRANSPORT, &[TRANSPORT_UDP, 0, 0, 0])
            .with(attribute::REQUESTED_ADDRESS_FAMILY, &[3, 0, 0, 0])
    });
    assert_eq!(family, 440);
    let unknown = client.ask(Method::Allocate, |writer| writer.with(0x0022, &[0; 8]));
    assert_eq!(unknown, 420);
    assert_eq!(client.ask(Method::Refresh, plain), 437);
    assert_eq!(client.permit(at(MEDIA)), 437);
    assert_eq!(client.ask(Method::Other(0x00a), plain), 400);
}

#[test]
fn who_is_refused_all_the_time_is_let_go() {
    let port = port();
    let mut client = Client::new(&port, "PA_1");
    client.pass.password.push('x');
    let request = client.request(Method::Refresh, plain);
    let (unit, _) = first(&request).expect("good").expect("whole");
    let mut outcomes = (0..30).map(|_| {
        let mut reply = Vec::new();
        client.server.handle(client.now, unit, &mut reply)
    });
    assert!(outcomes.any(|outcome| outcome == Outcome::End));
}
