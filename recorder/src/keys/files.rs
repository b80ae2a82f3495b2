//! Keys out of files: the provider that exists today.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use zeroize::Zeroizing;

use crate::age::{self, Identity, Recipient};
use crate::config::KeysConfig;
use crate::header::{Compliance, OFFICERS_MAX};
use crate::id::RecordingId;
use crate::keys::secret::{Secret, scrub_stack};
use crate::keys::share::{Half, Share, ShareError};
use crate::keys::{KeyError, KeyProvider, Random, officer};
use crate::sign::NodeKey;
use crate::wall::Wall;

/// Keys that lie in files of this host. The node key and the release identity are read once, at the
/// start.
#[derive(Debug)]
pub struct FileKeys {
    node: NodeKey,
    release: Identity,
    compliance: Compliance,
    break_glass: Option<Recipient>,
}

impl FileKeys {
    /// Reads the keys that `config` names. The node key and the release identity are made if they do
    /// not exist; officers are never made here.
    pub fn open(config: &KeysConfig, now: Wall, random: &mut Random<'_>) -> Result<Self, KeyError> {
        let seed = Secret::filled(|bytes| random(bytes));
        let node = NodeKey::load_or_create(&config.node, seed.bytes())
            .map_err(|error| file_error(&config.node, &error))?;
        let release = release_identity(&config.release, now, random)?;
        let keys = Self {
            node,
            release,
            compliance: Compliance {
                threshold: config.threshold,
                recipients: config.compliance.clone(),
            },
            break_glass: config.break_glass,
        };
        keys.check_threshold()?;
        Ok(keys)
    }

    /// Keys that are at hand already.
    pub fn new(
        node: NodeKey,
        release: Identity,
        compliance: Compliance,
        break_glass: Option<Recipient>,
    ) -> Self {
        Self {
            node,
            release,
            compliance,
            break_glass,
        }
    }

    /// No officers at all is a state, not a mistake: nothing is recorded then.
    fn check_threshold(&self) -> Result<(), KeyError> {
        let Compliance {
            threshold,
            recipients,
        } = &self.compliance;
        let officers = recipients.len();
        let is_met = (1..=officers.min(OFFICERS_MAX)).contains(&usize::from(*threshold));
        if officers > OFFICERS_MAX || (officers > 0 && !is_met) {
            return Err(KeyError::Threshold {
                threshold: *threshold,
                officers,
            });
        }
        Ok(())
    }
}

fn file_error(path: &Path, reason: &dyn std::fmt::Display) -> KeyError {
    KeyError::File {
        path: path.display().to_string(),
        reason: reason.to_string(),
    }
}

fn release_identity(path: &Path, now: Wall, random: &mut Random<'_>) -> Result<Identity, KeyError> {
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match made {
        Ok(mut file) => {
            let identity = Identity::generate(random);
            file.write_all(officer::plain_file(&identity, now).as_bytes())
                .and_then(|()| file.sync_all())
                .map_err(|error| file_error(path, &error))?;
            Ok(identity)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let text = fs::read(path).map_err(|error| file_error(path, &error))?;
            officer::read_plain_file(&Zeroizing::new(text))
                .map_err(|error| file_error(path, &error))
        }
        Err(error) => Err(file_error(path, &error)),
    }
}

impl KeyProvider for FileKeys {
    fn node(&self) -> &NodeKey {
        &self.node
    }

    fn compliance(&self) -> Result<Compliance, KeyError> {
        if self.compliance.recipients.is_empty() {
            return Err(KeyError::NoOfficer);
        }
        Ok(self.compliance.clone())
    }

    fn release(&self) -> Recipient {
        self.release.recipient()
    }

    fn break_glass(&self) -> Option<Recipient> {
        self.break_glass
    }

    fn open_release_share(
        &self,
        recording: RecordingId,
        sealed: &[u8],
    ) -> Result<Secret, KeyError> {
        let json = age::open(sealed, &self.release).map_err(|_| ShareError::Sealed)?;
        let share = Share::from_json(&json, recording, Half::Release);
        scrub_stack();
        Ok(share?.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::system_random;

    #[test]
    fn keys_are_made_once_and_found_again() {
        let folder = std::env::temp_dir().join(format!("consilium-keys-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("temporary files can be made");
        let config = KeysConfig {
            node: folder.join("node.pem"),
            release: folder.join("release.txt"),
            ..KeysConfig::default()
        };
        let open = || FileKeys::open(&config, Wall(0), &mut system_random).expect("can be made");
        let (first, second) = (open(), open());
        assert_eq!(first.node().public(), second.node().public());
        assert_eq!(first.release(), second.release());
        assert!(matches!(first.compliance(), Err(KeyError::NoOfficer)));
        use std::os::unix::fs::PermissionsExt;
        for path in [&config.node, &config.release] {
            let mode = fs::metadata(path).expect("was made").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        fs::remove_dir_all(&folder).expect("was made above");
    }

    #[test]
    fn a_threshold_that_cannot_be_met_is_an_operators_mistake() {
        let identity = Identity::generate(&mut system_random);
        for (threshold, officers, is_good) in
            [(1, 0, true), (0, 1, false), (2, 1, false), (2, 3, true)]
        {
            let keys = FileKeys::new(
                NodeKey::from_seed(&[1; 32]),
                Identity::generate(&mut system_random),
                Compliance {
                    threshold,
                    recipients: vec![identity.recipient(); officers],
                },
                None,
            );
            assert_eq!(
                keys.check_threshold().is_ok(),
                is_good,
                "{threshold} of {officers}"
            );
        }
    }
}
