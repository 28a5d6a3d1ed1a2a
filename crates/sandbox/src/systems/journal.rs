//! What arrived at the stand-ins, and what they made of it: the evidence that an oracle judges by.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use serde_json::Value;
use tokio::sync::broadcast;

/// How many arrivals are kept; then the oldest go.
const ARRIVALS_MAX: usize = 100_000;

/// How far a subscriber may lag.
const SUBSCRIBER_LAG_MAX: usize = 4_096;

/// A request, as a stand-in saw and answered it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Arrival {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// At which system.
    pub system: String,
    /// Which operation; `None` for a path that the contract does not have.
    pub operation: Option<String>,
    /// `POST`, …
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// What names the thing it is about: the path's parameters, and the body's fields whose names end in `id` or
    /// `reference`.
    pub keys: BTreeMap<String, String>,
    /// The idempotency key, without quotes.
    pub idempotency_key: Option<String>,
    /// SHA-256 of the body, hex.
    pub body_sha256: String,
    /// The body, null where it is none or no JSON.
    pub body: Value,
    /// What was answered.
    pub status: u16,
    /// Whether the connection was closed instead of answering.
    pub dropped: bool,
    /// Whether it made an effect now.
    pub applied: bool,
    /// Whether it was answered from what the idempotency key's first request had made.
    pub replayed: bool,
    /// The W3C trace context that came with it.
    pub traceparent: Option<String>,
}

/// The arrivals of all systems.
#[derive(Debug)]
pub struct Journal {
    arrivals: Mutex<VecDeque<Arrival>>,
    subscribers: broadcast::Sender<Arrival>,
}

impl Default for Journal {
    fn default() -> Self {
        Self { arrivals: Mutex::default(), subscribers: broadcast::Sender::new(SUBSCRIBER_LAG_MAX) }
    }
}

impl Journal {
    pub(super) fn write(&self, arrival: Arrival) {
        let mut arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        if arrivals.len() >= ARRIVALS_MAX {
            arrivals.pop_front();
        }
        arrivals.push_back(arrival.clone());
        let _ = self.subscribers.send(arrival); // nobody may be listening
    }

    pub(super) fn all(&self) -> Vec<Arrival> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Arrival> {
        self.subscribers.subscribe()
    }
}
