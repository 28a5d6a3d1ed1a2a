//! A small bus under load: records with rising sequences, a recording system, and the oracle's evidence.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::json;
use tempfile::TempDir;
use tieline_bus::Secret;
use tieline_delivery::oracle::{Arrival, CommitSample, Ended, Evidence, Produced, Verdict};
use tieline_runtime::kafka::{Connection, EventProducer};
use tieline_runtime::registry::RegistryClient;
use tieline_runtime::system::idempotency::Cause;
use tieline_sandbox::broker::kafka::Kafka;
use tieline_sandbox::recorder::{self, Options, Recorder};
use tieline_sandbox::registry::Registry;
use tieline_schema::avro::EventSchema;
use tieline_schema::cloudevents::Attributes;
use tieline_schema::wire::v0_header;
use tokio::task::JoinHandle;

use crate::canary::Canary;
use crate::cluster::{any_port, kafka};
use crate::process::{Process, tieline};
use crate::written::Topics;
use crate::{eventually, secs};

/// Keys that the records are spread over: fewer than records, so that order matters.
const KEYS: u64 = 97;

/// How they are delivered where a test does not say otherwise.
const DELIVER: &str = "{ order: key, in_flight: 64, patience: 30s, on_dead_letter: continue, start: earliest }";

/// Records that may wait for their acknowledgement at once: far below what librdkafka's queue takes, which refuses more.
const UNACKNOWLEDGED_MAX: usize = 5_000;

/// How long a producer waits for an acknowledgement: brokers may be killed meanwhile.
const ACKNOWLEDGED_WITHIN: Duration = secs(120);

/// What Kafka's settings begin with in `tieline.yaml`.
const SETTINGS: &str = "settings: { ";

/// CloudEvents' `source` of the records.
const SOURCE: &str = "/load";

pub const SCHEMA: &str = include_str!("load/load.item_changed.avsc");

/// What a load is put on.
pub struct Setup {
    /// The name of the bus.
    pub name: String,
    /// How the system behaves.
    pub system: Options,
    /// The consumer's `deliver`, in YAML.
    pub deliver: String,
    /// Where the topics lie; asked for when the clock of what is seen runs already, since that may start it.
    pub kafka: fn() -> &'static Kafka,
    /// Partitions of the topic, and replicas of each.
    pub partitions: i32,
    pub replication: i32,
    /// `kafka.settings` beside the password, as they stand in YAML between braces.
    pub settings: String,
    /// The system's `credential`, in YAML: the canary of an API key where a test does not say otherwise.
    pub credential: String,
    /// Variables of the environment beside those that every load has.
    pub environment: Vec<(String, String)>,
    /// What replicas log.
    pub log: &'static str,
}

impl Setup {
    /// What a load is put on where a test says nothing else: one broker, six partitions.
    pub fn new(name: &str, system: Options) -> Self {
        Self {
            name: name.to_owned(),
            system,
            deliver: DELIVER.to_owned(),
            kafka,
            partitions: 6,
            replication: 1,
            settings: String::new(),
            credential: "{ api_key: { header: X-Api-Key, key: secret:recorder-api-key } }".to_owned(),
            environment: Vec::new(),
            log: "info,tieline_runtime=debug",
        }
    }
}

