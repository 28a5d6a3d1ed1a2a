//! One system: the way of a request through it, from its fault to its effect.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::credential::Tokens;
use super::fault::Fault;
use super::journal::{Arrival, Journal};
use super::memory::{Effect, Memory};
use super::parameter;
use super::problem::Problem;
use super::repeats::Refusal;
use super::response::{self, Making};
use super::route::{self, Match, Route};
use super::{Expected, Spec};
use crate::http::DropConnection;

/// The longest body that is read.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// The dice of a fault's shares begin alike each time, so that a run can be had again.
const DICE_SEED: u64 = 7;

/// The stand-in of a system.
#[derive(Debug)]
pub struct StandIn {
    spec: Spec,
    journal: Arc<Journal>,
    memory: Mutex<Memory>,
    tokens: Mutex<Tokens>,
    fault: Mutex<Fault>,
    dice: Mutex<StdRng>,
}

/// How a request ends.
struct Outcome {
    answer: Answer,
    applied: bool,
    replayed: bool,
}

enum Answer {
    Effect(Effect),
    Problem(Problem),
}

/// What is kept of a request for its entry in the journal.
#[derive(Default)]
struct Seen {
    operation: Option<String>,
    keys: BTreeMap<String, String>,
    body: Value,
}

impl StandIn {
    pub(super) fn new(spec: Spec, journal: Arc<Journal>) -> Self {
        let mut memory = Memory::default();
        let of_document = spec.contract.document["x-sandbox-seed"].as_object().into_iter().flatten();
        for (collection, objects) in of_document {
            memory.seed(collection, objects.as_array().map(Vec::as_slice).unwrap_or_default());
        }
        for (collection, objects) in &spec.seed {
            memory.seed(collection, objects);
        }
        Self {
            spec,
            journal,
            memory: Mutex::new(memory),
            tokens: Mutex::default(),
            fault: Mutex::default(),
            dice: Mutex::new(StdRng::seed_from_u64(DICE_SEED)),
        }
    }

    pub(super) fn ail(&self, fault: Fault) -> bool {
        if fault.expire_tokens {
            lock(&self.tokens).expire();
        }
        *lock(&self.fault) = fault;
        true
    }

    pub(super) fn token_requests(&self) -> u64 {
        lock(&self.tokens).requests()
    }

    /// What becomes of a request, all but the time that the answer takes.
    fn decide(&self, parts: &Parts, body: &[u8], fault: &Fault, seen: &mut Seen) -> Outcome {
        match self.admit(parts, body, fault, seen) {
            Err(problem) => {
                self.keep_failure(parts, body, fault, &problem);
                refused(problem)
            }
            Ok(found) => self.perform(parts, &found, body, &seen.body, fault),
        }
    }

    /// Some systems keep a failure under its key. Those that the fault makes are such.
    fn keep_failure(&self, parts: &Parts, body: &[u8], fault: &Fault, problem: &Problem) {
        if !self.spec.repeats.keeps_failures || fault.status != Some(problem.status()) {
            return;
        }
        let Some(key) = self.idempotency_key(&parts.headers) else { return };
        let (status, body_of_it) = (problem.status(), Some(problem.body()));
        let fingerprint = fingerprint(parts, body);
        let failure = Effect { fingerprint, status, body: body_of_it, location: None, etag: None };
        lock(&self.memory).remember(key, failure);
    }

