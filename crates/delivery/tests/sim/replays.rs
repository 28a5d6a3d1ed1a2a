//! Replays: an order names old records of a partition, and its owner gives them to its machine, behind live work.
//!
//! As in service, an owner goes on where the ones before it stood: what the ledger says has ended is not given again, and
//! what was ordered before the partition came may have been sent.

use tieline_delivery::oracle::{End, Ended};
use tieline_delivery::{Epoch, Input, Outcome, Partition, RecordId, Replayed};

use crate::log::Replay;
use crate::world::{Event, World};

/// Most records of an order.
const RECORDS_MAX: u64 = 12;

impl World {
    /// Somebody orders a replay, of a partition in which none is under way.
    pub fn order_replay(&mut self) {
        let partition = i32::try_from(self.dice.index(self.log.partitions.len())).unwrap();
        let ended = |event: &usize| matches!(self.topics.ledger.get(event), Some(outcome) if !is_parked(outcome));
        if !self.log.replays[&partition].iter().all(ended) {
            return;
        }
        let committed = self.topics.offsets[&partition].0;
        let old: Vec<usize> = self.log.partitions[&partition]
            .iter()
            .copied()
            .take_while(|event| self.log.records[*event].offset < committed)
            .collect();
        let (overtakes, part) = (self.dice.chance(300), self.dice.between(1, RECORDS_MAX));
        let from = old.len().saturating_sub(usize::try_from(self.dice.between(1, 40)).unwrap());
        for of in old.into_iter().skip(from) {
            if self.dice.between(0, RECORDS_MAX) < part {
                self.log.replay(Replay { of, overtakes, ordered_ms: self.now_ms });
            }
        }
    }

    /// A process carries out what is ordered of its partitions, as far as its machine has room.
    pub fn replay(&mut self, process: usize) {
        let wait = self.dice.between(1, 40);
        self.after(wait, Event::Replay(process));
        let partitions: Vec<i32> = self.processes[process].owned.keys().copied().collect();
        for partition in partitions {
            while let Some(event) = self.next_replay(process, partition) {
                self.give(process, partition, event);
            }
        }
    }

    fn next_replay(&self, process: usize, partition: i32) -> Option<usize> {
        let shell = &self.processes[process];
        let owned = shell.owned.get(&partition).filter(|_| shell.alive && !shell.frozen)?;
        if shell.machine.replay_room(Partition(partition), owned.end) == 0 {
            return None;
        }
        // A zombie knows of what was ordered before it was one: what it may send beyond that, its commits would have to say.
        let owner = self.group.owners.get(&partition);
        let knows = |event: &&usize| {
            let ordered_ms = self.log.records[**event].replay.map_or(0, |replay| replay.ordered_ms);
            owner.is_some_and(|owner| owner.who == shell.who || ordered_ms < owner.since_ms)
        };
        let open = |event: &&usize| !self.topics.ledger.contains_key(*event) && !shell.replayed.contains(*event);
        self.log.replays[&partition].iter().filter(open).find(knows).copied()
    }

    fn give(&mut self, process: usize, partition: i32, event: usize) {
        let who = self.processes[process].who;
        let record = &self.log.records[event];
        let Some(replay) = record.replay else { return };
        let epoch = Epoch(self.processes[process].owned[&partition].epoch);
        let (id, key) = (RecordId { epoch, partition: Partition(partition), offset: record.offset }, record.key());
        let since_ms = self.group.owners.get(&partition).map_or(0, |owner| owner.since_ms);
        self.processes[process].replayed.insert(event);
        let done = matches!(self.topics.ledger.get(&replay.of), Some(Outcome::Done | Outcome::Skipped));
        let taken = done && self.processes[process].machine.takes_replay(id, key.as_ref());
        if taken {
            let newest = self.newest(event);
            let mapped_otherwise = false;
            let (maybe_applied, overtakes) = (replay.ordered_ms <= since_ms, replay.overtakes);
            self.input(
                process,
                Input::Replay(Replayed {
                    id,
                    key,
                    bytes: 50,
                    record: event,
                    maybe_applied,
                    mapped_otherwise,
                    newest,
                    overtakes,
                }),
            );
        }
        if !taken && self.group.owner(partition) == Some(who) {
            self.pass_over(event);
        }
    }

    /// The newest record of its key with what may be an effect, as the ledger has it.
    fn newest(&self, event: usize) -> Option<i64> {
        let record = &self.log.records[event];
        let same = |other: &&usize| record.key.is_some() && self.log.records[**other].key == record.key;
        let had = |other: &&usize| matches!(self.topics.ledger.get(*other), Some(Outcome::Done | Outcome::Dead { .. }));
        let events = self.log.events(record.partition);
        events.iter().filter(same).filter(had).map(|other| self.log.records[*other].offset).max()
    }

    /// It is parked, held or a dead letter, or its key is: that has ways of its own.
    fn pass_over(&mut self, event: usize) {
        self.seen.note("replays passed over");
        self.topics.ledger.insert(event, Outcome::Overtaken);
        let end = Ended { event_id: format!("e{event}"), end: End::Superseded, at_ms: Some(self.now_ms) };
        self.evidence.ended.push(end);
    }
}

fn is_parked(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Parked { .. })
}
