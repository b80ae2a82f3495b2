//! `loadtest run`: a scenario against a server, from the first join to the verdict.
//!
//! Joins everyone, lets them settle, measures for a while, asks every participant what it got and
//! reads the server's process from outside. The protocol is in `signal`, the media in `client`,
//! the figures in `report`.

mod options;
mod report;

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::sync::{mpsc, watch};

pub(crate) use self::options::RunArgs;
use self::report::{Joins, Measured, ServerUse};
pub(crate) use self::report::{Report, Sample};
use crate::client::audience::{Outcome, Spans};
use crate::client::payload::Voice;
use crate::client::peer::Identity;
use crate::client::sender::{AUDIO_HEADER, AUDIO_PACKET_MIN, Content};
use crate::client::tracker::Experience;
use crate::client::worker::{MemberId, Shared, WorkerHandle};
use crate::metrics::{self, Look};
use crate::procfs::ProcessSample;
use crate::scenario::Scenario;
#[cfg(feature = "full")]
use crate::signal::full;
use crate::signal::{JoinEvent, JoinSpec, Signals, TrackSpec, janus, livekit};
use crate::stat::Histogram;
use crate::table;

/// How long joins may take after the last one was started.
const JOIN_PATIENCE: Duration = Duration::from_secs(20);
/// Between the last join and the window: layers settle, caches warm up.
const WARM_UP: Duration = Duration::from_secs(2);
/// After the window, for packets on their way.
const STRAGGLERS: Duration = Duration::from_millis(700);
/// Failures that are told while they happen; all are counted.
const FAILURES_TOLD: usize = 10;
/// After the last order to leave.
const GOODBYE: Duration = Duration::from_millis(400);

/// Runs the subcommand; `false` when a threshold was missed.
pub(crate) fn run(args: &RunArgs) -> Result<bool> {
    let report = carry_out(&args.setup(), args.scenario()?)?;
    table::say(&report.render());
    if let Some(path) = &args.json {
        std::fs::write(path, serde_json::to_string_pretty(&report)?).context("--json")?;
    }
    let missed = args.thresholds.missed(&report);
    for miss in &missed {
        table::progress(&format!("missed: {miss}"));
    }
    Ok(missed.is_empty())
}

/// Carries out a scenario once.
pub(crate) fn carry_out(setup: &Setup, scenario: Scenario) -> Result<Report> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let report = runtime.block_on(Run::start(setup, scenario)?.carry_out());
    // Sessions that do not hear that they should leave are dropped.
    runtime.shutdown_timeout(Duration::from_millis(300));
    report
}

/// Everything about a run that is not its scenario.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// Which server.
    pub(crate) target: Target,
    /// Its processes, if they are to be measured.
    pub(crate) server_pids: Vec<u32>,
    /// Threads that serve the participants' media.
    pub(crate) threads: usize,
    /// Send media here, whatever address the server names.
    pub(crate) via: Option<SocketAddr>,
    /// Bind media sockets to this address.
    pub(crate) bind: Option<IpAddr>,
    /// So many of the first participants have a whole stack.
    pub(crate) full: u32,
    /// Look at everything so often within the window.
    pub(crate) sample_every: Option<Duration>,
}

/// Which server, and how to talk to it.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// Any that speaks the LiveKit protocol.
    Livekit(livekit::Server),
    /// The videoroom of Janus.
    Janus(janus::Server),
}

impl Target {
    /// The same server with rooms of their own for the run of that number.
    fn for_run(&self, number: u32) -> Self {
        match self.clone() {
            Self::Livekit(server) => Self::Livekit(livekit::Server {
                room_prefix: format!("load-{number:08x}"),
                ..server
            }),
            Self::Janus(server) => Self::Janus(janus::Server {
                first_room: (number >> 4) + 1,
                ..server
            }),
        }
    }
}

/// Runs of this process so far.
static RUNS: AtomicU32 = AtomicU32::new(0);

/// A participant as the run knows it.
struct Participant {
    room: u32,
    started: Instant,
    connected: Option<Instant>,
    leave: watch::Sender<bool>,
    /// Whether it is there from before the window to its end.
    is_steady: bool,
}

