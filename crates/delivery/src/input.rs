//! All that can happen to a consumer. The shell reports; it decides nothing.

use std::time::Duration;

use crate::{Answer, AttemptLog, CommitId, Epoch, Held, Key, ParkedAt, ParkedState, Partition, Reason, RecordId, Time};

/// What the shell reports. `R` is the record as the shell knows it, handed back untouched (and cloned: an `Arc`).
#[derive(Debug, Clone)]
pub enum Input<R> {
    /// The group gave us this partition. What an older epoch left in flight counts no more.
    Assigned {
        /// Rises with each assignment of this process.
        epoch: Epoch,
        /// The partition.
        partition: Partition,
        /// The group's committed offset: where fetching begins.
        offset: i64,
        /// The metadata that was committed with it; empty after `tieline apply`.
        metadata: String,
        /// How many partitions the topic has now; another number than the one in the metadata halts the partition.
        partitions: u32,
        /// What is parked of it, in any order, read after the committed offset was.
        parked: Vec<ParkedAt>,
        /// The dead letters that hold their key.
        held: Vec<Held>,
    },
    /// The group takes this partition back. Nothing new is sent; what is in flight may finish until the deadline, then
    /// [`crate::Output::Released`] follows. With [`Order`] in mind: calls that are still under way after it may reach the
    /// system while the next owner waits `request_deadline` for them.
    Revoke {
        /// The partition.
        partition: Partition,
        /// When it has to be released.
        deadline: Time,
    },
    /// The partition is gone already (a lost session): nothing may be committed for it.
    Lost {
        /// The partition.
        partition: Partition,
    },
    /// A record came. Offsets of a partition rise, with gaps where the log has some.
    Fetched {
        /// Which one.
        id: RecordId,
        /// Its key; a record without one is a lane of its own.
        key: Option<Key>,
        /// Its size, for the bound on what is kept.
        bytes: usize,
        /// The record.
        record: R,
    },
    /// A parked record was read back.
    Recalled {
        /// Which one.
        id: RecordId,
        /// Its size, for the bound on what is kept.
        bytes: usize,
        /// The record.
        record: R,
        /// What is kept of its earlier attempts.
        state: ParkedState,
        /// The attempts themselves: the first 3 and the last 20.
        attempts: Vec<AttemptLog>,
        /// Whether the request of an attempt that may have been applied is there too: the same is sent again.
        has_request: bool,
    },
    /// A parked record cannot be read back now. It is asked for again.
    RecallFailed {
        /// Which one.
        id: RecordId,
    },
    /// Somebody wants this dead letter delivered again: it is parked before all later records of its key, and due.
    Redrive {
        /// Which one, under the assignment of now.
        id: RecordId,
        /// Its key.
        key: Option<Key>,
        /// Its size.
        bytes: usize,
        /// The record.
        record: R,
        /// Whether an attempt may have been applied.
        maybe_applied: bool,
        /// How many attempts it has had.
        attempts_total: u32,
        /// The attempts themselves.
        attempts: Vec<AttemptLog>,
    },
    /// Somebody wants this old record of the topic delivered again: behind all that is under way of its key, and only if
    /// none of it is newer and had its effect. To be said while [`crate::Machine::replay_room`] has room, in the order of offsets.
    /// Of no effect where [`crate::Machine::takes_replay`] says no.
    Replay(Replayed<R>),
    /// Something of the shell's own is to become durable with the next commit of this partition: how far a replay is. Of no
    /// effect under an assignment that is over.
    WriteBeside {
        /// The partition.
        partition: Partition,
        /// The assignment of now.
        epoch: Epoch,
    },
    /// Somebody says that a record which is kept, since it is refused and nothing has worked yet, or since it fails as if the
    /// system did so for everybody, is itself at fault: it is a dead letter. Of no effect while it is tried, and on one that
    /// is not stuck.
    Bury {
        /// Which one.
        id: RecordId,
    },
    /// Somebody wants nothing to begin any more; what is under way ends.
    PauseAll {
        /// What names the order, for people.
        by: String,
    },
    /// Go on.
    ResumeAll,
    /// Somebody wants nothing of this key to begin any more. It is parked until [`Input::ResumeKey`]. Only with
    /// [`Order::Key`]. To be said again after a restart, before anything is assigned.
    PauseKey {
        /// The key.
        key: Key,
    },
    /// The key goes on.
    ResumeKey {
        /// The key.
        key: Key,
    },
    /// Somebody gives this dead letter up: if its key is held behind it, that goes on.
    Discard {
        /// Which one, under the assignment of now.
        id: RecordId,
        /// Its key.
        key: Option<Key>,
    },
    /// The record was decoded, filtered, looked up, mapped and validated, or one of these failed.
    Prepared {
        /// Which one.
        id: RecordId,
        /// The attempt that it was asked for.
        attempt: u32,
        /// What came of it.
        outcome: Prepared,
    },
    /// A call ended.
    Answered {
        /// Which record's.
        id: RecordId,
        /// The attempt that it was.
        attempt: u32,
        /// What it means. `Applied` is reported only after the follow-up event is acknowledged.
        answer: Answer,
        /// What is kept of it for people.
        log: AttemptLog,
    },
    /// The commit is durable.
    Committed {
        /// Which one.
        commit: CommitId,
    },
    /// The commit was not made; none of it is there. It is asked for again.
    CommitFailed {
        /// Which one.
        commit: CommitId,
        /// Whether the group would not have it from us, since a rebalance is under way: that says nothing of what was in
        /// it. Of any other failure nobody knows whose fault it is.
        in_rebalance: bool,
    },
    /// Whether the limits of the system have room for a call; they do until something else is said. While they have none,
    /// nothing is handed out to be sent: records are prepared, and wait in their order. How many of them there are,
    /// [`crate::Machine::sendable`] says.
    Limits {
        /// Whether they have.
        room: bool,
    },
    /// Finish: nothing new is sent, what is in flight may finish until the deadline; [`crate::Output::Drained`] follows.
    Drain {
        /// When it has to be over.
        deadline: Time,
    },
    /// Time has passed.
    Tick,
}

