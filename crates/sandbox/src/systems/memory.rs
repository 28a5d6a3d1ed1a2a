//! What a stand-in remembers: its objects, and what it answered under which idempotency key.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use serde_json::{Value, json};

use super::response::as_text;

/// How many objects are kept; then a system has no room (507).
const OBJECTS_MAX: usize = 100_000;

/// How many idempotency keys are remembered; then the oldest are forgotten.
const KEYS_MAX: usize = 100_000;

/// All that a stand-in remembers.
#[derive(Debug, Default)]
pub struct Memory {
    /// Objects by collection (a path, without a slash at its end), then id.
    objects: BTreeMap<String, BTreeMap<String, Value>>,
    /// How many were ever made in a collection.
    serials: BTreeMap<String, u64>,
    effects: BTreeMap<String, Effect>,
    effects_in_order: VecDeque<String>,
    /// Keys whose first request is not answered yet, and until when.
    under_way: BTreeMap<String, Instant>,
}

/// What a request has done, and how it was answered.
#[derive(Debug, Clone)]
pub struct Effect {
    /// Of the request that did it: operation, path and body.
    pub fingerprint: String,
    /// The answer's status.
    pub status: u16,
    /// The answer's body.
    pub body: Option<Value>,
    /// Where the object is, if it is new.
    pub location: Option<String>,
    /// The version of the object, where one is told.
    pub etag: Option<String>,
}

impl Memory {
    /// Puts in what it knows from the start: objects by collection.
    pub fn seed(&mut self, collection: &str, objects: &[Value]) {
        for object in objects {
            let names = ["id", "key", "code", "name"];
            let Some(id) = names.iter().find_map(|name| object.get(*name)) else { continue };
            self.objects.entry(collection.to_owned()).or_default().insert(as_text(id), object.clone());
        }
    }

    /// The number of the next object of a collection.
    pub fn next_serial(&mut self, collection: &str) -> u64 {
        let serial = self.serials.entry(collection.to_owned()).or_default();
        *serial += 1;
        *serial
    }

    /// An object; one of a seed whose collection is named by its last part alone is found too.
    pub fn object(&self, collection: &str, id: &str) -> Option<&Value> {
        self.collections(collection).find_map(|objects| objects.get(id))
    }

    /// Whether anything is known of a collection from the start or since.
    pub fn objects_of(&self, collection: &str) -> Vec<&Value> {
        self.collections(collection).flat_map(BTreeMap::values).collect()
    }

    fn collections<'m>(&'m self, collection: &str) -> impl Iterator<Item = &'m BTreeMap<String, Value>> + use<'m> {
        let last = collection.rsplit('/').next().unwrap_or_default();
        [self.objects.get(collection), self.objects.get(last)].into_iter().flatten()
    }

    /// Keeps an object. Says whether there was room.
    #[must_use]
    pub fn keep(&mut self, collection: &str, id: &str, object: Value) -> bool {
        let count: usize = self.objects.values().map(BTreeMap::len).sum();
        if count >= OBJECTS_MAX && self.object(collection, id).is_none() {
            return false;
        }
        self.objects.entry(collection.to_owned()).or_default().insert(id.to_owned(), object);
        true
    }

    /// Forgets an object.
    pub fn remove(&mut self, collection: &str, id: &str) -> bool {
        let last = collection.rsplit('/').next().unwrap_or_default().to_owned();
        let mut removed = false;
        for collection in [collection, &last] {
            removed |= self.objects.get_mut(collection).is_some_and(|objects| objects.remove(id).is_some());
        }
        removed
    }

    /// What was done under an idempotency key.
    pub fn effect(&self, key: &str) -> Option<&Effect> {
        self.effects.get(key)
    }

    /// Remembers what was done under an idempotency key.
    pub fn remember(&mut self, key: String, effect: Effect) {
        if self.effects_in_order.len() >= KEYS_MAX
            && let Some(oldest) = self.effects_in_order.pop_front()
        {
            self.effects.remove(&oldest);
        }
        self.effects_in_order.push_back(key.clone());
        self.effects.insert(key, effect);
    }

    /// Whether the first request of a key is not answered yet.
    pub fn is_under_way(&self, key: &str, now: Instant) -> bool {
        self.under_way.get(key).is_some_and(|until| *until > now)
    }

    /// Notes until when the first request of a key is not answered.
    pub fn note_under_way(&mut self, key: String, now: Instant, until: Instant) {
        self.under_way.retain(|_, until| *until > now);
        self.under_way.insert(key, until);
    }

    /// All objects, by collection.
    pub fn objects(&self) -> Value {
        json!(self.objects)
    }
}
