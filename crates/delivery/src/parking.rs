//! How a record whose key fails is set aside, comes up again, and is held or let go.
//!
//! What is parked is durable in a topic, in the commit that passes it; the machine has an index of it (`park`). A record
//! comes up alone: the next one of its lane follows when it is final, and live records of its key are parked behind them
//! until all are done.

use std::time::Duration;

use crate::entry::{Before, Entry};
use crate::lane::LaneId;
use crate::machine::Machine;
use crate::park::ParkLane;
use crate::partition::Assigned;
use crate::{
    AttemptLog, Came, Discarded, Epoch, Final, Held, Key, Order, Outcome, Output, ParkedAt, ParkedState, Partition,
    Reason, RecordId, Time,
};

/// Once as many records are parked as may be, so much of that has to be free again, as a part, before there is room: what
/// comes up goes one by one, and fetching is not to stop and go with each.
const FREE_AGAIN_PART: usize = 16;

/// Of the calls that may be under way, the part that parked records may take: they come beside live work, not before it.
const RECALLED_PART: usize = 4;

impl<R: Clone> Machine<R> {
    /// Takes over what an earlier owner has parked and holds.
    pub(crate) fn inherit_park(&mut self, partition: Partition, epoch: Epoch, parked: &[ParkedAt], held: Vec<Held>) {
        let (order, now) = (self.settings.order, self.now);
        let unknown_until = now.after(self.settings.request_deadline);
        let Some(assigned) = self.partitions.get_mut(&partition).filter(|assigned| assigned.epoch == epoch) else {
            return;
        };
        for one in parked {
            assigned.park.inherit(ParkLane::of(order, one.key.as_ref(), one.offset), one, now);
        }
        assigned.park.inherited();
        for key in &self.paused_keys {
            assigned.park.pause(&ParkLane::Key(key.clone()), true);
        }
        assigned.parked_before = parked.iter().map(|one| one.offset).max();
        if !parked.is_empty() {
            assigned.unknown_until = unknown_until;
        }
        for Held { offset, key } in held {
            match (order, key) {
                (Order::Key, Some(key)) => assigned.park.hold(ParkLane::Key(key), offset),
                (Order::Partition, _) if assigned.park.supersedes => {}
                (Order::Partition, _) => {
                    assigned.held = Some(offset);
                    assigned.held_before = Some(offset);
                    assigned.lanes.block(LaneId::Whole);
                }
                // They were held under another order, and wait for nothing in this one.
                (Order::Key, None) | (Order::None, _) => {}
            }
        }
        self.plan_recalls(partition);
    }

    /// Whether a record of this lane may be parked.
    pub(crate) fn may_park(&self, partition: Partition, lane: &ParkLane) -> bool {
        let there = self.partitions.get(&partition).is_some_and(|assigned| assigned.park.has(lane));
        let room = !self.park_full && (there || self.parked_keys() < self.settings.parked_keys_max);
        self.settings.order != Order::Partition && !self.settings.park_schedule.is_empty() && room
    }

    /// Parks a failing record, and all of its lane behind it. `worked` says whether the operation works for others: only
    /// then the attempt counts.
    pub(crate) fn park(&mut self, id: RecordId, reason: Reason, worked: bool) {
        let Some(entry) = self.entry(id) else { return };
        let steps = match &entry.before {
            Some(before) => before.state.steps.saturating_add(u32::from(worked)),
            None => 0,
        };
        let behind = entry.successor;
        let wait = self.park_wait(steps);
        self.set_aside(id, wait, steps, reason);
        self.park_behind(id.partition, behind);
    }

    /// Parks a record that was just fetched behind those of its key that are parked.
    pub(crate) fn park_fetched(&mut self, id: RecordId, entry: Entry<R>) {
        let (now, order, calls) = (self.now, self.settings.order, self.calls);
        let Some(assigned) = self.partitions.get_mut(&id.partition) else { return };
        assigned.frontier.finish(id.offset);
        assigned.park.put(ParkLane::of(order, entry.key.as_ref(), id.offset), id.offset, now, calls);
        let state = ParkedState { maybe_applied: entry.maybe_applied, ..ParkedState::default() };
        self.record_final(id, entry, Outcome::Parked { retry_at: now, reason: behind(), state });
        self.measure_park(id.partition);
    }

