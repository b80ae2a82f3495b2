//! The lines that are no ratio: the highest load, the delay inside at a given load, a storm of
//! joins, memory, and what recording costs.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::line::{Figure, Line};
use super::recording::recording;
use super::{BenchArgs, server, us};
use crate::floor::{self, Floor};
use crate::metrics::Inside;
use crate::run::{self, Report};
use crate::scenario::{Scenario, Storm};
use crate::stat::median;
use crate::{standstill, table};

/// The share of its time that the busiest media thread shall work, and how near is near enough.
const LOAD: f64 = 0.7;
const LOAD_TOLERANCE: f64 = 0.05;
/// Attempts at that.
const LOAD_TRIES: usize = 5;
/// A generator busier than this measures itself.
const GENERATOR_CORES_MAX: f64 = 0.95;
/// Between these two numbers of rooms of [`MEMBERS`] memory is compared.
const ROOMS: (u32, u32) = (4, 24);
const MEMBERS: u32 = 25;

/// Measures the line of that name.
type Measure = fn(&BenchArgs, &str) -> Result<Line>;

/// Names of the lines, and how each is measured.
pub(super) const LIMITS: [(&str, Measure); 5] = [
    ("highest-load-600", highest_load),
    ("delay-at-70-percent", delay_at_load),
    ("join-storm", join_storm),
    ("memory", memory),
    ("recording", recording),
];

/// One publisher with 600 receivers at 230 packets a second each.
fn highest_load(args: &BenchArgs, name: &str) -> Result<Line> {
    let scenario = Scenario {
        name: name.to_owned(),
        subscribers: 600,
        join_seconds: 6.0,
        seconds: args.seconds.max(5.0),
        ..Scenario::preset("webinar200").context("a preset")?
    };
    let (mut floors, mut reports) = (Vec::new(), Vec::new());
    for _ in 0..args.rounds {
        floors.push(floor::of_scenario(&scenario, true, length(args))?);
        reports.push(run::carry_out(&server(args), scenario.clone())?);
    }
    let of =
        |figure: &dyn Fn(&Report) -> f64| median(&reports.iter().map(figure).collect::<Vec<_>>());
    let of_floor =
        |figure: &dyn Fn(&Floor) -> f64| median(&floors.iter().map(figure).collect::<Vec<_>>());
    let cost = of(&|report| report.us_per_packet().unwrap_or(f64::NAN));
    let mut line = Line::of(name).beside_floor(cost, of_floor(&|floor| floor.us), None);
    let lost: u64 = reports.iter().map(|report| report.lost).sum();
    line.figures = vec![
        Figure::bound("packets lost in all rounds", lost as f64, 0.0),
        Figure::bound("p99 delay ms", of(&|report| report.delay_ms.p99), 30.0),
        Figure::told(
            "p99 delay ms of the floor",
            of_floor(&|floor| floor.delay.p99),
        ),
        Figure::told("p50 delay ms", of(&|report| report.delay_ms.p50)),
        Figure::told(
            "packets a second",
            of(&|report| report.delivered_per_second),
        ),
        Figure::told("server cores", of(&server_cores)),
        Figure::told("generator cores", of(&|report| report.generator.cores)),
    ];
    Ok(line)
}

/// So many rooms of eight that the busiest media thread works 70 % of its time.
fn delay_at_load(args: &BenchArgs, name: &str) -> Result<Line> {
    let mut rooms = 6;
    for _ in 0..LOAD_TRIES {
        let scenario = calls(name, rooms, args.seconds.max(5.0))?;
        let report = run::carry_out(&server(args), scenario.clone())?;
        let inside = report
            .inside
            .context("the server shows no /metrics to us")?;
        table::progress(&format!(
            "{rooms} rooms: busiest media thread {:.0} %, generator {:.2} cores",
            inside.busiest * 100.0,
            report.generator.cores
        ));
        if (inside.busiest - LOAD).abs() <= LOAD_TOLERANCE {
            return delay_line(args, name, &scenario, &report, inside);
        }
        ensure!(
            report.generator.cores < GENERATOR_CORES_MAX || inside.busiest > LOAD,
            "the generator is busy before the server is: give it --threads"
        );
        let wanted = f64::from(rooms) * LOAD / inside.busiest.max(0.01);
        // A call costs less where there are many, so a larger step is taken with care.
        rooms = (wanted.min(f64::from(rooms) * 4.0).round() as u32).max(1);
    }
    anyhow::bail!("no number of rooms made the server busy for 70 % of its time")
}

