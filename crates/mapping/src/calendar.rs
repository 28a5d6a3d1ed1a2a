//! Days and instants as text, without a detour through a formatter: the proleptic Gregorian calendar (RFC 3339).

use jiff::civil::{Date, DateTime};
use jiff::{Timestamp, tz::TimeZone};

/// 0000-01-01 and 9999-12-31, the days that RFC 3339 can write, as days since 1970-01-01.
const DAYS: std::ops::RangeInclusive<i64> = -719_528..=2_932_896;
const MICROS_A_DAY: i64 = 86_400_000_000;

/// Year, month and day of a day since 1970-01-01 (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn civil(days: i64) -> (i64, u8, u8) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, two(month), two(day))
}

/// A number below 100; what calls it has taken a remainder.
fn two(n: i64) -> u8 {
    u8::try_from(n).unwrap_or(0)
}

fn push_two(out: &mut Vec<u8>, n: u8) {
    out.extend_from_slice(&[b'0' + n / 10 % 10, b'0' + n % 10]);
}

/// Appends `2026-03-31`; false beyond the years 0 to 9999.
pub(crate) fn write_date(days: i64, out: &mut Vec<u8>) -> bool {
    if !DAYS.contains(&days) {
        return false;
    }
    let (year, month, day) = civil(days);
    push_two(out, two(year / 100));
    push_two(out, two(year % 100));
    out.push(b'-');
    push_two(out, month);
    out.push(b'-');
    push_two(out, day);
    true
}

/// Appends `2026-03-31T22:30:00Z`, with three or six digits of a second where it has them; false beyond the years 0
/// to 9999.
pub(crate) fn write_timestamp(micros: i64, out: &mut Vec<u8>) -> bool {
    if !write_date(micros.div_euclid(MICROS_A_DAY), out) {
        return false;
    }
    let of_day = micros.rem_euclid(MICROS_A_DAY);
    let (seconds, fraction) = (of_day / 1_000_000, of_day % 1_000_000);
    out.push(b'T');
    push_two(out, two(seconds / 3_600));
    out.push(b':');
    push_two(out, two(seconds / 60 % 60));
    out.push(b':');
    push_two(out, two(seconds % 60));
    if fraction != 0 {
        out.push(b'.');
        push_two(out, two(fraction / 10_000));
        push_two(out, two(fraction / 100 % 100));
        push_two(out, two(fraction % 100));
        if fraction % 1_000 == 0 {
            out.truncate(out.len() - 3);
        }
    }
    out.push(b'Z');
    true
}

/// Reads `2026-03-31` as days since 1970-01-01.
pub(crate) fn parse_date(text: &str) -> Option<i32> {
    let bytes = text.as_bytes();
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let number = |from: usize, to: usize| {
        bytes[from..to].iter().try_fold(0i16, |n, b| b.is_ascii_digit().then(|| n * 10 + i16::from(b - b'0')))
    };
    let (month, day) = (i8::try_from(number(5, 7)?).ok()?, i8::try_from(number(8, 10)?).ok()?);
    Date::new(number(0, 4)?, month, day).ok().map(days_of)
}

/// Reads an RFC 3339 date-time as microseconds since the Unix epoch; finer digits are dropped.
pub(crate) fn parse_timestamp(text: &str) -> Option<i64> {
    text.parse::<Timestamp>().ok().map(Timestamp::as_microsecond)
}

/// Days since 1970-01-01.
pub(crate) fn days_of(date: Date) -> i32 {
    let (year, month, day) = (i64::from(date.year()), i64::from(date.month()), i64::from(date.day()));
    let y = year - i64::from(month <= 2);
    let era = y.div_euclid(400);
    let year_of_era = y.rem_euclid(400);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    // Within ±4 million for the years that `Date` has.
    i32::try_from(era * 146_097 + day_of_era - 719_468).unwrap_or(0)
}

/// The date of a day since 1970-01-01.
pub(crate) fn date_of(days: i32) -> Option<Date> {
    let (year, month, day) = civil(i64::from(days));
    Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
}

/// What a clock on the wall in this zone shows at this instant.
pub(crate) fn local(micros: i64, zone: &TimeZone) -> Option<DateTime> {
    Timestamp::from_microsecond(micros).ok().map(|t| zone.to_datetime(t))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn timestamp(micros: i64) -> String {
        let mut out = Vec::new();
        assert!(write_timestamp(micros, &mut out));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn instants_are_written_as_rfc_3339_in_utc() {
        assert_eq!(timestamp(0), "1970-01-01T00:00:00Z");
        assert_eq!(timestamp(1_774_996_200_000_000), "2026-03-31T22:30:00Z");
        assert_eq!(timestamp(1_500_000), "1970-01-01T00:00:01.500Z");
        assert_eq!(timestamp(-1), "1969-12-31T23:59:59.999999Z");
        assert!(!write_timestamp(i64::MAX, &mut Vec::new()));
        assert!(!write_date(i64::from(i32::MAX), &mut Vec::new()));
    }

    #[test]
    fn every_day_of_four_centuries_reads_back() {
        let mut out = Vec::new();
        for days in -73_000..=73_100 {
            out.clear();
            assert!(write_date(days, &mut out));
            let text = std::str::from_utf8(&out).unwrap();
            assert_eq!(parse_date(text).map(i64::from), Some(days), "{text}");
            assert_eq!(date_of(i32::try_from(days).unwrap()).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in ["", "2026-2-01", "2026-02-30", "2026/02/01", "2026-02-0é", "2026-02-011"] {
            assert_eq!(parse_date(text), None, "{text}");
        }
    }
}
