//! What lies beneath a logical type of Avro.

use apache_avro::Schema;
use apache_avro::schema::{DecimalSchema, InnerDecimalSchema, UuidSchema};
use tieline_schema::avro::MILLIS_OF_DAY;

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
        precision: u32,
        scale: u32,
    },
    Date,
    /// A time of day, in parts of this many.
    TimeOfDay {
        parts: i64,
    },
    TimestampMillis,
    TimestampMicros,
    /// A UUID of 16 bytes.
    UuidBytes,
    /// A UUID that is written as text.
    UuidText,
}

/// How a single value lies, and what it means; none for what has parts or symbols.
pub(crate) fn scalar(schema: &Schema) -> Option<(Wire, Meaning)> {
    let plain = |wire| Some((wire, Meaning::Plain));
    match schema {
        Schema::Null => plain(Wire::Null),
        Schema::Boolean => plain(Wire::Boolean),
        Schema::Int => plain(Wire::Int),
        Schema::TimeMillis => Some((Wire::Int, Meaning::TimeOfDay { parts: MILLIS_OF_DAY })),
        Schema::TimeMicros => Some((Wire::Long, Meaning::TimeOfDay { parts: MILLIS_OF_DAY * 1_000 })),
        Schema::Date => Some((Wire::Int, Meaning::Date)),
        Schema::Long
        | Schema::TimestampNanos
        | Schema::LocalTimestampMillis
        | Schema::LocalTimestampMicros
        | Schema::LocalTimestampNanos => plain(Wire::Long),
        Schema::TimestampMillis => Some((Wire::Long, Meaning::TimestampMillis)),
        Schema::TimestampMicros => Some((Wire::Long, Meaning::TimestampMicros)),
        Schema::Float => plain(Wire::Float),
        Schema::Double => plain(Wire::Double),
        Schema::Bytes | Schema::BigDecimal => plain(Wire::Bytes),
        Schema::String => plain(Wire::String),
        Schema::Uuid(UuidSchema::String) => Some((Wire::String, Meaning::UuidText)),
        Schema::Uuid(UuidSchema::Bytes) => Some((Wire::Bytes, Meaning::UuidBytes)),
        Schema::Uuid(UuidSchema::Fixed(fixed)) => Some((Wire::Fixed(fixed.size), Meaning::UuidBytes)),
        Schema::Fixed(fixed) | Schema::Duration(fixed) => plain(Wire::Fixed(fixed.size)),
        Schema::Decimal(DecimalSchema { inner, precision, scale }) => {
            let wire = match inner {
                InnerDecimalSchema::Bytes => Wire::Bytes,
                InnerDecimalSchema::Fixed(fixed) => Wire::Fixed(fixed.size),
            };
            let bounded = |digits: usize| u32::try_from(digits).unwrap_or(u32::MAX);
            Some((wire, Meaning::Decimal { precision: bounded(*precision), scale: bounded(*scale) }))
        }
        Schema::Array(_)
        | Schema::Map(_)
        | Schema::Union(_)
        | Schema::Record(_)
        | Schema::Enum(_)
        | Schema::Ref { .. } => None,
    }
}