fn calls(name: &str, rooms: u32, seconds: f64) -> Result<Scenario> {
    Ok(Scenario {
        name: name.to_owned(),
        rooms,
        join_seconds: f64::from(rooms) / 5.0,
        seconds,
        ..Scenario::preset("mdt8").context("a preset")?
    })
}

fn delay_line(
    args: &BenchArgs,
    name: &str,
    scenario: &Scenario,
    report: &Report,
    inside: Inside,
) -> Result<Line> {
    let floor = floor::of_scenario(scenario, true, length(args))?;
    let still = standstill::watch(args.server_pid, Duration::from_secs(10))?;
    let mut line = Line::of(name).beside_floor(us(report)?, floor.us, None);
    line.figures = vec![
        Figure::bound("p50 inside ms", inside.p50_ms, 0.3),
        Figure::bound("p99 inside ms", inside.p99_ms, 1.0),
        Figure::told("p99 ms its idle core stands still", still.quantile_ms(0.99)),
        Figure::told("busiest media thread %", inside.busiest * 100.0),
        Figure::told("rooms of 8", f64::from(scenario.rooms)),
        Figure::told("packets a second", report.delivered_per_second),
        Figure::bound("loss %", report.loss_percent, 0.1),
        Figure::told("p99 delay ms", report.delay_ms.p99),
    ];
    Ok(line)
}

/// 500 others join within five seconds while a call of eight goes on.
fn join_storm(args: &BenchArgs, name: &str) -> Result<Line> {
    let scenario = Scenario {
        seconds: args.seconds.max(8.0),
        ..Scenario::preset("join-storm").context("a preset")?
    };
    let joins = scenario.storm.map_or(0, |storm: Storm| storm.joins) + scenario.publishers;
    let report = run::carry_out(&server(args), scenario)?;
    let missing = f64::from(joins) - report.joins.connected as f64;
    let mut line = Line::of(name);
    line.figures = vec![
        Figure::bound("joins missing of 508", missing, 0.0),
        Figure::bound("audio lost % in the call", report.audio_lost_percent, 0.5),
        Figure::told("p50 delay ms in the call", report.delay_ms.p50),
        Figure::told("p99 delay ms in the call", report.delay_ms.p99),
        Figure::told("p50 join ms", report.joins.join_ms.p50),
        Figure::told("p99 join ms", report.joins.join_ms.p99),
    ];
    Ok(line)
}

/// By how much the process grows with each participant: one who speaks and 24 who listen in each
/// room. The server should be told to keep next to no history.
fn memory(args: &BenchArgs, name: &str) -> Result<Line> {
    let rss = |rooms: u32| -> Result<f64> {
        let scenario = Scenario {
            name: format!("{name}-{rooms}-rooms"),
            rooms,
            subscribers: MEMBERS - 1,
            join_seconds: f64::from(rooms * MEMBERS) / 80.0,
            seconds: 3.0,
            ..Scenario::preset("audio200").context("a preset")?
        };
        let report = run::carry_out(&server(args), scenario)?;
        ensure!(report.failed() == 0, "not all could join");
        Ok(report.server.context("no process was measured")?.rss_mb)
    };
    let (few, many) = (rss(ROOMS.0)?, rss(ROOMS.1)?);
    let more = f64::from((ROOMS.1 - ROOMS.0) * MEMBERS);
    let mut line = Line::of(name);
    line.figures = vec![
        Figure::bound("KB for each participant", (many - few) * 1e3 / more, 60.0),
        Figure::told("MB with 100 participants", few),
        Figure::told("MB with 600 participants", many),
    ];
    Ok(line)
}

fn length(args: &BenchArgs) -> Duration {
    Duration::from_secs_f64(args.seconds)
}

fn server_cores(report: &Report) -> f64 {
    report.server.as_ref().map_or(0.0, |server| server.cores)
}
