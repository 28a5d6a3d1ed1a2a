//! Who sent this? Answered from the raw bytes, before anything of the body is parsed.
//!
//! Pure: what time it is is an argument. Comparisons of signatures are in constant time (`Mac::verify_slice`). No
//! error text holds a secret, or the signature that would have been right: the one would give the key away, the other
//! would make of us an oracle that signs for anybody.

use std::time::Duration;

use axum::http::HeaderMap;
use jiff::Timestamp;
use tieline_bus::{Verify, Webhook};

use super::{hmac, standard_webhooks};

/// Most characters of a delivery's id. It becomes part of an event's id and of log lines; ids in use have 20 to 60.
const ID_CHARACTERS_MAX: usize = 256;

/// The sender's id of a delivery whose body is proven to come from it.
///
/// With Standard Webhooks and `webhook-id` the id is signed too; where a vendor's HMAC covers the body alone, it is
/// only what this request says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedId(String);

impl VerifiedId {
    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<VerifiedId> for String {
    fn from(id: VerifiedId) -> Self {
        id.0
    }
}

/// Why a request does not prove who sent it. Written for the person who sets the sender up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// A header that the scheme needs is not there.
    #[error("header `{header}` is missing or empty: have the sender set it")]
    Missing {
        /// Its name.
        header: String,
    },
    /// A header is there twice, and nothing says which one counts.
    #[error("header `{header}` is there more than once: have the sender set it once")]
    Repeated {
        /// Its name.
        header: String,
    },
    /// A header is not written as the scheme has it.
    #[error("header `{header}` has to be {expected}")]
    Misshapen {
        /// Its name.
        header: String,
        /// What it should be.
        expected: &'static str,
    },
    /// The time of sending is too far from ours: a replay, or a clock that is wrong.
    #[error(
        "header `{header}` is {away_seconds} s away from our clock, at most {tolerance_seconds} s are allowed: send \
         again with the time of sending, or set the clocks"
    )]
    NotNow {
        /// Its name.
        header: String,
        /// How far it is from now, either way.
        away_seconds: u64,
        /// How far it may be.
        tolerance_seconds: u64,
    },
    /// No signature is right.
    #[error(
        "no signature in `{header}` fits these bytes under a secret of this webhook: check that both sides have the \
         same secret, and that nothing between them rewrites the body"
    )]
    NoMatch {
        /// The header with the signatures.
        header: String,
    },
    /// Our own definition holds a secret that nothing can be verified with, and no other one fits.
    #[error("a secret of this webhook is not {expected}: whoever runs this bus has to set it")]
    UnusableSecret {
        /// What it should be.
        expected: &'static str,
    },
}

/// Verifies a request as its webhook declares it.
///
/// # Errors
/// What is wrong, and what to do about it. [`VerifyError::UnusableSecret`] is our fault, all others are the sender's.
pub fn verify(webhook: &Webhook, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<VerifiedId, VerifyError> {
    verify_by(&webhook.verify, &webhook.id_header, headers, body, now)
}

/// Verifies a request by a scheme, and takes the delivery's id from a header.
pub(super) fn verify_by(
    scheme: &Verify,
    id_header: &str,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<VerifiedId, VerifyError> {
    authenticate(scheme, headers, body, now)?;
    delivery_id(id_header, headers)
}

/// Whether the bytes come from somebody who has a secret.
fn authenticate(scheme: &Verify, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<(), VerifyError> {
    match scheme {
        Verify::StandardWebhooks { secrets, tolerance } => {
            standard_webhooks::verify(secrets, *tolerance, headers, body, now)
        }
        Verify::Hmac(declared) => hmac::verify(declared, headers, body, now),
    }
}

/// The delivery's id: short, and of visible ASCII, so that it can stand in a log line and in an event's id.
fn delivery_id(header: &str, headers: &HeaderMap) -> Result<VerifiedId, VerifyError> {
    let value = single(headers, header)?;
    match std::str::from_utf8(value) {
        Ok(id) if id.len() <= ID_CHARACTERS_MAX && id.bytes().all(|b| b.is_ascii_graphic()) => {
            Ok(VerifiedId(id.to_owned()))
        }
        Ok(_) | Err(_) => Err(VerifyError::Misshapen {
            header: header.to_owned(),
            expected: "an id of at most 256 visible ASCII characters",
        }),
    }
}

/// The one value of a header.
pub(super) fn single<'h>(headers: &'h HeaderMap, name: &str) -> Result<&'h [u8], VerifyError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) if !value.is_empty() => Ok(value.as_bytes()),
        (Some(_) | None, None) => Err(VerifyError::Missing { header: name.to_owned() }),
        (_, Some(_)) => Err(VerifyError::Repeated { header: name.to_owned() }),
    }
}

/// Checks a time of sending: whole seconds since the Unix epoch in plain digits, not farther from now than the
/// tolerance in either direction.
pub(super) fn in_time(header: &str, value: &[u8], tolerance: Duration, now: Timestamp) -> Result<(), VerifyError> {
    let sent = std::str::from_utf8(value)
        .ok()
        .filter(|text| text.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|digits| digits.parse::<i64>().ok())
        .ok_or_else(|| VerifyError::Misshapen {
            header: header.to_owned(),
            expected: "whole seconds since 1970 in digits",
        })?;
    let away_seconds = now.as_second().abs_diff(sent);
    if away_seconds > tolerance.as_secs() {
        return Err(VerifyError::NotNow {
            header: header.to_owned(),
            away_seconds,
            tolerance_seconds: tolerance.as_secs(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use axum::http::HeaderValue;

    fn id(values: &[&[u8]]) -> Result<VerifiedId, VerifyError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("x-delivery", HeaderValue::from_bytes(value).unwrap());
        }
        delivery_id("x-delivery", &headers)
    }

    #[test]
    fn an_id_is_there_once_short_and_visible() {
        assert_eq!(id(&[b"72d3162e-cc78"]).unwrap().as_str(), "72d3162e-cc78");
        let header = "x-delivery".to_owned();
        assert_eq!(id(&[]), Err(VerifyError::Missing { header: header.clone() }));
        assert_eq!(id(&[b""]), Err(VerifyError::Missing { header: header.clone() }));
        assert_eq!(id(&[b"a", b"a"]), Err(VerifyError::Repeated { header }));
        assert!(id(&[&[b'a'; 256]]).is_ok());
        for misshapen in [&[b'a'; 257][..], b"a b", "é".as_bytes(), b"\xff"] {
            assert!(matches!(id(&[misshapen]), Err(VerifyError::Misshapen { .. })), "{misshapen:?}");
        }
    }

    #[test]
    fn a_time_is_digits_and_within_the_tolerance_both_ways() {
        let at = |sent: &str, now: i64| {
            in_time("t", sent.as_bytes(), Duration::from_secs(300), Timestamp::from_second(now).unwrap())
        };
        for now in [1000 - 300, 1000, 1000 + 300] {
            assert_eq!(at("1000", now), Ok(()), "{now}");
        }
        for now in [1000 - 301, 1000 + 301] {
            assert!(matches!(at("1000", now), Err(VerifyError::NotNow { away_seconds: 301, .. })), "{now}");
        }
        for misshapen in ["", "-1000", "+1000", "1000.0", " 1000", "1e3", "99999999999999999999", "१"] {
            assert!(matches!(at(misshapen, 1000), Err(VerifyError::Misshapen { .. })), "{misshapen}");
        }
        assert!(matches!(at("9223372036854775807", 0), Err(VerifyError::NotNow { .. }))); // no overflow
    }
}
