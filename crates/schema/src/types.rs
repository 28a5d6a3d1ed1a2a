//! The one type model: what an Avro schema, a JSON Schema and an OpenAPI contract say about a value.
//!
//! The mapping language checks a leaf of one of these types against a place of another. As the type of a source a
//! [`Type`] says what can come; as the type of a target it says what is accepted.

use std::sync::Arc;

/// The type of a value, and whether it can be null.
#[derive(Debug, Clone, PartialEq)]
pub struct Type {
    /// What it is when it is not null.
    pub kind: Kind,
    /// Whether null is possible (as a source) or accepted (as a target).
    pub nullable: bool,
}

/// The kinds of values that events, requests and responses are made of.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Avro `string`, `enum`, `uuid`; JSON `string`.
    Text(Text),
    /// Avro `int`, `long`; JSON `integer`. Both bounds are inclusive.
    Integer {
        /// The least value.
        min: i64,
        /// The greatest value.
        max: i64,
    },
    /// An exact number: Avro `decimal`; JSON `number` with a `multipleOf` that is a power of ten.
    Decimal {
        /// Most significant digits, 1 to 38.
        precision: u32,
        /// Digits after the point.
        scale: u32,
        /// The least and greatest value that a contract accepts, inclusive, as decimal texts.
        bounds: Bounds,
    },
    /// Avro `float`, `double`; JSON `number`. As a target it accepts integers and decimals too.
    Float {
        /// The least and greatest value that a contract accepts, inclusive, as decimal texts.
        bounds: Bounds,
    },
    /// True or false.
    Boolean,
    /// Avro `bytes`, `fixed`.
    Bytes,
    /// A calendar date without a zone: Avro `date`; JSON `string` with format `date`.
    Date,
    /// An instant: Avro `timestamp-millis`, `timestamp-micros`; JSON `string` with format `date-time`.
    Timestamp,
    /// A list of items of one type.
    List {
        /// The type of each item.
        item: Box<Type>,
        /// Fewest items accepted.
        min_items: u32,
        /// Most items accepted.
        max_items: Option<u32>,
    },
    /// Names that are not known beforehand, with values of one type.
    Map(Box<Type>),
    /// Known fields.
    Record(Arc<Record>),
    /// Nothing but null: a union of null alone, or a missing value.
    Null,
    /// Not modelled (`oneOf` without a discriminator, no `type`): accepted here, left to the examples. It is never
    /// the type of an Avro source.
    Any,
}

/// Inclusive bounds of a number, as decimal texts so that nothing is lost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The least value.
    pub min: Option<String>,
    /// The greatest value.
    pub max: Option<String>,
}

/// What is known of a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text {
    /// The only values that it can have, in the order of the schema: an Avro `enum`'s symbols, a JSON `enum` or `const`.
    pub values: Option<Vec<String>>,
    /// Its format, as JSON Schema names it: `email`, `uuid`, `uri`, … (`date` and `date-time` are kinds of their own).
    pub format: Option<String>,
    /// Fewest characters (Unicode scalar values, as JSON Schema counts).
    pub min_length: u32,
    /// Most characters.
    pub max_length: Option<u32>,
    /// A pattern that it matches, ECMA-262.
    pub pattern: Option<String>,
}

/// A record: an Avro `record`, a JSON `object` with properties.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Its full name, where it has one.
    pub name: Option<String>,
    /// Its fields, in the order of the schema.
    pub fields: Vec<Field>,
    /// Whether fields that are not listed are accepted (`additionalProperties` not false). Never true for Avro.
    pub open: bool,
}

/// A field of a record.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// The type of its value.
    pub ty: Type,
    /// Whether it has to be there. As the source of a JSON value, a field that is not required can be absent, which
    /// reads as null. An Avro field without a default is required as a target.
    pub required: bool,
    /// What it means, as the schema says.
    pub doc: Option<String>,
}

impl Type {
    /// A type that is never null.
    #[must_use]
    pub fn of(kind: Kind) -> Self {
        Self { kind, nullable: false }
    }

    /// The same type, or null.
    #[must_use]
    pub fn or_null(self) -> Self {
        Self { nullable: true, ..self }
    }

    /// Any text at all.
    #[must_use]
    pub fn text() -> Self {
        Self::of(Kind::Text(Text::default()))
    }
}

impl Record {
    /// The field of this name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|f| f.name == name)
    }
}
