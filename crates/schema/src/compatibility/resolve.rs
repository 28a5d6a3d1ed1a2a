//! Whether a reader's schema reads all that can be written with a writer's: Avro's rules of schema resolution (its
//! specification, version 1.12, "Schema Resolution"), with the verdicts of Java's `SchemaCompatibility`, which Confluent's
//! registry asks. As there, logical types count as what they are written as.

use std::collections::BTreeMap;
use std::fmt;

use apache_avro::Schema;
use apache_avro::schema::{
    Aliases, DecimalSchema, EnumSchema, FixedSchema, InnerDecimalSchema, Name, RecordField, RecordSchema, UuidSchema,
};

use crate::avro::Names;

/// How deep types are followed into each other. Named types make that independent of how deep a text nests, and each level
/// lies on the stack; real schemas have fewer than 10.
const DEPTH_MAX: usize = 128;

/// Why a schema does not read what another one writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incompatibility {
    /// Where in the reader's schema, as a JSON pointer: `/fields/2/type/items`.
    pub path: String,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong at a place of the reader's schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The types differ, and there is no promotion from one to the other.
    Type {
        /// What the reader has.
        reader: &'static str,
        /// What the writer has.
        writer: &'static str,
    },
    /// Named types whose names differ, without an alias of the reader's for the writer's.
    Name {
        /// The reader's full name.
        reader: String,
        /// The writer's full name.
        writer: String,
    },
    /// A `fixed` of another size.
    FixedSize {
        /// The reader's bytes.
        reader: usize,
        /// The writer's bytes.
        writer: usize,
    },
    /// Symbols that the reader's enum has not, nor a default for them.
    Symbols(Vec<String>),
    /// A field of the reader that the writer has not, and that has no default.
    NoDefault {
        /// The field.
        field: String,
    },
    /// A branch of the writer's union, or the writer's type, that no branch of the reader's union reads.
    Branch {
        /// The writer's type.
        writer: String,
    },
    /// A field whose name and aliases mean several fields of the writer.
    Ambiguous {
        /// The field.
        field: String,
    },
    /// A name without a definition.
    Undefined {
        /// The name.
        name: String,
    },
    /// Types lie deeper in each other than is followed.
    TooDeep,
}

/// All that keeps `reader` from reading what is written with `writer`, in the order of the reader's schema; empty where it
/// reads all of it.
///
/// ```
/// use apache_avro::Schema;
/// use tieline_schema::compatibility::incompatibilities;
///
/// let writer = Schema::parse_str(r#"{"type": "array", "items": "long"}"#)?;
/// let reader = Schema::parse_str(r#"{"type": "array", "items": "int"}"#)?;
/// assert!(incompatibilities(&writer, &reader).is_empty()); // a long reads an int
/// assert_eq!(incompatibilities(&reader, &writer)[0].to_string(), "`/items`: the writer has a long, and the reader an int");
/// # Ok::<(), apache_avro::Error>(())
/// ```
#[must_use]
pub fn incompatibilities(reader: &Schema, writer: &Schema) -> Vec<Incompatibility> {
    let mut resolution =
        Resolution { readers: Names::of(reader), writers: Names::of(writer), known: BTreeMap::new(), depth: 0 };
    let mut found = Vec::new();
    for incompatibility in resolution.compare(reader, writer, "") {
        // A named type that is used twice is told of once.
        if !found.contains(&incompatibility) {
            found.push(incompatibility);
        }
    }
    found
}

/// One comparison of two schemas.
struct Resolution<'s> {
    readers: Names<'s>,
    writers: Names<'s>,
    /// What became of each pair of types, by where they lie. A pair that is under way counts as compatible until it is
    /// proven not to be, as in Java: so recursive types end.
    known: BTreeMap<(usize, usize), Vec<Incompatibility>>,
    depth: usize,
}

