//! The core of delivery: order, retry, dead letters, and what may be committed. A machine without clock, socket or
//! thread: one [`Machine::handle`], one [`Machine::poll`]. The [`oracle`] judges what a consumer did.
//!
//! Through the files, as a record goes: [`Machine`] takes it in; `assign` meets it in its partition (`partition`,
//! `frontier`, `window`) and puts it into its `lane`; `schedule` says when it is prepared and sent (`turns`); `settle` takes
//! the answer, and tries again (`retry`), parks it (`parking`, `park`) or ends it; `breaker` tells an outage from a record that
//! fails, `concurrency` how many calls the system bears; `commit` makes it all durable (`together`, `metadata`). What
//! is delivered once more comes in behind all that (`replaying`).

mod assign;
mod breaker;
mod class;
mod commit;
mod concurrency;
mod entry;
mod frontier;
mod input;
mod lane;
pub mod limits;
mod machine;
mod metadata;
pub mod oracle;
mod output;
mod park;
mod parking;
mod partition;
mod pausing;
mod record;
mod replaying;
mod retry;
mod schedule;
mod settle;
mod together;
mod turns;
mod view;
mod window;

pub use class::{ByClass, Class};
pub use input::{Input, OnDeadLetter, Order, Prepared, Replayed, Settings};
pub use machine::Machine;
pub use metadata::{METADATA_BYTES_MAX, Mapped, Metadata, MetadataError};
pub use output::{Came, Commit, CommitOffset, Discarded, Effect, Final, Outcome, Output, PauseReason};
pub use record::{
    Answer, AttemptLog, CommitId, Epoch, Held, Key, OUTCOME_UNKNOWN, ParkedAt, ParkedState, Partition, Reason,
    RecordId, Time,
};
pub use view::{Load, Outage, PartitionView, Stuck};
