//! A schema registry in this process that speaks Confluent's REST, for `tieline dev` and tests.
//!
//! Avro only, in memory, with the calls that clients of the registry make: register, look up by schema, id and GUID,
//! versions, compatibility, modes. Schemas are not deleted. It can be told to be down or slow, since a record must never
//! be blamed for that.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use tieline_schema::compatibility::Mode;

use self::answer::{Refusal, ok};
use self::store::{Reference, Registered, Store};
use crate::http::{DropConnection, Server};

mod answer;
mod store;

/// The longest request that is read: a schema with its documentation is some kilobytes.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// How many requests are remembered for [`Registry::requests`]; later ones are only served.
const REQUESTS_MAX: usize = 100_000;

/// A registry that lives as long as this value.
#[derive(Debug)]
pub struct Registry {
    server: Server,
    shared: Arc<Shared>,
}

/// What ails the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Each connection is closed without an answer, as by a host that is going down.
    Down,
    /// Each answer takes this long.
    Slow(Duration),
    /// Each request is answered with this status, as by a registry without its store (500) or behind a proxy (503).
    Failing(u16),
}

#[derive(Debug)]
struct Shared {
    store: Mutex<Store>,
    fault: Mutex<Fault>,
    requests: Mutex<Vec<String>>,
    /// The `Authorization` header that is asked for.
    authorization: Option<String>,
}

impl Registry {
    /// Starts an empty registry; port 0 leaves the choice to the kernel. To be called in a Tokio runtime.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub async fn start(address: SocketAddr) -> std::io::Result<Self> {
        Self::serve(address, None).await
    }

    /// The same, for clients with this name and password only (HTTP Basic).
    ///
    /// # Errors
    /// When the address cannot be had.
    pub async fn start_with_password(address: SocketAddr, user: &str, password: &str) -> std::io::Result<Self> {
        Self::serve(address, Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))).await
    }

    async fn serve(address: SocketAddr, authorization: Option<String>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            store: Mutex::default(),
            fault: Mutex::new(Fault::None),
            requests: Mutex::default(),
            authorization,
        });
        let server = Server::start(address, router(shared.clone())).await?;
        Ok(Self { server, shared })
    }

    /// Its address, without a trailing slash.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Makes it ail, or well again, from the next request on.
    pub fn fault(&self, fault: Fault) {
        *lock(&self.shared.fault) = fault;
    }

    /// The requests so far, as `GET /schemas/ids/1`, in the order in which they came.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        lock(&self.shared.requests).clone()
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(async || ok(json!({}))))
        .route("/mode", get(async || ok(json!({ "mode": "READWRITE" }))))
        .route("/schemas/types", get(async || ok(json!(["AVRO"]))))
        .route("/schemas/ids/{id}", get(schema_of_id))
        .route("/schemas/ids/{id}/schema", get(text_of_id))
        .route("/schemas/ids/{id}/versions", get(uses_of_id))
        .route("/schemas/ids/{id}/subjects", get(subjects_of_id))
        .route("/schemas/guids/{guid}", get(schema_of_guid))
        .route("/subjects", get(subjects))
        .route("/subjects/{subject}", post(look_up))
        .route("/subjects/{subject}/versions", get(versions).post(register))
        .route("/subjects/{subject}/versions/{version}", get(version))
        .route("/subjects/{subject}/versions/{version}/schema", get(text_of_version))
        .route("/compatibility/subjects/{subject}/versions", post(compatible_with_all))
        .route("/compatibility/subjects/{subject}/versions/{version}", post(compatible_with_one))
        .route("/config", get(mode).put(set_mode))
        .route("/config/{subject}", get(mode_of).put(set_mode_of))
        .fallback(async || plain(StatusCode::NOT_FOUND))
        .method_not_allowed_fallback(async || plain(StatusCode::METHOD_NOT_ALLOWED))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(shared.clone(), admit))
        .with_state(shared)
}

