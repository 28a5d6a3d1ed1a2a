//! A log with holes: marks of transactions and what was aborted in them. The commits pass them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use tieline_runtime::kafka::TopicReader;
use tieline_sandbox::recorder::Options;
use tieline_schema::avro::EventSchema;

use crate::cluster::kafka;
use crate::load::{Load, SCHEMA, record};
use crate::{eventually, secs};

/// Transactions, of which each third is aborted, and records in each.
const TRANSACTIONS: u64 = 60;
const RECORDS: u64 = 5;

#[tokio::test(flavor = "multi_thread")]
async fn marks_of_transactions_and_aborted_records_are_passed_and_not_delivered() {
    let load = Load::start("holes", Options::default()).await;
    let header = load.header().await;
    let id = u32::from_be_bytes(header[1..].try_into().unwrap());
    let replica = load.replica("a");
    let topic = load.topic();
    let written = tokio::task::spawn_blocking(move || write(&topic, id)).await.unwrap();
    load.drained(written, secs(60)).await;

    let spans = TopicReader::new(&load.connection(), "holes").unwrap().spans(&load.topic()).unwrap();
    let offsets: i64 = spans.iter().map(|span| span.to).sum();
    println!("{written} records in {offsets} offsets");
    assert!(offsets >= i64::try_from(TRANSACTIONS * RECORDS + TRANSACTIONS).unwrap(), "{offsets}: there are no holes");
    let last = last_records(&load);
    let passed = || load.committed("apply-item").iter().all(|(partition, offset)| last[partition] < *offset);
    eventually("all is committed", secs(30), passed).await;
    assert!(replica.terminate(secs(30)).await.success());
    assert_eq!(load.recorder.arrivals().len(), written);

    // Whoever takes over begins behind the holes, and delivers nothing twice.
    let second = load.replica("b");
    let more = load.produce_from(10_000, 60, secs(1)).await.unwrap();
    load.drained(written + more.len(), secs(60)).await;
    load.all_committed(&more, secs(30)).await;
    assert!(second.terminate(secs(30)).await.success());
    assert_eq!(load.recorder.arrivals().len(), written + more.len());
}

/// Writes transactions, and says how many records were committed.
fn write(topic: &str, schema_id: u32) -> usize {
    let schema = EventSchema::parse(SCHEMA).unwrap();
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka().brokers())
        .set("transactional.id", "holes")
        .set("partitioner", "murmur2_random")
        .set("linger.ms", "0")
        .create()
        .unwrap();
    producer.init_transactions(secs(30)).unwrap();
    let mut committed = 0;
    for transaction in 0..TRANSACTIONS {
        producer.begin_transaction().unwrap();
        for n in 0..RECORDS {
            let (key, event, value) = record("holes", transaction * RECORDS + n, schema_id, &schema);
            let headers = event.to_headers().into_iter().fold(OwnedHeaders::new(), |headers, (name, value)| {
                headers.insert(Header { key: name, value: Some(value.as_bytes()) })
            });
            producer.send(BaseRecord::to(topic).key(&key).payload(&value).headers(headers)).unwrap();
        }
        producer.flush(secs(30)).unwrap();
        if transaction % 3 == 2 {
            producer.abort_transaction(secs(30)).unwrap();
        } else {
            producer.commit_transaction(secs(30)).unwrap();
            committed += usize::try_from(RECORDS).unwrap();
        }
    }
    committed
}

/// The offset of the last record of each partition that was committed.
fn last_records(load: &Load) -> BTreeMap<i32, i64> {
    let mut reader = TopicReader::new(&load.connection(), "holes").unwrap();
    let spans = reader.spans(&load.topic()).unwrap();
    let mut last = BTreeMap::new();
    let take = |record: tieline_runtime::kafka::Record| {
        last.insert(record.partition, record.offset);
        ControlFlow::Continue(())
    };
    reader.read(&load.topic(), &spans, take).unwrap();
    last
}
