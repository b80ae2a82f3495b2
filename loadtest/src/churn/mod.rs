//! `loadtest churn`: people come and go every second, lose their connections and come back, and at
//! the end nothing may be left of them.
//!
//! A hundred participants in rooms of several sizes, replaced one by one in every way in which a
//! participant can end; rooms that empty and rooms that are deleted; a receiver of webhooks that is
//! sometimes ill. Whether everything adds up is asked at roll calls, while nobody moves, and at the
//! end, when nobody is there: of `/metrics`, of the server API, of every participant's ears, of the
//! kernel, and of the webhooks. What participants do is in `seat`, what is judged in `ledger` and
//! `watch`.

mod crowd;
mod http;
mod ledger;
mod receiver;
mod seat;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;

use self::crowd::Crowd;
use self::receiver::Receiver;
use self::watch::{Levels, Watch};
use crate::door::Door;
use crate::page::{self, Section};
use crate::procfs::ProcessSample;
use crate::soak::drift;
use crate::stat::median;
use crate::table::{self, Table};

/// One comes and one goes.
const TICK: Duration = Duration::from_secs(1);
/// Between looks at the server.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// How long everything may take to be as it should be while nobody moves: whoever vanished keeps his
/// seat and his transport for a while.
const SETTLE_PATIENCE: Duration = Duration::from_secs(150);
/// How long webhooks may be under way to a receiver that is sometimes ill.
const WEBHOOK_PATIENCE: Duration = Duration::from_secs(120);
/// By how much memory may rise over the second half, if it is long enough to say.
const MEMORY_DRIFT_PERCENT_MAX: f64 = 3.0;
const SAMPLES_MIN: usize = 30;
/// Files of an empty server beyond those that it started with: connections to a receiver that are
/// kept for a while, and what its database opens when it is first used.
const FILES_LEFT_MAX: u64 = 40;

/// Options of `loadtest churn`.
#[derive(Debug, Args)]
pub(crate) struct ChurnArgs {
    #[command(flatten)]
    door: Door,
    /// The server's process
    #[arg(long, value_name = "PID", env = "SERVER_PID")]
    server_pid: u32,
    /// How long
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// How many are there at a time
    #[arg(long, default_value_t = 100)]
    participants: u32,
    /// Seconds of coming and going between roll calls
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    roll_call_every: u64,
    /// Where the server sends its webhooks: a port of this host
    #[arg(long, default_value_t = 17890)]
    webhook_port: u16,
    /// Also put the result into this page of measured numbers
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
}

/// A look at the server and the churn.
struct Sample {
    at: Duration,
    levels: Levels,
    process: ProcessSample,
    seated: usize,
}

/// Runs the subcommand; `false` when something does not add up.
pub(crate) fn run(args: &ChurnArgs) -> Result<bool> {
    ensure!(args.minutes > 0.0, "--minutes must be positive");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let report = runtime.block_on(async { Churn::start(args).await?.carry_out().await });
    runtime.shutdown_timeout(Duration::from_millis(300));
    let (text, faults) = report?;
    table::say(&text);
    for fault in &faults {
        table::progress(&format!("fault: {fault}"));
    }
    if let Some(path) = &args.page {
        let section = Section {
            name: "churn",
            title: "Coming and going for a long time",
            command: "make soak",
        };
        page::write(path, section, &text)?;
    }
    Ok(faults.is_empty())
}

struct Churn {
    length: Duration,
    crowd: Crowd,
    receiver: Arc<Receiver>,
    watch: Watch,
    samples: Vec<Sample>,
    faults: Vec<String>,
    roll_calls: u32,
    roll_call_ticks: u64,
    started: Instant,
}

impl Churn {
    async fn start(args: &ChurnArgs) -> Result<Self> {
        let server = args.door.livekit();
        let (_, host) = server
            .url
            .split_once("://")
            .context("--url has no scheme")?;
        let host = host.to_owned();
        let receiver = Receiver::start(args.webhook_port, &server.key, &server.secret).await?;
        Ok(Self {
            length: Duration::from_secs_f64(args.minutes * 60.0),
            crowd: Crowd::new(server, &host, args.participants)?,
            receiver,
            watch: Watch {
                host,
                pid: args.server_pid,
            },
            samples: Vec::new(),
            faults: Vec::new(),
            roll_calls: 0,
            roll_call_ticks: args.roll_call_every,
            started: Instant::now(),
        })
    }

