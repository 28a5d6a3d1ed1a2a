//! A contract: the OpenAPI document of a system, its operations, and the JSON Schemas in it.
//!
//! The same schema is read twice. Its [`Type`] is what a mapping is checked against before it ships: what types can
//! say, and no more. Its [`Validator`] is the whole of it, and judges examples, answers and webhooks.
//!
//! Nothing is fetched: a document refers to itself alone. Whoever reads one from several files joins them before.

mod document;
mod join;
mod json_schema;
mod lift;
mod limit;
mod openapi;
mod violation;

use std::sync::Arc;

use serde_json::Value;

use crate::types::Type;

/// The OpenAPI document of a system.
#[derive(Debug, Clone)]
pub struct Contract {
    /// Its operations that have an `operationId`, in the order of the document.
    pub operations: Vec<Arc<Operation>>,
    /// The document itself.
    pub document: Arc<Value>,
}

/// A thing that a system can be asked for.
#[derive(Debug)]
pub struct Operation {
    /// Its `operationId`.
    pub id: String,
    /// `GET`, `POST`, …
    pub method: String,
    /// What it does, in a line.
    pub summary: Option<String>,
    /// The template of its path, `/users/{id}`.
    pub path: String,
    /// Its parameters in path, query and header.
    pub parameters: Vec<Parameter>,
    /// What it takes, as `application/json`.
    pub request: Option<Payload>,
    /// What it answers, in the order of the document.
    pub responses: Vec<Response>,
}

/// A parameter of an operation.
#[derive(Debug)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Where it goes.
    pub place: Place,
    /// Whether it has to be there.
    pub required: bool,
    /// Its type.
    pub ty: Type,
}

/// Where a parameter goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Into the path's template, percent-encoded.
    Path,
    /// Into the query.
    Query,
    /// A header.
    Header,
}

/// The JSON that a request or a response is.
#[derive(Debug)]
pub struct Payload {
    /// Whether it has to be there.
    pub required: bool,
    /// Its type.
    pub ty: Type,
    /// The whole of what it promises.
    pub validator: Validator,
}

/// An answer of an operation.
#[derive(Debug)]
pub struct Response {
    /// `201`, `2XX` or `default`.
    pub status: String,
    /// What it holds, as `application/json`.
    pub payload: Option<Payload>,
}

/// A JSON Schema, compiled.
#[derive(Debug, Clone)]
pub struct Validator {
    /// The schema, self-contained.
    pub schema: Value,
    /// The type that it stands for.
    pub ty: Type,
    compiled: Arc<jsonschema::Validator>,
}

/// Most places that [`Validator::violations`] names: enough to see what is wrong, few enough to read.
const VIOLATIONS_MAX: usize = 8;

/// Most steps back that a pattern may take on one text, so that no text of a stranger keeps a thread busy.
const PATTERN_BACKTRACK_MAX: usize = 100_000;

/// A place in a JSON value that breaks a contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Where, as a JSON pointer (RFC 6901); empty for the whole.
    pub pointer: String,
    /// What is wrong, without the value itself.
    pub message: String,
}

/// What is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {problem}")]
pub struct ContractError {
    /// Where, as a JSON pointer into the document.
    pub pointer: String,
    /// What.
    pub problem: String,
}

impl Contract {
    /// Reads an OpenAPI 3.0 or 3.1 document.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn parse(document: Value) -> Result<Self, Vec<ContractError>> {
        let operations = openapi::read(&document)?;
        Ok(Self { operations, document: Arc::new(document) })
    }

    /// The operation of this id.
    #[must_use]
    pub fn operation(&self, id: &str) -> Option<&Arc<Operation>> {
        self.operations.iter().find(|o| o.id == id)
    }
}

impl Operation {
    /// What it promises to answer with this status: the exact one, else its range, else `default`.
    #[must_use]
    pub fn response(&self, status: u16) -> Option<&Response> {
        let named = |name: &str| self.responses.iter().find(|response| response.status == name);
        let range = || named(&format!("{}XX", status / 100));
        named(&status.to_string()).or_else(range).or_else(|| named("default"))
    }

