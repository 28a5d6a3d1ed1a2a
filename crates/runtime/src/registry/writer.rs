//! The schema that a record was written with, self-contained and within bounds.
//!
//! A schema can refer to others by name. Here their definitions are written in where the name is first used, so that
//! whoever reads it has one text. On the same walk it is measured: whoever decodes goes down the schema on the stack, and
//! a foreign producer must be able to overflow neither that nor memory.

use std::collections::{BTreeMap, HashMap};

use apache_avro::Schema;
use apache_avro::schema::ResolvedSchema;
use serde_json::{Map, Value};
use tieline_schema::wire::SchemaRef;

/// How deep types may lie in each other, named ones counted at each use. Real events have fewer than 10 levels.
const DEPTH_MAX: usize = 64;

/// How many types a schema may have, named ones counted at each use: records that each use the one before twice double it.
const TYPES_MAX: usize = 10_000;

/// The types that need no definition.
const PRIMITIVES: [&str; 8] = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];

/// The schema that records were written with.
#[derive(Debug, Clone)]
pub struct WriterSchema {
    /// How records name it.
    pub reference: SchemaRef,
    /// The schema, self-contained.
    pub avro: Schema,
    /// Its text: as it was registered, or with what it refers to written in.
    pub text: String,
}

/// Why a text is not a schema that records can be read with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    /// Not JSON.
    #[error("it is not JSON")]
    NotJson,
    /// Not Avro.
    #[error("it is not Avro: {0}")]
    NotAvro(String),
    /// A name without a definition.
    #[error("the type `{0}` is defined neither in it nor in what it refers to")]
    Undefined(String),
    /// A type that holds itself.
    #[error("the type `{0}` holds itself, and recursive events are not read")]
    Recursive(String),
    /// Too deep.
    #[error("its types lie deeper in each other than {DEPTH_MAX} levels")]
    TooDeep,
    /// Too many.
    #[error("it has more than {TYPES_MAX} types")]
    TooLarge,
}

impl WriterSchema {
    /// Reads a schema and the texts of all that it refers to, in any order.
    pub(crate) fn read(reference: SchemaRef, text: String, others: &[String]) -> Result<Self, Unreadable> {
        let json = parse(&text)?;
        let mut walk = Walk::default();
        for other in others {
            collect(&parse(other)?, None, &mut walk.available);
        }
        let (json, _) = walk.walk(&json, None, Place { depth: 0, written_in: false })?;
        let not_avro = |e: apache_avro::Error| Unreadable::NotAvro(e.to_string());
        let avro = Schema::parse(&json).map_err(not_avro)?;
        // Finds what parsing lets pass: a name defined twice.
        ResolvedSchema::new(&avro).map_err(not_avro)?;
        let text = if others.is_empty() { text } else { json.to_string() };
        Ok(Self { reference, avro, text })
    }
}

/// The text of a schema that is only a primitive's name may come without quotes from some registries.
fn parse(text: &str) -> Result<Value, Unreadable> {
    if PRIMITIVES.contains(&text) {
        return Ok(Value::from(text));
    }
    serde_json::from_str(text).map_err(|_| Unreadable::NotJson)
}

/// How much there is below a place.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    types: usize,
    depth: usize,
}

/// Where the walk is.
#[derive(Debug, Clone, Copy)]
struct Place {
    depth: usize,
    /// In a definition that was written in.
    written_in: bool,
}

#[derive(Debug, Default)]
struct Walk {
    /// What the schemas that are referred to define, by full name, and not written in yet.
    available: BTreeMap<String, Value>,
    /// What is defined by now, and its size.
    defined: HashMap<String, Size>,
    /// The types that this place is in.
    open: Vec<String>,
    types: usize,
}

