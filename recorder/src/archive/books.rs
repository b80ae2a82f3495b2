//! The books of the archive: transparency log, audit, and what they say about the clock.
//!
//! One lock for all three, because an audit day that ends becomes an entry of the log, and because
//! what the audit vouches for is what the clock is held against.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::access::Refused;
use crate::audit::{Act, Audit, Line, Outcome};
use crate::confirmation::Confirmation;
use crate::counters::{Counter, Counters};
use crate::id::RecordingId;
use crate::retention::{ClockGuard, Standing};
use crate::sign::NodeKey;
use crate::tlog::{Entry, Log};
use crate::wall::Wall;

/// The actor of what nobody asked for.
pub(super) const SYSTEM: &str = "system";

/// The action by which the audit vouches for the clock.
const CLOCK: &str = "clock";

/// So often the audit vouches for a clock that ticks as it should.
const VOUCH_INTERVAL: Duration = Duration::from_secs(3600);

/// What is told of an attempt beside who, what and to which recording.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// What the person said.
    pub(super) reason: Option<String>,
    /// Further facts.
    pub(super) detail: Map<String, Value>,
}

impl Told {
    /// What the person said.
    pub(super) fn because(reason: &str) -> Self {
        Self {
            reason: Some(reason.to_owned()),
            ..Self::default()
        }
    }

    /// One more fact.
    pub(super) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.detail.insert(key.to_owned(), value.into());
        self
    }
}

/// Log, audit and clock.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) log: Log,
    audit: Audit,
    guard: ClockGuard,
    vouched: Wall,
    counters: Arc<Counters>,
}

impl Books {
    /// Opens both below `data`. The very first start vouches for the clock; every later one is held
    /// against the last time that was vouched for. The uptime begins now.
    pub(super) fn open(
        data: &Path,
        node: &str,
        key: &Arc<NodeKey>,
        now: Wall,
        counters: Arc<Counters>,
    ) -> Result<Self, String> {
        let log = Log::open(&data.join("log"), node, Arc::clone(key));
        let mut log = log.map_err(|error| error.to_string())?;
        let folder = data.join("audit");
        let audit = Audit::open(&folder, Arc::clone(key), &mut log, now);
        let audit = audit.map_err(|error| error.to_string())?;
        let vouched = last_vouched(&folder).map_err(|error| format!("the audit: {error}"))?;
        // An audit that vouches for no time was not begun by us: nothing expires on its word.
        let vouched = match vouched {
            None if audit.is_empty() => now,
            vouched => vouched.unwrap_or(Wall(0)),
        };
        let is_first = audit.is_empty();
        let mut books = Self {
            log,
            audit,
            guard: ClockGuard::new(vouched, now, Duration::ZERO),
            vouched,
            counters,
        };
        if is_first {
            let told = Told::because("the audit begins");
            let act = act(None, SYSTEM, CLOCK, &Ok(()), told);
            books.write(now, act).map_err(|error| error.to_string())?;
        }
        Ok(books)
    }

    /// Writes into the audit what was done or refused, and hands the outcome on. What cannot be
    /// written does not happen.
    pub(super) fn note<T>(
        &mut self,
        now: Wall,
        id: Option<RecordingId>,
        actor: &str,
        action: &str,
        outcome: Result<T, Refused>,
        told: Told,
    ) -> Result<T, Refused> {
        let act = act(id, actor, action, &outcome, told);
        self.write(now, act)?;
        outcome
    }

