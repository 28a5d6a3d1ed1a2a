//! A dead letter: a record whose delivery has ended without success, whole, so that it can be delivered again as if it had
//! just come, with all that a person needs to find out why.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{Attempt, Original, StateError, encode};
use crate::system::Sent;

/// A dead letter. Its key is its origin's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter<'a> {
    /// The record itself.
    #[serde(flatten)]
    pub original: Original<'a>,
    /// The code of why it is dead: `undecodable`, `http-422`.
    pub reason: Cow<'a, str>,
    /// Why it is dead, as a sentence.
    pub detail: Cow<'a, str>,
    /// Whether it had its effect all the same.
    pub effect: Effect,
    /// What its attempts left behind, as far as one effect goes: what a redrive has to know.
    #[serde(default)]
    pub sent: Sent,
    /// How often it was redriven before it died (again).
    #[serde(default)]
    pub redriven: u32,
    /// The order by which it was replayed, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<Cow<'a, str>>,
    /// How many attempts there were.
    pub attempts_total: u32,
    /// The attempts: the first 3 and the last 20.
    pub attempts: Vec<Attempt<'a>>,
    /// When it died, milliseconds since the Unix epoch.
    pub died_at_ms: i64,
}

/// Whether a call that did not end well had its effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Nothing was applied.
    None,
    /// An attempt may have been applied.
    Unknown,
    /// The effect exists: what had to be read of the answer could not be. Never to be sent again.
    Exists,
}

impl Effect {
    /// The word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Unknown => "unknown",
            Self::Exists => "exists",
        }
    }
}

impl DeadLetter<'_> {
    /// Writes it. Its size is that of the original and a third, and at most 23 excerpts of 512 bytes.
    ///
    /// # Errors
    /// When it is too large for the topic.
    pub fn encode(&self) -> Result<Vec<u8>, StateError> {
        encode("dead letter", self)
    }
}

impl DeadLetter<'static> {
    /// Reads it.
    ///
    /// # Errors
    /// When it is none, or of another version.
    pub fn decode(value: &[u8]) -> Result<Self, StateError> {
        super::decode("dead letter", value)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use proptest::prelude::*;

    use super::*;
    use crate::state::{Header, Origin};

    fn letter(key: Option<Vec<u8>>, value: Option<Vec<u8>>, header: Option<Vec<u8>>) -> DeadLetter<'static> {
        DeadLetter {
            original: Original {
                origin: Origin { topic: "crm.deals".to_owned(), partition: 2, offset: 77 },
                timestamp_ms: Some(5),
                key: key.map(Cow::Owned),
                value: value.map(Cow::Owned),
                headers: vec![
                    Header { name: "ce_id".into(), value: Some(b"old".as_slice().into()) },
                    Header { name: "ce_id".into(), value: header.map(Cow::Owned) },
                ],
                event_id: Some("evt_1".into()),
            },
            reason: "http-422".into(),
            detail: "the amount is negative".into(),
            effect: Effect::None,
            sent: Sent::in_round(1),
            redriven: 2,
            replay: None,
            attempts_total: 1,
            attempts: vec![Attempt { at_ms: 6, status: Some(422), excerpt: "no".into() }],
            died_at_ms: 7,
        }
    }

    #[test]
    fn the_last_header_of_a_name_counts() {
        assert_eq!(letter(None, None, Some(b"new".to_vec())).original.header("ce_id"), Some(b"new".as_slice()));
        assert_eq!(letter(None, None, None).original.header("other"), None);
    }

    proptest! {
        #[test]
        fn the_original_comes_back_byte_for_byte(
            key in any::<Option<Vec<u8>>>(), value in any::<Option<Vec<u8>>>(), header in any::<Option<Vec<u8>>>()
        ) {
            let letter = letter(key, value, header);
            prop_assert_eq!(DeadLetter::decode(&letter.encode().unwrap()).unwrap(), letter);
        }
    }
}
