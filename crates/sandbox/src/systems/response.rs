//! What a stand-in answers: an object by the response's schema, from what the request says and what an author gave.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tieline_schema::contract::{Contract, Operation, Response};

use super::example::Maker;
use super::route;

/// What an object is made of.
#[derive(Debug)]
pub struct Making<'a> {
    /// The contract.
    pub contract: &'a Contract,
    /// The operation that makes or shows it.
    pub operation: &'a Operation,
    /// The path's parameters.
    pub parameters: &'a BTreeMap<String, String>,
    /// What the request says, null where it has no body.
    pub request: &'a Value,
    /// Its number in its collection.
    pub serial: u64,
    /// The time, in milliseconds since the Unix epoch.
    pub now_ms: i64,
}

/// What an operation answers where all is well, and with which status.
pub fn success(operation: &Operation) -> (u16, Option<&Response>) {
    let found = operation.responses.iter().find(|response| response.status.starts_with('2'));
    let status = found.and_then(|response| response.status.parse().ok());
    let usual = if operation.method == "POST" { 201 } else { 200 };
    (status.unwrap_or(usual), found)
}

impl Making<'_> {
    /// A new object with the id in it, and the id; the request itself where the operation answers without a body.
    pub fn object(&self, id: Option<&str>) -> (String, Value) {
        let payload = success(self.operation).1.and_then(|response| response.payload.as_ref());
        let (Some(payload), Some(media_type)) = (payload, self.media_type(self.operation)) else {
            return (id.map_or_else(|| self.readable_id(), str::to_owned), self.request.clone());
        };
        let maker = Maker { root: &self.contract.document, now_ms: self.now_ms, serial: self.serial };
        let schema = &media_type["schema"];
        let properties = maker.properties(schema);
        if properties.is_empty() {
            return (id.map_or_else(|| self.readable_id(), str::to_owned), maker.value(schema, self.example()));
        }
        let id_property = self.id_property(&properties);
        let id_value = match (id, id_property) {
            (Some(id), Some((_, schema))) => typed_id(id, maker.resolve(schema)),
            (None, Some((_, schema))) => self.new_id(maker.resolve(schema)),
            (Some(id), None) => json!(id),
            (None, None) => json!(self.readable_id()),
        };
        let mut object = self.members(&maker, &properties, id_property.map(|(name, _)| (name, &id_value)), true);
        // A field of the request can have another type here, such as a status that knows other words.
        let violations = payload.validator.violations(&Value::Object(object.clone()));
        if !violations.is_empty() {
            let made = self.members(&maker, &properties, id_property.map(|(name, _)| (name, &id_value)), false);
            for violation in violations {
                let name = violation.pointer.split('/').nth(1).unwrap_or_default().to_owned();
                match made.get(&name) {
                    Some(value) => drop(object.insert(name, value.clone())),
                    None => drop(object.remove(&name)),
                }
            }
        }
        (as_text(&id_value), Value::Object(object))
    }

    fn members<'p>(
        &self,
        maker: &Maker<'p>,
        properties: &[(&str, &'p Value, bool)],
        id: Option<(&str, &Value)>,
        copy: bool,
    ) -> Map<String, Value> {
        let mut members = Map::new();
        for (name, schema, required) in properties {
            let read_only = maker.resolve(schema)["readOnly"] == true || schema["readOnly"] == true;
            let value = match (id, self.request.get(*name), self.parameters.get(*name)) {
                (Some((id_name, id)), _, _) if id_name == *name => Some(id.clone()),
                (_, Some(given), _) if copy && !read_only => Some(given.clone()),
                (_, _, Some(parameter)) => Some(json!(parameter)),
                _ if *required || read_only => {
                    let example = self.example().and_then(|example| example.get(*name));
                    Some(maker.value(schema, example))
                }
                _ => None,
            };
            if let Some(value) = value {
                members.insert((*name).to_owned(), value);
            }
        }
        members
    }

    /// The first example that the operation's author gave for its answer, or for that of another one on the same path.
    fn example(&self) -> Option<&Value> {
        let same_path = self.contract.operations.iter().map(|other| &**other).filter(|o| o.path == self.operation.path);
        std::iter::once(self.operation).chain(same_path).find_map(|operation| {
            let media_type = self.media_type(operation)?;
            let named = media_type["examples"].as_object().and_then(|examples| examples.values().next());
            media_type.get("example").or_else(|| resolve(&self.contract.document, named?).get("value"))
        })
    }

    /// An answer's schema and examples as the document has them: a validator's schema has lost what it does not judge by.
    fn media_type(&self, operation: &Operation) -> Option<&Value> {
        let document = &*self.contract.document;
        let (_, response) = success(operation);
        let operation = &document["paths"][&operation.path][operation.method.to_lowercase()];
        let response = resolve(document, &operation["responses"][&response?.status]);
        response["content"].as_object()?.iter().find(|(name, _)| name.starts_with("application/json")).map(|(_, m)| m)
    }

    /// The property that names the object: `id`, or what the path to one is called, or the first that ends like an id.
    fn id_property<'p>(&self, properties: &[(&'p str, &'p Value, bool)]) -> Option<(&'p str, &'p Value)> {
        let item = format!("{}/", self.operation.path);
        let templates =
            self.contract.operations.iter().map(|operation| operation.path.as_str()).chain([&*self.operation.path]);
        let of_path = templates
            .filter_map(|path| {
                path.strip_prefix(&item).or_else(|| path.rsplit('/').next().filter(|_| path == self.operation.path))
            })
            .find_map(route::parameter);
        let named = |wanted: &dyn Fn(&str) -> bool| properties.iter().find(|(name, _, _)| wanted(name));
        let found = named(&|name| name == "id")
            .or_else(|| named(&|name| Some(name) == of_path))
            .or_else(|| named(&|name| name.ends_with("_id") || name.ends_with("Id")));
        found.map(|(name, schema, _)| (*name, *schema))
    }

    fn new_id(&self, schema: &Value) -> Value {
        let maker = Maker { root: schema, now_ms: self.now_ms, serial: self.serial };
        match (schema["type"].as_str(), schema["format"].as_str()) {
            (Some("integer"), _) => json!(self.serial),
            (_, Some("uuid")) => maker.value(schema, None),
            _ => json!(self.readable_id()),
        }
    }

    /// `prj-1` for the first of `projects`: the first consonants of the collection's name, and the number.
    fn readable_id(&self) -> String {
        let name = self.operation.path.rsplit('/').find(|part| !part.is_empty() && route::parameter(part).is_none());
        let name = name.unwrap_or("object").to_lowercase();
        let mut prefix = String::new();
        for (n, letter) in name.trim_end_matches('s').char_indices().filter(|(_, c)| c.is_ascii_alphanumeric()) {
            if (n == 0 || !"aeiou".contains(letter)) && !prefix.ends_with(letter) && prefix.len() < 3 {
                prefix.push(letter);
            }
        }
        format!("{prefix}-{}", self.serial)
    }
}

/// What an id is in JSON.
fn typed_id(id: &str, schema: &Value) -> Value {
    let number = id.parse::<i64>().ok().filter(|_| schema["type"] == "integer");
    number.map_or_else(|| json!(id), |number| json!(number))
}

/// A value as it stands in a path.
pub fn as_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A part of the document, or what it refers to there.
fn resolve<'d>(document: &'d Value, part: &'d Value) -> &'d Value {
    let target = part["$ref"].as_str().and_then(|r| r.strip_prefix('#')).and_then(|pointer| document.pointer(pointer));
    target.unwrap_or(part)
}
