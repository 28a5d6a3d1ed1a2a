//! One side: the consumer, as `tieline run` runs it.

use std::sync::Arc;

use anyhow::Context as _;
use tieline_runtime::consumer::{ConsumerStatus, Stop, Wiring};
use tieline_runtime::kafka::Connection;
use tokio::sync::watch;

use crate::bus::{Addresses, CONSUMER, load};
use crate::measure::Used;
use crate::process::{FromFirstCall, Task, argument, say};

/// Delivers all records, commits, leaves the group, and says what it used.
pub async fn run() -> anyhow::Result<()> {
    let task: Task = argument()?;
    let addresses = Addresses { kafka: task.kafka, registry: task.registry, erp: task.erp };
    let bus = load(&task.bus, &addresses)?;
    let connection = Connection { kafka: bus.kafka.clone(), embedded: false };
    let wiring = Arc::new(Wiring::new(bus, connection, "bench".to_owned())?);
    let consumer = Arc::clone(wiring.bus.consumers.get(CONSUMER).context("the bus has no such consumer")?);
    let metrics = wiring.metrics.consumer(CONSUMER);
    let (stop, stopped) = watch::channel(Stop::Run);
    let (status, _seen) = watch::channel(ConsumerStatus::default());
    let running = tokio::spawn(tieline_runtime::consumer::run(wiring, consumer, status, stopped));

    let work = async {
        let measured = FromFirstCall::wait(|| metrics.call_seconds.get_sample_count()).await?;
        // What is parked waits behind a dead letter, for somebody who does not come.
        let finals = || metrics.done.get() + metrics.skipped.get() + metrics.dead.get() + metrics.parked.get();
        measured.until(finals, task.records).await;
        stop.send_replace(Stop::Drain);
        anyhow::Ok(measured)
    };
    tokio::pin!(running);
    let measured = tokio::select! {
        ended = &mut running => anyhow::bail!("the consumer ended before its work: {ended:?}"),
        measured = work => measured?,
    };
    running.await.context("the consumer has panicked")??;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time, above nought")]
    let in_calls_ms = (metrics.call_seconds.get_sample_sum() * 1_000.0) as u64;
    say(&Used { in_calls_ms, dead: metrics.dead.get(), ..measured.used()? })
}
