//! A body that was verified but cannot be mapped: kept whole, with the reason, since senders disable an endpoint that
//! refuses, and with it every later event.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::Delivery;

/// The value of a producer's dead letter. Its key is the delivery's id.
#[derive(Debug, Serialize)]
pub(super) struct DeadLetter<'a> {
    version: u32,
    producer: &'a str,
    delivery_id: &'a str,
    received_ms: i64,
    headers: &'a [(String, String)],
    /// Base 64.
    body: String,
    reason: &'a str,
}

impl<'a> DeadLetter<'a> {
    pub fn new(producer: &'a str, delivery: &'a Delivery, reason: &'a str) -> Self {
        Self {
            version: 1,
            producer,
            delivery_id: &delivery.id,
            received_ms: delivery.received_ms,
            headers: &delivery.headers,
            body: STANDARD.encode(&delivery.body),
            reason,
        }
    }
}
