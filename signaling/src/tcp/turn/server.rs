//! What a TURN server decides, for one connection: bytes and time in, replies and packets out.
//!
//! One connection holds at most one allocation, whose relayed address exists by name only. Everything
//! that a client asks for is refused before it has shown a pass, and every peer but this server's own
//! media plane after that. Retransmissions need no care, because a stream loses nothing.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arrayvec::ArrayVec;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use rand::RngExt;

use super::message::{Class, Message, Method, Unit, Writer, attribute, is_channel, key};
use super::passes::{AllocationSlot, Holding};
use crate::tcp::Port;

/// What passes are for; shown to nobody.
const REALM: &str = "consilium";
/// How long an allocation lasts without being refreshed (RFC 8656 section 7.2).
const LIFETIME: Duration = Duration::from_secs(600);
const LIFETIME_MAX: Duration = Duration::from_secs(3600);
const PERMISSION_LIFETIME: Duration = Duration::from_secs(300);
const CHANNEL_LIFETIME: Duration = Duration::from_secs(600);
/// Peers of one allocation: a worker has an address of each family, and a participant two transports.
pub const PEERS_MAX: usize = 8;
/// A client that is refused so often does not know what it does, or knows it too well.
const REFUSALS_MAX: u32 = 20;
/// UDP (RFC 8656 section 18.7).
const TRANSPORT_UDP: u8 = 17;

/// What came of some bytes, beside the reply.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// Nothing.
    Nothing,
    /// A packet for a peer that may be reached.
    Packet(SocketAddr, &'a [u8]),
    /// From now on what comes from a peer goes over a channel.
    Channel(SocketAddr, u16),
    /// The connection shall end, once the reply is written.
    End,
}

/// The server's side of one connection.
pub struct Server {
    port: Arc<Port>,
    client: SocketAddr,
    nonce: String,
    allocation: Option<Allocation>,
    refusals: u32,
}

struct Allocation {
    username: String,
    sid: String,
    relayed: SocketAddr,
    until: Instant,
    permissions: ArrayVec<(IpAddr, Instant), PEERS_MAX>,
    channels: ArrayVec<(u16, SocketAddr, Instant), PEERS_MAX>,
    _slot: AllocationSlot,
}

/// Why something is refused (RFC 8656 section 19).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    BadRequest,
    Unauthorized,
    Forbidden,
    UnknownAttribute(u16),
    AllocationMismatch,
    StaleNonce,
    WrongFamily,
    WrongCredentials,
    WrongTransport,
    Quota,
    Capacity,
}

impl Refusal {
    fn code(self) -> (u16, &'static str) {
        match self {
            Self::BadRequest => (400, "Bad Request"),
            Self::Unauthorized => (401, "Unauthorized"),
            Self::Forbidden => (403, "Forbidden"),
            Self::UnknownAttribute(_) => (420, "Unknown Attribute"),
            Self::AllocationMismatch => (437, "Allocation Mismatch"),
            Self::StaleNonce => (438, "Stale Nonce"),
            Self::WrongFamily => (440, "Address Family not Supported"),
            Self::WrongCredentials => (441, "Wrong Credentials"),
            Self::WrongTransport => (442, "Unsupported Transport Protocol"),
            Self::Quota => (486, "Allocation Quota Reached"),
            Self::Capacity => (508, "Insufficient Capacity"),
        }
    }
}

/// A request whose sender has shown a pass.
struct Asked<'a> {
    message: Message<'a>,
    username: &'a str,
    holding: Holding,
    key: [u8; 16],
}

impl Server {
    /// For a client that is seen at `client`.
    pub fn new(port: Arc<Port>, client: SocketAddr) -> Self {
        let nonce: [u8; 18] = rand::rng().random();
        Self {
            port,
            client,
            nonce: STANDARD_NO_PAD.encode(nonce),
            allocation: None,
            refusals: 0,
        }
    }

    /// What this connection's requests must show.
    pub(crate) fn nonce(&self) -> &str {
        &self.nonce
    }

    /// Where peers see the client: an address that nobody else has, and nobody listens at.
    pub fn relayed(&self) -> Option<SocketAddr> {
        self.allocation.as_ref().map(|one| one.relayed)
    }

    /// Whether the client may still be served: its allocation lasts and its participant is here.
    pub fn is_alive(&self, now: Instant) -> bool {
        let allocation = self.allocation.as_ref();
        allocation.is_some_and(|one| now < one.until && self.port.passes.is_here(&one.sid))
    }

