//! Where a server is and how one is let in: options that every command with participants has.

use clap::Args;

use crate::signal::livekit;

/// Options of whatever joins a server.
#[derive(Debug, Clone, Args)]
pub(crate) struct Door {
    /// The server's address
    #[arg(long, default_value = "ws://127.0.0.1:7880", env = "LIVEKIT_URL")]
    url: String,
    /// API key
    #[arg(long, default_value = "devkey", env = "LIVEKIT_API_KEY")]
    api_key: String,
    /// API secret
    #[arg(
        long,
        default_value = "secret",
        env = "LIVEKIT_API_SECRET",
        hide_env_values = true
    )]
    api_secret: String,
}

impl Door {
    /// The address, without a slash at its end.
    pub(crate) fn url(&self) -> &str {
        self.url.trim_end_matches('/')
    }

    /// The server as one that speaks the LiveKit protocol.
    pub(crate) fn livekit(&self) -> livekit::Server {
        let (key, secret) = (self.api_key.clone(), self.api_secret.clone());
        livekit::Server::new(self.url().to_owned(), key, secret)
    }
}
