//! How long an event takes from its publication to its system, at a rate that leaves both sides idle most of the time.
//!
//! The loop is open: each event has its time, and is published at that time whatever became of the one before it; what is
//! counted is from that time on, also where the publishing itself was late. A closed loop would wait exactly when it should
//! measure (coordinated omission).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::driver::tell;
use crate::events::one_of_each;
use crate::measure::{Spread, Used, rounded};
use crate::process::{RAW, Started, TIED};
use crate::results::{self, Latency, Line};
use crate::stage::{IN_FLIGHT, Scene, Stage};
use crate::system::{Begin, Log, Manners, Seen};
use crate::workload::TIMED;

/// Events a second, and for how many seconds.
const PER_SECOND: u32 = 500;
const EVENTS: usize = 5_000;

/// Published before, and waited for: connections are made, and the group is joined.
const WARM_UP: usize = 500;

/// How long all of them may take.
const ALL_WITHIN: Duration = Duration::from_secs(30);

/// Half of the events are faster, and 99 of 100.
#[derive(Debug, Clone, Copy)]
struct Percentiles {
    p50_ms: f64,
    p99_ms: f64,
}

/// Measures and reports.
pub async fn measure(rounds: usize) -> anyhow::Result<()> {
    let stage = Arc::new(Stage::set(TIMED, 0).await?);
    let (mut tied, mut raw) = (Vec::new(), Vec::new());
    let mut published = 0;
    for n in 0..rounds {
        let sides = if n % 2 == 0 { [TIED, RAW] } else { [RAW, TIED] };
        for side in sides {
            let measured = one_round(&stage, (side, n), published).await?;
            published += WARM_UP + EVENTS;
            tell(&format!("latency round {n} {side:<5} p50 {:.2} ms, p99 {:.2} ms", measured.p50_ms, measured.p99_ms))?;
            if side == TIED { tied.push(measured) } else { raw.push(measured) }
        }
    }
    let p50 = |side: &[Percentiles]| Spread::of(side.iter().map(|measured| measured.p50_ms)).rounded(2);
    let p99 = |side: &[Percentiles]| Spread::of(side.iter().map(|measured| measured.p99_ms)).rounded(2);
    results::report(&Line::Latency(Latency {
        load: results::load()?,
        per_second: PER_SECOND,
        p50_ms: p50(&tied),
        p99_ms: p99(&tied),
        raw_p50_ms: p50(&raw),
        raw_p99_ms: p99(&raw),
    }))
}

async fn one_round(stage: &Arc<Stage>, (side, n): (&str, usize), before: usize) -> anyhow::Result<Percentiles> {
    let begin = Begin { manners: Manners::default(), keys: true };
    let mut scene = stage.scene(&format!("bench-latency-{side}-{n}"), begin, IN_FLIGHT, usize::MAX).await?;
    let mut started = Started::new(side, &scene.task)?;
    let warm_up = one_of_each((0..WARM_UP).map(|i| format!("W-{side}-{n}-{i}")));
    stage.source().publish_all(warm_up).await?;
    arrived(&mut scene, before + WARM_UP).await?;

    let planned = publish_on_time(stage, &format!("L-{side}-{n}")).await?;
    arrived(&mut scene, before + WARM_UP + EVENTS).await?;
    started.finish();
    let _used: Used = started.said().await?;
    started.ended().await?;
    percentiles(&scene.end().await?, &planned)
}

/// Waits until so many calls came.
async fn arrived(scene: &mut Scene, calls: usize) -> anyhow::Result<()> {
    let until = Instant::now() + ALL_WITHIN;
    loop {
        scene.system.tell(&Manners::default()).await?;
        let seen: Seen = scene.system.said().await?;
        if seen.requests >= calls {
            return Ok(());
        }
        ensure!(Instant::now() < until, "{} of {calls} calls came within {ALL_WITHIN:?}", seen.requests);
        sleep(Duration::from_millis(100)).await;
    }
}

/// Publishes each event at its time, and says which key was planned for when, since 1970.
async fn publish_on_time(stage: &Arc<Stage>, prefix: &str) -> anyhow::Result<BTreeMap<String, u64>> {
    let samples: Vec<_> = one_of_each((0..EVENTS).map(|i| format!("{prefix}-{i}"))).collect();
    let (began, began_us) = (std::time::Instant::now(), now_us()?);
    let planned = |i: usize| Duration::from_secs(1) / PER_SECOND * u32::try_from(i).unwrap_or(u32::MAX);
    let keys = samples.iter().enumerate();
    let keys = keys.map(|(i, sample)| (sample.key.clone(), began_us + planned(i).as_micros() as u64)).collect();
    let stage = Arc::clone(stage);
    let runtime = tokio::runtime::Handle::current();
    // A thread of its own, since Tokio's timer goes by milliseconds.
    let publishing = tokio::task::spawn_blocking(move || {
        let mut publishing = JoinSet::new();
        for (i, sample) in samples.into_iter().enumerate() {
            std::thread::sleep(planned(i).saturating_sub(began.elapsed()));
            let stage = Arc::clone(&stage);
            let n = WARM_UP + i;
            publishing.spawn_on(async move { stage.source().publish(n, &sample).await }, &runtime);
        }
        publishing
    });
    for published in publishing.await?.join_all().await {
        published?;
    }
    Ok(keys)
}

fn now_us() -> anyhow::Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros())?)
}

fn percentiles(log: &Log, planned: &BTreeMap<String, u64>) -> anyhow::Result<Percentiles> {
    let took = log.calls.iter().filter_map(|call| {
        let planned = planned.get(&call.key)?;
        Some((log.started_us + call.at_us).saturating_sub(*planned))
    });
    let mut took: Vec<u64> = took.collect();
    took.sort_unstable();
    ensure!(took.len() == planned.len(), "{} of {} events came", took.len(), planned.len());
    let at = |part: usize| -> anyhow::Result<f64> {
        let micros = took.get(took.len() * part / 100).context("no events")?;
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
        Ok(rounded(*micros as f64 / 1_000.0, 2))
    };
    Ok(Percentiles { p50_ms: at(50)?, p99_ms: at(99)? })
}
