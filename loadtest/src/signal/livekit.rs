//! Joins over the LiveKit protocol, single-connection mode: what its own clients do on `/rtc/v1`.
//!
//! The client makes all offers. The first goes along with the join and has a few receiving
//! sections; more are added when the server asks for them; publishing adds sending ones. One offer
//! is in flight at a time.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
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
use super::requests::{add_track, announced, joining, offer, options, returning, wrapped};
use super::subscriber::Subscriber;
use super::{Announced, JoinEvent, JoinSpec, LeaveSignal, Media, Signals, told_to_leave};
use crate::client::sdp::Kind;
use crate::client::worker::MemberEvent;

/// Receiving sections of each kind in the first offer, as in LiveKit's own clients.
const FIRST_SECTIONS: u32 = 3;
/// How long a server may take to answer the join.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a server may take to close as well.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);
/// Between pings.
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(5);

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

    /// The name of a room.
    pub(crate) fn room(&self, number: u32) -> String {
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
        self.sign(&claims)
    }

    /// A token with these claims.
    pub(crate) fn sign(&self, claims: &impl Serialize) -> Result<String> {
        let key = jsonwebtoken::EncodingKey::from_secret(self.secret.as_bytes());
        let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
        Ok(jsonwebtoken::encode(&header, claims, &key)?)
    }

    /// The signalling host, if the address names an IP.
    pub(crate) fn host(&self) -> Option<IpAddr> {
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
        let identity = format!("load-{}", spec.id);
        let join = Session::join(signals, server, spec, identity, media?);
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

/// A signalling connection.
type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// One participant's signalling and what belongs to it.
pub(crate) struct Session<'a, M> {
    signals: &'a Signals,
    server: &'a Server,
    spec: &'a JoinSpec,
    token: String,
    /// The media side.
    pub(crate) media: M,
    /// What it receives over, if that is a connection of its own.
    pub(crate) subscriber: Option<Subscriber<'a>>,
    /// The signalling connection.
    pub(crate) stream: Socket,
    /// The server's name for the seat, once it has said.
    pub(crate) sid: String,
    /// Own tracks that the server has accepted.
    pub(crate) own: Vec<proto::TrackPublishedResponse>,
    /// Tracks of each of the others, and whether they are video.
    pub(crate) others: BTreeMap<String, Vec<(bool, String)>>,
    /// A track of another's that is not wanted.
    pub(crate) declined: Option<String>,
    /// Requests that the server has refused.
    pub(crate) refused: u32,
    /// Whether the seat has been given back since the last [`Session::come_back`].
    pub(crate) is_back: bool,
    offers: u32,
    is_offer_in_flight: bool,
    is_offer_wanted: bool,
    /// Tracks that the server has not accepted yet, and those that it has.
    announced: Vec<Announced>,
    accepted: Vec<Announced>,
}

