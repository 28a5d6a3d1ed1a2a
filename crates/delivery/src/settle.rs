//! What an answer means for its record: DESIGN.md, "What an answer means".

use std::cmp::Reverse;
use std::time::Duration;

use crate::breaker::{PROBE_EVERY_MAX, Refusal};
use crate::concurrency::Ended;
use crate::entry::{Entry, Failing, Stage, StuckBy};
use crate::lane::LaneId;
use crate::machine::Machine;
use crate::park::ParkLane;
use crate::partition::Assigned;
use crate::{
    Answer, AttemptLog, Came, Discarded, Effect, Final, OUTCOME_UNKNOWN, OnDeadLetter, Order, Outcome, Prepared,
    Reason, RecordId, Time,
};

/// Within so long everything that failed in an outage is tried again when that is over.
const SOON: Duration = Duration::from_secs(1);

/// How a record failed that is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// Retried; out of patience, it is parked if the operation works for others.
    Transient,
    /// Retried; out of patience, it is dead.
    Conflict,
    /// Retried; out of patience, it is dead if the operation works for others, and else like a transient one.
    AbsentOrForbidden,
    /// Retried, and nothing else is called meanwhile: it is not this record's fault.
    Outage,
}

impl<R: Clone> Machine<R> {
    /// A record was prepared, or could not be.
    pub(crate) fn prepared(&mut self, id: RecordId, attempt: u32, outcome: Prepared) {
        let Some(assigned) = self.partitions.get_mut(&id.partition) else { return };
        let working = assigned.is_working();
        let asked = |entry: &&mut Entry<R>| entry.stage == Stage::Preparing && entry.attempt == attempt;
        let Some(entry) = assigned.entries.get_mut(&id.offset).filter(asked) else {
            self.stale_inputs += 1;
            return;
        };
        entry.stage = Stage::Resting;
        assigned.preparing -= 1;
        self.preparing -= 1;
        self.note_turns(id.partition);
        if !working {
            return; // It is prepared again by whoever comes next.
        }
        match outcome {
            Prepared::Call => {
                let Some(entry) = self.entry(id) else { return };
                entry.has_request = true;
                if self.is_working_on_paused(id) {
                    self.set_aside_paused(id);
                    return;
                }
                self.queue_send(id.partition, id.offset);
            }
            Prepared::Skip => self.finish(id, Outcome::Skipped),
            Prepared::Refused(reason) => drop(self.refuse(id, reason)),
            Prepared::NotNow(answer, log) => self.not_now(id, answer, log),
        }
    }

    /// Nothing was sent, since something else is missing.
    fn not_now(&mut self, id: RecordId, answer: Answer, log: AttemptLog) {
        match answer {
            Answer::Throttled { retry_after } => {
                self.prepare_from = self.prepare_from.max(self.now.after(retry_after));
                self.wait_as_told(id, retry_after);
            }
            Answer::Refused(reason) => {
                self.count_attempt(id, log);
                self.refuse(id, reason);
            }
            Answer::Conflict(reason) => self.fail(id, Failure::Conflict, reason, log),
            Answer::AbsentOrForbidden(reason) => self.fail(id, Failure::AbsentOrForbidden, reason, log),
            Answer::Credential(reason) | Answer::Misconfigured(reason) => self.fail(id, Failure::Outage, reason, log),
            Answer::NotApplied(reason) | Answer::Unknown(reason) | Answer::AppliedUnreadable(reason) => {
                self.fail(id, Failure::Transient, reason, log);
            }
            Answer::Applied => {
                let detail = "a look-up was reported as answered and not usable".to_owned();
                self.fail(id, Failure::Transient, Reason { code: "look-up".to_owned(), detail }, log);
            }
        }
    }

