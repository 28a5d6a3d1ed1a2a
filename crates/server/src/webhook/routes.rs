//! The webhooks of all producers of a process, by path.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::CONTENT_ENCODING;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use jiff::Timestamp;
use prometheus::Registry;
use serde_json::json;
use tieline_runtime::producer::{Accepted, Delivery};
use tracing::{Instrument as _, Span, field, info, info_span, warn};

use super::body::Room;
use super::headers::passed_on;
use super::hook::{Endpoint, Hook};
use super::json;
use super::metrics::{Metrics, Outcome};
use super::refusal::{Refusal, unknown_path};
use super::trace::Trace;
use super::verify::verify_by;

/// Why there is no router for these webhooks.
#[derive(Debug, thiserror::Error)]
pub enum WebhooksError {
    /// Two of them have one path, and nothing says whose a request would be.
    #[error("producers `{first}` and `{second}` both have the webhook path {path}: give one of them another")]
    SamePath {
        /// The path.
        path: String,
        /// The one producer.
        first: String,
        /// The other.
        second: String,
    },
    /// The metrics are registered already.
    #[error("the metrics of the webhooks cannot be registered: make one router for all webhooks of a process")]
    Metrics(#[from] prometheus::Error),
}

/// The router of these producers' webhooks: see [`router`].
///
/// # Errors
/// When two have one path, or the metrics are registered already.
pub fn webhooks(endpoints: Vec<Endpoint>, registry: &Registry) -> Result<Router, WebhooksError> {
    router(endpoints.into_iter().map(Hook::from).collect(), registry)
}

/// The router of these webhooks. What they count is registered as `tieline_webhook_requests_total{producer,outcome}`
/// and `tieline_webhook_seconds{producer}`.
///
/// # Errors
/// When two have one path, or the metrics are registered already.
pub fn router(hooks: Vec<Hook>, registry: &Registry) -> Result<Router, WebhooksError> {
    let largest_body_bytes = hooks.iter().map(|hook| hook.body_bytes_max).max().unwrap_or(0);
    let webhooks = Webhooks {
        by_path: by_path(hooks)?,
        metrics: Metrics::register(registry)?,
        room: Room::new(largest_body_bytes),
    };
    // Not `Router::route`: a path of a definition is a plain text, and `{` in it is no parameter.
    Ok(Router::new().fallback(receive).with_state(Arc::new(webhooks)))
}

fn by_path(hooks: Vec<Hook>) -> Result<BTreeMap<String, Hook>, WebhooksError> {
    let mut by_path = BTreeMap::new();
    for hook in hooks {
        match by_path.entry(hook.path.clone()) {
            Entry::Vacant(place) => _ = place.insert(hook),
            Entry::Occupied(first) => {
                return Err(WebhooksError::SamePath {
                    path: hook.path,
                    first: first.get().producer.clone(),
                    second: hook.producer,
                });
            }
        }
    }
    Ok(by_path)
}

/// What all requests share.
struct Webhooks {
    by_path: BTreeMap<String, Hook>,
    metrics: Metrics,
    room: Room,
}

/// Takes one request, from its head to its answer.
async fn receive(State(webhooks): State<Arc<Webhooks>>, request: Request) -> Response {
    let Some(hook) = webhooks.by_path.get(request.uri().path()) else {
        webhooks.metrics.unknown_path();
        return unknown_path();
    };
    let producer = hook.producer.as_str();
    let observation = webhooks.metrics.observe(producer);
    let trace = Trace::of(request.headers());
    let span = info_span!("webhook", producer, trace_id = trace.id(), delivery_id = field::Empty);
    let result = hook.take(request, trace, &webhooks.room).instrument(span.clone()).await;
    let _entered = span.enter();
    observation.ended(report(&result));
    match result {
        Ok(accepted) => accepted_response(accepted),
        Err(refusal) => refusal.into_response(),
    }
}

impl Hook {
    /// Reads, verifies, parses, hands over: in this order, each step within its bounds.
    async fn take(&self, request: Request, trace: Trace, room: &Room) -> Result<Accepted, Refusal> {
        let (head, body) = request.into_parts();
        admissible(&head.method, &head.headers)?;
        let mut body = room.read(body, self.body_bytes_max).await?;

        let received = Timestamp::now();
        let id = verify_by(&self.verify, &self.id_header, &head.headers, &body.bytes, received)?;
        Span::current().record("delivery_id", id.as_str());

        let _slot = room.slot()?;
        let delivery = Delivery {
            id: id.into(),
            headers: passed_on(&head.headers, &self.verify),
            json: json::parse(&body.bytes)?,
            body: std::mem::take(&mut body.bytes),
            received_ms: received.as_millisecond(),
            traceparent: Some(trace.traceparent),
        };
        self.accept.accept(delivery).await.map_err(Refusal::NotAccepted)
    }
}

/// Whether a request can be a webhook's, by its head.
fn admissible(method: &Method, headers: &HeaderMap) -> Result<(), Refusal> {
    if method != Method::POST {
        return Err(Refusal::Method);
    }
    // The signature is over the bytes that were signed; whether that is before or after compression, no scheme says.
    let encoded = |value: &axum::http::HeaderValue| !value.as_bytes().eq_ignore_ascii_case(b"identity");
    if headers.get_all(CONTENT_ENCODING).iter().any(encoded) {
        return Err(Refusal::Encoded);
    }
    Ok(())
}

/// Logs how a request ended, and says how it is counted. Never the payload.
fn report(result: &Result<Accepted, Refusal>) -> Outcome {
    match result {
        Ok(Accepted::Published { event_id, event }) => {
            info!(event_id, event, "published");
            Outcome::Published
        }
        Ok(Accepted::Ignored) => {
            info!("ignored: no rule takes it");
            Outcome::Ignored
        }
        Ok(Accepted::DeadLettered { reason }) => {
            warn!(reason, "kept as a dead letter");
            Outcome::DeadLettered
        }
        Err(refusal) => {
            let cause = std::error::Error::source(refusal).map(field::display);
            warn!(status = refusal.status().as_u16(), reason = %refusal, cause, "refused");
            refusal.outcome()
        }
    }
}

/// 202: the broker has it, or nothing had to be kept.
fn accepted_response(accepted: Accepted) -> Response {
    let body = match accepted {
        Accepted::Published { event_id, event } => json!({ "event_id": event_id, "event": event }),
        Accepted::Ignored => json!({ "ignored": true }),
        Accepted::DeadLettered { reason } => json!({ "dead_letter": reason }),
    };
    (StatusCode::ACCEPTED, Json(body)).into_response()
}
