//! Publishes events at their times, and says how long each took to its system.
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

use crate::events::one_of_each;
use crate::measure::rounded;
use crate::stage::{Scene, Stage};
use crate::system::{Log, Manners, Seen};

/// Events a second, and for how many seconds.
pub const PER_SECOND: u32 = 500;
pub const EVENTS: usize = 5_000;

/// Published before, and waited for: connections are made, and the group is joined.
pub const WARM_UP: usize = 500;

/// How long all of them may take.
const ALL_WITHIN: Duration = Duration::from_secs(30);

/// Half of the events are faster, and 99 of 100.
#[derive(Debug, Clone, Copy)]
pub struct Percentiles {
    pub p50_ms: f64,
    pub p99_ms: f64,
}

/// Which key was planned for when, in microseconds since 1970.
#[derive(Debug)]
pub struct Planned(BTreeMap<String, u64>);

/// Waits until so many calls came.
pub async fn arrived(scene: &mut Scene, calls: usize) -> anyhow::Result<()> {
    let until = Instant::now() + ALL_WITHIN;
    loop {
        let seen = seen(scene).await?;
        if seen.requests >= calls {
            return Ok(());
        }
        ensure!(Instant::now() < until, "{} of {calls} calls came within {ALL_WITHIN:?}", seen.requests);
        sleep(Duration::from_millis(100)).await;
    }
}

/// What has come to a system that answers at once.
pub async fn seen(scene: &mut Scene) -> anyhow::Result<Seen> {
    scene.system.tell(&Manners::default()).await?;
    scene.system.said().await
}

/// Publishes each event at its time, under keys that begin so.
pub async fn publish_on_time(stage: &Arc<Stage>, prefix: &str) -> anyhow::Result<Planned> {
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
    Ok(Planned(keys))
}

fn now_us() -> anyhow::Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros())?)
}

impl Planned {
    /// How long these events took, of which each must have come. One that came again, in a later replay, was there before.
    pub fn percentiles(&self, log: &Log) -> anyhow::Result<Percentiles> {
        let mut first_us: BTreeMap<&str, u64> = BTreeMap::new();
        for call in log.calls.iter().filter(|call| self.0.contains_key(&call.key)) {
            first_us.entry(&call.key).or_insert(log.started_us + call.at_us);
        }
        let came =
            self.0.iter().filter_map(|(key, planned)| Some(first_us.get(key.as_str())?.saturating_sub(*planned)));
        let mut took: Vec<u64> = came.collect();
        took.sort_unstable();
        ensure!(took.len() == self.0.len(), "{} of {} events came", took.len(), self.0.len());
        let at = |part: usize| -> anyhow::Result<f64> {
            let micros = took.get(took.len() * part / 100).context("no events")?;
            #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
            Ok(rounded(*micros as f64 / 1_000.0, 2))
        };
        Ok(Percentiles { p50_ms: at(50)?, p99_ms: at(99)? })
    }

    /// How many calls came a second between the first event's time and the last one's that are of other events.
    pub fn others_per_second(&self, log: &Log) -> f64 {
        let time = |us: Option<&u64>| us.map_or(0, |us| us.saturating_sub(log.started_us));
        let (from, to) = (time(self.0.values().min()), time(self.0.values().max()));
        let others =
            log.calls.iter().filter(|call| (from..to).contains(&call.at_us) && !self.0.contains_key(&call.key));
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
        let (count, micros) = (others.count() as f64, (to - from) as f64);
        count * 1_000_000.0 / micros
    }
}
