//! How long recordings stay: holds, longer dates, and the end of those whose date has passed.
//!
//! The order of an end is fixed. It is audited first; then the share is destroyed, which makes every
//! copy unreadable wherever it lies; then files and objects are deleted; the tombstone in the log
//! comes last. Each step may be done again, so an end that was cut off is simply begun again.

use std::io;

use crate::access::{Actor, Refused};
use crate::archive::books::{SYSTEM, Told};
use crate::archive::known::Known;
use crate::archive::{Archive, Expiry};
use crate::confirmation::Confirmation;
use crate::counters::Counter;
use crate::digest::Digest;
use crate::folder::Part;
use crate::id::RecordingId;
use crate::notes::Ended;
use crate::replay::Replay;
use crate::retention::Standing;
use crate::tlog::Entry;
use crate::wall::Wall;

impl Archive {
    /// Keeps a recording for a case, whatever its date.
    pub fn hold(
        &self,
        id: RecordingId,
        actor: &Actor,
        case: &str,
        reason: &str,
    ) -> Result<(), Refused> {
        let may = |standing: &Standing| {
            self.given(reason)?;
            standing.may_hold(case)
        };
        let told = Told::because(reason).with("case", case);
        let case = case.to_owned();
        let recording = id;
        self.change(id, actor, "hold", told, may, |at| Entry::Hold {
            recording,
            case,
            at,
        })
    }

    /// Ends a hold.
    pub fn lift_hold(&self, id: RecordingId, actor: &Actor, case: &str) -> Result<(), Refused> {
        let may = |standing: &Standing| standing.may_lift(case);
        let told = Told::default().with("case", case);
        let case = case.to_owned();
        let recording = id;
        self.change(id, actor, "release_hold", told, may, |at| {
            Entry::ReleaseHold {
                recording,
                case,
                at,
            }
        })
    }

    /// Keeps a recording longer.
    pub fn extend(
        &self,
        id: RecordingId,
        actor: &Actor,
        until: Wall,
        reason: &str,
    ) -> Result<(), Refused> {
        let may = |standing: &Standing| {
            self.given(reason)?;
            standing.may_extend(until)
        };
        let told = Told::because(reason).with("until", until.to_string());
        let recording = id;
        self.change(id, actor, "extend", told, may, |at| Entry::Extend {
            recording,
            until,
            at,
        })
    }

    /// Destroys a recording whose date has passed. Before it, it is refused for everyone.
    pub fn delete(&self, id: RecordingId, actor: &Actor) -> Result<(), Refused> {
        let checked = self.seen_by(id, actor).and_then(|known| self.due(&known));
        match checked {
            Ok(()) => self.end(id, &actor.identity),
            refused => self.note(
                Some(id),
                &actor.identity,
                "delete",
                refused,
                Told::default(),
            ),
        }
    }

    /// Destroys every recording whose date has passed and that nothing holds.
    pub fn expire_due(&self) -> Expiry {
        let (now, uptime) = self.times();
        let mut expiry = Expiry {
            is_clock_doubted: !self.books().trusts(now, uptime),
            ..Expiry::default()
        };
        let all: Vec<Known> = self.catalogue().values().cloned().collect();
        for known in all {
            let is_over = known.standing.expired.is_some();
            if is_over || known.is_open() || now < known.standing.until {
                continue;
            }
            let id = known.summary.id;
            let ended = self.due(&known).and_then(|()| self.end(id, SYSTEM));
            match ended {
                Ok(()) => expiry.expired.push(id),
                Err(why) => {
                    self.tell_once(id, &why);
                    expiry.kept.push(id);
                }
            }
        }
        expiry
    }

    /// Takes up an operator's word about the clock, if one lies there.
    pub fn take_confirmation(&self) -> Result<bool, Refused> {
        let (now, uptime) = self.times();
        let Some(word) = Confirmation::find(&self.config.data, now) else {
            return Ok(false);
        };
        self.books().confirm(now, uptime, &word)?;
        if let Err(error) = Confirmation::take_away(&self.config.data) {
            // It would be taken up again, and audited again, which harms nobody.
            tracing::warn!(%error, "the operator's confirmation cannot be removed");
        }
        tracing::info!("an operator has confirmed the clock");
        self.told().clear();
        Ok(true)
    }

    /// One change of a standing: allowed, audited, logged, in force; in this order.
    fn change(
        &self,
        id: RecordingId,
        actor: &Actor,
        action: &str,
        told: Told,
        may: impl Fn(&Standing) -> Result<(), Refused>,
        entry: impl FnOnce(Wall) -> Entry,
    ) -> Result<(), Refused> {
        let allowed = self
            .seen_by(id, actor)
            .and_then(|known| may(&known.standing));
        match allowed {
            Ok(()) => self.enter(id, &actor.identity, action, told, entry),
            refused => self.note(Some(id), &actor.identity, action, refused, told),
        }
    }

