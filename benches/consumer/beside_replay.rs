//! What a replay does to live work: how long an event takes while records of before are sent again, beside how long it
//! takes the same consumer when nobody replays.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use tokio::time::{Instant, sleep};

use crate::driver::tell;
use crate::events::one_of_each;
use crate::measure::{Spread, Used};
use crate::open_loop::{EVENTS, PER_SECOND, Planned, arrived, publish_on_time, seen};
use crate::ordered::{How, Ordered};
use crate::process::{Started, TIED};
use crate::results::{self, BesideReplay, Line};
use crate::stage::{IN_FLIGHT, Scene, Stage};
use crate::system::{Begin, Log, Manners};
use crate::workload::{TIMED, Workload};

/// How many are replayed in a second: half of what is live.
const REPLAYED_PER_SECOND: u32 = PER_SECOND / 2;

/// What is there to be replayed, before the live events of earlier rounds: more than is replayed in a round. A replay goes
/// through one partition after another, so that it comes to those too.
const BACKLOG: usize = 2 * EVENTS;

/// A replay that is under way sends at least this part of its rate.
const UNDER_WAY: f64 = 0.8;

/// How long it may take until a replay sends.
const SENDS_WITHIN: Duration = Duration::from_secs(30);

/// Events of a round, and whether a replay was under way meanwhile.
struct Round {
    n: usize,
    beside: bool,
    planned: Planned,
}

/// Measures and reports.
pub async fn measure(rounds: usize) -> anyhow::Result<()> {
    let stage = Arc::new(Stage::set(TIMED, 0).await?);
    let begin = Begin { manners: Manners::default(), keys: true };
    let mut scene = stage.scene("bench-beside-replay", begin, IN_FLIGHT, usize::MAX).await?;
    let mut started = Started::new(TIED, &scene.task)?;
    stage.source().publish_all(one_of_each((0..BACKLOG).map(|i| format!("B-{i}")))).await?;
    arrived(&mut scene, BACKLOG).await?;

    let mut measured = Vec::new();
    for n in 0..rounds {
        // What comes first changes, so that what drifts on the machine hits both.
        for beside in [n % 2 == 1, n % 2 == 0] {
            measured.push(one_round(&stage, &mut scene, n, beside).await?);
        }
    }
    started.finish();
    started.said::<Used>().await?.without_dead_letters()?;
    started.ended().await?;
    report(&measured, &scene.end().await?)
}

async fn one_round(stage: &Arc<Stage>, scene: &mut Scene, n: usize, beside: bool) -> anyhow::Result<Round> {
    let replay = if beside { Some(replay(scene).await?) } else { None };
    let before = seen(scene).await?.requests;
    let planned = publish_on_time(stage, &format!("L-{beside}-{n}")).await?;
    // Also where the replay has sent some of these.
    arrived(scene, before + EVENTS).await?;
    if let Some(replay) = replay {
        replay.cancel().await?;
    }
    Ok(Round { n, beside, planned })
}

/// Orders a replay, and waits until it sends.
async fn replay(scene: &mut Scene) -> anyhow::Result<Ordered> {
    let before = seen(scene).await?.requests;
    let how = How { again: true, per_second: Some(REPLAYED_PER_SECOND) };
    let ordered = Ordered::replay(&scene.bus, how).await?;
    let until = Instant::now() + SENDS_WITHIN;
    while seen(scene).await?.requests == before {
        ensure!(Instant::now() < until, "a replay sends nothing within {SENDS_WITHIN:?}");
        sleep(Duration::from_millis(100)).await;
    }
    Ok(ordered)
}

fn report(rounds: &[Round], log: &Log) -> anyhow::Result<()> {
    let (mut alone_ms, mut beside_ms, mut replayed) = (Vec::new(), Vec::new(), Vec::new());
    for Round { n, beside, planned } in rounds {
        let (took, per_second) = (planned.percentiles(log)?, planned.others_per_second(log));
        tell(&format!(
            "{} round {n} p50 {:.2} ms, p99 {:.2} ms, beside {per_second:.0} a second of a replay",
            Workload::BesideReplay.name(),
            took.p50_ms,
            took.p99_ms,
        ))?;
        let at_least = if *beside { UNDER_WAY * f64::from(REPLAYED_PER_SECOND) } else { 0.0 };
        ensure!(per_second >= at_least, "a replay sent {per_second:.0} a second and not {REPLAYED_PER_SECOND}");
        if *beside {
            beside_ms.push(took.p99_ms);
            replayed.push(per_second);
        } else {
            alone_ms.push(took.p99_ms);
        }
    }
    let spread = |rounds: &[f64], digits| Spread::of(rounds.iter().copied()).rounded(digits);
    results::report(&Line::BesideReplay(BesideReplay {
        load: results::load()?,
        per_second: PER_SECOND,
        replayed_per_second: spread(&replayed, 0),
        p99_ms: spread(&beside_ms, 2),
        alone_p99_ms: spread(&alone_ms, 2),
        ratio: Spread::of(beside_ms.iter().zip(&alone_ms).map(|(beside, alone)| beside / alone)).rounded(2),
    }))
}