    /// A call ended.
    pub(crate) fn answered(&mut self, id: RecordId, attempt: u32, answer: Answer, log: AttemptLog) {
        let Some(assigned) = self.partitions.get_mut(&id.partition) else { return };
        let asked = |entry: &&mut Entry<R>| entry.stage == Stage::InFlight && entry.attempt == attempt;
        let Some(entry) = assigned.entries.get_mut(&id.offset).filter(asked) else {
            self.stale_inputs += 1;
            return;
        };
        entry.stage = Stage::Resting;
        let (call, sent_at) = (entry.call, entry.sent_at);
        let (ended, outage) = (Ended::of(&answer), self.breaker.outage().is_some());
        if !outage {
            self.concurrency.ended(self.now, sent_at, self.in_flight, ended);
        }
        assigned.in_flight -= 1;
        self.in_flight -= 1;
        self.note_turns(id.partition);
        match answer {
            Answer::Applied => {
                self.count_attempt(id, log);
                self.finish(id, Outcome::Done);
                self.worked(call);
            }
            Answer::AppliedUnreadable(reason) => {
                self.count_attempt(id, log);
                self.bury(id, reason, true);
                self.worked(call);
            }
            Answer::Refused(reason) => {
                self.count_attempt(id, log);
                if self.refuse(id, reason) {
                    self.heard();
                }
            }
            Answer::Throttled { retry_after } => {
                self.send_from = self.send_from.max(self.now.after(retry_after));
                self.wait_as_told(id, retry_after);
            }
            Answer::Conflict(reason) => {
                self.fail(id, Failure::Conflict, reason, log);
                self.heard();
            }
            Answer::AbsentOrForbidden(reason) => self.fail(id, Failure::AbsentOrForbidden, reason, log),
            Answer::NotApplied(reason) => self.fail(id, Failure::Transient, reason, log),
            Answer::Unknown(reason) => {
                if let Some(entry) = self.entry(id) {
                    entry.maybe_applied = true;
                }
                self.fail(id, Failure::Transient, reason, log);
            }
            Answer::Credential(reason) | Answer::Misconfigured(reason) => self.fail(id, Failure::Outage, reason, log),
        }
        if outage && self.breaker.outage().is_none() {
            self.concurrency.begin_again(self.now);
        }
        self.close_if_quiet(id.partition);
    }

    fn count_attempt(&mut self, id: RecordId, log: AttemptLog) {
        let Some(assigned) = self.partitions.get_mut(&id.partition) else { return };
        let Some(entry) = assigned.entries.get_mut(&id.offset) else { return };
        entry.count_attempt(log);
    }

    /// An effect was confirmed: the system works.
    fn worked(&mut self, call: u64) {
        self.worked_call = self.worked_call.max(call);
        if self.breaker.worked(self.now) {
            self.outage_over();
        }
    }

    /// The system answered, though not with an effect: it is there.
    fn heard(&mut self) {
        if self.breaker.answered(self.now) {
            self.outage_over();
        }
    }

    /// What failed in the outage does not wait for the long times that had come to.
    fn outage_over(&mut self) {
        self.pauses.extend(self.partitions.keys());
        let soon = self.now.after(SOON);
        let timers = std::mem::take(&mut self.timers).into_vec();
        for Reverse((at, id)) in timers {
            let failed = self.entry(id).is_some_and(|entry| entry.failing.is_some());
            let at = if failed && at > soon { self.now.after(self.backoff.up_to(SOON)) } else { at };
            if let Some(failing) = self.entry(id).and_then(|entry| entry.failing.as_mut()) {
                failing.retry_at = at;
            }
            self.timers.push(Reverse((at, id)));
        }
    }

