//! Where a record lies that a state record speaks of: topic, partition and offset. No two records share it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The place of a record. As text, and as the key of its dead letter, `TOPIC-PARTITION-OFFSET`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Origin {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
}

/// Why a text is not the place of a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no place of a record: write TOPIC-PARTITION-OFFSET, as `tieline dead-letters list` shows it")]
pub struct OriginError {
    /// The text.
    pub text: String,
}

impl Origin {
    /// The key of what is kept of it.
    #[must_use]
    pub fn key(&self) -> Vec<u8> {
        self.to_string().into_bytes()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.topic, self.partition, self.offset)
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        // From the right: the name of a topic may hold hyphens and digits too.
        let mut parts = text.rsplitn(3, '-');
        let offset = parts.next().and_then(|offset| offset.parse().ok());
        let partition = parts.next().and_then(|partition| partition.parse().ok());
        match (parts.next(), partition, offset) {
            (Some(topic), Some(partition), Some(offset)) if !topic.is_empty() => {
                Ok(Self { topic: topic.to_owned(), partition, offset })
            }
            _ => Err(OriginError { text: text.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn it_reads_what_it_writes_whatever_the_topic_is_called() {
        for topic in ["crm.deal_stage_changed", "a-1", "1-2-3"] {
            let origin = Origin { topic: topic.to_owned(), partition: 4, offset: 1_042 };
            assert_eq!(origin.to_string().parse::<Origin>().unwrap(), origin);
        }
    }

    #[test]
    fn what_is_no_place_is_refused_with_what_to_write() {
        for text in ["", "evt_123", "topic-1", "-1-2", "topic-x-2"] {
            let error = text.parse::<Origin>().unwrap_err();
            assert!(error.to_string().contains("TOPIC-PARTITION-OFFSET"), "{error}");
        }
    }
}
