//! HMAC schemes by declaration: a header with a signature over the body, or over `TIMESTAMP.BODY`.
//!
//! GitHub's is `sha256=` and hex over the body, Shopify's is base 64 over the body; both are vectors in the tests.

use ::hmac::{Hmac as Keyed, KeyInit, Mac};
use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use tieline_bus::{Digest, Encoding, Hmac, Secret};

use super::verify::{VerifyError, in_time, single};

/// Whether the signature is right under one of the secrets.
pub(super) fn verify(declared: &Hmac, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<(), VerifyError> {
    let signature = signature(declared, single(headers, &declared.header)?)?;
    let dated: [&[u8]; 3];
    let signed: &[&[u8]] = match &declared.timestamp {
        Some((header, tolerance)) => {
            let timestamp = single(headers, header)?;
            in_time(header, timestamp, *tolerance, now)?;
            dated = [timestamp, b".", body];
            &dated
        }
        None => &[body],
    };
    let fits = |secret: &Secret| {
        let key = secret.expose().as_bytes();
        match declared.digest {
            Digest::Sha1 => fits::<Keyed<Sha1>>(key, signed, &signature),
            Digest::Sha256 => fits::<Keyed<Sha256>>(key, signed, &signature),
            Digest::Sha512 => fits::<Keyed<Sha512>>(key, signed, &signature),
        }
    };
    // With an empty key anybody can sign.
    let usable = |secret: &Secret| !secret.expose().is_empty();
    if declared.secrets.iter().any(|secret| usable(secret) && fits(secret)) {
        return Ok(());
    }
    if declared.secrets.iter().all(usable) {
        Err(VerifyError::NoMatch { header: declared.header.clone() })
    } else {
        Err(VerifyError::UnusableSecret { expected: "a text of at least one character" })
    }
}

/// Signs a body as a sender does, under the first secret. Returns the value of the declared header.
///
/// # Errors
/// When there is no secret to sign with.
pub(super) fn sign(declared: &Hmac, timestamp: Timestamp, body: &[u8]) -> Result<String, VerifyError> {
    let unusable = VerifyError::UnusableSecret { expected: "a text of at least one character" };
    let Some(secret) = declared.secrets.first() else { return Err(unusable) };
    let sent = timestamp.as_second().to_string();
    let dated: [&[u8]; 3] = [sent.as_bytes(), b".", body];
    let parts: &[&[u8]] = if declared.timestamp.is_some() { &dated } else { &[body] };
    let key = secret.expose().as_bytes();
    let mac = match declared.digest {
        Digest::Sha1 => mac::<Keyed<Sha1>>(key, parts),
        Digest::Sha256 => mac::<Keyed<Sha256>>(key, parts),
        Digest::Sha512 => mac::<Keyed<Sha512>>(key, parts),
    };
    let mac = mac.ok_or(unusable)?;
    let encoded = match declared.encoding {
        Encoding::Hex => mac.iter().map(|b| format!("{b:02x}")).collect(),
        Encoding::Base64 => STANDARD.encode(mac),
    };
    Ok(format!("{}{encoded}", declared.prefix))
}

fn mac<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]]) -> Option<Vec<u8>> {
    let mut mac = <M as KeyInit>::new_from_slice(key).ok()?;
    parts.iter().for_each(|part| mac.update(part));
    Some(mac.finalize().into_bytes().to_vec())
}

/// The bytes of the signature in its header.
fn signature(declared: &Hmac, value: &[u8]) -> Result<Vec<u8>, VerifyError> {
    let misshapen = |expected| VerifyError::Misshapen { header: declared.header.clone(), expected };
    let encoded = value
        .strip_prefix(declared.prefix.as_bytes())
        .ok_or_else(|| misshapen("the prefix that this webhook declares, and the signature"))?;
    match declared.encoding {
        Encoding::Hex => hex(encoded).ok_or_else(|| misshapen("the signature in hexadecimal")),
        Encoding::Base64 => STANDARD.decode(encoded).map_err(|_| misshapen("the signature in base 64")),
    }
}

/// Whether a key makes this signature of these parts, in constant time.
fn fits<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]], signature: &[u8]) -> bool {
    <M as KeyInit>::new_from_slice(key).is_ok_and(|mut mac| {
        for part in parts {
            mac.update(part);
        }
        mac.verify_slice(signature).is_ok()
    })
}

