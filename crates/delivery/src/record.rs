//! The ids, times and answers that inputs and outputs are made of.

use std::sync::Arc;
use std::time::Duration;

/// Time since an origin that the shell chose, monotonic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub Duration);

impl Time {
    /// The time this long after. One that cannot be told apart from never is the greatest.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(wait))
    }

    /// How long it is since an earlier time; nothing, if that is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// A partition of the topic that the consumer reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub i32);

/// An assignment of a partition to this process. A later one is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// A commit that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitId(pub u64);

/// A record's key, as its bytes.
pub type Key = Arc<[u8]>;

/// A record in an assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId {
    /// The assignment under which it was fetched.
    pub epoch: Epoch,
    /// Its partition.
    pub partition: Partition,
    /// Its offset.
    pub offset: i64,
}

/// Why a record could not be delivered: a code from a closed set (a metric label), and what a person reads. No secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// `undecodable`, `unmappable`, `contract`, `http-422`, …
    pub code: String,
    /// A sentence.
    pub detail: String,
}

/// The code of a record that is refused since it is not known whether it had its effect: no flood of these says anything
/// of the mapping.
pub const OUTCOME_UNKNOWN: &str = "outcome-unknown";

/// What is kept of an attempt for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptLog {
    /// Wall-clock time at its end, milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// The HTTP status, where there was one.
    pub status: Option<u16>,
    /// What was answered, shortened, without secrets.
    pub excerpt: String,
}

/// What has to be known of a parked record when it is read back. Durations are as of that time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ParkedState {
    /// How long ago it failed first; nothing, if it only waits behind another one.
    pub failing_for: Duration,
    /// How many attempts of the park schedule were made.
    pub steps: u32,
    /// How many attempts were made in all.
    pub attempts_total: u32,
    /// Whether one of them may have been applied.
    pub maybe_applied: bool,
    /// Records parked behind it, before this offset, may have been tried by an earlier owner, of which they themselves say
    /// nothing.
    pub unknown_below: Option<i64>,
}

/// A parked record, as the next owner of its partition finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedAt {
    /// Its offset in the topic that it came from.
    pub offset: i64,
    /// Its key.
    pub key: Option<Key>,
    /// When it is to be tried again, from now; nothing, if that is over.
    pub retry_after: Duration,
    /// Whether an earlier owner may have tried it since it was written there: its time had come, by any clock.
    pub maybe_tried: bool,
    /// As in its [`ParkedState`].
    pub unknown_below: Option<i64>,
}

/// A dead letter that holds its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The offset of the dead letter in the topic that it came from.
    pub offset: i64,
    /// The key; none with [`crate::Order::Partition`], where the whole partition is held.
    pub key: Option<Key>,
}

/// What the answer to a call means: DESIGN.md, "What an answer means".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The effect is confirmed and the follow-up event is published.
    Applied,
    /// The effect exists, but what had to be read of the answer cannot be.
    AppliedUnreadable(Reason),
    /// The request is wrong and stays wrong: a dead letter.
    Refused(Reason),
    /// The system is at odds with the request for now (409, 412, 423): again for `patience`, then dead.
    Conflict(Reason),
    /// 403, 404, 405: again for `patience`.
    AbsentOrForbidden(Reason),
    /// Certainly not applied: again in key order.
    NotApplied(Reason),
    /// It may have been applied: again, the same bytes under the same key.
    Unknown(Reason),
    /// Nobody calls before this has passed; no attempt is counted.
    Throttled {
        /// From now.
        retry_after: Duration,
    },
    /// The credential is refused, also after a refresh: an outage.
    Credential(Reason),
    /// 3xx, 501: an outage.
    Misconfigured(Reason),
}
