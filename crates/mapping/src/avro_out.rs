//! Writes a checked tree as an Avro datum, straight into the buffer that is published.

use apache_avro::Schema;
use serde_json::Value;
use tieline_schema::avro::Names;

use crate::RunError;
use crate::avro_scalar::{Meaning, Wire, scalar};
use crate::bounds::Bounds;
use crate::check::{Leaf, NullRule, Tree};
use crate::item::Item;
use crate::json_out::{check, check_count};
use crate::program::Program;
use crate::run::Env;
use crate::value::Val;

/// A tree, ready to be written as a datum.
#[derive(Debug)]
pub(crate) enum Avro {
    /// Fields, in the order of the schema.
    Record(Vec<Avro>),
    /// Keys, as they are written, and values.
    Map(Vec<(Box<[u8]>, Avro)>),
    List {
        items: Vec<Item<Avro>>,
        min: u32,
        max: Option<u32>,
        path: Box<str>,
    },
    /// A value; what is written for null, if null is taken.
    Leaf {
        leaf: Leaf,
        shape: Shape,
        null: Option<Box<[u8]>>,
    },
    /// A record or list that is copied; what is written for null, if null is taken.
    Maybe {
        value: Program,
        path: Box<str>,
        null: Option<Box<[u8]>>,
        tree: Box<Avro>,
    },
    /// The number of a union's branch, then its value. A leaf writes null instead without it.
    Branch {
        prefix: Box<[u8]>,
        tree: Box<Avro>,
    },
    /// Bytes that are always the same: the default of a field that is not set.
    Constant(Box<[u8]>),
}

/// How a value is written.
#[derive(Debug)]
pub(crate) enum Shape {
    Scalar(Wire, Meaning),
    Enum(Vec<String>),
}

impl Avro {
    /// Prepares a checked tree for its schema.
    pub(crate) fn new(tree: Tree, schema: &Schema) -> Result<Self, String> {
        Lowering { named: Names::of(schema) }.lower(tree, schema, None)
    }

    /// Appends it.
    pub(crate) fn write<'e>(&'e self, env: &mut Env<'e>, bounds: &Bounds, out: &mut Vec<u8>) -> Result<(), RunError> {
        if out.len() > bounds.output_bytes_max {
            return Err(RunError::leaf("", format!("is longer than {} bytes", bounds.output_bytes_max)));
        }
        match self {
            Self::Record(fields) => fields.iter().try_for_each(|field| field.write(env, bounds, out)),
            Self::Map(entries) => {
                write_long(i64::try_from(entries.len()).unwrap_or(i64::MAX), out);
                for (key, value) in entries {
                    out.extend_from_slice(key);
                    value.write(env, bounds, out)?;
                }
                if !entries.is_empty() {
                    out.push(0);
                }
                Ok(())
            }
            Self::List { items, min, max, path } => {
                let start = out.len();
                let mut count = 0;
                for item in items {
                    item.each(env, |tree, env| {
                        count += 1;
                        tree.write(env, bounds, out)
                    })?;
                }
                check_count(count, *min, *max, path)?;
                if count > 0 {
                    let mut head = Vec::new();
                    write_long(i64::from(count), &mut head);
                    out.splice(start..start, head);
                }
                out.push(0);
                Ok(())
            }
            Self::Leaf { leaf, shape, null } => write_leaf(leaf, shape, null.as_deref(), &[], env, out),
            Self::Maybe { value, path, null, tree } => {
                let value = value.eval(env).map_err(|fault| RunError::leaf(&**path, fault))?;
                match (value, null) {
                    (Val::Null, Some(null)) => out.extend_from_slice(null),
                    (Val::Null, None) => return Err(RunError::leaf(&**path, "is null, which its place does not take")),
                    (_, _) => tree.write(env, bounds, out)?,
                }
                Ok(())
            }
            Self::Branch { prefix, tree } => {
                if let Self::Leaf { leaf, shape, null } = &**tree {
                    return write_leaf(leaf, shape, null.as_deref(), prefix, env, out);
                }
                out.extend_from_slice(prefix);
                tree.write(env, bounds, out)
            }
            Self::Constant(bytes) => {
                out.extend_from_slice(bytes);
                Ok(())
            }
        }
    }
}

