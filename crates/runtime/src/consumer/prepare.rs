//! From a record to a request: decode, filter, look up, map.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use bytes::Bytes;
use serde_json::Value;
use tieline_bus::{Batch, Call, Consumer, LookUp, Tombstone};
use tieline_delivery::limits::Flow;
use tieline_delivery::{Answer, AttemptLog, ByClass, Class, Reason};
use tieline_mapping::{Bounds, Expression, Frame, Names, Reader, RunError};
use tieline_schema::cloudevents::{Attributes, AttributesError};
use tieline_schema::wire::{SchemaRef, VALUE_SCHEMA_HEADER, split};

use super::Wiring;
use super::absent::{Absent, Asked};
use super::batch::Batched;
use crate::kafka::Record;
use crate::registry::RegistryError;
use crate::state::{DeadLetter, ParkedRecord, StoredRequest};
use crate::system::idempotency::Cause;
use crate::system::{Effect, Sent};

/// What one record may hold: as much as a Kafka record of the usual 1 MiB can say in earnest.
pub(crate) const BOUNDS: Bounds = Bounds { items_max: 100_000, depth_max: 64, output_bytes_max: 4 << 20 };

/// The type that a tombstone has which says none.
pub(super) const TOMBSTONE: &str = "tieline.tombstone";

/// A record on its way through a consumer. The core hands it about untouched.
#[derive(Debug)]
pub(super) struct Delivered {
    pub record: Record,
    /// How often it was redriven from the dead letters.
    pub redriven: u32,
    /// The order by which it is replayed, if it is.
    pub replay: Option<Arc<str>>,
    /// Whether its next call is for a replay: that of a replayed record is for live work where that waits behind it.
    replayed: AtomicBool,
    attributes: OnceLock<Attributes>,
    /// What was last prepared. The same bytes are sent again while an attempt may have been applied.
    request: Mutex<Option<Arc<PreparedCall>>>,
    /// What is known of its effect.
    pub effect: Effect,
    /// What came of it in batches.
    pub batched: Batched,
    absent: Mutex<Option<Absent>>,
}

/// A request, and what its follow-up event needs.
#[derive(Debug)]
pub(super) struct PreparedCall {
    pub parameters: Vec<(String, String)>,
    pub body: Option<Bytes>,
    pub looked_up: Vec<(String, Arc<Value>)>,
}

impl PreparedCall {
    fn stored(request: &StoredRequest<'_>) -> Self {
        Self {
            parameters: request.parameters.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            body: request.body.as_deref().map(Bytes::copy_from_slice),
            looked_up: request
                .looked_up
                .iter()
                .map(|(name, value)| (name.to_string(), Arc::new(Value::clone(value))))
                .collect(),
        }
    }
}

