//! One HTTP exchange, bounded in time and size: what the registry's and the systems' clients are made of.
//!
//! Everything that a library does on its own for a browser's comfort is off: no redirects (a system that moved is a
//! matter of configuration, and a credential must not travel), no retries (the core of delivery decides about these), no
//! decompression (a body is as large as it came), no proxies from the environment.

mod credential;
mod redact;

pub use credential::CredentialError;
pub(crate) use credential::{basic_value, fixed_header, secret_value};
pub(crate) use redact::Redactor;

use std::error::Error;
use std::fmt::Write as _;
use std::time::Duration;

use reqwest::header::HeaderMap;
use tokio::time::{Instant, timeout_at};

/// How long a connection without work is kept.
///
/// Servers close theirs after 5 s (Node) to 75 s (nginx). A request that meets a closing connection half-way is an
/// unknown outcome, so that ours go before those of most servers; the cost is a handshake after a pause.
const IDLE_KEPT: Duration = Duration::from_secs(20);

/// How often the kernel asks whether a silent connection still lives: shorter than what firewalls remember.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// Most headers of a response. More are an error of the exchange; hyper bounds their bytes as well (about 400 KiB).
const RESPONSE_HEADERS_MAX: usize = 100;

/// Most characters of a failure's description: causes are chained, and some libraries are talkative.
const DETAIL_CHARS_MAX: usize = 300;

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Response {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// As much of the body as there is.
    pub body: Body,
}

/// The body of a response, as far as it was read.
#[derive(Debug)]
pub(crate) enum Body {
    /// All of it.
    Whole(Vec<u8>),
    /// Longer than what is kept; the beginning.
    TooLong(Vec<u8>),
    /// It ended before its end; what came, and why.
    Cut(Vec<u8>, Failure),
}

impl Body {
    /// What there is of it.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Whole(bytes) | Self::TooLong(bytes) | Self::Cut(bytes, _) => bytes,
        }
    }
}

/// Why there is no response, or not all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No connection, so that not a byte of the request was sent: the name does not resolve, nobody listens, TLS fails.
    NotConnected(String),
    /// The connection ended, or spoke something else than HTTP, after the request had been handed to it.
    Lost(String),
    /// The deadline passed; how much of the request had been sent is not known.
    Deadline,
}

/// Makes a client. `connect` bounds the making of a connection (name, TCP, TLS); it has to be well below the deadlines
/// that calls have, so that a system that swallows packets is seen as [`Failure::NotConnected`], not as an unknown
/// outcome. `idle_max` connections are kept for each host.
pub(crate) fn client(connect: Duration, idle_max: usize) -> Result<reqwest::Client, reqwest::Error> {
    // An error says that a provider is installed already: by the command, or by an earlier client.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .user_agent(concat!("tieline/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
        // Of HTTP/2, one lost connection would be as many unknown outcomes as there were calls on it.
        .http1_only()
        .http1_max_headers(RESPONSE_HEADERS_MAX)
        .tcp_nodelay(true)
        .tcp_keepalive(TCP_KEEPALIVE)
        .pool_idle_timeout(IDLE_KEPT)
        .pool_max_idle_per_host(idle_max)
        .connect_timeout(connect)
        .build()
}

/// Sends a request and reads the whole response, at most `body_bytes_max` of its body, until the deadline: one timer for all
/// of it, since a timer costs as much as a piece of a body.
///
/// Not `async` itself, so that the request is the client's at once and its future does not carry it.
pub(crate) fn exchange(
    client: &reqwest::Client,
    request: reqwest::Request,
    deadline: Instant,
    body_bytes_max: usize,
) -> impl Future<Output = Result<Response, Failure>> + use<> {
    let answer = client.execute(request);
    async move {
        let mut got = Got::default();
        let end = match timeout_at(deadline, got.take(answer, body_bytes_max)).await {
            Ok(end) => end,
            Err(_) => End::Cut(Failure::Deadline),
        };
        got.response(end)
    }
}

/// What there is of a response.
#[derive(Default)]
struct Got {
    head: Option<(u16, HeaderMap)>,
    body: Vec<u8>,
}

/// How a response ended.
enum End {
    Whole,
    TooLong,
    Cut(Failure),
}

impl Got {
    /// Takes what comes. A body that is not read to its end takes its connection with it, so that nobody pays for the rest.
    async fn take(
        &mut self,
        answer: impl Future<Output = Result<reqwest::Response, reqwest::Error>>,
        bytes_max: usize,
    ) -> End {
        let mut response = match answer.await {
            Ok(response) => response,
            Err(error) => return End::Cut(failure(error)),
        };
        self.head = Some((response.status().as_u16(), std::mem::take(response.headers_mut())));
        loop {
            match response.chunk().await {
                Err(error) => return End::Cut(failure(error)),
                Ok(None) => return End::Whole,
                Ok(Some(chunk)) => {
                    let room = bytes_max - self.body.len();
                    if chunk.len() > room {
                        self.body.extend_from_slice(&chunk[..room]);
                        return End::TooLong;
                    }
                    self.body.extend_from_slice(&chunk);
                }
            }
        }
    }

    fn response(self, end: End) -> Result<Response, Failure> {
        let body = match (end, &self.head) {
            (End::Cut(failure), None) => return Err(failure),
            (End::Cut(failure), Some(_)) => Body::Cut(self.body, failure),
            (End::TooLong, _) => Body::TooLong(self.body),
            (End::Whole, _) => Body::Whole(self.body),
        };
        let (status, headers) = self.head.unwrap_or_default();
        Ok(Response { status, headers, body })
    }
}

/// Tells whether the request can have reached the server.
///
/// `is_connect` is hyper-util's kind `Connect`: the connector's errors (name, TCP, TLS, and its own timeout), which come
/// before the request is given to a connection. hyper-util itself sends a request again over a new connection where a
/// pooled one turns out to be closed *and* gives the request back unsent. Everything else may have been sent.
fn failure(error: reqwest::Error) -> Failure {
    let connect = error.is_connect();
    let detail = chain(&error.without_url());
    if connect { Failure::NotConnected(detail) } else { Failure::Lost(detail) }
}

/// An error and its causes in one line, bounded.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    match text.char_indices().nth(DETAIL_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
