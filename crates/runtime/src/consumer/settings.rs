//! How the core is set for a consumer: what its definition says, and the bounds that it does not.

use std::time::Duration;

use tieline_bus::{Concurrency, Consumer, OnDeadLetter, Order};
use tieline_delivery::Settings;

/// Records of all partitions that may be fetched and not yet covered by a commit.
const WINDOW_RECORDS_MAX: usize = 20_000;

/// Their bytes. With librdkafka's prefetch it bounds a consumer's memory.
const WINDOW_BYTES_MAX: usize = 64 << 20;

/// Calls that may come again after a crash, each recognisable by its idempotency key: as many, or this many for each that
/// may be under way. A commit is made when half of them are used up, so that sending need not wait for it: of some 20 ms,
/// that allows 25,000 calls a second, and more with more under way. Where a system takes milliseconds to answer, far fewer
/// come again: as many as it answers in the time between two commits.
const REPEATS_MAX: usize = 1_024;
const REPEATS_PER_CALL: usize = 4;

/// How often progress is made durable. A transaction takes some tens of milliseconds, and what is not committed at a crash
/// is recognised by the systems, not lost.
const COMMIT_EVERY: Duration = Duration::from_millis(100);

/// The bounds of the exponential backoff, before jitter.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(20));

/// Longest `Retry-After` that is waited for without an alarm.
pub(crate) const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);

/// Most keys that may be parked in one process. Each costs some 200 bytes of memory.
const PARKED_KEYS_MAX: usize = 100_000;

/// Most records of theirs. Each costs some 40 bytes, here and in the core, and some microseconds when a partition is taken
/// over: 40 MB, and seconds.
const PARKED_RECORDS_MAX: usize = 1_000_000;

/// The settings of a consumer's core.
pub(super) fn settings(consumer: &Consumer) -> Settings {
    let deliver = &consumer.deliver;
    Settings {
        order: match deliver.order {
            Order::Key => tieline_delivery::Order::Key,
            Order::Partition => tieline_delivery::Order::Partition,
            Order::None => tieline_delivery::Order::None,
        },
        on_dead_letter: match deliver.on_dead_letter {
            OnDeadLetter::Hold => tieline_delivery::OnDeadLetter::Hold,
            OnDeadLetter::Continue => tieline_delivery::OnDeadLetter::Continue,
            OnDeadLetter::Supersede => tieline_delivery::OnDeadLetter::Supersede,
        },
        in_flight_max: deliver.in_flight as usize,
        adapts: adapts(consumer),
        repeats_max: REPEATS_MAX.max(deliver.in_flight as usize * REPEATS_PER_CALL),
        window_records_max: WINDOW_RECORDS_MAX,
        window_bytes_max: WINDOW_BYTES_MAX,
        patience: deliver.patience,
        park_schedule: deliver.park_schedule.clone(),
        give_up_after: deliver.give_up_after,
        parked_keys_max: PARKED_KEYS_MAX,
        parked_records_max: PARKED_RECORDS_MAX,
        backoff_min: BACKOFF.0,
        backoff_max: BACKOFF.1,
        request_deadline: consumer.call.system.deadline,
        commit_every: COMMIT_EVERY,
        retry_after_max: RETRY_AFTER_MAX,
        fingerprint: consumer.fingerprint,
        seed: rand::random(),
    }
}

/// Whether fewer calls are under way where the system seems to have too many. Where records go together, those of one call
/// fail together, and fewer of them would make smaller calls, not fewer.
fn adapts(consumer: &Consumer) -> bool {
    match consumer.deliver.concurrency {
        Concurrency::Adaptive => consumer.call.batch.is_none(),
        Concurrency::Fixed => false,
    }
}
