//! Proves who we are: a fixed header, or a token by OAuth 2.0 client credentials (RFC 6749, section 4.4).
//!
//! A token has a *generation*, which rises by one with each that is fetched. A call that was refused says with which
//! generation, and gets a later one: the first to say so fetches it, all others share that fetch or find it done. So a
//! token that is revoked under a thousand calls is fetched once. Where it cannot be had, that too is found out once for all
//! that were under way: a thousand requests of a client that is locked out would have it locked for longer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use serde_json::Value;
use tieline_bus::{ClientAuth, Credential, Secret};
use tokio::time::Instant;

use super::retry_after::{RETRY_AFTER_DEFAULT, RETRY_AFTER_MIN, retry_after};
use crate::fetches::Fetches;
use crate::http::{
    Body, CredentialError, Failure, Redactor, Response, basic_value, exchange, fixed_header, secret_value,
};

/// Most bytes of a token endpoint's answer. Tokens of some identity providers carry all of a user's groups.
const TOKEN_ANSWER_BYTES_MAX: usize = 64 * 1024;

/// How long a token is used whose endpoint does not say how long it lives. One that dies sooner is noticed by a 401.
const TOKEN_LIFE_DEFAULT: Duration = Duration::from_secs(5 * 60);

/// Longest that a token is used, whatever its endpoint says: a bound for arithmetic, and a new one a day costs nothing.
const TOKEN_LIFE_MAX: Duration = Duration::from_secs(24 * 3_600);

/// A token is given up so long before its end, since a call that starts now arrives later; but at most a tenth of its life.
const TOKEN_MARGIN: Duration = Duration::from_secs(30);

/// What a form keeps: unreserved characters. A space is `%20`, which every decoder of forms takes too.
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    /// The token endpoint cannot be reached, or is not well: it may be later.
    #[error("no token can be had now: {0}")]
    Unavailable(String),
    /// It named a time before which nobody should ask.
    #[error("the token endpoint asks to wait for {} s", retry_after.as_secs())]
    Throttled {
        /// How long, from now.
        retry_after: Duration,
    },
    /// It refuses the client, or answers what is no token: somebody has to look at the definition.
    #[error("the token endpoint gives no token: {0}")]
    Refused(String),
}

/// A header that proves who we are, and the generation of the token in it.
#[derive(Debug, Clone)]
pub(crate) struct Proof {
    header: Option<(HeaderName, HeaderValue)>,
    /// 0 for what is not a token.
    generation: u64,
}

impl Proof {
    /// Puts it on a request.
    pub(crate) fn put_on(&self, request: &mut reqwest::Request) {
        if let Some((name, value)) = &self.header {
            request.headers_mut().insert(name.clone(), value.clone());
        }
    }
}

/// Where proofs come from.
#[derive(Debug)]
pub(crate) enum Prover {
    /// A header that never changes, or none.
    Fixed(Proof),
    /// Tokens.
    OAuth2(Arc<TokenSource>),
}

impl Prover {
    /// Reads a credential. `deadline` is for one token request.
    pub(crate) fn new(
        credential: &Credential,
        http: &reqwest::Client,
        deadline: Duration,
        redactor: &Arc<Redactor>,
    ) -> Result<Self, CredentialError> {
        if let Credential::OAuth2 { token_url, client_id, client_secret, client_auth, scopes } = credential {
            let client = Client { id: client_id, secret: client_secret.expose(), auth: *client_auth };
            let source = TokenSource::new(token_url, &client, scopes, http, deadline, redactor)?;
            return Ok(Self::OAuth2(Arc::new(source)));
        }
        Ok(Self::Fixed(Proof { header: fixed_header(credential)?, generation: 0 }))
    }

    /// A proof to call with.
    pub(crate) async fn proof(&self) -> Result<Proof, TokenError> {
        match self {
            Self::Fixed(proof) => Ok(proof.clone()),
            Self::OAuth2(source) => source.later_than(0, Instant::now()).await,
        }
    }

