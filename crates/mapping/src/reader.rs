//! Reads slots straight out of an Avro datum: a plan made once for each pair of writer's schema and layout.
//!
//! Schema resolution (Avro 1.12, "Schema Resolution") happens when the plan is made: fields found by name or alias,
//! defaults folded in, numbers promoted, symbols renumbered, what is not read passed over without an allocation. Names
//! of records and enums are not compared: what counts is that the parts fit.

use std::borrow::Cow;
use std::collections::BTreeMap;

use apache_avro::Schema;
use apache_avro::schema::{EnumSchema, RecordField, RecordSchema};
use serde_json::Value;
use tieline_schema::avro::{Names, name_of};

use crate::RunError;
use crate::avro_scalar::{Meaning, Wire, scalar};
use crate::bounds::Bounds;
use crate::decimal::Decimal;
use crate::frame::Frame;
use crate::layout::{Layout, ROOT, WantId};
use crate::value::{List, Val};

/// Items and fields that take no bytes cost as much as this many items that do: five bytes can claim 2³¹ of them.
const EMPTY_ITEM_COST: usize = 64;

/// Most parts of a plan: a schema whose names are used over and over can stand for 10¹² fields.
const PLAN_PARTS_MAX: usize = 100_000;

/// How the data of one writer's schema are read for a layout.
#[derive(Debug)]
pub struct Reader {
    plan: Plan,
    /// Plans that pass over named types which hold themselves.
    named: Vec<Plan>,
    strides: Vec<u32>,
}

