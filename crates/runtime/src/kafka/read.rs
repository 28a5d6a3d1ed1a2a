//! Reads topics to their ends, or one record of them: for state that is loaded before anything is delivered, and for what
//! people ask.
//!
//! It belongs to no membership: partitions are assigned by hand, and nothing is ever committed. It blocks, so it is called
//! on a thread that may (`spawn_blocking`). One record at a time is held; librdkafka fetches 16 MiB ahead at most.
//!
//! The end is the high watermark of the moment when [`TopicReader::spans`] was asked, never a silence. Only committed
//! records are read, and what a transaction has not decided yet is waited for: an owner that takes over sees all that was
//! written before it asked, or an error.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use super::Record;
use super::faults::Faults;
use super::fetch::{Position, position};
use super::patience::{patiently, watermarks};
use super::settings::{ConnectError, Connection, consumer_settings};

/// How long a broker may take for one answer.
const BROKER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long one poll waits.
const POLL: Duration = Duration::from_millis(100);

/// How long nothing at all may come while a topic is not read to its end: the client gets over a change of leader in less.
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// How long a transaction may stay undecided: brokers abort ours after 10 s, and look every 10 s for those.
const UNDECIDED_MAX: Duration = Duration::from_secs(30);

/// How long to wait before it is looked again whether a transaction was decided.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A stretch of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The partition.
    pub partition: i32,
    /// The first offset.
    pub from: i64,
    /// The offset after the last.
    pub to: i64,
}

/// Why a topic cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not there.
    #[error("topic `{topic}` is not there: run `tieline apply`")]
    NoTopic {
        /// The topic.
        topic: String,
    },
    /// A transaction was neither committed nor aborted in time.
    #[error("a transaction in {topic}-{partition} was not decided within {UNDECIDED_MAX:?}; ask again when it is")]
    Undecided {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// Nothing comes, and the end is not reached.
    #[error("the brokers have sent nothing of {topic} for {SILENCE_MAX:?}, and its end is not reached")]
    Silence {
        /// The topic.
        topic: String,
    },
    /// The brokers refuse, or cannot be asked.
    #[error("Kafka cannot be asked for {what}: {error}")]
    Kafka {
        /// What was asked for.
        what: String,
        /// What the client said.
        error: Box<KafkaError>,
    },
}

/// Reads topics by hand.
///
/// ```no_run
/// # use std::ops::ControlFlow;
/// # use tieline_runtime::kafka::{Connection, TopicReader};
/// # fn example(connection: &Connection) -> Result<(), Box<dyn std::error::Error>> {
/// let mut reader = TopicReader::new(connection, "acme.erp-project")?;
/// let spans = reader.spans("acme.erp-project.dead-letters")?;
/// let mut tombstones = 0;
/// reader.read("acme.erp-project.dead-letters", &spans, |record| {
///     tombstones += usize::from(record.value.is_none());
///     ControlFlow::Continue(())
/// })?;
/// # Ok(())
/// # }
/// ```
pub struct TopicReader {
    client: BaseConsumer<Context>,
    /// Sees what is not decided yet, and so where a partition really ends.
    ahead: BaseConsumer<Context>,
    embedded: bool,
}

#[derive(Debug, Default)]
struct Context(Faults);

impl std::fmt::Debug for TopicReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TopicReader")
    }
}

impl TopicReader {
    /// Makes the clients. They do not join the group, but Kafka wants the right to read as one: name the consumer's own.
    ///
    /// # Errors
    /// When a setting is refused.
    pub fn new(connection: &Connection, group: &str) -> Result<Self, ConnectError> {
        let mut config = consumer_settings(connection, group)?;
        config.set("enable.partition.eof", "true");
        // What was deleted since the span was asked for is not there; no group of ours depends on it.
        config.set("auto.offset.reset", "earliest");
        let client = config.create_with_context(Context::default())?;
        config.set("isolation.level", "read_uncommitted");
        let ahead = config.create_with_context(Context::default())?;
        Ok(Self { client, ahead, embedded: connection.embedded })
    }

    /// The partitions of a topic, ascending.
    ///
    /// # Errors
    /// When it is not there, or the brokers cannot be asked.
    pub fn partitions(&self, topic: &str) -> Result<Vec<i32>, ReadError> {
        let failed = failed(format!("the partitions of {topic}"));
        let metadata = self.client.fetch_metadata(Some(topic), BROKER_TIMEOUT).map_err(failed)?;
        let found = metadata.topics().first().filter(|t| t.error().is_none() && !t.partitions().is_empty());
        let found = found.ok_or_else(|| ReadError::NoTopic { topic: topic.to_owned() })?;
        let mut partitions: Vec<i32> = found.partitions().iter().map(|p| p.id()).collect();
        partitions.sort_unstable();
        Ok(partitions)
    }

