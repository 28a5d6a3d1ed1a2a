//! A schema of an OpenAPI document, lifted out of it: JSON Schema 2020-12 that stands for itself.
//!
//! What it refers to comes along, under `$defs`, so that a schema that holds itself stays finite. What OpenAPI 3.0 says
//! in its own way (`nullable`, a boolean `exclusiveMinimum`) is said as JSON Schema does, and what OpenAPI knows and a
//! validator does not (`readOnly` fields are not required in a request, `int32`) is made a plain constraint.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map, Value, json};

use super::ContractError;
use super::document::{Place, target};

/// The dialect that a document's schemas are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// OpenAPI 3.0: JSON Schema draft 5 with changes of its own.
    OpenApi30,
    /// OpenAPI 3.1: JSON Schema 2020-12.
    OpenApi31,
}

/// Which way a payload goes: what is read-only is not required in a request, what is write-only not in a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Direction {
    Request,
    Response,
}

/// What the value of a keyword is made of.
enum Holds {
    Schema,
    Schemas,
    NamedSchemas,
    Data,
}

/// Lifts the schema at a place.
pub(super) fn lift(
    document: &Value,
    dialect: Dialect,
    direction: Direction,
    schema: &Place<'_>,
) -> Result<Value, ContractError> {
    let mut lifter =
        Lifter { document, dialect, direction, keys: BTreeMap::new(), taken: BTreeSet::new(), queue: VecDeque::new() };
    let mut lifted = lifter.schema(schema)?;
    let mut defs = Map::new();
    while let Some((key, place)) = lifter.queue.pop_front() {
        let definition = lifter.schema(&place)?;
        defs.insert(key, definition);
    }
    if let (Value::Object(lifted), false) = (&mut lifted, defs.is_empty()) {
        lifted.insert("$defs".to_owned(), Value::Object(defs));
    }
    Ok(lifted)
}

/// Says whether all references of a schema that stands for itself lead somewhere in it, and none in a circle.
pub(super) fn check_references(schema: &Value) -> Result<(), ContractError> {
    let mut places = vec![Place::root(schema)];
    while let Some(place) = places.pop() {
        if place.get("$ref").is_some() {
            place.follow(schema)?;
        }
        for (keyword, value) in place.members() {
            match holds(keyword) {
                Holds::Schema => places.push(value),
                Holds::Schemas => places.extend(value.items()),
                Holds::NamedSchemas => places.extend(value.members().map(|(_, schema)| schema)),
                Holds::Data => {}
            }
        }
    }
    Ok(())
}

fn holds(keyword: &str) -> Holds {
    match keyword {
        "additionalProperties"
        | "items"
        | "contains"
        | "not"
        | "if"
        | "then"
        | "else"
        | "propertyNames"
        | "unevaluatedItems"
        | "unevaluatedProperties"
        | "contentSchema" => Holds::Schema,
        "allOf" | "anyOf" | "oneOf" | "prefixItems" => Holds::Schemas,
        "properties" | "patternProperties" | "dependentSchemas" | "$defs" | "definitions" => Holds::NamedSchemas,
        _any_other => Holds::Data,
    }
}

struct Lifter<'d> {
    document: &'d Value,
    dialect: Dialect,
    direction: Direction,
    /// The key under `$defs` of each place that is referred to, by its pointer.
    keys: BTreeMap<String, String>,
    taken: BTreeSet<String>,
    /// What is referred to and not lifted yet.
    queue: VecDeque<(String, Place<'d>)>,
}

