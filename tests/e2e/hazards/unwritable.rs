//! A topic of dead letters that takes none: nothing is passed that could not be kept, and nobody else waits for it.

use std::collections::BTreeSet;

use rdkafka::admin::{AdminOptions, AlterConfig, ResourceSpecifier};
use tieline_delivery::oracle::{End, Ended, Produced};
use tieline_sandbox::recorder::{Arrival, Options, Reaction};

use super::admin;
use crate::load::{Load, key_of};
use crate::{eventually, secs};

const LETTERS: &str = "unwritable.apply-item.dead-letters";

/// The key whose records are refused.
const REFUSED: &str = "item-7";

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_committed_past_a_dead_letter_that_cannot_be_kept() {
    let refuse = |arrival: &Arrival| {
        (arrival.key.as_deref() == Some(REFUSED)).then(|| Reaction { status: 422, ..Reaction::default() })
    };
    let options =
        Options { key_pointer: Some("/item".to_owned()), react: Some(Box::new(refuse)), ..Options::default() };
    let load = Load::start("unwritable", options).await;
    // Shorter than a dead letter, and longer than the mark of an aborted transaction: without that a broker hangs.
    longest(LETTERS, "200").await;
    let replica = load.replica("a");
    let produced = load.produce(300, secs(2)).await.unwrap();
    let is_refused = |record: &&Produced| record.key.as_deref() == Some(REFUSED);
    let lowest = produced.iter().filter(is_refused).min_by_key(|record| record.offset).unwrap().clone();
    let (same, others): (Vec<_>, Vec<_>) =
        produced.iter().cloned().partition(|record| record.partition == lowest.partition);
    assert!(others.len() > 100, "only {} records lie in other partitions", others.len());
    load.all_committed(&others, secs(60)).await;
    eventually("commits fail", secs(30), || replica.log().matches("a commit failed").count() >= 3).await;
    let stands = load.committed("apply-item")[&lowest.partition];
    assert!(stands <= lowest.offset, "{stands} was committed, and {} is not kept", lowest.offset);

    let says = || replica.log().contains("Kafka refuses its commits");
    eventually("it says that the partition waits", secs(30), says).await;
    // What comes to the others is done and committed as ever; to this one nothing is sent any more.
    let failed = replica.log().matches("a commit failed").count();
    eventually("it is tried again", secs(60), || replica.log().matches("a commit failed").count() > failed).await;
    let called = arrivals(&load, &same);
    let later = load.produce_from(300, 200, secs(2)).await.unwrap();
    let (behind, beside): (Vec<_>, Vec<_>) = later.iter().cloned().partition(|at| at.partition == lowest.partition);
    load.all_committed(&beside, secs(60)).await;
    assert_eq!((arrivals(&load, &behind), arrivals(&load, &same)), (0, called));

    // Whoever takes over finds it as it was.
    replica.kill();
    let second = load.replica("b");
    eventually("its commits fail too", secs(60), || second.log().matches("a commit failed").count() >= 2).await;
    let stands = load.committed("apply-item")[&lowest.partition];
    assert!(stands <= lowest.offset, "{stands} was committed, and {} is not kept", lowest.offset);

    longest(LETTERS, "3145728").await;
    let produced = [produced, later].concat();
    load.all_committed(&produced, secs(60)).await;
    assert!(second.terminate(secs(30)).await.success());
    let dead = produced.iter().filter(is_refused).map(|record| Ended {
        event_id: record.event_id.clone(),
        end: End::Dead,
        at_ms: None,
    });
    let dead: Vec<Ended> = dead.collect();
    let verdict = load.verdict_with(produced, Some(1_024), dead).await;
    println!("{verdict}");
    assert!(verdict.holds(), "{verdict}");
}

/// How many calls came of these records.
fn arrivals(load: &Load, records: &[Produced]) -> usize {
    let keys: BTreeSet<String> = records.iter().map(|record| key_of(&load.name, &record.event_id)).collect();
    let of_these = |arrival: &Arrival| arrival.idempotency_key.as_ref().is_some_and(|key| keys.contains(key));
    load.recorder.arrivals().iter().filter(|arrival| of_these(arrival)).count()
}

/// Has a topic refuse records that are longer.
async fn longest(topic: &str, bytes: &str) {
    let config = AlterConfig::new(ResourceSpecifier::Topic(topic)).set("max.message.bytes", bytes);
    let config = config.set("cleanup.policy", "compact");
    for altered in admin().alter_configs([&config], &AdminOptions::new()).await.unwrap() {
        altered.unwrap();
    }
}
