//! A consumer at work: records come from Kafka, the core decides, systems are called, and what became of each record is
//! committed.

mod finals;
mod lag;
mod prepare;
mod send;
mod service;
mod status;

pub(crate) use prepare::BOUNDS;

pub use service::{ServiceError, Stop, run};
pub use status::{ConsumerStatus, PartitionStatus, StuckRecord};

use std::collections::BTreeMap;
use std::sync::Arc;

use tieline_bus::Bus;

use crate::happening::Happenings;
use crate::kafka::{Connection, EventProducer};
use crate::registry::RegistryClient;
use crate::system::{LookUps, SystemClient};
use crate::telemetry::Metrics;

/// What the services of one process share.
#[derive(Debug)]
pub struct Wiring {
    /// The definitions.
    pub bus: Arc<Bus>,
    /// The broker.
    pub connection: Connection,
    /// The schema registry.
    pub registry: Arc<RegistryClient>,
    /// The client of each system, by its name.
    pub systems: BTreeMap<String, Arc<SystemClient>>,
    /// Answers of other systems that are kept for a while.
    pub look_ups: LookUps,
    /// What publishes follow-up events.
    pub events: EventProducer,
    /// The metrics of the process.
    pub metrics: Metrics,
    /// What is told to whoever listens.
    pub happenings: Happenings,
    /// Names this process among the replicas, and stays the same when it is started again.
    pub instance: String,
}
