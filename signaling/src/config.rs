//! What the front door can be told, and every bound that it keeps.
//!
//! Each value has its reason beside it; `deploy/consilium.example.toml` is made from these
//! defaults. Unknown keys are errors, so that a misspelt limit is not silently without effect. The
//! file, the environment and the flags are read by the binary, not here.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::consent::Policy;
use crate::error::ConfigError;

/// The well-known development key, accepted on loopback addresses only.
pub const DEV_KEY: &str = "devkey";
/// The secret of [`DEV_KEY`]: everybody knows it.
pub const DEV_SECRET: &str = "secret";

/// A secret needs so many bytes: HMAC-SHA256 is as strong as its key up to 32 bytes (RFC 7518
/// section 3.2).
const SECRET_BYTES_MIN: usize = 32;

/// Everything that the front door is told.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SignalingConfig {
    /// Where it listens.
    pub http: HttpConfig,
    /// The certificate, if HTTPS is spoken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
    /// Media over the port of the front door.
    pub tcp: TcpConfig,
    /// The API keys and their secrets. Tokens are signed with one of them.
    pub keys: BTreeMap<String, Secret>,
    /// How rooms live and die.
    pub rooms: RoomsConfig,
    /// Who is told what happens.
    pub webhook: WebhookConfig,
    /// Whether rooms are recorded.
    pub recording: Policy,
    /// The bounds.
    pub limits: Limits,
}

/// Where the front door listens.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// The address that is bound.
    pub listen_ip: IpAddr,
    /// The port; 0 lets the system choose.
    pub port: u16,
    /// Speak plain HTTP on an address that is not loopback. Only for a host where a proxy in front
    /// ends TLS: tokens and conversations would otherwise cross the network in the clear.
    pub insecure_http: bool,
    /// Show `/metrics` to every caller, not to those on the same host only.
    pub public_metrics: bool,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            // What LiveKit's SDKs and their tests try first.
            port: 7880,
            insecure_http: false,
            public_metrics: false,
        }
    }
}

/// The certificate of the front door.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificate chain, PEM, the server's own certificate first.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

/// Media over the port of the front door, for networks that let out nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TcpConfig {
    /// Clients are told that they may connect to this port for media, too (ICE-TCP). They prefer UDP.
    pub ice: bool,
    /// Clients may come by TURN, and are told so where TLS is spoken here.
    pub turn: bool,
    /// The addresses that clients are told; empty means those of media at which `http.listen_ip`
    /// listens as well. Needed where the port is reached at another address than media.
    pub advertised_ips: Vec<IpAddr>,
    /// The port that clients are told; 0 means `http.port`. Needed where 443 is passed on to another.
    pub advertised_port: u16,
    /// The host that clients are told for TURN; it must be in the certificate. Empty means the one
    /// that they have joined at.
    pub turn_host: String,
}

impl Default for TcpConfig {
    fn default() -> Self {
        Self {
            ice: true,
            turn: true,
            advertised_ips: Vec::new(),
            advertised_port: 0,
            turn_host: String::new(),
        }
    }
}

/// How rooms live and die.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoomsConfig {
    /// A room is made when its first participant comes. Without this, rooms must be made through
    /// the server API first.
    pub auto_create: bool,
    /// A room that nobody ever joined is closed after this.
    #[serde(with = "seconds")]
    pub empty_timeout: Duration,
    /// A room that everybody has left is closed after this: long enough to come back after a
    /// browser has crashed.
    #[serde(with = "seconds")]
    pub departure_timeout: Duration,
    /// Clients say that they live this often.
    #[serde(with = "seconds")]
    pub ping_interval: Duration,
    /// A client that hears nothing for so long thinks the connection dead and reconnects. The server
    /// waits for three times as long: it may be the one that is slow.
    #[serde(with = "seconds")]
    pub ping_timeout: Duration,
    /// A participant whose connection broke keeps its seat for so long, and its media go on: a
    /// client that comes back by then goes on where it was, and the others notice nothing. 0 gives
    /// the seat up at once.
    #[serde(with = "seconds")]
    pub resume_timeout: Duration,
    /// Whether the server API may also take a mute back. Off, because nobody's microphone should be
    /// opened by somebody else.
    pub remote_unmute: bool,
    /// The first worker of a room takes all of it until it is busy for this share of its time;
    /// then further participants go to other workers. 0.6 leaves room for the tracks that those
    /// who are there will still publish. 0 spreads every room evenly; above 1 no room is spread.
    pub spill_busy_share: f32,
}

