//! What a system says of its limits in the headers of an answer.
//!
//! | headers | where |
//! | --- | --- |
//! | `RateLimit: "default";r=50;t=30`, `RateLimit-Policy: "default";q=100;w=60` | draft-ietf-httpapi-ratelimit-headers, from -08 on |
//! | `RateLimit: limit=100, remaining=50, reset=30`, `RateLimit-Policy: 100;w=60` | its -07 |
//! | `RateLimit-Limit`, `-Remaining`, `-Reset` (seconds from now), with `RateLimit-Policy: 100;w=60` | up to -06 |
//! | `X-RateLimit-Limit`, `-Remaining`, `-Reset`; `X-Rate-Limit-…` | the usual. The reset is a Unix time (GitHub, Intercom), also in milliseconds, or seconds from now (Pipedrive), or a date |
//! | `x-ratelimit-remaining-requests`, `x-ratelimit-reset-tokens: 6m0s` | OpenAI |
//! | `anthropic-ratelimit-requests-remaining`, `-reset` (RFC 3339) | Anthropic |
//! | `X-HubSpot-RateLimit-Max`, `-Remaining`, `-Interval-Milliseconds` | HubSpot |
//! | `X-Shopify-Shop-Api-Call-Limit: 32/40` | Shopify's REST API: a bucket that leaks |
//!
//! Vendors put words before and behind; what is left of a name says which of their counters it is about. Of several the one
//! counts that lets least through. A time is rounded up, and a time of day is measured from the answer's own `Date`, since the
//! system's clock may be an hour off ours: so nobody calls early.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::header::{DATE, HeaderMap};
use tieline_delivery::limits::{Advertised, Policy, Remaining};

/// What is waited for where nothing remains, and nobody says for how long.
const RESET_DEFAULT: Duration = Duration::from_secs(1);

/// More cannot be asked for: a bound for arithmetic. What is too long to wait is told as an outage.
const RESET_MOST: Duration = Duration::from_secs(366 * 24 * 3_600);

/// A number from here on is a Unix time in seconds (2001), and from there on in milliseconds; before, seconds from now.
const UNIX_SECONDS_FROM: u64 = 1_000_000_000;
const UNIX_MILLIS_FROM: u64 = 1_000_000_000_000;

/// What is said of one of a system's counters.
#[derive(Debug, Clone, Copy, Default)]
struct Counter {
    limit: Option<u64>,
    remaining: Option<u64>,
    reset: Option<Duration>,
    window: Option<Duration>,
}

/// What these headers say; nothing where they say nothing.
pub(super) fn advertised(headers: &HeaderMap, now: SystemTime) -> Option<Advertised> {
    let mut counters: BTreeMap<String, Counter> = BTreeMap::new();
    let mut date = None;
    for (name, value) in headers {
        let name = name.as_str();
        let Some(of) = behind(name) else { continue };
        let Ok(value) = value.to_str() else { continue };
        let from = *date.get_or_insert_with(|| date_of(headers).unwrap_or(now));
        match of {
            "" if name == "ratelimit" => take_items(&mut counters, value, "", from),
            "-policy" => take_items(&mut counters, value, "policy", from),
            "-call-limit" => take_bucket(&mut counters, value),
            _ => take_plain(&mut counters, of, value, from),
        }
    }
    let policy = counters.values().filter_map(Counter::policy).min_by(slower);
    let remaining = counters.values().filter_map(Counter::left).min_by(scarcer);
    (policy.is_some() || remaining.is_some()).then_some(Advertised { policy, remaining })
}

/// What stands behind the word that makes a header one of these.
fn behind(name: &str) -> Option<&str> {
    let words = ["ratelimit", "rate-limit"];
    let found = words.into_iter().find_map(|word| name.find(word).map(|at| &name[at + word.len()..]));
    found.or_else(|| name.strip_prefix("x-shopify-shop-api").filter(|rest| *rest == "-call-limit"))
}

fn date_of(headers: &HeaderMap) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()
}

