//! `loadtest soak`: the same calls for half an hour, and whether anything creeps up.
//!
//! Rooms in which people speak in turns, and watchers who leave and are replaced, run at half of the
//! load that one publisher can bring without loss. Memory and delay are looked at sixty times; the
//! drift of each over the run is a robust slope (the median of the slopes of all pairs, Theil and
//! Sen), so that a minute in which the machine had something else to do decides nothing.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;

use crate::door::Door;
use crate::page::{self, Section};
use crate::run::{self, Report, Sample, Setup, Target};
use crate::scenario::Scenario;
use crate::stat::median;
use crate::table::{self, Table};

/// How often everything is looked at.
const LOOKS: u32 = 60;
/// Looks at the beginning that do not count: histories fill, the allocator finds its size.
const LOOKS_UNCOUNTED: usize = 6;

/// What may drift over the whole run.
const MEMORY_DRIFT_PERCENT_MAX: f64 = 3.0;
const DELAY_DRIFT_PERCENT_MAX: f64 = 15.0;
/// A delay is not said to drift by less than this: it is what one more wake-up costs.
const DELAY_DRIFT_MS_MIN: f64 = 0.2;
const LOSS_PERCENT_MAX: f64 = 0.1;

/// Options of `loadtest soak`.
#[derive(Debug, Args)]
pub(crate) struct SoakArgs {
    #[command(flatten)]
    door: Door,
    /// The server's process
    #[arg(long, value_name = "PID", env = "SERVER_PID")]
    server_pid: u32,
    /// How long
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// Rooms of eight, each about 6,400 packets a second
    #[arg(long, default_value_t = 11)]
    rooms: u32,
    /// Also write all figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also put the result into this page of measured numbers
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
}

/// Something that is judged.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Finding {
    what: &'static str,
    /// At the beginning and at the end, if it is something that drifts.
    typical: String,
    value: f64,
    at_most: f64,
}

/// Runs the subcommand; `false` when something creeps up.
pub(crate) fn run(args: &SoakArgs) -> Result<bool> {
    ensure!(args.minutes > 0.0, "--minutes must be positive");
    let length = Duration::from_secs_f64(args.minutes * 60.0);
    let mut scenario = Scenario::preset("soak").expect("it is listed");
    (scenario.rooms, scenario.seconds) = (args.rooms, length.as_secs_f64());
    let report = run::carry_out(&setup(args, length), scenario)?;
    if let Some(path) = &args.json {
        std::fs::write(path, serde_json::to_string_pretty(&report)?).context("--json")?;
    }
    let findings = judge(&report)?;
    let text = render(&findings) + &summary(&report);
    table::say(&text);
    if let Some(path) = &args.page {
        let section = Section {
            name: "soak",
            title: "Half load for a long time",
            command: "make soak",
        };
        page::write(path, section, &text)?;
    }
    Ok(findings.iter().all(Finding::is_good))
}

fn setup(args: &SoakArgs, length: Duration) -> Setup {
    Setup {
        target: Target::Livekit(args.door.livekit()),
        server_pids: vec![args.server_pid],
        threads: 1,
        via: None,
        bind: None,
        full: 0,
        sample_every: Some(length / LOOKS),
    }
}

impl Finding {
    fn is_good(&self) -> bool {
        self.value <= self.at_most
    }
}

