//! Joining: the upgrade at `/rtc/v1` for clients with one connection and at `/rtc` for those with two,
//! and `/rtc/v1/validate` and `/rtc/validate`, which say whether a token may join.
//!
//! Every refusal has its status before the connection is upgraded. Browsers see no status of a failed
//! upgrade, so the SDKs ask the second address and show its sentence. A page of any origin may ask:
//! whoever holds a token may use it, and there are no cookies.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use serde::Deserialize;
use tower_http::cors::{Any, CorsLayer};

use super::options::Options;
use super::{Caller, Front};
use crate::error::ApiError;
use crate::metrics::Count;
use crate::room::participant::Connections;
use crate::session::negotiate::{back, hello, read_join_request};
#[cfg(feature = "test-modes")]
use crate::session::scripted;
use crate::session::{Session, send_away};
use crate::tcp;
#[cfg(feature = "test-modes")]
use crate::token::Grants;
use crate::token::{TokenError, Verified};

/// The addresses under `/rtc`.
pub(super) fn routes() -> Router<Arc<Front>> {
    let cors = CorsLayer::new()
        .allow_origin(Any)
        .allow_methods(Any)
        .allow_headers(Any);
    Router::new()
        .route("/rtc/validate", get(validate))
        .route("/rtc/v1/validate", get(validate))
        .layer(cors)
        .route("/rtc/v1", get(join))
        .route("/rtc", get(join_with_two))
}

/// What a session reads at a time. The buffer is kept for the session's life and filled with zeros
/// before every read: the library's 128 KB are twice what a participant's media takes, and cost more
/// time than a ping itself. A long offer is put together from several reads.
const READ_BUFFER_BYTES: usize = 4 << 10;

/// What a join is asked with; everything else in the query is for the session.
#[derive(Deserialize)]
struct Asked {
    access_token: Option<String>,
    room: Option<String>,
    join_request: Option<String>,
}

/// How the address of a join says what is wanted.
enum Form {
    /// By a join request, for one connection.
    Request,
    /// By these parameters, for two.
    Options(Box<Options>),
}

async fn join(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    enter(front, caller, (asked, Form::Request), headers, upgrade).await
}

async fn join_with_two(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    Query(asked): Query<Asked>,
    Query(options): Query<Options>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    // The protocol's own server takes a join request here, too.
    let form = match asked.join_request {
        Some(_) => Form::Request,
        None => Form::Options(Box::new(options)),
    };
    enter(front, caller, (asked, form), headers, upgrade).await
}

/// The way of a join: everything is checked, the room has said yes, then the connection is upgraded.
async fn enter(
    front: Arc<Front>,
    caller: Caller,
    (asked, form): (Asked, Form),
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let upgrade = upgrade.map_err(|_| ApiError::NotFound)?;
    let bytes_max = front.config.limits.signal_message_bytes_max;
    let upgrade = upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .max_message_size(bytes_max)
        .max_frame_size(bytes_max);
    match seat(&front, &caller, (&asked, form), &headers).await {
        Ok(place) => Ok(upgrade.on_upgrade(move |socket| async move {
            let _on_the_books = caller;
            match place {
                Place::Taken(session) => session.run(socket).await,
                Place::Lost => send_away(socket, &front.config.limits).await,
                #[cfg(feature = "test-modes")]
                Place::Scripted(script, grants, is_reconnect) => {
                    script.run(socket, *grants, is_reconnect).await;
                }
            }
        })),
        Err(error) => {
            front.metrics.count(Count::JoinsRefused);
            Err(error)
        }
    }
}

/// What a caller who may come in gets.
enum Place {
    /// A seat in its room.
    Taken(Box<Session>),
    /// It wants an old seat back, and there is none.
    Lost,
    /// A session by script.
    #[cfg(feature = "test-modes")]
    Scripted(scripted::Script, Box<Grants>, bool),
}

