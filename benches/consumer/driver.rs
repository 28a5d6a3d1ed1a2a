//! Runs the workloads one after another.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;

use crate::stage::Stage;
use crate::workload::{ALL, TIMED, Trouble, Workload};
use crate::{beside_replay, cost, idle, latency, ledger, outage, rate, replay, results};

/// How it is run.
struct Settings {
    records: usize,
    rounds: usize,
    outage: Duration,
    workloads: Vec<Workload>,
}

impl Settings {
    fn from_environment() -> anyhow::Result<Self> {
        let workloads = match std::env::var("BENCH_WORKLOAD") {
            Ok(name) => vec![Workload::named(&name)?],
            Err(_) => ALL.to_vec(),
        };
        Ok(Self {
            records: number("BENCH_RECORDS", 40_000)?,
            rounds: number("BENCH_ROUNDS", 3)?,
            outage: Duration::from_secs(number("BENCH_OUTAGE_SECONDS", 60)? as u64),
            workloads,
        })
    }

    fn troubles(&self) -> Vec<Trouble> {
        let trouble = |workload: &Workload| match workload {
            Workload::Rate(trouble) => Some(*trouble),
            Workload::Cost(_)
            | Workload::Replay
            | Workload::Ledger
            | Workload::Outage
            | Workload::Latency
            | Workload::BesideReplay
            | Workload::Idle => None,
        };
        self.workloads.iter().filter_map(trouble).collect()
    }
}

fn number(name: &str, default: usize) -> anyhow::Result<usize> {
    let Ok(text) = std::env::var(name) else { return Ok(default) };
    let number = text.parse().ok().filter(|n| *n > 0);
    number.with_context(|| format!("{name}={text} is not a number above 0"))
}

/// Measures all workloads.
pub async fn run() -> anyhow::Result<()> {
    let settings = Settings::from_environment()?;
    let troubles = settings.troubles();
    results::begin(settings.records, settings.rounds)?;
    for workload in &settings.workloads {
        match workload {
            // A broker for each, so that no workload inherits another's log.
            Workload::Cost(of) => cost::measure(*of, settings.records, settings.rounds).await?,
            Workload::Replay => replay::measure(settings.records, settings.rounds).await?,
            Workload::Ledger => ledger::measure(settings.rounds).await?,
            // All in one, since they are shares of one another; with the first of them.
            Workload::Rate(trouble) if troubles.first() == Some(trouble) => {
                rate::measure(&troubles, settings.records, settings.rounds).await?;
            }
            Workload::Rate(_) => {}
            Workload::Outage => outage::measure(settings.outage).await?,
            Workload::Latency => latency::measure(settings.rounds).await?,
            Workload::BesideReplay => beside_replay::measure(settings.rounds).await?,
            Workload::Idle => idle::measure(&Stage::set(TIMED, 0).await?).await?,
        }
    }
    Ok(())
}

/// A line for people.
pub fn tell(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stderr(), "{line}").context("standard error is closed")
}
