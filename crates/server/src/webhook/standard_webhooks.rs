//! Standard Webhooks 1.0.0, symmetric scheme `v1`: HMAC-SHA256 over `ID.TIMESTAMP.BODY`.
//!
//! Source: the specification (github.com/standard-webhooks/standard-webhooks, `spec/standard-webhooks.md`), sections
//! "Signature scheme", "Webhook headers" and "Verifying signatures". Asymmetric signatures (`v1a`) are of an unknown
//! version here and are passed over, as are all others.

use std::time::Duration;

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use sha2::Sha256;
use tieline_bus::Secret;

use super::verify::{VerifyError, in_time, single};

/// The header with the delivery's id.
pub const ID: &str = "webhook-id";
/// The header with the time of sending.
pub const TIMESTAMP: &str = "webhook-timestamp";
/// The header with the signatures.
pub const SIGNATURE: &str = "webhook-signature";

/// How a secret is written.
const SECRET_SHAPE: &str = "`whsec_` and base 64 of at least one byte";

/// Secrets are copied by people, and lose their padding on the way; what is meant stays clear.
const SECRET_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Signs a body as a sender does. Returns the value of `webhook-signature`.
///
/// # Errors
/// When the secret is not `whsec_` and base 64.
pub fn sign(secret: &Secret, id: &str, timestamp: Timestamp, body: &[u8]) -> Result<String, VerifyError> {
    let mac = signed(secret, id.as_bytes(), timestamp.as_second().to_string().as_bytes(), body)?;
    Ok(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

/// Whether one of the signatures is right under one of the secrets.
pub(super) fn verify(
    secrets: &[Secret],
    tolerance: Duration,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<(), VerifyError> {
    let id = single(headers, ID)?;
    let timestamp = single(headers, TIMESTAMP)?;
    let signatures = v1(single(headers, SIGNATURE)?)?;
    in_time(TIMESTAMP, timestamp, tolerance, now)?;

    let mut failure = VerifyError::NoMatch { header: SIGNATURE.to_owned() };
    for secret in secrets {
        match signed(secret, id, timestamp, body) {
            Ok(mac) if signatures.iter().any(|s| mac.clone().verify_slice(s).is_ok()) => return Ok(()),
            Ok(_) => {}
            Err(unusable) => failure = unusable,
        }
    }
    Err(failure)
}

/// The signatures of version 1 in a list of `VERSION,SIGNATURE` with single spaces between.
fn v1(list: &[u8]) -> Result<Vec<Vec<u8>>, VerifyError> {
    let signatures: Vec<Vec<u8>> = list
        .split(|b| *b == b' ')
        .filter_map(|entry| entry.strip_prefix(b"v1,"))
        .filter_map(|base64| STANDARD.decode(base64).ok())
        .collect();
    if signatures.is_empty() {
        return Err(VerifyError::Misshapen {
            header: SIGNATURE.to_owned(),
            expected: "a list of signatures with spaces between, at least one of them `v1,` and base 64",
        });
    }
    Ok(signatures)
}

/// The MAC over what a sender signs.
fn signed(secret: &Secret, id: &[u8], timestamp: &[u8], body: &[u8]) -> Result<Hmac<Sha256>, VerifyError> {
    let unusable = || VerifyError::UnusableSecret { expected: SECRET_SHAPE };
    let base64 = secret.expose().strip_prefix("whsec_").ok_or_else(unusable)?;
    let key = SECRET_BASE64.decode(base64).map_err(|_| unusable())?;
    if key.is_empty() {
        return Err(unusable()); // with an empty key anybody can sign
    }
    let mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|_| unusable())?;
    Ok(mac.chain_update(id).chain_update(b".").chain_update(timestamp).chain_update(b".").chain_update(body))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use axum::http::{HeaderName, HeaderValue};
    use proptest::prelude::*;
    use serde_json::Value;

    const TOLERANCE: Duration = Duration::from_secs(300);

    fn vector() -> Value {
        serde_json::from_str(include_str!("../../tests/vectors/standard_webhooks.json")).unwrap()
    }

    fn headers(id: &[u8], timestamp: &[u8], signature: &[u8]) -> HeaderMap {
        [(ID, id), (TIMESTAMP, timestamp), (SIGNATURE, signature)]
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap()))
            .into_iter()
            .collect()
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    /// Judges the vector's request with something changed.
    fn judge(change: impl FnOnce(&mut Vec<Secret>, &mut HeaderMap, &mut i64)) -> Result<(), VerifyError> {
        let v = vector();
        let text = |name: &str| v[name].as_str().unwrap().to_owned();
        let mut now = v["timestamp"].as_i64().unwrap();
        let mut secrets = vec![secret(&text("secret"))];
        let mut headers = headers(text("id").as_bytes(), now.to_string().as_bytes(), text("signature").as_bytes());
        change(&mut secrets, &mut headers, &mut now);
        verify(&secrets, TOLERANCE, &headers, text("body").as_bytes(), Timestamp::from_second(now).unwrap())
    }

    #[test]
    fn the_reference_libraries_signatures_are_ours() {
        let v = vector();
        let text = |name: &str| v[name].as_str().unwrap();
        let sent = Timestamp::from_second(v["timestamp"].as_i64().unwrap()).unwrap();
        let signed = sign(&secret(text("secret")), text("id"), sent, text("body").as_bytes());
        assert_eq!(signed.unwrap(), text("signature"));
    }

    #[test]
    fn the_reference_libraries_verdicts_are_ours() {
        for (verdict, expect) in [("accepted", true), ("refused", false)] {
            for (name, signatures) in vector()[verdict].as_object().unwrap() {
                let signatures = signatures.as_str().unwrap().parse::<HeaderValue>().unwrap();
                let result = judge(|_, headers, _| _ = headers.insert(SIGNATURE, signatures));
                assert_eq!(result.is_ok(), expect, "{name}: {result:?}");
            }
        }
    }

    #[test]
    fn a_time_is_accepted_up_to_the_tolerance_and_not_a_second_beyond() {
        for (away, expect) in [(-301, false), (-300, true), (0, true), (300, true), (301, false)] {
            assert_eq!(judge(|_, _, now| *now += away).is_ok(), expect, "{away}");
        }
    }

    #[test]
    fn each_header_is_there_once() {
        for name in [ID, TIMESTAMP, SIGNATURE] {
            let header = name.to_owned();
            let missing = judge(|_, headers, _| _ = headers.remove(name));
            assert_eq!(missing, Err(VerifyError::Missing { header: header.clone() }));
            let repeated = judge(|_, headers, _| {
                let value = headers[name].clone();
                headers.append(name, value);
            });
            assert_eq!(repeated, Err(VerifyError::Repeated { header }));
        }
    }

    #[test]
    fn while_secrets_rotate_both_are_accepted() {
        let other = secret("whsec_c2VjcmV0LW9mLWFub3RoZXItZW5kcG9pbnQ=");
        assert!(judge(|secrets, _, _| secrets.insert(0, other.clone())).is_ok());
        assert!(judge(|secrets, _, _| secrets.push(other.clone())).is_ok());
        let result = judge(|secrets, _, _| *secrets = vec![other]);
        assert_eq!(result, Err(VerifyError::NoMatch { header: SIGNATURE.to_owned() }));
        assert!(judge(|secrets, _, _| secrets.clear()).is_err());
    }

    #[test]
    fn a_secret_that_verifies_nothing_is_our_fault_and_never_opens_the_door() {
        for unusable in ["", "whsec_", "whsec_%%%", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
            let result = judge(|secrets, _, _| *secrets = vec![secret(unusable)]);
            assert_eq!(result, Err(VerifyError::UnusableSecret { expected: SECRET_SHAPE }), "{unusable}");
            assert!(judge(|secrets, _, _| secrets.insert(0, secret(unusable))).is_ok(), "the other one still counts");
        }
    }

    #[test]
    fn no_error_text_holds_the_secret_or_the_right_signature() {
        let wrong = HeaderValue::from_static("v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc=");
        let text = judge(|_, headers, _| _ = headers.insert(SIGNATURE, wrong)).unwrap_err().to_string();
        assert!(!text.contains("MfKQ9r8") && !text.contains("g0hM9SsE"), "{text}");
        assert!(text.contains("same secret"), "{text}");
    }

    proptest! {
        #[test]
        fn what_is_signed_is_accepted(
            key in prop::collection::vec(any::<u8>(), 1..80), body in prop::collection::vec(any::<u8>(), 0..200),
            id in "[!-~]{1,40}", sent in 0_i64..4_000_000_000,
        ) {
            let secret = secret(&format!("whsec_{}", STANDARD.encode(key)));
            let now = Timestamp::from_second(sent).unwrap();
            let signature = sign(&secret, &id, now, &body).unwrap();
            let headers = headers(id.as_bytes(), sent.to_string().as_bytes(), signature.as_bytes());
            prop_assert_eq!(verify(&[secret], TOLERANCE, &headers, &body, now), Ok(()));
        }

        /// The place runs over all of id, timestamp, signature and body, the change over all other byte values.
        #[test]
        fn any_changed_byte_is_refused(place in any::<prop::sample::Index>(), change in 1_u8..=255) {
            let v = vector();
            let text = |name: &str| v[name].as_str().unwrap().as_bytes().to_vec();
            let mut parts = [text("id"), v["timestamp"].to_string().into_bytes(), text("signature"), text("body")];
            let now = Timestamp::from_second(v["timestamp"].as_i64().unwrap()).unwrap();
            let mut place = place.index(parts.iter().map(Vec::len).sum());
            for part in &mut parts {
                if let Some(byte) = part.get_mut(place) {
                    *byte ^= change;
                    break;
                }
                place -= part.len();
            }
            let [id, timestamp, signature, body] = parts;
            // Bytes that no header can hold never get here.
            prop_assume!([&id, &timestamp, &signature].iter().all(|part| HeaderValue::from_bytes(part).is_ok()));
            let headers = headers(&id, &timestamp, &signature);
            let secrets = [secret(v["secret"].as_str().unwrap())];
            prop_assert!(verify(&secrets, TOLERANCE, &headers, &body, now).is_err());
        }
    }
}
