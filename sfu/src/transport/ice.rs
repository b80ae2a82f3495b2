//! Connectivity by a lite agent (RFC 8445 section 2.5): we wait for checks and answer them.
//!
//! `IceLite` owns the credentials of both sides, the sources that proved to know ours, and the one
//! address that media goes to. Remote candidates need not be known: every peer is taken as
//! peer-reflexive. It deliberately has no candidate pairs and no roles to choose.
//!
//! Media never goes to an address only because somebody wrote it into the source field of a
//! datagram: before an established path moves, or comes back after the peer's silence, the new address
//! must answer a check of ours.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use aws_lc_rs::hmac;
use is::stun::TransId;

use super::params::IceCredentials;
use super::stun::{self, Check};
use crate::config::Limits;
use crate::error::Reject;
use crate::id::TransportId;
use crate::stream;

pub(super) struct IceLite {
    local: IceCredentials,
    remote: IceCredentials,
    /// Those that were last in use before a restart; good for the paths that they have, until the new
    /// ones are used (RFC 8445 section 9).
    previous_local: Option<IceCredentials>,
    sources: ArrayVec<Source, SOURCES_MAX>,
    selected: Option<SocketAddr>,
    move_to: Option<Move>,
    /// There was a path; its consent has lapsed. The peer is waited for until then.
    absent_until: Option<Instant>,
    consent_timeout: Duration,
    absence_timeout: Duration,
    /// Makes the ids of our own checks, unknown to the peer that chooses where they go.
    secret: hmac::Key,
    moves: u64,
}

/// Addresses that may send to one transport at the same time: a client with two networks, IPv4 and
/// IPv6 and a rebinding NAT has eight. One more forgets the one that was silent for longest.
const SOURCES_MAX: usize = 16;

/// How long an address has time to answer before it is asked again.
const MOVE_RETRY: Duration = Duration::from_millis(500);

/// After a standstill of ours a peer has so long for its next check. Browsers send one every 2 to 3
/// seconds; RFC 7675 section 5.1 wants one every 5 s.
const CONSENT_GRACE: Duration = Duration::from_secs(6);

/// An address that has proven to know our password.
struct Source {
    address: SocketAddr,
    checked_at: Instant,
}

/// A path that the peer wants and that has not yet answered us.
struct Move {
    address: SocketAddr,
    transaction: TransId,
    asked_at: Instant,
}

/// Whether a peer may be sent anything (RFC 7675).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consent {
    /// It may, or has not come yet.
    Given,
    /// It may not, and is waited for.
    Lapsed,
    /// It has been waited for long enough.
    Lost,
}

/// What one check leads to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reply {
    /// What goes back to the sender of the check.
    pub(super) answer: Vec<u8>,
    /// A check of our own, to the same address; empty where none is needed.
    pub(super) question: Vec<u8>,
}

impl IceLite {
    pub(super) fn new(
        id: TransportId,
        local: IceCredentials,
        remote: IceCredentials,
        secret: &[u8; 32],
        limits: &Limits,
    ) -> Self {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let mut context = hmac::Context::with_key(&secret);
        context.update(&id.0.to_be_bytes());
        Self {
            local,
            remote,
            previous_local: None,
            sources: ArrayVec::new(),
            selected: None,
            move_to: None,
            absent_until: None,
            consent_timeout: limits.consent_timeout,
            absence_timeout: limits.absence_timeout,
            secret: hmac::Key::new(hmac::HMAC_SHA256, context.sign().as_ref()),
            moves: 0,
        }
    }

    /// Replaces the credentials. The path stays as it is until the peer nominates another.
    pub(super) fn restart(&mut self, local: IceCredentials, remote: IceCredentials) {
        let before = std::mem::replace(&mut self.local, local);
        // Where one restart follows another, the peer is still where it was before the first.
        self.previous_local.get_or_insert(before);
        self.remote = remote;
        self.move_to = None;
    }

