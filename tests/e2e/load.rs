//! A small bus under load: records with rising sequences, a recording system, and the oracle's evidence.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::json;
use tempfile::TempDir;
use tieline_delivery::oracle::{Arrival, CommitSample, Ended, Evidence, Produced, Verdict};
use tieline_runtime::kafka::{Connection, EventProducer};
use tieline_runtime::registry::RegistryClient;
use tieline_runtime::system::idempotency::Cause;
use tieline_sandbox::recorder::{self, Options, Recorder};
use tieline_sandbox::registry::Registry;
use tieline_schema::avro::EventSchema;
use tieline_schema::cloudevents::Attributes;
use tieline_schema::wire::v0_header;
use tokio::task::JoinHandle;

use crate::cluster::{any_port, kafka};
use crate::process::{Process, tieline};
use crate::{eventually, secs};

/// Partitions of the topic.
const PARTITIONS: i32 = 6;

/// Keys that the records are spread over: fewer than records, so that order matters.
const KEYS: u64 = 97;

/// How they are delivered where a test does not say otherwise.
const DELIVER: &str = "{ order: key, in_flight: 64, patience: 30s, on_dead_letter: continue, start: earliest }";

/// CloudEvents' `source` of the records.
const SOURCE: &str = "/load";

pub const SCHEMA: &str = include_str!("load/load.item_changed.avsc");

/// A bus with one consumer, the system that it calls, and what was produced.
pub struct Load {
    pub dir: TempDir,
    pub recorder: Recorder,
    pub environment: Vec<(String, String)>,
    pub name: String,
    started: Instant,
    pub registry: Registry,
    sampler: JoinHandle<Vec<CommitSample>>,
    stop_sampling: tokio::sync::watch::Sender<bool>,
}

impl Load {
    /// Writes and applies a bus of this name.
    pub async fn start(name: &str, system: Options) -> Self {
        Self::start_with(name, system, DELIVER).await
    }

    /// The same, with other settings of its delivery.
    pub async fn start_with(name: &str, system: Options, deliver: &str) -> Self {
        let started = Instant::now();
        let recorder = Recorder::start(system).await.expect("a recorder");
        let registry = Registry::start(any_port()).await.expect("a registry");
        let mut dir = tempfile::tempdir().expect("a folder");
        // For whoever looks into a failure: the replicas' logs lie there.
        dir.disable_cleanup(std::env::var_os("TIELINE_TEST_KEEP").is_some());
        write_bus(dir.path(), name, deliver);
        let environment = vec![
            ("KAFKA_BROKERS".to_owned(), kafka().brokers().to_owned()),
            ("SCHEMA_REGISTRY_URL".to_owned(), registry.url()),
            ("RECORDER_URL".to_owned(), recorder.url()),
            ("TIELINE_LOG".to_owned(), "info,tieline_runtime=debug".to_owned()),
        ];
        let (code, out, error) = {
            let (path, environment) = (dir.path().to_owned(), environment.clone());
            tokio::task::spawn_blocking(move || tieline(&path, &["apply"], &environment)).await.expect("apply")
        };
        assert_eq!(code, 0, "{out}{error}");
        let (stop_sampling, stop) = tokio::sync::watch::channel(false);
        let sampler = sample_commits(name, started, stop);
        Self { dir, recorder, environment, name: name.to_owned(), started, registry, sampler, stop_sampling }
    }

    /// Starts a replica of the consumer.
    pub fn replica(&self, instance: &str) -> Process {
        let args = ["run", "consumers/apply-item", "--admin", "127.0.0.1:0"];
        Process::start(self.dir.path(), &format!("{}-{instance}", self.name), &args, &self.environment)
    }

