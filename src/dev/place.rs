//! Where a development bus lives: a broker of one of three kinds, and a registry.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tieline_bus::Bus;
use tieline_runtime::apply::topics;
use tieline_runtime::kafka::group_of;
use tieline_sandbox::broker::embedded::{Embedded, Reading, Watch};
use tieline_sandbox::broker::kafka::{Kafka, Options as KafkaOptions};
use tieline_sandbox::registry::Registry;

use super::Options;
use super::addresses::{BrokerKind, settle};
use crate::counted::counted;
use crate::failure::Failure;

/// The broker that was taken.
pub enum Broker {
    /// librdkafka's mock cluster, in this process.
    Embedded {
        broker: Embedded,
        /// Raises the alarm when it has dropped what nobody has read.
        _watch: Watch,
    },
    /// A real one, started here.
    Kafka(Kafka),
    /// The user's own.
    Given(String),
}

/// A broker and a registry, for as long as this lives.
pub struct Place {
    broker: Broker,
    registry: Registry,
}

impl Place {
    /// Starts what the options ask for.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn start(bus: &Bus, options: &Options) -> Result<Self, Failure> {
        let broker = match &options.brokers {
            Some(brokers) => Broker::Given(brokers.clone()),
            None if options.kafka => Broker::Kafka(real_kafka().await?),
            None => embedded(bus)?,
        };
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let registry = Registry::start(any_port).await.context("cannot start the schema registry")?;
        Ok(Self { broker, registry })
    }

    /// Points a bus here, whatever its `tieline.yaml` says.
    pub fn settle(&self, bus: &mut Bus) {
        settle(bus, self.kind(), self.brokers(), &self.registry.url());
    }

    /// Of which kind the broker is.
    pub fn kind(&self) -> BrokerKind {
        match self.broker {
            Broker::Embedded { .. } => BrokerKind::Embedded,
            Broker::Kafka(_) => BrokerKind::Kafka,
            Broker::Given(_) => BrokerKind::Given,
        }
    }

    fn brokers(&self) -> &str {
        match &self.broker {
            Broker::Embedded { broker, .. } => broker.brokers(),
            Broker::Kafka(kafka) => kafka.brokers(),
            Broker::Given(brokers) => brokers,
        }
    }

    /// Says which broker it is, and what it cannot do.
    pub fn banner(&self, bus: &Bus) -> String {
        let broker = match &self.broker {
            Broker::Embedded { .. } => {
                "embedded broker: for trying Tieline on one machine. Events live in memory and are gone at exit; each\n  \
                 partition keeps its newest 5 MiB; nothing about reliability or speed can be learnt from it. With Java\n  \
                 and Maven, --kafka runs a real Kafka; --brokers uses yours."
            }
            Broker::Kafka(_) => "Apache Kafka, started here; its data are gone at exit.",
            Broker::Given(_) => "your Kafka.",
        };
        let stand_ins = match bus.systems.len() {
            1 => "1 stand-in for a system".to_owned(),
            systems => format!("{systems} stand-ins for systems"),
        };
        let (producers, consumers) =
            (counted(bus.producers.len(), "producer"), counted(bus.consumers.len(), "consumer"));
        format!("  {broker}\n  {stand_ins}, {producers}, {consumers}\n\n")
    }
}

fn embedded(bus: &Bus) -> Result<Broker, Failure> {
    let broker = Embedded::start()?;
    for topic in topics(bus) {
        broker.create_topic(&topic.name, topic.partitions)?;
    }
    let readings = bus.consumers.values().map(|consumer| Reading {
        group: group_of(&bus.name, &consumer.name),
        topic: consumer.event.topic.clone(),
        partitions: bus.kafka.partitions,
    });
    let watch = broker.watch(readings.collect(), |dropped| tracing::error!("{dropped}"))?;
    Ok(Broker::Embedded { broker, _watch: watch })
}

async fn real_kafka() -> anyhow::Result<Kafka> {
    let started = tokio::task::spawn_blocking(|| Kafka::start(KafkaOptions::one_node())).await;
    Ok(started.context("the start of Kafka was aborted")??)
}

/// Writes a body to try each producer with, that of its first case that ends in an event, and says where. A producer without
/// such a case has none.
///
/// # Errors
/// When it cannot be written.
pub fn write_bodies(dir: &Path, bus: &Bus) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let mut bodies = BTreeMap::new();
    for name in bus.producers.keys() {
        if let Some(body) = first_body(&dir.join("producers").join(name).join("cases")) {
            let file = dir.join(".tieline").join(format!("{name}.json"));
            std::fs::write(&file, format!("{}\n", serde_json::to_string_pretty(&body)?))
                .with_context(|| format!("cannot write {}", file.display()))?;
            bodies.insert(name.clone(), file);
        }
    }
    Ok(bodies)
}

fn first_body(cases: &Path) -> Option<serde_json::Value> {
    let mut files: Vec<_> = std::fs::read_dir(cases).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    files.iter().find_map(|file| {
        let case = tieline_mapping::yaml::parse(&std::fs::read_to_string(file).ok()?).ok()?;
        // A case that expects no event would show nothing.
        case.get("expect")?.get("event")?;
        Some(case.get("body")?.to_json())
    })
}
