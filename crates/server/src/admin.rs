//! The port for whoever operates the bus: is it alive, is it ready, what does it measure, what is stuck. The console
//! has its place here when it comes.
//!
//! It asks, and changes nothing. It shows names of definitions and reasons, never keys or payloads; still it is for
//! the inner network only.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use prometheus::{Encoder as _, Registry, TextEncoder};
use serde::Serialize;
use serde_json::json;

use crate::problem::problem;

/// What an admin port shows.
#[derive(Clone)]
pub struct Admin {
    /// What is measured.
    pub registry: Registry,
    /// What has to hold for this process to do its work. Asked at each request: it must not block.
    pub conditions: Arc<dyn Fn() -> Vec<Condition> + Send + Sync>,
    /// What does not go on by itself. Asked at each request: it must not block.
    pub stuck: Arc<dyn Fn() -> Vec<Stuck> + Send + Sync>,
}

/// Something that has to hold for a process to do its work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// What: `kafka`, `registry`, `consumers/erp-project`.
    pub name: String,
    /// Whether it holds.
    pub ok: bool,
    /// How it stands, for a person.
    pub detail: String,
}

/// Something that does not go on by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stuck {
    /// What: `consumers/billing-contract, partition 3`.
    pub what: String,
    /// Why, for the person on call.
    pub why: String,
    /// Since when, in milliseconds since the Unix epoch.
    pub since_ms: i64,
    /// What sets it going again.
    pub remedy: String,
}

/// The router of an admin port: `/livez`, `/readyz`, `/metrics`, `/stuck`.
pub fn admin(state: Admin) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/stuck", get(stuck))
        .fallback(async || problem(StatusCode::NOT_FOUND, Some("there are /livez, /readyz, /metrics and /stuck")))
        .method_not_allowed_fallback(async || problem(StatusCode::METHOD_NOT_ALLOWED, Some("GET only")))
        .with_state(state)
}

/// Alive is whoever answers. A process that waits for Kafka is alive: killing it would help nobody.
async fn livez() -> Response {
    fresh(StatusCode::OK, json!({ "live": true }))
}

/// Ready when all conditions hold; each is shown, so that 503 says why.
async fn readyz(State(admin): State<Admin>) -> Response {
    let conditions = (admin.conditions)();
    let ready = conditions.iter().all(|condition| condition.ok);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    fresh(status, json!({ "ready": ready, "conditions": conditions }))
}

/// All metrics, in the Prometheus text format.
async fn metrics(State(admin): State<Admin>) -> Response {
    let mut text = Vec::new();
    match TextEncoder::new().encode(&admin.registry.gather(), &mut text) {
        Ok(()) => ([(CONTENT_TYPE, HeaderValue::from_static(prometheus::TEXT_FORMAT))], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written");
            problem(StatusCode::INTERNAL_SERVER_ERROR, Some("the metrics cannot be written: see the log"))
        }
    }
}

/// What is stuck, and why; an empty list when nothing is.
async fn stuck(State(admin): State<Admin>) -> Response {
    fresh(StatusCode::OK, json!({ "stuck": (admin.stuck)() }))
}

/// JSON that is true now and must not come out of a cache.
fn fresh(status: StatusCode, body: serde_json::Value) -> Response {
    (status, [(CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(body)).into_response()
}
