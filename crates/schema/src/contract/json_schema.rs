//! JSON Schema → [`Type`]: all of it that types can say.
//!
//! First everything that holds for one value at once is gathered (`$ref`, `allOf`, the form that is left when null is
//! taken out of `anyOf`), then the type is read off. What types cannot say (`not`, `if`, alternatives of unlike
//! forms, …) is left to the validator and the examples; where it says what a value *is*, the type is [`Kind::Any`].

use std::collections::BTreeSet;
use std::slice::from_ref;
use std::sync::Arc;

use serde_json::Value;

use super::document::{Place, target};
use super::join::join;
use super::limit::{Limit, digits_of_step};
use crate::types::{Bounds, Field, Kind, Record, Text, Type};

/// How deep types may lie in each other; what lies deeper is [`Kind::Any`]. As for events.
const DEPTH_MAX: usize = 64;

/// How many types a schema may become when its references are written out; the rest is [`Kind::Any`].
const TYPES_MAX: usize = 20_000;

/// Most significant digits of a decimal.
const DECIMAL_PRECISION_MAX: u32 = 38;

/// The type that a schema stands for, which refers to nothing outside itself.
pub(super) fn type_of(schema: &Value) -> Type {
    let mut reader = TypeReader { root: schema, open: Vec::new(), depth: 0, types_left: TYPES_MAX };
    reader.read(&[Place::root(schema)])
}

/// Nothing is known of it, not even that it is not null.
fn anything() -> Type {
    Type::of(Kind::Any).or_null()
}

struct TypeReader<'s> {
    root: &'s Value,
    /// The references that we are inside of, by their targets' pointers: one that comes again is recursive.
    open: Vec<String>,
    depth: usize,
    types_left: usize,
}

/// All that holds for one value at once.
#[derive(Default)]
struct Gathered<'s> {
    /// What it may be; `None` while nothing says so.
    types: Option<BTreeSet<String>>,
    values: Option<Vec<&'s Value>>,
    format: Option<&'s str>,
    min_length: u32,
    max_length: Option<u32>,
    patterns: Vec<&'s str>,
    min: Option<Limit>,
    max: Option<Limit>,
    digits: Option<u32>,
    properties: Vec<(&'s str, Vec<Place<'s>>)>,
    required: BTreeSet<&'s str>,
    closed: bool,
    additional: Vec<Place<'s>>,
    items: Vec<Place<'s>>,
    is_tuple: bool,
    min_items: u32,
    max_items: Option<u32>,
    /// The alternatives that are left when null is taken out, where there are several.
    alternatives: Vec<Vec<Place<'s>>>,
    name: Option<String>,
    doc: Option<&'s str>,
    /// A reference in it leads back to where we are.
    is_recursive: bool,
    /// How many references were open before this value: those after it were opened on the way, for this value.
    base: usize,
}

