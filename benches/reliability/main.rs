//! `make reliability`: each hazard of [the table](../../docs/reliability.md) at its whole figure, one after another.
//!
//! The table is the list: the tests that it names are the ones that run, with the same code as in `make test` and with
//! `TIELINE_RELIABILITY=whole`, which gives them their whole figures (`tests/e2e/size.rs`). They are built as `make test`
//! builds them, with assertions on. `RELIABILITY=11`, or a part of a hazard's or a test's name, picks some.
//!
//! What came of it is on standard output, and as `report.md` and `report.jsonl` in `target/reliability/`, beside what each
//! test has printed. The exit code is 1 if a test failed or is not there.

mod report;
mod suite;
mod table;

use std::process::ExitCode;

use anyhow::Context as _;

use crate::report::{Report, Verdict};
use crate::suite::Suite;
use crate::table::Hazard;

/// Which hazards; all without it.
const WHICH: &str = "RELIABILITY";

fn main() -> ExitCode {
    // `cargo test --benches` asks whether it starts.
    if std::env::args().all(|argument| argument != "--bench") {
        return ExitCode::SUCCESS;
    }
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            report::complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// Runs them, and says whether all held.
fn run() -> anyhow::Result<bool> {
    let which = std::env::var(WHICH).unwrap_or_default();
    let hazards: Vec<Hazard> = table::read()?.into_iter().filter(|hazard| hazard.is_meant(&which)).collect();
    anyhow::ensure!(!hazards.is_empty(), "no hazard or test of docs/reliability.md is called `{which}`");
    let mut suite = Suite::build().context("cannot build the tests")?;
    let mut report = Report::start()?;
    for hazard in &hazards {
        let mut results = Vec::new();
        for test in hazard.tests_meant(&which) {
            results.push(suite.run(test, report.folder())?);
        }
        report.add(hazard, &results)?;
    }
    report.end()?;
    Ok(report.verdicts().all(|verdict| verdict != Verdict::Broken))
}
