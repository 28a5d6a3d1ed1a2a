//! What a consumer with all its guarantees costs, how it stands trouble, and how soon it delivers.
//!
//! `make bench`, or `cargo bench --bench consumer`. Everything is read from a real Kafka and goes to a recording system.
//! Kafka, that system and what is measured are processes of their own, so that what is counted is one process's CPU time
//! and memory and nothing else. Where there is something to compare with (a loop of the same libraries without guarantees,
//! or the same run without trouble), rounds alternate and medians are reported: a JSON line for each workload on standard
//! output, what it took on standard error.
//!
//! With `BENCH_RESULTS=FILE` the lines go to a file too. `cargo bench --bench consumer -- plots` makes the pictures and tables
//! of `docs/benchmarks.md` from the lines in `docs/benchmarks/results.jsonl`.
//!
//! `BENCH_RECORDS` (default 40,000), `BENCH_ROUNDS` (default 3), `BENCH_WORKLOAD` (default all) and
//! `BENCH_OUTAGE_SECONDS` (default 60) make it shorter or longer.

mod beside_replay;
mod bus;
mod by_hand;
mod cost;
mod driver;
mod events;
mod figures;
mod idle;
mod latency;
mod ledger;
mod measure;
mod open_loop;
mod ordered;
mod outage;
mod page;
mod process;
mod rate;
mod raw;
mod replay;
mod results;
mod service;
mod stage;
mod svg;
mod system;
mod tied;
mod workload;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use tieline_sandbox::broker::BrokerError;

/// The command's allocator, for all parts: the loop without guarantees gains by it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Something outside is missing, as with the command.
const EXIT_MISSING: u8 = 3;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "bench: {error:#}");
            let missing = matches!(error.downcast_ref(), Some(BrokerError::Missing { .. }));
            if missing { ExitCode::from(EXIT_MISSING) } else { ExitCode::FAILURE }
        }
    }
}

fn run() -> anyhow::Result<()> {
    // Also for the side that has no client of ours, which would do it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // The runtime of the command, for all.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")?;
    match std::env::args().nth(1).as_deref() {
        Some(process::SYSTEM) => runtime.block_on(system::serve()),
        Some(process::TIED) => runtime.block_on(tied::run()),
        Some(process::RAW) => runtime.block_on(raw::run(true)),
        Some(process::RAW_READS) => runtime.block_on(raw::run(false)),
        Some(process::LEDGER) => ledger::run(),
        // `make bench-plots`
        Some("plots") => page::make(),
        Some("--bench") => runtime.block_on(driver::run()),
        // `cargo test --benches` asks whether it starts.
        _ => Ok(()),
    }
}
