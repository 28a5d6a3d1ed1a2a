//! The credential that a stand-in demands, and the tokens that it gives out for one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use axum::Json;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use uuid::Uuid;

/// How long a token is good for.
const TOKEN_LIFETIME: Duration = Duration::from_secs(300);

/// What each token begins with: who sees it in a log or on a topic knows that a token of a stand-in leaked. Letters and digits,
/// which no way of escaping changes.
pub const TOKEN_MARK: &str = "sandboxtoken9f27c1e4";

/// How many tokens are good at once; the oldest end first.
const TOKENS_MAX: usize = 10_000;

/// What a caller has to show. Only for trying things out: what it holds is no real secret, and is compared plainly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Nothing.
    None,
    /// A token of this system's own `/oauth/token` (RFC 6749, section 4.4).
    OAuth2 {
        /// The client's id.
        client_id: String,
        /// The client's secret.
        client_secret: String,
    },
    /// A header with a key.
    ApiKey {
        /// The header's name.
        header: String,
        /// The key.
        key: String,
    },
    /// HTTP Basic (RFC 7617).
    Basic {
        /// The user's name.
        username: String,
        /// The password.
        password: String,
    },
    /// A fixed token (RFC 6750).
    Bearer {
        /// The token.
        token: String,
    },
}

/// The tokens that are good now, and when they end.
#[derive(Debug, Default)]
pub struct Tokens {
    good_until: BTreeMap<String, Instant>,
    requests: u64,
}

impl Expected {
    /// Whether these headers show it; else the challenge to answer with.
    pub(super) fn check(&self, headers: &HeaderMap, tokens: &Tokens) -> Result<(), &'static str> {
        let shown = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let authorization = shown(header::AUTHORIZATION.as_str());
        let (good, challenge) = match self {
            Self::None => (true, ""),
            Self::OAuth2 { .. } => (tokens.holds(bearer(authorization)), "Bearer error=\"invalid_token\""),
            Self::ApiKey { header, key } => (shown(header) == key, "ApiKey"),
            Self::Basic { username, password } => {
                (authorization == basic(username, password), "Basic realm=\"sandbox\"")
            }
            Self::Bearer { token } => (bearer(authorization) == Some(token), "Bearer"),
        };
        if good { Ok(()) } else { Err(challenge) }
    }
}

impl Tokens {
    /// How often a token was asked for.
    pub(super) fn requests(&self) -> u64 {
        self.requests
    }

    /// Ends all of them.
    pub(super) fn expire(&mut self) {
        self.good_until.clear();
    }

    /// Answers a request to the token endpoint, which anybody can call who has the client's secret.
    pub(super) fn answer(&mut self, expected: &Expected, headers: &HeaderMap, body: &[u8]) -> Response {
        self.requests += 1;
        let Expected::OAuth2 { client_id, client_secret } = expected else {
            return StatusCode::NOT_FOUND.into_response();
        };
        let form: BTreeMap<String, String> = url::form_urlencoded::parse(body).into_owned().collect();
        let field = |name: &str| form.get(name).map(String::as_str);
        let in_header = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
        let known = match in_header {
            Some(shown) => client(shown).is_some_and(|(id, secret)| id == *client_id && secret == *client_secret),
            None => field("client_id") == Some(client_id) && field("client_secret") == Some(client_secret),
        };
        if !known {
            return refused(StatusCode::UNAUTHORIZED, "invalid_client");
        }
        match field("grant_type") {
            Some("client_credentials") => self.give(field("scope")),
            Some(_) => refused(StatusCode::BAD_REQUEST, "unsupported_grant_type"),
            None => refused(StatusCode::BAD_REQUEST, "invalid_request"),
        }
    }

    fn give(&mut self, scope: Option<&str>) -> Response {
        let now = Instant::now();
        self.good_until.retain(|_, until| *until > now);
        if self.good_until.len() >= TOKENS_MAX {
            let oldest = self.good_until.iter().min_by_key(|(_, until)| **until).map(|(token, _)| token.clone());
            oldest.map(|token| self.good_until.remove(&token));
        }
        let token = format!("{TOKEN_MARK}-{}", Uuid::new_v4().simple());
        self.good_until.insert(token.clone(), now + TOKEN_LIFETIME);
        let mut body = json!({ "access_token": token, "token_type": "Bearer", "expires_in": TOKEN_LIFETIME.as_secs() });
        if let Some(scope) = scope {
            body["scope"] = json!(scope);
        }
        ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
    }

    fn holds(&self, token: Option<&str>) -> bool {
        token.and_then(|token| self.good_until.get(token)).is_some_and(|until| *until > Instant::now())
    }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// The client in a Basic header: its id and secret are form-encoded before they are put together (RFC 6749, section 2.3.1),
/// by some with `+` for a space and by some with `%20`.
fn client(authorization: &str) -> Option<(String, String)> {
    let encoded = STANDARD.decode(authorization.strip_prefix("Basic ")?).ok()?;
    let encoded = String::from_utf8(encoded).ok()?;
    let (id, secret) = encoded.split_once(':')?;
    let decoded = |text: &str| {
        let mut fields = url::form_urlencoded::parse(text.as_bytes());
        fields.next().filter(|(_, value)| value.is_empty()).map(|(name, _)| name.into_owned())
    };
    Some((decoded(id)?, decoded(secret)?))
}

fn bearer(authorization: &str) -> Option<&str> {
    authorization.strip_prefix("Bearer ")
}

/// RFC 6749, section 5.2.
fn refused(status: StatusCode, error: &str) -> Response {
    (status, [(header::CACHE_CONTROL, "no-store")], Json(json!({ "error": error }))).into_response()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use axum::http::HeaderValue;

    use super::*;

    fn token_request(authorization: &str) -> StatusCode {
        let client = Expected::OAuth2 { client_id: "tieline".to_owned(), client_secret: "a+b/c= ~d".to_owned() };
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::try_from(authorization).unwrap());
        Tokens::default().answer(&client, &headers, b"grant_type=client_credentials").status()
    }

    #[test]
    fn a_client_shows_its_secret_form_encoded() {
        for secret in ["a%2Bb%2Fc%3D%20~d", "a%2Bb%2Fc%3D+%7Ed"] {
            assert_eq!(token_request(&basic("tieline", secret)), StatusCode::OK, "{secret}");
        }
        for secret in ["a+b/c= ~d", "a%2Bb%2Fc%3D%20", ""] {
            assert_eq!(token_request(&basic("tieline", secret)), StatusCode::UNAUTHORIZED, "{secret}");
        }
    }
}