    /// Looks whether there is room to park more, after what is parked of a partition has changed.
    pub(crate) fn measure_park(&mut self, partition: Partition) {
        let (records, most) = (self.parked_records(), self.settings.parked_records_max.max(1));
        let full = records >= if self.park_full { most - most / FREE_AGAIN_PART } else { most };
        if std::mem::replace(&mut self.park_full, full) != full {
            self.pauses.extend(self.partitions.keys());
        } else if full {
            self.pauses.insert(partition);
        }
    }

    /// Parks these records of a lane, one behind another, without a call. What is replayed is not: it waits for nothing, and
    /// what is before it is newer.
    pub(crate) fn park_behind(&mut self, partition: Partition, mut next: Option<i64>) {
        while let Some(offset) = next {
            let Some(id) = self.partitions.get(&partition).map(|assigned| assigned.id(offset)) else { return };
            let Some(entry) = self.entry(id) else { return };
            next = entry.successor;
            if entry.came == Came::Replayed {
                self.pass_over(id);
            } else {
                self.set_aside(id, Duration::ZERO, 0, behind());
            }
        }
    }

    /// Moves one record from its lane into the park. It waits there from when the next commit is durable.
    pub(crate) fn set_aside(&mut self, id: RecordId, wait: Duration, steps: u32, reason: Reason) {
        let (now, order, calls) = (self.now, self.settings.order, self.calls);
        let Some(entry) = self.take_out(id) else { return };
        let Some(assigned) = self.partitions.get_mut(&id.partition) else { return };
        let park_lane = ParkLane::of(order, entry.key.as_ref(), id.offset);
        let state = ParkedState {
            failing_for: entry.failing_for(now),
            steps,
            attempts_total: entry.attempts_total(),
            maybe_applied: entry.maybe_applied,
            unknown_below: assigned.park.unknown_below(&park_lane, id.offset),
        };
        match LaneId::of(order, entry.key.as_ref()) {
            // The whole lane goes; those behind are set aside too.
            Some(lane) => assigned.lanes.remove(&lane),
            None => assigned.laneless -= 1,
        }
        assigned.park.put(park_lane, id.offset, now.after(wait), calls);
        self.plan_recalls(id.partition);
        self.record_final(id, entry, Outcome::Parked { retry_at: now.after(wait), reason, state });
    }

    /// How long a parked record waits before this attempt of its schedule: those that were parked together do not come
    /// again together.
    fn park_wait(&mut self, steps: u32) -> Duration {
        let schedule = &self.settings.park_schedule;
        let step = usize::try_from(steps).unwrap_or(usize::MAX).min(schedule.len().saturating_sub(1));
        let wait = schedule.get(step).copied().unwrap_or_default();
        wait + self.backoff.up_to(wait / 10)
    }

    /// The next parked record that is to come up. None during an outage, unless it is the one that finds out.
    pub(crate) fn next_recall(&mut self) -> Option<Output<R>> {
        if self.recall_at()? > self.now {
            return None;
        }
        while let Some((at, partition)) = self.recalls.first().copied().filter(|(at, _)| *at <= self.now) {
            self.recalls.remove(&(at, partition));
            let Some(assigned) = self.partitions.get_mut(&partition).filter(|assigned| assigned.is_working()) else {
                continue;
            };
            let Some(offset) = assigned.park.recall(self.now) else { continue };
            let id = assigned.id(offset);
            assigned.recalled += 1;
            self.recalled += 1;
            self.plan_recalls(partition);
            return Some(Output::Recall { id });
        }
        None
    }

    /// When the next parked record may come up: live work goes before it.
    pub(crate) fn recall_at(&self) -> Option<Time> {
        let (at, _) = self.recalls.first().filter(|_| self.paused_by.is_none())?;
        let allowed = self.concurrency.limit().div_ceil(RECALLED_PART);
        if self.recalled >= allowed.max(1) || self.window.is_full() {
            return None;
        }
        let Some(outage) = self.breaker.outage() else { return Some(*at) };
        let idle = self.in_flight + self.preparing + self.prepared.total() + self.recalled == 0;
        idle.then(|| (*at).max(outage.probe_at))
    }

