//! All that calls us: the systems' webhooks, and whoever operates the bus. What arrives here is hostile until it is
//! verified, so that every read, wait and parse has a bound.
//!
//! The way of a webhook: [`serve`] accepts the connection and bounds its head, [`webhook`] reads the body, verifies the
//! raw bytes, parses them and hands a `Delivery` to the producer's publisher; 202 goes out after the broker's
//! acknowledgement. [`admin`] is the other port: health, metrics, and what is stuck.

pub mod admin;
mod problem;
mod serve;
pub mod webhook;

pub use serve::serve;
