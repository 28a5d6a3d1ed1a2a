//! All that a consumer can ask for. The shell asks until [`Output::Wait`].

use crate::{AttemptLog, Class, CommitId, Key, ParkedState, Partition, Reason, RecordId, Time};

/// What the machine wants done.
#[derive(Debug, Clone)]
pub enum Output<R> {
    /// Decode, filter, look up, map and validate this record, and say [`crate::Input::Prepared`]. The shell keeps the
    /// request until it is asked to prepare the record again, or sees it in a commit's finals, or its assignment ends.
    Prepare {
        /// Which one.
        id: RecordId,
        /// What the calls that it takes are for.
        class: Class,
        /// The attempt that this is for, from 1.
        attempt: u32,
        /// The record.
        record: R,
    },
    /// Send the request that was last prepared for this record, and say [`crate::Input::Answered`]. After an unknown
    /// outcome these are the bytes of the attempts before; the machine does not ask for others.
    Send {
        /// Which one.
        id: RecordId,
        /// What the call is for.
        class: Class,
        /// The attempt, from 1.
        attempt: u32,
        /// Whether an earlier attempt (here or of an earlier owner) may have been applied.
        maybe_applied: bool,
        /// That attempt may have been of another mapping, so that what is sent now may be other bytes.
        mapped_otherwise: bool,
        /// The record.
        record: R,
    },
    /// Read this parked record back, and say [`crate::Input::Recalled`].
    Recall {
        /// Which one.
        id: RecordId,
    },
    /// Make this durable at once: all of it or nothing.
    Commit(Commit<R>),
    /// Fetch nothing from this partition, for this reason. Replaces an earlier reason. What was fetched already may still
    /// be reported. A partition that was just assigned is fetched from until this says otherwise.
    Pause {
        /// The partition.
        partition: Partition,
        /// Why.
        reason: PauseReason,
    },
    /// Fetch from this partition again.
    Resume {
        /// The partition.
        partition: Partition,
    },
    /// The partition may go: what could be committed is, or its time is over. A commit of it that is still under way has
    /// to be given up or made before the group is told.
    Released {
        /// The partition.
        partition: Partition,
    },
    /// Everything is at rest.
    Drained,
    /// Nothing to do before this, or before the next input.
    Wait {
        /// When there is something to do without an input.
        until: Option<Time>,
    },
}

/// What has to become durable together.
#[derive(Debug, Clone)]
pub struct Commit<R> {
    /// Names it in the answer.
    pub id: CommitId,
    /// Where each partition stands.
    pub offsets: Vec<CommitOffset>,
    /// What became final or was parked since the last commit; dead letters and parked records go to their topics, all go to
    /// the ledger.
    pub finals: Vec<Final<R>>,
    /// Dead letters that were discarded or superseded: their records and holds end.
    pub discarded: Vec<Discarded>,
}

/// A dead letter that somebody gave up, or that a newer record made moot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discarded {
    /// Which one.
    pub id: RecordId,
    /// Its key.
    pub key: Option<Key>,
    /// A newer record of its key made it moot.
    pub superseded: bool,
}

/// Where a partition stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitOffset {
    /// The partition.
    pub partition: Partition,
    /// The lowest offset that is not final.
    pub offset: i64,
    /// What is beyond it: version, partitions, fingerprint, unfinished offsets, send ceiling.
    pub metadata: String,
}

/// A record that the committed offset may pass: its delivery has ended, or it is parked.
#[derive(Debug, Clone)]
pub struct Final<R> {
    /// Which one.
    pub id: RecordId,
    /// Its key.
    pub key: Option<Key>,
    /// The record.
    pub record: R,
    /// What became of it.
    pub outcome: Outcome,
    /// Where it was before. What lies there ends by this.
    pub came: Came,
    /// The attempts: the first 3 and the last 20.
    pub attempts: Vec<AttemptLog>,
    /// How many there were.
    pub attempts_total: u32,
}

/// What became of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The effect is confirmed.
    Done,
    /// The consumer's own `when` passed it by.
    Skipped,
    /// It was replayed, and is not sent: a newer record of its key has come before it, which it would take back; or its key
    /// was parked or held meanwhile.
    Overtaken,
    /// It is a dead letter.
    Dead {
        /// Why.
        reason: Reason,
        /// Whether the effect exists all the same.
        effect: Effect,
        /// Whether its key is held behind it, or goes on and may supersede it. Either is to be known to the next owner.
        holds: bool,
    },
    /// It is set aside, and not final.
    Parked {
        /// When it is tried again, at the earliest. To be written as a time that all owners understand.
        retry_at: Time,
        /// The last failure; of a record behind another one, or one that was redriven, why it waits.
        reason: Reason,
        /// What has to be known of it when it is read back.
        state: ParkedState,
    },
}

/// Whether a call that did not end well had its effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing of it was applied.
    None,
    /// An attempt may have been applied.
    Unknown,
    /// The effect exists: what had to be read of the answer could not be.
    Exists,
}

/// Where a record lay before it became final or was parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// It came from the topic.
    Fetched,
    /// It was parked.
    Parked,
    /// It was a dead letter.
    Redriven,
    /// It came from the topic once more, since somebody wants it delivered again.
    Replayed,
}

/// Why a partition is not fetched from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PauseReason {
    /// As many records or bytes are under way as may be, or as the commit's metadata has room for.
    Window,
    /// A record is out of patience and cannot be parked: records of this partition wait for each other, or too many keys
    /// are parked already. It is still tried.
    OutOfPatience {
        /// Which one.
        id: RecordId,
        /// The last failure.
        reason: Reason,
    },
    /// The system fails for everybody, or refuses everything. One call at a time finds out when that is over.
    Outage {
        /// The last failure.
        reason: Reason,
    },
    /// As many records are parked as may be, and some of them are of this partition: whatever comes of their keys would have
    /// to be parked behind them. What is parked goes on.
    ParkFull,
    /// Commits of it are refused, again and again: what has become of its records cannot be written down. Nothing more of it
    /// is sent; what there is is tried again.
    NotCommitted,
    /// The partition is held behind a dead letter, since its records wait for each other.
    Held {
        /// The dead one.
        id: RecordId,
    },
    /// Somebody has paused it.
    ByOrder {
        /// What names the order.
        by: String,
    },
    /// The topic has another number of partitions than the key order was made with.
    PartitionsChanged {
        /// As recorded.
        was: u32,
        /// As it is.
        is: u32,
    },
    /// The committed metadata cannot be read; going on could send twice.
    MetadataUnreadable {
        /// What is wrong with it.
        what: String,
    },
    /// The machine or its shell is at odds with itself. Going on could lose a record or break the order of a key, so that
    /// this partition does nothing any more, and commits nothing, until it is assigned anew.
    InvariantBroken {
        /// What does not hold.
        what: String,
    },
}
