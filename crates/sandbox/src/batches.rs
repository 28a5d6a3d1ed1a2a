//! A recording system that takes lists, and says of each item what became of it: for tests of batches.
//!
//! `POST {"items": [{"ref": …, "key": …, …}]}` is answered with 207 and `{"results": [{"ref": …, "status": …}]}`, in the
//! opposite order, so that whoever goes by position is found out. `ref` names the entity, `key` the effect. What is logged
//! are attempts of items, as [`crate::recorder`] logs those of calls.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::http::{DropConnection, Server};
use crate::recorder::Arrival;

/// The longest body that is read.
const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What a script makes of a request.
type React = dyn Fn(&[Arrival]) -> Whole + Send + Sync;

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whole {
    /// Each item has a status of its own, in their order; one that is 2xx is an effect, of one that is 0 nothing is said.
    Items(Vec<u16>),
    /// No item has an effect, and the request is answered with this.
    Status(u16),
    /// Each item has its effect, and the connection is closed.
    Dropped,
}

/// A system that takes lists, as long as this value lives.
#[derive(Debug)]
pub struct Batches {
    server: Server,
    shared: Arc<Shared>,
}

struct Shared {
    react: Box<React>,
    started: Instant,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    arrivals: Vec<Arrival>,
    requests: Vec<Vec<Arrival>>,
    attempts: BTreeMap<String, u32>,
    applied_keys: BTreeSet<String>,
}

impl Batches {
    /// Starts one on a loopback port of the kernel's choice. The script is asked under the log's lock: it must not wait.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(react: impl Fn(&[Arrival]) -> Whole + Send + Sync + 'static) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { react: Box::new(react), started: Instant::now(), log: Mutex::default() });
        let router = Router::new().fallback(take).with_state(shared.clone());
        let server = Server::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), router).await?;
        Ok(Self { server, shared })
    }

    /// Its address, without a trailing slash.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The attempts of all items, in order.
    #[must_use]
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.shared.log().arrivals.clone()
    }

    /// The same, by request.
    #[must_use]
    pub fn requests(&self) -> Vec<Vec<Arrival>> {
        self.shared.log().requests.clone()
    }

    /// How many effects there are.
    #[must_use]
    pub fn effects(&self) -> usize {
        self.shared.log().applied_keys.len()
    }
}

impl Shared {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

async fn take(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let body = to_bytes(request.into_body(), BODY_BYTES_MAX).await.unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let Some(items) = body.pointer("/items").and_then(Value::as_array) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let mut log = shared.log();
    let mut arrivals: Vec<Arrival> = items.iter().map(|item| arrival(&shared, &mut log, &path, item)).collect();
    let whole = (shared.react)(&arrivals);
    let status = |n: usize| match &whole {
        Whole::Items(statuses) => statuses.get(n).copied().unwrap_or(200),
        Whole::Status(status) => *status,
        Whole::Dropped => 200,
    };
    for (n, arrival) in arrivals.iter_mut().enumerate() {
        arrival.status = status(n);
        arrival.dropped = whole == Whole::Dropped;
        let key = arrival.idempotency_key.clone().unwrap_or_default();
        // A key that was applied is answered like one, and makes no second effect.
        arrival.applied = (200..300).contains(&arrival.status) && log.applied_keys.insert(key);
    }
    log.arrivals.extend(arrivals.iter().cloned());
    log.requests.push(arrivals.clone());
    drop(log);
    match whole {
        Whole::Items(_) => {
            let result = |arrival: &Arrival| json!({ "ref": arrival.key, "status": arrival.status });
            let spoken_of = arrivals.iter().rev().filter(|arrival| arrival.status != 0);
            let results: Vec<Value> = spoken_of.map(result).collect();
            let body = json!({ "results": results }).to_string();
            (StatusCode::MULTI_STATUS, [(header::CONTENT_TYPE, "application/json")], body).into_response()
        }
        Whole::Status(status) => StatusCode::from_u16(status).unwrap_or(StatusCode::IM_A_TEAPOT).into_response(),
        Whole::Dropped => DropConnection.into_response(),
    }
}

fn arrival(shared: &Shared, log: &mut Log, path: &str, item: &Value) -> Arrival {
    let text = |pointer| item.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let key = text("/key");
    let attempts = log.attempts.entry(key.clone().unwrap_or_default()).or_default();
    *attempts += 1;
    Arrival {
        at: shared.started.elapsed(),
        path: path.to_owned(),
        idempotency_key: key,
        event_headers: BTreeMap::new(),
        body_sha256: Sha256::digest(item.to_string()).into(),
        key: text("/ref"),
        earlier_attempts: *attempts - 1,
        status: 0,
        dropped: false,
        applied: false,
    }
}
