//! Times as people write them on the command line, and as they read them.

use jiff::{Span, SpanRelativeTo, Timestamp};

/// Reads a time: RFC 3339, or how long ago (`30m`, `2h`, `7d`). Milliseconds since the Unix epoch.
///
/// # Errors
/// When it is neither.
pub fn parse(text: &str) -> Result<i64, String> {
    let wrong = || format!("`{text}` is no time: write 2026-01-31T08:00:00Z, or how long ago, such as 30m, 2h or 7d");
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at.as_millisecond());
    }
    let span: Span = text.parse().map_err(|_| wrong())?;
    let ago = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    if ago.is_negative() {
        return Err(wrong());
    }
    Timestamp::now().checked_sub(ago).map(|at| at.as_millisecond()).map_err(|_| wrong())
}

/// A time in UTC, to the second.
pub fn show(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms)
        .map_or_else(|_| at_ms.to_string(), |at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_time_is_an_instant_or_how_long_ago() {
        assert_eq!(parse("1970-01-01T00:00:01Z").unwrap(), 1_000);
        assert_eq!(show(1_000), "1970-01-01T00:00:01Z");
        let now = Timestamp::now().as_millisecond();
        for (text, ms) in [("30m", 1_800_000), ("2h", 7_200_000), ("7d", 604_800_000)] {
            assert!((now - ms - parse(text).unwrap()).abs() < 5_000, "{text}");
        }
        for text in ["", "yesterday", "-2h", "7"] {
            assert!(parse(text).unwrap_err().contains("is no time"), "{text}");
        }
    }
}