struct Run {
    scenario: Scenario,
    server_pids: Vec<u32>,
    sample_every: Option<Duration>,
    server: Target,
    #[cfg(feature = "full")]
    full: u32,
    signals: Arc<Signals>,
    events: mpsc::UnboundedReceiver<JoinEvent>,
    voice: Option<Arc<Voice>>,
    participants: HashMap<MemberId, Participant>,
    next_id: MemberId,
    joins: Joins,
    failures: Vec<String>,
    profiles: HashSet<String>,
}

impl Run {
    fn start(setup: &Setup, scenario: Scenario) -> Result<Self> {
        ensure!(
            setup.full == 0 || cfg!(feature = "full"),
            "this program was built without the feature `full`"
        );
        let runs = RUNS.fetch_add(1, Ordering::Relaxed);
        let number = (std::process::id() << 8 | runs & 0xff).wrapping_mul(0x9e37_79b9);
        let shared = Arc::new(Shared::new(number));
        let workers = (0..setup.threads.max(1))
            .map(|_| WorkerHandle::start(shared.clone()))
            .collect::<Result<Vec<_>>>()?;
        let voice = voice_of(&scenario)?;
        let (sender, events) = mpsc::unbounded_channel();
        let signals = Arc::new(Signals {
            shared,
            workers,
            identity: Identity::generate()?,
            publications: Mutex::default(),
            next_number: AtomicU32::new(0),
            events: sender,
            via: setup.via,
            bind: setup.bind,
            #[cfg(feature = "full")]
            full: Mutex::default(),
        });
        Ok(Self {
            scenario,
            server_pids: setup.server_pids.clone(),
            sample_every: setup.sample_every,
            server: setup.target.for_run(number),
            #[cfg(feature = "full")]
            full: setup.full,
            signals,
            events,
            voice,
            participants: HashMap::new(),
            next_id: 1,
            joins: Joins::default(),
            failures: Vec::new(),
            profiles: HashSet::new(),
        })
    }

    async fn carry_out(mut self) -> Result<Report> {
        table::progress(&format!(
            "{}: about {:.0} packets a second to deliver",
            self.scenario.name,
            self.scenario.delivered_per_second()
        ));
        self.join_all().await?;
        tokio::time::sleep(WARM_UP).await;
        let measured = self.measure().await?;
        tokio::time::sleep(STRAGGLERS).await;
        self.take_events();
        let (experience, live, expected) = self.sum_up().await?;
        Ok(Report::new(
            &self.scenario,
            &self.joins,
            self.failures,
            &self.profiles,
            &experience,
            (live, expected),
            measured,
        ))
    }

    /// Publishers first, then watchers, spread evenly over the time that the scenario gives.
    async fn join_all(&mut self) -> Result<()> {
        let mut specs: Vec<JoinSpec> = Vec::new();
        for is_publisher in [true, false] {
            for room in 0..self.scenario.rooms {
                let count = match is_publisher {
                    true => self.scenario.publishers,
                    false => self.scenario.subscribers,
                };
                specs
                    .extend((0..count).map(|index| self.spec(room, is_publisher.then_some(index))));
            }
        }
        let gap = Duration::from_secs_f64(self.scenario.join_seconds / specs.len().max(1) as f64);
        let total = specs.len();
        self.start_joins(specs, gap, true).await;
        let deadline = Instant::now() + JOIN_PATIENCE;
        while self.joins.connected + self.failures.len() < total && Instant::now() < deadline {
            let wait = tokio::time::timeout(Duration::from_secs(1), self.events.recv());
            if let Ok(Some(event)) = wait.await {
                self.note(event);
            }
        }
        table::progress(&format!(
            "{} of {total} joined, {} failed",
            self.joins.connected,
            self.failures.len()
        ));
        ensure!(self.joins.connected > 0, "nobody could join");
        Ok(())
    }

    fn spec(&mut self, room: u32, publisher: Option<u32>) -> JoinSpec {
        let id = self.next_id;
        self.next_id += 1;
        let tracks = publisher.map_or_else(Vec::new, |index| self.tracks(index));
        let has_publishers = room < self.scenario.rooms;
        let others = self.scenario.publishers - u32::from(publisher.is_some());
        let publishers = if has_publishers { others } else { 0 };
        JoinSpec {
            id,
            room,
            tracks,
            publishers,
            has_two: false,
        }
    }

