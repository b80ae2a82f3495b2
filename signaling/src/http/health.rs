//! Is it alive, does it take people, and what has it counted: for supervisors and Prometheus.
//!
//! The numbers say how busy a hospital is, so they are given to callers on the same host only,
//! unless the configuration opens them.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::{Caller, Front};
use crate::error::ApiError;

/// `GET /healthz`: the process answers.
pub(super) async fn alive() -> &'static str {
    "OK"
}

/// `GET /readyz`: new participants are taken.
pub(super) async fn ready(State(front): State<Arc<Front>>) -> Response {
    if front.is_ready() {
        return "OK".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, "not ready").into_response()
}

/// `GET /metrics`: every counter as text.
pub(super) async fn metrics(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, ApiError> {
    if !caller.address.to_canonical().is_loopback() && !front.config.http.public_metrics {
        return Err(ApiError::NotFound);
    }
    let figures = front.archive.as_ref().map(|archive| archive.figures());
    let connections = front.addresses.connections();
    let page = front.metrics.render(connections, figures.as_ref());
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], page).into_response())
}
