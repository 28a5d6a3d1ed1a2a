//! The loop of one consumer: it carries what happens to the core, and what the core asks for into the world.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::mpsc as sync_mpsc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::KafkaError;
use tieline_bus::{Consumer, OnDeadLetter, Order};
use tieline_delivery::{
    Answer, AttemptLog, Came, Commit, CommitId, Epoch, Final, Input, Machine, Outcome, Output, Partition, PauseReason,
    Prepared, RecordId, Settings, Time,
};
use tokio::sync::{mpsc, watch};

use super::Wiring;
use super::finals::{Now, StateTopics, state_records};
use super::jobs::{JobId, Jobs};
use super::lag::{Ages, records_behind};
use super::ordered::JobRead;
use super::prepare::{Delivered, Preparer, Step};
use super::send::{Sender, detail, tell};
use super::status::{ConsumerStatus, OutageStatus, PartitionStatus, StuckRecord, reason_text};
use crate::happening::{Happening, What};
use crate::kafka::{
    Batch, CommitMode, Committer, ConnectError, Control, FetchEvent, Fetcher, Halt, LetterTopic, ParkError, ParkTopic,
    Record, Report, group_of, state_topic,
};
use crate::orders::OrdersError;
use crate::producer::{StartError, schema_id};
use crate::state::{Attempt, Command, ParkedRecord, Pauses};
use crate::telemetry::ConsumerMetrics;

/// Records of all partitions that may be fetched and not yet covered by a commit.
const WINDOW_RECORDS_MAX: usize = 20_000;

/// Their bytes. With librdkafka's prefetch it bounds a consumer's memory.
const WINDOW_BYTES_MAX: usize = 64 << 20;

/// Calls that may come again after a crash, each recognisable by its idempotency key: as many, or this many for each that
/// may be under way. A commit is made when half of them are used up, so that sending need not wait for it: of some 20 ms,
/// that allows 25,000 calls a second, and more with more under way. Where a system takes milliseconds to answer, far fewer
/// come again: as many as it answers in the time between two commits.
const REPEATS_MAX: usize = 1_024;
const REPEATS_PER_CALL: usize = 4;

/// How often progress is made durable. A transaction takes some tens of milliseconds, and what is not committed at a crash
/// is recognised by the systems, not lost.
const COMMIT_EVERY: Duration = Duration::from_millis(100);

/// The bounds of the exponential backoff, before jitter.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(20));

/// Longest `Retry-After` that is waited for without an alarm.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);

/// Most keys that may be parked in one process. Each costs some 200 bytes of memory, and each of its records some 40.
const PARKED_KEYS_MAX: usize = 100_000;

/// How long what is in flight may take when partitions are taken back or the service stops.
const DRAIN: Duration = Duration::from_secs(15);

/// How often the status is looked at.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// How a running service is told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// It is not.
    Run,
    /// It finishes what is in flight and commits.
    Drain,
    /// It ends at once.
    Now,
}

