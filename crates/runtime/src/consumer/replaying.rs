//! Carries out what is to be replayed: reads it on a thread, gives it to the core while that has room, and writes how far it
//! is beside the commits.

use std::sync::Arc;
use std::time::Instant;

use tieline_delivery::{Commit, Input, Key, Partition, RecordId, Replayed};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::prepare::Delivered;
use super::replays::{Read, Reading, ReplayId};
use super::service::{Done, Service};
use crate::kafka::{StateRecord, group_of};
use crate::replay::Judge;
use crate::state::{Command, Progress, Replay, StateError, Tally, control_topic};

/// How many lots that a thread has read may wait, beside the one that it reads.
const LOTS_AHEAD: usize = 2;

impl Service {
    /// An order concerns a partition of ours.
    pub(super) fn begin_replay(&mut self, command: &Command, replay: &Replay, partition: i32) {
        let Some(epoch) = self.assignments.epoch(partition) else { return };
        if replay.topic == self.consumer.event.topic
            && self.replays.begin(command, replay, (partition, epoch), self.consumer.fingerprint, Instant::now())
        {
            let (consumer, id, by, reason) = (&self.consumer.name, &command.id, &command.by, &command.reason);
            tracing::info!(consumer, partition, command = id, by, reason, "carries out a replay");
        }
    }

    /// Goes on with what is replayed. True if the core was given something, and is to be asked.
    pub(super) fn go_on_with_replays(&mut self) -> bool {
        if self.replays.is_empty() {
            return false;
        }
        let (now, mut gave) = (Instant::now(), false);
        for id in self.replays.turns(&self.pauses) {
            self.read_on(&id, now);
            while self.has_room(&id)
                && let Some(record) = self.replays.next(&id, now)
            {
                self.give_again(&id, record);
                gave = true;
            }
        }
        for id in self.replays.unwritten(now) {
            self.input(Input::WriteBeside { partition: Partition(id.partition), epoch: id.epoch });
            gave = true;
        }
        gave
    }

    fn has_room(&mut self, id: &ReplayId) -> bool {
        let Some(met_to) = self.replays.get(id).map(|job| job.met_to) else { return false };
        self.machine.replay_room(Partition(id.partition), met_to) > 0
    }

    /// Has a thread read for a replay, and waits for what it reads.
    fn read_on(&mut self, id: &ReplayId, now: Instant) {
        let Some(job) = self.replays.get(id) else { return };
        if let Some((range, at)) = job.wants_reader(now) {
            let (replay, newest) = (job.replay.clone(), job.newest.like());
            let wiring = &self.preparer.wiring;
            let (heard, from) = mpsc::channel(LOTS_AHEAD);
            job.reads(from);
            match Judge::of(&replay, &self.consumer.event, &wiring.registry) {
                Ok(judge) => {
                    let reading = Reading {
                        connection: wiring.connection.clone(),
                        group: group_of(&wiring.bus.name, &self.consumer.name),
                        ledger: self.topics.ledger.to_string(),
                        control: control_topic(&wiring.bus.name),
                        command: id.command.clone(),
                        consumer: self.consumer.name.clone(),
                        fingerprint: self.consumer.fingerprint,
                        replay,
                        range,
                        at,
                        judge,
                        newest,
                    };
                    drop(tokio::task::spawn_blocking(move || reading.run(&heard)));
                }
                Err(error) => {
                    let why = format!("its condition makes no sense for this consumer: {error}");
                    let _ = heard.try_send(Read::Refused(why));
                }
            }
        }
        if let Some(mut from) = job.awaits() {
            let id = id.clone();
            self.under_way.push(Box::pin(async move {
                let read = from.recv().await;
                Done::ReplayRead { id, read: Box::new(read), more: from }
            }));
        }
    }

    /// Something was read for a replay.
    pub(super) fn replay_read(&mut self, id: &ReplayId, read: Option<Read>, more: mpsc::Receiver<Read>) {
        let Some(job) = self.replays.get(id) else { return };
        let failed = job.take(read, more, Instant::now());
        self.replays.drop_ended();
        if let Some(why) = failed {
            let (consumer, partition, command) = (&self.consumer.name, id.partition, &id.command);
            tracing::warn!(consumer, partition, command, why, "a replay cannot be read now");
        }
    }

    /// Gives a record to the core, which has room for it.
    fn give_again(&mut self, id: &ReplayId, record: crate::kafka::Record) {
        let Some(job) = self.replays.get(id) else { return };
        let offset = record.offset;
        let record_id = RecordId { epoch: id.epoch, partition: Partition(id.partition), offset };
        let key: Option<Key> = record.key.clone();
        let newest = key.as_deref().and_then(|key| job.newest.of(key));
        let (maybe_applied, overtakes) = (offset < job.inherited_ceiling, job.replay.overtake);
        let mapped_otherwise = offset < job.otherwise_below;
        let round = if job.replay.again { round_of(&id.command) } else { 0 };
        let delivered = Delivered::replayed(record, &job.order, round);
        if !self.machine.takes_replay(record_id, key.as_ref()) {
            job.note_end(offset, Tally { overtaken: 1, ..Tally::default() });
            return;
        }
        let (bytes, record) = (delivered.record.size(), Arc::new(delivered));
        self.input(Input::Replay(Replayed {
            id: record_id,
            key,
            bytes,
            record,
            maybe_applied,
            mapped_otherwise,
            newest,
            overtakes,
        }));
    }

    /// What a commit says of replays: it is made durable with the ends that it speaks of.
    pub(super) fn replays_beside(&mut self, commit: &Commit<Arc<Delivered>>) -> Result<Vec<StateRecord>, StateError> {
        if self.replays.is_empty() {
            return Ok(Vec::new());
        }
        self.replays.note_ends(&commit.finals);
        let (bus, now) = (&self.preparer.wiring.bus.name, Instant::now());
        let topic: Arc<str> = control_topic(bus).into();
        let mut records = Vec::new();
        for at in &commit.offsets {
            for (ReplayId { command, partition, .. }, stage) in self.replays.written(at.partition.0, now) {
                let (consumer, by) = (self.consumer.name.clone(), self.preparer.wiring.instance.clone());
                let progress = Progress { command, consumer, partition, by, at_ms: crate::now_ms(), stage };
                let (key, value) = (progress.key(), Some(progress.encode()?));
                records.push(StateRecord { topic: Arc::clone(&topic), partition: 0, key, value, parks: None });
            }
        }
        Ok(records)
    }

    /// A commit was made, or was not.
    pub(super) fn replays_made(&mut self, commit: Option<&Commit<Arc<Delivered>>>, made: bool) {
        if self.replays.is_empty() {
            return;
        }
        if let Some(commit) = commit.filter(|_| made) {
            self.replays.note_durable(&commit.finals);
        }
        for ReplayId { command, partition, .. } in self.replays.made(made) {
            tracing::info!(consumer = self.consumer.name, partition, command, "has carried out a replay");
        }
    }
}

/// The round in which an order's records have an effect of their own: not one that edits and repeated failures come to, and
/// another one for each order.
fn round_of(command: &str) -> u32 {
    let name = Uuid::new_v5(&Uuid::NAMESPACE_OID, command.as_bytes());
    let [a, b, c, d, ..] = *name.as_bytes();
    u32::from_be_bytes([a, b, c, d]) | 1 << 31
}
