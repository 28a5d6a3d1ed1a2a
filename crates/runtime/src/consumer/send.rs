//! From a request to its effect: call the system, judge what it answers, publish what follows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tieline_bus::Call;
use tieline_delivery::limits::Flow;
use tieline_delivery::{Answer, AttemptLog, Class};
use tieline_schema::cloudevents::Attributes;
use uuid::Uuid;

use super::prepare::{Delivered, PreparedCall, Preparer, reason};
use crate::fail_point::{FailPoint, pass};
use crate::happening::{Happening, What};
use crate::limits::Ticket;
use crate::system::idempotency::Cause;
use crate::system::{Attempted, Request, SystemClient};
use crate::telemetry::ConsumerMetrics;
use crate::trace;

/// The header that a replayed record's request carries. Its value is the order's id, as `tieline control list` shows it.
const REPLAY_HEADER: &str = "Tieline-Replay";

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
    /// Makes one attempt, and publishes what follows from it. `maybe_applied` says whether an earlier one may have been
    /// applied.
    pub async fn send(
        &self,
        delivered: &Delivered,
        attempt: u32,
        maybe_applied: bool,
        ticket: Option<Ticket>,
    ) -> (Answer, AttemptLog) {
        let (Some(attributes), Some(prepared)) = (delivered.attributes(), delivered.request()) else {
            let lost = reason("internal", "the prepared request is gone; it is made again".to_owned());
            return (Answer::NotApplied(lost), log("the prepared request is gone"));
        };
        let Some(call) = self.preparer.call(delivered) else { return unknown_tombstone() };
        // Not the name of the call of an event: a tombstone may come under the id of one.
        let what = if delivered.is_tombstone() { "tombstone" } else { "call" };
        let key = self.cause(what, attributes, delivered.effect.round()).key();
        let reads_response = self.follows(delivered);
        let (headers, on_behalf) = (replay_header(delivered.replay.as_deref()), self.on_behalf(delivered.class()));
        let mut request = Request { reads_response, headers, on_behalf, ..request(call, &prepared, attributes, key) };
        let started = Instant::now();
        let mut attempted = self.system.once(&mut request, &delivered.effect, maybe_applied, ticket).await;
        if attempted.answer == Answer::Applied {
            pass(FailPoint::Answered);
        }
        if self.is_gone(delivered, &attempted) {
            attempted.answer = Answer::Applied;
        }
        let took = started.elapsed();
        self.metrics.call_seconds.observe(took.as_secs_f64());
        self.tell_called((delivered, attributes, call), attempt, &attempted, took);

        let answer = match attempted.answer {
            Answer::Applied if reads_response => {
                // Boxed, since it would make the future of each call larger.
                Box::pin(self.follow_up(delivered, attributes, &prepared, attempted.came)).await
            }
            other => other,
        };
        self.observe(attributes, &answer);
        (answer, attempted.log)
    }

    /// For whom a call is, where the limits of the system are shared.
    pub(super) fn on_behalf(&self, class: Class) -> Option<Arc<Flow>> {
        let limited = self.system.gate().is_some_and(|gate| gate.is_limited());
        limited.then(|| Arc::clone(self.preparer.flows.of(class)))
    }

    /// What an effect of this event comes from: the call, or the follow-up event, which has no rounds.
    pub(super) fn cause<'a>(&'a self, call: &'a str, attributes: &'a Attributes, round: u32) -> Cause<'a> {
        self.preparer.cause(call, attributes, round)
    }

    /// Whether an event follows from the effect of a record. From that of a tombstone none does: it has no value that it
    /// could be made of.
    pub(super) fn follows(&self, delivered: &Delivered) -> bool {
        self.follow_up_schema.is_some() && !delivered.is_tombstone()
    }

    /// Whether this is the answer to a tombstone whose thing is not there: it has what it wants.
    fn is_gone(&self, delivered: &Delivered, attempted: &Attempted) -> bool {
        let said = match &attempted.answer {
            Answer::AbsentOrForbidden(_) | Answer::Refused(_) => attempted.log.status,
            Answer::Applied
            | Answer::AppliedUnreadable(_)
            | Answer::Conflict(_)
            | Answer::NotApplied(_)
            | Answer::Unknown(_)
            | Answer::Throttled { .. }
            | Answer::Credential(_)
            | Answer::Misconfigured(_) => None,
        };
        let tombstone = self.preparer.consumer.on_tombstone.as_ref().filter(|_| delivered.is_tombstone());
        said.zip(tombstone).is_some_and(|(status, tombstone)| tombstone.is_met_by(status))
    }

    pub(super) fn observe(&self, attributes: &Attributes, answer: &Answer) {
        let consumer = &self.preparer.consumer.name;
        self.metrics.attempts.with_label_values(&[consumer, label(answer)]).inc();
        if let (Answer::Applied, Some(time_ms)) = (answer, attributes.time_ms) {
            let millis = u64::try_from(crate::now_ms() - time_ms).unwrap_or(0);
            self.metrics.effect_seconds.observe(Duration::from_millis(millis).as_secs_f64());
        }
    }

    pub(super) fn tell_called(
        &self,
        (delivered, attributes, call): (&Delivered, &Attributes, &Call),
        attempt: u32,
        Attempted { answer, log, .. }: &Attempted,
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
            operation: format!("{}.{}", call.system.name, call.operation.id),
            attempt,
            answer: answer_label,
            status: log.status,
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            detail: detail(answer).unwrap_or_default().to_owned(),
        });
    }

    pub(super) fn tell(&self, delivered: &Delivered, what: impl FnOnce() -> What) {
        tell(&self.preparer, delivered, what);
    }
}

/// What tells the system that this is a replay, and of which order.
pub(super) fn replay_header(order: Option<&str>) -> Vec<(String, String)> {
    order.map(|order| (REPLAY_HEADER.to_owned(), order.to_owned())).into_iter().collect()
}

fn request(call: &Call, prepared: &PreparedCall, attributes: &Attributes, key: Uuid) -> Request {
    Request {
        operation: Arc::clone(&call.operation),
        parameters: prepared.parameters.clone(),
        body: prepared.body.clone(),
        idempotency_key: Some(key),
        traceparent: Some(trace::child_of(attributes.traceparent.as_deref())),
        headers: Vec::new(),
        on_behalf: None,
        reads_response: false,
    }
}

/// A tombstone that may have been carried out comes back after its `on_tombstone` is gone: there is no call to make again.
fn unknown_tombstone() -> (Answer, AttemptLog) {
    let detail =
        "an attempt of this tombstone may have been applied, and the definition has no `on_tombstone` any more";
    (Answer::Refused(reason("outcome-unknown", detail.to_owned())), log("nothing was sent"))
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