/// Why a consumer cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A Kafka client cannot be made.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The follow-up event's schema is not there, or the registry cannot be asked.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The system has no client.
    #[error("system `{0}` has no client")]
    NoSystem(String),
    /// What people have ordered cannot be read.
    #[error("orders cannot be read: {0}")]
    Orders(#[from] OrdersError),
    /// What is parked cannot be read, so that nothing may be delivered.
    #[error("parked records cannot be read: {0}")]
    Park(ParkError),
    /// Nobody said where to start.
    #[error(transparent)]
    Halted(Halt),
    /// A thread of ours has ended, which none does by itself.
    #[error("the thread that {0} has ended; see the log for why")]
    ThreadEnded(&'static str),
    /// Kafka refuses us, or its client is broken for good.
    #[error("Kafka cannot be read from: {0}")]
    Kafka(KafkaError),
}

/// Something that was started has ended.
pub(super) enum Done {
    Prepared { id: RecordId, attempt: u32, delivered: Arc<Delivered>, step: Step },
    Answered { id: RecordId, attempt: u32, answer: Answer, log: AttemptLog },
    JobRead { id: JobId, read: JobRead },
    Told,
    Recalled { id: RecordId, parked: Result<Box<ParkedRecord<'static>>, String> },
    Behind { records: Option<i64> },
}

/// Runs a consumer until it is told to stop.
///
/// # Errors
/// When it cannot start, or cannot go on.
pub async fn run(
    wiring: Arc<Wiring>,
    consumer: Arc<Consumer>,
    status: watch::Sender<ConsumerStatus>,
    mut stop: watch::Receiver<Stop>,
) -> Result<(), ServiceError> {
    let (mut service, mut fetched, mut reports, mut orders) = tokio::select! {
        started = Service::start(wiring, consumer, status) => started?,
        Ok(_) = stop.wait_for(|stop| *stop > Stop::Run) => return Ok(()),
    };
    let mut status_tick = tokio::time::interval(STATUS_EVERY);
    let ended = loop {
        service.go_on_with_jobs();
        let until = match service.advance() {
            Next::Wait(until) => until,
            Next::Drained => break Ok(()),
        };
        tokio::select! {
            event = fetched.recv() => match event {
                Some(event) => if let Err(error) = service.fetched(event) { break Err(error) },
                None => break Err(ServiceError::ThreadEnded("polls Kafka")),
            },
            Some(done) = service.under_way.next() => {
                service.done(done);
                service.all_done();
            }
            report = reports.recv() => match report {
                Some(report) => service.reported(report),
                None => break Err(ServiceError::ThreadEnded("commits")),
            },
            Some(command) = orders.recv() => service.ordered(&command),
            () = sleep_until(until) => service.input(Input::Tick),
            _ = status_tick.tick() => service.publish_status(),
            Ok(()) = stop.changed() => {
                let asked = *stop.borrow();
                match asked {
                    Stop::Run => {}
                    Stop::Drain => service.input(Input::Drain { deadline: service.time_in(DRAIN) }),
                    Stop::Now => break Ok(()),
                }
            }
        }
    };
    drop(fetched); // what the thread still reports is for nobody, and it does not wait for us
    let Service { fetcher, committer, .. } = service;
    drop(committer);
    // Leaving the group blocks; a process that is ended before it is over has its session time out.
    let _ = tokio::task::spawn_blocking(move || fetcher.stop()).await;
    ended
}

async fn sleep_until(until: Option<tokio::time::Instant>) {
    match until {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// A consumer that runs, and what comes to it.
type Started =
    (Service, mpsc::Receiver<FetchEvent>, mpsc::UnboundedReceiver<Report>, mpsc::UnboundedReceiver<Arc<Command>>);

/// When the loop has to come back to the core.
enum Next {
    Wait(Option<tokio::time::Instant>),
    Drained,
}

pub(super) struct Service {
    pub(super) consumer: Arc<Consumer>,
    pub(super) preparer: Arc<Preparer>,
    sender: Arc<Sender>,
    pub(super) machine: Machine<Arc<Delivered>>,
    fetcher: Fetcher,
    committer: Committer,
    topics: StateTopics,
    park: Arc<ParkTopic>,
    /// Where the parked records of each partition of ours lie, by their offset in the topic that they came from.
    places: BTreeMap<i32, HashMap<i64, i64>>,
    /// What people have ordered: what is paused, what is to become of dead letters, and how far that is here.
    pub(super) pauses: Pauses,
    pub(super) acts: Vec<Arc<Command>>,
    pub(super) jobs: Jobs,
    pub(super) letters: Arc<LetterTopic>,
    metrics: ConsumerMetrics,
    status: watch::Sender<ConsumerStatus>,
    pub(super) under_way: FuturesUnordered<BoxFuture<'static, Done>>,
    origin: Instant,
    /// The assignment of each partition that is ours.
    pub(super) epochs: BTreeMap<i32, Epoch>,
    last_epoch: u64,
    membership: Option<Arc<ConsumerGroupMetadata>>,
    joined: bool,
    /// The partitions that the fetching thread waits to give back, and what tells it that they may go.
    leaving: Option<(BTreeSet<Partition>, sync_mpsc::Sender<()>)>,
    last_commit: Instant,
    /// The commit that is under way.
    committing: Option<Commit<Arc<Delivered>>>,
    /// Since when partitions wait, in milliseconds since the Unix epoch.
    paused_since: BTreeMap<i32, i64>,
    /// Whether people were told that the system fails for everybody.
    in_outage: bool,
    ages: Ages,
    /// Whether the brokers are being asked how far we are behind.
    asking_lag: bool,
}

impl Service {
    async fn start(
        wiring: Arc<Wiring>,
        consumer: Arc<Consumer>,
        status: watch::Sender<ConsumerStatus>,
    ) -> Result<Started, ServiceError> {
        let (bus, name) = (&wiring.bus.name, &consumer.name);
        let system_name = &consumer.call.system.name;
        let system =
            wiring.systems.get(system_name).cloned().ok_or_else(|| ServiceError::NoSystem(system_name.clone()))?;
        let follow_up_schema = match &consumer.emit {
            Some(emit) => Some(schema_id(&wiring.registry, &emit.event).await?),
            None => None,
        };
        let metrics = wiring.metrics.consumer(name);
        let topic = &consumer.event.topic;
        // Before anything is assigned: what is paused is so from the start.
        let standing = wiring.orders.listen().await?;
        let group = group_of(bus, name);
        let parked = state_topic(bus, name, "parked");
        let park = Arc::new(ParkTopic::new(&wiring.connection, &group, parked.clone())?);
        let dead_letters = state_topic(bus, name, "dead-letters");
        let letters = Arc::new(LetterTopic::new(&wiring.connection, &group, dead_letters.clone())?);
        let (fetcher, fetched) = Fetcher::start(&wiring.connection, &group, topic, Arc::clone(&park), DRAIN)?;
        let mode = if wiring.connection.embedded {
            CommitMode::InTurn
        } else {
            CommitMode::Transaction { transactional_id: format!("{bus}.{name}.{}", wiring.instance) }
        };
        let (committer, reports) = Committer::start(&wiring.connection, mode, topic, Arc::clone(&fetcher.client))?;
        let topics = StateTopics {
            source: topic.as_str().into(),
            ledger: state_topic(bus, name, "ledger").into(),
            dead_letters: dead_letters.into(),
            parked: parked.into(),
        };
        let preparer = Arc::new(Preparer::new(wiring, Arc::clone(&consumer)));
        let sender = Sender { preparer: Arc::clone(&preparer), system, metrics: metrics.clone(), follow_up_schema };
        let mut service = Self {
            machine: Machine::new(settings(&consumer), Time::default()),
            consumer,
            preparer,
            sender: Arc::new(sender),
            fetcher,
            committer,
            topics,
            park,
            places: BTreeMap::new(),
            pauses: Pauses::default(),
            acts: Vec::new(),
            jobs: Jobs::default(),
            letters,
            metrics,
            status,
            under_way: FuturesUnordered::new(),
            origin: Instant::now(),
            epochs: BTreeMap::new(),
            last_epoch: 0,
            membership: None,
            joined: false,
            leaving: None,
            last_commit: Instant::now(),
            committing: None,
            paused_since: BTreeMap::new(),
            in_outage: false,
            ages: Ages::default(),
            asking_lag: false,
        };
        service.orders_stand(&standing);
        Ok((service, fetched, reports, standing.coming))
    }

    fn now(&self) -> Time {
        Time(self.origin.elapsed())
    }

    fn time_in(&self, duration: Duration) -> Time {
        Time(self.origin.elapsed() + duration)
    }

    pub(super) fn input(&mut self, input: Input<Arc<Delivered>>) {
        let now = self.now();
        self.machine.handle(now, input);
    }

    /// Does what the core asks for, until it has to wait.
    fn advance(&mut self) -> Next {
        loop {
            let now = self.now();
            match self.machine.poll(now) {
                Output::Prepare { id, attempt, record } => self.prepare(id, attempt, record),
                Output::Send { id, attempt, maybe_applied, mapped_otherwise, record } => {
                    if mapped_otherwise {
                        record.effect.mapped_otherwise();
                    }
                    self.send(id, attempt, maybe_applied, record);
                }
                Output::Recall { id } => self.recall(id),
                Output::Commit(commit) => self.commit(now, commit),
                Output::Pause { partition, reason } => self.pause(partition, &reason),
                Output::Resume { partition } => self.resume(partition),
                Output::Released { partition } => self.released(partition),
                Output::Drained => return Next::Drained,
                Output::Wait { until } => {
                    return Next::Wait(until.map(|at| tokio::time::Instant::from_std(self.origin + at.0)));
                }
            }
        }
    }

    /// Most records need nothing from outside to be prepared, and are so at once.
    fn prepare(&mut self, id: RecordId, attempt: u32, delivered: Arc<Delivered>) {
        if let Some(step) = self.preparer.prepare_at_once(&delivered) {
            self.done(Done::Prepared { id, attempt, delivered, step });
            return;
        }
        let preparer = Arc::clone(&self.preparer);
        let mut preparing: BoxFuture<'static, Done> = Box::pin(async move {
            let step = preparer.prepare(&delivered).await;
            Done::Prepared { id, attempt, delivered, step }
        });
        match (&mut preparing).now_or_never() {
            Some(done) => self.done(done),
            None => self.under_way.push(preparing),
        }
    }

    fn send(&self, id: RecordId, attempt: u32, maybe_applied: bool, delivered: Arc<Delivered>) {
        let sender = Arc::clone(&self.sender);
        self.under_way.push(Box::pin(async move {
            let (answer, log) = sender.send(&delivered, attempt, maybe_applied).await;
            Done::Answered { id, attempt, answer, log }
        }));
    }

    /// Takes all that has ended meanwhile, so that a turn of the loop serves many.
    fn all_done(&mut self) {
        while let Some(Some(done)) = self.under_way.next().now_or_never() {
            self.done(done);
        }
    }

    fn done(&mut self, done: Done) {
        let input = match done {
            Done::Prepared { id, attempt, delivered, step } => {
                Input::Prepared { id, attempt, outcome: self.prepared(attempt, &delivered, step) }
            }
            Done::Answered { id, attempt, answer, log } => Input::Answered { id, attempt, answer, log },
            Done::Recalled { id, parked } => self.recalled(id, parked),
            Done::JobRead { id, read } => return self.job_read(&id, read),
            Done::Told => return,
            Done::Behind { records } => {
                self.asking_lag = false;
                if let Some(records) = records {
                    self.metrics.lag_records.set(records);
                }
                return;
            }
        };
        self.input(input);
    }

    fn prepared(&self, attempt: u32, delivered: &Delivered, step: Step) -> Prepared {
        match step {
            Step::Call(request) => {
                delivered.keep_request(request);
                Prepared::Call
            }
            Step::Skip => Prepared::Skip,
            Step::Refused(reason) => Prepared::Refused(reason),
            Step::NotNow(answer, log) => {
                let reason = detail(&answer).unwrap_or("the system asks to wait").to_owned();
                tell(&self.preparer, delivered, || What::NotSent { attempt, reason });
                Prepared::NotNow(answer, log)
            }
        }
    }

    fn fetched(&mut self, event: FetchEvent) -> Result<(), ServiceError> {
        match event {
            FetchEvent::Records(records) => records.into_iter().for_each(|record| self.record(record)),
            FetchEvent::Assigned { partitions, partition_count, membership } => {
                self.membership = membership;
                self.joined = true;
                for at in partitions {
                    self.assigned(at, partition_count)?;
                }
            }
            FetchEvent::Revoking { partitions, membership, grace, done } => {
                self.membership = membership;
                self.revoke(&partitions, grace, done);
            }
            FetchEvent::Lost { partitions } => {
                for partition in partitions {
                    self.epochs.remove(&partition);
                    self.places.remove(&partition);
                    self.jobs.forget(partition);
                    self.ages.forget(partition);
                    self.input(Input::Lost { partition: Partition(partition) });
                }
            }
            FetchEvent::ParkUnreadable { error } => return Err(ServiceError::Park(error)),
            FetchEvent::Halted { halt } => return Err(ServiceError::Halted(halt)),
            FetchEvent::Failed { error } => return Err(ServiceError::Kafka(error)),
        }
        Ok(())
    }

    fn record(&mut self, record: Record) {
        // A record that was on its way when its partition went has nobody here.
        let Some(&epoch) = self.epochs.get(&record.partition) else { return };
        let id = RecordId { epoch, partition: Partition(record.partition), offset: record.offset };
        let (key, bytes) = (record.key.clone(), record.size());
        self.ages.note(record.partition, record.offset, record.timestamp_ms);
        self.input(Input::Fetched { id, key, bytes, record: Arc::new(Delivered::new(record)) });
    }

    fn assigned(&mut self, at: crate::kafka::Position, partitions: u32) -> Result<(), ServiceError> {
        let topic = self.consumer.event.topic.clone();
        let Some(offset) = at.offset else {
            return Err(ServiceError::Halted(Halt::NoOffset { topic, partition: at.partition }));
        };
        self.last_epoch += 1;
        let epoch = Epoch(self.last_epoch);
        self.epochs.insert(at.partition, epoch);
        let partition = Partition(at.partition);
        self.ages.forget(at.partition);
        self.paused_since.remove(&at.partition);
        // A pause that was asked for under an earlier assignment may be obeyed only now.
        self.fetcher.ask(Control::Resume(at.partition));
        let (metadata, parked) = (at.metadata, at.parked);
        let (waiting, holds) = (parked.parked.len(), parked.held.len());
        tracing::info!(
            consumer = self.consumer.name,
            partition = at.partition,
            offset,
            parked = waiting,
            holds,
            "assigned"
        );
        self.places.insert(at.partition, parked.places);
        let (parked, held) = (parked.parked, parked.held);
        self.input(Input::Assigned { epoch, partition, offset, metadata, partitions, parked, held });
        self.begin_jobs(at.partition);
        Ok(())
    }

    fn revoke(&mut self, partitions: &[i32], grace: Duration, done: sync_mpsc::Sender<()>) {
        let deadline = self.time_in(grace);
        let ours: BTreeSet<Partition> =
            partitions.iter().filter(|p| self.epochs.contains_key(p)).map(|p| Partition(*p)).collect();
        for &partition in &ours {
            self.input(Input::Revoke { partition, deadline });
        }
        if !ours.is_empty() {
            self.leaving = Some((ours, done));
        }
    }

    fn released(&mut self, partition: Partition) {
        self.epochs.remove(&partition.0);
        self.places.remove(&partition.0);
        self.jobs.forget(partition.0);
        self.ages.forget(partition.0);
        self.paused_since.remove(&partition.0);
        if let Some((waiting, _)) = &mut self.leaving {
            waiting.remove(&partition);
        }
        self.let_go();
    }

    /// Lets the fetching thread give back what it waits with. Not while a commit is under way: made after the next owner
    /// has begun, it would take back what that one has committed.
    fn let_go(&mut self) {
        let may_go = self.leaving.as_ref().is_some_and(|(waiting, _)| waiting.is_empty());
        if may_go && self.committing.is_none() {
            self.leaving = None;
        }
    }

    fn pause(&mut self, partition: Partition, reason: &PauseReason) {
        self.fetcher.ask(Control::Pause(partition.0));
        if matches!(reason, PauseReason::Window) {
            self.paused_since.remove(&partition.0);
            return;
        }
        self.paused_since.entry(partition.0).or_insert_with(crate::now_ms);
        let (consumer, reason) = (&self.consumer, reason_text(reason));
        tracing::warn!(consumer = consumer.name, partition = partition.0, reason, "the partition waits");
        self.preparer.wiring.happenings.tell(|| Happening {
            at_ms: crate::now_ms(),
            service: consumer.name.clone(),
            event_id: String::new(),
            event: consumer.event.name.clone(),
            key: String::new(),
            what: What::Stuck { partition: partition.0, reason },
        });
    }

    fn resume(&mut self, partition: Partition) {
        self.paused_since.remove(&partition.0);
        self.fetcher.ask(Control::Resume(partition.0));
    }

    /// Reads a parked record back, on a thread that may block.
    fn recall(&self, id: RecordId) {
        let (partition, park) = (id.partition.0, Arc::clone(&self.park));
        let Some(&place) = self.places.get(&partition).and_then(|places| places.get(&id.offset)) else {
            let parked = Err("nobody knows where it lies".to_owned());
            self.under_way.push(Box::pin(std::future::ready(Done::Recalled { id, parked })));
            return;
        };
        self.under_way.push(Box::pin(async move {
            let read = tokio::task::spawn_blocking(move || park.record(partition, place)).await;
            let parked = match read {
                Ok(Ok(parked)) => Ok(Box::new(parked)),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("the process is ending".to_owned()),
            };
            Done::Recalled { id, parked }
        }));
    }

    fn recalled(&self, id: RecordId, parked: Result<Box<ParkedRecord<'static>>, String>) -> Input<Arc<Delivered>> {
        let parked = match parked {
            Ok(parked) => parked,
            Err(error) => {
                let (partition, offset) = (id.partition.0, id.offset);
                let consumer = &self.consumer.name;
                tracing::error!(consumer, partition, offset, error, "a parked record cannot be read back");
                return Input::RecallFailed { id };
            }
        };
        let record = Arc::new(Delivered::parked(&parked));
        let (state, has_request) = (parked.state(crate::now_ms()), record.request().is_some());
        let attempts = parked.attempts.into_iter().map(Attempt::into_log).collect();
        Input::Recalled { id, bytes: record.record.size(), record, state, attempts, has_request }
    }

    fn commit(&mut self, now: Time, commit: Commit<Arc<Delivered>>) {
        match state_records(&self.topics, &commit, Now { at: now, ms: crate::now_ms() }) {
            Ok(records) => {
                let membership = self.membership.clone();
                let batch = Batch { id: commit.id, offsets: commit.offsets.clone(), records, membership };
                self.committing = Some(commit);
                self.committer.commit(batch);
            }
            Err(error) => {
                tracing::error!(consumer = self.consumer.name, %error, "outcomes cannot be written down");
                self.commit_failed(commit.id);
            }
        }
    }

    fn ended(&self, ended: &Final<Arc<Delivered>>) {
        if let Outcome::Dead { reason, .. } = &ended.outcome {
            tracing::warn!(
                consumer = self.consumer.name,
                partition = ended.id.partition.0,
                offset = ended.id.offset,
                event_id = ended.record.event_id(),
                reason = reason.code,
                detail = reason.detail,
                "dead letter"
            );
        }
        match &ended.outcome {
            Outcome::Done => {}
            Outcome::Skipped => tell(&self.preparer, &ended.record, || What::Skipped),
            Outcome::Dead { reason, .. } => {
                tell(&self.preparer, &ended.record, || What::Dead { reason: reason.detail.clone() });
            }
            Outcome::Parked { reason, .. } => {
                tell(&self.preparer, &ended.record, || What::Parked { reason: reason.detail.clone() });
            }
        }
        self.count(&ended.outcome);
    }

    fn count(&self, outcome: &Outcome) {
        match outcome {
            Outcome::Done => self.metrics.done.inc(),
            Outcome::Skipped => self.metrics.skipped.inc(),
            Outcome::Dead { .. } => self.metrics.dead.inc(),
            Outcome::Parked { .. } => self.metrics.parked.inc(),
        }
    }

    fn reported(&mut self, report: Report) {
        let commit = self.committing.take();
        self.let_go();
        match report.result {
            Ok(()) => {
                for place in report.places {
                    if let Some(places) = self.places.get_mut(&place.partition) {
                        places.insert(place.origin, place.offset);
                    }
                }
                let finals = commit.as_ref().map(|commit| &*commit.finals).unwrap_or_default();
                for ended in finals.iter().filter(|ended| ended.came == Came::Parked) {
                    if let (false, Some(places)) =
                        (matches!(ended.outcome, Outcome::Parked { .. }), self.places.get_mut(&ended.id.partition.0))
                    {
                        places.remove(&ended.id.offset);
                    }
                }
                // Told only now: a commit that fails is made again, with the same records in it.
                finals.iter().for_each(|ended| self.ended(ended));
                self.metrics.commits_ok.inc();
                self.last_commit = Instant::now();
                if let Some(commit) = &commit {
                    self.jobs_durable(commit);
                }
                self.input(Input::Committed { commit: report.id });
            }
            Err(error) => {
                tracing::warn!(consumer = self.consumer.name, %error, "a commit failed and is made again");
                self.commit_failed(report.id);
            }
        }
    }

    fn commit_failed(&mut self, id: CommitId) {
        self.metrics.commits_failed.inc();
        // The core waits before it asks again.
        self.input(Input::CommitFailed { commit: id });
    }

    fn publish_status(&mut self) {
        let status = self.look();
        self.tell_outage(status.outage.as_ref());
        self.metrics.in_flight.set(clamp(status.in_flight));
        self.metrics.keys_waiting.set(clamp(status.keys_waiting));
        self.metrics.buffered_records.set(clamp(status.buffered_records));
        self.metrics.stuck.set(clamp(status.stuck.len()));
        self.metrics.parked_records.set(clamp(status.parked_records));
        self.metrics.held_keys.set(clamp(status.held_keys));
        self.metrics.outage.set(i64::from(status.outage.is_some()));
        self.metrics.paused_partitions.set(clamp(status.partitions.iter().filter(|p| p.paused.is_some()).count()));
        self.metrics.stale_inputs.set(i64::try_from(self.machine.stale_inputs()).unwrap_or(i64::MAX));
        let idle = status.partitions.iter().all(|p| p.committed == p.fetched_to);
        let age = if idle { 0 } else { self.last_commit.elapsed().as_secs() };
        self.metrics.commit_age_seconds.set(i64::try_from(age).unwrap_or(i64::MAX));
        for at in self.machine.partitions() {
            self.ages.passed(at.partition.0, at.frontier);
        }
        self.metrics.lag_seconds.set(self.ages.oldest_s(crate::now_ms()));
        self.ask_lag();
        self.status.send_replace(status);
    }

    /// Tells when an outage begins, and when it is over.
    fn tell_outage(&mut self, outage: Option<&OutageStatus>) {
        let before = std::mem::replace(&mut self.in_outage, outage.is_some());
        if before == outage.is_some() {
            return;
        }
        let (consumer, system) = (&self.consumer, &self.consumer.call.system.name);
        let reason = outage.map(|outage| outage.detail.clone());
        match &reason {
            Some(reason) => tracing::warn!(consumer = consumer.name, system, reason, "the system fails for everybody"),
            None => tracing::info!(consumer = consumer.name, system, "the system works again"),
        }
        self.preparer.wiring.happenings.tell(|| Happening {
            at_ms: crate::now_ms(),
            service: consumer.name.clone(),
            event_id: String::new(),
            event: consumer.event.name.clone(),
            key: String::new(),
            what: What::Outage { reason },
        });
    }

    /// Asks the brokers how far we are behind, unless they are being asked.
    fn ask_lag(&mut self) {
        if std::mem::replace(&mut self.asking_lag, true) {
            return;
        }
        let (client, topic) = (Arc::clone(&self.fetcher.client), self.consumer.event.topic.clone());
        let frontiers: Vec<(i32, i64)> = self.machine.partitions().map(|p| (p.partition.0, p.frontier)).collect();
        self.under_way.push(Box::pin(async move {
            let asked = tokio::task::spawn_blocking(move || records_behind(&client, &topic, &frontiers)).await;
            Done::Behind { records: asked.ok().flatten() }
        }));
    }

    fn look(&self) -> ConsumerStatus {
        let load = self.machine.load();
        let now = self.now();
        let partitions = self.machine.partitions().map(|p| PartitionStatus {
            partition: p.partition.0,
            committed: p.committed,
            fetched_to: p.fetched_to,
            paused: p.paused.as_ref().filter(|reason| !matches!(reason, PauseReason::Window)).map(reason_text),
            paused_since_ms: self.paused_since.get(&p.partition.0).copied(),
        });
        let stuck = self.machine.stuck().into_iter().map(|s| StuckRecord {
            partition: s.id.partition.0,
            offset: s.id.offset,
            key: s.key.map(|k| String::from_utf8_lossy(&k).into_owned()),
            attempts: s.attempts,
            reason: s.reason.code,
            detail: s.reason.detail,
            outage: s.outage,
            failing_for_s: s.failing_for.as_secs(),
            retry_in_s: s.retry_at.0.saturating_sub(now.0).as_secs(),
        });
        ConsumerStatus {
            consumer: self.consumer.name.clone(),
            joined: self.joined,
            partitions: partitions.collect(),
            in_flight: load.in_flight,
            keys_waiting: load.keys_waiting,
            buffered_records: load.buffered_records,
            stuck: stuck.collect(),
            outage: self.machine.outage().map(|outage| OutageStatus {
                reason: outage.reason.code,
                detail: outage.reason.detail,
                lasting_s: outage.lasting.as_secs(),
                probes: outage.probes,
                probe_in_s: outage.probe_at.0.saturating_sub(now.0).as_secs(),
            }),
            parked_records: load.parked_records,
            parked_keys: load.parked_keys,
            held_keys: load.held_keys,
            halted: None,
        }
    }
}

fn clamp(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn settings(consumer: &Consumer) -> Settings {
    let deliver = &consumer.deliver;
    Settings {
        order: match deliver.order {
            Order::Key => tieline_delivery::Order::Key,
            Order::Partition => tieline_delivery::Order::Partition,
            Order::None => tieline_delivery::Order::None,
        },
        on_dead_letter: match deliver.on_dead_letter {
            OnDeadLetter::Hold => tieline_delivery::OnDeadLetter::Hold,
            OnDeadLetter::Continue => tieline_delivery::OnDeadLetter::Continue,
            OnDeadLetter::Supersede => tieline_delivery::OnDeadLetter::Supersede,
        },
        in_flight_max: deliver.in_flight as usize,
        repeats_max: REPEATS_MAX.max(deliver.in_flight as usize * REPEATS_PER_CALL),
        window_records_max: WINDOW_RECORDS_MAX,
        window_bytes_max: WINDOW_BYTES_MAX,
        patience: deliver.patience,
        park_schedule: deliver.park_schedule.clone(),
        give_up_after: deliver.give_up_after,
        parked_keys_max: PARKED_KEYS_MAX,
        backoff_min: BACKOFF.0,
        backoff_max: BACKOFF.1,
        request_deadline: consumer.call.system.deadline,
        commit_every: COMMIT_EVERY,
        retry_after_max: RETRY_AFTER_MAX,
        fingerprint: consumer.fingerprint,
        seed: rand::random(),
    }
}
