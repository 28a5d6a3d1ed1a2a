//! The records that a question is about, wherever they were seen: in their topic, or in what is kept of them after that
//! has forgotten them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use tieline_schema::partitioner::partition;

use super::{Question, Subject, Trail, Whereabouts};
use crate::kafka::{ReadError, Record, TopicReader};
use crate::state::Origin;

/// Most records that are followed while a topic is read, some 10 MB: at twice as many, the older half makes room.
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
    keys: BTreeSet<Vec<u8>>,
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
        let mut all = Self { topic: topic.to_owned(), by_place: BTreeMap::new(), keys: BTreeSet::new() };
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
        if sighting.topic != self.topic {
            return;
        }
        if let Some(key) = &sighting.key {
            self.keys.insert(key.clone().into_bytes());
        }
        self.by_place.entry((sighting.partition, sighting.offset)).or_insert(sighting);
        if self.by_place.len() >= 2 * SIGHTINGS_MAX {
            let newest = std::mem::take(&mut self.by_place).into_values();
            self.by_place =
                newest_of(newest, SIGHTINGS_MAX).into_iter().map(|s| ((s.partition, s.offset), s)).collect();
        }
    }

    /// Whether one of them has this key.
    pub(super) fn has_key(&self, key: Option<&[u8]>) -> bool {
        key.is_some_and(|key| self.keys.contains(key))
    }

    /// Whether this record is one of them.
    pub(super) fn has(&self, origin: &Origin) -> bool {
        origin.topic == self.topic && self.by_place.contains_key(&(origin.partition, origin.offset))
    }

    /// The newest, in the order of their topic.
    pub(super) fn into_newest(self, max: usize) -> Vec<Sighting> {
        let mut newest = newest_of(self.by_place.into_values(), max);
        newest.sort_by_key(|s| (s.partition, s.offset));
        newest
    }
}

fn newest_of(sightings: impl Iterator<Item = Sighting>, max: usize) -> Vec<Sighting> {
    let mut all: Vec<Sighting> = sightings.collect();
    all.sort_by_key(|s| std::cmp::Reverse((s.timestamp_ms, s.offset)));
    all.truncate(max);
    all
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_records_the_newest_are_followed_in_the_order_of_their_topic() {
        let mut all = Sightings { topic: "t".to_owned(), by_place: BTreeMap::new(), keys: BTreeSet::new() };
        let count = 3 * i64::try_from(SIGHTINGS_MAX).unwrap_or(0);
        for n in 0..count {
            let (topic, key) = ("t".to_owned(), Some("acme".to_owned()));
            // The younger a record, the lower its offset: only its time counts.
            all.see(Sighting { topic, key, offset: count - n, timestamp_ms: Some(n), ..Sighting::default() });
        }
        all.see(Sighting { topic: "other".to_owned(), offset: -1, timestamp_ms: Some(count), ..Sighting::default() });
        assert!(all.by_place.len() < 2 * SIGHTINGS_MAX);
        assert!(all.has_key(Some(b"acme")) && !all.has_key(Some(b"globex")) && !all.has_key(None));
        let newest: Vec<i64> = all.into_newest(3).iter().map(|s| s.offset).collect();
        assert_eq!(newest, [1, 2, 3]);
    }
}
