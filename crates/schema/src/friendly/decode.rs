//! Datum → JSON, bounded.

use apache_avro::Schema;
use apache_avro::schema::{
    ArraySchema, DecimalSchema, EnumSchema, InnerDecimalSchema, MapSchema, RecordSchema, UnionSchema, UuidSchema,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value};
use uuid::Uuid;

use super::instant::Unit;
use super::{DatumError, Path, instant};
use crate::avro::Names;
use crate::decimal;

/// A value that takes no bytes counts as this many more: the datum does not bound how many there are.
const EMPTY_VALUE_COST: usize = 64;

/// Reads one datum.
pub(super) struct Decoder<'s, 'd> {
    names: Names<'s>,
    path: Path,
    /// What is not read yet.
    rest: &'d [u8],
    values_max: usize,
    values_left: usize,
}

impl<'s, 'd> Decoder<'s, 'd> {
    pub(super) fn new(names: Names<'s>, datum: &'d [u8], values_max: usize) -> Self {
        Self { names, path: Path::default(), rest: datum, values_max, values_left: values_max }
    }

    pub(super) fn decode(mut self, schema: &'s Schema) -> Result<Value, DatumError> {
        let value = self.read(schema)?;
        match self.rest.len() {
            0 => Ok(value),
            left => Err(self.misfit(format!("is followed by {left} bytes that the schema does not account for"))),
        }
    }

    fn read(&mut self, schema: &'s Schema) -> Result<Value, DatumError> {
        let before = self.rest.len();
        self.spend(1)?;
        let value = self.read_value(schema)?;
        if self.rest.len() == before {
            self.spend(EMPTY_VALUE_COST)?;
        }
        Ok(value)
    }

    fn spend(&mut self, values: usize) -> Result<(), DatumError> {
        self.values_left = self.values_left.checked_sub(values).ok_or_else(|| self.too_large())?;
        Ok(())
    }

    fn read_value(&mut self, schema: &'s Schema) -> Result<Value, DatumError> {
        Ok(match schema {
            Schema::Null => Value::Null,
            Schema::Boolean => self.boolean()?,
            Schema::Int | Schema::TimeMillis => self.int()?.into(),
            Schema::Long
            | Schema::TimeMicros
            | Schema::TimestampNanos
            | Schema::LocalTimestampMillis
            | Schema::LocalTimestampMicros
            | Schema::LocalTimestampNanos => self.long()?.into(),
            Schema::Float => show_float(f32::from_le_bytes(self.array()?)),
            Schema::Double => show_double(f64::from_le_bytes(self.array()?)),
            Schema::Bytes | Schema::BigDecimal => STANDARD.encode(self.bytes()?).into(),
            Schema::Fixed(fixed) | Schema::Duration(fixed) => STANDARD.encode(self.take(fixed.size)?).into(),
            Schema::String => self.text()?.into(),
            Schema::Uuid(inner) => self.uuid(inner)?.hyphenated().to_string().into(),
            Schema::Date => {
                let days = self.int()?;
                instant::print_date(days).map_or(days.into(), Value::String)
            }
            Schema::TimestampMillis => self.timestamp(Unit::Milliseconds)?,
            Schema::TimestampMicros => self.timestamp(Unit::Microseconds)?,
            Schema::Decimal(decimal) => self.decimal(decimal)?.into(),
            Schema::Enum(symbols) => self.symbol(symbols)?.into(),
            Schema::Array(array) => self.list(array)?,
            Schema::Map(map) => self.map(map)?,
            Schema::Union(union) => self.union(union)?,
            Schema::Record(record) => self.record(record)?,
            Schema::Ref { .. } => {
                let defined = self.names.resolve(schema);
                let defined = defined.ok_or_else(|| self.misfit("refers to a name that the schema does not define"))?;
                self.read_value(defined)? // the reference itself is no value
            }
        })
    }

    fn boolean(&mut self) -> Result<Value, DatumError> {
        match self.array()? {
            [0] => Ok(Value::Bool(false)),
            [1] => Ok(Value::Bool(true)),
            [other] => Err(self.misfit(format!("is a boolean of byte {other:#04x}"))),
        }
    }

    fn timestamp(&mut self, unit: Unit) -> Result<Value, DatumError> {
        let count = self.long()?;
        Ok(instant::print_timestamp(count, unit).map_or(count.into(), Value::String))
    }

    fn uuid(&mut self, inner: &UuidSchema) -> Result<Uuid, DatumError> {
        let uuid = match inner {
            UuidSchema::String => Uuid::parse_str(self.text()?),
            UuidSchema::Bytes => Uuid::from_slice(self.bytes()?),
            UuidSchema::Fixed(fixed) => Uuid::from_slice(self.take(fixed.size)?),
        };
        uuid.map_err(|_| self.misfit("is not a UUID"))
    }

    fn decimal(&mut self, schema: &DecimalSchema) -> Result<String, DatumError> {
        let bytes = match &schema.inner {
            InnerDecimalSchema::Bytes => self.bytes()?,
            InnerDecimalSchema::Fixed(fixed) => self.take(fixed.size)?,
        };
        let unscaled = decimal::from_bytes(bytes);
        let unscaled = unscaled.ok_or_else(|| self.misfit(format!("is a decimal of {} bytes", bytes.len())))?;
        Ok(decimal::print(unscaled, schema.scale))
    }

