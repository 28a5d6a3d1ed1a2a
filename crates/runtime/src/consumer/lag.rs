//! How far a consumer is behind: in records, and in time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::kafka::Membership;

/// How long a broker may take to say where a partition ends.
const WATERMARK_TIMEOUT: Duration = Duration::from_secs(5);

/// The times of the records of a partition that are not final, oldest first.
#[derive(Debug, Default)]
pub(super) struct Ages {
    by_partition: BTreeMap<i32, VecDeque<(i64, i64)>>,
}

impl Ages {
    /// A record was fetched.
    pub fn note(&mut self, partition: i32, offset: i64, timestamp_ms: Option<i64>) {
        if let Some(at_ms) = timestamp_ms {
            self.by_partition.entry(partition).or_default().push_back((offset, at_ms));
        }
    }

    /// All below this offset is final.
    pub fn passed(&mut self, partition: i32, frontier: i64) {
        if let Some(ages) = self.by_partition.get_mut(&partition) {
            while ages.front().is_some_and(|(offset, _)| *offset < frontier) {
                ages.pop_front();
            }
        }
    }

    /// The partition is not ours any more, or begins anew.
    pub fn forget(&mut self, partition: i32) {
        self.by_partition.remove(&partition);
    }

    /// The age of the oldest record that is not final, in seconds; 0 where there is none.
    pub fn oldest_s(&self, now_ms: i64) -> i64 {
        let oldest = self.by_partition.values().filter_map(VecDeque::front).map(|(_, at_ms)| *at_ms).min();
        oldest.map_or(0, |at_ms| (now_ms - at_ms).max(0) / 1_000)
    }
}

/// Records from these offsets to the end of their partitions. Blocks. `None` when a broker does not say.
pub(super) fn records_behind(
    client: &Arc<BaseConsumer<Membership>>,
    topic: &str,
    frontiers: &[(i32, i64)],
) -> Option<i64> {
    let mut behind = 0;
    for (partition, frontier) in frontiers {
        let (_, end) = client.fetch_watermarks(topic, *partition, WATERMARK_TIMEOUT).ok()?;
        behind += (end - frontier).max(0);
    }
    Some(behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_record_that_is_not_final_gives_the_age() {
        let mut ages = Ages::default();
        ages.note(0, 10, Some(1_000));
        ages.note(0, 12, Some(4_000));
        ages.note(1, 3, Some(9_000));
        assert_eq!(ages.oldest_s(11_000), 10);
        ages.passed(0, 11);
        assert_eq!(ages.oldest_s(11_000), 7);
        ages.forget(0);
        assert_eq!(ages.oldest_s(11_000), 2);
        ages.passed(1, 4);
        assert_eq!(ages.oldest_s(11_000), 0);
    }
}
