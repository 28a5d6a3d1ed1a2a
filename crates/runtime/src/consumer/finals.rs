//! What became of records, as it is written to the ledger and to the dead letters.
//!
//! The ledger has one record for each commit and partition, so that it costs little; a dead letter is a record of its own,
//! with the original bytes, so that it can be delivered again as if it had just come.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use tieline_delivery::{AttemptLog, Final, Outcome, Reason};

use super::prepare::Delivered;
use crate::kafka::StateRecord;
use crate::state::{Attempt, DeadLetter, Effect, Header, LedgerEntry, LedgerRecord, Origin, StateError};

/// Where a consumer writes what became of its records.
#[derive(Debug, Clone)]
pub(super) struct StateTopics {
    pub ledger: Arc<str>,
    pub dead_letters: Arc<str>,
}

/// Writes down what became of these records.
pub(super) fn state_records(
    topics: &StateTopics,
    finals: &[Final<Arc<Delivered>>],
    now_ms: i64,
) -> Result<Vec<StateRecord>, StateError> {
    let mut by_partition: BTreeMap<i32, Vec<&Final<Arc<Delivered>>>> = BTreeMap::new();
    for ended in finals {
        by_partition.entry(ended.id.partition.0).or_default().push(ended);
    }
    let mut records = Vec::new();
    for (partition, ended) in by_partition {
        records.extend(ledger_records(topics, partition, &ended, now_ms)?);
        for ended in ended {
            if let Outcome::Dead { reason, applied } = &ended.outcome {
                records.push(dead_letter(topics, ended, reason, *applied, now_ms)?);
            }
        }
    }
    Ok(records)
}

fn ledger_records(
    topics: &StateTopics,
    partition: i32,
    ended: &[&Final<Arc<Delivered>>],
    now_ms: i64,
) -> Result<Vec<StateRecord>, StateError> {
    let topic = ended.first().map_or("", |e| &e.record.record.topic);
    let write = |entries| {
        let record = LedgerRecord { topic: Cow::Borrowed(topic), partition, committed_at_ms: now_ms, entries };
        let key = LedgerRecord::key(topic, partition);
        Ok(StateRecord { topic: Arc::clone(&topics.ledger), partition, key, value: record.encode()? })
    };
    LedgerRecord::cut(ended.iter().map(|e| ledger_entry(e)).collect()).into_iter().map(write).collect()
}

fn ledger_entry(ended: &Final<Arc<Delivered>>) -> LedgerEntry<'_> {
    LedgerEntry {
        offset: ended.id.offset,
        event_id: ended.record.event_id().map(Cow::Borrowed),
        key: ended.key.as_ref().map(|key| String::from_utf8_lossy(key)),
        outcome: match &ended.outcome {
            Outcome::Done => crate::state::Outcome::Done,
            Outcome::Skipped => crate::state::Outcome::Skipped,
            Outcome::Dead { .. } => crate::state::Outcome::Dead,
        },
        attempts: ended.attempts_total,
        // One attempt says no more than the outcome does.
        tried: if ended.attempts_total > 1 { attempts(&ended.attempts) } else { Vec::new() },
    }
}

fn dead_letter(
    topics: &StateTopics,
    ended: &Final<Arc<Delivered>>,
    reason: &Reason,
    applied: bool,
    now_ms: i64,
) -> Result<StateRecord, StateError> {
    let record = &ended.record.record;
    let origin = Origin { topic: record.topic.to_string(), partition: record.partition, offset: record.offset };
    let header = |name, value: Option<_>| Header { name: Cow::Borrowed(name), value: value.map(Cow::Borrowed) };
    let key = origin.key();
    let letter = DeadLetter {
        origin,
        timestamp_ms: record.timestamp_ms,
        key: record.key.as_deref().map(Cow::Borrowed),
        value: record.value.as_deref().map(Cow::Borrowed),
        headers: record.headers.iter().map(|(name, value)| header(name, value)).collect(),
        event_id: ended.record.event_id().map(Cow::Borrowed),
        reason: Cow::Borrowed(&reason.code),
        detail: Cow::Borrowed(&reason.detail),
        effect: if applied { Effect::Exists } else { Effect::None },
        round: 0,
        redriven: 0,
        attempts_total: ended.attempts_total,
        attempts: attempts(&ended.attempts),
        died_at_ms: now_ms,
    };
    Ok(StateRecord {
        topic: Arc::clone(&topics.dead_letters),
        partition: record.partition,
        key,
        value: letter.encode()?,
    })
}

fn attempts(logs: &[AttemptLog]) -> Vec<Attempt<'_>> {
    logs.iter().map(Attempt::of).collect()
}
