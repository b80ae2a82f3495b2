//! The router of the front door: which address answers what, and who is calling.
//!
//! Handlers live in the modules below; this one composes them, holds what they share (the
//! [`Front`]) and writes the access log, which shows the route and never the query, because
//! browsers carry the token in it.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use recorder::archive::Archive;

use crate::config::SignalingConfig;
use crate::error::ApiError;
use crate::limits::{AddressLimits, ConnectionSlot};
use crate::metrics::{Count, Metrics};
use crate::registry::Registry;
use crate::token::{Keyring, TokenError};

pub mod assets;
pub mod egress;
pub mod health;
pub mod listener;
mod options;
pub mod replay;
pub mod rooms;
pub mod rtc;
pub mod tls;
pub mod twirp;
pub mod whip;

/// What every handler of the front door shares.
pub struct Front {
    /// The configuration.
    pub config: Arc<SignalingConfig>,
    /// The keys that tokens are checked with.
    pub keyring: Arc<Keyring>,
    /// The books on addresses.
    pub addresses: AddressLimits,
    /// The numbers.
    pub metrics: Arc<Metrics>,
    /// The rooms, once the media plane runs.
    pub registry: OnceLock<Arc<Registry>>,
    /// The recordings, if this server has an archive.
    pub archive: Option<Arc<Archive>>,
    /// Verifying reads a whole recording: one at a time.
    pub verifying: tokio::sync::Mutex<()>,
    /// The sessions of encoders.
    pub whip: Arc<whip::Sessions>,
    /// The web client.
    pub assets: assets::Assets,
    is_ready: AtomicBool,
}

/// Who a request came from; an extension of every request. Whoever upgrades the connection keeps a
/// clone for as long as it lives, so that the connection stays on the books.
#[derive(Clone)]
pub struct Caller {
    /// The address at the other end.
    pub address: IpAddr,
    _slot: Arc<ConnectionSlot>,
}

impl Front {
    /// Handlers' shared state for a checked configuration.
    pub fn new(config: SignalingConfig, archive: Option<Arc<Archive>>) -> Self {
        Self {
            keyring: Arc::new(Keyring::new(&config.keys, &config.limits)),
            addresses: AddressLimits::new(&config.limits),
            metrics: Arc::default(),
            registry: OnceLock::new(),
            archive,
            verifying: tokio::sync::Mutex::new(()),
            whip: Arc::default(),
            assets: assets::Assets::embedded(),
            is_ready: AtomicBool::new(false),
            config: Arc::new(config),
        }
    }

    /// Whether new participants are taken. Set once the media plane runs; unset while stopping.
    pub fn set_ready(&self, is_ready: bool) {
        self.is_ready.store(is_ready, Ordering::Release);
    }

    /// Whether new participants are taken.
    pub fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Acquire)
    }

    /// A key may have been taken away while a room said yes to a token of it: whoever was let in so
    /// late goes like those who were there.
    pub(crate) async fn confirm(&self, token: &str, key: &str) -> Result<(), ApiError> {
        match self.keyring.verify(token) {
            Err(error @ (TokenError::UnknownKey | TokenError::Signature)) => {
                self.rooms()?.dismiss([key.to_owned()].into()).await;
                Err(error.into())
            }
            _ => Ok(()),
        }
    }

    /// The rooms, while new participants are taken.
    pub fn rooms(&self) -> Result<&Arc<Registry>, ApiError> {
        let registry = self.registry.get().filter(|_| self.is_ready());
        registry.ok_or(ApiError::ShuttingDown)
    }
}

impl Caller {
    /// A caller whose connection is on the books.
    pub fn new(address: IpAddr, slot: ConnectionSlot) -> Self {
        Self {
            address,
            _slot: Arc::new(slot),
        }
    }
}

/// Everything that the front door answers.
pub fn router(front: Arc<Front>) -> Router {
    Router::new()
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .merge(rtc::routes())
        .merge(whip::routes())
        .merge(replay::routes())
        .merge(twirp::routes(front.config.limits.api_body_bytes_max))
        .fallback(get(assets::serve))
        .layer(middleware::from_fn_with_state(Arc::clone(&front), log))
        .with_state(front)
}

async fn log(State(front): State<Arc<Front>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let method = request.method().clone();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("(page)".to_owned(), |path| path.as_str().to_owned());
    let response = next.run(request).await;
    front.metrics.count(Count::Requests);
    tracing::debug!(
        target: "http",
        %method,
        route,
        status = response.status().as_u16(),
        took_us = began.elapsed().as_micros() as u64,
        "answered"
    );
    response
}
