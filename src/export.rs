//! `consilium export`: a recording leaves the archive, for somebody with an officer's key and a reason.
//!
//! It is a replay like the console's: the release is audited before the server's share leaves, so is
//! every segment that is read, and the list of what was exported before it is signed. Two doors lead
//! in: a running server's compliance interface, so that an officer's key stays on his own computer,
//! or the archive itself on the server's machine while no server runs. What is exported is the
//! library's affair.

mod door;
mod local;
mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, anyhow, bail};
use recorder::age::Identity;
use recorder::digest::Digest;
use recorder::durable;
use recorder::export::document::{By, Origin, Verified};
use recorder::export::{self as exporting, Exported};
use recorder::folder::Part;
use recorder::header::{FILE_BYTES_MAX, Header};
use recorder::keys::officer;
use recorder::manifest::{MANIFEST_BYTES_MAX, Manifest};
use recorder::verify::{Report, Verdict, Weight};
use recorder::wall::Wall;
use zeroize::Zeroizing;

use crate::cli::{Export, say};
use crate::keygen;
use crate::verify::is_url;

use door::{Door, Released};
use local::Local;
use server::Server;

/// The passphrase of the officer's key, for scripts.
const PASSPHRASE: &str = "CONSILIUM_PASSPHRASE";

/// An age file begins so; a key without a passphrase does not.
const AGE: &[u8] = b"age-encryption.org/";

/// Findings that stand in the export; `consilium verify` has them all.
const FINDINGS_MAX: usize = 100;

/// `consilium export`.
pub(crate) fn run(task: &Export) -> anyhow::Result<()> {
    let place = task.recording.trim_end_matches('/');
    let name = place.rsplit('/').next().unwrap_or(place);
    let into = task.out.clone().unwrap_or_else(|| PathBuf::from(name));
    if into.symlink_metadata().is_ok() {
        bail!(
            "{} is there already; an export is never written over anything",
            into.display()
        );
    }
    // Before anybody is asked for anything: a key that does not open is no reason for a release.
    let officers = officers(task)?;
    let door: Box<dyn Door> = match is_url(place) {
        true => Box::new(Server::open(place, task, &into)?),
        false => Box::new(Local::open(place, task, &into)?),
    };
    let released = release(&*door, &officers, &task.reason)?;
    let done = through(&*door, task, &officers, &released, &into);
    door.end(&released);
    let done = done?;
    let seconds = done.duration_us as f64 / 1e6;
    say(&format!(
        "{}: {seconds:.1} s, {} frames in {} files, signed",
        into.display(),
        done.frames,
        done.files.len()
    ));
    if done.damages > 0 {
        say(&format!(
            "{} places could not be read; events.json names them",
            done.damages
        ));
    }
    Ok(())
}

fn officers(task: &Export) -> anyhow::Result<Vec<Identity>> {
    let mut passphrases = task.passphrase_file.iter();
    let identity = |path: &PathBuf| {
        let shown = path.display();
        let file = durable::read_at_most(path, officer::FILE_BYTES_MAX)
            .with_context(|| format!("cannot read {shown}"))?;
        let file = Zeroizing::new(file);
        let identity = match file.starts_with(AGE) {
            true => officer::open_key_file(&file, &passphrase(path, passphrases.next())?),
            false => officer::read_plain_file(&file),
        };
        identity.with_context(|| format!("{shown} is not opened"))
    };
    task.officer.iter().map(identity).collect()
}

fn passphrase(key: &Path, file: Option<&PathBuf>) -> anyhow::Result<Zeroizing<String>> {
    if let Some(file) = file {
        return keygen::first_line(file);
    }
    if let Ok(passphrase) = std::env::var(PASSPHRASE) {
        return Ok(Zeroizing::new(passphrase));
    }
    use std::io::IsTerminal;
    if !std::io::stdin().is_terminal() {
        bail!("nobody is there to type a passphrase; use --passphrase-file or {PASSPHRASE}");
    }
    keygen::ask(&format!("Passphrase of {}: ", key.display()))
}

/// Asks for the server's share, each officer for himself: where several must ask, the last one gets it.
fn release(door: &dyn Door, officers: &[Identity], reason: &str) -> anyhow::Result<Released> {
    let mut refused = None;
    for officer in officers {
        match door.release(&officer.recipient(), reason) {
            Ok(released) => return Ok(released),
            Err(refusal) if refusal.code == "officers_missing" => refused = Some(refusal),
            Err(refusal) => bail!("refused: {refusal}"),
        }
    }
    let refusal = refused.map_or_else(|| "no officer has asked".to_owned(), |it| it.to_string());
    bail!("refused: {refusal}")
}