    /// Writes something else into a file of the bus, for replicas that start from now on.
    pub fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.dir.path().join(file);
        let text = std::fs::read_to_string(&path).expect("a file");
        assert!(text.contains(from), "{file} has no {from:?}:\n{text}");
        std::fs::write(path, text.replace(from, to)).expect("a file");
    }

    /// Runs `tieline apply` with these arguments.
    pub async fn apply(&self, args: &[&str]) -> (i32, String, String) {
        let args: Vec<String> = std::iter::once("apply").chain(args.iter().copied()).map(str::to_owned).collect();
        let (path, environment) = (self.dir.path().to_owned(), self.environment.clone());
        let run = move || tieline(&path, &args.iter().map(String::as_str).collect::<Vec<_>>(), &environment);
        tokio::task::spawn_blocking(run).await.expect("apply")
    }

    /// The offsets that a consumer's group has committed, by partition.
    pub fn committed(&self, consumer: &str) -> BTreeMap<i32, i64> {
        committed(&offsets_reader(&self.name, consumer), &self.topic()).into_iter().collect()
    }

    /// The topic of the records.
    pub fn topic(&self) -> String {
        format!("{}.items", self.name)
    }

    /// How the broker is reached from here.
    pub fn connection(&self) -> Connection {
        let brokers = kafka().brokers().to_owned();
        let kafka = tieline_bus::Kafka { brokers, settings: BTreeMap::new(), partitions: 6, replication: 1 };
        Connection { kafka, embedded: false }
    }

    /// The first five bytes of a value of the registered schema.
    pub async fn header(&self) -> [u8; 5] {
        let registry = tieline_bus::Registry { url: self.registry.url(), credential: tieline_bus::Credential::None };
        let client = RegistryClient::new(&registry).expect("a client");
        let subject = format!("{}-load.item_changed", self.topic());
        v0_header(client.lookup(&subject, SCHEMA).await.expect("an answer").expect("a registered schema"))
    }

    /// Produces records one after another over this time, and says what the broker acknowledged.
    pub fn produce(&self, records: u64, over: Duration) -> JoinHandle<Vec<Produced>> {
        self.produce_from(0, records, over)
    }

    /// The same, with sequences from this one on.
    pub fn produce_from(&self, first: u64, records: u64, over: Duration) -> JoinHandle<Vec<Produced>> {
        let producer = EventProducer::new(&self.connection()).expect("a producer");
        let (name, topic) = (self.name.clone(), self.topic());
        let registry = tieline_bus::Registry { url: self.registry.url(), credential: tieline_bus::Credential::None };
        let subject = format!("{topic}-load.item_changed");
        tokio::spawn(async move {
            let client = RegistryClient::new(&registry).expect("a client");
            let id = client.lookup(&subject, SCHEMA).await.expect("an answer").expect("a registered schema");
            let schema = Arc::new(EventSchema::parse(SCHEMA).expect("a schema"));
            let mut pace = tokio::time::interval(over / u32::try_from(records).expect("few records"));
            pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
            let mut sent = Vec::new();
            for sequence in first..first + records {
                pace.tick().await;
                let (producer, schema) = (producer.clone(), Arc::clone(&schema));
                let (name, topic) = (name.clone(), topic.clone());
                // Not awaited one by one: the idempotent producer keeps their order.
                let (key, attributes, value) = record(&name, sequence, id, &schema);
                sent.push(tokio::spawn(async move {
                    let at = producer.publish(&topic, key.as_bytes(), &attributes, &value).await.expect("acknowledged");
                    produced(sequence, key, attributes.id, at)
                }));
            }
            let mut acknowledged = Vec::new();
            for one in sent {
                acknowledged.push(one.await.expect("published"));
            }
            acknowledged
        })
    }

    /// Waits until the system has an effect of each record.
    pub async fn drained(&self, records: usize, within: Duration) {
        eventually(&format!("{records} effects"), within, || self.recorder.effects() >= records).await;
    }

    /// Waits until the group's offsets cover everything.
    pub async fn all_committed(&self, produced: &[Produced], within: Duration) {
        let reader = offsets_reader(&self.name, "apply-item");
        let mut ends: BTreeMap<i32, i64> = BTreeMap::new();
        for record in produced {
            let end = ends.entry(record.partition).or_default();
            *end = (*end).max(record.offset + 1);
        }
        eventually("all is committed", within, || {
            let committed: BTreeMap<i32, i64> = committed(&reader, &self.topic()).into_iter().collect();
            ends.iter().all(|(partition, end)| committed.get(partition).is_some_and(|at| at >= end))
        })
        .await;
    }

    /// What the oracle says of all that was seen.
    pub async fn verdict(self, produced: Vec<Produced>, duplicates_max: Option<usize>) -> Verdict {
        self.verdict_with(produced, duplicates_max, Vec::new()).await
    }

    /// The same, where records ended or waited without an accepted call.
    pub async fn verdict_with(
        self,
        produced: Vec<Produced>,
        duplicates_max: Option<usize>,
        ended: Vec<Ended>,
    ) -> Verdict {
        let arrivals = self.recorder.arrivals();
        self.verdict_of(arrivals, produced, duplicates_max, ended).await
    }

    /// The same, where another system than the recorder was called.
    pub async fn verdict_of(
        self,
        arrivals: Vec<recorder::Arrival>,
        produced: Vec<Produced>,
        duplicates_max: Option<usize>,
        ended: Vec<Ended>,
    ) -> Verdict {
        self.stop_sampling.send_replace(true);
        let commits = self.sampler.await.expect("samples");
        assert!(!commits.is_empty(), "no commit was seen");
        let events: BTreeMap<String, String> =
            produced.iter().map(|record| (key_of(&self.name, &record.event_id), record.event_id.clone())).collect();
        let arrivals = arrivals.into_iter().map(|arrival| {
            let key = arrival.idempotency_key.unwrap_or_default();
            Arrival {
                at_ms: u64::try_from(arrival.at.as_millis()).unwrap_or(u64::MAX),
                event_id: events.get(&key).cloned().unwrap_or_else(|| format!("of no event: {key}")),
                idempotency_key: key,
                body_hash: u64::from_be_bytes(arrival.body_sha256[..8].try_into().expect("8 bytes")),
                attempt: arrival.earlier_attempts + 1,
                status: (!arrival.dropped).then_some(arrival.status),
                applied: arrival.applied,
            }
        });
        let evidence = Evidence {
            arrivals: arrivals.collect(),
            produced,
            commits,
            system_remembers_keys: true,
            duplicates_max,
            ended,
        };
        evidence.judge()
    }

    /// How long it has run.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A record of the load.
