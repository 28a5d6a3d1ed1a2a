//! `Retry-After` (RFC 9110, section 10.2.3), both forms, never early.

use std::time::{Duration, SystemTime};

use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

/// Less is not waited for. A system that says 0 to a call that it refuses would be called in a circle: throttled calls
/// count as no attempt.
pub(crate) const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);

/// What is waited for where a 429 does not say.
pub(crate) const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(2);

/// More cannot be asked for: a bound for arithmetic. What is too long for a consumer, `retry_after_max` says.
pub(crate) const RETRY_AFTER_MOST: Duration = Duration::from_secs(366 * 24 * 3_600);

/// How long nobody may call, from `now`: the longest that the headers ask for. `None` where they do not ask, or not so
/// that it can be understood.
///
/// A date is measured from the response's own `Date`, where it has one: that is by the clock of the system, which may be
/// an hour off ours. `Date` is cut to the second, so that the difference is never too short.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let date = headers.get(DATE).and_then(|value| value.to_str().ok()).and_then(parse_date).unwrap_or(now);
    headers
        .get_all(RETRY_AFTER)
        .iter()
        .filter_map(|value| wait(value.to_str().ok()?.trim(), date))
        .max()
        .map(|wait| wait.clamp(RETRY_AFTER_MIN, RETRY_AFTER_MOST))
}

/// A count of seconds, or the time until a date. Some systems send fractions of a second, which the RFC does not have;
/// they are rounded up.
fn wait(value: &str, from: SystemTime) -> Option<Duration> {
    let (whole, fraction) = value.split_once('.').unwrap_or((value, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits(whole) && digits(fraction) {
        // So many digits that no number holds them are still more than the most.
        let seconds = whole.parse::<u64>().unwrap_or(u64::MAX);
        let more = u64::from(fraction.bytes().any(|b| b != b'0'));
        return Some(Duration::from_secs(seconds.saturating_add(more)));
    }
    let until = parse_date(value)?;
    let wait = until.duration_since(from).unwrap_or(Duration::ZERO);
    Some(Duration::from_secs(wait.as_secs() + u64::from(wait.subsec_nanos() > 0)))
}

/// One of the three forms of RFC 9110, section 5.6.7.
fn parse_date(value: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(value).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT, the example of the RFC.
    const EXAMPLE: Duration = Duration::from_secs(784_111_777);

    fn check(values: &[&str], date: Option<&str>, expect: Option<u64>) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(RETRY_AFTER, value.parse().unwrap());
        }
        if let Some(date) = date {
            headers.insert(DATE, date.parse().unwrap());
        }
        // 0.4 s before 60 s before the example: what is left is 60.4 s, and 61 are waited.
        let now = SystemTime::UNIX_EPOCH + EXAMPLE - Duration::from_millis(60_400);
        assert_eq!(retry_after(&headers, now).map(|d| d.as_secs()), expect, "{values:?} {date:?}");
    }

    #[test]
    fn both_forms_are_understood_and_rounded_up() {
        check(&["120"], None, Some(120));
        check(&[" 7 "], None, Some(7));
        check(&["1.2"], None, Some(2));
        check(&["2.0"], None, Some(2));
        check(&["Sun, 06 Nov 1994 08:49:37 GMT"], None, Some(61));
        check(&["Sunday, 06-Nov-94 08:49:37 GMT"], None, Some(61));
        check(&["Sun Nov  6 08:49:37 1994"], None, Some(61));
    }

    #[test]
    fn a_date_is_measured_by_the_clock_of_who_named_it() {
        check(&["Sun, 06 Nov 1994 08:49:37 GMT"], Some("Sun, 06 Nov 1994 08:49:07 GMT"), Some(30));
        check(&["Sun, 06 Nov 1994 08:49:37 GMT"], Some("yesterday"), Some(61));
    }

    #[test]
    fn of_several_the_longest_counts() {
        check(&["5", "120", "60"], None, Some(120));
    }

    #[test]
    fn nothing_is_waited_for_less_than_a_second_or_for_ever() {
        check(&["0"], None, Some(1));
        check(&["Sun, 06 Nov 1994 08:49:37 GMT"], Some("Sun, 06 Nov 1994 09:49:37 GMT"), Some(1));
        check(&["99999999999999999999999999"], None, Some(RETRY_AFTER_MOST.as_secs()));
    }

    #[test]
    fn what_is_not_understood_asks_for_nothing() {
        for value in ["", "soon", "-1", "1e3", "0x10", "1.", ".5", "1.2.3"] {
            check(&[value], None, None);
        }
        check(&[], None, None);
    }
}
