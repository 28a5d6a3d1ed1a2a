//! Signing, as a sender does: for `tieline dev`, which plays the senders, and for tests.

use jiff::Timestamp;
use tieline_bus::{Verify, Webhook};

use super::{VerifyError, hmac, standard_webhooks};

/// The headers that go with a body so that the webhook takes it: the delivery's id, the time, the signature.
///
/// # Errors
/// When the webhook's secret is not one that it could be signed with.
pub fn sign(webhook: &Webhook, id: &str, now: Timestamp, body: &[u8]) -> Result<Vec<(String, String)>, VerifyError> {
    let seconds = now.as_second().to_string();
    let mut headers = vec![(webhook.id_header.clone(), id.to_owned())];
    match &webhook.verify {
        Verify::StandardWebhooks { secrets, .. } => {
            let unusable = VerifyError::UnusableSecret { expected: "a secret to sign with" };
            let secret = secrets.first().ok_or(unusable)?;
            if webhook.id_header != "webhook-id" {
                headers.push(("webhook-id".to_owned(), id.to_owned()));
            }
            headers.push(("webhook-signature".to_owned(), standard_webhooks::sign(secret, id, now, body)?));
            headers.push(("webhook-timestamp".to_owned(), seconds));
        }
        Verify::Hmac(declared) => {
            headers.push((declared.header.clone(), hmac::sign(declared, now, body)?));
            if let Some((header, _)) = &declared.timestamp {
                headers.push((header.clone(), seconds));
            }
        }
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;
    use std::time::Duration;

    use axum::http::{HeaderMap, HeaderName, HeaderValue};
    use serde_json::json;
    use tieline_bus::{Digest, Encoding, Hmac, Secret};
    use tieline_schema::contract::Validator;

    use super::*;
    use crate::webhook::verify;

    fn check(how: Verify) {
        let webhook = Webhook {
            path: "/hooks/x".to_owned(),
            contract: Arc::new(Validator::compile(json!({})).unwrap()),
            verify: how,
            id_header: "x-delivery-id".to_owned(),
            body_bytes_max: 1_000,
        };
        let now = Timestamp::from_second(1_795_500_000).unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in sign(&webhook, "msg_1", now, b"{}").unwrap() {
            headers.insert(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap());
        }
        assert!(verify(&webhook, &headers, b"{}", now).is_ok());
        assert!(verify(&webhook, &headers, b"{ }", now).is_err());
    }

    #[test]
    fn what_is_signed_is_verified_by_each_scheme() {
        let secret = || vec![Secret::new("whsec_cGxhY2Vob2xkZXItbm90LWEtc2VjcmV0".to_owned())];
        check(Verify::StandardWebhooks { secrets: secret(), tolerance: Duration::from_secs(300) });
        for digest in [Digest::Sha1, Digest::Sha256, Digest::Sha512] {
            for encoding in [Encoding::Hex, Encoding::Base64] {
                for timestamp in [None, Some(("x-sent".to_owned(), Duration::from_secs(300)))] {
                    let (header, prefix) = ("x-signature".to_owned(), "v0=".to_owned());
                    check(Verify::Hmac(Hmac { secrets: secret(), digest, header, prefix, encoding, timestamp }));
                }
            }
        }
    }
}
