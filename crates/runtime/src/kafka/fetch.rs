//! The thread that polls Kafka for one consumer group, and nothing else.
//!
//! A `BaseConsumer` on a thread of its own, since rust-rdkafka's `StreamConsumer` has lost wake-ups (its issues 665, 840,
//! 848). It hands records and assignments to the loop through one bounded channel, so that their order is kept. The loop
//! never waits for this thread and never blocks, so that waiting for room in the channel is short and polling goes on: a
//! slow system fills the core's window, which pauses partitions, and not the channel.

use std::sync::Arc;
use std::sync::mpsc as sync_mpsc;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, ConsumerGroupMetadata, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc;

use super::Record;
use super::faults::Faults;
use super::park::{ParkError, ParkTopic, Parked};
use super::patience::patiently;
use super::settings::{ConnectError, Connection, consumer_settings};

/// Batches of records between the thread and the loop. Small: the window of the core is what bounds memory.
const CHANNEL_BATCHES: usize = 16;

/// Most records handed over at once.
const BATCH_RECORDS_MAX: usize = 256;

/// No record is added to a batch that has this many bytes. 256 records of 4 KiB fit; of the largest that Kafka takes unasked
/// (1 MiB), the channel holds 32 MiB at most.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// How long one poll waits. It bounds how late a pause or a stop is seen.
const POLL: Duration = Duration::from_millis(20);

/// How long a commit that is under way may outlast the time for draining. All in all below `max.poll.interval.ms`.
const LAST_COMMIT_TIMEOUT: Duration = Duration::from_secs(25);

/// How long leaving the group may take; after that the session times out by itself.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the brokers may take to say where a partition stands, and how many there are.
const COORDINATOR_TIMEOUT: Duration = Duration::from_secs(45);

/// How long a broker may take to say what is missing of a log: nobody polls meanwhile.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);

/// What the thread reports, in the order in which it happened.
pub enum FetchEvent {
    /// Partitions are ours from here on.
    Assigned {
        /// Each with its committed offset and metadata.
        partitions: Vec<Position>,
        /// How many partitions the topic has.
        partition_count: u32,
        /// What proves our membership when offsets are committed.
        membership: Option<Arc<ConsumerGroupMetadata>>,
    },
    /// The group takes partitions back. The thread waits until `done` is dropped, for `grace` at most.
    Revoking {
        /// Which ones.
        partitions: Vec<i32>,
        /// What proves our membership in the last commit.
        membership: Option<Arc<ConsumerGroupMetadata>>,
        /// How long the thread waits.
        grace: Duration,
        /// Dropped when they may go.
        done: sync_mpsc::Sender<()>,
    },
    /// Partitions are gone: the session had ended.
    Lost {
        /// Which ones.
        partitions: Vec<i32>,
    },
    /// Records, with rising offsets in each partition.
    Records(Vec<Record>),
    /// A partition cannot be read on.
    Halted {
        /// Why.
        halt: Halt,
    },
    /// What is parked of partitions that are ours cannot be read, so that nothing may be delivered from them.
    ParkUnreadable {
        /// Why.
        error: ParkError,
    },
    /// The client is broken for good, or the broker refuses us.
    Failed {
        /// Why.
        error: KafkaError,
    },
}

/// Where a partition stands.
#[derive(Debug, Clone)]
pub struct Position {
    /// The partition.
    pub partition: i32,
    /// The group's committed offset; `None` without one.
    pub offset: Option<i64>,
    /// The metadata that was committed with it.
    pub metadata: String,
    /// What is parked of it, read after its offset was.
    pub parked: Parked,
}

/// Why nothing more can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// The group has no committed offset, so that nobody said where to start.
    #[error(
        "group has no committed offset for {topic}-{partition}: run `tieline apply`, which commits the first one, or says what to do where partitions were added"
    )]
    NoOffset {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// The log begins behind the offsets that the group stands at.
    #[error(
        "records of {topic} were deleted before they were delivered: {}; `tieline apply --accept-gap` with the consumer's name goes on behind them",
        told(gaps)
    )]
    OffsetGone {
        /// The topic.
        topic: String,
        /// What is missing.
        gaps: Vec<Gap>,
    },
    /// The log ends before the offset that the group stands at, or nobody can say what became of it.
    #[error(
        "the log of {topic} does not reach the offset of the group: the topic was made anew, or its log was cut; stop all replicas and set the group's offset with Kafka's tools to go on"
    )]
    LogCut {
        /// The topic.
        topic: String,
    },
    /// The topic has another number of partitions than when the group gave us ours.
    #[error(
        "{topic} had {was} partitions and has {is}: keys lie elsewhere now, and their order is not kept; `tieline apply` says what to do"
    )]
    PartitionsChanged {
        /// The topic.
        topic: String,
        /// As it was.
        was: u32,
        /// As it is.
        is: u32,
    },
}

