//! The way to a recording's identity on the officers' side: their shares and the released one.
//!
//! The released share comes sealed to an officer; the officers' own shares lie in the recording's
//! folder. Nothing here asks anybody's leave: that was done to get the released share.

use std::io;
use std::path::Path;

use serde::Deserialize;

use crate::age::{self, Identity};
use crate::durable;
use crate::folder::Part;
use crate::header::Header;
use crate::keys::secret::scrub_stack;
use crate::keys::share::{Half, Share, ShareError};
use crate::keys::split::{open_officers_share, reunite};

/// A share's file has 400 bytes, with a hundred officers 20 KB.
const SHARE_BYTES_MAX: u64 = 64 * 1024;

/// A list of names has a hundred bytes for each track.
const INDEX_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Why a recording does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A share's file cannot be read.
    #[error("{0}: {1}")]
    Unreadable(Part, io::Error),
    /// None of the officers' shares opens with these keys.
    #[error("these keys open no officer's share of this recording")]
    WrongKey,
    /// Not enough officers.
    #[error("{have} of {need} officers' keys are here; the others' are needed too")]
    OfficersMissing {
        /// Keys that open a share.
        have: usize,
        /// Keys needed.
        need: u8,
    },
    /// The released share opens with none of these keys, or is of another recording.
    #[error("the released share cannot be used: {0}")]
    Released(ShareError),
    /// Together they are not the recording's secret.
    #[error("the shares do not belong together: {0}")]
    Shares(ShareError),
    /// They are a secret, and not this recording's.
    #[error("the shares give another identity than the recording's")]
    OtherIdentity,
}

/// The recording's identity, out of the officers' keys and the share that was released to one of them.
pub fn open(
    folder: &Path,
    header: &Header,
    officers: &[Identity],
    released: &[u8],
) -> Result<Identity, OpenError> {
    let opened = open_in_frame(folder, header, officers, released);
    scrub_stack();
    opened
}

#[inline(never)]
fn open_in_frame(
    folder: &Path,
    header: &Header,
    officers: &[Identity],
    released: &[u8],
) -> Result<Identity, OpenError> {
    let need = header.compliance.threshold;
    let mut shares = officers_shares(folder, header, officers)?;
    match shares.len() {
        0 => return Err(OpenError::WrongKey),
        have if have < usize::from(need) => return Err(OpenError::OfficersMissing { have, need }),
        _ => shares.truncate(usize::from(need)),
    }
    let json = (officers.iter()).find_map(|officer| age::open(released, officer).ok());
    let json = json.ok_or(OpenError::Released(ShareError::Sealed))?;
    let released = Share::from_json(&json, header.recording, Half::Release);
    let released = released.map_err(OpenError::Released)?;
    let identity = reunite(&shares, &released).map_err(OpenError::Shares)?;
    match identity.recipient() == header.recipient {
        true => Ok(identity),
        false => Err(OpenError::OtherIdentity),
    }
}

fn officers_shares(
    folder: &Path,
    header: &Header,
    officers: &[Identity],
) -> Result<Vec<Share>, OpenError> {
    let read = |part: Part| {
        durable::read_at_most(&folder.join(part.to_string()), SHARE_BYTES_MAX)
            .map_err(|error| OpenError::Unreadable(part, error))
    };
    let open = |file: &[u8]| {
        let mut opened = officers
            .iter()
            .filter_map(|officer| open_officers_share(header.recording, file, officer).ok());
        opened.next()
    };
    if header.compliance.threshold == 1 {
        return Ok(open(&read(Part::Share)?).into_iter().collect());
    }
    let mut shares = Vec::new();
    for (index, recipient) in (1..).zip(&header.compliance.recipients) {
        // A share that is another officer's need not even be there.
        if officers.iter().any(|it| it.recipient() == *recipient) {
            shares.extend(open(&read(Part::ShareOf(index))?));
        }
    }
    Ok(shares)
}

#[derive(Deserialize)]
struct Index {
    room: String,
}

/// The room's name out of the list of names, if one of these keys opens it.
pub fn room_name(folder: &Path, officers: &[Identity]) -> Option<String> {
    let path = folder.join(Part::Index.to_string());
    let sealed = durable::read_at_most(&path, INDEX_BYTES_MAX).ok()?;
    let json = (officers.iter()).find_map(|officer| age::open(&sealed, officer).ok())?;
    let index: Index = serde_json::from_slice(&json).ok()?;
    Some(index.room)
}
