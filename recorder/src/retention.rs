//! How long recordings are kept: classes, what is in force for one recording, and whether the clock
//! may be believed when a date has passed.
//!
//! Pure decisions over plain values. A date is only ever moved to later, a hold beats every date,
//! and a clock that jumped lets nothing expire until an operator has confirmed it: otherwise
//! whoever can set the clock could destroy evidence.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::access::Refused;
use crate::wall::Wall;

/// The clock may differ from the last audited time by so much; a server that was off for longer
/// must be told that its clock is right.
pub const CLOCK_JUMP_MAX: Duration = Duration::from_secs(24 * 3600);

/// The longest period: longer than anybody's archive law, short enough for four digits of a year.
const PERIOD_YEARS_MAX: u32 = 200;

/// Bytes of the name of a class or a case.
pub const NAME_BYTES_MAX: usize = 64;

/// A time to keep recordings, in years of the calendar or in days: `3y`, `90d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Period {
    /// To the same date so many years later.
    Years(u32),
    /// So many times 24 hours.
    Days(u32),
}

/// A text that is no period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a period: give a number and y or d, as in 3y or 90d, of at most 200 years")]
pub struct NotAPeriod;

impl Period {
    /// When the period is over that begins at `start`.
    pub fn after(self, start: Wall) -> Wall {
        match self {
            Self::Years(years) => start.years_later(years),
            Self::Days(days) => start.after(Duration::from_secs(u64::from(days) * 86_400)),
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Years(years) => write!(f, "{years}y"),
            Self::Days(days) => write!(f, "{days}d"),
        }
    }
}

impl FromStr for Period {
    type Err = NotAPeriod;

    fn from_str(text: &str) -> Result<Self, NotAPeriod> {
        let number = |digits: &str, max: u32| {
            let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            let number: u32 = digits.parse().map_err(|_| NotAPeriod)?;
            let fits = is_plain && (1..=max).contains(&number);
            fits.then_some(number).ok_or(NotAPeriod)
        };
        if let Some(digits) = text.strip_suffix('y') {
            number(digits, PERIOD_YEARS_MAX).map(Self::Years)
        } else if let Some(digits) = text.strip_suffix('d') {
            number(digits, PERIOD_YEARS_MAX * 365).map(Self::Days)
        } else {
            Err(NotAPeriod)
        }
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        period.to_string()
    }
}

impl TryFrom<String> for Period {
    type Error = NotAPeriod;

    fn try_from(text: String) -> Result<Self, NotAPeriod> {
        text.parse()
    }
}

/// Which classes there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionConfig {
    /// The class of a recording for which none was asked.
    pub default_class: String,
    /// Every class and how long its recordings are kept: years (`3y`) or days (`90d`).
    pub classes: BTreeMap<String, Period>,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        let classes = [
            ("consult-3y", Period::Years(3)),
            ("record-15y", Period::Years(15)),
        ];
        Self {
            default_class: "consult-3y".to_owned(),
            classes: classes
                .map(|(name, period)| (name.to_owned(), period))
                .into(),
        }
    }
}

impl RetentionConfig {
    /// Names what is wrong, for the operator.
    pub fn check(&self) -> Result<(), String> {
        if let Some(name) = self.classes.keys().find(|name| !is_name(name)) {
            return Err(format!(
                "retention.classes: {name:?} must be 1 to {NAME_BYTES_MAX} letters, digits, \
                 dots, dashes or underscores"
            ));
        }
        if self.classes.contains_key(&self.default_class) {
            return Ok(());
        }
        let name = &self.default_class;
        Err(format!(
            "retention.default_class: there is no class {name:?}"
        ))
    }

    /// The class asked for, or the default one; none if it is not configured.
    pub fn class(&self, asked: Option<&str>) -> Option<(&str, Period)> {
        let name = asked.unwrap_or(&self.default_class);
        let (name, period) = self.classes.get_key_value(name)?;
        Some((name, *period))
    }
}

/// Whether `name` can name a class or a case: short, and harmless in any log or header.
pub fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_plain)
}

/// What keeps one recording, after everything that the log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The least date in force.
    pub until: Wall,
    /// The cases that hold it.
    pub holds: BTreeSet<String>,
    /// Since when it is being destroyed, or is.
    pub expired: Option<Wall>,
}

impl Standing {
    /// As the header says.
    pub fn new(until: Wall) -> Self {
        Self {
            until,
            holds: BTreeSet::new(),
            expired: None,
        }
    }