/// Records that were deleted before they were delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Their partition.
    pub partition: i32,
    /// The first one.
    pub from: i64,
    /// The first one that is there.
    pub to: i64,
}

fn told(gaps: &[Gap]) -> String {
    let told = |gap: &Gap| {
        format!("{} in partition {} (offsets {} to {})", gap.to - gap.from, gap.partition, gap.from, gap.to - 1)
    };
    gaps.iter().map(told).collect::<Vec<_>>().join(", ")
}

/// What the loop asks of the thread.
#[derive(Debug)]
pub enum Control {
    /// Fetch nothing from this partition.
    Pause(i32),
    /// Fetch from it again.
    Resume(i32),
    /// Leave the group and end.
    Stop,
}

/// The running thread.
pub struct Fetcher {
    control: sync_mpsc::Sender<Control>,
    thread: Option<std::thread::JoinHandle<()>>,
    /// The client itself, for commits on the embedded broker and for watermarks.
    pub client: Arc<BaseConsumer<Membership>>,
}

/// What the client calls back on.
#[derive(Debug)]
pub struct Membership {
    events: mpsc::Sender<FetchEvent>,
    topic: String,
    park: Arc<ParkTopic>,
    drain: Duration,
    faults: Faults,
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fetcher")
    }
}

impl Fetcher {
    /// Joins the group and starts to poll.
    ///
    /// # Errors
    /// When the client cannot be made.
    pub fn start(
        connection: &Connection,
        group: &str,
        topic: &str,
        park: Arc<ParkTopic>,
        drain: Duration,
    ) -> Result<(Self, mpsc::Receiver<FetchEvent>), ConnectError> {
        let (events, receiver) = mpsc::channel(CHANNEL_BATCHES);
        let context = Membership { events, topic: topic.to_owned(), park, drain, faults: Faults::default() };
        let client: BaseConsumer<Membership> = consumer_settings(connection, group)?.create_with_context(context)?;
        client.subscribe(&[topic])?;
        let client = Arc::new(client);
        let (control, orders) = sync_mpsc::channel();
        let poller = Poller { client: Arc::clone(&client), topic: Arc::from(topic), orders, stopped: false };
        let thread = std::thread::Builder::new()
            .name(format!("kafka-{group}"))
            .spawn(move || poller.run())
            .map_err(|_| KafkaError::ClientCreation("no thread to poll on".to_owned()))?;
        Ok((Self { control, thread: Some(thread), client }, receiver))
    }

    /// Asks something of the thread; after its end, of nobody.
    pub fn ask(&self, control: Control) {
        let _ = self.control.send(control);
    }

