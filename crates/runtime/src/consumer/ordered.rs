//! What people order of a consumer, carried out by the owner of each partition: pauses, redrives, discards.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use rdkafka::producer::FutureRecord;
use tieline_bus::Order;
use tieline_delivery::{Came, Commit, Discarded, Final, Input, Key, Outcome, Partition, RecordId};

use super::jobs::{JobId, Wanted};
use super::prepare::Delivered;
use super::service::{Done, Service};
use crate::orders::{Standing, concerns};
use crate::state::{Act, Attempt, Command, DeadLetter, Effect, Progress, Stage, Target, control_topic};

/// What came of reading for a job.
pub(super) enum JobRead {
    Index(BTreeMap<i64, i64>),
    Letters { asked: usize, letters: BTreeMap<i64, DeadLetter<'static>> },
    Failed(String),
}

impl Service {
    /// Takes over what stands, before anything is assigned.
    pub(super) fn orders_stand(&mut self, standing: &Standing) {
        self.pauses = standing.pauses.clone();
        self.pause_as_ordered();
        for (target, _) in standing.pauses.iter() {
            self.pause_key_as_ordered(target, true);
        }
        self.acts.clone_from(&standing.acts);
    }

    /// Somebody has ordered something.
    pub(super) fn ordered(&mut self, command: &Arc<Command>) {
        tracing::debug!(consumer = self.consumer.name, command = command.id, "heard of an order");
        self.pauses.take(command);
        match &command.act {
            Act::Pause { target } => {
                self.pause_as_ordered();
                self.pause_key_as_ordered(target, true);
            }
            Act::Resume { target } => {
                self.pause_as_ordered();
                self.pause_key_as_ordered(target, false);
            }
            Act::Cancel { command } => {
                self.acts.retain(|act| act.id != *command);
                self.replays.cancel(command);
            }
            Act::Discard { .. } | Act::Redrive { .. } | Act::Bury { .. } | Act::Edit { .. } | Act::Replay(_) => {
                self.acts.push(Arc::clone(command));
                let ours: Vec<i32> = self.assignments.partitions().collect();
                ours.into_iter().for_each(|partition| self.begin_job(command, partition));
            }
        }
    }

    /// A partition has become ours: what was ordered of its dead letters and is not done is gone on with.
    pub(super) fn begin_jobs(&mut self, partition: i32) {
        for command in self.acts.clone() {
            self.begin_job(&command, partition);
        }
    }

    fn begin_job(&mut self, command: &Arc<Command>, partition: i32) {
        let (consumer, partitions) = concerns(&command.act);
        let orders = &self.preparer.wiring.orders;
        if consumer != self.consumer.name
            || !partitions.contains(&partition)
            || orders.is_done(&command.id, consumer, partition)
        {
            return;
        }
        if let Act::Replay(replay) = &command.act {
            self.begin_replay(command, replay, partition);
        } else if self.jobs.begin(command, partition, Instant::now()) {
            let (consumer, id) = (&self.consumer.name, &command.id);
            tracing::info!(
                consumer,
                partition,
                command = id,
                by = command.by,
                reason = command.reason,
                "carries out an order"
            );
            self.tell_progress((id.clone(), partition), Stage::Accepted);
        }
    }

    fn pause_as_ordered(&mut self) {
        let by = self.pauses.of_consumer(&self.consumer.name, &self.consumer.call.system.name).map(str::to_owned);
        self.input(by.map_or(Input::ResumeAll, |by| Input::PauseAll { by }));
    }

    fn pause_key_as_ordered(&mut self, target: &Target, pauses: bool) {
        let Target::Key { key, consumer } = target else { return };
        if consumer.as_ref().is_some_and(|consumer| *consumer != self.consumer.name) {
            return;
        }
        // Paused in all consumers and in this one: it takes two resumes.
        let paused = self.pauses.of_key(&self.consumer.name, key).is_some();
        if pauses && self.consumer.deliver.order != Order::Key {
            let consumer = &self.consumer.name;
            tracing::warn!(
                consumer,
                "a key cannot be paused: only with `order: key` records wait for those of their key"
            );
            return;
        }
        let key: Key = key.as_bytes().into();
        self.input(if paused { Input::PauseKey { key } } else { Input::ResumeKey { key } });
    }

    /// Has read what jobs want, and ends those that are done.
    pub(super) fn go_on_with_jobs(&mut self) {
        for (id, stage) in self.jobs.ended() {
            let (consumer, partition, command) = (&self.consumer.name, id.1, &id.0);
            tracing::info!(consumer, partition, command, ?stage, "has carried out an order");
            self.tell_progress(id, stage);
        }
        for (id, offsets) in self.jobs.burials(Instant::now()) {
            self.bury(&id, &offsets);
        }
        for (id, wanted) in self.jobs.wanted(Instant::now()) {
            let (letters, partition) = (Arc::clone(&self.letters), id.1);
            self.under_way.push(Box::pin(async move {
                let read = tokio::task::spawn_blocking(move || match wanted {
                    Wanted::Index(origins) => letters.index(&origins).map(JobRead::Index),
                    Wanted::Letters(places) => {
                        let asked = places.len();
                        letters.letters(partition, &places).map(|letters| JobRead::Letters { asked, letters })
                    }
                });
                let read = match read.await {
                    Ok(Ok(read)) => read,
                    Ok(Err(error)) => JobRead::Failed(error.to_string()),
                    Err(_) => JobRead::Failed("the process is ending".to_owned()),
                };
                Done::JobRead { id, read }
            }));
        }
    }

