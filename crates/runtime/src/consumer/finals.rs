//! What became of records, as it is written to the ledger, the dead letters and the parked records.
//!
//! The ledger has one record for each commit and partition, so that it costs little; a dead letter and a parked record are
//! records of their own, with the original bytes, so that they can be delivered as if they had just come.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use tieline_delivery::{AttemptLog, Came, Commit, Discarded, Effect, Final, Outcome, ParkedState, Reason, Time};

use super::prepare::Delivered;
use crate::kafka::StateRecord;
use crate::state::{
    self, Attempt, DeadLetter, Hold, LedgerEntry, LedgerRecord, Origin, Original, ParkedRecord, StateError,
};

/// Where a consumer writes what became of its records.
#[derive(Debug, Clone)]
pub(super) struct StateTopics {
    /// The topic of the records themselves.
    pub source: Arc<str>,
    pub ledger: Arc<str>,
    pub dead_letters: Arc<str>,
    pub parked: Arc<str>,
}

/// The time at which it is written, by the clock of the core and by that of the wall.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub at: Time,
    pub ms: i64,
}

impl Now {
    /// A time of the core's by the wall's clock, milliseconds since the Unix epoch.
    fn wall_ms(self, at: Time) -> i64 {
        let ahead = i64::try_from(at.since(self.at).as_millis()).unwrap_or(i64::MAX);
        let behind = i64::try_from(self.at.since(at).as_millis()).unwrap_or(i64::MAX);
        self.ms.saturating_add(ahead).saturating_sub(behind)
    }
}

/// Writes down what became of these records.
pub(super) fn state_records(
    topics: &StateTopics,
    commit: &Commit<Arc<Delivered>>,
    now: Now,
) -> Result<Vec<StateRecord>, StateError> {
    let mut by_partition: BTreeMap<i32, Vec<&Final<Arc<Delivered>>>> = BTreeMap::new();
    for ended in &commit.finals {
        by_partition.entry(ended.id.partition.0).or_default().push(ended);
    }
    let mut records = Vec::new();
    for (partition, ended) in by_partition {
        records.extend(topics.ledger_records(partition, &ended, now.ms)?);
        for ended in ended {
            topics.where_it_lies(ended, now, &mut records)?;
        }
    }
    let newer_hold = |partition: i32, key: Option<&[u8]>, offset: i64| {
        commit.finals.iter().any(|ended| {
            let holds = matches!(ended.outcome, Outcome::Dead { holds: true, .. });
            holds && ended.id.partition.0 == partition && held_key(ended) == key && ended.id.offset > offset
        })
    };
    for Discarded { id, key, superseded } in &commit.discarded {
        let origin = topics.origin(id.partition.0, id.offset);
        if *superseded {
            records.push(topics.superseded(origin.offset, id.partition.0, key.as_deref(), now.ms)?);
        }
        records.push(topics.ends(&topics.dead_letters, id.partition.0, origin.key()));
        // One dead letter may end another's hold by its own, under the same key.
        if !newer_hold(id.partition.0, key.as_deref(), id.offset) {
            records.push(topics.ends(&topics.parked, id.partition.0, Hold::record_key(key.as_deref())));
        }
    }
    Ok(records)
}

impl StateTopics {
    fn origin(&self, partition: i32, offset: i64) -> Origin {
        Origin { topic: self.source.to_string(), partition, offset }
    }

    fn ledger_records(
        &self,
        partition: i32,
        ended: &[&Final<Arc<Delivered>>],
        now_ms: i64,
    ) -> Result<Vec<StateRecord>, StateError> {
        let write = |entries| {
            let topic = Cow::Borrowed(&*self.source);
            let record = LedgerRecord { topic, partition, committed_at_ms: now_ms, entries };
            let key = LedgerRecord::key(&self.source, partition);
            Ok(StateRecord {
                topic: Arc::clone(&self.ledger),
                partition,
                key,
                value: Some(record.encode()?),
                parks: None,
            })
        };
        LedgerRecord::cut(ended.iter().map(|e| ledger_entry(e)).collect()).into_iter().map(write).collect()
    }

    /// Notes that a newer record of its key has made a dead letter moot.
    fn superseded(
        &self,
        offset: i64,
        partition: i32,
        key: Option<&[u8]>,
        now_ms: i64,
    ) -> Result<StateRecord, StateError> {
        let (topic, key) = (Cow::Borrowed(&*self.source), key.map(String::from_utf8_lossy));
        let (event_id, outcome) = (None, state::Outcome::Superseded);
        let entries =
            vec![LedgerEntry { offset, event_id, key, outcome, attempts: 0, replay: None, tried: Vec::new() }];
        let value = Some(LedgerRecord { topic, partition, committed_at_ms: now_ms, entries }.encode()?);
        let key = LedgerRecord::key(&self.source, partition);
        Ok(StateRecord { topic: Arc::clone(&self.ledger), partition, key, value, parks: None })
    }