    /// Another proof than the one that was refused, for a call that was sent then; `None` where there is no other.
    pub(crate) async fn other_than(&self, refused: &Proof, sent_at: Instant) -> Option<Result<Proof, TokenError>> {
        match self {
            Self::Fixed(_) => None,
            Self::OAuth2(source) => Some(source.later_than(refused.generation, sent_at).await),
        }
    }
}

/// Fetches tokens, one at a time, and keeps the last.
#[derive(Debug)]
pub(crate) struct TokenSource {
    http: reqwest::Client,
    url: Url,
    /// Where the client shows itself in the header.
    authorization: Option<HeaderValue>,
    /// Holds the client's secret, where it shows itself in the form.
    form: Secret,
    deadline: Duration,
    redactor: Arc<Redactor>,
    last: Mutex<Option<Token>>,
    /// Nobody asks before this: the endpoint said so.
    not_before: Mutex<Option<Instant>>,
    /// The last fetch that failed, and when it had.
    failed: Mutex<Option<(Instant, TokenError)>>,
    fetches: Fetches<(), Result<Proof, TokenError>>,
}

/// Who asks for tokens.
struct Client<'a> {
    id: &'a str,
    secret: &'a str,
    auth: ClientAuth,
}

#[derive(Debug, Clone)]
struct Token {
    proof: Proof,
    good_until: Instant,
}