impl Default for RoomsConfig {
    fn default() -> Self {
        Self {
            auto_create: true,
            empty_timeout: Duration::from_secs(300),
            departure_timeout: Duration::from_secs(20),
            ping_interval: Duration::from_secs(1),
            ping_timeout: Duration::from_secs(3),
            resume_timeout: Duration::from_secs(60),
            remote_unmute: false,
            spill_busy_share: 0.6,
        }
    }
}

/// Who is told what happens in the rooms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebhookConfig {
    /// Every event is posted to each of these addresses, in the form of LiveKit's webhooks.
    pub urls: Vec<String>,
    /// The API key that signs them; the receiver checks with its secret. Needed with `urls`.
    pub api_key: String,
    /// A receiver that has not answered by then has not taken the event; it gets it again.
    #[serde(with = "seconds")]
    pub timeout: Duration,
    /// Events that a receiver has not taken for so long are given up: a long weekend.
    #[serde(with = "seconds")]
    pub keep: Duration,
    /// Events that wait for all receivers together; beyond, new ones are lost and counted. They
    /// have about 2 KB each on the disk.
    pub queued_max: usize,
}

impl Default for WebhookConfig {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            api_key: String::new(),
            timeout: Duration::from_secs(10),
            keep: Duration::from_secs(4 * 24 * 3600),
            queued_max: 100_000,
        }
    }
}

/// Every bound of the front door. Reaching one is answered by an error that names it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Rooms of one server.
    pub rooms_max: usize,
    /// Participants of one room: a large case conference with its observers. A media transport
    /// takes 256 subscriptions, two tracks of each.
    pub participants_per_room_max: usize,
    /// Tracks of one participant: face, scope, two screens and their sounds are six.
    pub tracks_per_participant_max: usize,
    /// Rooms that one participant is forwarded to at a time, beside his own: four consults that see one
    /// operation. No more than `media.limits.shares_per_publication_max`.
    pub forwardings_per_participant_max: usize,
    /// Bytes of a token; a token with every grant and 4 KB of metadata has six thousand.
    pub token_bytes_max: usize,
    /// Bytes of an identity.
    pub identity_bytes_max: usize,
    /// Bytes of a name that people see.
    pub name_bytes_max: usize,
    /// Bytes of the name of a room.
    pub room_name_bytes_max: usize,
    /// Bytes of the metadata of a room or a participant; what LiveKit allows.
    pub metadata_bytes_max: usize,
    /// Bytes of all attributes of a participant together; what LiveKit allows.
    pub attributes_bytes_max: usize,
    /// Bytes of one signalling message; a message carries at most two session descriptions.
    pub signal_message_bytes_max: usize,
    /// Signalling messages that one session may send per second, averaged over ten seconds. The
    /// SDKs send under ten, and bursts of a hundred when the layout of a large room changes.
    pub signal_messages_per_second_max: u32,
    /// Bytes of a session description. Chromium needs 5 KB for a video section.
    pub sdp_bytes_max: usize,
    /// Lines of a session description. Chromium needs 110 for a video section.
    pub sdp_lines_max: usize,
    /// Media sections of a session description.
    pub sdp_sections_max: usize,
    /// Bytes of a join request once it is unpacked.
    pub join_request_bytes_max: usize,
    /// Bytes waiting for a session that does not read; beyond, the session is closed. About ten
    /// seconds of a busy room.
    pub outgoing_queue_bytes_max: usize,
    /// Bytes of reliable messages that a room keeps for those who come back after a broken
    /// connection: hours of chat, or a second of a file. 0 keeps none.
    pub replay_bytes_per_room_max: usize,
    /// Messages waiting in the inbox of a room.
    pub room_inbox_max: usize,
    /// Bytes of a request line with its headers. Join requests have 2.7 KB, and browsers carry
    /// the token in the request line.
    pub request_head_bytes_max: usize,
    /// A connection that has not sent a whole request head by then is closed.
    #[serde(with = "seconds")]
    pub request_head_timeout: Duration,
    /// Bytes of a request to the server API; the largest carries 64 KB of metadata.
    pub api_body_bytes_max: usize,
    /// Bytes of an encoder's offer over WHIP; Chromium needs 10 KB for a picture and a sound.
    pub whip_body_bytes_max: usize,
    /// Egresses that are over and still listed.
    pub egresses_kept_max: usize,
    /// Connections that carry media of one transport: a client has one for each of its addresses and
    /// each of ours.
    pub streams_per_transport_max: usize,
    /// A connection for media that has carried no answer of ours for so long is closed: whoever uses it
    /// checks its path every few seconds, and only who knows a password is answered.
    #[serde(with = "seconds")]
    pub stream_idle_timeout: Duration,
    /// A connection for media that takes nothing for so long is closed.
    #[serde(with = "seconds")]
    pub stream_write_timeout: Duration,
    /// For so long after a join or a reconnect its participant may open allocations of TURN.
    #[serde(with = "seconds")]
    pub turn_pass_ttl: Duration,
    /// Allocations of TURN of one participant at a time: one for each transport, network of the client
    /// and family of addresses.
    pub turn_allocations_per_participant_max: usize,
    /// Connections of one server.
    pub connections_max: usize,
    /// Connections from one address: a hospital behind one address translator.
    pub connections_per_address_max: usize,
    /// Joins from one address per second, on average.
    pub joins_per_address_per_second_max: u32,
    /// Joins from one address at once: a conference that begins on the hour.
    pub joins_per_address_burst_max: u32,
    /// Addresses that are remembered for the limits above. When the table is full, addresses
    /// without a connection are forgotten, and then new ones are refused.
    pub addresses_tracked_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rooms_max: 10_000,
            participants_per_room_max: 100,
            tracks_per_participant_max: 16,
            forwardings_per_participant_max: 4,
            token_bytes_max: 8 << 10,
            identity_bytes_max: 256,
            name_bytes_max: 256,
            room_name_bytes_max: 256,
            metadata_bytes_max: 64_000,
            attributes_bytes_max: 64_000,
            signal_message_bytes_max: 1 << 20,
            signal_messages_per_second_max: 100,
            sdp_bytes_max: 400_000,
            sdp_lines_max: 8_000,
            sdp_sections_max: 300,
            join_request_bytes_max: 512 << 10,
            outgoing_queue_bytes_max: 1 << 20,
            replay_bytes_per_room_max: 1 << 20,
            room_inbox_max: 4_096,
            request_head_bytes_max: 64 << 10,
            request_head_timeout: Duration::from_secs(10),
            api_body_bytes_max: 256 << 10,
            whip_body_bytes_max: 64 << 10,
            egresses_kept_max: 1_000,
            streams_per_transport_max: 8,
            stream_idle_timeout: Duration::from_secs(20),
            stream_write_timeout: Duration::from_secs(5),
            turn_pass_ttl: Duration::from_secs(300),
            turn_allocations_per_participant_max: 12,
            connections_max: 20_000,
            connections_per_address_max: 500,
            joins_per_address_per_second_max: 50,
            joins_per_address_burst_max: 500,
            addresses_tracked_max: 65_536,
        }
    }
}

