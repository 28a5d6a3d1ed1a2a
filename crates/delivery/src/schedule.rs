//! Whose turn it is: when a record is prepared, when it is sent, and in which order partitions and lanes take turns.
//!
//! The next turn is the partition's that has the least under way (`turns`): to prepare, by all that it has from there on; to
//! send, by its calls, so that what it has ready beside them takes nothing from its part of the calls. Within it, the lowest
//! head of a lane is prepared first, and a lane has one head. So a partition, and a key, whose calls are slow holds
//! its own part and no other one's; where nobody else has work, it may have all.

use std::cmp::Reverse;

use crate::entry::Stage;
use crate::lane::LaneId;
use crate::machine::Machine;
use crate::partition::Assigned;
use crate::{ByClass, Class, Outcome, Output, Partition};

impl<R: Clone> Machine<R> {
    /// A record came to the head of its lane: it goes as far as it may.
    pub(crate) fn begin(&mut self, partition: Partition, offset: i64) {
        let Some(assigned) = self.partitions.get_mut(&partition).filter(|assigned| assigned.is_working()) else {
            return;
        };
        let id = assigned.id(offset);
        if assigned.is_overtaken(self.settings.order, offset) {
            self.finish(id, Outcome::Overtaken);
            return;
        }
        let Some(came) = assigned.entries.get(&offset).map(|entry| entry.came) else { return };
        if !assigned.is_covered(offset, came) {
            self.wait_for_commit(id);
            return;
        }
        let Some(entry) = assigned.entries.get_mut(&offset) else { return };
        if entry.maybe_applied && self.now < assigned.unknown_until {
            // The old owner's call may still be under way, and reach the system after a later record's.
            entry.stage = Stage::Resting;
            self.timers.push(Reverse((assigned.unknown_until, id)));
        } else {
            self.queue(partition, offset);
        }
    }

    /// Queues a record for its next step: to be prepared or, where there is a request that has to be sent again, sent.
    pub(crate) fn queue(&mut self, partition: Partition, offset: i64) {
        let id = self.partitions.get(&partition).map(|assigned| assigned.id(offset));
        if let Some(id) = id.filter(|id| self.is_working_on_paused(*id)) {
            self.set_aside_paused(id);
            return;
        }
        let Some(assigned) = self.partitions.get_mut(&partition).filter(|assigned| assigned.is_working()) else {
            return;
        };
        let Some(entry) = assigned.entries.get_mut(&offset) else { return };
        if self.commits.together.is_refused(partition) {
            assigned.wait_at_commit(offset);
        } else if entry.needs_preparing() {
            entry.stage = Stage::ToPrepare;
            assigned.to_prepare.insert(offset);
            self.want_prepare_turn(partition);
        } else {
            self.queue_send(partition, offset);
        }
    }

    /// Queues a record whose request is there.
    pub(crate) fn queue_send(&mut self, partition: Partition, offset: i64) {
        let Some(assigned) = self.partitions.get_mut(&partition) else { return };
        let Some(entry) = assigned.entries.get_mut(&offset) else { return };
        if self.commits.together.is_refused(partition) {
            assigned.wait_at_commit(offset);
            return;
        }
        entry.stage = Stage::ToSend;
        let class = entry.class();
        assigned.to_send.of_mut(class).push_back(offset);
        *self.prepared.of_mut(class) += 1;
        self.prepare_turns.note(partition, assigned.under_way());
        self.send_turns.of_mut(class).wait(partition, assigned.in_flight);
    }

    /// Has a partition wait for a turn to prepare, if it has something to prepare.
    pub(crate) fn want_prepare_turn(&mut self, partition: Partition) {
        let Some(assigned) = self.partitions.get_mut(&partition) else { return };
        if !assigned.to_prepare.is_empty() {
            self.prepare_turns.wait(partition, assigned.under_way());
        }
    }

    /// Has turns go by what a partition has under way now.
    pub(crate) fn note_turns(&mut self, partition: Partition) {
        let Some(assigned) = self.partitions.get(&partition) else { return };
        self.prepare_turns.note(partition, assigned.under_way());
        for class in Class::ALL {
            self.send_turns.of_mut(class).note(partition, assigned.in_flight);
        }
    }

    /// Whether turns go by what a partition has under way now, and who has a request waits for one.
    pub(crate) fn turns_agree(&self, assigned: &Assigned<R>) -> bool {
        let preparing = self.prepare_turns.has(assigned.partition).is_none_or(|has| has == assigned.under_way());
        let sending = Class::ALL.into_iter().all(|class| {
            let has = self.send_turns.of(class).has(assigned.partition);
            has.map_or(assigned.to_send.of(class).is_empty(), |has| has == assigned.in_flight)
        });
        preparing && sending
    }

    /// Brings on what has rested long enough.
    pub(crate) fn wake_rested(&mut self) {
        while let Some(Reverse((at, id))) = self.timers.peek().copied()
            && at <= self.now
        {
            self.timers.pop();
            let assigned = self.partitions.get(&id.partition);
            let entry = assigned.and_then(|assigned| assigned.entries.get(&id.offset));
            if entry.is_some_and(|entry| entry.stage == Stage::Resting) {
                self.queue(id.partition, id.offset);
            }
        }
    }

    /// The next record to prepare. Prepared ahead are at most as many as may be in flight.
    pub(crate) fn next_prepare(&mut self) -> Option<Output<R>> {
        if self.now < self.prepare_from || self.preparing + self.prepared.total() >= self.allowed() {
            return None;
        }
        let probing = self.breaker.outage().is_some();
        while let Some(partition) = self.prepare_turns.first() {
            let next = self.partitions.get_mut(&partition).and_then(|assigned| assigned.next_to_prepare(probing));
            let Some(offset) = next else {
                // It has nothing, or no room: then it comes back when one of its records ends.
                self.prepare_turns.leave(partition);
                continue;
            };
            return self.prepare(partition, offset);
        }
        None
    }

