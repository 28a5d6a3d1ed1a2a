//! Everything that a sender can be told instead of 202: status, headers, and what to do about it.
//!
//! Senders repeat a delivery after any of these and in the end disable the endpoint, so that a verified body is never
//! refused for what a mapping makes of it: that is a dead letter, and 202.

use std::time::Duration;

use axum::http::header::{ACCEPT_ENCODING, ALLOW, CONNECTION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use tieline_runtime::producer::NotAccepted;

use super::json::JsonError;
use super::metrics::Outcome;
use super::verify::VerifyError;
use crate::problem::problem;

/// When a sender may come again, in seconds: the first step of the schedule that Standard Webhooks proposes.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("5");

/// Why a request is not accepted. The text is for the sender.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// Another method than POST.
    #[error("a webhook takes POST only")]
    Method,
    /// The body is compressed.
    #[error("the body has to be sent as it was signed, without a content encoding")]
    Encoded,
    /// The body is larger than its webhook takes.
    #[error("the body has more than the {bytes_max} bytes that this webhook takes")]
    TooLarge {
        /// Most bytes.
        bytes_max: usize,
    },
    /// The body did not come in time.
    #[error("the body was not here within {deadline:?}")]
    TooSlow {
        /// The time that it had.
        deadline: Duration,
    },
    /// The connection broke in the body, or its framing did.
    #[error("the body broke off")]
    BrokenOff,
    /// Too much is under way.
    #[error("too many deliveries are under way: send it again")]
    Full,
    /// It does not prove who sent it.
    #[error(transparent)]
    Unverified(#[from] VerifyError),
    /// It is not JSON within the bounds.
    #[error(transparent)]
    Malformed(#[from] JsonError),
    /// The broker did not acknowledge. Why is for our log, not for the sender.
    #[error("the delivery could not be stored: send it again")]
    NotAccepted(#[source] NotAccepted),
}

impl Refusal {
    /// The status.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Encoded => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::BrokenOff | Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Full | Self::NotAccepted(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unverified(VerifyError::UnusableSecret { .. }) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unverified(_) => StatusCode::UNAUTHORIZED,
        }
    }

    /// How it is counted.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::Method | Self::Encoded => Outcome::Unsupported,
            Self::TooLarge { .. } => Outcome::TooLarge,
            Self::TooSlow { .. } => Outcome::TooSlow,
            Self::BrokenOff | Self::Malformed(_) => Outcome::Malformed,
            Self::Full => Outcome::Full,
            Self::Unverified(VerifyError::UnusableSecret { .. }) => Outcome::Misconfigured,
            Self::Unverified(_) => Outcome::Unverified,
            Self::NotAccepted(_) => Outcome::NotAccepted,
        }
    }

    /// Headers that belong to the status (RFC 9110, sections 10.2.1, 10.2.3, 11.6.1, 12.5.3), and `Connection: close`
    /// where the rest of the body is still on its way: it is not read.
    fn headers(&self) -> Vec<(axum::http::HeaderName, HeaderValue)> {
        let close = (CONNECTION, HeaderValue::from_static("close"));
        match self {
            Self::Method => vec![(ALLOW, HeaderValue::from_static("POST")), close],
            Self::Encoded => vec![(ACCEPT_ENCODING, HeaderValue::from_static("identity")), close],
            Self::TooLarge { .. } | Self::TooSlow { .. } | Self::BrokenOff => vec![close],
            Self::Full => vec![(RETRY_AFTER, RETRY_AFTER_SECONDS), close],
            Self::NotAccepted(_) => vec![(RETRY_AFTER, RETRY_AFTER_SECONDS)],
            Self::Unverified(VerifyError::UnusableSecret { .. }) | Self::Malformed(_) => vec![],
            Self::Unverified(_) => vec![(WWW_AUTHENTICATE, HeaderValue::from_static("Webhook-Signature"))],
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = problem(self.status(), Some(&self.to_string()));
        response.headers_mut().extend(self.headers());
        response
    }
}

/// The answer where nothing receives: without detail, since whoever looks around need not learn what is here.
pub(crate) fn unknown_path() -> Response {
    let mut response = problem(StatusCode::NOT_FOUND, None);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
