//! Problem details (RFC 9457): the one shape of everything that we refuse.

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Response, StatusCode};
use serde_json::json;

/// The media type of RFC 9457, section 3.
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// A refusal with what to do about it. The type is `about:blank`, so the title is the status's own phrase (RFC 9457,
/// section 4.2.1).
pub(crate) fn problem(status: StatusCode, detail: Option<&str>) -> Response<Body> {
    let mut members = json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or("Refused"),
        "status": status.as_u16(),
    });
    if let (Some(detail), Some(object)) = (detail, members.as_object_mut()) {
        object.insert("detail".to_owned(), detail.into());
    }
    let mut response = Response::new(Body::from(members.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, PROBLEM_JSON);
    response
}
