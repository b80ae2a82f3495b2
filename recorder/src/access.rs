//! Who asks what of the archive, and why he is refused.
//!
//! Plain values: the archive decides, the front door turns a [`Refused`] into a status and shows its
//! words. Every one of them has been audited before it is returned.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::wall::Wall;

/// A person at the front door, as his token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// Who it is.
    pub identity: String,
    /// The name of the API key that signed his token; he sees its recordings and no others.
    pub owner: String,
}

/// A wish to replay a recording.
#[derive(Clone, Debug)]
pub struct ReleaseRequest {
    /// Who asks.
    pub actor: Actor,
    /// The recipient (`age1…`) whose key the asker holds: the share is sealed to it.
    pub officer: String,
    /// Why; audited.
    pub reason: String,
}

/// What an officer gets who may replay a recording.
#[derive(Clone, Debug)]
pub struct Release {
    /// Names the replay in everything that follows.
    pub replay: ReplayId,
    /// The release service's share as an age file that only the officer's key opens.
    pub sealed_share: Vec<u8>,
}

/// Names one replay; 128 random bits, so that nobody guesses another's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ReplayId(pub(crate) u128);

/// A text that names no replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a replay: 32 hexadecimal digits")]
pub struct NotAReplay;

impl fmt::Display for ReplayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for ReplayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReplayId(..)")
    }
}

impl FromStr for ReplayId {
    type Err = NotAReplay;

    fn from_str(text: &str) -> Result<Self, NotAReplay> {
        let is_plain = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let value = u128::from_str_radix(text, 16).map_err(|_| NotAReplay)?;
        is_plain.then_some(Self(value)).ok_or(NotAReplay)
    }
}

impl From<ReplayId> for String {
    fn from(replay: ReplayId) -> Self {
        replay.to_string()
    }
}

impl TryFrom<String> for ReplayId {
    type Error = NotAReplay;

    fn try_from(text: String) -> Result<Self, NotAReplay> {
        text.parse()
    }
}

/// Why the archive did not do what was asked, in words for the person who asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No recording has this id.
    #[error("there is no such recording")]
    NotFound,
    /// The recording belongs to another API key. To be shown like [`Refused::NotFound`].
    #[error("there is no such recording")]
    OtherOwner,
    /// The reason is empty, or longer than the limit.
    #[error("a reason must be given, in at most {max} bytes")]
    NoReason {
        /// The limit.
        max: usize,
    },
    /// The recording is not sealed to this officer's key.
    #[error("the recording is not sealed to this officer's key")]
    UnknownOfficer,
    /// This officer's key was revoked.
    #[error("this officer's key has been revoked")]
    RevokedOfficer,
    /// More officers must ask for the same recording first.
    #[error("{have} of {need} officers have asked for this recording; the others must ask too")]
    OfficersMissing {
        /// Officers who have asked within the time allowed.
        have: u8,
        /// Officers needed.
        need: u8,
    },
    /// The recording has expired: its key share is destroyed.
    #[error("the recording has expired")]
    Expired,
    /// The recording is still being made.
    #[error("the recording is still open")]
    Open,
    /// The recording must be kept.
    #[error("the recording must be kept until {until}")]
    Retained {
        /// The least date in force.
        until: Wall,
    },
    /// The date has passed by a clock that jumped; an operator must confirm the clock.
    #[error(
        "the recording must be kept until {until}, and the server's clock has jumped: \
         an operator must confirm it before anything expires"
    )]
    ClockJumped {
        /// The least date in force.
        until: Wall,
    },
    /// Legal holds keep the recording.
    #[error("the recording is held for: {}", cases.join(", "))]
    Held {
        /// The cases.
        cases: Vec<String>,
    },
    /// A retention date is only ever moved to later.
    #[error("the recording is kept until {until} already; the date can only be moved to later")]
    OnlyExtended {
        /// The least date in force.
        until: Wall,
    },
    /// The name of the case is empty, too long or has odd characters.
    #[error("a case is named by 1 to {max} letters, digits, dots, dashes or underscores")]
    NotACase {
        /// The limit.
        max: usize,
    },
    /// This case holds the recording already.
    #[error("the recording is held for this case already")]
    AlreadyHeld,
    /// This case does not hold the recording.
    #[error("the recording is not held for this case")]
    NotHeld,
    /// No such replay is going on, or it is somebody else's or another recording's.
    #[error("this replay has ended; ask for the recording again")]
    NoReplay,
    /// The recording is not what was recorded, and nobody said that it shall be exported all the same.
    #[error("the recording does not verify; it is only exported if that is asked for")]
    Unverified,
    /// The officers' keys and the released share do not open the recording.
    #[error("the recording cannot be opened with these keys")]
    Unopened,
    /// The list of an export is none.
    #[error("that is no list of exported files")]
    NotAList,
    /// What was reported makes no sense.
    #[error("that cannot have been watched")]
    NotWatchable,
    /// The audit cannot be written, so nothing that must be audited is done.
    #[error("the audit log cannot be written; nothing is released until it can")]
    AuditUnwritable,
    /// The release store cannot give the share.
    #[error("the release share cannot be read")]
    ShareUnreadable,
    /// The store of recordings does not answer.
    #[error("the store of recordings does not answer")]
    Storage,
}

impl Refused {
    /// A word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound | Self::OtherOwner => "not_found",
            Self::NoReason { .. } => "no_reason",
            Self::UnknownOfficer => "unknown_officer",
            Self::RevokedOfficer => "revoked_officer",
            Self::OfficersMissing { .. } => "officers_missing",
            Self::Expired => "expired",
            Self::Open => "open",
            Self::Retained { .. } | Self::ClockJumped { .. } => "retained",
            Self::Held { .. } => "held",
            Self::OnlyExtended { .. } => "only_extended",
            Self::NotACase { .. } => "not_a_case",
            Self::AlreadyHeld => "already_held",
            Self::NotHeld => "not_held",
            Self::NoReplay => "no_replay",
            Self::Unverified => "unverified",
            Self::Unopened => "unopened",
            Self::NotAList => "not_a_list",
            Self::NotWatchable => "not_watchable",
            Self::AuditUnwritable => "audit_unwritable",
            Self::ShareUnreadable => "share_unreadable",
            Self::Storage => "storage",
        }
    }

    /// The word that the audit keeps: it tells apart what the person is not told.
    pub(crate) fn audited_as(&self) -> &'static str {
        match self {
            Self::OtherOwner => "other_owner",
            Self::ClockJumped { .. } => "clock_jumped",
            other => other.code(),
        }
    }

    /// The date that keeps the recording, for a 409.
    pub fn until(&self) -> Option<Wall> {
        match *self {
            Self::Retained { until }
            | Self::ClockJumped { until }
            | Self::OnlyExtended { until } => Some(until),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_is_named_by_32_digits_and_nothing_else() {
        let replay = ReplayId(7);
        assert_eq!(replay.to_string().parse(), Ok(replay));
        for wrong in ["", "7", "+0000000000000000000000000000007", "g"] {
            assert_eq!(wrong.parse::<ReplayId>(), Err(NotAReplay), "{wrong}");
        }
    }

    #[test]
    fn nobody_learns_that_another_keys_recording_exists() {
        let (other, none) = (Refused::OtherOwner, Refused::NotFound);
        assert_eq!(other.code(), none.code());
        assert_eq!(other.to_string(), none.to_string());
        assert_ne!(other.audited_as(), none.audited_as());
    }
}