/// Hexadecimal of either case.
fn hex(text: &[u8]) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_chunks::<2>() else { return None };
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use axum::http::HeaderValue;
    use proptest::prelude::*;
    use serde_json::Value;
    use std::time::Duration;

    const SIGNATURE: &str = "x-signature";
    const SENT: &str = "x-sent";
    const NOW: i64 = 1_700_000_000;

    fn declared(secrets: &[&str], digest: Digest, prefix: &str, encoding: Encoding) -> Hmac {
        Hmac {
            secrets: secrets.iter().map(|secret| Secret::new((*secret).to_owned())).collect(),
            digest,
            header: SIGNATURE.into(),
            prefix: prefix.into(),
            encoding,
            timestamp: None,
        }
    }

    fn dated() -> Hmac {
        Hmac {
            timestamp: Some((SENT.into(), Duration::from_secs(300))),
            ..declared(&["canary"], Digest::Sha256, "v0=", Encoding::Hex)
        }
    }

    fn judge(declared: &Hmac, headers: &[(&'static str, &[u8])], body: &[u8]) -> Result<(), VerifyError> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        verify(declared, &map, body, Timestamp::from_second(NOW).unwrap())
    }

    fn sign(secret: &str, signed: &str) -> String {
        let mac = Keyed::<Sha256>::new_from_slice(secret.as_bytes()).unwrap().chain_update(signed);
        let hex: String = mac.finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect();
        format!("v0={hex}")
    }

    #[test]
    fn published_vectors_are_accepted_and_their_neighbours_are_not() {
        let vectors: Vec<Value> = serde_json::from_str(include_str!("../../tests/vectors/hmac.json")).unwrap();
        for v in vectors {
            let text = |name: &str| v[name].as_str().unwrap();
            let digest = match text("digest") {
                "sha1" => Digest::Sha1,
                "sha256" => Digest::Sha256,
                "sha512" => Digest::Sha512,
                other => panic!("{other}"),
            };
            let encoding = if text("encoding") == "hex" { Encoding::Hex } else { Encoding::Base64 };
            let scheme = declared(&["another", text("secret")], digest, text("prefix"), encoding);
            let (signature, body) = (text("signature").as_bytes(), text("body").as_bytes());
            assert_eq!(judge(&scheme, &[(SIGNATURE, signature)], body), Ok(()), "{}", text("name"));

            for change in [1, 0x20] {
                for place in 0..signature.len() {
                    let mut changed = signature.to_vec();
                    changed[place] ^= change;
                    if HeaderValue::from_bytes(&changed).is_err() {
                        continue; // no header can hold it
                    }
                    let same_digit = encoding == Encoding::Hex
                        && place >= scheme.prefix.len()
                        && changed.eq_ignore_ascii_case(signature);
                    let result = judge(&scheme, &[(SIGNATURE, &changed)], body);
                    assert_eq!(result.is_ok(), same_digit, "{} {place} {change}", text("name"));
                }
            }
            let cut = &signature[..signature.len() - 2];
            assert!(judge(&scheme, &[(SIGNATURE, cut)], body).is_err(), "a shorter signature");
            assert!(judge(&scheme, &[(SIGNATURE, text("prefix").as_bytes())], body).is_err(), "an empty one");
            assert!(judge(&scheme, &[(SIGNATURE, signature)], &[body, b" "].concat()).is_err(), "another body");
            assert!(judge(&scheme, &[], body).is_err(), "none");
            let twice = judge(&scheme, &[(SIGNATURE, signature), (SIGNATURE, signature)], body);
            assert_eq!(twice, Err(VerifyError::Repeated { header: SIGNATURE.into() }));
        }
    }

    #[test]
    fn a_declared_time_is_signed_and_within_its_tolerance() {
        for (away, expect) in [(-301, false), (-300, true), (0, true), (300, true), (301, false)] {
            let sent = (NOW + away).to_string();
            let signature = sign("canary", &format!("{sent}.body"));
            let headers = [(SIGNATURE, signature.as_bytes()), (SENT, sent.as_bytes())];
            assert_eq!(judge(&dated(), &headers, b"body").is_ok(), expect, "{away}");
        }
        let signature = sign("canary", "body");
        let undated = judge(&dated(), &[(SIGNATURE, signature.as_bytes())], b"body");
        assert_eq!(undated, Err(VerifyError::Missing { header: SENT.into() }));
        let not_signed = [(SIGNATURE, signature.as_bytes()), (SENT, b"1700000000".as_slice())];
        assert!(judge(&dated(), &not_signed, b"body").is_err());
    }

    #[test]
    fn an_empty_secret_opens_no_door_and_no_error_holds_a_secret() {
        let empty = declared(&[""], Digest::Sha256, "v0=", Encoding::Hex);
        let forged = sign("", "body");
        let result = judge(&empty, &[(SIGNATURE, forged.as_bytes())], b"body");
        assert!(matches!(result, Err(VerifyError::UnusableSecret { .. })), "{result:?}");

        let scheme = declared(&["canary"], Digest::Sha256, "v0=", Encoding::Hex);
        for signature in [&*forged, "v0=zz", "v0=abc", "757107"] {
            let text = judge(&scheme, &[(SIGNATURE, signature.as_bytes())], b"body").unwrap_err().to_string();
            assert!(!text.contains("canary") && !text.contains(&sign("canary", "body")[3..]), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_changed_byte_is_refused(place in any::<prop::sample::Index>(), change in 1_u8..=255) {
            let mut parts = [
                sign("canary", &format!("{NOW}.{{\"deal\":1}}")).into_bytes(),
                NOW.to_string().into_bytes(),
                b"{\"deal\":1}".to_vec(),
            ];
            let original = parts.clone();
            let mut place = place.index(parts.iter().map(Vec::len).sum());
            for part in &mut parts {
                if let Some(byte) = part.get_mut(place) {
                    *byte ^= change;
                    break;
                }
                place -= part.len();
            }
            let [signature, sent, body] = parts;
            prop_assume!([&signature, &sent].iter().all(|part| HeaderValue::from_bytes(part).is_ok()));
            let result = judge(&dated(), &[(SIGNATURE, &signature), (SENT, &sent)], &body);
            // Hexadecimal means the same in either case.
            let same = signature[3..].eq_ignore_ascii_case(&original[0][3..]) && signature[..3] == original[0][..3];
            prop_assert_eq!(result.is_ok(), same && sent == original[1] && body == original[2]);
        }
    }
}
