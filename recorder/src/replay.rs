//! Replays that are going on: who may read which recording, what he was served and what he watched.
//!
//! Held in memory only: after a restart an officer asks again and gives his reason again. The audit
//! keeps the account; this module only knows who may go on and adds up what was watched. Time is
//! always an argument.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use crate::access::{Actor, Refused, ReplayId};
use crate::age::Recipient;
use crate::id::RecordingId;

/// A replay of which nothing is heard for so long is over. The player reports every 10 s.
const IDLE_MAX: Duration = Duration::from_secs(30 * 60);

/// No replay lasts longer than a working day; then the reason is asked again.
const LENGTH_MAX: Duration = Duration::from_secs(12 * 3600);

/// Replays of one server at once: more than a hospital has officers. Beyond, the one that was
/// silent longest is over.
const REPLAYS_MAX: usize = 1_000;

/// Spans that one report may name: a player that seeks once a second for its ten seconds, at most
/// at four times the speed.
pub const RANGES_PER_REPORT_MAX: usize = 64;

/// Officers who must open a recording together ask within so long of each other.
const TOGETHER_MAX: Duration = Duration::from_secs(3600);

/// Spans of a recording, sorted, none touching another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans(BTreeMap<u64, u64>);

impl Spans {
    /// Adds a span; what is there already counts once.
    pub fn add(&mut self, span: Range<u64>) {
        let (mut start, mut end) = (span.start, span.end);
        let touching: Vec<_> = (self.0.range(..=end).rev())
            .take_while(|&(_, &until)| until >= start)
            .map(|(&from, &until)| (from, until))
            .collect();
        for (from, until) in touching {
            self.0.remove(&from);
            start = start.min(from);
            end = end.max(until);
        }
        if start < end {
            self.0.insert(start, end);
        }
    }

    /// The sum of all spans.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|(from, until)| until - from).sum()
    }

    /// All spans, the earliest first.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.0.iter().map(|(&from, &until)| from..until)
    }
}

/// One replay.
#[derive(Clone, Debug)]
pub struct Replay {
    /// Who replays.
    pub actor: Actor,
    /// What.
    pub recording: RecordingId,
    /// What was watched so far, in microseconds of the recording.
    pub watched: Spans,
    began: Duration,
    heard: Duration,
}

impl Replay {
    fn is_over(&self, now: Duration) -> bool {
        now.saturating_sub(self.heard) > IDLE_MAX || now.saturating_sub(self.began) > LENGTH_MAX
    }
}

/// All replays of a server, and the officers who wait for each other.
#[derive(Debug, Default)]
pub struct Replays {
    going: BTreeMap<ReplayId, Replay>,
    asked: BTreeMap<(RecordingId, Recipient), Duration>,
}

impl Replays {
    /// Begins a replay. Returns the one that had to end for it, if there are too many.
    pub fn begin(
        &mut self,
        id: ReplayId,
        actor: Actor,
        recording: RecordingId,
        now: Duration,
    ) -> Option<(ReplayId, Replay)> {
        let ended = match self.going.len() < REPLAYS_MAX {
            true => None,
            false => {
                let silent = self.going.iter().min_by_key(|(_, replay)| replay.heard);
                let silent = silent.map(|(id, _)| *id);
                silent.and_then(|id| self.going.remove_entry(&id))
            }
        };
        let replay = Replay {
            actor,
            recording,
            watched: Spans::default(),
            began: now,
            heard: now,
        };
        self.going.insert(id, replay);
        ended
    }

    /// The replay `id`, if it is `actor`'s and goes on.
    pub fn find(
        &mut self,
        id: ReplayId,
        actor: &Actor,
        now: Duration,
    ) -> Result<&mut Replay, Refused> {
        let replay = self.going.get_mut(&id).ok_or(Refused::NoReplay)?;
        if replay.actor != *actor || replay.is_over(now) {
            return Err(Refused::NoReplay);
        }
        replay.heard = now;
        Ok(replay)
    }

    /// Ends a replay.
    pub fn end(&mut self, id: ReplayId) -> Option<Replay> {
        self.going.remove(&id)
    }

    /// Takes out the replays of which nothing has been heard, and those of `recording`.
    pub fn take_over(
        &mut self,
        now: Duration,
        gone: Option<RecordingId>,
    ) -> Vec<(ReplayId, Replay)> {
        self.asked
            .retain(|_, asked| now.saturating_sub(*asked) <= TOGETHER_MAX);
        self.going
            .extract_if(.., |_, replay| {
                replay.is_over(now) || gone == Some(replay.recording)
            })
            .collect()
    }

    /// An officer asks for a recording that `need` must open together. Says whether enough have
    /// asked; then the count begins again.
    pub fn ask(
        &mut self,
        recording: RecordingId,
        officer: Recipient,
        need: u8,
        now: Duration,
    ) -> Result<(), Refused> {
        self.asked
            .retain(|_, asked| now.saturating_sub(*asked) <= TOGETHER_MAX);
        self.asked.insert((recording, officer), now);
        let these = |key: &(RecordingId, Recipient)| key.0 == recording;
        let have = self.asked.keys().filter(|key| these(key)).count();
        if have < usize::from(need) {
            let have = u8::try_from(have).unwrap_or(u8::MAX);
            return Err(Refused::OfficersMissing { have, need });
        }
        self.asked.retain(|key, _| !these(key));
        Ok(())
    }
}

