//! `/rtc/validate` and `/rtc/v1/validate`: may this token join, asked before or after an upgrade.
//!
//! Browsers see no status of a failed upgrade, so the SDKs ask here and show the answer's sentence.
//! A page of any origin may ask: whoever holds a token may use it, and there are no cookies.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::routing::get;
use axum::{Extension, Router};
use serde::Deserialize;
use tower_http::cors::{Any, CorsLayer};

use super::{Caller, Front};
use crate::error::ApiError;
use crate::metrics::Count;
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
}

/// What a join is asked with; everything else in the query is for the session.
#[derive(Deserialize)]
struct Asked {
    access_token: Option<String>,
    room: Option<String>,
}

async fn validate(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Result<&'static str, ApiError> {
    let admitted = admit(&front, &caller, &asked, &headers);
    if admitted.is_err() {
        front.metrics.count(Count::JoinsRefused);
    }
    admitted.map(|_| "success")
}

/// The one place that decides whether a caller may join with the token that was brought.
fn admit(
    front: &Front,
    caller: &Caller,
    asked: &Asked,
    headers: &HeaderMap,
) -> Result<Verified, ApiError> {
    front.addresses.join(Instant::now(), caller.address)?;
    let token = bearer(headers)
        .or(asked.access_token.as_deref())
        .ok_or(TokenError::Missing)?;
    let verified = front.keyring.verify(token)?;
    verified.grants.room_to_join(asked.room.as_deref())?;
    Ok(verified)
}

/// The token of an `Authorization` header, as all SDKs but the browser's send it.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .strip_prefix("Bearer ")
}
