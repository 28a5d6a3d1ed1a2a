//! Asks the registry: for the schemas that records were written with, and for what `tieline apply` registers.
//!
//! What matters most is whose fault a failure is. That a schema is unknown is said only by a registry that is well, in its
//! own words (`error_code` 404xx); a page of a proxy, a wrong address, a refused credential and all that is passing are
//! [`RegistryError::Unavailable`], and no record is blamed for them.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use serde_json::{Value, json};
use tieline_bus::{Credential, Registry};
use tieline_schema::compatibility::Mode;
use tieline_schema::wire::SchemaRef;
use tokio::time::Instant;

use super::writer::WriterSchema;
use crate::fetches::Fetches;
use crate::http::{self, Body, CredentialError, Failure, Redactor, fixed_header};
use crate::kept::Kept;

/// Confluent's media type, then what all others understand.
const MEDIA_TYPES: &str = "application/vnd.schemaregistry.v1+json, application/json;q=0.9";

/// For one answer to us, whatever requests it takes (a schema and all that it refers to).
const DEADLINE: Duration = Duration::from_secs(10);

/// For the making of a connection.
const CONNECT_MAX: Duration = Duration::from_secs(3);

/// Connections that are kept: one id is fetched once, so that there are never many at a time.
const IDLE_CONNECTIONS: usize = 4;

/// Most bytes of an answer. Kafka's own limit for a message, which registries keep schemas in, is 1 MiB.
const ANSWER_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Most schemas that one schema may refer to, directly and through others.
const REFERENCES_MAX: usize = 64;

/// Most schemas that are kept, and most bytes of their texts. A topic has a handful; the bound is against ids at random.
const SCHEMAS_MAX: usize = 10_000;
const SCHEMAS_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long a schema is kept: for ever. An id is never given to another one.
const SCHEMA_KEPT: Duration = Duration::from_secs(10 * 366 * 24 * 3_600);

/// How long it is believed that there is no such schema, or none that can be read. Short, so that a schema which is put
/// back is found without a restart.
const FAULT_KEPT: Duration = Duration::from_secs(10);

/// How long after an id was first asked for it is not believed that there is none. A registry's followers read new schemas
/// from a topic or a database, and hear of an id later than the producer does: milliseconds as a rule, seconds while one
/// is behind. A record that is dead-lettered for that is a good one lost; one that waits in vain has waited only so long.
const NOT_FOUND_DOUBTED: Duration = Duration::from_secs(5);

/// Between two requests for an id that is doubted: the first pause, which doubles, and the longest. However many records
/// wait for the id, it is asked for fewer than ten times while the doubt lasts.
const ASK_AGAIN_FIRST: Duration = Duration::from_millis(100);
const ASK_AGAIN_MAX: Duration = Duration::from_secs(1);

/// How long it is remembered when an id was first asked for. Records that name an id which does not exist then cost the
/// wait once, and not each time that [`FAULT_KEPT`] is over.
const FIRST_ASKED_KEPT: Duration = Duration::from_secs(3_600);

/// Why a registry's definition makes no client.
#[derive(Debug, thiserror::Error)]
pub enum RegistryClientError {
    /// Its address is none.
    #[error(
        "the registry's `url` cannot be called: write http(s)://HOST[:PORT][/PATH], without user, query and fragment"
    )]
    Url,
    /// OAuth 2.0.
    #[error("the registry's credential can be basic, bearer or a header with a key, but not oauth2")]
    OAuth2,
    /// Its credential cannot be sent.
    #[error("the registry's credential cannot be sent: {0}")]
    Credential(CredentialError),
    /// TLS cannot be set up.
    #[error(
        "no HTTPS client for the registry: {problem}; are CA certificates installed (ca-certificates, or SSL_CERT_FILE)?"
    )]
    Tls {
        /// What the library says.
        problem: String,
    },
}

/// Why the registry gave no answer that can be worked with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// It cannot be reached, is not well, does not take our credential, or is not a registry. Not the record's fault:
    /// wait, and do not dead-letter.
    #[error("the registry cannot be asked for {what} now: {problem}")]
    Unavailable {
        /// What was asked for.
        what: String,
        /// What happened.
        problem: String,
    },
    /// It is well and does not have it, but was first asked too short a time ago to be believed: one that follows another
    /// may not have heard of it. Not the record's fault yet: wait.
    #[error("the registry does not have {what} yet; it is asked again for {} s before that is believed", NOT_FOUND_DOUBTED.as_secs())]
    NotYet {
        /// What was asked for.
        what: String,
    },
    /// It is well, and does not have it.
    #[error("the registry does not have {what}")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// Another kind of schema.
    #[error("{what} is {kind}, and events are Avro")]
    NotAvro {
        /// What was asked for.
        what: String,
        /// What it is: `PROTOBUF`, `JSON`.
        kind: String,
    },
    /// A schema that records cannot be read with.
    #[error("{what} cannot be read with: {problem}")]
    Malformed {
        /// What was asked for.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// It refuses what was to be registered or set: incompatible with earlier versions, or invalid.
    #[error("the registry refuses {what} (status {status}): {message}")]
    Refused {
        /// What was to be done.
        what: String,
        /// 409 for what is incompatible, 422 for what is invalid.
        status: u16,
        /// In its words.
        message: String,
    },
}

