//! The payload of a kept record: shown as JSON, judged by a condition of the mapping language, or written anew.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use tieline_bus::{Consumer, Event};
use tieline_mapping::yaml::{Node, NodeValue};
use tieline_mapping::{Compiler, Diagnostic, Filter, Layout, Reader, Severity, Span};
use tieline_schema::avro::EventSchema;
use tieline_schema::friendly::VALUES_MAX;
use tieline_schema::wire::{SchemaRef, VALUE_SCHEMA_HEADER, WireError, split, v0_header};

use crate::consumer::BOUNDS;
use crate::kafka::Record;
use crate::registry::{RegistryClient, RegistryError, WriterSchema};
use crate::state::DeadLetter;

/// A condition on the payload of an event, as in a consumer's `when`.
#[derive(Debug)]
pub struct Condition {
    event: Arc<Event>,
    filter: Filter,
    layout: Layout,
}

/// Why a text is no condition on this event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", told(problems))]
pub struct ConditionError {
    /// What is wrong in it.
    pub problems: Vec<Diagnostic>,
}

/// Why a payload cannot be shown or written.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// A tombstone.
    #[error("it has no value")]
    Tombstone,
    /// Not in the wire format.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The bytes or the JSON do not fit the schema.
    #[error("{0}")]
    Misfit(String),
    /// The schema cannot be had.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// Reads payloads with the registry's schemas. One that reads for a consumer reads for nobody else.
#[derive(Debug)]
pub struct Payload {
    registry: RegistryClient,
    runtime: tokio::runtime::Handle,
    readers: HashMap<SchemaRef, Arc<Reader>>,
}

impl Condition {
    /// Compiles a condition on an event.
    ///
    /// # Errors
    /// What is wrong in it: the same as `tieline check` would say of a `when`.
    pub fn compile(text: &str, event: &Arc<Event>) -> Result<Self, ConditionError> {
        let mut compiler = Compiler::new(event.schema.ty.clone(), format!("schemas/{}.avsc", event.name));
        let span = Span { start: 0, end: text.len() };
        let node = Node { span, value: NodeValue::Scalar { text: text.to_owned(), quoted: false } };
        let filter = compiler.filter(&node);
        let (layout, problems) = compiler.finish();
        match filter {
            Some(filter) if problems.iter().all(|p| p.severity < Severity::Error) => {
                Ok(Self { event: Arc::clone(event), filter, layout })
            }
            _ => Err(ConditionError { problems }),
        }
    }
}

impl Payload {
    /// Reads with this registry. Made on a thread of the runtime, used on one that may block.
    #[must_use]
    pub fn new(registry: RegistryClient) -> Self {
        Self { registry, runtime: tokio::runtime::Handle::current(), readers: HashMap::new() }
    }

    /// Whether a condition holds for a dead letter; none where its payload cannot be read, or is of another event.
    ///
    /// # Errors
    /// When the registry cannot be asked.
    pub fn holds(&mut self, condition: &Condition, letter: &DeadLetter<'_>) -> Result<Option<bool>, RegistryError> {
        let header = |name| letter.original.header(name);
        self.judge(condition, header("ce_type"), letter.original.value.as_deref(), header(VALUE_SCHEMA_HEADER))
    }

    /// The same for a record of the event's topic.
    ///
    /// # Errors
    /// When the registry cannot be asked.
    pub fn holds_of(&mut self, condition: &Condition, record: &Record) -> Result<Option<bool>, RegistryError> {
        let header = |name| record.headers.last(name);
        self.judge(condition, header("ce_type"), record.value.as_deref(), header(VALUE_SCHEMA_HEADER))
    }