    /// Takes a STUN message from `from`. Nothing changes before it has proven a password.
    pub(super) fn handle(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Result<Reply, Reject> {
        let check = Check::parse(datagram)?;
        if !check.is_request() {
            self.handle_answer(from, &check)?;
            return Ok(Reply::default());
        }
        let password = self.authenticate(from, &check)?;
        if check.is_role_conflict() {
            let answer = check.role_conflict(&password);
            return Ok(Reply {
                answer,
                question: Vec::new(),
            });
        }
        self.remember(now, from);
        let question = self.consider(now, from, check.is_nominating());
        let answer = check.success(stream::seen_at(from), &password);
        debug_assert!(answer.len() <= datagram.len(), "we would amplify");
        Ok(Reply { answer, question })
    }

    /// The password that proves the check. The first use of new credentials ends the old ones.
    ///
    /// Once there has been a path, another one is opened only by the credentials of both sides that
    /// were agreed last. In a restart libwebrtc tries new addresses as soon as it has them, with our
    /// old credentials if it does not know the new ones: before its offer is here or while our answer
    /// is under way. A path that answers it keeps, although its credentials are about to end.
    fn authenticate(&mut self, from: SocketAddr, check: &Check<'_>) -> Result<String, Reject> {
        let is_current = check.local_ufrag() == self.local.ufrag;
        let is_first = self.selected.is_none() && self.absent_until.is_none();
        let is_agreed = is_current && (is_first || check.remote_ufrag() == self.remote.ufrag);
        if !is_agreed && !self.is_validated(from) {
            return Err(Reject::StunUnknownUser);
        }
        let previous = self.previous_local.as_ref();
        let credentials = match is_current {
            true => &self.local,
            false => previous
                .filter(|old| check.local_ufrag() == old.ufrag)
                .ok_or(Reject::StunUnknownUser)?,
        };
        if !check.is_authentic(&credentials.password) {
            return Err(Reject::StunIntegrity);
        }
        let password = credentials.password.clone();
        if is_current {
            self.previous_local = None;
        }
        Ok(password)
    }

    fn remember(&mut self, now: Instant, from: SocketAddr) {
        if let Some(source) = self.sources.iter_mut().find(|s| s.address == from) {
            source.checked_at = now;
            return;
        }
        if self.sources.is_full() {
            self.forget_stalest();
        }
        self.sources.push(Source {
            address: from,
            checked_at: now,
        });
    }

    fn forget_stalest(&mut self) {
        let stalest = self
            .sources
            .iter()
            .enumerate()
            .filter(|(_, source)| Some(source.address) != self.selected)
            .min_by_key(|(_, source)| source.checked_at)
            .map(|(index, _)| index)
            .expect("at most one of many sources is selected");
        self.sources.swap_remove(stalest);
    }

    /// Decides whether a checked address becomes the one that media goes to. Returns a check that
    /// it must answer first, if it must.
    fn consider(&mut self, now: Instant, from: SocketAddr, is_nominating: bool) -> Vec<u8> {
        match self.selected {
            // The handshake that follows proves that somebody is there.
            None if self.absent_until.is_none() => self.selected = Some(from),
            // The peer has thought better of it.
            Some(selected) if selected == from && is_nominating => self.move_to = None,
            // Nothing follows where the handshake is over.
            _ if is_nominating => return self.ask(now, from),
            _ => {}
        }
        Vec::new()
    }

    /// A check of our own for a sign of life from where everything goes to; empty if another address is
    /// asked, because the peer wants that.
    pub(super) fn ask_selected(&mut self, now: Instant) -> Option<(SocketAddr, Vec<u8>)> {
        let selected = self.selected?;
        let is_leaving = self.move_to.as_ref().is_some_and(|m| m.address != selected);
        (!is_leaving).then(|| (selected, self.ask(now, selected)))
    }

    /// A check of our own that `address` must answer; empty if it has one already. By its answer it
    /// becomes the path, which it may be already.
    fn ask(&mut self, now: Instant, address: SocketAddr) -> Vec<u8> {
        let is_asked = self
            .move_to
            .as_ref()
            .is_some_and(|m| m.address == address && now < m.asked_at + MOVE_RETRY);
        if is_asked {
            return Vec::new();
        }
        self.moves += 1;
        let tag = hmac::sign(&self.secret, &self.moves.to_be_bytes());
        let mut id = [0; 12];
        id.copy_from_slice(&tag.as_ref()[..12]);
        let transaction = stun::transaction(id);
        self.move_to = Some(Move {
            address,
            transaction,
            asked_at: now,
        });
        stun::request(transaction, &self.local, &self.remote)
    }

    fn handle_answer(&mut self, from: SocketAddr, check: &Check<'_>) -> Result<(), Reject> {
        let is_awaited = self
            .move_to
            .as_ref()
            .is_some_and(|m| m.address == from && m.transaction == check.transaction());
        if !is_awaited {
            return Err(Reject::StunUnexpected);
        }
        if !check.is_authentic(&self.remote.password) {
            return Err(Reject::StunIntegrity);
        }
        self.move_to = None;
        self.absent_until = None;
        self.selected = Some(from);
        Ok(())
    }

    /// An address is no more. If everything went there, the freshest of the others is asked: returns
    /// where that is, and the question. Before the handshake is over the next check decides.
    pub(super) fn forget(
        &mut self,
        now: Instant,
        address: SocketAddr,
        is_connected: bool,
    ) -> Option<(SocketAddr, Vec<u8>)> {
        self.sources.retain(|source| source.address != address);
        self.move_to.take_if(|wanted| wanted.address == address);
        if self.selected != Some(address) {
            return None;
        }
        self.selected = None;
        if !is_connected {
            return None;
        }
        self.absent_until = Some(now + self.absence_timeout);
        let other = self.sources.iter().max_by_key(|source| source.checked_at)?;
        let other = other.address;
        Some((other, self.ask(now, other)))
    }

    /// Whether `from` has proven, recently, to be the peer.
    pub(super) fn is_validated(&self, from: SocketAddr) -> bool {
        self.sources.iter().any(|source| source.address == from)
    }

    /// Where everything goes.
    pub(super) fn selected(&self) -> Option<SocketAddr> {
        self.selected
    }

    /// Forgets sources that have been silent for too long, and the path if it is one of them.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Consent {
        self.sources
            .retain(|source| now < source.checked_at + self.consent_timeout);
        let selected = self.selected;
        if selected.is_some_and(|selected| !self.is_validated(selected)) {
            self.selected = None;
            self.absent_until = Some(now + self.absence_timeout);
        }
        match self.absent_until {
            None => Consent::Given,
            Some(until) if now < until => Consent::Lapsed,
            Some(_) => Consent::Lost,
        }
    }

