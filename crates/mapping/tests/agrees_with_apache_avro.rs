//! Generated schemas and data: what we read and write is what apache-avro's own reader says that it is, also where the
//! reader's schema is another than the writer's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod made_up;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use tieline_schema::avro::EventSchema;

use made_up::{Copying, Dice};

/// Maps each field of the event to itself, and reads what was written.
fn copied(writer: &Schema, reader: &EventSchema, datum: &[u8]) -> Value {
    decode(&reader.avro, None, &Copying::of(writer, reader).unwrap().copy(datum).unwrap())
}

fn decode(writer: &Schema, reader: Option<&Schema>, mut datum: &[u8]) -> Value {
    GenericDatumReader::builder(writer).maybe_reader_schema(reader).build().unwrap().read_value(&mut datum).unwrap()
}

/// Decimals are equal where their numbers are: theirs keep the bytes that they were read from.
fn normal(value: Value) -> Value {
    match value {
        Value::Decimal(decimal) => {
            let bytes: Vec<u8> = (&decimal).try_into().unwrap();
            let fill = if bytes.first().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
            let mut wide = [fill; 16];
            wide[16 - bytes.len()..].copy_from_slice(&bytes);
            Value::String(i128::from_be_bytes(wide).to_string())
        }
        Value::Record(fields) => Value::Record(fields.into_iter().map(|(n, v)| (n, normal(v))).collect()),
        Value::Array(items) => Value::Array(items.into_iter().map(normal).collect()),
        Value::Union(at, inner) => Value::Union(at, Box::new(normal(*inner))),
        other => other,
    }
}

/// The same schema a year later: a field dropped, one added, numbers widened.
fn evolved(schema: &Json, dice: &mut Dice) -> Json {
    let mut schema = schema.clone();
    let fields = schema["fields"].as_array_mut().unwrap();
    if fields.len() > 1 && dice.roll(2) == 0 {
        fields.remove(0);
    }
    for field in fields.iter_mut() {
        let wider = match field["type"].as_str() {
            Some("int") => ["long", "float", "double"][dice.roll(3) as usize],
            Some("long") => ["long", "double"][dice.roll(2) as usize],
            Some("float") => "double",
            _ => continue,
        };
        field["type"] = json!(wider);
    }
    fields.reverse();
    fields.push(json!({ "name": "added", "type": ["null", "string"], "default": null }));
    fields.push(json!({ "name": "counted", "type": "long", "default": 42 }));
    fields.push(json!({ "name": "listed", "type": { "type": "array", "items": "string" }, "default": [] }));
    schema
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(600) })]

    #[test]
    fn what_is_copied_through_slots_is_what_was_there(seed in any::<u64>()) {
        let mut dice = Dice::of(seed);
        let schema = dice.record(3).to_string();
        let event = EventSchema::parse(&schema).unwrap();
        let value = dice.value(&event.avro);
        let datum = GenericDatumWriter::builder(&event.avro).build().unwrap().write_value_to_vec(value).unwrap();
        let theirs = decode(&event.avro, None, &datum);
        prop_assert_eq!(normal(copied(&event.avro, &event, &datum)), normal(theirs), "{}", schema);
    }

    #[test]
    fn another_readers_schema_gives_what_apache_avro_resolves(seed in any::<u64>()) {
        let mut dice = Dice::of(seed);
        let written = dice.record(2);
        let writer = Schema::parse(&written).unwrap();
        let reader = EventSchema::parse(&evolved(&written, &mut dice).to_string()).unwrap();
        let value = dice.value(&writer);
        let datum = GenericDatumWriter::builder(&writer).build().unwrap().write_value_to_vec(value).unwrap();
        let theirs = decode(&writer, Some(&reader.avro), &datum);
        prop_assert_eq!(normal(copied(&writer, &reader, &datum)), normal(theirs), "{}", written);
    }
}