    /// Leaves the group and waits for the thread's end. What comes meanwhile is dropped with the receiver.
    pub fn stop(mut self) {
        self.ask(Control::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What runs on the thread.
struct Poller {
    client: Arc<BaseConsumer<Membership>>,
    topic: Arc<str>,
    orders: sync_mpsc::Receiver<Control>,
    stopped: bool,
}

impl Poller {
    fn run(mut self) {
        loop {
            self.obey();
            if self.stopped {
                break;
            }
            self.poll_batch();
        }
        self.leave();
    }

    /// Leaves the group here, on this thread, so that no callback is left for whoever drops the client.
    fn leave(&self) {
        self.client.unsubscribe();
        let deadline = Instant::now() + LEAVE_TIMEOUT;
        while self.client.assignment().is_ok_and(|a| a.count() > 0) && Instant::now() < deadline {
            let _ = self.client.poll(POLL);
        }
    }

    fn obey(&mut self) {
        loop {
            match self.orders.try_recv() {
                Ok(Control::Pause(partition)) => self.set_fetching(partition, false),
                Ok(Control::Resume(partition)) => self.set_fetching(partition, true),
                Ok(Control::Stop) | Err(sync_mpsc::TryRecvError::Disconnected) => {
                    self.stopped = true;
                    return;
                }
                Err(sync_mpsc::TryRecvError::Empty) => return,
            }
        }
    }

    /// Waits for one record, then takes what is there already.
    fn poll_batch(&self) {
        let mut batch: Vec<Record> = Vec::new();
        let mut bytes = 0;
        let mut wait = POLL;
        let mut end = None;
        while batch.len() < BATCH_RECORDS_MAX && bytes < BATCH_BYTES_MAX && end.is_none() {
            match self.client.poll(wait) {
                Some(Ok(message)) => {
                    let record = Record::detach(&self.topic, &message);
                    bytes += record.size();
                    batch.push(record);
                }
                Some(Err(error)) => end = self.judge(error),
                None => break,
            }
            wait = Duration::ZERO;
        }
        if !batch.is_empty() {
            self.client.context().report(FetchEvent::Records(batch));
        }
        if let Some(end) = end {
            self.client.context().report(end);
        }
    }

    fn set_fetching(&self, partition: i32, on: bool) {
        let mut tpl = TopicPartitionList::new();
        tpl.add_partition(&self.topic, partition);
        // A partition that is no longer ours answers with an error, and has nothing to pause.
        let _ = if on { self.client.resume(&tpl) } else { self.client.pause(&tpl) };
    }

    /// Which of the client's errors end something; it gets over the others by itself, and they are logged.
    fn judge(&self, error: KafkaError) -> Option<FetchEvent> {
        let topic = self.topic.to_string();
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                Some(FetchEvent::Halted { halt: self.gone(topic) })
            }
            Some(
                RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::Fatal,
            ) => Some(FetchEvent::Failed { error }),
            _ => {
                self.client.context().faults.tell(&topic, &error, "it gets over this by itself");
                None
            }
        }
    }
}

impl Poller {
    /// What is missing of the partitions that we read. librdkafka does not say which one it speaks of.
    fn gone(&self, topic: String) -> Halt {
        let gaps = self.gaps().unwrap_or_else(|error| {
            tracing::warn!(topic, %error, "nobody can say how many records are gone");
            Vec::new()
        });
        if gaps.is_empty() { Halt::LogCut { topic } } else { Halt::OffsetGone { topic, gaps } }
    }

    fn gaps(&self) -> Result<Vec<Gap>, KafkaError> {
        let read_to = self.client.position()?;
        let committed = self.client.committed(LOOK_TIMEOUT)?;
        let mut gaps = Vec::new();
        for at in committed.elements() {
            let partition = at.partition();
            // What was handed over is under way or final: the gap begins behind it.
            let handed = read_to.find_partition(&self.topic, partition).map(|at| at.offset());
            let ((Some(Offset::Offset(from)), _) | (_, Offset::Offset(from))) = (handed, at.offset()) else { continue };
            let (to, _) = self.client.fetch_watermarks(&self.topic, partition, LOOK_TIMEOUT)?;
            if from < to {
                gaps.push(Gap { partition, from, to });
            }
        }
        Ok(gaps)
    }
}

impl ClientContext for Membership {
    fn error(&self, error: KafkaError, reason: &str) {
        self.faults.tell(&self.topic, &error, reason);
    }
}

impl ConsumerContext for Membership {
    fn pre_rebalance(&self, client: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(partitions) => self.assigned(client, partitions),
            Rebalance::Revoke(partitions) if client.assignment_lost() => {
                self.report(FetchEvent::Lost { partitions: numbers(partitions) });
            }
            Rebalance::Revoke(partitions) => self.revoking(client, numbers(partitions)),
            Rebalance::Error(error) => tracing::warn!(topic = self.topic, error = %error, "a rebalance failed"),
        }
    }
}

impl Membership {
    fn assigned(&self, client: &BaseConsumer<Self>, partitions: &TopicPartitionList) {
        let membership = client.group_metadata().map(Arc::new);
        let partition_count = match self.partition_count(client) {
            Ok(count) => count,
            Err(error) => return self.report(FetchEvent::Failed { error }),
        };
        match self.positions(client, partitions) {
            Ok(partitions) => self.report(FetchEvent::Assigned { partitions, partition_count, membership }),
            Err(event) => {
                // What was ours before can be committed only with the membership that we have now.
                self.report(FetchEvent::Assigned { partitions: Vec::new(), partition_count, membership });
                self.report(event);
            }
        }
    }

