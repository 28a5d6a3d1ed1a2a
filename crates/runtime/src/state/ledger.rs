//! The ledger: what became of each record of a consumer, written in the commit that covers it.
//!
//! One record for each commit and partition, so that it costs little; the attempts stand in it only where there was more
//! than one, since a single one says no more than the outcome does.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{Attempt, StateError, encode};

/// How large the entries of one record may get, in bytes. A third of what the topic takes, since JSON's escapes can make
/// a text longer than it is counted here.
const ENTRIES_BYTES_MAX: usize = 1 << 20;

/// Bytes of an entry beside its texts.
const ENTRY_BYTES: usize = 100;

/// A record of the ledger: outcomes of one commit in one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerRecord<'a> {
    /// The topic of the records that it speaks of.
    pub topic: Cow<'a, str>,
    /// Their partition.
    pub partition: i32,
    /// When they were committed, milliseconds since the Unix epoch.
    pub committed_at_ms: i64,
    /// The outcomes, in the order in which they came about.
    pub entries: Vec<LedgerEntry<'a>>,
}

/// What became of one record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry<'a> {
    /// Its offset.
    pub offset: i64,
    /// The event's id, where it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<Cow<'a, str>>,
    /// Its key as text; bytes that are none are replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Cow<'a, str>>,
    /// What became of it.
    pub outcome: Outcome,
    /// How many attempts there were.
    pub attempts: u32,
    /// The order by which it was replayed, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<Cow<'a, str>>,
    /// The attempts, where there was more than one: the first 3 and the last 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<Attempt<'a>>,
}

/// What became of a record, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The effect is confirmed.
    Done,
    /// The consumer's own `when` passed it by, or it is of another type.
    Skipped,
    /// It is a dead letter.
    Dead,
    /// It is parked, which is not final: a later entry says what became of it.
    Parked,
    /// A newer record of its key made it moot.
    Superseded,
    /// It was replayed, and not sent, since a newer record of its key had come before it. What became of it before stands.
    Overtaken,
}

impl Outcome {
    /// The word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Skipped => "skipped",
            Self::Dead => "dead",
            Self::Parked => "parked",
            Self::Superseded => "superseded",
            Self::Overtaken => "overtaken",
        }
    }
}

impl<'a> LedgerRecord<'a> {
    /// The key of what is written about a partition.
    #[must_use]
    pub fn key(topic: &str, partition: i32) -> Vec<u8> {
        format!("{topic}-{partition}").into_bytes()
    }

    /// Cuts entries up into as many records as the topic's bound asks for; nearly always one.
    #[must_use]
    pub fn cut(entries: Vec<LedgerEntry<'a>>) -> Vec<Vec<LedgerEntry<'a>>> {
        let (mut records, mut bytes) = (vec![Vec::new()], 0);
        for entry in entries {
            let entry_bytes = entry.bytes();
            if bytes + entry_bytes > ENTRIES_BYTES_MAX && bytes > 0 {
                records.push(Vec::new());
                bytes = 0;
            }
            bytes += entry_bytes;
            if let Some(last) = records.last_mut() {
                last.push(entry);
            }
        }
        records
    }

    /// Writes it.
    ///
    /// # Errors
    /// When it is too large for the topic.
    pub fn encode(&self) -> Result<Vec<u8>, StateError> {
        encode("ledger record", self)
    }
}

impl LedgerRecord<'static> {
    /// Reads it.
    ///
    /// # Errors
    /// When it is none, or of another version.
    pub fn decode(value: &[u8]) -> Result<Self, StateError> {
        super::decode("ledger record", value)
    }
}

impl LedgerEntry<'_> {
    fn bytes(&self) -> usize {
        let texts = self.event_id.as_ref().map_or(0, |id| id.len()) + self.key.as_ref().map_or(0, |key| key.len());
        let tried: usize = self.tried.iter().map(|attempt| ENTRY_BYTES + attempt.excerpt.len()).sum();
        ENTRY_BYTES + texts + tried
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn entry(offset: i64, key: &str) -> LedgerEntry<'_> {
        let tried = vec![Attempt { at_ms: 7, status: Some(503), excerpt: "busy".into() }];
        let (event_id, key) = (Some("evt_1".into()), Some(key.into()));
        LedgerEntry { offset, event_id, key, outcome: Outcome::Done, attempts: 2, replay: None, tried }
    }

    #[test]
    fn what_is_written_is_read() {
        let record =
            LedgerRecord { topic: "t".into(), partition: 3, committed_at_ms: 9, entries: vec![entry(1, "acme")] };
        let value = record.encode().unwrap();
        let text = r#"{"version":1,"topic":"t","partition":3,"committed_at_ms":9,"entries":[{"offset":1,"event_id":"evt_1","key":"acme","outcome":"done","attempts":2,"tried":[{"at_ms":7,"status":503,"excerpt":"busy"}]}]}"#;
        assert_eq!(String::from_utf8(value.clone()).unwrap(), text);
        assert_eq!(LedgerRecord::decode(&value).unwrap(), record);
    }

    #[test]
    fn a_commit_of_large_keys_becomes_several_records_that_each_fit() {
        let key = "\u{1}".repeat(300_000); // the worst there is: 6 bytes of JSON for each
        let records = LedgerRecord::cut((0..10).map(|offset| entry(offset, &key)).collect());
        assert_eq!(records.len(), 4);
        let offsets: Vec<i64> = records.iter().flatten().map(|entry| entry.offset).collect();
        assert_eq!(offsets, (0..10).collect::<Vec<_>>());
        let small = LedgerRecord::cut((0..1_000).map(|offset| entry(offset, "acme")).collect());
        assert_eq!(small.len(), 1);
    }
}