/// What comes before each call: the log, the fault, the password.
async fn admit(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    shared.log(&request);
    let fault = *lock(&shared.fault);
    match fault {
        Fault::None => {}
        Fault::Down => return DropConnection.into_response(),
        Fault::Slow(latency) => tokio::time::sleep(latency).await,
        Fault::Failing(status) => {
            return plain(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
        }
    }
    if !shared.admits(request.headers()) {
        let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"registry\"")];
        return (challenge, Refusal::Unauthorized).into_response();
    }
    next.run(request).await
}

impl Shared {
    fn log(&self, request: &Request) {
        let mut requests = lock(&self.requests);
        if requests.len() < REQUESTS_MAX {
            requests.push(format!("{} {}", request.method(), request.uri().path()));
        }
    }

    fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(wanted) = &self.authorization else { return true };
        headers.get(header::AUTHORIZATION).is_some_and(|given| given.as_bytes() == wanted.as_bytes())
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
    }
}

type Answer = Result<Response, Refusal>;

/// What `register`, `look_up` and the checks take.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate {
    schema: String,
    #[serde(default = "avro")]
    schema_type: String,
    #[serde(default)]
    references: Vec<Reference>,
}

fn avro() -> String {
    "AVRO".to_owned()
}

impl Candidate {
    fn read(body: &[u8]) -> Result<Self, Refusal> {
        let candidate: Self = serde_json::from_slice(body).map_err(|e| Refusal::BadBody(e.to_string()))?;
        if candidate.schema_type == "AVRO" {
            Ok(candidate)
        } else {
            Err(Refusal::InvalidSchema(format!("Invalid schema type {}", candidate.schema_type)))
        }
    }
}

async fn register(State(shared): State<Arc<Shared>>, Path(subject): Path<String>, body: Bytes) -> Answer {
    let candidate = Candidate::read(&body)?;
    let (schema, version) = shared.store().register(&subject, &candidate.schema, candidate.references)?;
    Ok(ok(json!({ "id": schema.id, "version": version, "guid": schema.guid })))
}

async fn look_up(State(shared): State<Arc<Shared>>, Path(subject): Path<String>, body: Bytes) -> Answer {
    let candidate = Candidate::read(&body)?;
    let (schema, version) = shared.store().look_up(&subject, &candidate.schema, candidate.references)?;
    Ok(ok(version_body(&subject, version, &schema)))
}

async fn subjects(State(shared): State<Arc<Shared>>) -> Response {
    ok(json!(shared.store().subjects()))
}

async fn versions(State(shared): State<Arc<Shared>>, Path(subject): Path<String>) -> Answer {
    let count = shared.store().versions(&subject)?.len();
    Ok(ok((1..=count).collect()))
}

async fn version(State(shared): State<Arc<Shared>>, Path((subject, version)): Path<(String, String)>) -> Answer {
    let (schema, version) = shared.store().version(&subject, &version)?;
    Ok(ok(version_body(&subject, version, &schema)))
}

async fn text_of_version(
    State(shared): State<Arc<Shared>>,
    Path((subject, version)): Path<(String, String)>,
) -> Answer {
    let (schema, _) = shared.store().version(&subject, &version)?;
    Ok(text_body(&schema))
}

