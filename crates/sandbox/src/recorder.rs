//! A recording system for load and fault tests: takes any POST and DELETE, fast, and logs what an oracle judges by.
//!
//! It knows no contract. Where a test needs one, it stands in with [`crate::systems`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::http::{DropConnection, Server};

/// The longest body that is read.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How a recorder behaves.
pub struct Options {
    /// What each answer takes; an effect is made before it passes.
    pub latency: Duration,
    /// Whether a key that was applied makes no second effect; it is answered like one.
    pub remembers_keys: bool,
    /// Where the entity's key stands in a JSON body, as a JSON pointer; without it bodies are not parsed.
    pub key_pointer: Option<String>,
    /// Which status an effect is answered with.
    pub status: u16,
    /// The JSON that every answer has as its body.
    pub body: String,
    /// Whether the body is instead what came with the call: its headers, with the credential among them.
    pub repeats_headers: bool,
    /// Whether these headers prove who calls. Where they do not, the answer is 401 and there is no effect.
    #[allow(clippy::type_complexity, reason = "said once, here")]
    pub proven: Option<Box<dyn Fn(&HeaderMap) -> bool + Send + Sync>>,
    /// What becomes of each attempt that is proven, instead of success. It is asked under the log's lock: it must not wait.
    #[allow(clippy::type_complexity, reason = "said once, here")]
    pub react: Option<Box<dyn Fn(&Arrival) -> Option<Reaction> + Send + Sync>>,
}

/// What a script makes of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reaction {
    /// The status; an effect is made if it is 2xx.
    pub status: u16,
    /// Time before the answer, on top of the latency.
    pub delay: Duration,
    /// Whether the connection is closed instead of answering. With a status of 2xx the effect is made nevertheless.
    pub drop: bool,
    /// The `Retry-After`, in seconds.
    pub retry_after: Option<u32>,
}

/// An attempt, in the order in which the recorder took them.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrival {
    /// Since the recorder's start.
    pub at: Duration,
    /// The path.
    pub path: String,
    /// `Idempotency-Key`, without quotes.
    pub idempotency_key: Option<String>,
    /// The headers that name an event, by name: those that begin with `ce-` or `ce_`, `traceparent` and `tieline-replay`.
    pub event_headers: BTreeMap<String, String>,
    /// SHA-256 of the body.
    pub body_sha256: [u8; 32],
    /// What stands at the options' pointer, as text.
    pub key: Option<String>,
    /// How many attempts with its idempotency key came before.
    pub earlier_attempts: u32,
    /// What was answered.
    pub status: u16,
    /// Whether the connection was closed instead.
    pub dropped: bool,
    /// Whether it made an effect.
    pub applied: bool,
}

/// A recorder that lives as long as this value.
#[derive(Debug)]
pub struct Recorder {
    server: Server,
    shared: Arc<Shared>,
}

struct Shared {
    options: Options,
    started: Instant,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    arrivals: Vec<Arrival>,
    attempts: BTreeMap<String, u32>,
    applied_keys: BTreeSet<String>,
    /// Counted, since tests ask many times a second and there may be a million arrivals.
    effects: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            latency: Duration::ZERO,
            remembers_keys: true,
            key_pointer: None,
            status: 200,
            body: "{}".to_owned(),
            repeats_headers: false,
            proven: None,
            react: None,
        }
    }
}

impl Default for Reaction {
    fn default() -> Self {
        Self { status: 200, delay: Duration::ZERO, drop: false, retry_after: None }
    }
}

impl Recorder {
    /// Starts a recorder on a loopback port of the kernel's choice. To be called in a Tokio runtime.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(options: Options) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { options, started: Instant::now(), log: Mutex::default() });
        let router = Router::new().fallback(record).with_state(shared.clone());
        let server = Server::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), router).await?;
        Ok(Self { server, shared })
    }

    /// Its address, without a trailing slash.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The time since its start, by which attempts are logged.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.shared.started.elapsed()
    }

    /// All attempts so far, in order.
    #[must_use]
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.shared.log().arrivals.clone()
    }

    /// How many attempts there were so far.
    #[must_use]
    pub fn arrived(&self) -> usize {
        self.shared.log().arrivals.len()
    }

    /// How many effects were made so far.
    #[must_use]
    pub fn effects(&self) -> usize {
        self.shared.log().effects
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("arrivals", &self.log().arrivals.len()).finish_non_exhaustive()
    }
}