impl<'d> Lifter<'d> {
    fn schema(&mut self, place: &Place<'_>) -> Result<Value, ContractError> {
        let members = match place.value {
            Value::Bool(_) => return Ok(place.value.clone()),
            Value::Object(members) => members,
            Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                return Err(place.problem("must be a schema: an object, true or false"));
            }
        };
        if let Some(reference) = place.get("$ref")
            && (self.dialect == Dialect::OpenApi30 || members.len() == 1)
        {
            // In 3.0 nothing counts beside a reference.
            return Ok(json!({ "$ref": self.reference(&reference)? }));
        }
        let mut lifted = Map::new();
        for (keyword, value) in place.members() {
            if let Some(value) = self.keyword(keyword, &value)? {
                lifted.insert(keyword.to_owned(), value);
            }
        }
        self.relax_required(place, &mut lifted);
        bound_int32(&mut lifted);
        match self.dialect {
            Dialect::OpenApi30 => Ok(lower(lifted)),
            Dialect::OpenApi31 => Ok(Value::Object(lifted)),
        }
    }

    /// The value of a keyword, lifted; `None` where the keyword has no place in a schema that stands for itself.
    fn keyword(&mut self, keyword: &str, value: &Place<'_>) -> Result<Option<Value>, ContractError> {
        match keyword {
            "$ref" => return Ok(Some(self.reference(value)?.into())),
            "$dynamicRef" | "$recursiveRef" | "$id" => {
                return Err(value.problem("cannot be used here: schemas are found by JSON pointers alone"));
            }
            // What of these is referred to is lifted by its pointer; the rest says nothing to a validator.
            "$defs" | "definitions" | "$anchor" | "$schema" | "discriminator" | "xml" | "externalDocs" | "example"
            | "examples" => return Ok(None),
            _constraint => {}
        }
        let lifted = match holds(keyword) {
            Holds::Schema => self.schema(value)?,
            Holds::Schemas => value.items().map(|schema| self.schema(&schema)).collect::<Result<_, _>>()?,
            Holds::NamedSchemas => {
                let lift = |(name, schema): (&str, Place<'_>)| Ok((name.to_owned(), self.schema(&schema)?));
                Value::Object(value.members().map(lift).collect::<Result<_, ContractError>>()?)
            }
            Holds::Data => value.value.clone(),
        };
        Ok(Some(lifted))
    }

    /// The reference as it is in the lifted schema; what it refers to is queued at its first use.
    fn reference(&mut self, reference: &Place<'_>) -> Result<String, ContractError> {
        let place = target(self.document, reference)?;
        place.follow(self.document)?;
        let key = match self.keys.get(&place.pointer) {
            Some(key) => key.clone(),
            None => {
                let key = self.free_key(&place.pointer);
                self.keys.insert(place.pointer.clone(), key.clone());
                self.queue.push_back((key.clone(), place));
                key
            }
        };
        Ok(format!("#/$defs/{key}"))
    }

    /// The last step of a pointer, with nothing that would have to be escaped, and a number where another has it.
    fn free_key(&mut self, pointer: &str) -> String {
        let last = pointer.rsplit('/').next().unwrap_or_default();
        let plain: String =
            last.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')).collect();
        let name = if plain.is_empty() { "root" } else { plain.as_str() };
        let numbered = (2..).map(|n| format!("{name}-{n}"));
        let mut names = std::iter::once(name.to_owned()).chain(numbered);
        let free = names.find(|name| !self.taken.contains(name)).unwrap_or_default();
        self.taken.insert(free.clone());
        free
    }

    /// Takes fields that the other side sets out of `required` (OpenAPI 3.0.3, "readOnly" and "writeOnly").
    fn relax_required(&self, place: &Place<'_>, lifted: &mut Map<String, Value>) {
        let Some(Value::Array(required)) = lifted.get_mut("required") else { return };
        let Some(properties) = place.get("properties") else { return };
        let mark = match self.direction {
            Direction::Request => "readOnly",
            Direction::Response => "writeOnly",
        };
        let marked = |schema: &Place<'_>| schema.value.get(mark).and_then(Value::as_bool).unwrap_or(false);
        required.retain(|name| {
            let property = name.as_str().and_then(|name| properties.get(name));
            let is_theirs = property.is_some_and(|property| {
                marked(&property) || property.follow(self.document).is_ok_and(|followed| marked(&followed))
            });
            !is_theirs
        });
    }
}

/// A validator does not know the format `int32`; as bounds it does.
fn bound_int32(schema: &mut Map<String, Value>) {
    if schema.get("format").and_then(Value::as_str) == Some("int32") {
        schema.entry("minimum").or_insert(i32::MIN.into());
        schema.entry("maximum").or_insert(i32::MAX.into());
    }
}

/// OpenAPI 3.0 → JSON Schema 2020-12.
fn lower(mut schema: Map<String, Value>) -> Value {
    for (exclusive, inclusive) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
        if let Some(Value::Bool(is_exclusive)) = schema.get(exclusive).cloned() {
            schema.shift_remove(exclusive);
            if is_exclusive && let Some(limit) = schema.shift_remove(inclusive) {
                schema.insert(exclusive.to_owned(), limit);
            }
        }
    }
    match schema.shift_remove("nullable") {
        Some(Value::Bool(true)) => accept_null(schema),
        Some(_) | None => Value::Object(schema),
    }
}

fn accept_null(mut schema: Map<String, Value>) -> Value {
    let Some(Value::String(ty)) = schema.get("type").cloned() else {
        // `nullable` beside `allOf`: what the specification leaves open, and everybody means like this.
        return json!({ "anyOf": [schema, { "type": "null" }] });
    };
    schema.insert("type".to_owned(), json!([ty, "null"]));
    if let Some(Value::Array(values)) = schema.get_mut("enum")
        && !values.contains(&Value::Null)
    {
        values.push(Value::Null);
    }
    Value::Object(schema)
}
