//! What Tieline relies on of the embedded broker, and what it must not rely on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::mpsc;
use std::time::{Duration, Instant};

use rdkafka::Message as _;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tieline_sandbox::broker::embedded::{CLIENT_SETTINGS, Embedded, Reading};

const WITHIN: Duration = Duration::from_secs(60);

#[test]
fn what_is_produced_is_consumed_in_the_order_of_its_key() {
    let broker = topic("t", 4);
    produce(&broker, "t", 100, 20);
    let consumer = consumer(&broker, "g", &CLIENT_SETTINGS);
    consumer.subscribe(&["t"]).unwrap();
    let seen = read(&consumer, 100);
    let mut last = std::collections::BTreeMap::new();
    for (key, n) in seen {
        assert!(last.insert(key, n) < Some(n));
    }
}

#[test]
fn a_commit_keeps_its_metadata_in_both_protocols() {
    for protocol in ["consumer", "classic"] {
        let broker = topic("t", 1);
        produce(&broker, "t", 10, 20);
        let consumer = consumer(&broker, "g", &[("group.protocol", protocol), ("fetch.wait.max.ms", "10")]);
        consumer.subscribe(&["t"]).unwrap();
        read(&consumer, 10);

        let metadata = "m".repeat(3_900);
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset("t", 0, Offset::Offset(7)).unwrap();
        offsets.find_partition("t", 0).unwrap().set_metadata(&metadata);
        consumer.commit(&offsets, CommitMode::Sync).unwrap();

        let (offset, read_back) = committed(&broker, "g");
        assert_eq!(offset, Offset::Offset(7), "{protocol}");
        assert_eq!(read_back, metadata, "{protocol}");
    }
}

#[test]
fn a_first_join_is_quick_with_the_settings_of_this_module() {
    let broker = topic("t", 4);
    let consumer = consumer(&broker, "g", &CLIENT_SETTINGS);
    let asked = Instant::now();
    consumer.subscribe(&["t"]).unwrap();
    eventually(|| {
        let _ = consumer.poll(Duration::from_millis(10));
        consumer.assignment().unwrap().count() == 4
    });
    // The classic protocol waits 3 s for other members; a loaded machine is given half of that.
    assert!(asked.elapsed() < Duration::from_millis(1_500), "{:?}", asked.elapsed());
}

#[test]
fn offsets_sent_in_a_transaction_are_not_stored_so_commits_go_the_plain_way() {
    let broker = topic("t", 1);
    produce(&broker, "t", 10, 20);
    let consumer = consumer(&broker, "g", &CLIENT_SETTINGS);
    consumer.subscribe(&["t"]).unwrap();
    read(&consumer, 10);

    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", broker.brokers()).set("transactional.id", "tx").create().unwrap();
    producer.init_transactions(WITHIN).unwrap();
    producer.begin_transaction().unwrap();
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset("t", 0, Offset::Offset(10)).unwrap();
    let sent = producer.send_offsets_to_transaction(&offsets, &consumer.group_metadata().unwrap(), WITHIN);
    sent.and_then(|()| producer.commit_transaction(WITHIN)).unwrap(); // and says nothing about it
    assert_eq!(committed(&broker, "g").0, Offset::Invalid);
}

#[test]
fn the_watch_tells_of_records_that_were_dropped_before_a_group_had_done_them() {
    let broker = topic("t", 1);
    produce(&broker, "t", 10, 20);
    let consumer = consumer(&broker, "g", &CLIENT_SETTINGS);
    consumer.subscribe(&["t"]).unwrap();
    read(&consumer, 10);
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset("t", 0, Offset::Offset(5)).unwrap();
    consumer.commit(&offsets, CommitMode::Sync).unwrap();

    let (alarm, alarms) = mpsc::channel();
    let reading = Reading { group: "g".to_owned(), topic: "t".to_owned(), partitions: 1 };
    let _watch = broker.watch(vec![reading], move |dropped| alarm.send(dropped).unwrap()).unwrap();
    assert!(alarms.recv_timeout(Duration::from_secs(3)).is_err(), "nothing has been dropped yet");

    produce(&broker, "t", 800, 10_000); // 8 MB into a partition that keeps 5 MiB
    let dropped = alarms.recv_timeout(WITHIN).expect("the alarm");
    assert!(dropped.records > 0 && (dropped.group.as_str(), dropped.partition) == ("g", 0));
    let told = dropped.to_string();
    assert!(told.starts_with("the embedded broker has dropped ") && told.contains(" records of t-0 "), "{told}");
}

#[test]
fn a_topic_is_made_once() {
    let broker = topic("t", 3);
    let error = broker.create_topic("t", 3).unwrap_err();
    assert_eq!(error.to_string(), "the embedded broker cannot make topic `t` with 3 partitions");
}

fn topic(name: &str, partitions: u32) -> Embedded {
    let broker = Embedded::start().unwrap();
    broker.create_topic(name, partitions).unwrap();
    broker
}

/// Numbers in turn under ten keys.
fn produce(broker: &Embedded, topic: &str, records: usize, bytes: usize) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", broker.brokers())
        .set("partitioner", "murmur2_random")
        .set("enable.idempotence", "true")
        .create()
        .unwrap();
    for n in 0..records {
        let key = format!("k{}", n % 10);
        let value = format!("{n:0bytes$}");
        producer.send(BaseRecord::to(topic).key(&key).payload(&value)).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(WITHIN).unwrap();
}

fn consumer(broker: &Embedded, group: &str, settings: &[(&str, &str)]) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", broker.brokers())
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest");
    for (name, value) in settings {
        config.set(*name, *value);
    }
    config.create().unwrap()
}

fn read(consumer: &BaseConsumer, records: usize) -> Vec<(Vec<u8>, u64)> {
    let mut seen = Vec::new();
    eventually(|| {
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            let message = message.unwrap();
            let n = std::str::from_utf8(message.payload().unwrap()).unwrap().parse().unwrap();
            seen.push((message.key().unwrap().to_vec(), n));
        }
        seen.len() == records
    });
    seen
}

fn committed(broker: &Embedded, group: &str) -> (Offset, String) {
    let reader = consumer(broker, group, &[]);
    let mut asked = TopicPartitionList::new();
    asked.add_partition("t", 0);
    let answer = reader.committed_offsets(asked, WITHIN).unwrap();
    let element = answer.find_partition("t", 0).unwrap();
    (element.offset(), element.metadata().to_owned())
}

fn eventually(mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + WITHIN;
    while !holds() {
        assert!(Instant::now() < end, "not within {WITHIN:?}");
    }
}
