//! The front door as one value: made from a checked configuration, run until told to stop.
//!
//! Composes what the other modules own and nothing else.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::config::SignalingConfig;
use crate::error::ConfigError;
use crate::http::listener::{self, Listener};
use crate::http::{self, Front, tls};

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

    /// Serves until `stop` becomes true.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let App { front, tls } = self.app;
        let router = http::router(Arc::clone(&front));
        front.set_ready(true);
        Listener::new(Arc::clone(&front), router, self.tcp, tls)
            .run(stop)
            .await;
        front.set_ready(false);
    }
}
