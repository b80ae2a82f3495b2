//! `consilium verify`, `consilium salvage` and `consilium audit verify`: what an auditor, an operator
//! after a crash, and a judge's expert run.
//!
//! Verifying needs no configuration, no server and no key but public ones. The exit status says what
//! was found: 0 nothing wrong, 1 something is wrong, 2 it could not be looked at, 3 the end is
//! missing and the rest is whole.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use anyhow::{Context, anyhow, bail};
use recorder::audit;
use recorder::salvage::{Outcome, Tally, salvage_all};
use recorder::sign::{NodeKey, PublicKey};
use recorder::source::{Folder, Source};
use recorder::tlog::{CHECKPOINT, Checkpoint, Entry, Log};
use recorder::verify::{Against, Verdict, verify, verify_log};

use crate::cli::{AuditTask, Salvage, Verify, VerifyAudit, say};
use crate::remote::Remote;

/// Verifies one recording and says what was found.
pub(crate) fn run(task: &Verify) -> anyhow::Result<ExitCode> {
    let node_key = task.node_key.as_deref().map(node_key).transpose()?;
    let checkpoints = task
        .checkpoint
        .iter()
        .map(|path| checkpoint(path))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let place = task.recording.trim_end_matches('/');
    let source = source(place, task)?;
    let log = match &task.log {
        Some(place) => Some(log_source(place, task)?),
        None => beside(place),
    };
    let name = name_of(place);
    let against = Against {
        name: name.as_deref(),
        node_key,
        log: log.as_deref(),
        checkpoints: &checkpoints,
        threads: 0,
    };
    let begun = Instant::now();
    let report = verify(&*source, &against).with_context(|| format!("{place} cannot be read"))?;
    let seconds = begun.elapsed().as_secs_f64();
    if task.json {
        let mut json = serde_json::to_value(&report)?;
        json["seconds"] = seconds.into();
        say(&serde_json::to_string_pretty(&json)?);
    } else {
        say(&report.to_string());
        let rate = report.bytes as f64 / 1e6 / seconds.max(1e-6);
        say(&format!("{seconds:.2} s, {rate:.0} MB/s"));
    }
    Ok(match report.verdict {
        Verdict::Intact | Verdict::Open => ExitCode::SUCCESS,
        Verdict::Broken => ExitCode::FAILURE,
        Verdict::Torn => ExitCode::from(3),
    })
}

