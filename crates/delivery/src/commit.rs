//! What is made durable, and when: the finals, the offsets, and the metadata beside them.

use std::collections::BTreeSet;

use crate::lane::LaneId;
use crate::machine::Machine;
use crate::partition::{Assigned, Committing};
use crate::together::Together;
use crate::{
    Class, Commit, CommitId, CommitOffset, Epoch, Final, Mapped, OnDeadLetter, Outcome, Output, Partition, RecordId,
    Settings, Time,
};

/// How far the send ceiling is raised above what was fetched, in offsets: so far that a commit passes before it is
/// reached. At 100,000 records a second and a commit in 100 ms it is.
const CEILING_AHEAD: i64 = 16_384;

/// How much sooner a commit comes that sending waits for, or soon will. It is not made at once, so that one that does not make room is
/// not asked for again and again.
const SOONER: u32 = 10;

/// What is to be committed, and the commit that is under way.
#[derive(Debug)]
pub(crate) struct Commits {
    /// Partitions of which a commit would say something new.
    pub(crate) dirty: BTreeSet<Partition>,
    /// Somebody waits for it: do not wait for the interval.
    pub(crate) urgent: bool,
    /// Records that are final, and not in a commit yet.
    pub(crate) finals: usize,
    /// Of those, the ones that were called, and as many in the commit that is under way: they may be called again after a
    /// crash.
    pub(crate) calls: usize,
    pub(crate) calls_committing: usize,
    last: Time,
    /// Not before, since the last one failed.
    from: Time,
    failures: u32,
    pub(crate) together: Together,
    next: u64,
    outstanding: Option<Outstanding>,
}

#[derive(Debug)]
struct Outstanding {
    id: CommitId,
    members: Vec<(Partition, Epoch)>,
}

impl Commits {
    pub(crate) fn new(now: Time) -> Self {
        Self {
            dirty: BTreeSet::new(),
            urgent: false,
            finals: 0,
            calls: 0,
            calls_committing: 0,
            last: now,
            from: now,
            failures: 0,
            together: Together::default(),
            next: 1,
            outstanding: None,
        }
    }

    /// A record is final.
    pub(crate) fn note_final(&mut self, partition: Partition, called: bool) {
        self.dirty.insert(partition);
        self.finals += 1;
        self.calls += usize::from(called);
    }

    /// A partition is ours no more, or stands still for good: there is nothing to commit of it.
    pub(crate) fn forget(&mut self, partition: Partition) {
        self.dirty.remove(&partition);
        self.together.forget(partition);
    }
}

impl<R: Clone> Machine<R> {
    /// When the next commit is to be asked for, if there is something to commit. One at a time.
    pub(crate) fn commit_at(&self) -> Option<Time> {
        let commits = &self.commits;
        if commits.outstanding.is_some() || commits.dirty.is_empty() {
            return None;
        }
        let due = if commits.urgent {
            self.now
        } else if self.may_repeat_many_more() {
            commits.last.after(self.settings.commit_every)
        } else {
            commits.last.after(self.settings.commit_every / SOONER)
        };
        Some(due.max(commits.from).max(commits.together.due(&commits.dirty)))
    }

    /// Has the ceiling of a partition raised by the next commit, if half of the way to it is used up; at once, if all is.
    pub(crate) fn want_ceiling(&mut self, partition: Partition) {
        let Some(assigned) = self.partitions.get(&partition).filter(|assigned| assigned.is_working()) else { return };
        let left = assigned.ceiling_asked() - assigned.frontier.next();
        if left < ceiling_ahead(&self.settings) / 2 {
            self.commits.dirty.insert(partition);
            self.commits.urgent |= left <= 0 && assigned.committing.is_none();
        }
    }

    /// The next commit, if it is due.
    pub(crate) fn next_commit(&mut self) -> Option<Output<R>> {
        if self.commit_at()? > self.now {
            return None;
        }
        let id = CommitId(self.commits.next);
        let mut commit = Commit { id, offsets: Vec::new(), finals: Vec::new(), discarded: Vec::new() };
        let mut members = Vec::new();
        let (taken, others_wait) = self.commits.together.take(&mut self.commits.dirty, self.now);
        for partition in taken {
            match self.propose(partition, &mut commit) {
                Proposal::Offset(offset, epoch) => {
                    commit.offsets.push(offset);
                    members.push((partition, epoch));
                }
                Proposal::Later => {
                    self.commits.dirty.insert(partition);
                }
                Proposal::Nothing => {}
            }
        }
        self.commits.last = self.now;
        self.commits.urgent = others_wait && !members.is_empty();
        if members.is_empty() {
            return None;
        }
        self.commits.next += 1;
        self.commits.outstanding = Some(Outstanding { id, members });
        Some(Output::Commit(commit))
    }

