//! Replays: the share for one officer, what he is served, what he watched.
//!
//! Nothing here happens before it is in the audit: a share, a range of a segment, a report. What is
//! refused is in the audit too.

use std::ops::Range;

use serde_json::Value;

use crate::access::{Actor, Refused, Release, ReleaseRequest, ReplayId};
use crate::age::{self, Recipient};
use crate::archive::Archive;
use crate::archive::books::Told;
use crate::counters::Counter;
use crate::digest::Digest;
use crate::export::LIST_BYTES_MAX;
use crate::id::RecordingId;
use crate::keys::share::{Half, Share};
use crate::keys::system_random;
use crate::replay::{Replay, checked_report};
use crate::sign::{Kind, SIG_FILE_LEN, sig_digest};

impl Archive {
    /// Gives the release share for one replay, sealed to the officer who asks.
    pub fn release(&self, id: RecordingId, request: &ReleaseRequest) -> Result<Release, Refused> {
        let released = self.release_audited(id, request);
        self.counters.count(match released {
            Ok(_) => Counter::Released,
            Err(_) => Counter::Refused,
        });
        released
    }

    fn release_audited(
        &self,
        id: RecordingId,
        request: &ReleaseRequest,
    ) -> Result<Release, Refused> {
        let replay = new_replay();
        let told = Told::because(&request.reason)
            .with("officer", request.officer.as_str())
            .with("replay", replay.to_string());
        let sealed = self.sealed_share(id, request);
        let actor = &request.actor;
        // The share leaves after this line is on the disk, or not at all.
        let sealed_share = self.note(Some(id), &actor.identity, "release", sealed, told)?;
        let uptime = self.uptime();
        let mut replays = self.replays();
        let mut over = replays.take_over(uptime, None);
        over.extend(replays.begin(replay, actor.clone(), id, uptime));
        drop(replays);
        self.note_ended(over, "silent");
        Ok(Release {
            replay,
            sealed_share,
        })
    }

    fn sealed_share(&self, id: RecordingId, request: &ReleaseRequest) -> Result<Vec<u8>, Refused> {
        let known = self.seen_by(id, &request.actor)?;
        if known.standing.expired.is_some() {
            return Err(Refused::Expired);
        }
        self.given(&request.reason)?;
        let officer: Recipient = (request.officer.parse()).map_err(|_| Refused::UnknownOfficer)?;
        if self.config.keys.revoked.contains(&officer) {
            return Err(Refused::RevokedOfficer);
        }
        if !known.officers.contains(&officer) {
            return Err(Refused::UnknownOfficer);
        }
        let uptime = self.uptime();
        (self.replays()).ask(id, officer, known.threshold, uptime)?;
        self.reseal(id, officer).map_err(|error| {
            tracing::error!(recording = %id, error, "a release share cannot be given");
            Refused::ShareUnreadable
        })
    }

    /// Opens the share with the release key and seals it to the officer.
    fn reseal(&self, recording: RecordingId, officer: Recipient) -> Result<Vec<u8>, String> {
        let sealed = self.shares.read(recording);
        let sealed = sealed.map_err(|error| error.to_string())?;
        let value = self.keys.open_release_share(recording, &sealed);
        let share = Share {
            recording,
            half: Half::Release,
            index: 1,
            threshold: 1,
            value: value.map_err(|error| error.to_string())?,
        };
        age::seal(&share.to_json(), &[officer], &mut system_random).map_err(|it| it.to_string())
    }

    /// A range of a segment is about to be served in a replay.
    pub fn served(
        &self,
        replay: ReplayId,
        actor: &Actor,
        id: RecordingId,
        name: &str,
        range: Range<u64>,
    ) -> Result<(), Refused> {
        let found = self.in_replay(replay, actor).and_then(|found| {
            let is_this = found.recording == id;
            is_this.then_some(()).ok_or(Refused::NoReplay)
        });
        let told = Told::default()
            .with("replay", replay.to_string())
            .with("name", name)
            .with("bytes", vec![range.start, range.end]);
        self.note(Some(id), &actor.identity, "serve", found, told)
    }

