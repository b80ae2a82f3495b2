//! Joins the videoroom of Janus over its HTTP interface, so that it can be measured beside others.
//!
//! A publisher has one transport to send and one to receive all others, as Janus wants it; who
//! only watches has the second. Everyone waits until all expected publishers are there and then
//! subscribes to them in one go. Rooms are made by those who publish.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::{
    JoinEvent, JoinSpec, LeaveSignal, Publish, Signals, next_event, ssrc_of, told_to_leave,
};
use crate::client::sdp::{self, Direction, Kind, Remote, Section, Sending};
use crate::client::sender::Content;
use crate::client::worker::{MemberEvent, MemberId};

/// Between looks at who is in the room.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// How long everything up to a connected transport may take.
const PATIENCE: Duration = Duration::from_secs(25);
/// Added to a participant's number for its publishing transport.
const PUBLISHING: MemberId = 1 << 25;

/// How to reach Janus.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    /// `http://` with host and port; the interface is at `/janus`.
    pub(crate) url: String,
    /// Number of the first room.
    pub(crate) first_room: u32,
}

impl Server {
    /// Janus with its HTTP interface at that address.
    pub(crate) fn new(url: String) -> Self {
        Self { url, first_room: 0 }
    }
}

/// Joins, publishes, watches, stays until told to leave.
pub(crate) async fn participate(
    signals: &Signals,
    server: &Server,
    spec: JoinSpec,
    mut leave: LeaveSignal,
) {
    let id = spec.id;
    let session = async {
        let join = tokio::time::timeout(PATIENCE, Session::join(signals, server, &spec));
        let mut session = join.await.context("Janus took too long")??;
        session.stay(&mut leave).await
    };
    if let Err(error) = session.await {
        // The run may have ended before.
        let _ = signals
            .events
            .send(JoinEvent::Failed(id, format!("{error:#}")));
    }
}

struct Session<'a> {
    signals: &'a Signals,
    spec: &'a JoinSpec,
    http: Http,
    host: Option<IpAddr>,
    room: u32,
    path: String,
    publishing: Option<mpsc::UnboundedReceiver<MemberEvent>>,
    watching: Option<mpsc::UnboundedReceiver<MemberEvent>>,
}

impl<'a> Session<'a> {
    async fn join(signals: &'a Signals, server: &Server, spec: &'a JoinSpec) -> Result<Self> {
        let http = Http::new(&server.url)?;
        let host = http
            .authority
            .rsplit_once(':')
            .and_then(|(host, _)| host.parse().ok());
        let created = http.post("/janus", json!({"janus": "create"})).await?;
        let path = format!("/janus/{}", created["data"]["id"]);
        let room = server.first_room + spec.room;
        let (publishing, watching) = (None, None);
        let mut session = Self {
            signals,
            spec,
            http,
            host,
            room,
            path,
            publishing,
            watching,
        };
        let start = if spec.tracks.is_empty() {
            None
        } else {
            Some(session.publish().await?)
        };
        if let Some(profile) = start.clone() {
            session.tell_connected(profile);
        }
        if spec.publishers > 0 {
            let profile = session.watch().await?;
            if start.is_none() {
                session.tell_connected(profile);
            }
        }
        Ok(session)
    }

    async fn stay(&mut self, leave: &mut LeaveSignal) -> Result<()> {
        let events = format!("{}?maxev=10", self.path);
        loop {
            tokio::select! {
                // Without such a request Janus ends the session after a minute.
                event = self.http.get(&events) => { event?; }
                event = next_event(&mut self.publishing) => over(event.as_ref())?,
                event = next_event(&mut self.watching) => over(event.as_ref())?,
                () = told_to_leave(leave) => break,
            }
        }
        // Janus may be gone already, which is where we are going.
        let _ = self
            .http
            .post(&self.path, json!({"janus": "destroy"}))
            .await;
        Ok(())
    }

    fn tell_connected(&self, profile: String) {
        // The run may have ended before.
        let _ =
            self.signals
                .events
                .send(JoinEvent::Connected(self.spec.id, Instant::now(), profile));
    }

