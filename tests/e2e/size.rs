//! How much each hazard is tried: enough to see it in `make test`, its whole figure in `make reliability`.
//!
//! A test asks here and nowhere else, so that both run the same code.

use std::sync::OnceLock;
use std::time::Duration;

use crate::secs;

/// Set to `whole` for the figures of the table of hazards.
const WHICH: &str = "TIELINE_RELIABILITY";

/// Overrides how many records chaos has, where there is no time for all of them.
const RECORDS: &str = "TIELINE_RELIABILITY_RECORDS";

/// What each test that has a figure does.
#[derive(Debug, Clone)]
pub struct Size {
    /// Hazard 1: runs side by side, and in each of them kills and records.
    pub crash_kills: usize,
    pub crash_records: u64,
    /// Hazard 2: crashes at each point.
    pub crashes_a_point: u64,
    /// Hazard 3: records behind the one that hangs.
    pub hung_records: u64,
    /// Hazard 4: records, in a second, and switches in a storm.
    pub chaos_records: u64,
    pub chaos_rate: u64,
    pub chaos_switches: u32,
    /// Effects between two storms.
    pub chaos_calm: u64,
    /// Hazard 5: rebalances, and the time between two.
    pub soak_rebalances: u32,
    pub soak_every: Duration,
    /// Hazard 10: sleeps past the session.
    pub sleeps: usize,
    /// Hazard 11: rounds in which each broker is killed, then each is bounced.
    pub broker_rounds: u32,
    /// Brokers of a round that are killed, and that are bounced.
    pub brokers_a_round: u8,
    /// Hazard 12: times that each fault of the network is brought about.
    pub network_rounds: u32,
    /// Hazard 13: records of 900 kB, and how long their system is down.
    pub backlog_records: u64,
    pub backlog_down: Duration,
    /// Hazard 14: consumers of the system that is down, their records in a second together, and how long it is down.
    pub herd_consumers: usize,
    pub herd_rate: u64,
    pub herd_down: Duration,
    /// Calls in the middle of which a credential is revoked, and how long it stays refused.
    pub revoked_calls: u64,
    pub revoked_for: Duration,
    /// Hazard 16: time before and after each jump of the clock.
    pub clock_calm: Duration,
    /// Hazard 21: stops.
    pub stops: u32,
    /// Hazard 22: records that the log cleaner works on.
    pub compacted_records: u64,
}

/// Seconds for each, on a machine that is shared.
const SHORT: Size = Size {
    crash_kills: 5,
    crash_records: 3_500,
    crashes_a_point: 1,
    hung_records: 5_000,
    chaos_records: 4_000,
    chaos_rate: 400,
    chaos_switches: 6,
    chaos_calm: 1_500,
    soak_rebalances: 4,
    soak_every: secs(3),
    sleeps: 1,
    broker_rounds: 1,
    brokers_a_round: 1,
    network_rounds: 1,
    backlog_records: 500,
    backlog_down: secs(8),
    herd_consumers: 3,
    herd_rate: 200,
    herd_down: secs(10),
    revoked_calls: 1_000,
    revoked_for: secs(8),
    clock_calm: secs(8),
    stops: 10,
    compacted_records: 1_500,
};

/// As the table asks.
const WHOLE: Size = Size {
    crash_kills: 50,
    crash_records: 34_000,
    crashes_a_point: 10,
    hung_records: 12_000,
    chaos_records: 1_000_000,
    chaos_rate: 2_000,
    chaos_switches: 10,
    chaos_calm: 10_000,
    soak_rebalances: 120,
    soak_every: secs(5),
    sleeps: 10,
    broker_rounds: 2,
    brokers_a_round: 3,
    network_rounds: 5,
    backlog_records: 2_000,
    backlog_down: secs(60),
    herd_consumers: 20,
    herd_rate: 400,
    herd_down: secs(60),
    revoked_calls: 5_000,
    revoked_for: secs(60),
    clock_calm: secs(60),
    stops: 100,
    compacted_records: 60_000,
};

/// The size of this run.
pub fn size() -> &'static Size {
    static SIZE: OnceLock<Size> = OnceLock::new();
    SIZE.get_or_init(|| {
        let mut size = match std::env::var(WHICH).as_deref() {
            Ok("whole") => WHOLE,
            Err(_) | Ok("") => SHORT,
            Ok(other) => panic!("{WHICH}={other}: it is `whole` or not set"),
        };
        if let Ok(records) = std::env::var(RECORDS) {
            size.chaos_records = records.parse().expect("a number of records");
        }
        size
    })
}

/// Says what was seen, for whoever reads the report of `make reliability`.
pub fn figure(text: impl std::fmt::Display) {
    println!("figure: {}", text.to_string().replace('\n', "; "));
}