impl<'s> TypeReader<'s> {
    /// The type of a value for which all these schemas hold.
    fn read(&mut self, schemas: &[Place<'s>]) -> Type {
        self.read_documented(schemas).0
    }

    /// The same, and what the schemas say about it in words.
    fn read_documented(&mut self, schemas: &[Place<'s>]) -> (Type, Option<String>) {
        let Some(left) = self.types_left.checked_sub(1) else { return (anything(), None) };
        self.types_left = left;
        self.depth += 1;
        let base = self.open.len();
        let mut gathered = Gathered { base, ..Gathered::default() };
        for schema in schemas {
            self.gather(schema, &mut gathered);
        }
        let doc = gathered.doc.map(str::to_owned);
        let ty = if gathered.is_recursive || self.depth > DEPTH_MAX { anything() } else { self.build(&gathered) };
        self.open.truncate(base);
        self.depth -= 1;
        (ty, doc)
    }

    fn gather(&mut self, schema: &Place<'s>, into: &mut Gathered<'s>) {
        into.doc = into.doc.or_else(|| schema.text("description"));
        if let Some(reference) = schema.get("$ref") {
            self.gather_reference(&reference, into);
        }
        for part in schema.get("allOf").iter().flat_map(Place::items) {
            self.gather(&part, into);
        }
        for keyword in ["anyOf", "oneOf"] {
            if let Some(alternatives) = schema.get(keyword) {
                self.gather_alternatives(alternatives.items().collect(), into);
            }
        }
        gather_own(schema, into);
    }

    fn gather_reference(&mut self, reference: &Place<'s>, into: &mut Gathered<'s>) {
        let Ok(place) = target(self.root, reference) else { return };
        match self.open.iter().position(|open| *open == place.pointer) {
            // It was gathered for this very value.
            Some(before) if before >= into.base => return,
            None if self.open.len() < DEPTH_MAX => self.open.push(place.pointer.clone()),
            Some(_) | None => {
                into.is_recursive = true;
                return;
            }
        }
        if into.name.is_none() {
            into.name = place.pointer.rsplit('/').next().filter(|name| !name.is_empty()).map(str::to_owned);
        }
        self.gather(&place, into);
    }

    /// `anyOf` and `oneOf`: with null and one other it is that other, or null; with several others they stay apart.
    fn gather_alternatives(&mut self, alternatives: Vec<Place<'s>>, into: &mut Gathered<'s>) {
        let count = alternatives.len();
        let others: Vec<Place<'s>> = alternatives.into_iter().filter(|schema| !self.is_null(schema)).collect();
        let with_null = others.len() < count;
        match others.as_slice() {
            [one] => {
                let mut other = Gathered { base: into.base, ..Gathered::default() };
                self.gather(one, &mut other);
                if with_null {
                    other.accept_null();
                }
                into.merge(other);
            }
            several => {
                let is_open = into.types.as_ref().is_some_and(|types| types.contains("null"));
                if is_open
                    && !with_null
                    && !several.iter().any(|schema| self.read(from_ref(schema)).nullable)
                    && let Some(types) = &mut into.types
                {
                    types.remove("null");
                }
                let null = with_null.then(Vec::new);
                into.alternatives = several.iter().map(|schema| vec![schema.clone()]).chain(null).collect();
            }
        }
    }

    /// Whether a schema accepts null and nothing else.
    fn is_null(&self, schema: &Place<'s>) -> bool {
        let Ok(schema) = schema.follow(self.root) else { return false };
        let only = |keyword: &str| schema.value.get(keyword).and_then(Value::as_array).map(Vec::as_slice);
        schema.text("type") == Some("null")
            || schema.value.get("const") == Some(&Value::Null)
            || matches!(only("enum"), Some([Value::Null]))
            || matches!(only("type"), Some([Value::String(one)]) if one == "null")
    }

    fn build(&mut self, gathered: &Gathered<'s>) -> Type {
        let kind = match gathered.one_type() {
            Some(ty) => self.kind(ty, gathered),
            None if gathered.types.is_none() && !gathered.alternatives.is_empty() => return self.join_all(gathered),
            None => Kind::Any,
        };
        Type { nullable: gathered.accepts_null() || kind == Kind::Null, kind }
    }

    fn kind(&mut self, ty: &str, gathered: &Gathered<'s>) -> Kind {
        match ty {
            "string" => gathered.text(),
            "integer" => gathered.integer(),
            "number" if gathered.digits == Some(0) => gathered.integer(),
            "number" => gathered.number(),
            "boolean" => Kind::Boolean,
            "array" => {
                let item = if gathered.is_tuple || gathered.items.is_empty() {
                    anything()
                } else {
                    self.read(&gathered.items)
                };
                Kind::List { item: Box::new(item), min_items: gathered.min_items, max_items: gathered.max_items }
            }
            "object" => self.object(gathered),
            "null" => Kind::Null,
            _unknown => Kind::Any,
        }
    }

    fn object(&mut self, gathered: &Gathered<'s>) -> Kind {
        if gathered.properties.is_empty() && !gathered.additional.is_empty() && !gathered.closed {
            return Kind::Map(Box::new(self.read(&gathered.additional)));
        }
        let mut fields = Vec::with_capacity(gathered.properties.len());
        for (name, schemas) in &gathered.properties {
            let (ty, doc) = self.read_documented(schemas);
            fields.push(Field { name: (*name).to_owned(), ty, required: gathered.required.contains(name), doc });
        }
        // What is required and described nowhere is a field of which nothing is known.
        let listed = |name: &&&str| gathered.properties.iter().any(|(listed, _)| listed == *name);
        for name in gathered.required.iter().filter(|name| !listed(name)) {
            fields.push(Field { name: (*name).to_owned(), ty: anything(), required: true, doc: None });
        }
        Kind::Record(Arc::new(Record { name: gathered.name.clone(), fields, open: !gathered.closed }))
    }

    /// Alternatives that are all there is: what they have in common.
    fn join_all(&mut self, gathered: &Gathered<'s>) -> Type {
        let types: Vec<Type> = gathered
            .alternatives
            .iter()
            .map(|schemas| if schemas.is_empty() { Type::of(Kind::Null).or_null() } else { self.read(schemas) })
            .collect();
        let like = |a: &Kind, b: &Kind| matches!((a, b), (Kind::Text(_), Kind::Text(_))) || a == b;
        let mut kinds = types.iter().map(|ty| &ty.kind).filter(|kind| **kind != Kind::Null);
        let nullable = types.iter().any(|ty| ty.nullable);
        match kinds.next() {
            // Records of different fields are alternatives that a mapping would have to tell apart.
            Some(first) if kinds.all(|kind| like(first, kind)) => {
                let joined = types.iter().cloned().reduce(|a, b| join(&a, &b));
                joined.map_or_else(anything, |ty| Type { nullable, ..ty })
            }
            Some(_) | None => Type { kind: Kind::Any, nullable },
        }
    }
}

/// The keywords of one schema, without those that lead to others.
fn gather_own<'s>(schema: &Place<'s>, into: &mut Gathered<'s>) {
    let count = |keyword: &str| {
        let count = schema.value.get(keyword)?.as_f64()?;
        // `as` saturates, and a length beyond 32 bits is none.
        (count >= 0.0).then_some(count as u32)
    };
    let limit = |keyword: &str, exclusive| Limit::read(schema.value.get(keyword)?, exclusive);
    let mut other = Gathered {
        types: own_types(schema),
        values: own_values(schema),
        format: schema.text("format"),
        min_length: count("minLength").unwrap_or(0),
        max_length: count("maxLength"),
        patterns: schema.text("pattern").into_iter().collect(),
        digits: schema.value.get("multipleOf").and_then(digits_of_step),
        min_items: count("minItems").unwrap_or(0),
        max_items: count("maxItems"),
        is_tuple: schema.get("prefixItems").is_some(),
        items: schema.get("items").into_iter().collect(),
        properties: schema.get("properties").iter().flat_map(Place::members).map(|(name, s)| (name, vec![s])).collect(),
        required: schema.get("required").iter().flat_map(Place::items).filter_map(|name| name.value.as_str()).collect(),
        ..Gathered::default()
    };
    for (keyword, exclusive) in [("minimum", false), ("exclusiveMinimum", true)] {
        other.min = tighter(other.min, limit(keyword, exclusive), Limit::higher);
    }
    for (keyword, exclusive) in [("maximum", false), ("exclusiveMaximum", true)] {
        other.max = tighter(other.max, limit(keyword, exclusive), Limit::lower);
    }
    for keyword in ["additionalProperties", "unevaluatedProperties"] {
        match schema.get(keyword) {
            Some(Place { value: Value::Bool(false), .. }) => other.closed = true,
            Some(place) if place.value.is_object() => other.additional.push(place),
            Some(_) | None => {}
        }
    }
    into.merge(other);
}

fn own_types(schema: &Place<'_>) -> Option<BTreeSet<String>> {
    match schema.value.get("type")? {
        Value::String(one) => Some(BTreeSet::from([one.clone()])),
        Value::Array(several) => Some(several.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

fn own_values<'s>(schema: &Place<'s>) -> Option<Vec<&'s Value>> {
    match (schema.value.get("const"), schema.value.get("enum").and_then(Value::as_array)) {
        (Some(one), _) => Some(vec![one]),
        (None, Some(several)) => Some(several.iter().collect()),
        (None, None) => None,
    }
}

fn tighter<T: Copy>(a: Option<T>, b: Option<T>, choose: impl FnOnce(T, T) -> T) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(choose(a, b)),
        (a, b) => a.or(b),
    }
}

