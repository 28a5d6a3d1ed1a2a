//! What a request has to know of the producer that it is for, and no more: neither mapping nor schema.

use std::sync::Arc;

use tieline_bus::{Producer, Source, Verify};

use super::accept::Accept;

/// A producer's webhook, and who takes what it receives.
#[derive(Clone)]
pub struct Endpoint {
    /// The producer.
    pub producer: Arc<Producer>,
    /// Who maps and publishes.
    pub accept: Arc<dyn Accept>,
}

/// A webhook as requests meet it.
#[derive(Clone)]
pub struct Hook {
    /// The producer's name: a label, and a field of the log.
    pub producer: String,
    /// The path that is posted to.
    pub path: String,
    /// How a call proves who sent it.
    pub verify: Verify,
    /// The name of the header with the delivery's id, in lower case.
    pub id_header: String,
    /// Most bytes of a body.
    pub body_bytes_max: usize,
    /// Who takes what it receives.
    pub accept: Arc<dyn Accept>,
}

impl From<Endpoint> for Hook {
    fn from(endpoint: Endpoint) -> Self {
        let Source::Webhook(webhook) = &endpoint.producer.source;
        Self {
            producer: endpoint.producer.name.clone(),
            path: webhook.path.clone(),
            verify: webhook.verify.clone(),
            id_header: webhook.id_header.clone(),
            body_bytes_max: webhook.body_bytes_max,
            accept: endpoint.accept,
        }
    }
}
