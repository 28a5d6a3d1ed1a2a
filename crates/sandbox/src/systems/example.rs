//! Values made from a JSON Schema, the same each time: what a stand-in fills into an answer that nobody gave it.

use serde_json::{Map, Value, json};
use uuid::Uuid;

/// How deep a value is made; deeper is left out, so that a schema that contains itself ends.
const DEPTH_MAX: u32 = 8;

/// Makes values from the parts of one schema.
#[derive(Debug, Clone, Copy)]
pub struct Maker<'a> {
    /// The whole schema, for references into it.
    pub root: &'a Value,
    /// The time to put where a time is wanted, in milliseconds since the Unix epoch.
    pub now_ms: i64,
    /// The number of the object, so that what is unique differs: 1 for the first.
    pub serial: u64,
}

impl<'a> Maker<'a> {
    /// The schema itself, where it refers to another part.
    pub fn resolve(&self, mut schema: &'a Value) -> &'a Value {
        for _ in 0..DEPTH_MAX {
            let target = schema["$ref"].as_str().and_then(|r| r.strip_prefix('#')).and_then(|p| self.root.pointer(p));
            match target {
                Some(target) => schema = target,
                None => break,
            }
        }
        schema
    }

    /// The properties of an object's schema, also of the parts of an `allOf`, and whether each is required.
    pub fn properties(&self, schema: &'a Value) -> Vec<(&'a str, &'a Value, bool)> {
        let mut parts = vec![self.resolve(schema)];
        let mut n = 0;
        while n < parts.len() && n < 64 {
            let all_of = parts[n]["allOf"].as_array().into_iter().flatten();
            let further: Vec<&Value> = all_of.map(|part| self.resolve(part)).collect();
            parts.extend(further);
            n += 1;
        }
        let required: Vec<&str> = parts
            .iter()
            .flat_map(|p| p["required"].as_array().into_iter().flatten())
            .filter_map(Value::as_str)
            .collect();
        let members = parts.iter().filter_map(|part| part["properties"].as_object()).flatten();
        members.map(|(name, property)| (name.as_str(), property, required.contains(&name.as_str()))).collect()
    }

    /// A value for this schema; `example` is one that its author gave.
    pub fn value(&self, schema: &'a Value, example: Option<&Value>) -> Value {
        self.make(schema, example, DEPTH_MAX)
    }

    fn make(&self, schema: &'a Value, example: Option<&Value>, depth: u32) -> Value {
        let schema = self.resolve(schema);
        if let Some(time) = self.time(schema, example) {
            return time;
        }
        let first = |list: &'a Value| list.as_array().and_then(|list| list.first());
        let fixed = [schema.get("const"), schema.get("default"), first(&schema["enum"])].into_iter().flatten().next();
        if let Some(fixed) = fixed {
            return fixed.clone();
        }
        let own = example.or_else(|| schema.get("example")).or_else(|| first(&schema["examples"]));
        match own {
            Some(Value::String(text)) => Value::String(numbered(text, self.serial)),
            Some(value) => value.clone(),
            None => self.invent(schema, depth),
        }
    }

    /// Now, where a time is wanted, and today, where a day is.
    fn time(&self, schema: &Value, example: Option<&Value>) -> Option<Value> {
        let now = jiff::Timestamp::from_millisecond(self.now_ms).unwrap_or_default();
        match (schema["format"].as_str(), example) {
            (Some("date-time" | "date"), Some(Value::Null)) => Some(Value::Null),
            (Some("date-time"), _) => Some(json!(now.to_string())),
            (Some("date"), _) => Some(json!(now.strftime("%Y-%m-%d").to_string())),
            // An integer in this range is seconds since the Unix epoch, 2001 to 2096.
            (_, Some(example)) if example.as_u64().is_some_and(|n| (1_000_000_000..4_000_000_000).contains(&n)) => {
                Some(json!(now.as_second()))
            }
            _ => None,
        }
    }

    fn invent(&self, schema: &'a Value, depth: u32) -> Value {
        let ty = match &schema["type"] {
            Value::Array(types) => types.iter().filter_map(Value::as_str).find(|ty| *ty != "null").unwrap_or("null"),
            ty => ty.as_str().unwrap_or_default(),
        };
        match ty {
            "string" => self.text(schema),
            "integer" => json!(schema["minimum"].as_i64().unwrap_or(0).max(i64::from(schema["minimum"].is_null()))),
            "number" => schema.get("minimum").cloned().unwrap_or(json!(0)),
            "boolean" => json!(false),
            "array" => self.list(schema, depth),
            "null" => Value::Null,
            _ => self.object_or_branch(schema, depth),
        }
    }

    fn object_or_branch(&self, schema: &'a Value, depth: u32) -> Value {
        let branches = ["oneOf", "anyOf"].iter().filter_map(|key| schema[*key].as_array()).flatten();
        let branch = branches.map(|b| self.resolve(b)).find(|b| b["type"] != "null");
        if depth == 0 {
            return Value::Null;
        }
        if let Some(branch) = branch {
            return self.make(branch, None, depth - 1);
        }
        let required = self.properties(schema).into_iter().filter(|(_, _, required)| *required);
        let members: Map<_, _> =
            required.map(|(name, part, _)| (name.to_owned(), self.make(part, None, depth - 1))).collect();
        Value::Object(members)
    }

    fn list(&self, schema: &'a Value, depth: u32) -> Value {
        let items = schema["minItems"].as_u64().unwrap_or(0).min(100);
        (0..items).filter(|_| depth > 0).map(|_| self.make(&schema["items"], None, depth - 1)).collect()
    }

    fn text(&self, schema: &Value) -> Value {
        let serial = self.serial;
        let text = match schema["format"].as_str() {
            Some("uuid") => Uuid::new_v5(&Uuid::NAMESPACE_URL, serial.to_string().as_bytes()).to_string(),
            Some("email") => format!("person-{serial}@example.com"),
            Some("uri" | "uri-reference" | "url") => format!("https://example.com/{serial}"),
            Some("hostname") => "example.com".to_owned(),
            Some(_) | None => format!("text-{serial}"),
        };
        let length = |name: &str| schema[name].as_u64().and_then(|n| usize::try_from(n).ok());
        let (min, max) = (length("minLength").unwrap_or(0).min(10_000), length("maxLength").unwrap_or(usize::MAX));
        Value::String(format!("{text:x<min$}").chars().take(max).collect())
    }
}

/// An example of a number that people use, such as `P-2026-0815`, for the `serial`-th object: its last digits go up.
fn numbered(example: &str, serial: u64) -> String {
    let digits = example.bytes().rev().take_while(u8::is_ascii_digit).count();
    let (head, tail) = example.split_at(example.len() - digits);
    match tail.parse::<u64>() {
        Ok(number) if !head.is_empty() => format!("{head}{:0digits$}", number.saturating_add(serial - 1)),
        _ => example.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_people_use_go_up_from_the_example() {
        assert_eq!(numbered("P-2026-0815", 1), "P-2026-0815");
        assert_eq!(numbered("P-2026-0099", 3), "P-2026-0101");
        assert_eq!(numbered("Nordwind AG", 3), "Nordwind AG");
    }

    #[test]
    fn a_schema_that_contains_itself_ends() {
        let schema = json!({ "type": "object", "required": ["next"], "properties": { "next": { "$ref": "#" } } });
        let maker = Maker { root: &schema, now_ms: 0, serial: 1 };
        assert!(maker.value(&schema, None).is_object());
    }
}
