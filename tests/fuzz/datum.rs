//! Any bytes as the datum of many schemas, those of foreign writers among them: read by both of our readers, in bounded time
//! and memory, and to the same result.

use std::sync::LazyLock;
use std::time::Duration;

use apache_avro::Schema;
use tieline_mapping::{Bounds, Compiler, Mapping, Reader, Severity, Target, yaml};
use tieline_schema::avro::EventSchema;
use tieline_schema::friendly::{DatumError, VALUES_MAX};

use crate::cost::within;

/// The datum of a bomb is small. A larger one may cost more, in proportion.
const SMALL_BYTES: usize = 64;

/// What a small datum may cost.
const TIME_MAX: Duration = Duration::from_millis(10);
const BYTES_MAX: u64 = 8 << 20;

/// Schemas whose data people send: recursive in all ways, of no bytes, wide, nested, of every logical type.
const WRITERS: [&str; 13] = [
    r#"{"type": "record", "name": "E", "fields": [
        {"name": "a", "type": ["null", "string"]}, {"name": "n", "type": "long"}, {"name": "i", "type": "int"},
        {"name": "b", "type": "boolean"}, {"name": "f", "type": "float"}, {"name": "d", "type": "double"},
        {"name": "y", "type": "bytes"}, {"name": "x", "type": {"type": "fixed", "name": "X", "size": 3}},
        {"name": "e", "type": {"type": "enum", "name": "S", "symbols": ["P", "Q"]}}]}"#,
    // Logical types.
    r#"{"type": "record", "name": "E", "fields": [
        {"name": "u", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "ms", "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}]},
        {"name": "us", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "dec", "type": {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 9}},
        {"name": "fix", "type": {"type": "fixed", "name": "D", "size": 16, "logicalType": "decimal", "precision": 38, "scale": 2}},
        {"name": "t", "type": {"type": "int", "logicalType": "time-millis"}},
        {"name": "span", "type": {"type": "fixed", "name": "P", "size": 12, "logicalType": "duration"}}]}"#,
    // Values of no bytes: five bytes claim 2^31 of them.
    r#"{"type": "record", "name": "E", "fields": [{"name": "l", "type": {"type": "array", "items": "null"}}]}"#,
    r#"{"type": "record", "name": "E", "fields": [{"name": "l", "type": {"type": "array", "items":
        {"type": "record", "name": "None", "fields": []}}}]}"#,
    r#"{"type": "record", "name": "E", "fields": [{"name": "l", "type": {"type": "array", "items": {"type": "array", "items":
        {"type": "record", "name": "Q", "fields": [{"name": "p", "type": "null"}, {"name": "q", "type": "null"},
        {"name": "z", "type": {"type": "fixed", "name": "Z", "size": 0}}]}}}}]}"#,
    // Maps of maps, and of lists.
    r#"{"type": "record", "name": "E", "fields": [{"name": "m", "type": {"type": "map", "values": {"type": "map", "values": "null"}}},
        {"name": "o", "type": {"type": "map", "values": {"type": "array", "items": "string"}}}]}"#,
    // Lists in lists in lists.
    r#"{"type": "record", "name": "E", "fields": [{"name": "l", "type": {"type": "array", "items": {"type": "array", "items":
        {"type": "array", "items": ["null", "long"]}}}}]}"#,
    // An item that is far larger in memory than in its datum.
    r#"{"type": "record", "name": "E", "fields": [{"name": "l", "type": {"type": "array", "items": {"type": "record", "name": "W",
        "fields": [{"name": "a", "type": ["null", "string"]}, {"name": "b", "type": "bytes"}, {"name": "c", "type": "boolean"},
        {"name": "tags", "type": {"type": "array", "items": "string"}}]}}}]}"#,
    // Recursive: by a union, a list, a map, and two that hold each other.
    r#"{"type": "record", "name": "E", "fields": [{"name": "z", "type":
        {"type": "record", "name": "Z", "fields": [{"name": "next", "type": ["null", "Z"]}]}}]}"#,
    r#"{"type": "record", "name": "E", "fields": [{"name": "z", "type": {"type": "record", "name": "Tree", "fields": [
        {"name": "children", "type": {"type": "array", "items": "Tree"}}, {"name": "named", "type": {"type": "map", "values": "Tree"}}]}}]}"#,
    r#"{"type": "record", "name": "E", "fields": [{"name": "z", "type": ["null", {"type": "record", "name": "A", "fields": [
        {"name": "b", "type": {"type": "record", "name": "B", "fields": [{"name": "a", "type": {"type": "array", "items": ["A", "null"]}}]}}]}]}]}"#,
    // A union of everything, which a reader passes over.
    r#"{"type": "record", "name": "E", "fields": [{"name": "v", "type": ["null", "long", "string", "bytes", "double",
        {"type": "array", "items": "null"}, {"type": "map", "values": ["null", "boolean"]},
        {"type": "record", "name": "R", "fields": [{"name": "x", "type": "long"}]}]}]}"#,
    // One byte, and far more values.
    concat!(
        r#"{"type": "record", "name": "E", "fields": [{"name": "l", "type": {"type": "array", "items": {"type": "record", "name": "A", "fields": [
        {"name": "x", "type": "boolean"}, "#,
        r#"{"name": "b0", "type": {"type": "record", "name": "B", "fields": [{"name": "c0", "type": {"type": "record", "name": "C", "fields": [
            {"name": "a", "type": "null"}, {"name": "b", "type": "null"}, {"name": "c", "type": "null"}, {"name": "d", "type": "null"},
            {"name": "e", "type": "null"}, {"name": "f", "type": "null"}, {"name": "g", "type": "null"}, {"name": "h", "type": "null"}]}},
        {"name": "c1", "type": "C"}, {"name": "c2", "type": "C"}, {"name": "c3", "type": "C"}, {"name": "c4", "type": "C"}]}},
        {"name": "b1", "type": "B"}, {"name": "b2", "type": "B"}, {"name": "b3", "type": "B"}, {"name": "b4", "type": "B"},
        {"name": "b5", "type": "B"}, {"name": "b6", "type": "B"}, {"name": "b7", "type": "B"}, {"name": "b8", "type": "B"}]}}}]}"#
    ),
];

