//! Dates and timestamps between Avro's numbers and their text.

use jiff::civil::{Date, date};
use jiff::{SignedDuration, Timestamp};

use crate::rfc3339;

/// What a timestamp counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Milliseconds,
    Microseconds,
}

impl Unit {
    fn nanoseconds(self) -> i128 {
        match self {
            Unit::Milliseconds => 1_000_000,
            Unit::Microseconds => 1_000,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Unit::Milliseconds => "millisecond",
            Unit::Microseconds => "microsecond",
        }
    }
}

/// The text of a timestamp; `None` outside of the years 0 to 9999.
pub(super) fn print_timestamp(count: i64, unit: Unit) -> Option<String> {
    let instant = Timestamp::from_nanosecond(i128::from(count) * unit.nanoseconds()).ok()?;
    rfc3339::print_instant(instant)
}

/// Reads a timestamp that its unit can hold exactly.
pub(super) fn parse_timestamp(text: &str, unit: Unit) -> Result<i64, String> {
    let instant = rfc3339::parse_instant(text);
    let instant = instant.ok_or("is not an RFC 3339 time such as 2026-01-31T09:30:00Z")?;
    let nanoseconds = instant.as_nanosecond();
    if nanoseconds % unit.nanoseconds() != 0 {
        return Err(format!("is finer than a {}", unit.name()));
    }
    i64::try_from(nanoseconds / unit.nanoseconds()).map_err(|_| "is out of range".to_owned())
}

/// The text of a date, in days since 1970-01-01; `None` outside of the years 0 to 9999.
pub(super) fn print_date(days: i32) -> Option<String> {
    let date = EPOCH.checked_add(SignedDuration::from_secs(i64::from(days) * SECONDS_OF_DAY)).ok()?;
    (0..=9999).contains(&date.year()).then(|| date.to_string())
}

/// Reads a date as days since 1970-01-01.
pub(super) fn parse_date(text: &str) -> Result<i32, String> {
    let date = rfc3339::parse_date(text).ok_or("is not a date such as 2026-01-31")?;
    let days = date.duration_since(EPOCH).as_secs() / SECONDS_OF_DAY;
    i32::try_from(days).map_err(|_| "is out of range".to_owned())
}

const EPOCH: Date = date(1970, 1, 1);

const SECONDS_OF_DAY: i64 = 24 * 60 * 60;
