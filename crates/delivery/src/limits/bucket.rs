//! A token bucket in whole numbers, so that nothing is lost or won by looking at it often.

use std::time::Duration;

use crate::Time;

/// One call, or one unit of cost, in the millionths that buckets and shares count.
pub(crate) const UNIT: u64 = 1_000_000;

const NANOS: u128 = 1_000_000_000;

/// What may be used now, and how that grows. Below nothing is a debt, which is paid off first.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    /// Millionths.
    tokens: i64,
    /// What has grown beyond whole millionths, in billionths of one.
    rest: u64,
    rate: u64,
    cap: u64,
    at: Time,
}

impl Bucket {
    /// An empty one, in which nothing grows.
    pub(crate) fn new(now: Time) -> Self {
        Self { tokens: 0, rest: 0, rate: 0, cap: 0, at: now }
    }

    /// Grows by the old rate until now, from here on by the new one. What lies above the new cap is gone.
    pub(crate) fn refit(&mut self, now: Time, rate: u64, cap: u64) {
        self.grow(now);
        (self.rate, self.cap) = (rate, cap);
        self.tokens = self.tokens.min(signed(cap));
    }

    /// Its grant is over: what lies in it is gone, a debt stays.
    pub(crate) fn empty(&mut self, now: Time) {
        self.tokens = self.tokens.min(0);
        self.rest = 0;
        (self.rate, self.cap, self.at) = (0, 0, now);
    }

    pub(crate) fn grow(&mut self, now: Time) {
        let grown = now.since(self.at).as_nanos() * u128::from(self.rate) + u128::from(self.rest);
        self.at = self.at.max(now);
        let tokens = i128::from(self.tokens) + i128::try_from(grown / NANOS).unwrap_or(i128::MAX / 2);
        let cap = signed(self.cap);
        if tokens >= i128::from(cap) {
            (self.tokens, self.rest) = (cap.max(self.tokens), 0);
        } else {
            self.tokens = i64::try_from(tokens).unwrap_or(cap);
            self.rest = u64::try_from(grown % NANOS).unwrap_or(0);
        }
    }

    /// Takes this much, also what is not there.
    pub(crate) fn take(&mut self, millionths: u64) {
        self.tokens = self.tokens.saturating_sub(signed(millionths));
    }

    /// Gives back what was taken and not used.
    pub(crate) fn give_back(&mut self, millionths: u64) {
        self.tokens = self.tokens.saturating_add(signed(millionths)).min(signed(self.cap));
    }

    /// When no more will grow, if it grows.
    pub(crate) fn full_at(&self) -> Option<Time> {
        self.ready_at(self.cap)
    }

    /// When this much is there, if it ever is.
    pub(crate) fn ready_at(&self, millionths: u64) -> Option<Time> {
        let missing = i128::from(signed(millionths)) - i128::from(self.tokens);
        if missing <= 0 {
            return Some(self.at);
        }
        if self.rate == 0 || millionths > self.cap {
            return None;
        }
        let nanos = (u128::try_from(missing).ok()? * NANOS - u128::from(self.rest)).div_ceil(u128::from(self.rate));
        Some(self.at.after(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))))
    }
}

fn signed(millionths: u64) -> i64 {
    i64::try_from(millionths).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Time {
        Time(Duration::from_millis(ms))
    }

    #[test]
    fn looking_often_costs_nothing() {
        let mut bucket = Bucket::new(ms(0));
        bucket.refit(ms(0), UNIT / 10, UNIT);
        for us in 0..10_000_000 / 7 {
            bucket.grow(Time(Duration::from_micros(us * 7)));
        }
        assert_eq!(bucket.ready_at(UNIT), Some(ms(10_000)));
    }

    #[test]
    fn it_starts_empty_and_holds_no_more_than_its_cap() {
        let mut bucket = Bucket::new(ms(0));
        bucket.refit(ms(0), 2 * UNIT, 3 * UNIT);
        assert_eq!(bucket.ready_at(UNIT), Some(ms(500)));
        bucket.grow(ms(60_000));
        bucket.take(3 * UNIT);
        assert_eq!(bucket.ready_at(UNIT), Some(ms(60_500)));
        assert_eq!(bucket.ready_at(4 * UNIT), None);
    }

    #[test]
    fn a_debt_outlives_the_grant_and_is_paid_off_first() {
        let mut bucket = Bucket::new(ms(0));
        bucket.refit(ms(0), UNIT, 10 * UNIT);
        bucket.take(5 * UNIT);
        bucket.empty(ms(0));
        bucket.refit(ms(0), UNIT, 10 * UNIT);
        assert_eq!(bucket.ready_at(1), Some(Time(Duration::from_micros(5_000_001))));
    }

    #[test]
    fn a_smaller_cap_takes_what_lies_above_it() {
        let mut bucket = Bucket::new(ms(0));
        bucket.refit(ms(0), 10 * UNIT, 10 * UNIT);
        bucket.refit(ms(1_000), UNIT, 2 * UNIT);
        bucket.take(2 * UNIT);
        assert_eq!(bucket.ready_at(UNIT), Some(ms(2_000)));
    }
}