    /// The answers of a call that is done: those to 2xx. Where no 2xx is named, `default` speaks for them.
    #[must_use]
    pub fn successes(&self) -> Vec<&Response> {
        let successes: Vec<&Response> = self.responses.iter().filter(|r| r.status.starts_with('2')).collect();
        let default: Vec<&Response> = self.responses.iter().filter(|r| r.status == "default").collect();
        if successes.is_empty() { default } else { successes }
    }

    /// The type that `$response` has: what its 2xx answers have in common; `None` where they have no body.
    ///
    /// Where some have a body and some have none, it can be null.
    #[must_use]
    pub fn success_type(&self) -> Option<Type> {
        let answers = self.successes();
        let bodies = answers.iter().filter_map(|answer| answer.payload.as_ref());
        let common = bodies.map(|payload| payload.ty.clone()).reduce(|a, b| join::join(&a, &b))?;
        let always = answers.iter().all(|answer| answer.payload.is_some());
        Some(if always { common } else { common.or_null() })
    }
}

impl Validator {
    /// Compiles a JSON Schema (draft 2020-12, unless its `$schema` says another) that refers to nothing outside itself.
    /// Formats are checked.
    ///
    /// # Errors
    /// When it is not a schema.
    pub fn compile(schema: Value) -> Result<Self, ContractError> {
        lift::check_references(&schema)?;
        let patterns = jsonschema::PatternOptions::fancy_regex().backtrack_limit(PATTERN_BACKTRACK_MAX);
        let options = jsonschema::options().offline().should_validate_formats(true).with_pattern_options(patterns);
        let compiled = options.build(&schema).map_err(|error| ContractError {
            pointer: error.instance_path().to_string(),
            problem: format!("is no JSON Schema: {}", violation::describe(error.kind())),
        })?;
        let ty = json_schema::type_of(&schema);
        Ok(Self { schema, ty, compiled: Arc::new(compiled) })
    }

    /// Says what of this value breaks the contract: at most 8 places.
    #[must_use]
    pub fn violations(&self, value: &Value) -> Vec<Violation> {
        let errors = self.compiled.iter_errors(value).take(VIOLATIONS_MAX);
        let violation = |error: jsonschema::ValidationError<'_>| Violation {
            pointer: error.instance_path().to_string(),
            message: violation::describe(error.kind()),
        };
        errors.map(violation).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use serde_json::json;

    use super::*;
    use crate::types::{Kind, Record};

    fn document() -> Value {
        json!({
            "openapi": "3.1.0",
            "info": {"title": "ERP", "version": "1"},
            "paths": {
                "/projects/{id}": {
                    "parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "string", "maxLength": 9}},
                                   {"name": "lang", "in": "query", "schema": {"type": "string"}}],
                    "get": {"operationId": "getProject", "summary": "One project",
                        "parameters": [{"name": "lang", "in": "query", "required": true, "schema": {"enum": ["de", "en"]}},
                                       {"$ref": "#/components/parameters/Version"},
                                       {"name": "session", "in": "cookie", "schema": {}}],
                        "responses": {
                            "200": {"content": {"application/json; charset=utf-8": {"schema": {"$ref": "#/components/schemas/Project"}}}},
                            "4xx": {"$ref": "#/components/responses/Problem"},
                            "default": {"description": "Anything."}}},
                    "delete": {"responses": {}},
                },
                "/projects": {"post": {"operationId": "createProject",
                    "requestBody": {"required": true, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Project"}}}},
                    "responses": {
                        "201": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Project"}}}},
                        "202": {"description": "Later."}}}},
            },
            "components": {
                "parameters": {"Version": {"name": "API-Version", "in": "header", "schema": {"type": "string"}}},
                "responses": {"Problem": {"content": {"application/problem+json": {"schema": {"type": "object"}}}}},
                "schemas": {
                    "Project": {"type": "object", "required": ["id", "name"], "additionalProperties": false, "properties": {
                        "id": {"type": "string", "readOnly": true}, "name": {"type": "string", "maxLength": 5},
                        "parent": {"$ref": "#/components/schemas/Project"}, "size": {"type": "integer", "format": "int32"}}},
                },
            },
        })
    }

