//! What can never be delivered becomes a dead letter, with its bytes, key, headers and place, and keeps nobody waiting.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::producer::FutureRecord;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value;
use tieline_runtime::kafka::EventProducer;
use tieline_sandbox::recorder::{Options, Reaction};
use tieline_schema::avro::EventSchema;
use tieline_schema::wire::v0_header;

use crate::cluster::kafka;
use crate::load::{Load, record};
use crate::{eventually, secs};

const SCHEMA: &str = include_str!("load/load.item_changed.avsc");

/// Why a record is a dead letter, and its bytes.
type Poison = (&'static str, Option<Vec<u8>>);

/// The one record that the system refuses.
const REFUSED: &str = "item-7";

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_can_never_be_delivered_is_kept_whole_and_keeps_nobody_waiting() {
    let refuse = |arrival: &tieline_sandbox::recorder::Arrival| {
        (arrival.key.as_deref() == Some(REFUSED)).then(|| Reaction { status: 422, ..Reaction::default() })
    };
    let options =
        Options { key_pointer: Some("/item".to_owned()), react: Some(Box::new(refuse)), ..Options::default() };
    let load = Load::start("poison", options).await;
    let schema = EventSchema::parse(SCHEMA).unwrap();
    let header = load.header().await;
    let id = u32::from_be_bytes(header[1..].try_into().unwrap());
    let producer = EventProducer::new(&load.connection()).unwrap();

    let mut poison: BTreeMap<(i32, i64), Poison> = BTreeMap::new();
    let mut good = 0;
    // The first record of a partition, and at the end the last of two. More refusals before anything was delivered would
    // halt the consumer, as would a fifth of the last hundred.
    at_the_edge(&load, &producer, &header, 0..1, &mut poison).await;
    for sequence in 0..40 {
        let (key, event, value) = record("poison", sequence, id, &schema);
        let (reason, value, event) = match sequence % 8 {
            0 => ("undecodable", [&header[..], b"\xff\xff\xff"].concat(), Some(event)),
            1 => ("undecodable", [&v0_header(id ^ 1)[..], &value[5..]].concat(), Some(event)),
            2 => ("undecodable", value, None),
            _ if key == REFUSED => ("http-422", value, Some(event)),
            _ => {
                good += 1;
                producer.publish(&load.topic(), key.as_bytes(), &event, &value).await.unwrap();
                continue;
            }
        };
        let headers = event.iter().flat_map(|e| e.to_headers()).fold(OwnedHeaders::new(), |headers, (name, value)| {
            headers.insert(Header { key: name, value: Some(value.as_bytes()) })
        });
        let topic = load.topic();
        let put = FutureRecord::to(&topic).key(key.as_bytes()).payload(value.as_slice()).headers(headers);
        poison.insert(producer.put(put).await.unwrap(), (reason, Some(value)));
    }

    at_the_edge(&load, &producer, &header, 0..2, &mut poison).await;

    let replica = load.replica("a");
    load.drained(good, secs(60)).await;
    let mut letters = BTreeMap::new();
    let reader = reader();
    eventually("all dead letters", secs(60), || {
        read(&reader, &mut letters);
        letters.len() >= poison.len()
    })
    .await;
    assert!(replica.terminate(secs(30)).await.success());
    assert_eq!(load.recorder.effects(), good);
    assert_eq!(letters.keys().collect::<Vec<_>>(), poison.keys().collect::<Vec<_>>());
    for (at, (reason, value)) in &poison {
        let letter: &Value = &letters[at];
        assert_eq!(letter["reason"], *reason, "{letter}");
        assert_eq!(letter["topic"], load.topic().as_str());
        let kept = letter["value"].as_str().map(|v| STANDARD.decode(v).unwrap());
        assert_eq!(&kept, value, "{letter}");
        let key = STANDARD.decode(letter["key"].as_str().unwrap()).unwrap();
        assert!(key.starts_with(b"item-"), "{letter}");
        assert!(!letter["detail"].as_str().unwrap().is_empty(), "{letter}");
    }
    // What the broker had is kept as it was, headers included.
    let with_headers = letters.values().filter(|l| !l["headers"].as_array().unwrap().is_empty()).count();
    assert_eq!(with_headers, poison.len() - 5 - 3);
    // Their consumer is through, also with what came last.
    let ends = load.offsets("apply-item").ends();
    let committed = load.committed("apply-item");
    assert!(ends.iter().all(|(partition, end)| committed.get(partition) == end.as_ref()), "{committed:?} of {ends:?}");
}

/// Puts a record that nobody can read at the end of each of these partitions.
async fn at_the_edge(
    load: &Load,
    producer: &EventProducer,
    header: &[u8; 5],
    partitions: std::ops::Range<i32>,
    poison: &mut BTreeMap<(i32, i64), Poison>,
) {
    let topic = load.topic();
    for partition in partitions {
        let value = [&header[..], b"\xff"].concat();
        let put = FutureRecord::to(&topic).key(b"item-edge".as_slice()).partition(partition).payload(value.as_slice());
        poison.insert(producer.put(put).await.unwrap(), ("undecodable", Some(value)));
    }
}

fn reader() -> BaseConsumer {
    let reader: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka().brokers())
        .set("group.id", "poison-reader")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let mut all = TopicPartitionList::new();
    for partition in 0..6 {
        all.add_partition_offset("poison.apply-item.dead-letters", partition, Offset::Beginning).unwrap();
    }
    reader.assign(&all).unwrap();
    reader
}

fn read(reader: &BaseConsumer, letters: &mut BTreeMap<(i32, i64), Value>) {
    while let Some(message) = reader.poll(Duration::from_millis(50)) {
        let message = message.unwrap();
        let letter: Value = serde_json::from_slice(message.payload().unwrap()).unwrap();
        let at = (i32::try_from(letter["partition"].as_i64().unwrap()).unwrap(), letter["offset"].as_i64().unwrap());
        assert_eq!(message.partition(), at.0, "a dead letter lies in its origin's partition");
        letters.insert(at, letter);
    }
}
