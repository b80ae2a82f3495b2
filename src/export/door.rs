//! What an export needs of an archive, wherever that is.

use std::path::Path;

use recorder::access::Refused;
use recorder::age::Recipient;
use recorder::sign::{Kind, PublicKey, SIG_FILE_LEN, check_sig_file};
use recorder::verify::Report;

use super::Gathered;
use crate::remote::Refusal;

/// The server's share for one replay.
#[derive(Debug)]
pub(crate) struct Released {
    pub(crate) replay: String,
    /// An age file that only the asking officer's key opens.
    pub(crate) share: Vec<u8>,
}

/// Why an export that was released is not made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Refusing {
    /// The recording is not what was recorded.
    Unverified,
    /// It does not open.
    Unopened,
}

impl From<Refusing> for Refused {
    fn from(refusing: Refusing) -> Self {
        match refusing {
            Refusing::Unverified => Self::Unverified,
            Refusing::Unopened => Self::Unopened,
        }
    }
}

/// A way into an archive, for one recording.
pub(crate) trait Door {
    /// Who comes in.
    fn actor(&self) -> String;
    /// The server's share, for an officer and a reason. Durable in the audit when this returns.
    fn release(&self, officer: &Recipient, reason: &str) -> Result<Released, Refusal>;
    /// All files of the recording. Every segment is in the audit before it is read.
    fn gather(&self, released: &Released) -> anyhow::Result<Gathered>;
    /// Whether they are what was recorded.
    fn verify(&self, folder: &Path) -> anyhow::Result<Report>;
    /// Tells the audit that nothing was exported, and why.
    fn refused(&self, released: &Released, why: Refusing);
    /// The installation's signature over the list of files.
    fn sealed(&self, released: &Released, what: &str, list: &[u8]) -> Result<Vec<u8>, Refusal>;
    /// The replay is over.
    fn end(&self, released: &Released);

    /// The same signature, checked.
    fn sign(
        &self,
        released: &Released,
        what: &str,
        list: &[u8],
        node: &PublicKey,
    ) -> Result<[u8; SIG_FILE_LEN], String> {
        let signature = self
            .sealed(released, what, list)
            .map_err(|refusal| refusal.to_string())?;
        let signer = check_sig_file(Kind::Export, list, &signature).map_err(|it| it.to_string())?;
        if signer != *node {
            return Err("it is signed by another installation than the recording".to_owned());
        }
        signature
            .try_into()
            .map_err(|_| "it has not the length of a signature".to_owned())
    }
}
