//! The clients against stand-ins of what they call: a registry over HTTP, a broker in this process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod publisher;
mod registry;
