//! What is wrong with a value, from the schema's side alone.
//!
//! Values may be secrets or personal, and messages go to logs and consoles: `jsonschema`'s own texts quote the value, so
//! they are never used.

use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use serde_json::Value;

/// Most names, or values of an enum, that a message lists.
const LISTED_MAX: usize = 10;

/// Most characters of a name, pattern or value of the schema that a message quotes.
const QUOTED_CHARS_MAX: usize = 60;

/// A sentence about the value, without its subject: `must be a string`.
pub(super) fn describe(kind: &Kind) -> String {
    match kind {
        Kind::AdditionalItems { limit } => format!("must not have more than {limit} items"),
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            format!("must not have {}", list(unexpected))
        }
        Kind::UnevaluatedItems { .. } => "has items that the contract does not know".to_owned(),
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
            format!("fits none of the {} forms that the contract allows", context.len())
        }
        Kind::OneOfMultipleValid { .. } => "fits more than one of the forms of which the contract wants one".to_owned(),
        Kind::BacktrackLimitExceeded { .. } | Kind::RegexEngineFailure { .. } => {
            "takes too long to compare with its pattern".to_owned()
        }
        Kind::Constant { expected_value } => format!("must be {}", quote(expected_value)),
        Kind::Contains => "has no item, or the wrong number of items, of a kind that it must have".to_owned(),
        Kind::ContentEncoding { content_encoding } => format!("must be encoded as {}", cut(content_encoding)),
        Kind::ContentMediaType { content_media_type } => format!("must hold {}", cut(content_media_type)),
        Kind::Custom { keyword, .. } => format!("breaks `{}`", cut(keyword)),
        Kind::Enum { options } => format!("must be {}", alternatives(options)),
        Kind::ExclusiveMaximum { limit } => format!("must be less than {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("must be more than {limit}"),
        Kind::Maximum { limit } => format!("must be at most {limit}"),
        Kind::Minimum { limit } => format!("must be at least {limit}"),
        Kind::FalseSchema => "must not be there".to_owned(),
        Kind::Format { format } => format!("must have the format {}", cut(format)),
        Kind::FromUtf8 { .. } => "must hold UTF-8".to_owned(),
        Kind::MaxItems { limit } => format!("must not have more than {limit} items"),
        Kind::MinItems { limit } => format!("must have at least {limit} items"),
        Kind::MaxLength { limit } => format!("must not be longer than {limit} characters"),
        Kind::MinLength { limit } => format!("must not be shorter than {limit} characters"),
        Kind::MaxProperties { limit } => format!("must not have more than {limit} members"),
        Kind::MinProperties { limit } => format!("must have at least {limit} members"),
        Kind::MultipleOf { multiple_of } => format!("must be a multiple of {multiple_of}"),
        Kind::Not { .. } => "has a form that the contract forbids".to_owned(),
        Kind::Pattern { pattern } => format!("must match {}", cut(pattern)),
        Kind::PropertyNames { error } => format!("has a member whose name {}", describe(error.kind())),
        Kind::Required { property } => format!("must have {}", quote(property)),
        Kind::Type { kind } => format!("must be {}", types(kind)),
        Kind::UniqueItems => "must not have an item twice".to_owned(),
        Kind::Referencing(_) => "has a reference that leads nowhere".to_owned(),
    }
}

fn types(kind: &TypeKind) -> String {
    match kind {
        TypeKind::Single(one) => one.to_string(),
        TypeKind::Multiple(several) => several.iter().map(|one| one.to_string()).collect::<Vec<_>>().join(" or "),
    }
}

fn alternatives(options: &Value) -> String {
    let options: Vec<String> = options.as_array().into_iter().flatten().map(quote).collect();
    match options.as_slice() {
        [one] => one.clone(),
        several => format!("one of {}", shorten(several)),
    }
}

/// Names that the value has and the schema does not: `prioirty`, so that a slip of the pen is seen.
fn list(names: &[String]) -> String {
    shorten(&names.iter().map(|name| format!("`{}`", cut(name))).collect::<Vec<_>>())
}

fn shorten(texts: &[String]) -> String {
    let listed = texts.iter().take(LISTED_MAX).cloned().collect::<Vec<_>>().join(", ");
    match texts.len().saturating_sub(LISTED_MAX) {
        0 => listed,
        more => format!("{listed} and {more} more"),
    }
}

/// A value of the schema: texts as code, all else as JSON.
fn quote(value: &Value) -> String {
    match value {
        Value::String(text) => format!("`{}`", cut(text)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => cut(&value.to_string()),
    }
}

/// A text in one line and bounded.
fn cut(text: &str) -> String {
    let mut short: String = text.chars().take(QUOTED_CHARS_MAX).flat_map(visible).collect();
    if text.chars().nth(QUOTED_CHARS_MAX).is_some() {
        short.push('…');
    }
    short
}

fn visible(c: char) -> Vec<char> {
    if c.is_control() { c.escape_default().collect() } else { vec![c] }
}
