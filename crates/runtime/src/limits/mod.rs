//! Limits that belong to a system, at work: the two machines of `tieline_delivery::limits` on a topic of Kafka.
//!
//! ```text
//! a consumer ──► Gate (gate.rs) ──► Ticket ──► the call ──► what the answer says of limits, back to the gate
//!                  │    ▲
//!           asks   │    │ grants, times that the system named
//!                  ▼    │
//!        BUS.tieline.limits (topic.rs), followed by each process (follow.rs)
//!                  │    ▲
//!                  ▼    │
//!             Dividing (dividing.rs), in each process; by the topic itself, one of them divides and the others stand by
//! ```
//!
//! All of it that has a clock or does something by itself runs in one task (`drive`). Where it fails (Kafka is away, a record
//! is not written, the process stands still) grants end by themselves, and no call goes without one.

mod clock;
mod dividing;
mod follow;
mod gate;
mod rising;
mod settings;
mod ticket;
mod topic;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rdkafka::producer::DeliveryFuture;
use tieline_bus::System;
use tieline_delivery::limits::{Record, system_of};
use tokio::sync::{Notify, mpsc, oneshot};

use clock::Clock;
use dividing::Dividing;
use follow::Follower;
use writer::Writer;

use crate::kafka::{ConnectError, Connection, EventProducer, ReadError, TopicReader, judge_publish};
use crate::telemetry::LimitMetrics;

pub use gate::{Gate, LimitWait};
pub use ticket::Ticket;
pub(crate) use topic::LIMITS_SETTINGS;
pub use topic::{LIMITS_PARTITIONS, limits_topic, partition_of};

/// Records on their way from the clients' threads to the machines. A thread waits for room; a start of a large bus has
/// some thousands of records.
const EVENTS_MAX: usize = 1_024;

/// How often what is granted and what waits is shown.
const OBSERVE_EVERY: Duration = Duration::from_secs(1);

/// Why limits cannot be shared.
#[derive(Debug, thiserror::Error)]
pub enum LimitsError {
    /// A client cannot be made.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The topic cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Its number of partitions is not what it has to be.
    #[error(
        "topic `{topic}` has {is} partitions and has to have {LIMITS_PARTITIONS}: delete it while nothing runs, and run `tieline apply`"
    )]
    Partitions {
        /// The topic.
        topic: String,
        /// How many it has.
        is: usize,
    },
    /// A thread cannot be started, or the process is ending.
    #[error("no thread can follow the limits")]
    NoThread,
}

/// What the clients' threads bring.
#[derive(Debug)]
enum Event {
    /// A record that lay in a partition when we began, for those who divide: the gates have it already.
    Old { offset: i64, record: Record },
    /// All of these of a partition have come.
    CaughtUp { partition: i32 },
    /// A record that was written since.
    Read { offset: i64, record: Record },
    /// The process ends: others are to divide. Told when what is written for that is under way.
    Stop { told: oneshot::Sender<()> },
}

/// The limits of a bus's systems, shared by all consumers of this process. Clones are the same.
#[derive(Debug, Clone)]
pub struct Limits {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    connection: Connection,
    topic: String,
    systems: BTreeMap<String, Arc<System>>,
    gates: BTreeMap<String, Arc<Gate>>,
    clock: Clock,
    writer: Writer,
    wake: Arc<Notify>,
    metrics: LimitMetrics,
    opened: tokio::sync::Mutex<Opened>,
}

/// What runs so far.
#[derive(Debug, Default)]
struct Opened {
    /// Until the task is started: the ends of what was written.
    ends: Option<mpsc::UnboundedReceiver<DeliveryFuture>>,
    events: Option<mpsc::Sender<Event>>,
    follower: Option<Follower>,
    followed: BTreeSet<i32>,
}

