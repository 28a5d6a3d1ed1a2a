//! Each rule of the machine, broken once: what finds it is in docs/reference/simulator-mutations.md, and `list.txt` says how.
//!
//! A list that nobody reads goes stale: so that each mutation can be made is a test like others. `make mutations` has all of
//! them made (`benches/mutations.rs`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

mod list;

use std::path::Path;

#[test]
fn every_mutation_can_be_made() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for mutation in list::mutations() {
        let mutated = mutation.hunks.iter().map(|hunk| hunk.make(root));
        if let Some(problem) = mutated.filter_map(Result::err).next() {
            panic!("{} | {}: {problem}", mutation.rule, mutation.how);
        }
    }
}
