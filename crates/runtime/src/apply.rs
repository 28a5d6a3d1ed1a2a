//! `tieline apply`: topics, schemas and first offsets are made so, and a second run changes nothing.
//!
//! Services create and register nothing on their own: what a cluster has is what somebody applied.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use tieline_bus::{Bus, Consumer, Start};

use crate::kafka::{
    ConnectError, Connection, STATE_RECORD_BYTES_MAX, admin_settings, consumer_settings, group_of, patiently,
    state_topic,
};
use crate::registry::{RegistryClient, RegistryError};
use crate::state::control_topic;

/// How long a broker may take for one request.
const BROKER_TIMEOUT: Duration = Duration::from_secs(30);

/// A topic that a bus needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its partitions.
    pub partitions: u32,
    /// Its settings, beyond the cluster's own.
    pub settings: Vec<(&'static str, &'static str)>,
}

/// What `apply` did, a line each; what was so already is not in it.
pub type Changes = Vec<String>;

/// Why something could not be made so.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A Kafka client cannot be made.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The brokers cannot be asked.
    #[error("Kafka at {brokers} cannot be asked for {what}: {error}")]
    Kafka {
        /// Its addresses.
        brokers: String,
        /// What was asked for.
        what: String,
        /// What it answered.
        error: Box<KafkaError>,
    },
    /// A topic is there with another number of partitions.
    #[error(
        "topic `{topic}` has {is} partitions and tieline.yaml says {want}: another number would move keys between partitions and break their order; write {is}, or use a new topic"
    )]
    Partitions {
        /// The topic.
        topic: String,
        /// As it is.
        is: usize,
        /// As it should be.
        want: u32,
    },
    /// The registry cannot be asked, or refuses.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The embedded broker has no time index.
    #[error("consumer `{0}` starts at a time, and the embedded broker cannot find an offset by time: use a real Kafka")]
    NoTimes(String),
}

/// The topics of a bus: one for each event type (or several on one), and those that keep state.
#[must_use]
pub fn topics(bus: &Bus) -> Vec<Topic> {
    let partitions = bus.kafka.partitions;
    let mut topics: Vec<Topic> = Vec::new();
    let mut add_of = |name: String, partitions, settings: Vec<(&'static str, &'static str)>| {
        if topics.iter().all(|t| t.name != name) {
            topics.push(Topic { name, partitions, settings });
        }
    };
    // What people ask for has an order, and so one partition.
    add_of(
        control_topic(&bus.name),
        1,
        vec![("cleanup.policy", "compact"), ("max.message.bytes", STATE_RECORD_BYTES_MAX)],
    );
    let mut add = |name: String, settings| add_of(name, partitions, settings);
    let large = ("max.message.bytes", STATE_RECORD_BYTES_MAX);
    for event in bus.events.values() {
        add(event.topic.clone(), Vec::new());
    }
    for owner in bus.consumers.keys().chain(bus.producers.keys()) {
        add(state_topic(&bus.name, owner, "dead-letters"), vec![("cleanup.policy", "compact"), large]);
    }
    for consumer in bus.consumers.keys() {
        add(state_topic(&bus.name, consumer, "ledger"), vec![("cleanup.policy", "delete"), large]);
        add(state_topic(&bus.name, consumer, "parked"), vec![("cleanup.policy", "compact"), large]);
    }
    topics
}

/// Makes a bus so. On the embedded broker the topics are made by whoever started it.
///
/// # Errors
/// At the first thing that cannot be made so; what was done stays, and another run goes on from there.
pub async fn apply(bus: &Bus, connection: &Connection, registry: &RegistryClient) -> Result<Changes, ApplyError> {
    let mut changes = Changes::new();
    if !connection.embedded {
        make_topics(bus, connection, &mut changes).await?;
    }
    register_schemas(bus, registry, &mut changes).await?;
    for consumer in bus.consumers.values() {
        let (connection, group) = (connection.clone(), group_of(&bus.name, &consumer.name));
        let consumer = std::sync::Arc::clone(consumer);
        let told = tokio::task::spawn_blocking(move || first_offsets(&connection, &group, &consumer)).await;
        // A task that was aborted has done nothing: the process is ending.
        changes.extend(told.unwrap_or_else(|_| Ok(None))?);
    }
    Ok(changes)
}

async fn make_topics(bus: &Bus, connection: &Connection, changes: &mut Changes) -> Result<(), ApplyError> {
    let failed = |what: &str, error| ApplyError::Kafka {
        brokers: connection.kafka.brokers.clone(),
        what: what.to_owned(),
        error: Box::new(error),
    };
    let admin: AdminClient<DefaultClientContext> = admin_settings(connection)?.create().map_err(ConnectError::from)?;
    let there = admin.inner().fetch_metadata(None, BROKER_TIMEOUT).map_err(|e| failed("its topics", e))?;
    let topics = topics(bus);
    let mut missing = Vec::new();
    for topic in &topics {
        match there.topics().iter().find(|t| t.name() == topic.name && t.error().is_none()) {
            Some(found) if found.partitions().len() == topic.partitions as usize => {}
            Some(found) => {
                return Err(ApplyError::Partitions {
                    topic: topic.name.clone(),
                    is: found.partitions().len(),
                    want: topic.partitions,
                });
            }
            None => missing.push(topic),
        }
    }
    let replicas = i32::from(bus.kafka.replication);
    let new: Vec<NewTopic<'_>> = missing.iter().map(|t| new_topic(t, replicas)).collect();
    if new.is_empty() {
        return Ok(());
    }
    let options = AdminOptions::new().operation_timeout(Some(BROKER_TIMEOUT));
    for made in admin.create_topics(&new, &options).await.map_err(|e| failed("new topics", e))? {
        match made {
            Ok(name) => changes.push(format!("topic {name} created")),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => return Err(failed(&format!("topic `{name}`"), KafkaError::AdminOp(code))),
        }
    }
    Ok(())
}

