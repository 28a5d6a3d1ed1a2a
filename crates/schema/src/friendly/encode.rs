//! JSON → datum.

use apache_avro::Schema;
use apache_avro::schema::{
    ArraySchema, DecimalSchema, EnumSchema, InnerDecimalSchema, MapSchema, RecordSchema, UnionSchema, UuidSchema,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use uuid::Uuid;

use super::instant::Unit;
use super::{FitError, Path, instant};
use crate::avro::{MILLIS_OF_DAY, Names};
use crate::decimal;

/// Writes one datum.
pub(super) struct Encoder<'s> {
    pub(super) names: Names<'s>,
    pub(super) path: Path,
    pub(super) out: Vec<u8>,
}

impl<'s> Encoder<'s> {
    pub(super) fn new(names: Names<'s>) -> Self {
        Self { names, path: Path::default(), out: Vec::new() }
    }

    pub(super) fn encode(mut self, schema: &'s Schema, value: &Value) -> Result<Vec<u8>, FitError> {
        self.write(schema, value)?;
        Ok(self.out)
    }

    fn write(&mut self, schema: &'s Schema, value: &Value) -> Result<(), FitError> {
        match schema {
            Schema::Null if value.is_null() => {}
            Schema::Null => return Err(self.expected("null", value)),
            Schema::Boolean => self.write_boolean(value)?,
            Schema::Int => self.write_int(value)?,
            Schema::TimeMillis => self.write_time_of_day(MILLIS_OF_DAY, value)?,
            Schema::TimeMicros => self.write_time_of_day(MILLIS_OF_DAY * 1_000, value)?,
            Schema::Long
            | Schema::TimestampNanos
            | Schema::LocalTimestampMillis
            | Schema::LocalTimestampMicros
            | Schema::LocalTimestampNanos => {
                let long = value.as_i64().ok_or_else(|| self.expected("an integer of 64 bits", value))?;
                self.put_long(long);
            }
            Schema::Float => self.write_float(value)?,
            Schema::Double => self.write_double(value)?,
            Schema::Bytes | Schema::BigDecimal => {
                let bytes = self.bytes(value)?;
                self.put_bytes(&bytes);
            }
            Schema::Fixed(fixed) | Schema::Duration(fixed) => self.write_fixed(fixed.size, value)?,
            Schema::String => {
                let text = value.as_str().ok_or_else(|| self.expected("a text", value))?;
                self.put_bytes(text.as_bytes());
            }
            Schema::Uuid(inner) => self.write_uuid(inner, value)?,
            Schema::Date => self.write_date(value)?,
            Schema::TimestampMillis => self.write_timestamp(Unit::Milliseconds, value)?,
            Schema::TimestampMicros => self.write_timestamp(Unit::Microseconds, value)?,
            Schema::Decimal(decimal) => self.write_decimal(decimal, value)?,
            Schema::Enum(symbols) => self.write_symbol(symbols, value)?,
            Schema::Array(array) => self.write_list(array, value)?,
            Schema::Map(map) => self.write_map(map, value)?,
            Schema::Union(union) => self.write_union(union, value)?,
            Schema::Record(record) => self.write_record(record, value)?,
            Schema::Ref { .. } => {
                let defined = self.resolve(schema)?;
                self.write(defined, value)?;
            }
        }
        Ok(())
    }

    fn write_boolean(&mut self, value: &Value) -> Result<(), FitError> {
        let boolean = value.as_bool().ok_or_else(|| self.expected("true or false", value))?;
        self.out.push(u8::from(boolean));
        Ok(())
    }

    fn write_int(&mut self, value: &Value) -> Result<(), FitError> {
        let int = value.as_i64().and_then(|long| i32::try_from(long).ok());
        let int = int.ok_or_else(|| self.expected("an integer of 32 bits", value))?;
        self.put_long(int.into());
        Ok(())
    }

    /// A time of day, in parts of this many.
    fn write_time_of_day(&mut self, parts: i64, value: &Value) -> Result<(), FitError> {
        let at = value.as_i64().filter(|at| (0..parts).contains(at));
        let at = at.ok_or_else(|| self.expected(&format!("a time of day, 0 to {}", parts - 1), value))?;
        self.put_long(at);
        Ok(())
    }

    fn write_float(&mut self, value: &Value) -> Result<(), FitError> {
        let double = self.double(value)?;
        let float = double as f32;
        if double.is_finite() && !float.is_finite() {
            return Err(self.misfit("is too large for a float of 32 bits"));
        }
        self.out.extend(float.to_le_bytes());
        Ok(())
    }

