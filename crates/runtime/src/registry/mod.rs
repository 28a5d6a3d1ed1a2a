//! The schema registry's client (Confluent's REST API).
//!
//! [`RegistryClient::schema`] is on the way of every record: the schema that it was written with, by id or GUID. The
//! other calls are those of `tieline apply` and `check`. `writer` makes a schema with references a self-contained one.

mod client;
mod writer;

pub use client::{Latest, Reference, RegistryClient, RegistryClientError, RegistryError};
pub use writer::WriterSchema;
