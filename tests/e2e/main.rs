//! End to end: the real binary, in processes of its own, on a real Kafka. A module a promise; the oracle judges.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    missing_docs
)]

mod batch;
mod canary;
mod chaos;
mod cluster;
mod command;
mod commits;
mod crash;
mod dead_letters;
mod drain;
mod flagship;
mod hazards;
mod identity;
mod limits;
mod load;
mod ordered;
mod parking;
mod poison;
mod process;
mod reading;
mod replay;
mod retention;
mod second_shell;
mod size;
mod stall;
#[path = "../../src/dev/stand_ins.rs"]
mod stand_ins;
mod r#where;
mod written;

use std::time::{Duration, Instant};

/// Waits until a condition holds; a test that waits in vain says for what.
async fn eventually(what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + within;
    while !holds() {
        assert!(Instant::now() < deadline, "waited {within:?} in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}
