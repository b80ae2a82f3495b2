//! The front door as one value: made from a checked configuration and a running media plane, run
//! until told to stop.
//!
//! Composes what the other modules own and nothing else.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use prost::Message as _;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time;

use crate::config::{Secret, SignalingConfig};
use crate::egress::EgressBook;
use crate::error::ConfigError;
use crate::http::listener::{self, Listener};
use crate::http::tls::Certificate;
use crate::http::{self, Front};
use crate::metrics::Count;
use crate::outbox::Outbox;
pub use crate::registry::Media;
use crate::registry::{Ledger, Registry};
pub use crate::room::scribe::Desk;
use crate::store::{Store, StoreError};
use crate::wire::proto::EgressInfo;
use crate::{outbox, webhook};

/// Clients have so long to take their goodbye; a supervisor kills after ten seconds or more.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);
/// Stopping is rare; nobody needs to be woken for it.
const DRAIN_POLL: Duration = Duration::from_millis(20);

/// Why the front door does not open.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The operator's configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What must outlive the process cannot be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system has no more of something.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// The front door.
pub struct App {
    front: Arc<Front>,
    certificate: Option<Arc<Certificate>>,
    registry: Arc<Registry>,
    pump: JoinHandle<()>,
    outbox: Outbox,
    feed: outbox::Feed,
}

/// What can be changed while the front door is open.
pub struct Changes {
    front: Arc<Front>,
    registry: Arc<Registry>,
}

impl Changes {
    /// Takes other API keys. Whoever came with a token of one that is gone, or has another secret,
    /// is taken out of his room. Keys that the rest of the running configuration cannot be with are
    /// refused, and the old ones stay.
    pub async fn take_keys(&self, keys: &BTreeMap<String, Secret>) -> Result<(), ConfigError> {
        let mut config = SignalingConfig::clone(&self.front.config);
        config.keys.clone_from(keys);
        config.check()?;
        let gone = self.front.keyring.exchange(keys);
        self.front.metrics.count(Count::KeysReloaded);
        tracing::info!(keys = keys.len(), gone = gone.len(), "API keys were taken");
        if !gone.is_empty() {
            self.registry.dismiss(gone).await;
        }
        Ok(())
    }
}

/// A front door whose socket is bound.
pub struct Bound {
    app: App,
    tcp: TcpListener,
}

impl App {
    /// Checks the configuration, reads the certificate and takes the media plane over.
    pub fn new(
        config: SignalingConfig,
        media: Media,
        mut store: Store,
        desk: Option<Desk>,
    ) -> Result<Self, StartError> {
        config.check()?;
        let certificate = config.tls.as_ref().map(Certificate::read).transpose()?;
        let front = {
            let archive = desk.as_ref().map(|desk| Arc::clone(&desk.archive));
            Arc::new(Front::new(config, archive))
        };
        let kept = store.egresses(front.config.limits.egresses_kept_max)?;
        let kept = kept
            .iter()
            .filter_map(|one| EgressInfo::decode(&one.info[..]).ok());
        let egresses = EgressBook::new(kept, front.config.limits.egresses_kept_max);
        let (outbox, feed) = outbox::start(store, &front.config.webhook, &front.metrics)?;
        let ledger = Ledger {
            desk,
            outbox: outbox.clone(),
            egresses: Arc::new(egresses),
        };
        let (registry, pump) = Registry::start(media, ledger, &front.config, &front.metrics)?;
        assert!(
            front.registry.set(Arc::clone(&registry)).is_ok(),
            "a front door that was just made has no rooms"
        );
        Ok(Self {
            front,
            certificate,
            registry,
            pump,
            outbox,
            feed,
        })
    }

    /// Binds the socket, so that the address is known before anybody is told it.
    pub async fn bind(self) -> io::Result<Bound> {
        let tcp = listener::bind(&self.front).await?;
        self.registry.port().note_bound(tcp.local_addr()?);
        Ok(Bound { app: self, tcp })
    }
}

impl Bound {
    /// By which it can be changed.
    pub fn changes(&self) -> Changes {
        Changes {
            front: Arc::clone(&self.app.front),
            registry: Arc::clone(&self.app.registry),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Serves until `stop` becomes true, then says goodbye to all and ends the media plane.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let App {
            front,
            certificate,
            registry,
            pump,
            outbox,
            feed,
        } = self.app;
        let sender = webhook::run(
            feed,
            front.config.webhook.clone(),
            Arc::clone(&front.keyring),
            Arc::clone(&front.metrics),
        );
        let sender = tokio::spawn(sender);
        let patience = front.config.rooms.empty_timeout;
        let left = Arc::clone(&registry);
        let waiting = tokio::spawn(async move {
            time::sleep(patience).await;
            left.give_up_egresses();
        });
        let tls = certificate.as_ref().map(Certificate::acceptor);
        let renewing = certificate.map(|certificate| {
            let metrics = Arc::clone(&front.metrics);
            tokio::spawn(async move { certificate.follow(&metrics).await })
        });
        let router = http::router(Arc::clone(&front));
        front.set_ready(true);
        Listener::new(Arc::clone(&front), router, self.tcp, tls)
            .run(stop)
            .await;
        front.set_ready(false);
        registry.shut_down().await;
        drain(&front, &registry).await;
        // The workers say goodbye to their peers; the events end when they have.
        registry.stop_media();
        let ended = tokio::task::spawn_blocking(move || pump.join()).await;
        if !matches!(ended, Ok(Ok(()))) {
            tracing::error!("the media plane's events failed");
        }
        waiting.abort();
        if let Some(renewing) = renewing {
            renewing.abort();
        }
        outbox.flush().await;
        sender.abort();
    }
}

/// Waits until the last connection and the last room have ended, but not for those that do not
/// read.
async fn drain(front: &Front, registry: &Registry) {
    let deadline = Instant::now() + DRAIN_TIMEOUT;
    let is_over = || front.addresses.connections() == 0 && registry.is_empty();
    while !is_over() && Instant::now() < deadline {
        time::sleep(DRAIN_POLL).await;
    }
}
