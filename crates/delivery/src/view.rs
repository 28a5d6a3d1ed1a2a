//! What can be seen of a machine from outside: for metrics, `tieline dev` and operators.

use std::time::Duration;

use crate::entry::StuckBy;
use crate::machine::Machine;
use crate::park::ParkLane;
use crate::partition::Around;
use crate::{Epoch, Key, Mapped, Partition, PauseReason, Reason, RecordId, Time};

/// How much is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Keys with a record that is not final, or behind a held dead letter. A record without a key counts as one.
    pub keys: usize,
    /// Of these, those that have no call under way.
    pub keys_waiting: usize,
    /// Calls under way.
    pub in_flight: usize,
    /// Calls that may be under way now.
    pub allowed: usize,
    /// Records that the shell prepares.
    pub preparing: usize,
    /// Replayed records that are under way.
    pub replayed: usize,
    /// Records with a request that waits for its turn.
    pub prepared: usize,
    /// Records that wait for a time: to be tried again, or for an old owner's call to be over.
    pub resting: usize,
    /// Records that are fetched and not yet covered by a commit.
    pub buffered_records: usize,
    /// Their bytes.
    pub buffered_bytes: usize,
    /// Records that are parked, with those that are under way from there.
    pub parked_records: usize,
    /// Keys with such records, or held behind a dead letter.
    pub parked_keys: usize,
    /// Keys that are held behind a dead letter.
    pub held_keys: usize,
}

/// A system that fails for everybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// The last failure.
    pub reason: Reason,
    /// For how long.
    pub lasting: Duration,
    /// When the next call finds out whether it is over.
    pub probe_at: Time,
    /// How many have found that it is not.
    pub probes: u32,
}

/// Where a partition stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionView {
    /// Which one.
    pub partition: Partition,
    /// Its assignment.
    pub epoch: Epoch,
    /// The durable committed offset.
    pub committed: i64,
    /// The lowest offset that is not final: what the next commit says.
    pub frontier: i64,
    /// One more than the last offset that was fetched.
    pub fetched_to: i64,
    /// Nothing at or above this offset is sent before a commit has raised it.
    pub send_ceiling: i64,
    /// Why nothing is fetched from it, if so.
    pub paused: Option<PauseReason>,
    /// The lowest offset that was fetched and is not final.
    pub oldest_unfinished: Option<i64>,
    /// How what was sent before this assignment was mapped, if anything was.
    pub mapped_before: Option<Mapped>,
    /// The group takes it back, or the machine drains.
    pub leaving: bool,
}

/// A record that fails for longer than it should, or not by its own fault. It is still tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stuck {
    /// Which one.
    pub id: RecordId,
    /// Its key.
    pub key: Option<Key>,
    /// How many attempts were made.
    pub attempts: u32,
    /// The last failure.
    pub reason: Reason,
    /// Whether the failure is the system's for everybody, as far as can be told, rather than this record's.
    pub outage: bool,
    /// For how long it has failed.
    pub failing_for: Duration,
    /// When it is tried again.
    pub retry_at: Time,
}

impl<R: Clone> Machine<R> {
    /// How much is under way.
    #[must_use]
    pub fn load(&self) -> Load {
        let keys = self.partitions.values().map(|assigned| assigned.lanes.len() + assigned.laneless).sum::<usize>();
        Load {
            keys,
            keys_waiting: keys.saturating_sub(self.in_flight),
            in_flight: self.in_flight,
            allowed: self.allowed(),
            preparing: self.preparing,
            replayed: self.replayed,
            prepared: self.prepared.total(),
            resting: self.timers.len(),
            buffered_records: self.window.records(),
            buffered_bytes: self.window.bytes(),
            parked_records: self.parked_records(),
            parked_keys: self.parked_keys(),
            held_keys: self
                .partitions
                .values()
                .map(|assigned| assigned.park.held() + usize::from(assigned.held.is_some()))
                .sum(),
        }
    }

    /// What keeps a partition from being fetched that is not its own.
    pub(crate) fn around(&self, partition: Partition) -> Around<'_> {
        Around {
            window_full: self.window.is_full(),
            park_full: self.park_full,
            commits_refused: self.commits.together.is_refused(partition),
            outage: self.breaker.outage().map(|outage| &outage.reason),
            by: self.paused_by.as_deref(),
        }
    }

    /// Records that are parked, in all partitions.
    pub(crate) fn parked_records(&self) -> usize {
        self.partitions.values().map(|assigned| assigned.park.records()).sum()
    }

    /// Lanes that are parked or held, in all partitions.
    pub(crate) fn parked_keys(&self) -> usize {
        self.partitions.values().map(|assigned| assigned.park.lanes()).sum()
    }

    /// Whether the system fails for everybody.
    #[must_use]
    pub fn outage(&self) -> Option<Outage> {
        self.breaker.outage().map(|open| Outage {
            reason: open.reason.clone(),
            lasting: self.now.since(open.since),
            probe_at: open.probe_at,
            probes: open.probes,
        })
    }

    /// Where each partition stands, in their order.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionView> {
        self.partitions.values().map(|assigned| PartitionView {
            partition: assigned.partition,
            epoch: assigned.epoch,
            committed: assigned.committed,
            frontier: assigned.frontier.lowest(),
            fetched_to: assigned.frontier.next(),
            send_ceiling: assigned.ceiling,
            paused: assigned.pause_reason(&self.around(assigned.partition)),
            oldest_unfinished: assigned.frontier.oldest(),
            mapped_before: assigned.mapped_before,
            leaving: assigned.leaving.is_some(),
        })
    }

    /// The records that fail for longer than they should, in order of partition and offset.
    #[must_use]
    pub fn stuck(&self) -> Vec<Stuck> {
        let stuck = self.partitions.values().flat_map(|assigned| {
            assigned.stuck.iter().filter_map(|offset| {
                let entry = assigned.entries.get(offset)?;
                let failing = entry.failing.as_ref()?;
                Some(Stuck {
                    id: assigned.id(*offset),
                    key: entry.key.clone(),
                    attempts: entry.attempts_total(),
                    reason: failing.reason.clone(),
                    outage: failing.stuck == Some(StuckBy::Outage),
                    failing_for: self.now.since(failing.since),
                    retry_at: failing.retry_at,
                })
            })
        });
        stuck.collect()
    }

    /// Whether this record, which has this key, is under way: fetched and not final, parked, or a dead letter whose discarding is not durable yet.
    #[must_use]
    pub fn is_under_way(&self, id: RecordId, key: Option<&Key>) -> bool {
        let lane = ParkLane::of(self.settings.order, key, id.offset);
        let assigned = self.partitions.get(&id.partition).filter(|assigned| assigned.epoch == id.epoch);
        assigned.is_some_and(|assigned| assigned.is_dealt_with(&lane, id.offset))
    }

    /// Whether a record has come to its end here or was parked; none where it was not fetched yet.
    #[must_use]
    pub fn is_over(&self, id: RecordId) -> Option<bool> {
        let assigned = self.partitions.get(&id.partition).filter(|assigned| assigned.epoch == id.epoch)?;
        (id.offset < assigned.frontier.next()).then(|| !assigned.entries.contains_key(&id.offset))
    }

    /// How many inputs came for an assignment, an attempt or a commit that was over.
    #[must_use]
    pub fn stale_inputs(&self) -> u64 {
        self.stale_inputs
    }
}
