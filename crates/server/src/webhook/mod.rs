//! The systems' webhooks: from a request that anybody can send to a delivery that a producer can trust.
//!
//! In order: path and method ([`routes`](self)), body within its bounds (`body`), signature over the raw bytes
//! ([`verify()`]), JSON within its bounds (`json`), trace context (`trace`), hand-over ([`Accept`]).

mod accept;
mod body;
mod headers;
mod hmac;
mod hook;
mod metrics;
mod refusal;
mod routes;
mod sign;
mod trace;
mod verify;

pub mod json;
pub mod standard_webhooks;

pub use accept::{Accept, Accepting};
pub use headers::passed_on;
pub use hook::{Endpoint, Hook};
pub use routes::{WebhooksError, router, webhooks};
pub use sign::sign;
pub use verify::{VerifiedId, VerifyError, verify};