    /// Writes where a record lies from now on, and ends it where it lay before.
    fn where_it_lies(
        &self,
        ended: &Final<Arc<Delivered>>,
        now: Now,
        records: &mut Vec<StateRecord>,
    ) -> Result<(), StateError> {
        let (partition, offset) = (ended.id.partition.0, ended.id.offset);
        let key = self.origin(partition, offset).key();
        let parked_again = matches!(ended.outcome, Outcome::Parked { .. });
        match ended.came {
            Came::Fetched | Came::Replayed => {}
            Came::Parked if parked_again => {} // Written over.
            Came::Parked => records.push(self.ends(&self.parked, partition, key.clone())),
            Came::Redriven => {
                records.push(self.ends(&self.dead_letters, partition, key.clone()));
                records.push(self.ends(&self.parked, partition, Hold::record_key(held_key(ended))));
            }
        }
        let (topic, value, parks) = match &ended.outcome {
            Outcome::Done | Outcome::Skipped | Outcome::Overtaken => return Ok(()),
            Outcome::Dead { reason, effect, holds } => {
                if *holds {
                    records.push(self.hold(ended, now.ms)?);
                }
                (&self.dead_letters, self.dead_letter(ended, reason, *effect, now.ms).encode()?, None)
            }
            Outcome::Parked { retry_at, reason, state } => {
                let retry_at_ms = now.wall_ms(*retry_at);
                (&self.parked, fitting(self.parked(ended, reason, state, retry_at_ms, now.ms))?, Some(offset))
            }
        };
        records.push(StateRecord { topic: Arc::clone(topic), partition, key, value: Some(value), parks });
        Ok(())
    }

    fn ends(&self, topic: &Arc<str>, partition: i32, key: Vec<u8>) -> StateRecord {
        StateRecord { topic: Arc::clone(topic), partition, key, value: None, parks: None }
    }

    fn hold(&self, ended: &Final<Arc<Delivered>>, now_ms: i64) -> Result<StateRecord, StateError> {
        let (partition, key) = (ended.id.partition.0, held_key(ended));
        let origin = self.origin(partition, ended.id.offset);
        let hold = Hold { origin, key: key.map(Cow::Borrowed), held_at_ms: now_ms };
        let (topic, value) = (Arc::clone(&self.parked), Some(hold.encode()?));
        Ok(StateRecord { topic, partition, key: Hold::record_key(key), value, parks: None })
    }

    fn dead_letter<'a>(
        &self,
        ended: &'a Final<Arc<Delivered>>,
        reason: &'a Reason,
        effect: Effect,
        now_ms: i64,
    ) -> DeadLetter<'a> {
        DeadLetter {
            original: Original::of(&ended.record.record, ended.record.event_id()),
            reason: Cow::Borrowed(&reason.code),
            detail: Cow::Borrowed(&reason.detail),
            effect: match effect {
                Effect::None => state::Effect::None,
                Effect::Unknown => state::Effect::Unknown,
                Effect::Exists => state::Effect::Exists,
            },
            sent: ended.record.effect.set_aside(),
            redriven: ended.record.redriven,
            replay: ended.record.replay.as_deref().map(Cow::Borrowed),
            attempts_total: ended.attempts_total,
            attempts: attempts(&ended.attempts),
            died_at_ms: now_ms,
        }
    }

    fn parked<'a>(
        &self,
        ended: &'a Final<Arc<Delivered>>,
        reason: &'a Reason,
        state: &ParkedState,
        retry_at_ms: i64,
        now_ms: i64,
    ) -> ParkedRecord<'a> {
        let failing_ms = i64::try_from(state.failing_for.as_millis()).unwrap_or(i64::MAX);
        ParkedRecord {
            original: Original::of(&ended.record.record, ended.record.event_id()),
            reason: Cow::Borrowed(&reason.code),
            detail: Cow::Borrowed(&reason.detail),
            failing_since_ms: (failing_ms > 0).then(|| now_ms.saturating_sub(failing_ms)),
            steps: state.steps,
            maybe_applied: state.maybe_applied,
            sent: ended.record.effect.set_aside(),
            unknown_below: state.unknown_below,
            request: state.maybe_applied.then(|| ended.record.stored_request()).flatten(),
            redriven: ended.record.redriven + u32::from(ended.came == Came::Redriven),
            replay: ended.record.replay.as_deref().map(Cow::Borrowed),
            attempts_total: ended.attempts_total,
            attempts: attempts(&ended.attempts),
            retry_at_ms,
        }
    }
}

/// Writes a parked record; if it is too large with its request, without that, which is then made again from the event.
fn fitting(mut parked: ParkedRecord<'_>) -> Result<Vec<u8>, StateError> {
    match parked.encode() {
        Err(StateError::TooLarge { .. }) if parked.request.take().is_some() => parked.encode(),
        written => written,
    }
}

/// The key under which a dead letter's hold is kept.
fn held_key(ended: &Final<Arc<Delivered>>) -> Option<&[u8]> {
    ended.key.as_deref()
}

fn ledger_entry(ended: &Final<Arc<Delivered>>) -> LedgerEntry<'_> {
    LedgerEntry {
        offset: ended.id.offset,
        event_id: ended.record.event_id().map(Cow::Borrowed),
        key: ended.key.as_ref().map(|key| String::from_utf8_lossy(key)),
        outcome: match &ended.outcome {
            Outcome::Done => state::Outcome::Done,
            Outcome::Skipped => state::Outcome::Skipped,
            Outcome::Overtaken => state::Outcome::Overtaken,
            Outcome::Dead { .. } => state::Outcome::Dead,
            Outcome::Parked { .. } => state::Outcome::Parked,
        },
        attempts: ended.attempts_total,
        replay: ended.record.replay.as_deref().map(Cow::Borrowed),
        // One attempt says no more than the outcome does.
        tried: if ended.attempts_total > 1 { attempts(&ended.attempts) } else { Vec::new() },
    }
}

fn attempts(logs: &[AttemptLog]) -> Vec<Attempt<'_>> {
    logs.iter().map(Attempt::of).collect()
}