    /// All that has to hold before an effect is made, in the order in which real systems look.
    fn admit(&self, parts: &Parts, body: &[u8], fault: &Fault, seen: &mut Seen) -> Result<Match, Problem> {
        let (method, path) = (parts.method.as_str(), parts.uri.path());
        let found = match route::find(&self.spec.contract.operations, method, path) {
            Route::Operation(found) => found,
            Route::OtherMethods(methods) => {
                return Err(Problem::new(405, "the contract has this path with other methods")
                    .with("allow", methods.join(", ")));
            }
            Route::Unknown => {
                return Err(Problem::new(404, "the contract has no such path; GET / lists those that it has"));
            }
        };
        seen.operation = Some(found.operation.id.clone());
        seen.body = serde_json::from_slice(body).unwrap_or_default();
        seen.keys = keys(&found.parameters, &seen.body);
        if let Some(status) = fault.refusal(self.roll()) {
            let problem = Problem::new(status, "a fault of the sandbox");
            return Err(match fault.retry_after {
                Some(seconds) => problem.with("retry-after", seconds.to_string()),
                None => problem,
            });
        }
        let shown = self.spec.credential.check(&parts.headers, &lock(&self.tokens));
        shown.map_err(|challenge| {
            Problem::new(401, "the credential is missing or wrong").with("www-authenticate", challenge)
        })?;
        self.judge(parts, body, &found)?;
        Ok(found)
    }

    /// Whether the request keeps to the contract.
    fn judge(&self, parts: &Parts, body: &[u8], found: &Match) -> Result<(), Problem> {
        let mut violations = parameter::violations(&found.operation, &found.parameters, &query(parts), &parts.headers);
        if let Some(request) = &found.operation.request {
            match serde_json::from_slice::<Value>(body) {
                Ok(value) => violations.extend(request.validator.violations(&value)),
                Err(_) if body.is_empty() && !request.required => {}
                Err(error) => return Err(Problem::new(400, format!("the body is no JSON: {error}"))),
            }
        }
        if violations.is_empty() { Ok(()) } else { Err(Problem::of_contract(violations)) }
    }

    /// Makes the effect, or finds it under the idempotency key. One after the other: two attempts make one effect.
    fn perform(&self, parts: &Parts, found: &Match, body: &[u8], request: &Value, fault: &Fault) -> Outcome {
        let mut memory = lock(&self.memory);
        let reads = matches!(found.operation.method.as_str(), "GET" | "HEAD");
        let key = self.idempotency_key(&parts.headers).filter(|_| !reads);
        if let Some(outcome) = key.as_ref().and_then(|key| self.repeated(&memory, key, parts, body)) {
            return outcome;
        }
        match self.effect(&mut memory, parts, found, request) {
            Err(problem) => refused(problem),
            Ok(effect) => {
                let effect = Effect { fingerprint: fingerprint(parts, body), ..effect };
                if let Some(key) = key {
                    let now = Instant::now();
                    memory.note_under_way(key.clone(), now, now + Duration::from_millis(fault.latency_ms));
                    memory.remember(key, effect.clone());
                }
                Outcome { answer: Answer::Effect(effect), applied: !reads, replayed: false }
            }
        }
    }

    /// What becomes of a request whose key was there before.
    fn repeated(&self, memory: &Memory, key: &str, parts: &Parts, body: &[u8]) -> Option<Outcome> {
        let (effect, repeats) = (memory.effect(key)?, &self.spec.repeats);
        if effect.fingerprint != fingerprint(parts, body) {
            let refusal = repeats.mismatch.clone().unwrap_or(Refusal::of(422));
            return Some(refused(refusal.problem("this idempotency key came with another request before")));
        }
        match repeats.in_progress.as_ref().filter(|_| memory.is_under_way(key, Instant::now())) {
            Some(refusal) => Some(refused(refusal.problem("the first request with this key is under way"))),
            None => Some(Outcome { answer: Answer::Effect(effect.clone()), applied: false, replayed: true }),
        }
    }

    /// Whether the request may change this object, as its conditions have it.
    fn check_condition(&self, memory: &Memory, headers: &HeaderMap, collection: &str, id: &str) -> Result<(), Problem> {
        let now = memory.object(collection, id).map(etag);
        let said = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let holds = match (said(header::IF_MATCH), said(header::IF_NONE_MATCH)) {
            (Some(wanted), _) => now.as_deref() == Some(wanted),
            (None, Some("*")) => now.is_none(),
            (None, _) => !self.spec.repeats.conditional,
        };
        if holds { Ok(()) } else { Err(Problem::new(412, "the condition does not hold")) }
    }