    /// Whether the recording may be destroyed at `now`. `is_clock_sound` is [`ClockGuard::trusts`].
    pub fn may_expire(&self, now: Wall, is_clock_sound: bool) -> Result<(), Refused> {
        let until = self.until;
        if self.expired.is_some() {
            Err(Refused::Expired)
        } else if now < until {
            Err(Refused::Retained { until })
        } else if !self.holds.is_empty() {
            Err(Refused::Held {
                cases: self.holds.iter().cloned().collect(),
            })
        } else if !is_clock_sound {
            Err(Refused::ClockJumped { until })
        } else {
            Ok(())
        }
    }

    /// Whether the date may be moved to `until`.
    pub fn may_extend(&self, until: Wall) -> Result<(), Refused> {
        match self.expired {
            Some(_) => Err(Refused::Expired),
            None if until <= self.until => Err(Refused::OnlyExtended { until: self.until }),
            None => Ok(()),
        }
    }

    /// Whether `case` may be added.
    pub fn may_hold(&self, case: &str) -> Result<(), Refused> {
        let max = NAME_BYTES_MAX;
        match self.expired {
            Some(_) => Err(Refused::Expired),
            None if !is_name(case) => Err(Refused::NotACase { max }),
            None if self.holds.contains(case) => Err(Refused::AlreadyHeld),
            None => Ok(()),
        }
    }

    /// Whether `case` may be taken away.
    pub fn may_lift(&self, case: &str) -> Result<(), Refused> {
        match self.holds.contains(case) {
            true => Ok(()),
            false => Err(Refused::NotHeld),
        }
    }
}

/// Compares the clock with what it was known to be.
///
/// Two yardsticks: the last time that the audit vouches for, which survives a restart, and the
/// monotonic clock since this process began, which sees a clock that is moved in many small steps.
#[derive(Clone, Copy, Debug)]
pub struct ClockGuard {
    vouched: Wall,
    /// What the wall clock said when the monotonic clock said what.
    anchor: (Wall, Duration),
}

impl ClockGuard {
    /// A guard for a process that begins at `now`, when the audit vouches for `vouched`. `uptime` is
    /// a clock that nobody can set.
    pub fn new(vouched: Wall, now: Wall, uptime: Duration) -> Self {
        Self {
            vouched,
            anchor: (now, uptime),
        }
    }

    /// Whether the clock is where it must be.
    pub fn trusts(&self, now: Wall, uptime: Duration) -> bool {
        let (wall, then) = self.anchor;
        let expected = wall.after(uptime.saturating_sub(then));
        is_near(now, self.vouched) && is_near(now, expected)
    }

    /// Moves on to `now`, if the clock is trusted. Says whether it was.
    pub fn advance(&mut self, now: Wall, uptime: Duration) -> bool {
        let trusts = self.trusts(now, uptime);
        if trusts {
            self.vouched = now;
        }
        trusts
    }

    /// An operator says that the clock is right.
    pub fn confirm(&mut self, now: Wall, uptime: Duration) {
        *self = Self::new(now, now, uptime);
    }

    /// The last time that is vouched for.
    pub fn vouched(&self) -> Wall {
        self.vouched
    }
}

