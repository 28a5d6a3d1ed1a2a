//! Exact numbers: an integer of up to 38 digits and the place of its point. Money never passes through a float.

use std::cmp::Ordering;
use std::fmt;

/// Most digits after the point, so that ten to this power fits an `i128`.
pub(crate) const SCALE_MAX: u32 = 38;

/// `unscaled · 10^-scale`. Equal numbers can differ in scale; [`Decimal::compare`] compares the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decimal {
    unscaled: i128,
    scale: u32,
}

impl Decimal {
    /// Zero.
    pub(crate) const ZERO: Self = Self { unscaled: 0, scale: 0 };

    /// A number of this many digits after the point; `None` beyond [`SCALE_MAX`].
    pub(crate) fn new(unscaled: i128, scale: u32) -> Option<Self> {
        (scale <= SCALE_MAX).then_some(Self { unscaled, scale })
    }

    /// A whole number.
    pub(crate) fn integer(value: i64) -> Self {
        Self { unscaled: i128::from(value), scale: 0 }
    }

    /// Reads `-12`, `12.50` or `1.5e3`, as JSON writes numbers; nothing is rounded.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((m, e)) => (m, e.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (negative, digits) = match mantissa.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, mantissa),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() || (digits.contains('.') && fraction.is_empty()) {
            return None;
        }
        let mut unscaled: i128 = 0;
        for byte in whole.bytes().chain(fraction.bytes()) {
            if !byte.is_ascii_digit() {
                return None;
            }
            unscaled = unscaled.checked_mul(10)?.checked_add(i128::from(byte - b'0'))?;
        }
        let scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
        let unscaled = if negative { -unscaled } else { unscaled };
        if scale < 0 {
            return Self::new(unscaled.checked_mul(power(scale.unsigned_abs())?)?, 0);
        }
        Self::new(unscaled, scale.unsigned_abs())
    }

    /// The shortest number that reads back as this float; `None` where it has no exact form of 38 digits.
    pub(crate) fn from_float(value: f64) -> Option<Self> {
        value.is_finite().then(|| Self::parse(&format!("{value:e}")))?
    }

    /// Reads a big-endian two's complement number, as Avro writes decimals; `None` beyond 128 bits.
    pub(crate) fn from_be_bytes(bytes: &[u8], scale: u32) -> Option<Self> {
        let fill = if bytes.first().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
        let mut wide = [fill; 16];
        let kept = match bytes.len().checked_sub(16) {
            None | Some(0) => bytes,
            Some(excess) => {
                let (head, tail) = bytes.split_at(excess);
                let same_sign = tail.first().is_some_and(|b| (b & 0x80 != 0) == (fill == 0xff));
                if head.iter().any(|b| *b != fill) || !same_sign {
                    return None;
                }
                tail
            }
        };
        wide[16 - kept.len()..].copy_from_slice(kept);
        Self::new(i128::from_be_bytes(wide), scale)
    }

    /// The number without its point.
    pub(crate) fn unscaled(self) -> i128 {
        self.unscaled
    }

    /// Digits after the point.
    pub(crate) fn scale(self) -> u32 {
        self.scale
    }

    /// Digits of the number without its point; 1 for zero.
    pub(crate) fn precision(self) -> u32 {
        self.unscaled.unsigned_abs().checked_ilog10().map_or(1, |n| n + 1)
    }

    /// The same number with this many digits after the point; `None` where that loses digits or overflows.
    pub(crate) fn rescale(self, scale: u32) -> Option<Self> {
        if scale >= self.scale {
            return Self::new(self.unscaled.checked_mul(power(scale - self.scale)?)?, scale);
        }
        let divisor = power(self.scale - scale)?;
        (self.unscaled % divisor == 0).then(|| Self { unscaled: self.unscaled / divisor, scale })
    }

    /// Rounded half away from zero, as prices are, to this many digits after the point.
    pub(crate) fn round(self, scale: u32) -> Option<Self> {
        if scale >= self.scale {
            return self.rescale(scale);
        }
        let divisor = power(self.scale - scale)?;
        let (quotient, rest) = (self.unscaled / divisor, self.unscaled % divisor);
        let away = rest.unsigned_abs() >= divisor.unsigned_abs() - rest.unsigned_abs();
        Some(Self { unscaled: quotient + if away { self.unscaled.signum() } else { 0 }, scale })
    }

    /// The whole number that it is; `None` where it has a fraction or is beyond 64 bits.
    pub(crate) fn to_integer(self) -> Option<i64> {
        self.rescale(0).and_then(|d| i64::try_from(d.unscaled).ok())
    }

    /// The nearest float.
    pub(crate) fn to_float(self) -> f64 {
        self.to_string().parse().unwrap_or(f64::NAN)
    }

    /// The sum; `None` on overflow.
    pub(crate) fn add(self, other: Self) -> Option<Self> {
        let scale = self.scale.max(other.scale);
        Self::new(self.rescale(scale)?.unscaled.checked_add(other.rescale(scale)?.unscaled)?, scale)
    }

    /// The negative; `None` on overflow.
    pub(crate) fn negate(self) -> Option<Self> {
        Some(Self { unscaled: self.unscaled.checked_neg()?, scale: self.scale })
    }

    /// The product; `None` on overflow.
    pub(crate) fn multiply(self, other: Self) -> Option<Self> {
        Self::new(self.unscaled.checked_mul(other.unscaled)?, self.scale + other.scale)
    }

    /// The quotient, rounded half away from zero to this many digits after the point; `None` on overflow or by zero.
    pub(crate) fn divide(self, other: Self, scale: u32) -> Option<Self> {
        // One more digit than asked for is not enough to round rightly, so the remainder decides.
        let shift = scale.checked_add(other.scale)?.checked_sub(self.scale);
        let (dividend, divisor) = match shift {
            Some(up) => (self.unscaled.checked_mul(power(up)?)?, other.unscaled),
            None => (self.unscaled, other.unscaled.checked_mul(power(self.scale - other.scale - scale)?)?),
        };
        let (quotient, rest) = (dividend.checked_div(divisor)?, dividend.checked_rem(divisor)?);
        let away = rest.unsigned_abs() >= divisor.unsigned_abs() - rest.unsigned_abs();
        let step = if away { dividend.signum() * divisor.signum() } else { 0 };
        Self::new(quotient.checked_add(step)?, scale)
    }

    /// Which of two numbers is greater; never overflows.
    pub(crate) fn compare(self, other: Self) -> Ordering {
        let split = |d: Self| {
            // A scale is at most SCALE_MAX, so the power exists.
            let unit = power(d.scale).unwrap_or(i128::MAX);
            let up = power(SCALE_MAX - d.scale).unwrap_or(i128::MAX);
            (d.unscaled / unit, (d.unscaled % unit).saturating_mul(up))
        };
        split(self).cmp(&split(other))
    }
}

