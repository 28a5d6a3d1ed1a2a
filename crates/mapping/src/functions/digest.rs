//! Names and fingerprints made of a text: the same for the same text, for ever.

use base64::Engine;
use sha2::{Digest, Sha256};
use tieline_schema::types::{Kind, Text};

use super::{Applied, Body, Function, Given, Misuse, Use};
use crate::program::Code;
use crate::value::Val;

/// Names and fingerprints.
pub(super) const DIGESTS: &[Function] = &[
    Function {
        name: "uuid",
        signature: "text | uuid('namespace') → text (format uuid)",
        doc: "A UUID of version 5 (RFC 9562): the same text under the same namespace gives the same. The namespace is a \
              UUID, or any text, which stands for the UUID of that name under the URL namespace.",
        example: ("'d-1' | uuid('https://example.com/deals')", "f641a68e-090d-555b-8865-c503f3987a14"),
        body: Body::Plain(uuid),
    },
    Function {
        name: "hash",
        signature: "text | hash → text",
        doc: "SHA-256 of the text's UTF-8 bytes, as 64 hexadecimal digits.",
        example: ("'abc' | hash", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        body: Body::Plain(hash),
    },
    Function {
        name: "base64",
        signature: "text or bytes | base64 → text",
        doc: "Base 64 (RFC 4648, section 4), padded.",
        example: ("'abc' | base64", "YWJj"),
        body: Body::Plain(base64),
    },
];

fn uuid(u: &Use<'_>) -> Result<Applied, Misuse> {
    u.wants_text()?;
    let [Given::Constant(Val::Text(namespace), _)] = u.given else { return Err(Misuse::Arguments) };
    let namespace = uuid::Uuid::parse_str(namespace)
        .unwrap_or_else(|_| uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_URL, namespace.as_bytes()));
    let code = Code::one(move |value| match value {
        Val::Text(text) => Ok(Val::Text(uuid::Uuid::new_v5(&namespace, text.as_bytes()).to_string().into())),
        other => Ok(other),
    });
    let text = Text { format: Some("uuid".to_owned()), min_length: 36, max_length: Some(36), ..Text::default() };
    Ok(Applied { kind: Kind::Text(text), nullable: false, code })
}

fn hash(u: &Use<'_>) -> Result<Applied, Misuse> {
    u.none()?;
    u.wants_text()?;
    let code = Code::one(|value| match value {
        Val::Text(text) => {
            let digest = Sha256::digest(text.as_bytes());
            let hex: String = digest.iter().map(|b| format!("{b:02x}")).collect();
            Ok(Val::Text(hex.into()))
        }
        other => Ok(other),
    });
    let text = Text { min_length: 64, max_length: Some(64), ..Text::default() };
    Ok(Applied { kind: Kind::Text(text), nullable: false, code })
}

fn base64(u: &Use<'_>) -> Result<Applied, Misuse> {
    u.none()?;
    if !matches!(u.input.kind, Kind::Text(_) | Kind::Bytes) {
        return Err(u.wants("a text or bytes"));
    }
    let code = Code::one(|value| {
        let engine = base64::engine::general_purpose::STANDARD;
        Ok(match value {
            Val::Text(text) => Val::Text(engine.encode(text.as_bytes()).into()),
            Val::Bytes(bytes) => Val::Text(engine.encode(bytes).into()),
            other => other,
        })
    });
    Ok(Applied { kind: Kind::Text(Text::default()), nullable: false, code })
}
