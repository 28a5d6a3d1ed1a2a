//! A consumer: an independent service that turns an event into a call, as `consumers/NAME/consumer.yaml` declares it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tieline_mapping::{Expression, Filter, Layout, Mapping};
use tieline_schema::contract::Operation;

use crate::{Event, System};

mod batch;
mod compile;
mod examine;
mod read;
mod tombstone;

pub use batch::{Batch, ItemMeans, ItemOutcome, Outcomes, Reading};
pub(crate) use compile::declared;
pub use tombstone::Tombstone;

/// A consumer, checked and compiled.
#[derive(Debug)]
pub struct Consumer {
    /// Its name: that of its folder.
    pub name: String,
    /// What it is for, in a sentence.
    pub purpose: String,
    /// Who to ask.
    pub owner: String,
    /// The event that it reads.
    pub event: Arc<Event>,
    /// What all of its expressions read of the event, decoded together.
    pub layout: Layout,
    /// Which events concern it; all, without one.
    pub when: Option<Filter>,
    /// What it asks other systems before it maps, in the order of the file. Bound as `$NAME`.
    pub look_ups: Vec<LookUp>,
    /// The call that it makes.
    pub call: Call,
    /// The call that a tombstone makes; without one, tombstones are skipped.
    pub on_tombstone: Option<Tombstone>,
    /// The event that it publishes when the call is done.
    pub emit: Option<Emit>,
    /// How it delivers.
    pub deliver: Deliver,
    /// A fingerprint of everything that decides the bytes of a request (SHA-256, the first 8 bytes).
    pub fingerprint: u64,
}

/// A question to another system.
#[derive(Debug)]
pub struct LookUp {
    /// The name that its answer is bound to.
    pub name: String,
    /// The system that is asked.
    pub system: Arc<System>,
    /// The operation; a safe method (RFC 9110, section 9.2.1).
    pub operation: Arc<Operation>,
    /// The operation's parameters.
    pub with: BTreeMap<String, Expression>,
    /// How long an answer is kept.
    pub keep: Duration,
}

/// The call that a consumer makes.
#[derive(Debug)]
pub struct Call {
    /// The system that is called.
    pub system: Arc<System>,
    /// The operation.
    pub operation: Arc<Operation>,
    /// The operation's parameters (path, query, header), by name.
    pub with: BTreeMap<String, Expression>,
    /// The body, where the operation has one; with a batch, one of its items.
    pub body: Option<Mapping>,
    /// How records are sent together, where they are.
    pub batch: Option<Batch>,
}

/// The event that follows from a call that is done.
#[derive(Debug)]
pub struct Emit {
    /// Its type.
    pub event: Arc<Event>,
    /// What is made of the call's answer.
    pub of_answer: FollowUp,
    /// What is made of an effect that was looked up, where it can be: the same expressions, for what the look-up finds.
    pub of_found: Option<FollowUp>,
}

/// Key and payload of a follow-up event. Both read the event, the look-ups and `$response`.
#[derive(Debug)]
pub struct FollowUp {
    /// Its key.
    pub key: Expression,
    /// Its payload.
    pub payload: Mapping,
}

/// How a consumer delivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deliver {
    /// What waits for what.
    pub order: Order,
    /// Most calls under way in one replica.
    pub in_flight: u32,
    /// Whether fewer are where the system seems to have too many.
    pub concurrency: Concurrency,
    /// How long a failing record is tried before it is set aside.
    pub patience: Duration,
    /// How long a parked record waits before each attempt; the last one is for all that follow.
    pub park_schedule: Vec<Duration>,
    /// How long a parked record is tried before it is a dead letter.
    pub give_up_after: Duration,
    /// What becomes of a key behind its dead letter.
    pub on_dead_letter: OnDeadLetter,
    /// Where a new consumer starts.
    pub start: Start,
}

/// What waits for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Records of one key, one after another.
    Key,
    /// Records of one partition, one after another.
    Partition,
    /// Nothing for nothing.
    None,
}

/// How many of the calls that may be under way are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concurrency {
    /// As many as the system bears.
    Adaptive,
    /// All of them.
    Fixed,
}

/// What becomes of a key behind its dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDeadLetter {
    /// Its later records wait.
    Hold,
    /// Its later records go on.
    Continue,
    /// The next record makes the dead one moot.
    Supersede,
}

/// Where a new consumer starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With what is published after `tieline apply`.
    Now,
    /// With the oldest record there is.
    Earliest,
    /// With the first record at or after this instant (milliseconds since the Unix epoch).
    At(i64),
}
