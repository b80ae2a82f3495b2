//! The server API from outside, on a running server: JSON and protobuf, every refusal with its code.

mod server;

use std::time::Duration;

use prost::Message;
use reqwest::Response;
use serde_json::{Value, json};
use signaling::config::{DEV_KEY, Limits, SignalingConfig};
use signaling::token::{Consilium, Grants, Keyring, VideoGrant};
use signaling::wire::proto::{ListEgressRequest, ListEgressResponse, StopEgressRequest};

use self::server::Server;

impl Server {
    async fn post(&self, path: &str, kind: &str, token: &str, body: Vec<u8>) -> Response {
        let request = self
            .client
            .post(format!("{}{path}", self.base))
            .header("content-type", kind)
            .header("authorization", format!("Bearer {token}"))
            .body(body);
        request.send().await.expect("answered")
    }

    /// Status and code of a call in JSON.
    async fn refusal(&self, method: &str, token: &str, body: &Value) -> (u16, String) {
        let path = format!("/twirp/{method}");
        let body = body.to_string().into_bytes();
        code(self.post(&path, "application/json", token, body).await).await
    }
}

async fn code(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/json");
    let body = response.bytes().await.expect("whole");
    let body: Value = serde_json::from_slice(&body).expect("a refusal is JSON");
    assert!(body["msg"].as_str().is_some_and(|text| !text.is_empty()));
    assert!(body["meta"].is_object());
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

fn token(room: &str, may_record: Option<bool>) -> String {
    mint(&Grants {
        video: VideoGrant {
            room: room.into(),
            room_record: may_record,
            ..VideoGrant::default()
        },
        ..Grants::default()
    })
}

fn mint(grants: &Grants) -> String {
    let config = SignalingConfig::dev();
    let keyring = Keyring::new(&config.keys, &config.limits);
    keyring
        .mint(DEV_KEY, grants, Duration::from_secs(60))
        .expect("the development key")
}

fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_refusal_has_the_code_that_the_sdks_read() {
    let server = Server::start(Limits::default()).await;
    let good = token("", Some(true));
    let room = json!({"roomName": "nowhere"});
    let start = "livekit.Egress/StartRoomCompositeEgress";
    let table = [
        (start, good.as_str(), room.clone(), is(404, "not_found")),
        (start, &good, json!({}), is(400, "invalid_argument")),
        (
            start,
            &good,
            json!({"roomName": "r", "streamOutputs": [{"urls": ["rtmp://x"]}]}),
            is(501, "unimplemented"),
        ),
        (start, "nonsense", room.clone(), is(401, "unauthenticated")),
        (
            start,
            &token("", None),
            room.clone(),
            is(403, "permission_denied"),
        ),
        (
            start,
            &token("elsewhere", Some(true)),
            room.clone(),
            is(403, "permission_denied"),
        ),
        (
            "livekit.Egress/StopEgress",
            &good,
            json!({"egressId": "EG_x"}),
            is(404, "not_found"),
        ),
        (
            "livekit.Egress/UpdateLayout",
            &good,
            json!({}),
            is(501, "unimplemented"),
        ),
        (
            "livekit.Egress/UpdateStream",
            &good,
            json!({}),
            is(501, "unimplemented"),
        ),
        (
            "livekit.Egress/StartWebEgress",
            &good,
            json!({}),
            is(501, "unimplemented"),
        ),
        (
            "livekit.Egress/Nonsense",
            &good,
            json!({}),
            is(404, "bad_route"),
        ),
        (
            "livekit.SIP/CreateSIPTrunk",
            &good,
            json!({}),
            is(501, "unimplemented"),
        ),
        (
            "livekit.Nonsense/Call",
            &good,
            json!({}),
            is(404, "bad_route"),
        ),
    ];
    for (method, token, body, expected) in table {
        assert_eq!(
            server.refusal(method, token, &body).await,
            expected,
            "{method}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_and_protobuf_are_answered_in_kind() {
    let server = Server::start(Limits::default()).await;
    let good = token("", Some(true));
    let list = "/twirp/livekit.Egress/ListEgress";
    let json = "application/json;charset=UTF-8";
    for body in [
        r#"{"active":true}"#,
        r#"{"room_name":"r"}"#,
        r#"{"later":1}"#,
    ] {
        let answer = server.post(list, json, &good, body.into()).await;
        assert_eq!(answer.status(), 200, "{body}");
        assert_eq!(answer.headers()["content-type"], "application/json");
        assert_eq!(answer.headers()["access-control-allow-origin"], "*");
        assert_eq!(answer.text().await.expect("whole"), "{}");
    }
    let asked = ListEgressRequest::default().encode_to_vec();
    let answer = server
        .post(list, "application/protobuf", &good, asked)
        .await;
    assert_eq!(answer.headers()["content-type"], "application/protobuf");
    let bytes = answer.bytes().await.expect("whole");
    let listed = ListEgressResponse::decode(bytes).expect("protobuf");
    assert!(listed.items.is_empty());
    // A refusal is JSON whatever was asked in.
    let stop = StopEgressRequest {
        egress_id: "EG_x".into(),
    };
    let path = "/twirp/livekit.Egress/StopEgress";
    let refused = server.post(path, "application/protobuf", &good, stop.encode_to_vec());
    assert_eq!(code(refused.await).await, is(404, "not_found"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_parse_or_is_too_large_is_refused() {
    let server = Server::start(Limits::default()).await;
    let good = token("", Some(true));
    let list = "/twirp/livekit.Egress/ListEgress";
    for (kind, body, expected) in [
        ("application/json", vec![b'{'; 10], is(400, "malformed")),
        (
            "application/json",
            vec![b'['; 200_000],
            is(400, "malformed"),
        ),
        ("application/protobuf", vec![0xff; 10], is(400, "malformed")),
        (
            "application/json",
            vec![b' '; 300_000],
            is(400, "invalid_argument"),
        ),
        ("text/plain", b"{}".to_vec(), is(404, "bad_route")),
    ] {
        let refused = server.post(list, kind, &good, body).await;
        assert_eq!(code(refused).await, expected, "{kind}");
    }
    let url = format!("{}{list}", server.base);
    let refused = server.client.get(url).send().await.expect("answered");
    assert_eq!(code(refused).await, is(404, "bad_route"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_archive_opens_for_its_role_only() {
    let server = Server::start(Limits::default()).await;
    let officer = |role: &str| {
        mint(&Grants {
            identity: "chen".into(),
            consilium: Consilium { role: role.into() },
            video: VideoGrant {
                room_admin: Some(true),
                room_record: Some(true),
                ..VideoGrant::default()
            },
            ..Grants::default()
        })
    };
    let url = format!("{}/compliance/api/v1/recordings", server.base);
    for (token, status) in [
        (None, 401),
        (Some(officer("")), 403),
        (Some(officer("doctor")), 403),
        // The role is right; this server has no archive.
        (Some(officer("compliance")), 404),
    ] {
        let mut request = server.client.get(&url);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let answer = request.send().await.expect("answered");
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers()["cache-control"], "no-store");
        let body: Value = answer
            .bytes()
            .await
            .map(|bytes| serde_json::from_slice(&bytes).expect("JSON"))
            .expect("whole");
        assert!(body["message"].as_str().is_some(), "{body}");
    }
}
