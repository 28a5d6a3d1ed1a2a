//! The consumer's state topics as the broker keeps them: the ledger, parked records, holds, dead letters, offsets.

use std::collections::BTreeMap;
use std::time::Duration;

use tieline_delivery::{Commit, Effect, Final, Held, Outcome, ParkedAt, ParkedState, Partition, RecordId};

use crate::log::Log;

/// A parked record. Its times are by the clock of the process that wrote it.
pub struct Row {
    pub event: usize,
    pub retry_at_ms: i64,
    pub failing_since_ms: Option<i64>,
    pub state: ParkedState,
    /// The request lies with it, since an attempt may have been applied.
    pub has_request: bool,
    /// Why it waits: `behind`, `paused`, `redriven`, or the last failure.
    pub code: String,
    /// When it failed last before it was written.
    pub failed_ms: Option<u64>,
}

impl Row {
    /// As it is read back at this time, by the reader's clock.
    pub fn state(&self, wall_ms: i64) -> ParkedState {
        let since = |since: i64| Duration::from_millis(u64::try_from(wall_ms - since).unwrap_or(0));
        ParkedState { failing_for: self.failing_since_ms.map(since).unwrap_or_default(), ..self.state }
    }
}

#[derive(Default)]
pub struct StateTopics {
    pub ledger: BTreeMap<usize, Outcome>,
    pub parked: BTreeMap<(i32, i64), Row>,
    pub holds: BTreeMap<(i32, Option<u64>), i64>,
    pub dead: BTreeMap<(i32, i64), (usize, Effect)>,
    pub offsets: BTreeMap<i32, (i64, String)>,
    /// What was written by commits that were reported failed: it is written again.
    again: BTreeMap<(u64, RecordId), Outcome>,
}

impl StateTopics {
    pub fn new(partitions: i32) -> Self {
        Self { offsets: (0..partitions).map(|partition| (partition, (0, String::new()))).collect(), ..Self::default() }
    }

    /// Notes that the writer takes this commit for failed.
    pub fn expect_again(&mut self, incarnation: u64, commit: &Commit<usize>) {
        for end in &commit.finals {
            self.again.insert((incarnation, end.id), end.outcome.clone());
        }
    }

    /// Whether a commit that was reported failed has written this already.
    pub fn is_there_already(&mut self, incarnation: u64, end: &Final<usize>) -> bool {
        let before = self.again.remove(&(incarnation, end.id));
        assert!(before.as_ref().is_none_or(|before| *before == end.outcome), "{before:?} is written again as {end:?}");
        before.is_some()
    }

    pub fn drop_hold(&mut self, place: (i32, i64)) {
        self.holds.retain(|(partition, _), dead| (*partition, *dead) != place);
    }

    /// What the next owner reads of the park, by its clock.
    pub fn index(&self, log: &Log, partition: i32, wall_ms: i64, margin_ms: u64) -> (Vec<ParkedAt>, Vec<Held>) {
        let mine = |of: i32| of == partition;
        let parked = self.parked.iter().filter(|((of, _), _)| mine(*of)).map(|((_, offset), row)| {
            let wait = u64::try_from(row.retry_at_ms - wall_ms).unwrap_or(0);
            ParkedAt {
                offset: *offset,
                key: log.records[row.event].key(),
                retry_after: Duration::from_millis(wait),
                maybe_tried: wait <= margin_ms,
                unknown_below: row.state.unknown_below,
            }
        });
        let held = self.holds.iter().filter(|((of, _), _)| mine(*of));
        let held = held.map(|((_, key), dead)| Held { offset: *dead, key: key.map(crate::log::key_of) });
        (parked.collect(), held.collect())
    }

    /// An offset is committed.
    pub fn advance(&mut self, partition: Partition, offset: i64, metadata: String) {
        let before = self.offsets.insert(partition.0, (offset, metadata)).unwrap();
        assert!(before.0 <= offset, "the committed offset of {} goes back from {} to {offset}", partition.0, before.0);
    }
}
