//! WHIP (RFC 9725): the door for encoders and medical devices, which publish over plain HTTP.
//!
//! `POST /whip` with an offer and a room token makes a participant like any other, whose session is a
//! resource that it may change (`PATCH`) and end (`DELETE`). The way in is that of a join: the same
//! checks in the same order, and the room negotiates as it does with everybody. An encoder receives
//! nothing, so whatever else its token grants is left out. No body is read before the token has been
//! found good.

mod announce;
mod problem;
mod sessions;

use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, to_bytes};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{patch, post};
use axum::{Extension, Router};
use tokio::time::timeout;
use tower_http::cors::{AllowHeaders, Any, CorsLayer};

use self::announce::Asked;
use self::problem::Problem;
pub use self::sessions::Sessions;
use self::sessions::{Holder, Opened, Session};
use super::{Caller, Front, rtc};
use crate::error::ApiError;
use crate::metrics::Count;
use crate::room::outlet::Outlet;
use crate::room::participant::{Connections, Hello};
use crate::room::permissions::Permissions;
use crate::sdp::{Fragment, Offer, fragment};
use crate::token::{TokenError, Verified};
use crate::wire::proto::{ClientInfo, IceServer};

const SDP: &str = "application/sdp";
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";
/// What LiveKit calls participants that are no people but devices.
const KIND: &str = "ingress";

/// The addresses under `/whip`.
pub(super) fn routes() -> Router<Arc<Front>> {
    // A wildcard does not stand for `Authorization` (Fetch, section 3.3.5), so they are repeated.
    let cors = CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::POST, Method::PATCH, Method::DELETE, Method::OPTIONS])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([
            header::LOCATION,
            header::ETAG,
            header::LINK,
            header::RETRY_AFTER,
            HeaderName::from_static("accept-patch"),
        ]);
    let resource = patch(change).delete(end);
    Router::new()
        .route("/whip", post(publish).fallback(only_post))
        .route("/whip/{room}", post(publish).fallback(only_post))
        .route("/whip/session/{id}", resource.fallback(only_change))
        .layer(cors)
        .layer(map_response(say_what_is_taken))
}

/// Whoever asks with OPTIONS is told what can be sent (RFC 9725 section 4.2).
async fn say_what_is_taken(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let (post, patch) = (
        HeaderName::from_static("accept-post"),
        HeaderName::from_static("accept-patch"),
    );
    headers.insert(post, HeaderValue::from_static(SDP));
    headers.insert(patch, HeaderValue::from_static(FRAGMENT));
    response
}

async fn only_post() -> Response {
    not_allowed("POST, OPTIONS", "only POST with an offer is answered here")
}

async fn only_change() -> Response {
    let why = "only PATCH and DELETE are answered here";
    not_allowed("PATCH, DELETE, OPTIONS", why)
}

fn not_allowed(allowed: &'static str, why: &str) -> Response {
    let mut response = Problem::new(StatusCode::METHOD_NOT_ALLOWED, why).into_response();
    let allowed = HeaderValue::from_static(allowed);
    response.headers_mut().insert(header::ALLOW, allowed);
    response
}

/// The way of an encoder into its room.
async fn publish(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    room: Result<Option<Path<String>>, PathRejection>,
    asked: Result<Query<Asked>, QueryRejection>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let opened = async {
        let room = room.map_err(|_| ApiError::BadRequest("the name of the room is no text"))?;
        let room = room.as_ref().map(|Path(room)| room.as_str());
        let verified = rtc::admit_to(&front, &caller, &parts.headers, room)?;
        let Query(asked) = asked.map_err(|_| ApiError::BadRequest("label or source"))?;
        open(&front, &parts, body, verified, &asked).await
    };
    match opened.await {
        Ok(opened) => {
            front.metrics.count(Count::WhipSessions);
            Ok(created(opened))
        }
        Err(problem) => {
            front.metrics.count(Count::JoinsRefused);
            Err(problem)
        }
    }
}

