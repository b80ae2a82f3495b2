//! Who may use TURN: participants, for their own transports, for as long as they are here.
//!
//! A pass is made when somebody joins or comes back. Its user name says until when it opens an
//! allocation and for which participant; its password is a code over that with a key that never
//! leaves the process, so nothing is stored but what a participant has now. A pass that somebody else
//! gets hold of leads to its participant's transports and nowhere else, and those want proof of their
//! own passwords.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrayvec::ArrayVec;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dashmap::DashMap;
use rand::RngExt;
use sfu::id::TransportId;

use crate::config::Limits;

/// Transports of one participant that a pass is for; two, and some that have just been replaced.
const TRANSPORTS_MAX: usize = 8;

/// A user name and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Pass {
    /// When it ends and whose it is.
    pub username: String,
    /// The proof; a secret.
    pub password: String,
}

/// All passes.
pub struct Passes {
    key: hmac::Key,
    ttl: Duration,
    allocations_max: usize,
    holders: Arc<DashMap<String, Holder>>,
}

/// A participant who may use TURN.
#[derive(Default)]
struct Holder {
    transports: ArrayVec<TransportId, TRANSPORTS_MAX>,
    allocations: usize,
}

/// A pass that has been found good.
#[derive(Clone, PartialEq, Eq)]
pub struct Holding {
    /// Whose it is.
    pub sid: String,
    /// What its messages are signed with.
    pub password: String,
    /// It may still open an allocation.
    pub is_fresh: bool,
}

/// An allocation that is counted; dropping it takes it off the books.
pub struct AllocationSlot {
    holders: Arc<DashMap<String, Holder>>,
    sid: String,
}

impl Passes {
    /// None yet.
    pub fn new(limits: &Limits) -> Self {
        let key: [u8; 32] = rand::rng().random();
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            ttl: limits.turn_pass_ttl,
            allocations_max: limits.turn_allocations_per_participant_max,
            holders: Arc::default(),
        }
    }

    /// A pass for a participant who is here.
    pub fn issue(&self, now: SystemTime, sid: &str) -> Pass {
        self.holders.entry(sid.to_owned()).or_default();
        let until = now + self.ttl;
        let until = until.duration_since(UNIX_EPOCH).unwrap_or_default();
        let username = format!("{}:{sid}", until.as_secs());
        let password = self.password(&username);
        Pass { username, password }
    }

    /// Whose pass a user name is. `None`: nobody's who is here.
    pub fn find(&self, now: SystemTime, username: &str) -> Option<Holding> {
        let (until, sid) = username.split_once(':')?;
        let until = UNIX_EPOCH + Duration::from_secs(until.parse().ok()?);
        self.holders.contains_key(sid).then(|| Holding {
            sid: sid.to_owned(),
            password: self.password(username),
            is_fresh: now < until,
        })
    }

    /// Whether a participant is still here.
    pub fn is_here(&self, sid: &str) -> bool {
        self.holders.contains_key(sid)
    }

    /// A participant who has a pass may reach a transport of its own.
    pub fn allow(&self, sid: &str, transport: TransportId) {
        let Some(mut holder) = self.holders.get_mut(sid) else {
            return;
        };
        if holder.transports.contains(&transport) {
            return;
        }
        if holder.transports.is_full() {
            holder.transports.remove(0);
        }
        holder.transports.push(transport);
    }

    /// Whether a transport is that participant's.
    pub fn may_reach(&self, sid: &str, transport: TransportId) -> bool {
        let holder = self.holders.get(sid);
        holder.is_some_and(|holder| holder.transports.contains(&transport))
    }

    /// Counts an allocation of a participant; `None` if it has too many.
    pub fn admit(&self, sid: &str) -> Option<AllocationSlot> {
        let mut holder = self.holders.get_mut(sid)?;
        if holder.allocations >= self.allocations_max {
            return None;
        }
        holder.allocations += 1;
        Some(AllocationSlot {
            holders: Arc::clone(&self.holders),
            sid: sid.to_owned(),
        })
    }

    /// A participant has gone.
    pub fn withdraw(&self, sid: &str) {
        self.holders.remove(sid);
    }

    fn password(&self, username: &str) -> String {
        let tag = hmac::sign(&self.key, username.as_bytes());
        STANDARD.encode(&tag.as_ref()[..20])
    }
}

impl Drop for AllocationSlot {
    fn drop(&mut self) {
        if let Some(mut holder) = self.holders.get_mut(&self.sid) {
            holder.allocations = holder.allocations.saturating_sub(1);
        }
    }
}

impl std::fmt::Debug for Pass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pass(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes() -> Passes {
        Passes::new(&Limits {
            turn_allocations_per_participant_max: 2,
            ..Limits::default()
        })
    }

    #[test]
    fn a_pass_is_good_until_its_time_and_its_holder_has_gone() {
        let passes = passes();
        let now = SystemTime::now();
        let pass = passes.issue(now, "PA_1");
        let holding = passes.find(now, &pass.username).expect("it was issued");
        assert_eq!(holding.sid, "PA_1");
        assert_eq!(holding.password, pass.password);
        assert!(holding.is_fresh);
        let later = now + Duration::from_secs(301);
        assert!(!passes.find(later, &pass.username).expect("known").is_fresh);
        passes.withdraw("PA_1");
        assert!(passes.find(now, &pass.username).is_none());
        assert!(!passes.is_here("PA_1"));
    }

    #[test]
    fn nobody_makes_a_pass_of_his_own() {
        let passes = passes();
        let now = SystemTime::now();
        let pass = passes.issue(now, "PA_1");
        let longer = "99999999999:PA_1";
        let holding = passes.find(now, longer).expect("she is here");
        assert_ne!(holding.password, pass.password);
        for nobody in ["99999999999:PA_2", "PA_1", "", ":", "x:PA_1", "-1:PA_1"] {
            assert!(passes.find(now, nobody).is_none(), "{nobody}");
        }
        assert_ne!(
            super::tests::passes().issue(now, "PA_1"),
            pass,
            "another key"
        );
    }

    #[test]
    fn a_pass_leads_to_its_holders_transports_only() {
        let passes = passes();
        let now = SystemTime::now();
        for (sid, number) in [("PA_1", 1), ("PA_2", 2)] {
            passes.issue(now, sid);
            passes.allow(sid, TransportId(number));
        }
        assert!(passes.may_reach("PA_1", TransportId(1)));
        assert!(!passes.may_reach("PA_1", TransportId(2)));
        assert!(!passes.may_reach("PA_3", TransportId(1)));
        for number in 10..30 {
            passes.allow("PA_1", TransportId(number));
        }
        assert!(passes.may_reach("PA_1", TransportId(29)));
        assert!(!passes.may_reach("PA_1", TransportId(1)), "it was long ago");
    }

    #[test]
    fn allocations_are_counted_by_participant() {
        let passes = passes();
        passes.issue(SystemTime::now(), "PA_1");
        let first = passes.admit("PA_1");
        let second = passes.admit("PA_1");
        assert!(first.is_some() && second.is_some());
        assert!(passes.admit("PA_1").is_none());
        drop(first);
        assert!(passes.admit("PA_1").is_some());
        assert!(passes.admit("PA_2").is_none(), "nobody");
    }
}
