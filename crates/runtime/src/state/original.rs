//! A record as it came from its topic, whole, in whatever keeps it: so that it can be delivered as if it had just come.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Origin, bytes};
use crate::kafka::Record;

/// The original of a dead letter or of a parked record. Its fields stand beside theirs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Original<'a> {
    /// Where the record lies, or lay.
    #[serde(flatten)]
    pub origin: Origin,
    /// Its time in the topic, milliseconds since the Unix epoch.
    pub timestamp_ms: Option<i64>,
    /// Its key.
    #[serde(with = "bytes")]
    pub key: Option<Cow<'a, [u8]>>,
    /// Its value.
    #[serde(with = "bytes")]
    pub value: Option<Cow<'a, [u8]>>,
    /// Its headers, in order.
    pub headers: Vec<Header<'a>>,
    /// The event's id, where it was looked at and could be read.
    pub event_id: Option<Cow<'a, str>>,
}

/// A header of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header<'a> {
    /// Its name.
    pub name: Cow<'a, str>,
    /// Its value.
    #[serde(with = "bytes")]
    pub value: Option<Cow<'a, [u8]>>,
}

impl<'a> Original<'a> {
    /// The same as a record that came.
    #[must_use]
    pub fn of(record: &'a Record, event_id: Option<&'a str>) -> Self {
        let header = |(name, value): (&'a str, Option<&'a [u8]>)| Header {
            name: Cow::Borrowed(name),
            value: value.map(Cow::Borrowed),
        };
        Self {
            origin: Origin { topic: record.topic.to_string(), partition: record.partition, offset: record.offset },
            timestamp_ms: record.timestamp_ms,
            key: record.key.as_deref().map(Cow::Borrowed),
            value: record.value.as_deref().map(Cow::Borrowed),
            headers: record.headers.iter().map(header).collect(),
            event_id: event_id.map(Cow::Borrowed),
        }
    }

    /// The record, as it came.
    #[must_use]
    pub fn record(&self) -> Record {
        Record {
            topic: Arc::from(self.origin.topic.as_str()),
            partition: self.origin.partition,
            offset: self.origin.offset,
            timestamp_ms: self.timestamp_ms,
            key: self.key.as_deref().map(Arc::from),
            value: self.value.as_deref().map(<[u8]>::to_vec),
            headers: self.headers.iter().map(|header| (&*header.name, header.value.as_deref())).collect(),
        }
    }

    /// The last header of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().rev().find(|header| header.name == name).and_then(|header| header.value.as_deref())
    }

    /// Its key as text; bytes that are none are replaced.
    #[must_use]
    pub fn key_text(&self) -> Option<Cow<'_, str>> {
        self.key.as_deref().map(String::from_utf8_lossy)
    }
}
