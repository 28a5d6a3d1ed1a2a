//! What lies beneath a logical type of Avro.

use apache_avro::Schema;
use apache_avro::schema::{DecimalSchema, InnerDecimalSchema, UuidSchema};

/// How a single value lies in a datum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed(usize),
}

/// What a single value means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// As it lies there.
    Plain,
    Decimal {
        scale: u32,
    },
    Date,
    TimestampMillis,
    TimestampMicros,
    /// A UUID of 16 bytes; one that is written as text is a text.
    UuidBytes,
}

/// How a single value lies, and what it means; none for what has parts or symbols.
pub(crate) fn scalar(schema: &Schema) -> Option<(Wire, Meaning)> {
    let plain = |wire| Some((wire, Meaning::Plain));
    match schema {
        Schema::Null => plain(Wire::Null),
        Schema::Boolean => plain(Wire::Boolean),
        Schema::Int | Schema::TimeMillis => plain(Wire::Int),
        Schema::Date => Some((Wire::Int, Meaning::Date)),
        Schema::Long
        | Schema::TimeMicros
        | Schema::TimestampNanos
        | Schema::LocalTimestampMillis
        | Schema::LocalTimestampMicros
        | Schema::LocalTimestampNanos => plain(Wire::Long),
        Schema::TimestampMillis => Some((Wire::Long, Meaning::TimestampMillis)),
        Schema::TimestampMicros => Some((Wire::Long, Meaning::TimestampMicros)),
        Schema::Float => plain(Wire::Float),
        Schema::Double => plain(Wire::Double),
        Schema::Bytes | Schema::BigDecimal => plain(Wire::Bytes),
        Schema::String | Schema::Uuid(UuidSchema::String) => plain(Wire::String),
        Schema::Uuid(UuidSchema::Bytes) => Some((Wire::Bytes, Meaning::UuidBytes)),
        Schema::Uuid(UuidSchema::Fixed(fixed)) => Some((Wire::Fixed(fixed.size), Meaning::UuidBytes)),
        Schema::Fixed(fixed) | Schema::Duration(fixed) => plain(Wire::Fixed(fixed.size)),
        Schema::Decimal(DecimalSchema { inner, scale, .. }) => {
            let wire = match inner {
                InnerDecimalSchema::Bytes => Wire::Bytes,
                InnerDecimalSchema::Fixed(fixed) => Wire::Fixed(fixed.size),
            };
            Some((wire, Meaning::Decimal { scale: u32::try_from(*scale).unwrap_or(u32::MAX) }))
        }
        Schema::Array(_)
        | Schema::Map(_)
        | Schema::Union(_)
        | Schema::Record(_)
        | Schema::Enum(_)
        | Schema::Ref { .. } => None,
    }
}