impl<'s> Gathered<'s> {
    /// Both hold.
    fn merge(&mut self, other: Self) {
        self.types = match (self.types.take(), other.types) {
            (Some(a), Some(b)) => Some(both_types(&a, &b)),
            (a, b) => a.or(b),
        };
        self.values = match (self.values.take(), other.values) {
            (Some(a), Some(b)) => Some(a.into_iter().filter(|value| b.contains(value)).collect()),
            (a, b) => a.or(b),
        };
        self.format = self.format.or(other.format);
        self.min_length = self.min_length.max(other.min_length);
        self.max_length = tighter(self.max_length, other.max_length, u32::min);
        for pattern in other.patterns {
            if !self.patterns.contains(&pattern) {
                self.patterns.push(pattern);
            }
        }
        self.min = tighter(self.min, other.min, Limit::higher);
        self.max = tighter(self.max, other.max, Limit::lower);
        self.digits = tighter(self.digits, other.digits, u32::min);
        for (name, schemas) in other.properties {
            match self.properties.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => known.extend(schemas),
                None => self.properties.push((name, schemas)),
            }
        }
        self.required.extend(other.required);
        self.closed |= other.closed;
        self.additional.extend(other.additional);
        self.items.extend(other.items);
        self.is_tuple |= other.is_tuple;
        self.min_items = self.min_items.max(other.min_items);
        self.max_items = tighter(self.max_items, other.max_items, u32::min);
        if self.alternatives.is_empty() {
            self.alternatives = other.alternatives;
        }
        self.name = self.name.take().or(other.name);
        self.doc = self.doc.or(other.doc);
        self.is_recursive |= other.is_recursive;
    }

    /// It is what it was, or null.
    fn accept_null(&mut self) {
        match (self.one_type().map(str::to_owned), &mut self.types) {
            (_, Some(types)) => {
                types.insert("null".to_owned());
            }
            (Some(implied), None) => self.types = Some(BTreeSet::from([implied, "null".to_owned()])),
            // Only alternatives say what it is: null is one more. Without any, it was accepted before.
            (None, None) => {
                if !self.alternatives.is_empty() {
                    self.alternatives.push(Vec::new());
                }
            }
        }
        if let Some(values) = &mut self.values
            && !values.contains(&&Value::Null)
        {
            values.push(&Value::Null);
        }
    }

    fn accepts_null(&self) -> bool {
        let by_type = match &self.types {
            Some(types) => types.contains("null"),
            // Only what a keyword implies is known: people leave `type: object` out, and do not mean null.
            None => self.one_type().is_none() || self.values.is_some(),
        };
        by_type && self.values.as_ref().is_none_or(|values| values.iter().any(|value| value.is_null()))
    }

    /// What it is when it is not null, where that is one thing.
    fn one_type(&self) -> Option<&str> {
        let Some(types) = &self.types else { return self.implied_type() };
        let mut others = types.iter().map(String::as_str).filter(|ty| *ty != "null");
        match (others.next(), others.next(), others.next()) {
            (None, _, _) if types.contains("null") => Some("null"),
            (Some(one), None, _) => Some(one),
            (Some("integer"), Some("number"), None) => Some("number"),
            (None | Some(_), _, _) => None,
        }
    }

    /// What the other keywords say that it is.
    fn implied_type(&self) -> Option<&'static str> {
        if let Some(values) = &self.values {
            let mut types = values.iter().filter(|value| !value.is_null()).map(|value| type_name(value));
            let Some(first) = types.next() else { return Some("null") };
            return types.all(|ty| ty == first).then_some(first);
        }
        if !self.properties.is_empty() || !self.required.is_empty() || self.closed || !self.additional.is_empty() {
            return Some("object");
        }
        (!self.items.is_empty() || self.is_tuple).then_some("array")
    }

    fn text(&self) -> Kind {
        let values = self.values.as_ref().map(|values| {
            let texts = values.iter().filter_map(|value| value.as_str());
            texts.map(str::to_owned).collect::<Vec<_>>()
        });
        match (self.format, &values) {
            (Some("date"), None) => return Kind::Date,
            (Some("date-time"), None) => return Kind::Timestamp,
            (Some(_) | None, _) => {}
        }
        let pattern = match self.patterns.as_slice() {
            [] => None,
            [one] => Some((*one).to_owned()),
            several => {
                Some(several.iter().map(|one| format!(r"(?=[\s\S]*(?:{one}))")).fold("^".to_owned(), |a, b| a + &b))
            }
        };
        Kind::Text(Text {
            values,
            format: self.format.map(str::to_owned),
            min_length: self.min_length,
            max_length: self.max_length,
            pattern,
        })
    }

    fn integer(&self) -> Kind {
        let (mut min, mut max) =
            (self.min.map_or(i64::MIN, Limit::least_integer), self.max.map_or(i64::MAX, Limit::greatest_integer));
        let values = self.values.iter().flatten().filter_map(|value| value.as_i64());
        if let Some((least, greatest)) = values.fold(None, |range, value| match range {
            Some((least, greatest)) => Some((value.min(least), value.max(greatest))),
            None => Some((value, value)),
        }) {
            (min, max) = (min.max(least), max.min(greatest));
        }
        Kind::Integer { min, max }
    }

    fn number(&self) -> Kind {
        let bounds = |scale| Bounds {
            min: self.min.map(|limit| limit.least(scale)),
            max: self.max.map(|limit| limit.greatest(scale)),
        };
        match self.digits {
            Some(scale) => {
                let bounds = bounds(Some(scale));
                Kind::Decimal { precision: precision(&bounds, scale), scale, bounds }
            }
            None => Kind::Float { bounds: bounds(None) },
        }
    }
}

