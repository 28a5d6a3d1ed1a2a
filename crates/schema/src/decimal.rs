//! Decimals between text, Avro's two's complement bytes, and an unscaled integer of 128 bits: exact, all ways.

/// Most digits that any decimal number of JSON keeps when a parser makes an IEEE 754 double of it.
const JSON_DIGITS_MAX: usize = 15;

/// Reads a JSON number, unless its digits may have been lost before we saw it.
pub(crate) fn parse_number(number: &serde_json::Number, precision: usize, scale: usize) -> Result<i128, String> {
    let text = number.to_string();
    if number.is_f64() && significant_digits(&text) > JSON_DIGITS_MAX {
        return Err(format!("has more than the {JSON_DIGITS_MAX} digits that a JSON number keeps; write it as a text"));
    }
    parse(&text, precision, scale)
}

/// Reads `-12.50`, or `1.25e3`, as the unscaled integer of a decimal.
pub(crate) fn parse(text: &str, precision: usize, scale: usize) -> Result<i128, String> {
    let not_decimal = || "is not a decimal number such as 125000.50".to_owned();
    let parts = split(text).ok_or_else(not_decimal)?;
    let digits = format!("{}{}", parts.whole, parts.fraction);
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Ok(0);
    }
    // What the digits are to be multiplied by, as a power of ten, to get the unscaled integer.
    let shift = i64::from(parts.exponent) + scale as i64 - parts.fraction.len() as i64;
    let too_large = || format!("has more than {precision} digits, of which {scale} are decimals");
    if digits.len() as i64 + shift > precision as i64 {
        return Err(too_large());
    }
    let unscaled = if shift >= 0 {
        format!("{digits}{}", "0".repeat(shift.unsigned_abs() as usize))
    } else {
        let kept = (digits.len() as i64 + shift).max(0).unsigned_abs() as usize;
        let (kept, lost) = digits.split_at(kept);
        if lost.bytes().any(|b| b != b'0') {
            return Err(format!("has more than {scale} decimals"));
        }
        kept.to_owned()
    };
    let unscaled: i128 = unscaled.parse().map_err(|_| too_large())?;
    Ok(if parts.negative { -unscaled } else { unscaled })
}

/// Writes an unscaled integer with its point: `print(12500, 2)` is `125.00`.
pub(crate) fn print(unscaled: i128, scale: usize) -> String {
    let sign = if unscaled < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

/// The shortest two's complement of an integer, big-endian, as Avro has it over `bytes`.
pub(crate) fn to_bytes(unscaled: i128) -> Vec<u8> {
    let bytes = unscaled.to_be_bytes();
    bytes[redundant(&bytes)..].to_vec()
}

/// The two's complement in exactly this many bytes, as Avro has it over `fixed`; `None` where it does not fit.
pub(crate) fn to_fixed(unscaled: i128, size: usize) -> Option<Vec<u8>> {
    let short = to_bytes(unscaled);
    let padding = size.checked_sub(short.len())?;
    let mut bytes = vec![if unscaled < 0 { 0xff } else { 0 }; padding];
    bytes.extend(short);
    Some(bytes)
}

/// Reads a two's complement, big-endian, of any length; `None` where it is empty or needs more than 128 bits.
pub(crate) fn from_bytes(bytes: &[u8]) -> Option<i128> {
    let sign = if bytes.first()? & 0x80 == 0 { 0 } else { 0xff };
    let bytes = &bytes[redundant(bytes)..];
    let mut wide = [sign; 16];
    let start = wide.len().checked_sub(bytes.len())?;
    wide[start..].copy_from_slice(bytes);
    Some(i128::from_be_bytes(wide))
}

/// How many leading bytes only repeat the sign.
fn redundant(bytes: &[u8]) -> usize {
    let repeats = |pair: &&[u8]| {
        matches!(pair, [0, next] if next & 0x80 == 0) || matches!(pair, [0xff, next] if next & 0x80 != 0)
    };
    bytes.windows(2).take_while(repeats).count()
}

/// A number's text in its parts.
struct Parts<'t> {
    negative: bool,
    whole: &'t str,
    fraction: &'t str,
    exponent: i32,
}

