//! One recording while it is made: its start, its handle, its writer thread.
//!
//! A [`Recording`] is a cheap handle that never waits for the disk: facts go into a bounded inbox,
//! packets come through the taps' own rings, and what the disk has acknowledged comes back as
//! [`Report`]s. The thread behind it drains, seals and syncs; everything it decides is in
//! [`scribe`]. It knows no catalogue and no store: whoever begins a recording says where its folder
//! is, keeps the release share, and closes it with a manifest.

mod fact;
pub mod scribe;
mod thread;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

use std::collections::VecDeque;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use sfu::tap::{RecordingMemory, Tap, TapReader};

pub use self::fact::{Fact, Interruption, Published, Report, Status, Ticket};
use self::scribe::{Origin, Scribe};
use crate::age::Recipient;
use crate::config::Limits;
use crate::contents::Contents;
use crate::counters::{Counter, Counters, Gauge};
use crate::digest::Digest;
use crate::durable;
use crate::folder::Part;
use crate::header::{Header, Policy, Retention, VERSION, Writer, owner_tag};
use crate::id::RecordingId;
use crate::journal::clock;
use crate::journal::disk::{Disk, LocalDisk};
use crate::journal::writer::{Journal, Tools};
use crate::keys::secret::{Secret, scrub_stack};
use crate::keys::split::draw;
use crate::keys::{KeyError, KeyProvider, Random, system_random};
use crate::sign::{Kind, SigningKey, sig_file};
use crate::wall::Wall;

/// What a recording is closed with: called once, on the writer's thread, when its last segment is
/// closed. Closed is reported when it has returned well; until then it is tried again.
pub type Closer = Box<dyn FnMut(&Closing) -> io::Result<()> + Send>;

/// Where reports go. Called on the recording's threads, one call at a time; must not wait, nor call
/// the recording itself.
pub type Subscriber = Box<dyn FnMut(Report) + Send>;

/// The wall clock.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// What a recorder has around it. The same for all recordings of a process but for `memory`.
pub struct Surroundings {
    /// Long-lived keys.
    pub keys: Arc<dyn KeyProvider>,
    /// The wall clock.
    pub clock: Clock,
    /// Bounds of the writer.
    pub limits: Limits,
    /// What the taps of this recording may take.
    pub memory: RecordingMemory,
    /// The disk that journals are written to.
    pub disk: Box<dyn Disk>,
    /// Randomness.
    pub random: Box<Random<'static>>,
    /// What is counted.
    pub counters: Arc<Counters>,
}

impl Surroundings {
    /// The local disk and the system's randomness.
    pub fn new(
        keys: Arc<dyn KeyProvider>,
        clock: Clock,
        limits: Limits,
        memory: RecordingMemory,
    ) -> Self {
        Self {
            keys,
            clock,
            limits,
            memory,
            disk: Box::new(LocalDisk),
            random: Box::new(system_random),
            counters: Arc::default(),
        }
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings").finish_non_exhaustive()
    }
}

/// What is to be recorded.
#[derive(Clone, Debug)]
pub struct Start {
    /// Its name.
    pub recording: RecordingId,
    /// The folder of all recordings.
    pub recordings: PathBuf,
    /// The room; written where officers alone read it.
    pub room_name: String,
    /// The room's session.
    pub room_sid: String,
    /// The name of the API key whose room it is.
    pub owner: String,
    /// Whose wish it is.
    pub policy: Policy,
    /// How long it is kept at least.
    pub retention: Retention,
    /// When it starts by the wall clock.
    pub started: Wall,
}

/// Where a recording that lost its writer stands, after salvage.
#[derive(Clone, Debug)]
pub struct Resume {
    /// Its folder.
    pub folder: PathBuf,
    /// Its header.
    pub header: Header,
    /// The room; written where officers alone read it.
    pub room_name: String,
    /// The number of the next writer.
    pub writer: u32,
    /// The number of the next segment.
    pub segment: u32,
    /// The last chain value before it.
    pub prev: Digest,
    /// The end of what is safe, microseconds since the start.
    pub durable_us: u64,
    /// What the last durable summary says.
    pub contents: Contents,
    /// Why there is a gap, in a word or two.
    pub reason: String,
}

/// A recording whose segments are closed and that wants its manifest.
#[derive(Clone, Debug)]
pub struct Closing {
    /// Its name.
    pub recording: RecordingId,
    /// Its folder.
    pub folder: PathBuf,
    /// Why it ended.
    pub reason: String,
    /// When, by the wall clock.
    pub closed: Wall,
    /// How long it is.
    pub duration_us: u64,
    /// What it contains.
    pub contents: Contents,
}