    /// Notes when the next parked record of a partition may come up.
    pub(crate) fn plan_recalls(&mut self, partition: Partition) {
        self.measure_park(partition);
        self.recalls.retain(|(_, other)| *other != partition);
        let refused = self.commits.together.is_refused(partition);
        let assigned = self.partitions.get(&partition).filter(|assigned| assigned.is_working() && !refused);
        let met = |assigned: &&Assigned<R>| assigned.parked_before.is_none_or(|last| assigned.frontier.has_met(last));
        if let Some(at) = assigned.filter(met).and_then(|assigned| assigned.park.next_at()) {
            self.recalls.insert((at, partition));
        }
    }

    /// Notes that a record was fetched: perhaps the last one that what an earlier owner parked has to wait for.
    pub(crate) fn note_met(&mut self, partition: Partition) {
        let Some(assigned) = self.partitions.get_mut(&partition) else { return };
        if assigned.parked_before.is_some_and(|last| assigned.frontier.has_met(last)) {
            assigned.parked_before = None;
            self.plan_recalls(partition);
        }
    }

    /// A parked record is there: it is the head of its lane.
    pub(crate) fn recalled(
        &mut self,
        id: RecordId,
        bytes: usize,
        record: R,
        state: ParkedState,
        attempts: Vec<AttemptLog>,
        has_request: bool,
    ) {
        let now = self.now;
        let Some(lane) = self.asked_for(id) else { return };
        let Some(assigned) = self.partitions.get_mut(&id.partition) else { return };
        if !assigned.is_working() {
            return; // It lies there still, for whoever comes next.
        }
        let key = match &lane {
            ParkLane::Key(key) => Some(key.clone()),
            ParkLane::Alone(_) => None,
        };
        if key.as_ref().is_some_and(|key| self.paused_keys.contains(key)) {
            self.put_back(id, lane, now);
            return;
        }
        let before = Before { state, at: now, parked_at: assigned.park.parked_at(&lane) };
        let mut entry = Entry::recalled(key, bytes, record, before, attempts, Came::Parked);
        entry.has_request = has_request;
        entry.maybe_applied |= assigned.park.is_unknown(&lane, id.offset);
        assigned.park.arrived(&lane);
        let place = assigned.take_in(self.settings.order, id.offset, entry);
        self.take_room(id.partition, bytes);
        self.go_from(id, place);
    }

    /// A parked record could not be read back: it waits as after a failure.
    pub(crate) fn recall_failed(&mut self, id: RecordId) {
        let retry_at = self.now.after(self.backoff.probe());
        if let Some(lane) = self.asked_for(id) {
            self.put_back(id, lane, retry_at);
        }
    }

    /// The lane of a record that was asked for and is not there yet; else what is said of it is late.
    fn asked_for(&mut self, id: RecordId) -> Option<ParkLane> {
        let assigned = self.partitions.get(&id.partition)?;
        let asked = assigned.park.lane_of_recalled(id.offset).filter(|_| !assigned.entries.contains_key(&id.offset));
        self.stale_inputs += u64::from(asked.is_none());
        asked
    }

    /// A record that was asked for stays where it lies, until this time.
    fn put_back(&mut self, id: RecordId, lane: ParkLane, retry_at: Time) {
        let Some(assigned) = self.partitions.get_mut(&id.partition) else { return };
        assigned.recalled -= 1;
        self.recalled -= 1;
        assigned.park.recall_failed(lane, id.offset, retry_at);
        self.plan_recalls(id.partition);
    }

