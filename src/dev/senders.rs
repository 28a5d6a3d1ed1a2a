//! Plays the senders: a body is signed as its system would sign it, and sent to the producer's webhook.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use jiff::Timestamp;
use tieline_bus::{Bus, Producer, Source};
use tieline_server::webhook::sign;
use uuid::Uuid;

/// A header that says under which id to send; a new one without it.
const DELIVERY_ID: &str = "x-delivery-id";

struct Senders {
    producers: BTreeMap<String, Arc<Producer>>,
    webhooks: String,
    client: reqwest::Client,
}

/// The router: `POST /send/PRODUCER`.
pub fn router(bus: &Bus, webhooks: &str) -> Router {
    let senders =
        Senders { producers: bus.producers.clone(), webhooks: webhooks.to_owned(), client: reqwest::Client::new() };
    Router::new().route("/send/{producer}", post(send)).with_state(Arc::new(senders))
}

async fn send(
    State(senders): State<Arc<Senders>>,
    Path(producer): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(found) = senders.producers.get(&producer) else {
        let known = senders.producers.keys().cloned().collect::<Vec<_>>().join(", ");
        return (StatusCode::NOT_FOUND, format!("no producer `{producer}`; there are {known}\n")).into_response();
    };
    let given = headers.get(DELIVERY_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
    let id = given.unwrap_or_else(|| format!("msg_{}", Uuid::new_v4().simple()));
    match deliver(&senders.client, &senders.webhooks, found, &id, body.to_vec()).await {
        Ok((status, text)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
            (status, format!("{text}\n")).into_response()
        }
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{error:#}\n")).into_response(),
    }
}

/// Signs a body and sends it: what the webhook answered.
///
/// # Errors
/// When it cannot be signed or sent.
pub async fn deliver(
    client: &reqwest::Client,
    webhooks: &str,
    producer: &Producer,
    id: &str,
    body: Vec<u8>,
) -> anyhow::Result<(u16, String)> {
    let Source::Webhook(webhook) = &producer.source;
    let mut request = client.post(format!("{webhooks}{}", webhook.path)).header("content-type", "application/json");
    for (name, value) in sign(webhook, id, Timestamp::now(), &body)? {
        request = request.header(name, value);
    }
    let response = request.body(body).send().await?;
    Ok((response.status().as_u16(), response.text().await?))
}
