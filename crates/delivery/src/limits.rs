//! Limits that belong to the system: a rate with its burst, calls in flight, a day's budget, cost; held over all replicas
//! of all consumers, with nothing but a compacted topic between them. Two machines without clock or I/O.
//!
//! In each process that calls a system a [`Caller`] asks for a share of its limits and says of each call whether it may be
//! sent now, and an [`Allocator`] grants shares or stands by. The log is totally ordered and is read late, clocks run fast or
//! slow by 1 % and have origins of their own, anybody may stop at any point and go on later, and two may think that they
//! divide. What holds all the same, and why:
//!
//! 1. A claim makes an allocator: its epoch is the offset of its claim. A caller that reads a claim drops what it was
//!    granted before, and takes no grant of another epoch until the next claim. So whoever claims last divides, and a claim
//!    that was not called for costs a round trip: nobody has to be elected. Who stands by claims where the one that divides
//!    has given that up, or has answered nobody for a while; one that has nothing to grant says that it is there.
//! 2. An ask says up to which offset its caller has read. So the allocator knows which grant is in use, without being told:
//!    the last one up to there. Others up to there are over; those beyond may come to be used, and all of them count.
//! 3. A new allocator has read the whole topic up to its claim, and grants nothing until each caller that a grant in there
//!    names has asked with the claim read, or has given back what it held, or [`held`]`(`[`LEASE`]`)` has passed since the
//!    allocator read the ask that the grant answers. With all callers alive that is a round trip.
//! 4. A grant is valid for [`LEASE`] after its caller *sent* the ask that it answers, and counts for `held(LEASE)` after the
//!    allocator *read* that ask, which is later and longer. What counts never sums above the limits.
//! 5. A bucket starts empty and is emptied when its grant ends, so that in any window `w` no more than `burst + rate · w` are
//!    sent: what lay in all buckets at its beginning, and what fell into them.
//! 6. Calls in flight outlive a grant: a share of `in_flight` counts until `held(LEASE + deadline)`, or until an ask says what
//!    is still in flight.
//! 7. A day's budget is given as a total for each caller, a chunk of at most 1 % of what is left ahead of what it spent;
//!    each grant carries the sum of all. Who vanishes takes a chunk along; nobody overspends.
//!
//! `docs/reference/simulator-mutations.md` has what happens when one of these is left out.

mod account;
mod advertised;
mod allocator;
mod bucket;
mod budget;
mod caller;
mod day;
mod fair;
mod hold;
mod message;
mod plan;
mod rotation;
mod settings;
mod share;
mod turn;

use std::time::Duration;

pub use advertised::{Advertised, Policy, Remaining};
pub use allocator::{Allocator, AllocatorInput, AllocatorOutput, AllocatorSettings};
pub use caller::{Caller, CallerInput, CallerOutput, CallerSettings, NotYet, Permit, Why};
pub use day::Day;
pub use message::{
    Ask, CallerId, Claim, DayGrant, DaySpent, Grant, Key, Message, NotBefore, Record, Unreadable, VERSION, Want,
    system_of,
};
pub use settings::{CostLimits, LimitsSettings, PerMeter};
pub use share::Share;
pub use turn::Flow;

/// How long a grant is valid after its caller sent the ask that it answers.
pub const LEASE: Duration = Duration::from_secs(2);

/// How often a caller asks while it has work or holds a grant: four asks of a lease may be lost or late but one.
pub const ASK_EVERY: Duration = Duration::from_millis(500);

/// Least time between two asks of a caller, also if there is reason to ask at once: bounds what is written.
const ASK_GAP_MIN: Duration = Duration::from_millis(50);

/// How long a time of one clock, here a caller's, may be by another, here the allocator's, if each runs at most 1 % fast or
/// slow: 1.01 / 0.99 = 1.0203 times as long. Counting by the allocator is over when the caller's time certainly is.
#[must_use]
pub const fn held(time: Duration) -> Duration {
    // 1/40 = 2.5 %, so that nothing hangs on the last nanosecond.
    time.saturating_add(Duration::from_nanos((time.as_nanos() / 40) as u64))
}

/// How long to wait so that at least this time has passed, if our clock runs up to 1 % fast.
#[must_use]
const fn at_least(time: Duration) -> Duration {
    // 1/99 would do; 1/80 = 1.25 %.
    time.saturating_add(Duration::from_nanos((time.as_nanos() / 80) as u64))
}