fn write_leaf<'e>(
    leaf: &'e Leaf,
    shape: &Shape,
    null: Option<&[u8]>,
    prefix: &[u8],
    env: &Env<'e>,
    out: &mut Vec<u8>,
) -> Result<(), RunError> {
    let value = leaf.program.eval(env).map_err(|fault| RunError::leaf(&*leaf.path, fault))?;
    match (&value, null) {
        (Val::Null, Some(null)) => {
            out.extend_from_slice(null);
            return Ok(());
        }
        (Val::Null, None) if !matches!(shape, Shape::Scalar(Wire::Null, _)) => {
            return Err(RunError::leaf(&*leaf.path, "is null, which its place does not take"));
        }
        (_, _) => {}
    }
    check(&leaf.checks, &value, &leaf.path)?;
    out.extend_from_slice(prefix);
    write_shape(shape, &value, out).map_err(|problem| RunError::leaf(&*leaf.path, problem))
}

fn write_shape(shape: &Shape, value: &Val<'_>, out: &mut Vec<u8>) -> Result<(), &'static str> {
    match (shape, value) {
        (Shape::Enum(symbols), Val::Text(text)) => {
            let at = symbols.iter().position(|s| s == text).ok_or("is no symbol of its enum")?;
            write_long(i64::try_from(at).unwrap_or(i64::MAX), out);
        }
        (Shape::Scalar(wire, Meaning::Decimal { scale, .. }), value) => {
            let exact = value.decimal().and_then(|d| d.rescale(*scale)).ok_or("has more digits than its decimal")?;
            write_decimal(exact.unscaled(), *wire, out)?;
        }
        (Shape::Scalar(_, Meaning::Date), Val::Date(days)) => write_long(i64::from(*days), out),
        (Shape::Scalar(_, Meaning::TimestampMillis), Val::Timestamp(micros)) => {
            write_long(micros.div_euclid(1_000), out)
        }
        (Shape::Scalar(_, Meaning::TimestampMicros), Val::Timestamp(micros)) => write_long(*micros, out),
        (Shape::Scalar(wire, Meaning::UuidBytes), Val::Text(text)) => {
            let uuid = uuid::Uuid::parse_str(text).map_err(|_| "is not a UUID")?;
            if *wire == Wire::Bytes {
                write_long(16, out);
            }
            out.extend_from_slice(uuid.as_bytes());
        }
        (Shape::Scalar(Wire::Null, _), Val::Null) => {}
        (Shape::Scalar(Wire::Boolean, _), Val::Boolean(b)) => out.push(u8::from(*b)),
        (Shape::Scalar(wire @ (Wire::Int | Wire::Long), Meaning::Plain | Meaning::TimeOfDay { .. }), value) => {
            let n = value.decimal().and_then(crate::decimal::Decimal::to_integer).ok_or("is not a whole number")?;
            if *wire == Wire::Int {
                i32::try_from(n).map_err(|_| "is beyond 32 bits")?;
            }
            write_long(n, out);
        }
        (Shape::Scalar(wire @ (Wire::Float | Wire::Double), _), value) => {
            let float = match value {
                Val::Float(f) => *f,
                other => other.decimal().ok_or("is not a number")?.to_float(),
            };
            if *wire == Wire::Double {
                out.extend_from_slice(&float.to_le_bytes());
            } else {
                // An Avro `float` has 32 bits: the nearest is what it can hold.
                #[allow(clippy::cast_possible_truncation)]
                out.extend_from_slice(&(float as f32).to_le_bytes());
            }
        }
        (Shape::Scalar(Wire::String, _), Val::Text(text)) => write_blob(text.as_bytes(), out),
        (Shape::Scalar(Wire::Bytes, _), Val::Bytes(bytes)) => write_blob(bytes, out),
        (Shape::Scalar(Wire::Fixed(size), _), Val::Bytes(bytes)) if bytes.len() == *size => {
            out.extend_from_slice(bytes)
        }
        (Shape::Enum(_) | Shape::Scalar(_, _), _) => return Err("has another type than its place in the schema"),
    }
    Ok(())
}

/// The fewest bytes that hold it, or as many as a fixed has.
fn write_decimal(unscaled: i128, wire: Wire, out: &mut Vec<u8>) -> Result<(), &'static str> {
    let wide = unscaled.to_be_bytes();
    let fill = if unscaled < 0 { 0xff } else { 0 };
    let sign = |byte: u8| byte & 0x80 == fill & 0x80;
    let mut from = 0;
    while from < 15 && wide[from] == fill && sign(wide[from + 1]) {
        from += 1;
    }
    let least = &wide[from..];
    match wire {
        Wire::Fixed(size) => {
            let pad = size.checked_sub(least.len()).ok_or("has more digits than its decimal")?;
            out.extend(std::iter::repeat_n(fill, pad));
            out.extend_from_slice(least);
        }
        _bytes => write_blob(least, out),
    }
    Ok(())
}

