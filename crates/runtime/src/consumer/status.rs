//! Where a consumer stands, for `/readyz`, `/stuck`, metrics and `tieline dev`.

use serde::Serialize;
use tieline_delivery::PauseReason;

/// Where a consumer stands.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ConsumerStatus {
    /// Its name.
    pub consumer: String,
    /// Whether the group has given it partitions, or has none to give.
    pub joined: bool,
    /// Its partitions.
    pub partitions: Vec<PartitionStatus>,
    /// Calls under way.
    pub in_flight: usize,
    /// Calls that may be under way now.
    pub in_flight_allowed: usize,
    /// Keys with a record that waits.
    pub keys_waiting: usize,
    /// Records kept in memory.
    pub buffered_records: usize,
    /// What is stuck, and why.
    pub stuck: Vec<StuckRecord>,
    /// Whether the system fails for everybody.
    pub outage: Option<OutageStatus>,
    /// What its calls wait for, where that is nothing but the limits of the system.
    pub limit: Option<LimitStatus>,
    /// Records that are parked.
    pub parked_records: usize,
    /// Keys that have such records, or are held.
    pub parked_keys: usize,
    /// Keys that are held behind a dead letter.
    pub held_keys: usize,
    /// Why it does not go on at all, where it does not.
    pub halted: Option<String>,
}

/// A system that fails for everybody: one call at a time finds out when that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutageStatus {
    /// The code of the last failure.
    pub reason: String,
    /// The last failure, as a sentence.
    pub detail: String,
    /// For how long, in seconds.
    pub lasting_s: u64,
    /// How many calls have found that it is not over.
    pub probes: u32,
    /// When the next one finds out, in seconds from now.
    pub probe_in_s: u64,
}

/// Calls that wait for the limits of the system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LimitStatus {
    /// For what, and until when, as a sentence.
    pub waits: String,
    /// Since when no call could go, in seconds.
    pub lasting_s: u64,
    /// Whether that is longer than it takes to get a share: the day's budget is used up, the system wants nobody to call.
    pub is_stuck: bool,
}

/// Where a partition stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartitionStatus {
    /// The partition.
    pub partition: i32,
    /// The durable committed offset.
    pub committed: i64,
    /// One more than the last offset that was fetched.
    pub fetched_to: i64,
    /// Why it waits, where it does for another reason than that enough is under way.
    pub paused: Option<String>,
    /// Since when, in milliseconds since the Unix epoch.
    pub paused_since_ms: Option<i64>,
}

/// A record that fails for longer than it should. It is still tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StuckRecord {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its key, as text.
    pub key: Option<String>,
    /// How many attempts were made.
    pub attempts: u32,
    /// The code of the last failure.
    pub reason: String,
    /// The last failure, as a sentence.
    pub detail: String,
    /// Whether it fails for everybody rather than for this record.
    pub outage: bool,
    /// For how long it has failed, in seconds.
    pub failing_for_s: u64,
    /// When it is tried again, in seconds from now.
    pub retry_in_s: u64,
}

/// A reason as a person reads it.
pub(super) fn reason_text(reason: &PauseReason) -> String {
    match reason {
        PauseReason::Window => "as many records are under way as may be".to_owned(),
        PauseReason::OutOfPatience { id, reason } => {
            let cannot = "cannot be parked, since its records wait for each other or too many keys are parked";
            format!("offset {} is out of patience and {cannot}: {} ({})", id.offset, reason.detail, reason.code)
        }
        PauseReason::ParkFull => {
            "as many records are parked as may be, and some of them are of this partition: whatever comes of \
             their keys would wait behind them; redrive or discard what holds them (`tieline dead-letters`)"
                .to_owned()
        }
        PauseReason::NotCommitted => {
            "what has become of its records cannot be written down: Kafka refuses its commits, and \
             the log says why (look at its dead letters' topic); nothing more of it is sent"
                .to_owned()
        }
        PauseReason::Held { id } => {
            format!(
                "its records wait for each other, and for the dead letter at offset {} to be redriven or discarded",
                id.offset
            )
        }
        PauseReason::ByOrder { by } => format!("paused by order {by}: `tieline control list` says whose, and why"),
        PauseReason::PartitionsChanged { was, is } => format!(
            "the topic had {was} partitions when its offsets were committed and has {is}: keys have moved between \
             partitions, so that their order is lost; use a new topic"
        ),
        PauseReason::Outage { reason } => {
            format!("the system fails for everybody, at last with: {} ({})", reason.detail, reason.code)
        }
        PauseReason::MetadataUnreadable { what } => {
            format!("the metadata beside the committed offset cannot be read ({what}); going on could send twice")
        }
        PauseReason::InvariantBroken { what } => {
            format!("it stopped itself, since going on could lose or reorder: {what}")
        }
    }
}