impl TokenSource {
    fn new(
        token_url: &str,
        client: &Client<'_>,
        scopes: &[String],
        http: &reqwest::Client,
        deadline: Duration,
        redactor: &Arc<Redactor>,
    ) -> Result<Self, CredentialError> {
        let url = Url::parse(token_url).map_err(|_| CredentialError::TokenUrl)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(CredentialError::TokenUrl);
        }
        let mut form = String::from("grant_type=client_credentials");
        if !scopes.is_empty() {
            form.push_str("&scope=");
            form.push_str(&form_encoded(&scopes.join(" ")));
        }
        // RFC 6749, section 2.3.1: in the header, both are form-encoded first.
        let (id, secret) = (form_encoded(client.id), form_encoded(client.secret));
        let authorization = match client.auth {
            ClientAuth::Basic => Some(basic_value(&id, &secret)?),
            ClientAuth::Post => {
                form.push_str(&format!("&client_id={id}&client_secret={secret}"));
                None
            }
        };
        Ok(Self {
            http: http.clone(),
            url,
            authorization,
            form: Secret::new(form),
            deadline,
            redactor: Arc::clone(redactor),
            last: Mutex::new(None),
            not_before: Mutex::new(None),
            failed: Mutex::new(None),
            fetches: Fetches::default(),
        })
    }

    /// A token of a later generation than this one, and not at its end. A fetch that has failed since then is not repeated:
    /// its failure is the answer.
    async fn later_than(self: &Arc<Self>, generation: u64, since: Instant) -> Result<Proof, TokenError> {
        let kept = || self.kept(generation).map(Ok).or_else(|| self.failed_since(since).map(Err));
        let fetch = || {
            let source = Arc::clone(self);
            async move { source.fetched().await }
        };
        match self.fetches.get(&(), kept, fetch).await {
            Ok(outcome) => outcome,
            Err(aborted) => Err(TokenError::Unavailable(aborted.to_string())),
        }
    }

    fn kept(&self, later_than: u64) -> Option<Proof> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let token = last.as_ref()?;
        (token.proof.generation > later_than && Instant::now() < token.good_until).then(|| token.proof.clone())
    }

    fn failed_since(&self, since: Instant) -> Option<TokenError> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.as_ref().filter(|(at, _)| *at >= since).map(|(_, error)| error.clone())
    }

    /// Fetches a token, and keeps in mind if that failed; how long to wait is kept in mind anyway.
    async fn fetched(&self) -> Result<Proof, TokenError> {
        let outcome = self.fetch().await;
        if let Err(error @ (TokenError::Unavailable(_) | TokenError::Refused(_))) = &outcome {
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), error.clone()));
        }
        outcome
    }

    async fn fetch(&self) -> Result<Proof, TokenError> {
        // From before the request: when the token began to live is not known better.
        let asked = Instant::now();
        if let Some(wait) = self.not_before().and_then(|at| at.checked_duration_since(asked)).filter(|w| !w.is_zero()) {
            return Err(TokenError::Throttled { retry_after: wait.max(RETRY_AFTER_MIN) });
        }
        let response = exchange(&self.http, self.request(), asked + self.deadline, TOKEN_ANSWER_BYTES_MAX).await;
        let response = response.map_err(|failure| TokenError::Unavailable(said(&failure)))?;
        if let Body::Cut(_, failure) = &response.body {
            return Err(TokenError::Unavailable(said(failure)));
        }
        if let Some(retry_after) = throttled(&response) {
            *self.not_before.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + retry_after);
            return Err(TokenError::Throttled { retry_after });
        }
        let (token, life) = read(response.status, response.body.bytes())?;
        let header = secret_value(&format!("Bearer {token}"))
            .map_err(|_| TokenError::Refused("its token has a character that a header cannot have".into()))?;
        self.redactor.learn(&token);

        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = last.as_ref().map_or(0, |token| token.proof.generation) + 1;
        let proof = Proof { header: Some((AUTHORIZATION, header)), generation };
        let good_until = asked + (life - TOKEN_MARGIN.min(life / 10));
        *last = Some(Token { proof: proof.clone(), good_until });
        Ok(proof)
    }

    fn not_before(&self) -> Option<Instant> {
        *self.not_before.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn request(&self) -> reqwest::Request {
        let mut request = reqwest::Request::new(Method::POST, self.url.clone());
        *request.headers_mut() = HeaderMap::from_iter([
            (ACCEPT, HeaderValue::from_static("application/json")),
            (CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded")),
        ]);
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        *request.body_mut() = Some(self.form.expose().to_owned().into());
        request
    }
}

fn form_encoded(text: &str) -> String {
    utf8_percent_encode(text, FORM).to_string()
}

/// How long the endpoint wants not to be asked: as a system's own answers say it.
fn throttled(response: &Response) -> Option<Duration> {
    let said = retry_after(&response.headers, SystemTime::now());
    match response.status {
        429 => Some(said.unwrap_or(RETRY_AFTER_DEFAULT)),
        503 => said,
        _ => None,
    }
}

fn said(failure: &Failure) -> String {
    match failure {
        Failure::NotConnected(detail) | Failure::Lost(detail) => format!("token endpoint: {detail}"),
        Failure::Deadline => "the token endpoint does not answer in time".into(),
    }
}

/// Reads a token endpoint's answer (RFC 6749, sections 5.1 and 5.2): the token, and how long it lives.
fn read(status: u16, body: &[u8]) -> Result<(String, Duration), TokenError> {
    let json: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    match status {
        200..=299 => {}
        408 | 500..=599 => return Err(TokenError::Unavailable(format!("the token endpoint answered {status}"))),
        _ => return Err(TokenError::Refused(format!("it answered {status}{}", error_code(&json)))),
    }
    let refused = |problem: &str| TokenError::Refused(format!("it answered {status}, {problem}"));
    let token = json.get("access_token").and_then(Value::as_str).filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| refused("without an `access_token`"))?;
    let bearer = json.get("token_type").and_then(Value::as_str).is_none_or(|t| t.eq_ignore_ascii_case("bearer"));
    if !bearer {
        return Err(refused("with a `token_type` that is not Bearer"));
    }
    Ok((token.to_owned(), life(json.get("expires_in"))))
}

/// Some servers write the number as a text.
fn life(expires_in: Option<&Value>) -> Duration {
    let seconds = match expires_in {
        Some(Value::Number(n)) => n.as_f64(),
        Some(Value::String(text)) => text.parse().ok(),
        _ => None,
    };
    let life = seconds.filter(|s: &f64| *s >= 0.0).and_then(|s| Duration::try_from_secs_f64(s).ok());
    life.unwrap_or(TOKEN_LIFE_DEFAULT).min(TOKEN_LIFE_MAX)
}

/// The `error` of the answer, where it is a code; its description is not shown, since it may repeat what was sent.
fn error_code(json: &Value) -> String {
    let code = json.get("error").and_then(Value::as_str).unwrap_or_default();
    let is_code = (1..=64).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    if is_code { format!(" ({code})") } else { String::new() }
}