    async fn carry_out(mut self) -> Result<(String, Vec<String>)> {
        let (_, empty) = self.watch.look().await?;
        self.crowd.fill().await;
        self.started = Instant::now();
        let mut ticks = 0;
        let mut next_look = self.started;
        while self.started.elapsed() < self.length {
            ticks += 1;
            self.crowd.tick(ticks).await;
            if Instant::now() >= next_look {
                next_look += LOOK_INTERVAL;
                self.sample().await?;
            }
            if ticks.is_multiple_of(self.roll_call_ticks) {
                self.roll_call().await?;
            }
            let due = self.started + TICK * ticks as u32;
            tokio::time::sleep(due.saturating_duration_since(Instant::now())).await;
        }
        self.sample().await?;
        self.roll_call().await?;
        self.crowd.dismiss().await;
        let left = self.empty_out().await?;
        self.await_webhooks().await;
        let (levels, process) = self.watch.look().await?;
        self.judge(&left, &levels, empty.files, process.files);
        let report = self.report(&levels, &empty, &process);
        Ok((report, self.faults))
    }

    async fn sample(&mut self) -> Result<()> {
        let (lowest, most) = (self.crowd.seated(), self.crowd.at_most());
        let (levels, process) = self.watch.look().await?;
        self.crowd.listen();
        let seated = self.crowd.seated();
        let at = self.started.elapsed();
        let all = most.max(self.crowd.at_most());
        let sure = lowest.min(seated) as u64;
        let is_possible = |count: u64| (sure..=all).contains(&count);
        if !is_possible(levels.participants) {
            let count = levels.participants;
            self.faults.push(format!(
                "after {at:.0?} there were {count} participants, of {sure} to {all}"
            ));
        }
        let sample = Sample {
            at,
            levels,
            process,
            seated,
        };
        self.samples.push(sample);
        let (rooms, open) = self.receiver.book().rooms();
        table::progress(&format!(
            "{:5.0} s: {seated} seated, {} on the server ({} detached), {} subscriptions, {:.1} MB, \
             {} files, {} joins, {} resumes, {} events, {rooms} rooms ({open} open)",
            at.as_secs_f64(),
            levels.participants,
            levels.detached,
            levels.subscriptions,
            process.resident as f64 / 1e6,
            process.files,
            self.crowd.joins,
            self.crowd.resumes(),
            self.receiver.book().events(),
        ));
        Ok(())
    }

    /// Nobody moves until everything is as it should be: on the page of numbers, in the lists of the
    /// server API, and in everybody's ears.
    async fn roll_call(&mut self) -> Result<()> {
        self.roll_calls += 1;
        let at = self.started.elapsed();
        self.crowd.settle().await;
        let deadline = Instant::now() + SETTLE_PATIENCE;
        let wrong = loop {
            self.crowd.listen();
            let (levels, _) = self.watch.look().await?;
            let wrong = match self.crowd.unsettled() {
                Some(why) => Some(why),
                None => levels.differs(&self.crowd.belief()),
            };
            let wrong = match wrong {
                Some(wrong) => Some(wrong),
                None => self.crowd.missing().await?,
            };
            if wrong.is_none() || Instant::now() > deadline {
                break wrong;
            }
            tokio::time::sleep(TICK / 2).await;
        };
        let took = self.started.elapsed() - at;
        let wrong = wrong.into_iter().chain(self.crowd.deaf().await);
        let wrong: Vec<String> = wrong.collect();
        table::progress(&format!(
            "roll call after {at:.0?}: {took:.1?}, wrong: {wrong:?}"
        ));
        let told = wrong.into_iter();
        self.faults
            .extend(told.map(|wrong| format!("roll call after {at:.0?}: {wrong}")));
        // What nobody did is not made up for.
        self.started += self.started.elapsed() - at;
        Ok(())
    }

    /// Waits until the server has nothing any more; gives what it had last.
    async fn empty_out(&mut self) -> Result<Option<String>> {
        let deadline = Instant::now() + SETTLE_PATIENCE;
        loop {
            self.crowd.listen();
            let (levels, _) = self.watch.look().await?;
            let left = levels.left();
            if left.is_none() || Instant::now() > deadline {
                return Ok(left);
            }
            tokio::time::sleep(TICK / 2).await;
        }
    }

    async fn await_webhooks(&mut self) {
        let deadline = Instant::now() + WEBHOOK_PATIENCE;
        while Instant::now() < deadline && self.receiver.book().rooms().1 > 0 {
            tokio::time::sleep(TICK / 2).await;
        }
        // What comes twice comes within this.
        tokio::time::sleep(TICK * 3).await;
    }