impl Walk {
    /// Writes a type with what it refers to.
    fn walk(&mut self, schema: &Value, namespace: Option<&str>, place: Place) -> Result<(Value, Size), Unreadable> {
        self.count(place, Size { types: 1, depth: 0 })?;
        let below = Place { depth: place.depth + 1, ..place };
        match schema {
            Value::String(name) => self.named(name, namespace, below),
            Value::Array(branches) => {
                let mut size = Size { types: 1, depth: 0 };
                let mut out = Vec::with_capacity(branches.len());
                for branch in branches {
                    let (branch, its) = self.walk(branch, namespace, below)?;
                    size.add(its);
                    out.push(branch);
                }
                Ok((Value::Array(out), size))
            }
            Value::Object(object) => self.object(object, namespace, below),
            Value::Null | Value::Bool(_) | Value::Number(_) => Err(Unreadable::NotAvro(format!("{schema} is no type"))),
        }
    }

    /// A primitive, a type that is defined, or one to be written in here.
    fn named(&mut self, name: &str, namespace: Option<&str>, place: Place) -> Result<(Value, Size), Unreadable> {
        if PRIMITIVES.contains(&name) {
            return Ok((Value::from(name), Size { types: 1, depth: 0 }));
        }
        let full = full_name(name, namespace);
        if self.open.contains(&full) {
            return Err(Unreadable::Recursive(full));
        }
        if let Some(size) = self.defined.get(&full).copied() {
            self.count(place, size)?;
            return Ok((Value::from(name), size));
        }
        match self.available.remove(&full) {
            Some(definition) => self.walk(&definition, None, Place { written_in: true, ..place }),
            None => Err(Unreadable::Undefined(full)),
        }
    }

    fn object(
        &mut self,
        object: &Map<String, Value>,
        namespace: Option<&str>,
        place: Place,
    ) -> Result<(Value, Size), Unreadable> {
        let inner = match object.get("type") {
            Some(Value::String(kind)) => match kind.as_str() {
                "record" | "error" | "enum" | "fixed" => return self.definition(object, namespace, place),
                "array" => "items",
                "map" => "values",
                _ => "type",
            },
            _ => "type",
        };
        let of = object.get(inner).ok_or_else(|| Unreadable::NotAvro(format!("a type without `{inner}`")))?;
        let (of, mut size) = self.walk(of, namespace, place)?;
        size.depth += 1;
        let mut object = object.clone();
        object.insert(inner.to_owned(), of);
        Ok((Value::Object(object), size))
    }

    /// A type with a name. One that was written in carries its whole name, since it may stand in another namespace now.
    fn definition(
        &mut self,
        object: &Map<String, Value>,
        namespace: Option<&str>,
        place: Place,
    ) -> Result<(Value, Size), Unreadable> {
        let full =
            defined_name(object, namespace).ok_or_else(|| Unreadable::NotAvro("a type without a name".into()))?;
        if let (true, Some(size)) = (place.written_in, self.defined.get(&full).copied()) {
            return Ok((Value::from(full), size));
        }
        self.available.remove(&full);
        let own = full.rsplit_once('.').map(|(namespace, _)| namespace.to_owned());
        let mut out = object.clone();
        if place.written_in {
            let name = full.rsplit_once('.').map_or(full.as_str(), |(_, name)| name);
            out.insert("name".into(), name.into());
            out.insert("namespace".into(), own.clone().unwrap_or_default().into());
        }
        self.open.push(full.clone());
        let mut size = Size { types: 1, depth: 0 };
        for field in out.get_mut("fields").and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(ty) = field.get_mut("type") else {
                return Err(Unreadable::NotAvro("a field without a type".into()));
            };
            let (written, its) = self.walk(ty, own.as_deref(), place)?;
            size.add(its);
            *ty = written;
        }
        self.open.pop();
        self.defined.insert(full, size);
        Ok((Value::Object(out), size))
    }

    fn count(&mut self, place: Place, size: Size) -> Result<(), Unreadable> {
        self.types = self.types.saturating_add(size.types);
        if self.types > TYPES_MAX {
            return Err(Unreadable::TooLarge);
        }
        if place.depth + size.depth > DEPTH_MAX {
            return Err(Unreadable::TooDeep);
        }
        Ok(())
    }
}