/// Why nothing is recorded.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The keys do not allow it: no officer, for one.
    #[error("{0}")]
    Key(#[from] KeyError),
    /// A recipient cannot be sealed to.
    #[error("{0}")]
    Age(#[from] crate::age::AgeError),
    /// The disk is full.
    #[error("there is no room on the disk for a recording")]
    NoSpace,
    /// The disk fails.
    #[error("{0}")]
    Io(io::Error),
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::NoSpace,
            _ => Self::Io(error),
        }
    }
}

/// A recording that is being made. Cheap to clone; nothing here waits for the disk.
#[derive(Clone)]
pub struct Recording(Arc<Shared>);

struct Shared {
    recording: RecordingId,
    recipient: Recipient,
    limits: Limits,
    memory: RecordingMemory,
    inbox: Mutex<Inbox>,
    woken: Condvar,
    standing: Mutex<Standing>,
    epoch: Instant,
    /// Milliseconds since `epoch` when the writer last finished a turn.
    beat: AtomicU64,
    is_short_of_room: AtomicBool,
    /// By which salvage knows that the writer lives; it dies with the process.
    _lock: File,
}

#[derive(Default)]
struct Inbox {
    facts: VecDeque<(Instant, Fact, Option<Ticket>)>,
    taps: Vec<TapReader>,
    overflow: Option<(Instant, Instant)>,
    stop: Option<String>,
}

/// What has been acknowledged, and who is told.
struct Standing {
    interruption: Option<Interruption>,
    is_stalled: bool,
    is_closed: bool,
    subscriber: Option<Subscriber>,
    counters: Arc<Counters>,
}

impl Recording {
    /// Begins a recording. When this returns, keys, shares, header and the first segment are on the
    /// disk. `keep_release_share` makes the server's sealed share durable in the release store, which
    /// is not in the recording's folder.
    pub fn begin(
        start: Start,
        mut around: Surroundings,
        keep_release_share: &mut dyn FnMut(&[u8]) -> io::Result<()>,
        closer: Closer,
    ) -> Result<Self, StartError> {
        let folder = start.folder();
        let begun = lay_down(start, &mut around, keep_release_share)
            .and_then(|laid| Self::open(laid, around, closer));
        if begun.is_err() {
            // Without a segment it never was a recording: salvage would remove it as well.
            let _left_for_salvage = fs::remove_dir_all(&folder);
        }
        begun
    }

    /// Goes on with a recording that lost its writer and has been salvaged.
    pub fn resume(
        resume: Resume,
        around: Surroundings,
        closer: Closer,
    ) -> Result<Self, StartError> {
        Self::open(resume.into(), around, closer)
    }

    fn open(laid: LaidDown, mut around: Surroundings, closer: Closer) -> Result<Self, StartError> {
        let lock = durable::hold(&laid.folder)?
            .ok_or_else(|| io::Error::from(io::ErrorKind::ResourceBusy))?;
        let now = Instant::now();
        let wall = Wall::from((around.clock)());
        let origin = Origin {
            at: now,
            us: match laid.resumed {
                None => 0,
                // The recording's time goes on with the wall clock, and never back.
                Some(_) => wall
                    .0
                    .saturating_sub(laid.header.started.0)
                    .max(laid.durable_us),
            },
            wall,
            is_synchronised: clock::is_synchronised,
        };
        let key = writer_key(&laid, wall, &mut around)?;
        let counters = Arc::clone(&around.counters);
        let kind = match laid.resumed {
            None => Counter::Begun,
            Some(_) => Counter::Resumed,
        };
        let (recording, recipient) = (laid.header.recording, laid.header.recipient);
        let (limits, memory, clock) = (around.limits, around.memory, around.clock);
        let tools = Tools {
            disk: around.disk,
            random: around.random,
            keys: around.keys,
            key,
            counters: Arc::clone(&counters),
        };
        let scribe = laid.into_scribe(limits, tools, origin)?;
        let shared = Shared {
            recording,
            recipient,
            limits,
            memory,
            inbox: Mutex::default(),
            woken: Condvar::new(),
            standing: Mutex::new(Standing {
                interruption: None,
                is_stalled: false,
                is_closed: false,
                subscriber: None,
                counters: Arc::clone(&counters),
            }),
            epoch: now,
            beat: AtomicU64::new(0),
            is_short_of_room: AtomicBool::new(false),
            _lock: lock,
        };
        let handle = Self(Arc::new(shared));
        thread::spawn(&handle, scribe, clock, closer, &counters)?;
        counters.count(kind);
        Ok(handle)
    }

