//! Commits: the outcomes of records and the offsets that cover them become durable together.
//!
//! On Kafka a commit is one transaction (KIP-447): an owner that was replaced is fenced with all that it wrote. The embedded
//! broker has no transactions: there it is produce, await, commit. Both block, so they have a thread of their own.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc as sync_mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode as KafkaCommitMode, Consumer, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{Offset, TopicPartitionList};
use tieline_delivery::{CommitId, CommitOffset};
use tokio::sync::mpsc;

use super::faults::Faults;
use super::fetch::Membership;
use super::settings::{ConnectError, Connection, producer_settings};
use crate::fail_point::{FailPoint, pass};

/// How long the broker may take for one step of a transaction, and to give up one whose owner has vanished.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a commit may take as a whole before its client is given up for a new one, under the same transactional id: that
/// one ends what the old one has left open, and fences it. librdkafka 2.12 waits without end where the offsets are sent
/// while the group's coordinator moves (seen: for a minute and more, after a broker was restarted).
const GIVEN_UP_AFTER: Duration = Duration::from_secs(20);

/// How long to sleep between two looks at the records that are on their way. They take some milliseconds.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// How often the client is asked what it has to say while there is nothing to commit: it keeps that until then.
const ATTEND_EVERY: Duration = Duration::from_secs(1);

/// How a commit is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitMode {
    /// One transaction, under this transactional id.
    Transaction {
        /// `BUS.CONSUMER.INSTANCE`: the same after a restart, so that what the last run left open is aborted at once.
        transactional_id: String,
    },
    /// Produce, await, commit: the embedded broker.
    InTurn,
}

/// What becomes durable together.
pub struct Batch {
    /// Names it in the report.
    pub id: CommitId,
    /// The offsets, of the topic that is read.
    pub offsets: Vec<CommitOffset>,
    /// Ledger, dead letters, parked records and holds.
    pub records: Vec<StateRecord>,
    /// What proves our membership. Taken when the assignment was, so that it is never newer than what the core knows.
    pub membership: Option<Arc<ConsumerGroupMetadata>>,
}

/// A record of a state topic.
#[derive(Debug)]
pub struct StateRecord {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition: that of the record that it speaks of.
    pub partition: i32,
    /// The key.
    pub key: Vec<u8>,
    /// The value; none ends what was written under the key before.
    pub value: Option<Vec<u8>>,
    /// The offset of the record that it parks. Where it came to lie is reported, so that it can be read back.
    pub parks: Option<i64>,
}

/// Where a parked record came to lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its partition, the same in both topics.
    pub partition: i32,
    /// Its offset in the topic that it came from.
    pub origin: i64,
    /// Its offset in the topic of parked records.
    pub offset: i64,
}

/// What came of a commit.
#[derive(Debug)]
pub struct Report {
    /// Which one.
    pub id: CommitId,
    /// Nothing of it is there when it failed.
    pub result: Result<(), KafkaError>,
    /// Where the records that it parks lie, if it was made.
    pub places: Vec<Place>,
}

/// The thread that commits.
pub struct Committer {
    batches: sync_mpsc::Sender<Batch>,
}

impl std::fmt::Debug for Committer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Committer")
    }
}

impl Committer {
    /// Starts the thread. It ends when this is dropped.
    ///
    /// # Errors
    /// When the client cannot be made.
    pub fn start(
        connection: &Connection,
        mode: CommitMode,
        topic: &str,
        group: Arc<BaseConsumer<Membership>>,
    ) -> Result<(Self, mpsc::UnboundedReceiver<Report>), ConnectError> {
        let (batches, todo) = sync_mpsc::channel::<Batch>();
        let (reports, receiver) = mpsc::unbounded_channel();
        let writer = Writer { connection: connection.clone(), mode, topic: topic.to_owned(), group, producer: None };
        writer.settings()?; // says at the start what is wrong with them
        let first = Hand::of(writer.anew())?;
        std::thread::Builder::new()
            .name("commits".to_owned())
            .spawn(move || hand_over(&todo, &reports, GIVEN_UP_AFTER, first, || Hand::of(writer.anew())))
            .map_err(|_| no_thread())?;
        Ok((Self { batches }, receiver))
    }

