//! What became of records, as it is written to the ledger and to the dead letters.
//!
//! The ledger has one record for each commit and partition, so that it costs little; a dead letter is a record of its own,
//! with the original bytes, so that it can be delivered again as if it had just come.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use tieline_delivery::{Final, Outcome};

use super::prepare::Delivered;
use crate::kafka::StateRecord;

/// Where a consumer writes what became of its records.
#[derive(Debug, Clone)]
pub(super) struct StateTopics {
    pub ledger: Arc<str>,
    pub dead_letters: Arc<str>,
}

/// A record of the ledger: the outcomes of one commit in one partition.
#[derive(Debug, Serialize)]
struct LedgerRecord<'a> {
    version: u32,
    topic: &'a str,
    partition: i32,
    committed_at_ms: i64,
    entries: Vec<LedgerEntry<'a>>,
}

#[derive(Debug, Serialize)]
struct LedgerEntry<'a> {
    offset: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    outcome: &'static str,
    attempts: u32,
}

/// A dead letter: the record as it was, and why it could not be delivered.
#[derive(Debug, Serialize)]
struct DeadLetter<'a> {
    version: u32,
    topic: &'a str,
    partition: i32,
    offset: i64,
    timestamp_ms: Option<i64>,
    /// Base 64.
    key: Option<String>,
    /// Base 64.
    value: Option<String>,
    /// Names and base 64.
    headers: Vec<(&'a str, Option<String>)>,
    event_id: Option<&'a str>,
    reason: &'a str,
    detail: &'a str,
    /// Whether the effect exists all the same.
    applied: bool,
    attempts_total: u32,
    attempts: Vec<Attempt<'a>>,
    died_at_ms: i64,
}

#[derive(Debug, Serialize)]
struct Attempt<'a> {
    at_ms: i64,
    status: Option<u16>,
    excerpt: &'a str,
}

/// Writes down what became of these records.
pub(super) fn state_records(
    topics: &StateTopics,
    finals: &[Final<Arc<Delivered>>],
    now_ms: i64,
) -> Result<Vec<StateRecord>, serde_json::Error> {
    let mut by_partition: BTreeMap<i32, Vec<&Final<Arc<Delivered>>>> = BTreeMap::new();
    for ended in finals {
        by_partition.entry(ended.id.partition.0).or_default().push(ended);
    }
    let mut records = Vec::new();
    for (partition, ended) in by_partition {
        records.push(ledger_record(topics, partition, &ended, now_ms)?);
        for ended in ended {
            if let Outcome::Dead { .. } = ended.outcome {
                records.push(dead_letter(topics, ended, now_ms)?);
            }
        }
    }
    Ok(records)
}

fn ledger_record(
    topics: &StateTopics,
    partition: i32,
    ended: &[&Final<Arc<Delivered>>],
    now_ms: i64,
) -> Result<StateRecord, serde_json::Error> {
    let topic = ended.first().map_or("", |e| &e.record.record.topic);
    let entries = ended.iter().map(|e| ledger_entry(e)).collect();
    let value = LedgerRecord { version: 1, topic, partition, committed_at_ms: now_ms, entries };
    let key = format!("{topic}-{partition}").into_bytes();
    Ok(StateRecord { topic: Arc::clone(&topics.ledger), partition, key, value: serde_json::to_vec(&value)? })
}

fn ledger_entry(ended: &Final<Arc<Delivered>>) -> LedgerEntry<'_> {
    LedgerEntry {
        offset: ended.id.offset,
        event_id: ended.record.event_id(),
        key: ended.key.as_ref().map(|k| String::from_utf8_lossy(k).into_owned()),
        outcome: match &ended.outcome {
            Outcome::Done => "done",
            Outcome::Skipped => "skipped",
            Outcome::Dead { .. } => "dead",
        },
        attempts: ended.attempts_total,
    }
}

fn dead_letter(
    topics: &StateTopics,
    ended: &Final<Arc<Delivered>>,
    now_ms: i64,
) -> Result<StateRecord, serde_json::Error> {
    let record = &ended.record.record;
    let (reason, detail, applied) = match &ended.outcome {
        Outcome::Dead { reason, applied } => (reason.code.as_str(), reason.detail.as_str(), *applied),
        Outcome::Done | Outcome::Skipped => ("", "", false),
    };
    let letter = DeadLetter {
        version: 1,
        topic: &record.topic,
        partition: record.partition,
        offset: record.offset,
        timestamp_ms: record.timestamp_ms,
        key: record.key.as_ref().map(|k| STANDARD.encode(k)),
        value: record.value.as_ref().map(|v| STANDARD.encode(v)),
        headers: record.headers.iter().map(|(n, v)| (n.as_str(), v.as_ref().map(|v| STANDARD.encode(v)))).collect(),
        event_id: ended.record.event_id(),
        reason,
        detail,
        applied,
        attempts_total: ended.attempts_total,
        attempts: ended
            .attempts
            .iter()
            .map(|a| Attempt { at_ms: a.at_ms, status: a.status, excerpt: &a.excerpt })
            .collect(),
        died_at_ms: now_ms,
    };
    Ok(StateRecord {
        topic: Arc::clone(&topics.dead_letters),
        partition: record.partition,
        key: format!("{}-{}-{}", record.topic, record.partition, record.offset).into_bytes(),
        value: serde_json::to_vec(&letter)?,
    })
}
