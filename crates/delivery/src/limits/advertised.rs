//! What a system says of its own limits beside its answers: `RateLimit`, `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers)
//! and the usual `X-RateLimit-*`. Reading headers is the shell's; what follows from them is said here.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::bucket::UNIT;
use super::{Share, at_least};
use crate::Time;

/// How long a policy counts that the system does not repeat.
const POLICY_FOR: Duration = Duration::from_secs(600);

/// What remains is spread over the time to the reset when it would be used up within this; until then it is not looked at.
const SCARCE_WITHIN_SECONDS: u64 = 10;

/// The same where there is no rate to tell by.
const SCARCE_CALLS: u64 = 100;

/// What one answer said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Advertised {
    /// The limit itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    /// What is left of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining: Option<Remaining>,
}

/// So many calls in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Calls.
    pub quota: u64,
    /// The window.
    pub window_ms: u64,
}

/// So many calls until the reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remaining {
    /// Calls.
    pub calls: u64,
    /// From now.
    pub resets_in_ms: u64,
}

/// What follows from all that was said.
#[derive(Debug, Clone, Default)]
pub(crate) struct Learned {
    policy: Option<(Policy, Time)>,
    remaining: Option<(u64, Time)>,
}

impl Learned {
    pub(crate) fn learn(&mut self, now: Time, advertised: &Advertised) {
        if let Some(policy) = advertised.policy.filter(|policy| policy.quota > 0 && policy.window_ms > 0) {
            self.policy = Some((policy, now.after(POLICY_FOR)));
        }
        if let Some(Remaining { calls, resets_in_ms }) = advertised.remaining {
            let reset = now.after(at_least(Duration::from_millis(resets_in_ms)));
            // Answers overtake each other: of one window, the fewest calls are the newest.
            let calls = match self.remaining {
                Some((fewest, at)) if now < at && reset < at.after(Duration::from_secs(1)) => calls.min(fewest),
                Some(_) | None => calls,
            };
            self.remaining = Some((calls, reset));
        }
    }

    /// What there is of the limits, given what the system says of them.
    pub(crate) fn cap(&self, now: Time, capacity: Share) -> Share {
        let mut capped = capacity;
        if let Some((policy, until)) = self.policy
            && now < until
        {
            let (rate, burst) = rate_of(policy, capacity);
            capped.rate = Some(capacity.rate.map_or(rate, |limit| limit.min(rate)));
            capped.burst = Some(burst);
        }
        if let Some((calls, reset)) = self.remaining
            && now < reset
            && calls <= capped.rate.map_or(SCARCE_CALLS, |rate| rate / UNIT * SCARCE_WITHIN_SECONDS)
        {
            let left_ms = u64::try_from(reset.since(now).as_millis()).unwrap_or(u64::MAX).max(1);
            let rate = u64::try_from(u128::from(calls) * u128::from(UNIT) * 1_000 / u128::from(left_ms));
            let rate = rate.unwrap_or(u64::MAX).max(1);
            capped.rate = Some(capped.rate.map_or(rate, |limit| limit.min(rate)));
            // One at least, so that a bucket can fill: when nothing remains, nobody calls before the reset.
            let few = calls.max(1).saturating_mul(UNIT);
            capped.burst = Some(capped.burst.map_or(few, |limit| limit.min(few)));
        }
        capped
    }
}

/// A bucket that lets no more through than the quota in any window of its length: `burst + rate · window = quota`. Systems
/// count in windows that begin where they like, and a bucket of the quota's size would let twice as much through.
fn rate_of(policy: Policy, capacity: Share) -> (u64, u64) {
    let tenth = (policy.quota / 10).max(1);
    let burst = capacity.burst.map_or(tenth, |burst| (burst / UNIT).clamp(1, tenth));
    let rest = policy.quota.saturating_sub(burst).max(1);
    let rate = u128::from(rest) * u128::from(UNIT) * 990 / u128::from(policy.window_ms);
    (u64::try_from(rate).unwrap_or(u64::MAX / 4).max(1), burst.saturating_mul(UNIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Share =
        Share { rate: Some(20 * UNIT), burst: Some(40 * UNIT), cost_rate: None, cost_burst: None, in_flight: Some(16) };

    fn at(seconds: u64) -> Time {
        Time(Duration::from_secs(seconds))
    }

    fn check(now: u64, learned: &Learned, rate: u64, burst: u64) {
        let capped = learned.cap(at(now), LIMITS);
        assert_eq!(
            (capped.rate, capped.burst, capped.in_flight),
            (Some(rate), Some(burst * UNIT), Some(16)),
            "at {now}"
        );
    }

    #[test]
    fn a_policy_takes_the_place_of_a_higher_limit_until_it_is_old() {
        let mut learned = Learned::default();
        check(0, &learned, 20 * UNIT, 40);
        let policy = Some(Policy { quota: 100, window_ms: 10_000 });
        learned.learn(at(0), &Advertised { policy, remaining: None });
        // 10 at once and 9 a second: 100 in any 10 seconds; less 1 % for clocks.
        check(1, &learned, 8_910_000, 10);
        check(601, &learned, 20 * UNIT, 40);
        let policy = Some(Policy { quota: 100_000, window_ms: 10_000 });
        learned.learn(at(601), &Advertised { policy, remaining: None });
        check(602, &learned, 20 * UNIT, 40);
    }

    #[test]
    fn what_remains_is_spread_when_it_is_scarce() {
        let mut learned = Learned::default();
        let remaining = |calls, seconds: u64| Advertised {
            policy: None,
            remaining: Some(Remaining { calls, resets_in_ms: seconds * 1_000 }),
        };
        learned.learn(at(0), &remaining(5_000, 60));
        check(1, &learned, 20 * UNIT, 40);
        learned.learn(at(0), &remaining(30, 40));
        check(0, &learned, 740_740, 30); // 30 in 40.5 s
        learned.learn(at(10), &remaining(31, 30)); // an answer that was overtaken
        check(10, &learned, 987_654, 30);
        check(41, &learned, 20 * UNIT, 40);
    }
}
