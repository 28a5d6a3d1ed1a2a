//! How a partition comes to us, takes records in, and leaves.

use std::cmp::Reverse;

use crate::commit::calls;
use crate::entry::Entry;
use crate::frontier::Met;
use crate::lane::Place;
use crate::machine::{Drain, Machine};
use crate::partition::{Assigned, Leaving};
use crate::{Class, Epoch, Key, OnDeadLetter, Order, Output, Partition, PauseReason, RecordId, Time};

impl<R: Clone> Machine<R> {
    /// Takes a partition over as its earlier owner left it.
    pub(crate) fn assigned(
        &mut self,
        epoch: Epoch,
        partition: Partition,
        offset: i64,
        metadata: &str,
        partitions: u32,
    ) {
        if self.partitions.get(&partition).is_some_and(|assigned| assigned.epoch >= epoch) {
            self.stale_inputs += 1;
            return;
        }
        self.forget(partition);
        let mut assigned = Assigned::new(partition, epoch, partitions, offset);
        assigned.park.supersedes = self.settings.on_dead_letter == OnDeadLetter::Supersede;
        // Empty where nothing was ever sent: `tieline apply` has committed the first offset.
        if !metadata.is_empty() {
            assigned.inherit(metadata, self.now.after(self.settings.request_deadline));
        }
        let fingerprint = self.settings.fingerprint;
        if assigned.mapped_before.is_some_and(|before| before.worked && before.fingerprint == fingerprint) {
            self.breaker.has_worked_before();
        }
        self.partitions.insert(partition, assigned);
        self.pauses.insert(partition);
        self.want_ceiling(partition);
        match self.drain {
            Drain::No => {}
            Drain::Until(deadline) => self.leave(partition, deadline, false),
            Drain::Over => self.leave(partition, self.now, false),
        }
    }

    /// Meets a record, and puts it into its lane.
    pub(crate) fn fetched(&mut self, id: RecordId, key: Option<Key>, bytes: usize, record: R) {
        self.meet(id, key, bytes, record);
        self.note_met(id.partition);
    }

    fn meet(&mut self, id: RecordId, key: Option<Key>, bytes: usize, record: R) {
        let Some(assigned) = self.partitions.get_mut(&id.partition) else { return };
        if !assigned.is_working() {
            return; // It is not committed either, and is fetched again by whoever comes next.
        }
        match assigned.frontier.meet(id.offset) {
            Met::Unfinished => {}
            Met::Final => {
                if assigned.frontier.lowest() > assigned.committed {
                    self.commits.dirty.insert(id.partition);
                }
                return;
            }
            Met::Backwards => {
                let what = format!("offset {} came after {}", id.offset, assigned.frontier.next() - 1);
                self.halt(id.partition, what);
                return;
            }
        }
        let maybe_applied = id.offset < assigned.inherited_ceiling;
        if self.settings.order == Order::Key && assigned.is_blocked(key.as_ref(), id.offset) {
            self.take_room(id.partition, bytes);
            self.park_fetched(id, Entry::new(key, bytes, record, maybe_applied));
            self.want_ceiling(id.partition);
            return;
        }
        let mut entry = Entry::new(key, bytes, record, maybe_applied);
        entry.mapped_otherwise = maybe_applied && id.offset < assigned.otherwise_below(self.settings.fingerprint);
        let place = assigned.take_in(self.settings.order, id.offset, entry);
        if assigned.measure_room() {
            self.pauses.insert(id.partition);
        }
        self.take_room(id.partition, bytes);
        self.want_ceiling(id.partition);
        self.go_from(id, place);
    }

    /// Counts a record of a partition in the window.
    pub(crate) fn take_room(&mut self, partition: Partition, bytes: usize) {
        if self.window.take(bytes) {
            self.pauses.extend(self.partitions.keys());
        }
        self.measure_part(partition);
    }

    /// Looks who has more than its part of the window, since others have less now, or there is more for each.
    pub(crate) fn measure_parts(&mut self) {
        for partition in self.partitions.keys().copied().collect::<Vec<Partition>>() {
            self.measure_part(partition);
        }
    }

    fn measure_part(&mut self, partition: Partition) {
        let partitions = self.partitions.len();
        let Some(assigned) = self.partitions.get_mut(&partition) else { return };
        let greedy = self.window.is_greedy(assigned.in_window(), partitions, assigned.greedy);
        if std::mem::replace(&mut assigned.greedy, greedy) != greedy {
            self.pauses.insert(partition);
        }
    }

    /// Has a record begin, or wait, as its place in its lane says.
    pub(crate) fn go_from(&mut self, id: RecordId, place: Place) {
        match place {
            Place::Head => self.begin(id.partition, id.offset),
            Place::Behind(before) => {
                self.follow(id, before);
                self.hurry_before(id);
            }
            Place::Blocked => {}
        }
    }