    fn write_double(&mut self, value: &Value) -> Result<(), FitError> {
        let double = self.double(value)?;
        self.out.extend(double.to_le_bytes());
        Ok(())
    }

    fn double(&self, value: &Value) -> Result<f64, FitError> {
        match value {
            Value::Number(number) => number.as_f64().ok_or_else(|| self.expected("a number", value)),
            Value::String(text) => match text.as_str() {
                "NaN" => Ok(f64::NAN),
                "Infinity" => Ok(f64::INFINITY),
                "-Infinity" => Ok(f64::NEG_INFINITY),
                _other => Err(self.expected("a number", value)),
            },
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => Err(self.expected("a number", value)),
        }
    }

    fn bytes(&self, value: &Value) -> Result<Vec<u8>, FitError> {
        let text = value.as_str().ok_or_else(|| self.expected("a text in base64", value))?;
        STANDARD.decode(text).map_err(|_| self.misfit("is not base64"))
    }

    fn write_fixed(&mut self, size: usize, value: &Value) -> Result<(), FitError> {
        let bytes = self.bytes(value)?;
        if bytes.len() != size {
            return Err(self.misfit(format!("is {} bytes, but must be {size}", bytes.len())));
        }
        self.out.extend(bytes);
        Ok(())
    }

    fn write_uuid(&mut self, inner: &UuidSchema, value: &Value) -> Result<(), FitError> {
        let text = value.as_str().ok_or_else(|| self.expected("a UUID", value))?;
        // `try_parse` also takes braces and no hyphens; RFC 9562 writes it in 36 characters.
        let uuid = Uuid::parse_str(text).ok().filter(|_| text.len() == uuid::fmt::Hyphenated::LENGTH);
        let uuid = uuid.ok_or_else(|| self.misfit("is not a UUID such as 1b4e28ba-2fa1-4d3b-a3f5-ef19b5a7633b"))?;
        match inner {
            UuidSchema::String => self.put_bytes(uuid.hyphenated().to_string().as_bytes()),
            UuidSchema::Bytes => self.put_bytes(uuid.as_bytes()),
            UuidSchema::Fixed(_) => self.out.extend(uuid.as_bytes()),
        }
        Ok(())
    }

