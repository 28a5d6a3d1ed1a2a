//! An event type: a schema of `schemas/`, and the topic that it is published to.

use std::sync::Arc;

use tieline_schema::avro::EventSchema;

/// An event type of the bus.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its name, `crm.deal_stage_changed`: the name of its file without `.avsc`, and CloudEvents' `type`.
    pub name: String,
    /// The topic that it is published to; its own name unless `tieline.yaml` says otherwise.
    pub topic: String,
    /// Its subject in the registry (topic name strategy: `TOPIC-value`).
    pub subject: String,
    /// Its payload.
    pub schema: Arc<EventSchema>,
}