/// Finds the caller a place in its room.
async fn seat(
    front: &Front,
    caller: &Caller,
    (asked, form): (&Asked, Form),
    headers: &HeaderMap,
) -> Result<Place, ApiError> {
    let mut verified = admit(front, caller, asked, headers)?;
    let registry = front.rooms()?;
    let limits = &front.config.limits;
    let (request, connections) = match form {
        Form::Request => {
            let text = asked.join_request.as_deref();
            let text = text.ok_or(ApiError::BadRequest("there is no join request"))?;
            (read_join_request(text, limits)?, Connections::One)
        }
        Form::Options(options) => {
            options.narrow(&mut verified, limits)?;
            (options.join_request()?, Connections::Two)
        }
    };
    #[cfg(feature = "test-modes")]
    if let Some(script) = scripted::script(&verified.grants) {
        let grants = Box::new(verified.grants);
        return Ok(Place::Scripted(script, grants, request.reconnect));
    }
    let room = verified
        .grants
        .room_to_join(asked.room.as_deref())?
        .to_owned();
    let seat = if request.reconnect {
        let mut back = back(&verified, request, limits);
        back.host = host(headers);
        match registry.resume(&room, back).await {
            Some(seat) => seat,
            None => return Ok(Place::Lost),
        }
    } else {
        let mut hello = hello(verified.clone(), request, connections, limits)?;
        hello.host = host(headers);
        registry.join(&room, hello).await?
    };
    front.confirm(token(asked, headers)?, &verified.key).await?;
    Ok(Place::Taken(Box::new(Session {
        config: Arc::clone(&front.config),
        keyring: Arc::clone(&front.keyring),
        metrics: Arc::clone(&front.metrics),
        verified,
        seat,
    })))
}

async fn validate(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Result<&'static str, ApiError> {
    let may_join = may_join(&front, &caller, &asked, &headers);
    if may_join.is_err() {
        front.metrics.count(Count::JoinsRefused);
    }
    may_join.map(|()| "success")
}

/// What a browser could not read of its failed upgrade: its token's fault, or that the room is not
/// there and nobody makes one by joining.
fn may_join(
    front: &Front,
    caller: &Caller,
    asked: &Asked,
    headers: &HeaderMap,
) -> Result<(), ApiError> {
    let verified = admit(front, caller, asked, headers)?;
    let room = verified.grants.room_to_join(asked.room.as_deref())?;
    let registry = front.registry.get();
    registry.map_or(Ok(()), |registry| registry.may_open(room))
}

/// The one place that decides whether a caller may join with the token that was brought.
fn admit(
    front: &Front,
    caller: &Caller,
    asked: &Asked,
    headers: &HeaderMap,
) -> Result<Verified, ApiError> {
    front.addresses.join(Instant::now(), caller.address)?;
    let verified = front.keyring.verify(token(asked, headers)?)?;
    let room = verified.grants.room_to_join(asked.room.as_deref())?;
    let registry = front.registry.get();
    if registry.is_some_and(|registry| registry.revocations().covers(room, &verified)) {
        return Err(TokenError::Revoked.into());
    }
    #[cfg(feature = "test-modes")]
    if let Some(script) = scripted::script(&verified.grants) {
        script.check()?;
    }
    Ok(verified)
}

fn token<'a>(asked: &'a Asked, headers: &'a HeaderMap) -> Result<&'a str, TokenError> {
    let token = bearer(headers).or(asked.access_token.as_deref());
    token.ok_or(TokenError::Missing)
}

/// The same for a caller who does not come from a browser's WebSocket: the token is in a header.
pub(super) fn admit_to(
    front: &Front,
    caller: &Caller,
    headers: &HeaderMap,
    room: Option<&str>,
) -> Result<Verified, ApiError> {
    let asked = Asked {
        access_token: None,
        room: room.map(str::to_owned),
        join_request: None,
    };
    admit(front, caller, &asked, headers)
}

/// The host that the caller reaches us as.
pub(super) fn host(headers: &HeaderMap) -> Option<String> {
    let header = headers.get(header::HOST)?.to_str().ok()?;
    tcp::host(header).map(str::to_owned)
}

/// The token of an `Authorization` header, as all SDKs but the browser's send it.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .strip_prefix("Bearer ")
}