    /// Which recording it is.
    pub fn id(&self) -> RecordingId {
        self.0.recording
    }

    /// To whom participants seal their keys for end-to-end encryption.
    pub fn recipient(&self) -> Recipient {
        self.0.recipient
    }

    /// A tap for a worker that carries the room: one for each, and a new one for each time it is
    /// attached. The error names the limit that is reached.
    pub fn tap(&self) -> Result<Tap, &'static str> {
        let (tap, reader) = sfu::tap::tap(Instant::now(), &self.0.memory)?;
        self.0.inbox().taps.push(reader);
        Ok(tap)
    }

    /// Writes down what happened. With a ticket, [`Report::Durable`] says when it is on the disk,
    /// and the flush does not wait for its second. More than the inbox holds becomes a gap.
    pub fn tell(&self, fact: Fact, ticket: Option<Ticket>) {
        let now = Instant::now();
        let mut inbox = self.0.inbox();
        if inbox.facts.len() < self.0.limits.events_max {
            inbox.facts.push_back((now, fact, ticket));
        } else {
            let since = inbox.overflow.map_or(now, |(since, _)| since);
            inbox.overflow = Some((since, now));
        }
        drop(inbox);
        if ticket.is_some() {
            self.0.woken.notify_one();
        }
    }

    /// How the recording is, as far as the disk has acknowledged it.
    pub fn status(&self) -> Status {
        self.0.standing().status()
    }

    /// Who is told what happens from here on; replaces an earlier subscriber. He is told at once if
    /// the recording is interrupted or closed already.
    pub fn subscribe(&self, mut subscriber: Subscriber) {
        let mut standing = self.0.standing();
        match standing.status() {
            Status::Recording => {}
            Status::Interrupted(why) => subscriber(Report::Interrupted(why)),
            Status::Closed => subscriber(Report::Closed),
        }
        standing.subscriber = Some(subscriber);
    }

    /// Whether the disk has had no room for the next segment: this one still goes on.
    pub fn is_short_of_room(&self) -> bool {
        self.0.is_short_of_room.load(Ordering::Relaxed)
    }

    /// Ends the recording: what its taps still hold is written, the segment is closed, the manifest
    /// made. [`Report::Closed`] says when that is done. Detach the taps first.
    pub fn stop(&self, reason: &str) {
        let mut inbox = self.0.inbox();
        inbox.stop.get_or_insert_with(|| reason.to_owned());
        drop(inbox);
        self.0.woken.notify_one();
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recording({})", self.0.recording)
    }
}

impl Start {
    /// Its folder.
    fn folder(&self) -> PathBuf {
        self.recordings.join(self.recording.to_string())
    }
}

/// A recording that has its keys and its header and wants a writer.
struct LaidDown {
    folder: PathBuf,
    header: Header,
    room: String,
    writer: u32,
    segment: u32,
    prev: Digest,
    durable_us: u64,
    contents: Contents,
    resumed: Option<String>,
}

impl From<Resume> for LaidDown {
    fn from(resume: Resume) -> Self {
        Self {
            folder: resume.folder,
            header: resume.header,
            room: resume.room_name,
            writer: resume.writer,
            segment: resume.segment,
            prev: resume.prev,
            durable_us: resume.durable_us,
            contents: resume.contents,
            resumed: Some(resume.reason),
        }
    }
}

impl LaidDown {
    /// Opens the first segment of this writer.
    fn into_scribe(self, limits: Limits, tools: Tools, origin: Origin) -> io::Result<Scribe> {
        let mut recipients = vec![self.header.recipient];
        recipients.extend(self.header.break_glass);
        let journal = Journal::new(
            self.folder,
            self.header.recording,
            recipients,
            limits,
            tools,
            (self.segment, self.prev),
        );
        let who = (self.header, self.room, self.writer);
        let mut scribe = Scribe::begin(who, limits, journal, self.contents, origin)?;
        scribe.begun(
            self.resumed
                .as_deref()
                .map(|reason| (reason, self.durable_us)),
        );
        Ok(scribe)
    }
}

