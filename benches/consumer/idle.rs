//! What a process costs that has nothing to do: the command itself, with one consumer whose topic is empty.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::measure::{cpu_us, peak_rss_kib, rounded, rss_kib};
use crate::results::{self, Idle, Line};
use crate::service::Service;
use crate::stage::{IN_FLIGHT, Stage};
use crate::system::Begin;

/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(10);

/// Measures and reports.
pub async fn measure(stage: &Stage) -> anyhow::Result<()> {
    let scene = stage.scene("bench-idle", Begin::default(), IN_FLIGHT, 0).await?;
    let service = Service::started(&scene.task).await?;

    let pid = service.pid()?;
    let (before, began) = (cpu_us(pid)?, Instant::now());
    sleep(WATCHED).await;
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let cpu_share = (cpu_us(pid)? - before) as f64 / began.elapsed().as_micros() as f64;
    let mib = |kib: u64| -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
        rounded(kib as f64 / 1_024.0, 1)
    };
    results::report(&Line::Idle(Idle {
        load: results::load()?,
        seconds: WATCHED.as_secs(),
        cpu_share: rounded(cpu_share, 4),
        rss_mib: mib(rss_kib(pid)?),
        peak_rss_mib: mib(peak_rss_kib(pid)?),
    }))?;
    service.end().await?;
    scene.end().await?;
    Ok(())
}
