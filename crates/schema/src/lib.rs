//! What an event is, and what a contract says: Avro, Confluent's wire format, CloudEvents, JSON Schema and OpenAPI, and
//! one type model for all of them; which version of an event can follow which.

pub mod avro;
pub mod cloudevents;
pub mod compatibility;
pub mod contract;
mod decimal;
pub mod friendly;
pub mod partitioner;
mod rfc3339;
pub mod types;
pub mod wire;
