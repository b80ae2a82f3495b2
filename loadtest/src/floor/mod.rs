//! `loadtest floor`: the least that forwarding can cost on this machine, measured now.
//!
//! Three kinds of cases: sending alone, receiving alone, and whole scenarios through a bare relay
//! process. A server's figure means little by itself on a virtual machine; its ratio to these
//! does. No server, no protocol and no media code of this project takes part.

mod cipher;
mod fanout;
mod receive;
mod relay;
mod send;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;

use self::cipher::Profile;
use self::receive::{BareReceiver, ReceiveCase};
use self::send::{BareSender, Destinations, SendCase};
use crate::page::{self, Section};
use crate::scenario::Scenario;
use crate::stat::{Percentiles, median};
use crate::sys;
use crate::table::{self, Table};

/// Options of `loadtest floor`.
#[derive(Debug, Args)]
pub(crate) struct FloorArgs {
    /// Only cases whose name contains one of these (send-1, receive, webinar200, mdt8-gso, ...)
    #[arg(value_name = "CASE")]
    only: Vec<String>,
    /// Protection of the packets
    #[arg(long, value_enum, default_value = "aes-256-gcm")]
    profile: Profile,
    /// Rounds of each case; figures are their medians
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Length of a round in seconds (scenario cases take four times as long)
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
    /// Receivers of the sending cases
    #[arg(long, default_value_t = 200)]
    destinations: usize,
    /// Messages handed to the kernel at a time in the sending and receiving cases
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Add one sending case of this many packets per receiver ...
    #[arg(long)]
    run_length: Option<usize>,
    /// ... of this size (RTP header and payload, before protection) ...
    #[arg(long, default_value_t = 1_200)]
    packet_size: usize,
    /// ... as separate datagrams even when a run is longer than 1
    #[arg(long)]
    no_gso: bool,
    /// Send to this address (an ifb device that drops) instead of drained loopback sockets; only
    /// the sending cases are measured then
    #[arg(long, value_name = "IP")]
    sink: Option<IpAddr>,
    /// Also write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also put the figures into this page of measured numbers
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
    /// Be the relay process of a scenario case (started by `floor` itself)
    #[arg(long, hide = true)]
    relay_process: bool,
}

/// What one round brought.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sample {
    /// CPU time of the counted thread.
    pub(crate) cpu: Duration,
    /// Packets sent, or received and opened.
    pub(crate) packets: u64,
    /// Packets that did not arrive.
    pub(crate) lost: u64,
}

/// One line of the result.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Line {
    /// Case name.
    pub(crate) case: String,
    /// Median of the rounds, CPU microseconds for one packet sent, received or delivered.
    pub(crate) us_per_packet: f64,
    /// Fastest round.
    pub(crate) min: f64,
    /// Slowest round.
    pub(crate) max: f64,
    /// Share of the time spent in user space.
    pub(crate) user_share: f64,
    /// Share of the packets that did not arrive.
    pub(crate) loss: f64,
    /// Delivered packets a second; the sending and receiving cases go as fast as they can.
    pub(crate) packets_per_second: Option<f64>,
    /// Delay from publisher to receiver in milliseconds, of the scenario cases.
    pub(crate) delay_ms: Option<Percentiles>,
    /// Protection.
    pub(crate) profile: Profile,
}

/// Runs the subcommand.
pub(crate) fn run(args: &FloorArgs) -> Result<()> {
    if args.relay_process {
        return relay::run();
    }
    ensure!(
        args.rounds > 0 && args.seconds > 0.0,
        "--rounds and --seconds must be positive"
    );
    ensure!(
        args.packet_size >= cipher::HEADER,
        "--packet-size is below the RTP header"
    );
    ensure!(
        (1..=1024).contains(&args.batch),
        "--batch must be 1 to 1024"
    );
    let mut lines = Vec::new();
    for case in cases(args) {
        if !args.only.is_empty() && !args.only.iter().any(|part| case.0.contains(part)) {
            continue;
        }
        table::progress(&format!("measuring {}", case.0));
        lines.push(measure(args, &case.0, case.1).with_context(|| format!("case {}", case.0))?);
    }
    ensure!(!lines.is_empty(), "no case has that name");
    table::print(&render(&lines));
    if let Some(path) = &args.json {
        std::fs::write(path, serde_json::to_string_pretty(&lines)?).context("--json")?;
    }
    if let Some(path) = &args.page {
        page::write(path, section(args), &render(&lines).markdown())?;
    }
    Ok(())
}

fn section(args: &FloorArgs) -> Section<'static> {
    match args.sink {
        Some(_) => Section {
            name: "sink",
            title: "The floor of sending alone, into an ifb device that drops everything",
            command: "loadtest/peers/sink.sh target/release/loadtest",
        },
        None => Section {
            name: "floor",
            title: "The floor over loopback",
            command: "target/release/loadtest floor",
        },
    }
}

/// CPU microseconds for each packet of a scenario through the bare relay, with the protection
/// that browsers and servers agree on.
pub(crate) fn of_scenario(scenario: &Scenario, gso: bool, length: Duration) -> Result<Floor> {
    let windows = fanout::measure(scenario, Profile::Aes256Gcm, gso, 1, length)?;
    let window = windows.first().context("one round was asked for")?;
    ensure!(window.delivered > 0, "the bare relay delivered nothing");
    Ok(Floor {
        us: us_per_packet(window),
        delay: window.delay,
    })
}

/// What a scenario costs at least, and how long its packets take at least.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Floor {
    /// CPU microseconds for each delivered packet.
    pub(crate) us: f64,
    /// From the publisher's call to the receiver's plaintext.
    pub(crate) delay: Percentiles,
}

