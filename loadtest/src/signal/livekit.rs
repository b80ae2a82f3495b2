//! Joins over the LiveKit protocol, single-connection mode: what its own clients do on `/rtc/v1`.
//!
//! The client makes all offers. The first goes along with the join and has a few receiving
//! sections; more are added when the server asks for them; publishing adds sending ones. One offer
//! is in flight at a time.

use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::{SinkExt, StreamExt};
use livekit_protocol as proto;
use prost::Message as _;
use proto::signal_request::Message as Request;
use proto::signal_response::Message as Response;
use serde::Serialize;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::light::Light;
use super::{
    Announced, JoinEvent, JoinSpec, LeaveSignal, Media, Signals, TrackSpec, ssrc_of, told_to_leave,
};
use crate::client::sdp::{self, Kind};
use crate::client::sender::Content;
use crate::client::worker::MemberEvent;

/// Receiving sections of each kind in the first offer, as in LiveKit's own clients.
const FIRST_SECTIONS: u32 = 3;
/// How long a server may take to answer the join.
const PATIENCE: Duration = Duration::from_secs(15);
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// How to reach a server and be let in.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    /// `ws://` or `wss://` with host and port.
    pub(crate) url: String,
    /// API key.
    pub(crate) key: String,
    /// Its secret.
    pub(crate) secret: String,
    /// What room names begin with.
    pub(crate) room_prefix: String,
    /// Whether rooms are recorded, with everybody's consent; the server decides if nobody says.
    pub(crate) recorded: Option<bool>,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    name: &'a str,
    nbf: u64,
    exp: u64,
    video: Grant<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attributes: Option<serde_json::Value>,
    #[serde(rename = "roomConfig", skip_serializing_if = "Option::is_none")]
    room_config: Option<serde_json::Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Grant<'a> {
    room_join: bool,
    room: &'a str,
    can_publish: bool,
    can_subscribe: bool,
}

impl Server {
    /// A server with the key and secret of an application.
    pub(crate) fn new(url: String, key: String, secret: String) -> Self {
        Self {
            url,
            key,
            secret,
            room_prefix: String::new(),
            recorded: None,
        }
    }

    fn room(&self, number: u32) -> String {
        format!("{}-{number}", self.room_prefix)
    }

    /// A token for one participant of one room, valid for six hours.
    fn token(&self, identity: &str, room: &str, can_publish: bool) -> Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let video = Grant {
            room_join: true,
            room,
            can_publish,
            can_subscribe: true,
        };
        let (nbf, exp) = (now - 10, now + 6 * 3_600);
        let policy = self.recorded.map(|is| if is { "must" } else { "never" });
        let claims = Claims {
            iss: &self.key,
            sub: identity,
            name: identity,
            nbf,
            exp,
            video,
            attributes: (self.recorded == Some(true))
                .then(|| serde_json::json!({ "consilium.consent": "granted" })),
            room_config: policy
                .map(|policy| serde_json::json!({ "tags": { "consilium.recording": policy } })),
        };
        let key = jsonwebtoken::EncodingKey::from_secret(self.secret.as_bytes());
        let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
        Ok(jsonwebtoken::encode(&header, &claims, &key)?)
    }

    /// The signalling host, if the address names an IP.
    fn host(&self) -> Option<IpAddr> {
        let rest = self.url.split_once("://")?.1;
        let host = rest.split('/').next()?;
        let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
        if host == "localhost" {
            return Some(IpAddr::from([127, 0, 0, 1]));
        }
        host.trim_matches(['[', ']']).parse().ok()
    }
}

/// Joins, publishes, stays until told to leave.
pub(crate) async fn participate(
    signals: &Signals,
    server: &Server,
    spec: JoinSpec,
    leave: LeaveSignal,
) {
    let media = Light::open(signals, &spec, server.host());
    participate_with(signals, server, &spec, media, leave).await;
}

