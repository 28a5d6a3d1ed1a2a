//! A key that fails while others go through is set aside, durably, and delivered in order when it works again.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tieline_delivery::oracle::{End, Ended};
use tieline_runtime::kafka::TopicReader;
use tieline_runtime::state::ParkedRecord;
use tieline_sandbox::recorder::{Options, Reaction};

use crate::load::Load;
use crate::secs;

const RECORDS: u64 = 2_000;

/// Keys that the system fails for.
const SICK: [&str; 3] = ["item-3", "item-50", "item-77"];

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_fails_waits_aside_through_a_crash_and_keeps_its_order() {
    let sick = Arc::new(AtomicBool::new(true));
    let react = {
        let sick = Arc::clone(&sick);
        move |arrival: &tieline_sandbox::recorder::Arrival| {
            let fails = sick.load(Ordering::Relaxed) && SICK.contains(&arrival.key.as_deref().unwrap_or_default());
            fails.then(|| Reaction { status: 503, ..Reaction::default() })
        }
    };
    let options = Options { key_pointer: Some("/item".to_owned()), react: Some(Box::new(react)), ..Options::default() };
    let deliver = "{ in_flight: 64, patience: 1s, park_schedule: [2s, 3s], start: earliest }";
    let load = Load::start_with("parking", options, deliver).await;

    let first = load.replica("a");
    let produced = load.produce(RECORDS, secs(8)).await.expect("produced");
    let of_sick = produced.iter().filter(|record| SICK.contains(&record.key.as_deref().unwrap_or_default())).count();
    load.drained(produced.len() - of_sick, secs(30)).await;
    // The offsets pass what is parked, and nobody waits for it.
    load.all_committed(&produced, secs(30)).await;
    assert_eq!(load.recorder.effects(), produced.len() - of_sick);
    let parked = parked(&load);
    assert_eq!(parked.len(), of_sick);

    first.kill();
    let second = load.replica("b");
    sick.store(false, Ordering::Relaxed);
    load.drained(produced.len(), secs(60)).await;
    assert!(second.terminate(secs(30)).await.success());
    assert_eq!(self::parked(&load).len(), 0);

    let waited = parked.into_iter().map(|event_id| Ended { event_id, end: End::Parked, at_ms: None }).collect();
    let verdict = load.verdict_with(produced, Some(1_024), waited).await;
    println!("{verdict}");
    assert!(verdict.holds(), "{verdict}");
    assert_eq!(verdict.effects, usize::try_from(RECORDS).expect("few"));
}

/// The events that are parked now.
fn parked(load: &Load) -> BTreeSet<String> {
    let topic = "parking.apply-item.parked";
    let mut reader = TopicReader::new(&load.connection(), "parking.apply-item").expect("a reader");
    let spans = reader.spans(topic).expect("its end");
    let mut parked = std::collections::BTreeMap::new();
    let take = |record: tieline_runtime::kafka::Record| {
        let key = record.key.expect("a key");
        match record.value {
            Some(value) => parked.insert(key, ParkedRecord::decode(&value).expect("a parked record")),
            None => parked.remove(&key),
        };
        ControlFlow::Continue(())
    };
    reader.read(topic, &spans, take).expect("its records");
    let id = |parked: ParkedRecord<'_>| {
        String::from_utf8(parked.original.header("ce_id").expect("an id").to_vec()).expect("text")
    };
    parked.into_values().map(id).collect()
}
