//! An OpenAPI document → its operations, and all that is wrong with it.
//!
//! Source: OpenAPI Specification 3.0.4 and 3.1.1.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::document::Place;
use super::lift::{Dialect, Direction, lift};
use super::{ContractError, Operation, Parameter, Payload, Response, Validator};

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// Reads the operations that have an `operationId`.
pub(super) fn read(document: &Value) -> Result<Vec<Arc<Operation>>, Vec<ContractError>> {
    let root = Place::root(document);
    let dialect = dialect(&root).map_err(|error| vec![error])?;
    let mut reader = Reader { document, dialect, payloads: BTreeMap::new(), problems: Vec::new() };
    let operations = reader.operations(&root);
    if reader.problems.is_empty() { Ok(operations) } else { Err(reader.problems) }
}

fn dialect(root: &Place<'_>) -> Result<Dialect, ContractError> {
    match root.text("openapi") {
        Some(version) if version.starts_with("3.0.") => Ok(Dialect::OpenApi30),
        Some(version) if version.starts_with("3.1.") => Ok(Dialect::OpenApi31),
        Some(version) => Err(root.problem(format!("is OpenAPI {version}; 3.0 and 3.1 are read"))),
        None => Err(root.problem("is no OpenAPI document: it has no text `openapi` with its version")),
    }
}

/// Reads one document. Problems are gathered, so that all are seen at once.
struct Reader<'d> {
    document: &'d Value,
    dialect: Dialect,
    /// What is compiled already, by the schema's place: the same problem stands beside most operations.
    payloads: BTreeMap<(String, Direction), Validator>,
    problems: Vec<ContractError>,
}

impl<'d> Reader<'d> {
    fn operations(&mut self, root: &Place<'d>) -> Vec<Arc<Operation>> {
        let mut operations: Vec<Arc<Operation>> = Vec::new();
        for (path, item) in root.get("paths").iter().flat_map(Place::members) {
            let Some(item) = self.follow(&item) else { continue };
            for (method, operation) in item.members().filter(|(name, _)| METHODS.contains(name)) {
                let Some(id) = operation.text("operationId") else { continue };
                if operations.iter().any(|known| known.id == id) {
                    self.problems.push(operation.problem(format!("has the operationId `{id}`, which another has too")));
                }
                operations.push(Arc::new(self.operation(id, method, path, &item, &operation)));
            }
        }
        operations
    }

    fn operation(&mut self, id: &str, method: &str, path: &str, item: &Place<'d>, operation: &Place<'d>) -> Operation {
        let parameters = self.parameters(item, operation);
        self.check_template(path, &parameters, operation);
        let responses = operation.get("responses");
        let responses = responses.iter().flat_map(Place::members).filter(|(status, _)| !status.starts_with("x-"));
        Operation {
            id: id.to_owned(),
            method: method.to_uppercase(),
            summary: operation.text("summary").map(str::to_owned),
            path: path.to_owned(),
            parameters,
            request: operation.get("requestBody").and_then(|body| self.request(&body)),
            responses: responses.map(|(status, response)| self.response(status, &response)).collect(),
        }
    }

    /// The path's parameters, and over them the operation's own (by name and place).
    fn parameters(&mut self, item: &Place<'d>, operation: &Place<'d>) -> Vec<Parameter> {
        let mut parameters: Vec<Parameter> = Vec::new();
        let listed = [item, operation].into_iter().filter_map(|owner| owner.get("parameters"));
        for place in listed.flat_map(|list| list.items()).collect::<Vec<_>>() {
            let Some(parameter) = self.parameter(&place) else { continue };
            let same = |known: &Parameter| known.name == parameter.name && known.place == parameter.place;
            match parameters.iter_mut().find(|known| same(known)) {
                Some(known) => *known = parameter,
                None => parameters.push(parameter),
            }
        }
        parameters
    }

    fn parameter(&mut self, place: &Place<'d>) -> Option<Parameter> {
        let parameter = self.follow(place)?;
        let Some(name) = parameter.text("name") else {
            self.problems.push(parameter.problem("is a parameter without a name"));
            return None;
        };
        let place = match parameter.text("in") {
            Some("path") => super::Place::Path,
            Some("query") => super::Place::Query,
            // What these three are is said elsewhere ("Parameter Object", `name`).
            Some("header") if is_one_of(name, &["accept", "content-type", "authorization"]) => return None,
            Some("header") => super::Place::Header,
            // A bus is no browser: nobody sets its cookies.
            Some("cookie") => return None,
            Some(_) | None => {
                self.problems.push(parameter.problem("must have `in`: path, query, header or cookie"));
                return None;
            }
        };
        let schema = parameter.get("schema").or_else(|| json_content(&parameter).and_then(|json| json.get("schema")));
        let schema = schema.or_else(|| {
            self.problems.push(parameter.problem("has no schema"));
            None
        })?;
        let required = parameter.value.get("required").and_then(Value::as_bool).unwrap_or(false);
        let ty = self.validator(&schema, Direction::Request)?.ty;
        Some(Parameter { name: name.to_owned(), place, required: required || place == super::Place::Path, ty })
    }

