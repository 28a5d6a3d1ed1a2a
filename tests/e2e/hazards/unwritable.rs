//! A topic of dead letters that takes none: nothing is passed that could not be kept.

use rdkafka::admin::{AdminOptions, AlterConfig, ResourceSpecifier};
use tieline_delivery::oracle::{End, Ended};
use tieline_sandbox::recorder::{Arrival, Options, Reaction};

use super::admin;
use crate::load::Load;
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
    let refused: Vec<_> = produced.iter().filter(|record| record.key.as_deref() == Some(REFUSED)).collect();
    let lowest = refused.iter().min_by_key(|record| record.offset).unwrap();
    load.drained(produced.len() - refused.len(), secs(60)).await;
    eventually("commits fail", secs(30), || replica.log().matches("a commit failed").count() >= 3).await;
    let stands = load.committed("apply-item")[&lowest.partition];
    assert!(stands <= lowest.offset, "{stands} was committed, and {} is not kept", lowest.offset);

    // Whoever takes over finds it as it was.
    replica.kill();
    let second = load.replica("b");
    eventually("its commits fail too", secs(60), || second.log().matches("a commit failed").count() >= 2).await;
    let stands = load.committed("apply-item")[&lowest.partition];
    assert!(stands <= lowest.offset, "{stands} was committed, and {} is not kept", lowest.offset);

    longest(LETTERS, "3145728").await;
    load.all_committed(&produced, secs(60)).await;
    assert!(second.terminate(secs(30)).await.success());
    let dead = refused.iter().map(|record| Ended { event_id: record.event_id.clone(), end: End::Dead, at_ms: None });
    let dead: Vec<Ended> = dead.collect();
    let verdict = load.verdict_with(produced, Some(1_024), dead).await;
    println!("{verdict}");
    assert!(verdict.holds(), "{verdict}");
}

/// Has a topic refuse records that are longer.
async fn longest(topic: &str, bytes: &str) {
    let config = AlterConfig::new(ResourceSpecifier::Topic(topic)).set("max.message.bytes", bytes);
    let config = config.set("cleanup.policy", "compact");
    for altered in admin().alter_configs([&config], &AdminOptions::new()).await.unwrap() {
        altered.unwrap();
    }
}