async fn open(
    front: &Arc<Front>,
    parts: &Parts,
    body: Body,
    mut verified: Verified,
    asked: &Asked,
) -> Result<Opened, Problem> {
    let limits = &front.config.limits;
    let registry = front.rooms()?;
    let video = &mut verified.grants.video;
    if !video.may_publish() {
        return Err(ApiError::NotGranted("canPublish").into());
    }
    asked.check(limits)?;
    expect_type(&parts.headers, SDP)?;
    expect_to_be_read(&parts.headers)?;
    // A device that only sends must not be able to do more, whoever gets hold of its token.
    video.can_subscribe = Some(false);
    video.can_publish_data = Some(false);
    video.can_update_own_metadata = Some(false);
    let permissions = Permissions::from_grant(video, &verified.grants.kind);
    let offer = Offer::parse(&read(front, body).await?, limits)?;
    let tracks = asked.tracks(&offer, &permissions)?;
    let token = rtc::bearer(&parts.headers).ok_or(TokenError::Missing)?;
    let holder = Holder::new(token, &verified);
    let mut grants = verified.grants;
    if grants.kind.is_empty() {
        KIND.clone_into(&mut grants.kind);
    }
    let room = grants.video.room.clone();
    let hello = Hello {
        grants,
        api_key: verified.key.clone(),
        token_expires_at: verified.expires_at,
        client: ClientInfo::default(),
        connections: Connections::One,
        is_automatic: false,
        may_pause: false,
        tracks,
        offer: Some((offer.clone(), 1)),
        outlet: Outlet::new(limits.outgoing_queue_bytes_max),
        host: rtc::host(&parts.headers),
    };
    let seat = registry.join(&room, hello).await?;
    front.confirm(token, &verified.key).await?;
    front.whip.open(&front.metrics, holder, offer, seat).await
}

fn created(opened: Opened) -> Response {
    let mut response = (StatusCode::CREATED, opened.sdp).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(SDP));
    let location = format!("/whip/session/{}", opened.id);
    headers.insert(header::LOCATION, ours(&location));
    headers.insert(header::ETAG, ours(&quoted(&opened.tag)));
    for link in opened.ice_servers.iter().flat_map(links) {
        headers.append(header::LINK, link);
    }
    response
}

/// A relay in the form of RFC 9725 section 4.6, one for each of its addresses.
fn links(server: &IceServer) -> impl Iterator<Item = HeaderValue> {
    let IceServer {
        username,
        credential,
        ..
    } = server;
    let links = server.urls.iter().map(move |url| match username.as_str() {
        "" => format!("<{url}>; rel=\"ice-server\""),
        _ => format!(
            "<{url}>; rel=\"ice-server\"; username=\"{username}\"; credential=\"{credential}\"; \
             credential-type=\"password\""
        ),
    });
    links.filter_map(|link| HeaderValue::from_str(&link).ok())
}

/// A header whose signs are our own.
fn ours(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("letters and digits")
}

fn quoted(tag: &str) -> String {
    format!("\"{tag}\"")
}

/// More candidates, or fresh credentials for a restart of ICE.
async fn change(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let session = find(&front, &caller, &parts.headers, &id)?;
    expect_type(&parts.headers, FRAGMENT)?;
    let generation = Generation::of(&parts.headers)?;
    let fragment = Fragment::parse(&read(&front, body).await?, &front.config.limits)?;
    let mut live = session.now()?;
    if !generation.includes(&live.tag) {
        let why = "If-Match names another generation of ICE than the present one";
        return Err(Problem::new(StatusCode::PRECONDITION_FAILED, why));
    }
    let Some(ice) = fragment.fresh(&live.offer.ice)? else {
        // A lite agent has no use for candidates (RFC 8445 section 2.5).
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let answer = session.restart(&mut live, ice).await?;
    front.metrics.count(Count::WhipRestarts);
    let kind = HeaderValue::from_static(FRAGMENT);
    let tag = ours(&quoted(&live.tag));
    let headers = [(header::CONTENT_TYPE, kind), (header::ETAG, tag)];
    Ok((headers, fragment::of_answer(&answer)).into_response())
}

async fn end(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    find(&front, &caller, &headers, &id)?.end().await;
    Ok(StatusCode::OK)
}

/// The session of a caller who may have it. Everybody else is told the same.
fn find(
    front: &Front,
    caller: &Caller,
    headers: &HeaderMap,
    id: &str,
) -> Result<Arc<Session>, Problem> {
    front
        .addresses
        .join(Instant::now(), caller.address)
        .map_err(Problem::from)?;
    let token = rtc::bearer(headers).ok_or(TokenError::Missing)?;
    let session = front.whip.find(id);
    if let Some(session) = session.as_ref().filter(|one| one.holder().is_by(token)) {
        return Ok(Arc::clone(session));
    }
    let verified = front.keyring.verify(token)?;
    let holder = Holder::new(token, &verified);
    let may =
        |one: &Arc<Session>| one.holder().is(&holder) && is_good_for_joining(front, &verified);
    session.filter(may).ok_or_else(Problem::no_session)
}

fn is_good_for_joining(front: &Front, verified: &Verified) -> bool {
    let room = verified.grants.room_to_join(None);
    let registry = front.registry.get();
    room.is_ok_and(|room| {
        registry.is_some_and(|registry| !registry.revocations().covers(room, verified))
    })
}

/// Which generation of ICE a change is for.
enum Generation {
    Any,
    Named(String),
}

impl Generation {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let named = headers.get(header::IF_MATCH).ok_or_else(|| {
            let why = "If-Match is missing: the ETag of the session, or * for a restart";
            Problem::new(StatusCode::PRECONDITION_REQUIRED, why)
        })?;
        // RFC 9725 section 4.3.3 writes the asterisk with and without quotes.
        Ok(match named.to_str().unwrap_or_default().trim() {
            "*" | "\"*\"" => Self::Any,
            tag => Self::Named(tag.to_owned()),
        })
    }

    fn includes(&self, tag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Named(named) => *named == quoted(tag),
        }
    }
}

