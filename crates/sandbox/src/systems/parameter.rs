//! Whether the text of a parameter is of the type that the contract names.

use std::collections::BTreeMap;

use axum::http::HeaderMap;
use tieline_schema::contract::{Operation, Parameter, Place, Violation};
use tieline_schema::types::{Bounds, Kind, Text};

/// What is wrong with a request's parameters. The pointer names the place and the parameter: `/query/limit`.
pub fn violations(
    operation: &Operation,
    path: &BTreeMap<String, String>,
    query: &BTreeMap<String, String>,
    headers: &HeaderMap,
) -> Vec<Violation> {
    let problem = |parameter: &Parameter| {
        let (place, value) = match parameter.place {
            Place::Path => ("path", path.get(&parameter.name).map(String::as_str)),
            Place::Query => ("query", query.get(&parameter.name).map(String::as_str)),
            Place::Header => ("header", headers.get(&parameter.name).and_then(|value| value.to_str().ok())),
        };
        let message = match value {
            Some(value) => misfit(&parameter.ty.kind, value)?,
            None if parameter.required => "is required".to_owned(),
            None => return None,
        };
        Some(Violation { pointer: format!("/{place}/{}", parameter.name), message })
    };
    operation.parameters.iter().filter_map(problem).collect()
}

/// Why a text is not of this type.
fn misfit(kind: &Kind, value: &str) -> Option<String> {
    match kind {
        Kind::Text(text) => misfit_of_text(text, value),
        Kind::Integer { min, max } => match value.parse::<i64>() {
            Ok(n) if (*min..=*max).contains(&n) => None,
            Ok(_) => Some(format!("is not between {min} and {max}")),
            Err(_) => Some("is no integer".to_owned()),
        },
        Kind::Decimal { bounds, .. } | Kind::Float { bounds } => misfit_of_number(bounds, value),
        Kind::Boolean if matches!(value, "true" | "false") => None,
        Kind::Boolean => Some("is neither true nor false".to_owned()),
        Kind::Date => value.parse::<jiff::civil::Date>().err().map(|_| "is no date".to_owned()),
        Kind::Timestamp => value.parse::<jiff::Timestamp>().err().map(|_| "is no date-time".to_owned()),
        // Serialised by rules of their own (`style`, `explode`), which this stand-in does not judge.
        Kind::Bytes | Kind::List { .. } | Kind::Map(_) | Kind::Record(_) | Kind::Null | Kind::Any => None,
    }
}

fn misfit_of_text(text: &Text, value: &str) -> Option<String> {
    let length = u32::try_from(value.chars().count()).unwrap_or(u32::MAX);
    match (&text.values, text.max_length) {
        (Some(values), _) if !values.iter().any(|v| v == value) => Some(format!("is none of {}", values.join(", "))),
        (_, Some(max)) if length > max => Some(format!("has more than {max} characters")),
        _ if length < text.min_length => Some(format!("has fewer than {} characters", text.min_length)),
        _ => None,
    }
}

fn misfit_of_number(bounds: &Bounds, value: &str) -> Option<String> {
    let Ok(number) = value.parse::<f64>() else { return Some("is no number".to_owned()) };
    let bound = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<f64>().ok());
    let low = bound(&bounds.min).is_some_and(|min| number < min);
    let high = bound(&bounds.max).is_some_and(|max| number > max);
    (low || high).then(|| "is out of bounds".to_owned())
}
