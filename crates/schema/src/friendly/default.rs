//! A field's default, which the schema writes in Avro's own JSON: bytes as Latin-1, dates and timestamps as numbers.

use apache_avro::Schema;
use apache_avro::schema::{DecimalSchema, InnerDecimalSchema, RecordSchema, UnionSchema, UuidSchema};
use serde_json::Value;
use uuid::Uuid;

use super::FitError;
use super::encode::Encoder;

impl<'s> Encoder<'s> {
    /// Writes a default. Parsing has seen that it fits, by and large; what still does not is an error here.
    pub(super) fn write_default(&mut self, schema: &'s Schema, default: &Value) -> Result<(), FitError> {
        match schema {
            Schema::Null if default.is_null() => {}
            Schema::Null => return Err(self.bad_default()),
            Schema::Boolean => {
                let boolean = default.as_bool().ok_or_else(|| self.bad_default())?;
                self.out.push(u8::from(boolean));
            }
            Schema::Int | Schema::Date | Schema::TimeMillis => {
                let int = default.as_i64().and_then(|long| i32::try_from(long).ok());
                let int = int.ok_or_else(|| self.bad_default())?;
                self.put_long(int.into());
            }
            Schema::Long
            | Schema::TimeMicros
            | Schema::TimestampMillis
            | Schema::TimestampMicros
            | Schema::TimestampNanos
            | Schema::LocalTimestampMillis
            | Schema::LocalTimestampMicros
            | Schema::LocalTimestampNanos => {
                let long = default.as_i64().ok_or_else(|| self.bad_default())?;
                self.put_long(long);
            }
            Schema::Float => {
                let double = default.as_f64().ok_or_else(|| self.bad_default())?;
                self.out.extend((double as f32).to_le_bytes());
            }
            Schema::Double => {
                let double = default.as_f64().ok_or_else(|| self.bad_default())?;
                self.out.extend(double.to_le_bytes());
            }
            Schema::Bytes
            | Schema::BigDecimal
            | Schema::Decimal(DecimalSchema { inner: InnerDecimalSchema::Bytes, .. }) => {
                let bytes = self.latin1(default)?;
                self.put_bytes(&bytes);
            }
            Schema::Fixed(fixed)
            | Schema::Duration(fixed)
            | Schema::Decimal(DecimalSchema { inner: InnerDecimalSchema::Fixed(fixed), .. }) => {
                let bytes = self.latin1(default)?;
                self.put_fixed(&bytes, fixed.size)?;
            }
            Schema::String => {
                let text = default.as_str().ok_or_else(|| self.bad_default())?;
                self.put_bytes(text.as_bytes());
            }
            Schema::Uuid(inner) => self.write_default_uuid(inner, default)?,
            Schema::Enum(symbols) => self.write_symbol(symbols, default)?,
            Schema::Array(array) => {
                let items = default.as_array().ok_or_else(|| self.bad_default())?;
                self.put_block(items.len(), |this| {
                    items.iter().try_for_each(|item| this.write_default(&array.items, item))
                })?;
            }
            Schema::Map(map) => {
                let entries = default.as_object().ok_or_else(|| self.bad_default())?;
                self.put_block(entries.len(), |this| {
                    entries.iter().try_for_each(|(name, entry)| {
                        this.put_bytes(name.as_bytes());
                        this.write_default(&map.types, entry)
                    })
                })?;
            }
            Schema::Union(union) => self.write_default_union(union, default)?,
            Schema::Record(record) => self.write_default_record(record, default)?,
            Schema::Ref { .. } => {
                let defined = self.resolve(schema)?;
                self.write_default(defined, default)?;
            }
        }
        Ok(())
    }

    fn write_default_uuid(&mut self, inner: &UuidSchema, default: &Value) -> Result<(), FitError> {
        match inner {
            UuidSchema::String => {
                let uuid = default.as_str().and_then(|text| Uuid::parse_str(text).ok());
                let uuid = uuid.ok_or_else(|| self.bad_default())?;
                self.put_bytes(uuid.hyphenated().to_string().as_bytes());
                Ok(())
            }
            UuidSchema::Bytes => {
                let bytes = self.latin1(default)?;
                self.put_bytes(&bytes);
                Ok(())
            }
            UuidSchema::Fixed(fixed) => {
                let bytes = self.latin1(default)?;
                self.put_fixed(&bytes, fixed.size)
            }
        }
    }

    /// Avro 1.12: the first branch that the default fits; with null and one other that is told by null alone.
    fn write_default_union(&mut self, union: &'s UnionSchema, default: &Value) -> Result<(), FitError> {
        let is_branch = |branch: &&Schema| matches!(branch, Schema::Null) == default.is_null();
        match union.variants().iter().enumerate().find(|(_, branch)| is_branch(branch)) {
            Some((index, branch)) => {
                self.put_count(index);
                self.write_default(branch, default)
            }
            None => Err(self.bad_default()),
        }
    }

    fn write_default_record(&mut self, record: &'s RecordSchema, default: &Value) -> Result<(), FitError> {
        let given = default.as_object().ok_or_else(|| self.bad_default())?;
        for field in &record.fields {
            let before = self.path.enter_field(&field.name);
            let default = given.get(&field.name).or(field.default.as_ref());
            let default = default.ok_or_else(|| self.bad_default())?;
            self.write_default(&field.schema, default)?;
            self.path.leave(before);
        }
        Ok(())
    }

    fn put_fixed(&mut self, bytes: &[u8], size: usize) -> Result<(), FitError> {
        if bytes.len() != size {
            return Err(self.bad_default());
        }
        self.out.extend(bytes);
        Ok(())
    }

    fn latin1(&self, default: &Value) -> Result<Vec<u8>, FitError> {
        let text = default.as_str().ok_or_else(|| self.bad_default())?;
        text.chars().map(|c| u8::try_from(u32::from(c)).map_err(|_| self.bad_default())).collect()
    }

    fn bad_default(&self) -> FitError {
        self.misfit("is missing, and the schema's default for it does not fit its type")
    }
}