    fn contract() -> Contract {
        Contract::parse(document()).unwrap()
    }

    fn record(ty: &Type) -> Arc<Record> {
        match &ty.kind {
            Kind::Record(record) => Arc::clone(record),
            other => panic!("{other:?} is no record"),
        }
    }

    #[test]
    fn operations_with_an_id_are_read_in_order() {
        let contract = contract();
        let seen: Vec<_> =
            contract.operations.iter().map(|o| (o.id.as_str(), o.method.as_str(), o.path.as_str())).collect();
        assert_eq!(seen, [("getProject", "GET", "/projects/{id}"), ("createProject", "POST", "/projects")]);
        assert_eq!(contract.operation("getProject").unwrap().summary.as_deref(), Some("One project"));
        assert!(contract.operation("deleteProject").is_none());
    }

    #[test]
    fn an_operations_parameters_go_over_those_of_its_path() {
        let contract = contract();
        let parameters = &contract.operation("getProject").unwrap().parameters;
        let seen: Vec<_> = parameters.iter().map(|p| (p.name.as_str(), p.place, p.required)).collect();
        assert_eq!(
            seen,
            [("id", Place::Path, true), ("lang", Place::Query, true), ("API-Version", Place::Header, false)]
        );
    }

    #[test]
    fn an_answer_is_found_by_its_status_then_its_range_then_default() {
        let contract = contract();
        let operation = contract.operation("getProject").unwrap();
        let found = |status| operation.response(status).map(|response| response.status.as_str());
        assert_eq!([found(200), found(404), found(500)], [Some("200"), Some("4XX"), Some("default")]);
        assert!(operation.response(404).unwrap().payload.is_none(), "a problem is no `application/json`");
        assert!(contract.operation("createProject").unwrap().response(500).is_none());
    }

    #[test]
    fn the_type_of_a_success_is_what_its_answers_have_in_common() {
        let contract = contract();
        let get = contract.operation("getProject").unwrap().success_type().unwrap();
        assert!(!get.nullable && record(&get).field("id").unwrap().required);
        // A 202 of this has no body.
        assert!(contract.operation("createProject").unwrap().success_type().unwrap().nullable);
    }

    #[test]
    fn what_is_read_only_is_required_of_the_system_and_not_of_us() {
        let contract = contract();
        let create = contract.operation("createProject").unwrap();
        let request = &create.request.as_ref().unwrap().validator;
        let response = &create.response(201).unwrap().payload.as_ref().unwrap().validator;
        assert_eq!(request.violations(&json!({"name": "a"})), []);
        assert_eq!(response.violations(&json!({"name": "a"}))[0].message, "must have `id`");
        assert!(!record(&request.ty).field("id").unwrap().required);
    }

    #[test]
    fn a_schema_that_holds_itself_is_checked_all_the_way_down() {
        let contract = contract();
        let validator = &contract.operation("createProject").unwrap().request.as_ref().unwrap().validator;
        let deep = json!({"name": "a", "parent": {"name": "b", "parent": {"name": "too long"}}});
        let violation =
            Violation { pointer: "/parent/parent/name".into(), message: "must not be longer than 5 characters".into() };
        assert_eq!(validator.violations(&deep), [violation]);
        assert_eq!(
            record(&validator.ty).field("size").unwrap().ty.kind,
            Kind::Integer { min: i32::MIN.into(), max: i32::MAX.into() }
        );
        assert_eq!(validator.violations(&json!({"name": "a", "size": 1_i64 << 31})).len(), 1);
    }