    /// Each name in the path's template needs a parameter, and each parameter of the path a name in it.
    fn check_template(&mut self, path: &str, parameters: &[Parameter], operation: &Place<'d>) {
        let in_template: BTreeSet<&str> =
            path.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name).collect();
        let of_path = parameters.iter().filter(|parameter| parameter.place == super::Place::Path);
        let declared: BTreeSet<&str> = of_path.map(|parameter| parameter.name.as_str()).collect();
        for name in in_template.difference(&declared) {
            self.problems
                .push(operation.problem(format!("has `{{{name}}}` in its path, and no path parameter for it")));
        }
        for name in declared.difference(&in_template) {
            self.problems.push(operation.problem(format!("has a path parameter `{name}` that is not in its path")));
        }
    }

    fn request(&mut self, place: &Place<'d>) -> Option<Payload> {
        let body = self.follow(place)?;
        let required = body.value.get("required").and_then(Value::as_bool).unwrap_or(false);
        self.payload(&body, required, Direction::Request)
    }

    fn response(&mut self, status: &str, place: &Place<'d>) -> Response {
        let range_or_status = status.len() == 3
            && matches!(status.as_bytes(), [b'1'..=b'5', rest @ ..] if rest.eq_ignore_ascii_case(b"xx") || rest.iter().all(u8::is_ascii_digit));
        if !range_or_status && status != "default" {
            self.problems.push(place.problem("is no status: `201`, `2XX` or `default`"));
        }
        let status = if status == "default" { status.to_owned() } else { status.to_uppercase() };
        let payload = self.follow(place).and_then(|response| self.payload(&response, true, Direction::Response));
        Response { status, payload }
    }

    fn payload(&mut self, owner: &Place<'d>, required: bool, direction: Direction) -> Option<Payload> {
        let json = json_content(owner)?;
        let validator = match json.get("schema") {
            Some(schema) => self.validator(&schema, direction)?,
            // JSON of which nothing is promised.
            None => Validator::compile(Value::Bool(true)).ok()?,
        };
        Some(Payload { required, ty: validator.ty.clone(), validator })
    }

    fn validator(&mut self, schema: &Place<'d>, direction: Direction) -> Option<Validator> {
        // A mere reference is the same as what it stands for.
        let is_reference = schema.value.as_object().is_some_and(|schema| schema.len() == 1);
        let schema = if is_reference { self.follow(schema)? } else { schema.clone() };
        let key = (schema.pointer.clone(), direction);
        if let Some(known) = self.payloads.get(&key) {
            return Some(known.clone());
        }
        let lifted = lift(self.document, self.dialect, direction, &schema);
        match lifted.and_then(|lifted| Validator::compile(lifted).map_err(|error| within(&schema, &error))) {
            Ok(validator) => {
                self.payloads.insert(key, validator.clone());
                Some(validator)
            }
            Err(problem) => {
                if !self.problems.contains(&problem) {
                    self.problems.push(problem);
                }
                None
            }
        }
    }

    fn follow(&mut self, place: &Place<'d>) -> Option<Place<'d>> {
        match place.follow(self.document) {
            Ok(followed) => Some(followed),
            Err(problem) => {
                self.problems.push(problem);
                None
            }
        }
    }
}

/// A problem of a lifted schema, at the place that the schema was lifted from.
fn within(schema: &Place<'_>, error: &ContractError) -> ContractError {
    match error.pointer.as_str() {
        "" => schema.problem(error.problem.clone()),
        // A step into `$defs` is no step of the document.
        inner if inner.starts_with("/$defs") => schema.problem(format!("{} (at {inner})", error.problem)),
        inner => ContractError { pointer: format!("{}{inner}", schema.pointer), problem: error.problem.clone() },
    }
}

/// The media type object for `application/json`: by its name, with parameters perhaps, or by a range that has it.
fn json_content<'d>(owner: &Place<'d>) -> Option<Place<'d>> {
    let content = owner.get("content")?;
    let names = ["application/json", "application/*", "*/*"];
    names.into_iter().find_map(|name| {
        let is_named = |media_type: &str| is_one_of(media_type.split(';').next().unwrap_or_default().trim(), &[name]);
        content.members().find(|(media_type, _)| is_named(media_type)).map(|(_, place)| place)
    })
}

fn is_one_of(name: &str, names: &[&str]) -> bool {
    names.iter().any(|one| one.eq_ignore_ascii_case(name))
}
