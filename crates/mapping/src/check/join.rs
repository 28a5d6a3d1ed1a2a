//! The type of a value that comes from either of two expressions. Unlike types do not join: widening them to "anything"
//! is where mistakes hide.

use tieline_schema::types::{Bounds, Kind, Text, Type};

use super::number::{Range, scale};

/// The least type that holds both; none for unlike ones.
pub(crate) fn join(a: &Type, b: &Type) -> Option<Type> {
    let nullable = a.nullable || b.nullable;
    let kind = match (&a.kind, &b.kind) {
        (Kind::Null, other) | (other, Kind::Null) => {
            return Some(Type { kind: other.clone(), nullable: true });
        }
        (Kind::Text(a), Kind::Text(b)) => Kind::Text(texts(a, b)),
        (Kind::Integer { .. }, Kind::Integer { .. }) => hull(&a.kind, &b.kind)?.integer(),
        (Kind::Integer { .. } | Kind::Decimal { .. }, Kind::Integer { .. } | Kind::Decimal { .. }) => {
            hull(&a.kind, &b.kind)?.decimal(scale(&a.kind)?.max(scale(&b.kind)?))
        }
        (
            Kind::Float { .. } | Kind::Integer { .. } | Kind::Decimal { .. },
            Kind::Float { .. } | Kind::Integer { .. } | Kind::Decimal { .. },
        ) => {
            let Range { min, max } = hull(&a.kind, &b.kind)?;
            let bounds = Bounds { min: min.map(|d| d.to_string()), max: max.map(|d| d.to_string()) };
            Kind::Float { bounds }
        }
        (Kind::List { item: a, .. }, Kind::List { item: b, .. }) => {
            Kind::List { item: Box::new(join(a, b)?), min_items: 0, max_items: None }
        }
        (a, b) if a == b => a.clone(),
        (_, _) => return None,
    };
    Some(Type { kind, nullable })
}

fn hull(a: &Kind, b: &Kind) -> Option<Range> {
    Some(Range::of(a)?.hull(Range::of(b)?))
}

fn texts(a: &Text, b: &Text) -> Text {
    let values = match (&a.values, &b.values) {
        (Some(a), Some(b)) => {
            let more = b.iter().filter(|v| !a.contains(v));
            Some(a.iter().chain(more).cloned().collect())
        }
        (_, _) => None,
    };
    Text {
        values,
        format: a.format.clone().filter(|f| b.format.as_ref() == Some(f)),
        min_length: length(a).0.min(length(b).0),
        max_length: length(a).1.zip(length(b).1).map(|(a, b)| a.max(b)),
        pattern: a.pattern.clone().filter(|p| b.pattern.as_ref() == Some(p)),
    }
}

/// Fewest and most characters of a text.
pub(crate) fn length(text: &Text) -> (u32, Option<u32>) {
    let chars = |v: &String| u32::try_from(v.chars().count()).unwrap_or(u32::MAX);
    match &text.values {
        Some(values) => {
            let least = values.iter().map(chars).min().unwrap_or(0);
            (least, Some(values.iter().map(chars).max().unwrap_or(0)))
        }
        None => (text.min_length, text.max_length),
    }
}

/// The type of one text.
pub(crate) fn literal(text: &str) -> Text {
    Text { values: Some(vec![text.to_owned()]), ..Text::default() }
}