/// How a schema names another one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    /// The full name of the type.
    pub name: String,
    /// The subject that it is registered under.
    pub subject: String,
    /// Which version of it.
    pub version: u32,
}

/// The newest version of a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latest {
    /// The schema's id.
    pub id: u32,
    /// The version's number in the subject.
    pub version: u32,
    /// The schema.
    pub text: String,
}

/// A client of one registry. Clones share connections and what is known.
#[derive(Debug, Clone)]
pub struct RegistryClient {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    http: reqwest::Client,
    url: Url,
    credential: Option<(HeaderName, HeaderValue)>,
    redactor: Redactor,
    kept: Mutex<Kept<SchemaRef, Schema>>,
    /// What the registry said it does not have. No bound on weight but on number, as for `kept`.
    doubts: Mutex<Kept<SchemaRef, Doubt>>,
    fetches: Fetches<SchemaRef, Schema>,
}

type Schema = Result<Arc<WriterSchema>, RegistryError>;

/// An id that the registry said it does not have.
#[derive(Debug, Clone, Copy)]
struct Doubt {
    first_asked: Instant,
    /// Before it is asked for again.
    pause: Duration,
}

impl RegistryClient {
    /// Makes a client. Nothing is asked yet.
    ///
    /// # Errors
    /// When the address or the credential cannot be used, or TLS cannot be set up.
    pub fn new(registry: &Registry) -> Result<Self, RegistryClientError> {
        let url = Url::parse(&registry.url).map_err(|_| RegistryClientError::Url)?;
        let plain =
            url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() || !plain {
            return Err(RegistryClientError::Url);
        }
        if matches!(registry.credential, Credential::OAuth2 { .. }) {
            return Err(RegistryClientError::OAuth2);
        }
        let inner = Inner {
            http: http::client(CONNECT_MAX, IDLE_CONNECTIONS)
                .map_err(|e| RegistryClientError::Tls { problem: http::chain(&e) })?,
            url,
            credential: fixed_header(&registry.credential).map_err(RegistryClientError::Credential)?,
            redactor: Redactor::new(&registry.credential),
            kept: Mutex::new(Kept::new(SCHEMAS_MAX, SCHEMAS_BYTES_MAX)),
            doubts: Mutex::new(Kept::new(SCHEMAS_MAX, SCHEMAS_MAX)),
            fetches: Fetches::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The schema that records name so. Fetched once, however many ask meanwhile, and kept.
    ///
    /// # Errors
    /// When it cannot be had now, or is not there, or is none that records can be read with.
    pub async fn schema(&self, reference: SchemaRef) -> Result<Arc<WriterSchema>, RegistryError> {
        let kept = || self.inner.kept().get(&reference, Instant::now());
        if let Some(schema) = kept() {
            return schema;
        }
        let fetch = || {
            let inner = Arc::clone(&self.inner);
            async move {
                let asked = Instant::now();
                let schema = inner.fetch(reference).await;
                inner.keep(reference, schema, asked)
            }
        };
        self.inner.fetches.get(&reference, kept, fetch).await.unwrap_or_else(|aborted| {
            Err(RegistryError::Unavailable { what: name_of(reference), problem: aborted.to_string() })
        })
    }

    /// Registers a schema under a subject, and says its id. One that is registered there already keeps its id.
    ///
    /// # Errors
    /// When it is refused, or the registry cannot be asked.
    pub async fn register(&self, subject: &str, text: &str, references: &[Reference]) -> Result<u32, RegistryError> {
        let what = format!("the registration of a schema as {subject}");
        let path = ["subjects", subject, "versions"];
        let said = self.inner.post(&path, "", &body_of(text, references), &what).await?;
        said.number("id", &what)
    }

    /// The id that this schema has under this subject, where it is registered there.
    ///
    /// # Errors
    /// When the registry refuses the schema, or cannot be asked.
    pub async fn lookup(&self, subject: &str, text: &str) -> Result<Option<u32>, RegistryError> {
        let what = format!("the id of a schema of {subject}");
        match self.inner.post(&["subjects", subject], "", &body_of(text, &[]), &what).await {
            Ok(said) => said.number("id", &what).map(Some),
            Err(RegistryError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What speaks against this schema as the next version of this subject, by the mode that is set there: against the
    /// newest version, or against all where it is transitive. Nothing where it is the first.
    ///
    /// # Errors
    /// When the registry refuses the schema as invalid, or cannot be asked.
    pub async fn compatible(&self, subject: &str, text: &str) -> Result<Vec<String>, RegistryError> {
        let what = format!("the compatibility of a schema of {subject}");
        // The call without a version goes by the mode in Confluent's registry; Apicurio's compares with all, whatever it is.
        let mut path = vec!["compatibility", "subjects", subject, "versions"];
        if !self.inner.is_transitive(subject).await? {
            path.push("latest");
        }
        let said = match self.inner.post(&path, "verbose=true", &body_of(text, &[]), &what).await {
            Ok(said) => said.json,
            Err(RegistryError::NotFound { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        match said.get("is_compatible").and_then(Value::as_bool) {
            Some(true) => Ok(Vec::new()),
            Some(false) => Ok(messages(&said, subject)),
            None => {
                Err(RegistryError::Unavailable { what, problem: "it does not say whether it is compatible".into() })
            }
        }
    }

    /// Sets which changes of a subject are let through.
    ///
    /// # Errors
    /// When it is refused, or the registry cannot be asked.
    pub async fn set_compatibility(&self, subject: &str, mode: Mode) -> Result<(), RegistryError> {
        let what = format!("the compatibility {} of {subject}", mode.name());
        let body = json!({ "compatibility": mode.name() });
        let deadline = Instant::now() + DEADLINE;
        self.inner.ask(Method::PUT, &["config", subject], "", Some(&body), &what, deadline).await.map(|_| ())
    }

    /// The newest version of a subject, where it has one.
    ///
    /// # Errors
    /// When the registry cannot be asked.
    pub async fn latest(&self, subject: &str) -> Result<Option<Latest>, RegistryError> {
        let what = format!("the newest schema of {subject}");
        let path = ["subjects", subject, "versions", "latest"];
        let said = match self.inner.ask(Method::GET, &path, "", None, &what, Instant::now() + DEADLINE).await {
            Ok(said) => said,
            Err(RegistryError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let text = said.text(&what)?;
        Ok(Some(Latest { id: said.number("id", &what)?, version: said.number("version", &what)?, text }))
    }
}

/// What a registry said that is well.
#[derive(Debug)]
struct Said {
    json: Value,
}

impl Inner {
    fn kept(&self) -> MutexGuard<'_, Kept<SchemaRef, Schema>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What will be the same tomorrow is kept; that the registry is away is not. What comes back is to be believed.
    fn keep(&self, reference: SchemaRef, schema: Schema, asked: Instant) -> Schema {
        let (schema, weight, keep) = match schema {
            Ok(schema) => {
                let weight = schema.text.len();
                (Ok(schema), weight, SCHEMA_KEPT)
            }
            Err(RegistryError::NotFound { what }) => match self.doubted(reference, asked) {
                Some(pause) => (Err(RegistryError::NotYet { what }), 1, pause),
                None => (Err(RegistryError::NotFound { what }), 1, FAULT_KEPT),
            },
            Err(error @ (RegistryError::NotAvro { .. } | RegistryError::Malformed { .. })) => {
                (Err(error), 1, FAULT_KEPT)
            }
            Err(
                error @ (RegistryError::Unavailable { .. }
                | RegistryError::Refused { .. }
                | RegistryError::NotYet { .. }),
            ) => return Err(error),
        };
        self.kept().put(reference, schema.clone(), weight, Instant::now() + keep);
        schema
    }

    /// How long to wait before asking again for an id that the registry said it does not have, when asked at this time.
    /// Nothing where it is to be believed.
    fn doubted(&self, reference: SchemaRef, asked: Instant) -> Option<Duration> {
        let mut doubts = self.doubts.lock().unwrap_or_else(PoisonError::into_inner);
        let known = doubts.get(&reference, asked);
        let doubt = known.map_or(Doubt { first_asked: asked, pause: ASK_AGAIN_FIRST }, |doubt| Doubt {
            pause: (doubt.pause * 2).min(ASK_AGAIN_MAX),
            ..doubt
        });
        doubts.put(reference, doubt, 1, doubt.first_asked + FIRST_ASKED_KEPT);
        (asked.duration_since(doubt.first_asked) < NOT_FOUND_DOUBTED).then_some(doubt.pause)
    }

    async fn fetch(&self, reference: SchemaRef) -> Schema {
        let what = name_of(reference);
        let deadline = Instant::now() + DEADLINE;
        let (kind, name) = match reference {
            SchemaRef::Id(id) => ("ids", id.to_string()),
            SchemaRef::Guid(guid) => ("guids", guid.to_string()),
        };
        let said = self.ask(Method::GET, &["schemas", kind, &name], "", None, &what, deadline).await?;
        let text = said.text(&what)?;
        let others = self.others(said.references(&what)?, &what, deadline).await?;
        WriterSchema::read(reference, text, &others)
            .map(Arc::new)
            .map_err(|unreadable| RegistryError::Malformed { what, problem: unreadable.to_string() })
    }

    /// The texts of all that a schema refers to, directly and through others.
    async fn others(
        &self,
        references: Vec<Reference>,
        what: &str,
        deadline: Instant,
    ) -> Result<Vec<String>, RegistryError> {
        let (mut waiting, mut seen, mut texts) = (references, HashSet::new(), Vec::new());
        while let Some(Reference { subject, version, .. }) = waiting.pop() {
            if !seen.insert((subject.clone(), version)) {
                continue;
            }
            if seen.len() > REFERENCES_MAX {
                let problem = format!("it refers to more than {REFERENCES_MAX} others");
                return Err(RegistryError::Malformed { what: what.to_owned(), problem });
            }
            let it = format!("version {version} of {subject}, which {what} refers to");
            // A version that was deleted softly is still what the record was written with.
            let path = ["subjects", &subject, "versions", &version.to_string()];
            let said = self.ask(Method::GET, &path, "deleted=true", None, &it, deadline).await?;
            texts.push(said.text(&it)?);
            waiting.extend(said.references(&it)?);
        }
        Ok(texts)
    }

    /// Whether a subject's mode, or that of all, asks for compatibility with all of its versions.
    async fn is_transitive(&self, subject: &str) -> Result<bool, RegistryError> {
        let what = format!("the mode of compatibility of {subject}");
        let deadline = Instant::now() + DEADLINE;
        let said =
            match self.ask(Method::GET, &["config", subject], "defaultToGlobal=true", None, &what, deadline).await {
                Ok(said) => said,
                // Apicurio has no mode for a subject that is not there.
                Err(RegistryError::NotFound { .. }) => return Ok(false),
                Err(error) => return Err(error),
            };
        let mode = said.json.get("compatibilityLevel").and_then(Value::as_str);
        // A level that we have not heard of asks for no more than the last version.
        mode.map(|mode| Mode::from_name(mode).is_some_and(Mode::is_transitive))
            .ok_or_else(|| missing("compatibilityLevel", &what))
    }

    async fn post(&self, path: &[&str], query: &str, body: &Value, what: &str) -> Result<Said, RegistryError> {
        self.ask(Method::POST, path, query, Some(body), what, Instant::now() + DEADLINE).await
    }

    async fn ask(
        &self,
        method: Method,
        path: &[&str],
        query: &str,
        body: Option<&Value>,
        what: &str,
        deadline: Instant,
    ) -> Result<Said, RegistryError> {
        let unavailable = |problem: String| RegistryError::Unavailable { what: what.to_owned(), problem };
        let mut request = reqwest::Request::new(method, self.address(path, query));
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static(MEDIA_TYPES));
        if let Some((name, value)) = &self.credential {
            headers.insert(name.clone(), value.clone());
        }
        if let Some(body) = body {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/vnd.schemaregistry.v1+json"));
            *request.body_mut() = Some(body.to_string().into());
        }
        let response = http::exchange(&self.http, request, deadline, ANSWER_BYTES_MAX).await;
        let response = response.map_err(|failure| unavailable(said_of(failure)))?;
        let json = match response.body {
            Body::Whole(bytes) => serde_json::from_slice(&bytes).unwrap_or(Value::Null),
            Body::Cut(_, failure) => return Err(unavailable(said_of(failure))),
            // What is no success is judged by its status: a long page of a proxy is still one.
            Body::TooLong(_) if !(200..=299).contains(&response.status) => Value::Null,
            Body::TooLong(_) => {
                let problem = format!("the answer has more than {ANSWER_BYTES_MAX} bytes");
                return Err(RegistryError::Malformed { what: what.to_owned(), problem });
            }
        };
        self.judge(response.status, json, what)
    }

    /// Who is to blame.
    fn judge(&self, status: u16, json: Value, what: &str) -> Result<Said, RegistryError> {
        let code = json.get("error_code").and_then(Value::as_u64);
        let message = json.get("message").and_then(Value::as_str).unwrap_or_default();
        let unavailable = |problem: &str| RegistryError::Unavailable {
            what: what.to_owned(),
            problem: format!("answered {status} {problem} {}", self.redactor.excerpt(message.as_bytes()))
                .trim()
                .to_owned(),
        };
        match (status, code) {
            (200..=299, _) if json.is_object() => Ok(Said { json }),
            (200..=299, _) => Err(unavailable("with something else than JSON; is `url` the registry's?")),
            // Subject, version, schema; and (40404–40406) those that were deleted.
            (404, Some(40_401..=40_406)) => Err(RegistryError::NotFound { what: what.to_owned() }),
            (404, _) => Err(unavailable("without saying what is not there; is `url` the registry's?")),
            (401 | 403, _) => Err(unavailable("to our credential")),
            (409, Some(_)) | (422, Some(42_200..=42_299)) => Err(RegistryError::Refused {
                what: what.to_owned(),
                status,
                message: self.redactor.excerpt(message.as_bytes()),
            }),
            (_, _) => Err(unavailable("")),
        }
    }

    /// The address of a call; what is in a segment stays in it.
    fn address(&self, path: &[&str], query: &str) -> Url {
        let mut url = self.url.clone();
        // It always can: the address has a host.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url.set_query(Some(query).filter(|query| !query.is_empty()));
        url
    }
}

impl Said {
    /// The schema's text, where it is Avro. Registries leave `schemaType` out for it, or say it.
    fn text(&self, what: &str) -> Result<String, RegistryError> {
        match self.json.get("schemaType").and_then(Value::as_str) {
            None | Some("AVRO") => {}
            Some(kind) => {
                let kind = kind.chars().filter(char::is_ascii_graphic).take(32).collect();
                return Err(RegistryError::NotAvro { what: what.to_owned(), kind });
            }
        }
        self.json.get("schema").and_then(Value::as_str).map(str::to_owned).ok_or_else(|| missing("schema", what))
    }

    /// What it refers to. Registries leave it out, or say that it is nothing.
    fn references(&self, what: &str) -> Result<Vec<Reference>, RegistryError> {
        let references = self.json.get("references").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        references
            .iter()
            .map(|it| {
                let text = |name| it.get(name).and_then(Value::as_str).map(str::to_owned);
                let version = it.get("version").and_then(Value::as_u64).and_then(|v| u32::try_from(v).ok());
                match (text("name"), text("subject"), version) {
                    (Some(name), Some(subject), Some(version)) => Ok(Reference { name, subject, version }),
                    (_, _, _) => Err(missing("references[].subject", what)),
                }
            })
            .collect()
    }

    fn number(&self, name: &str, what: &str) -> Result<u32, RegistryError> {
        let number = self.json.get(name).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
        number.ok_or_else(|| missing(name, what))
    }
}

/// A 2xx without what belongs in it comes from something that is not a registry.
fn missing(name: &str, what: &str) -> RegistryError {
    RegistryError::Unavailable {
        what: what.to_owned(),
        problem: format!("the answer has no `{name}`; is `url` the registry's?"),
    }
}

fn name_of(reference: SchemaRef) -> String {
    match reference {
        SchemaRef::Id(id) => format!("schema {id}"),
        SchemaRef::Guid(guid) => format!("schema {guid}"),
    }
}

/// What `register` and its kin take. `schemaType` is left out: Avro is meant, and registries before Confluent 5.5 refuse it.
fn body_of(text: &str, references: &[Reference]) -> Value {
    if references.is_empty() {
        return json!({ "schema": text });
    }
    let one = |r: &Reference| json!({ "name": r.name, "subject": r.subject, "version": r.version });
    json!({ "schema": text, "references": references.iter().map(one).collect::<Vec<_>>() })
}

/// The reasons of an incompatibility; Apicurio gives none.
fn messages(said: &Value, subject: &str) -> Vec<String> {
    let messages = said.get("messages").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let messages: Vec<String> = messages.iter().filter_map(|m| m.as_str().map(str::to_owned)).collect();
    if messages.is_empty() {
        vec![format!("it is not compatible with an earlier version of {subject}")]
    } else {
        messages
    }
}

fn said_of(failure: Failure) -> String {
    match failure {
        Failure::NotConnected(detail) => format!("it cannot be reached: {detail}"),
        Failure::Lost(detail) => format!("its answer was lost: {detail}"),
        Failure::Deadline => "it does not answer in time".into(),
    }
}