    fn effect(&self, memory: &mut Memory, parts: &Parts, found: &Match, request: &Value) -> Result<Effect, Problem> {
        let path = parts.uri.path().trim_end_matches('/');
        let operation = &*found.operation;
        let item =
            operation.path.rsplit('/').next().and_then(route::parameter).and_then(|name| found.parameters.get(name));
        let (status, _) = response::success(operation);
        let (collection, id) = match item {
            Some(id) => (path.rsplit_once('/').map_or("", |(collection, _)| collection), Some(id.as_str())),
            None => (path, None),
        };
        let answered = |body: Value| {
            let etag = Some(etag(&body)).filter(|_| self.spec.repeats.conditional && id.is_some());
            Effect { fingerprint: String::new(), status, body: Some(body), location: None, etag }
        };
        if let (false, Some(id)) = (matches!(operation.method.as_str(), "GET" | "HEAD"), id) {
            self.check_condition(memory, &parts.headers, collection, id)?;
        }
        let mut effect = match (operation.method.as_str(), id) {
            ("GET" | "HEAD", Some(id)) => answered(self.shown(memory, found, collection, id)?),
            ("GET" | "HEAD", None) => answered(self.listed(memory, found, collection, &query(parts))),
            ("DELETE", Some(id)) => match memory.remove(collection, id) {
                true => answered(Value::Null),
                false => return Err(Problem::new(404, "there is no such object")),
            },
            ("PUT" | "PATCH", Some(id)) => answered(self.changed(memory, found, collection, id, request)?),
            _ => self.created(memory, found, path, request)?,
        };
        let speaks = response::success(operation).1.is_some_and(|response| response.payload.is_some());
        effect.body = effect.body.filter(|_| speaks);
        Ok(effect)
    }

    fn created(&self, memory: &mut Memory, found: &Match, path: &str, request: &Value) -> Result<Effect, Problem> {
        if let Some((field, refusal)) = &self.spec.repeats.unique {
            let same = |object: &&Value| object.get(field).is_some_and(|value| Some(value) == request.get(field));
            if memory.objects_of(path).iter().any(same) {
                return Err(refusal.problem("there is one with this reference"));
            }
        }
        let making = self.making(found, request, memory.next_serial(path));
        let (id, object) = making.object(None);
        if !memory.keep(path, &id, object.clone()) {
            return Err(Problem::new(507, "the sandbox keeps no more objects"));
        }
        let (status, _) = response::success(&found.operation);
        let location = Some(format!("{path}/{id}"));
        Ok(Effect { fingerprint: String::new(), status, body: Some(object), location, etag: None })
    }

    fn changed(
        &self,
        memory: &mut Memory,
        found: &Match,
        collection: &str,
        id: &str,
        request: &Value,
    ) -> Result<Value, Problem> {
        let known = memory.object(collection, id).cloned();
        let mut object = match (found.operation.method.as_str(), known) {
            ("PATCH", Some(known)) => known,
            ("PATCH", None) if self.creates(found) => return Err(Problem::new(404, "there is no such object")),
            _ => self.making(found, request, 1).object(Some(id)).1,
        };
        if let (Some(object), Some(changes)) = (object.as_object_mut(), request.as_object()) {
            for (name, value) in changes {
                object.insert(name.clone(), value.clone());
            }
        }
        if memory.keep(collection, id, object.clone()) {
            Ok(object)
        } else {
            Err(Problem::new(507, "the sandbox keeps no more objects"))
        }
    }

    /// A known object. What the sandbox cannot make it is asked for as something that was always there: by example.
    fn shown(&self, memory: &Memory, found: &Match, collection: &str, id: &str) -> Result<Value, Problem> {
        match memory.object(collection, id) {
            Some(object) => Ok(object.clone()),
            None if self.creates(found) => Err(Problem::new(404, "there is no such object")),
            None => Ok(self.making(found, &Value::Null, 1).object(Some(id)).1),
        }
    }

