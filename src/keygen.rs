//! `consilium keygen`: keys of the archive, each into a file of its own that is never overwritten.
//!
//! An officer makes his key on his own computer and hands over the `age1…` line alone: what opens
//! recordings must never lie on the server. The keys of the server are made by themselves at its
//! first start; here they are made beforehand, for those who keep them elsewhere.

use std::fs::{self, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, bail};
use recorder::age::{self, Identity, Recipient};
use recorder::config::{ArchiveConfig, KeysConfig};
use recorder::keys::secret::Secret;
use recorder::keys::{officer, system_random};
use recorder::sign::NodeKey;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::cli::{self, Keygen, OfficerKey, ServerKey};

/// A passphrase guards the file against whoever finds it: three words, or a dozen characters.
const PASSPHRASE_CHARS_MIN: usize = 12;

/// The officer that `serve --dev` makes: without a passphrase, for trying things out.
const DEV_OFFICER: &str = "keys/officer.txt";

/// `consilium keygen`.
pub(crate) fn run(task: &Keygen) -> anyhow::Result<()> {
    match task {
        Keygen::Compliance(task) => compliance(task),
        Keygen::Release(task) => release(task),
        Keygen::Node(task) => node(task),
    }
}

fn compliance(task: &OfficerKey) -> anyhow::Result<()> {
    let path = &task.out;
    if path.exists() {
        bail!(
            "{} is there already; keys are never overwritten",
            path.display()
        );
    }
    let passphrase = match &task.passphrase_file {
        Some(file) => first_line(file)?,
        None => ask_twice()?,
    };
    if passphrase.chars().count() < PASSPHRASE_CHARS_MIN {
        bail!("the passphrase needs {PASSPHRASE_CHARS_MIN} characters at least");
    }
    let identity = Identity::generate(&mut system_random);
    let now = SystemTime::now().into();
    let file = officer::key_file(
        &identity,
        now,
        &passphrase,
        age::WORK_FACTOR,
        &mut system_random,
    )?;
    write_new(path, &file)?;
    let recipient = identity.recipient();
    cli::say(&format!(
        "{recipient}\n\nThe key is in {}. Keep it and its passphrase apart, and a copy of both in a \
         safe:\nwithout it nothing that is sealed to it alone can ever be opened.\n\nOn the server, \
         in the configuration:\n\n  [recording.keys]\n  compliance = [\"{recipient}\"]",
        path.display()
    ));
    Ok(())
}

fn release(task: &ServerKey) -> anyhow::Result<()> {
    let identity = Identity::generate(&mut system_random);
    let now = SystemTime::now().into();
    write_new(&task.out, officer::plain_file(&identity, now).as_bytes())?;
    cli::say(&identity.recipient().to_string());
    Ok(())
}

fn node(task: &ServerKey) -> anyhow::Result<()> {
    let path = &task.out;
    if path.exists() {
        bail!(
            "{} is there already; keys are never overwritten",
            path.display()
        );
    }
    let seed = Secret::filled(|bytes| system_random(bytes));
    let key = NodeKey::load_or_create(path, seed.bytes())
        .with_context(|| format!("cannot make {}", path.display()))?;
    cli::say(&key.public().to_string());
    Ok(())
}

/// What `serve --dev` needs so that recordings can be tried out: an officer whose key lies beside
/// the data. Returns where, if it is him to whom recordings are sealed.
pub(crate) fn dev_officer(config: &mut ArchiveConfig) -> anyhow::Result<Option<PathBuf>> {
    if !config.keys.compliance.is_empty() {
        return Ok(None);
    }
    let path = config.data.join(DEV_OFFICER);
    let recipient = plain_identity(&path)?;
    config.keys.compliance.push(recipient);
    Ok(Some(path))
}