    /// Asks for a commit. Its report follows.
    pub fn commit(&self, batch: Batch) {
        let _ = self.batches.send(batch);
    }
}

/// Hands batches to who writes them, one after another, and what came of each to the loop. Who does not answer in time is
/// left to itself, and another one takes the place.
fn hand_over(
    todo: &sync_mpsc::Receiver<Batch>,
    reports: &mpsc::UnboundedSender<Report>,
    within: Duration,
    mut hand: Hand,
    another: impl Fn() -> Result<Hand, KafkaError>,
) {
    while let Ok(batch) = todo.recv() {
        let id = batch.id;
        let report = hand.write(batch, within).unwrap_or_else(|| {
            tracing::error!(?within, "Kafka's client does not end a commit; another one takes its place");
            match another() {
                Ok(next) => hand = next,
                Err(error) => tracing::error!(%error, "there is no other one yet"),
            }
            let late = KafkaError::Global(RDKafkaErrorCode::OperationTimedOut);
            Report { id, result: Err(late), places: Vec::new() }
        });
        if reports.send(report).is_err() {
            return;
        }
    }
}

/// A thread with a client of its own, that writes what it is given.
struct Hand {
    batches: sync_mpsc::Sender<Batch>,
    reports: sync_mpsc::Receiver<Report>,
}