/// Whether two times are at most [`CLOCK_JUMP_MAX`] apart.
pub fn is_near(one: Wall, other: Wall) -> bool {
    one.0.abs_diff(other.0) <= CLOCK_JUMP_MAX.as_micros() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const YEARS_20: Duration = Duration::from_secs(20 * 365 * 86_400);

    fn wall(text: &str) -> Wall {
        text.parse().expect("the test writes times")
    }

    fn noon() -> Wall {
        wall("2026-11-22T12:00:00Z")
    }

    #[test]
    fn a_period_is_years_of_the_calendar_or_days() {
        let after = |text: &str| text.parse::<Period>().map(|period| period.after(noon()));
        assert_eq!(after("3y"), Ok(wall("2029-11-22T12:00:00Z")));
        assert_eq!(after("30d"), Ok(wall("2026-12-22T12:00:00Z")));
        for wrong in [
            "", "y", "3", "0y", "-1d", "+3y", "3 y", "201y", "9999999d", "3m",
        ] {
            assert_eq!(after(wrong), Err(NotAPeriod), "{wrong}");
        }
    }

    #[test]
    fn a_class_that_is_not_configured_is_none() {
        let config = RetentionConfig::default();
        assert_eq!(config.check(), Ok(()));
        assert_eq!(config.class(None), Some(("consult-3y", Period::Years(3))));
        assert_eq!(
            config.class(Some("record-15y")),
            Some(("record-15y", Period::Years(15)))
        );
        assert_eq!(config.class(Some("forever")), None);
    }

    #[test]
    fn wrong_classes_are_named() {
        let mut config = RetentionConfig {
            default_class: "gone".into(),
            ..RetentionConfig::default()
        };
        assert!(config.check().expect_err("is not there").contains("gone"));
        config.classes.insert("a b".into(), Period::Days(1));
        assert!(config.check().expect_err("has a space").contains("a b"));
    }

    #[test]
    fn before_its_date_nothing_expires() {
        let standing = Standing::new(noon());
        let early = Wall(noon().0 - 1);
        let until = noon();
        assert_eq!(
            standing.may_expire(early, true),
            Err(Refused::Retained { until })
        );
        assert_eq!(standing.may_expire(noon(), true), Ok(()));
        assert_eq!(
            standing.may_expire(noon(), false),
            Err(Refused::ClockJumped { until })
        );
    }

    #[test]
    fn a_hold_beats_the_date_until_it_is_lifted() {
        let mut standing = Standing::new(noon());
        assert_eq!(standing.may_hold("case-7"), Ok(()));
        standing.holds.insert("case-7".into());
        assert_eq!(standing.may_hold("case-7"), Err(Refused::AlreadyHeld));
        let cases = vec!["case-7".to_owned()];
        assert_eq!(
            standing.may_expire(noon(), true),
            Err(Refused::Held { cases })
        );
        assert_eq!(standing.may_lift("case-8"), Err(Refused::NotHeld));
        assert_eq!(standing.may_lift("case-7"), Ok(()));
        for wrong in ["", "a b", "a\nb", &"x".repeat(NAME_BYTES_MAX + 1)] {
            let refused = standing.may_hold(wrong);
            assert!(matches!(refused, Err(Refused::NotACase { .. })), "{wrong}");
        }
    }

    #[test]
    fn a_date_is_only_moved_to_later() {
        let mut standing = Standing::new(noon());
        let until = noon();
        for not_later in [noon(), Wall(noon().0 - 1)] {
            let refused = standing.may_extend(not_later);
            assert_eq!(refused, Err(Refused::OnlyExtended { until }));
        }
        assert_eq!(standing.may_extend(Wall(noon().0 + 1)), Ok(()));
        standing.expired = Some(noon());
        assert_eq!(
            standing.may_extend(Wall(noon().0 + 1)),
            Err(Refused::Expired)
        );
    }

    #[test]
    fn a_clock_that_jumps_either_way_is_not_trusted() {
        let guard = ClockGuard::new(noon(), noon(), HOUR);
        assert!(guard.trusts(noon().after(24 * HOUR), 25 * HOUR));
        for (now, uptime) in [
            (noon().after(YEARS_20), HOUR),
            (Wall(noon().0 - YEARS_20.as_micros() as u64), HOUR),
            (noon().after(25 * HOUR), 26 * HOUR),
        ] {
            assert!(!guard.trusts(now, uptime), "{now}");
        }
    }

    #[test]
    fn a_clock_that_creeps_is_caught_by_the_monotonic_one() {
        let mut guard = ClockGuard::new(noon(), noon(), Duration::ZERO);
        let mut now = noon();
        let mut trusted = 0;
        for minute in 0..10 {
            now = now.after(23 * HOUR);
            trusted += u32::from(guard.advance(now, minute * HOUR / 60));
        }
        assert_eq!(trusted, 1, "the second step of 23 hours is one too many");
    }

    #[test]
    fn a_clock_that_ticks_is_trusted_for_ever() {
        let mut guard = ClockGuard::new(noon(), noon(), Duration::ZERO);
        for hour in 1..100_000 {
            assert!(guard.advance(noon().after(hour * HOUR), hour * HOUR));
        }
    }

    #[test]
    fn an_operator_ends_the_doubt() {
        let later = noon().after(YEARS_20);
        let mut guard = ClockGuard::new(noon(), later, HOUR);
        assert!(!guard.advance(later, HOUR));
        assert_eq!(guard.vouched(), noon(), "doubtful times vouch for nothing");
        guard.confirm(later, HOUR);
        assert!(guard.trusts(later, HOUR));
    }
}