    fn prepare(&mut self, partition: Partition, offset: i64) -> Option<Output<R>> {
        let assigned = self.partitions.get_mut(&partition)?;
        let id = assigned.id(offset);
        let entry = assigned.entries.get_mut(&offset)?;
        entry.stage = Stage::Preparing;
        entry.worked_at_start = self.worked_call;
        let output = Output::Prepare { id, class: entry.class(), attempt: entry.attempt, record: entry.record.clone() };
        assigned.begun += usize::from(!std::mem::replace(&mut entry.begun, true));
        assigned.preparing += 1;
        self.preparing += 1;
        self.prepare_turns.took(partition, assigned.under_way());
        Some(output)
    }

    /// The next request to send.
    pub(crate) fn next_send(&mut self) -> Option<Output<R>> {
        if !self.has_room || self.now < self.send_from {
            return None;
        }
        if self.in_flight >= self.allowed() || !self.may_repeat_one_more() {
            return None;
        }
        while let Some((class, partition)) = self.next_sender() {
            let assigned = self.partitions.get_mut(&partition);
            let Some(offset) = assigned.and_then(|assigned| assigned.to_send.of_mut(class).pop_front()) else {
                self.send_turns.of_mut(class).leave(partition);
                continue;
            };
            *self.prepared.of_mut(class) -= 1;
            if let Err(what) = self.check_send(partition, offset) {
                self.halt(partition, what);
                continue;
            }
            return self.send(partition, offset, class);
        }
        None
    }

    /// Whose turn it is to send: whoever has live work, and if nobody has, whoever replays.
    fn next_sender(&self) -> Option<(Class, Partition)> {
        Class::ALL.into_iter().find_map(|class| Some((class, self.send_turns.of(class).first()?)))
    }

    /// Calls that would be handed out at once if the limits of the system had room for them. The next one is a live one, if
    /// there is one.
    #[must_use]
    pub fn sendable(&self) -> ByClass<usize> {
        if self.now < self.send_from || !self.may_repeat_one_more() {
            return ByClass::default();
        }
        let most = self.allowed().saturating_sub(self.in_flight);
        let live = self.prepared.live.min(most);
        ByClass { live, replayed: self.prepared.replayed.min(most - live) }
    }

    fn send(&mut self, partition: Partition, offset: i64, class: Class) -> Option<Output<R>> {
        let assigned = self.partitions.get_mut(&partition)?;
        let id = assigned.id(offset);
        let entry = assigned.entries.get_mut(&offset)?;
        entry.stage = Stage::InFlight;
        entry.sent_at = self.now;
        self.calls += 1;
        entry.call = self.calls;
        entry.worked_at_start = self.worked_call;
        assigned.in_flight += 1;
        self.in_flight += 1;
        self.send_turns.of_mut(class).took(partition, assigned.in_flight);
        for other in Class::ALL.into_iter().filter(|other| *other != class) {
            self.send_turns.of_mut(other).note(partition, assigned.in_flight);
        }
        Some(Output::Send {
            id,
            class,
            attempt: entry.attempt,
            maybe_applied: entry.maybe_applied,
            mapped_otherwise: entry.mapped_otherwise,
            record: entry.record.clone(),
        })
    }

    /// What guards against disorder and against a call that nobody would know of after a crash.
    fn check_send(&self, partition: Partition, offset: i64) -> Result<(), String> {
        let Some(assigned) = self.partitions.get(&partition) else { return Ok(()) };
        let Some(entry) = assigned.entries.get(&offset) else {
            return Err(format!("offset {offset} was to be sent, and is not there"));
        };
        if !assigned.is_covered(offset, entry.came) {
            return Err(format!("offset {offset} was to be sent at the send ceiling {}", assigned.ceiling));
        }
        let lane = LaneId::of(self.settings.order, entry.key.as_ref());
        if lane.is_some_and(|lane| !assigned.lanes.is_head(&lane, offset)) {
            return Err(format!("offset {offset} was to be sent before an earlier one of its key"));
        }
        Ok(())
    }

    /// Whether one more call may come again after a crash. If not, a commit makes room.
    pub(crate) fn may_repeat_one_more(&self) -> bool {
        self.repeats() < self.repeats_max()
    }

    /// Whether half of those that may come again are not used up. If they are, a commit makes room before sending has to
    /// wait for it.
    pub(crate) fn may_repeat_many_more(&self) -> bool {
        self.repeats() < self.repeats_max() / 2
    }

    /// Calls that would come again after a crash now. Those of a partition whose commits are refused come on top: no more
    /// are added to them, and they are not to keep the others from being sent.
    fn repeats(&self) -> usize {
        self.in_flight + self.commits.calls - self.calls_refused() + self.commits.calls_committing
    }

    fn repeats_max(&self) -> usize {
        self.settings.repeats_max.max(self.in_flight_max() + 1)
    }

    /// How many calls may be under way now: as the system bears it; in an outage one, when it is time to find out.
    pub(crate) fn allowed(&self) -> usize {
        if self.paused_by.is_some() {
            return 0;
        }
        self.breaker.outage().map_or(self.concurrency.limit(), |open| usize::from(self.now >= open.probe_at))
    }

    pub(crate) fn in_flight_max(&self) -> usize {
        self.settings.in_flight_max.max(1)
    }
}