/// An old record that is to be delivered again.
#[derive(Debug, Clone)]
pub struct Replayed<R> {
    /// Which one, under the assignment of now.
    pub id: RecordId,
    /// Its key.
    pub key: Option<Key>,
    /// Its size.
    pub bytes: usize,
    /// The record.
    pub record: R,
    /// Whether an earlier owner may have sent it in this replay.
    pub maybe_applied: bool,
    /// Whether that may have been under another mapping.
    pub mapped_otherwise: bool,
    /// The newest record of its key that, as is durably known, had its effect, or may have had. What has come about since the
    /// last commit is known to the machine.
    pub newest: Option<i64>,
    /// It is sent even so.
    pub overtakes: bool,
}

/// What came of preparing a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prepared {
    /// There is a request to send.
    Call,
    /// The consumer's own `when` says that the record does not concern it.
    Skip,
    /// It can never be sent: undecodable, unmappable, against the contract. A dead letter.
    Refused(Reason),
    /// Something that it needs cannot be had now, such as a look-up or a schema. Tried again as if the call had been
    /// answered so, but nothing was sent: it never counts as an unknown outcome, and `Throttled` holds up preparing only.
    NotNow(Answer, AttemptLog),
}

/// How the machine is set. Durations are of the machine's monotonic [`Time`].
#[derive(Debug, Clone)]
pub struct Settings {
    /// What waits for what.
    pub order: Order,
    /// What becomes of a key behind its dead letter.
    pub on_dead_letter: OnDeadLetter,
    /// Most calls under way. As many records again are prepared ahead at most.
    pub in_flight_max: usize,
    /// Fewer are under way where the system seems to have more than it can do: it fails more of them than it did, or takes
    /// far longer.
    pub adapts: bool,
    /// Most calls that may come again after a crash: those under way, and those that are done and not covered by a durable
    /// commit. Nothing more is sent meanwhile. At least `in_flight_max` and one.
    pub repeats_max: usize,
    /// Most records of all partitions that are fetched and not yet covered by a commit.
    pub window_records_max: usize,
    /// Most bytes of such records.
    pub window_bytes_max: usize,
    /// How long a failing record is tried before it is out of patience.
    pub patience: Duration,
    /// How long a parked record waits before each attempt; the last one is for all that follow. Empty: nothing is parked.
    pub park_schedule: Vec<Duration>,
    /// How long after its first failure a parked record is given up, and is a dead letter.
    pub give_up_after: Duration,
    /// Most keys that are parked in this process; where one more would have to be, its partition waits.
    pub parked_keys_max: usize,
    /// Most records that are parked in this process, of which it has an index. Where there are as many, partitions that have
    /// parked records are not fetched from, since more of those keys would have to be parked behind them. What earlier
    /// owners have parked is taken over all the same.
    pub parked_records_max: usize,
    /// The first retry's upper bound; it doubles with each attempt (full jitter).
    pub backoff_min: Duration,
    /// No retry's upper bound is above this.
    pub backoff_max: Duration,
    /// A call's deadline: how long what an old owner left may still be under way.
    pub request_deadline: Duration,
    /// Commit at least this often while there is something to commit.
    pub commit_every: Duration,
    /// Longest `Retry-After` that is waited for without an alarm; a longer one is waited for as an outage.
    pub retry_after_max: Duration,
    /// What is sent is mapped by this (SHA-256, first 8 bytes); kept in the commit's metadata.
    pub fingerprint: u64,
    /// Seed of the jitter.
    pub seed: u64,
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

/// What becomes of a key behind its dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDeadLetter {
    /// Its later records are parked, until [`Input::Redrive`] or [`Input::Discard`]. With [`Order::Partition`], where nothing
    /// is parked, the partition pauses with [`crate::PauseReason::Held`].
    Hold,
    /// Its later records go on, as soon as the dead letter is durable.
    Continue,
    /// The same; and the next one that is done makes it moot, as does one that is dead itself. With [`Order::Key`]; else
    /// like [`OnDeadLetter::Continue`].
    Supersede,
}
