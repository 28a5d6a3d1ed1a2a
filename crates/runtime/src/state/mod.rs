//! What a bus keeps in Kafka beside its events: one file for each kind of record, used by whoever writes it and whoever
//! reads it, so that the two cannot drift apart.
//!
//! | topic | record | key | kept |
//! | --- | --- | --- | --- |
//! | `BUS.CONSUMER.ledger` | [`LedgerRecord`]: the outcomes of a commit in one partition | `TOPIC-PARTITION` | deleted with time |
//! | `BUS.CONSUMER.dead-letters` | [`DeadLetter`] | its [`Origin`] | compacted; a tombstone when redriven or discarded |
//! | `BUS.CONSUMER.parked` | [`ParkedRecord`]; [`Hold`] | its [`Origin`]; `hold:` and the held key | compacted; a tombstone ends either |
//! | `BUS.PRODUCER.dead-letters` | [`UnmappedBody`] | the delivery's id | compacted |
//! | `BUS.tieline.control` | [`ControlRecord`]: a [`Command`], or an owner's [`Progress`] | the command's id; of progress, and `/CONSUMER/PARTITION` | compacted |
//!
//! All values are JSON, one version of the format in each, and bytes are base 64. A field that is added is passed over by
//! older releases; whatever changes a meaning raises the version, and is refused by them instead of being guessed at. Each
//! record lies in the partition of the record that it speaks of; commands lie in one partition, so that they have an order.

mod attempt;
mod bytes;
mod control;
mod dead_letter;
mod ledger;
mod origin;
mod original;
mod parked;
mod pauses;
mod tally;
mod unmapped;

pub use attempt::Attempt;
pub use control::{
    Act, Command, ControlRecord, LETTERS_MAX, Lot, Progress, Range, Replay, Stage, Target, control_topic,
};
pub use dead_letter::{DeadLetter, Effect};
pub use ledger::{LedgerEntry, LedgerRecord, Outcome};
pub use origin::{Origin, OriginError};
pub use original::{Header, Original};
pub use parked::{Hold, ParkedRecord, ParkedSketch, StoredRequest};
pub use pauses::Pauses;
pub use tally::Tally;
pub use unmapped::UnmappedBody;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Largest value of a state record, in bytes: what state topics take (3 MiB, `kafka/settings.rs`) less
/// 64 KiB for its key, its headers and the batch around it.
pub const VALUE_BYTES_MAX: usize = (3 << 20) - (64 << 10);

/// The version of all formats of today.
const VERSION: u32 = 1;

/// Why a state record cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another release wrote it.
    #[error("a {what} of version {version} was written by another release; this one reads version {VERSION}")]
    Version {
        /// What it is.
        what: &'static str,
        /// Its version.
        version: u32,
    },
    /// It is cut off, or was never ours.
    #[error("this is not a {what}")]
    Form {
        /// What it should be.
        what: &'static str,
        /// Where that showed.
        #[source]
        cause: serde_json::Error,
    },
    /// It does not go into a state topic.
    #[error("a {what} of {bytes} bytes is larger than the {VALUE_BYTES_MAX} that state topics take")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// Its size.
        bytes: usize,
    },
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    #[serde(flatten)]
    record: T,
}

/// Only the version: it is looked at before anything else is.
#[derive(Deserialize)]
struct Stamp {
    version: u32,
}

fn encode<T: Serialize>(what: &'static str, record: &T) -> Result<Vec<u8>, StateError> {
    let value = serde_json::to_vec(&Versioned { version: VERSION, record })
        .map_err(|cause| StateError::Form { what, cause })?;
    if value.len() > VALUE_BYTES_MAX {
        return Err(StateError::TooLarge { what, bytes: value.len() });
    }
    Ok(value)
}

fn decode<T: DeserializeOwned>(what: &'static str, value: &[u8]) -> Result<T, StateError> {
    let form = |cause| StateError::Form { what, cause };
    let Stamp { version } = serde_json::from_slice(value).map_err(form)?;
    if version != VERSION {
        return Err(StateError::Version { what, version });
    }
    let Versioned { record, .. } = serde_json::from_slice(value).map_err(form)?;
    Ok(record)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_record_of_another_version_is_refused_before_it_is_looked_at() {
        let error = decode::<Origin>("origin", br#"{"version":2,"topic":7}"#).unwrap_err();
        assert!(matches!(error, StateError::Version { version: 2, .. }), "{error}");
        assert!(error.to_string().contains("version 2 was written by another release"), "{error}");
    }

    #[test]
    fn what_does_not_go_into_the_topic_is_refused_before_it_is_sent() {
        let error =
            encode("text", &std::collections::BTreeMap::from([("a", "x".repeat(VALUE_BYTES_MAX))])).unwrap_err();
        assert!(matches!(error, StateError::TooLarge { .. }), "{error}");
    }

    #[test]
    fn the_bound_on_values_leaves_room_in_what_topics_take() {
        let topic: usize = crate::kafka::STATE_RECORD_BYTES_MAX.parse().unwrap();
        assert_eq!(topic - VALUE_BYTES_MAX, 64 << 10);
    }
}