fn judge(report: &Report) -> Result<Vec<Finding>> {
    let samples = report.samples.get(LOOKS_UNCOUNTED..).unwrap_or(&[]);
    ensure!(samples.len() >= 10, "too short to say anything");
    let series = |of: fn(&Sample) -> f64| -> Vec<(f64, f64)> {
        samples
            .iter()
            .map(|sample| (sample.at, of(sample)))
            .collect()
    };
    let (memory, delay) = (series(|s| s.rss_mb), series(|s| s.delay_ms));
    let typical = |series: &[(f64, f64)], unit: &str| {
        let value = middle(series);
        format!("{value:.2} {unit}, drift {:+.3} {unit}", drift(series))
    };
    let delay_max = DELAY_DRIFT_PERCENT_MAX.max(DELAY_DRIFT_MS_MIN * 100.0 / middle(&delay));
    Ok(vec![
        Finding {
            what: "memory drift %",
            typical: typical(&memory, "MB"),
            value: drift(&memory) * 100.0 / middle(&memory),
            at_most: MEMORY_DRIFT_PERCENT_MAX,
        },
        Finding {
            what: "delay drift %",
            typical: typical(&delay, "ms"),
            value: drift(&delay) * 100.0 / middle(&delay),
            at_most: delay_max,
        },
        Finding {
            what: "loss %",
            typical: format!("{} of {}", report.lost, report.lost + report.delivered),
            value: report.loss_percent,
            at_most: LOSS_PERCENT_MAX,
        },
        Finding {
            what: "failed joins",
            typical: format!("{} joins", report.joins.started),
            value: report.failed() as f64,
            at_most: 0.0,
        },
    ])
}

fn middle(series: &[(f64, f64)]) -> f64 {
    median(&series.iter().map(|(_, value)| *value).collect::<Vec<_>>())
}

/// By how much a series rises from its first to its last moment: the median slope of all pairs,
/// times the time between.
pub(crate) fn drift(series: &[(f64, f64)]) -> f64 {
    let mut slopes = Vec::new();
    for (index, (at, value)) in series.iter().enumerate() {
        for (later, new) in &series[index + 1..] {
            slopes.push((new - value) / (later - at));
        }
    }
    let ends = series.first().zip(series.last());
    median(&slopes) * ends.map_or(0.0, |(first, last)| last.0 - first.0)
}

fn render(findings: &[Finding]) -> String {
    let mut table = Table::new(&["figure", "typical", "drift", "at most", "good"]);
    for finding in findings {
        table.row(vec![
            finding.what.to_owned(),
            finding.typical.clone(),
            format!("{:.2}", finding.value),
            format!("{:.1}", finding.at_most),
            if finding.is_good() { "yes" } else { "no" }.to_owned(),
        ]);
    }
    table.markdown()
}

fn summary(report: &Report) -> String {
    let of = |share: f64| {
        report
            .samples
            .get((report.samples.len() as f64 * share) as usize)
    };
    let line = |name: &str, sample: Option<&Sample>| {
        sample.map_or(String::new(), |s| {
            let inside = s.inside.map_or(String::new(), |i| {
                format!(
                    "; inside the server p99 {:.2} ms, busiest thread {:.0} %",
                    i.p99_ms,
                    i.busiest * 100.0
                )
            });
            format!(
                "* {name}: {:.1} MB, mean delay {:.2} ms, {:.0} packets a second{inside}\n",
                s.rss_mb, s.delay_ms, s.received
            )
        })
    };
    format!(
        "\n{:.0} minutes, {} rooms of 4 who speak in turns and 4 who watch for two minutes each; delay is \
         from the publisher's call to the receiver's plaintext.\n\n{}{}{}",
        report.scenario.seconds / 60.0,
        report.scenario.rooms,
        line("after a tenth", of(0.1)),
        line("in the middle", of(0.5)),
        line("at the end", report.samples.last()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drift_is_found_under_noise_and_outliers() {
        let noisy = |slope: f64| -> Vec<(f64, f64)> {
            (0..54)
                .map(|i| {
                    let at = f64::from(i) * 30.0;
                    let noise = f64::from(i * 7 % 5) * 0.1;
                    let outlier = if i % 11 == 3 { 50.0 } else { 0.0 };
                    (at, 80.0 + slope * at + noise + outlier)
                })
                .collect()
        };
        assert!(drift(&noisy(0.0)).abs() < 0.2);
        let rises = drift(&noisy(0.01));
        assert!((rises - 15.9).abs() < 0.5, "{rises}");
    }

    #[test]
    fn what_is_above_its_limit_is_not_good() {
        let finding = |value| Finding {
            what: "memory drift %",
            typical: String::new(),
            value,
            at_most: 3.0,
        };
        assert!(finding(-9.0).is_good() && finding(3.0).is_good());
        assert!(!finding(3.1).is_good());
    }
}
