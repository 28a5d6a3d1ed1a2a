//! `tieline apply`: topics, schemas and first offsets are made so, and a second run changes nothing.
//!
//! Services create and register nothing on their own: what a cluster has is what somebody applied.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};
use tieline_bus::{Bus, Consumer, Start};
use tieline_delivery::Metadata;

use crate::kafka::{
    ConnectError, Connection, STATE_RECORD_BYTES_MAX, admin_settings, consumer_settings, group_of, patiently,
    state_topic, watermarks,
};
use crate::limits::{LIMITS_PARTITIONS, LIMITS_SETTINGS, limits_topic};
use crate::registry::{RegistryClient, RegistryError};
use crate::retention;
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
    /// Whether a key decides the partition, so that their number cannot change without moving keys.
    pub is_keyed: bool,
}

/// What somebody takes upon themselves, each by the name of a consumer.
#[derive(Debug, Clone, Default)]
pub struct Accepted {
    /// Records that were deleted before they were delivered are given up.
    pub gaps: BTreeSet<String>,
    /// Partitions were added to its topic: a key's records may overtake each other where it lies in another one now.
    pub partitions: BTreeSet<String>,
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
    /// Partitions were added to a topic that a consumer reads.
    #[error(
        "topic `{topic}` had {was} partitions when consumer `{consumer}` read it last, and has {is}: keys lie elsewhere now, and records of one key may overtake each other; use a new topic, or let `tieline apply --accept-partitions {consumer}` go on with them"
    )]
    PartitionsAdded {
        /// The topic.
        topic: String,
        /// The consumer.
        consumer: String,
        /// As it was.
        was: u32,
        /// As it is.
        is: usize,
    },
    /// Somebody reads with the group, so that its offsets cannot be set.
    #[error("consumer `{consumer}` is running, and its offsets cannot be set: stop its replicas, then apply again")]
    Running {
        /// The consumer.
        consumer: String,
    },
    /// What stands beside an offset is of another version.
    #[error("the progress of consumer `{consumer}` in partition {partition} cannot be read: {error}")]
    Progress {
        /// The consumer.
        consumer: String,
        /// The partition.
        partition: i32,
        /// Why.
        error: tieline_delivery::MetadataError,
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
    let mut add_of = |name: String, partitions, settings: Vec<(&'static str, &'static str)>, is_keyed| {
        if topics.iter().all(|t| t.name != name) {
            topics.push(Topic { name, partitions, settings, is_keyed });
        }
    };
    // What people ask for has an order, and so one partition.
    add_of(
        control_topic(&bus.name),
        1,
        vec![("cleanup.policy", "compact"), ("max.message.bytes", STATE_RECORD_BYTES_MAX)],
        true,
    );
    add_of(limits_topic(&bus.name), LIMITS_PARTITIONS, LIMITS_SETTINGS.to_vec(), true);
    for event in bus.events.values() {
        add_of(event.topic.clone(), partitions, Vec::new(), true);
    }
    // What is kept of a record lies in the partition of the same number.
    let mut add = |name: String, settings| add_of(name, partitions, settings, false);
    let large = ("max.message.bytes", STATE_RECORD_BYTES_MAX);
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
pub async fn apply(
    bus: &Bus,
    connection: &Connection,
    registry: &RegistryClient,
    accepted: &Accepted,
) -> Result<Changes, ApplyError> {
    let mut changes = Changes::new();
    if !connection.embedded {
        make_topics(bus, connection, &mut changes).await?;
        let admin: AdminClient<DefaultClientContext> =
            admin_settings(connection)?.create().map_err(ConnectError::from)?;
        retention::keep(bus, &admin, &mut changes).await.map_err(|error| ApplyError::Kafka {
            brokers: connection.kafka.brokers.clone(),
            what: "how long topics keep records".to_owned(),
            error: Box::new(error),
        })?;
    }
    register_schemas(bus, registry, &mut changes).await?;
    for consumer in bus.consumers.values() {
        let (connection, group) = (connection.clone(), group_of(&bus.name, &consumer.name));
        let (consumer, accepted) = (std::sync::Arc::clone(consumer), accepted.clone());
        let told = tokio::task::spawn_blocking(move || offsets(&connection, &group, &consumer, &accepted)).await;
        // A task that was aborted has done nothing: the process is ending.
        changes.extend(told.unwrap_or_else(|_| Ok(Changes::new()))?);
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
    let mut narrow = Vec::new();
    for topic in &topics {
        match there.topics().iter().find(|t| t.name() == topic.name && t.error().is_none()) {
            Some(found) if found.partitions().len() == topic.partitions as usize => {}
            Some(found) if !topic.is_keyed && found.partitions().len() < topic.partitions as usize => {
                narrow.push(topic)
            }
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
    let options = AdminOptions::new().operation_timeout(Some(BROKER_TIMEOUT));
    for topic in narrow {
        let wider = NewPartitions::new(&topic.name, topic.partitions as usize);
        let what = format!("more partitions of `{}`", topic.name);
        for made in admin.create_partitions([&wider], &options).await.map_err(|e| failed(&what, e))? {
            made.map_err(|(_, code)| failed(&what, KafkaError::AdminOp(code)))?;
        }
        changes.push(format!("topic {} has {} partitions", topic.name, topic.partitions));
    }
    if new.is_empty() {
        return Ok(());
    }
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

/// Commits where a group starts, in partitions for which it has no offset yet, and where it goes on, as far as somebody has
/// accepted what that means.
fn offsets(
    connection: &Connection,
    group: &str,
    consumer: &Consumer,
    accepted: &Accepted,
) -> Result<Changes, ApplyError> {
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
    let mut stands = Vec::new();
    for element in committed.elements() {
        // An answer that failed must not pass for "no offset yet": a new first offset would skip records.
        element.error().map_err(failed(format!("the offset of group {group} in partition {}", element.partition())))?;
        stands.push(Stand::read(&element, consumer)?);
    }
    let (next, changes) = Group { client: &client, connection, consumer, accepted, stands }.go_on()?;
    if next.count() > 0 {
        patiently(|| client.commit(&next, CommitMode::Sync)).map_err(|error| match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::UnknownMemberId) => ApplyError::Running { consumer: consumer.name.clone() },
            _ => failed(format!("the offsets of group {group}"))(error),
        })?;
    }
    Ok(changes)
}

/// Where a group stands in a partition.
struct Stand {
    partition: i32,
    offset: Option<i64>,
    /// None where nothing was ever sent.
    metadata: Option<Metadata>,
}

impl Stand {
    fn read(element: &TopicPartitionListElem<'_>, consumer: &Consumer) -> Result<Self, ApplyError> {
        let partition = element.partition();
        let offset = match element.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        };
        let text = element.metadata();
        let metadata = if text.is_empty() { None } else { Some(Metadata::parse(text)) };
        let metadata = metadata.transpose().map_err(|error| ApplyError::Progress {
            consumer: consumer.name.clone(),
            partition,
            error,
        })?;
        Ok(Self { partition, offset, metadata })
    }
}

/// A group, and what was accepted of it.
struct Group<'a> {
    client: &'a BaseConsumer,
    connection: &'a Connection,
    consumer: &'a Consumer,
    accepted: &'a Accepted,
    stands: Vec<Stand>,
}

impl Group<'_> {
    /// What is to be committed, so that it starts or goes on, and that as sentences.
    fn go_on(self) -> Result<(TopicPartitionList, Changes), ApplyError> {
        let (name, topic) = (&self.consumer.name, self.consumer.event.topic.as_str());
        let is_new = self.stands.iter().all(|stand| stand.offset.is_none());
        let added = self.partitions_added()?;
        let (mut next, mut changes) = (TopicPartitionList::new(), Changes::new());
        let mut begun = 0;
        for stand in &self.stands {
            let Some(offset) = stand.offset else {
                // What came into an added partition before this is as new as what comes after.
                let start = if is_new { self.consumer.deliver.start } else { Start::Earliest };
                let offset = start_offset(self.client, self.connection, self.consumer, start, stand.partition)?;
                self.put(&mut next, stand.partition, offset, "")?;
                begun += 1;
                continue;
            };
            let mut metadata = stand.metadata.clone();
            let mut offset_next = offset;
            if let Some(metadata) = metadata.as_mut().filter(|_| added) {
                metadata.partitions = u32::try_from(self.stands.len()).unwrap_or(u32::MAX);
            }
            if self.accepted.gaps.contains(name) {
                let (low, _) = self.watermarks(stand.partition)?;
                if offset < low {
                    metadata = metadata.map(|metadata| metadata.past(low));
                    offset_next = metadata.as_ref().map_or(low, |metadata| metadata.base);
                    let gone = low - offset;
                    changes.push(format!("consumer {name} gives up {gone} records of {topic}-{}", stand.partition));
                }
            }
            if metadata != stand.metadata || offset_next != offset {
                let text = metadata.as_ref().map(Metadata::encode).unwrap_or_default();
                self.put(&mut next, stand.partition, Offset::Offset(offset_next), &text)?;
            }
        }
        if added {
            changes.push(format!("consumer {name} goes on with {} partitions of {topic}", self.stands.len()));
        } else if begun > 0 {
            let start = match self.consumer.deliver.start {
                Start::Now => "now",
                Start::Earliest => "the earliest record",
                Start::At(_) => "its time",
            };
            changes.push(format!("consumer {name} starts at {start} in {begun} partitions of {topic}"));
        }
        Ok((next, changes))
    }

    /// Whether partitions were added since it read last, and somebody has accepted that.
    fn partitions_added(&self) -> Result<bool, ApplyError> {
        let is = self.stands.len();
        let known = self.stands.iter().filter(|stand| stand.offset.is_some()).count();
        let read = self.stands.iter().filter_map(|stand| stand.metadata.as_ref()).map(|metadata| metadata.partitions);
        let was = read.min().unwrap_or(u32::try_from(known).unwrap_or(u32::MAX));
        if known == 0 || was as usize == is {
            return Ok(false);
        }
        if self.accepted.partitions.contains(&self.consumer.name) {
            return Ok(true);
        }
        let (topic, consumer) = (self.consumer.event.topic.clone(), self.consumer.name.clone());
        Err(ApplyError::PartitionsAdded { topic, consumer, was, is })
    }

    fn watermarks(&self, partition: i32) -> Result<(i64, i64), ApplyError> {
        let topic = self.consumer.event.topic.as_str();
        watermarks(self.client, topic, partition, BROKER_TIMEOUT)
            .map_err(|error| self.failed(format!("the offsets of {topic}-{partition}"), error))
    }

    fn put(
        &self,
        next: &mut TopicPartitionList,
        partition: i32,
        offset: Offset,
        metadata: &str,
    ) -> Result<(), ApplyError> {
        let topic = self.consumer.event.topic.as_str();
        let mut element = next.add_partition(topic, partition);
        element.set_metadata(metadata);
        element.set_offset(offset).map_err(|error| self.failed(format!("an offset of {topic}-{partition}"), error))
    }

    fn failed(&self, what: String, error: KafkaError) -> ApplyError {
        ApplyError::Kafka { brokers: self.connection.kafka.brokers.clone(), what, error: Box::new(error) }
    }
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
    start: Start,
    partition: i32,
) -> Result<Offset, ApplyError> {
    let topic = consumer.event.topic.as_str();
    let failed = |error| ApplyError::Kafka {
        brokers: connection.kafka.brokers.clone(),
        what: format!("the offsets of {topic}-{partition}"),
        error: Box::new(error),
    };
    let (low, high) = watermarks(client, topic, partition, BROKER_TIMEOUT).map_err(failed)?;
    match start {
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
