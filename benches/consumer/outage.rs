//! What becomes of an outage: how many calls are made in it, how soon all is well after it, and what memory it takes.

use std::time::Duration;

use anyhow::ensure;
use tokio::time::{Instant, sleep};

use crate::driver::tell;
use crate::measure::{Used, rounded, rss_kib};
use crate::process::{Started, TIED};
use crate::results::{self, Line, Outage};
use crate::stage::{IN_FLIGHT, Scene, Stage};
use crate::system::{Begin, Came, Manners, Seen};
use crate::workload::{TIMED, Workload};

/// What an answer takes when all is well; then 64 calls under way make 1,600 a second.
const LATENCY_MS: u64 = 40;

/// How long all is well before. The rate is taken from the second half.
const BEFORE: Duration = Duration::from_secs(6);

/// How long it may take until all is well again, before it is given up.
const AFTER_MAX: Duration = Duration::from_secs(30);

/// For which part of the rate before all is well again, and over which time the rate is looked at.
const WELL: f64 = 0.9;
const WELL_OVER: Duration = Duration::from_secs(1);

/// Enough for the time before, and for that after it at the full rate.
const RECORDS: usize = 60_000;

/// How often memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Measures and reports.
pub async fn measure(outage: Duration) -> anyhow::Result<()> {
    let stage = Stage::set(TIMED, RECORDS).await?;
    let well = Manners { latency_ms: LATENCY_MS, ..Manners::default() };
    let mut scene = stage.scene("bench-outage", Begin { manners: well, keys: false }, IN_FLIGHT, RECORDS).await?;
    let mut side = Started::new(TIED, &scene.task)?;
    first_call(&mut scene, well).await?;
    sleep(BEFORE).await;

    let pid = side.pid()?;
    let rss_start = rss_kib(pid)?;
    let down: Seen = say(&mut scene, Manners { is_down: true, ..well }).await?;
    let rss_in_it = peak_over(pid, outage).await?;
    let up: Seen = say(&mut scene, well).await?;
    let rss_after = peak_over(pid, AFTER_MAX.min(time_for_the_rest(down))).await?;
    side.finish();
    side.said::<Used>().await?.without_dead_letters()?;
    side.ended().await?;

    let log = scene.end().await?;
    let half = u64::try_from(BEFORE.as_micros())? / 2;
    let normal = applied_per_second(&log.calls, down.at_us - half, down.at_us);
    ensure!(normal > 0.0, "no call was answered before the outage");
    let attempts = log.calls.iter().filter(|call| (down.at_us..up.at_us).contains(&call.at_us)).count();
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let share = attempts as f64 / (normal * (up.at_us - down.at_us) as f64 / 1_000_000.0);
    let recovered = recovered_after(&log.calls, up.at_us, normal);
    let name = Workload::Outage.name();
    tell(&format!(
        "{name}: {normal:.0} calls/s before it, {attempts} attempts in it, the rate back after {recovered:?} s"
    ))?;
    results::report(&Line::Outage(Outage {
        load: results::load()?,
        outage_s: outage.as_secs(),
        calls_per_second_before: rounded(normal, 0),
        attempts_share: rounded(share, 4),
        seconds_to_90_percent: recovered,
        rss_start_mib: rss_start / 1_024,
        rss_peak_mib: rss_in_it.max(rss_after) / 1_024,
        down_s: seconds(down.at_us),
        up_s: seconds(up.at_us),
        attempts_each_second: each_second(&log.calls),
    }))
}

/// Attempts that came in each second since the system started.
fn each_second(calls: &[Came]) -> Vec<u32> {
    let mut counts = Vec::new();
    for call in calls {
        let second = usize::try_from(call.at_us / 1_000_000).unwrap_or(usize::MAX);
        if counts.len() <= second {
            counts.resize(second + 1, 0);
        }
        counts[second] += 1;
    }
    counts
}

fn seconds(us: u64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    rounded(us as f64 / 1_000_000.0, 1)
}

async fn say(scene: &mut Scene, manners: Manners) -> anyhow::Result<Seen> {
    scene.system.tell(&manners).await?;
    scene.system.said().await
}

/// Waits until the consumer works.
async fn first_call(scene: &mut Scene, manners: Manners) -> anyhow::Result<()> {
    let until = Instant::now() + AFTER_MAX;
    while say(scene, manners).await?.requests == 0 {
        ensure!(Instant::now() < until, "the consumer makes no call within {AFTER_MAX:?}");
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// The most memory that is seen in so much time.
async fn peak_over(pid: u32, time: Duration) -> anyhow::Result<u64> {
    let until = Instant::now() + time;
    let mut peak = 0;
    while Instant::now() < until {
        peak = peak.max(rss_kib(pid)?);
        sleep(LOOK_EVERY).await;
    }
    Ok(peak)
}

/// How long there is work at the full rate, with some of it to spare.
fn time_for_the_rest(down: Seen) -> Duration {
    let per_second = IN_FLIGHT * 1_000 / usize::try_from(LATENCY_MS).unwrap_or(usize::MAX);
    Duration::from_secs((RECORDS.saturating_sub(down.effects) / per_second.max(1)) as u64)
}

/// Effects a second from one time to another.
fn applied_per_second(calls: &[Came], from_us: u64, to_us: u64) -> f64 {
    let count = calls.iter().filter(|call| call.applied && (from_us..to_us).contains(&call.at_us)).count();
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let (count, micros) = (count as f64, (to_us - from_us) as f64);
    count * 1_000_000.0 / micros
}

/// Seconds from the end of an outage to the first time of [`WELL_OVER`] in which the rate was as good as before.
fn recovered_after(calls: &[Came], up_us: u64, normal: f64) -> Option<f64> {
    let over = u64::try_from(WELL_OVER.as_micros()).ok()?;
    let step = over / 10;
    let last = calls.last().map(|call| call.at_us)?;
    let mut froms = (0..).map(|n| up_us + n * step).take_while(|from| from + over <= last);
    let from = froms.find(|from| applied_per_second(calls, *from, from + over) >= WELL * normal)?;
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    Some((from - up_us) as f64 / 1_000_000.0)
}
