//! The topic of a consumer's parked records: its index is read before a partition is delivered from, and a record is read
//! back when its time has come.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tieline_delivery::{Held, ParkedAt};

use super::read::{ReadError, TopicReader};
use super::settings::{ConnectError, Connection};
use crate::state::{Hold, ParkedRecord, ParkedSketch, StateError};

/// How far two owners' clocks may be apart, and how long one may act on that has been replaced and has not heard of it. A
/// record whose time comes within it may have been tried by an owner before us.
const OWNERS_APART: Duration = Duration::from_secs(60);

/// What is parked and held of a partition.
#[derive(Debug, Clone, Default)]
pub struct Parked {
    /// For the core.
    pub parked: Vec<ParkedAt>,
    /// For the core.
    pub held: Vec<Held>,
    /// Where each record lies in the topic, by its offset in the topic that it came from.
    pub places: HashMap<i64, i64>,
}

/// Why parked records cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ParkError {
    /// The topic cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What lies there is none. Passing it over could lose a record.
    #[error("{topic}-{partition} at offset {offset}: {cause}")]
    Unreadable {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The offset there.
        offset: i64,
        /// What is wrong.
        cause: StateError,
    },
    /// It was there, and is not any more.
    #[error("{topic}-{partition} has no record at offset {offset}, where a parked one was written")]
    Gone {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The offset there.
        offset: i64,
    },
}

/// Reads the topic. It blocks: for threads that may.
#[derive(Debug)]
pub struct ParkTopic {
    name: String,
    reader: Mutex<TopicReader>,
}

impl ParkTopic {
    /// Makes the clients.
    ///
    /// # Errors
    /// When a setting is refused.
    pub fn new(connection: &Connection, group: &str, name: String) -> Result<Self, ConnectError> {
        Ok(Self { name, reader: Mutex::new(TopicReader::new(connection, group)?) })
    }

    /// Reads what is parked and held of these partitions, all that was committed before this was asked.
    ///
    /// # Errors
    /// When the topic cannot be read, or holds what is no parked record.
    pub fn index(&self, partitions: &[i32], now_ms: i64) -> Result<BTreeMap<i32, Parked>, ParkError> {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let spans = partitions.iter().map(|p| reader.span(&self.name, *p)).collect::<Result<Vec<_>, _>>()?;
        let mut latest: BTreeMap<i32, Latest> = partitions.iter().map(|p| (*p, Latest::default())).collect();
        reader.read_all(&self.name, &spans, |record| {
            let partition = latest.entry(record.partition).or_default();
            let (key, value) = (record.key.as_deref().unwrap_or_default(), record.value.as_deref());
            let taken = partition.take(key, value, record.offset);
            taken.map_err(|cause| self.unreadable(record.partition, record.offset, cause))
        })?;
        Ok(latest.into_iter().map(|(partition, latest)| (partition, latest.parked(now_ms))).collect())
    }

    /// Reads one parked record back.
    ///
    /// # Errors
    /// When the topic cannot be read, or has it no more.
    pub fn record(&self, partition: i32, offset: i64) -> Result<ParkedRecord<'static>, ParkError> {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let found = reader.record(&self.name, partition, offset)?.and_then(|record| record.value);
        let gone = || ParkError::Gone { topic: self.name.clone(), partition, offset };
        let value = found.ok_or_else(gone)?;
        ParkedRecord::decode(&value).map_err(|cause| self.unreadable(partition, offset, cause))
    }

    fn unreadable(&self, partition: i32, offset: i64, cause: StateError) -> ParkError {
        ParkError::Unreadable { topic: self.name.clone(), partition, offset, cause }
    }
}

/// The latest of each key, as far as a partition has been read.
#[derive(Debug, Default)]
struct Latest {
    parked: HashMap<Vec<u8>, (ParkedSketch, i64)>,
    holds: HashMap<Vec<u8>, Hold<'static>>,
}

