//! WHIP from outside, on a running server: what an encoder is answered, and what it gets nowhere with.
//!
//! Media flow in the end-to-end tests, with encoders that are not ours.

mod server;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;
use signaling::config::{DEV_KEY, Limits, Secret, SignalingConfig};
use signaling::error::ConfigError;
use signaling::token::{Grants, Keyring, VideoGrant};

use self::server::Server;

const SDP: &str = "application/sdp";
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

impl Server {
    fn ask(&self, method: Method, path: &str, token: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        match token {
            "" => request,
            token => request.bearer_auth(token),
        }
    }

    fn post(&self, path: &str, token: &str, sdp: &str) -> RequestBuilder {
        let request = self.ask(Method::POST, path, token);
        request.header("content-type", SDP).body(sdp.to_owned())
    }

    fn patch(&self, path: &str, token: &str, tag: &str, fragment: &str) -> RequestBuilder {
        let request = self.ask(Method::PATCH, path, token);
        let request = request.header("content-type", FRAGMENT);
        request.header("if-match", tag).body(fragment.to_owned())
    }

    async fn publish(&self, identity: &str) -> Session {
        let answer = send(self.post(
            "/whip/consult?label=otoscope",
            &token(identity),
            &offer(VP8_OPUS),
        ));
        let answer = answer.await;
        assert_eq!(answer.status(), 201);
        assert_eq!(header(&answer, "content-type"), SDP);
        assert_eq!(header(&answer, "access-control-allow-origin"), "*");
        Session {
            path: header(&answer, "location"),
            tag: header(&answer, "etag"),
            sdp: answer.text().await.expect("whole"),
        }
    }

