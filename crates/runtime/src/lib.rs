//! All that the bus calls: Kafka, the schema registry, the systems; and the loops that drive the core.

mod fetches;
mod http;
mod kept;
pub mod producer;
pub mod registry;
pub mod system;
