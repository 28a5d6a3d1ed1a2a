//! What one consumer has kept of the records that a question is about.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use tieline_bus::{Consumer, OnDeadLetter, Order};
use tieline_delivery::Metadata;

use super::sighting::{Sighting, Sightings};
use super::{OperateError, Question};
use crate::kafka::{ReadError, Record, Span, TopicReader, state_topic};
use crate::state::{
    Command, ControlRecord, DeadLetter, Hold, LedgerEntry, LedgerRecord, Origin, ParkedRecord, Pauses, control_topic,
};

/// What one consumer has kept.
#[derive(Debug)]
pub(super) struct Kept {
    pub consumer: String,
    pub system: String,
    /// Whether later records of a key wait behind its dead letter.
    pub holds: bool,
    /// Where each partition stands, read before all else: what they cover is in the ledger.
    pub positions: BTreeMap<i32, Stand>,
    pub ledger: BTreeMap<(i32, i64), Entry>,
    /// Live dead letters of the records and of their keys, without bytes.
    pub dead: BTreeMap<Origin, DeadLetter<'static>>,
    /// What is parked of the records, without bytes.
    pub parked: BTreeMap<Origin, ParkedRecord<'static>>,
    /// The dead letters that keys are held behind, by the key of their holds.
    pub holds_of_keys: BTreeMap<Vec<u8>, Origin>,
    pub pauses: Pauses,
    pub commands: BTreeMap<String, Command>,
}

/// Where a partition stands.
#[derive(Debug, Clone)]
pub(super) struct Stand {
    pub committed: Option<i64>,
    pub metadata: Option<Metadata>,
}

/// An entry of the ledger, and when it was committed.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub entry: LedgerEntry<'static>,
    pub at_ms: i64,
}

impl Kept {
    /// Reads it, and adds what was not seen in the topic itself.
    pub(super) fn read(
        reader: &mut TopicReader,
        bus: &str,
        consumer: &Consumer,
        question: &Question,
        sightings: &mut Sightings,
    ) -> Result<Self, OperateError> {
        let deliver = &consumer.deliver;
        let mut kept = Self {
            consumer: consumer.name.clone(),
            system: consumer.call.system.name.clone(),
            holds: deliver.on_dead_letter == OnDeadLetter::Hold && deliver.order == Order::Key,
            positions: positions(reader, &consumer.event.topic)?,
            ledger: BTreeMap::new(),
            dead: BTreeMap::new(),
            parked: BTreeMap::new(),
            holds_of_keys: BTreeMap::new(),
            pauses: Pauses::default(),
            commands: BTreeMap::new(),
        };
        let topic = |kind| state_topic(bus, &consumer.name, kind);
        // In the order in which a record moves on: what moves meanwhile is seen where it arrives.
        let since = Some(question.since_ms);
        each(reader, &topic("ledger"), since, |record| kept.note_outcomes(&record, question, sightings))?;
        each(reader, &topic("dead-letters"), None, |record| kept.note_dead_letter(&record, question, sightings))?;
        each(reader, &topic("parked"), None, |record| kept.note_parked(&record, question, sightings))?;
        each(reader, &control_topic(bus), None, |record| kept.note_command(&record))?;
        Ok(kept)
    }

    fn note_dead_letter(&mut self, record: &Record, question: &Question, sightings: &mut Sightings) {
        let Some(origin) = origin_of(record) else { return };
        let letter = record.value.as_deref().and_then(|value| DeadLetter::decode(value).ok());
        let Some(mut letter) = letter else {
            self.dead.remove(&origin);
            return;
        };
        let about =
            question.is_about(letter.original.event_id.as_deref().map(str::as_bytes), letter.original.key.as_deref());
        let key = letter.original.key_text().map(std::borrow::Cow::into_owned);
        if about {
            let text = |name| letter.original.header(name).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
            sightings.see(Sighting {
                event: text("ce_type"),
                event_id: letter.original.event_id.as_deref().map(str::to_owned).or(text("ce_id")),
                key,
                timestamp_ms: letter.original.timestamp_ms,
                ..Sighting::at(&origin)
            });
        }
        // One of the same key may be what the record waits behind.
        if !about && !sightings.has_key(letter.original.key.as_deref()) {
            self.dead.remove(&origin);
            return;
        }
        letter.original.value = None;
        letter.original.headers.clear();
        self.dead.insert(origin, letter);
    }

