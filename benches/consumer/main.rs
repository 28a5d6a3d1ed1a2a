//! What a consumer with all its guarantees costs, beside a loop of the same libraries without any.
//!
//! `make bench`, or `cargo bench --bench consumer`. Both sides read the same records from a real Kafka and call the same
//! recording system. Kafka, that system and each side are processes of their own, so that what is counted is the side's
//! CPU time and nothing else; it is far steadier than elapsed time where cores are shared. Rounds alternate between the
//! sides, medians are reported: a JSON line for each workload on standard output, what it took on standard error.
//!
//! `BENCH_RECORDS` (default 40,000), `BENCH_ROUNDS` (default 3) and `BENCH_WORKLOAD` (default all) make it shorter or longer.

mod bus;
mod by_hand;
mod driver;
mod events;
mod measure;
mod process;
mod raw;
mod system;
mod tied;
mod workload;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use tieline_sandbox::broker::BrokerError;

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
        Some(process::RAW) => runtime.block_on(raw::run()),
        Some("--bench") => runtime.block_on(driver::run()),
        // `cargo test --benches` asks whether it starts.
        _ => Ok(()),
    }
}
