//! What this process divides: an allocator for each limited system in the partitions that the group gave it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tieline_bus::System;
use tieline_delivery::Time;
use tieline_delivery::limits::{Allocator, AllocatorInput, AllocatorOutput, Record, system_of};

use super::gate::WAKE_GAP_MIN;
use super::rising::Rising;
use super::topic::partition_of;
use super::writer::Writer;
use super::{Event, settings};
use crate::telemetry::LimitMetrics;

/// How often the allocators are told what the wall clock shows; at least twice a minute.
const WALL_EVERY: Duration = Duration::from_secs(10);

/// The allocators of this process.
#[derive(Debug)]
pub(super) struct Dividing {
    /// All limited systems of the bus.
    systems: Vec<Arc<System>>,
    allocators: BTreeMap<String, Divided>,
    /// Where partitions ended when they came, as long as they are not read to there.
    ends: BTreeMap<i32, i64>,
    rising: Rising,
    writer: Writer,
    metrics: LimitMetrics,
    wall_at: Time,
}

#[derive(Debug)]
struct Divided {
    allocator: Allocator,
    wakes_at: Option<Time>,
    was_granting: bool,
}

impl Dividing {
    /// Nothing is this process's yet.
    pub fn new(systems: Vec<Arc<System>>, writer: Writer, metrics: LimitMetrics) -> Self {
        let (allocators, ends, rising) = (BTreeMap::new(), BTreeMap::new(), Rising::default());
        Self { systems, allocators, ends, rising, writer, metrics, wall_at: Time::default() }
    }

    /// Takes in what the group's client brought; what is for callers is not for us.
    pub fn take(&mut self, now: Time, event: Event) {
        match event {
            Event::Owned { partitions } => {
                partitions.into_iter().for_each(|(partition, end)| self.begin(now, partition, end));
            }
            Event::Disowned { partitions } => self.end(&partitions),
            Event::ReadOwned { partition, offset, record } => self.read(now, partition, offset, record),
            Event::CaughtUp { partition } => self.caught_up(now, partition),
            Event::Read { .. } => {}
        }
        self.drive(now);
    }

    fn begin(&mut self, now: Time, partition: i32, end: Option<i64>) {
        self.rising.forget(partition);
        for system in self.systems.iter().filter(|system| partition_of(&system.name) == partition) {
            let mut allocator = Allocator::new(settings::allocator(system));
            allocator.handle(Time::default(), AllocatorInput::Wall { unix_ms: crate::now_ms() });
            let divided = Divided { allocator, wakes_at: None, was_granting: false };
            self.allocators.insert(system.name.clone(), divided);
        }
        // The time that was given above is not that of the clock: it is said again before anything is granted.
        self.wall_at = Time::default();
        match end {
            Some(end) => drop(self.ends.insert(partition, end)),
            None => self.caught_up(now, partition),
        }
    }

    fn caught_up(&mut self, now: Time, partition: i32) {
        self.ends.remove(&partition);
        for (_, divided) in self.allocators.iter_mut().filter(|(system, _)| partition_of(system) == partition) {
            divided.allocator.handle(now, AllocatorInput::CaughtUp);
            divided.wakes_at = Some(now);
        }
    }

    fn end(&mut self, partitions: &[i32]) {
        self.allocators.retain(|system, _| {
            let stays = !partitions.contains(&partition_of(system));
            if !stays {
                self.metrics.system(system).divides.set(0);
                tracing::info!(system, "another process divides its limits");
            }
            stays
        });
    }

    fn read(&mut self, now: Time, partition: i32, offset: i64, record: Record) {
        if !self.rising.passes(partition, offset) {
            return;
        }
        let divided = system_of(&record.key).and_then(|system| self.allocators.get_mut(system));
        if let Some(divided) = divided {
            divided.allocator.handle(now, AllocatorInput::Read { offset, record });
            divided.wakes_at = Some(now);
        }
        if self.ends.get(&partition).is_some_and(|end| offset + 1 >= *end) {
            self.caught_up(now, partition);
        }
    }