impl Limits {
    /// Makes the gates of all systems. Nothing is read or written yet, and no limited system lets a call through.
    #[must_use]
    pub fn new(
        connection: &Connection,
        bus: &str,
        systems: &BTreeMap<String, Arc<System>>,
        producer: &EventProducer,
        metrics: LimitMetrics,
    ) -> Self {
        let (topic, clock, wake) = (limits_topic(bus), Clock::start(), Arc::new(Notify::new()));
        let (writer, ends) = Writer::new(producer.clone(), &topic, metrics.clone());
        let gate = |system: &Arc<System>| {
            let gate = Gate::new(system, clock, writer.clone(), Arc::clone(&wake), metrics.system(&system.name));
            (system.name.clone(), Arc::new(gate))
        };
        let gates = systems.values().map(gate).collect();
        let shared = Shared {
            connection: connection.clone(),
            topic,
            systems: systems.clone(),
            gates,
            clock,
            writer,
            wake,
            metrics,
            opened: tokio::sync::Mutex::new(Opened { ends: Some(ends), ..Opened::default() }),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The gate of a system.
    #[must_use]
    pub fn gate(&self, system: &str) -> Option<&Arc<Gate>> {
        self.shared.gates.get(system)
    }

    /// Takes part in the limits of these systems: reads what lies in the topic of them, and follows it from there.
    ///
    /// # Errors
    /// When the topic cannot be read.
    pub async fn open(&self, systems: &[&str]) -> Result<(), LimitsError> {
        let shared = &self.shared;
        let mut opened = shared.opened.lock().await;
        let events = opened.drive(shared);
        let wanted: BTreeSet<i32> = systems.iter().map(|system| partition_of(system)).collect();
        let new: Vec<i32> = wanted.difference(&opened.followed).copied().collect();
        if opened.follower.is_none() {
            let follower = Follower::start(&shared.connection, &shared.topic, &shared.topic, events.clone())?;
            opened.follower = Some(follower);
        }
        if !new.is_empty() {
            let (reading, partitions) = (Arc::clone(shared), new.clone());
            let read = tokio::task::spawn_blocking(move || reading.read(&partitions, &events)).await;
            let ends = read.map_err(|_| LimitsError::NoThread)??;
            for (partition, end) in ends {
                if let Some(follower) = &opened.follower {
                    follower.add(partition, end)?;
                }
                opened.followed.insert(partition);
            }
        }
        Ok(())
    }

    /// Gives back what is held, and leaves it to others to divide. What is written for that is under way when this returns.
    pub async fn stop(&self) {
        self.shared.gates.values().for_each(|gate| gate.stop());
        let events = self.shared.opened.lock().await.events.clone();
        if let Some(events) = events {
            let (told, is_told) = oneshot::channel();
            // Where the task is gone, nothing is divided.
            if events.send(Event::Stop { told }).await.is_ok() {
                let _ = is_told.await;
            }
        }
    }
}

impl Opened {
    /// Starts the task that drives the machines, unless it runs.
    fn drive(&mut self, shared: &Arc<Shared>) -> mpsc::Sender<Event> {
        if let (Some(events), None) = (&self.events, &self.ends) {
            return events.clone();
        }
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        if let Some(ends) = self.ends.take() {
            tokio::spawn(drive(Arc::clone(shared), events, ends));
        }
        self.events = Some(sender.clone());
        sender
    }
}

impl Shared {
    /// Reads these partitions to their ends, for the gates of the systems in them and for those who divide: where each ended.
    fn read(&self, partitions: &[i32], events: &mpsc::Sender<Event>) -> Result<Vec<(i32, i64)>, LimitsError> {
        let mut reader = TopicReader::new(&self.connection, &self.topic)?;
        let is = reader.partitions(&self.topic)?.len();
        if is != LIMITS_PARTITIONS as usize {
            return Err(LimitsError::Partitions { topic: self.topic.clone(), is });
        }
        let mut ends = Vec::new();
        for &partition in partitions {
            let span = reader.span(&self.topic, partition)?;
            reader.read(&self.topic, &[span], |record| {
                let key = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
                if let Some(key) = key {
                    let (offset, record) = (record.offset, Record { key: key.to_owned(), value: record.value });
                    self.hand_out(offset, record.clone());
                    // Who takes no more is ending, and divides nothing.
                    let _ = events.blocking_send(Event::Old { offset, record });
                }
                ControlFlow::Continue(())
            })?;
            let _ = events.blocking_send(Event::CaughtUp { partition });
            for gate in self.gates.values().filter(|gate| partition_of(gate.system()) == partition) {
                gate.caught_up();
            }
            ends.push((partition, span.to));
        }
        Ok(ends)
    }

    /// Gives a record to the gate of the system that it is about.
    fn hand_out(&self, offset: i64, record: Record) {
        if let Some(gate) = system_of(&record.key).and_then(|system| self.gates.get(system)) {
            gate.read(offset, record);
        }
    }
}

/// Drives all machines of the process, until it ends.
async fn drive(
    shared: Arc<Shared>,
    mut events: mpsc::Receiver<Event>,
    mut ends: mpsc::UnboundedReceiver<DeliveryFuture>,
) {
    let limited = shared.systems.values().filter_map(|system| {
        let gate = shared.gates.get(&system.name).filter(|gate| gate.is_limited())?;
        Some((Arc::clone(system), gate.id().clone()))
    });
    let mut dividing = Dividing::new(limited.collect(), shared.writer.clone(), shared.metrics.clone());
    let mut under_way = FuturesUnordered::new();
    let mut observe = tokio::time::interval(OBSERVE_EVERY);
    loop {
        let wakes_at = shared.gates.values().filter_map(|gate| gate.wakes_at()).chain(dividing.wakes_at()).min();
        let asleep = async {
            match wakes_at {
                Some(at) => tokio::time::sleep_until(shared.clock.instant(at)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(event) = events.recv() => match event {
                Event::Old { offset, record } => dividing.read(shared.clock.now(), offset, record),
                Event::CaughtUp { partition } => dividing.caught_up(shared.clock.now(), partition),
                Event::Read { offset, record } => {
                    dividing.read(shared.clock.now(), offset, record.clone());
                    shared.hand_out(offset, record);
                }
                Event::Stop { told } => {
                    dividing.stop(shared.clock.now());
                    let _ = told.send(());
                }
            },
            Some(delivery) = ends.recv() => under_way.push(delivery),
            Some(ended) = under_way.next() => told(&shared, ended),
            () = shared.wake.notified() => {}
            () = asleep => {}
            _ = observe.tick() => shared.gates.values().for_each(|gate| gate.observe()),
        }
        let now = shared.clock.now();
        shared.gates.values().filter(|gate| gate.wakes_at().is_some_and(|at| at <= now)).for_each(|gate| gate.tick());
        dividing.drive(now);
    }
}

/// Tells a record that was not acknowledged; one of a client that was replaced meanwhile says nothing.
fn told(shared: &Shared, ended: <DeliveryFuture as Future>::Output) {
    if let Ok(Err((error, _))) = ended {
        shared.writer.failed(&judge_publish(&shared.topic, error));
    }
}
