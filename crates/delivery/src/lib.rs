//! The core of delivery: order, retry, dead letters, and what may be committed. A machine without clock, socket or
//! thread: one [`Machine::handle`], one [`Machine::poll`].

mod input;
mod output;
mod record;

pub use input::{Input, OnDeadLetter, Order, Prepared, Settings};
pub use output::{Commit, CommitOffset, Final, Outcome, Output, PauseReason};
pub use record::{Answer, AttemptLog, CommitId, Epoch, Key, Partition, Reason, RecordId, Time};
