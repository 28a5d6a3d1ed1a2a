//! Avro: an event's schema, read from its file, and the type that it stands for.
//!
//! Every Avro schema has a type, but for what the mapping language could not handle with certainty: recursion, unions
//! of several types, decimals beyond 38 digits. Those are refused here, with the field's path, so that nothing after
//! this has to think of them.
//!
//! Logical types without a kind of their own (times of day, local timestamps, nanoseconds, durations, `big-decimal`)
//! stand for the type beneath them, as the specification wants it of a logical type that a reader does not know.

use std::collections::BTreeMap;
use std::sync::Arc;

use apache_avro::Schema;
use apache_avro::schema::{
    DecimalSchema, InnerDecimalSchema, Name, RecordSchema, ResolvedSchema, UnionSchema, UuidSchema,
};

use crate::types::{Bounds, Field, Kind, Record, Text, Type};

/// How deep the types of a schema may lie in each other, named types counted at each use.
///
/// Real events have fewer than 10 levels. Whoever walks a type or a datum does so on the stack, and a schema of a
/// foreign producer must not be able to overflow it: named types make depth without nesting in the file.
const DEPTH_MAX: usize = 64;

/// How many types a schema may have, named types counted at each use.
///
/// Each record that uses the one before it twice doubles this: 40 short lines stand for 10^12 fields, and a datum of no
/// bytes for as many values.
const TYPES_MAX: usize = 10_000;

/// The most digits of a decimal: what 128 bits hold.
const DECIMAL_PRECISION_MAX: usize = 38;

/// The milliseconds of a day: a time of day is less.
pub const MILLIS_OF_DAY: i64 = 24 * 60 * 60 * 1_000;

/// The schema of an event's payload.
#[derive(Debug, Clone)]
pub struct EventSchema {
    /// The schema as its author wrote it: what is registered.
    pub text: String,
    /// The schema as `apache-avro` reads it.
    pub avro: apache_avro::Schema,
    /// The type that it stands for.
    pub ty: Type,
}

/// Why a text is not an event's schema.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// Not Avro.
    #[error("not an Avro schema")]
    NotAvro(#[source] Box<apache_avro::Error>),
    /// Avro, but something that an event cannot have (a recursive type, a union of several types).
    #[error("`{path}` {problem}")]
    Unsupported {
        /// The field, from the top, as a mapping would name it: `.deal.lines[].sku`; `.` is the event itself.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl EventSchema {
    /// Reads the text of an `.avsc` file.
    ///
    /// # Errors
    /// When it is not Avro, or not an event.
    pub fn parse(text: &str) -> Result<Self, SchemaError> {
        let avro = Schema::parse_str(text).map_err(not_avro)?;
        // Finds what parsing lets pass: a name defined twice.
        ResolvedSchema::new(&avro).map_err(not_avro)?;
        let ty = TypeReader::new(&avro).read_event(&avro)?;
        Ok(Self { text: text.to_owned(), avro, ty })
    }
}

fn not_avro(cause: apache_avro::Error) -> SchemaError {
    SchemaError::NotAvro(Box::new(cause))
}

/// The named types of a schema, by full name.
#[derive(Debug)]
pub struct Names<'s>(BTreeMap<String, &'s Schema>);

impl<'s> Names<'s> {
    /// Those of this schema and of all within it.
    #[must_use]
    pub fn of(schema: &'s Schema) -> Self {
        let mut names = Self(BTreeMap::new());
        names.collect(schema);
        names
    }

