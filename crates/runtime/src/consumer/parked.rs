//! Parked records of our partitions: where they lie, and how they are read back when the core asks for one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tieline_delivery::{Input, RecordId};

use super::prepare::Delivered;
use super::service::{Done, Service};
use crate::kafka::Place;
use crate::state::{Attempt, ParkedRecord};

/// Where the parked records of each partition lie, by their offset in the topic that they came from.
#[derive(Debug, Default)]
pub(super) struct Places(BTreeMap<i32, HashMap<i64, i64>>);

impl Places {
    /// A partition has become ours, with these.
    pub fn inherit(&mut self, partition: i32, places: HashMap<i64, i64>) {
        self.0.insert(partition, places);
    }

    /// A record was parked.
    pub fn note(&mut self, place: Place) {
        if let Some(places) = self.0.get_mut(&place.partition) {
            places.insert(place.origin, place.offset);
        }
    }

    /// A record is parked no more.
    pub fn end(&mut self, id: RecordId) {
        if let Some(places) = self.0.get_mut(&id.partition.0) {
            places.remove(&id.offset);
        }
    }

    /// A partition is not ours any more.
    pub fn forget(&mut self, partition: i32) {
        self.0.remove(&partition);
    }

    fn of(&self, id: RecordId) -> Option<i64> {
        self.0.get(&id.partition.0)?.get(&id.offset).copied()
    }
}

impl Service {
    /// Reads a parked record back, on a thread that may block.
    pub(super) fn recall(&self, id: RecordId) {
        let (partition, park) = (id.partition.0, Arc::clone(&self.park));
        let Some(place) = self.places.of(id) else {
            let parked = Err("nobody knows where it lies".to_owned());
            self.under_way.push(Box::pin(std::future::ready(Done::Recalled { id, parked })));
            return;
        };
        self.under_way.push(Box::pin(async move {
            let read = tokio::task::spawn_blocking(move || park.record(partition, place)).await;
            let parked = match read {
                Ok(Ok(parked)) => Ok(Box::new(parked)),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("the process is ending".to_owned()),
            };
            Done::Recalled { id, parked }
        }));
    }

    /// A parked record was read back, or could not be.
    pub(super) fn recalled(
        &self,
        id: RecordId,
        parked: Result<Box<ParkedRecord<'static>>, String>,
    ) -> Input<Arc<Delivered>> {
        let parked = match parked {
            Ok(parked) => parked,
            Err(error) => {
                let (partition, offset) = (id.partition.0, id.offset);
                let consumer = &self.consumer.name;
                tracing::error!(consumer, partition, offset, error, "a parked record cannot be read back");
                return Input::RecallFailed { id };
            }
        };
        let record = Arc::new(Delivered::parked(&parked));
        let (state, has_request) = (parked.state(crate::now_ms()), record.request().is_some());
        let attempts = parked.attempts.into_iter().map(Attempt::into_log).collect();
        Input::Recalled { id, bytes: record.record.size(), record, state, attempts, has_request }
    }
}
