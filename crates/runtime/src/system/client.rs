//! Calls a system: one request, one answer, under one deadline.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt;
use serde_json::Value;
use tieline_bus::{Meaning, System};
use tieline_delivery::limits::Flow;
use tieline_delivery::{Answer, AttemptLog, Reason};
use tieline_schema::contract::Operation;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::credential::{Proof, Prover};
use super::judge::{NotSent, Outcome, Question, judge};
use super::limits;
use super::target::{self, Base};
use crate::http::{self, CredentialError, Redactor, Response};
use crate::limits::{Gate, Ticket};
use crate::telemetry::SystemMetrics;

/// Most of a call's deadline that the making of a connection may take: half. What is left after it is enough for an answer,
/// and a system that swallows packets is known not to have been reached.
const CONNECT_SHARE: u32 = 2;

/// Longest that the making of a connection may take. TCP repeats its first packet after 1 s and 3 s.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Connections that are kept where the system sets no limit on calls under way: as many as a consumer may have (`in_flight`
/// is at most 4,096), or those beyond would be made anew for each call. They close when nothing has used them for a while.
const IDLE_CONNECTIONS: usize = 4_096;

/// How long the right to make a call is waited for in the middle of something, such as the second call of an attempt. One
/// that is known to take longer is not waited for.
const TICKET_MAX: Duration = Duration::from_secs(60);

/// Why a system's definition makes no client.
#[derive(Debug, thiserror::Error)]
pub enum SystemClientError {
    /// Its address is none.
    #[error("the `base_url` of system {system} cannot be called: {problem}; write http(s)://HOST[:PORT][/PATH]")]
    BaseUrl {
        /// Which system.
        system: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Its credential cannot be sent.
    #[error("the credential of system {system} cannot be sent: {cause}")]
    Credential {
        /// Which system.
        system: String,
        /// Why.
        cause: CredentialError,
    },
    /// TLS cannot be set up.
    #[error(
        "no HTTPS client for system {system}: {problem}; are CA certificates installed (ca-certificates, or SSL_CERT_FILE)?"
    )]
    Tls {
        /// Which system.
        system: String,
        /// What the library says.
        problem: String,
    },
}

/// What to ask of a system.
#[derive(Debug, Clone)]
pub struct Request {
    /// The operation.
    pub operation: Arc<Operation>,
    /// Its parameters by name, as texts.
    pub parameters: Vec<(String, String)>,
    /// Its body, JSON. Attempts share it.
    pub body: Option<Bytes>,
    /// The key under which the system remembers the effect; sent where the system takes one in a header.
    pub idempotency_key: Option<Uuid>,
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// Further headers, such as the one that marks a replay. They set neither what frames the message nor a credential.
    pub headers: Vec<(String, String)>,
    /// For whom it is, where the system's limits are shared by weight.
    pub on_behalf: Option<Arc<Flow>>,
    /// Whether anything reads the response (`emit`, a look-up). Where nothing does, a response that breaks the contract is
    /// counted as drift, and the call is done.
    pub reads_response: bool,
}

impl Request {
    /// A question: it has no effect, and what it is asked for is its answer.
    pub(super) fn question(operation: &Arc<Operation>, parameters: Vec<(String, String)>) -> Self {
        Self {
            operation: Arc::clone(operation),
            parameters,
            body: None,
            idempotency_key: None,
            traceparent: None,
            headers: Vec::new(),
            on_behalf: None,
            reads_response: true,
        }
    }

    /// The same, for somebody.
    pub(super) fn on_behalf_of(mut self, flow: Option<&Arc<Flow>>) -> Self {
        self.on_behalf = flow.cloned();
        self
    }
}

/// What a system answered, judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// What it means.
    pub answer: Answer,
    /// What is kept of it for people. The excerpt is empty where all went well.
    pub log: AttemptLog,
    /// The body of an applied call, where it satisfies the contract, and its length in bytes.
    pub body: Option<(Value, usize)>,
    /// The call is applied, and the response breaks the contract where nobody reads it: to be counted.
    pub drift: Option<Reason>,
    /// The version that the system says it has, where it is not the one that we were written for: to be counted.
    pub other_version: Option<String>,
    /// What the answer says of an earlier attempt, by the system's idempotency profile. The answer's class is as it says.
    pub meets: Option<Meaning>,
    /// The version of the thing that was asked for or changed (`ETag`, RFC 9110, section 8.8.3).
    pub etag: Option<String>,
}

impl Reply {
    pub(super) fn without_body(answer: Answer, log: AttemptLog) -> Self {
        Self { answer, log, body: None, drift: None, other_version: None, meets: None, etag: None }
    }
}

