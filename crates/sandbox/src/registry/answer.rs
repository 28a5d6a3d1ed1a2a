//! What the registry answers when it refuses: Confluent's codes and shapes, which clients match on.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// The media type of Confluent's registry.
pub const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 40101.
    #[error("Unauthorized")]
    Unauthorized,
    /// 40401.
    #[error("Subject '{0}' not found.")]
    NoSubject(String),
    /// 40402.
    #[error("Version {0} not found.")]
    NoVersion(String),
    /// 40403.
    #[error("Schema {0} not found")]
    NoSchema(String),
    /// 40408.
    #[error("Subject '{0}' does not have subject-level compatibility configured")]
    NoSubjectConfig(String),
    /// 42201.
    #[error("Invalid schema: {0}")]
    InvalidSchema(String),
    /// 42202.
    #[error(
        "The specified version '{0}' is not a valid version id. Allowed values are between [1, 2^31-1] and the string \"latest\""
    )]
    InvalidVersion(String),
    /// 42203.
    #[error(
        "Invalid compatibility level. Valid values are NONE, BACKWARD, FORWARD, FULL, BACKWARD_TRANSITIVE, FORWARD_TRANSITIVE, and FULL_TRANSITIVE"
    )]
    InvalidMode,
    /// 409.
    #[error(
        "Schema being registered is incompatible with an earlier schema for subject \"{subject}\", details: [{details}]"
    )]
    Incompatible {
        /// The subject.
        subject: String,
        /// What speaks against it.
        details: String,
    },
    /// 400.
    #[error("the body is not what this call takes: {0}")]
    BadBody(String),
    /// 50001: this stand-in holds no more.
    #[error("this registry holds {0} schemas at most")]
    Full(usize),
}

impl Refusal {
    fn code(&self) -> (StatusCode, u32) {
        match self {
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, 40101),
            Self::NoSubject(_) => (StatusCode::NOT_FOUND, 40401),
            Self::NoVersion(_) => (StatusCode::NOT_FOUND, 40402),
            Self::NoSchema(_) => (StatusCode::NOT_FOUND, 40403),
            Self::NoSubjectConfig(_) => (StatusCode::NOT_FOUND, 40408),
            Self::InvalidSchema(_) => (StatusCode::UNPROCESSABLE_ENTITY, 42201),
            Self::InvalidVersion(_) => (StatusCode::UNPROCESSABLE_ENTITY, 42202),
            Self::InvalidMode => (StatusCode::UNPROCESSABLE_ENTITY, 42203),
            Self::Incompatible { .. } => (StatusCode::CONFLICT, 409),
            Self::BadBody(_) => (StatusCode::BAD_REQUEST, 400),
            Self::Full(_) => (StatusCode::INTERNAL_SERVER_ERROR, 50001),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, code) = self.code();
        (status, ok(json!({ "error_code": code, "message": self.to_string() }))).into_response()
    }
}

/// A body of Confluent's media type.
pub fn ok(body: Value) -> Response {
    ([(header::CONTENT_TYPE, MEDIA_TYPE)], Json(body)).into_response()
}
