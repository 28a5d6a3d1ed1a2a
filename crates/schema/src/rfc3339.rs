//! RFC 3339 to the letter: instants and dates in CloudEvents headers and in the JSON form of events.
//!
//! `jiff` reads more than RFC 3339 (a space for the `T`, no seconds, zones in brackets), and what we accept others must
//! be able to read, so the shape is checked before it.

use jiff::{Timestamp, civil::Date};

/// Reads `2026-01-31T23:30:00.250+01:00`: any offset, at most 9 digits of a second's fraction.
pub(crate) fn parse_instant(text: &str) -> Option<Timestamp> {
    let (date, time) = (text.get(..10)?, text.get(11..)?);
    let separated = matches!(text.as_bytes().get(10), Some(b'T' | b't'));
    (separated && is_date(date) && is_time(time)).then(|| text.parse().ok()).flatten()
}

/// Reads `2026-01-31`.
pub(crate) fn parse_date(text: &str) -> Option<Date> {
    is_date(text).then(|| text.parse().ok()).flatten()
}

/// Writes an instant in UTC, with as many digits of a second's fraction as it needs; `None` outside of the years 0 to
/// 9999, which RFC 3339 cannot write.
pub(crate) fn print_instant(instant: Timestamp) -> Option<String> {
    let text = instant.to_string();
    (!text.starts_with('-')).then_some(text)
}

fn is_date(text: &str) -> bool {
    has_shape(text.as_bytes(), b"dddd-dd-dd")
}

/// `hh:mm:ss`, perhaps a fraction, and `Z` or `±hh:mm`.
fn is_time(text: &str) -> bool {
    let Some((clock, rest)) = text.as_bytes().split_at_checked(8) else { return false };
    let offset = match rest {
        [b'.', fraction @ ..] => {
            let digits = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
            if digits == 0 {
                return false;
            }
            &fraction[digits..]
        }
        [] | [_, ..] => rest,
    };
    has_shape(clock, b"dd:dd:dd") && (matches!(offset, [b'Z' | b'z']) || has_shape(offset, b"+dd:dd"))
}

/// Whether bytes are as a shape says: `d` is a digit, `+` is either sign, all else is itself.
fn has_shape(bytes: &[u8], shape: &[u8]) -> bool {
    bytes.len() == shape.len()
        && bytes.iter().zip(shape).all(|(byte, shape)| match shape {
            b'd' => byte.is_ascii_digit(),
            b'+' => matches!(byte, b'+' | b'-'),
            literal => byte == literal,
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expect: Option<&str>) {
        let instant = parse_instant(text);
        assert_eq!(instant.and_then(print_instant).as_deref(), expect, "{text}");
    }

    #[test]
    fn an_instant_of_any_offset_is_read_and_written_in_utc() {
        check("2026-01-31T23:30:00Z", Some("2026-01-31T23:30:00Z"));
        check("2026-01-31t23:30:00z", Some("2026-01-31T23:30:00Z"));
        check("2026-01-31T23:30:00.250+01:00", Some("2026-01-31T22:30:00.25Z"));
        check("2026-02-28T23:30:00.123456789-08:00", Some("2026-03-01T07:30:00.123456789Z"));
        check("0000-01-01T00:00:00Z", Some("0000-01-01T00:00:00Z"));
    }

    #[test]
    fn what_only_looks_like_rfc_3339_is_refused() {
        for text in [
            "",
            "2026-01-31",
            "2026-01-31T23:30:00",
            "2026-01-31 23:30:00Z",
            "2026-01-31T23:30Z",
            "20260131T233000Z",
            "2026-01-31T23:30:00.Z",
            "2026-01-31T23:30:00,5Z",
            "2026-01-31T23:30:00+0100",
            "2026-01-31T23:30:00+01",
            "2026-01-31T23:30:00Z[UTC]",
            "2026-01-31T23:30:00+01:00[Europe/Berlin]",
            "2026-02-30T23:30:00Z",
            "2026-01-31T24:30:00Z",
            "+02026-01-31T23:30:00Z",
            " 2026-01-31T23:30:00Z",
            "2026-01-31T23:30:00Zé",
            "２026-01-31T23:30:00Z",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn a_date_is_ten_characters() {
        assert_eq!(parse_date("2024-02-29").unwrap().to_string(), "2024-02-29");
        for text in ["2023-02-29", "2024-2-29", "20240229", "2024-02-29T00:00:00Z", "-002024-02-29", ""] {
            assert_eq!(parse_date(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_every_millisecond_comes_back(text in ".{0,40}", ms in -62_167_219_200_000..253_370_764_800_000_i64) {
            let _ = (parse_instant(&text), parse_date(&text));
            let instant = Timestamp::from_millisecond(ms).unwrap();
            prop_assert_eq!(parse_instant(&print_instant(instant).unwrap()), Some(instant));
        }
    }
}