/// What a record is to a consumer that it concerns.
enum Wanted<'d> {
    /// An event, as a datum of this schema.
    Event(SchemaRef, &'d [u8]),
    /// That the thing of its key is gone.
    Tombstone(&'d Tombstone),
}

/// What came of preparing a record.
#[derive(Debug)]
pub(super) enum Step {
    Call(PreparedCall),
    Skip,
    Refused(Reason),
    NotNow(Answer, AttemptLog),
}

impl Delivered {
    pub fn new(record: Record) -> Self {
        Self {
            record,
            redriven: 0,
            replay: None,
            replayed: AtomicBool::new(false),
            attributes: OnceLock::new(),
            request: Mutex::new(None),
            effect: Effect::default(),
            batched: Batched::default(),
            absent: Mutex::new(None),
        }
    }

    /// A record that was parked, as it was.
    pub fn parked(parked: &ParkedRecord<'_>) -> Self {
        let delivered = Self {
            redriven: parked.redriven,
            replay: parked.replay.as_deref().map(Into::into),
            effect: Effect::of(parked.sent),
            ..Self::new(parked.original.record())
        };
        if let Some(request) = &parked.request {
            delivered.keep_request(PreparedCall::stored(request));
            if let Ok(attributes) = attributes_of(&delivered.record) {
                let _ = delivered.attributes.set(attributes);
            }
        }
        delivered
    }

    /// A dead letter, as it was.
    pub fn redriven(letter: &DeadLetter<'_>) -> Self {
        let effect = Effect::of(letter.sent);
        let replay = letter.replay.as_deref().map(Into::into);
        Self { redriven: letter.redriven, replay, effect, ..Self::new(letter.original.record()) }
    }

    /// A record that is delivered again by this order, with an effect of its own where that is in a round of its own.
    pub fn replayed(record: Record, order: &Arc<str>, round: u32) -> Self {
        Self { replay: Some(Arc::clone(order)), effect: Effect::of(Sent::in_round(round)), ..Self::new(record) }
    }

    /// A dead letter with another value, which is to have an effect of its own.
    pub fn edited(letter: &DeadLetter<'_>, value: Option<&[u8]>) -> Self {
        let mut record = letter.original.record();
        record.value = value.map(<[u8]>::to_vec);
        // The value says itself which schema it is of.
        record.headers = record.headers.iter().filter(|(name, _)| *name != VALUE_SCHEMA_HEADER).collect();
        let effect = Effect::of(Sent::in_round(letter.sent.round.saturating_add(1)));
        Self { redriven: letter.redriven, effect, ..Self::new(record) }
    }

    /// The core says what its next call is for.
    pub fn is_for(&self, class: Class) {
        self.replayed.store(class == Class::Replayed, Ordering::Relaxed);
    }

    /// What its next call is for.
    pub fn class(&self) -> Class {
        if self.replayed.load(Ordering::Relaxed) { Class::Replayed } else { Class::Live }
    }

    /// The event's id, once the record has been looked at.
    pub fn event_id(&self) -> Option<&str> {
        self.attributes.get().map(|a| a.id.as_str())
    }

    /// The event's attributes, once the record has been looked at.
    pub fn attributes(&self) -> Option<&Attributes> {
        self.attributes.get()
    }

    /// Whether it says that the thing of its key is gone.
    pub fn is_tombstone(&self) -> bool {
        self.record.value.is_none()
    }

    pub fn key_text(&self) -> String {
        self.record.key.as_ref().map_or_else(String::new, |k| String::from_utf8_lossy(k).into_owned())
    }

    pub fn request(&self) -> Option<Arc<PreparedCall>> {
        self.request.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The request, as it is stored while an attempt may have been applied.
    pub fn stored_request(&self) -> Option<StoredRequest<'static>> {
        let request = self.request()?;
        let parameter = |(name, value): &(String, String)| (Cow::Owned(name.clone()), Cow::Owned(value.clone()));
        let looked_up =
            |(name, value): &(String, Arc<Value>)| (Cow::Owned(name.clone()), Cow::Owned(Value::clone(value)));
        Some(StoredRequest {
            parameters: request.parameters.iter().map(parameter).collect(),
            body: request.body.as_ref().map(|body| Cow::Owned(body.to_vec())),
            looked_up: request.looked_up.iter().map(looked_up).collect(),
        })
    }

    /// The look-up that is refused to it, to be read and changed.
    pub fn absent<T>(&self, with: impl FnOnce(&mut Option<Absent>) -> T) -> T {
        with(&mut self.absent.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn keep_request(&self, request: PreparedCall) {
        *self.request.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(request));
    }
}

/// Prepares the records of one consumer.
#[derive(Debug)]
pub(super) struct Preparer {
    pub wiring: Arc<Wiring>,
    pub consumer: Arc<Consumer>,
    /// For whom systems are asked, where their limits are shared.
    pub flows: ByClass<Arc<Flow>>,
    /// How the data of each schema that was met are read. As many as the topic has versions.
    readers: RwLock<HashMap<SchemaRef, Arc<Reader>>>,
}

impl Preparer {
    pub fn new(wiring: Arc<Wiring>, consumer: Arc<Consumer>) -> Self {
        let flow = |replay| Arc::new(Flow { consumer: consumer.name.clone(), replay });
        let flows = ByClass { live: flow(false), replayed: flow(true) };
        Self { wiring, consumer, flows, readers: RwLock::new(HashMap::new()) }
    }

    /// For whom calls of this record are.
    pub fn flow(&self, delivered: &Delivered) -> &Arc<Flow> {
        self.flows.of(delivered.class())
    }

    /// The call that a record makes. Nothing for a tombstone, where the definition no longer says what one means.
    pub fn call(&self, delivered: &Delivered) -> Option<&Call> {
        if delivered.is_tombstone() {
            return self.consumer.on_tombstone.as_ref().map(|tombstone| &tombstone.call);
        }
        Some(&self.consumer.call)
    }

    pub async fn prepare(&self, delivered: &Delivered) -> Step {
        match self.try_prepare(delivered).await {
            Ok(step) | Err(step) => step,
        }
    }

    /// Prepares a record that needs nothing from outside, as most do: no look-up, and its schema was met before. None of
    /// it is waited for, so that no future is made for it.
    pub fn prepare_at_once(&self, delivered: &Delivered) -> Option<Step> {
        if !self.consumer.look_ups.is_empty() {
            return None;
        }
        match self.try_at_once(delivered) {
            Ok(step) => step,
            Err(step) => Some(step),
        }
    }

    async fn try_prepare(&self, delivered: &Delivered) -> Result<Step, Step> {
        let (schema, datum) = match self.wanted(delivered)? {
            None => return Ok(Step::Skip),
            Some(Wanted::Tombstone(tombstone)) => return bury(tombstone, delivered).map(Step::Call),
            Some(Wanted::Event(schema, datum)) => (schema, datum),
        };
        let reader = self.reader(schema).await?;
        let Some(frame) = self.frame(&reader, datum)? else { return Ok(Step::Skip) };
        let looked_up = self.look_up(delivered, &frame).await?;
        self.map(delivered, &frame, looked_up).map(Step::Call)
    }

    fn try_at_once(&self, delivered: &Delivered) -> Result<Option<Step>, Step> {
        let (schema, datum) = match self.wanted(delivered)? {
            None => return Ok(Some(Step::Skip)),
            Some(Wanted::Tombstone(tombstone)) => return bury(tombstone, delivered).map(|call| Some(Step::Call(call))),
            Some(Wanted::Event(schema, datum)) => (schema, datum),
        };
        let Some(reader) = self.known_reader(schema) else { return Ok(None) };
        let Some(frame) = self.frame(&reader, datum)? else { return Ok(Some(Step::Skip)) };
        self.map(delivered, &frame, Vec::new()).map(|call| Some(Step::Call(call)))
    }

    /// What a record is to this consumer: nothing, where it is another type of the same topic, or a tombstone and the
    /// definition does not say what that means.
    fn wanted<'d>(&'d self, delivered: &'d Delivered) -> Result<Option<Wanted<'d>>, Step> {
        let record = &delivered.record;
        let attributes = match delivered.attributes.get() {
            Some(attributes) => attributes,
            None => {
                let read = attributes_of(record).map_err(|e| undecodable(&e))?;
                delivered.attributes.get_or_init(|| read)
            }
        };
        let ours = attributes.ty == self.consumer.event.name || attributes.ty == TOMBSTONE;
        match (ours, record.value.as_deref()) {
            (false, _) => Ok(None),
            (true, None) => Ok(self.consumer.on_tombstone.as_ref().map(Wanted::Tombstone)),
            (true, Some(value)) => match split(value, record.headers.last(VALUE_SCHEMA_HEADER)) {
                Ok((schema, datum)) => Ok(Some(Wanted::Event(schema, datum))),
                Err(error) => Err(undecodable(&error)),
            },
        }
    }

    /// The datum as this consumer reads it, unless its own `when` passes it by.
    fn frame<'d>(&self, reader: &Reader, datum: &'d [u8]) -> Result<Option<Frame<'d>>, Step> {
        let frame = reader.read(datum, &BOUNDS).map_err(|e| undecodable(&e))?;
        let passes = match &self.consumer.when {
            Some(when) => when.holds(&frame, &[]).map_err(|e| unmappable("when", &e))?,
            None => true,
        };
        Ok(passes.then_some(frame))
    }

    /// How the data of this schema are read.
    pub async fn reader(&self, schema: SchemaRef) -> Result<Arc<Reader>, Step> {
        if let Some(reader) = self.known_reader(schema) {
            return Ok(reader);
        }
        let writer = self.wiring.registry.schema(schema).await.map_err(|e| no_schema(&e))?;
        let reader =
            self.consumer.layout.reader(&writer.avro, &self.consumer.event.schema.avro).map_err(|e| undecodable(&e))?;
        let reader = Arc::new(reader);
        self.readers.write().unwrap_or_else(PoisonError::into_inner).insert(schema, Arc::clone(&reader));
        Ok(reader)
    }

    fn known_reader(&self, schema: SchemaRef) -> Option<Arc<Reader>> {
        self.readers.read().unwrap_or_else(PoisonError::into_inner).get(&schema).cloned()
    }

    async fn look_up(&self, delivered: &Delivered, frame: &Frame<'_>) -> Result<Vec<(String, Arc<Value>)>, Step> {
        let mut found: Vec<(String, Arc<Value>)> = Vec::with_capacity(self.consumer.look_ups.len());
        for look_up in &self.consumer.look_ups {
            let value = self.look_up_one(delivered, look_up, frame, &found).await?;
            found.push((look_up.name.clone(), value));
        }
        Ok(found)
    }

    async fn look_up_one(
        &self,
        delivered: &Delivered,
        look_up: &LookUp,
        frame: &Frame<'_>,
        found: &[(String, Arc<Value>)],
    ) -> Result<Arc<Value>, Step> {
        let names = names(found);
        let parameters = parameters(&look_up.with, frame, &names)?;
        let Some(system) = self.wiring.systems.get(&look_up.system.name) else {
            return Err(Step::Refused(reason("unmappable", format!("system `{}` has no client", look_up.system.name))));
        };
        let look_ups = &self.wiring.look_ups;
        let failed =
            match look_ups.get(system, &look_up.operation, &parameters, look_up.keep, self.flow(delivered)).await {
                Ok(value) => {
                    delivered.absent(|absent| absent.take_if(|a| a.look_up == look_up.name));
                    return Ok(value);
                }
                Err(failed) => failed,
            };
        let answer = match failed.answer {
            Answer::AbsentOrForbidden(why) => {
                let asked = Asked { name: &look_up.name, system, operation: &look_up.operation, parameters };
                self.judge_absent(delivered, asked, why).await
            }
            other => other,
        };
        Err(Step::NotNow(answer, failed.log))
    }

    /// What an effect of this event comes from: the call, or the follow-up event, which has no rounds.
    pub fn cause<'a>(&'a self, call: &'a str, attributes: &'a Attributes, round: u32) -> Cause<'a> {
        let (bus, consumer) = (&self.wiring.bus.name, &self.consumer.name);
        Cause { bus, consumer, call, source: &attributes.source, id: &attributes.id, round }
    }

    fn map(
        &self,
        delivered: &Delivered,
        frame: &Frame<'_>,
        mut looked_up: Vec<(String, Arc<Value>)>,
    ) -> Result<PreparedCall, Step> {
        let keyed = self.consumer.call.batch.as_ref().is_some_and(|batch| batch.keyed);
        if let Some(attributes) = delivered.attributes().filter(|_| keyed) {
            let key = self.cause("call", attributes, delivered.effect.round()).key();
            looked_up.push((Batch::KEY.to_owned(), Arc::new(Value::String(key.to_string()))));
        }
        let call = written(&self.consumer.call, frame, &names(&looked_up))?;
        Ok(PreparedCall { looked_up, ..call })
    }
}

