//! What the person on call asks of a bus and orders it to do, for whatever shows it to them.
//!
//! All of it reads Kafka by hand ([`crate::kafka::TopicReader`]) and works while no service runs; it blocks, so it is
//! called on a thread that may. What is ordered goes to the control topic: the owner of a partition acts, nobody else.

mod control;
mod letters;
mod payload;
mod replay;
mod unmapped;
mod whereabouts;

pub use control::{Asked, asked, order};
pub use letters::{Filter, Letters, ListedLetter, letter_of, letters};
pub use payload::{Condition, ConditionError, Payload, PayloadError};
pub use replay::{Forecast, Foreseen, Mark, beyond_ledger, forecast, ranges};
pub use unmapped::{ListedBody, body_of, unmapped};
pub use whereabouts::{Question, State, Subject, Trail, Whereabouts, whereabouts};

use crate::kafka::{ConnectError, PublishError, ReadError};
use crate::registry::RegistryError;
use crate::replay::{RANGE_MAX, ShownError, StretchError};
use crate::state::{LETTERS_MAX, StateError};

/// Why a question cannot be answered, or an order not be given.
#[derive(Debug, thiserror::Error)]
pub enum OperateError {
    /// A Kafka client cannot be made.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A topic cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The order was not acknowledged.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The registry cannot be asked for the schema that a payload was written with.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A record of a state topic is none of ours.
    #[error("the record at {place} cannot be read")]
    Unreadable {
        /// Topic, partition and offset.
        place: String,
        /// What is wrong with it.
        #[source]
        cause: StateError,
    },
    /// An order cannot be written.
    #[error(transparent)]
    State(#[from] StateError),
    /// What was done cannot be said.
    #[error(transparent)]
    Shown(#[from] ShownError),
    /// A stretch cannot be read.
    #[error(transparent)]
    Stretch(#[from] StretchError),
    /// A stretch of more than can be replayed at once.
    #[error(
        "partition {partition} has more than {RANGE_MAX} offsets between `--from` and `--to`: replay them in parts"
    )]
    TooLong {
        /// The partition.
        partition: i32,
    },
    /// More than can be shown or ordered at once.
    #[error(
        "more than {LETTERS_MAX} dead letters match: narrow them by reason, time, key or `--where`, or take `--max`"
    )]
    TooMany,
}
