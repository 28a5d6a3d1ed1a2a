//! A system that hangs: the group is none the wiser.

use std::sync::OnceLock;
use std::time::Duration;

use tieline_sandbox::recorder::{Arrival, Options, Reaction};

use crate::load::Load;
use crate::secs;

/// The least that a broker lets a session time out in, and so the least time between two polls.
const POLL_INTERVAL: Duration = secs(6);

#[tokio::test(flavor = "multi_thread")]
async fn a_system_that_hangs_three_poll_intervals_long_costs_the_group_no_member() {
    let first = OnceLock::new();
    let hang = move |arrival: &Arrival| {
        let until = *first.get_or_init(|| arrival.at) + POLL_INTERVAL * 3;
        Some(Reaction { delay: until.saturating_sub(arrival.at), ..Reaction::default() })
    };
    let load = Load::start("hang", Options { react: Some(Box::new(hang)), ..Options::default() }).await;
    load.edit("systems/recorder/system.yaml", "deadline: 5s", "deadline: 30s");
    load.set("max.poll.interval.ms", "6000");
    load.set("session.timeout.ms", "6000");
    let replica = load.replica("a");
    let produced = load.produce(400, secs(2)).await.unwrap();
    load.drained(produced.len(), secs(60)).await;
    load.all_committed(&produced, secs(30)).await;

    let log = replica.log();
    let assigned = log.matches("\"assigned\"").count();
    println!("{assigned} partitions assigned in {:?}", load.elapsed());
    assert_eq!(assigned, 6, "each partition once: {log}");
    assert!(!log.contains("MaxPollExceeded") && !log.contains("max.poll.interval"), "{log}");
    assert!(replica.terminate(secs(30)).await.success());
    let verdict = load.verdict(produced, Some(0)).await;
    assert!(verdict.holds(), "{verdict}");
}
