//! A tombstone ends what has its key at the system, in the key's order, and a consumer that starts anew deletes nothing twice.

use std::collections::BTreeMap;

use rdkafka::producer::FutureRecord;
use tieline_runtime::kafka::EventProducer;
use tieline_sandbox::recorder::{Arrival, Options};

use crate::load::Load;
use crate::{eventually, secs};

#[tokio::test(flavor = "multi_thread")]
async fn a_tombstone_deletes_at_the_system_between_the_events_of_its_key() {
    let load = Load::start("tombstone", Options { key_pointer: Some("/item".to_owned()), ..Options::default() }).await;
    let deletes = "paths:\n  /items/{item}:\n    delete:\n      operationId: removeItem\n      parameters: [{ name: item, in: path, required: true, schema: { type: string } }]\n      responses: { \"204\": { description: Gone. }, \"200\": { description: Gone. } }";
    load.edit("systems/recorder/openapi.yaml", "paths:", deletes);
    let on_tombstone = "on_tombstone: { operation: removeItem, with: { item: $key } }\ndeliver:";
    load.edit("consumers/apply-item/consumer.yaml", "deliver:", on_tombstone);
    let replica = load.replica("a");

    let before = load.produce(100, secs(1)).await.unwrap();
    let partition_of: BTreeMap<&str, i32> =
        before.iter().map(|record| (record.key.as_deref().unwrap(), record.partition)).collect();
    let first = *partition_of.first_key_value().unwrap().0;
    let second = *partition_of.iter().find(|(_, partition)| **partition != partition_of[first]).unwrap().0;
    let producer = EventProducer::new(&load.connection()).unwrap();
    for key in [first, second] {
        let (partition, _) = producer.put(FutureRecord::to(&load.topic()).key(key.as_bytes())).await.unwrap();
        assert_eq!(partition, partition_of[key], "a tombstone lies where the events of its key do");
    }
    let after = load.produce_from(100, 100, secs(1)).await.unwrap();
    load.drained(before.len() + after.len() + 2, secs(60)).await;
    load.all_committed(&after, secs(30)).await;

    for key in [first, second] {
        // What was ordered of it before, then its end, then what came after: and nothing else was deleted.
        let is_of = |arrival: &&Arrival| arrival.key.as_deref() == Some(key) || arrival.path == format!("/items/{key}");
        let arrivals = load.recorder.arrivals();
        let paths: Vec<&str> = arrivals.iter().filter(is_of).map(|arrival| arrival.path.as_str()).collect();
        let of_key = |records: &[tieline_delivery::oracle::Produced]| {
            records.iter().filter(|record| record.key.as_deref() == Some(key)).count()
        };
        assert_eq!(paths.iter().position(|path| path.starts_with("/items/")), Some(of_key(&before)), "{paths:?}");
        assert_eq!(paths.len(), of_key(&before) + 1 + of_key(&after), "{paths:?}");
    }
    let deleted = |load: &Load| load.recorder.arrivals().iter().filter(|at| at.path.starts_with("/items/")).count();
    assert_eq!(deleted(&load), 2);

    // A crash brings none of them again: they are committed, as events are.
    replica.kill();
    let second = load.replica("b");
    let last = load.produce_from(200, 50, secs(1)).await.unwrap();
    load.all_committed(&last, secs(60)).await;
    eventually("all is delivered", secs(30), || load.recorder.effects() >= 252).await;
    assert!(second.terminate(secs(30)).await.success());
    assert_eq!(deleted(&load), 2);
}
