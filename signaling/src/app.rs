//! The front door as one value: made from a checked configuration, run until told to stop.
//!
//! Composes what the other modules own and nothing else.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sfu::config::SfuConfig;
use sfu::handle::Sfu;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_rustls::TlsAcceptor;

use crate::config::SignalingConfig;
use crate::error::ConfigError;
use crate::http::listener::{self, Listener};
use crate::http::{self, Front, tls};
use crate::registry::Registry;

/// Clients are told to come back later; those that do not listen are not waited for longer.
const FAREWELL_MAX: Duration = Duration::from_secs(2);

/// The front door.
pub struct App {
    front: Arc<Front>,
    tls: Option<TlsAcceptor>,
}

/// A front door whose socket is bound.
pub struct Bound {
    app: App,
    tcp: TcpListener,
}

impl App {
    /// Checks the configuration and reads the certificate.
    pub fn new(config: SignalingConfig) -> Result<Self, ConfigError> {
        config.check()?;
        let tls = config.tls.as_ref().map(tls::acceptor).transpose()?;
        let front = Arc::new(Front::new(config));
        Ok(Self { front, tls })
    }

    /// Starts the media plane; its sockets are bound when this returns.
    pub fn start_media(&self, config: &SfuConfig) -> io::Result<()> {
        let (sfu, events) = Sfu::start(config)?;
        let registry = Registry::start(
            sfu,
            events,
            &self.front.config,
            config.limits.data_message_bytes_max,
            Arc::clone(&self.front.metrics),
        )?;
        assert!(
            self.front.registry.set(registry).is_ok(),
            "the media plane is started once"
        );
        Ok(())
    }

    /// Binds the socket, so that the address is known before anybody is told it.
    pub async fn bind(self) -> io::Result<Bound> {
        let tcp = listener::bind(&self.front).await?;
        Ok(Bound { app: self, tcp })
    }
}

impl Bound {
    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Serves until `stop` becomes true, then tells everybody and stops the media plane.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let App { front, tls } = self.app;
        let router = http::router(Arc::clone(&front));
        front.set_ready(true);
        Listener::new(Arc::clone(&front), router, self.tcp, tls)
            .run(stop)
            .await;
        front.set_ready(false);
        if let Some(registry) = front.registry.get() {
            let began = Instant::now();
            registry.shut_down().await;
            while !registry.is_empty() && began.elapsed() < FAREWELL_MAX {
                sleep(Duration::from_millis(10)).await;
            }
            registry.stop_media();
        }
    }
}
