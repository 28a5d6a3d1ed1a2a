//! All that the bus calls: Kafka, the schema registry, the systems; and the loops that drive the core.

pub mod apply;
pub mod consumer;
mod fail_point;
mod fetches;
pub mod happening;
mod http;
pub mod kafka;
mod kept;
pub mod limits;
pub mod operate;
pub mod orders;
pub mod producer;
pub mod registry;
pub mod replay;
mod retention;
pub mod state;
pub mod system;
pub mod telemetry;
pub mod trace;

/// Wall-clock time, milliseconds since the Unix epoch.
#[must_use]
pub fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