/// A header with one value, such as `X-RateLimit-Remaining-Requests: 59`.
fn take_plain(counters: &mut BTreeMap<String, Counter>, of: &str, value: &str, from: SystemTime) {
    let mut words: Vec<&str> = of.split('-').filter(|word| !word.is_empty() && *word != "after").collect();
    let mut is = |word: &str| words.iter().position(|w| *w == word).map(|at| words.remove(at)).is_some();
    let (limit, remaining, reset) = (is("limit") || is("max"), is("remaining"), is("reset"));
    let interval = is("interval") && is("milliseconds");
    let counter = counters.entry(words.join("-")).or_default();
    // `100, 100;w=60`: the first is the limit that counts now.
    let first = value.split([',', ';']).next().unwrap_or_default();
    let number = || whole(first);
    match (limit, remaining, reset, interval) {
        (true, false, false, false) => counter.limit = number(),
        (false, true, false, false) => counter.remaining = number(),
        (false, false, true, false) => counter.reset = until(value.trim(), from).max(counter.reset),
        (false, false, false, true) => counter.window = number().map(Duration::from_millis),
        _ => {}
    }
}

/// The list of items of a structured field, each with parameters (RFC 9651). Members of its -07 form are parameters of one.
fn take_items(counters: &mut BTreeMap<String, Counter>, value: &str, what: &str, from: SystemTime) {
    for (place, item) in value.split(',').enumerate() {
        let mut parts = item.split(';').map(str::trim);
        let head = parts.next().unwrap_or_default();
        let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
        let of = |name: &str| parameters.iter().find(|(n, _)| *n == name).map(|(_, value)| value.trim_matches('"'));
        // What is counted in bytes or in calls under way is not what is counted here.
        if of("qu").is_some_and(|unit| unit != "requests") {
            continue;
        }
        if let Some((name, value)) = head.split_once('=') {
            take_plain(counters, name, value, from);
            continue;
        }
        // Where a policy has no name, it is told by its place from the others; the first is that of the plain headers.
        let name = match (head.trim_matches('"'), place) {
            (name, _) if head.starts_with('"') || whole(name).is_none() => format!("\"{name}"),
            (_, 0) => String::new(),
            (_, place) => format!("{what}{place}"),
        };
        let counter = counters.entry(name).or_default();
        let seconds = |name: &str| of(name).and_then(whole).map(|s| Duration::from_secs(s).min(RESET_MOST));
        counter.limit = of("q").or(Some(head)).and_then(whole).or(counter.limit);
        counter.window = seconds("w").or(counter.window);
        counter.remaining = of("r").and_then(whole).or(counter.remaining);
        counter.reset = seconds("t").or(counter.reset);
    }
}

/// `32/40`: so many of so many.
fn take_bucket(counters: &mut BTreeMap<String, Counter>, value: &str) {
    if let Some((used, of)) = value.split_once('/').and_then(|(used, of)| Some((whole(used)?, whole(of)?))) {
        counters.entry("call".to_owned()).or_default().remaining = Some(of.saturating_sub(used));
    }
}

impl Counter {
    fn policy(&self) -> Option<Policy> {
        let window_ms = millis(self.window?);
        self.limit.filter(|quota| *quota > 0 && window_ms > 0).map(|quota| Policy { quota, window_ms })
    }

    /// What remains, where it is known for how long, or where it is nothing.
    fn left(&self) -> Option<Remaining> {
        let calls = self.remaining?;
        let reset = self.reset.or((calls == 0).then_some(RESET_DEFAULT))?;
        Some(Remaining { calls, resets_in_ms: millis(reset) })
    }
}

fn slower(a: &Policy, b: &Policy) -> std::cmp::Ordering {
    let rate = |one: &Policy, other: &Policy| u128::from(one.quota) * u128::from(other.window_ms);
    rate(a, b).cmp(&rate(b, a))
}

/// By how little what remains lets through; of several that let nothing through, the one that does so longest is first.
fn scarcer(a: &Remaining, b: &Remaining) -> std::cmp::Ordering {
    let rate = |one: &Remaining, other: &Remaining| u128::from(one.calls) * u128::from(other.resets_in_ms.max(1));
    rate(a, b).cmp(&rate(b, a)).then(b.resets_in_ms.cmp(&a.resets_in_ms))
}