/// Why the data of one schema cannot be read as another (Avro 1.12, "Schema Resolution").
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` {problem}")]
pub struct ResolveError {
    /// The field.
    pub path: String,
    /// What is wrong.
    pub problem: String,
}

/// A slot, counted from where its item begins.
#[derive(Debug, Clone, Copy)]
struct To {
    level: u32,
    slot: u32,
}

/// How one part of a datum is read.
#[derive(Debug)]
enum Plan {
    /// A single value, kept or passed over.
    Scalar(Wire, Option<(To, Convert)>),
    /// A symbol: its place among the reader's.
    Enum { symbols: Vec<Option<u32>>, to: Option<To> },
    /// The items of a list; with a level if they are kept.
    Array { item: Box<Plan>, keep: Option<(u32, Option<To>)> },
    /// The values of a map: those of some keys, and any other.
    Map { keys: Vec<(Box<str>, Plan)>, other: Box<Plan>, present: Option<To> },
    /// Fields one after another; then what the writer did not know.
    Record { fields: Vec<Plan>, present: Option<To>, defaults: Vec<(To, Val<'static>)> },
    /// One of these.
    Union(Vec<Plan>),
    /// A branch that the reader has no place for: an error if it comes.
    Refused(String),
    /// A named type that is passed over.
    Names(usize),
}

/// What a value becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Convert {
    Boolean,
    Integer,
    Float,
    Text,
    Bytes,
    Decimal {
        precision: u32,
        scale: u32,
    },
    Date,
    /// A time of day, in parts of this many.
    TimeOfDay {
        parts: i64,
    },
    /// Times this many microseconds.
    Timestamp {
        micros: i64,
    },
    Uuid,
    /// A text that has to be one: what is written with the logical type is not always.
    UuidText,
}

impl Layout {
    /// Plans how data of `writer` are read for this layout, which was compiled for `reader`.
    ///
    /// # Errors
    /// When the one cannot be resolved to the other.
    pub fn reader(&self, writer: &Schema, reader: &Schema) -> Result<Reader, ResolveError> {
        let mut planner = Planner {
            layout: self,
            writer: Names::of(writer),
            reader: Names::of(reader),
            named: Vec::new(),
            named_at: BTreeMap::new(),
            path: String::new(),
            parts: 0,
        };
        let plan = planner.want(writer, reader, ROOT)?;
        let named =
            planner.named.into_iter().map(|p| p.unwrap_or(Plan::Refused("is not planned".to_owned()))).collect();
        Ok(Reader { plan, named, strides: self.strides().to_vec() })
    }
}

struct Planner<'s> {
    layout: &'s Layout,
    writer: Names<'s>,
    reader: Names<'s>,
    named: Vec<Option<Plan>>,
    named_at: BTreeMap<String, usize>,
    path: String,
    parts: usize,
}

impl<'s> Planner<'s> {
    fn want(&mut self, writer: &'s Schema, reader: &'s Schema, id: WantId) -> Result<Plan, ResolveError> {
        self.count()?;
        let writer = self.writer.resolve(writer).unwrap_or(writer);
        let reader = self.reader.resolve(reader).unwrap_or(reader);
        if !self.layout.is_read(id) && id != ROOT {
            return self.skip(writer);
        }
        match (writer, reader) {
            (Schema::Union(branches), _) => {
                let mut plans = Vec::new();
                let mut problem = None;
                for branch in branches.variants() {
                    plans.push(self.want(branch, reader, id).unwrap_or_else(|error| {
                        let refused = Plan::Refused(error.problem.clone());
                        problem = Some(error);
                        refused
                    }));
                }
                let all = plans.iter().all(|p| matches!(p, Plan::Refused(_)));
                if let Some(problem) = problem.filter(|_| all) { Err(problem) } else { Ok(Plan::Union(plans)) }
            }
            (_, Schema::Union(branches)) => self.union_branch(writer, branches.variants(), id),
            (Schema::Record(from), Schema::Record(to)) => self.record(from, to, id),
            (Schema::Enum(from), Schema::Enum(to)) => self.symbols(from, to, id),
            (Schema::Array(from), Schema::Array(to)) => {
                let want = self.layout.want(id);
                let to_slot = self.to(id);
                let Some(item_id) = want.item else {
                    return self.skip(writer);
                };
                let level = self.layout.want(item_id).level;
                let item = self.below("[]", |p| p.want(&from.items, &to.items, item_id))?;
                Ok(Plan::Array { item: Box::new(item), keep: Some((level, to_slot)) })
            }
            (Schema::Map(from), Schema::Map(to)) => {
                let mut keys = Vec::new();
                for (name, field) in &self.layout.want(id).fields {
                    let plan = self.below(&format!(".{name}"), |p| p.want(&from.types, &to.types, *field))?;
                    keys.push((name.as_str().into(), plan));
                }
                Ok(Plan::Map { keys, other: Box::new(self.skip(&from.types)?), present: self.to(id) })
            }
            (_, _) => self.single(writer, reader, id),
        }
    }

    /// The first branch of the reader's union that takes it: one of the same form before one that it is promoted to.
    fn union_branch(&mut self, writer: &'s Schema, branches: &'s [Schema], id: WantId) -> Result<Plan, ResolveError> {
        let form = std::mem::discriminant(writer);
        let resolved: Vec<&Schema> = branches.iter().map(|b| self.reader.resolve(b).unwrap_or(b)).collect();
        let (same, others): (Vec<&Schema>, Vec<&Schema>) =
            resolved.into_iter().partition(|b| std::mem::discriminant(*b) == form);
        let mut problem = self.refuse("has no branch in the reader's union");
        for branch in same.into_iter().chain(others) {
            match self.want(writer, branch, id) {
                Ok(plan) => return Ok(plan),
                Err(error) if *branch != Schema::Null => problem = error,
                Err(_) => {}
            }
        }
        Err(problem)
    }

    fn record(&mut self, from: &'s RecordSchema, to: &'s RecordSchema, id: WantId) -> Result<Plan, ResolveError> {
        let is_it = |field: &RecordField, name: &str| field.name == name || field.aliases.iter().any(|a| a == name);
        let wants = &self.layout.want(id).fields;
        let mut fields = Vec::new();
        let mut found = Vec::new();
        for field in &from.fields {
            // An exact name goes before an alias.
            let target = to.fields.iter().find(|t| t.name == field.name);
            let target = target.or_else(|| to.fields.iter().find(|t| is_it(t, &field.name)));
            let want = target.and_then(|t| wants.iter().find(|(n, _)| *n == t.name).map(|(_, w)| (t, *w)));
            fields.push(match want {
                Some((target, want)) => {
                    found.push(target.name.as_str());
                    self.below(&format!(".{}", target.name), |p| p.want(&field.schema, &target.schema, want))?
                }
                None => self.skip(&field.schema)?,
            });
        }
        let mut defaults = Vec::new();
        for (name, want) in wants.iter().filter(|(n, w)| !found.contains(&n.as_str()) && self.layout.is_read(*w)) {
            let Some(field) = to.fields.iter().find(|t| t.name == *name) else { continue };
            self.below(&format!(".{name}"), |p| match &field.default {
                Some(default) => p.default(default, &field.schema, *want, &mut defaults),
                None => Err(p.refuse("is not in the writer's schema, and has no default")),
            })?;
        }
        Ok(Plan::Record { fields, present: self.to(id), defaults })
    }

    fn symbols(&mut self, from: &EnumSchema, to: &EnumSchema, id: WantId) -> Result<Plan, ResolveError> {
        let place = |symbol: &String| to.symbols.iter().position(|s| s == symbol).and_then(|at| u32::try_from(at).ok());
        let default = to.default.as_ref().and_then(place);
        let symbols: Vec<Option<u32>> = from.symbols.iter().map(|s| place(s).or(default)).collect();
        if symbols.iter().all(Option::is_none) {
            return Err(self.refuse("has no symbol in common with the reader's enum"));
        }
        Ok(Plan::Enum { symbols, to: self.to(id) })
    }

    fn single(&mut self, writer: &'s Schema, reader: &'s Schema, id: WantId) -> Result<Plan, ResolveError> {
        let (Some((wire, written)), Some((read, meaning))) = (scalar(writer), scalar(reader)) else {
            return Err(self.misfit(writer, reader));
        };
        let promoted = match (wire, read) {
            (from, to) if from == to => true,
            (Wire::Int, Wire::Long | Wire::Float | Wire::Double) | (Wire::Long, Wire::Float | Wire::Double) => true,
            (Wire::Float, Wire::Double) | (Wire::String, Wire::Bytes) | (Wire::Bytes, Wire::String) => true,
            (_, _) => false,
        };
        if !promoted {
            return Err(self.misfit(writer, reader));
        }
        if let (Meaning::Decimal { scale: a, .. }, Meaning::Decimal { scale: b, .. }) = (written, meaning)
            && a != b
        {
            return Err(self.refuse(format!("has {a} digits after the point, and the reader wants {b}")));
        }
        let convert = match (meaning, read) {
            (Meaning::Decimal { precision, scale }, _) => Convert::Decimal { precision, scale },
            (Meaning::Date, _) => Convert::Date,
            (Meaning::TimeOfDay { parts }, _) => Convert::TimeOfDay { parts },
            (Meaning::TimestampMillis | Meaning::TimestampMicros, _) => {
                let written = if written == Meaning::Plain { meaning } else { written };
                Convert::Timestamp { micros: if written == Meaning::TimestampMillis { 1_000 } else { 1 } }
            }
            (Meaning::UuidBytes, _) => Convert::Uuid,
            (Meaning::UuidText, _) => Convert::UuidText,
            (Meaning::Plain, Wire::Null) => return Ok(Plan::Scalar(Wire::Null, None)),
            (Meaning::Plain, Wire::Boolean) => Convert::Boolean,
            (Meaning::Plain, Wire::Int | Wire::Long) => Convert::Integer,
            (Meaning::Plain, Wire::Float | Wire::Double) => Convert::Float,
            (Meaning::Plain, Wire::Bytes | Wire::Fixed(_)) => Convert::Bytes,
            (Meaning::Plain, Wire::String) => Convert::Text,
        };
        Ok(Plan::Scalar(wire, self.to(id).map(|to| (to, convert))))
    }

    /// Passes over a part. Names types are planned once, so that those which hold themselves end.
    fn skip(&mut self, writer: &'s Schema) -> Result<Plan, ResolveError> {
        self.count()?;
        let writer = self.writer.resolve(writer).unwrap_or(writer);
        if let Some(name) = name_of(writer).filter(|_| matches!(writer, Schema::Record(_))) {
            let name = name.to_string();
            if let Some(at) = self.named_at.get(&name) {
                return Ok(Plan::Names(*at));
            }
            let at = self.named.len();
            self.named.push(None);
            self.named_at.insert(name, at);
            let plan = self.skip_unnamed(writer)?;
            self.named[at] = Some(plan);
            return Ok(Plan::Names(at));
        }
        self.skip_unnamed(writer)
    }

    fn skip_unnamed(&mut self, writer: &'s Schema) -> Result<Plan, ResolveError> {
        Ok(match writer {
            Schema::Array(array) => Plan::Array { item: Box::new(self.skip(&array.items)?), keep: None },
            Schema::Map(map) => Plan::Map { keys: Vec::new(), other: Box::new(self.skip(&map.types)?), present: None },
            Schema::Union(union) => {
                let plans: Result<Vec<Plan>, ResolveError> = union.variants().iter().map(|b| self.skip(b)).collect();
                Plan::Union(plans?)
            }
            Schema::Record(record) => {
                let fields: Result<Vec<Plan>, ResolveError> =
                    record.fields.iter().map(|f| self.skip(&f.schema)).collect();
                Plan::Record { fields: fields?, present: None, defaults: Vec::new() }
            }
            Schema::Enum(symbols) => Plan::Enum { symbols: vec![Some(0); symbols.symbols.len()], to: None },
            single => match scalar(single) {
                Some((wire, _)) => Plan::Scalar(wire, None),
                None => return Err(self.refuse("refers to a name that its schema does not define")),
            },
        })
    }

    /// Puts a default (Avro 1.12, "Complex Types", records) where the writer has no field.
    fn default(
        &mut self,
        value: &'s Value,
        schema: &'s Schema,
        id: WantId,
        defaults: &mut Vec<(To, Val<'static>)>,
    ) -> Result<(), ResolveError> {
        let schema = self.reader.resolve(schema).unwrap_or(schema);
        if value.is_null() || !self.layout.is_read(id) {
            return Ok(());
        }
        if let Schema::Union(branches) = schema {
            // By the specification a default is of the first branch; a later one that takes it is as good.
            let mut problem = self.refuse("has a default of no branch");
            for branch in branches.variants().iter().filter(|b| **b != Schema::Null) {
                match self.default(value, branch, id, defaults) {
                    Ok(()) => return Ok(()),
                    Err(error) => problem = error,
                }
            }
            return Err(problem);
        }
        let to = self.to(id);
        let mut put = |value: Val<'static>| defaults.extend(to.map(|to| (to, value)));
        match (schema, value) {
            (Schema::Record(record), Value::Object(object)) => {
                put(Val::Present);
                for (name, want) in &self.layout.want(id).fields {
                    let Some(field) = record.fields.iter().find(|f| f.name == *name) else { continue };
                    let value = object.get(name).or(field.default.as_ref());
                    self.below(&format!(".{name}"), |p| match value {
                        Some(value) => p.default(value, &field.schema, *want, defaults),
                        None => Err(p.refuse("is missing in a default")),
                    })?;
                }
            }
            (Schema::Array(_), Value::Array(items)) if items.is_empty() => {
                let level = self.layout.want(id).item.map_or(0, |item| self.layout.want(item).level);
                put(Val::List(List { frame: 0, level, start: 0, len: 0 }));
            }
            (Schema::Array(_), Value::Array(_)) => {
                return Err(self.refuse("has a default with items, which is not read"));
            }
            (Schema::Map(map), Value::Object(object)) => {
                put(Val::Present);
                for (name, want) in &self.layout.want(id).fields {
                    if let Some(value) = object.get(name) {
                        self.default(value, &map.types, *want, defaults)?;
                    }
                }
            }
            (Schema::Enum(symbols), Value::String(text)) => {
                let at = symbols.symbols.iter().position(|s| s == text).and_then(|at| u32::try_from(at).ok());
                put(Val::Symbol(at.ok_or_else(|| self.refuse("has a default that is no symbol"))?));
            }
            (single, value) => {
                let read = scalar(single).and_then(|(wire, meaning)| default_scalar(wire, meaning, value));
                put(read.ok_or_else(|| self.refuse("has a default of another type"))?);
            }
        }
        Ok(())
    }

    fn to(&self, id: WantId) -> Option<To> {
        let want = self.layout.want(id);
        want.slot.map(|slot| To { level: want.level, slot })
    }

    fn below<T>(
        &mut self,
        step: &str,
        plan: impl FnOnce(&mut Self) -> Result<T, ResolveError>,
    ) -> Result<T, ResolveError> {
        let before = self.path.len();
        self.path.push_str(step);
        let planned = plan(self);
        self.path.truncate(before);
        planned
    }

    fn count(&mut self) -> Result<(), ResolveError> {
        self.parts += 1;
        if self.parts > PLAN_PARTS_MAX {
            return Err(self.refuse(format!("is in a schema of more than {PLAN_PARTS_MAX} parts")));
        }
        Ok(())
    }

    fn misfit(&self, writer: &Schema, reader: &Schema) -> ResolveError {
        let word = |s: &Schema| format!("{:?}", apache_avro::schema::SchemaKind::from(s)).to_lowercase();
        self.refuse(format!("is {} in the writer's schema, which cannot be read as {}", word(writer), word(reader)))
    }

    fn refuse(&self, problem: impl Into<String>) -> ResolveError {
        let path = self.path.trim_start_matches('.').to_owned();
        ResolveError { path, problem: problem.into() }
    }
}

/// A default of a single value, as JSON has it; bytes are text of the first 256 code points.
fn default_scalar(wire: Wire, meaning: Meaning, value: &Value) -> Option<Val<'static>> {
    let bytes = || value.as_str()?.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect::<Option<Vec<u8>>>();
    Some(match (wire, meaning) {
        (_, Meaning::Decimal { precision, scale }) => Val::Decimal(decimal(&bytes()?, precision, scale)?),
        (_, Meaning::Date) => Val::Date(i32::try_from(value.as_i64()?).ok()?),
        (_, Meaning::TimeOfDay { parts }) => Val::Integer(value.as_i64().filter(|at| (0..parts).contains(at))?),
        (_, Meaning::TimestampMillis) => Val::Timestamp(value.as_i64()?.checked_mul(1_000)?),
        (_, Meaning::TimestampMicros) => Val::Timestamp(value.as_i64()?),
        (_, Meaning::UuidBytes) => Val::Text(uuid::Uuid::from_slice(&bytes()?).ok()?.to_string().into()),
        (_, Meaning::UuidText) => Val::Text(uuid_text(value.as_str()?)?.into_owned().into()),
        (Wire::Null, Meaning::Plain) => Val::Null,
        (Wire::Boolean, Meaning::Plain) => Val::Boolean(value.as_bool()?),
        (Wire::Int | Wire::Long, Meaning::Plain) => Val::Integer(value.as_i64()?),
        (Wire::Float | Wire::Double, Meaning::Plain) => Val::Float(value.as_f64()?),
        (Wire::String, Meaning::Plain) => Val::Text(value.as_str()?.to_owned().into()),
        (Wire::Bytes | Wire::Fixed(_), Meaning::Plain) => Val::Bytes(bytes()?.into()),
    })
}

impl Reader {
    /// Reads what the layout needs of one datum, and checks that the rest is well-formed.
    ///
    /// # Errors
    /// When the datum is not one of its schema, or beyond the bounds.
    pub fn read<'a>(&self, datum: &'a [u8], bounds: &Bounds) -> Result<Frame<'a>, RunError> {
        let frame = Frame::with_strides(&self.strides);
        let mut reading =
            Reading { reader: self, datum, at: 0, frame, items_left: bounds.items_max, depth_max: bounds.depth_max };
        reading
            .part(&self.plan, 0, 0)
            .and_then(|()| if reading.at == datum.len() { Ok(()) } else { Err("has bytes after its end".into()) })
            .map_err(|problem| RunError::Datum { offset: reading.at, problem: problem.into_owned() })?;
        Ok(reading.frame)
    }
}

/// A datum that is being read.
struct Reading<'r, 'a> {
    reader: &'r Reader,
    datum: &'a [u8],
    at: usize,
    frame: Frame<'a>,
    items_left: usize,
    depth_max: usize,
}

type Problem = Cow<'static, str>;

const ENDS: Problem = Cow::Borrowed("ends before its value does");
const TOO_MANY: Problem = Cow::Borrowed("has more items than are allowed");

impl<'a> Reading<'_, 'a> {
    fn part(&mut self, plan: &Plan, base: u32, depth: usize) -> Result<(), Problem> {
        if depth > self.depth_max {
            return Err("is nested too deeply".into());
        }
        match plan {
            Plan::Scalar(wire, keep) => self.scalar(*wire, *keep, base),
            Plan::Enum { symbols, to } => {
                let number = self.long()?;
                let place = usize::try_from(number).ok().and_then(|n| symbols.get(n));
                match (place, to) {
                    (None, _) => return Err("is no symbol of its enum".into()),
                    (Some(None), Some(_)) => return Err("is a symbol that the reader does not know".into()),
                    (Some(Some(symbol)), Some(to)) => self.put(*to, base, Val::Symbol(*symbol)),
                    (Some(_), None) => {}
                }
                Ok(())
            }
            Plan::Array { item, keep } => self.array(item, *keep, base, depth),
            Plan::Map { keys, other, present } => {
                if let Some(to) = present {
                    self.put(*to, base, Val::Present);
                }
                self.map(keys, other, base, depth)
            }
            Plan::Record { fields, present, defaults } => {
                if let Some(to) = present {
                    self.put(*to, base, Val::Present);
                }
                for (to, value) in defaults {
                    self.put(*to, base, value.clone());
                }
                for field in fields {
                    let before = self.at;
                    self.part(field, base, depth + 1)?;
                    if self.at == before {
                        // What takes no bytes is not bounded by the datum.
                        self.items_left = self.items_left.checked_sub(EMPTY_ITEM_COST).ok_or(TOO_MANY)?;
                    }
                }
                Ok(())
            }
            Plan::Union(branches) => {
                let number = self.long()?;
                let branch = usize::try_from(number).ok().and_then(|n| branches.get(n));
                self.part(branch.ok_or("is no branch of its union")?, base, depth + 1)
            }
            Plan::Refused(problem) => Err(Cow::Owned(problem.clone())),
            Plan::Names(at) => {
                let reader = self.reader;
                self.part(&reader.named[*at], base, depth + 1)
            }
        }
    }

    fn array(&mut self, item: &Plan, keep: Option<(u32, Option<To>)>, base: u32, depth: usize) -> Result<(), Problem> {
        let start = keep.map(|(level, _)| self.frame.start_list(level));
        loop {
            let count = self.block()?;
            if count == 0 {
                break;
            }
            for _ in 0..count {
                let item_base = keep.map_or(base, |(level, _)| self.frame.add_item(level));
                let before = self.at;
                self.part(item, item_base, depth + 1)?;
                if self.at == before {
                    self.items_left = self.items_left.checked_sub(EMPTY_ITEM_COST).ok_or(TOO_MANY)?;
                }
            }
        }
        if let (Some((level, Some(to))), Some(start)) = (keep, start) {
            let list = self.frame.end_list(level, start);
            self.put(to, base, Val::List(list));
        }
        Ok(())
    }

    fn map(&mut self, keys: &[(Box<str>, Plan)], other: &Plan, base: u32, depth: usize) -> Result<(), Problem> {
        loop {
            let count = self.block()?;
            if count == 0 {
                return Ok(());
            }
            for _ in 0..count {
                let key = self.blob()?;
                let plan = keys.iter().find(|(k, _)| k.as_bytes() == key).map_or(other, |(_, plan)| plan);
                self.part(plan, base, depth + 1)?;
            }
        }
    }

    /// How many items follow. A negative count is followed by the bytes that they take, which we need not know.
    fn block(&mut self) -> Result<usize, Problem> {
        let mut count = self.long()?;
        if count < 0 {
            count = count.checked_neg().ok_or("has an impossible count")?;
            self.long()?;
        }
        let count = usize::try_from(count).map_err(|_| TOO_MANY)?;
        self.items_left = self.items_left.checked_sub(count).ok_or(TOO_MANY)?;
        Ok(count)
    }

    fn scalar(&mut self, wire: Wire, keep: Option<(To, Convert)>, base: u32) -> Result<(), Problem> {
        let value = match wire {
            Wire::Null => return Ok(()),
            Wire::Boolean => match self.take(1)? {
                [0] => Val::Boolean(false),
                [1] => Val::Boolean(true),
                _other => return Err("is neither true nor false".into()),
            },
            Wire::Int => {
                let number = self.long()?;
                i32::try_from(number).map_err(|_| "is beyond 32 bits")?;
                Val::Integer(number)
            }
            Wire::Long => Val::Integer(self.long()?),
            Wire::Float => Val::Float(f64::from(f32::from_le_bytes(self.array_of()?))),
            Wire::Double => Val::Float(f64::from_le_bytes(self.array_of()?)),
            Wire::Bytes | Wire::String => Val::Bytes(Cow::Borrowed(self.blob()?)),
            Wire::Fixed(size) => Val::Bytes(Cow::Borrowed(self.take(size)?)),
        };
        if let Some((to, how)) = keep {
            let value = convert(value, how)?;
            self.put(to, base, value);
        }
        Ok(())
    }

    fn put(&mut self, to: To, base: u32, value: Val<'a>) {
        self.frame.put(to.level, base + to.slot, value);
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Problem> {
        let taken = self.datum.get(self.at..).and_then(|rest| rest.get(..len)).ok_or(ENDS)?;
        self.at += len;
        Ok(taken)
    }

    fn array_of<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        self.take(N)?.try_into().map_err(|_| ENDS)
    }

    fn blob(&mut self) -> Result<&'a [u8], Problem> {
        let len = self.long()?;
        self.take(usize::try_from(len).map_err(|_| "has a negative length")?)
    }

    /// A zig-zag number of at most ten bytes.
    fn long(&mut self) -> Result<i64, Problem> {
        let mut raw: u64 = 0;
        for shift in (0..70).step_by(7) {
            let byte = *self.datum.get(self.at).ok_or(ENDS)?;
            self.at += 1;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            raw |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok((raw >> 1).cast_signed() ^ -((raw & 1).cast_signed()));
            }
        }
        Err("is a number beyond 64 bits".into())
    }
}

fn convert(value: Val<'_>, how: Convert) -> Result<Val<'_>, Problem> {
    Ok(match (value, how) {
        (Val::Integer(n), Convert::Date) => Val::Date(i32::try_from(n).map_err(|_| "is beyond 32 bits")?),
        (Val::Integer(n), Convert::Timestamp { micros }) => {
            Val::Timestamp(n.checked_mul(micros).ok_or("is an instant beyond 64 bits of microseconds")?)
        }
        // Promoting a whole number to a float loses digits, as the specification has it.
        #[allow(clippy::cast_precision_loss)]
        (Val::Integer(n), Convert::Float) => Val::Float(n as f64),
        (Val::Integer(n), Convert::TimeOfDay { parts }) => {
            Val::Integer(Some(n).filter(|at| (0..parts).contains(at)).ok_or("is no time of day")?)
        }
        (Val::Bytes(bytes), Convert::Decimal { precision, scale }) => {
            Val::Decimal(decimal(&bytes, precision, scale).ok_or("is no decimal of its precision")?)
        }
        (Val::Bytes(Cow::Borrowed(bytes)), Convert::Text) => {
            Val::text(std::str::from_utf8(bytes).map_err(|_| "is not UTF-8")?)
        }
        (Val::Bytes(bytes), Convert::Uuid) => {
            let uuid = uuid::Uuid::from_slice(&bytes).map_err(|_| "is not a UUID of 16 bytes")?;
            Val::Text(uuid.to_string().into())
        }
        (Val::Bytes(Cow::Borrowed(bytes)), Convert::UuidText) => {
            let text = std::str::from_utf8(bytes).map_err(|_| "is not UTF-8")?;
            Val::Text(uuid_text(text).ok_or("is not a UUID")?)
        }
        (value, _) => value,
    })
}

/// A decimal of no more digits than its type says: what was proven of it rests on that. No bytes are no number.
fn decimal(bytes: &[u8], precision: u32, scale: u32) -> Option<Decimal> {
    let bytes = Some(bytes).filter(|bytes| !bytes.is_empty())?;
    Decimal::from_be_bytes(bytes, scale).filter(|decimal| decimal.precision() <= precision)
}

/// A UUID in the form that contracts mean, with hyphens: as it is where it is in it. `None` for what is none.
fn uuid_text(text: &str) -> Option<Cow<'_, str>> {
    let uuid = uuid::Uuid::try_parse(text).ok()?;
    let hyphenated = text.len() == uuid::fmt::Hyphenated::LENGTH;
    Some(if hyphenated { Cow::Borrowed(text) } else { Cow::Owned(uuid.to_string()) })
}