/// The attributes of a record. Whatever only says that a thing is gone (a change capture, a producer of another team) writes
/// tombstones without any: then the record's place names it, which no redelivery, redrive or replay changes.
fn attributes_of(record: &Record) -> Result<Attributes, AttributesError> {
    let is_bare = record.value.is_none() && !record.headers.iter().any(|(name, _)| name.starts_with("ce_"));
    if !is_bare {
        return Attributes::from_headers(record.headers.iter());
    }
    Ok(Attributes {
        id: format!("{}-{}", record.partition, record.offset),
        source: format!("/{}", record.topic),
        ty: TOMBSTONE.to_owned(),
        time_ms: record.timestamp_ms,
        subject: None,
        causation_id: None,
        traceparent: None,
        tracestate: None,
    })
}

/// The request of a tombstone, made of its key alone.
pub(super) fn bury(tombstone: &Tombstone, delivered: &Delivered) -> Result<PreparedCall, Step> {
    let key = delivered.record.key.as_deref().map(str::from_utf8);
    let key = match key {
        Some(Ok(key)) => Value::String(key.to_owned()),
        Some(Err(_)) => {
            return Err(Step::Refused(reason("undecodable", "the key of a tombstone is no text".to_owned())));
        }
        None => {
            let detail = "a record without key and value says nothing of anything".to_owned();
            return Err(Step::Refused(reason("undecodable", detail)));
        }
    };
    let frame = tombstone.frame().map_err(|e| unmappable("on_tombstone", &e))?;
    written(&tombstone.call, &frame, &[(Tombstone::KEY, &key)])
}

