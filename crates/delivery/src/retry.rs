//! When a failed record is tried again: exponential, with full jitter, from a seed.

use std::time::Duration;

use crate::Settings;

/// The dice and the bounds of all retries of a machine.
#[derive(Debug)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    state: u64,
}

impl Backoff {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self::between(settings.backoff_min, settings.backoff_max, settings.seed)
    }

    pub(crate) fn between(min: Duration, max: Duration, seed: u64) -> Self {
        Self { min, max: max.max(min), state: seed }
    }

    /// How long to wait after this many failures in a row, from 1: anything up to a bound that doubles with each (full
    /// jitter: those who failed together do not come again together).
    pub(crate) fn after(&mut self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.up_to(self.min.saturating_mul(1 << doublings).min(self.max))
    }

    /// How long to wait when patience has ended: between half the longest wait and all of it.
    pub(crate) fn probe(&mut self) -> Duration {
        self.max / 2 + self.up_to(self.max / 2)
    }

    /// Anything up to this.
    pub(crate) fn up_to(&mut self, bound: Duration) -> Duration {
        let nanos = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
        let drawn = (u128::from(self.draw()) * (u128::from(nanos) + 1)) >> 64;
        Duration::from_nanos(u64::try_from(drawn).unwrap_or(nanos))
    }

    /// SplitMix64 (Steele, Lea, Flood 2014): three lines for an even spread, which is all that jitter needs.
    fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff(seed: u64) -> Backoff {
        Backoff { min: Duration::from_millis(100), max: Duration::from_secs(10), state: seed }
    }

    #[test]
    fn waits_spread_over_a_bound_that_doubles_and_is_capped() {
        let mut backoff = backoff(7);
        for (failures, bound_ms) in [(1, 100), (2, 200), (4, 800), (8, 10_000), (400, 10_000)] {
            let waits: Vec<u128> = (0..1_000).map(|_| backoff.after(failures).as_millis()).collect();
            let mean = waits.iter().sum::<u128>() / 1_000;
            assert!(waits.iter().all(|wait| *wait <= bound_ms), "{failures} failures: over {bound_ms} ms");
            assert!((bound_ms * 45 / 100..=bound_ms * 55 / 100).contains(&mean), "{failures} failures: mean {mean} ms");
        }
    }

    #[test]
    fn a_probe_comes_at_half_to_all_of_the_longest_wait() {
        let mut backoff = backoff(7);
        assert!((0..1_000).map(|_| backoff.probe().as_secs_f64()).all(|wait| (5.0..=10.0).contains(&wait)));
    }

    #[test]
    fn the_same_seed_gives_the_same_waits() {
        let waits = |seed| {
            let mut backoff = backoff(seed);
            (1..9).map(|failures| backoff.after(failures)).collect::<Vec<_>>()
        };
        assert_eq!(waits(3), waits(3));
        assert_ne!(waits(3), waits(4));
    }
}