fn plain_identity(path: &Path) -> anyhow::Result<Recipient> {
    if !path.exists() {
        let identity = Identity::generate(&mut system_random);
        let now = SystemTime::now().into();
        write_new(path, officer::plain_file(&identity, now).as_bytes())?;
    }
    let text = Zeroizing::new(fs::read(path).with_context(|| cannot_read(path))?);
    let identity = officer::read_plain_file(&text).with_context(|| cannot_read(path))?;
    Ok(identity.recipient())
}

/// Makes the folder of the server's own keys, for its owner alone.
pub(crate) fn make_key_folders(keys: &KeysConfig) -> anyhow::Result<()> {
    for path in [&keys.node, &keys.release] {
        make_folder_of(path)?;
    }
    Ok(())
}

fn make_folder_of(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    else {
        return Ok(());
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("cannot make {}", folder.display()))
}

fn write_new(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    make_folder_of(path)?;
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
    made.with_context(|| format!("cannot make {}; keys are never overwritten", path.display()))
}

fn cannot_read(path: &Path) -> String {
    format!("cannot read {}", path.display())
}

/// The first line of a file: a passphrase.
pub(crate) fn first_line(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let text = Zeroizing::new(fs::read_to_string(path).with_context(|| cannot_read(path))?);
    Ok(Zeroizing::new(
        text.lines().next().unwrap_or_default().to_owned(),
    ))
}

fn ask_twice() -> anyhow::Result<Zeroizing<String>> {
    if !io::stdin().is_terminal() {
        bail!("nobody is there to type a passphrase; use --passphrase-file");
    }
    let first = ask("Passphrase: ")?;
    let again = ask("Once more: ")?;
    if first != again {
        bail!("the two passphrases differ");
    }
    Ok(first)
}

/// One line from the terminal that is not shown.
pub(crate) fn ask(prompt: &str) -> anyhow::Result<Zeroizing<String>> {
    let terminal = io::stdin();
    let shown = tcgetattr(&terminal)?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    eprint_now(prompt);
    tcsetattr(&terminal, OptionalActions::Flush, &hidden)?;
    let mut line = Zeroizing::new(String::with_capacity(1024));
    let read = terminal.read_line(&mut line);
    tcsetattr(&terminal, OptionalActions::Flush, &shown)?;
    eprint_now("\n");
    read?;
    Ok(Zeroizing::new(
        line.trim_end_matches(['\r', '\n']).to_owned(),
    ))
}

/// A closed standard error is their affair.
fn eprint_now(text: &str) {
    let mut out = io::stderr();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn officer_key(dir: &Path, passphrase: &str) -> OfficerKey {
        let file = dir.join("passphrase");
        fs::write(&file, format!("{passphrase}\n")).expect("is written");
        OfficerKey {
            out: dir.join("keys/officer.age"),
            passphrase_file: Some(file),
        }
    }

    #[test]
    fn an_officers_key_is_opened_by_its_passphrase_and_never_overwritten() {
        let dir = tempfile::tempdir().expect("a folder");
        let task = officer_key(dir.path(), "correct horse battery");
        compliance(&task).expect("makes a key");
        let file = fs::read(&task.out).expect("is there");
        let identity = officer::open_key_file(&file, "correct horse battery");
        assert!(identity.is_ok());
        let again = compliance(&task).expect_err("is there already");
        assert!(again.to_string().contains("never overwritten"), "{again}");
        assert_eq!(fs::read(&task.out).expect("is there"), file);
    }

    #[test]
    fn a_short_passphrase_guards_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let task = officer_key(dir.path(), "secret");
        assert!(compliance(&task).is_err());
        assert!(!task.out.exists());
    }

    #[test]
    fn the_officer_of_dev_is_made_once() {
        let dir = tempfile::tempdir().expect("a folder");
        let config = || ArchiveConfig::default().below(dir.path());
        let (mut first, mut second) = (config(), config());
        let path = dev_officer(&mut first).expect("makes one").expect("is new");
        assert_eq!(dev_officer(&mut second).expect("finds it"), Some(path));
        assert_eq!(first.keys.compliance, second.keys.compliance);
        assert_eq!(dev_officer(&mut second).expect("has one"), None);
    }
}