impl Hand {
    fn of(mut writer: Writer) -> Result<Self, KafkaError> {
        let ((batches, todo), (done, reports)) = (sync_mpsc::channel::<Batch>(), sync_mpsc::channel());
        let run = move || {
            writer.begin();
            loop {
                match todo.recv_timeout(ATTEND_EVERY) {
                    Ok(batch) => {
                        let result = writer.write(&batch);
                        let places = writer.places(&batch);
                        if done.send(Report { id: batch.id, result, places }).is_err() {
                            return; // it was given up
                        }
                    }
                    Err(sync_mpsc::RecvTimeoutError::Timeout) => writer.attend(),
                    Err(sync_mpsc::RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        std::thread::Builder::new().name("commit".to_owned()).spawn(run).map_err(|_| no_thread())?;
        Ok(Self { batches, reports })
    }

    /// Has a batch written. None: it does not say within this time whether it is.
    fn write(&self, batch: Batch, within: Duration) -> Option<Report> {
        self.batches.send(batch).ok()?;
        self.reports.recv_timeout(within).ok()
    }
}

fn no_thread() -> KafkaError {
    KafkaError::ClientCreation("no thread to commit on".to_owned())
}

/// What runs on the thread.
struct Writer {
    connection: Connection,
    mode: CommitMode,
    topic: String,
    group: Arc<BaseConsumer<Membership>>,
    producer: Option<BaseProducer<Undelivered>>,
}

impl Writer {
    /// The same, without a client yet.
    fn anew(&self) -> Self {
        let Self { connection, mode, topic, group, producer: _ } = self;
        Self {
            connection: connection.clone(),
            mode: mode.clone(),
            topic: topic.clone(),
            group: Arc::clone(group),
            producer: None,
        }
    }

    fn settings(&self) -> Result<rdkafka::ClientConfig, ConnectError> {
        let mut config = producer_settings(&self.connection)?;
        // A transaction is awaited as a whole: waiting for more records would only delay it.
        config.set("linger.ms", "0");
        if let CommitMode::Transaction { transactional_id } = &self.mode {
            config.set("transactional.id", transactional_id);
            config.set("transaction.timeout.ms", TRANSACTION_TIMEOUT.as_millis().to_string());
            // A transaction that begins just behind another is answered with CONCURRENT_TRANSACTIONS until that one's
            // markers are written, some milliseconds later. At the default of 100 ms each step would wait for long.
            config.set("retry.backoff.ms", "5");
            config.set("retry.backoff.max.ms", "200");
        }
        Ok(config)
    }

    /// Connects before there is anything to commit: this aborts what an earlier run under our id has left open, and nobody
    /// is told where a partition stands that it had touched before that. A failure shows again at the first commit.
    fn begin(&mut self) {
        match self.connect() {
            Ok(producer) => self.producer = Some(producer),
            Err(error) => tracing::warn!(error = %error, "the committing client cannot start yet"),
        }
    }

    /// Hears of faults between commits.
    fn attend(&self) {
        if let Some(producer) = &self.producer {
            take_reports(producer);
        }
    }

    fn write(&mut self, batch: &Batch) -> Result<(), KafkaError> {
        pass(FailPoint::CommitBegins);
        let producer = match self.producer.take() {
            Some(producer) => producer,
            None => self.connect()?,
        };
        let result = match self.mode {
            CommitMode::Transaction { .. } => in_transaction(&producer, |p| self.fill(p, batch)),
            CommitMode::InTurn => self
                .in_turn(&producer, batch)
                .map_err(|error| Failure { error, usable: producer.client().fatal_error().is_none() }),
        };
        // A client that could not even abort, or is broken for good, is replaced: the next one, under the same id, ends what
        // this one left open.
        if result.as_ref().map_or_else(|failure| failure.usable, |()| true) {
            self.producer = Some(producer);
        }
        if result.is_ok() {
            pass(FailPoint::CommitMade);
        }
        result.map_err(|failure| failure.error)
    }

    /// Where the parked records of a batch came to lie.
    fn places(&self, batch: &Batch) -> Vec<Place> {
        let Some(producer) = &self.producer else { return Vec::new() };
        let written = std::mem::take(&mut *producer.context().written.lock().unwrap_or_else(PoisonError::into_inner));
        let place = |(n, offset): (usize, i64)| {
            let record = batch.records.get(n)?;
            Some(Place { partition: record.partition, origin: record.parks?, offset })
        };
        written.into_iter().filter_map(place).collect()
    }

    fn connect(&mut self) -> Result<BaseProducer<Undelivered>, KafkaError> {
        let config = self.settings().map_err(|e| KafkaError::ClientCreation(e.to_string()))?;
        let producer: BaseProducer<Undelivered> = config.create_with_context(Undelivered::default())?;
        if matches!(self.mode, CommitMode::Transaction { .. }) {
            producer.init_transactions(TRANSACTION_TIMEOUT)?;
        }
        Ok(producer)
    }

    /// The offsets come first: what adds them to the transaction waits until the one before it has ended, and asks each
    /// `retry.backoff.ms`. Partitions that are added at the same time would be refused as well, and asked for again only
    /// after the 20 ms that librdkafka 2.12 has fixed for it (seen: 28 ms for each of two commits in a row, instead of 10).
    fn fill(&self, producer: &BaseProducer<Undelivered>, batch: &Batch) -> Result<(), KafkaError> {
        let stranger = KafkaError::ConsumerCommit(RDKafkaErrorCode::UnknownMemberId);
        let membership = batch.membership.as_deref().ok_or(stranger)?;
        producer.send_offsets_to_transaction(&self.offsets(batch)?, membership, TRANSACTION_TIMEOUT)?;
        pass(FailPoint::OffsetsSent);
        put(producer, &batch.records)?;
        await_delivery(producer)?;
        pass(FailPoint::RecordsWritten);
        Ok(())
    }

    fn in_turn(&self, producer: &BaseProducer<Undelivered>, batch: &Batch) -> Result<(), KafkaError> {
        let undelivered = producer.context().count.load(Ordering::Acquire);
        put(producer, &batch.records)?;
        await_delivery(producer)?;
        if producer.context().count.load(Ordering::Acquire) != undelivered {
            return Err(KafkaError::MessageProduction(RDKafkaErrorCode::MessageTimedOut));
        }
        self.group.commit(&self.offsets(batch)?, KafkaCommitMode::Sync)
    }

    fn offsets(&self, batch: &Batch) -> Result<TopicPartitionList, KafkaError> {
        let mut tpl = TopicPartitionList::with_capacity(batch.offsets.len());
        for at in &batch.offsets {
            let mut element = tpl.add_partition(&self.topic, at.partition.0);
            element.set_offset(Offset::Offset(at.offset))?;
            element.set_metadata(&at.metadata);
        }
        Ok(tpl)
    }
}

/// Why a commit was not made, and whether the client can make the next one.
struct Failure {
    error: KafkaError,
    usable: bool,
}

fn in_transaction(
    producer: &BaseProducer<Undelivered>,
    fill: impl FnOnce(&BaseProducer<Undelivered>) -> Result<(), KafkaError>,
) -> Result<(), Failure> {
    let attempt = producer
        .begin_transaction()
        .and_then(|()| fill(producer))
        .and_then(|()| producer.commit_transaction(TRANSACTION_TIMEOUT));
    attempt.map_err(|error| {
        let usable = abort(producer).is_ok() && producer.client().fatal_error().is_none();
        Failure { error, usable }
    })
}

/// Aborts. librdkafka waits meanwhile until the reports of what it drops are taken, which is to be done by another thread.
fn abort(producer: &BaseProducer<Undelivered>) -> Result<(), KafkaError> {
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let take = || {
            while !ended.load(Ordering::Acquire) {
                take_reports(producer);
                std::thread::sleep(LOOK_EVERY);
            }
        };
        // Without that thread the abort fails when its time is over, and the client is replaced.
        let _ = std::thread::Builder::new().name("abort".to_owned()).spawn_scoped(scope, take);
        let aborted = producer.abort_transaction(TRANSACTION_TIMEOUT);
        ended.store(true, Ordering::Release);
        aborted
    })
}

/// Waits until it is known of all records whether they are delivered. Of those that are not, the transaction tells.
///
/// The waiting is ours, since rust-rdkafka 0.39 asks in a busy loop through the last millisecond of each timeout (seen: a
/// tenth of the consumer's CPU time). For the same reason there is no thread of its own that polls for reports.
fn await_delivery(producer: &BaseProducer<Undelivered>) -> Result<(), KafkaError> {
    let deadline = Instant::now() + TRANSACTION_TIMEOUT;
    loop {
        take_reports(producer);
        if producer.in_flight_count() == 0 {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(KafkaError::MessageProduction(RDKafkaErrorCode::MessageTimedOut));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Takes the reports that are there, of records and of faults. Each poll takes one, and one speaks of many records.
fn take_reports(producer: &BaseProducer<Undelivered>) {
    let mut left = producer.in_flight_count();
    while left > 0 {
        producer.poll(Duration::ZERO);
        let before = std::mem::replace(&mut left, producer.in_flight_count());
        if left >= before {
            return;
        }
    }
}

fn put(producer: &BaseProducer<Undelivered>, records: &[StateRecord]) -> Result<(), KafkaError> {
    // What an attempt before this one has written is of no account.
    producer.context().written.lock().unwrap_or_else(PoisonError::into_inner).clear();
    for (n, state) in records.iter().enumerate() {
        let opaque = state.parks.map_or(NOT_PARKED, |_| n);
        let mut record = BaseRecord::with_opaque_to(&state.topic, opaque).partition(state.partition).key(&state.key);
        if let Some(value) = &state.value {
            record = record.payload(value);
        }
        producer.send(record).map_err(|(error, _)| error)?;
    }
    Ok(())
}

/// Tells a record that parks nothing from the number of one that does.
const NOT_PARKED: usize = usize::MAX;

/// Counts what was not delivered, and notes where parked records came to lie.
#[derive(Debug, Default)]
struct Undelivered {
    count: AtomicU64,
    /// Numbers of records of the batch, and their offsets.
    written: Mutex<Vec<(usize, i64)>>,
    faults: Faults,
}

impl ClientContext for Undelivered {
    fn error(&self, error: KafkaError, reason: &str) {
        self.faults.tell("commits", &error, reason);
    }
}

impl ProducerContext for Undelivered {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: Self::DeliveryOpaque) {
        match result {
            Ok(_) if opaque == NOT_PARKED => {}
            Ok(message) => {
                self.written.lock().unwrap_or_else(PoisonError::into_inner).push((opaque, message.offset()));
            }
            Err(_) => {
                self.count.fetch_add(1, Ordering::Release);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::collections::BTreeMap;

    use rdkafka::mocking::MockCluster;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
    use tieline_delivery::Partition;

    use super::*;
    use crate::kafka::{Fetcher, ParkTopic};

    #[test]
    fn who_does_not_end_a_commit_is_left_to_itself_and_another_makes_the_next() {
        let hand = |answers: bool| {
            let ((batches, todo), (done, reports)) = (sync_mpsc::channel::<Batch>(), sync_mpsc::channel());
            std::thread::spawn(move || {
                while let Ok(batch) = todo.recv() {
                    if answers {
                        done.send(Report { id: batch.id, result: Ok(()), places: Vec::new() }).unwrap();
                    }
                }
            });
            Hand { batches, reports }
        };
        let ((batches, todo), (reports, mut seen)) = (sync_mpsc::channel(), mpsc::unbounded_channel());
        let within = Duration::from_millis(100);
        let first = hand(false);
        std::thread::spawn(move || hand_over(&todo, &reports, within, first, || Ok(hand(true))));
        for n in 1..=3 {
            batches.send(Batch { id: CommitId(n), offsets: vec![], records: vec![], membership: None }).unwrap();
            let report = seen.blocking_recv().unwrap();
            assert_eq!((report.id, report.result.is_ok()), (CommitId(n), n > 1));
        }
    }

    #[test]
    fn a_client_that_is_broken_for_good_is_replaced_on_the_embedded_broker_too() {
        let cluster = MockCluster::new(1).unwrap();
        for topic in ["items", "ledger", "parked"] {
            cluster.create_topic(topic, 1, 1).unwrap();
        }
        // librdkafka takes this answer for a fatal one: the client can never produce.
        let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
        cluster.request_errors(RDKafkaApiKey::InitProducerId, &[refused]);
        let kafka = tieline_bus::Kafka {
            brokers: cluster.bootstrap_servers(),
            settings: BTreeMap::new(),
            partitions: 1,
            replication: 1,
        };
        let connection = Connection { kafka, embedded: true };
        let park = Arc::new(ParkTopic::new(&connection, "g", "parked".to_owned()).unwrap());
        let (fetcher, events) = Fetcher::start(&connection, "g", "items", park, Duration::ZERO).unwrap();
        let group = Arc::clone(&fetcher.client);
        let (committer, mut reports) = Committer::start(&connection, CommitMode::InTurn, "items", group).unwrap();

        let mut commit = |n: u64| {
            let record = StateRecord {
                topic: "ledger".into(),
                partition: 0,
                key: Vec::new(),
                value: Some(vec![1]),
                parks: None,
            };
            let offset = CommitOffset { partition: Partition(0), offset: 1, metadata: String::new() };
            committer.commit(Batch { id: CommitId(n), offsets: vec![offset], records: vec![record], membership: None });
            reports.blocking_recv().unwrap().result
        };
        commit(1).unwrap_err();
        commit(2).unwrap();
        drop(events);
        fetcher.stop();
    }
}
