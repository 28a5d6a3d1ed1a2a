//! Publishing: an event is published when all in-sync replicas have it, and not before.

use std::sync::{Arc, PoisonError, RwLock};

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer};
use rdkafka::util::Timeout;
use tieline_schema::cloudevents::Attributes;

use super::faults::Faults;
use super::settings::{ConnectError, Connection, producer_settings};

/// An idempotent producer with `acks=all`. Clones share its client, which is made for the first record: most consumers
/// publish nothing, and a client has four threads, of which one takes a hundredth of a core with nothing to do.
///
/// An idempotent client that has lost track of its sequence is broken for good, and refuses whatever it is given: it is
/// replaced. What it had under way then was not acknowledged, and whoever published that is told so.
#[derive(Clone)]
pub struct EventProducer {
    config: ClientConfig,
    client: Arc<RwLock<Option<FutureProducer<Faults>>>>,
}

/// Why a record was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The broker did not take it in time, or cannot be reached. It may come again.
    #[error("{topic} did not acknowledge the record: {error}")]
    NotAcknowledged {
        /// The topic.
        topic: String,
        /// What the client said.
        error: KafkaError,
    },
    /// The record itself is refused (too large, a timestamp too far ahead): it will be refused again.
    #[error("{topic} refuses the record: {error}")]
    Refused {
        /// The topic.
        topic: String,
        /// What the broker said.
        error: KafkaError,
    },
}

impl std::fmt::Debug for EventProducer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EventProducer")
    }
}

impl EventProducer {
    /// Checks the settings. Nothing is connected yet.
    ///
    /// # Errors
    /// When the settings are refused.
    pub fn new(connection: &Connection) -> Result<Self, ConnectError> {
        let config = producer_settings(connection)?;
        config.create_native_config()?;
        Ok(Self { config, client: Arc::default() })
    }

    /// Makes the client, for whoever is about to publish. It connects by itself, later.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn start(&self) -> Result<(), ConnectError> {
        self.usable().map(drop).map_err(ConnectError::from)
    }

    /// Publishes an event and waits for the acknowledgement: its partition and offset.
    ///
    /// # Errors
    /// When it is not acknowledged.
    pub async fn publish(
        &self,
        topic: &str,
        key: &[u8],
        attributes: &Attributes,
        value: &[u8],
    ) -> Result<(i32, i64), PublishError> {
        let headers = attributes.to_headers().into_iter().fold(OwnedHeaders::new(), |headers, (name, value)| {
            headers.insert(Header { key: name, value: Some(value.as_bytes()) })
        });
        self.put(FutureRecord::to(topic).key(key).payload(value).headers(headers)).await
    }

    /// Writes any record and waits for the acknowledgement: its partition and offset.
    ///
    /// # Errors
    /// When it is not acknowledged.
    pub async fn put(&self, record: FutureRecord<'_, [u8], [u8]>) -> Result<(i32, i64), PublishError> {
        let topic = record.topic;
        let client = self.usable().map_err(|error| judge(topic, error))?;
        match client.send(record, Timeout::After(std::time::Duration::from_secs(5))).await {
            Ok(delivery) => Ok((delivery.partition, delivery.offset)),
            Err((error, _)) => Err(judge(topic, error)),
        }
    }

    /// Hands a record over without waiting for it. Records of one partition are written in this order.
    ///
    /// # Errors
    /// When it cannot be taken, since too much is under way.
    pub(crate) fn hand_over(&self, record: FutureRecord<'_, str, [u8]>) -> Result<DeliveryFuture, PublishError> {
        let topic = record.topic;
        let client = self.usable().map_err(|error| judge(topic, error))?;
        client.send_result(record).map_err(|(error, _)| judge(topic, error))
    }

    /// Waits for what is under way, at most this long.
    pub fn flush(&self, at_most: std::time::Duration) {
        let client = self.client.read().unwrap_or_else(PoisonError::into_inner).clone();
        // What is left then is not acknowledged, and whoever waits for it is told so.
        let _ = client.map(|client| client.flush(Timeout::After(at_most)));
    }

    /// The client; a new one where there is none yet, or in the place of one that is broken for good.
    fn usable(&self) -> Result<FutureProducer<Faults>, KafkaError> {
        if let Some(client) = usable(&self.client.read().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(client);
        }
        let mut current = self.client.write().unwrap_or_else(PoisonError::into_inner);
        // Of all who found none, the first makes it.
        if let Some(client) = usable(&current) {
            return Ok(client);
        }
        let new = self.config.create_with_context::<_, FutureProducer<Faults>>(Faults::default())?;
        if let Some((_, reason)) = current.as_ref().and_then(|broken| broken.client().fatal_error()) {
            tracing::error!(reason, "Kafka's client was broken for good, and is replaced");
        }
        Ok(current.insert(new).clone())
    }
}

fn usable(client: &Option<FutureProducer<Faults>>) -> Option<FutureProducer<Faults>> {
    client.as_ref().filter(|client| client.client().fatal_error().is_none()).cloned()
}

pub(crate) fn judge(topic: &str, error: KafkaError) -> PublishError {
    let topic = topic.to_owned();
    match error.rdkafka_error_code() {
        Some(
            RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::InvalidMessage
            | RDKafkaErrorCode::InvalidTimestamp
            | RDKafkaErrorCode::InvalidRecord,
        ) => PublishError::Refused { topic, error },
        _ => PublishError::NotAcknowledged { topic, error },
    }
}