    fn tracks(&self, index: u32) -> Vec<TrackSpec> {
        let turn = (self.scenario.speaker_seconds > 0.0).then(|| {
            let nanos = (self.scenario.speaker_seconds * 1e9) as u64;
            (index, self.scenario.publishers, nanos)
        });
        let screen = self.scenario.screen.filter(|_| index == 0);
        let voice = self.voice.clone().map(Content::Audio);
        let camera = self.scenario.video.map(Content::Video);
        let track = |content, is_screen| TrackSpec {
            content,
            is_screen,
            turn,
        };
        let flat = voice
            .into_iter()
            .chain(camera)
            .map(|content| track(content, false));
        flat.chain(screen.map(|screen| track(Content::Video(screen), true)))
            .collect()
    }

    async fn start_joins(&mut self, specs: Vec<JoinSpec>, gap: Duration, is_steady: bool) {
        let start = Instant::now();
        for (index, spec) in specs.into_iter().enumerate() {
            let due = start + gap * index as u32;
            while let Some(wait) = due.checked_duration_since(Instant::now()) {
                tokio::time::sleep(wait).await;
            }
            self.take_events();
            self.start_join(spec, is_steady);
        }
    }

    fn start_join(&mut self, spec: JoinSpec, is_steady: bool) {
        let (leave, leaving) = watch::channel(false);
        let (signals, server) = (self.signals.clone(), self.server.clone());
        #[cfg(feature = "full")]
        let is_full = spec.id <= self.full;
        self.joins.started += 1;
        self.participants.insert(
            spec.id,
            Participant {
                room: spec.room,
                started: Instant::now(),
                connected: None,
                leave,
                is_steady,
            },
        );
        tokio::spawn(async move {
            match server {
                #[cfg(feature = "full")]
                Target::Livekit(server) if is_full => {
                    let media = full::Full::open(&signals, &spec, signals.bind).await;
                    livekit::participate_with(&signals, &server, &spec, media, leaving).await;
                }
                Target::Livekit(server) => {
                    livekit::participate(&signals, &server, spec, leaving).await;
                }
                Target::Janus(server) => {
                    janus::participate(&signals, &server, spec, leaving).await;
                }
            }
        });
    }

