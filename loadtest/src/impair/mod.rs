//! `loadtest impair`: a bad network between any client and a server, in user space.
//!
//! Needs no privileges and no kernel modules, and the same seed gives the same fate to the same
//! sequence of datagrams. The decisions are in `link`, the sockets in `relay`.

mod link;
mod relay;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use self::link::LinkConfig;
use self::relay::{ImpairRelay, Passed};
use crate::table;

/// Which way the impairments apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Direction {
    /// Both ways.
    Both,
    /// From clients to the server.
    Up,
    /// From the server to clients.
    Down,
}

/// Options of `loadtest impair`.
#[derive(Debug, Args)]
pub(crate) struct ImpairArgs {
    /// Where clients send to; the server must name this address as its candidate
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7990")]
    listen: SocketAddr,
    /// The server's real UDP address
    #[arg(long, value_name = "ADDRESS")]
    to: SocketAddr,
    /// The same seed gives the same losses to the same datagrams
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Which way the impairments apply
    #[arg(long, value_enum, default_value = "both")]
    direction: Direction,
    /// Percent of datagrams lost one by one
    #[arg(long, default_value_t = 0.0, value_name = "PERCENT")]
    loss: f64,
    /// Percent of datagrams lost in bursts (Gilbert-Elliott) ...
    #[arg(long, default_value_t = 0.0, value_name = "PERCENT")]
    burst_loss: f64,
    /// ... of this mean length
    #[arg(long, default_value_t = 5.0, value_name = "DATAGRAMS")]
    burst_length: f64,
    /// Delay of every datagram
    #[arg(long, default_value_t = 0.0, value_name = "MS")]
    delay: f64,
    /// Up to this much more delay; the order is kept
    #[arg(long, default_value_t = 0.0, value_name = "MS")]
    jitter: f64,
    /// Percent of datagrams that later ones overtake ...
    #[arg(long, default_value_t = 0.0, value_name = "PERCENT")]
    reorder: f64,
    /// ... because they are held back this long
    #[arg(long, default_value_t = 10.0, value_name = "MS")]
    reorder_by: f64,
    /// Percent of datagrams that arrive twice
    #[arg(long, default_value_t = 0.0, value_name = "PERCENT")]
    duplicate: f64,
    /// Bottleneck for each client and direction, 0 for none
    #[arg(long, default_value_t = 0.0, value_name = "KBIT/S")]
    rate: f64,
    /// The longest wait before the bottleneck
    #[arg(long, default_value_t = 200.0, value_name = "MS")]
    queue: f64,
    /// End after this time; 0 runs until it is stopped
    #[arg(long, default_value_t = 0.0, value_name = "SECONDS")]
    seconds: f64,
    /// Also write the final counts to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl ImpairArgs {
    fn config(&self) -> Result<LinkConfig> {
        let share = |name: &str, percent: f64| {
            ensure!(
                (0.0..=100.0).contains(&percent),
                "--{name} must be 0 to 100"
            );
            Ok(percent / 100.0)
        };
        let millis = |name: &str, ms: f64| {
            ensure!(
                (0.0..=60_000.0).contains(&ms),
                "--{name} must be 0 to 60000"
            );
            Ok(Duration::from_secs_f64(ms / 1_000.0))
        };
        ensure!(self.rate >= 0.0, "--rate must not be negative");
        ensure!(
            self.burst_length >= 1.0,
            "--burst-length must be at least 1"
        );
        Ok(LinkConfig {
            loss: share("loss", self.loss)?,
            burst_loss: share("burst-loss", self.burst_loss)?,
            burst_length: self.burst_length,
            delay: millis("delay", self.delay)?,
            jitter: millis("jitter", self.jitter)?,
            reorder: share("reorder", self.reorder)?,
            reorder_by: millis("reorder-by", self.reorder_by)?,
            duplicate: share("duplicate", self.duplicate)?,
            bytes_per_second: self.rate * 125.0,
            queue: millis("queue", self.queue)?,
        })
    }
}

/// Runs the subcommand.
pub(crate) fn run(args: &ImpairArgs) -> Result<()> {
    let config = args.config()?;
    let of = |way| {
        if args.direction == way {
            LinkConfig::default()
        } else {
            config
        }
    };
    // What applies upwards only leaves the way down perfect, and the other way round.
    let (up, down) = (of(Direction::Down), of(Direction::Up));
    let mut relay = ImpairRelay::bind(args.listen, args.to, up, down, args.seed)?;
    table::progress(&format!("relaying {} to {}", relay.address()?, args.to));
    let (start, mut told) = (Instant::now(), 0);
    while args.seconds <= 0.0 || start.elapsed().as_secs_f64() < args.seconds {
        relay.turn(Duration::from_millis(100))?;
        let seconds = start.elapsed().as_secs();
        if seconds >= told + 10 {
            told = seconds;
            table::progress(&describe(&relay.passed()));
        }
    }
    let passed = relay.passed();
    table::say(&format!("{}\n", describe(&passed)));
    if let Some(path) = &args.json {
        std::fs::write(path, serde_json::to_string_pretty(&passed)?).context("--json")?;
    }
    Ok(())
}

fn describe(passed: &Passed) -> String {
    let way = |name, c: link::LinkCounts| {
        format!(
            "{name} {} datagrams: lost {} + {} in bursts, queue dropped {}, reordered {}, doubled {}",
            c.offered, c.lost, c.lost_in_bursts, c.dropped_by_queue, c.reordered, c.duplicated
        )
    };
    format!(
        "{} clients; {}; {}; refused {}, unsent {}",
        passed.clients,
        way("up", passed.up),
        way("down", passed.down),
        passed.refused,
        passed.unsent
    )
}