    fn partition_count(&self, client: &BaseConsumer<Self>) -> Result<u32, KafkaError> {
        patiently(|| {
            let metadata = client.fetch_metadata(Some(&self.topic), COORDINATOR_TIMEOUT)?;
            let topic = metadata.topics().first().ok_or(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopic))?;
            // A topic that the broker does not know yet has no partitions here, which is not how many it has.
            topic.error().map_or(Ok(()), |error| Err(KafkaError::MetadataFetch(error.into())))?;
            Ok(u32::try_from(topic.partitions().len()).unwrap_or(u32::MAX))
        })
    }

    /// Where partitions stand. Nothing is fetched meanwhile.
    ///
    /// A classic group tells that to anybody, and while we are in this callback librdkafka (2.12) does not note that we were
    /// put out, even where it hears so: this may be what the next owner has written. So the core sends nothing before a
    /// commit has shown that a partition is ours.
    fn positions(
        &self,
        client: &BaseConsumer<Self>,
        partitions: &TopicPartitionList,
    ) -> Result<Vec<Position>, FetchEvent> {
        if partitions.count() == 0 {
            return Ok(Vec::new());
        }
        let failed = |error| FetchEvent::Failed { error };
        // Waits also while a transaction of an earlier owner is undecided (KIP-447), since we read committed.
        let committed =
            patiently(|| client.committed_offsets(partitions.clone(), COORDINATOR_TIMEOUT)).map_err(failed)?;
        let mut positions: Vec<Position> =
            committed.elements().iter().map(position).collect::<Result<_, _>>().map_err(failed)?;
        // Before the park, which has no such partition either where one was added to the topic.
        if let Some(at) = positions.iter().find(|at| at.offset.is_none()) {
            let halt = Halt::NoOffset { topic: self.topic.clone(), partition: at.partition };
            return Err(FetchEvent::Halted { halt });
        }
        // After the offsets: what was parked by the commit that they come from is there then.
        let indexed = self.park.index(&numbers(partitions), crate::now_ms());
        let mut parked = indexed.map_err(|error| FetchEvent::ParkUnreadable { error })?;
        for at in &mut positions {
            at.parked = parked.remove(&at.partition).unwrap_or_default();
        }
        Ok(positions)
    }

    fn revoking(&self, client: &BaseConsumer<Self>, partitions: Vec<i32>) {
        if partitions.is_empty() {
            return;
        }
        let membership = client.group_metadata().map(Arc::new);
        let (done, released) = sync_mpsc::channel();
        self.report(FetchEvent::Revoking { partitions, membership, grace: self.drain, done });
        // Nothing is ever sent: the loop drops its end when the partitions may go, or when it has ended itself.
        let _ = released.recv_timeout(self.drain + LAST_COMMIT_TIMEOUT);
    }

    /// Gives an event to the loop, and waits for room. When the loop has ended, nobody wants it.
    fn report(&self, event: FetchEvent) {
        // Asked first, since the client may be closed where nobody may block, by whoever lets go of it last.
        if !self.events.is_closed() {
            let _ = self.events.blocking_send(event);
        }
    }
}

fn numbers(partitions: &TopicPartitionList) -> Vec<i32> {
    partitions.elements().iter().map(|e| e.partition()).collect()
}

pub(super) fn position(
    element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>,
) -> Result<Position, KafkaError> {
    element.error()?;
    let offset = match element.offset() {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    };
    Ok(Position {
        partition: element.partition(),
        offset,
        metadata: element.metadata().to_owned(),
        parked: Parked::default(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::collections::BTreeMap;

    use super::*;

    #[tokio::test]
    async fn a_client_that_is_closed_where_nobody_may_block_reports_to_nobody() {
        let kafka = tieline_bus::Kafka {
            brokers: "127.0.0.1:1".to_owned(),
            settings: BTreeMap::new(),
            partitions: 1,
            replication: 1,
        };
        let park = ParkTopic::new(&Connection { kafka, embedded: true }, "g", "parked".to_owned()).unwrap();
        let (events, receiver) = mpsc::channel(1);
        let (park, drain, faults) = (Arc::new(park), Duration::ZERO, Faults::default());
        let membership = Membership { events, topic: "items".to_owned(), park, drain, faults };
        drop(receiver);
        membership.report(FetchEvent::Lost { partitions: vec![0] });
    }
}
