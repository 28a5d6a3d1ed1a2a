//! The least or the greatest number of a contract, exact.

use serde_json::{Number, Value};

use crate::decimal;

/// Digits after the point that a limit keeps.
const SCALE: usize = 18;

/// One, at that scale.
const ONE: i128 = 10_i128.pow(SCALE as u32);

/// How far beyond an exclusive limit the first accepted number lies, where the contract's numbers have no steps: 10^-12.
/// Finer than any price, rate or coordinate, and far coarser than what a double cannot tell apart around 1.
const HAIR: i128 = 10_i128.pow(6);

/// A limit of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit {
    /// The number, times 10^18.
    at: i128,
    exclusive: bool,
}

impl Limit {
    /// Reads a limit; `None` where it is no number, or beyond 10^20, where no number of ours comes.
    pub(super) fn read(value: &Value, exclusive: bool) -> Option<Self> {
        Some(Self { at: exact(value.as_number()?)?, exclusive })
    }

    /// The stricter of two lower limits.
    pub(super) fn higher(self, other: Self) -> Self {
        if (other.at, other.exclusive) > (self.at, self.exclusive) { other } else { self }
    }

    /// The stricter of two upper limits.
    pub(super) fn lower(self, other: Self) -> Self {
        if (-other.at, other.exclusive) > (-self.at, self.exclusive) { other } else { self }
    }

    /// The least integer that a lower limit accepts.
    pub(super) fn least_integer(self) -> i64 {
        clamp(self.least_multiple(ONE) / ONE)
    }

    /// The greatest integer that an upper limit accepts.
    pub(super) fn greatest_integer(self) -> i64 {
        clamp(self.greatest_multiple(ONE) / ONE)
    }

    /// The least number with so many digits after the point (any number: `None`) that a lower limit accepts.
    pub(super) fn least(self, scale: Option<u32>) -> String {
        match scale.and_then(step) {
            Some(step) => print(self.least_multiple(step)),
            None => print(if self.exclusive { self.at + HAIR } else { self.at }),
        }
    }

    /// The greatest number with so many digits after the point that an upper limit accepts.
    pub(super) fn greatest(self, scale: Option<u32>) -> String {
        match scale.and_then(step) {
            Some(step) => print(self.greatest_multiple(step)),
            None => print(if self.exclusive { self.at - HAIR } else { self.at }),
        }
    }

    fn least_multiple(self, step: i128) -> i128 {
        let below = self.at.div_euclid(step) * step;
        if below == self.at && !self.exclusive { below } else { below + step }
    }

    fn greatest_multiple(self, step: i128) -> i128 {
        let below = self.at.div_euclid(step) * step;
        if below == self.at && self.exclusive { below - step } else { below }
    }
}

/// How many digits after the point a `multipleOf` allows: 2 for 0.01; `None` where it is no power of ten up to 1.
pub(super) fn digits_of_step(multiple_of: &Value) -> Option<u32> {
    let at = exact(multiple_of.as_number()?)?;
    (0..=SCALE as u32).find(|digits| step(*digits) == Some(at))
}

fn step(digits: u32) -> Option<i128> {
    ONE.checked_div(10_i128.checked_pow(digits)?).filter(|step| *step > 0)
}

/// A number of JSON, times 10^18.
fn exact(number: &Number) -> Option<i128> {
    decimal::parse(&number.to_string(), 38, SCALE).ok()
}

fn print(scaled: i128) -> String {
    let text = decimal::print(scaled, SCALE);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn clamp(integer: i128) -> i64 {
    i64::try_from(integer).unwrap_or(if integer < 0 { i64::MIN } else { i64::MAX })
}
