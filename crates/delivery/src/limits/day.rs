//! Days of a named time zone, from a wall clock that is an argument.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

/// So long before a day's end nothing of its budget is used any more, and so long after its begin nothing yet: wall clocks
/// kept by NTP differ by less, and a call that is sent arrives within it.
pub(crate) const GUARD: Duration = Duration::from_secs(2);

/// A day of the calendar, such as `2026-11-24`. Later ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Day(pub Date);

impl From<Day> for String {
    fn from(day: Day) -> Self {
        day.0.to_string()
    }
}

impl TryFrom<String> for Day {
    type Error = jiff::Error;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Ok(Self(text.parse()?))
    }
}

/// The day whose budget may be used now, and for how long; nothing around midnight.
pub(crate) fn day_at(unix_ms: i64, zone: &TimeZone) -> Option<(Day, Duration)> {
    let now = Timestamp::from_millisecond(unix_ms).ok()?;
    let date = zone.to_datetime(now).date();
    // Midnight that a change of the clocks leaves out is the first instant after it: a day has 23, 24 or 25 hours.
    let midnight = |date: Date| zone.to_timestamp(date.to_datetime(Time::midnight())).ok();
    let (begin, end) = (midnight(date)?, midnight(date.tomorrow().ok()?)?);
    let since_begin = u64::try_from(unix_ms - begin.as_millisecond()).ok()?;
    let left = u64::try_from(end.as_millisecond() - unix_ms).ok()?;
    let usable = Duration::from_millis(left).checked_sub(GUARD).filter(|usable| !usable.is_zero())?;
    (Duration::from_millis(since_begin) >= GUARD).then_some((Day(date), usable))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn check(at: &str, zone: &str, expect: Option<(&str, u64)>) {
        let unix_ms = at.parse::<Timestamp>().unwrap().as_millisecond();
        let got = day_at(unix_ms, &TimeZone::get(zone).unwrap());
        let got = got.map(|(day, left)| (day.0.to_string(), left.as_secs()));
        assert_eq!(got, expect.map(|(day, left)| (day.to_owned(), left)), "{at} in {zone}");
    }

    #[test]
    fn a_day_is_that_of_its_zone_and_as_long_as_it_is_there() {
        check("2026-11-24T12:00:00Z", "UTC", Some(("2026-11-24", 12 * 3_600 - 2)));
        check("2026-11-24T23:30:00Z", "Europe/Berlin", Some(("2026-11-25", 23 * 3_600 + 1_800 - 2)));
        check("2026-11-24T03:00:00Z", "America/Los_Angeles", Some(("2026-11-23", 5 * 3_600 - 2)));
        // Clocks go forward, clocks go back.
        check("2026-03-28T23:01:00Z", "Europe/Berlin", Some(("2026-03-29", 23 * 3_600 - 62)));
        check("2026-10-24T22:01:00Z", "Europe/Berlin", Some(("2026-10-25", 25 * 3_600 - 62)));
        // Midnight is left out: the day begins at one o'clock.
        check("2024-04-26T00:00:00Z", "Africa/Cairo", Some(("2024-04-26", 21 * 3_600 - 2)));
    }

    #[test]
    fn nothing_is_used_around_midnight() {
        check("2026-11-24T23:59:57.999Z", "UTC", Some(("2026-11-24", 0)));
        check("2026-11-24T23:59:58Z", "UTC", None);
        check("2026-11-25T00:00:01.999Z", "UTC", None);
        check("2026-11-25T00:00:02Z", "UTC", Some(("2026-11-25", 86_400 - 4)));
    }
}
