//! A producer's dead letter: a body that was verified but cannot be mapped. Kept whole, with the reason, since senders
//! disable an endpoint that refuses, and with it every later event.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{StateError, bytes, encode};

/// A body that could not become an event. Its key is the delivery's id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnmappedBody<'a> {
    /// The producer that received it.
    pub producer: Cow<'a, str>,
    /// The id of the delivery, as its sender gave it.
    pub delivery_id: Cow<'a, str>,
    /// When it was received, milliseconds since the Unix epoch.
    pub received_ms: i64,
    /// The headers of the request that mappings may read.
    pub headers: Cow<'a, [(String, String)]>,
    /// The body.
    #[serde(with = "bytes")]
    pub body: Option<Cow<'a, [u8]>>,
    /// Why it is none, as a sentence.
    pub reason: Cow<'a, str>,
}

impl UnmappedBody<'_> {
    /// Writes it.
    ///
    /// # Errors
    /// When it is too large for the topic.
    pub fn encode(&self) -> Result<Vec<u8>, StateError> {
        encode("body that could not be mapped", self)
    }
}

impl UnmappedBody<'static> {
    /// Reads it.
    ///
    /// # Errors
    /// When it is none, or of another version.
    pub fn decode(value: &[u8]) -> Result<Self, StateError> {
        super::decode("body that could not be mapped", value)
    }
}
