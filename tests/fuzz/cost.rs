//! What something costs: its time and its peak of memory, both with a bound.

use std::time::{Duration, Instant};

/// Runs something that has to be cheap.
///
/// Memory is counted on this thread alone, exactly. Time is what the clock shows, on a machine that others may use too: so
/// the best of some runs counts. A bomb is slow in each.
pub fn within<T>(time_max: Duration, bytes_max: u64, what: &str, run: impl Fn() -> T) -> T {
    const TRIES: usize = 20;
    let mut best = Duration::MAX;
    for _ in 0..TRIES {
        let mut result = None;
        let begun = Instant::now();
        let allocated = allocation_counter::measure(|| result = Some(run()));
        best = best.min(begun.elapsed());
        assert!(allocated.bytes_max <= bytes_max, "{what} took {} bytes at its peak", allocated.bytes_max);
        if let Some(result) = result.filter(|_| best <= time_max) {
            return result;
        }
    }
    panic!("{what} took {best:?} at best");
}
