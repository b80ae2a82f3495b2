//! What recording costs those who are recorded: the same call, recorded and not, in turns.
//!
//! Each pair of runs follows at once and every other pair begins with the other half, so that what
//! else the machine does hits both alike. The ratio is taken pair by pair; the median of the ratios
//! is the figure. The server must leave the choice to the room's token (`recording.policy =
//! "with-consent"`) and have an officer, as one that runs with `--dev` has.

use anyhow::{Context, Result, ensure};

use super::line::{Figure, Line};
use super::{BenchArgs, server, us};
use crate::run::{self, Report, Target};
use crate::scenario::Scenario;
use crate::stat::median;
use crate::table;

/// Pairs, whatever `--rounds` says: a 99th percentile of some seconds is a rough figure.
const PAIRS: usize = 9;

/// A recorded call's 99th percentile may be so many times that of one that is not.
const RATIO_MAX: f64 = 1.05;

/// One call of eight with pictures of 1.5 Mbit/s.
pub(super) fn recording(args: &BenchArgs, name: &str) -> Result<Line> {
    let mut pairs = Vec::new();
    for pair in 1..=PAIRS {
        table::progress(&format!("{name}: pair {pair} of {PAIRS}"));
        let (on, off) = if pair % 2 == 0 {
            let on = call(args, name, true)?;
            (on, call(args, name, false)?)
        } else {
            let off = call(args, name, false)?;
            (call(args, name, true)?, off)
        };
        pairs.push((on, off));
    }
    line(name, &pairs)
}

fn call(args: &BenchArgs, name: &str, is_recorded: bool) -> Result<Report> {
    let scenario = Scenario {
        name: name.to_owned(),
        seconds: args.seconds.max(6.0),
        ..Scenario::preset("mdt8").context("a preset")?
    };
    let mut setup = server(args);
    if let Target::Livekit(server) = &mut setup.target {
        server.recorded = Some(is_recorded);
    }
    let report = run::carry_out(&setup, scenario)?;
    ensure!(report.failed() == 0, "not all could join");
    let inside = report
        .inside
        .context("the server shows no /metrics to us")?;
    let stored = inside.recorded_per_second;
    // What is called recorded must be, whole; what is not must not.
    let sent = report.delivered_per_second / f64::from(report.scenario.publishers - 1);
    let is_as_wanted = match is_recorded {
        true => stored > 0.9 * sent,
        false => stored == 0.0,
    };
    ensure!(
        is_as_wanted,
        "{stored:.0} packets a second were recorded of {sent:.0}: has the server an officer and \
         recording.policy = \"with-consent\"?"
    );
    Ok(report)
}

fn line(name: &str, pairs: &[(Report, Report)]) -> Result<Line> {
    let p99 = |report: &Report| report.inside.map_or(f64::NAN, |inside| inside.p99_ms);
    let p50 = |report: &Report| report.inside.map_or(f64::NAN, |inside| inside.p50_ms);
    let ratio = |of: &dyn Fn(&Report) -> f64| {
        let ratios: Vec<_> = pairs.iter().map(|(on, off)| of(on) / of(off)).collect();
        median(&ratios)
    };
    let of = |is_on: bool, figure: &dyn Fn(&Report) -> f64| {
        let halves = pairs.iter().map(|(on, off)| if is_on { on } else { off });
        median(&halves.map(figure).collect::<Vec<_>>())
    };
    for (on, off) in pairs {
        us(on).and_then(|_| us(off))?;
    }
    let cost = |report: &Report| us(report).unwrap_or(f64::NAN);
    let cores = |report: &Report| report.server.as_ref().map_or(f64::NAN, |it| it.cores);
    let mut line = Line::of(name);
    line.figures = vec![
        Figure::bound("p99 inside, recorded / not", ratio(&p99), RATIO_MAX),
        Figure::told("p99 inside ms, recorded", of(true, &p99)),
        Figure::told("p99 inside ms, not", of(false, &p99)),
        Figure::told("p50 inside, recorded / not", ratio(&p50)),
        Figure::told("p99 delay, recorded / not", ratio(&|it| it.delay_ms.p99)),
        Figure::told("us/packet, recorded", of(true, &cost)),
        Figure::told("us/packet, not", of(false, &cost)),
        Figure::told(
            "% of a core that recording takes",
            (of(true, &cores) - of(false, &cores)) * 100.0,
        ),
        Figure::told(
            "packets recorded a second",
            of(true, &|report| {
                report.inside.map_or(0.0, |it| it.recorded_per_second)
            }),
        ),
    ];
    Ok(line)
}
