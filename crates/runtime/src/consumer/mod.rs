//! A consumer at work: records come from Kafka, the core decides, systems are called, and what became of each record is
//! committed.

mod absent;
mod assignments;
mod batch;
mod door;
mod finals;
mod follow_up;
mod jobs;
mod lag;
mod ordered;
mod parked;
mod prepare;
mod preview;
mod replaying;
mod replays;
mod send;
mod send_batch;
mod service;
mod settings;
mod settled;
mod status;
#[cfg(test)]
mod tests;
mod thread;
mod watch;
mod wiring;

pub(crate) use prepare::BOUNDS;
pub(crate) use settings::RETRY_AFTER_MAX;

pub use preview::{Preview, preview};
pub use service::{ServiceError, Stop, run};
pub use status::{ConsumerStatus, LimitStatus, OutageStatus, PartitionStatus, StuckRecord};
pub use wiring::{Wiring, WiringError};