/// Unix time or seconds from now, a duration such as `6m0s`, or a date; as a time from now, rounded up to a millisecond.
fn until(value: &str, from: SystemTime) -> Option<Duration> {
    let since = |time: SystemTime| time.duration_since(from).unwrap_or(Duration::ZERO);
    let wait = if let Some(number) = whole(value) {
        match number {
            UNIX_MILLIS_FROM.. => since(UNIX_EPOCH.checked_add(Duration::from_millis(number))?),
            UNIX_SECONDS_FROM.. => since(UNIX_EPOCH.checked_add(Duration::from_secs(number))?),
            seconds => Duration::from_secs(seconds),
        }
    } else if let Some(number) = decimal(value) {
        // Of a Unix time with a fraction the second after it is none too early.
        let whole = number.as_secs();
        if whole >= UNIX_SECONDS_FROM { since(UNIX_EPOCH.checked_add(number)?) } else { number }
    } else if let Some(duration) = units(value) {
        duration
    } else if let Ok(date) = httpdate::parse_http_date(value) {
        since(date)
    } else {
        let at = value.parse::<jiff::Timestamp>().ok()?;
        since(UNIX_EPOCH.checked_add(Duration::from_nanos(u64::try_from(at.as_nanosecond()).ok()?))?)
    };
    Some(wait.min(RESET_MOST))
}

/// `1h2m3s`, `12ms`, `1.5s`.
fn units(value: &str) -> Option<Duration> {
    let mut rest = value;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let at = rest.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|at| *at > 0)?;
        let (number, tail) = rest.split_at(at);
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, next) = tail.split_at(end);
        let number = whole(number).map(Duration::from_secs).or_else(|| decimal(number))?;
        sum = sum.saturating_add(match unit {
            "ms" => number / 1_000,
            "s" => number,
            "m" => number.saturating_mul(60),
            "h" => number.saturating_mul(3_600),
            "d" => number.saturating_mul(24 * 3_600),
            _ => return None,
        });
        rest = next;
    }
    (!value.is_empty()).then_some(sum)
}

