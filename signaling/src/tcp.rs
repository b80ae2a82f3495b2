//! Media over the port of the front door, for networks that let out nothing else.
//!
//! [`Port`] is what rooms and connections share of it: the candidates that clients are told, the
//! passes for TURN, and how many connections each transport has. Connections live in the modules
//! below: those that carry a peer's packets in frames (`framed`) and those of TURN clients (`turn`).
//! Either hands packets to a worker and takes packets from it, through rings; nothing here knows what
//! is in them, and no socket but the connection itself is ever opened.

pub mod first_bytes;
pub mod framed;
pub mod rewound;
pub mod turn;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use sfu::id::{TransportId, WorkerId};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time;

use self::turn::passes::Passes;
use crate::config::{Limits, SignalingConfig, TcpConfig};
use crate::wire::proto::IceServer;

/// How often it is looked whether a connection is still of use.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// Packets are written together up to so many bytes: as much as one TLS record takes.
const WRITE_BYTES_MAX: usize = 16 << 10;
/// What the kernel keeps of a connection that its network does not take as fast: a tenth of a second
/// at 10 Mbit/s. Media that waits longer is of no use to anybody.
const SEND_BUFFER_BYTES: usize = 128 << 10;

/// What rooms and connections share of the port.
pub struct Port {
    config: TcpConfig,
    limits: Limits,
    has_tls: bool,
    http_ip: IpAddr,
    /// Where each worker receives datagrams: whom a TURN client may reach.
    media: Vec<Vec<SocketAddr>>,
    bound: OnceLock<Bound>,
    streams: DashMap<TransportId, usize>,
    passes: Passes,
    /// Addresses given to those who come by TURN.
    relayed: AtomicU64,
}

/// What is known once the port is bound.
#[derive(Debug)]
struct Bound {
    candidates: Vec<SocketAddr>,
    port: u16,
}

/// A counted connection of a transport; dropping it takes it off the books.
pub struct StreamSlot {
    port: Arc<Port>,
    transport: TransportId,
}

impl Port {
    /// What `config` says of it, for workers that receive datagrams at `media`.
    pub fn new(config: &SignalingConfig, media: Vec<Vec<SocketAddr>>) -> Self {
        Self {
            config: config.tcp.clone(),
            has_tls: config.tls.is_some(),
            http_ip: config.http.listen_ip,
            media,
            bound: OnceLock::new(),
            streams: DashMap::new(),
            passes: Passes::new(&config.limits),
            relayed: AtomicU64::new(0),
            limits: config.limits.clone(),
        }
    }

    /// The port listens at `address`; candidates are told from now on.
    pub fn note_bound(&self, address: SocketAddr) {
        let port = match self.config.advertised_port {
            0 => address.port(),
            port => port,
        };
        let ips = match (&self.config.advertised_ips[..], self.config.ice) {
            (_, false) => Vec::new(),
            ([], true) => self.reachable_ips(),
            (ips, true) => ips.to_vec(),
        };
        let candidates = ips.into_iter().map(|ip| SocketAddr::new(ip, port));
        let candidates = candidates.collect();
        // A port is bound once.
        let _ = self.bound.set(Bound { candidates, port });
    }

    /// The addresses of media that HTTP listens at, too.
    fn reachable_ips(&self) -> Vec<IpAddr> {
        let mut ips: Vec<IpAddr> = Vec::new();
        for address in self.media.iter().flatten() {
            let ip = address.ip();
            let is_heard = match self.http_ip {
                http if http.is_unspecified() => ip.is_ipv4() || http.is_ipv6(),
                http => http == ip,
            };
            if is_heard && !ips.contains(&ip) {
                ips.push(ip);
            }
        }
        ips
    }

    /// Where clients without UDP may connect to.
    pub fn candidates(&self) -> &[SocketAddr] {
        self.bound.get().map_or(&[], |bound| &bound.candidates)
    }

    /// What a participant's client is told about TURN, which it reached as `host`: a pass of its own,
    /// or nothing where a client could not use it.
    pub fn ice_servers(&self, now: SystemTime, sid: &str, host: Option<&str>) -> Vec<IceServer> {
        let configured = Some(self.config.turn_host.as_str()).filter(|host| !host.is_empty());
        // Without a certificate a proxy ends TLS, and that speaks HTTP only.
        let is_offered = self.config.turn && (self.has_tls || configured.is_some());
        let (Some(host), Some(bound)) = (configured.or(host), self.bound.get()) else {
            return Vec::new();
        };
        if !is_offered {
            return Vec::new();
        }
        let scheme = if self.has_tls { "turns" } else { "turn" };
        let port = bound.port;
        let pass = self.ice_pass(now, sid);
        vec![IceServer {
            urls: vec![format!("{scheme}:{host}:{port}?transport=tcp")],
            username: pass.username,
            credential: pass.password,
        }]
    }