fn expect_type(headers: &HeaderMap, wanted: &'static str) -> Result<(), Problem> {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    match kind.eq_ignore_ascii_case(wanted) {
        true => Ok(()),
        false => {
            let why = format!("the content type must be {wanted}");
            Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, &why))
        }
    }
}

/// Whether whoever asks takes what is answered; who says nothing takes it.
fn expect_to_be_read(headers: &HeaderMap) -> Result<(), Problem> {
    let taken = headers.get_all(header::ACCEPT).iter();
    let taken = taken.flat_map(|kinds| kinds.to_str().unwrap_or_default().split(','));
    let taken = taken.map(|kind| kind.split(';').next().unwrap_or_default().trim());
    let mut taken = taken.filter(|kind| !kind.is_empty()).peekable();
    let fits = |kind: &str| {
        ["*/*", "application/*", SDP]
            .iter()
            .any(|one| kind.eq_ignore_ascii_case(one))
    };
    match taken.peek().is_none() || taken.any(fits) {
        true => Ok(()),
        false => {
            let why = "the answer is application/sdp, which Accept does not name";
            Err(Problem::new(StatusCode::NOT_ACCEPTABLE, why))
        }
    }
}

/// The body of a request, within bounds of size and time.
async fn read(front: &Front, body: Body) -> Result<String, Problem> {
    let limits = &front.config.limits;
    let reading = to_bytes(body, limits.whip_body_bytes_max);
    let bytes = timeout(limits.request_head_timeout, reading).await;
    let bytes = bytes
        .map_err(|_| Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"))?;
    let bytes = bytes.map_err(|_| Problem::too_large("limits.whip_body_bytes_max"))?;
    String::from_utf8(bytes.into())
        .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "the body is no text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn relays_become_links_and_nothing_can_break_out_of_them() {
        let server = |username: &str| IceServer {
            urls: vec!["turns:clinic.example:443?transport=tcp".into()],
            username: username.into(),
            credential: "c".into(),
        };
        let link: Vec<HeaderValue> = links(&server("u")).collect();
        assert_eq!(
            link,
            [
                "<turns:clinic.example:443?transport=tcp>; rel=\"ice-server\"; username=\"u\"; \
              credential=\"c\"; credential-type=\"password\""
            ]
        );
        assert_eq!(links(&server("u\r\nSet-Cookie: x")).count(), 0);
    }

    #[test]
    fn a_generation_is_named_or_any() {
        let includes = |value| {
            let generation = Generation::of(&headers(header::IF_MATCH, value));
            generation.is_ok_and(|one| one.includes("abc"))
        };
        assert!(includes("*") && includes("\"*\"") && includes("\"abc\""));
        assert!(!includes("abc") && !includes("W/\"abc\"") && !includes("\"abd\""));
        assert!(Generation::of(&HeaderMap::new()).is_err());
    }

    #[test]
    fn an_answer_that_nobody_reads_is_not_made() {
        let reads = |value| expect_to_be_read(&headers(header::ACCEPT, value)).is_ok();
        assert!(reads("*/*") && reads("text/html, application/sdp;q=0.5") && reads(""));
        assert!(!reads("text/html") && !reads("application/json"));
        assert!(expect_to_be_read(&HeaderMap::new()).is_ok());
    }
}