    /// A dead letter is to be delivered again: it is parked first in its lane, and due.
    pub(crate) fn redrive(
        &mut self,
        id: RecordId,
        key: Option<Key>,
        bytes: usize,
        record: R,
        state: ParkedState,
        attempts: Vec<AttemptLog>,
    ) {
        let (order, now, calls) = (self.settings.order, self.now, self.calls);
        let Some(assigned) = self.partitions.get_mut(&id.partition).filter(|assigned| assigned.is_working()) else {
            return;
        };
        let lane = ParkLane::of(order, key.as_ref(), id.offset);
        if assigned.is_dealt_with(&lane, id.offset) {
            return; // It is under way already, or was given up.
        }
        let before = Before { state, at: now, parked_at: self.calls };
        let entry = Entry::recalled(key, bytes, record, before, attempts, Came::Redriven);
        if order == Order::Partition {
            self.redrive_in_place(id, entry);
            return;
        }
        let live = LaneId::of(order, entry.key.as_ref()).is_some_and(|lane| assigned.lanes.contains(&lane));
        if assigned.park.supersedes && (live || !assigned.park.is_held_by(&lane, id.offset)) {
            return; // A newer record of its key is under way, or has made it moot: it would come after that.
        }
        assigned.park.put(lane.clone(), id.offset, now, calls);
        assigned.park.note_live(&lane, live);
        self.take_room(id.partition, bytes);
        self.plan_recalls(id.partition);
        let reason = Reason { code: "redriven".to_owned(), detail: "redriven from the dead letters".to_owned() };
        self.record_final(id, entry, Outcome::Parked { retry_at: now, reason, state });
    }

    /// Where records wait for each other, nothing is parked: the dead letter goes before those that wait behind it.
    fn redrive_in_place(&mut self, id: RecordId, mut entry: Entry<R>) {
        let holds = |assigned: &&mut Assigned<R>| assigned.held == Some(id.offset);
        let Some(assigned) = self.partitions.get_mut(&id.partition).filter(holds) else { return };
        let bytes = entry.bytes;
        assigned.held = None;
        // The hold stays until it has come to its end, so that an owner before us may have sent it.
        entry.maybe_applied |= assigned.held_before == Some(id.offset);
        entry.successor = assigned.lanes.join_first(LaneId::Whole, id.offset);
        assigned.bytes += bytes;
        assigned.entries.insert(id.offset, entry);
        self.take_room(id.partition, bytes);
        self.pauses.insert(id.partition);
        self.begin(id.partition, id.offset);
    }

    /// A dead letter was given up: what it holds goes on.
    pub(crate) fn discard(&mut self, id: RecordId, key: Option<Key>) {
        let (order, now) = (self.settings.order, self.now);
        let Some(assigned) = self.partitions.get_mut(&id.partition).filter(|assigned| assigned.is_working()) else {
            return;
        };
        let lane = ParkLane::of(order, key.as_ref(), id.offset);
        if assigned.is_dealt_with(&lane, id.offset) {
            return; // It is under way again, or was given up already.
        }
        if order != Order::Partition {
            assigned.park.unhold(lane, id.offset, now);
        }
        assigned.discarded.push(Discarded { id, key, superseded: false });
        self.commits.dirty.insert(id.partition);
        self.plan_recalls(id.partition);
    }

    /// A commit made these durable: what waited for that may come up.
    pub(crate) fn park_written(&mut self, partition: Partition, finals: &[Final<R>], discarded: &[Discarded]) {
        let order = self.settings.order;
        let Some(assigned) = self.partitions.get_mut(&partition) else { return };
        for ended in finals {
            if waits_for_commit(ended) {
                let lane = ParkLane::of(order, ended.key.as_ref(), ended.id.offset);
                assigned.park.written(lane, ended.id.offset);
            }
        }
        let mut go_on = None;
        for Discarded { id, key, superseded } in discarded {
            if *superseded {
                continue; // Nothing waits for it.
            }
            if order != Order::Partition {
                assigned.park.written(ParkLane::of(order, key.as_ref(), id.offset), id.offset);
            } else if assigned.held.take_if(|dead| *dead == id.offset).is_some() {
                go_on = assigned.lanes.unblock(&LaneId::Whole);
                self.pauses.insert(partition);
            }
        }
        self.plan_recalls(partition);
        if let Some(head) = go_on {
            self.begin(partition, head);
        }
    }
}

/// Whether a lane of the park waits until this is durable.
fn waits_for_commit<R>(ended: &Final<R>) -> bool {
    match ended.outcome {
        Outcome::Parked { .. } => true,
        Outcome::Dead { .. } => ended.came == Came::Parked,
        Outcome::Done | Outcome::Skipped | Outcome::Overtaken => false,
    }
}

fn behind() -> Reason {
    Reason { code: "behind".to_owned(), detail: "an earlier record of its key is parked or held".to_owned() }
}