/// A schema as it is written, whatever it means.
enum Plain<'s> {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Array(&'s Schema),
    Map(&'s Schema),
    Fixed(&'s FixedSchema),
    Enum(&'s EnumSchema),
    Record(&'s RecordSchema),
    Union(&'s [Schema]),
}

impl<'s> Resolution<'s> {
    fn compare(&mut self, reader: &'s Schema, writer: &'s Schema, path: &str) -> Vec<Incompatibility> {
        let (reader, writer) = match (self.readers.resolve(reader), self.writers.resolve(writer)) {
            (Some(reader), Some(writer)) => (reader, writer),
            (None, _) => return undefined(reader, path),
            (_, None) => return undefined(writer, path),
        };
        let pair = (std::ptr::from_ref(reader).addr(), std::ptr::from_ref(writer).addr());
        if let Some(known) = self.known.get(&pair) {
            return known.clone();
        }
        if self.depth >= DEPTH_MAX {
            return one(path, Problem::TooDeep);
        }
        self.known.insert(pair, Vec::new());
        self.depth += 1;
        let found = self.plain(reader, writer, path);
        self.depth -= 1;
        // One is enough to know of a pair that comes again: the others were told the first time.
        self.known.insert(pair, found.iter().take(1).cloned().collect());
        found
    }

    fn plain(&mut self, reader: &'s Schema, writer: &'s Schema, path: &str) -> Vec<Incompatibility> {
        match (plain(reader), plain(writer)) {
            // Whichever branch was written has to be read.
            (Some(_), Some(Plain::Union(branches))) => {
                branches.iter().flat_map(|branch| self.compare(reader, branch, path)).collect()
            }
            (Some(Plain::Union(branches)), Some(other)) => self.branch(branches, writer, &other, path),
            (Some(Plain::Array(reader)), Some(Plain::Array(writer))) => {
                self.compare(reader, writer, &format!("{path}/items"))
            }
            (Some(Plain::Map(reader)), Some(Plain::Map(writer))) => {
                self.compare(reader, writer, &format!("{path}/values"))
            }
            (Some(Plain::Fixed(reader)), Some(Plain::Fixed(writer))) => {
                let mut found = names(&reader.name, &reader.aliases, &writer.name, path);
                if reader.size != writer.size {
                    found.extend(one(path, Problem::FixedSize { reader: reader.size, writer: writer.size }));
                }
                found
            }
            (Some(Plain::Enum(reader)), Some(Plain::Enum(writer))) => {
                let mut found = names(&reader.name, &reader.aliases, &writer.name, path);
                found.extend(symbols(reader, writer, path));
                found
            }
            (Some(Plain::Record(reader)), Some(Plain::Record(writer))) => {
                let mut found = names(&reader.name, &reader.aliases, &writer.name, path);
                for (at, field) in reader.fields.iter().enumerate() {
                    found.extend(self.field(field, writer, &format!("{path}/fields/{at}")));
                }
                found
            }
            (Some(reader), Some(writer)) if promotes(&writer, &reader) => Vec::new(),
            (Some(reader), Some(writer)) => one(path, Problem::Type { reader: reader.noun(), writer: writer.noun() }),
            (None, _) => undefined(reader, path),
            (_, None) => undefined(writer, path),
        }
    }

    /// The first branch that reads it. Where none does, what is wrong with the one that was meant: of its type and name.
    fn branch(
        &mut self,
        branches: &'s [Schema],
        writer: &'s Schema,
        other: &Plain<'s>,
        path: &str,
    ) -> Vec<Incompatibility> {
        let mut meant = None;
        for (at, branch) in branches.iter().enumerate() {
            let found = self.compare(branch, writer, &format!("{path}/{at}"));
            if found.is_empty() {
                return found;
            }
            let alike =
                self.readers.resolve(branch).and_then(plain).is_some_and(|branch| branch.noun() == other.noun());
            let named =
                !found.iter().any(|i| matches!(i.problem, Problem::Name { .. }) && i.path == format!("{path}/{at}"));
            if alike && named && meant.is_none() {
                meant = Some(found);
            }
        }
        meant.unwrap_or_else(|| one(path, Problem::Branch { writer: other.told() }))
    }

    fn field(&mut self, field: &'s RecordField, writer: &'s RecordSchema, path: &str) -> Vec<Incompatibility> {
        let is_meant = |other: &&RecordField| other.name == field.name || field.aliases.contains(&other.name);
        let meant: Vec<&'s RecordField> = writer.fields.iter().filter(is_meant).collect();
        match meant.as_slice() {
            [] if field.default.is_some() => Vec::new(),
            [] => one(path, Problem::NoDefault { field: field.name.clone() }),
            [other] => self.compare(&field.schema, &other.schema, &format!("{path}/type")),
            [_, _, ..] => one(path, Problem::Ambiguous { field: field.name.clone() }),
        }
    }
}

fn one(path: &str, problem: Problem) -> Vec<Incompatibility> {
    vec![Incompatibility { path: path.to_owned(), problem }]
}

fn undefined(schema: &Schema, path: &str) -> Vec<Incompatibility> {
    let name = match schema {
        Schema::Ref { name } => name.to_string(),
        other => format!("{other:?}"),
    };
    one(path, Problem::Undefined { name })
}

/// Names match without their namespaces, as the specification has it, or by an alias of the reader with its own.
fn names(reader: &Name, aliases: &Aliases, writer: &Name, path: &str) -> Vec<Incompatibility> {
    let full = writer.to_string();
    let is_alias = |alias: &apache_avro::schema::Alias| alias.fullname(None) == full;
    if reader.name() == writer.name() || aliases.iter().flatten().any(is_alias) {
        return Vec::new();
    }
    one(path, Problem::Name { reader: reader.to_string(), writer: full })
}

fn symbols(reader: &EnumSchema, writer: &EnumSchema, path: &str) -> Vec<Incompatibility> {
    let unknown: Vec<String> = writer.symbols.iter().filter(|s| !reader.symbols.contains(s)).cloned().collect();
    let has_default = reader.default.as_ref().is_some_and(|default| reader.symbols.contains(default));
    if unknown.is_empty() || has_default {
        Vec::new()
    } else {
        one(&format!("{path}/symbols"), Problem::Symbols(unknown))
    }
}

/// Whether what is written as one can be read as the other.
fn promotes(writer: &Plain<'_>, reader: &Plain<'_>) -> bool {
    match (writer, reader) {
        (Plain::Null, Plain::Null)
        | (Plain::Boolean, Plain::Boolean)
        | (Plain::Int, Plain::Int | Plain::Long | Plain::Float | Plain::Double)
        | (Plain::Long, Plain::Long | Plain::Float | Plain::Double)
        | (Plain::Float, Plain::Float | Plain::Double)
        | (Plain::Double, Plain::Double)
        | (Plain::Bytes | Plain::String, Plain::Bytes | Plain::String) => true,
        (_, _) => false,
    }
}

/// What a schema is written as; none for a name, which has to be resolved first.
fn plain(schema: &Schema) -> Option<Plain<'_>> {
    Some(match schema {
        Schema::Null => Plain::Null,
        Schema::Boolean => Plain::Boolean,
        Schema::Int | Schema::Date | Schema::TimeMillis => Plain::Int,
        Schema::Long
        | Schema::TimeMicros
        | Schema::TimestampMillis
        | Schema::TimestampMicros
        | Schema::TimestampNanos
        | Schema::LocalTimestampMillis
        | Schema::LocalTimestampMicros
        | Schema::LocalTimestampNanos => Plain::Long,
        Schema::Float => Plain::Float,
        Schema::Double => Plain::Double,
        Schema::Bytes
        | Schema::BigDecimal
        | Schema::Uuid(UuidSchema::Bytes)
        | Schema::Decimal(DecimalSchema { inner: InnerDecimalSchema::Bytes, .. }) => Plain::Bytes,
        Schema::String | Schema::Uuid(UuidSchema::String) => Plain::String,
        Schema::Array(array) => Plain::Array(&array.items),
        Schema::Map(map) => Plain::Map(&map.types),
        Schema::Fixed(fixed)
        | Schema::Duration(fixed)
        | Schema::Uuid(UuidSchema::Fixed(fixed))
        | Schema::Decimal(DecimalSchema { inner: InnerDecimalSchema::Fixed(fixed), .. }) => Plain::Fixed(fixed),
        Schema::Enum(symbols) => Plain::Enum(symbols),
        Schema::Record(record) => Plain::Record(record),
        Schema::Union(union) => Plain::Union(union.variants()),
        Schema::Ref { .. } => return None,
    })
}

impl Plain<'_> {
    /// With an article.
    fn noun(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "a boolean",
            Self::Int => "an int",
            Self::Long => "a long",
            Self::Float => "a float",
            Self::Double => "a double",
            Self::Bytes => "bytes",
            Self::String => "a string",
            Self::Array(_) => "an array",
            Self::Map(_) => "a map",
            Self::Fixed(_) => "a fixed",
            Self::Enum(_) => "an enum",
            Self::Record(_) => "a record",
            Self::Union(_) => "a union",
        }
    }

    /// With its name, where it has one.
    fn told(&self) -> String {
        let name = match self {
            Self::Fixed(fixed) => Some(&fixed.name),
            Self::Enum(symbols) => Some(&symbols.name),
            Self::Record(record) => Some(&record.name),
            Self::Null
            | Self::Boolean
            | Self::Int
            | Self::Long
            | Self::Float
            | Self::Double
            | Self::Bytes
            | Self::String
            | Self::Array(_)
            | Self::Map(_)
            | Self::Union(_) => None,
        };
        name.map_or_else(|| self.noun().to_owned(), |name| format!("{} `{name}`", self.noun()))
    }
}

impl fmt::Display for Incompatibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.path.is_empty() { "/" } else { &self.path };
        write!(f, "`{place}`: {}", self.problem)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type { reader, writer } => write!(f, "the writer has {writer}, and the reader {reader}"),
            Self::Name { reader, writer } => {
                write!(f, "the writer calls it `{writer}`, the reader `{reader}`, which has no alias for that")
            }
            Self::FixedSize { reader, writer } => write!(f, "the writer has {writer} bytes, and the reader {reader}"),
            Self::Symbols(symbols) => {
                write!(f, "the reader has no symbol {}, nor a default for them", symbols.join(", "))
            }
            Self::NoDefault { field } => {
                write!(f, "the writer has no field `{field}`, and the reader no default for it")
            }
            Self::Branch { writer } => write!(f, "no branch of the reader's union takes {writer}"),
            Self::Ambiguous { field } => {
                write!(f, "the name and the aliases of `{field}` mean several fields of the writer")
            }
            Self::Undefined { name } => write!(f, "the type `{name}` is not defined"),
            Self::TooDeep => write!(f, "types lie in each other deeper than {DEPTH_MAX} levels"),
        }
    }
}