    /// Makes the room if it is not there, and sends all tracks; gives the SRTP profile.
    async fn publish(&mut self) -> Result<String> {
        let handle = self.attach().await?;
        let room = json!({
            "request": "create", "room": self.room, "publishers": 1000, "bitrate": 0,
            "audiocodec": "opus", "videocodec": "vp8", "notify_joining": false,
            "transport_wide_cc_ext": true, "audiolevel_event": false,
        });
        // All but the first are told that it exists.
        self.request(&handle, room, None).await?;
        let socket = self.signals.open_socket()?;
        let local = socket.local.clone();
        let sections = self.sending_sections();
        let offer = sdp::write(&local, 1, "actpass", &sections);
        let join = json!({
            "request": "joinandconfigure", "ptype": "publisher", "room": self.room,
            "id": self.spec.id, "display": "load",
        });
        let answer = self
            .negotiate(&handle, join, Some(("offer", offer)))
            .await?;
        let remote = Remote::parse(&answer).context("an unusable answer")?;
        let member = self.spec.id | PUBLISHING;
        let mut events = self.signals.start_transport(
            member,
            socket,
            &remote,
            self.host,
            remote.setup != "active",
            false,
        )?;
        let profile = connected(&mut events).await?;
        self.publishing = Some(events);
        for (index, (track, section)) in self.spec.tracks.iter().zip(&sections).enumerate() {
            let agreed = remote
                .section(&section.mid)
                .context("a section is not answered")?;
            self.signals.publish(&Publish {
                owner: self.spec.id,
                sender: member,
                room: self.spec.room,
                track,
                ssrcs: &[ssrc_of(self.spec.id, index, 0)],
                mid: &section.mid,
                ids: agreed.ids,
                payload_types: section.payload_types,
            });
        }
        Ok(profile)
    }

    fn sending_sections(&self) -> Vec<Section> {
        let tracks = self.spec.tracks.iter().enumerate();
        tracks
            .map(|(index, track)| {
                let kind = match track.content {
                    Content::Audio(_) => Kind::Audio,
                    Content::Video(_) => Kind::Video,
                };
                let ssrcs = vec![ssrc_of(self.spec.id, index, 0)];
                let sending = Sending {
                    cid: format!("load-{index}"),
                    ssrcs,
                };
                let mut section = Section::offered(kind, index, Some(sending));
                section.payload_types.1 = 0;
                section
            })
            .collect()
    }

    /// Subscribes to everyone else who publishes; gives the SRTP profile.
    async fn watch(&mut self) -> Result<String> {
        let handle = self.attach().await?;
        let feeds = self.wait_for_feeds(&handle).await?;
        let streams: Vec<Value> = feeds.iter().map(|feed| json!({"feed": feed})).collect();
        let join = json!({
            "request": "join", "ptype": "subscriber", "room": self.room, "streams": streams,
        });
        let offer = self.negotiate(&handle, join, None).await?;
        let remote = Remote::parse(&offer).context("an unusable offer")?;
        let socket = self.signals.open_socket()?;
        let sections: Vec<Section> = remote
            .sections
            .iter()
            .map(|section| Section {
                kind: section.kind,
                mid: section.mid.clone(),
                direction: Direction::RecvOnly,
                sending: None,
                payload_types: section.payload_types,
                ids: section.ids,
            })
            .collect();
        let answer = sdp::write(&socket.local, 1, "active", &sections);
        let mut events =
            self.signals
                .start_transport(self.spec.id, socket, &remote, self.host, true, false)?;
        self.request(
            &handle,
            json!({"request": "start"}),
            Some(("answer", answer)),
        )
        .await?;
        let profile = connected(&mut events).await?;
        self.watching = Some(events);
        Ok(profile)
    }

