//! Avro: an event's schema, read from its file, and the type that it stands for.

use crate::types::Type;

/// The schema of an event's payload.
#[derive(Debug, Clone)]
pub struct EventSchema {
    /// The schema as its author wrote it: what is registered.
    pub text: String,
    /// The schema as `apache-avro` reads it.
    pub avro: apache_avro::Schema,
    /// The type that it stands for.
    pub ty: Type,
}

/// Why a text is not an event's schema.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// Not Avro.
    #[error("not an Avro schema")]
    NotAvro(#[source] Box<apache_avro::Error>),
    /// Avro, but something that an event cannot have (a recursive type, a union of several records).
    #[error("`{path}` {problem}")]
    Unsupported {
        /// The field, from the top, with dots.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl EventSchema {
    /// Reads the text of an `.avsc` file.
    ///
    /// # Errors
    /// When it is not Avro, or not an event.
    pub fn parse(_text: &str) -> Result<Self, SchemaError> {
        unimplemented!()
    }
}
