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

/// Events are named by their number, in the order in which they were produced.
pub struct Log {
    pub records: Vec<Record>,
    pub partitions: BTreeMap<i32, Vec<usize>>,
    pub ends: BTreeMap<i32, i64>,
}

impl Log {
    pub fn new(partitions: i32) -> Self {
        Self {
            records: Vec::new(),
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
        self.records.push(Record { partition, offset, key, poison, skipped });
    }

    /// Where fetching begins for this offset.
    pub fn place_of(&self, partition: i32, offset: i64) -> usize {
        self.partitions[&partition].partition_point(|event| self.records[*event].offset < offset)
    }

    pub fn at(&self, partition: i32, place: usize) -> Option<usize> {
        self.partitions[&partition].get(place).copied()
    }

    /// What has to be delivered before this one.
    pub fn before(&self, order: Order, event: usize) -> impl Iterator<Item = usize> {
        let record = &self.records[event];
        let same = move |other: &Record| match order {
            Order::Key => record.key.is_some() && other.key == record.key,
            Order::Partition => true,
            Order::None => false,
        };
        let all = &self.partitions[&record.partition];
        all.iter().copied().take_while(move |other| *other != event).filter(move |other| same(&self.records[*other]))
    }
}