/// Calls one system. Shared by all that call it in this process: connections and token are shared with it.
///
/// ```no_run
/// # use std::sync::Arc;
/// # use tieline_runtime::system::{Request, SystemClient};
/// # async fn run(erp: Arc<tieline_bus::System>) -> Result<(), Box<dyn std::error::Error>> {
/// let metrics = tieline_runtime::telemetry::Metrics::new(prometheus::Registry::new())?;
/// let client = SystemClient::new(Arc::clone(&erp), metrics.systems())?;
/// let operation = erp.contract.operation("createProject").ok_or("no such operation")?;
/// let reply = client
///     .call(&Request {
///         operation: Arc::clone(operation),
///         parameters: vec![],
///         body: Some(br#"{"name":"Acme"}"#.as_slice().into()),
///         idempotency_key: Some(uuid::Uuid::nil()),
///         traceparent: None,
///         headers: vec![],
///         on_behalf: None,
///         reads_response: true,
///     })
///     .await;
/// println!("{:?}", reply.answer);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct SystemClient {
    system: Arc<System>,
    http: reqwest::Client,
    base: Base,
    prover: Arc<Prover>,
    /// What the limits of the system let through. Without one, everything.
    gate: Option<Arc<Gate>>,
    pub(super) redactor: Arc<Redactor>,
    pub(super) metrics: SystemMetrics,
}

impl SystemClient {
    /// Makes a client, which counts in these metrics. Nothing is called yet.
    ///
    /// # Errors
    /// When the address or the credential cannot be used, or TLS cannot be set up.
    pub fn new(system: Arc<System>, metrics: SystemMetrics) -> Result<Self, SystemClientError> {
        let name = || system.name.clone();
        let base = Base::parse(&system.base_url)
            .map_err(|e| SystemClientError::BaseUrl { system: name(), problem: e.to_string() })?;
        let http = connections(&system)?;
        let redactor = Arc::new(Redactor::new(&system.credential));
        let prover = Prover::new(&system.credential, &http, system.deadline, &redactor)
            .map_err(|cause| SystemClientError::Credential { system: name(), cause })?;
        Ok(Self { system, http, base, prover: Arc::new(prover), gate: None, redactor, metrics })
    }