    #[test]
    fn the_dialect_of_3_0_says_the_same_in_its_own_way() {
        let schema = json!({"type": "object", "required": ["a"], "properties": {
            "a": {"type": "string", "nullable": true, "enum": ["X"]},
            "b": {"type": "number", "minimum": 0, "exclusiveMinimum": true, "multipleOf": 0.01},
            "c": {"nullable": true, "allOf": [{"$ref": "#/components/schemas/C"}]},
            "d": {"$ref": "#/components/schemas/C", "nullable": true},
            "e": {"type": "integer", "maximum": 5, "exclusiveMaximum": false, "example": 3}}});
        let document = json!({"openapi": "3.0.3", "paths": {"/": {"post": {"operationId": "x", "responses": {},
            "requestBody": {"content": {"application/json": {"schema": schema}}}}}},
            "components": {"schemas": {"C": {"type": "object", "properties": {"n": {"type": "integer"}}}}}});
        let contract = Contract::parse(document).unwrap();
        let request = contract.operations[0].request.as_ref().unwrap();
        let body = record(&request.ty);
        let nullable: Vec<bool> = body.fields.iter().map(|field| field.ty.nullable).collect();
        assert_eq!(nullable, [true, false, true, false, false]);
        let Kind::Decimal { bounds, .. } = &body.field("b").unwrap().ty.kind else { panic!("no decimal") };
        assert_eq!(bounds.min.as_deref(), Some("0.01"));
        let right = json!({"a": null, "b": 0.5, "c": null, "d": {}, "e": 5});
        assert_eq!(request.validator.violations(&right), []);
        let wrong = json!({"a": "Y", "b": 0, "c": 1, "d": null, "e": 6});
        let pointers: Vec<String> = request.validator.violations(&wrong).into_iter().map(|v| v.pointer).collect();
        assert_eq!(pointers, ["/a", "/b", "/c", "/d", "/e"]);
    }

