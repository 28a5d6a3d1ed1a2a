//! How old records are delivered once more: through the lanes of their keys, behind live work, and never after a newer
//! record of their key.
//!
//! What a replay has sent is not in the frontier, which has passed it long ago: it is known by the replay's own cursor,
//! which the shell writes beside the commits.
//!
//! A replayed record is overtaken if a newer one of its key is done, or is dead and may have had its effect. Of that the
//! shell knows what is durable, from the ledger; here it is known what became so since the last commit, and what does while
//! the record waits in its lane.

use std::collections::HashMap;

use crate::entry::{Entry, Stage};
use crate::lane::LaneId;
use crate::machine::Machine;
use crate::park::ParkLane;
use crate::partition::Assigned;
use crate::{Came, Class, Effect, Epoch, Final, Key, Order, Outcome, Partition, RecordId, Replayed};

/// Of the calls that may be under way, the part that replayed records may take: live work finds the rest free.
const REPLAYED_PART: usize = 4;

impl<R: Clone> Machine<R> {
    /// How many more replayed records of a partition may come now: none while live work needs what there is, and never so
    /// many that live work which comes next finds no room.
    ///
    /// What was in the partition when it came to us ends at `met_to`. An earlier owner may have sent it, up to its send
    /// ceiling, so that all of that is met before anything is replayed: it would come after what is newer.
    #[must_use]
    pub fn replay_room(&self, partition: Partition, met_to: i64) -> usize {
        let met = self.partitions.get(&partition).is_some_and(|assigned| {
            assigned.is_working()
                && !self.commits.together.is_refused(partition)
                && assigned.frontier.next() >= met_to.min(assigned.inherited_ceiling)
        });
        let told_to_wait = self.now < self.prepare_from || self.now < self.send_from;
        if !met || told_to_wait || self.window.is_half_full() || !self.may_repeat_many_more() {
            return 0;
        }
        let under_way = self.in_flight + self.preparing + self.prepared.total();
        if self.breaker.outage().is_some() && under_way + self.recalled + self.replayed > 0 {
            return 0; // One call at a time finds out whether it is over; where there is no other, a replayed one does.
        }
        let most = self.concurrency.limit().div_ceil(REPLAYED_PART);
        most.saturating_sub(self.replayed).min(self.allowed().saturating_sub(under_way))
    }

    /// Whether this old record, which has this key, can be delivered again now: not what is live work still, nor while its
    /// key is parked, held or paused.
    #[must_use]
    pub fn takes_replay(&self, id: RecordId, key: Option<&Key>) -> bool {
        let assigned = self.partitions.get(&id.partition).filter(|assigned| assigned.epoch == id.epoch);
        assigned.is_some_and(|assigned| assigned.takes_replay(self.settings.order, id.offset, key))
    }

    /// An old record is to be delivered again.
    pub(crate) fn replay(&mut self, replayed: Replayed<R>) {
        let Replayed { id, key, bytes, record, maybe_applied, mapped_otherwise, newest, overtakes } = replayed;
        let order = self.settings.order;
        let Some(assigned) = self.partitions.get_mut(&id.partition) else { return };
        if !assigned.takes_replay(order, id.offset, key.as_ref()) {
            return;
        }
        let mut entry = Entry::new(key, bytes, record, maybe_applied);
        entry.came = Came::Replayed;
        entry.overtakes = overtakes || order == Order::None;
        entry.mapped_otherwise = maybe_applied && mapped_otherwise;
        entry.newest = newest.max(assigned.newest_since(entry.key.as_ref()));
        let place = assigned.take_in(order, id.offset, entry);
        assigned.replayed.insert(id.offset);
        self.replayed += 1;
        self.take_room(id.partition, bytes);
        self.go_from(id, place);
    }

    /// A replayed record is passed over, whose lane is gone.
    pub(crate) fn pass_over(&mut self, id: RecordId) {
        if let Some(entry) = self.take_out(id) {
            self.record_final(id, entry, Outcome::Overtaken);
        }
    }

