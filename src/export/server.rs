//! A running server's compliance interface: sealed files come here, the key never goes there.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use recorder::age::Recipient;
use recorder::folder::Part;
use recorder::id::RecordingId;
use recorder::sign::PublicKey;
use recorder::source::{Folder, Source};
use recorder::verify::{Against, Report, verify};
use serde_json::{Value, json};

use super::Gathered;
use super::door::{Door, Refusing, Released};
use crate::cli::Export;
use crate::remote::{Refusal, Remote};
use crate::verify::node_key;

/// A recording that a server serves.
pub(super) struct Server {
    remote: Remote,
    recording: String,
    /// What stands before `recordings/`.
    interface: String,
    name: String,
    token: String,
    node_key: Option<PublicKey>,
    into: PathBuf,
}

fn odd(what: &str) -> Refusal {
    Refusal {
        code: "odd".to_owned(),
        message: format!("the server's answer has no {what}"),
    }
}

impl Server {
    pub(super) fn open(url: &str, task: &Export, into: &Path) -> anyhow::Result<Self> {
        let token = task
            .token
            .clone()
            .context("a server wants a token: --token, from `consilium token --role compliance`")?;
        let parts = url.rsplit_once('/').and_then(|(list, name)| {
            let interface = list.strip_suffix("/recordings")?;
            name.parse::<RecordingId>().ok()?;
            Some((interface, name))
        });
        let Some((interface, name)) = parts else {
            bail!("{url} is not https://.../compliance/api/v1/recordings/<recording>");
        };
        let node_key = task.node_key.as_deref().map(node_key).transpose()?;
        Ok(Self {
            remote: Remote::recording(url, Some(&token), None)?,
            recording: url.to_owned(),
            interface: interface.to_owned(),
            name: name.to_owned(),
            token,
            node_key,
            into: into.to_owned(),
        })
    }

    fn replay_url(&self, released: &Released, what: &str) -> String {
        format!("{}/replays/{}/{what}", self.interface, released.replay)
    }
}

impl Door for Server {
    /// As the token says; the server has checked it and knows better.
    fn actor(&self) -> String {
        let claims = self.token.split('.').nth(1);
        let claims = claims.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        let claims = claims.and_then(|json| serde_json::from_slice::<Value>(&json).ok());
        let subject = claims.and_then(|claims| Some(claims.get("sub")?.as_str()?.to_owned()));
        subject.unwrap_or_else(|| "unknown".to_owned())
    }

    fn release(&self, officer: &Recipient, reason: &str) -> Result<Released, Refusal> {
        let url = format!("{}/release", self.recording);
        let wish = json!({"reason": reason, "officer": officer.to_string()});
        let answer = self.remote.ask(&url, &wish)?;
        let text = |member: &str| {
            let text = answer.get(member).and_then(Value::as_str);
            text.ok_or_else(|| odd(member))
        };
        let share = STANDARD.decode(text("share")?).map_err(|_| odd("share"))?;
        Ok(Released {
            replay: text("replay")?.to_owned(),
            share,
        })
    }

    fn gather(&self, released: &Released) -> anyhow::Result<Gathered> {
        let remote = Remote::recording(&self.recording, Some(&self.token), Some(&released.replay))?;
        let gathered = Gathered::beside(&self.into, &self.name)?;
        for file in remote.list()? {
            let Ok(part) = file.name.parse::<Part>() else {
                bail!("the server names a file that no recording has");
            };
            // While a recording is open; the interface does not give it.
            if part == Part::Summary {
                continue;
            }
            let name = part.to_string();
            let fetched = remote.open(&name).and_then(|mut from| {
                let mut file = File::create_new(gathered.path().join(&name))?;
                io::copy(&mut from, &mut file)
            });
            fetched.with_context(|| name.clone())?;
        }
        Ok(gathered)
    }

    fn verify(&self, folder: &Path) -> anyhow::Result<Report> {
        let log = Remote::log(&format!("{}/log", self.interface), Some(&self.token))?;
        let against = Against {
            name: Some(&self.name),
            node_key: self.node_key,
            log: Some(&log),
            ..Against::default()
        };
        Ok(verify(&Folder(folder.to_owned()), &against)?)
    }

    /// The server has release and segments in its audit, and no export.
    fn refused(&self, _: &Released, _: Refusing) {}

    fn sealed(&self, released: &Released, what: &str, list: &[u8]) -> Result<Vec<u8>, Refusal> {
        let list = std::str::from_utf8(list).expect("names and digests are text");
        let url = self.replay_url(released, "exported");
        let answer = self
            .remote
            .ask(&url, &json!({"what": what, "list": list}))?;
        let signature = answer.get("signature").and_then(Value::as_str);
        let signature = signature.and_then(|text| STANDARD.decode(text).ok());
        signature.ok_or_else(|| odd("signature"))
    }

    fn end(&self, released: &Released) {
        // A replay that is not ended ends by itself.
        let _ = self
            .remote
            .ask(&self.replay_url(released, "end"), &json!({}));
    }
}