/// The same with any media side.
pub(crate) async fn participate_with<M: Media>(
    signals: &Signals,
    server: &Server,
    spec: &JoinSpec,
    media: Result<M>,
    mut leave: LeaveSignal,
) {
    let session = async {
        let join = Session::join(signals, server, spec, media?);
        let mut session = tokio::time::timeout(PATIENCE, join)
            .await
            .context("no answer to the join")??;
        let result = session.stay(&mut leave).await;
        session.media.close().await;
        result
    };
    if let Err(error) = session.await {
        // The run may have ended before.
        let _ = signals
            .events
            .send(JoinEvent::Failed(spec.id, format!("{error:#}")));
    }
}

struct Session<'a, M> {
    signals: &'a Signals,
    spec: &'a JoinSpec,
    media: M,
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    offers: u32,
    is_offer_in_flight: bool,
    is_offer_wanted: bool,
    /// Tracks that the server has not accepted yet, and those that it has.
    announced: Vec<Announced>,
    accepted: Vec<Announced>,
}

impl<'a, M: Media> Session<'a, M> {
    async fn join(
        signals: &'a Signals,
        server: &Server,
        spec: &'a JoinSpec,
        mut media: M,
    ) -> Result<Self> {
        media.add_receiving(Kind::Audio, FIRST_SECTIONS).await?;
        media.add_receiving(Kind::Video, FIRST_SECTIONS).await?;
        let offer = media.offer().await?;
        let identity = format!("load-{}", spec.id);
        let room = server.room(spec.room);
        let token = server.token(&identity, &room, !spec.tracks.is_empty())?;
        let url = format!("{}/rtc/v1?join_request={}", server.url, join_request(offer));
        let mut request = url.into_client_request().context("the server's address")?;
        request
            .headers_mut()
            .insert("authorization", format!("Bearer {token}").parse()?);
        let (stream, _) = tokio_tungstenite::connect_async(request)
            .await
            .context("opening the WebSocket")?;
        Ok(Self {
            signals,
            spec,
            media,
            stream,
            offers: 1,
            is_offer_in_flight: true,
            is_offer_wanted: false,
            announced: announced(spec),
            accepted: Vec::new(),
        })
    }

    async fn stay(&mut self, leave: &mut LeaveSignal) -> Result<()> {
        let mut ping = tokio::time::interval(PING_INTERVAL);
        ping.tick().await;
        loop {
            tokio::select! {
                message = self.stream.next() => match message {
                    Some(Ok(message)) => self.handle(message).await?,
                    Some(Err(error)) => return Err(error).context("the WebSocket failed"),
                    None => bail!("the server closed the WebSocket"),
                },
                event = self.media.event() => self.on_media_event(event)?,
                _ = ping.tick() => self.ping().await?,
                () = told_to_leave(leave) => return self.leave().await,
            }
        }
    }

    async fn handle(&mut self, message: Message) -> Result<()> {
        let Message::Binary(bytes) = message else {
            let is_close = matches!(message, Message::Close(_));
            ensure!(!is_close, "the server closed the session");
            return Ok(());
        };
        let response = proto::SignalResponse::decode(bytes).context("an unreadable message")?;
        match response.message {
            Some(Response::Join(_)) => self.announce_tracks().await,
            Some(Response::Answer(answer)) => {
                self.is_offer_in_flight = false;
                self.media.on_answer(&answer.sdp).await?;
                self.offer_if_wanted().await
            }
            Some(Response::TrackPublished(published)) => self.on_accepted(&published.cid).await,
            Some(Response::MediaSectionsRequirement(required)) => {
                self.media
                    .add_receiving(Kind::Audio, required.num_audios)
                    .await?;
                self.media
                    .add_receiving(Kind::Video, required.num_videos)
                    .await?;
                self.is_offer_wanted = true;
                self.offer_if_wanted().await
            }
            Some(Response::Trickle(trickle)) => self.on_trickle(&trickle.candidate_init).await,
            Some(Response::Leave(leave)) => bail!("told to leave (reason {})", leave.reason),
            Some(Response::RequestResponse(refusal)) if refusal.reason != 0 => {
                bail!("a request was refused (reason {})", refusal.reason)
            }
            _ => Ok(()),
        }
    }