impl<'a, M: Media> Session<'a, M> {
    /// Opens the signalling connection and asks to be let in.
    pub(crate) async fn join(
        signals: &'a Signals,
        server: &'a Server,
        spec: &'a JoinSpec,
        identity: String,
        mut media: M,
    ) -> Result<Self> {
        let subscriber = if spec.has_two {
            Some(Subscriber::open(signals, spec.id, server.host())?)
        } else {
            media.add_receiving(Kind::Audio, FIRST_SECTIONS).await?;
            media.add_receiving(Kind::Video, FIRST_SECTIONS).await?;
            None
        };
        let room = server.room(spec.room);
        let token = server.token(&identity, &room, !spec.tracks.is_empty())?;
        let target = match spec.has_two {
            true => options(&joining(String::new())),
            false => wrapped(&joining(media.offer().await?)),
        };
        let stream = open(server, &token, &target).await?;
        Ok(Self {
            signals,
            server,
            spec,
            token,
            media,
            stream,
            sid: String::new(),
            own: Vec::new(),
            others: BTreeMap::new(),
            declined: None,
            refused: 0,
            is_back: false,
            subscriber,
            offers: 1,
            is_offer_in_flight: !spec.has_two,
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
                    Some(Ok(message)) => {
                        self.handle(message).await?;
                        ensure!(self.refused == 0, "a request was refused");
                    }
                    Some(Err(error)) => return Err(error).context("the WebSocket failed"),
                    None => bail!("the server closed the WebSocket"),
                },
                event = self.media.event() => self.on_media_event(event)?,
                _ = ping.tick() => self.ping().await?,
                () = told_to_leave(leave) => return self.leave().await,
            }
        }
    }

    /// Heeds a message of the server; an error is the end.
    pub(crate) async fn handle(&mut self, message: Message) -> Result<()> {
        let Message::Binary(bytes) = message else {
            let is_close = matches!(message, Message::Close(_));
            ensure!(!is_close, "the server closed the session");
            return Ok(());
        };
        let response = proto::SignalResponse::decode(bytes).context("an unreadable message")?;
        match response.message {
            Some(Response::Join(join)) => {
                self.sid = join.participant.map(|me| me.sid).unwrap_or_default();
                self.note(join.other_participants);
                self.announce_tracks().await
            }
            Some(Response::Reconnect(_)) => self.say_what_there_is().await,
            Some(Response::Update(update)) => {
                self.note(update.participants);
                Ok(())
            }
            Some(Response::Answer(answer)) => {
                self.is_offer_in_flight = false;
                self.media.on_answer(&answer.sdp).await?;
                self.offer_if_wanted().await
            }
            Some(Response::TrackPublished(published)) => {
                let cid = published.cid.clone();
                self.own.retain(|track| track.cid != cid);
                self.own.push(published);
                self.on_accepted(&cid).await
            }
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
            Some(Response::Offer(offered)) => self.on_offer(&offered).await,
            Some(Response::Trickle(trickle)) => self.on_trickle(&trickle).await,
            Some(Response::Leave(leave)) => bail!("told to leave (reason {})", leave.reason),
            Some(Response::RequestResponse(refusal)) if refusal.reason != 0 => {
                self.refused += 1;
                Ok(())
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

    /// Keeps which tracks there are.
    fn note(&mut self, participants: Vec<proto::ParticipantInfo>) {
        for one in participants.into_iter().filter(|one| one.sid != self.sid) {
            self.others.remove(&one.sid);
            if one.state == proto::participant_info::State::Disconnected as i32 {
                continue;
            }
            let tracks = one.tracks.into_iter();
            let tracks =
                tracks.map(|track| (track.r#type == proto::TrackType::Video as i32, track.sid));
            self.others.insert(one.sid, tracks.collect());
        }
    }

    /// Breaks the signalling connection without a word, if it has no TLS.
    pub(crate) fn break_off(&self) {
        if let MaybeTlsStream::Plain(stream) = self.stream.get_ref() {
            // One that is broken already needs no breaking.
            let _ = socket2::SockRef::from(stream).shutdown(std::net::Shutdown::Both);
        }
    }

    /// Asks for the seat over a new signalling connection, and gives the old one.
    pub(crate) async fn come_back(&mut self) -> Result<Socket> {
        self.is_back = false;
        let back = returning(&self.sid);
        let target = match self.spec.has_two {
            true => options(&back),
            false => wrapped(&back),
        };
        let fresh = open(self.server, &self.token, &target).await?;
        Ok(std::mem::replace(&mut self.stream, fresh))
    }

    /// Tells the server, after it has given the seat back, what is there; offers come afterwards.
    async fn say_what_there_is(&mut self) -> Result<()> {
        self.is_back = true;
        let state = proto::SyncState {
            publish_tracks: self.own.clone(),
            subscription: Some(proto::UpdateSubscription {
                track_sids: self.declined.iter().cloned().collect(),
                ..Default::default()
            }),
            ..Default::default()
        };
        self.send(Request::SyncState(state)).await?;
        // With a connection of its own for receiving, there may be nothing to offer.
        let has_offered = self.offers > 1 || !self.spec.has_two;
        (self.is_offer_in_flight, self.is_offer_wanted) = (false, has_offered);
        self.offer_if_wanted().await
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

    async fn on_offer(&mut self, offered: &proto::SessionDescription) -> Result<()> {
        let subscriber = self.subscriber.as_mut().context("an offer out of place")?;
        let answer = proto::SessionDescription {
            r#type: "answer".to_owned(),
            ..offer(subscriber.answer(&offered.sdp)?, offered.id)
        };
        self.send(Request::Answer(answer)).await
    }

    async fn on_trickle(&mut self, trickle: &proto::TrickleRequest) -> Result<()> {
        let init: serde_json::Value =
            serde_json::from_str(&trickle.candidate_init).context("a candidate")?;
        let is_for_subscriber = trickle.target == proto::SignalTarget::Subscriber as i32;
        match (init["candidate"].as_str(), &mut self.subscriber) {
            (Some(candidate), Some(subscriber)) if is_for_subscriber => {
                subscriber.add_candidate(candidate)
            }
            (Some(candidate), _) => self.media.add_candidate(candidate).await,
            (None, _) => Ok(()),
        }
    }

    /// Says that it lives.
    pub(crate) async fn ping(&mut self) -> Result<()> {
        let millis = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
        self.send(Request::PingReq(proto::Ping {
            timestamp: millis,
            rtt: 0,
        }))
        .await
    }

    /// Says goodbye.
    pub(crate) async fn leave(&mut self) -> Result<()> {
        // The server may be gone already, which is where we are going.
        let _ = self
            .send(Request::Leave(proto::LeaveRequest::default()))
            .await;
        let _ = self.stream.close(None).await;
        // While something of the server's is unread, closing would take the goodbye back.
        let rest = async { while let Some(Ok(_)) = self.stream.next().await {} };
        let _ = tokio::time::timeout(CLOSE_PATIENCE, rest).await;
        Ok(())
    }

    /// Sends one request.
    pub(crate) async fn send(&mut self, request: Request) -> Result<()> {
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

async fn open(server: &Server, token: &str, target: &str) -> Result<Socket> {
    let url = format!("{}{target}", server.url);
    let mut request = url.into_client_request().context("the server's address")?;
    let bearer = format!("Bearer {token}").parse()?;
    request.headers_mut().insert("authorization", bearer);
    let opened = tokio_tungstenite::connect_async(request).await;
    Ok(opened.context("opening the WebSocket")?.0)
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
