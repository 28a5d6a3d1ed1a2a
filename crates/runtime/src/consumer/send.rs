//! From a request to its effect: call the system, judge what it answers, publish what follows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tieline_bus::Emit;
use tieline_delivery::{Answer, AttemptLog, Reason};
use tieline_schema::cloudevents::Attributes;
use tieline_schema::wire::{VALUE_SCHEMA_HEADER, split, v0_header};
use uuid::Uuid;

use super::prepare::{BOUNDS, Delivered, PreparedCall, Preparer, Step, names, reason};
use crate::happening::{Happening, What};
use crate::kafka::PublishError;
use crate::system::idempotency::Cause;
use crate::system::{Request, SystemClient};
use crate::telemetry::ConsumerMetrics;
use crate::trace;

/// How long to wait before a follow-up event that was not acknowledged is published again.
const PUBLISH_AGAIN: Duration = Duration::from_secs(1);

/// Sends the requests of one consumer.
#[derive(Debug)]
pub(super) struct Sender {
    pub preparer: Arc<Preparer>,
    pub system: Arc<SystemClient>,
    pub metrics: ConsumerMetrics,
    /// The registry's id of the follow-up event's schema.
    pub follow_up_schema: Option<u32>,
}

impl Sender {
    pub async fn send(&self, delivered: &Delivered, attempt: u32) -> (Answer, AttemptLog) {
        let (Some(attributes), Some(request)) = (delivered.attributes(), delivered.request()) else {
            let lost = reason("internal", "the prepared request is gone; it is made again".to_owned());
            return (Answer::NotApplied(lost), log("the prepared request is gone"));
        };
        let key = self.cause("call", attributes).key();
        let started = Instant::now();
        let reply = self.system.call(&self.request(&request, attributes, key)).await;
        let took = started.elapsed();
        self.metrics.call_seconds.observe(took.as_secs_f64());
        self.tell_called(delivered, attributes, attempt, &reply.answer, &reply.log, took);

        let answer = match reply.answer {
            Answer::Applied if self.follow_up_schema.is_some() => {
                // Boxed, since it would make the future of each call larger.
                let response = reply.body.map(|(body, _)| body);
                Box::pin(self.follow_up(delivered, attributes, &request, response)).await
            }
            other => other,
        };
        self.observe(attributes, &answer);
        (answer, reply.log)
    }

