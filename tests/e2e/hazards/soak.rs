//! A soak: a replica joins or leaves every few seconds, with idle gaps in what is produced, and no partition stands still.

use std::time::Duration;

use tieline_delivery::oracle::Produced;
use tieline_sandbox::recorder::Options;

use crate::load::{Load, Setup};
use crate::process::Process;
use crate::secs;
use crate::size::{figure, size};
use crate::stall::StallWatch;

/// Partitions, more than members.
const PARTITIONS: i32 = 8;

/// Records of a burst, in a second; as long as it lasts nothing comes afterwards.
const RATE: u64 = 300;

/// The longest that a partition with records may stand still where nothing has crashed.
const STANDS_STILL_MAX: Duration = secs(10);

/// The memory of a replica: see `chaos.rs`.
const MEMORY_BYTES_MAX: u64 = 256 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn no_partition_stands_still_while_replicas_come_and_go_and_records_come_in_bursts() {
    soak("soak", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn none_does_so_under_the_newer_group_protocol() {
    soak("soak848", "group.protocol: \"consumer\"").await;
}

async fn soak(bus: &str, settings: &str) {
    let system = Options { latency: Duration::from_millis(10), ..Options::default() };
    let setup = Setup { partitions: PARTITIONS, settings: settings.to_owned(), log: "info", ..Setup::new(bus, system) };
    let load = Load::start_on(setup).await;
    let stays = load.replica("a");
    let stalls = StallWatch::start(load.offsets("apply-item"));
    let (rebalances, every) = (size().soak_rebalances, size().soak_every);
    let (mut comes, mut produced, mut memory_peak): (Option<Process>, Vec<Produced>, u64) = (None, Vec::new(), 0);
    for rebalance in 0..rebalances {
        let until = tokio::time::Instant::now() + every;
        comes = match comes {
            None => Some(load.replica("b")),
            Some(leaves) => {
                memory_peak = memory_peak.max(leaves.memory_peak().unwrap_or(0));
                assert!(leaves.terminate(secs(30)).await.success());
                None
            }
        };
        let burst = every / 2;
        let records = RATE * burst.as_millis() as u64 / 1_000;
        produced.extend(load.produce_from(u64::from(rebalance) * records, records, burst).await.unwrap());
        // The rhythm is what is tried here, and the gap at its end.
        tokio::time::sleep_until(until).await;
    }
    load.drained(produced.len(), secs(60)).await;
    load.all_committed(&produced, secs(60)).await;
    let stall = stalls.longest().await;
    for replica in comes.into_iter().chain([stays]) {
        memory_peak = memory_peak.max(replica.memory_peak().unwrap_or(0));
        assert!(replica.terminate(secs(30)).await.success());
    }
    let took = load.elapsed();
    let verdict = load.verdict(produced, Some(0)).await;
    figure(format!(
        "{rebalances} rebalances in {} s over {PARTITIONS} partitions; longest stand-still {:.1} s, most memory of a \
         replica {} MiB; {verdict}",
        took.as_secs(),
        stall.lasted.as_secs_f64(),
        memory_peak >> 20,
    ));
    assert!(verdict.holds(), "{verdict}");
    assert!(stall.lasted < STANDS_STILL_MAX, "{stall:?}");
    assert!(memory_peak < MEMORY_BYTES_MAX, "{memory_peak} bytes");
}
