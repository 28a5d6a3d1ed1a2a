//! A parked record: set aside because its key fails while others go through, whole, so that it can be delivered when its
//! time has come; and a hold, which keeps a key parked behind its dead letter.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use tieline_delivery::ParkedState;

use super::{Attempt, Origin, Original, StateError, bytes, encode};
use crate::system::Sent;

/// What a hold's key begins with; the held key follows. An origin's never does: topics have no colon in their names.
const HOLD: &[u8] = b"hold:";

/// A parked record. Its key is its origin's, so that the latest state of each is what compaction keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParkedRecord<'a> {
    /// The record itself.
    #[serde(flatten)]
    pub original: Original<'a>,
    /// The code of its last failure, or of why it waits: `http-503`, `behind`, `redriven`.
    pub reason: Cow<'a, str>,
    /// The same as a sentence.
    pub detail: Cow<'a, str>,
    /// When it failed first; none while it only waits behind another record.
    pub failing_since_ms: Option<i64>,
    /// How many attempts of the park schedule were made.
    pub steps: u32,
    /// Whether an attempt may have been applied.
    pub maybe_applied: bool,
    /// What its attempts left behind, as far as one effect goes.
    #[serde(default)]
    pub sent: Sent,
    /// Records parked behind it, before this offset, may have been tried as well.
    #[serde(default)]
    pub unknown_below: Option<i64>,
    /// The request of an attempt that may have been applied: the same goes out again.
    #[serde(default)]
    pub request: Option<StoredRequest<'a>>,
    /// How often it was redriven.
    #[serde(default)]
    pub redriven: u32,
    /// The order by which it is replayed, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<Cow<'a, str>>,
    /// How many attempts there were.
    pub attempts_total: u32,
    /// The attempts: the first 3 and the last 20.
    pub attempts: Vec<Attempt<'a>>,
    /// When it is tried again, at the earliest; of a record behind another one, when it was parked.
    pub retry_at_ms: i64,
}

/// A request as it was sent, without credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredRequest<'a> {
    /// The values of the operation's parameters.
    pub parameters: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// The body.
    #[serde(with = "bytes")]
    pub body: Option<Cow<'a, [u8]>>,
    /// What was looked up for it, for the follow-up event.
    pub looked_up: Vec<(Cow<'a, str>, Cow<'a, serde_json::Value>)>,
}

/// What of a parked record its owner keeps in memory.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ParkedSketch {
    /// Where the record lies, or lay.
    #[serde(flatten)]
    pub origin: Origin,
    /// Its key.
    #[serde(with = "bytes")]
    pub key: Option<Cow<'static, [u8]>>,
    /// As in [`ParkedRecord`].
    #[serde(default)]
    pub unknown_below: Option<i64>,
    /// As in [`ParkedRecord`].
    pub retry_at_ms: i64,
}

/// A hold: the dead letter that a key waits behind, or that the next record of its key makes moot. Its key is `hold:` and
/// the key of the dead letter, also where the whole partition waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold<'a> {
    /// Where the dead letter's record lies, or lay.
    #[serde(flatten)]
    pub origin: Origin,
    /// The key of the dead letter.
    #[serde(with = "bytes")]
    pub key: Option<Cow<'a, [u8]>>,
    /// Since when, milliseconds since the Unix epoch.
    pub held_at_ms: i64,
}

impl ParkedRecord<'_> {
    /// Writes it.
    ///
    /// # Errors
    /// When it is too large for the topic.
    pub fn encode(&self) -> Result<Vec<u8>, StateError> {
        encode("parked record", self)
    }

    /// What the core has to know of it, as of now.
    #[must_use]
    pub fn state(&self, now_ms: i64) -> ParkedState {
        let ms =
            |since: i64| std::time::Duration::from_millis(u64::try_from(now_ms.saturating_sub(since)).unwrap_or(0));
        ParkedState {
            failing_for: self.failing_since_ms.map(ms).unwrap_or_default(),
            steps: self.steps,
            attempts_total: self.attempts_total,
            maybe_applied: self.maybe_applied,
            unknown_below: self.unknown_below,
        }
    }
}