/// The request of a call.
pub(super) fn written(call: &Call, frame: &Frame<'_>, names: Names<'_>) -> Result<PreparedCall, Step> {
    let parameters = parameters(&call.with, frame, names)?;
    let body = match &call.body {
        Some(mapping) => {
            let mut body = Vec::with_capacity(512);
            mapping.write(frame, names, &BOUNDS, &mut body).map_err(|e| unmappable("body", &e))?;
            Some(body.into())
        }
        None => None,
    };
    Ok(PreparedCall { parameters, body, looked_up: Vec::new() })
}

/// The values of an operation's parameters. One that is null is left out: it is optional, or the definition would not have
/// passed its check.
fn parameters(
    with: &BTreeMap<String, Expression>,
    frame: &Frame<'_>,
    names: Names<'_>,
) -> Result<Vec<(String, String)>, Step> {
    let mut parameters = Vec::with_capacity(with.len());
    for (name, expression) in with {
        if let Some(value) = expression.text(frame, names).map_err(|e| unmappable(name, &e))? {
            parameters.push((name.clone(), value));
        }
    }
    Ok(parameters)
}

/// What expressions see as `$name`.
pub(super) fn names(found: &[(String, Arc<Value>)]) -> Vec<(&str, &Value)> {
    found.iter().map(|(name, value)| (name.as_str(), &**value)).collect()
}

pub(super) fn reason(code: &str, detail: String) -> Reason {
    Reason { code: code.to_owned(), detail }
}

pub(super) fn undecodable(error: &dyn std::error::Error) -> Step {
    Step::Refused(reason("undecodable", error.to_string()))
}

pub(super) fn unmappable(what: &str, error: &RunError) -> Step {
    Step::Refused(reason("unmappable", format!("{what}: {error}")))
}

/// A registry that cannot be asked, or may not have heard of the schema yet, is not the record's fault; one that is well
/// and does not have the schema is.
fn no_schema(error: &RegistryError) -> Step {
    match error {
        RegistryError::NotFound { .. } | RegistryError::NotAvro { .. } | RegistryError::Malformed { .. } => {
            undecodable(error)
        }
        RegistryError::Unavailable { .. } | RegistryError::NotYet { .. } | RegistryError::Refused { .. } => {
            let detail = error.to_string();
            let log = AttemptLog { at_ms: crate::now_ms(), status: None, excerpt: detail.clone() };
            Step::NotNow(Answer::NotApplied(reason("registry", detail)), log)
        }
    }
}
