//! Reading a topic to its end on a real Kafka: what is committed and nothing else, up to where it ended when it was asked.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use tieline_runtime::kafka::{Connection, ReadError, Span, TopicReader};

use crate::cluster::kafka;
use crate::secs;

/// A topic of its own, and a reader.
async fn topic(name: &str, partitions: i32) -> TopicReader {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", kafka().brokers()).create().unwrap();
    let new = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    for made in admin.create_topics(&[new], &AdminOptions::new()).await.unwrap() {
        made.unwrap();
    }
    TopicReader::new(&connection(), "reading").unwrap()
}

fn connection() -> Connection {
    let brokers = kafka().brokers().to_owned();
    let kafka = tieline_bus::Kafka { brokers, settings: Default::default(), partitions: 1, replication: 1 };
    Connection { kafka, embedded: false }
}

fn transactional(id: &str) -> BaseProducer {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka().brokers())
        .set("transactional.id", id)
        .set("linger.ms", "0")
        .create()
        .unwrap();
    producer.init_transactions(secs(30)).unwrap();
    producer
}

/// Writes values to partition 0, and waits for them.
fn put(producer: &BaseProducer, topic: &str, values: &[&str]) {
    for value in values {
        producer.send(BaseRecord::<str, str>::to(topic).partition(0).payload(value)).unwrap();
    }
    producer.flush(secs(30)).unwrap();
}

fn values(reader: &mut TopicReader, topic: &str, spans: &[Span]) -> Vec<String> {
    let mut values = Vec::new();
    let take = |record: tieline_runtime::kafka::Record| {
        values.push(String::from_utf8(record.value.unwrap()).unwrap());
        ControlFlow::Continue(())
    };
    reader.read(topic, spans, take).unwrap();
    values
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_is_marks_and_aborted_records_is_reached_at_once() {
    let mut reader = topic("reading.marks", 2).await;
    let producer = transactional("reading-marks");
    producer.begin_transaction().unwrap();
    put(&producer, "reading.marks", &["kept"]);
    producer.commit_transaction(secs(30)).unwrap();
    producer.begin_transaction().unwrap();
    put(&producer, "reading.marks", &["aborted", "aborted too"]);
    producer.abort_transaction(secs(30)).unwrap();

    let spans = reader.spans("reading.marks").unwrap();
    assert_eq!(spans.iter().map(|s| (s.from, s.to)).collect::<Vec<_>>(), [(0, 5), (0, 0)]);
    let started = Instant::now();
    assert_eq!(values(&mut reader, "reading.marks", &spans), ["kept"]);
    assert!(started.elapsed() < secs(20), "{:?}", started.elapsed());
    assert!(reader.record("reading.marks", 0, 0).unwrap().is_some_and(|r| r.value.as_deref() == Some(b"kept")));
    for gone in [1, 2, 4, 5, 99] {
        assert!(reader.record("reading.marks", 0, gone).unwrap().is_none(), "offset {gone}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_before_and_decided_after_the_question_is_in_the_answer() {
    let mut reader = topic("reading.open", 1).await;
    let producer = transactional("reading-open");
    producer.begin_transaction().unwrap();
    put(&producer, "reading.open", &["in doubt"]);
    let spans = reader.spans("reading.open").unwrap();
    assert_eq!(spans, [Span { partition: 0, from: 0, to: 1 }]);

    let decides = std::thread::spawn(move || {
        std::thread::park_timeout(Duration::from_millis(500));
        producer.commit_transaction(secs(30)).unwrap();
    });
    assert_eq!(values(&mut reader, "reading.open", &spans), ["in doubt"]);
    decides.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_written_to_all_the_time_is_read_to_where_it_ended_when_asked() {
    let mut reader = topic("reading.busy", 1).await;
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", kafka().brokers()).set("linger.ms", "0").create().unwrap();
    let early: Vec<String> = (0..500).map(|n| n.to_string()).collect();
    put(&producer, "reading.busy", &early.iter().map(String::as_str).collect::<Vec<_>>());
    let spans = reader.spans("reading.busy").unwrap();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let writes = std::thread::spawn(move || {
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            put(&producer, "reading.busy", &["later"]);
        }
    });
    assert_eq!(values(&mut reader, "reading.busy", &spans), early);
    // And again, with the same clients: nothing of the first reading is left over.
    assert_eq!(values(&mut reader, "reading.busy", &[Span { partition: 0, from: 498, to: 500 }]), ["498", "499"]);
    let now = tieline_runtime::now_ms() + 60_000;
    assert!(reader.since("reading.busy", &spans, now).unwrap().iter().all(|span| span.from == span.to));
    assert_eq!(reader.since("reading.busy", &spans, 0).unwrap(), spans);
    drop(stop);
    writes.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_not_there_is_said_to_be_so_at_once() {
    let reader = TopicReader::new(&connection(), "reading").unwrap();
    let started = Instant::now();
    let error = reader.spans("reading.nowhere").unwrap_err();
    assert!(matches!(error, ReadError::NoTopic { .. }), "{error}");
    assert!(started.elapsed() < secs(20));
    assert!(kafka().brokers().contains(':'));
}