    /// Does what the allocators ask for that is due.
    pub fn drive(&mut self, now: Time) {
        if self.wall_at <= now && !self.allocators.is_empty() {
            self.wall_at = now.after(WALL_EVERY);
            let unix_ms = crate::now_ms();
            for divided in self.allocators.values_mut() {
                divided.allocator.handle(now, AllocatorInput::Wall { unix_ms });
            }
        }
        for (system, divided) in self.allocators.iter_mut().filter(|(_, d)| d.wakes_at.is_some_and(|at| at <= now)) {
            divided.wakes_at = loop {
                match divided.allocator.poll(now) {
                    AllocatorOutput::Write(record) => self.writer.write(system, &record),
                    AllocatorOutput::Wait { until } => break until.map(|until| until.max(now.after(WAKE_GAP_MIN))),
                }
            };
            let is_granting = divided.allocator.is_granting(now);
            if std::mem::replace(&mut divided.was_granting, is_granting) != is_granting {
                self.metrics.system(system).divides.set(i64::from(is_granting));
                tracing::info!(system, is_granting, "divides its limits among all that call it");
            }
        }
    }

    /// When there is something to do without an event.
    pub fn wakes_at(&self) -> Option<Time> {
        let wall = (!self.allocators.is_empty()).then_some(self.wall_at);
        self.allocators.values().filter_map(|divided| divided.wakes_at).chain(wall).min()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::time::Duration;

    use tieline_bus::{Kafka, Limits};
    use tokio::sync::mpsc;

    use super::*;
    use crate::kafka::{Connection, EventProducer};
    use crate::limits::limits_topic;
    use crate::telemetry::Metrics;

    fn limited() -> System {
        let limits = Limits { per_second: Some(10.0), ..Limits::default() };
        System { limits, ..crate::system::tests::system("http://127.0.0.1:1".to_owned()) }
    }

    /// One that has a limited system, and what counts the records that it hands over: no broker takes them.
    fn dividing() -> (Dividing, mpsc::UnboundedReceiver<rdkafka::producer::DeliveryFuture>) {
        let kafka =
            Kafka { brokers: "127.0.0.1:1".to_owned(), settings: BTreeMap::new(), partitions: 1, replication: 1 };
        let producer = EventProducer::new(&Connection { kafka, embedded: false }).unwrap();
        let metrics = Metrics::new(prometheus::Registry::new()).unwrap().limits();
        let (writer, written) = Writer::new(producer, &limits_topic("test"), metrics.clone());
        (Dividing::new(vec![Arc::new(limited())], writer, metrics), written)
    }

    fn record(offset: i64) -> Event {
        let key = format!("{}/nothing", limited().name);
        let partition = partition_of(&limited().name);
        Event::ReadOwned { partition, offset, record: Record { key, value: None } }
    }

    #[tokio::test]
    async fn it_claims_when_it_has_read_to_where_the_partition_ended_though_more_comes_all_the_time() {
        let (mut dividing, mut written) = dividing();
        let partition = partition_of(&limited().name);
        let now = Time(Duration::from_secs(1));
        dividing.take(now, Event::Owned { partitions: vec![(partition, Some(3))] });
        for offset in [0, 1] {
            dividing.take(now, record(offset));
        }
        assert!(written.try_recv().is_err(), "two of three are read");
        dividing.take(now, record(2));
        assert!(written.try_recv().is_ok(), "it claims");
    }

    #[tokio::test]
    async fn it_claims_an_empty_partition_at_once() {
        let (mut dividing, mut written) = dividing();
        let partition = partition_of(&limited().name);
        dividing.take(Time::default(), Event::Owned { partitions: vec![(partition, None)] });
        assert!(written.try_recv().is_ok());
    }
}
