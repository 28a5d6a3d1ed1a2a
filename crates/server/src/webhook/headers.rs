//! Which of a request's headers go on into the bus: those that a mapping may read, without what proves or grants
//! anything. A delivery can end as a dead letter that people look at, so that a credential must not get that far.

use axum::http::HeaderMap;
use tieline_bus::Verify;

/// Parts of names that tell of a credential: `authorization` and `proxy-authorization`, `cookie`, `x-api-key`,
/// `x-hub-signature`, `x-gitlab-token`, `x-amz-security-token` and their like.
const CREDENTIALS: [&str; 8] =
    ["authorization", "cookie", "signature", "token", "secret", "password", "api-key", "apikey"];

/// The headers that go on: names in lower case, the first value of each, where it is text.
#[must_use]
pub fn passed_on(headers: &HeaderMap, scheme: &Verify) -> Vec<(String, String)> {
    let signature = match scheme {
        Verify::StandardWebhooks { .. } => super::standard_webhooks::SIGNATURE,
        Verify::Hmac(declared) => &declared.header,
    };
    headers
        .keys()
        .map(axum::http::HeaderName::as_str)
        .filter(|name| *name != signature && !CREDENTIALS.iter().any(|part| name.contains(part)))
        .filter_map(|name| {
            let value = std::str::from_utf8(headers.get(name)?.as_bytes()).ok()?;
            Some((name.to_owned(), value.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use axum::http::{HeaderName, HeaderValue};
    use tieline_bus::{Digest, Encoding, Hmac};

    #[test]
    fn credentials_and_signatures_stay_behind() {
        let mut headers = HeaderMap::new();
        for name in [
            "authorization",
            "proxy-authorization",
            "cookie",
            "webhook-signature",
            "x-hub-signature",
            "x-hub-signature-256",
            "x-vendor-hmac",
            "x-gitlab-token",
            "x-api-key",
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("canary"));
        }
        headers.append("X-Event", HeaderValue::from_static("push"));
        headers.append("X-Event", HeaderValue::from_static("second"));
        headers.append("x-binary", HeaderValue::from_bytes(b"\xff").unwrap());
        let scheme = Verify::Hmac(Hmac {
            secrets: vec![],
            digest: Digest::Sha256,
            header: "x-vendor-hmac".into(),
            prefix: String::new(),
            encoding: Encoding::Hex,
            timestamp: None,
        });
        assert_eq!(passed_on(&headers, &scheme), [("x-event".to_owned(), "push".to_owned())]);
    }
}
