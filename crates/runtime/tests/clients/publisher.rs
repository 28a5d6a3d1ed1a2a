//! The publisher on a broker: what stands on the topics, and what the sender is told.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value as Avro;
use futures_util::future::join_all;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, FutureRecord, Producer as _};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::{Value, json};
use tieline_bus::{Bus, Environment, Secret};
use tieline_runtime::happening::{Happenings, What};
use tieline_runtime::kafka::{Connection, EventProducer};
use tieline_runtime::producer::{Accepted, Delivery, NotAccepted, Publisher, StartError};
use tieline_runtime::registry::RegistryClient;
use tieline_runtime::telemetry::Metrics;
use tieline_sandbox::broker::embedded::Embedded;
use tieline_sandbox::registry::Registry;
use tieline_schema::partitioner;

const PARTITIONS: u32 = 6;
const TOPIC: &str = "crm.deal_moved";
const DEAD_LETTERS: &str = "acme.crm.dead-letters";
const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";
const NOW_MS: i64 = 1_795_562_103_250;

const FILES: [(&str, &str); 4] = [
    (
        "tieline.yaml",
        "bus: acme
language: 1
kafka: { brokers: \"127.0.0.1:1\", partitions: 6, replication: 1 }
registry: { url: \"${REGISTRY}\" }
",
    ),
    (
        "schemas/crm.deal_moved.avsc",
        r#"{ "type": "record", "name": "deal_moved", "namespace": "crm", "doc": "A deal moved.", "fields": [
             { "name": "deal_id", "type": "string", "doc": "The deal." },
             { "name": "stage", "doc": "Where to.",
               "type": { "type": "enum", "name": "Stage", "doc": "How far.", "symbols": ["OPEN", "WON"] } },
             { "name": "at", "type": ["null", { "type": "long", "logicalType": "timestamp-millis" }], "default": null,
               "doc": "When." },
             { "name": "note", "type": ["null", "string"], "default": null, "doc": "Why." } ] }"#,
    ),
    (
        "producers/crm/webhook.schema.json",
        r#"{ "type": "object", "required": ["type", "deal"], "properties": { "type": { "type": "string" },
             "deal": { "type": "object", "required": ["id", "stage"], "properties": {
               "id": { "type": "string" }, "stage": { "type": "string", "enum": ["open", "closedwon"] },
               "at": { "type": "string" }, "note": { "type": "string" } } } } }"#,
    ),
    (
        "producers/crm/producer.yaml",
        "purpose: The CRM tells us when a deal moves.
owner: crm@example.com
source:
  webhook:
    path: /hooks/crm
    contract: webhook.schema.json
    verify: { standard_webhooks: { secret: secret:crm } }
tables:
  stage: { open: OPEN, closedwon: WON }
publish:
  - when: .type == 'deal.moved'
    event: crm.deal_moved
    id: $header.webhook-id
    key: .deal.id
    payload:
      deal_id: .deal.id
      stage: .deal.stage | translate(stage)
      at: .deal.at | parse_timestamp('dd.MM.yyyy HH:mm:ss', Europe/Berlin)
      note: .deal.note
",
    ),
];

struct Values {
    registry: String,
}

impl Environment for Values {
    fn variable(&self, _name: &str) -> Option<String> {
        Some(self.registry.clone())
    }

    fn secret(&self, _name: &str) -> Option<String> {
        Some("whsec_bm90IG11Y2ggb2YgYSBzZWNyZXQ=".to_owned())
    }
}