/// How many digits a decimal within these bounds has at most.
fn precision(bounds: &Bounds, scale: u32) -> u32 {
    let whole = |text: &String| {
        text.trim_start_matches('-').split('.').next().unwrap_or_default().trim_start_matches('0').len() as u32
    };
    match (&bounds.min, &bounds.max) {
        (Some(min), Some(max)) => (whole(min).max(whole(max)) + scale).clamp(1, DECIMAL_PRECISION_MAX),
        (_, _) => DECIMAL_PRECISION_MAX,
    }
}

/// What both sets of types accept; an integer is a number.
fn both_types(a: &BTreeSet<String>, b: &BTreeSet<String>) -> BTreeSet<String> {
    let accepts =
        |types: &BTreeSet<String>, ty: &str| types.contains(ty) || (ty == "integer" && types.contains("number"));
    a.iter().chain(b).filter(|ty| accepts(a, ty) && accepts(b, ty)).cloned().collect()
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;
    use serde_json::json;

    use super::super::Validator;
    use super::*;

    fn text(values: &[&str]) -> Kind {
        Kind::Text(Text { values: Some(values.iter().map(|v| (*v).to_owned()).collect()), ..Text::default() })
    }

    fn format(name: &str) -> Kind {
        Kind::Text(Text { format: Some(name.to_owned()), ..Text::default() })
    }

    fn bounds(min: Option<&str>, max: Option<&str>) -> Bounds {
        Bounds { min: min.map(str::to_owned), max: max.map(str::to_owned) }
    }

    #[test]
    fn a_schema_stands_for_all_that_types_can_say_of_it() {
        let any_integer = || Kind::Integer { min: i64::MIN, max: i64::MAX };
        let decimal = |precision, scale, bounds| Kind::Decimal { precision, scale, bounds };
        let list = |item, min_items, max_items| Kind::List { item: Box::new(item), min_items, max_items };
        for (schema, kind) in [
            (json!({"type": "string"}), Kind::Text(Text::default())),
            (
                json!({"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[A-Z]{2}$"}),
                Kind::Text(Text {
                    min_length: 1,
                    max_length: Some(64),
                    pattern: Some("^[A-Z]{2}$".into()),
                    ..Text::default()
                }),
            ),
            (json!({"type": "string", "format": "date"}), Kind::Date),
            (json!({"type": "string", "format": "date-time"}), Kind::Timestamp),
            (json!({"type": "string", "format": "uuid"}), format("uuid")),
            (json!({"type": "string", "format": "email"}), format("email")),
            (json!({"type": "string", "enum": ["A", "B"]}), text(&["A", "B"])),
            (json!({"enum": ["A", "B"]}), text(&["A", "B"])),
            (json!({"const": "A"}), text(&["A"])),
            (json!({"oneOf": [{"const": "A"}, {"const": "B"}]}), text(&["A", "B"])),
            (json!({"type": "integer"}), any_integer()),
            (json!({"type": "integer", "minimum": 1, "maximum": 10}), Kind::Integer { min: 1, max: 10 }),
            (
                json!({"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 10.5}),
                Kind::Integer { min: 1, max: 10 },
            ),
            (json!({"type": "integer", "minimum": -1.5, "maximum": 1e30}), Kind::Integer { min: -1, max: i64::MAX }),
            (json!({"type": "integer", "enum": [3, 1]}), Kind::Integer { min: 1, max: 3 }),
            (json!({"type": "number", "multipleOf": 1}), any_integer()),
            (json!({"type": "number"}), Kind::Float { bounds: Bounds::default() }),
            (json!({"type": ["integer", "number"]}), Kind::Float { bounds: Bounds::default() }),
            (
                json!({"type": "number", "minimum": 0, "exclusiveMaximum": 1}),
                Kind::Float { bounds: bounds(Some("0"), Some("0.999999999999")) },
            ),
            (json!({"type": "number", "multipleOf": 0.01}), decimal(38, 2, Bounds::default())),
            (
                json!({"type": "number", "multipleOf": 0.01, "exclusiveMinimum": 0, "maximum": 9_999_999.99}),
                decimal(9, 2, bounds(Some("0.01"), Some("9999999.99"))),
            ),
            (json!({"type": "number", "multipleOf": 0.00001}), decimal(38, 5, Bounds::default())),
            (json!({"type": "number", "multipleOf": 0.25}), Kind::Float { bounds: Bounds::default() }),
            (json!({"type": "boolean"}), Kind::Boolean),
            (json!({"const": true}), Kind::Boolean),
            (
                json!({"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 9}),
                list(Type::text(), 1, Some(9)),
            ),
            (json!({"type": "array"}), list(anything(), 0, None)),
            (json!({"type": "array", "prefixItems": [{"type": "string"}], "items": false}), list(anything(), 0, None)),
            (json!({"type": "object", "additionalProperties": {"type": "string"}}), Kind::Map(Box::new(Type::text()))),
            (json!({"type": ["string", "integer"]}), Kind::Any),
            (json!({"type": "string", "not": {"const": ""}}), Kind::Text(Text::default())),
        ] {
            assert_eq!(type_of(&schema), Type::of(kind), "{schema}");
        }
    }

    #[test]
    fn null_is_accepted_where_every_keyword_accepts_it() {
        let date = || Type::of(Kind::Date).or_null();
        for (schema, ty) in [
            (json!({}), anything()),
            (json!(true), anything()),
            (json!({"type": "null"}), Type::of(Kind::Null).or_null()),
            (json!({"type": ["string", "null"], "format": "date"}), date()),
            (json!({"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]}), date()),
            (
                json!({"oneOf": [{"const": null}, {"$ref": "#/$defs/d"}], "$defs": {"d": {"type": "string", "format": "date"}}}),
                date(),
            ),
            (json!({"type": ["string", "null"], "enum": ["A", null]}), Type::of(text(&["A"])).or_null()),
            (json!({"type": ["string", "null"], "enum": ["A"]}), Type::of(text(&["A"]))),
            (json!({"enum": ["A", null]}), Type::of(text(&["A"])).or_null()),
            (json!({"anyOf": [{"enum": ["A"]}, {"type": "null"}]}), Type::of(text(&["A"])).or_null()),
            (json!({"allOf": [{"type": ["string", "null"]}, {"type": "string"}]}), Type::text()),
            (
                json!({"oneOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]}),
                Type::of(Kind::Any).or_null(),
            ),
            (json!({"type": "string", "anyOf": [{"minLength": 1}, {"pattern": "x"}]}), Type::text()),
        ] {
            assert_eq!(type_of(&schema), ty, "{schema}");
        }
    }

    fn record(schema: &Value) -> Arc<Record> {
        match type_of(schema).kind {
            Kind::Record(record) => record,
            other => panic!("{other:?} is no record"),
        }
    }

    #[test]
    fn an_object_is_a_record_with_its_fields_docs_and_what_is_required() {
        let schema = json!({"$ref": "#/$defs/Deal", "$defs": {
            "Deal": {"type": "object", "required": ["id", "extra"], "additionalProperties": false, "properties": {
                "id": {"type": "string", "description": "Names it."}, "owner": {"$ref": "#/$defs/Owner"}}},
            "Owner": {"description": "Who looks after it.", "properties": {"email": {"type": "string"}}}}});
        let deal = record(&schema);
        let seen: Vec<_> = deal.fields.iter().map(|f| (f.name.as_str(), f.required, f.doc.as_deref())).collect();
        assert_eq!(
            seen,
            [("id", true, Some("Names it.")), ("owner", false, Some("Who looks after it.")), ("extra", true, None)]
        );
        assert_eq!((deal.name.as_deref(), deal.open), (Some("Deal"), false));
        let Kind::Record(owner) = &deal.field("owner").unwrap().ty.kind else { panic!("no record") };
        assert_eq!((owner.name.as_deref(), owner.open), (Some("Owner"), true));
    }

    #[test]
    fn null_stays_where_one_of_several_alternatives_takes_it() {
        let flag = json!({"oneOf": [{"type": "boolean"}, {"type": "null"}]});
        let nullable = |alternatives: Value| type_of(&json!({"allOf": [flag, {"oneOf": alternatives}]})).nullable;
        assert!(nullable(json!([{"type": "string"}, {}])));
        assert!(nullable(json!([{"type": "string"}, {"type": ["boolean", "null"]}])));
        assert!(!nullable(json!([{"type": "string"}, {"type": "boolean"}])));
    }

    #[test]
    fn all_of_is_everything_at_once() {
        let schema = json!({
            "allOf": [{"$ref": "#/$defs/Base"}, {"required": ["note"], "properties": {"id": {"maxLength": 8}, "note": {"type": "string"}}}],
            "properties": {"id": {"minLength": 2}, "again": {"$ref": "#/$defs/Id"}},
            "$defs": {"Base": {"type": "object", "required": ["id"], "properties": {"id": {"$ref": "#/$defs/Id"}, "again": {"$ref": "#/$defs/Id"}}},
                      "Id": {"type": "string", "maxLength": 20}}});
        let all = record(&schema);
        let text = |min_length, max_length| Type::of(Kind::Text(Text { min_length, max_length, ..Text::default() }));
        assert_eq!(all.field("id").unwrap().ty, text(2, Some(8)));
        assert_eq!(all.field("again").unwrap().ty, text(0, Some(20)));
        assert!(all.field("id").unwrap().required && all.field("note").unwrap().required);
    }

    #[test]
    fn what_holds_itself_ends_in_anything() {
        let schema = json!({"$ref": "#/$defs/Node", "$defs": {"Node": {"type": "object", "properties": {
            "name": {"type": "string"}, "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]},
            "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}}}}}});
        let node = record(&schema);
        assert_eq!(node.field("name").unwrap().ty, Type::text());
        assert_eq!(node.field("next").unwrap().ty, anything());
        let Kind::List { item, .. } = &node.field("children").unwrap().ty.kind else { panic!("no list") };
        assert_eq!(**item, anything());
        // A schema that is itself says nothing; one that doubles at each step would fill the memory.
        assert_eq!(type_of(&json!({"allOf": [{"$ref": "#"}]})), anything());
        let doubling = |i: usize| {
            json!({"type": "object", "properties": {
            "a": {"$ref": format!("#/$defs/{}", i + 1)}, "b": {"$ref": format!("#/$defs/{}", i + 1)}}})
        };
        let defs: serde_json::Map<String, Value> = (0..40).map(|i| (i.to_string(), doubling(i))).collect();
        assert!(matches!(type_of(&json!({"$ref": "#/$defs/0", "$defs": defs})).kind, Kind::Record(_)));
    }

    /// Whether a type says that a value can come. Written apart from the code above.
    fn accepts(ty: &Type, value: &Value) -> bool {
        let within = |bounds: &Bounds, number: f64| {
            let bound = |text: &Option<String>| text.as_ref().map(|text| text.parse::<f64>().unwrap());
            bound(&bounds.min).is_none_or(|min| number >= min) && bound(&bounds.max).is_none_or(|max| number <= max)
        };
        if value.is_null() {
            return ty.nullable;
        }
        match &ty.kind {
            Kind::Any => true,
            Kind::Null | Kind::Bytes => false,
            Kind::Boolean => value.is_boolean(),
            Kind::Date | Kind::Timestamp => value.is_string(),
            Kind::Text(text) => value.as_str().is_some_and(|s| {
                let chars = s.chars().count() as u32;
                text.values.as_ref().is_none_or(|values| values.iter().any(|v| v == s))
                    && chars >= text.min_length
                    && text.max_length.is_none_or(|max| chars <= max)
            }),
            Kind::Integer { min, max } => {
                value.as_f64().is_some_and(|n| n.fract() == 0.0 && n >= *min as f64 && n <= *max as f64)
            }
            Kind::Decimal { bounds, .. } | Kind::Float { bounds } => value.as_f64().is_some_and(|n| within(bounds, n)),
            Kind::List { item, min_items, max_items } => value.as_array().is_some_and(|items| {
                let len = items.len() as u32;
                len >= *min_items && max_items.is_none_or(|max| len <= max) && items.iter().all(|i| accepts(item, i))
            }),
            Kind::Map(values) => value.as_object().is_some_and(|map| map.values().all(|v| accepts(values, v))),
            Kind::Record(record) => value.as_object().is_some_and(|object| {
                let fits = |field: &Field| object.get(&field.name).map_or(!field.required, |v| accepts(&field.ty, v));
                record.fields.iter().all(fits)
                    && (record.open || object.keys().all(|name| record.field(name).is_some()))
            }),
        }
    }

    /// Small values that often hit small schemas.
    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            (-3..4_i64).prop_map(Value::from),
            (-30..40_i64).prop_map(|n| json!(n as f64 / 10.0)),
            "[ab]{0,3}".prop_map(Value::String),
        ];
        leaf.prop_recursive(2, 8, 3, |inner| {
            let members = proptest::collection::vec(("[ab]", inner.clone()), 0..3);
            prop_oneof![
                proptest::collection::vec(inner, 0..3).prop_map(Value::Array),
                members.prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    /// Schemas that say what they are for, as contracts do: an object is called one.
    fn any_schema() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            (0..3_u32, 0..4_u32).prop_map(|(a, b)| json!({"type": "string", "minLength": a, "maxLength": b})),
            (0..3_u32, any::<bool>()).prop_map(|(a, null)| json!({"type": if null { json!(["string", "null"]) } else { json!("string") }, "minLength": a})),
            (-3..3_i64, -2..4_i64).prop_map(|(a, b)| json!({"type": "integer", "exclusiveMinimum": a, "maximum": b})),
            (-3..3_i64, -2..4_i64).prop_map(|(a, b)| json!({"type": "number", "minimum": a, "exclusiveMaximum": b})),
            (-3..3_i64).prop_map(|a| json!({"type": "number", "multipleOf": 0.1, "exclusiveMinimum": a})),
            proptest::collection::vec(any_value(), 1..4).prop_map(|values| json!({"enum": values})),
            Just(json!({"type": "boolean"})),
            Just(json!({"type": "null"})),
            Just(json!({})),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            let several = proptest::collection::vec(inner.clone(), 1..3);
            prop_oneof![
                several.clone().prop_map(|all| json!({"allOf": all})),
                several.clone().prop_map(|any| json!({"anyOf": any})),
                several.prop_map(|one| json!({"oneOf": one})),
                inner.clone().prop_map(|inner| json!({"anyOf": [inner, {"type": "null"}]})),
                (inner.clone(), 0..3_u32).prop_map(|(items, min)| json!({"type": "array", "items": items, "minItems": min})),
                inner.clone().prop_map(|values| json!({"type": "object", "additionalProperties": values})),
                (inner.clone(), inner, any::<bool>(), any::<bool>()).prop_map(|(a, b, required, closed)| json!({
                    "type": "object", "properties": {"a": a, "b": b}, "required": if required { json!(["a"]) } else { json!([]) },
                    "additionalProperties": !closed})),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

        #[test]
        fn whatever_the_validator_accepts_the_type_accepts_too(schema in any_schema(), values in proptest::collection::vec(any_value(), 8)) {
            let validator = Validator::compile(schema).unwrap();
            for value in values {
                if validator.violations(&value).is_empty() {
                    prop_assert!(accepts(&validator.ty, &value), "{value} as {:?}", validator.ty);
                }
            }
        }
    }
}