    fn write_date(&mut self, value: &Value) -> Result<(), FitError> {
        let days = match value {
            Value::String(text) => instant::parse_date(text).map_err(|problem| self.misfit(problem))?,
            Value::Number(number) => {
                let days = number.as_i64().and_then(|days| i32::try_from(days).ok());
                days.filter(|days| instant::print_date(*days).is_none())
                    .ok_or_else(|| self.expected("a date such as \"2026-01-31\"", value))?
            }
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                return Err(self.expected("a date such as \"2026-01-31\"", value));
            }
        };
        self.put_long(days.into());
        Ok(())
    }

    fn write_timestamp(&mut self, unit: Unit, value: &Value) -> Result<(), FitError> {
        let count = match value {
            Value::String(text) => instant::parse_timestamp(text, unit).map_err(|problem| self.misfit(problem))?,
            Value::Number(number) => number
                .as_i64()
                .filter(|count| instant::print_timestamp(*count, unit).is_none())
                .ok_or_else(|| self.expected("a time such as \"2026-01-31T09:30:00Z\"", value))?,
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                return Err(self.expected("a time such as \"2026-01-31T09:30:00Z\"", value));
            }
        };
        self.put_long(count);
        Ok(())
    }

    fn write_decimal(&mut self, schema: &DecimalSchema, value: &Value) -> Result<(), FitError> {
        let DecimalSchema { precision, scale, inner } = schema;
        let unscaled = match value {
            Value::String(text) => decimal::parse(text, *precision, *scale),
            Value::Number(number) => decimal::parse_number(number, *precision, *scale),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                return Err(self.expected("a decimal such as \"125000.50\"", value));
            }
        };
        let unscaled = unscaled.map_err(|problem| self.misfit(problem))?;
        match inner {
            InnerDecimalSchema::Bytes => self.put_bytes(&decimal::to_bytes(unscaled)),
            InnerDecimalSchema::Fixed(fixed) => {
                let bytes = decimal::to_fixed(unscaled, fixed.size);
                let bytes = bytes.ok_or_else(|| self.misfit(format!("does not fit into {} bytes", fixed.size)))?;
                self.out.extend(bytes);
            }
        }
        Ok(())
    }

    pub(super) fn write_symbol(&mut self, schema: &EnumSchema, value: &Value) -> Result<(), FitError> {
        let symbol = value.as_str().ok_or_else(|| self.expected("a text", value))?;
        match schema.symbols.iter().position(|known| known == symbol) {
            Some(index) => {
                self.put_count(index);
                Ok(())
            }
            None => Err(self.misfit(format!("must be one of {}", schema.symbols.join(", ")))),
        }
    }

    fn write_list(&mut self, schema: &'s ArraySchema, value: &Value) -> Result<(), FitError> {
        let items = value.as_array().ok_or_else(|| self.expected("a list", value))?;
        self.put_block(items.len(), |this| {
            for (index, item) in items.iter().enumerate() {
                let before = this.path.enter_item(index);
                this.write(&schema.items, item)?;
                this.path.leave(before);
            }
            Ok(())
        })
    }

    fn write_map(&mut self, schema: &'s MapSchema, value: &Value) -> Result<(), FitError> {
        let entries = value.as_object().ok_or_else(|| self.expected("an object", value))?;
        self.put_block(entries.len(), |this| {
            for (name, entry) in entries {
                let before = this.path.enter_field(name);
                this.put_bytes(name.as_bytes());
                this.write(&schema.types, entry)?;
                this.path.leave(before);
            }
            Ok(())
        })
    }

    /// Null goes to the branch of null, all else to the other: [`crate::avro::EventSchema`] has no third.
    fn write_union(&mut self, union: &'s UnionSchema, value: &Value) -> Result<(), FitError> {
        let is_branch = |branch: &&Schema| matches!(branch, Schema::Null) == value.is_null();
        match union.variants().iter().enumerate().find(|(_, branch)| is_branch(branch)) {
            Some((index, branch)) => {
                self.put_count(index);
                self.write(branch, value)
            }
            None if value.is_null() => Err(self.misfit("cannot be null")),
            None => Err(self.expected("null", value)),
        }
    }

    fn write_record(&mut self, record: &'s RecordSchema, value: &Value) -> Result<(), FitError> {
        let given = value.as_object().ok_or_else(|| self.expected("an object", value))?;
        if let Some(strange) = given.keys().find(|name| !record.lookup.contains_key(*name)) {
            let known: Vec<&str> = record.fields.iter().map(|field| field.name.as_str()).collect();
            return Err(self.misfit(format!("has no field `{strange}`; its fields are {}", known.join(", "))));
        }
        for field in &record.fields {
            let before = self.path.enter_field(&field.name);
            match (given.get(&field.name), &field.default) {
                (Some(value), _) => self.write(&field.schema, value)?,
                (None, Some(default)) => self.write_default(&field.schema, default)?,
                (None, None) => return Err(self.misfit("is missing, and the schema has no default for it")),
            }
            self.path.leave(before);
        }
        Ok(())
    }

    /// Writes a list or map: one block with all of it, and the block of none that ends it.
    pub(super) fn put_block(
        &mut self,
        len: usize,
        write: impl FnOnce(&mut Self) -> Result<(), FitError>,
    ) -> Result<(), FitError> {
        if len > 0 {
            self.put_count(len);
            write(self)?;
        }
        self.put_count(0);
        Ok(())
    }

    pub(super) fn put_bytes(&mut self, bytes: &[u8]) {
        self.put_count(bytes.len());
        self.out.extend(bytes);
    }

    pub(super) fn put_count(&mut self, count: usize) {
        // No length of anything in memory is beyond 63 bits.
        self.put_long(count as i64);
    }

    /// Avro's variable-length zig-zag.
    pub(super) fn put_long(&mut self, long: i64) {
        let mut rest = ((long << 1) ^ (long >> 63)).cast_unsigned();
        while rest >= 0x80 {
            self.out.push((rest as u8) | 0x80);
            rest >>= 7;
        }
        self.out.push(rest as u8);
    }

    pub(super) fn resolve(&self, schema: &'s Schema) -> Result<&'s Schema, FitError> {
        self.names.resolve(schema).ok_or_else(|| self.misfit("refers to a name that the schema does not define"))
    }

    fn expected(&self, what: &str, value: &Value) -> FitError {
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "another number",
            Value::String(_) => "a text",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        self.misfit(format!("must be {what}, but is {kind}"))
    }

    pub(super) fn misfit(&self, problem: impl Into<String>) -> FitError {
        FitError { path: self.path.name(), problem: problem.into() }
    }
}
