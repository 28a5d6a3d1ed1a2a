//! The embedded broker: librdkafka's mock cluster in this process, for `tieline dev` without anything installed.
//!
//! It is honest as a demonstration only behind guards, since it is not Kafka: events live in memory and are gone at
//! exit; each partition keeps its newest 5 MiB and drops what is older at once, whether it was read or not; aborted
//! transactions are visible, and offsets sent in one are not stored; there are no admin requests, no compaction and no
//! look-up by time. [`Embedded::watch`] raises the alarm when records were dropped that a group had not done.
//!
//! What its clients need: [`CLIENT_SETTINGS`], without which each hop takes half a second, and a first join three.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::BrokerError;

/// What consumers on the embedded broker have to be told.
///
/// A waiting fetch is not woken by a produce, so its latency is `fetch.wait.max.ms`. The mock's classic protocol
/// delays a group's first join by 3 s and a second member's by 18 s; the KIP-848 protocol joins within one heartbeat.
pub const CLIENT_SETTINGS: [(&str, &str); 2] = [("fetch.wait.max.ms", "10"), ("group.protocol", "consumer")];

/// How long the broker, which is a thread of this process, may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Between two looks at the watermarks. A partition keeps 5 MiB, so that a slow look misses nothing: what was dropped
/// stays dropped.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// A broker that lives as long as this value.
pub struct Embedded {
    // The mock cluster belongs to this client and ends with it.
    owner: BaseProducer<Quiet>,
    brokers: String,
}

/// A group's reading of a topic, for [`Embedded::watch`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reading {
    /// The consumer group.
    pub group: String,
    /// What it reads.
    pub topic: String,
    /// How many partitions the topic has.
    pub partitions: u32,
}

/// Records that are gone although a group had not committed them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// The group that will never see them.
    pub group: String,
    /// Their topic.
    pub topic: String,
    /// Their partition.
    pub partition: u32,
    /// How many, from the committed offset to the oldest that is kept.
    pub records: u64,
}

/// Looks after the groups of the embedded broker until it is dropped.
pub struct Watch {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Embedded {
    /// Starts a broker on a loopback port of the kernel's choice.
    ///
    /// # Errors
    /// When librdkafka cannot make it.
    pub fn start() -> Result<Self, BrokerError> {
        let owner = ClientConfig::new()
            .set("test.mock.num.brokers", "1")
            .create_with_context::<_, BaseProducer<Quiet>>(Quiet)
            .map_err(refused("start"))?;
        let brokers = match owner.client().mock_cluster() {
            Some(mock) => mock.bootstrap_servers(),
            None => return Err(refused("start")(KafkaError::ClientCreation("no mock cluster was made".to_owned()))),
        };
        Ok(Self { owner, brokers })
    }

    /// Its address, for `bootstrap.servers`.
    #[must_use]
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Makes a topic. The admin requests of a client would wait here until they time out.
    ///
    /// # Errors
    /// When there is one of this name, or the name or the count is refused.
    pub fn create_topic(&self, name: &str, partitions: u32) -> Result<(), BrokerError> {
        let refused = refused(&format!("make topic `{name}` with {partitions} partitions"));
        let Some(mock) = self.owner.client().mock_cluster() else {
            return Err(refused(KafkaError::ClientCreation("the mock cluster is gone".to_owned())));
        };
        let partitions = i32::try_from(partitions).unwrap_or(i32::MAX);
        mock.create_topic(name, partitions, 1).map_err(refused)
    }