    /// A pass as it would come with a join.
    pub(crate) fn ice_pass(&self, now: SystemTime, sid: &str) -> turn::passes::Pass {
        self.passes.issue(now, sid)
    }

    /// A participant has a transport, which its pass is for.
    pub fn allow(&self, sid: &str, transport: TransportId) {
        self.passes.allow(sid, transport);
    }

    /// A participant has gone: its pass is for nothing any more.
    pub fn withdraw(&self, sid: &str) {
        self.passes.withdraw(sid);
    }

    /// The worker that receives datagrams at an address. `None`: it is none of ours, so nobody
    /// reaches it from here.
    fn worker_at(&self, address: SocketAddr) -> Option<WorkerId> {
        let has_it = |addresses: &Vec<SocketAddr>| addresses.contains(&address);
        let worker = self.media.iter().position(has_it)?;
        Some(WorkerId(worker as u16))
    }

    /// Whether media is received at an address, on whatever port.
    fn is_ours(&self, ip: IpAddr) -> bool {
        self.media
            .iter()
            .flatten()
            .any(|address| address.ip() == ip)
    }

    /// Whether media is received over IPv6 and not over IPv4.
    fn is_of_ipv6_alone(&self) -> bool {
        self.media.iter().flatten().all(SocketAddr::is_ipv6)
    }

    /// An address for somebody whose packets come through a connection: it is told to both sides and
    /// nobody listens there. The next address is another one.
    fn relayed_address(&self, is_v6: bool) -> SocketAddr {
        let mut ours = self.media.iter().flatten().map(SocketAddr::ip);
        let ip = ours.find(|ip| ip.is_ipv6() == is_v6);
        let ip = ip.unwrap_or(match is_v6 {
            // RFC 6666: whatever goes there is gone.
            true => IpAddr::from([0x100, 0, 0, 0, 0, 0, 0, 1]),
            // RFC 7600: no host has it.
            false => IpAddr::from([192, 0, 0, 8]),
        });
        // The range of ephemeral ports (RFC 6335 section 6).
        let port = 49_152 + (self.relayed.fetch_add(1, Ordering::Relaxed) % 16_384) as u16;
        SocketAddr::new(ip, port)
    }

    fn has_worker(&self, worker: WorkerId) -> bool {
        usize::from(worker.0) < self.media.len()
    }

    /// Counts a connection of a transport; `None` if it has too many.
    fn enter(self: &Arc<Self>, transport: TransportId) -> Option<StreamSlot> {
        match self.streams.entry(transport) {
            Entry::Occupied(mut entry) => {
                if *entry.get() >= self.limits.streams_per_transport_max {
                    return None;
                }
                *entry.get_mut() += 1;
            }
            Entry::Vacant(entry) => {
                entry.insert(1);
            }
        }
        Some(StreamSlot {
            port: Arc::clone(self),
            transport,
        })
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        if let Entry::Occupied(mut entry) = self.port.streams.entry(self.transport) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port")
            .field("bound", &self.bound)
            .finish_non_exhaustive()
    }
}

/// Keeps the kernel from queueing what nobody would want to see any more. A socket that refuses is about
/// to fail.
pub fn bound_send_buffer(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_send_buffer_size(SEND_BUFFER_BYTES);
}

