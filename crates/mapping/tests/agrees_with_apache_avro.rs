//! Generated schemas and data: what we read and write is what apache-avro's own reader says that it is, also where the
//! reader's schema is another than the writer's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt::Write as _;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use tieline_mapping::{Bounds, Compiler, Severity, Target, yaml};
use tieline_schema::avro::EventSchema;

/// A small generator of numbers, so that one seed is one schema and datum.
struct Dice {
    state: u64,
    names: u32,
}

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % sides
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("N{}", self.names)
    }

    fn long(&mut self) -> i64 {
        let wide = (self.roll(1 << 31) << 32 | self.roll(1 << 31)).cast_signed();
        [0, -1, 1, i64::MIN, i64::MAX, wide, -wide, wide >> 40][self.roll(8) as usize]
    }

    fn int(&mut self) -> i32 {
        self.long() as i32
    }

    fn text(&mut self) -> String {
        let texts = ["", "a", "Überführung \"3\"", "\u{1}\u{1F600}\\", "x\ny"];
        texts[self.roll(5) as usize].to_owned()
    }

    fn schema(&mut self, depth: u32) -> Json {
        let name = self.name();
        match self.roll(if depth == 0 { 14 } else { 17 }) {
            0 => json!("boolean"),
            1 => json!("int"),
            2 => json!("long"),
            3 => json!("float"),
            4 => json!("double"),
            5 => json!("string"),
            6 => json!("bytes"),
            7 => json!({ "type": "enum", "name": name, "symbols": ["A", "B", "C"] }),
            8 => json!({ "type": "fixed", "name": name, "size": 3 }),
            9 => json!({ "type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 3 }),
            10 => {
                json!({ "type": "fixed", "name": name, "size": 8, "logicalType": "decimal", "precision": 18, "scale": 2 })
            }
            11 => json!({ "type": "int", "logicalType": "date" }),
            12 => json!({ "type": "long", "logicalType": "timestamp-millis" }),
            13 => json!({ "type": "long", "logicalType": "timestamp-micros" }),
            14 => json!({ "type": "array", "items": self.schema(depth - 1) }),
            15 => self.record(depth - 1),
            _ => match self.schema(depth - 1) {
                union @ Json::Array(_) => union,
                other if self.roll(2) == 0 => json!([other, "null"]),
                other => json!(["null", other]),
            },
        }
    }

    fn record(&mut self, depth: u32) -> Json {
        let name = self.name();
        let fields: Vec<Json> =
            (0..=self.roll(5)).map(|n| json!({ "name": format!("f{n}"), "type": self.schema(depth) })).collect();
        json!({ "type": "record", "name": name, "fields": fields })
    }

    fn value(&mut self, schema: &Schema) -> Value {
        match schema {
            Schema::Null => Value::Null,
            Schema::Boolean => Value::Boolean(self.roll(2) == 0),
            Schema::Int => Value::Int(self.int()),
            Schema::Long => Value::Long(self.long()),
            Schema::Float => Value::Float(self.int() as f32 / 8.0),
            Schema::Double => Value::Double(self.long() as f64 / 8.0),
            Schema::String => Value::String(self.text()),
            Schema::Bytes => Value::Bytes(self.text().into_bytes()),
            Schema::Enum(symbols) => {
                let at = self.roll(symbols.symbols.len() as u64) as usize;
                Value::Enum(at as u32, symbols.symbols[at].clone())
            }
            Schema::Fixed(fixed) => Value::Fixed(fixed.size, vec![7; fixed.size]),
            // apache-avro resolves a decimal only where its bytes could hold all digits of its precision.
            Schema::Decimal(_) => {
                let unscaled = self.long() % 1_000_000_000_000_000_000;
                Value::Decimal(apache_avro::Decimal::from(unscaled.to_be_bytes()))
            }
            Schema::Date => Value::Date(self.int()),
            // Beyond 64 bits of microseconds is an error of ours: see `hostile`.
            Schema::TimestampMillis => Value::TimestampMillis(self.long() / 1_000),
            Schema::TimestampMicros => Value::TimestampMicros(self.long()),
            Schema::Array(array) => Value::Array((0..self.roll(4)).map(|_| self.value(&array.items)).collect()),
            Schema::Union(union) => {
                let at = self.roll(union.variants().len() as u64) as usize;
                Value::Union(at as u32, Box::new(self.value(&union.variants()[at])))
            }
            Schema::Record(record) => {
                Value::Record(record.fields.iter().map(|f| (f.name.clone(), self.value(&f.schema))).collect())
            }
            other => panic!("not generated: {other:?}"),
        }
    }
}

/// Maps each field of the event to itself, and reads what was written.
fn copied(writer: &Schema, reader: &EventSchema, datum: &[u8]) -> Value {
    let Schema::Record(record) = &reader.avro else { panic!() };
    let mut tree = String::new();
    for field in &record.fields {
        writeln!(tree, "{0}: .{0}", field.name).unwrap();
    }
    let mut compiler = Compiler::new(reader.ty.clone(), "event".to_owned());
    let target = Target::Avro(&reader.avro, &reader.ty, "the event");
    let mapping = compiler.mapping(&yaml::parse(&tree).unwrap(), target, None);
    let (layout, problems) = compiler.finish();
    assert!(problems.iter().all(|p| p.severity == Severity::Warning), "{problems:#?}");
    let plan = layout.reader(writer, &reader.avro).unwrap();
    let frame = plan.read(datum, &Bounds::default()).unwrap();
    let mut out = Vec::new();
    mapping.unwrap().write(&frame, &[], &Bounds::default(), &mut out).unwrap();
    decode(&reader.avro, None, &out)
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
        let mut dice = Dice { state: seed, names: 0 };
        let schema = dice.record(3).to_string();
        let event = EventSchema::parse(&schema).unwrap();
        let value = dice.value(&event.avro);
        let datum = GenericDatumWriter::builder(&event.avro).build().unwrap().write_value_to_vec(value).unwrap();
        let theirs = decode(&event.avro, None, &datum);
        prop_assert_eq!(normal(copied(&event.avro, &event, &datum)), normal(theirs), "{}", schema);
    }

    #[test]
    fn another_readers_schema_gives_what_apache_avro_resolves(seed in any::<u64>()) {
        let mut dice = Dice { state: seed, names: 0 };
        let written = dice.record(2);
        let writer = Schema::parse(&written).unwrap();
        let reader = EventSchema::parse(&evolved(&written, &mut dice).to_string()).unwrap();
        let value = dice.value(&writer);
        let datum = GenericDatumWriter::builder(&writer).build().unwrap().write_value_to_vec(value).unwrap();
        let theirs = decode(&writer, Some(&reader.avro), &datum);
        prop_assert_eq!(normal(copied(&writer, &reader, &datum)), normal(theirs), "{}", written);
    }
}
