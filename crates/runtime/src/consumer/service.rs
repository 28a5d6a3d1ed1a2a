//! The loop of one consumer: it carries what happens to the core, and what the core asks for into the world.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use rdkafka::error::KafkaError;
use tieline_bus::Consumer;
use tieline_delivery::{
    Answer, AttemptLog, Commit, Input, Machine, Output, Partition, PauseReason, Prepared, RecordId, Time,
};
use tokio::sync::{mpsc, watch};

use super::Wiring;
use super::assignments::Assignments;
use super::batch::{Collector, Waiting, class_of};
use super::door::Door;
use super::finals::StateTopics;
use super::jobs::{JobId, Jobs};
use super::lag::Ages;
use super::ordered::JobRead;
use super::parked::Places;
use super::prepare::{Delivered, Preparer, Step};
use super::replays::{Read, ReplayId, Replays};
use super::send::{Sender, detail, tell};
use super::send_batch::Answered;
use super::settings::settings;
use super::status::{ConsumerStatus, reason_text};
use super::thread::alone;
use crate::happening::{Happening, What};
use crate::kafka::{
    CommitMode, Committer, ConnectError, Control, FetchEvent, Fetcher, Halt, LetterTopic, ParkError, ParkTopic, Report,
    group_of, state_topic,
};
use crate::limits::{LimitsError, Ticket};
use crate::orders::OrdersError;
use crate::producer::{StartError, schema_id};
use crate::state::{Command, ParkedRecord, Pauses};
use crate::system::SystemClientError;
use crate::telemetry::ConsumerMetrics;

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
    /// Its client cannot have connections of its own.
    #[error(transparent)]
    System(#[from] SystemClientError),
    /// A thread for it cannot be started.
    #[error("no thread can be started for it: {0}")]
    NoThread(std::io::Error),
    /// What people have ordered cannot be read.
    #[error("orders cannot be read: {0}")]
    Orders(#[from] OrdersError),
    /// The limits that replicas share cannot be read.
    #[error("the limits of the systems cannot be shared: {0}")]
    Limits(#[from] LimitsError),
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
    BatchAnswered(Vec<Answered>),
    JobRead { id: JobId, read: JobRead },
    ReplayRead { id: ReplayId, read: Box<Option<Read>>, more: mpsc::Receiver<Read> },
    Told,
    Recalled { id: RecordId, parked: Result<Box<ParkedRecord<'static>>, String> },
    Behind { records: Option<i64> },
}

/// Runs a consumer until it is told to stop, on a thread of its own.
///
/// # Errors
/// When it cannot start, or cannot go on.
pub async fn run(
    wiring: Arc<Wiring>,
    consumer: Arc<Consumer>,
    status: watch::Sender<ConsumerStatus>,
    mut stop: watch::Receiver<Stop>,
) -> Result<(), ServiceError> {
    // Here and not on its thread: what is shared is started on the runtime of all, and goes on without this consumer.
    let started = tokio::select! {
        started = Service::start(wiring, consumer, status) => started?,
        Ok(_) = stop.wait_for(|stop| *stop > Stop::Run) => return Ok(()),
    };
    alone(deliver(started, stop)).await
}

/// The loop.
async fn deliver(started: Started, mut stop: watch::Receiver<Stop>) -> Result<(), ServiceError> {
    let (mut service, mut fetched, mut reports, mut orders) = started;
    let mut status_tick = tokio::time::interval(STATUS_EVERY);
    let mut room = service.door.changes();
    loop {
        service.go_on_with_jobs();
        let until = match service.advance() {
            Next::Wait(until) => until,
            Next::Drained => break,
        };
        if service.go_on_with_replays() {
            continue;
        }
        let until = until.into_iter().chain(service.replays.due().map(Into::into)).min();
        tokio::select! {
            event = fetched.recv(), if service.is_polled => match event {
                Some(event) => if let Err(error) = service.fetched(event) { service.give_up(error) },
                None => {
                    service.is_polled = false;
                    service.give_up(ServiceError::ThreadEnded("polls Kafka"));
                }
            },
            Some(done) = service.under_way.next() => {
                service.done(done);
                service.all_done();
            }
            report = reports.recv(), if service.commits => match report {
                Some(report) => service.reported(report),
                None => {
                    service.commits = false;
                    service.give_up(ServiceError::ThreadEnded("commits"));
                }
            },
            Some(command) = orders.recv() => service.ordered(&command),
            () = sleep_until(until) => service.input(Input::Tick),
            Ok(()) = room.changed() => {}
            _ = status_tick.tick() => service.publish_status(),
            Ok(()) = stop.changed() => {
                let asked = *stop.borrow();
                match asked {
                    Stop::Run => {}
                    Stop::Drain => service.drain(),
                    Stop::Now => break,
                }
            }
        }
    }
    service.asking_lag = true; // nobody would hear the answer
    service.publish_status();
    service.assignments.let_all_go(); // a thread that waits to give partitions back need not wait any more
    drop(fetched); // what the thread still reports is for nobody, and it does not wait for us
    let Service { fetcher, committer, under_way, given_up, .. } = service;
    // Whoever else has the client lets go of it first: who is the last closes it, which blocks.
    drop((committer, under_way));
    // Leaving the group blocks; a process that is ended before it is over has its session time out.
    let _ = tokio::task::spawn_blocking(move || fetcher.stop()).await;
    given_up.map_or(Ok(()), Err)
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
    pub(super) sender: Arc<Sender>,
    /// What waits to be sent together, where the consumer sends batches.
    pub(super) collector: Option<Collector>,
    /// What lets its calls out, as the limits of the system allow.
    pub(super) door: Door,
    /// Whether the core was told last that they have room.
    has_room: bool,
    pub(super) machine: Machine<Arc<Delivered>>,
    pub(super) fetcher: Fetcher,
    pub(super) committer: Committer,
    pub(super) topics: StateTopics,
    pub(super) park: Arc<ParkTopic>,
    pub(super) places: Places,
    /// What people have ordered: what is paused, what is to become of dead letters, and how far that is here.
    pub(super) pauses: Pauses,
    pub(super) acts: Vec<Arc<Command>>,
    pub(super) jobs: Jobs,
    pub(super) replays: Replays,
    pub(super) letters: Arc<LetterTopic>,
    pub(super) metrics: ConsumerMetrics,
    pub(super) status: watch::Sender<ConsumerStatus>,
    pub(super) under_way: FuturesUnordered<BoxFuture<'static, Done>>,
    pub(super) origin: Instant,
    pub(super) assignments: Assignments,
    pub(super) last_commit: Instant,
    /// Whether the threads that poll and commit are there. Without one of them the other still brings to an end what it can.
    is_polled: bool,
    commits: bool,
    /// Why it does not go on, once it does not.
    pub(super) given_up: Option<ServiceError>,
    /// The commit that is under way.
    pub(super) committing: Option<Commit<Arc<Delivered>>>,
    /// Since when partitions wait, in milliseconds since the Unix epoch.
    pub(super) paused_since: BTreeMap<i32, i64>,
    /// Whether people were told that the system fails for everybody.
    pub(super) in_outage: bool,
    pub(super) ages: Ages,
    /// Whether the brokers are being asked how far we are behind.
    pub(super) asking_lag: bool,
}

impl Service {
    async fn start(
        wiring: Arc<Wiring>,
        consumer: Arc<Consumer>,
        status: watch::Sender<ConsumerStatus>,
    ) -> Result<Started, ServiceError> {
        let (bus, name) = (&wiring.bus.name, &consumer.name);
        let system_name = &consumer.call.system.name;
        let system = wiring.systems.get(system_name).ok_or_else(|| ServiceError::NoSystem(system_name.clone()))?;
        let system = Arc::new(system.with_own_connections()?);
        let follow_up_schema = match &consumer.emit {
            Some(emit) => Some(schema_id(&wiring.registry, &emit.event).await?),
            None => None,
        };
        let gate = wiring.limits.gate(system_name).ok_or_else(|| ServiceError::NoSystem(system_name.clone()))?.clone();
        let asked = consumer.look_ups.iter().map(|look_up| look_up.system.name.as_str());
        wiring.limits.open(&asked.chain([system_name.as_str()]).collect::<Vec<_>>()).await?;
        let metrics = wiring.metrics.consumer(name);
        let topic = &consumer.event.topic;
        // Before anything is assigned: what is paused is so from the start.
        let standing = wiring.orders.listen().await?;
        let group = group_of(bus, name);
        let parked = state_topic(bus, name, "parked");
        let park = Arc::new(ParkTopic::new(&wiring.connection, &group, parked.clone())?);
        let dead_letters = state_topic(bus, name, "dead-letters");
        let letters = Arc::new(LetterTopic::new(&wiring.connection, &group, dead_letters.clone()));
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
            collector: consumer.call.batch.as_ref().map(Collector::new),
            door: Door::new(gate, preparer.flows.clone(), consumer.call.batch.is_some()),
            has_room: true,
            machine: Machine::new(settings(&consumer), Time::default()),
            consumer,
            preparer,
            sender: Arc::new(sender),
            fetcher,
            committer,
            topics,
            park,
            places: Places::default(),
            pauses: Pauses::default(),
            acts: Vec::new(),
            jobs: Jobs::default(),
            replays: Replays::default(),
            letters,
            metrics,
            status,
            under_way: FuturesUnordered::new(),
            origin: Instant::now(),
            assignments: Assignments::default(),
            last_commit: Instant::now(),
            is_polled: true,
            commits: true,
            given_up: None,
            committing: None,
            paused_since: BTreeMap::new(),
            in_outage: false,
            ages: Ages::default(),
            asking_lag: false,
        };
        service.orders_stand(&standing);
        Ok((service, fetched, reports, standing.coming))
    }

    pub(super) fn now(&self) -> Time {
        Time(self.origin.elapsed())
    }

    pub(super) fn time_in(&self, duration: Duration) -> Time {
        Time(self.origin.elapsed() + duration)
    }

    /// Sends nothing new. What is under way ends, what can be committed is, and then the loop is over.
    fn drain(&mut self) {
        self.input(Input::Drain { deadline: self.time_in(DRAIN) });
        if let Some(collector) = &mut self.collector {
            collector.close();
        }
    }

    /// Comes to an end, as at a stop: what is under way in partitions that are well is not to come again. What goes wrong
    /// first is what it ends with; what follows may only follow from that, and would mislead.
    fn give_up(&mut self, error: ServiceError) {
        let consumer = &self.consumer.name;
        if self.given_up.is_some() {
            tracing::debug!(consumer, %error, "and this");
            return;
        }
        tracing::error!(consumer, %error, "the consumer cannot go on; what is under way ends first");
        self.given_up = Some(error);
        self.drain();
    }

    pub(super) fn input(&mut self, input: Input<Arc<Delivered>>) {
        let now = self.now();
        self.machine.handle(now, input);
    }

    /// Does what the core asks for, until it has to wait.
    fn advance(&mut self) -> Next {
        self.door.begin();
        loop {
            let now = self.now();
            self.ask_for_room();
            match self.machine.poll(now) {
                Output::Prepare { id, class, attempt, record } => {
                    record.is_for(class);
                    self.prepare(id, attempt, record);
                }
                Output::Send { id, class, attempt, maybe_applied, mapped_otherwise, record } => {
                    record.is_for(class);
                    if mapped_otherwise {
                        record.effect.mapped_otherwise();
                    }
                    let ticket = self.door.ticket();
                    self.send(now, Waiting { id, attempt, maybe_applied, delivered: record }, ticket);
                }
                Output::Recall { id } => self.recall(id),
                Output::Commit(commit) => self.commit(now, commit),
                Output::Pause { partition, reason } => self.pause(partition, &reason),
                Output::Resume { partition } => self.resume(partition),
                Output::Released { partition } => self.released(partition),
                Output::Drained => return Next::Drained,
                Output::Wait { until } => {
                    let mut collector = self.collector.as_mut();
                    if let Some(records) = collector.as_mut().and_then(|collector| collector.take_due(now)) {
                        self.send_batch(records);
                        continue;
                    }
                    let until = until.into_iter().chain(collector.and_then(|collector| collector.due())).min();
                    let until = until.map(|at| tokio::time::Instant::from_std(self.origin + at.0));
                    return Next::Wait(until.into_iter().chain(self.door.rest()).min());
                }
            }
        }
    }

    /// Tells the core whether the limits of the system have room for a call, where that has changed.
    fn ask_for_room(&mut self) {
        let has_room = self.door.has_room(self.machine.sendable());
        if std::mem::replace(&mut self.has_room, has_room) != has_room {
            self.input(Input::Limits { room: has_room });
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

    fn send(&mut self, now: Time, record: Waiting, ticket: Option<Ticket>) {
        if let Some(collector) = self.collector.as_mut().filter(|_| !record.delivered.is_tombstone()) {
            if let Some(records) = collector.add(now, record) {
                self.send_batch(records);
            }
            return;
        }
        let Waiting { id, attempt, maybe_applied, delivered } = record;
        let sender = Arc::clone(&self.sender);
        self.under_way.push(Box::pin(async move {
            let (answer, log) = sender.send(&delivered, attempt, maybe_applied, ticket).await;
            Done::Answered { id, attempt, answer, log }
        }));
    }

    fn send_batch(&mut self, records: Vec<Waiting>) {
        let ticket = match self.door.ticket_now(class_of(records.iter())) {
            Ok(ticket) => ticket,
            Err(not_yet) => {
                let retry_after = self.door.wait_of(not_yet);
                return self.turn_away(records, retry_after);
            }
        };
        let (sender, consumer) = (Arc::clone(&self.sender), Arc::clone(&self.consumer));
        self.under_way.push(Box::pin(async move {
            let Some(batch) = &consumer.call.batch else { return Done::Told };
            Done::BatchAnswered(sender.send_batch(batch, records, ticket).await)
        }));
    }

    /// What was put together finds no room after all: it comes again, and nothing is counted.
    fn turn_away(&mut self, records: Vec<Waiting>, retry_after: Duration) {
        for Waiting { id, attempt, .. } in records {
            let excerpt = "nothing was sent".to_owned();
            let log = AttemptLog { at_ms: crate::now_ms(), status: None, excerpt };
            self.input(Input::Answered { id, attempt, answer: Answer::Throttled { retry_after }, log });
        }
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
            Done::BatchAnswered(answered) => {
                for Answered { id, attempt, answer, log } in answered {
                    self.input(Input::Answered { id, attempt, answer, log });
                }
                return;
            }
            Done::Recalled { id, parked } => self.recalled(id, parked),
            Done::JobRead { id, read } => return self.job_read(&id, read),
            Done::ReplayRead { id, read, more } => return self.replay_read(&id, *read, more),
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
}