    fn judge(
        &mut self,
        condition: &Condition,
        ty: Option<&[u8]>,
        value: Option<&[u8]>,
        schema: Option<&[u8]>,
    ) -> Result<Option<bool>, RegistryError> {
        if ty.is_some_and(|ty| ty != condition.event.name.as_bytes()) {
            return Ok(None);
        }
        let Some(value) = value else { return Ok(None) };
        let Ok((schema, datum)) = split(value, schema) else { return Ok(None) };
        let Some(reader) = self.reader(&condition.layout, &condition.event, schema)? else { return Ok(None) };
        let Ok(frame) = reader.read(datum, &BOUNDS) else { return Ok(None) };
        Ok(condition.filter.holds(&frame, &[]).ok())
    }

    /// A dead letter's payload as people read it.
    ///
    /// # Errors
    /// When it is none, or the registry cannot be asked.
    pub fn show(&self, letter: &DeadLetter<'_>) -> Result<Value, PayloadError> {
        let value = letter.original.value.as_deref().ok_or(PayloadError::Tombstone)?;
        let (schema, datum) = split(value, letter.original.header(VALUE_SCHEMA_HEADER))?;
        let writer = self.schema(schema)?;
        let schema = EventSchema::parse(&writer.text).map_err(|e| PayloadError::Misfit(e.to_string()))?;
        schema.json_from_datum(datum, VALUES_MAX).map_err(|e| PayloadError::Misfit(e.to_string()))
    }

    /// The value that a payload of this event is published as.
    ///
    /// # Errors
    /// When it does not fit the event's schema, or that is not registered.
    pub fn write(&self, event: &Event, payload: &Value) -> Result<Vec<u8>, PayloadError> {
        let datum = event.schema.datum_from_json(payload).map_err(|e| PayloadError::Misfit(e.to_string()))?;
        let id = self.runtime.block_on(self.registry.lookup(&event.subject, &event.schema.text))?;
        let id = id.ok_or_else(|| {
            let problem =
                format!("schemas/{}.avsc is not registered as {}: run `tieline apply`", event.name, event.subject);
            PayloadError::Misfit(problem)
        })?;
        let mut value = v0_header(id).to_vec();
        value.extend(datum);
        Ok(value)
    }

    /// How a consumer reads what was written with a schema; none where it cannot, or the registry does not have it.
    ///
    /// # Errors
    /// When the registry cannot be asked.
    pub fn reader_of(&mut self, consumer: &Consumer, schema: SchemaRef) -> Result<Option<Arc<Reader>>, RegistryError> {
        self.reader(&consumer.layout, &consumer.event, schema)
    }

    fn reader(
        &mut self,
        layout: &Layout,
        event: &Event,
        schema: SchemaRef,
    ) -> Result<Option<Arc<Reader>>, RegistryError> {
        if let Some(reader) = self.readers.get(&schema) {
            return Ok(Some(Arc::clone(reader)));
        }
        let writer = match self.schema(schema) {
            Ok(writer) => writer,
            // What is asked for here was read, or doubted for long enough, before its record became a dead letter.
            Err(
                RegistryError::NotFound { .. }
                | RegistryError::NotYet { .. }
                | RegistryError::NotAvro { .. }
                | RegistryError::Malformed { .. },
            ) => return Ok(None),
            Err(error @ (RegistryError::Unavailable { .. } | RegistryError::Refused { .. })) => return Err(error),
        };
        let Ok(reader) = layout.reader(&writer.avro, &event.schema.avro) else { return Ok(None) };
        let reader = Arc::new(reader);
        self.readers.insert(schema, Arc::clone(&reader));
        Ok(Some(reader))
    }

    fn schema(&self, schema: SchemaRef) -> Result<Arc<WriterSchema>, RegistryError> {
        self.runtime.block_on(self.registry.schema(schema))
    }
}

fn told(problems: &[Diagnostic]) -> String {
    let told = |problem: &Diagnostic| match &problem.help {
        Some(help) => format!("{} ({help})", problem.message),
        None => problem.message.clone(),
    };
    problems.iter().filter(|p| p.severity == Severity::Error).map(told).collect::<Vec<_>>().join("; ")
}