impl Shared {
    /// A script that panics leaves the log as it was before that attempt.
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs an attempt and says what becomes of it.
    fn take(&self, mut arrival: Arrival, headers: &HeaderMap) -> Reaction {
        let mut log = self.log();
        // Taken under the lock, so that times rise in the order of the log.
        arrival.at = self.started.elapsed();
        let key = arrival.idempotency_key.clone();
        arrival.earlier_attempts = key.as_ref().and_then(|key| log.attempts.get(key)).copied().unwrap_or(0);
        let reaction = self.reaction(&arrival, headers);
        let seen = key.as_ref().is_some_and(|key| log.applied_keys.contains(key));
        arrival.status = reaction.status;
        arrival.dropped = reaction.drop;
        arrival.applied = (200..300).contains(&reaction.status) && !(self.options.remembers_keys && seen);
        if let Some(key) = key {
            *log.attempts.entry(key.clone()).or_default() += 1;
            if arrival.applied {
                log.applied_keys.insert(key);
            }
        }
        log.effects += usize::from(arrival.applied);
        log.arrivals.push(arrival);
        reaction
    }

    fn reaction(&self, arrival: &Arrival, headers: &HeaderMap) -> Reaction {
        let Options { proven, react, status, .. } = &self.options;
        if proven.as_ref().is_some_and(|proven| !proven(headers)) {
            return Reaction { status: 401, ..Reaction::default() };
        }
        let usual = Reaction { status: *status, ..Reaction::default() };
        react.as_ref().and_then(|react| react(arrival)).unwrap_or(usual)
    }
}

async fn record(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    if parts.method != "POST" && parts.method != "DELETE" {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else { return StatusCode::PAYLOAD_TOO_LARGE.into_response() };
    let key = shared.options.key_pointer.as_ref().and_then(|pointer| key_at(pointer, &body));
    let arrival = Arrival {
        at: Duration::ZERO,
        path: parts.uri.path().to_owned(),
        idempotency_key: text(&parts.headers, "idempotency-key").map(|key| key.trim_matches('"').to_owned()),
        event_headers: event_headers(&parts.headers),
        body_sha256: Sha256::digest(&body).into(),
        key,
        earlier_attempts: 0,
        status: 0,
        dropped: false,
        applied: false,
    };
    let reaction = shared.take(arrival, &parts.headers);
    let wait = shared.options.latency + reaction.delay;
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    if reaction.drop {
        return DropConnection.into_response();
    }
    let Options { repeats_headers, body, .. } = &shared.options;
    answer(reaction, if *repeats_headers { repeated(&parts.headers) } else { body.clone() })
}

fn answer(reaction: Reaction, body: String) -> Response {
    let status = StatusCode::from_u16(reaction.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
    if let Some(seconds) = reaction.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// Headers as JSON, those with a credential first.
fn repeated(headers: &HeaderMap) -> String {
    let mut all: Vec<_> =
        headers.iter().map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes()))).collect();
    all.sort_by_key(|(name, _)| !matches!(*name, "authorization" | "x-api-key"));
    let all: serde_json::Map<String, Value> =
        all.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    serde_json::json!({ "you_sent": all }).to_string()
}

fn key_at(pointer: &str, body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let key = body.pointer(pointer)?;
    Some(key.as_str().map_or_else(|| key.to_string(), str::to_owned))
}

fn event_headers(headers: &HeaderMap) -> BTreeMap<String, String> {
    let ours = ["traceparent", "tieline-replay"];
    let named = |name: &str| name.starts_with("ce-") || name.starts_with("ce_") || ours.contains(&name);
    let found = headers.iter().filter(|(name, _)| named(name.as_str()));
    found.filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned()))).collect()
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}
