//! Types in words, for messages.

use tieline_schema::types::{Kind, Text};

/// Most values named in a message.
const VALUES_SHOWN_MAX: usize = 12;

/// The kind with its article: "a text", "a decimal(12,2)".
pub(crate) fn kind(kind: &Kind) -> String {
    match kind {
        Kind::Text(Text { values: Some(values), .. }) if values.len() == 1 => format!("the text '{}'", values[0]),
        Kind::Text(Text { values: Some(values), .. }) => format!("one of {}", list(values)),
        Kind::Text(Text { format: Some(format), .. }) => format!("a text (format {format})"),
        Kind::Text(_) => "a text".to_owned(),
        Kind::Integer { .. } => "an integer".to_owned(),
        Kind::Decimal { precision, scale, .. } => format!("a decimal({precision},{scale})"),
        Kind::Float { .. } => "a floating-point number".to_owned(),
        Kind::Boolean => "true or false".to_owned(),
        Kind::Bytes => "bytes".to_owned(),
        Kind::Date => "a date".to_owned(),
        Kind::Timestamp => "a timestamp".to_owned(),
        Kind::List { .. } => "a list".to_owned(),
        Kind::Map(_) => "a map".to_owned(),
        Kind::Record(_) => "a record".to_owned(),
        Kind::Null => "null".to_owned(),
        Kind::Any => "a value of no known type".to_owned(),
    }
}

/// What a place of this kind takes: "must be …".
pub(crate) fn wanted(wanted: &Kind) -> String {
    match wanted {
        Kind::Text(_) => "a text".to_owned(),
        Kind::Float { .. } => "a number".to_owned(),
        Kind::Decimal { precision: 38, scale, .. } => format!("a number with {scale} digits after the point"),
        Kind::Integer { .. }
        | Kind::Decimal { .. }
        | Kind::Boolean
        | Kind::Bytes
        | Kind::Date
        | Kind::Timestamp
        | Kind::List { .. }
        | Kind::Map(_)
        | Kind::Record(_)
        | Kind::Null
        | Kind::Any => kind(wanted),
    }
}

/// `A, B, C`, cut where it gets long.
pub(crate) fn list(values: &[String]) -> String {
    let mut text = values.iter().take(VALUES_SHOWN_MAX).cloned().collect::<Vec<_>>().join(", ");
    if values.len() > VALUES_SHOWN_MAX {
        text.push_str(", …");
    }
    text
}