    /// What a commit says of a partition; its finals are added to those of the commit.
    fn propose(&mut self, partition: Partition, commit: &mut Commit<R>) -> Proposal {
        let Some(assigned) = self.partitions.get_mut(&partition) else { return Proposal::Nothing };
        if assigned.halted.is_some() {
            return Proposal::Nothing;
        }
        let offset = assigned.frontier.lowest();
        if offset < assigned.committed {
            let what = format!("offset {offset} was to be committed after {}", assigned.committed);
            self.halt(partition, what);
            return Proposal::Nothing;
        }
        let closing = assigned.leaving.is_some() && assigned.in_flight == 0;
        let ceiling = ceiling(assigned, closing, &self.settings);
        let fingerprint = self.settings.fingerprint;
        let mapped = Mapped {
            fingerprint,
            worked: self.breaker.has_worked(),
            otherwise_below: assigned.otherwise_below(fingerprint),
        };
        let Some(metadata) = assigned.frontier.metadata(assigned.partitions, mapped, ceiling) else {
            return Proposal::Later;
        };
        let (taken, finals_bytes) = (std::mem::take(&mut assigned.finals), std::mem::take(&mut assigned.finals_bytes));
        self.commits.finals -= taken.len();
        self.commits.calls -= calls(&taken);
        if !self.commits.together.is_refused(partition) {
            self.commits.calls_committing += calls(&taken);
        }
        let discarded = std::mem::take(&mut assigned.discarded);
        commit.finals.extend(taken.iter().cloned());
        commit.discarded.extend(discarded.iter().cloned());
        assigned.committing = Some(Committing { offset, ceiling, finals: taken, finals_bytes, discarded, closing });
        Proposal::Offset(CommitOffset { partition, offset, metadata }, assigned.epoch)
    }

    /// A commit is durable.
    pub(crate) fn committed(&mut self, id: CommitId) {
        let Some(members) = self.take_outstanding(id) else { return };
        self.commits.failures = 0;
        let mut opened = false;
        for (partition, epoch) in members {
            let Some(assigned) = self.partitions.get_mut(&partition).filter(|assigned| assigned.epoch == epoch) else {
                continue;
            };
            let Some(committing) = assigned.committing.take() else { continue };
            assigned.committed = committing.offset;
            assigned.ceiling = committing.ceiling;
            assigned.confirmed = true;
            if let Some(leaving) = &mut assigned.leaving {
                leaving.closed |= committing.closing;
            }
            assigned.forget_durable();
            opened |= self.window.release(committing.finals.len(), committing.finals_bytes);
            if self.commits.together.made(partition) {
                self.pauses.insert(partition);
            }
            self.park_written(partition, &committing.finals, &committing.discarded);
            self.go_on_behind(partition, &committing.finals);
            self.go_on_after_commit(partition);
            self.close_if_quiet(partition);
        }
        if opened {
            self.pauses.extend(self.partitions.keys());
        }
        self.measure_parts();
    }

    /// Lets lanes go on behind dead letters that are durable now, and hold nothing.
    fn go_on_behind(&mut self, partition: Partition, finals: &[Final<R>]) {
        let supersedes = self.settings.on_dead_letter == OnDeadLetter::Supersede;
        let goes_on = |dead: &&Final<R>| match dead.outcome {
            Outcome::Dead { holds, .. } => !holds || supersedes,
            Outcome::Done | Outcome::Skipped | Outcome::Overtaken | Outcome::Parked { .. } => false,
        };
        for dead in finals.iter().filter(goes_on) {
            let Some(lane) = LaneId::of(self.settings.order, dead.key.as_ref()) else { continue };
            let Some(assigned) = self.partitions.get_mut(&partition) else { return };
            if let Some(head) = assigned.lanes.unblock(&lane) {
                self.begin(partition, head);
            }
        }
    }

    /// A record may not be sent before the next commit of its partition is made: that is asked for at once.
    pub(crate) fn wait_for_commit(&mut self, id: RecordId) {
        let Some(assigned) = self.partitions.get_mut(&id.partition) else { return };
        assigned.wait_at_commit(id.offset);
        self.commits.dirty.insert(id.partition);
        self.commits.urgent = true;
    }

    fn go_on_after_commit(&mut self, partition: Partition) {
        let Some(assigned) = self.partitions.get_mut(&partition) else { return };
        for offset in std::mem::take(&mut assigned.at_commit) {
            self.begin(partition, offset);
        }
    }

