//! What the services of one process share, made from a bus.

use std::collections::BTreeMap;
use std::sync::Arc;

use tieline_bus::Bus;

use crate::happening::Happenings;
use crate::kafka::{ConnectError, Connection, EventProducer};
use crate::limits::Limits;
use crate::orders::Orders;
use crate::registry::{RegistryClient, RegistryClientError};
use crate::system::{LookUps, SystemClient, SystemClientError};
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
    /// What people order.
    pub orders: Orders,
    /// The limits that systems set, which replicas share.
    pub limits: Limits,
    /// The metrics of the process.
    pub metrics: Metrics,
    /// What is told to whoever listens.
    pub happenings: Happenings,
    /// Names this process among the replicas, and stays the same when it is started again.
    pub instance: String,
}

/// Why a client cannot be made of its definition.
#[derive(Debug, thiserror::Error)]
pub enum WiringError {
    /// Kafka's settings are refused.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The registry's address or credential.
    #[error(transparent)]
    Registry(#[from] RegistryClientError),
    /// A system's address or credential.
    #[error(transparent)]
    System(#[from] SystemClientError),
    /// A metric is there twice.
    #[error("the metrics cannot be registered")]
    Metrics(#[from] prometheus::Error),
}

impl Wiring {
    /// Makes the clients of a bus for the replica of this name. None of them connects yet.
    ///
    /// # Errors
    /// When one cannot be made of its definition.
    pub fn new(bus: Bus, connection: Connection, instance: String) -> Result<Self, WiringError> {
        let metrics = Metrics::new(prometheus::Registry::new())?;
        let events = EventProducer::new(&connection)?;
        let limits = Limits::new(&connection, &bus.name, &bus.systems, &events, metrics.limits());
        let mut systems = BTreeMap::new();
        for (name, system) in &bus.systems {
            let client = SystemClient::new(Arc::clone(system), metrics.systems())?;
            systems.insert(name.clone(), Arc::new(client.behind(limits.gate(name).cloned())));
        }
        Ok(Self {
            registry: Arc::new(RegistryClient::new(&bus.registry)?),
            events,
            limits,
            metrics,
            happenings: Happenings::default(),
            orders: Orders::new(&connection, &bus.name),
            look_ups: LookUps::new(),
            instance,
            systems,
            connection,
            bus: Arc::new(bus),
        })
    }
}
