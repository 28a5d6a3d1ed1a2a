//! All that a workload needs: a broker with its records, a registry, a system, and a bus in a folder.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::Context as _;
use tempfile::TempDir;
use tieline_bus::Bus;
use tieline_runtime::apply::{Accepted, apply};
use tieline_runtime::kafka::Connection;
use tieline_runtime::registry::RegistryClient;
use tieline_sandbox::broker::kafka::{Kafka, Options};
use tieline_sandbox::registry::Registry;

use crate::bus::{self, Addresses, EVENT};
use crate::events::{Source, samples};
use crate::process::{SYSTEM, Started, Task};
use crate::system::{Begin, Log};
use crate::workload::Records;

/// Calls under way at most, where a workload says nothing else.
pub const IN_FLIGHT: usize = 64;

/// Where no system listens: for a bus that calls none.
const NO_SYSTEM: &str = "http://127.0.0.1:9";

/// Broker, registry, and a folder for buses.
pub struct Stage {
    of: Records,
    dir: TempDir,
    kafka: Kafka,
    registry: Registry,
    source: Source,
    first: Bus,
}

/// A system, and the task of a side that calls it.
pub struct Scene {
    /// The system.
    pub system: Started,
    /// What a side is to do.
    pub task: Task,
    /// The bus that it does it for.
    pub bus: Bus,
}

impl Stage {
    /// Starts all, and publishes so many records.
    pub async fn set(of: Records, records: usize) -> anyhow::Result<Self> {
        let kafka = tokio::task::spawn_blocking(|| Kafka::start(Options::one_node())).await??;
        let registry = Registry::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let dir = TempDir::new()?;
        let addresses = addresses(&kafka, &registry, NO_SYSTEM);
        let (first, connection, client) = applied(dir.path(), "bench-first", of, IN_FLIGHT, &addresses).await?;
        let event = first.events.get(EVENT).context("the bus has no such event")?;
        let schema = client.lookup(&event.subject, &event.schema.text).await?;
        let source = Source::new(&connection, event.clone(), schema.context("the schema is not registered")?)?;
        source.publish_all(samples(of, records)).await?;
        Ok(Self { of, dir, kafka, registry, source, first })
    }

    /// The bus that the records were published to.
    pub fn bus(&self) -> &Bus {
        &self.first
    }

    /// Publishes more.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Starts a system, and writes and applies a bus under a name that was not used before, so that its consumer has all
    /// before it.
    pub async fn scene(&self, name: &str, begin: Begin, in_flight: usize, records: usize) -> anyhow::Result<Scene> {
        let mut system = Started::new(SYSTEM, &begin)?;
        let erp: String = system.said().await?;
        let addresses = addresses(&self.kafka, &self.registry, &erp);
        let (bus, _, _) = applied(self.dir.path(), name, self.of, in_flight, &addresses).await?;
        let Addresses { kafka, registry, erp } = addresses;
        let (dir, group) = (self.dir.path().to_owned(), format!("{name}.raw"));
        let follow_up = self.of.follow_up;
        let task = Task { bus: dir, group, in_flight, follow_up, records, kafka, registry, erp };
        Ok(Scene { system, task, bus })
    }
}

impl Scene {
    /// Ends the system, and says what came to it.
    pub async fn end(mut self) -> anyhow::Result<Log> {
        self.system.finish();
        let log = self.system.said().await?;
        self.system.ended().await?;
        Ok(log)
    }
}

fn addresses(kafka: &Kafka, registry: &Registry, erp: &str) -> Addresses {
    Addresses { kafka: kafka.brokers().to_owned(), registry: registry.url(), erp: erp.to_owned() }
}

async fn applied(
    dir: &Path,
    name: &str,
    of: Records,
    in_flight: usize,
    addresses: &Addresses,
) -> anyhow::Result<(Bus, Connection, RegistryClient)> {
    bus::write(dir, name, of, in_flight)?;
    let bus = bus::load(dir, addresses)?;
    let connection = Connection { kafka: bus.kafka.clone(), embedded: false };
    let registry = RegistryClient::new(&bus.registry)?;
    apply(&bus, &connection, &registry, &Accepted::default()).await?;
    Ok((bus, connection, registry))
}
