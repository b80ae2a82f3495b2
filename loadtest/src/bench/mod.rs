//! `loadtest bench`: the standard scenarios against a server, beside the floor and beside a peer.
//!
//! Floor, server and peer take turns within each round, so that what else the machine does hits
//! them alike; figures are medians of the rounds. The result is the table of ratios by which this
//! project judges itself.

mod limits;
mod line;
mod recording;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;

use self::limits::LIMITS;
use self::line::{Figure, Line};
use crate::door::Door;
use crate::floor;
use crate::page::{self, Section};
use crate::run::{self, Report, Setup, Target};
use crate::scenario::Scenario;
use crate::signal::janus;
use crate::stat::median;
use crate::table;

/// A scenario with what is wanted of a server.
struct Goal {
    scenario: &'static str,
    /// Whether the floor that counts joins runs into GSO messages.
    gso: bool,
    /// At most so many times the floor.
    limit: f64,
    /// At least so many times less than Janus.
    janus_factor: f64,
}

/// Sparse traffic and single packets have no runs to join: their floor is the one without GSO.
const GOALS: [Goal; 4] = [
    Goal {
        scenario: "webinar200",
        gso: true,
        limit: 1.3,
        janus_factor: 8.0,
    },
    Goal {
        scenario: "mdt8",
        gso: true,
        limit: 1.3,
        janus_factor: 8.0,
    },
    Goal {
        scenario: "consult25",
        gso: false,
        limit: 1.4,
        janus_factor: 4.5,
    },
    Goal {
        scenario: "audio200",
        gso: false,
        limit: 1.3,
        janus_factor: 8.0,
    },
];

/// What the tables mean, for whoever reads the page.
const NOTE: &str = "\n\
us/packet is server CPU time, user and system of all threads, for each packet that reached a receiver, \
with AES-256-GCM negotiated. The floor is a bare relay process without handshakes, feedback or resending: \
the same packets at the same times through sockets of the same kind, received, opened, sealed and sent in \
batches of 64, measured in turns with the server. It joins runs into GSO messages but for consult25 and \
audio200, whose traffic is sparse. Delay is from the publisher's call to the receiver's plaintext, but \
*inside* is from when the server could read a packet to the return of the call that sent it, as its \
`/metrics` say. `loadtest/README.md` says how to repeat it.\n";

/// What a reader runs to get the same; it finds free ports and process numbers by itself.
const COMMAND: &str = "loadtest/peers/bench.sh target/release/consilium target/release/loadtest";

/// Options of `loadtest bench`.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Only scenarios whose name contains one of these
    #[arg(value_name = "SCENARIO")]
    only: Vec<String>,
    #[command(flatten)]
    door: Door,
    /// The server's process
    #[arg(long, value_name = "PID", env = "SERVER_PID")]
    server_pid: u32,
    /// A Janus to measure beside it (see `peers/janus.sh`)
    #[arg(long, env = "JANUS_URL")]
    janus_url: Option<String>,
    /// Its process
    #[arg(long, env = "JANUS_PID", value_name = "PID")]
    janus_pid: Option<u32>,
    /// Address that participants of Janus bind to
    #[arg(long, default_value = "127.0.0.2", value_name = "IP")]
    janus_bind: std::net::IpAddr,
    /// Rounds; figures are their medians
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Measured seconds of each part of a round
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Threads that serve the participants' media
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Also put the figures into this file, beside those of other runs
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also put the table into this page of measured numbers
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
    /// Fail when a limit is missed
    #[arg(long)]
    strict: bool,
}

