//! A point of the wall clock, and its text form in every file of the archive: RFC 3339 in UTC.
//!
//! Durations and places within a recording are never computed from it: the wall clock may step.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

const DAY_SECONDS: u64 = 86_400;

/// Microseconds since 1970 in UTC. Written to the millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Wall(pub u64);

/// A text that is no time of the form `2026-11-22T02:00:00.000Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a time of the form 2026-11-22T02:00:00.000Z")]
pub struct NotATime;

impl Wall {
    /// So many milliseconds since 1970.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1000)
    }

    /// Whole milliseconds since 1970.
    pub const fn millis(self) -> u64 {
        self.0 / 1000
    }

    /// This time `span` later.
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span.as_micros() as u64))
    }

    /// The same day and hour `years` later; 29 February becomes 1 March where there is none.
    pub fn years_later(self, years: u32) -> Self {
        let (year, month, day) = civil(self.0 / 1_000_000 / DAY_SECONDS);
        let within = self.0 % (DAY_SECONDS * 1_000_000);
        let year = year + u64::from(years);
        let (month, day) = if (month, day) == (2, 29) && days_in(year, 2) == 28 {
            (3, 1)
        } else {
            (month, day)
        };
        Self(days(year, month, day) * DAY_SECONDS * 1_000_000 + within)
    }

    /// The day alone, `2026-11-22`: the name of a day's audit file.
    pub fn day(self) -> String {
        let (year, month, day) = civil(self.0 / 1_000_000 / DAY_SECONDS);
        format!("{year:04}-{month:02}-{day:02}")
    }
}

impl From<SystemTime> for Wall {
    /// What lies before 1970 counts as 1970.
    fn from(time: SystemTime) -> Self {
        Self(
            time.duration_since(UNIX_EPOCH)
                .map_or(0, |span| span.as_micros() as u64),
        )
    }
}

/// Days since 1970 to year, month and day (the algorithm of Howard Hinnant's `civil_from_days`,
/// for days that are not before 1970).
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

/// The inverse of [`civil`].
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * shifted + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn days_in(year: u64, month: u64) -> u64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        _ => 31,
    }
}

impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.millis() % 1000;
        let seconds = self.0 / 1_000_000 % DAY_SECONDS;
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(
            f,
            "{}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z",
            self.day()
        )
    }
}

impl FromStr for Wall {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Self, NotATime> {
        parse(text.as_bytes()).ok_or(NotATime)
    }
}

fn parse(text: &[u8]) -> Option<Wall> {
    let number = |from: usize, until: usize| -> Option<u64> {
        text.get(from..until)?.iter().try_fold(0, |value, byte| {
            byte.is_ascii_digit()
                .then(|| value * 10 + u64::from(byte - b'0'))
        })
    };
    let stands = |at: usize, byte: u8| (*text.get(at)? == byte).then_some(());
    for (at, byte) in [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')] {
        stands(at, byte)?;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let end = text.len().checked_sub(1)?;
    stands(end, b'Z')?;
    let micros = match end.checked_sub(19)? {
        0 => 0,
        // Nine digits of a second are the most that anybody writes; what is finer than ours is cut.
        digits @ 2..=10 => {
            stands(19, b'.')?;
            number(20, end)? * 1_000_000 / 10_u64.pow(digits as u32 - 1)
        }
        _ => return None,
    };
    let valid = year >= 1970
        && (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    let seconds = || days(year, month, day) * DAY_SECONDS + hour * 3600 + minute * 60 + second;
    valid.then(|| Wall(seconds() * 1_000_000 + micros))
}

impl From<Wall> for String {
    fn from(wall: Wall) -> Self {
        wall.to_string()
    }
}

impl TryFrom<String> for Wall {
    type Error = NotATime;

    fn try_from(text: String) -> Result<Self, NotATime> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_and_read_alike() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_795_312_800_123, "2026-11-22T02:00:00.123Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
        ] {
            assert_eq!(Wall::from_millis(millis).to_string(), text);
            assert_eq!(text.parse(), Ok(Wall::from_millis(millis)));
        }
    }

    #[test]
    fn every_day_of_four_centuries_comes_back() {
        for day in (0..146_097).step_by(13) {
            let (year, month, of_month) = civil(day);
            assert_eq!(days(year, month, of_month), day);
        }
    }

    #[test]
    fn fractions_may_have_any_length() {
        assert_eq!("1970-01-01T00:00:00Z".parse(), Ok(Wall(0)));
        assert_eq!("1970-01-01T00:00:00.5Z".parse(), Ok(Wall(500_000)));
        assert_eq!("1970-01-01T00:00:00.123456789Z".parse(), Ok(Wall(123_456)));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "Z",
            "2026-11-22",
            "2026-11-22T02:00:00",
            "2026-11-22T02:00:00+01:00",
            "2026-13-22T02:00:00Z",
            "2026-02-29T02:00:00Z",
            "2026-11-22T24:00:00Z",
            "1969-11-22T02:00:00Z",
            "2026-11-22T02:00:00.Z",
            "2026-11-22T02:00:00.0000000000Z",
            "2026-11-2€T02:00:00Z",
        ] {
            assert_eq!(text.parse::<Wall>(), Err(NotATime), "{text}");
        }
    }

    #[test]
    fn a_retention_of_years_ends_on_the_same_day() {
        let leap: Wall = "2028-02-29T12:00:00Z".parse().expect("is valid");
        assert_eq!(leap.years_later(3).to_string(), "2031-03-01T12:00:00.000Z");
        assert_eq!(leap.years_later(4).to_string(), "2032-02-29T12:00:00.000Z");
    }
}
