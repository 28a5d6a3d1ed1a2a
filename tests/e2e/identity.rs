//! An identity provider that gives out tokens (RFC 6749, section 4.4), revokes them, and gives none if told so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tieline_sandbox::http::Server;

use crate::canary::Canary;
use crate::cluster::any_port;

/// The client whom it knows.
pub const CLIENT_ID: &str = "tieline";

/// A provider that lives as long as this value.
pub struct Identity {
    server: Server,
    pub given: Arc<Given>,
}

/// What it has given out. Tokens are numbered from 1.
#[derive(Default)]
pub struct Given {
    requests: AtomicUsize,
    last: AtomicUsize,
    /// The first that still holds.
    holds_from: AtomicUsize,
    refuses: AtomicBool,
}

impl Identity {
    pub async fn start() -> Self {
        let given = Arc::new(Given::default());
        let router = Router::new().route("/token", post(token)).with_state(Arc::clone(&given));
        Self { server: Server::start(any_port(), router).await.expect("a port"), given }
    }

    /// The address of its token endpoint.
    pub fn token_url(&self) -> String {
        format!("{}/token", self.server.url())
    }
}

impl Given {
    /// How often a token was asked for.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// From now on no token that it has given out holds.
    pub fn revoke(&self) {
        self.holds_from.store(self.last.load(Ordering::SeqCst) + 1, Ordering::SeqCst);
    }

    /// From now on it refuses the client, or does not.
    pub fn refuse(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::SeqCst);
    }

    /// The token of this number.
    pub fn token(&self, number: usize) -> String {
        format!("{}.{number}", Canary::AccessToken.value())
    }

    /// Whether these headers show a token that holds.
    pub fn holds(&self, headers: &HeaderMap) -> bool {
        let number = shown(headers).rsplit_once('.').and_then(|(_, number)| number.parse().ok());
        let is_given = |number: usize| shown(headers) == format!("Bearer {}", self.token(number));
        number.is_some_and(|number| number >= self.holds_from.load(Ordering::SeqCst) && is_given(number))
    }
}

/// It refuses with the client's secret in its answer: whoever shows the answer must have taken that out.
async fn token(State(given): State<Arc<Given>>, headers: HeaderMap) -> Response {
    given.requests.fetch_add(1, Ordering::SeqCst);
    if given.refuses.load(Ordering::SeqCst) || shown(&headers) != basic() {
        let description = format!("{} is revoked", shown(&headers));
        let body = json!({ "error": "invalid_client", "error_description": description });
        return (StatusCode::UNAUTHORIZED, axum::Json(body)).into_response();
    }
    let number = given.last.fetch_add(1, Ordering::SeqCst) + 1;
    axum::Json(json!({ "access_token": given.token(number), "token_type": "Bearer", "expires_in": 3_600 }))
        .into_response()
}

fn shown(headers: &HeaderMap) -> &str {
    headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// How the client shows itself: id and secret form-encoded before they are put together (RFC 6749, section 2.3.1).
fn basic() -> String {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let escaped = |byte: u8| if unreserved(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    let secret: String = Canary::ClientSecret.value().bytes().map(escaped).collect();
    format!("Basic {}", STANDARD.encode(format!("{CLIENT_ID}:{secret}")))
}