    fn on_media_event(&mut self, event: MemberEvent) -> Result<()> {
        let profile = match event {
            MemberEvent::Connected(profile) => profile,
            MemberEvent::Failed(reason) => bail!(reason),
        };
        let event = JoinEvent::Connected(self.spec.id, Instant::now(), profile);
        // The run may have ended before.
        let _ = self.signals.events.send(event);
        Ok(())
    }

    async fn announce_tracks(&mut self) -> Result<()> {
        for index in 0..self.announced.len() {
            let Announced { track, cid, .. } = &self.announced[index];
            let request = add_track(track, cid);
            self.send(Request::AddTrack(request)).await?;
        }
        Ok(())
    }

    /// Offers sending sections once all tracks are accepted, so that one offer serves them all.
    async fn on_accepted(&mut self, cid: &str) -> Result<()> {
        let Some(index) = self.announced.iter().position(|track| track.cid == cid) else {
            return Ok(());
        };
        self.accepted.push(self.announced.remove(index));
        if !self.announced.is_empty() {
            return Ok(());
        }
        for track in std::mem::take(&mut self.accepted) {
            self.media.add_sending(track).await?;
        }
        self.is_offer_wanted = true;
        self.offer_if_wanted().await
    }

    async fn offer_if_wanted(&mut self) -> Result<()> {
        if self.is_offer_in_flight || !self.is_offer_wanted {
            return Ok(());
        }
        self.offers += 1;
        (self.is_offer_in_flight, self.is_offer_wanted) = (true, false);
        let sdp = self.media.offer().await?;
        self.send(Request::Offer(offer(sdp, self.offers))).await
    }

    async fn on_trickle(&mut self, json: &str) -> Result<()> {
        let init: serde_json::Value = serde_json::from_str(json).context("a candidate")?;
        match init["candidate"].as_str() {
            Some(candidate) => self.media.add_candidate(candidate).await,
            None => Ok(()),
        }
    }

    async fn ping(&mut self) -> Result<()> {
        let millis = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
        self.send(Request::PingReq(proto::Ping {
            timestamp: millis,
            rtt: 0,
        }))
        .await
    }

    async fn leave(&mut self) -> Result<()> {
        // The server may be gone already, which is where we are going.
        let _ = self
            .send(Request::Leave(proto::LeaveRequest::default()))
            .await;
        let _ = self.stream.close(None).await;
        Ok(())
    }

    async fn send(&mut self, request: Request) -> Result<()> {
        let bytes = proto::SignalRequest {
            message: Some(request),
        }
        .encode_to_vec();
        self.stream
            .send(Message::Binary(bytes.into()))
            .await
            .context("sending a request")
    }
}

fn announced(spec: &JoinSpec) -> Vec<Announced> {
    let tracks = spec.tracks.iter().enumerate();
    tracks
        .map(|(index, track)| Announced {
            track: track.clone(),
            cid: format!("load-{}-{index}", spec.id),
            ssrcs: (0..track.layers())
                .map(|layer| ssrc_of(spec.id, index, layer))
                .collect(),
        })
        .collect()
}

fn offer(sdp: String, id: u32) -> proto::SessionDescription {
    proto::SessionDescription {
        r#type: "offer".to_owned(),
        sdp,
        id,
        ..Default::default()
    }
}