fn write_blob(bytes: &[u8], out: &mut Vec<u8>) {
    write_long(i64::try_from(bytes.len()).unwrap_or(i64::MAX), out);
    out.extend_from_slice(bytes);
}

fn write_long(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest > 0x7f {
        // The low seven bits, and one that says that more follow.
        out.push(u8::try_from(rest & 0x7f).unwrap_or(0) | 0x80);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).unwrap_or(0));
}

struct Lowering<'s> {
    named: Names<'s>,
}

impl<'s> Lowering<'s> {
    /// `absent` is written where a value is left out: the default of its field.
    fn lower(&self, tree: Tree, schema: &'s Schema, absent: Option<Box<[u8]>>) -> Result<Avro, String> {
        let schema = self.named.resolve(schema).unwrap_or(schema);
        if let Schema::Union(union) = schema {
            return self.lower_union(tree, union.variants(), absent);
        }
        Ok(match (tree, schema) {
            (Tree::Maybe { value, null, path, tree }, schema) => {
                let null = absent.filter(|_| null == NullRule::Omit);
                Avro::Maybe { value, path, null, tree: Box::new(self.lower(*tree, schema, None)?) }
            }
            (Tree::Record(mut fields), Schema::Record(record)) => {
                let mut lowered = Vec::new();
                for field in &record.fields {
                    let default = match &field.default {
                        Some(default) => Some(self.encode(default, &field.schema)?.into_boxed_slice()),
                        None => None,
                    };
                    let set = fields.iter().position(|f| f.name == field.name).map(|at| fields.swap_remove(at));
                    lowered.push(match (set, default) {
                        (Some(set), default) => self.lower(set.tree, &field.schema, default)?,
                        (None, Some(default)) => Avro::Constant(default),
                        (None, None) => return Err(format!("field `{}` is never set", field.name)),
                    });
                }
                Avro::Record(lowered)
            }
            (Tree::Record(fields), Schema::Map(map)) => {
                let mut entries = Vec::new();
                for field in fields {
                    let mut key = Vec::new();
                    write_blob(field.name.as_bytes(), &mut key);
                    entries.push((key.into_boxed_slice(), self.lower(field.tree, &map.types, None)?));
                }
                Avro::Map(entries)
            }
            (Tree::List { items, min, max, path }, Schema::Array(array)) => {
                let lower = |i: Item<Tree>| {
                    Ok(Item { each: i.each, when: i.when, tree: self.lower(i.tree, &array.items, None)? })
                };
                let items: Result<Vec<_>, String> = items.into_iter().map(lower).collect();
                Avro::List { items: items?, min, max, path }
            }
            (Tree::Leaf(leaf), Schema::Enum(symbols)) => {
                let null = absent.filter(|_| leaf.null == NullRule::Omit);
                Avro::Leaf { leaf, shape: Shape::Enum(symbols.symbols.clone()), null }
            }
            (Tree::Leaf(leaf), single) => match scalar(single) {
                Some((wire, meaning)) => {
                    let null = absent.filter(|_| leaf.null == NullRule::Omit);
                    Avro::Leaf { leaf, shape: Shape::Scalar(wire, meaning), null }
                }
                None => return Err(format!("`{}` has another form than its schema", leaf.path)),
            },
            (Tree::Record(_) | Tree::List { .. }, _) => {
                return Err("a part has another form than its schema".to_owned());
            }
        })
    }