fn whole(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    // So many digits that no number holds them are still more than the most.
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

/// Seconds with a fraction.
fn decimal(text: &str) -> Option<Duration> {
    let (seconds, fraction) = text.split_once('.')?;
    let seconds = whole(seconds)?;
    whole(fraction)?;
    let nanos = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    Some(Duration::new(seconds.min(u64::MAX / 2), nanos))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT.
    const NOW: Duration = Duration::from_secs(784_111_777);

    /// Headers, a line each; the policy (quota, milliseconds), and what remains (calls, milliseconds).
    fn check(lines: &str, policy: Option<(u64, u64)>, remaining: Option<(u64, u64)>) {
        let mut headers = HeaderMap::new();
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(": ").unwrap();
            headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let said = advertised(&headers, UNIX_EPOCH + NOW).unwrap_or_default();
        assert_eq!(said.policy.map(|p| (p.quota, p.window_ms)), policy, "{lines}");
        assert_eq!(said.remaining.map(|r| (r.calls, r.resets_in_ms)), remaining, "{lines}");
    }

    #[test]
    fn the_drafts_headers_in_all_its_forms() {
        check(
            r#"RateLimit-Policy: "default";q=100;w=60
               RateLimit: "default";r=50;t=30"#,
            Some((100, 60_000)),
            Some((50, 30_000)),
        );
        check(
            r#"RateLimit-Policy: "burst";q=100;w=60,"daily";q=1000;w=86400;pk=:cHsd:
               RateLimit: "burst";r=99;t=59, "daily";r=1;t=36000"#,
            Some((1_000, 86_400_000)),
            Some((1, 36_000_000)),
        );
        check(
            r#"RateLimit-Policy: "bytes";q=65535;qu="content-bytes";w=10, "calls";q=10;qu="requests";w=1"#,
            Some((10, 1_000)),
            None,
        );
        check(
            "RateLimit: limit=100, remaining=0, reset=7\nRateLimit-Policy: 100;w=60",
            Some((100, 60_000)),
            Some((0, 7_000)),
        );
        check(
            "RateLimit-Limit: 100, 100;w=60\nRateLimit-Remaining: 3\nRateLimit-Reset: 7\nRateLimit-Policy: 100;w=60, 5000;w=3600",
            Some((5_000, 3_600_000)),
            Some((3, 7_000)),
        );
    }

    #[test]
    fn the_usual_ones_with_every_kind_of_reset() {
        let usual = |reset: &str, expect_ms| {
            let lines = format!("X-RateLimit-Limit: 60\nX-RateLimit-Remaining: 4\nX-RateLimit-Reset: {reset}");
            check(&lines, None, Some((4, expect_ms)));
        };
        usual("30", 30_000);
        usual("0.25", 250);
        usual("6m0s", 360_000);
        usual("12ms", 12);
        usual("1h0m1.5s", 3_601_500);
        usual("1994-11-06T08:50:37Z", 60_000);
        usual("1994-11-06T08:50:37.5+00:00", 60_500);
        usual("Sun, 06 Nov 1994 08:50:37 GMT", 60_000);
        usual("99999999999999999999999", RESET_MOST.as_millis().try_into().unwrap());
    }

    #[test]
    fn a_unix_time_is_measured_by_the_clock_of_who_named_it() {
        let at = |date: &str, reset: &str, expect_ms| {
            check(
                &format!("Date: {date}\nX-RateLimit-Remaining: 0\nX-RateLimit-Reset: {reset}"),
                None,
                Some((0, expect_ms)),
            );
        };
        at("Tue, 24 Nov 2026 14:00:00 GMT", "1795528860", 60_000);
        at("Tue, 24 Nov 2026 14:00:00 GMT", "1795528860000", 60_000);
        at("Tue, 24 Nov 2026 14:00:00 GMT", "1795528860.5", 60_500);
        at("Tue, 24 Nov 2026 14:00:00 GMT", "1795528000", 0);
    }

    #[test]
    fn vendors_put_words_before_and_behind() {
        check(
            "x-ratelimit-limit-requests: 60\nx-ratelimit-remaining-requests: 59\nx-ratelimit-reset-requests: 1s\n\
             x-ratelimit-limit-tokens: 150000\nx-ratelimit-remaining-tokens: 0\nx-ratelimit-reset-tokens: 6m0s",
            None,
            Some((0, 360_000)),
        );
        check(
            "anthropic-ratelimit-requests-remaining: 12\nanthropic-ratelimit-requests-reset: 1994-11-06T08:49:47Z",
            None,
            Some((12, 10_000)),
        );
        check(
            "X-HubSpot-RateLimit-Max: 100\nX-HubSpot-RateLimit-Remaining: 5\nX-HubSpot-RateLimit-Interval-Milliseconds: 10000",
            Some((100, 10_000)),
            None,
        );
        check("X-Rate-Limit-Limit: 600\nX-Rate-Limit-Remaining: 2\nX-Rate-Limit-Reset: 9", None, Some((2, 9_000)));
        check("X-RateLimit-Remaining: 1\nX-RateLimit-Reset: 9\nX-RateLimit-Reset-After: 9.5", None, Some((1, 9_500)));
        check("X-Shopify-Shop-Api-Call-Limit: 32/40", None, None);
        check("X-Shopify-Shop-Api-Call-Limit: 40/40", None, Some((0, 1_000)));
    }

    #[test]
    fn what_is_not_understood_asks_for_nothing() {
        for lines in [
            "Content-Type: application/json",
            "X-RateLimit-Remaining: many\nX-RateLimit-Reset: soon",
            "X-RateLimit-Remaining: 5",
            "X-RateLimit-Remaining: -1\nX-RateLimit-Reset: 5",
            "RateLimit: ;\nRateLimit-Policy: ;;w=,",
            "X-RateLimit-Limit: 100\nX-RateLimit-Used: 3\nX-RateLimit-Resource: core",
            "X-Rate-Limit: 700",
        ] {
            check(lines, None, None);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_header_panics(name in "(x-)?rate-?limit[a-z-]{0,20}", value in "[ -~]{0,60}") {
            let mut headers = HeaderMap::new();
            if let Ok(name) = name.parse::<HeaderName>() {
                headers.insert(name, HeaderValue::from_str(&value).unwrap());
            }
            let _ = advertised(&headers, UNIX_EPOCH + NOW);
        }
    }
}