    /// The request can never be accepted, as far as this answer tells. True if the record is dead by it.
    fn refuse(&mut self, id: RecordId, reason: Reason) -> bool {
        let (now, calls) = (self.now, self.calls);
        let Some(entry) = self.entry(id) else { return false };
        if reason.code == OUTCOME_UNKNOWN {
            self.bury(id, reason, false);
            return true;
        }
        let first = !entry.failing.as_ref().is_some_and(|failing| failing.refused);
        let refusal = self.breaker.refused(first);
        if refusal == Refusal::Buried {
            self.bury(id, reason, false);
            return true;
        }
        let wait = self.backoff.probe();
        let Some(entry) = self.entry(id) else { return false };
        let failing = failing(entry, now, calls);
        failing.refused = true;
        failing.reason = reason.clone();
        failing.retry_at = now.after(wait);
        failing.stuck = Some(StuckBy::Outage);
        self.note_stuck(id);
        if refusal == Refusal::Flood {
            let detail =
                format!("too much is refused to be the records' fault, at last {}: {}", reason.code, reason.detail);
            self.note_outage(Reason { code: "flood".to_owned(), detail });
        }
        self.rest(id);
        false
    }

    /// Somebody says that a record which is kept is at fault.
    pub(crate) fn bury_kept(&mut self, id: RecordId) {
        let kept = self.entry(id).filter(|entry| entry.stage == Stage::Resting).and_then(|entry| {
            let failing = entry.failing.as_ref().filter(|failing| failing.stuck.is_some())?;
            Some(failing.reason.clone())
        });
        if let Some(reason) = kept {
            self.bury(id, reason, false);
        }
    }

    /// The system fails for everybody, as far as can be told now.
    fn note_outage(&mut self, reason: Reason) {
        let probes = self.breaker.outage().map_or(1, |outage| outage.probes);
        let wait = self.backoff.after(probes).min(PROBE_EVERY_MAX);
        self.breaker.open(self.now, reason, self.now.after(wait));
        self.pauses.extend(self.partitions.keys());
    }

    /// The system named a time before which nobody calls. The record waits its turn; no attempt is counted.
    fn wait_as_told(&mut self, id: RecordId, retry_after: Duration) {
        if retry_after > self.settings.retry_after_max {
            let detail = format!("told to wait {} s", retry_after.as_secs());
            let reason = Reason { code: "throttled".to_owned(), detail };
            let (now, calls) = (self.now, self.calls);
            let Some(entry) = self.entry(id) else { return };
            let failing = failing(entry, now, calls);
            failing.reason = reason.clone();
            failing.retry_at = now.after(retry_after);
            failing.stuck = Some(StuckBy::Outage);
            self.note_stuck(id);
            self.note_outage(reason);
        }
        self.queue(id.partition, id.offset);
    }

    /// An attempt failed: the record is tried again, is parked, or has come to its end.
    fn fail(&mut self, id: RecordId, failure: Failure, reason: Reason, log: AttemptLog) {
        let (now, calls, patience) = (self.now, self.calls, self.settings.patience);
        let closed_at = self.breaker.closed_at();
        let Some(entry) = self.entry(id) else { return };
        entry.count_attempt(log);
        let (came, worked_call) = (entry.came, entry.worked_at_start);
        let failed_before = entry.before.map_or(calls, |before| before.parked_at);
        let failing = failing(entry, now, failed_before);
        if failing.failures == 0 && !failing.refused {
            // It was told to wait, at most: that is no failure.
            (failing.since, failing.first, failing.last) = (now, failed_before, failed_before);
        }
        failing.failures = failing.failures.saturating_add(1);
        failing.conflict_since = if failure == Failure::Conflict { failing.conflict_since.or(Some(now)) } else { None };
        failing.reason = reason.clone();
        let first = failing.failures == 1;
        // Only the head of a lane is sent, so that what has worked since is another key's. It counts where it was sent after
        // the failure, or it may only show how it was before; and was heard of before this attempt began, or it may only
        // show that an outage is over, which this call was still met by.
        let worked_since_first = worked_call > failing.first;
        let worked_since_last = worked_call > std::mem::replace(&mut failing.last, calls);
        let (since, conflict_since) = (failing.since, failing.conflict_since);
        let first = first && self.is_news(id, worked_since_last);
        // Nobody's patience is tried by an outage.
        let impatient = now.since(since.max(closed_at)) >= patience;

        match failure {
            Failure::Conflict if conflict_since.is_some_and(|since| now.since(since) >= patience) => {
                self.bury(id, conflict(&reason, patience), false);
            }
            Failure::AbsentOrForbidden if impatient && worked_since_first => self.bury(id, reason, false),
            Failure::Transient if came == Came::Parked || (impatient && worked_since_last) => {
                self.give_up_or_park(id, reason.clone(), came != Came::Parked || worked_since_last, impatient);
                self.suspect(first, reason);
            }
            Failure::Transient | Failure::AbsentOrForbidden => {
                self.retry(id, impatient.then_some(StuckBy::Patience), impatient);
                self.suspect(first, reason);
            }
            Failure::Conflict => self.retry(id, None, impatient),
            Failure::Outage => {
                self.retry(id, Some(StuckBy::Outage), true);
                self.note_outage(reason);
            }
        }
    }