/// Puts recordings in order that lost their writer.
pub(crate) fn salvage(task: &Salvage) -> anyhow::Result<ExitCode> {
    let key_file = task
        .node_key_file
        .clone()
        .unwrap_or_else(|| task.data_dir.join("keys/node.pem"));
    let key =
        NodeKey::load(&key_file).with_context(|| format!("the node key {}", key_file.display()))?;
    let key = Arc::new(key);
    let folder = task.data_dir.join("log");
    let note = fs::read_to_string(folder.join(CHECKPOINT)).ok();
    let origin = note
        .as_deref()
        .and_then(Checkpoint::read)
        .map(|head| head.origin);
    let node = origin
        .as_deref()
        .and_then(|origin| origin.strip_prefix("consilium/"));
    let node = node.ok_or_else(|| anyhow!("there is no log in {}", folder.display()))?;
    let mut log = Log::open(&folder, node, Arc::clone(&key))
        .context("is the server running? It salvages by itself")?;
    let recordings = task.data_dir.join("recordings");
    let outcomes = salvage_all(&recordings, &key, &mut log, SystemTime::now(), task.grace)?;
    let mut tally = Tally::default();
    for (folder, outcome) in &outcomes {
        tally.count(outcome);
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        match outcome {
            Ok(Outcome::Alive) => say(&format!("{name}: is being written")),
            Ok(Outcome::Removed) => say(&format!("{name}: had not begun, and was removed")),
            Ok(Outcome::Closed) => {}
            Ok(Outcome::Open(_)) => say(&format!("{name}: in order, and open for its room")),
            Ok(Outcome::Finished(manifest)) => say(&format!(
                "{name}: closed as incomplete: {}",
                manifest.reason
            )),
            Err(error) => say(&format!("{name}: left as it is: {error}")),
        }
    }
    say(&format!("{} recordings: {tally:?}", outcomes.len()));
    Ok(if tally.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What can be done with an audit.
pub(crate) fn audit(task: &AuditTask) -> anyhow::Result<ExitCode> {
    match task {
        AuditTask::Verify(task) => verify_audit(task),
    }
}

fn verify_audit(task: &VerifyAudit) -> anyhow::Result<ExitCode> {
    let key = task.node_key.as_deref().map(node_key).transpose()?;
    let audit = Folder(task.audit.clone());
    let log = task.log.clone().or_else(|| {
        Some(task.audit.parent()?.join("log")).filter(|log| log.join(CHECKPOINT).exists())
    });
    // Without a key from elsewhere the days say themselves who signed them.
    let first = audit::verify(&audit, key.as_ref(), None)
        .with_context(|| format!("{} cannot be read", task.audit.display()))?;
    let (mut entries, mut findings) = (None, Vec::new());
    if let (Some(log), Some(key)) = (log, key.or(first.node_key)) {
        let checked = verify_log(&Folder(log), &key, &[]).context("the log cannot be read")?;
        findings = checked.findings;
        entries = Some(
            checked
                .entries
                .into_iter()
                .map(|(_, entry)| entry)
                .collect::<Vec<Entry>>(),
        );
    }
    let report = audit::verify(&audit, key.as_ref(), entries.as_deref())?;
    if task.json {
        say(&serde_json::to_string_pretty(
            &serde_json::json!({"audit": report, "log": findings}),
        )?);
    } else {
        for words in report
            .findings
            .iter()
            .map(|found| &found.words)
            .chain(findings.iter().map(|found| &found.words))
        {
            say(&format!("WRONG  {words}"));
        }
        say(&format!("{} lines on {} days", report.lines, report.days));
        if let Some(day) = &report.open_day {
            say(&format!(
                "{day} is not finished: nothing proves that its last lines are all there"
            ));
        }
        if !report.compared_with_log {
            say("not compared with a log: give it with --log");
        }
    }
    let is_intact = report.is_intact() && findings.is_empty();
    Ok(if is_intact {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Whether a place is an address rather than a folder.
pub(crate) fn is_url(place: &str) -> bool {
    place.starts_with("http://") || place.starts_with("https://")
}

fn source(place: &str, task: &Verify) -> anyhow::Result<Box<dyn Source>> {
    if is_url(place) {
        return Ok(Box::new(Remote::recording(
            place,
            task.token.as_deref(),
            task.replay.as_deref(),
        )?));
    }
    folder(Path::new(place))
}

fn log_source(place: &str, task: &Verify) -> anyhow::Result<Box<dyn Source>> {
    if is_url(place) {
        return Ok(Box::new(Remote::log(place, task.token.as_deref())?));
    }
    folder(Path::new(place))
}

fn folder(path: &Path) -> anyhow::Result<Box<dyn Source>> {
    if !path.is_dir() {
        bail!("{} is no folder", path.display());
    }
    Ok(Box::new(Folder(path.to_owned())))
}

/// The log of the archive that the recording lies in.
fn beside(place: &str) -> Option<Box<dyn Source>> {
    if is_url(place) {
        return None;
    }
    let archive: PathBuf = fs::canonicalize(place).ok()?.parent()?.parent()?.to_owned();
    let log = archive.join("log");
    log.join(CHECKPOINT)
        .is_file()
        .then(|| Box::new(Folder(log)) as Box<dyn Source>)
}

fn name_of(place: &str) -> Option<String> {
    if is_url(place) {
        return place.rsplit('/').next().map(str::to_owned);
    }
    let path = fs::canonicalize(place).ok()?;
    Some(path.file_name()?.to_string_lossy().into_owned())
}

/// A public key as base64, or a file that holds one.
pub(crate) fn node_key(text: &str) -> anyhow::Result<PublicKey> {
    if let Ok(key) = text.parse() {
        return Ok(key);
    }
    let file = fs::read_to_string(text)
        .with_context(|| format!("{text} is neither a key in base64 nor a file"))?;
    file.trim()
        .parse()
        .with_context(|| format!("{text} holds no key in base64"))
}

fn checkpoint(path: &Path) -> anyhow::Result<Checkpoint> {
    let note = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Checkpoint::read(&note).ok_or_else(|| anyhow!("{} is no checkpoint", path.display()))
}