/// The spans of a report, if they can have been watched in a recording of `duration_us`.
pub fn checked_report(ranges: &[Range<u64>], duration_us: u64) -> Result<(), Refused> {
    /// A player rounds to frames and the last audio packet.
    const BEYOND_US: u64 = 5_000_000;
    let end = duration_us.saturating_add(BEYOND_US);
    let is_possible = |range: &Range<u64>| range.start < range.end && range.end <= end;
    let fits = ranges.len() <= RANGES_PER_REPORT_MAX && ranges.iter().all(is_possible);
    fits.then_some(()).ok_or(Refused::NotWatchable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wall::Wall;

    const MINUTE: Duration = Duration::from_secs(60);

    fn actor(identity: &str) -> Actor {
        Actor {
            identity: identity.into(),
            owner: "clinic".into(),
        }
    }

    fn recording(random: u8) -> RecordingId {
        RecordingId::new(Wall::from_millis(1), [random; 10])
    }

    #[test]
    fn what_is_watched_twice_counts_once() {
        let mut spans = Spans::default();
        for span in [10..20, 30..40, 15..32, 50..60, 60..70, 0..5, 7..7] {
            spans.add(span);
        }
        let all: Vec<_> = spans.iter().collect();
        assert_eq!(all, [0..5, 10..40, 50..70]);
        assert_eq!(spans.total(), 55);
        spans.add(0..100);
        assert_eq!(spans.iter().collect::<Vec<_>>(), [0..100]);
    }

    #[test]
    fn spans_agree_with_counting_every_microsecond() {
        let mut state = 7_u64;
        let mut random = move |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % below
        };
        for _ in 0..200 {
            let (mut spans, mut seen) = (Spans::default(), [false; 64]);
            for _ in 0..12 {
                let start = random(60);
                let end = (start + random(12)).min(64);
                spans.add(start..end);
                seen[start as usize..end as usize].fill(true);
            }
            assert_eq!(
                spans.total(),
                seen.iter().filter(|seen| **seen).count() as u64
            );
            let ends: Vec<_> = spans.iter().collect();
            assert!(
                ends.windows(2).all(|two| two[0].end < two[1].start),
                "{ends:?}"
            );
        }
    }

    #[test]
    fn a_replay_is_its_officers_alone() {
        let mut replays = Replays::default();
        replays.begin(ReplayId(1), actor("li"), recording(1), MINUTE);
        assert!(replays.find(ReplayId(1), &actor("li"), MINUTE).is_ok());
        for (id, who) in [(ReplayId(1), actor("wang")), (ReplayId(2), actor("li"))] {
            let refused = replays.find(id, &who, MINUTE);
            assert_eq!(refused.err(), Some(Refused::NoReplay));
        }
    }

    #[test]
    fn a_silent_replay_is_over_and_so_is_one_of_a_whole_day() {
        let mut replays = Replays::default();
        replays.begin(ReplayId(1), actor("li"), recording(1), Duration::ZERO);
        assert!(
            replays
                .find(ReplayId(1), &actor("li"), 31 * MINUTE)
                .is_err()
        );
        replays.begin(ReplayId(2), actor("li"), recording(1), Duration::ZERO);
        for minute in (0..=720).step_by(20) {
            let found = replays.find(ReplayId(2), &actor("li"), minute * MINUTE);
            assert!(found.is_ok(), "{minute}");
        }
        assert!(
            replays
                .find(ReplayId(2), &actor("li"), 721 * MINUTE)
                .is_err()
        );
        assert_eq!(replays.take_over(721 * MINUTE, None).len(), 2);
    }

    #[test]
    fn there_are_never_too_many_replays() {
        let mut replays = Replays::default();
        for number in 0..REPLAYS_MAX as u128 {
            let at = Duration::from_secs(1 + number as u64);
            assert!(
                replays
                    .begin(ReplayId(number), actor("li"), recording(1), at)
                    .is_none()
            );
        }
        let last = ReplayId(REPLAYS_MAX as u128);
        let ended = replays.begin(last, actor("li"), recording(1), 1_000 * MINUTE);
        assert_eq!(ended.map(|(id, _)| id), Some(ReplayId(0)));
    }

    #[test]
    fn officers_who_must_open_together_ask_within_an_hour() {
        let mut replays = Replays::default();
        let (one, two) = (Recipient([1; 32]), Recipient([2; 32]));
        let missing = Err(Refused::OfficersMissing { have: 1, need: 2 });
        assert_eq!(replays.ask(recording(1), one, 2, MINUTE), missing);
        assert_eq!(replays.ask(recording(1), one, 2, 2 * MINUTE), missing);
        assert_eq!(replays.ask(recording(2), two, 2, 2 * MINUTE), missing);
        assert_eq!(replays.ask(recording(1), two, 2, 61 * MINUTE), Ok(()));
        assert_eq!(replays.ask(recording(1), one, 2, 62 * MINUTE), missing);
        assert_eq!(replays.ask(recording(1), two, 2, 123 * MINUTE), missing);
    }

    #[test]
    fn nobody_watches_what_was_never_recorded() {
        let second = 1_000_000;
        assert_eq!(checked_report(&[0..second], second), Ok(()));
        let many = vec![0..1; RANGES_PER_REPORT_MAX + 1];
        let backwards = Range { start: 2, end: 1 };
        for wrong in [vec![0..7 * second], vec![backwards], vec![5..5], many] {
            assert_eq!(checked_report(&wrong, second), Err(Refused::NotWatchable));
        }
    }
}
