//! Publishing: an event is published when all in-sync replicas have it, and not before.

use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::util::Timeout;
use tieline_schema::cloudevents::Attributes;

use super::settings::{ConnectError, Connection, producer_settings};

/// An idempotent producer with `acks=all`.
#[derive(Clone)]
pub struct EventProducer {
    client: FutureProducer<Faults>,
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

/// Logs what the client says of itself, since a wrong password shows nowhere else.
pub(super) struct Faults;

impl ClientContext for Faults {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(error = %error, reason, "Kafka's client reports a fault");
    }
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
        Ok(Self { client: producer_settings(connection)?.create_with_context(Faults)? })
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
        match self.client.send(record, Timeout::After(std::time::Duration::from_secs(5))).await {
            Ok(delivery) => Ok((delivery.partition, delivery.offset)),
            Err((error, _)) => Err(judge(topic, error)),
        }
    }

    /// Waits for what is under way, at most this long.
    pub fn flush(&self, at_most: std::time::Duration) {
        // What is left then is not acknowledged, and whoever waits for it is told so.
        let _ = self.client.flush(Timeout::After(at_most));
    }
}

fn judge(topic: &str, error: KafkaError) -> PublishError {
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