    /// All of a topic, as it is now.
    ///
    /// # Errors
    /// When it is not there, or the brokers cannot be asked.
    pub fn spans(&self, topic: &str) -> Result<Vec<Span>, ReadError> {
        self.partitions(topic)?.into_iter().map(|partition| self.span(topic, partition)).collect()
    }

    /// All of a partition, as it is now.
    ///
    /// # Errors
    /// When the brokers cannot be asked.
    pub fn span(&self, topic: &str, partition: i32) -> Result<Span, ReadError> {
        let (from, to) = watermarks(&self.ahead, topic, partition, BROKER_TIMEOUT)
            .map_err(failed(format!("the end of {topic}-{partition}")))?;
        Ok(Span { partition, from, to })
    }

    /// What lies in these stretches from this time on (milliseconds since the Unix epoch). The embedded broker cannot
    /// find an offset by time: there it is all of them.
    ///
    /// # Errors
    /// When the brokers cannot be asked.
    pub fn since(&self, topic: &str, spans: &[Span], at_ms: i64) -> Result<Vec<Span>, ReadError> {
        if self.embedded || spans.is_empty() {
            return Ok(spans.to_vec());
        }
        let what = || failed(format!("the offsets of {topic} at a time"));
        let mut times = TopicPartitionList::new();
        for span in spans {
            times.add_partition_offset(topic, span.partition, Offset::Offset(at_ms)).map_err(what())?;
        }
        let found = patiently(|| self.client.offsets_for_times(times.clone(), BROKER_TIMEOUT)).map_err(what())?;
        let mut narrowed = Vec::with_capacity(spans.len());
        for span in spans {
            let element = found.find_partition(topic, span.partition);
            let from = match element.map(|at| at.error().map(|()| at.offset())).transpose().map_err(what())? {
                Some(Offset::Offset(offset)) => offset.clamp(span.from, span.to),
                // Nothing that young is there.
                _ => span.to,
            };
            narrowed.push(Span { from, ..*span });
        }
        Ok(narrowed)
    }

    /// Where the group stands in each partition of a topic, with what it has written beside it.
    ///
    /// # Errors
    /// When the topic is not there, or the brokers cannot be asked.
    pub fn committed(&self, topic: &str) -> Result<Vec<Position>, ReadError> {
        let what = || failed(format!("the committed offsets of {topic}"));
        let mut wanted = TopicPartitionList::new();
        for partition in self.partitions(topic)? {
            wanted.add_partition(topic, partition);
        }
        let found = patiently(|| self.client.committed_offsets(wanted.clone(), BROKER_TIMEOUT)).map_err(what())?;
        found.elements().iter().map(position).collect::<Result<_, _>>().map_err(what())
    }

    /// Reads these stretches, of several partitions side by side, each in its order. Ends early when `take` breaks.
    ///
    /// # Errors
    /// When the brokers refuse or fall silent, or a transaction stays undecided.
    pub fn read(
        &mut self,
        topic: &str,
        spans: &[Span],
        take: impl FnMut(Record) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let mut open: BTreeMap<i32, i64> = BTreeMap::new();
        let mut assignment = TopicPartitionList::new();
        for span in spans.iter().filter(|span| span.from < span.to) {
            self.await_decided(topic, span)?;
            open.insert(span.partition, span.to);
            assignment
                .add_partition_offset(topic, span.partition, Offset::Offset(span.from))
                .map_err(failed(format!("{topic}-{}", span.partition)))?;
        }
        if open.is_empty() {
            return Ok(());
        }
        self.client.assign(&assignment).map_err(failed(format!("the records of {topic}")))?;
        let result = self.read_open(topic, open, take);
        let left = self.client.unassign().map_err(failed(format!("an end of reading {topic}")));
        result.and(left)
    }