    fn judge(&mut self, left: &Option<String>, levels: &Levels, before: u64, files: u64) {
        let mut faults = Vec::new();
        faults.extend(left.iter().map(|left| format!("left at the end: {left}")));
        faults.append(&mut self.crowd.failures);
        faults.extend(self.receiver.book().faults(self.crowd.sids()));
        let mut must_be_none = |what: &str, count: u64| {
            if count > 0 {
                faults.push(format!("{count} {what}"));
            }
        };
        must_be_none("bugs caught", levels.panics);
        must_be_none("webhooks given up", levels.webhooks_lost);
        must_be_none("commands refused", levels.commands_refused);
        if levels.data_in == 0 || self.crowd.resumes() == 0 || self.receiver.book().repeated == 0 {
            faults.push("not everything has happened that should have".into());
        }
        if files > before + FILES_LEFT_MAX {
            faults.push(format!(
                "{files} open files at the end, {before} at the start"
            ));
        }
        let memory = self.second_half();
        let rise = drift(&memory) * 100.0 / middle(&memory).max(1.0);
        if memory.len() >= SAMPLES_MIN && rise > MEMORY_DRIFT_PERCENT_MAX {
            faults.push(format!("memory rose by {rise:.1} % over the second half"));
        }
        self.faults.extend(faults);
    }

    /// Megabytes by the second.
    fn second_half(&self) -> Vec<(f64, f64)> {
        let half = &self.samples[self.samples.len() / 2..];
        let figures = half.iter();
        figures
            .map(|one| (one.at.as_secs_f64(), one.process.resident as f64 / 1e6))
            .collect()
    }

    fn report(&self, end: &Levels, empty: &ProcessSample, process: &ProcessSample) -> String {
        let mut table = Table::new(&[
            "minute",
            "seated",
            "participants",
            "transports",
            "publications",
            "subscriptions",
            "MB",
            "files",
        ]);
        let wanted = (self.samples.len() / 6).max(1);
        for sample in self.samples.iter().step_by(wanted) {
            let levels = sample.levels;
            table.row(vec![
                format!("{:.1}", sample.at.as_secs_f64() / 60.0),
                sample.seated.to_string(),
                levels.participants.to_string(),
                levels.transports.to_string(),
                levels.publications.to_string(),
                levels.subscriptions.to_string(),
                format!("{:.1}", sample.process.resident as f64 / 1e6),
                sample.process.files.to_string(),
            ]);
        }
        let memory = self.second_half();
        let hours = memory.first().zip(memory.last());
        let hours = hours.map_or(0.0, |(first, last)| (last.0 - first.0) / 3_600.0);
        let slope = drift(&memory);
        let resumes = self.crowd.back.summary();
        let book = self.receiver.book();
        format!(
            "{:.1} minutes, {} participants in rooms of 4 to {}; participants beyond those seated have \
             vanished and keep their seats for a while.\n\n{}\n\
             * {} joins, {} goodbyes, {} vanished, {} replaced by their own second join, {} removed; {} \
             rooms emptied, {} deleted\n\
             * {} WebSockets cut and resumed: p50 {:.0} ms, p95 {:.0} ms, longest {:.0} ms; {} layers \
             chosen, {} mutes, {} subscriptions changed, {} messages\n\
             * {} roll calls; webhooks: {} events of {} rooms, {} of them delivered more than once under \
             their id\n\
             * memory over the second half: {:.1} MB, {slope:+.2} MB ({:+.1} MB an hour); {:.1} MB and {} \
             files before, {:.1} MB and {} files when all had gone ({} participants, {} transports, {} \
             slabs)\n\
             * faults: {}\n",
            self.length.as_secs_f64() / 60.0,
            self.crowd.size,
            self.crowd.largest(),
            table.markdown(),
            self.crowd.joins,
            self.crowd.goodbyes,
            self.crowd.vanished,
            self.crowd.replaced,
            self.crowd.removed,
            self.crowd.emptied,
            self.crowd.deleted,
            self.crowd.resumes(),
            resumes.p50,
            resumes.p95,
            resumes.max,
            self.crowd.layers,
            self.crowd.mutes,
            self.crowd.choices,
            self.crowd.messages,
            self.roll_calls,
            book.events(),
            book.rooms().0,
            book.repeated,
            middle(&memory),
            slope / hours.max(1e-9),
            empty.resident as f64 / 1e6,
            empty.files,
            process.resident as f64 / 1e6,
            process.files,
            end.participants,
            end.transports,
            end.slabs,
            match self.faults.len() {
                0 => "none".to_owned(),
                count => format!("{count}, the first: {}", self.faults[0]),
            },
        )
    }
}

fn middle(series: &[(f64, f64)]) -> f64 {
    median(&series.iter().map(|(_, value)| *value).collect::<Vec<_>>())
}