    /// Whether the first failure of a record since it was taken in says anything of the system. That of one that was parked for
    /// its own failures does once, and only where nothing has worked since: a few sick keys would else count each time that
    /// they come up, and look like an outage; where many come up and nothing works, it may be one.
    fn is_news(&mut self, id: RecordId, worked_since: bool) -> bool {
        let (order, worked_call) = (self.settings.order, self.worked_call);
        let Some(assigned) = self.partitions.get_mut(&id.partition) else { return false };
        let Some(entry) = assigned.entries.get(&id.offset) else { return false };
        if entry.before.is_none_or(|before| before.state.failing_for.is_zero()) {
            return true;
        }
        let lane = ParkLane::of(order, entry.key.as_ref(), id.offset);
        !worked_since && assigned.park.count_failure(&lane, worked_call)
    }

    /// A record that fails while the operation works for others waits aside, or has waited for long enough.
    fn give_up_or_park(&mut self, id: RecordId, reason: Reason, worked: bool, impatient: bool) {
        let (now, give_up_after, order) = (self.now, self.settings.give_up_after, self.settings.order);
        let Some(entry) = self.entry(id) else { return };
        let failing_for = entry.failing_for(now);
        let (lane, parked) = (ParkLane::of(order, entry.key.as_ref(), id.offset), entry.came == Came::Parked);
        if worked && failing_for >= give_up_after {
            self.bury(id, given_up(&reason, failing_for), false);
        } else if parked || self.may_park(id.partition, &lane) {
            self.park(id, reason, worked);
        } else {
            self.retry(id, Some(StuckBy::Patience), impatient);
            if let Some(assigned) = self.partitions.get_mut(&id.partition) {
                assigned.unparkable.insert(id.offset);
                self.pauses.insert(id.partition);
            }
        }
    }

    /// Takes note of a failure that may be everybody's.
    fn suspect(&mut self, first: bool, reason: Reason) {
        if self.breaker.failed(first) || self.breaker.outage().is_some() {
            self.note_outage(reason);
        }
    }

    /// Lets a failing record be tried again after a while.
    fn retry(&mut self, id: RecordId, stuck: Option<StuckBy>, impatient: bool) {
        let Some(failures) = self.entry(id).and_then(|entry| entry.failing.as_ref()).map(|failing| failing.failures)
        else {
            return;
        };
        let wait = if impatient { self.backoff.probe() } else { self.backoff.after(failures) };
        let retry_at = self.now.after(wait);
        if let Some(failing) = self.entry(id).and_then(|entry| entry.failing.as_mut()) {
            failing.retry_at = retry_at;
            // A record that is stuck stays so until its end: it is not let go by failing in another way.
            failing.stuck = stuck.or(failing.stuck);
        }
        self.note_stuck(id);
        self.rest(id);
    }