    fn enter(
        &self,
        id: RecordingId,
        actor: &str,
        action: &str,
        told: Told,
        entry: impl FnOnce(Wall) -> Entry,
    ) -> Result<(), Refused> {
        self.note(Some(id), actor, action, Ok(()), told)?;
        let entry = entry(self.now());
        let logged = self.books().log(&entry);
        if let Err(refused) = logged {
            // The audit said more than was done; it says so too.
            return self.note(Some(id), actor, action, Err(refused), Told::default());
        }
        if let Some(known) = self.catalogue().get_mut(&id) {
            crate::archive::books::apply(&mut known.standing, &[entry]);
            known.show_standing();
        }
        Ok(())
    }

    /// Whether a recording may be destroyed now.
    fn due(&self, known: &Known) -> Result<(), Refused> {
        let (now, uptime) = self.times();
        let trusts = self.books().trusts(now, uptime);
        known.standing.may_expire(now, trusts)?;
        if known.is_open() {
            return Err(Refused::Open);
        }
        // The store's own clock and lock are a second opinion about the date.
        let Some(uploader) = &self.uploader else {
            return Ok(());
        };
        let notes = self.notes.read(known.summary.id);
        match uploader.locked_until(known.summary.id, &notes) {
            Ok(Some(until)) if now < until => Err(Refused::Retained { until }),
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::warn!(%error, "the object store was not asked about a recording's lock");
                Err(Refused::Storage)
            }
        }
    }

    /// Destroys a recording that is due.
    fn end(&self, id: RecordingId, actor: &str) -> Result<(), Refused> {
        let known = self.known(id)?;
        let until = known.standing.until;
        let told = Told::default().with("until", until.to_string());
        self.note(Some(id), actor, "expire", Ok(()), told)?;
        let gone = self.replays().take_over(self.uptime(), Some(id));
        self.note_ended(gone, "expired");
        let ended = self.destroy(&known);
        ended.map_err(|error| {
            tracing::error!(recording = %id, %error, "an expired recording cannot be deleted yet");
            Refused::Storage
        })
    }

    fn destroy(&self, known: &Known) -> io::Result<()> {
        let id = known.summary.id;
        let mut notes = self.notes.read(id);
        let manifest = self.local.read(id, Part::Manifest);
        let sha256 = match (&notes.ended, manifest) {
            (Some(ended), _) => ended.manifest,
            (None, Ok(bytes)) => Digest::of(&bytes),
            (None, Err(error)) => return Err(error),
        };
        notes.ended = Some(Ended {
            summary: known.summary.clone(),
            manifest: sha256,
        });
        self.notes.write(id, &notes)?;
        self.shares.shred(id)?;
        if let Some(uploader) = &self.uploader {
            let deleted = uploader.delete(id, &notes);
            deleted.map_err(|error| io::Error::other(error.to_string()))?;
        }
        self.local.delete(id)?;
        self.bury(id, &notes.ended.take().expect("was set above"))
    }

    /// Writes the tombstone of a recording whose files are gone.
    pub(super) fn bury(&self, id: RecordingId, ended: &Ended) -> io::Result<()> {
        let at = self.now();
        let entry = Entry::Tombstone {
            recording: id,
            sha256: ended.manifest,
            expired: ended.summary.retention.until,
            at,
        };
        let logged = self.books().log(&entry);
        logged.map_err(|_| io::Error::other("the log cannot be written"))?;
        let mut notes = self.notes.read(id);
        notes.stored.clear();
        notes.ended = Some(ended.clone());
        self.remember(id, &notes);
        let known = Known::expired(ended.summary.clone(), at);
        self.catalogue().insert(id, known);
        self.counters.count(Counter::Expired);
        Ok(())
    }

    /// A recording that is kept beyond its date is audited once, not with every turn.
    fn tell_once(&self, id: RecordingId, why: &Refused) {
        let word = why.audited_as();
        if self.told().insert(id, word) == Some(word) {
            return;
        }
        tracing::warn!(recording = %id, why = word, "a recording stays beyond its date");
        let refused: Result<(), Refused> = Err(why.clone());
        // The refusal comes back as it was given. If the audit cannot be written, nothing expires.
        let _as_given = self.note(Some(id), SYSTEM, "expire", refused, Told::default());
    }

    pub(super) fn note_ended(&self, gone: Vec<(crate::access::ReplayId, Replay)>, why: &str) {
        for (id, replay) in gone {
            let told = super::replaying::account(id, &replay).with("ended", why);
            let (actor, recording) = (&replay.actor.identity, replay.recording);
            // What was watched is in the lines of its reports too; this one sums them up.
            self.note_afterwards(recording, actor, "end", told);
        }
    }
}
