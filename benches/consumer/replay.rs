//! What it costs to look again at a record that was delivered before: a replay of which nothing is missing, so that no call
//! is made. Beside it, the loop without guarantees decodes and maps the same records, and calls nobody either.

use anyhow::ensure;
use tokio::time::Instant;

use crate::cost::{self, Round};
use crate::measure::{Used, cpu_us, peak_rss_kib};
use crate::ordered::{How, Ordered};
use crate::process::{RAW_READS, Started, TIED, Task};
use crate::service::Service;
use crate::stage::{IN_FLIGHT, Scene, Stage};
use crate::system::Begin;
use crate::workload::{COST, Workload};

/// How many times the records of a round whose calls are counted: a look at one takes a fraction of a call, and the
/// kernel's account goes by 10 ms.
const TIMES: usize = 5;

/// The name that a replay has beside the loop.
const REPLAY: &str = "replay";

/// Measures and reports.
pub async fn measure(records: usize, rounds: usize) -> anyhow::Result<()> {
    let records = records * TIMES;
    let stage = Stage::set(COST, records).await?;
    let scene = stage.scene("bench-replay", Begin::default(), IN_FLIGHT, records).await?;
    delivered(&scene).await?;
    let (mut replayed, mut raw) = (Vec::new(), Vec::new());
    for n in 0..rounds {
        let sides = if n % 2 == 0 { [REPLAY, RAW_READS] } else { [RAW_READS, REPLAY] };
        for side in sides {
            let used = if side == REPLAY { replay(&scene, records).await? } else { read(&scene, n).await? };
            let round = Round::of(used, records, (Workload::Replay.name(), side, n))?;
            if side == REPLAY { replayed.push(round) } else { raw.push(round) }
        }
    }
    let seen = scene.end().await?.seen;
    ensure!(seen.requests == records, "{} calls were made of {records}", seen.requests);
    cost::report_all(Workload::Replay.name(), &replayed, &raw)
}

/// Has all of it delivered, so that nothing is missing.
async fn delivered(scene: &Scene) -> anyhow::Result<()> {
    let mut started = Started::new(TIED, &scene.task)?;
    started.said::<Used>().await?.without_dead_letters()?;
    started.ended().await
}

/// What the service uses for a replay, from its order to its end.
async fn replay(scene: &Scene, records: usize) -> anyhow::Result<Used> {
    let service = Service::started(&scene.task).await?;
    let pid = service.pid()?;
    let (before, began) = (cpu_us(pid)?, Instant::now());
    let tally = Ordered::replay(&scene.bus, How { again: false, per_second: None }).await?.over().await?;
    let used = Used {
        cpu_us: cpu_us(pid)? - before,
        elapsed_ms: u64::try_from(began.elapsed().as_millis())?,
        peak_rss_kib: peak_rss_kib(pid)?,
        in_calls_ms: 0,
        dead: 0,
    };
    ensure!((tally.done_before, tally.total()) == (records as u64, records as u64), "a replay of {records}: {tally:?}");
    service.end().await?;
    Ok(used)
}

/// What the loop uses for the same records.
async fn read(scene: &Scene, n: usize) -> anyhow::Result<Used> {
    let group = format!("{}-{n}", scene.task.group);
    let mut started = Started::new(RAW_READS, &Task { group, ..scene.task.clone() })?;
    let used = started.said().await?;
    started.ended().await?;
    Ok(used)
}