    /// Has the core bury records, as far as they fail and are kept.
    fn bury(&mut self, job: &JobId, offsets: &[i64]) {
        let Some(epoch) = self.assignments.epoch(job.1) else { return };
        let (mut buried, mut over) = (BTreeSet::new(), BTreeSet::new());
        for &offset in offsets {
            let id = RecordId { epoch, partition: Partition(job.1), offset };
            match self.machine.is_over(id) {
                None => {} // not fetched yet
                Some(true) => drop(over.insert(offset)),
                Some(false) => {
                    self.input(Input::Bury { id });
                    if self.machine.is_over(id) == Some(true) {
                        buried.insert(offset);
                    }
                }
            }
        }
        self.jobs.buried(job, &buried, &over);
    }

    /// What a job wanted was read.
    pub(super) fn job_read(&mut self, id: &JobId, read: JobRead) {
        match read {
            JobRead::Index(places) => self.jobs.indexed(id, places),
            JobRead::Failed(error) => {
                let (consumer, partition) = (&self.consumer.name, id.1);
                tracing::warn!(consumer, partition, error, "dead letters cannot be read now, and are later");
                self.jobs.failed(id, Instant::now());
            }
            JobRead::Letters { asked, letters } => {
                let mut given = Vec::with_capacity(letters.len());
                for (offset, letter) in letters {
                    given.extend(self.give(id, offset, &letter).then_some(offset));
                }
                let passed = asked - given.len();
                self.jobs.taken(id, given, passed);
                if let Some(stage) = self.jobs.stage(id) {
                    self.tell_progress(id.clone(), stage);
                }
            }
        }
    }

    /// Gives a dead letter to the core. False if it is passed over: it was redriven too often, has its effect, or is under
    /// way already.
    fn give(&mut self, id: &JobId, offset: i64, letter: &DeadLetter<'_>) -> bool {
        let Some(command) = self.jobs.get(id).map(|job| Arc::clone(&job.command)) else { return false };
        let Some(epoch) = self.assignments.epoch(id.1) else { return false };
        let id = RecordId { epoch, partition: Partition(id.1), offset };
        let key: Option<Key> = letter.original.key.as_deref().map(Into::into);
        let delivered = match &command.act {
            Act::Pause { .. } | Act::Resume { .. } | Act::Bury { .. } | Act::Replay(_) | Act::Cancel { .. } => {
                return false;
            }
            Act::Discard { .. } => {
                self.input(Input::Discard { id, key: key.clone() });
                return self.machine.is_under_way(id, key.as_ref());
            }
            Act::Redrive { rounds_max, .. } if letter.redriven >= *rounds_max => return false,
            // Never sent again: it is there.
            Act::Redrive { .. } | Act::Edit { .. } if letter.effect == Effect::Exists => return false,
            Act::Redrive { .. } => Delivered::redriven(letter),
            Act::Edit { value, .. } => Delivered::edited(letter, value.as_deref()),
        };
        let edited = matches!(command.act, Act::Edit { .. });
        let bytes = delivered.record.size();
        self.input(Input::Redrive {
            id,
            key: key.clone(),
            bytes,
            record: Arc::new(delivered),
            // What was edited has an effect of its own.
            maybe_applied: letter.effect == Effect::Unknown && !edited,
            attempts_total: letter.attempts_total,
            attempts: letter.attempts.iter().cloned().map(Attempt::into_log).collect(),
        });
        self.machine.is_under_way(id, key.as_ref())
    }

    /// A commit is durable: what jobs waited for.
    pub(super) fn jobs_durable(&mut self, commit: &Commit<Arc<Delivered>>) {
        let waited_for =
            |ended: &&Final<_>| ended.came == Came::Redriven || matches!(ended.outcome, Outcome::Dead { .. });
        for ended in commit.finals.iter().filter(waited_for) {
            self.jobs.durable(ended.id.partition.0, ended.id.offset);
        }
        for Discarded { id, .. } in commit.discarded.iter().filter(|discarded| !discarded.superseded) {
            self.jobs.durable(id.partition.0, id.offset);
        }
    }

    /// Writes how far an order is. Lost with the process, it is written by whoever goes on.
    fn tell_progress(&self, (command, partition): JobId, stage: Stage) {
        let wiring = Arc::clone(&self.preparer.wiring);
        let (consumer, by) = (self.consumer.name.clone(), wiring.instance.clone());
        let progress = Progress { command, consumer, partition, by, at_ms: crate::now_ms(), stage };
        self.under_way.push(Box::pin(async move {
            let topic = control_topic(&wiring.bus.name);
            match progress.encode() {
                Ok(value) => {
                    let key = progress.key();
                    let record = FutureRecord::to(&topic).partition(0).key(&key[..]).payload(&value[..]);
                    if let Err(error) = wiring.events.put(record).await {
                        tracing::warn!(%error, "how far an order is cannot be written down");
                    }
                }
                Err(error) => tracing::warn!(%error, "how far an order is cannot be written down"),
            }
            Done::Told
        }));
    }
}
