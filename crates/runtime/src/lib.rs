//! All that the bus calls: Kafka, the schema registry, the systems; and the loops that drive the core.

pub mod producer;
pub mod registry;
pub mod system;
