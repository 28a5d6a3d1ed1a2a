//! Where an event is: what became of it in every consumer, or what it waits for there.
//!
//! Put together from what lies in Kafka, so that it can be asked while nothing runs: the topic itself, and for each
//! consumer its committed offsets with what stands beside them, its ledger, its dead letters and what it has parked.

mod kept;
mod sighting;
mod verdict;

use std::collections::BTreeMap;

use serde::Serialize;
use tieline_bus::{Bus, Consumer};

use self::kept::Kept;
use self::sighting::{Sighting, Sightings};
use super::OperateError;
use crate::kafka::{Connection, TopicReader, group_of};
use crate::state::{Attempt, Origin};

/// What is looked for.
#[derive(Debug, Clone)]
pub struct Question {
    /// The id of an event, or a key as text.
    pub text: String,
    /// What the text is; a key spares the other partitions.
    pub is: Subject,
    /// How far back topics and ledgers are read, milliseconds since the Unix epoch. Dead letters and what is parked are
    /// found however old they are.
    pub since_ms: i64,
    /// Most records of one topic that are followed: the newest.
    pub records_max: usize,
}

/// What a question's text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// An event's id, or a key: whatever it fits.
    Either,
    /// A key.
    Key,
    /// An event's id.
    EventId,
}

/// A record, and where it is in each consumer.
#[derive(Debug, Clone, Serialize)]
pub struct Trail {
    /// Where it lies, or lay.
    #[serde(flatten)]
    pub origin: Origin,
    /// The event's id, where it could be read.
    pub event_id: Option<String>,
    /// The event's type, where the record is still there.
    pub event: Option<String>,
    /// Its key, as text.
    pub key: Option<String>,
    /// Its time in the topic, milliseconds since the Unix epoch, where the record is still there.
    pub timestamp_ms: Option<i64>,
    /// In each consumer of its topic.
    pub consumers: Vec<Whereabouts>,
}

/// Where a record is in one consumer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Whereabouts {
    /// The consumer.
    pub consumer: String,
    /// In a word.
    pub state: State,
    /// When that came about, where it is known; milliseconds since the Unix epoch.
    pub at_ms: Option<i64>,
    /// How many attempts there were, where it is known.
    pub attempts: Option<u32>,
    /// Why, or what it waits for, as a sentence; may be empty.
    pub why: String,
    /// The attempts, where they are kept: of dead letters, of what is parked, and of what took more than one.
    pub tried: Vec<Attempt<'static>>,
}

/// Where a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// The effect is confirmed.
    Done,
    /// The consumer's own `when` passed it by, or it is of another type.
    Skipped,
    /// A newer record of its key made it moot.
    Superseded,
    /// It is a dead letter.
    Dead,
    /// It is set aside and tried again on its schedule.
    Parked,
    /// It waits behind a dead letter of its key.
    Held,
    /// A replica has it.
    UnderWay,
    /// No replica has reached it.
    Waiting,
    /// Nothing in Kafka says.
    Unknown,
}

impl State {
    /// The word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Skipped => "skipped",
            Self::Superseded => "superseded",
            Self::Dead => "dead",
            Self::Parked => "parked",
            Self::Held => "held",
            Self::UnderWay => "under way",
            Self::Waiting => "waiting",
            Self::Unknown => "unknown",
        }
    }
}

/// Follows an event, or all records of a key, through every consumer of their topics. Blocks.
///
/// # Errors
/// When Kafka cannot be asked.
pub fn whereabouts(connection: &Connection, bus: &Bus, question: &Question) -> Result<Vec<Trail>, OperateError> {
    let mut by_topic: BTreeMap<&str, Vec<&Consumer>> = BTreeMap::new();
    for consumer in bus.consumers.values() {
        by_topic.entry(&consumer.event.topic).or_default().push(consumer);
    }
    let mut trails = Vec::new();
    for (topic, consumers) in by_topic {
        trails.extend(in_topic(connection, bus, question, topic, &consumers)?);
    }
    Ok(trails)
}

fn in_topic(
    connection: &Connection,
    bus: &Bus,
    question: &Question,
    topic: &str,
    consumers: &[&Consumer],
) -> Result<Vec<Trail>, OperateError> {
    let mut sightings = None;
    let mut each = Vec::with_capacity(consumers.len());
    for consumer in consumers {
        let mut reader = TopicReader::new(connection, &group_of(&bus.name, &consumer.name))?;
        // The first one reads the topic for all.
        if sightings.is_none() {
            sightings = Some(Sightings::read(&mut reader, topic, question)?);
        }
        if let Some(sightings) = &mut sightings {
            each.push(Kept::read(&mut reader, &bus.name, consumer, question, sightings)?);
        }
    }
    let newest = sightings.map(|s| s.into_newest(question.records_max)).unwrap_or_default();
    let trail = |sighting: Sighting| {
        let consumers = each.iter().map(|kept| kept.verdict(&sighting)).collect();
        sighting.into_trail(consumers)
    };
    Ok(newest.into_iter().map(trail).collect())
}
