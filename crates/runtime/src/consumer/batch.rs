//! Records that are sent together: they wait here for others, for `linger` or until there are `max`.
//!
//! The core hands each out by itself, and only the head of a lane: so no batch holds two records of one key, and of a batch
//! that is answered in part, what failed is tried again by itself, before anything behind it. What waits here is in flight
//! for the core.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tieline_bus::Batch;
use tieline_delivery::{Class, Partition, RecordId, Time};

use super::prepare::Delivered;

/// Most bytes of the items of a request, unless one alone has more: what servers usually take, and the bound of one record.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// What came of a record in batches. Kept beside it for as long as it is here.
#[derive(Debug, Default)]
pub(super) struct Batched {
    alone: AtomicBool,
    answered: AtomicU32,
}

impl Batched {
    /// Whether it goes out alone from now on: a batch with it was refused as a whole, and nobody knows for which item.
    pub fn is_alone(&self) -> bool {
        self.alone.load(Ordering::Relaxed)
    }

    pub fn leave_alone(&self) {
        self.alone.store(true, Ordering::Relaxed);
    }

    /// How many requests were answered that it was in, and in which it was not done.
    pub fn answered(&self) -> u32 {
        self.answered.load(Ordering::Relaxed)
    }

    pub fn count_answer(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }
}

/// A record that is to be sent.
#[derive(Debug)]
pub(super) struct Waiting {
    pub id: RecordId,
    pub attempt: u32,
    pub maybe_applied: bool,
    pub delivered: Arc<Delivered>,
}

impl Waiting {
    /// The length of its item.
    fn bytes(&self) -> usize {
        self.delivered.request().and_then(|request| Some(request.body.as_ref()?.len())).unwrap_or(0)
    }
}

/// What a call of all these is for: for live work, if it is for any of them.
pub(super) fn class_of<'w>(mut records: impl Iterator<Item = &'w Waiting>) -> Class {
    if records.all(|record| record.delivered.class() == Class::Replayed) { Class::Replayed } else { Class::Live }
}

/// What waits to be sent together.
#[derive(Debug)]
pub(super) struct Collector {
    max: usize,
    linger: Duration,
    waiting: Vec<Waiting>,
    bytes: usize,
    /// When it goes out, full or not.
    due: Time,
}

impl Collector {
    pub fn new(batch: &Batch) -> Self {
        Self { max: batch.max, linger: batch.linger, waiting: Vec::new(), bytes: 0, due: Time::default() }
    }

    /// Takes a record in, and gives what is to be sent now: a full batch, or a record that goes alone.
    pub fn add(&mut self, now: Time, record: Waiting) -> Option<Vec<Waiting>> {
        if record.delivered.batched.is_alone() {
            return Some(vec![record]);
        }
        let bytes = record.bytes();
        let too_long = !self.waiting.is_empty() && self.bytes.saturating_add(bytes) > BATCH_BYTES_MAX;
        let full = if too_long { Some(self.take()) } else { None };
        if self.waiting.is_empty() {
            self.due = Time(now.0.saturating_add(self.linger));
        }
        self.waiting.push(record);
        self.bytes += bytes;
        // What is over the bytes is short of `max`, so that at most one of the two is full.
        full.or_else(|| (self.waiting.len() >= self.max).then(|| self.take()))
    }

    /// When something has waited long enough.
    pub fn due(&self) -> Option<Time> {
        (!self.waiting.is_empty()).then_some(self.due)
    }

    /// What has waited long enough.
    pub fn take_due(&mut self, now: Time) -> Option<Vec<Waiting>> {
        (self.due()? <= now).then(|| self.take())
    }

    /// Waits for nobody any more: the service stops, or partitions are taken back.
    pub fn hurry(&mut self) {
        self.due = Time::default();
    }

    /// The service stops: nothing that comes waits either.
    pub fn close(&mut self) {
        self.linger = Duration::ZERO;
        self.hurry();
    }

    /// A partition went without notice. What was not sent may be sent by another owner already.
    pub fn forget(&mut self, partition: Partition) {
        self.waiting.retain(|waiting| waiting.id.partition != partition);
        self.bytes = self.waiting.iter().map(Waiting::bytes).sum();
    }

