//! `consilium serve`: starts the parts in order, says where they are, takes other API keys while they
//! run, and stops them in order.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;
use sfu::handle::Sfu;
use sfu::id::WorkerId;
use signaling::app::{App, Changes, Media};
use signaling::store::Store;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::archive::Keeping;
use crate::cli::{self, Serve};
use crate::config::Config;
use crate::{invite, process, telemetry};

/// Runs the server until it is told to stop.
pub(crate) fn run(task: &Serve) -> anyhow::Result<()> {
    let config = Config::load(&task.config)?;
    telemetry::start(&config.log)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "starting");
    process::prepare();
    tracing::info!("configuration\n{}", config.shown());
    let keeping = Keeping::start(&config, task.config.dev)?;
    let served = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(serve(task, &config, &keeping));
    keeping.end();
    served
}

async fn serve(task: &Serve, config: &Config, keeping: &Keeping) -> anyhow::Result<()> {
    let media = start_media(config)?;
    let media_addresses = addresses(&media.sfu);
    let path = config.data_dir.join("consilium.db");
    let store = Store::open(&path).with_context(|| format!("cannot use {}", path.display()))?;
    let app = App::new(config.signaling(), media, store, Some(keeping.desk()))?;
    let http = &config.http;
    let bound = app.bind().await.with_context(|| {
        let (ip, port) = (http.listen_ip, http.port);
        format!("cannot listen on {ip} port {port} (http.listen_ip, http.port)")
    })?;
    let address = bound.address()?;
    // From here on a wish is heard, also one that comes as soon as the address is told.
    let mut wishes = Wishes::listen()?;
    let changes = bound.changes();
    let (stop, stopped) = watch::channel(false);
    let door = tokio::spawn(bound.run(stopped));
    announce(task, config, keeping, address, &media_addresses)?;

    while matches!(wishes.next().await, Wish::Reload) {
        reload(task, config, &changes).await;
    }
    tracing::info!("stopping");
    // The receivers are gone only if everything has stopped already.
    let _ = stop.send(true);
    door.await.context("the front door failed")?;
    tracing::info!("stopped");
    Ok(())
}

/// Reads the configuration again and takes its API keys; a configuration that would not be started
/// with changes nothing.
async fn reload(task: &Serve, running: &Config, changes: &Changes) {
    let taken = match Config::load(&task.config) {
        Ok(fresh) => {
            let others = running.differing_sections(&fresh);
            if !others.is_empty() {
                let sections = others.join(", ");
                tracing::warn!(sections, "only a restart changes more than the API keys");
            }
            changes.take_keys(&fresh.keys).await.map_err(Into::into)
        }
        Err(error) => Err(error),
    };
    if let Err(error) = taken {
        tracing::error!("the configuration is not taken, everything stays as it is: {error:#}");
    }
}

fn start_media(config: &Config) -> anyhow::Result<Media> {
    let media = &config.media;
    let (sfu, events) = Sfu::start(media).with_context(|| {
        let (ip, port) = (media.listen_ip, media.port_first);
        format!(
            "cannot receive media on {ip} from port {port} on, one for each worker \
             (media.listen_ip, media.port_first, media.workers)"
        )
    })?;
    Ok(Media {
        sfu,
        events,
        data_message_bytes_max: media.limits.data_message_bytes_max,
    })
}

/// What clients are told as the addresses of all workers.
fn addresses(sfu: &Sfu) -> Vec<SocketAddr> {
    (0..sfu.workers())
        .flat_map(|worker| sfu.addresses(WorkerId(worker as u16)))
        .collect()
}

/// Says where the server is: one line for scripts, and the links of a first consult.
fn announce(
    task: &Serve,
    config: &Config,
    keeping: &Keeping,
    http: SocketAddr,
    media: &[SocketAddr],
) -> anyhow::Result<()> {
    let media: Vec<_> = media.iter().map(SocketAddr::to_string).collect();
    let line = format!("listening http={http} media={}", media.join(","));
    cli::say(&line);
    if task.config.dev {
        let page = config.page(http.ip(), http.port());
        cli::say("\nOpen both links in a browser on this computer, each in a window of its own:\n");
        for (title, link) in invite::dev_links(config, &page)? {
            cli::say(&format!("  {title}:\n  {link}\n"));
        }
        if let Some(path) = &keeping.dev_officer {
            let release = keeping.release_key.display();
            cli::say(&format!(
                "Consults are recorded, sealed to these two keys; both are needed to replay one:\n\n  \
                 Compliance officer: {}\n  Release service:    {release}\n",
                path.display()
            ));
        }
        let link = invite::dev_archive_link(config, &page)?;
        cli::say(&format!("  Recordings:\n  {link}\n"));
    }
    match &task.ready_file {
        Some(path) => write_whole(path, &line),
        None => Ok(()),
    }
}

/// Whoever waits for the file must never read half of it.
fn write_whole(path: &Path, line: &str) -> anyhow::Result<()> {
    let part = path.with_extension("part");
    fs::write(&part, format!("{line}\n"))
        .and_then(|()| fs::rename(&part, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// What the operator or his supervisor can wish for.
enum Wish {
    Reload,
    Stop,
}

/// The signals by which they say so.
struct Wishes {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Wishes {
    fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?,
            interrupt: signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?,
            terminate: signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?,
        })
    }

    async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.hangup.recv() => Wish::Reload,
            _ = self.interrupt.recv() => Wish::Stop,
            _ = self.terminate.recv() => Wish::Stop,
        }
    }
}