impl ParkedRecord<'static> {
    /// Reads it.
    ///
    /// # Errors
    /// When it is none, or of another version.
    pub fn decode(value: &[u8]) -> Result<Self, StateError> {
        super::decode("parked record", value)
    }
}

impl ParkedSketch {
    /// Reads what the owner keeps in memory of a parked record.
    ///
    /// # Errors
    /// When it is none, or of another version.
    pub fn decode(value: &[u8]) -> Result<Self, StateError> {
        super::decode("parked record", value)
    }
}

impl Hold<'_> {
    /// The key under which a key is held, or the whole partition.
    #[must_use]
    pub fn record_key(key: Option<&[u8]>) -> Vec<u8> {
        [HOLD, key.unwrap_or_default()].concat()
    }

    /// Whether a record of this key is a hold.
    #[must_use]
    pub fn is_one(record_key: &[u8]) -> bool {
        record_key.starts_with(HOLD)
    }

    /// Writes it.
    ///
    /// # Errors
    /// When it is too large for the topic.
    pub fn encode(&self) -> Result<Vec<u8>, StateError> {
        encode("hold", self)
    }
}

impl Hold<'static> {
    /// Reads it.
    ///
    /// # Errors
    /// When it is none, or of another version.
    pub fn decode(value: &[u8]) -> Result<Self, StateError> {
        super::decode("hold", value)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::time::Duration;

    use super::*;
    use crate::state::Header;

    fn origin() -> Origin {
        Origin { topic: "crm.deals".to_owned(), partition: 2, offset: 77 }
    }

    fn parked() -> ParkedRecord<'static> {
        ParkedRecord {
            original: Original {
                origin: origin(),
                timestamp_ms: Some(5),
                key: Some(b"acme".as_slice().into()),
                value: Some(vec![0, 255].into()),
                headers: vec![Header { name: "ce_id".into(), value: Some(b"1".as_slice().into()) }],
                event_id: Some("evt_1".into()),
            },
            reason: "http-503".into(),
            detail: "busy".into(),
            failing_since_ms: Some(1_000),
            steps: 2,
            maybe_applied: true,
            sent: Sent::default(),
            unknown_below: Some(80),
            request: Some(StoredRequest {
                parameters: vec![("id".into(), "7".into())],
                body: Some(b"{}".as_slice().into()),
                looked_up: vec![("manager".into(), Cow::Owned(serde_json::json!({ "name": "Ada" })))],
            }),
            redriven: 1,
            replay: None,
            attempts_total: 9,
            attempts: vec![Attempt { at_ms: 6, status: Some(503), excerpt: "busy".into() }],
            retry_at_ms: 60_000,
        }
    }

    #[test]
    fn what_is_written_is_read_whole_and_as_a_sketch() {
        let value = parked().encode().unwrap();
        assert_eq!(ParkedRecord::decode(&value).unwrap(), parked());
        let sketch = ParkedSketch::decode(&value).unwrap();
        assert_eq!((sketch.origin, sketch.retry_at_ms, sketch.unknown_below), (origin(), 60_000, Some(80)));
        assert_eq!(sketch.key.as_deref(), Some(&b"acme"[..]));
    }

    #[test]
    fn its_age_is_counted_from_its_first_failure_and_never_backwards() {
        assert_eq!(parked().state(4_000).failing_for, Duration::from_secs(3));
        assert_eq!(parked().state(0).failing_for, Duration::ZERO); // a clock that goes after
        assert_eq!(ParkedRecord { failing_since_ms: None, ..parked() }.state(4_000).failing_for, Duration::ZERO);
    }

    #[test]
    fn a_hold_is_told_from_a_parked_record_by_its_key() {
        assert!(Hold::is_one(&Hold::record_key(Some(b"acme"))) && Hold::is_one(&Hold::record_key(None)));
        assert!(!Hold::is_one(&origin().key()));
        let hold = Hold { origin: origin(), key: None, held_at_ms: 3 };
        assert_eq!(Hold::decode(&hold.encode().unwrap()).unwrap(), hold);
    }
}
