//! `tieline.yaml`: the bus's name, its Kafka, its registry, and which events share a topic.

use std::collections::BTreeMap;

use tieline_mapping::Span;
use tieline_mapping::yaml::Node;

use crate::fields::Fields;
use crate::folder::DefinitionFile;
use crate::values::{address, list, name, named, text, whole};
use crate::{Credential, Secret, variables};

/// The version of the mapping language that this build speaks.
pub const LANGUAGE: u32 = 1;

/// Settings of librdkafka that decide whether records are lost or repeated. They are ours.
const RESERVED_SETTINGS: &[(&str, &str)] = &[
    ("bootstrap.servers", "write `brokers:` instead"),
    ("metadata.broker.list", "write `brokers:` instead"),
    ("group.id", "each consumer has a group of its own: its name"),
    ("enable.auto.commit", "offsets are committed when their records are final, never in the background"),
    ("enable.auto.offset.store", "an offset that is stored at hand-over loses records in a crash"),
    ("auto.offset.reset", "a lost offset halts the consumer; `deliver.start` says where a new one starts"),
    ("enable.idempotence", "producing is always idempotent, with acks=all"),
    ("acks", "producing is always idempotent, with acks=all"),
    ("request.required.acks", "producing is always idempotent, with acks=all"),
    ("partitioner", "keys go where Java's partitioner puts them"),
    ("isolation.level", "only committed records are read"),
    ("transactional.id", "each process has its own"),
];

/// How Kafka is reached.
#[derive(Debug, Clone)]
pub struct Kafka {
    /// `bootstrap.servers`.
    pub brokers: String,
    /// Further settings of librdkafka, as they are (`security.protocol`, `sasl.username`, …).
    pub settings: BTreeMap<String, Secret>,
    /// Partitions of a topic that `tieline apply` makes. Default 6.
    pub partitions: u32,
    /// Replicas of a topic that `tieline apply` makes. Default 3.
    pub replication: u16,
}

/// How the schema registry is reached (Confluent's REST API).
#[derive(Debug, Clone)]
pub struct Registry {
    /// Its address, without a trailing slash.
    pub url: String,
    /// How a call proves who we are: nothing, basic or bearer.
    pub credential: Credential,
}

/// A topic that several types of events share.
pub(crate) struct SharedTopic {
    pub name: String,
    pub name_span: Span,
    /// Events, each with its place.
    pub events: Vec<(String, Span)>,
}

/// `tieline.yaml`, read.
pub(crate) struct TielineYaml {
    pub bus: Option<String>,
    pub kafka: Option<Kafka>,
    pub registry: Option<Registry>,
    pub topics: Vec<SharedTopic>,
}

impl TielineYaml {
    /// Reads the file, whose variables are put in.
    pub fn read(file: &DefinitionFile<'_>, node: &Node) -> Option<Self> {
        let mut fields = Fields::of(file, node, "tieline.yaml")?;
        let bus = fields.required("bus", name);
        fields.required("language", language);
        let kafka = fields.required("kafka", Kafka::read);
        let registry = fields.required("registry", Registry::read);
        let topics = fields.optional("topics", named(shared_events)).unwrap_or_default();
        fields.finish();
        let topics =
            topics.into_iter().map(|(name, key, events)| SharedTopic { name, name_span: key.span, events }).collect();
        Some(Self { bus, kafka, registry, topics })
    }
}

impl Kafka {
    fn read(file: &DefinitionFile<'_>, node: &Node) -> Option<Self> {
        let mut fields = Fields::of(file, node, "`kafka`")?;
        let brokers = fields.required("brokers", text);
        let settings = fields.optional("settings", named(setting)).unwrap_or_default();
        let partitions = fields.optional("partitions", whole(1..=10_000)).unwrap_or(6);
        let replication = fields.optional("replication", whole(1..=15)).unwrap_or(3);
        fields.finish();
        for (name, key, _) in &settings {
            if let Some((_, why)) = RESERVED_SETTINGS.iter().find(|(reserved, _)| reserved == name) {
                file.error("bus/reserved-setting", key.span, format!("`{name}` is not for a bus to set"), *why);
            }
        }
        let settings = settings.into_iter().map(|(name, _, value)| (name, value)).collect();
        Some(Self { brokers: brokers?, settings, partitions, replication })
    }
}

impl Registry {
    fn read(file: &DefinitionFile<'_>, node: &Node) -> Option<Self> {
        let mut fields = Fields::of(file, node, "`registry`")?;
        let url = fields.required("url", address);
        let credential = fields.optional("credential", |file, node| Credential::read(file, node, &["basic", "bearer"]));
        fields.finish();
        Some(Self { url: url?, credential: credential.unwrap_or(Credential::None) })
    }
}

fn language(file: &DefinitionFile<'_>, node: &Node) -> Option<u32> {
    let version: u32 = whole(1..=u32::MAX)(file, node)?;
    if version > LANGUAGE {
        let message = format!("this build speaks version {LANGUAGE} of the mapping language");
        file.error("bus/language", node.span, message, "take a newer build of Tieline, or say `language: 1`");
    }
    Some(version)
}

fn setting(file: &DefinitionFile<'_>, node: &Node, _name: &str) -> Option<Secret> {
    variables::setting(file, node)
}

fn shared_events<'a>(file: &'a DefinitionFile<'a>, node: &'a Node, _topic: &str) -> Option<Vec<(String, Span)>> {
    list(|file, node| Some((text(file, node)?, node.span)))(file, node)
}
