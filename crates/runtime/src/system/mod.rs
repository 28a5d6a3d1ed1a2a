//! The client of the systems: a request is built, sent with a credential, and its answer judged.
//!
//! On the way of a record: `target` makes the HTTP request so that no value of an event can change what is called,
//! `credential` proves who we are, [`SystemClient`] sends it under one deadline, `judge` says what came of it.
//! [`LookUps`] ask in the same way and keep the answers; [`idempotency`] makes the key under which a system remembers an
//! effect.

mod client;
mod credential;
pub mod idempotency;
mod judge;
mod look_up;
mod retry_after;
mod target;
#[cfg(test)]
mod tests;

pub use crate::http::CredentialError;
pub use client::{Reply, Request, SystemClient, SystemClientError};
pub use look_up::{LookUpFailed, LookUps};
