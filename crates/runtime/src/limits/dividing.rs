//! What this process divides, or would: an allocator for each limited system of the partitions that it reads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tieline_bus::System;
use tieline_delivery::Time;
use tieline_delivery::limits::{Allocator, AllocatorInput, AllocatorOutput, CallerId, Record, system_of};

use super::gate::WAKE_GAP_MIN;
use super::rising::Rising;
use super::settings;
use super::topic::partition_of;
use super::writer::Writer;
use crate::telemetry::LimitMetrics;

/// How often the allocators are told what the wall clock shows; at least twice a minute.
const WALL_EVERY: Duration = Duration::from_secs(10);

/// The allocators of this process.
#[derive(Debug)]
pub(super) struct Dividing {
    allocators: BTreeMap<String, Divided>,
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
    /// Of these limited systems, each with what its caller in this process is called. Nothing is read yet.
    pub fn new(systems: Vec<(Arc<System>, CallerId)>, writer: Writer, metrics: LimitMetrics) -> Self {
        let divided = |(system, caller): (Arc<System>, CallerId)| {
            let allocator = Allocator::new(settings::allocator(&system, &caller));
            (system.name.clone(), Divided { allocator, wakes_at: None, was_granting: false })
        };
        let allocators = systems.into_iter().map(divided).collect();
        Self { allocators, rising: Rising::default(), writer, metrics, wall_at: Time::default() }
    }

    /// A record came: of what lay in the topic, and of what is written since.
    pub fn read(&mut self, now: Time, offset: i64, record: Record) {
        let Some(system) = system_of(&record.key) else { return };
        if !self.rising.passes(partition_of(system), offset) {
            return;
        }
        if let Some(divided) = self.allocators.get_mut(system) {
            divided.allocator.handle(now, AllocatorInput::Read { offset, record });
            divided.wakes_at = Some(now);
        }
    }

    /// A partition is read to where it ended.
    pub fn caught_up(&mut self, now: Time, partition: i32) {
        self.tell(now, |system| partition_of(system) == partition, || AllocatorInput::CaughtUp);
    }

    /// Others are to divide.
    pub fn stop(&mut self, now: Time) {
        self.tell(now, |_| true, || AllocatorInput::Stop);
        self.drive(now);
    }

    fn tell(&mut self, now: Time, whom: impl Fn(&str) -> bool, what: impl Fn() -> AllocatorInput) {
        for (_, divided) in self.allocators.iter_mut().filter(|(system, _)| whom(system)) {
            divided.allocator.handle(now, what());
            divided.wakes_at = Some(now);
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
    use tieline_delivery::limits::{Key, Message};
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
        (Dividing::new(vec![(Arc::new(limited()), caller())], writer, metrics), written)
    }

    fn caller() -> CallerId {
        CallerId::new("one")
    }

    fn at(seconds: u64) -> Time {
        Time(Duration::from_secs(seconds))
    }

    fn ask(seq: u64) -> Record {
        let wants = r#"[{"consumer":"a","weight":1,"rate_micros":1000000}]"#;
        let value =
            format!(r#"{{"v":1,"seq":{seq},"read_to":-1,"holds":true,"in_flight":0,"waiting":1,"wants":{wants}}}"#);
        Record { key: format!("{}/ask/{}", limited().name, caller()), value: Some(value.into_bytes()) }
    }

    #[tokio::test]
    async fn it_claims_when_somebody_asks_and_nobody_divides_once_it_has_read_to_the_end() {
        let (mut dividing, mut written) = dividing();
        dividing.read(at(1), 0, ask(1));
        dividing.drive(at(1));
        assert!(written.try_recv().is_err(), "that one may have been answered long ago");
        dividing.caught_up(at(1), partition_of(&limited().name));
        dividing.drive(at(1));
        assert!(written.try_recv().is_err(), "nobody asks");
        dividing.read(at(2), 1, ask(2));
        dividing.drive(at(2));
        assert!(written.try_recv().is_ok(), "it claims");
    }

    #[tokio::test]
    async fn a_record_that_comes_twice_is_read_once() {
        let (mut dividing, mut written) = dividing();
        dividing.caught_up(at(1), partition_of(&limited().name));
        let gone = Message::Gone(Key::Claim).encode(&limited().name);
        dividing.read(at(1), 5, gone);
        dividing.read(at(1), 4, ask(1));
        dividing.drive(at(1));
        assert!(written.try_recv().is_err());
    }

    #[tokio::test]
    async fn it_says_so_when_it_divides_no_more() {
        let (mut dividing, mut written) = dividing();
        dividing.caught_up(at(1), partition_of(&limited().name));
        dividing.read(at(2), 1, ask(1));
        dividing.drive(at(2));
        assert!(written.try_recv().is_ok(), "it claims");
        dividing.stop(at(3));
        assert!(written.try_recv().is_ok(), "it gives that up");
    }
}