impl SignalingConfig {
    /// What `serve --dev` starts with: the defaults and the well-known key.
    pub fn dev() -> Self {
        let keys = BTreeMap::from([(DEV_KEY.to_owned(), Secret::new(DEV_SECRET))]);
        Self {
            keys,
            recording: Policy::Must,
            ..Self::default()
        }
    }

    /// Refuses what would be unsafe or cannot work, naming the key.
    pub fn check(&self) -> Result<(), ConfigError> {
        let is_loopback = self.http.listen_ip.is_loopback();
        if !is_loopback && self.tls.is_none() && !self.http.insecure_http {
            return Err(ConfigError::PlainHttp(self.http.listen_ip));
        }
        if self.keys.is_empty() {
            return Err(ConfigError::NoKeys);
        }
        for (id, secret) in &self.keys {
            check_key(id, secret, is_loopback)?;
        }
        self.rooms.check()?;
        self.webhook.check(&self.keys)?;
        self.limits.check()
    }
}

fn check_key(id: &str, secret: &Secret, is_loopback: bool) -> Result<(), ConfigError> {
    let is_dev = id == DEV_KEY || secret.expose() == DEV_SECRET;
    if is_dev && !is_loopback {
        return Err(ConfigError::DevKeyInPublic(id.to_owned()));
    }
    if !is_dev && secret.expose().len() < SECRET_BYTES_MIN {
        return Err(ConfigError::ShortSecret(id.to_owned()));
    }
    Ok(())
}

impl RoomsConfig {
    fn check(&self) -> Result<(), ConfigError> {
        // The SDKs' engine in Rust aborts the process on an interval of zero.
        if self.ping_interval.is_zero() {
            return Err(ConfigError::Zero("rooms.ping_interval"));
        }
        if self.ping_timeout <= self.ping_interval {
            return Err(ConfigError::PingTimeout);
        }
        Ok(())
    }
}

impl WebhookConfig {
    fn check(&self, keys: &BTreeMap<String, Secret>) -> Result<(), ConfigError> {
        if self.urls.is_empty() {
            return Ok(());
        }
        if !keys.contains_key(&self.api_key) {
            return Err(ConfigError::WebhookKey);
        }
        let is_http = |url: &String| url.starts_with("https://") || url.starts_with("http://");
        if !self.urls.iter().all(is_http) {
            return Err(ConfigError::WebhookUrl);
        }
        if self.timeout.is_zero() {
            return Err(ConfigError::Zero("webhook.timeout"));
        }
        Ok(())
    }
}

