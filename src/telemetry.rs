//! What the running server says about itself: events as text or JSON, on standard error.
//!
//! Numbers are not here: `/metrics` has them. Standard output belongs to whoever started us.

use std::io::{self, IsTerminal};

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};

/// These say something of every datagram that they dislike: whoever floods us must not be able to
/// fill a disk. What they drop is counted by its reason instead.
const SILENT: [&str; 4] = ["sctp_proto=off", "dimpl=off", "is=off", "str0m_proto=off"];

/// Starts saying things. Called once.
pub(crate) fn start(config: &LogConfig) -> anyhow::Result<()> {
    let filter: EnvFilter = config
        .filter
        .parse()
        .with_context(|| format!("log.filter: {:?} makes no sense", config.filter))?;
    let filter = SILENT.iter().fold(filter, |filter, silence| {
        filter.add_directive(silence.parse().expect("a constant that makes sense"))
    });
    let events = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr);
    let started = match config.format {
        LogFormat::Text => events.try_init(),
        LogFormat::Json => events.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("telemetry: {error}"))
}