    #[test]
    fn all_that_is_wrong_with_a_document_is_told_at_once_with_its_place() {
        let get = |id: &str, more: Value| {
            let mut operation = json!({"operationId": id, "responses": {}});
            operation.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"get": operation})
        };
        let body = |schema: Value| json!({"requestBody": {"content": {"application/json": {"schema": schema}}}});
        let document = json!({"openapi": "3.1.1", "paths": {
            "/a/{id}": get("a", json!({})),
            "/b": get("a", json!({"parameters": [{"name": "id", "in": "path", "schema": {}}]})),
            "/c": get("c", json!({"parameters": [{"$ref": "#/components/parameters/None"}, {"name": "x", "in": "body"}, {"name": "y", "in": "query"}]})),
            "/d": get("d", body(json!({"properties": {"x/y": {"$ref": "other.yaml#/X"}}}))),
            "/e": get("e", body(json!({"$ref": "#/components/schemas/Ring"}))),
            "/f": get("f", body(json!({"type": "strin"}))),
            "/g": get("g", json!({"responses": {"20": {}}})),
        }, "components": {"schemas": {"Ring": {"$ref": "#/components/schemas/Ring"}}}});
        let errors: Vec<String> = Contract::parse(document).unwrap_err().iter().map(ToString::to_string).collect();
        assert_eq!(
            errors,
            [
                "/paths/~1a~1{id}/get: has `{id}` in its path, and no path parameter for it",
                "/paths/~1b/get: has the operationId `a`, which another has too",
                "/paths/~1b/get: has a path parameter `id` that is not in its path",
                "/paths/~1c/get/parameters/0/$ref: refers to `#/components/parameters/None`, which is not there",
                "/paths/~1c/get/parameters/1: must have `in`: path, query, header or cookie",
                "/paths/~1c/get/parameters/2: has no schema",
                "/paths/~1d/get/requestBody/content/application~1json/schema/properties/x~1y/$ref: refers to `other.yaml#/X`, outside of this document",
                "/paths/~1e/get/requestBody/content/application~1json/schema: is a circle of references",
                "/paths/~1f/get/requestBody/content/application~1json/schema/type: is no JSON Schema: fits none of the 2 forms that the contract allows",
                "/paths/~1g/get/responses/20: is no status: `201`, `2XX` or `default`",
            ]
        );
        let version = |document: Value| Contract::parse(document).unwrap_err()[0].to_string();
        assert_eq!(version(json!({"openapi": "2.0"})), ": is OpenAPI 2.0; 3.0 and 3.1 are read");
        assert_eq!(version(json!([])), ": is no OpenAPI document: it has no text `openapi` with its version");
    }

    #[test]
    fn a_violation_says_what_is_wrong_and_never_the_value() {
        const SECRET: &str = "canary-5f1c";
        let check = |schema: Value, value: Value, message: &str| {
            let violations = Validator::compile(schema).unwrap().violations(&value);
            assert_eq!(violations[0].message, message);
            assert!(
                violations.iter().all(|v| !v.message.contains(SECRET) && !v.message.contains("77777")),
                "{violations:?}"
            );
        };
        let secret = || json!(SECRET);
        check(json!({"type": "integer"}), secret(), "must be integer");
        check(json!({"type": ["integer", "null"]}), secret(), "must be null or integer");
        check(json!({"enum": ["A", "B", 1]}), secret(), "must be one of `A`, `B`, 1");
        check(json!({"const": "A"}), secret(), "must be `A`");
        check(json!({"maxLength": 2}), secret(), "must not be longer than 2 characters");
        check(json!({"minLength": 20}), secret(), "must not be shorter than 20 characters");
        check(json!({"pattern": "^[A-Z]{2}$"}), secret(), "must match ^[A-Z]{2}$");
        check(json!({"format": "date"}), secret(), "must have the format date");
        check(json!({"format": "email"}), secret(), "must have the format email");
        check(json!({"format": "uuid"}), secret(), "must have the format uuid");
        check(json!({"format": "date-time"}), secret(), "must have the format date-time");
        check(json!({"not": {"type": "string"}}), secret(), "has a form that the contract forbids");
        check(
            json!({"anyOf": [{"type": "null"}, {"type": "integer"}]}),
            secret(),
            "fits none of the 2 forms that the contract allows",
        );
        check(
            json!({"oneOf": [true, true]}),
            secret(),
            "fits more than one of the forms of which the contract wants one",
        );
        check(json!(false), secret(), "must not be there");
        check(json!({"maximum": 5}), json!(77777), "must be at most 5");
        check(json!({"exclusiveMinimum": 99999}), json!(77777), "must be more than 99999");
        check(json!({"multipleOf": 2}), json!(77777), "must be a multiple of 2");
        check(json!({"maxItems": 1}), json!([SECRET, SECRET]), "must not have more than 1 items");
        check(json!({"uniqueItems": true}), json!([SECRET, SECRET]), "must not have an item twice");
        check(json!({"required": ["a"]}), json!({"b": SECRET}), "must have `a`");
        check(
            json!({"properties": {"a": {}}, "additionalProperties": false}),
            json!({"prioirty\n": SECRET}),
            "must not have `prioirty\\n`",
        );
        check(json!({"items": {"enum": ["A"]}}), json!([SECRET]), "must be `A`");
    }

    #[test]
    fn at_most_eight_places_are_named() {
        let validator = Validator::compile(json!({"items": {"type": "string"}})).unwrap();
        assert_eq!(validator.violations(&json!([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])).len(), 8);
    }

    #[test]
    fn a_schema_that_is_itself_accepts_and_ends() {
        let validator =
            Validator::compile(json!({"$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}}));
        assert_eq!(validator.unwrap().violations(&json!(1)), []);
        assert!(Validator::compile(json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}})).is_err());
        assert!(Validator::compile(json!({"$ref": "https://example.com/schema.json"})).is_err());
    }

    #[test]
    fn no_text_makes_a_pattern_run_for_long() {
        let validator = Validator::compile(json!({"pattern": "^(a+)+(?=b)$"})).unwrap();
        let started = std::time::Instant::now();
        assert_eq!(validator.violations(&json!("a".repeat(64))).len(), 1);
        assert!(started.elapsed() < std::time::Duration::from_secs(5));
    }
}