/// A bus with one consumer, the system that it calls, and what was produced.
pub struct Load {
    /// Looked through when the load is dropped.
    _topics: Topics,
    pub dir: TempDir,
    pub recorder: Recorder,
    pub environment: Vec<(String, String)>,
    pub name: String,
    kafka: &'static Kafka,
    partitions: i32,
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
        Self::start_on(Setup { deliver: deliver.to_owned(), ..Setup::new(name, system) }).await
    }

    /// The same, with everything said.
    pub async fn start_on(setup: Setup) -> Self {
        let started = Instant::now();
        let files = files(&setup);
        let Setup { name, system, kafka, partitions, log, environment: more, .. } = setup;
        let kafka = kafka();
        let recorder = Recorder::start(hostile(system)).await.expect("a recorder");
        let registry = Registry::start(any_port()).await.expect("a registry");
        let mut dir = tempfile::tempdir().expect("a folder");
        // For whoever looks into a failure: the replicas' logs lie there.
        dir.disable_cleanup(std::env::var_os("TIELINE_TEST_KEEP").is_some());
        write(dir.path(), &files);
        let mut environment = vec![
            ("KAFKA_BROKERS".to_owned(), kafka.brokers().to_owned()),
            ("SCHEMA_REGISTRY_URL".to_owned(), registry.url()),
            ("RECORDER_URL".to_owned(), recorder.url()),
            ("TIELINE_LOG".to_owned(), log.to_owned()),
            ("TIELINE_SECRET_KAFKA_PASSWORD".to_owned(), Canary::KafkaPassword.value()),
            ("TIELINE_SECRET_REGISTRY_PASSWORD".to_owned(), Canary::Password.value()),
            ("TIELINE_SECRET_RECORDER_API_KEY".to_owned(), Canary::ApiKey.value()),
        ];
        environment.extend(more);
        let _topics = Topics::of(kafka.brokers(), &name, &[]);
        let (code, out, error) = {
            let (path, environment) = (dir.path().to_owned(), environment.clone());
            tokio::task::spawn_blocking(move || tieline(&path, &["apply"], &environment)).await.expect("apply")
        };
        assert_eq!(code, 0, "{out}{error}");
        let (stop_sampling, stop) = tokio::sync::watch::channel(false);
        let offsets = Offsets::of(kafka, &name, "apply-item", partitions);
        let sampler = sample_commits(offsets, started, stop);
        Self { _topics, dir, recorder, environment, name, kafka, partitions, started, registry, sampler, stop_sampling }
    }

    /// Starts a replica of the consumer.
    pub fn replica(&self, instance: &str) -> Process {
        self.replica_with(instance, &[])
    }

    /// The same, with more in its environment.
    pub fn replica_with(&self, instance: &str, more: &[(&str, &str)]) -> Process {
        let args = ["run", "consumers/apply-item", "--admin", "127.0.0.1:0"];
        let more = more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let environment: Vec<_> = self.environment.iter().cloned().chain(more).collect();
        Process::start(self.dir.path(), &format!("{}-{instance}", self.name), &args, &environment)
    }

    /// Writes something else into a file of the bus, for replicas that start from now on.
    pub fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.dir.path().join(file);
        let text = std::fs::read_to_string(&path).expect("a file");
        assert!(text.contains(from), "{file} has no {from:?}:\n{text}");
        std::fs::write(path, text.replace(from, to)).expect("a file");
    }

    /// Sets this of Kafka's client too, for replicas that start from now on.
    pub fn set(&self, setting: &str, value: &str) {
        self.edit("tieline.yaml", SETTINGS, &format!("{SETTINGS}{setting}: \"{value}\", "));
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
        self.offsets(consumer).committed().into_iter().collect()
    }

    /// Where a consumer's group stands.
    pub fn offsets(&self, consumer: &str) -> Offsets {
        Offsets::of(self.kafka, &self.name, consumer, self.partitions)
    }

    /// The topic of the records.
    pub fn topic(&self) -> String {
        format!("{}.items", self.name)
    }

    /// How the broker is reached from here.
    pub fn connection(&self) -> Connection {
        let brokers = self.kafka.brokers().to_owned();
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
        let mut connection = self.connection();
        let patient = Secret::new(ACKNOWLEDGED_WITHIN.as_millis().to_string());
        connection.kafka.settings.insert("delivery.timeout.ms".to_owned(), patient);
        let producer = EventProducer::new(&connection).expect("a producer");
        let (name, topic) = (self.name.clone(), self.topic());
        let registry = tieline_bus::Registry { url: self.registry.url(), credential: tieline_bus::Credential::None };
        let subject = format!("{topic}-load.item_changed");
        tokio::spawn(async move {
            let client = RegistryClient::new(&registry).expect("a client");
            let id = client.lookup(&subject, SCHEMA).await.expect("an answer").expect("a registered schema");
            let schema = Arc::new(EventSchema::parse(SCHEMA).expect("a schema"));
            let mut pace = tokio::time::interval(over / u32::try_from(records).expect("few records"));
            pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
            let (mut sent, mut acknowledged) = (VecDeque::<JoinHandle<Produced>>::new(), Vec::new());
            for sequence in first..first + records {
                pace.tick().await;
                let (producer, schema) = (producer.clone(), Arc::clone(&schema));
                let (name, topic) = (name.clone(), topic.clone());
                let (key, attributes, value) = record(&name, sequence, id, &schema);
                let mut one = Box::pin(async move {
                    let at = producer.publish(&topic, key.as_bytes(), &attributes, &value).await.expect("acknowledged");
                    produced(sequence, key, attributes.id, at)
                });
                // Handed to the client here, in order, which the idempotent producer keeps; awaited together.
                let at_once = (&mut one).now_or_never();
                sent.push_back(tokio::spawn(async move {
                    match at_once {
                        Some(done) => done,
                        None => one.await,
                    }
                }));
                if sent.len() >= UNACKNOWLEDGED_MAX {
                    acknowledged.push(sent.pop_front().expect("one").await.expect("published"));
                }
            }
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
        let offsets = self.offsets("apply-item");
        let mut ends: BTreeMap<i32, i64> = BTreeMap::new();
        for record in produced {
            let end = ends.entry(record.partition).or_default();
            *end = (*end).max(record.offset + 1);
        }
        eventually("all is committed", within, || {
            let committed: BTreeMap<i32, i64> = offsets.committed().into_iter().collect();
            ends.iter().all(|(partition, end)| committed.get(partition).is_some_and(|at| at >= end))
        })
        .await;
    }

    /// The events that had an effect.
    pub fn delivered(&self, produced: &[Produced]) -> BTreeSet<String> {
        let arrivals = self.recorder.arrivals();
        let applied = arrivals.into_iter().filter(|arrival| arrival.applied).filter_map(|one| one.idempotency_key);
        let keys: BTreeSet<String> = applied.collect();
        let events = produced.iter().map(|record| &record.event_id);
        events.filter(|event| keys.contains(&key_of(&self.name, event))).cloned().collect()
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

    /// The time since the recorder's start, as arrivals have it.
    pub fn elapsed_of_recorder(&self) -> f64 {
        self.recorder.elapsed().as_secs_f64()
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

/// Where a group stands, and where the topic ends, as the brokers say.
pub struct Offsets {
    reader: BaseConsumer,
    topic: String,
    partitions: i32,
}

impl Offsets {
    fn of(kafka: &Kafka, bus: &str, consumer: &str, partitions: i32) -> Self {
        let reader = ClientConfig::new()
            .set("bootstrap.servers", kafka.brokers())
            .set("group.id", format!("{bus}.{consumer}"))
            .set("enable.auto.commit", "false")
            .create()
            .expect("a client");
        Self { reader, topic: format!("{bus}.items"), partitions }
    }

    /// What is committed; nothing while the brokers do not say.
    pub fn committed(&self) -> Vec<(i32, i64)> {
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition_range(&self.topic, 0, self.partitions - 1);
        let Ok(found) = self.reader.committed_offsets(wanted, secs(15)) else { return Vec::new() };
        let offsets = found.elements().into_iter().filter_map(|at| match at.offset() {
            Offset::Offset(offset) => Some((at.partition(), offset)),
            _ => None,
        });
        offsets.collect()
    }

    /// Where each partition ends; nothing where its broker does not say.
    pub fn ends(&self) -> Vec<(i32, Option<i64>)> {
        (0..self.partitions).map(|partition| (partition, self.end(partition))).collect()
    }

    fn end(&self, partition: i32) -> Option<i64> {
        let asked = self.reader.fetch_watermarks(&self.topic, partition, secs(5));
        if asked.is_err() {
            // Else the client would go by what it knows, for minutes.
            let _ = self.reader.fetch_metadata(Some(&self.topic), secs(5));
        }
        asked.ok().map(|(_, end)| end)
    }
}

/// Looks at the group's offsets until told to stop.
fn sample_commits(
    offsets: Offsets,
    started: Instant,
    stop: tokio::sync::watch::Receiver<bool>,
) -> JoinHandle<Vec<CommitSample>> {
    tokio::task::spawn_blocking(move || {
        let mut samples = Vec::new();
        // Ends too when the test has failed and dropped the other end.
        while !*stop.borrow() && stop.has_changed().is_ok() {
            let seen = offsets.committed();
            // Taken after the answer: whatever it shows was committed before.
            let at_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            samples.extend(seen.into_iter().map(|(partition, offset)| CommitSample { at_ms, partition, offset }));
            std::thread::park_timeout(Duration::from_millis(100));
        }
        samples
    })
}

/// A system whose answers repeat the credential that came with the call, where a test does not say what they are: what is
/// kept of an answer shows it nowhere.
fn hostile(system: Options) -> Options {
    Options { repeats_headers: system.body == Options::default().body, ..system }
}

/// The files of the bus.
fn files(setup: &Setup) -> Vec<(&'static str, String)> {
    let spread = format!("partitions: {}, replication: {},", setup.partitions, setup.replication);
    let files = [
        ("tieline.yaml", include_str!("load/tieline.yaml")),
        ("schemas/load.item_changed.avsc", SCHEMA),
        ("systems/recorder/system.yaml", include_str!("load/system.yaml")),
        ("systems/recorder/openapi.yaml", include_str!("load/openapi.yaml")),
        ("consumers/apply-item/consumer.yaml", include_str!("load/consumer.yaml")),
    ];
    let filled = |text: &str| {
        let text = text.replace("BUS_NAME", &setup.name).replace("DELIVER", &setup.deliver);
        let text = text.replace("partitions: 6, replication: 1,", &spread).replace("CREDENTIAL", &setup.credential);
        let settings = if setup.settings.is_empty() { String::new() } else { format!("{}, ", setup.settings) };
        text.replace(SETTINGS, &format!("{SETTINGS}{settings}"))
    };
    files.into_iter().map(|(file, text)| (file, filled(text))).collect()
}

fn write(dir: &Path, files: &[(&str, String)]) {
    for (file, text) in files {
        let path = dir.join(file);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }
}
