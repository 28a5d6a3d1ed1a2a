//! The simulator of shared limits: a seeded world of callers, allocators, a log that is read late, clocks that run fast or
//! slow, crashes, pauses and owners that do not know that they are none. `SEEDS=n FIRST=n` choose the seeds; a failure
//! prints its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, missing_docs)]

mod dice;
mod judge;
mod log;
mod process;
mod setup;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Seeds of a run where nobody says otherwise: what `make test` runs.
const SEEDS: u64 = 2_000;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn the_limits_hold_and_are_used() {
    let (first, seeds) = (number("FIRST", 1), number("SEEDS", SEEDS));
    let mut seen = judge::Seen::default();
    for seed in first..first + seeds {
        match catch_unwind(AssertUnwindSafe(|| world::World::new(seed).run())) {
            Ok(one) => seen.add(&one),
            Err(panic) => {
                eprintln!(
                    "\nseed {seed} fails; again: FIRST={seed} SEEDS=1 cargo test -p tieline-delivery --test limits"
                );
                resume_unwind(panic);
            }
        }
    }
    eprintln!("{seeds} seeds: {seen:?}");
    if seeds >= SEEDS {
        seen.assert_every_fault_was_met();
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 1..10 {
        assert_eq!(world::World::new(seed).run(), world::World::new(seed).run(), "seed {seed}");
    }
}
