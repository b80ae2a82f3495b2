//! Tokens that are no longer good because their bearer was removed from the room.
//!
//! A token cannot be taken back, so the room's name and the identity are written down until every
//! token that was good then has expired. A token that says when it was made is refused if that was
//! before the removal; one that does not say (some SDKs write 0) is refused unless it expires later
//! than any that the participant has shown. A person who is invited again with a fresh token gets
//! in. The book does not outlive the process; rooms do not, either.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use crate::token::Verified;

/// Longer than the SDKs make tokens by default, which is six hours.
const KEEP: Duration = Duration::from_secs(86_400);
/// Expired tokens are taken for so long, because clocks differ.
const LEEWAY: Duration = Duration::from_secs(60);
/// People removed in a day by one server; beyond, the oldest entry goes.
const ENTRIES_MAX: usize = 10_000;

/// Who was removed from where.
#[derive(Debug, Default)]
pub struct Revocations(Mutex<HashMap<(String, String), Entry>>);

/// One removal.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    removed_at: SystemTime,
    /// When the last token expires that the participant has shown; `None` before that is known.
    tokens_until: Option<SystemTime>,
}

impl Entry {
    /// Tokens that were good at the removal may be good still: of one that was shown it is known how
    /// long.
    fn is_needed(&self, now: SystemTime) -> bool {
        let until = self.removed_at + KEEP;
        now < self
            .tokens_until
            .map_or(until, |shown| until.max(shown + LEEWAY))
    }
}

impl Revocations {
    /// All tokens of this identity for this room that were made until now are no longer good.
    /// Returns what was written down before, for [`Revocations::undo`].
    pub fn revoke(&self, now: SystemTime, room: &str, identity: &str) -> Option<Entry> {
        let mut entries = self.lock();
        entries.retain(|_, entry| entry.is_needed(now));
        if entries.len() >= ENTRIES_MAX {
            let oldest = entries.iter().min_by_key(|(_, entry)| entry.removed_at);
            if let Some(oldest) = oldest.map(|(who, _)| who.clone()) {
                entries.remove(&oldest);
            }
        }
        let entry = Entry {
            removed_at: now,
            tokens_until: None,
        };
        entries.insert(who(room, identity), entry)
    }

    /// The last of its tokens expires then.
    pub fn settle(&self, room: &str, identity: &str, tokens_until: SystemTime) {
        if let Some(entry) = self.lock().get_mut(&who(room, identity)) {
            entry.tokens_until = Some(tokens_until);
        }
    }

    /// Nobody was removed after all: an earlier removal counts as before.
    pub fn undo(&self, room: &str, identity: &str, before: Option<Entry>) {
        let mut entries = self.lock();
        match before {
            Some(entry) => entries.insert(who(room, identity), entry),
            None => entries.remove(&who(room, identity)),
        };
    }

    /// Whether a token that is good otherwise has been taken back.
    pub fn covers(&self, room: &str, token: &Verified) -> bool {
        let Some(entry) = self.lock().get(&who(room, &token.grants.identity)).copied() else {
            return false;
        };
        match token.issued_at {
            Some(issued_at) => issued_at <= entry.removed_at,
            None => entry
                .tokens_until
                .is_none_or(|until| token.expires_at <= until),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, String), Entry>> {
        self.0.lock().expect("nothing panics while it is locked")
    }
}

fn who(room: &str, identity: &str) -> (String, String) {
    (room.to_owned(), identity.to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::token::Grants;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn token(issued_at: Option<u64>, expires_at: u64) -> Verified {
        Verified {
            key: "clinic".to_owned(),
            issued_at: issued_at.map(at),
            expires_at: at(expires_at),
            grants: Grants {
                identity: "wang".to_owned(),
                ..Grants::default()
            },
        }
    }

    #[test]
    fn only_what_was_made_before_the_removal_is_taken_back() {
        let book = Revocations::default();
        assert!(!book.covers("mdt", &token(Some(50), 900)));
        book.revoke(at(100), "mdt", "wang");
        assert!(book.covers("mdt", &token(Some(50), 900)));
        assert!(book.covers("mdt", &token(Some(100), 900)));
        assert!(!book.covers("mdt", &token(Some(101), 900)));
        assert!(!book.covers("ward", &token(Some(50), 900)));
    }

    #[test]
    fn a_token_that_does_not_say_when_it_was_made_must_outlive_those_shown() {
        let book = Revocations::default();
        book.revoke(at(100), "mdt", "wang");
        assert!(
            book.covers("mdt", &token(None, 5_000)),
            "nothing is known yet"
        );
        book.settle("mdt", "wang", at(900));
        assert!(book.covers("mdt", &token(None, 900)));
        assert!(!book.covers("mdt", &token(None, 901)));
    }

    #[test]
    fn the_book_is_bounded_and_forgets() {
        let book = Revocations::default();
        for n in 0..=ENTRIES_MAX as u64 {
            book.revoke(at(n), &format!("room-{n}"), "wang");
        }
        assert!(
            !book.covers("room-0", &token(Some(0), 900)),
            "the oldest went"
        );
        assert!(book.covers("room-1", &token(Some(0), 900)));
        book.revoke(at(100_000), "mdt", "wang");
        assert!(
            !book.covers("room-1", &token(Some(0), 900)),
            "a day is over"
        );
        book.undo("mdt", "wang", None);
        assert!(!book.covers("mdt", &token(Some(0), 900)));
    }

    #[test]
    fn a_token_for_a_month_stays_refused_for_a_month() {
        let book = Revocations::default();
        let month = 30 * 86_400;
        book.revoke(at(100), "mdt", "wang");
        book.settle("mdt", "wang", at(month));
        book.revoke(at(month), "mdt", "li");
        assert!(book.covers("mdt", &token(Some(50), month)));
        book.revoke(at(month + 60), "mdt", "li");
        assert_eq!(book.lock().len(), 1, "now it has expired");
    }

    #[test]
    fn a_removal_that_finds_nobody_leaves_the_earlier_one_as_it_was() {
        let book = Revocations::default();
        assert!(book.revoke(at(100), "mdt", "wang").is_none());
        book.settle("mdt", "wang", at(900));
        let before = book.revoke(at(200), "mdt", "wang");
        book.undo("mdt", "wang", before);
        assert!(book.covers("mdt", &token(Some(50), 900)));
        assert!(!book.covers("mdt", &token(Some(150), 900)));
        assert!(!book.covers("mdt", &token(None, 901)));
    }
}
