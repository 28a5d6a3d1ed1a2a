//! The dead letters of a consumer, as they stand now, chosen by what people know of them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Condition, OperateError, Payload};
use crate::kafka::{Record, TopicReader};
use crate::state::{DeadLetter, Effect, LETTERS_MAX, Origin};

/// Which dead letters. All conditions have to hold; without any, all of them.
#[derive(Debug, Default)]
pub struct Filter {
    /// One of these reasons; any without one.
    pub reasons: Vec<String>,
    /// Dead at or after this time, milliseconds since the Unix epoch.
    pub since_ms: Option<i64>,
    /// Dead before this time.
    pub until_ms: Option<i64>,
    /// Of this key, as text.
    pub key: Option<String>,
    /// One of these, by place or event id; any without one.
    pub named: Vec<String>,
    /// A condition on the payload.
    pub condition: Option<Condition>,
}

/// A dead letter in a list: all but its bytes.
#[derive(Debug, Clone, Serialize)]
pub struct ListedLetter {
    /// Where the original record lies, or lay.
    #[serde(flatten)]
    pub origin: Origin,
    /// The event's id, where it could be read.
    pub event_id: Option<String>,
    /// Its key, as text.
    pub key: Option<String>,
    /// The code of why it is dead.
    pub reason: String,
    /// Why it is dead, as a sentence.
    pub detail: String,
    /// Whether it had its effect all the same.
    pub effect: Effect,
    /// How many attempts there were.
    pub attempts_total: u32,
    /// How often it was redriven.
    pub redriven: u32,
    /// When it died, milliseconds since the Unix epoch.
    pub died_at_ms: i64,
    /// Where the dead letter itself lies: partition and offset in its topic.
    #[serde(skip)]
    pub at: (i32, i64),
}

/// What was found.
#[derive(Debug)]
pub struct Letters {
    /// Those that match, by partition and offset of their originals: the order in which they are redriven.
    pub letters: Vec<ListedLetter>,
    /// How many could not be judged by the condition, since their payload cannot be read. They do not match.
    pub unjudged: usize,
}

/// Reads the dead letters of a topic that match. Holds the list in memory, and one letter at a time.
///
/// # Errors
/// When the topic or the registry cannot be asked, or too many match.
pub fn letters(
    reader: &mut TopicReader,
    topic: &str,
    filter: &Filter,
    payload: &mut Payload,
) -> Result<Letters, OperateError> {
    let mut index = Index { filter, payload, found: BTreeMap::new() };
    let spans = reader.spans(topic)?;
    reader.read_all(topic, &spans, |record| index.take(&record))?;
    let unjudged = index.found.values().filter(|found| matches!(found, Found::Unjudged)).count();
    let letters = index.found.into_values().filter_map(|found| match found {
        Found::Matches(letter) => Some(letter),
        Found::Unjudged => None,
    });
    Ok(Letters { letters: letters.collect(), unjudged })
}

/// The whole of a letter that was listed; none where it is gone meanwhile.
///
/// # Errors
/// When the topic cannot be read.
pub fn letter_of(
    reader: &mut TopicReader,
    topic: &str,
    listed: &ListedLetter,
) -> Result<Option<DeadLetter<'static>>, OperateError> {
    let (partition, offset) = listed.at;
    let Some(record) = reader.record(topic, partition, offset)? else { return Ok(None) };
    record.value.as_deref().map(|value| decode(&record, value)).transpose()
}

/// What the topic has come to, record by record: a later one takes the place of an earlier one of the same origin.
struct Index<'a> {
    filter: &'a Filter,
    payload: &'a mut Payload,
    found: BTreeMap<Origin, Found>,
}

enum Found {
    Matches(ListedLetter),
    Unjudged,
}

impl Index<'_> {
    fn take(&mut self, record: &Record) -> Result<(), OperateError> {
        let key = record.key.as_deref().unwrap_or_default();
        let origin = std::str::from_utf8(key).ok().and_then(|key| key.parse::<Origin>().ok());
        let Some(value) = record.value.as_deref() else {
            // Redriven or discarded.
            if let Some(origin) = origin {
                self.found.remove(&origin);
            }
            return Ok(());
        };
        let letter = decode(record, value)?;
        match self.judge(&letter, record)? {
            Some(found) => self.found.insert(letter.original.origin, found),
            None => self.found.remove(&letter.original.origin),
        };
        if self.found.len() > LETTERS_MAX { Err(OperateError::TooMany) } else { Ok(()) }
    }

    fn judge(&mut self, letter: &DeadLetter<'_>, record: &Record) -> Result<Option<Found>, OperateError> {
        if !self.filter.matches(letter) {
            return Ok(None);
        }
        let holds = match &self.filter.condition {
            Some(condition) => self.payload.holds(condition, letter)?,
            None => Some(true),
        };
        Ok(match holds {
            Some(true) => Some(Found::Matches(ListedLetter::of(letter, record))),
            Some(false) => None,
            None => Some(Found::Unjudged),
        })
    }
}

impl Filter {
    /// Whether all but the condition on the payload hold.
    fn matches(&self, letter: &DeadLetter<'_>) -> bool {
        let origin = letter.original.origin.to_string();
        let is_named = |name: &String| *name == origin || letter.original.event_id.as_deref() == Some(name);
        (self.reasons.is_empty() || self.reasons.iter().any(|reason| *reason == letter.reason))
            && self.since_ms.is_none_or(|since| letter.died_at_ms >= since)
            && self.until_ms.is_none_or(|until| letter.died_at_ms < until)
            && self.key.as_ref().is_none_or(|key| letter.original.key.as_deref() == Some(key.as_bytes()))
            && (self.named.is_empty() || self.named.iter().any(is_named))
    }
}

impl ListedLetter {
    fn of(letter: &DeadLetter<'_>, record: &Record) -> Self {
        Self {
            origin: letter.original.origin.clone(),
            event_id: letter.original.event_id.as_deref().map(str::to_owned),
            key: letter.original.key_text().map(std::borrow::Cow::into_owned),
            reason: letter.reason.clone().into_owned(),
            detail: letter.detail.clone().into_owned(),
            effect: letter.effect,
            attempts_total: letter.attempts_total,
            redriven: letter.redriven,
            died_at_ms: letter.died_at_ms,
            at: (record.partition, record.offset),
        }
    }
}

fn decode(record: &Record, value: &[u8]) -> Result<DeadLetter<'static>, OperateError> {
    DeadLetter::decode(value).map_err(|cause| {
        let place = format!("{}-{}-{}", record.topic, record.partition, record.offset);
        OperateError::Unreadable { place, cause }
    })
}
