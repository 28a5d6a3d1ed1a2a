//! The limits of a system, as its definition gives them.

use serde::{Deserialize, Serialize};

use super::Share;
use super::bucket::UNIT;

/// What `limits:` in `systems/NAME/system.yaml` says. What is not set is not limited.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LimitsSettings {
    /// Calls a second.
    pub per_second: Option<f64>,
    /// Calls at once after a pause. Without it: those of a second, and at least one. Says nothing without `per_second`.
    pub burst: Option<u32>,
    /// Calls under way.
    pub in_flight: Option<u32>,
    /// Calls a day.
    pub per_day: Option<u64>,
    /// Where a day begins and ends; without it in UTC.
    pub zone: Option<jiff::tz::TimeZone>,
    /// What the answers say that calls cost, such as an AI model's tokens.
    pub cost: Option<CostLimits>,
}

/// Limits of what calls cost. It is known when a call is over, so that these are kept on average: what was used too much is
/// a debt, which its caller pays off before its next call. So in any window each caller may be above them by what its calls
/// under way cost, and a crash forgives its debts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CostLimits {
    /// Units a second.
    pub per_second: f64,
    /// Units at once after a pause.
    pub burst: u64,
    /// Units a day, of the same day as the calls.
    pub per_day: Option<u64>,
}

/// What there is for calls and for their cost alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PerMeter<T> {
    /// Of calls.
    pub calls: T,
    /// Of what they cost.
    pub cost: T,
}

impl LimitsSettings {
    /// Whether a call needs no grant.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        self.capacity() == Share::default() && self.days() == PerMeter::default()
    }

    /// All that may be granted at once. Rates are 1 % below the limit: a caller's clock may run so fast.
    pub(crate) fn capacity(&self) -> Share {
        let burst =
            |per_second: f64| self.burst.map_or(units(per_second.max(1.0)), |burst| u64::from(burst.max(1)) * UNIT);
        Share {
            rate: self.per_second.map(|per_second| units(per_second * 0.99)),
            burst: self.per_second.map(burst),
            cost_rate: self.cost.map(|cost| units(cost.per_second * 0.99)),
            cost_burst: self.cost.map(|cost| cost.burst.max(1).saturating_mul(UNIT)),
            in_flight: self.in_flight.map(|calls| u64::from(calls.max(1))),
        }
    }

    pub(crate) fn days(&self) -> PerMeter<Option<u64>> {
        PerMeter { calls: self.per_day, cost: self.cost.and_then(|cost| cost.per_day) }
    }

    pub(crate) fn zone(&self) -> jiff::tz::TimeZone {
        self.zone.clone().unwrap_or(jiff::tz::TimeZone::UTC)
    }
}

/// In millionths; at least one, so that the slowest rate is a rate.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
fn units(number: f64) -> u64 {
    ((number * UNIT as f64) as u64).clamp(1, u64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_that_is_not_set_is_a_second_of_calls_and_at_least_one() {
        for (per_second, burst) in [(0.2, 1.0), (1.0, 1.0), (12.5, 12.5)] {
            let capacity = LimitsSettings { per_second: Some(per_second), ..Default::default() }.capacity();
            assert_eq!(capacity.burst, Some(units(burst)), "{per_second} a second");
        }
    }

    #[test]
    fn what_is_not_set_is_not_limited() {
        assert!(LimitsSettings { burst: Some(3), ..Default::default() }.is_unlimited());
        assert!(!LimitsSettings { per_day: Some(3), ..Default::default() }.is_unlimited());
        assert!(!LimitsSettings { in_flight: Some(3), ..Default::default() }.is_unlimited());
    }
}