    /// What was played since the last report, in microseconds of the recording.
    pub fn watched(
        &self,
        replay: ReplayId,
        actor: &Actor,
        ranges: &[Range<u64>],
    ) -> Result<(), Refused> {
        let found = self.in_replay(replay, actor);
        let recording = found.as_ref().ok().map(|found| found.recording);
        let checked = found.and_then(|found| {
            let known = self.known(found.recording)?;
            let duration = match known.is_open() {
                // It grows while it is watched.
                true => u64::MAX,
                false => known.summary.duration_us,
            };
            checked_report(ranges, duration)
        });
        let shown = match &checked {
            Ok(()) => ranges,
            Err(_) => &[],
        };
        let told = Told::default()
            .with("replay", replay.to_string())
            .with("watched_us", pairs(shown.iter().cloned()));
        self.note(recording, &actor.identity, "watch", checked, told)?;
        let uptime = self.uptime();
        if let Ok(found) = self.replays().find(replay, actor, uptime) {
            for range in ranges {
                found.watched.add(range.clone());
            }
        }
        Ok(())
    }

    /// Something was exported in a replay.
    pub fn exported(&self, replay: ReplayId, actor: &Actor, what: &str) -> Result<(), Refused> {
        self.note_export(replay, actor, what, Ok(()), |told| told)
    }

    /// A whole export was made in a replay: its list of files is in the audit by its digest, and then
    /// signed. The signature says that this actor exported these files from this recording; that they
    /// are what was recorded, whoever has the keys can repeat.
    pub fn sign_export(
        &self,
        replay: ReplayId,
        actor: &Actor,
        what: &str,
        list: &[u8],
    ) -> Result<[u8; SIG_FILE_LEN], Refused> {
        let checked = match is_list(list) {
            true => Ok(()),
            false => Err(Refused::NotAList),
        };
        let digest = Digest::of(list);
        self.note_export(replay, actor, what, checked, |told| {
            told.with("list_sha256", digest.to_string())
                .with("files", list.split(|&byte| byte == b'\n').count() - 1)
        })?;
        Ok(sig_digest(Kind::Export, digest, self.node.key()))
    }

    fn note_export(
        &self,
        replay: ReplayId,
        actor: &Actor,
        what: &str,
        checked: Result<(), Refused>,
        more: impl FnOnce(Told) -> Told,
    ) -> Result<(), Refused> {
        let found = self.in_replay(replay, actor);
        let recording = found.as_ref().ok().map(|found| found.recording);
        let found = found.and_then(|_| self.given(what)).and(checked);
        let told = Told::default().with("replay", replay.to_string()).with(
            "what",
            what.chars()
                .take(super::REASON_BYTES_MAX)
                .collect::<String>(),
        );
        self.note(recording, &actor.identity, "export", found, more(told))
    }

    /// A replay is over.
    pub fn end_replay(&self, replay: ReplayId, actor: &Actor) -> Result<(), Refused> {
        self.in_replay(replay, actor)?;
        let ended = self.replays().end(replay);
        self.note_ended(ended.map(|it| (replay, it)).into_iter().collect(), "closed");
        Ok(())
    }

    fn in_replay(&self, replay: ReplayId, actor: &Actor) -> Result<Replay, Refused> {
        let uptime = self.uptime();
        self.replays().find(replay, actor, uptime).cloned()
    }
}

/// Lines of a digest and a name, as [`crate::export`] writes them.
fn is_list(list: &[u8]) -> bool {
    let is_line = |line: &str| {
        let parts = line.split_once("  ");
        parts.is_some_and(|(sum, name)| sum.parse::<Digest>().is_ok() && !name.is_empty())
    };
    let text = std::str::from_utf8(list).unwrap_or_default();
    let is_bounded = (1..=LIST_BYTES_MAX).contains(&text.len()) && text.ends_with('\n');
    is_bounded && text.lines().all(is_line)
}

/// What was watched in a replay, summed up.
pub(super) fn account(id: ReplayId, replay: &Replay) -> Told {
    Told::default()
        .with("replay", id.to_string())
        .with("watched_us", pairs(replay.watched.iter()))
        .with("watched_total_us", replay.watched.total())
}

fn pairs(ranges: impl Iterator<Item = Range<u64>>) -> Value {
    ranges.map(|range| vec![range.start, range.end]).collect()
}

fn new_replay() -> ReplayId {
    let mut bytes = [0; 16];
    system_random(&mut bytes);
    ReplayId(u128::from_le_bytes(bytes))
}
