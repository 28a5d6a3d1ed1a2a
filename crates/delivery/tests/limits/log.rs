//! A partition of the topic: totally ordered, and compacted for those who read it from the beginning.

use std::collections::BTreeMap;

use tieline_delivery::limits::Record;

use crate::dice::Dice;

#[derive(Default)]
pub struct Log {
    records: Vec<Record>,
}

impl Log {
    pub fn append(&mut self, record: Record) -> i64 {
        self.records.push(record);
        self.end() - 1
    }

    /// The offset of the next record.
    pub fn end(&self) -> i64 {
        i64::try_from(self.records.len()).unwrap()
    }

    pub fn at(&self, offset: i64) -> Record {
        self.records[usize::try_from(offset).unwrap()].clone()
    }

    /// What is read from the beginning: of each key the last record, and of some the older ones too. Of tombstones some
    /// are gone as well.
    pub fn compacted(&self, dice: &mut Dice) -> Vec<(i64, Record)> {
        let mut last: BTreeMap<&str, usize> = BTreeMap::new();
        for (place, record) in self.records.iter().enumerate() {
            last.insert(&record.key, place);
        }
        // The cleaner works from the beginning up to some place, and never in the active segment behind it.
        let cleaned = dice.index(self.records.len() + 1);
        let kept = |(place, record): &(usize, &Record)| {
            *place >= cleaned || (last[record.key.as_str()] == *place && record.value.is_some())
        };
        let records = self.records.iter().enumerate().filter(kept);
        records.map(|(place, record)| (i64::try_from(place).unwrap(), record.clone())).collect()
    }
}