    /// A commit was not made: all of it goes into the next ones.
    pub(crate) fn commit_failed(&mut self, id: CommitId, in_rebalance: bool) {
        let Some(members) = self.take_outstanding(id) else { return };
        self.commits.urgent = true;
        let partitions: Vec<Partition> = members.iter().map(|(partition, _)| *partition).collect();
        if in_rebalance {
            // It is over soon, and then the first try is to make it: the waits do not get longer.
            self.commits.from = self.now.after(self.backoff.after(1));
        } else if self.commits.together.failed(&partitions, self.now, &mut self.backoff) {
            self.commits.failures = self.commits.failures.saturating_add(1);
            self.commits.from = self.now.after(self.backoff.after(self.commits.failures));
        }
        for (partition, epoch) in members {
            let Some(assigned) = self.partitions.get_mut(&partition).filter(|assigned| assigned.epoch == epoch) else {
                self.commits.together.forget(partition); // What came after it has not failed.
                continue;
            };
            let Some(mut committing) = assigned.committing.take() else { continue };
            self.commits.finals += committing.finals.len();
            self.commits.calls += calls(&committing.finals);
            committing.finals.append(&mut assigned.finals);
            assigned.finals = committing.finals;
            assigned.finals_bytes += committing.finals_bytes;
            committing.discarded.append(&mut assigned.discarded);
            assigned.discarded = committing.discarded;
            if assigned.halted.is_none() {
                self.commits.dirty.insert(partition);
            }
            if self.commits.together.is_refused(partition) {
                self.hold_back(partition);
            }
        }
    }

    /// Begins nothing more of a partition whose commits are refused: what it does could not be written down. It takes no
    /// place from the others either.
    fn hold_back(&mut self, partition: Partition) {
        let Some(assigned) = self.partitions.get_mut(&partition) else { return };
        let mut waiting: Vec<i64> = Vec::new();
        for class in Class::ALL {
            *self.prepared.of_mut(class) -= assigned.to_send.of(class).len();
            waiting.extend(assigned.to_send.of_mut(class).drain(..));
            self.send_turns.of_mut(class).leave(partition);
        }
        for offset in waiting.into_iter().chain(std::mem::take(&mut assigned.to_prepare)) {
            assigned.wait_at_commit(offset);
        }
        self.prepare_turns.leave(partition);
        self.pauses.insert(partition);
        self.plan_recalls(partition);
    }

    /// Whether what is final waits in such numbers that the commit had better come at once. What is refused does not count:
    /// nothing would come of it.
    pub(crate) fn many_finals_wait(&self) -> bool {
        self.commits.finals - self.finals_refused() >= self.settings.window_records_max.div_ceil(2)
    }

    /// Records that are final, in partitions whose commits are refused.
    pub(crate) fn finals_refused(&self) -> usize {
        let finals = |partition| self.partitions.get(&partition).map_or(0, |assigned| assigned.finals.len());
        self.commits.together.refused().map(finals).sum()
    }

    /// Of those, the ones that were called.
    pub(crate) fn calls_refused(&self) -> usize {
        let calls = |partition| self.partitions.get(&partition).map_or(0, |assigned| calls(&assigned.finals));
        self.commits.together.refused().map(calls).sum()
    }

    fn take_outstanding(&mut self, id: CommitId) -> Option<Vec<(Partition, Epoch)>> {
        match self.commits.outstanding.take_if(|outstanding| outstanding.id == id) {
            Some(outstanding) => {
                self.commits.calls_committing = 0;
                Some(outstanding.members)
            }
            None => {
                self.stale_inputs += 1;
                None
            }
        }
    }
}

/// How many of these were called.
pub(crate) fn calls<R>(finals: &[Final<R>]) -> usize {
    finals.iter().filter(|ended| ended.attempts_total > 0).count()
}

enum Proposal {
    Offset(CommitOffset, Epoch),
    /// There is something, but its metadata does not fit yet: it has to wait until more is final.
    Later,
    Nothing,
}

/// The send ceiling that a commit makes durable.
fn ceiling<R>(assigned: &Assigned<R>, closing: bool, settings: &Settings) -> i64 {
    if closing {
        return assigned.ceiling_at_close();
    }
    if assigned.leaving.is_some() {
        return assigned.ceiling_that_stands();
    }
    assigned.ceiling_that_stands().max(assigned.frontier.next().saturating_add(ceiling_ahead(settings)))
}

fn ceiling_ahead(settings: &Settings) -> i64 {
    CEILING_AHEAD.max(i64::try_from(settings.window_records_max).unwrap_or(i64::MAX).saturating_mul(2))
}