    /// Whether a packet may go to a transport: a connectivity check of the pass's holder, or anything
    /// that the media plane believes only after one.
    pub fn may_send(&self, packet: &[u8]) -> bool {
        let Some(allocation) = &self.allocation else {
            return false;
        };
        match sfu::transport::ice::addressee(packet) {
            Ok(transport) => self.port.passes.may_reach(&allocation.sid, transport),
            Err(_) => true,
        }
    }

    /// Takes what has come; a reply is appended to `out`.
    pub fn handle<'a>(
        &mut self,
        (now, wall): (Instant, SystemTime),
        unit: Unit<'a>,
        out: &mut Vec<u8>,
    ) -> Outcome<'a> {
        let message = match unit {
            Unit::Channel(number, packet) => return self.channel_data(now, number, packet),
            Unit::Message(message) => message,
        };
        match (message.class(), message.method()) {
            (Class::Request, Method::Binding) => {
                self.tell_seen(&message, out);
                Outcome::Nothing
            }
            (Class::Request, _) => self.request(now, wall, message, out),
            (Class::Indication, Method::Send) => self.send(now, &message),
            // Answers to what we never ask, and keepalives.
            _ => Outcome::Nothing,
        }
    }

    fn tell_seen(&self, message: &Message<'_>, out: &mut Vec<u8>) {
        let _unsigned = self
            .writer(message, Class::Success, out)
            .with_address(attribute::XOR_MAPPED_ADDRESS, self.client);
    }

    fn writer<'o>(&self, to: &Message<'_>, class: Class, out: &'o mut Vec<u8>) -> Writer<'o> {
        Writer::new(out, class, to.method(), to.transaction())
    }

    fn request<'a>(
        &mut self,
        now: Instant,
        wall: SystemTime,
        message: Message<'a>,
        out: &mut Vec<u8>,
    ) -> Outcome<'a> {
        let asked = match self.authenticate(wall, message) {
            Ok(asked) => asked,
            Err(refusal) => return self.refuse(&message, None, refusal, out),
        };
        let done = match message.method() {
            Method::Allocate => self.allocate(now, &asked, out),
            Method::Refresh => self.refresh(now, &asked, out),
            Method::CreatePermission => self.permit(now, &asked, out),
            Method::ChannelBind => self.bind(now, &asked, out),
            _ => Err(Refusal::BadRequest),
        };
        match done {
            Ok(outcome) => outcome,
            Err(refusal) => self.refuse(&message, Some(&asked.key), refusal, out),
        }
    }

    /// Who asks (RFC 8489 section 9.2.4).
    fn authenticate<'a>(
        &self,
        wall: SystemTime,
        message: Message<'a>,
    ) -> Result<Asked<'a>, Refusal> {
        if message.attribute(attribute::MESSAGE_INTEGRITY).is_none() {
            return Err(Refusal::Unauthorized);
        }
        let text = |number| message.text(number).ok_or(Refusal::BadRequest);
        let username = text(attribute::USERNAME)?;
        let (realm, nonce) = (text(attribute::REALM)?, text(attribute::NONCE)?);
        // Another connection's, so it is a replay or a mistake.
        if nonce != self.nonce {
            return Err(Refusal::StaleNonce);
        }
        let found = self.port.passes.find(wall, username);
        let holding = found
            .filter(|_| realm == REALM)
            .ok_or(Refusal::Unauthorized)?;
        let key = key(username, realm, &holding.password);
        if !message.is_signed_with(&key) {
            return Err(Refusal::Unauthorized);
        }
        if let Some(unknown) = message
            .attributes()
            .map(|(number, _)| number)
            .find(is_unknown)
        {
            return Err(Refusal::UnknownAttribute(unknown));
        }
        let owner = self.allocation.as_ref().map(|one| &*one.username);
        if owner.is_some_and(|owner| owner != username) {
            return Err(Refusal::WrongCredentials);
        }
        Ok(Asked {
            message,
            username,
            holding,
            key,
        })
    }

    fn refuse<'a>(
        &mut self,
        message: &Message<'_>,
        key: Option<&[u8; 16]>,
        refusal: Refusal,
        out: &mut Vec<u8>,
    ) -> Outcome<'a> {
        let (code, reason) = refusal.code();
        let mut writer = self
            .writer(message, Class::Error, out)
            .with_error(code, reason);
        if matches!(refusal, Refusal::Unauthorized | Refusal::StaleNonce) {
            writer = writer
                .with(attribute::REALM, REALM.as_bytes())
                .with(attribute::NONCE, self.nonce.as_bytes());
        }
        if let Refusal::UnknownAttribute(number) = refusal {
            writer = writer.with(attribute::UNKNOWN_ATTRIBUTES, &number.to_be_bytes());
        }
        if let Some(key) = key {
            writer.sign(key);
        }
        self.refusals += 1;
        match self.refusals > REFUSALS_MAX {
            true => Outcome::End,
            false => Outcome::Nothing,
        }
    }

    fn allocate<'a>(
        &mut self,
        now: Instant,
        asked: &Asked<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Outcome<'a>, Refusal> {
        // What is over is taken for one that was never there.
        self.allocation.take_if(|one| one.until <= now);
        if self.allocation.is_some() {
            return Err(Refusal::AllocationMismatch);
        }
        if !asked.holding.is_fresh {
            return Err(Refusal::Unauthorized);
        }
        let wanted = asked.message.attribute(attribute::REQUESTED_TRANSPORT);
        match wanted {
            Some([TRANSPORT_UDP, _, _, _]) => {}
            Some([_, _, _, _]) => return Err(Refusal::WrongTransport),
            _ => return Err(Refusal::BadRequest),
        }
        let family = asked.message.attribute(attribute::REQUESTED_ADDRESS_FAMILY);
        let is_v6 = match family {
            None | Some([1, ..]) => false,
            Some([2, ..]) => true,
            Some(_) => return Err(Refusal::WrongFamily),
        };
        let slot = self.port.passes.admit(&asked.holding.sid);
        let slot = slot.ok_or(Refusal::Quota)?;
        let relayed = self.port.relayed_address(is_v6);
        let lifetime = lifetime(&asked.message).max(LIFETIME);
        self.allocation = Some(Allocation {
            username: asked.username.to_owned(),
            sid: asked.holding.sid.clone(),
            relayed,
            until: now + lifetime,
            permissions: ArrayVec::new(),
            channels: ArrayVec::new(),
            _slot: slot,
        });
        self.writer(&asked.message, Class::Success, out)
            .with_address(attribute::XOR_RELAYED_ADDRESS, relayed)
            .with_address(attribute::XOR_MAPPED_ADDRESS, self.client)
            .with(attribute::LIFETIME, &seconds(lifetime))
            .sign(&asked.key);
        Ok(Outcome::Nothing)
    }

    fn refresh<'a>(
        &mut self,
        now: Instant,
        asked: &Asked<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Outcome<'a>, Refusal> {
        let allocation = self.allocation.as_mut().filter(|one| now < one.until);
        let allocation = allocation.ok_or(Refusal::AllocationMismatch)?;
        let lifetime = match asked.message.number(attribute::LIFETIME) {
            Some(0) => Duration::ZERO,
            _ => lifetime(&asked.message).max(LIFETIME),
        };
        allocation.until = now + lifetime;
        self.writer(&asked.message, Class::Success, out)
            .with(attribute::LIFETIME, &seconds(lifetime))
            .sign(&asked.key);
        if lifetime.is_zero() {
            self.allocation = None;
            return Ok(Outcome::End);
        }
        Ok(Outcome::Nothing)
    }

    fn permit<'a>(
        &mut self,
        now: Instant,
        asked: &Asked<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Outcome<'a>, Refusal> {
        let port = Arc::clone(&self.port);
        let allocation = self.allocation.as_mut().filter(|one| now < one.until);
        let allocation = allocation.ok_or(Refusal::AllocationMismatch)?;
        let peers: Option<Vec<SocketAddr>> = asked.message.peers().collect();
        let peers = peers.filter(|peers| !peers.is_empty());
        let peers = peers.ok_or(Refusal::BadRequest)?;
        if !peers.iter().all(|peer| port.is_ours(peer.ip())) {
            return Err(Refusal::Forbidden);
        }
        for peer in peers {
            allocation.permit(now, peer.ip())?;
        }
        self.writer(&asked.message, Class::Success, out)
            .sign(&asked.key);
        Ok(Outcome::Nothing)
    }

    fn bind<'a>(
        &mut self,
        now: Instant,
        asked: &Asked<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Outcome<'a>, Refusal> {
        let port = Arc::clone(&self.port);
        let allocation = self.allocation.as_mut().filter(|one| now < one.until);
        let allocation = allocation.ok_or(Refusal::AllocationMismatch)?;
        let number = match asked.message.attribute(attribute::CHANNEL_NUMBER) {
            Some([high, low, _, _]) => u16::from_be_bytes([*high, *low]),
            _ => return Err(Refusal::BadRequest),
        };
        let peer = asked.message.peers().next().flatten();
        let peer = peer.ok_or(Refusal::BadRequest)?;
        if !is_channel(number) {
            return Err(Refusal::BadRequest);
        }
        if port.worker_at(peer).is_none() {
            return Err(Refusal::Forbidden);
        }
        allocation.permit(now, peer.ip())?;
        allocation.bind(now, number, peer)?;
        self.writer(&asked.message, Class::Success, out)
            .sign(&asked.key);
        Ok(Outcome::Channel(peer, number))
    }

    fn send<'a>(&self, now: Instant, message: &Message<'a>) -> Outcome<'a> {
        let peer = message.peers().next().flatten();
        let packet = message.attribute(attribute::DATA);
        match (&self.allocation, peer, packet) {
            (Some(allocation), Some(peer), Some(packet))
                if allocation.is_permitted(now, peer.ip()) =>
            {
                Outcome::Packet(peer, packet)
            }
            _ => Outcome::Nothing,
        }
    }

    fn channel_data<'a>(&self, now: Instant, number: u16, packet: &'a [u8]) -> Outcome<'a> {
        let allocation = self.allocation.as_ref();
        let peer = allocation.and_then(|allocation| {
            let mut channels = allocation.channels.iter();
            let found = channels.find(|(bound, _, until)| *bound == number && now < *until);
            found.map(|(_, peer, _)| *peer)
        });
        match peer {
            Some(peer) => Outcome::Packet(peer, packet),
            None => Outcome::Nothing,
        }
    }
}

