//! One side: the consumer, as `tieline run` runs it.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use tieline_bus::Bus;
use tieline_runtime::consumer::{ConsumerStatus, Stop, Wiring};
use tieline_runtime::happening::Happenings;
use tieline_runtime::kafka::{Connection, EventProducer};
use tieline_runtime::registry::RegistryClient;
use tieline_runtime::system::{LookUps, SystemClient};
use tieline_runtime::telemetry::Metrics;
use tokio::sync::watch;

use crate::bus::{Addresses, CONSUMER, load};
use crate::process::{FromFirstCall, say, task};

/// Delivers all records, commits, leaves the group, and says what it used.
pub async fn run() -> anyhow::Result<()> {
    let task = task()?;
    let addresses = Addresses { kafka: task.kafka, registry: task.registry, erp: task.erp };
    let wiring = wire(load(&task.bus, &addresses)?)?;
    let consumer = Arc::clone(wiring.bus.consumers.get(CONSUMER).context("the bus has no such consumer")?);
    let metrics = wiring.metrics.consumer(CONSUMER);
    let (stop, stopped) = watch::channel(Stop::Run);
    let (status, _seen) = watch::channel(ConsumerStatus::default());
    let running = tokio::spawn(tieline_runtime::consumer::run(wiring, consumer, status, stopped));

    let work = async {
        let measured = FromFirstCall::wait(|| metrics.call_seconds.get_sample_count()).await?;
        let finals = || metrics.done.get() + metrics.skipped.get() + metrics.dead.get();
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
    let used = measured.used()?;
    ensure!(metrics.dead.get() == 0, "{} records became dead letters", metrics.dead.get());
    say(&used)
}

/// As `tieline run` does it.
fn wire(bus: Bus) -> anyhow::Result<Arc<Wiring>> {
    let connection = Connection { kafka: bus.kafka.clone(), embedded: false };
    let mut systems = BTreeMap::new();
    for (name, system) in &bus.systems {
        systems.insert(name.clone(), Arc::new(SystemClient::new(Arc::clone(system))?));
    }
    Ok(Arc::new(Wiring {
        registry: Arc::new(RegistryClient::new(&bus.registry)?),
        events: EventProducer::new(&connection)?,
        metrics: Metrics::new(prometheus::Registry::new())?,
        happenings: Happenings::default(),
        look_ups: LookUps::new(),
        instance: "bench".to_owned(),
        systems,
        connection,
        bus: Arc::new(bus),
    }))
}