    async fn wait_for_feeds(&self, handle: &str) -> Result<Vec<Value>> {
        loop {
            let list = json!({"request": "listparticipants", "room": self.room});
            let reply = self.request(handle, list, None).await?;
            let participants = reply["plugindata"]["data"]["participants"].as_array();
            let feeds: Vec<Value> = participants
                .into_iter()
                .flatten()
                .filter(|p| p["publisher"] == true && p["id"] != self.spec.id)
                .map(|p| p["id"].clone())
                .collect();
            if feeds.len() >= self.spec.publishers as usize {
                return Ok(feeds);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    async fn attach(&self) -> Result<String> {
        let attach = json!({"janus": "attach", "plugin": "janus.plugin.videoroom"});
        let attached = self.http.post(&self.path, attach).await?;
        Ok(format!("{}/{}", self.path, attached["data"]["id"]))
    }

    async fn request(
        &self,
        handle: &str,
        body: Value,
        description: Option<(&str, String)>,
    ) -> Result<Value> {
        let mut message = json!({"janus": "message", "body": body});
        if let Some((kind, sdp)) = description {
            message["jsep"] = json!({"type": kind, "sdp": sdp, "trickle": false});
        }
        self.http.post(handle, message).await
    }

    /// A request whose reply with a description comes as an event.
    async fn negotiate(
        &self,
        handle: &str,
        body: Value,
        description: Option<(&str, String)>,
    ) -> Result<String> {
        self.request(handle, body, description).await?;
        loop {
            let event = self.http.get(&format!("{}?maxev=1", self.path)).await?;
            let data = &event["plugindata"]["data"];
            if let Some(error) = data["error"].as_str() {
                bail!("Janus refuses: {error}");
            }
            let is_ours = handle.ends_with(&format!("/{}", event["sender"]));
            if let (true, Some(sdp)) = (is_ours, event["jsep"]["sdp"].as_str()) {
                return Ok(sdp.to_owned());
            }
        }
    }
}

/// Waits for the end of the handshakes.
async fn connected(events: &mut mpsc::UnboundedReceiver<MemberEvent>) -> Result<String> {
    match events.recv().await {
        Some(MemberEvent::Connected(profile)) => Ok(profile),
        Some(MemberEvent::Failed(reason)) => bail!(reason),
        None => bail!("the transport is gone"),
    }
}

fn over(event: Option<&MemberEvent>) -> Result<()> {
    match event {
        Some(&MemberEvent::Failed(reason)) => bail!(reason),
        Some(MemberEvent::Connected(_)) => Ok(()),
        None => bail!("the transport is gone"),
    }
}

/// Requests of HTTP/1.0, a connection for each: Janus holds one open for events anyway.
struct Http {
    authority: String,
}

impl Http {
    fn new(url: &str) -> Result<Self> {
        let rest = url
            .strip_prefix("http://")
            .context("Janus is reached by http://")?;
        let authority = rest.split('/').next().unwrap_or(rest).to_owned();
        Ok(Self { authority })
    }

    async fn post(&self, path: &str, mut body: Value) -> Result<Value> {
        body["transaction"] = json!("load");
        let body = body.to_string();
        let head = format!(
            "Content-Type: application/json\r\nContent-Length: {}\r\n",
            body.len()
        );
        let reply = self.send("POST", path, &head, &body).await?;
        ensure!(
            reply["janus"] != "error",
            "Janus says: {}",
            reply["error"]["reason"]
        );
        Ok(reply)
    }

    async fn get(&self, path: &str) -> Result<Value> {
        let reply = self.send("GET", path, "", "").await?;
        // Several events may come as a list; only the first can be the one waited for.
        Ok(reply
            .as_array()
            .and_then(|list| list.first().cloned())
            .unwrap_or(reply))
    }

    async fn send(&self, method: &str, path: &str, head: &str, body: &str) -> Result<Value> {
        let mut stream = TcpStream::connect(&self.authority)
            .await
            .context("reaching Janus")?;
        let host = &self.authority;
        // Version 1.0: the reply ends with the connection and is not cut into chunks.
        let request = format!("{method} {path} HTTP/1.0\r\nHost: {host}\r\n{head}\r\n{body}");
        stream.write_all(request.as_bytes()).await?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).await?;
        parse_reply(&reply)
    }
}

fn parse_reply(reply: &[u8]) -> Result<Value> {
    let text = std::str::from_utf8(reply).context("a reply that is no text")?;
    let (head, body) = text
        .split_once("\r\n\r\n")
        .context("a reply without a body")?;
    let status = head.lines().next().unwrap_or_default();
    ensure!(
        status.split(' ').nth(1) == Some("200"),
        "Janus replies {status}"
    );
    serde_json::from_str(body).context("a reply that is no JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_its_body_and_an_error_is_its_status() {
        let reply = parse_reply(b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n{\"janus\":\"ack\"}");
        assert_eq!(reply.expect("good")["janus"], "ack");
        let error = parse_reply(b"HTTP/1.1 404 Not Found\r\n\r\n").expect_err("bad");
        assert_eq!(error.to_string(), "Janus replies HTTP/1.1 404 Not Found");
        assert!(parse_reply(b"HTTP/1.1 200 OK").is_err());
    }

    #[test]
    fn only_plain_http_is_spoken() {
        assert_eq!(
            Http::new("http://127.0.0.2:8088/x")
                .expect("good")
                .authority,
            "127.0.0.2:8088"
        );
        assert!(Http::new("ws://127.0.0.2:8088").is_err());
    }
}