    fn follow(&mut self, id: RecordId, before: i64) {
        let Some(assigned) = self.partitions.get_mut(&id.partition) else { return };
        match assigned.entries.get_mut(&before) {
            Some(entry) => entry.successor = Some(id.offset),
            None => self.halt(id.partition, format!("offset {} waits behind {before}, which is not there", id.offset)),
        }
    }

    /// The group takes a partition back.
    pub(crate) fn revoke(&mut self, partition: Partition, deadline: Time) {
        if self.partitions.contains_key(&partition) {
            self.leave(partition, deadline, true);
        } else {
            self.released.push_back(partition);
        }
    }

    /// Everything is to come to rest.
    pub(crate) fn drain(&mut self, deadline: Time) {
        self.drain = Drain::Until(deadline);
        let partitions: Vec<Partition> = self.partitions.keys().copied().collect();
        for partition in partitions {
            self.leave(partition, deadline, false);
        }
    }

    /// Begins nothing more in this partition. What is in flight may end.
    fn leave(&mut self, partition: Partition, deadline: Time, revoked: bool) {
        let Some(assigned) = self.partitions.get_mut(&partition) else { return };
        let leaving = match assigned.leaving {
            Some(before) => Leaving {
                deadline: before.deadline.min(deadline),
                revoked: before.revoked || revoked,
                closed: before.closed,
            },
            None => Leaving { deadline, revoked, closed: false },
        };
        assigned.leaving = Some(leaving);
        self.leaving.insert(partition);
        self.stop_work(partition);
        self.close_if_quiet(partition);
    }

    /// Asks for the last commit of a partition that leaves, once nothing of it is under way and as far as there is
    /// something to say.
    pub(crate) fn close_if_quiet(&mut self, partition: Partition) {
        let Some(assigned) = self.partitions.get_mut(&partition) else { return };
        let Some(leaving) = &mut assigned.leaving else { return };
        if assigned.halted.is_some() {
            leaving.closed = true; // Nothing is committed for it.
            return;
        }
        if assigned.in_flight > 0 || assigned.committing.is_some() {
            self.commits.urgent = true;
            return;
        }
        if self.commits.dirty.contains(&partition) || assigned.ceiling_at_close() < assigned.ceiling_that_stands() {
            self.commits.dirty.insert(partition);
            self.commits.urgent = true;
        } else if let Some(leaving) = &mut assigned.leaving {
            leaving.closed = true;
        }
    }

    /// Lets a partition go that is closed, or whose time is over.
    pub(crate) fn next_release(&mut self) -> Option<Output<R>> {
        if let Some(partition) = self.released.pop_front() {
            return Some(Output::Released { partition });
        }
        let now = self.now;
        while let Some((partition, leaving)) = self.leaving.iter().find_map(|partition| {
            let leaving = self.partitions.get(partition)?.leaving?;
            (leaving.closed || now >= leaving.deadline).then_some((*partition, leaving))
        }) {
            self.forget(partition);
            if leaving.revoked {
                return Some(Output::Released { partition });
            }
        }
        let drained = matches!(self.drain, Drain::Until(_)) && self.partitions.is_empty();
        drained.then(|| {
            self.drain = Drain::Over;
            Output::Drained
        })
    }

    /// Drops all that is known of a partition. What is still under way for it is stale from now on.
    pub(crate) fn forget(&mut self, partition: Partition) {
        self.stop_work(partition);
        self.leaving.remove(&partition);
        self.commits.forget(partition);
        self.pauses.remove(&partition);
        let Some(assigned) = self.partitions.remove(&partition) else { return };
        self.measure_park(partition);
        self.in_flight -= assigned.in_flight;
        self.preparing -= assigned.preparing;
        self.recalled -= assigned.recalled;
        self.replayed -= assigned.replayed.len();
        self.commits.finals -= assigned.finals.len();
        self.commits.calls -= calls(&assigned.finals);
        let (records, bytes) = assigned.in_window();
        if self.window.release(records, bytes) {
            self.pauses.extend(self.partitions.keys());
        }
        self.measure_parts();
    }

    /// Stops a partition whose state cannot be trusted: it neither sends nor commits, and says why.
    pub(crate) fn halt(&mut self, partition: Partition, what: String) {
        let Some(assigned) = self.partitions.get_mut(&partition) else { return };
        assigned.halted = Some(PauseReason::InvariantBroken { what });
        self.pauses.insert(partition);
        self.commits.forget(partition);
        self.stop_work(partition);
        self.close_if_quiet(partition);
    }

    /// Empties the queues of a partition: nothing of it is prepared or sent any more.
    fn stop_work(&mut self, partition: Partition) {
        let Some(assigned) = self.partitions.get_mut(&partition) else { return };
        for class in Class::ALL {
            *self.prepared.of_mut(class) -= std::mem::take(assigned.to_send.of_mut(class)).len();
            self.send_turns.of_mut(class).leave(partition);
        }
        assigned.to_prepare.clear();
        assigned.at_commit.clear();
        self.prepare_turns.leave(partition);
        self.timers.retain(|Reverse((_, id))| id.partition != partition);
        self.recalls.retain(|(_, other)| *other != partition);
    }
}
