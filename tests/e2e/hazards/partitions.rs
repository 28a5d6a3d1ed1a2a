//! Partitions that are added to a topic: keys lie elsewhere from then on, so that nobody goes on before somebody has said so.

use std::time::Duration;

use rdkafka::admin::{AdminOptions, NewPartitions};
use tieline_sandbox::recorder::Options;

use super::admin;
use crate::load::Load;
use crate::{eventually, secs};

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_ends_where_partitions_are_added_and_goes_on_where_that_is_accepted() {
    // It starts at what comes: what comes into an added partition before somebody looks at it comes too.
    let deliver = "{ order: key, in_flight: 64, patience: 30s, on_dead_letter: continue, start: now }";
    let slow = Options { latency: Duration::from_millis(1_500), ..Options::default() };
    let load = Load::start_with("added", slow, deliver).await;
    load.set("topic.metadata.refresh.interval.ms", "500");
    let replica = load.replica("a");
    eventually("it is ready", secs(60), || replica.log().contains("\"assigned\"")).await;
    let first = load.produce(60, secs(1)).await.unwrap();
    eventually("all are called", secs(30), || load.recorder.arrived() == first.len()).await;

    let topic = load.topic();
    let made = admin().create_partitions([&NewPartitions::new(&topic, 8)], &AdminOptions::new()).await;
    made.unwrap().into_iter().for_each(|made| drop(made.unwrap()));
    let log = load.dir.path().join("added-a.log");
    let ended = replica.ended(secs(30)).await;
    let log = std::fs::read_to_string(log).unwrap();
    assert_eq!(ended.code(), Some(3), "{log}");
    let said = log.lines().rev().find(|line| line.starts_with("tieline: ")).unwrap_or_default();
    assert!(said.contains("added.items had 6 partitions and has 8"), "{log}");

    // What was under way has ended, and is committed.
    load.all_committed(&first, secs(5)).await;

    let second = load.produce_from(1_000, 200, secs(1)).await.unwrap();
    let in_added = second.iter().filter(|record| record.partition >= 6).count();
    assert!(in_added > 0);
    let (code, _, error) = load.apply(&[]).await;
    assert_eq!((code, error.contains("write 8")), (3, true), "{error}");
    load.edit("tieline.yaml", "partitions: 6", "partitions: 8");
    let (code, _, error) = load.apply(&[]).await;
    assert_eq!((code, error.contains("--accept-partitions apply-item")), (3, true), "{error}");
    // It runs no more than it did before.
    assert_eq!(load.replica("b").ended(secs(60)).await.code(), Some(3));
    let (code, _, error) = load.apply(&["--accept-partitions", "aply-item"]).await;
    assert_eq!((code, error.contains("no consumer `aply-item`")), (2, true), "{error}");
    assert_eq!(load.recorder.effects(), first.len());

    let (code, out, error) = load.apply(&["--accept-partitions", "apply-item"]).await;
    assert_eq!(code, 0, "{out}{error}");
    println!("{out}{in_added} records in the two new partitions");
    assert!(out.contains("goes on with 8 partitions"), "{out}");
    assert_eq!(load.apply(&[]).await.1, "nothing to change\n");
    let last = load.replica("c");
    let third = load.produce_from(2_000, 200, secs(1)).await.unwrap();
    let all = first.len() + second.len() + third.len();
    load.drained(all, secs(60)).await;
    assert!(last.terminate(secs(30)).await.success());
    assert_eq!(load.recorder.arrivals().len(), all);
}
