//! How many calls are made in a second where each takes its time, and what trouble with some of them takes from the others.
//!
//! All from the same records, with the same number of calls under way, in the same round: a share of that round's run
//! without trouble is far steadier than a rate. A rate is taken at the system, over the middle of what came.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::time::timeout;

use crate::driver::tell;
use crate::events::BUSY_KEY;
use crate::measure::{Spread, Used};
use crate::process::{RAW, Started, TIED};
use crate::results::{self, Line, Possible, PossibleAt, Troubled};
use crate::stage::{IN_FLIGHT, Stage};
use crate::system::{Begin, Came, Log, Manners, is_of_slow_partition};
use crate::workload::{TIMED, Trouble, Workload};

/// What an answer takes.
const LATENCY_MS: u64 = 20;

/// What an answer about the slow key takes: it has one of 500 records, some six a second, and gets one of them done.
const SLOW_KEY_MS: u64 = 1_000;

/// What an answer about a key of the slow partition takes.
const SLOW_PARTITION_MS: u64 = 200;

/// One call of so many fails, where some do; or one record is refused.
const ONE_FAILED_OF: u16 = 100;

/// More calls under way: far more than there are partitions.
const IN_FLIGHT_MORE: usize = 256;

/// Which part of what came a rate is taken over. Before it connections are made, after it there is less to do.
const MIDDLE: (f64, f64) = (0.1, 0.9);

/// How long a run may take, from its start. What is slow would else be waited for.
const RUN_MAX: Duration = Duration::from_secs(8);

/// What one run came to.
struct Run {
    log: Log,
    used: Used,
}

/// What the rounds came to: shares.
#[derive(Debug, Default)]
struct Shares {
    /// Of as many calls a second as there can be, for each number of calls under way; and what the loop without guarantees
    /// has, to tell what the machine takes.
    possible: [Vec<f64>; 2],
    raw_possible: [Vec<f64>; 2],
    /// Of the round's run without trouble.
    control: Vec<f64>,
    /// Attempts for each effect.
    attempts: Vec<f64>,
}

/// Measures those of them that are wanted, and reports each.
pub async fn measure(troubles: &[Trouble], records: usize, rounds: usize) -> anyhow::Result<()> {
    let stage = Stage::set(TIMED, records).await?;
    let mut all: Vec<(Trouble, Shares)> = troubles.iter().map(|trouble| (*trouble, Shares::default())).collect();
    for n in 0..rounds {
        let clean = run(&stage, Trouble::None, (TIED, IN_FLIGHT), (records, n)).await?;
        for (trouble, shares) in &mut all {
            if *trouble == Trouble::None {
                add_possible(shares, &stage, &clean, (records, n)).await?;
            } else {
                let run = run(&stage, *trouble, (TIED, IN_FLIGHT), (records, n)).await?;
                shares.control.push(rate(&run.log, *trouble)? / rate(&clean.log, *trouble)?);
                #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
                shares.attempts.push(run.log.seen.requests as f64 / run.log.seen.effects as f64);
            }
        }
    }
    all.into_iter().try_for_each(|(trouble, shares)| results::report(&line(trouble, &shares)?))
}

async fn add_possible(shares: &mut Shares, stage: &Stage, clean: &Run, round: (usize, usize)) -> anyhow::Result<()> {
    shares.possible[0].push(share_of_possible(clean, IN_FLIGHT)?);
    let more = run(stage, Trouble::None, (TIED, IN_FLIGHT_MORE), round).await?;
    shares.possible[1].push(share_of_possible(&more, IN_FLIGHT_MORE)?);
    for (shares, in_flight) in shares.raw_possible.iter_mut().zip([IN_FLIGHT, IN_FLIGHT_MORE]) {
        let raw = run(stage, Trouble::None, (RAW, in_flight), round).await?;
        shares.push(share_of_possible(&raw, in_flight)?);
    }
    Ok(())
}

fn line(trouble: Trouble, shares: &Shares) -> anyhow::Result<Line> {
    let load = results::load()?;
    let spread = |rounds: &[f64], digits| Spread::of(rounds.iter().copied()).rounded(digits);
    let at = |(n, in_flight): (usize, usize)| PossibleAt {
        in_flight,
        share: spread(&shares.possible[n], 3),
        raw_share: spread(&shares.raw_possible[n], 3),
    };
    Ok(match trouble {
        Trouble::None => {
            let at = [(0, IN_FLIGHT), (1, IN_FLIGHT_MORE)].map(at).into();
            Line::Possible(Possible { load, latency_ms: LATENCY_MS, at })
        }
        Trouble::KeySlow | Trouble::PartitionSlow | Trouble::Flaky | Trouble::Poison => Line::Trouble(Troubled {
            workload: Workload::Rate(trouble).name().to_owned(),
            load,
            share: spread(&shares.control, 3),
            attempts_per_record: spread(&shares.attempts, 4),
        }),
    })
}

