//! The definitions of a bus: read with positions, checked across files, every problem reported in one run.

mod consumer;
mod event;
mod producer;
mod secret;
mod system;

pub use consumer::{Call, Consumer, Deliver, Emit, LookUp, OnDeadLetter, Order, Start};
pub use event::Event;
pub use producer::{Digest, Encoding, Hmac, Producer, Publish, Source, Verify, Webhook};
pub use secret::Secret;
pub use system::{AnswerClass, Credential, Idempotency, Limits, System, Version};

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
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

/// How Kafka is reached.
#[derive(Debug, Clone)]
pub struct Kafka {
    /// `bootstrap.servers`.
    pub brokers: String,
    /// Further settings of librdkafka, as they are (`security.protocol`, `sasl.username`, …).
    pub settings: BTreeMap<String, Secret>,
    /// Partitions of a topic that `tieline apply` makes.
    pub partitions: u32,
    /// Replicas of a topic that `tieline apply` makes.
    pub replication: u16,
}

/// How the schema registry is reached (Confluent's REST API).
#[derive(Debug, Clone)]
pub struct Registry {
    /// Its address, without a trailing slash.
    pub url: String,
    /// How a call proves who we are.
    pub credential: Credential,
}

/// Where variables and secrets come from.
pub trait Environment {
    /// The value of `${name}`.
    fn variable(&self, name: &str) -> Option<String>;
    /// The value of `secret:name`.
    fn secret(&self, name: &str) -> Option<String>;
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

impl Bus {
    /// Reads and checks all definitions below a directory.
    #[must_use]
    pub fn load(_dir: &Path, _environment: &dyn Environment) -> Loaded {
        unimplemented!()
    }
}

/// Writes problems as a person reads them, or as JSON.
pub mod render {
    use super::Problem;
    use std::path::Path;

    /// As a person reads them: `error[code]: …`, `--> file:line:column`, the line, carets, `= help: …`.
    #[must_use]
    pub fn human(_dir: &Path, _problems: &[Problem]) -> String {
        unimplemented!()
    }

    /// The same as a JSON array of objects `{severity, code, message, file, line, column, end_line, end_column, label, help}`.
    #[must_use]
    pub fn json(_dir: &Path, _problems: &[Problem]) -> String {
        unimplemented!()
    }
}