    fn take(&mut self) -> Vec<Waiting> {
        self.bytes = 0;
        std::mem::take(&mut self.waiting)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use tieline_delivery::Epoch;

    use super::*;
    use crate::consumer::prepare::PreparedCall;
    use crate::kafka::Record;

    const NONE: [i64; 0] = [];

    fn collector(max: usize, linger_ms: u64) -> Collector {
        Collector { max, linger: Duration::from_millis(linger_ms), waiting: Vec::new(), bytes: 0, due: Time::default() }
    }

    fn record(partition: i32, offset: i64, bytes: usize) -> Waiting {
        let id = RecordId { epoch: Epoch(1), partition: Partition(partition), offset };
        let delivered = Delivered::new(Record {
            topic: "t".into(),
            partition,
            offset,
            timestamp_ms: None,
            key: None,
            value: Some(Vec::new()),
            headers: std::iter::empty().collect(),
        });
        let body = Some(vec![b'x'; bytes].into());
        delivered.keep_request(PreparedCall { parameters: Vec::new(), body, looked_up: Vec::new() });
        Waiting { id, attempt: 1, maybe_applied: false, delivered: Arc::new(delivered) }
    }

    fn at(ms: u64) -> Time {
        Time(Duration::from_millis(ms))
    }

    fn offsets(records: Option<Vec<Waiting>>) -> Vec<i64> {
        records.into_iter().flatten().map(|record| record.id.offset).collect()
    }

    #[test]
    fn what_is_full_goes_at_once_and_what_is_not_when_its_first_has_waited() {
        let mut c = collector(3, 20);
        assert_eq!(c.due(), None);
        assert_eq!(offsets(c.add(at(5), record(0, 0, 1))), NONE);
        assert_eq!(offsets(c.add(at(10), record(0, 1, 1))), NONE);
        assert_eq!(c.due(), Some(at(25)), "the first one's time, not the second's");
        assert_eq!(offsets(c.add(at(11), record(0, 2, 1))), [0, 1, 2]);
        assert_eq!(c.due(), None);

        assert_eq!(offsets(c.add(at(100), record(0, 3, 1))), NONE);
        assert_eq!(offsets(c.take_due(at(119))), NONE);
        assert_eq!(offsets(c.take_due(at(120))), [3]);
        assert_eq!(offsets(c.take_due(at(121))), NONE);
    }

    #[test]
    fn nothing_waits_any_more_when_the_service_stops_or_a_partition_is_taken_back() {
        let mut c = collector(100, 5_000);
        c.add(at(1), record(0, 0, 1));
        c.hurry();
        assert_eq!(offsets(c.take_due(at(1))), [0]);
        c.add(at(2), record(0, 1, 1));
        assert_eq!(offsets(c.take_due(at(2))), NONE, "what comes after a rebalance waits again");
        c.close();
        assert_eq!(offsets(c.take_due(at(2))), [1]);
        c.add(at(3), record(0, 2, 1));
        assert_eq!(offsets(c.take_due(at(3))), [2], "after the stop nothing does");
    }

    #[test]
    fn what_was_refused_with_others_goes_alone_and_holds_nobody_up() {
        let mut c = collector(10, 20);
        c.add(at(0), record(0, 0, 1));
        let alone = record(0, 1, 1);
        alone.delivered.batched.leave_alone();
        assert_eq!(offsets(c.add(at(1), alone)), [1]);
        assert_eq!(offsets(c.take_due(at(20))), [0]);
    }

    #[test]
    fn a_request_has_no_more_bytes_than_it_may_unless_one_record_has_them() {
        let mut c = collector(10, 20);
        assert_eq!(offsets(c.add(at(0), record(0, 0, BATCH_BYTES_MAX / 2))), NONE);
        assert_eq!(offsets(c.add(at(7), record(0, 1, BATCH_BYTES_MAX / 2 + 1))), [0]);
        assert_eq!(c.due(), Some(at(27)), "the next one begins to wait");
        assert_eq!(offsets(c.add(at(8), record(0, 2, BATCH_BYTES_MAX))), [1]);
        assert_eq!(offsets(c.take_due(at(28))), [2]);
    }

    #[test]
    fn what_was_of_a_lost_partition_is_not_sent() {
        let mut c = collector(10, 20);
        c.add(at(0), record(0, 0, 1));
        c.add(at(0), record(1, 0, 1));
        c.forget(Partition(1));
        assert_eq!(c.take_due(at(20)).unwrap().len(), 1);
        c.add(at(30), record(1, 1, 1));
        c.forget(Partition(1));
        assert_eq!(c.due(), None);
    }
}
