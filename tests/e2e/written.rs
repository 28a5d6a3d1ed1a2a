//! What a bus wrote to Kafka, looked through for secrets when its test ends.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Header, Headers as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};

use crate::canary::{Canary, leaked, shown};
use crate::secs;

/// How long a topic may give nothing before the test fails: brokers may have been killed just before.
const SILENCE_MAX: Duration = secs(60);

/// The topics of a bus. When it is dropped, all that lies on them is looked through, by whomever it was written; what was
/// aborted too, since anybody can read it.
pub struct Topics {
    brokers: String,
    /// What their names begin with.
    beginnings: Vec<String>,
}

/// A secret on a topic.
#[derive(Debug, PartialEq, Eq)]
pub struct OnTopic {
    pub canary: Canary,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// `key`, `value`, or the name of a header.
    pub part: String,
}

impl Topics {
    /// Those of this bus, and of these events where they have topics of their own.
    pub fn of(brokers: &str, bus: &str, events: &[&str]) -> Self {
        let beginnings = std::iter::once(format!("{bus}.")).chain(events.iter().map(|event| (*event).to_owned()));
        Self { brokers: brokers.to_owned(), beginnings: beginnings.collect() }
    }

    /// The first secret on each partition that has one.
    pub fn secrets(&self) -> Vec<OnTopic> {
        let reader: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("group.id", "canaries")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_uncommitted")
            .set("enable.partition.eof", "true")
            .set("fetch.wait.max.ms", "10")
            .create()
            .expect("a client");
        let cluster = reader.fetch_metadata(None, SILENCE_MAX).expect("the topics");
        let is_ours = |name: &str| self.beginnings.iter().any(|beginning| name.starts_with(beginning));
        let ours: Vec<_> = cluster.topics().iter().filter(|topic| is_ours(topic.name())).collect();
        assert!(!ours.is_empty(), "there is no topic of {:?} to look through", self.beginnings);
        let partitions = |count: usize| i32::try_from(count).expect("few partitions");
        ours.iter().flat_map(|topic| on_topic(&reader, topic.name(), partitions(topic.partitions().len()))).collect()
    }
}

impl Drop for Topics {
    fn drop(&mut self) {
        // What has failed already tells of that; its brokers may be away.
        if std::thread::panicking() {
            return;
        }
        let told = self.secrets().into_iter().map(|OnTopic { canary, topic, partition, offset, part }| {
            format!("{canary:?} shows in topic {topic}, partition {partition}, offset {offset}: the {part}")
        });
        let told: Vec<String> = told.collect();
        if !told.is_empty() {
            leaked(&told.join("; "));
        }
    }
}

/// Reads a topic from its beginning to where it ends now.
fn on_topic(reader: &BaseConsumer, topic: &str, partitions: i32) -> Vec<OnTopic> {
    let mut whole = TopicPartitionList::new();
    for partition in 0..partitions {
        whole.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
    }
    reader.assign(&whole).expect("an assignment");
    let (mut ended, mut found) = (BTreeSet::new(), Vec::<OnTopic>::new());
    let mut heard = Instant::now();
    while ended.len() < usize::try_from(partitions).expect("few partitions") {
        match reader.poll(Duration::from_millis(100)) {
            Some(Ok(record)) => {
                let is_new = found.iter().all(|at| at.partition != record.partition());
                found.extend(in_record(&record).filter(|_| is_new));
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(ended.insert(partition)),
            Some(Err(error)) => {
                assert!(heard.elapsed() < SILENCE_MAX, "{topic} cannot be looked through: {error}");
                continue;
            }
            None => {
                assert!(heard.elapsed() < SILENCE_MAX, "{topic} cannot be looked through: nothing comes");
                continue;
            }
        }
        heard = Instant::now();
    }
    found
}

fn in_record(record: &BorrowedMessage<'_>) -> Option<OnTopic> {
    let of_headers = record.headers().into_iter().flat_map(|headers| headers.iter());
    let headers = of_headers.map(|header| (format!("header {}", header.key), header.value));
    let parts = [("key".to_owned(), record.key()), ("value".to_owned(), record.payload())];
    let (canary, part) =
        parts.into_iter().chain(headers).find_map(|(part, bytes)| Some((shown(bytes?)?.canary, part)))?;
    let topic = record.topic().to_owned();
    Some(OnTopic { canary, topic, partition: record.partition(), offset: record.offset(), part })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_on_a_topic_is_found_with_its_place_also_where_it_was_aborted() {
    let brokers = crate::cluster::kafka().brokers();
    let new = NewTopic::new("written.parked", 2, TopicReplication::Fixed(1));
    crate::hazards::admin().create_topics(&[new], &AdminOptions::new()).await.unwrap().pop().unwrap().unwrap();
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("transactional.id", "written")
        .set("compression.type", "lz4")
        .create()
        .unwrap();
    producer.init_transactions(SILENCE_MAX).unwrap();
    let put = |partition: i32, value: &str, header: &str| {
        let headers = OwnedHeaders::new().insert(Header { key: "reason", value: Some(header) });
        let record = BaseRecord::to("written.parked").partition(partition).key("item-1").payload(value);
        producer.send(record.headers(headers)).map_err(|(error, _)| error).unwrap();
    };
    let secret = STANDARD.encode(format!("bus:{}", Canary::Password.value()));
    producer.begin_transaction().unwrap();
    put(0, "harmless", "harmless");
    put(0, "harmless", &format!("Basic {secret} is wrong"));
    producer.commit_transaction(SILENCE_MAX).unwrap();
    producer.begin_transaction().unwrap();
    put(1, &Canary::ApiKey.value(), "harmless");
    producer.flush(SILENCE_MAX).unwrap();
    producer.abort_transaction(SILENCE_MAX).unwrap();

    let topics = Topics::of(brokers, "written", &[]);
    let on = |partition, offset, canary, part: &str| OnTopic {
        canary,
        topic: "written.parked".to_owned(),
        partition,
        offset,
        part: part.to_owned(),
    };
    let mut found = topics.secrets();
    found.sort_by_key(|at| at.partition);
    assert_eq!(found, [on(0, 1, Canary::Password, "header reason"), on(1, 0, Canary::ApiKey, "value")]);

    let failed = tokio::task::spawn_blocking(|| drop(topics)).await.unwrap_err().into_panic();
    let told = failed.downcast_ref::<String>().unwrap();
    assert!(told.contains("topic written.parked, partition 0, offset 1: the header reason"), "{told}");
    assert_eq!(shown(told.as_bytes()), None);
}
