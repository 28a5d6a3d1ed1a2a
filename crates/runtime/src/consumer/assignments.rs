//! The partitions that are ours: how the group gives them, what comes from them, and how it takes them back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc as sync_mpsc;
use std::time::Duration;

use rdkafka::consumer::ConsumerGroupMetadata;
use tieline_delivery::{Epoch, Input, Partition, RecordId};

use super::prepare::Delivered;
use super::service::{Service, ServiceError};
use crate::kafka::{Control, FetchEvent, Halt, Position, Record};

/// What the group has given us.
#[derive(Default)]
pub(super) struct Assignments {
    /// The assignment of each partition that is ours.
    epochs: BTreeMap<i32, Epoch>,
    last_epoch: u64,
    /// How many partitions the topic had when the group last gave us some; none before that.
    partition_count: Option<u32>,
    /// What proves our membership when offsets are committed.
    proof: Option<Arc<ConsumerGroupMetadata>>,
    /// What the fetching thread waits to give back.
    leaving: Option<Leaving>,
}

/// Partitions that the fetching thread waits to give back, and what tells it, by being dropped, that they may go.
struct Leaving {
    partitions: BTreeSet<Partition>,
    _done: sync_mpsc::Sender<()>,
}

impl Assignments {
    /// Whether the group has given us partitions, or has none to give.
    pub fn has_joined(&self) -> bool {
        self.partition_count.is_some()
    }

    /// Under which assignment a partition is ours.
    pub fn epoch(&self, partition: i32) -> Option<Epoch> {
        self.epochs.get(&partition).copied()
    }

    /// The partitions that are ours.
    pub fn partitions(&self) -> impl Iterator<Item = i32> {
        self.epochs.keys().copied()
    }

    /// What proves our membership.
    pub fn proof(&self) -> Option<Arc<ConsumerGroupMetadata>> {
        self.proof.clone()
    }

    /// A thread that waits to give partitions back need not wait any more.
    pub fn let_all_go(&mut self) {
        self.leaving = None;
    }

    fn begin(&mut self, partition: i32) -> Epoch {
        self.last_epoch += 1;
        let epoch = Epoch(self.last_epoch);
        self.epochs.insert(partition, epoch);
        epoch
    }

    fn released(&mut self, partition: i32) {
        self.epochs.remove(&partition);
        if let Some(leaving) = &mut self.leaving {
            leaving.partitions.remove(&Partition(partition));
        }
    }
}

impl Service {
    /// The fetching thread reports something.
    pub(super) fn fetched(&mut self, event: FetchEvent) -> Result<(), ServiceError> {
        match event {
            FetchEvent::Records(records) => records.into_iter().for_each(|record| self.record(record)),
            FetchEvent::Assigned { partitions, partition_count, membership } => {
                self.assignments.proof = membership;
                match self.assignments.partition_count.replace(partition_count) {
                    // Those that were ours before are not assigned again, and nobody else would say so of them.
                    Some(was) if was != partition_count => {
                        let topic = self.consumer.event.topic.clone();
                        let halt = Halt::PartitionsChanged { topic, was, is: partition_count };
                        return Err(ServiceError::Halted(halt));
                    }
                    Some(_) | None => {}
                }
                for at in partitions {
                    self.assigned(at, partition_count)?;
                }
            }
            FetchEvent::Revoking { partitions, membership, grace, done } => {
                self.assignments.proof = membership;
                self.revoke(&partitions, grace, done);
            }
            FetchEvent::Lost { partitions } => {
                for partition in partitions {
                    self.assignments.epochs.remove(&partition);
                    self.forget(partition);
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
        let Some(epoch) = self.assignments.epoch(record.partition) else { return };
        let id = RecordId { epoch, partition: Partition(record.partition), offset: record.offset };
        let (key, bytes) = (record.key.clone(), record.size());
        self.ages.note(record.partition, record.offset, record.timestamp_ms);
        self.input(Input::Fetched { id, key, bytes, record: Arc::new(Delivered::new(record)) });
    }

    fn assigned(&mut self, at: Position, partitions: u32) -> Result<(), ServiceError> {
        let Some(offset) = at.offset else {
            let topic = self.consumer.event.topic.clone();
            return Err(ServiceError::Halted(Halt::NoOffset { topic, partition: at.partition }));
        };
        let epoch = self.assignments.begin(at.partition);
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
        self.places.inherit(at.partition, parked.places);
        let (parked, held) = (parked.parked, parked.held);
        self.input(Input::Assigned { epoch, partition, offset, metadata, partitions, parked, held });
        self.begin_jobs(at.partition);
        Ok(())
    }

    fn revoke(&mut self, partitions: &[i32], grace: Duration, done: sync_mpsc::Sender<()>) {
        let deadline = self.time_in(grace);
        let is_ours = |partition: &&i32| self.assignments.epochs.contains_key(partition);
        let ours: BTreeSet<Partition> = partitions.iter().filter(is_ours).map(|p| Partition(*p)).collect();
        for &partition in &ours {
            self.input(Input::Revoke { partition, deadline });
        }
        if let Some(collector) = &mut self.collector {
            collector.hurry();
        }
        if !ours.is_empty() {
            self.assignments.leaving = Some(Leaving { partitions: ours, _done: done });
        }
    }

    /// The core has a partition at rest.
    pub(super) fn released(&mut self, partition: Partition) {
        self.assignments.released(partition.0);
        self.forget(partition.0);
        self.let_go();
    }

    /// Lets the fetching thread give back what it waits with. Not while a commit is under way: made after the next owner
    /// has begun, it would take back what that one has committed.
    pub(super) fn let_go(&mut self) {
        let may_go = self.assignments.leaving.as_ref().is_some_and(|leaving| leaving.partitions.is_empty());
        if may_go && self.committing.is_none() {
            self.assignments.let_all_go();
        }
    }

    /// What we keep of a partition that is not ours any more goes with it.
    fn forget(&mut self, partition: i32) {
        self.places.forget(partition);
        self.jobs.forget(partition);
        self.replays.forget(partition);
        self.ages.forget(partition);
        self.paused_since.remove(&partition);
        if let Some(collector) = &mut self.collector {
            collector.forget(Partition(partition));
        }
    }
}
