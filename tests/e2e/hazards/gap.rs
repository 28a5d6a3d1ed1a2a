//! Records that are deleted before they are delivered: their consumer says how many and ends, the others of its process
//! finish what they have begun, and nobody goes on before somebody has accepted the loss.

use std::collections::BTreeMap;

use rdkafka::admin::AdminOptions;
use rdkafka::producer::FutureRecord;
use rdkafka::{Offset, TopicPartitionList};
use tieline_runtime::kafka::EventProducer;
use tieline_runtime::state::{Act, Command, Target, control_topic};
use tieline_sandbox::recorder::Options;

use super::admin;
use crate::load::Load;
use crate::process::Process;
use crate::{eventually, secs};

const BUS: &str = "gap";

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_whose_records_were_deleted_says_how_many_and_lets_the_others_finish() {
    // Slow enough that calls are under way while the other consumer comes to its end.
    let load = Load::start(BUS, Options { latency: secs(3), ..Options::default() }).await;
    another_consumer(&load);
    assert_eq!(load.apply(&[]).await.0, 0);
    let run = |name: &str| {
        let args = ["run", "--admin", "127.0.0.1:0"];
        Process::start(load.dir.path(), name, &args, &load.environment)
    };
    let both = run("gap-a");
    let first = load.produce(60, secs(1)).await.unwrap();
    load.drained(first.len() * 2, secs(60)).await;
    load.all_committed(&first, secs(30)).await;
    eventually("the other one has committed too", secs(30), || ends(&load, "other") == ends(&load, "apply-item")).await;

    // One is paused, and what it is to deliver is deleted while the other is about to.
    order(&load, "p1", Act::Pause { target: Target::Consumer { name: "other".to_owned() } }).await;
    eventually("it is paused", secs(30), || both.log().matches("paused by order p1").count() >= 6).await;
    let arrived = load.recorder.arrived();
    let second = load.produce_from(500, 60, secs(1)).await.unwrap();
    eventually("calls are under way", secs(30), || load.recorder.arrived() >= arrived + second.len()).await;
    let before = ends(&load, "other");
    delete(&load, &second.iter().map(|record| (record.partition, record.offset + 1)).collect()).await;
    order(&load, "p2", Act::Resume { target: Target::Consumer { name: "other".to_owned() } }).await;

    let (log_of, ended) = (load.dir.path().join("gap-a.log"), both.ended(secs(40)).await);
    let log = std::fs::read_to_string(log_of).unwrap();
    assert_eq!(ended.code(), Some(3), "{log}");
    let said = log.lines().rev().find(|line| line.starts_with("tieline: ")).expect("it says why it has ended");
    assert!(said.contains("consumers/other: records of gap.items were deleted before they were delivered"), "{said}");
    assert!(said.contains("--accept-gap"), "{said}");
    println!("{said}");
    for partition in said.split(" in partition ").skip(1) {
        let partition: i32 = partition.split(' ').next().unwrap().parse().unwrap();
        let records = second.iter().filter(|record| record.partition == partition).count();
        let told = format!("{records} in partition {partition} (offsets {} to ", before[&partition]);
        assert!(said.contains(&told), "{said}: {told}");
    }
    // The other one has finished: each call that it made is committed.
    let arrivals = load.recorder.arrivals();
    assert!(arrivals.iter().all(|arrival| arrival.applied && arrival.earlier_attempts == 0));
    load.all_committed(&second, secs(5)).await;

    // Nobody goes on by itself; then somebody gives the deleted ones up, and both do.
    assert_eq!(run("gap-b").ended(secs(60)).await.code(), Some(3));
    let (code, out, error) = load.apply(&["--accept-gap", "other"]).await;
    assert_eq!(code, 0, "{out}{error}");
    assert!(out.contains("consumer other gives up"), "{out}");
    let third = load.produce_from(1_000, 60, secs(1)).await.unwrap();
    let effects = load.recorder.effects();
    let last = run("gap-c");
    load.drained(effects + third.len() * 2, secs(60)).await;
    assert!(last.terminate(secs(30)).await.success());
    let arrivals = load.recorder.arrivals();
    let again = arrivals.iter().filter(|arrival| arrival.earlier_attempts > 0).count();
    assert_eq!(again, 0, "a call that had ended came again");
}

/// A second consumer of the same events, with another effect.
fn another_consumer(load: &Load) {
    let text = std::fs::read_to_string(load.dir.path().join("consumers/apply-item/consumer.yaml")).unwrap();
    let folder = load.dir.path().join("consumers/other");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("consumer.yaml"), text).unwrap();
}

fn ends(load: &Load, consumer: &str) -> BTreeMap<i32, i64> {
    load.committed(consumer)
}

async fn order(load: &Load, id: &str, act: Act) {
    let command = Command { id: id.to_owned(), by: "ann@desk".to_owned(), reason: "a test".to_owned(), at_ms: 1, act };
    let (topic, key, value) = (control_topic(BUS), command.key(), command.encode().unwrap());
    let producer = EventProducer::new(&load.connection()).unwrap();
    producer.put(FutureRecord::to(&topic).partition(0).key(&key[..]).payload(&value[..])).await.unwrap();
}

/// Deletes the records of each partition below an offset.
async fn delete(load: &Load, ends: &BTreeMap<i32, i64>) {
    let mut below = TopicPartitionList::new();
    for (partition, end) in ends {
        below.add_partition_offset(&load.topic(), *partition, Offset::Offset(*end)).unwrap();
    }
    admin().delete_records(&below, &AdminOptions::new()).await.unwrap();
}
