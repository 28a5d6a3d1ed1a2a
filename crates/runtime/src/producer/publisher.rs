//! Publishes what one producer makes of what it receives, and keeps what it cannot make anything of.

use std::collections::BTreeMap;
use std::sync::Arc;

use rdkafka::producer::FutureRecord;
use tieline_bus::{Bus, Producer};
use tieline_schema::cloudevents::Attributes;

use super::made::Made;
use super::repeats::{Repeats, Seen};
use super::{Accepted, Delivery, NotAccepted};
use crate::happening::{Happening, Happenings, What};
use crate::kafka::{ConnectError, EventProducer, PublishError, state_topic};
use crate::registry::{RegistryClient, RegistryError};
use crate::state::UnmappedBody;
use crate::telemetry::Metrics;

/// How long a start waits before it asks a registry again that could not be asked.
const ASK_AGAIN: std::time::Duration = std::time::Duration::from_secs(1);

/// Maps what one producer receives, and publishes it.
#[derive(Debug)]
pub struct Publisher {
    producer: Arc<Producer>,
    events: EventProducer,
    /// The registry's ids of the schemas that it writes, by event.
    schemas: BTreeMap<String, u32>,
    dead_letters: String,
    repeats: Repeats,
    metrics: Metrics,
    happenings: Happenings,
}

/// Why a publisher cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Services register nothing on their own.
    #[error("the registry does not have schemas/{event}.avsc under subject `{subject}`: run `tieline apply`")]
    NotRegistered {
        /// The event.
        event: String,
        /// Where it was looked for.
        subject: String,
    },
    /// The registry cannot be asked.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The client that publishes cannot be made.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

/// The registry's id of an event's schema. While the registry cannot be asked, it waits: a cold start during an outage
/// begins when that is over.
///
/// # Errors
/// When it is not registered, or the registry refuses to answer.
pub async fn schema_id(registry: &RegistryClient, event: &tieline_bus::Event) -> Result<u32, StartError> {
    loop {
        match registry.lookup(&event.subject, &event.schema.text).await {
            Ok(Some(id)) => return Ok(id),
            Ok(None) => {
                return Err(StartError::NotRegistered { event: event.name.clone(), subject: event.subject.clone() });
            }
            Err(unavailable @ RegistryError::Unavailable { .. }) => {
                tracing::warn!(event = event.name, error = %unavailable, "the start waits for the registry");
                tokio::time::sleep(ASK_AGAIN).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

impl Publisher {
    /// Looks up the schemas that the producer writes, and has Kafka's client connect, so that the first sender need not wait
    /// for that.
    ///
    /// # Errors
    /// When a schema is not registered, the registry cannot be asked, or no client can be made.
    pub async fn start(
        bus: &Bus,
        producer: Arc<Producer>,
        registry: &RegistryClient,
        events: EventProducer,
        metrics: Metrics,
        happenings: Happenings,
    ) -> Result<Self, StartError> {
        let mut schemas = BTreeMap::new();
        for rule in &producer.publish {
            schemas.insert(rule.event.name.clone(), schema_id(registry, &rule.event).await?);
        }
        events.start()?;
        let dead_letters = state_topic(&bus.name, &producer.name, "dead-letters");
        Ok(Self { producer, events, schemas, dead_letters, repeats: Repeats::default(), metrics, happenings })
    }

    /// Maps, validates and publishes a body. Returns after the broker's acknowledgement.
    ///
    /// # Errors
    /// When the broker does not acknowledge in time.
    pub async fn accept(&self, delivery: Delivery) -> Result<Accepted, NotAccepted> {
        let accepted = self.take(&delivery).await?;
        // Only now: what was not accepted comes again, and is not a repeated delivery then.
        self.note_repeat(&delivery);
        Ok(accepted)
    }

    async fn take(&self, delivery: &Delivery) -> Result<Accepted, NotAccepted> {
        let made = match Made::of(&self.producer, &self.schemas, delivery) {
            Ok(Some(made)) => made,
            Ok(None) => {
                self.metrics.count_published(&self.producer.name, "ignored");
                return Ok(Accepted::Ignored);
            }
            Err(reason) => return self.bury(delivery, reason).await,
        };
        let event = &made.rule.event;
        match self.events.publish(&event.topic, made.key.as_bytes(), &made.attributes, &made.value).await {
            Ok((partition, offset)) => {
                self.metrics.count_published(&self.producer.name, "published");
                self.tell(&made.attributes, || What::Published { topic: event.topic.clone(), partition, offset });
                Ok(Accepted::Published { event_id: made.attributes.id, event: event.name.clone() })
            }
            Err(refused @ PublishError::Refused { .. }) => self.bury(delivery, refused.to_string()).await,
            Err(error @ PublishError::NotAcknowledged { .. }) => Err(self.not_accepted(&error)),
        }
    }

    /// Keeps a body that cannot become an event.
    async fn bury(&self, delivery: &Delivery, reason: String) -> Result<Accepted, NotAccepted> {
        let unmapped = UnmappedBody {
            producer: self.producer.name.as_str().into(),
            delivery_id: delivery.id.as_str().into(),
            received_ms: delivery.received_ms,
            headers: delivery.headers.as_slice().into(),
            body: Some(delivery.body.as_slice().into()),
            reason: reason.as_str().into(),
        };
        let letter = unmapped.encode().map_err(|e| NotAccepted { reason: e.to_string() })?;
        let record = FutureRecord::to(&self.dead_letters).key(delivery.id.as_bytes()).payload(letter.as_slice());
        self.events.put(record).await.map_err(|e| self.not_accepted(&e))?;
        self.metrics.count_published(&self.producer.name, "dead");
        tracing::warn!(
            producer = self.producer.name,
            delivery_id = delivery.id,
            reason,
            "a body cannot be mapped and is a dead letter"
        );
        self.happenings.tell(|| Happening {
            at_ms: crate::now_ms(),
            service: self.producer.name.clone(),
            event_id: delivery.id.clone(),
            event: String::new(),
            key: String::new(),
            what: What::NotMapped { reason: reason.clone() },
        });
        Ok(Accepted::DeadLettered { reason })
    }

    fn not_accepted(&self, error: &PublishError) -> NotAccepted {
        self.metrics.count_published(&self.producer.name, "failed");
        NotAccepted { reason: error.to_string() }
    }

    fn note_repeat(&self, delivery: &Delivery) {
        let outcome = match self.repeats.look(&delivery.id, &delivery.body) {
            Seen::New => return,
            Seen::Repeated => "repeated",
            Seen::RepeatedOtherwise => {
                tracing::warn!(
                    producer = self.producer.name,
                    delivery_id = delivery.id,
                    "a delivery came again with another body; it is published under the same id"
                );
                "repeated-otherwise"
            }
        };
        self.metrics.count_published(&self.producer.name, outcome);
    }

    fn tell(&self, attributes: &Attributes, what: impl FnOnce() -> What) {
        self.happenings.tell(|| Happening {
            at_ms: crate::now_ms(),
            service: self.producer.name.clone(),
            event_id: attributes.id.clone(),
            event: attributes.ty.clone(),
            key: attributes.subject.clone().unwrap_or_default(),
            what: what(),
        });
    }
}
