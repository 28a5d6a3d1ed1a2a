//! The real Kafka that tests run on: that it starts, keeps what it acknowledged, and leaves nothing behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::time::Duration;

use rdkafka::Message as _;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tieline_sandbox::broker::kafka::{ADMIN, Kafka, Options};

const WITHIN: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_broker_that_is_killed_comes_back_with_all_that_it_acknowledged() {
    if skipped() {
        return;
    }
    let kafka = Kafka::start(Options::one_node()).unwrap();
    create(&kafka, "t").await;
    send(&kafka, "t", "before");
    kafka.kill(1).unwrap();
    kafka.restart(1).unwrap();
    send(&kafka, "t", "after");
    assert_eq!(values(&kafka, "t", 2), ["before", "after"]);

    let (dir, address) = (kafka.dir().to_owned(), kafka.brokers().to_owned());
    let broker = std::fs::read_to_string(dir.join("cluster/1/pid")).unwrap();
    assert!(runs(&broker));
    drop(kafka);
    assert!(!runs(&broker), "the broker has its ports until the kernel has taken it down");
    assert!(!dir.exists());
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[tokio::test]
async fn a_secure_cluster_of_three_serves_those_who_have_the_password() {
    if skipped() {
        return;
    }
    let kafka = Kafka::start(Options { nodes: 3, secure: true }).unwrap();
    create(&kafka, "t").await;
    send(&kafka, "t", "secret");
    assert_eq!(values(&kafka, "t", 1), ["secret"]);

    let stranger: BaseConsumer = config(&kafka, ("admin", "wrong")).set("socket.timeout.ms", "5000").create().unwrap();
    assert!(stranger.fetch_metadata(None, Duration::from_secs(5)).is_err());
}

/// Whether the user said aloud that this machine shall not run Kafka. Without Java the test fails otherwise.
fn skipped() -> bool {
    let skip = std::env::var_os("TIELINE_SKIP_KAFKA").is_some_and(|v| v == "1");
    if skip {
        println!("skipped: TIELINE_SKIP_KAFKA=1");
    }
    skip
}

/// Whether there is a process of this number.
fn runs(pid: &str) -> bool {
    std::process::Command::new("kill").args(["-0", pid.trim()]).output().unwrap().status.success()
}

fn config(kafka: &Kafka, user: (&str, &str)) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.brokers());
    for (name, value) in kafka.client_settings(user) {
        config.set(name, value);
    }
    config
}

async fn create(kafka: &Kafka, topic: &str) {
    let admin: AdminClient<_> = config(kafka, ADMIN).create().unwrap();
    let options = AdminOptions::new().operation_timeout(Some(WITHIN));
    let topic = NewTopic::new(topic, 1, TopicReplication::Fixed(-1));
    for result in admin.create_topics([&topic], &options).await.unwrap() {
        result.unwrap();
    }
}

fn send(kafka: &Kafka, topic: &str, value: &str) {
    let producer: BaseProducer = config(kafka, ADMIN).set("enable.idempotence", "true").create().unwrap();
    producer.send(BaseRecord::to(topic).key("k").payload(value)).map_err(|(error, _)| error).unwrap();
    producer.flush(WITHIN).unwrap();
    assert_eq!(producer.in_flight_count(), 0);
}

fn values(kafka: &Kafka, topic: &str, records: usize) -> Vec<String> {
    let consumer: BaseConsumer = config(kafka, ADMIN).set("group.id", "g").create().unwrap();
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&from).unwrap();
    let mut values = Vec::new();
    let end = std::time::Instant::now() + WITHIN;
    while values.len() < records && std::time::Instant::now() < end {
        // A passing transport error of librdkafka is told here too, and is not the end.
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            values.push(String::from_utf8_lossy(message.payload().unwrap()).into_owned());
        }
    }
    values
}

#[test]
fn where_java_is_missing_one_line_says_how_to_get_it() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/kafka/kafka.sh");
    let output = std::process::Command::new("bash")
        .args([script, "up", "/nonexistent/cluster"])
        .env("JAVA_HOME", "/nonexistent/java")
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(told.starts_with("kafka.sh: Java 17 or later is needed") && told.lines().count() == 1, "{told}");
}