    fn symbol(&mut self, schema: &'s EnumSchema) -> Result<&'s str, DatumError> {
        let index = self.int()?;
        let symbol = usize::try_from(index).ok().and_then(|index| schema.symbols.get(index));
        symbol.map(String::as_str).ok_or_else(|| self.misfit(format!("is symbol {index} of {}", schema.symbols.len())))
    }

    fn union(&mut self, union: &'s UnionSchema) -> Result<Value, DatumError> {
        let index = self.long()?;
        let branch = usize::try_from(index).ok().and_then(|index| union.variants().get(index));
        let branch = branch.ok_or_else(|| self.misfit(format!("is branch {index} of {}", union.variants().len())))?;
        self.read_value(branch) // a union and its branch are one value
    }

    fn list(&mut self, schema: &'s ArraySchema) -> Result<Value, DatumError> {
        let mut items = Vec::new();
        while let Some(count) = self.block()? {
            for _ in 0..count {
                let before = self.path.enter_item(items.len());
                items.push(self.read(&schema.items)?);
                self.path.leave(before);
            }
        }
        Ok(Value::Array(items))
    }

    fn map(&mut self, schema: &'s MapSchema) -> Result<Value, DatumError> {
        let mut entries = Map::new();
        while let Some(count) = self.block()? {
            for _ in 0..count {
                let name = self.text()?;
                let before = self.path.enter_field(name);
                entries.insert(name.to_owned(), self.read(&schema.types)?);
                self.path.leave(before);
            }
        }
        Ok(Value::Object(entries))
    }

    fn record(&mut self, record: &'s RecordSchema) -> Result<Value, DatumError> {
        let mut fields = Map::with_capacity(record.fields.len());
        for field in &record.fields {
            let before = self.path.enter_field(&field.name);
            fields.insert(field.name.clone(), self.read(&field.schema)?);
            self.path.leave(before);
        }
        Ok(Value::Object(fields))
    }

    /// How many items the next block of a list or map has; `None` at the end. A negative count is followed by the
    /// block's size in bytes, for readers that skip.
    fn block(&mut self) -> Result<Option<usize>, DatumError> {
        let count = self.long()?;
        if count < 0 {
            self.long()?;
        }
        // Before any item is read: items of no bytes would never run out.
        match usize::try_from(count.unsigned_abs()) {
            Ok(0) => Ok(None),
            Ok(count) if count <= self.values_left => Ok(Some(count)),
            Ok(_) | Err(_) => Err(self.too_large()),
        }
    }

    fn text(&mut self) -> Result<&'d str, DatumError> {
        let bytes = self.bytes()?;
        str::from_utf8(bytes).map_err(|_| self.misfit("is a text that is not UTF-8"))
    }

    fn bytes(&mut self) -> Result<&'d [u8], DatumError> {
        let len = self.long()?;
        let len = usize::try_from(len).map_err(|_| self.misfit(format!("has a length of {len}")))?;
        self.take(len)
    }

    fn int(&mut self) -> Result<i32, DatumError> {
        let long = self.long()?;
        i32::try_from(long).map_err(|_| self.misfit("is an int of more than 32 bits"))
    }

    /// Avro's variable-length zig-zag, at most 10 bytes.
    fn long(&mut self) -> Result<i64, DatumError> {
        let mut unsigned = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && byte > 1 {
                break;
            }
            unsigned |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok((unsigned >> 1).cast_signed() ^ -(unsigned & 1).cast_signed());
            }
        }
        Err(self.misfit("is a number of more than 64 bits"))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DatumError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or_else(|| self.cut_off(N))?;
        self.rest = rest;
        Ok(*array)
    }

    fn take(&mut self, len: usize) -> Result<&'d [u8], DatumError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or_else(|| self.cut_off(len))?;
        self.rest = rest;
        Ok(taken)
    }

    fn cut_off(&self, wanted: usize) -> DatumError {
        self.misfit(format!("needs {wanted} bytes, but {} are left", self.rest.len()))
    }

    fn too_large(&self) -> DatumError {
        DatumError::TooLarge { path: self.path.name(), values_max: self.values_max }
    }

    fn misfit(&self, problem: impl Into<String>) -> DatumError {
        DatumError::Misfit { path: self.path.name(), problem: problem.into() }
    }
}

/// A float with its own shortest digits: 0.1, not the 0.10000000149011612 that it is as a double.
fn show_float(float: f32) -> Value {
    let short: Option<f64> = float.to_string().parse().ok();
    let same = short.filter(|short| *short as f32 == float);
    show_double(same.unwrap_or(f64::from(float)))
}

fn show_double(double: f64) -> Value {
    match Number::from_f64(double) {
        Some(number) => Value::Number(number),
        None if double.is_nan() => "NaN".into(),
        None if double > 0.0 => "Infinity".into(),
        None => "-Infinity".into(),
    }
}
