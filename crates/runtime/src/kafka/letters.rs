//! The dead letters of a consumer, for the owner that redrives or discards them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

use super::read::{ReadError, Span, TopicReader};
use super::settings::{ConnectError, Connection};
use crate::state::{DeadLetter, Origin, StateError};

/// Why dead letters cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LetterError {
    /// The clients cannot be made.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The topic cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What lies there is none.
    #[error("{origin}: {cause}")]
    Unreadable {
        /// The origin of the dead letter.
        origin: Origin,
        /// What is wrong.
        cause: StateError,
    },
}

/// Reads the topic. It blocks: for threads that may.
#[derive(Debug)]
pub struct LetterTopic {
    connection: Connection,
    group: String,
    name: String,
    /// Its clients are made when somebody orders something: most consumers run for weeks without.
    reader: Mutex<Option<TopicReader>>,
}

impl LetterTopic {
    /// Nothing is connected yet.
    #[must_use]
    pub fn new(connection: &Connection, group: &str, name: String) -> Self {
        Self { connection: connection.clone(), group: group.to_owned(), name, reader: Mutex::new(None) }
    }

    /// Where the dead letters of these origins of one partition lie, as far as they are there still.
    ///
    /// # Errors
    /// When the topic cannot be read.
    pub fn index(&self, origins: &[Origin]) -> Result<BTreeMap<i64, i64>, LetterError> {
        let Some(partition) = origins.first().map(|origin| origin.partition) else { return Ok(BTreeMap::new()) };
        let wanted: BTreeMap<Vec<u8>, i64> = origins.iter().map(|origin| (origin.key(), origin.offset)).collect();
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let reader = self.connected(&mut reader)?;
        let span = reader.span(&self.name, partition)?;
        let mut places = BTreeMap::new();
        reader.read(&self.name, &[span], |record| {
            if let Some(offset) = record.key.as_deref().and_then(|key| wanted.get(key)) {
                match record.value {
                    Some(_) => places.insert(*offset, record.offset),
                    None => places.remove(offset),
                };
            }
            ControlFlow::Continue(())
        })?;
        Ok(places)
    }

    /// Reads dead letters of one partition where they lie, by the offsets of their origins.
    ///
    /// # Errors
    /// When the topic cannot be read, or what lies there is none.
    pub fn letters(
        &self,
        partition: i32,
        places: &BTreeMap<i64, i64>,
    ) -> Result<BTreeMap<i64, DeadLetter<'static>>, LetterError> {
        let (Some(from), Some(last)) = (places.values().min(), places.values().max()) else {
            return Ok(BTreeMap::new());
        };
        let wanted: BTreeMap<i64, i64> = places.iter().map(|(origin, place)| (*place, *origin)).collect();
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let reader = self.connected(&mut reader)?;
        let mut letters = BTreeMap::new();
        let span = Span { partition, from: *from, to: last + 1 };
        reader.read_all::<LetterError>(&self.name, &[span], |record| {
            let (Some(origin), Some(value)) = (wanted.get(&record.offset), record.value) else { return Ok(()) };
            let letter = DeadLetter::decode(&value).map_err(|cause| {
                let origin = Origin { topic: self.name.clone(), partition, offset: record.offset };
                LetterError::Unreadable { origin, cause }
            })?;
            letters.insert(*origin, letter);
            Ok(())
        })?;
        Ok(letters)
    }

    fn connected<'r>(&self, reader: &'r mut Option<TopicReader>) -> Result<&'r mut TopicReader, ConnectError> {
        Ok(match reader {
            Some(reader) => reader,
            None => reader.insert(TopicReader::new(&self.connection, &self.group)?),
        })
    }
}