async fn schema_of_id(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Answer {
    Ok(ok(schema_body(shared.store().by_id(&id)?)))
}

async fn text_of_id(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Answer {
    Ok(text_body(shared.store().by_id(&id)?))
}

async fn schema_of_guid(State(shared): State<Arc<Shared>>, Path(guid): Path<String>) -> Answer {
    Ok(ok(schema_body(shared.store().by_guid(&guid)?)))
}

async fn uses_of_id(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Answer {
    let store = shared.store();
    let uses = store.uses(store.by_id(&id)?);
    Ok(ok(uses.into_iter().map(|(subject, version)| json!({ "subject": subject, "version": version })).collect()))
}

async fn subjects_of_id(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Answer {
    let store = shared.store();
    let uses = store.uses(store.by_id(&id)?);
    Ok(ok(uses.into_iter().map(|(subject, _)| subject).collect()))
}

async fn compatible_with_all(
    State(shared): State<Arc<Shared>>,
    Path(subject): Path<String>,
    uri: Uri,
    body: Bytes,
) -> Answer {
    let candidate = Candidate::read(&body)?;
    let problems = shared.store().incompatibilities(&subject, None, &candidate.schema, candidate.references)?;
    Ok(ok(verdict(&problems, flag(&uri, "verbose"))))
}

async fn compatible_with_one(
    State(shared): State<Arc<Shared>>,
    Path((subject, version)): Path<(String, String)>,
    uri: Uri,
    body: Bytes,
) -> Answer {
    let candidate = Candidate::read(&body)?;
    let problems =
        shared.store().incompatibilities(&subject, Some(&version), &candidate.schema, candidate.references)?;
    Ok(ok(verdict(&problems, flag(&uri, "verbose"))))
}

async fn mode(State(shared): State<Arc<Shared>>) -> Response {
    ok(json!({ "compatibilityLevel": shared.store().mode().name() }))
}

async fn mode_of(State(shared): State<Arc<Shared>>, Path(subject): Path<String>, uri: Uri) -> Answer {
    let store = shared.store();
    let mode = match store.mode_of(&subject) {
        Some(mode) => mode,
        None if flag(&uri, "defaultToGlobal") => store.mode(),
        None => return Err(Refusal::NoSubjectConfig(subject)),
    };
    Ok(ok(json!({ "compatibilityLevel": mode.name() })))
}

async fn set_mode(State(shared): State<Arc<Shared>>, body: Bytes) -> Answer {
    let mode = asked_mode(&body)?;
    shared.store().set_mode(None, mode);
    Ok(ok(json!({ "compatibility": mode.name() })))
}

async fn set_mode_of(State(shared): State<Arc<Shared>>, Path(subject): Path<String>, body: Bytes) -> Answer {
    let mode = asked_mode(&body)?;
    shared.store().set_mode(Some(&subject), mode);
    Ok(ok(json!({ "compatibility": mode.name() })))
}

fn asked_mode(body: &[u8]) -> Result<Mode, Refusal> {
    let body: Value = serde_json::from_slice(body).map_err(|e| Refusal::BadBody(e.to_string()))?;
    body["compatibility"].as_str().and_then(Mode::from_name).ok_or(Refusal::InvalidMode)
}

fn schema_body(schema: &Registered) -> Value {
    let mut body = json!({ "schema": schema.text, "guid": schema.guid });
    if !schema.references.is_empty() {
        body["references"] = json!(schema.references);
    }
    body
}

fn version_body(subject: &str, version: u32, schema: &Registered) -> Value {
    let mut body = json!({ "subject": subject, "version": version, "id": schema.id });
    if let (Value::Object(body), Value::Object(schema)) = (&mut body, schema_body(schema)) {
        body.extend(schema);
    }
    body
}

fn text_body(schema: &Registered) -> Response {
    ([(header::CONTENT_TYPE, answer::MEDIA_TYPE)], schema.text.clone()).into_response()
}

fn verdict(problems: &[String], verbose: bool) -> Value {
    let mut verdict = json!({ "is_compatible": problems.is_empty() });
    if verbose {
        verdict["messages"] = json!(problems);
    }
    verdict
}

/// Whether a query says `name=true`.
fn flag(uri: &Uri, name: &str) -> bool {
    uri.query().unwrap_or_default().split('&').any(|pair| pair.strip_prefix(name) == Some("=true"))
}

fn plain(status: StatusCode) -> Response {
    let message = format!("HTTP {status}");
    (status, ok(json!({ "error_code": status.as_u16(), "message": message }))).into_response()
}

/// A panic while a lock is held leaves whole values behind here: each is set in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