impl Latest {
    fn take(&mut self, key: &[u8], value: Option<&[u8]>, place: i64) -> Result<(), StateError> {
        match value {
            None => {
                self.parked.remove(key);
                self.holds.remove(key);
            }
            Some(value) if Hold::is_one(key) => {
                self.holds.insert(key.to_vec(), Hold::decode(value)?);
            }
            Some(value) => {
                self.parked.insert(key.to_vec(), (ParkedSketch::decode(value)?, place));
            }
        }
        Ok(())
    }

    fn parked(self, now_ms: i64) -> Parked {
        let mut parked = Parked::default();
        for (sketch, place) in self.parked.into_values() {
            parked.places.insert(sketch.origin.offset, place);
            let wait = u64::try_from(sketch.retry_at_ms.saturating_sub(now_ms)).unwrap_or(0);
            let retry_after = Duration::from_millis(wait);
            parked.parked.push(ParkedAt {
                offset: sketch.origin.offset,
                key: sketch.key.as_deref().map(Into::into),
                retry_after,
                maybe_tried: retry_after <= OWNERS_APART,
                unknown_below: sketch.unknown_below,
            });
        }
        let held = |hold: Hold<'_>| Held { offset: hold.origin.offset, key: hold.key.as_deref().map(Into::into) };
        parked.held = self.holds.into_values().map(held).collect();
        // Hashed by key: in an order of their own, so that a run can be told from another only by what it does.
        parked.parked.sort_by_key(|at| at.offset);
        parked.held.sort_by_key(|held| held.offset);
        parked
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::borrow::Cow;

    use super::*;
    use crate::state::{Origin, Original};

    fn origin(offset: i64) -> Origin {
        Origin { topic: "crm.deals".to_owned(), partition: 0, offset }
    }

    fn parked(offset: i64, retry_at_ms: i64) -> Vec<u8> {
        let record = ParkedRecord {
            original: Original {
                origin: origin(offset),
                timestamp_ms: None,
                key: Some(b"acme".as_slice().into()),
                value: None,
                headers: Vec::new(),
                event_id: None,
            },
            reason: "http-503".into(),
            detail: "busy".into(),
            failing_since_ms: None,
            steps: 0,
            maybe_applied: false,
            sent: crate::system::Sent::default(),
            unknown_below: None,
            request: None,
            redriven: 0,
            replay: None,
            attempts_total: 0,
            attempts: Vec::new(),
            retry_at_ms,
        };
        record.encode().unwrap()
    }

    #[test]
    fn the_latest_of_each_counts_and_a_tombstone_ends_it() {
        let mut latest = Latest::default();
        let hold = Hold { origin: origin(3), key: Some(Cow::Borrowed(b"globex")), held_at_ms: 0 }.encode().unwrap();
        latest.take(&origin(1).key(), Some(&parked(1, 0)), 10).unwrap();
        latest.take(&origin(2).key(), Some(&parked(2, 500_000)), 11).unwrap();
        latest.take(&Hold::record_key(Some(b"globex")), Some(&hold), 12).unwrap();
        latest.take(&Hold::record_key(Some(b"initech")), Some(&hold), 13).unwrap();
        latest.take(&origin(1).key(), Some(&parked(1, 100_000)), 14).unwrap();
        latest.take(&Hold::record_key(Some(b"initech")), None, 15).unwrap();
        latest.take(&origin(4).key(), Some(&parked(4, 0)), 16).unwrap();
        latest.take(&origin(4).key(), None, 17).unwrap();

        let found = latest.parked(50_000);
        let at: Vec<_> = found.parked.iter().map(|at| (at.offset, at.retry_after.as_secs(), at.maybe_tried)).collect();
        assert_eq!(at, [(1, 50, true), (2, 450, false)]);
        assert_eq!(found.places, HashMap::from([(1, 14), (2, 11)]));
        assert_eq!(found.held, [Held { offset: 3, key: Some(b"globex".as_slice().into()) }]);
    }

    #[test]
    fn what_is_no_parked_record_is_an_error_and_not_passed_over() {
        assert!(Latest::default().take(b"crm.deals-0-1", Some(b"{}"), 0).is_err());
    }
}