    fn note_stuck(&mut self, id: RecordId) {
        let Some(assigned) = self.partitions.get_mut(&id.partition) else { return };
        let failing = assigned.entries.get(&id.offset).and_then(|entry| entry.failing.as_ref());
        if failing.is_some_and(|failing| failing.stuck.is_some()) {
            assigned.stuck.insert(id.offset);
        }
    }

    /// Lets a failing record wait for its next attempt.
    fn rest(&mut self, id: RecordId) {
        let Some(assigned) = self.partitions.get_mut(&id.partition).filter(|assigned| assigned.is_working()) else {
            return;
        };
        let Some(failing) = assigned.entries.get(&id.offset).and_then(|entry| entry.failing.as_ref()) else { return };
        self.timers.push(Reverse((failing.retry_at, id)));
    }

    /// A record cannot be delivered: a dead letter.
    pub(crate) fn bury(&mut self, id: RecordId, reason: Reason, applied: bool) {
        let order = self.settings.order;
        let Some(entry) = self.entry(id) else { return };
        let keyed = match order {
            Order::Key => entry.key.is_some(),
            Order::Partition => true,
            Order::None => false,
        };
        let effect = match (applied, entry.maybe_applied) {
            (true, _) => Effect::Exists,
            (false, true) => Effect::Unknown,
            (false, false) => Effect::None,
        };
        let holds = match self.settings.on_dead_letter {
            OnDeadLetter::Hold => keyed,
            OnDeadLetter::Supersede => keyed && order == Order::Key,
            OnDeadLetter::Continue => false,
        };
        self.finish(id, Outcome::Dead { reason, effect, holds });
    }

    /// A record has come to its end: it leaves its lane, and waits for the commit that makes it durable.
    pub(crate) fn finish(&mut self, id: RecordId, outcome: Outcome) {
        let Some(entry) = self.take_out(id) else { return };
        let Some(assigned) = self.partitions.get_mut(&id.partition) else { return };
        let (dead, holds) = match &outcome {
            Outcome::Dead { holds, .. } => (true, *holds),
            Outcome::Done | Outcome::Skipped | Outcome::Overtaken | Outcome::Parked { .. } => (false, false),
        };
        // What a dead letter holds is parked; what may supersede it goes on.
        let parks = holds && self.settings.order == Order::Key && !assigned.park.supersedes;
        let in_park = holds || entry.came == Came::Parked || !assigned.park.is_empty();
        if in_park {
            self.end_in_park(id, &entry, &outcome);
        }
        self.leave_lane(id, &entry, dead, holds, parks);
        if in_park {
            self.plan_recalls(id.partition);
        }
        let successor = entry.successor;
        self.record_final(id, entry, outcome);
        if parks {
            self.park_behind(id.partition, successor);
        } else if let Some(successor) = successor.filter(|_| !dead) {
            self.begin(id.partition, successor);
        }
    }

    /// What the end of a record means for the others that are parked of its key, and for a dead letter before it.
    fn end_in_park(&mut self, id: RecordId, entry: &Entry<R>, outcome: &Outcome) {
        let (order, now) = (self.settings.order, self.now);
        let Some(assigned) = self.partitions.get_mut(&id.partition) else { return };
        let lane = ParkLane::of(order, entry.key.as_ref(), id.offset);
        let (moves, dead, holds) = match outcome {
            Outcome::Dead { holds, .. } => (true, true, *holds && order == Order::Key),
            Outcome::Done => (true, false, false),
            Outcome::Skipped | Outcome::Overtaken | Outcome::Parked { .. } => (false, false, false),
        };
        if entry.came == Came::Parked {
            assigned.park.end(lane.clone(), id.offset, now, dead);
        }
        if let Some(moot) = moves.then(|| assigned.park.supersede(&lane, id.offset)).flatten() {
            let (id, key) = (assigned.id(moot), entry.key.clone());
            assigned.discarded.push(Discarded { id, key, superseded: true });
        }
        if holds {
            assigned.park.hold(lane, id.offset);
        }
    }