    /// The same with connections of its own: a connection lives in the runtime that made it, and ends with it. The token
    /// stays shared.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub(crate) fn with_own_connections(&self) -> Result<Self, SystemClientError> {
        Ok(Self { http: connections(&self.system)?, ..self.clone() })
    }

    /// The same, behind this gate: no call of the system is made that it does not let through.
    #[must_use]
    pub fn behind(self, gate: Option<Arc<Gate>>) -> Self {
        Self { gate, ..self }
    }

    /// What lets its calls through.
    #[must_use]
    pub fn gate(&self) -> Option<&Arc<Gate>> {
        self.gate.as_ref()
    }

    /// The system that it calls.
    #[must_use]
    pub fn system(&self) -> &Arc<System> {
        &self.system
    }

    /// Makes a call, and judges its answer.
    ///
    /// The system's deadline is for all of it, a token and a second attempt after a 401 included: when this returns,
    /// nothing of the call is under way any more on our side.
    pub async fn call(&self, request: &Request) -> Reply {
        self.call_with(request, None).await
    }

    /// The same, where the right to make the call is there already. Where it is not, and the system's limits ask for one,
    /// it is waited for: so is each call but the first of an attempt, which would never come about if it began anew each
    /// time. What may wait before it begins, has the ticket before.
    pub(crate) async fn call_with(&self, request: &Request, ticket: Option<Ticket>) -> Reply {
        let mut ticket = ticket;
        let outcome = match &self.gate {
            Some(gate) if ticket.is_none() && gate.is_closed_or_limited() => {
                // Boxed, since most calls do not wait here.
                match Box::pin(taken(gate, request, Instant::now() + TICKET_MAX)).await {
                    Ok(taken) => {
                        ticket = taken;
                        self.attempt(request, &mut ticket, Instant::now() + self.system.deadline).await
                    }
                    Err(why) => Outcome::NotSent(why),
                }
            }
            Some(_) | None => self.attempt(request, &mut ticket, Instant::now() + self.system.deadline).await,
        };
        if let (Some(gate), Outcome::Answered(response)) = (&self.gate, &outcome) {
            limits::heard(gate, ticket.as_mut(), response);
        }
        drop(ticket);
        let question = Question {
            system: &self.system,
            operation: &request.operation,
            reads_response: request.reads_response,
            redactor: &self.redactor,
        };
        let came = matches!(outcome, Outcome::Answered(_));
        let reply = judge(question, outcome, SystemTime::now());
        if let (Some(gate), true, Answer::Throttled { retry_after }) = (&self.gate, came, &reply.answer) {
            gate.throttled(*retry_after);
        }
        self.metrics.drift.count(&self.system.name, &request.operation.id, &reply);
        reply
    }

    /// Asks for the version of a thing: what counts of the answer is its `ETag`.
    pub(crate) async fn version(
        &self,
        operation: &Arc<Operation>,
        parameters: Vec<(String, String)>,
        on_behalf: Option<&Arc<Flow>>,
        ticket: Option<Ticket>,
    ) -> Reply {
        let question = Request::question(operation, parameters).on_behalf_of(on_behalf);
        self.call_with(&Request { reads_response: false, ..question }, ticket).await
    }

    async fn attempt(&self, request: &Request, ticket: &mut Option<Ticket>, deadline: Instant) -> Outcome {
        let made = match target::request(&self.base, &self.system, request) {
            Ok(made) => made,
            Err(error) => return Outcome::NotSent(NotSent::NoRequest(error)),
        };
        let proof = match timeout_at(deadline, self.prover.proof()).await {
            Ok(Ok(proof)) => proof,
            Ok(Err(error)) => return Outcome::NotSent(NotSent::NoToken(error)),
            Err(_) => return Outcome::NotSent(NotSent::Deadline),
        };
        if let Some(gate) = self.gate.as_ref().filter(|_| ticket.as_ref().is_some_and(Ticket::is_stale)) {
            // A token was waited for, and with it the permit: what arrives now must not be counted as of then.
            *ticket = None;
            match Box::pin(taken(gate, request, deadline)).await {
                Ok(taken) => *ticket = taken,
                Err(why) => return Outcome::NotSent(why),
            }
        }
        let sent_at = Instant::now();
        match self.send(made, &proof, deadline).await {
            // Boxed, since it is rare and would make each call's future twice as large.
            first @ Outcome::Answered(Response { status: 401, .. }) => {
                Box::pin(self.again(first, request, (&proof, sent_at), ticket, deadline)).await
            }
            first => first,
        }
    }

    /// After a 401: once more with another token, where there is one. A 401 is before any effect (RFC 9110, section
    /// 15.5.2), so that an attempt that did not come about leaves the first answer standing.
    async fn again(
        &self,
        first: Outcome,
        request: &Request,
        (refused, sent_at): (&Proof, Instant),
        ticket: &mut Option<Ticket>,
        deadline: Instant,
    ) -> Outcome {
        let proof = match timeout_at(deadline, self.prover.other_than(refused, sent_at)).await {
            Ok(None) => return first,
            Ok(Some(Ok(proof))) => proof,
            Ok(Some(Err(error))) => return Outcome::NotSent(NotSent::NoToken(error)),
            Err(_) => return Outcome::NotSent(NotSent::Deadline),
        };
        if let Some(gate) = &self.gate {
            *ticket = None;
            match taken(gate, request, deadline).await {
                Ok(taken) => *ticket = taken,
                Err(why) => return Outcome::NotSent(why),
            }
        }
        // Made again, since to keep a second one ready would cost each call.
        match target::request(&self.base, &self.system, request) {
            Ok(made) => self.send(made, &proof, deadline).await,
            Err(error) => Outcome::NotSent(NotSent::NoRequest(error)),
        }
    }

    fn send(
        &self,
        mut request: reqwest::Request,
        proof: &Proof,
        deadline: Instant,
    ) -> impl Future<Output = Outcome> + use<> {
        proof.put_on(&mut request);
        let exchange = http::exchange(&self.http, request, deadline, self.system.response_bytes_max);
        exchange.map(|came| came.map_or_else(Outcome::Failed, Outcome::Answered))
    }
}

/// The right to make one call, waited for until then.
async fn taken(gate: &Arc<Gate>, request: &Request, until: Instant) -> Result<Option<Ticket>, NotSent> {
    let flow = request.on_behalf.clone().unwrap_or_else(limits::nobody);
    gate.taken(&flow, until).await.map_err(|not_yet| NotSent::Limited(limits::wait_of(gate, not_yet)))
}

/// Connections to a system; none is made yet.
fn connections(system: &System) -> Result<reqwest::Client, SystemClientError> {
    let connect = (system.deadline / CONNECT_SHARE).min(CONNECT_MAX);
    let idle_max = system.limits.in_flight.map_or(IDLE_CONNECTIONS, |n| n as usize);
    http::client(connect, idle_max)
        .map_err(|e| SystemClientError::Tls { system: system.name.clone(), problem: http::chain(&e) })
}