    /// What an effect of this event comes from: the call, or the follow-up event.
    fn cause<'a>(&'a self, call: &'a str, attributes: &'a Attributes) -> Cause<'a> {
        let (bus, consumer) = (&self.preparer.wiring.bus.name, &self.preparer.consumer.name);
        // The round rises only after a known failure that the system keeps under its key: not yet.
        Cause { bus, consumer, call, source: &attributes.source, id: &attributes.id, round: 0 }
    }

    fn request(&self, prepared: &PreparedCall, attributes: &Attributes, key: Uuid) -> Request {
        Request {
            operation: Arc::clone(&self.preparer.consumer.call.operation),
            parameters: prepared.parameters.clone(),
            body: prepared.body.clone(),
            idempotency_key: Some(key),
            traceparent: Some(trace::child_of(attributes.traceparent.as_deref())),
            headers: Vec::new(),
            reads_response: self.preparer.consumer.emit.is_some(),
        }
    }

    /// Publishes what follows from an effect. Only then is its cause done.
    async fn follow_up(
        &self,
        delivered: &Delivered,
        cause: &Attributes,
        request: &PreparedCall,
        response: Option<Value>,
    ) -> Answer {
        let (Some(emit), Some(schema)) = (&self.preparer.consumer.emit, self.follow_up_schema) else {
            return Answer::Applied;
        };
        let made = self.make_follow_up(emit, schema, delivered, cause, request, response).await;
        match made {
            Ok((key, attributes, value)) => self.publish(delivered, emit, &key, &attributes, &value).await,
            Err(reason) => Answer::AppliedUnreadable(reason),
        }
    }

    async fn make_follow_up(
        &self,
        emit: &Emit,
        schema: u32,
        delivered: &Delivered,
        cause: &Attributes,
        request: &PreparedCall,
        response: Option<Value>,
    ) -> Result<(Vec<u8>, Attributes, Vec<u8>), Reason> {
        let record = &delivered.record;
        let not_emitted = |detail: String| reason("follow-up", detail);
        let value = record.value.as_deref().unwrap_or_default();
        let (writer, datum) =
            split(value, record.headers.last(VALUE_SCHEMA_HEADER)).map_err(|e| not_emitted(e.to_string()))?;
        let reader = self.preparer.reader(writer).await.map_err(|step| match step {
            Step::Refused(reason) | Step::NotNow(Answer::NotApplied(reason), _) => reason,
            Step::Call(_) | Step::Skip | Step::NotNow(..) => not_emitted("the event cannot be read".to_owned()),
        })?;
        let frame = reader.read(datum, &BOUNDS).map_err(|e| not_emitted(e.to_string()))?;
        let response = response.unwrap_or(Value::Null);
        let mut names = names(&request.looked_up);
        names.push(("response", &response));

        let key = emit.key.text(&frame, &names).map_err(|e| not_emitted(format!("emit.key: {e}")))?;
        let key = key.ok_or_else(|| not_emitted("emit.key is null".to_owned()))?;
        let mut value = v0_header(schema).to_vec();
        emit.payload
            .write(&frame, &names, &BOUNDS, &mut value)
            .map_err(|e| not_emitted(format!("emit.payload: {e}")))?;
        let attributes = self.follow_up_attributes(emit, cause, &key);
        attributes.check().map_err(|e| not_emitted(e.to_string()))?;
        Ok((key.into_bytes(), attributes, value))
    }

    fn follow_up_attributes(&self, emit: &Emit, cause: &Attributes, key: &str) -> Attributes {
        let (bus, consumer) = (&self.preparer.wiring.bus.name, &self.preparer.consumer.name);
        Attributes {
            id: self.cause("emit", cause).key().to_string(),
            source: format!("/{bus}/{consumer}"),
            ty: emit.event.name.clone(),
            time_ms: Some(crate::now_ms()),
            subject: Some(key.to_owned()),
            causation_id: Some(cause.id.clone()),
            traceparent: Some(trace::child_of(cause.traceparent.as_deref())),
            tracestate: cause.tracestate.clone(),
        }
    }

    /// Publishes until it is acknowledged: the effect exists, so nothing else can be made of its cause.
    async fn publish(
        &self,
        delivered: &Delivered,
        emit: &Emit,
        key: &[u8],
        attributes: &Attributes,
        value: &[u8],
    ) -> Answer {
        loop {
            match self.preparer.wiring.events.publish(&emit.event.topic, key, attributes, value).await {
                Ok(_) => {
                    self.tell(delivered, || What::Followed { event: emit.event.name.clone() });
                    return Answer::Applied;
                }
                Err(refused @ PublishError::Refused { .. }) => {
                    return Answer::AppliedUnreadable(reason("follow-up", refused.to_string()));
                }
                Err(error @ PublishError::NotAcknowledged { .. }) => {
                    tracing::warn!(consumer = self.preparer.consumer.name, event_id = attributes.id, %error,
                        "the follow-up event was not acknowledged; it is published again");
                    tokio::time::sleep(PUBLISH_AGAIN).await;
                }
            }
        }
    }

    fn observe(&self, attributes: &Attributes, answer: &Answer) {
        let consumer = &self.preparer.consumer.name;
        self.metrics.attempts.with_label_values(&[consumer, label(answer)]).inc();
        if let (Answer::Applied, Some(time_ms)) = (answer, attributes.time_ms) {
            let millis = u64::try_from(crate::now_ms() - time_ms).unwrap_or(0);
            self.metrics.effect_seconds.observe(Duration::from_millis(millis).as_secs_f64());
        }
    }

    fn tell_called(
        &self,
        delivered: &Delivered,
        attributes: &Attributes,
        attempt: u32,
        answer: &Answer,
        log: &AttemptLog,
        took: Duration,
    ) {
        let consumer = &self.preparer.consumer;
        let answer_label = label(answer);
        tracing::debug!(
            consumer = consumer.name,
            event_id = attributes.id,
            attempt,
            answer = answer_label,
            status = log.status,
            trace_id = attributes.traceparent.as_deref().and_then(trace::trace_id),
            "called"
        );
        self.tell(delivered, || What::Called {
            operation: format!("{}.{}", consumer.call.system.name, consumer.call.operation.id),
            attempt,
            answer: answer_label,
            status: log.status,
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            detail: detail(answer).unwrap_or_default().to_owned(),
        });
    }

    fn tell(&self, delivered: &Delivered, what: impl FnOnce() -> What) {
        tell(&self.preparer, delivered, what);
    }
}

/// Tells whoever listens what happened to a record.
pub(super) fn tell(preparer: &Preparer, delivered: &Delivered, what: impl FnOnce() -> What) {
    preparer.wiring.happenings.tell(|| Happening {
        at_ms: crate::now_ms(),
        service: preparer.consumer.name.clone(),
        event_id: delivered.event_id().unwrap_or_default().to_owned(),
        event: preparer.consumer.event.name.clone(),
        key: delivered.key_text(),
        what: what(),
    });
}

fn log(excerpt: &str) -> AttemptLog {
    AttemptLog { at_ms: crate::now_ms(), status: None, excerpt: excerpt.to_owned() }
}

/// What is wrong, as a sentence, where something is.
pub(super) fn detail(answer: &Answer) -> Option<&str> {
    match answer {
        Answer::Applied | Answer::Throttled { .. } => None,
        Answer::AppliedUnreadable(reason)
        | Answer::Refused(reason)
        | Answer::Conflict(reason)
        | Answer::AbsentOrForbidden(reason)
        | Answer::NotApplied(reason)
        | Answer::Unknown(reason)
        | Answer::Credential(reason)
        | Answer::Misconfigured(reason) => Some(&reason.detail),
    }
}

/// A class of answers as a metric's label.
pub(super) fn label(answer: &Answer) -> &'static str {
    match answer {
        Answer::Applied => "applied",
        Answer::AppliedUnreadable(_) => "applied-unreadable",
        Answer::Refused(_) => "refused",
        Answer::Conflict(_) => "conflict",
        Answer::AbsentOrForbidden(_) => "absent-or-forbidden",
        Answer::NotApplied(_) => "not-applied",
        Answer::Unknown(_) => "unknown",
        Answer::Throttled { .. } => "throttled",
        Answer::Credential(_) => "credential",
        Answer::Misconfigured(_) => "misconfigured",
    }
}