fn load(dir: &Path, registry: &str) -> Bus {
    for (name, text) in FILES {
        let file = dir.join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    let loaded = Bus::load(dir, &Values { registry: registry.to_owned() });
    loaded.bus.unwrap_or_else(|| panic!("{:#?}", loaded.problems))
}

/// A publisher with its broker and registry.
struct Bench {
    /// Gone once it is taken out.
    broker: Mutex<Option<Embedded>>,
    publisher: Publisher,
    metrics: Metrics,
    happenings: Happenings,
    schema: u32,
    _registry: Registry,
}

impl Bench {
    async fn start() -> Self {
        Self::with_settings(&[]).await
    }

    async fn with_settings(settings: &[(&str, &str)]) -> Self {
        let registry = Registry::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let broker = Embedded::start().unwrap();
        broker.create_topic(TOPIC, PARTITIONS).unwrap();
        broker.create_topic(DEAD_LETTERS, PARTITIONS).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let bus = load(dir.path(), &registry.url());
        let client = RegistryClient::new(&bus.registry).unwrap();
        let event = &bus.events[TOPIC];
        let schema = client.register(&event.subject, &event.schema.text, &[]).await.unwrap();
        let (metrics, happenings) = (Metrics::new(prometheus::Registry::new()).unwrap(), Happenings::default());
        let events = EventProducer::new(&connection(&bus, &broker, settings)).unwrap();
        let producer = Arc::clone(&bus.producers["crm"]);
        let publisher =
            Publisher::start(&bus, producer, &client, events, metrics.clone(), happenings.clone()).await.unwrap();
        Self { broker: Mutex::new(Some(broker)), publisher, metrics, happenings, schema, _registry: registry }
    }

    async fn accept(&self, id: &str, body: Value) -> Accepted {
        self.publisher.accept(delivery(id, body)).await.unwrap()
    }

    /// How often an outcome was counted.
    fn counted(&self, outcome: &str) -> u64 {
        let families = self.metrics.registry.gather();
        let published = families.iter().filter(|family| family.name() == "tieline_published_total");
        let of_outcome = published.flat_map(prometheus::proto::MetricFamily::get_metric).filter(|metric| {
            metric.get_label().iter().any(|label| label.name() == "outcome" && label.value() == outcome)
        });
        of_outcome.map(|metric| metric.get_counter().get_value() as u64).sum()
    }

    fn read(&self, topic: &str) -> Vec<Written> {
        read(self.broker.lock().unwrap().as_ref().unwrap().brokers(), topic)
    }
}

fn connection(bus: &Bus, broker: &Embedded, settings: &[(&str, &str)]) -> Connection {
    let mut kafka = bus.kafka.clone();
    kafka.brokers = broker.brokers().to_owned();
    kafka.settings =
        settings.iter().map(|(name, value)| ((*name).into(), Secret::new((*value).into()))).collect::<BTreeMap<_, _>>();
    Connection { kafka, embedded: true }
}

fn moved(deal: &str) -> Value {
    json!({ "type": "deal.moved", "deal": { "id": deal, "stage": "closedwon" } })
}

/// Keeps its contract, and has a time that is none.
fn unmappable(note: &str) -> Value {
    json!({ "type": "deal.moved", "deal": { "id": "D-1", "stage": "open", "at": "yesterday", "note": note } })
}

fn delivery(id: &str, json: Value) -> Delivery {
    Delivery {
        id: id.into(),
        headers: vec![("webhook-id".into(), id.into())],
        body: json.to_string().into_bytes(),
        json,
        received_ms: NOW_MS,
        traceparent: Some(format!("00-{TRACE_ID}-b7ad6b7169203331-01")),
    }
}

/// A record as it lies on its topic.
struct Written {
    partition: u32,
    key: Option<Vec<u8>>,
    value: Vec<u8>,
    headers: Vec<(String, String)>,
}

/// All records of a topic, to its high watermarks.
fn read(brokers: &str, topic: &str) -> Vec<Written> {
    let reader: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "reads")
        .set("fetch.wait.max.ms", "10")
        .create()
        .unwrap();
    let (mut all, mut from, mut missing) = (Vec::new(), TopicPartitionList::new(), 0);
    for partition in 0..i32::try_from(PARTITIONS).unwrap() {
        let (low, high) = reader.fetch_watermarks(topic, partition, Duration::from_secs(10)).unwrap();
        missing += high - low;
        from.add_partition_offset(topic, partition, Offset::Offset(low)).unwrap();
    }
    reader.assign(&from).unwrap();
    let begun = Instant::now();
    while missing > 0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "{missing} records of {topic} cannot be read");
        let Some(Ok(message)) = reader.poll(Duration::from_millis(100)) else { continue };
        missing -= 1;
        let headers = message.headers().into_iter().flat_map(rdkafka::message::Headers::iter);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        all.push(Written {
            partition: u32::try_from(message.partition()).unwrap(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().unwrap().to_vec(),
            headers: headers.map(|h| (h.key.to_owned(), text(h.value.unwrap()))).collect(),
        });
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_lies_on_its_topic_as_every_consumer_reads_it() {
    let bench = Bench::start().await;
    let mut heard = bench.happenings.listen();
    let accepted = bench.accept("msg_1", moved("D-1042")).await;
    assert_eq!(accepted, Accepted::Published { event_id: "msg_1".into(), event: TOPIC.into() });

    let written = bench.read(TOPIC);
    let [record] = written.as_slice() else { panic!("{} records", written.len()) };
    assert_eq!(record.key.as_deref(), Some(&b"D-1042"[..]));
    assert_eq!(record.partition, partitioner::partition(b"D-1042", PARTITIONS));
    let header = |name: &str| record.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
    for (name, value) in [
        ("ce_specversion", "1.0"),
        ("ce_id", "msg_1"),
        ("ce_source", "/acme/crm"),
        ("ce_type", TOPIC),
        ("ce_subject", "D-1042"),
        ("ce_time", "2026-11-24T23:15:03.25Z"),
        ("content-type", "application/avro"),
    ] {
        assert_eq!(header(name), Some(value), "{name}");
    }
    // The trace goes on, in a span of our own.
    let trace = header("ce_traceparent").unwrap();
    assert!(trace.starts_with(&format!("00-{TRACE_ID}-")) && !trace.contains("b7ad6b7169203331"), "{trace}");

    // Confluent's wire format, version 0: a zero, the id in four bytes, the datum.
    assert_eq!(record.value[..5], [&[0], &bench.schema.to_be_bytes()[..]].concat());
    let schema = apache_avro::Schema::parse_str(FILES[1].1).unwrap();
    let reader = GenericDatumReader::builder(&schema).build().unwrap();
    let datum = reader.read_value(&mut &record.value[5..]).unwrap();
    let Avro::Record(fields) = datum else { panic!("{datum:?}") };
    assert_eq!(fields[0], ("deal_id".into(), Avro::String("D-1042".into())));
    assert_eq!(fields[1], ("stage".into(), Avro::Enum(1, "WON".into())));
    assert_eq!(fields[3], ("note".into(), Avro::Union(0, Box::new(Avro::Null))));

    let told = heard.try_recv().unwrap();
    assert!(matches!(told.what, What::Published { .. }) && told.key == "D-1042", "{told:?}");
    assert_eq!(bench.counted("published"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_keys_lie_where_javas_partitioner_puts_them() {
    let bench = Bench::start().await;
    // Of all lengths modulo four, which murmur2 reads by, and beyond ASCII.
    let key = |n: usize| format!("{}{n}", ["D-", "deal ", "Ä", "漢字", ""][n % 5]);
    let accepted =
        join_all((0..1_000).map(|n| bench.publisher.accept(delivery(&format!("msg_{n}"), moved(&key(n)))))).await;
    assert!(accepted.into_iter().all(|a| matches!(a, Ok(Accepted::Published { .. }))));
    let written = bench.read(TOPIC);
    assert_eq!(written.len(), 1_000);
    for record in &written {
        let key = record.key.as_deref().unwrap();
        assert_eq!(record.partition, partitioner::partition(key, PARTITIONS), "{}", String::from_utf8_lossy(key));
    }
}

/// What lies on the dead letters' topic: key and value.
fn letters(bench: &Bench) -> Vec<(String, Value)> {
    let letters = bench.read(DEAD_LETTERS).into_iter();
    letters
        .map(|letter| (String::from_utf8(letter.key.unwrap()).unwrap(), serde_json::from_slice(&letter.value).unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_cannot_be_an_event_is_kept_whole_with_the_reason() {
    let bench = Bench::start().await;
    for (n, (body, says)) in [
        (unmappable("nothing"), "payload: `at` is not a day and time"),
        (json!({ "type": 7, "deal": { "id": "D-1", "stage": "open" } }), "breaks its contract: /type must be string"),
        (json!({ "type": "deal.moved" }), "must have `deal`"),
        (moved(""), "ce_subject"),
        (moved("D-1\n"), "ce_subject"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("msg_{n}");
        let Accepted::DeadLettered { reason } = bench.accept(&id, body.clone()).await else { panic!("{body}") };
        assert!(reason.contains(says), "{body}: {reason}");
        let letters = letters(&bench);
        let (_, letter) = letters.iter().find(|(key, _)| *key == id).unwrap();
        assert_eq!(letter["reason"], reason);
        assert_eq!(
            (&letter["producer"], &letter["delivery_id"], &letter["received_ms"]),
            (&json!("crm"), &json!(id), &json!(NOW_MS))
        );
        assert_eq!(letter["headers"], json!([["webhook-id", id]]));
        use base64::Engine as _;
        let kept = base64::prelude::BASE64_STANDARD.decode(letter["body"].as_str().unwrap()).unwrap();
        assert_eq!(kept, body.to_string().into_bytes());
    }
    assert!(bench.read(TOPIC).is_empty());
    assert_eq!((bench.counted("dead"), bench.counted("published")), (5, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_body_that_a_webhook_takes_has_room_in_a_dead_letter() {
    let bench = Bench::start().await;
    let note = "x".repeat((1 << 20) - 200);
    let accepted = bench.accept("msg_1", unmappable(&note)).await;
    assert!(matches!(accepted, Accepted::DeadLettered { .. }), "{accepted:?}");
    assert_eq!(letters(&bench).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_no_rule_takes_is_acknowledged_and_not_kept() {
    let bench = Bench::start().await;
    assert_eq!(
        bench.accept("msg_1", json!({ "type": "deal.deleted", "deal": { "id": "D-1", "stage": "open" } })).await,
        Accepted::Ignored
    );
    assert!(bench.read(TOPIC).is_empty() && bench.read(DEAD_LETTERS).is_empty());
    assert_eq!(bench.counted("ignored"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_delivery_again_is_the_same_event_and_one_with_another_body_is_counted() {
    let bench = Bench::start().await;
    for deal in ["D-1", "D-1", "D-2"] {
        let accepted = bench.accept("msg_1", moved(deal)).await;
        assert_eq!(accepted, Accepted::Published { event_id: "msg_1".into(), event: TOPIC.into() });
    }
    let written = bench.read(TOPIC);
    assert_eq!(written.len(), 3);
    assert!(written.iter().all(|r| r.headers.contains(&("ce_id".into(), "msg_1".into()))));
    assert_eq!(["published", "repeated", "repeated-otherwise"].map(|o| bench.counted(o)), [3, 1, 1]);
}

/// Ends it where it takes longer than a sender of a webhook waits.
async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(limit, future).await.expect("the sender has given up by now")
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_broker_nothing_is_accepted_and_the_sender_is_told_in_time() {
    let bench = Bench::with_settings(&[("delivery.timeout.ms", "1500")]).await;
    bench.accept("msg_0", moved("D-0")).await;
    bench.broker.lock().unwrap().take();
    // The same again, as senders do: what was not accepted is no repeated delivery.
    for (id, body) in [("msg_1", moved("D-1")), ("msg_1", moved("D-1")), ("msg_2", unmappable("nothing"))] {
        let refused = within(Duration::from_secs(10), bench.publisher.accept(delivery(id, body))).await;
        let NotAccepted { reason } = refused.unwrap_err();
        assert!(reason.contains("did not acknowledge"), "{reason}");
    }
    assert_eq!(["published", "failed", "repeated"].map(|o| bench.counted(o)), [1, 3, 0]);
}

#[tokio::test]
async fn a_producer_whose_schema_nobody_applied_does_not_start() {
    let registry = Registry::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let bus = load(dir.path(), &registry.url());
    let broker = Embedded::start().unwrap();
    let start = || async {
        let events = EventProducer::new(&connection(&bus, &broker, &[])).unwrap();
        let metrics = Metrics::new(prometheus::Registry::new()).unwrap();
        let client = RegistryClient::new(&bus.registry).unwrap();
        let producer = Arc::clone(&bus.producers["crm"]);
        Publisher::start(&bus, producer, &client, events, metrics, Happenings::default()).await
    };
    let error = start().await.unwrap_err();
    assert!(matches!(error, StartError::NotRegistered { .. }), "{error:?}");
    assert!(error.to_string().contains("schemas/crm.deal_moved.avsc") && error.to_string().contains("tieline apply"));

    // It is there, for all we know: a cold start waits for the registry.
    registry.fault(tieline_sandbox::registry::Fault::Failing(503));
    let before = registry.requests().len();
    let mut waiting = std::pin::pin!(start());
    let asked_twice = async {
        while registry.requests().len() < before + 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        started = &mut waiting => panic!("it did not wait: {started:?}"),
        () = asked_twice => {}
    }
    registry.fault(tieline_sandbox::registry::Fault::None);
    assert!(matches!(waiting.await.unwrap_err(), StartError::NotRegistered { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_broken_for_good_is_replaced() {
    let owner: BaseProducer = ClientConfig::new().set("test.mock.num.brokers", "1").create().unwrap();
    let broker = owner.client().mock_cluster().unwrap();
    broker.create_topic(TOPIC, 1, 1).unwrap();
    let kafka = tieline_bus::Kafka {
        brokers: broker.bootstrap_servers(),
        settings: BTreeMap::new(),
        partitions: 1,
        replication: 1,
    };
    let events = EventProducer::new(&Connection { kafka, embedded: true }).unwrap();
    let put = || events.put(FutureRecord::to(TOPIC).key(b"D-1".as_slice()).payload(b"{}".as_slice()));
    put().await.unwrap();
    // What an idempotent client cannot get over: its sequence and the broker's are two.
    broker.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER]);
    put().await.unwrap_err();
    within(Duration::from_secs(10), put()).await.unwrap();
}
