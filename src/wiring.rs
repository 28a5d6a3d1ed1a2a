//! What the services of one process share, made from a bus.

use std::collections::BTreeMap;
use std::sync::Arc;

use tieline_bus::Bus;
use tieline_runtime::consumer::Wiring;
use tieline_runtime::happening::Happenings;
use tieline_runtime::kafka::{Connection, EventProducer};
use tieline_runtime::registry::RegistryClient;
use tieline_runtime::system::{LookUps, SystemClient};
use tieline_runtime::telemetry::Metrics;

/// Makes the clients of a bus. None of them connects yet.
///
/// # Errors
/// When one cannot be made of its definition.
pub fn wire(bus: Bus, connection: Connection) -> anyhow::Result<Arc<Wiring>> {
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
        instance: instance(),
        systems,
        connection,
        bus: Arc::new(bus),
    }))
}

/// Names this replica. The same name after a restart lets Kafka abort at once what the last run left open; two processes
/// of one name at the same time would fence each other.
fn instance() -> String {
    std::env::var("TIELINE_INSTANCE").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        format!("{}-{}", host.trim(), std::process::id())
    })
}
