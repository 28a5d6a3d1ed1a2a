//! A part of a system's limits.

use serde::{Deserialize, Serialize};

/// A part of a system's limits, or all of them. Nothing for a limit that the system does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Share {
    /// Calls a second, in millionths.
    #[serde(rename = "rate_micros", skip_serializing_if = "Option::is_none")]
    pub rate: Option<u64>,
    /// Calls at once after a pause, in millionths.
    #[serde(rename = "burst_micros", skip_serializing_if = "Option::is_none")]
    pub burst: Option<u64>,
    /// Cost a second, in millionths.
    #[serde(rename = "cost_rate_micros", skip_serializing_if = "Option::is_none")]
    pub cost_rate: Option<u64>,
    /// Cost at once after a pause, in millionths.
    #[serde(rename = "cost_burst_micros", skip_serializing_if = "Option::is_none")]
    pub cost_burst: Option<u64>,
    /// Calls under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<u64>,
}

impl Share {
    /// The same limits, and nothing of any.
    pub(crate) fn none_of(self) -> Self {
        self.zip(self, |_, _| 0)
    }

    /// For each limit that both have.
    pub(crate) fn zip(self, other: Self, f: impl Fn(u64, u64) -> u64) -> Self {
        let both = |a: Option<u64>, b: Option<u64>| Some(f(a?, b?));
        Self {
            rate: both(self.rate, other.rate),
            burst: both(self.burst, other.burst),
            cost_rate: both(self.cost_rate, other.cost_rate),
            cost_burst: both(self.cost_burst, other.cost_burst),
            in_flight: both(self.in_flight, other.in_flight),
        }
    }

    /// Whether it is less than a part of another: in some limit below `percent` of it.
    pub(crate) fn is_below(self, percent: u64, other: Self) -> bool {
        let below = |a: Option<u64>, b: Option<u64>| {
            a.zip(b).is_some_and(|(a, b)| u128::from(a) * 100 < u128::from(b) * u128::from(percent))
        };
        below(self.rate, other.rate)
            || below(self.burst, other.burst)
            || below(self.cost_rate, other.cost_rate)
            || below(self.cost_burst, other.cost_burst)
            || below(self.in_flight, other.in_flight)
    }

    /// Whether a call could ever be sent with it: a whole call's burst, a place in flight, a rate.
    pub(crate) fn is_of_use(self) -> bool {
        self.rate != Some(0)
            && self.burst.is_none_or(|burst| burst >= super::bucket::UNIT)
            && self.in_flight != Some(0)
            && self.cost_rate != Some(0)
            && self.cost_burst != Some(0)
    }
}