/// Runs the subcommand; `false` when a limit is missed and that matters.
pub(crate) fn run(args: &BenchArgs) -> Result<bool> {
    ensure!(
        args.rounds > 0 && args.seconds > 0.0,
        "--rounds and --seconds must be positive"
    );
    ensure!(
        args.janus_url.is_some() == args.janus_pid.is_some(),
        "--janus-url and --janus-pid belong together"
    );
    let is_wanted =
        |name: &str| args.only.is_empty() || args.only.iter().any(|part| name.contains(part));
    let mut lines = Vec::new();
    for goal in GOALS.iter().filter(|goal| is_wanted(goal.scenario)) {
        let line = measure(args, goal).with_context(|| format!("scenario {}", goal.scenario))?;
        lines.push(line);
    }
    for (name, measure) in LIMITS.iter().filter(|(name, _)| is_wanted(name)) {
        table::progress(name);
        lines.push(measure(args, name).with_context(|| format!("scenario {name}"))?);
    }
    ensure!(!lines.is_empty(), "no scenario has that name");
    table::say(&line::render(&lines));
    let is_good = lines.iter().all(Line::is_good);
    if let Some(path) = &args.json {
        lines = line::merge(path, &lines)?;
    }
    if let Some(path) = &args.page {
        let section = Section {
            name: "ends",
            title: "End to end over loopback, with receivers that decrypt and judge",
            command: COMMAND,
        };
        page::write(path, section, &(line::render(&lines) + NOTE))?;
    }
    Ok(!args.strict || is_good)
}

fn measure(args: &BenchArgs, goal: &Goal) -> Result<Line> {
    let mut scenario = Scenario::preset(goal.scenario).expect("goals name presets");
    scenario.seconds = args.seconds;
    let (mut floors, mut ours, mut peers) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=args.rounds {
        table::progress(&format!(
            "{}: round {round} of {}",
            goal.scenario, args.rounds
        ));
        let length = Duration::from_secs_f64(args.seconds);
        floors.push(floor::of_scenario(&scenario, goal.gso, length)?.us);
        ours.push(run::carry_out(&server(args), scenario.clone())?);
        if let Some(janus) = janus(args) {
            peers.push(us(&run::carry_out(&janus, scenario.clone())?)?);
        }
    }
    let of = |figure: fn(&Report) -> f64| median(&ours.iter().map(figure).collect::<Vec<_>>());
    let floor_us = median(&floors);
    let us_per_packet = median(&ours.iter().map(us).collect::<Result<Vec<_>>>()?);
    let peer_us = (!peers.is_empty()).then(|| median(&peers));
    let mut line = Line::of(goal.scenario).beside_floor(us_per_packet, floor_us, Some(goal.limit));
    line.figures = vec![
        Figure::bound("loss %", of(|report| report.loss_percent), 0.1),
        Figure::told("p99 delay ms", of(|report| report.delay_ms.p99)),
        Figure::told(
            "server MB",
            of(|report| report.server.as_ref().map_or(0.0, |server| server.rss_mb)),
        ),
    ];
    line.peer = peer_us.map(|_| "janus".to_owned());
    line.peer_us = peer_us;
    line.peer_factor = peer_us.map(|peer_us| peer_us / us_per_packet);
    line.peer_factor_min = peer_us.map(|_| goal.janus_factor);
    Ok(line)
}

fn us(report: &Report) -> Result<f64> {
    ensure!(report.delivered > 0, "nothing was delivered");
    report.us_per_packet().context("no process was measured")
}

fn server(args: &BenchArgs) -> Setup {
    let (target, server_pids) = (Target::Livekit(args.door.livekit()), vec![args.server_pid]);
    Setup {
        target,
        server_pids,
        threads: args.threads,
        via: None,
        bind: None,
        full: 0,
        sample_every: None,
    }
}

fn janus(args: &BenchArgs) -> Option<Setup> {
    let target = Target::Janus(janus::Server::new(args.janus_url.clone()?));
    let (server_pids, bind) = (vec![args.janus_pid?], Some(args.janus_bind));
    Some(Setup {
        target,
        server_pids,
        threads: args.threads,
        via: None,
        bind,
        full: 0,
        sample_every: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_name_presets() {
        for goal in GOALS {
            assert!(Scenario::preset(goal.scenario).is_some());
        }
    }
}