/// The host that a request was sent to, as its `Host` header says, without the port. `None` if it is no
/// host: it goes into an address that clients are told.
pub fn host(header: &str) -> Option<&str> {
    let host = match header.strip_prefix('[') {
        Some(rest) => &header[..rest.find(']')? + 2],
        None => header.split(':').next()?,
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let is_ip = |ip: &str| ip.parse::<std::net::Ipv6Addr>().is_ok();
    let inner = host.strip_prefix('[').and_then(|ip| ip.strip_suffix(']'));
    let is_host = match inner {
        Some(ip) => is_ip(ip),
        None => !host.is_empty() && host.len() <= 253 && host.chars().all(is_name),
    };
    is_host.then_some(host)
}

/// Whether a connection is of use: when the media plane has last said something to its peer. It
/// answers only who knows a password of its own.
#[derive(Debug)]
struct Answered {
    began: Instant,
    /// Milliseconds since then.
    last: AtomicU64,
}

impl Answered {
    /// The time to the first answer counts from now.
    fn new() -> Self {
        Self {
            began: Instant::now(),
            last: AtomicU64::new(0),
        }
    }

    fn note(&self) {
        let millis = self.began.elapsed().as_millis() as u64;
        self.last.store(millis, Ordering::Relaxed);
    }

    /// Returns when there has been no answer for `patience`.
    async fn ceased(&self, patience: Duration) {
        loop {
            time::sleep(LOOK_INTERVAL.min(patience)).await;
            let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
            if self.began.elapsed().saturating_sub(last) > patience {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(change: impl FnOnce(&mut SignalingConfig)) -> Arc<Port> {
        let mut config = SignalingConfig::dev();
        config.http.listen_ip = "::".parse().expect("an address");
        change(&mut config);
        let media = [
            ["192.0.2.1:7882", "[2001:db8::1]:7882"],
            ["192.0.2.1:7883", "[2001:db8::1]:7883"],
        ];
        let media = media.map(|one| one.map(|at| at.parse().expect("an address")).to_vec());
        let port = Arc::new(Port::new(&config, media.to_vec()));
        port.note_bound("[::]:7880".parse().expect("an address"));
        port
    }

    fn told(port: &Port) -> Vec<String> {
        port.candidates()
            .iter()
            .map(SocketAddr::to_string)
            .collect()
    }

    #[test]
    fn candidates_are_where_media_and_http_both_listen() {
        assert_eq!(
            told(&port(|_| {})),
            ["192.0.2.1:7880", "[2001:db8::1]:7880"]
        );
        let v4 = port(|config| config.http.listen_ip = "0.0.0.0".parse().expect("one"));
        assert_eq!(told(&v4), ["192.0.2.1:7880"]);
        let one = port(|config| config.http.listen_ip = "192.0.2.1".parse().expect("one"));
        assert_eq!(told(&one), ["192.0.2.1:7880"]);
        let other = port(|config| config.http.listen_ip = "127.0.0.1".parse().expect("one"));
        assert_eq!(told(&other), [""; 0]);
        let public = port(|config| {
            config.tcp.advertised_ips = vec!["203.0.113.9".parse().expect("one")];
            config.tcp.advertised_port = 443;
        });
        assert_eq!(told(&public), ["203.0.113.9:443"]);
        let none = port(|config| config.tcp.ice = false);
        assert_eq!(told(&none), [""; 0]);
    }

    #[test]
    fn turn_is_offered_where_a_client_can_use_it() {
        let tls = |config: &mut SignalingConfig| {
            config.tls = Some(crate::config::TlsConfig {
                cert: "cert.pem".into(),
                key: "key.pem".into(),
            });
        };
        let now = SystemTime::now();
        let urls = |port: &Port, host| {
            let servers = port.ice_servers(now, "PA_1", host);
            servers
                .into_iter()
                .flat_map(|one| one.urls)
                .collect::<Vec<_>>()
        };
        let host = Some("consult.example");
        assert_eq!(
            urls(&port(tls), host),
            ["turns:consult.example:7880?transport=tcp"]
        );
        assert!(urls(&port(tls), None).is_empty());
        assert!(urls(&port(|_| {}), host).is_empty(), "no certificate");
        let behind = port(|config| config.tcp.turn_host = "turn.example".into());
        assert_eq!(
            urls(&behind, host),
            ["turn:turn.example:7880?transport=tcp"]
        );
        let public = port(|config| {
            tls(config);
            config.tcp.advertised_port = 443;
        });
        assert_eq!(
            urls(&public, host),
            ["turns:consult.example:443?transport=tcp"]
        );
        let off = port(|config| {
            tls(config);
            config.tcp.turn = false;
        });
        assert!(urls(&off, host).is_empty());
    }

    #[test]
    fn a_host_is_a_name_or_an_address_and_nothing_else() {
        for (header, expected) in [
            ("consult.example", Some("consult.example")),
            ("consult.example:8443", Some("consult.example")),
            ("198.18.0.1:1", Some("198.18.0.1")),
            ("[2001:db8::1]:443", Some("[2001:db8::1]")),
            ("[2001:db8::1]", Some("[2001:db8::1]")),
            ("[consult.example]", None),
            ("[::1", None),
            ("", None),
            (":443", None),
            ("a b", None),
            ("a?transport=udp", None),
            ("a,b", None),
            ("user@host", None),
        ] {
            assert_eq!(host(header), expected, "{header}");
        }
    }

    #[test]
    fn only_our_own_addresses_lead_to_a_worker() {
        let port = port(|_| {});
        let at = |text: &str| port.worker_at(text.parse().expect("an address"));
        assert_eq!(at("192.0.2.1:7883"), Some(WorkerId(1)));
        assert_eq!(at("[2001:db8::1]:7882"), Some(WorkerId(0)));
        assert_eq!(at("192.0.2.1:22"), None);
        assert_eq!(at("127.0.0.1:7882"), None);
        // The same host by another name is another host.
        assert_eq!(at("[::ffff:192.0.2.1]:7882"), None);
        assert!(!port.is_ours("::ffff:192.0.2.1".parse().expect("an address")));
    }

    #[test]
    fn connections_of_a_transport_are_counted_until_they_are_dropped() {
        let port = port(|config| config.limits.streams_per_transport_max = 2);
        let first = port.enter(TransportId(1));
        let second = port.enter(TransportId(1));
        assert!(first.is_some() && second.is_some());
        assert!(port.enter(TransportId(1)).is_none());
        assert!(port.enter(TransportId(2)).is_some());
        drop(first);
        assert!(port.enter(TransportId(1)).is_some());
        drop(second);
        assert!(port.streams.is_empty(), "nothing is kept of who has gone");
    }
}
