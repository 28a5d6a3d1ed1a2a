//! Intervals: what is known of a number before it is there.

use tieline_schema::types::{Bounds, Kind};

use crate::decimal::Decimal;

/// The least and greatest value of a number, where they are known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Range {
    pub(crate) min: Option<Decimal>,
    pub(crate) max: Option<Decimal>,
}

impl Range {
    /// The range of a kind of number; none for what is not one.
    pub(crate) fn of(kind: &Kind) -> Option<Self> {
        match kind {
            Kind::Integer { min, max } => {
                Some(Self { min: Some(Decimal::integer(*min)), max: Some(Decimal::integer(*max)) })
            }
            Kind::Decimal { precision, scale, bounds } => {
                // A precision of 38 is what an unbounded number of a contract has, and the most that can be kept.
                let most = 10i128.checked_pow(*precision).and_then(|p| Decimal::new(p - 1, *scale));
                let (from, to) = texts(bounds);
                let min = [most.and_then(Decimal::negate), from].into_iter().flatten().max_by(|a, b| a.compare(*b));
                let max = [most, to].into_iter().flatten().min_by(|a, b| a.compare(*b));
                Some(Self { min, max })
            }
            Kind::Float { bounds } => {
                let (min, max) = texts(bounds);
                Some(Self { min, max })
            }
            Kind::Text(_)
            | Kind::Boolean
            | Kind::Bytes
            | Kind::Date
            | Kind::Timestamp
            | Kind::List { .. }
            | Kind::Map(_)
            | Kind::Record(_)
            | Kind::Null
            | Kind::Any => None,
        }
    }

    /// Whether no number lies in both.
    pub(crate) fn is_disjoint(self, other: Self) -> bool {
        let below =
            |a: Option<Decimal>, b: Option<Decimal>| matches!((a, b), (Some(a), Some(b)) if a.compare(b).is_lt());
        below(self.max, other.min) || below(other.max, self.min)
    }

    /// The range of one number.
    pub(crate) fn exactly(value: Decimal) -> Self {
        Self { min: Some(value), max: Some(value) }
    }

    /// The least range that holds both.
    pub(crate) fn hull(self, other: Self) -> Self {
        let both = |a: Option<Decimal>, b: Option<Decimal>, less: bool| match (a, b) {
            (Some(a), Some(b)) => Some(if a.compare(b).is_lt() == less { a } else { b }),
            (_, _) => None,
        };
        Self { min: both(self.min, other.min, true), max: both(self.max, other.max, false) }
    }

    /// The range of what comes of each corner; unbounded where one of them is.
    pub(crate) fn corners(self, other: Self, f: impl Fn(Decimal, Decimal) -> Option<Decimal>) -> Self {
        let (Some(a), Some(b), Some(c), Some(d)) = (self.min, self.max, other.min, other.max) else {
            return Self { min: None, max: None };
        };
        let all: Option<Vec<Decimal>> = [f(a, c), f(a, d), f(b, c), f(b, d)].into_iter().collect();
        let ranges = all.into_iter().flatten().map(Self::exactly);
        ranges.reduce(Self::hull).unwrap_or(Self { min: None, max: None })
    }

    /// The range of what comes of both ends, for a function that keeps order.
    pub(crate) fn map(self, f: impl Fn(Decimal) -> Option<Decimal>) -> Self {
        Self { min: self.min.and_then(&f), max: self.max.and_then(&f) }
    }

    /// The kind of whole numbers in this range; those beyond 64 bits fail when they come.
    pub(crate) fn integer(self) -> Kind {
        let bound = |d: Option<Decimal>, none: i64| {
            let whole = d.and_then(|d| d.round(0));
            whole.map_or(none, |d| i64::try_from(d.unscaled()).unwrap_or(none))
        };
        Kind::Integer { min: bound(self.min, i64::MIN), max: bound(self.max, i64::MAX) }
    }

    /// The kind of exact numbers in this range with this many digits after the point.
    pub(crate) fn decimal(self, scale: u32) -> Kind {
        let digits = |d: Option<Decimal>| d.and_then(|d| d.rescale(scale)).map_or(38, |d| d.precision().min(38));
        let precision = digits(self.min).max(digits(self.max)).max(scale).max(1);
        let text = |d: Option<Decimal>| d.map(|d| d.to_string());
        Kind::Decimal { precision, scale, bounds: Bounds { min: text(self.min), max: text(self.max) } }
    }
}

fn texts(bounds: &Bounds) -> (Option<Decimal>, Option<Decimal>) {
    let parse = |text: &Option<String>| text.as_deref().and_then(Decimal::parse);
    (parse(&bounds.min), parse(&bounds.max))
}

/// Digits after the point of an exact number; none for a float.
pub(crate) fn scale(kind: &Kind) -> Option<u32> {
    match kind {
        Kind::Integer { .. } => Some(0),
        Kind::Decimal { scale, .. } => Some(*scale),
        _inexact => None,
    }
}
