//! What people stop and let go on: all of a consumer, or one of its keys.
//!
//! What is under way ends; nothing else begins. A paused key is parked, as one is that fails, so that the others and the
//! committed offset pass it; it needs no hold of its own there, since who asked for it is asked again after a restart.

use std::cmp::Reverse;
use std::time::Duration;

use crate::entry::Stage;
use crate::lane::LaneId;
use crate::machine::Machine;
use crate::park::ParkLane;
use crate::{Class, Key, Order, Partition, Reason, RecordId};

impl<R: Clone> Machine<R> {
    /// Nothing begins from now on, or as before.
    pub(crate) fn pause_all(&mut self, by: Option<String>) {
        self.paused_by = by;
        self.pauses.extend(self.partitions.keys());
    }

    /// Nothing of this key begins from now on. Only where records wait for those of their key.
    pub(crate) fn pause_key(&mut self, key: &Key) {
        if self.settings.order != Order::Key || !self.paused_keys.insert(key.clone()) {
            return;
        }
        for partition in self.partitions.keys().copied().collect::<Vec<Partition>>() {
            self.pause_lane(partition, key);
        }
    }

    /// A key goes on.
    pub(crate) fn resume_key(&mut self, key: &Key) {
        self.paused_keys.remove(key);
        let lane = ParkLane::Key(key.clone());
        for assigned in self.partitions.values_mut() {
            assigned.park.pause(&lane, false);
        }
        for partition in self.partitions.keys().copied().collect::<Vec<Partition>>() {
            self.plan_recalls(partition);
        }
    }

    /// Whether this record is at work here, and somebody has paused its key.
    pub(crate) fn is_working_on_paused(&self, id: RecordId) -> bool {
        if self.paused_keys.is_empty() {
            return false;
        }
        let assigned = self.partitions.get(&id.partition).filter(|assigned| assigned.is_working());
        let key = assigned.and_then(|assigned| assigned.entries.get(&id.offset)?.key.as_ref());
        key.is_some_and(|key| self.paused_keys.contains(key))
    }

    /// Parks what waits of a key in a partition. What is under way ends, and is parked then if it has to be tried again; what
    /// waits behind it is parked with it, or after it.
    pub(crate) fn pause_lane(&mut self, partition: Partition, key: &Key) {
        let Some(assigned) = self.partitions.get_mut(&partition).filter(|assigned| assigned.is_working()) else {
            return;
        };
        assigned.park.pause(&ParkLane::Key(key.clone()), true);
        let lane = LaneId::Key(key.clone());
        let head = assigned.lanes.head(&lane).map(|offset| assigned.id(offset));
        if let Some(id) = head {
            let Some(entry) = assigned.entries.get_mut(&id.offset) else { return };
            match entry.stage {
                // Those behind it stay there too: if they were parked and it is not, a next owner would try them before it.
                Stage::Preparing | Stage::InFlight => {}
                Stage::Behind | Stage::AtCommit | Stage::ToPrepare | Stage::ToSend | Stage::Resting => {
                    self.unqueue(id);
                    self.set_aside_paused(id);
                }
            }
        }
        self.plan_recalls(partition);
    }

    /// Parks a record of a paused key, and what is behind it.
    pub(crate) fn set_aside_paused(&mut self, id: RecordId) {
        let Some(entry) = self.entry(id) else { return };
        let (behind, steps) = (entry.successor, entry.before.map_or(0, |before| before.state.steps));
        self.set_aside(id, Duration::ZERO, steps, paused());
        self.park_behind(id.partition, behind);
    }

    /// Takes a record out of whatever queue it stands in.
    fn unqueue(&mut self, id: RecordId) {
        let Some(assigned) = self.partitions.get_mut(&id.partition) else { return };
        for class in Class::ALL {
            let (queue, prepared) = (assigned.to_send.of_mut(class), self.prepared.of_mut(class));
            *prepared -= queue.len();
            queue.retain(|other| *other != id.offset);
            *prepared += queue.len();
        }
        assigned.to_prepare.remove(&id.offset);
        assigned.at_commit.retain(|other| *other != id.offset);
        self.note_turns(id.partition);
        self.timers.retain(|Reverse((_, other))| *other != id);
    }
}

/// Why a record of a paused key waits.
fn paused() -> Reason {
    Reason { code: "paused".to_owned(), detail: "its key is paused by order of somebody".to_owned() }
}
