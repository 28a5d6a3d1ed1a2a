//! Producers: what a source adapter hands over is mapped, validated and published.

mod made;
mod publisher;
mod repeats;

pub use made::Made;
pub use publisher::{Publisher, StartError, schema_id};

use serde_json::Value;

/// A body that a system sent us, verified and parsed.
#[derive(Debug)]
pub struct Delivery {
    /// The id that the sender gave to it: the same when it is sent again.
    pub id: String,
    /// The request's headers, names in lower case; the first value of each. Without credentials and signatures.
    pub headers: Vec<(String, String)>,
    /// The body as it came.
    pub body: Vec<u8>,
    /// The body as JSON.
    pub json: Value,
    /// When it came, milliseconds since the Unix epoch.
    pub received_ms: i64,
    /// The sender's W3C `traceparent`, where it sent one that is well-formed.
    pub traceparent: Option<String>,
}

/// What became of a body: in each case the broker has acknowledged it, or nothing had to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// It is an event.
    Published {
        /// CloudEvents' `id`.
        event_id: String,
        /// The event's type.
        event: String,
    },
    /// No rule takes it.
    Ignored,
    /// It cannot be mapped, and is kept as a dead letter of the producer.
    DeadLettered {
        /// Why.
        reason: String,
    },
}

/// Nothing was kept: the sender has to come again.
#[derive(Debug, thiserror::Error)]
#[error("the broker did not acknowledge: {reason}")]
pub struct NotAccepted {
    /// Why.
    pub reason: String,
}