fn through(
    door: &dyn Door,
    task: &Export,
    officers: &[Identity],
    released: &Released,
    into: &Path,
) -> anyhow::Result<Exported> {
    let gathered = door.gather(released)?;
    let folder = gathered.path();
    let bytes = read(folder, Part::Header, FILE_BYTES_MAX)?;
    let header = Header::parse(&bytes).context("header.json")?;
    let report = door.verify(folder).context("cannot be verified")?;
    let is_intact = report.verdict == Verdict::Intact;
    if !is_intact && !task.although_broken {
        door.refused(released, door::Refusing::Unverified);
        bail!(
            "refused: the recording does not verify, {}\nIt is exported as far as it can be read with \
             --although-broken, and the export then says so",
            worst(&report)
        );
    }
    let identity = exporting::keys::open(folder, &header, officers, &released.share);
    let identity = identity.map_err(|error| {
        door.refused(released, door::Refusing::Unopened);
        anyhow!("refused: {error}")
    })?;
    let origin = Origin {
        recording: header.recording,
        room: exporting::keys::room_name(folder, officers),
        started: header.started,
        duration_us: None,
        state: None,
        header_sha256: Digest::of(&bytes),
        manifest_sha256: None,
        exported: By {
            at: Wall::from(SystemTime::now()),
            actor: door.actor(),
            reason: task.reason.clone(),
            replay: released.replay.clone(),
            program: concat!("consilium ", env!("CARGO_PKG_VERSION")).to_owned(),
        },
        verification: verified(&report, is_intact),
        contents: None,
    };
    let origin = match manifest(folder, task.although_broken)? {
        Some((manifest, digest)) => origin.with_manifest(&manifest, digest),
        None => origin,
    };
    let wish = exporting::Task {
        folder,
        identity: &identity,
        into,
        origin,
        is_lenient: task.although_broken,
    };
    let what = match is_intact {
        true => "all tracks, mixed sound, events".to_owned(),
        false => format!("all that can be read, although {}", worst(&report)),
    };
    let what: String = what.chars().take(500).collect();
    Ok(exporting::export(wish, |list| {
        door.sign(released, &what, list, &header.node)
    })?)
}

fn read(folder: &Path, part: Part, max: usize) -> anyhow::Result<Vec<u8>> {
    let path = folder.join(part.to_string());
    durable::read_at_most(&path, max as u64).with_context(|| part.to_string())
}

/// A recording without a manifest is exported only where anything is.
fn manifest(folder: &Path, is_lenient: bool) -> anyhow::Result<Option<(Manifest, Digest)>> {
    let manifest = read(folder, Part::Manifest, MANIFEST_BYTES_MAX).and_then(|bytes| {
        let manifest = Manifest::parse(&bytes).context("manifest.json")?;
        Ok((manifest, Digest::of(&bytes)))
    });
    match manifest {
        Ok(found) => Ok(Some(found)),
        Err(_) if is_lenient => Ok(None),
        Err(error) => Err(error),
    }
}

fn worst(report: &Report) -> String {
    let first = report.first_fault().or_else(|| {
        let mut findings = report.findings.iter();
        findings.find(|finding| finding.weight != Weight::Note)
    });
    let verdict = format!("{:?}", report.verdict).to_uppercase();
    first.map_or_else(
        || format!("it is {verdict}"),
        |finding| format!("it is {verdict}: {}", finding.words),
    )
}

fn verified(report: &Report, is_intact: bool) -> Verified {
    let findings = report.findings.iter().map(|finding| finding.words.clone());
    Verified {
        verdict: format!("{:?}", report.verdict).to_uppercase(),
        exported_although_broken: !is_intact,
        node_key: report.node_key,
        findings: findings.take(FINDINGS_MAX).collect(),
    }
}

/// A folder of sealed files that is removed when it is not needed any more.
#[derive(Debug)]
pub(crate) struct Gathered {
    path: PathBuf,
    is_ours: bool,
}

impl Gathered {
    /// Files where they lie already.
    pub(crate) fn there(path: PathBuf) -> Self {
        Self {
            path,
            is_ours: false,
        }
    }

    /// A new folder `name` beside `into`.
    pub(crate) fn beside(into: &Path, name: &str) -> anyhow::Result<Self> {
        let mut parent = into.as_os_str().to_owned();
        parent.push(".sealed");
        let parent = PathBuf::from(parent);
        let path = parent.join(name);
        let made = fs::create_dir(&parent).and_then(|()| fs::create_dir(&path));
        made.with_context(|| {
            let shown = parent.display();
            format!("cannot make {shown}, where the sealed files go meanwhile")
        })?;
        Ok(Self {
            path,
            is_ours: true,
        })
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Gathered {
    fn drop(&mut self) {
        if self.is_ours
            && let Some(parent) = self.path.parent()
        {
            // What stays is ciphertext, and the next export says that it is in the way.
            let _ = fs::remove_dir_all(parent);
        }
    }
}
