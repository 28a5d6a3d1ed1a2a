//! The named types of an Avro schema, and what lies beneath a logical type.

use std::collections::BTreeMap;

use apache_avro::Schema;
use apache_avro::schema::{DecimalSchema, InnerDecimalSchema, Name, UuidSchema};

/// The named types of a schema, by full name.
pub(crate) struct Named<'s>(BTreeMap<String, &'s Schema>);

impl<'s> Named<'s> {
    pub(crate) fn of(schema: &'s Schema) -> Self {
        let mut named = Self(BTreeMap::new());
        named.collect(schema);
        named
    }

    /// The definition that a reference stands for.
    pub(crate) fn resolve(&self, schema: &'s Schema) -> &'s Schema {
        match schema {
            Schema::Ref { name } => self.0.get(&name.to_string()).copied().unwrap_or(schema),
            defined => defined,
        }
    }

    fn collect(&mut self, schema: &'s Schema) {
        if let Some(name) = name_of(schema) {
            self.0.entry(name.to_string()).or_insert(schema);
        }
        match schema {
            Schema::Array(array) => self.collect(&array.items),
            Schema::Map(map) => self.collect(&map.types),
            Schema::Union(union) => union.variants().iter().for_each(|branch| self.collect(branch)),
            Schema::Record(record) => record.fields.iter().for_each(|field| self.collect(&field.schema)),
            _leaf => {}
        }
    }
}

/// The name that a schema defines.
pub(crate) fn name_of(schema: &Schema) -> Option<&Name> {
    match schema {
        Schema::Record(record) => Some(&record.name),
        Schema::Enum(symbols) => Some(&symbols.name),
        Schema::Fixed(fixed)
        | Schema::Duration(fixed)
        | Schema::Uuid(UuidSchema::Fixed(fixed))
        | Schema::Decimal(DecimalSchema { inner: InnerDecimalSchema::Fixed(fixed), .. }) => Some(&fixed.name),
        _unnamed => None,
    }
}

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
