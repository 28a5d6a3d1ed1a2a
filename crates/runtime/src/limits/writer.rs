//! Writes to the topic: in the order of who writes, and without waiting for it. That a record did not come about is seen
//! by nobody reading it, and the machines write again; here it is counted and told.

use std::sync::Arc;

use rdkafka::producer::{DeliveryFuture, FutureRecord};
use tieline_delivery::limits::Record;
use tokio::sync::mpsc;

use super::topic::partition_of;
use crate::kafka::{EventProducer, PublishError};
use crate::telemetry::LimitMetrics;

/// Writes records about systems into the partitions where these lie.
#[derive(Clone)]
pub(super) struct Writer {
    producer: EventProducer,
    topic: Arc<str>,
    under_way: mpsc::UnboundedSender<DeliveryFuture>,
    metrics: LimitMetrics,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Writer")
    }
}

impl Writer {
    /// What is under way comes out of the channel, for whoever counts what failed. It is bounded by what is written within
    /// the producer's time: each caller and each allocator writes some times a second.
    pub fn new(
        producer: EventProducer,
        topic: &str,
        metrics: LimitMetrics,
    ) -> (Self, mpsc::UnboundedReceiver<DeliveryFuture>) {
        let (under_way, ends) = mpsc::unbounded_channel();
        (Self { producer, topic: Arc::from(topic), under_way, metrics }, ends)
    }

    /// Hands a record over.
    pub fn write(&self, system: &str, record: &Record) {
        let to = FutureRecord::<str, [u8]>::to(&self.topic).partition(partition_of(system)).key(&record.key);
        let to = match &record.value {
            Some(value) => to.payload(value),
            None => to,
        };
        match self.producer.hand_over(to) {
            // Nobody listens any more when the process ends.
            Ok(delivery) => drop(self.under_way.send(delivery)),
            Err(error) => self.failed(&error),
        }
    }

    /// Counts and tells a record that did not come about.
    pub fn failed(&self, error: &PublishError) {
        self.metrics.faults.inc();
        tracing::warn!(topic = %self.topic, %error, "a record of the limits was not written; it is written again");
    }
}
