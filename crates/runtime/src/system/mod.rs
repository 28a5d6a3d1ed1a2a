//! The client of the systems: a request is built, sent with a credential, and its answer judged.
//!
//! On the way of a record: `target` makes the HTTP request so that no value of an event can change what is called,
//! `credential` proves who we are, [`SystemClient`] sends it under one deadline, `judge` says what came of it.
//! [`LookUps`] ask in the same way and keep the answers; [`idempotency`] makes the key under which a system remembers an
//! effect, and [`SystemClient::once`] keeps to one: it finds an effect
//! whose answer was lost before it calls again. [`Drift`] counts where a system is not what it was said
//! to be.

mod advertised;
mod batch;
mod client;
mod credential;
mod drift;
mod effect;
mod find;
pub mod idempotency;
mod judge;
mod limits;
mod look_up;
mod once;
mod retry_after;
mod target;
#[cfg(test)]
pub(crate) mod tests;

pub use crate::http::CredentialError;
pub use client::{Reply, Request, SystemClient, SystemClientError};
pub use drift::Drift;
pub use effect::{Effect, Sent};
pub use find::Found;
pub(crate) use limits::wait_of;
pub use look_up::{LookUpFailed, LookUps};
pub use once::{Attempted, Came};