fn us_per_packet(window: &fanout::Window) -> f64 {
    window.cpu.as_secs_f64() * 1e6 / window.delivered.max(1) as f64
}

enum Case {
    Send(SendCase),
    Receive(ReceiveCase),
    Fanout(Box<Scenario>, bool),
}

fn cases(args: &FloorArgs) -> Vec<(String, Case)> {
    let FloorArgs {
        profile,
        batch,
        destinations,
        ..
    } = *args;
    let send = |run, packet_size, gso| {
        Case::Send(SendCase {
            destinations,
            run,
            gso,
            packet_size,
            batch,
            profile,
        })
    };
    let receive = |train| {
        Case::Receive(ReceiveCase {
            batch: 64,
            train,
            packet_size: 1_200,
            profile,
        })
    };
    let mut cases = Vec::new();
    for run in [1, 4, 8] {
        cases.push((format!("send-{run}"), send(run, 1_200, run > 1)));
    }
    cases.push(("send-audio-1".into(), send(1, 160, false)));
    cases.push(("send-audio-3".into(), send(3, 160, true)));
    if let Some(run) = args.run_length {
        cases.push((
            format!("send-custom-{run}"),
            send(run, args.packet_size, !args.no_gso),
        ));
    }
    if args.sink.is_some() {
        return cases;
    }
    cases.push(("receive-1".into(), receive(1)));
    cases.push(("receive-8".into(), receive(8)));
    for name in ["webinar200", "mdt8", "consult25", "audio200"] {
        let scenario = Box::new(Scenario::preset(name).expect("these four are presets"));
        cases.push((name.into(), Case::Fanout(scenario.clone(), false)));
        cases.push((format!("{name}-gso"), Case::Fanout(scenario, true)));
    }
    cases
}

fn measure(args: &FloorArgs, name: &str, case: Case) -> Result<Line> {
    let length = Duration::from_secs_f64(args.seconds);
    match case {
        Case::Send(case) => {
            let to = match args.sink {
                Some(ip) => Destinations::sink(ip, case.destinations),
                None => Destinations::drained(case.destinations)?,
            };
            let mut sender = BareSender::new(case, args.sink)?;
            rounds(args, name, || sender.round(&to, length))
        }
        Case::Receive(case) => {
            let mut receiver = BareReceiver::new(case)?;
            rounds(args, name, || receiver.round(length))
        }
        Case::Fanout(scenario, gso) => {
            let windows = fanout::measure(&scenario, args.profile, gso, args.rounds, 4 * length)?;
            let mut line = summarise(name, args.profile, &windows, us_per_packet);
            let of = |f: &dyn Fn(&fanout::Window) -> f64| {
                median(&windows.iter().map(f).collect::<Vec<_>>())
            };
            line.user_share = of(&|w| w.user_share);
            line.loss = of(&|w| w.lost as f64 / (w.lost + w.delivered).max(1) as f64);
            line.packets_per_second =
                Some(of(&|w| w.delivered as f64) / (4.0 * length.as_secs_f64()));
            line.delay_ms = Some(Percentiles {
                p50: of(&|w| w.delay.p50),
                p95: of(&|w| w.delay.p95),
                p99: of(&|w| w.delay.p99),
                max: of(&|w| w.delay.max),
            });
            Ok(line)
        }
    }
}

/// One uncounted round to warm up, then the counted ones.
fn rounds(args: &FloorArgs, name: &str, mut round: impl FnMut() -> Result<Sample>) -> Result<Line> {
    round()?;
    let before = sys::thread_user_and_system();
    let samples = (0..args.rounds)
        .map(|_| round())
        .collect::<Result<Vec<_>>>()?;
    let after = sys::thread_user_and_system();
    let us = |s: &Sample| s.cpu.as_secs_f64() * 1e6 / s.packets.max(1) as f64;
    let mut line = summarise(name, args.profile, &samples, us);
    let (user, system) = (
        after.0.saturating_sub(before.0),
        after.1.saturating_sub(before.1),
    );
    line.user_share = user.as_secs_f64() / (user + system).as_secs_f64().max(f64::EPSILON);
    let (lost, packets) = samples
        .iter()
        .fold((0, 0), |s, r| (s.0 + r.lost, s.1 + r.packets));
    line.loss = lost as f64 / packets.max(1) as f64;
    Ok(line)
}

fn summarise<T>(name: &str, profile: Profile, samples: &[T], us: impl Fn(&T) -> f64) -> Line {
    let values: Vec<f64> = samples.iter().map(us).collect();
    Line {
        case: name.to_owned(),
        us_per_packet: median(&values),
        min: values.iter().copied().fold(f64::INFINITY, f64::min),
        max: values.iter().copied().fold(0.0, f64::max),
        user_share: 0.0,
        loss: 0.0,
        packets_per_second: None,
        delay_ms: None,
        profile,
    }
}

fn render(lines: &[Line]) -> Table {
    let mut table = Table::new(&[
        "case",
        "us/packet",
        "min",
        "max",
        "user %",
        "loss %",
        "packets/s",
        "p50 ms",
        "p99 ms",
    ]);
    for line in lines {
        let delay = |f: fn(&Percentiles) -> f64| {
            line.delay_ms
                .as_ref()
                .map_or(String::new(), |d| format!("{:.2}", f(d)))
        };
        table.row(vec![
            line.case.clone(),
            format!("{:.3}", line.us_per_packet),
            format!("{:.3}", line.min),
            format!("{:.3}", line.max),
            format!("{:.0}", line.user_share * 100.0),
            format!("{:.3}", line.loss * 100.0),
            line.packets_per_second
                .map_or(String::new(), |r| format!("{r:.0}")),
            delay(|d| d.p50),
            delay(|d| d.p99),
        ]);
    }
    table
}
