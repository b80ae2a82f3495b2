//! What a TURN server decides, for one connection: bytes and time in, replies and packets out.
//!
//! One connection holds at most one allocation, whose relayed address exists by name only. Everything
//! that a client asks for is refused before it has shown a pass, and every peer but this server's own
//! media plane after that. Retransmissions need no care, because a stream loses nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use rand::RngExt;

use super::allocation::Allocation;
use super::message::{Class, Message, Method, Unit, Writer, attribute, is_channel, key};
use super::passes::Holding;
use super::refusal::Refusal;
use crate::tcp::Port;

/// What passes are for; shown to nobody.
const REALM: &str = "consilium";
/// How long an allocation lasts without being refreshed (RFC 8656 section 7.2).
const LIFETIME: Duration = Duration::from_secs(600);
const LIFETIME_MAX: Duration = Duration::from_secs(3600);
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
            // IPv4 is meant (RFC 8656 section 7.2), but browsers never say a family: with one that no
            // worker has they would pair nothing with it.
            None => self.port.is_of_ipv6_alone(),
            Some([1, ..]) => false,
            Some([2, ..]) => true,
            Some(_) => return Err(Refusal::WrongFamily),
        };
        let slot = self.port.passes.admit(&asked.holding.sid);
        let slot = slot.ok_or(Refusal::Quota)?;
        let relayed = self.port.relayed_address(is_v6);
        let lifetime = lifetime(&asked.message).max(LIFETIME);
        let until = now + lifetime;
        let allocation = Allocation::new(asked.username, &asked.holding.sid, relayed, until, slot);
        self.allocation = Some(allocation);
        self.writer(&asked.message, Class::Success, out)
            .with_address(attribute::XOR_RELAYED_ADDRESS, relayed)
            .with_address(attribute::XOR_MAPPED_ADDRESS, self.client)
            .with(attribute::LIFETIME, &seconds(lifetime))
            .sign(&asked.key);
        Ok(Outcome::Nothing)
    }

    /// The allocation, unless it is over or was never there.
    fn live(&mut self, now: Instant) -> Result<&mut Allocation, Refusal> {
        let allocation = self.allocation.as_mut().filter(|one| now < one.until);
        allocation.ok_or(Refusal::AllocationMismatch)
    }

    fn refresh<'a>(
        &mut self,
        now: Instant,
        asked: &Asked<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Outcome<'a>, Refusal> {
        let allocation = self.live(now)?;
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
        let allocation = self.live(now)?;
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
        let allocation = self.live(now)?;
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
        match allocation.and_then(|allocation| allocation.peer(now, number)) {
            Some(peer) => Outcome::Packet(peer, packet),
            None => Outcome::Nothing,
        }
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
mod tests;
