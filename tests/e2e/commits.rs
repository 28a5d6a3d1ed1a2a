//! A commit is there whole or not at all, and one that fails does not hold up the next.

use std::sync::Arc;
use std::time::Instant;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tieline_delivery::{CommitId, CommitOffset, Partition};
use tieline_runtime::kafka::{
    Batch, CommitMode, Committer, FetchEvent, Fetcher, ParkTopic, StateRecord, group_of, state_topic,
};
use tieline_sandbox::recorder::Options;

use crate::cluster::kafka;
use crate::load::Load;
use crate::secs;

/// More than a client takes for one record of a state topic: 3 MiB.
const TOO_MANY_BYTES: usize = 4 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_cannot_be_whole_is_not_there_and_the_next_one_is_made_at_once() {
    let load = Load::start("commits", Options::default()).await;
    let (topic, group) = (load.topic(), group_of("commits", "apply-item"));
    let parked = state_topic("commits", "apply-item", "parked");
    let park = Arc::new(ParkTopic::new(&load.connection(), &group, parked).unwrap());
    let (fetcher, mut fetched) = Fetcher::start(&load.connection(), &group, &topic, park, secs(5)).unwrap();
    let membership = loop {
        if let FetchEvent::Assigned { membership, .. } = fetched.recv().await.unwrap() {
            break membership;
        }
    };
    let mode = CommitMode::Transaction { transactional_id: "commits.apply-item.test".to_owned() };
    let client = Arc::clone(&fetcher.client);
    let (committer, mut reports) = Committer::start(&load.connection(), mode, &topic, Arc::clone(&client)).unwrap();

    let ledger: Arc<str> = state_topic("commits", "apply-item", "ledger").into();
    let record = |partition, value: &str| StateRecord {
        topic: Arc::clone(&ledger),
        partition,
        key: b"key".to_vec(),
        value: Some(value.as_bytes().to_vec()),
        parks: None,
    };
    let batch = |id, offset, records| Batch {
        id: CommitId(id),
        offsets: vec![CommitOffset { partition: Partition(0), offset, metadata: String::new() }],
        records,
        membership: membership.clone(),
    };
    let started = Instant::now();
    committer.commit(batch(1, 5, vec![record(0, "lost"), record(0, &"x".repeat(TOO_MANY_BYTES))]));
    committer.commit(batch(2, 7, vec![record(0, "kept")]));
    let (first, second) = (reports.recv().await.unwrap(), reports.recv().await.unwrap());
    assert!(first.result.is_err(), "{first:?}");
    second.result.unwrap();
    // An abort that nobody serves takes 10 s, and so does a commit behind it.
    assert!(started.elapsed() < secs(8), "both took {:?}", started.elapsed());

    let seen = tokio::task::spawn_blocking(move || {
        let seen = (first_committed(&ledger), committed(&client, &topic));
        fetcher.stop();
        seen
    });
    drop(fetched);
    assert_eq!(seen.await.unwrap(), ("kept".to_owned(), Offset::Offset(7)));
}

/// The first record of the ledger's partition that is committed.
fn first_committed(ledger: &str) -> String {
    let reader: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka().brokers())
        .set("group.id", "commits.reader")
        .set("isolation.level", "read_committed")
        .create()
        .unwrap();
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(ledger, 0, Offset::Beginning).unwrap();
    reader.assign(&from).unwrap();
    let message = reader.poll(secs(30)).unwrap().unwrap();
    String::from_utf8(message.payload().unwrap().to_vec()).unwrap()
}

/// Where the group stands in the first partition.
fn committed<C: rdkafka::consumer::ConsumerContext>(client: &BaseConsumer<C>, topic: &str) -> Offset {
    let mut asked = TopicPartitionList::new();
    asked.add_partition(topic, 0);
    client.committed_offsets(asked, secs(30)).unwrap().elements()[0].offset()
}