fn new_topic(topic: &Topic, replicas: i32) -> NewTopic<'_> {
    let partitions = i32::try_from(topic.partitions).unwrap_or(i32::MAX);
    let new = NewTopic::new(&topic.name, partitions, TopicReplication::Fixed(replicas));
    topic.settings.iter().fold(new, |new, (name, value)| new.set(name, value))
}

async fn register_schemas(bus: &Bus, registry: &RegistryClient, changes: &mut Changes) -> Result<(), ApplyError> {
    for event in bus.events.values() {
        if registry.lookup(&event.subject, &event.schema.text).await?.is_none() {
            let id = registry.register(&event.subject, &event.schema.text, &[]).await?;
            changes.push(format!("schema {} registered as {id} under {}", event.name, event.subject));
        }
    }
    Ok(())
}

/// Commits where a group starts, in partitions for which it has no offset yet.
fn first_offsets(connection: &Connection, group: &str, consumer: &Consumer) -> Result<Option<String>, ApplyError> {
    let topic = consumer.event.topic.as_str();
    let failed = |what: String| {
        let brokers = connection.kafka.brokers.clone();
        move |error| ApplyError::Kafka { brokers, what, error: Box::new(error) }
    };
    let client: BaseConsumer = consumer_settings(connection, group)?.create().map_err(ConnectError::from)?;
    let mut wanted = TopicPartitionList::new();
    for partition in partitions_of(&client, topic).map_err(failed(format!("the partitions of {topic}")))? {
        wanted.add_partition(topic, partition);
    }
    let committed = patiently(|| client.committed_offsets(wanted.clone(), BROKER_TIMEOUT))
        .map_err(failed(format!("the offsets of group {group}")))?;
    let mut first = TopicPartitionList::new();
    for element in committed.elements() {
        // An answer that failed must not pass for "no offset yet": a new first offset would skip records.
        element.error().map_err(failed(format!("the offset of group {group} in partition {}", element.partition())))?;
        if matches!(element.offset(), Offset::Offset(_)) {
            continue;
        }
        let offset = start_offset(&client, connection, consumer, element.partition())?;
        first
            .add_partition_offset(topic, element.partition(), offset)
            .map_err(failed(format!("a first offset of {topic}-{}", element.partition())))?;
    }
    if first.count() == 0 {
        return Ok(None);
    }
    patiently(|| client.commit(&first, CommitMode::Sync))
        .map_err(failed(format!("the first offsets of group {group}")))?;
    let start = match consumer.deliver.start {
        Start::Now => "now",
        Start::Earliest => "the earliest record",
        Start::At(_) => "its time",
    };
    Ok(Some(format!("consumer {} starts at {start} in {} partitions of {topic}", consumer.name, first.count())))
}

/// The partitions of a topic, each with a leader. A topic that was made a moment ago may be there without them.
fn partitions_of(client: &BaseConsumer, topic: &str) -> Result<Vec<i32>, KafkaError> {
    patiently(|| {
        let metadata = client.fetch_metadata(Some(topic), BROKER_TIMEOUT)?;
        let not_yet = KafkaError::MetadataFetch(RDKafkaErrorCode::LeaderNotAvailable);
        let found = metadata.topics().first().filter(|t| t.error().is_none() && !t.partitions().is_empty());
        let partitions = found.ok_or(not_yet.clone())?.partitions();
        if partitions.iter().any(|p| p.leader() < 0) {
            Err(not_yet)
        } else {
            Ok(partitions.iter().map(|p| p.id()).collect())
        }
    })
}

fn start_offset(
    client: &BaseConsumer,
    connection: &Connection,
    consumer: &Consumer,
    partition: i32,
) -> Result<Offset, ApplyError> {
    let topic = consumer.event.topic.as_str();
    let failed = |error| ApplyError::Kafka {
        brokers: connection.kafka.brokers.clone(),
        what: format!("the offsets of {topic}-{partition}"),
        error: Box::new(error),
    };
    let (low, high) = patiently(|| client.fetch_watermarks(topic, partition, BROKER_TIMEOUT)).map_err(failed)?;
    match consumer.deliver.start {
        Start::Now => Ok(Offset::Offset(high)),
        Start::Earliest => Ok(Offset::Offset(low)),
        Start::At(_) if connection.embedded => Err(ApplyError::NoTimes(consumer.name.clone())),
        Start::At(ms) => {
            let mut times = TopicPartitionList::new();
            times.add_partition_offset(topic, partition, Offset::Offset(ms)).map_err(failed)?;
            let found = client.offsets_for_times(times, BROKER_TIMEOUT).map_err(failed)?;
            let at = found.elements().first().map(|e| e.offset());
            // Nothing at or after that time yet: it starts with what comes next.
            Ok(at.filter(|o| matches!(o, Offset::Offset(_))).unwrap_or(Offset::Offset(high)))
        }
    }
}
