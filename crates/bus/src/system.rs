//! A system: an outside application with an API, as `systems/NAME/system.yaml` declares it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tieline_schema::contract::{Contract, Operation, Parameter, Place};

use crate::Secret;

mod idempotency;
mod limits;
mod read;

pub use idempotency::{Conflict, EffectLookUp, Idempotency, KeyHeader, Meaning, Means, Stores};
pub use limits::{CostLimits, Limits};

/// An outside application: how it is reached, and what it promises.
#[derive(Debug, Clone)]
pub struct System {
    /// Its name: that of its folder.
    pub name: String,
    /// What it is for, in a sentence.
    pub purpose: String,
    /// Who to ask.
    pub owner: String,
    /// Where its API is: `http` or `https`, without a trailing slash. An operation's path is appended.
    pub base_url: String,
    /// Its OpenAPI document.
    pub contract: Arc<Contract>,
    /// How a call proves who we are.
    pub credential: Credential,
    /// How it makes one effect of several attempts.
    pub idempotency: Idempotency,
    /// The time for a whole call, from the first byte sent to the last byte of the body read. Default 10 s.
    pub deadline: Duration,
    /// Most bytes kept of a response's body; a longer one cannot be read. Default 64 KiB.
    pub response_bytes_max: usize,
    /// A header with the API's version that is sent with each call and expected back where the system sends it.
    pub version: Option<Version>,
    /// Statuses that mean something else here than the rule says, by operation (`*` for all), then status.
    pub answers: BTreeMap<String, BTreeMap<u16, AnswerClass>>,
    /// Limits that the system sets. Shared by all replicas.
    pub limits: Limits,
}

impl System {
    /// Whether each call has this parameter without anybody's mapping: contracts declare the headers of the credential,
    /// the idempotency key and the version too, often as required.
    #[must_use]
    pub fn gives(&self, parameter: &Parameter) -> bool {
        let credential = match &self.credential {
            Credential::ApiKey { header, .. } => Some(header),
            Credential::None | Credential::OAuth2 { .. } | Credential::Basic { .. } | Credential::Bearer { .. } => None,
        };
        let idempotency = self.idempotency.header().map(|header| &header.name);
        let version = self.version.as_ref().map(|version| &version.header);
        let mut ours = [credential, idempotency, version].into_iter().flatten();
        parameter.place == Place::Header && ours.any(|name| name.eq_ignore_ascii_case(&parameter.name))
    }

    /// The operation whose answer tells the version (`ETag`) of what this one changes: HEAD, else GET, at the same path.
    #[must_use]
    pub fn version_of(&self, operation: &Operation) -> Option<&Arc<Operation>> {
        let asks = |method| {
            let alike = |o: &&Arc<Operation>| o.method == method && o.path == operation.path;
            self.contract.operations.iter().find(alike)
        };
        asks("HEAD").or_else(|| asks("GET"))
    }
}

/// How a call proves who we are.
#[derive(Debug, Clone)]
pub enum Credential {
    /// It need not.
    None,
    /// OAuth 2.0 client credentials (RFC 6749, section 4.4).
    OAuth2 {
        /// The token endpoint.
        token_url: String,
        /// The client's id.
        client_id: String,
        /// The client's secret.
        client_secret: Secret,
        /// How id and secret are shown.
        client_auth: ClientAuth,
        /// What is asked for.
        scopes: Vec<String>,
    },
    /// A header with a key.
    ApiKey {
        /// The header's name.
        header: String,
        /// The key.
        key: Secret,
    },
    /// HTTP Basic (RFC 7617).
    Basic {
        /// The user's name.
        username: String,
        /// The password.
        password: Secret,
    },
    /// A fixed bearer token (RFC 6750).
    Bearer {
        /// The token.
        token: Secret,
    },
}

/// How a client shows its id and secret to a token endpoint (RFC 6749, section 2.3.1; the words are those of RFC 7591).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientAuth {
    /// `client_secret_basic`: in the Authorization header. Every server has to support it.
    #[default]
    Basic,
    /// `client_secret_post`: in the form. Some servers take nothing else.
    Post,
}

/// The version of an API that we were written for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The header's name.
    pub header: String,
    /// What is sent, and expected back.
    pub expect: String,
}

/// The class that a definition can give to a status: DESIGN.md, "What an answer means".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerClass {
    /// The effect exists.
    Applied,
    /// The request is wrong and stays wrong.
    Refused,
    /// The effect does not exist; again later.
    NotApplied,
    /// It may have been applied.
    Unknown,
    /// Too many calls.
    Throttled,
    /// The system says that we may not, or that the thing is not there (yet).
    AbsentOrForbidden,
    /// The credential is refused.
    Credential,
    /// Nothing that a record could be blamed for.
    Misconfigured,
}