    /// Null in its branch, all else in the other.
    fn lower_union(&self, tree: Tree, branches: &'s [Schema], absent: Option<Box<[u8]>>) -> Result<Avro, String> {
        let number = |null: bool| {
            let at = branches.iter().position(|b| matches!(b, Schema::Null) == null)?;
            let mut prefix = Vec::new();
            write_long(i64::try_from(at).ok()?, &mut prefix);
            Some((prefix.into_boxed_slice(), &branches[at]))
        };
        let null = number(true).map(|(prefix, _)| prefix).or(absent);
        let Some((prefix, other)) = number(false) else {
            return self.lower(tree, &Schema::Null, null);
        };
        Ok(match tree {
            Tree::Maybe { value, path, tree, .. } => {
                let tree = Box::new(Avro::Branch { prefix, tree: Box::new(self.lower(*tree, other, None)?) });
                Avro::Maybe { value, path, null, tree }
            }
            tree => {
                let mut lowered = self.lower(tree, other, None)?;
                if let Avro::Leaf { null: for_null, .. } = &mut lowered {
                    *for_null = null;
                }
                Avro::Branch { prefix, tree: Box::new(lowered) }
            }
        })
    }

    /// The bytes of a default.
    fn encode(&self, value: &Value, schema: &'s Schema) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        self.encode_into(value, schema, &mut out)
            .ok_or_else(|| format!("the default {value} has another type than its field"))?;
        Ok(out)
    }

    fn encode_into(&self, value: &Value, schema: &'s Schema, out: &mut Vec<u8>) -> Option<()> {
        let blob = || value.as_str()?.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect::<Option<Vec<u8>>>();
        match self.named.resolve(schema).unwrap_or(schema) {
            Schema::Union(union) => {
                let start = out.len();
                for (at, branch) in union.variants().iter().enumerate() {
                    write_long(i64::try_from(at).ok()?, out);
                    if self.encode_into(value, branch, out).is_some() {
                        return Some(());
                    }
                    out.truncate(start);
                }
                None
            }
            Schema::Record(record) => record.fields.iter().try_for_each(|field| {
                let value = value.as_object()?.get(&field.name).or(field.default.as_ref())?;
                self.encode_into(value, &field.schema, out)
            }),
            Schema::Array(array) => {
                let items = value.as_array()?;
                if !items.is_empty() {
                    write_long(i64::try_from(items.len()).ok()?, out);
                    items.iter().try_for_each(|item| self.encode_into(item, &array.items, out))?;
                }
                out.push(0);
                Some(())
            }
            Schema::Map(map) => {
                let entries = value.as_object()?;
                if !entries.is_empty() {
                    write_long(i64::try_from(entries.len()).ok()?, out);
                    entries.iter().try_for_each(|(key, value)| {
                        write_blob(key.as_bytes(), out);
                        self.encode_into(value, &map.types, out)
                    })?;
                }
                out.push(0);
                Some(())
            }
            Schema::Enum(symbols) => {
                let at = symbols.symbols.iter().position(|s| Some(s.as_str()) == value.as_str())?;
                write_long(i64::try_from(at).ok()?, out);
                Some(())
            }
            single => {
                let (wire, _) = scalar(single)?;
                match wire {
                    Wire::Null => value.is_null().then_some(())?,
                    Wire::Boolean => out.push(u8::from(value.as_bool()?)),
                    Wire::Int | Wire::Long => write_long(value.as_i64()?, out),
                    #[allow(clippy::cast_possible_truncation)]
                    Wire::Float => out.extend_from_slice(&(value.as_f64()? as f32).to_le_bytes()),
                    Wire::Double => out.extend_from_slice(&value.as_f64()?.to_le_bytes()),
                    Wire::String => write_blob(value.as_str()?.as_bytes(), out),
                    Wire::Bytes => write_blob(&blob()?, out),
                    Wire::Fixed(size) => {
                        let bytes = blob()?;
                        (bytes.len() == size).then_some(())?;
                        out.extend_from_slice(&bytes);
                    }
                }
                Some(())
            }
        }
    }
}