    /// A live record has come behind others of its lane: those that are replayed are not to keep it waiting for what live
    /// work leaves.
    pub(crate) fn hurry_before(&mut self, id: RecordId) {
        let order = self.settings.order;
        let Some(assigned) = self.partitions.get_mut(&id.partition).filter(|assigned| !assigned.replayed.is_empty())
        else {
            return;
        };
        let live = assigned.entries.get(&id.offset).filter(|entry| entry.class() == Class::Live);
        let Some(lane) = live.map(|entry| LaneId::of(order, entry.key.as_ref())) else { return };
        for offset in &assigned.replayed {
            let Some(entry) = assigned.entries.get_mut(offset).filter(|entry| !entry.hurried) else { continue };
            if LaneId::of(order, entry.key.as_ref()) != lane {
                continue;
            }
            entry.hurried = true;
            if entry.stage == Stage::ToSend {
                assigned.to_send.replayed.retain(|other| other != offset);
                assigned.to_send.live.push_back(*offset);
                self.prepared.replayed -= 1;
                self.prepared.live += 1;
                self.send_turns.live.wait(id.partition, assigned.in_flight);
            }
        }
    }

    /// The shell has something to write beside the next commit of a partition.
    pub(crate) fn write_beside(&mut self, partition: Partition, epoch: Epoch) {
        let assigned = self.partitions.get(&partition).filter(|assigned| assigned.epoch == epoch);
        match assigned {
            Some(assigned) if assigned.halted.is_none() => {
                self.commits.dirty.insert(partition);
            }
            Some(_) => {}
            None => self.stale_inputs += 1,
        }
    }
}

impl<R> Assigned<R> {
    fn takes_replay(&self, order: Order, offset: i64, key: Option<&Key>) -> bool {
        let live = offset >= self.committed || self.entries.contains_key(&offset);
        self.is_working() && !live && self.held.is_none() && !self.park.has(&ParkLane::of(order, key, offset))
    }

    /// Whether a newer record of its key has come before this replayed one, whose turn it is.
    pub(crate) fn is_overtaken(&self, order: Order, offset: i64) -> bool {
        let Some(entry) = self.entries.get(&offset).filter(|entry| entry.came == Came::Replayed) else { return false };
        // A newer one is a dead letter that its next one makes moot; an older one must not take its place.
        let held = self.park.has(&ParkLane::of(order, entry.key.as_ref(), offset));
        held || (!entry.overtakes && entry.newest.is_some_and(|newest| newest > offset))
    }

    /// Notes that a record had its effect, or may have had, where somebody may have to know.
    pub(crate) fn note_effect(&mut self, key: Option<&Key>, offset: i64, outcome: &Outcome) {
        let (Some(newest), Some(key), true) = (&mut self.newest, key, may_have_effect(outcome)) else { return };
        let at = newest.entry(key.clone()).or_insert(offset);
        *at = offset.max(*at);
        // Those that wait in a lane, behind what was there before them.
        for waiting in &self.replayed {
            if let Some(entry) = self.entries.get_mut(waiting).filter(|entry| entry.key.as_ref() == Some(key)) {
                entry.newest = entry.newest.max(Some(offset));
            }
        }
    }

    /// A commit is durable: what it made so is known to whoever reads the ledger.
    pub(crate) fn forget_durable(&mut self) {
        if self.newest.is_some() {
            self.newest = (!self.replayed.is_empty()).then(|| newest_of(&self.finals));
        }
    }

    /// The newest record of a key that has ended so, and not durably.
    fn newest_since(&mut self, key: Option<&Key>) -> Option<i64> {
        let known = self.newest.take().unwrap_or_else(|| {
            let committing = self.committing.iter().flat_map(|committing| &committing.finals);
            newest_of(self.finals.iter().chain(committing))
        });
        let newest = key.and_then(|key| known.get(key).copied());
        self.newest = Some(known);
        newest
    }
}

fn may_have_effect(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Done => true,
        Outcome::Dead { effect, .. } => *effect != Effect::None,
        Outcome::Skipped | Outcome::Overtaken | Outcome::Parked { .. } => false,
    }
}

/// The newest record of each key that has ended with what may be an effect.
fn newest_of<'f, R: 'f>(finals: impl IntoIterator<Item = &'f Final<R>>) -> HashMap<Key, i64> {
    let mut newest = HashMap::new();
    for ended in finals {
        if let (true, Some(key)) = (may_have_effect(&ended.outcome), &ended.key) {
            let at = newest.entry(key.clone()).or_insert(ended.id.offset);
            *at = ended.id.offset.max(*at);
        }
    }
    newest
}
