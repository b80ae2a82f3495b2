//! The whole front door with a media plane, running, for tests that ask it over HTTP.

use reqwest::Client;
use sfu::config::SfuConfig;
use sfu::handle::Sfu;
use signaling::app::{App, Changes, Media};
use signaling::config::{Limits, SignalingConfig};
use signaling::store::Store;
use tokio::sync::watch;

/// Stops when it is dropped.
pub(crate) struct Server {
    /// Where it is, `http://` and all.
    pub(crate) base: String,
    /// Asks it.
    pub(crate) client: Client,
    /// By which it can be changed.
    #[allow(
        dead_code,
        reason = "not every test binary that includes this changes it"
    )]
    pub(crate) changes: Changes,
    _stop: watch::Sender<bool>,
}

impl Server {
    /// With the development key, on a free port, within these limits.
    pub(crate) async fn start(limits: Limits) -> Self {
        let mut config = SignalingConfig::dev();
        config.http.port = 0;
        config.limits = limits;
        let media = SfuConfig {
            workers: 1,
            port_first: 0,
            ..SfuConfig::default()
        };
        let (sfu, events) = Sfu::start(&media).expect("a free port");
        let media = Media {
            sfu,
            events,
            data_message_bytes_max: media.limits.data_message_bytes_max,
        };
        let store = Store::in_memory().expect("opens");
        let app = App::new(config, media, store, None).expect("a good configuration");
        let bound = app.bind().await.expect("a free port");
        let base = format!("http://{}", bound.address().expect("bound"));
        let changes = bound.changes();
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(bound.run(stopped));
        let client = Client::builder().no_proxy().build().expect("a client");
        Self {
            base,
            client,
            changes,
            _stop: stop,
        }
    }
}