fn join_request(sdp: String) -> String {
    let join = proto::JoinRequest {
        client_info: Some(proto::ClientInfo {
            sdk: proto::client_info::Sdk::Rust as i32,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: 17,
            ..Default::default()
        }),
        connection_settings: Some(proto::ConnectionSettings {
            auto_subscribe: true,
            ..Default::default()
        }),
        publisher_offer: Some(offer(sdp, 1)),
        ..Default::default()
    };
    let wrapped = proto::WrappedJoinRequest {
        compression: 0,
        join_request: join.encode_to_vec(),
    };
    URL_SAFE_NO_PAD.encode(wrapped.encode_to_vec())
}

fn add_track(track: &TrackSpec, cid: &str) -> proto::AddTrackRequest {
    let request = proto::AddTrackRequest {
        cid: cid.to_owned(),
        ..Default::default()
    };
    let Content::Video(video) = track.content else {
        return proto::AddTrackRequest {
            name: "voice".to_owned(),
            r#type: proto::TrackType::Audio as i32,
            source: proto::TrackSource::Microphone as i32,
            disable_red: true,
            ..request
        };
    };
    let (name, source) = if track.is_screen {
        ("screen", proto::TrackSource::ScreenShare)
    } else {
        ("camera", proto::TrackSource::Camera)
    };
    let layers = (0..track.layers()).map(|layer| {
        let below = track.layers() - 1 - layer;
        let is_single = track.layers() == 1;
        proto::VideoLayer {
            quality: if is_single { 2 } else { layer as i32 },
            width: 1_280 >> below,
            height: 720 >> below,
            bitrate: (video.packets >> below) * video.fps * video.packet_size as u32 * 8,
            rid: if is_single {
                String::new()
            } else {
                sdp::RIDS[layer as usize].to_owned()
            },
            ..Default::default()
        }
    });
    proto::AddTrackRequest {
        name: name.to_owned(),
        r#type: proto::TrackType::Video as i32,
        source: source as i32,
        width: 1_280,
        height: 720,
        layers: layers.collect(),
        ..request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str) -> Server {
        let text = str::to_owned;
        Server {
            url: text(url),
            key: text("k"),
            secret: text("s"),
            room_prefix: text("r"),
            recorded: None,
        }
    }

    #[test]
    fn the_host_of_an_address_is_found() {
        let host = |url: &str| server(url).host().map(|ip| ip.to_string());
        assert_eq!(host("ws://127.0.0.2:7880").as_deref(), Some("127.0.0.2"));
        assert_eq!(host("wss://[::1]:443/x").as_deref(), Some("::1"));
        assert_eq!(host("ws://localhost:1").as_deref(), Some("127.0.0.1"));
        assert_eq!(host("wss://media.example"), None);
    }

    #[test]
    fn a_join_request_decodes_to_what_went_in() {
        let text = join_request("v=0".into());
        let bytes = URL_SAFE_NO_PAD.decode(text).expect("base64url");
        let wrapped = proto::WrappedJoinRequest::decode(&bytes[..]).expect("wrapped");
        let join = proto::JoinRequest::decode(&wrapped.join_request[..]).expect("join");
        assert_eq!(
            join.publisher_offer.map(|offer| offer.sdp).as_deref(),
            Some("v=0")
        );
        assert!(join.connection_settings.is_some_and(|s| s.auto_subscribe));
    }

    #[test]
    fn a_token_names_room_and_rights_and_is_signed() {
        let token = server("ws://x").token("me", "r-1", false).expect("signed");
        let key = jsonwebtoken::DecodingKey::from_secret(b"s");
        let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::HS256);
        rules.validate_nbf = true;
        let claims: serde_json::Value = jsonwebtoken::decode(&token, &key, &rules)
            .expect("valid")
            .claims;
        assert_eq!(claims["sub"], "me");
        assert_eq!(claims["video"]["room"], "r-1");
        assert_eq!(claims["video"]["canPublish"], false);
        let other = jsonwebtoken::DecodingKey::from_secret(b"t");
        assert!(jsonwebtoken::decode::<serde_json::Value>(&token, &other, &rules).is_err());
    }
}