    fn take_events(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            self.note(event);
        }
    }

    fn note(&mut self, event: JoinEvent) {
        match event {
            JoinEvent::Connected(id, at, profile) => {
                self.profiles.insert(profile);
                if let Some(participant) = self.participants.get_mut(&id) {
                    participant.connected = Some(at);
                    let took = at.duration_since(participant.started);
                    self.joins.connected += 1;
                    self.joins.times.record(took.as_micros() as u64);
                }
            }
            JoinEvent::Failed(id, reason) => {
                if let Some(participant) = self.participants.get_mut(&id) {
                    participant.is_steady = false;
                    // It need not be told any more, and nobody shall choose it to be.
                    participant.leave.send_replace(true);
                }
                if self.failures.len() < FAILURES_TOLD {
                    table::progress(&format!("participant {id} failed: {reason}"));
                }
                self.failures.push(reason);
            }
        }
    }

    /// Opens the window, lets storms and changes happen in it, and looks at the server.
    async fn measure(&mut self) -> Result<Measured> {
        let look_before = self.look_inside().await;
        let shared = self.signals.shared.clone();
        let length = Duration::from_secs_f64(self.scenario.seconds);
        let own = || ProcessSample::take(std::process::id()).context("reading the own process");
        let (before, own_before) = (self.look_at_server()?, own()?);
        let start = shared.epoch.elapsed().as_nanos() as u64;
        shared
            .window_end
            .store(start + length.as_nanos() as u64, Ordering::Relaxed);
        shared.window_start.store(start, Ordering::Relaxed);
        let opened = Instant::now();
        let mut storm = self.storm();
        let mut told = Instant::now();
        let (mut sent, mut received) = (0, 0);
        let stay = self.scenario.stay_seconds;
        let mut next_change = opened;
        let heard = (
            shared.received.load(Ordering::Relaxed),
            shared.delay_us.load(Ordering::Relaxed),
        );
        let mut sampler = Sampler::new(opened, heard, look_before.clone());
        while opened.elapsed() < length {
            while storm
                .last()
                .is_some_and(|(due, _)| opened.elapsed() >= *due)
            {
                if let Some((_, spec)) = storm.pop() {
                    self.start_join(spec, false);
                }
            }
            if stay > 0.0 && self.scenario.subscribers > 0 && Instant::now() >= next_change {
                let leaves = f64::from(self.scenario.subscribers * self.scenario.rooms) / stay;
                next_change += Duration::from_secs_f64(1.0 / leaves);
                self.replace_one().await;
            }
            self.take_events();
            if self
                .sample_every
                .is_some_and(|every| sampler.last.elapsed() >= every)
            {
                self.sample(&mut sampler).await?;
            }
            if told.elapsed() >= Duration::from_secs(1) {
                told = Instant::now();
                let now = (
                    shared.sent.load(Ordering::Relaxed),
                    shared.received.load(Ordering::Relaxed),
                );
                table::progress(&format!(
                    "{:3.0} s: sent {}/s, received {}/s, {} connected, {} failed",
                    opened.elapsed().as_secs_f64(),
                    now.0 - sent,
                    now.1 - received,
                    self.joins.connected,
                    self.failures.len()
                ));
                (sent, received) = now;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        ensure!(
            self.signals.workers.iter().all(WorkerHandle::is_alive),
            "a worker of the load generator has died"
        );
        let (after, own_after) = (self.look_at_server()?, own()?);
        let server = before
            .zip(after)
            .map(|(before, after)| ServerUse::between(&before, &after, length));
        let look_after = self.look_inside().await;
        let inside = look_before.zip(look_after);
        Ok(Measured {
            server,
            generator: ServerUse::between(&[own_before], &[own_after], length),
            inside: inside.map(|(before, after)| after.since(&before, length)),
            samples: sampler.samples,
        })
    }

    /// What the server says of itself, if it is one that does.
    async fn look_inside(&self) -> Option<Look> {
        match &self.server {
            Target::Livekit(server) => metrics::look(&server.url).await,
            Target::Janus(_) => None,
        }
    }

    async fn sample(&self, sampler: &mut Sampler) -> Result<()> {
        let (server, look) = (self.look_at_server()?, self.look_inside().await);
        let shared = &self.signals.shared;
        let counts = (
            shared.received.load(Ordering::Relaxed),
            shared.delay_us.load(Ordering::Relaxed),
        );
        let resident = server.iter().flatten().map(|process| process.resident);
        sampler.add(resident.sum(), counts, look);
        Ok(())
    }

    fn look_at_server(&self) -> Result<Option<Vec<ProcessSample>>> {
        let looks = self.server_pids.iter().map(|&pid| {
            ProcessSample::take(pid).with_context(|| format!("reading server process {pid}"))
        });
        let looks: Vec<ProcessSample> = looks.collect::<Result<_>>()?;
        Ok((!looks.is_empty()).then_some(looks))
    }

    /// Joins of the storm with their times, the earliest last.
    fn storm(&mut self) -> Vec<(Duration, JoinSpec)> {
        let Some(storm) = self.scenario.storm else {
            return Vec::new();
        };
        let first_room = self.scenario.rooms;
        let mut joins: Vec<(Duration, JoinSpec)> = (0..storm.joins)
            .map(|index| {
                let share = f64::from(index) / f64::from(storm.joins);
                let room = first_room + index % storm.rooms.max(1);
                (
                    Duration::from_secs_f64(storm.seconds * share),
                    self.spec(room, None),
                )
            })
            .collect();
        joins.reverse();
        joins
    }

    /// Lets the watcher that has been there longest leave, and another one join in its room.
    async fn replace_one(&mut self) {
        let publishers = self.scenario.publishers * self.scenario.rooms;
        let candidates = self.participants.iter().filter(|(id, participant)| {
            **id > publishers && participant.connected.is_some() && !*participant.leave.borrow()
        });
        let Some((&id, participant)) = candidates.min_by_key(|(id, _)| **id) else {
            return;
        };
        let room = participant.room;
        // Also if nobody listens any more: it must not be chosen again.
        participant.leave.send_replace(true);
        if let Some(participant) = self.participants.get_mut(&id) {
            participant.is_steady = false;
        }
        let spec = self.spec(room, None);
        self.start_join(spec, false);
    }

    /// Asks everyone what it got. Who was there all the time should have got everything that
    /// others sent in its room; of the rest only gaps within what came count as loss.
    async fn sum_up(&mut self) -> Result<(Experience, usize, usize)> {
        let publications = self
            .signals
            .publications
            .lock()
            .expect("no holder panics")
            .clone();
        let (mut total, mut live, mut expected) = (Experience::default(), 0, 0);
        let mut replies = Vec::new();
        for (&id, participant) in &self.participants {
            if participant.connected.is_none() {
                continue;
            }
            let mut spans = Spans::new();
            if participant.is_steady {
                let others = publications.iter();
                for publication in others.filter(|p| p.room == participant.room && p.owner != id) {
                    expected += 1;
                    let [record] = &publication.records[..] else {
                        continue;
                    };
                    if let Some((first, last)) = record.span() {
                        spans.insert(publication.number, (publication.number << 2, first, last));
                    }
                }
            }
            let outcome = self.signals.finish(id, spans);
            replies.push((participant.started, participant.is_steady, outcome));
        }
        for (started, is_steady, outcome) in replies {
            let Ok(Outcome {
                experience,
                live: streams,
                first_media,
            }) = outcome.await
            else {
                continue;
            };
            total.merge(&experience);
            live += if is_steady { streams } else { 0 };
            if let Some(at) = first_media {
                self.joins
                    .first_media
                    .record(at.duration_since(started).as_micros() as u64);
            }
        }
        for participant in self.participants.values() {
            // A session that has ended by itself has left already.
            let _ = participant.leave.send(true);
        }
        // Time to say goodbye, so that the server is free for the next run.
        tokio::time::sleep(GOODBYE).await;
        Ok((total, live, expected))
    }
}

/// Cuts the window into pieces.
struct Sampler {
    opened: Instant,
    last: Instant,
    counts: (u64, u64),
    look: Option<Look>,
    samples: Vec<Sample>,
}

impl Sampler {
    fn new(opened: Instant, counts: (u64, u64), look: Option<Look>) -> Self {
        Self {
            opened,
            last: opened,
            counts,
            look,
            samples: Vec::new(),
        }
    }

    /// Ends a piece: bytes resident, packets received and their delays so far, and a look inside.
    fn add(&mut self, resident: u64, counts: (u64, u64), look: Option<Look>) {
        let passed = self.last.elapsed();
        self.last = Instant::now();
        let (received, delay_us) = (counts.0 - self.counts.0, counts.1 - self.counts.1);
        self.counts = counts;
        let before = std::mem::replace(&mut self.look, look);
        let inside = before.as_ref().zip(self.look.as_ref());
        self.samples.push(Sample {
            at: (self.last - self.opened).as_secs_f64(),
            rss_mb: resident as f64 / 1e6,
            delay_ms: delay_us as f64 / received.max(1) as f64 / 1e3,
            inside: inside.map(|(before, after)| after.since(before, passed)),
            received: received as f64 / passed.as_secs_f64(),
        });
    }
}

fn voice_of(scenario: &Scenario) -> Result<Option<Arc<Voice>>> {
    if scenario.audio_packet_size == 0 {
        return Ok(None);
    }
    let size = scenario.audio_packet_size;
    ensure!(
        size >= AUDIO_PACKET_MIN,
        "audio packets have at least {AUDIO_PACKET_MIN} bytes"
    );
    Ok(Some(Arc::new(Voice::encode(size - AUDIO_HEADER)?)))
}

/// Histograms start empty; a name for the two of the joins.
impl Default for Joins {
    fn default() -> Self {
        let (times, first_media) = (Histogram::default(), Histogram::default());
        Self {
            started: 0,
            connected: 0,
            times,
            first_media,
        }
    }
}