impl Allocation {
    fn permit(&mut self, now: Instant, ip: IpAddr) -> Result<(), Refusal> {
        let until = now + PERMISSION_LIFETIME;
        self.permissions.retain(|(_, until)| now < *until);
        if let Some(known) = self.permissions.iter_mut().find(|known| known.0 == ip) {
            known.1 = until;
            return Ok(());
        }
        let permission = (ip, until);
        let added = self.permissions.try_push(permission);
        added.map_err(|_| Refusal::Capacity)
    }

    fn is_permitted(&self, now: Instant, ip: IpAddr) -> bool {
        let mut permissions = self.permissions.iter();
        now < self.until && permissions.any(|(known, until)| *known == ip && now < *until)
    }

    fn bind(&mut self, now: Instant, number: u16, peer: SocketAddr) -> Result<(), Refusal> {
        let until = now + CHANNEL_LIFETIME;
        self.channels.retain(|(_, _, until)| now < *until);
        for known in &mut self.channels {
            match (known.0 == number, known.1 == peer) {
                (true, true) => {
                    known.2 = until;
                    return Ok(());
                }
                (false, false) => {}
                _ => return Err(Refusal::BadRequest),
            }
        }
        let added = self.channels.try_push((number, peer, until));
        added.map_err(|_| Refusal::Capacity)
    }
}

/// Attributes that a server must understand and this one does not (RFC 8489 section 14).
fn is_unknown(number: &u16) -> bool {
    let known = [
        attribute::USERNAME,
        attribute::MESSAGE_INTEGRITY,
        attribute::CHANNEL_NUMBER,
        attribute::LIFETIME,
        attribute::XOR_PEER_ADDRESS,
        attribute::DATA,
        attribute::REALM,
        attribute::NONCE,
        attribute::REQUESTED_ADDRESS_FAMILY,
        attribute::REQUESTED_TRANSPORT,
    ];
    *number < 0x8000 && !known.contains(number)
}

fn lifetime(message: &Message<'_>) -> Duration {
    let wanted = message.number(attribute::LIFETIME).unwrap_or(0);
    Duration::from_secs(u64::from(wanted)).min(LIFETIME_MAX)
}

fn seconds(lifetime: Duration) -> [u8; 4] {
    (lifetime.as_secs() as u32).to_be_bytes()
}

#[cfg(test)]
mod tests {
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

        fn ask(
            &mut self,
            method: Method,
            add: impl for<'w> FnOnce(Writer<'w>) -> Writer<'w>,
        ) -> u16 {
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
}
