//! The definitions of a bus: read with positions, checked across files, every problem reported in one run.

mod asked;
mod cases;
mod certain;
mod consumer;
mod environment;
mod event;
mod examples;
mod fields;
mod folder;
mod known;
mod load;
mod place;
mod producer;
mod quantity;
pub mod render;
mod secret;
mod system;
mod tieline_yaml;
mod values;
mod variables;

pub use cases::{CaseRun, CasesReport, run_cases};
pub use consumer::{
    Batch, Call, Concurrency, Consumer, Deliver, Emit, FollowUp, ItemMeans, ItemOutcome, LookUp, OnDeadLetter, Order,
    Outcomes, Reading, Start, Tombstone,
};
pub use environment::Environment;
pub use event::Event;
pub use producer::{Digest, Encoding, Hmac, Producer, Publish, Source, Verify, Webhook};
pub use secret::Secret;
pub use system::{
    AnswerClass, ClientAuth, Conflict, CostLimits, Credential, EffectLookUp, Idempotency, KeyHeader, Limits, Meaning,
    Means, Stores, System, Version,
};
pub use tieline_yaml::{Kafka, LANGUAGE, Registry};

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// A bus, checked and compiled.
#[derive(Debug)]
pub struct Bus {
    /// Where its definitions lie.
    pub dir: PathBuf,
    /// Its name; groups, transactional ids and state topics carry it.
    pub name: String,
    /// How Kafka is reached.
    pub kafka: Kafka,
    /// How the schema registry is reached.
    pub registry: Registry,
    /// The systems, by name.
    pub systems: BTreeMap<String, Arc<System>>,
    /// The event types, by name.
    pub events: BTreeMap<String, Arc<Event>>,
    /// The producers, by name.
    pub producers: BTreeMap<String, Arc<Producer>>,
    /// The consumers, by name.
    pub consumers: BTreeMap<String, Arc<Consumer>>,
}

/// A problem, with its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, relative to the bus.
    pub file: PathBuf,
    /// What is wrong in it.
    pub diagnostic: tieline_mapping::Diagnostic,
}

/// What came of reading a bus.
#[derive(Debug)]
pub struct Loaded {
    /// The bus, where there is no error.
    pub bus: Option<Bus>,
    /// All problems of all files, by file and place.
    pub problems: Vec<Problem>,
}