    /// Reads these stretches as [`Self::read`] does, to their ends or until `take` fails.
    ///
    /// # Errors
    /// What `take` says, or as [`Self::read`].
    pub fn read_all<E: From<ReadError>>(
        &mut self,
        topic: &str,
        spans: &[Span],
        mut take: impl FnMut(Record) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut failed = None;
        self.read(topic, spans, |record| match take(record) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        })?;
        failed.map_or(Ok(()), Err)
    }

    /// One record; none where it was deleted, or is no record but a mark of Kafka's own.
    ///
    /// # Errors
    /// As [`TopicReader::read`].
    pub fn record(&mut self, topic: &str, partition: i32, offset: i64) -> Result<Option<Record>, ReadError> {
        let all = self.span(topic, partition)?;
        if !(all.from..all.to).contains(&offset) {
            return Ok(None);
        }
        let mut found = None;
        self.read(topic, &[Span { partition, from: offset, to: offset + 1 }], |record| {
            found = Some(record);
            ControlFlow::Break(())
        })?;
        Ok(found)
    }

    /// Waits until all below the stretch's end is committed or aborted.
    fn await_decided(&self, topic: &str, span: &Span) -> Result<(), ReadError> {
        let deadline = Instant::now() + UNDECIDED_MAX;
        loop {
            // Of a client that reads committed records, this is the last stable offset.
            let (_, stable) = watermarks(&self.client, topic, span.partition, BROKER_TIMEOUT)
                .map_err(failed(format!("the end of {topic}-{}", span.partition)))?;
            if stable >= span.to {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(ReadError::Undecided { topic: topic.to_owned(), partition: span.partition });
            }
            std::thread::park_timeout(LOOK_AGAIN);
        }
    }

    fn read_open(
        &self,
        topic: &str,
        mut open: BTreeMap<i32, i64>,
        mut take: impl FnMut(Record) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let name: Arc<str> = Arc::from(topic);
        let mut heard = Instant::now();
        while !open.is_empty() {
            let ended = match self.client.poll(POLL) {
                None if heard.elapsed() > SILENCE_MAX => return Err(ReadError::Silence { topic: topic.to_owned() }),
                None => continue,
                Some(Ok(message)) => {
                    let (partition, offset) = (message.partition(), message.offset());
                    let Some(to) = open.get(&partition).copied() else { continue };
                    if offset < to && take(Record::detach(&name, &message)).is_break() {
                        return Ok(());
                    }
                    // The last ones may be marks of transactions, or compacted away: then a later one or the end tells.
                    (offset + 1 >= to).then_some(partition)
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => Some(partition),
                Some(Err(error)) if is_final(&error) => return Err(failed(format!("the records of {topic}"))(error)),
                Some(Err(error)) => {
                    self.client.context().0.tell(topic, &error, "it gets over this by itself");
                    continue;
                }
            };
            heard = Instant::now();
            if let Some(partition) = ended {
                open.remove(&partition);
                self.leave(topic, partition)?;
            }
        }
        Ok(())
    }

    /// What comes after the end is not wanted, and would go on coming on a topic that is written to. Not paused: librdkafka
    /// keeps that in mind, and the next reading of the partition would wait for ever.
    fn leave(&self, topic: &str, partition: i32) -> Result<(), ReadError> {
        let mut tpl = TopicPartitionList::new();
        tpl.add_partition(topic, partition);
        self.client.incremental_unassign(&tpl).map_err(failed(format!("an end of reading {topic}-{partition}")))
    }
}

impl rdkafka::client::ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        // An end is reported here too, as if it were a fault.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::PartitionEOF) {
            self.0.tell("reading", &error, reason);
        }
    }
}

impl ConsumerContext for Context {}

fn is_final(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::Fatal,
        )
    )
}

fn failed(what: String) -> impl FnOnce(KafkaError) -> ReadError {
    move |error| ReadError::Kafka { what, error: Box::new(error) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use rdkafka::mocking::MockCluster;
    use tieline_bus::Kafka;

    use super::*;

    #[test]
    fn a_partition_without_a_leader_is_waited_for() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("parked", 1, 1).unwrap();
        let brokers = cluster.bootstrap_servers();
        let kafka = Kafka { brokers, settings: BTreeMap::new(), partitions: 1, replication: 1 };
        let reader = TopicReader::new(&Connection { kafka, embedded: true }, "g").unwrap();
        // Its broker is gone, and no other one leads yet.
        cluster.partition_leader("parked", 0, None).unwrap();
        let asked = std::thread::spawn(move || reader.span("parked", 0));
        std::thread::sleep(Duration::from_secs(1));
        assert!(!asked.is_finished(), "{:?}", asked.join());
        cluster.partition_leader("parked", 0, Some(1)).unwrap();
        assert_eq!(asked.join().unwrap().unwrap(), Span { partition: 0, from: 0, to: 0 });
    }
}
