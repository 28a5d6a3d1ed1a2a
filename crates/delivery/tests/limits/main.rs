//! The simulator of shared limits: a seeded world of callers, allocators, a log that is read late, clocks that run fast or
//! slow, crashes, pauses and owners that do not know that they are none. `SEEDS=n FIRST=n` choose the seeds; a failure
//! prints its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, missing_docs)]

mod bench;
#[path = "../sim/dice.rs"]
mod dice;
mod judge;
mod log;
mod process;
mod rules;
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
    // Each seed is a world of its own: as many at a time as there are processors.
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let seen = std::thread::scope(|scope| {
        let run = |thread: usize| move || run((first..first + seeds).skip(thread).step_by(threads));
        let runs: Vec<_> = (0..threads).map(|thread| scope.spawn(run(thread))).collect();
        let mut seen = judge::Seen::default();
        for run in runs {
            match run.join() {
                Ok(some) => seen.add(&some),
                Err(panic) => resume_unwind(panic),
            }
        }
        seen
    });
    eprintln!("{seeds} seeds: {seen:?}");
    if seeds >= SEEDS {
        seen.assert_every_fault_was_met();
    }
}

fn run(seeds: impl Iterator<Item = u64>) -> judge::Seen {
    let mut seen = judge::Seen::default();
    for seed in seeds {
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
    seen
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 1..10 {
        assert_eq!(world::World::new(seed).run(), world::World::new(seed).run(), "seed {seed}");
    }
}