async fn run(
    stage: &Stage,
    trouble: Trouble,
    (side, in_flight): (&str, usize),
    (records, n): (usize, usize),
) -> anyhow::Result<Run> {
    let workload = Workload::Rate(trouble).name();
    let name = format!("bench-{}-{side}-{in_flight}-{n}", workload.trim_end_matches('%'));
    let scene = stage.scene(&name, Begin { manners: manners(trouble), keys: true }, in_flight, records).await?;
    let mut started = Started::new(side, &scene.task)?;
    let in_time = timeout(RUN_MAX, started.said::<Used>()).await;
    let used = match in_time {
        Ok(used) => used?,
        Err(_late) => {
            started.finish();
            started.said().await?
        }
    };
    started.ended().await?;
    let run = Run { log: scene.end().await?, used };
    check_dead_letters(&run, trouble)?;
    tell_run(&run, trouble, (side, in_flight), n)?;
    Ok(run)
}

/// Each record that was refused is a dead letter, and no other one.
fn check_dead_letters(Run { log, used }: &Run, trouble: Trouble) -> anyhow::Result<()> {
    let refused = match trouble {
        Trouble::None | Trouble::KeySlow | Trouble::PartitionSlow | Trouble::Flaky => 0,
        Trouble::Poison => (log.seen.requests - log.seen.effects) as u64,
    };
    ensure!(used.dead == refused, "{} records were refused, and {} became dead letters", refused, used.dead);
    Ok(())
}

/// A line for people. By Little's law, calls under way on average are the time in calls in each second.
fn tell_run(run: &Run, trouble: Trouble, (side, in_flight): (&str, usize), n: usize) -> anyhow::Result<()> {
    let Run { log, used } = run;
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let (calls, cpu_us, elapsed_ms, in_calls_ms) =
        (log.seen.requests as f64, used.cpu_us as f64, used.elapsed_ms as f64, used.in_calls_ms as f64);
    tell(&format!(
        "{:<18} round {n} {side:<4} {in_flight:>3} {:>6.0} calls/s, {:.1} CPU-µs and {:.1} ms a call, {:.0} under way",
        Workload::Rate(trouble).name(),
        rate(log, trouble)?,
        cpu_us / calls,
        in_calls_ms / calls,
        in_calls_ms / elapsed_ms,
    ))
}

fn manners(trouble: Trouble) -> Manners {
    let usual = Manners { latency_ms: LATENCY_MS, ..Manners::default() };
    match trouble {
        Trouble::None => usual,
        Trouble::KeySlow => Manners { busy_key_ms: Some(SLOW_KEY_MS), ..usual },
        Trouble::PartitionSlow => Manners { slow_partition_ms: Some(SLOW_PARTITION_MS), ..usual },
        Trouble::Flaky => Manners { one_failed_of: Some(ONE_FAILED_OF), ..usual },
        Trouble::Poison => Manners { one_refused_of: Some(ONE_FAILED_OF), ..usual },
    }
}

/// Whether a call is not one of those that are in trouble: the others' rate is what is asked for.
fn counts(came: &Came, trouble: Trouble) -> bool {
    came.applied
        && match trouble {
            Trouble::None | Trouble::Flaky | Trouble::Poison => true,
            Trouble::KeySlow => came.key != BUSY_KEY,
            Trouble::PartitionSlow => !is_of_slow_partition(&came.key),
        }
}

/// Effects a second, of the calls that count.
fn rate(log: &Log, trouble: Trouble) -> anyhow::Result<f64> {
    let at: Vec<u64> = log.calls.iter().filter(|came| counts(came, trouble)).map(|came| came.at_us).collect();
    ensure!(at.len() > 1_000, "{} calls are too few for a rate", at.len());
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
    let index = |part: f64| (at.len() as f64 * part) as usize;
    let (first, last) = (index(MIDDLE.0), index(MIDDLE.1));
    let micros = at.get(last).zip(at.get(first)).map(|(last, first)| last - first).context("no middle")?;
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    Ok((last - first) as f64 / (micros as f64 / 1_000_000.0))
}

/// The rate, of what there would be if as many calls were under way as may be all the time.
fn share_of_possible(run: &Run, in_flight: usize) -> anyhow::Result<f64> {
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let possible = in_flight as f64 * 1_000.0 / LATENCY_MS as f64;
    Ok(rate(&run.log, Trouble::None)? / possible)
}