    /// Takes a record out of its lane, whose next one is the head from now on.
    fn leave_lane(&mut self, id: RecordId, entry: &Entry<R>, dead: bool, holds: bool, parks: bool) {
        let order = self.settings.order;
        let Some(assigned) = self.partitions.get_mut(&id.partition) else { return };
        let Some(lane) = LaneId::of(order, entry.key.as_ref()) else {
            assigned.laneless -= 1;
            return;
        };
        if parks {
            assigned.lanes.remove(&lane);
            return;
        }
        // Nothing is done on hope: behind a dead letter the lane goes on when that is durable, if it does at all.
        assigned.lanes.leave(&lane, entry.successor, dead);
        if holds && order == Order::Partition {
            assigned.held = Some(id.offset);
            self.pauses.insert(id.partition);
        }
        if !assigned.park.is_empty() && !assigned.lanes.contains(&lane) {
            assigned.park.note_live(&ParkLane::of(order, entry.key.as_ref(), id.offset), false);
        }
    }

    pub(crate) fn entry(&mut self, id: RecordId) -> Option<&mut Entry<R>> {
        self.partitions.get_mut(&id.partition)?.entries.get_mut(&id.offset)
    }

    /// Takes a record out of what is under way; it is still in its lane.
    pub(crate) fn take_out(&mut self, id: RecordId) -> Option<Entry<R>> {
        let assigned: &mut Assigned<R> = self.partitions.get_mut(&id.partition)?;
        let entry = assigned.entries.remove(&id.offset)?;
        assigned.frontier.finish(id.offset);
        assigned.begun -= usize::from(entry.begun);
        assigned.bytes -= entry.bytes;
        assigned.stuck.remove(&id.offset);
        if assigned.unparkable.remove(&id.offset) | assigned.measure_room() {
            self.pauses.insert(id.partition);
        }
        if entry.came == Came::Parked {
            assigned.recalled -= 1;
            self.recalled -= 1;
        }
        if entry.came == Came::Replayed {
            assigned.replayed.remove(&id.offset);
            self.replayed -= 1;
        }
        self.want_prepare_turn(id.partition);
        Some(entry)
    }

    /// Has the next commit make durable what became of a record.
    pub(crate) fn record_final(&mut self, id: RecordId, entry: Entry<R>, outcome: Outcome) {
        let Some(assigned) = self.partitions.get_mut(&id.partition) else { return };
        let attempts_total = entry.attempts_total();
        let Entry { key, record, attempts, came, bytes, .. } = entry;
        assigned.finals_bytes += bytes;
        assigned.note_effect(key.as_ref(), id.offset, &outcome);
        assigned.finals.push(Final { id, key, record, outcome, came, attempts, attempts_total });
        let leaving = assigned.leaving.is_some();
        self.commits.note_final(id.partition, attempts_total > 0);
        // Half a window of them is not made to wait: they hold up fetching.
        self.commits.urgent |= leaving || self.many_finals_wait();
    }
}

/// What is known of a record's failures; from now on, if it is the first.
fn failing<R>(entry: &mut Entry<R>, now: Time, failed_before: u64) -> &mut Failing {
    entry.failing.get_or_insert_with(|| {
        Box::new(Failing {
            since: now,
            conflict_since: None,
            first: failed_before,
            last: failed_before,
            failures: 0,
            refused: false,
            reason: Reason { code: String::new(), detail: String::new() },
            retry_at: now,
            stuck: None,
        })
    })
}

fn conflict(last: &Reason, patience: Duration) -> Reason {
    let detail = format!("in conflict for {} s, at last {}: {}", patience.as_secs(), last.code, last.detail);
    Reason { code: "conflict".to_owned(), detail }
}

fn given_up(last: &Reason, failing_for: Duration) -> Reason {
    let hours = failing_for.as_secs() / 3_600;
    let detail = format!("given up after {hours} h of failures, at last {}: {}", last.code, last.detail);
    Reason { code: "given-up".to_owned(), detail }
}
