//! How long an event takes from its publication to its system, at a rate that leaves both sides idle most of the time.

use std::sync::Arc;

use crate::driver::tell;
use crate::events::one_of_each;
use crate::measure::{Spread, Used};
use crate::open_loop::{EVENTS, PER_SECOND, Percentiles, WARM_UP, arrived, publish_on_time};
use crate::process::{RAW, Started, TIED};
use crate::results::{self, Latency, Line};
use crate::stage::{IN_FLIGHT, Stage};
use crate::system::{Begin, Manners};
use crate::workload::TIMED;

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
    started.said::<Used>().await?.without_dead_letters()?;
    started.ended().await?;
    planned.percentiles(&scene.end().await?)
}