    fn write(&mut self, now: Wall, act: Act) -> Result<(), Refused> {
        match self.audit.append(now, &mut self.log, act) {
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::error!(%error, "the audit cannot be written");
                self.counters.count(Counter::AuditFailed);
                Err(Refused::AuditUnwritable)
            }
        }
    }

    /// Adds an entry to the log; durable when this returns. Returns its index.
    pub(super) fn log(&mut self, entry: &Entry) -> Result<u64, Refused> {
        self.log.append(&[entry.to_bytes()]).map_err(|error| {
            tracing::error!(%error, "the log cannot be written");
            self.counters.count(Counter::AuditFailed);
            Refused::AuditUnwritable
        })
    }

    /// Lines about a recording.
    pub(super) fn about(&self, id: RecordingId) -> Result<Vec<Line>, Refused> {
        self.audit.about(id).map_err(|error| {
            tracing::error!(%error, "the audit cannot be read");
            Refused::Storage
        })
    }

    /// Whether dates may be compared with the clock.
    pub(super) fn trusts(&self, now: Wall, uptime: Duration) -> bool {
        self.guard.trusts(now, uptime)
    }

    /// `now`, or the last time that was vouched for if that is later.
    pub(super) fn no_earlier(&self, now: Wall) -> Wall {
        now.max(self.guard.vouched())
    }

    /// Vouches for the clock once an hour while it ticks as it should, and turns the page of a day
    /// that is over. Says whether the clock is trusted.
    pub(super) fn tick(&mut self, now: Wall, uptime: Duration) -> bool {
        if !self.guard.advance(now, uptime) {
            return false;
        }
        let is_time = self.vouched.after(VOUCH_INTERVAL) <= now || now < self.vouched;
        if is_time {
            let act = act(None, SYSTEM, CLOCK, &Ok(()), Told::default());
            if self.write(now, act).is_ok() {
                self.vouched = now;
            }
        }
        if let Err(error) = self.audit.finish_day(now, &mut self.log) {
            tracing::error!(%error, "the audit's last day cannot be signed");
            self.counters.count(Counter::AuditFailed);
        }
        true
    }

    /// An operator vouches for the clock.
    pub(super) fn confirm(
        &mut self,
        now: Wall,
        uptime: Duration,
        word: &Confirmation,
    ) -> Result<(), Refused> {
        let told = Told::because(&word.reason)
            .with("confirmed", true)
            .with("before", self.guard.vouched().to_string());
        let act = act(None, &word.operator, CLOCK, &Ok(()), told);
        self.write(now, act)?;
        self.guard.confirm(now, uptime);
        self.vouched = now;
        Ok(())
    }

    /// What the log says about every recording: dates, holds, tombstones.
    pub(super) fn changes(&self) -> Result<BTreeMap<RecordingId, Vec<Entry>>, String> {
        let is_change = |entry: &Entry| entry.recording().is_some();
        let entries = self.log.find_all(is_change);
        let mut changes: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (_, entry) in entries.map_err(|error| error.to_string())? {
            let id = entry.recording().expect("was asked for");
            changes.entry(id).or_default().push(entry);
        }
        Ok(changes)
    }
}

/// Adds to a standing what the log says, the first entry first.
pub(super) fn apply(standing: &mut Standing, entries: &[Entry]) {
    for entry in entries {
        match entry {
            Entry::Extend { until, .. } => standing.until = standing.until.max(*until),
            Entry::Hold { case, .. } => {
                standing.holds.insert(case.clone());
            }
            Entry::ReleaseHold { case, .. } => {
                standing.holds.remove(case);
            }
            Entry::Tombstone { at, .. } => standing.expired = Some(*at),
            Entry::Manifest { .. } | Entry::Audit { .. } => {}
        }
    }
}

fn act<T>(
    id: Option<RecordingId>,
    actor: &str,
    action: &str,
    outcome: &Result<T, Refused>,
    told: Told,
) -> Act {
    let mut detail = told.detail;
    let (outcome, reason) = match outcome {
        Ok(_) => (Outcome::Done, told.reason),
        Err(refused) => {
            // The reason is why it was refused; what the person said stands beside it.
            if let Some(said) = told.reason {
                detail.insert("said".to_owned(), said.into());
            }
            (Outcome::Refused, Some(refused.audited_as().to_owned()))
        }
    };
    Act {
        actor: actor.to_owned(),
        action: action.to_owned(),
        recording: id,
        outcome,
        reason,
        detail,
    }
}

/// The last time that the audit vouches for. The newest day nearly always has it.
fn last_vouched(folder: &Path) -> io::Result<Option<Wall>> {
    let mut days = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|it| it == "jsonl") {
            days.push(path);
        }
    }
    days.sort_unstable();
    for day in days.into_iter().rev() {
        let mut last = None;
        for line in BufReader::new(File::open(day)?).split(b'\n') {
            let line = Line::parse(&line?).ok();
            let vouches =
                |line: &Line| line.act.action == CLOCK && line.act.outcome == Outcome::Done;
            last = line.filter(vouches).map(|line| line.at).or(last);
        }
        if last.is_some() {
            return Ok(last);
        }
    }
    Ok(None)
}