    /// Gives every source the time for another check: it was we who did not listen.
    pub(super) fn excuse_silence(&mut self, now: Instant) {
        for source in &mut self.sources {
            // The same as `now + grace - timeout`, which no clock has to reach back for.
            let lapses = source.checked_at + self.consent_timeout;
            let missing = (now + CONSENT_GRACE).saturating_duration_since(lapses);
            source.checked_at += missing;
        }
        if let Some(until) = &mut self.absent_until {
            *until = (*until).max(now + CONSENT_GRACE);
        }
    }

    /// When the last check came.
    pub(super) fn checked_at(&self) -> Option<Instant> {
        self.sources.iter().map(|source| source.checked_at).max()
    }

    /// When the first source lapses, or the peer has been waited for long enough.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let oldest = self.sources.iter().map(|source| source.checked_at).min();
        let lapses = oldest.map(|oldest| oldest + self.consent_timeout);
        [lapses, self.absent_until].into_iter().flatten().min()
    }
}

/// Which transport a connectivity check from an unknown source is for. Nothing of it is proven.
pub fn addressee(datagram: &[u8]) -> Result<TransportId, Reject> {
    stun::addressee(datagram)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "192.0.2.1:1000";
    const B: &str = "192.0.2.2:2000";
    const C: &str = "192.0.2.3:3000";

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn credentials(number: u64) -> IceCredentials {
        IceCredentials::generate(TransportId(number), [number as u8; 28])
    }

    fn agent() -> IceLite {
        IceLite::new(
            TransportId(1),
            credentials(1),
            credentials(2),
            &[7; 32],
            &Limits::default(),
        )
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "an arbitrary start of virtual time"
    )]
    fn start() -> Instant {
        Instant::now()
    }

    fn check_of(local: &IceCredentials, is_nominating: bool) -> Vec<u8> {
        check_between(local, &credentials(2), is_nominating)
    }

    fn check_between(
        local: &IceCredentials,
        remote: &IceCredentials,
        is_nominating: bool,
    ) -> Vec<u8> {
        let username = format!("{}:{}", local.ufrag, remote.ufrag);
        let message = is::stun::StunMessage::binding_request(
            &username,
            TransId::new(),
            true,
            1,
            1,
            is_nominating,
        );
        let mut buffer = [0; 300];
        let len = message
            .to_bytes(
                Some(local.password.as_bytes()),
                &mut buffer,
                |key, parts| {
                    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
                    let tag = hmac::sign(&key, &parts.concat());
                    tag.as_ref().try_into().expect("20 bytes")
                },
            )
            .expect("it fits");
        buffer[..len].to_vec()
    }

    fn answer_to(question: &[u8], by: &IceCredentials, seen_as: SocketAddr) -> Vec<u8> {
        let check = Check::parse(question).expect("a check of ours");
        assert!(check.is_authentic(&by.password));
        check.success(seen_as, &by.password)
    }

    #[test]
    fn a_check_validates_its_source_and_no_other() {
        let mut ice = agent();
        let reply = ice
            .handle(start(), address(A), &check_of(&credentials(1), true))
            .expect("a good check");
        assert!(!reply.answer.is_empty());
        assert!(reply.question.is_empty());
        assert!(ice.is_validated(address(A)));
        assert!(!ice.is_validated(address(B)));
        assert_eq!(ice.selected(), Some(address(A)));
    }

    #[test]
    fn a_wrong_password_or_name_changes_nothing() {
        let mut ice = agent();
        let mut liar = credentials(1);
        liar.password = credentials(3).password;
        let result = ice.handle(start(), address(A), &check_of(&liar, true));
        assert_eq!(result, Err(Reject::StunIntegrity));
        let result = ice.handle(start(), address(A), &check_of(&credentials(3), true));
        assert_eq!(result, Err(Reject::StunUnknownUser));
        assert!(!ice.is_validated(address(A)));
        assert_eq!(ice.selected(), None);
    }

    #[test]
    fn a_path_moves_only_after_the_new_address_has_answered() {
        let mut ice = agent();
        let now = start();
        let check = check_of(&credentials(1), true);
        ice.handle(now, address(A), &check).expect("a good check");
        let reply = ice.handle(now, address(B), &check).expect("a good check");
        assert_eq!(ice.selected(), Some(address(A)));

        let answer = answer_to(&reply.question, &credentials(2), address(B));
        // From elsewhere, or made by somebody else, it counts for nothing.
        let result = ice.handle(now, address(A), &answer);
        assert_eq!(result, Err(Reject::StunUnexpected));
        let mut forged = credentials(2);
        forged.password = credentials(3).password;
        let question = Check::parse(&reply.question).expect("a check of ours");
        let result = ice.handle(
            now,
            address(B),
            &question.success(address(B), &forged.password),
        );
        assert_eq!(result, Err(Reject::StunIntegrity));
        assert_eq!(ice.selected(), Some(address(A)));

        ice.handle(now, address(B), &answer).expect("the answer");
        assert_eq!(ice.selected(), Some(address(B)));
        // Once is enough.
        assert!(ice.handle(now, address(B), &answer).is_err());
    }

    #[test]
    fn a_path_that_ends_gives_way_to_one_that_answers() {
        let mut ice = agent();
        let now = start();
        let check = check_of(&credentials(1), true);
        ice.handle(now, address(A), &check).expect("a good check");
        // Before the handshake nothing follows but that the next check decides.
        assert_eq!(ice.forget(now, address(A), false), None);
        assert_eq!(ice.handle_timeout(now), Consent::Given);
        ice.handle(now, address(B), &check).expect("a good check");
        assert_eq!(ice.selected(), Some(address(B)));

        ice.handle(now, address(A), &check_of(&credentials(1), false))
            .expect("a good check");
        assert_eq!(
            ice.forget(now, address(C), true),
            None,
            "it was not the path"
        );
        let (to, question) = ice.forget(now, address(B), true).expect("A is left");
        assert_eq!((to, ice.selected()), (address(A), None));
        assert_eq!(ice.handle_timeout(now), Consent::Lapsed);
        let answer = answer_to(&question, &credentials(2), address(A));
        ice.handle(now, address(A), &answer).expect("the answer");
        assert_eq!(ice.selected(), Some(address(A)));
        assert_eq!(ice.handle_timeout(now), Consent::Given);

        assert_eq!(ice.forget(now, address(A), true), None, "nothing is left");
        assert_eq!(ice.handle_timeout(now), Consent::Lapsed);
    }

    #[test]
    fn asking_for_a_sign_of_life_moves_nothing_and_stops_no_move() {
        let mut ice = agent();
        let now = start();
        assert_eq!(ice.ask_selected(now), None);
        let check = check_of(&credentials(1), true);
        ice.handle(now, address(A), &check).expect("a good check");
        let (to, question) = ice.ask_selected(now).expect("there is a path");
        assert_eq!(to, address(A));
        let answer = answer_to(&question, &credentials(2), address(A));
        ice.handle(now, address(A), &answer).expect("the answer");
        assert_eq!(ice.selected(), Some(address(A)));

        let reply = ice.handle(now, address(B), &check).expect("a good check");
        assert_eq!(ice.ask_selected(now), None);
        let answer = answer_to(&reply.question, &credentials(2), address(B));
        ice.handle(now, address(B), &answer).expect("the answer");
        assert_eq!(ice.selected(), Some(address(B)));
    }

    #[test]
    fn a_peer_on_a_stream_is_told_where_it_is_seen() {
        let mut ice = agent();
        let id = std::num::NonZeroU32::MIN;
        let on_stream = stream::address(id, address(A));
        let reply = ice
            .handle(start(), on_stream, &check_of(&credentials(1), true))
            .expect("a good check");
        let seen = check_of(&credentials(1), true);
        let expected = Check::parse(&seen)
            .expect("a check")
            .success(address(A), "");
        assert_eq!(reply.answer.len(), expected.len(), "an IPv4 address");
        assert_eq!(ice.selected(), Some(on_stream));
    }

    #[test]
    fn a_check_without_nomination_moves_nothing() {
        let mut ice = agent();
        let now = start();
        ice.handle(now, address(A), &check_of(&credentials(1), true))
            .expect("a good check");
        let reply = ice
            .handle(now, address(B), &check_of(&credentials(1), false))
            .expect("a good check");
        assert!(reply.question.is_empty());
        assert!(ice.is_validated(address(B)));
        assert_eq!(ice.selected(), Some(address(A)));
    }

    #[test]
    fn consent_lapses_with_the_selected_path() {
        let mut ice = agent();
        let now = start();
        let limits = Limits::default();
        let check = check_of(&credentials(1), true);
        ice.handle(now, address(A), &check).expect("a good check");
        let later = now + limits.consent_timeout / 2;
        assert_eq!(ice.handle_timeout(later), Consent::Given);
        ice.handle(later, address(A), &check).expect("a good check");
        let lapses = later + limits.consent_timeout;
        assert_eq!(ice.next_timeout(), Some(lapses));
        let before = now + limits.consent_timeout;
        assert_eq!(ice.handle_timeout(before), Consent::Given);
        assert_eq!(ice.handle_timeout(lapses), Consent::Lapsed);
        assert!(!ice.is_validated(address(A)));
        assert_eq!(ice.selected(), None, "nothing more is sent there");
        let lost = lapses + limits.absence_timeout;
        assert_eq!(ice.next_timeout(), Some(lost));
        assert_eq!(
            ice.handle_timeout(lost - Duration::from_millis(1)),
            Consent::Lapsed
        );
        assert_eq!(ice.handle_timeout(lost), Consent::Lost);
    }

    #[test]
    fn a_path_comes_back_only_after_an_answer_too() {
        let mut ice = agent();
        let now = start();
        let limits = Limits::default();
        let check = check_of(&credentials(1), true);
        ice.handle(now, address(A), &check).expect("a good check");
        let lapsed = now + limits.consent_timeout;
        assert_eq!(ice.handle_timeout(lapsed), Consent::Lapsed);
        // Somebody else may have recorded the check and written a victim's address into it.
        let later = lapsed + Duration::from_secs(30);
        let unsure = check_of(&credentials(1), false);
        for check in [&check, &unsure] {
            ice.handle(later, address(B), check).expect("a good check");
            assert_eq!(ice.selected(), None);
        }
        // The peer itself comes with fresh credentials from somewhere else.
        ice.restart(credentials(9), credentials(2));
        let check = check_of(&credentials(9), true);
        let reply = ice.handle(later, address(A), &check).expect("a good check");
        assert_eq!(ice.selected(), None);
        let answer = answer_to(&reply.question, &credentials(2), address(A));
        ice.handle(later, address(A), &answer).expect("the answer");
        assert_eq!(ice.selected(), Some(address(A)));
        let much_later = later + limits.consent_timeout / 2;
        assert_eq!(ice.handle_timeout(much_later), Consent::Given);
    }

    #[test]
    fn after_a_standstill_of_ours_consent_lapses_a_little_later() {
        let mut ice = agent();
        let now = start();
        let limits = Limits::default();
        let check = check_of(&credentials(1), true);
        ice.handle(now, address(A), &check).expect("a good check");
        let woken = now + limits.consent_timeout + Duration::from_secs(40);
        ice.excuse_silence(woken);
        assert_eq!(ice.handle_timeout(woken), Consent::Given);
        let lapses = woken + CONSENT_GRACE;
        assert_eq!(ice.next_timeout(), Some(lapses));
        assert_eq!(ice.handle_timeout(lapses), Consent::Lapsed);
        // The time for which it is waited is excused in the same way.
        let woken = lapses + limits.absence_timeout + Duration::from_secs(40);
        ice.excuse_silence(woken);
        assert_eq!(ice.handle_timeout(woken), Consent::Lapsed);
        assert_eq!(ice.handle_timeout(woken + CONSENT_GRACE), Consent::Lost);
    }

    #[test]
    fn an_excuse_takes_no_time_from_anybody() {
        let mut ice = agent();
        let now = start();
        let limits = Limits::default();
        let check = check_of(&credentials(1), true);
        ice.handle(now, address(A), &check).expect("a good check");
        ice.excuse_silence(now + Duration::from_secs(3));
        assert_eq!(ice.next_timeout(), Some(now + limits.consent_timeout));
    }

    #[test]
    fn old_credentials_live_until_the_new_ones_are_used() {
        let mut ice = agent();
        let now = start();
        let old = check_of(&credentials(1), true);
        ice.handle(now, address(A), &old).expect("a good check");
        ice.restart(credentials(9), credentials(2));
        ice.handle(now, address(A), &old).expect("still valid");
        ice.handle(now, address(A), &check_of(&credentials(9), true))
            .expect("the new ones");
        assert_eq!(
            ice.handle(now, address(A), &old),
            Err(Reject::StunUnknownUser)
        );
        assert_eq!(ice.selected(), Some(address(A)));
    }

    #[test]
    fn old_credentials_open_no_new_path() {
        let mut ice = agent();
        let now = start();
        let old = check_of(&credentials(1), true);
        ice.handle(now, address(A), &old).expect("a good check");
        ice.restart(credentials(9), credentials(2));
        let result = ice.handle(now, address(B), &old);
        assert_eq!(result, Err(Reject::StunUnknownUser));
        assert!(!ice.is_validated(address(B)));
        ice.handle(now, address(A), &old).expect("a path it has");
        ice.handle(now, address(B), &check_of(&credentials(9), true))
            .expect("the new ones");
        assert!(ice.is_validated(address(B)));
    }

    #[test]
    fn a_restart_that_we_do_not_know_of_opens_no_new_path() {
        let mut ice = agent();
        let now = start();
        let (ours, theirs, next) = (credentials(1), credentials(2), credentials(3));
        // Nothing has been agreed before, and nothing is lost.
        let early = check_between(&ours, &next, true);
        ice.handle(now, address(A), &early).expect("a good check");
        let result = ice.handle(now, address(B), &early);
        assert_eq!(result, Err(Reject::StunUnknownUser));
        let moved = check_between(&ours, &theirs, true);
        ice.handle(now, address(C), &moved)
            .expect("the same peer from elsewhere");
        // Nor while our answer is under way, nor when its path has lapsed meanwhile.
        ice.restart(credentials(9), next.clone());
        let result = ice.handle(now, address(B), &early);
        assert_eq!(result, Err(Reject::StunUnknownUser));
        let later = now + Limits::default().consent_timeout;
        assert_eq!(ice.handle_timeout(later), Consent::Lapsed);
        let result = ice.handle(later, address(B), &early);
        assert_eq!(result, Err(Reject::StunUnknownUser));
        let told = check_between(&credentials(9), &next, true);
        ice.handle(later, address(B), &told).expect("the new ones");
        assert!(ice.is_validated(address(B)));
    }

    #[test]
    fn a_second_restart_leaves_the_path_that_is_in_use() {
        let mut ice = agent();
        let now = start();
        let old = check_of(&credentials(1), true);
        ice.handle(now, address(A), &old).expect("a good check");
        // The answer to the first never came.
        ice.restart(credentials(8), credentials(2));
        ice.restart(credentials(9), credentials(2));
        ice.handle(now, address(A), &old).expect("still in use");
        let result = ice.handle(now, address(A), &check_of(&credentials(8), true));
        assert_eq!(result, Err(Reject::StunUnknownUser));
        ice.handle(now, address(A), &check_of(&credentials(9), true))
            .expect("the new ones");
        let result = ice.handle(now, address(A), &old);
        assert_eq!(result, Err(Reject::StunUnknownUser));
    }

    #[test]
    fn sources_are_bounded_and_the_selected_one_stays() {
        let mut ice = agent();
        let now = start();
        let check = check_of(&credentials(1), true);
        ice.handle(now, address(A), &check).expect("a good check");
        for port in 1..1000 {
            let from = SocketAddr::new(address(B).ip(), port);
            let then = now + Duration::from_millis(u64::from(port));
            ice.handle(then, from, &check).expect("a good check");
        }
        assert_eq!(ice.sources.len(), SOURCES_MAX);
        assert!(ice.is_validated(address(A)));
    }

    #[test]
    fn a_peer_that_wants_to_be_controlled_is_told_off() {
        let mut ice = agent();
        let request = stun::request(stun::transaction([1; 12]), &credentials(2), &credentials(1));
        let reply = ice
            .handle(start(), address(A), &request)
            .expect("a good check");
        let text = String::from_utf8_lossy(&reply.answer).into_owned();
        assert!(text.contains("Role Conflict"));
        assert!(reply.answer.len() <= request.len());
        assert!(!ice.is_validated(address(A)));
    }
}
