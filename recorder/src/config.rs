//! What the archive can be told, and every bound that it keeps.
//!
//! Each value has its reason beside it. Unknown keys are errors. The file, the environment and the
//! flags are read by the binary, not here.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::age::Recipient;
use crate::header::OFFICERS_MAX;
use crate::retention::RetentionConfig;
use crate::store::s3::S3Config;

/// Everything that the archive is told.
#[derive(Clone, Debug)]
pub struct ArchiveConfig {
    /// Below it lie `recordings/`, `release/`, `log/`, `audit/` and `catalogue/`.
    pub data: PathBuf,
    /// Where keys are.
    pub keys: KeysConfig,
    /// How long recordings are kept.
    pub retention: RetentionConfig,
    /// The object store for closed recordings; they stay in the folder if there is none.
    pub s3: Option<S3Config>,
    /// The bounds.
    pub limits: Limits,
}

impl Default for ArchiveConfig {
    fn default() -> Self {
        Self {
            data: PathBuf::from("data"),
            keys: KeysConfig::default(),
            retention: RetentionConfig::default(),
            s3: None,
            limits: Limits::default(),
        }
    }
}

impl ArchiveConfig {
    /// The same for a server whose data lies in `data`: relative paths of keys begin there.
    pub fn below(mut self, data: &Path) -> Self {
        self.data = data.to_owned();
        self.keys.node = data.join(&self.keys.node);
        self.keys.release = data.join(&self.keys.release);
        self
    }

    /// Names what is wrong, for the operator.
    pub fn check(&self) -> Result<(), String> {
        self.retention.check()?;
        self.s3.as_ref().map_or(Ok(()), S3Config::check)?;
        let keys = &self.keys;
        let officers = keys.compliance.len();
        let is_met = (1..=officers.min(OFFICERS_MAX)).contains(&usize::from(keys.threshold));
        if officers > OFFICERS_MAX || (officers > 0 && !is_met) {
            let threshold = keys.threshold;
            return Err(format!(
                "keys.threshold: {threshold} of {officers} officers cannot be asked for"
            ));
        }
        match keys.revoked.iter().find(|it| keys.compliance.contains(it)) {
            Some(both) => Err(format!("keys.revoked: {both} is still in keys.compliance")),
            None => Ok(()),
        }
    }
}

/// Where keys are and who the officers are.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeysConfig {
    /// The installation's signing key (PEM), below `data_dir` unless the path is absolute; made at
    /// the first start.
    pub node: PathBuf,
    /// The release service's identity (age), below `data_dir` unless the path is absolute; made at
    /// the first start.
    pub release: PathBuf,
    /// The officers to whom recordings are sealed (`age1...`, from `consilium keygen compliance`).
    /// Without one, nothing is recorded.
    pub compliance: Vec<Recipient>,
    /// Officers who left or lost their keys: nothing is released to them, also of older recordings.
    pub revoked: Vec<Recipient>,
    /// How many officers must open a recording together.
    pub threshold: u8,
    /// Somebody who can open every recording alone. Such recordings cannot be shredded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<Recipient>,
}

impl Default for KeysConfig {
    fn default() -> Self {
        Self {
            node: PathBuf::from("keys/node.pem"),
            release: PathBuf::from("keys/release.txt"),
            compliance: Vec::new(),
            revoked: Vec::new(),
            threshold: 1,
            break_glass: None,
        }
    }
}

/// The bounds of the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// A segment covers at most so many seconds: what an intruder who takes the open segment's key
    /// out of memory can read.
    pub segment_seconds_max: u32,
    /// And so many bytes: what is preallocated ahead.
    pub segment_bytes_max: u64,
    /// How often the journal is made durable. A killed server loses what came since, what the tap
    /// had not handed over (100 ms) and what the writer had not looked at yet: together less than
    /// a second.
    pub flush_millis: u32,
    /// Events that wait for the writer; more become a gap.
    pub events_max: usize,
    /// Bytes of one event: a chat message is far smaller.
    pub event_bytes_max: usize,
    /// New recordings are refused when less of the volume than this share is free, in percent.
    pub free_percent_min: u8,
    /// A writer that has not acknowledged for so long counts as interrupted.
    pub stall_millis: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            segment_seconds_max: 60,
            segment_bytes_max: 64 * 1024 * 1024,
            flush_millis: 700,
            events_max: 4096,
            event_bytes_max: 64 * 1024,
            free_percent_min: 5,
            stall_millis: 3000,
        }
    }
}

impl Limits {
    /// How often the journal is made durable.
    pub fn flush_interval(&self) -> Duration {
        Duration::from_millis(u64::from(self.flush_millis))
    }
}