    async fn people(&self) -> Vec<Value> {
        let grants = Grants {
            video: VideoGrant {
                room: "consult".into(),
                room_admin: Some(true),
                ..VideoGrant::default()
            },
            ..Grants::default()
        };
        let path = "/twirp/livekit.RoomService/ListParticipants";
        let request = self.ask(Method::POST, path, &mint(&grants));
        let request = request
            .header("content-type", "application/json")
            .body(r#"{"room":"consult"}"#);
        let answer = send(request).await.bytes().await.expect("whole");
        let answer: Value = serde_json::from_slice(&answer).expect("JSON");
        answer["participants"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    }

    async fn metric(&self, name: &str) -> String {
        let page = send(self.ask(Method::GET, "/metrics", "")).await;
        let page = page.text().await.expect("whole");
        let name = format!("consilium_{name} ");
        let line = page.lines().find_map(|line| line.strip_prefix(&name));
        line.expect("the number is there").to_owned()
    }
}

struct Session {
    path: String,
    tag: String,
    sdp: String,
}

async fn send(request: RequestBuilder) -> Response {
    request.send().await.expect("answered")
}

fn header(answer: &Response, name: &str) -> String {
    let value = answer.headers().get(name);
    let value = value.unwrap_or_else(|| panic!("{name} is missing"));
    value.to_str().expect("plain").to_owned()
}

/// The status of a refusal, once its form has been found right, and its sentence.
async fn refusal(request: RequestBuilder) -> (u16, String) {
    let answer = send(request).await;
    let status = answer.status().as_u16();
    assert_eq!(header(&answer, "content-type"), "application/problem+json");
    assert_eq!(header(&answer, "access-control-allow-origin"), "*");
    let body = answer.bytes().await.expect("whole");
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(body["status"], status);
    (status, body["detail"].as_str().expect("words").to_owned())
}

async fn status(request: RequestBuilder) -> u16 {
    refusal(request).await.0
}

fn mint(grants: &Grants) -> String {
    let config = SignalingConfig::dev();
    let keyring = Keyring::new(&config.keys, &config.limits);
    let token = keyring.mint(DEV_KEY, grants, Duration::from_secs(60));
    token.expect("the development key")
}

fn token(identity: &str) -> String {
    token_with(identity, |_| {})
}

fn token_with(identity: &str, change: impl FnOnce(&mut Grants)) -> String {
    let mut grants = Grants {
        identity: identity.into(),
        video: VideoGrant {
            room: "consult".into(),
            room_join: Some(true),
            ..VideoGrant::default()
        },
        ..Grants::default()
    };
    change(&mut grants);
    mint(&grants)
}

const VP8: &str = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=rtpmap:96 VP8/90000\r\n";
const OPUS: &str = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=rtpmap:111 opus/48000/2\r\n";
const AV1: &str = "m=video 9 UDP/TLS/RTP/SAVPF 45\r\na=rtpmap:45 AV1X/90000\r\n";
const VP8_OPUS: &[&str] = &[VP8, OPUS];
const PASSWORD: &str = "abcdefghijklmnopqrstuv";

fn offer(media: &[&str]) -> String {
    let mut text = String::from("v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n");
    for (mid, media) in media.iter().enumerate() {
        text += &format!(
            "{media}a=mid:{mid}\r\na=rtcp-mux\r\na=sendonly\r\na=ice-ufrag:abcd\r\n\
             a=ice-pwd:{PASSWORD}\r\na=fingerprint:sha-256 {}\r\na=setup:actpass\r\n",
            ["AB"; 32].join(":")
        );
    }
    text
}

fn credentials(ufrag: &str) -> String {
    format!("a=ice-ufrag:{ufrag}\r\na=ice-pwd:{PASSWORD}\r\n")
}

fn line<'a>(text: &'a str, start: &str) -> &'a str {
    let line = text.lines().find(|line| line.starts_with(start));
    line.unwrap_or_else(|| panic!("{start} is missing in {text}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encoder_is_a_participant_until_it_ends_its_session() {
    let server = Server::start(Limits::default()).await;
    let session = server.publish("scope").await;
    assert_eq!(session.sdp.matches("a=recvonly").count(), 2);
    line(&session.sdp, "a=candidate:");
    line(&session.sdp, "a=ice-lite");
    let people = server.people().await;
    assert_eq!(people.len(), 1);
    assert_eq!(people[0]["kind"], "INGRESS");
    let may_subscribe = &people[0]["permission"]["canSubscribe"];
    assert!(!may_subscribe.as_bool().unwrap_or(false));
    let tracks = people[0]["tracks"].as_array().expect("tracks");
    let told: Vec<_> = tracks
        .iter()
        .map(|one| (&one["name"], &one["source"], &one["mimeType"]))
        .collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told.iter().all(|(name, ..)| *name == "otoscope"),
        "{told:?}"
    );
    assert_eq!([told[0].2, told[1].2], ["video/VP8", "audio/opus"]);
    assert_eq!(server.metric("whip_sessions").await, "1");

    let ended = send(server.ask(Method::DELETE, &session.path, &token("scope"))).await;
    assert_eq!(ended.status(), 200);
    assert!(server.people().await.is_empty());
    // The books are kept by a task of their own.
    while server.metric("whip_sessions").await != "0" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let again = server.ask(Method::DELETE, &session.path, &token("scope"));
    assert_eq!(status(again).await, 404);
    assert_eq!(server.metric("whip_sessions_total").await, "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn candidates_are_taken_and_ice_is_restarted() {
    let server = Server::start(Limits::default()).await;
    let Session { path, tag, sdp } = server.publish("scope").await;
    let token = token("scope");
    let candidate = format!(
        "{}a=candidate:1 1 UDP 1 10.0.0.9 9 typ host\r\n",
        credentials("abcd")
    );
    let taken = send(server.patch(&path, &token, &tag, &candidate)).await;
    assert_eq!(taken.status(), 204);
    assert_eq!(
        status(server.patch(&path, &token, "\"other\"", &candidate)).await,
        412
    );
    let blind = server
        .ask(Method::PATCH, &path, &token)
        .header("content-type", FRAGMENT);
    assert_eq!(status(blind.body(candidate.clone())).await, 428);
    assert_eq!(
        status(server.patch(&path, &token, &tag, "hello")).await,
        400
    );
    assert_eq!(
        status(server.patch(&path, &token, &tag, "a=mid:0\r\n")).await,
        422
    );
    let plain = server
        .ask(Method::PATCH, &path, &token)
        .header("content-type", SDP);
    assert_eq!(status(plain.header("if-match", &tag).body("x")).await, 415);

    let restarted = send(server.patch(&path, &token, "*", &credentials("efgh"))).await;
    assert_eq!(restarted.status(), 200);
    assert_eq!(header(&restarted, "content-type"), FRAGMENT);
    let fresh = header(&restarted, "etag");
    assert_ne!(fresh, tag);
    let fragment = restarted.text().await.expect("whole");
    assert_ne!(line(&fragment, "a=ice-ufrag:"), line(&sdp, "a=ice-ufrag:"));
    line(&fragment, "a=candidate:");
    // Which generation a late candidate belongs to is known by its tag.
    assert_eq!(
        status(server.patch(&path, &token, &tag, &candidate)).await,
        412
    );
    let late = server.patch(&path, &token, &fresh, &credentials("efgh"));
    assert_eq!(send(late).await.status(), 204);
    assert_eq!(server.people().await.len(), 1, "nobody left or came");
    assert_eq!(server.metric("whip_restarts_total").await, "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_nobody_elses() {
    let server = Server::start(Limits::default()).await;
    let session = server.publish("scope").await;
    let absent = "/whip/session/23456789ABCDEFGHJKLMNPQR";
    let elsewhere = token_with("scope", |grants| grants.video.room = "other".into());
    for stranger in [token("other"), elsewhere] {
        for path in [session.path.as_str(), absent] {
            let ended = refusal(server.ask(Method::DELETE, path, &stranger)).await;
            assert_eq!(ended, (404, "there is no such session".into()));
            let restart = server.patch(path, &stranger, "*", &credentials("efgh"));
            assert_eq!(refusal(restart).await, ended);
        }
    }
    assert_eq!(
        status(server.ask(Method::DELETE, &session.path, "")).await,
        401
    );
    assert_eq!(
        status(server.ask(Method::DELETE, &session.path, "x.y.z")).await,
        401
    );
    assert_eq!(server.people().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_removed_has_no_session_and_no_way_back() {
    let server = Server::start(Limits::default()).await;
    let token = token("scope");
    let opened = send(server.post("/whip", &token, &offer(VP8_OPUS))).await;
    let path = header(&opened, "location");
    let admin = token_with("nurse", |grants| grants.video.room_admin = Some(true));
    let remove = server.ask(
        Method::POST,
        "/twirp/livekit.RoomService/RemoveParticipant",
        &admin,
    );
    let remove = remove
        .header("content-type", "application/json")
        .body(r#"{"room":"consult","identity":"scope"}"#);
    assert_eq!(send(remove).await.status(), 200);
    while server.metric("whip_sessions").await != "0" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(
        status(server.patch(&path, &token, "*", &credentials("efgh"))).await,
        404
    );
    let back = refusal(server.post("/whip", &token, &offer(VP8_OPUS))).await;
    assert_eq!(back.0, 401, "{back:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_came_with_a_key_that_is_taken_away_is_out_within_two_seconds() {
    let server = Server::start(Limits::default()).await;
    let dev = SignalingConfig::dev().keys;
    let ward = ("ward".to_owned(), Secret::new("w".repeat(32)));
    let mut both = dev.clone();
    both.insert(ward.0.clone(), ward.1.clone());
    assert_eq!(server.changes.take_keys(&both).await, Ok(()));
    let stays = server.publish("otoscope").await;
    let grants = Grants {
        identity: "scope".into(),
        video: VideoGrant {
            room: "consult".into(),
            room_join: Some(true),
            ..VideoGrant::default()
        },
        ..Grants::default()
    };
    let keyring = Keyring::new([(&ward.0, &ward.1)], &Limits::default());
    let theirs = keyring.mint("ward", &grants, Duration::from_secs(60));
    let theirs = theirs.expect("their own key");
    let opened = send(server.post("/whip", &theirs, &offer(VP8_OPUS))).await;
    assert_eq!(opened.status(), 201);
    let path = header(&opened, "location");
    assert_eq!(server.people().await.len(), 2);

    // Without any key nobody could join: the old ones stay.
    let refused = server.changes.take_keys(&BTreeMap::new()).await;
    assert_eq!(refused, Err(ConfigError::NoKeys));
    assert_eq!(server.people().await.len(), 2);

    let told = Instant::now();
    assert_eq!(server.changes.take_keys(&dev).await, Ok(()));
    while server.people().await.len() > 1 {
        assert!(told.elapsed() < Duration::from_secs(2), "he is still there");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(server.metric("participants_without_key_total").await, "1");
    // The room takes him out first; his session hears of it.
    while server.metric("whip_sessions").await != "1" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let ended = status(server.patch(&path, &theirs, "*", &credentials("efgh"))).await;
    assert_eq!(ended, 401);
    let back = refusal(server.post("/whip", &theirs, &offer(VP8_OPUS))).await;
    assert_eq!(back.0, 401, "{back:?}");
    let token = token("otoscope");
    let restarted = send(server.patch(&stays.path, &token, "*", &credentials("ijkl"))).await;
    assert_eq!(
        restarted.status(),
        200,
        "who came with the other key goes on"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_device_again_takes_the_place_of_the_older() {
    let server = Server::start(Limits::default()).await;
    let first = server.publish("scope").await;
    let second = server.publish("scope").await;
    assert_eq!(server.people().await.len(), 1);
    while server.metric("whip_sessions").await != "1" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let token = token("scope");
    assert_eq!(
        status(server.ask(Method::DELETE, &first.path, &token)).await,
        404
    );
    let ended = send(server.ask(Method::DELETE, &second.path, &token)).await;
    assert_eq!(ended.status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_refusal_has_its_status_and_plain_words() {
    let limits = Limits {
        whip_body_bytes_max: 4_096,
        ..Limits::default()
    };
    let server = Server::start(limits).await;
    let good = token("scope");
    let mute = token_with("scope", |grants| grants.video.can_publish = Some(false));
    let silent = token_with("scope", |grants| {
        grants.video.can_publish_sources = vec!["camera".into()];
    });
    let outside = token_with("scope", |grants| grants.video.room_join = None);
    let sent = offer(VP8_OPUS);
    let passive = sent.replace("actpass", "passive");
    let bomb = "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n".repeat(1_000);
    let sections = format!("{}{}", offer(&[]), "m=audio 9 X 0\r\n".repeat(200));
    let label = format!("/whip?label={}", "x".repeat(300));
    let table: [(&str, &str, &str, u16); 17] = [
        ("/whip", "", &sent, 401),
        ("/whip", "x.y.z", &sent, 401),
        ("/whip", &outside, &sent, 403),
        ("/whip", &mute, &sent, 403),
        ("/whip", &silent, &sent, 403),
        ("/whip/other", &good, &sent, 403),
        (&label, &good, &sent, 400),
        ("/whip?label=a%0Ab", &good, &sent, 400),
        ("/whip?source=moon", &good, &sent, 400),
        ("/whip", &good, "hello", 400),
        ("/whip", &good, "", 400),
        ("/whip", &good, &bomb, 413),
        ("/whip", &good, &sections, 422),
        ("/whip", &good, &passive, 422),
        ("/whip", &good, &offer(&[AV1]), 422),
        ("/whip", &good, &offer(&[VP8, VP8]), 422),
        (
            "/whip",
            &good,
            &sent.replace("a=sendonly", "a=recvonly"),
            422,
        ),
    ];
    for (path, token, sdp, expected) in table {
        let (status, words) = refusal(server.post(path, token, sdp)).await;
        assert_eq!(status, expected, "{path}: {words}");
        assert!(words.len() > 10 && !words.contains("otoscope"), "{words}");
    }
    let json = server.ask(Method::POST, "/whip", &good);
    let json = json.header("content-type", "application/json").body("{}");
    assert_eq!(status(json).await, 415);
    let html = server
        .post("/whip", &good, &sent)
        .header("accept", "text/html");
    assert_eq!(status(html).await, 406);
    for (method, path) in [
        (Method::GET, "/whip"),
        (Method::PUT, "/whip/consult"),
        (Method::GET, "/whip/session/x"),
    ] {
        assert_eq!(status(server.ask(method, path, &good)).await, 405, "{path}");
    }
    assert!(server.people().await.is_empty());
    assert_eq!(server.metric("whip_sessions_total").await, "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_too_often_waits_and_a_full_room_takes_nobody() {
    let server = Server::start(Limits {
        participants_per_room_max: 1,
        joins_per_address_burst_max: 3,
        joins_per_address_per_second_max: 1,
        ..Limits::default()
    })
    .await;
    server.publish("scope").await;
    let full = send(server.post("/whip", &token("camera"), &offer(VP8_OPUS))).await;
    assert_eq!(full.status(), 503);
    header(&full, "retry-after");
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(status(server.post("/whip", &token("camera"), &offer(VP8_OPUS))).await);
    }
    assert!(statuses.contains(&429), "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_any_origin_may_ask() {
    let server = Server::start(Limits::default()).await;
    for path in ["/whip", "/whip/session/x"] {
        let asked = server
            .ask(Method::OPTIONS, path, "")
            .header("origin", "https://clinic.example")
            .header("access-control-request-method", "PATCH")
            .header("access-control-request-headers", "authorization,if-match");
        let told = send(asked).await;
        assert_eq!(told.status(), 200);
        assert_eq!(
            header(&told, "access-control-allow-headers"),
            "authorization,if-match"
        );
        assert!(header(&told, "access-control-allow-methods").contains("PATCH"));
        assert_eq!(header(&told, "accept-post"), SDP);
    }
}