    /// The known objects whose fields are as the query says, in the list that the contract has for them.
    fn listed(&self, memory: &Memory, found: &Match, collection: &str, query: &BTreeMap<String, String>) -> Value {
        let fits = |object: &&Value| {
            query.iter().all(|(name, wanted)| object.get(name).is_none_or(|value| response::as_text(value) == *wanted))
        };
        let objects: Vec<Value> = memory.objects_of(collection).into_iter().filter(fits).cloned().collect();
        let mut answer = self.making(found, &Value::Null, 1).object(None).1;
        let list = match &mut answer {
            Value::Object(members) => members.values_mut().find(|member| member.is_array()),
            list => Some(list),
        };
        match (list, objects.first()) {
            (Some(list), _) => *list = Value::Array(objects),
            (None, Some(first)) => answer = first.clone(),
            (None, None) => {}
        }
        answer
    }

    /// Whether the contract has a way to make what this operation shows or changes.
    fn creates(&self, found: &Match) -> bool {
        let collection = found.operation.path.rsplit_once('/').map_or("", |(collection, _)| collection);
        self.spec.contract.operations.iter().any(|o| o.method == "POST" && o.path == collection)
    }

    fn making<'m>(&'m self, found: &'m Match, request: &'m Value, serial: u64) -> Making<'m> {
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let Match { operation, parameters } = found;
        Making { contract: &self.spec.contract, operation, parameters, request, serial, now_ms }
    }

    /// The idempotency key, without the quotes that RFC 8941 puts around it.
    fn idempotency_key(&self, headers: &HeaderMap) -> Option<String> {
        let value = headers.get(self.spec.repeats.header.as_ref()?)?.to_str().ok()?;
        Some(value.trim_matches('"').to_owned())
    }

    fn roll(&self) -> f64 {
        lock(&self.dice).random()
    }

    fn respond(&self, outcome: Outcome, request: &HeaderMap) -> Response {
        let replayed = outcome.replayed;
        let mut response = match outcome.answer {
            Answer::Problem(problem) => problem.into_response(),
            Answer::Effect(effect) => effect.into_response(),
        };
        if replayed {
            response.headers_mut().insert("idempotent-replay", HeaderValue::from_static("true"));
        }
        if let Some((name, value)) = &self.spec.version
            && let Ok(header) = HeaderName::try_from(name)
            && let Some(value) = request.get(&header).cloned().or_else(|| HeaderValue::from_str(value).ok())
        {
            response.headers_mut().insert(header, value);
        }
        response
    }
}

impl IntoResponse for Effect {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK);
        let mut response = match self.body {
            Some(body) => (status, Json(body)).into_response(),
            None => status.into_response(),
        };
        if let Some(location) = self.location.and_then(|location| HeaderValue::from_str(&location).ok()) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        if let Some(etag) = self.etag.and_then(|etag| HeaderValue::from_str(&etag).ok()) {
            response.headers_mut().insert(header::ETAG, etag);
        }
        response
    }
}

/// The routes of a stand-in: the contract's, and its own for whoever plays with it.
pub fn router(stand_in: Arc<StandIn>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/oauth/token", post(token))
        .route("/_sandbox/faults", get(fault).put(set_fault))
        .route("/_sandbox/journal", get(journal))
        .route("/_sandbox/objects", get(async |State(s): State<Arc<StandIn>>| Json(lock(&s.memory).objects())))
        .fallback(call)
        .with_state(stand_in)
}

async fn call(State(stand_in): State<Arc<StandIn>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else {
        return Problem::new(413, format!("a body has {BODY_BYTES_MAX} bytes at most")).into_response();
    };
    let fault = lock(&stand_in.fault).clone();
    let mut seen = Seen::default();
    let outcome = stand_in.decide(&parts, &body, &fault, &mut seen);
    let dropped = outcome.applied && stand_in.roll() < fault.drop_after_effect_share;
    stand_in.journal.write(arrival(&stand_in, &parts, &body, seen, &outcome, dropped));
    if fault.latency_ms > 0 {
        tokio::time::sleep(Duration::from_millis(fault.latency_ms)).await;
    }
    if dropped { DropConnection.into_response() } else { stand_in.respond(outcome, &parts.headers) }
}

