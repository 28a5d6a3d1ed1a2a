//! The topic: its records, by partition, with gaps between their offsets.

use std::collections::BTreeMap;

use tieline_delivery::{Key, Order};

use crate::dice::Dice;

pub struct Record {
    pub partition: i32,
    pub offset: i64,
    pub key: Option<u64>,
    pub poison: Poison,
    pub skipped: bool,
    /// It is an earlier record, to be delivered again.
    pub replay: Option<Replay>,
}

/// An order to deliver a record again, with an effect of its own.
#[derive(Debug, Clone, Copy)]
pub struct Replay {
    /// The record that it is.
    pub of: usize,
    /// Even if a newer record of its key is done.
    pub overtakes: bool,
    pub ordered_ms: u64,
}

/// Whether the system refuses a record for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Poison {
    No,
    UntilHealed,
    Always,
    /// It is applied, and answered so that nobody can read it.
    Unreadable,
}

impl Record {
    pub fn place(&self) -> (i32, i64) {
        (self.partition, self.offset)
    }

    pub fn key(&self) -> Option<Key> {
        self.key.map(key_of)
    }
}

pub fn key_of(key: u64) -> Key {
    key.to_be_bytes()[..].into()
}

/// Events are named by their number, in the order in which they were produced; or ordered again, for a replay has an event
/// of its own.
pub struct Log {
    pub records: Vec<Record>,
    pub produced: usize,
    /// What is replayed of each partition, in the order in which it is.
    pub replays: BTreeMap<i32, Vec<usize>>,
    pub partitions: BTreeMap<i32, Vec<usize>>,
    pub ends: BTreeMap<i32, i64>,
}

impl Log {
    pub fn new(partitions: i32) -> Self {
        Self {
            records: Vec::new(),
            produced: 0,
            replays: (0..partitions).map(|partition| (partition, Vec::new())).collect(),
            partitions: (0..partitions).map(|partition| (partition, Vec::new())).collect(),
            ends: (0..partitions).map(|partition| (partition, 0)).collect(),
        }
    }

    pub fn produce(&mut self, dice: &mut Dice, poisoned: bool) {
        let partition = i32::try_from(dice.index(self.partitions.len())).unwrap();
        let end = self.ends.get_mut(&partition).unwrap();
        let offset = *end + if dice.chance(150) { i64::try_from(dice.between(1, 6)).unwrap() } else { 0 };
        *end = offset + 1;
        let key = (!dice.chance(100)).then(|| dice.between(0, 6));
        let poison = match dice.between(0, 60) {
            0 if poisoned => Poison::Always,
            1 if poisoned => Poison::UntilHealed,
            2 if poisoned => Poison::Unreadable,
            _ => Poison::No,
        };
        let skipped = dice.chance(40);
        self.partitions.get_mut(&partition).unwrap().push(self.records.len());
        self.records.push(Record { partition, offset, key, poison, skipped, replay: None });
        self.produced += 1;
    }

    /// Orders that an event be delivered again.
    pub fn replay(&mut self, replay: Replay) {
        let &Record { partition, offset, key, poison, skipped, .. } = &self.records[replay.of];
        self.replays.get_mut(&partition).unwrap().push(self.records.len());
        self.records.push(Record { partition, offset, key, poison, skipped, replay: Some(replay) });
    }

    /// All that is, or was, delivered of a partition.
    pub fn events(&self, partition: i32) -> Vec<usize> {
        [&self.partitions[&partition][..], &self.replays[&partition][..]].concat()
    }

    /// What a process owns of a partition that it is given: up to where its log goes.
    pub fn end(&self, partition: i32) -> i64 {
        self.partitions[&partition].last().map_or(0, |event| self.records[*event].offset + 1)
    }

    /// Where fetching begins for this offset.
    pub fn place_of(&self, partition: i32, offset: i64) -> usize {
        self.partitions[&partition].partition_point(|event| self.records[*event].offset < offset)
    }

    pub fn at(&self, partition: i32, place: usize) -> Option<usize> {
        self.partitions[&partition].get(place).copied()
    }

    /// What has to be delivered before this one; and what is replayed, if it was.
    pub fn before(&self, order: Order, event: usize) -> impl Iterator<Item = usize> {
        let record = &self.records[event];
        let of = record.replay.map(|replay| replay.of);
        let same = move |other: &Record| match order {
            Order::Key => record.key.is_some() && other.key == record.key,
            Order::Partition => true,
            Order::None => false,
        };
        let (all, replays) = (&self.partitions[&record.partition], &self.replays[&record.partition]);
        let older = move |other: &usize| *other != event && self.records[*other].offset < record.offset;
        let all = all.iter().copied().filter(move |other| older(other) || of == Some(*other));
        all.chain(replays.iter().copied().filter(older)).filter(move |other| same(&self.records[*other]))
    }
}
