//! How a stand-in refuses: problem details (RFC 9457), with a pointer to each place that breaks the contract.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tieline_schema::contract::Violation;

/// A refusal.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    status: u16,
    detail: String,
    violations: Vec<Violation>,
    headers: Vec<(&'static str, String)>,
    /// Members that a system's own form of a refusal has.
    fields: Option<Box<Value>>,
}

impl Problem {
    pub(super) fn new(status: u16, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), violations: Vec::new(), headers: Vec::new(), fields: None }
    }

    pub(super) fn of_contract(violations: Vec<Violation>) -> Self {
        Self { violations, ..Self::new(422, "the request breaks the contract") }
    }

    pub(super) fn with(mut self, header: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((header, value.into()));
        self
    }

    pub(super) fn with_field(self, fields: Value) -> Self {
        Self { fields: Some(Box::new(fields)), ..self }
    }

    pub(super) fn status(&self) -> u16 {
        self.status
    }

    pub(super) fn body(&self) -> Value {
        let title = StatusCode::from_u16(self.status).ok().and_then(|s| s.canonical_reason()).unwrap_or("Failed");
        let mut body = json!({ "type": "about:blank", "title": title, "status": self.status, "detail": self.detail });
        if !self.violations.is_empty() {
            let errors = self.violations.iter().map(|v| json!({ "pointer": v.pointer, "detail": v.message }));
            body["errors"] = errors.collect();
        }
        for (name, value) in self.fields.iter().filter_map(|fields| fields.as_object()).flatten() {
            body[name] = value.clone();
        }
        body
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self.body())).into_response();
        let media_type = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, media_type);
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}