fn arrival(stand_in: &StandIn, parts: &Parts, body: &[u8], seen: Seen, outcome: &Outcome, dropped: bool) -> Arrival {
    let status = match &outcome.answer {
        Answer::Effect(effect) => effect.status,
        Answer::Problem(problem) => problem.status(),
    };
    let traceparent = parts.headers.get("traceparent").and_then(|value| value.to_str().ok());
    Arrival {
        at_ms: jiff::Timestamp::now().as_millisecond(),
        system: stand_in.spec.name.clone(),
        operation: seen.operation,
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        keys: seen.keys,
        idempotency_key: stand_in.idempotency_key(&parts.headers),
        body_sha256: hex(body),
        body: seen.body,
        status,
        dropped,
        applied: outcome.applied,
        replayed: outcome.replayed,
        traceparent: traceparent.map(str::to_owned),
    }
}

async fn token(State(stand_in): State<Arc<StandIn>>, headers: HeaderMap, body: Bytes) -> Response {
    if lock(&stand_in.fault).outage {
        return Problem::new(503, "a fault of the sandbox").into_response();
    }
    match stand_in.spec.credential {
        Expected::OAuth2 { .. } => lock(&stand_in.tokens).answer(&stand_in.spec.credential, &headers, &body),
        Expected::None | Expected::ApiKey { .. } | Expected::Basic { .. } | Expected::Bearer { .. } => {
            Problem::new(404, "this system gives out no tokens").into_response()
        }
    }
}

async fn fault(State(stand_in): State<Arc<StandIn>>) -> Json<Fault> {
    Json(lock(&stand_in.fault).clone())
}

async fn set_fault(State(stand_in): State<Arc<StandIn>>, body: Bytes) -> Response {
    let fault: Fault = match serde_json::from_slice(&body) {
        Ok(fault) => fault,
        Err(error) => return Problem::new(400, error.to_string()).into_response(),
    };
    if let Some(problem) = fault.problem() {
        return Problem::new(422, problem).into_response();
    }
    stand_in.ail(fault.clone());
    Json(fault).into_response()
}

async fn journal(State(stand_in): State<Arc<StandIn>>) -> Json<Value> {
    let arrivals = stand_in.journal.all();
    Json(arrivals.iter().filter(|arrival| arrival.system == stand_in.spec.name).map(|arrival| json!(arrival)).collect())
}

async fn index(State(stand_in): State<Arc<StandIn>>) -> String {
    let mut page = format!("The sandbox's stand-in for {}.\n\n", stand_in.spec.name);
    for operation in &stand_in.spec.contract.operations {
        let _ = writeln!(page, "{:6} {}  ({})", operation.method, operation.path, operation.id);
    }
    page.push_str("\nGET    /_sandbox/journal   what arrived\nGET    /_sandbox/objects   what it knows\n");
    page.push_str("PUT    /_sandbox/faults    make it fail: {\"outage\": true}; {} makes it well again\n");
    page
}

/// What names the thing that a request is about.
fn keys(parameters: &BTreeMap<String, String>, body: &Value) -> BTreeMap<String, String> {
    let mut keys = parameters.clone();
    for (name, value) in body.as_object().into_iter().flatten() {
        let lower = name.to_lowercase();
        if (lower.ends_with("id") || lower.ends_with("reference")) && (value.is_string() || value.is_number()) {
            keys.insert(name.clone(), response::as_text(value));
        }
    }
    keys
}

fn query(parts: &Parts) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect()
}

fn refused(problem: Problem) -> Outcome {
    Outcome { answer: Answer::Problem(problem), applied: false, replayed: false }
}

/// What a key stands for.
fn fingerprint(parts: &Parts, body: &[u8]) -> String {
    format!("{} {} {}", parts.method, parts.uri.path(), hex(body))
}

/// The version of an object: what it is.
fn etag(object: &Value) -> String {
    format!("\"{}\"", &hex(object.to_string().as_bytes())[..16])
}

fn hex(body: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(body) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A panic while a lock is held would leave whole values behind: each is set in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