    /// Calls `alarm` each time that records turn out to be dropped which a group had not committed.
    ///
    /// A group without a commit is passed over: where it starts is not said yet.
    ///
    /// # Errors
    /// When no client or no thread can be made.
    pub fn watch(
        &self,
        readings: Vec<Reading>,
        alarm: impl FnMut(Dropped) + Send + 'static,
    ) -> Result<Watch, BrokerError> {
        let mut watcher = Watcher { readers: BTreeMap::new(), readings, reported: BTreeMap::new(), alarm };
        for reading in &watcher.readings {
            // Reads the group's offsets, and never joins it.
            let reader = ClientConfig::new()
                .set("bootstrap.servers", &self.brokers)
                .set("group.id", &reading.group)
                .set("enable.auto.commit", "false")
                .create_with_context::<_, BaseConsumer<Quiet>>(Quiet)
                .map_err(refused(&format!("watch group `{}`", reading.group)))?;
            watcher.readers.insert(reading.group.clone(), reader);
        }
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("embedded-watch".to_owned())
            .spawn(move || {
                while matches!(stopped.recv_timeout(WATCH_EVERY), Err(RecvTimeoutError::Timeout)) {
                    watcher.look();
                }
            })
            .map_err(|cause| BrokerError::Io { doing: "start the embedded broker's watch".to_owned(), cause })?;
        Ok(Watch { stop: Some(stop), thread: Some(thread) })
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").field("brokers", &self.brokers).finish_non_exhaustive()
    }
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, topic, partition, records } = self;
        write!(
            f,
            "the embedded broker has dropped {records} records of {topic}-{partition} that {group} had not done; \
             it keeps 5 MiB a partition"
        )
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop = None; // ends the thread's wait
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic in there has been printed
        }
    }
}

/// What the watch's thread keeps.
struct Watcher<A> {
    readings: Vec<Reading>,
    readers: BTreeMap<String, BaseConsumer<Quiet>>,
    /// The low watermark of the last alarm, so that one gap is told once.
    reported: BTreeMap<(String, String, u32), i64>,
    alarm: A,
}

impl<A: FnMut(Dropped)> Watcher<A> {
    fn look(&mut self) {
        for reading in &self.readings {
            let Some(reader) = self.readers.get(&reading.group) else { continue };
            for (partition, committed, low) in stands(reader, reading) {
                let Some(records) = u64::try_from(low - committed).ok().filter(|n| *n > 0) else { continue };
                let place = (reading.group.clone(), reading.topic.clone(), partition);
                if self.reported.get(&place) == Some(&low) {
                    continue;
                }
                self.reported.insert(place, low);
                (self.alarm)(Dropped {
                    group: reading.group.clone(),
                    topic: reading.topic.clone(),
                    partition,
                    records,
                });
            }
        }
    }
}

/// Where a group stands: partition, committed offset, low watermark. What the broker does not tell now, it tells at the
/// next look.
fn stands(reader: &BaseConsumer<Quiet>, reading: &Reading) -> Vec<(u32, i64, i64)> {
    let mut asked = TopicPartitionList::new();
    for partition in 0..reading.partitions {
        asked.add_partition(&reading.topic, i32::try_from(partition).unwrap_or(i32::MAX));
    }
    let Ok(committed) = reader.committed_offsets(asked, ANSWER_WITHIN) else { return Vec::new() };
    let mut stands = Vec::new();
    for element in committed.elements() {
        let (Ok(partition), Offset::Offset(offset)) = (u32::try_from(element.partition()), element.offset()) else {
            continue;
        };
        if let Ok((low, _)) = reader.fetch_watermarks(&reading.topic, element.partition(), ANSWER_WITHIN) {
            stands.push((partition, offset, low));
        }
    }
    stands
}

fn refused(doing: &str) -> impl FnOnce(KafkaError) -> BrokerError + use<> {
    let doing = doing.to_owned();
    move |cause| BrokerError::Embedded { doing, cause }
}

/// Keeps librdkafka's lines about the mock out of what a user reads: `dev` says itself which broker it took.
struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        tracing::debug!(target: "tieline_sandbox::broker", ?level, facility, "{line}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "tieline_sandbox::broker", %error, "{reason}");
    }
}

impl ProducerContext for Quiet {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &rdkafka::producer::DeliveryResult<'_>, (): ()) {}
}

impl rdkafka::consumer::ConsumerContext for Quiet {}