    fn note_parked(&mut self, record: &Record, question: &Question, sightings: &mut Sightings) {
        let (key, value) = (record.key.as_deref().unwrap_or_default(), record.value.as_deref());
        if Hold::is_one(key) {
            match value.and_then(|value| Hold::decode(value).ok()) {
                Some(hold) => self.holds_of_keys.insert(key.to_vec(), hold.origin),
                None => self.holds_of_keys.remove(key),
            };
            return;
        }
        let Some(origin) = origin_of(record) else { return };
        let Some(mut parked) = value.and_then(|value| ParkedRecord::decode(value).ok()) else {
            self.parked.remove(&origin);
            return;
        };
        if question.is_about(parked.original.event_id.as_deref().map(str::as_bytes), parked.original.key.as_deref()) {
            let key = parked.original.key.as_deref().map(|key| String::from_utf8_lossy(key).into_owned());
            let (event_id, timestamp_ms) =
                (parked.original.event_id.as_deref().map(str::to_owned), parked.original.timestamp_ms);
            sightings.see(Sighting { event_id, key, timestamp_ms, ..Sighting::at(&origin) });
        }
        if sightings.has(&origin) {
            parked.original.value = None;
            parked.request = None;
            self.parked.insert(origin, parked);
        }
    }

    fn note_outcomes(&mut self, record: &Record, question: &Question, sightings: &mut Sightings) {
        let Some(Ok(outcomes)) = record.value.as_deref().map(LedgerRecord::decode) else { return };
        let (topic, partition, at_ms) = (outcomes.topic, outcomes.partition, outcomes.committed_at_ms);
        for entry in outcomes.entries {
            let (id, key) = (entry.event_id.as_deref(), entry.key.as_deref());
            let origin = Origin { topic: topic.to_string(), partition, offset: entry.offset };
            if question.is_about(id.map(str::as_bytes), key.map(str::as_bytes)) {
                let (event_id, key) = (id.map(str::to_owned), key.map(str::to_owned));
                sightings.see(Sighting { event_id, key, ..Sighting::at(&origin) });
            }
            if sightings.has(&origin) {
                self.ledger.insert((partition, entry.offset), Entry { entry, at_ms });
            }
        }
    }

    fn note_command(&mut self, record: &Record) {
        let (key, value) = (record.key.as_deref().unwrap_or_default(), record.value.as_deref());
        if let Some(Ok(ControlRecord::Command(command))) = value.map(|value| ControlRecord::decode(key, value)) {
            self.pauses.take(&command);
            if self.pauses.iter().any(|(_, id)| id == command.id) {
                self.commands.insert(command.id.clone(), command);
            }
        }
    }
}

impl Sighting {
    fn at(origin: &Origin) -> Self {
        let Origin { topic, partition, offset } = origin.clone();
        Self { topic, partition, offset, ..Self::default() }
    }
}

fn positions(reader: &TopicReader, topic: &str) -> Result<BTreeMap<i32, Stand>, ReadError> {
    let stand = |position: crate::kafka::Position| {
        // Text of another release, or none yet: then the offset alone speaks.
        let metadata = Metadata::parse(&position.metadata).ok();
        (position.partition, Stand { committed: position.offset, metadata })
    };
    Ok(reader.committed(topic)?.into_iter().map(stand).collect())
}

/// Reads a state topic to its end; one that is not there yet has kept nothing.
fn each(
    reader: &mut TopicReader,
    topic: &str,
    since_ms: Option<i64>,
    mut take: impl FnMut(Record),
) -> Result<(), ReadError> {
    let spans: Vec<Span> = match reader.spans(topic) {
        Ok(spans) => spans,
        Err(ReadError::NoTopic { .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    let spans = match since_ms {
        Some(since_ms) => reader.since(topic, &spans, since_ms)?,
        None => spans,
    };
    reader.read(topic, &spans, |record| {
        take(record);
        ControlFlow::Continue(())
    })
}

fn origin_of(record: &Record) -> Option<Origin> {
    std::str::from_utf8(record.key.as_deref()?).ok()?.parse().ok()
}
