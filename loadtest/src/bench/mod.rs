//! `loadtest bench`: the standard scenarios against a server, beside the floor and beside a peer.
//!
//! Floor, server and peer take turns within each round, so that what else the machine does hits
//! them alike; figures are medians of the rounds. The result is the table of ratios by which this
//! project judges itself.

mod page;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;

use crate::floor;
use crate::run::{self, Report, Setup, Target};
use crate::scenario::Scenario;
use crate::signal::{janus, livekit};
use crate::stat::median;
use crate::table::{self, Table};

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

/// What the table means, for whoever reads the page.
const NOTE: &str = "\n\
Server CPU time, user and system, for each packet that reached a receiver. The floor is a bare relay \
process without handshakes, feedback or resending, measured in the same minutes; it joins runs into \
GSO messages in the first two scenarios. `loadtest/README.md` says how to repeat it.\n";

/// Options of `loadtest bench`.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Only scenarios whose name contains one of these
    #[arg(value_name = "SCENARIO")]
    only: Vec<String>,
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
    /// The server's process
    #[arg(long, value_name = "PID")]
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
    /// Also write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also put the table into this page of measured numbers
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
    /// Fail when a limit is missed
    #[arg(long)]
    strict: bool,
}

/// One line of the result.
#[derive(Debug, Clone, Serialize)]
struct Line {
    scenario: String,
    us_per_packet: f64,
    floor_us: f64,
    ratio: f64,
    limit: f64,
    loss_percent: f64,
    p99_ms: f64,
    rss_mb: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_factor: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_factor_min: Option<f64>,
}

impl Line {
    fn is_good(&self) -> bool {
        let is_cheaper = self
            .peer_factor
            .zip(self.peer_factor_min)
            .is_none_or(|(is, min)| is >= min);
        self.ratio <= self.limit && is_cheaper && self.loss_percent < 0.1
    }
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
    let wanted = |goal: &&Goal| {
        args.only.is_empty() || args.only.iter().any(|part| goal.scenario.contains(part))
    };
    let mut lines = Vec::new();
    for goal in GOALS.iter().filter(wanted) {
        let line = measure(args, goal).with_context(|| format!("scenario {}", goal.scenario))?;
        lines.push(line);
    }
    ensure!(!lines.is_empty(), "no scenario has that name");
    let text = render(&lines).markdown();
    table::say(&text);
    if let Some(path) = &args.page {
        page::write(
            path,
            "forward",
            "Forwarding, end to end over loopback",
            &(text + NOTE),
        )?;
    }
    if let Some(path) = &args.json {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).context("--json")?;
        }
        std::fs::write(path, serde_json::to_string_pretty(&lines)?).context("--json")?;
    }
    Ok(!args.strict || lines.iter().all(Line::is_good))
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
        floors.push(floor::of_scenario(&scenario, goal.gso, length)?);
        ours.push(run::carry_out(&server(args), scenario.clone())?);
        if let Some(janus) = janus(args) {
            peers.push(us(&run::carry_out(&janus, scenario.clone())?)?);
        }
    }
    let of = |figure: fn(&Report) -> f64| median(&ours.iter().map(figure).collect::<Vec<_>>());
    let floor_us = median(&floors);
    let us_per_packet = median(&ours.iter().map(us).collect::<Result<Vec<_>>>()?);
    let peer_us = (!peers.is_empty()).then(|| median(&peers));
    Ok(Line {
        scenario: goal.scenario.to_owned(),
        us_per_packet,
        floor_us,
        ratio: us_per_packet / floor_us,
        limit: goal.limit,
        loss_percent: of(|report| report.loss_percent),
        p99_ms: of(|report| report.delay_ms.p99),
        rss_mb: of(|report| report.server.as_ref().map_or(0.0, |server| server.rss_mb)),
        peer: peer_us.map(|_| "janus"),
        peer_us,
        peer_factor: peer_us.map(|peer_us| peer_us / us_per_packet),
        peer_factor_min: peer_us.map(|_| goal.janus_factor),
    })
}

fn us(report: &Report) -> Result<f64> {
    ensure!(report.delivered > 0, "nothing was delivered");
    report.us_per_packet().context("no process was measured")
}

fn server(args: &BenchArgs) -> Setup {
    let url = args.url.trim_end_matches('/').to_owned();
    let server = livekit::Server::new(url, args.api_key.clone(), args.api_secret.clone());
    let (target, server_pids) = (Target::Livekit(server), vec![args.server_pid]);
    Setup {
        target,
        server_pids,
        threads: args.threads,
        via: None,
        bind: None,
        full: 0,
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
    })
}

fn render(lines: &[Line]) -> Table {
    let mut table = Table::new(&[
        "scenario",
        "us/packet",
        "floor us",
        "ratio",
        "at most",
        "loss %",
        "p99 ms",
        "MB",
        "Janus us",
        "times less",
        "at least",
        "good",
    ]);
    for line in lines {
        let some = |value: Option<f64>| value.map_or(String::new(), |v| format!("{v:.2}"));
        table.row(vec![
            line.scenario.clone(),
            format!("{:.2}", line.us_per_packet),
            format!("{:.2}", line.floor_us),
            format!("{:.2}", line.ratio),
            format!("{:.2}", line.limit),
            format!("{:.3}", line.loss_percent),
            format!("{:.1}", line.p99_ms),
            format!("{:.0}", line.rss_mb),
            some(line.peer_us),
            some(line.peer_factor),
            some(line.peer_factor_min),
            if line.is_good() { "yes" } else { "no" }.to_owned(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        Line {
            scenario: "mdt8".into(),
            us_per_packet: 2.6,
            floor_us: 2.0,
            ratio: 1.3,
            limit: 1.3,
            loss_percent: 0.0,
            p99_ms: 1.0,
            rss_mb: 30.0,
            peer: Some("janus"),
            peer_us: Some(26.0),
            peer_factor: Some(10.0),
            peer_factor_min: Some(8.0),
        }
    }

    #[test]
    fn goals_name_presets() {
        for goal in GOALS {
            assert!(Scenario::preset(goal.scenario).is_some());
        }
    }

    #[test]
    fn a_line_is_good_when_ratio_factor_and_loss_are() {
        assert!(line().is_good());
        assert!(
            !Line {
                ratio: 1.31,
                ..line()
            }
            .is_good()
        );
        assert!(
            !Line {
                peer_factor: Some(7.9),
                ..line()
            }
            .is_good()
        );
        assert!(
            Line {
                peer_factor: None,
                peer_factor_min: None,
                ..line()
            }
            .is_good()
        );
        assert!(
            !Line {
                loss_percent: 1.0,
                ..line()
            }
            .is_good()
        );
    }

    #[test]
    fn the_file_has_the_agreed_names() {
        let json = serde_json::to_value([line()]).expect("plain values");
        for name in [
            "scenario",
            "us_per_packet",
            "floor_us",
            "ratio",
            "limit",
            "peer",
            "peer_us",
        ] {
            assert!(!json[0][name].is_null(), "{name}");
        }
    }
}