    /// The definition that a reference stands for; any other schema stands for itself. `None` where the name is not
    /// defined, which parsing excludes.
    #[must_use]
    pub fn resolve(&self, schema: &'s Schema) -> Option<&'s Schema> {
        match schema {
            Schema::Ref { name } => self.0.get(&name.to_string()).copied(),
            defined => Some(defined),
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
#[must_use]
pub fn name_of(schema: &Schema) -> Option<&Name> {
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

/// A type, and how much it stands for when every name in it is written out.
#[derive(Clone)]
struct Sized {
    ty: Type,
    depth: usize,
    types: usize,
}

impl Sized {
    fn leaf(kind: Kind) -> Self {
        Self { ty: Type::of(kind), depth: 1, types: 1 }
    }
}

/// Reads the type that a schema stands for. Lives for one schema.
struct TypeReader<'s> {
    names: Names<'s>,
    /// The named types that are read; `None` while one is being read, so that a name that meets itself is recursive.
    read: BTreeMap<String, Option<Sized>>,
    /// Where we are, for errors.
    path: String,
}

impl<'s> TypeReader<'s> {
    fn new(schema: &'s Schema) -> Self {
        Self { names: Names::of(schema), read: BTreeMap::new(), path: String::new() }
    }

    fn read_event(mut self, schema: &'s Schema) -> Result<Type, SchemaError> {
        match schema {
            Schema::Record(_) => Ok(self.read(schema)?.ty),
            _other => Err(self.refuse("is not a record; the payload of an event is one, so that fields can be added")),
        }
    }

    fn read(&mut self, schema: &'s Schema) -> Result<Sized, SchemaError> {
        let Some(schema) = self.names.resolve(schema) else {
            return Err(self.refuse("refers to a name that this schema does not define"));
        };
        let Some(name) = name_of(schema).map(ToString::to_string) else { return self.read_unnamed(schema) };
        match self.read.get(&name) {
            Some(Some(known)) => Ok(known.clone()),
            Some(None) => Err(self.refuse(format!("is recursive: `{name}` holds itself"))),
            None => {
                self.read.insert(name.clone(), None);
                let sized = self.read_unnamed(schema)?;
                self.read.insert(name, Some(sized.clone()));
                Ok(sized)
            }
        }
    }

    fn read_unnamed(&mut self, schema: &'s Schema) -> Result<Sized, SchemaError> {
        let kind = match schema {
            Schema::Null => return Ok(Sized { ty: Type::of(Kind::Null).or_null(), depth: 1, types: 1 }),
            Schema::Boolean => Kind::Boolean,
            Schema::Int => Kind::Integer { min: i32::MIN.into(), max: i32::MAX.into() },
            Schema::Long
            | Schema::TimestampNanos
            | Schema::LocalTimestampMillis
            | Schema::LocalTimestampMicros
            | Schema::LocalTimestampNanos => Kind::Integer { min: i64::MIN, max: i64::MAX },
            Schema::TimeMillis => Kind::Integer { min: 0, max: MILLIS_OF_DAY - 1 },
            Schema::TimeMicros => Kind::Integer { min: 0, max: MILLIS_OF_DAY * 1_000 - 1 },
            Schema::Float | Schema::Double => Kind::Float { bounds: Bounds::default() },
            Schema::Bytes | Schema::Fixed(_) | Schema::BigDecimal | Schema::Duration(_) => Kind::Bytes,
            Schema::String => Kind::Text(Text::default()),
            Schema::Uuid(_) => Kind::Text(Text { format: Some("uuid".to_owned()), ..Text::default() }),
            Schema::Enum(symbols) => Kind::Text(Text { values: Some(symbols.symbols.clone()), ..Text::default() }),
            Schema::Date => Kind::Date,
            Schema::TimestampMillis | Schema::TimestampMicros => Kind::Timestamp,
            Schema::Decimal(decimal) => self.decimal(decimal)?,
            Schema::Array(array) => {
                let item = self.read_under("[]", &array.items)?;
                return self.around(item, |item| Kind::List { item: Box::new(item), min_items: 0, max_items: None });
            }
            Schema::Map(map) => {
                let value = self.read_under(".*", &map.types)?;
                return self.around(value, |value| Kind::Map(Box::new(value)));
            }
            Schema::Union(union) => return self.union(union),
            Schema::Record(record) => return self.record(record),
            Schema::Ref { .. } => return self.read(schema),
        };
        Ok(Sized::leaf(kind))
    }

    fn read_under(&mut self, step: &str, schema: &'s Schema) -> Result<Sized, SchemaError> {
        let before = self.path.len();
        self.path.push_str(step);
        let sized = self.read(schema)?;
        self.path.truncate(before);
        Ok(sized)
    }

    /// A type that holds one other.
    fn around(&self, inner: Sized, kind: impl FnOnce(Type) -> Kind) -> Result<Sized, SchemaError> {
        let (depth, types) = (inner.depth + 1, inner.types + 1);
        self.within_limits(Sized { ty: Type::of(kind(inner.ty)), depth, types })
    }

    fn decimal(&self, decimal: &DecimalSchema) -> Result<Kind, SchemaError> {
        let DecimalSchema { precision, scale, inner: _ } = decimal;
        match (u32::try_from(*precision), u32::try_from(*scale)) {
            (Ok(digits), Ok(scale)) if *precision <= DECIMAL_PRECISION_MAX => {
                Ok(Kind::Decimal { precision: digits, scale, bounds: Bounds::default() })
            }
            _ => Err(self.refuse(format!("is a decimal of {precision} digits; {DECIMAL_PRECISION_MAX} are the most"))),
        }
    }

    /// A type or null, in either order. A union of several types would leave a mapping guessing.
    fn union(&mut self, union: &'s UnionSchema) -> Result<Sized, SchemaError> {
        let nullable = union.variants().iter().any(|branch| matches!(branch, Schema::Null));
        let others: Vec<&Schema> = union.variants().iter().filter(|branch| !matches!(branch, Schema::Null)).collect();
        match others.as_slice() {
            [] if nullable => Ok(Sized { ty: Type::of(Kind::Null).or_null(), depth: 1, types: 1 }),
            [] => Err(self.refuse("is a union of nothing")),
            [one] => {
                let one = self.read(one)?;
                Ok(Sized { ty: if nullable { one.ty.or_null() } else { one.ty }, ..one })
            }
            several => {
                let names: Vec<String> = several.iter().map(|branch| describe(branch)).collect();
                let names = names.join(", ");
                Err(self.refuse(format!("is a union of {names}; an event's field has one type, and null perhaps")))
            }
        }
    }

    fn record(&mut self, record: &'s RecordSchema) -> Result<Sized, SchemaError> {
        let (mut depth, mut types) = (0, 1_usize);
        let mut fields = Vec::with_capacity(record.fields.len());
        for field in &record.fields {
            let sized = self.read_under(&format!(".{}", field.name), &field.schema)?;
            depth = depth.max(sized.depth);
            types = types.saturating_add(sized.types);
            fields.push(Field {
                name: field.name.clone(),
                ty: sized.ty,
                required: field.default.is_none(),
                doc: field.doc.clone(),
            });
        }
        let record = Record { name: Some(record.name.to_string()), fields, open: false };
        self.within_limits(Sized { ty: Type::of(Kind::Record(Arc::new(record))), depth: depth + 1, types })
    }

    fn within_limits(&self, sized: Sized) -> Result<Sized, SchemaError> {
        if sized.depth > DEPTH_MAX {
            return Err(self.refuse(format!("nests more than {DEPTH_MAX} types in each other")));
        }
        if sized.types > TYPES_MAX {
            return Err(self.refuse(format!("has more than {TYPES_MAX} types when its names are written out")));
        }
        Ok(sized)
    }

    fn refuse(&self, problem: impl Into<String>) -> SchemaError {
        let path = if self.path.starts_with('.') { self.path.clone() } else { format!(".{}", self.path) };
        SchemaError::Unsupported { path, problem: problem.into() }
    }
}

/// A schema in a word, for errors.
pub(crate) fn describe(schema: &Schema) -> String {
    match (schema, name_of(schema)) {
        (Schema::Ref { name }, _) | (_, Some(name)) => format!("`{name}`"),
        (schema, None) => format!("{:?}", apache_avro::schema::SchemaKind::from(schema)).to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn event(fields: &str) -> Result<EventSchema, SchemaError> {
        EventSchema::parse(&format!(r#"{{"type": "record", "name": "e.Event", "fields": [{fields}]}}"#))
    }

    fn field_type(ty: &str) -> Type {
        let schema = event(&format!(r#"{{"name": "f", "type": {ty}}}"#)).unwrap();
        let Kind::Record(record) = schema.ty.kind else { panic!("no record") };
        record.field("f").unwrap().ty.clone()
    }

    fn refused(fields: &str) -> String {
        event(fields).unwrap_err().to_string()
    }

    fn logical(ty: &str, logical: &str) -> String {
        format!(r#"{{"type": "{ty}", "logicalType": "{logical}"}}"#)
    }

    #[test]
    fn every_avro_type_has_a_type_of_ours() {
        let integer = |min: i64, max: i64| Kind::Integer { min, max };
        let long = || integer(i64::MIN, i64::MAX);
        let fixed = |size: u32, logical: &str| {
            format!(r#"{{"type": "fixed", "name": "F", "size": {size}, "logicalType": "{logical}"}}"#)
        };
        let uuid = || Kind::Text(Text { format: Some("uuid".into()), ..Text::default() });
        let symbols = Kind::Text(Text { values: Some(vec!["OPEN".into(), "WON".into()]), ..Text::default() });
        let text = || Box::new(Type::text());
        let decimal = |precision| Kind::Decimal { precision, scale: 2, bounds: Bounds::default() };
        for (avro, kind) in [
            (r#""boolean""#.to_owned(), Kind::Boolean),
            (r#""int""#.to_owned(), integer(-2_147_483_648, 2_147_483_647)),
            (r#""long""#.to_owned(), long()),
            (r#""float""#.to_owned(), Kind::Float { bounds: Bounds::default() }),
            (r#""double""#.to_owned(), Kind::Float { bounds: Bounds::default() }),
            (r#""bytes""#.to_owned(), Kind::Bytes),
            (r#""string""#.to_owned(), Kind::Text(Text::default())),
            (r#"{"type": "enum", "name": "S", "symbols": ["OPEN", "WON"]}"#.to_owned(), symbols),
            (fixed(3, "none"), Kind::Bytes),
            (
                r#"{"type": "array", "items": "string"}"#.to_owned(),
                Kind::List { item: text(), min_items: 0, max_items: None },
            ),
            (r#"{"type": "map", "values": "string"}"#.to_owned(), Kind::Map(text())),
            (r#"{"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}"#.to_owned(), decimal(12)),
            (r#"{"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 2}"#.to_owned(), decimal(38)),
            (logical("bytes", "big-decimal"), Kind::Bytes),
            (logical("string", "uuid"), uuid()),
            (fixed(16, "uuid"), uuid()),
            (logical("int", "date"), Kind::Date),
            (logical("int", "time-millis"), integer(0, 86_399_999)),
            (logical("long", "time-micros"), integer(0, 86_399_999_999)),
            (logical("long", "timestamp-millis"), Kind::Timestamp),
            (logical("long", "timestamp-micros"), Kind::Timestamp),
            (logical("long", "timestamp-nanos"), long()),
            (logical("long", "local-timestamp-millis"), long()),
            (logical("long", "local-timestamp-micros"), long()),
            (logical("long", "local-timestamp-nanos"), long()),
            (fixed(12, "duration"), Kind::Bytes),
            (logical("string", "made-up"), Kind::Text(Text::default())),
        ] {
            assert_eq!(field_type(&avro), Type::of(kind), "{avro}");
        }
    }

    #[test]
    fn a_union_with_null_in_either_place_can_be_null() {
        assert_eq!(field_type(r#"["null", "string"]"#), Type::text().or_null());
        assert_eq!(field_type(r#"["string", "null"]"#), Type::text().or_null());
        assert_eq!(field_type(r#"["string"]"#), Type::text());
        assert_eq!(field_type(r#"["null"]"#), Type::of(Kind::Null).or_null());
        assert_eq!(field_type(r#""null""#), Type::of(Kind::Null).or_null());
    }

    #[test]
    fn docs_order_names_and_defaults_of_fields_are_kept() {
        let schema = event(
            r#"{"name": "b", "type": "string", "doc": "What b is."},
               {"name": "a", "type": "int", "default": 3},
               {"name": "o", "type": ["null", {"type": "record", "name": "Owner", "fields": [
                   {"name": "email", "type": "string", "doc": "Where to write."}]}], "default": null}"#,
        )
        .unwrap();
        let Kind::Record(record) = &schema.ty.kind else { panic!("no record") };
        let seen: Vec<_> = record.fields.iter().map(|f| (f.name.as_str(), f.required, f.doc.as_deref())).collect();
        assert_eq!(seen, [("b", true, Some("What b is.")), ("a", false, None), ("o", false, None)]);
        assert_eq!((record.name.as_deref(), record.open), (Some("e.Event"), false));
        let Kind::Record(owner) = &record.field("o").unwrap().ty.kind else { panic!("no record") };
        assert_eq!(owner.name.as_deref(), Some("e.Owner"));
        assert_eq!(owner.field("email").unwrap().doc.as_deref(), Some("Where to write."));
    }

    #[test]
    fn a_name_used_again_stands_for_its_definition() {
        let schema = event(
            r#"{"name": "net", "type": {"type": "fixed", "name": "Money", "size": 8, "logicalType": "decimal", "precision": 12, "scale": 2}},
               {"name": "gross", "type": ["null", "Money"]},
               {"name": "from", "type": {"type": "record", "name": "x.Place", "fields": [{"name": "city", "type": "string"}]}},
               {"name": "stops", "type": {"type": "array", "items": "x.Place"}}"#,
        )
        .unwrap();
        let Kind::Record(record) = &schema.ty.kind else { panic!("no record") };
        let ty = |name: &str| record.field(name).unwrap().ty.clone();
        assert_eq!(ty("gross"), ty("net").or_null());
        assert_eq!(ty("stops").kind, Kind::List { item: Box::new(ty("from")), min_items: 0, max_items: None });
    }

    #[test]
    fn what_an_event_cannot_have_is_refused_with_its_path() {
        for (fields, error) in [
            (
                r#"{"name": "lines", "type": {"type": "array", "items": {"type": "record", "name": "Line", "fields": [
                    {"name": "price", "type": ["null", "int", "string"]}]}}}"#,
                "`.lines[].price` is a union of int, string; an event's field has one type, and null perhaps",
            ),
            (
                r#"{"name": "root", "type": {"type": "record", "name": "Node", "fields": [
                    {"name": "next", "type": ["null", "Node"]}]}}"#,
                "`.root.next` is recursive: `e.Node` holds itself",
            ),
            (
                r#"{"name": "tree", "type": {"type": "map", "values": {"type": "record", "name": "Node", "fields": [
                    {"name": "children", "type": {"type": "array", "items": "Node"}}]}}}"#,
                "`.tree.*.children[]` is recursive: `e.Node` holds itself",
            ),
            (
                r#"{"name": "total", "type": {"type": "bytes", "logicalType": "decimal", "precision": 39}}"#,
                "`.total` is a decimal of 39 digits; 38 are the most",
            ),
        ] {
            assert_eq!(refused(fields), error);
        }
        for top in [r#""string""#, r#"{"type": "array", "items": "string"}"#] {
            let error = EventSchema::parse(top).unwrap_err().to_string();
            assert_eq!(error, "`.` is not a record; the payload of an event is one, so that fields can be added");
        }
    }

    #[test]
    fn what_is_not_avro_says_so() {
        let twice = r#"{"name": "a", "type": {"type": "fixed", "name": "F", "size": 1}}, {"name": "b", "type": {"type": "fixed", "name": "F", "size": 2}}"#;
        for fields in [
            r#"{"name": "a", "type": "strin"}"#,
            r#"{"name": "a"}"#,
            twice,
            r#"{"name": "a", "type": "int", "default": "x"}"#,
        ] {
            assert!(matches!(event(fields), Err(SchemaError::NotAvro(_))), "{fields}");
        }
        assert!(matches!(EventSchema::parse("{"), Err(SchemaError::NotAvro(_))));
    }

    /// `of` records, each of which uses the one before it `times` times.
    fn chain(of: usize, times: usize) -> String {
        let record = |i: usize, fields: String| {
            format!(r#"{{"name": "f{i}", "type": {{"type": "record", "name": "R{i}", "fields": [{fields}]}}}}"#)
        };
        let uses = |i: usize| (0..times).map(|t| format!(r#"{{"name": "u{t}", "type": "R{i}"}}"#)).collect::<Vec<_>>();
        (0..of)
            .map(|i| record(i, if i == 0 { String::new() } else { uses(i - 1).join(",") }))
            .collect::<Vec<_>>()
            .join(",")
    }

    #[test]
    fn names_cannot_make_a_schema_that_is_too_deep_or_too_large_to_walk() {
        assert!(event(&chain(60, 1)).is_ok());
        assert_eq!(refused(&chain(70, 1)), "`.f64` nests more than 64 types in each other");
        assert!(event(&chain(8, 2)).is_ok());
        assert_eq!(refused(&chain(40, 2)), "`.f13` has more than 10000 types when its names are written out");
    }
}