impl Limits {
    fn check(&self) -> Result<(), ConfigError> {
        let bounds = [
            ("limits.rooms_max", self.rooms_max),
            (
                "limits.participants_per_room_max",
                self.participants_per_room_max,
            ),
            (
                "limits.tracks_per_participant_max",
                self.tracks_per_participant_max,
            ),
            ("limits.token_bytes_max", self.token_bytes_max),
            ("limits.sdp_bytes_max", self.sdp_bytes_max),
            (
                "limits.signal_message_bytes_max",
                self.signal_message_bytes_max,
            ),
            (
                "limits.outgoing_queue_bytes_max",
                self.outgoing_queue_bytes_max,
            ),
            ("limits.room_inbox_max", self.room_inbox_max),
            ("limits.api_body_bytes_max", self.api_body_bytes_max),
            ("limits.connections_max", self.connections_max),
            (
                "limits.connections_per_address_max",
                self.connections_per_address_max,
            ),
            ("limits.addresses_tracked_max", self.addresses_tracked_max),
        ];
        for (name, value) in bounds {
            if value == 0 {
                return Err(ConfigError::Zero(name));
            }
        }
        // Less than this and no join request of the SDKs gets through; 8 KB is also the least
        // that the HTTP library accepts.
        if self.request_head_bytes_max < 16 << 10 {
            return Err(ConfigError::RequestHead);
        }
        Ok(())
    }
}

/// A secret of the configuration. Shows itself neither in logs nor when the configuration is
/// printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself, for signing and checking only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str("(secret)")
    }
}

/// Durations as whole seconds in configuration files.
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Duration, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_u64(value.as_secs())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
        u64::deserialize(input).map(Duration::from_secs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public() -> SignalingConfig {
        let mut config = SignalingConfig::default();
        config.http.listen_ip = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        config.http.insecure_http = true;
        config
            .keys
            .insert("clinic".into(), Secret::new("s".repeat(32)));
        config
    }

    #[test]
    fn the_development_configuration_is_accepted_on_loopback() {
        assert_eq!(SignalingConfig::dev().check(), Ok(()));
    }

    #[test]
    fn the_well_known_key_is_refused_on_a_public_address() {
        let mut config = public();
        assert_eq!(config.check(), Ok(()));
        config.keys.insert(DEV_KEY.into(), Secret::new(DEV_SECRET));
        assert_eq!(
            config.check(),
            Err(ConfigError::DevKeyInPublic(DEV_KEY.into()))
        );
        config.keys.remove(DEV_KEY);
        config.keys.insert("renamed".into(), Secret::new("secret"));
        assert_eq!(
            config.check(),
            Err(ConfigError::DevKeyInPublic("renamed".into()))
        );
    }

    #[test]
    fn plain_http_in_public_must_be_asked_for() {
        let mut config = public();
        config.http.insecure_http = false;
        assert!(matches!(config.check(), Err(ConfigError::PlainHttp(_))));
        config.tls = Some(TlsConfig {
            cert: "cert.pem".into(),
            key: "key.pem".into(),
        });
        assert_eq!(config.check(), Ok(()));
    }

    #[test]
    fn a_short_secret_is_refused_even_on_loopback() {
        let mut config = SignalingConfig::default();
        assert_eq!(config.check(), Err(ConfigError::NoKeys));
        config
            .keys
            .insert("clinic".into(), Secret::new("s".repeat(31)));
        assert_eq!(
            config.check(),
            Err(ConfigError::ShortSecret("clinic".into()))
        );
    }

    #[test]
    fn a_ping_interval_of_zero_is_refused() {
        let mut config = SignalingConfig::dev();
        config.rooms.ping_interval = Duration::ZERO;
        assert_eq!(
            config.check(),
            Err(ConfigError::Zero("rooms.ping_interval"))
        );
    }

    #[test]
    fn webhooks_need_a_key_that_is_there_and_an_address() {
        let mut config = SignalingConfig::dev();
        config.webhook.urls = vec!["https://hospital.example/hook".into()];
        assert_eq!(config.check(), Err(ConfigError::WebhookKey));
        config.webhook.api_key = DEV_KEY.into();
        assert_eq!(config.check(), Ok(()));
        config.webhook.urls.push("hospital.example".into());
        assert_eq!(config.check(), Err(ConfigError::WebhookUrl));
    }

    #[test]
    fn a_secret_shows_itself_nowhere() {
        let config = SignalingConfig::dev();
        let printed = serde_json::to_string(&config).expect("plain data serialises");
        assert!(!printed.contains("\"secret\""), "{printed}");
        assert!(printed.contains("(secret)"));
        assert!(!format!("{config:?}").contains("\"secret\""));
    }
}