fn split(text: &str) -> Option<Parts<'_>> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse().ok()?),
        None => (rest, 0),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((_, "")) => return None,
        Some((whole, fraction)) => (whole, fraction),
        None => (mantissa, ""),
    };
    let is_number = !whole.is_empty() && whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit());
    is_number.then_some(Parts { negative, whole, fraction, exponent })
}

fn significant_digits(text: &str) -> usize {
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let digits = digits.trim_start_matches('0');
    // Zeros at the end of a whole number are only there to place the point.
    digits.trim_end_matches('0').len()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expect: Result<i128, &str>) {
        assert_eq!(parse(text, 7, 2), expect.map_err(str::to_owned), "{text}");
    }

    #[test]
    fn a_decimal_is_read_exactly_or_not_at_all() {
        check("0", Ok(0));
        check("-0.00", Ok(0));
        check("12", Ok(1_200));
        check("12.5", Ok(1_250));
        check("-12.50", Ok(-1_250));
        check("0.05", Ok(5));
        check("12.5000", Ok(1_250));
        check("00012", Ok(1_200));
        check("99999.99", Ok(9_999_999));
        check("1.25e3", Ok(125_000));
        check("5e-2", Ok(5));
        check("0e999999999", Ok(0));
        check("100000", Err("has more than 7 digits, of which 2 are decimals"));
        check("1e999999999", Err("has more than 7 digits, of which 2 are decimals"));
        check("0.005", Err("has more than 2 decimals"));
        check("1e-999999999", Err("has more than 2 decimals"));
        for text in ["", "-", ".", ".5", "5.", "+5", " 5", "1,5", "1e", "1e99999999999", "0x10", "١", "NaN", "--1"] {
            check(text, Err("is not a decimal number such as 125000.50"));
        }
    }

    #[test]
    fn a_number_of_json_is_taken_only_while_it_keeps_its_digits() {
        let number = |text: &str| parse_number(&serde_json::from_str(text).unwrap(), 38, 2);
        assert_eq!(number("125000.50"), Ok(12_500_050));
        assert_eq!(number("9007199254740993"), Ok(900_719_925_474_099_300));
        assert_eq!(number("1e20"), Ok(10_i128.pow(22)));
        let lost = "has more than the 15 digits that a JSON number keeps; write it as a text";
        assert_eq!(number("12345678901234.56"), Err(lost.to_owned()));
        assert_eq!(number("123456789012345678901234567890"), Err(lost.to_owned()));
    }

    #[test]
    fn bytes_are_the_shortest_and_may_be_longer() {
        for (unscaled, bytes) in [
            (0, [0].as_slice()),
            (127, &[0x7f]),
            (128, &[0, 0x80]),
            (-1, &[0xff]),
            (-128, &[0x80]),
            (-129, &[0xff, 0x7f]),
        ] {
            assert_eq!(to_bytes(unscaled), bytes);
        }
        assert_eq!(to_fixed(-129, 4).unwrap(), [0xff, 0xff, 0xff, 0x7f]);
        assert_eq!(to_fixed(-129, 1), None);
        assert_eq!(from_bytes(&[0; 40]), Some(0));
        assert_eq!(from_bytes(&[0xff; 40]), Some(-1));
        assert_eq!(from_bytes(&[1; 17]), None);
        assert_eq!(from_bytes(&[]), None);
    }

    proptest! {
        #[test]
        fn text_and_bytes_come_back(unscaled in -(10_i128.pow(38) - 1)..10_i128.pow(38), scale in 0_usize..38, padding in 0_usize..5) {
            prop_assert_eq!(parse(&print(unscaled, scale), 38, scale), Ok(unscaled));
            let bytes = to_bytes(unscaled);
            prop_assert_eq!(from_bytes(&bytes), Some(unscaled));
            let fixed = to_fixed(unscaled, bytes.len() + padding).unwrap();
            prop_assert_eq!(from_bytes(&fixed), Some(unscaled));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[-0-9.eE+]{0,50}", scale in 0_usize..39) {
            let _ = parse(&text, 38, scale);
        }
    }
}
