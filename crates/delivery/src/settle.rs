//! What an answer means for its record: DESIGN.md, "What an answer means".

use std::cmp::Reverse;
use std::time::Duration;

use crate::entry::{Entry, Failing, Stage, StuckBy};
use crate::lane::LaneId;
use crate::machine::Machine;
use crate::{Answer, AttemptLog, Final, OnDeadLetter, Outcome, Prepared, Reason, RecordId, Time};

/// How a record failed that is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// Retried; out of patience, it pauses its partition.
    Transient,
    /// Retried; out of patience, it is dead.
    Conflict,
    /// Retried; out of patience, it is dead if the operation works for others, and else like a transient one.
    AbsentOrForbidden,
    /// Retried, and pauses its partition at once: it is not this record's fault.
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
        if !working {
            return; // It is prepared again by whoever comes next.
        }
        match outcome {
            Prepared::Call => {
                entry.has_request = true;
                self.queue_send(id.partition, id.offset);
            }
            Prepared::Skip => self.finish(id, Outcome::Skipped),
            Prepared::Refused(reason) => self.finish(id, Outcome::Dead { reason, applied: false }),
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
                self.finish(id, Outcome::Dead { reason, applied: false });
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
        assigned.in_flight -= 1;
        self.in_flight -= 1;
        match answer {
            Answer::Applied => {
                self.applied_total += 1;
                self.count_attempt(id, log);
                self.finish(id, Outcome::Done);
            }
            Answer::AppliedUnreadable(reason) => {
                self.applied_total += 1;
                self.count_attempt(id, log);
                self.finish(id, Outcome::Dead { reason, applied: true });
            }
            Answer::Refused(reason) => {
                self.count_attempt(id, log);
                self.finish(id, Outcome::Dead { reason, applied: false });
            }
            Answer::Throttled { retry_after } => {
                self.send_from = self.send_from.max(self.now.after(retry_after));
                self.wait_as_told(id, retry_after);
            }
            Answer::Conflict(reason) => self.fail(id, Failure::Conflict, reason, log),
            Answer::AbsentOrForbidden(reason) => self.fail(id, Failure::AbsentOrForbidden, reason, log),
            Answer::NotApplied(reason) => self.fail(id, Failure::Transient, reason, log),
            Answer::Unknown(reason) => {
                entry.maybe_applied = true;
                self.fail(id, Failure::Transient, reason, log);
            }
            Answer::Credential(reason) | Answer::Misconfigured(reason) => self.fail(id, Failure::Outage, reason, log),
        }
        self.close_if_quiet(id.partition);
    }

    fn count_attempt(&mut self, id: RecordId, log: AttemptLog) {
        let Some(assigned) = self.partitions.get_mut(&id.partition) else { return };
        let Some(entry) = assigned.entries.get_mut(&id.offset) else { return };
        entry.count_attempt(log);
    }

    /// The system named a time before which nobody calls. The record waits its turn; no attempt is counted.
    fn wait_as_told(&mut self, id: RecordId, retry_after: Duration) {
        if retry_after > self.settings.retry_after_max {
            let detail = format!("told to wait {} s", retry_after.as_secs());
            let reason = Reason { code: "throttled".to_owned(), detail };
            let (now, applied) = (self.now, self.applied_total);
            let Some(assigned) = self.partitions.get_mut(&id.partition) else { return };
            let Some(entry) = assigned.entries.get_mut(&id.offset) else { return };
            let failing = failing(entry, now, applied);
            failing.reason = reason;
            failing.retry_at = now.after(retry_after);
            failing.stuck = Some(StuckBy::Outage);
            assigned.stuck.insert(id.offset);
            self.pauses.insert(id.partition);
        }
        self.queue(id.partition, id.offset);
    }

    /// An attempt failed: the record is tried again, or has come to its end.
    fn fail(&mut self, id: RecordId, failure: Failure, reason: Reason, log: AttemptLog) {
        let (now, applied, patience) = (self.now, self.applied_total, self.settings.patience);
        let Some(assigned) = self.partitions.get_mut(&id.partition) else { return };
        let Some(entry) = assigned.entries.get_mut(&id.offset) else { return };
        entry.count_attempt(log);
        let failing = failing(entry, now, applied);
        failing.failures = failing.failures.saturating_add(1);
        failing.conflict_since = if failure == Failure::Conflict { failing.conflict_since.or(Some(now)) } else { None };

        let impatient = now.since(failing.since) >= patience;
        let dead = match failure {
            Failure::Conflict => failing.conflict_since.is_some_and(|since| now.since(since) >= patience),
            // Only the head of a lane is sent, so that what was applied since is another key's.
            Failure::AbsentOrForbidden => impatient && applied > failing.applied_before,
            Failure::Transient | Failure::Outage => false,
        };
        if dead {
            let reason = match failure {
                Failure::Conflict => conflict(&reason, patience),
                Failure::Transient | Failure::AbsentOrForbidden | Failure::Outage => reason,
            };
            self.finish(id, Outcome::Dead { reason, applied: false });
            return;
        }

        let stuck = match failure {
            Failure::Outage => Some(StuckBy::Outage),
            Failure::Conflict => None,
            Failure::Transient | Failure::AbsentOrForbidden => impatient.then_some(StuckBy::Patience),
        };
        // A record that is stuck stays so until its end: it is not let go by failing in another way.
        failing.stuck = stuck.or(failing.stuck);
        failing.reason = reason;
        failing.retry_at =
            now.after(if impatient { self.backoff.probe() } else { self.backoff.after(failing.failures) });
        if failing.stuck.is_some() {
            assigned.stuck.insert(id.offset);
            self.pauses.insert(id.partition);
        }
        self.rest(id);
    }

    /// Lets a failing record wait for its next attempt.
    fn rest(&mut self, id: RecordId) {
        let Some(assigned) = self.partitions.get_mut(&id.partition).filter(|assigned| assigned.is_working()) else {
            return;
        };
        let Some(failing) = assigned.entries.get(&id.offset).and_then(|entry| entry.failing.as_ref()) else { return };
        self.timers.push(Reverse((failing.retry_at, id)));
    }

    /// A record has come to its end: it leaves its lane, and waits for the commit that makes it durable.
    pub(crate) fn finish(&mut self, id: RecordId, outcome: Outcome) {
        let Some(assigned) = self.partitions.get_mut(&id.partition) else { return };
        let Some(entry) = assigned.entries.remove(&id.offset) else { return };
        assigned.frontier.finish(id.offset);
        assigned.begun -= usize::from(entry.begun);
        assigned.bytes -= entry.bytes;
        assigned.finals_bytes += entry.bytes;
        if assigned.stuck.remove(&id.offset) | assigned.measure_room() {
            self.pauses.insert(id.partition);
        }

        // Nothing is done on hope: behind a dead letter the lane goes on when that is durable, if it does at all.
        let dead = matches!(outcome, Outcome::Dead { .. });
        let lane = LaneId::of(self.settings.order, entry.key.as_ref());
        if let Some(lane) = &lane {
            assigned.lanes.leave(lane, entry.successor, dead);
            if dead && self.settings.on_dead_letter == OnDeadLetter::Hold {
                assigned.held.insert(id.offset);
                self.pauses.insert(id.partition);
            }
        } else {
            assigned.laneless -= 1;
        }
        let attempts_total = entry.attempts_total();
        let Entry { key, record, attempts, .. } = entry;
        assigned.finals.push(Final { id, key, record, outcome, attempts, attempts_total });
        self.commits.note_final(id.partition, self.settings.window_records_max, assigned.leaving.is_some());

        if let Some(successor) = entry.successor.filter(|_| !dead) {
            self.begin(id.partition, successor);
        }
        self.want_prepare_turn(id.partition);
    }
}

/// What is known of a record's failures; from now on, if it is the first.
fn failing<R>(entry: &mut Entry<R>, now: Time, applied_before: u64) -> &mut Failing {
    entry.failing.get_or_insert_with(|| {
        Box::new(Failing {
            since: now,
            conflict_since: None,
            applied_before,
            failures: 0,
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