pub fn record(bus: &str, sequence: u64, schema_id: u32, schema: &EventSchema) -> (String, Attributes, Vec<u8>) {
    let key = format!("item-{}", sequence % KEYS);
    let mut value = v0_header(schema_id).to_vec();
    let payload = json!({ "item_id": key, "sequence": sequence, "note": "as ordered" });
    value.extend(schema.datum_from_json(&payload).expect("a datum"));
    (key.clone(), attributes(&format!("{bus}-{sequence}"), &key), value)
}

/// The attributes of a record of the load.
fn attributes(id: &str, key: &str) -> Attributes {
    Attributes {
        id: id.to_owned(),
        source: SOURCE.to_owned(),
        ty: "load.item_changed".to_owned(),
        time_ms: Some(tieline_runtime::now_ms()),
        subject: Some(key.to_owned()),
        causation_id: None,
        traceparent: None,
        tracestate: None,
    }
}

fn produced(sequence: u64, key: String, event_id: String, (partition, offset): (i32, i64)) -> Produced {
    Produced { partition, offset, key: Some(key), sequence, event_id, acknowledged: true }
}

/// The idempotency key of an event's call.
pub fn key_of(bus: &str, event_id: &str) -> String {
    let cause = Cause { bus, consumer: "apply-item", call: "call", source: SOURCE, id: event_id, round: 0 };
    cause.key().to_string()
}

fn offsets_reader(bus: &str, consumer: &str) -> BaseConsumer {
    ClientConfig::new()
        .set("bootstrap.servers", kafka().brokers())
        .set("group.id", format!("{bus}.{consumer}"))
        .set("enable.auto.commit", "false")
        .create()
        .expect("a client")
}

fn committed(reader: &BaseConsumer, topic: &str) -> Vec<(i32, i64)> {
    let mut wanted = TopicPartitionList::new();
    wanted.add_partition_range(topic, 0, PARTITIONS - 1);
    let Ok(found) = reader.committed_offsets(wanted, secs(15)) else { return Vec::new() };
    let offsets = found.elements().into_iter().filter_map(|at| match at.offset() {
        Offset::Offset(offset) => Some((at.partition(), offset)),
        _ => None,
    });
    offsets.collect()
}

/// Looks at the group's offsets until told to stop.
fn sample_commits(
    bus: &str,
    started: Instant,
    stop: tokio::sync::watch::Receiver<bool>,
) -> JoinHandle<Vec<CommitSample>> {
    let (reader, topic) = (offsets_reader(bus, "apply-item"), format!("{bus}.items"));
    tokio::task::spawn_blocking(move || {
        let mut samples = Vec::new();
        // Ends too when the test has failed and dropped the other end.
        while !*stop.borrow() && stop.has_changed().is_ok() {
            let seen = committed(&reader, &topic);
            // Taken after the answer: whatever it shows was committed before.
            let at_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            samples.extend(seen.into_iter().map(|(partition, offset)| CommitSample { at_ms, partition, offset }));
            std::thread::park_timeout(Duration::from_millis(100));
        }
        samples
    })
}

fn write_bus(dir: &Path, name: &str, deliver: &str) {
    let files = [
        ("tieline.yaml", include_str!("load/tieline.yaml")),
        ("schemas/load.item_changed.avsc", SCHEMA),
        ("systems/recorder/system.yaml", include_str!("load/system.yaml")),
        ("systems/recorder/openapi.yaml", include_str!("load/openapi.yaml")),
        ("consumers/apply-item/consumer.yaml", include_str!("load/consumer.yaml")),
    ];
    for (file, text) in files {
        let path = dir.join(file);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text.replace("BUS_NAME", name).replace("DELIVER", deliver)).expect("a file");
    }
}