/// Ten to this power, where it fits.
fn power(exponent: u32) -> Option<i128> {
    10i128.checked_pow(exponent)
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut buffer = [0u8; DECIMAL_BYTES_MAX];
        let written = self.write(&mut buffer);
        f.write_str(std::str::from_utf8(written).unwrap_or("0"))
    }
}

/// Most bytes of a decimal as text: a sign, 39 digits, a point, and a zero before it.
pub(crate) const DECIMAL_BYTES_MAX: usize = 48;

impl Decimal {
    /// Writes all its digits, also zeros at the end (`125000.50`), and returns the written part of the buffer.
    pub(crate) fn write(self, buffer: &mut [u8; DECIMAL_BYTES_MAX]) -> &[u8] {
        let mut at = DECIMAL_BYTES_MAX;
        let mut rest = self.unscaled.unsigned_abs();
        let mut digits = 0;
        while rest > 0 || digits <= self.scale {
            if digits == self.scale && self.scale > 0 {
                at -= 1;
                buffer[at] = b'.';
            }
            // Division of 128 bits is slow; nearly all numbers fit 64.
            let digit = match u64::try_from(rest) {
                Ok(small) => {
                    rest = u128::from(small / 10);
                    small % 10
                }
                Err(_) => {
                    let digit = rest % 10;
                    rest /= 10;
                    u64::try_from(digit).unwrap_or(0)
                }
            };
            at -= 1;
            buffer[at] = b'0' + u8::try_from(digit).unwrap_or(0);
            digits += 1;
        }
        if self.unscaled < 0 {
            at -= 1;
            buffer[at] = b'-';
        }
        &buffer[at..]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    fn d(text: &str) -> Decimal {
        Decimal::parse(text).unwrap()
    }

    #[test]
    fn a_decimal_prints_as_it_was_written() {
        for text in ["0", "1", "-1", "125000.50", "0.05", "-0.05", "0.00", "170141183460469231731687303715884105727"] {
            assert_eq!(d(text).to_string(), text);
        }
        assert_eq!(d("1.5e3").to_string(), "1500");
        assert_eq!(d("15e-3").to_string(), "0.015");
        for text in ["", ".", "1.", ".5", "-", "1a", "1e", "1e999999999999", "1e40", "+1", "--1"] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }

    #[test]
    fn halves_are_rounded_away_from_zero() {
        let check = |text: &str, scale, expect: &str| assert_eq!(d(text).round(scale).unwrap().to_string(), expect);
        check("2.5", 0, "3");
        check("-2.5", 0, "-3");
        check("2.4999", 0, "2");
        check("1.005", 2, "1.01");
        check("7", 2, "7.00");
        assert_eq!(d("10").divide(d("3"), 4).unwrap().to_string(), "3.3333");
        assert_eq!(d("-1").divide(d("8"), 2).unwrap().to_string(), "-0.13");
        assert_eq!(d("1").divide(d("0.00"), 2), None);
        assert_eq!(d("0.000001").divide(d("1"), 2).unwrap().to_string(), "0.00");
    }

    #[test]
    fn bytes_of_any_width_are_read_and_beyond_128_bits_refused() {
        assert_eq!(Decimal::from_be_bytes(&[0x00, 0xbe, 0xbc, 0x52], 2).unwrap().to_string(), "125000.50");
        assert_eq!(Decimal::from_be_bytes(&[0xff; 20], 0), Some(Decimal::integer(-1)));
        assert_eq!(Decimal::from_be_bytes(&[], 0), Some(Decimal::ZERO));
        let mut wide = [0u8; 17];
        wide[1] = 0x80;
        assert_eq!(Decimal::from_be_bytes(&wide, 0), None);
    }

    proptest! {
        #[test]
        fn comparing_agrees_with_the_numbers(a in any::<i64>(), b in any::<i64>(), s in 0u32..20, t in 0u32..20) {
            let (x, y) = (Decimal::new(a.into(), s).unwrap(), Decimal::new(b.into(), t).unwrap());
            let scale = s.max(t);
            let by_hand = (i128::from(a) * power(scale - s).unwrap()).cmp(&(i128::from(b) * power(scale - t).unwrap_or(1)));
            prop_assert_eq!(x.compare(y), by_hand);
        }

        #[test]
        fn text_round_trips(a in any::<i128>(), scale in 0u32..=SCALE_MAX) {
            prop_assume!(a != i128::MIN);
            let x = Decimal::new(a, scale).unwrap();
            prop_assert_eq!(Decimal::parse(&x.to_string()), Some(x));
        }

        #[test]
        fn bytes_round_trip(a in any::<i128>()) {
            prop_assert_eq!(Decimal::from_be_bytes(&a.to_be_bytes(), 3).map(Decimal::unscaled), Some(a));
        }
    }
}
