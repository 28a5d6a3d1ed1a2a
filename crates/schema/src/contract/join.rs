//! What two types have in common: the type of a value that is of one or of the other.

use std::sync::Arc;

use crate::types::{Bounds, Field, Kind, Record, Type};

/// Joins two types. Fields that only one has are left out; what is of unlike kinds becomes [`Kind::Any`].
pub(super) fn join(a: &Type, b: &Type) -> Type {
    let nullable = a.nullable || b.nullable;
    let kind = match (&a.kind, &b.kind) {
        (a, b) if a == b => a.clone(),
        (Kind::Null, other) | (other, Kind::Null) => other.clone(),
        (Kind::Record(a), Kind::Record(b)) => Kind::Record(Arc::new(join_records(a, b))),
        (Kind::List { item: a, min_items: x, .. }, Kind::List { item: b, min_items: y, .. }) => {
            Kind::List { item: Box::new(join(a, b)), min_items: *x.min(y), max_items: None }
        }
        (Kind::Map(a), Kind::Map(b)) => Kind::Map(Box::new(join(a, b))),
        (Kind::Integer { min: a, max: x }, Kind::Integer { min: b, max: y }) => {
            Kind::Integer { min: *a.min(b), max: *x.max(y) }
        }
        (Kind::Text(a), Kind::Text(b)) => Kind::Text(join_texts(a, b)),
        (a, b) if is_number(a) && is_number(b) => Kind::Float { bounds: Bounds::default() },
        _unlike => Kind::Any,
    };
    Type { kind, nullable: nullable || a.kind == Kind::Null || b.kind == Kind::Null }
}

fn join_records(a: &Record, b: &Record) -> Record {
    let common = |field: &Field| {
        let other = b.field(&field.name)?;
        let required = field.required && other.required;
        Some(Field { ty: join(&field.ty, &other.ty), required, ..field.clone() })
    };
    let name = if a.name == b.name { a.name.clone() } else { None };
    Record { name, fields: a.fields.iter().filter_map(common).collect(), open: true }
}

fn join_texts(a: &crate::types::Text, b: &crate::types::Text) -> crate::types::Text {
    let values = a.values.as_ref().zip(b.values.as_ref()).map(|(a, b)| {
        let new = b.iter().filter(|value| !a.contains(value));
        a.iter().chain(new).cloned().collect()
    });
    crate::types::Text {
        values,
        format: a.format.clone().filter(|_| a.format == b.format),
        min_length: a.min_length.min(b.min_length),
        max_length: a.max_length.zip(b.max_length).map(|(a, b)| a.max(b)),
        pattern: a.pattern.clone().filter(|_| a.pattern == b.pattern),
    }
}

fn is_number(kind: &Kind) -> bool {
    match kind {
        Kind::Integer { .. } | Kind::Decimal { .. } | Kind::Float { .. } => true,
        Kind::Text(_) | Kind::Boolean | Kind::Bytes | Kind::Date | Kind::Timestamp | Kind::List { .. } => false,
        Kind::Map(_) | Kind::Record(_) | Kind::Null | Kind::Any => false,
    }
}
