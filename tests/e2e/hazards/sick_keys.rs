//! Keys that are slow or fail hold up nobody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tieline_delivery::oracle::{End, Ended};
use tieline_sandbox::recorder::{Arrival, Options, Reaction};

use crate::load::Load;
use crate::{eventually, secs};

/// The key whose calls take 3 s, and the one whose calls fail.
const SLOW: &str = "item-7";
const FAILING: &str = "item-50";

/// Records in a second, and for how long.
const RATE: u64 = 300;
const FOR: Duration = secs(8);

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_key_and_a_failing_one_take_no_throughput_from_the_others() {
    let sick = Arc::new(AtomicBool::new(true));
    let of_system = Arc::clone(&sick);
    let react = move |arrival: &Arrival| match arrival.key.as_deref().filter(|_| of_system.load(Ordering::Relaxed)) {
        Some(SLOW) => Some(Reaction { delay: secs(3), ..Reaction::default() }),
        Some(FAILING) => Some(Reaction { status: 503, ..Reaction::default() }),
        Some(_) | None => None,
    };
    let options = Options {
        latency: Duration::from_millis(20),
        key_pointer: Some("/item".to_owned()),
        react: Some(Box::new(react)),
        ..Options::default()
    };
    let deliver = "{ in_flight: 64, patience: 1s, park_schedule: [2s, 3s], start: earliest }";
    let load = Load::start_with("sick", options, deliver).await;
    let replica = load.replica("a");
    eventually("it is ready", secs(60), || replica.log().contains("\"assigned\"")).await;
    let produced = load.produce(RATE * FOR.as_secs(), FOR).await.unwrap();

    // Calls that came while records did, and what a call and a commit take after them.
    let is_sick = |key: Option<&str>| matches!(key, Some(SLOW | FAILING));
    let offered = produced.iter().filter(|record| !is_sick(record.key.as_deref())).count();
    tokio::time::sleep(Duration::from_millis(250)).await;
    let of_others = load.recorder.arrivals();
    let kept = of_others.iter().filter(|arrival| arrival.applied && !is_sick(arrival.key.as_deref())).count();
    println!("{kept} of {offered} records of the other keys are done when the last one has come");
    assert!(kept * 100 >= offered * 95, "{kept} of {offered}");

    sick.store(false, Ordering::Relaxed);
    load.drained(produced.len(), secs(60)).await;
    load.all_committed(&produced, secs(30)).await;
    assert!(replica.terminate(secs(30)).await.success());
    let parked = produced.iter().filter(|record| record.key.as_deref() == Some(FAILING));
    let parked =
        parked.map(|record| Ended { event_id: record.event_id.clone(), end: End::Parked, at_ms: None }).collect();
    let verdict = load.verdict_with(produced, None, parked).await;
    println!("{verdict}");
    assert!(verdict.holds(), "{verdict}");
}
