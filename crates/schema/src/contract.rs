//! A contract: the OpenAPI document of a system, its operations, and the JSON Schemas in it.

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
#[derive(Debug)]
pub struct Validator {
    /// The schema, self-contained.
    pub schema: Value,
    /// The type that it stands for.
    pub ty: Type,
    #[allow(dead_code)]
    compiled: jsonschema::Validator,
}

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
    pub fn parse(_document: Value) -> Result<Self, Vec<ContractError>> {
        unimplemented!()
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
    pub fn response(&self, _status: u16) -> Option<&Response> {
        unimplemented!()
    }

    /// The type that `$response` has: what its 2xx answers have in common; `None` where they have no body.
    #[must_use]
    pub fn success_type(&self) -> Option<Type> {
        unimplemented!()
    }
}

impl Validator {
    /// Compiles a JSON Schema (draft 2020-12) that refers to nothing outside itself. Formats are checked.
    ///
    /// # Errors
    /// When it is not a schema.
    pub fn compile(_schema: Value) -> Result<Self, ContractError> {
        unimplemented!()
    }

    /// Says what of this value breaks the contract: at most 8 places.
    #[must_use]
    pub fn violations(&self, _value: &Value) -> Vec<Violation> {
        unimplemented!()
    }
}
