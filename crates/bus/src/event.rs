//! An event type: a schema of `schemas/`, and the topic that it is published to.

use std::collections::BTreeMap;
use std::sync::Arc;

use tieline_mapping::Span;
use tieline_mapping::yaml::{Node, NodeValue};
use tieline_schema::avro::{EventSchema, SchemaError};

use crate::folder::{DataFile, is};

/// Longest name of a topic, in characters (Kafka's own limit).
const TOPIC_NAME_MAX: usize = 249;

/// An event type of the bus.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its name, `crm.deal_stage_changed`: the name of its file without `.avsc`, and CloudEvents' `type`.
    pub name: String,
    /// The topic that it is published to; its own name unless `tieline.yaml` says otherwise.
    pub topic: String,
    /// Its subject in the registry. `TOPIC-value` (topic name strategy) where the topic is its own;
    /// `TOPIC-RECORD` (topic record name strategy) where several types share it.
    pub subject: String,
    /// Its payload.
    pub schema: Arc<EventSchema>,
}

impl Event {
    /// Reads `schemas/NAME.avsc`. `topics` says which events share one.
    pub(crate) fn read(data: &DataFile<'_>, name: &str, topics: &BTreeMap<String, String>) -> Option<Self> {
        let file = &data.file;
        let start = Span { start: data.node.span.start, end: data.node.span.start };
        if !is_event_name(name) {
            let help = "name it `DOMAIN.FACT.avsc`, in small letters, digits and `_`: `crm.deal_stage_changed.avsc`";
            file.error("bus/name", start, format!("`{name}` is no name of an event"), help);
        }
        let schema = match EventSchema::parse(&file.text) {
            Ok(schema) => schema,
            Err(error) => {
                report(data, &error);
                return None;
            }
        };
        check_name(data, name);
        let mut undocumented = Vec::new();
        find_undocumented(&data.node, "", &mut undocumented);
        for (path, span) in undocumented {
            let help = "add `\"doc\"`: those who subscribe read it";
            file.warning("schema/undocumented", span, format!("field `{path}` has no doc"), help);
        }
        let (topic, subject) = match topics.get(name) {
            Some(topic) => (topic.clone(), format!("{topic}-{name}")),
            None => (name.to_owned(), format!("{name}-value")),
        };
        Some(Self { name: name.to_owned(), topic, subject, schema: Arc::new(schema) })
    }
}

/// Whether this is a name of Kafka's for a topic.
pub(crate) fn is_topic_name(text: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=TOPIC_NAME_MAX).contains(&text.len()) && text.chars().all(part) && !matches!(text, "." | "..")
}

/// `domain.fact`: Avro names with small letters, joined by dots.
fn is_event_name(text: &str) -> bool {
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_lowercase())
            && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    text.contains('.') && text.split('.').all(part) && is_topic_name(text)
}

fn report(data: &DataFile<'_>, error: &SchemaError) {
    match error {
        SchemaError::NotAvro(cause) => {
            let start = Span { start: data.node.span.start, end: data.node.span.start };
            data.file.error("schema/not-avro", start, format!("this is not an Avro schema: {cause}"), "");
        }
        SchemaError::Unsupported { path, problem } => {
            let start = Span { start: data.node.span.start, end: data.node.span.start };
            let span = field_place(&data.node, path.trim_start_matches('.')).unwrap_or(start);
            data.file.error("schema/unsupported", span, format!("`{path}` {problem}"), "");
        }
    }
}

/// The file's name is the record's full name, so that a schema is found by its event and the other way round.
fn check_name(data: &DataFile<'_>, name: &str) {
    let text = |key: &str| match data.value.get(key).and_then(|v| v.as_str()) {
        Some(text) => text.to_owned(),
        None => String::new(),
    };
    let (record, namespace) = (text("name"), text("namespace"));
    let full = if record.contains('.') || namespace.is_empty() { record } else { format!("{namespace}.{record}") };
    if full != name {
        let (namespace, record) = name.rsplit_once('.').unwrap_or(("", name));
        let message = format!("the record is named `{full}`, and its file `{name}.avsc`");
        let help = format!("say `\"namespace\": \"{namespace}\", \"name\": \"{record}\"`, or rename the file");
        data.file.error("schema/name", data.place("/name"), message, help);
    }
}

/// The fields of all records in a schema that have no doc, with the place of their name.
fn find_undocumented(schema: &Node, path: &str, found: &mut Vec<(String, Span)>) {
    match &schema.value {
        NodeValue::Scalar { .. } => {}
        NodeValue::Sequence(branches) => branches.iter().for_each(|b| find_undocumented(b, path, found)),
        NodeValue::Mapping(_) => {
            for field in record_fields(schema) {
                let Some((name, span)) = field_name(field) else { continue };
                let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
                if field.get("doc").is_none() {
                    found.push((path.clone(), span));
                }
                if let Some(ty) = field.get("type") {
                    find_undocumented(ty, &path, found);
                }
            }
            let within = ["items", "values"].iter().filter_map(|key| schema.get(key));
            let nested = schema.get("type").filter(|ty| !matches!(ty.value, NodeValue::Scalar { .. }));
            within.chain(nested).for_each(|ty| find_undocumented(ty, path, found));
        }
    }
}

/// Where the field of a path stands: its name, in whatever union, list or map it lies.
fn field_place(schema: &Node, path: &str) -> Option<Span> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let first = first.trim_end_matches("[]");
    match &schema.value {
        NodeValue::Scalar { .. } => None,
        NodeValue::Sequence(branches) => branches.iter().find_map(|b| field_place(b, path)),
        NodeValue::Mapping(_) => {
            let here = record_fields(schema).iter().find(|f| f.get("name").is_some_and(|n| is(n, first)));
            let Some(field) = here else {
                return ["items", "values", "type"].iter().find_map(|key| field_place(schema.get(key)?, path));
            };
            let deeper = rest.and_then(|rest| field_place(field.get("type")?, rest));
            deeper.or_else(|| field_name(field).map(|(_, span)| span))
        }
    }
}

fn record_fields(schema: &Node) -> &[Node] {
    match schema.get("fields").map(|n| &n.value) {
        Some(NodeValue::Sequence(fields)) => fields,
        Some(NodeValue::Scalar { .. } | NodeValue::Mapping(_)) | None => &[],
    }
}

fn field_name(field: &Node) -> Option<(&str, Span)> {
    let name = field.get("name")?;
    match &name.value {
        NodeValue::Scalar { text, .. } => Some((text, name.span)),
        NodeValue::Sequence(_) | NodeValue::Mapping(_) => None,
    }
}
