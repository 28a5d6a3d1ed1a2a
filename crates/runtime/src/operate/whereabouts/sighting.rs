//! The records that a question is about, wherever they were seen: in their topic, or in what is kept of them after that
//! has forgotten them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use tieline_schema::partitioner::partition;

use super::{Question, Subject, Trail, Whereabouts};
use crate::kafka::{ReadError, Record, TopicReader};
use crate::state::Origin;

/// Most records that are followed while a topic is read; older ones make room for newer ones.
const SIGHTINGS_MAX: usize = 10_000;

/// A record that the question is about.
#[derive(Debug, Clone, Default)]
pub(super) struct Sighting {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub event_id: Option<String>,
    pub event: Option<String>,
    pub key: Option<String>,
    pub timestamp_ms: Option<i64>,
}

/// All of them in one topic.
#[derive(Debug)]
pub(super) struct Sightings {
    topic: String,
    by_place: BTreeMap<(i32, i64), Sighting>,
}

impl Question {
    /// Whether it is about a record of this id and key.
    pub(super) fn is_about(&self, event_id: Option<&[u8]>, key: Option<&[u8]>) -> bool {
        let text = Some(self.text.as_bytes());
        match self.is {
            Subject::Either => event_id == text || key == text,
            Subject::Key => key == text,
            Subject::EventId => event_id == text,
        }
    }
}

impl Sightings {
    /// Reads a topic; of a key only its partition.
    pub(super) fn read(reader: &mut TopicReader, topic: &str, question: &Question) -> Result<Self, ReadError> {
        let mut spans = reader.spans(topic)?;
        if question.is == Subject::Key {
            let partitions = u32::try_from(spans.len()).unwrap_or(u32::MAX);
            let its = partition(question.text.as_bytes(), partitions);
            spans.retain(|span| u32::try_from(span.partition) == Ok(its));
        }
        let spans = reader.since(topic, &spans, question.since_ms)?;
        let mut all = Self { topic: topic.to_owned(), by_place: BTreeMap::new() };
        reader.read(topic, &spans, |record| {
            if question.is_about(record.headers.last("ce_id"), record.key.as_deref()) {
                all.see(Sighting::of(&record));
            }
            ControlFlow::Continue(())
        })?;
        Ok(all)
    }

    /// A record is there. What was known of it stays.
    pub(super) fn see(&mut self, sighting: Sighting) {
        if sighting.topic == self.topic {
            self.by_place.entry((sighting.partition, sighting.offset)).or_insert(sighting);
        }
        while self.by_place.len() > SIGHTINGS_MAX {
            let oldest = self.by_place.iter().min_by_key(|(_, s)| s.timestamp_ms).map(|(place, _)| *place);
            let Some(oldest) = oldest else { break };
            self.by_place.remove(&oldest);
        }
    }

    /// Whether this record is one of them.
    pub(super) fn has(&self, origin: &Origin) -> bool {
        origin.topic == self.topic && self.by_place.contains_key(&(origin.partition, origin.offset))
    }

    /// The newest, in the order of their topic.
    pub(super) fn into_newest(self, max: usize) -> Vec<Sighting> {
        let mut all: Vec<Sighting> = self.by_place.into_values().collect();
        all.sort_by_key(|s| std::cmp::Reverse((s.timestamp_ms, s.offset)));
        all.truncate(max);
        all.sort_by_key(|s| (s.partition, s.offset));
        all
    }
}

impl Sighting {
    fn of(record: &Record) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            topic: record.topic.to_string(),
            partition: record.partition,
            offset: record.offset,
            event_id: record.headers.last("ce_id").map(text),
            event: record.headers.last("ce_type").map(text),
            key: record.key.as_deref().map(text),
            timestamp_ms: record.timestamp_ms,
        }
    }

    pub(super) fn origin(&self) -> Origin {
        Origin { topic: self.topic.clone(), partition: self.partition, offset: self.offset }
    }

    pub(super) fn into_trail(self, consumers: Vec<Whereabouts>) -> Trail {
        Trail {
            origin: self.origin(),
            event_id: self.event_id,
            event: self.event,
            key: self.key,
            timestamp_ms: self.timestamp_ms,
            consumers,
        }
    }
}