/// The event that a consumer knows, where what comes was written by somebody else.
const OTHER: &str = r#"{"type": "record", "name": "E", "fields": [{"name": "kept", "type": "long", "default": 7}]}"#;

/// How data of one schema are read.
struct Case {
    /// Where it is an event of ours: shown as JSON, and copied field by field.
    event: Option<(EventSchema, Reader, Mapping)>,
    /// As what a consumer reads that wants none of it.
    passed_over: Reader,
}

static CASES: LazyLock<Vec<Case>> = LazyLock::new(|| WRITERS.iter().map(|text| Case::of(text)).collect());

impl Case {
    fn of(text: &str) -> Self {
        let writer = Schema::parse_str(text).expect("a schema");
        let other = EventSchema::parse(OTHER).expect("an event");
        let (passed_over, _) = copying(&writer, &other).expect("all of it can be passed over");
        let event = EventSchema::parse(text).ok().and_then(|event| {
            let (reader, mapping) = copying(&event.avro, &event)?;
            Some((event, reader, mapping))
        });
        Self { event, passed_over }
    }
}

/// Reads data of `writer` as `event`, and maps each field of it to itself; `None` where a mapping cannot say that.
fn copying(writer: &Schema, event: &EventSchema) -> Option<(Reader, Mapping)> {
    let Schema::Record(record) = &event.avro else { return None };
    let tree: String = record.fields.iter().map(|field| format!("{0}: .{0}\n", field.name)).collect();
    let mut compiler = Compiler::new(event.ty.clone(), "the event".to_owned());
    let target = Target::Avro(&event.avro, &event.ty, "the event");
    let mapping = compiler.mapping(&yaml::parse(&tree).ok()?, target, None);
    let (layout, problems) = compiler.finish();
    let sound = problems.iter().all(|problem| problem.severity < Severity::Error);
    Some((layout.reader(writer, &event.avro).ok()?, mapping.filter(|_| sound)?))
}

/// The first byte chooses the schema; the rest is the datum.
pub fn run(bytes: &[u8]) {
    let [which, datum @ ..] = bytes else { return };
    read(&CASES[usize::from(*which) % CASES.len()], datum);
}

fn read(case: &Case, datum: &[u8]) {
    let _ = cheaply("passed over", datum, || case.passed_over.read(datum, &Bounds::default()).map(|_| ()));
    let Some((event, reader, mapping)) = &case.event else { return };
    let shown = cheaply("shown", datum, || event.json_from_datum(datum, VALUES_MAX));
    let Ok(frame) = cheaply("read", datum, || reader.read(datum, &Bounds::default())) else { return };
    // What is shown to people has a lower bound than what is delivered.
    let shown = match shown {
        Err(DatumError::TooLarge { .. }) => return,
        shown => shown.unwrap_or_else(|error| panic!("it is delivered, but cannot be shown: {error}")),
    };
    // What is shown is the datum: written from it, it is shown again.
    let written = event.datum_from_json(&shown).unwrap_or_else(|error| panic!("{error}: {shown}"));
    assert_eq!(event.json_from_datum(&written, VALUES_MAX).as_ref(), Ok(&shown));
    // And the mapping has understood the same.
    let mut copy = Vec::new();
    mapping.write(&frame, &[], &Bounds::default(), &mut copy).unwrap_or_else(|error| panic!("{error}: {shown}"));
    assert_eq!(event.json_from_datum(&copy, VALUES_MAX), Ok(shown));
}

/// Reads a datum; a small one within the bounds.
fn cheaply<T>(what: &str, datum: &[u8], read: impl Fn() -> T) -> T {
    if datum.len() > SMALL_BYTES {
        return read();
    }
    within(TIME_MAX, BYTES_MAX, &format!("{} bytes, {what},", datum.len()), read)
}
