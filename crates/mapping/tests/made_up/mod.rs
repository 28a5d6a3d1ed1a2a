//! Made-up schemas and data, and a mapping that copies each field: what tests compare with other readers of Avro.
#![allow(dead_code)] // each test binary uses a part of it

use std::fmt::Write as _;

use apache_avro::Schema;
use apache_avro::types::Value;
use serde_json::{Value as Json, json};
use tieline_mapping::{Bounds, Compiler, Mapping, Reader, RunError, Severity, Target, yaml};
use tieline_schema::avro::EventSchema;

/// A small generator of numbers, schemas and data.
pub struct Dice {
    state: u64,
    names: u32,
    /// Whether schemas have maps.
    pub maps: bool,
}

impl Dice {
    /// One seed is one schema and datum.
    pub fn of(seed: u64) -> Self {
        Self { state: seed, names: 0, maps: false }
    }

    pub fn roll(&mut self, sides: u64) -> u64 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % sides
    }

    pub fn name(&mut self) -> String {
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

    pub fn schema(&mut self, depth: u32) -> Json {
        let name = self.name();
        match self.roll(if depth == 0 { 14 } else { 18 }) {
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
            16 if self.maps => json!({ "type": "map", "values": self.schema(depth - 1) }),
            _ => match self.schema(depth - 1) {
                union @ Json::Array(_) => union,
                other if self.roll(2) == 0 => json!([other, "null"]),
                other => json!(["null", other]),
            },
        }
    }

    pub fn record(&mut self, depth: u32) -> Json {
        let name = self.name();
        let fields: Vec<Json> =
            (0..=self.roll(5)).map(|n| json!({ "name": format!("f{n}"), "type": self.schema(depth) })).collect();
        json!({ "type": "record", "name": name, "fields": fields })
    }

    pub fn value(&mut self, schema: &Schema) -> Value {
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
            Schema::Map(map) => {
                Value::Map((0..self.roll(4)).map(|n| (format!("k{n}"), self.value(&map.types))).collect())
            }
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

/// Maps each field of an event to itself.
pub struct Copying {
    reader: Reader,
    mapping: Mapping,
}

impl Copying {
    /// For data of this writer; an error where its schema cannot be read as the event's.
    pub fn of(writer: &Schema, event: &EventSchema) -> Result<Self, tieline_mapping::ResolveError> {
        let Schema::Record(record) = &event.avro else { panic!("an event is a record") };
        let mut tree = String::new();
        for field in &record.fields {
            writeln!(tree, "{0}: .{0}", field.name).unwrap();
        }
        let mut compiler = Compiler::new(event.ty.clone(), "event".to_owned());
        let target = Target::Avro(&event.avro, &event.ty, "the event");
        let mapping = compiler.mapping(&yaml::parse(&tree).unwrap(), target, None);
        let (layout, problems) = compiler.finish();
        assert!(problems.iter().all(|p| p.severity == Severity::Warning), "{problems:#?}");
        Ok(Self { reader: layout.reader(writer, &event.avro)?, mapping: mapping.unwrap() })
    }

    /// The datum under the event's own schema.
    pub fn copy(&self, datum: &[u8]) -> Result<Vec<u8>, RunError> {
        let frame = self.reader.read(datum, &Bounds::default())?;
        let mut out = Vec::new();
        self.mapping.write(&frame, &[], &Bounds::default(), &mut out)?;
        Ok(out)
    }
}