impl Size {
    fn add(&mut self, below: Self) {
        self.types = self.types.saturating_add(below.types);
        self.depth = self.depth.max(below.depth + 1);
    }
}

/// All types with a name in a schema, by full name, each as it would stand on its own.
fn collect(schema: &Value, namespace: Option<&str>, into: &mut BTreeMap<String, Value>) {
    match schema {
        Value::Array(branches) => branches.iter().for_each(|branch| collect(branch, namespace, into)),
        Value::Object(object) => {
            let full = object.get("symbols").or(object.get("fields")).or(object.get("size"));
            let full = full.and_then(|_| defined_name(object, namespace));
            let own = match &full {
                Some(full) => full.rsplit_once('.').map(|(namespace, _)| namespace),
                None => namespace,
            };
            for part in ["type", "items", "values"] {
                if let Some(part @ (Value::Object(_) | Value::Array(_))) = object.get(part) {
                    collect(part, own, into);
                }
            }
            for field in object.get("fields").and_then(Value::as_array).into_iter().flatten() {
                if let Some(ty) = field.get("type") {
                    collect(ty, own, into);
                }
            }
            if let Some(full) = &full {
                let mut object = object.clone();
                object.insert("name".into(), full.clone().into());
                into.entry(full.clone()).or_insert(Value::Object(object));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The full name of a definition (Avro 1.12, "Names").
fn defined_name(object: &Map<String, Value>, enclosing: Option<&str>) -> Option<String> {
    let name = object.get("name")?.as_str()?;
    let namespace = object.get("namespace").and_then(Value::as_str).or(enclosing);
    Some(full_name(name, namespace))
}

fn full_name(name: &str, namespace: Option<&str>) -> String {
    match namespace {
        Some(namespace) if !namespace.is_empty() && !name.contains('.') => format!("{namespace}.{name}"),
        _ => name.trim_start_matches('.').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use serde_json::json;

    fn read(schema: &Value, others: &[Value]) -> Result<WriterSchema, Unreadable> {
        let others: Vec<String> = others.iter().map(Value::to_string).collect();
        WriterSchema::read(SchemaRef::Id(1), schema.to_string(), &others)
    }

    fn record(name: &str, fields: &[(&str, Value)]) -> Value {
        let fields: Vec<Value> = fields.iter().map(|(name, ty)| json!({ "name": name, "type": ty })).collect();
        json!({ "type": "record", "name": name, "fields": fields })
    }

    #[test]
    fn without_references_the_text_stays_as_it_was_registered() {
        let text = r#"{ "type":"record", "name":"a.B", "fields":[ {"name":"x","type":"long"} ] }"#;
        assert_eq!(WriterSchema::read(SchemaRef::Id(1), text.into(), &[]).unwrap().text, text);
    }

    #[test]
    fn a_bare_primitive_is_a_schema_with_and_without_quotes() {
        for text in ["string", "\"string\""] {
            assert_eq!(WriterSchema::read(SchemaRef::Id(1), text.into(), &[]).unwrap().avro, Schema::String);
        }
    }

    #[test]
    fn what_is_referred_to_is_written_in_where_it_is_first_used() {
        let money = json!({ "type": "record", "name": "Money", "namespace": "com.shared",
            "fields": [{ "name": "of", "type": { "type": "enum", "name": "Currency", "symbols": ["EUR"] } }] });
        let deal = json!({ "type": "record", "name": "Deal", "namespace": "crm", "fields": [
            { "name": "won", "type": "com.shared.Money" },
            { "name": "lost", "type": ["null", "com.shared.Money"] },
            { "name": "in", "type": "com.shared.Currency" }] });
        let written = read(&deal, &[money]).unwrap();
        let parsed = Schema::parse_str(&written.text).unwrap();
        assert_eq!(parsed, written.avro);
        assert!(written.text.contains(r#""namespace":"com.shared""#), "{}", written.text);
    }

    #[test]
    fn references_are_found_in_any_order_and_through_each_other() {
        let inner = record("x.Inner", &[("n", json!("int"))]);
        let outer = record("y.Outer", &[("i", json!("x.Inner"))]);
        let top = record("Top", &[("i", json!("x.Inner")), ("o", json!("y.Outer"))]);
        assert!(read(&top, &[outer.clone(), inner.clone()]).is_ok());
        assert!(read(&top, &[inner, outer]).is_ok());
    }

    #[test]
    fn a_nested_type_can_be_used_before_the_schema_that_defines_it() {
        let outer = record("y.Outer", &[("k", json!({ "type": "enum", "name": "Kind", "symbols": ["A"] }))]);
        let top = record("y.Top", &[("k", json!("y.Kind")), ("o", json!("Outer"))]);
        assert!(read(&top, &[outer]).is_ok());
    }

    #[test]
    fn a_definition_without_a_namespace_keeps_having_none() {
        let bare = record("Bare", &[("n", json!("int"))]);
        let top = record("Top", &[("b", json!("Bare"))]);
        let Schema::Record(top) = read(&top, &[bare]).unwrap().avro else { panic!("no record") };
        assert_eq!(top.fields[0].schema.name().unwrap().to_string(), "Bare");
    }

    #[test]
    fn a_type_that_holds_itself_is_refused_also_through_others() {
        let node = record("Node", &[("next", json!(["null", "Node"]))]);
        assert_eq!(read(&node, &[]).unwrap_err(), Unreadable::Recursive("Node".into()));
        let a = record("n.A", &[("b", json!("n.B"))]);
        let b = record("n.B", &[("a", json!({ "type": "array", "items": "n.A" }))]);
        assert_eq!(read(&a, &[b]).unwrap_err(), Unreadable::Recursive("n.A".into()));
    }

    #[test]
    fn a_name_without_a_definition_is_named() {
        let top = record("Top", &[("x", json!("com.acme.Gone"))]);
        assert_eq!(read(&top, &[]).unwrap_err(), Unreadable::Undefined("com.acme.Gone".into()));
    }

    #[test]
    fn a_schema_that_doubles_with_each_line_is_refused_in_no_time() {
        let mut fields = vec![("f0".to_owned(), record("R0", &[("x", json!("int"))]))];
        for n in 1..40 {
            let (before, name) = (format!("R{}", n - 1), format!("R{n}"));
            fields.push((format!("f{n}"), record(&name, &[("a", json!(before)), ("b", json!(before))])));
        }
        let fields: Vec<(&str, Value)> = fields.iter().map(|(name, ty)| (name.as_str(), ty.clone())).collect();
        assert_eq!(read(&record("Top", &fields), &[]).unwrap_err(), Unreadable::TooLarge);
    }

    #[test]
    fn a_schema_that_is_too_deep_is_refused_before_it_is_parsed() {
        let deep = |levels| (0..levels).fold(json!("int"), |inner, _| json!({ "type": "array", "items": inner }));
        assert!(read(&deep(DEPTH_MAX - 2), &[]).is_ok());
        assert_eq!(read(&deep(DEPTH_MAX + 2), &[]).unwrap_err(), Unreadable::TooDeep);
    }

    #[test]
    fn what_is_no_schema_says_why() {
        for text in
            ["", "{", "17", "null,", r#"{"type":"record"}"#, r#"{"type":"record","name":"A","fields":[{"name":"x"}]}"#]
        {
            let error = WriterSchema::read(SchemaRef::Id(1), text.into(), &[]).unwrap_err();
            assert!(matches!(error, Unreadable::NotJson | Unreadable::NotAvro(_)), "{text}: {error}");
        }
    }
}
