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

/// An idempotent producer with `acks=all`. Clones share its client.
///
/// An idempotent client that has lost track of its sequence is broken for good, and refuses whatever it is given: it is
/// replaced. What it had under way then was not acknowledged, and whoever published that is told so.
#[derive(Clone)]
pub struct EventProducer {
    config: ClientConfig,
    client: Arc<RwLock<FutureProducer<Faults>>>,
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
    /// Makes the client. It connects by itself, later.
    ///
    /// # Errors
    /// When the settings are refused.
    pub fn new(connection: &Connection) -> Result<Self, ConnectError> {
        let config = producer_settings(connection)?;
        let client = config.create_with_context(Faults::default())?;
        Ok(Self { config, client: Arc::new(RwLock::new(client)) })
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
        match self.usable().send(record, Timeout::After(std::time::Duration::from_secs(5))).await {
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
        self.usable().send_result(record).map_err(|(error, _)| judge(topic, error))
    }

    /// Waits for what is under way, at most this long.
    pub fn flush(&self, at_most: std::time::Duration) {
        // What is left then is not acknowledged, and whoever waits for it is told so.
        let _ = self.usable().flush(Timeout::After(at_most));
    }

    /// The client, or a new one in the place of one that is broken for good.
    fn usable(&self) -> FutureProducer<Faults> {
        let client = self.client.read().unwrap_or_else(PoisonError::into_inner).clone();
        if client.client().fatal_error().is_none() {
            return client;
        }
        let mut current = self.client.write().unwrap_or_else(PoisonError::into_inner);
        // Of all who found it broken, the first replaces it.
        let Some((_, reason)) = current.client().fatal_error() else { return current.clone() };
        match self.config.create_with_context(Faults::default()) {
            Ok(client) => {
                tracing::error!(reason, "Kafka's client was broken for good, and is replaced");
                *current = client;
            }
            Err(error) => {
                tracing::error!(reason, %error, "Kafka's client is broken for good, and no new one can be made")
            }
        }
        current.clone()
    }
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