/// The folder, the shares and the header, in this order.
fn lay_down(
    start: Start,
    around: &mut Surroundings,
    keep_release_share: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> Result<LaidDown, StartError> {
    let folder = start.folder();
    let compliance = around.keys.compliance()?;
    let release = around.keys.release();
    let break_glass = around.keys.break_glass();
    let random = &mut *around.random;
    let drawn = draw(
        start.recording,
        &compliance,
        &release,
        break_glass.as_ref(),
        random,
    )?;
    durable::make_folders(&folder)?;
    for (part, file) in &drawn.folder {
        durable::replace(&folder.join(part.to_string()), file)?;
    }
    keep_release_share(&drawn.release)?;
    let node = around.keys.node();
    let header = Header {
        version: VERSION,
        recording: start.recording,
        node: node.public(),
        recipient: drawn.recipient,
        room_sid: start.room_sid,
        room_tag: node.room_tag(&start.owner, &start.room_name),
        owner: owner_tag(&start.owner),
        policy: start.policy,
        started: start.started,
        retention: start.retention,
        compliance,
        release,
        break_glass,
    };
    let bytes = header.to_bytes();
    durable::replace(&folder.join(Part::Header.to_string()), &bytes)?;
    let sig = sig_file(Kind::Header, &bytes, node.key());
    durable::replace(&folder.join(Part::HeaderSig.to_string()), &sig)?;
    Ok(LaidDown {
        folder,
        header,
        room: start.room_name,
        writer: 0,
        segment: 0,
        prev: Digest::of(&bytes),
        durable_us: 0,
        contents: Contents::default(),
        resumed: None,
    })
}

/// Draws the writer's key and lays down its certificate.
fn writer_key(
    laid: &LaidDown,
    started: Wall,
    around: &mut Surroundings,
) -> Result<SigningKey, StartError> {
    let seed = Secret::filled(|bytes| (around.random)(bytes));
    let key = SigningKey::from_seed(seed.bytes());
    drop(seed);
    scrub_stack();
    let certificate = Writer {
        version: VERSION,
        recording: laid.header.recording,
        writer: laid.writer,
        key: key.public(),
        first_segment: laid.segment,
        prev: laid.prev,
        started,
    };
    let bytes = certificate.to_bytes();
    let sig = sig_file(Kind::Writer, &bytes, around.keys.node().key());
    let path = |part: Part| laid.folder.join(part.to_string());
    durable::replace(&path(Part::Writer(laid.writer)), &bytes)?;
    durable::replace(&path(Part::WriterSig(laid.writer)), &sig)?;
    Ok(key)
}

/// A panic of a writer thread is our bug; whoever asks for the status afterwards is still answered.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        lock(&self.inbox)
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        lock(&self.standing)
    }

    fn millis(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.epoch).as_millis() as u64
    }

    /// The writer has finished a turn.
    fn beat(&self) {
        self.beat
            .store(self.millis(Instant::now()), Ordering::Relaxed);
    }

    /// How long the writer has been at its turn.
    fn silence(&self) -> Duration {
        let since = self.beat.load(Ordering::Relaxed);
        Duration::from_millis(self.millis(Instant::now()).saturating_sub(since))
    }
}

impl Standing {
    fn status(&self) -> Status {
        match self.interruption {
            _ if self.is_closed => Status::Closed,
            Some(why) => Status::Interrupted(why),
            None if self.is_stalled => Status::Interrupted(Interruption::Stalled),
            None => Status::Recording,
        }
    }

    /// Takes in a report of the scribe and passes on what is new to the subscriber.
    fn report(&mut self, report: Report) {
        let before = self.status();
        match report {
            Report::Durable(_) => {
                self.pass_on(report);
                return;
            }
            Report::Interrupted(why) => self.interruption = Some(why),
            Report::Resumed => self.interruption = None,
            Report::Closed => self.is_closed = true,
        }
        self.pass_on_change(before);
    }

    fn stalled(&mut self, is_stalled: bool) {
        let before = self.status();
        self.is_stalled = is_stalled;
        self.pass_on_change(before);
    }

    fn pass_on_change(&mut self, before: Status) {
        let after = self.status();
        if before == after {
            return;
        }
        self.count_change(before, after);
        self.pass_on(match after {
            Status::Recording => Report::Resumed,
            Status::Interrupted(why) => Report::Interrupted(why),
            Status::Closed => Report::Closed,
        });
    }

    fn count_change(&self, before: Status, after: Status) {
        let was_interrupted = matches!(before, Status::Interrupted(_));
        if let Status::Interrupted(why) = after {
            self.counters.interrupted(why);
            if !was_interrupted {
                self.counters.rise(Gauge::Interrupted);
            }
        } else if was_interrupted {
            self.counters.fall(Gauge::Interrupted);
        }
        if after == Status::Closed {
            self.counters.count(Counter::Closed);
        }
    }

    fn pass_on(&mut self, report: Report) {
        if let Some(subscriber) = &mut self.subscriber {
            subscriber(report);
        }
    }
}
