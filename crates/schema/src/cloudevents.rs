//! CloudEvents 1.0 in binary mode over Kafka headers (Kafka protocol binding 1.0.2, section 3.2).

/// The attributes of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// `ce_id`: with `source`, names the event.
    pub id: String,
    /// `ce_source`: a URI reference.
    pub source: String,
    /// `ce_type`.
    pub ty: String,
    /// `ce_time`: when it happened, milliseconds since the Unix epoch. Written as RFC 3339.
    pub time_ms: Option<i64>,
    /// `ce_subject`: the entity's id.
    pub subject: Option<String>,
    /// `ce_causationid`: the id of the event that this one follows from. An extension.
    pub causation_id: Option<String>,
    /// `ce_traceparent`: W3C Trace Context, as CloudEvents' Distributed Tracing extension has it.
    pub traceparent: Option<String>,
    /// `ce_tracestate`.
    pub tracestate: Option<String>,
}

/// Why headers are not an event's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttributesError {
    /// A required attribute is not there.
    #[error("header `{name}` is missing")]
    Missing {
        /// The header.
        name: &'static str,
    },
    /// An attribute that cannot be read.
    #[error("header `{name}` {problem}")]
    Malformed {
        /// The header.
        name: &'static str,
        /// What is wrong.
        problem: String,
    },
}

impl Attributes {
    /// The headers of a record, in a fixed order; `content-type` is `application/avro`.
    #[must_use]
    pub fn to_headers(&self) -> Vec<(&'static str, String)> {
        unimplemented!()
    }

    /// Reads a record's headers; those that are not ours are passed over.
    ///
    /// # Errors
    /// When `ce_specversion` is not 1.0, or a required attribute is missing or cannot be read.
    pub fn from_headers<'a>(_headers: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>) -> Result<Self, AttributesError> {
        unimplemented!()
    }
}
